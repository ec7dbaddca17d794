"""What the families of operations share: names, methods, in-place forms."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from ..core.forward import Several
from ..core.lists import loses_gradient, of_list
from ..core.tensor import Tensor
from ..core.views import write_in_place

Function = TypeVar("Function", bound=Callable[..., Any])

SYNONYMS = {"axis": "dim", "keepdims": "keepdim"}


def numpy_names(function: Function) -> Function:
    """Let an operation with PyTorch's `dim` and `keepdim` be called with NumPy's `axis` and `keepdims` as well."""

    @functools.wraps(function)
    def with_synonyms(*args: Any, **kwargs: Any) -> Any:
        if kwargs:
            for theirs, ours in SYNONYMS.items():
                if theirs in kwargs:
                    if ours in kwargs:
                        raise TypeError(f"{function.__name__}() got both {ours} and {theirs}, which are one argument")
                    kwargs[ours] = kwargs.pop(theirs)
        return function(*args, **kwargs)

    return with_synonyms  # type: ignore[return-value]


def attach(*functions: Callable[..., Any], **named: Callable[..., Any]) -> None:
    """Make operations methods of Tensor, under their own or the given names."""
    for function in functions:
        setattr(Tensor, function.__name__, function)
    for name, function in named.items():
        setattr(Tensor, name, function)


def in_place(operation: Callable[..., Any], name: str) -> Callable[..., Tensor]:
    """The in-place form of an operation whose first argument is the tensor to be written."""

    def method(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return write_in_place(
            self, name, lambda before: operation(before, *(before if arg is self else arg for arg in args), **kwargs)
        )

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"`{name[:-1]}`, written into this tensor; returns it."
    return method


def attach_in_place(*operations: Callable[..., Any], **named: Callable[..., Any]) -> None:
    """Give Tensor the in-place forms `name_` of operations, under their own or the given names."""
    for operation in operations:
        attach(**{operation.__name__ + "_": in_place(operation, operation.__name__ + "_")})
    for name, operation in named.items():
        attach(**{name + "_": in_place(operation, name + "_")})


def as_tensor_argument(value: Any) -> Tensor:
    """A tensor as it is; a number or an array as a tensor of its own type; a list with its tensors' gradients."""
    if isinstance(value, Tensor):
        return value
    from .creation import as_tensor

    return as_tensor(of_list(value) if loses_gradient(value) else value)


def numbers_as(values: Any, kind: np.dtype[Any]) -> Any:
    """A number, a list or an array as an array of a type.

    Raises:
        RuntimeError: the imaginary part of a complex number would be lost.
    """
    array = np.asarray(values)
    if array.dtype.kind == "c" and kind.kind != "c":
        raise RuntimeError(f"value cannot be converted to type {kind} without overflow: {values}; take .real")
    return array.astype(kind)


def normalize_axis(axis: int, ndim: int) -> int:
    """A possibly negative axis as a non-negative one.

    Raises:
        IndexError: out of range, as PyTorch raises it.
    """
    limit = max(ndim, 1)
    if not -limit <= axis < limit:
        raise IndexError(f"Dimension out of range (expected to be in range of [{-limit}, {limit - 1}], but got {axis})")
    return axis % limit


def normalize_axes(axes: Any, ndim: int) -> tuple[int, ...]:
    """One axis, several, or None for all, as a tuple of non-negative ones."""
    if axes is None:
        return tuple(range(ndim))
    if not isinstance(axes, (tuple, list)):
        axes = (axes,)
    result = tuple(normalize_axis(int(axis), ndim) for axis in axes)
    if len(set(result)) != len(result):
        raise RuntimeError(f"dim {tuple(axes)} names an axis more than once")
    return result


def is_complex(x: Any) -> bool:
    """Whether an array, a tensor or a number is complex."""
    d = getattr(x, "dtype", None)
    return isinstance(x, complex) if d is None else d.kind == "c"


def real_like(gradient: Any, x: Any) -> Any:
    """A gradient for `x`: its real part where `x` is real and the gradient is complex."""
    return np.real(gradient) if is_complex(gradient) and not is_complex(x) else gradient


__all__ = [
    "Several",
    "as_tensor_argument",
    "attach",
    "attach_in_place",
    "in_place",
    "is_complex",
    "normalize_axes",
    "normalize_axis",
    "numbers_as",
    "numpy_names",
    "real_like",
]
