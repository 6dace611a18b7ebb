"""What the parts that answer a request tell the access log about it.

The access log puts a record into the environ, the registry and the wrapper write into it, and neither has to
know the others. No client can set it: those can only set names that begin with ``HTTP_``.
"""

from __future__ import annotations

#: The record's name in the environ.
ACCESS = "cfmiddleware.access"


class AccessRecord:
    """What is known of one request besides its method, path and status.

    :param id: the request's id, for other lines about the same request.
    """

    __slots__ = ("id", "repository", "sent", "user")

    def __init__(self, id: str = "") -> None:
        self.id = id
        #: The repository that the path names.
        self.repository = ""
        #: The client's name, once it has shown who it is.
        self.user = ""
        #: Where the pull of a blob was sent: ``edge``, ``s3`` or ``app``; empty for everything else.
        self.sent = ""
