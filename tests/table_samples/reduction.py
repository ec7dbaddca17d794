"""Samples for reductions."""

from __future__ import annotations

import math

import numpy as np

from chainrule.ops.reduction import _logsumexp, spread, vector_norm

from .common import Sample, between, complex_normal, distinct, normal, positive


def _with(array: np.ndarray, value: float, *index: object) -> np.ndarray:
    array = array.copy()
    array[index] = value
    return array


ANY_AXES = [{}, {"axis": 1}, {"axis": (0, 2)}, {"axis": -1, "keepdims": True}, {"keepdims": True}]

SAMPLES = [
    Sample(function, args, kwargs)
    for function in (np.sum, np.mean, np.prod, np.max, np.min, np.var, np.std)
    for args, kwargs in [((distinct(2, 3, 2) / 4,), kwargs) for kwargs in ANY_AXES]
]
SAMPLES += [
    Sample(function, args)
    for function in (np.sum, np.mean, np.prod, np.max, np.min)
    for args in [(np.array(1.5),), (normal(1),)]
]
SAMPLES += [
    Sample(function, (complex_normal(3, 2),), {"axis": 0}) for function in (np.sum, np.mean, np.prod, np.var, np.std)
]
SAMPLES += [
    Sample(np.sum, (normal(0, 3),), {"axis": 0}),
    Sample(np.prod, (_with(positive(5), 0.0, 2),)),
    Sample(np.prod, (_with(positive(3, 4), 0.0, slice(None), slice(1, 3)),), {"axis": 1}),
    Sample(np.var, (normal(4, 3),), {"axis": 0, "ddof": 1}),
    Sample(np.std, (normal(4, 3),), {"axis": (0, 1), "ddof": 1, "keepdims": True}),
    Sample(np.nansum, (_with(normal(3, 4), np.nan, 1, 2),), {"axis": 1}),
    Sample(np.nansum, (normal(3),)),
    Sample(spread, (normal(3), (2, 3, 4)), {"axis": (0, 2)}),
    Sample(spread, (np.array(2.0), (2, 3))),
    Sample(spread, (normal(2, 1), (2, 3)), {"axis": 1, "keepdims": True}),
]
SAMPLES += [
    Sample(vector_norm, (distinct(3, 4) / 3,), {"ord": p, **kwargs})
    for p in (2, 1, 3, 1.5, 0.5, -1, 0, math.inf, -math.inf)
    for kwargs in ({}, {"axis": 1}, {"axis": (0, 1), "keepdims": True})
]
SAMPLES += [Sample(vector_norm, (complex_normal(3, 2),), {"ord": p, "axis": 0}) for p in (2, 1, 3, math.inf)]
SAMPLES += [
    Sample(vector_norm, (np.array(-1.5),)),
    Sample(vector_norm, (np.array([0.0, 1.0, -2.0]),), {"ord": 3}),
]
SAMPLES += [Sample(_logsumexp, (between(-3, 3, 2, 3, 2),), kwargs) for kwargs in ANY_AXES]
SAMPLES += [Sample(_logsumexp, (np.array(0.5),)), Sample(_logsumexp, (complex_normal(4),))]
