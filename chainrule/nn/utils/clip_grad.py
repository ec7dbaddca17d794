"""Keeping gradients small: by the norm of all of them together, or each number by itself."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np

from ...core.grad_mode import no_grad
from ...core.tensor import Tensor, make_tensor
from ...core.tracing import calculated, in_array, number

__all__ = ["clip_grad_norm", "clip_grad_norm_", "clip_grad_value_", "clip_grads_with_norm_", "get_total_norm"]


def _listed(tensors: Any) -> list[Tensor]:
    return [tensors] if isinstance(tensors, Tensor) else list(tensors)


def _norm(array: Any, order: float) -> float:
    """The norm of all numbers of an array."""
    flat = np.ravel(array)
    if not flat.size:
        return 0.0
    if order == 2:
        if flat.dtype.itemsize <= 2:
            return _norm(flat.astype("f"), 2)
        return calculated(math.sqrt, number(np.real(np.vdot(flat, flat))))  # type: ignore[no-any-return]
    return number(np.linalg.norm(flat, order))  # type: ignore[no-any-return]


def get_total_norm(
    tensors: Any, norm_type: float = 2.0, error_if_nonfinite: bool = False, foreach: bool | None = None
) -> Tensor:
    """The norm of all numbers of several tensors together.

    Raises:
        RuntimeError: with `error_if_nonfinite`, if it is infinite or not a number.

    >>> import chainrule as cr
    >>> get_total_norm([cr.tensor([3.0]), cr.tensor([4.0])]).item()
    5.0
    """
    arrays = [tensor.array for tensor in _listed(tensors)]
    if not arrays:
        return make_tensor(np.zeros((), np.float32), None)
    order = float(norm_type)
    total = _norm(in_array([_norm(array, order) for array in arrays]), order)
    if error_if_nonfinite and not math.isfinite(total):
        raise RuntimeError(
            f"The total norm of order {norm_type} for gradients from `parameters` is non-finite, so it cannot be "
            "clipped. To disable this error and scale the gradients by the non-finite norm anyway, set "
            "`error_if_nonfinite=False`"
        )
    kind = np.result_type(*arrays)
    return make_tensor(in_array(total, np.float32 if kind.kind not in "fc" else np.zeros((), kind).real.dtype), None)


def clip_grads_with_norm_(parameters: Any, max_norm: float, total_norm: Any, foreach: bool | None = None) -> None:
    """Scale all gradients by `max_norm / total_norm`, if that is less than 1."""
    factor = calculated(min, float(max_norm) / (number(total_norm) + 1e-6), 1.0)  # NaN stays
    if type(factor) is float and factor == 1.0:
        return
    with no_grad():
        for parameter in _listed(parameters):
            if parameter.grad is not None:
                parameter.grad.mul_(factor)


def clip_grad_norm_(
    parameters: Any,
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Scale all gradients together so that their norm is at most `max_norm`; returns the norm they had.

    Args:
        parameters: a tensor or several.
        max_norm: the largest norm.
        norm_type: which p-norm; may be infinite.
        error_if_nonfinite: refuse a norm that is infinite or not a number.
        foreach: accepted; nothing depends on it here.

    Raises:
        RuntimeError: see `error_if_nonfinite`.

    >>> import chainrule as cr
    >>> x = cr.tensor([3.0, 4.0], requires_grad=True)
    >>> (x * x / 2).backward()
    >>> clip_grad_norm_(x, 1.0).item(), round(x.grad[0].item(), 4)
    (5.0, 0.6)
    """
    chosen = _listed(parameters)
    if isinstance(parameters, Iterable) and not isinstance(parameters, (Tensor, list, tuple)) and not chosen:
        warnings.warn("`parameters` is an empty generator, no gradient clipping will occur.", stacklevel=2)
    grads = [parameter.grad for parameter in chosen if parameter.grad is not None]
    total = get_total_norm(grads, norm_type, error_if_nonfinite)
    clip_grads_with_norm_(chosen, max_norm, total)
    return total


def clip_grad_norm(
    parameters: Any,
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """The old name of `clip_grad_norm_`."""
    warnings.warn("clip_grad_norm is deprecated: write clip_grad_norm_", FutureWarning, stacklevel=2)
    return clip_grad_norm_(parameters, max_norm, norm_type, error_if_nonfinite, foreach)


def clip_grad_value_(parameters: Any, clip_value: float, foreach: bool | None = None) -> None:
    """Bring each number of all gradients into [-clip_value, clip_value]."""
    bound = float(clip_value)
    with no_grad():
        for parameter in _listed(parameters):
            if parameter.grad is not None:
                parameter.grad.clamp_(min=-bound, max=bound)
