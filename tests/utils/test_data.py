"""Data sets, samplers, collation and the DataLoader; PyTorch is the oracle where it is installed."""

from __future__ import annotations

import collections
import gc
import itertools
import math
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.utils import data
from chainrule.utils.data import (
    BatchSampler,
    ChainDataset,
    ConcatDataset,
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    StackDataset,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    default_collate,
    default_convert,
    get_worker_info,
    random_split,
)
from chainrule.utils.data._utils import transport

FORKS = "fork" in multiprocessing.get_all_start_methods()
forks = pytest.mark.skipif(not FORKS, reason="processes cannot be forked here")
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create", "ignore:This process .* multi-threaded")
Point = collections.namedtuple("Point", "x y")


@pytest.fixture(autouse=True)
def no_workers_of_earlier_tests() -> None:
    """An iterator whose error pytest has shown may live until the garbage collector comes, and its workers with it."""
    if children():
        gc.collect()
    assert eventually(lambda: not children())


class Numbers(Dataset[Any]):
    """0.0, 1.0, ... and their indices."""

    def __init__(self, size: int, width: int = 1) -> None:
        self.size = size
        self.width = width

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Any:
        return cr.full((self.width,), float(index)), index


class Stream(IterableDataset[int]):
    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Any:
        info = get_worker_info()
        return iter(range(self.size) if info is None else range(info.id, self.size, info.num_workers))


def loader(dataset: Any, workers: int = 2, **options: Any) -> DataLoader[Any]:
    """One with workers that start by forking, which is quickest."""
    return DataLoader(dataset, num_workers=workers, multiprocessing_context="fork", **options)


def lists(batches: Any) -> list[Any]:
    return [[part.tolist() for part in batch] if isinstance(batch, list) else batch.tolist() for batch in batches]


def children() -> set[int]:
    """The workers that are there."""
    processes = multiprocessing.active_children()
    return {p.pid for p in processes if p.pid is not None and p.name.startswith("DataLoader worker")}


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def eventually(condition: Any, seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return bool(condition())


# ----- data sets -----


def test_a_tensor_dataset_gives_rows() -> None:
    rows = TensorDataset(cr.arange(6).reshape(3, 2), cr.tensor([5, 6, 7]))
    assert len(rows) == 3
    assert [part.tolist() for part in rows[2]] == [[4, 5], 7]
    assert [part.tolist() for part in rows[-1]] == [[4, 5], 7]


@pytest.mark.parametrize(
    ("tensors", "error", "text"),
    [
        ((cr.zeros(3), cr.zeros(4)), AssertionError, r"Size mismatch.*\[3, 4\]"),
        ((), AssertionError, "at least one"),
        ((np.zeros(3),), TypeError, "from_numpy"),
        ((cr.tensor(1.0),), IndexError, "tensor 0 has no dimension"),
    ],
)
def test_a_tensor_dataset_refuses_what_has_no_common_rows(tensors: Any, error: Any, text: str) -> None:
    with pytest.raises(error, match=text):
        TensorDataset(*tensors)


def test_stacked_datasets_give_tuples_or_dicts() -> None:
    assert StackDataset("ab", [1, 2])[1] == ("b", 2)
    assert StackDataset(x="ab", y=[1, 2]).__getitems__([1, 0]) == [{"x": "b", "y": 2}, {"x": "a", "y": 1}]
    for wrong in (lambda: StackDataset("ab", "abc"), lambda: StackDataset(), lambda: StackDataset("a", x="a")):
        with pytest.raises(ValueError):
            wrong()


def test_concatenated_datasets_are_indexed_across_their_borders() -> None:
    both = Numbers(2) + Numbers(3)
    assert isinstance(both, ConcatDataset) and len(both) == 5 and both.cumulative_sizes == [2, 5]
    assert [both[i][1] for i in (0, 1, 2, 4, -1, -5)] == [0, 1, 0, 2, 2, 0]
    with pytest.raises(ValueError, match="should not exceed dataset length"):
        both[-6]
    with pytest.raises(IndexError):
        both[5]
    with pytest.raises(AssertionError):
        ConcatDataset([])
    with pytest.raises(AssertionError, match="ChainDataset"):
        ConcatDataset([Stream(1)])


def test_chained_streams_follow_one_another() -> None:
    both = Stream(2) + Stream(3)
    assert isinstance(both, ChainDataset) and len(both) == 5 and list(both) == [0, 1, 0, 1, 2]
    with pytest.raises(AssertionError):
        list(ChainDataset([[1]]))


def test_a_subset_with_its_own_items_must_say_how_to_get_many() -> None:
    class Doubled(Subset[Any]):
        def __getitem__(self, index: Any) -> Any:
            return 2 * super().__getitem__(index)

    with pytest.raises(NotImplementedError, match="__getitems__"):
        Doubled(range(4), [1])


def test_a_dataset_without_items_says_what_it_must_define() -> None:
    with pytest.raises(NotImplementedError, match="__getitem__"):
        Dataset()[0]
    with pytest.raises(NotImplementedError, match="__iter__"):
        iter(IterableDataset())


@pytest.mark.parametrize(
    ("lengths", "expected"), [([3, 7], [3, 7]), ([0.25, 0.75], [3, 7]), ([0.5, 0.25, 0.25], [6, 2, 2])]
)
def test_a_random_split_is_a_partition(lengths: Any, expected: list[int]) -> None:
    parts = random_split(range(10), lengths, generator=cr.Generator().manual_seed(3))
    assert [len(part) for part in parts] == expected
    assert sorted(itertools.chain(*(part.indices for part in parts))) == list(range(10))
    again = random_split(range(10), lengths, generator=cr.Generator().manual_seed(3))
    assert [part.indices for part in parts] == [part.indices for part in again]


def test_a_random_split_refuses_lengths_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="add up to 9, the dataset has 10"):
        random_split(range(10), [4, 5])
    with pytest.raises(ValueError, match="Fraction at index 1"):
        random_split(range(10), [0.5, -0.5, 1.0])
    with pytest.warns(UserWarning, match="split at index 1 is 0"):
        random_split(range(1), [0.5, 0.5])


# ----- samplers -----


def test_random_samplers_permute_and_repeat_under_a_seed() -> None:
    cr.manual_seed(5)
    first, second = list(RandomSampler(range(50))), list(RandomSampler(range(50)))
    assert sorted(first) == sorted(second) == list(range(50)) and first != second
    cr.manual_seed(5)
    assert list(RandomSampler(range(50))) == first


@pytest.mark.parametrize("wanted", [1, 7, 10, 23])
def test_a_random_sampler_draws_as_many_as_asked(wanted: int) -> None:
    without = list(RandomSampler(range(10), num_samples=wanted))
    assert len(without) == wanted == len(RandomSampler(range(10), num_samples=wanted))
    counts = collections.Counter(without).values()
    assert max(counts) - (min(counts) if wanted >= 10 else 0) <= 1
    assert len(list(RandomSampler(range(10), replacement=True, num_samples=wanted))) == wanted


def test_drawing_with_replacement_is_uniform() -> None:
    drawn = list(RandomSampler(range(10), True, 20_000, cr.Generator().manual_seed(0)))
    counts = np.bincount(drawn, minlength=10)
    assert np.sum((counts - 2000) ** 2 / 2000) < 27.9  # chi squared, 9 degrees of freedom, p = 0.001


def test_samplers_refuse_what_they_cannot_draw() -> None:
    with pytest.raises(ValueError, match="num_samples=0: the data set is empty"):
        RandomSampler([])
    with pytest.raises(ValueError, match="num_samples=0"):
        RandomSampler(range(3), num_samples=0)
    with pytest.raises(TypeError, match="replacement"):
        RandomSampler(range(3), replacement="no")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="1d sequence"):
        WeightedRandomSampler([[0.5]], 1)
    with pytest.raises(ValueError, match="num_samples"):
        WeightedRandomSampler([0.5], -1)
    with pytest.raises(ValueError, match="batch_size"):
        BatchSampler(range(3), 0, False)
    with pytest.raises(ValueError, match="drop_last"):
        BatchSampler(range(3), 1, None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        DistributedSampler(range(3), 2, 2)
    with pytest.raises(RuntimeError, match="num_replicas"):
        DistributedSampler(range(3))


def test_weights_are_probabilities() -> None:
    drawn = list(WeightedRandomSampler([1.0, 0.0, 3.0], 4000, generator=cr.Generator().manual_seed(1)))
    counts = np.bincount(drawn, minlength=3)
    assert counts[1] == 0 and abs(counts[2] - 3000) < 5 * math.sqrt(4000 * 0.75 * 0.25)
    assert sorted(WeightedRandomSampler([1.0, 2.0, 3.0], 3, replacement=False)) == [0, 1, 2]


def test_other_samplers() -> None:
    assert list(SequentialSampler("abc")) == [0, 1, 2]
    assert sorted(SubsetRandomSampler([4, 9, 2])) == [2, 4, 9]
    assert list(BatchSampler(range(5), 2, False)) == [[0, 1], [2, 3], [4]]
    assert [len(BatchSampler(range(5), 2, drop)) for drop in (False, True)] == [3, 2]


@pytest.mark.parametrize(
    ("size", "replicas", "drop_last"), [(10, 3, True), (10, 3, False), (2, 5, False), (9, 3, True)]
)
def test_replicas_share_the_data_as_in_pytorch(size: int, replicas: int, drop_last: bool) -> None:
    ours = [
        list(DistributedSampler(range(size), replicas, rank, shuffle=False, drop_last=drop_last))
        for rank in range(replicas)
    ]
    assert len({len(indices) for indices in ours}) == 1
    if not drop_last:
        assert set(itertools.chain(*ours)) == set(range(size))
    torch_data = pytest.importorskip("torch.utils.data")
    for rank, indices in enumerate(ours):
        theirs = torch_data.DistributedSampler(range(size), replicas, rank, shuffle=False, drop_last=drop_last)
        assert list(theirs) == indices


def test_a_shared_permutation_changes_with_the_epoch() -> None:
    samplers = [DistributedSampler(range(20), 2, rank) for rank in (0, 1)]
    first = [list(sampler) for sampler in samplers]
    assert sorted(first[0] + first[1]) == list(range(20))
    for sampler in samplers:
        sampler.set_epoch(1)
    assert [list(sampler) for sampler in samplers] != first


# ----- collation -----


def samples_of(library: Any) -> list[Any]:
    tensor = library.tensor
    return [
        [1, 2],
        [1.5, 2],
        [1, 2.5],
        [True, False],
        ["a", "b"],
        [b"a"],
        [np.float32(1), np.float32(2)],
        [np.int32(3)],
        [np.bool_(True)],
        [np.zeros((2, 3)), np.ones((2, 3))],
        [np.array(3), np.array(4)],
        [tensor([1.0, 2.0]), tensor([3.0, 4.0])],
        [tensor([1, 2]), tensor([1.0, 2.0])],
        [tensor(1), tensor(2)],
        [(1, "a", tensor([1.0])), (2, "b", tensor([2.0]))],
        [[1, 2], [3, 4]],
        [Point(1, tensor([2.0])), Point(3, tensor([4.0]))],
        [{"a": 1, "b": {"c": np.zeros(2)}}, {"a": 2, "b": {"c": np.ones(2)}}],
        [collections.OrderedDict(a=1)],
        [(np.float16(1.0),)],
    ]


def described(value: Any) -> Any:
    """A batch of either library in plain Python, with the types of its containers and elements."""
    if hasattr(value, "tolist"):
        return str(value.dtype).rpartition(".")[2], tuple(value.shape), value.tolist()
    if isinstance(value, dict):
        return type(value).__name__, {key: described(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value).__name__, [described(part) for part in value]
    return type(value).__name__, value


@pytest.mark.parametrize("index", range(20))
def test_batches_are_collated_as_in_pytorch(index: int) -> None:
    torch = pytest.importorskip("torch")
    theirs = torch.utils.data.default_collate(samples_of(torch)[index])
    assert described(default_collate(samples_of(cr)[index])) == described(theirs)


def test_a_batch_has_a_new_first_dimension_and_the_samples_types() -> None:
    batch = default_collate([(cr.ones(2), 1, 0.5, "a"), (cr.zeros(2), 2, 1.5, "b")])
    assert [str(part.dtype).rpartition(".")[2] for part in batch[:3]] == ["float32", "int64", "float64"]
    assert lists([batch[:3]]) == [[[[1.0, 1.0], [0.0, 0.0]], [1, 2], [0.5, 1.5]]]
    assert batch[3] == ("a", "b")


@pytest.mark.parametrize(
    ("batch", "error", "text"),
    [
        ([cr.zeros(3), cr.zeros(4)], RuntimeError, r"got \[3\] at entry 0 and \[4\] at entry 1"),
        ([cr.zeros(2, 3), cr.zeros(2, 3), cr.zeros(3)], RuntimeError, r"\[2, 3\] at entry 0 and \[3\] at entry 2"),
        ([cr.zeros(2, 3), cr.zeros(2, 4)], RuntimeError, r"\[2, 3\] at entry 0 and \[2, 4\] at entry 1"),
        ([np.zeros(3), np.zeros(4)], RuntimeError, "equal size"),
        ([[1, 2], [3]], RuntimeError, "entry 0 has 2 parts and entry 1 has 1"),
        ([1j], TypeError, "complex"),
        ([None], TypeError, "NoneType"),
        ([np.array(["a"])], TypeError, "<U1"),
        ([2**70, 1], ValueError, "64 bits"),
        ([{"a": 1}, {"b": 2}], KeyError, "a"),
    ],
)
def test_samples_that_make_no_batch_are_refused(batch: Any, error: Any, text: str) -> None:
    with pytest.raises(error, match=text):
        default_collate(batch)


def test_collating_keeps_the_graph() -> None:
    x = cr.tensor([1.0, 2.0], requires_grad=True)
    default_collate([x * 2, x * 3]).sum().backward()
    assert x.grad is not None and x.grad.tolist() == [5.0, 5.0]


def test_a_single_sample_is_converted() -> None:
    converted = default_convert([np.array([1]), (1, np.float32(2)), "a", {"k": np.zeros(1)}, Point(np.ones(1), None)])
    assert isinstance(converted[0], cr.Tensor) and isinstance(converted[1], list) and converted[2] == "a"
    assert isinstance(converted[3]["k"], cr.Tensor) and isinstance(converted[4], Point)
    names = np.array(["s"])
    assert default_convert(names) is names


def test_a_collation_can_be_extended_by_type() -> None:
    from chainrule.utils.data._utils.collate import collate, default_collate_fn_map

    known = {**default_collate_fn_map, complex: lambda batch, collate_fn_map: sum(batch)}
    assert collate([(1, 1j), (2, 2j)], collate_fn_map=known)[1] == 3j


# ----- loading in this process -----


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("batch_size", [1, 3, 10, 11, None])
def test_batches_without_shuffling_are_pytorchs(batch_size: int | None, drop_last: bool) -> None:
    if batch_size is None and drop_last:
        pytest.skip("refused")
    x = np.arange(20.0).reshape(10, 2)
    ours = DataLoader(TensorDataset(cr.from_numpy(x), cr.arange(10)), batch_size, drop_last=drop_last)
    size = batch_size or 1
    expected = 10 // size if drop_last else math.ceil(10 / size)
    assert len(ours) == expected == len(list(ours))
    torch = pytest.importorskip("torch")
    theirs = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(torch.from_numpy(x), torch.arange(10)), batch_size, drop_last=drop_last
    )
    assert len(ours) == len(theirs)
    assert [described(batch) for batch in ours] == [described(batch) for batch in theirs]


def test_rows_taken_together_equal_rows_taken_singly() -> None:
    x = cr.from_numpy(np.random.default_rng(0).normal(size=(9, 4, 3)))
    for values in (x, x.transpose(1, 2), x.flip(1), x[::2][:4]):
        rows = TensorDataset(values, cr.arange(len(values)), values.to(cr.float32) > 0)
        stacked = StackDataset(a=rows, b=Numbers(len(values)), c=Subset(rows, list(range(len(values)))[::-1]))
        for together in (rows, Subset(rows, [3, 0, 2]), stacked):
            quick = [described(batch) for batch in DataLoader(together, 2)]
            plain = [described(batch) for batch in DataLoader(together, 2, collate_fn=lambda s: default_collate(s))]
            assert quick == plain


def test_a_changed_dataset_is_not_taken_together() -> None:
    class Shifted(TensorDataset):
        def __getitem__(self, index: Any) -> Any:
            return tuple(part + 100 for part in super().__getitem__(index))

    assert lists(DataLoader(Shifted(cr.arange(3)), 3)) == [[[100, 101, 102]]]
    assert lists(DataLoader(Subset(Shifted(cr.arange(3)), [2]), 3)) == [[[102]]]


def test_rows_that_require_grad_keep_their_graph() -> None:
    x = cr.arange(6.0).requires_grad_()
    for (batch,) in DataLoader(TensorDataset(x), 2):
        (batch * batch).sum().backward()
    assert x.grad is not None and x.grad.tolist() == [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]


def test_a_sample_is_a_view_and_writing_to_it_is_noticed() -> None:
    rows = TensorDataset(cr.ones(3, 2))
    w = cr.ones(3, 2, requires_grad=True)
    product = rows.tensors[0] * w
    rows[1][0].mul_(5)
    assert rows.tensors[0].tolist() == [[1.0, 1.0], [5.0, 5.0], [1.0, 1.0]]
    with pytest.raises(RuntimeError, match="mul_ wrote to it"):
        product.sum().backward()


def test_batches_are_copies_of_the_rows() -> None:
    x = cr.zeros(4, 2)
    batch = next(iter(DataLoader(TensorDataset(x), 4)))[0]
    batch += 1
    assert x.sum().item() == 0


def test_shuffling_depends_on_the_seed_alone() -> None:
    rows = TensorDataset(cr.arange(40))
    cr.manual_seed(1)
    shuffled = DataLoader(rows, 8, shuffle=True)
    first, second = lists(shuffled), lists(shuffled)
    assert first != second and sorted(itertools.chain(*(batch[0] for batch in first))) == list(range(40))
    cr.manual_seed(1)
    assert lists(DataLoader(rows, 8, shuffle=True)) == first
    generator = cr.Generator().manual_seed(2)
    third = lists(DataLoader(rows, 8, shuffle=True, generator=generator))
    assert lists(DataLoader(rows, 8, shuffle=True, generator=generator.manual_seed(2))) == third


def test_samplers_of_ones_own_give_the_order() -> None:
    rows = TensorDataset(cr.arange(6) * 10)
    assert lists(DataLoader(rows, 2, sampler=[5, 0, 3])) == [[[50, 0]], [[30]]]
    assert lists(DataLoader(rows, batch_sampler=[[1], [2, -1]])) == [[[10]], [[20, 50]]]
    assert [part[0].item() for part in DataLoader(rows, batch_size=None, sampler=[4, 1])] == [40, 10]
    assert lists(DataLoader({"a": 1, "b": 2}, 2, sampler=["b", "a"])) == [[2, 1]]  # type: ignore[arg-type]


def test_a_wrong_index_is_the_tensors_own_error() -> None:
    with pytest.raises(IndexError, match="7"):
        list(DataLoader(TensorDataset(cr.arange(6)), sampler=[7]))


def test_many_items_are_asked_for_at_once_where_the_dataset_can() -> None:
    class Many(Numbers):
        def __getitems__(self, indices: list[int]) -> list[int]:
            return [i * 10 for i in indices]

    assert lists(DataLoader(Many(4), 3)) == [[0, 10, 20], [30]]


def test_streams_are_batched() -> None:
    assert lists(DataLoader(Stream(5), 2)) == [[0, 1], [2, 3], [4]]
    assert lists(DataLoader(Stream(5), 2, drop_last=True)) == [[0, 1], [2, 3]]
    assert list(DataLoader(Stream(3), batch_size=None)) == [0, 1, 2]
    assert [len(DataLoader(Stream(5), 2, drop_last=drop)) for drop in (False, True)] == [3, 2]


def test_a_stream_longer_than_it_said_is_told() -> None:
    class Longer(Stream):
        def __len__(self) -> int:
            return 2

    longer = DataLoader(Longer(4), batch_size=1)
    assert len(longer) == 2
    with pytest.warns(UserWarning, match="reported to be 2"):
        assert len(list(longer)) == 4


def test_an_empty_dataset_is_refused_by_shuffling_and_otherwise_gives_nothing() -> None:
    empty = TensorDataset(cr.zeros(0, 3))
    with pytest.raises(ValueError, match="num_samples=0: the data set is empty"):
        DataLoader(empty, shuffle=True)
    assert list(DataLoader(empty)) == []


@pytest.mark.parametrize(
    "options",
    [
        {"num_workers": -1},
        {"timeout": -1},
        {"prefetch_factor": 2},
        {"prefetch_factor": 0, "num_workers": 1},
        {"persistent_workers": True},
        {"batch_size": 0},
        {"batch_size": None, "drop_last": True},
        {"shuffle": True, "sampler": [0]},
        {"batch_sampler": [[0]], "batch_size": 2},
        {"batch_sampler": [[0]], "shuffle": True},
        {"multiprocessing_context": "spawn"},
        {"multiprocessing_context": "telepathy", "num_workers": 1},
    ],
)
def test_options_that_exclude_one_another_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        DataLoader(Numbers(3), **options)
    torch_data = pytest.importorskip("torch.utils.data")
    if options != {"prefetch_factor": 0, "num_workers": 1}:  # PyTorch then waits for ever
        with pytest.raises(ValueError):
            torch_data.DataLoader(Numbers(3), **options)


@pytest.mark.parametrize("options", [{"shuffle": True}, {"sampler": [0]}, {"batch_sampler": [[0]]}])
def test_streams_have_no_order_to_choose(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="IterableDataset"):
        DataLoader(Stream(3), **options)


def test_what_is_fixed_cannot_be_changed_later() -> None:
    made = DataLoader(Numbers(3))
    with pytest.raises(ValueError, match="batch_size attribute should not be set"):
        made.batch_size = 2
    made.collate_fn = len
    assert list(made) == [1, 1, 1]


def test_pinned_memory_is_told_not_to_exist() -> None:
    with pytest.warns(UserWarning, match="no accelerator"):
        list(DataLoader(Numbers(1), pin_memory=True))


def test_a_loader_can_be_pickled() -> None:
    again = pickle.loads(pickle.dumps(DataLoader(TensorDataset(cr.arange(3)), 2)))
    assert lists(again) == [[[0, 1]], [[2]]]


# ----- workers -----


@forks
@pytest.mark.parametrize("width", [1, 40_000])
@pytest.mark.parametrize("workers", [1, 3])
def test_workers_give_the_same_batches_in_the_same_order(workers: int, width: int) -> None:
    plain = DataLoader(Numbers(17, width), 4)
    for mine, theirs in zip(plain, loader(Numbers(17, width), workers, batch_size=4), strict=True):
        assert mine[1].tolist() == theirs[1].tolist()
        assert np.array_equal(mine[0].numpy(), theirs[0].numpy()) and theirs[0].numpy().flags.writeable
    assert not children()


@pytest.mark.parametrize("method", [m for m in multiprocessing.get_all_start_methods() if m != "fork"][:1])
def test_workers_may_start_anew(method: str) -> None:
    batches = DataLoader(TensorDataset(cr.arange(5)), 2, num_workers=1, multiprocessing_context=method)
    assert lists(batches) == [[[0, 1]], [[2, 3]], [[4]]]


@forks
def test_shuffling_and_workers_seeds_depend_on_the_seed_alone() -> None:
    class Noise(Numbers):
        def __getitem__(self, index: int) -> Any:
            import random

            return index, get_worker_info().seed, cr.rand(1), np.random.rand(), random.random()  # type: ignore[union-attr]

    def run() -> list[Any]:
        cr.manual_seed(11)
        return lists(loader(Noise(8), 2, batch_size=2, shuffle=True))

    first = run()
    assert run() == first
    assert len({batch[1][0] for batch in first}) == 2
    for part in (2, 3, 4):
        assert len(set(map(str, itertools.chain(*(batch[part] for batch in first))))) == 8


@forks
def test_batches_are_in_order_however_quick_the_workers_are() -> None:
    class Uneven(Numbers):
        def __getitem__(self, index: int) -> int:
            time.sleep(0.05 if index % 4 == 0 else 0)
            return index

    assert lists(loader(Uneven(12), 3)) == [[i] for i in range(12)]
    assert sorted(lists(loader(Uneven(12), 3, in_order=False))) == [[i] for i in range(12)]


@forks
def test_a_worker_knows_itself() -> None:
    class Who(Numbers):
        def __getitem__(self, index: int) -> tuple[int, int, int]:
            info = get_worker_info()
            assert info is not None and info.dataset is self
            return info.id, info.num_workers, info.seed - info.id

    found = lists(loader(Who(4), 2, worker_init_fn=lambda number: None))
    assert [batch[0] for batch in found] == [[0], [1], [0], [1]] and {batch[1][0] for batch in found} == {2}
    assert len({batch[2][0] for batch in found}) == 1
    assert get_worker_info() is None


@forks
def test_streams_are_divided_among_workers() -> None:
    assert sorted(itertools.chain(*lists(loader(Stream(11), 3, batch_size=2)))) == list(range(11))
    assert lists(loader(Stream(4), 2)) == [[0], [1], [2], [3]]


@forks
def test_a_stream_that_ends_early_in_one_worker_goes_on_in_the_others() -> None:
    class Lopsided(IterableDataset[int]):
        def __iter__(self) -> Any:
            return iter(range(6) if get_worker_info().id else ())  # type: ignore[union-attr]

    for persistent in (False, True):
        batches = loader(Lopsided(), 2, persistent_workers=persistent)
        for _ in range(2):
            assert lists(batches) == [[i] for i in range(6)]


@forks
def test_persistent_workers_stay_for_the_next_epoch() -> None:
    class Pid(Numbers):
        def __getitem__(self, index: int) -> tuple[int, int]:
            return os.getpid(), index

    batches = loader(Pid(6), 2, batch_size=1, persistent_workers=True)
    first = lists(batches)
    next(iter(batches))  # an epoch that is broken off
    second = lists(batches)
    assert first == second and len({pid[0] for pid, _ in first}) == 2
    del batches
    gc.collect()
    assert eventually(lambda: not children())


def raise_value_error(index: int) -> Any:
    raise ValueError(f"no item {index}")


def raise_key_error(index: int) -> Any:
    return {}[f"no item {index}"]


class Picky(Exception):
    def __init__(self, code: int, text: str) -> None:
        super().__init__(code, text)


def raise_picky(index: int) -> Any:
    raise Picky(1, f"no item {index}")


def return_what_cannot_travel(index: int) -> Any:
    return lambda: index


class Broken(Numbers):
    def __init__(self, what: Any) -> None:
        super().__init__(4)
        self.what = what

    def __getitem__(self, index: int) -> Any:
        return self.what(index) if index == 2 else index


@forks
@pytest.mark.parametrize(
    ("what", "error"), [(raise_value_error, ValueError), (raise_key_error, KeyError), (raise_picky, RuntimeError)]
)
def test_a_workers_error_is_raised_here_with_its_traceback(what: Any, error: Any) -> None:
    batches = iter(loader(Broken(what), 2))
    assert [next(batches).item(), next(batches).item()] == [0, 1]
    with pytest.raises(error) as caught:
        next(batches)
    text = str(caught.value)
    assert "in DataLoader worker process 0" in text and f"in {what.__name__}" in text and "no item 2" in text
    assert next(batches).item() == 3  # the others are not lost
    with pytest.raises(StopIteration):
        next(batches)


@forks
def test_a_batch_that_cannot_travel_is_an_error_not_a_hang() -> None:
    with pytest.raises(Exception, match="when it pickled its batch"):
        list(loader(Broken(return_what_cannot_travel), 1, batch_size=None))


def fail_to_open() -> Any:
    raise RuntimeError("cannot be opened here")


class OpensBadly:
    def __reduce__(self) -> Any:
        return fail_to_open, ()


@forks
def test_a_batch_that_cannot_be_opened_is_an_error_not_a_hang() -> None:
    with pytest.raises(RuntimeError, match="cannot be opened here"):
        list(loader(Broken(lambda index: OpensBadly()), 1, batch_size=None))


@forks
def test_an_error_in_the_workers_preparation_is_raised_here() -> None:
    def prepare(number: int) -> None:
        raise OSError(f"worker {number} is not ready")

    with pytest.raises(OSError, match="worker 0 is not ready"):
        list(loader(Numbers(4), 2, worker_init_fn=prepare))


class Deadly(Numbers):
    def __init__(self, how: Any) -> None:
        super().__init__(8)
        self.how = how

    def __getitem__(self, index: int) -> int:
        if index == 3:
            self.how()
        return index


@forks
@pytest.mark.parametrize(
    ("how", "text"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGKILL), r"signal 9 \(SIGKILL\)"),
        (lambda: os.kill(os.getpid(), signal.SIGTERM), r"signal 15 \(SIGTERM\)"),
        (lambda: os._exit(3), "exit code 3"),
    ],
)
def test_a_worker_that_dies_is_an_error_not_a_hang(how: Any, text: str) -> None:
    start = time.monotonic()
    with pytest.raises(
        RuntimeError, match=r"DataLoader worker \(pid\(s\) \d+\) exited unexpectedly: pid \d+ .*" + text
    ):
        list(loader(Deadly(how), 2))
    assert time.monotonic() - start < 20
    assert eventually(lambda: not children())


@forks
@pytest.mark.parametrize("width", [1, 100_000])
def test_a_worker_that_is_killed_from_outside_is_an_error_not_a_hang(width: int) -> None:
    batches = iter(loader(Numbers(10_000, width), 2, batch_size=2))
    next(batches)
    victim = sorted(children())[0]
    os.kill(victim, signal.SIGKILL)
    with pytest.raises(RuntimeError, match=rf"pid {victim} was killed by signal 9 \(SIGKILL\)"):
        for _ in batches:
            pass
    assert eventually(lambda: not children())
    with pytest.raises(StopIteration):
        next(batches)


@forks
def test_persistent_workers_that_died_are_replaced() -> None:
    batches = loader(Numbers(4), 1, persistent_workers=True)
    assert len(list(batches)) == 4
    (victim,) = children()
    os.kill(victim, signal.SIGKILL)
    assert eventually(lambda: not children())
    assert len(list(batches)) == 4 and children() != {victim}


@forks
def test_breaking_off_leaves_no_processes() -> None:
    for batch in loader(Numbers(1000, 50_000), 2, batch_size=4):
        assert batch[1].tolist() == [0, 1, 2, 3]
        break
    del batch
    assert eventually(lambda: not children())


@forks
def test_large_batches_that_are_no_arrays_do_not_block() -> None:
    class Text(Numbers):
        def __getitem__(self, index: int) -> str:
            return str(index) * 300_000

    indices = [[i % 6] * 40_000 for i in range(3)]  # a task that is larger than a pipe
    assert [text[0] for (text,) in loader(Text(6), 2, batch_size=1)] == list("012345")
    many = loader(list(range(6)), 1, batch_sampler=indices, prefetch_factor=3)
    assert [batch.sum().item() for batch in many] == [0, 40_000, 80_000]


@forks
def test_a_slow_worker_is_given_up_after_the_timeout() -> None:
    class Slow(Numbers):
        def __getitem__(self, index: int) -> int:
            time.sleep(0.7)
            return index

    with pytest.raises(RuntimeError, match=r"timed out after 0\.1 seconds"):
        list(loader(Slow(1), 1, timeout=0.1))
    assert eventually(lambda: not children())


INTERRUPTED = """
import multiprocessing, os, signal, sys, threading, time
import chainrule as cr
from chainrule.utils.data import DataLoader, Dataset

class Slow(Dataset):
    def __len__(self):
        return 100
    def __getitem__(self, index):
        if index:
            time.sleep(30)
        return index

signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever started the tests may ignore it
batches = iter(DataLoader(Slow(), num_workers=2, multiprocessing_context="fork"))
next(batches)
print(*[process.pid for process in multiprocessing.active_children()], flush=True)
ENDING
"""


@forks
@pytest.mark.parametrize("ending", ["next(batches)", "os._exit(1)"])
def test_no_worker_outlives_its_loader(ending: str) -> None:
    script = INTERRUPTED.replace("ENDING", ending)
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stderr is not None
    pids = [int(pid) for pid in process.stdout.readline().split()]
    assert len(pids) == 2
    if ending == "next(batches)":
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
    errors = process.stderr.read()
    process.wait(30)
    process.stdout.close(), process.stderr.close()
    assert ("KeyboardInterrupt" in errors) == (ending == "next(batches)")
    assert eventually(lambda: all(map(is_gone, pids)))


def test_more_workers_than_processors_are_told() -> None:
    with pytest.warns(UserWarning, match="1000 worker processes"):
        DataLoader(Numbers(3), num_workers=1000)


# ----- memory -----


def test_a_tensor_on_a_mapped_file_shares_its_memory(tmp_path: Path) -> None:
    file = np.memmap(tmp_path / "rows", np.float32, "w+", shape=(100, 3))
    rows = cr.from_numpy(file)
    file[7] = 5
    assert type(rows.numpy()) is np.ndarray and np.may_share_memory(rows.numpy(), file)
    assert lists(DataLoader(TensorDataset(rows), 2, sampler=[7, 8])) == [[[[5.0] * 3, [0.0] * 3]]]


def test_arrays_on_mapped_files_go_to_new_processes_by_name(tmp_path: Path) -> None:
    file = np.memmap(tmp_path / "rows", np.float32, "w+", offset=64, shape=(300_000, 2))
    file[:] = np.arange(600_000, dtype=np.float32).reshape(-1, 2)
    file.flush()
    parts = [np.asarray(file), file[10:20], np.asarray(file)[::-2, 1:], np.asarray(file).T]
    parcel = transport.Parcel([cr.from_numpy(part) for part in parts])
    content = pickle.dumps(parcel)
    assert len(content) < 10_000
    opened = pickle.loads(content).value
    for tensor, part in zip(opened, parts, strict=True):
        assert np.array_equal(tensor.numpy(), part) and transport.place_in_file(tensor.numpy()) is not None
    file[0, 0] = -1
    file.flush()
    assert opened[0][0, 0].item() == -1


def test_private_copies_of_files_go_by_value(tmp_path: Path) -> None:
    np.zeros(5, np.float32).tofile(tmp_path / "rows")
    private = np.memmap(tmp_path / "rows", np.float32, "c")
    private[1] = 3
    assert transport.place_in_file(np.asarray(private)) is None
    assert pickle.loads(pickle.dumps(transport.Parcel(private))).value.tolist() == [0, 3, 0, 0, 0]


@forks
@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="no anonymous shared memory here")
def test_many_large_batches_can_be_kept_without_a_descriptor_each() -> None:
    before = len(os.listdir("/proc/self/fd"))
    kept = list(loader(Numbers(200, 20_000), 2))
    assert len(os.listdir("/proc/self/fd")) - before <= transport.MOST_MAPPINGS + 8
    assert all((batch[0] == i).all() for i, batch in enumerate(kept))
    del kept
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= before + 8 and transport._Mapping.alive == 0


# ----- names -----


def test_pytorchs_paths_lead_here() -> None:
    import importlib

    assert cr.utils.data.DataLoader is DataLoader and set(data.__all__) <= set(dir(data))
    for path, name in [
        ("dataloader", "DataLoader"),
        ("dataloader", "default_collate"),
        ("dataset", "random_split"),
        ("sampler", "SubsetRandomSampler"),
        ("distributed", "DistributedSampler"),
        ("_utils.collate", "default_collate"),
        ("_utils.worker", "get_worker_info"),
    ]:
        assert hasattr(importlib.import_module(f"chainrule.utils.data.{path}"), name)
    torch_data = pytest.importorskip("torch.utils.data")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        missing = {n for n in torch_data.__all__ if not n.startswith("_") and not hasattr(data, n)}
    assert all("Pipe" in n or "Data" in n or "deter" in n or "datapipe" in n or "valid" in n for n in missing), missing


def test_the_loader_takes_pytorchs_arguments() -> None:
    import inspect

    torch_data = pytest.importorskip("torch.utils.data")
    theirs = inspect.signature(torch_data.DataLoader.__init__).parameters.values()
    ours = inspect.signature(DataLoader.__init__).parameters.values()
    assert [(p.name, p.default, p.kind) for p in ours] == [(p.name, p.default, p.kind) for p in theirs]


def test_a_name_that_does_not_exist_says_so() -> None:
    with pytest.raises(AttributeError, match="cpp_extension"):
        cr.utils.cpp_extension
