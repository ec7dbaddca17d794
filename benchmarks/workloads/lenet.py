"""LeNet on images of the size of MNIST's: small convolutions, where copying counts as much as multiplying."""

from benchmarks.workload import BEST_OF_PYTORCH, COMPILERS, Bound, Workload
from benchmarks.workloads.convolutions import Convolution, Problem

PROBLEM = Problem(
    convolutions=(Convolution(1, 6, 5, padding=2, pool=True), Convolution(6, 16, 5, padding=0, pool=True)),
    sizes=(400, 120, 84, 10),
    batch=64,
    image=28,
)
WORKLOAD = Workload(
    title="training step, LeNet on 28x28, batch 64, SGD",
    programs=PROBLEM.programs(),
    bounds=(
        Bound(1.5, BEST_OF_PYTORCH),
        Bound(0.9, COMPILERS, of="compiled"),
        Bound(1.0, ("eager_numpy",), of="compiled_numpy"),
    ),
    tolerance=1e-3,
)
