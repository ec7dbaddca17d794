"""Averages of a model's parameters over training: stochastic weight averaging, exponential moving averages."""

from __future__ import annotations

import copy
import itertools
import math
import warnings
from collections.abc import Callable, Iterable
from typing import Any, Literal

import numpy as np

from ..core.dtypes import int64
from ..core.grad_mode import no_grad
from ..core.tensor import Tensor, as_array, make_tensor
from ..nn.module import Module
from .lr_scheduler import LRScheduler, for_each_group
from .optimizer import Optimizer

__all__ = [
    "SWALR",
    "AveragedModel",
    "get_ema_avg_fn",
    "get_ema_multi_avg_fn",
    "get_swa_avg_fn",
    "get_swa_multi_avg_fn",
    "update_bn",
]


# ----- how to average ---------------------------------------------------------------------------------------------


def _check_decay(decay: float) -> None:
    if not 0.0 <= decay <= 1.0:
        raise ValueError(f"Invalid decay value {decay} provided. Please provide a value in [0,1] range.")


def get_ema_avg_fn(decay: float = 0.999) -> Callable[..., Tensor]:
    """The function (average, parameter, count) -> decay * average + (1 - decay) * parameter."""
    _check_decay(decay)

    @no_grad()
    def ema_update(ema_param: Tensor, current_param: Tensor, num_averaged: Any) -> Tensor:
        return decay * ema_param + (1 - decay) * current_param

    return ema_update


def get_swa_avg_fn() -> Callable[..., Tensor]:
    """The function (average, parameter, count) -> the average of count + 1 values."""

    @no_grad()
    def swa_update(averaged_param: Tensor, current_param: Tensor, num_averaged: Any) -> Tensor:
        mean: Tensor = averaged_param + (current_param - averaged_param) / (num_averaged + 1)
        return mean

    return swa_update


def _for_lists(average: Callable[..., Tensor]) -> Callable[..., None]:
    """A function that averages lists of tensors, in place, from one that averages a tensor."""

    @no_grad()
    def update(averages: Iterable[Tensor], parameters: Iterable[Tensor], num_averaged: Any) -> None:
        for mean, parameter in zip(averages, parameters, strict=True):
            mean.copy_(average(mean, parameter, num_averaged))

    return update


def get_ema_multi_avg_fn(decay: float = 0.999) -> Callable[..., None]:
    """As `get_ema_avg_fn`, for lists of tensors, in place."""
    return _for_lists(get_ema_avg_fn(decay))


def get_swa_multi_avg_fn() -> Callable[..., None]:
    """As `get_swa_avg_fn`, for lists of tensors, in place."""
    return _for_lists(get_swa_avg_fn())


# ----- the averaged model -----------------------------------------------------------------------------------------


class AveragedModel(Module):
    """A copy of a model whose parameters are averages over the calls of `update_parameters` (Izmailov et al. 2018).

    Args:
        model: what is copied.
        device: must be the cpu.
        avg_fn: (average, parameter, count) -> new average; equal weights if left out.
        multi_avg_fn: (averages, parameters, count), writes the averages in place.
        use_buffers: average the buffers as well, instead of copying the model's.

    Raises:
        AssertionError: both functions are given.

    >>> import chainrule as cr
    >>> model = cr.nn.Linear(1, 1, bias=False)
    >>> average = AveragedModel(model)
    >>> for value in (1.0, 3.0):
    ...     _ = cr.nn.init.constant_(model.weight, value)
    ...     average.update_parameters(model)
    >>> average.module.weight.item()
    2.0
    """

    def __init__(
        self,
        model: Module,
        device: Any = None,
        avg_fn: Callable[..., Tensor] | None = None,
        multi_avg_fn: Callable[..., None] | None = None,
        use_buffers: bool = False,
    ) -> None:
        super().__init__()
        if avg_fn is not None and multi_avg_fn is not None:
            raise AssertionError("Only one of avg_fn and multi_avg_fn should be provided")
        self.module = copy.deepcopy(model)
        if device is not None:
            self.module = self.module.to(device)
        self.register_buffer("n_averaged", make_tensor(as_array(0, int64), None))
        self.avg_fn = avg_fn
        self.multi_avg_fn = multi_avg_fn
        self.use_buffers = use_buffers

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the averaged model computes."""
        return self.module(*args, **kwargs)

    @no_grad()
    def update_parameters(self, model: Module) -> None:
        """Take the model's present parameters into the averages."""
        members = [
            list(itertools.chain(m.parameters(), m.buffers() if self.use_buffers else ())) for m in (self.module, model)
        ]
        averages, parameters = ([tensor.detach() for tensor in tensors] for tensors in members)
        count = self.n_averaged
        if int(count) == 0:
            for mean, parameter in zip(averages, parameters, strict=True):
                mean.copy_(parameter)
        elif self.multi_avg_fn is not None:
            kinds: dict[np.dtype[Any], list[tuple[Tensor, Tensor]]] = {}
            for pair in zip(averages, parameters, strict=True):
                kinds.setdefault(pair[0].array.dtype, []).append(pair)
            for pairs in kinds.values():
                self.multi_avg_fn([mean for mean, _ in pairs], [parameter for _, parameter in pairs], count)
        else:
            average = self.avg_fn or get_swa_avg_fn()
            for mean, parameter in zip(averages, parameters, strict=True):
                mean.copy_(average(mean, parameter, count))
        if not self.use_buffers:
            for mine, theirs in zip(self.module.buffers(), model.buffers(), strict=True):
                mine.detach().copy_(theirs.detach())
        self.n_averaged += 1


@no_grad()
def update_bn(loader: Iterable[Any], model: Module, device: Any = None) -> None:
    """Compute the running means of the batch norms anew, by one pass over the data in training mode.

    Args:
        loader: batches, or lists and tuples whose first item is one.
        model: it is called with each batch.
        device: must be the cpu.
    """
    norms = {module: module.momentum for module in model.modules() if _is_batch_norm(module)}
    if not norms:
        return
    was_training = model.training
    model.train()
    for module in norms:
        module.reset_running_stats()
        module.momentum = None  # a plain average over all batches
    for batch in loader:
        given = batch[0] if isinstance(batch, (list, tuple)) else batch
        model(given if device is None else given.to(device))
    for module, momentum in norms.items():
        module.momentum = momentum
    model.train(was_training)


def _is_batch_norm(module: Any) -> bool:
    from ..nn import normalization

    return isinstance(module, normalization._BatchNorm)


# ----- the schedule -----------------------------------------------------------------------------------------------


class SWALR(LRScheduler):
    """From the present rate to `swa_lr` in `anneal_epochs` epochs, and then constant.

    Args:
        optimizer: whose learning rates are set.
        swa_lr: the rate while averaging, or a list, one a group.
        anneal_epochs: how long the way there is.
        anneal_strategy: "cos" or "linear".
        last_epoch: see `LRScheduler`.
    """

    _not_saved = ("optimizer", "anneal_func")

    def __init__(
        self,
        optimizer: Optimizer,
        swa_lr: Any,
        anneal_epochs: int = 10,
        anneal_strategy: Literal["cos", "linear"] = "cos",
        last_epoch: int = -1,
    ) -> None:
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"anneal_strategy must be one of 'cos' or 'linear', instead got {anneal_strategy}")
        if not isinstance(anneal_epochs, int) or anneal_epochs < 0:
            raise ValueError(f"anneal_epochs must be equal or greater than 0, got {anneal_epochs}")
        for group, rate in zip(optimizer.param_groups, for_each_group("swa_lr", optimizer, swa_lr), strict=True):
            group["swa_lr"] = rate
        self._anneal_strategy = anneal_strategy
        self.anneal_epochs = anneal_epochs
        super().__init__(optimizer, last_epoch)

    def anneal_func(self, t: float) -> float:
        """How much of the way is done at the time t in [0, 1]."""
        return t if self._anneal_strategy == "linear" else (1 - math.cos(math.pi * t)) / 2

    def get_lr(self) -> list[Any]:
        """The next rates; the rate at the start is found again from the present one."""
        if not self._get_lr_called_within_step:
            warnings.warn(
                "To get the last learning rate computed by the scheduler, please use `get_last_lr()`.",
                UserWarning,
                stacklevel=2,
            )
        step = self._step_count - 1
        if self.anneal_epochs == 0:
            step = max(1, step)
        before, now = (self.anneal_func(max(0, min(1, t / max(1, self.anneal_epochs)))) for t in (step - 1, step))
        rates = []
        for group in self.optimizer.param_groups:
            end = group["swa_lr"]
            start = end if before == 1 else (group["lr"] - before * end) / (1 - before)
            rates.append(end * now + start * (1 - now))
        return rates
