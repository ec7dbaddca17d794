"""`chainrule.cuda`: there is none, and it says so; what programs call in passing does nothing."""

from __future__ import annotations

import time
from typing import Any

from ..absent import absent as _absent
from ..absent import refused as _refused
from ..ops.legacy import typed_tensors as _typed_tensors
from . import cuda_amp as amp

__all__ = ["Event", "OutOfMemoryError", "amp", "device_count", "is_available", "manual_seed", "manual_seed_all"]

_CPU = "a tensor lives on the cpu; ask cuda.is_available() first"


class OutOfMemoryError(RuntimeError):
    """Never raised: there is no device memory to run out of."""


def is_available() -> bool:
    """False."""
    return False


def is_initialized() -> bool:
    """False."""
    return False


def is_bf16_supported(including_emulation: bool = True) -> bool:
    """False."""
    return False


def is_current_stream_capturing() -> bool:
    """False."""
    return False


def device_count() -> int:
    """0."""
    return 0


def init() -> None:
    """Nothing: there is no device to start."""


def manual_seed(seed: int) -> None:
    """Nothing: there is no generator on a device. `chainrule.manual_seed` seeds the one that is used."""


manual_seed_all = manual_seed


def seed() -> None:
    """Nothing: there is no generator on a device."""


seed_all = seed


def get_rng_state_all() -> list[Any]:
    """The states of the devices' generators: none."""
    return []


def set_rng_state_all(new_states: Any) -> None:
    """Restore the states that `get_rng_state_all` returned: none."""
    if list(new_states):
        set_rng_state()


def empty_cache() -> None:
    """Nothing: there is no device memory."""


ipc_collect = reset_peak_memory_stats = reset_max_memory_allocated = reset_accumulated_memory_stats = empty_cache


def synchronize(device: Any = None) -> None:
    """Nothing: an operation is done when it returns."""


def memory_allocated(device: Any = None) -> int:
    """0: there is no device memory."""
    return 0


max_memory_allocated = memory_reserved = max_memory_reserved = memory_cached = max_memory_cached = memory_allocated


class Event:
    """A moment in time. An operation is done when it returns, so that the clock of the computer measures it."""

    def __init__(self, enable_timing: bool = False, blocking: bool = False, interprocess: bool = False) -> None:
        self.time: float | None = None

    def record(self, stream: Any = None) -> None:
        """Note the time."""
        self.time = time.perf_counter()

    def query(self) -> bool:
        """True: all is done."""
        return True

    def synchronize(self) -> None:
        """Nothing: all is done."""

    wait = record

    def elapsed_time(self, end_event: Event) -> float:
        """Milliseconds from this event to another.

        Raises:
            RuntimeError: one of them was not recorded.
        """
        if self.time is None or end_event.time is None:
            raise RuntimeError("both events must be recorded before the time between them is known")
        return (end_event.time - self.time) * 1000


current_device = _refused("torch.cuda.current_device", _CPU)
get_device_capability = _refused("torch.cuda.get_device_capability", _CPU)
get_device_name = _refused("torch.cuda.get_device_name", _CPU)
get_device_properties = _refused("torch.cuda.get_device_properties", _CPU)
get_rng_state = _refused("torch.cuda.get_rng_state", _CPU)
mem_get_info = _refused("torch.cuda.mem_get_info", _CPU)
set_device = _refused("torch.cuda.set_device", _CPU)
set_rng_state = _refused("torch.cuda.set_rng_state", _CPU)
stream = _refused("torch.cuda.stream", _CPU)
device = _refused("torch.cuda.device", _CPU)
memory_stats = _refused("torch.cuda.memory_stats", _CPU)
memory_summary = _refused("torch.cuda.memory_summary", _CPU)
Stream = _refused("torch.cuda.Stream", _CPU)
current_stream = _refused("torch.cuda.current_stream", _CPU)
default_stream = _refused("torch.cuda.default_stream", _CPU)

globals().update(_typed_tensors("torch.cuda."))

__getattr__ = _absent("chainrule.cuda")
