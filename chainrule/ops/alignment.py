"""Connectionist temporal classification: the likelihood of a sequence of labels, summed over its alignments with time.

A. Graves, S. Fernandez, F. Gomez, J. Schmidhuber, "Connectionist Temporal Classification" (2006), sections 3 and 4. The
labels with blanks between and around them are 2 S + 1 states; a path stays in its state, goes to the next one, or skips
a blank between two different labels.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.forward import array_function, wrap_forward_fn
from ..core.table import backward
from .selection import take_along_tensor

__all__: list[str] = []

IMPOSSIBLE = -1e30  # the log-probability of what cannot be: finite, so that no derivative of it is NaN


def delayed(states: Any, steps: int) -> Any:
    """(N, L) states, moved on by a number of places; what comes in is impossible."""
    start = np.zeros_like(states[:, :steps]) + IMPOSSIBLE
    return np.concatenate((start, states[:, :-steps]), axis=1) if states.shape[1] > steps else start


def arriving(states: Any, skips: Any) -> Any:
    """The log of the sum over the states that lead to each state in one step."""
    moved = np.logaddexp(states, delayed(states, 1))
    return np.logaddexp(moved, np.where(skips, delayed(states, 2), IMPOSSIBLE))


def prefixes(emissions: Any, skips: Any, lengths: Any) -> list[Any]:
    """For each time (N, L): the log-probability of all beginnings of paths that end in each state."""
    if type(emissions) is np.ndarray:
        return list(walked(emissions, skips, lengths))
    first = np.arange(emissions.shape[2]) < 2
    states = np.where(first, emissions[0], IMPOSSIBLE)
    found = [states]
    for t in range(1, emissions.shape[0]):
        running = np.expand_dims(lengths > t, 1)
        states = np.where(running, np.maximum(arriving(states, skips) + emissions[t], IMPOSSIBLE), states)
        found.append(states)
    return found


def walked(emissions: Any, skips: Any, lengths: Any) -> Any:
    """`prefixes` of NumPy arrays, in one piece of memory."""
    times, samples, width = emissions.shape
    states = np.full((times, samples, width + 2), IMPOSSIBLE, emissions.dtype)  # two impossible ones in front
    states[0, :, 2:4] = emissions[0, :, :2]
    penalty = np.where(skips, 0, IMPOSSIBLE).astype(emissions.dtype)
    skipped = np.empty((samples, width), emissions.dtype)
    shortest = lengths.min(initial=times)
    for t in range(1, times):
        before, now = states[t - 1], states[t, :, 2:]
        np.logaddexp(before[:, 2:], before[:, 1:-1], out=now)
        np.add(before[:, :-2], penalty, out=skipped)
        np.logaddexp(now, skipped, out=now)
        now += emissions[t]
        np.maximum(now, IMPOSSIBLE, out=now)
        if t >= shortest:
            np.copyto(now, before[:, 2:], where=(lengths <= t)[:, None])
    return states[:, :, 2:]


def walked_back(emissions: Any, skips: Any, last: Any, lengths: Any) -> Any:
    """`suffixes` of NumPy arrays, in one piece of memory."""
    times, samples, width = emissions.shape
    states = np.full((times, samples, width), IMPOSSIBLE, emissions.dtype)
    states[-1][last] = 0
    ahead, skipped = (np.full((samples, width + 2), IMPOSSIBLE, emissions.dtype) for _ in range(2))
    penalty = np.where(skips, 0, IMPOSSIBLE).astype(emissions.dtype)
    shortest = lengths.min(initial=times)
    for t in range(times - 2, -1, -1):
        now = states[t]
        np.add(states[t + 1], emissions[t + 1], out=ahead[:, :-2])
        np.add(ahead[:, :-2], penalty, out=skipped[:, :-2])
        np.logaddexp(ahead[:, :-2], ahead[:, 1:-1], out=now)
        np.logaddexp(now, skipped[:, 2:], out=now)
        np.maximum(now, IMPOSSIBLE, out=now)
        if t + 1 >= shortest:
            np.copyto(now, states[t + 1], where=(lengths <= t + 1)[:, None])
    return states


def suffixes(emissions: Any, skips: Any, last: Any, lengths: Any) -> list[Any]:
    """For each time (N, L): the log-probability of all continuations of paths from each state to a last one."""
    if type(emissions) is np.ndarray:
        return list(walked_back(emissions, skips, last, lengths))
    states = np.zeros_like(emissions[0]) + np.where(last, 0.0, IMPOSSIBLE).astype(emissions.dtype)
    found = [states]
    backwards = np.flip(skips, 1)
    # a skip leads from two states before: seen from there, it is allowed where the target allows it
    for t in range(emissions.shape[0] - 2, -1, -1):
        running = np.expand_dims(lengths > t + 1, 1)
        turned = np.flip(states + emissions[t + 1], 1)
        moved = np.logaddexp(turned, delayed(turned, 1))
        moved = np.logaddexp(moved, delayed(np.where(backwards, turned, IMPOSSIBLE), 2))
        states = np.where(running, np.maximum(np.flip(moved, 1), IMPOSSIBLE), states)
        found.append(states)
    return found[::-1]


@array_function
def alignment_loss(emissions: Any, skips: Any, last: Any, lengths: Any) -> Any:
    """(N,): the negative log-probability of all paths together; infinite where there is none.

    Args:
        emissions: (T, N, L) log-probabilities of the states' labels.
        skips: (N, L) booleans: whether a path may come to a state from two states before.
        last: (N, L) booleans: the states in which a path may end.
        lengths: (N,) integers: each sample's number of times.
    """
    final = prefixes(emissions, skips, lengths)[-1]
    final = np.where(last & np.expand_dims(lengths > 0, 1), final, IMPOSSIBLE)
    final = np.where(last & np.expand_dims(lengths == 0, 1) & (np.arange(last.shape[1]) == 0), 0.0, final)
    highest = np.max(final, axis=1, keepdims=True)
    total = np.squeeze(highest, 1) + np.log(np.sum(np.exp(final - highest), axis=1))
    return np.where(total < IMPOSSIBLE / 2, np.inf, -total).astype(emissions.dtype)


@backward(alignment_loss, 0)
def alignment_loss_back(grad_out: Any, out: Any, emissions: Any, skips: Any, last: Any, lengths: Any) -> Any:
    r"""$\nabla_{emissions_{t, s}} L = -P(\text{the path is in state } s \text{ at time } t) \nabla_{out} L$"""
    before, after = prefixes(emissions, skips, lengths), suffixes(emissions, skips, last, lengths)
    possible = np.where(np.isinf(out), 0.0, out)
    there = np.exp(np.stack([a + b for a, b in zip(before, after, strict=True)]) + np.expand_dims(possible, (0, 2)))
    undefined = np.where(np.isinf(out), np.where(grad_out == 0, 0.0, np.nan), 0.0)
    there = there + np.expand_dims(np.astype(undefined, emissions.dtype), (0, 2))
    times = np.reshape(np.arange(emissions.shape[0]), (-1, 1, 1)) < np.reshape(lengths, (1, -1, 1))
    return np.where(times, -there * np.expand_dims(grad_out, (0, 2)), 0.0)


alignment_tensor = wrap_forward_fn(alignment_loss)


def alternating(first: Any, second: Any) -> Any:
    """Columns of two (N, S) matrices in turn, (N, 2 S)."""
    return np.reshape(np.stack((first, second), axis=2), (first.shape[0], 2 * first.shape[1]))


def aligned_likelihood(log_probs: Any, labels: Any, label_lengths: Any, lengths: Any, blank: int) -> Any:
    """`alignment_loss` of labels.

    Args:
        log_probs: tensor (T, N, C).
        labels: array (N, S) of class numbers, padded with any class.
        label_lengths: array (N,).
        lengths: array (N,): each sample's number of times.
    """
    samples, width = labels.shape
    blanks = np.full((samples, width + 1), blank)
    states = np.concatenate((blanks[:, :1], alternating(labels, blanks[:, 1:])), axis=1)
    changes = labels[:, 1:] != labels[:, :-1]
    never = np.zeros((samples, width + 3), bool)
    skips = np.concatenate((never[:, : 3 if width else 1], alternating(changes, never[:, 4:])), axis=1)
    place = np.arange(states.shape[1])
    end = 2 * label_lengths[:, None]
    last = (place == end) | (place == end - 1)
    times = log_probs.shape[0]
    emissions = take_along_tensor(log_probs, np.broadcast_to(states, (times, *states.shape)), 2)
    return alignment_tensor(emissions, skips, last, lengths)
