"""Samples for attention."""

from __future__ import annotations

import numpy as np

from chainrule.ops.attention import attention

from .common import Sample, normal

Q, K, V = normal(2, 3, 4), normal(2, 5, 4, seed=1), normal(2, 5, 2, seed=2)
NOTHING_ALLOWED = np.where(np.arange(3)[:, None] == 1, -np.inf, normal(3, 5, seed=3))
KEEP = (normal(2, 3, 5, seed=4) > 0).astype(np.float32) * 2

SAMPLES = [
    Sample(attention, (Q, K, V)),
    Sample(attention, (Q[0], K[0], V[0], None, None, True, 0.5)),
    Sample(attention, (Q, K[0], V[0], normal(3, 5, seed=3), None, False, 0.5)),
    Sample(attention, (Q, K, V, normal(2, 1, 5, seed=3), KEEP, True, 0.5)),
    Sample(attention, (Q, K, V, NOTHING_ALLOWED)),
]
