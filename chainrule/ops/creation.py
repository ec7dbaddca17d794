"""New tensors: from data, filled, ranges, random numbers."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from ..core.dtypes import as_numpy_dtype, default_float
from ..core.tensor import Tensor, as_array, check_device, is_array, make_tensor
from ..core.tracing import as_it_is, lift
from .common import numbers_as
from .out import write_out

__all__ = [
    "arange",
    "as_tensor",
    "asarray",
    "empty",
    "empty_like",
    "empty_permuted",
    "empty_strided",
    "eye",
    "from_dlpack",
    "from_numpy",
    "frombuffer",
    "full",
    "full_like",
    "linspace",
    "logspace",
    "ones",
    "ones_like",
    "range",
    "scalar_tensor",
    "tensor",
    "zeros",
    "zeros_like",
]

Function = TypeVar("Function", bound=Callable[..., Any])
PLACEMENT = frozenset(("layout", "pin_memory", "memory_format", "names"))  # where and how: there is one way here


def factory(function: Function) -> Function:
    """Let a function that makes tensors take PyTorch's further keywords: `device`, `out`, `size`, `layout`, ...

    Raises:
        RuntimeError: a device that is not the cpu.
    """

    @functools.wraps(function)
    def making(*args: Any, **kwargs: Any) -> Any:
        if not kwargs:
            return lift(function(*args))
        check_device(kwargs.get("device"))
        out = kwargs.pop("out", None)
        if not PLACEMENT.isdisjoint(kwargs):
            kwargs = {name: value for name, value in kwargs.items() if name not in PLACEMENT}
        if "size" in kwargs and not args and "size" in _VARIADIC[function]:
            args = (kwargs.pop("size"),)
        result = function(*args, **kwargs)
        return lift(result) if out is None else write_out(out, result, function.__name__)

    _VARIADIC[function] = {"size"} if function.__code__.co_flags & 4 else set()  # 4: it takes *size
    return making  # type: ignore[return-value]


_VARIADIC: dict[Any, set[str]] = {}


@factory
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


@factory
def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """`data` as a tensor of its own type, sharing memory where it can; a tensor of the right type is returned as is."""
    if isinstance(data, Tensor):
        if dtype is None or data.array.dtype == as_numpy_dtype(dtype):
            return data
        from ..core.forward import cast

        return cast(data, as_numpy_dtype(dtype))
    if isinstance(data, (np.ndarray, np.generic)) and dtype is None and data.dtype.isnative:
        return make_tensor(np.asarray(data), None)
    if dtype is None and (is_array(data) or isinstance(data, np.generic)):
        dtype = data.dtype.newbyteorder("=")
    return make_tensor(as_array(data, dtype), None)


def from_numpy(ndarray: Any) -> Tensor:
    """A tensor on the array's own memory, in the array's own type.

    Raises:
        TypeError: it is no array of NumPy's.
        ValueError: its bytes stand in another order than this machine's.

    >>> import numpy as np
    >>> a = np.zeros(2)
    >>> t = from_numpy(a)
    >>> a[0] = 5
    >>> t
    Tensor(array([5., 0.]), requires_grad=False)
    """
    if not isinstance(ndarray, np.ndarray) and as_it_is(ndarray) is not ndarray:
        raise TypeError(f"expected np.ndarray (got {type(ndarray).__name__})")
    if not ndarray.dtype.isnative:
        raise ValueError(
            f"given numpy array has byte order different from the native byte order: {ndarray.dtype.str}. Its memory "
            "cannot be shared: use chainrule.tensor, which copies and converts"
        )
    return make_tensor(as_it_is(ndarray), None)  # an np.memmap as a plain view of its memory


def frombuffer(buffer: Any, *, dtype: Any, count: int = -1, offset: int = 0, requires_grad: bool = False) -> Tensor:
    """A 1-d tensor on the memory of an object such as `bytes`, a `bytearray` or a `memoryview`.

    Raises:
        ValueError: the buffer is too small, or is no whole number of elements.

    >>> import chainrule as cr
    >>> cr.frombuffer(bytearray([1, 0, 2, 0]), dtype=cr.int16).tolist()
    [1, 2]
    """
    return _new(np.frombuffer(buffer, as_numpy_dtype(dtype), count, offset), requires_grad)


def asarray(
    obj: Any, *, dtype: Any = None, device: Any = None, copy: bool | None = None, requires_grad: bool = False
) -> Tensor:
    """`obj` as a tensor, on its own memory where it can be unless `copy` is True.

    Raises:
        ValueError: `copy` is False and a copy is needed.
    """
    check_device(device)
    result = as_tensor(obj, dtype)
    shared = result is obj or (isinstance(obj, np.ndarray) and np.may_share_memory(result.array, obj))
    if copy is False and not shared:
        raise ValueError("asarray(): a copy is needed, and copy=False was given")
    if copy and shared:
        result = make_tensor(result.array.copy(), None)
    return result.requires_grad_() if requires_grad else result


def from_dlpack(ext_tensor: Any) -> Tensor:
    """A tensor on the memory of another library's array, through DLPack; nothing is copied."""
    return make_tensor(np.from_dlpack(ext_tensor), None)


def sizes_of(size: tuple[Any, ...]) -> tuple[int, ...]:
    """`f(2, 3)` and `f((2, 3))` as (2, 3).

    Raises:
        RuntimeError: a negative size.
    """
    if len(size) == 1 and isinstance(size[0], (tuple, list)):
        size = tuple(size[0])
    shape = tuple(int(n) for n in size)
    if any(n < 0 for n in shape):
        raise RuntimeError(f"Trying to create tensor with negative dimension: {shape}")
    return shape


def _new(array: Any, requires_grad: bool) -> Tensor:
    return make_tensor(array, None).requires_grad_(requires_grad)


def _dtype(dtype: Any) -> np.dtype[Any]:
    return default_float() if dtype is None else as_numpy_dtype(dtype)


@factory
def empty(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of the given size whose values are whatever the memory held."""
    return _new(np.empty(sizes_of(size), _dtype(dtype)), requires_grad)


@factory
def zeros(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of zeros, `zeros(2, 3)` or `zeros((2, 3))`."""
    return _new(np.zeros(sizes_of(size), _dtype(dtype)), requires_grad)


@factory
def ones(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of ones, `ones(2, 3)` or `ones((2, 3))`."""
    return _new(np.ones(sizes_of(size), _dtype(dtype)), requires_grad)


@factory
def full(size: Any, fill_value: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor filled with one number; of the number's kind unless `dtype` says otherwise."""
    if isinstance(fill_value, Tensor):
        fill_value = fill_value.item()
    from ..core.dtypes import number_dtype

    wanted = number_dtype(fill_value) if dtype is None else as_numpy_dtype(dtype)
    shape = sizes_of(tuple(size) if isinstance(size, (tuple, list)) else (size,))
    return _new(np.full(shape, _fitting(fill_value, wanted), wanted), requires_grad)


@factory
def scalar_tensor(s: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A 0-d tensor."""
    return full((), s, _dtype(dtype), device, requires_grad)


def _fitting(number: Any, kind: np.dtype[Any]) -> Any:
    """A number that is to fill a tensor of a type; complex ones do not fit real types."""
    return numbers_as(number, kind) if isinstance(number, complex) else number


def _like(input: Tensor, dtype: Any) -> Any:
    return input.array.dtype if dtype is None else as_numpy_dtype(dtype)


@factory
def zeros_like(input: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Zeros of a tensor's shape and type."""
    return _new(np.zeros_like(input.array, dtype=_like(input, dtype)), requires_grad)


@factory
def ones_like(input: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Ones of a tensor's shape and type."""
    return _new(np.ones_like(input.array, dtype=_like(input, dtype)), requires_grad)


@factory
def empty_like(input: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Whatever the memory held, in a tensor's shape and type."""
    return _new(np.empty_like(input.array, dtype=_like(input, dtype)), requires_grad)


@factory
def full_like(
    input: Any, fill_value: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """One number in a tensor's shape and type."""
    kind = _like(input, dtype)
    return _new(np.full_like(input.array, _fitting(fill_value, kind), dtype=kind), requires_grad)


@factory
def arange(
    start: Any = None,
    end: Any = None,
    step: Any = 1,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """The numbers from `start` (0 if only one is given) up to but without `end`.

    Raises:
        RuntimeError: `step` is 0, or leads away from `end`.

    >>> arange(0, 10, 4)
    Tensor(array([0, 4, 8]), requires_grad=False)
    """
    if end is None or start is None:  # one limit, by either name
        start, end = 0, (start if end is None else end)
    if end is None:
        raise TypeError("arange() missing 1 required positional argument: 'end'")
    start, end, step = (x.item() if isinstance(x, Tensor) else x for x in (start, end, step))
    if step == 0 or (end - start) * step < 0:
        trouble = "step must be nonzero" if step == 0 else "upper bound and lower bound inconsistent with step sign"
        raise RuntimeError(f"arange: {trouble}, got start {start}, end {end}, step {step}")
    if dtype is None and any(isinstance(x, float) for x in (start, end, step)):
        dtype = default_float()
    array = np.arange(start, end, step)
    return _new(array if dtype is None else array.astype(as_numpy_dtype(dtype)), requires_grad)


@factory
def range(
    start: Any, end: Any = None, step: Any = 1, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """The numbers from `start` to `end`, with both; floating. `arange`, without the end, is what PyTorch advises."""
    warnings.warn("range is deprecated, since it includes its end: use arange", UserWarning, stacklevel=3)
    if end is None:
        start, end = 0, start
    steps = int(np.floor((end - start) / step)) + 1
    return _new((start + np.arange(steps) * step).astype(_dtype(dtype)), requires_grad)


@factory
def empty_strided(size: Any, stride: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Whatever the memory held, in a shape and with strides, in elements."""
    kind = _dtype(dtype)
    length = 1 + sum((n - 1) * s for n, s in zip(size, stride, strict=True)) if np.prod(size) else 0
    bytes_ = tuple(s * kind.itemsize for s in stride)
    return _new(np.lib.stride_tricks.as_strided(np.empty(length, kind), tuple(size), bytes_), requires_grad)


@factory
def empty_permuted(
    size: Any, physical_layout: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """Whatever the memory held, in a shape, with the axes in another order in memory."""
    array = np.empty([size[axis] for axis in physical_layout], _dtype(dtype))
    return _new(np.transpose(array, np.argsort(physical_layout)), requires_grad)


@factory
def linspace(
    start: Any, end: Any, steps: int, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """`steps` numbers at equal distances from `start` to `end`, both included."""
    start, end = (x.item() if isinstance(x, Tensor) else x for x in (start, end))
    return _new(np.linspace(start, end, steps).astype(_dtype(dtype)), requires_grad)


@factory
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
    start, end = (x.item() if isinstance(x, Tensor) else x for x in (start, end))
    return _new(np.logspace(start, end, steps, base=base).astype(_dtype(dtype)), requires_grad)


@factory
def eye(n: int, m: int | None = None, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """The (n, m) matrix with ones on the diagonal."""
    rows, columns = sizes_of((n, n if m is None else m))
    return _new(np.eye(rows, columns, dtype=_dtype(dtype)), requires_grad)
