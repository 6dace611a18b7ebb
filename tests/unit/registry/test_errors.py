"""Every error of the registry is said in one file, with a status that its code can have."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest
from lab.registry_client import OCI_MANIFEST

from cfmiddleware import registry
from cfmiddleware.digest import Digest
from cfmiddleware.registry import errors
from cfmiddleware.registry.errors import RegistryError

#: Of each code, the statuses that the specifications, and Distribution, pair it with.
STATUSES = {
    "BLOB_UNKNOWN": {404},
    "BLOB_UPLOAD_INVALID": {400, 416},
    "BLOB_UPLOAD_UNKNOWN": {404},
    "DENIED": {403, 405},
    "DIGEST_INVALID": {400},
    "MANIFEST_BLOB_UNKNOWN": {404},
    "MANIFEST_INVALID": {400},
    "MANIFEST_UNKNOWN": {404},
    "NAME_INVALID": {400},
    "NAME_UNKNOWN": {404},
    "PAGINATION_NUMBER_INVALID": {400},
    "REQUEST_TIMEOUT": {408},
    "SIZE_INVALID": {400, 411, 413},
    "TAG_INVALID": {400},
    "TOOMANYREQUESTS": {429, 503},
    "UNAUTHORIZED": {401},
    "UNAVAILABLE": {503, 507},
    "UNKNOWN": {500},
    "UNSUPPORTED": {404, 405, 416},
}

DIGEST = Digest.of(b"")
ARGUMENTS = {
    "method_unsupported": ({"GET"},),
    "name_unknown": ("app",),
    "digest_invalid": ("reason",),
    "digest_mismatch": (DIGEST,),
    "blob_unknown": (DIGEST,),
    "blob_too_large": (1,),
    "range_not_satisfiable": (DIGEST, 1),
    "upload_invalid": ("reason",),
    "upload_out_of_order": (1, {}),
    "chunk_size_invalid": (1,),
    "manifest_unknown": (DIGEST,),
    "manifest_invalid": ("reason",),
    "manifest_too_large": (1,),
    "manifest_blob_unknown": ([DIGEST],),
    "tag_protected": ("v1", "protect: v*"),
    "part_of_protected": (DIGEST, "v1", "protect: v*", "GET, HEAD"),
    "tag_immutable": ("v1", DIGEST),
    "type_of_protected": (DIGEST, "v1", OCI_MANIFEST),
    "unauthorized": ("Basic", "log in first"),
    "storage_unavailable": ("the storage cannot be reached",),
    "storage_refuses": ("the storage refuses",),
}
FUNCTIONS = {
    name: function
    for name, function in inspect.getmembers(errors, inspect.isfunction)
    if function.__module__ == errors.__name__
}


def made(name: str) -> RegistryError:
    more = {"readonly": True} if name == "method_unsupported" else {}
    return FUNCTIONS[name](*ARGUMENTS.get(name, ()), **more)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_code_goes_with_its_status(name: str):
    error = made(name)
    assert error.status in STATUSES[error.code]
    assert error.message
    assert "\n" not in error.message


def test_every_code_and_status_is_used():
    used: dict[str, set[int]] = {}
    for name in FUNCTIONS:
        error = made(name)
        used.setdefault(error.code, set()).add(error.status)
    assert used == STATUSES


def test_no_other_file_names_a_code_or_makes_an_error():
    for file in Path(registry.__file__).parent.rglob("*.py"):
        if file == Path(errors.__file__):
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            assert not (isinstance(node, ast.Constant) and node.value in STATUSES), f"{file}:{node.lineno}"
            assert not (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name | ast.Attribute)
                and ast.unparse(node.func).endswith("RegistryError")
            ), f"{file}:{node.lineno}"
