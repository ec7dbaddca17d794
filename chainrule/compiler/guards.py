"""What a program rests on besides the shapes and types of its arguments, and whether that still holds.

A call compares identities, which takes a few microseconds; only where something is another object than last time are
values, shapes and types compared. What no longer holds is told in words, for the warning that a function is traced
again and again.
"""

from __future__ import annotations

import itertools
import operator
from typing import Any

import numpy as np

from ..core.recipe import CHANGES, Recipe, hooks_of
from ..core.tensor import Tensor
from .graph import INPUT, Node
from .reachable import Attributes, Count, same, shown
from .references import Argument, Gradient, OfTensor, Reference, Setting, State
from .trace import Trace, overlap
from .tracer import Pin

__all__ = ["Guards"]

OWN = (State, Setting)  # what an optimiser holds
is_ = operator.is_
array_of = operator.attrgetter("array")
node_of = operator.attrgetter("_node")
code_of = operator.attrgetter("__code__")
gradient_of = operator.attrgetter("_grad")
content_of = operator.attrgetter("cell_contents")


class Guards:
    """The conditions under which a traced program is right.

    Attributes:
        arrays: the present array of each reference in `references`, after `broken` has found nothing.
        collectors: which arguments get a `.grad`; through the result of an operation it would have to go on.
    """

    def __init__(self, traced: Trace, arguments: list[Any]) -> None:
        self.traced = traced
        self.bindings = traced.found.bindings
        self.snapshots = traced.found.snapshots
        self.parts = traced.found.parts
        self.contents = traced.found.watched()
        self.changes = CHANGES.now
        self.functions = traced.found.functions
        self.codes = list(map(code_of, self.functions))
        self.groups = [
            (optimizer, i, _Group(optimizer, i))
            for optimizer in traced.found.optimizers
            for i in range(len(optimizer.param_groups))
        ]
        named = [(space, name, x) for space, name, x in self.bindings if name is not None and type(space) is not Count]
        named += [(space, name, space[name]) for space, names in traced.found.attributes for name in names]
        named = list({(id(space.get.__self__), name): (space, name, x) for space, name, x in named}.values())
        self.looks = [space.get for space, _, _ in named]
        self.names = [name for _, name, _ in named]
        self.values = [value for _, _, value in named]
        in_cells = {id(space): (space, value) for space, name, value in self.bindings if name is None}
        self.cells = [space for space, _ in in_cells.values()]
        self.in_cells = [value for _, value in in_cells.values()]
        self.sized = [space.attributes for space, _, _ in self.bindings if type(space) is Count]
        self.sizes = list(map(len, self.sized))
        self.pins = [_Decision(pin, traced.inputs) for pin in traced.pins]
        needed = {*traced.used, *(write.reference for write in traced.writes)}
        self.made = [(state.reference, state.is_tensor) for state in traced.states]
        fixed = [r for r in traced.leaves.values() if isinstance(r, OfTensor) or (type(r) in OWN and r in needed)]
        self.references: list[Reference] = fixed
        self.places = {reference: i for i, reference in enumerate(fixed)}
        self.frozen = [reference.holder(arguments) for reference in traced.frozen]
        self.gradients = [r for r in needed if isinstance(r, Gradient) and (r.of, True) in traced.present]
        self.states = [r for r in fixed if isinstance(r, State)]
        self.missing = [state.reference for state in traced.states if not self._exists(state.reference)]
        self.tensors: list[Tensor] = [reference.holder(arguments) for reference in fixed]
        self.arrays: list[Any] = [tensor.array for tensor in self.tensors]
        self.nodes: list[Any] = [tensor._node for tensor in self.tensors]
        self.kinds = list(map(kind_of, self.arrays, self.nodes))
        self.hooks = [
            (r, hooks_of(tensor._node)) for r, tensor in zip(fixed, self.tensors, strict=True) if type(r) is OfTensor
        ]
        self.kept: list[tuple[Any, ...]] = []
        self._look_at_states()
        self.written = {write.reference for write in traced.writes}
        self.collectors = [
            gradient.reference.index for gradient in traced.gradients if isinstance(gradient.reference, Argument)
        ]
        self.collectors += [r.of.index for r in self.written if isinstance(r, Gradient) and isinstance(r.of, Argument)]
        self.writes_arguments = any(isinstance(reference, Argument) for reference in self.written)
        self.closed: dict[Any, Reference] = {
            tensor: reference for tensor, reference in traced.leaves.items() if not isinstance(reference, Argument)
        }
        self.arguments_closed = {
            i: tensor
            for i, tensor in enumerate(arguments)
            if isinstance(tensor, Tensor) and tensor in traced.found.tensors
        }
        self.twins = twins(arguments)
        self.pattern = self._pattern(self.arrays)
        self.roots = self._roots()
        self.shared = self._shared(arguments)
        self.owners = self._owners()
        self.shared_gradients = self._shared_gradients(arguments)

    @staticmethod
    def _exists(reference: State) -> bool:
        try:
            reference.holder([])
        except LookupError:
            return False
        return True

    # ----- the check -----

    def hold(self, arguments: Any) -> bool:
        """Whether the program is right for a call: identities first, and only where they differ `broken`."""
        if not (
            all(map(is_, map(operator.call, self.looks, self.names), self.values))
            and all(map(is_, map(content_of, self.cells), self.in_cells))
            and list(map(len, self.sized)) == self.sizes
        ):
            self.changes = -1  # attributes of modules as well
            return not self.broken(arguments)
        if not all(map(is_, map(code_of, self.functions), self.codes)):
            return False
        for snapshot in self.snapshots:
            if snapshot.difference():
                return False
        if self.pins or self.changes != CHANGES.now or self.traced.present or self.missing:
            return not self.broken(arguments)
        for optimizer, i, group in self.groups:
            if not group.unchanged(optimizer, i):
                return not self.broken(arguments)
        try:
            for optimizer, parameter, key, tensor in self.kept:
                if optimizer.state[parameter][key] is not tensor:
                    return not self.broken(arguments)
        except KeyError:
            return not self.broken(arguments)
        if not (
            all(map(is_, map(array_of, self.tensors), self.arrays))
            and all(map(is_, map(node_of, self.tensors), self.nodes))
        ):
            return not self.broken(arguments)
        if self.frozen and not all(map(is_, map(gradient_of, self.frozen), itertools.repeat(None))):
            return not self.broken(arguments)
        if self.arguments_closed or self.writes_arguments or self.collectors or twins(arguments) != self.twins:
            return not self.broken(arguments)
        closed, roots = self.closed, self.roots
        for leaf in arguments:
            if isinstance(leaf, Tensor):
                if leaf in closed:
                    return not self.broken(arguments)
                array = leaf.array
            elif type(leaf) is np.ndarray:
                array = leaf
            else:
                continue
            base = array.base
            if roots and (id(array) in roots or (base is not None and id(owner(base)) in roots)):
                return not self.broken(arguments)
        return not (self.contents and first_difference(self.contents))

    def broken(self, arguments: Any) -> str:
        """What no longer holds, in words; empty where everything does."""
        for namespace, name, value in self.bindings:
            now = namespace.get(name) if name is not None else namespace.cell_contents
            if now is not value and not same(now, value):
                what = f"the variable {name}" if name is not None else "a variable of the enclosing function"
                if isinstance(namespace, (Attributes, Count)):
                    what = f"{name} of {getattr(namespace.owner, '__name__', type(namespace.owner).__name__)}"
                return f"{what}: {shown(value)}, now {shown(now)}"
        for function, code in zip(self.functions, self.codes, strict=True):
            if function.__code__ is not code:
                return f"the code of {function.__name__}"
        for snapshot in self.snapshots:
            difference = snapshot.difference()
            if difference:
                return difference
        difference = first_difference(self.contents)
        if difference:
            return difference
        if self.changes != CHANGES.now:
            difference = first_difference(self.parts) or self._hooks_changed(arguments)
            if difference:
                return difference
            self.changes = CHANGES.now
        for optimizer, i, group in self.groups:
            difference = group.difference(optimizer, i)
            if difference:
                return difference
        return (
            self._tensors_changed(arguments)
            or self._arguments_changed(arguments)
            or self._gradients_changed(arguments)
            or self._decisions_changed(arguments)
        )

    def _tensors_changed(self, arguments: Any) -> str:
        for state in self.missing:
            if self._exists(state):
                return f"{state.name}: missing, now there"
        try:
            moved = any(
                reference.holder(arguments) is not self.tensors[self.places[reference]] for reference in self.states
            )
            if (
                not moved
                and all(map(is_, map(array_of, self.tensors), self.arrays))
                and all(map(is_, map(node_of, self.tensors), self.nodes))
            ):
                return ""
            self._make_states()
            tensors = [reference.holder(arguments) for reference in self.references]
        except LookupError as missing:
            if self._make_states():
                return self._tensors_changed(arguments)
            return str(missing)
        arrays = [tensor.array for tensor in tensors]
        nodes = [tensor._node for tensor in tensors]
        for reference, array, node, kind in zip(self.references, arrays, nodes, self.kinds, strict=True):
            if type(array) is not np.ndarray:
                return f"{reference.name} is no NumPy array"
            now = kind_of(array, node)
            if now != kind:
                return f"{reference.name}: {kind_in_words(kind)}, now {kind_in_words(now)}"
        if self._pattern(arrays) != self.pattern:
            return "which of the closed-over tensors share memory"
        self.tensors, self.arrays, self.nodes = tensors, arrays, nodes
        self._look_at_states()
        self.roots = self._roots()
        self.owners = self._owners()
        return ""

    def _hooks_changed(self, arguments: Any) -> str:
        for reference, before in self.hooks:
            if hooks_of(reference.holder(arguments)._node) != before:
                return f"the hooks of {reference.name}"
        return ""

    def _look_at_states(self) -> None:
        pairs = zip(self.references, self.tensors, strict=True)
        self.kept = [(r.optimizer, r.parameter, r.key, tensor) for r, tensor in pairs if isinstance(r, State)]

    def _make_states(self) -> bool:
        """Make the state of a parameter that has none (any more), as the trace did; returns whether any was made."""
        made = False
        for reference in self.states:
            optimizer, parameter = reference.optimizer, reference.parameter
            if not optimizer.state.get(parameter):
                for group in optimizer.param_groups:
                    if any(parameter is tensor for tensor in group["params"]) and optimizer.starts_alike(group):
                        made = bool(optimizer.state_of(group, parameter)) or made
        return made

    def _arguments_changed(self, arguments: Any) -> str:
        for i, leaf in enumerate(arguments):
            if isinstance(leaf, Tensor) and (leaf in self.closed or i in self.arguments_closed):
                if self.arguments_closed.get(i) is not leaf:
                    return f"argument {i + 1} is a tensor that the function closes over, or no longer is"
        if twins(arguments) != self.twins:
            return "which of the arguments are one object"
        for reference in self.written:
            if isinstance(reference, Argument) and is_locked(reference.fetch(arguments)):
                return f"{reference.name}, which is written to, is read-only"
        for i in self.collectors:
            if isinstance(arguments[i]._node, Recipe):
                return f"argument {i + 1}, which gets a gradient: a leaf, now the result of an operation"
        if self.written and self._shared(arguments) != self.shared:
            return "which of the arguments share memory with others, or with closed-over tensors"
        return ""

    def _gradients_changed(self, arguments: Any) -> str:
        for reference, there in self.traced.present:
            gradient = reference.holder(arguments)._grad
            if (gradient is not None) is not there:
                return f"{reference.name}.grad: {'there' if there else 'None'}, now {'None' if there else 'there'}"
        for reference, tensor in zip(self.traced.frozen, self.frozen, strict=True):
            if tensor._grad is not None:
                return f"{reference.name}.grad: None, now there"
        for reference in self.gradients:
            array, tensor = reference.fetch(arguments), reference.of.holder(arguments)
            contiguous = type(array) is np.ndarray and array.flags.c_contiguous and array.flags.writeable
            if not contiguous or (array.shape, array.dtype) != (tensor.shape, tensor.array.dtype):
                return f"{reference.name}: another shape or type"
        if self._shared_gradients(arguments) != self.shared_gradients:
            return "which of the gradients share memory with others"
        return ""

    def _decisions_changed(self, arguments: Any) -> str:
        for decision in self.pins:
            difference = decision.difference(arguments)
            if difference:
                return difference
        return ""

    # ----- shared memory -----

    @staticmethod
    def _pattern(arrays: list[Any]) -> tuple[int, ...]:
        """For each array the first one on the same memory."""
        first: dict[Any, int] = {}
        return tuple(first.setdefault(place(array), i) for i, array in enumerate(arrays))

    def _roots(self) -> set[int]:
        """The memory that an argument must not share, as ids: of what is written; of everything, if arguments are."""
        if not self.written:
            return set()
        pairs = zip(self.references, self.arrays, strict=True)
        return {id(owner(array)) for r, array in pairs if self.writes_arguments or r in self.written}

    def _owners(self) -> set[int]:
        """All memory that a gradient may share, as ids."""
        return {id(owner(array)) for array in self.arrays} if self.gradients else set()

    def _shared_gradients(self, arguments: Any) -> tuple[Any, ...]:
        """Which gradients share memory with something, and with what."""
        if not self.gradients:
            return ()
        gradients = [reference.fetch(arguments) for reference in self.gradients]
        given = [x.array if isinstance(x, Tensor) else x for x in arguments if isinstance(x, (Tensor, np.ndarray))]
        owners = [id(owner(array)) for array in gradients]
        if len(set(owners)) == len(owners) and not {*self.owners, *(id(owner(x)) for x in given)}.intersection(owners):
            return ()
        others = [*self.arrays, *given, *gradients]
        first = len(others) - len(gradients)
        return tuple(
            (i, k, place(array) == place(other))
            for i, array in enumerate(gradients)
            for k, other in enumerate(others[: first + i])
            if overlap(array, other)
        )

    def _shared(self, arguments: Any) -> tuple[Any, ...]:
        """Which arguments share memory with something, and with what."""
        if not self.written:
            return ()
        arrays = [x.array if isinstance(x, Tensor) else x for x in arguments]
        owners = [id(owner(x)) for x in arrays if isinstance(x, np.ndarray)]
        if self.roots.isdisjoint(owners) and (not self.writes_arguments or len(set(owners)) == len(owners)):
            return ()
        found = []
        for i, array in enumerate(arrays):
            if isinstance(array, np.ndarray):
                others = [*self.arrays, *(x for x in arrays[:i] if isinstance(x, np.ndarray))]
                for k, other in enumerate(others):
                    if overlap(array, other):
                        found.append((i, k, place(array) == place(other)))
        return tuple(found)


def twins(arguments: Any) -> tuple[int, ...]:
    """Which of the arguments are one object; empty where none are."""
    if len(set(map(id, arguments))) == len(arguments):
        return ()
    ids = [id(leaf) for leaf in arguments if isinstance(leaf, (Tensor, np.ndarray))]
    return () if len(set(ids)) == len(ids) else tuple(map(ids.index, ids))


def kind_of(array: Any, node: Any) -> tuple[Any, ...]:
    """What of a closed-over tensor a program depends on."""
    flags = array.flags
    return (array.shape, array.dtype, node is None, flags.c_contiguous, flags.writeable)


def kind_in_words(kind: tuple[Any, ...]) -> str:
    shape, dtype, free, contiguous, writeable = kind
    words = f"{dtype}[{', '.join(map(str, shape))}]" + ("" if free else " that requires grad")
    return words + ("" if contiguous else ", not contiguous") + ("" if writeable else ", read-only")


def is_locked(array: Any) -> bool:
    """Whether an array cannot be written to."""
    return isinstance(array, np.ndarray) and not array.flags.writeable


def place(array: Any) -> Any:
    """Where an array lies in memory, and how; unique for empty arrays."""
    if not array.size:
        return id(array)
    return (array.__array_interface__["data"][0], array.shape, array.strides, array.dtype)


def owner(array: Any) -> Any:
    """The object that owns an array's memory."""
    while True:
        base = getattr(array, "base", None)
        if base is None:
            return array
        array = base


def first_difference(snapshots: list[Any]) -> str:
    """The first thing that is not as it was."""
    return next(filter(None, (snapshot.difference() for snapshot in snapshots)), "")


class _Group:
    """The settings of one of an optimiser's groups: numbers may change, everything else may not."""

    def __init__(self, optimizer: Any, i: int) -> None:
        group = optimizer.param_groups[i]
        self.name = type(optimizer).__name__
        self.params = list(group["params"])
        self.count = len(optimizer.param_groups)
        self.values = dict(group)

    def unchanged(self, optimizer: Any, i: int) -> bool:
        groups = optimizer.param_groups
        if len(groups) != self.count:
            return False
        group = groups[i]
        params = group["params"]
        return (
            len(params) == len(self.params)
            and all(map(is_, params, self.params))
            and len(group) == len(self.values)
            and all(map(is_, group.values(), self.values.values()))
        )

    def difference(self, optimizer: Any, i: int) -> str:
        if len(optimizer.param_groups) != self.count:
            return f"the groups of {self.name}: {self.count}, now {len(optimizer.param_groups)}"
        group = optimizer.param_groups[i]
        params = group["params"]
        if len(params) != len(self.params) or not all(map(is_, params, self.params)):
            return f"the parameters of {self.name}"
        if len(group) == len(self.values) and all(map(is_, group.values(), self.values.values())):
            return ""
        for key, value in self.values.items():
            now = group.get(key)
            if key != "params" and now is not value and not alike(value, now):
                return f"the {key} of {self.name}: {shown(value)}, now {shown(now)}"
        self.values = dict(group)
        return ""


def alike(before: Any, now: Any) -> bool:
    """Whether a program that was traced with one setting is right for another."""
    if type(before) is not type(now):
        return False
    if type(before) is float:
        return True
    if isinstance(before, Tensor):
        return (before.shape, before.array.dtype) == (now.shape, now.array.dtype)
    if type(before) is tuple:
        return len(before) == len(now) and all(map(alike, before, now))
    return bool(before == now)


class _Decision:
    """A pin that can be tested again."""

    def __init__(self, pin: Pin, inputs: dict[Node, Reference]) -> None:
        self.pin = pin
        self.inputs = inputs

    def difference(self, arguments: Any) -> str:
        test, args, result = self.pin
        try:
            now = test(*(self.value(arg, arguments) for arg in args))
        except LookupError as missing:
            return str(missing)
        if now == result:
            return ""
        names = sorted({r.name for arg in args if isinstance(arg, Node) for r in self.references(arg)})
        return f"what Python decides by {', '.join(names)}: {result!r}, now {now!r}"

    def value(self, arg: Any, arguments: Any) -> Any:
        if isinstance(arg, Node):
            if arg.op is INPUT:
                return self.inputs[arg].fetch(arguments)
            return arg.op(*(self.value(x, arguments) for x in arg.args), **arg.kwargs)
        if isinstance(arg, tuple):
            return tuple(self.value(x, arguments) for x in arg)
        return arg

    def references(self, node: Node) -> list[Reference]:
        if node.op is INPUT:
            return [self.inputs[node]]
        return [r for operand in node.operands() for r in self.references(operand)]
