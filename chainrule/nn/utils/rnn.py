"""Sequences of different lengths as one tensor: padded to the longest, or packed step by step."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Self

import numpy as np

from ...absent import absent as _absent
from ...core.tensor import Tensor, make_tensor
from ...ops.shape import cat

__all__ = [
    "PackedSequence",
    "invert_permutation",
    "pack_padded_sequence",
    "pack_sequence",
    "pad_packed_sequence",
    "pad_sequence",
    "unpack_sequence",
    "unpad_sequence",
]


class _Fields(NamedTuple):
    data: Tensor
    batch_sizes: Tensor
    sorted_indices: Tensor | None
    unsorted_indices: Tensor | None


def plain(array: Any) -> Tensor:
    """An array as a tensor of its own type."""
    return make_tensor(np.asarray(array), None)


def invert_permutation(permutation: Tensor | None) -> Tensor | None:
    """The permutation that undoes another; None for None."""
    if permutation is None:
        return None
    order = permutation.array
    inverse = np.empty_like(order)
    inverse[order] = np.arange(len(order), dtype=order.dtype)
    return plain(inverse)


class PackedSequence(_Fields):
    """Sequences of different lengths, longest first, step by step: all first elements, then all second ones, ...

    Made by `pack_padded_sequence` and `pack_sequence`.

    Attributes:
        data: (sum of lengths, *).
        batch_sizes: how many sequences have an element at each step.
        sorted_indices: the order that put the sequences by length; None if they came so.
        unsorted_indices: the order that puts them back.

    >>> import chainrule as cr
    >>> pack_sequence([cr.tensor([1, 2, 3]), cr.tensor([4])]).data.tolist()
    [1, 4, 2, 3]
    """

    def __new__(
        cls,
        data: Any,
        batch_sizes: Tensor | None = None,
        sorted_indices: Tensor | None = None,
        unsorted_indices: Tensor | None = None,
    ) -> Self:
        """Check and put together the fields."""
        if batch_sizes is None:
            raise ValueError("batch_sizes must be given: PackedSequence comes from pack_padded_sequence")
        if unsorted_indices is None:
            unsorted_indices = invert_permutation(sorted_indices)
        return super().__new__(cls, data, batch_sizes, sorted_indices, unsorted_indices)

    def _with(self, change: Callable[[Tensor], Tensor]) -> Self:
        data = change(self.data)
        return self if data is self.data else type(self)(data, *self[1:])

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """With `data.to(...)`."""
        return self._with(lambda data: data.to(*args, **kwargs))

    def cpu(self, *args: Any, **kwargs: Any) -> Self:
        """The sequence itself: all tensors are here."""
        return self

    def double(self) -> Self:
        """With float64 data."""
        return self._with(lambda data: data.double())

    def float(self) -> Self:
        """With float32 data."""
        return self._with(lambda data: data.float())

    def half(self) -> Self:
        """With float16 data."""
        return self._with(lambda data: data.half())

    def long(self) -> Self:
        """With int64 data."""
        return self._with(lambda data: data.long())

    def int(self) -> Self:
        """With int32 data."""
        return self._with(lambda data: data.int())

    @property
    def is_cuda(self) -> bool:
        """False."""
        return False

    def is_pinned(self) -> bool:
        """False."""
        return False

    def pin_memory(self) -> Self:
        """The sequence itself."""
        return self


def _lengths(lengths: Any) -> Any:
    array = lengths.array if isinstance(lengths, Tensor) else np.asarray(lengths)
    if array.ndim != 1:
        raise RuntimeError(f"lengths must be one number for each sequence, got shape {array.shape}")
    return array.astype(np.int64)


def steps_and_rows(batch_sizes: Any) -> tuple[Any, Any]:
    """For each element of a packed sequence its step and its sequence."""
    steps = np.repeat(np.arange(len(batch_sizes)), batch_sizes)
    starts = np.cumsum(batch_sizes) - batch_sizes
    return steps, np.arange(len(steps)) - np.repeat(starts, batch_sizes)


def pack_padded_sequence(
    input: Tensor, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """Pack a padded batch: (T, B, *), or (B, T, *) with `batch_first`.

    Args:
        input: the padded sequences.
        lengths: the length of each, a tensor or list.
        batch_first: the batch is the first axis.
        enforce_sorted: the sequences come longest first; if False they are sorted here.

    Raises:
        RuntimeError: lengths that are not sorted, not positive, or not one for each sequence.

    >>> import chainrule as cr
    >>> pack_padded_sequence(cr.tensor([[1, 2, 3], [4, 0, 0]]), [3, 1], batch_first=True).batch_sizes.tolist()
    [2, 1, 1]
    """
    sizes = _lengths(lengths)
    order = None
    if not enforce_sorted:
        order = np.argsort(-sizes, kind="stable")
        sizes = sizes[order]
        input = input[plain(order)] if batch_first else input[:, plain(order)]
    columns, length = input.shape[:2] if batch_first else input.shape[1::-1]
    if len(sizes) != columns:
        raise RuntimeError(
            f"Expected `len(lengths)` to be equal to batch_size, but got {len(sizes)} (batch_size={columns})"
        )
    if not columns:
        raise RuntimeError("Cannot pack empty tensors.")
    if sizes[-1] <= 0 and (sizes <= 0).any():
        raise RuntimeError("Length of all samples has to be greater than 0, but found an element in 'lengths' <= 0")
    if (sizes[1:] > sizes[:-1]).any():
        raise RuntimeError(
            "`lengths` array must be sorted in decreasing order when `enforce_sorted` is True. You can pass "
            "`enforce_sorted=False` to have them sorted."
        )
    if sizes[0] > length:
        raise RuntimeError(f"lengths has a sequence of {sizes[0]} elements, and the input has {length} steps")
    batch_sizes = (sizes > np.arange(sizes[0])[:, None]).sum(axis=1)
    steps, rows = steps_and_rows(batch_sizes)
    data = input[(plain(rows), plain(steps)) if batch_first else (plain(steps), plain(rows))]
    return PackedSequence(data, plain(batch_sizes), None if order is None else plain(order))


def pad_packed_sequence(
    sequence: PackedSequence, batch_first: bool = False, padding_value: Any = 0.0, total_length: int | None = None
) -> tuple[Tensor, Tensor]:
    """The padded batch of a packed one, (T, B, *) or (B, T, *), and the lengths.

    Args:
        sequence: what was packed.
        batch_first: make the batch the first axis.
        padding_value: what stands after the end of a sequence.
        total_length: the number of steps, if not the length of the longest.

    Raises:
        ValueError: `total_length` is less than the longest length.
    """
    batch_sizes = sequence.batch_sizes.array
    length = len(batch_sizes)
    if total_length is not None:
        if total_length < length:
            raise ValueError(
                "Expected total_length to be at least the length of the longest sequence in input, but got "
                f"total_length={total_length} and max sequence length being {length}"
            )
        length = total_length
    data = sequence.data
    columns = int(batch_sizes[0])
    steps, rows = steps_and_rows(batch_sizes)
    lengths = (batch_sizes > np.arange(columns)[:, None]).sum(axis=1)
    which = np.full((length, columns), data.shape[0])
    which[steps, rows] = np.arange(data.shape[0])
    if sequence.unsorted_indices is not None:
        undo = sequence.unsorted_indices.array
        which, lengths = which[:, undo], lengths[undo]
    padding = plain(np.full((1, *data.shape[1:]), padding_value, data.array.dtype))
    return cat([data, padding])[plain(np.ascontiguousarray(which.T) if batch_first else which)], plain(lengths)


def pad_sequence(
    sequences: Any, batch_first: bool = False, padding_value: float = 0.0, padding_side: str = "right"
) -> Tensor:
    """Sequences (L_i, *) as one tensor (T, B, *), or (B, T, *) with `batch_first`, T the longest length.

    Args:
        sequences: a list of tensors.
        batch_first: make the batch the first axis.
        padding_value: what fills up shorter sequences.
        padding_side: "right" to fill up at the end, "left" at the beginning.

    Raises:
        RuntimeError: no sequences, or sizes that differ after the first axis.

    >>> import chainrule as cr
    >>> pad_sequence([cr.tensor([1, 2, 3]), cr.tensor([4])], batch_first=True).tolist()
    [[1, 2, 3], [4, 0, 0]]
    """
    if padding_side not in ("left", "right"):
        raise RuntimeError(f"padding_side must be 'left' or 'right', got {padding_side!r}")
    if not isinstance(sequences, (Tensor, Iterable)):
        raise RuntimeError(f"pad_sequence: Expected iterable for input sequences, but got {type(sequences)}")
    tensors = list(sequences)
    if not tensors:
        raise RuntimeError("received an empty list of sequences")
    rest = tensors[0].shape[1:]
    for i, tensor in enumerate(tensors):
        if tensor.shape[1:] != rest:
            raise RuntimeError(
                f"pad_sequence: sequence {i} has shape {tensor.shape}, and the first one ends in {rest}: all sizes "
                "but the first must agree"
            )
    lengths = [tensor.shape[0] for tensor in tensors]
    length, total = max(lengths), sum(lengths)
    which = np.full((len(tensors), length), total)
    start = 0
    for row, size in zip(which, lengths, strict=True):
        row[length - size if padding_side == "left" else 0 :][:size] = np.arange(start, start + size)
        start += size
    padding = plain(np.full((1, *rest), padding_value, tensors[0].array.dtype))
    return cat([*tensors, padding])[plain(which if batch_first else np.ascontiguousarray(which.T))]


def unpad_sequence(padded_sequences: Tensor, lengths: Any, batch_first: bool = False) -> list[Tensor]:
    """The sequences of a padded batch, each cut to its length."""
    padded = padded_sequences if batch_first else padded_sequences.transpose(0, 1)
    return [row[: int(size)] for row, size in zip(padded, _lengths(lengths), strict=True)]


def pack_sequence(sequences: Any, enforce_sorted: bool = True) -> PackedSequence:
    """Pack a list of sequences (L_i, *)."""
    lengths = [tensor.shape[0] for tensor in sequences]
    return pack_padded_sequence(pad_sequence(sequences), lengths, enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """The list of sequences that was packed."""
    return unpad_sequence(*pad_packed_sequence(packed_sequences, batch_first=True), batch_first=True)


__getattr__ = _absent(__name__)
