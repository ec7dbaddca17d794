"""Samples for running sums, products and differences."""

from __future__ import annotations

import numpy as np

from chainrule.ops.scan import _logcumsumexp, linear_recurrence

from .common import Sample, complex_normal, normal, positive

WITH_ZEROS = positive(3, 5)
WITH_ZEROS[0, 1] = WITH_ZEROS[1, [0, 3]] = 0.0

SAMPLES = [
    Sample(function, args, kwargs)
    for function in (np.cumsum, np.cumprod)
    for args, kwargs in [
        ((normal(5),), {"axis": 0}),
        ((normal(3, 4),), {"axis": -1}),
        ((normal(3, 4),), {}),
        ((complex_normal(3, 2),), {"axis": 0}),
    ]
]
SAMPLES += [
    Sample(np.cumprod, (WITH_ZEROS,), {"axis": 1}),
    Sample(_logcumsumexp, (normal(6), 0)),
    Sample(_logcumsumexp, (normal(3, 4) * 5, 1)),
    Sample(_logcumsumexp, (complex_normal(4), 0)),
    Sample(linear_recurrence, (normal(7), normal(7, seed=1), 0)),
    Sample(linear_recurrence, (normal(2, 4, 2), normal(2, 4, 2, seed=1), 1)),
    Sample(linear_recurrence, (normal(3, 6), normal(3, 6, seed=1), -1, True)),
    Sample(linear_recurrence, (normal(1, 2), normal(1, 2, seed=1), 0)),
    Sample(np.diff, (normal(6),)),
    Sample(np.diff, (normal(3, 5),), {"n": 2, "axis": 0}),
    Sample(np.diff, (normal(3, 5),), {"n": 3, "axis": 1}),
    Sample(np.diff, (normal(2, 3),), {"n": 2, "axis": 0}),
]
