"""`chainrule.multiprocessing`: Python's `multiprocessing`, and `spawn`.

A tensor is sent to another process by value, unless `share_memory_()` put it into shared memory before a fork.
"""

from __future__ import annotations

import multiprocessing as _python
from collections.abc import Callable
from multiprocessing import *  # noqa: F403
from typing import Any

from ..absent import absent as _absent

__all__ = [*_python.__all__, "get_all_sharing_strategies", "get_sharing_strategy", "set_sharing_strategy", "spawn"]


def get_all_sharing_strategies() -> set[str]:
    """The one way in which tensors are sent."""
    return {"file_system"}


def get_sharing_strategy() -> str:
    """How tensors are sent."""
    return "file_system"


def set_sharing_strategy(new_strategy: str) -> None:
    """Nothing: tensors are sent by value whatever the name.

    Raises:
        ValueError: PyTorch has no such strategy.
    """
    if new_strategy not in ("file_system", "file_descriptor"):
        raise ValueError(f"no sharing strategy is called {new_strategy!r}: it is 'file_system' or 'file_descriptor'")


def spawn(
    fn: Callable[..., Any],
    args: tuple[Any, ...] = (),
    nprocs: int = 1,
    join: bool = True,
    daemon: bool = False,
    start_method: str = "spawn",
) -> Any:
    """Run `fn(i, *args)` in `nprocs` processes, i from 0.

    Returns:
        None once all are done; with `join=False` the list of processes.

    Raises:
        RuntimeError: a process ended with an error; the others are stopped.
    """
    context: Any = _python.get_context(start_method)
    processes = [context.Process(target=fn, args=(i, *args), daemon=daemon) for i in range(nprocs)]
    for process in processes:
        process.start()
    if not join:
        return processes
    from multiprocessing.connection import wait

    alive = {process.sentinel: process for process in processes}
    while alive:
        for sentinel in wait(list(alive)):
            process = alive.pop(sentinel)
            process.join()
            if process.exitcode:
                for other in alive.values():
                    other.terminate()
                raise RuntimeError(f"process {processes.index(process)} ended with exit code {process.exitcode}")
    return None


__getattr__ = _absent("chainrule.multiprocessing")
