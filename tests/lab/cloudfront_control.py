"""CloudFront's control plane: moto's, with what it loses put back.

moto forgets an origin's access control and identity, says *Deployed* at once, never says which keys are
active, and has no cache policies and no origin request policies.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from werkzeug.http import http_date

from lab import wsgi_server
from lab.moto_gaps import filled_gaps
from lab.servers import S3Server, running_moto

ACCOUNT = "123456789012"  # moto's
_API = "{0}/2020-05-31"


class Policies:
    """The policies of one kind that moto does not have, by their ids."""

    def __init__(self) -> None:
        self.configs: dict[str, Any] = {}

    def add(self, config: Any, id: str = "") -> str:
        """Keep a policy, and return its id."""
        id = id or f"00000000-0000-0000-0000-{len(self.configs):012d}"
        self.configs[id] = config
        return id


class Kept(SimpleNamespace):
    """What the layer keeps beside moto."""

    cache: Policies
    origin_request: Policies


@contextlib.contextmanager
def running_control() -> Iterator[tuple[S3Server, Kept]]:
    """Run moto in this process, with the gaps filled, until the block is left."""
    from moto.cloudfront import models, urls
    from moto.cloudfront.responses import CloudFrontResponse

    kept = Kept(cache=Policies(), origin_request=Policies())
    with filled_gaps(), pytest.MonkeyPatch.context() as patch:
        made = models.Origin.__init__

        def origin(self: Any, told: dict[str, Any]) -> None:
            made(self, told)
            self.origin_access_control_id = told.get("OriginAccessControlId") or ""
            if "S3OriginConfig" in told:
                self.s3_origin_config = SimpleNamespace(
                    origin_access_identity=told["S3OriginConfig"].get("OriginAccessIdentity") or ""
                )

        patch.setattr(models.Origin, "__init__", origin)
        for kind, policies, name in (
            ("cache-policy", kept.cache, "CachePolicy"),
            ("origin-request-policy", kept.origin_request, "OriginRequestPolicy"),
        ):
            patch.setitem(urls.url_paths, f"{_API}/{kind}$", CloudFrontResponse.dispatch)
            patch.setitem(urls.url_paths, f"{_API}/{kind}/(?P<id>[^/]+)$", CloudFrontResponse.dispatch)
            word = kind.replace("-", "_")
            patch.setattr(CloudFrontResponse, f"create_{word}", _creating(policies, name), raising=False)
            patch.setattr(CloudFrontResponse, f"get_{word}", _getting(policies, name), raising=False)
        patch.setattr(wsgi_server._Handler, "_send", _sending_dates(wsgi_server._Handler._send))
        with running_moto() as server:
            yield server, kept


def _sending_dates(send: Any) -> Any:
    """Return what sends a response with a date, as Amazon's servers do."""

    def dated(handler: Any, status: str, headers: list[tuple[str, str]], *rest: Any) -> None:
        if not any(name.lower() == "date" for name, _ in headers):
            headers = [*headers, ("Date", http_date())]
        send(handler, status, headers, *rest)

    return dated


def _creating(policies: Policies, name: str) -> Any:
    from moto.core.responses import ActionResult

    def create(response: Any) -> Any:
        config = response._get_param(f"{name}Config", {})
        id = policies.add(config)
        return ActionResult({name: {"Id": id, f"{name}Config": config}, "ETag": "E1"})

    return create


def _getting(policies: Policies, name: str) -> Any:
    from moto.core.exceptions import ServiceException
    from moto.core.responses import ActionResult

    class Missing(ServiceException):
        code = f"NoSuch{name}"

    def get(response: Any) -> Any:
        id = response._get_param("Id")
        if id not in policies.configs:
            raise Missing("The policy does not exist.")
        return ActionResult({name: {"Id": id, f"{name}Config": policies.configs[id]}, "ETag": "E1"})

    return get


def issue(arn: str) -> None:
    """Have a certificate issued at once."""
    from moto.acm.models import acm_backends

    acm_backends[ACCOUNT]["us-east-1"].get_certificate(arn).status = "ISSUED"


def disable(region: str, key: str) -> None:
    """Disable a key of KMS: moto's own server cannot answer that call."""
    from moto.kms.models import kms_backends

    kms_backends[ACCOUNT][region].disable_key(key.rpartition("/")[2])


def forget() -> None:
    """Have moto forget all of CloudFront and IAM."""
    from moto.cloudfront.models import cloudfront_backends
    from moto.iam.models import iam_backends

    cloudfront_backends[ACCOUNT]["aws"].reset()
    iam_backends[ACCOUNT]["aws"].reset()


def distribution_of(id: str) -> Any:
    """Return moto's own object of a distribution, to change what no call of the API can."""
    from moto.cloudfront.models import cloudfront_backends

    return cloudfront_backends[ACCOUNT]["aws"].distributions[id]


def public_key_of(id: str) -> Any:
    """Return moto's own object of a public key."""
    from moto.cloudfront.models import cloudfront_backends

    return cloudfront_backends[ACCOUNT]["aws"].public_keys[id]


def set_progress(id: str, status: str) -> None:
    """Have a distribution say that it is *Deployed*, or *InProgress*."""
    found = distribution_of(id)
    found._transitions = []
    found.status = status
