"""What the names in a checkpoint stand for: the whole of what loading one can do.

Each function checks its arguments before it does anything, so that a made-up file can give wrong numbers but cannot
reach memory that is not its own, take much more memory than the file is large, or run code.
"""

from __future__ import annotations

import argparse
import codecs
import sys
import warnings
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable
from pickle import UnpicklingError
from typing import Any

import numpy as np

from ..core.dtypes import FACES, bfloat16
from ..core.dtypes import dtype as dtype_class
from ..core.recipe import PACKAGE
from ..core.recipe import Storage as WriteCounter
from ..core.tensor import Alias, Size, Tensor, device, make_tensor
from ..nn.module import Module
from ..nn.parameter import Buffer, Parameter
from .archive import ArchiveReader
from .modules import class_named, empty_module, fill_module, function_named
from .pickling import STORAGE_NAMES, UNTYPED
from .unpickler import Named, Unpickler, check_key, shown

__all__ = ["read_checkpoint"]


class StorageKind:
    """A class of PyTorch's storages: how its bytes are read. BFloat16 has no NumPy type and becomes float32."""

    __slots__ = ("bfloat16", "dtype")

    def __init__(self, dtype: str, bfloat16: bool = False) -> None:
        self.dtype = np.dtype(dtype)
        self.bfloat16 = bfloat16


class StoredMemory:
    """A storage of a checkpoint: what `map_location` is called with, and what tensors are made on.

    Attributes:
        device: where it is.
    """

    __slots__ = ("_arrays", "_bytes", "_counter", "_kind", "_swapped", "device", "used")

    def __init__(self, content: Any, kind: StorageKind, swapped: bool) -> None:
        self._bytes = content
        self._kind = kind
        self._swapped = swapped
        self._arrays: dict[Any, Any] = {}
        self._counter = WriteCounter()  # tensors on one storage see each other's writes
        self.device = device("cpu")
        self.used = False

    def cpu(self) -> StoredMemory:
        """The storage itself."""
        return self

    def cuda(self, *args: Any, **kwargs: Any) -> StoredMemory:
        """Not here.

        Raises:
            RuntimeError: always.
        """
        raise RuntimeError("map_location asks for a CUDA device: tensors are NumPy arrays on the cpu here")

    def flat(self, dtype: np.dtype[Any], bits: tuple[str, ...] = ()) -> Any:
        """The storage as one row of numbers, in this machine's byte order; the same array every time.

        Args:
            dtype: of the numbers.
            bits: "conj", "neg", or both: what PyTorch had put off doing to the numbers.
        """
        self.used = True
        array = self._arrays.get((dtype, bits))
        if array is None:
            array = self._converted(dtype)
            for bit in bits:
                array = PUT_OFF[bit](array)
            self._arrays[dtype, bits] = array
        return array

    def _converted(self, dtype: np.dtype[Any]) -> Any:
        stored = np.dtype(np.uint16) if self._kind.bfloat16 else dtype
        array = self._bytes[: len(self._bytes) // stored.itemsize * stored.itemsize].view(stored)
        if self._swapped:
            array = array.byteswap()
        if self._kind.bfloat16:
            return from_bfloat16(array)
        return array if array.flags.aligned else array.copy()


PUT_OFF = {"conj": np.conjugate, "neg": np.negative}


def from_bfloat16(bits: Any) -> Any:
    """float32 numbers from those of bfloat16, given as their 16 bits: the upper half of a float32."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def warn_of_bfloat16(name: str) -> None:
    """Say that numbers changed their type."""
    warn(
        f"{name} has tensors of bfloat16, a type that NumPy does not have: they became float32, which holds their "
        "values exactly"
    )


def warn(text: str) -> None:
    """A warning that points to the line outside this package that led here."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_code.co_filename.startswith(PACKAGE):
        level, frame = level + 1, frame.f_back
    warnings.warn(text, UserWarning, stacklevel=level)


# ----- names ------------------------------------------------------------------------------------------------------

KINDS = {storage: StorageKind(name) for name, storage in STORAGE_NAMES.items()}
KINDS |= {"BFloat16Storage": StorageKind("float32", bfloat16=True), "UntypedStorage": StorageKind("uint8")}
BYTES = KINDS["UntypedStorage"]
UNTYPED_FACES = [face for face in FACES.values() if face.name in UNTYPED]
ARRAY_PARTS = {np.empty(0).__reduce__()[0]: "_reconstruct", np.float64(0).__reduce__()[0]: "scalar"}
RULES = {
    name: Named(name)
    for name in (
        "torch._utils._rebuild_tensor",
        "torch._utils._rebuild_tensor_v2",
        "torch._utils._rebuild_tensor_v3",
        "torch._utils._rebuild_parameter",
        "torch._utils._rebuild_parameter_with_state",
        "torch._tensor._rebuild_from_type_v2",
        "torch.Size",
        "torch.device",
        "_codecs.encode",
        "numpy.scalar",
        "numpy._reconstruct",
    )
}
GLOBALS: dict[str, Any] = {
    **RULES,
    **{f"numpy.{package}.multiarray.{name}": RULES[f"numpy.{name}"]
       for package in ("core", "_core") for name in ARRAY_PARTS.values()},
    **{f"torch.{name}": kind for name, kind in KINDS.items()},
    **{f"torch.storage.{name}": kind for name, kind in KINDS.items()},
    **{f"torch.{face.name}": face for face in FACES.values()},
    "torch.bfloat16": bfloat16,
    "torch.Tensor": Tensor,
    "torch.nn.parameter.Parameter": Parameter,
    "torch.nn.parameter.Buffer": Buffer,
    "collections.OrderedDict": OrderedDict,
    "collections.Counter": Counter,
    "collections.defaultdict": defaultdict,
    "argparse.Namespace": argparse.Namespace,
    "numpy.ndarray": np.ndarray,
    "numpy.dtype": np.dtype,
    **{f"builtins.{kind.__name__}": kind
       for kind in (bool, int, float, complex, str, bytes, bytearray, tuple, list, dict, set, frozenset, range, slice)},
}  # fmt: skip
OLD_NAMES = {
    "__builtin__.xrange": "builtins.range",
    "__builtin__.long": "builtins.int",
    "__builtin__.unicode": "builtins.str",
}
NO_COUNTERPART = {
    "_rebuild_sparse_tensor": "sparse tensors have no counterpart here: save tensor.to_dense() in PyTorch",
    "_rebuild_qtensor": "quantized tensors have no counterpart here: save tensor.dequantize() in PyTorch",
    "_rebuild_meta_tensor_no_storage": "it is a tensor without values, on the meta device",
    "_rebuild_nested_tensor": "nested tensors have no counterpart here: save a list of tensors in PyTorch",
}


def is_known(value: Any) -> bool:
    """Whether a class or function is one that a checkpoint may name."""
    if isinstance(value, type) and issubclass(value, np.dtype):
        return value is np.dtype or value in {type(np.dtype(name)) for name in NUMPY_NAMES}
    return any(value is known for known in (*GLOBALS.values(), *ARRAY_PARTS, codecs.encode))


def _refusal(name: str) -> str:
    last = name.rpartition(".")[2]
    if name.startswith("torch._utils.") and last in NO_COUNTERPART:
        return NO_COUNTERPART[last]
    if name.startswith("torch.float8") or name.startswith("torch.float4"):
        return "NumPy has no such type: save tensor.float() in PyTorch"
    return (
        "it is not among the tensors, numbers, text and containers of them that a checkpoint may hold, and chainrule "
        "never runs code from a file. If you trust the file, load it in the program that made it and save the values "
        "alone, such as model.state_dict()"
    )


# ----- rules that need no file ------------------------------------------------------------------------------------


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise UnpicklingError(f"the pickle is damaged: {what}")


def _is_one_of(value: Any, *choices: Any) -> bool:
    """By identity or as text: a file's object is not asked whether it is equal to something."""
    return any(value is choice or (type(value) is str and value == choice) for choice in choices)


def _are_counts(numbers: Any) -> bool:
    return isinstance(numbers, tuple) and all(type(n) is int and n >= 0 for n in numbers)


def _members(values: Any) -> list[Any]:
    _require(type(values) is list, "the members of a set are no list")
    for value in values:
        check_key(value)
    return values  # type: ignore[no-any-return]


def _pairs(kind: type) -> Callable[..., Any]:
    def make(*args: Any) -> Any:
        _require(len(args) <= 1 and all(type(arg) in (list, dict) for arg in args), f"arguments of a {kind.__name__}")
        made = kind()
        for entry in args:
            for pair in entry.items() if type(entry) is dict else entry:
                _require(type(pair) in (list, tuple) and len(pair) == 2, f"a pair of a {kind.__name__}")
                check_key(pair[0])
                made[pair[0]] = pair[1]
        return made

    return make


def _default_dict(factory: Any = None) -> Any:
    _require(_is_one_of(factory, None, bool, int, float, str, tuple, list, dict, set), "a defaultdict's factory")
    return defaultdict(factory)


def _complex(real: Any, imaginary: Any) -> complex:
    _require(type(real) in (int, float) and type(imaginary) in (int, float), "the parts of a complex number")
    return complex(real, imaginary)


def _bytes(*args: Any) -> bytes:
    _require(args == (), "arguments of bytes()")
    return b""


def _bytearray(content: Any = b"", encoding: Any = None) -> bytearray:
    return bytearray(content if type(content) is bytes and encoding is None else _encoded(content, encoding))


def _encoded(text: Any, encoding: Any) -> bytes:
    _require(type(text) is str and _is_one_of(encoding, "latin1", "latin-1"), "bytes that are not written as latin-1")
    return text.encode("latin-1")  # type: ignore[no-any-return]


def _range(*args: Any) -> range:
    _require(all(type(arg) is int for arg in args), "the ends of a range")
    return range(*args)


def _slice(*args: Any) -> slice:
    _require(len(args) == 3 and all(arg is None or type(arg) is int for arg in args), "the ends of a slice")
    return slice(*args)


def _size(numbers: Any) -> Size:
    _require(_are_counts(numbers), "a shape")
    return Size(numbers)


def _device(kind: Any, index: Any = None) -> device:
    _require(type(kind) is str and (index is None or type(index) is int), "a device")
    return device(kind, index)


def _dtype(name: Any, align: Any = False, copy: Any = True) -> np.dtype[Any]:
    _require(type(name) is str and name.strip("<>=|") in NUMPY_NAMES, "a NumPy type that is not of numbers")
    made: np.dtype[Any] = np.dtype(name, False, True)  # its own object: its state is set next
    return made


NUMPY_NAMES = frozenset(("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16"))


def _scalar(kind: Any, content: Any) -> Any:
    _require(isinstance(kind, np.dtype) and type(content) is bytes and len(content) == kind.itemsize, "a NumPy number")
    return np.frombuffer(content, kind)[0]


def _empty_array(kind: Any, shape: Any, letter: Any) -> Any:
    _require(kind is np.ndarray and _are_counts(shape) and sum(shape) == 0, "an empty NumPy array")
    _require(_is_one_of(letter, "b") or (type(letter) is bytes and letter == b"b"), "an empty NumPy array")
    return np.empty(0, np.int8)


def _as_dict(state: Any, holder: type) -> dict[str, Any]:
    """Attributes for an object, none of which is one of its class."""
    _require(type(state) is dict and all(type(key) is str for key in state), f"the state of a {holder.__name__}")
    for key in state:
        if hasattr(holder, key):
            raise UnpicklingError(f"the pickle sets {shown(key)} of a {holder.__name__}, which is not a value")
    return state  # type: ignore[no-any-return]


def set_state(holder: Any, state: Any) -> None:
    """Put state into one of the few objects that can have one."""
    kind = type(holder)
    if kind in (OrderedDict, argparse.Namespace):
        holder.__dict__.update(_as_dict(state, kind))
    elif isinstance(holder, np.dtype):
        _require(type(state) is tuple and len(state) == 8, "the state of a NumPy type")
        _require(_is_one_of(state[1], "<", ">", "=", "|"), "the byte order of a NumPy type")
        holder.__setstate__((3, state[1], None, None, None, -1, -1, 0))  # type: ignore[attr-defined]
    elif kind is np.ndarray:
        _require(type(state) is tuple and len(state) == 5, "the state of a NumPy array")
        version, shape, element, fortran, content = state
        _require(type(version) is int and _are_counts(shape) and len(shape) <= 64, "the shape of a NumPy array")
        _require(isinstance(element, np.dtype) and type(fortran) is bool, "the type of a NumPy array")
        size = element.itemsize
        for n in shape:
            size *= n
        _require(type(content) is bytes and len(content) == size, "the content of a NumPy array")
        holder.__setstate__((1, shape, element, fortran, content))
    elif isinstance(holder, Module):
        fill_module(holder, state)
    else:
        raise UnpicklingError(f"the pickle sets the state of a {kind.__name__}, which is not loaded")


PLAIN_CALLS: dict[Any, Callable[..., Any]] = {
    set: lambda values: set(_members(values)),
    frozenset: lambda values: frozenset(_members(values)),
    OrderedDict: _pairs(OrderedDict),
    Counter: _pairs(Counter),
    defaultdict: _default_dict,
    complex: _complex,
    bytes: _bytes,
    bytearray: _bytearray,
    range: _range,
    slice: _slice,
    np.dtype: _dtype,
    RULES["_codecs.encode"]: _encoded,
    RULES["torch.Size"]: _size,
    RULES["torch.device"]: _device,
    RULES["numpy.scalar"]: _scalar,
    RULES["numpy._reconstruct"]: _empty_array,
}
NEWS: dict[Any, Callable[[], Any]] = {argparse.Namespace: argparse.Namespace, OrderedDict: OrderedDict}


class NotTheFile(Exception):
    """Carries an error of the user's `map_location` past the machine, which blames the file for errors."""


# ----- a checkpoint -----------------------------------------------------------------------------------------------


class Checkpoint:
    """One file that is being loaded: its storages, and the rules that make tensors on them."""

    def __init__(self, archive: ArchiveReader, map_location: Any, modules: bool) -> None:
        self.archive = archive
        self.map_location = map_location
        self.modules = modules
        self.news: dict[Any, Callable[[], Any]] = dict(NEWS)
        self.storages: dict[str, StoredMemory] = {}
        self.converted = False  # whether there was anything in bfloat16
        order = archive.read("byteorder") if "byteorder" in archive else b"little"
        if order not in (b"little", b"big"):
            raise archive.damaged(f"byteorder is {order[:20]!r}")
        self.swapped = order.decode() != sys.byteorder
        self.tensor_rules: dict[Any, Callable[..., Any]] = {
            RULES["torch._utils._rebuild_tensor"]: self.tensor,
            RULES["torch._utils._rebuild_tensor_v2"]: self.tensor,
            RULES["torch._utils._rebuild_tensor_v3"]: self.tensor_of_type,
            RULES["torch._utils._rebuild_parameter"]: self.parameter,
            RULES["torch._utils._rebuild_parameter_with_state"]: self.parameter,
        }

    def load(self) -> Any:
        calls = {**PLAIN_CALLS, **self.tensor_rules, RULES["torch._tensor._rebuild_from_type_v2"]: self.of_class}
        data = self.archive.read("data.pkl")
        try:
            loaded = Unpickler(data, self.find_global, calls, self.news, set_state, self.storage).load()
        except NotTheFile as carrier:
            raise carrier.args[0] from None
        if not all(storage.used for storage in self.storages.values()):
            raise UnpicklingError("the checkpoint holds a bare storage: save tensors in place of storages")
        if self.converted:
            warn_of_bfloat16(self.archive.name)
        return loaded

    def find_global(self, module: str, name: str) -> Any:
        full_name = f"{module}.{name}"
        full_name = OLD_NAMES.get(full_name, full_name)
        if full_name.startswith("__builtin__."):
            full_name = f"builtins.{name}"
        found = GLOBALS.get(full_name)
        if found is None:
            found = self.find_module(module, name)
        if found is None:
            raise UnpicklingError(f"this checkpoint asks for {shown(full_name)}: {_refusal(full_name)}")
        return found

    def find_module(self, module: str, name: str) -> Any:
        """A module's class that the program has imported, or a function of `nn.functional`; None if it is neither.

        Raises:
            UnpicklingError: it is the class, and only weights were asked for.
        """
        kind = class_named(module, name)
        if kind is None:
            return function_named(module, name) if self.modules else None
        if not self.modules:
            raise UnpicklingError(
                f"this checkpoint asks for {shown(f'{module}.{name}')}: it holds a whole module. load(..., "
                "weights_only=False) makes it of the class that this program has imported; better save and load "
                "state_dict()"
            )
        self.news[kind] = empty_module(kind)
        return kind

    # ---- storages --------------------------------------------------------------------------------------------------

    def storage(self, identity: Any) -> StoredMemory:
        """The storage for a persistent id: ("storage", its class, key, location, number of elements)."""
        _require(type(identity) is tuple and len(identity) == 5, "a storage's identity")
        what, kind, key, location, count = identity
        _require(_is_one_of(what, "storage"), "a persistent id that is no storage")
        _require(type(kind) is StorageKind and type(key) is str and type(location) is str, "a storage's identity")
        _require(type(count) is int and count >= 0, "a storage's size")
        storage = self.storages.get(key)
        if storage is None:
            itemsize = 2 if kind.bfloat16 else kind.dtype.itemsize
            content = self.archive.read_array(f"data/{key}", count * itemsize)
            storage = StoredMemory(content, kind, self.swapped)
            self.converted |= kind.bfloat16
            self.storages[key] = self.placed(storage, location)
        _require(storage._kind is kind, f"storage {key!r:.80} is of two types")
        return storage

    def placed(self, storage: StoredMemory, location: str) -> StoredMemory:
        """The storage where `map_location` wants it, which can only be here.

        Raises:
            RuntimeError: it is to be on another device than the cpu.
        """
        wanted = self.map_location
        if isinstance(wanted, dict):
            location = wanted.get(location, location)
        elif callable(wanted):
            try:
                answer = wanted(storage, location)
            except Exception as error:
                raise NotTheFile(error) from None
            if answer is storage:
                location = "cpu"
            elif answer is not None:
                wrong = type(answer).__name__
                raise NotTheFile(TypeError(f"map_location must return the storage or None, got {wrong}"))
        elif wanted is not None:
            location = wanted.decode() if isinstance(wanted, bytes) else wanted
        if str(location).partition(":")[0] != "cpu":
            raise RuntimeError(
                f"Attempting to deserialize object on device {shown(str(location))}, but tensors are NumPy arrays on "
                "the cpu here: write load(..., map_location='cpu')"
            )
        return storage

    # ---- tensors ---------------------------------------------------------------------------------------------------

    def tensor(
        self,
        storage: Any,
        offset: Any,
        size: Any,
        stride: Any,
        requires_grad: Any = False,
        backward_hooks: Any = None,
        metadata: Any = None,
    ) -> Tensor:
        _require(type(storage) is StoredMemory and storage._kind is not BYTES, "a tensor's storage")
        return self.rebuilt(storage, storage._kind.dtype, offset, size, stride, requires_grad, metadata)

    def tensor_of_type(
        self,
        storage: Any,
        offset: Any,
        size: Any,
        stride: Any,
        requires_grad: Any,
        backward_hooks: Any,
        dtype: Any,
        metadata: Any = None,
    ) -> Tensor:
        _require(type(storage) is StoredMemory and storage._kind is BYTES, "a tensor's storage")
        _require(isinstance(dtype, dtype_class) and dtype in UNTYPED_FACES, "a tensor's type")
        return self.rebuilt(storage, dtype.dtype, offset, size, stride, requires_grad, metadata)

    def rebuilt(
        self, storage: Any, dtype: Any, offset: Any, size: Any, stride: Any, requires_grad: Any, metadata: Any
    ) -> Tensor:
        _require(type(offset) is int and offset >= 0 and _are_counts(size) and _are_counts(stride), "a tensor's layout")
        _require(len(size) == len(stride) <= 64 and type(requires_grad) is bool, "a tensor's layout")
        _require(metadata is None or type(metadata) is dict, "a tensor's metadata")
        flat = storage.flat(dtype, tuple(bit for bit in PUT_OFF if metadata and metadata.get(bit) is True))
        last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        if 0 in size:
            array = np.empty(size, dtype)
        elif last >= len(flat):
            raise UnpicklingError(
                f"a tensor of shape {size} reaches element {last} of a storage of {len(flat)}: the file is damaged"
            )
        else:
            steps = [step * dtype.itemsize if n > 1 else dtype.itemsize for n, step in zip(size, stride, strict=True)]
            array = np.ndarray(size, dtype, flat, offset * dtype.itemsize, steps)
            if any(step == 0 and n > 1 for n, step in zip(size, stride, strict=True)):
                array.flags.writeable = False  # an expanded tensor, as `expand` makes it
        _require(not requires_grad or array.dtype.kind in "fc", "a tensor of integers that requires grad")
        tensor = make_tensor(array, None, Alias(storage._counter))
        return tensor.requires_grad_() if requires_grad else tensor

    def parameter(self, data: Any, requires_grad: Any, backward_hooks: Any = None, state: Any = None) -> Parameter:
        _require(type(data) is Tensor and type(requires_grad) is bool, "a parameter")
        parameter = Parameter(data.detach(), requires_grad)
        if state:
            parameter.__dict__.update(_as_dict(state, Parameter))
        return parameter

    def of_class(self, function: Any, kind: Any, args: Any, state: Any) -> Tensor:
        """A tensor with a class and attributes of its own."""
        _require(type(function) is Named and function in self.tensor_rules and type(args) is tuple, "a tensor's class")
        tensor: Tensor = self.tensor_rules[function](*args)
        _require(_is_one_of(kind, Tensor, Parameter, Buffer), "a tensor's class")
        attributes = dict(_as_dict(state, object)) if state else {}
        if attributes.pop("_is_buffer", False) is True or kind is Buffer:
            persistent = attributes.pop("persistent", True)
            _require(type(persistent) is bool, "a buffer")
            tensor = Buffer(tensor.detach(), persistent=persistent)
        elif kind is Parameter and type(tensor) is Tensor:
            tensor = Parameter(tensor.detach(), tensor.requires_grad)
        if attributes and type(tensor) is not Tensor:
            tensor.__dict__.update(_as_dict(attributes, type(tensor)))
        elif attributes:
            names = shown(", ".join(attributes))
            warn(f"attributes of a tensor were left out: {names}")
        return tensor


def read_checkpoint(archive: ArchiveReader, map_location: Any, modules: bool) -> Any:
    """What was saved in an archive; with `modules` also whole ones.

    Raises:
        UnpicklingError: the file asks for something that is not loaded, or describes tensors that cannot be.
        RuntimeError: it is damaged, or wants another device.
    """
    archive.check_version()
    return Checkpoint(archive, map_location, modules).load()
