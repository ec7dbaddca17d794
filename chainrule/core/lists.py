"""Lists where arrays are expected: what they hold keeps its digits and its gradients.

Python's numbers have the precision of float64, and NumPy keeps it; a list beside a float64 tensor does so as well,
though a tensor made of a list is of the default type.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from .dtypes import default_float
from .grad_mode import grad_mode
from .tensor import Tensor

__all__ = ["in_type_of_tensors", "loses_gradient", "of_list"]


def of_list(values: Any) -> Any:
    """A list's numbers as an array, or as a tensor, if gradients flow to tensors among them."""
    if loses_gradient(values):
        from .forward import TENSOR_FUNCS

        parts = [of_list(x) if isinstance(x, (list, tuple)) else x for x in values]
        return TENSOR_FUNCS[np.stack]([x if isinstance(x, Tensor) else Tensor(x, dtype=np.float64) for x in parts])
    return np.asarray(_values(values))


def loses_gradient(values: Any) -> bool:
    """Whether an array of what a list holds would keep a gradient from a tensor."""
    if isinstance(values, (list, tuple)):
        return any(map(loses_gradient, values))
    return isinstance(values, Tensor) and values.requires_grad and bool(grad_mode())


def in_type_of_tensors(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
    """The arguments of a function of NumPy, lists in the type of the tensors beside them that is wider than theirs."""
    kinds = {x.array.dtype for x in _tensors((args, tuple(kwargs.values()))) if x.array.dtype.kind == "f"}
    widest = max(kinds, key=lambda kind: kind.itemsize, default=None)
    if widest is None or widest.itemsize <= default_float().itemsize:
        return args, kwargs
    return _in_type(args, widest), {name: _in_type(value, widest) for name, value in kwargs.items()}


def _values(values: Any) -> Any:
    if isinstance(values, (list, tuple)):
        return [_values(x) for x in values]
    return values.array if isinstance(values, Tensor) else values


def _tensors(values: Any) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif type(value) in (list, tuple):
            yield from _tensors(value)


def _in_type(value: Any, kind: np.dtype[Any]) -> Any:
    if type(value) not in (list, tuple):
        return value
    numbers = list(_numbers(value))
    if numbers and None not in numbers and any(type(x) is not int for x in numbers):
        with contextlib.suppress(ValueError):  # rows of different lengths: the function says what it thinks of them
            return np.array(value, kind)
    return type(value)(_in_type(x, kind) for x in value)


def _numbers(value: Any) -> Iterator[Any]:
    """The numbers in nested lists; None in the place of anything else."""
    for item in value:
        if type(item) in (list, tuple):
            yield from _numbers(item)
        else:
            yield item if isinstance(item, (int, float)) and not isinstance(item, bool) else None
