"""As ``data_loader``, with a data set of the user's own, which gives one sample at a time: (tensor, int)."""

from __future__ import annotations

from typing import Any

from benchmarks.workload import BEST_OF_PYTORCH, Bound, Workload
from benchmarks.workloads.data_loader import data, programs


def items(torch: Any) -> Any:
    """The data set of this workload."""
    inputs, numbers = data()
    x, labels = torch.from_numpy(inputs), numbers.tolist()

    class Items(torch.utils.data.Dataset):  # type: ignore[name-defined, misc, unused-ignore]
        def __len__(self) -> int:
            return len(labels)

        def __getitem__(self, index: int) -> Any:
            return x[index], labels[index]

    return Items()


WORKLOAD = Workload(
    title="DataLoader, 50,000 samples of (tensor, int), batch 64, shuffled",
    programs=programs(items),
    bounds=(Bound(1.0, BEST_OF_PYTORCH),),
    most_rounds=20,
)
