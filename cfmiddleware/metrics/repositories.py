"""Which repositories have metrics of their own: those whose names the operator has opted in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache


def matcher(patterns: Sequence[str]) -> Callable[[str], bool] | None:
    """Return what tells whether a repository is one of *patterns*, in which ``*`` stands for any letters.

    :returns: None where there are no patterns.
    """
    if not patterns:
        return None
    return lru_cache(maxsize=4096)(
        lambda repository: any(fnmatchcase(repository, pattern) for pattern in patterns)
    )
