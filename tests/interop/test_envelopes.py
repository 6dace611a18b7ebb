"""Distribution and this registry tell of the same actions in the same words."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from lab.docker_registry import require_docker_registry, running_with
from lab.event_receiver import Receiver, receiving
from lab.registry_client import CONFIG, LAYER, OCI_INDEX, OCI_MANIFEST
from lab.servers import eventually
from lab.serving import ask, serving

from cfmiddleware.digest import Digest

pytestmark = pytest.mark.servers

CONFIGURATION = b'{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}'
CONTENT = b"layer<&>" * 100


def sections(directory: Path, receiver: Receiver) -> dict[str, Any]:
    endpoint = {
        "name": "listener",
        "url": receiver.url,
        "headers": {"Authorization": ["Bearer a-token"], "X-Several": ["1"]},
        "timeout": "5s",
    }
    return {
        "storage": {"filesystem": {"rootdirectory": str(directory / "data")}, "delete": {"enabled": True}},
        "notifications": {"events": {"includereferences": True}, "endpoints": [endpoint]},
    }


@contextmanager
def distribution(directory: Path) -> Iterator[tuple[str, Receiver]]:
    require_docker_registry()
    with receiving() as receiver, running_with(directory, **sections(directory, receiver)) as registry:
        yield f"http://{registry.address}", receiver


@contextmanager
def ours(directory: Path) -> Iterator[tuple[str, Receiver]]:
    directory.mkdir()
    with receiving() as receiver:
        tree: dict[str, Any] = {"version": 0.1, **sections(directory, receiver)}
        tree["notifications"]["spool"] = {"directory": "spool"}
        (directory / "config.yml").write_text(yaml.safe_dump(tree))
        with serving(directory / "process", str(directory / "config.yml"), edge=False) as service:
            yield service.url, receiver


def act(url: str) -> list[int]:
    """Do what makes events, one after the other, and return the statuses of the answers."""
    done: list[int] = []
    agent = {"User-Agent": "client/1 (a <b> & \u00e9)".encode().decode("latin-1")}

    def send(method: str, path: str, body: bytes | None = None, **headers: str) -> Any:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = ask(method, path if "://" in path else url + path, body, {**agent, **named})
        done.append(answer.status)
        return answer

    for blob in (CONFIGURATION, CONTENT):
        location = send("POST", "/v2/team/app/blobs/uploads/").headers["Location"]
        join = "&" if "?" in location else "?"
        send(
            "PUT", f"{location}{join}digest={Digest.of(blob)}", blob, Content_Type="application/octet-stream"
        )
    layer = {"mediaType": LAYER, "size": len(CONTENT), "digest": str(Digest.of(CONTENT))}
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": CONFIG, "size": len(CONFIGURATION), "digest": str(Digest.of(CONFIGURATION))},
        "layers": [{**layer, "annotations": {"b": "<\u00e9>", "a": "&"}}],
    }
    content = json.dumps(manifest).encode()
    digest, blob_digest = Digest.of(content), Digest.of(CONTENT)
    platform = {"architecture": "amd64", "os": "linux"}
    entry = {"mediaType": OCI_MANIFEST, "size": len(content), "digest": str(digest), "platform": platform}
    index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}).encode()
    send("PUT", "/v2/team/app/manifests/v1", content, Content_Type=OCI_MANIFEST)
    send("PUT", f"/v2/team/app/manifests/{digest}", content, Content_Type=OCI_MANIFEST)
    send("PUT", "/v2/team/app/manifests/all", index, Content_Type=OCI_INDEX)
    for method in ("GET", "HEAD"):
        send(method, "/v2/team/app/manifests/v1", Accept=OCI_MANIFEST)
        send(method, f"/v2/team/app/manifests/{digest}", Accept=OCI_MANIFEST)
        send(method, "/v2/team/app/manifests/all", Accept=OCI_INDEX)
        send(method, f"/v2/team/app/blobs/{blob_digest}")
    send("GET", "/v2/team/app/manifests/v1", Accept=OCI_MANIFEST, If_None_Match=f'"{digest}"')
    send("GET", f"/v2/team/app/blobs/{blob_digest}", Range="bytes=1-4")
    send("GET", f"/v2/team/app/blobs/{blob_digest}", If_None_Match=f'"{blob_digest}"')
    send("POST", f"/v2/team/other/blobs/uploads/?mount={blob_digest}&from=team/app")
    send("DELETE", f"/v2/team/other/blobs/{blob_digest}")
    send("DELETE", f"/v2/team/app/manifests/{digest}")
    return done


def told(body: bytes) -> str:
    """Return an envelope without what differs: ids, times, ports and the machine's address."""
    text = re.sub(r'("(?:id|timestamp|instanceID)": )"[^"]+"', r"\1...", body.decode())
    return re.sub(r'127\.0\.0\.1:[0-9]+|(?<="addr": ")[^"]+', "HOST", text)


def test_envelopes_are_those_of_distribution(tmp_path: Path):
    found: list[list[str]] = []
    statuses = []
    for running, name in ((distribution, "distribution"), (ours, "ours")):
        with running(tmp_path / name) as (url, receiver):
            statuses.append(act(url))
            assert eventually(lambda seen=receiver: len(seen.taken) >= 19)
            found.append([told(each.body) for each in receiver.taken])
            for each in receiver.taken:
                assert each.target == "/event?token=s3cr3t"
                assert each.headers["Content-Type"] == "application/vnd.docker.distribution.events.v1+json"
                assert (each.headers["Authorization"], each.headers["X-Several"]) == ("Bearer a-token", "1")
            events = receiver.events()
            assert len({event["id"] for event in events}) == len(events)
            assert len({event["source"]["instanceID"] for event in events}) == 1
    assert statuses[0] == statuses[1]
    assert found[0] == found[1]
