"""Kernels of eager operations, made from their functions in NumPy: these are traced, fused and written as for programs.

A function is traced twice, on arrays of different sizes. The two texts must be the same, but for the number of columns
where it is used as a number, which a kernel asks its arrays for: so each holds for any number of rows of any length.
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Collection, Sequence
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

__all__ = ["FusedText", "fused_text", "loop_text"]

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
    source, takes, new, gives = first
    return FusedText(read_text(source, name_of_kernel(which)), takes, new, gives)


def name_of_kernel(which: Fused) -> str:
    return f"{which.function.__name__.strip('_')}_kernel"


def written(
    which: Fused, dtype: np.dtype[Any], settings: dict[str, Any], rows: int, columns: int
) -> tuple[str, tuple[int, ...], tuple[int, ...], tuple[str, ...]]:
    """The text for arrays of one size, and the rest of a `FusedText`."""
    kinds = ("n",) if "n" in which.takes else ("rc", "r1", "c")
    shapes = {"n": (rows * columns,), "rc": (rows, columns), "r1": (rows, 1), "c": (columns,)}
    graph, inputs = traced(which.function, which.takes, dtype, settings, shapes)
    width = None if kinds == ("n",) else as_input(graph, columns)
    kernel, results = one_loop(graph, [width, *inputs], which.function)
    over = written_over(kernel, results, [inputs[i] for i in which.over], width is not None)
    names = {node: node.name for node in inputs if node is not None}
    text = write_kernel(kernel, name_of_kernel(which), names, over, functions(), threads=True, columns=width)
    if not text.split or text.sums:
        raise ValueError(f"{which.function.__name__} adds up over the rows")
    takes = tuple(inputs.index(node) for node in kernel.inputs if node is not width)
    new = tuple(results.index(kernel.outputs[i]) for i in text.outputs)
    kind_of = {shapes[kind]: kind for kind in kinds}
    return text.source, takes, new, tuple(kind_of[node.shape or ()] for node in results)


def loop_text(function: Callable[..., Any], dtype: np.dtype[Any], results: Sequence[str]) -> str:
    """A loop over lines that computes a function element by element, to stand in a text written by hand.

    The lines are called as the function's parameters are. The first results take the memory of the first parameters;
    those that are left are lines called as `results` say.
    """
    parameters = inspect.signature(function).parameters
    graph, inputs = traced(function, ["n"] * len(parameters), dtype, {}, {"n": (SIZES[0][1],)})
    kernel, outputs = one_loop(graph, inputs, function)
    first = len(outputs) - len(results)
    over = written_over(kernel, outputs, inputs[:first])
    names = {node: node.name for node in inputs} | dict(zip(outputs[first:], results, strict=True))
    _, _, body = write_kernel(kernel, "loop", names, over, functions()).source.partition("separate()\n")
    return textwrap.dedent(body)


def functions() -> Collection[str]:
    """The elementary functions that kernels can call."""
    return elementary_functions() or ()


def one_loop(graph: Graph, inputs: Sequence[Any], function: Callable[..., Any]) -> tuple[Kernel, list[Node]]:
    """The one loop that a graph is when it is fused, and the nodes in it of the results.

    Raises:
        ValueError: it is more than that.
    """
    optimize(graph)
    fused, _ = fuse(graph, functions())
    whole = next((node for node in fused.nodes if isinstance(node.op, Kernel)), None)
    others = {whole, *inputs}
    if whole is None or len(whole.op.loops) > 1 or any(n not in others and not is_output(n) for n in fused.nodes):
        raise ValueError(f"{function.__name__} is not one loop over the rows:\n{graph}")
    kernel = whole.op
    results = [kernel.outputs[node.args[1]] for node in fused.outputs]
    if len(set(results)) < len(results) or set(results) != set(kernel.outputs):
        raise ValueError(f"{function.__name__} gives a result twice")
    return kernel, results


def written_over(
    kernel: Kernel, results: Sequence[Node], arguments: Sequence[Node], any_length: bool = False
) -> dict[Node, Node]:
    """The first results with the arguments whose memory they take.

    Raises:
        ValueError: an argument would be read after that.
    """
    over = dict(zip(results, arguments, strict=False))
    for result, argument in over.items():
        if not can_overwrite(kernel, result, argument, any_length):
            raise ValueError(f"{argument.name} is read when it has been written over")
    return over


def traced(
    function: Callable[..., Any],
    takes: Sequence[str],
    dtype: np.dtype[Any],
    settings: dict[str, Any],
    shapes: dict[str, tuple[int, ...]],
) -> tuple[Graph, list[Any]]:
    """What the function does as a graph, and the nodes of its arguments, None for what is left out."""
    recorder = Recorder(WHOLE | {_erf})  # SciPy's would have to be imported
    args: list[Any] = []
    names = inspect.signature(function).parameters
    for name, kind in zip(names, takes, strict=False):
        if kind == "-":
            args.append(None)
        elif kind == "f":
            args.append(Number(recorder, recorder.input(name, (), None), 1.0))
        else:
            args.append(recorder.tracer(recorder.input(name, shapes[kind], dtype), np.ones(shapes[kind], dtype)))
    inputs = [None if arg is None else arg.node for arg in args]
    token = tracing.recorder.set(recorder)
    try:
        results = function(*args, **settings)
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
