"""A new key takes the place of the one that signs, with no pull refused on the way.

CloudFront refuses what is signed with a key that it does not know, so the order matters. The new key lies
beside the others, under a name that the wrapper does not look for. CloudFront gets its public half. Only when
a URL that is signed with it was answered with 200 does the file get the name by which the wrapper finds it.

Every step leaves its trace in the files or in CloudFront, and a run looks for these first: it goes on where
the last one stopped.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cfmiddleware.errors import ConfigError, StorageError
from cfmiddleware.signing.keyfiles import write_private
from cfmiddleware.signing.keys import KeyPair, generate, load_private_key
from cfmiddleware.signing.originpath import encode_key, path_below
from cfmiddleware.signing.url import sign

from .answercodes import refusal_in
from .asking import Asker, NotAnswered
from .keygroups import CannotAsk, Distribution, KeyGroups, same_key
from .keylist import age
from .sample import Sample
from .template import MOST_KEYS, key_name, key_resource, logical_id, output_name
from .wanted import Wanted
from .wantedkeys import NEXT, WantedKey, public_file

# How long a URL of a proof lives, in seconds.
_LIFETIME = 300

# Within this many seconds a wrapper looks at its key files, with some to spare.
_LOOK = 5


@dataclass(frozen=True)
class Pace:
    """How a new key is waited for.

    :param interval: seconds between two looks.
    :param longest: seconds in all.
    :param times: how many answers of 200, one after the other, are a proof.
    """

    interval: float = 5
    longest: float = 30 * 60
    times: int = 3


@dataclass(frozen=True)
class Tools:
    """What a rotation works with.

    :param groups: CloudFront's API.
    :param asker: asks CloudFront for an object.
    :param sample: the object to ask for.
    :param say: takes the lines for the operator.
    :param waits: is told how far a wait is, again and again.
    :param clock: Unix seconds.
    :param sleep: waits some seconds.
    """

    groups: KeyGroups
    asker: Asker
    sample: Sample
    say: Callable[[str], None] = print
    waits: Callable[[str], object] = lambda _: None
    clock: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True)
class Choices:
    """What an operator chooses.

    :param by_template: whether the key group belongs to a template, so that only that changes it.
    :param id: the new key's id, where CloudFront cannot be asked for it.
    :param pace: how the new key is waited for.
    """

    by_template: bool = False
    id: str | None = None
    pace: Pace = field(default_factory=Pace)


class _NotYet(Exception):
    """Somebody has to do something first; it was said what."""


class Rotation:
    """One rotation, from wherever the last run stopped.

    :param wanted: the configuration.
    :raises ConfigError: where the wrapper could not be given a new key.
    """

    def __init__(self, wanted: Wanted, tools: Tools, choices: Choices) -> None:
        self._wanted = wanted
        self._tools = tools
        self._choices = choices
        self._directory, self._link = _place(wanted)
        if not wanted.baseurl:
            raise ConfigError(
                f"{wanted.source}: {wanted.place}baseurl: is missing; a new key is proved by a URL of the "
                "distribution"
            )

    def run(self) -> bool:
        """Rotate, and return whether the new key signs now. What is left to do otherwise was said.

        :raises ConfigError: for what the operator has to mend.
        """
        try:
            key = self._waiting()
            if key is None:
                if self._is_just_done():
                    return True
                key = self._made()
            id = self._known_to_cloudfront(key)
            self._proved(key, id)
            self._put(key, id)
        except _NotYet:
            return False
        self._say_what_is_left(id)
        return True

    # The key

    def _waiting(self) -> WantedKey | None:
        """Return the key that a run before this one, or ``keygen``, has left for this one."""
        next = self._directory / NEXT
        if next.exists():
            private = load_private_key(_text(next), str(next))
            if not public_file(next).exists():  # the last run was stopped between the two
                self._write_public(next, private.public_pem)
            self._tools.say(f"The new key is {next}, which the last run has made.")
            return WantedKey(None, private.public_pem, private.fingerprint, next)
        waiting = [key for key in self._wanted.keys if key.id is None and not key.signs and key.file]
        if not waiting:
            return None
        self._tools.say(f"The new key is {waiting[0].file}, which is there.")
        return waiting[0]

    def _made(self) -> WantedKey:
        """Make a pair of the same kind as the key that signs."""
        if len(self._wanted.keys) >= MOST_KEYS:
            raise ConfigError(
                f"{self._wanted.source}: {self._wanted.place}privatekey: there are {len(self._wanted.keys)} "
                f"keys, and a key group takes {MOST_KEYS}; remove the oldest from CloudFront, and its files"
            )
        file = self._directory / NEXT
        with contextlib.suppress(FileNotFoundError):  # of a pair whose private half is gone
            public_file(file).unlink()
        pair = generate(self._kind())
        write_private(file, pair.private_pem)
        self._match_owner(file)
        self._write_public(file, pair.public_pem)
        self._tools.say(f"The new key is {file}. It does not sign yet.")
        return WantedKey(None, pair.public_pem, pair.key.fingerprint, file)

    def _write_public(self, file: Path, pem: str) -> None:
        write_private(public_file(file), pem, 0o644)
        self._match_owner(public_file(file), mode=False)

    def _kind(self) -> str:
        signing = self._wanted.signing
        if signing is None:
            return "rsa"
        # An RSA key of 2048 bits takes far more text than a point of a curve.
        return "rsa" if len(signing.public_pem) > 300 else "ecdsa"

    def _match_owner(self, file: Path, *, mode: bool = True) -> None:
        """Give a file to the user that reads the key which signs now: the registry may be another one."""
        signing = self._wanted.signing
        if signing is None or signing.file is None:
            return
        there = signing.file.stat()
        try:
            os.chown(file, there.st_uid, there.st_gid)
            if mode:
                os.chmod(file, there.st_mode & 0o640)
        except OSError:
            self._tools.say(f"{file} could not be given to the owner of {signing.file}: do that yourself.")

    # CloudFront

    def _known_to_cloudfront(self, key: WantedKey) -> str:
        """Return the key's id, once the key groups hold the key as far as CloudFront says.

        :raises _NotYet: where the operator has to deploy a template first.
        """
        groups, say = self._tools.groups, self._tools.say
        try:
            known = groups.public_keys()
            distribution = groups.distribution(self._wanted.host)
        except CannotAsk as error:
            return self._given_id(key, f"CloudFront was not asked ({error})")
        if distribution is None:
            return self._given_id(
                key, f"these credentials see no distribution that is named {self._wanted.host}"
            )
        id = next((one.id for one in known if same_key(one.pem, key.public_pem)), None)
        if self._choices.id not in (None, id):
            raise ConfigError(f"--id: {self._choices.id} is not the id of {key.file} in CloudFront: {id} is")
        signing = self._wanted.signing
        name = next((one.name for one in known if signing is not None and one.id == signing.id), "")
        by_template = self._choices.by_template or (signing is not None and name.endswith(key_name(signing)))
        if id is None and by_template:
            raise self._needs_template(key, "The key group belongs to a template")
        try:
            if id is None:
                id = groups.create(f"cfmiddleware-{key.fingerprint[:16]}", key.public_pem)
                say(f"CloudFront has the public key, as {id}.")
            self._in_groups(key, id, distribution, by_template)
        except CannotAsk as error:
            raise self._needs_template(key, f"CloudFront refuses the change ({error})") from None
        return id

    def _in_groups(self, key: WantedKey, id: str, distribution: Distribution, by_template: bool) -> None:
        signing = self._wanted.signing
        trusted = [self._tools.groups.group(one) for one in distribution.groups]
        # Where the key that signs is trusted, and nowhere else, the new one has to be.
        chosen = [group for group in trusted if signing is not None and signing.id in group.items]
        if not chosen and len(trusted) == 1:
            chosen = trusted
        if not chosen:
            raise ConfigError(
                f"{self._wanted.source}: {self._wanted.place}privatekey: no key group that the distribution "
                f"{distribution.id} trusts holds the key that signs; run 'cfmiddleware check'"
            )
        for group in chosen:
            if id in group.items:
                continue
            if by_template:
                raise self._needs_template(key, f"The key group {group.name} does not hold {id} yet")
            self._tools.groups.add(group.id, id)
            self._tools.say(f"The key group {group.name} holds {id} beside {', '.join(group.items)}.")

    def _given_id(self, key: WantedKey, why: str) -> str:
        if self._choices.id is None:
            raise self._needs_template(key, why)
        return self._choices.id

    def _needs_template(self, key: WantedKey, why: str) -> _NotYet:
        """Say what the template has in addition now, and return what ends the run."""
        source, keys = self._wanted.source, self._wanted.keys
        is_first = bool(keys) and keys[0].fingerprint == key.fingerprint
        self._tools.say(
            f"{why}. Print the template again, with the choices of the last time, and deploy it:\n"
            f"  cfmiddleware template {source} > cloudfront.yml\n"
            "It has the new key, and in the key group this line more:\n"
            f"{key_resource(key)}"
            f"          - !Ref {logical_id(key)}\n"
            "Then go on with:\n"
            f"  cfmiddleware keys rotate {source}\n"
            f"and, where CloudFront cannot be asked, --id with the stack's output "
            f"{'KeyId' if is_first else output_name(key)}.\n"
            "Until then the new key does not sign."
        )
        return _NotYet()

    # The proof

    def _proved(self, key: WantedKey, id: str) -> None:
        """Return when the change is deployed and CloudFront takes the key's signatures.

        :raises _NotYet: where it does not in time.
        """
        assert key.file is not None  # noqa: S101 (it waits in a file)
        pair = KeyPair(id, load_private_key(_text(key.file), str(key.file)))
        pace, said, good = self._choices.pace, "", 0
        began = self._tools.clock()
        deadline = began + pace.longest
        with self._stored():
            while True:
                answer = "" if not self._deployed() else self._answer(pair)
                good = good + 1 if answer is None else 0
                if good >= pace.times:
                    self._see_that_it_refuses(pair)
                    self._tools.say(f"CloudFront takes what {id} signs.")
                    return
                said = answer or said
                if self._tools.clock() >= deadline:
                    break
                passed = self._tools.clock() - began
                self._tools.waits(
                    f"waiting for CloudFront: {passed:.0f} s of {pace.longest:.0f} s at the most"
                )
                self._tools.sleep(pace.interval)
        self._tools.say(
            f"CloudFront does not take what {id} signs after {age(pace.longest)}: "
            f"{said or 'the distribution is not deployed'}.\n"
            "The key that signed before goes on signing. 'cfmiddleware check' looks for what is wrong; then "
            "run this again."
        )
        raise _NotYet

    def _deployed(self) -> bool:
        try:
            distribution = self._tools.groups.distribution(self._wanted.host)
        except CannotAsk:
            return True  # the proof itself has to do
        return distribution is None or distribution.deployed

    def _see_that_it_refuses(self, pair: KeyPair) -> None:
        """See that the answers were a proof: a distribution that restricts nothing takes any signature.

        :raises ConfigError: where it serves a URL that is not signed.
        """
        if self._answer(None) is None:
            raise ConfigError(
                f"{self._wanted.host} serves the object without a signature too: everybody reads it, and "
                f"nothing shows that it knows {pair.id}, which does not sign; run 'cfmiddleware check'"
            )

    def _answer(self, pair: KeyPair | None) -> str | None:
        """Return what CloudFront says to a URL signed with a key; None where it serves the bytes.

        :param pair: the key; None for a URL that is not signed.
        """
        sample = self._tools.sample
        path = path_below(sample.key, self._wanted.originpath)
        url = f"{self._wanted.baseurl}{encode_key(path or '/')}"
        if pair is not None:
            url = sign(url, int(self._tools.clock()) + _LIFETIME, pair, self._wanted.hash)
        try:
            answer = self._tools.asker.ask(url)
        except NotAnswered as error:
            return str(error)
        if answer.status == 200 and answer.body.startswith(sample.start):
            return None
        return str(refusal_in(answer))

    @contextlib.contextmanager
    def _stored(self) -> Iterator[None]:
        """Keep the object that is asked for in the storage, if it is the command's own."""
        sample, storage = self._tools.sample, self._wanted.storage
        if not sample.own:
            yield
            return
        try:
            storage.write(sample.path, sample.start)
        except StorageError as error:
            raise ConfigError(
                f"{self._wanted.source}: the object for the proof cannot be written: {error}; name a blob "
                "that is there with --digest"
            ) from None
        try:
            yield
        finally:
            with contextlib.suppress(StorageError):
                storage.delete([sample.path])

    # The new place

    def _put(self, key: WantedKey, id: str) -> None:
        """Give the key the name by which the wrapper finds it. The last step is one change, whole or not."""
        assert key.file is not None  # noqa: S101 (it waits in a file)
        file = self._directory / f"pk-{id}.pem"
        try:
            if file.exists() and load_private_key(_text(file), str(file)).fingerprint != key.fingerprint:
                raise ConfigError(f"{file}: there is a file already, of another key; move it away")
            # The newest signs, and a clock may have been ahead when the last one was made.
            newest = max((one.modified or 0 for one in self._wanted.keys if one.id), default=0.0)
            signs_from = max(self._tools.clock(), newest + 1)
            os.utime(key.file, (signs_from, signs_from))
            if public_file(key.file).exists():
                public_file(key.file).replace(public_file(file))
            if self._link is None:
                key.file.replace(file)
            else:
                # The old name stays until the link leads to the new one, for a run that goes on from here.
                if not file.exists():
                    os.link(key.file, file)
                _switch(self._link, file)
                key.file.unlink()
        except OSError as error:
            raise ConfigError(f"{file}: cannot be put in its place: {error.strerror}") from None
        self._tools.say(f"{file} is in its place: {id} signs within a second, without a restart.")

    def _is_just_done(self) -> bool:
        """Return whether the last run ended a moment ago. Then it is said again what is left to do."""
        signing = self._wanted.signing
        if signing is None or signing.id is None or signing.modified is None:
            return False
        since = self._tools.clock() - signing.modified
        if since >= self._wanted.duration or len(self._wanted.keys) < 2:
            return False
        self._tools.say(f"{signing.id} was put in its place {age(max(0, since))} ago; no other key waits.")
        self._say_what_is_left(signing.id, since)
        return True

    def _say_what_is_left(self, id: str, since: float = 0) -> None:
        olds = [key for key in self._wanted.keys if key.id not in (None, id)]
        if not olds:
            return
        at = self._tools.clock() - since + self._wanted.duration + _LOOK
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
        names = ", ".join(key.id for key in olds if key.id)
        files = " ".join(f"{key.file} {public_file(key.file)}" for key in olds if key.file)
        self._tools.say(
            f"What {names} signed is good until {when} ({self._wanted.duration} s after the change).\n"
            "After that, and not before, remove the old from the key group (with a template: remove the "
            "files, print and deploy it), and:\n"
            f"  rm -f {files}\n"
            "Registries on other machines that do not share these files need the new one first."
        )


def _place(wanted: Wanted) -> tuple[Path, Path | None]:
    """Return the directory of the keys, and the link that leads to the one that signs, if there is one.

    :raises ConfigError: where key and id cannot change in one step.
    """
    where = f"{wanted.source}: {wanted.place}"
    if wanted.unsigned or not wanted.privatekey:
        raise ConfigError(f"{where}privatekey: is missing, so there is nothing to rotate")
    if "-----BEGIN" not in wanted.privatekey:
        path = Path(wanted.privatekey)
        if path.is_dir():
            return path, None
        if path.is_symlink() and not wanted.written.get("keypairid"):
            return Path(os.path.realpath(path)).parent, path
    raise ConfigError(
        f"{where}privatekey: key and id must change in one step; make it a directory of files named "
        "pk-<id>.pem, or a link to such a file, leave keypairid out, and start the registry again once"
    )


def _switch(link: Path, target: Path) -> None:
    """Let a link lead to another file, in one step."""
    beside = link.with_name(f".{link.name}.{os.getpid()}")
    beside.symlink_to(os.path.relpath(target, link.parent) if not _is_absolute(link) else target)
    os.replace(beside, link)


def _is_absolute(link: Path) -> bool:
    return os.path.isabs(os.readlink(link))


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from None
