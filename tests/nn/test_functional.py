"""Functions of nn.functional and nn.init: dropout, embedding, losses, initial values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.nn import functional as F


def uniform(*shape: int, low: float = 0.0, high: float = 1.0) -> np.ndarray:
    return np.random.uniform(low, high, shape)


def double(array: Any, requires_grad: bool = False) -> cr.Tensor:
    return cr.tensor(array, dtype=cr.float64, requires_grad=requires_grad)


def test_dropout_scales_what_it_keeps_and_does_nothing_in_evaluation() -> None:
    cr.manual_seed(0)
    x = cr.ones(10_000)
    y = F.dropout(x, 0.25).numpy()
    assert set(np.unique(y)) == {np.float32(0), np.float32(1 / 0.75)}
    assert abs(np.mean(y == 0) - 0.25) < 0.02
    assert F.dropout(x, 0.25, training=False) is x
    assert not F.dropout(x, 1.0).numpy().any()
    with pytest.raises(ValueError, match="between 0 and 1"):
        nn.Dropout(1.5)


def test_the_gradient_of_dropout_is_its_mask() -> None:
    x = cr.ones(100, requires_grad=True)
    y = nn.Dropout(0.5)(x)
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), y.detach().numpy())


def test_dropout2d_drops_whole_channels() -> None:
    y = F.dropout2d(cr.ones(4, 8, 3, 3), 0.5).numpy().reshape(32, 9)
    assert all(len(set(channel)) == 1 for channel in y) and 0 < (y[:, 0] == 0).sum() < 32


def test_alpha_dropout_keeps_mean_and_variance() -> None:
    cr.manual_seed(1)
    y = F.alpha_dropout(cr.randn(100_000), 0.3, training=True).numpy()
    assert abs(y.mean()) < 0.02 and abs(y.std() - 1) < 0.02


def test_embedding_gradients_add_up_and_skip_the_padding_row() -> None:
    layer = nn.Embedding(5, 2, padding_idx=0)
    assert not layer.weight.array[0].any()
    layer(cr.tensor([[0, 2], [2, 4]])).sum().backward()
    np.testing.assert_array_equal(layer.weight.grad.numpy()[:, 0], [0, 0, 2, 0, 1])


def test_embedding_divides_gradients_by_frequency() -> None:
    weight = cr.ones(4, 2, requires_grad=True)
    F.embedding(cr.tensor([1, 1, 3]), weight, scale_grad_by_freq=True).sum().backward()
    np.testing.assert_array_equal(weight.grad.numpy()[:, 0], [0, 1, 0, 1])


def test_embedding_shortens_only_long_rows_that_are_used() -> None:
    weight = cr.tensor([[3.0, 4.0], [0.3, 0.4], [30.0, 40.0]])
    F.embedding(cr.tensor([0, 1]), weight, max_norm=1.0)
    np.testing.assert_allclose(weight.numpy(), [[0.6, 0.8], [0.3, 0.4], [30, 40]], rtol=1e-6)


def test_embedding_names_the_row_that_does_not_exist() -> None:
    with pytest.raises(IndexError, match="7 is no row of an embedding with 5 rows"):
        nn.Embedding(5, 2)(cr.tensor([1, 7]))


def test_one_hot_counts_classes_and_refuses_what_does_not_fit() -> None:
    assert F.one_hot(cr.tensor([[0], [2]])).tolist() == [[[1, 0, 0]], [[0, 0, 1]]]
    assert F.one_hot(cr.tensor([1]), 4).dtype == cr.int64
    with pytest.raises(RuntimeError, match="smaller than num_classes"):
        F.one_hot(cr.tensor([5]), 3)
    with pytest.raises(RuntimeError, match="non-negative"):
        F.one_hot(cr.tensor([-1]))


def test_binary_cross_entropy_of_certain_mistakes_is_100_and_has_a_finite_gradient() -> None:
    x = cr.tensor([0.0, 1.0], requires_grad=True)
    loss = F.binary_cross_entropy(x, cr.tensor([1.0, 0.0]))
    loss.backward()
    assert loss.item() == 100 and np.isfinite(x.grad.numpy()).all()
    with pytest.raises(RuntimeError, match="between 0 and 1"):
        F.binary_cross_entropy(cr.tensor([1.5]), cr.tensor([1.0]))
    with pytest.raises(ValueError, match="must be the same"):
        F.binary_cross_entropy(cr.tensor([0.5]), cr.ones(2))


def test_logits_do_not_overflow() -> None:
    x = cr.tensor([1000.0, -1000.0], requires_grad=True)
    loss = F.binary_cross_entropy_with_logits(x, cr.tensor([0.0, 1.0]))
    loss.backward()
    assert loss.item() == 1000
    np.testing.assert_allclose(x.grad.numpy(), [0.5, -0.5])


def test_a_target_of_another_shape_is_warned_about() -> None:
    with pytest.warns(UserWarning, match="broadcasting"):
        F.mse_loss(cr.ones(3), cr.ones(3, 1))


def test_unknown_reductions_are_refused() -> None:
    with pytest.raises(ValueError, match="average"):
        F.mse_loss(cr.ones(1), cr.ones(1), reduction="average")


LOSSES: dict[str, tuple[Any, ...]] = {
    "MSELoss": ((), ("n", "n")),
    "L1Loss": ((), ("n", "n")),
    "SmoothL1Loss": ((), ("n", "n")),
    "HuberLoss": ((), ("n", "n")),
    "BCELoss": ((), ("p", "p")),
    "BCEWithLogitsLoss": ((), ("n", "p")),
    "KLDivLoss": ((), ("n", "p")),
    "CrossEntropyLoss": ((), ("n", "c")),
    "NLLLoss": ((), ("n", "c")),
    "MultiMarginLoss": ((), ("n", "c")),
    "MultiLabelSoftMarginLoss": ((), ("n", "b")),
    "MultiLabelMarginLoss": ((), ("n", "m")),
    "SoftMarginLoss": ((), ("n", "s")),
    "HingeEmbeddingLoss": ((), ("n", "s")),
    "PoissonNLLLoss": ((), ("n", "p")),
    "GaussianNLLLoss": ((), ("n", "n", "p")),
    "MarginRankingLoss": ((), ("n", "n", "s")),
    "CosineEmbeddingLoss": ((), ("n", "n", "s1")),
    "TripletMarginLoss": ((), ("n", "n", "n")),
}


def loss_input(kind: str, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return {
        "n": lambda: rng.standard_normal((6, 5)),
        "p": lambda: rng.uniform(0.05, 0.95, (6, 5)),
        "b": lambda: rng.integers(0, 2, (6, 5)).astype(float),
        "s": lambda: rng.choice([-1.0, 1.0], (6, 5)),
        "s1": lambda: rng.choice([-1.0, 1.0], 6),
        "c": lambda: rng.integers(0, 5, 6),
        "m": lambda: np.array([[1, 3, -1, 0, 2]] * 6),
    }[kind]()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_losses_and_their_gradients_equal_torchs(name: str, reduction: str) -> None:
    torch = pytest.importorskip("torch")
    _, kinds = LOSSES[name]
    arrays = [loss_input(kind, seed) for seed, kind in enumerate(kinds)]
    ours = [cr.tensor(a, dtype=a.dtype, requires_grad=i == 0) for i, a in enumerate(arrays)]
    theirs = [torch.tensor(a, requires_grad=i == 0) for i, a in enumerate(arrays)]
    got = getattr(nn, name)(reduction=reduction)(*ours)
    want = getattr(torch.nn, name)(reduction=reduction)(*theirs)
    np.testing.assert_allclose(got.detach().numpy(), want.detach().numpy(), rtol=1e-9, atol=1e-12)
    got.sum().backward()
    want.sum().backward()
    np.testing.assert_allclose(ours[0].grad.numpy(), theirs[0].grad.numpy(), rtol=1e-9, atol=1e-12)


def test_normalize_and_cosine_similarity_are_what_they_say() -> None:
    x, y = uniform(3, 4), uniform(3, 4)
    np.testing.assert_allclose(F.normalize(double(x)).numpy(), x / np.linalg.norm(x, axis=1, keepdims=True), rtol=1e-12)
    cosine = (x * y).sum(1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)
    np.testing.assert_allclose(F.cosine_similarity(double(x), double(y)).numpy(), cosine, rtol=1e-12)


def test_glu_needs_an_even_axis() -> None:
    with pytest.raises(RuntimeError, match="size 3"):
        F.glu(cr.ones(2, 3))


def test_softmax_without_an_axis_warns_and_guesses_as_pytorch() -> None:
    with pytest.warns(UserWarning, match="Implicit dimension"):
        out = F.softmax(cr.ones(2, 3))
    np.testing.assert_allclose(out.numpy().sum(1), 1, rtol=1e-6)


@pytest.mark.parametrize(
    ("fill", "deviation"),
    [
        (lambda t: nn.init.xavier_uniform_(t), np.sqrt(2 / 500)),
        (lambda t: nn.init.xavier_normal_(t, gain=2.0), 2 * np.sqrt(2 / 500)),
        (lambda t: nn.init.kaiming_uniform_(t, nonlinearity="relu"), np.sqrt(2 / 200)),
        (lambda t: nn.init.kaiming_normal_(t, mode="fan_out", nonlinearity="relu"), np.sqrt(2 / 300)),
        (lambda t: nn.init.trunc_normal_(t, std=0.5), 0.5),
        (lambda t: nn.init.uniform_(t, -1, 1), 1 / np.sqrt(3)),
    ],
)
def test_initial_values_have_their_mean_and_deviation(fill: Any, deviation: float) -> None:
    cr.manual_seed(0)
    weight = nn.Parameter(cr.empty(300, 200))
    assert fill(weight) is weight
    assert abs(weight.array.mean()) < 0.02 * deviation + 0.01 * deviation
    assert abs(weight.array.std() / deviation - 1) < 0.02


def test_orthogonal_weights_are_orthogonal_both_ways_round() -> None:
    for shape in ((3, 8), (8, 3), (4, 2, 3)):
        matrix = nn.init.orthogonal_(cr.empty(*shape)).numpy().reshape(shape[0], -1)
        small = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
        np.testing.assert_allclose(small, np.eye(len(small)), atol=1e-6)


def test_initial_values_need_two_axes_and_a_known_nonlinearity() -> None:
    with pytest.raises(ValueError, match="fewer than 2 dimensions"):
        nn.init.xavier_uniform_(cr.empty(3))
    with pytest.raises(ValueError, match="Unsupported nonlinearity"):
        nn.init.calculate_gain("softmax")


@pytest.mark.parametrize("name", [n for n in nn.activation.__all__ if n not in ("RReLU", "Threshold", "Softmax2d")])
def test_activation_modules_equal_torchs(name: str) -> None:
    torch = pytest.importorskip("torch")
    options = {"dim": -1} if "oftm" in name or "LogSoftmax" in name else {}
    x = np.random.default_rng(0).standard_normal((4, 6)).astype("f4") * 3
    ours, theirs = getattr(nn, name)(**options), getattr(torch.nn, name)(**options)
    got, want = ours(cr.tensor(x)), theirs(torch.tensor(x))
    np.testing.assert_allclose(got.detach().numpy(), want.detach().numpy(), rtol=1e-5, atol=1e-6)
    assert repr(ours) == repr(theirs)
