"""Cleaning up after something that may have failed, in a storage that may still fail."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from cfmiddleware.errors import StorageError


@contextlib.contextmanager
def cleaned_up(clean_up: Callable[[], object]) -> Iterator[None]:
    """Clean up when the block is left. Where both fail, the error is the block's: it says what is wrong, and
    the other one only what else could not be done then.
    """
    try:
        yield
    except BaseException:
        with contextlib.suppress(StorageError):
            clean_up()
        raise
    clean_up()
