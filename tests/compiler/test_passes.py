"""Each pass alone, on printed graphs."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.special

import chainrule as cr
from chainrule.compiler.graph import CONSTANT, INPUT, Graph, Node, shown_argument
from chainrule.compiler.passes import PASSES, forms
from chainrule.compiler.tracer import UfuncMethod
from chainrule.ops.convolution import convolve
from chainrule.ops.elementwise import at_least_zero, keep_where
from chainrule.ops.indexing import getitem_adjoint
from chainrule.ops.pooling import Window, _max_pool, _spread_maxima
from chainrule.ops.special import SQRT_2PI, SQRT_HALF

from .programs import arrays_of

F4 = np.dtype(np.float32)
ALL = slice(None)
KERNELS = pytest.mark.skipif(importlib.util.find_spec("numba") is None, reason="no Numba")


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


def filled(b: Build, name: str, index: Any, *shape: int, of: tuple[int, ...] = (2, 6)) -> Node:
    """The gradient of a slice of an array."""
    return b(name, getitem_adjoint, b.input(f"{name}_grad", *shape), index, of)


def joined(b: Build, *befores: tuple[int, ...]) -> Node:
    """The sum of the halves of an array's columns, both of which were reshaped."""
    parts = []
    for i, before in enumerate(befores):
        half = b(f"r{i}", np.reshape, b.input(f"x{i}", *before), (6, 2))
        parts.append(b(f"p{i}", getitem_adjoint, half, (ALL, slice(2 * i, 2 * i + 2)), (6, 4)))
    return b("z", np.add, *parts)


def heads(b: Build) -> Node:
    """What queries, keys and values hand back to the array that they were split from."""
    parts = []
    for i in range(3):
        x = b(f"t{i}", np.transpose, b.input(f"x{i}", 2, 3, 5, 4), (0, 2, 1, 3))
        index = (slice(None), slice(None), slice(12 * i, 12 * i + 12))
        parts.append(b(f"p{i}", getitem_adjoint, b(f"r{i}", np.reshape, x, (2, 5, 12)), index, (2, 5, 36)))
    return b("z", np.add, b("y", np.add, parts[2], parts[0]), parts[1])


CASES: dict[str, tuple[str, Any, list[str]]] = {
    "gradients of slices that cover an array": (
        "slices",
        lambda b: b("z", np.add, filled(b, "q", (ALL, slice(2, 6)), 2, 4), filled(b, "p", (ALL, slice(0, 2)), 2, 2)),
        ["z = concatenate([p_grad, q_grad], axis=1)", "return z"],
    ),
    "gradients of rows": (
        "slices",
        lambda b: b("z", np.add, filled(b, "p", (0,), 6), filled(b, "q", (-1, ALL), 6)),
        [
            "reshape = reshape(p_grad, (1, 6))",
            "reshape_2 = reshape(q_grad, (1, 6))",
            "z = concatenate([reshape, reshape_2], axis=0)",
            "return z",
        ],
    ),
    "gradients of queries, keys and values": (
        "slices",
        heads,
        [
            "t0 = transpose(x0, (0, 2, 1, 3))",
            "t1 = transpose(x1, (0, 2, 1, 3))",
            "t2 = transpose(x2, (0, 2, 1, 3))",
            "z = concatenate([t0, t1, t2], axis=2)",
            "z_2 = reshape(z, (2, 5, 36))",
            "return z_2",
        ],
    ),
    "gradients that were reshaped within their rows": (
        "slices",
        lambda b: joined(b, (6, 2, 1), (6, 2, 1)),
        ["z = concatenate([x0, x1], axis=1)", "z_2 = reshape(z, (6, 4))", "return z_2"],
    ),
    "gradients that were reshaped beyond their rows": (
        "slices",
        lambda b: joined(b, (3, 4, 1), (3, 4, 1)),
        ["r0 = reshape(x0, (6, 2))", "r1 = reshape(x1, (6, 2))", "z = concatenate([r0, r1], axis=1)", "return z"],
    ),
    "gradients that were reshaped each in its way": (
        "slices",
        lambda b: joined(b, (6, 2, 1), (6, 1, 2)),
        ["r0 = reshape(x0, (6, 2))", "r1 = reshape(x1, (6, 2))", "z = concatenate([r0, r1], axis=1)", "return z"],
    ),
    "x * 1": ("algebra", lambda b: b("y", np.multiply, b.input("x", 2), 1.0), ["return x"]),
    "1 * x": ("algebra", lambda b: b("y", np.multiply, 1.0, b.input("x", 2)), ["return x"]),
    "an array full of one number": (
        "algebra",
        lambda b: b("y", np.multiply, b("c", np.full, (2, 3), 0.5, np.float32), b.input("x", 2, 3)),
        ["c = constant", "y = multiply(c, x)", "return y"],
    ),
    "an array full of one number that another is spread by": (
        "algebra",
        lambda b: b("y", np.multiply, b("c", np.full, (2, 3), 0.5, np.float32), b.input("x", 3)),
        ["c = full((2, 3), 0.5, float32)", "y = multiply(c, x)", "return y"],
    ),
    "the conjugate of real numbers": ("algebra", lambda b: b("y", np.conjugate, b.input("x", 2)), ["return x"]),
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
    "(-x) + y": (
        "algebra",
        lambda b: b("z", np.add, b("n", np.negative, b.input("x", 2)), b.input("y", 2)),
        ["z = subtract(y, x)", "return z"],
    ),
    "sums with negative numbers of another type stay": (
        "algebra",
        lambda b: [
            b("z", op, *terms)
            for x, n in [(b.input("x", 2), b("n", np.negative, b("w", np.astype, b.input("v", 2), np.uint8)))]
            for op, terms in ((np.add, (x, n)), (np.add, (n, x)), (np.subtract, (x, n)))
        ],
        ["w = astype(v, uint8)", "n = negative(w)", "z = add(x, n)", "z_2 = add(n, x)", "z_3 = subtract(x, n)"]
        + ["return z, z_2, z_3"],
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
    "1j and -0.0 + 1j, and two NumPy zeros, differ": (
        "common_subexpressions",
        lambda b: [
            b("y", np.multiply, x, value)
            for x in [b.input("x", 2)]
            for value in (1j, complex(-0.0, 1), np.float32(0.0), np.float32(-0.0))
        ],
        ["y = multiply(x, 1j)", "y_2 = multiply(x, (-0+1j))", "y_3 = multiply(x, np.float32(0.0))"]
        + ["y_4 = multiply(x, np.float32(-0.0))", "return y, y_2, y_3, y_4"],
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


UNCOVERED: dict[str, tuple[Any, Any]] = {
    "a gap": ((ALL, slice(0, 2)), (ALL, slice(3, 6))),
    "an overlap": ((ALL, slice(0, 4)), (ALL, slice(3, 6))),
    "a rest": ((ALL, slice(0, 2)), (ALL, slice(2, 5))),
    "steps": ((ALL, slice(0, 6, 2)), (ALL, slice(1, 6, 2))),
    "steps of rows": ((slice(0, 2, 2), slice(0, 3)), (ALL, slice(3, 6))),
    "backwards": ((ALL, slice(None, None, -1)), (ALL, slice(0, 0))),
    "a corner": ((slice(0, 1), slice(0, 2)), (ALL, slice(2, 6))),
    "two axes": ((slice(0, 1),), (ALL, slice(1, 6))),
    "two axes, with ends that fit": ((slice(0, 1),), (ALL, slice(1, 2))),
    "all of it": ((ALL, ALL), (ALL, slice(0, 6))),
    "indices": (([0, 1],), (slice(0, 0),)),
    "a new axis": ((None, ALL, slice(0, 2)), (ALL, slice(2, 6))),
}


@pytest.mark.parametrize("case", UNCOVERED)
def test_slices_that_do_not_cover_an_array_once_stay(case: str) -> None:
    whole = np.zeros((2, 6))

    def make(b: Build) -> Node:
        parts = [filled(b, name, index, *whole[index].shape) for name, index in zip("pq", UNCOVERED[case], strict=True)]
        return b("z", np.add, *parts)

    assert after("slices", make)[-2:] == ["z = add(p, q)", "return z"]


def test_a_product_of_slices_that_cover_an_array_stays() -> None:
    def make(b: Build) -> Node:
        first, second = filled(b, "p", (ALL, slice(0, 2)), 2, 2), filled(b, "q", (ALL, slice(2, 4)), 2, 2)
        product = b("y", np.multiply, first, second)
        return b("z", np.add, product, filled(b, "r", (ALL, slice(4, 6)), 2, 2))

    assert after("slices", make)[-2:] == ["z = add(y, r)", "return z"]


def test_slices_of_a_smaller_array_that_is_spread_stay() -> None:
    def make(b: Build) -> Node:
        small = filled(b, "p", (ALL, slice(0, 2)), 1, 2, of=(1, 6))
        return b("z", np.add, small, filled(b, "q", (ALL, slice(2, 6)), 2, 4))

    assert after("slices", make)[-2:] == ["z = add(p, q)", "return z"]


@pytest.mark.parametrize("case", CASES)
def test_a_pass_rewrites(case: str) -> None:
    name, make, expected = CASES[case]
    assert after(name, make) == expected


MASK, WHOLE, X = (cr.tensor(a) for a in ([True, False], [3, 4], [1.0, -2.0]))


def with_both_zeros() -> Any:
    x = X.abs() + 1
    both = cr.tensor([0.0, -0.0])
    return [(x / both).exp(), x.copysign(both) * 2, cr.where(X < 0, both, x + 1), -(x * 0) - both]


FILLED: dict[str, Any] = {
    "a fraction as whole numbers": lambda: cr.where(MASK, cr.full_like(X, 2.7, dtype=cr.int64), WHOLE) * 3,
    "a number as truth": lambda: cr.where(MASK, cr.full_like(WHOLE, 0.5, dtype=cr.bool), ~MASK),
    "no truth": lambda: cr.where(MASK, cr.zeros_like(MASK), ~MASK),
    "minus zero": lambda: [(X + 2) / cr.full_like(X, -0.0), X.abs() * 0 - cr.full_like(X, -0.0)],
    "both zeros": with_both_zeros,
}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # divisions by 0
@pytest.mark.parametrize(
    ("case", "kernels"), [*((case, "0") for case in FILLED), pytest.param("both zeros", "1", marks=KERNELS)]
)
def test_an_array_counts_as_one_number_only_if_each_element_is_that(
    case: str, kernels: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHAINRULE_KERNELS", kernels)
    found, expected = arrays_of(cr.compile(FILLED[case])()), arrays_of(FILLED[case]())
    for x, y in zip(found, expected, strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(x, y)
        np.testing.assert_array_equal(np.signbit(x), np.signbit(y))


@pytest.mark.usefixtures("numpy_only")
def test_negative_numbers_that_went_round_are_added_as_they_are() -> None:
    def program(x: Any, y: Any) -> Any:
        return x + -y, -y + x, x - -y

    x, y = np.array([10, 20]), np.array([3, 4], np.uint8)
    for found, expected in zip(cr.compile(program)(x, y), program(x, y), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_draws_of_random_numbers_are_neither_shared_nor_dropped() -> None:
    def make(b: Build) -> list[Node]:
        x = b.input("x", 2)
        for name in ("first", "second"):
            b(name, np.exp, x).effect = True
        return [x]

    assert after("common_subexpressions", make) == ["first = exp(x)", "second = exp(x)", "return x"]


# ----- other forms for NumPy alone -----


def in_other_forms(make: Callable[[Build], Node | list[Node]]) -> list[str]:
    """The steps of a graph in the forms that programs without kernels have."""
    build = Build()
    results = make(build)
    graph = Graph(build.nodes, results if isinstance(results, list) else [results])
    before = str(graph)
    found, places = forms.run(graph)
    assert str(graph) == before and [places[node] for node in graph.outputs] == found.outputs
    lines = [re.sub(r"\s*(\w+\[[\d, ]*\]|several)$", "", line) for line in str(found).split("\n")]
    return [line for line in lines if not line.endswith("= input")]


def masked(b: Build, size: int, value: float = 0.0, other: int = 0) -> Node:
    x, m = b.input("x", size), b.input("m", other or size)
    return b("z", np.where, b("mask", np.greater, m, 0), x, value)


def stepped(b: Build, size: int, *factor: Any, again: bool = False) -> list[Node]:
    w, g = b.input("w", size), b.input("g", size)
    product = b("p", np.multiply, g, *factor or (0.1,))
    return [b("z", np.add, w, product)] + [product] * again


PAIRS = (Window(6, 2, 2, 0, 1, 3),)
SETTINGS: dict[str, Any] = {"size": (3,), "stride": (1,), "padding": ((0, 0),), "dilation": (1,), "groups": 1}


def pooled(b: Build) -> list[Node]:
    """relu, maxima of pairs, and the gradient on its way back."""
    x, g = b.input("x", 2, 6), b.input("g", 2, 3)
    y = b("y", at_least_zero, x)
    maxima = b("p", _max_pool, y, PAIRS)
    spread = b("s", _spread_maxima, g, maxima, y, PAIRS)
    return [maxima, b("z", keep_where, spread, b("m", np.not_equal, y, 0)), y]


def gelu(b: Build, size: int = 2000, slope: bool = True) -> list[Node]:
    """gelu as it is written out, and its derivative."""
    x = b.input("x", size)
    normal = b("n", np.add, b("e", scipy.special.erf, b("s", np.multiply, x, SQRT_HALF)), 1)
    value = b("y", np.multiply, b("p", np.multiply, x, normal), 0.5)
    if not slope:
        return [value]
    exponential = b("d", np.exp, b("h", np.multiply, b("q", np.multiply, x, x), -0.5))
    density = b("c", np.multiply, b("r", np.multiply, x, exponential), 1 / SQRT_2PI)
    return [value, b("z", np.add, b("o", np.multiply, normal, 0.5), density)]


def softmax(b: Build, *shifted: Node) -> Node:
    x = b.input("x", 40, 50)
    s = b("s", np.subtract, *shifted or (x,), b("m", np.max, x, 1, keepdims=True))
    e = b("e", np.exp, s)
    return b("w", np.true_divide, e, b("t", np.sum, e, 1, keepdims=True))


OTHER_FORMS: dict[str, tuple[Any, list[str]]] = {
    "a large relu": (
        lambda b: [
            b("y", np.maximum, b.input("x", 2000), 0),
            b("z", np.maximum, 0.0, b.nodes[0]),
            b("w", np.maximum, b.nodes[0], 1),
            b("v", np.maximum, b.nodes[0], b.nodes[0]),
        ],
        [
            "y = at_least_zero(x)",
            "z = at_least_zero(x)",
            "w = maximum(x, 1)",
            "v = maximum(x, x)",
            "return y, z, w, v",
        ],
    ),
    "a small relu stays": (lambda b: b("y", np.maximum, b.input("x", 20), 0), ["y = maximum(x, 0)", "return y"]),
    "a large mask": (lambda b: masked(b, 2000), ["mask = greater(m, 0)", "z = keep_where(x, mask)", "return z"]),
    "a small mask stays": (lambda b: masked(b, 20), ["mask = greater(m, 0)", "z = where(mask, x, 0.0)", "return z"]),
    "-0 stays": (lambda b: masked(b, 2000, -0.0), ["mask = greater(m, 0)", "z = where(mask, x, -0.0)", "return z"]),
    "1 stays": (lambda b: masked(b, 2000, 1.0), ["mask = greater(m, 0)", "z = where(mask, x, 1.0)", "return z"]),
    "a number under a large mask": (
        lambda b: masked(b, 1, other=2000),
        ["mask = greater(m, 0)", "z = keep_where(x, mask)", "return z"],
    ),
    "a mask that is spread stays": (
        lambda b: masked(b, 2000, other=1),
        ["mask = greater(m, 0)", "z = where(mask, x, 0.0)", "return z"],
    ),
    "a step": (lambda b: stepped(b, 2000), ["z = plus_multiple(w, g, 0.1)", "return z"]),
    "a step whose product is used again stays": (
        lambda b: stepped(b, 2000, again=True),
        ["p = multiply(g, 0.1)", "z = add(w, p)", "return z, p"],
    ),
    "a small step stays": (lambda b: stepped(b, 20), ["p = multiply(g, 0.1)", "z = add(w, p)", "return z"]),
    "a step by an array stays": (
        lambda b: stepped(b, 2000, b.input("f", 2000)),
        ["p = multiply(g, f)", "z = add(w, p)", "return z"],
    ),
    "reductions": (
        lambda b: [
            b("y", np.sum, x := b.input("x", 2, 3), axis=1, keepdims=True),
            b("z", np.max, x),
            b("w", np.min, x, 0),
            b("v", np.sum, x, dtype=np.float64),
        ],
        [
            "y = add.reduce(x, axis=1, keepdims=True)",
            "z = maximum.reduce(x, axis=None)",
            "w = minimum.reduce(x, axis=0)",
            "v = sum(x, dtype=float64)",
            "return y, z, w, v",
        ],
    ),
    "reductions of short rows, and of columns": (
        lambda b: [
            b("y", np.sum, b.input("x", 2, 40, 50), axis=-1, keepdims=True),
            b("z", np.max, b.nodes[0], 2),
            b("w", np.sum, b.nodes[0], axis=(1, 2)),
            b("v", UfuncMethod(np.add, "reduce"), b.nodes[0], axis=(0, 1)),
            b("u", UfuncMethod(np.add, "reduce"), b.nodes[0]),
            b("t", UfuncMethod(np.add, "reduce"), b.nodes[0], axis=1),
            b("s", UfuncMethod(np.add, "reduce"), b.nodes[0], axis=None),
            b("r", UfuncMethod(np.add, "accumulate"), b.nodes[0], axis=0),
            b("q", UfuncMethod(np.maximum, "reduce"), b.nodes[0], axis=0),
        ],
        [
            "y = sum_of_rows(x, 50, (2, 40, 1))",
            "z = largest_of_rows(x, 50, (2, 40))",
            "w = add.reduce(x, axis=(1, 2))",
            "v = sum_of_columns(x, 50, (50,))",
            "u = sum_of_columns(x, 2000, (40, 50))",
            "t = add.reduce(x, axis=1)",
            "s = add.reduce(x, axis=None)",
            "r = add.accumulate(x, axis=0)",
            "q = maximum.reduce(x, axis=0)",
            "return y, z, w, v, u, t, s, r, q",
        ],
    ),
    "means of short rows": (
        lambda b: [
            b("y", np.mean, b.input("x", 2, 40, 50), axis=2, keepdims=True),
            b("z", np.mean, b.nodes[0], (1, 2)),
            b("w", np.mean, b.nodes[0], 0),
            b("v", np.mean, b.nodes[0], 2, np.float64),
        ],
        [
            "sum = sum_of_rows(x, 50, (2, 40, 1))",
            "y = divide(sum, 50)",
            "z = mean(x, (1, 2))",
            "w = mean(x, 0)",
            "v = mean(x, 2, float64)",
            "return y, z, w, v",
        ],
    ),
    "maxima before relu, and masks before they are spread": (
        lambda b: pooled(b)[:2],
        [
            f"pooled = _max_pool(x, {shown_argument(PAIRS, {})})",
            "p = at_least_zero(pooled)",
            "mask = not_equal(p, 0)",
            "keep_where = keep_where(g, mask)",
            f"z = _spread_maxima(keep_where, pooled, x, {shown_argument(PAIRS, {})})",
            "return p, z",
        ],
    ),
    "relu before maxima stays where it is read": (
        pooled,
        [
            "y = at_least_zero(x)",
            f"p = _max_pool(y, {shown_argument(PAIRS, {})})",
            "mask = not_equal(p, 0)",
            "keep_where = keep_where(g, mask)",
            f"z = _spread_maxima(keep_where, p, y, {shown_argument(PAIRS, {})})",
            "return p, z, y",
        ],
    ),
    "relu before maxima stays where nothing masks their gradient": (
        lambda b: [
            b("y", at_least_zero, b.input("x", 2, 6)),
            b("p", _max_pool, b.nodes[1], PAIRS),
            b("s", _spread_maxima, b.input("g", 2, 3), b.nodes[2], b.nodes[1], PAIRS),
        ][2:],
        [
            "y = at_least_zero(x)",
            f"p = _max_pool(y, {shown_argument(PAIRS, {})})",
            f"s = _spread_maxima(g, p, y, {shown_argument(PAIRS, {})})",
            "return s",
        ],
    ),
    "a mask of something else stays where it is": (
        lambda b: b(
            "z",
            keep_where,
            b("s", _spread_maxima, b.input("g", 2, 3), b.input("p", 2, 3), b.input("x", 2, 6), PAIRS),
            b("m", np.not_equal, b.input("w", 2, 6), 0),
        ),
        [
            f"s = _spread_maxima(g, p, x, {shown_argument(PAIRS, {})})",
            "m = not_equal(w, 0)",
            "z = keep_where(s, m)",
            "return z",
        ],
    ),
    "relu within a convolution": (
        lambda b: b("y", at_least_zero, b("c", convolve, b.input("x", 1, 1, 4), b.input("w", 1, 1, 2), **SETTINGS)),
        [
            "y = rectified_convolve(x, w, size=(3,), stride=(1,), padding=((0, 0),), dilation=(1,), groups=1)",
            "return y",
        ],
    ),
    "a convolution that is read beside its relu stays": (
        lambda b: [
            b("c", convolve, b.input("x", 1, 1, 4), b.input("w", 1, 1, 2), **SETTINGS),
            b("y", at_least_zero, b.nodes[2]),
        ],
        [
            "c = convolve(x, w, size=(3,), stride=(1,), padding=((0, 0),), dilation=(1,), groups=1)",
            "y = at_least_zero(c)",
            "return c, y",
        ],
    ),
    "a very large mask is not kept": (
        lambda b: b("z", keep_where, b.input("x", 1 << 17), b("m", np.not_equal, b.input("w", 1 << 17), 0)),
        ["z = keep_where_nonzero(x, w)", "return z"],
    ),
    "a very large mask that is used again is kept": (
        lambda b: [
            b("z", keep_where, b.input("x", 1 << 17), b("m", np.not_equal, b.input("w", 1 << 17), 0)),
            b("v", keep_where, b.nodes[1], b.nodes[2]),
        ],
        ["m = not_equal(w, 0)", "z = keep_where(x, m)", "v = keep_where(w, m)", "return z, v"],
    ),
    "softmax": (
        softmax,
        ["w = softmax_of_rows(x, 50)", "return w"],
    ),
    "softmax whose exponentials are read again": (
        lambda b: [softmax(b), b.nodes[3]],
        [
            "m = largest_of_rows(x, 50, (40, 1))",
            "s = subtract(x, m)",
            "e = exp(s)",
            "t = sum_of_rows(e, 50, (40, 1))",
            "w = divide(e, t)",
            "return w, e",
        ],
    ),
    "exponentials of something else": (
        lambda b: softmax(b, b.input("y", 40, 50)),
        [
            "m = largest_of_rows(x, 50, (40, 1))",
            "s = subtract(y, m)",
            "e = exp(s)",
            "t = sum_of_rows(e, 50, (40, 1))",
            "w = divide(e, t)",
            "return w",
        ],
    ),
    "gelu with its derivative": (
        gelu,
        [
            "gelu_in_blocks = gelu_in_blocks(x, 'none')",
            "y = getitem(gelu_in_blocks, 0)",
            "z = getitem(gelu_in_blocks, 1)",
            "return y, z",
        ],
    ),
    "gelu without its derivative": (
        lambda b: gelu(b, slope=False),
        ["s = multiply(x, 0.7071067811865476)", "e = _erf(s)", "n = add(e, 1)", "p = multiply(x, n)"]
        + ["y = multiply(p, 0.5)", "return y"],
    ),
    "an element of each row": (
        lambda b: b("z", np.take_along_axis, b.input("x", 2, 3), b("i", np.astype, b.input("n", 2, 1), np.int64), 1),
        ["i = astype(n, int64)", "rows = constant", "z = getitem(x, (rows, i))", "return z"],
    ),
    "elements of columns stay": (
        lambda b: b("z", np.take_along_axis, b.input("x", 2, 3), b("i", np.astype, b.input("n", 1, 3), np.int64), 0),
        ["i = astype(n, int64)", "z = take_along_axis(x, i, 0)", "return z"],
    ),
}


@pytest.mark.parametrize("case", OTHER_FORMS)
def test_without_kernels_a_program_has_other_forms(case: str) -> None:
    make, expected = OTHER_FORMS[case]
    assert in_other_forms(make) == expected


@pytest.mark.parametrize("shape", [(40, 50), (3, 2000, 50), (50,)])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_softmax_of_rows_is_scipys_wherever_it_is_written(dtype: str, shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).normal(size=shape).astype(dtype)
    x[..., 3] += 1000
    x[..., 5:9], x[0, ...] = -np.inf, x[-1, ...]
    expected = scipy.special.softmax(x.astype("f8"), -1)
    strided = np.repeat(x, 2, -1)[..., ::2]
    targets = [(x, None), (x, np.empty_like(x)), (x, np.empty_like(strided)), (strided, np.repeat(x, 2, -1)[..., ::2])]
    for given, out in [*targets, (strided, strided), (x, x)]:
        found = forms.softmax_of_rows(given, 50, out=out)
        assert found is out or out is None
        np.testing.assert_allclose(found, expected, rtol=float(50 * np.finfo(dtype).eps), atol=0)


@pytest.mark.parametrize("shape", [(40, 50, 70), (40, 50, 1), (1, 50, 1), (40, 50, 70)[::-1]])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_what_is_not_0_keeps_the_bits(dtype: str, shape: tuple[int, ...]) -> None:
    random = np.random.default_rng(0)
    like = np.maximum(random.normal(size=(40, 50, 70)), 0).astype(dtype)
    x = random.normal(size=shape).astype(dtype)
    if shape == (70, 50, 40):
        x = x.T
    x[0, :4, 0], like[0, 5:9, 0] = (np.inf, -np.inf, np.nan, -0.0), (np.nan, np.inf, -0.0, 5e-324)
    expected = np.where(like != 0, x, np.zeros((), dtype))
    before = like.copy()
    np.testing.assert_array_equal(forms.keep_where_nonzero(x, like), expected)
    np.testing.assert_array_equal(like, before)
    if x.shape == like.shape:
        same = x.copy()
        assert forms.keep_where_nonzero(same, like, out=same) is same
        np.testing.assert_array_equal(same, expected)
    assert forms.keep_where_nonzero(x, like, out=like) is like
    np.testing.assert_array_equal(like, expected)


@pytest.mark.parametrize("strided", [False, True])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_reductions_of_rows_and_columns_are_numpys(dtype: str, strided: bool) -> None:
    x = np.random.default_rng(0).normal(size=(6, 70, 50)).astype(dtype)
    x[2, 3, 4], x[2, 4, 5], x[2, 5] = np.nan, np.inf, -np.inf
    if strided:
        x = np.repeat(x, 2, 0).swapaxes(0, 1)[:, ::2]
    size = x.size // 50
    tolerance = float(50 * np.finfo(dtype).eps)
    with np.errstate(invalid="ignore"):
        found = forms.sum_of_rows(x, 50, (*x.shape[:2], 1))
        np.testing.assert_allclose(found, x.sum(2, keepdims=True), rtol=tolerance, atol=tolerance)
        found = forms.sum_of_columns(x, 50, (50,))
        np.testing.assert_allclose(found, x.sum((0, 1)), rtol=tolerance, atol=size * tolerance)
        np.testing.assert_array_equal(forms.largest_of_rows(x, 50, x.shape[:2]), x.max(2))


@pytest.mark.parametrize("size", [1, 5000, 40_000])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_a_multiple_is_added_in_place_or_not(size: int, dtype: str) -> None:
    random = np.random.default_rng(0)
    x, y = (random.normal(size=size).astype(dtype) for _ in range(2))
    expected = x + y * -0.3
    for out in (None, np.empty_like(x), np.empty(2 * size, dtype)[::2]):
        found = forms.plus_multiple(x, y, -0.3, out=out)
        np.testing.assert_array_equal(found, expected)
        assert out is None or found is out
    strided = np.repeat(x, 2)[::2]
    np.testing.assert_array_equal(forms.plus_multiple(strided, y, -0.3), expected)
    assert forms.plus_multiple(x, y, -0.3, out=x) is x
    np.testing.assert_allclose(x, expected, rtol=0, atol=float(4 * np.finfo(dtype).eps))
