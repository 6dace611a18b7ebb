"""The third step of a check: the registry's own side, its storage and the redirects of the one that runs."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator
from urllib.parse import quote, urlencode, urlsplit

from werkzeug.datastructures import WWWAuthenticate

from cfmiddleware.digest import Digest
from cfmiddleware.errors import ConfigError
from cfmiddleware.signing.keys import PublicKey, load_public_key
from cfmiddleware.signing.verify import Refused, Verifier
from cfmiddleware.storage.driver import Driver

from .answercodes import cached_error, meaning, refusal_in
from .asking import LARGEST, Answer, Asker, NotAnswered, host_and_port
from .blobsthere import Pulled, blobs_there
from .findings import Finding, cross, question, tick
from .wanted import Wanted

#: What mends a storage that does not take or give what the registry needs.
MEND_STORAGE = (
    "set what the line names right in the section storage; the template's output RegistryPolicyArn is the "
    "policy that the role or user needs"
)

_SERVED = (
    "see cfmiddleware's own lines in the registry's log, which say why, and the table on the page 'wrapping'"
)


def storage_findings(driver: Driver, *, writes: bool) -> Iterator[Finding]:
    """Yield what the registry finds out about its storage when it starts.

    :param writes: whether it is looked at writing as well.
    """
    try:
        driver.check()
    except ConfigError as error:
        yield cross("storage", str(error), MEND_STORAGE)
        return
    yield tick("storage", f"the storage answers: {driver.describe()}")
    if not writes:
        return
    try:
        warnings = driver.check_writes()
    except ConfigError as error:
        yield cross("writes", str(error), MEND_STORAGE)
        return
    for warning in warnings:
        yield question("writes", warning, "see the page 's3-options'")
    if not warnings:
        yield tick("writes", "the storage takes what a registry writes")


class RunningRegistry:
    """Asks a registry that runs for a blob, and follows its redirect.

    :param url: the registry's URL.
    :param login: a user's name and password, with a colon between them; empty for none.
    :param pulled: the blob; None for one that the storage has.
    :param clock: this machine's clock, in Unix seconds.
    """

    def __init__(
        self,
        wanted: Wanted,
        url: str,
        asker: Asker,
        *,
        prefix: str = "",
        login: str = "",
        pulled: Pulled | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._wanted = wanted
        base = url.rstrip("/")
        self._base = base if not prefix or urlsplit(base).path.endswith(prefix) else base + prefix
        self._asker = asker
        self._login = login
        self._pulled = pulled
        self._clock = clock

    def findings(self) -> Iterator[Finding]:
        """Yield what is found."""
        pulled = self._pulled or next(blobs_there(self._wanted.storage), None)
        if pulled is None:
            yield question(
                "redirect", "the storage has no blob to pull yet", "push an image, and check again"
            )
            return
        try:
            answer = self._ask(f"/v2/{pulled.repository}/blobs/{pulled.digest}", pulled.repository)
        except NotAnswered as error:
            yield cross("redirect", str(error), "see that the registry runs, and that --url is its URL")
            return
        what = f"{pulled.repository}@{str(pulled.digest)[:19]}..."
        if answer.status not in (301, 302, 303, 307, 308):
            yield self._not_redirected(answer, what)
            return
        location = answer.headers.get("location", "")
        yield tick("redirect", f"the registry redirects a pull of {what}, in {answer.seconds * 1000:.0f} ms")
        yield self._signature(location)
        yield self._bytes(location, pulled)

    def _not_redirected(self, answer: Answer, what: str) -> Finding:
        if answer.status in (200, 206):
            return cross("redirect", f"the registry serves {what} itself, without a redirect", _SERVED)
        if answer.status == 401:
            return question(
                "redirect",
                "the registry wants a login",
                "give --login FILE, whose only line is USER:PASSWORD",
            )
        return cross(
            "redirect",
            f"the registry answers {answer.status} to a pull of {what}",
            "see that --url is the registry of this configuration, and that the user may pull",
        )

    def _signature(self, location: str) -> Finding:
        name = "redirect-signature"
        if not location.startswith(self._wanted.baseurl + "/"):
            try:
                host, _ = host_and_port(location)
            except NotAnswered:
                host = "nowhere"
            if "X-Amz-Signature=" in location or "AWSAccessKeyId=" in location:
                return tick(name, f"it leads to S3 itself ({host}): this machine counts as near the bucket")
            return cross(
                name,
                f"it leads to {host}, and not to {self._wanted.baseurl}",
                "see that the registry that runs has this configuration; SIGHUP has it read again",
            )
        if self._wanted.unsigned:
            return tick(name, "it leads to the distribution, without a signature, as configured")
        try:
            # A URL that is bound to this machine's address is CloudFront's to judge.
            Verifier(self._public_keys()).check(location, self._clock(), None)
        except Refused as error:
            if "Policy=" in location and error.code == "AccessDenied":
                return tick(name, "it leads to the distribution, with a policy of its own")
            return cross(
                name,
                f"its signature is not right by the keys of this configuration: {error.message}",
                "see that the registry that runs has this configuration, and that the clocks agree",
            )
        return tick(name, "it leads to the distribution, and its signature is right")

    def _bytes(self, location: str, pulled: Pulled) -> Finding:
        name = "redirect-bytes"
        try:
            answer = self._asker.ask(location)
        except NotAnswered as error:
            return cross(
                name,
                f"the redirect leads nowhere: {error}",
                "see that baseurl is right where the registry runs",
            )
        if answer.status != 200:
            refused = refusal_in(answer)
            if answer.age:
                return cached_error(answer, refused)
            known = meaning(refused)
            return cross(name, f"the redirect is refused: {refused}: {known.says}", known.mend)
        length = answer.headers.get("content-length", "")
        whole = len(answer.body) < LARGEST or length == str(len(answer.body))
        if whole and Digest.of(answer.body, pulled.digest.algorithm) != pulled.digest:
            return cross(
                name, "the redirect leads to bytes of another digest", "see that the origin is this bucket"
            )
        return tick(
            name,
            f"the redirect leads to the {'bytes of that digest' if whole else 'object'}, in "
            f"{answer.seconds * 1000:.0f} ms",
        )

    def _public_keys(self) -> dict[str, PublicKey]:
        return {id: load_public_key(pem, id) for id, pem in self._wanted.public_keys.items()}

    def _ask(self, path: str, repository: str) -> Answer:
        answer = self._asker.ask(self._base + path)
        if answer.status != 401 or not self._login:
            return answer
        credential = self._credential(answer.headers.get("www-authenticate", ""), repository)
        return self._asker.ask(self._base + path, headers={"Authorization": credential})

    def _credential(self, challenge: str, repository: str) -> str:
        """Return what answers a challenge: the login itself, or a token that a service gives for it."""
        basic = "Basic " + base64.b64encode(self._login.encode()).decode("ascii")
        asked = WWWAuthenticate.from_header(challenge)
        realm = asked.get("realm") if asked is not None and asked.type == "bearer" else None
        if asked is None or not realm:
            return basic
        query = {"scope": f"repository:{repository}:pull"}
        if asked.get("service"):
            query["service"] = str(asked.get("service"))
        joint = "&" if "?" in realm else "?"
        given = self._asker.ask(
            f"{realm}{joint}{urlencode(query, quote_via=quote)}", headers={"Authorization": basic}
        )
        try:
            said = json.loads(given.body)
            token = said.get("token") or said.get("access_token")
        except (ValueError, AttributeError):
            token = None
        if not token:
            raise NotAnswered("answer", f"the token service gave no token ({given.status})")
        return f"Bearer {token}"
