"""AWS for readers of the pages: `aws` deploys and tells outputs, and hosts of CloudFront lead to a play."""

from __future__ import annotations

import contextlib
import json
import sys
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jmespath

from lab import PROJECT
from lab.cloudfront_play import Stage, _numbers
from lab.stacks import Stack
from lab.wsgi_server import running_app

#: Sends its arguments to the app below.
_AWS = """#!{python}
import os, sys, urllib.parse, urllib.request
sent = urllib.parse.urlencode([("a", word) for word in sys.argv[1:]] + [("cwd", os.getcwd())])
sys.stdout.write(urllib.request.urlopen("http://127.0.0.1:{port}/", sent.encode()).read().decode())
"""

#: The command, with hosts of CloudFront on this machine.
_CFMIDDLEWARE = """#!{python}
import socket, sys
sys.path.insert(0, "{tests}")
from cfmiddleware.cloudfront import asking

class Near(asking.Wire):
    def addresses(self, host, port):
        if not host.endswith(".cloudfront.net"):
            return super().addresses(host, port)
        places = {{socket.AF_INET6: "2001:db8::7", socket.AF_INET: "198.51.100.7"}}
        return [asking.Address(family, (place, port)) for family, place in places.items()]

    def connect(self, address, host, *, secure, timeout):
        if not host.endswith(".cloudfront.net"):
            return super().connect(address, host, secure=secure, timeout=timeout)
        ports = {ports}
        version = 6 if address.family == socket.AF_INET6 else 4
        name = f"http{{'s' if secure else ''}}{{version}}"
        return socket.create_connection(("127.0.0.1", ports[name]), timeout)

asking.Wire = Near
from cfmiddleware.cli import main
sys.exit(main(sys.argv[1:]))
"""


class Aws:
    """What the command `aws` reaches."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._stacks: dict[str, Stack] = {}

    @contextlib.contextmanager
    def programs(self) -> Iterator[dict[str, str]]:
        """Yield the programs of a reader."""
        with running_app(self._app) as port:
            python, tests = sys.executable, PROJECT / "tests"
            yield {
                "aws": _AWS.format(python=python, port=port),
                "cfmiddleware": _CFMIDDLEWARE.format(python=python, tests=tests, ports=self._stage.ports),
            }

    def variables(self) -> dict[str, str]:
        """Return the variables that lead to it."""
        server = self._stage.server
        return {
            "AWS_ENDPOINT_URL": server.endpoint,
            "AWS_ACCESS_KEY_ID": server.access_key,
            "AWS_SECRET_ACCESS_KEY": server.secret_key,
        }

    def _app(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        sent = urllib.parse.parse_qs(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])).decode())
        try:
            said = self._answer(sent["a"], Path(sent["cwd"][0]))
        except Exception as error:
            said = f"aws: {error!r}\n"
            start_response("500 Internal Server Error", [])
            return [said.encode()]
        start_response("200 OK", [])
        return [said.encode()]

    def _answer(self, words: list[str], directory: Path) -> str:
        service, command, *rest = words
        options = dict(zip(rest[::2], rest[1::2], strict=True))
        name = options["--stack-name"]
        if (service, command) == ("cloudformation", "deploy"):
            text = (directory / options["--template-file"]).read_text(encoding="utf-8")
            self._deploy(name, text, options["--region"])
            return f"Successfully created/updated stack - {name}\n"
        assert (service, command) == ("cloudformation", "describe-stacks")
        outputs = self._stacks[name].outputs.items()
        told = {"Stacks": [{"Outputs": [{"OutputKey": key, "OutputValue": value} for key, value in outputs]}]}
        return _as_text(jmespath.search(options["--query"], told))

    def _deploy(self, name: str, text: str, region: str) -> None:
        made = Stack(text, region, name, endpoint_url=self._stage.server.endpoint)
        self._stacks[name] = made
        told = made.properties["CachePolicy"]["CachePolicyConfig"]
        self._stage.kept.cache.add(_numbers(told), made.values["CachePolicy"])
        self._stage.data.deploy()


def _as_text(found: Any) -> str:
    """Return what `--output text` prints of it."""
    if isinstance(found, list):
        return "\n".join("\t".join(one) if isinstance(one, list) else str(one) for one in found) + "\n"
    return f"{found}\n" if isinstance(found, str) else json.dumps(found) + "\n"
