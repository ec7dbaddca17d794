"""Products that sum: matrix products, `linear`, `einsum` and everything that is one of them.

Three functions carry the derivatives: `np.matmul`, `linear` and `contract`, the product of two arrays written as an
einsum equation. The other operations here are these three, called with the right axes. Matrix decompositions are in
`linalg.py`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..core.broadcasting import sum_of_rows, unbroadcast
from ..core.forward import TENSOR_FUNCS, array_function, explained, implements, promote, wrap_forward_fn
from ..core.grad_mode import ON, grad_mode
from ..core.recipe import CLOCK, NO_KWARGS, Recipe, extra_of, new_object, user_trace
from ..core.table import backward
from ..core.tensor import Tensor
from .common import as_tensor_argument, attach, attach_in_place, is_complex, normalize_axis, numpy_names
from .kernels import LARGE, compiled, features

__all__ = [
    "addbmm",
    "addmm",
    "addmv",
    "addr",
    "baddbmm",
    "bilinear",
    "bmm",
    "chain_matmul",
    "cross",
    "dot",
    "einsum",
    "ger",
    "inner",
    "kron",
    "matmul",
    "mm",
    "mv",
    "outer",
    "tensordot",
    "vdot",
]

ndarray = np.ndarray


def transposed(x: Any) -> Any:
    """A matrix, or each matrix of a batch, with rows and columns exchanged."""
    if type(x) is ndarray:
        return x.T if x.ndim == 2 else x.swapaxes(-1, -2)
    return np.swapaxes(x, -1, -2)


def matrix_product(x: Any, y: Any) -> Any:
    """`np.matmul`, in half its time for small matrices: `ndarray.dot` goes to BLAS by a shorter way."""
    if type(x) is ndarray and type(y) is ndarray and x.ndim == 2 and y.ndim == 2:
        return x.dot(y)
    return np.matmul(x, y)


# ----- the table: matrix products ---------------------------------------------------------------------------------


@backward(np.matmul, 0)
def matmul_back0(grad_out: Any, out: Any, x: Any, y: Any) -> Any:
    r"""$\nabla_x L = (\nabla_{out} L)\, y^T$"""
    if y.ndim == 2 and x.ndim == 2:
        return matrix_product(grad_out, transposed(y))
    if y.ndim == 1:
        if x.ndim == 1:
            return grad_out * y
        return np.expand_dims(grad_out, -1) * y
    if x.ndim == 1:
        rows = np.matmul(y, np.expand_dims(grad_out, -1))  # (..., n, 1)
        return unbroadcast(np.reshape(rows, rows.shape[:-1]), x)
    return unbroadcast(np.matmul(grad_out, transposed(y)), x)


@backward(np.matmul, 1)
def matmul_back1(grad_out: Any, out: Any, x: Any, y: Any) -> Any:
    r"""$\nabla_y L = x^T\, \nabla_{out} L$"""
    if y.ndim == 2:
        if x.ndim == 2:
            return matrix_product(transposed(x), grad_out)
        if x.ndim > 2:  # all the rows of the batch in one product
            return matrix_product(transposed(as_rows(x)), as_rows(grad_out))
    if y.ndim == 1:
        if x.ndim == 1:
            return grad_out * x
        return np.matmul(np.reshape(grad_out, (math.prod(grad_out.shape),)), as_rows(x))
    if x.ndim == 1:
        return np.expand_dims(x, -1) * np.expand_dims(grad_out, -2)
    return unbroadcast(np.matmul(transposed(x), grad_out), y)


def as_rows(x: Any) -> Any:
    """All the rows of a batch as one matrix."""
    if x.ndim == 2:
        return x
    return np.reshape(x, (math.prod(x.shape[:-1]), x.shape[-1]))


@backward(np.vecdot, 0)
def vecdot_back0(grad_out: Any, out: Any, x: Any, y: Any) -> Any:
    r"""$\nabla_x L = \overline{\nabla_{out} L\; y}$"""
    product = np.expand_dims(grad_out, -1) * y
    return unbroadcast(np.conjugate(product) if is_complex(product) else product, x)


@backward(np.vecdot, 1)
def vecdot_back1(grad_out: Any, out: Any, x: Any, y: Any) -> Any:
    r"""$\nabla_y L = \overline{x}\; \nabla_{out} L$"""
    return unbroadcast(np.expand_dims(grad_out, -1) * (np.conjugate(x) if is_complex(x) else x), y)


# ----- the table: linear ------------------------------------------------------------------------------------------


def few_rows(x: Any, weight: Any) -> bool:
    """Whether BLAS takes less time for `weight @ x.T` than for `x @ weight.T`, where it must turn the larger one."""
    return (
        weight.size >= 1 << 16
        and type(weight) is ndarray
        and type(x) is ndarray
        and x.ndim == weight.ndim == 2
        and 8 <= x.shape[0] <= x.shape[1] // 12
        and x.dtype.char == weight.dtype.char == "f"
        and x.flags.c_contiguous
        and weight.flags.c_contiguous
    )


SMALL = 1 << 12  # elements of a matrix, below which nobody asks for a kernel
LEAST = 8  # rows, and products of each sum, from which one takes less time than BLAS
COLUMNS = 128  # the same of columns, which threads share
TURNING = 64  # the same of rows, where the right matrix has to be turned; the double from a megabyte on
TURNED_LEFT, TURNED_RIGHT = 1, 2


def kernel_is_faster(rows: int, inner: int, columns: int, turned: int, itemsize: int) -> bool:
    """Whether the kernel of `compiler/kernels/products.py` takes less time than BLAS for a product of matrices.

    It does not with registers of less than 64 bytes: OpenBLAS is at its best there.

    Args:
        turned: the sum of `TURNED_LEFT` and `TURNED_RIGHT`, as far as the transposes of the matrices are what is given.
        itemsize: of their elements, in bytes.
    """
    if min(rows, inner) < LEAST or columns < COLUMNS or rows * inner * columns < LARGE:
        return False
    if not features().get("AVX512F"):
        return False
    return not turned & TURNED_RIGHT or rows >= (TURNING if inner * columns * itemsize <= 1 << 20 else 2 * TURNING)


def by_kernel(left: Any, right: Any, turned: int, bias: Any = None) -> Any:
    """The product of two matrices as `compiler/eager.py` computes it; None where it does not, or BLAS is faster."""
    if type(left) is not ndarray or type(right) is not ndarray:
        return None
    rows, inner = left.shape[::-1] if turned & TURNED_LEFT else left.shape
    columns = right.size // max(inner, 1)
    if not kernel_is_faster(rows, inner, columns, turned, left.itemsize):
        return None
    if not (left.flags.c_contiguous and right.flags.c_contiguous):
        return None
    kernels = compiled(rows * inner * columns, left, right, bias)
    return None if kernels is None else kernels.product(left, right, turned, bias)


@array_function
def linear(x: Any, weight: Any, bias: Any = None) -> Any:
    """`x @ weight.T + bias`. Shapes: x (*, in), weight (out, in), bias (out,) or None; result (*, out)."""
    if type(x) is ndarray and x.ndim > 2 and (bias is None or bias.ndim == 1):
        out = _linear_forward(as_rows(x), weight, bias)  # one product instead of one for each matrix of the batch
        return out.reshape(*x.shape[:-1], weight.shape[0])
    if weight.size >= SMALL and type(x) is ndarray and x.ndim == 2 and (bias is None or bias.shape == weight.shape[:1]):
        out = large_linear(x, weight, bias)
        if out is not None:
            return out
    out = matrix_product(x, transposed(weight))
    if bias is None:
        return out
    if type(out) is ndarray and type(bias) is ndarray and bias.ndim == 1:
        out += bias
        return out
    return out + bias


_linear_forward = linear.__wrapped__  # type: ignore[attr-defined]


def large_linear(x: Any, weight: Any, bias: Any) -> Any:
    """The same for a large weight, by what takes less time than a product with `weight.T`; None where nothing does."""
    out = by_kernel(x, weight, TURNED_RIGHT, bias)
    if out is None and few_rows(x, weight) and (bias is None or type(bias) is ndarray):
        out = transposed(weight.dot(transposed(x)))
        return np.ascontiguousarray(out) if bias is None else np.add(out, bias, order="C")
    return out


@backward(linear, 0)
def linear_back0(grad_out: Any, out: Any, x: Any, weight: Any, bias: Any = None) -> Any:
    r"""$\nabla_x L = (\nabla_{out} L)\, weight$"""
    if x.ndim > 2:
        grad_out = as_rows(grad_out)
    found = by_kernel(grad_out, weight, 0) if weight.size >= SMALL and x.ndim > 1 else None
    if found is None:
        found = matrix_product(grad_out, weight)
    return np.reshape(found, x.shape) if x.ndim > 2 else found


@backward(linear, 1)
def linear_back1(grad_out: Any, out: Any, x: Any, weight: Any, bias: Any = None) -> Any:
    r"""$\nabla_{weight} L = (\nabla_{out} L)^T\, x$"""
    if x.ndim == 1:
        return np.expand_dims(grad_out, -1) * x
    if x.ndim > 2:
        x = as_rows(x)
        grad_out = as_rows(grad_out)
    found = by_kernel(grad_out, x, TURNED_LEFT) if x.size >= SMALL else None
    return matrix_product(transposed(grad_out), x) if found is None else found


@backward(linear, 2)
def linear_back2(grad_out: Any, out: Any, x: Any, weight: Any, bias: Any = None) -> Any:
    r"""$\nabla_{bias} L = \sum_{rows} \nabla_{out} L$"""
    if grad_out.ndim == 2 and bias.ndim == 1 and bias.size == grad_out.shape[1]:
        return sum_of_rows(grad_out)
    return unbroadcast(grad_out, bias)


# ----- the table: products of two arrays by an einsum equation ----------------------------------------------------


class Layout(NamedTuple):
    """How `contract` lays out its operands to make a product a batch of matrix products."""

    order_x: tuple[int, ...]
    order_y: tuple[int, ...]
    order_out: tuple[int, ...]
    batch: int
    free_x: int
    free_y: int
    inner: int


@functools.lru_cache(maxsize=4096)
def layout_of(equation: str) -> Layout:
    """The axes of both operands sorted into batch (in both and the result), free (in one), and inner (summed)."""
    operands, out = equation.split("->")
    x, y = operands.split(",")
    batch = [c for c in out if c in x and c in y]
    free_x = [c for c in out if c in x and c not in y]
    free_y = [c for c in out if c in y and c not in x]
    inner = [c for c in x if c in y and c not in out]
    made = [*batch, *free_x, *free_y]
    return Layout(
        tuple(x.index(c) for c in [*batch, *free_x, *inner]),
        tuple(y.index(c) for c in [*batch, *inner, *free_y]),
        tuple(made.index(c) for c in out),
        len(batch),
        len(free_x),
        len(free_y),
        len(inner),
    )


@array_function
def contract(x: Any, y: Any, *, equation: str) -> Any:
    """The product of two arrays by an equation such as "bij,jk->bik".

    Every letter of an operand appears once in it, and in the other operand or in the result; sizes agree.
    """
    order_x, order_y, order_out, batch, free_x, free_y, inner = layout_of(equation)
    if inner and batch and not free_x and not free_y:
        return np.einsum(equation, x, y)
    x = in_order(x, order_x)
    y = in_order(y, order_y)
    size_batch, size_x = x.shape[:batch], x.shape[batch : batch + free_x]
    size_y = y.shape[batch + inner :]
    if not inner:
        out = np.reshape(x, (*x.shape, *(1,) * free_y)) * np.reshape(y, (*size_batch, *(1,) * free_x, *size_y))
        return in_order(out, order_out)
    rows, columns = math.prod(size_x), math.prod(size_y)
    shared = math.prod(y.shape[batch : batch + inner])
    lead = (math.prod(size_batch),) if batch else ()
    if x.shape != (*lead, rows, shared):
        x = np.reshape(x, (*lead, rows, shared))
    if y.shape != (*lead, shared, columns):
        y = np.reshape(y, (*lead, shared, columns))
    out = np.matmul(x, y)
    size = (*size_batch, *size_x, *size_y)
    return in_order(out if out.shape == size else np.reshape(out, size), order_out)


def in_order(x: Any, order: tuple[int, ...]) -> Any:
    return x if order == tuple(range(len(order))) else np.transpose(x, order)


@backward(contract, 0)
def contract_back0(grad_out: Any, out: Any, x: Any, y: Any, equation: str) -> Any:
    r"""$\nabla_x L = \mathrm{einsum}(\nabla_{out} L, y)$, the letters of the result and of $x$ exchanged"""
    operands, result = equation.split("->")
    of_x, of_y = operands.split(",")
    return contract(grad_out, y, equation=f"{result},{of_y}->{of_x}")


@backward(contract, 1)
def contract_back1(grad_out: Any, out: Any, x: Any, y: Any, equation: str) -> Any:
    r"""$\nabla_y L = \mathrm{einsum}(x, \nabla_{out} L)$, the letters of the result and of $y$ exchanged"""
    operands, result = equation.split("->")
    of_x, of_y = operands.split(",")
    return contract(x, grad_out, equation=f"{of_x},{result}->{of_y}")


# ----- the table: the cross product -------------------------------------------------------------------------------


@array_function
def cross_product(x: Any, y: Any, axis: int = -1) -> Any:
    """The cross product of the 3-vectors along a (negative) axis, broadcast over the others."""
    return np.cross(x, y, axisa=axis, axisb=axis, axisc=axis)


@backward(cross_product, 0)
def cross_back0(grad_out: Any, out: Any, x: Any, y: Any, axis: int = -1) -> Any:
    r"""$\nabla_x L = y \times \nabla_{out} L$"""
    return unbroadcast(cross_product(y, grad_out, axis=axis), x)


@backward(cross_product, 1)
def cross_back1(grad_out: Any, out: Any, x: Any, y: Any, axis: int = -1) -> Any:
    r"""$\nabla_y L = \nabla_{out} L \times x$"""
    return unbroadcast(cross_product(grad_out, x, axis=axis), y)


# ----- matrix products --------------------------------------------------------------------------------------------

_matmul = wrap_forward_fn(np.matmul, promotes=True)
vecdot_last = wrap_forward_fn(np.vecdot, promotes=True)
_contract_promoted = wrap_forward_fn(contract, promotes=True)
_contract_alike = wrap_forward_fn(contract)
_cross = wrap_forward_fn(cross_product, promotes=True)


def _contract(x: Any, y: Any, *, equation: str) -> Any:
    alike = isinstance(y, Tensor) and x.array.dtype is y.array.dtype
    return (_contract_alike if alike else _contract_promoted)(x, y, equation=equation)


def matmul(input: Any, other: Any) -> Tensor:
    """The matrix product, as `input @ other`.

    Vectors are dotted, matrices multiplied, batches of matrices broadcast: (..., n, k) @ (..., k, m) -> (..., n, m).

    Raises:
        RuntimeError: the shapes do not fit.

    >>> import chainrule as cr
    >>> cr.matmul(cr.ones(5, 1, 2, 3), cr.ones(4, 3, 6)).shape
    (5, 4, 2, 6)
    """
    try:
        return _matmul(input, other)  # type: ignore[no-any-return]
    except ValueError as error:
        raise unfit(error, input, other) from None
    except TypeError as error:
        if getattr(input, "shape", None) == getattr(other, "shape", None) == ():  # of which NumPy makes scalars
            raise unfit(error, input, other) from None
        raise


def unfit(error: Exception, x: Any, y: Any) -> Exception:
    """NumPy's error about the shapes of a matrix product, as PyTorch's."""
    if np.ndim(x) == 0 or np.ndim(y) == 0:
        return RuntimeError(
            f"both arguments to matmul need to be at least 1D, but they are {np.ndim(x)}D and {np.ndim(y)}D: "
            "write input * other"
        )
    have = f"{tuple(np.shape(x))} and {tuple(np.shape(y))}"
    shared = x.shape[-1], y.shape[-2 if np.ndim(y) > 1 else -1]
    if shared[0] != shared[1]:
        return RuntimeError(
            f"mat1 and mat2 shapes cannot be multiplied ({have}): the last size of the first is {shared[0]}, the "
            f"rows of the second are {shared[1]}"
        )
    return explained(error, np.matmul, np.empty(x.shape[:-2]), np.empty(y.shape[:-2]))


@implements(np.matmul, np.linalg.matmul)
def _np_matmul(x1: Any, x2: Any) -> Tensor:
    return matmul(x1, x2)


def _reflected_matmul(self: Tensor, other: Any) -> Tensor:
    """`other @ self`."""
    return matmul(other, self)


def _need(ndim: int, name: str, argument: str, x: Any) -> None:
    """Refuse an argument with another number of dimensions.

    Raises:
        RuntimeError: names the operation, the argument and its shape.
    """
    if x.ndim != ndim:
        kind = {1: "a vector", 2: "a matrix", 3: "a batch of matrices"}[ndim]
        raise RuntimeError(
            f"{name}: {argument} must be {kind} ({ndim}D), got {x.ndim}D of shape {tuple(x.shape)}; use matmul"
        )


def mm(input: Any, mat2: Any) -> Tensor:
    """The product of two matrices: (n, k) and (k, m) give (n, m). Raises RuntimeError for other shapes."""
    _need(2, "mm", "input", input)
    _need(2, "mm", "mat2", mat2)
    return matmul(input, mat2)


def bmm(input: Any, mat2: Any) -> Tensor:
    """The products of two batches of matrices: (b, n, k) and (b, k, m) give (b, n, m); nothing is broadcast."""
    _need(3, "bmm", "input", input)
    _need(3, "bmm", "mat2", mat2)
    if input.shape[0] != mat2.shape[0] or input.shape[2] != mat2.shape[1]:
        raise RuntimeError(f"bmm: batches of shapes {tuple(input.shape)} and {tuple(mat2.shape)} cannot be multiplied")
    return matmul(input, mat2)


def mv(input: Any, vec: Any) -> Tensor:
    """The product of a matrix (n, m) and a vector (m,)."""
    _need(2, "mv", "input", input)
    _need(1, "mv", "vec", vec)
    return matmul(input, vec)


def dot(input: Any, tensor: Any) -> Tensor:
    """The sum of the products of two vectors of one length; complex vectors are not conjugated.

    >>> import chainrule as cr
    >>> cr.dot(cr.tensor([2, 3]), cr.tensor([2, 1])).item()
    7
    """
    _need(1, "dot", "input", input)
    _need(1, "dot", "tensor", tensor)
    if input.shape != tensor.shape:
        raise RuntimeError(f"dot: the vectors have {input.shape[0]} and {tensor.shape[0]} elements; it takes as many")
    return matmul(input, tensor)


def vdot(input: Any, other: Any) -> Tensor:
    """`dot` with the first vector conjugated."""
    _need(1, "vdot", "input", input)
    _need(1, "vdot", "other", other)
    if input.shape != other.shape:
        raise RuntimeError(f"vdot: the vectors have {input.shape[0]} and {other.shape[0]} elements; it takes as many")
    return vecdot_last(as_tensor_argument(input), other)  # type: ignore[no-any-return]


def outer(input: Any, vec2: Any) -> Tensor:
    """All products of an element of one vector and one of another: (n,) and (m,) give (n, m)."""
    _need(1, "outer", "input", input)
    _need(1, "outer", "vec2", vec2)
    return _contract(as_tensor_argument(input), vec2, equation="a,b->ab")  # type: ignore[no-any-return]


ger = outer


def inner(input: Any, other: Any) -> Tensor:
    """The products of the last axes summed: (..., k) and (*, k) give (..., *); numbers are multiplied."""
    x, y = as_tensor_argument(input), as_tensor_argument(other)
    if not x.ndim or not y.ndim:
        return x * y
    if x.shape[-1] != y.shape[-1]:
        raise RuntimeError(
            f"inner() the last dimension must match on both input tensors but got shapes {x.shape} and {y.shape}"
        )
    return tensordot(x, y, dims=([x.ndim - 1], [y.ndim - 1]))


def _scaled_sum(input: Any, product: Tensor, beta: Any, alpha: Any) -> Tensor:
    """`beta * input + alpha * product`; with `beta` 0 the input is not looked at, so its NaNs do not matter."""
    if alpha != 1:
        product = product * alpha
    if beta == 0:
        np.broadcast_shapes(tuple(input.shape), product.shape)
        return product
    result: Tensor = product + input if beta == 1 else product + input * beta
    if result.shape != product.shape:
        raise RuntimeError(
            f"The expanded size of the tensor must match the existing size: input of shape {tuple(input.shape)} "
            f"does not broadcast to the product's shape {product.shape}"
        )
    return result


def addmm(input: Any, mat1: Any, mat2: Any, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """`beta * input + alpha * (mat1 @ mat2)` for matrices."""
    return _scaled_sum(input, mm(mat1, mat2), beta, alpha)


def addmv(input: Any, mat: Any, vec: Any, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """`beta * input + alpha * (mat @ vec)` for a matrix and a vector."""
    return _scaled_sum(input, mv(mat, vec), beta, alpha)


def addr(input: Any, vec1: Any, vec2: Any, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """`beta * input + alpha * outer(vec1, vec2)`."""
    return _scaled_sum(input, outer(vec1, vec2), beta, alpha)


def baddbmm(input: Any, batch1: Any, batch2: Any, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """`beta * input + alpha * bmm(batch1, batch2)`."""
    return _scaled_sum(input, bmm(batch1, batch2), beta, alpha)


def addbmm(input: Any, batch1: Any, batch2: Any, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """`beta * input + alpha * bmm(batch1, batch2).sum(0)`."""
    _need(3, "addbmm", "batch1", batch1)
    _need(3, "addbmm", "batch2", batch2)
    if batch1.shape[0] != batch2.shape[0] or batch1.shape[2] != batch2.shape[1]:
        raise RuntimeError(
            f"addbmm: batches of shapes {tuple(batch1.shape)} and {tuple(batch2.shape)} cannot be multiplied"
        )
    product = _contract(as_tensor_argument(batch1), batch2, equation="bij,bjk->ik")
    return _scaled_sum(input, product, beta, alpha)


def chain_matmul(*matrices: Any) -> Tensor:
    """The product of two or more matrices, bracketed so that it takes the fewest multiplications.

    The first may be a row vector and the last a column vector, given as 1-D.
    """
    if len(matrices) == 1 and isinstance(matrices[0], (list, tuple)):
        matrices = tuple(matrices[0])
    if not matrices:
        raise RuntimeError("chain_matmul(): Expected one or more matrices")
    operands = [as_tensor_argument(m) for m in matrices]
    for i, operand in enumerate(operands):
        if operand.ndim != 2 and not (operand.ndim == 1 and i in (0, len(operands) - 1)):
            raise RuntimeError(
                f"Tensor dimension is {operand.ndim}, expected 2 instead: matrix {i} has shape {operand.shape}"
            )
    if len(operands) < 3:
        return functools.reduce(matmul, operands)
    sizes = [operands[0].shape[0] if operands[0].ndim == 2 else 1]
    sizes += [o.shape[0] for o in operands[1:]] + [operands[-1].shape[-1] if operands[-1].ndim == 2 else 1]
    split = _cheapest_brackets(tuple(sizes))
    made: dict[tuple[int, int], Tensor] = {(i, i): operand for i, operand in enumerate(operands)}
    todo = [(0, len(operands) - 1)]
    while todo:
        first, last = todo[-1]
        middle = split[first, last]
        parts = (first, middle), (middle + 1, last)
        missing = [part for part in parts if part not in made]
        if missing:
            todo += missing
        else:
            made[todo.pop()] = matmul(made[parts[0]], made[parts[1]])
    return made[0, len(operands) - 1]


@functools.lru_cache(maxsize=256)
def _cheapest_brackets(sizes: tuple[int, ...]) -> dict[tuple[int, int], int]:
    """For each run of matrices where to split it (Cormen et al., Introduction to Algorithms, 14.2)."""
    count = len(sizes) - 1
    cost = {(i, i): 0 for i in range(count)}
    split = {}
    for length in range(2, count + 1):
        for first in range(count - length + 1):
            last = first + length - 1
            costs = [
                cost[first, k] + cost[k + 1, last] + sizes[first] * sizes[k + 1] * sizes[last + 1]
                for k in range(first, last)
            ]
            cost[first, last] = min(costs)
            split[first, last] = first + costs.index(min(costs))
    return split


# ----- linear -----------------------------------------------------------------------------------------------------

_linear_general = wrap_forward_fn(linear)


def linear_operation(input: Any, weight: Any, bias: Any = None) -> Tensor:
    """`input @ weight.T + bias` on tensors: what `nn.functional.linear` calls; the shortest way through the machine.

    Shapes: input (*, in), weight (out, in) or (in,), bias (out,) or None; result (*, out).

    Raises:
        RuntimeError: the shapes do not fit.
    """
    try:
        x = input.array
        w = weight.array
        b = None if bias is None else bias.array
        if x.dtype is not w.dtype or (b is not None and b.dtype is not x.dtype) or w.ndim != 2:
            return _linear_slowly(input, weight, bias)
    except AttributeError:  # not all of them are tensors
        return _linear_slowly(input, weight, bias)
    try:
        out = _linear_forward(x, w, b)
    except ValueError:
        raise _unfit_linear(x, w, b) from None
    node = input._node if input._alias is None else input.node()
    weight_node = weight._node if weight._alias is None else weight.node()
    bias_node = None if bias is None else bias._node if bias._alias is None else bias.node()
    result = new_object(Tensor)
    result.array = out
    result._grad = None
    result._alias = None
    result._node = None
    if (weight_node is not None or node is not None or bias_node is not None) and (mode := grad_mode()):
        recipe = new_object(Recipe)
        recipe._func = linear
        recipe._args = (x, w, b)
        recipe._kwargs = NO_KWARGS
        recipe._inputs = (input, weight, bias)
        recipe._edges = (node, weight_node, bias_node)
        recipe._out = out
        recipe._saved_at = CLOCK.now
        recipe._extra = None
        result._node = recipe
        if mode != ON:
            extra_of(recipe).trace = user_trace()
    return result


def _linear_slowly(input: Any, weight: Any, bias: Any) -> Tensor:
    given = (input, weight) if bias is None else (input, weight, bias)
    operands = [as_tensor_argument(x) for x in promote(given)]
    x, w = operands[:2]
    if w.ndim == 1:
        product = matmul(x, w)
        return product if bias is None else product + operands[2]
    try:
        return _linear_general(*operands)  # type: ignore[no-any-return]
    except ValueError:
        raise _unfit_linear(*operands) from None


def _unfit_linear(x: Any, weight: Any, bias: Any = None) -> RuntimeError:
    if x.ndim and weight.ndim == 2 and x.shape[-1] == weight.shape[-1] and bias is not None:
        return RuntimeError(
            f"linear: bias of shape {tuple(bias.shape)} for {weight.shape[0]} outputs (weight {tuple(weight.shape)})"
        )
    return RuntimeError(
        f"mat1 and mat2 shapes cannot be multiplied: linear needs input (*, in) and weight (out, in), got input "
        f"{tuple(x.shape)} and weight {tuple(weight.shape)}"
    )


TENSOR_FUNCS[linear] = linear_operation


def bilinear(input1: Any, input2: Any, weight: Any, bias: Any = None) -> Tensor:
    """`input1^T weight[o] input2 + bias` for each output o.

    Shapes: input1 (*, in1), input2 (*, in2), weight (out, in1, in2), bias (out,); result (*, out).
    """
    if tuple(input1.shape[:-1]) != tuple(input2.shape[:-1]):
        raise RuntimeError(
            f"bilinear(): input batch dimensions do not match: got {tuple(input1.shape)} and {tuple(input2.shape)}"
        )
    if weight.ndim != 3 or input1.shape[-1] != weight.shape[1] or input2.shape[-1] != weight.shape[2]:
        raise RuntimeError(
            f"bilinear(): inputs of sizes {input1.shape[-1]} and {input2.shape[-1]} do not fit weight "
            f"{tuple(weight.shape)}, which is (out, in1, in2)"
        )
    out = einsum("...i,oij,...j->...o", input1, weight, input2)
    return out if bias is None else out + bias


# ----- einsum -----------------------------------------------------------------------------------------------------

LETTERS = "".join(map(chr, (*range(ord("A"), ord("Z") + 1), *range(ord("a"), ord("z") + 1))))


class Plan(NamedTuple):
    """An einsum as steps: for each operand what to do with it alone, then products of pairs, then an order of axes."""

    alone: tuple[tuple[tuple[str, Any], ...], ...]
    pairs: tuple[tuple[int, int, str], ...]
    order: tuple[int, ...]


def einsum(*args: Any) -> Tensor:
    """The sum of products that an equation names: a letter for each axis, letters missing in the result are summed.

    Args:
        args: the equation, such as "bij,bjk->bik" ("..." stands for any axes), and the operands; or each operand
            followed by the list of its axes' numbers, and at the end that of the result.

    Raises:
        RuntimeError: the equation is malformed or does not fit the operands.

    >>> import chainrule as cr
    >>> cr.einsum("...ij,...jk->...ik", cr.ones(7, 2, 3), cr.ones(7, 3, 4)).shape
    (7, 2, 4)
    >>> cr.einsum("ii", cr.eye(3)).item()
    3.0
    """
    equation, operands = _equation_and_operands(args)
    tensors = [as_tensor_argument(operand) for operand in operands]
    plan = _plan(equation, tuple(tensor.shape for tensor in tensors))
    for i, steps in enumerate(plan.alone):
        for step, axes in steps:
            tensors[i] = _alone(tensors[i], step, axes)
    for i, j, pair in plan.pairs:
        second = tensors.pop(j)
        first = tensors.pop(i)
        tensors.append(_contract(first, second, equation=pair))
    result: Any = tensors[0]
    return in_order(result, plan.order)  # type: ignore[no-any-return]


def _alone(x: Any, step: str, axes: Any) -> Any:
    if step == "diagonal":
        return np.diagonal(x, axis1=axes[0], axis2=axes[1])
    if step == "sum":
        return np.sum(x, axis=axes)
    return np.squeeze(x, axis=axes)


def _equation_and_operands(args: tuple[Any, ...]) -> tuple[str, Sequence[Any]]:
    """The arguments of `einsum` in either format, as an equation without spaces and the operands."""
    if not args:
        raise ValueError("einsum(): must specify the equation string and at least one operand, or at least one operand")
    if isinstance(args[0], str):
        operands = args[1:]
        if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
            operands = tuple(operands[0])
        if not operands:
            raise RuntimeError("einsum(): must provide at least one operand")
        return args[0].replace(" ", ""), operands
    pairs = len(args) // 2
    parts = [_subscripts(numbers) for numbers in args[1 : 2 * pairs : 2]]
    equation = ",".join(parts)
    if len(args) % 2:
        equation += "->" + _subscripts(args[-1])
    return equation, args[0 : 2 * pairs : 2]


def _subscripts(numbers: Any) -> str:
    for number in numbers:
        if number is not Ellipsis and not 0 <= number < len(LETTERS):
            raise RuntimeError(f"einsum(): not within the valid range [0, 52): subscript {number}")
    return "".join("..." if number is Ellipsis else LETTERS[number] for number in numbers)


@functools.lru_cache(maxsize=4096)
def _plan(equation: str, shapes: tuple[tuple[int, ...], ...]) -> Plan:
    """The steps of an einsum on operands of these shapes."""
    terms, result = _letters(equation, shapes)
    sizes: dict[str, int] = {}
    for term, shape in zip(terms, shapes, strict=True):
        for letter, size in zip(term, shape, strict=True):
            known = sizes.setdefault(letter, size)
            if known == 1:
                sizes[letter] = size
            elif size not in (1, known):
                raise RuntimeError(
                    f"einsum(): in {equation!r} the subscript {letter!r} has size {known} and size {size}; "
                    f"the operands have shapes {', '.join(map(str, shapes))}"
                )
    alone = []
    wide = ["".join(c for c, n in zip(t, s, strict=True) if n == sizes[c]) for t, s in zip(terms, shapes, strict=True)]
    for i, shape in enumerate(shapes):
        elsewhere = set(result).union(*(other for j, other in enumerate(wide) if j != i))
        steps, terms[i] = _steps_alone(equation, i, terms[i], shape, elsewhere, sizes)
        alone.append(steps)
    pairs = []
    while len(terms) > 1:
        i, j = _cheapest_pair(terms, sizes)
        second, first = terms.pop(j), terms.pop(i)
        others = set(result).union(*terms)
        if not terms:
            made = result
        else:
            made = "".join(c for c in dict.fromkeys(first + second) if c in others)
        pairs.append((i, j, f"{first},{second}->{made}"))
        terms.append(made)
    return Plan(tuple(alone), tuple(pairs), tuple(terms[0].index(c) for c in result))


def _letters(equation: str, shapes: tuple[tuple[int, ...], ...]) -> tuple[list[str], str]:
    """The subscripts of the operands and of the result, "..." and an implied result written out in letters."""
    left, arrow, result = equation.partition("->")
    terms = left.split(",")
    if len(terms) != len(shapes):
        raise RuntimeError(
            f"einsum(): the equation {equation!r} names {len(terms)} operands, but {len(shapes)} were given"
        )
    bare = equation.replace("->", "").replace(",", "").replace("...", "")
    unknown = [c for c in bare if c not in LETTERS]
    if unknown:
        raise RuntimeError(f"einsum(): invalid subscript given in {equation!r}: {unknown[0]!r}; subscripts are letters")
    unused = [c for c in reversed(LETTERS) if c not in equation]
    widest = ""
    for i, (term, shape) in enumerate(zip(terms, shapes, strict=True)):
        named = len(term.replace("...", ""))
        if "..." in term and len(shape) >= named:
            more = "".join(reversed(unused[: len(shape) - named]))
            terms[i] = term.replace("...", more)
            widest = max(widest, more, key=len)
        if len(terms[i]) != len(shape):
            raise RuntimeError(
                f"einsum(): operand {i} has shape {shape}, but its subscripts {term!r} name {named} axes"
                + ("" if "..." in term else "; write '...' for axes without a name")
            )
    if not arrow:
        once = sorted(c for c in set(bare) if left.count(c) == 1)
        return terms, widest + "".join(once)
    named_result = result.replace("...", "")
    for letter in named_result:
        if letter not in left or named_result.count(letter) > 1:
            why = "appears more than once" if letter in left else "does not appear in any operand"
            raise RuntimeError(f"einsum(): output subscript {letter!r} {why}: {equation!r}")
    return terms, result.replace("...", widest)


def _steps_alone(
    equation: str, i: int, term: str, shape: tuple[int, ...], elsewhere: set[str], sizes: dict[str, int]
) -> tuple[tuple[tuple[str, Any], ...], str]:
    """What is done to one operand by itself: diagonals, sums, axes of size 1 that are broadcast against larger ones."""
    size = list(shape)
    steps: list[tuple[str, Any]] = []
    for letter in dict.fromkeys(term):
        while term.count(letter) > 1:
            first = term.index(letter)
            second = term.index(letter, first + 1)
            if size[first] != size[second]:
                raise RuntimeError(
                    f"einsum(): in {equation!r} operand {i} repeats {letter!r} for axes of sizes {size[first]} and "
                    f"{size[second]}"
                )
            steps.append(("diagonal", (first, second)))
            size.append(size[first])
            del size[second], size[first]
            term = term[:first] + term[first + 1 : second] + term[second + 1 :] + letter
    spread = tuple(a for a, c in enumerate(term) if size[a] == 1 and sizes[c] != 1)
    if spread:
        steps.append(("squeeze", spread))
        term = "".join(c for a, c in enumerate(term) if a not in spread)
    summed = tuple(a for a, c in enumerate(term) if c not in elsewhere)
    if summed:
        steps.append(("sum", summed))
        term = "".join(c for a, c in enumerate(term) if a not in summed)
    return tuple(steps), term


def _cheapest_pair(terms: list[str], sizes: dict[str, int]) -> tuple[int, int]:
    """The two operands whose product takes the fewest multiplications."""
    if len(terms) == 2:
        return 0, 1
    pairs = [(i, j) for j in range(1, len(terms)) for i in range(j)]
    return min(pairs, key=lambda pair: math.prod(sizes[c] for c in set(terms[pair[0]] + terms[pair[1]])))


@numpy_names
def tensordot(a: Any, b: Any, dims: Any = 2) -> Tensor:
    """Sum the products over pairs of axes: the last `dims` of `a` with the first of `b`, or `dims=(axes_a, axes_b)`.

    >>> import chainrule as cr
    >>> cr.tensordot(cr.ones(3, 4, 5), cr.ones(4, 3, 2), dims=([1, 0], [0, 1])).shape
    (5, 2)
    """
    a, b = as_tensor_argument(a), as_tensor_argument(b)
    if isinstance(dims, Tensor):
        dims = dims.tolist()
    if isinstance(dims, (int, np.integer)):
        if dims < 0 or dims > min(a.ndim, b.ndim):
            raise RuntimeError(
                f"tensordot expects 0 <= dims <= the operands' dimensions, got dims={dims} for shapes {a.shape} and "
                f"{b.shape}"
            )
        dims = list(range(a.ndim - dims, a.ndim)), list(range(dims))
    of_a, of_b = ([d] if isinstance(d, (int, np.integer)) else list(d) for d in dims)
    if len(of_a) != len(of_b):
        raise RuntimeError(f"both dimension lists should have same length, got {of_a} and {of_b}")
    return einsum(_dot_equation(a.ndim, b.ndim, tuple(of_a), tuple(of_b)), a, b)


@functools.lru_cache(maxsize=1024)
def _dot_equation(ndim_a: int, ndim_b: int, of_a: tuple[int, ...], of_b: tuple[int, ...]) -> str:
    left = list(LETTERS[:ndim_a])
    right = list(LETTERS[ndim_a : ndim_a + ndim_b])
    axes_a = [normalize_axis(axis, ndim_a) for axis in of_a]
    axes_b = [normalize_axis(axis, ndim_b) for axis in of_b]
    if len(set(axes_a)) != len(axes_a) or len(set(axes_b)) != len(axes_b):
        raise RuntimeError(f"tensordot: an axis appears more than once in dims {list(of_a)}, {list(of_b)}")
    result = [c for i, c in enumerate(left) if i not in axes_a] + [c for i, c in enumerate(right) if i not in axes_b]
    for i, j in zip(axes_a, axes_b, strict=True):
        right[j] = left[i]
    return f"{''.join(left)},{''.join(right)}->{''.join(result)}"


# ----- further products -------------------------------------------------------------------------------------------


def kron(input: Any, other: Any) -> Tensor:
    """The Kronecker product: every element of `input` times the whole of `other`, in blocks.

    >>> import chainrule as cr
    >>> cr.kron(cr.eye(2), cr.ones(1, 2)).shape
    (2, 4)
    """
    x, y = as_tensor_argument(input), as_tensor_argument(other)
    ndim = max(x.ndim, y.ndim)
    of_x = (1,) * (ndim - x.ndim) + tuple(x.shape)
    of_y = (1,) * (ndim - y.ndim) + tuple(y.shape)
    blocks = np.reshape(x, tuple(n for size in of_x for n in (size, 1))) * np.reshape(
        y, tuple(n for size in of_y for n in (1, size))
    )
    return np.reshape(blocks, tuple(a * b for a, b in zip(of_x, of_y, strict=True)))  # type: ignore[return-value]


def cross_along(input: Any, other: Any, dim: int) -> Tensor:
    """The cross product of the 3-vectors along `dim` (of the broadcast shape).

    Raises:
        RuntimeError: `dim` has another size than 3, or the shapes do not broadcast.
    """
    x, y = as_tensor_argument(input), as_tensor_argument(other)
    ndim = max(x.ndim, y.ndim)
    axis = normalize_axis(dim, ndim) - ndim
    if -axis > min(x.ndim, y.ndim) or x.shape[axis] != 3 or y.shape[axis] != 3:
        raise RuntimeError(
            f"linalg.cross: inputs dimension {dim} must have length 3. Got shapes {tuple(x.shape)} and {tuple(y.shape)}"
        )
    try:
        return _cross(x, y, axis=axis)  # type: ignore[no-any-return]
    except ValueError as error:
        raise explained(error, cross_product, x.array, y.array) from None


@numpy_names
def cross(input: Any, other: Any, dim: int | None = None) -> Tensor:
    """The cross product of 3-vectors along `dim`; along the first axis of size 3 if it is left out."""
    if dim is None:
        shape = np.broadcast_shapes(tuple(input.shape), tuple(other.shape))
        if 3 not in shape:
            raise RuntimeError(f"no dimension of size 3 in input: shapes {tuple(input.shape)} and {tuple(other.shape)}")
        dim = shape.index(3)
    return cross_along(input, other, dim)


# ----- NumPy's names ----------------------------------------------------------------------------------------------


@implements(np.dot)
def _np_dot(a: Any, b: Any) -> Tensor:
    x, y = as_tensor_argument(a), as_tensor_argument(b)
    if not x.ndim or not y.ndim:
        return x * y
    if y.ndim <= 2:
        return matmul(x, y)
    return tensordot(x, y, dims=([x.ndim - 1], [y.ndim - 2]))


@implements(np.vdot)
def _np_vdot(a: Any, b: Any) -> Tensor:
    x, y = as_tensor_argument(a), as_tensor_argument(b)
    return vdot(np.reshape(x, (-1,)), np.reshape(y, (-1,)))


@implements(np.outer, np.linalg.outer)
def _np_outer(a: Any, b: Any) -> Tensor:
    x, y = as_tensor_argument(a), as_tensor_argument(b)
    return outer(np.reshape(x, (-1,)), np.reshape(y, (-1,)))


@implements(np.tensordot, np.linalg.tensordot)
def _np_tensordot(a: Any, b: Any, axes: Any = 2) -> Tensor:
    return tensordot(a, b, dims=axes)


@implements(np.einsum)
def _np_einsum(*operands: Any, out: None = None, optimize: Any = False) -> Tensor:
    return einsum(*operands)


@implements(np.cross)
def _np_cross(a: Any, b: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None) -> Any:
    if axis is not None:
        axisa = axisb = axisc = axis
    x: Any = as_tensor_argument(a)
    y: Any = as_tensor_argument(b)
    product: Any = cross_along(np.moveaxis(x, axisa, -1), np.moveaxis(y, axisb, -1), -1)
    return np.moveaxis(product, -1, axisc)


@implements(np.linalg.cross)
def _np_linalg_cross(x1: Any, x2: Any, axis: int = -1) -> Tensor:
    return cross_along(x1, x2, axis)


@implements(np.vecdot, np.linalg.vecdot)
def _np_vecdot(x1: Any, x2: Any, axis: int = -1) -> Any:
    x: Any = as_tensor_argument(x1)
    y: Any = as_tensor_argument(x2)
    if axis != -1:
        x, y = np.moveaxis(x, axis, -1), np.moveaxis(y, axis, -1)
    return vecdot_last(x, y)


@implements(np.linalg.multi_dot)
def _np_multi_dot(arrays: Any) -> Tensor:
    return chain_matmul(*arrays)


implements(np.inner)(inner)
implements(np.kron)(kron)

if hasattr(np, "matvec"):  # NumPy 2.2

    @implements(np.matvec)
    def _np_matvec(x1: Any, x2: Any) -> Any:
        product = matmul(x1, np.expand_dims(x2, -1))
        return np.reshape(product, product.shape[:-1])

    @implements(np.vecmat)
    def _np_vecmat(x1: Any, x2: Any) -> Any:
        product = matmul(np.conjugate(np.expand_dims(x1, -2)), x2)
        return np.reshape(product, (*product.shape[:-2], product.shape[-1]))


attach(__matmul__=matmul, __rmatmul__=_reflected_matmul)
attach(matmul, mm, bmm, mv, dot, vdot, outer, inner, addmm, addmv, addr, addbmm, baddbmm, kron, cross, ger=outer)
attach_in_place(addmm, addmv, addr, addbmm, baddbmm)
