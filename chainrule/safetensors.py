"""safetensors files, with the functions of `safetensors.torch`; the `safetensors` package does the reading and writing.

    save_file(model.state_dict(), "net.safetensors")  # safetensors.torch.load_file reads it

The format holds named tensors and nothing else, without strides: tensors that share memory cannot be saved by
`save_file`; `save_model` saves them once.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .core.tensor import Tensor, check_device, make_tensor
from .serialization.atomic import replacing_path
from .serialization.reading import from_bfloat16, warn_of_bfloat16

if TYPE_CHECKING:
    from .nn import Module

__all__ = ["load", "load_file", "load_model", "save", "save_file", "save_model"]

TYPES: dict[str, Any] = {
    **{"F64": np.float64, "F32": np.float32, "F16": np.float16, "C64": np.complex64, "BOOL": np.bool_},
    **{f"{letter}{8 * size}": np.dtype(f"{letter.lower()}{size}") for letter in "IU" for size in (1, 2, 4, 8)},
}


def _package() -> Any:
    try:
        import safetensors.numpy
    except ImportError:
        raise ImportError("this needs the safetensors package: pip install chainrule[train]") from None
    return safetensors


# ----- saving -----------------------------------------------------------------------------------------------------


def _shared(tensors: Mapping[str, Any]) -> list[list[str]]:
    """The names of tensors that overlap in memory, group by group."""
    bounds = {name: np.lib.array_utils.byte_bounds(t.array) for name, t in tensors.items() if t.array.size}
    groups: list[list[str]] = []
    end = -1
    for name in sorted(bounds, key=lambda name: bounds[name]):
        if bounds[name][0] < end:
            groups[-1].append(name)
        else:
            groups.append([name])
        end = max(end, bounds[name][1])
    return [group for group in groups if len(group) > 1]


def _arrays(tensors: Any) -> dict[str, Any]:
    """The arrays of named tensors, each in order in memory.

    Raises:
        ValueError: something is no tensor, or of a type that the format does not have.
        RuntimeError: tensors share memory.
    """
    if not isinstance(tensors, Mapping):
        raise ValueError(f"Expected a dict of [str, chainrule.Tensor] but received {type(tensors).__name__}")
    for name, tensor in tensors.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise ValueError(
                f"Key {name!r} is invalid, expected a tensor under a text but received {type(tensor).__name__}"
            )
        if tensor.array.dtype not in TYPES.values():
            raise ValueError(f"{name} is of {tensor.array.dtype}, a type that safetensors files do not have")
    shared = _shared(tensors)
    if shared:
        raise RuntimeError(
            f"Some tensors share memory, this will lead to duplicate memory on disk and potential differences when "
            f"loading them again: {shared}. Use save_model(model, filename), which saves them once, or "
            "clone() all but one"
        )
    return {name: np.array(tensor.array, order="C", copy=None) for name, tensor in tensors.items()}


def save(tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> bytes:
    """The content of a safetensors file with named tensors.

    Raises:
        ValueError: something is no tensor, or of a type that the format does not have.
        RuntimeError: tensors share memory.

    >>> import chainrule as cr
    >>> load(save({"weight": cr.ones(2)}))
    {'weight': Tensor(array([1., 1.], dtype=float32), requires_grad=False)}
    """
    return bytes(_package().numpy.save(_arrays(tensors), metadata))


def save_file(
    tensors: Mapping[str, Tensor], filename: str | os.PathLike[str], metadata: dict[str, str] | None = None
) -> None:
    """Write named tensors to a safetensors file, which is replaced whole.

    Args:
        tensors: such as a model's state_dict.
        filename: where.
        metadata: further texts to keep in the file.

    Raises:
        ValueError: something is no tensor, or of a type that the format does not have.
        RuntimeError: tensors share memory.
    """
    package, arrays = _package(), _arrays(tensors)
    with replacing_path(filename) as temporary:
        package.numpy.save_file(arrays, temporary, metadata)


def save_model(
    model: Module,
    filename: str | os.PathLike[str],
    metadata: dict[str, str] | None = None,
    force_contiguous: bool = True,
) -> None:
    """Write a model's parameters and buffers to a safetensors file; those that share memory once.

    Args:
        model: a module.
        filename: where.
        metadata: further texts to keep in the file. The names that were left out are added, each with the one that
            stands for it.
        force_contiguous: accepted; tensors in a file are always in order.

    Raises:
        RuntimeError: tensors overlap in part.
    """
    state = dict(model.state_dict())
    notes = dict(metadata or {})
    for group in _shared(state):
        kept = min(name for name in group if state[name].array.size == max(state[n].array.size for n in group))
        for name in group:
            if not _same_memory(state[name].array, state[kept].array):
                raise RuntimeError(
                    f"{name} and {kept} overlap in memory in part: clone() one, or save with chainrule.save"
                )
            if name != kept:
                notes.setdefault(name, kept)
                del state[name]
    save_file(state, filename, notes or None)


def _same_memory(a: Any, b: Any) -> bool:
    same = a.ctypes.data == b.ctypes.data and a.dtype == b.dtype
    return bool(same and a.shape == b.shape and a.strides == b.strides)


# ----- loading ----------------------------------------------------------------------------------------------------


def load(data: bytes) -> dict[str, Tensor]:
    """The tensors in the content of a safetensors file.

    Raises:
        RuntimeError: it is damaged, or holds a type that NumPy does not have.
    """
    return _loaded(_read(data, "the data"), "the data")


def _read(data: bytes, name: str) -> list[Any]:
    package = _package()
    try:
        return list(package.deserialize(data))
    except package.SafetensorError as error:
        raise RuntimeError(f"{name} is no safetensors file, or is damaged: {error}") from None


def _loaded(entries: list[Any], name: str) -> dict[str, Tensor]:
    tensors = {}
    converted = False
    for key, entry in entries:
        kind, shape = entry["dtype"], tuple(entry["shape"])
        if kind == "BF16":
            array = from_bfloat16(np.frombuffer(entry["data"], np.uint16))
            converted = True
        elif kind in TYPES:
            array = np.frombuffer(entry["data"], TYPES[kind])
        else:
            raise RuntimeError(f"{key} in {name} is of {kind}, a type that NumPy does not have: save it as float32")
        tensors[key] = make_tensor(array.reshape(shape), None)
    if converted:
        warn_of_bfloat16(name)
    return dict(sorted(tensors.items()))


def load_file(filename: str | os.PathLike[str], device: Any = "cpu") -> dict[str, Tensor]:
    """The tensors in a safetensors file.

    Raises:
        RuntimeError: it is damaged, or holds a type that NumPy does not have; or `device` is not the cpu.
        OSError: it cannot be read.
    """
    check_device(device)
    package, name = _package(), os.fspath(filename)
    try:
        with package.safe_open(name, framework="np") as file:
            keys = sorted(file.keys())
            if all(file.get_slice(key).get_dtype() in TYPES for key in keys):
                return {key: make_tensor(file.get_tensor(key), None) for key in keys}
    except package.SafetensorError as error:
        raise RuntimeError(f"{name} is no safetensors file, or is damaged: {error}") from None
    with open(name, "rb") as content:
        return _loaded(_read(content.read(), name), name)


def load_model(
    model: Module, filename: str | os.PathLike[str], strict: bool = True, device: Any = "cpu"
) -> tuple[list[str], list[str]]:
    """Copy the tensors of a safetensors file into a model.

    Args:
        model: a module; tensors of it that share memory need one name in the file.
        filename: what `save_model` or `save_file` wrote.
        strict: raise if names are missing or unexpected.
        device: "cpu".

    Returns:
        The missing and the unexpected names.

    Raises:
        RuntimeError: names are missing or unexpected (with `strict`), or shapes differ. Nothing has been changed then.
    """
    state = load_file(filename, device)
    own = dict(model.state_dict())
    for group in _shared(own):
        for name in group:
            if name not in state:
                twins = (n for n in group if n in state and _same_memory(own[n].array, own[name].array))
                twin = next(twins, None)
                if twin is not None:
                    state[name] = state[twin]
    result = model.load_state_dict(state, strict=strict)
    return list(result.missing_keys), list(result.unexpected_keys)
