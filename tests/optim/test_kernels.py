"""The arithmetic of steps: loaded quickly, the same with and without BLAS, complex arrays as pairs."""

from __future__ import annotations

import importlib.machinery
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from chainrule import blas
from chainrule.optim import kernels


def test_the_first_step_does_not_import_the_rest_of_scipys_linear_algebra() -> None:
    code = (
        "import sys, chainrule as cr; x = cr.ones(3, requires_grad=True); x.sum().backward(); "
        "cr.optim.SGD([x], lr=0.5).step(); assert x.tolist() == [0.5] * 3; sys.exit('scipy.linalg' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


def test_where_the_compiled_module_is_not_found_the_public_one_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    from scipy.linalg import blas

    monkeypatch.delitem(sys.modules, "scipy.linalg.blas")
    monkeypatch.setattr(importlib.machinery.PathFinder, "find_spec", lambda *args: None)
    assert kernels._blas_module() is blas


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex64, np.complex128, np.float16])
def test_pieces_of_a_large_array_cover_it_once(dtype: Any) -> None:
    rng = np.random.default_rng(0)
    size = 2 * kernels.PIECE + 5
    x, g = (rng.standard_normal(size).astype(dtype) for _ in range(2))
    if x.dtype.kind == "c":
        x = x + np.asarray(1j * rng.standard_normal(size), dtype)
    want = x - (-(g) + x * 0.5) * 0.25
    seen = []

    def update(k: kernels.Kernels, x: Any, g: Any, step: float) -> None:
        seen.append(x.size)
        k.axpy(g, x, None, step)

    kernels.in_pieces(update, x, g, (), (-0.25,), maximize=True, decay=0.5)
    np.testing.assert_allclose(
        x, want, rtol=1e-2 if dtype == np.float16 else 1e-5, atol=1e-2 if dtype == np.float16 else 1e-6
    )
    assert sum(seen) == size * (2 if x.dtype.kind == "c" else 1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("given", ["alike", "Fortran order", "another type", "reversed"])
def test_large_steps_take_one_call_of_numpys_blas(dtype: Any, given: str) -> None:
    if not blas.libraries():
        pytest.skip("NumPy brings no OpenBLAS here")
    x = np.arange(30_000, dtype=dtype).reshape(100, 300)
    if given == "Fortran order":
        x = np.asfortranarray(x)
    elif given == "another type":
        x = x.astype(np.float64 if dtype == np.float32 else np.float32)
    elif given == "reversed":
        x = x[::-1]
    y = np.ones((100, 300), dtype)
    assert blas.add_multiple(x, y, -0.5)
    np.testing.assert_array_equal(y, 1 - 0.5 * x)
    assert not blas.add_multiple(x[1:], y, -0.5)
    np.testing.assert_array_equal(y, 1 - 0.5 * x)
