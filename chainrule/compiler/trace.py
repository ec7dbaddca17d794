"""Run a function once on tracers: what it computed is a graph, what it changed are the graph's effects.

While the function runs, every tensor that it can reach holds a tracer in the place of its array. The engine and the
table do the rest: they cannot tell a tracer from an array of another library. Afterwards everything is put back: the
trace changes no tensor, optimiser or generator; that is left to the program.
Read next: `compiled.py`, which turns a trace into a program.
"""

from __future__ import annotations

import contextlib
import gc
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.lib.array_utils import byte_bounds

from ..core import tracing
from ..core.backprop import grad
from ..core.recipe import Leaf, Recipe, extra_of, hooks_of
from ..core.table import BACK_FUNCS
from ..core.tensor import Tensor, make_tensor
from ..func.trees import Structure, flatten, kind_of, unflatten
from .graph import CONSTANT, STRIDED, Graph, Node
from .reachable import ATOMS, Found, walk
from .references import Argument, Gradient, OfTensor, Reference, Seed, Setting, State
from .tracer import Cell, Number, Pin, Recorder, TraceError, Tracer, formula, user_line

__all__ = ["Trace", "overlap", "trace"]


class Write:
    """An effect: the value that an input's memory holds at the end."""

    def __init__(self, reference: Reference, node: Node) -> None:
        self.reference = reference
        self.node = node


class NewGradient:
    """An effect: a tensor's `.grad` is a new tensor, or None, or one that is there already or in the memory of one."""

    def __init__(self, reference: Reference, node: Node | None, known: Result | None = None) -> None:
        self.reference = reference
        self.node = node
        self.known = known


class NewState:
    """An effect: an optimiser keeps something for a parameter that it did not keep before, or another number."""

    def __init__(self, reference: State, node: Node | None, value: Any, is_tensor: bool) -> None:
        self.reference = reference
        self.node = node  # None for a number that is known
        self.value = value
        self.is_tensor = is_tensor


class Result:
    """How one of the values that the function returned is made.

    Attributes:
        kind: "tensor" or "array", from the program's output; "constant", a value known since the trace; "same", the
            object that `reference` finds; "again", the result number `value`; "shared", a view of that object or
            result, by `chain`; "unrecorded" likewise, made under no_grad(); "detached" likewise, outside of the graph;
            "memory", such an array.
        node: the program's output; None where none is needed.
        value: of a constant.
        end: of a tensor that requires grad, through which nothing flows: "leaf", "freed" by backward(), or "alone",
            which was computed from no tensor that is seen outside.
    """

    def __init__(
        self, kind: str, node: Node | None = None, value: Any = None, reference: Any = None, chain: Any = ()
    ) -> None:
        self.kind = kind
        self.node = node
        self.value = value
        self.reference = reference
        self.chain = chain
        self.end = ""


class Trace:
    """A traced run.

    Attributes:
        graph: the program.
        inputs: for each input node how to find it.
        results: what the function returned, flattened; then what `derived` attributes hold.
        structure: how the results are put together; `single` if there is one, in no container.
        derived: (module, attribute): what hooks have computed anew.
        writes, gradients, states: the effects.
        noted: further tensors in memory that is written.
        seeds: an input node for the gradient of each result, None where it requires none.
        backward: (how to find a tensor, node of its gradient) for what the results' gradients flow to.
        present: (how to find a tensor, whether it has a `.grad`) where the program depends on it.
        frozen: closed-over tensors that require no grad and have no `.grad`.
        pins: what Python has decided by numbers that may change.
        found: what the function closes over.
        leaves: for each tensor that was entered its reference.
        used: the inputs that matter.
        pairs: (gradient, the value it belongs to), for their names.
    """

    graph: Graph
    inputs: dict[Node, Reference]
    results: list[Result]
    structure: Structure
    single: bool
    derived: list[tuple[Any, str]]
    writes: list[Write]
    noted: list[Reference]
    gradients: list[NewGradient]
    states: list[NewState]
    seeds: list[Node | None]
    backward: list[tuple[Reference, Node]]
    present: list[tuple[Reference, bool]]
    frozen: list[Reference]
    pins: list[Pin]
    found: Found
    leaves: dict[Tensor, Reference]
    used: set[Reference]
    pairs: list[tuple[Node, Node]]


class _Again(Exception):
    """The trace rests on an assumption that was wrong: repeat it with other ones."""

    def __init__(self, bare: set[Tensor] | None = None) -> None:
        super().__init__()
        self.bare = bare


class _Before:
    """What is put back in a tensor after the trace."""

    __slots__ = ("alias", "array", "count", "gradient", "hooks", "node", "registries", "tracer", "written")

    def __init__(self, tensor: Tensor) -> None:
        self.array = tensor.array
        self.gradient = tensor._grad
        self.node = tensor._node
        self.hooks = hooks_of(self.node)
        extra = None if self.node is None else self.node._extra
        self.registries = [] if extra is None else [(x, dict(x)) for x in (extra.hooks, extra.post_hooks) if x]
        self.alias = tensor._alias
        storage = None if self.alias is None else self.alias.storage
        self.count = 0 if storage is None else storage.count
        self.written = 0 if storage is None else storage.written
        self.tracer: Any = None

    def restore(self, tensor: Tensor) -> None:
        tensor.array = self.array
        tensor._grad = self.gradient
        if self.node is not None and hooks_of(self.node) != self.hooks:
            extra = extra_of(self.node)
            for registry in (extra.hooks, extra.post_hooks):
                (registry or {}).clear()
            for registry, before in self.registries:
                registry.update(before)
        tensor._node = self.node
        tensor._alias = self.alias
        if self.alias is not None:
            self.alias.storage.count = self.count
            self.alias.storage.written = self.written


class _Session:
    """The tensors whose arrays are tracers for the time being.

    Args:
        bare: tensors without `.grad` that get no stand-in for one.
        strict: whether it matters for all tensors if they have a `.grad`, since the user's code looks at it.
        merge: whether an argument on the same memory as another input is the same input.
    """

    def __init__(self, recorder: Recorder, bare: set[Tensor], merge: bool, strict: bool) -> None:
        self.recorder = recorder
        self.strict = strict
        self.bare = bare
        self.merge = merge
        self.before: dict[Tensor, _Before] = {}
        self.stand_ins: dict[Tensor, tuple[Tensor, Tracer]] = {}  # the `.grad` of tensors that have none
        self.cells: dict[Any, Tracer] = {}  # tensors on the same memory share one
        self.inputs: dict[Node, Reference] = {}
        self.owners: dict[Cell, Reference] = {}
        self.arrays: list[tuple[Any, Cell]] = []
        self.references: dict[Tensor, Reference] = {}
        self.gradients: list[tuple[Gradient, Tensor]] = []  # at entry; one may be that of several
        self.fresh: dict[Cell, Reference] = {}  # memory of new gradients
        self.fresh_gradients: dict[Tensor, Gradient] = {}

    def number(self, reference: Reference, value: Any) -> Number:
        node = self.recorder.input(reference.name, (), None)
        self.inputs[node] = reference
        return Number(self.recorder, node, value)

    def array(self, reference: Reference, array: Any) -> Tracer:
        key = (array.__array_interface__["data"][0], array.shape, array.strides, array.dtype.str)
        known = self.cells.get(key)
        argument = isinstance(reference, Argument) and not self.merge
        if known is not None and array.size and not argument:
            return known
        node = self.recorder.input(reference.name, array.shape, array.dtype)
        self.inputs[node] = reference
        if not array.dtype.isnative:  # a tensor's always are
            node.args = (STRIDED,)
            tracer = self.recorder.tracer(node, array)
            tracer = self.recorder.call(np.astype, (tracer, array.dtype.newbyteorder("=")), {})
        elif array.flags.c_contiguous:
            tracer = self.recorder.tracer(node, array)
        else:  # what reads it, such as kernels, may rely on the order in memory
            node.args = (STRIDED,)
            tracer = self.recorder.tracer(node, array)
            tracer = self.recorder.call(np.ascontiguousarray, (tracer,), {})
            tracer.cell.value = array  # whether another shape of it is a view depends on the order that it has
        tracer.cell.locked = not array.flags.writeable
        if not argument:
            self.cells[key] = tracer
        self.owners[tracer.cell] = reference
        self.arrays.append((array, tracer.cell))
        return tracer

    def enter(self, tensor: Tensor, reference: Reference) -> None:
        """Give a tensor a tracer for its array.

        Raises:
            TraceError: it is the result of an operation outside; its array is another library's.
        """
        if tensor in self.before:
            return
        if not isinstance(tensor.array, np.ndarray):
            if hasattr(type(tensor.array), "__fit_gradient__"):
                raise TraceError(
                    f"{reference.name} is mapped by vmap, and a compiled function computes with whole arrays: map the "
                    "function and compile that, compile(vmap(function))"
                )
            if isinstance(reference, Argument):
                raise TraceError(
                    f"{reference.name} is on another device, as an array of {type(tensor.array).__module__}: compiled "
                    "functions run NumPy programs on the cpu"
                )
            return
        before = _Before(tensor)
        if isinstance(tensor.node(), Recipe):
            if not isinstance(reference, Argument):
                raise TraceError(
                    f"{reference.name} is the result of an operation outside the compiled function, through which no "
                    "gradient can flow: compute it inside, or pass it as an argument"
                )
            tensor._node = Leaf(tensor)
        self.references[tensor] = reference
        self.before[tensor] = before
        before.tracer = tensor.array = self.array(reference, tensor.array)
        if tensor._grad is not None:
            gradient = Gradient(reference)
            self.gradients.append((gradient, tensor._grad))
            self.enter(tensor._grad, gradient)
        elif isinstance(before.node, Leaf) and tensor not in self.bare and not self.strict:
            node = self.recorder.input(f"{reference.name}_grad", tensor.shape, tensor.array.dtype)
            self.inputs[node] = Gradient(reference)
            zeros = self.recorder.tracer(node, np.zeros(tensor.shape, tensor.array.dtype))
            tensor._grad = make_tensor(zeros, None)
            self.stand_ins[tensor] = (tensor._grad, zeros)

    def leave(self) -> None:
        for tensor, before in self.before.items():
            before.restore(tensor)


def identifier(path: str) -> str:
    """A path as a name of Python: `fc1.weight` becomes `fc1_weight`, `0.weight` of a sequence `layer_0_weight`."""
    name = "".join(c if c.isalnum() else "_" for c in path).strip("_") or "value"
    return f"layer_{name}" if name[0].isdigit() else name


def shorten(found: Found, taken: set[str]) -> None:
    """Leave the model's name out of the paths of its tensors and modules, if tensors differ without it; not before a
    number."""
    roots = {path for path in found.modules.values() if path and "." not in path}

    def shorter(path: str) -> str:
        root, _, inner = path.partition(".")
        return inner if root in roots and inner and not inner[:1].isdigit() else path

    short = {tensor: shorter(path) for tensor, path in found.tensors.items()}
    if len({*short.values(), ""}) == len(short) + 1 and taken.isdisjoint(short.values()):
        found.tensors.update(short)
        found.modules.update({module: shorter(path) for module, path in found.modules.items()})


def trace(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], names: list[str]) -> Trace:
    """Run `function(*args, **kwargs)` on tracers.

    Args:
        names: what the flattened arguments are called in the program.

    Raises:
        TraceError: the function depends on values, or keeps a traced value.
    """
    refuse_attributes((args, kwargs), "is given")
    leaves = flatten((args, kwargs))[0]
    others = [
        (name, leaf)
        for name, leaf in zip(names, leaves, strict=True)
        if not isinstance(leaf, (Tensor, *ATOMS)) and not isinstance(leaf, type)
    ]
    found = walk(("", function), *others)
    bare: set[Tensor] = set()
    merge = False
    for _ in range(4):
        try:
            recorder = Recorder()
            traced = attempt(recorder, found, function, args, kwargs, names, bare, merge)
            refuse_survivors(recorder)
        except _Again as again:
            bare, merge = (bare | again.bare, merge) if again.bare else (bare, True)
            continue
        traced.found = found
        return traced
    raise AssertionError("a trace that does not settle")


def attempt(
    recorder: Recorder,
    found: Found,
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    names: list[str],
    bare: set[Tensor],
    merge: bool,
) -> Trace:
    """One run on tracers, after which everything is as it was."""
    session = _Session(recorder, bare, merge, "grad" in found.names)
    optimizers = _Optimizers(session, found)
    try:
        optimizers.make_states()
        traced = run(session, optimizers, function, args, kwargs, names)
        changed = found.changed()
        if changed:
            raise TraceError(
                f"{getattr(function, '__name__', 'the function')} {changed}: that would happen only when it is "
                "traced, not in every run. Return the value, and do it outside"
            )
        optimizers.keep_used(traced)
    finally:
        recorder.refusals.clear()
        session.leave()
        optimizers.leave()
        found.restore()
        for generator, state in recorder.generators.items():
            generator.set_state(state)
    return traced


def run(
    session: _Session,
    optimizers: _Optimizers,
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    names: list[str],
) -> Trace:
    """The run itself."""
    leaves, structure = flatten((args, kwargs))
    arrays: dict[int, Tracer] = {}
    places: dict[int, int] = {}
    for index, (value, name) in enumerate(zip(leaves, names, strict=True)):
        if isinstance(value, Tensor):
            session.enter(value, Argument(index, name))
        elif isinstance(value, np.ndarray):
            first = places.setdefault(id(value), index)
            arrays[index] = arrays[first] if first < index else session.array(Argument(index, name), value)
    shorten(optimizers.found, set(names))
    for tensor, path in optimizers.found.tensors.items():
        session.enter(tensor, OfTensor(tensor, identifier(path)))
    given = [arrays.get(i, value) for i, value in enumerate(leaves)]
    args, kwargs = unflatten(structure, given)
    optimizers.enter()
    with recording(session.recorder):
        try:
            result = function(*args, **kwargs)
        except ValueError as error:  # NumPy's, where an element is set: what it says of a sequence helps nobody
            if isinstance(error.__cause__, TraceError):
                raise error.__cause__ from None
            raise
        session.recorder.raise_what_was_caught()
        refuse_attributes(result, "returns")
        refuse_new_items((args, kwargs), structure, given)
        anew = [(m, name) for m, name, value in optimizers.found.derived if vars(m).get(name) is not value]
        values = [*flatten(result)[0], *(vars(module)[name] for module, name in anew)]
        traced = collect(session, result, values, {id(tracer): index for index, tracer in reversed(arrays.items())})
        traced.derived = anew
        traced.states = optimizers.changes()
        trace_backward(session, traced, values)
    finish(session, traced)
    return traced


def refuse_attributes(tree: Any, what: str) -> None:
    """Refuse containers of a class of their own that hold more than their items.

    Raises:
        TraceError: names the class and an attribute.
    """
    if not isinstance(tree, (dict, list, tuple)):
        return
    if kind_of(tree) is not type(tree):
        raise TraceError(
            f"the compiled function {what} a {type(tree).__name__}, which has attributes besides its items "
            f"({', '.join(map(str, vars(tree)))}): take its items in a dict, list or tuple"
        )
    for item in tree.values() if isinstance(tree, dict) else tree:
        refuse_attributes(item, what)


def refuse_new_items(arguments: Any, structure: Structure, given: list[Any]) -> None:
    """Refuse changes to the lists and dicts among the arguments, of which the function has copies.

    Raises:
        TraceError: there is another item, or one less.
    """
    leaves, now = flatten(arguments)
    if now != structure or any(leaf is not before for leaf, before in zip(leaves, given, strict=True)):
        raise TraceError(
            "the compiled function changes a list or dict that it is given, or in one of those: that would happen only "
            "when it is traced, not in every run. Return the new items, and put them there outside"
        )


def refuse_survivors(recorder: Recorder) -> None:
    """Nobody may keep a traced value: it has no values after the trace.

    Raises:
        TraceError: somebody does; says where, as far as that can be seen.
    """
    alive = list(recorder.tracers)
    if alive:
        gc.collect()
        del alive
        alive = list(recorder.tracers)
    if not alive:
        return
    tensors = [x for tracer in alive for x in gc.get_referrers(tracer) if isinstance(x, Tensor)]
    holders = [*tensors, *alive]
    kinds = set()
    for value in holders:
        for holder in gc.get_referrers(value):
            if holder is tensors or holder is alive or holder is holders or isinstance(holder, Tensor):
                continue
            if type(holder).__module__.startswith(__package__ or "-") or type(holder).__name__ == "frame":
                continue
            keys = [k for k, v in holder.items() if v is value] if isinstance(holder, dict) else []
            kinds.add(f"{keys[0]!r} of a dict or object" if keys else f"a {type(holder).__name__}")
    raise TraceError(
        f"{len(alive)} traced values outlive the compiled function, one of shape {alive[0].shape}, held by "
        f"{', '.join(sorted(kinds)) or 'an object'}: it stores a tensor somewhere. Return it instead"
    )


# ----- optimisers -----


class _Optimizers:
    """The settings and states of the optimisers, which are inputs while a function is traced."""

    def __init__(self, session: _Session, found: Found) -> None:
        self.session = session
        self.found = found
        self.made: list[tuple[Any, Any]] = []  # (optimiser, parameter): states made for the trace
        self.kept: list[tuple[Any, Any]] = []
        self.settings: list[tuple[dict[str, Any], str, Any, Any]] = []
        self.states: list[tuple[Any, dict[Any, dict[str, Any]]]] = []
        self.stand_ins: dict[tuple[int, Any, str], Any] = {}

    def make_states(self) -> None:
        """Make what an optimiser keeps for the parameters that it has not stepped yet, if that is like any step."""
        for optimizer in self.found.optimizers:
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    if not parameter.requires_grad or not isinstance(parameter.array, np.ndarray):
                        continue
                    known = optimizer.state.get(parameter)
                    fresh = {} if known or not optimizer.starts_alike(group) else optimizer.new_state(group, parameter)
                    if fresh:
                        optimizer.state[parameter] = fresh
                        self.made.append((optimizer, parameter))

    def enter(self) -> None:
        for optimizer in self.found.optimizers:
            self.states.append((optimizer, {key: dict(kept) for key, kept in optimizer.state.items()}))
            groups = optimizer.param_groups
            for number, group in enumerate(groups):
                for parameter in group["params"]:
                    self.enter_state(optimizer, parameter)
                for key, value in list(group.items()):
                    if key != "params":
                        name = key if len(groups) == 1 else f"{key}_{number}"
                        stand_in = self.stand_in(optimizer, number, key, value, name)
                        self.settings.append((group, key, value, stand_in))
                        group[key] = stand_in

    def enter_state(self, optimizer: Any, parameter: Any) -> None:
        kept = optimizer.state.get(parameter, {})
        for key, value in kept.items():
            name = f"{identifier(self.found.tensors.get(parameter, 'parameter'))}_{key}"
            reference = State(optimizer, parameter, key, name)
            if isinstance(value, Tensor):
                self.session.enter(value, reference)
            elif type(value) in (int, float):
                kept[key] = self.session.number(reference, value)
            self.stand_ins[id(optimizer), parameter, key] = kept[key]

    def stand_in(self, optimizer: Any, number: int, key: str, value: Any, name: str) -> Any:
        if type(value) is float:
            return self.session.number(Setting(optimizer, number, key, None, name), value)
        if isinstance(value, Tensor):
            self.session.enter(value, Setting(optimizer, number, key, None, name))
        elif type(value) is tuple:
            parts = [
                self.session.number(Setting(optimizer, number, key, i, f"{name}_{i + 1}"), item)
                if type(item) is float
                else item
                for i, item in enumerate(value)
            ]
            for i, part in enumerate(parts):
                if isinstance(part, Tensor):
                    self.session.enter(part, Setting(optimizer, number, key, i, f"{name}_{i + 1}"))
            return tuple(parts)
        return value

    def changes(self) -> list[NewState]:
        """What the function has put into the states, apart from writes to their arrays.

        Raises:
            TraceError: something that is neither a tensor nor a number, or another setting.
        """
        for group, key, _, stand_in in self.settings:
            if group[key] is not stand_in:
                raise TraceError(
                    f"the compiled function sets an optimiser's {key}, which would happen only once: call the "
                    "scheduler outside of it"
                )
        fresh = []
        for optimizer, _ in self.states:
            for parameter, kept in optimizer.state.items():
                for key, value in kept.items():
                    if self.stand_ins.get((id(optimizer), parameter, key)) is value:
                        continue
                    path = identifier(self.found.tensors.get(parameter, "parameter"))
                    reference = State(optimizer, parameter, key, f"{path}_{key}")
                    node = getattr(value.array if isinstance(value, Tensor) else value, "node", None)
                    if node is None and isinstance(value, Tensor):
                        node = self.session.recorder.constant(value.array)
                    if node is None and type(value) not in (int, float, bool, type(None)):
                        raise TraceError(
                            f"{type(optimizer).__name__} keeps a {type(value).__name__} as its state {key!r}, which "
                            "would be set only once: run its step uncompiled"
                        )
                    if node is not None and not node.name:
                        node.name = reference.name
                    fresh.append(NewState(reference, node, value if node is None else None, isinstance(value, Tensor)))
        return fresh

    def keep_used(self, traced: Trace) -> None:
        """Of the states made for the trace, keep those that the program uses."""
        used = reached([*traced.graph.outputs, *pinned(traced.pins)])
        references = [traced.inputs[node] for node in used if node in traced.inputs]
        references += [write.reference for write in traced.writes]
        stepped = {(id(r.optimizer), r.parameter) for r in references if isinstance(r, State)}
        self.kept = [(o, parameter) for o, parameter in self.made if (id(o), parameter) in stepped]

    def leave(self) -> None:
        for group, key, value, _ in self.settings:
            group[key] = value
        for optimizer, before in self.states:
            for parameter in list(optimizer.state):
                if parameter in before:
                    optimizer.state[parameter].clear()
                    optimizer.state[parameter].update(before[parameter])
                else:
                    del optimizer.state[parameter]
        kept = {(id(optimizer), parameter) for optimizer, parameter in self.kept}
        for optimizer, parameter in self.made:
            if (id(optimizer), parameter) not in kept:
                optimizer.state.pop(parameter, None)


# ----- effects -----


def collect(session: _Session, result: Any, values: list[Any], arguments: dict[int, int]) -> Trace:
    """What the function returned and changed.

    Args:
        result: what it returned.
        values: the same, flattened, and what else is kept of the run.
        arguments: id of the tracer of an array among the arguments -> its index.
    """
    traced = Trace()
    find_fresh_gradients(session)
    traced.structure = flatten(result)[1]
    traced.single = len(values) > 0 and values[0] is result
    traced.results = [as_result(session, value, arguments) for value in values]
    places: dict[int, int] = {}
    for i, value in enumerate(values):
        first = places.setdefault(id(value), i)
        if first < i and traced.results[i].kind in ("tensor", "array"):
            traced.results[i] = Result("again", value=first)
    share_memory(traced, values)
    traced.writes, traced.gradients = [], []
    for cell, reference in session.owners.items():
        if cell.count:
            traced.writes.append(Write(reference, cell.node))
    written = {write.reference for write in traced.writes}
    owned = [(session.owners[session.before[x].tracer.cell], reference) for x, reference in session.references.items()]
    traced.noted = [reference for owner, reference in owned if owner in written and owner is not reference]
    for tensor, before in session.before.items():
        reference = session.references[tensor]
        if before.node is not tensor._node and isinstance(tensor._node, Recipe):
            raise TraceError(
                f"the compiled function writes a value that requires grad into {reference.name}, from outside: return "
                "the value instead, or write under no_grad()"
            )
        if hooks_of(before.node) != before.hooks:
            raise TraceError(
                f"the compiled function adds a hook to {reference.name}, or takes one away, which would happen only "
                "once: do that outside of it"
            )
        now = tensor.array
        if now is not before.tracer:  # `.array` was replaced, as accumulation does it
            if (now.shape, now.dtype) != (before.array.shape, before.array.dtype):
                raise TraceError(
                    f"the compiled function gives {reference.name} the shape {now.shape} and type {now.dtype}, instead "
                    f"of {before.array.shape} and {before.array.dtype}: do that outside of it"
                )
            traced.writes.append(Write(session.owners[before.tracer.cell], node_of(session, now)))
        at_entry = session.stand_ins[tensor][0] if tensor in session.stand_ins else before.gradient
        if tensor._grad is not at_entry or (before.gradient is not None and before.gradient.array.cell.count):
            if isinstance(before.node, Recipe):
                raise TraceError(
                    f"the compiled function calls backward() through {reference.name}, the result of an operation "
                    "outside, which no gradient would reach: return the loss and call backward() outside, or compute "
                    f"{reference.name} inside"
                )
        if tensor._grad is not at_entry:
            known = None if tensor._grad is None else known_tensor(session, tensor._grad, reference)
            node = None if tensor._grad is None or known is not None else node_of(session, tensor._grad.array)
            if node is not None and not node.name:
                node.name = f"{reference.name}_grad"
            traced.gradients.append(NewGradient(reference, node, known))
    return traced


def find_fresh_gradients(session: _Session) -> None:
    """Note what has become a `.grad` during the trace, so that results can be the same tensors."""
    session.fresh, session.fresh_gradients = {}, {}
    for tensor, before in session.before.items():
        gradient = tensor._grad
        at_entry = session.stand_ins[tensor][0] if tensor in session.stand_ins else before.gradient
        if gradient is None or gradient is at_entry or gradient in session.references:
            continue
        if view_of_input(session, gradient) is None and gradient not in session.fresh_gradients:
            session.fresh_gradients[gradient] = Gradient(session.references[tensor])
            if isinstance(gradient.array, Tracer) and not gradient.array.chain:
                session.fresh.setdefault(gradient.array.cell, session.fresh_gradients[gradient])


def known_tensor(session: _Session, gradient: Tensor, reference: Reference) -> Result | None:
    """How a `.grad` is found that is a tensor from before, the `.grad` of another tensor, or in the memory of such."""
    if gradient in session.references:
        return Result("same", reference=session.references[gradient])
    known = session.fresh_gradients.get(gradient)
    if known is not None:
        return None if known.of is reference else Result("same", reference=known)
    return view_of_input(session, gradient)


def node_of(session: _Session, array: Any) -> Node:
    """The node of a traced array, or a constant."""
    return array.node if isinstance(array, Tracer) else session.recorder.constant(array)


def as_result(session: _Session, value: Any, arguments: dict[int, int]) -> Result:
    """How one returned value is made.

    Raises:
        TraceError: it is neither an array nor a number.
    """
    if isinstance(value, Tensor):
        if value in session.references:
            return Result("same", reference=session.references[value])
        if value in session.fresh_gradients:
            return Result("same", reference=session.fresh_gradients[value])
        found = view_of_input(session, value) or Result("tensor", node_of(session, value.array))
        if found.kind == "tensor" and value.requires_grad:
            found.end = "leaf" if value.recipe is None else "freed" if is_used_up(value.recipe) else ""
        return found
    if isinstance(value, Tracer):
        index = arguments.get(id(value))
        if index is not None:
            return Result("same", reference=Argument(index, "argument"))
        return view_of_input(session, value) or Result("array", value.node)
    if isinstance(value, np.ndarray):
        return Result("constant", value=value)
    if isinstance(value, Number):
        return Result("number", value.node)
    if isinstance(value, (int, float, complex, str, bool, np.generic)):
        return Result("constant", value=value)
    raise TraceError(
        f"a compiled function returns tensors, arrays, numbers, and lists, tuples and dicts of them; this one "
        f"returned {type(value).__name__} {value!r}"
    )


def view_of_input(session: _Session, value: Any) -> Result | None:
    """How a value in memory that was there before the call is made again: as the function has made it."""
    array = value.array if isinstance(value, Tensor) else value
    if not isinstance(array, Tracer) or not plain(array.chain):
        return None
    owner = session.owners.get(array.cell) or session.fresh.get(array.cell)
    entered = [tensor for tensor, before in session.before.items() if before.tracer.cell is array.cell]
    if owner is None or any(tensor.array is not session.before[tensor].tracer for tensor in entered):
        return None
    if not isinstance(value, Tensor):
        return Result("memory", reference=owner, chain=array.chain)
    base = next((tensor for tensor in entered if is_view(value, tensor)), None)
    if base is None or not array.chain:
        return None if value.requires_grad else Result("detached", reference=owner, chain=array.chain)
    if value.requires_grad and (value.recipe is None or value.recipe.freed):
        return None
    return Result(recorded(value), reference=session.references[base], chain=array.chain)


def is_view(value: Tensor, other: Tensor) -> bool:
    """Whether a tensor is a view of another, or of what that is a view of."""
    base = value._base
    return base is not None and (base is other or base is other._base)


def recorded(view: Tensor) -> str:
    """The kind of result that a view of another tensor is."""
    return "shared" if view._alias is not None and view._alias.recorded else "unrecorded"


def share_memory(traced: Trace, values: list[Any]) -> None:
    """Results that are views of other results, or these detached, become so in every run."""

    def rank(value: Any) -> int:
        return 2 if is_tracked(value) else isinstance(value, Tensor)

    bases: dict[Cell, int] = {}  # for a piece of memory the result that is all of it; preferably one with a graph
    for i, value in enumerate(values):
        array = value.array if isinstance(value, Tensor) else value
        if traced.results[i].kind in ("tensor", "array") and type(array) is Tracer and not array.chain:
            known = bases.setdefault(array.cell, i)
            if rank(value) > rank(values[known]):
                bases[array.cell] = i
    for i, value in enumerate(values):
        array = value.array if isinstance(value, Tensor) else value
        kind = traced.results[i].kind
        if kind not in ("tensor", "array") or type(array) is not Tracer or not plain(array.chain):
            continue
        base = bases.get(array.cell, i)
        if base == i or (kind == "tensor" and traced.results[base].kind != kind):
            continue
        if kind == "array":
            traced.results[i] = Result("memory", value=base, chain=array.chain)
        elif value._base is not values[base] or not array.chain:
            if not is_tracked(value):
                traced.results[i] = Result("detached", value=base, chain=array.chain)
        elif not is_tracked(value) or (is_tracked(values[base]) and value.recipe is not None):
            traced.results[i] = Result(recorded(value), value=base, chain=array.chain)


def is_tracked(value: Any) -> bool:
    return isinstance(value, Tensor) and value.requires_grad


def plain(chain: Any) -> bool:
    """Whether a view is made without traced values."""
    return not any(isinstance(x, (Tracer, Number)) for _, rest, kwargs in chain for x in (*rest, *kwargs.values()))


def trace_backward(session: _Session, traced: Trace, values: list[Any]) -> None:
    """The way back from results that require grad, for whoever calls `backward` outside."""
    traced.seeds, traced.backward = [None] * len(values), []
    ends, seeds = [], []
    for i, value in enumerate(values):
        if traced.results[i].kind != "tensor" or not value.requires_grad:
            continue
        if isinstance(value.array, Tracer) and traced.results[i].end != "freed":
            name = f"grad_out_{i + 1}" if len(values) > 1 else "grad_out"
            node = session.recorder.input(name, value.shape, value.array.dtype)
            session.inputs[node] = Seed(i, name)
            traced.seeds[i] = node
            ends.append(value)
            seeds.append(make_tensor(session.recorder.tracer(node, np.ones(value.shape, value.array.dtype)), None))
    leaves = [tensor for tensor in session.before if tensor._node is not None]
    with without_hooks(leaves):  # which the engine calls when it comes to these tensors, outside
        found = grad(ends, leaves, seeds, allow_unused=True) if ends and leaves else ()
    for tensor, gradient in zip(leaves, found, strict=bool(found)):
        if gradient is not None:
            reference = session.references[tensor]
            node = node_of(session, gradient.array)
            node.name = node.name or f"{reference.name}_grad"
            traced.backward.append((reference, node))
    for result, seed in zip(traced.results, traced.seeds, strict=True):
        if seed is not None and not traced.backward and not result.end:
            result.end = "alone"


def is_used_up(recipe: Recipe) -> bool:
    """Whether backward() has been through a part of what a result was computed from: it would raise there."""
    seen: set[Recipe] = set()
    stack: list[Any] = [recipe]
    while stack:
        node = stack.pop()
        if isinstance(node, Recipe) and node not in seen:
            if node.freed:
                return True
            seen.add(node)
            stack += node._edges
    return False


@contextlib.contextmanager
def without_hooks(tensors: list[Tensor]) -> Iterator[None]:
    """Take the hooks of tensors away for a while."""
    extras = [tensor._node._extra for tensor in tensors if tensor._node is not None and tensor._node._extra is not None]
    hooks = [extra.hooks for extra in extras]
    for extra in extras:
        extra.hooks = None
    try:
        yield
    finally:
        for extra, before in zip(extras, hooks, strict=True):
            extra.hooks = before


def finish(session: _Session, traced: Trace) -> None:
    """Put the graph together, and see what it rests on.

    Raises:
        _Again: on tensors having gradients which have none, or on arguments with memory of their own.
        TraceError: memory that is written is that of another input as well.
    """
    traced.inputs = session.inputs
    traced.leaves = session.references
    traced.pairs = session.recorder.gradients
    traced.pins = list(session.recorder.pins.values())
    outputs = [result.node for result in traced.results if result.node is not None]
    effects: list[Any] = [*traced.writes, *traced.gradients, *traced.states]
    outputs += [effect.node for effect in effects if effect.node is not None]
    outputs += [node for _, node in traced.backward]
    traced.graph = Graph(session.recorder.nodes, outputs)
    used = reached([*outputs, *pinned(traced.pins), *(node for node in session.recorder.nodes if node.effect)])
    traced.used = {traced.inputs[node] for node in used if node in traced.inputs}
    involved = traced.used | {write.reference for write in traced.writes}
    entered = [(reference, tensor) for tensor, reference in session.references.items()]
    for reference, tensor in (*entered, *session.gradients):  # one of several on the same memory stands for all of them
        if tensor in session.before and session.owners[session.before[tensor].tracer.cell] in involved:
            traced.used.add(reference)
    check_gradients(session, traced)
    check_memory(session, traced, used)


def check_gradients(session: _Session, traced: Trace) -> None:
    """Find out where it matters whether a tensor has a `.grad` when the program starts."""
    traced.present, traced.frozen, bare = [], [], set()
    read = {reference.of for reference in traced.used if isinstance(reference, Gradient)}
    written = {write.reference.of for write in traced.writes if isinstance(write.reference, Gradient)}
    returned = {result.reference.of for result in traced.results if isinstance(result.reference, Gradient)}
    for tensor, before in session.before.items():
        reference = session.references[tensor]
        if tensor in session.stand_ins:
            stand_in, tracer = session.stand_ins[tensor]
            touched = tensor._grad is stand_in and (stand_in.array is not tracer or tracer.cell.count)
            if touched or reference in read:
                bare.add(tensor)
        elif before.gradient is not None:
            if session.strict or reference in read or reference in written or reference in returned:
                traced.present.append((reference, True))
        elif isinstance(before.node, Leaf):
            traced.present.append((reference, False))
        elif before.node is None and isinstance(reference, OfTensor):
            traced.frozen.append(reference)
    if bare:
        raise _Again(bare)


def check_memory(session: _Session, traced: Trace, used: set[Node]) -> None:
    """Refuse writes to memory that another input shares, where that matters."""
    targets = {write.reference for write in traced.writes}
    involved = {traced.inputs[node] for node in used if node in traced.inputs} | targets
    arrays = [(*byte_bounds(array), array, cell) for array, cell in session.arrays if session.owners[cell] in involved]
    written = [entry for entry in arrays if session.owners[entry[-1]] in targets]
    for start, end, array, cell in written:
        for start_2, end_2, other, cell_2 in arrays:
            if start_2 >= end or start >= end_2 or cell_2 is cell or not overlap(array, other):
                continue
            reference = session.owners[cell_2]
            if not session.merge and (array.shape, array.strides) == (other.shape, other.strides):
                raise _Again
            raise TraceError(
                f"{session.owners[cell].name} and {reference.name} share memory, and the compiled function writes to "
                "it: make one of them a copy (clone()), or compute the view inside the function"
            )


def overlap(x: Any, y: Any) -> bool:
    """Whether two arrays share memory; True if that is hard to say."""
    try:
        return bool(np.shares_memory(x, y, max_work=10_000))  # type: ignore[arg-type]
    except np.exceptions.TooHardError:
        return True


def reached(nodes: list[Any]) -> set[Node]:
    """The nodes on which these depend, and they themselves."""
    found: set[Node] = set()
    stack = [node for node in nodes if isinstance(node, Node)]
    while stack:
        node = stack.pop()
        if node not in found:
            found.add(node)
            if node.op is not CONSTANT:
                stack += node.operands()
    return found


def pinned(pins: list[Pin]) -> list[Node]:
    """The nodes on which decisions rest."""
    return [arg for pin in pins for arg in pin.args if isinstance(arg, Node)]


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

    def __bool__(self) -> bool:
        return True  # also before the first backward function was asked for

    def get(self, position: Any, default: Any = None) -> Any:
        if position not in self:
            try:
                back = BACK_FUNCS.get_back_func(self.func, position)
            except KeyError:
                return default
            self[position] = explained(back, self.func, position)
        return self[position]


def explained(back: Callable[..., Any], func: Any, position: Any) -> Callable[..., Any]:
    try:
        text = BACK_FUNCS.formula(func, position)
    except KeyError:
        text = ""

    def running(*args: Any, **kwargs: Any) -> Any:
        token = formula.set((text, line_of(args[1]) if text else ""))
        try:
            gradient = back(*args, **kwargs)
        finally:
            formula.reset(token)
        whole, value = (x.array if isinstance(x, Tensor) else x for x in args[:2])
        if isinstance(whole, Tracer) and isinstance(value, Tracer) and whole.shape == value.shape:
            whole.recorder.gradients.append((whole.node, value.node))
        return gradient

    return running


def line_of(value: Any) -> str:
    """The line of the user's code that computed a value of the forward pass; empty if that is not known."""
    if isinstance(value, tuple):
        return next((line for line in map(line_of, value) if line), "")
    array = value.array if isinstance(value, Tensor) else value
    if not isinstance(array, Tracer):
        return ""
    node: Node = array._node if array.chain else array.cell.node  # not `.node`, which may record calls
    return node.line


@contextlib.contextmanager
def recording(recorder: Recorder) -> Iterator[None]:
    """Let what creates arrays and draws random numbers know the recorder, and backward functions their formulas."""
    token, others = tracing.recorder.set(recorder), tracing.back_functions.set(_Explained())
    try:
        with unseeded_refused():
            yield
    finally:
        tracing.recorder.reset(token)
        tracing.back_functions.reset(others)


@contextlib.contextmanager
def unseeded_refused() -> Iterator[None]:
    """What Python and NumPy take from the system's source of random numbers, a traced function is refused."""

    def refused(function: Callable[..., Any]) -> Callable[..., Any]:
        def ask(*args: Any) -> Any:
            if tracing.recorder.get() is not None:  # not in another thread
                raise TraceError(
                    f"random numbers, or a seed, come from the system at {user_line()}: they would be drawn only when "
                    "the function is traced, not in every run. Use chainrule's rand, randn, ..., or make generators "
                    "outside"
                )
            return function(*args)

        return ask

    def seed(self: Any, a: Any = None, version: int = 2) -> None:
        seeded(self, system(1) if a is None else a, version)

    places: Any = [(np.random.bit_generator, "randbits"), (random, "_urandom")]
    before = [getattr(place, name) for place, name in places]
    seeded: Any = random.Random.seed
    system = refused(lambda _: None)
    for (place, name), function in zip(places, before, strict=True):
        setattr(place, name, refused(function))
    random.Random.seed = seed  # type: ignore[method-assign, assignment, unused-ignore]
    try:
        yield
    finally:
        random.Random.seed = seeded  # type: ignore[method-assign, unused-ignore]
        for (place, name), function in zip(places, before, strict=True):
            setattr(place, name, function)
