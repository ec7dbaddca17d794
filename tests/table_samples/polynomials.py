"""Samples for products of sequences."""

from __future__ import annotations

from chainrule.ops.numpy_polynomials import _convolve

from .common import Sample, complex_normal, normal

SAMPLES = [Sample(_convolve, (normal(5), normal(3)), {"mode": mode} if mode else {}) for mode in ("", "full", "valid")]
SAMPLES += [
    Sample(_convolve, (normal(3), normal(3, seed=1)), {"mode": "valid"}),
    Sample(_convolve, (normal(1), normal(1, seed=1))),
    Sample(_convolve, (complex_normal(4), complex_normal(2)), {"mode": "full"}),
    Sample(_convolve, (complex_normal(4), normal(3)), {"mode": "valid"}),
    Sample(_convolve, (normal(4), complex_normal(3)), {"mode": "full"}),
]
