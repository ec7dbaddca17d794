"""Samples of sums, products and quotients."""

from __future__ import annotations

import numpy as np

from .common import Sample, complex_normal, normal, positive

SAMPLES = [
    *(
        Sample(function, args)
        for function in (np.add, np.subtract, np.multiply, np.true_divide)
        for args in (
            (normal(3, 2), positive(3, 2)),
            (normal(2), positive(4, 2)),
            (normal(2, 1, 3), positive(5, 1, 2, 4, 3)),
            (normal(), positive(3)),
            (normal(0, 1), positive(0, 5)),
            (normal(3), 2.5),
            (complex_normal(3), complex_normal(2, 3)),
            (normal(6)[::-2], positive(2, 3).T[:, :1].T[0]),
        )
    ),
    *(Sample(function, (2.0, positive(3))) for function in (np.add, np.subtract, np.multiply, np.true_divide)),
    *(
        Sample(function, (x,))
        for function in (np.negative, np.positive, np.reciprocal)
        for x in (positive(3, 2), positive(), complex_normal(2))
    ),
    Sample(np.astype, (normal(3), np.float64)),
    Sample(np.astype, (normal(3), np.complex128)),
]
