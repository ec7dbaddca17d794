"""What NumPy computes faster in another form; for programs without kernels, which have no need of it.

The functions that stand in are the package's own: a program that is saved, and has to do with NumPy alone, goes
without. They give the same bits as what they replace, but for erf, which is as exact, x + y * factor, which BLAS may
round once, and sums of rows, which BLAS adds up in another order.
"""

from __future__ import annotations

import functools
import math
import operator
from typing import Any

import numpy as np

from ...blas import add_multiple
from ...core.table import name_of
from ...ops.elementwise import at_least_zero, keep_where
from ...ops.special import _erf
from ...optim.kernels import PIECE as OF_BLAS
from ...optim.kernels import kernels_for
from ..graph import CONSTANT, Graph, Node
from ..tracer import UfuncMethod
from .constants import uniform_value
from .fusion import copy_graph, without_unread

__all__ = ["largest_of_rows", "plus_multiple", "run", "sum_of_columns", "sum_of_rows"]

MANY = 1 << 17  # rows, so many that an array of ones as long is a burden
FEW = 1024  # elements; of fewer the usual form takes no longer
SHORT = 1024  # elements of a row, from which on NumPy adds it up as fast as BLAS
PIECE = 1 << 14  # elements that are computed at a time
REDUCTIONS = {
    np.sum: np.add,
    np.prod: np.multiply,
    np.max: np.maximum,
    np.amax: np.maximum,
    np.min: np.minimum,
    np.amin: np.minimum,
}


def plus_multiple(x: Any, y: Any, factor: float, out: Any = None) -> Any:
    """`x + y * factor` of arrays of one shape: in the place of x by BLAS, else in pieces that fit the cache.

    >>> import numpy as np
    >>> plus_multiple(np.ones(3), np.arange(3.0), 2.0)
    array([1., 3., 5.])
    """
    if out is x and (kernels := kernels_for(x)) is not None and y.flags.c_contiguous:
        if x.size <= OF_BLAS:
            kernels.axpy(y.ravel(), x.ravel(), None, factor)
            return x
        if add_multiple(y, x, factor):
            return x
    if out is None:
        out = np.empty_like(x)
    if not (x.flags.c_contiguous and y.flags.c_contiguous and out.flags.c_contiguous):
        return np.add(x, y * factor, out=out)
    flat, given, multiple = out.reshape(-1), x.reshape(-1), y.reshape(-1)
    room = np.empty(min(flat.size, PIECE), flat.dtype)
    for start in range(0, flat.size, PIECE):
        end = min(start + PIECE, flat.size)
        part = np.multiply(multiple[start:end], factor, out=room[: end - start])
        np.add(given[start:end], part, out=flat[start:end])
    return out


def sum_of_rows(x: Any, columns: int, shape: tuple[int, ...]) -> Any:
    """The sums of rows of so many elements, in an array of the given shape: by BLAS, where NumPy is slow.

    >>> import numpy as np
    >>> sum_of_rows(np.arange(6.0).reshape(3, 1, 2), 2, (3, 1, 1)).ravel()
    array([1., 5., 9.])
    """
    if not x.flags.c_contiguous:
        return np.add.reduce(x.reshape(-1, columns), axis=1).reshape(shape)
    return x.reshape(-1, columns).dot(_ones(columns, x.dtype)).reshape(shape)


def sum_of_columns(x: Any, columns: int, shape: tuple[int, ...]) -> Any:
    """The sums over all rows of so many elements, in an array of the given shape: by BLAS.

    >>> import numpy as np
    >>> sum_of_columns(np.arange(6.0).reshape(3, 1, 2), 2, (1, 2))
    array([[6., 9.]])
    """
    rows = x.reshape(-1, columns)
    return _ones(len(rows), x.dtype).dot(rows).reshape(shape)


def largest_of_rows(x: Any, columns: int, shape: tuple[int, ...]) -> Any:
    """The maxima of rows of so many elements, in an array of the given shape: by argmax, which is four times as fast.

    >>> import numpy as np
    >>> largest_of_rows(np.array([[1.0, 3.0, 2.0], [np.nan, 5.0, 4.0]]), 3, (2, 1)).ravel()
    array([ 3., nan])
    """
    rows = x.reshape(-1, columns)
    return rows[np.arange(len(rows)), rows.argmax(axis=1)].reshape(shape)


@functools.lru_cache(maxsize=64)
def _ones(size: int, dtype: Any) -> Any:
    return np.ones(size, dtype)


BY_ROWS: dict[Any, Any] = {np.add: sum_of_rows, np.maximum: largest_of_rows}


def run(graph: Graph) -> tuple[Graph, dict[Node, Node]]:
    """A graph with the other forms, and for each output of the old one that of the new."""
    copied = copy_graph(graph)
    users = copied.users()
    once = {node for node, found in users.items() if len(found) == 1} - set(copied.outputs)

    def rule(node: Node) -> Node | None:
        if node.op is np.where and len(node.args) == 3:
            return masked(node)
        if node.op is np.maximum and node.dtype in (np.float32, np.float64) and node.size >= FEW:
            return relu(node)
        if node.op is np.add:
            return sum_with_multiple(node, once)
        if node.op in REDUCTIONS or isinstance(node.op, UfuncMethod):
            return reduced(node)
        if node.op is np.take_along_axis:
            return picked(node)
        name = getattr(node.op, "__name__", "")
        if (
            name == "erf"
            and isinstance(node.op, np.ufunc)
            and not node.kwargs
            and node.dtype in (np.float32, np.float64)
        ):
            return node.like(_erf, *node.args)
        return None

    def named(node: Node) -> Node | None:
        found = rule(node)
        if found is not None and not found.name:
            found.name = name_of(node.op).replace(".", "_")  # a sum, whatever computes it
        return found

    if copied.rewrite(named):
        copied.nodes = without_unread(copied.nodes, copied.outputs)
    return copied, dict(zip(graph.outputs, copied.outputs, strict=True))


def reduced(node: Node) -> Node | None:
    """A reduction as a product, or as the ufunc's method, which `np.sum` and its like call in the end."""
    ufunc, is_method = REDUCTIONS.get(node.op), isinstance(node.op, UfuncMethod)
    if is_method and node.op.method == "reduce":
        ufunc = node.op.ufunc
    given = dict(zip(("axis",), node.args[1:], strict=False)) | node.kwargs
    x = node.args[0] if node.args else None
    if ufunc is None or len(node.args) > 2 or set(given) - {"axis", "keepdims"}:
        return None
    if not isinstance(x, Node) or not x.shape:
        return None
    axes = given.get("axis", 0 if is_method else None)
    by_rows = BY_ROWS.get(ufunc)
    if by_rows is not None and (columns := short_rows(x, axes)):
        return node.like(by_rows, x, columns, node.shape)
    if ufunc is np.add and (columns := columns_of(x, axes)):
        return node.like(sum_of_columns, x, columns, node.shape)
    return None if is_method else node.like(UfuncMethod(ufunc, "reduce"), x, **{"axis": None, **given})


def reduced_axes(x: Node, axes: Any) -> tuple[int, ...]:
    """The axes of a large array of floating-point numbers that are reduced, in order; none for all of them."""
    axes = (axes,) if isinstance(axes, int) else axes
    if x.dtype not in (np.float32, np.float64) or x.size < FEW or not x.shape or not isinstance(axes, tuple):
        return ()
    return tuple(sorted(axis % len(x.shape) for axis in axes))


def short_rows(x: Node, axes: Any) -> int:
    """The number of elements in the rows that the last axes are, if these are reduced, and short and many; else 0."""
    found, shape = reduced_axes(x, axes), x.shape or ()
    if not found or found != tuple(range(len(shape)))[-len(found) :]:
        return 0
    columns = math.prod(shape[axis] for axis in found)
    return columns if 1 < columns <= SHORT and columns < x.size else 0


def columns_of(x: Node, axes: Any) -> int:
    """The number of columns that are left, if the first axes are reduced; else 0."""
    found, shape = reduced_axes(x, axes), x.shape or ()
    if not found or found != tuple(range(len(found))):
        return 0
    columns = math.prod(shape[len(found) :])
    return columns if columns > 1 and 1 < x.size // columns <= MANY else 0


def picked(node: Node) -> Node | None:
    """take_along_axis(x, index, 1) of two matrices as an index."""
    if len(node.args) != 3 or node.kwargs:
        return None
    x, index, axis = node.args
    if not (isinstance(x, Node) and isinstance(index, Node)) or axis not in (1, -1) or len(x.shape or ()) != 2:
        return None
    if index.shape is None or x.shape is None or index.dtype != np.int64 or index.shape[0] != x.shape[0]:
        return None
    rows = Node(CONSTANT, (np.arange(x.shape[0])[:, None],), None, (x.shape[0], 1), np.dtype(np.int64), name="rows")
    return node.like(operator.getitem, x, (rows, index))


def relu(node: Node) -> Node | None:
    """maximum(x, 0) as the maximum of two arrays."""
    x, other = node.args if isinstance(node.args[0], Node) else node.args[::-1]
    zero = type(other) in (int, float) and other == 0
    alike = isinstance(x, Node) and (x.shape, x.dtype) == (node.shape, node.dtype)
    return node.like(at_least_zero, x) if zero and alike and not node.kwargs else None


def masked(node: Node) -> Node | None:
    """where(mask, x, 0) as the product of bits with 0 and 1."""
    mask, x, other = node.args
    if not (isinstance(mask, Node) and isinstance(x, Node)) or node.size < FEW:
        return None
    value = uniform_value(other) if isinstance(other, Node) else other
    zero = isinstance(value, (int, float)) and not isinstance(value, bool) and str(value) in ("0", "0.0")
    fits = mask.dtype == np.bool and mask.shape == node.shape and x.dtype == node.dtype
    return node.like(keep_where, x, mask) if zero and fits and node.dtype in (np.float32, np.float64) else None


def sum_with_multiple(node: Node, once: set[Node]) -> Node | None:
    """x + y * factor without an array for the product."""
    x, product = node.args
    if not isinstance(product, Node) or product.op is not np.multiply or product not in once or node.size < FEW:
        return None
    y, factor = product.args
    if not (isinstance(x, Node) and isinstance(y, Node)) or node.kwargs or product.kwargs:
        return None
    number = factor.dtype is None if isinstance(factor, Node) else isinstance(factor, (int, float))
    alike = all(other.shape == node.shape and other.dtype == node.dtype for other in (x, y))
    return (
        node.like(plus_multiple, x, y, factor) if number and alike and node.dtype in (np.float32, np.float64) else None
    )
