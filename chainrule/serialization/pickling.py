"""Objects to the record "data.pkl": a pickle of protocol 2 in which tensors refer to storages, under PyTorch's names.

A tensor is written as PyTorch writes its own: a call of `torch._utils._rebuild_tensor_v2` with a storage, an offset, a
shape and strides. PyTorch need not be installed: the names are written, not looked up. Tensors that overlap in memory
share a storage. Read next: `unpickler.py`, the way back.
"""

from __future__ import annotations

import argparse
import bisect
import codecs
import copyreg
import io
import pickle
from collections import Counter, OrderedDict, defaultdict
from types import FunctionType
from typing import Any, ClassVar

import numpy as np

from ..core.dtypes import bfloat16
from ..core.dtypes import dtype as dtype_class
from ..core.recipe import Registry
from ..core.tensor import Size, Tensor, device
from ..nn.module import Module
from ..nn.parameter import Buffer, Parameter
from .modules import cannot_be_saved, name_of_class, name_of_function

__all__ = ["Span", "pickled"]

STORAGE_NAMES = {
    "float64": "DoubleStorage",
    "float32": "FloatStorage",
    "float16": "HalfStorage",
    "int64": "LongStorage",
    "int32": "IntStorage",
    "int16": "ShortStorage",
    "int8": "CharStorage",
    "uint8": "ByteStorage",
    "bool": "BoolStorage",
    "complex64": "ComplexFloatStorage",
    "complex128": "ComplexDoubleStorage",
}
UNTYPED = ("uint16", "uint32", "uint64")  # types that PyTorch keeps in storages of bytes


class Global:
    """A function or class of PyTorch, by name."""

    __slots__ = ("module", "name")

    def __init__(self, module: str, name: str) -> None:
        self.module = module
        self.name = name

    def __call__(self) -> None:
        """The pickler asks whether what it writes a call of is callable; nothing here is called."""


REBUILD = {n: Global("torch._utils", f"_rebuild_tensor_v{n}") for n in (2, 3)}
REBUILD_PARAMETER = Global("torch._utils", "_rebuild_parameter")
REBUILD_PARAMETER_WITH_STATE = Global("torch._utils", "_rebuild_parameter_with_state")
REBUILD_FROM_TYPE = Global("torch._tensor", "_rebuild_from_type_v2")
TENSOR, DEVICE, SIZE = Global("torch", "Tensor"), Global("torch", "device"), Global("torch", "Size")
STORAGES = {name: Global("torch", storage) for name, storage in STORAGE_NAMES.items()}
STORAGES.update(dict.fromkeys(UNTYPED, Global("torch.storage", "UntypedStorage")))
DTYPES = {name: Global("torch", name) for name in (*STORAGES, "bfloat16")}


# ----- memory -----------------------------------------------------------------------------------------------------


class Span:
    """A stretch of memory that is saved as one storage.

    Attributes:
        start, end: its addresses.
        array: the array that begins at `start`.
        key: the storage's name, given when it is first used.
    """

    __slots__ = ("array", "end", "key", "start")

    def __init__(self, array: Any, start: int, end: int) -> None:
        self.array = array
        self.start = start
        self.end = end
        self.key: str | None = None

    @property
    def count(self) -> int:
        return (self.end - self.start) // int(self.array.itemsize)

    def content(self) -> Any:
        """The memory as an array of bytes."""
        if self.count == 0:
            return b""
        whole = np.lib.stride_tricks.as_strided(self.array, (self.count,), (self.array.itemsize,))
        return whole.view(np.uint8).data


class Memory:
    """Which stretches of memory the tensors of a checkpoint lie in; those that overlap are one."""

    def __init__(self) -> None:
        self.fitting: dict[int, tuple[Any, Any]] = {}  # by id: an array, and the one that is saved for it
        self.spans: list[Span] = []
        self.starts: list[int] = []

    def add(self, array: Any) -> None:
        fit = self.fit(array)
        if fit.size:
            start, end = np.lib.array_utils.byte_bounds(fit)
            self.spans.append(Span(fit, start, end))

    def fit(self, array: Any) -> Any:
        """The array itself where a storage, an offset and strides can describe it, otherwise a copy."""
        known = self.fitting.get(id(array))
        if known is None:
            known = self.fitting[id(array)] = array, (array if _is_plain(array) else _plain_copy(array))
        return known[1]

    def settle(self) -> None:
        """Join what overlaps.

        Raises:
            RuntimeError: tensors of different types share memory.
        """
        joined: list[Span] = []
        for span in sorted(self.spans, key=lambda span: (span.start, -span.end)):
            if not joined or span.start >= joined[-1].end:
                joined.append(span)
                continue
            if span.array.dtype != joined[-1].array.dtype:
                raise RuntimeError(
                    "Cannot save multiple tensors or storages that view the same data as different types: "
                    f"{joined[-1].array.dtype} and {span.array.dtype}. Save a clone() of one"
                )
            joined[-1].end = max(joined[-1].end, span.end)
        self.spans = joined
        self.starts = [span.start for span in joined]

    def place(self, array: Any) -> tuple[Span, int]:
        """The span of an array and where in it, counted in elements, the array begins."""
        if not array.size:
            return Span(array, 0, 0), 0
        start = np.lib.array_utils.byte_bounds(array)[0]
        span = self.spans[bisect.bisect_right(self.starts, start) - 1]
        return span, (start - span.start) // array.itemsize


def _is_plain(array: Any) -> bool:
    return bool(array.dtype.isnative) and all(
        stride >= 0 and stride % array.itemsize == 0 for stride, n in zip(array.strides, array.shape, strict=True)
        if n > 1
    )  # fmt: skip


def _plain_copy(array: Any) -> Any:
    return np.array(array, dtype=array.dtype.newbyteorder("="), order="C")


def _strides(array: Any) -> tuple[int, ...]:
    """Strides counted in elements; those of axes of length 1, which may be anything, as in a contiguous array."""
    strides = []
    for stride, n, below in zip(array.strides, array.shape, range(1, array.ndim + 1), strict=True):
        if n > 1 and array.size:
            strides.append(stride // array.itemsize)
        else:
            strides.append(max(1, int(np.prod([max(m, 1) for m in array.shape[below:]], dtype=np.int64))))
    return tuple(strides)


# ----- the pickle -------------------------------------------------------------------------------------------------

PLAIN = frozenset((type(None), bool, int, float, complex, str, bytes, bytearray, tuple, list, dict, set, frozenset,
                   OrderedDict, Counter, defaultdict, range, slice, argparse.Namespace,
                   Global, Registry, dtype_class, type(bfloat16)))  # fmt: skip
CALLED = (
    *(complex, bytearray, set, frozenset, OrderedDict, Counter, defaultdict, range, slice, argparse.Namespace),
    *(np.ndarray, np.dtype, codecs.encode, np.empty(0).__reduce__()[0]),
)
FACTORIES = (bool, int, float, str, tuple, list, dict)  # of a defaultdict
CALLABLE = frozenset(id(value) for value in (*CALLED, *FACTORIES))


class Refused(TypeError):
    """An object that a checkpoint cannot hold."""

    def __init__(self, text: str, culprit: Any) -> None:
        super().__init__(text)
        self.culprit = culprit


PythonPickler: Any = pickle._Pickler  # in Python, so that names can be written that are not there


class Pickler(PythonPickler):  # type: ignore[misc]
    """Python's pickler, for what a checkpoint may hold.

    Args:
        file: where to write.
        memory: where the tensors lie; settled, or None to note in `found` what there is.
    """

    dispatch: ClassVar[dict[type, Any]] = dict(PythonPickler.dispatch)

    def __init__(self, file: Any, memory: Memory, used: dict[str, Span] | None) -> None:
        super().__init__(file, protocol=2)
        self.memory = memory
        self.used = used

    def save(self, obj: Any, save_persistent_id: bool = True) -> None:
        if isinstance(obj, np.generic):
            obj = obj.item()
        name = self.name_of(obj)
        if name is None:
            super().save(obj, save_persistent_id)
        elif id(obj) in self.memo:
            self.write(self.get(self.memo[id(obj)][0]))
        else:
            self.save_name(obj, *name)

    def name_of(self, obj: Any) -> Any:
        """The module and name by which an object is written, if it is one that is: a module's class, a function."""
        if isinstance(obj, type) and issubclass(obj, Module):
            found = name_of_class(obj)
            return found if isinstance(found, tuple) else None
        return name_of_function(obj) if type(obj) is FunctionType else None

    def persistent_id(self, obj: Any) -> Any:
        if type(obj) is not Span:
            return None
        if self.used is None:
            return ("storage",)
        if obj.key is None:
            obj.key = str(len(self.used))
            self.used[obj.key] = obj
        name = obj.array.dtype.name
        count = obj.end - obj.start if name in UNTYPED else obj.count
        return ("storage", STORAGES[name], obj.key, "cpu", count)

    def reducer_override(self, obj: Any) -> Any:
        kind = type(obj)
        if kind in PLAIN or id(obj) in CALLABLE:
            return NotImplemented
        if kind is Tensor:
            return self.reduce_array(obj.array, obj.requires_grad, obj)
        if kind is Parameter:
            content: tuple[Any, ...] = obj.data, obj.requires_grad, OrderedDict()
            if obj.__dict__:
                return REBUILD_PARAMETER_WITH_STATE, (*content, obj.__dict__)
            return REBUILD_PARAMETER, content
        if kind is Buffer:
            function, args = self.reduce_array(obj.array, obj.requires_grad, obj)
            return REBUILD_FROM_TYPE, (function, TENSOR, args, {**obj.__dict__, "_is_buffer": True})
        if kind is device:
            return DEVICE, ((obj.type,) if obj.index is None else (obj.type, obj.index))
        if isinstance(obj, (np.ndarray, np.dtype)):
            element = obj.dtype if isinstance(obj, np.ndarray) else obj
            if element.kind in "biufc" and element.names is None:
                return (obj if kind is not np.memmap else np.asarray(obj)).__reduce__()
            raise Refused(f"a NumPy array of {element}: only numbers can be saved", obj)
        if kind is Size:
            return SIZE, (tuple(obj),)
        if isinstance(obj, Module):
            trouble = cannot_be_saved(obj)
            if trouble is None:
                return copyreg.__newobj__, (kind,), obj.__dict__  # type: ignore[attr-defined]
            raise Refused(f"a whole {kind.__qualname__}, as {trouble}: save its values, with state_dict()", obj)
        raise Refused(_why_not(obj), obj)

    def reduce_array(self, array: Any, requires_grad: bool, owner: Any) -> tuple[Any, tuple[Any, ...]]:
        if hasattr(array, "as_number"):  # while a function is traced
            array.__reduce_ex__(4)
        if not isinstance(array, np.ndarray):
            raise Refused(f"a tensor on {owner.device}: move it to the cpu first", owner)
        name = array.dtype.name
        if name not in STORAGES:
            raise Refused(f"a tensor of {array.dtype}, a type that PyTorch does not have", owner)
        if self.used is None:
            self.memory.add(array)
            return REBUILD[2], ()
        fit = self.memory.fit(array)
        span, offset = self.memory.place(fit)
        args: tuple[Any, ...] = (
            span,
            offset,
            tuple(int(n) for n in fit.shape),
            _strides(fit),
            requires_grad,
            OrderedDict(),
        )
        return (REBUILD[3], (*args, DTYPES[name])) if name in UNTYPED else (REBUILD[2], args)

    def save_name(self, obj: Any, module: str, name: str) -> None:
        self.write(pickle.GLOBAL + f"{module}\n{name}\n".encode())
        self.memoize(obj)

    def save_global_name(self, obj: Global) -> None:
        self.save_name(obj, obj.module, obj.name)

    def save_bytes(self, obj: bytes) -> None:
        """As PyTorch reads them: there `bytes()`, by which Python writes empty ones, is not allowed."""
        self.save_reduce(codecs.encode, (str(obj, "latin1"), "latin1"), obj=obj)

    def save_dtype(self, obj: Any) -> None:
        name = repr(obj).rpartition(".")[2]
        if name not in DTYPES:
            raise Refused(f"{obj!r}, a type that PyTorch does not have", obj)
        self.save(DTYPES[name])

    dispatch[Global] = save_global_name
    dispatch[bytes] = save_bytes
    dispatch[Registry] = PythonPickler.dispatch[dict]
    dispatch[dtype_class] = save_dtype
    dispatch[type(bfloat16)] = save_dtype


def _why_not(obj: Any) -> str:
    kind = type(obj)
    name = f"{kind.__module__}.{kind.__qualname__}" if kind.__module__ != "builtins" else kind.__qualname__
    if not isinstance(obj, type) and callable(getattr(obj, "state_dict", None)):
        return f"a whole {kind.__qualname__}, which is code and values: save its values, with state_dict()"
    if isinstance(obj, type) or (callable(obj) and hasattr(obj, "__name__")):
        return f"{getattr(obj, '__name__', name)}, which is code: a checkpoint holds values"
    if callable(getattr(obj, "get_state", None)):
        return f"a {name}: save what its get_state() gives"
    if isinstance(obj, Tensor):
        return f"a tensor of the class {name}, of which nothing else knows: save a Tensor or a Parameter"
    return (
        f"an object of the class {name}: a checkpoint holds tensors, numbers, text, and lists, tuples, sets and dicts "
        "of them; save its values, for instance vars(it)"
    )


def _path_to(root: Any, culprit: Any) -> str:
    """Where in a nest of containers an object is, as Python would write it: "['args'].model"."""
    seen = {id(root)}
    waiting = [("", root)]
    while waiting:
        path, holder = waiting.pop()
        if holder is culprit:
            return path
        below: list[tuple[str, Any]] = []
        if isinstance(holder, dict):
            below = [(f"{path}[{key!r:.80}]", value) for key, value in holder.items()]
        elif isinstance(holder, (list, tuple)):
            below = [(f"{path}[{i}]", value) for i, value in enumerate(holder)]
        elif isinstance(holder, (argparse.Namespace, Module)):
            below = [(f"{path}.{name}", value) for name, value in vars(holder).items()]
        for entry in below:
            if id(entry[1]) not in seen:
                seen.add(id(entry[1]))
                waiting.append(entry)
    return ""


def pickled(obj: Any) -> tuple[bytes, dict[str, Span]]:
    """The pickle of an object, and the storages that it refers to, by their keys.

    Raises:
        TypeError: it holds something that a checkpoint cannot hold; says what, and where it is.
        RuntimeError: tensors of different types share memory; the containers are nested too deeply.
    """
    memory, used, buffer = Memory(), {}, io.BytesIO()  # type: tuple[Memory, dict[str, Span], io.BytesIO]
    try:
        Pickler(io.BytesIO(), memory, None).dump(obj)
        memory.settle()
        Pickler(buffer, memory, used).dump(obj)
    except Refused as refused:
        path = _path_to(obj, refused.culprit)
        raise TypeError(f"cannot save {refused}{f' (it is at {path} of what is saved)' if path else ''}") from None
    except RecursionError:
        raise RuntimeError("cannot save containers that are nested this deeply: flatten them") from None
    return buffer.getvalue(), used
