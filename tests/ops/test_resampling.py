"""Linear maps along axes: each against its matrix, forward and transposed, on arrays of any kind."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from chainrule.ops.resampling import AxisMap, resample

from ..duck import DuckArray, unwrap


def matrix_of(axis_map: AxisMap) -> np.ndarray:
    """The map as a matrix (size, size of the result), element by element."""
    matrix = np.zeros((axis_map.size, axis_map.size_out))
    for k, i in np.ndindex(*axis_map.index.shape):
        j = axis_map.index[k, i]
        if j >= 0:
            matrix[j, i] += 1.0 if axis_map.weight is None else axis_map.weight[k, i]
    return np.broadcast_to(axis_map.before, axis_map.size)[:, None] * matrix * axis_map.after


def check(axis_map: AxisMap, matrix: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    for one, its_matrix in ((axis_map, matrix), (axis_map.transposed, matrix.T)):
        x = rng.standard_normal((2, its_matrix.shape[0], 3))
        want = np.einsum("anb,no->aob", x, its_matrix)
        np.testing.assert_allclose(resample(x, (one, None)), want, atol=1e-12)
        np.testing.assert_allclose(resample(np.asfortranarray(x), (one, None)), want, atol=1e-12)
        np.testing.assert_allclose(unwrap(resample(DuckArray(x), (one, None))), want, atol=1e-12)
        np.testing.assert_allclose(resample(x.swapaxes(1, 2), (one,)), want.swapaxes(1, 2), atol=1e-12)
    assert axis_map.transposed.transposed is axis_map


@pytest.mark.parametrize("seed", range(40))
def test_any_map_is_its_matrix_and_its_transpose_the_matrix_transposed(seed: int) -> None:
    rng = np.random.default_rng(seed)
    size, out, most = (int(n) for n in rng.integers(1, 9, 3))
    index = rng.integers(-1, size, (most, out))
    weight: Any = rng.standard_normal((most, out)) * (rng.random((most, out)) < 0.8) if seed % 2 else None
    axis_map = AxisMap(size, index, weight, before=rng.standard_normal(size), after=rng.standard_normal(out))
    check(axis_map, matrix_of(axis_map))


@pytest.mark.parametrize("block", [1, 2, 7])
def test_blocks_and_repetitions_are_maps_like_any_other(block: int) -> None:
    blocks = AxisMap(3 * block, np.arange(3 * block).reshape(3, block).T, after=0.5)
    check(blocks, matrix_of(blocks))
    assert blocks.block == block and blocks.transposed.spread == block
    repeated = AxisMap(3, np.repeat(np.arange(3), block)[None])
    check(repeated, matrix_of(repeated))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.complex64, np.complex128])
def test_maps_keep_the_element_type(dtype: Any) -> None:
    axis_map = AxisMap(3, np.array([[0, 1], [1, 2]]), np.array([[0.25, 0.5], [0.75, 0.5]]), after=np.array([1.0, 2.0]))
    out = resample(np.ones((2, 3), dtype), (axis_map,))
    assert out.dtype == dtype and out.tolist() == [[1, 2], [1, 2]]


def test_a_map_never_returns_its_input() -> None:
    x = np.ones((2, 3))
    assert not np.shares_memory(resample(x, (AxisMap(3, np.arange(3)[None]),)), x)
    assert not np.shares_memory(resample(x[:, :1], (AxisMap(1, np.zeros((1, 1), int)),) * 1), x)


def test_maps_take_empty_arrays() -> None:
    pairs = AxisMap(4, np.array([[0, 2], [1, 3]]))
    assert resample(np.ones((0, 4)), (pairs,)).shape == (0, 2)
    assert resample(np.ones((2, 4)), (AxisMap(4, np.zeros((3, 0), int)),)).shape == (2, 0)
    assert resample(np.ones((2, 0)), (AxisMap(4, np.zeros((3, 0), int)).transposed,)).tolist() == [[0] * 4] * 2
