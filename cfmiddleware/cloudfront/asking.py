"""One request over a connection of its own, to one address of a host, with what it took.

Nothing is followed, decoded or sent again: what the server says is what is looked at.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import NamedTuple
from urllib.parse import urlsplit

#: The bytes of a body that are read.
LARGEST = 1 << 16

_FAMILIES = {socket.AF_INET: "IPv4", socket.AF_INET6: "IPv6"}


class NotAnswered(Exception):
    """Nobody answered.

    :param kind: ``url``, ``name``, ``connection``, ``route``, ``certificate``, ``tls`` or ``answer``: what
        failed.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Address(NamedTuple):
    """An address of a host."""

    family: socket.AddressFamily
    place: tuple[str, int]

    @property
    def kind(self) -> str:
        """``IPv4`` or ``IPv6``."""
        return _FAMILIES.get(self.family, "another family")


class Answer(NamedTuple):
    """What a server answered.

    :param headers: by their names in small letters; of several of one name, the first.
    :param body: its first bytes, :data:`LARGEST` at the most.
    :param seconds: how long it took, from the connection to those bytes.
    :param own_address: the address that this machine asked from.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float
    own_address: str = ""

    @property
    def date(self) -> float | None:
        """The server's clock when it answered, in Unix seconds; None where it does not say.

        Whose clock is in an answer from a cache, and when it was read, is not known.
        """
        if self.age:
            return None
        try:
            return parsedate_to_datetime(self.headers["date"]).timestamp()
        except (KeyError, ValueError, OverflowError):
            return None

    @property
    def age(self) -> int:
        """For how many seconds the answer has been in a cache."""
        age = self.headers.get("age", "0")
        return int(age) if age.isdecimal() and len(age) < 10 else 0


class Wire:
    """How hosts are reached. Tests have another one."""

    def addresses(self, host: str, port: int) -> list[Address]:
        """Return the addresses of a host, in the order in which they are to be tried.

        :raises OSError: where the name is not known.
        """
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return list(
            dict.fromkeys(
                Address(family, (str(place[0]), int(place[1])))
                for family, _, _, _, place in found
                if family in _FAMILIES
            )
        )

    def connect(self, address: Address, host: str, *, secure: bool, timeout: float) -> socket.socket:
        """Return a connection.

        :param host: whom the certificate must belong to.
        :raises OSError: where there is none.
        """
        connection = socket.socket(address.family, socket.SOCK_STREAM)
        try:
            connection.settimeout(timeout)
            connection.connect(address.place)
            if not secure:
                return connection
            return ssl.create_default_context().wrap_socket(connection, server_hostname=host)
        except BaseException:
            connection.close()
            raise


class Asker:
    """Asks.

    :param wire: how hosts are reached.
    :param timeout: seconds that one step of a request may take.
    :param clock: seconds that never go backwards.
    """

    def __init__(
        self,
        wire: Wire | None = None,
        *,
        timeout: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wire = wire or Wire()
        self._timeout = timeout
        self._clock = clock

    def addresses(self, url: str) -> list[Address]:
        """Return the addresses of a URL's host.

        :raises NotAnswered: where its name is not known.
        """
        host, port = host_and_port(url)
        try:
            found = self._wire.addresses(host, port)
        except (OSError, UnicodeError) as error:
            said = getattr(error, "strerror", None) or type(error).__name__
            raise NotAnswered("name", f"the name {host} is not known: {said}") from None
        if not found:
            raise NotAnswered("name", f"the name {host} has no address")
        return found

    def ask(
        self,
        url: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        address: Address | None = None,
    ) -> Answer:
        """Send one request.

        :param url: goes over the wire as it is.
        :param address: whom to ask; the first address of the host that answers by default.
        :raises NotAnswered: where nobody answers. The message holds nothing of the URL but its host.
        """
        tried: NotAnswered | None = None
        for candidate in [address] if address is not None else self.addresses(url):
            try:
                return self._ask(url, method, headers or {}, candidate)
            except NotAnswered as error:
                if error.kind not in ("connection", "route"):
                    raise
                tried = tried or error
        assert tried is not None  # noqa: S101 (there is an address)
        raise tried

    def _ask(self, url: str, method: str, headers: Mapping[str, str], address: Address) -> Answer:
        began = self._clock()
        host, port = host_and_port(url)
        secure = url.startswith("https:")
        connection = http.client.HTTPConnection(host, port)
        connection.sock = self._connected(address, host, secure)
        try:
            own = str(connection.sock.getsockname()[0])
            parts = urlsplit(url)
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
            for name, value in {"Host": parts.netloc.rpartition("@")[2], **headers}.items():
                connection.putheader(name, value)
            connection.endheaders()
            response = connection.getresponse()
            body = response.read(LARGEST)
            named: dict[str, str] = {}
            for name, value in response.getheaders():
                named.setdefault(name.lower(), value)
            return Answer(response.status, named, body, self._clock() - began, own)
        except TimeoutError:
            raise NotAnswered("answer", f"{host} did not answer within {self._timeout:g} seconds") from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise NotAnswered("answer", f"{host} broke the connection off ({type(error).__name__})") from None
        finally:
            connection.close()

    def _connected(self, address: Address, host: str, secure: bool) -> socket.socket:
        try:
            return self._wire.connect(address, host, secure=secure, timeout=self._timeout)
        except ssl.SSLCertVerificationError as error:
            raise NotAnswered(
                "certificate", f"the certificate of {host} is not valid for it: {_verify_message(error)}"
            ) from None
        except ssl.SSLError as error:
            raise NotAnswered("tls", f"{host} does not speak TLS ({error.reason or 'no reason'})") from None
        except OSError as error:
            said = error.strerror or type(error).__name__
            kind = "route" if "unreachable" in said.lower() else "connection"
            raise NotAnswered(kind, f"{host} ({address.place[0]}) cannot be reached: {said}") from None


def host_and_port(url: str) -> tuple[str, int]:
    """Return the host of a URL, and the port that it means.

    :raises NotAnswered: for what cannot go over the wire as it is. The message holds nothing of it.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https") or not url.isascii() or not url.isprintable():
        raise NotAnswered("url", "it is not a URL with http:// or https:// that can be asked for")
    if " " in url:
        raise NotAnswered("url", "the URL has a space in it")
    return host, port or (443 if parts.scheme == "https" else 80)


def _verify_message(error: ssl.SSLCertVerificationError) -> str:
    return getattr(error, "verify_message", "") or "it cannot be verified"
