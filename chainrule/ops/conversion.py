"""What a tensor says of itself and how it changes type: `to`, `float`, `size`, `new_zeros` and their like."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.dtypes import as_dtype, as_numpy_dtype
from ..core.forward import cast
from ..core.tensor import Size, Tensor, check_device, device, device_of, make_tensor
from .common import attach, normalize_axis
from .creation import empty, full, ones, tensor, zeros
from .legacy import TYPE_NAMES, kind_of
from .shape import as_sizes, clone

__all__ = ["numel"]

# ----- types and devices ------------------------------------------------------------------------------------------


def to(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """The tensor in another type, `to(dtype)`, `to(other)` or `to(device, dtype)`; itself if nothing changes.

    Raises:
        RuntimeError: another device is asked for.
    """
    wanted = kwargs.pop("dtype", None)
    place = kwargs.pop("device", None)
    copy = kwargs.pop("copy", False)
    kwargs.pop("non_blocking", None)
    kwargs.pop("memory_format", None)
    if kwargs:
        raise TypeError(f"to() takes no argument {', '.join(kwargs)}")
    for i, arg in enumerate(args):
        if isinstance(arg, Tensor):
            wanted, place = arg.array.dtype, arg.device
        elif isinstance(arg, device) or (isinstance(arg, str) and not _names_a_type(arg)):
            place = arg
        elif isinstance(arg, bool):
            copy = copy or (arg and i == len(args) - 1 and i >= 2)
        elif arg is not None:
            wanted = arg
    if place is not None and str(place).partition(":")[0] != str(device_of(self.array)).partition(":")[0]:
        raise RuntimeError(
            f"cannot move a tensor from {self.device} to {place}: a tensor lives where its array does; make it of an "
            "array that is already there"
        )
    kind = self.array.dtype if wanted is None else as_numpy_dtype(wanted)
    if kind != self.array.dtype:
        return cast(self, kind)
    return clone(self) if copy else self


def _names_a_type(text: str) -> bool:
    try:
        np.dtype(text)
    except TypeError:
        return False
    return True


def _to_type(name: str) -> Any:
    kind = np.dtype(name)

    def method(self: Tensor, memory_format: Any = None) -> Tensor:
        return self if self.array.dtype == kind else cast(self, kind)

    method.__doc__ = f"The tensor in {as_dtype(kind)!r}; itself if it is."
    return method


def type_(self: Tensor, dtype: Any = None, non_blocking: bool = False) -> Any:
    """The name of the tensor's type, such as "torch.FloatTensor"; or, given a type, the tensor in it."""
    if dtype is None:
        return "torch." + TYPE_NAMES.get(self.array.dtype.name, self.array.dtype.name)
    dtype = kind_of(dtype)
    if isinstance(dtype, str):
        dtype = dtype.rpartition(".")[2]
    return to(self, as_numpy_dtype(dtype))


def type_as(self: Tensor, other: Tensor) -> Tensor:
    """The tensor in the type of `other`."""
    return to(self, other.array.dtype)


def cpu(self: Tensor, memory_format: Any = None) -> Tensor:
    """The tensor itself, whose array is a NumPy array.

    Raises:
        RuntimeError: it is another library's array.
    """
    return to(self, "cpu")


# ----- sizes ------------------------------------------------------------------------------------------------------


class Count(int):
    """A number of elements: NumPy's `x.size` is a number, PyTorch's `x.size()` a shape; this is both."""

    shape: Size

    def __call__(self, dim: int | None = None) -> Any:
        return self.shape if dim is None else self.shape[normalize_axis(dim, len(self.shape))]


def _size(self: Tensor) -> Count:
    """The number of elements; called, the shape, or with `dim` the size along an axis."""
    count = Count(self.array.size)
    count.shape = self.shape
    return count


def numel(input: Any) -> int:
    """The number of elements."""
    return int(input.array.size)


def dim(self: Tensor) -> int:
    """The number of axes."""
    return int(self.array.ndim)


def element_size(self: Tensor) -> int:
    """The size of an element in bytes."""
    return int(self.array.dtype.itemsize)


# ----- new tensors like this one ----------------------------------------------------------------------------------


def _new(array: Any, requires_grad: bool) -> Tensor:
    return make_tensor(array, None).requires_grad_() if requires_grad else make_tensor(array, None)


def _kind(self: Tensor, dtype: Any) -> Any:
    return self.array.dtype if dtype is None else as_numpy_dtype(dtype)


def new_zeros(
    self: Tensor, *size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False, **_: Any
) -> Tensor:
    """Zeros of a shape, in this tensor's type."""
    check_device(device)
    return zeros(as_sizes(size), dtype=_kind(self, dtype), requires_grad=requires_grad)


def new_ones(
    self: Tensor, *size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False, **_: Any
) -> Tensor:
    """Ones of a shape, in this tensor's type."""
    check_device(device)
    return ones(as_sizes(size), dtype=_kind(self, dtype), requires_grad=requires_grad)


def new_empty(
    self: Tensor, *size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False, **_: Any
) -> Tensor:
    """Whatever the memory held, of a shape, in this tensor's type."""
    check_device(device)
    return empty(as_sizes(size), dtype=_kind(self, dtype), requires_grad=requires_grad)


def new_full(
    self: Tensor,
    size: Any,
    fill_value: Any,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    **_: Any,
) -> Tensor:
    """One number, of a shape, in this tensor's type."""
    check_device(device)
    number = fill_value.item() if isinstance(fill_value, Tensor) else fill_value
    return full(as_sizes((size,)), number, _kind(self, dtype), None, requires_grad)


def new_tensor(self: Tensor, data: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of the given data, in this tensor's type."""
    check_device(device)
    return tensor(data, requires_grad, _kind(self, dtype))


# ----- methods ----------------------------------------------------------------------------------------------------

attach(to, type_as, cpu, numel, dim, element_size, new_zeros, new_ones, new_empty, new_full, new_tensor)
attach(type=type_, ndimension=dim, nelement=numel)
Tensor.size = property(_size)  # type: ignore[attr-defined]
attach(
    **{
        name: _to_type(kind)
        for name, kind in (
            ("float", "float32"),
            ("double", "float64"),
            ("half", "float16"),
            ("int", "int32"),
            ("long", "int64"),
            ("short", "int16"),
            ("char", "int8"),
            ("byte", "uint8"),
            ("bool", "bool"),
            ("cfloat", "complex64"),
            ("cdouble", "complex128"),
        )
    }
)
