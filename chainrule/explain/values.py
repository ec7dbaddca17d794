"""Values as they are shown: small arrays with their numbers, larger ones summarised.

A `Value` is a copy: what happens to the array afterwards does not change it.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.tensor import Tensor
from ..func.batched import Batched

__all__ = ["SMALL", "Value", "number_text", "shape_text", "value_of"]

SMALL = 12  # elements that are shown one by one


@dataclass(slots=True, frozen=True)
class Value:
    """What is shown of an array.

    Attributes:
        shape: its shape.
        dtype: its element type by name.
        numbers: a number or nested lists, for small arrays; None for others.
        low, high, mean: of the finite elements, for large arrays; None where there are none or they are complex.
        nans, infinities, zeros: how many elements are so.
    """

    shape: tuple[int, ...]
    dtype: str
    numbers: Any = None
    low: float | None = None
    high: float | None = None
    mean: float | None = None
    nans: int = 0
    infinities: int = 0
    zeros: int = 0

    @property
    def size(self) -> int:
        """The number of elements."""
        size = 1
        for length in self.shape:
            size *= length
        return size

    @property
    def finite(self) -> bool:
        """Whether there is no NaN and no infinity."""
        return not (self.nans or self.infinities)

    @property
    def all_zero(self) -> bool:
        """Whether there are elements, and all are 0."""
        return self.size > 0 and self.zeros == self.size

    @property
    def text(self) -> str:
        """The numbers, or the summary."""
        if self.numbers is not None:
            return _list_text(self.numbers)
        if not self.size:
            return "empty"
        parts = []
        if self.low is not None and self.low == self.high and self.finite:
            return f"all {number_text(self.low)}"
        if self.low is not None and self.high is not None and self.mean is not None:
            parts.append(f"from {number_text(self.low)} to {number_text(self.high)}, mean {number_text(self.mean)}")
        for count, what in ((self.nans, "NaN"), (self.infinities, "infinite"), (self.zeros, "zero")):
            if count:
                parts.append(f"all {what}" if count == self.size else f"{count} of {self.size} {what}")
        return ", ".join(parts) or "values not shown"

    @property
    def kind(self) -> str:
        """Shape and element type."""
        return f"{shape_text(self.shape)} {self.dtype}"

    def __str__(self) -> str:
        return self.text


def value_of(array: Any) -> Value:
    """What is to be shown of an array, a tensor or a number; of what a vmap computes, all samples."""
    if isinstance(array, Tensor):
        array = array.array
    if isinstance(array, (bool, int, float, complex, np.generic)):
        array = np.asarray(array)
    while isinstance(array, Batched):  # all the samples
        array = array.values
    if not isinstance(array, np.ndarray):  # of another library, several outputs, or overwritten
        shape = getattr(array, "shape", None)
        return Value(
            tuple(shape) if isinstance(shape, tuple) else (), str(getattr(array, "dtype", type(array).__name__))
        )
    shape, dtype = array.shape, _dtype_name(array.dtype)
    size = array.size
    if size <= SMALL:
        numbers: Any = array.tolist() if size else None
        if not shape and type(numbers) is float:  # a long chain of single numbers has many
            if numbers != 0.0 and numbers - numbers == 0.0:
                return Value(shape, dtype, numbers)
        nans = infinities = zeros = 0
        for number in _flat(numbers) if size else ():
            zeros += number == 0
            nans += number != number
            infinities += abs(number) == float("inf")
        return Value(shape, dtype, numbers, nans=nans, infinities=infinities, zeros=zeros)
    zeros = size - int(np.count_nonzero(array))
    if array.dtype.kind not in "fc":
        if array.dtype.kind == "b":
            return Value(shape, dtype, zeros=zeros)
        return Value(shape, dtype, None, float(array.min()), float(array.max()), float(array.mean()), zeros=zeros)
    finite = np.isfinite(array)
    count = int(np.count_nonzero(finite))
    nans = 0 if count == size else int(np.count_nonzero(np.isnan(array)))
    infinities = size - count - nans
    if array.dtype.kind == "c" or not count:
        return Value(shape, dtype, nans=nans, infinities=infinities, zeros=zeros)
    kept = array if count == size else array[finite]
    mean = float(kept.mean(dtype=np.float64))
    return Value(shape, dtype, None, float(kept.min()), float(kept.max()), mean, nans, infinities, zeros)


@functools.cache
def _dtype_name(dtype: Any) -> str:
    return str(dtype.name)  # NumPy composes it anew each time


def _flat(numbers: Any) -> Any:
    if not isinstance(numbers, list):
        yield numbers
        return
    for item in numbers:
        yield from _flat(item)


def _list_text(numbers: Any) -> str:
    if isinstance(numbers, list):
        return "[" + ", ".join(map(_list_text, numbers)) + "]"
    return number_text(numbers)


def number_text(number: Any) -> str:
    """A number in up to five digits.

    >>> number_text(2.0), number_text(1 / 3), number_text(1e-9), number_text(1 + 2j), number_text(True)
    ('2', '0.33333', '1e-09', '1+2j', 'True')
    """
    if isinstance(number, (bool, np.bool_)):
        return str(bool(number))
    if isinstance(number, (int, np.integer)):
        return str(int(number))
    if isinstance(number, (complex, np.complexfloating)):
        return f"{number.real:.5g}{number.imag:+.5g}j"
    return f"{float(number):.5g}"


def shape_text(shape: Any) -> str:
    """A shape as a tuple."""
    return str(tuple(int(length) for length in shape))
