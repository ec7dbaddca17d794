"""`MultiheadAttention`, the layer."""

from __future__ import annotations

from typing import Any, ClassVar

from ..core.tensor import Tensor
from ..platform.kernels import SDPBackend as SDPBackend
from ..platform.kernels import sdpa_kernel as sdpa_kernel
from . import init
from .attention_functions import float_mask, multi_head_attention_forward
from .linear import Linear, empty_parameter
from .module import Module

__all__ = ["MultiheadAttention"]


class NonDynamicallyQuantizableLinear(Linear):
    """`Linear`, under the name that PyTorch's printed models have for it."""


class MultiheadAttention(Module):
    """Attention of several heads (Vaswani et al. 2017): queries (L, B, E), keys and values (S, B, E) give (L, B, E).

    Args:
        embed_dim: E.
        num_heads: how many parts E is split into.
        dropout: the part of the weights set to zero in training.
        bias: whether the projections have biases.
        add_bias_kv: one more key and value, which are trained.
        add_zero_attn: one more key and value of zeros.
        kdim: the features of keys, E if left out.
        vdim: the features of values, E if left out.
        batch_first: tensors are (B, L, E).

    Attributes:
        in_proj_weight: (3 E, E), the projections of query, key and value stacked; None where kdim or vdim differ from
            E, and then there are q_proj_weight, k_proj_weight and v_proj_weight.
        in_proj_bias: (3 E,) or None.
        out_proj: the linear layer that joins the heads.

    >>> import chainrule as cr
    >>> x = cr.ones(5, 2, 8)
    >>> out, weights = MultiheadAttention(8, 4)(x, x, x)
    >>> out.shape, weights.shape
    ((5, 2, 8), (2, 5, 5))
    """

    __constants__: ClassVar[list[str]] = ["batch_first"]

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if embed_dim <= 0 or num_heads <= 0:
            raise ValueError(
                f"embed_dim and num_heads must be greater than 0, got embed_dim={embed_dim} and num_heads={num_heads} "
                "instead"
            )
        super().__init__()
        self.embed_dim = embed_dim
        self.kdim = embed_dim if kdim is None else kdim
        self.vdim = embed_dim if vdim is None else vdim
        self._qkv_same_embed_dim = self.kdim == embed_dim and self.vdim == embed_dim
        self.num_heads = num_heads
        self.dropout = dropout
        self.batch_first = batch_first
        self.head_dim = embed_dim // num_heads
        if self.head_dim * num_heads != embed_dim:
            raise AssertionError(f"embed_dim must be divisible by num_heads, got {embed_dim} and {num_heads}")
        apart = {"q_proj_weight": embed_dim, "k_proj_weight": self.kdim, "v_proj_weight": self.vdim}
        for name, size in apart.items():
            weight = None if self._qkv_same_embed_dim else empty_parameter(embed_dim, size, dtype=dtype)
            self.register_parameter(name, weight)
        stacked = empty_parameter(3 * embed_dim, embed_dim, dtype=dtype) if self._qkv_same_embed_dim else None
        self.register_parameter("in_proj_weight", stacked)
        self.register_parameter("in_proj_bias", empty_parameter(3 * embed_dim, dtype=dtype) if bias else None)
        self.out_proj = NonDynamicallyQuantizableLinear(embed_dim, embed_dim, bias=bias, dtype=dtype)
        for name in ("bias_k", "bias_v"):
            self.register_parameter(name, empty_parameter(1, 1, embed_dim, dtype=dtype) if add_bias_kv else None)
        self.add_zero_attn = add_zero_attn
        self._reset_parameters()

    def _reset_parameters(self) -> None:
        """Draw new values; biases become zero."""
        for name in ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"):
            if getattr(self, name) is not None:
                init.xavier_uniform_(getattr(self, name))
        if self.in_proj_bias is not None:
            init.zeros_(self.in_proj_bias)
            init.zeros_(self.out_proj.bias)
        if self.bias_k is not None:
            init.xavier_normal_(self.bias_k)
            init.xavier_normal_(self.bias_v)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """The output and, with `need_weights`, the weights; see `nn.functional.multi_head_attention_forward`."""
        swapped = self.batch_first and query.ndim == 3
        if swapped:
            same = key is query, value is key
            query = query.transpose(0, 1)
            key = query if same[0] else key.transpose(0, 1)
            value = key if same[1] else value.transpose(0, 1)
        out, weights = multi_head_attention_forward(
            query,
            key,
            value,
            self.embed_dim,
            self.num_heads,
            self.in_proj_weight,
            self.in_proj_bias,
            self.bias_k,
            self.bias_v,
            self.add_zero_attn,
            self.dropout,
            self.out_proj.weight,
            self.out_proj.bias,
            training=self.training,
            key_padding_mask=key_padding_mask,
            need_weights=need_weights,
            attn_mask=attn_mask,
            use_separate_proj_weight=not self._qkv_same_embed_dim,
            q_proj_weight=self.q_proj_weight,
            k_proj_weight=self.k_proj_weight,
            v_proj_weight=self.v_proj_weight,
            average_attn_weights=average_attn_weights,
            is_causal=is_causal,
        )
        return (out.transpose(0, 1) if swapped else out), weights

    def merge_masks(
        self, attn_mask: Tensor | None, key_padding_mask: Tensor | None, query: Tensor
    ) -> tuple[Tensor | None, int | None]:
        """One mask of both, and which it is: 0 attn_mask, 1 key_padding_mask, 2 both; (None, None) without masks."""
        kind = query.array.dtype
        mask = float_mask(attn_mask, "attn_mask", kind)
        padding = float_mask(key_padding_mask, "key_padding_mask", kind)
        if mask is None:
            return padding, None if padding is None else 1
        if padding is None:
            return mask, 0
        batch, length = padding.shape
        mask = mask.reshape(batch, -1, *mask.shape[1:]) if mask.ndim == 3 else mask.reshape(1, 1, *mask.shape)
        merged = mask + padding.reshape(batch, 1, 1, length)
        return merged.expand(batch, self.num_heads, *merged.shape[2:]), 2
