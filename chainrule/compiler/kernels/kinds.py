"""The types of kernels' parameters, written as Numba writes them, without Numba: `float32[:, ::1]`, `float64`."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["boolean", "float32", "float64", "given", "int32", "int64", "single", "uint8", "uint64"]


class NumberKind:
    """A type of numbers, and as `kind[:, ::1]` that of arrays of them."""

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def dtype(self) -> np.dtype[Any]:
        """NumPy's type."""
        return np.dtype({"boolean": "bool"}.get(self.name, self.name))

    def __getitem__(self, axes: slice | tuple[slice, ...]) -> ArrayKind:
        count = len(axes) if isinstance(axes, tuple) else 1
        return ArrayKind(self.name, count)

    def __call__(self, value: Any) -> Any:
        """The number in this type."""
        return self.dtype.type(value)

    def __repr__(self) -> str:
        return self.name


class ArrayKind(NumberKind):
    """A type of arrays whose elements are in order in memory."""

    def __init__(self, name: str, count: int, written: bool = True) -> None:
        super().__init__(name)
        self.count = count
        self.written = written

    def __repr__(self) -> str:
        axes = ", ".join([":"] * (self.count - 1) + ["::1"])
        text = f"{self.name}[{axes}]" if self.count else f"single({self.name})"
        return text if self.written else f"given({text})"


boolean, float32, float64 = map(NumberKind, ("boolean", "float32", "float64"))
int32, int64, uint8, uint64 = map(NumberKind, ("int32", "int64", "uint8", "uint64"))


def single(number: NumberKind) -> ArrayKind:
    """The type of an array without dimensions."""
    return ArrayKind(number.name, 0)


def given(array: ArrayKind) -> ArrayKind:
    """The type of an array that a kernel only reads."""
    return ArrayKind(array.name, array.count, written=False)


def kind_of(kind: Any) -> ArrayKind | NumberKind:
    """A type of this module or of Numba as one of this module.

    Raises:
        TypeError: kernels take no such arguments.
    """
    if isinstance(kind, NumberKind):
        return kind
    name = {"bool": "boolean"}.get(str(getattr(kind, "dtype", kind)), str(getattr(kind, "dtype", kind)))
    known = {"boolean", "float32", "float64", "int32", "int64", "uint8", "uint64"}
    if name in known and not hasattr(kind, "ndim"):
        return NumberKind(name)
    if name in known and kind.layout == "C":
        return ArrayKind(name, kind.ndim, kind.mutable)
    raise TypeError(f"a kernel takes numbers, and arrays whose elements are in order in memory, not {kind}")
