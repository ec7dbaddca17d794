"""The keyword `out=`: a result written into a tensor that is there already, for all operations in one place."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import numpy as np

from ..core.grad_mode import is_grad_enabled
from ..core.tensor import make_tensor
from ..core.views import check_kind, write_in_place

Function = TypeVar("Function", bound=Callable[..., Any])

# the operations of PyTorch's that take it, without those that are given it where they are defined
NAMES = frozenset(
    """
    abs acos acosh add addbmm addcdiv addcmul addmm addmv addr all amax amin aminmax angle any asin asinh atan
    atan2 atanh baddbmm bitwise_and bitwise_left_shift bitwise_not bitwise_or bitwise_right_shift bitwise_xor bmm
    bucketize cat ceil chain_matmul cholesky cholesky_inverse cholesky_solve clamp clip column_stack complex
    concat concatenate conj_physical copysign cos cosh cross cummax cummin cumprod cumsum deg2rad diag diff
    digamma div divide dot dstack eq erf erfc erfinv exp exp2 expm1 fix float_power floor floor_divide fmax fmin
    fmod frac frexp gather gcd ge ger greater greater_equal gt heaviside histc hstack hypot i0 igamma igammac
    index_select inner inverse isin isneginf isposinf kron kthvalue lcm ldexp le lerp less less_equal lgamma log
    log10 log1p log2 logaddexp logaddexp2 logcumsumexp logical_and logical_not logical_or logical_xor logit
    logsumexp lt lu lu_solve lu_unpack masked_select matmul matrix_power max maximum mean median min minimum mm
    mode msort mul multiply mv mvlgamma nan_to_num nanmean nanmedian nanquantile narrow_copy ne neg negative
    nextafter nonzero norm not_equal outer polar polygamma pow prod qr quantile rad2deg reciprocal remainder
    renorm round row_stack rsqrt scatter scatter_add searchsorted sgn sigmoid sign signbit sin sinc sinh sort sqrt
    square stack std std_mean sub subtract sum svd take take_along_dim tan tanh topk triangular_solve tril triu
    true_divide trunc var var_mean vdot vstack where xlogy
    """.split()
)


def write_out(out: Any, result: Any, name: str) -> Any:
    """Write a result, or each of several, into `out`, which takes the result's shape; returns `out`.

    Raises:
        RuntimeError: a gradient is wanted, which would be lost; the result's type is of a larger kind than out's.
    """
    if isinstance(out, (tuple, list)):
        return (
            type(result)(*(write_out(o, r, name) for o, r in zip(out, result, strict=True)))
            if hasattr(result, "_fields")
            else tuple(write_out(o, r, name) for o, r in zip(out, result, strict=True))
        )
    if is_grad_enabled() and (out.requires_grad or result.requires_grad):
        raise RuntimeError(
            f"{name}(): functions with out=... arguments don't support automatic differentiation, but one of the "
            "arguments requires grad"
        )
    if out.shape != result.shape:
        check_kind(result.array.dtype, out.array.dtype, f"{name}(out=)")
        if out.numel():
            warnings.warn(
                f"{name}(): an out tensor of shape {out.shape} was resized, since it does not match the required "
                f"output shape {result.shape}",
                stacklevel=3,
            )
        out.data = make_tensor(np.empty(result.shape, out.array.dtype), None)
    return write_in_place(out, f"{name}(out=)", lambda _: result)


def takes_out(function: Function) -> Function:
    """Let an operation take `out=`."""

    @functools.wraps(function)
    def with_out(*args: Any, **kwargs: Any) -> Any:
        if "out" not in kwargs:
            return function(*args, **kwargs)
        out = kwargs.pop("out")
        result = function(*args, **kwargs)
        return result if out is None else write_out(out, result, function.__name__)

    return with_out  # type: ignore[return-value]


def let_take_out(module: dict[str, Any], names: Iterable[str]) -> None:
    """Replace functions in a module's dictionary by themselves with `out=`."""
    for name in names:
        module[name] = takes_out(module[name])
