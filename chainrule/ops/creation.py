"""New tensors: from data, filled, ranges, random numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.dtypes import as_numpy_dtype, default_float
from ..core.tensor import Tensor, as_array, make_tensor

__all__ = [
    "arange",
    "as_tensor",
    "empty",
    "empty_like",
    "eye",
    "from_dlpack",
    "from_numpy",
    "full",
    "full_like",
    "linspace",
    "logspace",
    "ones",
    "ones_like",
    "scalar_tensor",
    "tensor",
    "zeros",
    "zeros_like",
]


def tensor(data: Any, requires_grad: bool = False, dtype: Any = None, device: Any = None) -> Tensor:
    """A leaf tensor with a copy of `data`: a number, nested list, array or tensor.

    float64 becomes the default float (float32) unless `dtype` says otherwise.

    Raises:
        RuntimeError: `requires_grad` with an explicit integer or boolean `dtype`.

    >>> import chainrule as cr
    >>> cr.tensor([1, 2], dtype=cr.float64, requires_grad=True)
    Tensor(array([1., 2.]), requires_grad=True)
    """
    if isinstance(data, Tensor):
        array = data.array.copy() if dtype is None else data.array.astype(as_numpy_dtype(dtype))
        return make_tensor(array, None).requires_grad_(requires_grad)
    array = as_array(data, dtype)
    if array is data or getattr(array, "base", None) is not None:
        array = array.copy()
    return Tensor(array, requires_grad=requires_grad, dtype=array.dtype if dtype is not None else None)


def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """`data` as a tensor of its own type, sharing memory where it can; a tensor of the right type is returned as is."""
    if isinstance(data, Tensor):
        if dtype is None or data.array.dtype == as_numpy_dtype(dtype):
            return data
        from ..core.forward import cast

        return cast(data, as_numpy_dtype(dtype))
    if isinstance(data, (np.ndarray, np.generic)) and dtype is None:
        return make_tensor(np.asarray(data), None)
    return make_tensor(as_array(data, dtype), None)


def from_numpy(ndarray: Any) -> Tensor:
    """A tensor on the array's own memory, in the array's own type.

    >>> import numpy as np
    >>> a = np.zeros(2)
    >>> t = from_numpy(a)
    >>> a[0] = 5
    >>> t
    Tensor(array([5., 0.]), requires_grad=False)
    """
    if not isinstance(ndarray, np.ndarray):
        raise TypeError(f"expected np.ndarray (got {type(ndarray).__name__})")
    return make_tensor(ndarray, None)


def from_dlpack(ext_tensor: Any) -> Tensor:
    """A tensor on the memory of another library's array, through DLPack; nothing is copied."""
    return make_tensor(np.from_dlpack(ext_tensor), None)


def _size(size: tuple[Any, ...]) -> tuple[int, ...]:
    if len(size) == 1 and isinstance(size[0], (tuple, list)):
        size = tuple(size[0])
    return tuple(int(n) for n in size)


def _new(array: Any, requires_grad: bool) -> Tensor:
    return make_tensor(array, None).requires_grad_(requires_grad)


def _dtype(dtype: Any) -> np.dtype[Any]:
    return default_float() if dtype is None else as_numpy_dtype(dtype)


def empty(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of the given size whose values are whatever the memory held."""
    return _new(np.empty(_size(size), _dtype(dtype)), requires_grad)


def zeros(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of zeros, `zeros(2, 3)` or `zeros((2, 3))`."""
    return _new(np.zeros(_size(size), _dtype(dtype)), requires_grad)


def ones(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of ones, `ones(2, 3)` or `ones((2, 3))`."""
    return _new(np.ones(_size(size), _dtype(dtype)), requires_grad)


def full(size: Any, fill_value: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor filled with one number; of the number's kind unless `dtype` says otherwise."""
    if isinstance(fill_value, Tensor):
        fill_value = fill_value.item()
    from ..core.dtypes import number_dtype

    wanted = number_dtype(fill_value) if dtype is None else as_numpy_dtype(dtype)
    shape = _size(tuple(size) if isinstance(size, (tuple, list)) else (size,))
    return _new(np.full(shape, fill_value, wanted), requires_grad)


def scalar_tensor(s: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A 0-d tensor."""
    return full((), s, _dtype(dtype), device, requires_grad)


def _like(input: Tensor, dtype: Any) -> Any:
    return input.array.dtype if dtype is None else as_numpy_dtype(dtype)


def zeros_like(input: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Zeros of a tensor's shape and type."""
    return _new(np.zeros_like(input.array, dtype=_like(input, dtype)), requires_grad)


def ones_like(input: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Ones of a tensor's shape and type."""
    return _new(np.ones_like(input.array, dtype=_like(input, dtype)), requires_grad)


def empty_like(input: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Whatever the memory held, in a tensor's shape and type."""
    return _new(np.empty_like(input.array, dtype=_like(input, dtype)), requires_grad)


def full_like(
    input: Any, fill_value: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """One number in a tensor's shape and type."""
    return _new(np.full_like(input.array, fill_value, dtype=_like(input, dtype)), requires_grad)


def arange(
    start: Any, end: Any = None, step: Any = 1, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """The numbers from `start` (0 if only one is given) up to but without `end`.

    >>> arange(0, 10, 4)
    Tensor(array([0, 4, 8]), requires_grad=False)
    """
    if end is None:
        start, end = 0, start
    start, end, step = (x.item() if isinstance(x, Tensor) else x for x in (start, end, step))
    if dtype is None and any(isinstance(x, float) for x in (start, end, step)):
        dtype = default_float()
    array = np.arange(start, end, step)
    return _new(array if dtype is None else array.astype(as_numpy_dtype(dtype)), requires_grad)


def linspace(
    start: Any, end: Any, steps: int, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """`steps` numbers at equal distances from `start` to `end`, both included."""
    start, end = (x.item() if isinstance(x, Tensor) else x for x in (start, end))
    return _new(np.linspace(start, end, steps).astype(_dtype(dtype)), requires_grad)


def logspace(
    start: Any,
    end: Any,
    steps: int,
    base: float = 10.0,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """`base` to the powers `linspace(start, end, steps)`."""
    return _new(np.logspace(start, end, steps, base=base).astype(_dtype(dtype)), requires_grad)


def eye(n: int, m: int | None = None, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """The (n, m) matrix with ones on the diagonal."""
    return _new(np.eye(n, m, dtype=_dtype(dtype)), requires_grad)
