"""Events around an app of any kind: they are those that our own registry makes, and nothing is told twice."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from lab.apps import ask, request, wrap
from lab.registry_client import OCI_MANIFEST, image_manifest

from cfmiddleware.config import Config
from cfmiddleware.digest import Digest
from cfmiddleware.middleware.announced import Announced
from cfmiddleware.notifications.endpoint import Endpoint
from cfmiddleware.notifications.entries import Entry
from cfmiddleware.notifications.envelope import Source
from cfmiddleware.notifications.notifier import Notifier
from cfmiddleware.notifications.spool import Spool
from cfmiddleware.registry.app import Registry
from cfmiddleware.signing.keys import generate
from cfmiddleware.storage.memory import MemoryDriver

LAYER = b"layer" * 1000
DIGEST = Digest.of(LAYER)
MANIFEST = json.dumps(image_manifest(DIGEST, [DIGEST])).encode()
PUSHED = Digest.of(MANIFEST)


class Told(Notifier):
    """A notifier that keeps events and starts no delivery."""

    def __init__(self, path: Path, **options: Any) -> None:
        super().__init__([Endpoint("a", "")], Spool(path), Source("h", "i"), **options)
        self.spool.check()

    def start(self) -> None:
        """Start nothing."""

    def events(self) -> list[dict[str, Any]]:
        found = []
        for event in list(self.spool.all()):
            found.append(json.loads(event.body))
            self.spool.delivered(event.seq)
        return found


def send(app: Any, method: str, path: str, body: bytes = b"", **more: Any) -> Any:
    path, _, query = path.partition("?")
    environ = request(path, method, QUERY_STRING=query, CONTENT_LENGTH=str(len(body)), **more)
    return ask(app, {**environ, "wsgi.input": BytesIO(body), "HTTP_HOST": "hub.example"})


def place(answer: Any) -> str:
    """Return where an answer leads, on the same server."""
    return urlsplit(dict(answer.headers)["Location"])._replace(scheme="", netloc="").geturl()


def everything(app: Any) -> list[int]:
    """Do all that there are events of, and some that there are none of."""
    codes = []

    def do(method: str, path: str, body: bytes = b"", **more: Any) -> Any:
        answer = send(app, method, path, body, **more)
        codes.append(answer.code)
        return answer

    blob, manifest = f"/v2/team/app/blobs/{DIGEST}", "/v2/team/app/manifests"
    uploads = "/v2/team/app/blobs/uploads/"
    do("GET", "/v2/")
    do("POST", f"{uploads}?digest={DIGEST}", LAYER)
    location = place(do("POST", uploads))
    location = place(do("PATCH", location, LAYER[:3000]))
    do("PUT", f"{location}{'&' if '?' in location else '?'}digest={DIGEST}", LAYER[3000:])
    do("POST", f"/v2/other/blobs/uploads/?mount={DIGEST}&from=team/app")
    do("PUT", f"{manifest}/v1", MANIFEST, CONTENT_TYPE=OCI_MANIFEST)
    do("GET", f"{manifest}/v1")
    do("HEAD", f"{manifest}/{PUSHED}")
    do("GET", f"{manifest}/v2")
    do("GET", blob)
    do("GET", blob, HTTP_RANGE="bytes=1-2")
    do("HEAD", blob)
    do("GET", f"/v2/team/app/blobs/{Digest.of(b'no')}")
    do("DELETE", f"{manifest}/v1")
    do("DELETE", f"{manifest}/{PUSHED}")
    do("DELETE", blob)
    return codes


def told_of(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what does not change from one request to the next."""
    for event in events:
        for name in ("id", "timestamp"):
            del event[name]
        del event["request"]["id"]
    return events


def test_events_around_another_app_are_those_of_our_own_registry(tmp_path: Path):
    ours, around = Told(tmp_path / "ours"), Told(tmp_path / "around")
    codes = everything(Registry(MemoryDriver(), delete=True, notifier=ours))
    assert everything(Announced(Registry(MemoryDriver(), delete=True), around)) == codes
    expected, found = told_of(ours.events()), told_of(around.events())
    mounts = [each for each in expected if each["action"] == "mount"]
    for each in mounts:  # the answer does not say how large the blob is
        del each["target"]["size"], each["target"]["length"]
    assert found == expected
    assert len(found) == 12


def test_a_redirect_is_a_pull_and_a_registry_that_tells_by_itself_is_not_talked_over(tmp_path: Path):
    driver = MemoryDriver("/team")
    send(Registry(driver), "POST", f"/v2/app/blobs/uploads/?digest={DIGEST}", LAYER)
    for own in (False, True):
        for options in ({}, {"probecache": 30}, {"probe": "head"}):
            told = Told(tmp_path / f"{own}{len(options)}{list(options)}")
            registry = Registry(driver, notifier=told if own else None)
            app = Announced(wrap(registry, rootdirectory="/team", **options), told)
            for _ in range(2):
                assert send(app, "GET", f"/v2/app/blobs/{DIGEST}").code == 307
            pulls = told.events()
            assert [each["action"] for each in pulls] == ["pull", "pull"], (own, options)
            assert {each["target"]["digest"] for each in pulls} == {str(DIGEST)}
            assert {each["request"]["method"] for each in pulls} == {"GET"}
            assert pulls[0]["target"].get("size") == (5000 if own else None)


def test_a_redirect_is_as_large_as_the_app_said(tmp_path: Path):
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Docker-Content-Digest", str(DIGEST)), ("Content-Length", "5000")])
        return [LAYER]

    told = Told(tmp_path)
    assert send(Announced(wrap(app), told), "GET", f"/v2/app/blobs/{DIGEST}").code == 307
    assert told.events()[0]["target"]["size"] == 5000


def test_who_was_let_in_is_who_acted(tmp_path: Path):
    told = Told(tmp_path)
    app = Announced(Registry(MemoryDriver()), told)
    for more in ({"HTTP_AUTHORIZATION": "Basic YW5uOnNlY3JldA=="}, {"REMOTE_USER": "bob"}, {}):
        send(app, "POST", f"/v2/app/blobs/uploads/?digest={DIGEST}", LAYER, **more)
    send(app, "POST", f"/v2/app/blobs/uploads/?digest={DIGEST}", LAYER, HTTP_AUTHORIZATION="Basic !")
    events = told.events()
    assert [each["actor"] for each in events] == [{"name": "ann"}, {"name": "bob"}, {}, {}]
    assert "secret" not in json.dumps(events)

    def app_that_knows(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        environ["REMOTE_USER"] = "eve"
        start_response("202 Accepted", [])
        return [b""]

    send(Announced(app_that_knows, told), "DELETE", "/v2/app/manifests/v1")
    assert [each["actor"] for each in told.events()] == [{"name": "eve"}]


class Full(Spool):
    """A spool that has room until somebody wants to use it."""

    full = False

    def add(self, entries: Any) -> list[Entry]:
        return list(entries)

    def is_full(self) -> bool:
        return self.full


@pytest.mark.parametrize("full", [False, True])
def test_an_event_that_cannot_be_kept_refuses_a_change_if_the_operator_says_so(tmp_path: Path, full: bool):
    told = Told(tmp_path, refuses=True)
    spool = told.spool = Full(tmp_path)
    spool.full = full
    driver = MemoryDriver()
    app = Announced(Registry(driver), told)
    answer = send(app, "POST", f"/v2/app/blobs/uploads/?digest={DIGEST}", LAYER)
    assert answer.code == 503
    assert json.loads(answer.body)["errors"][0]["code"] == "UNAVAILABLE"
    assert dict(answer.headers)["Retry-After"]
    assert send(Registry(driver), "HEAD", f"/v2/app/blobs/{DIGEST}").code == (404 if full else 200)
    assert send(app, "GET", "/v2/").code == 200


def test_paths_that_mean_nothing_are_handed_on_as_they_are(tmp_path: Path):
    seen = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        seen.append(environ)
        start_response("200 OK", [])
        return [b""]

    told = Told(tmp_path)
    announced = Announced(app, told, "/hub")
    sent = [request(path) for path in ("/", "/v2/a/manifests/b", "/hub/v2/A/manifests/b", "/hub/v2/_catalog")]
    sent += [request("/hub/v2/" + "a/" * 3000 + "manifests/b"), request("/hub/v2/a/manifests/")]
    for environ in sent:
        ask(announced, environ)
    assert all(one is other for one, other in zip(seen, sent, strict=True))
    assert told.events() == []
    ask(announced, request("/hub/v2/a/manifests/b"))
    (event,) = told.events()
    assert event["target"]["url"].endswith("/hub/v2/a/manifests/b")


def test_a_configuration_file_tells_of_the_app_that_it_wraps(tmp_path: Path):
    (tmp_path / "pk-K1.pem").write_text(generate("ecdsa").private_pem)
    options = {"baseurl": "d1.example", "privatekey": "pk-K1.pem", "prefix": "/hub"}
    tree = {
        "storage": {"filesystem": {"rootdirectory": str(tmp_path / "data")}},
        "middleware": {"storage": [{"name": "cloudfront", "options": options}]},
        "notifications": {
            "endpoints": [{"name": "a", "url": "http://127.0.0.1:9/"}],
            "spool": {"directory": "spool"},
        },
    }
    config = Config(tree, "config.yml", tmp_path)
    assert config.notifier is not None
    config.notifier.start = lambda: None  # type: ignore[method-assign]
    app = config.announced(config.wrap(Registry(MemoryDriver(), prefix="/hub")))
    send(app, "POST", f"/hub/v2/app/blobs/uploads/?digest={DIGEST}", LAYER)
    own = config.announced(config.wrap(config.registry()))
    send(own, "POST", f"/hub/v2/app/blobs/uploads/?digest={DIGEST}", LAYER)
    assert [each.action for each in config.spool().all()] == ["push"]
    del tree["notifications"]
    quiet = Config(tree, "config.yml", tmp_path)
    wrapped = quiet.wrap(Registry(MemoryDriver()))
    assert quiet.announced(wrapped) is wrapped
