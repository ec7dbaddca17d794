"""Samples for chainrule/ops/loss.py."""

from chainrule.ops.loss import binary_cross_entropy

from .common import Sample, between

SAMPLES = [
    Sample(binary_cross_entropy, (between(0.1, 0.9, 4, 3), between(0.1, 0.9, 4, 3, seed=1))),
    Sample(binary_cross_entropy, (between(0.1, 0.9, 3), between(0.1, 0.9, 2, 3, seed=1))),
    Sample(binary_cross_entropy, (between(0.1, 0.9), between(0.1, 0.9, seed=1))),
]
