"""Lazy layers: shapes are found at the first call, parameters stay the same objects, and the class changes."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.nn.lazy import LazyModuleMixin

LAYERS: list[tuple[str, tuple[Any, ...], dict[str, Any], tuple[int, ...]]] = [
    ("Linear", (4,), {}, (2, 3)),
    ("Linear", (4,), {"bias": False}, (2, 5, 3)),
    ("Conv1d", (4, 3), {}, (2, 3, 8)),
    ("Conv2d", (4, 3), {"groups": 2, "padding": 1}, (2, 6, 8, 8)),
    ("Conv2d", (4, 3, 1, 0, 1, 2), {}, (6, 8, 8)),
    ("Conv3d", (4, 2), {"bias": False}, (1, 3, 4, 4, 4)),
    ("ConvTranspose1d", (4, 3), {}, (2, 3, 8)),
    ("ConvTranspose2d", (4, 3), {"stride": 2}, (2, 3, 8, 8)),
    ("ConvTranspose3d", (4, 2), {}, (1, 3, 4, 4, 4)),
    ("BatchNorm1d", (), {}, (4, 3)),
    ("BatchNorm2d", (), {"affine": False}, (2, 3, 4, 4)),
    ("BatchNorm3d", (), {"momentum": 0.3}, (2, 3, 4, 4, 4)),
    ("InstanceNorm1d", (), {"affine": False, "track_running_stats": False}, (3, 8)),
    ("InstanceNorm2d", (), {"affine": True, "track_running_stats": True}, (2, 3, 4, 4)),
    ("InstanceNorm3d", (1e-3, 0.2, True, True), {"bias": False}, (2, 3, 4, 4, 4)),
]
IDS = [f"{name}-{i}" for i, (name, *_) in enumerate(LAYERS)]


@pytest.mark.parametrize(("name", "args", "options", "shape"), LAYERS, ids=IDS)
def test_a_lazy_layer_becomes_the_ordinary_one(name: str, args: Any, options: Any, shape: Any) -> None:
    x = cr.randn(*shape)
    cr.manual_seed(3)
    lazy = getattr(nn, f"Lazy{name}")(*args, **options)
    parameters = list(lazy.parameters())
    assert lazy.has_uninitialized_params() == bool(lazy.state_dict())
    result = lazy(x)
    cr.manual_seed(3)
    batched = len(shape) == 2 or name.startswith(("Linear", "Batch")) or len(shape) == int(name[-2]) + 2
    count = shape[-1] if name == "Linear" else shape[1 if batched and (name[:8] != "Instance" or len(shape) > 2) else 0]
    ordinary = getattr(nn, name)(count, *args, **options)
    assert type(lazy) is type(ordinary) and repr(lazy) == repr(ordinary)
    np.testing.assert_array_equal(result.detach().numpy(), ordinary(x).detach().numpy())
    assert all(now is before for now, before in zip(lazy.parameters(), parameters, strict=True))
    assert vars(lazy).keys() == vars(ordinary).keys()
    for (key, mine), theirs in zip(lazy.state_dict().items(), ordinary.state_dict().values(), strict=True):
        np.testing.assert_array_equal(mine.numpy(), theirs.numpy(), err_msg=key)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_lazy_instance_norm_has_parameters_and_statistics_unless_told_otherwise(n: int) -> None:
    layer = getattr(nn, f"LazyInstanceNorm{n}d")()
    layer(cr.randn(2, 3, *(4,) * n))
    assert list(layer.state_dict()) == ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
    torch = pytest.importorskip("torch")
    theirs = getattr(torch.nn, f"LazyInstanceNorm{n}d")()
    theirs(torch.randn(2, 3, *(4,) * n))
    assert repr(theirs) == repr(layer) and list(theirs.state_dict()) == list(layer.state_dict())


def test_torch_has_the_same_state_and_repr_before_and_after() -> None:
    torch = pytest.importorskip("torch")
    found = []
    for lib in (cr, torch):
        layer = lib.nn.LazyConv2d(4, 3, padding=1)
        before = (list(layer.state_dict()), repr(layer), [repr(p) for p in layer.parameters()])
        layer(lib.ones(1, 2, 5, 5))
        found.append((before, list(layer.state_dict()), repr(layer)))
    assert found[0] == found[1]


def test_an_optimizer_may_be_made_before_the_first_call() -> None:
    model = nn.Sequential(nn.LazyLinear(8), nn.ReLU(), nn.LazyLinear(1))
    optimizer = cr.optim.Adam(model.parameters(), lr=0.01)
    x, y = cr.randn(32, 3), cr.randn(32, 1)
    losses = []
    for _ in range(50):
        optimizer.zero_grad()
        loss = ((model(x) - y) ** 2).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_making_a_lazy_layer_draws_no_random_numbers() -> None:
    cr.manual_seed(1)
    want = cr.rand(1).item()
    cr.manual_seed(1)
    nn.LazyLinear(10)
    assert cr.rand(1).item() == want


def test_a_lazy_layer_loads_an_ordinary_ones_state() -> None:
    saved = nn.Linear(3, 4)
    layer = nn.LazyLinear(4)
    layer.load_state_dict(saved.state_dict())
    x = cr.randn(2, 3)
    np.testing.assert_array_equal(layer(x).detach().numpy(), saved(x).detach().numpy())
    assert layer.in_features == 3 and type(layer) is nn.Linear


def test_a_refused_state_leaves_a_lazy_layer_lazy() -> None:
    layer = nn.LazyLinear(4)
    with pytest.raises(RuntimeError, match="Missing"):
        layer.load_state_dict({"weight": cr.ones(4, 3)})
    assert layer.has_uninitialized_params()
    with pytest.raises(RuntimeError, match="not initialized in the checkpoint"):
        nn.Linear(3, 4).load_state_dict(layer.state_dict())


def test_a_lazy_layer_can_be_copied_and_pickled() -> None:
    layer = nn.LazyLinear(4)
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert other.has_uninitialized_params() and other.weight is not layer.weight
        assert other(cr.ones(2, 3)).shape == (2, 4)
    assert layer.has_uninitialized_params()


def test_the_shape_of_a_lazy_parameter_is_not_known() -> None:
    with pytest.raises(RuntimeError, match="uninitialized"):
        _ = nn.LazyLinear(4).weight.shape


def test_a_users_lazy_module_defines_how_it_is_initialized() -> None:
    class Scale(LazyModuleMixin, nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.UninitializedParameter()

        def initialize_parameters(self, x: Any) -> None:
            self.weight.materialize(x.shape[-1:])
            nn.init.ones_(self.weight)

        def forward(self, x: Any) -> Any:
            return x * self.weight

    model = Scale()
    assert model(cr.ones(2, 3)).shape == (2, 3) and type(model.weight) is nn.Parameter


def test_wrong_input_to_a_lazy_layer_is_refused() -> None:
    with pytest.raises(RuntimeError, match="Expected 3D"):
        nn.LazyConv2d(4, 3)(cr.ones(2, 2))
    with pytest.raises(TypeError, match="must be a Tensor"):
        nn.LazyLinear(4)([1.0, 2.0])
