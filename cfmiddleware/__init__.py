"""Serve container images through CloudFront: a WSGI wrapper, a registry and a local edge."""

from .middleware.wrapper import CloudFrontMiddleware
from .version import __version__

__all__ = ["CloudFrontMiddleware", "__version__"]
