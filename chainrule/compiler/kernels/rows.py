"""Kernels of operations on rows of any length and number: gelu, softmax, layer normalisation; and the step of Adam.

Everything but the type of the numbers is an argument: each text is compiled once. The first two arguments are the first
row and the one after the last, for gelu and Adam the first element and so on; what they write comes last.
"""

from __future__ import annotations

import math
from typing import Any

from .kinds import ArrayKind, NumberKind, int64, uint64

__all__ = ["TEXTS", "row_kernel"]

GELU = """\
def gelu_walk(first, last, source, rises, target):
    separate()
    start, stop = int64(first), int64(last)
    x, out, slope = source[start:stop], target[start:stop], rises[start:stop]
    for i in range(x.size):
        part = {number}(0.5) + {number}(0.5) * erf_{number}(x[i] * {number}({sqrt_half}))
        density = exp_{number}({number}(-0.5) * x[i] * x[i]) * {number}({density})
        out[i], slope[i] = x[i] * part, part + x[i] * density
"""

GELU_TANH = """\
def gelu_tanh_walk(first, last, source, rises, target):
    separate()
    start, stop = int64(first), int64(last)
    x, out, slope = source[start:stop], target[start:stop], rises[start:stop]
    for i in range(x.size):
        square = x[i] * x[i]
        t = tanh_{number}({number}({scale}) * x[i] * ({number}(1.0) + {number}(0.044715) * square))
        part = {number}(0.5) + {number}(0.5) * t
        steep = {number}({half_scale}) + {number}({half_scale} * 3 * 0.044715) * square
        out[i], slope[i] = x[i] * part, part + x[i] * ({number}(1.0) - t * t) * steep
"""

SOFTMAX = """\
def softmax_walk(first, last, length, rows):
    separate()
    for r in range(int64(first), int64(last)):
        whole = rows[r]
        seen = min(whole.size, r % length + 1) if length else whole.size
        row, rest = whole[:seen], whole[seen:]
        top = row[0]
        for j in range(row.size):
            top = larger(top, row[j])  # NaN makes the total NaN
        if top == {number}(-np.inf):
            top = {number}(0.0)
        total = {number}(0.0)
        for j in range(row.size):
            row[j] = exp_{number}(row[j] - top)
            total = plus(total, row[j])
        share = {number}(1.0) / total if total != {number}(0.0) else {number}(0.0)
        for j in range(row.size):
            row[j] *= share
        for j in range(rest.size):
            rest[j] = {number}(0.0)
"""

SOFTMAX_BACK = """\
def softmax_back_walk(first, last, results, rows):
    separate()
    for r in range(int64(first), int64(last)):
        result, row = results[r], rows[r]
        along = {number}(0.0)
        for j in range(row.size):
            along = plus(along, result[j] * row[j])
        for j in range(row.size):
            row[j] = result[j] * (row[j] - along)
"""

LAYER_NORM = """\
def layer_norm_walk(first, last, little, weight, bias, source, kept, inverses, target):
    separate()
    size = weight.size
    share, eps = {number}(1.0) / {number}(size), little[0]
    for r in range(int64(first), int64(last)):
        x, rows, out = source[r], kept[r], target[r]
        mean = {number}(0.0)
        for j in range(size):
            mean = plus(mean, x[j])
        mean *= share
        variance = {number}(0.0)
        for j in range(size):
            rows[j] = x[j] - mean
            variance = plus(variance, rows[j] * rows[j])
        inverse = {number}(1.0) / math.sqrt(variance * share + eps)
        inverses[r] = inverse
        for j in range(size):
            rows[j] *= inverse
            out[j] = rows[j] * weight[j] + bias[j]
"""

LAYER_NORM_BACK = """\
def layer_norm_back_walk(first, last, weight, kept, inverses, gradients, target):
    separate()
    size = weight.size
    share = {number}(1.0) / {number}(size)
    for r in range(int64(first), int64(last)):
        rows, gradient, out = kept[r], gradients[r], target[r]
        mean, along = {number}(0.0), {number}(0.0)
        for j in range(size):
            g = gradient[j] * weight[j]
            out[j] = g
            mean = plus(mean, g)
            along = plus(along, g * rows[j])
        mean, along = mean * share, along * share
        inverse = inverses[r]
        for j in range(size):
            out[j] = (out[j] - mean - rows[j] * along) * inverse
"""

ADAM = """\
def adam_walk(first, last, settings, gradients, means, squares, parameters):
    separate()
    start, stop = int64(first), int64(last)
    gradient, mean, square, x = gradients[start:stop], means[start:stop], squares[start:stop], parameters[start:stop]
    keep_mean, take_mean, keep_square, take_square, step, eps, shrink = (
        settings[0], settings[1], settings[2], settings[3], settings[4], settings[5], settings[6],
    )
    for i in range(x.size):
        g = gradient[i]
        mean[i] = mean[i] * keep_mean + g * take_mean
        square[i] = square[i] * keep_square + g * g * take_square
        x[i] = x[i] * shrink + step * (mean[i] / (math.sqrt(square[i]) + eps))
"""

CONSTANTS = {
    "sqrt_half": math.sqrt(0.5),
    "density": 1 / math.sqrt(2 * math.pi),
    "scale": math.sqrt(2 / math.pi),
    "half_scale": math.sqrt(2 / math.pi) / 2,
}
TEXTS = {
    text[4 : text.index("(")]: text
    for text in (GELU, GELU_TANH, SOFTMAX, SOFTMAX_BACK, LAYER_NORM, LAYER_NORM_BACK, ADAM)
}


def row_kernel(name: str, number: NumberKind) -> tuple[str, tuple[NumberKind | ArrayKind, ...]]:
    """The text of one of these kernels for a type of numbers, and the types of what it takes."""
    line, matrix = number[::1], number[:, ::1]
    kinds: dict[str, tuple[Any, ...]] = {
        "gelu_walk": (line, line, line),
        "softmax_walk": (int64, matrix),
        "softmax_back_walk": (matrix, matrix),
        "layer_norm_walk": (line, line, line, matrix, matrix, line, matrix),
        "layer_norm_back_walk": (line, matrix, line, matrix, matrix),
        "adam_walk": (line, line, line, line, line),
    }
    text = TEXTS[name].format(number=number.name, **CONSTANTS)
    return text, (uint64, uint64, *kinds[name.replace("_tanh", "")])
