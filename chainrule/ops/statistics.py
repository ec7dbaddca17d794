"""Covariance and correlation of several variables."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.forward import TENSOR_FUNCS, implements
from ..core.tensor import Tensor
from .common import as_tensor_argument, attach, is_complex

__all__ = ["corrcoef", "cov"]


def _weights(given: Any, observations: int, name: str) -> Any:
    """The weights of the observations as a tensor, or None.

    Raises:
        RuntimeError: there is not one for each observation.
    """
    if given is None:
        return None
    weights = as_tensor_argument(given)
    if weights.shape != (observations,):
        raise RuntimeError(f"cov(): {name} must have {observations} numbers, one an observation, got {weights.shape}")
    return weights


def cov(input: Any, *, correction: float = 1, fweights: Any = None, aweights: Any = None) -> Tensor:
    """The covariance matrix of the rows of `input`, each a variable with its observations as columns.

    Args:
        input: (variables, observations), or one variable (observations,).
        correction: taken from the number of observations before dividing by it.
        fweights: how often each observation was made, integers.
        aweights: the importance of each observation.

    Raises:
        RuntimeError: more than two axes; weights of another length.

    >>> import chainrule as cr
    >>> cr.cov(cr.tensor([[0.0, 1.0, 2.0], [2.0, 1.0, 0.0]])).tolist()
    [[1.0, -1.0], [-1.0, 1.0]]
    """
    input = as_tensor_argument(input)
    if input.ndim > 2:
        raise RuntimeError(f"cov(): expected input to have two or fewer dimensions, got shape {input.shape}")
    x = input if input.ndim == 2 else input.reshape(1, -1)
    observations = x.shape[1]
    repeats = _weights(fweights, observations, "fweights")
    importance = _weights(aweights, observations, "aweights")
    weights = repeats if importance is None else importance if repeats is None else repeats * importance
    total = observations if weights is None else np.sum(weights)
    freedom = total - correction
    if importance is not None and correction != 0:
        freedom = total - correction * np.sum(weights * importance) / total
    if freedom <= 0:
        freedom = 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        weighted = x if weights is None else x * weights
        centred = x - np.sum(weighted, axis=1, keepdims=True) / (total if observations else np.nan)
        left = centred if weights is None else centred * weights
        products = left @ np.swapaxes(np.conj(centred) if is_complex(x) else centred, 0, 1)
        result = products / freedom
    return result if input.ndim == 2 and x.shape[0] != 1 else result.reshape(())  # type: ignore[no-any-return]


def corrcoef(input: Any) -> Tensor:
    """The correlation matrix of the rows of `input`: their covariances, divided by both deviations."""
    input = as_tensor_argument(input)
    if input.ndim > 2:
        raise RuntimeError(f"corrcoef(): expected input to have two or fewer dimensions, got shape {input.shape}")
    covariance = cov(input)
    if not covariance.ndim:
        return covariance / covariance
    deviation = np.sqrt(np.real(np.diagonal(covariance)))
    result = covariance / np.reshape(deviation, (-1, 1)) / deviation
    return result if is_complex(result) else TENSOR_FUNCS[np.clip](result, -1, 1)  # type: ignore[no-any-return]


attach(cov, corrcoef)

# ----- NumPy's names, signatures and defaults -------------------------------------------------------------------------


@implements(np.cov)
def _numpy_cov(
    m: Any,
    y: Any = None,
    rowvar: bool = True,
    bias: bool = False,
    ddof: int | None = None,
    fweights: Any = None,
    aweights: Any = None,
    *,
    dtype: Any = None,
) -> Tensor:
    m = as_tensor_argument(m)
    rows = m if rowvar or m.ndim < 2 else np.swapaxes(m, 0, 1)
    if y is not None:
        y = as_tensor_argument(y)
        other = y if rowvar or y.ndim < 2 else np.swapaxes(y, 0, 1)
        joined = [t if t.ndim == 2 else np.reshape(t, (1, -1)) for t in (rows, other)]
        rows = np.concatenate(joined, axis=0)
    correction = ddof if ddof is not None else 0 if bias else 1
    return cov(rows, correction=correction, fweights=fweights, aweights=aweights)


@implements(np.corrcoef)
def _numpy_corrcoef(x: Any, y: Any = None, rowvar: bool = True) -> Tensor:
    x = as_tensor_argument(x)
    rows = x if rowvar or x.ndim < 2 else np.swapaxes(x, 0, 1)
    if y is not None:
        y = as_tensor_argument(y)
        other = y if rowvar or y.ndim < 2 else np.swapaxes(y, 0, 1)
        rows = np.concatenate([np.reshape(t, (1, -1)) if t.ndim < 2 else t for t in (rows, other)], axis=0)
    return corrcoef(rows)
