"""An epoch of a DataLoader over 50,000 shuffled samples in memory, batch 64: 32 float32 numbers and a label each.

Here the samples are the rows of a TensorDataset; ``data_loader_items`` has a data set of the user's own instead. Each
program draws its own order, so they are compared by sums over an epoch that do not depend on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from benchmarks.workload import BEST_OF_PYTORCH, Bound, Program, Workload, pytorch_programs

SAMPLES, WIDTH, CLASSES, BATCH = 50_000, 32, 10, 64


def data() -> tuple[Any, Any]:
    """Inputs (50000, 32) float32, and labels (50000,)."""
    import numpy as np

    random = np.random.default_rng(0)
    return random.normal(size=(SAMPLES, WIDTH)).astype(np.float32), random.integers(0, CLASSES, SAMPLES)


def programs(make_dataset: Callable[[Any], Any]) -> dict[str, Callable[[], Program]]:
    """The programs by peer, on the data set that ``make_dataset`` builds with either library."""

    def pytorch_program(torch: Any) -> Program:
        torch.manual_seed(0)
        loader = torch.utils.data.DataLoader(make_dataset(torch), batch_size=BATCH, shuffle=True)
        return program(loader)

    return pytorch_programs(pytorch_program, compiles=False) | {"numpy": numpy}


def numpy() -> Program:
    """Rows of the arrays at slices of a permutation."""
    import numpy as np

    x, labels = data()
    random = np.random.default_rng(0)

    class Batches:
        def __iter__(self) -> Iterator[Any]:
            order = random.permutation(SAMPLES)
            for start in range(0, SAMPLES, BATCH):
                rows = order[start : start + BATCH]
                yield x[rows], labels[rows]

    return program(Batches())


def program(batches: Iterable[Any]) -> Program:
    """An epoch a step; what is observed is another epoch."""

    def step() -> None:
        for _ in batches:
            pass

    return Program(step, lambda: observed(batches))


def observed(batches: Iterable[Any]) -> dict[str, Any]:
    """Sums over an epoch by which programs with different orders can be compared."""
    import numpy as np

    sums = np.zeros((CLASSES, WIDTH))
    counts = np.zeros(CLASSES, np.int64)
    sizes = []
    for inputs, labels in batches:
        x, label = np.asarray(inputs), np.asarray(labels)
        assert x.dtype == np.float32 and label.dtype == np.int64
        np.add.at(sums, label, x)
        counts += np.bincount(label, minlength=CLASSES)
        sizes.append(len(x))
    return {"loss": (sums**2).sum(), "sums": sums, "counts": counts, "sizes": np.array(sizes)}


def rows(torch: Any) -> Any:
    """The data set of this workload."""
    x, labels = data()
    return torch.utils.data.TensorDataset(torch.from_numpy(x), torch.from_numpy(labels))


WORKLOAD = Workload(
    title="DataLoader, 50,000 rows of tensors, batch 64, shuffled",
    programs=programs(rows),
    bounds=(Bound(0.5, BEST_OF_PYTORCH),),
    most_rounds=20,
)
