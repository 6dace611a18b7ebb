"""``cfmiddleware referrers``: lists of referrers for manifests that other registries stored."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from cfmiddleware.config import Config
from cfmiddleware.errors import ConfigError, StorageUnavailable
from cfmiddleware.registry.referrers import Referrers
from cfmiddleware.registry.tags import Tags

from .progress import Progress
from .storagethere import storage_there

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def add_parser(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "referrers",
        help="list manifests that refer to others and were stored by another registry",
        description="Look through the storage for manifests that have a subject (signatures, attestations, "
        "SBOMs) and are in no list of referrers and under no fallback tag (sha256-...), and add them to the "
        "lists. A registry without the referrers API leaves such manifests when clients push to it without "
        "a fallback tag. The command reads every manifest once. It may run while the registry does, and "
        "more than once.",
    )
    parser.add_argument("config", metavar="CONFIG", help="the configuration file (config.yml)")
    parser.add_argument("--dry-run", action="store_true", help="say what would be added, and write nothing")
    parser.set_defaults(run=run)


def run(arguments: Any) -> int:
    """Add what is missing, and print it."""
    driver = storage_there(Config.load(arguments.config))
    driver.check()
    done = "would be added" if arguments.dry_run else "added"
    found = added = 0
    try:
        with Progress() as progress:
            for referrer in Referrers(driver, Tags(driver)).scan(write=not arguments.dry_run, say=progress):
                found += 1
                if referrer.written:
                    added += 1
                    progress.end()
                    print(f"{referrer.repository}: {referrer.digest} refers to {referrer.subject}: {done}")
    except StorageUnavailable as error:
        raise ConfigError(
            f"{arguments.config}: the storage failed after {found} manifests, {added} {done}: {error}; "
            "start the command again"
        ) from None
    print(f"{found} manifest{'' if found == 1 else 's'} with a subject, {added} {done}")
    return 0
