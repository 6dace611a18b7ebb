"""Key groups and public keys as CloudFront's own API has them.

The credentials are those of the command's user (the environment, shared files, the instance), and not those
of the configuration: a registry has no business in CloudFront.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

#: How often a key group is changed anew where somebody else changed it in between.
_ATTEMPTS = 3


class CannotAsk(Exception):
    """CloudFront does not do what it was asked: for want of a permission, credentials or a connection."""


class KeyGroup(NamedTuple):
    """A key group.

    :param items: the ids of its public keys.
    """

    id: str
    name: str
    items: tuple[str, ...]


class Distribution(NamedTuple):
    """A distribution.

    :param deployed: whether its last change has reached all of CloudFront.
    :param groups: the ids of the key groups that its behaviors trust.
    """

    id: str
    deployed: bool
    groups: tuple[str, ...]


class CloudFrontKey(NamedTuple):
    """A public key in CloudFront."""

    id: str
    name: str
    pem: str


class KeyGroups:
    """What CloudFront says of distributions, key groups and public keys. Nothing is remembered.

    :param client: boto3's client for CloudFront.
    """

    def __init__(self, client: Any) -> None:
        self._client = client

    @classmethod
    def connected(cls, region: str) -> KeyGroups:
        """Return what asks CloudFront, with nothing sent yet.

        :param region: the bucket's, which says in which partition CloudFront is.
        :raises CannotAsk: where boto3 cannot be set up.
        """
        import boto3

        with _asked("to set up boto3"):
            there = "cn-northwest-1" if region.startswith("cn-") else "us-east-1"
            return cls(boto3.session.Session().client("cloudfront", region_name=there))

    def distribution(self, host: str) -> Distribution | None:
        """Return the distribution of a host, which is its own name or an alias; None where there is none.

        :raises CannotAsk: where CloudFront does not say.
        """
        for item in self._pages("list_distributions", "DistributionList"):
            names = [item["DomainName"], *item.get("Aliases", {}).get("Items", ())]
            if any(is_name_of(name.lower(), host) for name in names):
                return self._distribution(item["Id"])
        return None

    def _distribution(self, id: str) -> Distribution:
        with _asked("cloudfront:GetDistribution"):
            found = self._client.get_distribution(Id=id)["Distribution"]
        config = found["DistributionConfig"]
        groups: dict[str, None] = {}
        for behavior in (config["DefaultCacheBehavior"], *config.get("CacheBehaviors", {}).get("Items", ())):
            groups.update(dict.fromkeys(behavior.get("TrustedKeyGroups", {}).get("Items", ())))
        return Distribution(id, found["Status"] == "Deployed", tuple(groups))

    def group(self, id: str) -> KeyGroup:
        """Return a key group.

        :raises CannotAsk: where CloudFront does not say.
        """
        return self._group(id)[0]

    def _group(self, id: str) -> tuple[KeyGroup, str]:
        with _asked("cloudfront:GetKeyGroup"):
            answer = self._client.get_key_group(Id=id)
        config = answer["KeyGroup"]["KeyGroupConfig"]
        return KeyGroup(id, config["Name"], tuple(config["Items"])), answer["ETag"]

    def public_keys(self) -> list[CloudFrontKey]:
        """Return all public keys of the account.

        :raises CannotAsk: where CloudFront does not say.
        """
        return [
            CloudFrontKey(item["Id"], item["Name"], item["EncodedKey"])
            for item in self._pages("list_public_keys", "PublicKeyList")
        ]

    def create(self, name: str, pem: str) -> str:
        """Make a public key and return its id.

        :raises CannotAsk: where CloudFront does not make it.
        """
        config = {"Name": name, "CallerReference": name, "EncodedKey": pem, "Comment": "by cfmiddleware keys"}
        with _asked("cloudfront:CreatePublicKey"):
            id: str = self._client.create_public_key(PublicKeyConfig=config)["PublicKey"]["Id"]
        return id

    def add(self, group: str, key: str) -> None:
        """Add a key to a group, which keeps all that it holds.

        :raises CannotAsk: where CloudFront does not do it.
        """
        for attempt in range(_ATTEMPTS):
            found, etag = self._group(group)
            if key in found.items:
                return
            config = {"Name": found.name, "Items": [*found.items, key]}
            try:
                with _asked("cloudfront:UpdateKeyGroup"):
                    self._client.update_key_group(Id=group, IfMatch=etag, KeyGroupConfig=config)
            except CannotAsk:
                if attempt == _ATTEMPTS - 1 or self._group(group)[1] == etag:
                    raise
                continue
            return

    def _pages(self, operation: str, name: str) -> Iterator[dict[str, Any]]:
        marker: dict[str, str] = {}
        while True:
            with _asked(f"cloudfront:{_action(operation)}"):
                page = getattr(self._client, operation)(**marker)[name]
            yield from page.get("Items") or ()
            if not page.get("NextMarker"):
                return
            marker = {"Marker": page["NextMarker"]}


def same_key(pem: str, other: str) -> bool:
    """Return whether two texts are the same public key: its PEM differs only in spaces and line ends."""
    return "".join(pem.split()) == "".join(other.split())


def is_name_of(name: str, host: str) -> bool:
    """Return whether a distribution's name is a host, or stands for it with a star."""
    return name == host or (name.startswith("*.") and host.partition(".")[2] == name[2:])


def _action(operation: str) -> str:
    return "".join(word.capitalize() for word in operation.split("_"))


@contextlib.contextmanager
def _asked(action: str) -> Iterator[None]:
    """Translate what boto3 raises.

    :param action: the permission that is needed.
    """
    try:
        yield
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "?")
        raise CannotAsk(f"{action}: {code}") from None
    except (BotoCoreError, OSError, ValueError) as error:
        raise CannotAsk(f"{action}: {' '.join(str(error).split())}") from None
