"""`chainrule.mps`, Apple's graphics processors: there is none."""

from __future__ import annotations

from ..absent import absent as _absent
from .cuda import device_count as device_count
from .cuda import empty_cache as empty_cache
from .cuda import is_available as is_available
from .cuda import manual_seed as manual_seed
from .cuda import seed as seed
from .cuda import synchronize as synchronize

__getattr__ = _absent("chainrule.mps")
