"""What shells and notebooks do to names and places."""

from __future__ import annotations

from typing import Any

import pytest

import chainrule as cr
from chainrule.explain.record import Place


def run_in_a_shell(code: str, **kept: Any) -> dict[str, Any]:
    """A cell's program in the namespace of a shell, which has kept earlier results."""
    variables: dict[str, Any] = {"cr": cr, **kept}
    exec(code, variables)
    return variables


def test_results_that_a_shell_has_kept_give_no_names() -> None:
    result = cr.tensor([1.0, 2.0], requires_grad=True) * 2
    history = {1: result}
    variables = run_in_a_shell(
        "L = kept\nsource = cr.draw(L).source", kept=result, _=result, __=result, _1=result, _oh=history, Out=history
    )
    assert "_oh" not in variables["source"]
    assert "Out" not in variables["source"]
    assert "_1" not in variables["source"]
    assert "kept = multiply" in variables["source"]


def test_names_of_the_user_may_begin_with_an_underscore() -> None:
    variables = run_in_a_shell("_w = cr.tensor([1.0], requires_grad=True)\nsource = cr.draw(_w * 2).source")
    assert "_w" in variables["source"]


@pytest.mark.parametrize(
    "file", ["/tmp/ipykernel_123/456789.py", r"C:\Temp\ipykernel_1\22.py", "<ipython-input-3-abc>"]
)
def test_a_line_of_a_cell_is_named_without_the_file_that_a_notebook_makes_of_it(file: str) -> None:
    assert str(Place(file, 3, "y = x.log()")) == "cell line 3: y = x.log()"


def test_a_line_of_a_program_is_named_with_its_file() -> None:
    assert str(Place("train.py", 3, "y = x.log()")) == "train.py:3: y = x.log()"
