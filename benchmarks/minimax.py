"""The coefficients of the compiler's elementary functions: `python -m benchmarks.minimax` prints them. Needs mpmath.

For each entry of `FITS` the polynomial p is sought that makes the largest |weight(t) (target(t) - p(t))| on an interval
smallest, by Remez' exchange on a Chebyshev grid (E. W. Cheney, Introduction to Approximation Theory, chapter 3), and
rounded.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mpmath as mp
import numpy as np

GRID = 600  # points; even, so that none is at 0
Real = Any  # mpmath's numbers
HALF_LOG_2 = 0.34661  # a little more, as the multiple of log(2) nearest to x is found with an error


@dataclass
class Fit:
    """What is approximated.

    Attributes:
        target: the function.
        weight: what the error is multiplied by, so that it counts relative to the result.
        interval: of t.
        degree: of the polynomial, for float32 and float64.
    """

    target: Callable[[Real], Real]
    weight: Callable[[Real], Real]
    interval: tuple[Real, Real]
    degree: int


def remez(values: list[Real], weights: list[Real], grid: list[Real], degree: int) -> list[Real]:
    """Coefficients, lowest power first, that fit the values on the grid with the least weighted error."""
    places = [round((len(grid) - 1) * i / (degree + 1)) for i in range(degree + 2)]
    while True:
        system = mp.matrix(degree + 2, degree + 2)
        for row, place in enumerate(places):
            for power in range(degree + 1):
                system[row, power] = grid[place] ** power
            system[row, degree + 1] = (-1) ** row / weights[place]
        solution = list(mp.lu_solve(system, mp.matrix([values[place] for place in places])))
        polynomial, levelled = solution[:-1], abs(solution[-1])
        errors = weighted_errors(polynomial, values, weights, grid)
        if max(map(abs, errors)) < levelled * mp.mpf("1.001"):
            return polynomial
        places = alternations(errors, degree + 2)


def weighted_errors(polynomial: list[Any], values: list[Real], weights: list[Real], grid: list[Real]) -> list[Real]:
    """On the grid."""
    exact = [mp.mpf(float(c)) if isinstance(c, np.floating) else c for c in reversed(polynomial)]
    return [w * (v - mp.polyval(exact, t)) for v, w, t in zip(values, weights, grid, strict=True)]


def alternations(errors: list[Real], count: int) -> list[int]:
    """Where the error is largest between its changes of sign: `count` neighbouring places with the largest errors."""
    best: list[int] = []
    for i, error in enumerate(errors):
        if best and (error > 0) == (errors[best[-1]] > 0):
            if abs(error) > abs(errors[best[-1]]):
                best[-1] = i
        else:
            best.append(i)
    while len(best) > count:
        best.pop(0 if abs(errors[best[0]]) < abs(errors[best[-1]]) else -1)
    return best


def coefficients(fit: Fit, kind: type) -> tuple[list[Any], float]:
    """The coefficients as numbers of this type, lowest power first, and log2 of the largest weighted error."""
    mp.mp.prec = 200
    low, high = map(mp.mpf, fit.interval)
    # no point at the ends, where a target may be the limit of a quotient
    angles = [mp.cos(mp.pi * (2 * i + 1) / (2 * GRID)) for i in range(GRID)]
    grid = [(low + high) / 2 - (high - low) / 2 * angle for angle in angles]
    values, weights = [fit.target(t) for t in grid], [fit.weight(t) for t in grid]
    rounded = [kind(float(c)) for c in remez(values, weights, grid, fit.degree)]
    worst = max(map(abs, weighted_errors(rounded, values, weights, grid)))
    return rounded, float(mp.log(worst, 2))


# ----- what is fitted -----


def exponential(degree: int) -> Fit:
    """(e**r - 1 - r) / r**2, right to the size of e**r."""
    return Fit(lambda r: (mp.expm1(r) - r) / r**2, lambda r: r**2 / mp.exp(r), (-HALF_LOG_2, HALF_LOG_2), degree)


def exponential_less_1(degree: int) -> Fit:
    """The same, right to the size of e**r - 1."""
    return Fit(lambda r: (mp.expm1(r) - r) / r**2, lambda r: abs(r**2 / mp.expm1(r)), (-HALF_LOG_2, HALF_LOG_2), degree)


def logarithm(degree: int) -> Fit:
    """(2 artanh(s) / s - 2) / s**2 in z = s**2, where log(1 + f) = 2 artanh(f / (2 + f))."""
    high = ((mp.sqrt(2) - 1) / (mp.sqrt(2) + 1)) ** 2

    def target(z: Real) -> Real:
        return (2 * mp.atanh(mp.sqrt(z)) / mp.sqrt(z) - 2) / z

    return Fit(target, lambda z: z / 2, (0, high), degree)


def logarithm_less_2_terms(degree: int) -> Fit:
    """(2 artanh(s) / s - 2 - 2/3 s**2) / s**4 in z = s**2."""
    high = ((mp.sqrt(2) - 1) / (mp.sqrt(2) + 1)) ** 2

    def target(z: Real) -> Real:
        return ((2 * mp.atanh(mp.sqrt(z)) / mp.sqrt(z) - 2) / z - mp.mpf(2) / 3) / z

    return Fit(target, lambda z: z**2 / 2, (0, high), degree)


def hyperbolic_tangent(degree: int) -> Fit:
    """(tanh(x) - x) / x**3 in z = x**2."""

    def target(z: Real) -> Real:
        return (mp.tanh(mp.sqrt(z)) / mp.sqrt(z) - 1) / z

    return Fit(target, lambda z: z, (0, mp.mpf("0.55") ** 2), degree)


def hyperbolic_sine(degree: int) -> Fit:
    """(sinh(x) - x) / x**3 in z = x**2."""
    return Fit(lambda z: (mp.sinh(mp.sqrt(z)) / mp.sqrt(z) - 1) / z, lambda z: z, (0, 1), degree)


def arc_tangent(degree: int) -> Fit:
    """(atan(t) - t) / t**3 in z = t**2."""
    return Fit(lambda z: (mp.atan(mp.sqrt(z)) / mp.sqrt(z) - 1) / z, lambda z: z, (0, 1), degree)


def error_function(degree: int) -> Fit:
    """erf(x) / x - 1 in z = x**2."""
    return Fit(lambda z: mp.erf(mp.sqrt(z)) / mp.sqrt(z) - 1, lambda z: mp.mpf(1), (0, 1), degree)


def logarithm_of_erfc(end: float) -> Callable[[int], Fit]:
    """log(erfc(1 + t)), right to the size of erf."""
    return lambda degree: Fit(lambda t: mp.log(mp.erfc(1 + t)), lambda t: mp.erfc(1 + t), (0, end - 1), degree)


def sine(degree: int) -> Fit:
    """(sin(r) - r) / r**3 in z = r**2."""
    high = (mp.pi / 4 * mp.mpf("1.0001")) ** 2
    return Fit(lambda z: (mp.sin(mp.sqrt(z)) / mp.sqrt(z) - 1) / z, lambda z: z, (0, high), degree)


def cosine(degree: int) -> Fit:
    """(cos(r) - 1 + r**2 / 2) / r**4 in z = r**2."""
    high = (mp.pi / 4 * mp.mpf("1.0001")) ** 2
    return Fit(lambda z: (mp.cos(mp.sqrt(z)) - 1 + z / 2) / z**2, lambda z: z**2, (0, high), degree)


FITS: dict[str, tuple[Callable[[int], Fit], type, int]] = {
    "EXP_32": (exponential, np.float32, 4),
    "EXP_64": (exponential, np.float64, 9),
    "EXPM1_32": (exponential_less_1, np.float32, 5),
    "EXPM1_64": (exponential_less_1, np.float64, 10),
    "LOG_32": (logarithm, np.float32, 2),
    "LOG_64": (logarithm, np.float64, 6),
    "POW_64": (logarithm_less_2_terms, np.float64, 7),
    "TANH_32": (hyperbolic_tangent, np.float32, 4),
    "TANH_64": (hyperbolic_tangent, np.float64, 10),
    "SINH_32": (hyperbolic_sine, np.float32, 3),
    "SINH_64": (hyperbolic_sine, np.float64, 7),
    "ATAN_32": (arc_tangent, np.float32, 8),
    "ATAN_64": (arc_tangent, np.float64, 20),
    "ERF_32": (error_function, np.float32, 6),
    "ERF_64": (error_function, np.float64, 13),
    "LOG_ERFC_32": (logarithm_of_erfc(4.0), np.float32, 8),
    "LOG_ERFC_64": (logarithm_of_erfc(6.0), np.float64, 19),
    "SIN_32": (sine, np.float64, 3),
    "COS_32": (cosine, np.float64, 2),
    "SIN_64": (sine, np.float64, 5),
    "COS_64": (cosine, np.float64, 5),
}


def main(names: list[str]) -> None:
    """Print the coefficients as the constants of `chainrule/compiler/kernels/elementary.py`."""
    for name in names or FITS:
        make, kind, degree = FITS[name]
        mp.mp.prec = 200
        fit = make(degree)
        numbers, error = coefficients(fit, kind)
        digits = 9 if kind is np.float32 else 17
        print(f"{name} = (  # largest error 2**{error:.1f}")
        print("".join(f"    {float(number):.{digits}g},\n" for number in numbers) + ")")


if __name__ == "__main__":
    main(sys.argv[1:])
