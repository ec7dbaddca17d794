"""Random numbers: generators, random tensors, and the methods that fill a tensor in place.

All draw from one default generator, which `manual_seed` sets, unless they are given a `Generator` of their own.
NumPy's random module is loaded when the first number is drawn.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from .absent import absent as _absent
from .core.dtypes import as_numpy_dtype, default_float, to_real
from .core.levels import drawing_from
from .core.tensor import Tensor, make_tensor
from .core.tracing import recorder
from .core.views import write_in_place
from .ops.common import attach
from .ops.creation import factory, sizes_of

__all__ = [
    "Generator",
    "bernoulli",
    "binomial",
    "default_generator",
    "fork_rng",
    "get_rng_state",
    "initial_seed",
    "manual_seed",
    "multinomial",
    "normal",
    "poisson",
    "rand",
    "rand_like",
    "randint",
    "randint_like",
    "randn",
    "randn_like",
    "randperm",
    "seed",
    "set_rng_state",
]


# ----- generators -------------------------------------------------------------------------------------------------


class Generator:
    """A source of random numbers with its own state.

    Args:
        device: only "cpu".

    >>> g = Generator().manual_seed(7)
    >>> first = rand(2, generator=g)
    >>> bool((rand(2, generator=g.manual_seed(7)) == first).all())
    True
    """

    def __init__(self, device: Any = "cpu") -> None:
        if recorder.get() is not None:
            recorder.get().refuse_seed("Generator")
        self.device = device
        self._seed = 0
        self._numbers: Any = None

    @property
    def numbers(self) -> Any:
        """The `numpy.random.Generator` behind this generator."""
        if self._numbers is None:
            self._numbers = np.random.default_rng(self._seed)
        return self._numbers

    def manual_seed(self, seed: int) -> Generator:
        """Start the sequence that belongs to `seed`; returns the generator."""
        if recorder.get() is not None:
            recorder.get().refuse_seed("manual_seed")
        self._seed = int(seed) % 2**64
        self._numbers = None
        return self

    def seed(self) -> int:
        """Start an unpredictable sequence; returns the seed that was chosen."""
        self.manual_seed(int.from_bytes(os.urandom(8), "big") >> 11)
        return self._seed

    def initial_seed(self) -> int:
        """The seed of the present sequence."""
        if recorder.get() is not None:
            recorder.get().refuse_seed("initial_seed")
        return self._seed

    def get_state(self) -> Tensor:
        """Where in its sequence the generator is, as a tensor of bytes."""
        tracing = recorder.get()
        if tracing is not None:
            return tracing.place_of(self)  # type: ignore[no-any-return]
        return self._state()

    def _state(self) -> Tensor:
        import json

        state = {"seed": self._seed, "state": self.numbers.bit_generator.state}
        return make_tensor(np.frombuffer(json.dumps(state).encode(), dtype=np.uint8).copy(), None)

    def set_state(self, new_state: Tensor) -> Generator:
        """Go to a place in a sequence that `get_state` returned.

        Raises:
            RuntimeError: the tensor holds no such state.
        """
        tracing = recorder.get()
        if tracing is not None:
            tracing.go_to(self, new_state)
            return self
        return self._go_to(new_state)

    def _go_to(self, new_state: Tensor) -> Generator:
        import json

        try:
            state = json.loads(new_state.array.astype(np.uint8).tobytes())
            numbers = np.random.default_rng(0)
            numbers.bit_generator.state = state["state"]
            self._seed = int(state["seed"])
        except (AttributeError, ValueError, KeyError, TypeError):
            raise RuntimeError(
                "Invalid generator state: set_state() takes the tensor of bytes that get_state() returned"
            ) from None
        self._numbers = numbers
        return self

    def clone_state(self) -> Generator:
        """Another generator at the same place of the same sequence."""
        return Generator(self.device).set_state(self.get_state())

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self.get_state().array.tobytes(),)


def _restored(state: bytes) -> Generator:
    return Generator().set_state(make_tensor(np.frombuffer(state, dtype=np.uint8), None))


default_generator = Generator()
default_generator.seed()


def manual_seed(seed: int) -> Generator:
    """Start the default generator's sequence for `seed`; returns the generator.

    >>> _ = manual_seed(0)
    >>> a = rand(3)
    >>> _ = manual_seed(0)
    >>> bool((a == rand(3)).all())
    True
    """
    return default_generator.manual_seed(seed)


def seed() -> int:
    """Start an unpredictable sequence; returns the seed that was chosen."""
    return default_generator.seed()


def initial_seed() -> int:
    """The seed of the default generator's sequence."""
    return default_generator.initial_seed()


def get_rng_state() -> Tensor:
    """Where in its sequence the default generator is."""
    return default_generator.get_state()


def set_rng_state(new_state: Tensor) -> None:
    """Go back to a place that `get_rng_state` returned."""
    default_generator.set_state(new_state)


@contextlib.contextmanager
def fork_rng(devices: Any = (), enabled: bool = True, **_: Any) -> Iterator[None]:
    """Restore the default generator's place in its sequence at the end of the block."""
    state = get_rng_state() if enabled else None
    try:
        yield
    finally:
        if state is not None:
            set_rng_state(state)


def numbers_of(generator: Generator | None) -> Any:
    """The `numpy.random.Generator` to draw from."""
    if generator is None:
        generator = default_generator
    elif not isinstance(generator, Generator):
        raise TypeError(f"generator must be a chainrule.Generator or None, got {type(generator).__name__}")
    tracing = recorder.get()
    return drawing_from(generator.numbers if tracing is None else tracing.numbers(generator))


# ----- arrays of random numbers -----------------------------------------------------------------------------------


def _uniform(numbers: Any, shape: Any, dtype: np.dtype[Any]) -> Any:
    """Uniform on [0, 1), both parts for a complex type."""
    if dtype.kind == "c":
        return (_uniform(numbers, shape, to_real(dtype)) + 1j * _uniform(numbers, shape, to_real(dtype))).astype(dtype)
    if dtype.kind != "f":
        raise RuntimeError(f"uniform random numbers are floating or complex, not {dtype}: use randint")
    if dtype.itemsize >= 4:
        return numbers.random(shape, dtype=dtype)
    return np.floor(numbers.random(shape, dtype=np.float32) * 2048).astype(dtype) / dtype.type(2048)


def _normal(numbers: Any, shape: Any, dtype: np.dtype[Any]) -> Any:
    """Standard normal; for a complex type of variance 1, half of it in each part."""
    if dtype.kind == "c":
        parts = [_normal(numbers, shape, to_real(dtype)) for _ in range(2)]
        return ((parts[0] + 1j * parts[1]) * np.sqrt(0.5)).astype(dtype)
    if dtype.kind != "f":
        raise RuntimeError(f"normal random numbers are floating or complex, not {dtype}: use randint")
    wide = dtype if dtype.itemsize >= 4 else np.dtype(np.float32)
    return numbers.standard_normal(shape, dtype=wide).astype(dtype, copy=False)


def _drawn(numbers: Any, function: Any, *args: Any) -> Any:
    """`function(numbers, *args)`, for functions that look at values; in a trace a step of the program."""
    return numbers.recorded(function, *args) if hasattr(numbers, "recorded") else function(numbers, *args)


def _dtype(dtype: Any, fallback: Any = None) -> np.dtype[Any]:
    if dtype is not None:
        return as_numpy_dtype(dtype)
    return default_float() if fallback is None else as_numpy_dtype(fallback)


def batched(value: Any) -> bool:
    """Whether an array holds the values of several samples under vmap."""
    return hasattr(type(value), "__fit_gradient__")


def as_it_is(value: Any) -> Any:
    """A number as an array; several samples' values, and those of a trace, as they are."""
    return value if batched(value) or hasattr(value, "as_number") else np.asarray(value)


def _new(array: Any, requires_grad: bool) -> Tensor:
    return make_tensor(as_it_is(array), None).requires_grad_(requires_grad)


@factory
def rand(
    *size: Any,
    generator: Generator | None = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Uniform numbers on [0, 1), of the given size.

    >>> rand(2, 3).shape, rand((4,)).shape
    ((2, 3), (4,))
    """
    return _new(_uniform(numbers_of(generator), sizes_of(size), _dtype(dtype)), requires_grad)


@factory
def randn(
    *size: Any,
    generator: Generator | None = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Standard normal numbers, of the given size."""
    return _new(_normal(numbers_of(generator), sizes_of(size), _dtype(dtype)), requires_grad)


def _integers(numbers: Any, low: int, high: int, shape: Any, dtype: np.dtype[Any]) -> Any:
    low, high = int(low), int(high)
    if low >= high:
        raise RuntimeError(f"random_ expects 'from' to be less than 'to', but got from={low} >= to={high}")
    return numbers.integers(low, high, shape, dtype=np.int64).astype(dtype, copy=False)


@factory
def randint(
    low: Any = None,
    high: Any = None,
    size: Any = None,
    *,
    generator: Generator | None = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Integers from `low` (0 if only one limit is given) up to but without `high`: `randint(10, (3,))`.

    Raises:
        RuntimeError: there is no integer between the limits.

    >>> randint(3, 5, (2, 2)).shape
    (2, 2)
    """
    if size is None:
        high, size = None, high
    if high is None or low is None:  # one limit, by either name
        low, high = 0, (low if high is None else high)
    if high is None:
        raise TypeError("randint() missing 1 required positional argument: 'high'")
    if isinstance(size, int) or size is None:
        raise TypeError(f"randint(): argument 'size' must be a tuple of ints, not {type(size).__name__}")
    shape = sizes_of((size,))
    return _new(_integers(numbers_of(generator), low, high, shape, _dtype(dtype, np.int64)), requires_grad)


@factory
def randperm(
    n: int,
    *,
    generator: Generator | None = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """The integers 0 to n - 1 in random order."""
    if n < 0:
        raise RuntimeError(f"n must be non-negative, got {n}")
    return _new(numbers_of(generator).permutation(int(n)).astype(_dtype(dtype, np.int64)), requires_grad)


@factory
def rand_like(input: Tensor, *, dtype: Any = None, generator: Generator | None = None, **options: Any) -> Tensor:
    """Uniform numbers on [0, 1) in a tensor's shape and type."""
    return rand(input.shape, generator=generator, dtype=dtype or input.dtype, **_without_format(options))


@factory
def randn_like(input: Tensor, *, dtype: Any = None, generator: Generator | None = None, **options: Any) -> Tensor:
    """Standard normal numbers in a tensor's shape and type."""
    return randn(input.shape, generator=generator, dtype=dtype or input.dtype, **_without_format(options))


@factory
def randint_like(
    input: Tensor,
    low: int | None = None,
    high: int | None = None,
    *,
    dtype: Any = None,
    generator: Generator | None = None,
    **options: Any,
) -> Tensor:
    """Integers between limits in a tensor's shape and type."""
    options = _without_format(options)
    return randint(low, high, input.shape, generator=generator, dtype=dtype or input.dtype, **options)


def _without_format(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name != "memory_format"}


def _array(value: Any) -> Any:
    return value.array if isinstance(value, Tensor) else value


@factory
def normal(
    mean: Any,
    std: Any = 1.0,
    size: Any = None,
    *,
    generator: Generator | None = None,
    dtype: Any = None,
    **options: Any,
) -> Tensor:
    """Normal numbers; `mean` and `std` are numbers (then `size` is needed) or tensors that broadcast.

    Raises:
        RuntimeError: a negative `std`.
    """
    mean, std = _array(mean), _array(std)
    traced = any(hasattr(x, "as_number") for x in (mean, std))
    if not traced and not batched(std):
        _check_deviation(std)
    given = [x.dtype for x in (mean, std) if hasattr(x, "dtype")]
    kind = _dtype(dtype, given[0] if given and given[0].kind in "fc" else None)
    if size is None:
        if not given:
            raise TypeError("normal() with a number for mean and std needs size")
        shape = np.broadcast_shapes(np.shape(mean), np.shape(std))
    else:
        shape = sizes_of((size,))
    numbers = numbers_of(generator)
    if traced:
        array = _drawn(numbers, _normal_around, mean, std, shape, kind)
    else:
        array = as_it_is(_normal(numbers, shape, kind) * std + mean).astype(kind, copy=False)
    return _new(array, bool(options.get("requires_grad", False)))


def _normal_around(numbers: Any, mean: Any, std: Any, shape: Any, kind: Any) -> Any:
    """`normal` on arrays."""
    _check_deviation(std)
    kind = np.dtype(kind)
    return np.asarray(_normal(numbers, shape, kind) * std + mean).astype(kind, copy=False)


def _check_deviation(std: Any) -> None:
    if np.any(np.asarray(std) < 0):
        raise RuntimeError(f"normal expects all elements of std >= 0.0, got {std}")


def _hits(numbers: Any, chance: Any, shape: Any) -> Any:
    """`bernoulli` on arrays."""
    _check_probability(chance)
    return numbers.random(shape) < chance


def _binomial(numbers: Any, count: Any, chance: Any) -> Any:
    """`binomial` on arrays."""
    _check_probability(chance)
    return numbers.binomial(count.astype(np.int64), chance)


def _check_probability(p: Any) -> None:
    p = p if batched(p) else np.asarray(p)
    if not batched(p) and not np.all((p >= 0) & (p <= 1)):
        raise RuntimeError("Expected p_in >= 0 && p_in <= 1 to be true: a probability lies between 0 and 1")


@factory
def bernoulli(input: Tensor, p: Any = None, *, generator: Generator | None = None) -> Tensor:
    """Ones with the probabilities in `input` (or `p`, in the shape of `input`), zeros elsewhere.

    Raises:
        RuntimeError: a probability outside [0, 1].
    """
    draws = _drawn(numbers_of(generator), _hits, _array(input if p is None else p), input.shape)
    return _new(draws.astype(input.array.dtype), False)


@factory
def poisson(input: Tensor, generator: Generator | None = None) -> Tensor:
    """Poisson numbers with the rates in `input`."""
    return _new(numbers_of(generator).poisson(input.array).astype(input.array.dtype), False)


@factory
def binomial(count: Tensor, prob: Tensor, generator: Generator | None = None) -> Tensor:
    """Binomial numbers: how many of `count` trials succeed with probability `prob`."""
    draws = _drawn(numbers_of(generator), _binomial, _array(count), _array(prob))
    return _new(as_it_is(draws).astype(_array(count).dtype), False)


@factory
def multinomial(
    input: Tensor,
    num_samples: int,
    replacement: bool = False,
    *,
    generator: Generator | None = None,
) -> Tensor:
    """Indices drawn with probabilities in proportion to `input`, (categories,) or (rows, categories).

    Raises:
        RuntimeError: a weight is negative, infinite or NaN; a row sums to 0; too many samples without replacement.

    >>> multinomial(Tensor([0.0, 3.0, 0.0]), 4, replacement=True)
    Tensor(array([1, 1, 1, 1]), requires_grad=False)
    """
    weights = input.array
    if weights.ndim not in (1, 2):
        raise RuntimeError(f"prob_dist must be 1 or 2 dim, got shape {input.shape}")
    if weights.dtype.kind != "f":
        raise RuntimeError(f"multinomial only supports floating-point dtypes for input, got: {input.dtype}")
    numbers = numbers_of(generator)
    if batched(weights):
        if not hasattr(numbers, "draw"):
            raise RuntimeError("vmap: samples with probabilities of their own need randomness='different'")
        return make_tensor(numbers.draw(_choose, weights, num_samples, replacement), None)
    return make_tensor(_drawn(numbers, _choose, weights, num_samples, replacement), None)


def _choose(numbers: Any, weights: Any, num_samples: int, replacement: bool) -> Any:
    """`multinomial` on arrays."""
    rows = np.atleast_2d(weights).astype(np.float64)
    if not np.all(np.isfinite(rows)) or np.any(rows < 0):
        raise RuntimeError("probability tensor contains either `inf`, `nan` or element < 0")
    totals = rows.sum(axis=1, keepdims=True)
    if np.any(totals <= 0):
        raise RuntimeError("invalid multinomial distribution (sum of probabilities <= 0)")
    if replacement:
        ladder = np.cumsum(rows / totals, axis=1)
        ladder /= ladder[:, -1:]
        draws = numbers.random((len(rows), num_samples))
        chosen = np.stack(
            [np.searchsorted(steps, draw, side="right") for steps, draw in zip(ladder, draws, strict=True)]
        )
    else:
        if num_samples > rows.shape[1] or np.any((rows > 0).sum(axis=1) < num_samples):
            raise RuntimeError(
                f"cannot sample n_sample > prob_dist.size(-1) samples without replacement: {num_samples} of "
                f"{rows.shape[1]} categories, some of weight 0"
            )
        # the largest of weight / exponential noise: successive sampling without replacement (Efraimidis, Spirakis 2006)
        races = np.where(rows > 0, rows, -1.0) / numbers.exponential(size=rows.shape)
        chosen = np.argsort(-races, axis=1)[:, :num_samples]
    return chosen.reshape(*weights.shape[:-1], num_samples).astype(np.int64)


# ----- filling a tensor in place ----------------------------------------------------------------------------------


def _fill(tensor: Tensor, operation: str, draw: Any, generator: Generator | None) -> Tensor:
    """Write `draw(numbers, shape, dtype)` into the tensor; the values before it get no gradient."""
    numbers = numbers_of(generator)

    def fresh(_: Tensor) -> Tensor:
        array = as_it_is(draw(numbers, tensor.shape, tensor.array.dtype))
        return make_tensor(array.astype(tensor.array.dtype, copy=False), None)

    return write_in_place(tensor, operation, fresh)


def uniform_(self: Tensor, low: float = 0.0, high: float = 1.0, *, generator: Generator | None = None) -> Tensor:
    """Fill this tensor with uniform numbers on [low, high); returns it."""
    if low > high:
        raise RuntimeError(f"uniform_ expects to return a [from, to) range, but found from={low} > to={high}")
    return _fill(self, "uniform_", lambda n, shape, dtype: _uniform(n, shape, dtype) * (high - low) + low, generator)


def normal_(self: Tensor, mean: float = 0.0, std: float = 1.0, *, generator: Generator | None = None) -> Tensor:
    """Fill this tensor with normal numbers; returns it."""
    if std < 0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {std}")
    return _fill(self, "normal_", lambda n, shape, dtype: _normal(n, shape, dtype) * std + mean, generator)


def bernoulli_(self: Tensor, p: Any = 0.5, *, generator: Generator | None = None) -> Tensor:
    """Fill this tensor with ones of probability `p` and zeros; returns it."""
    chance = _array(p)
    return _fill(self, "bernoulli_", lambda n, shape, dtype: _drawn(n, _hits, chance, shape), generator)


def random_(
    self: Tensor, low: int | None = None, high: int | None = None, *, generator: Generator | None = None
) -> Tensor:
    """Fill this tensor with integers: `random_()`, `random_(high)`, `random_(low, high)`; returns it.

    Without a limit, all values of an integer type, or all integers that a floating type represents exactly.
    """
    if high is None:
        low, high = 0, low
    kind = self.array.dtype
    if high is None:
        if kind.kind == "f":
            high = 2 ** (np.finfo(kind).nmant + 1) + 1
        else:
            high = 2 if kind.kind == "b" else int(np.iinfo(kind).max) + (kind.itemsize < 8)
    first, last = int(low or 0), int(high)
    return _fill(self, "random_", lambda n, shape, dtype: _integers(n, first, last, shape, dtype), generator)


def exponential_(self: Tensor, lambd: float = 1.0, *, generator: Generator | None = None) -> Tensor:
    """Fill this tensor with exponential numbers of rate `lambd`; returns it."""
    if lambd <= 0:
        raise RuntimeError(f"exponential_ expects lambda > 0.0, but found lambda={lambd}")
    return _fill(self, "exponential_", lambda n, shape, dtype: n.exponential(1 / lambd, shape), generator)


def geometric_(self: Tensor, p: float, *, generator: Generator | None = None) -> Tensor:
    """Fill this tensor with the number of trials until the first success of probability `p`; returns it."""
    if not 0 < p < 1:
        raise RuntimeError(f"geometric_ expects p to be in (0, 1), but got p={p}")
    return _fill(self, "geometric_", lambda n, shape, dtype: n.geometric(p, shape), generator)


def cauchy_(self: Tensor, median: float = 0.0, sigma: float = 1.0, *, generator: Generator | None = None) -> Tensor:
    """Fill this tensor with Cauchy numbers; returns it."""
    return _fill(self, "cauchy_", lambda n, shape, dtype: n.standard_cauchy(shape) * sigma + median, generator)


def log_normal_(self: Tensor, mean: float = 1.0, std: float = 2.0, *, generator: Generator | None = None) -> Tensor:
    """Fill this tensor with exponentials of normal numbers; returns it."""
    return _fill(self, "log_normal_", lambda n, shape, dtype: n.lognormal(mean, std, shape), generator)


attach(uniform_, normal_, bernoulli_, random_, exponential_, geometric_, cauchy_, log_normal_, bernoulli, multinomial)

__getattr__ = _absent(__name__)
