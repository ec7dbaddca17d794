"""The backward pass as numbered steps: what `explain` tells, and what a page or a drawing can be made of.

The engine itself runs; an `Observer` stands in for the table and notes each call of a backward function. So order and
numbers are the engine's own, and a run that nobody explains pays nothing. All that is kept here are plain values:
`dataclasses.asdict(a_pass)` is ready for JSON.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from ..core import backprop
from ..core.broadcasting import unbroadcast
from ..core.forward import Several, take_output
from ..core.levels import PLAIN, gradient_fitter
from ..core.recipe import CLOCK, Leaf, Overwritten, Recipe
from ..core.sort import topological_sort
from ..core.table import BACK_FUNCS, EACH, name_of
from ..core.tensor import Tensor
from ..core.tracing import back_functions
from ..core.views import write_region
from .formula import argument_names, mentioned, note_of, put_in, put_in_note, stated_formula
from .names import Names
from .values import Value, shape_text, value_of
from .watch import Watch

__all__ = ["Argument", "GraphNode", "Observer", "Pass", "Step", "backward_pass", "operation_name", "values_at"]

Node = Recipe | Leaf
NUMBERS = (bool, int, float, complex)
LONG = 5000  # steps: in longer passes only the first and last have their formulas
LONG_ENDS = 50
AXES = frozenset(("axis", "dim", "axes", "k", "index"))  # numbers that are not computed with


@dataclass(slots=True)
class Argument:
    """What an operation was given.

    Attributes:
        position: which argument.
        parameter: what the formula calls it.
        node: the number of the node it comes from; None for a constant.
        text: its name, or the constant as text.
        value: its value; None for what is no array or number.
    """

    position: int
    parameter: str
    node: int | None
    text: str
    value: Value | None


@dataclass(slots=True)
class GraphNode:
    """A leaf, or the result of an operation.

    Attributes:
        number: nodes are numbered in forward order, each after what it was computed from.
        name: the user's name, or `v` and a number.
        named: whether it is the user's.
        operation: what computed it; "" for a leaf.
        value: its value in the forward pass.
        arguments: what the operation was given; left out amid a very long pass.
        gradient: all that arrived here, after the hooks, as `.grad` has it; None where nothing did. Between the
            steps complex gradients travel conjugated.
        place: the user's line that computed it; "" where that was not recorded.
        modules: the modules it was computed in, (path, class name), the outermost first.
    """

    number: int
    name: str
    named: bool
    operation: str
    value: Value
    arguments: list[Argument] = field(default_factory=list)
    gradient: Value | None = None
    place: str = ""
    modules: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True)
class Step:
    """One call of a backward function: from the gradient of a result to a contribution to one argument's.

    Attributes:
        number: steps are numbered from 1 in the order in which they ran.
        node: the number of the node whose gradient was used.
        target: the number of the node that the contribution goes to.
        position: which argument of the operation the target is.
        formula: LaTeX with the names put in; "" where the table states none, and amid a very long pass.
        numbers: the same with numbers, where all of them are single ones; "" elsewhere.
        note: what the table adds to the formula in words, formulas in it between dollar signs.
        uses: the positions of the arguments that the formula uses; -1 stands for the operation's result.
        given: the gradient of the result.
        contribution: what the backward function answered.
        summed: what unbroadcast summed over, in words; "" where nothing.
        path: which of the target's contributions this is, from 1.
        paths: how many there are.
        before: the sum of those before it; None for the first.
        after: the sum with it.
        hooked: whether a hook replaced the gradient that had arrived at the node.
    """

    number: int
    node: int
    target: int
    position: int
    formula: str
    numbers: str
    note: str
    uses: tuple[int, ...]
    given: Value
    contribution: Value
    summed: str
    path: int
    paths: int
    before: Value | None
    after: Value
    hooked: bool


@dataclass
class Pass:
    """A backward pass.

    Attributes:
        nodes: in forward order; `nodes[i].number == i`.
        steps: in the order in which they ran.
        ends: the numbers of the nodes it started from.
        seeds: their gradients.
        operations: operation -> how many nodes it computed.
    """

    nodes: list[GraphNode]
    steps: list[Step]
    ends: list[int]
    seeds: list[Value]
    operations: dict[str, int]
    keys: dict[int, Any] = field(default_factory=dict, repr=False)  # number -> the engine's node
    chosen: bool = False  # whether only chosen gradients were asked for, as `autograd.grad` does

    def node_of(self, tensor: Tensor) -> GraphNode | None:
        """The node that stands for a tensor; None where the pass did not meet it."""
        node = tensor._node
        return next((self.nodes[i] for i, key in self.keys.items() if key is node), None) if node is not None else None


def operation_name(func: Any) -> str:
    """What users call an operation: the name of its function, without the underscore of those made here."""
    return name_of(func).lstrip("_")


@dataclass(slots=True)
class _Call:
    """What the observer notes at each call."""

    node: Recipe
    position: int
    given: Value
    contribution: Value
    summed: tuple[tuple[int, ...], tuple[int, ...]] | None
    samples: int
    before: Value | None
    after: Value
    hooked: bool


class Observer(dict[Any, dict[int, Callable[..., Any]]]):
    """Stands in for the engine's table of backward functions during one pass, and notes what they are given and say.

    The engine asks it once for each node that it visits, in the order of its sort; the observer sorts as well, and so
    knows which node is meant.

    Args:
        ends, seeds, wanted, retain, create: as in `backprop.run`.
    """

    def __init__(
        self, ends: Sequence[Tensor], seeds: Sequence[Any], wanted: Sequence[Node] | None, retain: bool, create: bool
    ) -> None:
        self.starts = [end.node() for end in ends]
        root: Any = backprop._Ends(self.starts)  # type: ignore[arg-type]
        self.order: list[Any] = topological_sort(root, backprop.edges_of)[:-1]
        self.forward: list[Any] = topological_sort(root, lambda node: tuple(reversed(node._edges)))[:-1]
        self.seeds = [value_of(seed) for seed in seeds]
        self.names: Names | None = None
        self._left = list(self.order)
        self._needed = None if wanted is None else backprop.on_the_way(self.order, wanted)
        self._retain, self._create = retain, create
        self._sums: dict[Node, Any] = {}
        self._replaced: dict[Node, Any] = {}  # what hooks made of it
        for node, seed in zip(self.starts, seeds, strict=True):
            assert node is not None
            self._sums[node] = self._sums[node] + seed if node in self._sums else seed
        self._parameters: dict[Any, list[str]] = {}
        self._calls: list[_Call] = []
        self._summed: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
        seen = self._summed.append
        self._watch = Watch(lambda code: (partial(_note_shapes, seen), None) if code is unbroadcast.__code__ else None)
        self.shown_values = [value_of(value) for value in values_at(self.forward)]
        recipes = [node for node in self.order if isinstance(node, Recipe)]
        self._recorded = {node: (node._inputs, _saved(node)[0], node._kwargs, node._func) for node in recipes}
        self._edges = {node: node._edges for node in recipes}  # the engine may free what it has used

    # ----- what the engine asks -----------------------------------------------------------------------------------

    def get(self, func: Any, default: Any = None) -> Any:
        """The watched backward functions of the node that the engine has come to."""
        while True:
            node = self._left.pop()
            if node not in self._sums or isinstance(node, Leaf):
                continue
            if self._needed is None or not self._needed.isdisjoint(node._edges):
                break
        if node._func is not func:
            raise RuntimeError(f"explain lost its place at {name_of(func)}: this is a mistake of chainrule's")
        shared: list[Any] = []
        return {
            position: self._watched(node, position, shared)
            for position, edge in enumerate(node._edges)
            if edge is not None
        }

    def _watched(self, node: Recipe, position: int, shared: list[Any]) -> Callable[..., Any]:
        func = node._func

        def back(gradient: Any, out: Any, *args: Any, **kwargs: Any) -> Any:
            self._summed.clear()
            token = back_functions.set(BACK_FUNCS._found)  # a backward function may run a pass of its own
            try:
                contribution = answer(gradient, out, *args, **kwargs)
            finally:
                back_functions.reset(token)
            if contribution is not None:
                self._note(node, position, gradient, contribution)
            return contribution

        def answer(gradient: Any, out: Any, *args: Any, **kwargs: Any) -> Any:
            if hasattr(func, "joint_backward") and (func, position) not in BACK_FUNCS.back_funcs:
                if not shared:
                    shared.append(func.joint_backward(gradient, self._create, node, self._retain))
                return shared[0][position]
            near = len(self._calls) < LONG or len(self._left) < LONG_ENDS
            with self._watch if near else nullcontext():
                return BACK_FUNCS.get_back_func(func, position)(gradient, out, *args, **kwargs)

        return back

    def _note(self, node: Recipe, position: int, gradient: Any, contribution: Any) -> None:
        edge: Any = node._edges[position]
        fit = None if type(node._out) in PLAIN else gradient_fitter(node._out)
        samples = 0
        if fit is not None:  # as the engine does: summed over the samples that share the argument
            fitted = fit(contribution, node._args[position])
            samples = np.size(getattr(contribution, "values", contribution)) // max(np.size(fitted), 1)
            samples = samples if fitted is not contribution and not hasattr(fitted, "values") else 0
            contribution = fitted
        before = self._sums.get(edge)
        total = contribution if before is None else before + contribution
        self._sums[edge] = total
        extra = node._extra
        hooked = extra is not None and bool(extra.hooks) and not _same(gradient, self._sums[node])
        if hooked:
            self._replaced[node] = gradient
        shown = value_of(_filled(contribution))
        self._calls.append(
            _Call(
                node,
                position,
                value_of(_filled(gradient)),
                shown,
                next((pair for pair in self._summed if pair[0] != pair[1]), None),
                samples,
                None if before is None else value_of(_filled(before)),
                shown if before is None else value_of(_filled(total)),
                hooked,
            )
        )

    # ----- what comes of it ---------------------------------------------------------------------------------------

    def finish(self, names: Names | None = None, arrived: dict[Node, Any] | None = None) -> Pass:
        """The pass, told in the user's names.

        Args:
            names: these.
            arrived: the gradients that the engine found in the end, after hooks.
        """
        from .record import modules_of, place_of

        self._replaced.update(arrived or {})
        names = names or Names()
        numbers = {node: i for i, node in enumerate(self.forward)}
        called: list[str] = []
        free = (f"v{i}" for i in range(1, 2 * len(self.forward) + len(names.taken) + 2))
        for node in self.forward:
            known = names.of_node(node)
            called.append(known or next(text for text in free if text not in names.taken))
        ends = self._calls[:LONG_ENDS] + self._calls[-LONG_ENDS:]
        near = None if len(self._calls) <= LONG else {call.node for call in ends}
        nodes = []
        for i, node in enumerate(self.forward):
            found = GraphNode(i, called[i], names.of_node(node) is not None, "", self.shown_values[i])
            if node in self._recorded:
                found.operation = operation_name(node._func)
                if near is None or node in near:
                    found.arguments = self._arguments(node, numbers, called, names)
            place = place_of(node)
            found.place = "" if place is None else str(place)
            found.modules = modules_of(node) or ()
            if node in self._sums:
                found.gradient = value_of(_as_seen(_filled(self._replaced.get(node, self._sums[node]))))
            nodes.append(found)
        steps = self._steps(nodes, numbers)
        starts = [numbers[node] for node in self.starts if node is not None]
        counts = Counter(node.operation for node in nodes if node.operation)
        keys = dict(enumerate(self.forward))
        return Pass(nodes, steps, starts, self.seeds, dict(counts.most_common()), keys, self._needed is not None)

    def _arguments(self, node: Recipe, numbers: dict[Node, int], called: list[str], names: Names) -> list[Argument]:
        inputs, args, _, func = self._recorded[node]
        parameters = self._parameters.get((func, len(args)))
        if parameters is None:
            parameters = self._parameters[func, len(args)] = argument_names(func, len(args))
        edges = self._edges[node]
        result = []
        for position, (arg, parameter) in enumerate(zip(args, parameters, strict=True)):
            edge = edges[position]
            if edge is not None and edge in numbers:
                number = numbers[edge]
                result.append(Argument(position, parameter, number, called[number], self.shown_values[number]))
                continue
            is_array = isinstance(arg, NUMBERS) or (hasattr(arg, "shape") and not isinstance(arg, type))
            value = value_of(arg) if is_array else None
            text = names.of_tensor(inputs[position]) or (_constant(arg) if value is None else "")
            if value is not None and not text:
                text = value.text if value.numbers is not None else f"a constant {value.kind}"
            result.append(Argument(position, parameter, None, text, value))
        return result

    def _steps(self, nodes: list[GraphNode], numbers: dict[Node, int]) -> list[Step]:
        paths = Counter(self._targets(numbers))
        met: Counter[int] = Counter(numbers[n] for n in self.starts if n is not None and paths[numbers[n]])
        for start in met:
            paths[start] += met[start]
        steps = []
        for number, (call, target) in enumerate(zip(self._calls, self._targets(numbers), strict=True), 1):
            here = numbers[call.node]
            met[target] += 1
            is_told = len(self._calls) <= LONG or nodes[here].arguments
            formula, with_numbers, note, uses = (
                told(call, nodes[here], self._recorded[call.node]) if is_told else ("", "", "", ())
            )
            steps.append(
                Step(
                    number,
                    here,
                    target,
                    call.position,
                    formula,
                    with_numbers,
                    note,
                    uses,
                    call.given,
                    call.contribution,
                    "; ".join(
                        words
                        for words in (
                            summed_words(call.summed, nodes[target].name),
                            f"summed over the {call.samples} samples of vmap" if call.samples else "",
                        )
                        if words
                    ),
                    met[target],
                    paths[target],
                    call.before,
                    call.after,
                    call.hooked,
                )
            )
        return steps

    def _targets(self, numbers: dict[Node, int]) -> list[int]:
        return [numbers[self._edges[call.node][call.position]] for call in self._calls]  # type: ignore[index]


def _note_shapes(seen: Callable[[Any], None], frame: Any, _: Any) -> None:
    """Called when unbroadcast is: the shapes of what it sums and of what it sums to."""
    given = frame.f_locals
    seen((tuple(given["broadcasted"].shape), tuple(given["original"].shape)))


def told(call: _Call, node: GraphNode, recorded: tuple[Any, ...]) -> tuple[str, str, str, tuple[int, ...]]:
    """A step's formula with names put in, with numbers where all are single ones, its note, and what it uses."""
    _, _, kwargs, func = recorded
    formula = stated_formula(func, call.position)
    if not formula:
        return "", "", "", ()
    names = {"out": node.name}
    if (func, EACH) in BACK_FUNCS.back_funcs:
        names["x_i"] = node.arguments[call.position].text
    constants = {key: value for key, value in kwargs.items() if type(value) in (int, float) and key not in AXES}
    for argument in node.arguments:
        number = None if argument.value is None or argument.value.shape else argument.value.numbers
        if argument.node is not None or (number is None and argument.value is not None):
            names[argument.parameter] = argument.text
        elif number is not None and argument.parameter not in AXES:
            constants[argument.parameter] = number
    if func is take_output:
        constants["i"] = recorded[1][1]
    note = put_in_note(note_of(func, call.position), names, constants)
    conditions = note.split("$")[1::2]
    if conditions and not any(re.search("[A-Za-z]", part) for part in conditions):  # it is about numbers such as 2 = 0
        note = ""
    with_names = put_in(formula, names, constants)
    places = {argument.parameter: argument.position for argument in node.arguments} | {"out": -1}
    uses = tuple(places[word] for word in mentioned(formula, list(places)))
    single = [call.given, call.contribution, node.value, *(a.value for a in node.arguments if a.value is not None)]
    right = formula.partition("=")[2].strip()
    if not right or any(value.shape or value.numbers is None for value in single):
        return with_names, "", note, uses
    for argument in node.arguments:
        if argument.value is not None:
            constants[argument.parameter] = argument.value.numbers
    constants |= {"out": node.value.numbers, "grad_out": call.given.numbers}
    return with_names, put_in(right, {}, constants), note, uses


def summed_words(shapes: tuple[tuple[int, ...], tuple[int, ...]] | None, text: str) -> str:
    """What unbroadcast summed over.

    >>> summed_words(((2, 3), (3,)), "b")
    'broadcasting had repeated `b` of shape (3,) to (2, 3), 2 times along axis 0; its gradient is the sum over it'
    """
    if shapes is None:
        return ""
    have, want = shapes
    extra = len(have) - len(want)
    axes = [i for i in range(len(have)) if i < extra or (want[i - extra] == 1 and have[i] != 1)]
    where = "axis " if len(axes) == 1 else "axes "
    where += " and ".join(str(i) for i in axes)
    times = 1
    for i in axes:
        times *= have[i]
    over = "it" if len(axes) == 1 else "them"
    return (
        f"broadcasting had repeated `{text}` of shape {shape_text(want)} to {shape_text(have)}, {times} times along "
        f"{where}; its gradient is the sum over {over}"
    )


def _constant(value: Any) -> str:
    if type(value) is tuple and value and all(type(step) is tuple and callable(step[0]) for step in value):
        text = ", then ".join(  # what an in-place write selected
            " ".join([operation_name(function), *(_constant(arg) for arg in args)]) for function, args, *_ in value
        )
    else:
        text = repr(value)
    return text if len(text) <= 40 else f"{type(value).__name__} ..."


def _filled(gradient: Any) -> Any:
    """A gradient as it is shown; of an operation with several outputs, the only one that arrived."""
    if isinstance(gradient, Several):
        arrived = [part for part in gradient if part is not None]
        return arrived[0] if len(arrived) == 1 else gradient
    return gradient


def _as_seen(gradient: Any) -> Any:
    """A gradient as users see it: the conjugate of what travels."""
    return backprop.outside(gradient) if hasattr(gradient, "dtype") else gradient


def _same(one: Any, other: Any) -> bool:
    """Whether two gradients are the same numbers."""
    if one is other:
        return True
    one, other = getattr(one, "array", one), getattr(other, "array", other)
    return bool(np.array_equal(getattr(one, "values", one), getattr(other, "values", other), equal_nan=True))


def _saved(node: Recipe) -> tuple[tuple[Any, ...], Any]:
    """A recipe's arguments and result; `Overwritten` stands for those that were written to since."""
    return (node._args, node._out) if node._saved_at == CLOCK.now else backprop.still_saved(node)


def _shares(node: Recipe, edge: Any) -> bool:
    return isinstance(edge, Recipe) and node._func is not write_region and _is_in(edge, node._out)


def _is_in(node: Any, array: Any) -> bool:
    """Whether an array lies in the memory of a node's result."""
    out = getattr(node, "_out", None)
    return isinstance(out, np.ndarray) and isinstance(array, np.ndarray) and np.may_share_memory(out, array)


def values_at(nodes: Sequence[Node]) -> list[Any]:
    """The values of nodes when they were computed; `Overwritten` where an in-place write has left no copy of it."""
    values: dict[Node, Any] = {}
    lost: set[Node] = set()
    for node in nodes:
        if isinstance(node, Leaf):
            tensor = node.tensor()
            values[node] = None if tensor is None else tensor.array
            continue
        args, values[node] = _saved(node)
        if isinstance(values[node], Overwritten) or any(edge in lost and _shares(node, edge) for edge in node._edges):
            lost.add(node)
            values[node] = Overwritten(node._out, "overwritten")
        if args is not node._args:
            lost.update(
                e
                for e, arg in zip(node._edges, args, strict=True)
                if isinstance(e, Leaf) and isinstance(arg, Overwritten)
            )
    if lost:
        copies: dict[Node, Any] = {}
        for node in nodes:
            if isinstance(node, Leaf):
                continue
            for edge, arg in zip(node._edges, _saved(node)[0], strict=True):
                if edge in lost and (edge not in copies or isinstance(copies[edge], Overwritten)):
                    copies[edge] = Overwritten(arg, "overwritten") if _is_in(edge, arg) else arg
        values.update({node: copies[node] for node in lost if node in copies})
    return [values[node] for node in nodes]


def backward_pass(loss: Tensor, gradient: Any = None, names: Names | None = None) -> Pass:
    """Run the backward pass of a tensor and note its steps. The graph stays; no `.grad` changes.

    Args:
        loss: where it starts.
        gradient: the seed; ones if left out.
        names: the user's names.

    Raises:
        TypeError: not a tensor.
        RuntimeError: as `backward`: there is no graph, it was freed, what it needs was overwritten.
    """
    if not isinstance(loss, Tensor):
        raise TypeError(f"a backward pass starts from a Tensor, got {type(loss).__name__}")
    seeds = backprop.seeds_for((loss,), gradient, False)
    observer = Observer((loss,), seeds, None, True, False)
    kept = [node._extra.retained() for node in observer.order if node._extra is not None and node._extra.retained]
    before = [None if tensor is None else (tensor, tensor.grad) for tensor in kept]
    token = back_functions.set(observer)
    try:
        _, arrived = backprop.run((loss,), seeds, None, True, False)
    finally:
        back_functions.reset(token)
        for pair in before:
            if pair is not None:
                pair[0].grad = pair[1]
    return observer.finish(names, {node: gradient for _, gradient, node in arrived})
