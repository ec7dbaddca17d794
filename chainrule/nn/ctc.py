"""The loss of connectionist temporal classification on tensors; the recursion is in `ops/alignment.py`."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.tensor import Tensor
from ..core.tracing import as_it_is, bounded, checked
from ..ops.alignment import aligned_likelihood
from ..ops.elementwise import exp
from ..ops.indexing import where
from ..ops.normalisation import reduced

__all__ = ["ctc_loss"]


def ctc_loss(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Any,
    target_lengths: Any,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """The negative log-likelihood of sequences of labels, summed over their alignments with time.

    Args:
        log_probs: (T, N, C) log-probabilities, as log_softmax gives them; or (T, C) for one sequence.
        targets: class numbers, (N, S), or all sequences one after the other, (sum(target_lengths),).
        input_lengths: (N,) how many of the T times count; a tensor or a tuple.
        target_lengths: (N,) how many labels each sequence has.
        blank: the class that stands for no label.
        reduction: "none", "sum", or "mean": each sequence's loss divided by its number of labels, then their mean.
        zero_infinity: 0 in place of the infinite losses of targets that are too long for their inputs.

    Gradients are PyTorch's: those of log-probabilities that are kept normalised.

    Raises:
        RuntimeError: sizes or lengths that do not fit, a label that is no class, or `blank` that is none.

    >>> import chainrule as cr
    >>> even = cr.full((2, 1, 2), 0.5).log()  # the paths for "1" are 11, 01 and 10
    >>> round(ctc_loss(even, cr.tensor([[1]]), (2,), (1,), reduction="sum").exp().item() ** -1, 6)
    0.75
    """
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{reduction} is not a valid value for reduction")
    if log_probs.ndim not in (2, 3) or log_probs.array.dtype.kind != "f":
        raise RuntimeError(
            f"ctc_loss: log_probs must be of a floating type and of shape (T, N, C) or (T, C), got {log_probs.dtype} "
            f"of shape {tuple(log_probs.shape)}"
        )
    if not log_probs.array.size:
        raise RuntimeError(f"ctc_loss: log_probs tensor must not be empty, got shape {tuple(log_probs.shape)}")
    single = log_probs.ndim == 2
    if single:
        log_probs = log_probs.unsqueeze(1)
    times, samples, classes = log_probs.shape
    if not 0 <= blank < classes:
        raise RuntimeError(f"ctc_loss: blank must be in label range, from 0 to {classes - 1}, got {blank}")
    lengths = lengths_of(input_lengths, samples, "input_lengths")
    label_lengths = lengths_of(target_lengths, samples, "target_lengths")
    lengths = checked(lengths, times + 1)
    known = isinstance(lengths, np.ndarray)
    if known and samples and (lengths.max() > times or lengths.min() < 0):
        raise RuntimeError(
            f"Expected input_lengths to have value at most {times}, but got value {lengths.max()} (ctc_loss with "
            f"log_probs of shape {tuple(log_probs.shape)})"
        )
    if isinstance(label_lengths, np.ndarray) and samples and label_lengths.min() < 0:
        raise RuntimeError(f"Expected target_lengths to have value at least 0, but got value {label_lengths.min()}")
    labels = padded(targets.array.astype(np.int64), label_lengths, samples, blank)
    label_lengths = checked(label_lengths, labels.shape[1] + 1)
    real = np.arange(labels.shape[1]) < label_lengths[:, None]
    wrong = labels[real & ((labels < 0) | (labels >= classes))] if isinstance(labels, np.ndarray) else labels[:0]
    if wrong.size:
        raise RuntimeError(f"ctc_loss: label {wrong[0]} in targets is out of range for {classes} classes")
    labels = np.where(real, bounded(labels, classes), blank)
    loss = aligned_likelihood(log_probs, labels, label_lengths, lengths, blank)
    if log_probs.requires_grad:  # a zero, with the derivative of the sums that are one
        counted = np.arange(times)[:, None, None] < lengths[:, None]
        total = where(Tensor(counted), exp(log_probs), 0.0).sum((0, 2))
        loss = loss + (total - total.detach())
    if zero_infinity:
        loss = where(Tensor(np.isinf(loss.array)), 0.0, loss)
    if reduction == "mean":
        return (loss / Tensor(np.maximum(label_lengths, 1).astype(loss.array.dtype), dtype=loss.dtype)).mean()  # type: ignore[no-any-return]
    if single and reduction == "none":
        return loss.squeeze(0)  # type: ignore[no-any-return]
    return reduced(loss, reduction)  # type: ignore[no-any-return]


def lengths_of(given: Any, samples: int, name: str) -> Any:
    """Lengths as an array with one for each sample."""
    if isinstance(given, Tensor):
        given = given.array
    lengths = np.atleast_1d(as_it_is(given))
    if lengths.dtype.kind not in "iu" and lengths.size:
        raise RuntimeError(f"ctc_loss: {name} must be integral, got {lengths.dtype}")
    if lengths.shape != (samples,):
        raise RuntimeError(f"ctc_loss: {name} must be of size batch_size, {samples}, got shape {lengths.shape}")
    return lengths.astype(np.int64)


def padded(targets: Any, label_lengths: Any, samples: int, blank: int) -> Any:
    """Targets as (N, longest)."""
    if hasattr(label_lengths, "as_number") and targets.ndim == 2:
        longest = targets.shape[1]  # a trace does not know the values
    else:
        longest = int(label_lengths.max(initial=0))
    if targets.ndim == 1:
        if targets.size != label_lengths.sum():
            raise RuntimeError(
                f"ctc_loss: targets of shape {targets.shape} must hold sum(target_lengths) = {label_lengths.sum()} "
                "labels, one sequence after the other"
            )
        labels = np.full((samples, longest), blank, np.int64)
        labels[np.arange(longest) < label_lengths[:, None]] = targets
        return labels
    if targets.ndim != 2 or targets.shape[0] != samples or targets.shape[1] < longest:
        raise RuntimeError(
            f"ctc_loss: Expected tensor to have size at least {longest} at dimension 1, and {samples} rows, but got "
            f"targets of shape {targets.shape}"
        )
    return targets[:, :longest]
