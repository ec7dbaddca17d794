"""Files that are replaced whole: at any moment the old or the new content is there, never a part of it."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import stat
import time
from collections.abc import Iterator
from typing import IO, Any

__all__ = ["replacing", "replacing_path", "write_whole"]

ABANDONED = 60.0  # seconds after the last write


@contextlib.contextmanager
def replacing_path(path: str | os.PathLike[str]) -> Iterator[str]:
    """The name of a temporary file beside `path` that takes its place at the end of the block.

    The block writes the file and leaves it closed. Its content is on the disk before the name changes; an exception in
    the block removes it and leaves what was at `path` as it was. A link is followed, and the permissions of a file that
    is replaced are kept. Something that cannot be replaced, such as a pipe or /dev/null, is written to itself.

    Raises:
        IsADirectoryError: `path` is a folder.
        OSError: the folder is not there or cannot be written to.
    """
    target = os.path.realpath(path)
    try:
        before = os.stat(target)
    except FileNotFoundError:
        before = None
    if before is not None and stat.S_ISDIR(before.st_mode):
        raise IsADirectoryError(f"{os.fspath(path)} is a folder: give the name of a file")
    if before is not None and not stat.S_ISREG(before.st_mode):
        yield target
        return
    _remove_abandoned(target)
    temporary = _new_file_beside(target)
    lock = _locked(temporary)
    mode = stat.S_IMODE((before or os.stat(temporary)).st_mode)
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.chmod(temporary, mode)
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    finally:
        if lock is not None:
            os.close(lock)
    _sync_folder(os.path.dirname(target))


def _new_file_beside(target: str) -> str:
    folder, name = os.path.split(target)
    while True:
        temporary = os.path.join(folder, f".{name[:200]}.{secrets.token_hex(4)}.tmp")
        with contextlib.suppress(FileExistsError), open(temporary, "xb"):
            return temporary


def _locked(path: str) -> int | None:
    """A handle that holds a lock on a file until it is closed or the process ends; None if somebody else holds it.

    Also None where the system has no such locks.
    """
    try:
        import fcntl
    except ImportError:
        return None
    handle = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    return handle


def _remove_abandoned(target: str) -> None:
    """Remove temporary files for this target that killed processes left behind: old ones that nobody has locked."""
    folder, name = os.path.split(target)
    ours = re.compile(rf"\.{re.escape(name[:200])}\.[0-9a-f]{{8}}\.tmp")
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        found = [entry.path for entry in entries if ours.fullmatch(entry.name)]
        for path in found:
            if time.time() - os.stat(path).st_mtime > ABANDONED:
                lock = _locked(path)
                if lock is not None:
                    os.unlink(path)
                    os.close(lock)


def _sync_folder(folder: str) -> None:
    """Bring the new name itself to the disk, where the system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """A file open for writing that takes the place of `path` at the end of the block; see `replacing_path`."""
    with replacing_path(path) as temporary, open(temporary, "wb") as file:
        yield file


def write_whole(path: str | os.PathLike[str], content: Any) -> None:
    """Write bytes to a file so that at any moment either the old or the new content is there, whole."""
    with replacing(path) as file:
        file.write(content)
