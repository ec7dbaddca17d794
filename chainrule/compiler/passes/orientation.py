"""Which way round matrices are stored between products: as the rows that the user sees, or turned, as columns.

BLAS copies both operands of a product in the order in which it reads them, and what that costs depends on which of them
is the larger and how it lies in memory: `x @ weight.T` of few rows x takes up to twice the time of `weight @ x.T`, the
result of which is turned. So activations, and their gradients, are kept turned where all products with them take less
time in sum, and what is done with them element by element is done with them turned.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from ...ops.contraction import kernel_is_faster
from ..graph import CONSTANT, Graph, Node
from ..kernels import elementary_functions
from ..tracer import UfuncMethod
from .constants import uniform_value

__all__ = ["run"]

# What an element of an operand costs, in ns on two threads of OpenBLAS 0.3 with AVX-512: of the first operand as it is,
# or turned; and of the second one. Fitted to 14 shapes, in all 8 forms, of which it tells the times to 4 %. With AVX2
# all forms take the same time.
FIRST = (0.0, 0.04)
SECOND = (0.10, 0.24)
LEAST = 1500.0  # ns that must be gained
PART = 0.01  # of the products' own time that must be gained
PRODUCT = 0.005  # ns that a multiplication and an addition take
SMALL = 1 << 16  # multiplications, below which the order costs nothing
REDUCTIONS = (np.sum, np.prod, np.max, np.min, np.amax, np.amin)
TURN = (1, 0)


def run(graph: Graph) -> bool:
    """Turn the matrices of a graph that should be."""
    families = find_families(graph)
    chosen = choose(graph, families) if families else frozenset()
    if not chosen:
        return False
    turned: dict[Node, Node] = {}  # what stands for a node, the transpose of -> the node turned

    def rule(node: Node) -> Node | None:
        if is_reduction(node) and node.args[0] in turned:
            found = node.like(node.op, turned[node.args[0]], axis=1 - axis_of(node) % 2)
            found.kwargs = {**node.kwargs, **found.kwargs}
            return found
        if families.get(node) not in chosen:
            return None
        found = turned_product(node, turned) if node.op is np.dot else turned_elements(node, turned)
        found.name = f"{node.name}_turned" if node.name else ""
        back = Node(np.transpose, (found, TURN), None, node.shape, node.dtype, line=node.line, formula=node.formula)
        turned[back] = found
        return back

    return graph.rewrite(rule)


# ----- what can be turned -----


def find_families(graph: Graph) -> dict[Node, Node]:
    """The matrices that can be turned, each with one that stands for all that must be turned together."""
    parent: dict[Node, Node] = {}

    def family(node: Node) -> Node:
        while parent[node] is not node:
            parent[node] = node = parent[parent[node]]
        return node

    refused: list[Node] = [*graph.outputs]
    for node in graph.nodes:
        if is_product(node) or (is_elementwise(node) and min(node.shape or (0,)) > 1):
            parent[node] = node
        for i, operand in enumerate(node.args):
            if not isinstance(operand, Node) or operand not in parent:
                if node in parent and is_elementwise(node) and is_full(operand, node) and not can_turn(operand):
                    refused.append(node)
            elif node in parent and is_elementwise(node):
                if operand.shape == node.shape:
                    parent[family(operand)] = family(node)
                else:
                    refused.append(operand)
            elif not (is_product(node) or is_turn(node) or (is_reduction(node) and i == 0)):
                refused.append(operand)
        direct = {arg for arg in node.args if isinstance(arg, Node)}
        refused += [operand for operand in node.operands() if operand not in direct]
    out = {family(node) for node in refused if node in parent}
    found = {node: family(node) for node in parent}
    return {node: head for node, head in found.items() if head not in out}


def is_matrix(value: Any) -> bool:
    return isinstance(value, Node) and value.shape is not None and len(value.shape) == 2


def is_product(node: Node) -> bool:
    """Whether it is a product of two matrices of floating-point numbers."""
    return (
        node.op is np.dot
        and not node.kwargs
        and node.dtype in (np.float32, np.float64)
        and all(is_matrix(arg) and arg.dtype == node.dtype for arg in node.args)
    )


def is_elementwise(node: Node) -> bool:
    """Whether each element of a matrix is computed from those in the same place."""
    if node.effect or node.kwargs or not is_matrix(node):
        return False
    if isinstance(node.op, np.ufunc):
        return node.op.signature is None and node.op.nout == 1
    return (node.op is np.where and len(node.args) == 3) or (node.op is np.astype and len(node.args) == 2)


def is_turn(node: Node) -> bool:
    """Whether it is a transposed matrix."""
    if node.op is not np.transpose or not is_matrix(node) or not is_matrix(node.args[0]):
        return False
    axes = node.args[1] if len(node.args) > 1 else node.kwargs.get("axes")
    return axes is None or tuple(axis % 2 for axis in axes) == TURN


def axis_of(node: Node) -> Any:
    return node.args[1] if len(node.args) > 1 else node.kwargs.get("axis")


def is_reduction(node: Node) -> bool:
    """Whether it reduces the rows, or the columns, of a matrix to a vector."""
    if not (node.op in REDUCTIONS or (isinstance(node.op, UfuncMethod) and node.op.method == "reduce")):
        return False
    if not is_matrix(node.args[0]) or len(node.args) > 2 or set(node.kwargs) - {"axis", "keepdims"}:
        return False
    return type(axis_of(node)) is int and not node.kwargs.get("keepdims", False)


def is_full(value: Any, node: Node) -> bool:
    return isinstance(value, Node) and value.shape == node.shape


def can_turn(operand: Node) -> bool:
    """Whether a matrix that is no step of the program, or one number again and again, costs nothing to turn."""
    return operand.op is CONSTANT and uniform_value(operand) is not None


# ----- which are turned -----


def choose(graph: Graph, families: dict[Node, Node]) -> frozenset[Node]:
    """The families to turn, one after the other as long as each is a gain."""
    products: dict[Node, set[Node]] = {head: set() for head in families.values()}
    for node in graph.nodes:
        if is_product(node) and multiplications(node) >= SMALL:
            for matrix in (node, *(stored(arg)[0] for arg in node.args)):
                if matrix in families:
                    products[families[matrix]].add(node)
    chosen: frozenset[Node] = frozenset()
    for _ in range(2):
        for head, nodes in products.items():
            other = chosen ^ {head}
            gain = sum(cost(node, families, chosen) - cost(node, families, other) for node in nodes)
            if gain > max(LEAST, PART * PRODUCT * sum(map(multiplications, nodes))):
                chosen = other
    return chosen


def multiplications(product: Node) -> int:
    """How many a product takes."""
    return product.size * int(product.args[0].shape[1])


def stored(matrix: Node) -> tuple[Node, bool]:
    """The matrix in memory behind a matrix, and whether that is turned."""
    turned = False
    while is_turn(matrix):
        matrix, turned = matrix.args[0], not turned
    return matrix, turned


def cost(product: Any, families: dict[Node, Node], chosen: Collection[Node]) -> float:
    """What the order of a product's operands costs, in ns, if some families are turned."""

    def is_turned(matrix: Node) -> bool:
        behind, turned = stored(matrix)
        return turned != (families.get(behind) in chosen)

    first, second = ((arg, is_turned(arg)) for arg in product.args)
    (rows, columns), inner = product.shape, first[0].shape[1]
    if families.get(product) in chosen:
        first, second = ((arg, not turned) for arg, turned in (second, first))
        rows, columns = columns, rows
    turned = first[1] + 2 * second[1]
    if elementary_functions() is not None and kernel_is_faster(rows, inner, columns, turned, product.dtype.itemsize):
        return 0.0
    found: float = first[0].size * FIRST[first[1]] + second[0].size * SECOND[second[1]]
    return found


# ----- turning -----


def turned_matrix(matrix: Node, turned: dict[Node, Node]) -> Node:
    """The transpose of a matrix."""
    if matrix in turned:
        return turned[matrix]
    if is_turn(matrix):
        return matrix.args[0]  # type: ignore[no-any-return]
    assert matrix.shape is not None
    return Node(np.transpose, (matrix, TURN), None, matrix.shape[::-1], matrix.dtype)


def turned_product(node: Node, turned: dict[Node, Node]) -> Node:
    """The transpose of a product: that of the second matrix by that of the first."""
    x, y = node.args
    found = node.like(np.dot, turned_matrix(y, turned), turned_matrix(x, turned))
    found.shape = (node.shape or ())[::-1]
    return found


def turned_elements(node: Node, turned: dict[Node, Node]) -> Node:
    """The same operation on the transposes of its operands."""
    found = node.like(node.op, *(turned_operand(arg, turned) for arg in node.args))
    found.shape = (node.shape or ())[::-1]
    return found


def turned_operand(value: Any, turned: dict[Node, Node]) -> Any:
    """An operand as an operation on transposes needs it: vectors stand for columns there, not for rows."""
    if not isinstance(value, Node) or not value.shape or value.size == 1:
        return value
    if value in turned:
        return turned[value]
    rows, columns = (1, *value.shape)[-2:]
    if value.op is CONSTANT and rows > 1 and columns > 1:
        array = np.ascontiguousarray(value.args[0].T)
        array.flags.writeable = False
        return Node(CONSTANT, (array,), None, array.shape, array.dtype, name=value.name, line=value.line)
    return Node(np.reshape, (value, (columns, rows)), None, (columns, rows), value.dtype, line=value.line)
