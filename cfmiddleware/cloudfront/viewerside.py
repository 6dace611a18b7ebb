"""The first step of a check: what a client gets, whose only right is a signed URL.

No permission of AWS is needed. The object is asked for as a pull would ask, and as nobody may.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable, Iterator

from cfmiddleware.signing.keys import KeyPair
from cfmiddleware.signing.originpath import encode_key, path_below
from cfmiddleware.signing.url import sign

from .answercodes import (
    CLOUDFRONT,
    INVALIDATE,
    S3,
    Refusal,
    cached_error,
    is_from_cloudfront,
    meaning,
    refusal_in,
)
from .asking import Answer, Asker, NotAnswered
from .findings import Finding, cross, question, tick
from .sample import Sample
from .wanted import Wanted

#: Seconds by which a clock may differ, whose answers are dated in whole seconds.
TOLERANCE = 60

#: Seconds that a URL of the check lives.
_LIFETIME = 300

#: An address that no client has (RFC 5737).
_NOBODY = "192.0.2.1"

#: What says which address a machine has on the internet.
OWN_ADDRESS = "https://checkip.amazonaws.com/"

_RESTRICT = (
    "Behaviors > Edit, for each: Restrict viewer access: Yes, Trusted key groups; or deploy what "
    "'cfmiddleware template' prints"
)
_CLOCK = "start a time service on this machine (chronyd, systemd-timesyncd): URLs expire by its clock"


class ViewerSide:
    """Asks the distribution as clients do.

    :param pair: the key that signs; None where nothing is signed.
    :param sample: the object that is asked for.
    :param present: whether it is there; if it is not, only refusals tell something.
    :param clock: this machine's clock, in Unix seconds.
    """

    def __init__(
        self,
        wanted: Wanted,
        pair: KeyPair | None,
        sample: Sample,
        asker: Asker,
        *,
        present: bool = True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._wanted = wanted
        self._pair = pair
        self._sample = sample
        self._asker = asker
        self._present = present
        self._clock = clock
        #: By how many seconds CloudFront's clock is ahead of ours.
        self._ahead = 0.0
        path = path_below(sample.key, wanted.originpath)
        self._resource = wanted.baseurl + encode_key(path or "/" + sample.key)
        #: Whether a signed URL got the object.
        self.works = False

    def findings(self) -> Iterator[Finding]:
        """Yield what is found, one check after the other."""
        try:
            plain = self._asker.ask(self._resource)
        except NotAnswered as error:
            yield cross("host", str(error), _unreached(error, self._wanted.host))
            return
        refused = refusal_in(plain)
        speaks_like_it = refused.by == CLOUDFRONT and refused.code == "MissingKey"
        if not self._wanted.unsigned and not (is_from_cloudfront(plain) or speaks_like_it):
            yield cross(
                "host",
                f"{self._wanted.host} is not a CloudFront distribution: its answer ({plain.status}) has none "
                "of CloudFront's headers",
                "set baseurl to the distribution's domain name (CloudFront > Distributions), or point the "
                "name's DNS at it",
            )
            return
        yield tick(
            "host",
            f"{self._wanted.host} is a CloudFront distribution"
            if is_from_cloudfront(plain)
            else f"{self._wanted.host} answers as CloudFront does, but is not CloudFront itself",
        )
        yield from self._clock_of(plain)
        if self._wanted.unsigned:
            yield from self._without_signatures()
            return
        open_to_all = plain.status in (200, 206) or refused.by == S3
        yield from self._signed(open_to_all)
        yield _unsigned(plain, refused)
        yield from self._refusals(open_to_all)
        if self.works:
            yield from self._asked(self._head, "head")
            yield from self._asked(self._range, "range")
        if self._wanted.bindip and open_to_all:
            yield question("bindip", "not asked: requests without a signature are not refused either")
        elif self._wanted.bindip:
            yield from self._asked(self._bound, "bindip")
        yield from self._asked(self._families, "families")

    def of_blob(self, sample: Sample) -> Finding | None:
        """Return what is wrong with a blob that is there, where the check's own object is served; None for
        nothing.

        :raises NotAnswered: where nobody answers.
        """
        other = ViewerSide(
            self._wanted, self._pair, sample, self._asker, clock=lambda: self._clock() + self._ahead
        )
        answer = self._asker.ask(other._url())
        return None if other._is_right(answer) else other._cause_of_one(answer)

    # The parts

    def _clock_of(self, answer: Answer) -> Iterator[Finding]:
        if answer.date is None:
            yield question("clock", "the answer has no Date of its own, so CloudFront's clock is not known")
            return
        ahead = answer.date - self._clock()
        if abs(ahead) > TOLERANCE:
            self._ahead = ahead
        yield clock_finding("clock", "CloudFront", ahead, self._wanted.duration)

    def _signed(self, open_to_all: bool) -> Iterator[Finding]:
        if not self._present:
            yield question("signed", "not asked: there is no object to ask for")
            return
        try:
            answer = self._asker.ask(self._url())
        except NotAnswered as error:
            yield cross("signed", f"a signed GET: {error}", "try again, and look at the network")
            return
        if self._is_right(answer):
            self.works = True
            yield tick("signed", f"a signed GET gets the bytes, in {_milliseconds(answer)}")
            return
        yield self._cause(answer)

    def _cause(self, answer: Answer) -> Finding:
        """Return why a signed URL does not get the object."""
        if answer.status in (200, 206):
            return cross(
                "bytes",
                f"a signed GET is answered with {answer.status} and other bytes than the storage has",
                "see that the origin is the registry's bucket, and that no function changes answers",
            )
        refused = refusal_in(answer)
        if answer.age:
            return cached_error(answer, refused, self._sample.key)
        known = meaning(refused)
        if refused.by == S3 and known.check in ("bucket-policy", "origin-path"):
            found = self._other_origin_path()
            if found is not None:
                return self._wrong_origin_path(found)
            if known.check == "bucket-policy":
                return cross(
                    known.check,
                    f"a signed GET: {refused}: the bucket's policy or the object's KMS key keeps CloudFront "
                    f"out, or the Origin Path is not {self._wanted.originpath!r}, nor any likely other one",
                    known.mend,
                )
        says, mend = known.says, known.mend
        if known.check == "key":
            says = f"{says} (key {self._pair.id if self._pair else ''})"
        return cross(known.check, f"a signed GET: {refused}: {says}", mend)

    def _cause_of_one(self, answer: Answer) -> Finding:
        """Return why a signed URL does not get this object, although it gets others."""
        refused = refusal_in(answer)
        what = f"the blob {self._sample.key} is there, and a signed GET"
        if answer.status in (200, 206):
            return cross(
                "bytes",
                f"{what} gets other bytes than the storage has",
                f"see what was cached before: {INVALIDATE}",
            )
        if answer.age:
            return cached_error(answer, refused, self._sample.key)
        known = meaning(refused)
        if known.check != "bucket-policy":
            return cross(known.check, f"{what}: {refused}: {known.says}", known.mend)
        return cross(
            "blob",
            f"{what}: {refused}, while the check's own object is served: another account owns it, its own "
            "KMS key keeps CloudFront out, or the bucket's policy leaves it out",
            "write it anew with the registry's credentials: aws s3 cp --metadata-directive REPLACE "
            f"s3://{self._wanted.bucket}/{self._sample.key} s3://{self._wanted.bucket}/{self._sample.key}",
        )

    def _other_origin_path(self) -> str | None:
        """Return the Origin Path that the distribution must have, seen by which path gets the object."""
        segments = self._sample.key.split("/")
        for count in range(len(segments)):
            candidate = "".join(f"/{segment}" for segment in segments[:count])
            path = path_below(self._sample.key, candidate)
            if candidate == self._wanted.originpath or path is None:
                continue
            try:
                answer = self._asker.ask(self._url(self._wanted.baseurl + encode_key(path)))
            except NotAnswered:
                continue
            # A key that keeps CloudFront out is asked only where the object is.
            if self._is_right(answer) or meaning(refusal_in(answer)).check == "kms":
                return candidate
        return None

    def _wrong_origin_path(self, found: str) -> Finding:
        wanted = self._wanted.originpath
        mend = f"Origins > Edit > Origin path: {encode_key(wanted) or 'leave it blank'}"
        if f"{self._wanted.rootdirectory}/".startswith(f"{found}/"):
            mend += f'; or set originpath: "{found}" here ({self._wanted.source})'
        actual, right = (repr(path) if path else "blank" for path in (found, wanted))
        return cross(
            "origin-path",
            f"the distribution's Origin Path is {actual}, and must be {right}: the object was found so",
            mend,
        )

    def _refusals(self, open_to_all: bool) -> Iterator[Finding]:
        """Yield whether what nobody signed is refused."""
        names = ("changed-signature", "other-path", "expired")
        if open_to_all:
            for name in names:
                yield question(name, "not asked: requests without a signature are not refused either")
            return
        if not self.works:
            for name in names:
                yield question(name, "not asked: the URL that is right is refused, too")
            return
        good = self._url()
        _, _, query = good.partition("?")
        urls = (
            _with_changed_signature(good),
            f"{self._resource}-other?{query}",
            self._url(expires=self._now() - TOLERANCE),
        )
        said = ("with a changed signature", "for another path than was signed", "that has expired")
        for name, url, what in zip(names, urls, said, strict=True):
            yield self._is_refused(name, url, what)

    def _is_refused(self, name: str, url: str, what: str) -> Finding:
        try:
            answer = self._asker.ask(url)
        except NotAnswered as error:
            return question(name, str(error))
        if answer.status == 403 and refusal_in(answer).by != S3:
            return tick(name, f"a URL {what} is refused with 403")
        return cross(name, f"a URL {what} is answered with {answer.status}", _RESTRICT)

    def _head(self) -> Iterator[Finding]:
        answer = self._asker.ask(self._url(), method="HEAD")
        length = answer.headers.get("content-length")
        if answer.status == 200 and length == str(self._sample.size):
            yield tick("head", "a signed HEAD says the object's size")
            return
        yield cross(
            "head",
            f"a signed HEAD is answered with {answer.status} and the size {length}",
            "Behaviors > Edit > Allowed HTTP methods: GET, HEAD",
        )

    def _range(self) -> Iterator[Finding]:
        last = min(self._sample.size, len(self._sample.start)) - 1
        first = min(2, last)
        answer = self._asker.ask(self._url(), headers={"Range": f"bytes={first}-{last}"})
        if answer.status == 206 and answer.body == self._sample.start[first : last + 1]:
            yield tick("range", "a range is answered with 206 and its bytes")
            return
        yield cross(
            "range",
            f"a request for a range is answered with {answer.status}: broken-off pulls begin anew",
            "Behaviors > Edit: take away functions and policies that drop the Range header",
        )

    def _bound(self) -> Iterator[Finding]:
        address = self._own_ipv4()
        if address is None:
            yield question(
                "bindip",
                "this machine's address on the internet is not known",
                "see that IPv4 leads out of here",
            )
            return
        if not self.works:
            yield question("bindip", "not asked: a URL that is not bound is refused, too")
            return
        bound = self._ask_over_ipv4(self._url(address=address))
        other = self._ask_over_ipv4(self._url(address=_NOBODY))
        if bound is None or other is None:
            yield question("bindip", f"{self._wanted.host} cannot be reached over IPv4")
        elif other.status in (200, 206):
            yield cross("bindip", "a URL that is bound to another address is answered", _RESTRICT)
        elif self._is_right(bound):
            yield tick("bindip", f"a URL bound to {address} is answered here, one bound to another is not")
        else:
            yield cross(
                "bindip",
                f"a URL bound to {address} is refused: {refusal_in(bound)}; CloudFront sees this machine by "
                "another address",
                "see whether a proxy or several gateways are on the way out; leave bindip out if clients' "
                "addresses change on the way",
            )

    def _families(self) -> Iterator[Finding]:
        addresses = self._asker.addresses(self._resource)
        for family in ("IPv4", "IPv6"):
            first = next((address for address in addresses if address.kind == family), None)
            name = family.lower()
            if first is None:
                continue
            if family == "IPv6" and self._wanted.bindip:
                yield cross(
                    name,
                    "the distribution has IPv6 addresses, and URLs are bound to clients' IPv4 addresses: a "
                    "client with both is refused",
                    "the distribution > General > Settings > Edit > IPv6: Off",
                )
                continue
            try:
                answer = self._asker.ask(self._url(), address=first)
            except NotAnswered as error:
                yield question(name, str(error), f"try it from a machine with {family}")
                continue
            if not self.works:
                yield question(name, f"it is reached over {family}, and answers {answer.status}")
            elif self._is_right(answer):
                yield tick(name, f"over {family} a signed GET gets the bytes, in {_milliseconds(answer)}")
            else:
                yield cross(name, f"over {family} a signed GET is refused: {refusal_in(answer)}", _RESTRICT)

    def _without_signatures(self) -> Iterator[Finding]:
        """Yield what is found where ``unsigned`` says that nothing is signed."""
        yield from self._signed(open_to_all=True)
        if self.works:
            yield from self._asked(self._head, "head")
            yield from self._asked(self._range, "range")
        yield from self._asked(self._families, "families")

    # Helpers

    def _asked(self, check: Callable[[], Iterator[Finding]], name: str) -> Iterator[Finding]:
        try:
            yield from check()
        except NotAnswered as error:
            yield question(name, str(error))

    def _now(self) -> int:
        """Return CloudFront's time, so that a wrong clock here hides nothing else."""
        return int(self._clock() + self._ahead)

    def _url(self, resource: str = "", *, expires: int | None = None, address: str | None = None) -> str:
        resource = resource or self._resource
        if self._pair is None:
            return resource
        expires = self._now() + _LIFETIME if expires is None else expires
        return sign(resource, expires, self._pair, self._wanted.hash, address)

    def _is_right(self, answer: Answer) -> bool:
        return answer.status == 200 and answer.body == self._sample.start

    def _ask_over_ipv4(self, url: str) -> Answer | None:
        for address in self._asker.addresses(url):
            if address.kind == "IPv4":
                return self._asker.ask(url, address=address)
        return None

    def _own_ipv4(self) -> str | None:
        """Return the IPv4 address that the distribution sees this machine by; None if it is not known."""
        answer = self._ask_over_ipv4(self._resource)
        if answer is None:
            return None
        own = ipaddress.ip_address(answer.own_address)
        if own.is_global or own.is_loopback:
            return str(own)
        try:
            said = self._ask_over_ipv4(OWN_ADDRESS)
            return None if said is None else str(ipaddress.IPv4Address(said.body.decode("ascii").strip()))
        except (NotAnswered, ValueError):
            return None


def clock_finding(name: str, whose: str, ahead: float, duration: int) -> Finding:
    """Return whether this machine's clock goes with another one's.

    :param ahead: by how many seconds the other is ahead.
    :param duration: how long signed URLs live.
    """
    if abs(ahead) <= TOLERANCE:
        return tick(name, f"{whose}'s clock and this machine's agree")
    which = "behind" if ahead > 0 else "ahead of"
    effect = "URLs expire early, or at once" if ahead > 0 else "URLs live longer than they should"
    return cross(
        name,
        f"this machine's clock is {abs(ahead):.0f} seconds {which} {whose}'s: {effect} (they live for "
        f"{duration} seconds)",
        _CLOCK,
    )


def _unsigned(answer: Answer, refused: Refusal) -> Finding:
    """Return whether a request without a signature is refused for that."""
    name = "unsigned"
    if answer.status in (200, 206):
        return cross(
            name,
            f"a GET without a signature is answered with {answer.status}: everybody who knows the host name "
            "reads everything below the Origin Path",
            _RESTRICT,
        )
    if refused.by == S3:
        return cross(
            name,
            "a GET without a signature is handed on to S3: everybody who knows the host name reads what "
            "CloudFront can read",
            _RESTRICT,
        )
    if answer.status == 403 and refused.code == "MissingKey":
        return tick(name, "a GET without a signature is refused with 403 MissingKey")
    return question(
        name, f"a GET without a signature is refused, but not for that: {refused}", meaning(refused).mend
    )


def _unreached(error: NotAnswered, host: str) -> str:
    """Return what helps where nobody answers."""
    if error.kind == "name":
        return f"see that baseurl is the distribution's domain name, and that DNS has a record for {host}"
    if error.kind == "certificate":
        return (
            f"the distribution > General > Settings > Edit: add {host} to Alternate domain names, with a "
            "certificate of us-east-1 for it"
        )
    return "see that this machine may reach the distribution, and that baseurl's scheme and port are right"


def _with_changed_signature(url: str) -> str:
    before, mark, rest = url.partition("Signature=")
    return before + mark + ("A" if rest[:1] != "A" else "B") + rest[1:]


def _milliseconds(answer: Answer) -> str:
    return f"{answer.seconds * 1000:.0f} ms"
