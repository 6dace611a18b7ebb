"""What CloudFront is told of a distribution, and whether it is what the configuration wants."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import unquote

from cfmiddleware.errors import ConfigError
from cfmiddleware.signing.keys import load_public_key
from cfmiddleware.signing.originpath import encode_key, path_below

from .awsreading import AWS, guarded
from .findings import Finding, cross, question, tick
from .keygroups import is_name_of
from .wanted import Wanted

_DAY = 24 * 3600

#: Methods that change something, which no pull needs.
_CHANGING = {"PUT", "POST", "PATCH", "DELETE"}


@dataclass(frozen=True)
class Distribution:
    """A distribution, as CloudFront describes it."""

    id: str
    arn: str
    domain: str
    status: str
    config: Mapping[str, Any]

    @property
    def behaviors(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Each behavior and what people call it."""
        yield "the default behavior", self.config["DefaultCacheBehavior"]
        for behavior in _items(self.config.get("CacheBehaviors")):
            yield f"the behavior {behavior.get('PathPattern')}", behavior

    def behaviors_of(self, bucket: str, path: str) -> list[tuple[str, Mapping[str, Any]]]:
        """Return the behavior that a path meets, and the others that lead to a bucket or to the same origin.

        A distribution may serve other things as well, which are none of ours.
        """
        default, *others = self.behaviors
        met = next((each for each in others if _meets(str(each[1].get("PathPattern")), path)), default)
        return [
            each
            for each in self.behaviors
            if each[1].get("TargetOriginId") == met[1].get("TargetOriginId")
            or any(_is_of(bucket, origin) for origin in self.origins_of(each[1].get("TargetOriginId")))
        ]

    def origins_of(self, target: Any) -> list[Mapping[str, Any]]:
        """Return the origins that a behavior's target stands for: one, or those of an origin group."""
        ids = [target]
        for group in _items(self.config.get("OriginGroups")):
            if group.get("Id") == target:
                ids = [member.get("OriginId") for member in _items(group.get("Members"))]
        return [origin for origin in _items(self.config.get("Origins")) if origin.get("Id") in ids]

    def has_identity(self, bucket: str) -> bool:
        """Return whether it reads a bucket by the older origin access identity."""
        return any(
            _is_of(bucket, origin)
            and not origin.get("OriginAccessControlId")
            and (origin.get("S3OriginConfig") or {}).get("OriginAccessIdentity")
            for origin in _items(self.config.get("Origins"))
        )


def find(aws: AWS, host: str, bucket: str) -> tuple[Distribution | None, bool]:
    """Return the distribution of this account that a host name belongs to, or else one whose origin is the
    bucket, and whether it has the name.

    :raises Unreadable: where that may not be asked.
    """
    marker: dict[str, str] = {}
    others: list[str] = []
    while True:
        listed = (aws.read("cloudfront", "list_distributions", **marker) or {}).get("DistributionList", {})
        for summary in listed.get("Items") or ():
            names = [summary["DomainName"], *_items(summary.get("Aliases"))]
            if any(is_name_of(str(name).lower(), host) for name in names):
                return _read(aws, summary["Id"]), True
            origins = [str(origin.get("DomainName")) for origin in _items(summary.get("Origins"))]
            if any(name.startswith(f"{bucket}.s3") for name in origins):
                others.append(summary["Id"])
        if not listed.get("IsTruncated") or not listed.get("NextMarker"):
            return (_read(aws, others[0]) if len(others) == 1 else None), False
        marker = {"Marker": listed["NextMarker"]}


def _read(aws: AWS, id: str) -> Distribution | None:
    found = aws.read("cloudfront", "get_distribution", absent=("NoSuchDistribution",), Id=id)
    if found is None:
        return None
    said = found["Distribution"]
    return Distribution(
        said["Id"], said["ARN"], said["DomainName"], said["Status"], said["DistributionConfig"]
    )


class DistributionSide:
    """Compares a distribution with what is wanted."""

    def __init__(self, wanted: Wanted, aws: AWS, distribution: Distribution) -> None:
        self._wanted = wanted
        self._aws = aws
        self._distribution = distribution
        self._console = f"CloudFront > {distribution.id}"
        path = path_below(f"{wanted.rootdirectory}/docker/registry/v2/x"[1:], wanted.originpath)
        self._behaviors = distribution.behaviors_of(wanted.bucket, path or "/docker/registry/v2/x")
        met = {str(behavior.get("TargetOriginId")) for _, behavior in self._behaviors}
        self._origins = [origin for target in sorted(met) for origin in distribution.origins_of(target)]

    def findings(self) -> Iterator[Finding]:
        """Yield what is found, one check after the other."""
        yield self._deployed()
        yield self._enabled()
        for origin in self._origins:
            yield self._origin_host(origin)
            yield self._origin_path(origin)
            yield from guarded("origin-access", partial(self._origin_access, origin))
        if not self._wanted.unsigned:
            yield self._restricted()
            yield self._legacy_signers()
            yield from guarded("key-group", self._key_group)
            yield from guarded("public-key", self._public_key)
        yield self._methods()
        yield from guarded("cache-policy", self._cache_policy)
        yield from guarded("origin-request-policy", self._origin_request_policy)
        yield self._compression()
        if self._wanted.bindip:
            yield self._ipv6()
        yield self._error_caching()

    # How it stands

    def _deployed(self) -> Finding:
        status = self._distribution.status
        if status == "Deployed":
            return tick("deployed", f"distribution {self._distribution.id} is deployed")
        return cross(
            "deployed",
            f"distribution {self._distribution.id} is {status}: some of its places still have what was "
            "before",
            f"aws cloudfront wait distribution-deployed --id {self._distribution.id}",
        )

    def _enabled(self) -> Finding:
        if self._distribution.config.get("Enabled"):
            return tick("enabled", "it is enabled")
        return cross("enabled", "it is disabled, and answers nobody", f"{self._console} > Enable")

    # The origin

    def _origin_host(self, origin: Mapping[str, Any]) -> Finding:
        host, wanted = str(origin.get("DomainName", "")), self._wanted.origin_host
        is_alias = host.endswith(f"-s3alias.s3.{self._wanted.region}.amazonaws.com")
        if host.lower() == wanted.lower() or (not wanted and is_alias):
            return tick("origin-host", f"the origin is {host}")
        if not wanted:
            return question(
                "origin-host",
                f"the origin is {host}, and must be the access point's alias, or its bucket",
                f"{self._console} > Origins > Edit > Origin domain: "
                f"ALIAS.s3.{self._wanted.region}.amazonaws.com",
            )
        what = f"the origin is {host}, and must be {wanted}"
        if ".s3-website" in host:
            what += ": a website endpoint takes no signed requests"
        elif host == f"{self._wanted.bucket}.s3.amazonaws.com":
            what += ": the name without a region redirects for hours after the bucket is made"
        return cross("origin-host", what, f"{self._console} > Origins > Edit > Origin domain: {wanted}")

    def _origin_path(self, origin: Mapping[str, Any]) -> Finding:
        # CloudFront sends it to S3 as it is, so it is written as in a URL.
        path, wanted = unquote(str(origin.get("OriginPath") or "")), self._wanted.originpath
        if path == wanted:
            return tick("origin-path", f"the Origin Path is {path!r}" if path else "the Origin Path is blank")
        actual, right = (repr(text) if text else "blank" for text in (path, wanted))
        mend = f"{self._console} > Origins > Edit > Origin path: {encode_key(wanted) or 'leave it blank'}"
        if f"{self._wanted.rootdirectory}/".startswith(f"{path}/"):
            mend += f'; or set originpath: "{path}" here ({self._wanted.source})'
        return cross("origin-path", f"the Origin Path is {actual}, and must be {right}", mend)

    def _origin_access(self, origin: Mapping[str, Any]) -> Iterator[Finding]:
        name = "origin-access"
        mend = f"{self._console} > Origins > Edit > Origin access: Origin access control settings"
        id = origin.get("OriginAccessControlId")
        if not id:
            identity = (origin.get("S3OriginConfig") or {}).get("OriginAccessIdentity")
            if not identity:
                yield cross(
                    name, "the origin has no origin access control: CloudFront asks S3 as anybody", mend
                )
            elif self._wanted.keyid:
                yield cross(
                    name,
                    "the origin has the older origin access identity, which cannot read what KMS encrypts",
                    mend,
                )
            else:
                yield question(name, "the origin has the older origin access identity", mend)
            return
        control = self._aws.read(
            "cloudfront", "get_origin_access_control", absent=("NoSuchOriginAccessControl",), Id=id
        )
        if control is None:
            yield cross(name, f"the origin names an origin access control that is gone ({id})", mend)
            return
        told = (control["OriginAccessControl"].get("OriginAccessControlConfig")) or {}
        wrong = [
            f"{what} is {told.get(field)!r}, not {right!r}"
            for field, what, right in (
                ("OriginAccessControlOriginType", "its type", "s3"),
                ("SigningProtocol", "its protocol", "sigv4"),
                ("SigningBehavior", "signing", "always"),
            )
            if told.get(field) != right
        ]
        if wrong:
            yield cross(
                name,
                f"the origin access control {id} does not sign as it must: {', '.join(wrong)}",
                f"CloudFront > Origin access > {id} > Edit: S3, Sign requests (recommended)",
            )
        else:
            yield tick(name, "CloudFront signs its requests to S3 (origin access control)")

    # Who may ask

    def _restricted(self) -> Finding:
        open_ones = [name for name, behavior in self._behaviors if not _trusts_groups(behavior)]
        if not open_ones:
            return tick("restricted", "every behavior restricts viewer access to trusted key groups")
        return cross(
            "restricted",
            f"{', '.join(open_ones)}: viewer access is not restricted to trusted key groups: everybody who "
            "knows "
            "the host name reads what CloudFront can read",
            f"{self._console} > Behaviors > Edit > Restrict viewer access: Yes, Trusted key groups",
        )

    def _legacy_signers(self) -> Finding:
        found = [
            name
            for name, behavior in self._behaviors
            if (behavior.get("TrustedSigners") or {}).get("Enabled") or _items(behavior.get("TrustedSigners"))
        ]
        if not found:
            return tick("legacy-signers", "no behavior trusts an account's own signers")
        return cross(
            "legacy-signers",
            f"{', '.join(found)}: trusts signers of accounts, whose keys only a root user can see",
            f"{self._console} > Behaviors > Edit > Trusted authorization type: Trusted key groups",
        )

    def _key_group(self) -> Iterator[Finding]:
        key = self._wanted.signing
        if key is None or key.id is None:
            yield question("key-group", "no key signs yet", "see the output KeyId of the stack")
            return
        lacking = []
        for name, behavior in self._behaviors:
            groups = _items(behavior.get("TrustedKeyGroups"))
            if groups and not any(key.id in self._keys_of(str(group)) for group in groups):
                lacking.append(f"{name} ({', '.join(map(str, groups))})")
        if lacking:
            yield cross(
                "key-group",
                f"the key {key.id}, which signs, is not in the key group of {', '.join(lacking)}",
                "CloudFront > Key groups > Edit: add the key; 'cfmiddleware template' prints all that are "
                "here",
            )
        else:
            yield tick("key-group", f"the trusted key groups hold {key.id}, which signs")

    def _keys_of(self, group: str) -> list[str]:
        found = self._aws.read("cloudfront", "get_key_group", absent=("NoSuchResource",), Id=group)
        return [] if found is None else list(found["KeyGroup"]["KeyGroupConfig"].get("Items") or ())

    def _public_key(self) -> Iterator[Finding]:
        for id, pem in self._wanted.public_keys.items():
            signs = self._wanted.signing is not None and self._wanted.signing.id == id
            found = self._aws.read("cloudfront", "get_public_key", absent=("NoSuchPublicKey",), Id=id)
            if found is None:
                if signs:
                    yield cross(
                        "public-key",
                        f"CloudFront has no public key {id}, which is the id of the key that signs",
                        "CloudFront > Public keys > Create public key, from the .pub.pem beside the "
                        "private key; "
                        "name the key's files after its id",
                    )
                continue
            theirs = _fingerprint(found["PublicKey"]["PublicKeyConfig"]["EncodedKey"])
            if theirs == _fingerprint(pem):
                yield tick("public-key", f"CloudFront's public key {id} is the other half of ours")
            elif signs:
                yield cross(
                    "public-key",
                    f"CloudFront's public key {id} is not the other half of the key that signs",
                    "name the private key's file after the id of its own public half, or create a public key "
                    "from the .pub.pem beside it",
                )
            else:
                yield question(
                    "public-key", f"CloudFront's public key {id} is not the other half of an older key here"
                )

    # How it answers

    def _methods(self) -> Finding:
        wrong = []
        for name, behavior in self._behaviors:
            methods = set(_items(behavior.get("AllowedMethods"))) or {"GET", "HEAD"}
            if not methods >= {"GET", "HEAD"} or methods & _CHANGING:
                wrong.append(f"{name} allows {', '.join(sorted(methods))}")
        if not wrong:
            return tick("methods", "GET and HEAD are allowed, and nothing that changes an object")
        return cross(
            "methods",
            f"{'; '.join(wrong)}: pulls need GET and HEAD, and nothing else",
            f"{self._console} > Behaviors > Edit > Allowed HTTP methods: GET, HEAD",
        )

    def _cache_policy(self) -> Iterator[Finding]:
        name = "cache-policy"
        mend = f"{self._console} > Behaviors > Edit > Cache policy: the template's, or CachingOptimized"
        wrong = []
        for behavior_name, behavior in self._behaviors:
            id = behavior.get("CachePolicyId")
            if not id:
                values = behavior.get("ForwardedValues") or {}
                forwarded = [str(header).lower() for header in _items(values.get("Headers"))]
                problem = _cache_problem(
                    behavior, forwarded, str((values.get("Cookies") or {}).get("Forward"))
                )
            else:
                found = self._aws.read("cloudfront", "get_cache_policy", absent=("NoSuchCachePolicy",), Id=id)
                if found is None:
                    wrong.append(f"{behavior_name} names a cache policy that is gone ({id})")
                    continue
                config = found["CachePolicy"]["CachePolicyConfig"]
                told = config.get("ParametersInCacheKeyAndForwardedToOrigin") or {}
                headers = (told.get("HeadersConfig") or {}).get("Headers")
                cookies = str((told.get("CookiesConfig") or {}).get("CookieBehavior"))
                problem = _cache_problem(config, [str(header).lower() for header in _items(headers)], cookies)
            if problem:
                wrong.append(f"{behavior_name} {problem}")
        if wrong:
            yield cross(name, "; ".join(wrong), mend)
        else:
            yield tick(name, "blobs are cached for a day or longer, under their paths alone")

    def _origin_request_policy(self) -> Iterator[Finding]:
        name = "origin-request-policy"
        wrong = []
        for behavior_name, behavior in self._behaviors:
            id = behavior.get("OriginRequestPolicyId")
            if not id:
                continue
            found = self._aws.read(
                "cloudfront", "get_origin_request_policy", absent=("NoSuchOriginRequestPolicy",), Id=id
            )
            headers = (found or {}).get("OriginRequestPolicy", {}).get("OriginRequestPolicyConfig", {})
            if _forwards_host(headers.get("HeadersConfig") or {}):
                wrong.append(behavior_name)
        if wrong:
            yield cross(
                name,
                f"{', '.join(wrong)}: the viewer's Host is forwarded, so S3 looks for another bucket, and "
                "says 403",
                f"{self._console} > Behaviors > Edit > Origin request policy: none",
            )
        else:
            yield tick(name, "the viewer's Host is not forwarded to S3")

    def _compression(self) -> Finding:
        found = [name for name, behavior in self._behaviors if behavior.get("Compress")]
        if not found:
            return tick("compression", "nothing is compressed on the way")
        return cross(
            "compression",
            f"{', '.join(found)}: compresses objects: what is compressed on the way has not the bytes of its "
            "digest, and no ranges",
            f"{self._console} > Behaviors > Edit > Compress objects automatically: No",
        )

    def _ipv6(self) -> Finding:
        if not self._distribution.config.get("IsIPV6Enabled"):
            return tick("ipv6-off", "IPv6 is off, as bindip needs")
        return cross(
            "ipv6-off",
            "IPv6 is on, and bindip binds URLs to IPv4 addresses: a client with both is refused",
            f"{self._console} > General > Settings > Edit > IPv6: Off",
        )

    def _error_caching(self) -> Finding:
        longest = max(
            (
                int(entry.get("ErrorCachingMinTTL") or 0)
                for entry in _items(self._distribution.config.get("CustomErrorResponses"))
            ),
            default=10,
        )
        if longest <= 5 * 60:
            return tick("error-caching", "errors are not cached for long")
        return cross(
            "error-caching",
            f"an error is cached for {longest} seconds: a blob that is asked for too early stays unreachable",
            f"{self._console} > Error pages: Error caching minimum TTL of 10 seconds",
        )


def _meets(pattern: str, path: str) -> bool:
    """Return whether a path meets a behavior's pattern, where ``*`` is anything and ``?`` one character."""
    expression = re.escape("/" + pattern.removeprefix("/")).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(expression, path, re.DOTALL) is not None


def _is_of(bucket: str, origin: Mapping[str, Any]) -> bool:
    return str(origin.get("DomainName")).startswith(f"{bucket}.s3")


def _cache_problem(config: Mapping[str, Any], headers: list[str], cookies: str) -> str:
    """Return what is wrong with what a policy, or a behavior without one, says of the cache."""
    if "host" in headers or "*" in headers:
        return "has the viewer's Host in the cache's key, and forwards it to S3, which says 403"
    if "authorization" in headers or cookies in ("all", "allExcept"):
        return "has what differs from client to client in the cache's key"
    if int(config.get("MaxTTL") or 0) == 0:
        return "caches nothing"
    if int(config.get("DefaultTTL") or 0) < _DAY:
        return f"caches for {config.get('DefaultTTL') or 0} seconds, and blobs never change"
    return ""


def _forwards_host(told: Mapping[str, Any]) -> bool:
    behavior = told.get("HeaderBehavior")
    headers = [str(header).lower() for header in _items(told.get("Headers"))]
    if behavior == "allExcept":
        return "host" not in headers
    return behavior in ("allViewer", "allViewerAndWhitelistCloudFront") or "host" in headers


def _trusts_groups(behavior: Mapping[str, Any]) -> bool:
    groups = behavior.get("TrustedKeyGroups") or {}
    return bool(groups.get("Enabled")) and bool(_items(groups))


def _items(told: Any) -> list[Any]:
    return list((told or {}).get("Items") or ())


def _fingerprint(pem: str) -> str:
    try:
        return load_public_key(pem, "key").fingerprint
    except ConfigError:
        return re.sub(r"\s", "", pem)
