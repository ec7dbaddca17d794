"""From the text of a kernel to machine code that Python can call, by Numba. Needs Numba; `loading.py` does not.

The result is an object file with one function for Python, `entry_...`, in the form of a built-in function that takes
its arguments as an array. It checks that each array is what the kernel was compiled for, takes the address of its
elements, and calls the kernel. What it needs of Python stands in a table, `python_...`, which is filled when it is
loaded; beside that it calls the C library at most.
"""

from __future__ import annotations

import functools
import re
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils, compiler, registry
from numba.core.compiler_lock import global_compiler_lock
from numba.np import arrayobj

from .kinds import ArrayKind, NumberKind
from .loading import TABLE, defined

__all__ = ["machine_code"]

# the C library's functions that LLVM may call; anything else would have to be found when the code is loaded
LIBRARY = frozenset(
    name + suffix
    for name in """acos acosh asin asinh atan atan2 atanh ceil copysign cos cosh erf erfc exp exp2 expm1 fabs floor fma
    fmax fmin fmod frexp hypot ldexp lgamma log log10 log1p log2 nearbyint pow remainder rint round roundeven sin sinh
    sqrt tan tanh tgamma trunc""".split()
    for suffix in ("", "f")
) | {"memcpy", "memmove", "memset", "bzero", "malloc", "calloc", "free"}

# fields of an array object, in pointers from the end of the object's head
DATA, COUNT, SIZES, TYPE, FLAGS = 0, 1, 2, 5, 6
ORDER, NUMBER = 2, 4  # of a type object: bytes from the end of its first pointer to its order of bytes, and its number
CONTIGUOUS, ALIGNED, WRITABLE = 0x1, 0x100, 0x400
INTEGER_TYPES = ("b", "B", "h", "H", "i", "I", "l", "L", "q", "Q")

byte = ir.IntType(8)
int32 = ir.IntType(32)
pointer = byte.as_pointer()
size = ir.IntType(8 * np.dtype(np.intp).itemsize)


def machine_code(
    source: str, name: str, parameters: tuple[ArrayKind | NumberKind, ...], key: str, contract: bool = False
) -> bytes:
    """An object file that defines `entry_<key>`.

    Args:
        source: a module that defines the function `name`.
        parameters: what it takes.
        contract: whether a product and a sum may be rounded once.

    Raises:
        numba.core.errors.NumbaError: the text is nothing that Numba can compile.
        ValueError: it needs more than the C library.
    """
    function = defined(source, name, key)
    target = registry.cpu_target
    context = target.target_context
    flags = compiler.Flags()
    flags.no_compile = flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True
    flags.error_model = "numpy"
    if contract:
        flags.fastmath = {"contract"}
    with global_compiler_lock:
        result = compiler.compile_extra(
            target.typing_context, context, function, tuple(map(numba_type, parameters)), types.void, flags, {}
        )
        library = result.library
        library._final_module.get_function(result.fndesc.llvm_func_name).add_function_attribute("noinline")
        library.add_ir_module(entry(context, result.fndesc, parameters, key, source))
        module = library._final_module
        for linked in dict.fromkeys(library._linking_libraries):
            module.link_in(linked._get_module_for_linking(), preserve=True)
        library._optimize_final_module()
        module.verify()
        for symbol in [*module.functions, *module.global_variables]:
            if symbol.is_declaration and not symbol.name.startswith("llvm.") and symbol.name not in LIBRARY:
                raise ValueError(f"{name} calls {symbol.name}")
        code: bytes = library.codegen._tm.emit_object(module)
        return code


def numba_type(kind: ArrayKind | NumberKind) -> Any:
    """A parameter's type in Numba."""
    number = getattr(types, kind.name)
    return types.Array(number, kind.count, "C", readonly=not kind.written) if isinstance(kind, ArrayKind) else number


# ----- the function that Python calls -----


def entry(context: Any, description: Any, parameters: Any, key: str, source: str) -> Any:
    """A module with the function that takes Python's arguments and calls the kernel."""
    module = context.create_module(f"entry_{key}")
    kernel = context.declare_function(module, description)
    table = ir.GlobalVariable(module, ir.ArrayType(pointer, len(TABLE)), f"python_{key}")
    table.initializer = ir.Constant(table.value_type, None)
    kind = ir.FunctionType(pointer, (pointer, pointer.as_pointer(), size))
    builder = ir.IRBuilder(ir.Function(module, kind, f"entry_{key}").append_basic_block())
    _, given, count = builder.function.args

    def python(name: str) -> Any:
        """An address in the table."""
        return builder.load(builder.gep(table, (int32(0), int32(TABLE.index(name)))))

    def call(name: str, result: Any, *args: Any) -> Any:
        function = ir.FunctionType(result, [arg.type for arg in args])
        return builder.call(builder.bitcast(python(name), function.as_pointer()), args)

    def fail(error: str, text: str) -> None:
        message = cgutils.global_constant(module, "message", cgutils.make_bytearray(text.encode() + b"\0"))
        call(
            "PyErr_SetString",
            ir.VoidType(),
            builder.load(builder.bitcast(python(error), pointer.as_pointer())),
            builder.bitcast(message, pointer),
        )
        builder.ret(ir.Constant(pointer, None))

    with cgutils.if_unlikely(builder, builder.icmp_signed("!=", count, size(len(parameters)))):
        fail("PyExc_TypeError", f"a kernel takes {len(parameters)} arguments")
    values = []
    for i, parameter in enumerate(parameters):
        item = builder.load(builder.gep(given, (size(i),)))
        if isinstance(parameter, ArrayKind):
            fits = is_array(builder, item, parameter, python("PyArray_Type"))
            with cgutils.if_unlikely(builder, builder.not_(fits)):
                fail(
                    "PyExc_TypeError", f"argument {i + 1} of a kernel must be an array {parameter}, in order in memory"
                )
            values.append(array(context, builder, item, parameter))
        else:
            value, failed = (
                (call("PyFloat_AsDouble", ir.DoubleType(), item), ir.DoubleType()(-1.0))
                if parameter.name == "float64"
                else (call("PyLong_AsSsize_t", size, item), size(-1))
            )
            compare = builder.fcmp_ordered if parameter.name == "float64" else builder.icmp_signed
            with cgutils.if_unlikely(builder, compare("==", value, failed)):
                raised = call("PyErr_Occurred", pointer)
                with cgutils.if_unlikely(builder, cgutils.is_not_null(builder, raised)):
                    builder.ret(ir.Constant(pointer, None))
            values.append(value)
    shared = any(parameter.name == "uint64" for parameter in parameters)  # among threads, in parts
    state = call("PyEval_SaveThread", pointer) if shared else None
    types_of = [numba_type(parameter) for parameter in parameters]
    status, _ = context.call_conv.call_function(builder, kernel, types.void, types_of, values)
    if shared:
        call("PyEval_RestoreThread", ir.VoidType(), state)
    with cgutils.if_unlikely(builder, status.is_error):
        messages = dict.fromkeys(re.findall(r'raise IndexError\("([^"]*)"\)', source))
        fail("PyExc_IndexError", next(iter(messages)) if len(messages) == 1 else "an index is out of bounds")
    none = python("Py_None")
    call("Py_IncRef", ir.VoidType(), none)
    builder.ret(none)
    return module


def field(builder: Any, item: Any, offset: int, kind: Any) -> Any:
    """What stands in an object, so many bytes from its start."""
    return builder.load(builder.bitcast(builder.gep(item, (size(offset),)), kind.as_pointer()))


def is_array(builder: Any, item: Any, parameter: ArrayKind, array_type: Any) -> Any:
    """Whether an object is an array of this type and number of dimensions whose elements are in order in memory."""
    head, step = object.__basicsize__, size.width // 8
    right = builder.icmp_unsigned("==", field(builder, item, head - step, pointer), array_type)
    block = builder.block
    with builder.if_then(right):
        count = field(builder, item, head + COUNT * step, int32)
        flags = field(builder, item, head + FLAGS * step, int32)
        kind = field(builder, item, head + TYPE * step, pointer)
        number = field(builder, kind, head + step + NUMBER, int32)
        order = field(builder, kind, head + step + ORDER, byte)
        wanted = CONTIGUOUS | ALIGNED | (WRITABLE if parameter.written else 0)
        fits = builder.icmp_signed("==", count, int32(parameter.count))
        fits = builder.and_(fits, builder.icmp_signed("==", builder.and_(flags, int32(wanted)), int32(wanted)))
        same = [np.dtype(c).num for c in (*INTEGER_TYPES, parameter.dtype.char) if np.dtype(c) == parameter.dtype]
        known = functools.reduce(builder.or_, [builder.icmp_signed("==", number, int32(n)) for n in sorted({*same})])
        fits = builder.and_(fits, known)
        native = builder.or_(*(builder.icmp_signed("==", order, byte(ord(letter))) for letter in "=|"))
        fits = builder.and_(fits, native)
        inside = builder.block
    found = builder.phi(ir.IntType(1))
    found.add_incoming(ir.Constant(ir.IntType(1), 0), block)
    found.add_incoming(fits, inside)
    return found


def array(context: Any, builder: Any, item: Any, parameter: ArrayKind) -> Any:
    """Numba's form of an array object; without a reference to it, since the caller has one."""
    kind = numba_type(parameter)
    head, step = object.__basicsize__, size.width // 8
    made = arrayobj.make_array(kind)(context, builder)
    first = field(builder, item, head + SIZES * step, size.as_pointer())
    sizes = [builder.load(builder.gep(first, (size(axis),))) for axis in range(parameter.count)]
    width = context.get_constant(types.intp, parameter.dtype.itemsize)
    strides: list[Any] = []
    stride = width
    for length in reversed(sizes):
        strides.insert(0, stride)
        stride = builder.mul(stride, length)
    data = builder.bitcast(field(builder, item, head + DATA * step, pointer), made.data.type)
    arrayobj.populate_array(made, data=data, shape=sizes, strides=strides, itemsize=width, meminfo=None)
    return made._getvalue()
