"""torch.utils' names: data loading, checkpointing of activations, DLPack, TensorBoard; imported when first used."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ..absent import absent

_say_absent = absent(__name__)
__all__ = ["checkpoint", "data", "dlpack", "tensorboard"]


def __getattr__(name: str) -> Any:
    if name == "model_zoo":
        return import_module("chainrule.platform.hub")
    if name in __all__ or name == "_pytree":
        return import_module(f"{__name__}.{name}")
    return _say_absent(name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
