"""Kernels for eager operations, where the work is large: found by `ops/kernels.py`.

A kernel is taken from the store on disk, or else compiled, when it is first needed, and the operation waits for it: so
a program computes the same numbers in every run. One that cannot be compiled is left to NumPy, with one warning.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..blas import libraries
from ..core.grad_mode import grad_mode
from ..core.recipe import user_level
from ..ops.convolution import convolve, convolve_input, convolve_weight
from ..ops.kernels import Fused
from ..ops.pooling import _max_pool, _spread_maxima
from .graph import INPUT, Graph, Node
from .kernels import kinds, products, recurrent, rows
from .kernels.cache import KernelError, Text, is_kept, load_kernels
from .kernels.compiling import HEADER, in_parts, read_text, thread_count
from .kernels.fused import fused_text
from .kernels.registers import lanes_of
from .passes.layers import KERNELS

__all__ = ["Lstm", "fused_kernel", "layer", "lstm", "product", "run_fused", "softmax"]

Sizes = tuple[int, ...]

SIZES = 6  # of images for which kernels of one layer are compiled; further ones are left to NumPy
NAMES = dict.fromkeys((convolve, convolve_input, convolve_weight), "a convolution")
NAMES |= dict.fromkeys((_max_pool, _spread_maxima), "a pooling")
PATIENCE = 2.0  # seconds of compiling after which the user is told


def loaded(
    what: str, texts: Sequence[Text], soon: Callable[[], Sequence[Text]] = list
) -> list[Callable[..., Any]] | None:
    """The functions of all texts; None, after a warning, where one of them cannot be compiled.

    Args:
        what: the operation they are for, in words.
        texts: of the kernels.
        soon: gives texts that will be needed soon: if there is something to compile, they are at the same time.
    """
    with announced(what):
        found = load_kernels(texts if all(map(is_kept, texts)) else [*texts, *soon()])
    functions = []
    for function in found[: len(texts)]:
        if isinstance(function, KernelError):
            warnings.warn(f"{function}; NumPy computes {what} instead, more slowly", stacklevel=user_level())
            return None
        functions.append(function)
    return functions


@contextlib.contextmanager
def announced(what: str) -> Iterator[None]:
    """Say on a terminal what takes so long, if it does."""
    timer = None
    if sys.stderr is not None and sys.stderr.isatty():
        text = f"chainrule: compiling kernels for {what}; they are kept for other runs\n"
        timer = threading.Timer(PATIENCE, sys.stderr.write, (text,))
        timer.daemon = True
        timer.start()
    try:
        yield
    finally:
        if timer is not None:
            timer.cancel()


def threads() -> int:
    """How many threads share an operation: as many as BLAS may use, which is what `set_num_threads` says."""
    blas = next(iter(libraries()), None)
    return thread_count() if blas is None else int(blas.get())


def in_order(array: Any) -> Any:
    """An array whose elements lie side by side in memory, as kernels take them."""
    return array if array.flags.c_contiguous and array.flags.aligned else array.copy()


# ----- convolutions, and the maxima of windows -----


class Layer(NamedTuple):
    """A kernel of `kernels/convolution.py`, for any number of samples.

    Attributes:
        function: the kernel.
        sums: whether the samples' results add up.
    """

    function: Callable[..., Any]
    sums: bool


def layer(operation: Any, arrays: tuple[Any, ...], others: tuple[Any, ...], shape: Sizes, **kwargs: Any) -> Any:
    """The result of one of the operations in `passes.layers.KERNELS`; None where NumPy is to compute it.

    Args:
        operation: the function.
        arrays: its first arguments, some of which may be None.
        others: its other arguments.
        shape: of the result.
        kwargs: its keywords.
    """
    dtype, samples = arrays[0].dtype, arrays[0].shape[0]
    shapes = tuple(None if array is None else array.shape for array in arrays)
    found = layer_for(operation, shapes, others, shape, dtype, tuple(kwargs.items()))
    if found is None:
        return None
    out = np.empty(shape, dtype)
    given = (*(in_order(array) for array in arrays if array is not None), out)
    sums = ((len(given) - 1, np.add),) if found.sums else ()
    in_parts(found.function, samples, given, sums, min(threads(), samples))
    return out


@functools.lru_cache(1024)
def layer_for(
    operation: Any, shapes: Any, others: Any, shape: Sizes, dtype: np.dtype[Any], kwargs: Any
) -> Layer | None:
    """The kernel for arrays of these shapes, if there is one."""
    wanted = text_for(operation, shapes, others, shape, dtype, kwargs)
    if wanted is None:
        return None
    text, sums = wanted
    soon = []
    if operation is convolve and grad_mode():  # a backward pass may follow
        x, w, _ = shapes
        given = {**dict(kwargs), "size": w[2:]}
        soon.append(text_for(convolve_weight, (x, shape), (), w, dtype, tuple(given.items())))
        given = {**dict(kwargs), "size": x[2:]}
        soon.append(text_for(convolve_input, (shape, w, None), (), x, dtype, tuple(given.items())))
    if operation is _max_pool and grad_mode():
        soon.append(text_for(_spread_maxima, (shape, shape, *shapes), others, shapes[0], dtype, ()))
    found = loaded(NAMES[operation], [text], lambda: [other[0] for other in soon if other is not None])
    return None if found is None else Layer(found[0], sums)


@functools.lru_cache(1024)
def text_for(
    operation: Any, shapes: Any, others: Any, shape: Sizes, dtype: np.dtype[Any], kwargs: Any
) -> tuple[Text, bool] | None:
    """The text of that kernel, and whether the samples' results add up."""
    inputs = [None if given is None else Node(INPUT, shape=given, dtype=dtype) for given in shapes]
    node = Node(operation, (*inputs, *others), dict(kwargs), shape, dtype)
    graph = Graph([*(x for x in inputs if x is not None), node], [node])
    kernel = KERNELS[operation](node, graph, graph.users(), -1)
    if kernel is None or not admitted(operation, shapes, others, shape, dtype, kwargs):
        return None
    kernel.any_count = True
    text = kernel.write(f"{kernel.__name__}_kernel")
    return read_text(text.source, text.name), bool(text.sums)


families: dict[Any, set[Any]] = {}


def admitted(operation: Any, shapes: Any, others: Any, shape: Sizes, dtype: Any, kwargs: Any) -> bool:
    """Whether these sizes are among the first few of otherwise equal operations: each has to be compiled."""
    sizes = (*(given and given[2:] for given in shapes), shape[2:], others, kwargs)
    channels = tuple(given[1] for given in (*shapes, shape) if given is not None and len(given) > 1)
    seen = families.setdefault((operation, channels, dtype), set())
    if sizes not in seen and len(seen) < SIZES:
        seen.add(sizes)
    return sizes in seen


# ----- LSTM -----


class Lstm(NamedTuple):
    """The two walks of an LSTM for one type of numbers."""

    walk: Callable[..., Any]
    walk_back: Callable[..., Any]

    def forward(
        self, w_hh: Any, bias: Any, gates: Any, cell: Any, cells: Any, shown: Any, h0: Any, out: Any, reverse: bool
    ) -> None:
        """Run all steps; see `kernels/recurrent.py` for the arrays. Bias may be None."""
        if bias is None:
            bias = np.zeros(w_hh.shape[0], w_hh.dtype)
        panels = in_order(recurrent.in_panels(w_hh))
        arrays = (in_order(bias), *self.scratch(out, w_hh.shape[1], panels))
        self.run(self.walk, out, int(reverse), panels, *arrays, gates, cell, cells, shown, h0, out)

    def back(
        self, w_hh: Any, grads: Any, gates: Any, cells: Any, shown: Any, dh: Any, dc: Any, ready: Any, reverse: bool
    ) -> None:
        """Run all steps back."""
        panels = in_order(recurrent.in_panels(w_hh.T))
        scratch = self.scratch(grads, w_hh.shape[0], panels)
        self.run(
            self.walk_back, grads, int(reverse), panels, *scratch, in_order(grads), gates, cells, shown, dh, dc, ready
        )

    @staticmethod
    def scratch(sequences: Any, columns: int, panels: Any) -> tuple[Any, Any]:
        """Memory for the states, zero where a tile has no sequence, and for the sums."""
        rows = recurrent.height() * tiles(sequences)
        states = np.zeros(rows * columns, sequences.dtype)
        return states, np.empty(rows * panels.shape[0] * panels.shape[2], sequences.dtype)

    @staticmethod
    def run(function: Callable[..., Any], sequences: Any, *args: Any) -> None:
        count = tiles(sequences)
        in_parts(function, count, args, threads=min(threads(), count))


def tiles(sequences: Any) -> int:
    """How many tiles of sequences (T, B, H) there are."""
    return -(-int(sequences.shape[1]) // recurrent.height())


@functools.cache
def lstm(dtype: np.dtype[Any]) -> Lstm | None:
    """The walks for a type of numbers; None where they cannot be compiled."""
    number = getattr(kinds, dtype.name)
    line, matrix, block = number[::1], number[:, ::1], number[:, :, ::1]
    given = kinds.given
    start = (kinds.uint64, kinds.uint64, kinds.int64, given(block))
    walk = (*start, given(line), line, line, block, matrix, block, block, given(matrix), block)
    back = (*start, line, line, given(block), given(block), given(block), given(block), matrix, matrix, block)
    found = loaded(
        "an LSTM",
        [
            Text(HEADER + recurrent.lstm_text(dtype), "lstm_walk", walk),
            Text(HEADER + recurrent.lstm_back_text(dtype), "lstm_walk_back", back),
        ],
    )
    return None if found is None else Lstm(*found)


# ----- rows -----

ALONE = 1 << 14  # elements up to which one thread has done its work before another has begun


class FusedKernel(NamedTuple):
    """A kernel of `kernels/fused.py`; see there."""

    function: Callable[..., Any]
    takes: tuple[int, ...]
    new: tuple[int, ...]
    gives: tuple[str, ...]

    def run(self, rows: int, size: int, given: Sequence[Any], results: Sequence[Any]) -> None:
        """Run it on so many rows, of so many elements together. Of shapes it knows nothing."""
        taken = [given[i] for i in self.takes]
        taken += [results[i] for i in self.new]
        in_parts(self.function, rows, tuple(taken), threads=1 if size < ALONE else min(threads(), rows))


def run_fused(which: Fused, args: Sequence[Any], settings: dict[str, Any]) -> Any:
    """What the function gives for these arguments; None where it cannot be compiled, or there are no elements.

    Raises:
        ValueError: arguments whose shapes do not fit together.
    """
    first = args[0]
    kernel = fused_kernel(which, first.dtype, tuple(settings.items())) if first.size else None
    if kernel is None:
        return None
    shape = first.shape
    rows, columns = (first.size, 1) if which.takes[0] == "n" else shape
    shapes = {"n": shape, "rc": shape, "r1": (rows, 1), "c": (columns,)}
    given = list(args)
    for i, kind in enumerate(which.takes):
        if kind not in "f-":
            if args[i].shape != shapes[kind]:
                name = which.function.__name__
                raise ValueError(f"{name}: argument {i} is of shape {args[i].shape}, not {shapes[kind]}")
            array = in_order(args[i])
            given[i] = array.reshape(-1) if kind == "n" else array
    results = [given[i] for i in which.over]
    shapes["n"] = (rows,)
    results += [np.empty(shapes[kind], first.dtype) for kind in kernel.gives[len(results) :]]
    kernel.run(rows, first.size, given, results)
    if which.takes[0] == "n":
        results = [result.reshape(shape) for result in results]
    return results[0] if len(results) == 1 else tuple(results)


@functools.lru_cache(256)
def fused_kernel(which: Fused, dtype: np.dtype[Any], settings: tuple[tuple[str, Any], ...]) -> FusedKernel | None:
    """That kernel for a type of numbers."""
    seen = families.setdefault((which, dtype), set())
    if settings not in seen and len(seen) == SIZES:
        return None
    seen.add(settings)
    try:
        made = fused_text(which, dtype, dict(settings))
    except ValueError as error:
        warnings.warn(f"{error}; NumPy computes it instead, more slowly", stacklevel=user_level())
        return None

    def soon() -> list[Text]:
        family = [other for other in Fused.known if other.family == which.family and other is not which]
        return [fused_text(other, dtype, dict(settings)).text for other in family]

    others = functools.partial(usual_texts, dtype) if which.usual else soon
    found = loaded(made.text.name.removesuffix("_kernel"), [made.text], others)
    return None if found is None else FusedKernel(found[0], *made[1:])


@functools.cache
def usual_texts(dtype: np.dtype[Any]) -> list[Text]:
    """All kernels on rows for a type of numbers, and products: a program that needs one needs others soon."""
    made = [fused_text(which, dtype, settings).text for which in Fused.known for settings in which.usual]
    return [*made, softmax_text(dtype), product_text(dtype)]


def softmax(rows: Any, length: int) -> bool:
    """Run the kernel of `kernels/rows.py` on a matrix in order in memory; False where it cannot be compiled."""
    function = softmax_kernel(rows.dtype)
    if function is None:
        return False
    count = 1 if rows.size < ALONE else min(threads(), rows.shape[0])
    in_parts(function, rows.shape[0], (length, rows), threads=count)
    return True


@functools.cache
def softmax_kernel(dtype: np.dtype[Any]) -> Callable[..., Any] | None:
    """That kernel for a type of numbers."""
    found = loaded("attention", [softmax_text(dtype)], functools.partial(usual_texts, dtype))
    return None if found is None else found[0]


def softmax_text(dtype: np.dtype[Any]) -> Text:
    """The text of that kernel."""
    text, takes = rows.softmax_text(getattr(kinds, dtype.name))
    return Text(HEADER + text, "softmax_walk", takes)


# ----- products of matrices -----


def product(left: Any, right: Any, turned: int, bias: Any) -> Any:
    """left @ right, and a number for each column added; None where the kernel cannot be compiled.

    Args:
        left: a matrix of at least `tile_height()` rows.
        right: a matrix.
        turned: 1 where `left` is the transpose of what is multiplied, 2 where `right` is, 3 for both, or 0.
        bias: the numbers; None for none.
    """
    function = product_kernel(left.dtype)
    if function is None:
        return None
    out = np.empty((left.shape[turned & 1], right.shape[1 - (turned >> 1)]), left.dtype)
    units = -(-out.shape[1] // lanes_of(out.dtype))
    bias = np.empty(0, left.dtype) if bias is None else in_order(bias)
    in_parts(function, units, (turned, in_order(left), in_order(right), bias, out), threads=min(threads(), units))
    return out


@functools.cache
def product_kernel(dtype: np.dtype[Any]) -> Callable[..., Any] | None:
    """That kernel for a type of numbers."""
    found = loaded("a matrix product", [product_text(dtype)])
    return None if found is None else found[0]


def product_text(dtype: np.dtype[Any]) -> Text:
    """The text of that kernel."""
    number = getattr(kinds, dtype.name)
    matrix, given = number[:, ::1], kinds.given
    takes = (kinds.uint64, kinds.uint64, kinds.int64, given(matrix), given(matrix), given(number[::1]), matrix)
    parameters = "first, last, turned, left, right, bias, out"
    text = products.product_text("matrix_product", dtype, parameters, after=products.BIAS)
    return Text(HEADER + text, "matrix_product", takes)
