"""Linear maps along axes: what average pooling, resizing of images and sums over neighbouring channels have in common.

An `AxisMap` says, for each place along an axis of the result, which places of the input it adds up and with which
weights. Its transpose is a map of the same kind, so `resample` is one operation that is its own derivative.
Read next: `pooling.py` and `interpolation.py`, which make the maps.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import numpy as np

from ..core.forward import array_function, wrap_forward_fn
from ..core.table import backward

__all__: list[str] = []

ndarray = np.ndarray
WHOLE = slice(None)
BLOCK = 5  # from how many elements on one sum of a block is sooner than a sum of slices


class Tap(NamedTuple):
    """`out[target] += weight * x[source]`, where no place of the result is named twice."""

    source: Any
    target: Any
    weight: Any


class AxisMap:
    """`out[i] = after[i] * sum over k of weight[k, i] * before[index[k, i]] * x[index[k, i]]` along one axis.

    Args:
        size: of the input along the axis.
        index: (K, size of the result) integers; -1 stands for nothing.
        weight: (K, size of the result), or None for ones.
        before: factors of the input: a number, or one for each place.
        after: factors of the result.

    >>> pairs = AxisMap(4, np.array([[0, 2], [1, 3]]), after=0.5)
    >>> resample(np.array([1.0, 3.0, 5.0, 7.0]), (pairs,))
    array([2., 6.])
    >>> resample(np.array([2.0, 6.0]), (pairs.transposed,))
    array([1., 1., 3., 3.])
    """

    def __init__(self, size: int, index: Any, weight: Any = None, before: Any = 1.0, after: Any = 1.0) -> None:
        self.size = size
        self.size_out: int = index.shape[1]
        self.index = index if weight is None else np.where(weight != 0, index, -1)
        self.weight = weight
        self.before = _plain(before)
        self.after = _plain(after)

    def __repr__(self) -> str:
        return f"AxisMap({self.size} -> {self.size_out})"

    @functools.cached_property
    def taps(self) -> list[Tap]:
        """The map as a short list of sums of slices, or of elements that an index names where there is no slice."""
        taps = []
        for k, row in enumerate(self.index):
            there = np.flatnonzero(row >= 0)
            if there.size:
                weight = None if self.weight is None else self.weight[k, there]
                taps.append(Tap(_selector(row[there]), _selector(there), weight))
        return taps

    @functools.cached_property
    def once(self) -> bool:
        """Whether each place of the result takes exactly one of the input's, so that nothing is to be added up."""
        return bool(np.all(np.sum(self.index >= 0, axis=0) == 1))

    @functools.cached_property
    def complete(self) -> bool:
        """Whether no entry of the index stands for nothing."""
        return bool(np.all(self.index >= 0))

    @functools.cached_property
    def block(self) -> int:
        """n > 0 where the map is the sum of blocks of n elements that fill the axis; 0 otherwise."""
        n = len(self.index)
        if self.weight is None and n * self.size_out == self.size:
            return n if np.array_equal(self.index.T.reshape(-1), np.arange(self.size)) else 0
        return 0

    @functools.cached_property
    def spread(self) -> int:
        """n > 0 where the map repeats each element n times; 0 otherwise."""
        n = self.size_out // self.size if self.size else 0
        if self.weight is None and n and len(self.index) == 1:
            return n if np.array_equal(self.index[0], np.arange(self.size_out) // n) else 0
        return 0

    @functools.cached_property
    def matrix(self) -> Any:
        """The map without its factors as a matrix, (size, size of the result)."""
        matrix = np.zeros((self.size, self.size_out))
        k, i = np.nonzero(self.index >= 0)
        np.add.at(matrix, (self.index[k, i], i), 1.0 if self.weight is None else self.weight[k, i])
        return matrix

    @functools.cached_property
    def transposed(self) -> AxisMap:
        """The map back: the derivative."""
        k, i = np.nonzero(self.index >= 0)
        j = self.index[k, i]
        weight = None if self.weight is None else self.weight[k, i]
        order = np.lexsort((i, j))
        i, j = i[order], j[order]
        rank = np.arange(j.size) - np.searchsorted(j, j)  # the how-manieth entry of its column
        shape = (int(rank.max(initial=-1)) + 1, self.size)
        index = np.full(shape, -1)
        index[rank, j] = i
        weights = None
        if weight is not None:
            weights = np.zeros(shape)
            weights[rank, j] = weight[order]
        result = AxisMap(self.size_out, index, weights, self.after, self.before)
        if all(isinstance(tap.source, slice) for tap in self.taps):
            result.taps = [Tap(target, source, weight) for source, target, weight in self.taps]
        result.transposed = self
        return result


def _plain(factor: Any) -> Any:
    """Factors that are all equal as one number."""
    if isinstance(factor, ndarray):
        return float(factor[0]) if factor.size and np.all(factor == factor[0]) else factor
    return factor


def _selector(places: Any) -> Any:
    """Increasing places as a slice, where they are equally spaced; otherwise as they are."""
    if places.size == 1:
        return slice(int(places[0]), int(places[0]) + 1)
    steps = np.diff(places)
    step = int(steps[0])
    if step > 0 and np.all(steps == step):
        return slice(int(places[0]), int(places[-1]) + 1, step)
    return places


def _factor(factors: Any, kind: Any) -> Any:
    """The product of factors of several axes, each a number or one number for each place, ready to multiply with."""
    product: Any = math.prod(f for f in factors if not isinstance(f, ndarray))
    for position, f in enumerate(factors):
        if isinstance(f, ndarray):
            product = product * f.reshape((-1,) + (1,) * (len(factors) - position - 1))
    return np.astype(product, kind) if isinstance(product, ndarray) else product


def _real_kind(x: Any) -> Any:
    return x.dtype if x.dtype.kind != "c" else np.dtype(f"f{x.dtype.itemsize // 2}")


def _along(x: Any, axis: int, axis_map: AxisMap) -> Any:
    """One map on an array of another library: sums of what an index takes, nothing written."""
    if not axis_map.index.size:
        return np.zeros_like(x, shape=(*x.shape[:axis], axis_map.size_out, *x.shape[axis + 1 :]))
    index = axis_map.index
    if not axis_map.complete:
        x = np.pad(x, tuple((0, int(i == axis)) for i in range(x.ndim)))
        index = np.where(index < 0, axis_map.size, index)
    total = None
    for k, row in enumerate(index):
        part = np.take(x, row, axis=axis)
        if axis_map.weight is not None:
            part = part * _column(axis_map.weight[k], axis, x)
        total = part if total is None else total + part
    return total


def _column(weight: Any, axis: int, x: Any) -> Any:
    """Weights along an axis of `x`, in its type."""
    return weight.astype(_real_kind(x)).reshape((-1,) + (1,) * (x.ndim - axis - 1))


def _along_array(x: Any, axis: int, axis_map: AxisMap) -> Any:
    """One map on a NumPy array."""
    before, after = x.shape[:axis], x.shape[axis + 1 :]
    shape = (*before, axis_map.size_out, *after)
    if not axis_map.taps:
        return np.zeros(shape, x.dtype)
    if axis_map.block >= BLOCK:
        return np.add.reduce(x.reshape(*before, axis_map.size_out, axis_map.block, *after), axis=axis + 1)
    if axis_map.spread >= BLOCK:
        copies = (*before, axis_map.size, axis_map.spread, *after)
        return np.broadcast_to(np.expand_dims(x, axis + 1), copies).copy().reshape(shape)
    slices = all(isinstance(tap.source, slice) and isinstance(tap.target, slice) for tap in axis_map.taps)
    if axis == x.ndim - 1 and not slices and axis_map.size * axis_map.size_out <= 4096 and x.dtype.kind in "fc":
        return x @ axis_map.matrix.astype(x.dtype)
    lead = (WHOLE,) * axis
    out: Any = None
    owned = False
    for source, target, weight in axis_map.taps:
        part = x[(*lead, source)] if isinstance(source, slice) else x.take(source, axis)
        fresh = not isinstance(source, slice)
        if weight is not None:
            weight = _column(weight, axis, x)
            part = np.multiply(part, weight, out=part) if fresh else part * weight
            fresh = True
        if out is None and part.shape == shape:
            out, owned = part, fresh
        elif out is not None and part.shape == shape:
            out = np.add(out, part, out=out if owned else None)
            owned = True
        else:
            if out is None:
                out = np.empty(shape, x.dtype) if axis_map.once else np.zeros(shape, x.dtype)
            elif not owned:
                out = out.copy()
            owned = True
            if axis_map.once:
                out[(*lead, target)] = part
            else:
                out[(*lead, target)] += part
    return out if owned else out.copy()


def _all_at_once(x: Any, maps: Any) -> Any:
    """The sum over all the axes, or one element repeated along them, if that is what the maps do; otherwise None."""
    if len(maps) < 2 or None in maps:
        return None
    lead = x.shape[: x.ndim - len(maps)]
    if all(m.size_out == 1 and m.block for m in maps) and x.dtype.kind in "fc":
        flat = x.reshape(*lead, math.prod(m.size for m in maps))
        return (flat @ np.ones(flat.shape[-1], x.dtype)).reshape(*lead, *(1,) * len(maps))
    if all(m.size == 1 and m.spread for m in maps):
        return np.broadcast_to(x, (*lead, *(m.size_out for m in maps))).copy()
    return None


@array_function
def resample(x: Any, maps: Any) -> Any:
    """Linear maps along the last `len(maps)` axes, an `AxisMap` for each; None leaves an axis as it is."""
    first = x.ndim - len(maps)
    kind = x.dtype
    if kind == np.float16:
        x = np.astype(x, np.float32)
    real = _real_kind(x)
    scale = _factor([1.0 if m is None else m.before for m in maps], real)
    if isinstance(scale, ndarray) or scale != 1:
        x = x * scale
    along = _along_array if type(x) is ndarray else _along
    whole = _all_at_once(x, maps) if type(x) is ndarray else None
    left: Any = maps if whole is None else ()
    x = x if whole is None else whole
    order = [(m.size_out > m.size, -i if m.size_out > m.size else i, i) for i, m in enumerate(left) if m is not None]
    for _, _, i in sorted(order):  # first what makes it smaller
        x = along(x, first + i, maps[i])
    scale = _factor([1.0 if m is None else m.after for m in maps], real)
    if isinstance(scale, ndarray) or scale != 1:
        x = np.multiply(x, scale, out=x) if type(x) is ndarray and (order or whole is not None) else x * scale
    return x if x.dtype == kind else np.astype(x, kind)


@backward(resample, 0)
def resample_back(grad_out: Any, out: Any, x: Any, maps: Any) -> Any:
    r"""$\nabla_{x_j} L = \sum_i M_{ij} (\nabla_{out} L)_i$ where $out_i = \sum_j M_{ij} x_j$ along each axis"""
    return resample(grad_out, tuple(None if m is None else m.transposed for m in maps))


resample_tensor = wrap_forward_fn(resample)
