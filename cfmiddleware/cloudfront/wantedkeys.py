"""The keys that a configuration signs with, or will sign with, each with the half that CloudFront must know.

A key that CloudFront does not know yet has no id: its file's name says none, and the wrapper does not find it
in a directory. ``keygen`` and ``keys rotate`` leave such files, each with its public half beside it::

    keys/pk-K2JCJMDEHXQW5F.pem      signs
    keys/pk-K2JCJMDEHXQW5F.pub.pem
    keys/next.pem                   will sign, once CloudFront knows it
    keys/next.pub.pem
"""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import dataclass, replace
from pathlib import Path

from cfmiddleware.errors import ConfigError, cannot_be_read, shown_path
from cfmiddleware.middleware.options import WrapperOptions
from cfmiddleware.signing.keyfiles import Directory, SingleFile, id_of
from cfmiddleware.signing.keys import PublicKey, SigningKey, load_private_key, load_public_key

_PUBLIC = ".pub.pem"

#: The file of a key that ``keys rotate`` has made and that does not sign yet. Its name says no id, so the
#: wrapper does not find it in a directory.
NEXT = "next.pem"


class _NotPrivate(ConfigError):
    """A file cannot be signed with."""


@dataclass(frozen=True)
class WantedKey:
    """A key that signs, has signed or will sign.

    :param id: CloudFront's id of the public half; None where nothing here says it yet.
    :param public_pem: the public half as CloudFront takes it.
    :param fingerprint: the hex form of the SHA-256 of the DER SubjectPublicKeyInfo.
    :param file: the private half's file; None for PEM text in the configuration.
    :param modified: the time of the file's last change, in Unix seconds; None without a file.
    :param signs: whether the wrapper signs with it now.
    """

    id: str | None
    public_pem: str
    fingerprint: str
    file: Path | None = None
    modified: float | None = None
    signs: bool = False


def wanted_keys(options: WrapperOptions) -> tuple[WantedKey, ...]:
    """Return the keys that the options name: the one that signs, older ones, then those without an id.

    Of each key the public half beside it is read (``NAME.pub.pem`` beside ``NAME.pem``) as well as the
    private one, of which either will do: a user that may not read private keys can ask, too.

    :raises ConfigError: for a file that cannot be read or holds no key, and for halves of two keys.
    """
    if options.unsigned or not options.privatekey:
        return ()
    if "-----BEGIN" in options.privatekey:
        key = load_private_key(options.privatekey, "privatekey")
        return (WantedKey(options.keypairid, key.public_pem, key.fingerprint, signs=True),)
    path = Path(options.privatekey)
    try:
        is_directory = stat.S_ISDIR(path.stat().st_mode)
    except (OSError, ValueError) as error:
        raise ConfigError(f"privatekey: {shown_path(options.privatekey)}: {cannot_be_read(error)}") from None
    return _in_directory(path) if is_directory else _in_file(path, options.keypairid)


def public_file(private: Path) -> Path:
    """Return where the public half of a key lies: ``NAME.pub.pem`` beside ``NAME.pem``."""
    return private.with_name(private.name.removesuffix(".pem") + _PUBLIC)


def _in_directory(path: Path) -> tuple[WantedKey, ...]:
    """Return the keys of a directory, the newest first, then those that wait for an id."""
    keys, refused = _named(path)
    if keys:
        keys[0] = replace(keys[0], signs=True)
    found = _once([*keys, *_waiting(path)])
    if found:
        return found
    if refused is not None:
        raise refused
    raise ConfigError(
        f"privatekey: no key is in {path}; make one with: cfmiddleware keygen --out {path / 'cloudfront'}"
    )


def _in_file(path: Path, id: str | None) -> tuple[WantedKey, ...]:
    """Return the key in a file, and those beside it that have signed or will."""
    target = Path(os.path.realpath(path))
    with contextlib.suppress(ConfigError):  # its name says no id, as is right before CloudFront has given one
        id = SingleFile(str(path), id).files()[0].id
    keys = [replace(_read(target, id), signs=True)]
    if path.is_symlink():
        # Those that the link led to before are beside the one that it leads to now.
        keys += [key for key in _named(target.parent)[0] if key.file != target]
    if (target.parent / NEXT).exists():
        keys.append(_read(target.parent / NEXT, None))
    return _once(keys)


def _named(path: Path) -> tuple[list[WantedKey], ConfigError | None]:
    """Return the keys of a directory whose files' names say an id, the newest first, and what was wrong with
    the first other one.
    """
    keys: list[WantedKey] = []
    refused: ConfigError | None = None
    try:
        files = Directory(str(path)).files()
    except ConfigError:  # there is none, or none yet
        return keys, refused
    for file in files:
        try:
            keys.append(_read(Path(file.path), file.id))
        except _NotPrivate as error:
            # The wrapper passes such a file over, too.
            refused = refused or error
    return keys, refused


def _waiting(path: Path) -> list[WantedKey]:
    """Return the keys of a directory without an id. Both halves are there, as ``keygen`` leaves them."""
    private = [
        public.with_name(public.name.removesuffix(_PUBLIC) + ".pem") for public in path.glob("*" + _PUBLIC)
    ]
    return [_read(file, None) for file in sorted(private) if file.exists() and id_of(file.name) is None]


def _read(file: Path, id: str | None) -> WantedKey:
    """Return the key of a file.

    :raises ConfigError: if neither half can be read, and for halves of two keys.
    """
    public: PublicKey | None = None
    private: SigningKey | None = None
    beside = public_file(file)
    if beside.exists():
        public = load_public_key(_text(beside), f"privatekey: {beside}")
    if public is None or os.access(file, os.R_OK):
        try:
            private = load_private_key(_text(file), f"privatekey: {file}")
        except ConfigError as error:
            raise _NotPrivate(str(error)) from None
    if public is not None and private is not None and public.fingerprint != private.fingerprint:
        raise ConfigError(f"privatekey: {file} and {beside} are halves of two different keys")
    half = private or public
    assert half is not None  # noqa: S101 (one of the two was read)
    return WantedKey(id, half.public_pem, half.fingerprint, file, file.stat().st_mtime)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise ConfigError(f"privatekey: {file}: {cannot_be_read(error)}") from None


def _once(keys: list[WantedKey]) -> tuple[WantedKey, ...]:
    """Return the keys without a second copy of any: ``keygen``'s files stay beside those named by id."""
    found: dict[str, WantedKey] = {}
    for key in keys:
        found.setdefault(key.fingerprint, key)
    return tuple(found.values())
