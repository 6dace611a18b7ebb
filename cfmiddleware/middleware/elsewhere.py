"""Where an app's redirect leads if not to an object of the bucket, and which option would help."""

from __future__ import annotations

from urllib.parse import urlsplit

from .bucket import PORTS, Bucket, aws_label
from .misses import Miss

# A host's name has no more characters (RFC 1035); what is longer is not shown whole.
_LONGEST = 255


def elsewhere(location: str, bucket: Bucket | None) -> Miss:
    """Return why a redirect is handed on as it is.

    :param location: the redirect's ``Location``.
    :param bucket: the bucket behind CloudFront, in which :meth:`Bucket.key` found nothing; None where none is
        configured.
    """
    try:
        url = urlsplit(location)
        host = (url.hostname or "")[:_LONGEST]
        port = url.port or PORTS.get(url.scheme, 0)
    except ValueError:
        host = None
    if host is None or (host and (not port or "@" in url.netloc)):
        return Miss("unclear-redirect", "the app redirects to what is not a URL of an object")
    if not host:
        return Miss("own-redirect", "the app redirects to itself")
    where = host if port == PORTS[url.scheme] else f"{host}:{port}"
    first = url.path.lstrip("/").partition("/")[0][:_LONGEST]
    label = aws_label(host)
    if bucket is None:
        hint = "" if label is None else f" (bucket {label or first!r}, it seems)"
        return Miss("no-bucket", f"the app redirects to {where!r}{hint}, and bucket is not set")
    if bucket.endpoint is None:
        if label is None:
            return Miss(
                "no-endpoint",
                f"the app redirects to {where!r}, which is not AWS's S3, and regionendpoint is not set",
            )
        found = label or first
    elif (host, port) == bucket.endpoint:
        found = url.path.removeprefix(bucket.base).lstrip("/").partition("/")[0][:_LONGEST]
    elif port == bucket.endpoint[1] and host.endswith("." + bucket.endpoint[0]):
        found = host.removesuffix("." + bucket.endpoint[0])
    else:
        at, its = bucket.endpoint
        if at == host:  # only the ports differ, which may be those of http and https
            where, at = f"{host}:{port}", f"{at}:{its}"
        elif its not in PORTS.values():
            at = f"{at}:{its}"
        return Miss("other-endpoint", f"the app redirects to {where!r}, and regionendpoint is {at!r}")
    if found.lower() != bucket.name.lower():
        return Miss("other-bucket", f"the app redirects into bucket {found!r}, and bucket is {bucket.name!r}")
    return Miss(
        "unclear-redirect", f"the app redirects into bucket {found!r}, but not plainly to one of its objects"
    )
