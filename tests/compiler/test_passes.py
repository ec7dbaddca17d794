"""Each pass alone, on printed graphs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from chainrule.compiler.graph import CONSTANT, INPUT, Graph, Node
from chainrule.compiler.passes import PASSES

F4 = np.dtype(np.float32)


class Build:
    """Writes a graph down: shapes and types are found by carrying the calls out on ones."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.values: dict[Node, Any] = {}

    def input(self, name: str, *shape: int) -> Node:
        return self._add(Node(INPUT, (), None, shape, F4, name=name), np.ones(shape, F4))

    def constant(self, name: str, value: Any) -> Node:
        array = np.array(value, F4)
        array.flags.writeable = False
        return self._add(Node(CONSTANT, (array,), None, array.shape, F4, name=name), array)

    def __call__(self, name: str, op: Any, *args: Any, **kwargs: Any) -> Node:
        value = np.asarray(op(*(self.values[a] if isinstance(a, Node) else a for a in args), **kwargs))
        return self._add(Node(op, args, kwargs, value.shape, value.dtype, name=name), value)

    def _add(self, node: Node, value: Any) -> Node:
        self.nodes.append(node)
        self.values[node] = value
        return node


def after(pass_name: str, make: Callable[[Build], Node | list[Node]]) -> list[str]:
    """The steps of a graph after one pass, and what is left when nobody uses a value any more."""
    build = Build()
    results = make(build)
    graph = Graph(build.nodes, results if isinstance(results, list) else [results])
    PASSES[pass_name](graph)
    PASSES["dead_code"](graph)
    lines = [line.split("  ")[0].strip() for line in str(graph).split("\n")]
    return [line for line in lines if not line.endswith("= input")]


CASES: dict[str, tuple[str, Any, list[str]]] = {
    "x * 1": ("algebra", lambda b: b("y", np.multiply, b.input("x", 2), 1.0), ["return x"]),
    "1 * x": ("algebra", lambda b: b("y", np.multiply, 1.0, b.input("x", 2)), ["return x"]),
    "x / 1": ("algebra", lambda b: b("y", np.true_divide, b.input("x", 2), 1), ["return x"]),
    "x - 0": ("algebra", lambda b: b("y", np.subtract, b.input("x", 2), 0.0), ["return x"]),
    "x + 0 stays, for -0 + 0 is 0": (
        "algebra",
        lambda b: b("y", np.add, b.input("x", 2), 0.0),
        ["y = add(x, 0.0)", "return y"],
    ),
    "x - -0 stays": (
        "algebra",
        lambda b: b("y", np.subtract, b.input("x", 2), -0.0),
        ["y = subtract(x, -0.0)", "return y"],
    ),
    "x * ones that spread it stays": (
        "algebra",
        lambda b: b("y", np.multiply, b.input("x", 2), b.constant("c", np.ones((3, 2)))),
        ["c = constant", "y = multiply(x, c)", "return y"],
    ),
    "-(-x)": ("algebra", lambda b: b("z", np.negative, b("y", np.negative, b.input("x", 2))), ["return x"]),
    "x + (-y)": (
        "algebra",
        lambda b: b("z", np.add, b.input("x", 2), b("n", np.negative, b.input("y", 2))),
        ["z = subtract(x, y)", "return z"],
    ),
    "x - (-y)": (
        "algebra",
        lambda b: b("z", np.subtract, b.input("x", 2), b("n", np.negative, b.input("y", 2))),
        ["z = add(x, y)", "return z"],
    ),
    "exp(log(x)) stays, for it is rounded": (
        "algebra",
        lambda b: b("z", np.exp, b("y", np.log, b.input("x", 2))),
        ["y = log(x)", "z = exp(y)", "return z"],
    ),
    "transposed twice": (
        "algebra",
        lambda b: b("z", np.transpose, b("y", np.transpose, b.input("x", 2, 3))),
        ["return x"],
    ),
    "two orders of the axes": (
        "algebra",
        lambda b: b("z", np.swapaxes, b("y", np.transpose, b.input("x", 2, 3, 4), (1, 2, 0)), 0, 1),
        ["z = transpose(x, (2, 1, 0))", "return z"],
    ),
    "reshape of a reshape": (
        "algebra",
        lambda b: b("z", np.reshape, b("y", np.reshape, b.input("x", 2, 3), (6,)), (3, 2)),
        ["z = reshape(x, (3, 2))", "return z"],
    ),
    "astype to its own type": ("algebra", lambda b: b("y", np.astype, b.input("x", 2), F4), ["return x"]),
    "a spread operand": (
        "algebra",
        lambda b: b("z", np.multiply, b.input("x", 3, 2), b("y", np.broadcast_to, b.input("v", 2), (3, 2))),
        ["z = multiply(x, v)", "return z"],
    ),
    "two spread operands stay as large": (
        "algebra",
        lambda b: b("z", np.exp, b("y", np.broadcast_to, b.input("v", 2), (3, 2))),
        ["y = broadcast_to(v, (3, 2))", "z = exp(y)", "return z"],
    ),
    "where(c, x, zeros)": (
        "algebra",
        lambda b: b(
            "z",
            np.where,
            b("c", np.greater, b.input("x", 2), 0),
            b.input("y", 2),
            b("o", np.zeros_like, b.input("w", 2)),
        ),
        ["c = greater(x, 0)", "z = where(c, y, 0)", "return z"],
    ),
    "constants are computed now": (
        "constants",
        lambda b: b("z", np.multiply, b.input("x", 2), b("y", np.exp, b.constant("c", [1.0, 2.0]))),
        ["y = constant", "z = multiply(x, y)", "return z"],
    ),
    "large fills stay": (
        "constants",
        lambda b: b("z", np.multiply, b.input("x", 3), b("y", np.ones, (3,), F4)),
        ["y = ones((3,), float32)", "z = multiply(x, y)", "return z"],
    ),
    "the same twice": (
        "common_subexpressions",
        lambda b: b("z", np.add, b("y", np.exp, x := b.input("x", 2)), b("w", np.exp, x)),
        ["y = exp(x)", "z = add(y, y)", "return z"],
    ),
    "1 and 1.0 and 0.0 and -0.0 differ": (
        "common_subexpressions",
        lambda b: [
            b(name, op, x, value)
            for x in [b.input("x", 2)]
            for name, op, value in (("y", np.add, 0.0), ("y", np.add, -0.0), ("z", np.power, 2), ("z", np.power, 2.0))
        ],
        ["y = add(x, 0.0)", "y_2 = add(x, -0.0)", "z = power(x, 2)", "z_2 = power(x, 2.0)", "return y, y_2, z, z_2"],
    ),
    "what nobody uses": (
        "dead_code",
        lambda b: [b("y", np.exp, x := b.input("x", 2)), b("z", np.log, x)][:1],
        ["y = exp(x)", "return y"],
    ),
    "matrix times matrix": (
        "products",
        lambda b: b("z", np.matmul, b.input("x", 2, 3), b.input("y", 3, 4)),
        ["z = dot(x, y)", "return z"],
    ),
    "batch of matrices times matrix": (
        "products",
        lambda b: b("z", np.matmul, b.input("x", 5, 2, 3), b.input("y", 3, 4)),
        ["reshape = reshape(x, (10, 3))", "dot = dot(reshape, y)", "z = reshape(dot, (5, 2, 4))", "return z"],
    ),
    "batch times batch stays": (
        "products",
        lambda b: b("z", np.matmul, b.input("x", 5, 2, 3), b.input("y", 5, 3, 4)),
        ["z = matmul(x, y)", "return z"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_pass_rewrites(case: str) -> None:
    name, make, expected = CASES[case]
    assert after(name, make) == expected


def test_draws_of_random_numbers_are_neither_shared_nor_dropped() -> None:
    def make(b: Build) -> list[Node]:
        x = b.input("x", 2)
        for name in ("first", "second"):
            b(name, np.exp, x).effect = True
        return [x]

    assert after("common_subexpressions", make) == ["first = exp(x)", "second = exp(x)", "return x"]
