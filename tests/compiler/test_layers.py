"""Every layer and loss of `nn` in a compiled training step: losses, parameters and buffers are those of eager steps."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.compiler import TraceError, compile

pytestmark = pytest.mark.usefixtures("numpy_only")

random = np.random.default_rng(0)


def numbers(*shape: int) -> Any:
    return cr.from_numpy(random.normal(size=shape))


def positive(*shape: int) -> Any:
    return cr.from_numpy(random.uniform(0.1, 0.9, size=shape))


def classes(count: int, *shape: int) -> Any:
    return cr.from_numpy(random.integers(0, count, shape))


def signs(*shape: int) -> Any:
    return cr.from_numpy(random.choice([-1.0, 1.0], shape))


def causal(length: int) -> Any:
    return nn.Transformer.generate_square_subsequent_mask(length, dtype=cr.float64)


IMAGE = (2, 4, 6, 6)
WEIGHTS = positive(4)
# (module, inputs): what a layer is called with
LAYERS: dict[str, tuple[Callable[[], Any], tuple[Any, ...]]] = {
    "Linear": (lambda: nn.Linear(4, 3), (numbers(5, 4),)),
    "Linear without bias": (lambda: nn.Linear(4, 3, bias=False), (numbers(2, 5, 4),)),
    "Bilinear": (lambda: nn.Bilinear(3, 4, 2), (numbers(5, 3), numbers(5, 4))),
    "Identity": (nn.Identity, (numbers(5, 4),)),
    "Embedding": (lambda: nn.Embedding(7, 3, padding_idx=0), (classes(7, 2, 5),)),
    "Embedding with a norm": (lambda: nn.Embedding(7, 3, scale_grad_by_freq=True), (classes(7, 2, 5),)),
    "EmbeddingBag": (lambda: nn.EmbeddingBag(7, 3, mode="mean"), (classes(7, 4, 5),)),
    "EmbeddingBag of maxima": (lambda: nn.EmbeddingBag(7, 3, mode="max", padding_idx=0), (classes(7, 4, 5),)),
    "EmbeddingBag of maxima of unequal bags": (
        lambda: nn.EmbeddingBag(7, 3, mode="max", padding_idx=0),
        (classes(7, 9), cr.tensor([0, 4, 4, 6])),
    ),
    "EmbeddingBag of sums": (
        lambda: nn.EmbeddingBag(7, 3, mode="sum"),
        (classes(7, 9), cr.tensor([0, 2, 6])),
    ),
    "Flatten": (nn.Flatten, (numbers(*IMAGE),)),
    "Unflatten": (lambda: nn.Unflatten(1, (2, 2)), (numbers(*IMAGE),)),
    "Fold": (lambda: nn.Fold((4, 5), (2, 2)), (numbers(2, 12, 12),)),
    "Unfold": (lambda: nn.Unfold((2, 3), padding=1), (numbers(*IMAGE),)),
    "PixelShuffle": (lambda: nn.PixelShuffle(2), (numbers(*IMAGE),)),
    "PixelUnshuffle": (lambda: nn.PixelUnshuffle(2), (numbers(*IMAGE),)),
    "ChannelShuffle": (lambda: nn.ChannelShuffle(2), (numbers(*IMAGE),)),
    "Conv1d": (lambda: nn.Conv1d(4, 3, 3, stride=2, padding=1), (numbers(2, 4, 9),)),
    "Conv2d": (lambda: nn.Conv2d(4, 6, 3, padding="same", groups=2), (numbers(*IMAGE),)),
    "Conv2d circular": (lambda: nn.Conv2d(4, 3, 3, padding=1, padding_mode="circular", dilation=2), (numbers(*IMAGE),)),
    "Conv2d depthwise": (lambda: nn.Conv2d(4, 4, 3, groups=4, bias=False), (numbers(*IMAGE),)),
    "Conv3d": (lambda: nn.Conv3d(2, 3, 2), (numbers(2, 2, 4, 4, 4),)),
    "ConvTranspose1d": (lambda: nn.ConvTranspose1d(4, 3, 3, stride=2, output_padding=1), (numbers(2, 4, 5),)),
    "ConvTranspose2d": (lambda: nn.ConvTranspose2d(4, 3, 3, stride=2, padding=1), (numbers(*IMAGE),)),
    "ConvTranspose3d": (lambda: nn.ConvTranspose3d(2, 3, 2), (numbers(1, 2, 3, 3, 3),)),
    "MaxPool1d": (lambda: nn.MaxPool1d(3, stride=2), (numbers(2, 4, 9),)),
    "MaxPool2d": (lambda: nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True), (numbers(*IMAGE),)),
    "MaxPool3d": (lambda: nn.MaxPool3d(2), (numbers(1, 2, 4, 4, 4),)),
    "AvgPool1d": (lambda: nn.AvgPool1d(3), (numbers(2, 4, 9),)),
    "AvgPool2d": (lambda: nn.AvgPool2d(2, padding=1, count_include_pad=False), (numbers(*IMAGE),)),
    "AvgPool3d": (lambda: nn.AvgPool3d(2), (numbers(1, 2, 4, 4, 4),)),
    "LPPool1d": (lambda: nn.LPPool1d(2, 3), (positive(2, 4, 9),)),
    "LPPool2d": (lambda: nn.LPPool2d(2, 2), (positive(*IMAGE),)),
    "LPPool3d": (lambda: nn.LPPool3d(2, 2), (positive(1, 2, 4, 4, 4),)),
    "AdaptiveAvgPool1d": (lambda: nn.AdaptiveAvgPool1d(4), (numbers(2, 4, 9),)),
    "AdaptiveAvgPool2d": (lambda: nn.AdaptiveAvgPool2d((3, 4)), (numbers(*IMAGE),)),
    "AdaptiveAvgPool3d": (lambda: nn.AdaptiveAvgPool3d(2), (numbers(1, 2, 5, 4, 3),)),
    "AdaptiveMaxPool1d": (lambda: nn.AdaptiveMaxPool1d(4), (numbers(2, 4, 9),)),
    "AdaptiveMaxPool2d": (lambda: nn.AdaptiveMaxPool2d((3, 4)), (numbers(*IMAGE),)),
    "AdaptiveMaxPool3d": (lambda: nn.AdaptiveMaxPool3d(2), (numbers(1, 2, 5, 4, 3),)),
    "FractionalMaxPool2d": (lambda: nn.FractionalMaxPool2d(2, output_size=3), (numbers(*IMAGE),)),
    "FractionalMaxPool3d": (lambda: nn.FractionalMaxPool3d(2, output_size=2), (numbers(1, 2, 5, 5, 5),)),
    "MaxUnpool1d": (lambda: Unpool(1), (numbers(2, 4, 8),)),
    "MaxUnpool2d": (lambda: Unpool(2), (numbers(*IMAGE),)),
    "MaxUnpool3d": (lambda: Unpool(3), (numbers(1, 2, 4, 4, 4),)),
    "Upsample nearest": (lambda: nn.Upsample(scale_factor=2), (numbers(*IMAGE),)),
    "Upsample bilinear": (lambda: nn.Upsample(size=(9, 7), mode="bilinear"), (numbers(*IMAGE),)),
    "Upsample bicubic": (lambda: nn.Upsample(size=(9, 7), mode="bicubic", align_corners=True), (numbers(*IMAGE),)),
    "UpsamplingNearest2d": (lambda: nn.UpsamplingNearest2d(scale_factor=2), (numbers(*IMAGE),)),
    "UpsamplingBilinear2d": (lambda: nn.UpsamplingBilinear2d(scale_factor=2), (numbers(*IMAGE),)),
    **{
        f"{kind}Pad{n}d": (
            lambda kind=kind, n=n: getattr(nn, f"{kind}Pad{n}d")(1, *([2.0] if kind == "Constant" else [])),
            (numbers(1, 2, *[4] * n),),
        )
        for kind in ("Circular", "Constant", "Reflection", "Replication", "Zero")
        for n in (1, 2, 3)
    },
    "BatchNorm1d": (lambda: nn.BatchNorm1d(4), (numbers(5, 4),)),
    "BatchNorm2d": (lambda: nn.BatchNorm2d(4, momentum=None), (numbers(*IMAGE),)),
    "BatchNorm3d": (lambda: nn.BatchNorm3d(2, affine=False), (numbers(2, 2, 3, 3, 3),)),
    "InstanceNorm1d": (lambda: nn.InstanceNorm1d(4, track_running_stats=True), (numbers(2, 4, 9),)),
    "InstanceNorm2d": (lambda: nn.InstanceNorm2d(4, affine=True), (numbers(*IMAGE),)),
    "InstanceNorm3d": (lambda: nn.InstanceNorm3d(2), (numbers(2, 2, 3, 3, 3),)),
    "LayerNorm": (lambda: nn.LayerNorm((6, 6)), (numbers(*IMAGE),)),
    "RMSNorm": (lambda: nn.RMSNorm(6), (numbers(*IMAGE),)),
    "GroupNorm": (lambda: nn.GroupNorm(2, 4), (numbers(*IMAGE),)),
    "LocalResponseNorm": (lambda: nn.LocalResponseNorm(2), (numbers(*IMAGE),)),
    **{
        name: (getattr(nn, name), (numbers(5, 4),))
        for name in (
            "CELU ELU GELU Hardshrink Hardsigmoid Hardswish Hardtanh LeakyReLU LogSigmoid Mish PReLU ReLU ReLU6 RReLU "
            "SELU SiLU Sigmoid Softplus Softshrink Softsign Tanh Tanhshrink GLU Dropout AlphaDropout"
        ).split()
    },
    "Softmax": (lambda: nn.Softmax(-1), (numbers(5, 4),)),
    "LogSoftmax": (lambda: nn.LogSoftmax(0), (numbers(5, 4),)),
    "Softmin": (lambda: nn.Softmin(-1), (numbers(5, 4),)),
    "Softmax2d": (nn.Softmax2d, (numbers(*IMAGE),)),
    "Threshold": (lambda: nn.Threshold(0.1, 2.0), (numbers(5, 4),)),
    "Dropout1d": (nn.Dropout1d, (numbers(2, 4, 9),)),
    "Dropout2d": (nn.Dropout2d, (numbers(*IMAGE),)),
    "Dropout3d": (nn.Dropout3d, (numbers(2, 2, 3, 3, 3),)),
    "FeatureAlphaDropout": (nn.FeatureAlphaDropout, (numbers(*IMAGE),)),
    "RNN": (lambda: nn.RNN(4, 5, num_layers=2, nonlinearity="relu"), (numbers(6, 2, 4),)),
    "LSTM": (lambda: nn.LSTM(4, 5, num_layers=2, bidirectional=True, dropout=0.2), (numbers(6, 2, 4),)),
    "LSTM with a state": (
        lambda: nn.LSTM(4, 5, batch_first=True, proj_size=3),
        (numbers(2, 6, 4), (numbers(1, 2, 3), numbers(1, 2, 5))),
    ),
    "LSTM of packed sequences": (lambda: Packed(nn.LSTM(4, 5)), (numbers(6, 3, 4),)),
    "GRU": (lambda: nn.GRU(4, 5, num_layers=2, bidirectional=True), (numbers(6, 2, 4),)),
    "RNNCell": (lambda: nn.RNNCell(4, 5), (numbers(2, 4),)),
    "LSTMCell": (lambda: nn.LSTMCell(4, 5), (numbers(2, 4),)),
    "GRUCell": (lambda: nn.GRUCell(4, 5), (numbers(2, 4),)),
    "MultiheadAttention": (lambda: Itself(nn.MultiheadAttention(8, 2, dropout=0.1)), (numbers(5, 2, 8),)),
    "MultiheadAttention with masks": (
        lambda: Itself(nn.MultiheadAttention(8, 2, batch_first=True), attn_mask=causal(5), need_weights=False),
        (numbers(2, 5, 8),),
    ),
    "TransformerEncoderLayer": (
        lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True),
        (numbers(2, 5, 8),),
    ),
    "TransformerDecoderLayer": (
        lambda: nn.TransformerDecoderLayer(8, 2, 16, dropout=0.0, activation="gelu"),
        (numbers(5, 2, 8), numbers(3, 2, 8)),
    ),
    "TransformerEncoder": (
        lambda: Given(
            nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16), 2, enable_nested_tensor=False), causal(5)
        ),
        (numbers(5, 2, 8),),
    ),
    "TransformerDecoder": (
        lambda: nn.TransformerDecoder(nn.TransformerDecoderLayer(8, 2, 16), 2, nn.LayerNorm(8)),
        (numbers(5, 2, 8), numbers(3, 2, 8)),
    ),
    "Transformer": (
        lambda: nn.Transformer(8, 2, 1, 1, 16, batch_first=True),
        (numbers(2, 3, 8), numbers(2, 5, 8)),
    ),
    "Sequential": (lambda: nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.BatchNorm1d(3)), (numbers(5, 4),)),
    "spectral_norm": (lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(4, 3)), (numbers(5, 4),)),
    "weight_norm": (lambda: nn.utils.parametrizations.weight_norm(nn.Linear(4, 3)), (numbers(5, 4),)),
    "orthogonal": (lambda: nn.utils.parametrizations.orthogonal(nn.Linear(4, 3)), (numbers(5, 4),)),
    "AdaptiveLogSoftmaxWithLoss": (
        lambda: nn.AdaptiveLogSoftmaxWithLoss(4, 9, [3, 6]),
        (numbers(5, 4), classes(9, 5)),
    ),
    "LinearCrossEntropyLoss": (lambda: nn.LinearCrossEntropyLoss(4, 3), (numbers(5, 4), classes(3, 5))),
    # ----- losses -----
    "L1Loss": (nn.L1Loss, (numbers(5, 4), numbers(5, 4))),
    "MSELoss": (lambda: nn.MSELoss(reduction="sum"), (numbers(5, 4), numbers(5, 4))),
    "HuberLoss": (nn.HuberLoss, (numbers(5, 4), numbers(5, 4))),
    "SmoothL1Loss": (nn.SmoothL1Loss, (numbers(5, 4), numbers(5, 4))),
    "CrossEntropyLoss": (
        lambda: nn.CrossEntropyLoss(weight=WEIGHTS, ignore_index=2, label_smoothing=0.1),
        (numbers(5, 4), classes(4, 5)),
    ),
    "CrossEntropyLoss of probabilities": (nn.CrossEntropyLoss, (numbers(5, 4), numbers(5, 4).softmax(-1))),
    "NLLLoss": (nn.NLLLoss, (numbers(5, 4, 3), classes(4, 5, 3))),
    "BCELoss": (nn.BCELoss, (positive(5, 4), positive(5, 4))),
    "BCEWithLogitsLoss": (lambda: nn.BCEWithLogitsLoss(pos_weight=WEIGHTS), (numbers(5, 4), positive(5, 4))),
    "KLDivLoss": (lambda: nn.KLDivLoss(reduction="batchmean"), (numbers(5, 4), positive(5, 4))),
    "PoissonNLLLoss": (lambda: nn.PoissonNLLLoss(full=True), (numbers(5, 4), positive(5, 4) * 5)),
    "GaussianNLLLoss": (nn.GaussianNLLLoss, (numbers(5, 4), numbers(5, 4), positive(5, 4))),
    "CTCLoss": (
        nn.CTCLoss,
        (numbers(8, 2, 5).log_softmax(-1), classes(4, 2, 3) + 1, cr.tensor([8, 7]), cr.tensor([3, 2])),
    ),
    "CosineSimilarity": (nn.CosineSimilarity, (numbers(5, 4), numbers(5, 4))),
    "PairwiseDistance": (nn.PairwiseDistance, (numbers(5, 4), numbers(5, 4))),
    "CosineEmbeddingLoss": (nn.CosineEmbeddingLoss, (numbers(5, 4), numbers(5, 4), signs(5))),
    "HingeEmbeddingLoss": (nn.HingeEmbeddingLoss, (numbers(5, 4), signs(5, 4))),
    "MarginRankingLoss": (nn.MarginRankingLoss, (numbers(5), numbers(5), signs(5))),
    "MultiLabelMarginLoss": (nn.MultiLabelMarginLoss, (numbers(2, 4), cr.tensor([[3, 0, -1, 1], [1, -1, 2, 0]]))),
    "MultiLabelSoftMarginLoss": (nn.MultiLabelSoftMarginLoss, (numbers(5, 4), positive(5, 4).round())),
    "MultiMarginLoss": (nn.MultiMarginLoss, (numbers(5, 4), classes(4, 5))),
    "SoftMarginLoss": (nn.SoftMarginLoss, (numbers(5, 4), signs(5, 4))),
    "TripletMarginLoss": (nn.TripletMarginLoss, (numbers(5, 4), numbers(5, 4), numbers(5, 4))),
    "TripletMarginWithDistanceLoss": (
        nn.TripletMarginWithDistanceLoss,
        (numbers(5, 4), numbers(5, 4), numbers(5, 4)),
    ),
}
# what depends on values, or leaves values in the module -> what the message says
REFUSED: dict[str, tuple[Callable[[], Any], tuple[Any, ...], str]] = {
    "CTCLoss of targets in one row": (
        nn.CTCLoss,
        (numbers(8, 2, 5).log_softmax(-1), classes(4, 5) + 1, cr.tensor([8, 7]), cr.tensor([3, 2])),
        "int() of a traced value",
    ),
}
NO_LAYERS = set(
    "Buffer Container Module ModuleDict ModuleList Parameter ParameterDict ParameterList RNNBase RNNCellBase "
    "UninitializedBuffer UninitializedParameter".split()
)


class Unpool(nn.Module):
    """Pools, and puts the maxima back where they were."""

    def __init__(self, dimensions: int) -> None:
        super().__init__()
        self.pool = getattr(nn, f"MaxPool{dimensions}d")(2, return_indices=True)
        self.unpool = getattr(nn, f"MaxUnpool{dimensions}d")(2)

    def forward(self, x: Any) -> Any:
        return self.unpool(*self.pool(x))


class Itself(nn.Module):
    """Attention of a sequence to itself."""

    def __init__(self, attention: Any, **options: Any) -> None:
        super().__init__()
        self.attention = attention
        self.options = options

    def forward(self, x: Any) -> Any:
        return self.attention(x, x, x, **self.options)


class Given(nn.Module):
    """A layer with further arguments that stay."""

    def __init__(self, layer: Any, *rest: Any) -> None:
        super().__init__()
        self.layer = layer
        self.rest = rest

    def forward(self, x: Any) -> Any:
        return self.layer(x, *self.rest)


class Packed(nn.Module):
    """A recurrent layer over sequences of different lengths."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Any) -> Any:
        packed = nn.utils.rnn.pack_padded_sequence(x, [6, 4, 1])
        return nn.utils.rnn.pad_packed_sequence(self.layer(packed)[0])[0]


def built(build: Callable[[], Any]) -> Any:
    """The layer, with the same parameters each time."""
    cr.manual_seed(0)
    return build().double()


def floats(value: Any) -> list[Any]:
    """The tensors with derivatives in a result."""
    if isinstance(value, (tuple, list)):
        return [tensor for item in value for tensor in floats(item)]
    return [value] if isinstance(value, cr.Tensor) and value.is_floating_point() else []


def steps(module: Any, inputs: tuple[Any, ...], wrap: Any, count: int = 4) -> tuple[Any, list[Any], Any]:
    """The trained module, what each step returned, and the step."""
    given = [x.clone().requires_grad_() if isinstance(x, cr.Tensor) and x.is_floating_point() else x for x in inputs]
    trained = [*module.parameters(), *(x for x in given if isinstance(x, cr.Tensor) and x.requires_grad)]
    optimizer = optim.SGD(trained or [cr.zeros(1, requires_grad=True)], lr=0.01, momentum=0.9)

    def step(*args: Any) -> Any:
        optimizer.zero_grad()
        outs = floats(module(*args))
        loss = sum((out * cr.cos(out.detach())).sum() for out in outs)
        if loss.requires_grad:
            loss.backward()
        optimizer.step()
        return loss.detach(), [out.detach() for out in outs]

    run = wrap(step)
    cr.manual_seed(1)
    found = [array.numpy().copy() for _ in range(count) for array in floats(run(*given))]
    found += [x.detach().numpy() for x in given if isinstance(x, cr.Tensor)]
    return module, found, run


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_trains_compiled_as_it_does_eagerly(name: str) -> None:
    build, inputs = LAYERS[name]
    eager, expected, _ = steps(built(build), inputs, lambda step: step)
    drawn = cr.rand(3).tolist()
    compiled, found, run = steps(built(build), inputs, compile)
    assert run.traces == 1
    assert cr.rand(3).tolist() == drawn  # the stream goes on where eager steps leave it
    for got, want in zip(found, expected, strict=True):
        assert (got.shape, got.dtype) == (want.shape, want.dtype)
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)
    for (key, a), b in zip(eager.state_dict().items(), compiled.state_dict().values(), strict=True):
        np.testing.assert_allclose(b.numpy(), a.numpy(), rtol=1e-12, atol=1e-12, err_msg=key)
    eager.eval(), compiled.eval()
    again = compile(compiled)
    for a, b in zip(floats(eager(*inputs)), floats(again(*inputs)), strict=True):
        np.testing.assert_allclose(b.detach().numpy(), a.detach().numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", REFUSED)
def test_a_layer_that_depends_on_values_says_so(name: str) -> None:
    build, inputs, message = REFUSED[name]
    module = built(build)
    with pytest.raises(TraceError, match=re.escape(message)):
        steps(module, inputs, compile)
    steps(module, inputs, lambda step: step)  # nothing is left of the trace


def test_every_layer_is_here() -> None:
    kinds = {name for name in dir(nn) if isinstance(getattr(nn, name), type)} - NO_LAYERS
    kinds = {kind for kind in kinds if not kind.startswith("Lazy") and kind != "NLLLoss2d"}
    covered = {kind for kind in kinds for name in LAYERS if name.partition(" ")[0] == kind}
    assert {"Upsample"} <= covered and kinds == covered


def pruned_twice(layer: Any) -> None:
    for _ in range(2):
        nn.utils.prune.ln_structured(layer, "weight", amount=1, n=2, dim=0)


@pytest.mark.parametrize(
    "change",
    [
        lambda layer: nn.utils.prune.l1_unstructured(layer, "weight", amount=8),
        pruned_twice,
        nn.utils.weight_norm,
        nn.utils.spectral_norm,
    ],
    ids=["pruned", "pruned twice", "weight_norm", "spectral_norm"],
)
@pytest.mark.parametrize("whole", [True, False], ids=["step", "module"])
def test_what_hooks_compute_before_a_forward_pass_is_computed_by_the_program(change: Any, whole: bool) -> None:
    x = cr.tensor(np.random.default_rng(0).normal(size=(5, 4)), dtype=cr.float64)

    def train(wrap: Any) -> list[Any]:
        cr.manual_seed(0)
        net = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).double()
        layer: Any = net[0]
        change(layer)
        optimizer = cr.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
        called = net if whole else wrap(net)

        def step(x: Any) -> Any:
            optimizer.zero_grad()
            loss = (called(x) ** 2).sum()
            if not whole:  # the weight of this forward pass, with its graph
                loss = loss + (layer.weight**2).sum()
            loss.backward()
            optimizer.step()
            return loss

        run = wrap(step) if whole else step
        found: list[Any] = []
        for _ in range(4):
            found += [run(x).item(), layer.weight.detach().numpy().copy()]
        assert getattr(run, "traces", 1) == 1
        return [*found, *(value.numpy() for value in net.state_dict().values()), net.eval()(x).detach().numpy()]

    for found, expected in zip(train(compile), train(lambda function: function), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-12)
