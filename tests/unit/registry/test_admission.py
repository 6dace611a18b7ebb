"""Which requests wait, and for what, where waiting is free (greenlets) and where it is not (threads)."""

from __future__ import annotations

import contextlib
import io
import threading

import pytest
from lab.registry_client import RegistryClient, image_manifest
from werkzeug.test import EnvironBuilder, run_wsgi_app

from cfmiddleware.digest import Digest
from cfmiddleware.registry.admission import AHEAD
from cfmiddleware.storage.memory import MemoryDriver

LONG = b"x" * (2 * AHEAD)


class Client(io.BytesIO):
    """A body whose client stops sending at its end, until it is let on."""

    def __init__(self, content: bytes, *, breaks: bool = False) -> None:
        super().__init__(content)
        self._breaks = breaks
        self.silent, self.on = threading.Event(), threading.Event()

    def read(self, size=-1):
        data = super().read(size)
        if not data:
            self.silent.set()
            assert self.on.wait(30)
            if self._breaks:
                raise ConnectionResetError
        return data


class CountingDriver(MemoryDriver):
    """A storage that remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        super().__init__()

    def __getattribute__(self, name):
        found = super().__getattribute__(name)
        if callable(found) and not name.startswith("_"):
            self.asked.append(name)
        return found


@pytest.fixture(params=["greenlets", "threads"])
def servers(request, monkeypatch):
    free = request.param == "greenlets"
    monkeypatch.setattr("cfmiddleware.registry.admission.waiting_is_free", lambda: free)
    return request.param


@pytest.fixture
def greenlets(monkeypatch):
    monkeypatch.setattr("cfmiddleware.registry.admission.waiting_is_free", lambda: True)


def registry(**options) -> RegistryClient:
    return RegistryClient(MemoryDriver(), **{"max_uploads": 1, "uploadwait": 0.05, **options})


@contextlib.contextmanager
def sending(client, method, url, content, *, breaks=False):
    """Have a request under way whose client has sent *content* of a longer body, and yield its response."""
    body, answers = Client(content, breaks=breaks), []

    def send():
        environ = EnvironBuilder(url, method=method).get_environ()
        environ |= {"CONTENT_LENGTH": str(len(content) + 1), "wsgi.input": body}
        answers.append(run_wsgi_app(client.registry, environ))

    thread = threading.Thread(target=send)
    thread.start()
    try:
        assert body.silent.wait(30)
        yield answers
    finally:
        body.on.set()
        thread.join(30)


def refused(answer) -> bool:
    if answer.status_code != 429:
        return False
    assert answer.json["errors"][0]["code"] == "TOOMANYREQUESTS"
    assert int(answer.headers["Retry-After"]) > 0
    return True


def test_clients_that_send_a_byte_and_are_silent_keep_nobody_from_pushing(greenlets):
    client = registry()
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(sending(client, "PATCH", client.start("app"), b"x"))
            stack.enter_context(sending(client, "PUT", "/v2/app/manifests/t", b"{"))
        assert client.patch(client.start("app"), data=LONG).status_code == 202
        client.push_image("app", "latest")


def test_a_body_that_breaks_off_early_is_told_from_one_that_ended(greenlets):
    client = registry()
    url = client.start("app")
    with sending(client, "PATCH", url, b"abc", breaks=True) as answers:
        pass
    body, status, _ = answers[0]
    assert status == "400 Bad Request"
    assert b"BLOB_UPLOAD_INVALID" in b"".join(body)
    assert client.get(url).headers["Range"] == "0-0"
    with sending(client, "PATCH", url, b"abc") as answers:
        pass
    assert b"ended 1 bytes early" in b"".join(answers[0][0])


@pytest.mark.parametrize("path", ["blobs/uploads/?digest={}", "manifests/{}", None])
def test_a_body_that_breaks_off_early_asks_the_storage_nothing(greenlets, path):
    driver = CountingDriver()
    client = RegistryClient(driver)
    started = client.start("app")
    url = started if path is None else f"/v2/app/{path.format(Digest.of(b'abc'))}"
    method = "PATCH" if path is None else "PUT" if path.startswith("manifests") else "POST"
    with sending(client, method, url, b"abc", breaks=True) as answers:
        driver.asked.clear()
    assert answers[0][1] == "400 Bad Request"
    assert driver.asked == []


@pytest.mark.parametrize("size", [10, 2 * AHEAD])
def test_a_body_whose_client_took_too_long_is_answered_with_408(servers, size):
    class Slow(io.BytesIO):
        def read(self, most=-1):
            data = super().read(most)
            if not data:
                raise TimeoutError
            return data

    client = registry()
    environ = EnvironBuilder(client.start("app"), method="PATCH").get_environ()
    environ |= {"CONTENT_LENGTH": str(size + 1), "wsgi.input": Slow(b"x" * size)}
    body, status, _ = run_wsgi_app(client.registry, environ)
    assert status == "408 Request Timeout"
    assert b"REQUEST_TIMEOUT" in b"".join(body)


@pytest.mark.parametrize("size", [1, AHEAD - 1, AHEAD, AHEAD + 1, 3 * AHEAD])
@pytest.mark.parametrize("chunked", [True, False])
def test_a_body_that_was_begun_is_read_whole(greenlets, size, chunked):
    client = registry()
    content = bytes(index % 251 for index in range(size))
    url = client.start("app")
    environ = EnvironBuilder(url, method="PATCH").get_environ()
    environ |= {"wsgi.input": io.BytesIO(content if chunked else content + b"not of this request")}
    if chunked:
        environ |= {"wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"}
        environ.pop("CONTENT_LENGTH", None)
    else:
        environ["CONTENT_LENGTH"] = str(size)
    before = dict(environ)
    _, status, headers = run_wsgi_app(client.registry, environ)
    assert status == "202 Accepted"
    assert environ == before
    assert client.put(f"{headers['Location']}?digest={Digest.of(content)}").status_code == 201


def test_an_upload_waits_for_its_place_and_is_then_refused(greenlets):
    client = registry(uploadwait=30)
    second = client.start("app")
    waited = []
    with sending(client, "PATCH", client.start("app"), LONG):
        thread = threading.Thread(target=lambda: waited.append(client.patch(second, data=LONG)))
        thread.start()
        while not client.registry._admission._uploads.waiting:
            thread.join(0.001)
        assert not waited
    thread.join(30)
    assert waited[0].status_code == 202
    impatient = RegistryClient(client.driver, max_uploads=1, uploadwait=0.05)
    third = impatient.start("app")
    with sending(impatient, "PATCH", impatient.start("app"), LONG):
        assert refused(impatient.patch(third, data=LONG))
    assert impatient.patch(third, data=LONG).status_code == 202


def test_the_last_requests_of_a_push_need_none_of_the_places_of_bodies(servers):
    client = registry(max_uploads=4)
    layer, config = client.push_blob("app", b"layer"), client.push_blob("app", b"{}")
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(sending(client, "PATCH", client.start("app"), LONG))
        url = client.start("app")
        assert refused(client.patch(url, data=LONG))
        manifest = image_manifest(config, [layer])
        assert client.push_manifest("app", "latest", manifest).status_code == 201
        if servers == "greenlets":
            sent = client.patch(url, data=b"short")
            assert sent.status_code == 202
            assert client.put(f"{sent.headers['Location']}?digest={Digest.of(b'short')}").status_code == 201
            client.push_blob("app", b"another")


def test_large_manifests_take_places_of_their_own(greenlets):
    client = registry(max_uploads=8)
    with contextlib.ExitStack() as stack:
        for number in range(2):
            stack.enter_context(sending(client, "PUT", f"/v2/app/manifests/t{number}", LONG))
        assert refused(client.push_manifest("app", "big", LONG))
        assert client.patch(client.start("app"), data=LONG).status_code == 202
        client.push_image("app", "small")


def test_a_mount_that_searches_takes_a_place_and_no_other_does(servers):
    client = registry()
    digest = client.push_blob("other", b"layer")
    with sending(client, "PATCH", client.start("app"), LONG):
        assert refused(client.post(f"/v2/app/blobs/uploads/?mount={digest}"))
        mounted = client.post(f"/v2/app/blobs/uploads/?mount={digest}&from=other")
        assert mounted.status_code == 201
        assert client.post("/v2/app/blobs/uploads/").status_code == 202
    assert client.post(f"/v2/app/blobs/uploads/?mount={digest}").status_code == 201


def test_where_requests_hold_threads_none_waits_and_a_body_is_not_begun(monkeypatch):
    monkeypatch.setattr("cfmiddleware.registry.admission.waiting_is_free", lambda: False)
    client = registry(uploadwait=3600)
    url = client.start("app")
    with sending(client, "PATCH", client.start("app"), b"x"):
        environ = EnvironBuilder(url, method="PATCH").get_environ()
        environ |= {"CONTENT_LENGTH": "4", "wsgi.input": None}  # reading it would be an error
        assert run_wsgi_app(client.registry, environ)[1] == "429 Too Many Requests"


@pytest.mark.parametrize("length", ["x", "-1"])
@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT"])
def test_a_length_that_is_not_one_is_refused(servers, method, length):
    client = registry()
    url = client.start("app")
    path = {"POST": "/v2/app/blobs/uploads/", "PATCH": url, "PUT": f"{url}?digest={Digest.of(b'')}"}[method]
    environ = EnvironBuilder(path, method=method).get_environ()
    environ |= {"CONTENT_LENGTH": length, "wsgi.input": None}
    assert run_wsgi_app(client.registry, environ)[1] == "400 Bad Request"
