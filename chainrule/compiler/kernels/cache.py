"""Machine code of kernels, kept on disk: a second process starts without compiling, and without Numba.

Each kernel has one file, named by a hash of all that its machine code depends on: its text and types, the versions of
what compiles it, and the processor. A file is a checksum and an object file. It is written under another name and then
renamed, so that a process never sees half a file; one that is damaged is compiled again and replaced.

The files are in the user's cache directory. CHAINRULE_CACHE_DIR names another; CHAINRULE_CACHE=0 turns the store off.
As with Python's own __pycache__, whoever can write to the directory decides what runs.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import os
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...core.recipe import user_level
from .helpers import ahead, compile_all
from .kinds import NumberKind
from .loading import load

__all__ = ["KernelError", "Text", "cache_directory", "expecting", "is_kept", "load_kernel", "load_kernels"]

FORMAT = 2  # of the files
DIGEST = hashlib.sha256().digest_size
LARGEST = 256 << 20  # bytes in all the files; beyond, those that were used longest ago go

_kernels: dict[str, Callable[..., Any]] = {}  # this process's, by key
_unwritable: set[Path] = set()  # directories that the user was warned of
_lock = threading.RLock()


def _forget() -> None:
    """In a forked child nobody is left who would give the lock back."""
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


class KernelError(RuntimeError):
    """A kernel that Numba cannot compile.

    Attributes:
        name: of the kernel.
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"the kernel {name} cannot be compiled: {reason}")
        self.name = name


class Text(NamedTuple):
    """A kernel: a module's text, the name of a function that it defines, and what that takes."""

    source: str
    name: str
    parameters: tuple[NumberKind, ...]


def load_kernel(source: str, name: str, parameters: tuple[NumberKind, ...]) -> Callable[..., Any]:
    """The function `name` that the module text `source` defines, as machine code; it returns None.

    The code comes from this process, from the disk, or from Numba, in this order. It is compiled with NumPy's rules for
    division, and arrays are given without a look at their sizes.

    Raises:
        KernelError: the text is nothing that Numba can compile.

    >>> from chainrule.compiler.kernels.kinds import float64
    >>> source = "def double(x):\\n    for i in range(x.size):\\n        x[i] *= 2"
    >>> double = load_kernel(source, "double", (float64[::1],))  # doctest: +SKIP
    """
    (found,) = load_kernels([Text(source, name, parameters)])
    if isinstance(found, KernelError):
        raise found
    return found


def load_kernels(texts: Sequence[Text]) -> list[Callable[..., Any] | KernelError]:
    """For each text its function, or why there is none; what has to be compiled is so at the same time."""
    keys = list(map(kernel_key, texts))
    errors: dict[str, KernelError] = {}
    with _lock:
        directory = cache_directory()
        missing = {}
        for key, text in zip(keys, texts, strict=True):
            if key not in _kernels and not (directory and load_file(file_of(directory, text, key), text, key)):
                missing[key] = text
        jobs = [(text.source, text.name, text.parameters, key) for key, text in missing.items()]
        for (key, text), code in zip(missing.items(), compile_all(jobs) if jobs else [], strict=True):
            if isinstance(code, str):
                errors[key] = KernelError(text.name, code)
                continue
            _kernels[key] = load(code, text.name, key)
            if directory is not None:
                save(file_of(directory, text, key), code, key)
        return [errors.get(key) or _kernels[key] for key in keys]


def is_kept(text: Text) -> bool:
    """Whether a kernel need not be compiled, as far as one can see without loading it."""
    key, directory = kernel_key(text), cache_directory()
    return key in _kernels or (directory is not None and file_of(directory, text, key).exists())


@contextlib.contextmanager
def expecting(program: str) -> Iterator[None]:
    """Inside, the kernels of a program will be loaded: unless they seem to be on disk, get ready to compile.

    An empty file says that they are. Where it is wrong, compiling takes longer.

    Args:
        program: what is likely to be the same whenever the kernels are.
    """
    directory = cache_directory()
    mark = None
    if directory is not None:
        key = hashlib.sha256(repr((surroundings(), program)).encode()).hexdigest()[:32]
        mark = directory / f"{key}.kernels"
    if mark is not None and mark.exists():
        yield
        return
    with ahead():
        yield
    if mark is not None:
        with contextlib.suppress(OSError):
            mark.touch()


# ----- the key -----


def kernel_key(text: Text) -> str:
    """A hash of all that the kernel's machine code depends on."""
    parts = (surroundings(), text.source, text.name, repr(text.parameters))
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


@functools.cache
def surroundings() -> tuple[Any, ...]:
    """What machine code depends on besides the kernel: versions, processor, Numba's settings, our functions' text."""
    from llvmlite import binding as llvm

    versions = (FORMAT, np.__version__, sys.version, sys.flags.optimize, *map(version_of, ("numba", "llvmlite")))
    features = llvm.get_host_cpu_features().flatten()
    processor = (llvm.get_process_triple(), llvm.get_host_cpu_name(), features)
    settings = sorted(item for item in os.environ.items() if item[0].startswith("NUMBA_"))
    functions = hashlib.sha256()  # what kernels import from this package, and what compiles them
    for path in sorted(Path(__file__).parent.glob("*.py")):
        functions.update(path.read_bytes())
    return (versions, processor, settings, functions.hexdigest())


def version_of(package: str) -> str:
    """Which version of a package is installed, as a hash of the file that says so; the package is not imported."""
    found = importlib.util.find_spec(package)
    assert found is not None and found.origin is not None
    return hashlib.sha256(Path(found.origin).with_name("_version.py").read_bytes()).hexdigest()


# ----- the directory -----


def cache_directory() -> Path | None:
    """Where kernels are kept; None where they are not: turned off, or the directory cannot be written.

    The latter gives a warning, once for each directory.
    """
    if os.environ.get("CHAINRULE_CACHE", "1").strip().lower() in ("0", "false", "no", "off"):
        return None
    directory = wanted_directory()
    if directory in _unwritable:
        return None
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=directory).close()
    except OSError as error:
        unusable(directory, error)
        return None
    return directory


def wanted_directory() -> Path:
    """The directory for kernels by the environment and the platform's convention."""
    chosen = os.environ.get("CHAINRULE_CACHE_DIR")
    if chosen:
        return Path(chosen).expanduser().absolute()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or os.path.join("~", "AppData", "Local")
    elif sys.platform == "darwin":
        base = os.path.join("~", "Library", "Caches")
    else:
        base = os.environ.get("XDG_CACHE_HOME") or os.path.join("~", ".cache")
    return Path(os.path.expanduser(base)).absolute() / "chainrule" / "kernels"


def unusable(directory: Path, error: OSError) -> None:
    """Warn that kernels will not be kept."""
    if directory not in _unwritable:
        _unwritable.add(directory)
        warnings.warn(
            f"compiled kernels cannot be kept in {directory} ({error.strerror or error}), so every process compiles "
            "them again: set CHAINRULE_CACHE_DIR to a directory that can be written, or CHAINRULE_CACHE=0",
            stacklevel=user_level(),
        )


# ----- a file -----


def file_of(directory: Path, text: Text, key: str) -> Path:
    return directory / f"{text.name}-{key}.kernel"


def load_file(path: Path, text: Text, key: str) -> bool:
    """Take a kernel from its file; False if there is none, or none that can be used."""
    try:
        content = path.read_bytes()
    except OSError:
        return False
    code = content[DIGEST:]
    if checksum(code, key) != content[:DIGEST]:
        return False
    _kernels[key] = load(code, text.name, key)
    try:
        os.utime(path)  # used now
    except OSError:
        pass
    return True


def checksum(code: bytes, key: str) -> bytes:
    """Of a kernel's machine code; that of another kernel has another one in any case."""
    return hashlib.sha256(key.encode() + code).digest()


def save(path: Path, code: bytes, key: str) -> None:
    """Write a kernel's file, or warn that it cannot be."""
    temporary = f"{path}.{os.getpid()}.{threading.get_ident()}"
    try:
        with open(temporary, "wb") as file:
            file.write(checksum(code, key) + code)
        os.replace(temporary, path)
        discard_old(path.parent)
    except OSError as error:
        Path(temporary).unlink(missing_ok=True)
        if not path.exists():  # on Windows another process may hold the file open, as good as ours
            unusable(path.parent, error)


@functools.cache
def discard_old(directory: Path, largest: int = LARGEST) -> None:
    """Delete the files used longest ago until the rest are no larger than `largest` together; once a process."""
    entries = []
    for path in directory.glob("*.kernel*"):
        try:
            status = path.stat()
        except OSError:  # another process was first
            continue
        entries.append((status.st_mtime, status.st_size, path))
    total = 0
    for _, size, path in sorted(entries, reverse=True):
        total += size
        if total > largest:
            try:
                path.unlink(missing_ok=True)
            except OSError:
                pass
