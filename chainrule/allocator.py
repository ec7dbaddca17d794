"""Freed memory is kept for the next array: a setting of glibc's allocator, made when the package is imported.

glibc hands large blocks back to the operating system as soon as they are freed, and asks for new pages at the next
allocation; each new page is cleared by the kernel first. A program that makes and drops arrays of the same sizes over
and over, as every training loop does, can spend more time there than on arithmetic. Two `mallopt` settings let the
process keep what it has freed.

The setting holds for the whole process, and memory once used is not returned before the process ends. To leave the
allocator alone, set the environment variable `CHAINRULE_KEEP_FREED_MEMORY=0` before the first import. Nothing is done
either where the user has set the same thresholds by glibc's own variables, or where the C library is not glibc.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

__all__ = ["SWITCH", "keep_freed_memory", "keeps_freed_memory", "wanted"]

SWITCH = "CHAINRULE_KEEP_FREED_MEMORY"
OFF = frozenset(("0", "false", "no", "off"))

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
NEVER_TRIM = 2**31 - 1
MMAP_THRESHOLDS = (1 << 30, 1 << 25)  # some versions of glibc refuse more than 32 MiB; the first one taken counts

_kept = False


def keeps_freed_memory() -> bool:
    """Whether the setting was made in this process."""
    return _kept


def wanted(environment: Mapping[str, str]) -> bool:
    """Whether the environment leaves the setting on.

    It does not if the switch is off, or if the user has chosen the same thresholds for glibc.

    >>> wanted({}), wanted({"CHAINRULE_KEEP_FREED_MEMORY": "0"}), wanted({"MALLOC_TRIM_THRESHOLD_": "65536"})
    (True, False, False)
    """
    if environment.get(SWITCH, "").strip().lower() in OFF:
        return False
    tunables = environment.get("GLIBC_TUNABLES", "")
    return not any(
        f"MALLOC_{name.upper()}_" in environment or f"glibc.malloc.{name}=" in tunables
        for name in ("mmap_threshold", "trim_threshold")
    )


def keep_freed_memory() -> bool:
    """Make the setting if the environment wants it and the C library is glibc; returns whether it is made.

    `import chainrule` calls this once; calling it again changes nothing.
    """
    global _kept
    if not _kept and sys.platform == "linux" and wanted(os.environ):
        import ctypes  # NumPy has imported it already

        try:
            c_library = ctypes.CDLL(None)
            c_library.gnu_get_libc_version  # noqa: B018  only glibc has it
            mallopt = c_library.mallopt
        except (OSError, AttributeError):
            return False
        mallopt.argtypes, mallopt.restype = (ctypes.c_int, ctypes.c_int), ctypes.c_int
        if any(mallopt(M_MMAP_THRESHOLD, threshold) for threshold in MMAP_THRESHOLDS):
            _kept = bool(mallopt(M_TRIM_THRESHOLD, NEVER_TRIM))
    return _kept
