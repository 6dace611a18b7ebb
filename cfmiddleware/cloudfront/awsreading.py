"""Reading what AWS is told, with the credentials of the shell. Nothing is written.

What may not be read is not wrong: it is not known.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    CredentialRetrievalError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    SSOError,
    TokenRetrievalError,
)

from cfmiddleware.storage.s3 import S3Driver

from .findings import Finding, question
from .wanted import Wanted

#: The permissions whose names are not those of the operations.
_PERMISSIONS = {
    "GetPublicAccessBlock": "GetBucketPublicAccessBlock",
    "GetBucketEncryption": "GetEncryptionConfiguration",
    "GetBucketLifecycleConfiguration": "GetLifecycleConfiguration",
}

_DENIED = re.compile("AccessDenied.*|.*NotAuthorized.*|UnauthorizedOperation|403|AllAccessDisabled")

_NO_CREDENTIALS = (
    NoCredentialsError,
    PartialCredentialsError,
    CredentialRetrievalError,
    ProfileNotFound,
    SSOError,
    TokenRetrievalError,
)

#: What makes clients: the name of a service and its region, to a client of boto3.
Clients = Callable[[str, str], Any]


class Unreadable(Exception):
    """Something may not be read, or was not.

    :param mend: what lets it be read.
    """

    def __init__(self, message: str, mend: str) -> None:
        super().__init__(message)
        self.mend = mend


class NoCredentials(Unreadable):
    """There are no credentials to read anything with."""


class AWS:
    """Reads.

    :param clients: what makes clients.
    :param region: the bucket's region.
    """

    def __init__(self, clients: Clients, region: str) -> None:
        self._clients = clients
        self._region = region
        self._made: dict[tuple[str, str], Any] = {}
        # The services that did not answer, so that each is waited for once.
        self._silent: set[str] = set()

    def read(
        self,
        service: str,
        operation: str,
        *,
        absent: Sequence[str] = (),
        region: str = "",
        **arguments: Any,
    ) -> Mapping[str, Any] | None:
        """Return what an operation answers.

        :param operation: a method of the service's client.
        :param absent: the codes of what is not there; then None is returned.
        :raises Unreadable: where it is refused or not answered.
        """
        if service in self._silent:
            raise _silent(service)
        try:
            answer: Mapping[str, Any] = getattr(self._client(service, region), operation)(**arguments)
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            if code in absent:
                return None
            raise _unreadable(error, service, code) from None
        except _NO_CREDENTIALS as error:
            raise NoCredentials(
                f"there are no AWS credentials here that could read ({type(error).__name__})",
                "aws configure, aws sso login, or set AWS_PROFILE",
            ) from None
        except (ConnectionError, HTTPClientError):
            self._silent.add(service)
            raise _silent(service) from None
        except (BotoCoreError, OSError, ValueError) as error:
            raise Unreadable(f"{service} did not answer ({type(error).__name__})", "try again") from None
        return answer

    def _client(self, service: str, region: str) -> Any:
        key = (service, region or self._region)
        if key not in self._made:
            self._made[key] = self._clients(*key)
        return self._made[key]


def shell_clients(wanted: Wanted) -> Clients:
    """Return what makes clients with the credentials of this shell, or the storage's where it has none."""
    session: list[Any] = []

    def client(service: str, region: str) -> Any:
        import boto3.session
        from botocore.config import Config

        if not session:
            session.append(boto3.session.Session())
            driver = wanted.storage
            if (
                session[0].get_credentials() is None
                and isinstance(driver, S3Driver)
                and driver.options.accesskey
            ):
                session[0] = boto3.session.Session(
                    aws_access_key_id=driver.options.accesskey,
                    aws_secret_access_key=driver.options.secretkey,
                    aws_session_token=driver.options.sessiontoken or None,
                )
        config = Config(
            connect_timeout=5, read_timeout=20, retries={"mode": "standard", "total_max_attempts": 3}
        )
        return session[0].client(service, region_name=region or "us-east-1", config=config)

    return client


def guarded(name: str, check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """Yield what a check finds, or that it could not be found out.

    :raises NoCredentials: where nothing can be.
    """
    try:
        yield from check()
    except NoCredentials:
        raise
    except Unreadable as error:
        yield question(name, str(error), error.mend)


def _silent(service: str) -> Unreadable:
    return Unreadable(f"AWS's {service} cannot be reached from here", "see that HTTPS leads out of here")


def _unreadable(error: ClientError, service: str, code: str) -> Unreadable:
    action = _PERMISSIONS.get(error.operation_name, error.operation_name)
    if service == "s3control":
        service, action = "s3", "GetAccountPublicAccessBlock"
    permission = f"{service}:{action}"
    if _DENIED.fullmatch(code):
        return Unreadable(f"these credentials may not read it ({permission})", f"allow {permission}")
    if code in ("InvalidClientTokenId", "UnrecognizedClientException", "ExpiredToken", "InvalidAccessKeyId"):
        return NoCredentials(f"AWS does not take these credentials ({code})", "aws sts get-caller-identity")
    return Unreadable(
        f"{permission} was refused: {code}", "try again, with credentials of the bucket's account"
    )
