"""The section ``middleware`` of a configuration; its storage middleware ``cloudfront`` is the wrapper::

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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cfmiddleware import parse
from cfmiddleware.errors import ConfigError
from cfmiddleware.middleware.options import WrapperOptions


@dataclass(frozen=True)
class CloudFrontOptions:
    """The entry of the wrapper.

    :param place: what stands in front of an option's name in a message, with a dot at its end.
    :param options: the wrapper's options. Required ones may be absent: PasteDeploy's section and the options
        of a command can add them.
    """

    place: str
    options: WrapperOptions


def read_cloudfront(
    section: Mapping[str, Any], here: Path, *, rootdirectory: str, prefix: str
) -> CloudFrontOptions | None:
    """Return the entry ``cloudfront`` of the section, or None. Disabled entries are not read.

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
    for index, entry in enumerate(entries):
        place = f"middleware.storage[{index}]"
        if not isinstance(entry, dict) or not isinstance(entry.get("options") or {}, dict):
            raise ConfigError(f"{place}: must have a name and options")
        if parse.boolean(entry.get("disabled") or False, f"{place}.disabled"):
            continue
        if entry.get("name") != "cloudfront":
            raise ConfigError(f"{place}.name: {entry.get('name')!r} is unknown; there is 'cloudfront'")
        if found is not None:
            raise ConfigError(f"{place}: there can be one cloudfront only")
        given = dict(entry.get("options") or {})
        for name, default in (("rootdirectory", rootdirectory), ("prefix", prefix)):
            if given.get(name) is None:
                given[name] = default
        where = f"{place}.options."
        found = CloudFrontOptions(where, WrapperOptions.read(given, where, here))
    return found
