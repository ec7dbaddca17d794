"""`chainrule.accelerator`: whatever accelerator there is, which is none."""

from __future__ import annotations

from ..absent import absent as _absent
from .cuda import device_count as device_count
from .cuda import empty_cache as empty_cache
from .cuda import is_available as is_available
from .cuda import synchronize as synchronize


def current_accelerator(check_available: bool = False) -> None:
    """None: there is no accelerator."""


__getattr__ = _absent("chainrule.accelerator")
