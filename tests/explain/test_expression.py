"""`chainrule explain EXPRESSION`: what is computed, and that nothing else can be."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.__main__ import main
from chainrule.explain.expression import ExpressionError, compute, explain_expression, operations, read_value


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(["explain", *arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_the_notes_expression_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "log(a*b*log(c))", "a=2", "b=3", "c=10")
    assert code == 0
    assert f"= {np.log(2 * 3 * np.log(10)):.5g}" in out
    for name, gradient in (("a", 0.5), ("b", 1 / 3), ("c", 1 / (10 * np.log(10)))):
        assert f"∇_{name} L = {gradient:.5g}" in out
    assert "recording" not in out, "there is no program whose lines could be shown"


def test_vectors_and_matrices_are_values(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "sum(m @ v)", "m=[[1,2],[3,4]]", "v=[1, -1]")
    assert code == 0 and "∇_v L = [4, 6]" in out and "∇_m L = [[1, -1], [1, -1]]" in out


def test_a_result_that_is_no_single_number_is_summed(capsys: pytest.CaptureFixture[str]) -> None:
    assert "sum of its elements" in run(capsys, "a * 2", "a=[1,2]")[1]


def test_an_expression_may_begin_with_a_minus(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "-a", "a=2")
    assert code == 0 and "∇_a L = -1" in out
    assert run(capsys, "-a", "--latex", "a=2")[1].startswith(r"\documentclass")
    assert run(capsys, "--markdown", "-a", "a=2")[1].startswith("###")


@pytest.mark.parametrize(
    "text", ["a ** 2 / b - 3 * a", "maximum(a, b) % 2 + a", "-(+a) * b", "a @ a", "2 ** a", "a // 2 + a"]
)
def test_arithmetic_is_pythons(text: str) -> None:
    values = {"a": cr.tensor([2.0, 5.0], requires_grad=True), "b": cr.tensor([4.0, 3.0])}
    expected = eval(text, {"maximum": cr.maximum}, values)
    assert compute(text, values).tolist() == expected.tolist()


def test_operations_take_axes_and_keywords() -> None:
    a = cr.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert compute("sum(a, 0)", {"a": a}).tolist() == [4.0, 6.0]
    assert compute("sum(a, dim=1, keepdim=True)", {"a": a}).shape == (2, 1)
    assert compute("sum(a, (0, 1))", {"a": a}).item() == 10.0
    assert compute("sin(pi) * a + e", {"a": cr.tensor(0.0)}).item() == pytest.approx(np.e)


def test_the_operations_are_those_of_the_table() -> None:
    found = operations()
    assert {"log", "sum", "relu", "matmul", "sigmoid", "where"} <= set(found)
    assert not {"load", "save", "eval", "tensor", "manual_seed", "compile"} & set(found)


REFUSED: dict[str, int] = {
    "a.__class__": 0,
    "a + b.real": 4,
    "[1, 2]": 0,
    "a if b else 1": 0,
    "lambda: 1": 0,
    "a + (x := 3)": 5,
    "__import__('os')": 0,
    "a[0]": 0,
    "a < b": 0,
    "'text'": 0,
    "a and b": 0,
    "log(a)(b)": 0,
    "log(*a)": 4,
    "log(**a)": 6,
    "a + foo(b)": 4,
    "a + log": 4,
    "a + c": 4,
    "f'{a}'": 0,
    "a + 1j": 4,
    "[x for x in a]": 0,
    "a + True": 4,
    "~a": 0,
    "a << 2": 0,
    "save(a, 'f')": 0,
    "log(a, 'f')": 7,
}


@pytest.mark.parametrize("text", REFUSED)
def test_anything_else_is_refused_with_the_position_marked(text: str) -> None:
    values = {"a": cr.tensor(1.0, requires_grad=True), "b": cr.tensor(2.0)}
    with pytest.raises(ExpressionError) as caught:
        compute(text, values)
    *_, line, mark = str(caught.value).split("\n")
    assert line == f"    {text}" and mark == "    " + " " * REFUSED[text] + "^"


@pytest.mark.parametrize("text", ["", "a +", "a b", "(a", "a = 3", "import os", "a;b", "\0", "é + ("])
def test_what_is_no_expression_is_refused(text: str) -> None:
    with pytest.raises(ExpressionError):
        compute(text, {"a": cr.tensor(1.0), "b": cr.tensor(1.0)})


@pytest.mark.parametrize("text", ["(" * 900 + "a" + ")" * 900, "-" * 1900 + "a", "a" * 3000, "9**9**9**9", "1/0"])
def test_expressions_that_would_hang_or_overflow_are_refused(text: str) -> None:
    try:
        with np.errstate(all="ignore"):
            compute(text, {"a": cr.tensor(1.0)})
    except ExpressionError:
        return
    assert text.startswith("-"), "only the long row of signs can be computed"


@pytest.mark.parametrize(
    "text", ["a", "=2", "1a=2", "a=", "a=x", "a=[1,x]", "a=[[1],[1,2]]", "a=__import__('os')", "a='1'", "a={}"]
)
def test_values_are_numbers_or_lists(text: str) -> None:
    with pytest.raises(ExpressionError):
        read_value(text)


def test_values_may_be_negative_infinite_or_nan() -> None:
    assert read_value("a=-1e-3")[1].item() == -0.001
    assert read_value("a=inf")[1].item() == np.inf and np.isnan(read_value("a=nan")[1].item())


def test_something_must_be_differentiable() -> None:
    with pytest.raises(ExpressionError, match="nothing to differentiate"):
        explain_expression("1 + 2", [])


def test_the_command_says_what_is_wrong_and_leaves_with_2() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "chainrule", "explain", "a + a.b", "a=1"], capture_output=True, text=True
    )
    assert done.returncode == 2 and not done.stdout
    assert done.stderr.endswith("    a + a.b\n        ^\n")


def test_gradients_of_the_command_are_those_of_finite_differences() -> None:
    text, at = "sum(tanh(a * b) ** 2) / sqrt(c)", {"a": 0.3, "b": -0.7, "c": 2.0}
    _, told = explain_expression(text, [f"{name}={value}" for name, value in at.items()])
    found: dict[str, Any] = {
        node.name: node.gradient.numbers for node in told.nodes if not node.operation and node.gradient
    }
    for name in at:
        step = 1e-6
        near = [
            compute(text, {k: cr.tensor(v + sign * step * (k == name), dtype=cr.float64) for k, v in at.items()}).item()
            for sign in (1, -1)
        ]
        assert found[name] == pytest.approx((near[0] - near[1]) / (2 * step), rel=1e-6)


def test_a_power_written_with_a_caret_is_told_how_to_write_it() -> None:
    with pytest.raises(ExpressionError, match=r"x\*\*2"):
        compute("a^2", {"a": cr.tensor(2.0)})


def test_output_that_nobody_reads_on_ends_without_a_traceback() -> None:
    command = [sys.executable, "-m", "chainrule", "explain", "+".join(["a"] * 400), "a=1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout is not None and running.stderr is not None
        running.stdout.close()
        assert running.stderr.read() == b""
