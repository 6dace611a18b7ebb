"""``cfmiddleware check``: whether CloudFront, the bucket and the registry are what they must be together.

1. from here, without any permission of AWS, as clients do (``viewerside``);
2. with permission to read, what CloudFront, S3 and KMS are told (``controlside``);
3. the registry's own side (``registryside``).

Nothing is changed but one small object below the registry's root, which is removed in the end.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from itertools import islice

from cfmiddleware.config import Config
from cfmiddleware.digest import Digest
from cfmiddleware.errors import ConfigError, ObjectNotFound, StorageError
from cfmiddleware.middleware.wrapper import key_ring
from cfmiddleware.signing.keys import KeyPair
from cfmiddleware.signing.originpath import path_below
from cfmiddleware.storage.s3 import S3Driver
from cfmiddleware.storage.s3.servertime import server_time

from .asking import Asker, NotAnswered
from .awsreading import AWS, Clients, shell_clients
from .blobsthere import Pulled, blobs_there
from .controlside import ControlSide
from .findings import Finding, Mark, cross, question, tick
from .registryside import MEND_STORAGE, RunningRegistry, storage_findings
from .sample import Sample, blob_sample, own_sample
from .viewerside import ViewerSide, clock_finding
from .wanted import Wanted, wanted

#: What the steps are called.
STEPS = {
    1: "From here, as a client, without permissions of AWS",
    2: "What AWS is told, with permission to read it",
    3: "The registry's own side",
}

# How many blobs that are there are asked for beside the check's own object.
_BLOBS = 3


@dataclass(frozen=True)
class Request:
    """What is to be checked.

    :param config: the configuration.
    :param url: the URL of the registry that runs; empty to leave its redirects out.
    :param login: a user's name and password for it, with a colon between them.
    :param digest: a blob that is there, to be asked for instead of an object of the check's own.
    :param repository: the repository of that blob.
    :param asker: what asks.
    :param clock: this machine's clock, in Unix seconds.
    :param clients: what makes boto3's clients; those of this shell by default.
    """

    config: Config
    url: str = ""
    login: str = field(default="", repr=False)
    digest: Digest | None = None
    repository: str = ""
    asker: Asker = field(default_factory=Asker)
    clock: Callable[[], float] = time.time
    clients: Clients | None = None


def check(request: Request) -> Generator[tuple[int, Finding], None, None]:
    """Yield each step's number and what is found in it.

    The caller closes the iterator, also when it does not go on to the end: the small object is removed then.

    :raises ConfigError: where the configuration has nothing that could be checked.
    """
    want = wanted(request.config)
    if not want.baseurl:
        raise ConfigError(
            f"{want.source}: {want.place}baseurl: this option is required; it is the domain name of the "
            "distribution (see 'cfmiddleware template')"
        )
    pair = _signing_pair(request.config, want)
    works = False
    for finding in _first(request, want, pair):
        works = works or (finding.name, finding.mark) == ("signed", Mark.TICK)
        yield 1, finding
    aws = AWS(request.clients or shell_clients(want), want.region)
    if want.bucket:
        for finding in ControlSide(want, aws, request.asker, works=works).findings():
            yield 2, finding
    for finding in _third(request, want):
        yield 3, finding


def _signing_pair(config: Config, want: Wanted) -> KeyPair | None:
    """Return the key that signs, and its id; None where nothing is signed."""
    if want.unsigned:
        return None
    entry = config.settings.cloudfront
    with config.located(want.place):
        if not want.privatekey:
            raise ConfigError("privatekey: this option is required")
        if want.signing is None and want.keys:
            raise ConfigError(
                f"privatekey: no key signs yet; name {want.keys[0].file} pk-<id>.pem, with the id that "
                "CloudFront gave its public half (the output KeyId); 'cfmiddleware keys rotate' does it"
            )
        return key_ring(want.privatekey, entry.options.keypairid if entry else None).current()


def _first(request: Request, want: Wanted, pair: KeyPair | None) -> Iterator[Finding]:
    if not want.storage.shared:
        yield question(
            "object",
            f"storage.{want.storage.name} is another one in each process, so that nothing can be put into it "
            "from here",
            "give --url, and push an image first",
        )
        return
    if request.digest is not None:
        yield from _with_blob(request, want, pair, request.digest)
    else:
        yield from _with_own(request, want, pair)


def _with_blob(request: Request, want: Wanted, pair: KeyPair | None, digest: Digest) -> Iterator[Finding]:
    try:
        sample = blob_sample(request.config, want, digest, request.repository)
    except ObjectNotFound:
        raise ConfigError(f"--digest: {digest} is not in the storage") from None
    except StorageError as error:
        yield cross("object", f"the blob cannot be read: {error}", MEND_STORAGE)
        return
    yield tick("object", f"the blob is there: {sample.key}")
    yield from _s3_clock(request, want)
    yield from _viewer(request, want, pair, sample, present=True).findings()


def _with_own(request: Request, want: Wanted, pair: KeyPair | None) -> Iterator[Finding]:
    if request.config.is_readonly():
        yield from _without_writing(request, want, pair)
        return
    sample = own_sample(request.config, want)
    present = False
    try:
        try:
            # Quick to say what is wrong, where a write would try again for minutes.
            want.storage.check()
            want.storage.write(sample.path, sample.start)
            present = True
        except (ConfigError, StorageError, OSError) as error:
            yield cross("object", f"a small object cannot be written: {error}", MEND_STORAGE)
        else:
            yield tick("object", f"a small object is there: {sample.key}")
        yield from _s3_clock(request, want)
        viewer = _viewer(request, want, pair, sample, present=present)
        yield from viewer.findings()
        if viewer.works:
            yield from _blobs(request.config, want, viewer)
    finally:
        removed = _removed(want, sample)
    if present:
        yield removed


def _without_writing(request: Request, want: Wanted, pair: KeyPair | None) -> Iterator[Finding]:
    pulled = None
    with contextlib.suppress(StorageError):
        if _has_blobs_of_ours(request.config):
            pulled = next(blobs_there(want.storage), None)
    if pulled is not None:
        yield from _with_blob(request, want, pair, pulled.digest)
        return
    yield question(
        "object",
        "storage.maintenance.readonly: nothing is written",
        "give --digest with a blob that is there",
    )
    sample = own_sample(request.config, want)
    yield from _viewer(request, want, pair, sample, present=False).findings()


def _has_blobs_of_ours(config: Config) -> bool:
    """Return whether the layout is ours, so that it is known which blobs there are."""
    entry = config.settings.cloudfront
    return entry is None or entry.options.layout == "distribution"


def _blobs(config: Config, want: Wanted, viewer: ViewerSide) -> Iterator[Finding]:
    """Yield whether blobs that are there are served as well: an error may be cached for them, or another
    account may have written them.
    """
    if not _has_blobs_of_ours(config):
        return
    right = 0
    try:
        for pulled in islice(blobs_there(want.storage), _BLOBS):
            try:
                sample = blob_sample(config, want, pulled.digest)
            except ObjectNotFound:  # deleted in between
                continue
            if path_below(sample.key, want.originpath) is None:
                return
            wrong = viewer.of_blob(sample)
            if wrong is not None:
                yield wrong
                return
            right += 1
    except (StorageError, NotAnswered) as error:
        yield question("blobs", f"it is not known whether blobs that are there are served: {error}")
        return
    if right:
        yield tick("blobs", f"blobs that are there are served as well ({right} of them asked for)")


def _s3_clock(request: Request, want: Wanted) -> Iterator[Finding]:
    if isinstance(want.storage, S3Driver):
        date = server_time(want.storage.options)
        if date is None:
            yield question("s3-clock", "S3 did not say what time it is")
        else:
            yield clock_finding("s3-clock", "S3", date - request.clock(), want.duration)


def _removed(want: Wanted, sample: Sample) -> Finding:
    try:
        want.storage.delete([sample.path])
    except (StorageError, OSError) as error:
        place = f"s3://{want.bucket}/{sample.key}" if want.bucket else sample.key
        return cross(
            "removed", f"the small object cannot be removed: {error}", f"remove it: aws s3 rm {place}"
        )
    return tick("removed", "the small object is removed")


def _viewer(
    request: Request, want: Wanted, pair: KeyPair | None, sample: Sample, *, present: bool
) -> ViewerSide:
    return ViewerSide(want, pair, sample, request.asker, present=present, clock=request.clock)


def _third(request: Request, want: Wanted) -> Iterator[Finding]:
    config = request.config
    if want.storage.shared:
        writes = not config.is_readonly() and request.digest is None
        yield from storage_findings(want.storage, writes=writes)
    if not request.url:
        return
    pulled = None
    if request.digest is not None and request.repository:
        pulled = Pulled(request.repository, request.digest)
    running = RunningRegistry(
        want,
        request.url,
        request.asker,
        prefix=config.settings.http.prefix,
        login=request.login,
        pulled=pulled,
        clock=request.clock,
    )
    try:
        yield from running.findings()
    except StorageError as error:
        yield cross("redirect", f"the storage does not say which blobs it has: {error}", MEND_STORAGE)
