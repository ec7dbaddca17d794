"""The elementary functions of kernels: exact to 2 units in the last place, right at the edges, without branches."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

numba = pytest.importorskip("numba")
mpmath = pytest.importorskip("mpmath")

from benchmarks import elementary as measure  # noqa: E402
from benchmarks import minimax  # noqa: E402
from chainrule.compiler.kernels import elementary as functions  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:Descending:DeprecationWarning:mpmath")  # mpmath's own calls
ALL = list(functions.FUNCTIONS)
OF_ONE_NUMBER = [(name, kind) for name, kind in ALL if name != "pow"]
ROOT = Path(__file__).parents[2]
LOOPS: dict[Any, Any] = {}


def loop_for(name: str, kind: str) -> Any:
    """A compiled loop, made once."""
    if (name, kind) not in LOOPS:
        LOOPS[name, kind] = measure.loop_over(functions.FUNCTIONS[name, kind], kind, 2 if name == "pow" else 1)
    return LOOPS[name, kind]


def results(name: str, kind: str, x: Any) -> Any:
    """The function of each number."""
    x = np.ascontiguousarray(x, kind)
    out = np.empty_like(x)
    loop_for(name, kind)(x, out)
    return out


# ----- exactness -----


@pytest.mark.parametrize(("name", "kind"), ALL)
def test_errors_are_below_2_units_in_the_last_place(name: str, kind: str) -> None:
    error, place = measure.worst(name, kind, loop_for(name, kind), step=4099, points=900)
    assert error < 2, f"at {place!r}"


@pytest.mark.parametrize("name", [name for name, kind in OF_ONE_NUMBER if kind == "float32"])
def test_float32_agrees_with_mpmath_too(name: str) -> None:
    x = np.concatenate(list(measure.dense_float32(9_000_011)))
    errors = measure.errors_exact(name, x, results(name, "float32", x))
    assert errors.max() < 2, f"at {x[np.argmax(errors)]!r}"


def test_processors_without_fused_multiply_add_are_as_exact() -> None:
    environment = {**os.environ, "NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}
    command = [sys.executable, "-m", "benchmarks.elementary", "--step=40009", "--points=300", "--repeats=1"]
    names = ["expm1", "log2", "erf", "sin"]
    ran = subprocess.run([*command, *names], env=environment, cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize("number", [6381956970095103.0 * 2.0**797, 1e22, 2.0**1023, 5e-324])
def test_sin_and_cos_reduce_the_hardest_arguments(number: float) -> None:
    x = np.array([number, -number])
    for name in ("sin", "cos"):
        assert measure.errors_exact(name, x, results(name, "float64", x)).max() < 2


# ----- edges -----


@pytest.mark.parametrize("kind", ["float32", "float64"])
@pytest.mark.parametrize("name", ["expm1", "log1p", "tanh", "erf", "sin", "sinh", "atan"])
def test_zeros_keep_their_sign(name: str, kind: str) -> None:
    out = results(name, kind, [0.0, -0.0])
    assert out.tolist() == [0.0, 0.0]
    assert np.signbit(out).tolist() == [False, True]


@pytest.mark.parametrize(("name", "kind"), OF_ONE_NUMBER)
def test_special_numbers_give_what_numpy_gives(name: str, kind: str) -> None:
    x = np.array(measure.SPECIAL, kind)
    with np.errstate(all="ignore"):
        want = measure.array_function(name)(x)
    np.testing.assert_allclose(results(name, kind, x), want, rtol=4e-7 if kind == "float32" else 1e-15)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_powers_of_and_to_special_numbers_are_numpys(kind: Any) -> None:
    information = np.finfo(kind)
    numbers = [*measure.SPECIAL, 2, -2, 0.5, -0.5, 3, -3, 1e30, -1e30, 2.5, 4e9, 2**24 + 2]
    numbers += [information.tiny, -information.tiny, information.smallest_subnormal, information.max]
    x, y = (np.ascontiguousarray(grid.ravel()) for grid in np.meshgrid(*[np.array(numbers, kind)] * 2))
    out = np.empty_like(x)
    loop_for("pow", kind.__name__)(x, y, out)
    with np.errstate(all="ignore"):
        want = np.power(x, y)
    np.testing.assert_array_equal(np.signbit(out[want == 0]), np.signbit(want[want == 0]))
    np.testing.assert_allclose(out, want, rtol=4 * information.eps, atol=0)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_subnormal_results_are_right(kind: Any) -> None:
    least, unit = np.finfo(kind).tiny, float(np.finfo(kind).smallest_subnormal)
    x = np.linspace(np.log(unit) + 1, np.log(least), 50).astype(kind)
    out = results("exp", kind.__name__, x)
    assert ((out > 0) & (out <= least * kind(1.001))).all()
    assert np.abs(out.astype(np.longdouble) - np.exp(x.astype(np.longdouble))).max() <= 2 * np.longdouble(unit)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_subnormal_arguments_are_not_taken_for_0(kind: Any) -> None:
    small = kind(np.finfo(kind).smallest_subnormal * 3)
    for name in ("expm1", "log1p", "tanh", "sin"):
        assert results(name, kind.__name__, [small])[0] == small
    assert results("log2", kind.__name__, [kind(np.finfo(kind).smallest_subnormal)])[0] == np.log2(float(small / 3))


# ----- form -----


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="looks for x86 instructions")
@pytest.mark.parametrize(("name", "kind"), ALL)
def test_a_loop_vectorises_and_calls_nothing(name: str, kind: str) -> None:
    loop = loop_for(name, kind)
    text = loop.inspect_asm(loop.signatures[0])
    # sin and cos compute in float64
    packed = r"\bv?(?:mul|fn?m(?:add|sub)\d*)p" + ("d" if kind == "float64" or name in ("sin", "cos", "pow") else "s")
    assert len(re.findall(packed, text)) > 4
    called = set(re.findall(r"\$(\w+)", text))
    assert not called & {name, f"{name}f", "exp", "expf", "log", "logf", "fma", "floor"}


def test_all_functions_are_public_by_name_and_type() -> None:
    for name, kind in ALL:
        assert getattr(functions, f"{name}_{kind}") is functions.FUNCTIONS[name, kind]
        assert f"{name}_{kind}" in functions.__all__


@pytest.mark.parametrize("name", list(minimax.FITS))
def test_coefficients_are_those_that_the_fit_finds(name: str) -> None:
    make, kind, degree = minimax.FITS[name]
    found, _ = minimax.coefficients(make(degree), kind)
    assert [kind(c) for c in getattr(functions, name)] == found
