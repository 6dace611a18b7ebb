"""The signer where no URL is signed: for other CDNs and public buckets."""

from __future__ import annotations

import math

from .signer import Term

_ALWAYS = Term(-math.inf, math.inf, None)


class Unsigned:
    """Leaves URLs as they are."""

    def url(self, resource: str, digest_hex: str, address: str | None = None) -> str:
        """Return the URL.

        :param resource: the whole URL, encoded.
        :param digest_hex: does not matter here.
        :param address: does not matter here.
        """
        return resource

    def lasting(self, resource: str, digest_hex: str) -> tuple[str, Term]:
        """Return the URL, and a term without an end."""
        return resource, _ALWAYS

    def holds(self, term: Term) -> bool:
        """Return True: a URL stays as it is."""
        return True
