"""Group element by element operations, and the reductions at their ends, into kernels.

A `Loop` goes over rows and columns: the last axes of its largest values, collapsed, are the columns, the axes before
them the rows. In it a value is *full* (an element for each row and column) or a *row* value (one for each row: the
maximum of a row, a label). A reduction along the columns gives a row value, which the loop goes on with in a further
pass over the same row; every other reduction adds up in an array that only later loops can read. What a loop reads
from outside may be spread over the rows or columns in any way that `Place` can say.

Four steps: `group` merges nodes into loops as long as no cycle arises; `store_less` lets a loop compute again what is
cheaper to compute than to store; `schedule` puts loops and other calls in an order in which many loops stand side by
side; these become one `Kernel` each. `kernels/generate.py` writes their text.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Collection, Iterator
from typing import Any

import numpy as np

from ...core.table import name_of
from ..graph import CONSTANT, INPUT, Graph, Node, map_nodes
from ..kernels import kinds
from ..kernels.expressions import HEAVY, ReductionOf, element, reduction_of
from .constants import uniform_value

__all__ = ["Kernel", "Loop", "Place", "fuse", "is_count", "is_known", "is_output", "same_memory"]

LONGEST = 64  # operations in a loop
MOST_LOOPS = 16  # in a kernel
MOST_AT_END = 8  # loops that nobody waits for; more, such as a large model's updates, are called one by one
MOST_ARRAYS = 28  # that a kernel is given: each costs 0.06 us a call
FEW = 4  # operations that are rather done again in another loop than their result stored
LARGE = 1 << 23  # elements times operations from which a loop is a kernel of its own, to be shared among threads
SAME_ORDER = (np.reshape, np.expand_dims, np.squeeze)  # the same elements in the same order


# ----- where a value stands in a loop -----


class Place:
    """How a value's elements are spread over rows and columns.

    In row `r` and column `c` it is element `(r // repeat % period, c)`; `period` 1 is the same in all rows, and
    without `columns` it is the same in all columns.
    """

    __slots__ = ("columns", "period", "repeat")

    def __init__(self, repeat: int, period: int, columns: bool) -> None:
        self.repeat = repeat
        self.period = period
        self.columns = columns

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Place) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    @property
    def key(self) -> tuple[int, int, bool]:
        """What it consists of."""
        return (self.repeat, self.period, self.columns)

    def __repr__(self) -> str:
        return f"Place{self.key}"


def place_of(shape: tuple[int, ...], kept: list[bool], columns: int) -> Place | None:
    """The place of a value that has the axes `kept` of an array of `shape`, cut so that it has so many columns.

    None where the array cannot be cut so, or the value's place cannot be said.
    """
    sizes = [(size, keep) for size, keep in zip(shape, kept, strict=True) if size != 1]
    inner: list[bool] = []
    width = 1
    while width < columns:
        if not sizes:
            return None
        size, keep = sizes.pop()
        width *= size
        inner.append(keep)
    if width != columns or (any(inner) and not all(inner)):
        return None
    while sizes and not sizes[0][1]:  # leading axes over which it repeats
        sizes.pop(0)
    repeat = 1
    while sizes and not sizes[-1][1]:
        repeat *= sizes.pop()[0]
    if not all(keep for _, keep in sizes):
        return None
    period = math.prod(size for size, _ in sizes)
    return Place(repeat if period > 1 else 1, period, all(inner) if inner else False)


def axes_kept(shape: tuple[int, ...], full: tuple[int, ...]) -> list[bool]:
    """Which axes of `full` an array of `shape` has, when it is broadcast to it."""
    padded = (1,) * (len(full) - len(shape)) + shape
    return [size == whole for size, whole in zip(padded, full, strict=True)]


def widths(shape: tuple[int, ...]) -> list[int]:
    """The numbers of columns that an array can be cut to: those of its last axis, its last two, and so on."""
    found, width = [], 1
    for size in reversed(shape):
        width *= size
        if size != 1:
            found.append(width)
    return found or [1]


# ----- what a node asks of its loop -----


class Role:
    """A node as a part of a loop.

    Attributes:
        shape: of the array over which its loop goes: its own, or of what it reduces.
        widths: the numbers of columns that are possible; None where all are.
        reduction: what it reduces, None for an operation on elements.
        pick: whether it takes one element out of each row.
    """

    def __init__(self, shape: tuple[int, ...], reduction: ReductionOf | None = None, pick: bool = False) -> None:
        self.shape = shape
        self.reduction = reduction
        self.pick = pick
        self.widths: frozenset[int] | None = None
        self.size = math.prod(shape)

    def operand_place(self, node: Node, operand: Node, columns: int) -> Place | None:
        """Where an operand's elements are, in a loop of so many columns."""
        assert operand.shape is not None
        if node.op in SAME_ORDER:
            return place_of(self.shape, [True] * len(self.shape), columns)
        return place_of(self.shape, axes_kept(operand.shape, self.shape), columns)

    def result_place(self, columns: int) -> Place | None:
        """Where the node's own elements are."""
        kept = [True] * len(self.shape)
        if self.reduction is not None:
            kept = [axis not in self.reduction.axes for axis in range(len(self.shape))]
        elif self.pick:
            kept[-1] = False
        return place_of(self.shape, kept, columns)


def is_kernels(dtype: np.dtype[Any] | None) -> bool:
    """Whether kernels take arrays of a type: of no complex numbers, and of no rare types."""
    return dtype is not None and {"bool": "boolean"}.get(dtype.name, dtype.name) in kinds.__all__


def role_of(node: Node, elementary: Collection[str]) -> Role | None:
    """A node's part in a loop; None where it can have none."""
    if node.effect or not callable(node.op) or node.shape is None or not node.size:
        return None
    operands = [operand for operand in node.operands() if operand.dtype is not None]
    reduction = reduction_of(node)
    if reduction is not None:
        role = Role(node.args[0].shape, reduction)
    elif is_pick(node):
        role = Role(node.args[0].shape, pick=True)
    elif (node.op in SAME_ORDER and is_kernels(node.dtype)) or element(node, elementary) is not None:
        if not operands or uniform_value(node) is not None:
            return None
        role = Role(node.shape)
    else:
        return None
    places = [
        [role.operand_place(node, operand, width) for operand in operands] + [role.result_place(width)]
        for width in widths(role.shape)
    ]
    whole = Place(1, 1, True)
    one = Place(1, 1, False)
    if all(place in (whole, one) for place in places[-1]) and not role.pick:
        return role  # all are full or single numbers: the loop can be cut anywhere
    role.widths = frozenset(
        width for width, found in zip(widths(role.shape), places, strict=True) if all(place for place in found)
    )
    if role.pick:
        role.widths &= {role.shape[-1]}
    return role if role.widths else None


def is_pick(node: Node) -> bool:
    """Whether it takes one element of each row, the last axis, by an index."""
    if node.op is not np.take_along_axis or len(node.args) != 3 or node.kwargs:
        return False
    x, index, axis = node.args
    if not isinstance(x, Node) or not isinstance(index, Node) or not x.shape:
        return False
    last = len(x.shape) - 1
    fits = index.dtype == np.int64 and index.shape == (*x.shape[:last], 1)
    return fits and x.shape[last] > 1 and axis in (-1, last) and x.dtype in (np.float32, np.float64)


# ----- loops -----


class Loop:
    """Nodes that one pass over rows and columns computes.

    Attributes:
        nodes: in the order in which they run.
        rows, columns: how far it goes; with one row it goes over all elements in their order.
        inner: the nodes that have one value a row, though they are operations on elements.
    """

    def __init__(self, node: Node, role: Role) -> None:
        self.nodes = [node]
        self.roles = {node: role}
        self.size = role.size
        self.widths = role.widths
        self.inner: set[Node] = set()

    @property
    def columns(self) -> int:
        """The number of columns: the largest that all nodes allow."""
        return self.size if self.widths is None else max(self.widths)

    @property
    def rows(self) -> int:
        """The number of rows."""
        return self.size // self.columns

    def place(self, node: Node) -> Place | None:
        """Where a node's result stands."""
        role = self.roles[node]
        if role.reduction is not None and (node in self.inner or role.widths is None):
            return Place(1, 1, False)
        if node in self.inner:
            return Place(1, self.rows, False)
        return self.full if role.widths is None else role.result_place(self.columns)

    @property
    def full(self) -> Place:
        """The place of a value with an element for each row and column."""
        return Place(1, self.rows, self.size > 1)

    def operand_place(self, node: Node, operand: Node) -> Place | None:
        """Where the element of an operand stands that a node reads."""
        if node in self.inner:
            return Place(1, 1 if operand.size == 1 else self.rows, False)
        role = self.roles[node]
        if role.pick and operand is node.args[1]:
            return Place(1, self.rows, False)
        if role.widths is None:
            return Place(1, 1, False) if operand.size == 1 else self.full
        return role.operand_place(node, operand, self.columns)

    def adds_up(self, node: Node) -> bool:
        """Whether it is a reduction that is complete only after the last row."""
        if self.roles[node].reduction is None:
            return False
        flat = self.rows == 1 and self.widths is None
        return node in self.inner or flat or self.place(node) != Place(1, self.rows, False)

    def merged(self, other: Loop) -> Loop | None:
        """One loop for the nodes of both, where they go over the same elements; None where that cannot be."""
        big, small = (self, other) if self.size >= other.size else (other, self)
        if len(big.nodes) + len(small.nodes) > LONGEST:
            return None
        both = Loop.__new__(Loop)
        both.size = big.size
        both.inner = big.inner | small.inner
        if big.size == small.size:
            both.widths = big.widths
            if small.widths is not None:
                both.widths = small.widths if big.widths is None else big.widths & small.widths
            if both.widths is not None and not both.widths:
                return None
        else:
            width = big.size // small.size
            if small.widths is not None or big.widths is None or small.size == 1:
                return None
            if width not in big.widths or width * small.size != big.size:
                return None
            both.widths = frozenset((width,))
            both.inner = both.inner | set(small.nodes)
        both.nodes = [*self.nodes, *other.nodes]
        both.roles = {**self.roles, **other.roles}
        if any(not both.fits(node, first) for first, second in ((self, other), (other, self)) for node in second.nodes):
            return None
        return both

    def fits(self, node: Node, source: Loop) -> bool:
        """Whether a node finds the results of `source` where it looks for them."""
        for operand in node.operands():
            if operand in source.roles:
                if self.adds_up(operand) or self.place(operand) != self.operand_place(node, operand):
                    return False
        return True

    @property
    def work(self) -> int:
        """The number of operations, elementary functions counted as ten, that are more than another view."""
        return sum(10 if name_of(node.op) in HEAVY else 1 for node in self.nodes if counts(node))

    @property
    def is_large(self) -> bool:
        """Whether it pays to share it among threads."""
        return self.size * self.work >= LARGE


class Units:
    """A partition of a graph's nodes into loops and single calls, and which of them depend on which.

    Sets of nodes are the bits of a number: `members[unit]` are a unit's own, `before[unit]` are those that must run
    before it, `after` those behind it. What has one node of a unit in such a set has all of them.
    """

    def __init__(self, graph: Graph, elementary: Collection[str], refused: Collection[int]) -> None:
        self.graph = graph
        self.order = {node: i for i, node in enumerate(graph.nodes)}
        self.unread: set[Node] = set()
        self.of: dict[Node, int] = {}
        self.loops: dict[int, Loop] = {}
        self.before: list[int] = []
        self.members = [1 << i for i in range(len(graph.nodes))]
        self.present = (1 << len(graph.nodes)) - 1  # the units that there are
        first: list[set[int]] = []  # what each node needs at once
        effect = None
        for i, node in enumerate(graph.nodes):
            self.of[node] = i
            role = None if node.op in (INPUT, CONSTANT) or i in refused else role_of(node, elementary)
            if role is not None:
                self.loops[i] = Loop(node, role)
            before = 0
            last = (effect,) if node.effect and effect is not None else ()
            needed = {self.of[operand] for operand in (*node.operands(), *last)}
            for unit in needed:
                before |= self.before[unit] | 1 << unit
            if node.effect:
                effect = node
            self.before.append(before)
            first.append(needed)
        self.after = [0] * len(graph.nodes)
        for i in reversed(range(len(graph.nodes))):
            for unit in first[i]:
                self.after[unit] |= self.after[i] | 1 << i

    def merge(self, first: int, second: int) -> bool:
        """Make one loop of two, if they can be and nothing stands between them."""
        if first == second or first not in self.loops or second not in self.loops:
            return False
        if self.after[first] & self.before[second] or self.after[second] & self.before[first]:
            return False  # a third depends on one of them, and the other on that
        both = self.loops[first].merged(self.loops[second])
        if both is None:
            return False
        both.nodes.sort(key=self.order.__getitem__)
        del self.loops[second]
        self.loops[first] = both
        for node in both.nodes:
            self.of[node] = first
        mine = self.members[first] | self.members[second]
        self.members[first] = mine
        self.present &= ~(1 << second)
        before = (self.before[first] | self.before[second]) & ~mine
        after = (self.after[first] | self.after[second]) & ~mine
        # those that are before both, or after both, know already
        for unit in bits(before & self.present & ~(self.before[first] & self.before[second])):
            self.after[unit] |= after | mine
        for unit in bits(after & self.present & ~(self.after[first] & self.after[second])):
            self.before[unit] |= before | mine
        self.before[first], self.after[first] = before, after
        return True


def bits(number: int) -> Iterator[int]:
    """The positions of the ones in a binary number."""
    while number:
        lowest = number & -number
        yield lowest.bit_length() - 1
        number ^= lowest


def group(graph: Graph, elementary: Collection[str] = (), refused: Collection[int] = ()) -> Units:
    """Merge each node with the loops of its operands, then loops that read the same large array."""
    units = Units(graph, elementary, refused)
    for node in graph.nodes:
        if units.of[node] in units.loops:
            for operand in node.operands():
                units.merge(units.of[operand], units.of[node])
    readers: dict[Node, list[Node]] = {}
    for node in graph.nodes:
        if units.of[node] in units.loops:
            for operand in node.operands():
                if operand.size > 1 and units.of[operand] != units.of[node]:
                    readers.setdefault(same_memory(operand), []).append(node)
    for first, *others in readers.values():
        for node in others:
            if units.loops[units.of[first]].size == units.loops[units.of[node]].size:
                units.merge(units.of[first], units.of[node])
    store_less(units)
    return units


# ----- what is rather computed twice than stored -----


def store_less(units: Units) -> None:
    """Let loops compute what they read of other loops, where a few operations give it from arrays that exist anyway."""
    graph = units.graph
    users = graph.users()
    arrays = set(graph.outputs)
    copies: dict[tuple[Node, int], Node] = {}
    for node in list(graph.nodes):
        home = units.of[node]
        elsewhere = {units.of[user] for user in users[node]} - {home}
        if home not in units.loops or not elsewhere:
            continue
        way = None if node in arrays else cheap_way(node, units.loops[home], arrays)
        if way is None or not all([copy_way(units, way, home, unit, copies) for unit in elsewhere]):
            arrays.add(node)
    if copies:
        graph.nodes += copies.values()  # the positions of the others are the names of units
        drop_unread(units)


def copy_way(units: Units, way: list[Node], home: int, unit: int, copies: dict[tuple[Node, int], Node]) -> bool:
    """Compute the first node of `way` in another loop as well; whether that loop could take it."""
    loop = units.loops.get(unit)
    if loop is None or not reads_no_more(loop, way):
        return False
    new: dict[Node, Node] = {}
    for node in sorted(way, key=units.order.__getitem__):
        if (node, unit) not in copies:
            known = {other: new.get(other) or copies.get((other, unit), other) for other in node.operands()}
            new[node] = copy_of(node, known)
            units.order[new[node]] = units.order[node]
    before = [(node, node.args, node.kwargs) for node in loop.nodes]
    for node in loop.nodes:
        node.args = map_nodes(node.args, lambda other: new.get(other, other))
        node.kwargs = map_nodes(node.kwargs, lambda other: new.get(other, other))
    both: Loop | None = loop
    for node in reversed(new):
        both = both and both.merged(Loop(new[node], units.loops[home].roles[node]))
    if both is None:
        for node, args, kwargs in before:
            node.args, node.kwargs = args, kwargs
        return False
    both.nodes.sort(key=units.order.__getitem__)
    units.loops[unit] = both
    for node, other in new.items():
        copies[node, unit] = other
        units.of[other] = unit
    return True


def drop_unread(units: Units) -> None:
    """Take nodes that nobody reads any more out of their loops."""
    nodes = sorted(units.graph.nodes, key=units.order.__getitem__)
    read = set(without_unread(nodes, units.graph.outputs))
    for node in nodes:
        if node not in read:
            node.args, node.kwargs = (), {}
            units.unread.add(node)
    for unit, loop in list(units.loops.items()):
        loop.nodes = [node for node in loop.nodes if node in read]
        loop.roles = {node: loop.roles[node] for node in loop.nodes}
        if not loop.nodes:
            del units.loops[unit]


def cheap_way(node: Node, loop: Loop, arrays: set[Node]) -> list[Node] | None:
    """The operations of a loop that lead from arrays to a node; None where these are many, or dear."""
    way: list[Node] = []
    stack = [node]
    while stack:
        found = stack.pop()
        role = loop.roles[found]
        if found in way:
            continue
        if role.reduction is not None or role.pick or name_of(found.op) in HEAVY or len(way) == FEW:
            return None
        way.append(found)
        stack += [operand for operand in found.operands() if operand in loop.roles and operand not in arrays]
    return way


def reads_no_more(loop: Loop, way: list[Node]) -> bool:
    """Whether a loop that goes this way reads no more memory than if it read the value."""
    if not loop.work:
        return False
    read = {same_memory(operand) for node in loop.nodes for operand in node.operands()}
    needed = {same_memory(operand) for node in way for operand in node.operands() if operand not in way}
    return sum(node.size for node in needed - read if not is_known(node)) <= max(way[0].size, 64)


def same_memory(node: Node) -> Node:
    """The node whose elements, in the same order, a reshaped array shares."""
    while node.op in SAME_ORDER and isinstance(node.args[0], Node):
        node = node.args[0]
    return node


# ----- kernels -----


class Kernel:
    """The operation of a node that stands for several loops; its results are items of it.

    Attributes:
        loops: one after another.
        inputs: the nodes from outside that it reads, in the order of the node's arguments.
        outputs: those of its nodes that are read outside, in the order of the items.
        positions: of its nodes in the graph that was fused.
    """

    def __init__(self, loops: list[Loop], inputs: list[Node], outputs: list[Node], positions: set[int]) -> None:
        self.loops = loops
        self.inputs = inputs
        self.outputs = outputs
        self.positions = positions
        self.__name__ = "_".join(list(dict.fromkeys(name_of(node.op) for node in self.nodes if counts(node)))[:3])

    @property
    def nodes(self) -> list[Node]:
        """What it computes, in order."""
        return [node for loop in self.loops for node in loop.nodes]

    def __call__(self, *arrays: Any) -> list[Any]:
        """Compute it by NumPy, a node at a time."""
        known = dict(zip(self.inputs, arrays, strict=True))

        def value(node: Node) -> Any:
            if node in known:
                return known[node]
            return node.args[0] if node.op is CONSTANT else np.full(node.shape or (), uniform_value(node), node.dtype)

        for node in self.nodes:
            known[node] = node.op(*map_nodes(node.args, value), **map_nodes(node.kwargs, value))
        return [known[node] for node in self.outputs]


def counts(node: Node) -> bool:
    """Whether a node is more than another view of its operand."""
    return node.op not in (*SAME_ORDER, np.broadcast_to)


def is_output(node: Node) -> bool:
    """Whether a node is a kernel's result."""
    return node.op is operator.getitem and isinstance(node.args[0].op, Kernel)


def schedule(graph: Graph, units: Units) -> list[Node | list[Loop]]:
    """The calls and kernels in an order in which they can run.

    Calls that are no loops keep their order. A loop waits until one of them needs it, and then takes along all that
    wait: they are one kernel. What nobody waits for, such as the updates of parameters, comes at the end.
    """
    order: list[Node | list[Loop]] = []
    begun: set[int] = set()
    done: set[int] = set()
    waiting: list[Loop] = []

    def flush() -> None:
        if waiting:
            if not any(loop.is_large for loop in waiting):
                take_numbers()
            order.append(waiting.copy())
            waiting.clear()

    def take_numbers() -> None:
        """Take along what makes single numbers of the waiting loops' results."""
        for unit in sorted(units.loops):
            loop = units.loops[unit]
            if loop.size == 1 and unit not in begun and not needed(unit) and not too_many([*waiting, loop]):
                read = {same_memory(operand) for node in loop.nodes for operand in node.operands()}
                if any(operand in other.roles for other in waiting for operand in read):
                    begun.add(unit)
                    done.add(unit)
                    waiting.append(loop)

    def place(unit: int) -> None:
        """Put a unit in its place, all that it needs having theirs."""
        loop, node = units.loops.get(unit), graph.nodes[unit]
        if loop is None:
            if node.op in SAME_ORDER:
                return  # written where it is read outside of kernels
            if any(same_memory(operand) in other.roles for other in waiting for operand in node.operands()):
                flush()
            order.append(node)
            return
        if loop.is_large or too_many([*waiting, loop]):
            flush()
        waiting.append(loop)
        if loop.is_large:
            flush()

    members: dict[int, list[Node]] = {}
    nodes = [node for node in graph.nodes if node not in units.unread]
    for node in nodes:
        members.setdefault(units.of[node], []).append(node)

    def needed(unit: int) -> list[int]:
        found = {units.of[operand] for node in members[unit] for operand in node.operands()} - {unit}
        if graph.nodes[unit].effect:
            found |= {units.of[graph.nodes[i]] for i in bits(units.before[unit]) if graph.nodes[i].effect}
        return sorted(found - done)

    def visit(unit: int) -> None:
        stack = [unit]
        while stack:
            missing = needed(stack[-1])
            if missing:
                stack += reversed(missing)
                continue
            unit = stack.pop()
            if unit not in begun:
                begun.add(unit)
                place(unit)
                done.add(unit)

    for node in nodes:
        if units.of[node] not in units.loops:
            visit(units.of[node])
    rest = [unit for unit in sorted(units.loops) if unit not in done]
    for unit in rest:
        visit(unit)
        if len(rest) > MOST_AT_END:
            flush()
    flush()
    return [item for found in order for item in worth_it(found, units)]


def worth_it(item: Node | list[Loop], units: Units) -> list[Any]:
    """A kernel of one simple call is that call again; a loop that computes nothing is none."""
    if isinstance(item, Node):
        return [item]
    nodes = [node for loop in item for node in loop.nodes]
    if sum(loop.work for loop in item) > 1:
        return [[loop for loop in item if any(node.op not in SAME_ORDER for node in loop.nodes)]]
    for node in nodes:
        units.loops.pop(units.of[node], None)
        units.of[node] = units.order[node]
    return [node for node in nodes if node.op not in SAME_ORDER]


def too_many(loops: list[Loop]) -> bool:
    """Whether a kernel of these loops would be too long, or be given too many arrays."""
    if len(loops) > MOST_LOOPS:
        return True
    inside = {node for loop in loops for node in loop.nodes}
    arrays = {operand for node in inside for operand in node.operands() if operand not in inside}
    return len(arrays) + len(loops) > MOST_ARRAYS


def fuse(
    graph: Graph, elementary: Collection[str] = (), refused: Collection[int] = ()
) -> tuple[Graph, dict[Node, Node]]:
    """A graph whose loops are kernels, and for each output of the old one that of the new.

    The nodes are copied, but for inputs and constants.

    Args:
        elementary: the names of the elementary functions that kernels can call.
        refused: positions of nodes that are to be left as they are.
    """
    copied = copy_graph(graph)
    units = group(copied, elementary, refused)
    order = schedule(copied, units)
    users = copied.users()
    outputs = set(copied.outputs)
    results: dict[Node, Node] = {}
    nodes: list[Node] = []

    def outside(node: Node) -> Node:
        """What stands for a node for those who read it outside of its kernel."""
        if node not in results:
            if node.op not in SAME_ORDER:
                return node
            results[node] = node.like(np.reshape, outside(node.args[0]), node.shape)
            nodes.append(results[node])
        return results[node]

    def is_read(node: Node, inside: set[Node]) -> bool:
        """Whether a node of a kernel, or another shape of it, is read outside."""
        return node in outputs or any(
            is_read(user, inside) if user.op in SAME_ORDER else user not in inside for user in users[node]
        )

    for item in order:
        if isinstance(item, Node):
            item.args = map_nodes(item.args, outside)
            item.kwargs = map_nodes(item.kwargs, outside)
            nodes.append(item)
            continue
        members = {node for loop in item for node in loop.nodes}
        read = [same_memory(operand) for loop in item for node in loop.nodes for operand in node.operands()]
        given = list(dict.fromkeys(node for node in read if node not in members and not is_known(node)))
        computed = [node for loop in item for node in loop.nodes if node.op not in SAME_ORDER]
        # what a later loop reads is an array as well, unless it is a single number
        kernel = Kernel(
            item,
            given,
            [
                node
                for loop in item
                for node in loop.nodes
                if node.op not in SAME_ORDER and is_read(node, members if node.size == 1 else set(loop.nodes))
            ],
            {units.order[node] for node in members},
        )
        first = min((node for node in computed if node.line), key=units.order.__getitem__, default=computed[0])
        whole = Node(kernel, tuple(map(outside, given)), line=first.line, formula=first.formula)
        nodes.append(whole)
        for i, node in enumerate(kernel.outputs):
            results[node] = node.like(operator.getitem, whole, i)
            results[node].name = node.name or name_of(node.op).replace(".", "_")
            nodes.append(results[node])
    ends = [outside(node) for node in copied.outputs]
    fused = Graph(without_unread(nodes, ends), ends)
    return fused, dict(zip(graph.outputs, fused.outputs, strict=True))


def without_unread(nodes: list[Node], ends: list[Node]) -> list[Node]:
    """What is still read, or has an effect; all results of a kernel stay."""
    used = set(ends)
    kept = []
    for node in reversed(nodes):
        if node in used or node.op is INPUT or node.effect or is_output(node):
            used.update(node.operands())
            kept.append(node)
    return kept[::-1]


def is_known(node: Node) -> bool:
    """Whether kernels write a value as a number, or as the number of the column."""
    return uniform_value(node) is not None or is_count(node)


def is_count(node: Node) -> bool:
    """Whether a constant is 0, 1, 2, ..."""
    return (
        node.op is CONSTANT
        and node.dtype == np.int64
        and not node.args[0].flags.writeable
        and np.array_equal(node.args[0].reshape(-1), np.arange(node.size))
    )


def copy_graph(graph: Graph) -> Graph:
    """A graph of copies of the nodes, but for inputs and constants, in the same order."""
    copies: dict[Node, Node] = {}
    for node in graph.nodes:
        copies[node] = node if node.op in (INPUT, CONSTANT) else copy_of(node, copies)
    return Graph([copies[node] for node in graph.nodes], [copies[node] for node in graph.outputs])


def copy_of(node: Node, copies: dict[Node, Node]) -> Node:
    copy = node.like(node.op, *map_nodes(node.args, copies.__getitem__), **map_nodes(node.kwargs, copies.__getitem__))
    copy.effect = node.effect
    return copy
