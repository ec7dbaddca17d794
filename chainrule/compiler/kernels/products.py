"""Products of two matrices as kernels: for what BLAS does slowly, and what can follow while a result is in the cache.

A tile of sums, `HEIGHT` rows of `width()` vectors, stays in registers while it goes over the inner dimension. The right
matrix is copied into panels, as wide as a tile, in the order in which tiles read them; the left one is read where it
lies. Both are taken in blocks: a panel's block stays in the nearest cache, and the left one's rows in the next (the
order of K. Goto and R. van de Geijn, "Anatomy of high-performance matrix multiplication", ACM Trans. Math. Softw. 34,
2008). Each thread has some of the columns. A tile that would reach over an edge begins earlier, and only what is new in
it is written.
"""

from __future__ import annotations

from typing import Any

from ..graph import Node
from .convolution import LayerKernel
from .generate import KernelText, parameter_type
from .registers import register_bytes, register_count

__all__ = ["BIAS", "HEIGHT", "Product", "columns_of_unit", "product_text"]

HEIGHT = 6  # rows of a tile: enough sums that products need not wait for each other
DEPTH = 512  # of the inner dimension, at most, in a block
ROWS = 160 * HEIGHT  # of the left matrix in a block

TEXT = """\
def {name}({parameters}):
    separate()
{constants}
    rows, columns = out.shape
    pitch_left, pitch_right = left.shape[1], right.shape[1]
    down, along = (1, pitch_left) if turned & 1 else (pitch_left, 1)
    inner = left.shape[0] if turned & 1 else pitch_left
    a, b, result = as_shape(left, (left.size,)), as_shape(right, (right.size,)), as_shape(out, (out.size,))
    start, stop = int64(first) * {lanes}, min(int64(last) * {lanes}, columns)
    wide, vectors = (stop - start) // {step}, -(-(stop - start) // {lanes})
    blocks = -(-inner // {depth})
    depth = -(-inner // (blocks * {lanes})) * {lanes}
    panels, edge = memory(vectors * {lanes} * depth, right), row_of({size}, right)
    for k0 in range(0, inner, depth):
        deep = min(depth, inner - k0)
{pack}
        for r0 in range(0, rows, {rows}):
            r1 = min(r0 + {rows}, rows)
{multiply}
    free(panels)
"""

# panels of `count` vectors each, from column n0 on; the last one may have to begin earlier, at column n
PANELS = """\
for p in range({panels}):
    n0, at = start + p * {step}, p * {step} * deep
    n = min(n0, stop - {step})"""

PACK = """\
whole = deep // {lanes} * {lanes} if turned & 2 else 0
for k in range(0, whole, {lanes}):
    for j in range(0, {step}, {lanes}):
        transpose_block(b, (n + j) * pitch_right + k0 + k, pitch_right, panels, at + k * {step} + j, {step})
for k in range(whole, deep):
    if turned & 2:
        for j in range({step}):
            panels[at + k * {step} + j] = b[(n + j) * pitch_right + k0 + k]
    else:
        store(panels, at + k * {step}, load(b, (k0 + k) * pitch_right + n, {count}, {lanes}), {lanes})"""

MULTIPLY = """\
for r in range(r0, r1, {height}):
    m = min(r, rows - {height})
    sums = multiply_tile(a, m * down + k0 * along, down, along, panels, at, deep, {height}, {count})
    if m == r and n == n0:
        store_tile(result, m * columns + n, columns, sums, {count}, k0 > 0)
    else:
        store_tile(edge, 0, {step}, sums, {count}, False)
        for i in range(r - m, {height}):
            kept, new = result[(m + i) * columns + n0 : (m + i) * columns + n + {step}], edge[i * {step} + n0 - n :]
            for j in range(kept.size):
                kept[j] = kept[j] + new[j] if k0 else new[j]"""

LAST = """\
if k0 + deep == inner:
    n1 = n + {step}
"""

# what may follow: a number is added to each column, if there are such numbers
BIAS = """\
if bias.size:
    for i in range(r0, r1):
        row, more = out[i, n0:n1], bias[n0:n1]
        for j in range(row.size):
            row[j] += more[j]"""


def lanes_of(dtype: Any) -> int:
    return register_bytes() // int(dtype.itemsize)


columns_of_unit = lanes_of  # what threads share are units of so many columns of the result


def width() -> int:
    """Vectors of a tile's rows: as many as registers have room for, beside a row of the panel and a factor."""
    return 4 if register_count() >= 32 else 2


def product_text(name: str, dtype: Any, parameters: str, constants: str = "", after: str = "") -> str:
    """The text of a kernel in which out = left @ right.

    All matrices are in C order. The result has at least `HEIGHT` rows and a unit of columns, and the inner dimension is
    not empty.

    Args:
        name: of the kernel.
        dtype: of all matrices.
        parameters: `first` and `last`, the first unit of columns and the one after the last; `turned`, the sum of 1
            where `left` is the transpose of what is multiplied, and of 2 where `right` is; `left`, `right`, and `out`.
        constants: lines that define what is no parameter.
        after: lines that follow when rows r0 to r1 of columns n0 to n1 are done.
    """
    lanes = lanes_of(dtype)
    pack, multiply = [], []
    for count, panels in ((width(), "wide"), (1, f"wide * {width()}, vectors")):
        names = {"step": count * lanes, "count": count, "lanes": lanes, "height": HEIGHT, "panels": panels}
        head = PANELS.format(**names)
        pack += [head, indented(PACK.format(**names), 1)]
        multiply += [head, indented(MULTIPLY.format(**names), 1)]
        if after:
            multiply.append(indented(LAST.format(**names) + indented(after, 1), 1))
    return TEXT.format(
        name=name,
        parameters=parameters,
        constants=indented(constants, 1),
        lanes=lanes,
        step=width() * lanes,
        size=HEIGHT * width() * lanes,
        depth=DEPTH,
        rows=ROWS,
        pack=indented("\n".join(pack), 2),
        multiply=indented("\n".join(multiply), 3),
    )


def indented(text: str, depth: int) -> str:
    return "\n".join("    " * depth + line if line else line for line in text.split("\n"))


class Product(LayerKernel):
    """A product of two matrices in a compiled program."""

    def __init__(self, node: Node, left: Node, right: Node, turned: int, position: int) -> None:
        super().__init__("dot", [node], [left, right], [node], position)
        self.turned = turned
        self.inner = (left.shape or ())[1 - (turned & 1)]
        self.work = node.size * self.inner

    @property
    def operations(self) -> int:
        """Floating-point operations: products and sums."""
        return 2 * self.work

    def write(self, name: str) -> KernelText:
        """Its text, the same for all sizes."""
        left, right, out = (parameter_type(node, node in self.outputs) for node in (*self.inputs, *self.outputs))
        parameters = f"first: uint64, last: uint64, left: {left}, right: {right}, out: {out}"
        dtype, shape = self.outputs[0].dtype, self.outputs[0].shape or ()
        text = "@kernel\n" + product_text(name, dtype, parameters, f"turned = {self.turned}")
        return KernelText(name, text.rstrip("\n"), [0], -(-shape[1] // columns_of_unit(dtype)), [])
