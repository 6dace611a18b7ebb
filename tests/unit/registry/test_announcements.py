"""What the registry tells of each request, and that a redirected pull is a pull."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from lab.apps import ask, request, wrap
from lab.registry_client import CONFIG, LAYER, OCI_INDEX, OCI_MANIFEST, RegistryClient, error_code

from cfmiddleware.config import Config
from cfmiddleware.digest import Digest
from cfmiddleware.notifications.endpoint import Endpoint
from cfmiddleware.notifications.entries import SpoolError
from cfmiddleware.notifications.envelope import Source
from cfmiddleware.notifications.notifier import Notifier
from cfmiddleware.notifications.requester import requester
from cfmiddleware.notifications.spool import Spool
from cfmiddleware.registry import manifests
from cfmiddleware.registry.app import Registry
from cfmiddleware.signing.keys import generate
from cfmiddleware.storage.memory import MemoryDriver

LARGE = b"layer" * 1000
DIGEST = Digest.of(LARGE)


class Told(Notifier):
    """A notifier that keeps events and starts no delivery."""

    def __init__(self, path: Path, *ignored: str, **options: Any) -> None:
        super().__init__(
            [Endpoint("a", "", actions=frozenset(ignored))], Spool(path), Source("h", "i"), **options
        )
        self.path = path

    def start(self) -> None:
        """Start nothing."""

    def events(self) -> list[dict[str, Any]]:
        found = []
        for event in list(self.spool.all()):
            found.append(json.loads(event.body))
            self.spool.delivered(event.seq)
        return found

    def said(self) -> list[tuple[str, ...]]:
        """Return the action, the method and what else is worth a look of each event, and forget them."""
        names = ("repository", "tag", "size", "fromRepository")
        return [
            (
                each["action"],
                each["request"]["method"],
                *(str(each["target"].get(name, "")) for name in names),
            )
            for each in self.events()
        ]


@pytest.fixture
def told(tmp_path: Path) -> Told:
    return Told(tmp_path, references=True)


@pytest.fixture
def client(told: Told) -> RegistryClient:
    return RegistryClient(MemoryDriver(), notifier=told, delete=True)


def push_image(client: RegistryClient, reference: str = "v1") -> Digest:
    config = b'{"architecture":"amd64"}'
    for blob in (config, LARGE):
        answer = client.post(f"/v2/app/blobs/uploads/?digest={Digest.of(blob)}", data=blob)
        assert answer.status_code == 201
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": CONFIG, "size": len(config), "digest": str(Digest.of(config))},
        "layers": [{"mediaType": LAYER, "size": len(LARGE), "digest": str(DIGEST)}],
    }
    content = json.dumps(manifest).encode()
    digest = Digest.of(content)
    path = f"/v2/app/manifests/{reference.format(digest)}"
    assert client.put(path, data=content, content_type=OCI_MANIFEST).status_code == 201
    return digest


def test_a_push_and_its_ways(client: RegistryClient, told: Told):
    location = client.post("/v2/app/blobs/uploads/").headers["Location"]
    location = client.patch(location, data=LARGE).headers["Location"]
    assert told.said() == []
    assert client.put(f"{location}?digest={DIGEST}").status_code == 201
    assert client.put(f"{location}?digest={DIGEST}").status_code == 201  # its answer was lost
    location = client.post("/v2/app/blobs/uploads/").headers["Location"]
    assert client.put(f"{location}?digest={DIGEST}", data=LARGE).status_code == 201
    assert client.post(f"/v2/app/blobs/uploads/?digest={DIGEST}", data=LARGE).status_code == 201
    assert {each[:5] for each in told.said()} == {
        ("push", "PUT", "app", "", "5000"),
        ("push", "POST", "app", "", "5000"),
    }
    assert client.post(f"/v2/app/blobs/uploads/?digest={DIGEST}", data=b"other").status_code == 400
    assert told.said() == []


def test_what_is_told_of_an_image(client: RegistryClient, told: Told):
    digest = push_image(client)
    pushed = told.events()
    assert [each["target"]["mediaType"] for each in pushed] == [
        "application/octet-stream",
        "application/octet-stream",
        OCI_MANIFEST,
    ]
    target = pushed[-1]["target"]
    assert target["url"] == f"http://localhost/v2/app/manifests/{digest}"
    assert [each["mediaType"] for each in target["references"]] == [CONFIG, LAYER]
    assert client.get("/v2/app/manifests/v1").status_code == 200
    assert client.head(f"/v2/app/manifests/{digest}").status_code == 200
    pulls = told.events()
    assert [each["target"] for each in pulls] == [
        target,
        {name: value for name, value in target.items() if name != "tag"},
    ]
    assert client.get("/v2/app/manifests/v1", headers={"If-None-Match": f'"{digest}"'}).status_code == 304
    assert client.get("/v2/app/manifests/v2").status_code == 404
    assert told.said() == []


def test_a_manifest_that_is_pushed_with_several_tags_is_an_event_for_each(client: RegistryClient, told: Told):
    push_image(client, "{0}?tag=a&tag=b&tag=a")
    assert [each[3] for each in told.said() if each[1] == "PUT"] == ["a", "b"]


def test_what_is_told_of_deletes_and_mounts(client: RegistryClient, told: Told):
    digest = push_image(client)
    push_image(client, "v2")
    told.events()
    assert client.post(f"/v2/other/blobs/uploads/?mount={DIGEST}&from=app").status_code == 201
    assert client.delete(f"/v2/other/blobs/{DIGEST}").status_code == 202
    assert client.delete("/v2/app/manifests/v1").status_code == 202
    assert client.delete(f"/v2/app/manifests/{digest}").status_code == 202
    assert client.delete(f"/v2/app/manifests/{digest}").status_code == 404
    assert told.said() == [
        ("mount", "POST", "other", "", "5000", "app"),
        ("delete", "DELETE", "other", "", "", ""),
        ("delete", "DELETE", "app", "v1", "", ""),
        ("delete", "DELETE", "app", "", "", ""),
        ("delete", "DELETE", "app", "v2", "", ""),
    ]


def test_what_is_told_of_pulls_of_blobs(client: RegistryClient, told: Told):
    push_image(client)
    told.events()
    path = f"/v2/app/blobs/{DIGEST}"
    for headers in ({}, {"Range": "bytes=0-1"}, {"If-None-Match": f'"{DIGEST}"'}):
        assert client.get(path, headers=headers).status_code in (200, 206, 304)
    assert client.head(path).status_code == 200
    assert client.get(path, headers={"Range": "bytes=99999-"}).status_code == 416
    assert client.get(f"/v2/app/blobs/{Digest.of(b'no')}").status_code == 404
    assert [each[:2] + each[4:5] for each in told.said()] == [
        *[("pull", "GET", "5000")] * 3,
        ("pull", "HEAD", "5000"),
    ]


@pytest.mark.parametrize("options", [{}, {"probe": "head"}, {"probecache": 30}], ids=["get", "head", "cache"])
def test_a_redirected_pull_is_one_pull(told: Told, options: dict[str, Any]):
    registry = Registry(MemoryDriver("/team"), notifier=told)
    assert ask(registry, push_request()).code == 201
    told.events()
    app = wrap(registry, rootdirectory="/team", **options)
    for _ in range(3):
        assert ask(app, request(f"/v2/app/blobs/{DIGEST}")).code == 307
    assert told.said() == [("pull", "GET", "app", "", "5000", "")] * 3


@pytest.mark.parametrize("probe", ["get", "head"])
def test_a_pull_that_is_not_redirected_is_one_pull(told: Told, probe: str):
    registry = Registry(MemoryDriver("/team"), notifier=told)
    assert ask(registry, push_request()).code == 201
    told.events()
    app = wrap(registry, rootdirectory="/team", probe=probe, minimumsize=1_000_000)
    assert ask(app, request(f"/v2/app/blobs/{DIGEST}")).code == 200
    assert told.said() == [("pull", "GET", "app", "", "5000", "")]


def push_request() -> dict[str, Any]:
    from io import BytesIO

    return request(
        "/v2/app/blobs/uploads/",
        REQUEST_METHOD="POST",
        QUERY_STRING=f"digest={DIGEST}",
        CONTENT_LENGTH=str(len(LARGE)),
        **{"wsgi.input": BytesIO(LARGE)},
    )


def test_what_nobody_wants_is_not_kept(tmp_path: Path):
    told = Told(tmp_path, "pull")
    client = RegistryClient(MemoryDriver(), notifier=told)
    push_image(client)
    client.get(f"/v2/app/blobs/{DIGEST}")
    client.get("/v2/app/manifests/v1")
    assert [each[0] for each in told.said()] == ["push"] * 3


class Full(Spool):
    """A spool that is full, or broken."""

    error = ""

    def add(self, entries):
        if self.error:
            raise SpoolError(self.error)
        return list(entries)

    def is_full(self):
        if self.error:
            raise SpoolError(self.error)
        return True


@pytest.mark.parametrize("error", ["", "disk I/O error"])
@pytest.mark.parametrize("refuses", [False, True])
def test_what_becomes_of_requests_while_no_event_can_be_kept(
    tmp_path: Path, refuses: bool, error: str, caplog: pytest.LogCaptureFixture
):
    driver = MemoryDriver()
    push_image(RegistryClient(driver))
    told = Told(tmp_path, refuses=refuses)
    told.spool = Full(tmp_path)
    told.spool.error = error
    client = RegistryClient(driver, notifier=told, delete=True)

    assert client.get(f"/v2/app/blobs/{DIGEST}").status_code == 200
    pushed = client.post(f"/v2/new/blobs/uploads/?digest={DIGEST}", data=LARGE)
    deleted = client.delete(f"/v2/app/blobs/{DIGEST}")
    if refuses:
        assert [error_code(each) for each in (pushed, deleted)] == ["UNAVAILABLE"] * 2
        assert [each.status_code for each in (pushed, deleted)] == [503, 503]
        assert pushed.headers["Retry-After"]
        assert client.get(f"/v2/new/blobs/{DIGEST}").status_code == 404
        assert client.get(f"/v2/app/blobs/{DIGEST}").status_code == 200
    else:
        assert [each.status_code for each in (pushed, deleted)] == [201, 202]
    assert len(caplog.records) == 1
    assert (error or "full") in caplog.text


def test_who_asked_is_the_peer_or_whom_proxies_vouch_for():
    environ = {
        "REQUEST_METHOD": "GET",
        "REMOTE_ADDR": "192.0.2.1",
        "REMOTE_PORT": "4000",
        "HTTP_X_FORWARDED_FOR": "203.0.113.9, 198.51.100.7",
        "HTTP_USER_AGENT": "caf\u00c3\u00a9 \u00ff",
    }
    assert requester(environ).addr == "192.0.2.1:4000"
    assert requester(environ | {"REMOTE_ADDR": "2001:db8::1"}).addr == "[2001:db8::1]:4000"
    assert requester(environ | {"REMOTE_ADDR": ""}).addr == ""
    assert requester(environ, trustedproxies=1).addr == "198.51.100.7"
    assert requester(environ).useragent == "caf\u00e9 \ufffd"


def test_an_index_refers_to_its_entries(client: RegistryClient, told: Told):
    digest = push_image(client)
    entry = {"mediaType": OCI_MANIFEST, "size": 1, "digest": str(digest), "platform": {"os": "linux"}}
    index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]})
    assert client.put("/v2/app/manifests/all", data=index, content_type=OCI_INDEX).status_code == 201
    del entry["platform"]
    assert told.events()[-1]["target"]["references"] == [entry]


def large_manifest(client: RegistryClient, layers: int) -> bytes:
    """Return a manifest that names one layer many times; the layer is pushed."""
    assert client.post(f"/v2/app/blobs/uploads/?digest={DIGEST}", data=LARGE).status_code == 201
    layer = {"mediaType": LAYER, "size": len(LARGE), "digest": str(DIGEST)}
    manifest = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": layer, "layers": [layer] * layers}
    return json.dumps(manifest).encode()


def test_what_much_is_referred_to_is_said_with_the_first_of_many_tags(client: RegistryClient, told: Told):
    content = large_manifest(client, 3000)
    told.events()
    tags = "&".join(f"tag=v{number}" for number in range(10))
    path = f"/v2/app/manifests/{Digest.of(content)}?{tags}"
    assert client.put(path, data=content, content_type=OCI_MANIFEST).status_code == 201
    targets = [each["target"] for each in told.events()]
    assert [each["tag"] for each in targets] == [f"v{number}" for number in range(10)]
    assert [len(each.get("references", ())) for each in targets] == [3001, *[0] * 9]


def test_a_large_manifest_is_read_once_for_the_events_of_its_pulls(
    client: RegistryClient, told: Told, monkeypatch: pytest.MonkeyPatch
):
    content = large_manifest(client, 1000)
    read: list[bytes] = []
    monkeypatch.setattr(manifests, "parse_references", lambda content: read.append(content) or "")
    assert client.put("/v2/app/manifests/v1", data=content, content_type=OCI_MANIFEST).status_code == 201
    told.events()
    for _ in range(2):
        assert client.get("/v2/app/manifests/v1").status_code == 200
    assert [len(each["target"]["references"]) for each in told.events()] == [1001, 1001]
    assert read == []


def test_a_redirect_of_which_the_registry_is_not_asked_is_a_pull(tmp_path: Path):
    (tmp_path / "pk-K1.pem").write_text(generate("ecdsa").private_pem)
    options = {"baseurl": "d1.example", "privatekey": "pk-K1.pem", "probe": "none"}
    config = Config(
        {
            "storage": {"filesystem": {"rootdirectory": str(tmp_path / "data")}},
            "middleware": {"storage": [{"name": "cloudfront", "options": options}]},
            "notifications": {
                "endpoints": [{"name": "a", "url": "http://127.0.0.1:9/"}],
                "spool": {"directory": "spool"},
            },
        },
        "config.yml",
        tmp_path,
    )
    app = config.app()
    assert config.notifier is not None
    config.notifier.start = lambda: None  # type: ignore[method-assign]
    assert ask(app, push_request()).code == 201
    assert ask(app, request(f"/v2/app/blobs/{DIGEST}")).code == 307
    assert ask(app, request(f"/v2/app/blobs/{DIGEST}", "HEAD")).code == 200
    events = [json.loads(each.body) for each in config.spool().all()]
    said = [(each["action"], each["request"]["method"]) for each in events]
    assert said == [("push", "POST"), ("pull", "GET"), ("pull", "HEAD")]
    assert {each["target"]["digest"] for each in events} == {str(DIGEST)}


def test_a_wrapper_of_the_same_configuration_tells_of_its_redirects(tmp_path: Path, monkeypatch):
    directory = tmp_path
    (directory / "pk-K1.pem").write_text(generate("ecdsa").private_pem)
    config = Config(
        {
            "storage": {"filesystem": {"rootdirectory": str(directory / "data")}},
            "middleware": {
                "storage": [
                    {"name": "cloudfront", "options": {"baseurl": "d1.example", "privatekey": "pk-K1.pem"}}
                ]
            },
            "notifications": {
                "endpoints": [{"name": "a", "url": "http://127.0.0.1:9/"}],
                "spool": {"directory": "spool"},
            },
        },
        "config.yml",
        directory,
    )
    app = config.app()
    assert config.notifier is not None
    config.notifier.start = lambda: None  # type: ignore[method-assign]
    assert ask(app, push_request()).code == 201
    with monkeypatch.context() as patched:
        patched.setattr(Registry, "__call__", None)  # it is asked where the blob is, and for no answer
        answer = ask(app, request(f"/v2/app/blobs/{DIGEST}"))
    assert answer.code == 307
    push, pull = (json.loads(each.body) for each in config.spool().all())
    assert [push["action"], pull["action"]] == ["push", "pull"]
    assert pull["target"] == push["target"]
    assert pull["request"]["method"] == "GET"
    assert ask(app, request(f"/v2/app/blobs/{Digest.of(b'no')}")).code == 404
    assert len(list(config.spool().all())) == 2
