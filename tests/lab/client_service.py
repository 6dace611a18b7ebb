"""A registry and its edge as the clients' tests see them: its address, and what left through the edge."""

from __future__ import annotations

import re
from typing import NamedTuple

from lab.images import Image
from lab.servers import Server, eventually

#: A line of the access log: `edge GET /docker/registry/v2/blobs/sha256/ab/abcd.../data 200 702`.
EDGE_LINE = re.compile(
    r" edge GET \S*/blobs/sha256/[0-9a-f]{2}/([0-9a-f]{64})/data (\d{3}) (\d+)", re.MULTILINE
)


class Service(NamedTuple):
    """A registry and its edge, running."""

    server: Server
    registry: str

    def from_edge(self, seen: int = 0) -> dict[str, int]:
        """Return the digests that the edge has sent whole or in part, with the bytes sent of each.

        :param seen: how many characters of the log to leave out.
        """
        sent: dict[str, int] = {}
        for hexadecimal, status, size in EDGE_LINE.findall(self.server.stderr[seen:]):
            if status in {"200", "206"}:
                sent[f"sha256:{hexadecimal}"] = sent.get(f"sha256:{hexadecimal}", 0) + int(size)
        return sent

    def has_sent(self, sizes: dict[str, int], seen: int = 0) -> bool:
        """Whether the edge's log shows every one of these blobs with at least all of its bytes.

        It is waited for a little: a client may have the last byte before the line about it is written.
        """

        def complete() -> bool:
            sent = self.from_edge(seen)
            return all(sent.get(digest, 0) >= size for digest, size in sizes.items())

        return eventually(complete, seconds=5)


def sizes(image: Image) -> dict[str, int]:
    return {digest: image.size(digest) for digest in image.blobs}
