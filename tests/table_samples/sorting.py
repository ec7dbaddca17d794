"""Samples for taking elements at computed positions, and for medians."""

from __future__ import annotations

import numpy as np

from chainrule.ops.selection import add_along, permute_along, select, take_along
from chainrule.ops.sorting import lower_median, lower_nanmedian

from .common import Sample, complex_normal, distinct, normal

PERMUTATIONS = np.argsort(normal(3, 4, seed=5), axis=1)

# duck=False: positions on another device than the values are refused; test_sorting.py sorts arrays of another library
SAMPLES = [
    Sample(function, args, kwargs, duck=False)
    for function, args, kwargs in [
        (take_along, (normal(3, 4), np.array([[0, 0], [3, 1], [2, 2]]), 1), {}),
        (take_along, (complex_normal(3, 2), np.array([[0, 1], [0, 1]]), 0), {}),
        (add_along, (normal(3, 2), np.array([[0, 0], [3, 1], [2, 2]]), 4, 1), {}),
        (permute_along, (normal(3, 4), PERMUTATIONS, 1), {}),
        (permute_along, (normal(4), np.array([2, 0, 3, 1]), 0), {}),
        (select, (normal(3, 4), np.array([3, 0, 0]), 1), {}),
        (select, (normal(3, 4), np.array([2, 0, 0, 1]), 0), {"keepdims": True}),
        (select, (normal(4), np.array(2), 0), {}),
        (select, (normal(2, 3, 2), np.array([[0, 1], [2, 2]]), 1), {}),
    ]
]
SAMPLES += [
    Sample(lower_median, (distinct(3, 4),)),
    Sample(lower_nanmedian, (distinct(5),)),
]
