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


def test_large_steps_take_one_call_and_leave_blas_its_threads() -> None:
    libraries = blas.libraries()
    if len(libraries) != 2:
        pytest.skip("SciPy brings no OpenBLAS of its own here")
    before = [library.get() for library in libraries]
    x = np.arange(30_000.0)
    y = np.ones_like(x)
    functions = kernels.blas_kernels("d")
    assert functions is not None
    assert kernels.add_multiple(functions, x, y, -0.5)
    np.testing.assert_array_equal(y, 1 - 0.5 * np.arange(30_000.0))
    with pytest.raises(AttributeError):
        kernels.add_multiple(functions, object(), y, 1.0)
    assert [library.get() for library in libraries] == before
