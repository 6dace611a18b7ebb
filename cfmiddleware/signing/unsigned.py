"""The signer where no URL is signed: for other CDNs and public buckets."""

from __future__ import annotations


class Unsigned:
    """Leaves URLs as they are."""

    def url(self, resource: str, digest_hex: str, address: str | None = None) -> str:
        """Return the URL.

        :param resource: the whole URL, encoded.
        :param digest_hex: does not matter here.
        :param address: does not matter here.
        """
        return resource
