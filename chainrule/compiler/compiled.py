"""`compile`: a function whose first call is traced and made a program, and whose later calls run that program.

A program is right for the shapes, types and Python values that it was traced with. Each call compares them; another
signature gets a program of its own. Read first: `trace.py`, `guards.py`, `source.py`.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import gc
import inspect
import os
import threading
import time
import types
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from ..core import tracing
from ..core.backprop import outside, still_saved
from ..core.dtypes import default_float
from ..core.forward import TENSOR_FUNCS, Several, output_node, record
from ..core.grad_mode import enable_grad, grad_mode, no_grad
from ..core.recipe import FREED, NO_KWARGS, Leaf, Overwritten, Recipe, hooks_of, make_recipe
from ..core.tensor import Tensor, make_tensor
from ..core.views import note_writes
from ..func.trees import flatten, unflatten
from .graph import CONSTANT, INPUT, STRIDED, Graph, Node, map_nodes
from .guards import Guards
from .kernels import elementary_functions
from .kernels.cache import expecting
from .memory import is_contiguous, root
from .naming import name_values
from .passes import optimize
from .references import Argument, Gradient, Reference
from .source import Program, write_source
from .trace import Result, Trace, trace

__all__ = ["Compiled", "Variant", "compile"]

LIMIT = 8  # programs of one function before it warns; the oldest are dropped then
TRACING = threading.RLock()  # while one thread traces, tensors hold tracers
off = os.environ.get("CHAINRULE_COMPILE", "1") == "0"  # everything runs eagerly
SHARED = ("shared", "unrecorded", "detached", "memory")  # kinds of results
EQUAL_BUT_OTHER = (float, complex, np.generic)  # numbers that == does not tell apart
NONE_HELD: dict[Reference, Any] = {}
PLAIN = frozenset((Tensor, np.ndarray, int, float, bool, str))  # no containers


class Variant:
    """One program of a compiled function, and what it needs to run.

    Attributes:
        forward: computes the results, new gradients and writes; where results require grad, also what `backward` needs.
        backward: from that and the results' gradients the gradients of what they depend on; None where none does.
        guards: what it rests on.
        seconds: what tracing, passes and writing the program took.
    """

    def __init__(
        self,
        traced: Trace,
        guards: Guards,
        forward: Program,
        backward: Program | None,
        graphs: list[Graph],
        saved: list[Any],
    ) -> None:
        self.trace = traced
        self.guards = guards
        self.graphs = graphs
        self.forward = forward
        self.__name__ = forward.name
        self.backward = backward
        self.seconds = 0.0
        self.lock = threading.Lock()  # of the backward program's buffers
        self.run_forward = forward.load()
        self.run_backward = None if backward is None else backward.load()
        self.written = [*(write.reference for write in traced.writes), *traced.noted]
        self.returned = sum(result.node is not None for result in traced.results)
        self.plain = all(result.kind == "tensor" for result in traced.results)
        self.shared = [i for i, result in enumerate(traced.results) if result.kind in SHARED]
        self.ends = [(i, result.end) for i, result in enumerate(traced.results) if result.end]
        self.freed = make_recipe(self, (), NO_KWARGS, (), FREED, None)
        self.linked = [(gradient.reference, known) for gradient in traced.gradients if (known := gradient.known)]
        entered = {*traced.leaves.values()}  # found before there are new gradients
        found = [result.reference for result in (*traced.results, *(known for _, known in self.linked))]
        self.old: list[Reference] = [r for r in found if isinstance(r, Gradient) and r in entered]
        self.saved = saved  # for each parameter of the backward program: an input's position, or None for an output
        self.last_inputs: list[Any] | None = None
        self.template: list[Any] = []
        self.template_of: Any = None
        self.arguments: list[tuple[int, int]] = []
        self.others: list[tuple[int, Reference]] = []
        self.references: list[Reference] = [traced.inputs[node] for node in forward.inputs]
        read = {reference.of for reference in self.references if isinstance(reference, Gradient)}
        self.unread_gradients = [g.reference for g in traced.gradients if g.reference not in read]
        for position, reference in enumerate(self.references):
            if isinstance(reference, Argument):
                self.arguments.append((position, reference.index))
            elif reference not in guards.places:
                self.others.append((position, reference))

    @property
    def source(self) -> str:
        """The text of the programs."""
        return self.forward.source + ("" if self.backward is None else f"\n\n{self.backward.source}")

    def inputs(self, arguments: Any) -> list[Any]:
        """The arrays and numbers that the forward program is called with."""
        guards = self.guards
        if self.template_of is not guards.arrays:
            self.template_of = guards.arrays
            places = guards.places
            self.template = [guards.arrays[places[r]] if r in places else None for r in self.references]
        inputs = self.template.copy()
        for position, index in self.arguments:
            leaf = arguments[index]
            inputs[position] = leaf.array if isinstance(leaf, Tensor) else leaf
        for position, reference in self.others:
            inputs[position] = reference.fetch(arguments)
        return inputs

    def run(self, arguments: Any) -> Any:
        """Run the program on the call's flattened arguments."""
        self.last_inputs = inputs = self.inputs(arguments)
        held = {reference: reference.holder(arguments) for reference in self.old} if self.old else NONE_HELD
        for reference in self.unread_gradients:  # their memory, which is in the cache, goes to the new ones
            reference.holder(arguments)._grad = None
        outputs = self.run_forward(*inputs)
        traced = self.trace
        if self.written:
            holders = [reference.holder(arguments) for reference in self.written]
            note_writes([holder for holder in holders if isinstance(holder, Tensor)], self.forward.name)
        position = self.returned
        for gradient in traced.gradients:
            tensor = gradient.reference.holder(arguments)
            if gradient.node is None:
                tensor._grad = None  # for those that are linked, till all others are there
            else:
                tensor._grad = make_tensor(as_array(outputs[position]), None)
                position += 1
        for state in traced.states:
            value = state.value
            if state.node is not None:
                value = outputs[position]
                position += 1
            where = state.reference
            if state.is_tensor:
                value = make_tensor(as_array(value), None)
            where.optimizer.state[where.parameter][where.key] = value
        for reference, known in self.linked:
            reference.holder(arguments)._grad = self.from_before(known, arguments, held)
        values = self.values(outputs, arguments, held)
        if self.backward is not None:
            rest = iter(outputs[position:])
            kept = [next(rest) if place is None else inputs[place] for place in self.saved]
            self.attach(values, kept, arguments)
        for i in self.shared:
            result = traced.results[i]
            linked = result.reference is not None
            values[i] = self.from_before(result, arguments, held) if linked else view_of(values[result.value], result)
        for i, end in self.ends:
            if end == "freed":
                if self.freed._extra is not None:  # somebody has added to it, in the belief that it is one result's
                    self.freed = make_recipe(self, (), NO_KWARGS, (), FREED, None)
                values[i]._node = self.freed
            else:
                alone = end == "alone"
                values[i]._node = make_recipe(self, (), NO_KWARGS, (), (), None) if alone else Leaf(values[i])
        if traced.derived:
            first = len(values) - len(traced.derived)
            for (module, name), value in zip(traced.derived, values[first:], strict=True):
                vars(module)[name] = value
            values = values[:first]
        return values[0] if traced.single else unflatten(traced.structure, values)

    @staticmethod
    def from_before(result: Result, arguments: Any, held: dict[Reference, Any]) -> Any:
        """A tensor or array that the caller has, or a view of it."""
        reference = result.reference
        found = held[reference] if reference in held else reference.holder(arguments)
        return found if result.kind == "same" else view_of(found, result)

    def values(self, outputs: Any, arguments: Any, held: dict[Reference, Any]) -> list[Any]:
        """What the function returns, flattened."""
        if self.plain:
            return [make_tensor(as_array(output), None) for output in outputs[: self.returned]]
        rest = iter(outputs)
        values: list[Any] = []
        for result in self.trace.results:
            again = result.kind == "again"
            values.append(values[result.value] if again else self.value(result, rest, arguments, held))
        return values

    def value(self, result: Result, outputs: Any, arguments: Any, held: dict[Reference, Any]) -> Any:
        if result.kind == "tensor":
            return make_tensor(as_array(next(outputs)), None)
        if result.kind == "same":
            return self.from_before(result, arguments, held)
        if result.kind in SHARED:
            return None  # until all others are there
        if result.kind == "constant":
            return result.value.copy() if isinstance(result.value, np.ndarray) else result.value
        return next(outputs)

    def attach(self, values: list[Any], kept: list[Any], arguments: Any) -> None:
        """Give the results that require grad a recipe whose backward is the backward program."""
        tensors = [reference.holder(arguments) for reference, _ in self.trace.backward]
        edges = [tensor.node() for tensor in tensors]
        if not any(edge is not None for edge in edges):
            return
        places = [i for i, seed in enumerate(self.trace.seeds) if seed is not None]
        arrays = Several(values[i].array for i in places)
        # what the backward program reads is among the inputs, so that a write to it in the meantime is noticed
        read = [self.references[place].holder(arguments) for place in self.saved if place is not None]
        read = [tensor for tensor in read if isinstance(tensor, Tensor)]
        tensors += read
        edges += [None] * len(read)
        raw = tuple(tensor.array for tensor in tensors)
        func = BackwardProgram(self, kept, len(read))
        out = arrays if len(places) > 1 else arrays[0]
        node = record(func, raw, NO_KWARGS, tuple(tensors), tuple(edges), out)
        for k, i in enumerate(places):
            values[i]._node = node if len(places) == 1 else output_node(node, k)


def view_of(value: Any, result: Result) -> Any:
    """The view of a tensor or array that a result is."""
    if isinstance(value, Tensor) and result.kind == "memory":
        value = value.array
    if isinstance(value, Tensor) and result.kind == "detached":
        value = value.detach()
    with no_grad() if result.kind == "unrecorded" else enable_grad():
        for function, rest, kwargs in result.chain:
            called = TENSOR_FUNCS.get(function, function) if isinstance(value, Tensor) else function
            value = called(value, *rest, **kwargs)
    return value


@contextlib.contextmanager
def without_collector() -> Iterator[None]:
    """Python's garbage collector waits: a trace makes much that stays, through which it would go again and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def as_array(value: Any) -> Any:
    """NumPy gives a scalar where an array has no dimensions; a tensor holds an array."""
    return value if type(value) is np.ndarray else np.asarray(value)


class BackwardProgram:
    """The function in the recipe of a compiled function's results."""

    def __init__(self, variant: Variant, kept: list[Any], read: int) -> None:
        self.__name__ = variant.forward.name
        self.variant = variant
        self.kept = kept
        self.read = read  # the last so many of the recipe's arguments are what the program reads

    def joint_backward(self, gradient: Any, create: bool, node: Recipe, retain: bool) -> tuple[Any, ...]:
        """The gradients for all that the results depend on.

        Raises:
            RuntimeError: for a second derivative; for what was saved and has been overwritten.
        """
        if create:
            raise RuntimeError(
                f"{self.__name__} was compiled, and its results can be differentiated once: compute higher "
                "derivatives inside the compiled function, or call it uncompiled"
            )
        args, _ = still_saved(node)
        for arg in args[len(args) - self.read :]:
            if isinstance(arg, Overwritten):
                raise RuntimeError(arg._message)
        arrays = node._out if type(node._out) is Several else (node._out,)
        given = gradient if isinstance(gradient, tuple) else (gradient,)
        seeds = [
            np.zeros_like(array) if seed is None else np.asarray(outside(seed), order="C")
            for seed, array in zip(given, arrays, strict=True)
        ]
        run = self.variant.run_backward
        assert run is not None
        with self.variant.lock:
            found = run(*self.kept, *seeds)
        return (*map(outside, found), *(None,) * self.read)


class Compiled:
    """A function that runs as a NumPy program.

    Attributes:
        function: the function itself, which runs eagerly.
        source: the program of the last call, as Python text.
        graph: its graph.
        traces: how often the function has been traced.
    """

    compiled_function = True

    def __init__(self, function: Callable[..., Any], leave_out: frozenset[str] = frozenset()) -> None:
        self.function = function
        self.leave_out = leave_out
        self.variants: dict[Any, list[Variant]] = {}
        self.last: Variant | None = None
        self.traces = 0
        self.lock = threading.RLock()
        self.warned = False
        functools.update_wrapper(self, function, updated=())

    # ----- calls -----

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the program for these arguments; the first call with their signature traces the function.

        Raises:
            TraceError: the function depends on values that only a run can know.
            TypeError: an argument is neither an array nor hashable.
        """
        if off or tracing.recorder.get() is not None:
            return self.function(*args, **kwargs)
        leaves: Any = args
        structure: Any = len(args)
        if kwargs or not PLAIN.issuperset(map(type, args)):
            leaves, structure = flatten((args, kwargs))
        key = (structure, grad_mode(), default_float(), *map(signature, leaves))
        with self.lock:
            for variant in self.variants.get(key, ()):
                if variant.guards.hold(leaves):
                    self.last = variant
                    return variant.run(leaves)
            return self.first_call(key, args, kwargs)

    def first_call(self, key: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Trace, write the program, and run it."""
        leaves = flatten((args, kwargs))[0]
        names = argument_names(self.function, args, kwargs)
        with TRACING:
            reasons = [variant.guards.broken(leaves) for variant in self.variants.get(key, ())]
            if "" in reasons:  # another thread was tracing
                self.last = self.variants[key][reasons.index("")]
                return self.last.run(leaves)
            start = time.perf_counter()
            with without_collector(), self.expecting_kernels(leaves):
                traced = trace(self.function, args, kwargs, names)
                guards = Guards(traced, leaves)
                name_values(traced)
                variant = make_variant(traced, guards, self.name, self.leave_out)
            variant.seconds = time.perf_counter() - start
        self.traces += 1
        known = sum(map(len, self.variants.values()))
        if known >= LIMIT:
            self.warn_of_change(key, names, reasons)
            oldest = next(iter(self.variants))
            self.variants[oldest].pop(0)
            if not self.variants[oldest]:
                del self.variants[oldest]
        self.variants.setdefault(key, []).append(variant)
        self.last = variant
        return variant.run(leaves)

    def expecting_kernels(self, leaves: list[Any]) -> AbstractContextManager[None]:
        """While the function is traced, processes that can compile its kernels may start."""
        if "fusion" in self.leave_out or elementary_functions() is None:
            return contextlib.nullcontext()
        kinds = [(leaf.shape, str(leaf.dtype)) for leaf in leaves if isinstance(leaf, (Tensor, np.ndarray))]
        return expecting(f"{getattr(self.function, '__module__', None)}.{self.name} {kinds}")

    def warn_of_change(self, key: Any, names: list[str], reasons: list[str]) -> None:
        """Say, once, what makes the function be traced again and again."""
        if self.warned:
            return
        self.warned = True
        if reasons:
            what = reasons[-1]
        else:
            what = differences(list(self.variants)[-1], key, names)
        warnings.warn(
            f"{self.name} has been traced {self.traces} times, which makes calls slow. What keeps changing: {what}. "
            "Give data one shape, pass numbers that change as tensors or as np.asarray(number), or leave this function "
            "uncompiled.",
            stacklevel=4,
        )

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        """As a method: every instance has programs of its own, which live as long as it does."""
        if instance is None:
            return self
        method = types.MethodType(self.function, instance)
        if off or tracing.recorder.get() is not None:
            return method
        name = f"_compiled_{getattr(self.function, '__name__', 'method')}"
        kept = getattr(instance, "__dict__", None)
        if kept is None:
            return Compiled(method, self.leave_out)
        bound = kept.get(name)
        if bound is None or bound.function.__func__ is not self.function or bound.function.__self__ is not instance:
            bound = kept[name] = Compiled(method, self.leave_out)
        return bound

    def __getattr__(self, name: str) -> Any:
        """What the function itself has."""
        if name == "function":
            raise AttributeError(name)
        return getattr(self.function, name)

    def __deepcopy__(self, memo: dict[int, Any]) -> Compiled:
        function = self.function
        if isinstance(function, types.MethodType):
            function = types.MethodType(function.__func__, copy.deepcopy(function.__self__, memo))
        else:
            function = copy.deepcopy(function, memo)
        return Compiled(function, self.leave_out)

    def __reduce__(self) -> Any:
        function = self.function
        if isinstance(function, types.MethodType) and hasattr(type(function.__self__), function.__name__):
            return compiled_method, (function.__self__, function.__name__, self.leave_out)
        return Compiled, (function, self.leave_out)

    def __repr__(self) -> str:
        return f"<compiled {self.name}, {sum(map(len, self.variants.values()))} programs>"

    # ----- tools -----

    @property
    def name(self) -> str:
        """The function's name."""
        name = str(getattr(self.function, "__name__", type(self.function).__name__))
        return name if name.isidentifier() else "program"

    @property
    def source(self) -> str:
        """The program of the last call.

        Raises:
            RuntimeError: it has not been called yet.
        """
        return self.latest().source

    @property
    def graph(self) -> Graph:
        """The graph of the last call's program: prints, and draws with `graph.draw()`."""
        return self.latest().graphs[0]

    def stats(self) -> Any:
        """What the last call's program does: its kernels, matrix products, bytes, operations; prints as a table."""
        from .tools import stats

        return stats(self.latest())

    def profile(self, n: int = 20) -> Any:
        """Time by line of `source`, over `n` runs with the last call's inputs, which are left as they are."""
        from .tools import profile

        return profile(self.latest(), n)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the last call's program to a Python file that needs nothing but NumPy.

        Constants that are too large to write out go to a file beside it that ends in `.npz`.
        """
        from .tools import save

        save(self.latest(), path)

    def latest(self) -> Variant:
        """The program of the last call.

        Raises:
            RuntimeError: it has not been called yet.
        """
        if self.last is None:
            why = "CHAINRULE_COMPILE=0 turns compilation off" if off else "call it once"
            raise RuntimeError(f"{self.name} has no program{'' if off else ' yet'}: {why}")
        return self.last


def compiled_method(instance: Any, name: str, leave_out: frozenset[str]) -> Any:
    """A compiled method of an instance, which need not have its attributes yet, as when it is being unpickled."""
    function = getattr(type(instance), name)
    if isinstance(function, Compiled):
        function = function.function
    return Compiled(types.MethodType(function, instance), leave_out)


def signature(leaf: Any) -> Any:
    """What of an argument a program depends on.

    Raises:
        TypeError: it is neither an array nor hashable.
    """
    if isinstance(leaf, Tensor):
        array = leaf.array
        if type(array) is not np.ndarray:
            return (type(array), leaf)
        node = leaf.node()
        if node is None:
            return (array.shape, array.dtype, False, array.flags.c_contiguous)
        return (array.shape, array.dtype, True, array.flags.c_contiguous, *hooks_of(node))
    if isinstance(leaf, np.ndarray):
        return (np.ndarray, leaf.shape, leaf.dtype, leaf.flags.c_contiguous)
    if isinstance(leaf, EQUAL_BUT_OTHER):
        return (type(leaf), repr(leaf))  # 0.0 and -0.0 are equal, and nan is not
    try:
        hash(leaf)
    except TypeError:
        raise TypeError(
            f"an argument of a compiled function is a {type(leaf).__name__}, which is no array and cannot be compared: "
            "close over it, or pass what the function needs of it"
        ) from None
    return (type(leaf), leaf, *members(leaf))


def members(value: Any) -> Iterator[Any]:
    """What an object holds whose class says when two are equal: equal ones may hold 1, 1.0 and True."""
    kind: Any = type(value)
    if kind.__eq__ is object.__eq__:
        return
    names = [field.name for field in dataclasses.fields(value)] if dataclasses.is_dataclass(value) else ()
    for name in names or getattr(value, "__dict__", ()):
        yield name
        yield exactly(getattr(value, name, None))


def exactly(value: Any) -> Any:
    """What tells a value from others, which may be equal to it."""
    if isinstance(value, (tuple, frozenset)):
        return (type(value), *map(exactly, value))
    if isinstance(value, EQUAL_BUT_OTHER):
        return (type(value), repr(value))
    if isinstance(value, (Tensor, np.ndarray)) or type(value).__hash__ is None:
        return id(value)
    return (type(value), value, *members(value))


def differences(before: Any, now: Any, names: list[str]) -> str:
    """What differs between two signatures."""
    if before[0] != now[0]:
        return f"how the arguments are nested: {before[0]}, then {now[0]}"
    found = [
        f"{name} ({described(x)}, then {described(y)})"
        for name, x, y in zip(names, before[3:], now[3:], strict=False)
        if x != y
    ]
    if before[1] != now[1]:
        found.append("whether gradients are recorded")
    return ", ".join(found) or "the default element type"


def described(part: Any) -> str:
    """An argument's signature in words."""
    of_tensor = isinstance(part[0], tuple)
    if of_tensor or part[0] is np.ndarray:
        shape, dtype, grad, contiguous = part[:4] if of_tensor else (part[1], part[2], False, part[3])
        words = f"{dtype}[{', '.join(map(str, shape))}]" + (" that requires grad" if grad else "")
        words += " and has hooks" if len(part) > 4 else ""
        return words + ("" if contiguous else ", not contiguous")
    return part[1] if issubclass(part[0], EQUAL_BUT_OTHER) else repr(part[1])


def argument_names(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[str]:
    """A name for each of the flattened arguments: the parameter's, numbered where it holds several."""
    try:
        parameters = list(inspect.signature(getattr(function, "forward", function)).parameters.values())
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


def make_variant(traced: Trace, guards: Guards, name: str, leave_out: frozenset[str] = frozenset()) -> Variant:
    """The programs of a trace."""
    graph = traced.graph
    # the program returns results, new gradients and states, and writes the rest to its inputs
    fresh = [result.node for result in traced.results if result.node is not None]
    fresh += [gradient.node for gradient in traced.gradients if gradient.node is not None]
    fresh += [state.node for state in traced.states if state.node is not None]
    written = [write.node for write in traced.writes]
    graph.outputs = [*fresh, *written, *(node for _, node in traced.backward)]
    optimize(graph, leave_out)
    count = len(fresh)
    forward, backward = graph.outputs[: count + len(written)], graph.outputs[count + len(written) :]
    by_reference = {reference: node for node, reference in traced.inputs.items()}
    targets = [by_reference[write.reference] for write in traced.writes]
    results, values = forward[:count], forward[count:]
    results = [copied(graph, node) if root(node) in targets else node for node in results]
    values = [
        copied(graph, node) if root(node) in targets and root(node) is not target else node
        for node, target in zip(values, targets, strict=True)
    ]
    forward = [*results, *values]
    behind, saved = split(graph, forward, backward, targets, {seed for seed in traced.seeds if seed is not None})

    results += [node for node in saved if node.op is not INPUT]
    pairs = [(value, target) for value, target in zip(values, targets, strict=True) if value is not target]
    ahead = Graph([node for node in graph.nodes if node not in behind], [*results, *values])
    used = {operand for node in ahead.nodes for operand in node.operands()} | {*ahead.outputs, *targets, *saved}
    ahead.nodes = [node for node in ahead.nodes if node.op is not INPUT or node in used]
    steps = sum(node.op not in (INPUT, CONSTANT) for node in ahead.nodes)
    kernels = "fusion" not in leave_out
    intro = f"{name}, compiled by chainrule: {steps} steps."
    first = write_source(ahead, name, intro, len(results), pairs, kernels=kernels)
    second = None
    graphs = [ahead]
    places: list[Any] = []
    if backward:
        stand_ins = {
            node: Node(INPUT, () if is_contiguous(node) else (STRIDED,), None, node.shape, node.dtype, name=node.name)
            for node in saved
        }
        for node in behind:
            node.args = map_nodes(node.args, lambda n: stand_ins.get(n, n))
            node.kwargs = map_nodes(node.kwargs, lambda n: stand_ins.get(n, n))
        seeds = [seed for seed in traced.seeds if seed is not None]
        constants = {
            operand
            for node in (*behind, *backward)
            for operand in (*(node.operands() if node.op is not CONSTANT else ()), node)
            if operand.op is CONSTANT
        }
        nodes = [*stand_ins.values(), *seeds, *(node for node in graph.nodes if node in constants)]
        nodes += [node for node in graph.nodes if node in behind and node not in seeds and node not in constants]
        way_back = Graph(nodes, [stand_ins.get(node, node) for node in backward])
        intro = f"The way back through {name}: what it kept, and the gradients of its results."
        second = write_source(way_back, f"{name}_backward", intro, len(backward), [], kernels=kernels)
        graphs.append(way_back)
        inputs = ahead.inputs
        places = [inputs.index(node) if node.op is INPUT else None for node in saved]
    return Variant(traced, guards, first, second, graphs, places)


def copied(graph: Graph, node: Node) -> Node:
    """A copy of an input or a view of one, made before anything is written to it."""
    copy = Node(np.copy, (node,), None, node.shape, node.dtype, name=f"{node.name}_before")
    graph.nodes.insert(graph.nodes.index(node) + 1, copy)
    return copy


def split(
    graph: Graph, forward: list[Node], backward: list[Node], targets: list[Node], seeds: set[Node]
) -> tuple[set[Node], list[Node]]:
    """The nodes of the backward program, and the values of the forward program that it needs.

    An input that the forward program writes to, or a part of it, is copied first, if the backward program needs its old
    value.
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
        if root(node) in targets:
            copy = copied(graph, node)
            before = {node: copy}
            for other in behind:
                other.args = map_nodes(other.args, lambda n, before=before: before.get(n, n))  # type: ignore[misc]
                other.kwargs = map_nodes(other.kwargs, lambda n, before=before: before.get(n, n))  # type: ignore[misc]
            saved[i] = copy
    return behind, saved


def compile(
    model: Callable[..., Any] | None = None,
    *,
    fullgraph: bool = True,
    dynamic: bool | None = None,
    backend: Any = "numpy",
    mode: str | None = None,
    options: dict[str, Any] | None = None,
    disable: bool = False,
    leave_out: Any = (),
) -> Any:
    """Make a function, or a module, a NumPy program; it is traced at its first call.

    Args:
        model: the function, method or module; left out in `@compile(...)` with other arguments.
        fullgraph, dynamic, backend, mode, options: PyTorch's, accepted: there is one way to compile, of the whole
            function, a program for each set of shapes.
        disable: return the function as it is.
        leave_out: names of passes that are not run, see `chainrule.compiler.passes`; "fusion" for no kernels.

    Raises:
        TraceError: at a call, if the function depends on values that only a run can know.

    >>> import chainrule as cr
    >>> from chainrule.compiler import compile
    >>> @compile
    ... def square(x):
    ...     return x * x
    >>> square(cr.tensor([1.0, 3.0])).tolist()
    [1.0, 9.0]
    """
    if model is None:
        return functools.partial(compile, disable=disable, leave_out=leave_out)
    if not callable(model) and not isinstance(model, (staticmethod, classmethod)):
        raise TypeError(f"compile takes a function or a module, got {type(model).__name__}")
    if disable:
        return model
    from ..nn.module import Module

    if isinstance(model, Module):
        from .modules import CompiledModule

        return CompiledModule(model, frozenset(leave_out))
    return Compiled(model, frozenset(leave_out))
