"""`Parameter`: a tensor that a module registers when it is assigned as an attribute; `Buffer`: one not trained."""

from __future__ import annotations

from typing import Any

from ..core.tensor import Alias, Tensor, as_array, storage_of

__all__ = ["Buffer", "Parameter"]


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
        self.grad = None
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
        self.grad = None
        self._node = None
        self._alias = Alias(storage_of(data)) if isinstance(data, Tensor) else None
        self.persistent = persistent
