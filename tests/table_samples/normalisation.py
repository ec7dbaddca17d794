"""Samples for softmax, standardisation and cross entropy."""

from __future__ import annotations

import numpy as np

from chainrule.ops.normalisation import _log_softmax, _softmax, mean_cross_entropy, normalise_layer, standardize

from .common import Sample, complex_normal, normal

LABELS = np.array([2, 0, 1])

SAMPLES = [
    Sample(function, args)
    for function in (_softmax, _log_softmax)
    for args in [(normal(4), 0), (normal(3, 4), 1), (normal(2, 3, 2), -2), (complex_normal(3, 2), 0)]
]
SAMPLES += [
    # duck=False: labels on another device than the logits are refused; test_normalisation.py has both on one
    Sample(mean_cross_entropy, (normal(3, 4), LABELS), duck=False),
    Sample(standardize, (normal(3, 4), 1, 1e-5)),
    Sample(standardize, (normal(2, 3, 4), (0, 2), 1e-3)),
    Sample(standardize, (normal(3, 4), (1,), 1e-5, False)),
    Sample(normalise_layer, (normal(3, 4), normal(4, seed=1), normal(4, seed=2), (1,), 1e-5)),
    Sample(normalise_layer, (normal(2, 3, 4), normal(3, 4, seed=1), None, (1, 2), 1e-3)),
    Sample(normalise_layer, (normal(3, 4), None, normal(4), (1,), 1e-5)),
    Sample(normalise_layer, (normal(4), None, None, (0,), 1e-5)),
]
