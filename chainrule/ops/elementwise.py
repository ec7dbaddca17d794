"""Functions of each element: exponentials, trigonometry, powers, rounding, extrema, complex parts.

Activations are in `activation.py`, SciPy's functions in `special.py`, comparisons in `comparison.py`.
"""

from __future__ import annotations

import builtins
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.broadcasting import unbroadcast
from ..core.dtypes import default_float, promote_pair, to_complex
from ..core.forward import _unary, array_function, cast, implements, promote, record, wrap_forward_fn, wrapped_array
from ..core.grad_mode import grad_mode
from ..core.recipe import NO_KWARGS
from ..core.table import backward
from ..core.tensor import Tensor, make_tensor
from .common import as_tensor_argument, attach, attach_in_place, in_place, is_complex, real_like

LN2 = math.log(2.0)
LN10 = math.log(10.0)

# ----- the table: choosing ----------------------------------------------------------------------------------------

SAME_SIZE_INTEGER = {"e": np.int16, "f": np.int32, "d": np.int64}


@array_function
def keep_where(x: Any, mask: Any) -> Any:
    """`x` where the mask (of the same shape) is true, 0 elsewhere, also for infinities and NaN."""
    if type(x) is np.ndarray and type(mask) is np.ndarray and (integer := SAME_SIZE_INTEGER.get(x.dtype.char)):
        # the bits times 0 or 1: as fast as x * mask, which is NaN for an infinite x; np.where takes three times as long
        return np.multiply(x.view(integer), mask).view(x.dtype)
    return np.where(mask, x, np.zeros_like(x))


@backward(keep_where, 0)
def keep_where_back(grad_out: Any, out: Any, x: Any, mask: Any) -> Any:
    r"""$\nabla_x L = [mask] \nabla_{out} L$"""
    return keep_where(grad_out, mask)


wrap_forward_fn(keep_where)


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


@backward(np.logaddexp, 0)
def logaddexp_back0(grad_out: Any, out: Any, x: Any, y: Any) -> Any:
    r"""$\nabla_x L = e^{x - out} \nabla_{out} L$"""
    return unbroadcast(grad_out * np.exp(x - out), x)


@backward(np.logaddexp, 1)
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
    if isinstance(y, (int, float, complex)):
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
    if isinstance(x, (int, float, complex)):
        if x == 0:
            flat = np.real(y) >= 0
            return real_like(np.where(flat, np.zeros_like(grad_out), grad_out * out * -math.inf), y)
        logarithm = complex(np.log(builtins.complex(x))) if isinstance(x, builtins.complex) else _log_of_number(x)
        return real_like(unbroadcast(grad_out * out * logarithm, y), y)
    flat = (x == 0) & (np.real(y) >= 0)
    logarithm = np.log(np.where(flat, np.ones_like(x), x))
    return real_like(unbroadcast(keep_where(grad_out * out * logarithm, np.broadcast_to(~flat, out.shape)), y), y)


def _log_of_number(x: float) -> float:
    return math.log(x) if x > 0 else math.nan


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


@backward(np.arctan2, 0)
def arctan2_back0(grad_out: Any, out: Any, x: Any, y: Any) -> Any:
    r"""$\nabla_x L = \frac{y}{x^2 + y^2} \nabla_{out} L$"""
    return unbroadcast(grad_out * y / (x * x + y * y), x)


@backward(np.arctan2, 1)
def arctan2_back1(grad_out: Any, out: Any, x: Any, y: Any) -> Any:
    r"""$\nabla_y L = -\frac{x}{x^2 + y^2} \nabla_{out} L$"""
    return unbroadcast(-grad_out * x / (x * x + y * y), y)


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
    above = a > a_max if a_min is None else (a > a_max) | np.broadcast_to(a_max < a_min, out.shape)
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
    r"""$\nabla_x L = \frac{1}{|x|} (\nabla_{out} L - \mathrm{Re}(out \nabla_{out} L) \, \overline{out})$; 0 for real $x$"""
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
    return np.ldexp(grad_out[0], -out[1])


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


@array_function
def _xlogy(x: Any, y: Any) -> Any:
    """x log(y), 0 where x = 0 and y is a number."""
    zero = (x == 0) & ~np.isnan(y)
    return np.where(zero, 0 * x, x * np.log(np.where(zero, 1, y) if np.ndim(y) or np.ndim(x) else y))


@array_function
def _xlog1py(x: Any, y: Any) -> Any:
    """x log(1 + y), 0 where x = 0 and y is a number."""
    return _xlogy(x, y + 1)


# ----- the operations ---------------------------------------------------------------------------------------------
