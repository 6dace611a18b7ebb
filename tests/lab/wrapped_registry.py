"""`cfmiddleware serve` with a registry behind the wrapper, as the tests of what it tells configure it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from cfmiddleware.signing.keys import generate
from lab.servers import CFMIDDLEWARE, Server, running
from lab.serving import wait_for_greeting
from lab.watched_s3 import WatchedS3


@contextlib.contextmanager
def wrapped_registry(
    directory: Path,
    port: int,
    debug: int | None = None,
    *,
    options: Mapping[str, Any] | None = None,
    env: Mapping[str, str] | None = None,
    **sections: Any,
) -> Iterator[Server]:
    """Run it over the directory `objects` until the block is left.

    :param debug: the port of the debug listener; None for none.
    :param options: the wrapper's, besides those that it must have. The keys are in the directory `keys`.
    :param env: further variables.
    :param sections: of `config.yml`.
    """
    keys = directory / "keys"
    keys.mkdir(exist_ok=True)
    if not list(keys.iterdir()):
        (keys / "pk-KFIRST.pem").write_text(generate("ecdsa").private_pem)
    given = sections.pop("http", {})
    http, ports = {"addr": f"127.0.0.1:{port}", **given}, [port]
    if debug is not None:
        http["debug"] = {"addr": f"127.0.0.1:{debug}", **given.get("debug", {})}
        ports.append(debug)
    wrapper = {"baseurl": "https://d111111abcdef8.cloudfront.net", "privatekey": "keys", **(options or {})}
    tree = {
        "storage": {"filesystem": {"rootdirectory": "objects"}},
        "http": http,
        "middleware": {"storage": [{"name": "cloudfront", "options": wrapper}]},
        **sections,
    }
    (directory / "config.yml").write_text(yaml.safe_dump(tree))
    with running([CFMIDDLEWARE, "serve", "config.yml"], directory, ports=ports, env=env) as server:
        wait_for_greeting(server)
        yield server


def of_s3(s3: WatchedS3, attempts: int, **more: Any) -> dict[str, Any]:
    """Return the section of a storage that gives up after a few *attempts*."""
    options = {
        "bucket": s3.bucket,
        "regionendpoint": s3.endpoint,
        "accesskey": s3.server.access_key,
        "secretkey": s3.server.secret_key,
        "maxattempts": attempts,
    }
    return {"s3": options, **more}
