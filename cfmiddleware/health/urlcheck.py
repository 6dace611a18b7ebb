"""A URL that must answer. What is secret in it is in no name and no reason: anybody near the debug listener,
the log and Prometheus read these.
"""

from __future__ import annotations

import base64
import http.client
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from typing import IO
from urllib.parse import SplitResult, unquote, urljoin, urlsplit, urlunsplit

from cfmiddleware.process.offload import offload
from cfmiddleware.version import __version__
from cfmiddleware.wsgi.hostguard import is_loopback

from .checks import CheckFailed, said


def shown_url(url: str) -> str:
    """Return a URL as a check is named after it: without a user, a password and the query's values."""
    parts = urlsplit(url)
    query = "..." if parts.query else ""
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, query, ""))


def answering_url(
    url: str, status: int, headers: Sequence[tuple[str, str]], timeout: float
) -> Callable[[], None]:
    """Return a look that fails where a HEAD of *url*, redirects followed, is not answered with *status*.

    A user and a password in the URL are sent as HTTP's basic authentication. They and *headers* are for the
    URL's own server: another one that it redirects to does not get them.
    """
    parts = urlsplit(url)
    asked = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment=""))
    sent = _headers(parts, headers)
    client = _Client()

    def look() -> None:
        request = urllib.request.Request(asked, headers=dict(sent), method="HEAD")  # noqa: S310 (checked)
        try:
            with client.opener(parts).open(request, timeout=timeout) as answer:
                found = answer.status
        except urllib.error.HTTPError as error:
            error.close()
            found = error.code
        except (OSError, UnicodeError, EOFError) as error:
            raise CheckFailed(f"no answer: {said(error)}") from None
        except Exception as error:  # noqa: BLE001 (of http.client, for an answer that is not HTTP)
            raise CheckFailed(f"no answer: {type(error).__name__}") from None
        if found != status:
            raise CheckFailed(f"the status is {found}, not {status}")

    return look


def _headers(parts: SplitResult, given: Sequence[tuple[str, str]]) -> Mapping[str, str]:
    """Return the headers of each request. Several values of one name are a list, as HTTP has it."""
    found = {"User-Agent": f"cfmiddleware/{__version__}"}
    if parts.username is not None:
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
        found["Authorization"] = f"Basic {base64.b64encode(login).decode()}"
    values: dict[str, list[str]] = {}
    for name, value in given:
        values.setdefault(name.title(), []).append(value)
    return {**found, **{name: ", ".join(each) for name, each in values.items()}}


class _Client:
    """Asks by HTTP and HTTPS, and by nothing that a redirect may lead to."""

    def __init__(self) -> None:
        self._openers: dict[str, urllib.request.OpenerDirector] = {}

    def opener(self, parts: SplitResult) -> urllib.request.OpenerDirector:
        """Return what opens a URL. It is made with the first look: to read all certificate authorities takes
        long, and is done in a thread of its own.
        """
        found = self._openers.get(parts.scheme)
        if found is None:
            found = self._openers[parts.scheme] = urllib.request.OpenerDirector()
            if not is_loopback(parts.hostname or ""):
                found.add_handler(urllib.request.ProxyHandler())
            for handler in (
                urllib.request.HTTPHandler(),
                urllib.request.HTTPSHandler(context=offload(ssl.create_default_context)),
                urllib.request.UnknownHandler(),
                urllib.request.HTTPErrorProcessor(),
                urllib.request.HTTPDefaultErrorHandler(),
                _Redirects(),
            ):
                found.add_handler(handler)
        return found


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects with HEAD, and tells what is secret to nobody but the server that it is for."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        """Return the next request."""
        url = urljoin(req.full_url, newurl)
        before, after = urlsplit(req.full_url), urlsplit(url)
        same = (before.scheme, before.netloc.lower()) == (after.scheme, after.netloc.lower())
        sent = dict(req.headers) if same else {"User-Agent": f"cfmiddleware/{__version__}"}
        return urllib.request.Request(url, headers=sent, method="HEAD")  # noqa: S310 (urllib looks)
