"""What a policy's statements say to CloudFront, as far as that can be known without asking AWS.

(IAM User Guide, "Policy evaluation logic"; only what concerns a service that reads.)
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

CLOUDFRONT = "cloudfront.amazonaws.com"

#: What a request of CloudFront's does not have, because it comes through no VPC and from no organization.
_ABSENT = {
    "aws:sourcevpce",
    "aws:sourcevpc",
    "aws:vpcsourceip",
    "aws:principalorgid",
    "aws:principalorgpaths",
}

#: A condition on one of these keeps a statement for everybody from being public (Amazon S3 User Guide,
#: "Blocking public access to your Amazon S3 storage").
_RESTRICTING = {
    *("aws:sourceip", "aws:sourcearn", "aws:sourcevpc", "aws:sourcevpce", "aws:sourceowner"),
    *("aws:sourceaccount", "aws:userid", "aws:principalorgid", "aws:principalorgpaths", "aws:principalarn"),
    *("aws:principalaccount", "s3:dataaccesspointarn", "s3:dataaccesspointaccount"),
}


class Statement:
    """One statement of a policy."""

    def __init__(self, said: Mapping[str, Any]) -> None:
        self._said = said
        #: Whether it allows; if it does not, it denies.
        self.allows = said.get("Effect") == "Allow"

    def is_for_service(self, service: str) -> bool:
        """Return whether it names a service, or everybody, or everybody but others."""
        if "NotPrincipal" in self._said:
            others = self._said["NotPrincipal"]
            return not isinstance(others, Mapping) or service not in _listed(others.get("Service"))
        principal = self._said.get("Principal")
        return self.is_for_everybody or (
            isinstance(principal, Mapping) and service in _listed(principal.get("Service"))
        )

    @property
    def is_for_everybody(self) -> bool:
        """Whether its principal is everybody."""
        principal = self._said.get("Principal")
        return principal == "*" or (isinstance(principal, Mapping) and "*" in _listed(principal.get("AWS")))

    @property
    def is_public(self) -> bool:
        """Whether it is for everybody, with no condition on who or where they are."""
        keys = {key.lower() for keys in (self._said.get("Condition") or {}).values() for key in keys}
        return self.is_for_everybody and not keys & _RESTRICTING

    def covers(self, action: str, resource: str) -> bool:
        """Return whether it is about an action on a resource."""
        if "NotAction" in self._said:
            is_action = not any(_matches(word.lower(), action.lower()) for word in self._words("NotAction"))
        else:
            is_action = any(_matches(word.lower(), action.lower()) for word in self._words("Action"))
        if "NotResource" in self._said:
            return is_action and not any(_matches(word, resource) for word in self._words("NotResource"))
        return is_action and any(_matches(word, resource) for word in self._words("Resource"))

    def holds(self, context: Mapping[str, str]) -> bool | None:
        """Return whether its conditions hold; None where that is not known.

        :param context: the keys' values, by names in small letters.
        """
        result: bool | None = True
        for operator, keys in (self._said.get("Condition") or {}).items():
            for key, wanted in keys.items():
                one = _holds(operator, key.lower(), context, _listed(wanted))
                if one is False:
                    return False
                result = None if one is None else result
        return result

    def values(self, key: str) -> list[str]:
        """Return the values that its conditions name for a key, in small letters."""
        return [
            value
            for keys in (self._said.get("Condition") or {}).values()
            for name, wanted in keys.items()
            if name.lower() == key
            for value in _listed(wanted)
        ]

    def _words(self, name: str) -> list[str]:
        return _listed(self._said.get(name))


def statements(policy: str) -> Iterator[Statement]:
    """Yield the statements of a policy in JSON; none where it cannot be read."""
    try:
        document = json.loads(policy)
    except ValueError:
        return
    said = document.get("Statement") if isinstance(document, dict) else None
    for statement in [said] if isinstance(said, dict) else said or []:
        if isinstance(statement, dict):
            yield Statement(statement)


def _listed(value: Any) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else [] if value is None else [str(value)]


def _holds(operator: str, key: str, context: Mapping[str, str], wanted: list[str]) -> bool | None:
    actual = context.get(key)
    lower = operator.lower()
    name = lower.removesuffix("ifexists").rpartition(":")[2]
    if name == "null":
        if actual is None and key not in _ABSENT:
            return None
        return (actual is None) == ([word.lower() for word in wanted] == ["true"])
    if actual is None:
        # Without the key a condition that says "not" holds, and another one does not.
        return ("not" in name or lower.endswith("ifexists")) if key in _ABSENT else None
    if name == "bool":
        return actual.lower() in [word.lower() for word in wanted]
    if name in ("stringequals", "arnequals", "arnlike", "stringlike", "stringequalsignorecase"):
        return any(_matches(word, actual) if name != "stringequals" else word == actual for word in wanted)
    if name in ("stringnotequals", "arnnotequals", "stringnotlike", "arnnotlike"):
        return not any(_matches(word, actual) for word in wanted)
    return None


def _matches(pattern: str, text: str) -> bool:
    expression = "".join(
        ".*" if character == "*" else "." if character == "?" else re.escape(character)
        for character in pattern
    )
    return re.fullmatch(expression, text, re.DOTALL) is not None
