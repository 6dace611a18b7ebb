"""A configuration whose distribution is our own edge, and what a check of it finds."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml
from werkzeug.http import http_date

from cfmiddleware.cloudfront.check import Request, check
from cfmiddleware.cloudfront.findings import Finding, Mark
from cfmiddleware.config import Config
from lab.signing_material import rsa_pem
from lab.wsgi_server import App, running_app

KEY_ID = "K2JCJMDEHXQW5F"


@contextlib.contextmanager
def checked(
    directory: Path,
    options: dict[str, Any] | None = None,
    edge: dict[str, Any] | None = None,
    gate: Callable[[App], App] | None = None,
    **request: Any,
) -> Iterator[dict[str, Finding]]:
    """Run an edge, check it, and give what was found, by the checks' names.

    :param options: the wrapper's options.
    :param edge: the section `edge`.
    :param gate: what is put in front of the edge.
    :param request: what else the check is asked.
    """
    with running_app(lambda environ, start_response: app(environ, start_response)) as port:
        config = configuration(directory, f"http://127.0.0.1:{port}", options or {}, edge or {})
        app: App = config.edge()
        app = dated(app if gate is None else gate(app))
        yield {finding.name: finding for _, finding in check(Request(config, **request))}


def dated(app: App) -> App:
    """Return an app whose answers have a date, as a server gives them."""

    def answer(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            return start_response(status, [*headers, ("Date", http_date())], exc_info)

        return app(environ, start)

    return answer


def configuration(
    directory: Path, baseurl: str, options: dict[str, Any], edge: dict[str, Any] | None = None
) -> Config:
    """Return a configuration of a registry in a directory."""
    keys = directory / "keys"
    keys.mkdir(exist_ok=True)
    (keys / f"pk-{KEY_ID}.pem").write_text(rsa_pem())
    entry = {
        "name": "cloudfront",
        "options": {"baseurl": baseurl, "privatekey": "keys", "rootdirectory": "/team/prod", **options},
    }
    tree = {
        "version": "0.1",
        "storage": {"filesystem": {"rootdirectory": str(directory / "registry")}},
        "middleware": {"storage": [entry]},
        "edge": edge or {},
    }
    file = directory / "config.yml"
    file.write_text(yaml.safe_dump(tree))
    (directory / "registry").mkdir(exist_ok=True)
    return Config.load(file, {})


def crosses(found: dict[str, Finding]) -> set[str]:
    """Return the names of the checks that have a cross."""
    return {name for name, finding in found.items() if finding.mark is Mark.CROSS}


def questions(found: dict[str, Finding]) -> set[str]:
    """Return the names of the checks that have a question mark."""
    return {name for name, finding in found.items() if finding.mark is Mark.QUESTION}
