"""What a wheel stands on, as an SBOM: CycloneDX 1.6 in JSON.

The versions are those of the environment that makes the release, which the tests ran with. What is needed is
``required``, what extras bring is ``optional``. Only extras that an operator installs are looked at.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable
from datetime import datetime
from email.message import Message
from email.parser import Parser
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from zipfile import ZipFile

from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentScope, ComponentType
from cyclonedx.model.license import DisjunctiveLicense, LicenseExpression
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

EXTRAS = ("server", "auth", "redis", "metrics", "inventory", "tracing")

#: Longer, and it is the licence's text.
_LONGEST_NAME = 80


def sbom(wheel: Path, made: datetime) -> str:
    """Return the SBOM of a wheel.

    :param made: when the release was made; two runs give the same text.
    """
    with ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = Parser().parsestr(archive.read(name).decode())
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    top = _component(metadata)
    top.hashes.add(HashType(alg=HashAlgorithm.SHA_256, content=digest))
    bom = Bom(serial_number=uuid.uuid5(uuid.NAMESPACE_OID, digest))
    bom.metadata.component = top
    bom.metadata.timestamp = made
    components: dict[str, Component] = {}
    needed = _add(bom, metadata, top, [""], ComponentScope.REQUIRED, components)
    for extra in EXTRAS:
        needed += _add(bom, metadata, top, ["", extra], ComponentScope.OPTIONAL, components)
    bom.register_dependency(top, needed)
    return JsonV1Dot6(bom).output_as_string(indent=2) + "\n"


def _add(
    bom: Bom,
    metadata: Message,
    parent: Component,
    extras: Iterable[str],
    scope: ComponentScope,
    components: dict[str, Component],
) -> list[Component]:
    """Add what *metadata* asks for, and return it."""
    found = []
    for text in metadata.get_all("Requires-Dist", []):
        requirement = Requirement(text)
        if requirement.marker and not any(requirement.marker.evaluate({"extra": extra}) for extra in extras):
            continue
        name = canonicalize_name(requirement.name)
        component = components.get(name)
        if component is None:
            try:
                installed = distribution(name).metadata
            except PackageNotFoundError:
                raise SystemExit(
                    f"scripts/release: {name}: not installed, so its version is not known"
                ) from None
            component = components[name] = _component(installed, scope)
            bom.components.add(component)
            below = _add(bom, installed, component, ["", *requirement.extras], scope, components)
            bom.register_dependency(component, below)
        found.append(component)
    return found


def _component(metadata: Message, scope: ComponentScope | None = None) -> Component:
    name, version = canonicalize_name(metadata["Name"]), metadata["Version"]
    url = PackageURL("pypi", None, name, version)
    component = Component(
        name=name,
        version=version,
        type=ComponentType.LIBRARY,
        bom_ref=url.to_string(),
        purl=url,
        scope=scope,
        description=metadata["Summary"],
    )
    if expression := metadata["License-Expression"]:
        component.licenses.add(LicenseExpression(expression))
    elif licence := _licence(metadata):
        component.licenses.add(DisjunctiveLicense(name=licence))
    return component


def _licence(metadata: Message) -> str:
    text = metadata["License"] or ""
    if text and "\n" not in text and len(text) <= _LONGEST_NAME:
        return str(text)
    classified = [line for line in metadata.get_all("Classifier", []) if line.startswith("License ::")]
    return classified[0].rpartition(" :: ")[2] if classified else ""
