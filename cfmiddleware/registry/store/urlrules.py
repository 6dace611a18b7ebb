"""Which URLs the layers of a manifest may name: ``validation.manifests.urls`` (Distribution, "urls")."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from .urlpattern import Pattern

# How many characters the URLs of one manifest have at the most.
_MOST = 1 << 16


class URLRules:
    """The URLs that are allowed.

    :param allow: expressions of which one must match; None for any URL.
    :param deny: expressions of which none may match.
    """

    def __init__(self, allow: tuple[Pattern, ...] | None, deny: tuple[Pattern, ...]) -> None:
        self._allow = allow
        self._deny = deny

    def refused(self, urls: Iterable[str]) -> str:
        """Return the first URL that is not allowed, or an empty text."""
        left = _MOST
        for url in dict.fromkeys(urls):
            left -= len(url)
            if left < 0 or not self._allows(url):
                return url[:200] or "''"
        return ""

    def _allows(self, url: str) -> bool:
        if any(char <= " " or char == "\x7f" for char in url):
            return False
        try:
            parts = urlsplit(url)
        except ValueError:
            return False
        if parts.scheme not in ("http", "https") or parts.fragment:
            return False
        if self._allow is not None and not any(pattern.is_in(url) for pattern in self._allow):
            return False
        return not any(pattern.is_in(url) for pattern in self._deny)
