"""A chain of 1,000,000 operations: forward, backward, release; what a node costs, and that nothing is left."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable
from typing import Any

from benchmarks import memory
from benchmarks.workload import Bound, Workload


def measure(progress: Callable[[float], None], quick: bool) -> dict[str, float]:
    """Memory by node after forward and at the highest point of backward; seconds; blocks that stay allocated."""
    import chainrule

    nodes = 50_000 if quick else 1_000_000

    def chain(x: Any, length: int) -> Any:
        y = x
        for _ in range(length // 2):
            y = y * -1.0
            y = y + 1.0
        return y

    x = chainrule.tensor(2.0, requires_grad=True)
    chain(x, 1_000).backward()  # what is made once, by the first operations, is not a node's
    x.grad = None
    gc.collect()
    blocks = sys.getallocatedblocks()
    resident = memory.resident_bytes()

    start = time.perf_counter()
    y = chain(x, nodes)
    forward_seconds = time.perf_counter() - start
    forward_bytes = memory.resident_bytes() - resident
    progress(0.4)

    start = time.perf_counter()
    y.backward()
    backward_seconds = time.perf_counter() - start
    peak_bytes = memory.peak_bytes() - resident
    progress(0.9)
    gradient = x.grad.item()
    if gradient != (-1.0) ** (nodes // 2):
        raise ArithmeticError(f"the gradient of the chain is {gradient}")

    start = time.perf_counter()
    del y
    x.grad = None
    release_seconds = time.perf_counter() - start
    gc.collect()
    return {
        "nodes": nodes,
        "forward_bytes_per_node": forward_bytes / nodes,
        "bytes_per_node": peak_bytes / nodes,
        "forward_seconds": forward_seconds,
        "backward_seconds": backward_seconds,
        "release_seconds": release_seconds,
        "blocks_left": sys.getallocatedblocks() - blocks,
    }


WORKLOAD = Workload(
    title="a chain of 1,000,000 operations: forward, backward, release",
    report=measure,
    units={
        "nodes": "operations",
        "forward_bytes_per_node": "bytes a node held after forward",
        "bytes_per_node": "bytes a node at the highest point of forward and backward",
        "forward_seconds": "seconds forward",
        "backward_seconds": "seconds backward",
        "release_seconds": "seconds to let go of what is left",
        "blocks_left": "allocated blocks more than before the chain",
    },
    bounds=(Bound(1200.0, quantity="bytes_per_node"), Bound(1000.0, quantity="blocks_left")),
)
