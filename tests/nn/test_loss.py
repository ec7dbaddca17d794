"""Losses over sequences, bags of embeddings, adaptive softmax; labels and arguments that do not fit."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.nn import functional as F


def double(array: Any, requires_grad: bool = False) -> cr.Tensor:
    return cr.tensor(array, dtype=cr.float64, requires_grad=requires_grad)


# ----- connectionist temporal classification ----------------------------------------------------------------------


def collapsed(path: tuple[int, ...], blank: int) -> list[int]:
    return [label for label, _ in itertools.groupby(path) if label != blank]


def likelihood(probabilities: np.ndarray, labels: list[int], blank: int) -> float:
    """The sum over all paths, one by one."""
    times, classes = probabilities.shape
    paths = itertools.product(range(classes), repeat=times)
    return sum(
        float(np.prod(probabilities[np.arange(times), path])) for path in paths if collapsed(path, blank) == labels
    )


def log_softmax(logits: np.ndarray) -> np.ndarray:
    return np.asarray(logits - np.log(np.exp(logits).sum(-1, keepdims=True)))


@pytest.mark.parametrize("blank", [0, 2])
@pytest.mark.parametrize(
    ("labels", "times"), [([1], 3), ([1, 1], 4), ([1, 3, 1], 5), ([], 3), ([3, 1], 2), ([1, 1, 1], 5)]
)
def test_ctc_is_the_likelihood_of_all_paths(labels: list[int], times: int, blank: int) -> None:
    log_probs = log_softmax(np.random.default_rng(times).standard_normal((times, 4)))
    found = F.ctc_loss(
        double(log_probs), cr.tensor(labels, dtype=cr.int64), (times,), (len(labels),), blank, reduction="none"
    )
    np.testing.assert_allclose(np.exp(-found.numpy()), likelihood(np.exp(log_probs), labels, blank), rtol=1e-10)


def batch() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    return rng.standard_normal((7, 4, 5)), rng.integers(1, 5, (4, 3)), np.array([7, 5, 3, 6]), np.array([3, 2, 0, 1])


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_ctc_of_a_batch_is_that_of_each_sequence(reduction: str) -> None:
    logits, labels, lengths, label_lengths = batch()
    log_probs = log_softmax(logits)
    each = np.array(
        [
            -np.log(likelihood(np.exp(log_probs[:t, i]), labels[i, :s].tolist(), 0))
            for i, (t, s) in enumerate(zip(lengths, label_lengths, strict=True))
        ]
    )
    wanted = {"none": each, "sum": each.sum(), "mean": (each / np.maximum(label_lengths, 1)).mean()}[reduction]
    flat = np.concatenate([row[:s] for row, s in zip(labels, label_lengths, strict=True)])
    for targets, where in ((labels, tuple(lengths.tolist())), (flat, cr.tensor(lengths))):
        found = nn.CTCLoss(reduction=reduction)(double(log_probs), cr.tensor(targets), where, cr.tensor(label_lengths))
        np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-10)


def test_ctc_through_log_softmax_has_true_first_and_second_derivatives() -> None:
    _, labels, lengths, label_lengths = batch()
    logits = double(batch()[0], requires_grad=True)

    def loss(x: Any) -> Any:
        return F.ctc_loss(x.log_softmax(2), cr.tensor(labels), tuple(lengths), tuple(label_lengths), reduction="sum")

    assert cr.autograd.gradcheck(loss, (logits,))
    assert cr.autograd.gradgradcheck(loss, (logits,))


def test_targets_too_long_for_their_inputs_are_infinite_or_zero() -> None:
    logits = double(np.zeros((2, 2, 3)), requires_grad=True)
    targets, lengths = cr.tensor([[1, 2, 1], [1, 2, 1]]), ((2, 2), (3, 2))
    losses = F.ctc_loss(logits.log_softmax(2), targets, *lengths, reduction="none")
    assert np.isinf(losses[0].item()) and np.isfinite(losses[1].item())
    losses = F.ctc_loss(logits.log_softmax(2), targets, *lengths, reduction="none", zero_infinity=True)
    assert losses[0].item() == 0
    losses.sum().backward()
    assert not logits.grad[:, 0].any() and logits.grad[:, 1].any()


def test_one_sequence_gives_one_number() -> None:
    log_probs = double(log_softmax(np.zeros((4, 3))))
    one = F.ctc_loss(log_probs, cr.tensor([1]), cr.tensor(4), cr.tensor(1), reduction="none")
    assert one.shape == ()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"blank": 3}, "blank"),
        ({"input_lengths": (5, 4)}, "at most 4"),
        ({"input_lengths": (4,)}, "batch_size"),
        ({"target_lengths": (2, 1)}, "at least 2"),
        ({"target_lengths": (-1, 1)}, "at least 0"),
        ({"targets": [1, 2, 1]}, "sum"),
        ({"targets": [[1], [7]]}, "label 7 .* 3 classes"),
    ],
)
def test_ctc_names_what_does_not_fit(changes: dict[str, Any], words: str) -> None:
    arguments = {"targets": [[1], [2]], "input_lengths": (4, 4), "target_lengths": (1, 1)} | changes
    arguments["targets"] = cr.tensor(arguments["targets"])
    with pytest.raises(RuntimeError, match=words):
        F.ctc_loss(cr.zeros(4, 2, 3), **arguments)


def test_ctc_of_no_times_is_refused() -> None:
    with pytest.raises(RuntimeError, match="empty"):
        F.ctc_loss(cr.zeros(0, 1, 3), cr.ones(1, 1, dtype=cr.int64), (0,), (1,))


@pytest.mark.parametrize("zero_infinity", [False, True])
def test_ctc_and_its_gradient_equal_torchs(zero_infinity: bool) -> None:
    torch = pytest.importorskip("torch")
    logits, labels, lengths, label_lengths = batch()
    log_probs = log_softmax(logits)
    ours, theirs = double(log_probs, requires_grad=True), torch.tensor(log_probs, requires_grad=True)
    got = F.ctc_loss(
        ours, cr.tensor(labels), tuple(lengths.tolist()), tuple(label_lengths.tolist()), zero_infinity=zero_infinity
    )
    want = torch.nn.functional.ctc_loss(
        theirs, *map(torch.tensor, (labels, lengths, label_lengths)), zero_infinity=zero_infinity
    )
    got.backward()
    want.backward()
    np.testing.assert_allclose(got.item(), want.item(), rtol=1e-12)
    np.testing.assert_allclose(ours.grad.numpy(), theirs.grad.numpy(), rtol=1e-9, atol=1e-12)


# ----- bags of embeddings -----------------------------------------------------------------------------------------

NUMBERS, OFFSETS = np.array([1, 2, 4, 5, 4, 3, 2, 0]), np.array([0, 3, 3, 5])


def bags_by_hand(table: np.ndarray, mode: str, weights: Any = None, padding: int | None = None) -> np.ndarray:
    rows = []
    for start, stop in itertools.pairwise([*OFFSETS, len(NUMBERS)]):
        kept = [i for i in range(start, stop) if NUMBERS[i] != padding]
        part = table[NUMBERS[kept]]
        if weights is not None:
            part = part * weights[kept, None]
        rows.append(getattr(np, mode)(part, axis=0) if kept else np.zeros(table.shape[1]))
    return np.stack(rows)


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@pytest.mark.parametrize("padding", [None, 2, 4])
def test_bags_are_reduced_one_by_one(mode: str, padding: int | None) -> None:
    table = np.random.default_rng(0).standard_normal((6, 3))
    weight = double(table, requires_grad=True)
    for offsets, last in ((OFFSETS, False), ([*OFFSETS, len(NUMBERS)], True)):
        found = F.embedding_bag(
            cr.tensor(NUMBERS), weight, cr.tensor(offsets), mode=mode, padding_idx=padding, include_last_offset=last
        )
        np.testing.assert_allclose(found.detach().numpy(), bags_by_hand(table, mode, padding=padding))
    assert (
        cr.autograd.gradcheck(
            lambda w: F.embedding_bag(cr.tensor(NUMBERS), w, cr.tensor(OFFSETS), mode=mode, padding_idx=padding),
            (weight,),
        )
        or padding is not None
    )


def test_bags_of_one_size_and_weights_of_samples() -> None:
    rng = np.random.default_rng(0)
    table, numbers, weights = rng.standard_normal((6, 3)), rng.integers(0, 6, (4, 2)), rng.standard_normal((4, 2))
    found = F.embedding_bag(cr.tensor(numbers), double(table), mode="sum", per_sample_weights=double(weights))
    np.testing.assert_allclose(found.numpy(), (table[numbers] * weights[..., None]).sum(1))
    assert cr.autograd.gradcheck(
        lambda t, w: F.embedding_bag(cr.tensor(numbers), t, mode="sum", per_sample_weights=w),
        (double(table, True), double(weights, True)),
    )


def test_equal_rows_of_a_bag_share_no_gradient() -> None:
    weight = double(np.ones((3, 1)), requires_grad=True)
    F.embedding_bag(cr.tensor([[0, 1, 2]]), weight, mode="max").sum().backward()
    assert weight.grad.tolist() == [[1.0], [0.0], [0.0]]


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"input": [[5]]}, RuntimeError, "takes value 5"),
        ({"input": [1]}, ValueError, "offsets"),
        ({"offsets": [0]}, ValueError, "2D"),
        ({"input": [1, 2], "offsets": [1]}, RuntimeError, "start from position 0"),
        ({"input": [1, 2], "offsets": [0, 3]}, RuntimeError, "greater than input"),
        ({"input": [1, 2, 0], "offsets": [0, 2, 1]}, RuntimeError, "decrease"),
        ({"mode": "median"}, ValueError, "median"),
        ({"padding_idx": 9}, RuntimeError, "got 9"),
        ({"per_sample_weights": [[1.0]]}, NotImplementedError, "sum"),
        ({"per_sample_weights": [1.0], "mode": "sum"}, ValueError, "same shape"),
        ({"mode": "max", "sparse": True}, ValueError, "sparse"),
        ({"mode": "max", "scale_grad_by_freq": True}, ValueError, "frequency"),
    ],
)
def test_bags_name_what_does_not_fit(arguments: dict[str, Any], error: Any, words: str) -> None:
    arguments = {"input": [[1]]} | arguments
    tensors = {k: cr.tensor(v) if isinstance(v, list) else v for k, v in arguments.items()}
    with pytest.raises(error, match=words):
        F.embedding_bag(weight=cr.zeros(3, 4), **tensors)


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_embedding_bag_equals_torchs(mode: str) -> None:
    torch = pytest.importorskip("torch")
    table = np.random.default_rng(0).standard_normal((6, 3))
    ours = nn.EmbeddingBag.from_pretrained(double(table), freeze=False, mode=mode, padding_idx=2)
    theirs = torch.nn.EmbeddingBag.from_pretrained(torch.tensor(table), freeze=False, mode=mode, padding_idx=2)
    got, want = ours(cr.tensor(NUMBERS), cr.tensor(OFFSETS)), theirs(torch.tensor(NUMBERS), torch.tensor(OFFSETS))
    (got**2).sum().backward()
    (want**2).sum().backward()
    np.testing.assert_allclose(got.detach().numpy(), want.detach().numpy(), rtol=1e-12)
    np.testing.assert_allclose(ours.weight.grad.numpy(), theirs.weight.grad.numpy(), rtol=1e-12)
    assert repr(ours) == repr(theirs)


def test_sparse_gradients_are_said_to_be_dense() -> None:
    layer = nn.Embedding(3, 2, sparse=True)
    with pytest.warns(UserWarning, match="dense"):
        layer(cr.tensor([0]))


# ----- adaptive softmax -------------------------------------------------------------------------------------------


def test_adaptive_softmax_is_a_distribution_and_its_own_loss() -> None:
    cr.manual_seed(0)
    layer = nn.AdaptiveLogSoftmaxWithLoss(16, 20, cutoffs=[4, 10, 15], div_value=2.0, head_bias=True)
    x, target = cr.randn(9, 16), cr.tensor([0, 3, 4, 9, 10, 14, 15, 19, 1])
    log_probs = layer.log_prob(x)
    np.testing.assert_allclose(log_probs.exp().sum(1).detach().numpy(), np.ones(9), rtol=1e-5)
    output, loss = layer(x, target)
    np.testing.assert_allclose(output.detach().numpy(), log_probs.detach().numpy()[np.arange(9), target.numpy()], 1e-5)
    np.testing.assert_allclose(loss.item(), -output.mean().item(), rtol=1e-6)
    np.testing.assert_array_equal(layer.predict(x).numpy(), log_probs.detach().numpy().argmax(1))
    single = layer(x[0], target[0])
    assert single.output.shape == () and single.output.item() == pytest.approx(output[0].item())


def test_adaptive_softmax_equals_torchs() -> None:
    torch = pytest.importorskip("torch")
    ours = nn.AdaptiveLogSoftmaxWithLoss(16, 20, cutoffs=[4, 10], head_bias=True)
    theirs = torch.nn.AdaptiveLogSoftmaxWithLoss(16, 20, cutoffs=[4, 10], head_bias=True)
    assert [n for n, _ in ours.named_parameters()] == [n for n, _ in theirs.named_parameters()]
    theirs.load_state_dict({name: torch.tensor(p.detach().numpy()) for name, p in ours.state_dict().items()})
    x, target = np.random.default_rng(0).standard_normal((8, 16), np.float32), np.arange(8) * 2
    got, want = ours(cr.tensor(x), cr.tensor(target)), theirs(torch.tensor(x), torch.tensor(target))
    got.loss.backward()
    want.loss.backward()
    np.testing.assert_allclose(got.output.detach().numpy(), want.output.detach().numpy(), rtol=1e-5)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-4, atol=1e-6)


def test_adaptive_softmax_names_what_does_not_fit() -> None:
    for cutoffs in ([], [5, 3], [0, 3], [20], [3, 3]):
        with pytest.raises(ValueError, match="cutoffs"):
            nn.AdaptiveLogSoftmaxWithLoss(4, 20, cutoffs)
    layer = nn.AdaptiveLogSoftmaxWithLoss(4, 20, [5])
    with pytest.raises(RuntimeError, match=r"\[0, 19\]"):
        layer(cr.ones(1, 4), cr.tensor([20]))
    with pytest.raises(RuntimeError, match="batch dimension"):
        layer(cr.ones(2, 4), cr.tensor([1]))
    with pytest.raises(RuntimeError, match="2D input"):
        layer(cr.ones(4), cr.tensor([1]))


# ----- labels and shapes ------------------------------------------------------------------------------------------

X = np.zeros((3, 4), np.float32)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda x: F.cross_entropy(x, cr.tensor([0, 4, 1])), IndexError, "4 .*4 classes"),
        (lambda x: F.nll_loss(x, cr.tensor([0, -1, 1])), IndexError, "-1 .*4 classes"),
        (lambda x: F.multi_margin_loss(x, cr.tensor([0, 7, 1])), RuntimeError, "label 7 with 4 classes"),
        (lambda x: F.multi_margin_loss(x, cr.tensor([0, 1])), RuntimeError, "size"),
        (lambda x: F.multi_margin_loss(x, cr.tensor([0, 1, 2]), weight=cr.ones(3)), RuntimeError, "weight"),
        (lambda x: F.multilabel_margin_loss(x, cr.tensor([[0, 4, -1, 1]] * 3)), RuntimeError, "label 4 with 4"),
        (lambda x: F.margin_ranking_loss(x, x, cr.ones(3)), RuntimeError, "same dimension"),
        (lambda x: F.triplet_margin_loss(x, x, cr.ones(4)), RuntimeError, "number of dimensions"),
        (lambda x: F.linear_cross_entropy(x, cr.ones(5, 4), cr.tensor([0, 5, 1])), IndexError, "5 classes"),
    ],
)
def test_losses_name_labels_and_shapes_that_do_not_fit(call: Any, error: Any, words: str) -> None:
    with pytest.raises(error, match=words):
        call(cr.tensor(X))


def test_linear_cross_entropy_is_the_cross_entropy_of_a_linear_layer() -> None:
    rng = np.random.default_rng(0)
    x, w, b = (double(rng.standard_normal(s)) for s in ((4, 3), (5, 2, 3), (5, 2)))
    target = cr.tensor(rng.integers(0, 5, (4, 2)))
    logits = F.linear(x, w.reshape(10, 3), b.reshape(10)).reshape(4, 5, 2)
    found = F.linear_cross_entropy(x, w, target, linear_bias=b)
    np.testing.assert_allclose(found.item(), F.cross_entropy(logits, target).item(), rtol=1e-12)
    layer = nn.LinearCrossEntropyLoss(3, 5, out_features=(2,), bias=True)
    assert layer(x.float(), target).shape == ()


@pytest.mark.filterwarnings("ignore")
def test_every_loss_of_torch_exists_with_its_arguments() -> None:
    torch = pytest.importorskip("torch")
    import inspect

    for name in dir(torch.nn):
        if name.endswith("Loss") or name in ("NLLLoss2d", "EmbeddingBag", "Embedding", "CosineSimilarity"):
            theirs = inspect.signature(getattr(torch.nn, name).__init__)
            ours = inspect.signature(getattr(nn, name).__init__)
            assert [(p.name, p.default) for p in ours.parameters.values()] == [
                (p.name, p.default) for p in theirs.parameters.values()
            ], name


def test_a_variance_may_be_shared_along_any_one_axis() -> None:
    rng = np.random.default_rng(0)
    x, y, variance = rng.standard_normal((4, 3, 2)), rng.standard_normal((4, 3, 2)), rng.random((4, 1, 2)) + 0.5
    found = F.gaussian_nll_loss(double(x), double(y), double(variance))
    np.testing.assert_allclose(found.item(), np.mean(0.5 * (np.log(variance) + (x - y) ** 2 / variance)))
    with pytest.raises(ValueError, match="incorrect size"):
        F.gaussian_nll_loss(double(x), double(y), double(variance[:, :, :1]))


def test_settings_that_no_loss_can_have_are_refused() -> None:
    with pytest.raises(TypeError, match="delta"):
        nn.HuberLoss(delta=1j)
    with pytest.raises(RuntimeError, match="label_smoothing"):
        nn.LinearCrossEntropyLoss(3, 2, label_smoothing=2.0)
    with pytest.raises(RuntimeError, match="weight shape"):
        nn.LinearCrossEntropyLoss(3, 2, weight=cr.ones(3))
    with pytest.raises(RuntimeError, match="negative dimension"):
        nn.Embedding(-1, 3)


@pytest.mark.parametrize("distance", [0.0, 0.3, 1.0, 2.5, 1e30, np.inf])
def test_a_robust_loss_has_the_slope_of_its_line_however_far_the_target_is(distance: float) -> None:
    for loss, near in ((F.huber_loss, {"delta": 0.5}), (F.smooth_l1_loss, {"beta": 0.5})):
        x = cr.tensor([distance, -distance], requires_grad=True)
        found = loss(x, cr.zeros(2), reduction="none", **near)
        found.sum().backward()
        line, scale = (0.5, 1.0) if "delta" in near else (1.0, 2.0)
        slope = min(distance * scale, line)
        want = 0.5 * distance**2 * scale if distance <= 0.5 else line * (distance - 0.25)
        np.testing.assert_allclose(found.detach().numpy(), want, rtol=1e-6)
        np.testing.assert_allclose(x.grad.numpy(), [slope, -slope], rtol=1e-6)


def test_a_margin_that_is_just_kept_has_no_gradient() -> None:
    x = cr.tensor([[2.0, 1.0, 0.5]], requires_grad=True)
    F.multi_margin_loss(x, cr.tensor([0])).backward()
    assert x.grad.tolist() == [[0, 0, 0]]
