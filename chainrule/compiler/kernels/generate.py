"""The text of a kernel: its loops as a Python function that Numba compiles.

Each loop goes over rows; in a row it makes passes over the columns: what a pass adds up, the next ones can use. A value
that several passes need is computed again where that is cheap, and kept in an array of one row where it is not.
Read first: `passes/fusion.py`, which groups operations into loops and kernels.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Collection
from typing import Any

import numpy as np

from ...core.table import name_of
from ..graph import Node
from ..passes.constants import uniform_value
from ..passes.fusion import SAME_ORDER, Kernel, Loop, Place, is_count, same_memory
from .expressions import HEAVY, ReductionOf, element, literal

__all__ = ["KernelText", "can_overwrite", "write_kernel"]

IN_MEMORY = re.compile(r"[\w.]+(\[[^\[\]]*\])?")  # a name, or an element of an array
BLOCK = 4096  # elements that a long sum adds up in the type of its terms, before they go into a total of more digits
MOST_KEPT = 1 << 16  # bytes of rows that a kernel keeps: they are on the stack
CHEAP = 6  # operations that are rather done again than kept
ON_BLOCK = "range(uint64(n0), uint64(n1))"
WIDEST = 88  # characters of an expression that is not split
RESERVED = frozenset(keyword.kwlist) | frozenset(
    """np math abs min range maximum minimum where larger smaller plus separate as_shape row_of r c i first last
    kernel given single boolean float32 float64 int32 int64 uint8 uint64
    left right start stop inner rows depth panels deep k0 r0 r1 n n0 n1""".split()
)


def passed_on(kernel: Kernel) -> set[Node]:
    """The single numbers of a kernel that a later loop of it reads."""
    found = {same_memory(o) for loop in kernel.loops for n in loop.nodes for o in n.operands() if o not in loop.roles}
    return {node for loop in kernel.loops for node in loop.nodes if node.size == 1 and node in found}


class KernelText:
    """A kernel as text.

    Attributes:
        name: of the function.
        source: its definition.
        inputs, outputs: positions of the kernel's inputs and outputs that are the function's parameters, in order.
        split: how many rows or elements can be shared among threads; 0 where it is one call.
        sums: (position of an output, the function that combines it) for what each thread adds up for itself.
        numbers: what it is given before all arrays.
    """

    def __init__(
        self,
        name: str,
        source: str,
        outputs: list[int],
        split: int,
        sums: list[tuple[int, str]],
        numbers: tuple[int, ...] = (),
    ) -> None:
        self.name = name
        self.source = source
        self.outputs = outputs
        self.split = split
        self.sums = sums
        self.numbers = numbers


# ----- passes -----


class Passes:
    """When a loop computes what.

    A pass is one run over the columns of a row. `at[node]` is, for a full value or a reduction along the row, the first
    pass that can compute it; for a row value the pass after which it is known, -1 before the first.
    """

    def __init__(self, loop: Loop, outputs: set[Node], any_length: bool = False) -> None:
        self.loop = loop
        self.at: dict[Node, int] = {}
        self.flat = loop.rows == 1 and loop.widths is None
        for node in loop.nodes:
            self.at[node] = self.first_pass(node)
        self.outputs = [node for node in loop.nodes if node in outputs]
        self.count = 1 + max((self.at[node] for node in loop.nodes if not self.is_row(node)), default=-1)
        for node in loop.nodes:
            if self.reduces_columns(node):
                self.count = max(self.count, self.at[node] + 1)
        self.kept: set[Node] = set()
        if not any_length:  # arrays on the stack have a length that is known
            self.keep_what_is_dear()

    def is_row(self, node: Node) -> bool:
        """Whether a node of the loop has one value a row, or fewer."""
        role = self.loop.roles[node]
        return node in self.loop.inner or role.reduction is not None or role.pick

    def reduces_columns(self, node: Node) -> bool:
        """Whether it takes in every element of a row."""
        return self.loop.roles[node].reduction is not None and node not in self.loop.inner

    def first_pass(self, node: Node) -> int:
        inside = [operand for operand in node.operands() if operand in self.at]
        if self.loop.roles[node].pick:
            x, index, _ = node.args
            known = self.at[index] if index in self.at else -1
            return max(known, self.at[x] - 1 if x in self.at else -1)
        if node in self.loop.inner:
            return max((self.at[operand] for operand in inside), default=-1)
        return max((self.at[operand] + (1 if self.is_row(operand) else 0) for operand in inside), default=0)

    def targets(self, number: int) -> list[Node]:
        """What a pass has to compute: outputs, and the operands of its reductions."""
        found = [node for node in self.outputs if not self.is_row(node) and self.at[node] == number]
        found += [node for node in self.kept if self.at[node] == number and node not in found]
        return found + [n.args[0] for n in self.loop.nodes if self.reduces_columns(n) and self.at[n] == number]

    def is_stored(self, node: Node, number: int) -> bool:
        """Whether an earlier pass has written a full value to memory."""
        return (node in self.kept or node in self.outputs) and not self.is_row(node) and self.at[node] < number

    def computed(self, number: int) -> dict[Node, int]:
        """The full values that a pass computes, and how often each is read in it."""
        reads: dict[Node, int] = {}
        stack = [node for node in self.targets(number) if node in self.at]
        while stack:
            node = stack.pop()
            reads[node] = reads.get(node, 0) + 1
            if reads[node] == 1 and not self.is_stored(node, number):
                stack += [o for o in node.operands() if o in self.at and not self.is_row(o)]
        return {node: reads[node] for node in self.loop.nodes if node in reads and not self.is_stored(node, number)}

    def cost(self, node: Node) -> int:
        """The operations that it takes to compute a full value from what is in memory."""
        seen: set[Node] = set()
        stack, total = [node], 0
        while stack:
            found = stack.pop()
            if found in seen or found not in self.at or self.is_row(found):
                continue
            if found in self.kept and found is not node:
                continue
            seen.add(found)
            total += 10 if found.op.__name__ in HEAVY else 1
            stack += found.operands()
        return total

    def keep_what_is_dear(self) -> None:
        """Choose the values that are kept in an array of one row."""
        while True:
            counts: dict[Node, int] = {}
            for number in range(self.count):
                for node in self.computed(number):
                    counts[node] = counts.get(node, 0) + 1
            dear = [node for node in self.loop.nodes if counts.get(node, 0) > 1 and self.cost(node) > CHEAP]
            room = MOST_KEPT // self.loop.columns - sum(node.dtype.itemsize for node in self.kept if node.dtype)
            if not dear or room < 8:
                return
            self.kept.add(dear[-1])


def can_overwrite(kernel: Kernel, output: Node, given: Node, any_length: bool = False) -> bool:
    """Whether a kernel may write an output to the memory of an input: each element is read before it is written.

    Args:
        any_length: whether its text is to be for rows of any length.
    """
    if not kernel.loops:  # kernels/convolution.py
        return False
    if (output.shape, output.dtype) != (given.shape, given.dtype):
        return False
    readers = [loop for loop in kernel.loops if any(same_memory(o) is given for n in loop.nodes for o in n.operands())]
    home = next(loop for loop in kernel.loops if output in loop.roles)
    if any(kernel.loops.index(loop) > kernel.loops.index(home) for loop in readers) or home.adds_up(output):
        return False
    if home not in readers:
        return False
    passes = Passes(home, set(kernel.outputs), any_length)
    row = passes.is_row(output)
    for node in home.nodes:
        for operand in node.operands():
            if same_memory(operand) is not given:
                continue
            if home.operand_place(node, operand) != home.place(output) or home.roles[node].pick:
                return False
    if row:
        readers_here = [
            node for node in home.nodes if any(same_memory(operand) is given for operand in node.operands())
        ]
        used = any(output in map(same_memory, node.operands()) for node in home.nodes)
        return passes.count == 0 or (readers_here == [output] and not used)
    last = last_read(home, passes, given)
    return last <= passes.at[output] and not picked(home, passes, given, passes.at[output])


def last_read(loop: Loop, passes: Passes, given: Node) -> int:
    """The last pass that reads an input."""
    last = -1
    for number in range(passes.count):
        reading = [*passes.computed(number)]
        reading += [n for n in loop.nodes if passes.reduces_columns(n) and passes.at[n] == number]
        if any(same_memory(operand) is given for node in reading for operand in node.operands()):
            last = number
    return last


def picked(loop: Loop, passes: Passes, given: Node, written: int) -> bool:
    """Whether an element of an input is picked out after the pass that writes over it."""
    for node in loop.nodes:
        if loop.roles[node].pick and passes.at[node] >= written:
            stack = [node.args[0]]
            while stack:
                found = stack.pop()
                if same_memory(found) is given:
                    return True
                if found in passes.at and not passes.is_row(found):
                    stack += found.operands()
    return False


# ----- text -----


class _Writer:
    def __init__(
        self,
        kernel: Kernel,
        names: dict[Node, str],
        overwritten: dict[Node, Node],
        elementary: Collection[str],
        split: bool,
        columns: Node | None = None,
        block: bool = False,
    ) -> None:
        self.kernel = kernel
        self.elementary = elementary
        self.split = split
        self.block = block
        self.columns = columns
        self.outputs = set(kernel.outputs)
        self.passed_on = passed_on(kernel)
        self.used = set(RESERVED) | set(elementary)
        self.plain = bool(names)  # else a text in which no name is the user's
        self.arrays: dict[Node, str] = {}
        if columns is not None:
            self.arrays[columns] = self.unique("columns")
        for node in kernel.inputs:
            if node is not columns:
                self.arrays[node] = self.unique(names.get(node, "value"))
        for node in kernel.outputs:
            over = overwritten.get(node)
            self.arrays[node] = self.unique(names.get(node, "out")) if over is None else self.arrays[over]
        self.top: list[str] = []  # lines before the first loop
        self.views: dict[tuple[str, tuple[int, ...]], str] = {}
        self.values: dict[Node, str] = {}  # row values and single numbers: their variables
        self.results: dict[Node, str] = {}  # single numbers that later loops read
        self.overwritten = overwritten

    def unique(self, base: str) -> str:
        base = re.sub(r"\W+", "_", base)  # of a transposed array, `w.T`
        name, count = base, 1
        while name in self.used:
            count += 1
            name = f"{base}_{count}"
        self.used.add(name)
        return name

    def called(self, node: Node) -> str:
        """What a variable for a value is called, before it is made unique."""
        return (self.plain and node.name) or name_of(node.op).replace(".", "_")

    def variable(self, node: Node) -> str:
        base = self.called(node)
        return self.unique(base if node not in self.outputs else f"{base}_value")

    # ----- elements of arrays -----

    def at(self, node: Node, place: Place, loop: Loop, column: str) -> str:
        """The element of an array at the present row and a column."""
        name = self.arrays[node]
        shape = node.shape or ()
        if node.dtype is None:
            return name
        if place == Place(1, 1, False):
            index = ", ".join("0" * len(shape)) if shape else "()"
            return f"{name}[{index}]"
        if not place.columns or loop.rows == 1:
            count = place.period if not place.columns else loop.columns
            index = self.row(place) if not place.columns else column
            if len(shape) == 2 and shape == (count, 1):
                return f"{name}[{index}, 0]"
            if len(shape) == 2 and shape == (1, count):
                return f"{name}[0, {index}]"
            return f"{self.view(name, shape, (count,))}[{index}]"
        if place.period == 1:
            if shape == (1, loop.columns):
                return f"{name}[0, {column}]"
            return f"{self.view(name, shape, (loop.columns,))}[{column}]"
        return f"{self.view(name, shape, (place.period, loop.columns))}[{self.row(place)}, {column}]"

    def row(self, place: Place) -> str:
        number = "uint64({})" if self.split else "{}"
        text = "r" if place.repeat == 1 else f"r // {number.format(place.repeat)}"
        return text if self.rows == place.repeat * place.period else f"{text} % {number.format(place.period)}"

    def view(self, name: str, shape: tuple[int, ...], wanted: tuple[int, ...]) -> str:
        if shape == wanted:
            return name
        if (name, wanted) not in self.views:
            view = self.unique(f"{name}_{'x'.join(map(str, wanted))}" if len(wanted) > 1 else f"{name}_flat")
            # a kernel for all elements in their order is the same for all sizes
            sizes = ", ".join(map(str, wanted)) if len(wanted) > 1 else f"{name}.size,"
            self.top.append(f"{view} = as_shape({name}, ({sizes}))")
            self.views[name, wanted] = view
        return self.views[name, wanted]

    # ----- expressions -----

    def operand(self, loop: Loop, node: Node, operand: Any, column: str, local: dict[Node, str]) -> str:
        """An operand as text, where it is known already or comes from outside."""
        if not isinstance(operand, Node):
            return repr(operand)
        if operand in local:
            return local[operand]
        if operand in loop.roles and operand in self.values:
            return self.values[operand]
        number = uniform_value(operand)
        if number is not None:
            assert operand.dtype is not None
            return literal(number, operand.dtype)  # an expression writes it in the type that it wants
        source = same_memory(operand)
        if source in self.results:
            return self.results[source]
        if operand.dtype is None:
            return self.arrays[operand]
        place = loop.operand_place(node, operand)
        assert place is not None
        return self.count(place, loop, column) if is_count(source) else self.at(source, place, loop, column)

    def count(self, place: Place, loop: Loop, column: str) -> str:
        """The element of 0, 1, 2, ... at the present row and a column."""
        if place == Place(1, 1, False):
            return "0"
        if not place.columns:
            text = self.row(place)
        elif loop.rows == 1 or place.period == 1:
            return f"int64({column})" if self.split and column == "i" else column
        else:
            text = f"{bracketed(self.row(place))} * {loop.columns} + {column}"
        return f"int64({text})" if self.split else text

    def expression(self, loop: Loop, node: Node, column: str, local: dict[Node, str]) -> str:
        texts = [bracketed(self.operand(loop, node, arg, column, local)) for arg in node.args]
        if node.op in SAME_ORDER:
            return texts[0]
        write = element(node, self.elementary)
        assert write is not None
        return write(texts)

    def at_column(self, loop: Loop, passes: Passes, node: Any, column: str, local: dict[Node, str], by: Node) -> str:
        """One element of a full value, computed from what is in memory."""
        if node not in passes.at or passes.is_row(node) or passes.is_stored(node, passes.at[by] + 1):
            if node in passes.at and not passes.is_row(node):
                return self.stored(loop, node, column)
            return self.operand(loop, by, node, column, {})
        if node not in local:
            known = {
                operand: self.at_column(loop, passes, operand, column, local, node if operand not in passes.at else by)
                for operand in node.operands()
                if operand.dtype is not None and uniform_value(operand) is None
            }
            local[node] = bracketed(self.expression(loop, node, column, known))
        return local[node]

    def stored(self, loop: Loop, node: Node, column: str) -> str:
        """A full value that an earlier pass has written."""
        if node in self.arrays:
            place = loop.place(node)
            assert place is not None
            return self.at(node, place, loop, column)
        return f"{self.values[node]}[{column}]"

    # ----- loops -----

    def loop(self, loop: Loop) -> list[str]:
        """The lines of a loop."""
        self.rows = loop.rows
        self.blocks = blocks_of(loop)
        passes = Passes(loop, self.outputs | self.passed_on, self.columns is not None)
        before: list[str] = []
        body: list[str] = []
        behind: list[str] = []
        for node in sorted(passes.kept, key=loop.nodes.index):
            self.values[node] = self.unique(f"{self.called(node)}_row")
            before.append(f"{self.values[node]} = row_of({loop.columns}, {type_name(node.dtype)})")
        for node in loop.nodes:
            if loop.adds_up(node):
                self.prepare(loop, node, before, behind)
        body += self.row_values(loop, passes, -1)
        for number in range(passes.count):
            body += self.one_pass(loop, passes, number)
            body += self.row_values(loop, passes, number)
        if not body or loop.size == 1 or (passes.flat and not self.blocks):
            return [*before, *body, *behind]
        head = "for r in range(first, last):" if self.split else f"for r in range({self.blocks or loop.rows}):"
        if self.block:
            head = "for r in range(uint64(r0), uint64(r1)):"
            before = ["if r0 == 0:", *indented(before)] if before else []
        return [*before, head, *indented(body), *behind]

    def prepare(self, loop: Loop, node: Node, before: list[str], behind: list[str]) -> None:
        """What a sum over all rows begins with, and where it ends."""
        reduction, place = loop.roles[node].reduction, loop.place(node)
        assert reduction is not None and place is not None and node.dtype is not None
        if place == Place(1, 1, False):
            wide = total_type(loop, node)
            self.values[node] = self.unique(f"{self.called(node)}_total")
            before.append(f"{self.values[node]} = {reduction.start(wide)}")
            result = self.values[node] if wide == node.dtype else f"{node.dtype.name}({self.values[node]})"
            if node in self.passed_on:
                after = self.variable(node)
                behind.append(f"{after} = {result}")
                self.results[node] = result = after
            if node in self.outputs:
                behind.append(f"{self.at(node, place, loop, '')} = {result}")
            return
        start = reduction.start(node.dtype)
        name = self.arrays[node]
        shape = (place.period, loop.columns) if place.columns and place.period > 1 else (node.size,)
        view = self.view(name, node.shape or (), shape)
        if len(shape) == 2:
            before += [f"for r in range({shape[0]}):", f"    for c in range({shape[1]}):"]
            before.append(f"        {view}[r, c] = {start}")
        else:
            before += [f"for c in {ON_BLOCK if self.block else f'range({shape[0]})'}:", f"    {view}[c] = {start}"]

    def row_values(self, loop: Loop, passes: Passes, number: int) -> list[str]:
        """The values of a row that are known after a pass."""
        lines: list[str] = []
        for node in loop.nodes:
            if not passes.is_row(node) or passes.at[node] != number or passes.reduces_columns(node):
                continue
            reduction = loop.roles[node].reduction
            if reduction is not None:
                value = self.operand(loop, node, node.args[0], "", {})
                lines += self.add_up(loop, node, value)
                continue
            if loop.roles[node].pick:
                lines += self.pick(loop, passes, node)
            else:
                text = self.expression(loop, node, "", {})
                if node.op in SAME_ORDER and node not in self.outputs:
                    self.values[node] = text
                    continue
                self.values[node] = self.variable(node)
                lines.append(f"{self.values[node]} = {text}")
            self.pass_on(node)
            if node in self.outputs:
                lines.append(f"{self.element_of(loop, node, '')} = {self.values[node]}")
        return lines

    def pass_on(self, node: Node) -> None:
        """Let later loops read the value of the only row."""
        if node in self.passed_on:
            self.results[node] = self.values[node]

    def element_of(self, loop: Loop, node: Node, column: str) -> str:
        place = loop.place(node)
        assert place is not None
        return self.at(node, place, loop, column)

    def pick(self, loop: Loop, passes: Passes, node: Node) -> list[str]:
        """The element of a row that an index chooses."""
        x, index, _ = node.args
        column = self.unique("column")
        given = self.operand(loop, node, index, "", {})
        lines = [f"{column} = where({given} < 0, {bracketed(given)} + {loop.columns}, {given})"]
        lines += [f"if {column} < 0 or {column} >= {loop.columns}:"]
        lines += [f'    raise IndexError("an index is out of bounds for axis with size {loop.columns}")']
        text = self.at_column(loop, passes, x, column, {}, node)
        self.values[node] = self.variable(node)
        return [*lines, f"{self.values[node]} = {text}"]

    def add_up(self, loop: Loop, node: Node, value: str, partial: bool = True) -> list[str]:
        """Take a value into what adds up over the rows."""
        reduction, place = loop.roles[node].reduction, loop.place(node)
        assert reduction is not None and place is not None and node.dtype is not None
        source = node.args[0].dtype
        if place == Place(1, 1, False):
            total, wide = self.values[node], total_type(loop, node)
            return [f"{total} = {reduction.step}({total}, {fitted(value, source, wide)})"]
        target = self.at(node, place, loop, "c")
        return [f"{target} = {reduction.step}({target}, {fitted(value, source, node.dtype)})"]

    def steps(
        self, target: str, reduction: ReductionOf, value: str, have: Any, want: np.dtype[Any]
    ) -> tuple[list[str], list[str], list[str]]:
        """The lines before, in and after the loop in which a variable takes in a value after the other.

        A maximum that keeps NaN is no vector instruction: the loop finds one that need not, and whether there is NaN.
        """
        if reduction.kind == "sum" or want.kind != "f":
            return [], [f"{target} = {reduction.step}({target}, {fitted(value, have, want)})"], []
        nan = self.unique("any_nan")
        lines = []
        if not is_atom(value):
            lines.append(f"{(name := self.unique('value'))} = {value}")
            value = name
        function = "larger" if reduction.kind == "maximum" else "smaller"
        lines += [f"{target} = {function}({target}, {value})", f"{nan} |= {value} != {value}"]
        return [f"{nan} = False"], lines, [f"{target} = where({nan}, {want.name}(np.nan), {target})"]

    def one_pass(self, loop: Loop, passes: Passes, number: int) -> list[str]:
        """The lines of one run over the columns."""
        column = "i" if passes.flat else "c"
        sums = [node for node in loop.nodes if passes.reduces_columns(node) and passes.at[node] == number]
        stores = [node for node in passes.targets(number) if node in passes.outputs or node in passes.kept]
        stores = list(dict.fromkeys(node for node in stores if not passes.is_row(node)))
        if not sums and not stores:
            return []
        if loop.size == 1:
            column = ""
        local: dict[Node, str] = {}
        reads = passes.computed(number)
        lines: list[str] = []
        for node in loop.nodes:
            if node in passes.at and not passes.is_row(node) and passes.is_stored(node, number):
                local[node] = self.stored(loop, node, column)
        many = len(stores) > 1 and any(node in self.overwritten for node in stores)
        for node, count in reads.items():
            text = self.expression(loop, node, column, local)
            storing = node in stores
            if IN_MEMORY.fullmatch(text) and not (storing and many):
                local[node] = text
            elif count > 1 or len(text) > WIDEST or (storing and many) or node in self.passed_on:
                local[node] = self.variable(node)
                lines.append(f"{local[node]} = {text}")
            else:
                local[node] = text
        before: list[str] = []
        after: list[str] = []
        for node in sums:
            value = self.operand(loop, node, node.args[0], column, local)
            place = loop.place(node)
            reduction = loop.roles[node].reduction
            assert place is not None and reduction is not None and node.dtype is not None
            if place.columns or loop.size == 1:
                lines += self.add_up(loop, node, value)
                continue
            if passes.flat and not self.blocks:
                steps = self.steps(self.values[node], reduction, value, node.args[0].dtype, total_type(loop, node))
                for known, found in zip((before, lines, after), steps, strict=True):
                    known += found
                continue
            partial = self.variable(node) if not loop.adds_up(node) else self.unique(f"{self.called(node)}_of_row")
            before.append(f"{partial} = {reduction.start(node.dtype)}")
            steps = self.steps(partial, reduction, value, node.args[0].dtype, node.dtype)
            for known, found in zip((before, lines, after), steps, strict=True):
                known += found
            if loop.adds_up(node):
                after += self.add_up_partial(loop, node, partial)
            else:
                self.values[node] = partial
                self.pass_on(node)
                if node in self.outputs:
                    after.append(f"{self.element_of(loop, node, '')} = {partial}")
        for node in stores:
            if node in self.passed_on:
                self.results[node] = local[node]
                if node not in self.arrays:
                    continue
            target = self.element_of(loop, node, column) if node in self.arrays else f"{self.values[node]}[{column}]"
            lines.append(f"{target} = {local[node]}")
        if loop.size == 1:
            return [*before, *lines, *after]
        reach = f"range({self.length(loop) if passes.flat else self.width(loop)})"
        if self.blocks:
            unsigned = "uint64({})" if self.split else "{}"
            start = f"r * {unsigned.format(BLOCK)}"
            reach = f"range({start}, min({start} + {unsigned.format(BLOCK)}, {unsigned.format(loop.size)}))"
        elif passes.flat and self.split:
            reach = "range(first, last)"
        elif self.block:
            reach = ON_BLOCK
        return [*before, f"for {column} in {reach}:", *indented(lines), *after]

    def width(self, loop: Loop) -> str:
        """The number of columns."""
        return str(loop.columns) if self.columns is None else self.arrays[self.columns]

    def measure(self) -> list[str]:
        """The line that asks an array for the number of columns, where the text is for any."""
        for loop in self.kernel.loops:
            shape = (loop.rows, loop.columns)
            for node, name in self.arrays.items():
                if self.columns is not None and node.shape == shape and loop.widths is not None:
                    return [f"{self.arrays[self.columns]} = {name}.shape[1]"]
        return []

    def length(self, loop: Loop) -> str:
        """The number of elements, as the size of an array that has them all."""
        for node in loop.nodes:
            for array in (node, *map(same_memory, node.operands())):
                if array in self.arrays and array.size == loop.size:
                    return f"{self.arrays[array]}.size"
        return str(loop.size)

    def add_up_partial(self, loop: Loop, node: Node, partial: str) -> list[str]:
        """Take the sum of a row into that of all rows."""
        reduction, place = loop.roles[node].reduction, loop.place(node)
        assert reduction is not None and place is not None and node.dtype is not None
        if place == Place(1, 1, False):
            total, wide = self.values[node], total_type(loop, node)
            return [f"{total} = {reduction.step}({total}, {fitted(partial, node.dtype, wide)})"]
        target = self.at(node, place, loop, "c")
        return [f"{target} = {reduction.step}({target}, {partial})"]


def total_type(loop: Loop, node: Node) -> np.dtype[Any]:
    """The type in which a sum over everything is added up: sums of float32 rows in double precision."""
    reduction = loop.roles[node].reduction
    assert reduction is not None and node.dtype is not None
    wide = reduction.kind == "sum" and node.dtype == np.float32 and (loop.rows > 1 or blocks_of(loop) > 0)
    return np.dtype(np.float64) if wide else node.dtype


def blocks_of(loop: Loop) -> int:
    """In how many blocks a loop over all elements adds them up; 0 where it needs none."""
    if loop.widths is not None or loop.size <= BLOCK or not any(map(loop.adds_up, loop.nodes)):
        return 0
    return -(-loop.size // BLOCK)


def fitted(text: str, have: Any, want: np.dtype[Any]) -> str:
    return text if have == want else f"{want.name}({text})"


def is_atom(text: str) -> bool:
    """Whether an expression needs no brackets: a name, an element of an array, a call."""
    if IN_MEMORY.fullmatch(text):
        return True
    if not re.match(r"[\w.]+\(", text) or not text.endswith(")"):
        return text.startswith("(") and closes_at_end(text)
    return closes_at_end(text[text.index("(") :])


def closes_at_end(text: str) -> bool:
    depth = 0
    for i, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if depth == 0:
            return i == len(text) - 1
    return False


def bracketed(text: str) -> str:
    """An expression as an operand."""
    return text if not text or is_atom(text) else f"({text})"


def indented(lines: list[str]) -> list[str]:
    return [f"    {line}" for line in lines]


def type_name(dtype: Any) -> str:
    """A type of elements as kernels call it."""
    return "boolean" if dtype == np.bool else str(dtype.name)


def parameter_type(node: Node, written: bool) -> str:
    """The type of a kernel's parameter; what it does not write to may be read-only."""
    if node.dtype is None:
        return "float64"
    name = type_name(node.dtype)
    shape = node.shape or ()
    kind = f"{name}[{', '.join([':'] * (len(shape) - 1) + ['::1'])}]" if shape else f"single({name})"
    return kind if written else f"given({kind})"


def write_kernel(
    kernel: Kernel,
    name: str,
    names: dict[Node, str],
    overwritten: dict[Node, Node] | None = None,
    elementary: Collection[str] = (),
    threads: bool = False,
    columns: Node | None = None,
) -> KernelText:
    """The text of a kernel.

    Args:
        name: of the function.
        names: of the kernel's inputs and outputs, which its parameters get; none for a text that is the same for all
            kernels that compute the same.
        overwritten: for outputs that are written to the memory of an input, that input.
        elementary: the names of the elementary functions that there are.
        threads: whether it shall be split into parts that run at the same time.
        columns: a number in the graph that is the number of columns; the text is then for rows of any length, as long
            as nothing else in it depends on that.
    """
    overwritten = overwritten or {}
    loop = kernel.loops[0]
    count = blocks_of(loop) or (loop.rows if loop.widths is not None else loop.size)
    split = threads and len(kernel.loops) == 1 and count > 1
    writer = _Writer(kernel, names, overwritten, elementary, split, columns)
    body = [line for loop in kernel.loops for line in writer.loop(loop)]
    outputs = [i for i, node in enumerate(kernel.outputs) if node not in overwritten]
    over = set(overwritten.values())
    given = [node for node in kernel.inputs if node is not columns]
    parameters = [f"{writer.arrays[node]}: {parameter_type(node, node in over)}" for node in given]
    parameters += [f"{writer.arrays[kernel.outputs[i]]}: {parameter_type(kernel.outputs[i], True)}" for i in outputs]
    if split:
        # a signed index might be negative, which Numba would test for each element
        parameters = ["first: uint64", "last: uint64", *parameters]
    sums = []
    if split:
        for i, node in enumerate(kernel.outputs):
            if loop.adds_up(node):
                reduction = loop.roles[node].reduction
                assert reduction is not None
                sums.append((i, {"sum": "np.add"}.get(reduction.kind, f"np.{reduction.kind}")))
    lines = ["@kernel", f"def {name}({', '.join(parameters)}):", "    separate()"]
    lines += indented([*writer.measure(), *writer.top, *body])
    return KernelText(name, "\n".join(lines), outputs, count if split else 0, sums)


def write_block(
    kernel: Kernel, given: Node, out: Node, overwritten: dict[Node, Node]
) -> tuple[dict[Node, str], list[str], list[str]]:
    """The lines of a kernel's only loop on rows r0 to r1 and columns n0 to n1.

    Blocks of the same columns follow each other, the first with r0 = 0. Nothing is computed along a row.

    Args:
        kernel: the kernel.
        given: an input, which is called `out`.
        out: the output that is written to its memory; or the same node, where it stays.
        overwritten: for outputs that are written to the memory of another input, that input.

    Returns:
        The names of the kernel's arrays, the lines before all blocks, those for a block.
    """
    overwritten = overwritten if out in kernel.inputs else {**overwritten, out: given}
    writer = _Writer(kernel, {given: "out"}, overwritten, (), True, block=True)
    writer.plain = False
    lines = writer.loop(kernel.loops[0])
    return {**writer.arrays, out: "out"}, writer.top, lines
