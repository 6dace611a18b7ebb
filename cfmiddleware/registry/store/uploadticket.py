"""Tickets: where an upload stands that has no object of its own in the storage.

Nearly every upload begins, gets all its bytes with one request and ends within a second. Such an upload
needs no record that other requests find in the storage: its client carries it, in the upload's URL, and the
registry signs it (Distribution's ``_state`` is the same idea). A ticket says that an upload has begun, or
that its bytes are those of a digest and lie where a blob of that digest belongs.

The signature matters for the second kind: a client that could write such a ticket would get a blob of
another repository by its digest. It is valid for one upload of one repository.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import time
from collections.abc import Callable
from typing import NamedTuple

from cfmiddleware.digest import HEX_LENGTHS, Digest
from cfmiddleware.storage.driver import Driver

from .uploadsecret import UploadSecret

#: For how many seconds a ticket is valid. It is less than the week after which Distribution purges what a
#: cancelled upload leaves behind so that its tickets stay invalid.
VALID = 5 * 24 * 3600

#: How many seconds the clocks of two machines may differ.
SKEW = 600

# An id, and the ticket's fields, in the letters that Distribution allows in the id of an upload.
_FORM = re.compile(
    r"(?P<uuid>[0-9a-f-]{36})\.(?P<claim>(?P<started>[0-9a-f]{1,12})\.(?P<algorithm>[a-z0-9]{1,10})"
    r"\.(?P<size>[0-9a-f]{1,12})\.(?P<hex>[0-9a-f]{64}|[0-9a-f]{128}|-))\.(?P<mac>[A-Za-z0-9_-]{43})"
)


class Ticket(NamedTuple):
    """What a ticket says of an upload.

    :param started: when it began, or got its bytes, in Unix seconds.
    :param algorithm: what it is to be hashed with.
    :param digest: the digest of its bytes, which lie in the place of a blob; None if it has none yet.
    :param size: how many bytes it has.
    """

    started: int
    algorithm: str = "sha256"
    digest: Digest | None = None
    size: int = 0


class Tickets:
    """Writes and reads tickets.

    :param driver: where the secret is that signs them.
    :param clock: Unix time in seconds.
    """

    def __init__(self, driver: Driver, clock: Callable[[], float] = time.time) -> None:
        self._secret = UploadSecret(driver)
        self._clock = clock

    def begin(self, algorithm: str) -> Ticket:
        """Return the ticket of an upload that begins now."""
        return Ticket(int(self._clock()), algorithm)

    def seal(self, repository: str, uuid: str, ticket: Ticket) -> str:
        """Return the name under which the upload's client finds it: its id with the signed ticket."""
        hexadecimal = "-" if ticket.digest is None else ticket.digest.hex
        claim = f"{ticket.started:x}.{ticket.algorithm}.{ticket.size:x}.{hexadecimal}"
        return f"{uuid}.{claim}.{_mac(self._secret(), repository, uuid, claim)}"

    def read(self, repository: str, name: str) -> tuple[str, Ticket | None]:
        """Return the id of the upload that a client names and its ticket.

        Without a valid ticket, the upload is there only if it is found in the storage.
        """
        form = _FORM.fullmatch(name)
        if form is None:
            return name, None
        uuid = form["uuid"]
        started = int(form["started"], 16)
        algorithm, hexadecimal = form["algorithm"], form["hex"]
        if not started - SKEW <= self._clock() <= started + VALID or algorithm not in HEX_LENGTHS:
            return uuid, None
        if not self._is_ours(repository, uuid, form["claim"], form["mac"]):
            return uuid, None
        digest = None if hexadecimal == "-" else Digest(algorithm, hexadecimal)
        return uuid, Ticket(started, algorithm, digest, int(form["size"], 16))

    def _is_ours(self, repository: str, uuid: str, claim: str, mac: str) -> bool:
        if hmac.compare_digest(mac, _mac(self._secret(), repository, uuid, claim)):
            return True
        other = self._secret.another()
        return other is not None and hmac.compare_digest(mac, _mac(other, repository, uuid, claim))


def _mac(secret: bytes, *parts: str) -> str:
    signed = hmac.new(secret, "\0".join(("upload", *parts)).encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(signed).decode().rstrip("=")
