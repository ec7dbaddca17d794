"""`Parameter`: a tensor that a module registers when it is assigned as an attribute; `Buffer`: one not trained."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np

from ..core.dtypes import as_numpy_dtype, default_float
from ..core.tensor import Alias, Tensor, as_array, make_tensor, storage_of

__all__ = ["Buffer", "Parameter", "UninitializedBuffer", "UninitializedParameter", "is_lazy"]


class Parameter(Tensor):
    """A leaf tensor on the memory of `data` that a `Module` counts among its parameters.

    Args:
        data: a tensor, array, number or list; an empty tensor if left out.
        requires_grad: whether it is trained.

    Raises:
        RuntimeError: `data` holds integers and `requires_grad` is True.

    >>> Parameter([1.0, 2.0])
    Parameter containing:
    Tensor(array([1., 2.], dtype=float32), requires_grad=True)
    """

    def __init__(self, data: Any = None, requires_grad: bool = True) -> None:
        self.array = as_array([] if data is None else data)
        self._grad = None
        self._node = None
        self._alias = Alias(storage_of(data)) if isinstance(data, Tensor) else None
        if requires_grad:
            self.requires_grad_()

    def __repr__(self) -> str:
        return f"Parameter containing:\n{super().__repr__()}"


class Buffer(Tensor):
    """A tensor that a `Module` counts among its buffers: part of its state, but not trained.

    Args:
        data: a tensor, array, number or list.
        persistent: whether it is part of the module's state_dict.
    """

    def __init__(self, data: Any = None, *, persistent: bool = True) -> None:
        self.array = as_array([] if data is None else data)
        self._grad = None
        self._node = None
        self._alias = Alias(storage_of(data)) if isinstance(data, Tensor) else None
        self.persistent = persistent


class UninitializedTensor(Tensor):
    """What uninitialized parameters and buffers share: a type, but no shape yet."""

    becomes: type[Tensor]

    def materialize(self, shape: Any, device: Any = None, dtype: Any = None) -> None:
        """Get a shape, and become an ordinary parameter or buffer with arbitrary values."""
        wanted = self.array.dtype if dtype is None else as_numpy_dtype(dtype)
        self.array = np.zeros(tuple(shape), wanted)
        self.__class__ = self.becomes  # type: ignore[assignment]

    @property
    def shape(self) -> NoReturn:
        """Not known yet.

        Raises:
            RuntimeError: always.
        """
        raise RuntimeError(
            "Can't access the shape of an uninitialized parameter or buffer. Call the module once, so that `forward` "
            "initializes them, before accessing their attributes"
        )

    def detach(self) -> Tensor:
        """The tensor itself: there is nothing to share yet."""
        return self

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        copied = type(self)(dtype=self.array.dtype, **self._settings())
        memo[id(self)] = copied
        return copied

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild_uninitialized, (type(self), self.array.dtype, self._settings())

    def _settings(self) -> dict[str, Any]:
        return {}


def _rebuild_uninitialized(kind: type[UninitializedTensor], dtype: Any, settings: dict[str, Any]) -> Tensor:
    return kind(dtype=dtype, **settings)


class UninitializedParameter(UninitializedTensor, Parameter):
    """A parameter whose shape is found at the first call of its module."""

    becomes = Parameter

    def __init__(self, requires_grad: bool = True, device: Any = None, dtype: Any = None) -> None:
        kind = default_float() if dtype is None else as_numpy_dtype(dtype)
        super().__init__(make_tensor(np.zeros(0, kind), None), requires_grad)

    def _settings(self) -> dict[str, Any]:
        return {"requires_grad": self.requires_grad}


class UninitializedBuffer(UninitializedTensor, Buffer):
    """A buffer whose shape is found at the first call of its module."""

    becomes = Buffer

    def __init__(
        self, requires_grad: bool = False, device: Any = None, dtype: Any = None, persistent: bool = True
    ) -> None:
        kind = default_float() if dtype is None else as_numpy_dtype(dtype)
        super().__init__(make_tensor(np.zeros(0, kind), None), persistent=persistent)

    def _settings(self) -> dict[str, Any]:
        return {"persistent": self.persistent}


def is_lazy(tensor: Any) -> bool:
    """Whether a parameter or buffer has no shape yet."""
    return isinstance(tensor, UninitializedTensor)
