"""SciPy's special functions. SciPy is imported when the first of them is called, not with this package.

`chainrule/special.py` is the public `torch.special` namespace.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ..core.broadcasting import unbroadcast
from ..core.forward import TENSOR_FUNCS, array_function, implements, promote, wrap_forward_fn
from ..core.table import backward, result_may_change
from ..core.tensor import Tensor
from .common import attach, attach_in_place
from .elementwise import keep_where

SQRT_HALF = math.sqrt(0.5)
SQRT_2PI = math.sqrt(2 * math.pi)
TWO_OVER_SQRT_PI = 2 / math.sqrt(math.pi)


def scipy_function(name: str, scipy_name: str | None = None) -> Callable[..., Any]:
    """A NumPy-level function that calls `scipy.special`'s; its result has the type of its floating arguments."""

    def function(*args: Any) -> Any:
        from scipy import special

        out = getattr(special, scipy_name or name)(*args)
        for arg in args:
            kind = getattr(arg, "dtype", None)
            if kind is not None and kind.kind == "f":
                return out if out.dtype == kind else out.astype(kind)
        return out.item() if isinstance(out, np.generic) else out  # of numbers a number, which widens no array

    function.__name__ = function.__qualname__ = "_" + name
    function.__doc__ = f"scipy.special.{scipy_name or name}."
    return array_function(function)


# ----- the table: the error function and its relatives ------------------------------------------------------------

_erfc, _erfcx, _erfinv = (scipy_function(name) for name in ("erfc", "erfcx", "erfinv"))
_scipy_erf = scipy_function("erf")

# erf(x) = tanh(x R(x^2)): R is smooth, so a polynomial will do. It was fitted on |x| < 3.92, where single precision
# reaches 1, for the smallest largest relative error of the result, 7e-8; beyond, it grows on. The constant comes last.
ERF_POLYNOMIAL = (
    5.42150414e-09, 2.75787016e-08, -4.79463114e-06, 8.45967055e-05, -6.14838523e-04, -1.95287862e-04, 1.02769864e-01,
    1.12837925,
)  # fmt: skip
FEW = 2048
BLOCK = 32768  # elements worked on at a time, so that they stay in the cache


@array_function
def _erf(x: Any) -> Any:
    """The error function: SciPy's; in single precision a tanh of a polynomial, within 3 units in the last place."""
    if type(x) is not np.ndarray or x.dtype != np.float32 or x.size < FEW:  # SciPy takes 7 ns an element
        return _scipy_erf(x)
    out = np.empty(x.shape, x.dtype)
    source, target = np.reshape(x, -1), np.reshape(out, -1)
    with np.errstate(over="ignore"):  # the tanh of infinity is 1
        for start in range(0, x.size, BLOCK):
            value, piece = target[start : start + BLOCK], source[start : start + BLOCK]
            polynomial(np.square(piece), ERF_POLYNOMIAL, value)
            value *= piece
            np.tanh(value, out=value)
    return out


def polynomial(x: Any, coefficients: tuple[float, ...], out: Any) -> None:
    """Write a polynomial's values into an array; the constant term comes last."""
    np.multiply(x, coefficients[0], out=out)
    for coefficient in coefficients[1:-1]:
        out += coefficient
        out *= x
    out += coefficients[-1]


_ndtr, _ndtri, _log_ndtr = (scipy_function(name) for name in ("ndtr", "ndtri", "log_ndtr"))


@backward(_erf, 0)
def erf_back(grad_out: Any, out: Any, x: Any) -> Any:
    r"""$\nabla_x L = \frac{2}{\sqrt\pi} e^{-x^2} \nabla_{out} L$"""
    return grad_out * (np.exp(-x * x) * TWO_OVER_SQRT_PI)


@backward(_erfc, 0)
def erfc_back(grad_out: Any, out: Any, x: Any) -> Any:
    r"""$\nabla_x L = -\frac{2}{\sqrt\pi} e^{-x^2} \nabla_{out} L$"""
    return grad_out * (np.exp(-x * x) * -TWO_OVER_SQRT_PI)


@backward(_erfcx, 0)
def erfcx_back(grad_out: Any, out: Any, x: Any) -> Any:
    r"""$\nabla_x L = (2 x \, out - \frac{2}{\sqrt\pi}) \nabla_{out} L$"""
    return grad_out * (2 * x * out - TWO_OVER_SQRT_PI)


@backward(_erfinv, 0)
def erfinv_back(grad_out: Any, out: Any, x: Any) -> Any:
    r"""$\nabla_x L = \frac{\sqrt\pi}{2} e^{out^2} \nabla_{out} L$"""
    return grad_out * (np.exp(out * out) * (1 / TWO_OVER_SQRT_PI))


@backward(_ndtr, 0)
def ndtr_back(grad_out: Any, out: Any, x: Any) -> Any:
    r"""$\nabla_x L = \frac{1}{\sqrt{2\pi}} e^{-x^2 / 2} \nabla_{out} L$"""
    return grad_out * (np.exp(x * x * -0.5) * (1 / SQRT_2PI))


@backward(_ndtri, 0)
def ndtri_back(grad_out: Any, out: Any, x: Any) -> Any:
    r"""$\nabla_x L = \sqrt{2\pi} e^{out^2 / 2} \nabla_{out} L$"""
    return grad_out * (np.exp(out * out * 0.5) * SQRT_2PI)


@backward(_log_ndtr, 0)
def log_ndtr_back(grad_out: Any, out: Any, x: Any) -> Any:
    r"""$\nabla_x L = \sqrt{2 / \pi} \, / \, \mathrm{erfcx}(-x / \sqrt 2) \, \nabla_{out} L$"""
    return grad_out / _erfcx(x * -SQRT_HALF) * math.sqrt(2 / math.pi)


# ----- the table: entropy and logarithms --------------------------------------------------------------------------

_xlogy, _xlog1py = scipy_function("xlogy"), scipy_function("xlog1py")


@backward(_xlogy, 0)
def xlogy_back0(grad_out: Any, out: Any, x: Any, y: Any) -> Any:
    r"""$\nabla_x L = \ln y \nabla_{out} L$, 0 where $x = 0$ and $y \leq 0$"""
    flat = (x == 0) & (y <= 0)
    return unbroadcast(keep_where(grad_out * np.log(np.where(flat, np.ones_like(x), y)), np.logical_not(flat)), x)


@backward(_xlogy, 1)
def xlogy_back1(grad_out: Any, out: Any, x: Any, y: Any) -> Any:
    r"""$\nabla_y L = \frac{x}{y} \nabla_{out} L$"""
    return unbroadcast(grad_out * (x / y), y)


@backward(_xlog1py, 0)
def xlog1py_back0(grad_out: Any, out: Any, x: Any, y: Any) -> Any:
    r"""$\nabla_x L = \ln(1 + y) \nabla_{out} L$, 0 where $x = 0$ and $y \leq -1$"""
    flat = (x == 0) & (y <= -1)
    return unbroadcast(keep_where(grad_out * np.log1p(np.where(flat, np.zeros_like(x), y)), np.logical_not(flat)), x)


@backward(_xlog1py, 1)
def xlog1py_back1(grad_out: Any, out: Any, x: Any, y: Any) -> Any:
    r"""$\nabla_y L = \frac{x}{1 + y} \nabla_{out} L$"""
    return unbroadcast(grad_out * (x / (y + 1)), y)


_entr = scipy_function("entr")


@backward(_entr, 0)
def entr_back(grad_out: Any, out: Any, x: Any) -> Any:
    r"""$\nabla_x L = -(1 + \ln x) \nabla_{out} L$"""
    return -grad_out * (np.log(x) + 1)


@array_function
def _logit(x: Any, eps: float | None = None) -> Any:
    """log(x / (1 - x)) of x brought into [eps, 1 - eps]."""
    if eps is not None:
        x = np.clip(x, eps, 1 - eps)
    return np.log(x / (1 - x))


@backward(_logit, 0)
def logit_back(grad_out: Any, out: Any, x: Any, eps: float | None = None) -> Any:
    r"""$\nabla_x L = \frac{1}{x (1 - x)} \nabla_{out} L$; 0 where $x$ is outside $[eps, 1 - eps]$"""
    if eps is None:
        return grad_out / (x * (1 - x))
    inside = (x >= eps) & (x <= 1 - eps)
    safe = np.where(inside, x, np.ones_like(x) * 0.5)
    return keep_where(grad_out / (safe * (1 - safe)), inside)


# ----- the table: gamma and zeta functions ------------------------------------------------------------------------

_lgamma, _digamma = scipy_function("lgamma", "gammaln"), scipy_function("digamma", "psi")
_gammainc, _gammaincc = scipy_function("gammainc"), scipy_function("gammaincc")
_zeta = scipy_function("zeta")


@array_function
def _polygamma(n: int, x: Any) -> Any:
    """The derivative of order n > 0 of the digamma function."""
    return _zeta(float(n + 1), x) * ((-1.0) ** (n + 1) * math.factorial(n))


@backward(_lgamma, 0)
def lgamma_back(grad_out: Any, out: Any, x: Any) -> Any:
    r"""$\nabla_x L = \psi(x) \nabla_{out} L$"""
    return grad_out * _digamma(x)


@backward(_digamma, 0)
def digamma_back(grad_out: Any, out: Any, x: Any) -> Any:
    r"""$\nabla_x L = \psi^{(1)}(x) \nabla_{out} L$"""
    return grad_out * _polygamma(1, x)


@backward(_polygamma, 1)
def polygamma_back(grad_out: Any, out: Any, n: int, x: Any) -> Any:
    r"""$\nabla_x L = \psi^{(n + 1)}(x) \nabla_{out} L$"""
    return grad_out * _polygamma(n + 1, x)


@backward(_gammainc, 1)
def gammainc_back(grad_out: Any, out: Any, a: Any, x: Any) -> Any:
    r"""$\nabla_x L = \frac{x^{a - 1} e^{-x}}{\Gamma(a)} \nabla_{out} L$"""
    return unbroadcast(grad_out * np.exp(_xlogy(a - 1, x) - x - _lgamma(a)), x)


@backward(_gammaincc, 1)
def gammaincc_back(grad_out: Any, out: Any, a: Any, x: Any) -> Any:
    r"""$\nabla_x L = -\frac{x^{a - 1} e^{-x}}{\Gamma(a)} \nabla_{out} L$"""
    return unbroadcast(-grad_out * np.exp(_xlogy(a - 1, x) - x - _lgamma(a)), x)


@backward(_zeta, 1)
def zeta_back(grad_out: Any, out: Any, x: Any, q: Any) -> Any:
    r"""$\nabla_q L = -x \, \zeta(x + 1, q) \nabla_{out} L$"""
    return unbroadcast(-grad_out * (x * _zeta(x + 1, q)), q)


# ----- the table: Bessel functions --------------------------------------------------------------------------------

_i0, _i0e, _i1, _i1e = (scipy_function(name) for name in ("i0", "i0e", "i1", "i1e"))
_bessel_j0, _bessel_j1 = scipy_function("bessel_j0", "j0"), scipy_function("bessel_j1", "j1")
_bessel_y0, _bessel_y1 = scipy_function("bessel_y0", "y0"), scipy_function("bessel_y1", "y1")
_modified_bessel_k0 = scipy_function("modified_bessel_k0", "k0")
_modified_bessel_k1 = scipy_function("modified_bessel_k1", "k1")
_scaled_modified_bessel_k0 = scipy_function("scaled_modified_bessel_k0", "k0e")
_scaled_modified_bessel_k1 = scipy_function("scaled_modified_bessel_k1", "k1e")


def slope_at_zero(x: Any, out: Any, slope: Callable[[Any, Any], Any]) -> Any:
    """`slope(x, out / x)` with the limit 1/2 of `out / x` where x = 0."""
    zero = x == 0
    return slope(x, np.where(zero, np.ones_like(x) * 0.5, out / np.where(zero, np.ones_like(x), x)))


@backward(_i0, 0)
def i0_back(grad_out: Any, out: Any, x: Any) -> Any:
    r"""$\nabla_x L = I_1(x) \nabla_{out} L$"""
    return grad_out * _i1(x)


@backward(_i1, 0)
def i1_back(grad_out: Any, out: Any, x: Any) -> Any:
    r"""$\nabla_x L = (I_0(x) - out / x) \nabla_{out} L$"""
    return grad_out * slope_at_zero(x, out, lambda x, ratio: _i0(x) - ratio)


@backward(_i0e, 0)
def i0e_back(grad_out: Any, out: Any, x: Any) -> Any:
    r"""$\nabla_x L = (e^{-|x|} I_1(x) - \mathrm{sgn}(x) \, out) \nabla_{out} L$"""
    return grad_out * (_i1e(x) - np.sign(x) * out)


@backward(_i1e, 0)
def i1e_back(grad_out: Any, out: Any, x: Any) -> Any:
    r"""$\nabla_x L = (e^{-|x|} I_0(x) - \mathrm{sgn}(x) \, out - out / x) \nabla_{out} L$"""
    return grad_out * slope_at_zero(x, out, lambda x, ratio: _i0e(x) - np.sign(x) * out - ratio)


@backward(_bessel_j0, 0)
def bessel_j0_back(grad_out: Any, out: Any, x: Any) -> Any:
    r"""$\nabla_x L = -J_1(x) \nabla_{out} L$"""
    return -grad_out * _bessel_j1(x)


@backward(_bessel_j1, 0)
def bessel_j1_back(grad_out: Any, out: Any, x: Any) -> Any:
    r"""$\nabla_x L = (J_0(x) - out / x) \nabla_{out} L$"""
    return grad_out * slope_at_zero(x, out, lambda x, ratio: _bessel_j0(x) - ratio)


@backward(_bessel_y0, 0)
def bessel_y0_back(grad_out: Any, out: Any, x: Any) -> Any:
    r"""$\nabla_x L = -Y_1(x) \nabla_{out} L$"""
    return -grad_out * _bessel_y1(x)


@backward(_bessel_y1, 0)
def bessel_y1_back(grad_out: Any, out: Any, x: Any) -> Any:
    r"""$\nabla_x L = (Y_0(x) - out / x) \nabla_{out} L$"""
    return grad_out * (_bessel_y0(x) - out / x)


@backward(_modified_bessel_k0, 0)
def modified_bessel_k0_back(grad_out: Any, out: Any, x: Any) -> Any:
    r"""$\nabla_x L = -K_1(x) \nabla_{out} L$"""
    return -grad_out * _modified_bessel_k1(x)


@backward(_modified_bessel_k1, 0)
def modified_bessel_k1_back(grad_out: Any, out: Any, x: Any) -> Any:
    r"""$\nabla_x L = -(K_0(x) + out / x) \nabla_{out} L$"""
    return -grad_out * (_modified_bessel_k0(x) + out / x)


@backward(_scaled_modified_bessel_k0, 0)
def scaled_modified_bessel_k0_back(grad_out: Any, out: Any, x: Any) -> Any:
    r"""$\nabla_x L = (out - e^x K_1(x)) \nabla_{out} L$"""
    return grad_out * (out - _scaled_modified_bessel_k1(x))


@backward(_scaled_modified_bessel_k1, 0)
def scaled_modified_bessel_k1_back(grad_out: Any, out: Any, x: Any) -> Any:
    r"""$\nabla_x L = (out - e^x K_0(x) - out / x) \nabla_{out} L$"""
    return grad_out * (out - _scaled_modified_bessel_k0(x) - out / x)


@array_function
def _spherical_bessel_j0(x: Any) -> Any:
    """sin(x) / x."""
    return np.sinc(x / math.pi)


@backward(_spherical_bessel_j0, 0)
def spherical_bessel_j0_back(grad_out: Any, out: Any, x: Any) -> Any:
    r"""$\nabla_x L = -j_1(x) \nabla_{out} L$, where $j_1$ is `_spherical_bessel_j1`"""
    return grad_out * -_spherical_bessel_j1(x)


@array_function
def _spherical_bessel_j1(x: Any) -> Any:
    """sin(x) / x^2 - cos(x) / x, near 0 by its Taylor series."""
    near = np.abs(x) < 0.3
    away = np.where(near, np.ones_like(x), x)
    t = x * x
    series = 1 - t / 130 * (1 - t / 180)
    for divisor in (88, 54, 28, 10):
        series = 1 - t / divisor * series
    return np.where(near, x * series / 3, (np.sin(away) / away - np.cos(away)) / away)


@backward(_spherical_bessel_j1, 0)
def spherical_bessel_j1_back(grad_out: Any, out: Any, x: Any) -> Any:
    r"""$\nabla_x L = (j_0(x) - 2 \, out / x) \nabla_{out} L$"""
    zero = x == 0
    ratio = np.where(zero, np.ones_like(x) / 3, out / np.where(zero, np.ones_like(x), x))
    return grad_out * (_spherical_bessel_j0(x) - 2 * ratio)


result_may_change(_erfinv)

# ----- the operations ---------------------------------------------------------------------------------------------

floating = partial(wrap_forward_fn, floating=True)
erf, erfc, erfcx, erfinv = floating(_erf), floating(_erfc), floating(_erfcx), floating(_erfinv)
ndtr, ndtri, log_ndtr = floating(_ndtr), floating(_ndtri), floating(_log_ndtr)
xlogy, xlog1py, entr = floating(_xlogy), floating(_xlog1py), floating(_entr)
lgamma = gammaln = floating(_lgamma)
digamma = psi = floating(_digamma)
igamma = gammainc = floating(_gammainc)
igammac = gammaincc = floating(_gammaincc)
zeta = floating(_zeta)
i0, i0e, i1, i1e = floating(_i0), floating(_i0e), floating(_i1), floating(_i1e)
bessel_j0, bessel_j1 = floating(_bessel_j0), floating(_bessel_j1)
bessel_y0, bessel_y1 = floating(_bessel_y0), floating(_bessel_y1)
modified_bessel_i0, modified_bessel_i1 = i0, i1
modified_bessel_k0, modified_bessel_k1 = floating(_modified_bessel_k0), floating(_modified_bessel_k1)
scaled_modified_bessel_k0 = floating(_scaled_modified_bessel_k0)
scaled_modified_bessel_k1 = floating(_scaled_modified_bessel_k1)
spherical_bessel_j0 = floating(_spherical_bessel_j0)
floating(_spherical_bessel_j1)
airy_ai = floating(array_function(lambda x: _airy(x)), is_differentiable=False)
_logit_of, _polygamma_of = floating(_logit), wrap_forward_fn(_polygamma)
implements(np.i0)(i0)


def _airy(x: Any) -> Any:
    from scipy import special

    return special.airy(x)[0].astype(x.dtype)


def logit(input: Any, eps: float | None = None) -> Tensor:
    """`log(input / (1 - input))`, of `input` brought into `[eps, 1 - eps]` if `eps` is given."""
    return _logit_of(input, eps=eps)  # type: ignore[no-any-return]


def polygamma(n: int, input: Any) -> Tensor:
    """The derivative of order `n` of the digamma function.

    Raises:
        RuntimeError: `n` is negative.
    """
    if n < 0:
        raise RuntimeError(f"polygamma(n, x) does not support negative n, got {n}")
    if n == 0:
        return digamma(input)  # type: ignore[no-any-return]
    return _polygamma_of(n, promote((input,), floating=True)[0])  # type: ignore[no-any-return]


def mvlgamma(input: Any, p: int) -> Tensor:
    """The multivariate log-gamma function of dimension `p`."""
    total = lgamma(input)
    for j in range(1, p):
        total = total + lgamma(input - 0.5 * j)
    return total + 0.25 * p * (p - 1) * math.log(math.pi)  # type: ignore[no-any-return]


multigammaln = mvlgamma


def _polygamma_method(self: Tensor, n: int) -> Tensor:
    """The derivative of order `n` of the digamma function."""
    return polygamma(n, self)


# ----- scipy.special's own functions, called with a tensor --------------------------------------------------------

BY_SCIPY_NAME = {
    "erf": erf, "erfc": erfc, "erfcx": erfcx, "erfinv": erfinv, "ndtr": ndtr, "ndtri": ndtri, "log_ndtr": log_ndtr,
    "xlogy": xlogy, "xlog1py": xlog1py, "entr": entr, "logit": logit, "gammaln": lgamma, "psi": digamma,
    "gammainc": igamma, "gammaincc": igammac, "i0": i0, "i0e": i0e, "i1": i1, "i1e": i1e, "j0": bessel_j0,
    "j1": bessel_j1, "y0": bessel_y0, "y1": bessel_y1, "k0": modified_bessel_k0, "k1": modified_bessel_k1,
    "k0e": scaled_modified_bessel_k0, "k1e": scaled_modified_bessel_k1,
}  # fmt: skip
TENSOR_FUNCS.update(BY_SCIPY_NAME)  # SciPy's ufuncs are found by name, for SciPy is not imported yet

# ----- names and methods ------------------------------------------------------------------------------------------

_methods: dict[str, Any] = {
    "erf": erf, "erfc": erfc, "erfinv": erfinv, "xlogy": xlogy, "lgamma": lgamma, "digamma": digamma, "igamma": igamma,
    "igammac": igammac, "i0": i0, "logit": logit, "mvlgamma": mvlgamma, "polygamma": _polygamma_method,
}  # fmt: skip
attach(**_methods)
attach_in_place(**_methods)
erf_, erfc_, i0_, logit_, xlogy_ = (getattr(Tensor, name + "_") for name in ("erf", "erfc", "i0", "logit", "xlogy"))
__all__ = [*_methods, "erf_", "erfc_", "i0_", "logit_", "xlogy_"]

NAMESPACE = (
    "airy_ai bessel_j0 bessel_j1 bessel_y0 bessel_y1 digamma entr erf erfc erfcx erfinv gammainc gammaincc gammaln i0 "
    "i0e i1 i1e log_ndtr logit modified_bessel_i0 modified_bessel_i1 modified_bessel_k0 modified_bessel_k1 "
    "multigammaln ndtr ndtri polygamma psi scaled_modified_bessel_k0 scaled_modified_bessel_k1 spherical_bessel_j0 "
    "xlog1py xlogy zeta"
).split()
