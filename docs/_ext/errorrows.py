"""What the table of the registry's errors says, read from the functions that make them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import cfmiddleware

_FILE = Path(cfmiddleware.__file__).parent / "registry" / "errors.py"


def rows() -> Iterator[tuple[str, str, str]]:
    """Yield code, status and when it is answered, sorted by code and status."""
    yield from sorted(_rows())


def _rows() -> Iterator[tuple[str, str, str]]:
    for function in ast.parse(_FILE.read_text(encoding="utf-8")).body:
        if not isinstance(function, ast.FunctionDef):
            continue
        for call in ast.walk(function):
            if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "RegistryError":
                code, status = map(ast.literal_eval, call.args[:2])
                yield f"``{code}``", str(status), _when(ast.get_docstring(function) or "")


def _when(docstring: str) -> str:
    """Return the first sentence of a docstring, as the table has it."""
    text = " ".join(docstring.partition("\n\n")[0].split())
    text = re.sub(r"^Return the error for ", "", text)
    text = re.sub(r"(?<!\*)\*([a-z_]+)\*(?!\*)", r"\1", text)
    text = re.sub(r"(?:; \w+ says .*|\. .*)$", ".", text)
    return text[:1].upper() + text[1:]
