"""Adaptive softmax: a cheaper softmax over many classes, frequent ones first."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..core.tensor import Tensor
from ..ops.indexing import where
from . import functional as F
from .containers import ModuleList, Sequential
from .linear import Linear
from .module import Module

__all__ = ["AdaptiveLogSoftmaxWithLoss"]


class _ASMoutput(NamedTuple):
    output: Tensor
    loss: Tensor


class AdaptiveLogSoftmaxWithLoss(Module):
    """Log-probabilities of targets among many classes, and their negative mean (Grave et al. 2017).

    The head scores the classes below the first cutoff and one place for each cluster of rarer classes; the tail scores
    the classes within a cluster, from features reduced by `div_value` for each further cluster.

    Args:
        in_features: the length of an input.
        n_classes: how many classes there are, ordered from frequent to rare.
        cutoffs: increasing class numbers at which clusters begin.
        div_value: how much smaller each cluster's features are.
        head_bias: whether the head has a bias.

    >>> import chainrule as cr
    >>> layer = AdaptiveLogSoftmaxWithLoss(8, 20, cutoffs=[5, 10])
    >>> layer.log_prob(cr.randn(3, 8)).exp().sum(1).allclose(cr.ones(3))
    True
    """

    def __init__(
        self,
        in_features: int,
        n_classes: int,
        cutoffs: Sequence[int],
        div_value: float = 4.0,
        head_bias: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        cutoffs = list(cutoffs)
        if not cutoffs:
            raise ValueError("cutoffs should be a sequence of length larger than 0")
        increasing = all(a < b for a, b in itertools.pairwise([0, *cutoffs, n_classes]))
        if not increasing or any(int(c) != c for c in cutoffs):
            raise ValueError(
                "cutoffs should be a sequence of unique, positive integers sorted in an increasing order, where each "
                f"value is between 1 and n_classes-1, got {cutoffs} with n_classes={n_classes}"
            )
        self.in_features = in_features
        self.n_classes = n_classes
        self.cutoffs = [*cutoffs, n_classes]
        self.div_value = div_value
        self.head_bias = head_bias
        self.shortlist_size = self.cutoffs[0]
        self.n_clusters = len(self.cutoffs) - 1
        self.head_size = self.shortlist_size + self.n_clusters
        self.head = Linear(in_features, self.head_size, bias=head_bias, device=device, dtype=dtype)
        self.tail = ModuleList()
        for i, (low, high) in enumerate(itertools.pairwise(self.cutoffs)):
            hidden = int(in_features // div_value ** (i + 1))
            self.tail.append(
                Sequential(
                    Linear(in_features, hidden, bias=False, device=device, dtype=dtype),
                    Linear(hidden, high - low, bias=False, device=device, dtype=dtype),
                )
            )

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        for part in (self.head, *(layer for cluster in self.tail for layer in cluster)):
            part.reset_parameters()

    def forward(self, input_: Tensor, target_: Tensor) -> _ASMoutput:
        """The targets' log-probabilities, (N,), and the loss.

        Args:
            input_: (N, in_features) or (in_features,).
            target_: (N,) or () class numbers.

        Raises:
            RuntimeError: shapes that do not fit, or a target that is no class.
        """
        if target_.ndim > 1:
            raise RuntimeError("0D or 1D target tensor expected, multi-target not supported")
        if input_.ndim != target_.ndim + 1:
            raise RuntimeError(
                f"{target_.ndim}D target tensor expects {target_.ndim + 1}D input tensors, but found inputs with size "
                f"{tuple(input_.shape)}"
            )
        if target_.ndim and input_.shape[0] != target_.shape[0]:
            raise RuntimeError(
                "Input and target should have the same size in the batch dimension, got "
                f"{input_.shape[0]} and {target_.shape[0]}"
            )
        single = target_.ndim == 0
        input = input_.unsqueeze(0) if single else input_
        target = target_.unsqueeze(0) if single else target_
        numbers = target.array
        known = isinstance(numbers, np.ndarray)
        if known and numbers.size and (numbers.min() < 0 or numbers.max() >= self.n_classes):
            raise RuntimeError(
                f"Target values should be in [0, {self.n_classes - 1}], but values in range [{numbers.min()}, "
                f"{numbers.max()}] were found."
            )
        head = F.log_softmax(self.head(input), dim=1)
        place = target  # in the head
        output = None
        for i, (low, high) in enumerate(itertools.pairwise(self.cutoffs)):
            if not known:  # which rows there are, is not: all are computed, and the cluster's kept
                own = (target >= low) & (target < high)
                inside = F.log_softmax(self.tail[i](input), dim=1).gather(1, where(own, target - low, 0).unsqueeze(1))
                output = where(own, inside.squeeze(1), 0.0 if output is None else output)
                place = where(own, self.shortlist_size + i, place)
                continue
            (rows,) = ((numbers >= low) & (numbers < high)).nonzero()
            if not rows.size:
                continue
            index = Tensor(rows)
            inside = F.log_softmax(self.tail[i](input[index]), dim=1).gather(1, (target[index] - low).unsqueeze(1))
            output = (input.new_zeros(len(numbers)) if output is None else output).index_add(
                0, index, inside.squeeze(1)
            )
            place = where((target >= low) & (target < high), self.shortlist_size + i, place)
        chosen = head.gather(1, place.unsqueeze(1)).squeeze(1)
        output = chosen if output is None else output + chosen
        loss = (-output).mean()
        return _ASMoutput(output.squeeze(0) if single else output, loss)

    def log_prob(self, input: Tensor) -> Tensor:
        """All classes' log-probabilities: (N, in_features) gives (N, n_classes)."""
        head = F.log_softmax(self.head(input), dim=1)
        parts = [head[:, : self.shortlist_size]]
        for i, cluster in enumerate(self.tail):
            parts.append(F.log_softmax(cluster(input), dim=1) + head[:, self.shortlist_size + i].unsqueeze(1))
        from ..ops.shape import cat

        return cat(parts, 1)

    def predict(self, input: Tensor) -> Tensor:
        """The most probable class of each input, (N,)."""
        return self.log_prob(input).argmax(dim=1)  # type: ignore[no-any-return]
