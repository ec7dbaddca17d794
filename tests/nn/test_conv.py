"""The convolution layers: parameters, settings, padding modes, and what they compute."""

from __future__ import annotations

import copy
import math
import pickle
from typing import Any

import numpy as np
import pytest
from scipy import signal

import chainrule as cr
from chainrule import nn
from chainrule.nn import functional as F

CONVOLUTIONS = [nn.Conv1d, nn.Conv2d, nn.Conv3d]
TRANSPOSED = [nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d]
rng = np.random.default_rng(0)


def normal(*shape: int) -> Any:
    return cr.from_numpy(rng.standard_normal(shape).astype(np.float32))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_parameters_have_pytorchs_names_and_shapes(count: int) -> None:
    layer = CONVOLUTIONS[count - 1](4, 6, 3, groups=2)
    assert {name: p.shape for name, p in layer.named_parameters()} == {"weight": (6, 2, *(3,) * count), "bias": (6,)}
    back = TRANSPOSED[count - 1](4, 6, 3, groups=2)
    assert {name: p.shape for name, p in back.named_parameters()} == {"weight": (4, 3, *(3,) * count), "bias": (6,)}
    assert [*CONVOLUTIONS[count - 1](4, 6, 3, bias=False).state_dict()] == ["weight"]


@pytest.mark.parametrize("layer", [nn.Conv2d(16, 64, 3), nn.ConvTranspose2d(64, 16, 3), nn.Conv2d(16, 32, 5, groups=4)])
def test_initial_values_are_uniform_within_one_over_the_root_of_the_inputs(layer: Any) -> None:
    bound = 1 / math.sqrt(math.prod(layer.weight.shape[1:]))
    for values in (layer.weight.detach().numpy(), layer.bias.detach().numpy()):
        assert np.max(np.abs(values)) <= bound
        assert np.max(np.abs(values)) > 0.7 * bound
    assert np.std(layer.weight.detach().numpy()) == pytest.approx(bound / math.sqrt(3), rel=0.05)


@pytest.mark.parametrize(
    ("mode", "numpy_mode"), [("zeros", "constant"), ("reflect", "reflect"), ("replicate", "edge"), ("circular", "wrap")]
)
@pytest.mark.parametrize("padding", [2, "same"])
def test_padding_modes_are_numpys(mode: str, numpy_mode: Any, padding: Any) -> None:
    layer = nn.Conv1d(1, 1, 4, padding=padding, padding_mode=mode, bias=False)
    x = normal(1, 1, 9)
    widths = (2, 2) if padding == 2 else (1, 2)
    padded = np.pad(x.numpy()[0, 0], widths, mode=numpy_mode)
    expected = signal.correlate(padded, layer.weight.detach().numpy()[0, 0], "valid")
    np.testing.assert_allclose(layer(x).detach().numpy()[0, 0], expected, rtol=1e-4, atol=1e-5)


def test_padding_of_each_axis_is_its_own() -> None:
    layer = nn.Conv2d(1, 1, (3, 5), padding=(0, 2), padding_mode="circular")
    assert layer(normal(1, 1, 6, 7)).shape == (1, 1, 4, 7)
    x = normal(2, 1, 6, 7)
    wrapped = np.pad(x.numpy(), ((0, 0), (0, 0), (0, 0), (2, 2)), mode="wrap")
    expected = F.conv2d(cr.from_numpy(wrapped), layer.weight, layer.bias)
    np.testing.assert_allclose(layer(x).detach().numpy(), expected.detach().numpy(), rtol=1e-5, atol=1e-6)


def test_valid_padding_is_none() -> None:
    assert nn.Conv2d(1, 1, 3, padding="valid")(normal(1, 1, 5, 5)).shape == (1, 1, 3, 3)
    assert nn.Conv2d(1, 1, 3, padding="valid", padding_mode="reflect")(normal(1, 1, 5, 5)).shape == (1, 1, 3, 3)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_output_size_chooses_among_the_sizes_that_a_stride_leaves_open(count: int) -> None:
    layer = TRANSPOSED[count - 1](2, 3, 3, stride=3, padding=1)
    x = normal(2, 2, *(4,) * count)
    for size in (10, 11, 12):
        assert layer(x, output_size=[size] * count).shape == (2, 3, *(size,) * count)
        assert layer(x, output_size=(2, 3, *(size,) * count)).shape == (2, 3, *(size,) * count)
    assert layer(x[0], output_size=[11] * count).shape == (3, *(11,) * count)
    with pytest.raises(ValueError, match=r"valid sizes range from \[10.*\] to \[12"):
        layer(x, output_size=[13] * count)
    with pytest.raises(ValueError, match="output_size must have"):
        layer(x, output_size=[10] * (count + 1))


def test_a_transposed_layer_undoes_the_shape_of_a_strided_one() -> None:
    down, up = nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ConvTranspose2d(8, 3, 3, stride=2, padding=1)
    x = normal(2, 3, 10, 9)
    assert up(down(x), output_size=x.size()).shape == x.shape


def test_extra_repr_shows_what_is_not_the_default() -> None:
    assert repr(nn.Conv2d(3, 8, 3)) == "Conv2d(3, 8, kernel_size=(3, 3), stride=(1, 1))"
    layer = nn.Conv2d(4, 8, 3, (2, 1), (1, 0), 2, 2, False, "circular")
    assert layer.extra_repr() == (
        "4, 8, kernel_size=(3, 3), stride=(2, 1), padding=(1, 0), dilation=(2, 2), groups=2, bias=False, "
        "padding_mode=circular"
    )
    assert nn.ConvTranspose1d(4, 8, 3, 2, output_padding=1).extra_repr() == (
        "4, 8, kernel_size=(3,), stride=(2,), output_padding=(1,)"
    )
    assert nn.Conv1d(1, 1, 3, padding="same").extra_repr() == "1, 1, kernel_size=(3,), stride=(1,), padding=same"


@pytest.mark.parametrize("make", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_layers_are_copied_with_their_settings(make: Any) -> None:
    layer = nn.Conv2d(2, 3, 3, stride=2, padding_mode="reflect", padding=1)
    x = normal(1, 2, 6, 6)
    np.testing.assert_array_equal(make(layer)(x).detach().numpy(), layer(x).detach().numpy())


def test_layers_take_a_dtype_and_a_device() -> None:
    layer = nn.Conv1d(2, 3, 3, device="cpu", dtype=cr.float64)
    assert layer.weight.dtype == layer.bias.dtype == cr.float64
    assert layer(cr.ones(1, 2, 5, dtype=cr.float64)).dtype == cr.float64


def test_a_small_network_learns_where_a_bar_is() -> None:
    cr.manual_seed(0)
    x, y = np.zeros((40, 1, 8, 8), np.float32), np.arange(40) % 2
    for i in range(40):
        x[(i, 0, i % 8) if y[i] else (i, 0, slice(None), i % 8)] = 1
    x, y = cr.from_numpy(x), cr.from_numpy(y)
    net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 4, stride=4), nn.ReLU(), nn.Flatten())
    net.append(nn.Linear(16, 2))
    optimizer = cr.optim.Adam(net.parameters(), lr=0.02)
    for _ in range(60):
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Conv2d(3, 8, 3, groups=2), "in_channels must be divisible by groups, got in_channels=3"),
        (lambda: nn.Conv2d(4, 7, 3, groups=2), "out_channels must be divisible by groups, got out_channels=7"),
        (lambda: nn.Conv2d(4, 8, 3, groups=0), "groups must be a positive integer, got 0"),
        (lambda: nn.Conv2d(4, 8, 3, padding="half"), "Invalid padding string 'half'"),
        (lambda: nn.Conv2d(4, 8, 3, padding="same", stride=2), "padding='same' is not supported for strided"),
        (lambda: nn.Conv2d(4, 8, 3, padding_mode="mirror"), "padding_mode must be one of .*'mirror'"),
        (lambda: nn.ConvTranspose2d(4, 8, 3, padding_mode="circular"), 'Only "zeros" padding mode is supported'),
    ],
)
def test_settings_that_make_no_layer_raise_a_value_error(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_wrong_input_says_what_was_expected_and_given() -> None:
    layer = nn.Conv2d(3, 8, 3)
    with pytest.raises(RuntimeError, match=r"expected input\[1, 4, 5, 5\] to have 3 channels, but got 4"):
        layer(cr.ones(1, 4, 5, 5))
    with pytest.raises(RuntimeError, match=r"3D \(unbatched\) or 4D \(batched\) input to conv2d"):
        layer(cr.ones(5, 5))
    with pytest.raises(RuntimeError, match="a list of 2 values"):
        nn.Conv2d(3, 8, (3, 3, 3))
    with pytest.raises(TypeError, match="must be tuple of ints, not str"):
        nn.Conv2d(3, 8, "3")


def test_fold_and_unfold_layers() -> None:
    x = normal(2, 3, 6, 6)
    columns = nn.Unfold(2, stride=2)(x)
    assert columns.shape == (2, 12, 9)
    np.testing.assert_array_equal(nn.Fold((6, 6), 2, stride=2)(columns).numpy(), x.numpy())
    assert repr(nn.Unfold(2, stride=2)) == "Unfold(kernel_size=2, dilation=1, padding=0, stride=2)"
    assert repr(nn.Fold((6, 6), 2)) == "Fold(output_size=(6, 6), kernel_size=2, dilation=1, padding=0, stride=1)"


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize(
    "keywords",
    [
        {},
        {"stride": 2, "padding": 1, "dilation": 2, "groups": 2, "bias": False},
        {"padding": "same", "padding_mode": "reflect"},
        {"padding": 1, "padding_mode": "circular"},
        {"padding": 1, "padding_mode": "replicate", "stride": 2},
    ],
)
def test_layers_compute_what_pytorchs_compute_from_the_same_state(count: int, keywords: Any) -> None:
    torch = pytest.importorskip("torch")
    name = f"Conv{count}d"
    ours, theirs = getattr(nn, name)(4, 6, 3, **keywords), getattr(torch.nn, name)(4, 6, 3, **keywords)
    ours.load_state_dict({key: cr.from_numpy(value.numpy()) for key, value in theirs.state_dict().items()})
    x = rng.standard_normal((2, 4, *(7, 6, 5)[:count])).astype(np.float32)
    np.testing.assert_allclose(
        ours(cr.from_numpy(x)).detach().numpy(), theirs(torch.from_numpy(x)).detach().numpy(), rtol=1e-3, atol=1e-5
    )
    assert repr(ours) == repr(theirs)


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("output_size", [None, 8])
def test_transposed_layers_compute_what_pytorchs_compute_from_the_same_state(count: int, output_size: Any) -> None:
    torch = pytest.importorskip("torch")
    name, keywords = f"ConvTranspose{count}d", {"stride": 2, "padding": 1, "groups": 2, "dilation": 1}
    ours, theirs = getattr(nn, name)(4, 6, 3, **keywords), getattr(torch.nn, name)(4, 6, 3, **keywords)
    ours.load_state_dict({key: cr.from_numpy(value.numpy()) for key, value in theirs.state_dict().items()})
    x = rng.standard_normal((2, 4, *(4,) * count)).astype(np.float32)
    size = None if output_size is None else [output_size] * count
    np.testing.assert_allclose(
        ours(cr.from_numpy(x), size).detach().numpy(),
        theirs(torch.from_numpy(x), size).detach().numpy(),
        rtol=1e-3,
        atol=1e-5,
    )
    assert repr(ours) == repr(theirs)
