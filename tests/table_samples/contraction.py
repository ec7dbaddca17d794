"""Samples of the products in chainrule/ops/contraction.py."""

from __future__ import annotations

import numpy as np

from chainrule.ops.contraction import contract, cross_product, linear

from .common import Sample, complex_normal, normal

MATMUL_SHAPES = [
    ((4,), (4,)),
    ((3, 4), (4,)),
    ((4,), (4, 2)),
    ((3, 4), (4, 2)),
    ((2, 3, 4), (4,)),
    ((4,), (2, 4, 3)),
    ((2, 3, 4), (4, 5)),
    ((3, 4), (2, 4, 5)),
    ((2, 1, 3, 4), (5, 4, 2)),
    ((1, 3, 4), (2, 4, 2)),
    ((0, 3), (3, 2)),
    ((3, 0), (0, 2)),
    ((2, 0, 3), (3, 2)),
]
EQUATIONS = [
    ("ij,jk->ik", (2, 3), (3, 4)),
    ("ij,jk->ki", (2, 3), (3, 4)),
    ("bij,bjk->bik", (2, 3, 4), (2, 4, 2)),
    ("bij,kjb->ikb", (2, 3, 4), (5, 4, 2)),
    ("bi,bi->b", (3, 4), (3, 4)),
    ("a,b->ab", (3,), (4,)),
    ("ij,ij->", (2, 3), (2, 3)),
    ("ijab,abk->kij", (2, 3, 2, 2), (2, 2, 4)),
    ("bi,bj->bij", (2, 3), (2, 4)),
    ("ij,->ji", (2, 3), ()),
]

SAMPLES = [
    *(Sample(np.matmul, (normal(*x), normal(*y, seed=1))) for x, y in MATMUL_SHAPES),
    Sample(np.matmul, (complex_normal(3, 4), complex_normal(4, 2, seed=1))),
    Sample(np.matmul, (complex_normal(4), complex_normal(2, 4, 3, seed=1))),
    Sample(np.matmul, (normal(4, 3).T, normal(6, 4)[::-2].T)),
    Sample(np.vecdot, (normal(4), normal(4, seed=1))),
    Sample(np.vecdot, (normal(3, 4), normal(2, 1, 4, seed=1))),
    Sample(np.vecdot, (complex_normal(3, 4), complex_normal(4, seed=1))),
    Sample(linear, (normal(5, 3), normal(2, 3, seed=1), normal(2, seed=2))),
    Sample(linear, (normal(5, 3), normal(2, 3, seed=1))),
    Sample(linear, (normal(3), normal(2, 3, seed=1), normal(2, seed=2))),
    Sample(linear, (normal(2, 4, 3), normal(2, 3, seed=1), normal(2, seed=2))),
    Sample(linear, (normal(0, 3), normal(2, 3, seed=1), normal(2, seed=2))),
    Sample(linear, (complex_normal(5, 3), complex_normal(2, 3, seed=1), complex_normal(2, seed=2))),
    *(Sample(contract, (normal(*x), normal(*y, seed=1)), {"equation": e}) for e, x, y in EQUATIONS),
    Sample(contract, (complex_normal(2, 3), complex_normal(3, 4, seed=1)), {"equation": "ij,jk->ki"}),
    Sample(cross_product, (normal(4, 3), normal(4, 3, seed=1))),
    Sample(cross_product, (normal(3, 2), normal(4, 3, 1, seed=1)), {"axis": -2}),
    Sample(cross_product, (complex_normal(3), complex_normal(3, seed=1))),
]
