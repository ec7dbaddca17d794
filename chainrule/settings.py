"""Settings of the process, and small questions: threads, printing, determinism, default device, `is_tensor`."""

from __future__ import annotations

import math
import os
import sys
import warnings
from typing import Any

import numpy as np

from .blas import libraries
from .core.tensor import CPU, Tensor, check_device, device
from .ops.storage import Storage

__all__ = [
    "are_deterministic_algorithms_enabled",
    "e",
    "get_default_device",
    "get_deterministic_debug_mode",
    "get_float32_matmul_precision",
    "get_num_interop_threads",
    "get_num_threads",
    "inf",
    "is_deterministic_algorithms_warn_only_enabled",
    "is_storage",
    "is_tensor",
    "is_warn_always_enabled",
    "nan",
    "newaxis",
    "pi",
    "set_default_device",
    "set_deterministic_debug_mode",
    "set_float32_matmul_precision",
    "set_flush_denormal",
    "set_num_interop_threads",
    "set_num_threads",
    "set_printoptions",
    "set_warn_always",
    "typename",
    "use_deterministic_algorithms",
]

pi, e, inf, nan, newaxis = math.pi, math.e, math.inf, math.nan, None


def is_tensor(obj: Any, /) -> bool:
    """Whether an object is a tensor."""
    return isinstance(obj, Tensor)


def is_storage(obj: Any, /) -> bool:
    """Whether an object is what `Tensor.storage()` returns."""
    return isinstance(obj, Storage)


def typename(obj: Any, /) -> str:
    """The name of an object's type: of a tensor such as "torch.FloatTensor", of others with their module.

    >>> import chainrule as cr
    >>> cr.typename(cr.zeros(1)), cr.typename(3)
    ('torch.FloatTensor', 'int')
    """
    if isinstance(obj, Tensor):
        return str(obj.type())
    kind = obj if isinstance(obj, type) else type(obj)
    home = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    return f"{home}{kind.__qualname__}"


# ----- threads ----------------------------------------------------------------------------------------------------


def get_num_threads() -> int:
    """How many threads NumPy's matrix products use."""
    for library in libraries():
        return int(library.get())
    return os.cpu_count() or 1


def set_num_threads(int: int) -> None:
    """Say how many threads NumPy's matrix products use; warns where this NumPy's library cannot be told.

    Raises:
        RuntimeError: not a positive number.
    """
    if int < 1:
        raise RuntimeError(f"set_num_threads expects a positive integer, got {int}")
    for library in libraries():
        library.put(int)
    if not libraries():
        warnings.warn(
            "this NumPy's matrix library cannot be told its number of threads while it runs: set OMP_NUM_THREADS, or "
            "the library's own variable, before the program starts",
            stacklevel=2,
        )


def get_num_interop_threads() -> int:
    """1: one operation runs at a time."""
    return 1


def set_num_interop_threads(int: int) -> None:
    """Nothing: one operation runs at a time."""


# ----- printing ---------------------------------------------------------------------------------------------------

_PROFILES: dict[str, dict[str, Any]] = {
    "default": {"precision": 4, "threshold": 1000, "edgeitems": 3, "linewidth": 80},
    "short": {"precision": 2, "threshold": 1000, "edgeitems": 2, "linewidth": 80},
    "full": {"precision": 4, "threshold": sys.maxsize, "edgeitems": 3, "linewidth": 80},
}


def set_printoptions(
    precision: int | None = None,
    threshold: float | None = None,
    edgeitems: int | None = None,
    linewidth: int | None = None,
    profile: str | None = None,
    sci_mode: bool | None = None,
) -> None:
    """Choose how tensors are printed. They are printed as NumPy's arrays are, so this sets `numpy.set_printoptions`.

    Raises:
        ValueError: no such profile; there are "default", "short" and "full".
    """
    if profile is not None and profile.lower() not in _PROFILES:
        raise ValueError(f"there is no profile {profile!r}; there are {', '.join(_PROFILES)}")
    chosen = dict(_PROFILES[profile.lower()]) if profile is not None else {}
    given = {"precision": precision, "threshold": threshold, "edgeitems": edgeitems, "linewidth": linewidth}
    chosen.update({name: value for name, value in given.items() if value is not None})
    if chosen.get("threshold") == inf:
        chosen["threshold"] = sys.maxsize
    if sci_mode is not None:
        digits = chosen.get("precision", np.get_printoptions()["precision"])
        chosen["suppress"] = not sci_mode
        chosen["formatter"] = {"float_kind": lambda x: f"{x:.{digits}e}"} if sci_mode else None
    np.set_printoptions(**chosen)


# ----- determinism and precision ----------------------------------------------------------------------------------

_chosen: dict[str, Any] = {"deterministic": False, "warn_only": False, "precision": "highest", "warn_always": False}


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Ask for results that repeat exactly. They always do: an operation adds in the same order each time."""
    _chosen["deterministic"], _chosen["warn_only"] = bool(mode), bool(mode and warn_only)


def are_deterministic_algorithms_enabled() -> bool:
    """What `use_deterministic_algorithms` was told."""
    return bool(_chosen["deterministic"])


def is_deterministic_algorithms_warn_only_enabled() -> bool:
    """What `use_deterministic_algorithms` was told."""
    return bool(_chosen["warn_only"])


_MODES = ("default", "warn", "error")


def set_deterministic_debug_mode(debug_mode: Any) -> None:
    """`use_deterministic_algorithms` by number or name: 0 "default", 1 "warn", 2 "error"."""
    level = _MODES.index(debug_mode) if isinstance(debug_mode, str) else debug_mode
    use_deterministic_algorithms(level > 0, warn_only=level == 1)


def get_deterministic_debug_mode() -> int:
    """0, 1 or 2: see `set_deterministic_debug_mode`."""
    return 0 if not _chosen["deterministic"] else 1 if _chosen["warn_only"] else 2


def set_float32_matmul_precision(precision: str) -> None:
    """Allow products of float32 matrices to be less precise ("high", "medium"). They are always as precise as float32.

    Raises:
        RuntimeError: no such precision.
    """
    if precision not in ("highest", "high", "medium"):
        raise RuntimeError(f"there is no precision {precision!r}; there are 'highest', 'high' and 'medium'")
    _chosen["precision"] = precision


def get_float32_matmul_precision() -> str:
    """What `set_float32_matmul_precision` was told."""
    return str(_chosen["precision"])


def set_flush_denormal(mode: bool) -> bool:
    """False: NumPy cannot be told to round the smallest numbers to zero."""
    return False


def set_warn_always(b: bool, /) -> None:
    """Keep the choice; warnings follow Python's filters."""
    _chosen["warn_always"] = bool(b)


def is_warn_always_enabled() -> bool:
    """What `set_warn_always` was told."""
    return bool(_chosen["warn_always"])


# ----- devices ----------------------------------------------------------------------------------------------------


def get_default_device() -> device:
    """The cpu."""
    return CPU


def set_default_device(device: Any) -> None:
    """Choose where new tensors are made: on the cpu.

    Raises:
        RuntimeError: another device.
    """
    check_device(device)
