"""Samplers: iterables of indices into a data set, or, for `BatchSampler`, of lists of them.

Read next: `dataloader.py`, which makes batches of the items.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence, Sized
from typing import Any, Generic, TypeVar

import numpy as np

from ...core.tensor import Tensor
from ...ops.creation import as_tensor
from ...random import Generator, multinomial, numbers_of

__all__ = [
    "BatchSampler",
    "RandomSampler",
    "Sampler",
    "SequentialSampler",
    "SubsetRandomSampler",
    "WeightedRandomSampler",
]

T_co = TypeVar("T_co", covariant=True)
CHUNK = 4096  # how many indices are drawn at once with replacement


class Sampler(Generic[T_co]):
    """Base of samplers. Subclasses define `__iter__`, and `__len__` where the number of indices is known."""

    def __init__(self, data_source: Any = None) -> None: ...

    def __iter__(self) -> Iterator[T_co]:
        raise NotImplementedError(f"{type(self).__name__} is a Sampler: it must define __iter__(self)")


class SequentialSampler(Sampler[int]):
    """0, 1, 2, ... to the end of the data set."""

    def __init__(self, data_source: Sized) -> None:
        self.data_source = data_source

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self.data_source)))

    def __len__(self) -> int:
        return len(self.data_source)


class RandomSampler(Sampler[int]):
    """The indices in random order, or drawn with replacement.

    Args:
        data_source: anything with a length.
        replacement: draw each index from all of them.
        num_samples: how many indices; all, if left out. More than there are begins a new permutation.
        generator: where the random numbers come from; if left out, a seed drawn from the default generator.

    Raises:
        ValueError: there is nothing to draw: the data set is empty, or num_samples is not positive.
        TypeError: `replacement` is no bool.

    >>> import chainrule as cr
    >>> sorted(RandomSampler(range(4)))
    [0, 1, 2, 3]
    >>> _ = cr.manual_seed(1)
    >>> order = list(RandomSampler(range(9)))
    >>> _ = cr.manual_seed(1)
    >>> order == list(RandomSampler(range(9)))
    True
    """

    def __init__(
        self,
        data_source: Sized,
        replacement: bool = False,
        num_samples: int | None = None,
        generator: Generator | None = None,
    ) -> None:
        self.data_source = data_source
        self.replacement = replacement
        self._num_samples = num_samples
        self.generator = generator
        if not isinstance(replacement, bool):
            raise TypeError(f"replacement should be a boolean value, but got replacement={replacement}")
        wanted = self.num_samples
        if not isinstance(wanted, int) or wanted <= 0:
            why = ": the data set is empty" if num_samples is None else ""
            raise ValueError(f"num_samples should be a positive integer value, but got num_samples={wanted}{why}")

    @property
    def num_samples(self) -> int:
        return len(self.data_source) if self._num_samples is None else self._num_samples

    def __iter__(self) -> Iterator[int]:
        size, wanted = len(self.data_source), self.num_samples
        if not size:
            raise ValueError(f"RandomSampler has to draw {wanted} indices from an empty data set")
        numbers = numbers_of(self.generator or Generator().manual_seed(draw_seed()))
        step = CHUNK if self.replacement else size
        for done in range(0, wanted, step):
            drawn = (
                numbers.integers(0, size, min(step, wanted - done)) if self.replacement else numbers.permutation(size)
            )
            yield from drawn[: wanted - done].tolist()

    def __len__(self) -> int:
        return self.num_samples


class SubsetRandomSampler(Sampler[int]):
    """The given indices in random order.

    >>> sorted(SubsetRandomSampler([7, 3, 5]))
    [3, 5, 7]
    """

    def __init__(self, indices: Sequence[int], generator: Generator | None = None) -> None:
        self.indices = indices
        self.generator = generator

    def __iter__(self) -> Iterator[int]:
        for i in numbers_of(self.generator).permutation(len(self.indices)).tolist():
            yield self.indices[i]

    def __len__(self) -> int:
        return len(self.indices)


class WeightedRandomSampler(Sampler[int]):
    """Indices drawn with probabilities in proportion to weights.

    Args:
        weights: one for each item; they need not add up to 1.
        num_samples: how many to draw.
        replacement: whether an index may be drawn again.
        generator: where the random numbers come from.

    Raises:
        ValueError: num_samples is not a positive integer, replacement is no bool, weights are not one-dimensional.

    >>> list(WeightedRandomSampler([0.0, 2.0, 0.0], 3))
    [1, 1, 1]
    """

    weights: Tensor

    def __init__(
        self,
        weights: Any,
        num_samples: int,
        replacement: bool = True,
        generator: Generator | None = None,
    ) -> None:
        check_positive("num_samples", num_samples)
        if not isinstance(replacement, bool):
            raise ValueError(f"replacement should be a boolean value, but got replacement={replacement}")
        self.weights = as_tensor(weights, dtype=np.float64)
        if self.weights.ndim != 1:
            raise ValueError(f"weights should be a 1d sequence but given weights have shape {self.weights.shape}")
        self.num_samples = num_samples
        self.replacement = replacement
        self.generator = generator

    def __iter__(self) -> Iterator[int]:
        yield from multinomial(self.weights, self.num_samples, self.replacement, generator=self.generator).tolist()

    def __len__(self) -> int:
        return self.num_samples


class BatchSampler(Sampler[list[int]]):
    """Lists of `batch_size` indices of another sampler.

    Args:
        sampler: any iterable of indices.
        batch_size: how many to a list.
        drop_last: leave out a last list that is shorter.

    Raises:
        ValueError: batch_size is not a positive integer, drop_last is no bool.

    >>> list(BatchSampler(range(5), 2, drop_last=False)), list(BatchSampler(range(5), 2, drop_last=True))
    ([[0, 1], [2, 3], [4]], [[0, 1], [2, 3]])
    """

    def __init__(self, sampler: Iterable[int], batch_size: int, drop_last: bool) -> None:
        check_positive("batch_size", batch_size)
        if not isinstance(drop_last, bool):
            raise ValueError(f"drop_last should be a boolean value, but got drop_last={drop_last}")
        self.sampler = sampler
        self.batch_size = batch_size
        self.drop_last = drop_last

    def __iter__(self) -> Iterator[list[int]]:
        indices = iter(self.sampler)
        size = self.batch_size
        while batch := list(itertools.islice(indices, size)):
            if self.drop_last and len(batch) < size:
                return
            yield batch

    def __len__(self) -> int:
        full, rest = divmod(len(self.sampler), self.batch_size)  # type: ignore[arg-type]
        return full + bool(rest and not self.drop_last)


def check_positive(name: str, value: Any) -> None:
    """Refuse what is not a positive integer.

    Raises:
        ValueError: names the argument and the value.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
        raise ValueError(f"{name} should be a positive integer value, but got {name}={value}")


def draw_seed(generator: Generator | None = None) -> int:
    """A seed for another generator."""
    return int(numbers_of(generator).integers(0, 2**63 - 1))
