"""Every error that the registry answers with: its code, its status and its words, each in one place.

Codes are those of the OCI Distribution Specification ("Error Codes") and of Docker's Registry HTTP API V2.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from cfmiddleware.digest import HEX_LENGTHS, Digest
from cfmiddleware.errors import StorageFull
from cfmiddleware.wsgi.response import Response, as_json

#: Seconds after which a client that found no room, or no storage, may try again.
_RETRY_AFTER = {"Retry-After": "5"}


class RegistryError(Exception):
    """An answer other than success. Resources raise it, and the dispatcher makes a response of it.

    :param code: the code, such as ``BLOB_UNKNOWN``.
    :param status: the HTTP status.
    :param message: one line for a person.
    :param detail: what the client's program may want to know, as a JSON value.
    :param headers: further headers of the response.
    """

    def __init__(
        self,
        code: str,
        status: int,
        message: str,
        *,
        detail: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.status = status
        self.message = message
        self.detail = detail
        self.headers = dict(headers or {})

    def __reduce__(self) -> tuple[Any, ...]:
        # As another process raises it: Exception's own way knows the message alone.
        named = {"detail": self.detail, "headers": self.headers}
        return partial(type(self), self.code, self.status, self.message, **named), ()

    def response(self) -> Response:
        """Return the body that the specification prescribes (OCI Distribution, "Error Codes")."""
        entry = {"code": self.code, "message": self.message, "detail": self.detail}
        return as_json(self.status, {"errors": [entry]}, self.headers)


def unhealthy() -> RegistryError:
    """Return the error for every request while a health check fails."""
    return RegistryError(
        "UNAVAILABLE",
        503,
        "service unavailable",
        detail="health check failed: please see /debug/health",
        headers=_RETRY_AFTER,
    )


def event_not_kept() -> RegistryError:
    """Return the error for a change of which the endpoints could not be told."""
    return RegistryError(
        "UNAVAILABLE",
        503,
        "service unavailable",
        detail="no event can be kept: see the registry's log",
        headers=_RETRY_AFTER,
    )


# What a path or a query names


def no_such_path() -> RegistryError:
    """Return the error for a path that is not the registry's."""
    return RegistryError("UNSUPPORTED", 404, "the registry has nothing at this path")


def method_unsupported(allowed: Iterable[str], *, readonly: bool) -> RegistryError:
    """Return the error for a method that a resource does not have.

    :param allowed: the methods that it has.
    :param readonly: whether the registry refuses every change.
    """
    reason = "the registry is read-only" if readonly else "the method is not supported here"
    return RegistryError("UNSUPPORTED", 405, reason, headers={"Allow": ", ".join(sorted(allowed))})


def name_invalid() -> RegistryError:
    """Return the error for the name of a repository that breaks the grammar."""
    return RegistryError("NAME_INVALID", 400, "the repository's name is invalid")


def name_unknown(repository: str) -> RegistryError:
    """Return the error for a repository that is not there."""
    return RegistryError("NAME_UNKNOWN", 404, "there is no such repository", detail={"name": repository})


def tag_invalid() -> RegistryError:
    """Return the error for a reference that is neither a digest nor a tag."""
    return RegistryError(
        "TAG_INVALID", 400, "a tag is 1 to 128 of A-Z a-z 0-9 _ . -, not beginning with . or -"
    )


def pagination_invalid() -> RegistryError:
    """Return the error for a page size that is not a number."""
    return RegistryError("PAGINATION_NUMBER_INVALID", 400, "n must be a number of entries, 0 or more")


# Digests


def digest_invalid(reason: str) -> RegistryError:
    """Return the error for a digest that cannot be read; *reason* says why."""
    return RegistryError("DIGEST_INVALID", 400, reason)


def digest_missing() -> RegistryError:
    """Return the error for the end of an upload that names no digest."""
    return RegistryError("DIGEST_INVALID", 400, "the digest parameter is missing")


def digest_algorithm_invalid() -> RegistryError:
    """Return the error for an upload that is to be hashed with an unknown algorithm."""
    known = " or ".join(HEX_LENGTHS)
    return RegistryError("DIGEST_INVALID", 400, f"digest-algorithm must be {known}")


def digest_mismatch(mismatch: object) -> RegistryError:
    """Return the error for a digest that is not the one of the bytes; *mismatch* says what theirs is."""
    return RegistryError("DIGEST_INVALID", 400, f"the digest does not match: {mismatch}")


# Blobs and uploads


def blob_unknown(digest: Digest) -> RegistryError:
    """Return the error for a blob that the repository does not have."""
    return RegistryError(
        "BLOB_UNKNOWN", 404, "the repository has no such blob", detail={"digest": str(digest)}
    )


def blob_too_large(most: int) -> RegistryError:
    """Return the error for a blob of unknown length that has more bytes than one object takes.

    :param most: how many bytes that is.
    """
    message = f"a blob of more than {most} bytes must come with its length, or in several requests"
    return RegistryError("SIZE_INVALID", 413, message)


def range_not_satisfiable(digest: Digest, size: int) -> RegistryError:
    """Return the error for a range of a blob that has none of the blob's *size* bytes (RFC 9110, 14.4)."""
    headers = {"Content-Range": f"bytes */{size}", "Docker-Content-Digest": str(digest)}
    return RegistryError(
        "UNSUPPORTED", 416, f"the blob has {size} bytes, none of them in the range", headers=headers
    )


def upload_unknown() -> RegistryError:
    """Return the error for an upload that the repository does not have."""
    return RegistryError("BLOB_UPLOAD_UNKNOWN", 404, "the repository has no such upload")


def upload_invalid(reason: str) -> RegistryError:
    """Return the error for the body of an upload that is broken; *reason* says how."""
    return RegistryError("BLOB_UPLOAD_INVALID", 400, reason)


def upload_out_of_order(size: int, headers: Mapping[str, str]) -> RegistryError:
    """Return the error for a chunk that does not begin where the upload ends.

    :param size: how many bytes the upload has.
    :param headers: where the upload stands.
    """
    message = f"the upload has {size} bytes; the next chunk must begin there"
    return RegistryError("BLOB_UPLOAD_INVALID", 416, message, headers=headers)


def chunk_size_invalid(length: int) -> RegistryError:
    """Return the error for a body that does not have the *length* that its ``Content-Range`` names."""
    message = f"the body does not have the {length} bytes that its Content-Range names"
    return RegistryError("SIZE_INVALID", 400, message)


def length_required() -> RegistryError:
    """Return the error for a chunked body that the WSGI server does not hand over (RFC 9110, 15.5.12)."""
    message = (
        "the registry's WSGI server does not hand over bodies with Transfer-Encoding: chunked; "
        "send a Content-Length, or see 'Servers' in the documentation of cfmiddleware"
    )
    return RegistryError("SIZE_INVALID", 411, message)


def body_too_slow() -> RegistryError:
    """Return the error for a body of which nothing more came in time (RFC 9110, 15.5.9)."""
    return RegistryError("REQUEST_TIMEOUT", 408, "the rest of the request's body did not come in time")


def too_many_uploads() -> RegistryError:
    """Return the error for an upload that finds no place.

    skopeo and podman repeat a request without a body after a 429, and give it up at once after a 503. podman
    repeats the push as well, and so does skopeo with ``--retry-times``.
    """
    return RegistryError(
        "TOOMANYREQUESTS", 429, "too many uploads at a time; try again later", headers=_RETRY_AFTER
    )


# Manifests


def manifest_unknown(reference: Digest | str) -> RegistryError:
    """Return the error for a manifest that the repository does not have."""
    detail = {"reference": str(reference)}
    return RegistryError("MANIFEST_UNKNOWN", 404, "the repository has no such manifest", detail=detail)


def manifest_invalid(reason: str) -> RegistryError:
    """Return the error for a manifest that cannot be taken; *reason* says why."""
    return RegistryError("MANIFEST_INVALID", 400, reason)


def manifest_too_large(most: int) -> RegistryError:
    """Return the error for a manifest of more than *most* bytes."""
    return RegistryError("SIZE_INVALID", 413, f"a manifest has at most {most} bytes")


def manifest_blob_unknown(missing: Sequence[Digest]) -> RegistryError:
    """Return the error for a manifest that refers to the *missing* blobs or manifests."""
    return RegistryError(
        "MANIFEST_BLOB_UNKNOWN",
        404,
        f"the manifest refers to what the repository does not have; {len(missing)} such digests are named",
        detail=[{"digest": str(digest)} for digest in missing],
    )


def tag_protected(tag: str, why: str) -> RegistryError:
    """Return the error for the DELETE of a tag that never goes.

    The status is the specification's for a delete that is not allowed ("Deleting tags"). The code is one
    after which podman and skopeo do not try again.

    :param why: the protection, in the configuration's words.
    """
    return RegistryError(
        "DENIED",
        405,
        f"the tag {tag} is protected and cannot be deleted",
        detail={"tag": tag, "retention": why},
        headers={"Allow": "GET, HEAD, OPTIONS, PUT"},
    )


def part_of_protected(digest: Digest, tag: str, why: str, allowed: str) -> RegistryError:
    """Return the error for the DELETE of a manifest or a blob that a protected tag needs.

    :param why: the protection, in the configuration's words.
    :param allowed: the methods that are allowed.
    """
    return RegistryError(
        "DENIED",
        405,
        f"{digest} belongs to the protected tag {tag} and cannot be deleted",
        detail={"digest": str(digest), "tag": tag, "retention": why},
        headers={"Allow": allowed},
    )


def tag_immutable(tag: str, current: Digest) -> RegistryError:
    """Return the error for a push that would move an immutable tag away from its *current* manifest."""
    return RegistryError(
        "DENIED",
        403,
        f"the tag {tag} is immutable and names {current} already",
        detail={"tag": tag, "digest": str(current)},
    )


def type_of_protected(digest: Digest, tag: str, kept: str) -> RegistryError:
    """Return the error for a push that would give a manifest that a protected tag needs another type than the
    one that is *kept*.
    """
    return RegistryError(
        "DENIED",
        403,
        f"{digest} belongs to the protected tag {tag} and stays of the type {kept[:100]}",
        detail={"digest": str(digest), "tag": tag},
    )


# Clients, and the registry itself


def unauthorized(challenge: str, message: str, detail: Any = None) -> RegistryError:
    """Return the error for a client that has to authenticate.

    :param challenge: the header ``WWW-Authenticate``.
    :param message: what is wrong with what the client has shown.
    :param detail: what the request needs, or None.
    """
    return RegistryError("UNAUTHORIZED", 401, message, detail=detail, headers={"WWW-Authenticate": challenge})


def too_many_logins() -> RegistryError:
    """Return the error for a login that finds no turn at the check of passwords."""
    return RegistryError("TOOMANYREQUESTS", 503, "too many logins at a time", headers=_RETRY_AFTER)


def storage_unavailable(told: str) -> RegistryError:
    """Return the error for a storage that does not answer as it should; *told* says in which way."""
    return RegistryError("UNAVAILABLE", 503, told, headers=_RETRY_AFTER)


def storage_refuses(told: str) -> RegistryError:
    """Return the error for a storage that refuses what the registry asks of it. Trying again does not help,
    so the status is that of a mistake on this side, as Distribution's is.
    """
    return RegistryError("UNKNOWN", 500, told)


def storage_full() -> RegistryError:
    """Return the error for a storage that has no room (RFC 4918, 11.5). Trying again soon does not help."""
    return RegistryError("UNAVAILABLE", 507, StorageFull.told)


def unknown() -> RegistryError:
    """Return the error for a failure that the registry did not expect."""
    return RegistryError("UNKNOWN", 500, "the registry failed to answer")
