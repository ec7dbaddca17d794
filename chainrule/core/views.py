"""Views and in-place writes: shared memory, and the graph kept true to it.

A view remembers its base and the functions that lead from the base to it. Writing to a tensor is recorded as an
ordinary operation whose result replaces the tensor's node. Writing to a view is recorded on the base, as the base's
old value with the view's part replaced; every other view of that base finds its new node when it is next used.
`Storage` counts the writes, so that backprop can tell when an array that a recipe saved is no longer what it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from .dtypes import CATEGORY, as_dtype
from .grad_mode import grad_mode, mode, recording_mode
from .recipe import CLOCK, NO_KWARGS, Leaf, Recipe, extra_of, make_recipe, user_line, user_trace
from .table import backward
from .tensor import Alias, Tensor, make_tensor, storage_of

__all__ = ["note_write", "note_writes", "write_in_place", "write_region"]


def join_alias(result: Tensor, source: Any, func: Any, rest: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Make `result` a view of `source` if it shares its memory."""
    if not isinstance(source, Tensor):
        return
    array = result.array
    if type(array) is np.ndarray:
        if not np.may_share_memory(array, source.array):
            return
    elif hasattr(array, "may_share_memory") and not array.may_share_memory(source.array):
        return
    become_view(result, source, func, rest, kwargs)


def become_view(result: Tensor, source: Tensor, func: Any, rest: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Make `result`, which shares the memory of `source`, a view of it."""
    alias = source._alias
    if alias is None:
        storage_of(source)
        alias = source._alias
        assert alias is not None
    step = (func, rest, kwargs)
    recorded = grad_mode() != 0
    alias.storage.viewed = True
    if alias.base is None:
        result._alias = Alias(alias.storage, source, (step,), recorded)
    else:
        result._alias = Alias(alias.storage, alias.base, (*alias.chain, step), recorded and alias.recorded)


def follow(base: Any, chain: tuple[Any, ...]) -> Any:
    """Apply the functions that lead from a base to its view."""
    for func, rest, kwargs in chain:
        base = func(base, *rest, **kwargs)
    return base


def refresh(view: Tensor, alias: Alias) -> None:
    """Give a view the node of its base's present value; called when the storage was written since."""
    base = alias.base
    assert base is not None
    alias.seen = alias.storage.count
    if not alias.recorded or isinstance(view._node, Leaf):  # a view on which requires_grad_ was called stays a leaf
        return
    if base.node() is None:
        view._node = None
        return
    token = mode.set(recording_mode())
    try:
        node = follow(base, alias.chain)._node
    finally:
        mode.reset(token)
    _move_retained(view._node, node)
    view._node = node


def write_region(base: Any, value: Any, chain: tuple[Any, ...]) -> Any:
    """A copy of `base` in which the region that `chain` selects is replaced by `value`. Neither is changed.

    Args:
        base: any array.
        value: array of the region's shape.
        chain: ((function, further arguments, keyword arguments), ...) that leads from `base` to the region.
    """
    for array in (base, value):
        if hasattr(type(array), "__chainrule_function__"):
            return type(array).__chainrule_function__(array, write_region, (base, value, chain), {})
    out = np.array(base, copy=True, order="C") if isinstance(base, np.ndarray) else base.copy()
    if isinstance(out, np.ndarray):
        region = follow(out, chain)
        if np.may_share_memory(region, out) and region.flags.writeable:
            region[...] = value
            return out
    positions = follow(np.arange(base.size).reshape(base.shape), chain)  # the chain copies: write by position
    flat = np.reshape(out, (-1,))
    flat[positions] = value
    return np.reshape(flat, base.shape)


@backward(write_region, 0)
def write_region_back0(grad_out: Any, out: Any, base: Any, value: Any, chain: tuple[Any, ...]) -> Any:
    r"""$\nabla_{base} L = \nabla_{out} L$ with zeros in the region"""
    return write_region(grad_out, np.zeros(value.shape, value.dtype), chain)


@backward(write_region, 1)
def write_region_back1(grad_out: Any, out: Any, base: Any, value: Any, chain: tuple[Any, ...]) -> Any:
    r"""$\nabla_{value} L = (\nabla_{out} L)_{region}$"""
    real_part, complex_pair = value.dtype.kind != "c", grad_out.dtype.kind != "c"
    if real_part == complex_pair:
        return follow(grad_out, chain)
    # a complex number's parts: gradients travel conjugated, memory does not know it
    return follow(np.conjugate(grad_out), chain) if real_part else np.conjugate(follow(grad_out, chain))


def note_write(tensor: Tensor, operation: str) -> None:
    """Count a write to the tensor's memory, so that recipes that saved it refuse to use it."""
    storage_of(tensor).note_write(operation)


def note_writes(tensors: Iterable[Tensor], operation: str) -> None:
    """Count one write to each tensor's memory; the line is looked up once."""
    line = user_line()
    CLOCK.now += 1
    for tensor in tensors:
        alias = tensor._alias
        storage = storage_of(tensor) if alias is None else alias.storage
        storage.written = CLOCK.now
        storage.count += 1
        storage.operation = operation
        storage.line = line


def check_writable(target: Tensor, operation: str) -> bool:
    """Whether a write to `target` must be recorded because of `target` itself.

    Raises:
        RuntimeError: `target` is a leaf that requires grad, a view of one, or memory that several elements share.
    """
    array = target.array
    if not array.flags.writeable if isinstance(array, np.ndarray) else getattr(array, "locked", False):
        raise RuntimeError(
            f"{operation}: this tensor of shape {target.shape} cannot be written to: more than one element refers to a "
            "single memory location (it was expanded), or its array is read-only. Use clone() first."
        )
    node = target.node()
    alias = target._alias
    if not grad_mode():
        return False
    hint = f"({operation}). Write inside `with no_grad():`, or to a clone()"
    base = alias.base if alias is not None else None
    if base is not None and isinstance(base.node(), Leaf):
        raise RuntimeError(
            f"a view of a leaf Variable that requires grad is being used in an in-place operation {hint}"
        )
    if isinstance(node, Leaf):
        raise RuntimeError(f"a leaf Variable that requires grad is being used in an in-place operation {hint}")
    if base is not None and alias is not None and not alias.recorded and base.node() is not None:
        raise RuntimeError(
            f"{operation}: a view that was created in no_grad mode is being modified in-place with grad mode enabled. "
            "Make the view where recording is on, or write inside `with no_grad():`"
        )
    return node is not None


def check_kind(have: Any, want: Any, operation: str) -> None:
    """Refuse to write numbers of a larger kind, such as fractions into integers.

    Raises:
        RuntimeError: names both types.
    """
    if CATEGORY[have.kind] > CATEGORY[want.kind]:
        raise RuntimeError(
            f"{operation}: result type {as_dtype(have)} can't be cast to the desired output type {as_dtype(want)}"
        )


def write_in_place(target: Tensor, operation: str, compute: Callable[[Tensor], Tensor]) -> Tensor:
    """Replace the target's values by `compute(before)`, where `before` is a tensor with the values so far.

    Returns:
        The target: the same object and the same memory.

    Raises:
        RuntimeError: the target must not be written to; the result has another shape or a larger kind of type.
    """
    tracked = check_writable(target, operation)
    before = make_tensor(target.array.copy(), target._node) if tracked else make_tensor(target.array, None)
    value = compute(before)
    if not tracked and value._node is not None:  # an operand is tracked: its recipe must keep the old values
        value = compute(make_tensor(target.array.copy(), None))
    if value.shape != target.shape:
        raise RuntimeError(
            f"{operation}: output with shape {target.shape} doesn't match the broadcast shape {value.shape}"
        )
    have, want = value.array.dtype, target.array.dtype
    if have != want:
        check_kind(have, want, operation)
        from .forward import cast

        value = cast(value, want)
    replace(target, value, operation)
    return target


def replace(target: Tensor, value: Tensor, operation: str) -> None:
    """Write `value` (same shape and type) into the target's memory and put its node in the place of the target's."""
    if isinstance(target.array, np.ndarray):
        np.copyto(target.array, value.array)
    else:
        target.array[...] = value.array
    old = target.node()
    storage = storage_of(target)
    alias = target._alias
    assert alias is not None
    storage.note_write(operation)
    if not grad_mode():
        return
    if alias.base is None:
        target._node = value._node
        _move_retained(old, value._node)
    elif old is not None or value._node is not None or alias.base.node() is not None:
        _rebase(alias.base, value, alias.chain)


def write_part(
    target: Tensor, value: Tensor, step: tuple[Any, tuple[Any, ...], dict[str, Any]], operation: str
) -> None:
    """Write `value` into the part of the target that one more function selects, a view or not.

    Args:
        value: tensor of that part's shape and of the target's type.
        step: (function, further arguments, keyword arguments), such as an index by arrays.
    """
    tracked = check_writable(target, operation) or (value._node is not None and bool(grad_mode()))
    write_flat(target.array, value.array, step)
    storage = storage_of(target)
    alias = target._alias
    assert alias is not None
    storage.note_write(operation)
    if tracked:
        if alias.base is None:
            _rebase(target, value, (step,))
        else:
            _rebase(alias.base, value, (*alias.chain, step))


def write_flat(array: Any, value: Any, step: tuple[Any, tuple[Any, ...], dict[str, Any]]) -> None:
    _, (index,), _ = step
    array[index] = value


def _rebase(base: Tensor, value: Tensor, chain: tuple[Any, ...]) -> None:
    """The base's node after a write: its old value with a region replaced."""
    edges = (base._node, value._node, None)
    inputs = (make_tensor(base.array, base._node), value, chain)
    recipe = make_recipe(write_region, (base.array, value.array, chain), NO_KWARGS, inputs, edges, base.array)
    recipe._saved_at = CLOCK.now
    _move_retained(base._node, recipe)
    base._node = recipe
    if grad_mode() == 2:
        extra_of(recipe).trace = user_trace()


def _move_retained(old: Any, new: Any) -> None:
    """A tensor that keeps its gradient goes on keeping it after an in-place write."""
    if (
        isinstance(old, Recipe)
        and isinstance(new, Recipe)
        and old._extra is not None
        and old._extra.retained is not None
    ):
        extra_of(new).retained = old._extra.retained
        old._extra.retained = None
