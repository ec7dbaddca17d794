"""Kernels of eager operations on rows: gelu, attention, layer normalisation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
import chainrule.nn.functional as F
from chainrule import nn
from chainrule.testing import gradcheck, gradgradcheck
from tests.compiler import test_eager
from tests.compiler.test_eager import assert_same_as_numpys, needs_numba, numbers

pytestmark = needs_numba
calls, used_for_any_work = test_eager.calls, test_eager.used_for_any_work  # fixtures
TYPES = pytest.mark.parametrize("dtype", ["f4", "f8"])


# ----- gelu -----


@TYPES
@pytest.mark.parametrize("approximate", ["none", "tanh"])
@pytest.mark.parametrize("size", [1, 7, 1003])
def test_gelu_by_kernels_is_that_of_numpy(
    size: int,
    approximate: str,
    dtype: str,
    calls: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x = numbers(size, dtype=dtype) * 3
    assert_same_as_numpys(lambda x: F.gelu(x, approximate=approximate), [x], monkeypatch)
    assert calls == ["gelu_and_slope_kernel"]


@TYPES
def test_gelu_by_kernels_is_x_times_the_normal_distribution(dtype: str) -> None:
    special = pytest.importorskip("scipy.special")
    x = np.concatenate([np.linspace(-12, 12, 9999), [0.0, 1e30, np.inf]]).astype(dtype)
    given = cr.from_numpy(x).requires_grad_()
    out = F.gelu(given)
    out.sum().backward()
    wide = x[:-1].astype(float)
    tolerance = 4 * np.finfo(dtype).eps
    np.testing.assert_allclose(out.detach().numpy()[:-1], wide * special.ndtr(wide), rtol=tolerance, atol=tolerance)
    slope = special.ndtr(wide) + wide * np.exp(-wide * wide / 2) / np.sqrt(2 * np.pi)
    np.testing.assert_allclose(given.grad.numpy()[:-1], slope, rtol=tolerance, atol=tolerance)
    assert out[-1].item() == np.inf


def test_gelu_takes_arrays_whose_elements_are_not_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.asfortranarray(numbers(5, 9))[:, ::-2]
    assert_same_as_numpys(F.gelu, [x], monkeypatch)
    with cr.no_grad():
        view = cr.from_numpy(x)
        np.testing.assert_array_equal(F.gelu(view.t()).numpy(), F.gelu(view).numpy().T)


def read_only(x: Any) -> Any:
    x.flags.writeable = False
    return x


@TYPES
def test_arrays_that_nobody_may_write_are_read(dtype: str, calls: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a file mapped into memory, or one row that stands for several."""
    x, weight, gradient = (read_only(numbers(*shape, dtype=dtype)) for shape in ((4, 9), (9,), (4, 9)))

    def step() -> list[Any]:
        given, scale = cr.from_numpy(x).requires_grad_(), cr.from_numpy(weight).requires_grad_()
        for function in (F.gelu, lambda x: F.gelu(x, approximate="tanh"), lambda x: F.layer_norm(x, (9,), scale)):
            function(given).backward(cr.from_numpy(gradient))
        return [np.array(given.grad.numpy()), np.array(scale.grad.numpy())]

    found = step()
    assert calls == ["gelu_and_slope_kernel"] * 2 + ["layer_kernel", "layer_back_kernel"]
    monkeypatch.setenv("CHAINRULE_KERNELS", "0")
    for a, b in zip(found, step(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


# ----- layer normalisation -----


@TYPES
@pytest.mark.parametrize("parameters", [0, 1, 2])
@pytest.mark.parametrize("shape", [(1, 1), (4, 3, 5), (9, 33)])
def test_layer_normalisation_by_kernels_is_that_of_numpy(
    shape: tuple[int, ...],
    parameters: int,
    dtype: str,
    calls: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    arrays = [numbers(*shape, dtype=dtype), numbers(shape[-1], dtype=dtype), numbers(shape[-1], dtype=dtype)]
    assert_same_as_numpys(lambda x, *p: F.layer_norm(x, shape[-1:], *p), arrays[: 1 + parameters], monkeypatch)
    assert calls == ["layer_kernel", "layer_back_kernel"]


def test_layer_normalisation_of_large_numbers_is_exact() -> None:
    x = 1000 + numbers(4, 100)
    wide = x.astype(float)
    expected = (wide - wide.mean(-1, keepdims=True)) / np.sqrt(wide.var(-1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(F.layer_norm(cr.from_numpy(x), (100,)).numpy(), expected, atol=3e-4)


def test_derivatives_of_layer_normalisation_by_kernels_are_finite_differences() -> None:
    arguments = [cr.from_numpy(numbers(*shape, dtype="f8")).requires_grad_() for shape in ((3, 4), (4,), (4,))]
    assert gradcheck(lambda x, w, b: F.layer_norm(x, (4,), w, b), arguments)
    assert gradgradcheck(lambda x, w, b: F.layer_norm(x, (4,), w, b), arguments)


# ----- attention -----


def heads(dtype: str, rows: int = 5, columns: int = 7) -> list[Any]:
    return [numbers(2, 3, n, 4, dtype=dtype) for n in (rows, columns, columns)]


SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "causal": {"is_causal": True},
    "dropout": {"dropout_p": 0.4, "is_causal": True},
    "masked": {
        "attn_mask": np.array([[True] * 7, [False] * 7, [False] * 6 + [True]] + [[True, False] * 3 + [True]] * 2)
    },
}


@TYPES
@pytest.mark.parametrize("factor", [1, 10])
@pytest.mark.parametrize("name", SETTINGS)
def test_attention_by_kernels_is_that_of_numpy(
    name: str,
    factor: float,
    dtype: str,
    calls: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = dict(SETTINGS[name])
    if name == "masked":
        settings["attn_mask"] = cr.from_numpy(settings["attn_mask"])

    def attention(q: Any, k: Any, v: Any) -> Any:
        cr.manual_seed(0)
        return F.scaled_dot_product_attention(q, k, v, **settings)

    q, k, v = heads(dtype)
    assert_same_as_numpys(attention, [factor * q, k, v], monkeypatch)
    assert calls == ["softmax_walk", "softmax_back_kernel"]


def test_a_mask_in_another_order_and_shared_keys_are_as_with_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    q, k, v = heads("f8")
    mask = np.asfortranarray(numbers(2, 3, 5, 7, dtype="f8"))
    assert_same_as_numpys(F.scaled_dot_product_attention, [q, k, v, mask], monkeypatch)
    assert_same_as_numpys(F.scaled_dot_product_attention, [q, k[:, :1], v, mask[0]], monkeypatch)
    assert_same_as_numpys(F.scaled_dot_product_attention, [q[0, 0], k[0, 0], v], monkeypatch)


@pytest.mark.parametrize("causal", [False, True])
def test_derivatives_of_attention_by_kernels_are_finite_differences(causal: bool) -> None:
    arguments = [cr.from_numpy(array[0, :2]).requires_grad_() for array in heads("f8", 4, 3)]
    assert gradcheck(lambda *a: F.scaled_dot_product_attention(*a, is_causal=causal), arguments)
    assert gradgradcheck(lambda *a: F.scaled_dot_product_attention(*a, is_causal=causal), arguments)


def test_nan_and_infinity_stay_in_their_rows() -> None:
    q, k, v = (array[0, 0] for array in heads("f4"))
    q[1, 0], q[3, 0] = np.nan, np.inf
    with np.errstate(invalid="ignore"):
        out = F.scaled_dot_product_attention(*map(cr.from_numpy, (q, k, v))).numpy()
    np.testing.assert_array_equal(np.isnan(out).all(-1), [False, True, False, True, False])
    assert np.isfinite(out[::2]).all()


# ----- Adam -----


@TYPES
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_adamw_by_a_kernel_takes_the_steps_of_its_formula(decay: float, dtype: str, calls: list[str]) -> None:
    starts, steps = [numbers(33, dtype=dtype), numbers(200, 150, dtype=dtype)], range(1, 6)
    parameters = [cr.from_numpy(start.copy()).requires_grad_() for start in starts]
    optimizer = cr.optim.AdamW(parameters, lr=0.01, betas=(0.8, 0.95), eps=1e-6, weight_decay=decay)
    wide = [(start.astype("f8"), np.zeros(start.shape), np.zeros(start.shape)) for start in starts]
    for count in steps:
        for i, parameter in enumerate(parameters):
            gradient = numbers(*starts[i].shape, dtype=dtype)
            parameter.grad = cr.from_numpy(gradient)
            x, mean, square = wide[i]
            mean, square = 0.8 * mean + 0.2 * gradient, 0.95 * square + 0.05 * gradient.astype("f8") ** 2
            size = np.sqrt(square / (1 - 0.95**count)) + 1e-6
            wide[i] = x * (1 - 0.01 * decay) - 0.01 * mean / (1 - 0.8**count) / size, mean, square
        optimizer.step()
    assert calls == ["adam_kernel"] * 2 * len(steps)
    for parameter, (x, mean, square) in zip(parameters, wide, strict=True):
        state = optimizer.state[parameter]
        for found, expected in ((parameter.detach(), x), (state["exp_avg"], mean), (state["exp_avg_sq"], square)):
            np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5 if dtype == "f4" else 1e-12, atol=1e-7)


def test_a_parameter_in_another_order_and_one_that_is_its_own_gradient_take_numpys_steps(calls: list[str]) -> None:
    first, second = cr.from_numpy(numbers(4, 5)), cr.from_numpy(np.asfortranarray(numbers(4, 5)))
    expected = [np.array(x.numpy()) - 0.1 * np.sign(x.numpy()) for x in (first, second)]
    for x in (first, second):
        x.requires_grad_()
        x.grad = x.detach()
    cr.optim.Adam([first, second], lr=0.1, eps=0.0).step()
    assert not calls
    np.testing.assert_allclose(first.detach().numpy(), expected[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(second.detach().numpy(), expected[1], rtol=1e-5, atol=1e-6)


# ----- together -----

KERNELS = ["gelu_and_slope_kernel", "layer_back_kernel", "layer_kernel", "softmax_walk"]


def test_a_graph_that_is_retained_goes_back_twice_alike() -> None:
    x = cr.from_numpy(numbers(2, 6, 8)).requires_grad_()
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, activation="gelu", batch_first=True)
    out = layer(x).square().sum()
    (first,) = cr.autograd.grad(out, x, retain_graph=True)
    (second,) = cr.autograd.grad(out, x)
    np.testing.assert_array_equal(first.numpy(), second.numpy())


def test_kernels_that_cannot_be_compiled_are_numpys_work_with_one_warning_each(
    calls: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from chainrule.compiler import eager
    from chainrule.compiler.kernels.cache import KernelError

    monkeypatch.setattr(eager, "load_kernels", lambda texts: [KernelError(text.name, "no") for text in texts])
    eager.fused_kernel.cache_clear()
    eager.softmax_kernel.cache_clear()
    x, (q, k, v) = numbers(3, 8), heads("f4")
    try:
        with pytest.warns(UserWarning, match="NumPy computes") as warned:
            for _ in range(2):
                arguments = [cr.from_numpy(a).requires_grad_() for a in (x, q, k, v)]
                out = F.scaled_dot_product_attention(*arguments[1:]).sum()
                (out + F.gelu(F.layer_norm(arguments[0], (8,))).sum()).backward()
        assert sorted(str(w.message).split()[2] for w in warned) == KERNELS
    finally:
        eager.fused_kernel.cache_clear()
        eager.softmax_kernel.cache_clear()
    assert not calls
