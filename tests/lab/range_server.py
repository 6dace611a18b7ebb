"""A web server that publishes AWS's address ranges, well or badly."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple


def document(prefix: str, published: int = 1_700_000_000, region: str = "eu-west-3") -> bytes:
    """Return a document with one IPv4 network that matters."""
    tree = {
        "syncToken": str(published),
        "prefixes": [{"ip_prefix": prefix, "region": region}],
        "ipv6_prefixes": [{"ipv6_prefix": "2001:db8::/32", "region": region}],
    }
    return json.dumps(tree).encode()


class Reply(NamedTuple):
    """What the server says to one request, each header as it is; a pause in seconds before the body."""

    status: int = 200
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    pause: float = 0


class Web:
    """A web server on a free port. It gives its replies in turn, and the last of them for ever after."""

    def __init__(self) -> None:
        self.replies: list[Reply] = []
        self.requests: list[dict[str, str]] = []
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                reply = web.replies[min(len(web.requests), len(web.replies) - 1)]
                web.requests.append({name.lower(): value for name, value in self.headers.items()})
                self.send_response(reply.status)
                for name, value in reply.headers:
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.flush()
                with contextlib.suppress(OSError):
                    for byte in reply.body if reply.pause else ():
                        self.wfile.write(bytes([byte]))
                        time.sleep(reply.pause)
                    self.wfile.write(b"" if reply.pause else reply.body)

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/ip-ranges.json"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
