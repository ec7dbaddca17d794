"""A training step where matrix products and overhead both count."""

from benchmarks.workload import BEST_OF_PYTORCH, COMPILERS, Bound, Workload
from benchmarks.workloads.mlp import Problem

WORKLOAD = Workload(
    title="training step, MLP 784-256-256-10, batch 64, SGD",
    programs=Problem(sizes=(784, 256, 256, 10), batch=64).programs(),
    bounds=(
        Bound(0.75, BEST_OF_PYTORCH),
        Bound(1.15, ("numpy",)),
        Bound(0.85, COMPILERS, of="compiled"),
        Bound(1.0, ("eager_numpy",), of="compiled_numpy"),
        Bound(0.9, ("numpy",), of="compiled"),
    ),
)
