"""Distributions: densities are SciPy's, draws have the right moments, gradients reach the parameters."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

import chainrule as cr

d = cr.distributions
LOC, SCALE = np.array([0.3, -1.0]), np.array([0.5, 2.0])
MATRIX = np.array([[2.0, 0.5], [0.5, 1.0]])


def T(x: Any) -> cr.Tensor:
    return cr.from_numpy(np.asarray(x, dtype=np.float64))


PAIRS = [
    (d.Normal(T(LOC), T(SCALE)), stats.norm(LOC, SCALE)),
    (d.LogNormal(T(LOC), T(SCALE * 0.2)), stats.lognorm(SCALE * 0.2, scale=np.exp(LOC))),
    (d.Laplace(T(LOC), T(SCALE)), stats.laplace(LOC, SCALE)),
    (d.Uniform(T(LOC), T(LOC + SCALE)), stats.uniform(LOC, SCALE)),
    (d.Exponential(T(SCALE)), stats.expon(scale=1 / SCALE)),
    (d.Poisson(T(SCALE)), stats.poisson(SCALE)),
    (d.Bernoulli(T([0.2, 0.7])), stats.bernoulli([0.2, 0.7])),
]


@pytest.mark.parametrize("mine, theirs", PAIRS, ids=lambda x: type(x).__name__)
def test_densities_moments_and_draws_are_scipys(mine: Any, theirs: Any) -> None:
    cr.manual_seed(0)
    draws = mine.sample((20000,))
    log_density = theirs.logpmf if hasattr(theirs.dist, "_pmf") else theirs.logpdf
    np.testing.assert_allclose(mine.log_prob(draws).numpy(), log_density(draws.numpy()), rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(mine.mean.numpy(), theirs.mean(), rtol=1e-8)
    np.testing.assert_allclose(mine.stddev.numpy(), theirs.std(), rtol=1e-8)
    np.testing.assert_allclose(draws.numpy().mean(0), theirs.mean(), atol=0.06)
    np.testing.assert_allclose(draws.numpy().std(0), theirs.std(), rtol=0.05)
    assert mine.sample((3, 4)).shape == (3, 4, 2) and mine.batch_shape == (2,) and mine.event_shape == ()


@pytest.mark.parametrize("mine, theirs", [p for p in PAIRS if not isinstance(p[0], d.Poisson)])
def test_entropies_are_scipys(mine: Any, theirs: Any) -> None:
    np.testing.assert_allclose(mine.entropy().numpy(), theirs.entropy(), rtol=1e-7)


def test_the_multivariate_normal_is_scipys() -> None:
    mine, theirs = d.MultivariateNormal(T(LOC), T(MATRIX)), stats.multivariate_normal(LOC, MATRIX)
    x = np.random.default_rng(0).standard_normal((5, 2))
    np.testing.assert_allclose(mine.log_prob(T(x)).numpy(), theirs.logpdf(x), rtol=1e-9)
    np.testing.assert_allclose(mine.entropy().item(), theirs.entropy(), rtol=1e-9)
    same = d.MultivariateNormal(T(LOC), precision_matrix=T(np.linalg.inv(MATRIX)))
    np.testing.assert_allclose(same.covariance_matrix.numpy(), MATRIX, rtol=1e-9)
    cr.manual_seed(1)
    np.testing.assert_allclose(np.cov(mine.sample((20000,)).numpy().T), MATRIX, atol=0.06)


def test_categories_come_in_proportion_and_have_their_log_probabilities() -> None:
    cr.manual_seed(0)
    probs = np.array([[0.1, 0.2, 0.7], [0.5, 0.25, 0.25]])
    for c in (d.Categorical(T(probs * 3)), d.Categorical(logits=T(np.log(probs) + 5))):
        draws = c.sample((8000,))
        assert draws.shape == (8000, 2) and draws.dtype == cr.int64
        counts = np.stack([np.bincount(draws.numpy()[:, i], minlength=3) for i in range(2)]) / 8000
        np.testing.assert_allclose(counts, probs, atol=0.03)
        np.testing.assert_allclose(c.log_prob(cr.tensor([2, 0])).numpy(), np.log([0.7, 0.5]), rtol=1e-9)
        np.testing.assert_allclose(c.entropy().numpy(), stats.entropy(probs, axis=1), rtol=1e-9)
    one_hot = d.OneHotCategorical(T(probs)).sample((5,))
    assert one_hot.shape == (5, 2, 3) and (one_hot.sum(-1) == 1).all()


def test_gradients_reach_the_parameters() -> None:
    loc, scale = T(LOC).requires_grad_(), T(SCALE).requires_grad_()
    cr.manual_seed(0)
    d.Normal(loc, scale).rsample((1000,)).sum().backward()
    np.testing.assert_allclose(loc.grad.numpy(), 1000)  # type: ignore[union-attr]
    logits = T([0.1, 0.2, 0.3]).requires_grad_()
    d.Categorical(logits=logits).log_prob(cr.tensor(1)).backward()
    expected = np.eye(3)[1] - np.exp(logits.detach().numpy()) / np.exp(logits.detach().numpy()).sum()
    np.testing.assert_allclose(logits.grad.numpy(), expected, rtol=1e-9)  # type: ignore[union-attr]
    assert not d.Normal(loc, scale).sample().requires_grad


@pytest.mark.parametrize(
    "p, q",
    [
        (d.Normal(T(LOC), T(SCALE)), d.Normal(T(LOC + 1), T(SCALE * 2))),
        (d.Exponential(T(SCALE)), d.Exponential(T(SCALE * 3))),
        (d.Uniform(T(LOC), T(LOC + 1)), d.Uniform(T(LOC - 1), T(LOC + 2))),
        (d.Bernoulli(T([0.2, 0.7])), d.Bernoulli(T([0.4, 0.1]))),
        (d.MultivariateNormal(T(LOC), T(MATRIX)), d.MultivariateNormal(T(LOC * 0), T(np.eye(2) * 2))),
        (d.Independent(d.Normal(T(LOC), T(SCALE)), 1), d.Independent(d.Normal(T(LOC + 1), T(SCALE)), 1)),
    ],
    ids=lambda x: type(x).__name__,
)
def test_divergences_are_the_mean_difference_of_log_densities(p: Any, q: Any) -> None:
    cr.manual_seed(0)
    x = p.sample((40000,))
    estimate = (p.log_prob(x) - q.log_prob(x)).mean(0)
    np.testing.assert_allclose(d.kl_divergence(p, q).numpy(), estimate.numpy(), atol=0.05)


def test_wrong_parameters_are_refused() -> None:
    with pytest.raises(ValueError, match="parameter scale"):
        d.Normal(0.0, -1.0)
    with pytest.raises(ValueError, match="parameter probs"):
        d.Bernoulli(cr.tensor([1.5]))
    with pytest.raises(ValueError, match="not both"):
        d.Categorical()
    with pytest.raises(ValueError, match="reinterpreted"):
        d.Independent(d.Normal(0.0, 1.0), 1)
    with pytest.raises(NotImplementedError, match="register_kl"):
        d.kl_divergence(d.Normal(0.0, 1.0), d.Exponential(1.0))
    with pytest.raises(NotImplementedError, match="rsample"):
        d.Categorical(cr.ones(3)).rsample()


def test_the_default_of_validate_args_can_be_set() -> None:
    d.Distribution.set_default_validate_args(False)
    try:
        assert d.Normal(0.0, -1.0).scale.item() == -1
        with pytest.raises(ValueError, match="parameter scale"):
            d.Normal(0.0, -1.0, validate_args=True)
        with pytest.raises(ValueError, match="True or False"):
            d.Distribution.set_default_validate_args("no")  # type: ignore[arg-type]
    finally:
        d.Distribution.set_default_validate_args(True)
    assert d.Normal(0.0, -1.0, validate_args=False).scale.item() == -1
    with pytest.raises(ValueError, match="parameter scale"):
        d.Normal(0.0, -1.0)


@pytest.mark.parametrize(
    "make",
    [
        lambda x: d.Normal(x, x.exp()),
        lambda x: d.Laplace(x, x.exp()),
        lambda x: d.LogNormal(x, x.exp()),
        lambda x: d.Uniform(x, x + 1),
        lambda x: d.Exponential(x.exp()),
        lambda x: d.Poisson(x.exp()),
        lambda x: d.Bernoulli(logits=x),
        lambda x: d.Categorical(logits=x),
        lambda x: d.OneHotCategorical(logits=x),
        lambda x: d.MultivariateNormal(x, cr.eye(3, dtype=cr.float64)),
        lambda x: d.Independent(d.Normal(x, x.exp()), 1),
    ],
)
def test_draws_and_log_probabilities_compile(make: Any) -> None:
    """The same numbers under the same seed, and the same gradients."""

    def policy(x: Any, reward: Any) -> Any:
        distribution = make(x)
        action = distribution.sample()
        loss = -(distribution.log_prob(action) * reward).sum()
        if type(distribution).has_rsample:
            loss = loss + distribution.rsample((2,)).sum()
        return action, *cr.autograd.grad(loss, x)

    compiled = cr.compile(policy)
    for seed in (0, 1):
        x, reward = T([0.1, -0.4, 0.7]).requires_grad_(), T(0.5 + seed)
        results = []
        for run in (policy, compiled):
            cr.manual_seed(seed)
            results.append([found.numpy() for found in run(x, reward)])
        for mine, right in zip(results[1], results[0], strict=True):
            np.testing.assert_allclose(mine, right, rtol=1e-12, atol=1e-14)
    assert compiled.traces == 1
