"""The boto3 client of a process."""

from __future__ import annotations

import base64
import hashlib
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from cfmiddleware.process.cache import PerProcess
from cfmiddleware.storage.requestmeter import RequestMeter
from cfmiddleware.tracing.switch import is_on

from .advice import log_advice
from .options import S3Options
from .plainwire import expect_no_certificates
from .requestcount import count_requests
from .requestlog import log_requests
from .retries import retry_beyond_the_budget
from .withoutboto3 import Keys, without_boto3

if TYPE_CHECKING:
    import boto3.session
    from botocore.config import Config, _S3Dict
    from botocore.credentials import Credentials
    from mypy_boto3_s3 import S3Client


# Operations that are never answered with an empty body.
_NEVER_EMPTY = frozenset(
    ("ListObjectsV2", "CreateMultipartUpload", "UploadPartCopy", "CopyObject", "CompleteMultipartUpload")
)


class Connection(NamedTuple):
    """A client, and what it signs with; None where boto3 found no credentials."""

    client: S3Client
    credentials: Credentials | Keys | None


class ClientPerProcess:
    """Makes one client for each process that asks, at the first time it asks.

    Connections must not cross a fork: two processes would read each other's answers.

    :param where: the place of the options in the configuration, for the log.
    :param meter: what every request passes through; None for nothing.
    """

    def __init__(
        self, options: S3Options, where: str = "storage.s3", meter: RequestMeter | None = None
    ) -> None:
        def make() -> Connection:
            connection = connect(options, meter)
            log_advice(connection.client, options, where)
            return connection

        self._connection = PerProcess(make)

    def __call__(self) -> S3Client:
        """Return the client of this process, which its threads share."""
        return self.connection().client

    def connection(self) -> Connection:
        """Return the client of this process with its credentials."""
        return self._connection()


def connect(options: S3Options, meter: RequestMeter | None = None) -> Connection:
    """Return a new client with its credentials, without connecting."""
    from .plainclient import plain_client, simple_client

    simple = without_boto3(options)
    if simple is not None:
        client = simple_client(simple, options, partial(make_client, options, meter), meter)
        return Connection(client, simple.keys)
    session = _session(options)
    credentials = session.get_credentials()
    return Connection(plain_client(_client(session, options, meter), credentials, options), credentials)


def make_client(options: S3Options, meter: RequestMeter | None = None) -> S3Client:
    """Return a new client, without connecting."""
    return _client(_session(options), options, meter)


def preload(options: S3Options) -> None:
    """Load what a client needs, without a connection, credentials or a client that stays."""
    from . import plainclient  # noqa: F401

    _unsigned_client(options, options.endpoint, _config(options))


def url_of(options: S3Options, key: str) -> str:
    """Return the unsigned URL under which redirected clients find the object at *key*."""
    from botocore.config import Config

    config = _config(options)
    endpoint = options.endpoint
    if options.redirect_endpoint is not None:
        config = Config(s3=_addressing(options.redirect_path_style))
        endpoint = options.redirect_endpoint
    client = _unsigned_client(options, endpoint, config)
    return client.generate_presigned_url("get_object", Params={"Bucket": options.bucket, "Key": key})


def _unsigned_client(options: S3Options, endpoint: str | None, config: Config) -> S3Client:
    """Return a client that needs neither credentials nor a network, because it signs nothing."""
    from botocore import UNSIGNED
    from botocore.config import Config

    unsigned = config.merge(Config(signature_version=UNSIGNED))
    return _session(options).client(
        "s3", endpoint_url=endpoint, use_ssl=_is_secure(endpoint, options), config=unsigned
    )


def _is_secure(endpoint: str | None, options: S3Options) -> bool:
    """Return whether requests go over TLS: an endpoint's scheme counts for more than the option.

    boto3 before 1.36 thinks otherwise.
    """
    return endpoint.startswith("https:") if endpoint else options.secure


@lru_cache(maxsize=1)
def _models() -> Any:
    """Return what knows S3's requests: a file of a megabyte, which each session would read for itself."""
    import botocore.session

    return botocore.session.Session().get_component("data_loader")


def _session(options: S3Options) -> boto3.session.Session:
    # Here, because boto3 takes much memory, and the processes that only start others never use it.
    import boto3.session
    import botocore.session

    core = botocore.session.Session()
    core.register_component("data_loader", _models())
    return boto3.session.Session(
        botocore_session=core,
        aws_access_key_id=options.accesskey or None,
        aws_secret_access_key=options.secretkey or None,
        aws_session_token=options.sessiontoken or None,
        # Other servers mostly do not care, but the signature needs one.
        region_name=options.region or "us-east-1",
    )


def _client(
    session: boto3.session.Session, options: S3Options, meter: RequestMeter | None = None
) -> S3Client:
    if options.skipverify:
        expect_no_certificates()
    client = session.client(
        "s3",
        endpoint_url=options.endpoint,
        use_ssl=_is_secure(options.endpoint, options),
        verify=False if options.skipverify else None,
        config=_config(options),
    )
    events = client.meta.events
    events.register("before-call.s3", _stay_in_the_region)
    events.register("before-parse.s3", _see_what_is_missing)
    events.register("before-call.s3.DeleteObjects", _add_md5)
    retry_beyond_the_budget(client, options.maxattempts)
    count_requests(client)
    if is_on():
        from .requestspans import trace_requests

        trace_requests(client)
    if not options.v4auth:
        events.register("before-sign.s3", _sign_the_path_as_sent)
    if options.log_requests:
        log_requests(client)
    if meter is not None:
        from .meteredsession import meter_requests

        meter_requests(client, meter)
    return client


def _config(options: S3Options) -> Config:
    from botocore.config import Config

    checksums: dict[str, Any] = {}
    wanted = False if options.checksums is None and options.regionendpoint else options.checksums
    # By default boto3 sends checksums as trailers, which other servers do not understand. Before 1.36 it has
    # no such options, and sends only what S3 requires.
    if wanted is not None and "request_checksum_calculation" in Config.OPTION_DEFAULTS:
        when = "when_supported" if wanted else "when_required"
        checksums = {"request_checksum_calculation": when, "response_checksum_validation": when}
    return Config(
        # Without it, some regions and all other servers get signatures of version 2.
        signature_version=options.signature_version,
        retries={
            "mode": "adaptive" if options.retrymode == "adaptive" else "standard",
            "total_max_attempts": options.maxattempts,
        },
        max_pool_connections=options.maxconnections,
        connect_timeout=options.connecttimeout,
        read_timeout=options.readtimeout,
        user_agent_extra=options.useragent or None,
        use_dualstack_endpoint=options.usedualstack,
        use_fips_endpoint=options.usefipsendpoint,
        s3=_addressing(options.path_style, options.accelerate),
        **checksums,
    )


def _addressing(path_style: bool, accelerate: bool = False) -> _S3Dict:
    return {
        "addressing_style": "path" if path_style else "virtual",
        "use_accelerate_endpoint": accelerate,
    }


def _stay_in_the_region(params: dict[str, Any], **_: object) -> None:
    # boto3 would silently continue in the region that S3 names, with one more round trip for each process. It
    # gives up on a request that it has redirected before.
    redirect = params["context"].get("s3_redirect")
    if redirect is not None:
        redirect["redirected"] = True


def _add_md5(params: dict[str, Any], **_: object) -> None:
    # New versions of boto3 send another checksum instead, with which many servers refuse the request.
    body = params["body"]
    if isinstance(body, bytes) and "Content-MD5" not in params["headers"]:
        checksum = hashlib.md5(body, usedforsecurity=False).digest()
        params["headers"]["Content-MD5"] = base64.b64encode(checksum).decode()


def _see_what_is_missing(operation_model: Any, response_dict: dict[str, Any], **_: object) -> None:
    # boto3 does not notice that a connection broke off within a body: a listing of which nothing has come is
    # an empty listing to it. As a server's error it is asked for again.
    body = response_dict["body"]
    if not isinstance(body, bytes) or operation_model.http["method"] == "HEAD":
        return
    length = response_dict["headers"].get("content-length", "")
    if (length.isdecimal() and len(body) < int(length)) or (
        not body and response_dict["status_code"] == 200 and operation_model.name in _NEVER_EMPTY
    ):
        response_dict["status_code"] = 500


def _sign_the_path_as_sent(request: Any, **_: object) -> None:
    # With the bucket in the path, boto3 signs it with a slash after it, which it does not send; servers that
    # take the path as it comes then refuse what concerns the bucket as a whole.
    signed = request.auth_path
    if signed is not None and signed.rstrip("/") == urlsplit(request.url).path.rstrip("/"):
        request.auth_path = None
