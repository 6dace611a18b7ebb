"""The wrapper: a blob GET that the app allows becomes a redirect to a signed URL."""

from .wrapper import CloudFrontMiddleware

__all__ = ["CloudFrontMiddleware"]
