"""Attention: against PyTorch, against the formula in NumPy, and its errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.nn import functional as F
from chainrule.testing import gradcheck, gradgradcheck


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).standard_normal(shape)


def double(array: np.ndarray, requires_grad: bool = False) -> Any:
    return cr.tensor(array, dtype=cr.float64 if array.dtype.kind == "f" else None, requires_grad=requires_grad)


def by_hand(q: np.ndarray, k: np.ndarray, v: np.ndarray, allowed: np.ndarray | None = None) -> np.ndarray:
    scores = q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1])
    weights = np.exp(scores) if allowed is None else np.exp(scores) * allowed
    return weights / weights.sum(-1, keepdims=True) @ v


Q, K, V = normal(2, 3, 4, 5), normal(2, 3, 6, 5), normal(2, 3, 6, 2)

# ---- scaled_dot_product_attention, the oracle is the formula ---------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_attention_is_the_average_of_values_by_softmax_of_products(dtype: Any) -> None:
    out = F.scaled_dot_product_attention(*(cr.from_numpy(a.astype(dtype)) for a in (Q, K, V)))
    assert out.numpy().dtype == dtype
    np.testing.assert_allclose(out.numpy(), by_hand(Q, K, V), rtol=1e-2 if dtype == np.float16 else 1e-5, atol=1e-2 if dtype == np.float16 else 1e-6)  # fmt: skip  # noqa: E501


def test_causal_attention_sees_only_what_came_before() -> None:
    out = F.scaled_dot_product_attention(double(Q), double(K), double(V), is_causal=True)
    np.testing.assert_allclose(out.numpy(), by_hand(Q, K, V, np.tri(4, 6)), rtol=1e-10)


def test_a_boolean_mask_says_what_is_looked_at() -> None:
    allowed = normal(4, 6) > 0
    allowed[:, 0] = True
    out = F.scaled_dot_product_attention(double(Q), double(K), double(V), attn_mask=cr.from_numpy(allowed))
    np.testing.assert_allclose(out.numpy(), by_hand(Q, K, V, allowed), rtol=1e-10)


def test_a_query_that_may_look_at_nothing_gets_zeros_and_gives_no_gradient() -> None:
    allowed = np.ones((4, 6), bool)
    allowed[1] = False
    q = double(Q, requires_grad=True)
    out = F.scaled_dot_product_attention(q, double(K), double(V), attn_mask=cr.from_numpy(allowed))
    out.sum().backward()
    assert not out[:, :, 1].detach().numpy().any()
    assert np.isfinite(q.grad.numpy()).all() and not q.grad[:, :, 1].numpy().any()


def test_heads_of_keys_and_values_are_shared_with_enable_gqa() -> None:
    q, k, v = normal(2, 6, 4, 5), normal(2, 3, 6, 5), normal(2, 3, 6, 5)
    out = F.scaled_dot_product_attention(double(q), double(k), double(v), enable_gqa=True)
    np.testing.assert_allclose(out.numpy(), by_hand(q, np.repeat(k, 2, 1), np.repeat(v, 2, 1)), rtol=1e-10)


def test_dropout_keeps_the_mean() -> None:
    cr.manual_seed(0)
    q, k, v = (cr.from_numpy(a) for a in (np.zeros((400, 5)), np.zeros((50, 5)), np.ones((50, 2))))
    out = F.scaled_dot_product_attention(q, k, v, dropout_p=0.5).numpy()
    assert out.mean() == pytest.approx(1, abs=0.02) and out.std() > 0.05
    assert not F.scaled_dot_product_attention(q, k, v, dropout_p=1.0).numpy().any()


@pytest.mark.parametrize("factor", [1.0, 100.0])
@pytest.mark.parametrize("causal", [False, True])
def test_single_precision_is_as_exact_for_small_scores_as_for_large_ones(factor: float, causal: bool) -> None:
    q, k, v, seed = factor * normal(3, 7, 5, seed=1), normal(3, 7, 5, seed=2), normal(3, 7, 5), normal(3, 7, 5, seed=3)
    scores = q @ np.swapaxes(k, -1, -2) / np.sqrt(5) + (np.triu(np.full((7, 7), -np.inf), 1) if causal else 0)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    at_weights = seed @ np.swapaxes(v, -1, -2)
    at_scores = weights * (at_weights - (weights * at_weights).sum(-1, keepdims=True)) / np.sqrt(5)
    expected = weights @ v, at_scores @ k, np.swapaxes(at_scores, -1, -2) @ q, np.swapaxes(weights, -1, -2) @ seed
    tensors = [cr.tensor(a, dtype=cr.float32, requires_grad=True) for a in (q, k, v)]
    out = F.scaled_dot_product_attention(*tensors, is_causal=causal)
    out.backward(cr.tensor(seed, dtype=cr.float32))
    for found, wanted in zip((out.detach(), *(t.grad for t in tensors)), expected, strict=True):
        np.testing.assert_allclose(found.numpy(), wanted, rtol=2e-5, atol=2e-5 * np.abs(wanted).max())


def test_a_query_with_nan_or_infinity_gives_nan_to_itself_alone() -> None:
    q = Q[0, 0].copy()
    q[1], q[2, 0] = np.nan, np.inf
    with np.errstate(invalid="ignore"):
        out = F.scaled_dot_product_attention(double(q), double(K[0, 0]), double(V[0, 0])).numpy()
    assert np.isnan(out[1:3]).all()
    np.testing.assert_allclose(out[[0, 3]], by_hand(Q[0, 0], K[0, 0], V[0, 0])[[0, 3]])


@pytest.mark.parametrize("settings", [{}, {"is_causal": True}, {"dropout_p": 0.4}, {"attn_mask": "some"}])
def test_heads_that_were_split_off_have_the_derivatives_of_finite_differences(settings: dict[str, Any]) -> None:
    width = double(normal(2, 4, 3 * 6, seed=5), requires_grad=True)
    if settings.get("attn_mask"):
        settings = {"attn_mask": double(np.where(np.eye(4, dtype=bool), -np.inf, normal(4, 4)))}

    def joined(x: Any) -> Any:
        cr.manual_seed(3)
        q, k, v = (part.view(2, 4, 2, 3).transpose(1, 2) for part in x.split(6, 2))
        return F.scaled_dot_product_attention(q, k, v, **settings).transpose(1, 2).contiguous().view(2, 4, 6)

    assert gradcheck(joined, [width])


def test_writing_to_the_result_does_not_change_the_gradients() -> None:
    expected, found = (
        [double(a, requires_grad=True) for a in (Q, K, V)],
        [double(a, requires_grad=True) for a in (Q, K, V)],
    )
    (3 * F.scaled_dot_product_attention(*expected)).sum().backward()
    F.scaled_dot_product_attention(*found).mul_(3).sum().backward()
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.grad.numpy(), other.grad.numpy())


@pytest.mark.parametrize("settings", [{}, {"is_causal": True}, {"scale": 0.3}])
def test_derivatives_by_finite_differences(settings: dict[str, Any]) -> None:
    arguments = [double(a, requires_grad=True) for a in (Q[0, :2], K[0, :2], V[0, :2])]
    assert gradcheck(lambda *a: F.scaled_dot_product_attention(*a, **settings), arguments)
    assert gradgradcheck(lambda *a: F.scaled_dot_product_attention(*a, **settings), arguments)


def test_the_mask_has_a_gradient_of_its_own_shape() -> None:
    q, k, v, mask = (double(a, requires_grad=True) for a in (Q[0, :2], K[0, :2], V[0, :2], normal(4, 1)))
    assert gradcheck(lambda *a: F.scaled_dot_product_attention(*a), (q, k, v, mask))


def test_a_graph_that_is_kept_sees_a_seed_that_was_changed_in_place() -> None:
    q, k, v = (double(a, requires_grad=True) for a in (Q, K, V))
    out = F.scaled_dot_product_attention(q, k, v)
    seed = cr.ones_like(out)
    (first,) = cr.autograd.grad(out, q, seed, retain_graph=True)
    seed.mul_(cr.from_numpy(normal(*V.shape[:2], 4, 2)))
    (second,) = cr.autograd.grad(out, k, seed, retain_graph=True)
    (expected,) = cr.autograd.grad(F.scaled_dot_product_attention(q, k, v), k, seed)
    np.testing.assert_allclose(second.numpy(), expected.numpy())
    assert first.shape == q.shape


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda q, k, v: F.scaled_dot_product_attention(q, k.float(), v), "same dtype"),
        (lambda q, k, v: F.scaled_dot_product_attention(q, k[..., :2], v), r"\(2, 3, 6, 2\)"),
        (lambda q, k, v: F.scaled_dot_product_attention(q, k, v[..., :2, :]), "they have shapes"),
        (lambda q, k, v: F.scaled_dot_product_attention(q[0, 0, 0], k, v), "at least 2 dimensional"),
        (lambda q, k, v: F.scaled_dot_product_attention(q, k[:, :2], v), "broadcast"),
        (lambda q, k, v: F.scaled_dot_product_attention(q, k, v, cr.ones(3, 6).double()), "broadcast"),
        (lambda q, k, v: F.scaled_dot_product_attention(q, k, v, cr.ones(4, 6)), "attn_mask dtype"),
        (lambda q, k, v: F.scaled_dot_product_attention(q, k, v, cr.ones(4, 6).double(), is_causal=True), "is_causal"),
        (lambda q, k, v: F.scaled_dot_product_attention(q[:, :2], k, v, enable_gqa=True), "heads"),
        (lambda q, k, v: F.scaled_dot_product_attention(q, k, v, dropout_p=2), "between 0 and 1"),
    ],
)
def test_what_does_not_fit_is_named(call: Any, words: str) -> None:
    with pytest.raises(RuntimeError, match=words):
        call(double(Q), double(K), double(V))


# ---- scaled_dot_product_attention, the oracle is PyTorch -------------------------------------------------------------


@pytest.mark.parametrize("mask", [None, "bool", "float", "causal"])
def test_outputs_and_gradients_are_pytorchs(mask: str | None) -> None:
    torch = pytest.importorskip("torch")
    allowed = normal(2, 1, 4, 6) > -0.5
    given = {"bool": allowed, "float": normal(4, 6)}.get(mask or "")
    results = []
    for library, make in ((torch, torch.tensor), (cr, double)):
        q, k, v = (make(a, requires_grad=True) for a in (Q, K, V))
        attn_mask = None if given is None else make(given)
        out = library.nn.functional.scaled_dot_product_attention(
            q, k, v, attn_mask=attn_mask, is_causal=mask == "causal"
        )
        (out * make(normal(*out.shape))).sum().backward()
        results.append([out.detach().numpy(), *(x.grad.numpy() for x in (q, k, v))])
    for expected, found in zip(*results, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-11)


# ---- MultiheadAttention ----------------------------------------------------------------------------------------------

LAYERS: list[dict[str, Any]] = [
    {},
    {"bias": False},
    {"batch_first": True},
    {"kdim": 3, "vdim": 5},
    {"kdim": 3, "vdim": 5, "bias": False, "batch_first": True},
    {"add_bias_kv": True},
    {"add_zero_attn": True, "add_bias_kv": True},
]


def pair(**settings: Any) -> tuple[Any, Any, Any]:
    torch = pytest.importorskip("torch")
    theirs = torch.nn.MultiheadAttention(8, 2, **settings).double()
    ours = nn.MultiheadAttention(8, 2, **settings).double()
    assert list(ours.state_dict()) == list(theirs.state_dict()) and repr(ours) == repr(theirs)
    ours.load_state_dict({key: cr.from_numpy(value.numpy()) for key, value in theirs.state_dict().items()})
    return torch, theirs, ours


def assert_same(
    theirs: Any, ours: Any, torch: Any, arrays: list[np.ndarray], masks: dict[str, Any], **more: Any
) -> None:
    results = []
    for net, make in ((theirs, torch.tensor), (ours, double)):
        tensors = [make(a, requires_grad=True) for a in arrays]
        x = tensors if len(tensors) == 3 else tensors * 3
        out, weights = net(*x, **{name: make(mask) for name, mask in masks.items()}, **more)
        loss = (out * make(normal(*out.shape))).sum()
        if weights is not None:
            loss = loss + (weights * make(normal(*weights.shape, seed=1))).sum()
        loss.backward()
        parameters = dict(net.named_parameters())
        results.append(
            {"out": out.detach().numpy(), "weights": None if weights is None else weights.detach().numpy()}
            | {name: parameters[name].grad.numpy() for name in sorted(parameters)}
            | {f"input {i}": tensor.grad.numpy() for i, tensor in enumerate(tensors)}
        )
    for name, expected in results[0].items():
        if expected is None:
            assert results[1][name] is None
        else:
            np.testing.assert_allclose(results[1][name], expected, rtol=1e-8, atol=1e-11, err_msg=name)


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("settings", LAYERS, ids=str)
def test_the_layer_is_pytorchs(settings: dict[str, Any], need_weights: bool) -> None:
    torch, theirs, ours = pair(**settings)
    arrays = [normal(4, 3, 8), normal(6, 3, settings.get("kdim", 8)), normal(6, 3, settings.get("vdim", 8), seed=1)]
    if settings.get("batch_first"):
        arrays = [np.swapaxes(a, 0, 1) for a in arrays]
    assert_same(theirs, ours, torch, arrays, {}, need_weights=need_weights, average_attn_weights=False)


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("settings", [{}, {"add_zero_attn": True, "add_bias_kv": True}], ids=str)
@pytest.mark.parametrize("kind", ["bool", "float"])
@pytest.mark.parametrize("which", ["attn_mask", "attn_mask3", "key_padding_mask", "both"])
def test_masks_act_as_in_pytorch(which: str, kind: str, settings: dict[str, Any], need_weights: bool) -> None:
    torch, theirs, ours = pair(**settings)
    shapes = {"attn_mask": (4, 4), "attn_mask3": (6, 4, 4), "key_padding_mask": (3, 4)}
    chosen = ["attn_mask", "key_padding_mask"] if which == "both" else [which]
    masks = {}
    for name in chosen:
        mask = normal(*shapes[name])
        if kind == "bool":
            mask = mask > 1
            mask[..., 0] = False
        masks[name.removesuffix("3")] = mask
    assert_same(theirs, ours, torch, [normal(4, 3, 8)], masks, need_weights=need_weights)


def test_a_sequence_without_a_batch_axis_is_as_in_pytorch() -> None:
    torch, theirs, ours = pair()
    assert_same(theirs, ours, torch, [normal(4, 8)], {"key_padding_mask": np.arange(4) == 3})
    assert_same(theirs, ours, torch, [normal(4, 8)], {"attn_mask": np.triu(np.ones((4, 4), bool), 1)}, is_causal=True)


def test_static_keys_and_values_are_used_as_they_are() -> None:
    torch, theirs, ours = pair()
    results = []
    for library, net, make in ((torch, theirs, torch.tensor), (cr, ours, double)):
        x = make(normal(4, 3, 8))
        out, weights = library.nn.functional.multi_head_attention_forward(
            x, x, x, 8, 2, net.in_proj_weight, net.in_proj_bias, None, None, False, 0.0, net.out_proj.weight,
            net.out_proj.bias, static_k=make(normal(6, 5, 4)), static_v=make(normal(6, 5, 4, seed=1)),
        )  # fmt: skip
        results.append((out.detach().numpy(), weights.detach().numpy()))
    for expected, found in zip(*results, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("need_weights", [True, False])
def test_one_head_without_biases_is_attention_between_projections(need_weights: bool) -> None:
    net = nn.MultiheadAttention(8, 1, bias=False, batch_first=True).double()
    x = normal(3, 4, 8)
    q, k, v = (x @ w.T for w in np.split(net.in_proj_weight.detach().numpy(), 3))
    expected = by_hand(q, k, v) @ net.out_proj.weight.detach().numpy().T
    out, weights = net(double(x), double(x), double(x), need_weights=need_weights)
    np.testing.assert_allclose(out.detach().numpy(), expected, rtol=1e-9)
    assert (weights is not None) == need_weights


def test_dropout_of_the_layer_acts_in_training_only() -> None:
    cr.manual_seed(0)
    net = nn.MultiheadAttention(8, 2, dropout=0.5)
    x = cr.ones(4, 3, 8)
    for need_weights in (True, False):
        net.train()
        assert not np.array_equal(*(net(x, x, x, need_weights=need_weights)[0].detach().numpy() for _ in "ab"))
        net.eval()
        assert np.array_equal(*(net(x, x, x, need_weights=need_weights)[0].detach().numpy() for _ in "ab"))


def test_weights_start_as_in_pytorch() -> None:
    net = nn.MultiheadAttention(64, 2)
    bound = np.sqrt(6 / (64 + 3 * 64))
    assert float(net.in_proj_weight.abs().max()) <= bound
    assert float(net.in_proj_weight.std()) == pytest.approx(bound / np.sqrt(3), rel=0.05)
    assert not net.in_proj_bias.detach().numpy().any() and not net.out_proj.bias.detach().numpy().any()


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: nn.MultiheadAttention(8, 3), AssertionError, "divisible"),
        (lambda: nn.MultiheadAttention(8, 0), ValueError, "num_heads=0"),
        (lambda: nn.MultiheadAttention(8, 2)(*[cr.ones(2, 2, 2, 8)] * 3), AssertionError, "4-D query"),
        (lambda: nn.MultiheadAttention(8, 2)(*[cr.ones(4, 3, 6)] * 3), AssertionError, "dimension of 8, but got 6"),
        (
            lambda: nn.MultiheadAttention(8, 2)(cr.ones(4, 3, 8), cr.ones(5, 3, 8), cr.ones(6, 3, 8)),
            AssertionError,
            "does not match value shape",
        ),
        (
            lambda: nn.MultiheadAttention(8, 2)(*[cr.ones(4, 3, 8)] * 3, attn_mask=cr.ones(3, 4)),
            RuntimeError,
            r"2D attn_mask is \(3, 4\), but should be \(4, 4\)",
        ),
        (
            lambda: nn.MultiheadAttention(8, 2)(*[cr.ones(4, 3, 8)] * 3, key_padding_mask=cr.ones(4, 3)),
            AssertionError,
            r"key_padding_mask shape of \(3, 4\)",
        ),
        (
            lambda: nn.MultiheadAttention(8, 2)(*[cr.ones(4, 3, 8)] * 3, is_causal=True),
            RuntimeError,
            "generate_square_subsequent_mask",
        ),
        (
            lambda: nn.MultiheadAttention(8, 2)(*[cr.ones(4, 3, 8)] * 3, attn_mask=cr.ones(4, 4).long()),
            AssertionError,
            "bool and floating",
        ),
    ],
)
def test_what_does_not_fit_the_layer_is_named(call: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        call()
