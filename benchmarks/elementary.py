"""How exact and how fast the compiler's elementary functions are: `python -m benchmarks.elementary [NAME ...]`.

For each function and type it prints the largest error in units in the last place with the argument where it is found,
and the time for an element in a loop over 20,000 of them, which fit into the cache, beside NumPy's or SciPy's. float32
is compared with float64 functions at every 257th of all numbers, float64 and pow with mpmath at random ones. Needs
Numba and mpmath. It ends with status 1 if an error is 2 or more.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import mpmath as mp
import numba
import numpy as np
from scipy import special

from chainrule.compiler.kernels.elementary import FUNCTIONS

Array = Any

EXACT: dict[str, Callable[[Any], Any]] = {
    "exp": mp.exp,
    "exp2": lambda x: mp.mpf(2) ** x,
    "expm1": mp.expm1,
    "log": mp.log,
    "log1p": mp.log1p,
    "log2": lambda x: mp.log(x) / mp.log(2),
    "log10": lambda x: mp.log(x) / mp.log(10),
    "tanh": mp.tanh,
    "sigmoid": lambda x: mp.exp(x) / (1 + mp.exp(x)),
    "erf": mp.erf,
    "sin": mp.sin,
    "cos": mp.cos,
    "sinh": mp.sinh,
    "cosh": mp.cosh,
    "atan": mp.atan,
    "pow": mp.power,
}
ARRAY_FUNCTIONS: dict[str, Any] = {"sigmoid": special.expit, "erf": special.erf, "atan": np.arctan, "pow": np.power}
UNBOUNDED = (
    "sin",
    "cos",
    "log",
    "log1p",
    "log2",
    "log10",
    "atan",
    "pow",
)  # the others are as at 20,000 for larger numbers
BLOCK = 1 << 20  # numbers at a time
SPECIAL = (0.0, -0.0, math.inf, -math.inf, math.nan, 1.0, -1.0)


def array_function(name: str) -> Any:
    """NumPy's or SciPy's function."""
    return ARRAY_FUNCTIONS.get(name) or getattr(np, name)


def loop_over(function: Any, kind: str, arguments: int = 1) -> Callable[..., None]:
    """A compiled loop that fills its last argument with the function of the others."""
    types = ", ".join([f"{kind}[::1]"] * (arguments + 1))
    if arguments == 2:

        @numba.njit(f"void({types})", error_model="numpy")  # type: ignore[untyped-decorator]
        def loop_2(x: Array, y: Array, out: Array) -> None:
            for i in range(x.size):
                out[i] = function(x[i], y[i])

        return loop_2  # type: ignore[no-any-return]

    @numba.njit(f"void({types})", error_model="numpy")  # type: ignore[untyped-decorator]
    def loop(x: Array, out: Array) -> None:
        for i in range(x.size):
            out[i] = function(x[i])

    return loop  # type: ignore[no-any-return]


# ----- arguments -----


def dense_float32(step: int) -> Iterator[Array]:
    """Every `step`-th of all float32 in blocks, and the numbers next to the special ones."""
    yield edges(np.float32)
    for start in range(0, 2**32, BLOCK * step):
        end = min(start + BLOCK * step, 2**32)
        yield np.arange(start, end, step, dtype=np.uint64).astype(np.uint32).view(np.float32)


def random_float64(count: int, seed: int = 0) -> Array:
    """Random bits, random numbers of moderate size, numbers around 1 and -1, halfway cases of the reductions, edges."""
    random = np.random.default_rng(seed)
    count = count // 6
    size = np.exp2(random.uniform(-60, 0, count))
    turns = random.integers(1, 1 << 40, count) >> random.integers(0, 40, count)
    return np.concatenate(
        [
            random.integers(0, 1 << 64, count, dtype=np.uint64).view(np.float64),
            random.uniform(-3, 3, count),
            random.uniform(-750, 750, count),
            1 + random.uniform(-1, 1, count) * size,
            turns * (math.pi / 4),
            (random.integers(-1500, 1500, count) + 0.5) * math.log(2),
            edges(np.float64),
        ]
    )


def pairs(kind: Any, count: int, seed: int = 0) -> tuple[Array, Array]:
    """x > 0 and y whose x**y is of any size, or where y is an exponent as programs have them."""
    random = np.random.default_rng(seed)
    information = np.finfo(kind)
    size = random.choice([1e-6, 1e-3, 0.1, 1.0], count)
    x = np.exp(size * random.uniform(-80, 80, count)).astype(kind)
    widest = (information.maxexp + information.nmant) / np.abs(np.log2(x.astype(np.float64)) + 1e-300)
    y = random.uniform(-1, 1, count) * np.minimum(widest, float(information.max))
    usual = random.choice([3.0, -0.5, 0.5, -1.0, 2.0, 1 / 3, 2.2, 10.0], count)
    return x, np.where(random.uniform(0, 1, count) < 0.5, y, usual).astype(kind)


def edges(kind: Any) -> Array:
    """Special numbers, and those where a function begins to overflow or to underflow, with their neighbours."""
    information = np.finfo(kind)
    logarithms = [math.log(float(x)) for x in (information.max, information.tiny, information.smallest_subnormal)]
    places = [float(x) for x in (information.tiny, information.smallest_subnormal, information.eps, information.max)]
    places += [*logarithms, *(x / math.log(2) for x in logarithms), *(x + math.log(2) for x in logarithms)]
    places += [0.55, 1.0, 0.5**0.5, 2.0**0.5, 4.0, 6.0]
    middle = np.array([*places, *(-x for x in places)], kind)
    upper, lower = kind(np.inf), kind(-np.inf)
    with np.errstate(over="ignore"):
        around = [middle, np.nextafter(middle, upper), np.nextafter(middle, lower)]
    return np.concatenate([*around, np.array(SPECIAL, kind)])


# ----- errors -----


def errors_float32(name: str, x: Array, out: Array) -> Array:
    """Each result's error in units in the last place, against the float64 function."""
    with np.errstate(all="ignore"):
        want = array_function(name)(x.astype(np.float64))
        exponent = np.frexp(want)[1] - 1
        unit = np.ldexp(1.0, np.maximum(exponent, -126) - 23)
        error = np.abs(out.astype(np.float64) - want) / unit
    beyond = np.abs(want) >= 2.0**128 * (1 - 2.0**-25)  # these round to infinity
    error = np.where(beyond, np.where(np.isinf(out) & (np.sign(out) == np.sign(want)), 0, np.inf), error)
    return np.where(np.isnan(want), np.where(np.isnan(out), 0, np.inf), np.where(np.isnan(error), np.inf, error))


def errors_exact(name: str, *arrays: Array) -> Array:
    """Each result's error in units in the last place, against mpmath; the results are the last array."""
    information = np.finfo(arrays[0].dtype)
    return np.array([error_exact(name, *map(float, row), information=information) for row in zip(*arrays, strict=True)])


def error_exact(name: str, *given: float, information: Any) -> float:
    """One result's error."""
    mp.mp.prec = 160
    *arguments, out = given
    if name not in UNBOUNDED:
        arguments = [min(max(x, -2e4), 2e4) for x in arguments]
    try:
        want = EXACT[name](*map(mp.mpf, arguments))
    except ZeroDivisionError:  # mpmath's log2(0)
        want = -mp.inf
    if isinstance(want, mp.mpc) or mp.isnan(want):
        return 0.0 if math.isnan(out) else math.inf
    if mp.isinf(want) or abs(want) >= mp.mpf(float(information.max)) * (1 + mp.mpf(2) ** (-information.nmant - 2)):
        return 0.0 if math.isinf(out) and (out > 0) == (want > 0) else math.inf
    if not math.isfinite(out):
        return math.inf
    exponent = max(int(mp.frexp(want)[1]) - 1, int(information.minexp)) if want else int(information.minexp)
    return float(abs(mp.mpf(out) - want) * mp.mpf(2) ** (information.nmant - exponent))


def worst(name: str, kind: str, loop: Callable[..., None], step: int, points: int) -> tuple[float, float]:
    """The largest error, and the argument (of two the first) where it is found."""
    dense = kind == "float32" and name != "pow"
    blocks: Iterable[tuple[Array, ...]]
    if dense:
        blocks = ((x,) for x in dense_float32(step))
    else:
        blocks = [pairs(getattr(np, kind), points) if name == "pow" else (random_float64(points),)]
    largest, where = -1.0, math.nan
    for given in blocks:
        out = np.empty_like(given[0])
        loop(*given, out)
        errors = errors_float32(name, *given, out) if dense else errors_exact(name, *given, out)
        place = int(np.argmax(errors))
        if errors[place] > largest:
            largest, where = float(errors[place]), float(given[0][place])
    return largest, where


# ----- time -----


def nanoseconds(call: Callable[[], Any], count: int, repeats: int) -> float:
    """The shortest time of a call, for each of `count` elements."""
    best = math.inf
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return best / count * 1e9


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser("python -m benchmarks.elementary", description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", help="functions; all if none is named")
    parser.add_argument("--step", type=int, default=257, help="one of how many float32 is tried")
    parser.add_argument("--points", type=int, default=30_000, help="how many float64 are tried")
    parser.add_argument("--repeats", type=int, default=300, help="runs of each loop, the fastest of which counts")
    options = parser.parse_args(arguments)
    print(f"{'':8} {'':8} {'error':>7}  {'at':>14}  {'ns':>6}  {'NumPy ns':>8}")
    failed = False
    for (name, kind), function in FUNCTIONS.items():
        if options.names and name not in options.names:
            continue
        arguments = 2 if name == "pow" else 1
        loop = loop_over(function, kind, arguments)
        error, place = worst(name, kind, loop, options.step, options.points)
        given = np.random.default_rng(0).uniform(0.1, 3, (arguments, 20_000)).astype(kind)
        out = np.empty_like(given[0])
        times = [
            nanoseconds(lambda f=f, given=given, out=out: f(*given, out), out.size, options.repeats)  # type: ignore[misc]
            for f in (loop, array_function(name))
        ]
        print(f"{name:8} {kind:8} {error:7.3f}  {place:14.7g}  {times[0]:6.2f}  {times[1]:8.2f}", flush=True)
        failed |= not error < 2
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
