"""Samples of indexing, gathering and scattering."""

from __future__ import annotations

import numpy as np

from chainrule.ops import indexing as ops

from .common import Sample, complex_normal, distinct, normal

MASK = np.array([[True, False, True], [False, False, True]])
SOME = np.array([2, 0, 2, 1])
FOR_EACH = np.array([[0, 2, 2], [1, 0, 1]])
BELOW_ZERO = np.array([-1, 0, -1])

INDICES = [
    (1, ...),
    (0, 2, ...),
    (slice(None), slice(None, None, 2)),
    (slice(None, None, -1), 1),
    (..., None, 0),
    (MASK,),
    (np.array([1, 0, 1]),),
    (slice(None), SOME),
    (slice(None), BELOW_ZERO),
    (np.array([0, 1, 0]), np.array([2, 2, 2])),
    (np.array([[0, 1], [1, 1]]), slice(1, 3)),
    (np.array([True, False]), 1),
    (np.zeros(0, int),),
    (None, SOME[:2] - 1, ..., slice(0, 2)),
]
SHAPES = [normal(2, 3)[index].shape for index in INDICES]

SAMPLES = [
    *(Sample(ops.getitem, (normal(2, 3), index)) for index in INDICES),
    *(Sample(ops.getitem_adjoint, (normal(*s), i, (2, 3))) for i, s in zip(INDICES, SHAPES, strict=True)),
    Sample(ops.getitem, (complex_normal(3), (SOME,))),
    Sample(ops.getitem, (complex_normal(2, 3), (np.array([0, 1, 0]), SOME[:3]))),
    Sample(ops.getitem, (normal(4, 2, 3), (slice(None), np.array([1, 0]), 1))),
    Sample(ops.getitem_adjoint, (complex_normal(4), (SOME,), (3,))),
    Sample(ops.getitem_adjoint, (normal(300, 100), (np.arange(300) % 7,), (9, 100)), second_order=False),  # slow
    Sample(np.take, (normal(3), SOME)),
    Sample(np.take, (normal(2, 3), FOR_EACH)),
    Sample(np.take, (normal(3, 2), SOME, 0)),
    Sample(np.take, (normal(2, 3), FOR_EACH, -1)),
    Sample(np.take, (complex_normal(3), BELOW_ZERO), {"axis": 0}),
    Sample(np.where, (MASK, normal(2, 3), normal(2, 3, seed=1))),
    Sample(np.where, (MASK, normal(3), normal(2, 1))),
    Sample(np.where, (MASK, complex_normal(3), complex_normal(2, 1))),
    Sample(np.where, (MASK, normal(2, 3), 0.0)),
    Sample(ops._gather, (normal(3, 3), 0, FOR_EACH)),
    Sample(ops._gather, (normal(4, 3), 1, FOR_EACH)),
    Sample(ops._gather, (complex_normal(3), 0, SOME)),
    Sample(ops._scatter_add, (normal(3, 4), 0, FOR_EACH, normal(2, 3))),
    Sample(ops._scatter_add, (normal(2, 3), 1, FOR_EACH, normal(2, 3, seed=1))),
    Sample(ops._scatter_add, (complex_normal(3), 0, SOME, complex_normal(4))),
    Sample(ops._scatter, (normal(3, 4), 0, FOR_EACH, normal(2, 3))),
    Sample(ops._scatter, (normal(2, 3), 1, FOR_EACH, normal(2, 3, seed=1))),
    Sample(ops._scatter, (complex_normal(4), 0, SOME, complex_normal(4, seed=1))),
    Sample(ops._scatter_reduce, (distinct(2, 3), 1, FOR_EACH, distinct(2, 3, seed=1) + 0.3, "amax")),
    Sample(ops._scatter_reduce, (distinct(3, 4), 0, FOR_EACH, distinct(2, 3, seed=1) + 0.3, "amin")),
    Sample(ops._index_add, (normal(3, 2), 0, SOME, normal(4, 2))),
    Sample(ops._index_add, (normal(2, 3, 2), 1, SOME, normal(2, 4, 2))),
    Sample(ops._index_copy, (normal(3, 2), 0, SOME[1:3], normal(2, 2))),
    Sample(ops._index_copy, (normal(2, 4), 1, SOME, normal(2, 4, seed=1))),
]
