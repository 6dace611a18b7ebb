"""``cfmiddleware notifications``: what waits for endpoints, and the dead letters."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cfmiddleware.config import Config
from cfmiddleware.errors import ConfigError
from cfmiddleware.notifications.entries import EventSpool, SpoolError, Waiting

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

# How many events that wait are shown of each endpoint.
_SHOWN = 20

_ACTIONS = ("list", "resend", "drop")


def add_parser(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "notifications",
        help="show events that endpoints have not taken, and send dead letters again",
        description="Show the events in the spool (notifications.spool): those that wait for their endpoint, "
        "and the dead letters, which are sent no more. 'resend' has dead letters sent again, in the place "
        "that they had; 'drop' removes events. It may run while the registry does, which sends them.",
        epilog="Exit status: 0; 1 where an event that is named is not there; 2 for what cannot be used.",
    )
    parser.add_argument("config", metavar="CONFIG", help="the configuration file (config.yml)")
    parser.add_argument("action", nargs="?", choices=_ACTIONS, default="list", help="default: list")
    parser.add_argument(
        "events", metavar="EVENT", nargs="*", type=int, default=[], help="the number of an event"
    )
    parser.add_argument("--endpoint", metavar="NAME", type=_text, help="the events of this endpoint alone")
    parser.add_argument("--dead", action="store_true", help="dead letters alone")
    parser.add_argument("--all", action="store_true", help="every event, instead of some that are named")
    parser.add_argument("--json", action="store_true", help="list: one JSON object a line, with the event")
    parser.set_defaults(run=run)


def _text(argument: str) -> str:
    """Return an argument without bytes that are not text, which no spool can be asked for."""
    return argument.encode("utf-8", "backslashreplace").decode()


def run(arguments: Any) -> int:
    """Show the events, or do with them what is asked for."""
    spool = Config.load(arguments.config).spool()
    if not spool.exists():
        # It is not made here: the registry may run as another user.
        if not arguments.json:
            print(f"no events are kept in {spool.place}")
        return 1 if arguments.events else 0
    try:
        if arguments.action == "list":
            return _list(spool, arguments)
        return _change(spool, arguments)
    except SpoolError as error:
        raise ConfigError(f"{spool.place}: the events cannot be read: {error}") from None


def _chosen(spool: EventSpool, arguments: Any) -> Iterator[Waiting]:
    for event in spool.all(arguments.endpoint):
        if (event.is_dead or not arguments.dead) and (not arguments.events or event.seq in arguments.events):
            yield event


def _list(spool: EventSpool, arguments: Any) -> int:
    shown: Counter[str] = Counter()
    missing = dict.fromkeys(arguments.events)
    for event in _chosen(spool, arguments):
        missing.pop(event.seq, None)
        if arguments.json:
            print(json.dumps({**event._asdict(), "body": json.loads(event.body)}, ensure_ascii=False))
        elif event.is_dead or arguments.all or arguments.events or shown[event.endpoint] < _SHOWN:
            shown[event.endpoint] += not event.is_dead
            print(_line(event))
    status = 1 if missing else 0
    if arguments.json:
        return status
    if missing:
        print(f"not there: {', '.join(map(str, missing))}")
    counts = spool.counts()
    for endpoint in sorted(counts):
        if arguments.endpoint in (None, endpoint):
            waits, dead = counts[endpoint]
            hidden = waits - shown[endpoint] if not (arguments.dead or arguments.events) else 0
            more = f", of which {hidden} are not shown (--all)" if hidden > 0 else ""
            print(f"{endpoint}: {waits} waiting{more}, {dead} dead")
    if not counts:
        print("no events are waiting, and there are no dead letters")
    return status


def _line(event: Waiting) -> str:
    target = json.loads(event.body)["target"]
    what = target.get("tag") or target.get("digest", "")
    since = datetime.fromtimestamp(event.since, UTC)
    state = "dead" if event.is_dead else "waiting"
    tried = f", {event.attempts} attempts: {event.error}" if event.attempts else ""
    return (
        f"{event.seq:>8}  {state:<7}  {event.endpoint}  {since:%Y-%m-%dT%H:%M:%SZ}  "
        f"{event.action} {event.repository} {what}{tried}"
    )


def _change(spool: EventSpool, arguments: Any) -> int:
    is_resend = arguments.action == "resend"
    if not (arguments.events or arguments.all or arguments.endpoint or arguments.dead):
        raise ConfigError(f"notifications {arguments.action}: name events, or an --endpoint, --dead or --all")
    change = spool.resend if is_resend else spool.drop
    done = {event.seq for event in _chosen(spool, arguments) if change(event.seq)}
    print(f"{len(done)} {'sent again' if is_resend else 'removed'}")
    missing = [str(number) for number in arguments.events if number not in done]
    if missing:
        print(f"not {'dead letters' if is_resend else 'there'}: {', '.join(missing)}")
    return 1 if missing else 0
