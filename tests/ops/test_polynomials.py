"""Orthogonal polynomials."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr


@pytest.mark.parametrize("kind", "vw")
def test_a_degree_is_cut_to_an_integer_before_it_is_used(kind: str) -> None:
    polynomial = getattr(cr.special, f"chebyshev_polynomial_{kind}")
    x = cr.tensor([-0.5, 0.25, 2.0])
    for degree in (0.5, 1.9, 3.2):
        np.testing.assert_array_equal(polynomial(x, degree).numpy(), polynomial(x, int(degree)).numpy())
    np.testing.assert_array_equal(polynomial(x, 0.5).numpy(), 1)
