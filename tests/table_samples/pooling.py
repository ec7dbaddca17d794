"""Samples of pooling, and of the linear maps along axes that pooling and interpolation share."""

from __future__ import annotations

import numpy as np

from chainrule.ops import grid, interpolation, pooling, resampling
from chainrule.ops.pooling import Window

from .common import Sample, between, complex_normal, distinct, normal

TWO = Window(6, 2, 2, 0, 1, 3)  # windows beside each other
OVERLAPPING = Window(5, 3, 2, 1, 1, 3)
FINE = Window(5, 2, 1, 0, 1, 4)
DILATED = Window(7, 2, 2, 1, 3, 3)
LEAVING = Window(5, 2, 2, 0, 1, 3)  # the last one reaches beyond the input
GAPS = Window(7, 2, 3, 0, 1, 2)


def _spread(windows: tuple[Window, ...], *shape: int) -> Sample:
    x = distinct(*shape)
    out = pooling._max_pool(x, windows)
    return Sample(pooling._spread_maxima, (normal(*out.shape), out, x, windows))


INDEX = np.array([[0, 2, 2, 5], [1, 1, 3, 0]])
PAIRS = resampling.AxisMap(4, np.array([[0, 2], [1, 3]]), after=0.5)
WEIGHTED = resampling.AxisMap(
    3, np.array([[0, 1, -1, 2, 0], [1, 1, 2, 0, -1]]), normal(2, 5), before=normal(3), after=normal(5)
)

SAMPLES = [
    Sample(pooling._max_pool, (distinct(2, 6), (TWO,))),
    Sample(pooling._max_pool, (distinct(2, 6, 6), (TWO, TWO))),
    Sample(pooling._max_pool, (distinct(5, 5), (OVERLAPPING, LEAVING))),
    Sample(pooling._max_pool, (distinct(2, 5, 7), (FINE, DILATED))),
    Sample(pooling._max_pool, (distinct(1, 6, 5, 7), (TWO, OVERLAPPING, GAPS))),
    _spread((TWO,), 2, 6),
    _spread((OVERLAPPING, LEAVING), 2, 5, 5),
    _spread((FINE, DILATED), 5, 7),
    _spread((TWO, OVERLAPPING, GAPS), 1, 6, 5, 7),
    Sample(pooling._root, (between(0.5, 2, 3, 4), 3.0)),
    Sample(pooling._root, (between(0.5, 2), 2)),
    Sample(pooling.pick, (normal(2, 6), INDEX)),
    Sample(pooling.pick, (normal(2, 3, 6), INDEX[:, None])),
    Sample(pooling.pick, (complex_normal(2, 6), INDEX)),
    Sample(pooling.place, (normal(2, 4), INDEX, 6)),
    Sample(pooling.place, (normal(2, 3, 4), INDEX[:, None], 6)),
    Sample(pooling.place, (complex_normal(2, 4), INDEX, 6)),
    Sample(pooling.unpool, (normal(2, 3), np.array([[0, 2, 5], [3, 1, 4]]), 6)),
    Sample(pooling.unpool, (normal(2, 2, 1), np.array([[[0], [2]], [[3], [1]]]), 4)),
    Sample(resampling.resample, (normal(2, 4), (PAIRS,))),
    Sample(resampling.resample, (normal(2, 4, 3), (PAIRS, WEIGHTED))),
    Sample(resampling.resample, (normal(2, 4, 2), (PAIRS, None))),
    Sample(resampling.resample, (normal(3), (WEIGHTED,))),
    Sample(resampling.resample, (complex_normal(2, 3), (WEIGHTED,))),
    Sample(
        resampling.resample, (normal(2, 5, 6), (pooling._mean_map(OVERLAPPING, True), pooling._mean_map(TWO, True)))
    ),
    Sample(resampling.resample, (normal(2, 7), (pooling._mean_map(GAPS, False),))),
    Sample(resampling.resample, (normal(2, 6, 6), (pooling._adaptive_map(6, 1),) * 2)),
    Sample(resampling.resample, (normal(2, 1, 1), (interpolation._nearest_map(1, 7, False, None),) * 2)),
    Sample(
        resampling.resample, (normal(7, 5), (pooling._adaptive_map(7, 3), interpolation._linear_map(5, 8, False, None)))
    ),
    Sample(resampling.resample, (normal(5, 3), (interpolation._cubic_map(5, 3, True, None), None))),
    Sample(resampling.resample, (normal(9), (interpolation._smoothing_map(9, 4, False, None, "bilinear"),))),
    Sample(grid.source_places, (between(-0.9, 0.9, 3, 4), 5, grid.ZEROS, True)),
    Sample(grid.source_places, (between(-3, 3, 3, 4), 5, grid.BORDER, False)),
    Sample(grid.source_places, (between(-3, 3, 20), 4, grid.REFLECTION, False)),
    Sample(grid.source_places, (between(-3, 3, 20), 4, grid.REFLECTION, True)),
    Sample(grid._unbounded_places, (between(-3, 3, 3, 4), 5, True)),
    Sample(grid._unbounded_places, (between(-3, 3, 3, 4), 5, False)),
]
