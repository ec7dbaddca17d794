"""Samples of convolutions in one to three dimensions, of their gradients, and of sliding windows."""

from __future__ import annotations

from typing import Any

from chainrule.ops.convolution import add_windows, convolve, convolve_input, convolve_weight, windows

from .common import Sample, complex_normal, normal


def settings(stride: Any, padding: Any, dilation: Any, groups: int = 1) -> dict[str, Any]:
    return {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}


# x, w, sizes of the result, settings
CASES = [
    ((2, 3, 7), (4, 3, 3), (7,), settings((1,), ((1, 1),), (1,))),
    ((2, 4, 9), (6, 2, 3), (3,), settings((2,), ((0, 1),), (2,), 2)),
    ((2, 3, 6, 7), (4, 3, 3, 3), (6, 7), settings((1, 1), ((1, 1), (1, 1)), (1, 1))),
    ((3, 2, 12, 12), (2, 2, 2, 3), (11, 10), settings((1, 1), ((0, 0), (0, 0)), (1, 1))),
    ((2, 2, 8, 7), (3, 2, 3, 2), (2, 3), settings((2, 3), ((0, 0), (2, 1)), (2, 1))),
    ((2, 3, 5, 5), (3, 1, 3, 3), (5, 5), settings((1, 1), ((1, 1), (1, 1)), (1, 1), 3)),  # depthwise
    ((2, 4, 5), (2, 2, 3), (3,), settings((1,), ((0, 0),), (1,), 2)),  # one output a group
    ((2, 3, 7), (1, 3, 2), (3,), settings((2,), ((0, 0),), (1,))),  # one output
    ((2, 4, 3, 4), (6, 2, 1, 1), (3, 4), settings((1, 1), ((0, 0), (0, 0)), (1, 1), 2)),  # pointwise
    ((2, 3, 5, 5), (2, 3, 1, 1), (3, 3), settings((2, 2), ((0, 0), (0, 0)), (1, 1))),
    ((1, 2, 3, 4, 5), (2, 2, 2, 3, 2), (2, 4, 4), settings((1, 1, 1), ((0, 0), (1, 1), (0, 0)), (1, 1, 1))),
    ((2, 1, 4, 5, 4), (2, 1, 2, 2, 2), (2, 3, 2), settings((2, 2, 2), ((0, 0), (1, 0), (0, 0)), (1, 1, 1))),
    ((0, 2, 5), (3, 2, 2), (4,), settings((1,), ((0, 0),), (1,))),
]

SAMPLES = []
for x, w, positions, how in CASES:
    g, kernel, spatial = (x[0], w[0], *positions), w[2:], x[2:]
    channels = w[1] * how["groups"]
    SAMPLES += [
        Sample(convolve, (normal(*x), normal(*w, seed=1)), {"size": positions, **how}),
        Sample(convolve, (normal(*x), normal(*w, seed=1), normal(w[0], seed=2)), {"size": positions, **how}),
        Sample(convolve_input, (normal(*g), normal(*w, seed=1)), {"size": spatial, **how}),
        Sample(convolve_input, (normal(*g), normal(*w, seed=1), normal(channels)), {"size": spatial, **how}),
        Sample(convolve_weight, (normal(*x), normal(*g, seed=1)), {"size": kernel, **how}),
    ]
SAMPLES += [
    Sample(
        convolve, (complex_normal(2, 3, 6), complex_normal(2, 3, 2, seed=1), complex_normal(2)), {"size": (5,), **how}
    )
    for how in [settings((1,), ((0, 0),), (1,))]
]
SAMPLES += [
    Sample(convolve_input, (complex_normal(2, 2, 5), complex_normal(2, 3, 2, seed=1)), {"size": (6,), **how})
    for how in [settings((1,), ((0, 0),), (1,))]
]
for shape, kernel, size, stride, padding, dilation in [
    ((2, 3, 5, 6), (2, 3), (4, 4), (1, 1), ((0, 0), (0, 0)), (1, 1)),
    ((1, 2, 5, 6), (3, 2), (3, 4), (2, 2), ((1, 1), (1, 1)), (1, 1)),
    ((1, 2, 7, 6), (2, 3), (5, 3), (1, 1), ((0, 0), (0, 1)), (2, 2)),
]:
    block = {"kernel": kernel, "size": size, "stride": stride, "padding": padding, "dilation": dilation}
    columns = (shape[0], shape[1] * kernel[0] * kernel[1], size[0] * size[1])
    SAMPLES += [
        Sample(windows, (normal(*shape),), block),
        Sample(add_windows, (normal(*columns),), {"spatial": shape[2:], **block}),
    ]
