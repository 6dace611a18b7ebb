"""`validation.manifests.urls`: which URLs the layers of a pushed manifest may name, as in Distribution."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from lab.apps import Answered, ask, request

from cfmiddleware.config import Config
from cfmiddleware.digest import Digest
from cfmiddleware.errors import ConfigError

CONFIG = b"{}"
FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
NONDISTRIBUTABLE = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"


def app(validation: Any) -> Any:
    tree = {"storage": {"inmemory": None}, **({"validation": validation} if validation is not None else {})}
    made = Config(tree, "config.yml", Path()).app()
    assert put(made, "POST", "/v2/app/blobs/uploads/", CONFIG, f"digest={Digest.of(CONFIG)}").code == 201
    return made


def put(app: Any, method: str, path: str, body: bytes, query: str = "") -> Answered:
    return ask(
        app,
        request(
            path,
            method,
            QUERY_STRING=query,
            CONTENT_LENGTH=str(len(body)),
            CONTENT_TYPE="application/vnd.oci.image.manifest.v1+json",
            **{"wsgi.input": io.BytesIO(body)},
        ),
    )


def push(app: Any, urls: Any, media_type: str = NONDISTRIBUTABLE) -> Answered:
    def descriptor(content: bytes, media_type: str, **more: Any) -> dict[str, Any]:
        return {"mediaType": media_type, "size": len(content), "digest": str(Digest.of(content)), **more}

    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor(CONFIG, "application/vnd.oci.image.config.v1+json"),
        "layers": [descriptor(b"a layer", media_type, urls=urls)],
    }
    return put(app, "PUT", "/v2/app/manifests/latest", json.dumps(manifest).encode())


def rules(**urls: Any) -> dict[str, Any]:
    return {"manifests": {"urls": urls}}


ALLOW = {"allow": [r"^https?://([^/]+\.)*example\.com/", "^https://second/"]}


@pytest.mark.parametrize(
    ("validation", "url", "status"),
    [
        (rules(**ALLOW), "https://www.example.com/layer", 201),
        (rules(**ALLOW), "https://second/layer", 201),
        (rules(**ALLOW), "https://evil.org/layer", 400),
        (rules(deny=["^http://evil/"]), "http://evil/layer.tar", 400),
        (rules(deny=["^http://evil/"]), "http://good/layer.tar", 201),
        (rules(deny=["^http://evil/"]), "ftp://good/layer.tar", 400),
        (rules(deny=["^http://evil/"]), "http://good/layer.tar#part", 400),
        (rules(deny=["^http://evil/"]), " http://evil/layer.tar", 400),
        (rules(deny=["^http://evil/"]), "http://[/", 400),
        (rules(**ALLOW, deny=["/private/"]), "https://www.example.com/private/layer", 400),
        (rules(**ALLOW, deny=["/private/"]), "https://www.example.com/layer", 201),
        # A file that asks for the check and names nothing allows nothing, as there.
        (rules(), "https://www.example.com/layer", 400),
        ({"enabled": True}, "https://www.example.com/layer", 400),
        # What it does not mention, and what it switches off, is not checked.
        (None, "https://www.example.com/layer", 201),
        ({"manifests": {"layers": "all"}}, "https://www.example.com/layer", 201),
        ({"disabled": True, **rules(deny=["."])}, "https://www.example.com/layer", 201),
        ({"disabled": True, "enabled": True, **rules(deny=["."])}, "https://www.example.com/layer", 400),
    ],
)
@pytest.mark.parametrize("media_type", [NONDISTRIBUTABLE, FOREIGN])
def test_a_url_of_a_layer_is_taken_or_refused(validation: Any, url: str, status: int, media_type: str):
    answer = push(app(validation), [url], media_type)

    assert answer.code == status
    if status == 400:
        (error,) = json.loads(answer.body)["errors"]
        assert error["code"] == "MANIFEST_INVALID"
        assert "validation.manifests.urls" in error["message"]


def test_each_url_is_looked_at():
    assert push(app(rules(deny=["evil"])), ["https://good/", "https://evil/"]).code == 400


@pytest.mark.parametrize("urls", ["https://good/", [5], {"a": 1}])
def test_urls_that_are_none_are_refused(urls: Any):
    assert push(app(rules(deny=["evil"])), urls).code == 400


def test_a_manifest_cannot_bring_more_than_can_be_looked_at():
    assert push(app(rules(deny=["evil"])), [f"https://good/{n}/" + "a" * 990 for n in range(100)]).code == 400


@pytest.mark.parametrize(
    ("urls", "line"),
    [
        ({"allow": ["("]}, "urls.allow[0]: '(' is not a regular expression: there is a '(' without its ')'"),
        (
            {"deny": ["a", "(?=b)"]},
            "urls.deny[1]: '(?=b)' is not a regular expression: '(?' begins what is not",
        ),
        ({"deny": [5]}, "urls.deny[0]: must be text; put it in quotes"),
        ({"alow": ["a"]}, "urls.alow: there is no such option (did you mean 'allow'?)"),
    ],
)
def test_a_mistake_in_an_expression_is_told_at_the_start(urls: dict[str, Any], line: str):
    with pytest.raises(ConfigError) as caught:
        app(rules(**urls))

    assert str(caught.value).startswith(f"config.yml: validation.manifests.{line}")
