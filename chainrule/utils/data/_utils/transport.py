"""How data sets reach worker processes and batches come back.

A batch travels as its pickle and, outside of it, the memory of its arrays. Small batches go through the pipe. Large
ones are written to anonymous shared memory, of which only the file descriptor is sent: it has no name that a killed
process could leave behind, and no limit but the machine's memory. The receiver's arrays lie on that memory.

Arrays on memory-mapped files go to workers as the name of the file and the place in it.
"""

from __future__ import annotations

import io
import mmap
import os
import pickle
import socket
import sys
from multiprocessing.reduction import ForkingPickler
from typing import Any

import numpy as np

__all__ = ["Line", "Parcel", "pack", "place_in_file", "unpack"]

SHARED_FROM = 1 << 16  # bytes from which shared memory is quicker than the pipe
MOST_MAPPINGS = 128  # each holds a file descriptor before Python 3.13
ALIGNMENT = 64


# ----- batches ----------------------------------------------------------------------------------------------------


class Line:
    """One end of the connection between the loader and a worker: messages and batches.

    Args:
        connection: one end of a duplex `multiprocessing.Pipe`.
    """

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self._socket: socket.socket | None = None

    def fileno(self) -> int:
        """For `multiprocessing.connection.wait`."""
        return self.connection.fileno()  # type: ignore[no-any-return]

    def close(self) -> None:
        """Close this end."""
        self.connection.close()
        if self._socket is not None:
            self._socket.close()

    def send(self, message: Any, packed: list[memoryview]) -> None:
        """Send a small message and a batch that `pack` has prepared.

        Raises:
            OSError: the other end is closed.
        """
        sizes = [part.nbytes for part in packed]
        total = sum(map(_padded, sizes))
        descriptor = _shared_memory(packed, total) if total >= SHARED_FROM else None
        self.connection.send((message, sizes, descriptor is not None))
        if descriptor is None:
            self.connection.send_bytes(b"".join(_with_padding(packed)))
            return
        try:
            socket.send_fds(self._as_socket(), [b"\0"], [descriptor])
        finally:
            os.close(descriptor)

    def receive(self) -> tuple[Any, list[memoryview]]:
        """The next message and its batch, for `unpack`; waits for them.

        Raises:
            EOFError, OSError: the other end is closed.
        """
        message, sizes, shared = self.connection.recv()
        total = sum(map(_padded, sizes))
        if shared:
            _, descriptors, _, _ = socket.recv_fds(self._as_socket(), 1, 1)
            if not descriptors:
                raise EOFError
            try:
                memory = memoryview(_mapped(descriptors[0], total))
            finally:
                os.close(descriptors[0])
        else:
            memory = memoryview(bytearray(total))
            self.connection.recv_bytes_into(memory)
        packed = []
        start = 0
        for size in sizes:
            packed.append(memory[start : start + size])
            start += _padded(size)
        return message, packed

    def _as_socket(self) -> socket.socket:
        if self._socket is None:
            self._socket = socket.socket(fileno=os.dup(self.connection.fileno()))
        return self._socket


def pack(batch: Any) -> list[memoryview]:
    """A batch as its pickle and the memory of its arrays.

    Raises:
        Exception: whatever pickling it raises.
    """
    buffers: list[pickle.PickleBuffer] = []
    stream = pickle.dumps(batch, 5, buffer_callback=buffers.append)
    return [memoryview(stream), *(buffer.raw() for buffer in buffers)]


def unpack(packed: list[memoryview]) -> Any:
    """The batch; its arrays lie on the memory that was received."""
    return pickle.loads(packed[0], buffers=packed[1:])


def _padded(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _with_padding(parts: list[memoryview]) -> list[Any]:
    padded: list[Any] = []
    for part in parts:
        padded += (part, bytes(_padded(part.nbytes) - part.nbytes))
    return padded


def _shared_memory(parts: list[memoryview], total: int) -> int | None:
    """A descriptor of new shared memory that holds the parts; None where there is no such memory."""
    if not hasattr(os, "memfd_create"):
        return None
    descriptor = os.memfd_create("chainrule-batch")
    try:
        with open(descriptor, "wb", closefd=False) as file:
            for part in _with_padding(parts):
                file.write(part)
    except OSError:  # no memory left for it: the pipe may still do
        os.close(descriptor)
        return None
    return descriptor


class _Mapping(mmap.mmap):
    """A memory map that is counted."""

    alive = 0

    def __del__(self) -> None:
        _Mapping.alive -= 1


def _mapped(descriptor: int, size: int) -> Any:
    """The memory behind a descriptor, mapped; read into memory of our own if too many mappings are held already."""
    options: dict[str, Any] = {"flags": mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0)}
    if sys.version_info >= (3, 13):
        options["trackfd"] = False
    if sys.version_info >= (3, 13) or _Mapping.alive < MOST_MAPPINGS:
        try:
            mapping = _Mapping(descriptor, size, **options)
        except OSError:
            pass
        else:
            _Mapping.alive += 1
            return mapping
    memory = bytearray(size)
    os.lseek(descriptor, 0, os.SEEK_SET)
    with open(descriptor, "rb", closefd=False) as file:
        file.readinto(memory)
    return memory


# ----- data sets --------------------------------------------------------------------------------------------------


class Parcel:
    """A value to be given to a new process; where it must be pickled, arrays on memory-mapped files are not copied."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __reduce__(self) -> tuple[Any, ...]:
        file = io.BytesIO()
        _ParcelPickler(file, pickle.HIGHEST_PROTOCOL).dump(self.value)
        return _open_parcel, (file.getvalue(),)


def _open_parcel(content: bytes) -> Parcel:
    return Parcel(pickle.loads(content))


class _ParcelPickler(ForkingPickler):
    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, np.ndarray):
            place = place_in_file(value)
            if place is not None:
                return _array_in_file, place
        return NotImplemented


def place_in_file(array: np.ndarray[Any, Any]) -> tuple[Any, ...] | None:
    """Where in a memory-mapped file an array lies; None for another array, or for a private copy of a file."""
    root = None
    owner: Any = array
    while isinstance(owner, np.ndarray):
        if isinstance(owner, np.memmap):
            root = owner
        owner = owner.base
    if root is None or not isinstance(owner, mmap.mmap) or not root.filename or root.mode not in ("r", "r+", "w+"):
        return None
    start = array.__array_interface__["data"][0] - root.__array_interface__["data"][0] + root.offset
    mode = "r" if root.mode == "r" else "r+"
    return str(root.filename), mode, array.dtype, start, array.shape, array.strides


def _array_in_file(
    name: str, mode: str, dtype: np.dtype[Any], start: int, shape: tuple[int, ...], strides: tuple[int, ...]
) -> np.ndarray[Any, Any]:
    whole = np.memmap(name, np.uint8, mode)  # type: ignore[call-overload]
    return np.ndarray(shape, dtype, whole, start, strides)
