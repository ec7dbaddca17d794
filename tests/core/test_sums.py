"""Gradients that add up: slices of one array, and sums over what broadcasting had repeated."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.core.broadcasting import MANY, sum_of_rows, unbroadcast
from chainrule.core.table import ADDS_TO
from chainrule.testing import gradcheck, gradgradcheck


def double(*shape: int, seed: int = 0) -> Any:
    array = np.random.default_rng([seed, *shape]).standard_normal(shape)
    return cr.from_numpy(array).requires_grad_()


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Which gradients of slices were added in place."""
    found: list[bool] = []
    (back,) = ADDS_TO
    add = ADDS_TO[back]

    def noting(*args: Any) -> bool:
        found.append(add(*args))
        return found[-1]

    monkeypatch.setitem(ADDS_TO, back, noting)
    return found


# ---- slices ------------------------------------------------------------------------------------------------------


def test_gradients_of_slices_are_added_in_one_array(added: list[bool]) -> None:
    x = double(6, 4)
    parts = (x * 1).split(2)
    sum((k + 1) * part.sum() for k, part in enumerate(parts)).backward()
    np.testing.assert_array_equal(x.grad.numpy(), np.repeat([1.0, 2.0, 3.0], 2)[:, None] * np.ones(4))
    assert added == [True, True]


def test_overlapping_slices_numbers_and_new_axes_add_up(added: list[bool]) -> None:
    def function(x: Any) -> Any:
        y = x * 1
        return (y[1:, :3] ** 2).sum() + (y[..., None, 2] ** 3).sum() + y[0, 1] * 5 + (y[::-2] * y[::-2]).sum()

    assert gradcheck(function, [double(4, 5)])
    assert True in added
    assert gradgradcheck(function, [double(4, 5)])


def test_indices_that_repeat_are_not_added_in_place(added: list[bool]) -> None:
    x = double(3, 2)
    y = x * 1
    index = cr.tensor([0, 0, 2])
    (y[0].sum() + y[index].sum() + y[index].sum()).backward()
    np.testing.assert_array_equal(x.grad.numpy()[:, 0], [5, 0, 2])
    assert False in added


def test_a_gradient_that_somebody_holds_is_not_written_to(added: list[bool]) -> None:
    x = double(4)
    y = x * 1
    seen: list[Any] = []
    first, second = y[:2], y[2:]
    z = first + second  # the same gradient goes to both
    for tensor in (first, second, z):
        tensor.register_hook(lambda gradient: seen.append((gradient, gradient.numpy().copy())))
    (z.sum() + (y * y).sum()).backward()
    for gradient, copy in seen:
        np.testing.assert_array_equal(gradient.numpy(), copy)
    np.testing.assert_allclose(x.grad.numpy(), 1 + 2 * x.detach().numpy())


def test_a_seed_is_not_written_to() -> None:
    x = double(4)
    y = x * 1
    seed = cr.ones(4, dtype=cr.float64)
    cr.autograd.backward([y, y[:2], y[1:]], [seed, cr.ones(2, dtype=cr.float64), cr.ones(3, dtype=cr.float64)])
    np.testing.assert_array_equal(seed.numpy(), np.ones(4))
    np.testing.assert_array_equal(x.grad.numpy(), [2, 3, 2, 2])


def test_a_graph_that_is_retained_gives_the_same_gradients_again() -> None:
    x = double(3, 3)
    y = x * 2
    out = y[0].sum() + y[:, 1].sum() + y[1:].square().sum()
    (first,) = cr.autograd.grad(out, x, retain_graph=True)
    copy = first.numpy().copy()
    (second,) = cr.autograd.grad(out, x)
    np.testing.assert_array_equal(second.numpy(), copy)
    np.testing.assert_array_equal(first.numpy(), copy)


# ---- what broadcasting had repeated ------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 1), (0, 3), (3, 0), (7, 5), (MANY + 1, 2)])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.complex64, np.int64])
def test_the_sum_of_rows_is_numpys(shape: tuple[int, int], dtype: Any) -> None:
    x = np.random.default_rng(0).integers(-4, 5, shape).astype(dtype)
    for each in (x, np.asfortranarray(x), x[::-1], x[:, ::2]):
        found = sum_of_rows(each)
        np.testing.assert_array_equal(found, each.sum(0, dtype=dtype))
        assert found.dtype == dtype


@pytest.mark.parametrize("target", [(), (4,), (1,), (3, 4), (1, 4), (3, 1)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_unbroadcast_is_the_sum_over_repeated_axes(target: tuple[int, ...], dtype: Any) -> None:
    x = np.random.default_rng(0).integers(-4, 5, (2, 3, 4)).astype(dtype)
    found = unbroadcast(x, np.empty(target))
    kept = (1,) * (3 - len(target)) + target
    axes = tuple(i for i in range(3) if kept[i] == 1)
    np.testing.assert_array_equal(found, x.sum(axes, keepdims=True).reshape(target))
    assert found.shape == target and found.dtype == dtype
