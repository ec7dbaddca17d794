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

from ..core.backprop import outside, still_saved
from ..core.forward import Several, output_node, record
from ..core.grad_mode import grad_mode
from ..core.recipe import NO_KWARGS, Recipe
from ..core.tensor import Tensor, make_tensor
from ..core.views import note_writes
from ..func.trees import Structure, flatten, unflatten
from .graph import CONSTANT, INPUT, Graph, Node, map_nodes
from .passes import optimize
from .reachable import present
from .references import Argument, Reference
from .source import Program, write_source
from .trace import Trace, trace

__all__ = ["Compiled", "compile"]

LIMIT = 16  # programs of one function


class Variant:
    """One program of a compiled function, and what it needs to run.

    Attributes:
        forward: computes the results, new gradients and writes; where results require grad, also what `backward` needs.
        backward: from that and the results' gradients the gradients of what they depend on; None where none does.
    """

    def __init__(self, traced: Trace, forward: Program, backward: Program | None, graph: Graph, saved: list[Any]):
        self.trace = traced
        self.graph = graph
        self.forward = forward
        self.backward = backward
        self.run_forward = forward.load()
        self.run_backward = None if backward is None else backward.load()
        self.references: list[Reference] = [traced.inputs[node] for node in forward.inputs]
        self.written = [write.tensor for write in traced.writes]
        self.results = len(traced.results)
        self.fresh = sum(gradient.node is not None for gradient in traced.gradients)
        self.saved = saved  # for each parameter of the backward program: an input's position, or None for an output

    @property
    def source(self) -> str:
        """The text of the programs."""
        return self.forward.source + ("" if self.backward is None else f"\n\n{self.backward.source}")

    def run(self, arguments: list[Any]) -> Any:
        """Run the program on the call's flattened arguments."""
        inputs = [reference.fetch(arguments) for reference in self.references]
        outputs = self.run_forward(*inputs)
        if self.written:
            note_writes(self.written, self.forward.name)
        position = self.results
        for gradient in self.trace.gradients:
            if gradient.node is None:
                gradient.tensor.grad = None
            else:
                gradient.tensor.grad = make_tensor(outputs[position], None)
                position += 1
        return self.give(outputs, inputs, outputs[self.results + self.fresh :], arguments)

    def give(self, outputs: Any, inputs: list[Any], saved: Any, arguments: list[Any]) -> Any:
        """The function's result from the program's outputs."""
        values = [
            make_tensor(output, None) if kind == "tensor" else value if kind == "constant" else output
            for output, kind, value in zip(outputs, self.trace.kinds, self.trace.values, strict=False)
        ]
        if self.backward is not None and grad_mode():
            rest = iter(saved)
            kept = [next(rest) if place is None else inputs[place] for place in self.saved]
            self.attach(values, kept, arguments)
        return unflatten(self.trace.structure, values)

    def attach(self, values: list[Any], kept: list[Any], arguments: list[Any]) -> None:
        """Give the results that require grad a recipe whose backward is the backward program."""
        tensors = [
            arguments[reference.index] if isinstance(reference, Argument) else tensor
            for tensor, reference, _ in self.trace.backward
        ]
        places = [i for i, seed in enumerate(self.trace.seeds) if seed is not None]
        arrays = Several(values[i].array for i in places)
        edges = tuple(tensor.node() for tensor in tensors)
        if not any(edge is not None for edge in edges):
            return
        raw = tuple(tensor.array for tensor in tensors)
        func = BackwardProgram(self, kept)
        node = record(func, raw, NO_KWARGS, tuple(tensors), edges, arrays if len(places) > 1 else arrays[0])
        for k, i in enumerate(places):
            values[i]._node = node if len(places) == 1 else output_node(node, k)


class BackwardProgram:
    """The function in the recipe of a compiled function's results."""

    def __init__(self, variant: Variant, kept: list[Any]) -> None:
        self.__name__ = variant.forward.name
        self.variant = variant
        self.kept = kept

    def joint_backward(self, gradient: Any, create: bool, node: Recipe, retain: bool) -> tuple[Any, ...]:
        """The gradients for all that the results depend on.

        Raises:
            RuntimeError: for a second derivative.
        """
        if create:
            raise RuntimeError(
                f"{self.__name__} was compiled, and its results can be differentiated once: compute higher "
                "derivatives inside the compiled function, or call it uncompiled"
            )
        still_saved(node)
        arrays = node._out if type(node._out) is Several else (node._out,)
        given = gradient if isinstance(gradient, tuple) else (gradient,)
        seeds = [
            np.zeros_like(array) if seed is None else np.asarray(outside(seed))
            for seed, array in zip(given, arrays, strict=True)
        ]
        run = self.variant.run_backward
        assert run is not None
        return tuple(outside(g) for g in run(*self.kept, *seeds))


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
        functools.update_wrapper(self, function, updated=())

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
            now = present(namespace, name)
            if now is not value and not (isinstance(now, (int, float, str, bool)) and now == value):
                return False
        for module, training in variant.trace.modes:
            if module.training is not training:
                return False
        return True

    def first_call(self, key: Any, args: tuple[Any, ...], kwargs: dict[str, Any], structure: Structure) -> Any:
        """Trace, write the program, and finish this call with the values that the trace computed."""
        leaves = flatten((args, kwargs))[0]
        traced = trace(self.function, args, kwargs, argument_names(self.function, args, kwargs))
        traced.modes = [(module, module.training) for module in traced.found.modules]
        name_values(traced)
        self.variants[key] = self.last = make_variant(traced, self.name, self.without_passes)
        return self.last.run(leaves)

    def warn_of_change(self, key: Any) -> None:
        """Say what differs between the signatures that were seen."""
        warnings.warn(
            f"{self.name} has been traced for {len(self.variants)} different signatures; what keeps changing makes "
            f"every call slow. The latest: {key[2]}. Pass changing numbers as tensors, and data in one shape.",
            stacklevel=3,
        )

    def __getattr__(self, name: str) -> Any:
        """What the function itself has, such as the parameters of a module."""
        if name == "function":
            raise AttributeError(name)
        return getattr(self.function, name)

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
        return self._latest().source

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
    """The programs of a trace."""
    graph = traced.graph
    # the program returns results and new gradients, and writes the rest to its inputs
    fresh = [gradient.node for gradient in traced.gradients if gradient.node is not None]
    written = [write.node for write in traced.writes]
    returned = [node for _, _, node in traced.backward]
    graph.outputs = [*traced.results, *fresh, *written, *returned]
    optimize(graph, leave_out)
    count = len(traced.results) + len(fresh)
    forward, backward = graph.outputs[: count + len(written)], graph.outputs[count + len(written) :]
    by_reference = {reference: node for node, reference in traced.inputs.items()}
    targets = [by_reference[write.reference] for write in traced.writes]
    behind, saved = split(graph, forward, backward, targets, {seed for seed in traced.seeds if seed is not None})

    values = forward[count:]
    results = [*forward[:count], *(node for node in saved if node.op is not INPUT)]
    pairs = [(value, target) for value, target in zip(values, targets, strict=True) if value is not target]
    ahead = Graph([node for node in graph.nodes if node not in behind], [*results, *values])
    used = {operand for node in ahead.nodes for operand in node.operands()} | {*ahead.outputs, *targets, *saved}
    ahead.nodes = [node for node in ahead.nodes if node.op is not INPUT or node in used]
    intro = f"{name}, compiled by chainrule from {len(ahead.nodes)} operations."
    first = write_source(ahead, name, intro, len(results), pairs)
    second = None
    places: list[Any] = []
    if backward:
        stand_ins = {node: Node(INPUT, (), None, node.shape, node.dtype, name=node.name) for node in saved}
        for node in behind:
            node.args = map_nodes(node.args, lambda n: stand_ins.get(n, n))
            node.kwargs = map_nodes(node.kwargs, lambda n: stand_ins.get(n, n))
        seeds = [seed for seed in traced.seeds if seed is not None]
        nodes = [*stand_ins.values(), *seeds]
        nodes += [node for node in graph.nodes if node in behind and node not in seeds]
        way_back = Graph(nodes, [stand_ins.get(node, node) for node in backward])
        intro = f"The way back through {name}: what it kept, and the gradients of its results."
        second = write_source(way_back, f"{name}_backward", intro, len(backward), [])
        inputs = ahead.inputs
        places = [inputs.index(node) if node.op is INPUT else None for node in saved]
    return Variant(traced, first, second, graph, places)


def split(
    graph: Graph, forward: list[Node], backward: list[Node], targets: list[Node], seeds: set[Node]
) -> tuple[set[Node], list[Node]]:
    """The nodes of the backward program, and the values of the forward program that it needs.

    An input that the forward program writes to is copied first, if the backward program needs its old value.
    """
    ahead: set[Node] = set()
    stack = [*forward, *(node for node in graph.nodes if node.effect)]
    while stack:
        node = stack.pop()
        if node not in ahead:
            ahead.add(node)
            stack += node.operands()
    behind: set[Node] = set()
    stack = list(backward)
    while stack:
        node = stack.pop()
        if node not in ahead and node not in behind and (node.op is not INPUT or node in seeds):
            behind.add(node)
            stack += node.operands()
    needed = [operand for node in graph.nodes if node in behind for operand in node.operands()] + backward
    saved = list(dict.fromkeys(node for node in needed if node not in behind and node.op is not CONSTANT))
    for i, node in enumerate(saved):
        if node in targets:
            copy = Node(np.copy, (node,), None, node.shape, node.dtype, name=f"{node.name}_before")
            graph.nodes.insert(graph.nodes.index(node) + 1, copy)
            for other in behind:
                other.args = map_nodes(other.args, lambda n, old=node, new=copy: new if n is old else n)
                other.kwargs = map_nodes(other.kwargs, lambda n, old=node, new=copy: new if n is old else n)
            saved[i] = copy
    return behind, saved


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

