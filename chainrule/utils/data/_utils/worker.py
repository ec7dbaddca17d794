"""What runs in a worker process, and what the loader has to know of it."""

from __future__ import annotations

import os
import pickle
import queue
import random
import threading
import time
import traceback
import warnings
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from ....random import manual_seed
from ....settings import set_num_threads
from .fetch import IterableFetcher, MapFetcher
from .transport import Line, Parcel, pack

__all__ = ["ENDED", "FAILED", "GOOD", "Job", "RemoteError", "WorkerInfo", "get_worker_info", "work"]

GOOD, FAILED, ENDED = "good", "failed", "ended"  # what a worker's answer is: a batch, an error, the end of its stream
WATCH = 5.0  # seconds after which a worker looks whether the loader's process is still there


@dataclass(frozen=True)
class WorkerInfo:
    """A worker as `get_worker_info` describes it.

    Attributes:
        id: 0 to num_workers - 1.
        num_workers: how many there are.
        seed: what its random generators were seeded with.
        dataset: its own copy of the data set.
    """

    id: int
    num_workers: int
    seed: int
    dataset: Any


_worker_info: WorkerInfo | None = None


def get_worker_info() -> WorkerInfo | None:
    """Which worker of a `DataLoader` this process is; None in any other process.

    >>> get_worker_info() is None
    True
    """
    return _worker_info


@dataclass
class Job:
    """What all workers of a loader are given."""

    dataset: Any
    iterable: bool
    auto_collation: bool
    collate_fn: Any
    drop_last: bool
    base_seed: int
    init_fn: Any
    num_workers: int


class RemoteError:
    """An exception of another process, with its traceback as text."""

    def __init__(self, error: BaseException, where: str) -> None:
        self.kind: type[BaseException] = type(error)
        self.text = "".join(traceback.format_exception(error))
        self.where = where
        self.name = type(error).__name__
        try:
            pickle.dumps(self.kind)
        except Exception:  # a class that only the worker knows
            self.kind = RuntimeError

    def reraise(self) -> NoReturn:
        """Raise an exception of the same type, with the worker's traceback in its message.

        Raises:
            Exception: that one; a RuntimeError where its type cannot be made from a message.
        """
        message = f"Caught {self.name} {self.where}.\nOriginal {self.text}"
        if issubclass(self.kind, KeyError):  # would show the repr of its message
            message = _Verbatim(message)
        try:
            error = self.kind(message)
        except Exception:
            error = RuntimeError(message)
        try:
            raise error
        finally:
            del error  # its traceback would hold it in a cycle, and with it the loader's workers


class _Verbatim(str):
    def __repr__(self) -> str:
        return str(self)


def work(connection: Any, others: list[Any], parcel: Parcel, worker_id: int) -> None:
    """A worker's life: for each task a batch, until told to stop or left alone.

    Args:
        connection: to the loader. A task is (epoch, number, indices); None means stop.
        others: the loader's ends of connections, of which a forked process has copies that would keep them open.
        parcel: the `Job`.
        worker_id: 0 to num_workers - 1.
    """
    global _worker_info
    for other in others:
        other.close()
    job: Job = parcel.value
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # where the library of matrix products cannot be told
        set_num_threads(1)  # the workers are the threads
    seed = job.base_seed + worker_id
    random.seed(seed)
    manual_seed(seed)
    np.random.seed(np.random.SeedSequence((job.base_seed, worker_id)).generate_state(4))
    _worker_info = WorkerInfo(worker_id, job.num_workers, seed, job.dataset)
    where = f"in DataLoader worker process {worker_id}"
    line = Line(connection)
    inbox = Inbox(connection)
    failure = fetcher = None
    make_fetcher = IterableFetcher if job.iterable else MapFetcher
    epoch = -1
    try:
        if job.init_fn is not None:
            try:
                job.init_fn(worker_id)
            except Exception as error:
                failure = RemoteError(error, where)
        while (task := inbox.next()) is not None:
            if task[0] != inbox.epoch:  # the loader has begun anew since
                continue
            if task[0] != epoch:
                epoch = task[0]
                fetcher = None
            status, batch = GOOD, None
            try:
                if failure is None:
                    if fetcher is None:
                        fetcher = make_fetcher(job.dataset, job.auto_collation, job.collate_fn, job.drop_last)
                    batch = fetcher.fetch(task[2])
            except Exception as error:
                if job.iterable and isinstance(error, StopIteration):
                    status = ENDED
                else:
                    status, batch = FAILED, RemoteError(error, where)
            if failure is not None:
                status, batch = FAILED, failure
            try:
                packed = pack(batch)
            except Exception as error:
                status, packed = FAILED, pack(RemoteError(error, where + ", when it pickled its batch"))
            line.send((task[0], task[1], status), packed)
            del batch, packed
    except KeyboardInterrupt:
        pass  # the main process is interrupted as well, and knows better what to do
    except OSError:
        pass  # it has closed the connection


class Inbox:
    """A worker's tasks, received by a thread, so that the loader never waits to send one.

    The thread also ends the process if the loader's has died without a word.
    """

    def __init__(self, connection: Any) -> None:
        self.epoch = -1
        self._tasks: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._connection = connection
        self._parent = os.getppid()
        threading.Thread(target=self._receive, daemon=True).start()

    def next(self) -> Any:
        """The next task; waits for it. None at the end."""
        return self._tasks.get()

    def _receive(self) -> None:
        task: Any = ()
        while task is not None:
            try:
                if not self._connection.poll(WATCH):
                    if os.getppid() != self._parent:
                        os._exit(1)
                    continue
                task = self._connection.recv()
            except (EOFError, OSError):
                task = None
            if task is not None:
                self.epoch = task[0]
            self._tasks.put(task)
        while os.getppid() == self._parent:  # the task at hand may take long
            time.sleep(0.2)
        os._exit(1)
