"""Samples of the Fourier transforms in chainrule/ops/fft.py."""

from __future__ import annotations

import numpy as np

from .common import Sample, complex_normal, normal

OPTIONS = [
    {},
    {"n": 3},
    {"n": 7},
    {"axis": 0},
    {"norm": "ortho"},
    {"n": 6, "axis": -2, "norm": "forward"},
]

SAMPLES = [
    *(
        Sample(f, (complex_normal(4, 5),), options)
        for f in (np.fft.fft, np.fft.ifft, np.fft.irfft)
        for options in OPTIONS
    ),
    *(Sample(f, (normal(4, 5),), options) for f in (np.fft.fft, np.fft.ifft, np.fft.rfft) for options in OPTIONS),
]
