"""torch.utils' names: data loading, checkpointing of activations, DLPack, TensorBoard. Each is imported when first used."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["checkpoint", "data", "dlpack", "tensorboard"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}: it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
