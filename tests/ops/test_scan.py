"""Scans of complex numbers."""

from __future__ import annotations

import numpy as np

import chainrule as cr


def test_the_running_log_sum_of_complex_numbers_is_one_of_the_logarithms_and_keeps_its_turn() -> None:
    x = np.array([1 + 6j, 1 + 7j, 2 + 9j, -3 - 20j, 5 - 30j])
    found = cr.logcumsumexp(cr.tensor(x, dtype=cr.complex128), 0).numpy()
    np.testing.assert_allclose(np.exp(found), np.cumsum(np.exp(x)), rtol=1e-12)
    assert abs(found[-1].imag + 30) < 0.1, "next to the largest term's, not reduced to one turn"


def test_logaddexp_of_complex_numbers_takes_infinities() -> None:
    low, one = complex(-np.inf, 0), 1 + 1j
    x, y = (cr.tensor(np.array(v), dtype=cr.complex128) for v in ([low, low, one], [one, low, one]))
    found = cr.logaddexp(x, y).numpy()
    np.testing.assert_allclose(found, [one, low, one + np.log(2)])
