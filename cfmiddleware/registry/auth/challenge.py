"""Challenges to clients that have to authenticate (RFC 9110, 11.6.1; RFC 6750, 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cfmiddleware.errors import ConfigError
from cfmiddleware.registry import errors
from cfmiddleware.registry.errors import RegistryError

from .access import Access


def unauthorized(
    scheme: str, parameters: Mapping[str, str], message: str, access: Sequence[Access] = ()
) -> RegistryError:
    """Return the error that asks a client for a credential, or for another one.

    :param scheme: ``Basic`` or ``Bearer``.
    :param parameters: the challenge's parameters, in their order.
    :param message: one line for a person.
    :param access: what the request needs, for the body's ``detail``, as Distribution has it.
    """
    listed = ",".join(f"{name}={_quoted(value)}" for name, value in parameters.items())
    detail = [
        {"Type": item.type, "Class": "", "Name": item.name, "Action": action}
        for item in access
        for action in item.actions
    ]
    return errors.unauthorized(f"{scheme} {listed}", message, detail or None)


def check_parameter(value: str, name: str) -> str:
    """Return *value* if it can stand in a challenge.

    :raises ConfigError: for anything but printable ASCII, naming the option *name*.
    """
    if not (value.isascii() and value.isprintable()):
        raise ConfigError(f"{name}: must be printable ASCII; clients get it in a header")
    return value


def _quoted(value: str) -> str:
    """Return a quoted string (RFC 9110, 5.6.4)."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
