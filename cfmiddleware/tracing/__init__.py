"""What becomes of one request, as spans for OpenTelemetry.

It is set up by OpenTelemetry's own environment variables, and needs the extra ``tracing``. Whether it is on
is decided where parts are built: without it, no request meets any of it.

    from cfmiddleware.tracing import traced

    app = traced(CloudFrontMiddleware(app, ...))
"""

from .exporting import begin, end
from .switch import is_on
from .wrapping import traced

__all__ = ["begin", "end", "is_on", "traced"]
