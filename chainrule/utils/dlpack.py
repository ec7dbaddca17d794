"""torch.utils.dlpack's names: sharing memory with other libraries' arrays."""

from __future__ import annotations

from typing import Any

from ..core.tensor import Tensor
from ..ops import creation

__all__ = ["from_dlpack", "to_dlpack"]

ON_CPU = (1, 0)  # DLPack's device type and number


def to_dlpack(tensor: Tensor) -> Any:
    """A DLPack capsule for the tensor's memory; to be used once. Most libraries take the tensor itself.

    Raises:
        BufferError: the tensor requires grad.
    """
    return tensor.__dlpack__(max_version=(1, 0))


def from_dlpack(ext_tensor: Any) -> Tensor:
    """A tensor on the memory of another library's array, or of a capsule; nothing is copied.

    A capsule of the form before DLPack 1.0 does not say whether one may write to it, and gives a read-only tensor.

    >>> import numpy as np
    >>> a = np.zeros(2)
    >>> t = from_dlpack(a)
    >>> a[1] = 3
    >>> t.tolist()
    [0.0, 3.0]
    """
    return creation.from_dlpack(ext_tensor if hasattr(ext_tensor, "__dlpack__") else _Capsule(ext_tensor))


class _Capsule:
    """A capsule as an object with DLPack's methods, which is what NumPy takes."""

    def __init__(self, capsule: Any) -> None:
        if type(capsule).__name__ != "PyCapsule":
            raise TypeError(f"expected an array with __dlpack__ or a DLPack capsule, got {type(capsule).__name__}")
        self.capsule = capsule

    def __dlpack__(self, **options: Any) -> Any:
        return self.capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return ON_CPU
