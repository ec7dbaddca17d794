"""Checkpoints: `save` and `load`, in PyTorch's own file format and without running code.

    save(model.state_dict(), "net.pt")  # torch.load("net.pt") reads it, chainrule.load("net.pt") too

Read next: `archive.py`, the container; `pickling.py`, what is in it; `unpickler.py` and `reading.py`, the way back.
"""

from __future__ import annotations

import io
import os
from pickle import UnpicklingError
from typing import IO, Any

from ..absent import absent
from ..core.tensor import device
from .archive import ALIGNMENT, ArchiveReader, ArchiveWriter, root_of
from .atomic import replacing
from .pickling import pickled
from .reading import is_known, read_checkpoint

__all__ = ["add_safe_globals", "load", "safe_globals", "save"]

LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # how files of PyTorch before 1.6 begin
CONVERT = "load it in PyTorch and save it again there: torch.save(torch.load(path), path)"


def save(
    obj: Any,
    f: Any,
    pickle_module: Any = None,
    pickle_protocol: int = 2,
    _use_new_zipfile_serialization: bool = True,
) -> None:
    """Write tensors, numbers, text, and containers of them to a file in PyTorch's `.pt` format.

    A file that is named is replaced whole: killed at any moment, the previous one is still there. Tensors that share
    memory share it in the file. The pickle in the file is always of protocol 2, which is what PyTorch reads.

    Args:
        obj: such as `model.state_dict()`, or a dict of state dicts, random state and numbers. A whole module is
            written as the name of its class and its values.
        f: a path, or a file open for writing bytes.
        pickle_module: not used; None.
        pickle_protocol: accepted, and not used.

    Raises:
        TypeError: `obj` holds something else, such as an object of a class of the program's: says what, and where.
        RuntimeError: tensors of different types share memory.

    >>> import chainrule as cr, io
    >>> file = io.BytesIO()
    >>> cr.save({"weight": cr.ones(2), "epoch": 3}, file)
    >>> cr.load(io.BytesIO(file.getvalue()))
    {'weight': Tensor(array([1., 1.], dtype=float32), requires_grad=False), 'epoch': 3}
    """
    if not _use_new_zipfile_serialization:
        raise RuntimeError("the format of PyTorch before 1.6 is not written: leave _use_new_zipfile_serialization out")
    if pickle_module is not None and getattr(pickle_module, "__name__", "") not in ("pickle", "cloudpickle", "dill"):
        raise TypeError(f"pickle_module must be a module such as pickle, got {type(pickle_module).__name__}")
    if not _is_path(f) and not hasattr(f, "write"):
        raise AttributeError(
            f"expected 'f' to be string, path, or a file-like object with a 'write' attribute, got {f!r}"
        )
    data, storages = pickled(obj)
    if _is_path(f):
        path = os.fsdecode(f)
        with replacing(path) as file:
            _write(file, root_of(path), data, storages)
    else:
        _write(f, "archive", data, storages)


def _write(file: Any, root: str, data: bytes, storages: Any) -> None:
    import sys

    archive = ArchiveWriter(file, root)
    archive.write("data.pkl", data)
    archive.write(".format_version", b"1")
    archive.write(".storage_alignment", str(ALIGNMENT).encode())
    archive.write("byteorder", sys.byteorder.encode())
    for key, span in storages.items():
        archive.write(f"data/{key}", span.content())
    archive.finish()


def load(
    f: Any,
    map_location: Any = None,
    pickle_module: Any = None,
    *,
    weights_only: bool | None = None,
    mmap: bool | None = None,
    **pickle_load_args: Any,
) -> Any:
    """Read what `save`, or PyTorch's `torch.save`, wrote. No code in the file is ever run.

    Args:
        f: a path, or a file open for reading bytes.
        map_location: "cpu", or a dict or function that says where a storage that was saved on another device goes; here
            that can only be the cpu.
        pickle_module: None; the file is never given to Python's pickle.
        weights_only: False takes whole modules as well: objects of classes that the program has imported, which are
            made without running their constructors or anything else of theirs.
        mmap: map the file into memory in place of reading it: values are read from it when they are used, and writing
            to a tensor does not change the file. Checksums of tensors are then not looked at. Needs a path.
        pickle_load_args: `encoding`, accepted and not used.

    Raises:
        UnpicklingError: the file asks for a class or function that is not loaded, which the message names; or it
            describes tensors that cannot be.
        RuntimeError: the file is truncated or damaged, of another format, or was saved on another device and
            `map_location` does not say "cpu".
        OSError: it cannot be read.

    `save` has an example.
    """
    if pickle_module is not None:
        raise RuntimeError("Can not safely load weights when explicit pickle_module is specified: leave it out")
    unknown = set(pickle_load_args) - {"encoding"}
    if unknown:
        raise TypeError(f"load() takes no argument {', '.join(sorted(unknown))}")
    if not (map_location is None or isinstance(map_location, (str, bytes, dict, device)) or callable(map_location)):
        raise TypeError(f"map_location must be a device, its name, a dict or a function, got {map_location!r}")
    if not _is_path(f):
        if mmap:
            raise ValueError("f must be a file path in order to use the mmap argument")
        return _load(_seekable(f), getattr(f, "name", None), None, map_location, weights_only is False)
    path = os.fsdecode(f)
    if path.endswith(".safetensors"):
        from ..safetensors import load_file

        return load_file(path, device="cpu" if map_location is None else map_location)
    with open(path, "rb") as file:
        return _load(file, path, path if mmap else None, map_location, weights_only is False)


def add_safe_globals(safe_globals: list[Any]) -> None:
    """Check that a program's own list of what to load holds nothing that `load` does not know already.

    Raises:
        RuntimeError: it does; no class or function can be added.
    """
    for entry in safe_globals:
        value = entry[0] if isinstance(entry, tuple) else entry
        if not is_known(value):
            name = f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', value)}".lstrip(".")
            raise RuntimeError(
                f"{name} cannot be added to what load() makes: chainrule never runs code in a checkpoint. Save its "
                "values, for instance vars(it), and make it anew from them"
            )


class safe_globals:
    """`add_safe_globals` as a context manager.

    Raises:
        RuntimeError: the list holds something that `load` does not know.
    """

    def __init__(self, safe_globals: list[Any]) -> None:
        add_safe_globals(safe_globals)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: object) -> None:
        pass


def _load(file: IO[bytes], name: Any, map_path: str | None, map_location: Any, modules: bool) -> Any:
    name = name if isinstance(name, str) else "the file"
    begin = file.tell()
    start = file.read(512)
    file.seek(begin)
    _check_kind(start, name)
    archive = ArchiveReader(file, name, map_path)
    if "constants.pkl" in archive:
        raise RuntimeError(f"{name} is a TorchScript archive, which holds code: save the module's state_dict() instead")
    if "data.pkl" not in archive:
        hint = ": numpy.load reads it" if any(entry.endswith(".npy") for entry in archive.entries) else ""
        raise RuntimeError(f"{name} is a zip file, but not one that save() wrote: it has no record data.pkl{hint}")
    try:
        return read_checkpoint(archive, map_location, modules)
    except UnpicklingError as error:
        raise UnpicklingError(f"{name} was not loaded: {error}") from None


def _check_kind(start: bytes, name: str) -> None:
    """Refuse files that are of another kind, by how they begin.

    Raises:
        RuntimeError: says which kind it is, and what to do.
    """
    if start.startswith(b"PK\x03\x04"):
        return
    if not start:
        raise RuntimeError(f"{name} is empty")
    if start.startswith(LEGACY) or start[257:262] == b"ustar":
        raise RuntimeError(f"{name} is in the format of PyTorch before 1.6: {CONVERT}")
    if start[8:10] == b'{"':
        raise RuntimeError(f"{name} looks like a safetensors file: chainrule.safetensors.load_file reads it")
    if start.startswith(b"\x93NUMPY"):
        raise RuntimeError(f"{name} is a NumPy array: numpy.load reads it")
    if start[:1] == b"\x80":
        raise RuntimeError(
            f"{name} is a bare pickle, not a file that save() wrote: pickles can run code and are not loaded"
        )
    raise RuntimeError(f"{name} is not a file that save() wrote, or its beginning is damaged")


__getattr__ = absent(__name__)


def _is_path(f: Any) -> bool:
    return isinstance(f, (str, bytes, os.PathLike))


def _seekable(f: Any) -> Any:
    """The file itself, or, where it can only be read from front to back, its content.

    Raises:
        AttributeError: it is no file.
        TypeError: it gives text.
    """
    if not hasattr(f, "read"):
        raise AttributeError(f"expected 'f' to be a path or a file open for reading bytes, got {type(f).__name__}")
    if not isinstance(f.read(0), bytes):
        raise TypeError("the file is open for reading text: open it with mode 'rb'")
    if hasattr(f, "seekable") and f.seekable() and hasattr(f, "tell"):
        return f
    return io.BytesIO(f.read())
