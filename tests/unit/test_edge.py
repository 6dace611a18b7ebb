"""The edge does what CloudFront does."""

from __future__ import annotations

import logging
from typing import Any
from urllib.parse import urlsplit
from xml.etree import ElementTree

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from lab.apps import CONTENT, DIGEST, KEY, KEY_PAIR_ID, Answered, Exchange, ask, key, request
from werkzeug.http import http_date

from cfmiddleware.edge import Edge
from cfmiddleware.errors import StorageClockWrong, StorageUnavailable
from cfmiddleware.signing.keys import KeyPair, PublicKey, load_public_key
from cfmiddleware.signing.url import sign
from cfmiddleware.storage.filesystem.filesystemdriver import FilesystemDriver
from cfmiddleware.storage.memory import MemoryDriver

NOW = 1_700_000_000
HOST = "cdn.example"


def public(number: int = 1) -> PublicKey:
    return load_public_key(key(number).public_pem, "key of the test")


def pair(number: int = 1, id: str = KEY_PAIR_ID) -> KeyPair:
    return KeyPair(id, key(number).key)


def stored(path: str = f"/{KEY}", content: bytes = CONTENT, root: str = "") -> MemoryDriver:
    driver = MemoryDriver(root)
    driver.write(path, content)
    return driver


def edge(driver: Any = None, **options: Any) -> Edge:
    given = {"publickeys": {KEY_PAIR_ID: public()}, "clock": lambda: NOW, **options}
    return Edge(stored() if driver is None else driver, **given)


def signed(path: str = f"/{KEY}", *, expires: int = NOW + 60, pair: KeyPair | None = None, **how: Any) -> str:
    """Return path and query of a signed URL, as a client sends them."""
    url = sign(f"https://{HOST}{path}", expires, pair or globals()["pair"](), **how)
    return url.removeprefix(f"https://{HOST}")


def environ(sent: str, method: str = "GET", **more: Any) -> dict[str, Any]:
    """Return what gunicorn makes of a request."""
    parts = urlsplit(sent)
    raw = {"RAW_URI": sent, "QUERY_STRING": parts.query, "HTTP_HOST": HOST}
    return request(parts.path, method, **{**raw, **more})


def fetch(app: Edge, sent: str, method: str = "GET", **more: Any) -> Answered:
    return ask(app, environ(sent, method, **more))


def refusal(answer: Answered) -> tuple[int, str | None]:
    """Return the status and the XML body's code."""
    assert dict(answer.headers)["Content-Type"] == "text/xml"
    tree = ElementTree.fromstring(answer.body)
    assert tree.tag == "Error"
    assert tree.findtext("Message")
    return answer.code, tree.findtext("Code")


DENIED = (403, "AccessDenied")


def test_an_object_is_served_under_its_signed_url():
    answer = fetch(edge(), signed())
    assert (answer.code, answer.body) == (200, CONTENT)
    assert dict(answer.headers)["Content-Length"] == str(len(CONTENT))
    assert dict(answer.headers)["Accept-Ranges"] == "bytes"


@pytest.mark.parametrize(
    ("path", "digest"),
    [
        (f"/blobs/sha256/{DIGEST.hex[:2]}/{DIGEST.hex}/data", str(DIGEST)),
        (f"/sha256/{DIGEST.hex[:2]}/{DIGEST.hex}", str(DIGEST)),
        (f"/team/app/blobs/sha256/{DIGEST.hex}", str(DIGEST)),
        (f"/blobs/sha512/{DIGEST.hex[:2]}/{DIGEST.hex * 2}/data", f"sha512:{DIGEST.hex * 2}"),
        (f"/blobs/sha512/{DIGEST.hex[:2]}/{DIGEST.hex}/data", None),
        (f"/blobs/sha256/{DIGEST.hex[:2]}/{DIGEST.hex}/link", None),
    ],
)
def test_an_answer_has_the_digest_that_a_blobs_key_names(path: str, digest: str | None):
    answer = fetch(edge(stored(path), digestheader=True), signed(path))
    assert (answer.code, dict(answer.headers).get("Docker-Content-Digest")) == (200, digest)


def test_an_answer_has_no_digest_unless_a_function_adds_it():
    path = f"/blobs/sha256/{DIGEST.hex[:2]}/{DIGEST.hex}/data"
    assert "Docker-Content-Digest" not in dict(fetch(edge(stored(path)), signed(path)).headers)


@pytest.mark.parametrize("hash", ["sha1", "sha256"])
def test_head_is_a_get_without_the_bytes(hash: str):
    sent = signed(hash=hash)
    app = edge(stored())
    get, head = fetch(app, sent), fetch(app, sent, "HEAD")
    assert (head.code, head.headers, head.body) == (200, get.headers, b"")


class TestRefuses:
    def test_a_url_without_a_signature(self):
        assert refusal(fetch(edge(), f"/{KEY}")) == (403, "MissingKey")

    def test_another_path(self):
        assert refusal(fetch(edge(), signed().replace("/data?", "/date?"))) == DENIED

    @pytest.mark.parametrize("add", ["&x=1", "&", "&Expires=9999999999", "&expires=1", "#"])
    def test_another_query(self, add):
        assert refusal(fetch(edge(), signed() + add)) == DENIED

    def test_a_query_in_front(self):
        assert refusal(fetch(edge(), signed().replace("?", "?x=1&"))) == DENIED

    def test_another_expiry(self):
        assert refusal(fetch(edge(), signed().replace(f"={NOW + 60}&", f"={NOW + 61}&"))) == DENIED

    @pytest.mark.parametrize("expiry", ["", "x", "-1", "1e9", "99999999999", f"+{NOW}", f"0{NOW}"])
    def test_an_expiry_that_is_no_time(self, expiry):
        answer = fetch(edge(), signed().replace(f"={NOW + 60}&", f"={expiry}&"))
        assert refusal(answer) == (403, "MalformedPolicy")

    @pytest.mark.parametrize("now", [NOW + 60, NOW + 61, NOW + 10**9])
    def test_a_url_that_has_expired(self, now):
        assert refusal(fetch(edge(clock=lambda: now), signed())) == DENIED

    def test_another_signature(self):
        sent = signed()
        at = sent.index("Signature=") + 30
        other = "A" if sent[at] != "A" else "B"
        assert refusal(fetch(edge(), sent[:at] + other + sent[at + 1 :])) == DENIED

    @pytest.mark.parametrize("signature", ["", "____", "a", "%00", "*" * 344, "A" * 344, "A" * 100_000])
    def test_what_is_no_signature(self, signature):
        sent = signed()
        start, end = sent.index("Signature=") + 10, sent.index("&Key-Pair-Id")
        assert refusal(fetch(edge(), sent[:start] + signature + sent[end:])) == DENIED

    def test_an_unknown_key_id(self):
        assert refusal(fetch(edge(), signed(pair=pair(id="KOTHER")))) == (403, "InvalidKey")

    def test_another_key_under_a_known_id(self):
        assert refusal(fetch(edge(), signed(pair=pair(2)))) == DENIED

    def test_another_key_id_of_the_same_key_group(self):
        keys = {KEY_PAIR_ID: public(), "KOTHER": public(2)}
        sent = signed().replace(KEY_PAIR_ID, "KOTHER")
        assert refusal(fetch(edge(publickeys=keys), sent)) == DENIED

    def test_the_hash_that_was_not_signed(self):
        assert refusal(fetch(edge(), signed() + "&Hash-Algorithm=SHA256")) == DENIED
        assert refusal(fetch(edge(), signed() + "&Hash-Algorithm=MD5")) == DENIED
        assert refusal(fetch(edge(), signed(hash="sha256").partition("&Hash-")[0])) == DENIED

    @pytest.mark.parametrize("what", ["Expires", "Signature", "Key-Pair-Id"])
    def test_a_parameter_that_is_said_twice(self, what):
        assert refusal(fetch(edge(), f"{signed()}&{what}=1")) == DENIED

    def test_another_host_or_scheme(self):
        assert refusal(fetch(edge(), signed(), HTTP_HOST="other.example")) == DENIED
        assert refusal(fetch(edge(), signed(), **{"wsgi.url_scheme": "http"})) == DENIED

    @pytest.mark.parametrize("host", ["", " ", "cdn.example\0", 'cdn.example"', "cdn.example#", "ä"])
    def test_a_host_that_is_none(self, host):
        assert refusal(fetch(edge(), signed(), HTTP_HOST=host)) == DENIED

    @pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "<b>"])
    def test_methods_that_change_things(self, method):
        driver = stored()
        assert fetch(edge(driver), signed(), method).code == 403
        assert driver.read(f"/{KEY}") == CONTENT

    def test_without_a_body_where_the_method_is_head(self):
        answer = fetch(edge(), f"/{KEY}", "HEAD")
        assert (answer.code, answer.body) == (403, b"")

    @pytest.mark.parametrize("address", ["198.51.100.1", "2001:db8::1", "", "unix:"])
    def test_a_client_to_whom_the_url_is_not_bound(self, address):
        sent = signed(address="192.0.2.7")
        assert refusal(fetch(edge(), sent, REMOTE_ADDR=address)) == DENIED
        assert fetch(edge(), sent, REMOTE_ADDR="192.0.2.7").code == 200
        assert fetch(edge(), sent, REMOTE_ADDR="::ffff:192.0.2.7").code == 200

    def test_a_client_that_says_it_is_another(self):
        sent = signed(address="192.0.2.7")
        forged = {"REMOTE_ADDR": "198.51.100.1", "HTTP_X_FORWARDED_FOR": "192.0.2.7"}
        assert refusal(fetch(edge(), sent, **forged)) == DENIED
        assert fetch(edge(trustedproxies=1), sent, **forged).code == 200

    @given(st.data())
    def test_any_one_character_changed(self, data):
        sent = signed()
        at = data.draw(st.integers(1, len(sent) - 1))
        character = data.draw(st.sampled_from("aZ09-._~/?&=%*+ \n\\#") | st.characters(codec="latin-1"))
        if character != sent[at]:
            changed = sent[:at] + character + sent[at + 1 :]
            assert fetch(edge(), "/", RAW_URI=changed).code == 403


class TestFinds:
    @pytest.mark.parametrize("origin", ["/team/prod", "team/prod/"])
    def test_the_origin_path_in_front_of_the_path(self, origin):
        served = edge(stored(f"/team/prod/{KEY}"), originpath=origin)
        assert fetch(served, signed()).body == CONTENT
        assert refusal(fetch(served, signed(f"/team/prod/{KEY}"))) == DENIED

    def test_what_lies_below_the_root_directory_of_the_storage(self):
        served = edge(stored(), originpath="/team/prod", rootdirectory="/team/prod")
        assert fetch(served, signed()).body == CONTENT
        served = edge(stored(), originpath="", rootdirectory="/team/prod")
        assert fetch(served, signed(f"/team/prod/{KEY}")).body == CONTENT
        assert refusal(fetch(served, signed(f"/team/production/{KEY}"))) == DENIED
        assert refusal(fetch(served, signed())) == DENIED

    def test_keys_that_had_to_be_encoded(self):
        for name, sent in (("/a b", "/a%20b"), ("/a+b", "/a+b"), ("/a%2Fb", "/a%252Fb"), ("/ä", "/%C3%A4")):
            assert fetch(edge(stored(name)), signed(sent)).body == CONTENT

    @pytest.mark.parametrize("path", ["/", "", "/no/such/object", "/docker", "/docker/", "/a//b", "//a"])
    def test_nothing_where_no_object_is(self, path):
        assert refusal(fetch(edge(stored()), signed(path))) == DENIED

    @pytest.mark.parametrize(
        "path",
        [
            "/../secret",
            "/%2e%2e/secret",
            "/docker/../../secret",
            "/docker/%2e%2e%2f%2e%2e%2fsecret",
            "/./secret",
            "/%00",
            "/secret%00",
            "/%ff",
            "/%",
            "/%zz",
            "/" + "a" * 5000,
            "/" + "a/" * 3000 + "a",
            "/a%0ab",
        ],
    )
    def test_nothing_outside_the_storage_or_under_impossible_names(self, path, tmp_path):
        (tmp_path / "secret").write_bytes(b"secret")
        (tmp_path / "bucket/docker").mkdir(parents=True)
        served = edge(FilesystemDriver(tmp_path / "bucket"))
        assert refusal(fetch(served, signed(path))) == DENIED

    @pytest.mark.parametrize("path", ["/a/../b", "/%2e%2e/b", "/a/./b", "/a//b", "/b/", "/"])
    def test_no_driver_is_ever_asked_for_what_is_no_path(self, path):
        class Nosy(MemoryDriver):
            def stat(self, path):
                raise AssertionError(path)

        assert refusal(fetch(edge(Nosy()), signed(path))) == DENIED

    def test_its_objects_when_it_is_mounted_under_a_prefix(self):
        sent = signed(f"/mounted/{KEY}")
        assert fetch(edge(), sent, SCRIPT_NAME="/mounted", PATH_INFO=f"/{KEY}").body == CONTENT

    def test_its_objects_behind_a_server_that_keeps_only_the_decoded_path(self):
        parts = urlsplit(signed("/a%20b"))
        decoded = request("/a b", HTTP_HOST=HOST, QUERY_STRING=parts.query)
        assert ask(edge(stored("/a b")), decoded).body == CONTENT

    def test_its_objects_by_an_absolute_url(self):
        assert fetch(edge(), signed(), RAW_URI=f"https://{HOST}{signed()}").body == CONTENT

    @pytest.mark.parametrize(
        "raw", ["*", "http://[", "http://", f"https://{HOST}", "x:y", "?a=b", "cdn.example:443"]
    )
    def test_no_meaning_in_odd_request_lines(self, raw):
        assert fetch(edge(), "/", RAW_URI=raw).code == 403


class TestParts:
    def part(self, header: str, method: str = "GET", **more: Any) -> Answered:
        return fetch(edge(), signed(), method, HTTP_RANGE=header, **more)

    @pytest.mark.parametrize(
        ("header", "start", "stop"),
        [
            ("bytes=0-0", 0, 1),
            ("bytes=5-9", 5, 10),
            ("bytes=70000-", 70000, None),
            ("bytes=-7", -7, None),
            ("bytes=10-999999999", 10, None),
            ("bytes=-999999999", 0, None),
        ],
    )
    def test_are_served(self, header, start, stop):
        answer = self.part(header)
        expected = CONTENT[start:stop]
        first = len(CONTENT) - len(expected) if stop is None else start
        assert (answer.code, answer.body) == (206, expected)
        assert dict(answer.headers)["Content-Length"] == str(len(expected))
        assert dict(answer.headers)["Content-Range"] == (
            f"bytes {first}-{first + len(expected) - 1}/{len(CONTENT)}"
        )

    @given(st.integers(0, len(CONTENT) - 1), st.integers(0, 2 * len(CONTENT)))
    def test_are_what_was_asked_for(self, start, length):
        assert self.part(f"bytes={start}-{start + length}").body == CONTENT[start : start + length + 1]

    @pytest.mark.parametrize("header", ["bytes=76800-", "bytes=99999999-999999999", "bytes=-0", "bytes=5-2"])
    def test_that_the_object_does_not_have_are_refused_with_its_size(self, header):
        answer = self.part(header)
        assert refusal(answer) == (416, "InvalidRange")
        assert dict(answer.headers)["Content-Range"] == f"bytes */{len(CONTENT)}"

    def test_that_the_object_does_not_have_are_refused_to_head_without_a_body(self):
        assert self.part("bytes=76800-", "HEAD").body == b""

    @pytest.mark.parametrize("header", ["lines=1-2", "bytes", "", "bytes=a-b", "bytes=0-1,5-6", "bytes=--1"])
    def test_that_are_none_or_several_are_answered_with_the_whole(self, header):
        answer = self.part(header)
        assert (answer.code, answer.body) == (200, CONTENT)

    @given(st.text(max_size=20))
    def test_are_read_without_failing_whatever_the_header(self, text):
        assert self.part(text).code in (200, 206, 416)
        assert self.part(f"bytes={text}").code in (200, 206, 416)

    def test_are_served_only_of_the_object_that_was_meant(self):
        whole = dict(fetch(edge(driver := stored()), signed()).headers)
        app = edge(driver)
        for condition, code in (
            (whole["ETag"], 206),
            (whole["Last-Modified"], 206),
            ('"other"', 200),
            (f"W/{whole['ETag']}", 200),
            (http_date(0), 200),
            ("nonsense", 200),
        ):
            answer = fetch(app, signed(), HTTP_RANGE="bytes=0-0", HTTP_IF_RANGE=condition)
            assert answer.code == code


def test_a_client_that_has_the_object_is_told_so():
    app = edge(stored())
    headers = dict(fetch(app, signed()).headers)
    answer = fetch(app, signed(), HTTP_IF_NONE_MATCH=headers["ETag"])
    assert (answer.code, answer.body) == (304, b"")
    assert dict(answer.headers)["ETag"] == headers["ETag"]
    assert fetch(app, signed(), HTTP_IF_MODIFIED_SINCE=headers["Last-Modified"]).code == 304
    assert fetch(app, signed(), HTTP_IF_NONE_MATCH='"other"').code == 200


@given(st.text(max_size=30))
@example("\n")
@example('"a"\n')
def test_conditions_are_read_without_failing_whatever_they_say(text: str):
    conditions = {"HTTP_IF_NONE_MATCH": text, "HTTP_IF_MODIFIED_SINCE": text, "HTTP_IF_RANGE": text}
    assert fetch(edge(), signed(), **conditions).code in (200, 304)


def test_an_empty_object_is_served():
    answer = fetch(edge(stored(content=b"")), signed())
    assert (answer.code, answer.body, dict(answer.headers)["Content-Length"]) == (200, b"", "0")


def test_keys_change_without_a_restart():
    keys = {KEY_PAIR_ID: public()}
    app = edge(publickeys=lambda: keys)
    new = signed(pair=pair(2, "KNEW"))
    assert refusal(fetch(app, new)) == (403, "InvalidKey")
    keys["KNEW"] = public(2)
    assert fetch(app, new).code == 200
    del keys[KEY_PAIR_ID]
    assert refusal(fetch(app, signed())) == (403, "InvalidKey")


class Failing(MemoryDriver):
    """A storage that fails when it is opened, or at a chunk of an object."""

    def __init__(self, error: Exception, chunk: int | None = None) -> None:
        super().__init__()
        self.write(f"/{KEY}", CONTENT)
        self._error = error
        self._chunk = chunk
        self.closed = 0

    def open(self, path: str, offset: int = 0, length: int | None = None) -> Any:
        if self._chunk is None:
            raise self._error
        outer = self

        class Reader:
            def __init__(self) -> None:
                self._chunks = iter([b"x"] * outer._chunk)

            def __iter__(self) -> Any:
                return self

            def __next__(self) -> bytes:
                try:
                    return next(self._chunks)
                except StopIteration:
                    raise outer._error from None

            def close(self) -> None:
                outer.closed += 1

        return Reader()


@pytest.mark.parametrize("chunk", [None, 0])
@pytest.mark.parametrize(
    ("error", "expected"),
    [(StorageUnavailable("gone"), (503, "ServiceUnavailable")), (ValueError("?"), (500, "InternalError"))],
)
def test_a_storage_that_fails_is_an_answer_and_no_exception(error, expected, chunk, caplog):
    """A server logs an exception with the request's whole line, and so with the signature."""
    driver = Failing(error, chunk)
    assert refusal(fetch(edge(driver), signed())) == expected
    assert driver.closed == (0 if chunk is None else 1)
    assert "Signature" not in caplog.text


def test_the_answer_says_in_which_way_the_storage_fails_and_nothing_of_its_inside():
    answer = fetch(edge(Failing(StorageClockWrong("S3 refused GetObject of /secret"), None)), signed())
    assert b"clock" in answer.body
    assert b"secret" not in answer.body


def test_a_storage_that_fails_half_way_breaks_the_connection_and_closes_the_object():
    driver = Failing(StorageUnavailable("gone"), 2)
    with pytest.raises(StorageUnavailable):
        fetch(edge(driver), signed())
    assert driver.closed == 1


def test_a_client_that_goes_away_closes_the_object():
    driver = Failing(StorageUnavailable("gone"), 2)
    exchange = Exchange(edge(driver), environ(signed()))
    next(iter(exchange.response))
    exchange.response.close()
    assert driver.closed == 1


class TestLog:
    @pytest.fixture(autouse=True)
    def everything(self, caplog):
        caplog.set_level(logging.DEBUG)

    def test_has_one_line_for_each_request(self, caplog):
        fetch(edge(), signed(), HTTP_RANGE="bytes=0-9")
        fetch(edge(), f"/{KEY}")
        served, refused = [record.getMessage() for record in caplog.records]
        assert served.startswith(f"edge GET /{KEY} 206 10 192.0.2.7 ")
        assert refused.startswith(f"edge GET /{KEY} 403 ")
        assert refused.endswith("(MissingKey)")

    def test_never_shows_a_signature_nor_does_the_environ_when_the_server_logs_it(self, caplog):
        signature = signed().partition("Signature=")[2].partition("&")[0]
        for sent in (signed(), signed() + "&x", f"https://{HOST}{signed()}"):
            environment = environ(signed(), RAW_URI=sent, REQUEST_URI=sent)
            ask(edge(), environment)
            assert signature not in caplog.text
            assert "Signature" not in repr(environment)

    def test_takes_a_path_with_line_breaks_for_one_line(self, caplog):
        fetch(edge(), "/", RAW_URI="/a\nedge GET /forged 200")
        assert all(record.getMessage().isprintable() for record in caplog.records)
