"""Whole numbers in compiled functions: quotients, zeros, and the smallest number of a type."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr

Function = Callable[..., Any]

# (of tensors, of Python's numbers)
QUOTIENTS: dict[str, tuple[Function, Function]] = {
    "//": (lambda a, b: a // b, lambda a, b: a // b),
    "%": (lambda a, b: a % b, lambda a, b: a % b),
    "remainder": (cr.remainder, lambda a, b: a % b),
    "floor_divide": (lambda a, b: np.floor_divide(a, b), lambda a, b: a // b),
    "divmod": (lambda a, b: divmod(a, b)[1], lambda a, b: divmod(a, b)[1]),
    "div, floor": (lambda a, b: cr.div(a, b, rounding_mode="floor"), lambda a, b: a // b),
    "div, trunc": (lambda a, b: cr.div(a, b, rounding_mode="trunc"), lambda a, b: int(a / b)),
    "fmod": (cr.fmod, lambda a, b: a - b * int(a / b)),
    "written in place": (lambda a, b: a.clone().floor_divide_(b), lambda a, b: a // b),
    "of a number": (lambda a, b: 100 // b, lambda a, b: 100 // b),
}
TENS = [7, -7, 5, 0, -3, 100]
UNITS = [2, 2, -3, 5, -3, 7]


@pytest.mark.parametrize("kind", [cr.int64, cr.int32, cr.int8])
@pytest.mark.parametrize("name", QUOTIENTS)
def test_quotients_of_integers_are_pythons(name: str, kind: Any) -> None:
    function, of_numbers = QUOTIENTS[name]
    a, b = cr.tensor(TENS, dtype=kind), cr.tensor(UNITS, dtype=kind)
    out = cr.compile(function)(a, b)
    assert out.dtype == kind
    assert out.tolist() == [of_numbers(x, y) for x, y in zip(TENS, UNITS, strict=True)]


@pytest.mark.parametrize("name", sorted(QUOTIENTS.keys() - {"floor_divide"}))  # of NumPy, which warns and gives 0
def test_a_zero_among_the_divisors_raises_when_the_program_runs(name: str) -> None:
    a, b = cr.tensor(TENS), cr.tensor(UNITS)
    zero = cr.tensor([2, 0, -3, 5, -3, 7])
    compiled = cr.compile(QUOTIENTS[name][0])
    compiled(a, b)
    for function in (QUOTIENTS[name][0], compiled):
        with pytest.raises(RuntimeError, match="ZeroDivisionError: an integer tensor is divided by 0"):
            function(a, zero)
    assert compiled.traces == 1


@pytest.mark.parametrize("kernels", [True, False])
@pytest.mark.parametrize("kind", [np.int8, np.int16, np.int32, np.int64])
def test_the_smallest_integer_has_no_opposite_in_its_type(
    kind: Any, kernels: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHAINRULE_KERNELS", str(int(kernels)))
    low = int(np.iinfo(kind).min)
    numbers = [low, low + 1, -1, 0, 5] * 200
    compiled = cr.compile(lambda a: (-a, abs(a), (-a) * 3 + a, cr.where(a > 0, a, -a) - 1))
    found = compiled(cr.from_numpy(np.array(numbers, kind)))

    def wrapped(x: int) -> int:
        return (x - low) % (-2 * low) + low

    expected = [
        [wrapped(-x) for x in numbers],
        [wrapped(abs(x)) for x in numbers],
        [wrapped(-2 * x) for x in numbers],
        [wrapped((x if x > 0 else wrapped(-x)) - 1) for x in numbers],
    ]
    assert [x.tolist() for x in found] == expected
