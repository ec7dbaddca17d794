"""PyTorch's old names for typed tensors: `FloatTensor(...)`, `LongTensor(...)`, and their names as text."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.dtypes import as_dtype, default_float, set_default_dtype
from ..core.tensor import Size, Tensor, as_array, make_tensor

__all__ = ["set_default_tensor_type"]

TYPE_NAMES = {
    "float32": "FloatTensor",
    "float64": "DoubleTensor",
    "float16": "HalfTensor",
    "int64": "LongTensor",
    "int32": "IntTensor",
    "int16": "ShortTensor",
    "int8": "CharTensor",
    "uint8": "ByteTensor",
    "bool": "BoolTensor",
    "complex64": "ComplexFloatTensor",
    "complex128": "ComplexDoubleTensor",
}


class TensorType(type):
    """The class of `FloatTensor` and its like: calling one makes a `Tensor`, and `isinstance` looks at its type.

    >>> import chainrule as cr
    >>> cr.LongTensor([1, 2]), isinstance(cr.zeros(2), cr.FloatTensor), cr.FloatTensor(2, 3).shape
    (Tensor(array([1, 2]), requires_grad=False), True, (2, 3))
    """

    kind: np.dtype[Any]
    home: str

    def __call__(cls, *args: Any, **kwargs: Any) -> Tensor:
        if cls.home != "torch.":
            raise TypeError(f"type {cls} is not available: there is no such device; ask is_available() first")
        kwargs.pop("device", None)
        if kwargs or (len(args) > 1 and not all(isinstance(n, int) for n in args)):
            raise TypeError(f"{cls.__name__}() takes sizes, or one list, array or tensor, got {args} {kwargs or ''}")
        if not args or isinstance(args[0], (int, Size)):
            size = args[0] if args and isinstance(args[0], Size) else args or (0,)
            return make_tensor(np.empty(size, cls.kind), None)
        if isinstance(args[0], Tensor):
            return Tensor(args[0], dtype=cls.kind)
        return make_tensor(np.array(as_array(args[0], cls.kind)), None)

    def __instancecheck__(cls, instance: object) -> bool:
        return cls.home == "torch." and isinstance(instance, Tensor) and bool(instance.array.dtype == cls.kind)

    def __str__(cls) -> str:
        return cls.home + cls.__name__

    def __repr__(cls) -> str:
        return f"<class '{cls}'>"

    @property
    def dtype(cls) -> Any:
        """The element type."""
        return as_dtype(cls.kind)


def typed_tensors(home: str) -> dict[str, TensorType]:
    """The classes for all types, by name, as `home`, such as "torch." or "torch.cuda.", has them."""
    return {
        name: TensorType(name, (), {"kind": np.dtype(kind), "home": home, "__doc__": f"Tensors of {kind}."})
        for kind, name in TYPE_NAMES.items()
    }


def kind_of(name: Any) -> Any:
    """The element type for a tensor class, or for a name such as "torch.FloatTensor"; anything else as it is.

    Raises:
        TypeError: the class is of another device.
    """
    if name is Tensor:
        return default_float()
    if isinstance(name, TensorType) or (isinstance(name, str) and name.endswith("Tensor")):
        home, _, short = str(name).rpartition(".")
        for kind, theirs in TYPE_NAMES.items():
            if theirs == short and home in ("torch", ""):
                return np.dtype(kind)
        if home in ("torch", "") and short == "Tensor":
            return default_float()
        raise TypeError(f"type {name} is not available: tensors live on the cpu, in types such as torch.FloatTensor")
    return name


def set_default_tensor_type(t: Any) -> None:
    """Choose the default floating type by a tensor class or its name.

    >>> import chainrule as cr
    >>> cr.set_default_tensor_type("torch.DoubleTensor")
    >>> cr.zeros(1).dtype
    chainrule.float64
    >>> cr.set_default_tensor_type(cr.FloatTensor)
    """
    set_default_dtype(kind_of(t))


globals().update(typed_tensors("torch."))
__all__ += TYPE_NAMES.values()
