"""The nodes of a YAML text, from libyaml's parser where PyYAML was built with it.

It takes a quarter of the time, which counts in a file of thousands of lines. PyYAML's own parser takes some
texts otherwise, and says otherwise what is wrong with one. So libyaml's is for texts that both are known to
take alike; for any other, and whenever something is wrong, :func:`quick_nodes` has nothing, and the caller
asks PyYAML's own.
"""

from __future__ import annotations

import re

import yaml

#: A date that is not in the calendar is a plain ValueError, endless nesting a RecursionError.
YAML_ERRORS = (yaml.YAMLError, ValueError, RecursionError)

# None where PyYAML was built without libyaml.
_Loader = getattr(yaml, "CSafeLoader", None)

# Lines that end in a newline, of what can be printed. Tabs, byte order marks and the other ends of lines are
# not the same to both.
_PRINTABLE = re.compile(
    r"[\n\x20-\x7e\xa1-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]*"
)

# Keys and tags that are written out, directives, and a comment right behind the mark of a block of text.
_UNLIKE = re.compile(r"[?!%]|[|>][-+0-9]*#")

# PyYAML's own parser recurses, and gives up at a depth that depends on its caller's.
_DEEPEST = 50


def quick_nodes(text: str) -> yaml.Node | None:
    """Return the root of a text; None for an empty text, and where PyYAML's own parser must be asked.

    No section of it has a key twice. It may be changed: each call makes its own.
    """
    if _Loader is None or not _PRINTABLE.fullmatch(text) or _UNLIKE.search(text):
        return None
    try:
        root = yaml.compose(text, Loader=_Loader)
    except YAML_ERRORS:
        return None
    return root if root is not None and _is_plain(root) else None


def _is_plain(root: yaml.Node) -> bool:
    """Return whether no section has a key twice, and nothing is nested very deeply."""
    seen: set[int] = set()
    level = [root]
    for _ in range(_DEEPEST):
        below: list[yaml.Node] = []
        for node in level:
            if isinstance(node, yaml.ScalarNode) or id(node) in seen:
                continue
            seen.add(id(node))
            if isinstance(node, yaml.SequenceNode):
                below += node.value
                continue
            keys = [(key.tag, key.value) for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            if len(set(keys)) < len(keys):
                return False
            for pair in node.value:
                below += pair
        if not below:
            return True
        level = below
    return False
