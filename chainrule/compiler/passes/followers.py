"""What matrix products take along: the loop that alone reads a product runs on its blocks while they are in the cache.

Of the updates of parameters, which wait for nothing and stand together at a program's end, `release` makes those
kernels of their own that alone read a product, and puts them as early as the weight's other readers allow.
Read first: `kernels/products.py`.
"""

from __future__ import annotations

import itertools

import numpy as np

from ..graph import CONSTANT, INPUT, Graph, Node
from ..kernels.expressions import element
from ..kernels.generate import Passes, can_overwrite
from ..kernels.products import Product
from ..memory import root
from .fusion import SAME_ORDER, Kernel, Loop, Place, is_output, same_memory

__all__ = ["goes_on", "release"]

MOST_AFTER = 6  # operations that follow a product: of more, the product is the smaller part, and compiling takes longer


def goes_on(
    product: Product, node: Node, graph: Graph, users: dict[Node, list[Node]], in_place: dict[Node, Node]
) -> bool:
    """Let a product take along the kernel that alone reads it, if that can run on one block after the other.

    Args:
        product: the kernel of a product.
        node: the product.
        graph, users: what it is in, and who reads what there.
        in_place: value -> input: inputs whose memory holds the value in the end.
    """
    whole = reader(node, users)
    if whole is None or len(whole.op.loops) != 1:
        return False
    kernel, given = whole.op, whole.op.inputs[whole.args.index(node)]
    loop = kernel.loops[0]
    if not runs_on_blocks(loop, kernel, node):
        return False
    before, loop.widths = loop.widths, widths_of(node)
    stays = node in graph.outputs
    # a value that has a place already, which the kernel reads, cannot take the product's
    placed = {kernel.outputs[item.args[1]] for item in users[whole] if in_place.get(item) in whole.args}
    found = (out for out in kernel.outputs if out not in placed and can_overwrite(kernel, out, given))
    out = None if stays else next(found, None)
    if out is None and not stays:
        loop.widths = before
        return False
    product.goes_on(kernel, given, out)
    return True


def reader(node: Node, users: dict[Node, list[Node]]) -> Node | None:
    """The kernel that alone reads a value."""
    whole = users[node][0] if len(users[node]) == 1 else None
    return whole if whole is not None and type(whole.op) is Kernel else None


def widths_of(matrix: Node) -> frozenset[int]:
    """The number of columns that a loop on a matrix's blocks has."""
    return frozenset((matrix.shape or ())[1:])


def runs_on_blocks(loop: Loop, kernel: Kernel, matrix: Node) -> bool:
    """Whether a loop of a kernel can run on blocks of rows and columns of a matrix, and is short."""
    if len(loop.nodes) > MOST_AFTER or loop.size != matrix.size or loop.inner:
        return False
    if loop.widths is not None and not widths_of(matrix) <= loop.widths:
        return False
    before, loop.widths = loop.widths, widths_of(matrix)
    try:
        for node in loop.nodes:
            role = loop.roles[node]
            sums = role.reduction is not None and loop.place(node) == Place(1, 1, True)
            if role.pick or (role.reduction is not None and not sums) or (not sums and not is_cheap(node)):
                return False
        return Passes(loop, set(kernel.outputs)).count == 1
    finally:
        loop.widths = before


def is_cheap(node: Node) -> bool:
    """Whether a node is written without the elementary functions, which would make a product's kernel long."""
    return node.op in SAME_ORDER or element(node, ()) is not None


# ----- updates -----


def release(graph: Graph, in_place: dict[Node, Node]) -> None:
    """Take loops that end a program and alone read a product out of their kernels, and put them behind the product.

    Args:
        graph: with kernels.
        in_place: value -> input: inputs whose memory holds the value in the end. Who else reads them comes before.
    """
    users = graph.users()
    for node in [node for node in graph.nodes if node.op is np.dot and len(node.shape or ()) == 2]:
        whole = reader(node, users)
        loop = None if whole is None else loop_at_end(whole, node, graph, users, in_place)
        if whole is not None and loop is not None:
            alone = taken_out(whole, loop, node, graph, users)
            put_early(alone, [node, *old_readers(alone, graph, users, in_place)], graph)
            users = graph.users()


def loop_at_end(
    whole: Node, product: Node, graph: Graph, users: dict[Node, list[Node]], in_place: dict[Node, Node]
) -> Loop | None:
    """The loop of a kernel that reads a product, if that could take it along and no other loop reads it, or is read."""
    kernel, given = whole.op, whole.op.inputs[whole.args.index(product)]
    loops = [loop for loop in kernel.loops if given in read_by(loop)]
    if len(loops) != 1 or not runs_on_blocks(loops[0], kernel, product):
        return None
    (loop,) = loops
    for other in kernel.loops:
        if other is not loop and (read_by(other) & loop.roles.keys() or read_by(loop) & other.roles.keys()):
            return None
    items = [item for item in users[whole] if kernel.outputs[item.args[1]] in loop.roles]
    if not all(item in graph.outputs and not users[item] for item in items):
        return None
    return loop if product in graph.outputs or any(item not in in_place for item in items) else None


def read_by(loop: Loop) -> set[Node]:
    """What a loop reads, of its own nodes as well."""
    return {same_memory(operand) for node in loop.nodes for operand in node.operands()}


def taken_out(whole: Node, loop: Loop, product: Node, graph: Graph, users: dict[Node, list[Node]]) -> list[Node]:
    """Make two kernels of one, of which that of the loop, and its results, are returned and no longer in the graph."""
    kernel, items = whole.op, users[whole]
    inner = {item: kernel.outputs[item.args[1]] for item in items}
    args = dict(zip(kernel.inputs, whole.args, strict=True))

    def part(node: Node, loops: list[Loop]) -> list[Node]:
        read = (same_memory(operand) for each in loops for node in each.nodes for operand in node.operands())
        inputs = [x for x in dict.fromkeys(read) if x in args]
        results = [item for item in items if any(inner[item] in each.roles for each in loops)]
        node.op = Kernel(loops, inputs, [inner[item] for item in results], kernel.positions)
        node.args = tuple(args[x] for x in inputs)
        for i, item in enumerate(results):
            item.args = (node, i)
        return [node, *results]

    others = [other for other in kernel.loops if other is not loop]
    alone = part(Node(kernel, line=product.line, formula=product.formula), [loop])
    graph.nodes = [node for node in graph.nodes if node not in alone]
    if any(item not in alone for item in items):
        part(whole, others)
    else:  # what is left, such as another shape of an input, nobody reads
        graph.nodes.remove(whole)
    return alone


def old_readers(
    alone: list[Node], graph: Graph, users: dict[Node, list[Node]], in_place: dict[Node, Node]
) -> list[Node]:
    """What reads the old values of the inputs that results are written to; of products, what they may take along."""
    targets = {in_place[item] for item in alone[1:] if item in in_place}
    found = [node for node in graph.nodes if any(root(operand) in targets for operand in node.operands())]
    return found + [whole for node in found if node.op is np.dot and (whole := reader(node, users)) in graph.nodes]


def put_early(alone: list[Node], after: list[Node], graph: Graph) -> None:
    """Put a kernel and its results behind certain nodes, and what it needs before it if that is only numbers."""
    order = {node: i for i, node in enumerate(graph.nodes)}
    position = max(order[node] for node in after)
    needed = set(alone[0].operands())
    for node in reversed(graph.nodes):
        if node in needed:
            needed.update(node.operands())
            if not is_number(node):
                position = max(position, order[node])
    behind = graph.nodes[position + 1 :]
    own = list(itertools.takewhile(is_output, behind))  # a kernel's results stand beside it
    late = [node for node in behind[len(own) :] if node in needed]
    rest = [node for node in behind[len(own) :] if node not in needed]
    graph.nodes = [*graph.nodes[: position + 1], *own, *late, *alone, *rest]


def is_number(node: Node) -> bool:
    """Whether it is given, or takes next to no time wherever it stands."""
    if node.op in (INPUT, CONSTANT):
        return True
    return node.size == 1 and not node.effect and not isinstance(node.op, Kernel) and not is_output(node)
