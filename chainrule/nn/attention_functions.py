"""Attention as functions; `functional.py` hands them on, `attention.py` has the layer."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..core.tensor import Tensor, make_tensor
from ..ops.attention import scaled_dot_product_attention as scaled_dot_product_attention
from ..ops.contraction import linear_operation
from ..ops.normalisation import softmax
from ..ops.reduction import mean
from ..ops.shape import cat, chunk, pad
from ..random import numbers_of

__all__ = ["multi_head_attention_forward", "scaled_dot_product_attention"]


def float_mask(mask: Tensor | None, name: str, dtype: Any) -> Tensor | None:
    """A mask as numbers to be added: True, not allowed, becomes -inf.

    Raises:
        AssertionError: the mask is neither of booleans nor of floating point numbers.
    """
    if mask is None:
        return None
    array = mask.array
    if array.dtype == np.bool_:
        return make_tensor(np.where(array, -np.inf, 0).astype(dtype), None)
    if array.dtype.kind != "f":
        raise AssertionError(f"only bool and floating types of {name} are supported, got {mask.dtype}")
    return mask if array.dtype == dtype else mask.to(dtype)


def _check(held: bool, message: str) -> None:
    if not held:
        raise AssertionError(message)


def _check_shapes(query: Tensor, key: Tensor, value: Tensor, padding: Tensor | None, mask: Tensor | None) -> bool:
    """Whether there is a batch axis.

    Raises:
        AssertionError: the arguments have other numbers of axes than fit.
    """
    _check(
        query.ndim in (2, 3),
        f"query should be unbatched 2D or batched 3D tensor but received {query.ndim}-D query tensor",
    )
    batched = query.ndim == 3
    which = "batched (3-D)" if batched else "unbatched (2-D)"
    _check(
        key.ndim == value.ndim == query.ndim,
        f"For {which} `query`, expected `key` and `value` to be {query.ndim}-D but found {key.ndim}-D and "
        f"{value.ndim}-D tensors respectively",
    )
    wanted = query.ndim - 1
    _check(
        padding is None or padding.ndim == wanted,
        f"For {which} `query`, expected `key_padding_mask` to be `None` or {wanted}-D but found "
        f"{'' if padding is None else padding.ndim}-D tensor instead",
    )
    _check(
        mask is None or mask.ndim in (2, 3),
        f"For {which} `query`, expected `attn_mask` to be `None`, 2-D or 3-D but found "
        f"{'' if mask is None else mask.ndim}-D tensor instead",
    )
    return batched


def _projected(
    query: Tensor, key: Tensor, value: Tensor, weight: Tensor, bias: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values by one stacked weight: one product for those that are the same tensor."""
    if key is value:
        if query is key:
            return tuple(chunk(linear_operation(query, weight, bias), 3, -1))  # type: ignore[return-value]
        size = query.shape[-1]
        q_bias, kv_bias = (None, None) if bias is None else (bias[:size], bias[size:])
        k, v = chunk(linear_operation(key, weight[size:], kv_bias), 2, -1)
        return linear_operation(query, weight[:size], q_bias), k, v
    return _projected_apart((query, key, value), chunk(weight, 3, 0), bias)


def _projected_apart(tensors: Any, weights: Any, bias: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    biases = (None,) * 3 if bias is None else chunk(bias, 3, 0)
    return tuple(map(linear_operation, tensors, weights, biases))  # type: ignore[return-value]


def multi_head_attention_forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    training: bool = True,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Tensor | None = None,
    k_proj_weight: Tensor | None = None,
    v_proj_weight: Tensor | None = None,
    static_k: Tensor | None = None,
    static_v: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Attention of several heads: project, attend in each head, join, project (Vaswani et al. 2017, section 3.2.2).

    Args:
        query: (L, B, E), or (L, E).
        key: (S, B, K).
        value: (S, B, V).
        embed_dim_to_check: E.
        num_heads: how many parts E is split into.
        in_proj_weight: (3 E, E), the projections of query, key and value stacked.
        in_proj_bias: (3 E,) or None.
        bias_k: (1, 1, E) one more key, for all; with `bias_v` its value.
        add_zero_attn: one more key and value of zeros.
        dropout_p: the part of the weights set to zero in training.
        out_proj_weight: (E, E).
        out_proj_bias: (E,) or None.
        training: whether there is dropout.
        key_padding_mask: (B, S): True, or a number to add, for keys that are not to be looked at.
        need_weights: return the weights as well.
        attn_mask: (L, S) or (B * heads, L, S): True, or a number to add, where attention is not allowed.
        use_separate_proj_weight: project by `q_proj_weight`, `k_proj_weight` and `v_proj_weight`.
        static_k: (B * heads, S, E / heads) keys to use as they are; `static_v` for values.
        average_attn_weights: return the mean of the weights over heads.
        is_causal: the mask is the causal one.

    Returns:
        The output (L, B, E); the weights (B, L, S), (B, heads, L, S) if not averaged, or None.

    Raises:
        AssertionError, RuntimeError: shapes that do not fit, as in PyTorch.
    """
    batched = _check_shapes(query, key, value, key_padding_mask, attn_mask)
    if not batched:
        same = key is query, value is key
        query = query.unsqueeze(1)
        key = query if same[0] else key.unsqueeze(1)
        value = key if same[1] else value.unsqueeze(1)
        key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
    rows, batch, size = query.shape
    kind = query.array.dtype
    padding = float_mask(key_padding_mask, "key_padding_mask", kind)
    if is_causal and attn_mask is None:
        raise RuntimeError(
            "Need attn_mask if specifying the is_causal hint: Transformer.generate_square_subsequent_mask(length) "
            "makes it"
        )
    mask = None if is_causal and padding is None and not need_weights else float_mask(attn_mask, "attn_mask", kind)
    is_causal = is_causal and padding is None
    _check(
        size == embed_dim_to_check,
        f"was expecting embedding dimension of {embed_dim_to_check}, but got {size} (query of shape {query.shape})",
    )
    head = size // num_heads
    _check(head * num_heads == size, f"embed_dim {size} not divisible by num_heads {num_heads}")
    if use_separate_proj_weight:
        _check(
            key.shape[:2] == value.shape[:2],
            f"key's sequence and batch dims {key.shape[:2]} do not match value's {value.shape[:2]}",
        )
        weights = (q_proj_weight, k_proj_weight, v_proj_weight)
        for name, weight in zip("qkv", weights, strict=True):
            _check(weight is not None, f"use_separate_proj_weight is True but {name}_proj_weight is None")
        q, k, v = _projected_apart((query, key, value), weights, in_proj_bias)
    else:
        _check(key.shape == value.shape, f"key shape {key.shape} does not match value shape {value.shape}")
        _check(in_proj_weight is not None, "use_separate_proj_weight is False but in_proj_weight is None")
        assert in_proj_weight is not None
        q, k, v = _projected(query, key, value, in_proj_weight, in_proj_bias)
    if mask is not None:
        wanted = (rows, key.shape[0]) if mask.ndim == 2 else (batch * num_heads, rows, key.shape[0])
        if tuple(mask.shape) != wanted:
            raise RuntimeError(f"The shape of the {mask.ndim}D attn_mask is {mask.shape}, but should be {wanted}.")
        mask = mask.reshape(-1, num_heads, *mask.shape[1:]) if mask.ndim == 3 else mask
    more = 0
    if bias_k is not None and bias_v is not None:
        _check(static_k is None, "bias cannot be added to static key.")
        _check(static_v is None, "bias cannot be added to static value.")
        k, v = (cat([x, bias.expand(1, batch, size)]) for x, bias in ((k, bias_k), (v, bias_v)))
        more += 1
    else:
        _check(bias_k is None, "bias_k is set but bias_v is None")
        _check(bias_v is None, "bias_v is set but bias_k is None")
    q = _heads(q, num_heads)
    k, v = (
        _heads(x, num_heads) if static is None else _static(static, name, batch, num_heads, head)
        for x, static, name in ((k, static_k, "static_k"), (v, static_v, "static_v"))
    )
    if add_zero_attn:
        zero = make_tensor(np.zeros((batch, num_heads, 1, head), kind), None)
        k, v = cat([k, zero], 2), cat([v, zero], 2)
        more += 1
    if more:
        mask, padding = (None if x is None else pad(x, (0, more)) for x in (mask, padding))
    columns = k.shape[2]
    if padding is not None:
        _check(
            tuple(padding.shape) == (batch, columns),
            f"expecting key_padding_mask shape of {(batch, columns - more)}, but got "
            f"{(padding.shape[0], padding.shape[1] - more)}",
        )
        padding = padding.reshape(batch, 1, 1, columns)
        mask = padding if mask is None else mask + padding
    dropout_p = dropout_p if training else 0.0
    found = None
    if need_weights:
        scores = (q * math.sqrt(1 / head)) @ k.transpose(-2, -1)
        found = softmax(scores if mask is None else scores + mask, -1)
        if dropout_p > 0:
            kept = numbers_of(None).random(found.shape, dtype=np.float32) >= dropout_p
            found = found * make_tensor(kept.astype(kind) * kind.type(1 / max(1 - dropout_p, 1e-30)), None)
        out = found @ v
        found = mean(found, 1) if average_attn_weights else found
        found = found if batched else found.squeeze(0)
    else:
        out = scaled_dot_product_attention(q, k, v, mask, dropout_p, is_causal)
    out = linear_operation(out.permute(2, 0, 1, 3).reshape(rows, batch, size), out_proj_weight, out_proj_bias)
    return (out if batched else out.squeeze(1)), found


def _heads(x: Tensor, num_heads: int) -> Tensor:
    """(L, B, E) as (B, heads, L, E / heads)."""
    length, batch, size = x.shape
    return x.reshape(length, batch, num_heads, size // num_heads).permute(1, 2, 0, 3)  # type: ignore[no-any-return]


def _static(x: Tensor, name: str, batch: int, num_heads: int, head: int) -> Tensor:
    """(B * heads, S, E / heads) as (B, heads, S, E / heads)."""
    _check(
        x.shape[0] == batch * num_heads and x.shape[2] == head,
        f"expecting {name} of shape ({batch * num_heads}, S, {head}), but got {x.shape}",
    )
    return x.reshape(batch, num_heads, *x.shape[1:])  # type: ignore[no-any-return]
