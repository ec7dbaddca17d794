"""Imports between the package's rooms go one way: core <- ops <- (func, nn, optim, ...) <- (compiler, explain)."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import chainrule

PACKAGE = Path(chainrule.__file__).parent
LEVELS = {
    "absent": 0,
    "absent_names": 0,
    "core": 0,
    "ops": 1,
    "random": 1,
    "settings": 1,
    "stand_in": 1,
    **dict.fromkeys(("autograd", "fft", "func", "linalg", "nn", "optim", "special", "testing", "utils"), 2),
    **dict.fromkeys(("safetensors", "serialization"), 2),
    **dict.fromkeys(("distributions", "masked", "platform"), 2),
    **dict.fromkeys(("compiler", "explain"), 3),
    **dict.fromkeys(("__main__", "demo", "respawn", "run"), 4),
}
FREE = {"__init__", "allocator", "blas", "py"}  # the public face; rooms without imports


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def rooms_imported_by(path: Path) -> set[str]:
    """The rooms of this package that a module imports from, at its top or inside a function."""
    package = ["chainrule", *path.relative_to(PACKAGE).parts[:-1]]
    found: list[list[str]] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            stem = start + (node.module.split(".") if node.module else [])
            found += [stem] if len(stem) > 1 else [[*stem, alias.name] for alias in node.names]
    return {name[1] for name in found if name[0] == "chainrule" and len(name) > 1 and name[1] in LEVELS}


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_from_its_own_or_a_lower_room(path: Path) -> None:
    room = room_of(path)
    if room in FREE:
        return
    assert room in LEVELS, f"{room} has no level: give it one here and in docs/explanation/architecture.md"
    higher = {name for name in rooms_imported_by(path) if LEVELS[name] > LEVELS[room]}
    assert not higher, f"{path.relative_to(PACKAGE)} imports from {', '.join(sorted(higher))}"
