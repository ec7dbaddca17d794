"""Averaged models: equal and exponential weights, batch norms made anew, the schedule that ends in a constant."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.optim import swa_utils


def models(count: int = 4) -> list[nn.Module]:
    cr.manual_seed(0)
    return [nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)) for _ in range(count)]


def weights(series: list[nn.Module]) -> list[np.ndarray]:
    return [model[0].weight.detach().numpy() for model in series]  # type: ignore[index]


def test_the_average_has_equal_weights() -> None:
    series = models()
    average = swa_utils.AveragedModel(series[0])
    for model in series:
        average.update_parameters(model)
    np.testing.assert_allclose(average.module[0].weight.detach().numpy(), np.mean(weights(series), 0), rtol=1e-5)
    assert average.n_averaged.item() == 4
    assert average(cr.ones(4, 3)).shape == (4, 2)


@pytest.mark.parametrize("several", [False, True])
def test_the_exponential_average_forgets(several: bool) -> None:
    series = models()
    how = (
        {"multi_avg_fn": swa_utils.get_ema_multi_avg_fn(0.7)} if several else {"avg_fn": swa_utils.get_ema_avg_fn(0.7)}
    )
    average = swa_utils.AveragedModel(series[0], **how)
    want = weights(series)[0]
    for i, model in enumerate(series):
        average.update_parameters(model)
        want = weights(series)[i] if i == 0 else 0.7 * want + 0.3 * weights(series)[i]
    np.testing.assert_allclose(average.module[0].weight.detach().numpy(), want, rtol=1e-5)


def test_buffers_are_copied_or_averaged() -> None:
    series = models(3)
    for i, model in enumerate(series):
        model[1].running_mean.fill_(float(i))  # type: ignore[index]
    for averaged, want in ((False, 2.0), (True, 1.0)):
        average = swa_utils.AveragedModel(series[0], use_buffers=averaged)
        for model in series:
            average.update_parameters(model)
        assert average.module[1].running_mean.tolist() == [want, want]


def test_the_model_itself_is_not_changed() -> None:
    series = models(2)
    before = copy.deepcopy(series[1].state_dict())
    average = swa_utils.AveragedModel(series[0])
    for model in series:
        average.update_parameters(model)
    for name, value in series[1].state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before[name].numpy())


def test_a_state_dict_has_torchs_names() -> None:
    torch = pytest.importorskip("torch")
    theirs = torch.optim.swa_utils.AveragedModel(torch.nn.Linear(2, 2)).state_dict()
    assert list(swa_utils.AveragedModel(nn.Linear(2, 2)).state_dict()) == list(theirs)


def test_update_bn_computes_the_plain_mean_of_all_batches() -> None:
    (model,) = models(1)
    norm = model[1]  # type: ignore[index]
    batches = [cr.randn(8, 3) for _ in range(5)]
    model.eval()
    swa_utils.update_bn([(batch, None) for batch in batches], model)
    hidden = np.concatenate([model[0](batch).detach().numpy() for batch in batches])  # type: ignore[index]
    np.testing.assert_allclose(norm.running_mean.numpy(), hidden.mean(0), rtol=1e-4, atol=1e-6)
    assert norm.momentum == 0.1 and not model.training


@pytest.mark.parametrize("options", [{"anneal_epochs": 5}, {"anneal_strategy": "linear"}, {"anneal_epochs": 0}])
def test_the_schedule_equals_torchs(options: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    results, keys = [], []
    for lib, make in ((cr, swa_utils.SWALR), (torch, torch.optim.swa_utils.SWALR)):
        optimizer = lib.optim.SGD([lib.zeros(1, requires_grad=True)], lr=0.5)
        scheduler = make(optimizer, swa_lr=0.05, **options)
        found = []
        for _ in range(20):
            optimizer.step()
            scheduler.step()
            found.append(scheduler.get_last_lr()[0])
        results.append(found)
        keys.append(scheduler.state_dict().keys())
    np.testing.assert_allclose(*results, rtol=1e-9)
    assert keys[0] == keys[1]


def test_the_schedule_ends_in_the_given_rate() -> None:
    optimizer = cr.optim.SGD([cr.zeros(1, requires_grad=True)], lr=0.5)
    scheduler = swa_utils.SWALR(optimizer, swa_lr=0.05, anneal_epochs=3)
    for _ in range(6):
        optimizer.step()
        scheduler.step()
    assert scheduler.get_last_lr() == [pytest.approx(0.05)]


def test_bad_settings_are_refused() -> None:
    optimizer = cr.optim.SGD([cr.zeros(1, requires_grad=True)], lr=0.5)
    with pytest.raises(ValueError, match=r"\[0,1\]"):
        swa_utils.get_ema_avg_fn(1.5)
    with pytest.raises(ValueError, match="anneal_strategy"):
        swa_utils.SWALR(optimizer, 0.1, anneal_strategy="steps")
    with pytest.raises(ValueError, match="anneal_epochs"):
        swa_utils.SWALR(optimizer, 0.1, anneal_epochs=-1)
    with pytest.raises(AssertionError, match="Only one"):
        swa_utils.AveragedModel(
            nn.Linear(1, 1), avg_fn=swa_utils.get_swa_avg_fn(), multi_avg_fn=swa_utils.get_swa_multi_avg_fn()
        )
