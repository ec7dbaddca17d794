"""Run a function once on tracers: what it computed is a graph, what it changed are the graph's effects.

While the function runs, every tensor that it can reach holds a tracer in the place of its array. The engine and the
table do the rest: they cannot tell a tracer from an array of another library. Afterwards the arrays are put back.
Read next: `compiled.py`, which turns a trace into a program.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..core import tracing
from ..core.backprop import grad
from ..core.recipe import Leaf, Recipe
from ..core.table import BACK_FUNCS
from ..core.tensor import Tensor, make_tensor
from ..func.trees import Structure, flatten, unflatten
from .graph import Graph, Node
from .reachable import Found, walk
from .references import Argument, Gradient, OfTensor, Reference, Seed, Setting, State
from .tracer import Cell, Number, Recorder, TraceError, Tracer, formula

__all__ = ["Trace", "trace"]


class Write:
    """An effect: the value that an input's memory holds at the end."""

    def __init__(self, reference: Reference, tensor: Tensor, node: Node, value: Any) -> None:
        self.reference = reference
        self.tensor = tensor
        self.node = node
        self.value = value


class NewGradient:
    """An effect: a tensor's `.grad` is a new tensor, or None."""

    def __init__(self, tensor: Tensor, node: Node | None, value: Any) -> None:
        self.tensor = tensor
        self.node = node
        self.value = value


class Trace:
    """A traced run.

    Attributes:
        graph: the program; its outputs are the results, then the effects' values.
        inputs: for each input node how to find it.
        results: nodes of the tensors that the function returned.
        structure: how they are put together.
        writes, gradients: the effects.
        seeds: an input node for the gradient of each result, None where it requires none.
        backward: (tensor, how to find it, node of its gradient) for what the results' gradients flow to.
        pins: (reference, value): numbers on which Python decided something.
        found: what the function closes over.
    """

    graph: Graph
    inputs: dict[Node, Reference]
    results: list[Node]
    values: list[Any]
    kinds: list[str]
    structure: Structure
    writes: list[Write]
    gradients: list[NewGradient]
    seeds: list[Node | None]
    backward: list[tuple[Tensor, Reference, Node]]
    modes: list[tuple[Any, bool]]
    pins: list[tuple[Reference, Any]]
    found: Found


class _Session:
    """The tensors whose arrays are tracers for the time being."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.before: dict[Tensor, tuple[Any, Tensor | None]] = {}
        self.tracers: dict[Tensor, Tracer] = {}
        self.cells: dict[Any, Tracer] = {}  # tensors on the same memory share one
        self.inputs: dict[Node, Reference] = {}
        self.owners: dict[Cell, tuple[Reference, Tensor]] = {}
        self.nodes: dict[Tensor, Recipe] = {}  # of arguments, which count as leaves for the time being
        self.references: dict[Tensor, Reference] = {}

    def number(self, reference: Reference, value: Any) -> Number:
        node = self.recorder.input(reference.name, (), None)
        self.inputs[node] = reference
        return Number(self.recorder, node, value)

    def array(self, reference: Reference, array: Any, tensor: Tensor | None = None) -> Tracer:
        key = (array.__array_interface__["data"][0], array.shape, array.strides, array.dtype.str)
        known = self.cells.get(key)
        if known is not None and array.size:
            return known
        node = self.recorder.input(reference.name, array.shape, array.dtype)
        self.inputs[node] = reference
        tracer = self.recorder.tracer(node, array)
        self.cells[key] = tracer
        if tensor is not None:
            self.owners[tracer.cell] = (reference, tensor)
        return tracer

    def enter(self, tensor: Tensor, reference: Reference) -> None:
        """Give a tensor a tracer for its array."""
        if tensor in self.before or not isinstance(tensor.array, np.ndarray):
            return
        if isinstance(tensor._node, Recipe) and isinstance(reference, Argument):
            self.nodes[tensor] = tensor._node
            tensor._node = Leaf(tensor)
        elif isinstance(tensor._node, Recipe):
            raise TraceError(
                f"{reference.name} is the result of an operation outside the compiled function, through which no "
                "gradient can flow: compute it inside, or pass it as an argument after detach()"
            )
        self.references[tensor] = reference
        self.before[tensor] = (tensor.array, tensor.grad)
        self.tracers[tensor] = tensor.array = self.array(reference, tensor.array, tensor)
        if tensor.grad is not None:
            self.enter(tensor.grad, Gradient(tensor, f"{reference.name}_grad"))

    def leave(self) -> None:
        for tensor, (array, gradient) in self.before.items():
            tensor.array = array
            tensor.grad = gradient
        for tensor, node in self.nodes.items():
            tensor._node = node


def identifier(path: str) -> str:
    """A path as a name of Python: `model.fc1.weight` becomes `model_fc1_weight`."""
    name = "".join(c if c.isalnum() else "_" for c in path).strip("_") or "value"
    return f"_{name}" if name[0].isdigit() else name


def trace(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], names: list[str]) -> Trace:
    """Run `function(*args, **kwargs)` on tracers.

    Args:
        names: what the flattened arguments are called in the program.

    Raises:
        TraceError: the function depends on values, or keeps a traced value.
    """
    recorder = Recorder()
    found = walk(("", function))
    try:
        traced = run(recorder, found, function, args, kwargs, names)
    finally:
        for generator, state in recorder.generators.items():
            generator.set_state(state)
    changed = found.changed()
    if changed:
        raise TraceError(
            f"{getattr(function, '__name__', 'the function')} {changed}: that would happen only when it is traced, not "
            "in every run. Return the value, and do it outside"
        )
    refuse_survivors(recorder, found)
    traced.found = found
    return traced


def run(
    recorder: Recorder,
    found: Found,
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    names: list[str],
) -> Trace:
    """The run itself; when it returns, nothing of the program's own refers to a tracer."""
    session = _Session(recorder)
    leaves, structure = flatten((args, kwargs))
    for index, (value, name) in enumerate(zip(leaves, names, strict=True)):
        if isinstance(value, Tensor):
            session.enter(value, Argument(index, name))
    arrays = {
        index: session.array(Argument(index, names[index]), value)
        for index, value in enumerate(leaves)
        if isinstance(value, np.ndarray)
    }
    for tensor, path in found.tensors.items():
        session.enter(tensor, OfTensor(tensor, identifier(path)))
    args, kwargs = unflatten(structure, [arrays.get(i, value) for i, value in enumerate(leaves)])
    settings = enter_optimizers(session, found)
    try:
        with recording(recorder):
            result = function(*args, **kwargs)
            traced = collect(session, result)
            trace_backward(session, traced, flatten(result)[0])
        finish(session, traced)
    finally:
        session.leave()
        restore_settings(settings)
    return traced


def refuse_survivors(recorder: Recorder, found: Found) -> None:
    """Nobody may keep a traced value: it has no values after the trace.

    Raises:
        TraceError: somebody does; says where, as far as that can be seen.
    """
    alive = list(recorder.tracers)
    if not alive:
        return
    for optimizer, path in found.optimizers.items():
        for state in optimizer.state.values():
            for key, value in list(state.items()):
                if isinstance(value, Tensor) and isinstance(value.array, Tracer):
                    del state[key]
                    raise TraceError(
                        f"{type(optimizer).__name__} ({path}) makes its state {key!r} in its first step: run one step "
                        "uncompiled first"
                    )
    kinds = {type(holder).__name__ for tracer in alive for holder in gc.get_referrers(tracer) if holder is not alive}
    raise TraceError(
        f"{len(alive)} traced values outlive the compiled function, one of shape {alive[0].shape}, held by "
        f"{', '.join(sorted(kinds)) or 'an object'}: it stores a tensor somewhere. Return it instead"
    )


# ----- optimisers -----


def enter_optimizers(session: _Session, found: Found) -> list[tuple[dict[str, Any], str, Any, Any]]:
    """Make the settings and states of the optimisers inputs; returns what to put back."""
    before = []
    for optimizer, path in found.optimizers.items():
        for number, group in enumerate(optimizer.param_groups):
            for parameter in group["params"]:
                if hasattr(optimizer, "create_state") and not optimizer.state.get(parameter):
                    optimizer.create_state(group, parameter)
                for key, value in optimizer.state.get(parameter, {}).items():
                    if isinstance(value, Tensor):
                        name = f"{identifier(found.tensors.get(parameter, 'parameter'))}_{key}"
                        session.enter(value, State(optimizer, parameter, key, name))
            for key, value in list(group.items()):
                name = key if len(optimizer.param_groups) == 1 else f"{key}_{number}"
                stand_in: Any
                if type(value) is float:
                    stand_in = session.number(Setting(optimizer, number, key, None, name), value)
                elif type(value) is tuple and value and all(type(item) is float for item in value):
                    stand_in = tuple(
                        session.number(Setting(optimizer, number, key, i, f"{name}_{i + 1}"), item)
                        for i, item in enumerate(value)
                    )
                else:
                    continue
                before.append((group, key, value, stand_in))
                group[key] = stand_in
    return before


def restore_settings(before: list[tuple[dict[str, Any], str, Any, Any]]) -> None:
    """Put the settings back.

    Raises:
        TraceError: the function has changed one.
    """
    changed = [key for group, key, _, stand_in in before if group[key] is not stand_in]
    for group, key, value, _ in before:
        group[key] = value
    if changed:
        raise TraceError(
            f"the compiled function sets an optimiser's {changed[0]}, which would happen only once: call the scheduler "
            "outside of it"
        )


# ----- effects -----


def collect(session: _Session, result: Any) -> Trace:
    """What the function returned and changed."""
    traced = Trace()
    values, traced.structure = flatten(result)
    traced.results, traced.values, traced.kinds = [], [], []
    for value in values:
        array = value.array if isinstance(value, Tensor) else value
        kind = "tensor" if isinstance(value, Tensor) else "array"
        if isinstance(array, Tracer):
            traced.results.append(array.node)
            traced.values.append(array.value)
        elif isinstance(array, np.ndarray):
            traced.results.append(session.recorder.constant(array))
            traced.values.append(array)
        elif isinstance(array, (int, float, complex, str, bool, np.generic)):
            kind = "constant"
            traced.results.append(session.recorder.constant(np.asarray(array)))
            traced.values.append(array)
        else:
            raise TraceError(
                f"a compiled function returns tensors, arrays, numbers, and lists, tuples and dicts of them; this one "
                f"returned {type(array).__name__}"
            )
        traced.kinds.append(kind)
    traced.writes, traced.gradients = [], []
    for cell, (reference, tensor) in session.owners.items():
        if cell.count:
            traced.writes.append(Write(reference, tensor, cell.node, cell.value))
    for tensor, (_, gradient) in session.before.items():
        now = tensor.array
        if now is not session.tracers[tensor]:  # `.array` was replaced, as accumulation does it
            reference, _ = session.owners[session.tracers[tensor].cell]
            traced.writes.append(Write(reference, tensor, now.node, now.value))
        if tensor.grad is not gradient:
            fresh = tensor.grad
            node = None if fresh is None else fresh.array.node
            traced.gradients.append(NewGradient(tensor, node, None if fresh is None else fresh.array.value))
    return traced


def trace_backward(session: _Session, traced: Trace, values: list[Any]) -> None:
    """The way back from results that require grad, for whoever calls `backward` outside."""
    traced.seeds, traced.backward = [None] * len(values), []
    ends, seeds = [], []
    for i, value in enumerate(values):
        used_up = isinstance(value, Tensor) and value.recipe is not None and value.recipe.freed
        if isinstance(value, Tensor) and value.requires_grad and isinstance(value.array, Tracer) and not used_up:
            name = f"grad_out_{i + 1}" if len(values) > 1 else "grad_out"
            node = session.recorder.input(name, value.shape, value.array.dtype)
            session.inputs[node] = Seed(i, name)
            traced.seeds[i] = node
            ends.append(value)
            seeds.append(make_tensor(session.recorder.tracer(node, np.ones(value.shape, value.array.dtype)), None))
    leaves = [tensor for tensor in session.before if tensor._node is not None]
    if not ends or not leaves:
        return
    found = grad(ends, leaves, seeds, allow_unused=True)
    for tensor, gradient in zip(leaves, found, strict=True):
        if gradient is not None:
            gradient.array.node.name = f"{session.references[tensor].name}_grad"
            traced.backward.append((tensor, session.references[tensor], gradient.array.node))


def finish(session: _Session, traced: Trace) -> None:
    """Put the graph together."""
    traced.inputs = session.inputs
    traced.pins = [(session.inputs[node], value) for node, value in session.recorder.pins.items()]
    outputs = [*traced.results, *(write.node for write in traced.writes)]
    outputs += [gradient.node for gradient in traced.gradients if gradient.node is not None]
    traced.graph = Graph(session.recorder.nodes, outputs)


# ----- the formula of each backward step -----


class _Explained(dict[Any, Any]):
    """`BACK_FUNCS` found by function, each backward function telling its formula while it runs."""

    def get(self, func: Any, default: Any = None) -> Any:
        known = dict.get(self, func)
        if known is None:
            known = self[func] = _ByPosition(func)
        return known


class _ByPosition(dict[int, Callable[..., Any]]):
    def __init__(self, func: Any) -> None:
        self.func = func

    def __contains__(self, position: object) -> bool:
        if not dict.__contains__(self, position):
            try:
                back = BACK_FUNCS.get_back_func(self.func, position)  # type: ignore[arg-type]
            except KeyError:
                return False
            self[position] = explained(back, self.func, position)  # type: ignore[index]
        return True


def explained(back: Callable[..., Any], func: Any, position: Any) -> Callable[..., Any]:
    try:
        text = BACK_FUNCS.formula(func, position)
    except KeyError:
        text = ""

    def running(*args: Any, **kwargs: Any) -> Any:
        token = formula.set(text)
        try:
            return back(*args, **kwargs)
        finally:
            formula.reset(token)

    return running


@contextlib.contextmanager
def recording(recorder: Recorder) -> Iterator[None]:
    """Let what creates arrays and draws random numbers know the recorder, and backward functions their formulas."""
    token, others = tracing.recorder.set(recorder), tracing.back_functions.set(_Explained())
    try:
        yield
    finally:
        tracing.recorder.reset(token)
        tracing.back_functions.reset(others)
