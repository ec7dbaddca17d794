"""Where a tensor's numbers are: memory, its layout, sharing it between processes, resizing; devices that are not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.dtypes import as_dtype
from ..core.tensor import CPU, Tensor, make_tensor
from .common import attach
from .creation import as_tensor, empty
from .shape import as_sizes, copy_

__all__ = [
    "channels_last",
    "channels_last_3d",
    "contiguous_format",
    "get_device",
    "is_distributed",
    "is_inference",
    "is_same_size",
    "layout",
    "memory_format",
    "preserve_format",
    "resize_as_",
    "strided",
]

# ----- names for layouts ------------------------------------------------------------------------------------------


class _Constant:
    """A name that is passed on and compared."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"chainrule.{self.name}"

    def __reduce__(self) -> str:
        return self.name


class memory_format(_Constant):
    """The order of axes in memory; only results' strides depend on it, and here they are always in order."""


class layout(_Constant):
    """How a tensor is kept; always `strided`."""


contiguous_format, preserve_format = memory_format("contiguous_format"), memory_format("preserve_format")
channels_last, channels_last_3d = memory_format("channels_last"), memory_format("channels_last_3d")
strided = layout("strided")

# ----- memory -----------------------------------------------------------------------------------------------------


def _owner(array: Any) -> Any:
    """The array whose memory this is."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


class Storage:
    """The memory behind a tensor, with the questions that programs ask of it."""

    def __init__(self, tensor: Tensor, typed: bool) -> None:
        self._array = _owner(tensor.array)
        self._typed = typed
        self.dtype = as_dtype(self._array.dtype)
        self.device = CPU

    def data_ptr(self) -> int:
        """The address of the memory."""
        return int(self._array.ctypes.data)

    def nbytes(self) -> int:
        """Its size in bytes."""
        return int(self._array.nbytes)

    def size(self) -> int:
        """Its size in elements; in bytes for an untyped storage."""
        return int(self._array.size if self._typed else self._array.nbytes)

    __len__ = size

    def element_size(self) -> int:
        """The size of an element in bytes."""
        return int(self._array.itemsize) if self._typed else 1

    def tolist(self) -> list[Any]:
        """Its elements."""
        flat = self._array.ravel(order="K")
        return list((flat if self._typed else flat.view(np.uint8)).tolist())

    def __getitem__(self, index: Any) -> Any:
        return self.tolist()[index]


def storage(self: Tensor) -> Storage:
    """The memory behind the tensor, counted in elements."""
    return Storage(self, typed=True)


def untyped_storage(self: Tensor) -> Storage:
    """The memory behind the tensor, counted in bytes."""
    return Storage(self, typed=False)


def data_ptr(self: Tensor) -> int:
    """The address of the first element."""
    return int(self.array.ctypes.data)


def storage_offset(self: Tensor) -> int:
    """How many elements of the memory come before the first one of this tensor."""
    return int((self.array.ctypes.data - _owner(self.array).ctypes.data) // self.array.itemsize)


def dim_order(self: Tensor) -> tuple[int, ...]:
    """The axes from the outermost in memory to the innermost."""
    strides = self.array.strides
    return tuple(sorted(range(len(strides)), key=lambda axis: -strides[axis]))


def is_set_to(self: Tensor, tensor: Tensor) -> bool:
    """Whether two tensors are the same memory in the same shape and strides."""
    a, b = self.array, tensor.array
    return bool(a.ctypes.data == b.ctypes.data and a.shape == b.shape and a.strides == b.strides)


def is_same_size(self: Tensor, other: Tensor) -> bool:
    """Whether two tensors have the same shape."""
    return bool(self.shape == other.shape)


def share_memory_(self: Tensor) -> Tensor:
    """Move the values into memory that processes forked from now on share with this one; returns the tensor.

    A process that is started in another way, or is sent the tensor, gets a copy.
    """
    if not is_shared(self) and self.array.nbytes:
        from mmap import mmap

        shared = np.frombuffer(mmap(-1, self.array.nbytes), self.array.dtype, self.array.size)
        shared = shared.reshape(self.array.shape)
        shared[...] = self.array
        self._move_to(shared)
    return self


def is_shared(self: Tensor) -> bool:
    """Whether the values are in memory that forked processes share."""
    from mmap import mmap

    base = _owner(self.array).base
    return isinstance(base, mmap) or isinstance(getattr(base, "obj", None), mmap)


def pin_memory(self: Tensor, device: Any = None) -> Tensor:
    """The tensor itself: memory is pinned for a device to read, and there is none."""
    return self


def _false(self: Tensor, *args: Any) -> bool:
    """False."""
    return False


is_distributed = is_inference = _false


def get_device(self: Tensor) -> int:
    """-1, the number of the cpu."""
    return -1


# ----- another size -----------------------------------------------------------------------------------------------


def resize_(self: Tensor, *sizes: Any, memory_format: Any = None) -> Tensor:
    """Give the tensor another shape, with the elements it has in order, and whatever values beyond them; returns it.

    Raises:
        RuntimeError: it requires grad.
    """
    shape = as_sizes(sizes)
    if self.requires_grad:
        raise RuntimeError("cannot resize variables that require grad: use reshape(), or detach() first")
    array = np.empty(shape, self.array.dtype)
    kept = min(array.size, self.array.size)
    array.reshape(-1)[:kept] = self.array.reshape(-1)[:kept]
    self.data = make_tensor(array, None)
    return self


def resize_as_(self: Tensor, the_template: Tensor, *, memory_format: Any = None) -> Tensor:
    """Give the tensor another one's shape; returns it."""
    return resize_(self, the_template.shape)


# ----- element by element -----------------------------------------------------------------------------------------


def _apply_to(self: Tensor, function: Callable[..., Any], *others: Tensor) -> Tensor:
    if self.requires_grad:
        raise RuntimeError("a Python function on elements has no derivative: detach() the tensor first")
    columns = np.broadcast_arrays(self.array, *(other.array for other in others))
    values = [function(*row) for row in zip(*(column.ravel().tolist() for column in columns), strict=True)]
    return copy_(self, as_tensor(np.array(values, self.array.dtype).reshape(self.array.shape)))


def apply_(self: Tensor, callable: Callable[[Any], Any]) -> Tensor:
    """Replace each element by what a Python function makes of it; returns the tensor. Slow."""
    return _apply_to(self, callable)


def map_(self: Tensor, tensor: Tensor, callable: Callable[[Any, Any], Any]) -> Tensor:
    """Replace each element by what a Python function makes of it and of another tensor's; returns the tensor. Slow."""
    return _apply_to(self, callable, tensor)


def map2_(self: Tensor, x: Tensor, y: Tensor, callable: Callable[[Any, Any, Any], Any]) -> Tensor:
    """Replace each element by what a Python function makes of it and two other tensors'; returns the tensor. Slow."""
    return _apply_to(self, callable, x, y)


def new(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """A tensor of this one's type, of sizes or of data."""
    if not args or all(isinstance(n, int) for n in args) or type(args[0]) is type(self.shape):
        return empty(*(args or (0,)), dtype=self.array.dtype)
    return Tensor(*args, **kwargs).to(self.array.dtype)  # type: ignore[no-any-return]


def fill_diagonal_(self: Tensor, fill_value: float, wrap: bool = False) -> Tensor:
    """Write a number on the diagonal, with `wrap` again below a tall matrix's square part; returns the tensor.

    Raises:
        RuntimeError: fewer than two axes, or more of different lengths.
    """
    if self.ndim < 2 or (self.ndim > 2 and len(set(self.shape)) > 1):
        raise RuntimeError(f"fill_diagonal_ takes a matrix, or a tensor with all axes of one length, got {self.shape}")
    places = np.zeros(self.shape, bool)
    np.fill_diagonal(places, True, wrap)
    return self.masked_fill_(make_tensor(places, None), fill_value)  # type: ignore[no-any-return]


def to_dense(self: Tensor, dtype: Any = None, *, masked_grad: bool = True) -> Tensor:
    """The tensor itself, which is dense, in a type."""
    return self if dtype is None else self.to(dtype)


def _elsewhere(name: str) -> Callable[..., Any]:
    def method(self: Tensor, device: Any = None, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError(
            f"Tensor.{name}(): there is no {name} device here, tensors live on the cpu; ask {name}.is_available() first"
        )

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"Raises RuntimeError: there is no {name} device."
    return method


def _bfloat16(self: Tensor, memory_format: Any = None) -> Tensor:
    """Raises TypeError: NumPy has no such type."""
    from ..core.dtypes import bfloat16

    return self.to(bfloat16)  # type: ignore[no-any-return]


# ----- methods ----------------------------------------------------------------------------------------------------

attach(apply_, data_ptr, dim_order, fill_diagonal_, get_device, is_same_size, is_set_to, is_shared)
attach(map2_, map_, new)
attach(pin_memory, resize_, resize_as_, share_memory_, storage, storage_offset, to_dense, untyped_storage)
attach(is_pinned=_false, is_coalesced=_false, const_data_ptr=data_ptr, resize=resize_, resize_as=resize_as_)
attach(is_distributed=_false, is_inference=_false, bfloat16=_bfloat16)
attach(**{name: _elsewhere(name) for name in ("cuda", "xpu", "ipu", "hpu")})
for _name in "cuda ipu maia meta mkldnn mps mtia nested quantized sparse sparse_csr vulkan xla xpu".split():
    setattr(Tensor, f"is_{_name}", property(lambda self: False, doc="False."))
for _name, _getter in (
    ("is_cpu", lambda self: self.device == CPU),
    ("itemsize", lambda self: self.array.itemsize),
    ("nbytes", lambda self: self.array.nbytes),
    ("layout", lambda self: strided),
    ("name", lambda self: None),
    ("output_nr", lambda self: 0),
):
    setattr(Tensor, _name, property(_getter))
