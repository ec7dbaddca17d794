"""`chainrule.cpu`: the one device there is."""

from __future__ import annotations

from typing import Any

from ..absent import absent as _absent
from . import amp as amp
from .cuda import synchronize as synchronize


def is_available() -> bool:
    """True."""
    return True


def device_count() -> int:
    """1."""
    return 1


def current_device() -> str:
    """ "cpu"."""
    return "cpu"


def set_device(device: Any) -> None:
    """Nothing: there is one device."""


__getattr__ = _absent("chainrule.cpu")
