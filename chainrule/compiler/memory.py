"""Where each value lives: which results share a buffer, and which are written straight to the memory they end in.

A buffer is taken by a value from the line that computes it to the last line that reads it or a view of it, and then
by the next value of the same size. Values that are handed out have memory of their own.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from ..core.views import write_region
from ..ops.convolution import convolve, convolve_input, convolve_weight, rectified_convolve
from ..ops.elementwise import at_least_zero, keep_where
from .graph import CONSTANT, INPUT, Graph, Node
from .kernels.generate import can_overwrite
from .kernels.products import Product
from .passes.forms import keep_where_nonzero, plus_multiple, softmax_of_rows
from .passes.fusion import Kernel, is_output
from .tracer import GIVE_VIEWS, Draw, UfuncMethod

__all__ = ["Plan", "is_contiguous", "plan"]

SMALLEST = 1 << 14  # bytes; smaller results are allocated as fast as a buffer is found
LINE = 64  # bytes of a line of the processor's cache
VIEWS = frozenset(
    (
        np.reshape,
        np.transpose,
        np.swapaxes,
        np.expand_dims,
        np.squeeze,
        np.moveaxis,
        np.broadcast_to,
        np.diagonal,
        np.real,
        np.imag,
        np.astype,
        np.ravel,
        np.flip,
        np.atleast_1d,
        np.atleast_2d,
        np.split,
        np.array_split,
        np.rollaxis,
        np.rot90,
        np.unstack,
        np.matrix_transpose,
        np.permute_dims,
        operator.getitem,
    )
)
TAKES_OUT = frozenset(
    (
        np.sum,
        np.prod,
        np.max,
        np.min,
        np.amax,
        np.amin,
        np.mean,
        np.cumsum,
        np.cumprod,
        np.clip,
        np.dot,
        np.take,
        np.concatenate,
        at_least_zero,
        keep_where_nonzero,
        plus_multiple,
        softmax_of_rows,
    )
)
# functions of this package beside these that give a new array
NEW = frozenset((convolve, convolve_input, convolve_weight, keep_where, rectified_convolve))
# functions that may write over an operand, of which they read an element, or a row, before they write it
BY_ELEMENT = frozenset((at_least_zero, keep_where_nonzero, softmax_of_rows))


class Plan:
    """The memory of a program.

    Attributes:
        targets: node -> the buffer's name, or the input, that its result is written to.
        buffers: (name, shape, dtype) of each.
        copies: (value, input): values that are copied to an input's memory at the end.
        reused: writes to a part of an array that nobody reads any more, and which may be changed.
        shared: results in memory that is not their own, which are copied when they are returned.
    """

    def __init__(self) -> None:
        self.targets: dict[Node, str | Node] = {}
        self.buffers: list[tuple[str, tuple[int, ...], np.dtype[Any]]] = []
        self.copies: list[tuple[Node, Node]] = []
        self.reused: set[Node] = set()
        self.shared: set[Node] = set()

    def allocations(self) -> list[str]:
        """The lines that make the buffers: parts of one arena, each of which begins where a line of the cache does."""
        lines, start = [], 0
        for name, shape, dtype in self.buffers:
            size = int(np.prod(shape)) * dtype.itemsize
            part = f"arena[{start}:{start + size}].view({'bool' if dtype == np.bool else f'np.{dtype.name}'})"
            lines.append(f"{name} = {part}" + ("" if len(shape) == 1 else f".reshape({shape or '()'})"))
            start += -(-size // LINE) * LINE
        if not lines:
            return []
        first = [f"arena = np.empty({start + LINE}, np.uint8)", f"arena = arena[-arena.ctypes.data % {LINE} :]"]
        return first + lines

    @property
    def nbytes(self) -> int:
        """The size of all buffers."""
        return sum(-(-int(np.prod(shape)) * dtype.itemsize // LINE) * LINE for _, shape, dtype in self.buffers)


def can_write_out(node: Node) -> bool:
    """Whether the call takes `out=`."""
    if is_output(node):
        return True
    if node.dtype is None or not node.shape or node.effect:
        return False
    if isinstance(node.op, np.ufunc):
        return node.op.nout == 1 and "dtype" not in node.kwargs
    if isinstance(node.op, UfuncMethod):
        return node.op.method in ("reduce", "accumulate")
    return node.op in TAKES_OUT


def is_contiguous(node: Node) -> bool:
    """Whether a value is surely an array, with its elements in order in memory."""
    if node.op is INPUT:
        return not node.args  # else STRIDED
    if node.op is CONSTANT:
        return bool(node.args[0].flags.c_contiguous)
    if node.op is np.ascontiguousarray or isinstance(node.op, Draw):
        return True
    return is_output(node) or (node.op is np.dot and bool(node.shape))


def root(node: Node) -> Node:
    """The node whose memory a view shares."""
    while is_view(node) and node.args and isinstance(node.args[0], Node):
        node = node.args[0]
    return node


def is_view(node: Node) -> bool:
    """Whether a value may be in the memory of its first operand."""
    return (node.op in VIEWS or node.op in GIVE_VIEWS) and not is_output(node) and not gathers(node)


def gathers(node: Node) -> bool:
    """Whether `x[numbers]` takes elements, or rows, by arrays of numbers alone: these are copied."""
    if node.op is not operator.getitem:
        return False
    index = node.args[1] if isinstance(node.args[1], tuple) else (node.args[1],)
    return bool(index) and all(isinstance(part, Node) and part.shape for part in index)


def plan(graph: Graph, results: int, in_place: list[tuple[Node, Node]]) -> Plan:
    """Decide where each value lives.

    Args:
        results: how many of the outputs are returned; these get memory of their own.
        in_place: (value, input): inputs whose memory holds the value in the end.
    """
    memory = Plan()
    end = len(graph.nodes)
    last: dict[Node, int] = {}  # the position of the last node that reads a value or a view of it
    for i, node in enumerate(graph.nodes):
        for operand in node.operands():
            last[root(operand)] = i
        if is_output(node):
            last[node] = i  # even if only another loop of the kernel reads it
    owners: set[Node] = set()
    for node in graph.outputs[:results]:
        owner = root(node)
        if owner in owners or owner.op in (INPUT, CONSTANT):
            memory.shared.add(node)
        owners.add(owner)
        last[owner] = end
    plan_writes(graph, memory, last, in_place, owners)
    plan_buffers(graph, memory, last, owners)
    return memory


def plan_writes(
    graph: Graph, memory: Plan, last: dict[Node, int], in_place: list[tuple[Node, Node]], owners: set[Node]
) -> None:
    """Compute a value in the input's memory where nobody reads the old value later; otherwise copy it at the end."""
    position = {node: i for i, node in enumerate(graph.nodes)}
    position |= {node: position[node.args[0]] for node in graph.nodes if is_output(node)}
    values, targets = [value for value, _ in in_place], [target for _, target in in_place]
    for value, target in in_place:
        if (
            can_write_out(value)
            and not target.args  # in order in memory
            and value not in owners
            and (value.shape, value.dtype) == (target.shape, target.dtype)
            and last.get(target, -1) <= position[value]
            and values.count(value) == targets.count(target) == 1
            and reads_in_step(value, target)
        ):
            memory.targets[value] = target
            last[target] = len(graph.nodes)
        else:
            memory.copies.append((value, target))
            last[root(value)] = len(graph.nodes)


def reads_in_step(node: Node, target: Node) -> bool:
    """Whether a call may write over `target` while it reads its operands: not at all, or element by element."""
    if is_output(node):
        whole = node.args[0]
        readers = [operand for operand in whole.args if root(operand) is target]
        return not readers or (readers == [target] and is_contiguous(target) and can_overwrite_input(node, target))
    readers = [operand for operand in node.operands() if root(operand) is target]
    elementwise = is_elementwise(node) or node.op is plus_multiple
    return not readers or (elementwise and all(operand is target for operand in readers))


def can_overwrite_input(node: Node, target: Node) -> bool:
    """Whether a kernel may compute its result `node` in the memory of its input `target`."""
    whole, i = node.args
    if isinstance(whole.op, Product):
        return whole.op.overwrites(whole.op.outputs[i], whole.op.inputs[whole.args.index(target)])
    return can_overwrite(whole.op, whole.op.outputs[i], whole.op.inputs[whole.args.index(target)])


def plan_buffers(graph: Graph, memory: Plan, last: dict[Node, int], owners: set[Node]) -> None:
    """Write results over operands that nobody reads any more; give other large ones buffers that have become free."""
    free: dict[tuple[Any, Any], list[str]] = {}
    expiring: dict[int, list[Node]] = {}
    names: dict[Node, str] = {}  # the buffers' present holders
    kinds: dict[str, tuple[Any, Any]] = {}  # their shapes, which may not be those of later holders, and types
    for i, node in enumerate(graph.nodes):
        for holder in expiring.pop(i, ()):
            if holder in names:
                free.setdefault(kinds[names[holder]], []).append(names.pop(holder))
        if node.op is write_region:
            base = node.args[0]
            if (
                is_own(base, owners)
                and can_be_overwritten(base)
                and base not in memory.targets
                and last.get(base, -1) <= i
            ):
                memory.reused.add(node)
        results = [node]
        if isinstance(node.op, Kernel):
            results = [item for item in graph.nodes[i + 1 :][: len(node.op.outputs)] if item.args[:1] == (node,)]
        elif is_output(node):
            continue
        for result in results:
            if not can_write_out(result) or result in memory.targets or result not in last:
                continue
            over = operand_to_overwrite(result, i, last, owners, names, memory)
            if over is not None:
                memory.targets[result] = over
                if reshaped(over) in names:
                    names[result] = names.pop(reshaped(over))
                    expiring.setdefault(last[result] + 1, []).append(result)
                continue
            if result in owners or (result.nbytes < SMALLEST and not is_output(result)):
                continue
            assert result.shape is not None and result.dtype is not None
            available = free.get((result.shape, result.dtype))
            if available:
                names[result] = available.pop()
            else:
                names[result] = f"buffer_{len(memory.buffers) + 1}"
                memory.buffers.append((names[result], result.shape, result.dtype))
                kinds[names[result]] = result.shape, result.dtype
            memory.targets[result] = names[result]
            expiring.setdefault(last[result] + 1, []).append(result)


def is_own(node: Node, owners: set[Node]) -> bool:
    """Whether a value has memory of its own, and does not leave the program in it."""
    if node.op in (INPUT, CONSTANT) or node in owners or root(node) is not node:
        return False
    return bool(node.shape)


def operand_to_overwrite(
    node: Node, i: int, last: dict[Node, int], owners: set[Node], buffers: dict[Node, str], memory: Plan
) -> Node | None:
    """An operand that is read here for the last time, and whose memory an elementwise result fits."""
    if is_output(node):
        taken = set(memory.targets.values())  # no two results in the same memory
        operands = [x for x in node.args[0].args if x not in taken and x.shape == node.shape]
        operands = [x for x in operands if reads_in_step(node, x)]
    elif node.kwargs or not is_elementwise(node):
        return None
    else:
        operands = node.operands()
    for operand in operands:
        whole = reshaped(operand)
        if (
            is_own(whole, owners)
            and can_be_overwritten(whole)
            and getattr(memory.targets.get(whole), "op", None) is not INPUT
            and (operand.shape, operand.dtype) == (node.shape, node.dtype)
            and last.get(whole) == i
            and not (node in owners and whole in buffers)
            and all(other is operand or root(other) is not whole for other in operands)
            and (whole is operand or not is_output(node))
        ):
            return operand
    return None


def reshaped(node: Node) -> Node:
    """What a value is another shape of."""
    while node.op is np.reshape and isinstance(node.args[0], Node):
        node = node.args[0]
    return node


def can_be_overwritten(node: Node) -> bool:
    """Whether a function surely gives a new array that may be written to."""
    return isinstance(node.op, (np.ufunc, UfuncMethod)) or node.op in TAKES_OUT or node.op in NEW or is_output(node)


def is_elementwise(node: Node) -> bool:
    """Whether a call may write over an operand of its result's shape and type."""
    return node.op in BY_ELEMENT or (isinstance(node.op, np.ufunc) and node.op.signature is None)
