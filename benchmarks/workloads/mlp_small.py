"""A training step so small that nothing but overhead counts."""

from benchmarks.workload import BEST_OF_PYTORCH, Bound, Workload
from benchmarks.workloads.mlp import Problem

WORKLOAD = Workload(
    title="training step, MLP 32-32-32-10, batch 16, SGD",
    programs=Problem(sizes=(32, 32, 32, 10), batch=16).programs(),
    bounds=(Bound(0.55, BEST_OF_PYTORCH),),
)
