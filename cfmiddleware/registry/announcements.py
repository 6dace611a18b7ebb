"""What the registry tells of what its requests did (Distribution, "Notifications").

An event is kept before its request is answered; see :mod:`cfmiddleware.notifications`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from cfmiddleware.digest import Digest
from cfmiddleware.notifications.envelope import (
    BLOB,
    TELLER,
    Action,
    Happened,
    NotRecorded,
    Requester,
    Target,
    new_id,
    references,
)
from cfmiddleware.notifications.requester import requester
from cfmiddleware.version import __version__

from . import errors
from .auth.access import GrantedRequest
from .requests import Request

if TYPE_CHECKING:
    from cfmiddleware.notifications.notifier import Notifier


Environ = Mapping[str, Any]

# A push by digest may name thousands of tags. What its manifest refers to is said with each where that makes
# up to so many characters more, else with the first alone.
_MOST_REPEATED = 1 << 20


class Announcements:
    """The events of all resources; without a notifier, nothing is told.

    :param notifier: keeps events until their endpoints have them.
    """

    def __init__(self, notifier: Notifier | None = None) -> None:
        self._notifier = notifier
        self.of_pulls = notifier is not None and notifier.wants("pull")
        #: Whether events of manifests say what the manifests refer to.
        self.have_references = notifier is not None and notifier.references

    def begin(self, method: str, environ: Environ | None = None) -> None:
        """Have this process deliver what waits, and see that there is room for what *method* may cause.

        :param environ: the request's, so that nobody else tells of it.

        :raises RegistryError: ``UNAVAILABLE`` (503) if there is none, where the operator wants no event lost.
        """
        if self._notifier is None:
            return
        self._notifier.start()
        if environ is not None:
            _take(environ)
        if method not in ("PUT", "POST", "DELETE"):
            return
        try:
            self._notifier.make_sure()
        except NotRecorded:
            raise errors.event_not_kept() from None

    def blob_pushed(self, request: Request, digest: Digest, size: int) -> None:
        """Tell that a repository has got a blob by an upload."""
        self._tell(request, [("push", _blob(request, digest, size))])

    def blob_mounted(self, request: Request, digest: Digest, size: int, source: str) -> None:
        """Tell that a repository has got a blob of another one."""
        target = _blob(request, digest, size)._replace(from_repository=source)
        self._tell(request, [("mount", target)])

    def pull_of_blob(
        self, request: Request, digest: Digest, size: int | None
    ) -> Callable[[Environ], None] | None:
        """Return what tells that a client gets a blob, or some of it, by this request or by another one of
        which the registry is not asked; None where nobody wants to know.
        """
        if not self.of_pulls:
            return None
        return partial(self._record, [Happened("pull", _blob(request, digest, size))], _user(request))

    def redirect_of(self, blob: Target, user: str, environ: Environ) -> Callable[[], None]:
        """Return what tells that a client is sent to a blob.

        :param user: the name of the user.
        """
        return partial(self._record, [Happened("pull", blob)], user, environ)

    def blob_deleted(self, request: Request, digest: Digest) -> None:
        """Tell that a blob is no longer in a repository."""
        self._tell(request, [("delete", Target(request.repository, digest=str(digest)))])

    def manifest_pushed(self, request: Request, manifest: Target, tags: Iterable[str]) -> None:
        """Tell that a repository has got a manifest, once for each tag that names it now."""
        whole = _manifest(request, manifest)
        first, *others = list(tags) or [""]
        small = (
            whole if len(whole.references) * len(others) <= _MOST_REPEATED else whole._replace(references="")
        )
        told = [whole._replace(tag=first), *(small._replace(tag=tag) for tag in others)]
        self._tell(request, [("push", target) for target in told])

    def manifest_pulled(self, request: Request, manifest: Target) -> None:
        """Tell that a client gets a manifest."""
        if self.of_pulls:
            self._tell(request, [("pull", _manifest(request, manifest))])

    def manifest_deleted(self, request: Request, digest: Digest, tags: Iterable[str]) -> None:
        """Tell that a repository no longer has a manifest, nor the tags that named it."""
        name = request.repository
        gone = Target(name, digest=str(digest))
        self._tell(request, [("delete", gone), *(("delete", Target(name, tag=tag)) for tag in tags)])

    def tag_deleted(self, request: Request, tag: str) -> None:
        """Tell that a repository no longer has a tag."""
        self._tell(request, [("delete", Target(request.repository, tag=tag))])

    def tag_expired(self, repository: str, tag: str) -> None:
        """Tell that the registry itself has deleted a tag, by the rules of its section ``retention``."""
        if self._notifier is not None:
            requester = Requester(new_id(), "", "", "DELETE", f"cfmiddleware/{__version__}")
            self._keep([Happened("delete", Target(repository, tag=tag))], requester, "retention")

    def repository_deleted(self, repository: str, digests: Iterable[Digest], tags: Iterable[str]) -> None:
        """Tell that an operator has deleted manifests, blobs and tags with their repository."""
        if self._notifier is None:
            return
        requester = Requester(new_id(), "", "", "DELETE", f"cfmiddleware/{__version__}")
        gone = [Target(repository, digest=str(digest)) for digest in digests]
        gone += [Target(repository, tag=tag) for tag in tags]
        if gone:
            self._keep([Happened("delete", target) for target in gone], requester, "delete")

    def _tell(self, request: Request, told: Iterable[tuple[Action, Target]]) -> None:
        if self._notifier is not None:
            self._record([Happened(*each) for each in told], _user(request), request.environ)

    def _record(self, happened: list[Happened], user: str, environ: Environ) -> None:
        notifier = self._notifier
        assert notifier is not None  # noqa: S101 (the callers looked)
        _take(environ)
        self._keep(happened, requester(environ, notifier.trustedproxies), user)

    def _keep(self, happened: list[Happened], requester: Requester, user: str) -> None:
        notifier = self._notifier
        assert notifier is not None  # noqa: S101 (the callers looked)
        try:
            notifier.record(happened, requester, user)
        except NotRecorded:
            raise errors.event_not_kept() from None


def parse_references(content: bytes) -> str:
    """Return the JSON of the descriptors of what a manifest refers to.

    :param content: the manifest; what is not one refers to nothing.
    """
    try:
        return references(json.loads(content))
    except (ValueError, RecursionError):
        return ""


def _take(environ: Environ) -> None:
    """See that nobody else tells of a request."""
    teller = environ.get(TELLER)
    if teller is not None:
        teller.is_told = True


def _user(request: Request) -> str:
    return request.grant.user if isinstance(request, GrantedRequest) else ""


def _blob(request: Request, digest: Digest, size: int | None) -> Target:
    return blob_target(request.repository, str(digest), size or 0, request.front())


@lru_cache(maxsize=1024)  # a few blobs are pulled again and again
def blob_target(repository: str, digest: str, size: int, front: str) -> Target:
    """Return what an event says of a blob.

    :param front: what stands in front of ``/v2/`` in its URL.
    """
    return Target(repository, BLOB, size, digest, url=f"{front}/v2/{repository}/blobs/{digest}")


def _manifest(request: Request, manifest: Target) -> Target:
    name = request.repository
    return manifest._replace(repository=name, url=request.url_to(f"{name}/manifests/{manifest.digest}"))
