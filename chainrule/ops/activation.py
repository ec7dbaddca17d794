"""Activation functions: the NumPy-level functions, their derivatives, and the operations.

`chainrule.nn.functional` hands these on.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.broadcasting import unbroadcast
from ..core.forward import array_function, implements, wrap_forward_fn
from ..core.grad_mode import grad_mode
from ..core.table import backward, result_may_change
from ..core.tensor import Tensor
from .common import attach, in_place, is_complex
from .elementwise import ZERO, _one_argument, at_least_zero, keep_where
from .kernels import Fused, in_one_loop
from .memory import Memory
from .parallel import shared_out
from .special import ERF_POLYNOMIAL, FEW, SQRT_2PI, SQRT_HALF, _erf, polynomial

# ----- the table: rectifiers --------------------------------------------------------------------------------------


@array_function
def _relu(x: Any) -> Any:
    """max(x, 0)."""
    return at_least_zero(x)


@backward(_relu, 0)
def relu_back(grad_out: Any, out: Any, x: Any) -> Any:
    r"""$\nabla_x L = [out \neq 0] \nabla_{out} L$, where $out \geq 0$"""
    if type(grad_out) is np.ndarray and type(out) is np.ndarray and grad_out.size < 1024:
        return np.where(out, grad_out, ZERO.get(grad_out.dtype.char, 0))
    return keep_where(grad_out, out != 0)


@array_function
@in_one_loop("n")
def _leaky_relu(x: Any, negative_slope: float = 0.01) -> Any:
    """x where x > 0, negative_slope * x elsewhere."""
    if 0 <= negative_slope <= 1:
        return np.maximum(x, x * negative_slope)
    return np.where(x > 0, x, x * negative_slope)


@backward(_leaky_relu, 0)
@in_one_loop("n - n")
def leaky_relu_back(grad_out: Any, out: Any, x: Any, negative_slope: float = 0.01) -> Any:
    r"""$\nabla_x L = \nabla_{out} L$ where $x > 0$, $negative\_slope \nabla_{out} L$ elsewhere"""
    return np.where(x > 0, grad_out, grad_out * negative_slope)


@array_function
def _prelu(x: Any, weight: Any) -> Any:
    """x where x > 0, weight * x elsewhere."""
    return np.where(x > 0, x, x * weight)


@backward(_prelu, 0)
def prelu_back0(grad_out: Any, out: Any, x: Any, weight: Any) -> Any:
    r"""$\nabla_x L = \nabla_{out} L$ where $x > 0$, $weight \nabla_{out} L$ elsewhere"""
    return unbroadcast(np.where(x > 0, grad_out, grad_out * weight), x)


@backward(_prelu, 1)
def prelu_back1(grad_out: Any, out: Any, x: Any, weight: Any) -> Any:
    r"""$\nabla_{weight} L = [x \leq 0] x \nabla_{out} L$"""
    return unbroadcast(grad_out * np.minimum(x, 0), weight)


@array_function
def _threshold(x: Any, threshold: float, value: float) -> Any:
    """value where x <= threshold, x elsewhere: also where it is NaN."""
    return np.where(x <= threshold, np.full_like(x, value), x)


@backward(_threshold, 0)
def threshold_back(grad_out: Any, out: Any, x: Any, threshold: float, value: float) -> Any:
    r"""$\nabla_x L = [x > threshold] \nabla_{out} L$"""
    return keep_where(grad_out, np.logical_not(x <= threshold))


@array_function
def _hardtanh(x: Any, min_val: float = -1.0, max_val: float = 1.0) -> Any:
    """x brought into [min_val, max_val]."""
    return np.clip(x, min_val, max_val)


@backward(_hardtanh, 0)
def hardtanh_back(grad_out: Any, out: Any, x: Any, min_val: float = -1.0, max_val: float = 1.0) -> Any:
    r"""$\nabla_x L = [min\_val < x < max\_val] \nabla_{out} L$"""
    return keep_where(grad_out, (x > min_val) & (x < max_val))


@array_function
@in_one_loop("n")
def _hardsigmoid(x: Any) -> Any:
    """clip(x / 6 + 1/2, 0, 1)."""
    return np.clip(x + 3, 0, 6) / 6


@backward(_hardsigmoid, 0)
@in_one_loop("n - n")
def hardsigmoid_back(grad_out: Any, out: Any, x: Any) -> Any:
    r"""$\nabla_x L = \frac{1}{6} [-3 < x < 3] \nabla_{out} L$"""
    return keep_where(grad_out, (x > -3) & (x < 3)) / 6


@array_function
@in_one_loop("n")
def _hardswish(x: Any) -> Any:
    """x clip(x / 6 + 1/2, 0, 1)."""
    return x * (np.clip(x + 3, 0, 6) / 6)


@backward(_hardswish, 0)
@in_one_loop("n - n")
def hardswish_back(grad_out: Any, out: Any, x: Any) -> Any:
    r"""$\nabla_x L = (x / 3 + 1/2) \nabla_{out} L$ where $-3 < x < 3$, $[x \geq 3] \nabla_{out} L$ elsewhere"""
    return np.where(x >= 3, grad_out, keep_where(grad_out * (x / 3 + 0.5), np.logical_not(x <= -3)))


@array_function
@in_one_loop("n")
def _softshrink(x: Any, lambd: float = 0.5) -> Any:
    """x moved towards 0 by lambd, 0 where |x| <= lambd."""
    return x - np.clip(x, -lambd, lambd)


@backward(_softshrink, 0)
@in_one_loop("n - n")
def softshrink_back(grad_out: Any, out: Any, x: Any, lambd: float = 0.5) -> Any:
    r"""$\nabla_x L = [|x| > lambd] \nabla_{out} L$"""
    return keep_where(grad_out, np.abs(x) > lambd)


@array_function
@in_one_loop("n")
def _hardshrink(x: Any, lambd: float = 0.5) -> Any:
    """x, 0 where |x| <= lambd."""
    return np.where(np.abs(x) <= lambd, np.zeros_like(x), x)


@backward(_hardshrink, 0)
@in_one_loop("n - n")
def hardshrink_back(grad_out: Any, out: Any, x: Any, lambd: float = 0.5) -> Any:
    r"""$\nabla_x L = [|x| > lambd] \nabla_{out} L$"""
    return keep_where(grad_out, np.logical_not(np.abs(x) <= lambd))


# ----- the table: smooth functions --------------------------------------------------------------------------------


@array_function
@in_one_loop("n")
def _sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x))."""
    if type(x) is not np.ndarray or x.ndim == 0:
        return 1 / (np.exp(-x) + 1)
    with np.errstate(over="ignore"):  # exp(-x) = inf gives 0, as it should
        out = np.negative(x)
        np.exp(out, out=out)
        out += 1
        return np.divide(1, out, out=out)


@backward(_sigmoid, 0)
@in_one_loop("n n -")
def sigmoid_back(grad_out: Any, out: Any, x: Any) -> Any:
    r"""$\nabla_x L = out (1 - out) \nabla_{out} L$"""
    return grad_out * (out * (1 - out))


@array_function
@in_one_loop("n")
def _logsigmoid(x: Any) -> Any:
    """log(sigmoid(x))."""
    return np.minimum(x, 0) - np.log1p(np.exp(-np.abs(x)))


@backward(_logsigmoid, 0)
@in_one_loop("n - n")
def logsigmoid_back(grad_out: Any, out: Any, x: Any) -> Any:
    r"""$\nabla_x L = \sigma(-x) \nabla_{out} L$"""
    return grad_out * _sigmoid(-x)


@array_function
@in_one_loop("n")
def _softplus(x: Any, beta: float = 1.0, threshold: float = 20.0) -> Any:
    """log(1 + exp(beta x)) / beta; x where beta x > threshold."""
    z = x * beta
    smooth = (np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z)))) / beta
    return np.where(z > threshold, x, smooth)


@backward(_softplus, 0)
@in_one_loop("n - n")
def softplus_back(grad_out: Any, out: Any, x: Any, beta: float = 1.0, threshold: float = 20.0) -> Any:
    r"""$\nabla_x L = \sigma(beta \, x) \nabla_{out} L$; $\nabla_{out} L$ where $beta \, x > threshold$"""
    z = x * beta
    return np.where(z > threshold, grad_out, grad_out * _sigmoid(z))


@array_function
@in_one_loop("n")
def _silu(x: Any) -> Any:
    """x sigmoid(x)."""
    return x * _sigmoid(x)


@backward(_silu, 0)
@in_one_loop("n n n")
def silu_back(grad_out: Any, out: Any, x: Any) -> Any:
    r"""$\nabla_x L = \sigma(x) (1 + x - out) \nabla_{out} L$"""
    return grad_out * (_sigmoid(x) * (x - out + 1))


@array_function
@in_one_loop("n")
def _mish(x: Any) -> Any:
    """x tanh(softplus(x))."""
    return x * np.tanh(_softplus(x))


@backward(_mish, 0)
@in_one_loop("n - n")
def mish_back(grad_out: Any, out: Any, x: Any) -> Any:
    r"""$\nabla_x L = (t + x \sigma(x) (1 - t^2)) \nabla_{out} L$ with $t = \tanh(\mathrm{softplus}(x))$"""
    t = np.tanh(_softplus(x))
    return grad_out * (t + x * _sigmoid(x) * (1 - t * t))


GELU_SCALE = math.sqrt(2 / math.pi)
GELU_CUBE = 0.044715
GELU_COST = 256  # multiplications that take as long as one value with its slope
GELU_BLOCK = (
    1 << 17
)  # elements worked on at a time: each thread has few calls, between which it waits for Python's lock


# erf(x / sqrt 2) = tanh(x P(-x^2 / 2)): the coefficients of P, the constant term last
GELU_POLYNOMIAL = tuple(c * SQRT_HALF * (-1.0) ** (7 - i) for i, c in enumerate(ERF_POLYNOMIAL))


def gelu_in_blocks(x: Any, approximate: str, with_slope: bool = True) -> tuple[Any, Any]:
    """`_gelu` of a float32 ndarray, a piece that fits into the cache at a time, and its derivative, where wanted."""
    out = np.empty(x.shape, x.dtype)
    slope = np.empty(x.shape, x.dtype) if with_slope else None
    source, target = x.reshape(-1), out.reshape(-1)
    rises = target if slope is None else slope.reshape(-1)

    def work(part: slice) -> None:
        with np.errstate(over="ignore"):  # the tanh of infinity is 1
            for start in range(part.start, part.stop, GELU_BLOCK):
                block = slice(start, min(start + GELU_BLOCK, part.stop))
                piece = source[block]
                square = np.square(piece)
                half = target[block]  # becomes erf(x / sqrt 2), or its approximation
                if approximate == "tanh":
                    np.multiply(square, GELU_CUBE, out=half)
                    half += 1
                    half *= piece
                    half *= GELU_SCALE
                else:
                    square *= -0.5
                    polynomial(square, GELU_POLYNOMIAL, half)
                    half *= piece
                np.tanh(half, out=half)
                if slope is not None:
                    rise = rises[block]
                    if approximate == "tanh":
                        np.multiply(half, half, out=rise)
                        np.subtract(1, rise, out=rise)
                        square *= 1.5 * GELU_CUBE * GELU_SCALE
                        square += 0.5 * GELU_SCALE
                        rise *= square
                    else:
                        np.exp(square, out=rise)
                        rise *= 1 / SQRT_2PI
                    rise *= piece
                half *= 0.5
                half += 0.5
                if slope is not None:
                    rise += half
                half *= piece

    shared_out(work, x.size, GELU_COST * x.size)
    return out, slope


@array_function
def _gelu(x: Any, approximate: str = "none", saved: Memory | None = None) -> Any:
    """x Phi(x), Phi the normal distribution function; or its approximation by a tanh.

    `saved` is a `Memory` in which the derivative may be left, where it comes at little cost.
    """
    if type(x) is np.ndarray:
        if saved is None:
            out = gelu_fused(x, approximate=approximate)
        else:
            out, saved.steps = gelu_and_slope_fused(x, approximate=approximate) or (None, None)
        if out is not None:
            return out
        if x.dtype == np.float32 and x.size >= FEW:
            out, slope = gelu_in_blocks(x, approximate, saved is not None)
            if saved is not None:
                saved.steps = slope
            return out
    if approximate == "none":
        return x * (_erf(x * SQRT_HALF) + 1) * 0.5
    return x * (np.tanh((x * x * GELU_CUBE + 1) * x * GELU_SCALE) + 1) * 0.5


@backward(_gelu, 0)
def gelu_back(grad_out: Any, out: Any, x: Any, approximate: str = "none", saved: Memory | None = None) -> Any:
    r"""$\nabla_x L = (\Phi(x) + x \Phi'(x)) \nabla_{out} L$

    For "tanh" with $2 \Phi(x) = 1 + \tanh(\sqrt{2 / \pi} (x + 0.044715 x^3))$.
    """
    slope = None if saved is None else saved.recall(grad_out)
    if slope is not None:
        return grad_out * slope
    if approximate == "none":
        return grad_out * ((_erf(x * SQRT_HALF) + 1) * 0.5 + x * np.exp(x * x * -0.5) * (1 / SQRT_2PI))
    square = x * x
    t = np.tanh((square * GELU_CUBE + 1) * x * GELU_SCALE)
    rise = (1 - t * t) * x * ((square * (3 * GELU_CUBE) + 1) * GELU_SCALE)
    return grad_out * ((t + 1 + rise) * 0.5)


def gelu_and_slope(x: Any, approximate: str) -> tuple[Any, Any]:
    """`_gelu` and its derivative, which have much in common."""
    return _gelu(x, approximate), gelu_back(1, None, x, approximate)


BOTH: Any = ({"approximate": "none"}, {"approximate": "tanh"})
gelu_fused, gelu_and_slope_fused = Fused(_gelu, "n", usual=BOTH), Fused(gelu_and_slope, "n", usual=BOTH)


@array_function
@in_one_loop("n")
def _elu(x: Any, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> Any:
    """scale * (x where x > 0, alpha * expm1(input_scale * x) elsewhere)."""
    return np.where(x > 0, x if scale == 1 else x * scale, np.expm1(np.minimum(x, 0) * input_scale) * (alpha * scale))


@backward(_elu, 0)
@in_one_loop("n n n")
def elu_back(grad_out: Any, out: Any, x: Any, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> Any:
    r"""$\nabla_x L = scale \nabla_{out} L$ where $x > 0$; elsewhere
    $input\_scale (out + alpha \, scale) \nabla_{out} L$
    """
    return np.where(x > 0, grad_out * scale, grad_out * ((out + alpha * scale) * input_scale))


@array_function
@in_one_loop("n")
def _softsign(x: Any) -> Any:
    """x / (1 + |x|)."""
    return x / (np.abs(x) + 1)


@backward(_softsign, 0)
@in_one_loop("n n n")
def softsign_back(grad_out: Any, out: Any, x: Any) -> Any:
    r"""$\nabla_x L = \frac{1}{1 + |x|} \left(\nabla_{out} L - \mathrm{Re}(out \nabla_{out} L)\,
    \mathrm{sgn}(\bar x)\right)$, for real $x$ $\frac{1}{(1 + |x|)^2} \nabla_{out} L$"""
    size = np.abs(x) + 1
    if is_complex(x):
        return (grad_out - np.real(out * grad_out) * np.conjugate(np.sign(x))) / size
    return grad_out / (size * size)


@array_function
def _tanhshrink(x: Any) -> Any:
    """x - tanh(x)."""
    return x - np.tanh(x)


@backward(_tanhshrink, 0)
def tanhshrink_back(grad_out: Any, out: Any, x: Any) -> Any:
    r"""$\nabla_x L = \tanh(x)^2 \nabla_{out} L$"""
    t = np.tanh(x)
    return grad_out * (t * t)


result_may_change(_elu, _silu)

# ----- the operations ---------------------------------------------------------------------------------------------

relu = _one_argument(_relu, floating=False, ordered=True)
sigmoid = expit = _one_argument(_sigmoid)
logsigmoid = _one_argument(_logsigmoid)
softsign = _one_argument(_softsign)
tanhshrink = _one_argument(_tanhshrink)
_silu_of, _mish_of = _one_argument(_silu), _one_argument(_mish)
_hardsigmoid_of = _one_argument(_hardsigmoid, ordered=True)
_hardswish_of = _one_argument(_hardswish, ordered=True)
_elu_of = wrap_forward_fn(_elu, ordered=True)
_gelu_of, _softplus_of = wrap_forward_fn(_gelu), wrap_forward_fn(_softplus)
_leaky_relu_of = wrap_forward_fn(_leaky_relu, ordered=True)
_prelu_of = wrap_forward_fn(_prelu, ordered=True)
_threshold_of = wrap_forward_fn(_threshold, ordered=True)
_hardtanh_of = wrap_forward_fn(_hardtanh, ordered=True)
_softshrink_of = wrap_forward_fn(_softshrink, ordered=True)
_hardshrink_of = wrap_forward_fn(_hardshrink, ordered=True)
implements("expit")(sigmoid)


def _run(operation: Callable[..., Any], input: Any, inplace: bool, *args: Any, **kwargs: Any) -> Tensor:
    """The operation, or its in-place form."""
    if inplace:
        return in_place(operation, operation.__name__.strip("_") + "_")(input, *args, **kwargs)
    return operation(input, *args, **kwargs)  # type: ignore[no-any-return]


def leaky_relu(input: Any, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """`input` where it is positive, `negative_slope * input` elsewhere."""
    return _run(_leaky_relu_of, input, inplace, negative_slope=negative_slope)


def prelu(input: Any, weight: Any) -> Tensor:
    """`input` where it is positive, `weight * input` elsewhere; one weight, or one for each channel (axis 1).

    Raises:
        RuntimeError: the number of weights is neither 1 nor the number of channels.
    """
    if weight.ndim not in (0, 1):
        raise RuntimeError(f"prelu: Expected `weight` to be a scalar or 1D tensor, but got ndim = {weight.ndim}")
    channels = input.shape[1] if input.ndim > 1 else 1
    count = weight.array.size
    if count != 1 and count != channels:
        raise RuntimeError(
            f"Mismatch of parameter numbers and input channel size. Found parameter numbers = {count} and channel "
            f"size = {channels}."
        )
    shape = (1, count) + (1,) * (input.ndim - 2) if input.ndim > 1 else (1,) * input.ndim
    return _prelu_of(input, np.reshape(weight, shape))  # type: ignore[no-any-return]


def threshold(input: Any, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """`input` where it is greater than `threshold`, `value` elsewhere."""
    return _run(_threshold_of, input, inplace, threshold=threshold, value=value)


def hardtanh(input: Any, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
    """`input` brought into `[min_val, max_val]`."""
    return _run(_hardtanh_of, input, inplace, min_val=min_val, max_val=max_val)


def relu6(input: Any, inplace: bool = False) -> Tensor:
    """`input` brought into `[0, 6]`."""
    return hardtanh(input, 0.0, 6.0, inplace)


def hardsigmoid(input: Any, inplace: bool = False) -> Tensor:
    """`input / 6 + 1/2` brought into `[0, 1]`."""
    return _run(_hardsigmoid_of, input, inplace)


def hardswish(input: Any, inplace: bool = False) -> Tensor:
    """`input * hardsigmoid(input)`."""
    return _run(_hardswish_of, input, inplace)


def softshrink(input: Any, lambd: float = 0.5) -> Tensor:
    """`input` moved towards 0 by `lambd`, 0 where it is nearer than that.

    Raises:
        RuntimeError: `lambd` is negative.
    """
    if lambd < 0:
        raise RuntimeError(f"lambda must be greater or equal to 0, but found to be {lambd}.")
    return _softshrink_of(input, lambd=lambd)  # type: ignore[no-any-return]


def hardshrink(input: Any, lambd: float = 0.5) -> Tensor:
    """`input`, 0 where its absolute value is at most `lambd`."""
    return _hardshrink_of(input, lambd=lambd)  # type: ignore[no-any-return]


def softplus(input: Any, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """`log(1 + exp(beta * input)) / beta`; `input` itself where `beta * input > threshold`."""
    return _softplus_of(input, beta=beta, threshold=threshold)  # type: ignore[no-any-return]


def silu(input: Any, inplace: bool = False) -> Tensor:
    """`input * sigmoid(input)`."""
    return _run(_silu_of, input, inplace)


def mish(input: Any, inplace: bool = False) -> Tensor:
    """`input * tanh(softplus(input))`."""
    return _run(_mish_of, input, inplace)


def gelu(input: Any, approximate: str = "none") -> Tensor:
    """`input` times the normal distribution function of `input`; `approximate="tanh"` is the faster approximation.

    Raises:
        RuntimeError: `approximate` is neither "none" nor "tanh".

    >>> import chainrule as cr
    >>> from chainrule.ops.activation import gelu
    >>> gelu(cr.tensor([0.0, 1.0]))
    Tensor(array([0.        , 0.8413447], dtype=float32), requires_grad=False)
    """
    if approximate not in ("none", "tanh"):
        raise RuntimeError(f"approximate argument must be either none or tanh, got {approximate!r}")
    tracked = isinstance(input, Tensor) and input.node() is not None and grad_mode()
    return _gelu_of(input, approximate, Memory() if tracked else None)  # type: ignore[no-any-return]


def elu(input: Any, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """`input` where it is positive, `alpha * (exp(input) - 1)` elsewhere."""
    return _run(_elu_of, input, inplace, alpha=alpha)


SELU_ALPHA = 1.6732632423543772848170429916717
SELU_SCALE = 1.0507009873554804934193349852946


def selu(input: Any, inplace: bool = False) -> Tensor:
    """The self-normalising `elu`."""
    return _run(_elu_of, input, inplace, alpha=SELU_ALPHA, scale=SELU_SCALE)


def celu(input: Any, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """`input` where it is positive, `alpha * (exp(input / alpha) - 1)` elsewhere.

    Raises:
        RuntimeError: `alpha` is 0.
    """
    if alpha == 0:
        raise RuntimeError("ZeroDivisionError: alpha cannot be 0 for CELU")
    return _run(_elu_of, input, inplace, alpha=alpha, input_scale=1 / alpha)


relu_, sigmoid_ = in_place(relu, "relu_"), in_place(sigmoid, "sigmoid_")
selu_, celu_ = in_place(selu, "selu_"), in_place(celu, "celu_")
elu_, leaky_relu_ = in_place(elu, "elu_"), in_place(leaky_relu, "leaky_relu_")
hardtanh_, threshold_ = in_place(hardtanh, "hardtanh_"), in_place(threshold, "threshold_")
attach(relu=relu, relu_=relu_, sigmoid=sigmoid, sigmoid_=sigmoid_, prelu=prelu, hardshrink=hardshrink)

__all__ = (
    "celu celu_ hardshrink prelu relu relu_ selu selu_ sigmoid sigmoid_ threshold threshold_"  # as in PyTorch's own
).split()
