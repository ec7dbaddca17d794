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

__all__ = [
    "filled",
    "free",
    "load",
    "maximum_of",
    "memory",
    "multiply_add",
    "multiply_tile",
    "store",
    "store_tile",
    "transpose_block",
]


class Vectors(types.Type):  # type: ignore[misc]
    """`count` vectors of so many numbers of a type as fit in a register."""

    def __init__(self, number: Any, count: int) -> None:
        self.number = number
        self.count = count
        self.lanes = register_bytes() * 8 // number.bitwidth
        super().__init__(f"vectors({number}, {self.lanes}, {count})")

    def of(self, number: Any) -> Any:
        """LLVM's type of one vector of LLVM's numbers."""
        return ir.VectorType(number, self.lanes)


@register_model(Vectors)
class _VectorsModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, vectors: Vectors) -> None:
        number = manager.lookup(vectors.number).get_value_type()
        super().__init__(manager, vectors, ir.ArrayType(vectors.of(number), vectors.count))


def places(context: Any, builder: Any, kind: Any, array: Any, index: Any, vectors: Vectors, step: int) -> list[Any]:
    """Pointers to vectors in a flat array: the first begins at an element, and the others so many elements apart."""
    data = context.make_array(kind)(context, builder, array).data
    pointer = vectors.of(data.type.pointee).as_pointer()
    offsets = [builder.add(index, index.type(k * step)) for k in range(vectors.count)]
    return [builder.bitcast(builder.gep(data, [offset]), pointer) for offset in offsets]


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def filled(typing: Any, number: Any, count: Any) -> Any:
    """So many vectors of one number, again and again."""
    vectors = Vectors(number, count.literal_value)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        result = ir.Constant(context.get_value_type(vectors), ir.Undefined)
        for k in range(vectors.count):
            result = builder.insert_value(result, spread(builder, args[0], vectors.lanes), k)
        return result

    return vectors(number, count), generate


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def load(typing: Any, array: Any, index: Any, count: Any, step: Any) -> Any:
    """So many vectors of elements of a flat array: the first begins at an index, the others `step` elements apart."""
    vectors = Vectors(array.dtype, count.literal_value)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        result = ir.Constant(context.get_value_type(vectors), ir.Undefined)
        found = places(context, builder, signature.args[0], args[0], args[1], vectors, step.literal_value)
        for k, pointer in enumerate(found):
            value = builder.load(pointer)
            value.align = array.dtype.bitwidth // 8
            result = builder.insert_value(result, value, k)
        return result

    return vectors(array, types.unliteral(index), count, step), generate


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def store(typing: Any, array: Any, index: Any, vectors: Any, step: Any) -> Any:
    """Write vectors to a flat array: the first from an index on, the others `step` elements apart."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        found = places(context, builder, signature.args[0], args[0], args[1], vectors, step.literal_value)
        for k, pointer in enumerate(found):
            written = builder.store(builder.extract_value(args[2], k), pointer)
            written.align = array.dtype.bitwidth // 8
        return context.get_dummy_value()

    return types.void(array, types.unliteral(index), vectors, step), generate


@intrinsic  # type: ignore[untyped-decorator]
def multiply_add(typing: Any, x: Any, y: Any, z: Any) -> Any:
    """`x * y + z` of vectors `y` and `z` and one number, or one vector, `x`; rounded once where the processor can."""
    if not isinstance(y, Vectors) or y != z or x not in (y.number, Vectors(y.number, 1)):
        return None

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        factor = builder.extract_value(args[0], 0) if isinstance(x, Vectors) else spread(builder, args[0], y.lanes)
        result = args[2]
        for k in range(y.count):
            product = builder.fmul(factor, builder.extract_value(args[1], k), flags=("contract",))
            total = builder.fadd(product, builder.extract_value(args[2], k), flags=("contract",))
            result = builder.insert_value(result, total, k)
        return result

    return z(x, y, z), generate


@intrinsic  # type: ignore[untyped-decorator]
def maximum_of(typing: Any, x: Any, y: Any) -> Any:
    """The larger numbers of vectors `x` and of as many others, or of one number, `y`; NaN where one of them is."""
    if not isinstance(x, Vectors) or y not in (x.number, x):
        return None

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        result = args[0]
        for k in range(x.count):
            one = builder.extract_value(args[0], k)
            other = spread(builder, args[1], x.lanes) if y == x.number else builder.extract_value(args[1], k)
            name = f"llvm.maximum.v{x.lanes}f{x.number.bitwidth}"
            kind = ir.FunctionType(one.type, [one.type, one.type])
            function = cgutils.get_or_insert_function(builder.module, kind, name)
            result = builder.insert_value(result, builder.call(function, [one, other]), k)
        return result

    return x(x, y), generate


def spread(builder: Any, number: Any, lanes: int) -> Any:
    """A vector of one number, again and again."""
    integer = ir.IntType(32)
    empty = ir.Constant(ir.VectorType(number.type, lanes), ir.Undefined)
    one = builder.insert_element(empty, number, ir.Constant(integer, 0))
    return builder.shuffle_vector(one, empty, ir.Constant(ir.VectorType(integer, lanes), [0] * lanes))


# ----- matrix products -----

long = ir.IntType(64)


def data_of(context: Any, builder: Any, kind: Any, array: Any) -> Any:
    """The pointer to an array's first element."""
    return context.make_array(kind)(context, builder, array).data


def vector_at(builder: Any, pointer: Any, vectors: Vectors) -> Any:
    """A pointer to an element as one to a vector."""
    return builder.bitcast(pointer, vectors.of(pointer.type.pointee).as_pointer())


def load_from(builder: Any, pointer: Any, vectors: Vectors) -> Any:
    """The vector that begins at a pointer to an element."""
    value = builder.load(vector_at(builder, pointer, vectors))
    value.align = vectors.number.bitwidth // 8
    return value


def store_to(builder: Any, value: Any, pointer: Any, vectors: Vectors) -> None:
    """Write a vector from a pointer to an element on."""
    written = builder.store(value, vector_at(builder, pointer, vectors))
    written.align = vectors.number.bitwidth // 8


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def multiply_tile(
    typing: Any, left: Any, at: Any, down: Any, along: Any, panel: Any, beside: Any, inner: Any, rows: Any, count: Any
) -> Any:
    """A tile of a product of matrices, kept in registers: `rows` rows of `count` vectors, one row after the other.

    Args:
        left: the left matrix as a flat array; its element (i, k) of the tile is at `at + i * down + k * along`.
        panel: of the right matrix: the tile's `count` vectors of its row 0 from `beside` on, then those of row 1, ...
        inner: how many products are added up for each number.
    """
    vectors = Vectors(left.dtype, rows.literal_value * count.literal_value)
    one = types.IntegerLiteral(1)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        height, width = rows.literal_value, count.literal_value
        start, below, step, to, depth = (
            long(1) if signature.args[k] == one else args[k] for k in (1, 2, 3, 5, 6)
        )  # a one that is known lets the elements lie side by side for the compiler as well
        data = data_of(context, builder, signature.args[0], args[0])
        lines = [builder.gep(data, [builder.add(start, builder.mul(below, long(i)))]) for i in range(height)]
        place = builder.gep(data_of(context, builder, signature.args[4], args[4]), [to])
        kind = vectors.of(data.type.pointee)
        zero = kind([0.0] * vectors.lanes)
        before, loop, after = builder.block, builder.append_basic_block(), builder.append_basic_block()
        builder.cbranch(builder.icmp_signed(">", depth, long(0)), loop, after)

        builder.position_at_end(loop)
        k = builder.phi(long)
        sums = [builder.phi(kind) for _ in range(vectors.count)]
        line = builder.gep(place, [builder.mul(k, long(width * vectors.lanes))])
        row = [load_from(builder, builder.gep(line, [long(v * vectors.lanes)]), vectors) for v in range(width)]
        offset, found = builder.mul(k, step), []
        for i in range(height):
            factor = spread(builder, builder.load(builder.gep(lines[i], [offset])), vectors.lanes)
            for v in range(width):
                product = builder.fmul(factor, row[v], flags=("contract",))
                found.append(builder.fadd(product, sums[i * width + v], flags=("contract",)))
        following = builder.add(k, long(1))
        for value, first, then in zip([k, *sums], [long(0), *[zero] * len(sums)], [following, *found], strict=True):
            value.add_incoming(first, before)
            value.add_incoming(then, loop)
        builder.cbranch(builder.icmp_signed("<", following, depth), loop, after)

        builder.position_at_end(after)
        result = ir.Constant(context.get_value_type(vectors), ir.Undefined)
        for index, last in enumerate(found):
            total = builder.phi(kind)
            total.add_incoming(zero, before)
            total.add_incoming(last, loop)
            found[index] = total
        for index, total in enumerate(found):
            result = builder.insert_value(result, total, index)
        return result

    distances = [kind if kind == one else types.int64 for kind in (down, along)]
    return vectors(left, types.int64, *distances, panel, types.int64, types.int64, rows, count), generate


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def store_tile(typing: Any, target: Any, at: Any, pitch: Any, tile: Any, count: Any, adds: Any) -> Any:
    """Write a tile of rows of `count` vectors to a flat array, its rows `pitch` apart; `adds`: to what is there."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        width = count.literal_value
        data = data_of(context, builder, signature.args[0], args[0])
        lines = [builder.mul(args[2], long(i)) for i in range(tile.count // width)]
        starts = [builder.gep(data, [builder.add(args[1], line)]) for line in lines]
        places = [builder.gep(start, [long(v * tile.lanes)]) for start in starts for v in range(width)]
        values = [builder.extract_value(args[3], index) for index in range(tile.count)]
        with builder.if_else(args[5]) as (yes, no):
            with yes:
                for place, value in zip(places, values, strict=True):
                    store_to(builder, builder.fadd(load_from(builder, place, tile), value), place, tile)
            with no:
                for place, value in zip(places, values, strict=True):
                    store_to(builder, value, place, tile)
        return context.get_dummy_value()

    return types.void(target, types.int64, types.int64, tile, count, types.boolean), generate


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def transpose_block(typing: Any, source: Any, at: Any, pitch: Any, target: Any, to: Any, step: Any) -> Any:
    """Write the transpose of a square of a flat array to another: as many rows as a vector has numbers.

    Args:
        at: where the square begins; its rows are `pitch` apart.
        to: where the transpose begins; its rows are `step` apart.
    """
    vectors = Vectors(source.dtype, 1)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        lanes = vectors.lanes
        data = data_of(context, builder, signature.args[0], args[0])
        out = data_of(context, builder, signature.args[3], args[3])
        lines = [builder.add(args[1], builder.mul(args[2], long(i))) for i in range(lanes)]
        rows = [load_from(builder, builder.gep(data, [line]), vectors) for line in lines]
        half, mask = lanes // 2, ir.VectorType(ir.IntType(32), lanes)
        low = mask([place for k in range(half) for place in (k, lanes + k)])
        high = mask([place for k in range(half, lanes) for place in (k, lanes + k)])
        for _ in range(lanes.bit_length() - 1):  # each time rows i and i + half are dealt into 2 i and 2 i + 1
            pairs = list(zip(rows[:half], rows[half:], strict=True))
            rows = [builder.shuffle_vector(*pair, part) for pair in pairs for part in (low, high)]
        for i, row in enumerate(rows):
            place = builder.gep(out, [builder.add(args[4], builder.mul(args[5], long(i)))])
            store_to(builder, row, place, vectors)
        return context.get_dummy_value()

    return types.void(source, types.int64, types.int64, target, types.int64, types.int64), generate


# ----- memory -----

byte = ir.IntType(8).as_pointer()


@intrinsic  # type: ignore[untyped-decorator]
def memory(typing: Any, count: Any, kind: Any, *earlier: Any) -> Any:
    """An array of one dimension, of any content, which `free` has to give back.

    Where there is no memory left the kernel ends, and its caller raises MemoryError: see `machine_code.py`. The
    `earlier` arrays are given back before.
    """
    result = types.Array(kind.dtype, 1, "C")

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data_type = context.get_data_type(result.dtype)
        width = context.get_constant(types.intp, context.get_abi_sizeof(data_type))
        size = builder.sext(args[0], width.type) if args[0].type.width < width.type.width else args[0]
        malloc = cgutils.get_or_insert_function(builder.module, ir.FunctionType(byte, [width.type]), "malloc")
        data = builder.call(malloc, [builder.mul(size, width)])
        with cgutils.if_unlikely(builder, cgutils.is_null(builder, data)):
            for i, given in enumerate(signature.args[2]):
                give_back(context, builder, given, builder.extract_value(args[2], i))
            context.call_conv.return_stop_iteration(builder)
        new = arrayobj.make_array(result)(context, builder)
        pointer = builder.bitcast(data, data_type.as_pointer())
        arrayobj.populate_array(new, data=pointer, shape=[size], strides=[width], itemsize=width, meminfo=None)
        return new._getvalue()

    taken = earlier[0].types if earlier and isinstance(earlier[0], types.BaseTuple) else earlier
    return result(types.intp, kind, types.StarArgTuple(taken)), generate


def give_back(context: Any, builder: Any, kind: Any, array: Any) -> None:
    """Call C's `free` on an array's memory."""
    data = context.make_array(kind)(context, builder, array).data
    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(ir.VoidType(), [byte]), "free")
    builder.call(function, [builder.bitcast(data, byte)])


@intrinsic  # type: ignore[untyped-decorator]
def free(typing: Any, array: Any) -> Any:
    """Give an array of `memory` back."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        give_back(context, builder, signature.args[0], args[0])
        return context.get_dummy_value()

    return types.void(array), generate
