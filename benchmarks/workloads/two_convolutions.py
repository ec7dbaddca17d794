"""Two 3x3 convolutions with many channels, where the matrix products count."""

from benchmarks.workload import BEST_OF_PYTORCH, COMPILERS, Bound, Workload
from benchmarks.workloads.convolutions import Convolution, Problem

PROBLEM = Problem(
    convolutions=(Convolution(16, 32, 3, padding=1, pool=False), Convolution(32, 64, 3, padding=1, pool=False)),
    sizes=(64,),
    batch=32,
    image=32,
)
WORKLOAD = Workload(
    title="training step, 3x3 convolutions 16-32-64 on 32x32, batch 32, SGD",
    programs=PROBLEM.programs(),
    bounds=(
        Bound(2.0, BEST_OF_PYTORCH),
        Bound(1.2, COMPILERS, of="compiled"),
        Bound(1.0, ("eager_numpy",), of="compiled_numpy"),
    ),
    tolerance=1e-3,
)
