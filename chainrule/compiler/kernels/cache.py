"""Machine code of kernels, kept on disk: a second process starts without compiling.

Numba's own cache belongs to source files; kernels here are generated text. So each kernel has one file of its own,
named by a hash of all that its machine code depends on: its text, types and options, the versions of what compiles it,
and the processor. A file is a checksum and what Numba pickles of a compiled function. It is written under another name
and then renamed, so that a process never sees half a file; one that is damaged is compiled again and replaced.

The files are in the user's cache directory. CHAINRULE_CACHE_DIR names another; CHAINRULE_CACHE=0 turns the store off.
As with Python's own __pycache__, whoever can write to the directory decides what runs.
"""

from __future__ import annotations

import functools
import hashlib
import linecache
import os
import pickle
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["cache_directory", "load_kernel"]

FORMAT = 1  # of the files
DIGEST = hashlib.sha256().digest_size
LARGEST = 256 << 20  # bytes in all the files; beyond, those that were used longest ago go

_kernels: dict[str, Callable[..., Any]] = {}  # this process's, by key
_lock = threading.RLock()
_unwritable: set[Path] = set()  # directories that the user was warned of


def load_kernel(source: str, name: str, signature: Any, **options: Any) -> Callable[..., Any]:
    """The function `name` that the module text `source` defines, compiled by Numba for one signature.

    The machine code comes from this process, from the disk, or from Numba, in this order. It is compiled with NumPy's
    rules for division (`error_model="numpy"`).

    Args:
        source: a module: imports, and one function or several.
        name: the function to compile.
        signature: of Numba: a tuple of types, or text such as "void(float32[:, ::1], float32[::1])".
        options: of `numba.njit`: `parallel`, `fastmath`, ...

    Raises:
        ImportError: Numba is not installed.
        numba.core.errors.NumbaError: the text is nothing that Numba can compile.

    >>> source = "def double(x):\\n    for i in range(x.size):\\n        x[i] *= 2"
    >>> double = load_kernel(source, "double", "void(float64[::1])")  # doctest: +SKIP
    """
    import numba

    options = {"error_model": "numpy", "no_cfunc_wrapper": True, **options}
    key = kernel_key(source, name, signature, options)
    with _lock:
        if key not in _kernels:
            function = define(source, name, key)
            dispatcher = numba.njit(**options)(function)
            directory = cache_directory()
            if directory is not None:
                dispatcher._cache = KernelFile(directory / f"{name}-{key}.kernel")
            dispatcher.compile(signature)
            dispatcher.disable_compile()
            _kernels[key] = dispatcher
        return _kernels[key]


def define(source: str, name: str, key: str) -> Callable[..., Any]:
    """Run the module text and return its function `name`."""
    filename = f"<chainrule kernel {name} {key[:8]}>"
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)  # for tracebacks
    namespace: dict[str, Any] = {"__name__": __name__}  # Numba imports it when it loads a pickled function
    exec(compile(source, filename, "exec"), namespace)
    function: Callable[..., Any] = namespace[name]
    function.__qualname__ = f"{name}_{key}"  # symbols of two kernels never have the same name
    return function


# ----- the key -----


def kernel_key(source: str, name: str, signature: Any, options: dict[str, Any]) -> str:
    """A hash of all that the kernel's machine code depends on."""
    parts = (surroundings(), source, name, str(signature), sorted((k, canonical(v)) for k, v in options.items()))
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def canonical(option: Any) -> Any:
    """An option as the same text in every process; the order of a set is not."""
    return sorted(option) if isinstance(option, (set, frozenset)) else option


@functools.cache
def surroundings() -> tuple[Any, ...]:
    """What machine code depends on besides the kernel: versions, processor, Numba's settings, our functions' text."""
    import llvmlite
    import numba
    import numpy
    from numba.core import config
    from numba.core.registry import cpu_target

    versions = (FORMAT, numba.__version__, llvmlite.__version__, numpy.__version__, sys.version, sys.flags.optimize)
    processor = cpu_target.target_context.codegen().magic_tuple()
    settings = (config.OPT, config.LOOP_VECTORIZE, config.SLP_VECTORIZE, config.BOUNDSCHECK, config.DEBUGINFO_DEFAULT)
    functions = hashlib.sha256()  # what kernels import from this package
    for path in sorted(Path(__file__).parent.glob("*.py")):
        functions.update(path.read_bytes())
    return (versions, processor, settings, functions.hexdigest())


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
            stacklevel=4,
        )


# ----- a file -----


class KernelFile:
    """One kernel's file, with the methods that a Numba dispatcher asks of its cache."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.cache_path = str(path.parent)

    def load_overload(self, signature: Any, context: Any) -> Any:
        """Numba's compiled function from the file; None if there is none, or none that can be used."""
        try:
            content = self.path.read_bytes()
        except OSError:
            return None
        payload = content[DIGEST:]
        if hashlib.sha256(payload).digest() != content[:DIGEST]:
            return None
        try:
            from numba.core.compiler import CompileResult
            from numba.core.runtime import rtsys

            # Numba would make itself ready to compile here, `context.refresh()`, which takes half a second
            rtsys.initialize(context)
            result = CompileResult._rebuild(context, *pickle.loads(payload))
        except Exception:  # another Numba, inside which something has another name: compile
            return None
        try:
            os.utime(self.path)  # used now
        except OSError:
            pass
        return result

    def save_overload(self, signature: Any, result: Any) -> None:
        """Write the file, or warn that it cannot be."""
        try:
            from numba.core.serialize import dumps

            if result.library.has_dynamic_globals or result.lifted:  # addresses of this process
                return
            payload = dumps(result._reduce())
        except Exception:  # as above; the kernel itself works
            return
        temporary = f"{self.path}.{os.getpid()}.{threading.get_ident()}"
        try:
            with open(temporary, "wb") as file:
                file.write(hashlib.sha256(payload).digest() + payload)
            os.replace(temporary, self.path)
            discard_old(self.path.parent)
        except OSError as error:
            Path(temporary).unlink(missing_ok=True)
            if not self.path.exists():  # on Windows another process may hold the file open, as good as ours
                unusable(self.path.parent, error)

    def enable(self) -> None:
        """Nothing to do."""

    def disable(self) -> None:
        """Nothing to do."""

    def flush(self) -> None:
        """Delete the file."""
        self.path.unlink(missing_ok=True)


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
