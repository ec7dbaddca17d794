"""Samples of elementwise functions, activations and special functions."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.ops import activation, elementwise, special

from .common import Sample, between, complex_normal, distinct, normal, positive


def shapes(low: float, high: float) -> tuple[np.ndarray, ...]:
    """Arguments of a function of one array: a matrix, a number, nothing, a view with negative strides."""
    return (
        between(low, high, 3, 2),
        between(low, high),
        between(low, high, 0, 2),
        between(low, high, 4, 6, seed=1).T[::-2, 1:],
    )


def of_one(low: float, high: float, *functions: Any, **kwargs: Any) -> list[Sample]:
    return [Sample(function, (x,), kwargs) for function in functions for x in shapes(low, high)]


def of_two(low: float, high: float, *functions: Any) -> list[Sample]:
    """Functions of two arrays: equal shapes, broadcasting, a number on either side."""
    pairs: tuple[tuple[Any, Any], ...] = (
        (between(low, high, 3, 2), between(low, high, 3, 2, seed=1)),
        (between(low, high, 2), between(low, high, 4, 1, seed=1)),
        (between(low, high), between(low, high, 3, seed=1)),
        (between(low, high, 3), 0.37 * low + 0.63 * high),
        (0.37 * low + 0.63 * high, between(low, high, 3)),
        (between(low, high, 0, 2), between(low, high, 2)),
    )
    return [Sample(function, pair) for function in functions for pair in pairs]


HOLOMORPHIC = (
    np.exp, np.exp2, np.expm1, np.log, np.log2, np.log10, np.log1p, np.sqrt, np.square, np.sin, np.cos, np.tan,
    np.arcsin, np.arccos, np.arctan, np.sinh, np.cosh, np.tanh,
    np.arcsinh, np.arccosh, np.arctanh, np.sinc, elementwise._rsqrt,
    activation._sigmoid,
)  # fmt: skip

COMPLEX = complex_normal(2, 3)

SAMPLES = [
    # real functions
    *of_one(-2, 2, np.exp, np.exp2, np.expm1, np.sin, np.cos, np.sinh, np.cosh, np.tanh, np.arctan, np.arcsinh),
    *of_one(-2, 2, np.square),
    *of_one(0.5, 3, np.log, np.log2, np.log10, np.log1p, np.sqrt, np.cbrt, elementwise._rsqrt),
    *of_one(-0.8, 0.8, np.tan, np.arcsin, np.arccos, np.arctanh, np.deg2rad, np.rad2deg, np.radians, np.degrees),
    *of_one(1.5, 4, np.arccosh),
    *of_one(-2, 2, np.sinc),
    Sample(np.sinc, (np.array([0.0, 1e-3, -0.05, 0.0999, 0.1001, 1.0]),)),
    *of_one(0.1, 0.4, np.floor, np.ceil, np.trunc, np.rint, np.round, elementwise._frac, np.fabs, np.absolute, np.sign),
    *of_one(-3.4, -3.1, np.floor, np.ceil, np.trunc, np.rint, elementwise._frac, np.fabs, np.absolute, np.sign),
    Sample(np.round, (between(0.11, 0.14, 3, 2),), {"decimals": 1}),
    Sample(np.nan_to_num, (normal(3),), {"nan": 0.0, "posinf": None, "neginf": None}),
    Sample(np.frexp, (between(1.1, 1.9, 3, 2),)),
    Sample(np.ldexp, (normal(3, 2), np.array([1, -2]))),
    *(Sample(np.power, (positive(3, 2), n)) for n in (0, 1, 2, 3, 4, 5, 0.5, 1.5, -1, -2, -0.5, -1.7)),
    *(Sample(np.power, (normal(3), n)) for n in (0, 2, 3, 4, -2)),
    Sample(np.power, (positive(), 2)),
    # functions of two arrays
    *of_two(0.5, 2, np.power, np.arctan2, np.hypot, np.logaddexp, np.logaddexp2, np.copysign),
    *of_two(0.5, 2, special._xlogy, special._xlog1py),
    *of_two(-2, 2, np.maximum, np.minimum, np.fmax, np.fmin, np.logaddexp),
    *of_two(0.55, 0.95, np.heaviside, np.nextafter),
    Sample(np.power, (2.0, normal(3))),
    Sample(np.power, (np.array([0.5, 2.0]), np.array([0.0, -1.0]))),
    *(
        Sample(function, (between(0.2, 0.8, 3, 2) + 3, y))
        for function in (np.remainder, np.fmod, np.floor_divide, elementwise._trunc_divide)
        for y in (np.array([1.0, -1.0]), 1.0, np.array(1.0), np.array([[1.0], [1.01], [-1.0]]))
    ),
    *(Sample(function, (3.3, np.array([1.0, -0.95]))) for function in (np.remainder, np.fmod, np.floor_divide)),
    Sample(elementwise.keep_where, (normal(3, 2), distinct(3, 2) > 0)),
    Sample(elementwise.keep_where, (normal(3, 1), distinct(3, 2) > 0)),
    Sample(np.clip, (distinct(3, 2), -1.0, 1.0)),
    Sample(np.clip, (distinct(3, 2), None, 1.0)),
    Sample(np.clip, (distinct(3, 2), -1.0, None)),
    Sample(np.clip, (distinct(3, 2), np.array([-1.0, 0.0]), np.array([[1.0], [0.1], [-0.5]]))),
    Sample(np.clip, (distinct(4), np.array([-1.0, 0.0, 0.5, 1.0]), None)),
    Sample(np.clip, (distinct(4), None, np.array([-1.0, 0.0, 0.5, 1.0]))),
    Sample(elementwise.complex_logaddexp, (COMPLEX, complex_normal(3, seed=1))),
    # complex numbers
    *(Sample(function, (COMPLEX,)) for function in HOLOMORPHIC),
    Sample(activation._softsign, (COMPLEX,)),
    *(Sample(function, (COMPLEX,)) for function in (np.absolute, np.sign, np.conjugate, np.real, np.imag)),
    Sample(np.angle, (COMPLEX,)),
    Sample(np.angle, (COMPLEX,), {"deg": True}),
    Sample(np.angle, (normal(3),)),
    *(Sample(function, (normal(3),)) for function in (np.conjugate, np.real, np.imag)),
    *(Sample(np.power, (COMPLEX, y)) for y in (2, 3, 1.5, 1 + 2j, complex_normal(3, seed=1))),
    Sample(np.power, (2.0 + 1j, COMPLEX)),
    Sample(elementwise._complex, (normal(3, 1), normal(2))),
    Sample(elementwise._complex, (normal(), normal())),
    Sample(elementwise._view_as_real, (COMPLEX,)),
    Sample(elementwise._view_as_real, (np.asarray(complex_normal()),)),
    Sample(elementwise._view_as_complex, (normal(3, 2),)),
    Sample(elementwise._view_as_complex, (normal(2, 3).T,)),
    # three operands
    Sample(elementwise._lerp, (normal(3, 2), normal(2), between(0, 1, 3, 1))),
    Sample(elementwise._lerp, (normal(3, 2), normal(2, seed=1), 0.3)),
    Sample(elementwise._lerp, (COMPLEX, complex_normal(3), complex_normal(2, 1))),
    *(
        Sample(function, args, {"value": value})
        for function in (elementwise._addcmul, elementwise._addcdiv)
        for args in ((normal(3, 2), normal(2), positive(3, 1)), (COMPLEX, complex_normal(3), complex_normal(2, 1)))
        for value in (1, -0.5)
    ),
    # activations
    *(
        Sample(function, (np.asarray(distinct(*shape) * 0.37),))
        for function in (
            activation._relu,
            activation._hardsigmoid,
            activation._hardswish,
            activation._sigmoid,
            activation._logsigmoid,
            activation._silu,
            activation._mish,
            activation._softsign,
            activation._tanhshrink,
            activation._softplus,
            activation._gelu,
            activation._elu,
            activation._leaky_relu,
            activation._hardtanh,
            activation._softshrink,
            activation._hardshrink,
        )
        for shape in ((4, 5), (), (0, 2))
    ),
    Sample(activation._gelu, (normal(3, 4),), {"approximate": "tanh"}),
    Sample(activation._softplus, (normal(3, 4),), {"beta": 2.0, "threshold": 1.0}),
    Sample(activation._elu, (distinct(3, 4),), {"alpha": 1.3, "scale": 1.1, "input_scale": 0.7}),
    Sample(activation._leaky_relu, (distinct(3, 4),), {"negative_slope": 2.0}),
    Sample(activation._hardtanh, (distinct(3, 4),), {"min_val": -0.5, "max_val": 2.0}),
    Sample(activation._threshold, (distinct(3, 4),), {"threshold": 0.5, "value": 20.0}),
    Sample(activation._prelu, (distinct(4, 3), normal(1, 3))),
    Sample(activation._prelu, (distinct(4, 3, 2), normal(1, 3, 1))),
    # special functions
    *of_one(-2, 2, special._erf, special._erfc, special._erfcx, special._ndtr, special._log_ndtr),
    *of_one(-0.8, 0.8, special._erfinv),
    *of_one(0.1, 0.9, special._ndtri, special._logit, special._entr),
    Sample(special._logit, (np.array([0.05, 0.3, 0.95]),), {"eps": 0.1}),
    *of_one(0.6, 4, special._lgamma, special._digamma),
    Sample(special._digamma, (between(-0.8, -0.2, 3),)),
    *(Sample(special._polygamma, (n, between(0.7, 3, 3, 2))) for n in (1, 2, 3)),
    *(
        Sample(function, (a, between(0.5, 3, 3, 2)))
        for function in (special._gammainc, special._gammaincc)
        for a in (positive(2), 1.5)
    ),
    *(Sample(special._zeta, (x, between(0.7, 3, 3, 2))) for x in (between(1.5, 3, 2), 2.5)),
    *of_one(-3, 3, special._i0, special._i1, special._bessel_j0, special._bessel_j1, special._spherical_bessel_j0),
    *of_one(-3, 3, special._spherical_bessel_j1),
    Sample(special._i1, (np.array([0.0, 1.0]),), second_order=False),  # out / x: its own derivative at 0 is lost
    *of_one(0.3, 3, special._i0e, special._i1e, special._bessel_y0, special._bessel_y1),
    *of_one(-3, -0.3, special._i0e, special._i1e),
    *of_one(
        0.3,
        3,
        special._modified_bessel_k0,
        special._modified_bessel_k1,
        special._scaled_modified_bessel_k0,
        special._scaled_modified_bessel_k1,
    ),
]
