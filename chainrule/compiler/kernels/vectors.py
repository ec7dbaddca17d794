"""Vectors of numbers as values in a kernel, as many as one register of the processor holds, and memory. Needs Numba.

A convolution keeps dozens of sums at once. Written with these it keeps them in registers, whatever the compiler would
have made of a loop over single numbers.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model
from numba.np import arrayobj

from .registers import register_bytes

__all__ = ["free", "load", "memory", "multiply_add", "spread", "store"]


class Vector(types.Type):  # type: ignore[misc]
    """So many numbers of a type as fit in a register."""

    def __init__(self, number: Any) -> None:
        self.number = number
        self.lanes = register_bytes() * 8 // number.bitwidth
        super().__init__(f"vector({number}, {self.lanes})")


@register_model(Vector)  # type: ignore[untyped-decorator]
class _VectorModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, vector: Vector) -> None:
        number = manager.lookup(vector.number).get_value_type()
        super().__init__(manager, vector, ir.VectorType(number, vector.lanes))


def place(context: Any, builder: Any, kind: Any, array: Any, index: Any, vector: Vector) -> Any:
    """A pointer to the vector that begins at an element of a flat array."""
    data = context.make_array(kind)(context, builder, array).data
    pointer = ir.VectorType(data.type.pointee, vector.lanes).as_pointer()
    return builder.bitcast(builder.gep(data, [index]), pointer)


@intrinsic  # type: ignore[untyped-decorator]
def load(typing: Any, array: Any, index: Any) -> Any:
    """The vector of elements of a flat array from an index on."""
    vector = Vector(array.dtype)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value = builder.load(place(context, builder, signature.args[0], *args, vector))
        value.align = array.dtype.bitwidth // 8
        return value

    return vector(array, types.intp), generate


@intrinsic  # type: ignore[untyped-decorator]
def store(typing: Any, array: Any, index: Any, value: Any) -> Any:
    """Write a vector to a flat array, from an index on."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        written = builder.store(args[2], place(context, builder, signature.args[0], *args[:2], value))
        written.align = array.dtype.bitwidth // 8
        return context.get_dummy_value()

    return types.void(array, types.intp, value), generate


@intrinsic  # type: ignore[untyped-decorator]
def spread(typing: Any, number: Any) -> Any:
    """A vector of one number, again and again."""
    vector = Vector(number)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        integer = ir.IntType(32)
        empty = ir.Constant(ir.VectorType(args[0].type, vector.lanes), ir.Undefined)
        one = builder.insert_element(empty, args[0], ir.Constant(integer, 0))
        order = ir.Constant(ir.VectorType(integer, vector.lanes), [0] * vector.lanes)
        return builder.shuffle_vector(one, empty, order)

    return vector(number), generate


@intrinsic  # type: ignore[untyped-decorator]
def multiply_add(typing: Any, x: Any, y: Any, z: Any) -> Any:
    """`x * y + z`, rounded once where the processor can."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        product = builder.fmul(args[0], args[1], flags=("contract",))
        return builder.fadd(product, args[2], flags=("contract",))

    return z(x, y, z), generate


# ----- memory -----

byte = ir.IntType(8).as_pointer()


@intrinsic  # type: ignore[untyped-decorator]
def memory(typing: Any, count: Any, kind: Any) -> Any:
    """An array of one dimension, of any content, which `free` has to give back."""
    result = types.Array(kind.dtype, 1, "C")

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data_type = context.get_data_type(result.dtype)
        width = context.get_constant(types.intp, context.get_abi_sizeof(data_type))
        size = builder.sext(args[0], width.type) if args[0].type.width < width.type.width else args[0]
        malloc = cgutils.get_or_insert_function(builder.module, ir.FunctionType(byte, [width.type]), "malloc")
        data = builder.call(malloc, [builder.mul(size, width)])
        new = arrayobj.make_array(result)(context, builder)
        pointer = builder.bitcast(data, data_type.as_pointer())
        arrayobj.populate_array(new, data=pointer, shape=[size], strides=[width], itemsize=width, meminfo=None)
        return new._getvalue()

    return result(types.intp, kind), generate


@intrinsic  # type: ignore[untyped-decorator]
def free(typing: Any, array: Any) -> Any:
    """Give an array of `memory` back."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(ir.VoidType(), [byte]), "free")
        builder.call(function, [builder.bitcast(data, byte)])
        return context.get_dummy_value()

    return types.void(array), generate
