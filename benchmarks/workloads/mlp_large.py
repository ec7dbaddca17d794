"""A training step where matrix products and memory are nearly everything."""

from benchmarks.workload import COMPILERS, Bound, Workload
from benchmarks.workloads.mlp import Problem

WORKLOAD = Workload(
    title="training step, MLP 784-1024-1024-10, batch 512, SGD",
    programs=Problem(sizes=(784, 1024, 1024, 10), batch=512).programs(),
    bounds=(
        Bound(1.0, COMPILERS, of="compiled"),
        Bound(1.0, ("eager_numpy",), of="compiled_numpy"),
        Bound(0.9, ("numpy",), of="compiled"),
    ),
)
