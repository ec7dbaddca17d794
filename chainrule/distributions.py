"""`chainrule.distributions`: the probability distributions that programs sample from and take log-probabilities of.

>>> import chainrule as cr
>>> policy = cr.distributions.Categorical(logits=cr.zeros(2, 4))
>>> action = policy.sample()
>>> action.shape, policy.log_prob(action).exp().tolist()
((2,), [0.25, 0.25])
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from . import random as _random
from .absent import absent as _absent
from .core.dtypes import default_float as _default_float
from .core.grad_mode import no_grad as _no_grad
from .core.tensor import Size, Tensor, make_tensor
from .core.tracing import recorder as _recorder
from .nn import functional as _functional
from .ops import indexing as _indexing
from .ops import linalg as _linalg
from .ops import normalisation as _normalisation
from .ops import special as _special
from .ops.creation import as_tensor as _as_tensor
from .ops.creation import zeros as _zeros
from .ops.shape import broadcast_tensors as _broadcast_tensors
from .ops.shape import expand as _expand
from .stand_in import FILES as _FILES

__all__ = [
    "Bernoulli",
    "Categorical",
    "Distribution",
    "Exponential",
    "Independent",
    "Laplace",
    "LogNormal",
    "MultivariateNormal",
    "Normal",
    "OneHotCategorical",
    "Poisson",
    "Uniform",
    "kl_divergence",
    "register_kl",
]

HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


def _tensors(*values: Any) -> list[Tensor]:
    """Numbers and tensors as floating tensors of one shape."""
    kinds = [v.array.dtype for v in values if isinstance(v, Tensor) and v.array.dtype.kind == "f"]
    kind = kinds[0] if kinds else _default_float()
    given = [v if isinstance(v, Tensor) else _as_tensor(v, dtype=kind) for v in values]
    return list(_broadcast_tensors(*(v if v.array.dtype.kind == "f" else v.to(kind) for v in given)))


class Distribution:
    """What all distributions have.

    `batch_shape` is the shape of the parameters, one distribution for each; `event_shape` that of one draw.
    """

    has_rsample = False
    parameters: tuple[str, ...] = ()
    _validate_args = True

    def __init__(self, batch_shape: Any = (), event_shape: Any = (), validate_args: bool | None = None) -> None:
        self._batch_shape, self._event_shape = Size(batch_shape), Size(event_shape)
        self._validate = Distribution._validate_args if validate_args is None else validate_args

    @staticmethod
    def set_default_validate_args(value: bool) -> None:
        """Whether distributions that are made without `validate_args` refuse parameters and values that are wrong.

        Raises:
            ValueError: `value` is neither True nor False.
        """
        if value not in (True, False):
            raise ValueError(f"validate_args is True or False, not {value!r}")
        Distribution._validate_args = bool(value)

    @property
    def batch_shape(self) -> Size:
        return self._batch_shape

    @property
    def event_shape(self) -> Size:
        return self._event_shape

    def _shape(self, sample_shape: Any) -> Size:
        return Size((*sample_shape, *self._batch_shape, *self._event_shape))

    def _require(self, holds: Any, what: str, value: Tensor) -> None:
        if _recorder.get() is not None:  # in a compiled function, where values are not known
            return
        if self._validate and not np.all(holds):
            raise ValueError(
                f"Expected {what} of distribution {type(self).__name__} within its constraint, but found invalid "
                f"values:\n{value!r}"
            )

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draws, without a gradient. Shape: sample_shape + batch_shape + event_shape."""
        with _no_grad():
            return self.rsample(sample_shape)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draws through which gradients flow to the parameters.

        Raises:
            NotImplementedError: the distribution has no such draws.
        """
        raise NotImplementedError(f"{type(self).__name__} has no rsample: use sample, and log_prob for a gradient")

    def sample_n(self, n: int) -> Tensor:
        """`sample((n,))`."""
        return self.sample((n,))

    def log_prob(self, value: Tensor) -> Tensor:
        """The logarithm of the density or probability of a value."""
        raise NotImplementedError(f"{type(self).__name__}.log_prob")

    def entropy(self) -> Tensor:
        """The entropy."""
        raise NotImplementedError(f"{type(self).__name__}.entropy")

    def perplexity(self) -> Tensor:
        """The exponential of the entropy."""
        return self.entropy().exp()  # type: ignore[no-any-return]

    @property
    def mean(self) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__}.mean")

    @property
    def variance(self) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__}.variance")

    @property
    def stddev(self) -> Tensor:
        return self.variance.sqrt()  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}: {getattr(self, name)!r}" for name in self.parameters)
        return f"{type(self).__name__}({shown})"


class _LocationScale(Distribution):
    """Distributions that are shifted and stretched."""

    has_rsample = True
    parameters = ("loc", "scale")

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None) -> None:
        self.loc, self.scale = _tensors(loc, scale)
        super().__init__(self.loc.shape, (), validate_args)
        self._require(self.scale.array > 0, "parameter scale", self.scale)

    @property
    def mean(self) -> Tensor:
        return self.loc


class Normal(_LocationScale):
    """The normal distribution with mean `loc` and standard deviation `scale`."""

    @property
    def mode(self) -> Tensor:
        return self.loc

    @property
    def stddev(self) -> Tensor:
        return self.scale

    @property
    def variance(self) -> Tensor:
        return self.scale * self.scale

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        noise = _random.randn(self._shape(sample_shape), dtype=self.loc.array.dtype)
        return self.loc + noise * self.scale

    def log_prob(self, value: Tensor) -> Tensor:
        distance = (value - self.loc) / self.scale
        return -0.5 * distance * distance - self.scale.log() - HALF_LOG_2PI  # type: ignore[no-any-return]

    def entropy(self) -> Tensor:
        return 0.5 + HALF_LOG_2PI + self.scale.log()  # type: ignore[no-any-return]

    def cdf(self, value: Tensor) -> Tensor:
        """The probability of at most `value`."""
        return 0.5 * (1 + ((value - self.loc) / (self.scale * math.sqrt(2))).erf())  # type: ignore[no-any-return]

    def icdf(self, value: Tensor) -> Tensor:
        """The value below which a draw lies with probability `value`."""
        return self.loc + self.scale * math.sqrt(2) * (2 * value - 1).erfinv()  # type: ignore[no-any-return]


class LogNormal(_LocationScale):
    """The exponential of a normal distribution with mean `loc` and standard deviation `scale`."""

    @property
    def base_dist(self) -> Normal:
        return Normal(self.loc, self.scale)

    @property
    def mean(self) -> Tensor:
        return (self.loc + self.scale * self.scale / 2).exp()  # type: ignore[no-any-return]

    @property
    def variance(self) -> Tensor:
        square = self.scale * self.scale
        return square.expm1() * (2 * self.loc + square).exp()  # type: ignore[no-any-return]

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self.base_dist.rsample(sample_shape).exp()  # type: ignore[no-any-return]

    def log_prob(self, value: Tensor) -> Tensor:
        return self.base_dist.log_prob(value.log()) - value.log()  # type: ignore[no-any-return]

    def entropy(self) -> Tensor:
        return self.base_dist.entropy() + self.loc


class Laplace(_LocationScale):
    """The Laplace distribution, two exponentials back to back."""

    @property
    def variance(self) -> Tensor:
        return 2 * self.scale * self.scale

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        shape, kind = self._shape(sample_shape), self.loc.array.dtype
        tiny = float(np.finfo(kind).tiny)
        noise = [-(_random.rand(shape, dtype=kind) + tiny).log() for _ in range(2)]
        return self.loc + self.scale * (noise[0] - noise[1])  # type: ignore[no-any-return]

    def log_prob(self, value: Tensor) -> Tensor:
        return -(2 * self.scale).log() - (value - self.loc).abs() / self.scale  # type: ignore[no-any-return]

    def entropy(self) -> Tensor:
        return 1 + (2 * self.scale).log()  # type: ignore[no-any-return]


class Uniform(Distribution):
    """The uniform distribution from `low` to `high`."""

    has_rsample = True
    parameters = ("low", "high")

    def __init__(self, low: Any, high: Any, validate_args: bool | None = None) -> None:
        self.low, self.high = _tensors(low, high)
        super().__init__(self.low.shape, (), validate_args)
        self._require(self.low.array < self.high.array, "parameters low < high", self.low)

    @property
    def mean(self) -> Tensor:
        return (self.high + self.low) / 2

    @property
    def variance(self) -> Tensor:
        width = self.high - self.low
        return width * width / 12

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        draws = _random.rand(self._shape(sample_shape), dtype=self.low.array.dtype)
        return self.low + draws * (self.high - self.low)

    def log_prob(self, value: Tensor) -> Tensor:
        inside = (value >= self.low) & (value < self.high)
        return inside.to(self.low.array.dtype).log() - (self.high - self.low).log()  # type: ignore[no-any-return]

    def entropy(self) -> Tensor:
        return (self.high - self.low).log()  # type: ignore[no-any-return]


class Exponential(Distribution):
    """The exponential distribution of a rate."""

    has_rsample = True
    parameters = ("rate",)

    def __init__(self, rate: Any, validate_args: bool | None = None) -> None:
        (self.rate,) = _tensors(rate)
        super().__init__(self.rate.shape, (), validate_args)
        self._require(self.rate.array > 0, "parameter rate", self.rate)

    @property
    def mean(self) -> Tensor:
        return 1 / self.rate

    @property
    def variance(self) -> Tensor:
        return 1 / (self.rate * self.rate)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        draws = _zeros(self._shape(sample_shape), dtype=self.rate.array.dtype).exponential_()
        return draws / self.rate  # type: ignore[no-any-return]

    def log_prob(self, value: Tensor) -> Tensor:
        return self.rate.log() - self.rate * value  # type: ignore[no-any-return]

    def entropy(self) -> Tensor:
        return 1 - self.rate.log()  # type: ignore[no-any-return]


class Poisson(Distribution):
    """The Poisson distribution of a rate."""

    parameters = ("rate",)

    def __init__(self, rate: Any, validate_args: bool | None = None) -> None:
        (self.rate,) = _tensors(rate)
        super().__init__(self.rate.shape, (), validate_args)
        self._require(self.rate.array >= 0, "parameter rate", self.rate)

    @property
    def mean(self) -> Tensor:
        return self.rate

    @property
    def variance(self) -> Tensor:
        return self.rate

    def sample(self, sample_shape: Any = ()) -> Tensor:
        return _random.poisson(_expand(self.rate.detach(), self._shape(sample_shape)))

    def log_prob(self, value: Tensor) -> Tensor:
        return _special.xlogy(value, self.rate) - self.rate - (value + 1).lgamma()  # type: ignore[no-any-return]


class _Logits(Distribution):
    """Distributions given by probabilities or by their logits: one of the two, the other follows."""

    def __init__(self, probs: Any, logits: Any, event: int, validate_args: bool | None) -> None:
        if (probs is None) == (logits is None):
            raise ValueError("Either `probs` or `logits` must be specified, but not both.")
        (given,) = _tensors(logits if probs is None else probs)
        if given.ndim < event:
            raise ValueError(f"{'logits' if probs is None else 'probs'} must be at least one-dimensional")
        self.parameters = ("logits",) if probs is None else ("probs",)
        self._given = given
        super().__init__(given.shape[: given.ndim - event], (), validate_args)
        if probs is not None:
            self._require((given.array >= 0) & (event or given.array <= 1), "parameter probs", given)
        self._require(~np.isnan(given.array), f"parameter {self.parameters[0]}", given)

    @property
    def param_shape(self) -> Size:
        return self._given.shape


def _bounded(probs: Tensor) -> Tensor:
    """Probabilities so far from 0 and 1 that their logits are finite."""
    eps = float(np.finfo(probs.array.dtype).eps)
    return probs.clamp(eps, 1 - eps)  # type: ignore[no-any-return]


class Bernoulli(_Logits):
    """1 with a probability, 0 otherwise."""

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: bool | None = None) -> None:
        super().__init__(probs, logits, 0, validate_args)

    @property
    def probs(self) -> Tensor:
        return self._given if self.parameters == ("probs",) else self._given.sigmoid()

    @property
    def logits(self) -> Tensor:
        if self.parameters == ("logits",):
            return self._given
        bounded = _bounded(self._given)
        return bounded.log() - (-bounded).log1p()  # type: ignore[no-any-return]

    @property
    def mean(self) -> Tensor:
        return self.probs

    @property
    def variance(self) -> Tensor:
        return self.probs * (1 - self.probs)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        return _random.bernoulli(_expand(self.probs.detach(), self._shape(sample_shape)))

    def log_prob(self, value: Tensor) -> Tensor:
        logits, value = _broadcast_tensors(self.logits, value)
        return -_functional.binary_cross_entropy_with_logits(logits, value, reduction="none")

    def entropy(self) -> Tensor:
        return _functional.binary_cross_entropy_with_logits(self.logits, self.probs, reduction="none")


class Categorical(_Logits):
    """A category 0 ... n - 1, by probabilities in proportion to `probs` (..., n), or by `logits`."""

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: bool | None = None) -> None:
        super().__init__(probs, logits, 1, validate_args)

    @property
    def probs(self) -> Tensor:
        if self.parameters == ("probs",):
            return self._given / self._given.sum(-1, keepdim=True)  # type: ignore[no-any-return]
        return _normalisation.softmax(self._given, -1)

    @property
    def logits(self) -> Tensor:
        if self.parameters == ("probs",):
            return _bounded(self.probs).log()  # type: ignore[no-any-return]
        return self._given - self._given.logsumexp(-1, keepdim=True)  # type: ignore[no-any-return]

    @property
    def mode(self) -> Tensor:
        return self._given.argmax(-1)  # type: ignore[no-any-return]

    def sample(self, sample_shape: Any = ()) -> Tensor:
        probs = self.probs.detach()
        count = math.prod(sample_shape)
        rows = probs.reshape(-1, probs.shape[-1])
        if not count:
            return make_tensor(np.zeros(self._shape(sample_shape), np.int64), None)
        drawn = _random.multinomial(rows, count, replacement=True).T.contiguous()
        return drawn.reshape(self._shape(sample_shape))  # type: ignore[no-any-return]

    def log_prob(self, value: Tensor) -> Tensor:
        index, logits = value.long().unsqueeze(-1), self.logits
        shape = np.broadcast_shapes(index.shape[:-1], logits.shape[:-1])
        chosen = _indexing.gather(_expand(logits, (*shape, logits.shape[-1])), -1, _expand(index, (*shape, 1)))
        return chosen.squeeze(-1)  # type: ignore[no-any-return]

    def entropy(self) -> Tensor:
        lowest = float(np.finfo(self._given.array.dtype).min)
        return -(self.probs * self.logits.clamp(min=lowest)).sum(-1)  # type: ignore[no-any-return]


class OneHotCategorical(Categorical):
    """A category as a vector of zeros with one 1."""

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: bool | None = None) -> None:
        super().__init__(probs, logits, validate_args)
        self._event_shape = Size(self._given.shape[-1:])

    @property
    def mean(self) -> Tensor:
        return self.probs

    def sample(self, sample_shape: Any = ()) -> Tensor:
        places = Categorical(logits=self.logits.detach()).sample(sample_shape)
        return _functional.one_hot(places, self._given.shape[-1]).to(self._given.array.dtype)  # type: ignore[no-any-return]

    def log_prob(self, value: Tensor) -> Tensor:
        return super().log_prob(value.argmax(-1))


class MultivariateNormal(Distribution):
    """The normal distribution in several dimensions, by covariance, precision or Cholesky factor (..., d, d)."""

    has_rsample = True
    parameters = ("loc", "covariance_matrix")

    def __init__(
        self,
        loc: Tensor,
        covariance_matrix: Any = None,
        precision_matrix: Any = None,
        scale_tril: Any = None,
        validate_args: bool | None = None,
    ) -> None:
        if sum(given is not None for given in (covariance_matrix, precision_matrix, scale_tril)) != 1:
            raise ValueError("Exactly one of covariance_matrix or precision_matrix or scale_tril may be specified.")
        if precision_matrix is not None:
            covariance_matrix = _linalg.inv(precision_matrix)
        self.scale_tril: Tensor = _linalg.cholesky(covariance_matrix) if scale_tril is None else scale_tril
        batch = np.broadcast_shapes(loc.shape[:-1], self.scale_tril.shape[:-2])
        self.loc = _expand(loc, (*batch, loc.shape[-1]))
        super().__init__(batch, loc.shape[-1:], validate_args)

    @property
    def covariance_matrix(self) -> Tensor:
        return self.scale_tril @ self.scale_tril.mT  # type: ignore[no-any-return]

    @property
    def precision_matrix(self) -> Tensor:
        return _linalg.inv(self.covariance_matrix)

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        return _expand((self.scale_tril * self.scale_tril).sum(-1), self._shape(()))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        noise = _random.randn(self._shape(sample_shape), dtype=self.loc.array.dtype)
        return self.loc + (self.scale_tril @ noise.unsqueeze(-1)).squeeze(-1)  # type: ignore[no-any-return]

    def _half_log_det(self) -> Tensor:
        return self.scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)  # type: ignore[no-any-return]

    def log_prob(self, value: Tensor) -> Tensor:
        white = _linalg.solve_triangular(self.scale_tril, (value - self.loc).unsqueeze(-1), upper=False).squeeze(-1)
        square = (white * white).sum(-1)
        return -0.5 * square - self._half_log_det() - self.loc.shape[-1] * HALF_LOG_2PI  # type: ignore[no-any-return]

    def entropy(self) -> Tensor:
        return _expand(self._half_log_det() + self.loc.shape[-1] * (0.5 + HALF_LOG_2PI), self._batch_shape)


class Independent(Distribution):
    """A distribution, the last axes of whose batch count as one event."""

    def __init__(
        self, base_distribution: Distribution, reinterpreted_batch_ndims: int, validate_args: bool | None = None
    ) -> None:
        batch = base_distribution.batch_shape
        if reinterpreted_batch_ndims > len(batch):
            raise ValueError(
                "Expected reinterpreted_batch_ndims <= len(base_distribution.batch_shape), "
                f"actual {reinterpreted_batch_ndims} vs {len(batch)}"
            )
        self.base_dist, self.reinterpreted_batch_ndims = base_distribution, reinterpreted_batch_ndims
        self.has_rsample = base_distribution.has_rsample
        split = len(batch) - reinterpreted_batch_ndims
        super().__init__(batch[:split], (*batch[split:], *base_distribution.event_shape), validate_args)

    @property
    def mean(self) -> Tensor:
        return self.base_dist.mean

    @property
    def variance(self) -> Tensor:
        return self.base_dist.variance

    def sample(self, sample_shape: Any = ()) -> Tensor:
        return self.base_dist.sample(sample_shape)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self.base_dist.rsample(sample_shape)

    def _summed(self, values: Tensor) -> Tensor:
        axes = tuple(range(-self.reinterpreted_batch_ndims, 0))
        return values.sum(axes) if axes else values

    def log_prob(self, value: Tensor) -> Tensor:
        return self._summed(self.base_dist.log_prob(value))

    def entropy(self) -> Tensor:
        return self._summed(self.base_dist.entropy())


# ----- divergence -------------------------------------------------------------------------------------------------

_DIVERGENCES: dict[tuple[type, type], Callable[[Any, Any], Tensor]] = {}


def register_kl(type_p: type, type_q: type) -> Callable[[Any], Any]:
    """Make the decorated function the divergence between two kinds of distributions."""

    def register(function: Any) -> Any:
        _DIVERGENCES[type_p, type_q] = function
        return function

    return register


def kl_divergence(p: Distribution, q: Distribution) -> Tensor:
    r"""The Kullback-Leibler divergence $\int p \log (p / q)$.

    Raises:
        NotImplementedError: no formula is known for the two kinds.

    >>> import chainrule as cr
    >>> d = cr.distributions
    >>> d.kl_divergence(d.Normal(1.0, 1.0), d.Normal(0.0, 1.0)).item()
    0.5
    """
    for kind_p in type(p).__mro__:
        for kind_q in type(q).__mro__:
            if (kind_p, kind_q) in _DIVERGENCES:
                return _DIVERGENCES[kind_p, kind_q](p, q)
    raise NotImplementedError(
        f"no divergence from {type(p).__name__} to {type(q).__name__} is known: write one with register_kl"
    )


@register_kl(Normal, Normal)
def _normal_normal(p: Normal, q: Normal) -> Tensor:
    ratio, distance = p.scale / q.scale, (p.loc - q.loc) / q.scale
    return 0.5 * (ratio * ratio + distance * distance - 1) - ratio.log()  # type: ignore[no-any-return]


@register_kl(Bernoulli, Bernoulli)
def _bernoulli_bernoulli(p: Bernoulli, q: Bernoulli) -> Tensor:
    logits, probs = _broadcast_tensors(q.logits, p.probs)
    return _functional.binary_cross_entropy_with_logits(logits, probs, reduction="none") - p.entropy()


@register_kl(Categorical, Categorical)
def _categorical_categorical(p: Categorical, q: Categorical) -> Tensor:
    return (p.probs * (p.logits - q.logits)).sum(-1)  # type: ignore[no-any-return]


@register_kl(Exponential, Exponential)
def _exponential_exponential(p: Exponential, q: Exponential) -> Tensor:
    ratio = q.rate / p.rate
    return ratio - 1 - ratio.log()  # type: ignore[no-any-return]


@register_kl(Uniform, Uniform)
def _uniform_uniform(p: Uniform, q: Uniform) -> Tensor:
    outside = (p.low < q.low) | (p.high > q.high)
    ratio = ((q.high - q.low) / (p.high - p.low)).log()
    return ratio.masked_fill(outside, math.inf)  # type: ignore[no-any-return]


@register_kl(MultivariateNormal, MultivariateNormal)
def _multivariate(p: MultivariateNormal, q: MultivariateNormal) -> Tensor:
    spread = _linalg.solve_triangular(q.scale_tril, p.scale_tril, upper=False)
    white = _linalg.solve_triangular(q.scale_tril, (q.loc - p.loc).unsqueeze(-1), upper=False)
    square = (spread * spread).sum((-2, -1)) + (white * white).sum((-2, -1))
    return q._half_log_det() - p._half_log_det() + 0.5 * (square - p.loc.shape[-1])  # type: ignore[no-any-return]


@register_kl(Independent, Independent)
def _independent_independent(p: Independent, q: Independent) -> Tensor:
    return p._summed(kl_divergence(p.base_dist, q.base_dist))


__getattr__ = _absent(__name__, {name: "chainrule.distributions" for name in _FILES["chainrule.distributions"].split()})
