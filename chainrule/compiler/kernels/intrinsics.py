"""What the text of a kernel calls beside Python's operators: single LLVM instructions. Needs Numba.

They are why a loop over them vectorises, and why everything else in a kernel can keep the strict rules of floating
point: only `plus`, which adds up a sum, lets the compiler choose an order.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np import arrayobj

__all__ = ["as_shape", "larger", "maximum", "minimum", "plus", "row_of", "separate", "smaller", "where"]


@intrinsic  # type: ignore[untyped-decorator]
def separate(typing: Any) -> Any:
    """Tell the compiler that no two of the function's arrays share memory, which it else checks for each pair."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        for arg in builder.function.args:
            if arg.name.endswith(".4") and isinstance(arg.type, ir.PointerType):  # an array's fifth field: its data
                arg.add_attribute("noalias")
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic  # type: ignore[untyped-decorator]
def plus(typing: Any, x: Any, y: Any) -> Any:
    """`x + y` as a step of a sum whose terms may be added in any order."""
    if x != y:
        return None

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if isinstance(signature.return_type, types.Float):
            return builder.fadd(*args, flags=("reassoc",))
        return builder.add(*args)

    return x(x, x), generate


def extreme(name: str, comparison: str) -> Any:
    """The larger or smaller of two numbers; NaN if one of them is."""

    def declare(typing: Any, x: Any, y: Any) -> Any:
        if x != y:
            return None

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            kind = args[0].type
            if isinstance(signature.return_type, types.Float):
                function = builder.module.declare_intrinsic(f"llvm.{name}", [kind], ir.FunctionType(kind, [kind, kind]))
                return builder.call(function, args)
            compare = builder.icmp_signed if signature.return_type.signed else builder.icmp_unsigned
            return builder.select(compare(comparison, *args), *args)

        return x(x, x), generate

    declare.__name__ = name
    return intrinsic(declare)


maximum = extreme("maximum", ">")
minimum = extreme("minimum", "<")


def extreme_of_numbers(name: str, comparison: str) -> Any:
    """The larger or smaller of two numbers, where neither is NaN; else anything, to be used for nothing."""

    def declare(typing: Any, x: Any, y: Any) -> Any:
        if x != y or not isinstance(x, types.Float):
            return None

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            flags = ("nnan", "nsz")
            return builder.select(builder.fcmp_ordered(comparison, *args, flags=flags), *args, flags=flags)

        return x(x, x), generate

    declare.__name__ = name
    return intrinsic(declare)


larger = extreme_of_numbers("larger", ">")
smaller = extreme_of_numbers("smaller", "<")


@intrinsic  # type: ignore[untyped-decorator]
def where(typing: Any, condition: Any, x: Any, y: Any) -> Any:
    """`x if condition else y` without a branch."""
    if x != y or condition != types.boolean:
        return None

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.select(*args)

    return x(condition, x, x), generate


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def row_of(typing: Any, count: Any, kind: Any) -> Any:
    """An array of one dimension, for as long as the function runs: on the stack, where nobody has to free it."""
    if not isinstance(count, types.IntegerLiteral):
        return None
    length = count.literal_value
    result = types.Array(kind.dtype, 1, "C")

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data_type = context.get_data_type(result.dtype)
        new = arrayobj.make_array(result)(context, builder)
        data = cgutils.alloca_once(builder, data_type, size=length)
        data.align = 64
        width = context.get_constant(types.intp, context.get_abi_sizeof(data_type))
        size = context.get_constant(types.intp, length)
        arrayobj.populate_array(new, data=data, shape=[size], strides=[width], itemsize=width, meminfo=None)
        return new._getvalue()

    return result(count, kind), generate


@intrinsic  # type: ignore[untyped-decorator]
def as_shape(typing: Any, array: Any, shape: Any) -> Any:
    """A contiguous array's memory in another shape, given as a tuple."""
    count = len(shape)
    result = types.Array(array.dtype, count, "C")

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        old = arrayobj.make_array(signature.args[0])(context, builder, args[0])
        new = arrayobj.make_array(result)(context, builder)
        sizes = cgutils.unpack_tuple(builder, args[1], count)
        strides: list[Any] = []
        step = old.itemsize
        for size in reversed(sizes):
            strides.insert(0, step)
            step = builder.mul(step, size)
        arrayobj.populate_array(new, data=old.data, shape=sizes, strides=strides, itemsize=old.itemsize, meminfo=None)
        return new._getvalue()

    return result(array, shape), generate
