"""Sums, means and maxima of bags of embedding rows."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from ..core.tensor import Tensor, make_tensor
from ..core.tracing import lift
from ..ops.common import as_tensor_argument
from ..ops.elementwise import clamp
from ..ops.indexing import index_add, where
from . import functional as F

__all__ = ["embedding_bag"]


def embedding_bag(
    input: Tensor,
    weight: Tensor,
    offsets: Tensor | None = None,
    max_norm: float | None = None,
    norm_type: float = 2,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Tensor:
    """For each bag of row numbers, the sum, mean or maximum of those rows of `weight`: (bags, columns).

    Args:
        input: (bags, size) row numbers; or all bags one after the other, with `offsets`.
        weight: (rows, columns).
        offsets: where each bag of a 1-d `input` begins; the first is 0.
        max_norm: longer rows that are used are shortened to this norm, in place.
        norm_type: of which p-norm.
        scale_grad_by_freq: divide each row's gradient by how often it was used.
        mode: "sum", "mean" or "max"; empty bags give zeros.
        sparse: as for `embedding`.
        per_sample_weights: a factor for each row number; only with "sum".
        include_last_offset: `offsets` ends with the end of the last bag.
        padding_idx: a row that does not count.

    Raises:
        ValueError: arguments that do not fit together.
        RuntimeError: a number is no row's; offsets that do not start at 0, decrease, or go beyond the input.

    >>> import chainrule as cr
    >>> table = cr.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    >>> embedding_bag(cr.tensor([0, 1, 2]), table, cr.tensor([0, 2]), mode="sum").tolist()
    [[4.0, 6.0], [5.0, 6.0]]
    """
    if weight.array.dtype.kind in "iu" and input.array.dtype.kind == "f":
        warnings.warn(
            "Argument order of nn.functional.embedding_bag was changed: write embedding_bag(input, weight, ...)",
            stacklevel=2,
        )
        weight, input = input, weight
    if per_sample_weights is not None and input.shape != per_sample_weights.shape:
        raise ValueError(
            f"embedding_bag: If per_sample_weights ({tuple(per_sample_weights.shape)}) is not None, then it must have "
            f"the same shape as the input ({tuple(input.shape)})"
        )
    if weight.ndim != 2:
        raise ValueError(f"weight has to be a 2D Tensor, but got Tensor of dimension {weight.ndim}")
    if mode not in ("sum", "mean", "max"):
        raise ValueError(f"mode has to be one of sum, mean or max, got {mode!r}")
    if mode == "max" and scale_grad_by_freq:
        raise ValueError("max mode does not support scaling the gradient by the frequency")
    if mode == "max" and sparse:
        raise ValueError("max mode does not support sparse weights")
    if per_sample_weights is not None and mode != "sum":
        raise NotImplementedError(
            "embedding_bag: per_sample_weights was not None. per_sample_weights is only supported for mode='sum' "
            f"(got mode={mode!r})"
        )
    starts, bags = starts_of(input, offsets, include_last_offset)
    numbers = as_tensor_argument(input).array.reshape(-1)
    known = isinstance(numbers, np.ndarray)
    wrong = np.flatnonzero((numbers < 0) | (numbers >= weight.shape[0])) if known else np.empty(0)
    if wrong.size:
        raise RuntimeError(
            f"embedding_bag: Index {wrong[0]} of input takes value {numbers[wrong[0]]} which is not in the valid range "
            f"[0, {weight.shape[0]})"
        )
    rows = F.embedding(
        make_tensor(numbers, None), weight, None, max_norm, norm_type, scale_grad_by_freq, sparse
    )  # (numbers, columns)
    counted = np.ones(numbers.size, bool)
    if padding_idx is not None:
        if not -weight.shape[0] <= padding_idx < weight.shape[0]:
            raise RuntimeError(
                f"padding_idx must be within the number of embeddings, {-weight.shape[0]} through "
                f"{weight.shape[0] - 1}, but got {padding_idx}"
            )
        counted = numbers != padding_idx % weight.shape[0]
    bag_of = np.searchsorted(starts, np.arange(numbers.size), side="right") - 1  # each number's bag
    if mode == "max":
        return maxima(rows, starts, counted, bags, input.shape[1] if input.ndim == 2 else None)
    if per_sample_weights is not None:
        rows = rows * per_sample_weights.reshape(-1).unsqueeze(1)
    some = not known or not counted.all()  # are not counted
    if some:
        rows = where(Tensor(counted[:, None]), rows, 0.0)
    zeros = make_tensor(np.zeros((bags, weight.shape[1]), rows.array.dtype), None)
    result = index_add(zeros, 0, Tensor(bag_of), rows)
    if mode == "mean":
        members = make_tensor(counted.astype(rows.array.dtype), None)
        sizes = index_add(make_tensor(np.zeros(bags, members.array.dtype), None), 0, Tensor(bag_of), members)
        result = result / clamp(sizes, min=1).unsqueeze(1)
    return result


def starts_of(input: Tensor, offsets: Tensor | None, include_last_offset: bool) -> tuple[Any, int]:
    """Where each bag begins among all numbers, and how many bags there are."""
    if input.ndim == 2:
        if offsets is not None:
            raise ValueError(
                "if input is 2D, then offsets has to be None, as input is treated is a mini-batch of fixed length "
                f"sequences. However, found offsets of type {type(offsets).__name__}"
            )
        return np.arange(input.shape[0]) * input.shape[1], input.shape[0]
    if input.ndim != 1:
        raise ValueError(f"input has to be 1D or 2D Tensor, but got Tensor of dimension {input.ndim}")
    if offsets is None or offsets.ndim != 1:
        raise ValueError(
            f"offsets has to be a 1D Tensor but got {None if offsets is None else f'shape {tuple(offsets.shape)}'}"
        )
    starts = as_tensor_argument(offsets).array
    if starts.dtype.kind not in "iu":
        raise RuntimeError(f"embedding_bag: offsets must be integers, got {offsets.dtype}")
    if include_last_offset:
        if not starts.size:
            raise RuntimeError("include_last_offset: number of offset should be at least 1")
        starts = starts[:-1]
    if not isinstance(starts, np.ndarray):  # a trace does not know the values
        return starts, int(starts.size)
    if starts.size and starts[0] != 0:
        raise RuntimeError(
            "offsets[0] has to be 0, i.e., the first sequence in the mini-batch has to start from position 0. However, "
            f"got {starts[0]}"
        )
    if (np.diff(starts) < 0).any():
        raise RuntimeError(f"embedding_bag: offsets must not decrease, got {starts.tolist()}")
    if starts.size and starts[-1] > input.shape[0]:
        raise RuntimeError(
            "offsets[-1] can not be greater than input's length, but got offsets[-1] of "
            f"{starts[-1]} and input's length of {input.shape[0]}"
        )
    return starts, int(starts.size)


def maxima(rows: Tensor, starts: Any, counted: Any, bags: int, width: int | None) -> Tensor:
    """The maximum over each bag, zero for an empty one; of equal rows the first one gets the gradient.

    Args:
        rows: (numbers, columns).
        starts: where each bag begins.
        counted: which of the rows count.
        bags: how many there are.
        width: how many rows each has; None where they differ.
    """
    numbers = rows.shape[0]
    ends = np.concatenate([starts[1:], np.array([numbers])])
    if width is None:  # in a trace, which does not know, as many as there are
        width = int((ends - starts).max(initial=0)) if isinstance(ends, np.ndarray) else numbers
    if not width or not bags:
        return rows.new_zeros((bags, rows.shape[1])) + rows.sum() * 0  # type: ignore[no-any-return]
    table = starts[:, None] + np.arange(width)
    inside = table < ends[:, None]
    table = np.minimum(table, numbers - 1)
    filled = inside & lift(make_tensor(counted, None))[Tensor(table)].array
    lowest = -np.inf if rows.array.dtype.kind == "f" else np.iinfo(rows.array.dtype).min
    grid = where(Tensor(filled[:, :, None]), rows[Tensor(table)], lowest)
    found: Tensor = grid.max(1)[0]
    return where(Tensor(np.any(filled, axis=1)[:, None]), found, 0.0)  # type: ignore[no-any-return]
