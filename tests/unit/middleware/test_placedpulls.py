"""A registry that says where a blob is, in place of answering: nothing else differs from asking it as an app.

Each test asks twice: the wrapper that knows the registry, and one that takes it for any app.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest
from lab.apps import BLOB, CONTENT, DIGEST, EDGE, KEY, KEY_PAIR_ID, Answered, ask, key, request
from lab.clock import Clock

from cfmiddleware.config import Config
from cfmiddleware.digest import Digest
from cfmiddleware.errors import StorageFull, StorageRefused, StorageUnavailable
from cfmiddleware.health.watch import Health
from cfmiddleware.middleware import placedpulls
from cfmiddleware.middleware.wrapper import CloudFrontMiddleware
from cfmiddleware.registry import errors
from cfmiddleware.registry.app import Registry
from cfmiddleware.registry.auth.access import Access, Grant
from cfmiddleware.registry.cache.descriptors import InMemoryDescriptorCache
from cfmiddleware.registry.requests import Request
from cfmiddleware.storage.memory import MemoryDriver
from cfmiddleware.wsgi.accessrecord import ACCESS, AccessRecord

SHA512 = Digest.of(CONTENT, "sha512")
ABSENT = Digest.of(b"nobody has this")
LAYERS = "/docker/registry/v2/repositories/team/app/_layers"
LINK = f"{LAYERS}/sha256/{DIGEST.hex}/link"


class Storage(MemoryDriver):
    """A storage that counts what it is asked, and fails if a test says so."""

    def __init__(self, root: str = "/team/prod") -> None:
        super().__init__(root)
        self.asked: list[str] = []
        self.error: Exception | None = None
        self.write(f"/{KEY}", CONTENT)
        self.write(LINK, str(DIGEST).encode())
        self.write(f"{LAYERS}/sha512/{SHA512.hex}/link", str(DIGEST).encode())

    def read(self, path: str) -> bytes:
        self.asked.append(path)
        if self.error is not None:
            raise self.error
        return super().read(path)


class Logins:
    """Lets in whom a test says, and remembers who asked for what."""

    def __init__(self) -> None:
        self.users = {"Basic ann": "ann", "Basic bob": "bob"}
        self.asked: list[tuple[str, str, str]] = []
        self.fails = False

    def authorize(self, request: Request) -> Grant:
        self.asked.append((request.method, request.repository, request.url_to("token")))
        if self.fails:
            raise ZeroDivisionError
        user = self.users.get(request.header("Authorization"))
        if user is None:
            raise errors.unauthorized('Basic realm="here"', "log in")
        grant = Grant(user, {("repository", "team/app"): frozenset(["pull"])})
        if not grant.allows(Access("repository", request.repository, ("pull",))):
            raise errors.unauthorized('Basic realm="here"', "log in")
        return grant


class Seen(NamedTuple):
    """An answer, and what the access log has of it."""

    answer: Answered
    record: tuple[str, str, str]


class Both:
    """The same registry twice, so that one is asked in each way.

    :param registry: what both are made with.
    :param wrapper: the options of both wrappers.
    """

    def __init__(
        self, registry: dict[str, Any] | None = None, wrapper: dict[str, Any] | None = None, **how: Any
    ) -> None:
        self.clock = Clock(1_800_000_000.0)
        self.sides: list[tuple[CloudFrontMiddleware, Storage, Logins | None]] = []
        for knows in (True, False):
            storage, logins = Storage(), Logins() if how.get("auth") else None
            own = {name: value() if callable(value) else value for name, value in (registry or {}).items()}
            made = Registry(storage, auth=logins, **own)
            options: dict[str, Any] = {"privatekey": key(1).private_pem, "keypairid": KEY_PAIR_ID}
            options |= {"baseurl": EDGE, "rootdirectory": "/team/prod", **(wrapper or {})}
            presign = how.get("presign")
            place_of = made.place_of(options.get("prefix", "")) if knows else None
            app = CloudFrontMiddleware(made, presign=presign, clock=self.clock, place_of=place_of, **options)
            self.sides.append((app, storage, logins))

    def ask(self, path: str = BLOB, **fields: Any) -> Answered:
        """Ask both for the same, see that nothing differs, and return the answer."""
        seen = []
        for app, storage, logins in self.sides:
            record = AccessRecord("id")
            for asked in (storage.asked, logins.asked if logins is not None else []):
                asked.clear()
            answer = ask(app, request(path, **fields, **{ACCESS: record}))
            seen.append(
                (
                    Seen(answer, (record.repository, record.user, record.sent)),
                    storage.asked.copy(),
                    logins.asked.copy() if logins is not None else [],
                    app.not_redirected,
                )
            )
        assert seen[0] == seen[1]
        return seen[0][0].answer


_ANN = {"HTTP_AUTHORIZATION": "Basic ann"}

REQUESTS: list[tuple[str, dict[str, Any], int]] = [
    (BLOB, {}, 307),
    (f"/v2/team/app/blobs/{SHA512}", {}, 307),
    (BLOB, {"QUERY_STRING": "digest=sha256:0&n=1"}, 307),
    (BLOB, {"SCRIPT_NAME": "/hub"}, 307),
    (BLOB, {"HTTP_X_FORWARDED_PROTO": "https, http", "HTTP_FORWARDED": "for=[::1];host=evil"}, 307),
    (BLOB, {"HTTP_RANGE": "bytes=0-1"}, 307),
    (BLOB, {"HTTP_RANGE": ""}, 307),
    (BLOB, {"HTTP_RANGE": "bytes=99999999-"}, 416),
    (BLOB, {"HTTP_IF_NONE_MATCH": f'"{DIGEST}"'}, 304),
    (BLOB, {"HTTP_IF_NONE_MATCH": '"other"'}, 307),
    (BLOB, {"HTTP_IF_MODIFIED_SINCE": "Mon, 23 Nov 2036 00:00:00 GMT"}, 307),
    (BLOB, {"HTTP_EXPECT": "100-continue", "CONTENT_LENGTH": "5"}, 307),
    (BLOB, {"method": "HEAD"}, 200),
    (BLOB, {"method": "OPTIONS"}, 200),
    (BLOB, {"method": "DELETE"}, 405),
    (BLOB, {"method": "get"}, 405),
    (BLOB, {"RAW_URI": BLOB}, 307),
    (BLOB, {"RAW_URI": BLOB.replace("team", "%74eam")}, 200),
    (BLOB, {"RAW_URI": f"//v2/other/../{BLOB}#"}, 200),
    (f"/v2/team/app/blobs/{ABSENT}", {}, 404),
    (f"/v2/other/app/blobs/{DIGEST}", {}, 404),
    (f"/v2/team/app/blobs/blobs/{DIGEST}", {}, 404),
    (f"/v2/Team/app/blobs/{DIGEST}", {}, 400),
    (f"{BLOB}/", {}, 301),
    (f"{BLOB}\n", {}, 400),
    (BLOB.upper(), {}, 404),
    (f"/other{BLOB}", {}, 404),
    ("/v2/", {}, 200),
]


@pytest.mark.parametrize(("path", "fields", "code"), REQUESTS)
def test_every_request_is_answered_as_without_the_short_way(path: str, fields: dict[str, Any], code: int):
    both = Both()
    assert both.ask(path, **fields).code == code
    assert both.ask(path, **fields).code == code


@pytest.mark.parametrize(("path", "fields", "code"), REQUESTS)
@pytest.mark.parametrize("descriptors", [False, True])
@pytest.mark.parametrize("login", ["Basic ann", "Basic eve", None])
def test_so_it_is_with_logins_and_with_descriptors(
    path: str, fields: dict[str, Any], code: int, descriptors: bool, login: str | None
):
    own: dict[str, Any] = {"descriptors": InMemoryDescriptorCache} if descriptors else {}
    both = Both(own, auth=True)
    both.ask(**_ANN)  # so that all is remembered
    sent = {} if login is None else {"HTTP_AUTHORIZATION": login}
    answer = both.ask(path, **fields, **sent)
    if login != "Basic ann":
        assert answer.code != 307
        assert "Signature=" not in str(answer.headers)
    elif path != f"/v2/other/app/blobs/{DIGEST}":
        assert answer.code == code or answer.code == 401


@pytest.mark.parametrize(("path", "fields", "code"), REQUESTS)
@pytest.mark.parametrize("login", ["Basic ann", "Basic eve", None])
def test_so_it_is_where_the_server_shows_what_was_sent_and_the_redirect_is_kept(
    path: str, fields: dict[str, Any], code: int, login: str | None
):
    both = Both({"descriptors": InMemoryDescriptorCache}, auth=True)
    for digest in (DIGEST, SHA512):
        warm = f"/v2/team/app/blobs/{digest}"
        assert both.ask(warm, RAW_URI=warm, **_ANN).code == both.ask(warm, RAW_URI=warm, **_ANN).code == 307
    sent = {"RAW_URI": path, **fields} | ({} if login is None else {"HTTP_AUTHORIZATION": login})
    answer = both.ask(path, **sent)
    if login != "Basic ann":
        assert answer.code != 307
        assert "Signature=" not in str(answer.headers)
    elif path != f"/v2/other/app/blobs/{DIGEST}":
        assert answer.code == code or answer.code == 401


@pytest.mark.parametrize("size", [1, 100])
def test_a_blob_that_is_deleted_through_the_registry_is_gone_at_once(size: int):
    """Even if its descriptor was pushed out of the memory, while the redirect is still kept."""
    registry = Registry(Storage(), descriptors=InMemoryDescriptorCache(size), delete=True)
    app = CloudFrontMiddleware(
        registry, place_of=registry.place_of(""), baseurl=EDGE, unsigned=True, rootdirectory="/team/prod"
    )
    other = f"/v2/team/app/blobs/{SHA512}"
    for path in (BLOB, other, BLOB, other):
        assert ask(app, request(path, RAW_URI=path)).code == 307
    assert ask(app, request(method="DELETE")).code == 202
    assert ask(app, request(RAW_URI=BLOB)).code == 404
    assert ask(app, request(other, RAW_URI=other)).code == 307


def test_a_redirect_that_is_kept_is_sent_again_without_making_it_again(monkeypatch: pytest.MonkeyPatch):
    both = Both({"descriptors": InMemoryDescriptorCache})
    first = both.ask(RAW_URI=BLOB)
    placed = both.sides[0][0]._placed
    assert placed is not None
    monkeypatch.setattr(placed, "_redirect", None)
    assert both.ask(RAW_URI=BLOB) == first


def test_no_more_redirects_are_kept_than_are_allowed_and_those_in_use_stay(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(placedpulls, "_KEPT", 3)
    storage = Storage()
    digests = [Digest.of(str(number).encode()) for number in range(20)]
    for digest in digests:
        storage.write(f"{LAYERS}/sha256/{digest.hex}/link", str(digest).encode())
    registry = Registry(storage, descriptors=InMemoryDescriptorCache())
    app = CloudFrontMiddleware(
        registry, place_of=registry.place_of(""), baseurl=EDGE, unsigned=True, rootdirectory="/team/prod"
    )
    placed = app._placed
    assert placed is not None
    first = None
    for digest in digests:
        for path in (BLOB, f"/v2/team/app/blobs/{digest}"):
            assert ask(app, request(path, RAW_URI=path)).code == 307
        kept = placed._older | placed.kept
        first = first or kept[BLOB]
        assert kept[BLOB] is first
        assert len(placed.kept) <= 3
        assert len(placed._older) <= 3


def test_a_login_is_asked_for_once_with_each_request_and_may_end_at_any_moment():
    both = Both({"descriptors": InMemoryDescriptorCache}, auth=True)
    assert both.ask(**_ANN).code == both.ask(**_ANN).code == 307
    (_, storage, logins), _ = both.sides
    assert (len(logins.asked if logins else ()), storage.asked) == (1, [])
    assert both.ask().code == 401
    assert len(logins.asked if logins else ()) == 1  # a wrong password is not worth two looks
    for _, _, each in both.sides:
        assert each is not None
        del each.users["Basic ann"]
    assert both.ask(**_ANN).code == 401
    assert both.ask(HTTP_AUTHORIZATION="Basic bob").code == 307


def test_who_may_not_pull_learns_nothing_from_the_storage():
    both = Both(auth=True)
    for fields in ({}, {"HTTP_AUTHORIZATION": "Basic eve"}):
        assert both.ask(**fields).code == 401
        assert [storage.asked for _, storage, _ in both.sides] == [[], []]
    path = f"/v2/other/app/blobs/{DIGEST}"
    assert both.ask(path, **_ANN).code == 401
    assert [storage.asked for _, storage, _ in both.sides] == [[], []]


def test_a_login_that_fails_by_a_bug_opens_nothing():
    both = Both(auth=True)
    for _, _, logins in both.sides:
        assert logins is not None
        logins.fails = True
    assert both.ask(**_ANN).code == 500


@pytest.mark.parametrize(
    "error", [StorageUnavailable("S3 is away"), StorageRefused("denied"), StorageFull("no"), OSError(5, "io")]
)
def test_a_storage_that_fails_is_told_in_the_same_way(error: Exception):
    both = Both()
    for _, storage, _ in both.sides:
        storage.error = error
    assert both.ask().code in (500, 503, 507)


def test_two_digests_of_the_same_bytes_keep_their_own_names_and_windows():
    both = Both()
    answers = [both.ask(f"/v2/team/app/blobs/{digest}") for digest in (DIGEST, SHA512, DIGEST)]
    names = [dict(answer.headers)["Docker-Content-Digest"] for answer in answers]
    assert names == [str(DIGEST), str(SHA512), str(DIGEST)]
    assert answers[0].location != answers[1].location
    assert answers[0].location == answers[2].location


def test_a_window_that_ends_is_followed_by_the_next_one():
    both = Both(wrapper={"duration": 1200, "window": 300})
    first = both.ask().location
    found = set()
    for _ in range(5):
        both.clock.now += 299
        found.add(both.ask().location)
    assert len(found) == 5
    assert first not in found
    both.clock.now -= 5 * 299  # a clock that is set back gives no URL that lives too long
    assert both.ask().location == first


def test_a_new_key_signs_the_next_redirect(tmp_path: Path):
    link = tmp_path / "key.pem"
    for number in (1, 2):
        (tmp_path / f"pk-K{number}.pem").write_text(key(number).private_pem)
    link.symlink_to("pk-K1.pem")
    both = Both(wrapper={"privatekey": str(link), "keypairid": None})
    for app, _, _ in both.sides:
        assert app.keys is not None
        app.keys._interval = 0.0
        app.keys._due = 0.0
    assert "Key-Pair-Id=K1" in str(both.ask().location)
    link.unlink()
    link.symlink_to("pk-K2.pem")
    assert "Key-Pair-Id=K2" in str(both.ask().location)


def test_wrappers_of_one_registry_sign_each_with_its_own_key():
    registry = Registry(Storage(), descriptors=InMemoryDescriptorCache())
    one, other = (
        CloudFrontMiddleware(
            registry,
            place_of=registry.place_of(""),
            baseurl=baseurl,
            privatekey=key(number).private_pem,
            keypairid=f"K{number}",
            rootdirectory="/team/prod",
        )
        for number, baseurl in ((1, EDGE), (2, "https://other.example"))
    )
    for _ in range(2):
        for app, baseurl, name in ((one, EDGE, "K1"), (other, "https://other.example", "K2")):
            location = ask(app, request(BLOB)).location
            assert str(location).startswith(baseurl)
            assert f"Key-Pair-Id={name}" in str(location)


def test_wrappers_of_one_registry_that_sign_nothing_send_clients_each_to_its_own_server():
    registry = Registry(Storage(), descriptors=InMemoryDescriptorCache())
    for baseurl in ("https://one.example", "https://other.example"):
        place_of = registry.place_of("")
        app = CloudFrontMiddleware(
            registry, place_of=place_of, baseurl=baseurl, unsigned=True, rootdirectory="/team/prod"
        )
        assert str(ask(app, request(BLOB)).location).startswith(baseurl)


def test_what_somebody_adds_to_a_redirect_is_on_that_one_alone():
    registry = Registry(Storage(), descriptors=InMemoryDescriptorCache())
    wrapped = CloudFrontMiddleware(
        registry,
        place_of=registry.place_of(""),
        baseurl=EDGE,
        privatekey=key(1).private_pem,
        keypairid=KEY_PAIR_ID,
        rootdirectory="/team/prod",
    )

    def marked(environ: dict[str, Any], start_response: Any) -> Any:
        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            headers.append(("X-Mark", "here"))
            return start_response(status, headers)

        return wrapped(environ, start)

    for _ in range(2):
        assert [name for name, _ in ask(marked, request(BLOB)).headers].count("X-Mark") == 1
    assert "X-Mark" not in dict(ask(wrapped, request(BLOB)).headers)


def test_a_blob_that_is_deleted_is_gone_when_its_descriptor_ends():
    clock = Clock()
    both = Both({"descriptors": lambda: InMemoryDescriptorCache(seconds=60, clock=clock)})
    assert both.ask().code == 307
    for _, storage, _ in both.sides:
        storage.delete([LINK])
    clock.now += 61
    assert both.ask().code == 404


class Failing(Health):
    """A registry that says that it is not well."""

    def __init__(self, redirects: bool) -> None:
        super().__init__([], redirects=redirects)
        self.board.write({"storage": "is away"}, [])

    def start(self) -> None:
        """Check nothing."""


@pytest.mark.parametrize("redirects", [True, False])
@pytest.mark.parametrize("remembered", [True, False])
def test_a_check_that_fails_stops_what_it_stopped(redirects: bool, remembered: bool):
    descriptors = [InMemoryDescriptorCache(), InMemoryDescriptorCache()]
    if remembered:
        for each in descriptors:
            wrapped = Registry(Storage(), descriptors=each)
            assert ask(wrapped, request(method="HEAD")).code == 200
    given = iter(descriptors)
    both = Both({"health": lambda: Failing(redirects), "descriptors": lambda: next(given)})
    assert both.ask().code == (307 if redirects and remembered else 503)
    assert [storage.asked for _, storage, _ in both.sides] == [[], []]


@pytest.mark.parametrize(
    "options",
    [
        {"minimumsize": "1KiB"},
        {"minimumsize": "1MiB"},
        {"maximumsize": "1KiB"},
        {"probe": "head"},
        {"probe": "none"},
        {"probecache": "30s"},
        {"keepheaders": "X-Request-Id"},
        {"bindip": True},
        {"networks": "192.0.2.0/24"},
        {"ipfilteredby": "all"},
    ],
)
def test_options_that_look_at_more_have_the_registry_asked_as_ever(options: dict[str, Any]):
    def presign(key: str, expires: int) -> tuple[str, int]:
        return f"https://s3.example/{key}?X-Amz-Signature=x", expires

    both = Both(wrapper=options, presign=presign)
    for fields in ({}, {"HTTP_RANGE": "bytes=0-1"}, {"REMOTE_ADDR": "203.0.113.9"}, {"REMOTE_ADDR": "::1"}):
        both.ask(**fields)
    assert both.sides[0][0]._placed is None


def test_an_object_that_is_larger_than_what_cloudfront_serves_is_not_sent_there(monkeypatch: Any):
    both = Both({"descriptors": InMemoryDescriptorCache})
    for _, storage, _ in both.sides:
        stat = storage.stat
        monkeypatch.setattr(storage, "stat", lambda path, stat=stat: stat(path)._replace(size=10**11))
    both.ask(method="HEAD")  # the size is known from now on
    assert both.ask().code == 200
    assert both.sides[0][0].not_redirected["too-large"] == 1


def test_what_cloudfront_cannot_reach_is_served_and_told():
    both = Both(wrapper={"rootdirectory": "/other"})
    assert both.ask().code == 200
    assert both.sides[0][0].not_redirected["origin-path"] == 1


def test_a_signature_that_cannot_be_made_is_told_once_and_the_registry_serves(monkeypatch: Any):
    both = Both()
    for app, _, _ in both.sides:

        def fail(*given: object) -> str:
            raise ValueError("no key")

        for name in ("url", "lasting"):
            monkeypatch.setattr(app._signer, name, fail)
    assert both.ask().code == 200
    assert both.sides[0][0].signing_failures == 1
    assert both.ask(f"/v2/other/app/blobs/{DIGEST}").code == 404
    assert both.sides[0][0].signing_failures == 1


def test_what_is_put_in_front_of_the_registry_later_is_asked():
    registry = Registry(Storage())
    wrapped = CloudFrontMiddleware(
        registry,
        place_of=registry.place_of(""),
        baseurl=EDGE,
        privatekey=key(1).private_pem,
        keypairid=KEY_PAIR_ID,
        rootdirectory="/team/prod",
    )
    assert ask(wrapped).code == 307

    def guard(environ: dict[str, Any], start_response: Any) -> Any:
        if "HTTP_X_PASS" in environ:
            return registry(environ, start_response)
        start_response("403 Forbidden", [("Content-Length", "0")])
        return [b""]

    wrapped.app = guard
    assert (ask(wrapped).code, ask(wrapped, request(HTTP_X_PASS="1")).code) == (403, 307)


@pytest.mark.parametrize(
    ("own", "wrappers"), [("/hub", ""), ("", "/hub"), ("/hub", "/hu"), ("/hub", "/hub/")]
)
def test_a_wrapper_with_another_prefix_knows_no_place(own: str, wrappers: str):
    assert Registry(Storage(), prefix=own).place_of(wrappers) is None


def test_a_prefix_that_both_have_is_left_out_by_both():
    both = Both({"prefix": "/hub"}, {"prefix": "/hub"})
    assert both.sides[0][0]._placed is not None
    assert both.ask(f"/hub{BLOB}").code == 307
    assert both.ask(BLOB).code == 404
    assert both.ask(f"/hub/hub{BLOB}").code == 404


FILE = """
storage:
  filesystem: {rootdirectory: data}
middleware:
  storage:
    - name: cloudfront
      options: {baseurl: https://d111111abcdef8.cloudfront.net, privatekey: pk-K2JCJMDEHXQW5F.pem}
"""


def test_a_configuration_file_connects_its_wrapper_with_its_registry_and_with_no_other_app(tmp_path: Path):
    (tmp_path / "pk-K2JCJMDEHXQW5F.pem").write_text(key(1).private_pem)
    (tmp_path / "config.yml").write_text(FILE)
    config = Config.load(tmp_path / "config.yml", {})
    own = config.app()
    assert isinstance(own, CloudFrontMiddleware)
    assert own._placed is not None
    assert config.wrap(own.app)._placed is None
    driver = config.driver()
    driver.write(f"/{KEY}", CONTENT)
    driver.write(LINK, str(DIGEST).encode())
    answers = [ask(app) for app in (own, config.wrap(own.app))]
    assert answers[0] == answers[1]
    assert answers[0].code == 307
