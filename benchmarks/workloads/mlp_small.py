"""A training step so small that nothing but overhead counts."""

from benchmarks.workload import BEST_OF_PYTORCH, COMPILERS, Bound, Workload
from benchmarks.workloads.mlp import Problem

WORKLOAD = Workload(
    title="training step, MLP 32-32-32-10, batch 16, SGD",
    programs=Problem(sizes=(32, 32, 32, 10), batch=16).programs(),
    bounds=(
        Bound(0.55, BEST_OF_PYTORCH),
        Bound(0.6, COMPILERS, of="compiled"),
        Bound(1.0, ("eager_numpy",), of="compiled_numpy"),
        Bound(0.7, ("numpy",), of="compiled"),
    ),
)
