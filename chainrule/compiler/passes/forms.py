"""What NumPy computes faster in another form; for programs without kernels, which have no need of it.

The functions that stand in are the package's own: a program that is saved, and has to do with NumPy alone, goes
without. They give the same bits as what they replace, but for erf and gelu, which are as exact, x + y * factor, which
BLAS may round once, and sums and means of rows, which BLAS adds up in another order.
"""

from __future__ import annotations

import functools
import math
import operator
from typing import Any

import numpy as np

from ...blas import add_multiple
from ...core.table import name_of
from ...ops.activation import gelu_in_blocks
from ...ops.convolution import convolve, rectified_convolve
from ...ops.elementwise import ZERO, at_least_zero, keep_where
from ...ops.normalisation import largest_along
from ...ops.parallel import shared_out
from ...ops.pooling import _max_pool, _spread_maxima
from ...ops.special import SQRT_2PI, SQRT_HALF, _erf
from ...optim.kernels import PIECE as OF_BLAS
from ...optim.kernels import kernels_for
from ..graph import CONSTANT, Graph, Node
from ..tracer import UfuncMethod
from .constants import uniform_value
from .fusion import copy_graph, without_unread

__all__ = [
    "keep_where_nonzero",
    "largest_of_rows",
    "plus_multiple",
    "run",
    "softmax_of_rows",
    "sum_of_columns",
    "sum_of_rows",
]

MANY = 1 << 17  # rows, so many that an array of ones as long is a burden
FEW = 1024  # elements; of fewer the usual form takes no longer
LARGE = 1 << 17  # elements of a mask that is better not kept
SHORT = 1024  # elements of a row, from which on NumPy adds it up as fast as BLAS
PIECE = 1 << 14  # elements that are computed at a time
PASS = 64  # multiplications that take as long as it takes to read two numbers and write one
SOFTMAX = 400  # multiplications that take as long as one number's softmax
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


def keep_where_nonzero(x: Any, like: Any, out: Any = None) -> Any:
    """`x`, broadcast to `like`, where that is not 0, and 0 elsewhere; on all threads, without an array for the mask.

    >>> import numpy as np
    >>> keep_where_nonzero(np.array([[1.0], [np.inf]]), np.array([[0.0, 2.0], [np.nan, 0.0]]))
    array([[ 0.,  1.],
           [inf,  0.]])
    """
    if out is None:
        out = np.empty(like.shape, x.dtype)
    x = np.broadcast_to(x, like.shape)

    def work(part: slice) -> None:
        kept = np.not_equal(like[part], ZERO[like.dtype.char])
        bits = f"i{x.itemsize}"  # times 0 or 1: 0 times an infinite number would be NaN
        np.multiply(x[part].view(bits), kept, out=out[part].view(bits))

    shared_out(work, len(like), PASS * like.size)
    return out


def softmax_of_rows(x: Any, columns: int, out: Any = None) -> Any:
    """softmax along rows of so many elements, on all threads.

    >>> import numpy as np
    >>> softmax_of_rows(np.array([[0.0, 0.0], [1000.0, 0.0]]), 2)
    array([[0.5, 0.5],
           [1. , 0. ]])
    """
    if out is None or not out.flags.c_contiguous:
        found = softmax_of_rows(x, columns, np.empty(x.shape, x.dtype))
        return found if out is None else np.positive(found, out=out)
    rows, targets = x.reshape(-1, columns), out.reshape(-1, columns)

    def work(part: slice) -> None:
        given, target = rows[part], targets[part]
        np.subtract(given, largest_along(given, 1), out=target)
        np.exp(target, out=target)
        target /= sum_of_rows(target, columns, (len(target), 1))

    shared_out(work, len(rows), SOFTMAX * x.size)
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
    """The maxima of rows of so many elements, in an array of the given shape: by argmax, which is faster.

    >>> import numpy as np
    >>> largest_of_rows(np.array([[1.0, 3.0, 2.0], [np.nan, 5.0, 4.0]]), 3, (2, 1)).ravel()
    array([ 3., nan])
    """
    return largest_along(x.reshape(-1, columns), -1).reshape(shape)


@functools.lru_cache(maxsize=64)
def _ones(size: int, dtype: Any) -> Any:
    return np.ones(size, dtype)


BY_ROWS: dict[Any, Any] = {np.add: sum_of_rows, np.maximum: largest_of_rows}


def run(graph: Graph) -> tuple[Graph, dict[Node, Node]]:
    """A graph with the other forms, and for each output of the old one that of the new."""
    copied = copy_graph(graph)
    use_gelu(copied)
    once = used_once(copied)

    def rule(node: Node) -> Node | None:
        if node.op is np.where and len(node.args) == 3:
            return masked(node)
        if node.op is np.maximum and node.dtype in (np.float32, np.float64) and node.size >= FEW:
            return relu(node)
        if node.op is np.add:
            return sum_with_multiple(node, once)
        if node.op in REDUCTIONS or isinstance(node.op, UfuncMethod):
            return reduced(node)
        if node.op is np.mean:
            return mean(node)
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
    for stage in (use_softmax, mask_before_spreading, pool_before_relu, join):
        stage(copied)
    return copied, dict(zip(graph.outputs, copied.outputs, strict=True))


# ----- gelu, with the derivative that its backward pass needs -----


def use_gelu(graph: Graph) -> None:
    """gelu and its derivative in one call, where a graph has both: erf, exp and the rest piece by piece."""
    values = {x: node for node in graph.nodes if (x := gelu_of(node)) is not None}
    slopes = {x: node for node in graph.nodes if (x := gelu_slope_of(node)) is not None}
    wanted = {node for x in values.keys() & slopes.keys() for node in (values[x], slopes[x])}
    calls: dict[Node, Node] = {}

    def rule(node: Node) -> Node | None:
        if node not in wanted:
            return None
        x, i = gelu_of(node), 0
        if x is None:
            x, i = gelu_slope_of(node), 1
        assert x is not None
        if x not in calls:
            calls[x] = Node(gelu_in_blocks, (x, "none"), line=node.line, formula=node.formula)
        found = node.like(operator.getitem, calls[x], i)
        found.name = node.name or ("gelu", "gelu_slope")[i]
        return found

    if graph.rewrite(rule):
        graph.nodes = without_unread(graph.nodes, graph.outputs)


def factors(node: Any, ufunc: Any, second: float | None = None) -> tuple[Any, Any]:
    """The operands of a node that computes this, the second one as given; None and None of others."""
    if not isinstance(node, Node) or node.op is not ufunc or node.kwargs or len(node.args) != 2:
        return None, None
    return (None, None) if second is not None and node.args[1] != second else node.args


def twice_normal(node: Any) -> Node | None:
    """x, if a node is erf(x / sqrt 2) + 1."""
    erf, _ = factors(node, np.add, 1)
    if not isinstance(erf, Node) or getattr(erf.op, "__name__", "") != "erf" or not isinstance(erf.op, np.ufunc):
        return None
    x, _ = factors(erf.args[0], np.multiply, SQRT_HALF)
    fits = isinstance(x, Node) and node.dtype == x.dtype == np.float32 and node.shape == x.shape and x.size >= FEW
    return x if fits else None


def gelu_of(node: Node) -> Node | None:
    """x, if a node is x (erf(x / sqrt 2) + 1) / 2."""
    product, _ = factors(node, np.multiply, 0.5)
    x, normal = factors(product, np.multiply)
    return x if x is not None and twice_normal(normal) is x else None


def gelu_slope_of(node: Node) -> Node | None:
    """x, if a node is the derivative of that: (erf(x / sqrt 2) + 1) / 2 + x exp(-x^2 / 2) / sqrt(2 pi)."""
    half, density = factors(node, np.add)
    normal, _ = factors(half, np.multiply, 0.5)
    x = twice_normal(normal)
    product, _ = factors(density, np.multiply, 1 / SQRT_2PI)
    other, exponential = factors(product, np.multiply)
    if x is None or other is not x or not isinstance(exponential, Node) or exponential.op is not np.exp:
        return None
    square, _ = factors(exponential.args[0], np.multiply, -0.5)
    return x if factors(square, np.multiply) == (x, x) else None


# ----- softmax -----


def use_softmax(graph: Graph) -> None:
    """The steps of softmax along rows in one call."""
    users, ends = graph.users(), set(graph.outputs)

    def rule(node: Node) -> Node | None:
        exponentials, total = factors(node, np.true_divide)
        if not isinstance(exponentials, Node) or not isinstance(total, Node) or exponentials.op is not np.exp:
            return None
        x, largest = factors(exponentials.args[0], np.subtract)
        if not isinstance(largest, Node) or largest.op is not largest_of_rows or total.op is not sum_of_rows:
            return None
        columns, shape = largest.args[1:]
        fits = largest.args[0] is x and total.args == (exponentials, columns, shape) and node.shape == x.shape
        inner = (exponentials, exponentials.args[0], largest, total)
        alone = [len(users[other]) for other in inner] == [2, 1, 1, 1] and ends.isdisjoint(inner)
        return node.like(softmax_of_rows, x, columns) if fits and alone and shape[-1] == 1 else None

    if graph.rewrite(rule):
        graph.nodes = without_unread(graph.nodes, graph.outputs)


# ----- masks, maxima of windows, convolutions -----


def nonzero(node: Any) -> Node | None:
    """x, if a node is x != 0."""
    x, _ = factors(node, np.not_equal, 0)
    return x if isinstance(x, Node) else None


def mask_before_spreading(graph: Graph) -> None:
    """A gradient is masked before it goes to the maxima of windows: it has fewer elements there.

    The mask is "not 0" of the array in which the maxima are, so it is "not 0" of the maxima themselves.
    """
    once = used_once(graph)

    def rule(node: Node) -> Node | None:
        if node.op is not keep_where:
            return None
        spread, mask = node.args
        if not isinstance(spread, Node) or spread.op is not _spread_maxima or spread not in once:
            return None
        values, out, x, windows = spread.args
        if nonzero(mask) is not x or values.shape != out.shape:
            return None
        other = Node(np.not_equal, (out, 0), None, out.shape, mask.dtype, name="mask", line=node.line)
        values = Node(keep_where, (values, other), None, values.shape, values.dtype, line=node.line)
        values.formula = node.formula
        return node.like(_spread_maxima, values, out, x, windows)

    if graph.rewrite(rule):
        graph.nodes = without_unread(graph.nodes, graph.outputs)


def pool_before_relu(graph: Graph) -> None:
    """relu of the maxima of windows in place of maxima of relu, if nobody else needs that.

    Where a maximum is 0, the first one may be another element; the gradient is 0 there.
    """
    users, ends = graph.users(), set(graph.outputs)

    def is_masked(spread: Node) -> bool:
        values, out = spread.args[:2]
        return isinstance(values, Node) and values.op is keep_where and nonzero(values.args[1]) is out

    def can_move(relu: Node) -> bool:
        found = set(users[relu])
        pools = {user for user in found if user.op is _max_pool}
        spreads = {user for user in found - pools if user.op is _spread_maxima}
        alone = found == pools | spreads and relu not in ends
        return alone and all(
            spread.args[2] is relu and spread.args[1] in pools and relu not in spread.args[:2] and is_masked(spread)
            for spread in spreads
        )

    moved = {node for node in graph.nodes if node.op is at_least_zero and users[node] and can_move(node)}
    plain: dict[Node, Node] = {}  # relu of a maximum -> the maximum

    def rule(node: Node) -> Node | None:
        if node.op is _max_pool and node.args[0] in moved:
            pool = node.like(_max_pool, node.args[0].args[0], *node.args[1:])
            pool.name = "pooled"
            found = node.like(at_least_zero, pool)
            found.name = node.name or name_of(_max_pool).lstrip("_")
            plain[found] = pool
            return found
        if node.op is _spread_maxima and node.args[2] in moved:
            values, out, relu, windows = node.args
            return node.like(_spread_maxima, values, plain[out], relu.args[0], windows)
        return None

    if graph.rewrite(rule):
        graph.nodes = without_unread(graph.nodes, graph.outputs)


def join(graph: Graph) -> None:
    """relu within the convolution before it; masks within the product that they are for."""
    once = used_once(graph)

    def rule(node: Node) -> Node | None:
        first = node.args[0] if node.args else None
        if node.op is at_least_zero and isinstance(first, Node) and first.op is convolve and first in once:
            return node.like(rectified_convolve, *first.args, **first.kwargs)
        if node.op is not keep_where or node.size < LARGE or node.args[1] not in once:
            return None
        like = nonzero(node.args[1])
        fits = like is not None and (like.shape, like.dtype) == (node.shape, node.dtype)
        return node.like(keep_where_nonzero, first, like) if fits else None

    if graph.rewrite(rule):
        graph.nodes = without_unread(graph.nodes, graph.outputs)


def used_once(graph: Graph) -> set[Node]:
    """The nodes that one other node reads, once."""
    return {node for node, found in graph.users().items() if len(found) == 1} - set(graph.outputs)


# ----- reductions -----


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


def mean(node: Node) -> Node | None:
    """A mean as a sum that is divided, where a product gives the sum."""
    x = node.args[0] if node.args else None
    given = dict(zip(("axis",), node.args[1:], strict=False)) | node.kwargs
    if len(node.args) > 2 or set(given) - {"axis", "keepdims"} or not isinstance(x, Node) or x.dtype != node.dtype:
        return None
    columns = short_rows(x, given.get("axis"))
    if not columns:
        return None
    total = node.like(sum_of_rows, x, columns, node.shape)
    total.name = "sum"
    return node.like(np.true_divide, total, columns)


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
