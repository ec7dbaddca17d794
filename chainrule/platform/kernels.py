"""Which kernel attention uses: a choice that programs make, and that changes nothing where there is one kernel."""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Iterator
from typing import Any

from ..absent import refused

__all__ = ["SDPBackend", "create_block_mask", "flex_attention", "sdpa_kernel"]

flex_attention = refused(
    "torch.nn.attention.flex_attention.flex_attention",
    "write the scores as a mask and give it to scaled_dot_product_attention",
)
create_block_mask = refused(
    "torch.nn.attention.flex_attention.create_block_mask",
    "scaled_dot_product_attention takes a mask of booleans as attn_mask",
)


class SDPBackend(enum.Enum):
    """PyTorch's kernels for attention."""

    ERROR = -1
    MATH = 0
    FLASH_ATTENTION = 1
    EFFICIENT_ATTENTION = 2
    CUDNN_ATTENTION = 3
    OVERRIDEABLE = 4


@contextlib.contextmanager
def sdpa_kernel(backends: Any, set_priority: bool = False) -> Iterator[None]:
    """A block in which PyTorch would choose among the given kernels; here attention is computed by its formula."""
    yield
