"""Ends with status 0 if the registry of this container is ready, as its debug listener says it."""

import http.client
import os
import sys

port = os.environ.get("REGISTRY_HTTP_DEBUG_ADDR", ":5001").rpartition(":")[2]
try:
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=4)
    connection.request("GET", "/debug/ready")
    sys.exit(0 if connection.getresponse().status == 200 else 1)
except (OSError, ValueError, http.client.HTTPException):
    sys.exit(1)
