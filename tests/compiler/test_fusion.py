"""Which operations become one kernel, and that the kernels' text says what they do; Python runs it here."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("numba")

import chainrule as cr
import chainrule.nn.functional as F
from chainrule.compiler import compile
from chainrule.compiler.graph import INPUT, Graph, Node, map_nodes
from chainrule.compiler.kernels import compiling, elementary_functions
from chainrule.compiler.passes.fusion import Kernel, Place, fuse, place_of
from tests.compiler.programs import agrees, interpreted

FLOAT = np.dtype(np.float32)
random = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def in_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "kernel", interpreted)
    monkeypatch.setenv("CHAINRULE_NUM_THREADS", "2")


def value(name: str, *shape: int) -> Node:
    return Node(INPUT, shape=shape, dtype=FLOAT, name=name)


def call(op: Any, shape: tuple[int, ...], *args: Any, dtype: Any = FLOAT, **kwargs: Any) -> Node:
    return Node(op, args, kwargs, shape, np.dtype(dtype))


def graph_of(*outputs: Node) -> Graph:
    """The graph that leads to some nodes, in order."""
    nodes: dict[Node, None] = {}

    def visit(node: Node) -> None:
        for operand in node.operands():
            visit(operand)
        nodes.setdefault(node)

    for node in outputs:
        visit(node)
    return Graph(list(nodes), list(outputs))


def kernels_of(graph: Graph) -> list[Kernel]:
    fused, _ = fuse(graph, elementary_functions())
    return [node.op for node in fused.nodes if isinstance(node.op, Kernel)]


def names(kernel: Kernel) -> list[list[str]]:
    return [[node.op.__name__ for node in loop.nodes] for loop in kernel.loops]


def evaluate(graph: Graph, arrays: dict[Node, Any]) -> list[Any]:
    known = dict(arrays)
    for node in graph.nodes:
        if node.op is not INPUT:
            args, kwargs = map_nodes(node.args, known.__getitem__), map_nodes(node.kwargs, known.__getitem__)
            known[node] = node.op(*args, **kwargs)
    return [known[node] for node in graph.outputs]


# ----- places -----


@pytest.mark.parametrize(
    ("shape", "kept", "columns", "place"),
    [
        ((4, 5), [True, True], 5, Place(1, 4, True)),
        ((4, 5), [True, True], 20, Place(1, 1, True)),
        ((4, 5), [False, True], 5, Place(1, 1, True)),
        ((4, 5), [True, False], 5, Place(1, 4, False)),
        ((4, 5), [True, False], 20, None),
        ((2, 3, 5, 7), [False, True, False, False], 35, Place(1, 3, False)),
        ((2, 3, 5, 7), [True, False, False, False], 35, Place(3, 2, False)),
        ((2, 3, 5, 7), [False, False, True, True], 7, Place(1, 5, True)),
        ((2, 3, 5, 7), [False, False, True, True], 35, Place(1, 1, True)),
        ((2, 3, 5, 7), [True, False, True, True], 7, None),
        ((4, 1, 5), [True, True, True], 4, None),
        ((3, 1), [False, False], 3, Place(1, 1, False)),
    ],
)
def test_place_of(shape: tuple[int, ...], kept: list[bool], columns: int, place: Place | None) -> None:
    assert place_of(shape, kept, columns) == place
    if place is not None:  # the element that it names is the one that broadcasting takes
        small = [size if keep else 1 for size, keep in zip(shape, kept, strict=True)]
        array = np.arange(np.prod(small)).reshape(small)
        width = columns if place.columns else 1
        flat = array.reshape(place.period, width)
        rows = int(np.prod(shape)) // columns
        found = [[flat[r // place.repeat % place.period, c % width] for c in range(columns)] for r in range(rows)]
        np.testing.assert_array_equal(np.reshape(found, shape), np.broadcast_to(array, shape))


# ----- groups -----


def test_a_chain_of_elementwise_operations_is_one_loop() -> None:
    x = value("x", 4, 5)
    y = call(np.multiply, (4, 5), call(np.add, (4, 5), x, 1.0), x)
    (kernel,) = kernels_of(graph_of(y))
    assert names(kernel) == [["add", "multiply"]]
    assert kernel.loops[0].rows == 1 and kernel.loops[0].columns == 20


def test_softmax_is_one_loop_over_rows() -> None:
    x = value("x", 4, 5)
    shifted = call(np.subtract, (4, 5), x, call(np.max, (4, 1), x, axis=1, keepdims=True))
    exps = call(np.exp, (4, 5), shifted)
    (kernel,) = kernels_of(graph_of(call(np.divide, (4, 5), exps, call(np.sum, (4, 1), exps, axis=1, keepdims=True))))
    (loop,) = kernel.loops
    assert (loop.rows, loop.columns) == (4, 5)
    assert len(kernel.inputs) == len(kernel.outputs) == 1


def test_what_uses_a_sum_over_all_rows_is_another_loop_of_the_kernel() -> None:
    x = value("x", 4, 5)
    total = call(np.add.reduce, (5,), call(np.multiply, (4, 5), x, x))  # axis 0
    total.op = __import__("chainrule.compiler.tracer", fromlist=["UfuncMethod"]).UfuncMethod(np.add, "reduce")
    (kernel,) = kernels_of(graph_of(call(np.divide, (4, 5), x, total)))
    assert names(kernel) == [["multiply", "add.reduce"], ["divide"]]


def test_loops_around_a_product_are_not_one() -> None:
    x, w = value("x", 4, 4), value("w", 4, 4)
    before = call(np.exp, (4, 4), x)
    product = call(np.dot, (4, 4), before, w)
    after = call(np.add, (4, 4), call(np.multiply, (4, 4), product, before), 1.0)
    first, second = kernels_of(graph_of(after))
    assert names(first) == [["exp"]] and names(second) == [["multiply", "add"]]


def test_one_simple_operation_stays_a_call_of_numpy() -> None:
    x = value("x", 4, 5)
    assert kernels_of(graph_of(call(np.dot, (4, 4), call(np.add, (4, 5), x, x), value("w", 5, 4)))) == []


def test_another_shape_of_a_value_beside_a_loop_is_no_part_of_its_kernel() -> None:
    x, bias = value("x", 6, 8), value("bias", 8)
    turned = call(np.transpose, (8, 6), x)
    flat = call(np.reshape, (4, 12), turned, (4, 12))  # for the product alone
    product = call(np.dot, (4, 8), flat, value("w", 12, 8))
    total = call(np.exp, (4, 8), call(np.add, (4, 8), product, bias))
    fused, _ = fuse(graph_of(flat, total), elementary_functions())
    (whole,) = (node for node in fused.nodes if isinstance(node.op, Kernel))
    assert [len(whole.args), names(whole.op)] == [2, [["add", "exp"]]]


def test_a_row_and_a_column_of_a_square_are_told_apart() -> None:
    x, v = value("x", 4, 4), value("v", 4)
    twice = call(np.add, (4,), v, v)
    column = call(np.reshape, (4, 1), twice, (4, 1))
    both = call(np.multiply, (4, 4), call(np.multiply, (4, 4), x, twice), column)
    graph = graph_of(both)
    arrays = {x: random.normal(size=(4, 4)).astype("f4"), v: random.normal(size=4).astype("f4")}
    fused, _ = fuse(graph, elementary_functions())
    np.testing.assert_array_equal(evaluate(fused, arrays)[0], evaluate(graph, arrays)[0])


def test_a_mask_is_computed_again_rather_than_stored() -> None:
    x, w, g = value("x", 8, 8), value("w", 8, 8), value("g", 8, 8)
    active = call(np.maximum, (8, 8), call(np.add, (8, 8), x, 1.0), 0)
    product = call(np.dot, (8, 8), active, w)
    mask = call(np.not_equal, (8, 8), active, 0, dtype=bool)
    back = call(np.where, (8, 8), mask, call(np.dot, (8, 8), product, g), 0)
    first, second = kernels_of(graph_of(call(np.multiply, (8, 8), back, back)))
    assert [node.dtype.name for node in first.outputs] == ["float32"]
    assert "not_equal" in names(second)[0]


def test_refused_operations_are_in_no_kernel() -> None:
    x = value("x", 4, 5)
    graph = graph_of(call(np.multiply, (4, 5), call(np.add, (4, 5), x, 1.0), x))
    (kernel,) = kernels_of(graph)
    fused, _ = fuse(graph, elementary_functions(), kernel.positions)
    assert not any(isinstance(node.op, Kernel) for node in fused.nodes)


def test_effects_keep_their_order() -> None:
    x = value("x", 4, 5)
    effects = [Node(op, (x,), None, (4, 5), FLOAT, effect=True) for op in (np.exp, np.sin, np.cos)]
    total = call(np.add, (4, 5), call(np.add, (4, 5), effects[2], effects[0]), effects[1])
    rest = [node for node in graph_of(total).nodes if node.op is np.add]
    fused, _ = fuse(Graph([x, *effects, *rest], [total]), elementary_functions())
    assert [node.op for node in fused.nodes if node.effect] == [np.exp, np.sin, np.cos]


# ----- the text -----


def masked(x: Any, y: Any) -> Any:
    return cr.where(x > y, x, y.exp() - 1) + x.clamp(-1, 1) * y.abs() + cr.maximum(x, y).sigmoid()


def standardized(x: Any, y: Any) -> Any:
    return F.layer_norm(x, x.shape[-1:]) * y + F.softmax(y, 0)


def global_norm(x: Any, y: Any) -> Any:
    centred = x - x.mean()
    return centred / ((centred * centred).sum() / x.numel() + 1).sqrt() + y.sum()


def rows_and_columns(x: Any, y: Any) -> Any:
    return x.sum(0) * x.amax(0), x.sum(1), x.amax(1) + x.amin(1), (x * y).logsumexp(-1)


def pieces(x: Any, y: Any) -> Any:
    z = x.clone()
    z[1:3] = y[1:3] * 2
    z[:, ::2] += x[:, ::2].exp()
    return z.T * 2 + 1, z @ y.T


PROGRAMS = [masked, standardized, global_norm, rows_and_columns, pieces]


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("shape", [(4, 6), (1, 6), (6, 6), (5, 1)])
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_kernels_compute_what_numpy_computes(program: Any, shape: tuple[int, int], dtype: str) -> None:
    agrees(program, *random.normal(size=(2, *shape)).astype(dtype))


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_threads_share_large_loops(program: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chainrule.compiler.passes.fusion.LARGE", 1)
    monkeypatch.setattr("chainrule.compiler.kernels.generate.BLOCK", 8)
    compiled = agrees(program, *random.normal(size=(2, 7, 6)))
    assert "in_parts" in compiled.source


@pytest.mark.parametrize("shape", [(2, 3, 4), (3, 1, 4, 2), (2, 3, 5, 5)])
def test_axes_of_many_shapes(shape: tuple[int, ...]) -> None:
    x = random.normal(size=shape)
    agrees(lambda x: [(x - x.mean(i, keepdim=True)) * x.sum(i - 1, keepdim=True) for i in range(x.dim())], x)
    agrees(lambda x: [(x * x[0]).sum(0), x * x.flatten(1)[:, :1].reshape(-1, *[1] * (x.dim() - 1))], x)
    if len(shape) == 4:
        agrees(lambda x: F.batch_norm(x, None, None, training=True), x)


def test_an_index_out_of_range_raises() -> None:
    labels = cr.tensor([0, 7, 1])
    x = cr.randn(3, 5)
    step = compile(lambda x, y: F.cross_entropy(x, y))
    step(x, cr.tensor([0, 4, 1]))
    assert "kernel" in step.source
    with pytest.raises(IndexError, match="out of bounds for axis with size 5"):
        step(x, labels)


OPERATIONS: list[Any] = [
    lambda x, y: x + y,
    lambda x, y: x * y,
    lambda x, y: x - 2.5 * y,
    lambda x, y: x / (y.abs() + 1),
    lambda x, y: cr.maximum(x, y),
    lambda x, y: cr.where(x > y, x, 1.5),
    lambda x, y: cr.tanh(x),
    lambda x, y: cr.exp(-x.abs()),
    lambda x, y: x.sum(-1, keepdim=True) / 4 if x.dim() else x,
    lambda x, y: x.mean(0) if x.dim() else x,
    lambda x, y: x.amax(-1) if x.dim() else x,
    lambda x, y: x.mean(),
    lambda x, y: F.softmax(x, -1) if x.dim() else x,
    lambda x, y: F.layer_norm(x, x.shape[-1:]) if x.dim() and x.shape[-1] > 1 else x,
    lambda x, y: x.reshape(-1),
    lambda x, y: x.unsqueeze(-1),
    lambda x, y: x.transpose(0, -1) if x.dim() > 1 else x,
    lambda x, y: x.T @ x / 8 if x.dim() == 2 else x,
    lambda x, y: x[..., 1:] if x.dim() and x.shape[-1] > 2 else x,
    lambda x, y: x.clone().mul_(0.5),
    lambda x, y: x.cumsum(0) / 3 if x.dim() else x,
    lambda x, y: (x > 0).to(x.dtype) * x,
]
steps = st.lists(
    st.tuples(st.integers(0, len(OPERATIONS) - 1), st.integers(0, 30), st.integers(0, 30)), min_size=3, max_size=14
)


def run_steps(program: list[tuple[int, int, int]], tensors: list[Any]) -> list[Any]:
    """Apply each operation to two earlier values; values grow no further than a few dimensions."""
    known = list(tensors)
    for number, i, j in program:
        x, y = known[i % len(known)], known[j % len(known)]
        try:
            shape = np.broadcast_shapes(x.shape, y.shape)
        except ValueError:
            y, shape = x, x.shape
        if len(shape) < 5 and np.prod(shape) < 400:
            known.append(OPERATIONS[number](x, y))
    return known[len(tensors) :][-4:] or known[:1]


@given(steps, st.integers(0, 2**32 - 1))
@settings(max_examples=100, deadline=None)
def test_random_programs(program: list[tuple[int, int, int]], seed: int) -> None:
    numbers = np.random.default_rng(seed)
    arrays = [numbers.normal(size=shape) for shape in ((4, 5), (5,), (4, 1), (), (2, 4, 5), (4, 4))]
    agrees(lambda *tensors: run_steps(program, list(tensors)), *arrays)
