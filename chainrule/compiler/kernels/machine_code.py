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
FAILED, FULL = 1, 2
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


# ----- the functions that Python calls -----


def entry(context: Any, description: Any, parameters: Any, key: str, source: str) -> Any:
    """A module with the functions that take Python's arguments and call the kernel.

    `entry_<key>` calls it once. Where it can be run in parts there is `parts_<key>` as well: it is given the address of
    a function that runs another on several threads, and the arguments of each part, one after the other.
    """
    module = context.create_module(f"entry_{key}")
    kernel = context.declare_function(module, description)
    table = ir.GlobalVariable(module, ir.ArrayType(pointer, len(TABLE)), f"python_{key}")
    table.initializer = ir.Constant(table.value_type, None)
    whole = Entry(module, kernel, table, context, f"entry_{key}", parameters)
    shared = any(parameter.name == "uint64" for parameter in parameters)  # among threads, in parts
    whole.call_once(shared, source)
    if shared:
        Entry(module, kernel, table, context, f"parts_{key}", parameters).call_in_parts(key, source)
    return module


class Entry:
    """A built-in function of Python's: `result = function(module, arguments, count)`."""

    def __init__(self, module: Any, kernel: Any, table: Any, context: Any, name: str, parameters: Any) -> None:
        self.module, self.kernel, self.table, self.context = module, kernel, table, context
        self.parameters = parameters
        kind = ir.FunctionType(pointer, (pointer, pointer.as_pointer(), size))
        self.builder = ir.IRBuilder(ir.Function(module, kind, name).append_basic_block())
        _, self.given, self.count = self.builder.function.args

    def python(self, name: str) -> Any:
        """An address in the table."""
        return self.builder.load(self.builder.gep(self.table, (int32(0), int32(TABLE.index(name)))))

    def call(self, name: str, result: Any, *args: Any) -> Any:
        """Call a function of Python's."""
        function = ir.FunctionType(result, [arg.type for arg in args])
        return self.builder.call(self.builder.bitcast(self.python(name), function.as_pointer()), args)

    def fail(self, error: str, text: str) -> None:
        """Raise an error."""
        message = cgutils.global_constant(self.module, "message", cgutils.make_bytearray(text.encode() + b"\0"))
        self.call(
            "PyErr_SetString",
            ir.VoidType(),
            self.builder.load(self.builder.bitcast(self.python(error), pointer.as_pointer())),
            self.builder.bitcast(message, pointer),
        )
        self.builder.ret(ir.Constant(pointer, None))

    def fail_if(self, condition: Any, error: str, text: str) -> None:
        """Raise an error where a condition holds."""
        with cgutils.if_unlikely(self.builder, condition):
            self.fail(error, text)

    def item(self, position: Any) -> Any:
        """An argument."""
        return self.builder.load(self.builder.gep(self.given, (position,)))

    def array_item(self, item: Any, parameter: ArrayKind, i: int) -> Any:
        """An argument that must be an array of this kind."""
        fits = is_array(self.builder, item, parameter, self.python("PyArray_Type"))
        text = f"argument {i + 1} of a kernel must be an array {parameter}, in order in memory"
        self.fail_if(self.builder.not_(fits), "PyExc_TypeError", text)
        return item

    def number(self, item: Any, name: str) -> Any:
        """An argument that must be a number."""
        builder = self.builder
        if name == "float64":
            value, failed = self.call("PyFloat_AsDouble", ir.DoubleType(), item), ir.DoubleType()(-1.0)
            found = builder.fcmp_ordered("==", value, failed)
        else:
            value, failed = self.call("PyLong_AsSsize_t", size, item), size(-1)
            found = builder.icmp_signed("==", value, failed)
        with cgutils.if_unlikely(builder, found):
            raised = self.call("PyErr_Occurred", pointer)
            with cgutils.if_unlikely(builder, cgutils.is_not_null(builder, raised)):
                builder.ret(ir.Constant(pointer, None))
        return value

    def finish(self, status: Any, source: str) -> None:
        """Return None, or raise what the kernel has.

        Args:
            status: FAILED, FULL, neither or both.
            source: the kernel's text.
        """
        builder = self.builder
        full = builder.icmp_signed("!=", builder.and_(status, size(FULL)), size(0))
        self.fail_if(full, "PyExc_MemoryError", "no memory is left for a kernel")
        messages = dict.fromkeys(re.findall(r'raise IndexError\("([^"]*)"\)', source))
        text = next(iter(messages)) if len(messages) == 1 else "an index is out of bounds"
        self.fail_if(builder.icmp_signed("!=", status, size(0)), "PyExc_IndexError", text)
        none = self.python("Py_None")
        self.call("Py_IncRef", ir.VoidType(), none)
        self.builder.ret(none)

    def call_once(self, shared: bool, source: str) -> None:
        """The body: call the kernel."""
        builder, count = self.builder, len(self.parameters)
        wrong = builder.icmp_signed("!=", self.count, size(count))
        self.fail_if(wrong, "PyExc_TypeError", f"a kernel takes {count} arguments")
        values = []
        for i, parameter in enumerate(self.parameters):
            item = self.item(size(i))
            if isinstance(parameter, ArrayKind):
                values.append(array(self.context, builder, self.array_item(item, parameter, i), parameter))
            else:
                values.append(self.number(item, parameter.name))
        state = self.call("PyEval_SaveThread", pointer) if shared else None
        status = call_kernel(self.context, builder, self.kernel, self.parameters, values)
        if shared:
            self.call("PyEval_RestoreThread", ir.VoidType(), state)
        self.finish(status, source)

    def call_in_parts(self, key: str, source: str) -> None:
        """The body: call the kernel on several threads at the same time, each with arguments of its own.

        A part's arguments are handed on as a block of words: how it ended, then numbers and arrays' addresses.
        """
        builder, count = self.builder, len(self.parameters)
        part = self.part(key)
        run = self.number(self.item(size(0)), "uint64")
        rest = builder.sub(self.count, size(1))
        parts = builder.sdiv(rest, size(count))
        wrong = builder.or_(
            builder.icmp_signed("!=", rest, builder.mul(parts, size(count))), builder.icmp_signed("<", parts, size(1))
        )
        self.fail_if(wrong, "PyExc_TypeError", f"a kernel takes {count} arguments for each part")
        blocks = builder.alloca(size, builder.mul(parts, size(count + 1)))
        with cgutils.for_range(builder, parts) as loop:
            block = builder.gep(blocks, (builder.mul(loop.index, size(count + 1)),))
            for i, parameter in enumerate(self.parameters):
                item = self.item(builder.add(builder.mul(loop.index, size(count)), size(i + 1)))
                if isinstance(parameter, ArrayKind):
                    word = builder.ptrtoint(self.array_item(item, parameter, i), size)
                else:
                    word = self.number(item, parameter.name)
                    if word.type != size:
                        word = builder.bitcast(word, ir.IntType(64))
                place = builder.gep(block, (size(i + 1),))
                builder.store(word, builder.bitcast(place, word.type.as_pointer()))
        state = self.call("PyEval_SaveThread", pointer)
        kind = ir.FunctionType(int32, (int32, pointer, pointer, int32))
        function = builder.inttoptr(run, kind.as_pointer())
        args = [builder.trunc(parts, int32), builder.bitcast(part, pointer), builder.bitcast(blocks, pointer)]
        builder.call(function, [*args, int32((count + 1) * size.width // 8)])
        self.call("PyEval_RestoreThread", ir.VoidType(), state)
        raised = cgutils.alloca_once_value(builder, size(0))
        with cgutils.for_range(builder, parts) as loop:
            block = builder.gep(blocks, (builder.mul(loop.index, size(count + 1)),))
            builder.store(builder.or_(builder.load(raised), builder.load(block)), raised)
        self.finish(builder.load(raised), source)

    def part(self, key: str) -> Any:
        """A function that runs one part, given the address of its block. It knows nothing of Python."""
        kind = ir.FunctionType(ir.VoidType(), (pointer,))
        function = ir.Function(self.module, kind, f"part_{key}")
        function.linkage = "internal"
        builder = ir.IRBuilder(function.append_basic_block())
        step = size.width // 8
        values = []
        for i, parameter in enumerate(self.parameters):
            offset = (i + 1) * step
            if isinstance(parameter, ArrayKind):
                values.append(
                    array(self.context, builder, field(builder, function.args[0], offset, pointer), parameter)
                )
            else:
                number = ir.DoubleType() if parameter.name == "float64" else size
                values.append(field(builder, function.args[0], offset, number))
        status = call_kernel(self.context, builder, self.kernel, self.parameters, values)
        builder.store(status, builder.bitcast(function.args[0], size.as_pointer()))
        builder.ret_void()
        return function


def call_kernel(context: Any, builder: Any, kernel: Any, parameters: Any, values: list[Any]) -> Any:
    """Call the kernel; returns 0, FAILED where it raised, FULL where there was no memory for it."""
    types_of = [numba_type(parameter) for parameter in parameters]
    status, _ = context.call_conv.call_function(builder, kernel, types.void, types_of, values)
    # kernels do not iterate: `vectors.memory` ends them as the end of an iteration does
    failed = builder.select(status.is_error, size(FAILED), size(0))
    return builder.select(status.is_stop_iteration, size(FULL), failed)


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
