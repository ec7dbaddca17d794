"""An array type that speaks NumPy's protocols and refuses conversion to ndarray, as arrays on a GPU do."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin


def wrap(value: Any) -> Any:
    if isinstance(value, (np.ndarray, np.generic)):
        return DuckArray(np.asarray(value))
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(wrap, value))
    if isinstance(value, (tuple, list)):
        return type(value)(map(wrap, value))
    return value


def unwrap(value: Any) -> Any:
    if isinstance(value, DuckArray):
        return value.hidden
    if isinstance(value, (tuple, list)):
        return type(value)(map(unwrap, value))
    if isinstance(value, dict):
        return {key: unwrap(item) for key, item in value.items()}
    return value


class DuckArray(NDArrayOperatorsMixin):
    """Wraps an ndarray that only its own methods may touch."""

    device = "duck:0"

    def __init__(self, hidden: np.ndarray) -> None:
        self.hidden = hidden

    def __array__(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError("implicit conversion to a NumPy array is not allowed")

    __float__ = __int__ = __array__

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return wrap(getattr(ufunc, method)(*map(unwrap, inputs), **unwrap(kwargs)))

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return wrap(func(*unwrap(args), **unwrap(kwargs)))

    shape = property(lambda self: self.hidden.shape)
    ndim = property(lambda self: self.hidden.ndim)
    size = property(lambda self: self.hidden.size)
    dtype = property(lambda self: self.hidden.dtype)
    T = property(lambda self: DuckArray(self.hidden.T))

    def astype(self, dtype: Any, copy: bool = True) -> DuckArray:
        return DuckArray(self.hidden.astype(dtype, copy=copy))

    def copy(self) -> DuckArray:
        return DuckArray(self.hidden.copy())

    def reshape(self, *shape: Any) -> DuckArray:
        return DuckArray(self.hidden.reshape(*shape))

    def __getitem__(self, index: Any) -> DuckArray:
        return wrap(self.hidden[unwrap(index)])

    def __setitem__(self, index: Any, value: Any) -> None:
        self.hidden[unwrap(index)] = unwrap(value)

    def __len__(self) -> int:
        return len(self.hidden)

    def __repr__(self) -> str:
        return f"DuckArray(shape={self.shape}, dtype={self.dtype})"
