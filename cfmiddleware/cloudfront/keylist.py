"""The keys of a configuration, each with its age, whether it signs and whether CloudFront knows it."""

from __future__ import annotations

from dataclasses import dataclass

from .keygroups import CannotAsk, KeyGroup, KeyGroups, same_key
from .wanted import Wanted
from .wantedkeys import WantedKey

_MINUTE, _HOUR, _DAY = 60, 3600, 86400


@dataclass(frozen=True)
class Held:
    """What CloudFront holds.

    :param groups: the key groups that the distribution trusts; None where that is not known.
    :param keys: the PEM of each public key of the account, by its id; None where that is not known.
    :param why: why something is not known; empty where all is.
    """

    groups: tuple[KeyGroup, ...] | None = None
    keys: dict[str, str] | None = None
    why: str = ""

    def state(self, key: WantedKey) -> str:
        """Return whether the key groups hold a key: ``yes``, ``no``, ``?``, or ``other key`` under its id."""
        if self.groups is None or self.keys is None:
            return "?"
        id = key.id or next((id for id, pem in self.keys.items() if same_key(pem, key.public_pem)), None)
        if id is None or not any(id in group.items for group in self.groups):
            return "no"
        return "yes" if same_key(self.keys.get(id, key.public_pem), key.public_pem) else "other key"


def held(wanted: Wanted, groups: KeyGroups) -> Held:
    """Return what CloudFront holds, as far as it says."""
    if not wanted.baseurl:
        return Held(why="baseurl is not set, so the distribution is not known yet")
    try:
        distribution = groups.distribution(wanted.host)
        if distribution is None:
            return Held(why=f"these credentials see no distribution that is named {wanted.host}")
        trusted = tuple(groups.group(id) for id in distribution.groups)
        return Held(trusted, {key.id: key.pem for key in groups.public_keys()})
    except CannotAsk as error:
        return Held(why=f"CloudFront was not asked ({error})")


def listing(wanted: Wanted, found: Held, now: float) -> list[str]:
    """Return the table of the keys, and what is wrong with them, as lines.

    :param now: Unix seconds.
    """
    rows = [("KEY ID", "FILE", "AGE", "KEY GROUP", "")]
    rows += [_row(key, found, now) for key in wanted.keys]
    ours = {key.id for key in wanted.keys}
    for group in found.groups or ():
        rows += [(id, "-", "-", "yes", "is not here") for id in group.items if id not in ours]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = ["  ".join([*map(str.ljust, row[:4], widths), row[4]]).rstrip() for row in rows]
    if found.why:
        lines.append(f"KEY GROUP is not known: {found.why}.")
    return lines + wrong(wanted, found)


def wrong(wanted: Wanted, found: Held) -> list[str]:
    """Return what keeps pulls from working, in a line each."""
    key = wanted.signing
    if key is None:
        return ["No key signs: no file is named pk-<id>.pem."]
    if found.state(key) == "no":
        return [f"{key.id or 'The key'} signs and is not in the key group: CloudFront refuses every URL."]
    if found.state(key) == "other key":
        return [f"{key.id} signs, and CloudFront has another public key under this id: it refuses every URL."]
    return []


def age(seconds: float) -> str:
    """Return a time span for people: ``3 days``."""
    for unit, name in ((_DAY, "day"), (_HOUR, "hour"), (_MINUTE, "minute")):
        if seconds >= unit:
            count = int(seconds // unit)
            return f"{count} {name}{'' if count == 1 else 's'}"
    return "under a minute"


def _row(key: WantedKey, found: Held, now: float) -> tuple[str, str, str, str, str]:
    note = "signs" if key.signs else "older"
    if key.id is None:
        note = "signs" if key.signs else "waits for 'keys rotate'"
    return (
        key.id or "-",
        key.file.name if key.file else "-",
        age(max(0.0, now - key.modified)) if key.modified is not None else "-",
        found.state(key),
        note,
    )
