"""From a list of samples to a batch: `default_collate`, and `default_convert` for samples that are not batched.

Read next: `fetch.py`, which gets the samples.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, MutableMapping, MutableSequence, Sequence
from typing import Any

import numpy as np

from ....core.dtypes import default_float
from ....core.tensor import Tensor, as_array, make_tensor
from ....ops.shape import stack

__all__ = [
    "collate",
    "collate_float_fn",
    "collate_int_fn",
    "collate_numpy_array_fn",
    "collate_numpy_scalar_fn",
    "collate_str_fn",
    "collate_tensor_fn",
    "default_collate",
    "default_collate_fn_map",
    "default_convert",
]

Collate = Callable[..., Any]


def default_collate(batch: Any) -> Any:
    """A list of samples as one batch, with a new first dimension.

    Tensors, arrays and numbers become tensors; tuples, lists, named tuples and mappings of them are batched part by
    part (a tuple becomes a list); strings and bytes stay lists. Integers become int64, Python's floats float64.

    Raises:
        RuntimeError: samples of different shapes or lengths.
        TypeError: a sample holds something else.

    >>> default_collate([(1, "a"), (2, "b")])
    [Tensor(array([1, 2]), requires_grad=False), ('a', 'b')]
    """
    return collate(batch, collate_fn_map=default_collate_fn_map)


def default_convert(data: Any) -> Any:
    """One sample with its arrays as tensors; containers are taken apart, everything else stays.

    >>> default_convert({"x": np.zeros(2, np.float32), "name": "first"})
    {'x': Tensor(array([0., 0.], dtype=float32), requires_grad=False), 'name': 'first'}
    """
    if isinstance(data, Tensor):
        return data
    if isinstance(data, (np.ndarray, np.generic)):
        return data if data.dtype.kind in "SUO" else make_tensor(np.asarray(data), None)
    if isinstance(data, Mapping):
        return _like(data, {key: default_convert(data[key]) for key in data})
    if isinstance(data, tuple):
        parts = [default_convert(part) for part in data]
        return type(data)(*parts) if hasattr(data, "_fields") else parts
    if isinstance(data, Sequence) and not isinstance(data, (str, bytes)):
        return _like(data, [default_convert(part) for part in data])
    return data


def collate(batch: Any, *, collate_fn_map: dict[Any, Collate] | None = None) -> Any:
    """`default_collate` with functions of one's own for the types of samples.

    Args:
        batch: the samples.
        collate_fn_map: type, or tuple of types, of a sample -> `function(batch, collate_fn_map=...)`. A type that is
            not in it takes the first entry of which it is a subclass.
    """
    sample = batch[0]
    kind = type(sample)
    if collate_fn_map is not None:
        function = collate_fn_map.get(kind)
        if function is None:
            function = next((f for types, f in collate_fn_map.items() if isinstance(sample, types)), None)
        if function is not None:
            return function(batch, collate_fn_map=collate_fn_map)
    if isinstance(sample, Mapping):
        return _like(
            sample, {key: collate([each[key] for each in batch], collate_fn_map=collate_fn_map) for key in sample}
        )
    if isinstance(sample, Sequence):
        lengths = list(map(len, batch))
        if len(set(lengths)) > 1:
            other = next(i for i, length in enumerate(lengths) if length != lengths[0])
            raise RuntimeError(
                f"each element in list of batch should be of equal size, but entry 0 has {lengths[0]} parts and entry "
                f"{other} has {lengths[other]}"
            )
        columns = [collate(column, collate_fn_map=collate_fn_map) for column in zip(*batch, strict=True)]
        if isinstance(sample, tuple):
            return kind(*columns) if hasattr(sample, "_fields") else columns
        return _like(sample, columns)
    raise _refused(kind)


def _refused(kind: Any) -> TypeError:
    return TypeError(
        f"default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; found {kind}. A "
        "collate_fn of your own can batch other things."
    )


def _like(original: Any, parts: Any) -> Any:
    """The parts in a container of the original's type, or in a plain one where that type cannot be made so."""
    try:
        if isinstance(original, MutableMapping):
            clone = copy.copy(original)  # may have attributes besides its items
            clone.update(parts)
            return clone
        if isinstance(original, MutableSequence):
            row = copy.copy(original)
            for i, part in enumerate(parts):
                row[i] = part
            return row
        return type(original)(parts)
    except TypeError:
        return parts


# ----- by type ----------------------------------------------------------------------------------------------------


def collate_tensor_fn(batch: Any, *, collate_fn_map: dict[Any, Collate] | None = None) -> Tensor:
    """Tensors of one shape, stacked.

    Raises:
        RuntimeError: their shapes differ.
    """
    arrays = [tensor.array for tensor in batch]
    first = arrays[0]
    if type(first) is np.ndarray and all([tensor.node() is None for tensor in batch]):
        try:
            out = np.array(arrays)  # quicker than np.stack
        except ValueError:
            raise _of_unequal_size(arrays) from None
        if out.shape[1:] != first.shape:
            raise _of_unequal_size(arrays)
        if out.dtype == first.dtype:
            return make_tensor(out, None)
    elif len({array.shape for array in arrays}) > 1:
        raise _of_unequal_size(arrays)
    return stack(list(batch))


def _of_unequal_size(arrays: list[Any]) -> RuntimeError:
    first = arrays[0].shape
    place = next(i for i, array in enumerate(arrays) if array.shape != first)
    return RuntimeError(
        f"stack expects each tensor to be equal size, but got {list(first)} at entry 0 and "
        f"{list(arrays[place].shape)} at entry {place}"
    )


def collate_numpy_array_fn(batch: Any, *, collate_fn_map: dict[Any, Collate] | None = None) -> Any:
    """Arrays of one shape, stacked into a tensor."""
    if batch[0].dtype.kind in "SUO":
        raise _refused(batch[0].dtype)
    return collate([make_tensor(np.asarray(array), None) for array in batch], collate_fn_map=collate_fn_map)


def collate_numpy_scalar_fn(batch: Any, *, collate_fn_map: dict[Any, Collate] | None = None) -> Tensor:
    """NumPy's scalars as a tensor of their own type."""
    return make_tensor(as_array(np.array(batch), batch[0].dtype), None)


def collate_float_fn(batch: Any, *, collate_fn_map: dict[Any, Collate] | None = None) -> Tensor:
    """Python's floats as a tensor of float64."""
    return make_tensor(np.array(batch, dtype=np.float64), None)


def collate_int_fn(batch: Any, *, collate_fn_map: dict[Any, Collate] | None = None) -> Tensor:
    """Python's integers as a tensor of int64, or of bool.

    Raises:
        ValueError: a number does not fit into 64 bits.
    """
    array = np.array(batch)
    if array.dtype.kind == "f":
        array = array.astype(default_float())
    elif array.dtype.kind not in "bi":
        try:
            array = np.array(batch, dtype=np.int64)
        except OverflowError:
            raise ValueError(f"a batch of integers must fit into 64 bits, got {max(batch, key=abs)}") from None
    return make_tensor(array, None)


def collate_str_fn(batch: Any, *, collate_fn_map: dict[Any, Collate] | None = None) -> Any:
    """Strings and bytes as they are."""
    return batch


default_collate_fn_map: dict[Any, Collate] = {
    Tensor: collate_tensor_fn,
    np.ndarray: collate_numpy_array_fn,
    (np.bool_, np.number, np.object_): collate_numpy_scalar_fn,
    float: collate_float_fn,
    int: collate_int_fn,
    str: collate_str_fn,
    bytes: collate_str_fn,
}
