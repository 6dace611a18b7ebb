"""The wrapper: a blob GET that the app allows becomes a redirect to a signed URL."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .wrapper import CloudFrontMiddleware

__all__ = ["CloudFrontMiddleware"]


# Imported when it is first used: a configuration reads its options, and may wrap nothing.
def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .wrapper import CloudFrontMiddleware

    return CloudFrontMiddleware
