"""Who may import whom: the floors of ``docs/architecture.rst``, read from the syntax trees.

A file imports from floors below its own and from its own room. Two rooms of one floor do not know each other,
and no file imports itself by a detour.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import cfmiddleware

PROJECT = Path(cfmiddleware.__file__).parents[1]
FILES = sorted(PROJECT.glob("cfmiddleware/**/*.py"))

#: The rooms, ground floor first. A room is a package, or a file at the top.
FLOORS = (
    ("errors", "digest", "version", "logs"),
    ("parse", "reference", "process", "wsgi", "metrics"),
    ("tracing",),
    ("signing", "storage", "ipfilter", "notifications", "health"),
    ("middleware", "registry", "edge"),
    ("config",),
    ("serving", "server", "cloudfront"),
    ("cli", "paste", "gunicorn"),
    ("__init__", "__main__"),  # the public face
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}

#: File names that stand in several rooms and mean the same in each.
SHARED_NAMES = {"__init__", "errors", "options"}


def room_of(file: Path) -> str:
    inner = file.relative_to(PROJECT / "cfmiddleware")
    return inner.parts[0] if len(inner.parts) > 1 else inner.stem


@cache
def file_of(module: tuple[str, ...], name: str) -> Path:
    """Return the file that ``from module import name`` reads: a submodule's own, or the module's."""
    for parts in ((*module, name), module):
        for file in (PROJECT.joinpath(*parts).with_suffix(".py"), PROJECT.joinpath(*parts, "__init__.py")):
            if file.is_file():
                return file
    raise AssertionError(f"{'.'.join(module)} has no file")


@cache
def syntax_tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def imports(file: Path, *, lazy: bool = True) -> Iterator[Path]:
    """Yield the files of the package that *file* imports.

    :param lazy: whether imports inside functions and for type checkers count.
    """
    tree = syntax_tree(file)
    package = file.relative_to(PROJECT).parts[:-1]
    for node in ast.walk(tree) if lazy else tree.body:
        if isinstance(node, ast.Import):
            targets = [(tuple(name.name.split(".")), "") for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = list(package[: len(package) - node.level + 1]) if node.level else []
            module = above + (node.module.split(".") if node.module else [])
            targets = [(tuple(module), name.name) for name in node.names]
        else:
            continue
        yield from (file_of(module, name) for module, name in targets if module[0] == "cfmiddleware")


def test_every_room_has_a_floor() -> None:
    assert {room_of(file) for file in FILES} <= FLOOR.keys()


def test_imports_go_down_the_floors() -> None:
    wrong = [
        f"{file.relative_to(PROJECT)} (floor {FLOOR[room_of(file)]}) imports {target.relative_to(PROJECT)} "
        f"(floor {FLOOR[room_of(target)]}): a file imports from floors below its own and from its own room"
        for file in FILES
        for target in imports(file)
        if room_of(target) != room_of(file) and FLOOR[room_of(target)] >= FLOOR[room_of(file)]
    ]
    assert not wrong, "\n".join(wrong)


def test_no_file_imports_itself_by_a_detour() -> None:
    graph = {file: set(imports(file, lazy=False)) - {file} for file in FILES}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise AssertionError(
            " imports ".join(str(file.relative_to(PROJECT)) for file in error.args[1])
        ) from None


def test_no_file_name_stands_twice_with_another_meaning() -> None:
    names = Counter(file.stem for file in FILES)
    assert {name for name, times in names.items() if times > 1} <= SHARED_NAMES
