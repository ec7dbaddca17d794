"""`compile`: a function whose first call is traced and made a program, and whose later calls run that program.

A program is right for the shapes, types and Python values that it was traced with. Each call compares them; another
signature gets a program of its own. Read first: `trace.py`, `source.py`.
"""

from __future__ import annotations

import functools
import inspect
import os
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.grad_mode import grad_mode
from ..core.tensor import Tensor, make_tensor
from ..core.views import note_writes
from ..func.trees import Structure, flatten, unflatten
from ..nn.module import Module
from .graph import CONSTANT, INPUT, Graph, Node
from .passes import optimize
from .references import Reference
from .source import Program, write_source
from .trace import Trace, trace
from .tracer import TraceError

__all__ = ["Compiled", "compile"]

LIMIT = 16  # programs of one function


class Variant:
    """One program of a compiled function, and what it needs to run."""

    def __init__(self, traced: Trace, program: Program) -> None:
        self.trace = traced
        self.program = program
        self.graph: Graph = traced.graph
        self.function = program.load()
        by_node = traced.inputs
        self.references: list[Reference] = [by_node[node] for node in self.graph.inputs]
        self.expected = [(node.shape, node.dtype) for node in self.graph.inputs]
        self.written = [write.tensor for write in traced.writes]
        self.gradients = traced.gradients
        self.results = len(traced.results)

    def run(self, arguments: list[Any]) -> Any:
        """Run the program on the call's flattened arguments."""
        outputs = self.function(*[reference.fetch(arguments) for reference in self.references])
        if self.written:
            note_writes(self.written, self.program.name)
        position = self.results
        for gradient in self.gradients:
            if gradient.node is None:
                gradient.tensor.grad = None
            else:
                gradient.tensor.grad = make_tensor(outputs[position], None)
                position += 1
        return self.give(outputs)

    def give(self, outputs: Any) -> Any:
        """The function's result from the program's outputs."""
        values = [
            make_tensor(output, None) if kind == "tensor" else value if kind == "constant" else output
            for output, kind, value in zip(outputs, self.trace.kinds, self.trace.values, strict=False)
        ]
        return unflatten(self.trace.structure, values)


class Compiled:
    """A function that runs as a NumPy program.

    Attributes:
        source: the program of the last call, as Python text.
        graph: its graph.
    """

    def __init__(self, function: Callable[..., Any], passes: frozenset[str] = frozenset()) -> None:
        self.function = function
        self.variants: dict[Any, Variant] = {}
        self.last: Variant | None = None
        self.without_passes = passes
        functools.update_wrapper(self, function)

    # ----- calls -----

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the program for these arguments; the first call with their signature traces the function."""
        if os.environ.get("CHAINRULE_COMPILE", "1") == "0":
            return self.function(*args, **kwargs)
        leaves, structure = flatten((args, kwargs))
        key = (structure, grad_mode(), tuple(map(signature, leaves)))
        variant = self.variants.get(key)
        if variant is not None and self.still_holds(variant):
            self.last = variant
            return variant.run(leaves)
        if len(self.variants) >= LIMIT:
            self.warn_of_change(key)
        return self.first_call(key, args, kwargs, structure)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        """As a method."""
        if instance is None:
            return self
        bound = self.__dict__.setdefault("_bound", {})
        key = id(instance)
        if key not in bound:
            bound[key] = Compiled(self.function.__get__(instance, owner), self.without_passes)
        return bound[key]

    def still_holds(self, variant: Variant) -> bool:
        """Whether what the program was traced with, apart from the arguments, is as it was."""
        for reference, value in variant.trace.pins:
            if reference.fetch([]) != value:
                return False
        for namespace, name, value in variant.trace.found.bindings:
            now = namespace.cell_contents if name is None else namespace.get(name)
            if now is not value and not (isinstance(now, (int, float, str, bool)) and now == value):
                return False
        for module, training in variant.trace.modes:
            if module.training is not training:
                return False
        return True

    def first_call(self, key: Any, args: tuple[Any, ...], kwargs: dict[str, Any], structure: Structure) -> Any:
        """Trace, write the program, and finish this call with the values that the trace computed."""
        traced = trace(self.function, args, kwargs, argument_names(self.function, args, kwargs))
        traced.modes = [(module, module.training) for module in traced.found.modules]
        name_values(traced)
        values = [(write.tensor, write.value) for write in traced.writes]
        gradients = [(gradient.tensor, gradient.value) for gradient in traced.gradients]
        self.variants[key] = self.last = make_variant(traced, self.name, self.without_passes)
        for tensor, value in values:
            np.copyto(tensor.array, value)
        note_writes([tensor for tensor, _ in values], self.name)
        for tensor, value in gradients:
            tensor.grad = None if value is None else make_tensor(np.array(value), None)
        outputs = [np.array(v) if k != "constant" else v for v, k in zip(traced.values, traced.kinds, strict=True)]
        return self.last.give(outputs)

    def warn_of_change(self, key: Any) -> None:
        """Say what differs between the signatures that were seen."""
        warnings.warn(
            f"{self.name} has been traced for {len(self.variants)} different signatures; what keeps changing makes "
            f"every call slow. The latest: {key[2]}. Pass changing numbers as tensors, and data in one shape.",
            stacklevel=3,
        )

    # ----- tools -----

    @property
    def name(self) -> str:
        """The function's name."""
        name = getattr(self.function, "__name__", type(self.function).__name__)
        return name if str(name).isidentifier() else "program"

    @property
    def source(self) -> str:
        """The program of the last call.

        Raises:
            RuntimeError: it has not been called yet.
        """
        return self._latest().program.source

    @property
    def graph(self) -> Graph:
        """The graph of the last call's program."""
        return self._latest().graph

    def _latest(self) -> Variant:
        if self.last is None:
            raise RuntimeError(f"{self.name} has no program yet: call it once")
        return self.last


def signature(leaf: Any) -> Any:
    """What of an argument a program depends on.

    Raises:
        TypeError: it is neither an array nor hashable.
    """
    if isinstance(leaf, Tensor):
        return (Tensor, leaf.array.shape, leaf.array.dtype, leaf._node is not None)
    if isinstance(leaf, np.ndarray):
        return (np.ndarray, leaf.shape, leaf.dtype)
    try:
        hash(leaf)
    except TypeError:
        raise TypeError(
            f"an argument of a compiled function is a {type(leaf).__name__}, which is no array and cannot be compared: "
            "close over it, or pass what the function needs of it"
        ) from None
    return (type(leaf), leaf)


def argument_names(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[str]:
    """A name for each of the flattened arguments: the parameter's, numbered where it holds several."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    names = []
    for i, value in enumerate(args):
        plain = i < len(parameters) and parameters[i].kind is not inspect.Parameter.VAR_POSITIONAL
        base = parameters[i].name if plain else f"argument_{i + 1}"
        names += numbered(base, len(flatten(value)[0]))
    for key, value in kwargs.items():
        names += numbered(key, len(flatten(value)[0]))
    return names


def numbered(base: str, count: int) -> list[str]:
    return [base] if count == 1 else [f"{base}_{i + 1}" for i in range(count)]


def name_values(traced: Trace) -> None:
    """Call gradients and new values after the tensors that they belong to."""
    for gradient in traced.gradients:
        if gradient.node is not None and not gradient.node.name:
            path = traced.found.tensors.get(gradient.tensor)
            if path:
                gradient.node.name = path.replace(".", "_").lstrip("_") + "_grad"


def make_variant(traced: Trace, name: str, leave_out: frozenset[str] = frozenset()) -> Variant:
    """The program of a trace."""
    graph = traced.graph
    # the program returns results and new gradients, and writes the rest to its inputs
    results = traced.results
    fresh = [gradient.node for gradient in traced.gradients if gradient.node is not None]
    written = [write.node for write in traced.writes]
    graph.outputs = [*results, *fresh, *written]
    optimize(graph, leave_out)
    used = {operand for node in graph.nodes for operand in node.operands()} | set(graph.outputs)
    by_reference = {reference: node for node, reference in traced.inputs.items()}
    targets = [by_reference[write.reference] for write in traced.writes]
    graph.nodes = [node for node in graph.nodes if node.op is not INPUT or node in used or node in targets]
    count = len(results) + len(fresh)
    in_place = list(zip(graph.outputs[count:], targets, strict=True))
    in_place = [(value, target) for value, target in in_place if value is not target]
    intro = f"{name}, compiled by chainrule from {len(graph.nodes)} operations; runs with NumPy alone."
    return Variant(traced, write_source(graph, name, intro, count, in_place))


def compile(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Make a function a NumPy program, traced at its first call.

    >>> import chainrule as cr
    >>> from chainrule.compiler import compile
    >>> @compile
    ... def square(x):
    ...     return x * x
    >>> square(cr.tensor([1.0, 3.0])).tolist()
    [1.0, 9.0]
    """
    if function is None:
        return functools.partial(compile, **options)
    return Compiled(function, frozenset(options.get("leave_out", ())))


del CONSTANT, Module, Node, TraceError
