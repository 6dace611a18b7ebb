"""Presigned URLs of credentials that somebody lent for a while: none is good for longer than they are.

Where they are too near their end, or cannot be had, pulls go on: from CloudFront, or from the app.
"""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from botocore.credentials import RefreshableCredentials
from botocore.exceptions import CredentialRetrievalError
from hypothesis import given, settings
from hypothesis import strategies as st
from lab.apps import DIGEST, EDGE, KEY_PAIR_ID, ask, key, request, wrap
from lab.examples import examples
from lab.recording_s3 import Answer, RecordingS3, recording
from lab.redirects import end_of, every_blob, parameters, path_of, redirect, sha256_of
from lab.servers import S3Server

from cfmiddleware.config import Config
from cfmiddleware.signing.windows import ExpiryWindow
from cfmiddleware.storage.s3 import S3Options
from cfmiddleware.storage.s3.connection import Connection
from cfmiddleware.storage.s3.presign import Presigner

NEAR, NEAR_IPV6, FAR = "10.1.2.3", "2001:db8::1", "192.0.2.7"
NETWORKS = ["10.0.0.0/8", "2001:db8::/32"]
S3 = "https://registry.s3.us-west-2.amazonaws.com/"
NOW = 1_800_000_000.0


class Lender:
    """Lends credentials as a role's are lent, by the tests' own clock; each has a token of its own."""

    def __init__(self) -> None:
        self.now = NOW
        #: Seconds that the next ones are good for; None for a lender that fails.
        self.lifetime: float | None = 1000.0
        #: When those that were lent so far end, by their tokens.
        self.ends: dict[str, float] = {}

    def lend(self) -> dict[str, str]:
        if self.lifetime is None:
            raise CredentialRetrievalError(provider="test", error_msg="nobody is there")
        token = f"token-{len(self.ends)}"
        # As it is told, in whole microseconds.
        end = datetime.fromtimestamp(self.now + self.lifetime, UTC)
        self.ends[token] = end.timestamp()
        return {
            "access_key": "ASIATEST",
            "secret_key": "s",
            "token": token,
            "expiry_time": end.isoformat(),
        }

    def credentials(self) -> RefreshableCredentials:
        lent = self.lend()
        return RefreshableCredentials(
            lent["access_key"],
            lent["secret_key"],
            lent["token"],
            datetime.fromisoformat(lent["expiry_time"]),
            self.lend,
            "test",
            time_fetcher=lambda: datetime.fromtimestamp(self.now, UTC),
        )


def near_s3(lender: Lender, v4auth: bool = True, **options: Any) -> Any:
    """Return a wrapper that presigns with what is lent."""
    given = S3Options(bucket="registry", region="us-west-2", v4auth=v4auth)
    credentials = lender.credentials()
    presign = Presigner(given, lambda: Connection(None, credentials), lambda: lender.now)  # type: ignore[arg-type]
    return wrap(every_blob, networks=NETWORKS, presign=presign, clock=lambda: lender.now, **options)


@functools.cache
def shared(v4auth: bool) -> tuple[Lender, Any]:
    """Return a lender and a wrapper for many examples: the two take their time to be made."""
    lender = Lender()
    return lender, near_s3(lender, v4auth, duration=1200, window=300)


def token_of(url: str) -> str:
    said = parameters(url)
    return said.get("X-Amz-Security-Token") or said["x-amz-security-token"]


lent_for = (
    st.none() | st.floats(-100, 5000) | st.sampled_from([0.0, 59.9, 60.0, 899.0, 900.0, 1200.0, 1200.5])
)


@pytest.mark.parametrize("v4auth", [True, False], ids=["version4", "version2"])
@settings(deadline=None, max_examples=examples(100))
@given(
    steps=st.lists(
        st.tuples(st.integers(0, 2), st.floats(-2, 2000) | st.floats(0, 60), lent_for),
        min_size=5,
        max_size=30,
    )
)
def test_no_pull_gets_a_url_that_outlives_its_credentials_and_none_fails(
    v4auth: bool, steps: list[tuple[int, float, float | None]]
):
    """Whenever it comes, whatever is remembered, and however long the next credentials are good for."""
    lender, wrapped = shared(v4auth)
    # Long after all that came before; by whole windows, so that it makes no difference what that was.
    lender.now = NOW + ((lender.now - NOW) // 300_000 + 1) * 300_000
    for number, seconds, lifetime in steps:
        lender.now += seconds
        lender.lifetime = lifetime
        url = redirect(wrapped, sha256_of(number), NEAR)
        left = end_of(url) - Fraction(lender.now)
        if url.startswith(S3):
            assert end_of(url) <= lender.ends[token_of(url)]
            assert 60 <= left <= 1200
        else:
            assert url.startswith(EDGE)
            assert 900 < left <= 1200
    assert wrapped.signing_failures == 0


@pytest.mark.parametrize(
    ("lifetime", "left"),
    [
        (60.0, 60),
        (899.5, 899),
        (900.0, 900),
        # From here on the grid says when, up to 1200 s from now.
        (1200.0, None),
        (1201.0, None),
        (5000.0, None),
    ],
)
def test_a_url_ends_with_its_credentials_or_on_the_grid_whatever_comes_first(
    lifetime: float, left: int | None
):
    lender = Lender()
    lender.lifetime = lifetime
    wrapped = near_s3(lender, duration=1200, window=300)
    near, far = (redirect(wrapped, DIGEST, address) for address in (NEAR, FAR))
    assert near.startswith(S3)
    assert end_of(near) == (end_of(far) if left is None else NOW + left)


def test_credentials_with_less_than_a_minute_left_sign_nothing():
    lender = Lender()
    lender.lifetime = 59.9
    wrapped = near_s3(lender)
    assert redirect(wrapped, DIGEST, NEAR).startswith(EDGE)


def test_a_remembered_url_is_not_sent_in_the_last_minute_of_its_credentials():
    lender = Lender()
    lender.now = ExpiryWindow(4000, 2000).expires(DIGEST.hex, NOW) - 4000.0  # where a window begins
    wrapped = near_s3(lender, duration=4000, window=2000)
    first = redirect(wrapped, DIGEST, NEAR)
    assert end_of(first) == lender.now + 1000
    lender.lifetime = None  # nobody lends any more
    lender.now += 940
    assert redirect(wrapped, DIGEST, NEAR) == first
    lender.now += 0.5
    assert redirect(wrapped, DIGEST, NEAR).startswith(EDGE)
    lender.lifetime = 5000.0
    again = redirect(wrapped, DIGEST, NEAR)
    assert again.startswith(S3)
    assert token_of(again) != token_of(first)


@pytest.mark.parametrize("lifetime", [None, -1.0, 30.0], ids=["none", "over", "ending"])
def test_where_cloudfront_cannot_be_used_either_the_app_serves_the_blob(lifetime: float | None):
    """CloudFront has no URL that is bound to an IPv6 client."""
    lender = Lender()
    lender.lifetime = 1.0
    wrapped = near_s3(lender, bindip=True)
    lender.now += 10
    lender.lifetime = lifetime
    answer = ask(wrapped, request(path_of(DIGEST), REMOTE_ADDR=NEAR_IPV6))
    assert (answer.code, answer.body) == (200, b"content")
    # An address of a private network is none that CloudFront could see.
    assert "Policy" not in parameters(redirect(wrapped, DIGEST, NEAR))
    assert "Policy" in parameters(redirect(wrapped, DIGEST, FAR))


# With boto3's own ways to credentials, over HTTP


def config(directory: Path, **options: Any) -> Config:
    """Return a configuration without keys of S3, so that boto3 looks for credentials itself."""
    directory.mkdir(exist_ok=True)
    (directory / f"pk-{KEY_PAIR_ID}.pem").write_text(key(1).private_pem)
    given = {"baseurl": EDGE, "privatekey": f"pk-{KEY_PAIR_ID}.pem", "networks": NETWORKS, **options}
    tree = {
        "version": 0.1,
        "storage": {"s3": {"region": "us-west-2", "bucket": "registry"}},
        "middleware": {"storage": [{"name": "cloudfront", "options": given}]},
    }
    (directory / "config.yml").write_text(json.dumps(tree))
    return Config.load(directory / "config.yml", {})


class Role:
    """A container's credentials, as its agent lends them over HTTP."""

    def __init__(self, server: RecordingS3) -> None:
        self.lifetime = 3600.0
        self.broken = False
        #: When those that were lent so far end, by their tokens.
        self.ends: dict[str, int] = {}
        server.answer = self._lend

    def _lend(self, _: Any) -> Answer:
        if self.broken:
            return Answer(500)
        token, end = f"token-{len(self.ends)}", int(time.time() + self.lifetime)
        self.ends[token] = end
        until = datetime.fromtimestamp(end, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        lent = {"AccessKeyId": "ASIATEST", "SecretAccessKey": "s", "Token": token, "Expiration": until}
        return Answer(200, json.dumps(lent).encode())


@pytest.fixture
def role(monkeypatch) -> Iterator[Role]:
    with recording() as server:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{server.url}/role")
        # boto3 would pause for a second between its tries.
        monkeypatch.setattr("botocore.utils.ContainerMetadataFetcher.SLEEP_TIME", 0)
        yield Role(server)


@pytest.mark.parametrize("lifetime", [90, 700, 1200, 1300, 3600])
def test_urls_end_with_the_credentials_of_a_container(tmp_path: Path, role: Role, lifetime: int):
    """Those with little time left are renewed at every pull; those with much, not yet."""
    role.lifetime = lifetime
    wrapped = config(tmp_path, duration=1200, window=300).wrap(every_blob)
    for number in range(10):
        before = time.time()
        url = redirect(wrapped, sha256_of(number), NEAR)
        assert url.startswith(S3)
        assert end_of(url) <= min(role.ends[token_of(url)], time.time() + 1200)
        assert end_of(url) > min(before + 900, role.ends[token_of(url)] - 1)
        assert redirect(wrapped, sha256_of(number), NEAR) == url
    # The first two are for boto3, which asks as it looks around and again for what it found to end soon.
    assert len(role.ends) <= 2 + 10 * (lifetime < 900)


def test_a_container_s_renewed_credentials_take_over(tmp_path: Path, role: Role):
    role.lifetime = 300
    wrapped = config(tmp_path, duration=1200, window=300).wrap(every_blob)
    first = redirect(wrapped, DIGEST, NEAR)
    assert end_of(first) == role.ends[token_of(first)]
    role.lifetime = 3600
    later = redirect(wrapped, sha256_of(1), NEAR)
    assert time.time() + 900 < end_of(later) + 1
    assert role.ends[token_of(later)] > role.ends[token_of(first)]


@pytest.mark.parametrize("how", ["broken", "over", "ending"])
def test_without_a_container_s_credentials_pulls_go_on(tmp_path: Path, role: Role, how: str, caplog):
    role.broken = how == "broken"
    role.lifetime = {"over": -10, "ending": 40}.get(how, 3600)
    bound = config(tmp_path, bindip=True).wrap(every_blob)
    for wrapped in (config(tmp_path).wrap(every_blob), bound):
        assert redirect(wrapped, DIGEST, NEAR).startswith(EDGE)
        assert redirect(wrapped, DIGEST, FAR).startswith(EDGE)
    answer = ask(bound, request(path_of(DIGEST), REMOTE_ADDR=NEAR_IPV6))
    assert (answer.code, answer.body) == (200, b"content")
    said = [record.getMessage() for record in caplog.records if record.name == "cfmiddleware"]
    assert said
    assert all("credentials" in message or "ipv6-client" in message for message in said)
    # They are asked for again, and so they are there when the agent is.
    role.broken, role.lifetime = False, 3600
    assert redirect(bound, DIGEST, NEAR).startswith(S3)


def assume(directory: Path, monkeypatch: Any, sts: str) -> None:
    """Let boto3 assume a role at the STS of that URL."""
    profiles = {
        "AWS_CONFIG_FILE": "[profile puller]\nrole_arn = arn:aws:iam::123456789012:role/puller\n"
        "source_profile = owner\nduration_seconds = 900\n",
        "AWS_SHARED_CREDENTIALS_FILE": "[owner]\naws_access_key_id = A\naws_secret_access_key = s\n",
    }
    for variable, text in profiles.items():
        (directory / variable).write_text(text)
        monkeypatch.setenv(variable, str(directory / variable))
    monkeypatch.setenv("AWS_PROFILE", "puller")
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", sts)


def test_urls_end_with_the_credentials_of_an_assumed_role(tmp_path: Path, s3_server: S3Server, monkeypatch):
    """Those are lent by STS when they are first needed."""
    assume(tmp_path, monkeypatch, s3_server.endpoint)
    wrapped = config(tmp_path, duration=4000, window=1000).wrap(every_blob)
    asked = int(time.time())
    url = redirect(wrapped, DIGEST, NEAR)
    assert url.startswith(S3)
    assert token_of(url)
    assert asked + 899 <= end_of(url) <= time.time() + 900


def test_a_role_that_may_not_be_assumed_sends_clients_to_cloudfront(tmp_path: Path, monkeypatch, caplog):
    with recording() as sts:
        refusal = (
            "<ErrorResponse><Error><Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>"
        )
        sts.answer = lambda request: Answer(403, refusal.encode())
        assume(tmp_path, monkeypatch, sts.url)
        assert redirect(config(tmp_path).wrap(every_blob), DIGEST, NEAR).startswith(EDGE)
    assert "could not be presigned: there are no credentials to sign a URL with (ClientError)" in caplog.text
