"""The Transformer: against PyTorch with the same weights, and what it must not look at."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.testing import gradcheck


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).standard_normal(shape)


def double(array: np.ndarray, requires_grad: bool = False) -> Any:
    return cr.tensor(array, dtype=cr.float64 if array.dtype.kind == "f" else None, requires_grad=requires_grad)


pytestmark = pytest.mark.filterwarnings("ignore:enable_nested_tensor")  # PyTorch says so of its own layers

SETTINGS: list[dict[str, Any]] = [
    {},
    {"norm_first": True},
    {"activation": "gelu", "batch_first": True},
    {"bias": False, "norm_first": True, "layer_norm_eps": 1e-3},
]
SMALL = {"d_model": 8, "nhead": 2, "dim_feedforward": 16, "dropout": 0.0}


def pair(name: str, wrap: str = "", **settings: Any) -> tuple[Any, Any, Any]:
    torch = pytest.importorskip("torch")
    nets = []
    for library in (torch, cr):
        net = getattr(library.nn, name)(**SMALL, **settings)
        if wrap:
            net = getattr(library.nn, wrap)(net, 2, norm=library.nn.LayerNorm(8))
        nets.append(net.double())
    theirs, ours = nets
    assert list(ours.state_dict()) == list(theirs.state_dict()) and repr(ours) == repr(theirs)
    ours.load_state_dict({key: cr.from_numpy(value.numpy()) for key, value in theirs.state_dict().items()})
    return torch, theirs, ours


def assert_same(torch: Any, theirs: Any, ours: Any, arrays: list[np.ndarray], **masks: Any) -> None:
    """Outputs and all gradients; masks that are arrays become tensors."""
    results = []
    for net, make in ((theirs, torch.tensor), (ours, double)):
        tensors = [make(a, requires_grad=True) for a in arrays]
        given = {name: make(mask) if isinstance(mask, np.ndarray) else mask for name, mask in masks.items()}
        out = net(*tensors, **given)
        (out * make(normal(*out.shape))).sum().backward()
        parameters = dict(net.named_parameters())
        results.append(
            {"out": out.detach().numpy()}
            | {name: parameters[name].grad.numpy() for name in sorted(parameters)}
            | {f"input {i}": tensor.grad.numpy() for i, tensor in enumerate(tensors)}
        )
    for name, expected in results[0].items():
        np.testing.assert_allclose(results[1][name], expected, rtol=1e-7, atol=1e-10, err_msg=name)


CAUSAL = np.triu(np.full((4, 4), -np.inf), 1)
PADDING = np.array([[False, False, False, True], [False] * 4, [False, False, True, True]])


def shaped(settings: dict[str, Any], length: int, seed: int = 0) -> np.ndarray:
    x = normal(length, 3, 8, seed=seed)
    return np.ascontiguousarray(np.swapaxes(x, 0, 1)) if settings.get("batch_first") else x


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("wrap", ["", "TransformerEncoder"])
def test_the_encoder_is_pytorchs(wrap: str, settings: dict[str, Any]) -> None:
    torch, *nets = pair("TransformerEncoderLayer", wrap, **settings)
    x = shaped(settings, 4)
    assert_same(torch, *nets, [x])
    assert_same(torch, *nets, [x], src_key_padding_mask=PADDING)
    name = "mask" if wrap else "src_mask"
    assert_same(torch, *nets, [x], **{name: CAUSAL, "is_causal": True})
    assert_same(torch, *nets, [x], **{name: CAUSAL})


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("wrap", ["", "TransformerDecoder"])
def test_the_decoder_is_pytorchs(wrap: str, settings: dict[str, Any]) -> None:
    torch, *nets = pair("TransformerDecoderLayer", wrap, **settings)
    arrays = [shaped(settings, 4), shaped(settings, 5, seed=1)]
    assert_same(torch, *nets, arrays)
    assert_same(torch, *nets, arrays, tgt_mask=CAUSAL, memory_mask=normal(4, 5), tgt_key_padding_mask=np.where(PADDING, -9.0, 0.0))  # noqa: E501  # fmt: skip
    assert_same(torch, *nets, arrays, memory_key_padding_mask=np.arange(15).reshape(3, 5) % 5 == 4)


@pytest.mark.parametrize("settings", SETTINGS[:3], ids=str)
def test_encoder_and_decoder_together_are_pytorchs(settings: dict[str, Any]) -> None:
    torch, *nets = pair("Transformer", num_encoder_layers=2, num_decoder_layers=1, **settings)
    assert_same(torch, *nets, [shaped(settings, 5), shaped(settings, 4, seed=1)], tgt_mask=CAUSAL, tgt_is_causal=True)


def test_an_activation_may_be_a_function() -> None:
    torch, *nets = pair("TransformerEncoderLayer", activation=lambda x: x * x)
    assert_same(torch, *nets, [normal(4, 3, 8)])


def test_the_causal_mask_is_minus_infinity_above_the_diagonal() -> None:
    mask = nn.Transformer.generate_square_subsequent_mask(3)
    np.testing.assert_array_equal(mask.numpy(), np.triu(np.full((3, 3), -np.inf), 1))
    assert nn.Transformer.generate_square_subsequent_mask(3, dtype=cr.float64).dtype == cr.float64


@pytest.mark.parametrize("is_causal", [True, None])
def test_with_the_causal_mask_nothing_depends_on_what_comes_later(is_causal: bool | None) -> None:
    net = nn.TransformerEncoder(nn.TransformerEncoderLayer(**SMALL, batch_first=True), 2)
    mask = nn.Transformer.generate_square_subsequent_mask(4)
    x = normal(1, 4, 8).astype(np.float32)
    before = net(cr.from_numpy(x), mask, is_causal=is_causal).detach().numpy()
    x[0, 2:] += 1
    after = net(cr.from_numpy(x), mask, is_causal=is_causal).detach().numpy()
    np.testing.assert_allclose(before[:, :2], after[:, :2], atol=1e-6)
    assert np.abs(before[:, 2:] - after[:, 2:]).max() > 1e-2


def test_layers_of_a_stack_are_copies_with_parameters_of_their_own() -> None:
    layer = nn.TransformerEncoderLayer(**SMALL)
    net = nn.TransformerEncoder(layer, 2)
    weights = [layer.linear1.weight, *(each.linear1.weight for each in net.layers)]
    assert len({id(w) for w in weights}) == 3
    np.testing.assert_array_equal(weights[0].detach().numpy(), weights[2].detach().numpy())


def test_gradients_by_finite_differences() -> None:
    net = nn.Transformer(4, 2, 1, 1, 6, dropout=0.0, activation="gelu").double()
    src, tgt = double(normal(3, 1, 4), True), double(normal(2, 1, 4), True)
    assert gradcheck(lambda a, b: net(a, b), (src, tgt))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: nn.Transformer(8, 2, 1, 1, 8)(cr.ones(4, 2, 8), cr.ones(4, 3, 8)), "batch number"),
        (lambda: nn.Transformer(8, 2, 1, 1, 8)(cr.ones(4, 2, 8), cr.ones(4, 2, 6)), "d_model=8"),
        (lambda: nn.TransformerEncoderLayer(8, 2, activation="cube"), "relu/gelu, not cube"),
    ],
)
def test_what_does_not_fit_is_named(call: Any, words: str) -> None:
    with pytest.raises(RuntimeError, match=words):
        call()
