"""What values are called: the variable to which a line assigns, read from the function alone or from the whole file."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule
import chainrule as cr
from chainrule import nn
from chainrule.compiler.naming import assigned
from chainrule.nn import functional as F

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


# ----- programs -----


def values_while_running(step: Any, *inputs: Any) -> dict[str, Any]:
    """What each variable of a program holds right after the line that assigns to it."""
    path = step.source
    tree = ast.parse(path)
    function = next(item for item in tree.body if isinstance(item, ast.FunctionDef))
    names = [argument.arg for argument in function.args.args]
    space: dict[str, Any] = {}
    exec(compile(ast.Module([x for x in tree.body if x is not function], []), "<head>", "exec"), space)
    space |= dict(zip(names, (np.array(x) for x in inputs), strict=True))
    found = {}
    for statement in function.body[:-1]:
        exec(compile(ast.Module([statement], []), "<line>", "exec"), space)
        for target in getattr(statement, "targets", [getattr(statement, "target", None)]):
            if isinstance(target, ast.Name):
                found[target.id] = np.array(space[target.id])
    return found


def test_a_gradient_is_called_after_the_value_that_it_belongs_to_also_if_several_have_one_name() -> None:
    first, second = nn.Linear(3, 4), nn.Linear(4, 4)
    kept: dict[str, Any] = {}

    def loss_of(x: Any) -> Any:
        x = first(x).tanh()
        kept["x_2"] = x
        x = x * second(x).sigmoid() + x
        kept["x_3"] = x
        x = F.relu(x.exp() - 1)
        kept["x_4"] = x
        return (x**2).sum()

    def step(x: Any) -> Any:
        loss = loss_of(x)
        loss.backward()
        kept.clear()
        return loss

    x = cr.linspace(-1, 1, 6).reshape(2, 3)
    compiled = cr.compile(step, leave_out=["fusion", "orientation"])
    compiled(x)
    text = compiled.source
    parameters = re.search(r"def step\((.*)\):", text)
    assert parameters is not None and parameters[1].startswith("x, first_weight, first_bias, second_weight"), text
    given = [x, first.weight, first.bias, second.weight, second.bias]
    found = values_while_running(compiled, *(value.detach().numpy() for value in given))
    loss = loss_of(x)
    for value in kept.values():
        value.retain_grad()
    loss.backward()
    for name, value in kept.items():
        np.testing.assert_allclose(found[name], value.detach().numpy(), rtol=1e-6, err_msg=text)
        np.testing.assert_allclose(found[f"{name}_grad"], value.grad.numpy(), rtol=1e-5, err_msg=text)
    for layer in ("first", "second"):
        assert f"{layer} = np.dot(" in text and f"{layer}_weight_grad = np.dot({layer}_grad.T" in text, text


def test_layers_without_parameters_and_functions_give_values_their_names() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 2))

    def step(x: Any) -> Any:
        loss = F.log_softmax(F.softplus(model(x)), 1).mean()
        loss.backward()
        return loss

    compiled = cr.compile(step, leave_out=["fusion"])
    compiled(cr.ones(1, 1, 6, 6))
    assigned_to = re.findall(r"^    (\w+) = ", compiled.source, re.MULTILINE)
    names = [name for name in assigned_to if re.fullmatch(r"model_\d|softplus|log_softmax|loss", name)]
    assert names == ["model_0", "model_1", "model_2", "model_3", "model_4", "softplus", "log_softmax", "loss"]
    gradients = [name for name in assigned_to if re.fullmatch(r"(model_\d|softplus|log_softmax)_grad", name)]
    assert gradients == [f"{name}_grad" for name in ("softplus", "model_4", "model_3", "model_2", "model_1", "model_0")]


def test_a_value_with_a_name_gives_its_memory_away_but_not_its_name() -> None:
    def step(x: Any) -> Any:
        hidden = x * 2
        hidden = hidden.exp()
        return hidden.sin() + 1

    compiled = cr.compile(step, leave_out=["fusion"])
    compiled(cr.ones(100, 100))
    assert "hidden_2 = np.exp(hidden, out=hidden)" in compiled.source, compiled.source
    assert "sin = np.sin(hidden_2, out=hidden_2)" in compiled.source, compiled.source


def test_what_the_next_line_alone_reads_is_written_there() -> None:
    def step(x: Any, y: Any) -> Any:
        chosen = cr.where(x < y, -2.0, 3.0)
        return chosen.long() * (x < 2 * y).long(), chosen

    compiled = cr.compile(step, leave_out=["fusion"])
    x, y = cr.tensor([1.0, 5.0, 3.0]), cr.tensor([2.0, 4.0, 3.0])
    for found, expected in zip(compiled(x, y), step(x, y), strict=True):
        assert found.tolist() == expected.tolist()
    assert "chosen = np.where(x < y, " in compiled.source, compiled.source
    assert "(x < (2 * y)).astype(np.int64)" in compiled.source, compiled.source
    numbers = [line.number for line in compiled.profile(2).lines]
    assert len(numbers) == len(set(numbers)) < compiled.stats().steps


def test_each_part_and_each_turn_of_a_loop_has_the_name_that_the_user_gave_it() -> None:
    def halves(x: Any) -> Any:
        left, right = x.chunk(2, dim=1)
        left = left.exp()
        mixed = cr.cat([left, right], 1) * halve(x)
        return mixed

    def halve(x: Any) -> Any:
        scale = x.abs() + 1
        return scale / 2

    def step(x: Any) -> Any:
        for _ in range(2):
            x = halves(x) - 1
        return x.sum()

    compiled = cr.compile(step, leave_out=["fusion"])
    compiled(cr.ones(2, 4))
    names = re.findall(r"^    (\w+) = ", compiled.source, re.MULTILINE)
    names = [name for name in names if re.match("left|right|mixed|scale|x", name)]
    first, second = ["left", "right", "left_2", "mixed", "scale", "x_2"], ["left_3", "right_2", "left_4", "mixed_2"]
    assert names == [*first, *second, "scale_2", "x_3"], compiled.source
