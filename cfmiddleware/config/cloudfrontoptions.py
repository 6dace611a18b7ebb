"""The section ``middleware`` of a configuration; its storage middleware ``cloudfront`` is the wrapper.

``redirect`` is the wrapper without signatures, ``rewrite`` changes the URLs of those before it::

middleware:
  storage:
    - name: cloudfront
      disabled: false
      options:              # see middleware/options.py
        baseurl: https://d111111abcdef8.cloudfront.net
        privatekey: /etc/registry/pk-K2JCJMDEHXQW5F.pem
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cfmiddleware import parse
from cfmiddleware.errors import ConfigError
from cfmiddleware.middleware.options import WrapperOptions
from cfmiddleware.middleware.rewriteoptions import RewriteOptions


@dataclass(frozen=True)
class CloudFrontOptions:
    """What the entries say: the wrapper's, and those that change its URLs.

    :param place: what stands in front of an option's name in a message, with a dot at its end.
    :param options: the wrapper's options. Required ones may be absent: PasteDeploy's section and the options
        of a command can add them.
    :param written: the wrapper's options as they were written.
    :param rewrites: the changes to its own URLs.
    :param rewrites_of_s3: the changes to presigned URLs of S3.
    """

    place: str
    options: WrapperOptions
    written: Mapping[str, Any] = field(default_factory=dict, repr=False)  # the key itself may be in it
    rewrites: tuple[RewriteOptions, ...] = ()
    rewrites_of_s3: tuple[RewriteOptions, ...] = ()


def read_cloudfront(
    section: Mapping[str, Any], here: Path, *, rootdirectory: str, prefix: str
) -> CloudFrontOptions | None:
    """Return what the entries of the section say, or None where there are none. Disabled ones are not read.

    :param here: the directory that relative paths are relative to.
    :param rootdirectory: the directory of the bucket where the entry does not name it.
    :param prefix: the path of the registry where the entry does not name it.
    :raises ConfigError: for another middleware, an unknown option, or a value that cannot work.
    """
    parse.refuse_unknown(section, ("storage",), "middleware.")
    entries = section.get("storage") or []
    if not isinstance(entries, list):
        raise ConfigError("middleware.storage: must be a list of name and options")
    found: CloudFrontOptions | None = None
    rewrites: list[RewriteOptions] = []
    inner = 0  # how many changes come before the wrapper's entry, so that its URLs do not meet them
    defaults = {"rootdirectory": rootdirectory, "prefix": prefix}
    last = ""
    for index, entry in enumerate(entries):
        place = f"middleware.storage[{index}]"
        if not isinstance(entry, dict) or not isinstance(entry.get("options") or {}, dict):
            raise ConfigError(f"{place}: must have a name and options")
        if parse.boolean(entry.get("disabled") or False, f"{place}.disabled"):
            continue
        name, given = entry.get("name"), dict(entry.get("options") or {})
        if name == "rewrite":
            rewrites.append(parse.options(RewriteOptions, given, f"{place}.options"))
            last = place
            continue
        if name not in ("cloudfront", "redirect"):
            raise ConfigError(
                f"{place}.name: {name!r} is unknown; there are 'cloudfront', 'redirect' and 'rewrite'"
            )
        if found is not None:
            raise ConfigError(f"{place}: there can be one cloudfront or redirect only")
        where = f"{place}.options."
        written = dict(given)
        if name == "redirect":
            given = _unsigned(given, where)
        found = CloudFrontOptions(where, _wrapper_options(given, where, here, defaults), written)
        inner = len(rewrites)
    if found is None and rewrites:
        # What Distribution sends every client to is S3.
        where = f"{last}.options."
        options = {"ipfilteredby": "all", "unsigned": True}
        found, inner = CloudFrontOptions(where, _wrapper_options(options, where, here, defaults)), 0
    if found is None:
        return None
    return replace(found, rewrites=tuple(rewrites[inner:]), rewrites_of_s3=tuple(rewrites))


def _unsigned(given: dict[str, Any], where: str) -> dict[str, Any]:
    """Return the options of an entry ``redirect``: the wrapper's, of which nothing is signed."""
    text = str(given.get("baseurl") or "")
    if text and "://" not in text:
        raise ConfigError(f"{where}baseurl: {text!r} has no scheme; write it like https://cdn.example.com")
    for option in ("privatekey", "keypairid", "bindip"):
        if given.get(option):
            raise ConfigError(f"{where}{option}: a redirect is not signed; the entry 'cloudfront' signs")
    return {**given, "unsigned": True}


def _wrapper_options(
    given: dict[str, Any], where: str, here: Path, defaults: Mapping[str, str]
) -> WrapperOptions:
    for name, default in defaults.items():
        if given.get(name) is None:
            given[name] = default
    return WrapperOptions.read(given, where, here)
