"""Give convolutions, maxima of windows and products of matrices to kernels of their own, and what follows them.

What those kernels do not cover stays a call of the NumPy form: gradients of windows that overlap, windows that leave
the array, results so small that most of a vector would be wasted, other element types than the two floats.
Read first: `kernels/convolution.py`.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Collection
from typing import Any

import numpy as np

from ...ops.contraction import kernel_is_faster
from ...ops.convolution import convolve, convolve_input, convolve_weight
from ...ops.pooling import _max_pool, _spread_maxima
from ..graph import Graph, Node, map_nodes
from ..kernels.convolution import (
    Correlation,
    LayerKernel,
    MaxPool,
    Phased,
    Settings,
    SpreadMaxima,
    WeightGradient,
    apart,
)
from ..kernels.products import Product
from ..kernels.registers import register_bytes
from .constants import uniform_value
from .followers import goes_on, release
from .orientation import stored

__all__ = ["use_layers"]

MOST_WASTE = 2.5  # products done for each that is needed, above which matrix products are quicker
LONGEST_KERNEL = 1 << 12  # places of a kernel
MOST_SUMS = 1 << 22  # bytes of sums that a gradient of weights keeps, each in all lanes of a vector
MANY_WEIGHTS = 1 << 14  # from which on each must be used often, or it takes longer to put them in order
OFTEN = 256  # positions of all samples
CACHED = 1 << 19  # weights beyond which it takes longer still: they leave the cache on the way


def use_layers(graph: Graph, in_place: dict[Node, Node], refused: Collection[int] = ()) -> dict[Node, Node]:
    """Replace calls by kernels, in place; returns what stands for which result.

    Args:
        graph: with the kernels of loops.
        in_place: value -> input: inputs whose memory holds the value in the end.
        refused: positions -1, -2, ... of calls that are to be left as they are, counted among those that could be
            replaced.
    """
    release(graph, in_place)
    users = graph.users()
    followers: dict[Node, Product] = {}
    taken: set[Node] = set()
    replaced: dict[Node, Node] = {}
    nodes: list[Node] = []
    count = 0
    for node in graph.nodes:
        if node in taken:
            continue
        node.args = map_nodes(node.args, lambda other: replaced.get(other, other))
        node.kwargs = map_nodes(node.kwargs, lambda other: replaced.get(other, other))
        if node in followers:
            product = followers[node]
            others = (arg for arg, x in zip(node.args, node.op.inputs, strict=True) if x is not product.product)
            node.op, node.args = product, (*product.inputs[:2], *others)
            nodes.append(node)
            if product.stays:
                result = result_of(node, 0, product.product)
                replaced[product.product] = result
                nodes.append(result)
                for item in users[node]:
                    item.args = (node, item.args[1] + 1)
            continue
        make = KERNELS.get(node.op) if callable(node.op) and node.size else None
        kernel = None
        if make is not None:
            count += 1
            kernel = None if -count in refused else make(node, graph, users, -count)
        if kernel is None:
            nodes.append(node)
            continue
        if isinstance(kernel, Product) and users[node] and users[node][0] not in followers:
            if goes_on(kernel, node, graph, users, in_place):
                followers[users[node][0]] = kernel
                continue
        whole = Node(kernel, tuple(kernel.inputs), line=node.line, formula=node.formula)
        nodes.append(whole)
        for i, inner in enumerate(kernel.outputs):
            replaced[inner] = result_of(whole, i, inner)
            nodes.append(replaced[inner])
        taken.update(kernel.nodes)
    graph.nodes = nodes
    graph.outputs = [replaced.get(node, node) for node in graph.outputs]
    return replaced


def result_of(whole: Node, position: int, inner: Node) -> Node:
    """One of a kernel's results, which stands for a call that it replaces."""
    result = inner.like(operator.getitem, whole, position)
    result.name = inner.name or inner.op.__name__.strip("_")
    return result


def floats(*arrays: Any) -> bool:
    """Whether all are arrays of one of the two float types."""
    kinds = {array.dtype if isinstance(array, Node) else None for array in arrays}
    return len(kinds) == 1 and kinds <= {np.dtype(np.float32), np.dtype(np.float64)}


def settings_of(x: Node, outputs: int, kernel: Any, given: dict[str, Any], size: Any) -> Settings:
    """The settings of a convolution of x."""
    assert x.shape is not None and x.dtype is not None
    return Settings(
        samples=x.shape[0],
        channels=x.shape[1],
        outputs=outputs,
        groups=given["groups"],
        spatial=x.shape[2:],
        kernel=kernel,
        size=size,
        stride=given["stride"],
        padding=given["padding"],
        dilation=given["dilation"],
        dtype=x.dtype,
    )


def fits(settings: Settings) -> bool:
    """Whether a kernel is quicker than matrix products."""
    if len(settings.size) > 3 or 0 in (settings.samples, settings.channels, settings.outputs, *settings.size):
        return False
    weights = settings.outputs * settings.channels // settings.groups * settings.taps
    often = OFTEN * max(1, weights // CACHED)
    if weights > MANY_WEIGHTS and settings.samples * math.prod(settings.size) < often:
        return False
    return settings.waste <= MOST_WASTE and settings.taps <= LONGEST_KERNEL


def convolution(node: Node, graph: Graph, users: dict[Node, list[Node]], position: int) -> LayerKernel | None:
    """The kernel of a convolution, with the relu and the maxima of windows that follow."""
    x, w, *rest = node.args
    inputs = [x, w, *(bias for bias in rest if bias is not None)]
    if not floats(*inputs):
        return None
    given = node.kwargs
    settings = settings_of(x, w.shape[0], w.shape[2:], given, given["size"])
    return with_what_follows(settings, node, inputs, graph, users, position) if fits(settings) else None


def convolution_of_input(node: Node, graph: Graph, users: dict[Node, list[Node]], position: int) -> LayerKernel | None:
    """The kernel of a convolution's gradient for its input: a convolution with the weight turned round."""
    g, w, *rest = node.args
    inputs = [g, w, *(bias for bias in rest if bias is not None)]
    given = node.kwargs
    if not floats(*inputs):
        return None
    size, stride, have = given["size"], given["stride"], g.shape[2:]
    reach = [d * (k - 1) for d, k in zip(given["dilation"], w.shape[2:], strict=True)]
    at_start = [before for before, _ in given["padding"]]
    phased = None
    if any(step != 1 for step in stride):
        phased = Phased(stride, tuple(at_start), size)
        before = [r // s for r, s in zip(reach, stride, strict=True)]
        size = tuple((n + b - 1) // s + 1 for n, b, s in zip(size, at_start, stride, strict=True))
        padding = tuple((b, max(0, n - h)) for b, n, h in zip(before, size, have, strict=True))
    else:
        before = [r - b for r, b in zip(reach, at_start, strict=True)]
        padding = tuple((b, n + r - b - h) for b, n, r, h in zip(before, size, reach, have, strict=True))
    if min(min(pair) for pair in padding) < 0:
        return None
    outputs = w.shape[1] * given["groups"]
    settings = settings_of(g, outputs, w.shape[2:], {**given, "stride": (1,) * len(size), "padding": padding}, size)
    if not fits(settings):
        return None
    return with_what_follows(settings, node, inputs, graph, users, position, True, phased)


def with_what_follows(
    settings: Settings,
    node: Node,
    inputs: list[Node],
    graph: Graph,
    users: dict[Node, list[Node]],
    position: int,
    turned: bool = False,
    phased: Phased | None = None,
) -> LayerKernel:
    """The kernel of a convolution, and of a relu that alone reads it, and of the maxima of windows of the result."""
    nodes, result = [node], node
    relu = users[node][0] if len(users[node]) == 1 and node not in graph.outputs else None
    if relu is not None and is_relu(relu, node):
        nodes.append(relu)
        result = relu
    maxima = [user for user in users[result] if user.op is _max_pool and inside(user.args[1])]
    outputs = [result, *maxima[:1]]
    nodes += maxima[:1]
    name = "_".join(inner.op.__name__.strip("_") for inner in nodes).replace("maximum", "relu")
    pool = maxima[0].args[1] if maxima else None
    relued = result is not node
    return Correlation(
        settings, name, nodes, inputs, outputs, position, turned=turned, phased=phased, relu=relued, pool=pool
    )


def is_relu(node: Node, operand: Node) -> bool:
    """Whether a node is the maximum of an operand and 0."""
    if node.op is not np.maximum or len(node.args) != 2 or (node.shape, node.dtype) != (operand.shape, operand.dtype):
        return False
    other = node.args[1] if node.args[0] is operand else node.args[0]
    value = uniform_value(other) if isinstance(other, Node) else other
    return not isinstance(value, (Node, bool)) and value is not None and bool(value == 0)


def inside(windows: Any) -> bool:
    """Whether windows never leave the array."""
    return len(windows) <= 3 and all(
        not w.padding and (w.out - 1) * w.stride + (w.kernel - 1) * w.dilation < w.size for w in windows
    )


def weight_gradient(node: Node, graph: Graph, users: dict[Node, list[Node]], position: int) -> LayerKernel | None:
    """The kernel of a convolution's gradient for its weight."""
    x, g = node.args
    given = node.kwargs
    if not floats(x, g):
        return None
    settings = settings_of(x, g.shape[1], given["size"], given, g.shape[2:])
    if not fits(settings) or node.size * register_bytes() > MOST_SUMS:
        return None
    return WeightGradient(settings, "convolve_weight", node, [x, g], position)


def max_pool(node: Node, graph: Graph, users: dict[Node, list[Node]], position: int) -> LayerKernel | None:
    """The kernel of the maxima of windows."""
    x, windows = node.args
    if not floats(x) or not inside(windows) or len(x.shape) != len(windows) + 2:
        return None
    return MaxPool("max_pool", node, x, windows, position) if small(windows) else None


def spread_maxima(node: Node, graph: Graph, users: dict[Node, list[Node]], position: int) -> LayerKernel | None:
    """The kernel that puts values where maxima stand."""
    values, maxima, x, windows = node.args
    if not floats(values, maxima, x) or not inside(windows) or not all(map(apart, windows)) or not small(windows):
        return None
    if len(x.shape) != len(windows) + 2:
        return None
    return SpreadMaxima("spread_maxima", node, [values, maxima, x], windows, position)


def small(windows: Any) -> bool:
    """Whether a window's elements can be written out."""
    elements = 1
    for w in windows:
        elements *= w.kernel
    return elements <= 16


def matrix_product(node: Node, graph: Graph, users: dict[Node, list[Node]], position: int) -> LayerKernel | None:
    """The kernel of a product of two matrices, where that is faster than BLAS."""
    if node.kwargs or len(node.args) != 2 or not floats(*node.args) or len(node.shape or ()) != 2:
        return None
    (left, left_turned), (right, right_turned) = map(stored, node.args)
    turned = left_turned + 2 * right_turned
    (rows, inner), columns = node.args[0].shape, node.args[1].shape[1]
    if not kernel_is_faster(rows, inner, columns, turned, node.dtype.itemsize if node.dtype else 0):
        return None
    return Product(node, left, right, turned, position)


KERNELS: dict[Any, Any] = {
    np.dot: matrix_product,
    convolve: convolution,
    convolve_input: convolution_of_input,
    convolve_weight: weight_gradient,
    _max_pool: max_pool,
    _spread_maxima: spread_maxima,
}
