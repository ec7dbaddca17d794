"""Products of two matrices as kernels: for what BLAS does slowly, and what can follow while a result is in the cache.

A tile of sums, `tile_height()` rows of `tile_width()` vectors, stays in registers while it goes over the inner
dimension. The right matrix is copied into panels, as wide as a tile, in the order in which tiles read them; the left
one is read where it lies. Both are taken in blocks that stay in a cache while they are used (K. Goto and R. van de
Geijn, "Anatomy of high-performance matrix multiplication", ACM Trans. Math. Softw. 34, 2008). Each thread has some of
the columns. A tile that would reach over an edge begins earlier, and only what is new in it is written.

The parts are functions of `matrices.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..graph import Node
from ..passes.fusion import Kernel
from .convolution import LayerKernel
from .generate import KernelText, can_overwrite, parameter_type, write_block
from .registers import lanes_of, tile_width

__all__ = ["BIAS", "Product", "product_text"]

ROWS = 96  # of the left matrix in a block: whole tiles
# of the right matrix, before what follows: that reads rows in long pieces, since short ones that lie a power of two
# apart, as those of many a matrix do, want the same places in the cache
PANELS = 4

# what may follow: a number is added to each column, if there are such numbers
BIAS = (
    "if bias.size:",
    "    for r in range(r0, r1):",
    "        row, more = out[r, n0:n1], bias[n0:n1]",
    "        for c in range(row.size):",
    "            row[c] += more[c]",
)


def product_text(name: str, dtype: Any, parameters: str, after: Sequence[str] = (), before: Sequence[str] = ()) -> str:
    """The text of a kernel in which out = left @ right.

    All matrices are in C order. The result has at least `tile_height()` rows and a vector of columns, and the inner
    dimension is not empty.

    Args:
        name: of the kernel.
        dtype: of all matrices.
        parameters: `first` and `last`, of the vectors of columns; `turned`, which is 1 where `left` is the transpose of
            what is multiplied, 2 where `right` is, 3 for both, 0 for none; the matrices `left`, `right`, `out`.
        after: lines that follow when rows r0 to r1 of columns n0 to n1 are done.
        before: lines before all others.
    """
    lanes, number = lanes_of(dtype), dtype.name
    width = tile_width() * lanes
    lines = [f"def {name}({parameters}):", "    separate()"]
    lines += indented(before, 1)
    lines += [
        f"    start, stop = int64(first) * {lanes}, min(int64(last) * {lanes}, out.shape[1])",
        "    inner, rows = right.size // out.shape[1], out.shape[0]",
        f"    depth = depth_{number}(inner)",
        f"    panels = memory(depth * -(-(stop - start) // {lanes}) * {lanes}, right)",
        "    for k0 in range(0, inner, depth):",
        "        deep = min(depth, inner - k0)",
        f"        pack_{number}(right, turned & 2, k0, deep, start, stop, panels)",
        f"        for r0 in range(0, rows, {ROWS}):",
        f"            r1 = min(r0 + {ROWS}, rows)",
        f"            for n0 in range(start, stop, {width * PANELS}):",
        f"                n1 = min(n0 + {width * PANELS}, stop)",
        f"                for n in range(n0, n1, {width}):",
        f"                    multiply_{number}(left, turned & 1, panels, k0, deep, r0, r1, start, stop, n, out)",
    ]
    if after:
        lines += ["                if k0 + deep == inner:", *indented(after, 5)]
    return "\n".join([*lines, "    free(panels)", ""])


def indented(lines: Sequence[str], depth: int) -> list[str]:
    return ["    " * depth + line for line in lines]


class Product(LayerKernel):
    """A product of two matrices in a compiled program, and what a loop goes on to do with its elements.

    Attributes:
        follower: the kernel of that loop, if there is one.
        product: the result of the product: what the follower reads.
        out: what takes its place in memory; itself where it is handed out.
        stays: whether something follows and it is handed out as well.
    """

    def __init__(self, node: Node, left: Node, right: Node, turned: int, position: int) -> None:
        super().__init__("dot", [node], [left, right], [node], position)
        self.turned = turned
        self.follower: Kernel | None = None
        self.product = self.out = node
        self.stays = False
        self.work = node.size * (left.shape or ())[1 - (turned & 1)]

    def goes_on(self, follower: Kernel, product: Node, out: Node | None) -> None:
        """Take along a kernel of one loop.

        Args:
            follower: the kernel.
            product: its input that is the result of the product.
            out: its output that takes the place of that in memory; None where that stays, a result as well.
        """
        self.follower, self.product, self.out, self.stays = follower, product, out or product, out is None
        self.inputs = [*self.inputs, *(node for node in follower.inputs if node is not product)]
        self.members = [*self.members, *follower.nodes]
        self.outputs = [*([product] if self.stays else []), *follower.outputs]
        self.positions |= follower.positions
        self.__name__ = f"dot_{follower.__name__}"

    def __call__(self, *arrays: Any) -> list[Any]:
        """Compute it by NumPy."""
        left, right = (
            np.transpose(array) if self.turned & bit else array for array, bit in zip(arrays, (1, 2), strict=False)
        )
        product = np.dot(left, right)
        if self.follower is None:
            return [product]
        others = iter(arrays[2:])
        found = self.follower(*(product if node is self.product else next(others) for node in self.follower.inputs))
        return [product, *found] if self.stays else found

    @property
    def operations(self) -> int:
        """Floating-point operations: products and sums, and one for each element elsewhere."""
        return 2 * self.work + sum(node.size for node in self.members[1:])

    def overwrites(self, output: Node, given: Node) -> bool:
        """Whether an output may be written to the memory of an input: where the loop could do it alone."""
        if self.follower is None or output is self.out or given not in self.follower.inputs:
            return False
        return can_overwrite(self.follower, output, given)

    def write(self, name: str, overwritten: dict[Node, Node] | None = None) -> KernelText:
        """Its text: the same for all sizes, if nothing follows."""
        overwritten = overwritten or {}
        outputs = [i for i, node in enumerate(self.outputs) if node not in overwritten]
        arrays, before, after = {self.out: "out"}, list[str](), list[str]()
        if self.follower is not None:
            arrays, before, after = write_block(self.follower, self.product, self.out, overwritten)
        left, right, *others = self.inputs
        over = set(overwritten.values())
        parameters = ["first: uint64", "last: uint64", "turned: int64"]
        parameters += [f"{called}: {parameter_type(x, False)}" for called, x in (("left", left), ("right", right))]
        parameters += [f"{arrays[x]}: {parameter_type(x, x in over)}" for x in others]
        parameters += [f"{arrays[self.outputs[i]]}: {parameter_type(self.outputs[i], True)}" for i in outputs]
        dtype, shape = self.out.dtype, self.out.shape or ()
        text = product_text(name, dtype, ", ".join(parameters), after, before)
        units = -(-shape[1] // lanes_of(dtype))
        return KernelText(name, "@kernel\n" + text.rstrip("\n"), outputs, units, [], (self.turned,))
