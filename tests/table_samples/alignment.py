"""Samples for chainrule/ops/alignment.py."""

import numpy as np

from chainrule.ops.alignment import alignment_loss

from .common import Sample, normal

SKIPS = np.array([[False, False, False, True, False], [False, False, False, False, False]])
LAST = np.array([[False, False, False, True, True], [False, False, False, True, True]])

SAMPLES = [
    Sample(alignment_loss, (normal(5, 2, 5), SKIPS, LAST, np.array([5, 4]))),
    Sample(alignment_loss, (normal(3, 1, 3), np.zeros((1, 3), bool), np.array([[False, True, True]]), np.array([2]))),
    Sample(alignment_loss, (normal(2, 1, 1), np.zeros((1, 1), bool), np.array([[True]]), np.array([2]))),
]
