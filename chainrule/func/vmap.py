"""`vmap`: a function of one sample, run once for many.

The mapped arguments become tensors that look like one sample's and hold all samples' values (`batched.py`). The
function runs once, on all samples at once, with the ordinary operations; gradients inside it are each sample's own, and
gradients from outside flow through it. Entering and leaving are operations of the table.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.levels import LEVELS, Level
from ..core.tensor import Tensor, is_array, make_tensor
from .batched import Batched, from_samples_tensor, levels_in, to_samples_tensor
from .trees import Structure, flatten, unflatten

__all__ = ["debug_unwrap", "vmap"]

RANDOMNESS = ("error", "same", "different")


def vmap(
    func: Callable[..., Any],
    in_dims: Any = 0,
    out_dims: Any = 0,
    randomness: str = "error",
    *,
    chunk_size: int | None = None,
) -> Callable[..., Any]:
    """The function that maps `func` over an axis of its arguments: all samples in one run.

    Args:
        func: takes tensors (or nested structures of them) of one sample, returns tensors.
        in_dims: the axis to map over, for all arguments, or a structure like the arguments; None for one that all
            samples share. Keyword arguments are shared.
        out_dims: where the samples' axis goes in the results, for all of them or a structure like theirs.
        randomness: what random functions do inside: "error", "same" numbers for all samples, or "different" ones.
        chunk_size: run that many samples at a time, to need less memory.

    Raises:
        ValueError: arguments without the axis, of different lengths along it, or results that are no tensors.
        RuntimeError: the function needs a sample's value, as in `if x > 0` or `x.item()`; it writes to a shared tensor;
            it draws random numbers under "error".

    >>> import chainrule as cr
    >>> x, y = cr.tensor([[1.0, 2.0], [3.0, 4.0]]), cr.tensor([10.0, 1.0])
    >>> vmap(lambda a, b: a @ b, in_dims=(0, None))(x, y)
    Tensor(array([12., 34.], dtype=float32), requires_grad=False)
    """
    if randomness not in RANDOMNESS:
        raise RuntimeError(f"vmap: randomness must be one of {', '.join(map(repr, RANDOMNESS))}, got {randomness!r}")
    if chunk_size is not None and not (isinstance(chunk_size, int) and chunk_size > 0):
        raise ValueError(f"vmap: chunk_size must be None or a positive number of samples, got {chunk_size!r}")
    name = f"vmap({getattr(func, '__name__', type(func).__name__)})"

    @functools.wraps(func)
    def mapped(*args: Any, **kwargs: Any) -> Any:
        values, structure = flatten(args)
        dims = dims_of_arguments(name, in_dims, args, values, structure)
        raw = not any(isinstance(value, Tensor) for value in flatten((args, kwargs))[0])
        tensors = [
            make_tensor(x, None) if d is not None and not isinstance(x, Tensor) else x
            for x, d in zip(values, dims, strict=True)
        ]
        size = common_size(name, tensors, dims)
        step = size if chunk_size is None else chunk_size
        if step >= size:
            return handed_out(run(name, func, tensors, structure, dims, size, out_dims, randomness, kwargs), raw)
        pieces = []
        for start in range(0, size, step):
            stop = min(start + step, size)
            part = [x if d is None else x.narrow(d, start, stop - start) for x, d in zip(tensors, dims, strict=True)]
            pieces.append(run(name, func, part, structure, dims, stop - start, out_dims, randomness, kwargs))
        shape = pieces[0][1]
        axes = spread_dims(out_dims, shape)
        whole = [
            column[0] if d is None or not isinstance(column[0], Tensor) else np.concatenate(column, axis=d)
            for column, d in zip(zip(*(piece[0] for piece in pieces), strict=True), axes or [], strict=True)
        ]
        return handed_out((whole, shape), raw)

    return mapped


def run(
    name: str,
    func: Callable[..., Any],
    tensors: list[Any],
    structure: Structure,
    dims: list[int | None],
    size: int,
    out_dims: Any,
    randomness: str,
    kwargs: dict[str, Any],
) -> tuple[list[Any], Structure]:
    """One run of the function on all samples; its results with their axis, and their structure."""
    level = Level(size, randomness)
    token = LEVELS.set((*LEVELS.get(), level))
    try:
        lifted = [x if d is None else from_samples_tensor(x, level, d) for x, d in zip(tensors, dims, strict=True)]
        outputs, out_structure = flatten(func(*unflatten(structure, lifted), **kwargs))
        axes = spread_dims(out_dims, out_structure)
        if axes is None:
            raise ValueError(
                f"{name}: out_dims={out_dims!r} does not fit the structure of the results, {out_structure}: give an "
                "int, or a structure like theirs of ints and None"
            )
        results = [leave(name, x, level, d) for x, d in zip(outputs, axes, strict=True)]
    finally:
        level.active = False
        LEVELS.reset(token)
    return results, out_structure


def leave(name: str, output: Any, level: Level, axis: int | None) -> Any:
    """A result with the samples' axis, or as it is if it is the same for all."""
    if isinstance(output, Batched):
        output = make_tensor(output, None)
    if axis is None:
        if level in levels_in(output):
            raise ValueError(
                f"{name} can not return a tensor that differs between samples where out_dims is None: give its axis"
            )
        return output
    if is_array(output) or isinstance(output, np.generic):
        output = make_tensor(np.asarray(output), None)
    if not isinstance(output, Tensor):
        raise ValueError(
            f"{name} must only return tensors, got type {type(output).__name__}. "
            "Did you mean to set out_dims to None for this output?"
        )
    ndim = output.ndim + 1
    if not -ndim <= axis < ndim:
        raise IndexError(
            f"{name}: Dimension out of range (expected to be in range of [{-ndim}, {ndim - 1}], but got {axis}) for a "
            f"result of shape {tuple(output.shape)}"
        )
    return to_samples_tensor(output, level, axis)


def handed_out(result: tuple[list[Any], Structure], raw: bool) -> Any:
    """The results in their structure; arrays where no tensor was given, and none is needed for a gradient."""
    outputs, structure = result
    if raw:
        outputs = [x.array if isinstance(x, Tensor) and not x.requires_grad else x for x in outputs]
    return unflatten(structure, outputs)


def dims_of_arguments(
    name: str, in_dims: Any, args: tuple[Any, ...], values: list[Any], structure: Structure
) -> list[int | None]:
    """The mapped axis of each tensor among the arguments, not negative; None where it is shared.

    Raises:
        ValueError: says which argument does not fit.
    """
    if not isinstance(in_dims, (int, tuple, list, dict)) or isinstance(in_dims, bool):
        raise ValueError(
            f"{name}: expected in_dims to be an int or a (nested) tuple like the arguments, got "
            f"{type(in_dims).__name__} {in_dims!r}"
        )
    if not args:
        raise ValueError(f"{name}: got no inputs to map over")
    dims = spread_dims(tuple(in_dims) if isinstance(in_dims, list) else in_dims, structure)
    if dims is None:
        raise ValueError(f"{name}: in_dims={in_dims!r} does not fit the structure of the arguments, {structure}")
    result: list[int | None] = []
    for value, dim in zip(values, dims, strict=True):
        if dim is None:
            result.append(None)
            continue
        if not isinstance(dim, int) or isinstance(dim, bool):
            raise ValueError(f"{name}: got in_dim={dim!r} for an argument; expected an axis or None")
        if not isinstance(value, Tensor) and not is_array(value):
            raise ValueError(
                f"{name}: got in_dim={dim} for an argument of type {type(value).__name__}, which has no axis to map "
                "over: write None for it in in_dims"
            )
        if not -value.ndim <= dim < value.ndim:
            raise ValueError(
                f"{name}: got in_dim={dim} for an argument of shape {tuple(value.shape)}, where "
                f"-{value.ndim} <= in_dim < {value.ndim} is needed"
            )
        result.append(dim % value.ndim)
    return result


def common_size(name: str, tensors: list[Any], dims: list[int | None]) -> int:
    """How many samples there are.

    Raises:
        ValueError: nothing is mapped, or the lengths differ.
    """
    sizes = [x.shape[d] for x, d in zip(tensors, dims, strict=True) if d is not None]
    if not sizes:
        raise ValueError(f"{name}: expected at least one tensor to map over, but in_dims is None for all of them")
    if len(set(sizes)) > 1:
        raise ValueError(
            f"{name}: expected all tensors to have the same size in the mapped dimension, got sizes {sizes} for the "
            "mapped dimension"
        )
    return int(sizes[0])


def spread_dims(dims: Any, structure: Structure) -> list[Any] | None:
    """A value for each leaf of a structure, from a tree that may end sooner; None where it does not fit."""
    if dims is None or isinstance(dims, int):
        return [dims] * structure.size
    if not structure.children and structure.size:  # a leaf; a one-tuple stands for its member
        return list(dims) if isinstance(dims, (tuple, list)) and len(dims) == 1 else None
    if isinstance(dims, dict):
        if set(dims) != set(structure.keys):
            return None
        items = [dims[key] for key in structure.keys]
    elif isinstance(dims, (tuple, list)) and not structure.keys and len(dims) == len(structure.children):
        items = list(dims)
    else:
        return None
    result: list[Any] = []
    for item, child in zip(items, structure.children, strict=True):
        part = spread_dims(item, child)
        if part is None:
            return None
        result.extend(part)
    return result


def debug_unwrap(tensor: Tensor, *, recurse: bool = True) -> Tensor:
    """Inside vmap: all samples' values, with their axis in front, without a graph; for looking at them.

    Args:
        recurse: through all vmaps that run, not the innermost only.
    """
    array = tensor.array
    while isinstance(array, Batched):
        array = array.values
        if not recurse:
            break
    return make_tensor(array, None)
