"""The processor's vector registers, which decide how many sums a kernel keeps at once."""

from __future__ import annotations

import functools
import importlib
from typing import Any

__all__ = ["register_bytes", "register_count"]


@functools.cache
def _features() -> dict[str, Any]:
    """What NumPy found the processor to have."""
    module = importlib.import_module("numpy._core._multiarray_umath")
    return dict(getattr(module, "__cpu_features__", {}))


@functools.cache
def register_bytes() -> int:
    """The size of a vector register."""
    if _features().get("AVX512F"):
        return 64
    return 32 if _features().get("AVX2") else 16


@functools.cache
def register_count() -> int:
    """How many there are."""
    return 32 if _features().get("AVX512F") or _features().get("NEON") else 16
