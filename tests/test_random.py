"""Random numbers: seeds, generators, distributions, in-place forms."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import chainrule as cr


def same(a: cr.Tensor, b: cr.Tensor) -> bool:
    return bool(np.array_equal(a.numpy(), b.numpy()))


def test_a_seed_fixes_the_sequence_and_a_state_restores_it() -> None:
    assert cr.manual_seed(7) is cr.default_generator and cr.initial_seed() == 7
    a = cr.rand(3)
    state = cr.get_rng_state()
    b = cr.randn(3)
    cr.manual_seed(7)
    assert same(cr.rand(3), a)
    cr.set_rng_state(state)
    assert same(cr.randn(3), b)


def test_generators_are_independent_of_the_default_one() -> None:
    cr.manual_seed(0)
    g = cr.Generator().manual_seed(5)
    before = cr.rand(2)
    first = cr.rand(4, generator=g)
    cr.manual_seed(0)
    assert same(cr.rand(2), before)
    assert same(cr.rand(4, generator=g.manual_seed(5)), first)


def test_generators_are_copied_and_pickled_with_their_state() -> None:
    g = cr.Generator().manual_seed(1)
    cr.rand(5, generator=g)
    for other in (copy.deepcopy(g), pickle.loads(pickle.dumps(g)), g.clone_state()):
        assert same(cr.rand(3, generator=other), cr.rand(3, generator=g.clone_state()))


def test_a_broken_state_is_refused() -> None:
    with pytest.raises(RuntimeError, match="Invalid generator state"):
        cr.set_rng_state(cr.zeros(8, dtype=cr.uint8))
    with pytest.raises(TypeError, match="Generator"):
        cr.rand(2, generator=3)


def test_fork_rng_leaves_the_sequence_where_it_was() -> None:
    cr.manual_seed(3)
    expected = cr.rand(2)
    cr.manual_seed(3)
    with cr.random.fork_rng():
        cr.rand(100)
    assert same(cr.rand(2), expected)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "complex64", "complex128"])
def test_rand_and_randn_have_the_type_and_moments_asked_for(dtype: str) -> None:
    cr.manual_seed(0)
    kind = getattr(cr, dtype)
    u, n = cr.rand(50_000, dtype=kind).numpy(), cr.randn(50_000, dtype=kind).numpy()
    assert u.dtype == n.dtype == np.dtype(dtype)
    wide = u.real.astype("f8")
    assert 0 <= wide.min() and wide.max() < 1 and abs(wide.mean() - 0.5) < 0.01
    m = n.astype("c16")
    assert abs(m.mean()) < 0.02 and abs((abs(m) ** 2).mean() - 1) < 0.03


def test_sizes_may_be_a_tuple_or_numbers_and_grad_may_be_asked_for() -> None:
    assert cr.rand((2, 3)).shape == cr.rand(2, 3).shape == (2, 3) and cr.rand(()).shape == ()
    assert cr.randn(2, requires_grad=True).requires_grad
    with pytest.raises(RuntimeError, match="negative"):
        cr.rand(-1)


def test_integers_stay_between_their_limits() -> None:
    cr.manual_seed(0)
    numbers = cr.randint(3, 7, (1000,)).numpy()
    assert numbers.dtype == np.int64 and set(numbers) == {3, 4, 5, 6}
    assert set(cr.randint(2, (100,)).numpy()) == {0, 1}
    assert sorted(cr.randperm(20).numpy()) == list(range(20))
    assert cr.randint_like(cr.ones(3), 5).dtype == cr.float32
    with pytest.raises(RuntimeError, match="from=5 >= to=5"):
        cr.randint(5, 5, (1,))


def test_normal_broadcasts_means_and_deviations() -> None:
    cr.manual_seed(0)
    x = cr.normal(cr.tensor([[0.0], [100.0]]), cr.tensor([1.0, 0.0])).numpy()
    assert x.shape == (2, 2) and x[0, 1] == 0 and x[1, 1] == 100
    assert cr.normal(2.0, 3.0, (4,)).shape == (4,)
    with pytest.raises(RuntimeError, match="std >= 0"):
        cr.normal(cr.zeros(2), -1.0)


def test_bernoulli_draws_by_probability() -> None:
    cr.manual_seed(0)
    draws = cr.bernoulli(cr.full((20_000,), 0.3)).numpy()
    assert set(draws) == {0.0, 1.0} and abs(draws.mean() - 0.3) < 0.02
    with pytest.raises(RuntimeError, match="probability"):
        cr.bernoulli(cr.tensor([1.5]))


def test_multinomial_follows_weights_with_and_without_replacement() -> None:
    cr.manual_seed(0)
    weights = cr.tensor([[0.0, 1.0, 3.0], [1.0, 0.0, 0.0]])
    many = cr.multinomial(weights, 8000, replacement=True).numpy()
    assert not many[1].any() and not (many[0] == 0).any() and abs((many[0] == 2).mean() - 0.75) < 0.02
    assert sorted(cr.multinomial(cr.tensor([0.0, 1.0, 3.0]), 2).tolist()) == [1, 2]
    with pytest.raises(RuntimeError, match="without replacement"):
        cr.multinomial(cr.tensor([0.0, 1.0, 3.0]), 3)
    for bad in ([-1.0, 2.0], [0.0, 0.0], [float("nan"), 1.0]):
        with pytest.raises(RuntimeError):
            cr.multinomial(cr.tensor(bad), 1)


def test_sampling_without_replacement_draws_in_proportion_at_first() -> None:
    cr.manual_seed(0)
    first = cr.multinomial(cr.tensor([[1.0, 2.0, 5.0]]).expand(8000, 3), 2).numpy()[:, 0]
    np.testing.assert_allclose(np.bincount(first) / 8000, [1 / 8, 2 / 8, 5 / 8], atol=0.02)


FILLS: list[tuple[str, Any, float, float]] = [
    ("uniform_", lambda t: t.uniform_(-1, 3), 1.0, 16 / 12),
    ("normal_", lambda t: t.normal_(2, 0.5), 2.0, 0.25),
    ("bernoulli_", lambda t: t.bernoulli_(0.25), 0.25, 0.1875),
    ("random_", lambda t: t.random_(10, 20), 14.5, 99 / 12),
    ("exponential_", lambda t: t.exponential_(2.0), 0.5, 0.25),
    ("geometric_", lambda t: t.geometric_(0.5), 2.0, 2.0),
]


@pytest.mark.parametrize(("name", "fill", "mean", "variance"), FILLS, ids=[f[0] for f in FILLS])
def test_filling_in_place_has_its_mean_and_variance(name: str, fill: Any, mean: float, variance: float) -> None:
    cr.manual_seed(0)
    t = cr.empty(200, 250)
    assert fill(t) is t
    x = t.numpy().astype("f8")
    assert abs(x.mean() - mean) < 0.03 * max(1, mean) and abs(x.var() / variance - 1) < 0.05


@pytest.mark.parametrize(("name", "fill", "mean", "variance"), FILLS, ids=[f[0] for f in FILLS])
def test_filling_a_leaf_that_requires_grad_raises_outside_no_grad(
    name: str, fill: Any, mean: float, variance: float
) -> None:
    leaf = cr.ones(3, requires_grad=True)
    with pytest.raises(RuntimeError, match=name):
        fill(leaf)
    assert leaf.tolist() == [1, 1, 1]
    with cr.no_grad():
        fill(leaf)
    assert leaf.requires_grad and leaf.is_leaf


def test_filling_what_a_recipe_saved_is_noticed() -> None:
    x = cr.ones(3, requires_grad=True)
    y = cr.ones(3)
    out = (x * y).sum()
    y.normal_()
    with pytest.raises(RuntimeError, match="normal_"):
        out.backward()


def test_random_fills_the_range_of_the_type() -> None:
    cr.manual_seed(0)
    assert cr.empty(5000, dtype=cr.uint8).random_().numpy().max() == 255
    assert set(cr.empty(50, dtype=cr.bool).random_().numpy()) == {False, True}
