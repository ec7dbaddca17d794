"""What values are called: the variable to which a line assigns, read from the function alone or from the whole file."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import chainrule
from chainrule.compiler.naming import assigned

ROOM = Path(chainrule.__file__).parent
FILES = ["ops/activation.py", "ops/contraction.py", "nn/functional.py", "optim/adam.py", "core/backprop.py"]


@pytest.mark.parametrize("name", FILES)
def test_a_function_read_alone_says_the_same_as_its_file(name: str) -> None:
    path = ROOM / name
    whole = assigned(str(path))
    functions = [x for x in ast.walk(ast.parse(path.read_text())) if isinstance(x, ast.FunctionDef)]
    assert functions
    for function in functions:
        first = min(function.lineno, *(x.lineno for x in function.decorator_list), function.lineno)
        lines = range(function.lineno, (function.end_lineno or 0) + 1)
        alone = assigned(str(path), first)
        assert {i: alone[i] for i in lines if i in alone} == {i: whole[i] for i in lines if i in whole}


def test_heads_and_strings_of_several_lines_a_lambda_and_a_broken_file(tmp_path: Path) -> None:
    path = tmp_path / "code.py"
    path.write_text(
        "class Room:\n"
        "    @decorate(\n"
        "        one,\n"
        "    )\n"
        "    @other\n"
        "    def door(\n"
        "        self,\n"
        "    ) -> int:\n"
        "        # text\n"
        "\n"
        "        total = add(\n"
        "            self.width,\n"
        "        )\n"
        "        return total\n"
        "\n"
        "    window = lambda self: self.glass\n"
    )
    assert assigned(str(path), 2) == {11: "total", 12: "total", 13: "total"}
    assert assigned(str(path), 16) == {}
    path = tmp_path / "broken.py"
    path.write_text("def door(:\n    x = 1\n")
    assert assigned(str(path)) == assigned(str(path), 1) == {}
