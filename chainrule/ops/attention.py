"""Attention: averages of values, weighted by how well queries and keys agree.

`attention` computes it in one go, and its backward functions share what they need: four matrix products a head instead
of a graph of a dozen operations.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import numpy as np

from ..core.broadcasting import unbroadcast
from ..core.forward import array_function, wrap_forward_fn
from ..core.table import backward
from ..core.tensor import Tensor, make_tensor
from ..random import numbers_of
from .indexing import where
from .kernels import BY_ELEMENT, compiled
from .memory import Memory, remembered
from .normalisation import _softmax, largest_along, softmax_back, softmax_back_fused
from .shape import repeat_interleave

__all__: list[str] = []


def transposed(x: Any) -> Any:
    """Each matrix of a batch with rows and columns exchanged."""
    return x.swapaxes(-1, -2) if type(x) is np.ndarray else np.swapaxes(x, -1, -2)


@functools.lru_cache(maxsize=16)
def no_look_ahead(rows: int, columns: int, dtype: Any) -> tuple[Any, Any]:
    """(rows, columns): 0 on and below the diagonal, -inf above; and 1 on and below, 0 above."""
    added = np.triu(np.full((rows, columns), -np.inf, dtype), 1)
    factors = np.tril(np.ones((rows, columns), dtype))
    added.flags.writeable = factors.flags.writeable = False
    return added, factors


# ----- on arrays: the fast way ----------------------------------------------------------------------------------------

SMALL = 16.0  # scores up to this size need not be shifted: exp neither overflows nor becomes too small to divide by


class Steps(NamedTuple):
    """What the forward pass knows: `weights = exponentials * share`, and the queries times `scale`."""

    exponentials: Any  # (..., L, S)
    share: Any  # (..., L, 1); None for ones
    queries: Any  # (..., L, E)


def plain(*arrays: Any) -> bool:
    """Whether all are NumPy arrays of one type, single or double precision, and not empty; or None."""
    kind = arrays[0].dtype
    if kind.char not in "fd":
        return False
    return all(x is None or (type(x) is np.ndarray and x.dtype is kind and x.size > 0) for x in arrays)


def exponentials_of(q: Any, k: Any, mask: Any, causal: bool, scale: float) -> Steps:
    """The weights as `Steps`; rows in which nothing is allowed have a share of 0. Arrays that are `plain` only."""
    queries = q * scale
    scores = np.matmul(queries, transposed(k))
    if mask is not None:
        scores = np.add(scores, mask, order="C")
    rows, columns = scores.shape[-2:]
    kernels = compiled(scores.size * BY_ELEMENT, scores, mask)
    if kernels is not None:
        if kernels.softmax(scores.reshape(-1, columns), rows if causal else 0):
            return Steps(scores, None, queries)
    unshifted = mask is None and -SMALL < np.minimum.reduce(scores, None) and np.maximum.reduce(scores, None) < SMALL
    if unshifted:
        np.exp(scores, out=scores)
        if causal:
            scores *= no_look_ahead(rows, columns, scores.dtype)[1]
    else:
        if causal:
            scores += no_look_ahead(rows, columns, scores.dtype)[0]
        largest = largest_along(scores, -1)
        scores -= np.where(largest == -np.inf, 0, largest)
        np.exp(scores, out=scores)
    sums = scores.reshape(-1, columns).dot(np.ones(columns, scores.dtype)).reshape(*scores.shape[:-1], 1)  # BLAS
    share = 1 / sums if unshifted else np.divide(1, sums, out=np.zeros_like(sums), where=sums != 0)
    return Steps(scores, share, queries)


def along_rows(factors: Any, model: Any) -> Any:
    """Factors (..., L, 1) as they are to be multiplied with a model (..., L, V).

    NumPy is slow with short rows: the factors are repeated along them, by BLAS, and laid out in memory as the model is.
    """
    if factors.shape[:-1] != model.shape[:-1]:
        return factors
    lead = model.ndim - 1
    order = sorted(range(lead), key=lambda axis: -abs(model.strides[axis]))
    repeated = factors.transpose(*order, lead).reshape(-1, 1).dot(np.ones((1, model.shape[-1]), model.dtype))
    back = sorted(range(lead), key=order.__getitem__)
    return repeated.reshape(*(model.shape[axis] for axis in order), -1).transpose(*back, lead)


def product_like(model: Any, x: Any, y: Any) -> Any:
    """`np.matmul(x, y)`, laid out in memory as the model if that has the result's shape.

    Heads that were split off and moved to the front are then moved back and joined without a copy.
    """
    if (
        type(x) is type(y) is type(model) is np.ndarray
        and x.dtype is y.dtype
        and model.strides[-1] == model.itemsize
        and model.shape == (*x.shape[:-1], y.shape[-1])
        and x.shape[:-2] == y.shape[:-2]
    ):
        return np.matmul(x, y, out=np.empty_like(model, dtype=x.dtype))
    return np.matmul(x, y)


# ----- the table ------------------------------------------------------------------------------------------------------


def weights_of(q: Any, k: Any, mask: Any, causal: bool, scale: float) -> Any:
    """`softmax(scale q k^T + mask)`; rows in which nothing is allowed are zero."""
    scores = np.matmul(q * scale, transposed(k))
    if causal:
        scores = scores + no_look_ahead(q.shape[-2], k.shape[-2], scores.dtype)[0]
    if mask is None:
        return _softmax(scores, -1)
    scores = scores + mask
    if not math.prod(scores.shape):
        return _softmax(scores, -1)
    dead = np.max(scores, axis=-1, keepdims=True) == -np.inf
    return np.where(dead, 0, _softmax(np.where(dead, 0, scores), -1))


@array_function
def attention(
    q: Any, k: Any, v: Any, mask: Any = None, keep: Any = None, causal: bool = False, scale: float = 1.0,
    saved: Memory | None = None,
) -> Any:  # fmt: skip
    """`softmax(scale q k^T + mask) v` (Vaswani et al. 2017), as a tuple of one.

    Args:
        q: (..., L, E).
        k: (..., S, E).
        v: (..., S, V).
        mask: broadcasts to (..., L, S); added to the scores. None for nothing.
        keep: (..., L, S), factors for the weights: zeros and 1 / (1 - p) for dropout. None for ones.
        causal: query i sees the keys up to i.
        scale: what the products are multiplied by.
        saved: what the backward pass is to find.
    """
    if plain(q, k, v, mask, keep):
        steps = exponentials_of(q, k, mask, causal, scale)
        if saved is not None:
            saved.steps = steps
        weights = steps.exponentials
        out = product_like(q, weights if keep is None else weights * keep, v)
        if steps.share is not None:
            out *= along_rows(steps.share, out)
        return (out,)
    weights = weights_of(q, k, mask, causal, scale)
    return (np.matmul(weights if keep is None else weights * keep, v),)


class Shared(NamedTuple):
    """What the backward functions share: weights = exponentials * share of the row, where they are kept apart."""

    weights: Any  # (..., L, S), times keep; the exponentials where kept apart
    gradient: Any  # (..., L, V), at the result; times the share where kept apart
    at_scores: Any  # (..., L, S)
    queries: Any  # (..., L, E), times scale


def shared(grad_out: Any, *args: Any) -> Shared:
    """The gradient at the scores, and what leads there: once for all arguments."""
    out, q, k, v, mask, keep, causal, scale, saved = args

    def compute() -> Shared:
        (gradient,) = grad_out
        steps = None if saved is None else saved.recall(gradient)
        if steps is not None and plain(gradient, out[0], v):
            return at_once(gradient, out[0], v, keep, steps)
        weights = weights_of(q, k, mask, causal, scale)
        at_weights = np.matmul(gradient, transposed(v))
        if keep is not None:
            at_weights = at_weights * keep
        at_scores = softmax_back(at_weights, weights, None, -1)
        return Shared(weights if keep is None else weights * keep, gradient, at_scores, q * scale)

    return remembered(grad_out, compute)  # type: ignore[no-any-return]


def at_once(gradient: Any, out: Any, v: Any, keep: Any, steps: Steps) -> Shared:
    """`Shared` on arrays: with e the exponentials, r a row's share and g the gradient, e * ((r g) v^T - r (g . out)).

    The sum over a row of weights times their gradients is g . out, which is shorter (Dao et al. 2022, appendix B).
    """
    exponentials, share, queries = steps
    if share is not None:
        gradient = gradient * along_rows(share, gradient)
    at_scores = np.matmul(gradient, transposed(v))
    if keep is not None:
        at_scores *= keep
    weights = exponentials if keep is None else exponentials * keep
    if share is None and exponentials.shape == at_scores.shape:
        pair = (x.reshape(-1, x.shape[-1]) for x in (at_scores, exponentials))
        found = softmax_back_fused(*pair, None, axis=-1)
        if found is not None:
            return Shared(weights, gradient, found.reshape(at_scores.shape), queries)
    at_scores -= np.vecdot(gradient, out)[..., None]
    at_scores *= exponentials
    return Shared(weights, gradient, at_scores, queries)


@backward(attention, 0)
def attention_back_q(
    grad_out: Any, out: Any, q: Any, k: Any, v: Any, mask: Any = None, keep: Any = None, causal: bool = False,
    scale: float = 1.0, saved: Any = None,
) -> Any:  # fmt: skip
    r"""$\nabla_q L = scale \, (\nabla_s L) \, k$ with
    $\nabla_s L = w \left(\nabla_{out} L \, v^T - \sum w \, \nabla_{out} L \, v^T\right)$,
    w the weights, the sum over keys"""
    at_scores = shared(grad_out, out, q, k, v, mask, keep, causal, scale, saved).at_scores
    return unbroadcast(product_like(q, at_scores, k) * scale, q)


@backward(attention, 1)
def attention_back_k(
    grad_out: Any, out: Any, q: Any, k: Any, v: Any, mask: Any = None, keep: Any = None, causal: bool = False,
    scale: float = 1.0, saved: Any = None,
) -> Any:  # fmt: skip
    r"""$\nabla_k L = scale \, (\nabla_s L)^T q$"""
    known = shared(grad_out, out, q, k, v, mask, keep, causal, scale, saved)
    return unbroadcast(product_like(k, transposed(known.at_scores), known.queries), k)


@backward(attention, 2)
def attention_back_v(
    grad_out: Any, out: Any, q: Any, k: Any, v: Any, mask: Any = None, keep: Any = None, causal: bool = False,
    scale: float = 1.0, saved: Any = None,
) -> Any:  # fmt: skip
    r"""$\nabla_v L = w^T \, \nabla_{out} L$"""
    known = shared(grad_out, out, q, k, v, mask, keep, causal, scale, saved)
    return unbroadcast(product_like(v, transposed(known.weights), known.gradient), v)


@backward(attention, 3)
def attention_back_mask(
    grad_out: Any, out: Any, q: Any, k: Any, v: Any, mask: Any = None, keep: Any = None, causal: bool = False,
    scale: float = 1.0, saved: Any = None,
) -> Any:  # fmt: skip
    r"""$\nabla_{mask} L = \nabla_s L$"""
    return unbroadcast(shared(grad_out, out, q, k, v, mask, keep, causal, scale, saved).at_scores, mask)


# ----- the operation --------------------------------------------------------------------------------------------------

_attention = wrap_forward_fn(attention)


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """`softmax(scale * query @ key.T + mask) @ value`: (..., L, E), (..., S, E) and (..., S, V) give (..., L, V).

    Args:
        query: (..., L, E).
        key: (..., S, E).
        value: (..., S, V).
        attn_mask: broadcasts to (..., L, S): True where attention is allowed, or numbers added to the scores.
        dropout_p: the part of the weights that is set to zero (always: pass 0 in evaluation).
        is_causal: query i sees the keys up to i; not together with `attn_mask`.
        scale: 1 / sqrt(E) if left out.
        enable_gqa: key and value may have fewer heads (axis -3), each used by several heads of the query.

    Raises:
        RuntimeError: shapes or types that do not fit, or both `attn_mask` and `is_causal`.

    >>> import chainrule as cr
    >>> q, k, v = cr.ones(2, 5, 8), cr.ones(2, 7, 8), cr.ones(2, 7, 4)
    >>> cr.nn.functional.scaled_dot_product_attention(q, k, v).shape
    (2, 5, 4)
    """
    shapes = f"query {tuple(query.shape)}, key {tuple(key.shape)}, value {tuple(value.shape)}"
    name = "scaled_dot_product_attention"
    kind = query.array.dtype
    if not kind == key.array.dtype == value.array.dtype:
        raise RuntimeError(
            f"Expected query, key, and value to have the same dtype, but got query.dtype: {query.dtype}, key.dtype: "
            f"{key.dtype}, and value.dtype: {value.dtype} instead."
        )
    if min(query.ndim, key.ndim, value.ndim) < 2:
        raise RuntimeError(f"{name}: query, key and value must all be at least 2 dimensional, got {shapes}")
    if query.shape[-1] != key.shape[-1] or key.shape[-2] != value.shape[-2]:
        raise RuntimeError(
            f"{name}: query is (..., L, E), key (..., S, E) and value (..., S, V), but they have shapes {shapes}"
        )
    if is_causal and attn_mask is not None:
        raise RuntimeError(f"{name}: Explicit attn_mask should not be set when is_causal=True")
    if not 0.0 <= dropout_p <= 1.0:
        raise RuntimeError(f"{name}: dropout_p must be between 0 and 1, got {dropout_p}")
    if enable_gqa:
        key, value = (_shared_by_heads(x, query, shapes) for x in (key, value))
    rows, columns = query.shape[-2], key.shape[-2]
    if attn_mask is not None:
        if attn_mask.array.dtype == np.bool_:
            allowed = make_tensor(np.zeros((), kind), None)
            attn_mask = where(attn_mask, allowed, make_tensor(np.full((), -np.inf, kind), None))
        elif attn_mask.array.dtype != kind:
            raise RuntimeError(
                f"Expected attn_mask dtype to be bool or to match query dtype, but got attn_mask.dtype: "
                f"{attn_mask.dtype} and query.dtype: {query.dtype} instead."
            )
    try:
        lead = np.broadcast_shapes(query.shape[:-2], key.shape[:-2], value.shape[:-2])
        if attn_mask is not None:
            np.broadcast_to(np.empty(()), np.broadcast_shapes((*lead, rows, columns), attn_mask.shape))
    except ValueError:
        text = "" if attn_mask is None else f", attn_mask {tuple(attn_mask.shape)}"
        raise RuntimeError(f"{name}: shapes do not broadcast: {shapes}{text}") from None
    keep = None
    if dropout_p:
        kept = numbers_of(None).random((*lead, rows, columns), dtype=np.float32) >= dropout_p
        keep = kept.astype(kind) / kind.type(1 - dropout_p) if dropout_p < 1 else kept.astype(kind)
    factor = 1 / math.sqrt(query.shape[-1] or 1) if scale is None else float(scale)
    return _attention(query, key, value, attn_mask, keep, bool(is_causal), factor, Memory())[0]  # type: ignore[no-any-return]


def _shared_by_heads(x: Tensor, query: Tensor, shapes: str) -> Tensor:
    """Keys or values repeated for each head of the query that uses them."""
    heads = query.shape[-3] if query.ndim > 2 else 1
    mine = x.shape[-3] if x.ndim > 2 else 1
    if not mine or heads % mine:
        raise RuntimeError(f"enable_gqa: the heads (axis -3) of key and value must divide those of query; got {shapes}")
    return x if mine == heads else repeat_interleave(x, heads // mine, -3)
