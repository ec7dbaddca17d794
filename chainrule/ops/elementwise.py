"""Functions of each element: exponentials, trigonometry, powers, rounding, extrema, complex parts.

Activations are in `activation.py`, SciPy's functions in `special.py`, comparisons in `comparison.py`.
"""

from __future__ import annotations

import builtins
import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.broadcasting import unbroadcast
from ..core.dtypes import default_float, promote_pair, to_complex
from ..core.forward import _unary, array_function, cast, implements, promote, record, wrap_forward_fn, wrapped_array
from ..core.grad_mode import grad_mode
from ..core.recipe import NO_KWARGS
from ..core.table import backward, result_may_change
from ..core.tensor import Tensor, make_tensor
from ..core.tracing import as_it_is
from .common import as_tensor_argument, attach, attach_in_place, in_place, is_complex, real_like

LN2 = math.log(2.0)
LN10 = math.log(10.0)
NUMBER = (int, float, builtins.complex)

# ----- the table: choosing ----------------------------------------------------------------------------------------

SAME_SIZE_INTEGER = {"e": np.int16, "f": np.int32, "d": np.int64}
ZERO = {kind: np.zeros((), kind) for kind in "efd"}  # an array is compared with these sooner than with the number 0


@array_function
def keep_where(x: Any, mask: Any) -> Any:
    """`x`, broadcast to the mask, where that is true, 0 elsewhere, also for infinities and NaN."""
    if type(x) is np.ndarray and type(mask) is np.ndarray and (integer := SAME_SIZE_INTEGER.get(x.dtype.char)):
        if mask.size < 1024:
            return np.where(mask, x, ZERO[x.dtype.char])
        # the bits times 0 or 1: as fast as x * mask, which is NaN for an infinite x; np.where takes three times as long
        return np.multiply(x.view(integer), mask).view(x.dtype)
    return np.where(mask, x, np.zeros_like(x))


@backward(keep_where, 0)
def keep_where_back(grad_out: Any, out: Any, x: Any, mask: Any) -> Any:
    r"""$\nabla_x L = [mask] \nabla_{out} L$"""
    return unbroadcast(keep_where(grad_out, mask), x)


wrap_forward_fn(keep_where)

ZEROS = {kind: np.zeros(1 << 16, kind) for kind in "fd"}


def at_least_zero(x: Any, out: Any = None) -> Any:
    """`np.maximum(x, 0)`; NumPy compares two arrays in a third of the time that an array and one number take."""
    if type(x) is not np.ndarray or (zeros := ZEROS.get(x.dtype.char)) is None:
        return np.maximum(x, 0)
    if x.size < 1024 or not x.flags.c_contiguous or not (out is None or out.flags.c_contiguous):
        return np.maximum(x, ZERO[x.dtype.char], out=out)
    if out is None:
        out = np.empty_like(x)
    given, taken = x.reshape(-1), out.reshape(-1)
    for start in range(0, x.size, zeros.size):
        part = given[start : start + zeros.size]
        np.maximum(part, zeros[: part.size], out=taken[start : start + zeros.size])
    return out


def flat_back(grad_out: Any, out: Any, x: Any) -> Any:
    r"""$\nabla_x L = 0$"""
    return np.zeros_like(grad_out)


for _step in (np.floor, np.ceil, np.trunc, np.rint):
    backward(_step, 0)(flat_back)


@backward(np.round, 0)
def round_back(grad_out: Any, out: Any, a: Any, decimals: int = 0) -> Any:
    r"""$\nabla_a L = 0$"""
    return np.zeros_like(grad_out)


# ----- the table: exponentials and logarithms ---------------------------------------------------------------------


@backward(np.exp)
def exp_back(grad_out: Any, out: Any, x: Any) -> Any:
    r"""$\nabla_x L = out \nabla_{out} L$"""
    return grad_out * out


@backward(np.exp2)
def exp2_back(grad_out: Any, out: Any, x: Any) -> Any:
    r"""$\nabla_x L = \ln 2 \cdot out \nabla_{out} L$"""
    return grad_out * out * LN2


@backward(np.expm1)
def expm1_back(grad_out: Any, out: Any, x: Any) -> Any:
    r"""$\nabla_x L = (out + 1) \nabla_{out} L$"""
    return grad_out * (out + 1)


@backward(np.log)
def log_back(grad_out: Any, out: Any, x: Any) -> Any:
    r"""$\nabla_x L = \nabla_{out} L / x$"""
    return grad_out / x


@backward(np.log2)
def log2_back(grad_out: Any, out: Any, x: Any) -> Any:
    r"""$\nabla_x L = \frac{1}{x \ln 2} \nabla_{out} L$"""
    return grad_out / (x * LN2)


@backward(np.log10)
def log10_back(grad_out: Any, out: Any, x: Any) -> Any:
    r"""$\nabla_x L = \frac{1}{x \ln 10} \nabla_{out} L$"""
    return grad_out / (x * LN10)


@backward(np.log1p)
def log1p_back(grad_out: Any, out: Any, x: Any) -> Any:
    r"""$\nabla_x L = \frac{1}{1 + x} \nabla_{out} L$"""
    return grad_out / (x + 1)


@array_function
def complex_logaddexp(x: Any, y: Any) -> Any:
    """The logarithm of the sum of two exponentials of complex numbers, continued from the larger real part's."""
    first = np.real(x) >= np.real(y)
    larger, smaller = np.where(first, x, y), np.where(first, y, x)
    reference = np.where(np.isneginf(np.real(larger)), 0, larger)
    return larger + np.log1p(np.exp(smaller - reference))


@backward(np.logaddexp, 0)
@backward(complex_logaddexp, 0)
def logaddexp_back0(grad_out: Any, out: Any, x: Any, y: Any) -> Any:
    r"""$\nabla_x L = e^{x - out} \nabla_{out} L$"""
    return unbroadcast(grad_out * np.exp(x - out), x)


@backward(np.logaddexp, 1)
@backward(complex_logaddexp, 1)
def logaddexp_back1(grad_out: Any, out: Any, x: Any, y: Any) -> Any:
    r"""$\nabla_y L = e^{y - out} \nabla_{out} L$"""
    return unbroadcast(grad_out * np.exp(y - out), y)


@backward(np.logaddexp2, 0)
def logaddexp2_back0(grad_out: Any, out: Any, x: Any, y: Any) -> Any:
    r"""$\nabla_x L = 2^{x - out} \nabla_{out} L$"""
    return unbroadcast(grad_out * np.exp2(x - out), x)


@backward(np.logaddexp2, 1)
def logaddexp2_back1(grad_out: Any, out: Any, x: Any, y: Any) -> Any:
    r"""$\nabla_y L = 2^{y - out} \nabla_{out} L$"""
    return unbroadcast(grad_out * np.exp2(y - out), y)


# ----- the table: powers and roots --------------------------------------------------------------------------------


@backward(np.sqrt)
def sqrt_back(grad_out: Any, out: Any, x: Any) -> Any:
    r"""$\nabla_x L = \frac{1}{2 \, out} \nabla_{out} L$"""
    return grad_out * 0.5 / out


@backward(np.cbrt)
def cbrt_back(grad_out: Any, out: Any, x: Any) -> Any:
    r"""$\nabla_x L = \frac{1}{3 \, out^2} \nabla_{out} L$"""
    return grad_out / (3 * out * out)


@backward(np.square)
def square_back(grad_out: Any, out: Any, x: Any) -> Any:
    r"""$\nabla_x L = 2 x \nabla_{out} L$"""
    return grad_out * x * 2


@array_function
def _rsqrt(x: Any) -> Any:
    """1 / sqrt(x)."""
    return 1 / np.sqrt(x)


@backward(_rsqrt, 0)
def rsqrt_back(grad_out: Any, out: Any, x: Any) -> Any:
    r"""$\nabla_x L = -\frac{1}{2} out^3 \nabla_{out} L$"""
    return grad_out * (out * out * out) * -0.5


def small_power(x: Any, exponent: Any) -> Any:
    """`x ** exponent` for a number: by products where NumPy would call `pow` for every element."""
    if exponent == 2:
        return x * x
    if exponent == 1:
        return +x
    if exponent == 3:
        return x * x * x
    if exponent == 4:
        square = x * x
        return square * square
    if exponent == 0.5:
        return np.sqrt(x)
    if exponent == -1:
        return 1 / x
    if exponent == -2:
        return 1 / (x * x)
    if exponent == -0.5:
        return 1 / np.sqrt(x)
    return np.power(x, exponent)


@backward(np.power, 0)
def power_back0(grad_out: Any, out: Any, x: Any, y: Any) -> Any:
    r"""$\nabla_x L = y x^{y - 1} \nabla_{out} L$, 0 where $y = 0$"""
    if isinstance(y, NUMBER):
        if y == 0:
            return np.zeros_like(grad_out)
        if y == 1:
            return grad_out
        return grad_out * (x if y == 2 else small_power(x, y - 1)) * y
    undefined = (x == 0) & (y == 0)
    slope = y * np.power(x, np.where(undefined, np.ones_like(y), y - 1))
    return real_like(unbroadcast(grad_out * slope, x), x)


@backward(np.power, 1)
def power_back1(grad_out: Any, out: Any, x: Any, y: Any) -> Any:
    r"""$\nabla_y L = out \ln x \nabla_{out} L$, 0 where $x = 0$ and $y \geq 0$"""
    if isinstance(x, NUMBER):
        if x == 0:
            return real_like(grad_out * np.where(np.real(y) >= 0, np.zeros_like(out), -out), y)
        logarithm = (
            builtins.complex(np.log(x)) if isinstance(x, builtins.complex) else math.log(x) if x > 0 else math.nan
        )
        return real_like(unbroadcast(grad_out * out * logarithm, y), y)
    flat = (x == 0) & (np.real(y) >= 0)
    logarithm = np.log(np.where(flat, np.ones_like(x), x))
    return real_like(unbroadcast(keep_where(grad_out * out * logarithm, np.logical_not(flat)), y), y)


# ----- the table: trigonometric and hyperbolic functions ----------------------------------------------------------


@backward(np.sin)
def sin_back(grad_out: Any, out: Any, x: Any) -> Any:
    r"""$\nabla_x L = \cos x \nabla_{out} L$"""
    return grad_out * np.cos(x)


@backward(np.cos)
def cos_back(grad_out: Any, out: Any, x: Any) -> Any:
    r"""$\nabla_x L = -\sin x \nabla_{out} L$"""
    return -grad_out * np.sin(x)


@backward(np.tan)
def tan_back(grad_out: Any, out: Any, x: Any) -> Any:
    r"""$\nabla_x L = (1 + out^2) \nabla_{out} L$"""
    return grad_out * (out * out + 1)


@backward(np.arcsin)
def arcsin_back(grad_out: Any, out: Any, x: Any) -> Any:
    r"""$\nabla_x L = \frac{1}{\sqrt{1 - x^2}} \nabla_{out} L$"""
    return grad_out / np.sqrt(1 - x * x)


@backward(np.arccos)
def arccos_back(grad_out: Any, out: Any, x: Any) -> Any:
    r"""$\nabla_x L = -\frac{1}{\sqrt{1 - x^2}} \nabla_{out} L$"""
    return -grad_out / np.sqrt(1 - x * x)


@backward(np.arctan)
def arctan_back(grad_out: Any, out: Any, x: Any) -> Any:
    r"""$\nabla_x L = \frac{1}{1 + x^2} \nabla_{out} L$"""
    return grad_out / (x * x + 1)


@backward(np.sinh)
def sinh_back(grad_out: Any, out: Any, x: Any) -> Any:
    r"""$\nabla_x L = \cosh x \nabla_{out} L$"""
    return grad_out * np.cosh(x)


@backward(np.cosh)
def cosh_back(grad_out: Any, out: Any, x: Any) -> Any:
    r"""$\nabla_x L = \sinh x \nabla_{out} L$"""
    return grad_out * np.sinh(x)


@backward(np.tanh)
def tanh_back(grad_out: Any, out: Any, x: Any) -> Any:
    r"""$\nabla_x L = (1 - out^2) \nabla_{out} L$"""
    return grad_out * (1 - out * out)


@backward(np.arcsinh)
def arcsinh_back(grad_out: Any, out: Any, x: Any) -> Any:
    r"""$\nabla_x L = \frac{1}{\sqrt{x^2 + 1}} \nabla_{out} L$"""
    return grad_out / np.sqrt(x * x + 1)


@backward(np.arccosh)
def arccosh_back(grad_out: Any, out: Any, x: Any) -> Any:
    r"""$\nabla_x L = \frac{1}{\sqrt{x - 1} \sqrt{x + 1}} \nabla_{out} L$"""
    return grad_out / (np.sqrt(x - 1) * np.sqrt(x + 1))


@backward(np.arctanh)
def arctanh_back(grad_out: Any, out: Any, x: Any) -> Any:
    r"""$\nabla_x L = \frac{1}{1 - x^2} \nabla_{out} L$"""
    return grad_out / (1 - x * x)


def _squared_length(x: Any, y: Any) -> Any:
    """x^2 + y^2, and 1 at the origin, where PyTorch's gradient of the angle is 0."""
    squares = x * x + y * y
    return np.where(squares == 0, np.ones_like(squares), squares)


@backward(np.arctan2, 0)
def arctan2_back0(grad_out: Any, out: Any, x: Any, y: Any) -> Any:
    r"""$\nabla_x L = \frac{y}{x^2 + y^2} \nabla_{out} L$"""
    return unbroadcast(grad_out * y / _squared_length(x, y), x)


@backward(np.arctan2, 1)
def arctan2_back1(grad_out: Any, out: Any, x: Any, y: Any) -> Any:
    r"""$\nabla_y L = -\frac{x}{x^2 + y^2} \nabla_{out} L$"""
    return unbroadcast(-grad_out * x / _squared_length(x, y), y)


@backward(np.hypot, 0)
def hypot_back0(grad_out: Any, out: Any, x: Any, y: Any) -> Any:
    r"""$\nabla_x L = \frac{x}{out} \nabla_{out} L$"""
    return unbroadcast(grad_out * (x / out), x)


@backward(np.hypot, 1)
def hypot_back1(grad_out: Any, out: Any, x: Any, y: Any) -> Any:
    r"""$\nabla_y L = \frac{y}{out} \nabla_{out} L$"""
    return unbroadcast(grad_out * (y / out), y)


@backward(np.deg2rad)
@backward(np.radians)
def deg2rad_back(grad_out: Any, out: Any, x: Any) -> Any:
    r"""$\nabla_x L = \frac{\pi}{180} \nabla_{out} L$"""
    return grad_out * (math.pi / 180)


@backward(np.rad2deg)
@backward(np.degrees)
def rad2deg_back(grad_out: Any, out: Any, x: Any) -> Any:
    r"""$\nabla_x L = \frac{180}{\pi} \nabla_{out} L$"""
    return grad_out * (180 / math.pi)


@backward(np.sinc)
def sinc_back(grad_out: Any, out: Any, x: Any) -> Any:
    r"""$\nabla_x L = \frac{\cos(\pi x) - out}{x} \nabla_{out} L$, near 0 by its Taylor series"""
    near = np.abs(x) < 0.1  # where the quotient loses digits
    away = np.where(near, np.ones_like(x), x)
    t = x * x * math.pi**2
    series = 1 - t / 130 * (1 - t / 180)
    for divisor in (88, 54, 28, 10):
        series = 1 - t / divisor * series
    return grad_out * np.where(near, x * series * (-(math.pi**2) / 3), (np.cos(away * math.pi) - out) / away)


# ----- the table: extrema -----------------------------------------------------------------------------------------


@backward(np.maximum, 0)
def maximum_back0(grad_out: Any, out: Any, x: Any, y: Any) -> Any:
    r"""$\nabla_x L = [x > y] \nabla_{out} L$, half of it where $x = y$"""
    return unbroadcast(_share(grad_out, x < y, x <= y), x)


@backward(np.maximum, 1)
def maximum_back1(grad_out: Any, out: Any, x: Any, y: Any) -> Any:
    r"""$\nabla_y L = [y > x] \nabla_{out} L$, half of it where $x = y$"""
    return unbroadcast(_share(grad_out, y < x, y <= x), y)


@backward(np.minimum, 0)
def minimum_back0(grad_out: Any, out: Any, x: Any, y: Any) -> Any:
    r"""$\nabla_x L = [x < y] \nabla_{out} L$, half of it where $x = y$"""
    return unbroadcast(_share(grad_out, x > y, x >= y), x)


@backward(np.minimum, 1)
def minimum_back1(grad_out: Any, out: Any, x: Any, y: Any) -> Any:
    r"""$\nabla_y L = [y < x] \nabla_{out} L$, half of it where $x = y$"""
    return unbroadcast(_share(grad_out, y > x, y >= x), y)


def _share(grad_out: Any, lost: Any, lost_or_tied: Any) -> Any:
    """The gradient of an argument of maximum or minimum: all where it won (or is NaN), half where it tied."""
    return (keep_where(grad_out, np.logical_not(lost)) + keep_where(grad_out, np.logical_not(lost_or_tied))) * 0.5


@backward(np.fmax, 0)
def fmax_back0(grad_out: Any, out: Any, x: Any, y: Any) -> Any:
    r"""$\nabla_x L = [x \geq y \text{ or } y \text{ is NaN}] \nabla_{out} L$"""
    return unbroadcast(keep_where(grad_out, (x >= y) | np.isnan(y)), x)


@backward(np.fmax, 1)
def fmax_back1(grad_out: Any, out: Any, x: Any, y: Any) -> Any:
    r"""$\nabla_y L = [\text{not } (x \geq y \text{ or } y \text{ is NaN})] \nabla_{out} L$"""
    return unbroadcast(keep_where(grad_out, np.logical_not((x >= y) | np.isnan(y))), y)


@backward(np.fmin, 0)
def fmin_back0(grad_out: Any, out: Any, x: Any, y: Any) -> Any:
    r"""$\nabla_x L = [x \leq y \text{ or } y \text{ is NaN}] \nabla_{out} L$"""
    return unbroadcast(keep_where(grad_out, (x <= y) | np.isnan(y)), x)


@backward(np.fmin, 1)
def fmin_back1(grad_out: Any, out: Any, x: Any, y: Any) -> Any:
    r"""$\nabla_y L = [\text{not } (x \leq y \text{ or } y \text{ is NaN})] \nabla_{out} L$"""
    return unbroadcast(keep_where(grad_out, np.logical_not((x <= y) | np.isnan(y))), y)


@backward(np.clip, 0)
def clip_back0(grad_out: Any, out: Any, a: Any, a_min: Any = None, a_max: Any = None) -> Any:
    r"""$\nabla_a L = [a_{min} \leq a \leq a_{max}] \nabla_{out} L$"""
    if a_min is None:
        inside = a <= a_max
    elif a_max is None:
        inside = a >= a_min
    else:
        inside = (a >= a_min) & (a <= a_max)
    return unbroadcast(keep_where(grad_out, inside), a)


@backward(np.clip, 1)
def clip_back1(grad_out: Any, out: Any, a: Any, a_min: Any = None, a_max: Any = None) -> Any:
    r"""$\nabla_{a_{min}} L = [a < a_{min} < a_{max}] \nabla_{out} L$"""
    below = a < a_min if a_max is None else (a < a_min) & (a_min < a_max)
    return unbroadcast(keep_where(grad_out, below), a_min)


@backward(np.clip, 2)
def clip_back2(grad_out: Any, out: Any, a: Any, a_min: Any = None, a_max: Any = None) -> Any:
    r"""$\nabla_{a_{max}} L = [a > a_{max} \text{ or } a_{max} < a_{min}] \nabla_{out} L$"""
    above = a > a_max if a_min is None else (a > a_max) | (a_max < a_min)
    return unbroadcast(keep_where(grad_out, above), a_max)


# ----- the table: signs, quotients with a remainder ---------------------------------------------------------------


@backward(np.absolute)
def absolute_back(grad_out: Any, out: Any, x: Any) -> Any:
    r"""$\nabla_x L = \mathrm{sgn}(\bar x) \nabla_{out} L$, 0 where $x = 0$"""
    return grad_out * (np.conjugate(np.sign(x)) if is_complex(x) else np.sign(x))


@backward(np.fabs)
def fabs_back(grad_out: Any, out: Any, x: Any) -> Any:
    r"""$\nabla_x L = \mathrm{sgn}(x) \nabla_{out} L$, 0 where $x = 0$"""
    return grad_out * np.sign(x)


@backward(np.sign)
def sign_back(grad_out: Any, out: Any, x: Any) -> Any:
    r"""$\nabla_x L = \frac{1}{|x|} (\nabla_{out} L - \mathrm{Re}(out \nabla_{out} L) \, \overline{out})$

    0 for real $x$.
    """
    if not is_complex(x):
        return np.zeros_like(grad_out)
    size = np.abs(x)
    safe = np.where(size == 0, np.ones_like(size), size)
    return np.where(size == 0, np.zeros_like(grad_out), (grad_out - np.real(grad_out * out) * np.conjugate(out)) / safe)


@backward(np.copysign, 0)
def copysign_back0(grad_out: Any, out: Any, x: Any, y: Any) -> Any:
    r"""$\nabla_x L = \mathrm{sgn}(x) \, \mathrm{sgn}(out) \nabla_{out} L$"""
    return unbroadcast(grad_out * (np.sign(x) * np.sign(out)), x)


@backward(np.copysign, 1)
def copysign_back1(grad_out: Any, out: Any, x: Any, y: Any) -> Any:
    r"""$\nabla_y L = 0$"""
    return np.zeros_like(y)


@backward(np.heaviside, 0)
def heaviside_back0(grad_out: Any, out: Any, x: Any, y: Any) -> Any:
    r"""$\nabla_x L = 0$"""
    return np.zeros_like(x)


@backward(np.heaviside, 1)
def heaviside_back1(grad_out: Any, out: Any, x: Any, y: Any) -> Any:
    r"""$\nabla_y L = [x = 0] \nabla_{out} L$"""
    return unbroadcast(keep_where(grad_out, np.broadcast_to(x == 0, out.shape)), y)


@backward(np.nextafter, 0)
def nextafter_back0(grad_out: Any, out: Any, x: Any, y: Any) -> Any:
    r"""$\nabla_x L = [x \neq y] \nabla_{out} L$"""
    return unbroadcast(keep_where(grad_out, x != y), x)


@backward(np.nextafter, 1)
def nextafter_back1(grad_out: Any, out: Any, x: Any, y: Any) -> Any:
    r"""$\nabla_y L = [x = y] \nabla_{out} L$"""
    return unbroadcast(keep_where(grad_out, x == y), y)


@array_function
def _trunc_divide(x: Any, y: Any) -> Any:
    """x / y rounded towards 0."""
    if x.dtype.kind in "biu":
        return np.floor_divide(x - np.fmod(x, y), y)
    return np.trunc(x / y)


@backward(np.floor_divide, 0)
@backward(_trunc_divide, 0)
def rounded_quotient_back0(grad_out: Any, out: Any, x: Any, y: Any) -> Any:
    r"""$\nabla_x L = 0$"""
    return np.zeros_like(x)


@backward(np.floor_divide, 1)
@backward(_trunc_divide, 1)
def rounded_quotient_back1(grad_out: Any, out: Any, x: Any, y: Any) -> Any:
    r"""$\nabla_y L = 0$"""
    return np.zeros_like(y)


@backward(np.remainder, 0)
@backward(np.fmod, 0)
def remainder_back0(grad_out: Any, out: Any, x: Any, y: Any) -> Any:
    r"""$\nabla_x L = \nabla_{out} L$"""
    return unbroadcast(grad_out, x)


@backward(np.remainder, 1)
def remainder_back1(grad_out: Any, out: Any, x: Any, y: Any) -> Any:
    r"""$\nabla_y L = -\lfloor x / y \rfloor \nabla_{out} L$"""
    return unbroadcast(-grad_out * np.floor_divide(x, y), y)


@backward(np.fmod, 1)
def fmod_back1(grad_out: Any, out: Any, x: Any, y: Any) -> Any:
    r"""$\nabla_y L = -\mathrm{trunc}(x / y) \nabla_{out} L$"""
    return unbroadcast(-grad_out * np.trunc(x / y), y)


@array_function
def _frac(x: Any) -> Any:
    """The part of x after the point, with the sign of x."""
    return x - np.trunc(x)


@backward(_frac, 0)
def frac_back(grad_out: Any, out: Any, x: Any) -> Any:
    r"""$\nabla_x L = \nabla_{out} L$"""
    return grad_out


@backward(np.frexp, 0)
def frexp_back(grad_out: Any, out: Any, x: Any) -> Any:
    r"""$\nabla_x L = 2^{-out_1} \nabla_{out_0} L$"""
    zero = x == 0
    return grad_out[0] * np.where(zero, np.ones_like(x), out[0] / np.where(zero, np.ones_like(x), x))


@backward(np.ldexp, 0)
def ldexp_back(grad_out: Any, out: Any, x: Any, y: Any) -> Any:
    r"""$\nabla_x L = 2^y \nabla_{out} L$"""
    return unbroadcast(np.ldexp(grad_out, y), x)


@backward(np.nan_to_num, 0)
def nan_to_num_back(
    grad_out: Any, out: Any, x: Any, copy: bool = True, nan: Any = 0.0, posinf: Any = None, neginf: Any = None
) -> Any:
    r"""$\nabla_x L = [x \text{ is finite}] \nabla_{out} L$"""
    return keep_where(grad_out, np.isfinite(x))


# ----- the table: complex numbers ---------------------------------------------------------------------------------


@backward(np.conjugate)
def conjugate_back(grad_out: Any, out: Any, x: Any) -> Any:
    r"""$\nabla_x L = \overline{\nabla_{out} L}$"""
    return np.conjugate(grad_out)


@backward(np.real)
def real_back(grad_out: Any, out: Any, val: Any) -> Any:
    r"""$\nabla_{val} L = \nabla_{out} L + 0 i$"""
    return grad_out + 0j if is_complex(val) else grad_out


@backward(np.imag)
def imag_back(grad_out: Any, out: Any, val: Any) -> Any:
    r"""$\nabla_{val} L = -i \nabla_{out} L$; 0 for real $val$"""
    return grad_out * -1j if is_complex(val) else np.zeros_like(val)


@backward(np.angle)
def angle_back(grad_out: Any, out: Any, z: Any, deg: bool = False) -> Any:
    r"""$\nabla_z L = -i \nabla_{out} L / z$, 0 where $z = 0$ and for real $z$"""
    if not is_complex(z):
        return np.zeros_like(z)
    zero = z == 0
    back = grad_out * -1j / np.where(zero, np.ones_like(z), z)
    return np.where(zero, np.zeros_like(z), back * (180 / math.pi) if deg else back)


@array_function
def _complex(x: Any, y: Any) -> Any:
    """x + iy."""
    if type(x) is not np.ndarray or type(y) is not np.ndarray:
        return x + y * 1j
    out = np.empty(np.broadcast_shapes(x.shape, y.shape), to_complex(x.dtype))
    out.real = x
    out.imag = y  # unlike y * 1j, right for infinities
    return out


@backward(_complex, 0)
def complex_back0(grad_out: Any, out: Any, x: Any, y: Any) -> Any:
    r"""$\nabla_x L = \mathrm{Re}(\nabla_{out} L)$"""
    return unbroadcast(np.real(grad_out), x)


@backward(_complex, 1)
def complex_back1(grad_out: Any, out: Any, x: Any, y: Any) -> Any:
    r"""$\nabla_y L = \mathrm{Re}(i \nabla_{out} L)$"""
    return unbroadcast(-np.imag(grad_out), y)


@array_function
def _view_as_real(x: Any) -> Any:
    """Complex (...) as real (..., 2), a view of the same memory."""
    if type(x) is np.ndarray:
        return x[..., None].view(x.real.dtype)
    return np.stack((np.real(x), np.imag(x)), axis=-1)


@array_function
def _view_as_complex(x: Any) -> Any:
    """Real (..., 2) as complex (...), a view of the same memory where the last axis is contiguous."""
    if type(x) is np.ndarray and x.strides[-1] == x.itemsize:
        return x.view(to_complex(x.dtype))[..., 0]
    return _complex(x[..., 0], x[..., 1])


@backward(_view_as_real, 0)
def view_as_real_back(grad_out: Any, out: Any, x: Any) -> Any:
    r"""$\nabla_x L = (\nabla_{out} L)_{...0} - i (\nabla_{out} L)_{...1}$"""
    return _complex(grad_out[..., 0], -grad_out[..., 1])


@backward(_view_as_complex, 0)
def view_as_complex_back(grad_out: Any, out: Any, x: Any) -> Any:
    r"""$\nabla_x L = (\mathrm{Re} \nabla_{out} L, -\mathrm{Im} \nabla_{out} L)$"""
    return _view_as_real(np.conjugate(grad_out))


# ----- the table: three operands ----------------------------------------------------------------------------------


@array_function
def _lerp(x: Any, end: Any, weight: Any) -> Any:
    """x + weight * (end - x)."""
    return x + weight * (end - x)


@backward(_lerp, 0)
def lerp_back0(grad_out: Any, out: Any, x: Any, end: Any, weight: Any) -> Any:
    r"""$\nabla_x L = (1 - weight) \nabla_{out} L$"""
    return unbroadcast(grad_out * (1 - weight), x)


@backward(_lerp, 1)
def lerp_back1(grad_out: Any, out: Any, x: Any, end: Any, weight: Any) -> Any:
    r"""$\nabla_{end} L = weight \nabla_{out} L$"""
    return unbroadcast(grad_out * weight, end)


@backward(_lerp, 2)
def lerp_back2(grad_out: Any, out: Any, x: Any, end: Any, weight: Any) -> Any:
    r"""$\nabla_{weight} L = (end - x) \nabla_{out} L$"""
    return unbroadcast(grad_out * (end - x), weight)


@array_function
def _addcmul(x: Any, y: Any, z: Any, value: Any = 1) -> Any:
    """x + value * y * z."""
    return x + (y * z if value == 1 else y * z * value)


@backward(_addcmul, 0)
def addcmul_back0(grad_out: Any, out: Any, x: Any, y: Any, z: Any, value: Any = 1) -> Any:
    r"""$\nabla_x L = \nabla_{out} L$"""
    return unbroadcast(grad_out, x)


@backward(_addcmul, 1)
def addcmul_back1(grad_out: Any, out: Any, x: Any, y: Any, z: Any, value: Any = 1) -> Any:
    r"""$\nabla_y L = value \cdot z \nabla_{out} L$"""
    return unbroadcast(grad_out * (z * value), y)


@backward(_addcmul, 2)
def addcmul_back2(grad_out: Any, out: Any, x: Any, y: Any, z: Any, value: Any = 1) -> Any:
    r"""$\nabla_z L = value \cdot y \nabla_{out} L$"""
    return unbroadcast(grad_out * (y * value), z)


@array_function
def _addcdiv(x: Any, y: Any, z: Any, value: Any = 1) -> Any:
    """x + value * y / z."""
    return x + (y / z if value == 1 else y / z * value)


@backward(_addcdiv, 0)
def addcdiv_back0(grad_out: Any, out: Any, x: Any, y: Any, z: Any, value: Any = 1) -> Any:
    r"""$\nabla_x L = \nabla_{out} L$"""
    return unbroadcast(grad_out, x)


@backward(_addcdiv, 1)
def addcdiv_back1(grad_out: Any, out: Any, x: Any, y: Any, z: Any, value: Any = 1) -> Any:
    r"""$\nabla_y L = \frac{value}{z} \nabla_{out} L$"""
    return unbroadcast(grad_out * (value / z), y)


@backward(_addcdiv, 2)
def addcdiv_back2(grad_out: Any, out: Any, x: Any, y: Any, z: Any, value: Any = 1) -> Any:
    r"""$\nabla_z L = -value \frac{y}{z^2} \nabla_{out} L$"""
    return unbroadcast(-grad_out * (value * (y / (z * z))), z)


result_may_change(np.logaddexp, np.logaddexp2, np.sinc)

# ----- the operations ---------------------------------------------------------------------------------------------


def _one_argument(function: Any, floating: bool = True, ordered: bool = False) -> Callable[[Any], Tensor]:
    """The operation for a function of this package of one array, on the same hot path as a ufunc's."""
    general = wrap_forward_fn(function, floating=floating, ordered=ordered)
    return functools.update_wrapper(_unary(function, True, floating, general, ordered), general)


absolute = abs = wrap_forward_fn(np.absolute)
fabs = wrap_forward_fn(np.fabs)
sign = sgn = wrap_forward_fn(np.sign)
floor, ceil, trunc = (wrap_forward_fn(function) for function in (np.floor, np.ceil, np.trunc))
fix = trunc
_rint = wrap_forward_fn(np.rint)
_round = wrap_forward_fn(np.round)
frac = _one_argument(_frac)

exp = wrap_forward_fn(np.exp, floating=True)
exp2 = wrap_forward_fn(np.exp2, floating=True)
expm1 = wrap_forward_fn(np.expm1, floating=True)
log = wrap_forward_fn(np.log, floating=True)
log2 = wrap_forward_fn(np.log2, floating=True)
log10 = wrap_forward_fn(np.log10, floating=True)
log1p = wrap_forward_fn(np.log1p, floating=True)
sqrt = wrap_forward_fn(np.sqrt, floating=True)
rsqrt = _one_argument(_rsqrt)
cbrt = wrap_forward_fn(np.cbrt, floating=True)
square = wrap_forward_fn(np.square)
_power = wrap_forward_fn(np.power, promotes=True)

sin = wrap_forward_fn(np.sin, floating=True)
cos = wrap_forward_fn(np.cos, floating=True)
tan = wrap_forward_fn(np.tan, floating=True)
arcsin = asin = wrap_forward_fn(np.arcsin, floating=True)
arccos = acos = wrap_forward_fn(np.arccos, floating=True)
arctan = atan = wrap_forward_fn(np.arctan, floating=True)
sinh = wrap_forward_fn(np.sinh, floating=True)
cosh = wrap_forward_fn(np.cosh, floating=True)
tanh = wrap_forward_fn(np.tanh, floating=True)
arcsinh = asinh = wrap_forward_fn(np.arcsinh, floating=True)
arccosh = acosh = wrap_forward_fn(np.arccosh, floating=True)
arctanh = atanh = wrap_forward_fn(np.arctanh, floating=True)
arctan2 = atan2 = wrap_forward_fn(np.arctan2, floating=True)
hypot = wrap_forward_fn(np.hypot, floating=True)
sinc = _one_argument(np.sinc)
deg2rad = wrap_forward_fn(np.deg2rad, floating=True)
rad2deg = wrap_forward_fn(np.rad2deg, floating=True)
wrap_forward_fn(np.radians, floating=True)
wrap_forward_fn(np.degrees, floating=True)
_logaddexp = wrap_forward_fn(np.logaddexp, floating=True)
_complex_logaddexp = wrap_forward_fn(complex_logaddexp, floating=True)
logaddexp2 = wrap_forward_fn(np.logaddexp2, floating=True)

maximum = wrap_forward_fn(np.maximum, promotes=True, ordered=True)
minimum = wrap_forward_fn(np.minimum, promotes=True, ordered=True)
fmax = wrap_forward_fn(np.fmax, promotes=True, ordered=True)
fmin = wrap_forward_fn(np.fmin, promotes=True, ordered=True)
_clip = wrap_forward_fn(np.clip, ordered=True)
copysign = wrap_forward_fn(np.copysign, floating=True)
heaviside = wrap_forward_fn(np.heaviside, promotes=True)
nextafter = wrap_forward_fn(np.nextafter, promotes=True)
gcd = wrap_forward_fn(np.gcd, is_differentiable=False, promotes=True)
lcm = wrap_forward_fn(np.lcm, is_differentiable=False, promotes=True)

_floor_divide = wrap_forward_fn(np.floor_divide, promotes=True)
_trunc_quotient = wrap_forward_fn(_trunc_divide, promotes=True)
_remainder = wrap_forward_fn(np.remainder, promotes=True)
_fmod = wrap_forward_fn(np.fmod, promotes=True)
_frexp = wrap_forward_fn(np.frexp)
_ldexp = wrap_forward_fn(np.ldexp)
_nan_to_num = wrap_forward_fn(np.nan_to_num)

_conjugate = wrap_forward_fn(np.conjugate)
_real = wrap_forward_fn(np.real, view=True)
_imag = wrap_forward_fn(np.imag, view=True)
_angle = wrap_forward_fn(np.angle)
_complex_of_parts = wrap_forward_fn(_complex)
_real_view = wrap_forward_fn(_view_as_real, view=True)
_complex_view = wrap_forward_fn(_view_as_complex, view=True)
_lerp_of = wrap_forward_fn(_lerp, promotes=True)
_addcmul_of = wrap_forward_fn(_addcmul, promotes=True)
_addcdiv_of = wrap_forward_fn(_addcdiv, promotes=True)


def pow(input: Any, exponent: Any) -> Tensor:
    """`input ** exponent`, broadcast.

    Raises:
        RuntimeError: an integer to a negative integer power.

    >>> import chainrule as cr
    >>> cr.pow(cr.tensor([1.0, 2.0, 3.0]), 2)
    Tensor(array([1., 4., 9.], dtype=float32), requires_grad=False)
    """
    if (type(exponent) is int or type(exponent) is float) and isinstance(input, Tensor):
        x = input.array
        if x.dtype.kind in "fc":
            if exponent in QUICK_POWERS:
                return _power_by_products(input, exponent)
        elif type(exponent) is int and exponent < 0:
            raise RuntimeError(
                f"Integers to negative integer powers are not allowed: got {x.dtype} ** {exponent}; write {exponent}.0"
            )
    try:
        return _power(input, exponent)  # type: ignore[no-any-return]
    except ValueError as error:  # NumPy's for an integer tensor with negative exponents
        raise RuntimeError(str(error)) from None


QUICK_POWERS = frozenset((1, 2, 3, 4, 0.5, -0.5, -1, -2))


def _power_by_products(input: Tensor, exponent: float) -> Tensor:
    """A power that needs no call of `pow`; recorded as `np.power`."""
    x = input.array
    out = small_power(x, exponent)
    if type(out) is not np.ndarray:
        out = wrapped_array(out, (x,))
    result = make_tensor(out, None)
    node = input.node()
    if node is not None and grad_mode():
        result._node = record(np.power, (x, exponent), NO_KWARGS, (input, exponent), (node, None), out)
    return result


def float_power(input: Any, exponent: Any) -> Tensor:
    """`input ** exponent`, computed in double precision (float64 or complex128)."""
    double = [
        cast(x, promote_pair(x.array.dtype, np.dtype("float64"))) if isinstance(x, Tensor) else x
        for x in (x if isinstance(x, NUMBER) else as_tensor_argument(x) for x in (input, exponent))
    ]
    if not isinstance(double[0], Tensor):
        double[0] = make_tensor(np.asarray(double[0], np.result_type(type(double[0]), np.float64)), None)
    return pow(*double)


implements(np.float_power)(float_power)


def logaddexp(input: Any, other: Any) -> Tensor:
    """The logarithm of `exp(input) + exp(other)`, without overflow; also of complex numbers.

    >>> import chainrule as cr
    >>> cr.logaddexp(cr.tensor([1000.0]), cr.tensor([0.0]))
    Tensor(array([1000.], dtype=float32), requires_grad=False)
    """
    complex_numbers = is_complex(input) or is_complex(other)
    return (_complex_logaddexp if complex_numbers else _logaddexp)(input, other)  # type: ignore[no-any-return]


def round(input: Any, *, decimals: int = 0) -> Tensor:
    """The nearest whole number, ties to the even one; or the nearest with so many decimals."""
    if decimals == 0 and input.array.dtype.kind == "f":
        return _rint(input)  # type: ignore[no-any-return]
    return _round(input, decimals=decimals)  # type: ignore[no-any-return]


@implements(np.round, np.around)
def _numpy_round(a: Any, decimals: int = 0) -> Tensor:
    return round(a, decimals=decimals)


implements(np.fix)(trunc)


def clamp(input: Any, min: Any = None, max: Any = None) -> Tensor:
    """`input`, at least `min` and at most `max`: numbers or tensors, either may be None.

    Raises:
        RuntimeError: both bounds are None.

    >>> import chainrule as cr
    >>> cr.clamp(cr.tensor([-1.0, 0.5, 3.0]), 0, 1)
    Tensor(array([0. , 0.5, 1. ], dtype=float32), requires_grad=False)
    """
    if min is None and max is None:
        raise RuntimeError("torch.clamp: At least one of 'min' or 'max' must not be None")
    given = [bound for bound in (min, max) if bound is not None]
    numbers = all(type(bound) in (int, float) for bound in given)
    if not (numbers and isinstance(input, Tensor) and input.array.dtype.kind == "f"):
        input, *given = promote((as_tensor_argument(input), *given))
    low = None if min is None else given[0]
    return _clip(input, low, None if max is None else given[-1])  # type: ignore[no-any-return]


clip = clamp


@implements(np.clip)
def _numpy_clip(a: Any, a_min: Any = None, a_max: Any = None, *, min: Any = None, max: Any = None) -> Tensor:
    low, high = a_min if min is None else min, a_max if max is None else max
    return positive_copy(a) if low is None and high is None else clamp(a, low, high)


def positive_copy(a: Any) -> Tensor:
    """A copy with a gradient."""
    return wrap_forward_fn(np.positive)(a)  # type: ignore[no-any-return]


def clamp_min(input: Any, min: Any) -> Tensor:
    """`input`, at least `min`."""
    return clamp(input, min)


def clamp_max(input: Any, max: Any) -> Tensor:
    """`input`, at most `max`."""
    return clamp(input, None, max)


@array_function
def without_zero(divisor: Any) -> Any:
    """A copy of integers by which others are divided: a compiled program looks at them when it runs.

    Raises:
        RuntimeError: one of them is 0.
    """
    if not np.all(divisor):
        raise RuntimeError("ZeroDivisionError: an integer tensor is divided by 0")
    return np.copy(divisor)


def _refusing_integer_zero(divisor: Any) -> Any:
    """The divisor, of which no integer is 0."""
    array = divisor.array if isinstance(divisor, Tensor) else as_it_is(divisor)
    if array.dtype.kind not in "biu":
        return divisor
    if not isinstance(array, np.ndarray):
        return make_tensor(without_zero(array), None)
    if not np.all(array):
        raise RuntimeError("ZeroDivisionError: an integer tensor is divided by 0")
    return divisor


def _integers(input: Any) -> bool:
    return not isinstance(input, float) and getattr(getattr(input, "dtype", None), "kind", "i") in "biu"


def floor_divide(input: Any, other: Any) -> Tensor:
    """`input / other` rounded down, broadcast; its gradient is 0.

    Raises:
        RuntimeError: integers divided by 0.
    """
    if _integers(input):
        other = _refusing_integer_zero(other)
    return _floor_divide(input, other)  # type: ignore[no-any-return]


def trunc_divide(input: Any, other: Any) -> Tensor:
    """`input / other` rounded towards 0, broadcast; its gradient is 0.

    Raises:
        RuntimeError: integers divided by 0.
    """
    if _integers(input):
        other = _refusing_integer_zero(other)
        if not isinstance(input, Tensor):
            input = as_tensor_argument(input)
    return _trunc_quotient(input, other)  # type: ignore[no-any-return]


def remainder(input: Any, other: Any) -> Tensor:
    """`input - other * floor(input / other)`, with the sign of `other`.

    Raises:
        RuntimeError: integers divided by 0.
    """
    if _integers(input):
        other = _refusing_integer_zero(other)
    return _remainder(input, other)  # type: ignore[no-any-return]


def fmod(input: Any, other: Any) -> Tensor:
    """`input - other * trunc(input / other)`, with the sign of `input`.

    Raises:
        RuntimeError: integers divided by 0.
    """
    if _integers(input):
        other = _refusing_integer_zero(other)
    return _fmod(input, other)  # type: ignore[no-any-return]


@implements(np.divmod)
def divmod(input: Any, other: Any) -> tuple[Tensor, Tensor]:
    """`(floor_divide(input, other), remainder(input, other))`."""
    return floor_divide(input, other), remainder(input, other)


@implements(np.modf)
def _modf(x: Any) -> tuple[Tensor, Tensor]:
    return frac(x), trunc(x)


def frexp(input: Any) -> tuple[Tensor, Tensor]:
    """The mantissa (in [0.5, 1)) and the exponent of 2 of which `input` is the product."""
    return _frexp(input)  # type: ignore[no-any-return]


def ldexp(input: Any, other: Any) -> Tensor:
    """`input * 2 ** other`."""
    from .arithmetic import multiply

    if isinstance(other, Tensor) and other.array.dtype.kind in "biu":
        other = cast(other, input.array.dtype if input.array.dtype.kind == "f" else default_float())
    return multiply(input, pow(2.0, other) if isinstance(other, Tensor) else 2.0**other)  # type: ignore[no-any-return]


def nan_to_num(input: Any, nan: Any = None, posinf: Any = None, neginf: Any = None) -> Tensor:
    """NaN replaced by `nan` (0 unless given), infinities by numbers (the largest of the type unless given)."""
    return _nan_to_num(input, nan=0.0 if nan is None else nan, posinf=posinf, neginf=neginf)  # type: ignore[no-any-return]


def conj(input: Tensor) -> Tensor:
    """The complex conjugate; a real tensor itself."""
    return _conjugate(input) if is_complex(input) else input


conj_physical = conj


def resolve_conj(input: Tensor) -> Tensor:
    """The tensor itself: conjugates are always computed."""
    return input


def resolve_neg(input: Tensor) -> Tensor:
    """The tensor itself: negatives are always computed."""
    return input


def real(input: Tensor) -> Tensor:
    """The real part, a view; a real tensor itself."""
    return _real(input) if is_complex(input) else input


def imag(input: Tensor) -> Tensor:
    """The imaginary part, a view.

    Raises:
        RuntimeError: the tensor is real.
    """
    if not is_complex(input):
        raise RuntimeError(f"imag is not implemented for tensors with non-complex dtypes: this one is {input.dtype}")
    return _imag(input)  # type: ignore[no-any-return]


def angle(input: Tensor) -> Tensor:
    """The angle in the complex plane; of a real number 0 or pi, 0 of both zeros."""
    number: Any = promote((input,), floating=True)[0]
    return _angle(number if number.array.dtype.kind == "c" else number + 0.0)  # type: ignore[no-any-return]


def complex(real: Tensor, imag: Tensor) -> Tensor:
    """The complex tensor `real + 1j * imag`.

    Raises:
        RuntimeError: the parts are not both float32 or both float64.

    >>> import chainrule as cr
    >>> cr.complex(cr.tensor([1.0]), cr.tensor([2.0]))
    Tensor(array([1.+2.j], dtype=complex64), requires_grad=False)
    """
    if real.array.dtype.kind != "f" or real.array.dtype != imag.array.dtype:
        raise RuntimeError(f"complex needs two floating tensors of one type, got {real.dtype} and {imag.dtype}")
    return _complex_of_parts(real, imag)  # type: ignore[no-any-return]


def polar(abs: Tensor, angle: Tensor) -> Tensor:
    """The complex tensor with absolute value `abs` and angle `angle`."""
    return complex(abs * cos(angle), abs * sin(angle))


def view_as_real(input: Tensor) -> Tensor:
    """Complex (...) as real (..., 2), a view.

    Raises:
        RuntimeError: the tensor is real.
    """
    if not is_complex(input):
        raise RuntimeError(f"view_as_real is only supported for complex tensors, this one is {input.dtype}")
    return _real_view(input)  # type: ignore[no-any-return]


def view_as_complex(input: Tensor) -> Tensor:
    """Real (..., 2) as complex (...), a view.

    Raises:
        RuntimeError: the tensor is complex, or its last axis has not size 2.
    """
    if input.array.dtype.kind != "f":
        raise RuntimeError(f"view_as_complex is only supported for floating point tensors, this one is {input.dtype}")
    if input.ndim == 0 or input.shape[-1] != 2:
        raise RuntimeError(f"Tensor must have a last dimension of size 2, got shape {input.shape}")
    return _complex_view(input)  # type: ignore[no-any-return]


@implements(np.real_if_close)
def _real_if_close(a: Any, tol: float = 100) -> Tensor:
    return real(a) if np.isrealobj(np.real_if_close(a.array, tol)) else a


def lerp(input: Any, end: Any, weight: Any) -> Tensor:
    """`input + weight * (end - input)`, broadcast."""
    return _lerp_of(input, end, weight)  # type: ignore[no-any-return]


def addcmul(input: Any, tensor1: Any, tensor2: Any, *, value: Any = 1) -> Tensor:
    """`input + value * tensor1 * tensor2`, broadcast."""
    return _addcmul_of(input, tensor1, tensor2, value=value)  # type: ignore[no-any-return]


def addcdiv(input: Any, tensor1: Any, tensor2: Any, *, value: Any = 1) -> Tensor:
    """`input + value * tensor1 / tensor2`, broadcast.

    Raises:
        RuntimeError: both tensors are integers.
    """
    if all(getattr(x, "dtype", None) is not None and x.dtype.kind in "biu" for x in (tensor1, tensor2)):
        raise RuntimeError("Integer division with addcdiv is no longer supported: cast tensor1 or tensor2 to a float")
    return _addcdiv_of(input, tensor1, tensor2, value=value)  # type: ignore[no-any-return]


# ----- names and methods ------------------------------------------------------------------------------------------

OF_ONE = (
    "abs absolute acos acosh arccos arccosh arcsin arcsinh arctan arctanh asin asinh atan atanh ceil clamp clamp_max "
    "clamp_min clip conj_physical cos cosh deg2rad exp exp2 expm1 fix floor frac log log10 log1p log2 nan_to_num "
    "rad2deg round rsqrt sgn sign sin sinc sinh sqrt square tan tanh trunc"
).split()
OF_SEVERAL = (
    "addcdiv addcmul arctan2 atan2 copysign float_power floor_divide fmod gcd heaviside hypot lcm ldexp lerp nextafter "
    "pow remainder"
).split()
NOT_IN_PLACE = (
    "angle conj fmax fmin frexp imag logaddexp logaddexp2 maximum minimum real resolve_conj resolve_neg"
).split()
NO_METHODS = "cbrt complex polar trunc_divide view_as_complex view_as_real".split()

_here = globals()
attach(**{name: _here[name] for name in OF_ONE + OF_SEVERAL + NOT_IN_PLACE if name not in ("real", "imag")})
attach_in_place(**{name: _here[name] for name in OF_ONE + OF_SEVERAL})
_here.update({name + "_": getattr(Tensor, name + "_") for name in [*OF_ONE, "gcd", "lcm", "ldexp"]})
__all__ = [*OF_ONE, *OF_SEVERAL, *NOT_IN_PLACE, *NO_METHODS]
__all__ += [name + "_" for name in [*OF_ONE, "gcd", "lcm", "ldexp"]]


def _set_part(view: Callable[[Tensor], Tensor]) -> Callable[[Tensor, Any], None]:
    def setter(self: Tensor, value: Any) -> None:
        view(self)[...] = value

    return setter


Tensor.real = property(real, _set_part(real), doc="The real part, a view.")  # type: ignore[attr-defined]
Tensor.imag = property(imag, _set_part(imag), doc="The imaginary part, a view.")  # type: ignore[attr-defined]

attach(__abs__=absolute, __pow__=pow, __mod__=remainder, __floordiv__=floor_divide, __divmod__=divmod)
attach(
    __rpow__=lambda self, other: pow(other, self),
    __rmod__=lambda self, other: remainder(other, self),
    __rfloordiv__=lambda self, other: floor_divide(other, self),
    __rdivmod__=lambda self, other: divmod(other, self),
)
attach(__ipow__=in_place(pow, "pow_"), __imod__=in_place(remainder, "remainder_"))
attach(__ifloordiv__=in_place(floor_divide, "floor_divide_"))
