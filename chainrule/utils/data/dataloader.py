"""`DataLoader`: batches of a data set, in the order of a sampler, made here or in worker processes.

With workers, each has a connection of its own: tasks (lists of indices) go there, batches come back, and a worker that
dies closes it, which is noticed at once. There is no lock that a killed process could have held. Batches are handed out
in the order of their tasks, whichever worker is quicker.
"""

from __future__ import annotations

import itertools
import math
import multiprocessing
import os
import signal
import time
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import wait
from typing import Any, ClassVar, Generic, NoReturn, TypeVar

from ...random import Generator
from ._utils.collate import default_collate, default_convert
from ._utils.fetch import IterableFetcher, MapFetcher
from ._utils.transport import Line, Parcel, unpack
from ._utils.worker import ENDED, FAILED, Job, RemoteError, get_worker_info, work
from .dataset import Dataset, IterableDataset
from .sampler import BatchSampler, RandomSampler, Sampler, SequentialSampler, draw_seed

__all__ = ["DataLoader", "default_collate", "default_convert", "get_worker_info"]

T_co = TypeVar("T_co", covariant=True)
GRACE = 5.0  # seconds that workers have to finish what they do, when no more batches are wanted
HURRY = 0.5  # when the user interrupts
LOOK = 5.0  # seconds between looks whether workers live, besides their connections
FIXED = frozenset(("batch_size", "batch_sampler", "sampler", "drop_last", "dataset", "persistent_workers"))


class DataLoader(Generic[T_co]):
    """Batches of a data set.

    Args:
        dataset: items by index (`__getitem__`, `__len__`), or an `IterableDataset`.
        batch_size: how many items to a batch; None for single items without a batch's dimension.
        shuffle: a new random order in each epoch.
        sampler: an iterable of indices, instead of shuffle.
        batch_sampler: an iterable of lists of indices, instead of batch_size, shuffle, sampler and drop_last.
        num_workers: how many processes load; 0 for this one.
        collate_fn: from a list of items to a batch; `default_collate` if left out.
        pin_memory: for accelerators; only warns here.
        drop_last: leave out a last batch that is not full.
        timeout: seconds to wait for a batch from a worker; 0 for ever.
        worker_init_fn: called in each worker with its number.
        multiprocessing_context: how workers start: "fork", "spawn", "forkserver" or a context.
        generator: the source of the random order and of the workers' seeds; if left out, the default generator.
        prefetch_factor: how many batches each worker loads ahead; 2 if left out.
        persistent_workers: keep the workers for the next epoch.
        pin_memory_device: deprecated, without effect.
        in_order: False to hand out batches of workers as they come.

    Raises:
        ValueError: arguments that exclude one another or are out of range; shuffling an empty data set.

    While iterating, an exception of a worker is raised with its type and the worker's traceback, and a worker that
    dies is a RuntimeError that names its process and signal.

    >>> import chainrule as cr
    >>> from chainrule.utils.data import TensorDataset
    >>> data = TensorDataset(cr.arange(10).reshape(5, 2), cr.arange(5))
    >>> for x, label in DataLoader(data, batch_size=2):
    ...     print(x.shape, label.tolist())
    (2, 2) [0, 1]
    (2, 2) [2, 3]
    (1, 2) [4]
    """

    _initialized = False

    def __init__(
        self,
        dataset: Dataset[T_co],
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Sampler[Any] | Iterable[Any] | None = None,
        batch_sampler: Sampler[list[Any]] | Iterable[list[Any]] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], None] | None = None,
        multiprocessing_context: Any = None,
        generator: Generator | None = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
        in_order: bool = True,
    ) -> None:
        if num_workers < 0:
            raise ValueError(
                f"num_workers option should be non-negative, got {num_workers}; 0 workers load in this process"
            )
        if timeout < 0:
            raise ValueError(f"timeout option should be non-negative, got {timeout}")
        if num_workers == 0 and prefetch_factor is not None:
            raise ValueError("prefetch_factor option could only be specified in multiprocessing: set num_workers > 0")
        if prefetch_factor is not None and prefetch_factor <= 0:
            raise ValueError(f"prefetch_factor option should be positive, got {prefetch_factor}")
        if persistent_workers and num_workers == 0:
            raise ValueError("persistent_workers option needs num_workers > 0")

        iterable = isinstance(dataset, IterableDataset)
        if iterable:
            given = {"shuffle": shuffle or None, "sampler": sampler, "batch_sampler": batch_sampler}
            for name, value in given.items():
                if value is not None:
                    raise ValueError(
                        f"DataLoader with IterableDataset: expected unspecified {name} option, but got {name}={value}"
                    )
        if sampler is not None and shuffle:
            raise ValueError("sampler option is mutually exclusive with shuffle")
        if batch_sampler is not None:
            if batch_size != 1 or shuffle or sampler is not None or drop_last:
                raise ValueError(
                    "batch_sampler option is mutually exclusive with batch_size, shuffle, sampler, and drop_last"
                )
            batch_size = None
        elif batch_size is None and drop_last:
            raise ValueError("batch_size=None option disables auto-batching and is mutually exclusive with drop_last")
        indices: Any = sampler
        if sampler is None:
            if iterable:
                indices = _Endless()
            elif shuffle:
                indices = RandomSampler(dataset, generator=generator)  # type: ignore[arg-type]
            else:
                indices = SequentialSampler(dataset)  # type: ignore[arg-type]
        if batch_size is not None:
            batch_sampler = BatchSampler(indices, batch_size, drop_last)

        self.dataset = dataset
        self.batch_size = batch_size
        self.drop_last = drop_last
        self.sampler = indices
        self.batch_sampler = batch_sampler
        self.num_workers = num_workers
        self.prefetch_factor = 2 if num_workers and prefetch_factor is None else prefetch_factor
        self.pin_memory = pin_memory
        self.pin_memory_device = pin_memory_device
        self.timeout = timeout
        self.worker_init_fn = worker_init_fn
        self.multiprocessing_context = multiprocessing_context
        self.generator = generator
        self.collate_fn = collate_fn or (default_convert if batch_sampler is None else default_collate)
        self.persistent_workers = persistent_workers
        self.in_order = in_order
        self._iterator: _WorkersIterator | None = None
        self._length_told: int | None = None  # what len() said of a stream
        self._initialized = True
        self.check_worker_number_rationality()

    def __setattr__(self, name: str, value: Any) -> None:
        if self._initialized and name in FIXED:
            raise ValueError(f"{name} attribute should not be set after {type(self).__name__} is initialized")
        super().__setattr__(name, value)

    @property
    def multiprocessing_context(self) -> Any:
        """How workers start: a context of `multiprocessing`, or None for Python's default."""
        return self._context

    @multiprocessing_context.setter
    def multiprocessing_context(self, context: Any) -> None:
        if context is not None:
            if not self.num_workers:
                raise ValueError(
                    "multiprocessing_context can only be used with multi-process loading (num_workers > 0), but got "
                    f"num_workers={self.num_workers}"
                )
            if isinstance(context, str):
                methods = multiprocessing.get_all_start_methods()
                if context not in methods:
                    raise ValueError(
                        f"multiprocessing_context option should specify a valid start method in {methods!r}, but got "
                        f"multiprocessing_context={context!r}"
                    )
                context = multiprocessing.get_context(context)
            if not isinstance(context, multiprocessing.context.BaseContext):
                raise TypeError(
                    "multiprocessing_context option should be a valid context object or a string specifying the start "
                    f"method, but got multiprocessing_context={context}"
                )
        self._context = context

    @property
    def _auto_collation(self) -> bool:
        return self.batch_sampler is not None

    @property
    def _index_sampler(self) -> Any:
        return self.sampler if self.batch_sampler is None else self.batch_sampler

    @property
    def _streams(self) -> bool:
        return isinstance(self.dataset, IterableDataset)

    def __iter__(self) -> Iterator[Any]:
        if self.persistent_workers and self._iterator is not None and self._iterator.start_again(self):
            return self._iterator
        iterator = self._get_iterator()
        if self.persistent_workers:
            assert isinstance(iterator, _WorkersIterator)
            self._iterator = iterator
        return iterator

    def _get_iterator(self) -> _Iterator:
        return _WorkersIterator(self) if self.num_workers else _Iterator(self)

    def __len__(self) -> int:
        if not self._streams:
            return len(self._index_sampler)
        length = self._length_told = len(self.dataset)  # type: ignore[arg-type]
        if self.batch_size is not None:
            return length // self.batch_size if self.drop_last else math.ceil(length / self.batch_size)
        return length

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_iterator": None}

    def check_worker_number_rationality(self) -> None:
        """Warn if there are more workers than processors that this process may use."""
        if not self.num_workers:
            return
        available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        if available is not None and self.num_workers > available:
            warnings.warn(
                f"This DataLoader will create {self.num_workers} worker processes, more than the suggested max number "
                f"of worker in current system, which is {available}: they may slow one another down.",
                stacklevel=3,
            )


class _Endless(Sampler[None]):
    """Stands in for the indices of a stream."""

    def __iter__(self) -> Iterator[None]:
        return itertools.repeat(None)


class _Iterator(Iterator[Any]):
    """Batches made in this process."""

    def __init__(self, loader: DataLoader[Any]) -> None:
        if loader.pin_memory:
            warnings.warn(
                "'pin_memory' argument is set as true but no accelerator is found, then device pinned memory won't be "
                "used.",
                stacklevel=4,
            )
        self._base_seed = draw_seed(loader.generator)
        self._begin(loader)
        if not loader.num_workers:
            make = IterableFetcher if loader._streams else MapFetcher
            self._fetch = make(loader.dataset, loader._auto_collation, loader.collate_fn, loader.drop_last).fetch

    def _begin(self, loader: DataLoader[Any]) -> None:
        self._sampler = loader._index_sampler
        self._indices = iter(self._sampler)
        self._handed_out = 0
        self._length_told = loader._length_told if loader._streams else None

    def _next_batch(self) -> Any:
        return self._fetch(next(self._indices))

    def __next__(self) -> Any:
        batch = self._next_batch()
        if self._length_told is not None:
            self._handed_out += 1
            if self._handed_out > self._length_told:
                self._warn_of_length()
        return batch

    def _warn_of_length(self) -> None:
        warnings.warn(
            f"Length of IterableDataset was reported to be {self._length_told} (when accessing len(dataloader)), but "
            f"{self._handed_out} samples have been fetched. With workers, each goes through a copy of the whole stream "
            "unless the data set divides it: see IterableDataset.",
            stacklevel=3,
        )

    def __len__(self) -> int:
        return len(self._sampler)

    def __reduce__(self) -> NoReturn:
        raise NotImplementedError(f"{type(self).__name__} cannot be pickled")


class _Worker:
    """A worker as the loader sees it."""

    _our_ends: ClassVar[weakref.WeakSet[Any]] = weakref.WeakSet()  # a forked process has copies of them

    def __init__(self, context: Any, parcel: Parcel, number: int) -> None:
        ours, theirs = context.Pipe(duplex=True)
        self.line = Line(ours)
        self._our_ends.add(ours)
        inherited = list(self._our_ends) if context.get_start_method() == "fork" else []
        name = f"DataLoader worker {number}"
        self.process = context.Process(target=work, args=(theirs, inherited, parcel, number), name=name, daemon=True)
        try:
            self.process.start()
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self.active = True  # takes tasks
        self.tasks = 0  # how many it has


class _WorkersIterator(_Iterator):
    """Batches made by workers."""

    def __init__(self, loader: DataLoader[Any]) -> None:
        super().__init__(loader)  # keeps no reference to the loader, which may hold its iterator
        self._timeout = loader.timeout
        self._in_order = loader.in_order
        self._persistent = loader.persistent_workers
        self._ahead = (loader.prefetch_factor or 2) * loader.num_workers
        context = loader.multiprocessing_context or multiprocessing.get_context()
        job = Job(
            loader.dataset,
            loader._streams,
            loader._auto_collation,
            loader.collate_fn,
            loader.drop_last,
            self._base_seed,
            loader.worker_init_fn,
            loader.num_workers,
        )
        self._epoch = 0
        self._workers: list[_Worker] = []
        self._close = weakref.finalize(self, stop_workers, self._workers, os.getpid())
        try:
            for number in range(loader.num_workers):
                self._workers.append(_Worker(context, Parcel(job), number))
            self._set_off()
        except BaseException:
            self._close()
            raise

    def start_again(self, loader: DataLoader[Any]) -> bool:
        """Begin another epoch with the same workers; False if they have gone."""
        if not self._close.alive or not all(worker.process.is_alive() for worker in self._workers):
            self._close()
            return False
        self._epoch += 1
        self._begin(loader)
        self._set_off()
        return True

    def _set_off(self) -> None:
        self._sent = 0  # how many tasks, ever
        self._wanted = 0  # the task whose batch comes next
        self._tasks: dict[int, _Worker] = {}  # those without an answer
        self._answers: dict[int, tuple[str, Any]] = {}  # those that came before their turn
        self._more = True
        self._turns = itertools.cycle(self._workers)
        for worker in self._workers:
            worker.active, worker.tasks = True, 0
        for _ in range(self._ahead):
            self._send_task()

    def _send_task(self) -> None:
        """Give the next indices to the worker whose turn it is."""
        if not self._more:
            return
        worker = self._next_worker()
        if worker is None:
            return
        try:
            index = next(self._indices)
        except StopIteration:
            self._more = False
            return
        try:
            worker.line.connection.send((self._epoch, self._sent, index))
        except OSError:
            self._died()
        worker.tasks += 1
        self._tasks[self._sent] = worker
        self._sent += 1

    def _next_worker(self) -> _Worker | None:
        if not self._in_order:
            return min((w for w in self._workers if w.active), key=lambda w: w.tasks, default=None)
        return next((w for w in itertools.islice(self._turns, len(self._workers)) if w.active), None)

    def _next_batch(self) -> Any:
        if not self._close.alive:
            raise StopIteration
        try:
            while True:
                while self._wanted < self._sent and not (self._wanted in self._tasks or self._wanted in self._answers):
                    self._wanted += 1  # of a stream that ended before
                if self._wanted in self._answers:
                    number = self._wanted
                elif self._answers and not self._in_order:
                    number = next(iter(self._answers))
                elif self._tasks:
                    self._receive()
                    continue
                else:
                    break
                status, batch = self._answers.pop(number)
                self._send_task()
                if status == FAILED:
                    batch.reraise()
                return batch
        except Exception:
            raise
        except BaseException:  # KeyboardInterrupt, perhaps in the middle of a message
            stop_workers(self._workers, os.getpid(), HURRY)
            self._close()
            raise
        if not self._persistent:
            self._close()
        raise StopIteration

    def _receive(self) -> None:
        """Take one answer from whichever worker has one; waits for it.

        Raises:
            RuntimeError: a worker died, or none answered in time.
        """
        limit = self._timeout
        deadline = time.monotonic() + limit if limit > 0 else math.inf
        connections = [worker.line.connection for worker in self._workers]
        ready: list[Any] = []
        while not ready:
            left = deadline - time.monotonic()
            if left <= 0:
                self._close()
                raise RuntimeError(f"DataLoader timed out after {limit} seconds")
            ready = wait(connections, min(left, LOOK))
            if not ready and not all(worker.process.is_alive() for worker in self._workers):
                self._died()
        for worker in self._workers:
            if worker.line.connection in ready:
                try:
                    (epoch, number, status), packed = worker.line.receive()
                except (EOFError, OSError):
                    self._died()
                if epoch == self._epoch:
                    self._answered(worker, number, status, packed)

    def _answered(self, worker: _Worker, number: int, status: str, packed: list[memoryview]) -> None:
        if self._tasks.pop(number, None) is None:  # of a stream that has told its end before
            return
        worker.tasks -= 1
        if status != ENDED:
            try:
                self._answers[number] = status, unpack(packed)
            except Exception as error:
                self._answers[number] = FAILED, RemoteError(error, "when a DataLoader worker's batch was unpickled")
            return
        worker.active = False
        self._tasks = {n: w for n, w in self._tasks.items() if w is not worker}
        self._send_task()

    def _died(self) -> NoReturn:
        """A connection broke: say which worker it was, and what became of it.

        Raises:
            RuntimeError: always.
        """
        deadline = time.monotonic() + 1
        dead: list[_Worker] = []
        while not dead and time.monotonic() < deadline:
            dead = [worker for worker in self._workers if not worker.process.is_alive()]
            time.sleep(0 if dead else 0.01)
        fates = ", ".join(f"pid {worker.process.pid} {fate_of(worker.process.exitcode)}" for worker in dead)
        pids = ", ".join(str(worker.process.pid) for worker in dead)
        self._close()
        raise RuntimeError(f"DataLoader worker (pid(s) {pids}) exited unexpectedly: {fates or 'connection lost'}")


def fate_of(exitcode: int | None) -> str:
    """How a process ended, in words."""
    if exitcode is None or exitcode >= 0:
        return f"ended with exit code {exitcode}"
    try:
        name = signal.Signals(-exitcode).name
    except ValueError:
        name = "unknown"
    hint = "; the system may have been out of memory" if name == "SIGKILL" else ""
    return f"was killed by signal {-exitcode} ({name}){hint}"


def stop_workers(workers: list[_Worker], owner: int, grace: float = GRACE) -> None:
    """End the workers: ask, wait, insist. Does nothing in a copy of the process that started them."""
    if os.getpid() != owner:
        return
    for worker in workers:
        try:
            worker.line.connection.send(None)
        except OSError:
            pass
        worker.line.close()
    deadline = time.monotonic() + grace
    for worker in workers:
        worker.process.join(max(0.0, deadline - time.monotonic()))
    for end in ("terminate", "kill"):
        left = [worker for worker in workers if worker.process.is_alive()]
        for worker in left:
            getattr(worker.process, end)()
        for worker in left:
            worker.process.join(1)
    workers.clear()
