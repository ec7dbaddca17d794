"""`DistributedSampler`: the part of a data set that one of several replicas works on."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from ...random import Generator, numbers_of
from .sampler import Sampler

__all__ = ["DistributedSampler"]


class DistributedSampler(Sampler[int]):
    """Every `num_replicas`-th index, beginning with `rank`, of a permutation that all replicas share.

    Args:
        dataset: anything with a length.
        num_replicas: how many replicas there are; there is no process group here, so it must be given.
        rank: which one this is.
        shuffle: permute anew in each epoch, see `set_epoch`.
        seed: of the permutation; the same in all replicas.
        drop_last: leave out items at the end so that all replicas have as many; otherwise some are repeated.

    Raises:
        RuntimeError: `num_replicas` or `rank` is left out.
        ValueError: `rank` does not lie between 0 and `num_replicas` - 1.

    >>> [list(DistributedSampler(range(5), 2, rank, shuffle=False)) for rank in (0, 1)]
    [[0, 2, 4], [1, 3, 0]]
    """

    def __init__(
        self,
        dataset: Any,
        num_replicas: int | None = None,
        rank: int | None = None,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        if num_replicas is None or rank is None:
            raise RuntimeError(
                "Requires distributed package to be available: chainrule runs in one process, so give num_replicas and "
                "rank, here num_replicas=1, rank=0"
            )
        if not 0 <= rank < num_replicas:
            raise ValueError(f"Invalid rank {rank}, rank should be in the interval [0, {num_replicas - 1}]")
        self.dataset = dataset
        self.num_replicas = num_replicas
        self.rank = rank
        self.epoch = 0
        self.shuffle = shuffle
        self.seed = seed
        self.drop_last = drop_last
        size = len(dataset)
        self.num_samples = size // num_replicas if drop_last else math.ceil(size / num_replicas)
        self.total_size = self.num_samples * num_replicas

    def __iter__(self) -> Iterator[int]:
        size = len(self.dataset)
        if self.shuffle:
            order = numbers_of(Generator().manual_seed(self.seed + self.epoch)).permutation(size)
        else:
            order = np.arange(size)
        order = np.resize(order, self.total_size)  # cut at the end, or repeated from the start
        return iter(order[self.rank :: self.num_replicas].tolist())

    def __len__(self) -> int:
        return self.num_samples

    def set_epoch(self, epoch: int) -> None:
        """Make the next iteration's permutation that of `epoch`; without it all epochs have the same."""
        self.epoch = epoch
