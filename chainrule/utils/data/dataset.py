"""Data sets: of items by index (`Dataset`), of items in a stream (`IterableDataset`), and those made from others.

`rows_together` is what makes loading from memory quick: where a batch's items are rows of tensors, it takes them all
in one step. Read next: `sampler.py`, the order of the items.
"""

from __future__ import annotations

import bisect
import itertools
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar

import numpy as np

from ...core.tensor import Tensor, make_tensor
from ...random import Generator, default_generator, randperm

__all__ = [
    "ChainDataset",
    "ConcatDataset",
    "Dataset",
    "IterableDataset",
    "StackDataset",
    "Subset",
    "TensorDataset",
    "random_split",
]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Dataset(Generic[T_co]):
    """Items by index. Subclasses define `__getitem__`, and `__len__` for samplers that need the number of items.

    A subclass may define `__getitems__(indices)`, which returns a list of items, where that is quicker.

    >>> class Squares(Dataset):
    ...     def __getitem__(self, index):
    ...         return index**2
    ...     def __len__(self):
    ...         return 5
    >>> from chainrule.utils.data import DataLoader
    >>> [batch.tolist() for batch in DataLoader(Squares(), batch_size=2)]
    [[0, 1], [4, 9], [16]]
    """

    def __getitem__(self, index: Any) -> T_co:
        raise NotImplementedError(f"{type(self).__name__} is a Dataset: it must define __getitem__(self, index)")

    def __add__(self, other: Dataset[T_co]) -> ConcatDataset[T_co]:
        return ConcatDataset([self, other])


class IterableDataset(Dataset[T_co], Iterable[T_co]):
    """Items in a stream. Subclasses define `__iter__`.

    Each worker process of a `DataLoader` has a copy and yields all of it, unless `__iter__` or the `worker_init_fn`
    divides the work with the help of `get_worker_info()`.
    """

    def __iter__(self) -> Iterator[T_co]:
        raise NotImplementedError(f"{type(self).__name__} is an IterableDataset: it must define __iter__(self)")

    def __add__(self, other: Dataset[T_co]) -> ChainDataset[T_co]:  # type: ignore[override]
        return ChainDataset([self, other])


class TensorDataset(Dataset[tuple[Tensor, ...]]):
    """Rows of tensors: item i is (tensor[i], ...) for all tensors.

    Args:
        tensors: of one size in the first dimension. A tensor on a memory-mapped file (`from_numpy(np.memmap(...))`) is
            read row by row, never as a whole.

    Raises:
        AssertionError: the sizes differ, or there is no tensor.
        TypeError: an argument is no tensor.

    >>> import chainrule as cr
    >>> data = TensorDataset(cr.arange(6).reshape(3, 2), cr.tensor([0, 1, 0]))
    >>> len(data), [part.tolist() for part in data[1]]
    (3, [[2, 3], 1])
    """

    tensors: tuple[Tensor, ...]

    def __init__(self, *tensors: Tensor) -> None:
        if not tensors:
            raise AssertionError("TensorDataset needs at least one tensor")
        for i, tensor in enumerate(tensors):
            if not isinstance(tensor, Tensor):
                raise TypeError(
                    f"TensorDataset holds tensors, but argument {i} is {type(tensor).__name__}: use "
                    "chainrule.from_numpy(array) or chainrule.tensor(values)"
                )
            if not tensor.ndim:
                raise IndexError(f"TensorDataset holds rows, but tensor {i} has no dimension")
        sizes = [len(tensor) for tensor in tensors]
        if len(set(sizes)) > 1:
            raise AssertionError(f"Size mismatch between tensors: their first dimensions are {sizes}")
        self.tensors = tensors

    def __getitem__(self, index: Any) -> tuple[Tensor, ...]:
        return tuple([tensor[index] for tensor in self.tensors])

    def __len__(self) -> int:
        return len(self.tensors[0])

    def _rows(self, indices: list[Any]) -> Any:
        index = np.asarray(indices)
        if index.ndim != 1 or index.dtype.kind not in "iu":
            return None
        batch = []
        for tensor in self.tensors:
            array = tensor.array
            if type(array) is not np.ndarray or tensor.node() is not None:
                return None
            # `take` is the quicker one, but would first copy the whole of an array that is not contiguous
            rows = array.take(index, 0) if array.flags.c_contiguous else array[index]
            batch.append(make_tensor(rows, None))
        return batch


class StackDataset(Dataset[Any]):
    """Several data sets side by side: item i is a tuple, or with keywords a dict, of their items i.

    Raises:
        ValueError: the lengths differ, there is no data set, or both forms are used at once.

    >>> data = StackDataset(image=["a", "b"], label=[0, 1])
    >>> data[1]
    {'image': 'b', 'label': 1}
    """

    datasets: tuple[Any, ...] | dict[str, Any]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if args and kwargs:
            raise ValueError(
                "StackDataset gives tuples (of positional data sets) or dicts (of those given by keyword), but "
                f"{len(args)} are given by position and {', '.join(kwargs)} by keyword"
            )
        self.datasets = args or kwargs
        if not self.datasets:
            raise ValueError("At least one dataset should be passed")
        lengths = [len(dataset) for dataset in self._parts()]
        if len(set(lengths)) > 1:
            raise ValueError(f"Size mismatch between datasets: their lengths are {lengths}")
        self._length = lengths[0]

    def _parts(self) -> tuple[Any, ...]:
        return tuple(self.datasets.values()) if isinstance(self.datasets, dict) else self.datasets

    def _item(self, parts: Iterable[Any]) -> Any:
        return dict(zip(self.datasets, parts, strict=True)) if isinstance(self.datasets, dict) else tuple(parts)

    def __getitem__(self, index: Any) -> Any:
        return self._item(dataset[index] for dataset in self._parts())

    def __getitems__(self, indices: list[Any]) -> list[Any]:
        columns = []
        for dataset in self._parts():
            column = items_of(dataset, indices)
            if len(column) != len(indices):
                raise ValueError(
                    f"Nested dataset's output size mismatch. Expected {len(indices)}, got {len(column)} from "
                    f"{type(dataset).__name__}.__getitems__"
                )
            columns.append(column)
        return [self._item(parts) for parts in zip(*columns, strict=True)]

    def __len__(self) -> int:
        return self._length

    def _rows(self, indices: list[Any]) -> Any:
        columns = []
        for together in map(rows_together, self._parts()):
            column = None if together is None else together(indices)
            if column is None:
                return None
            columns.append(column)
        return dict(zip(self.datasets, columns, strict=True)) if isinstance(self.datasets, dict) else columns


class ConcatDataset(Dataset[T_co]):
    """Several data sets one after the other.

    Raises:
        AssertionError: there is none, or one is an IterableDataset (use `ChainDataset`).

    >>> data = ConcatDataset(["ab", "cde"])
    >>> len(data), data[1], data[2], data[-1]
    (5, 'b', 'c', 'e')
    """

    datasets: list[Any]
    cumulative_sizes: list[int]

    def __init__(self, datasets: Iterable[Any]) -> None:
        self.datasets = list(datasets)
        if not self.datasets:
            raise AssertionError("datasets should not be an empty iterable")
        if any(isinstance(dataset, IterableDataset) for dataset in self.datasets):
            raise AssertionError("ConcatDataset does not support IterableDataset: use ChainDataset")
        self.cumulative_sizes = self.cumsum(self.datasets)

    @staticmethod
    def cumsum(sequence: Iterable[Any]) -> list[int]:
        return list(itertools.accumulate(len(dataset) for dataset in sequence))

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]

    def __getitem__(self, index: int) -> T_co:
        if index < 0:
            if -index > len(self):
                raise ValueError(
                    f"absolute value of index should not exceed dataset length: index {index}, length {len(self)}"
                )
            index += len(self)
        elif index >= len(self):
            raise IndexError(f"index {index} is out of range for a ConcatDataset of {len(self)} items")
        part = bisect.bisect_right(self.cumulative_sizes, index)
        before = self.cumulative_sizes[part - 1] if part else 0
        return self.datasets[part][index - before]  # type: ignore[no-any-return]


class ChainDataset(IterableDataset[T_co]):
    """Several streams one after the other.

    Raises:
        AssertionError: while iterating, if one is no IterableDataset.
    """

    def __init__(self, datasets: Iterable[Any]) -> None:
        self.datasets = datasets

    def _streams(self) -> Iterator[Any]:
        for dataset in self.datasets:
            if not isinstance(dataset, IterableDataset):
                raise AssertionError(f"ChainDataset only supports IterableDataset, got {type(dataset).__name__}")
            yield dataset

    def __iter__(self) -> Iterator[T_co]:
        for stream in self._streams():
            yield from stream

    def __len__(self) -> int:
        return sum(len(stream) for stream in self._streams())


class Subset(Dataset[T_co]):
    """The items of a data set at the given indices. A subclass with its own `__getitem__` needs its own `__getitems__`.

    >>> Subset("abcdef", [4, 0])[0]
    'e'
    """

    def __init__(self, dataset: Any, indices: Sequence[int]) -> None:
        kind = type(self)
        if kind.__getitem__ is not Subset.__getitem__ and kind.__getitems__ is Subset.__getitems__:
            raise NotImplementedError(
                f"{kind.__name__} overrides __getitem__ but not __getitems__, which DataLoader calls. Add to it:\n"
                "    def __getitems__(self, indices):\n        return [self[i] for i in indices]"
            )
        self.dataset = dataset
        self.indices = indices

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, list):
            return self.dataset[[self.indices[i] for i in index]]
        return self.dataset[self.indices[index]]

    def __getitems__(self, indices: list[int]) -> list[T_co]:
        return items_of(self.dataset, [self.indices[i] for i in indices])

    def __len__(self) -> int:
        return len(self.indices)

    def _rows(self, indices: list[Any]) -> Any:
        together = rows_together(self.dataset)
        return None if together is None else together([self.indices[i] for i in indices])


def items_of(dataset: Any, indices: list[Any]) -> list[Any]:
    """The items at the indices, by the data set's own `__getitems__` where it has one."""
    many = getattr(dataset, "__getitems__", None)
    return many(indices) if many else [dataset[i] for i in indices]


def rows_together(dataset: Any) -> Callable[[list[Any]], Any] | None:
    """A function from a list of indices to the collated batch of their items, or None if items must be fetched singly.

    What it returns equals `default_collate` of the items. It may itself return None: these indices must go singly.
    """
    for base in (TensorDataset, Subset, StackDataset):
        if isinstance(dataset, base):
            names = ("__getitem__", "__getitems__", "__getattribute__")
            kind = type(dataset)
            unchanged = kind is base or all(getattr(kind, n, None) is getattr(base, n, None) for n in names)
            return dataset._rows if unchanged else None
    return None


def random_split(
    dataset: Any, lengths: Sequence[int | float], generator: Generator | None = default_generator
) -> list[Subset[Any]]:
    """Non-overlapping random subsets of the given lengths.

    Args:
        dataset: what to split.
        lengths: numbers of items that add up to the whole, or fractions that add up to 1: floor(fraction * size) items
            each, and what is left over one by one to the first.
        generator: where the random numbers come from.

    Raises:
        ValueError: the lengths do not add up to the size of the data set, or a fraction is not between 0 and 1.

    >>> [len(part) for part in random_split(range(10), [0.75, 0.25])]
    [8, 2]
    """
    size = len(dataset)
    total = sum(lengths)
    if math.isclose(total, 1) and total <= 1:
        for i, fraction in enumerate(lengths):
            if not 0 <= fraction <= 1:
                raise ValueError(f"Fraction at index {i} is not between 0 and 1: {fraction}")
        sizes = [math.floor(size * fraction) for fraction in lengths]
        for i in range(size - sum(sizes)):
            sizes[i % len(sizes)] += 1
        for i, length in enumerate(sizes):
            if length == 0:
                warnings.warn(
                    f"Length of split at index {i} is 0. This might result in an empty dataset.", stacklevel=2
                )
    elif total == size:
        sizes = [int(length) for length in lengths]
    else:
        raise ValueError(
            "Sum of input lengths does not equal the length of the input dataset! "
            f"{list(lengths)} add up to {total}, the dataset has {size} items"
        )
    order = randperm(size, generator=generator).tolist()
    ends = itertools.accumulate(sizes)
    return [Subset(dataset, order[end - length : end]) for end, length in zip(ends, sizes, strict=True)]
