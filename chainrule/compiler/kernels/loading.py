"""From machine code to functions: LLVM's loader alone, without Numba, which takes a third of a second to import."""

from __future__ import annotations

import ctypes
import functools
import linecache
import os
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["TABLE", "defined", "in_parts_of", "load"]

# what machine code needs of Python, by the order in which its table has them
TABLE = (
    "Py_None",
    "Py_IncRef",
    "PyArray_Type",
    "PyExc_IndexError",
    "PyExc_MemoryError",
    "PyExc_TypeError",
    "PyErr_SetString",
    "PyErr_Occurred",
    "PyFloat_AsDouble",
    "PyLong_AsSsize_t",
    "PyEval_SaveThread",
    "PyEval_RestoreThread",
)
FASTCALL = 0x80  # METH_FASTCALL: arguments come as an array
OBJECTS = {"Py_None": None, "PyArray_Type": np.ndarray}
lock = threading.RLock()
alive: list[Any] = []  # what the functions refer to
in_parts_of: dict[Any, Callable[..., Any]] = {}  # the functions that run kernels in parts, by the kernels
if hasattr(os, "register_at_fork"):  # the loader has locks of its own: nobody forks while it works
    os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release)


class MethodDefinition(ctypes.Structure):
    """Python's PyMethodDef."""

    _fields_ = [
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    ]


def defined(source: str, name: str, key: str) -> Callable[..., Any]:
    """Run the module text and return its function `name`."""
    filename = f"<chainrule kernel {name} {key[:8]}>"
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)  # for tracebacks
    namespace: dict[str, Any] = {"__name__": __name__}
    exec(compile(source, filename, "exec"), namespace)
    function: Callable[..., Any] = namespace[name]
    function.__qualname__ = f"{name}_{key}"  # symbols of two kernels never have the same name
    return function


@functools.cache
def engine() -> Any:
    """LLVM's loader of machine code."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(jit=True)
    return llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)


@functools.cache
def addresses() -> list[int]:
    """What stands in the table."""
    found = []
    for name in TABLE:
        if name in OBJECTS:
            found.append(id(OBJECTS[name]))
        else:
            found.append(ctypes.addressof(ctypes.c_char.in_dll(ctypes.pythonapi, name)))
    return found


def load(code: bytes, name: str, key: str) -> Callable[..., Any]:
    """The function `entry_<key>` of an object file, as a built-in function called `name`.

    Raises:
        ValueError: there is none in it.
    """
    from llvmlite.binding import ObjectFileRef

    with lock:
        loader = engine()
        loader.add_object_file(ObjectFileRef.from_data(code))
        loader.finalize_object()
        function, table = loader.get_function_address(f"entry_{key}"), loader.get_global_value_address(f"python_{key}")
        if not function or not table:
            raise ValueError(f"the machine code of {name} lacks its entry")
        filled = (ctypes.c_size_t * len(TABLE))(*addresses())
        ctypes.memmove(table, filled, ctypes.sizeof(filled))
        alive.append(code)
        made = built_in(name, function)
        parts = loader.get_function_address(f"parts_{key}")
        if parts:
            in_parts_of[made] = built_in(name, parts)
        return made


def built_in(name: str, address: int) -> Callable[..., Any]:
    """Machine code as a function of Python's."""
    definition = MethodDefinition(name.encode(), address, FASTCALL, None)
    alive.append(definition)
    make = ctypes.pythonapi.PyCFunction_NewEx
    make.restype, make.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
    made: Callable[..., Any] = make(ctypes.addressof(definition), None, None)
    return made
