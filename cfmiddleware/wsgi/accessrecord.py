"""What the registry and the wrapper tell the access log about a request.

The access log puts a record into the environ, and the registry and the wrapper write into it without knowing
the access log. A client cannot set it: it can only set names that begin with ``HTTP_``.
"""

from __future__ import annotations

#: The record's name in the environ.
ACCESS = "cfmiddleware.access"


class AccessRecord:
    """What is known about a request besides its method, path and status.

    :param id: the request's id, for other lines about the same request.
    """

    __slots__ = ("id", "repository", "sent", "trace", "user")

    def __init__(self, id: str = "") -> None:
        self.id = id
        #: The repository that the path names.
        self.repository = ""
        #: The client's name, once it has authenticated.
        self.user = ""
        #: Where the pull of a blob was sent: ``edge``, ``s3`` or ``app``; empty for everything else.
        self.sent = ""
        #: The id of its trace; empty where it is not traced.
        self.trace = ""
