"""Checkpointing of activations: keep a function's inputs instead of its intermediate results, and compute it again
when its gradients are wanted.

`checkpoint` lets the function record its graph, then puts one node in the place of all that it recorded, whose edges
lead to where that graph began. Asked for gradients, the node runs the function again under the same random numbers and
sends its gradient back through the graph that this records. Parameters, and whatever else the function uses without
being given it, are found in the graph; so `autograd.grad`, higher derivatives and checkpoints inside checkpoints work.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

import numpy as np

from ..core.backprop import run, storage_behind
from ..core.forward import Several, output_node, record
from ..core.grad_mode import enable_grad, is_grad_enabled
from ..core.recipe import CLOCK, NO_KWARGS, Leaf, Recipe, make_recipe
from ..core.table import name_of
from ..core.tensor import Alias, Tensor
from ..random import fork_rng, get_rng_state, set_rng_state

__all__ = [
    "CheckpointError",
    "checkpoint",
    "checkpoint_sequential",
    "noop_context_fn",
    "set_checkpoint_debug_enabled",
    "set_checkpoint_early_stop",
]

Contexts = Callable[[], tuple[Any, Any]]
DETERMINISM = ("default", "none")
Operation = tuple[str, Any, Any]  # name, shape and type of the result
_debug: bool | None = None


class CheckpointError(RuntimeError):
    """The function did something else when it was computed again."""


def noop_context_fn() -> tuple[Any, Any]:
    """Two contexts that do nothing."""
    return contextlib.nullcontext(), contextlib.nullcontext()


@contextlib.contextmanager
def set_checkpoint_debug_enabled(enabled: bool | None) -> Iterator[None]:
    """Inside, list the operations of both runs in a `CheckpointError`, or do not; None leaves it to `debug`."""
    global _debug
    before, _debug = _debug, enabled
    try:
        yield
    finally:
        _debug = before


@contextlib.contextmanager
def set_checkpoint_early_stop(enable: bool) -> Iterator[None]:
    """PyTorch's switch. Here the function is always computed to its end, so it changes nothing."""
    yield


def checkpoint(
    function: Callable[..., Any],
    *args: Any,
    use_reentrant: bool | None = None,
    context_fn: Contexts = noop_context_fn,
    determinism_check: str = "default",
    debug: bool = False,
    early_stop: bool = True,
    **kwargs: Any,
) -> Any:
    """`function(*args, **kwargs)`, whose intermediate results are not kept but computed again in the backward pass.

    Args:
        function: called now, and once for each backward pass; must do the same each time.
        args: its arguments.
        use_reentrant: which of PyTorch's two implementations. Both are one here and give the same gradients; True
            refuses, as there, keyword arguments, `context_fn` and `debug`.
        context_fn: returns two context managers, for the first run and for those of the backward pass.
        determinism_check: "default" to compare the operations of both runs and the shapes and types of their results,
            "none" not to.
        debug: list these operations when they differ.
        early_stop: without effect, see `set_checkpoint_early_stop`.
        kwargs: the function's keyword arguments, and `preserve_rng_state` (True): whether random numbers drawn from the
            default generator are the same in all runs.

    Raises:
        ValueError: arguments that `use_reentrant=True` refuses; an unknown `determinism_check`.
        CheckpointError: in the backward pass, if the function did something else than before.
        RuntimeError: in the backward pass, if what it uses has been written to in place since.

    >>> import chainrule as cr
    >>> x = cr.tensor([1.0, 2.0], requires_grad=True)
    >>> checkpoint(lambda x: (x.exp() + 1).log(), x, use_reentrant=False).sum().backward()
    >>> [round(g, 4) for g in x.grad.tolist()]
    [0.7311, 0.8808]
    """
    if use_reentrant is None:
        use_reentrant = _reentrant_by_default("checkpoint")
    preserve = kwargs.pop("preserve_rng_state", True)
    if use_reentrant:
        if kwargs:
            raise ValueError(f"Unexpected keyword arguments: {', '.join(kwargs)} (use_reentrant=False takes them)")
        if context_fn is not noop_context_fn or debug:
            raise ValueError("Passing `context_fn` or `debug` is only supported when use_reentrant=False.")
    if determinism_check not in DETERMINISM:
        raise ValueError(f"determinism_check should be one of {DETERMINISM}, but got {determinism_check!r}")
    first, again = context_fn()
    if not is_grad_enabled():
        with first:
            return function(*args, **kwargs)
    state = get_rng_state() if preserve else None
    given = tensors_in((args, kwargs))
    for tensor in given:
        tensor.node()  # a view catches up with its base now, not inside
    begun = tick()
    with first:
        results = function(*args, **kwargs)
    outputs = outputs_of(results, begun)
    if outputs:
        call = Call(function, args, kwargs, state, again, debug)
        call.watched = given
        replace_graph(outputs, call, begun, determinism_check == "default")
    return results


def checkpoint_sequential(
    functions: Any, segments: int, input: Any, use_reentrant: bool | None = None, **kwargs: Any
) -> Any:
    """Apply functions one after the other, in segments of which all but the last are checkpointed.

    Args:
        functions: a `Sequential`, or a list of modules or functions of one argument.
        segments: into how many parts to divide them.
        input: the first one's argument.
        use_reentrant: as in `checkpoint`.
        kwargs: `preserve_rng_state`.

    Raises:
        ValueError: another keyword, or no segment.

    >>> import chainrule as cr
    >>> x = cr.tensor([0.5], requires_grad=True)
    >>> y = checkpoint_sequential([cr.exp, cr.sin, cr.exp, cr.sin], 2, x, use_reentrant=False)
    >>> bool(y == x.exp().sin().exp().sin())
    True
    """
    if use_reentrant is None:
        use_reentrant = _reentrant_by_default("checkpoint_sequential")
    preserve = kwargs.pop("preserve_rng_state", True)
    if kwargs:
        raise ValueError(f"Unexpected keyword arguments: {', '.join(kwargs)}")
    if segments < 1:
        raise ValueError(f"segments should be at least 1, got {segments}")
    steps = list(functions.children()) if hasattr(functions, "children") else list(functions)
    size = len(steps) // segments

    def applied(part: Sequence[Callable[[Any], Any]]) -> Callable[[Any], Any]:
        def forward(value: Any) -> Any:
            for step in part:
                value = step(value)
            return value

        return forward

    last = size * (segments - 1)
    for start in range(0, last, size or 1):
        part = applied(steps[start : start + size])
        input = checkpoint(part, input, use_reentrant=use_reentrant, preserve_rng_state=preserve)
    return applied(steps[last:])(input)


def _reentrant_by_default(name: str) -> bool:
    warnings.warn(
        f"chainrule.utils.checkpoint.{name}: the use_reentrant parameter should be passed explicitly. "
        "use_reentrant=False is recommended; True is assumed.",
        stacklevel=3,
    )
    return True


# ----- the graph that a function has recorded ---------------------------------------------------------------------


def tick() -> int:
    """Move the engine's clock on, and return the time: what is recorded from now on is told from what was before."""
    CLOCK.now += 1
    return CLOCK.now


def tensors_in(values: Any) -> list[Tensor]:
    """The tensors in nested lists, tuples and dicts, each once."""
    found: dict[int, Tensor] = {}
    stack = [values]
    while stack:
        value = stack.pop()
        if isinstance(value, Tensor):
            found.setdefault(id(value), value)
        elif isinstance(value, dict):
            stack.extend(reversed(value.values()))
        elif isinstance(value, (list, tuple)):
            stack.extend(reversed(value))
    return list(found.values())


def is_since(node: Any, begun: int) -> bool:
    """Whether a node was recorded since a time."""
    return isinstance(node, Recipe) and node._saved_at >= begun


def outputs_of(results: Any, begun: int) -> list[Tensor]:
    """The tensors in a function's results whose node was recorded since `begun`."""
    return [tensor for tensor in tensors_in(results) if is_since(tensor.node(), begun)]


class Region:
    """What was recorded since a time.

    Attributes:
        nodes: the recipes, in the order of a walk from the outputs.
        border: the nodes from before that these lead to -> the argument of one of them that has this node.
    """

    def __init__(self, outputs: list[Tensor], begun: int) -> None:
        self.nodes: list[Recipe] = []
        self.border: dict[Recipe | Leaf, Any] = {}
        seen: set[Any] = set()
        stack: list[Any] = [output.node() for output in reversed(outputs)]
        while stack:
            node = stack.pop()
            if node in seen:
                continue
            seen.add(node)
            self.nodes.append(node)
            for edge, given in zip(node._edges, node._inputs, strict=True):
                if edge is None:
                    continue
                if is_since(edge, begun):
                    stack.append(edge)
                elif edge not in self.border or not isinstance(self.border[edge], Tensor):
                    self.border[edge] = given

    def operations(self) -> list[Operation]:
        """Name, shape and type of each result."""
        return [
            (name_of(node._func), getattr(node._out, "shape", None), getattr(node._out, "dtype", None))
            for node in self.nodes
        ]


def replace_graph(outputs: list[Tensor], call: Call, begun: int, checks: bool) -> None:
    """Give the outputs one node that leads to where the graph that made them began."""
    region = Region(outputs, begun)
    call.expected = region.operations() if checks else None
    border = region.border
    for output in outputs:
        own_memory(output, [other for other in outputs if other is not output], begun)
    for output in outputs:
        output._node = None
    for edge in border:
        if isinstance(edge, Leaf):
            border[edge] = None
    del region  # frees the graph; a leaf that was made inside goes with it
    for edge in list(border):
        if isinstance(edge, Leaf):
            border[edge] = edge.tensor()
            if border[edge] is None:
                del border[edge]
    call.border = tuple(border)
    call.watched += [given for given in border.values() if isinstance(given, Tensor)]
    call.begun = begun
    tick()
    given = tuple(border.values())
    arrays = Several(output.array for output in outputs)
    only = len(outputs) == 1
    args = tuple(value.array if isinstance(value, Tensor) else None for value in given)
    node = record(call, args, NO_KWARGS, given, call.border, arrays[0] if only else arrays)
    for i, output in enumerate(outputs):
        output._node = node if only else output_node(node, i)


def own_memory(output: Tensor, others: list[Tensor], begun: int) -> None:
    """Part an output that is a view from its base, which is not kept, and from memory that it shares with others."""
    alias = output._alias
    if alias is None or alias.base is None:
        return
    inside = is_since(alias.base.node(), begun)
    if inside and not any(np.may_share_memory(output.array, other.array) for other in others):
        output._alias = Alias(alias.storage)
    else:
        output.array = output.array.copy()
        output._alias = None


class Call:
    """A call that can be repeated: the function in the recipe of a checkpoint."""

    __name__ = "checkpoint"

    def __init__(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        state: Any,
        context: Any,
        debug: bool,
    ) -> None:
        self.function: Callable[..., Any] | None = function
        self.args = args
        self.kwargs = kwargs
        self.state = state
        self.context = context
        self.debug = debug
        self.border: tuple[Recipe | Leaf, ...] = ()
        self.watched: list[Tensor] = []  # must not be written to in place
        self.expected: list[Operation] | None = None
        self.begun = 0

    def __repr__(self) -> str:
        return f"<checkpoint of {name_of(self.function)}>"

    def joint_backward(self, gradient: Any, create: bool, node: Recipe, retain: bool) -> tuple[Any, ...]:
        """The gradients at the border, in the engine's form: arrays, or Tensors with `create`."""
        self.check_unwritten()
        outputs, region = self.again()
        given = gradient if type(gradient) is Several else (gradient,)
        if len(outputs) != len(given):
            raise self.differs(f"{len(given)} results required grad, and now {len(outputs)}")
        stand_ins = self.cut(region, create)
        pairs = [(output, seed) for output, seed in zip(outputs, given, strict=True) if seed is not None]
        ends, seeds = [end for end, _ in pairs], [seed for _, seed in pairs]
        found = run(ends, seeds, list(stand_ins.values()), create, create)[0]
        if not retain:
            self.function, self.args, self.kwargs, self.watched = None, (), {}, []
        return tuple(found.get(stand_ins[edge]) if edge in stand_ins else None for edge in self.border)

    def again(self) -> tuple[list[Tensor], Region]:
        """Run the function again; what it returned, and what it recorded."""
        assert self.function is not None
        begun = tick()
        with fork_rng(enabled=self.state is not None), enable_grad(), self.context:
            if self.state is not None:
                set_rng_state(self.state)
            results = self.function(*self.args, **self.kwargs)
        outputs = outputs_of(results, begun)
        region = Region(outputs, begun)
        if self.expected is not None:
            self.compare(region.operations())
        known = set(self.border)
        if known - region.border.keys() or any(edge not in known for edge in region.border if isinstance(edge, Recipe)):
            raise self.differs("it used other tensors that require grad than before")
        tick()
        return outputs, region

    def cut(self, region: Region, create: bool) -> dict[Any, Any]:
        """Let the region end at stand-ins for its border, so that the pass through it neither goes on nor calls hooks.

        With `create` they lead on to the border, for derivatives of the pass itself.
        """
        stand_ins: dict[Any, Any] = {}
        for edge, given in region.border.items():
            if create and isinstance(given, Tensor):
                array = given.array
                stand_ins[edge] = make_recipe(np.positive, (array,), NO_KWARGS, (given,), (edge,), array)
            else:
                stand_ins[edge] = Leaf(given if isinstance(given, Tensor) else Tensor(0.0))
        for node in region.nodes:
            if not stand_ins.keys().isdisjoint(edge for edge in node._edges if edge is not None):
                node._edges = tuple(stand_ins.get(edge, edge) for edge in node._edges)
        return stand_ins

    def check_unwritten(self) -> None:
        """Refuse to compute with other values than before.

        Raises:
            RuntimeError: names the write.
        """
        for given in self.watched:
            storage = storage_behind(given)
            if storage is not None and storage.written > self.begun:
                raise RuntimeError(
                    "one of the variables needed for gradient computation has been modified by an inplace operation: "
                    f"{self!r} uses a tensor of shape {tuple(given.shape)}, and {storage.operation} wrote to it at "
                    f"{storage.line}. Write to a clone(), or use the out-of-place operation."
                )

    def compare(self, found: list[Operation]) -> None:
        """Refuse another run than the first.

        Raises:
            CheckpointError: says where they differ.
        """
        assert self.expected is not None
        if len(found) != len(self.expected):
            raise self.differs(f"it recorded {len(self.expected)} operations, and now {len(found)}", found)
        for before, now in zip(self.expected, found, strict=True):
            if before != now:
                raise self.differs(f"it computed {described(before)}, and now {described(now)}", found)

    def differs(self, how: str, found: list[Operation] | None = None) -> CheckpointError:
        text = f"{self!r} did something else when it was computed again: {how}."
        if (self.debug if _debug is None else _debug) and found is not None and self.expected is not None:
            for title, operations in (("before", self.expected), ("now", found)):
                text += f"\nOperations {title}, the last first:\n  " + "\n  ".join(map(described, operations))
        return CheckpointError(text)

    def __call__(self, *args: Any) -> NoReturn:
        raise RuntimeError("a checkpoint's recipe cannot be computed from its arguments alone")


def described(operation: Operation) -> str:
    name, shape, dtype = operation
    return name if shape is None else f"{name} of shape {tuple(shape)} and type {dtype}"
