"""Who may import whom: the floors of ``docs/architecture.rst``, read from the syntax trees.

A file imports from floors below its own and from its own room. Two rooms of one floor do not know each other.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import cfmiddleware

PACKAGE = Path(cfmiddleware.__file__).parent

#: The rooms, ground floor first: a package, or a file at the top.
FLOORS = (
    ("errors", "digest", "version", "logs"),
    ("parse", "reference", "process", "wsgi", "metrics"),
    ("signing", "storage", "ipfilter", "notifications"),
    ("middleware", "registry", "edge"),
    ("config",),
    ("serving", "server", "cloudfront"),
    ("cli", "paste"),
    ("__init__", "__main__"),  # the public face
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}

#: Base names that stand in several rooms and mean the same thing in each.
SHARED_NAMES = {"__init__", "errors", "options"}


def modules() -> Iterator[tuple[Path, str]]:
    """Yield every file of the package and the room that it belongs to."""
    for file in sorted(PACKAGE.rglob("*.py")):
        inner = file.relative_to(PACKAGE)
        yield file, inner.parts[0] if len(inner.parts) > 1 else inner.stem


def imported_rooms(file: Path) -> Iterator[str]:
    """Yield the rooms that *file* imports from, wherever in it the import stands."""
    package = ("cfmiddleware", *file.relative_to(PACKAGE).parts[:-1])
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            targets = [name.name.split(".") for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = list(package[: len(package) - node.level + 1]) if node.level else []
            module = above + (node.module.split(".") if node.module else [])
            targets = [[*module, name.name] for name in node.names]
        else:
            continue
        for target in targets:
            if target[0] == "cfmiddleware":
                yield target[1] if len(target) > 1 and target[1] in FLOOR else "__init__"


def test_every_room_has_a_floor() -> None:
    assert {room for _, room in modules()} <= FLOOR.keys()


def test_imports_go_down_the_floors() -> None:
    rule = "a file imports only from floors below its own, and from its own room"
    wrong = [
        f"{file.relative_to(PACKAGE)} (floor {FLOOR[room]}) imports {target} (floor {FLOOR[target]}): {rule}"
        for file, room in modules()
        for target in imported_rooms(file)
        if target != room and FLOOR[target] >= FLOOR[room]
    ]
    assert not wrong, "\n".join(wrong)


def test_no_file_name_stands_twice_with_another_meaning() -> None:
    names = Counter(file.stem for file, _ in modules())
    assert {name for name, times in names.items() if times > 1} <= SHARED_NAMES
