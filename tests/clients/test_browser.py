"""A page of another site in a real browser lists what a registry has, and deletes from it.

With `REGISTRY_UI=DIR` the built files of docker-registry-ui are such a page too: see `scripts/registry-ui`.
"""

from __future__ import annotations

import functools
import http.server
import json
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from lab.auth_material import basic, htpasswd
from lab.browser import Browser, browsing
from lab.servers import CFMIDDLEWARE, eventually, free_port, running
from lab.serving import Service, ask, wait_for_greeting

from cfmiddleware.digest import Digest

pytestmark = pytest.mark.clients

LOGIN = ("alice", "sesame")
KIND = "application/vnd.oci.image.manifest.v1+json"
UI = os.environ.get("REGISTRY_UI", "")

#: What a user interface does, in a page of our own.
PAGE = """<!doctype html><button id=list>list</button><button id=delete>delete</button><pre id=said></pre>
<script>
const registry = "REGISTRY", credentials = "include", headers = {Accept: "KIND"}, said = [];
const call = async (method, path, more) => {
    const answer = await fetch(registry + path, {method, credentials, ...more});
    said.push(method + " " + path.split("@")[0].split("sha256")[0] + " " + answer.status);
    return answer;
};
const show = () => document.getElementById("said").textContent = said.join("\\n") + "\\nend";
document.getElementById("list").onclick = async () => {
    const {repositories} = await (await call("GET", "/v2/_catalog?n=1000")).json();
    for (const name of repositories) {
        const {tags} = await (await call("GET", `/v2/${name}/tags/list`)).json();
        for (const tag of tags ?? []) {
            const answer = await call("GET", `/v2/${name}/manifests/${tag}`, {headers});
            const manifest = await answer.json();
            const config = await (await call("GET", `/v2/${name}/blobs/${manifest.config.digest}`)).json();
            said.push(name + ":" + tag + " " + config.os + " " + answer.headers.get("Docker-Content-Digest"));
        }
    }
    show();
};
document.getElementById("delete").onclick = async () => {
    const answer = await call("HEAD", "/v2/app/manifests/latest", {headers});
    await call("DELETE", "/v2/app/manifests/" + answer.headers.get("Docker-Content-Digest"));
    show();
};
</script>"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A server of files that logs nothing."""

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Another site: its URL, and the directory of its pages."""
    pages = tmp_path / "site"
    pages.mkdir()
    handler = functools.partial(Quiet, directory=str(pages))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", pages
        server.shutdown()


@pytest.fixture(params=[False, True], ids=["open", "with a password"])
def place(
    request: pytest.FixtureRequest, tmp_path: Path, site: tuple[str, Path]
) -> Iterator[tuple[Service, dict[str, str]]]:
    """A registry with an image, whose headers let the site in, and what a client must send."""
    (tmp_path / "htpasswd").write_bytes(htpasswd(dict([LOGIN])))
    port = free_port()
    tree: dict[str, Any] = {
        "storage": {"filesystem": {"rootdirectory": "objects"}, "delete": {"enabled": True}},
        "http": {
            "addr": f"127.0.0.1:{port}",
            "headers": {
                "Access-Control-Allow-Origin": [site[0]],
                "Access-Control-Allow-Methods": ["HEAD", "GET", "OPTIONS", "DELETE"],
                "Access-Control-Allow-Headers": ["Authorization", "Accept", "Cache-Control"],
                "Access-Control-Allow-Credentials": [True],
                "Access-Control-Max-Age": [1728000],
                "Access-Control-Expose-Headers": ["Docker-Content-Digest"],
            },
        },
    }
    if request.param:
        tree["auth"] = {"htpasswd": {"realm": "r", "path": "htpasswd"}}
    (tmp_path / "config.yml").write_text(yaml.safe_dump(tree))
    command = [CFMIDDLEWARE, "serve", str(tmp_path / "config.yml")]
    with running(command, tmp_path / "process", ports=[port]) as server:
        wait_for_greeting(server)
        headers = basic(*LOGIN) if request.param else {}
        service = Service(server, port, 0)
        push(service, headers)
        yield service, headers


def push(service: Service, headers: dict[str, str]) -> None:
    """Push an image `app:latest`."""

    def blob(content: bytes, kind: str) -> dict[str, Any]:
        digest = Digest.of(content)
        url = f"{service.url}/v2/app/blobs/uploads/?digest={digest}"
        assert ask("POST", url, content, headers).status == 201
        return {"mediaType": kind, "size": len(content), "digest": str(digest)}

    settings = {"os": "linux", "architecture": "amd64", "created": "2026-08-01T00:00:00Z", "history": []}
    manifest = {
        "schemaVersion": 2,
        "mediaType": KIND,
        "config": blob(json.dumps(settings).encode(), "application/vnd.oci.image.config.v1+json"),
        "layers": [blob(b"a layer", "application/vnd.oci.image.layer.v1.tar")],
    }
    url = f"{service.url}/v2/app/manifests/latest"
    assert ask("PUT", url, json.dumps(manifest).encode(), {**headers, "Content-Type": KIND}).status == 201


def is_there(place: tuple[Service, dict[str, str]]) -> bool:
    service, headers = place
    answer = ask("GET", f"{service.url}/v2/app/manifests/latest", headers={**headers, "Accept": KIND})
    return answer.status == 200


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    with browsing(tmp_path / "browser", LOGIN) as browser:
        yield browser


def test_a_page_of_another_site_lists_and_deletes(
    browser: Browser, site: tuple[str, Path], place: tuple[Service, dict[str, str]]
):
    service, _ = place
    (site[1] / "index.html").write_text(PAGE.replace("REGISTRY", service.url).replace("KIND", KIND))
    said = "document.getElementById('said').textContent"
    browser.open(f"{site[0]}/index.html")

    browser.click("document.getElementById('list')")
    listed = browser.wait_for(f"{said}.endsWith('end') && {said}")
    browser.click("document.getElementById('delete')")
    deleted = browser.wait_for(f"{said}.includes('DELETE') && {said}")

    assert "GET /v2/app/blobs/ 200" in listed
    assert "app:latest linux sha256:" in listed
    assert "DELETE /v2/app/manifests/ 202" in deleted
    assert not is_there(place)
    # The browser asked before, without the password.
    assert eventually(lambda: "OPTIONS /v2/app/manifests/sha256:" in service.server.stderr)


if UI:

    def test_docker_registry_ui_lists_and_deletes(
        browser: Browser, site: tuple[str, Path], place: tuple[Service, dict[str, str]]
    ):
        service, headers = place
        for source in Path(UI).rglob("*"):
            target = site[1] / source.relative_to(UI)
            if source.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(source.read_bytes())
        page = (Path(UI) / "index.html").read_text()
        given = {
            **{"REGISTRY_URL": service.url, "SINGLE_REGISTRY": "true", "DELETE_IMAGES": "true"},
            **{"REGISTRY_SECURED": "true" if headers else "false", "REGISTRY_TITLE": "registry"},
            # As its image has them.
            **{"CATALOG_ELEMENTS_LIMIT": "1000", "TAGLIST_PAGE_SIZE": "100", "CATALOG_MIN_BRANCHES": "1"},
            **{"CATALOG_MAX_BRANCHES": "1", "THEME": "light", "TAGLIST_ORDER": "alpha-asc;num-desc"},
        }
        for name, value in given.items():
            page = page.replace(f"${{{name}}}", value)
        (site[1] / "index.html").write_text(re.sub(r"\$\{[A-Z_]+\}", "", page))
        browser.open(f"{site[0]}/index.html")

        browser.click("document.querySelector('catalog-element material-card')")
        browser.wait_for("document.querySelector('tag-table')?.innerText.includes('latest')")
        confirm = (
            "[...document.querySelectorAll('confirm-delete-image .dialog-button')]"
            ".find(e => e.innerText.trim().toLowerCase() == 'delete' && e.getBoundingClientRect().width)"
        )

        def is_asked() -> bool:
            browser.click("document.querySelector('remove-image i')")  # nothing, before it knows the digest
            return bool(browser.run(f"!!{confirm}"))

        assert eventually(is_asked, 30)
        browser.click(confirm)
        assert eventually(lambda: browser.run("true") and not is_there(place), 30), browser.requests
