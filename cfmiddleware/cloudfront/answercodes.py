"""What CloudFront and S3 mean by their refusals, and what to do about each.

CloudFront answers for itself in XML (of a signature) or HTML (of everything else), and hands on what S3 says,
which is XML with a ``HostId``. A client of images shows none of it.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from .asking import Answer
from .findings import Finding, cross

#: Who wrote an answer.
CLOUDFRONT, S3, OTHER = "CloudFront", "S3", "another server"


class Refusal(NamedTuple):
    """An answer that is a refusal, as far as it can be read.

    :param by: who wrote it: :data:`CLOUDFRONT`, :data:`S3` or :data:`OTHER`.
    :param code: the XML's code, such as ``AccessDenied``; empty for HTML.
    :param text: the message, or what the HTML says.
    """

    by: str
    status: int
    code: str
    text: str

    def __str__(self) -> str:
        said = f'{self.code} "{self.text}"' if self.code else f'"{self.text}"' if self.text else "nothing"
        return f"{self.by} says {f'{self.status} ' if self.status else ''}{said}"


class Meaning(NamedTuple):
    """What a refusal means.

    :param by: who refuses.
    :param code: the code; empty for a page of HTML.
    :param pattern: what the message must hold, as a regular expression without regard to case.
    :param check: the name of the check that it speaks of.
    :param says: what is wrong.
    :param mend: what mends it.
    """

    by: str
    code: str
    pattern: str
    check: str
    says: str
    mend: str


_KEY_GROUP = (
    "CloudFront > Key management > Key groups: add the public key to the group that the behavior trusts"
)
_POLICY = (
    "Origins > Edit > Origin access control > Copy policy, and paste it at S3 > the bucket > Permissions > "
    "Bucket policy; or deploy what 'cfmiddleware template' prints"
)
_OAC = "Origins > Edit > Origin access: Origin access control settings, with 'Sign requests' on"
_KMS = (
    "KMS > the key > Key policy: allow cloudfront.amazonaws.com kms:Decrypt with the distribution's "
    "AWS:SourceArn; 'cfmiddleware template' prints the statement"
)
_ORIGIN = "Origins > Edit > Origin domain: the bucket's regional REST host, BUCKET.s3.REGION.amazonaws.com"

#: What takes out of CloudFront's cache what should not be there.
INVALIDATE = (
    "aws cloudfront create-invalidation --paths '/*' --distribution-id ID, once its cause is mended; and "
    "Error pages > Error caching minimum TTL: 10 seconds at the most"
)

#: The first that fits counts.
MEANINGS: tuple[Meaning, ...] = (
    Meaning(
        CLOUDFRONT,
        "MissingKey",
        "",
        "signed",
        "the URL came without Key-Pair-Id: it was not signed, or something on the way cut its query off",
        "look at what rewrites URLs between the registry and its clients",
    ),
    Meaning(
        CLOUDFRONT,
        "InvalidKey",
        "",
        "key",
        "CloudFront does not know the key: its id is in no key group that the behavior trusts",
        _KEY_GROUP,
    ),
    Meaning(
        CLOUDFRONT,
        "MalformedPolicy",
        "",
        "signed",
        "the policy in the URL cannot be read: the URL was changed on its way",
        "look at what rewrites URLs between the registry and its clients",
    ),
    Meaning(
        CLOUDFRONT,
        "AccessDenied",
        "",
        "key",
        "CloudFront refuses the signature: expired, of another private key than the public key under this "
        "id, bound to another address, or of another URL than was asked for",
        "compare the clocks, and the public key under this id with the .pub.pem beside the private key",
    ),
    Meaning(
        CLOUDFRONT,
        "",
        "not configured to allow the HTTP request method",
        "methods",
        "the behavior does not allow the method",
        "Behaviors > Edit > Allowed HTTP methods: GET, HEAD",
    ),
    Meaning(
        CLOUDFRONT,
        "",
        "resolve the origin domain name",
        "origin-host",
        "CloudFront finds no host of the origin's name",
        _ORIGIN,
    ),
    Meaning(
        CLOUDFRONT,
        "",
        "country",
        "restrictions",
        "the distribution's geographic restrictions keep this country out",
        "the distribution > Security > Geographic restrictions",
    ),
    Meaning(
        CLOUDFRONT,
        "",
        "request blocked",
        "restrictions",
        "CloudFront blocks the request before it looks at it: a web ACL, plain HTTP where HTTPS only is "
        "allowed, or a host name that is not an alias of the distribution",
        "the distribution > Security (AWS WAF), Behaviors > Viewer protocol policy, and Alternate domain "
        "names",
    ),
    Meaning(
        CLOUDFRONT,
        "",
        "can't connect to the server|distribution",
        "distribution",
        "no distribution that is enabled answers for this host name",
        "the distribution > Enable; and its Alternate domain names, for a name of your own",
    ),
    Meaning(
        CLOUDFRONT,
        "",
        "",
        "distribution",
        "CloudFront cannot answer for the origin, or does not serve this host",
        "look at the distribution's state, its Origin domain and its Alternate domain names",
    ),
    Meaning(
        S3,
        ".*",
        "website endpoint",
        "origin-host",
        "the origin is the bucket's website endpoint, which takes no signed requests",
        _ORIGIN,
    ),
    Meaning(
        S3,
        "AccessDenied",
        "kms|ciphertext|encrypt|customer master key",
        "kms",
        "the object's KMS key keeps CloudFront out",
        _KMS,
    ),
    Meaning(
        S3, r"KMS\..*", "", "kms", "the object's KMS key is disabled, deleted or keeps CloudFront out", _KMS
    ),
    Meaning(
        S3,
        "InvalidArgument",
        "kms|signature version 4",
        "origin-access",
        "the origin is not reached by origin access control, which objects under a KMS key need",
        _OAC,
    ),
    Meaning(
        S3,
        "InvalidRequest",
        "authorization mechanism|aws4",
        "origin-access",
        "the origin uses the older origin access identity, which this region does not take",
        _OAC,
    ),
    Meaning(
        S3,
        "AccessDenied|AllAccessDisabled",
        "",
        "bucket-policy",
        "S3 keeps CloudFront out, or no object lies there: S3 says the same to a reader that may not list",
        _POLICY,
    ),
    Meaning(
        S3,
        "NoSuchKey|NotFound|404",
        "",
        "origin-path",
        "S3 has no object there: the Origin Path is wrong, or the blob is gone",
        "Origins > Edit > Origin path",
    ),
    Meaning(S3, "NoSuchBucket", "", "origin-host", "the origin names a bucket that does not exist", _ORIGIN),
    Meaning(
        S3,
        "PermanentRedirect|TemporaryRedirect|Redirect|AuthorizationHeaderMalformed|301|307",
        "",
        "origin-host",
        "the bucket is in another region than the origin's host says",
        _ORIGIN,
    ),
    Meaning(
        S3,
        "SignatureDoesNotMatch",
        "",
        "origin-request-policy",
        "S3 refuses CloudFront's own signature: the viewer's Host header is forwarded to it",
        "Behaviors > Edit > Origin request policy: none, or one that does not forward Host",
    ),
    Meaning(
        S3,
        "InvalidObjectState",
        "",
        "storage-class",
        "the object is in an archive, and cannot be read until it is restored",
        "restore it (aws s3api restore-object), and take registry data out of the lifecycle rule",
    ),
    Meaning(
        S3,
        "RequestTimeTooSkewed",
        "",
        "clock",
        "S3 refuses the time of the request: a clock is wrong",
        "start a time service on this machine (chronyd, systemd-timesyncd)",
    ),
    Meaning(
        S3,
        "SlowDown|ServiceUnavailable|InternalError|503",
        "",
        "origin",
        "S3 is busy, or fails at present",
        "try again; if it lasts, look at AWS's status page",
    ),
)

_UNKNOWN = Meaning(
    OTHER,
    "",
    "",
    "host",
    "this is not an answer that CloudFront or S3 gives",
    "see that baseurl is CloudFront's",
)

# What is read of a page, in characters.
_LONGEST_PAGE = 8192

_CODE = re.compile(r"<Code>([^<]{1,100})</Code>")
_MESSAGE = re.compile(r"<Message>([^<]{1,1000})</Message>")
_TAGS = re.compile(r"<style.*?</style>|<[^>]{0,500}>", re.DOTALL | re.IGNORECASE)


def refusal(status: int, headers: dict[str, str], body: bytes) -> Refusal:
    """Return what an answer says, and who says it.

    :param headers: by their names in small letters; none where only the body is known.
    """
    text = body.decode("utf-8", "replace")
    code, message = _CODE.search(text), _MESSAGE.search(text)
    if code:
        said = message[1] if message else ""
        # CloudFront's own have neither of S3's two ids, and write "denied" with a small letter.
        is_s3 = "<HostId>" in text or "<RequestId>" in text or said == "Access Denied"
        return Refusal(S3 if is_s3 or "x-amz-request-id" in headers else CLOUDFRONT, status, code[1], said)
    if "x-amz-error-code" in headers:  # which the REST hosts do not send
        return Refusal(S3, status, headers["x-amz-error-code"], "from a website endpoint")
    # Pages of CloudFront and S3 are short, and the pattern is slow on long texts that are none.
    plain = " ".join(_TAGS.sub(" ", text[:_LONGEST_PAGE]).split())[:200]
    if "x-amz-request-id" in headers:
        return Refusal(S3, status, str(status), plain)
    if "cloudfront" in text.lower() or _is_cloudfronts(headers):
        return Refusal(CLOUDFRONT, status, "", plain)
    return Refusal(OTHER, status, "", plain)


def refusal_in(answer: Answer) -> Refusal:
    """Return what an answer says, and who says it."""
    return refusal(answer.status, dict(answer.headers), answer.body)


def is_from_cloudfront(answer: Answer) -> bool:
    """Return whether an answer came through CloudFront."""
    return _is_cloudfronts(dict(answer.headers))


def _is_cloudfronts(headers: dict[str, str]) -> bool:
    return (
        "x-amz-cf-id" in headers
        or "cloudfront" in headers.get("via", "").lower()
        or headers.get("server", "").lower() == "cloudfront"
    )


def meaning(refusal: Refusal) -> Meaning:
    """Return what a refusal means."""
    for known in MEANINGS:
        if (
            known.by == refusal.by
            and re.fullmatch(known.code, refusal.code)
            and re.search(known.pattern, refusal.text, re.IGNORECASE)
        ):
            return known
    return _UNKNOWN


def cached_error(answer: Answer, refused: Refusal, key: str = "") -> Finding:
    """Return that a refusal came out of CloudFront's cache.

    :param key: the object's whole key.
    """
    return cross(
        "cached-error",
        f"an error is in CloudFront's cache, for {answer.age} seconds so far: {refused}"
        + (f" ({key})" if key else ""),
        INVALIDATE,
    )
