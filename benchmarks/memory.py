"""How much memory this process holds: now, and at its highest."""

from __future__ import annotations

import os
import sys


def resident_bytes() -> int:
    """The resident set of this process now (where the system does not tell, its highest so far)."""
    try:
        with open("/proc/self/statm", encoding="ascii") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return peak_bytes()


def peak_bytes() -> int:
    """The highest resident set of this process.

    On Linux from VmHWM: ``ru_maxrss`` survives exec there, and would give a small child the size of its parent.
    """
    try:
        with open("/proc/self/status", encoding="utf-8") as status:
            for line in status:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
