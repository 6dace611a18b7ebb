"""``cfmiddleware explain``: what a signed URL says, and why it is refused.

What is found holds no signature, no policy and no secret, so that it can be pasted into a ticket.
"""

from __future__ import annotations

import datetime
import hashlib
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

from cfmiddleware.config import Config
from cfmiddleware.errors import ConfigError, ObjectNotFound, StorageError
from cfmiddleware.signing.keyring import KeyRing
from cfmiddleware.signing.keys import KeyPair, PublicKey, load_public_key
from cfmiddleware.signing.originpath import path_below
from cfmiddleware.signing.url import sign
from cfmiddleware.signing.verify import Refused, Verifier
from cfmiddleware.signing.wildcard import matches

from .answercodes import CLOUDFRONT, Refusal, cached_error, meaning, refusal, refusal_in
from .asking import Asker, NotAnswered
from .findings import Finding, cross, question, tick
from .sample import storage_root
from .signedurl import SignedURL, take_apart
from .viewerside import clock_finding
from .wanted import Wanted, wanted

#: What the parts are called.
PARTS = {1: "What the URL says", 2: "What was answered", 3: "What is answered now"}

_HASHES = {None: "sha1", "SHA1": "sha1", "SHA256": "sha256"}
_DIGEST = re.compile(r"/(sha256|sha512)/(?:[0-9a-f]{2}/)?([0-9a-f]{64,128})(?:/data)?\Z")
_HEAD = re.compile(rb"HTTP/[0-9.]+ ([0-9]{3})[^\r\n]*\r?\n")

#: Seconds that a fresh URL lives.
_LIFETIME = 300


@dataclass(frozen=True)
class Question:
    """What is to be explained.

    :param url: the URL, as it stands in a log or a client's error.
    :param answer: what was answered to it: a body, or headers and a body as ``curl -i`` prints them; None
        where that is not known.
    :param online: whether CloudFront is asked for it now.
    """

    config: Config
    url: str = field(repr=False)
    answer: bytes | None = field(default=None, repr=False)
    online: bool = True
    asker: Asker = field(default_factory=Asker)
    clock: Callable[[], float] = time.time


def explain(asked: Question) -> Iterator[tuple[int, Finding]]:
    """Yield each part's number and what is found in it.

    :raises ConfigError: for what is not a URL, and for a configuration without a wrapper.
    """
    want = wanted(asked.config)
    explained = _Explained(asked, want, take_apart(asked.url))
    yield from ((1, finding) for finding in explained.offline())
    if asked.answer is not None:
        yield 2, explained.answered(asked.answer)
    if asked.online:
        yield from ((3, finding) for finding in explained.now())


class _Explained:
    """A URL, and what is found out about it.

    :ivar reasons: why CloudFront would refuse it, as far as that shows in the URL.
    """

    def __init__(self, asked: Question, want: Wanted, said: SignedURL) -> None:
        self._asked = asked
        self._wanted = want
        self._said = said
        self._keys = {id: load_public_key(pem, id) for id, pem in want.public_keys.items()}
        self._now = asked.clock()
        self.reasons: list[str] = []
        self._is_there: bool | None = None

    # Offline

    def offline(self) -> Iterator[Finding]:
        """Yield what the URL itself says."""
        said = self._said
        yield self._host()
        if said.is_presigned:
            yield question(
                "signature",
                "the URL is presigned for S3, not signed for CloudFront: the client counts as near the "
                "bucket",
                "see ipfilteredby and networks",
            )
            return
        if not said.is_signed:
            self.reasons.append("it has no signature")
            yield (question if self._wanted.unsigned else cross)(
                "signature",
                "the URL has none of CloudFront's parameters: it is not signed, or its query was cut off",
                "take the Location of the registry's redirect, whole",
            )
            yield from self._object()
            return
        if said.repeated:
            self.reasons.append("parameters stand twice")
            yield cross(
                "parameters",
                f"these parameters stand more than once: {', '.join(sorted(said.repeated))}",
                "look at what rewrites URLs between the registry and its clients",
            )
        yield self._key()
        yield self._hash()
        yield from self._times()
        yield from self._address()
        yield self._signature()
        yield from self._object()

    def _host(self) -> Finding:
        base = self._wanted.baseurl
        if not base:
            return question("host", f"{self._said.shown}: baseurl is not set here, so its host is not judged")
        if self._said.url.startswith(base + "/"):
            return tick("host", f"{self._said.shown}: a URL of {base}")
        return cross(
            "host",
            f"{self._said.shown}: is not a URL of {base}",
            "see that it is a redirect of this configuration, and that nothing changes scheme, host or port",
        )

    def _key(self) -> Finding:
        id = self._said.parameters.get("Key-Pair-Id", "")
        if not id:
            self.reasons.append("it has no Key-Pair-Id")
            return cross(
                "key", "it has no Key-Pair-Id", "take the Location of the registry's redirect, whole"
            )
        if not re.fullmatch("[A-Za-z0-9_-]{1,64}", id):
            return cross("key", "its Key-Pair-Id is not one of CloudFront's", "see keypairid")
        if id not in self._keys:
            self.reasons.append(f"the key {id} is not known here, and perhaps not in the key group")
            known = ", ".join(self._keys) or "none"
            return cross(
                "key",
                f"it is signed by the key {id}, which is not known here (known: {known})",
                "see that the registry that made it has this configuration; 'cfmiddleware keys' lists the "
                "keys",
            )
        signing = self._wanted.signing
        if signing is not None and signing.id == id:
            return tick("key", f"it is signed by the key {id}, which signs now")
        return tick("key", f"it is signed by the key {id}, which is known here and does not sign any more")

    def _hash(self) -> Finding:
        hash = _HASHES.get(self._said.parameters.get("Hash-Algorithm"))
        if hash is None:
            self.reasons.append("its Hash-Algorithm is unknown")
            return cross(
                "hash", "its Hash-Algorithm is neither SHA1 nor SHA256", "see hash in the configuration"
            )
        return tick("hash", f"the hash is {hash}")

    def _times(self) -> Iterator[Finding]:
        said = self._said
        if said.trouble or said.expires is None:
            self.reasons.append(said.trouble)
            yield cross("expiry", said.trouble, "take the Location of the registry's redirect, whole")
            return
        when = _time(said.expires)
        if said.starts is not None and self._now <= said.starts:
            self.reasons.append("it is not valid yet")
            yield cross("expiry", f"it is not valid before {_time(said.starts)}", "compare the clocks")
        elif self._now < said.expires:
            yield tick("expiry", f"it expires at {when}, in {_span(said.expires - self._now)}")
        else:
            self.reasons.append(f"it expired at {when}")
            yield cross(
                "expiry",
                f"it expired at {when}, {_span(self._now - said.expires)} ago",
                "pull again: each pull gets a new one; clients that are slower need a longer duration",
            )

    def _address(self) -> Iterator[Finding]:
        network = self._said.source_ip
        if network is None and self._said.trouble and "Policy" in self._said.parameters:
            return  # an address stands in the policy
        if network is None:
            yield tick("address", "it is bound to no address")
            return
        shown = network.network_address if network.prefixlen == 32 else network
        yield tick(
            "address", f"it is bound to the client {shown}: no other address gets it, and none of IPv6"
        )

    def _signature(self) -> Finding:
        name, said = "signature", self._said
        if not said.has_signature:
            return question(
                name,
                "the signature is not in the URL: logs leave it out",
                "take the URL from a client's error or the redirect itself",
            )
        key = self._keys.get(said.parameters.get("Key-Pair-Id", ""))
        if key is None or said.expires is None:
            return question(name, "the signature cannot be checked without the key and a readable expiry")
        if self._is_signed_by(said.url, key):
            return tick(name, "the signature is right")
        why = self._other_signature(key)
        self.reasons.append(why or "its signature is wrong")
        return cross(
            name,
            f"the signature is wrong: {why or 'something of the URL was changed, or another key signed it'}",
            "look at what rewrites URLs between the registry and its clients",
        )

    def _is_signed_by(self, url: str, key: PublicKey) -> bool:
        """Return whether a signature is right, be it in time and for this client or not."""
        said = self._said
        id = said.parameters.get("Key-Pair-Id", "")
        moment = (said.expires or 0) - 0.5
        address = None if said.source_ip is None else str(said.source_ip.network_address)
        try:
            Verifier({id: key}).check(url, moment, address)
        except Refused:
            return False
        return True

    def _other_signature(self, key: PublicKey) -> str:
        """Return what was changed so that the signature is wrong; empty where nothing likely was."""
        said = self._said
        for id, other in self._keys.items():
            if other is not key and self._is_signed_by(said.url, other):
                return f"it is the signature of the key {id}"
        if said.policy_resource and not matches(said.policy_resource, said.resource):
            return "its policy is for another URL than was asked for"
        query = said.url.partition("?")[2]
        path = said.url.partition("?")[0]
        scheme, _, rest = path.partition("://")
        host, _, tail = rest.partition("/")
        candidates = {
            "the scheme was changed": f"{'http' if scheme == 'https' else 'https'}://{rest}?{query}",
            "the host was changed": f"{self._wanted.baseurl}/{tail}?{query}",
            "the port was added or taken away": f"{scheme}://{host.partition(':')[0]}/{tail}?{query}",
            "further parameters were added": f"{path}?{_own(query)}",
        }
        for what, url in candidates.items():
            if url != said.url and self._is_signed_by(url, key):
                return what
        return ""

    def _object(self) -> Iterator[Finding]:
        name, want = "object", self._wanted
        base = "/" + want.baseurl.partition("://")[2].partition("/")[2]
        path = self._said.parts.path
        path = path.removeprefix(base.rstrip("/")) if base != "/" else path
        try:
            key = (want.originpath + unquote_to_bytes(path).decode("utf-8")).removeprefix("/")
        except UnicodeDecodeError:
            yield cross(name, "its path is not UTF-8", "see what rewrites URLs on the way")
            return
        digest = _DIGEST.search("/" + key)
        what = f", the blob {digest[1]}:{digest[2]}" if digest else ""
        root = storage_root(self._asked.config, want)
        if not want.storage.shared:
            yield question(name, f"its key is {key}{what}; this storage is another one in each process")
            return
        logical = path_below(key, root)
        try:
            if logical is None:
                raise ObjectNotFound(key)
            size = want.storage.stat(logical).size
        except ObjectNotFound:
            self._is_there = False
            self.reasons.append("no object is at its key")
            yield cross(name, f"no object is at its key: {key}{what}{self._elsewhere(path, root)}", _OBJECT)
            return
        except StorageError as error:
            yield question(
                name, f"its key is {key}{what}; the storage does not say whether it is there: {error}"
            )
            return
        self._is_there = True
        yield tick(name, f"it is there: {key}{what}, {size} bytes")

    def _elsewhere(self, path: str, root: str) -> str:
        """Return whether the object is there if the Origin Path is another one."""
        logical = path_below(unquote_to_bytes(path).decode("utf-8", "replace").removeprefix("/"), root)
        try:
            if logical is not None and self._wanted.originpath:
                self._wanted.storage.stat(logical)
                return (
                    f"; it is at {path}, as for a blank Origin Path (this one is {self._wanted.originpath})"
                )
        except StorageError:
            pass
        return ""

    # What was answered

    def answered(self, answer: bytes) -> Finding:
        """Return what an answer means, with what is known of the URL."""
        status, headers, body = _parts(answer)
        if status in (200, 206, 304):
            return tick("answer", "the answer is no refusal")
        if not status and not _is_page(body):
            return self._not_a_page(body)
        return self._why("answer", refusal(status, headers, body))

    def _not_a_page(self, body: bytes) -> Finding:
        """Return what a body is that neither CloudFront nor S3 refuses with."""
        digest = _DIGEST.search(self._said.parts.path)
        if digest and hashlib.new(digest[1], body).hexdigest() == digest[2]:
            return tick("answer", "the answer is the blob itself")
        return question(
            "answer",
            "the answer is a client's own words or an object's bytes: CloudFront and S3 refuse in XML or HTML"
            if body
            else "the answer is empty, as it is to a HEAD",
            "give what 'curl -i' prints for the URL",
        )

    def _why(self, name: str, refused: Refusal) -> Finding:
        known = meaning(refused)
        if refused.by == CLOUDFRONT and refused.code in ("AccessDenied", "MissingKey", "InvalidKey"):
            if self.reasons:
                return cross(
                    name, f"{refused}: {'; '.join(self.reasons)}", "see what is wrong with the URL, above"
                )
            bound = self._said.source_ip
            because = (
                f"nothing of it is wrong by what is known here, so the client had another address than "
                f"{bound}, "
                "or the public key under this id is another one"
                if bound
                else known.says
            )
            return cross(name, f"{refused}: {because}", known.mend)
        if known.check == "bucket-policy" and self._is_there is False:
            return cross(name, f"{refused}: no object is at its key, of which S3 says the same", _OBJECT)
        if known.check == "bucket-policy" and self._is_there:
            return cross(
                name,
                f"{refused}: the object is there, so the bucket's policy keeps CloudFront out, or the "
                f"distribution's Origin Path is not {self._wanted.originpath or 'blank'!r}",
                f"{known.mend}; 'cfmiddleware check' tells which",
            )
        return cross(name, f"{refused}: {known.says}", known.mend)

    # Online

    def now(self) -> Iterator[Finding]:
        """Yield what CloudFront and S3 say now."""
        said = self._said
        if not said.has_signature and said.is_signed:
            yield question("now", "not asked: the URL has no signature any more")
        else:
            try:
                answer = self._asked.asker.ask(said.url)
            except NotAnswered as error:
                yield cross("now", str(error), "see that baseurl is the distribution's, and the network")
                return
            if answer.date is not None:
                yield clock_finding(
                    "clock", "CloudFront", answer.date - self._asked.clock(), self._wanted.duration
                )
            if answer.status in (200, 206):
                yield tick(
                    "now", f"the URL is answered with {answer.status}, in {answer.seconds * 1000:.0f} ms"
                )
                return
            yield self._why("now", refusal_in(answer))
            if answer.age:
                yield cached_error(answer, refusal_in(answer))
        yield from self._fresh()

    def _fresh(self) -> Iterator[Finding]:
        """Yield what CloudFront says to a URL of the same object that is signed now."""
        pair = self._pair()
        base = self._wanted.baseurl
        if pair is None or not self._said.resource.startswith(base + "/") or not base:
            return
        try:
            url = sign(self._said.resource, int(self._asked.clock()) + _LIFETIME, pair, self._wanted.hash)
            answer = self._asked.asker.ask(url)
        except (NotAnswered, ValueError) as error:
            yield question("fresh", f"a URL that is signed now: {error}")
            return
        if answer.status in (200, 206):
            yield tick(
                "fresh", f"a URL of the same object that is signed now is answered with {answer.status}"
            )
            return
        known = refusal_in(answer)
        yield cross("fresh", f"a URL that is signed now: {known}: {meaning(known).says}", meaning(known).mend)

    def _pair(self) -> KeyPair | None:
        entry = self._asked.config.settings.cloudfront
        if self._wanted.unsigned or not self._wanted.privatekey or entry is None:
            return None
        try:
            return KeyRing.from_options(self._wanted.privatekey, entry.options.keypairid).current()
        except ConfigError:
            return None


_OBJECT = (
    "see that the blob was not collected, and that rootdirectory, originpath and layout are those of the "
    "registry that made the URL"
)


def _is_page(body: bytes) -> bool:
    """Return whether a body can be XML or HTML, and not the bytes of an object."""
    start = body[:1024].decode("utf-8", "replace")
    return "<" in start[:200] and "\0" not in start and start.count("\N{REPLACEMENT CHARACTER}") < 10


def _own(query: str) -> str:
    """Return what is CloudFront's own of a query."""
    names = ("Expires", "Policy", "Signature", "Key-Pair-Id", "Hash-Algorithm")
    return "&".join(part for part in query.split("&") if part.partition("=")[0] in names)


def _parts(answer: bytes) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers and body of what ``curl -i`` printed; 0 for a status that is not known."""
    status, headers = 0, {}
    while found := _HEAD.match(answer):  # those of a redirect come first
        status = int(found[1])
        head, _, answer = answer[found.end() :].replace(b"\r\n", b"\n", 100).partition(b"\n\n")
        lines = head.decode("latin-1").split("\n")
        headers = {
            name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
        }
    return status, headers, answer


def _time(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _span(seconds: float) -> str:
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds"
