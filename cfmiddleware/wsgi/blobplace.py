"""Where a blob lies: what the registry says to the wrapper in front of it, in place of an answer.

An answer that is not sent costs as much as one that is. So the registry and the wrapper of one configuration
speak to each other in this way. Any other app is asked with the client's own request.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from cfmiddleware.digest import Digest

from .types import Environ, StartResponse


@dataclass(slots=True)
class BlobPlace:
    """The object that a blob is, whose client may have it. Nothing of it changes but how long it may be said.

    :param path: the object's whole key in the bucket, or its path below the registry's root directory.
    :param in_bucket: which of the two it is.
    :param size: its size in bytes; None if that is not known.
    :param due: until when the registry says the same of this repository and digest without looking, by its
        own clock.
    :param lent: what else the registry wants to know to say it again.
    """

    path: str
    in_bucket: bool
    size: int | None
    due: float = field(default=-math.inf, compare=False, repr=False)
    lent: object = field(default=None, compare=False, repr=False)


class PulledPlace(NamedTuple):
    """The place of a blob of whose pulls somebody is told.

    :param place: where the blob is.
    :param pulled: what the wrapper calls once it has the redirect, and before it sends that. It may wait.
    """

    place: BlobPlace
    pulled: Callable[[], None]


#: Answers a GET of a blob, which is given as its repository and digest: with the place of the blob if this
#: client may have it now, having sent nothing; with a response, whose ``start_response`` was called, if the
#: client may not; or with None for a request that only an answer can decide, such as one with a condition or
#: a range. That one has to be asked as WSGI has it.
#:
#: The last argument is the place that it said the last time of the same blob, or None. Where that is still
#: right, it is the answer: the same object, so that all that was made of it is right as well.
PlaceOf = Callable[
    [tuple[str, Digest], Environ, StartResponse, BlobPlace | None],
    BlobPlace | PulledPlace | Iterable[bytes] | None,
]
