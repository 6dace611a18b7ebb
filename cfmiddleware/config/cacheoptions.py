"""The section ``storage.cache`` of a configuration: where it is remembered which blobs a repository has.

It is Distribution's, in the form of its version 2 or 3, with ``blobdescriptorttl`` added::

    storage:
      cache:
        blobdescriptor: redis       # or inmemory
        blobdescriptorsize: 10000
        blobdescriptorttl: 60s
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from cfmiddleware import parse
from cfmiddleware.registry.cache.descriptors import DEFAULT_SECONDS, DEFAULT_SIZE

_KINDS = ("inmemory", "redis")


def _kind(value: object, name: str) -> str:
    return parse.choice(value, name, _KINDS)


@dataclass(frozen=True)
class CacheOptions:
    """The descriptor cache: what pulls of known blobs do not ask the storage for.

    :param blobdescriptor: ``inmemory``, where each worker has its own, or ``redis``, which the section
        ``redis`` describes; without it, there is no cache.
    :param layerinfo: the same, by the name that Distribution gave it first.
    :param blobdescriptorsize: how many descriptors each worker keeps with ``inmemory``. The least recently
        used one is forgotten first.
    :param blobdescriptorttl: how long a descriptor is kept, in whole seconds. Distribution does not have this
        option.
    """

    blobdescriptor: str = ""
    layerinfo: str = ""
    blobdescriptorsize: int = DEFAULT_SIZE
    blobdescriptorttl: int = DEFAULT_SECONDS

    PARSERS: ClassVar[Mapping[str, parse.Parser]] = {
        "blobdescriptor": _kind,
        "layerinfo": _kind,
        "blobdescriptorsize": parse.positive,
        "blobdescriptorttl": parse.seconds,
    }

    @property
    def kind(self) -> str:
        """``inmemory``, ``redis``, or an empty text for no cache."""
        return self.blobdescriptor or self.layerinfo
