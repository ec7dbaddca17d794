"""Kernels of eager operations, made from their functions in NumPy: these are traced, fused and written as for programs.

A function is traced twice, on arrays of different sizes. The two texts must be the same, but for the number of columns
where it is used as a number, which a kernel asks its arrays for: so each holds for any number of rows of any length.
"""

from __future__ import annotations

import inspect
from typing import Any, NamedTuple

import numpy as np

from ...core import tracing
from ...ops.kernels import Fused
from ...ops.special import _erf
from ..graph import INPUT, Graph, Node
from ..passes import optimize
from ..passes.fusion import Kernel, fuse, is_output
from ..tracer import WHOLE, Number, Recorder
from . import elementary_functions
from .cache import Text
from .compiling import read_text
from .generate import can_overwrite, write_kernel

__all__ = ["FusedText", "fused_text"]

SIZES = ((3, 1009), (5, 2003))  # rows and columns, of which no function has numbers of its own


class FusedText(NamedTuple):
    """A kernel made from a function.

    Attributes:
        text: of the kernel, which takes its first row and the one after the last, arguments, and new results.
        takes: the positions of the arguments that it takes.
        new: the positions of the results that it takes, those that have no argument's memory.
        gives: of each result how it is spread over rows and columns, as `Fused` says it.
    """

    text: Text
    takes: tuple[int, ...]
    new: tuple[int, ...]
    gives: tuple[str, ...]


def fused_text(which: Fused, dtype: np.dtype[Any], settings: dict[str, Any]) -> FusedText:
    """The kernel of a function for a type of numbers.

    Raises:
        ValueError: it cannot be computed row by row, or not in one loop.
    """
    first, second = (written(which, dtype, settings, *size) for size in SIZES)
    if first != second:
        raise ValueError(f"{which.function.__name__} depends on the number of rows, or on that of columns")
    source, *rest = first
    return FusedText(read_text(source, name_of_kernel(which)), *rest)


def name_of_kernel(which: Fused) -> str:
    return f"{which.function.__name__.strip('_')}_kernel"


def written(
    which: Fused, dtype: np.dtype[Any], settings: dict[str, Any], rows: int, columns: int
) -> tuple[str, tuple[int, ...], tuple[int, ...], tuple[str, ...]]:
    """The text for arrays of one size, and the rest of a `FusedText`."""
    shapes = {"n": (rows * columns,), "rc": (rows, columns), "r1": (rows, 1), "c": (columns,)}
    graph, inputs = traced(which, dtype, settings, shapes)
    width = None if "n" in which.takes else as_input(graph, columns)
    optimize(graph)
    elementary = elementary_functions() or ()
    fused, _ = fuse(graph, elementary)
    whole = next((node for node in fused.nodes if isinstance(node.op, Kernel)), None)
    others = {whole, width, *inputs}
    if whole is None or len(whole.op.loops) > 1 or any(n not in others and not is_output(n) for n in fused.nodes):
        raise ValueError(f"{which.function.__name__} is not one loop over the rows:\n{graph}")
    kernel = whole.op
    results = [kernel.outputs[node.args[1]] for node in fused.outputs]
    over = dict(zip(results, (inputs[i] for i in which.over), strict=False))
    if not all(can_overwrite(kernel, *pair, any_length=width is not None) for pair in over.items()):
        raise ValueError(f"{which.function.__name__} reads what it has written over")
    names = {node: node.name for node in inputs if node is not None}
    text = write_kernel(kernel, name_of_kernel(which), names, over, elementary, threads=True, columns=width)
    if not text.split or text.sums or sorted(map(kernel.outputs.index, results)) != list(range(len(kernel.outputs))):
        raise ValueError(f"{which.function.__name__} adds up over the rows, or gives a result twice")
    kinds = {shape: kind for kind, shape in shapes.items() if ("n" in which.takes) == (kind == "n")}
    takes = tuple(inputs.index(node) for node in kernel.inputs if node is not width)
    new = tuple(results.index(kernel.outputs[i]) for i in text.outputs)
    return text.source, takes, new, tuple(kinds[node.shape] for node in results)


def traced(
    which: Fused, dtype: np.dtype[Any], settings: dict[str, Any], shapes: dict[str, tuple[int, ...]]
) -> tuple[Graph, list[Any]]:
    """What the function does as a graph, and the nodes of its arguments, None for what is left out."""
    recorder = Recorder(WHOLE | {_erf})  # SciPy's would have to be imported
    args: list[Any] = []
    names = inspect.signature(which.function).parameters
    for name, kind in zip(names, which.takes, strict=False):
        if kind == "-":
            args.append(None)
        elif kind == "f":
            args.append(Number(recorder, recorder.input(name, (), None), 1.0))
        else:
            args.append(recorder.tracer(recorder.input(name, shapes[kind], dtype), np.ones(shapes[kind], dtype)))
    inputs = [None if arg is None else arg.node for arg in args]
    token = tracing.recorder.set(recorder)
    try:
        results = which.function(*args, **settings)
    finally:
        tracing.recorder.reset(token)
    results = results if isinstance(results, tuple) else (results,)
    return Graph(recorder.nodes, [result.node for result in results]), inputs


def as_input(graph: Graph, columns: int) -> Node:
    """A node for the number of columns, in the place of that number wherever an operation on elements has it."""
    node = Node(INPUT, (), None, (), None, name="columns")
    for user in graph.nodes:
        if isinstance(user.op, np.ufunc):
            user.args = tuple(node if type(arg) is int and arg == columns else arg for arg in user.args)
    graph.nodes.insert(0, node)
    return node
