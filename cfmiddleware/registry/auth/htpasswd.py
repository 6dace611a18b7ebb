"""Users and passwords in a file (Distribution, "htpasswd"), of which only bcrypt hashes are accepted."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable, Mapping

import bcrypt

from cfmiddleware.errors import ConfigError
from cfmiddleware.process.offload import offload
from cfmiddleware.process.watchedfile import WatchedFiles
from cfmiddleware.registry.errors import too_many_logins
from cfmiddleware.registry.requests import Request

from .access import Grant, wanted
from .challenge import check_parameter, unauthorized
from .credentials import Basic, parse_basic
from .logincache import LoginCache

_log = logging.getLogger("cfmiddleware.auth")

# Each step of the cost doubles the time of a check; 16 takes seconds, and a thread waits for it.
_BCRYPT = re.compile(rb"\$2[aby]\$(0[4-9]|1[0-6])\$[./A-Za-z0-9]{53}")

# Of the last character of a salt, at this place, bcrypt uses two bits. Some programs set others. They are
# cleared here, because the library refuses them, without taking the time that a check takes.
_LAST_OF_SALT = 28
_DIGITS = b"./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"

#: Bytes of a password that bcrypt looks at.
_MAX_PASSWORD = 72

#: The cost of htpasswd and of Docker's documentation, for a file without users.
_USUAL_COST = 10

# Seconds that a request waits for its turn at a check before it is sent away.
_PATIENCE = 10.0


class HtpasswdAuth:
    """Basic authentication (RFC 7617) against an htpasswd file. Every user of the file may do everything.

    :param realm: the name that the client is shown for what it logs in to.
    :param path: the file; it is read again when it changes.
    :param clock: seconds that only go forward.
    :raises ConfigError: if the file cannot be read, or if none of its entries can be used.
    """

    def __init__(
        self, *, realm: str, path: str | os.PathLike[str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._realm = check_parameter(realm, "realm")
        file = os.fspath(path)

        def parse(content: bytes) -> Users:
            return Users(parse_users(content, file), clock=clock)

        self._file = WatchedFiles([path], parse, log=_log, clock=clock)

    def authorize(self, request: Request) -> Grant:
        """Grant everything to a user of the file that has sent the right password."""
        header = request.header("Authorization")
        credential = parse_basic(header)
        client = str(request.environ.get("REMOTE_ADDR", ""))
        if credential is not None and self._file.current().know(credential, client):
            return Grant(credential.user.decode("utf-8", "replace"))
        # skopeo and podman send an empty user and password where they have none.
        has_none = not header or (credential is not None and not any(credential))
        message = "log in first" if has_none else "the user or the password is wrong"
        raise unauthorized("Basic", {"realm": self._realm}, message, wanted(request))


class Users:
    """The users of one state of the file. When the file changes, its logins are forgotten.

    :param hashes: each user's bcrypt hash.
    :param clock: seconds that only go forward.
    """

    def __init__(self, hashes: Mapping[bytes, bytes], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._hashes = hashes
        self._remembered = LoginCache(clock=clock)
        self._cost = max(map(_cost, hashes.values()), default=_USUAL_COST)
        self._nobody = _nobodys(self._cost)

    def know(self, credential: Basic, client: str = "") -> bool:
        """Return whether the user has this password.

        A password of more than 72 bytes is always wrong: bcrypt looks at the first 72 only, so all that begin
        alike would be the same. One with a zero byte is wrong too, because implementations differ there.

        :param client: the address that the credential comes from.
        :raises RegistryError: ``TOOMANYREQUESTS`` (503), if too many passwords are being checked.
        """
        user, password = credential
        if len(password) > _MAX_PASSWORD or b"\0" in password:
            return False
        key = self._remembered.key(user, password)
        if self._remembered.recall(key):
            return True

        def check() -> bool:
            matches = offload(_matches, password, self._hashes.get(user, self._nobody), self._cost)
            return matches and user in self._hashes

        known = self._remembered.check(key, client, user, _PATIENCE, check)
        if known is None:
            raise too_many_logins()
        return known


def parse_users(content: bytes, name: str) -> dict[bytes, bytes]:
    """Read an htpasswd file: lines of ``user:hash``, empty ones, and comments that begin with ``#``.

    A line that cannot be used is left out and named in the log. Where a user has several, the last one
    counts, as in Distribution.

    :param name: the file's name, for messages.
    :raises ConfigError: if there are lines, but none that can be used.
    """
    users: dict[bytes, bytes] = {}
    ignored = []
    for number, line in enumerate(content.removeprefix(_BYTE_ORDER_MARK).splitlines(), 1):
        line = line.strip()
        if not line or line.startswith(b"#"):
            continue
        user, _, stored = line.partition(b":")
        if user and _BCRYPT.fullmatch(stored):
            users[user] = _with_clean_salt(stored)
        else:
            ignored.append(number)
    hint = "is not a user and a bcrypt hash of cost 4 to 16; make it with 'htpasswd -B'"
    if ignored and not users:
        raise ConfigError(f"{name}: line {ignored[0]} {hint}, and no other line can be used either")
    for number in ignored:
        _log.warning("%s: line %d %s; it is ignored", name, number, hint)
    if not users:
        _log.warning("%s: has no users, so no client can log in", name)
    return users


def _with_clean_salt(stored: bytes) -> bytes:
    last = _DIGITS.index(stored[_LAST_OF_SALT]) & 0b110000
    return stored[:_LAST_OF_SALT] + _DIGITS[last : last + 1] + stored[_LAST_OF_SALT + 1 :]


def _cost(stored: bytes) -> int:
    return int(stored[4:6])


def _nobodys(cost: int) -> bytes:
    """Return a hash of a cost that no password has."""
    return bcrypt.gensalt(cost) + b"." * 31


def _matches(password: bytes, stored: bytes, cost: int) -> bool:
    """Return whether a password is right. To be wrong takes as long as a check of the highest cost.

    Each step of the cost doubles the time. So a check of cost c, and others of c, c + 1, and so on, take as
    long together as one of the cost after the last.

    :param cost: the highest cost of the file.
    """
    if bcrypt.checkpw(password, stored):
        return True
    for missing in range(_cost(stored), cost):
        bcrypt.checkpw(password, _nobodys(missing))
    return False
