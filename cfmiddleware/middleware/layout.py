"""Where a blob lies in the bucket, and which Origin Paths can reach it.

Two steps, kept apart because operators get them wrong together. A *layout* gives the object's key in the
bucket for a digest. The *Origin Path* is what CloudFront puts in front of every path before it asks the
bucket, so the path to sign is the key **below** the Origin Path.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from cfmiddleware.digest import Digest
from cfmiddleware.errors import ConfigError
from cfmiddleware.parse import nearest
from cfmiddleware.reference import has_whole_segments

#: The layouts that have a name. ``{root}`` is the root directory; it and the slash behind it vanish where
#: the registry stands at the bucket's root.
LAYOUTS = {
    "distribution": "{root}/docker/registry/v2/blobs/{algorithm}/{hex[:2]}/{hex}/data",
    "quay": "{root}/{algorithm}/{hex[:2]}/{hex}",
    "oci": "{root}/{repository}/blobs/{algorithm}/{hex}",
}

_FIELDS = ("root", "repository", "algorithm", "hex", "hex[:2]")
_FIELD = re.compile(r"\{([^{}]*)\}")

#: What a field other than the root can hold, as a pattern for one or more whole segments.
_FIELD_PATTERNS = {
    "repository": ".+",
    "algorithm": "sha(?:256|512)",
    "hex": "[0-9a-f]+",
    "hex[:2]": "[0-9a-f]{2}",
}


class Layout:
    """The keys of a bucket's blobs.

    :param layout: the name of a layout, or a template with ``{hex}`` and any of ``{root}``, ``{repository}``,
        ``{algorithm}`` and ``{hex[:2]}``.
    :param rootdirectory: the directory of the bucket that the registry stands in, as :func:`directory`
        returns it.
    :raises ConfigError: for an unknown name or field, or a template that does not tell blobs apart.
    """

    def __init__(self, layout: str = "distribution", rootdirectory: str = "") -> None:
        template = LAYOUTS.get(layout, layout)
        fields = _FIELD.findall(template)
        rest = _FIELD.sub("", template)
        if not fields:
            raise ConfigError(
                f"layout: {layout!r} is neither a layout's name ({', '.join(LAYOUTS)}) nor a template with "
                f"{{hex}}{nearest(layout, LAYOUTS)}"
            )
        for field in fields:
            if field not in _FIELDS:
                raise ConfigError(
                    f"layout: {{{field}}} is not a field of a template; the fields are "
                    f"{', '.join(f'{{{known}}}' for known in _FIELDS)}{nearest(field, _FIELDS)}"
                )
        if "{" in rest or "}" in rest or not rest.isprintable():
            raise ConfigError(
                f"layout: {layout!r} has a brace or a character that cannot stand in a field or key"
            )
        if "hex" not in fields:
            raise ConfigError(f"layout: {layout!r} gives every blob the same key; {{hex}} is missing")
        # `str.format` takes no slices, so the shortened digest gets a name of its own.
        filled = template.replace("{hex[:2]}", "{hex2}")
        filled = filled.replace("{root}", rootdirectory.replace("{", "{{").replace("}", "}}")).lstrip("/")
        if not has_whole_segments(filled):
            raise ConfigError(f"layout: {layout!r} has an empty, '.' or '..' segment")
        self._format: Callable[..., str] = filled.format
        patterns = {**_FIELD_PATTERNS, "root": re.escape(rootdirectory)}
        pattern = "".join(
            patterns[part] if odd else re.escape(part)
            for odd, part in ((i % 2, p) for i, p in enumerate(_FIELD.split(template)))
        )
        directories = pattern.lstrip("/").split("/")[:-1]
        # Every run of whole segments from the first one on; a repository may span several.
        self._above = [re.compile("/".join(directories[: n + 1])) for n in range(len(directories))]

    def key(self, repository: str, digest: Digest) -> str:
        """Return the key of a blob, without a slash in front."""
        return self._format(
            repository=repository, algorithm=digest.algorithm, hex=digest.hex, hex2=digest.hex[:2]
        )

    def reaches(self, originpath: str) -> bool:
        """Return whether any key of this layout can lie below the Origin Path *originpath*."""
        origin = originpath.strip("/")
        return not origin or any(pattern.fullmatch(origin) for pattern in self._above)
