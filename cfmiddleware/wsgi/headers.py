"""Headers that an operator adds to every response: Distribution's ``http.headers``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from cfmiddleware.errors import ConfigError

if TYPE_CHECKING:
    from cfmiddleware.wsgi.types import App, ExcInfo, Headers, StartResponse, Write

_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
#: A value that a header may have.
VALUE = re.compile(r"[\x21-\x7e\xa0-\xff](?:[\t\x20-\x7e\xa0-\xff]*[\x21-\x7e\xa0-\xff])?")

#: Headers of the connection, of a response's framing (RFC 9110, 7.6.1 and 8.6), or of the server.
_NOT_OURS = frozenset(
    {
        *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te"),
        *("trailer", "trailers", "transfer-encoding", "upgrade", "content-length", "date", "server"),
    }
)


def is_of_the_connection(name: str) -> bool:
    """Return whether a header, by its name in lower case, is written by the server and by nobody else."""
    return name in _NOT_OURS


class ExtraHeaders:
    """Wrap a WSGI app so that every response has further headers. Those that the app sets stay.

    :param app: the app.
    :param headers: names and values, as :func:`read` returns them.
    """

    def __init__(self, app: App, headers: Iterable[tuple[str, str]]) -> None:
        self.app = app
        self._headers = tuple(headers)

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request (PEP 3333)."""

        def start(status: str, headers: Headers, exc_info: ExcInfo | None = None) -> Write:
            own = {name.lower() for name, _ in headers}
            further = [header for header in self._headers if header[0].lower() not in own]
            return start_response(status, [*headers, *further], exc_info)

        return self.app(environ, start)


def read(section: object, name: str = "headers") -> list[tuple[str, str]]:
    """Read a mapping of names to a value or a list of values.

    :param name: the option's name, for messages.
    :raises ConfigError: for anything but such a mapping, for a name or a value that no header can have, and
        for headers that belong to the connection.
    """
    if not isinstance(section, dict):
        raise ConfigError(f"{name}: must map the name of a header to a list of values")
    found = []
    for header, values in section.items():
        if not _NAME.fullmatch(str(header)):
            raise ConfigError(f"{name}: {header!r} is not a name of a header")
        where = f"{name}.{header}"
        if is_of_the_connection(str(header).lower()):
            raise ConfigError(f"{where}: is written by the server itself, as the connection needs it")
        for value in values if isinstance(values, list) else [values]:
            if value is None:  # as in Distribution, a name without a value adds nothing
                continue
            text = str(value).lower() if isinstance(value, bool) else str(value)
            if not isinstance(value, str | int | float) or (text and not VALUE.fullmatch(text)):
                raise ConfigError(f"{where}: a value must be text of one line; put it in quotes")
            found.append((str(header), text))
    return found
