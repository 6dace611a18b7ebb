"""`probecache`: an app's yes counts for a while, for whoever it was said to and for nobody else."""

from __future__ import annotations

import gc
import json
import logging
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lab import PROJECT
from lab.apps import BLOB, CONTENT, DIGEST, EDGE, KEY, KEY_PAIR_ID, App, ask, key, request, wrap
from lab.clock import Clock
from lab.examples import examples
from lab.guarded import Environ, Guarded, cached, code, counting
from lab.signing_material import in_a_fork
from paste.deploy import loadapp

from cfmiddleware.config import Config
from cfmiddleware.errors import ConfigError
from cfmiddleware.middleware.probe import PROBE
from cfmiddleware.middleware.probecache import LEFT_OUT, Approval, ProbeCache
from cfmiddleware.wsgi.accessrecord import ACCESS, AccessRecord

PAGE = PROJECT / "docs" / "wrapping.rst"


# Who may, by everything that an app can tell clients by: the name, whom it serves, whom it does not


WAYS = [
    ("HTTP_AUTHORIZATION", "Bearer let-me-in", "Bearer let-me-out"),
    ("HTTP_AUTHORIZATION", "Basic dTpwYXNz", "Basic dTpvdGhlcg=="),
    ("HTTP_PROXY_AUTHORIZATION", "Bearer let-me-in", ""),
    ("HTTP_COOKIE", "session=1", "session=2"),
    ("QUERY_STRING", "token=1", "token=2"),
    ("QUERY_STRING", "token=1", ""),
    ("RAW_URI", f"{BLOB}?token=1", f"{BLOB}?token=2"),
    ("REQUEST_URI", f"{BLOB}?token=1", BLOB),
    ("SSL_CLIENT_S_DN", "CN=a", "CN=b"),
    ("SSL_CLIENT_CERT", "-----BEGIN CERTIFICATE-----\na", "-----BEGIN CERTIFICATE-----\nb"),
    ("SSL_CLIENT_VERIFY", "SUCCESS", "NONE"),
    ("HTTP_X_SSL_CLIENT_DN", "CN=a", "CN=b"),
    ("HTTP_X_FORWARDED_CLIENT_CERT", "Hash=1", "Hash=2"),
    ("REMOTE_USER", "ann", "bob"),
    ("REMOTE_USER", b"ann", b"bob"),
    ("REMOTE_USER", "ann", b"ann"),
    ("REMOTE_USER", "ann", None),
    ("AUTH_TYPE", "Negotiate", "Basic"),
    ("HTTP_X_API_KEY", "1", "2"),
    ("HTTP_X_WHATEVER", "1", "2"),
    ("HTTP_REFERER", "https://inside.example/", "https://outside.example/"),
    ("HTTP_ORIGIN", "https://inside.example", "https://outside.example"),
    ("REMOTE_ADDR", "10.0.0.1", "192.0.2.1"),
    ("REMOTE_HOST", "inside.example", "outside.example"),
    ("HTTP_X_FORWARDED_FOR", "10.0.0.1", "192.0.2.1"),
    ("HTTP_X_REAL_IP", "10.0.0.1", "192.0.2.1"),
    ("HTTP_FORWARDED", "for=10.0.0.1", "for=192.0.2.1"),
    ("PROXY_ADDR", "10.0.0.1", "192.0.2.1"),
    ("wsgi.url_scheme", "https", "http"),
    ("HTTP_X_FORWARDED_PROTO", "https", "http"),
    ("HTTP_HOST", "inside.example", "outside.example"),
    ("SERVER_NAME", "inside.example", "outside.example"),
    ("SERVER_PORT", "8443", "443"),
    ("SERVER_PROTOCOL", "HTTP/1.1", "HTTP/1.0"),
    ("SCRIPT_NAME", "/inside", "/outside"),
    ("PATH_INFO", BLOB, f"/v2/secret/app/blobs/{DIGEST}"),
    ("outer.allowed", True, False),
    ("outer.allowed", True, 1),
    ("outer.level", 1, 1.0),
    ("outer.level", 1, "1"),
    ("outer.user", "None", None),
    ("outer.user", b"ann", "b'ann'"),
    ("outer.groups", ("a", "b"), ("a",)),
    ("outer.groups", ["a"], ("a",)),
    ("outer.claims", {"sub": "a", "aud": ["r"]}, {"sub": "b", "aud": ["r"]}),
]


@pytest.mark.parametrize("probe", ["get", "head"])
@pytest.mark.parametrize(("name", "served", "refused"), WAYS)
def test_a_yes_to_one_who_may_is_none_to_one_who_may_not(name: str, served: Any, refused: Any, probe: str):
    def may(environ: Environ) -> bool:
        value = environ.get(name)
        return (type(value), value) == (type(served), served)

    app = Guarded(may)
    wrapped = cached(app, probe=probe)
    assert code(wrapped, **{name: refused}) == 401
    assert code(wrapped, **{name: served}) == 307
    app.asked = 0
    assert code(wrapped, **{name: served}) == 307
    assert app.asked == 0
    assert code(wrapped, **{name: refused}) == 401
    without = request(**{name: served})
    if name not in ("PATH_INFO", "wsgi.url_scheme"):  # which every request has
        del without[name]
        assert ask(wrapped, without).code == 401
    assert app.asked > 0


class User:
    """What an outer middleware may put into the environ: nobody can tell from outside who it is."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, User)

    def __hash__(self) -> int:
        return 1


class Named(str):
    name: str


def named(name: str) -> Named:
    text = Named("user")
    text.name = name
    return text


class Session(dict[str, str]):
    name: str


def session(name: str) -> Session:
    found = Session()
    found.name = name
    return found


@pytest.mark.parametrize("place", ["outer.user", "REMOTE_USER", "HTTP_X_USER", "gunicorn.socket"])
@pytest.mark.parametrize("make", [User, named, session])
def test_an_object_of_an_outer_middleware_is_never_taken_for_another(place: str, make: Any, caplog):
    app = Guarded(lambda environ: environ[place].name == "ann")
    wrapped = cached(app)
    for _ in range(2):
        assert code(wrapped, **{place: make("ann")}) == 307
        assert code(wrapped, **{place: make("bob")}) == 401
    assert app.asked == 4
    (line,) = [record.getMessage() for record in caplog.records]  # once, not for each request
    assert line.startswith("probecache: the app is asked each time where")
    assert repr(place) in line


@pytest.mark.parametrize(
    "wrapping", [lambda user: (user,), lambda user: [{"user": user}], lambda user: {user: 1}]
)
def test_an_object_inside_of_what_can_be_compared_is_found(wrapping: Any):
    app = Guarded(lambda environ: True)
    wrapped = cached(app)
    for _ in range(2):
        assert code(wrapped, **{"outer.users": wrapping(User("ann"))}) == 307
    assert app.asked == 2


def test_a_value_that_holds_itself_is_not_followed_for_ever():
    circle: list[Any] = []
    circle.append(circle)
    app = Guarded(lambda environ: True)
    wrapped = cached(app)
    for _ in range(2):
        assert code(wrapped, **{"outer.circle": circle}) == 307
    assert app.asked == 2


# What is remembered, and for how long


def test_nothing_is_remembered_unless_it_is_asked_for():
    app = Guarded(lambda environ: True)
    wrapped = wrap(app)
    for _ in range(3):
        assert code(wrapped) == 307
    assert app.asked == 3


@pytest.mark.parametrize("probe", ["get", "head"])
def test_the_app_is_asked_once_in_so_many_seconds(probe: str):
    app, clock = Guarded(lambda environ: True), Clock()
    wrapped = cached(app, elapsed=clock, probe=probe)
    for now, asked in [(0, 1), (1, 1), (29.9, 1), (30, 2), (59.9, 2), (60, 3)]:
        clock.now = 1000 + now
        assert code(wrapped) == 307
        assert (now, app.asked) == (now, asked)


def test_a_yes_is_as_old_as_the_lookup():
    clock = Clock()
    allowed = True

    def slow(environ: Environ) -> bool:
        clock.now += 20
        return allowed

    wrapped = cached(Guarded(slow), elapsed=clock)
    assert code(wrapped) == 307
    allowed = False
    clock.now += 9
    assert code(wrapped) == 307
    clock.now += 1
    assert code(wrapped) == 401


def test_looking_at_a_yes_does_not_make_it_younger():
    clock = Clock()
    app = Guarded(lambda environ: True)
    wrapped = cached(app, elapsed=clock)
    for _ in range(4):
        assert code(wrapped) == 307
        clock.now += 10
    assert app.asked == 2


def test_a_no_is_never_remembered():
    allowed = False
    app = Guarded(lambda environ: allowed)
    wrapped = cached(app)
    assert [code(wrapped), code(wrapped)] == [401, 401]
    allowed = True
    assert code(wrapped) == 307
    assert app.asked == 3


SAID = [("Docker-Content-Digest", str(DIGEST))]
OTHER = [("Docker-Content-Digest", "sha256:" + "0" * 64)]


@pytest.mark.parametrize(
    ("status", "headers", "options"),
    [
        ("304 Not Modified", SAID, {}),
        ("404 Not Found", SAID, {}),
        ("416 Range Not Satisfiable", SAID, {}),
        ("429 Too Many Requests", SAID, {}),
        ("500 Internal Server Error", SAID, {}),
        ("200 OK", OTHER, {}),
        ("200 OK", [], {}),
        ("200 OK", [*SAID, ("Content-Type", "text/html")], {"requiredigest": False}),
        ("200 OK", [*SAID, ("Content-Length", "9")], {"minimumsize": 10}),
        ("302 Found", [("Location", "https://elsewhere.example/")], {"bucket": "images"}),
        (
            "302 Found",
            [("Location", f"https://images.s3.amazonaws.com/{KEY}?versionId=1")],
            {"bucket": "images"},
        ),
        (
            "302 Found",
            [("Location", "https://images.s3.amazonaws.com/other/key")],
            {"bucket": "images", "rootdirectory": "/team"},
        ),
    ],
)
def test_what_is_handed_on_is_asked_for_each_time(status: str, headers: Any, options: Any):
    app = App(status, headers)
    wrapped = cached(app, **options)
    for _ in range(2):
        answer = ask(wrapped)
        assert (str(answer.code), answer.headers) == (status[:3], list(headers))
    assert len(app.environs) == 2


def test_what_the_app_declines_is_asked_for_each_time():
    app = App()

    def declining(environ: Environ, start_response: Any) -> Any:
        environ[PROBE].decline()
        return app(environ, start_response)

    wrapped = cached(declining)
    assert [code(wrapped), code(wrapped)] == [200, 200]
    assert len(app.environs) == 2


def test_the_object_that_the_app_named_is_remembered():
    asked = []

    def naming(environ: Environ, start_response: Any) -> Any:
        asked.append(environ)
        environ[PROBE].located("team/elsewhere", 1)
        start_response("200 OK", SAID)
        return [b""]

    wrapped = cached(naming)
    assert {urlsplit(str(ask(wrapped).location)).path for _ in range(3)} == {"/team/elsewhere"}
    assert len(asked) == 1


def test_a_redirect_into_the_bucket_is_remembered():
    app = App("302 Found", [("Location", "https://images.s3.amazonaws.com/some/key?X-Amz-Signature=1")])
    wrapped = cached(app, bucket="images")
    assert {urlsplit(str(ask(wrapped).location)).path for _ in range(3)} == {"/some/key"}
    assert len(app.environs) == 1


def test_a_yes_to_a_part_is_a_yes_to_the_whole():
    app = App("206 Partial Content", [*SAID, ("Content-Range", "bytes 0-1/76800")])
    wrapped = cached(app, minimumsize=1000)
    assert code(wrapped, HTTP_RANGE="bytes=0-1") == 307
    assert code(wrapped) == 307
    assert len(app.environs) == 1


@pytest.mark.parametrize("name", sorted(LEFT_OUT))
def test_what_cannot_authorise_does_not_matter(name: str):
    app = Guarded(lambda environ: True)
    wrapped = cached(app)
    for value in ({name: "1"}, {name: "2"}, {}):
        assert code(wrapped, **value) == 307
    assert app.asked == 1


def test_what_does_not_matter_is_published():
    section = PAGE.read_text(encoding="utf-8").partition("\nApps that are slow to answer\n---")[2]
    sentence = section.partition("Left out are only")[2].partition("**")[0]
    listed = {name.replace("-", "_").upper() for name in re.findall("``([^`]+)``", sentence)}
    assert listed == {name.removeprefix("HTTP_") for name in LEFT_OUT}


def test_how_a_string_came_to_be_does_not_matter():
    """Python keeps one copy of some strings and several of others."""
    app = Guarded(lambda environ: True)
    wrapped = cached(app)
    for value in ("let_me_in", "_".join(["let", "me", "in"]), sys.intern("let_me_in")):
        assert code(wrapped, HTTP_X_API_KEY=value, HTTP_X_OTHER=value) == 307
    assert code(wrapped, HTTP_X_API_KEY="let_me_in", HTTP_X_OTHER="_".join(["let", "me", "in"])) == 307
    assert app.asked == 1


def test_the_order_of_the_headers_does_not_matter():
    app = Guarded(lambda environ: True)
    wrapped = cached(app)
    fields = {"HTTP_X_A": "1", "HTTP_X_B": "2"}
    assert code(wrapped, **fields) == 307
    assert ask(wrapped, dict(reversed(request(**fields).items()))).code == 307
    assert app.asked == 1


@pytest.mark.parametrize(
    "name",
    [
        "wsgi.input",
        "wsgi.errors",
        "wsgi.file_wrapper",
        "wsgi.early_hints",
        "waitress.client_disconnected",
        ACCESS,
    ],
)
def test_what_a_server_makes_anew_for_each_request_does_not_matter(name: str):
    app = Guarded(lambda environ: True)
    wrapped = cached(app)
    for _ in range(2):
        made = AccessRecord() if name == ACCESS else object()
        assert code(wrapped, **{name: made}) == 307
    assert app.asked == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"CONTENT_LENGTH": "5"},
        {"HTTP_CONTENT_LENGTH": "5"},
        {"HTTP_TRANSFER_ENCODING": "chunked"},
        {"SERVER_PROTOCOL": "HTTP/2.0"},
        {"SERVER_PROTOCOL": "HTTP/2"},
    ],
)
def test_a_request_that_may_have_a_body_is_put_to_the_app(fields: dict[str, str]):
    """The environ does not tell one body from another."""
    app = Guarded(lambda environ: True)
    wrapped = cached(app)
    assert [code(wrapped, **fields), code(wrapped, **fields)] == [307, 307]
    assert app.asked == 2


@pytest.mark.parametrize("length", ["", "0"])
def test_a_body_of_no_bytes_is_none(length: str):
    app = Guarded(lambda environ: True)
    wrapped = cached(app)
    assert [code(wrapped, CONTENT_LENGTH=length), code(wrapped, CONTENT_LENGTH=length)] == [307, 307]
    assert app.asked == 1


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("HTTP_IF_NONE_MATCH", "304 Not Modified"),
        ("HTTP_IF_MODIFIED_SINCE", "304 Not Modified"),
        ("HTTP_IF_MATCH", "412 Precondition Failed"),
        ("HTTP_IF_UNMODIFIED_SINCE", "412 Precondition Failed"),
    ],
)
def test_a_conditional_request_gets_the_apps_own_answer(name: str, status: str):
    holds = False

    def app(environ: Environ, start_response: Any) -> Any:
        start_response(status if name in environ and holds else "200 OK", SAID)
        return [CONTENT]

    wrapped = cached(app)
    assert [code(wrapped), code(wrapped, **{name: "x"})] == [307, 307]
    holds = True
    assert [code(wrapped, **{name: "x"}), code(wrapped)] == [int(status[:3]), 307]


def test_other_requests_are_put_to_the_app_each_time():
    app = App()
    wrapped = cached(app)
    for _ in range(2):
        assert code(wrapped, REQUEST_METHOD="HEAD") == 200
        assert code(wrapped, PATH_INFO="/v2/") == 200
    assert len(app.environs) == 4


# The redirect is of this request


def test_the_url_is_signed_anew_and_never_outlives_its_duration():
    now, elapsed = Clock(1_700_000_000), Clock()
    app = Guarded(lambda environ: True)
    wrapped = wrap(app, probecache="1h", clock=now, elapsed=elapsed, duration=60, window=10)
    ends = set()
    for _ in range(6):
        (end,) = parse_qs(urlsplit(str(ask(wrapped).location)).query)["Expires"]
        assert 50 <= int(end) - now.now <= 60
        ends.add(end)
        now.now += 20
        elapsed.now += 20
    assert len(ends) == 6
    assert app.asked == 1


def test_a_new_key_signs_at_once(tmp_path: Path):
    now = Clock(1_700_000_000)
    (tmp_path / "pk-KOLD.pem").write_text(key(1).private_pem)
    os.utime(tmp_path / "pk-KOLD.pem", (1000, 1000))
    app = Guarded(lambda environ: True)
    wrapped = wrap(app, probecache="1h", privatekey=str(tmp_path), keypairid=None, clock=now)
    assert "Key-Pair-Id=KOLD" in str(ask(wrapped).location)
    (tmp_path / "pk-KNEW.pem").write_text(key(2).private_pem)
    wrapped.keys._due = 0  # it is time to look at the files
    assert "Key-Pair-Id=KNEW" in str(ask(wrapped).location)
    assert app.asked == 1


def test_where_the_client_is_sent_is_decided_each_time():
    usable = True

    def presign(name: str, expires: int) -> tuple[str, int]:
        if not usable:
            raise OSError("no credentials")
        return f"https://s3.example/{name}", expires

    app, now = Guarded(lambda environ: True), Clock(1_700_000_000)
    wrapped = cached(app, networks="192.0.2.0/24", presign=presign, clock=now)
    assert str(ask(wrapped).location) == f"https://s3.example/{KEY}"
    usable = False
    now.now += 2000
    record = AccessRecord()
    assert str(ask(wrapped, request(**{ACCESS: record})).location).startswith(EDGE)
    assert record.sent == "edge"
    assert app.asked == 1


def test_a_url_that_cannot_be_signed_is_the_apps_to_serve(monkeypatch):
    app, now = Guarded(lambda environ: True), Clock(1_700_000_000)
    wrapped = cached(app, clock=now)
    assert code(wrapped) == 307

    def broken(*arguments: Any) -> str:
        raise RuntimeError("no signature")

    monkeypatch.setattr(wrapped._signer, "url", broken)
    answer = ask(wrapped)
    assert (answer.code, answer.body) == (200, CONTENT)
    assert (app.asked, wrapped.signing_failures) == (2, 1)


def test_the_access_log_goes_on_naming_the_user():
    def naming(environ: Environ, start_response: Any) -> Any:
        environ[ACCESS].user = environ["HTTP_X_USER"]
        start_response("200 OK", SAID)
        return [CONTENT]

    wrapped = cached(naming)
    for user in ("ann", "ann", "bob", "bob", "ann"):
        record = AccessRecord()
        assert code(wrapped, HTTP_X_USER=user, **{ACCESS: record}) == 307
        assert (record.user, record.sent) == (user, "edge")


# What is kept


SECRETS = {
    "HTTP_AUTHORIZATION": "Bearer sesame-header",
    "HTTP_COOKIE": "session=sesame-cookie",
    "QUERY_STRING": "token=sesame-query",
    "HTTP_X_API_KEY": "sesame-key",
    "REMOTE_USER": b"sesame-bytes",
    "outer.claims": {"jti": ["sesame-claim"]},
}


def held_by(root: object) -> Iterator[object]:
    """Yield all that *root* holds, at whatever depth, but for code, classes and modules."""
    seen: set[int] = set()
    waiting = [root]
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen or isinstance(thing, type | type(sys) | type(held_by)):
            continue
        seen.add(id(thing))
        yield thing
        waiting += gc.get_referents(thing)


def cache_of(wrapped: Any) -> ProbeCache:
    cache = wrapped._pulls._way._cache
    assert isinstance(cache, ProbeCache)
    return cache


def test_no_credential_is_kept():
    wrapped = cached(Guarded(lambda environ: True))
    environs = [request(**SECRETS) for _ in range(2)]
    assert [ask(wrapped, environ).code for environ in environs] == [307, 307]
    kept = [thing for thing in held_by(cache_of(wrapped)) if isinstance(thing, str | bytes | bytearray)]
    assert KEY in kept  # so the walk does come to what is kept
    text = [thing if isinstance(thing, str) else bytes(thing).decode("latin-1") for thing in kept]
    assert [thing for thing in text if "sesame" in thing] == []
    assert not any(any(thing is environ for environ in environs) for thing in held_by(cache_of(wrapped)))


def test_nobody_can_tell_from_outside_what_a_request_is_known_by():
    """Each has a key of its own, so that hashes of guessed credentials are of no use."""
    first, second = ProbeCache(30), ProbeCache(30)
    hashes = {cache.look_up(request()).hash for cache in (first, second, first)}  # type: ignore[union-attr]
    assert len(hashes) == 2
    assert {len(hash) for hash in hashes} == {32}


def ask_of(cache: ProbeCache, number: int) -> bool:
    """Whether a request is known; if not, it is remembered."""
    lookup = cache.look_up(request(HTTP_X_NUMBER=str(number)))
    assert lookup is not None
    if lookup.approval is None:
        cache.remember(lookup, Approval(f"key {number}"))
        return False
    assert lookup.approval.key == f"key {number}"
    return True


def test_the_least_recently_used_is_forgotten_first():
    cache = ProbeCache(30, size=3)
    assert [ask_of(cache, number) for number in (1, 2, 3, 1, 4)] == [False, False, False, True, False]
    assert [ask_of(cache, number) for number in (1, 3, 4, 2)] == [True, True, True, False]


def test_there_is_an_end_to_what_is_remembered():
    wrapped = cached(Guarded(lambda environ: True))
    cache = cache_of(wrapped)
    assert sum(ask_of(cache, number) for number in range(10_100)) == 0
    kept = {thing for thing in held_by(cache) if isinstance(thing, str) and thing.startswith("key ")}
    assert kept == {f"key {number}" for number in range(100, 10_100)}


def test_a_yes_that_counts_no_more_is_replaced():
    clock = Clock()
    cache = ProbeCache(30, size=3, clock=clock)
    for _ in range(5):
        assert not ask_of(cache, 1)
        clock.now += 30
    assert len([thing for thing in held_by(cache) if isinstance(thing, Approval)]) == 1


def test_a_yes_that_counts_no_more_is_not_kept():
    clock = Clock()
    cache = ProbeCache(30, clock=clock)
    assert not ask_of(cache, 1)
    clock.now += 30
    assert cache.look_up(request(HTTP_X_NUMBER="1")) is not None
    assert [thing for thing in held_by(cache) if isinstance(thing, Approval)] == []


def test_threads_do_not_get_each_others_answers():
    app = Guarded(lambda environ: environ["HTTP_X_NUMBER"] < "5")
    wrapped = cached(app)
    start = threading.Barrier(8)
    wrong: list[Any] = []

    def pull() -> None:
        start.wait(10)
        for turn in range(300):
            number = str(turn % 10)
            found = code(wrapped, HTTP_X_NUMBER=number)
            if found != (307 if number < "5" else 401):
                wrong.append((number, found))

    threads = [threading.Thread(target=pull) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert (
        8 * 150 + 5 <= app.asked <= 8 * 150 + 8 * 5
    )  # each no, and each yes once; or by each thread at first


def test_a_forked_process_begins_anew_and_waits_for_nobody():
    app = Guarded(lambda environ: True)
    wrapped = cached(app)
    assert code(wrapped) == 307
    with cache_of(wrapped)._answers._memory().lock:  # as another thread may hold it at the fork
        asked = in_a_fork(lambda: f"{code(wrapped)} {code(wrapped)} {app.asked}")
    assert asked == "307 307 2"
    assert (code(wrapped), app.asked) == (307, 1)


# No two requests are taken for one

_NAMES = st.sampled_from(["A", "AA", "B", "HTTP_A", "HTTP_AB", "HTTP_USER_AGENT", "REMOTE_PORT"]) | st.text(
    max_size=3
)
_SCALARS = (
    st.sampled_from(["", "A", "B", "AA", "1", "None", "b'A'", b"", b"A", b"1", 0, 1, 1.0, True, False, None])
    | st.text(max_size=3)
    | st.binary(max_size=3)
    | st.integers()
)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.lists(inner, max_size=2).map(tuple)
        | st.dictionaries(st.text(max_size=1), inner, max_size=2)
    ),
    max_leaves=3,
)
_ENVIRONS = st.dictionaries(_NAMES, _VALUES, max_size=4)


def typed(value: Any) -> Any:
    """Return something that is equal only for values that are the same in type as well."""
    if isinstance(value, list | tuple):
        return (type(value), [typed(part) for part in value])
    if isinstance(value, dict):
        return (dict, {name: typed(part) for name, part in value.items()})
    return (type(value), value)


_CACHE = ProbeCache(30)


def hash_of(environ: Environ) -> bytes | None:
    lookup = _CACHE.look_up({"SERVER_PROTOCOL": "HTTP/1.1", **environ})
    return None if lookup is None else lookup.hash


def are_taken_for_one(one: Environ, other: Environ) -> bool:
    found = hash_of(one)
    return found is not None and found == hash_of(other)


#: What might be taken for a value by who looks at it carelessly.
_LOOKALIKES: list[Callable[[Any], Any]] = [
    str,
    repr,
    lambda value: str(value).encode("utf-8", "surrogatepass"),
    lambda value: (value,),
    lambda value: [value],
    lambda value: {value: ""} if isinstance(value, str) else {"": value},
    lambda value: value[0] if isinstance(value, list | tuple) and value else None,
    lambda value: f"{value} ",
    lambda value: value.strip().lower() if isinstance(value, str) else bool(value),
    lambda value: int(value) if isinstance(value, bool | float) else "",
]


def differ(one: Environ, other: Environ) -> bool:
    """Whether two environs differ in anything that matters."""
    return {n: typed(v) for n, v in one.items() if n not in LEFT_OUT} != {
        n: typed(v) for n, v in other.items() if n not in LEFT_OUT
    }


@settings(deadline=None)
@given(_ENVIRONS, _ENVIRONS)
def test_requests_that_differ_are_never_taken_for_one(one: Environ, other: Environ):
    assert hash_of(one) == hash_of(dict(reversed(one.items())))
    if differ(one, other):
        assert not are_taken_for_one(one, other)


@settings(max_examples=examples(300), deadline=None)
@given(_ENVIRONS, _NAMES, _VALUES, st.sampled_from(_LOOKALIKES))
def test_values_that_look_alike_are_never_taken_for_one(
    environ: Environ, name: str, value: Any, lookalike: Callable[[Any], Any]
):
    one, other = {**environ, name: value}, {**environ, name: lookalike(value)}
    if differ(one, other):
        assert not are_taken_for_one(one, other)
    if name not in LEFT_OUT:
        absent = {n: v for n, v in environ.items() if n != name}
        assert not are_taken_for_one(one, absent)


@settings(deadline=None)
@given(st.text(min_size=1), st.text(), st.text())
def test_where_one_value_ends_and_the_next_begins_matters(a: str, b: str, c: str):
    assert not are_taken_for_one({"A": a + b, "B": c}, {"A": b, "B": a + c})
    assert not are_taken_for_one({"A": b + a, "B": c}, {"A": b, "B": a + c})
    assert not are_taken_for_one({"A" + a: b}, {"A": a + b})
    assert not are_taken_for_one({"A": b, "B": c}, {"A": b + "B" + c})
    assert not are_taken_for_one({"A": (a, b)}, {"A": (a + b,)})
    assert not are_taken_for_one({"A": ["", a, b]}, {"A": [a, "", b]})


# The option


@pytest.mark.parametrize("value", [0, "0", "0s", "none", "None", "", " ", None])
def test_it_may_be_turned_off_in_words(value: Any):
    app = App()
    wrapped = wrap(app, probecache=value, probe="get")
    assert [code(wrapped), code(wrapped)] == [307, 307]
    assert len(app.environs) == 2
    assert wrap(App(), probecache=value, probe="none")  # and then goes with everything


@pytest.mark.parametrize(
    ("value", "seconds"), [(30, 30), ("30", 30), ("30s", 30), ("1m30s", 90), ("1h", 3600), (1, 1)]
)
def test_it_is_so_many_seconds(value: Any, seconds: int):
    app, clock = App(), Clock()
    wrapped = wrap(app, probecache=value, elapsed=clock)
    assert code(wrapped) == 307
    clock.now += seconds - 0.01
    assert (code(wrapped), len(app.environs)) == (307, 1)
    clock.now += 0.01
    assert (code(wrapped), len(app.environs)) == (307, 2)


@pytest.mark.parametrize(
    "value", [-1, "-1s", "500ms", 0.5, "soon", "30 seconds", True, [], {}, 3601, "2h", b"30", "nan"]
)
def test_what_is_no_such_time_is_one_line(value: Any):
    with pytest.raises(ConfigError, match=r"\Aprobecache: [^\n]+\Z"):
        wrap(App(), probecache=value)


def test_without_a_probe_there_is_nothing_to_remember():
    with pytest.raises(ConfigError, match=r"\Aprobecache: with 'probe: none' the app is not asked[^\n]+\Z"):
        wrap(App(), probecache=30, probe="none")


def test_it_may_stand_in_an_ini_file(tmp_path: Path):
    (tmp_path / f"pk-{KEY_PAIR_ID}.pem").write_text(key(1).private_pem)
    (tmp_path / "app.ini").write_text(
        f"[filter-app:main]\nuse = egg:cfmiddleware\nnext = app\nbaseurl = {EDGE}\n"
        f"privatekey = pk-{KEY_PAIR_ID}.pem\nprobecache = 30s\n"
        "[app:app]\npaste.app_factory = lab.guarded:counting\n"
    )
    wrapped = loadapp(f"config:{tmp_path / 'app.ini'}")
    assert [code(wrapped), code(wrapped), wrapped.app.asked] == [307, 307, 1]


def from_a_file(directory: Path, given: Any) -> Config:
    (directory / f"pk-{KEY_PAIR_ID}.pem").write_text(key(1).private_pem)
    options = {"baseurl": "a.example", "privatekey": f"pk-{KEY_PAIR_ID}.pem", "probecache": given}
    tree = {
        "version": 0.1,
        "storage": {"inmemory": {}},
        "middleware": {"storage": [{"name": "cloudfront", "options": options}]},
    }
    (directory / "config.yml").write_text(json.dumps(tree))
    return Config.load(directory / "config.yml", {})


def test_it_may_stand_in_a_configuration_file(tmp_path: Path, caplog):
    app = counting()
    wrapped = from_a_file(tmp_path, "30s").wrap(app)
    assert [code(wrapped), code(wrapped), app.asked] == [307, 307, 1]
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_a_mistake_in_a_configuration_file_is_named_with_its_place(tmp_path: Path):
    expected = r"config\.yml: middleware\.storage\[0\]\.options\.probecache: 'soon' is not a duration[^\n]+\Z"
    with pytest.raises(ConfigError, match=expected):
        from_a_file(tmp_path, "soon").wrap(App())
