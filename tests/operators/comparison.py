"""How one operator is held against PyTorch's: the same call in both libraries, and everything they return compared.

PyTorch's table of operators (`torch.testing`'s `op_db`) gives each operator's own sample inputs. A sample is called in
both libraries; then gradients of the result for one cotangent, and gradients of these for another, are compared:
shapes, dtypes and values. The cotangents come from a generator that both share.
"""

from __future__ import annotations

import functools
import itertools
import random
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import chainrule

from .left_out import LESS_EXACT_IN_PYTORCH, NAN_IN_PYTORCH, left_out

torch = pytest.importorskip("torch")
pytest.importorskip("expecttest")  # which PyTorch's own table needs

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from torch.testing._internal.common_methods_invocations import op_db

TABLE: dict[str, list[Any]] = {}  # by name; several entries may bear one
for _entry in op_db:
    TABLE.setdefault(_entry.name, []).append(_entry)

SAMPLES = 60  # of an operator's sample inputs, the first so many
DTYPES = ("float64", "float32", "complex128")
STAGES = ("forward", "gradient", "second gradient")
TOLERANCE = {  # relative to an element; relative to the largest of the array; absolute
    "float64": (1e-6, 0.0, 1e-8),
    "complex128": (1e-6, 0.0, 1e-8),
    "float32": (1e-4, 2e-6, 1e-5),
}
AS_EXACT_AS_TORCH = 8.0  # in single precision, an error of at most so many times PyTorch's own error

torch.set_num_threads(1)  # the arrays are small

# PyTorch's table calls these with an order of arguments of its own
REORDERED: dict[str, Callable[[Any], Callable[..., Any]]] = {
    "einsum": lambda library: lambda operands, equation: library.einsum(equation, *operands),
    "polygamma": lambda library: lambda x, n: library.polygamma(n, x),
    "special.polygamma": lambda library: lambda x, n: library.special.polygamma(n, x),
    "where": lambda library: lambda x, condition, other: library.where(condition, x, other),
    "nn.functional.embedding": lambda library: (
        lambda weight, index, **options: library.nn.functional.embedding(index, weight, **options)
    ),
}


def function_named(library: Any, name: str) -> Callable[..., Any] | None:
    """The library's function of that name, or its Tensor's method or property; None where there is neither."""
    if name in REORDERED:
        return REORDERED[name](library)
    found = library
    for part in name.split("."):
        found = getattr(found, part, None)
        if found is None:
            break
    if callable(found):
        return found  # type: ignore[no-any-return]
    attribute = getattr(library.Tensor, name, None)
    if attribute is None or callable(attribute):
        return attribute
    return lambda x: getattr(x, name)


def takes(entry: Any, dtype: str) -> bool:
    """Whether an entry of the table has sample inputs of that dtype."""
    return getattr(torch, dtype) in entry.dtypes


def differentiable(entry: Any, dtype: str) -> bool:
    """Whether PyTorch differentiates the operator at that dtype."""
    return bool(entry.supports_autograd and getattr(torch, dtype) in entry.supported_backward_dtypes("cpu"))


def compared(dtype: str) -> list[str]:
    """The operators that are compared at a dtype."""
    return [
        name
        for name, variants in TABLE.items()
        if any(takes(entry, dtype) for entry in variants) and not left_out(name)
    ]


# ----- from PyTorch's values to ours ------------------------------------------------------------------------------


def ours(value: Any, pairs: list[tuple[Any, Any]]) -> Any:
    """A sample's argument for chainrule; tensors that require grad are noted as (PyTorch's, ours)."""
    if isinstance(value, torch.Tensor):
        array = value.detach().resolve_conj().resolve_neg().numpy().copy("K")
        tensor = chainrule.tensor(array, dtype=ours(value.dtype, pairs), requires_grad=value.requires_grad)
        if value.requires_grad:
            pairs.append((value, tensor))
        return tensor
    if isinstance(value, torch.dtype):
        return getattr(chainrule, str(value).removeprefix("torch."))
    if isinstance(value, torch.Size):
        return tuple(value)
    if isinstance(value, (torch.device, torch.layout, torch.memory_format)):
        return str(value).removeprefix("torch.")
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(ours(item, pairs) for item in value))
    if isinstance(value, (list, tuple)):
        return type(value)(ours(item, pairs) for item in value)
    if isinstance(value, dict):
        return {key: ours(item, pairs) for key, item in value.items()}
    if isinstance(value, torch.nn.Module):
        return getattr(chainrule.nn, type(value).__name__)()
    if callable(value) and str(getattr(value, "__module__", "")).startswith("torch.nn.functional"):
        return getattr(chainrule.nn.functional, value.__name__)
    return value


def theirs(value: Any, pairs: list[tuple[Any, Any]], double: bool = False) -> Any:
    """A sample's argument for PyTorch: tensors in memory of their own, in double precision if so wanted."""
    if isinstance(value, torch.Tensor):
        tensor = value.detach().clone().to(theirs(value.dtype, pairs, double)).requires_grad_(value.requires_grad)
        if value.requires_grad:
            pairs.append((value, tensor))
        return tensor
    if isinstance(value, torch.dtype):
        return {torch.float32: torch.float64, torch.complex64: torch.complex128}.get(value, value) if double else value
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(theirs(item, pairs, double) for item in value))
    if isinstance(value, (list, tuple)) and not isinstance(value, torch.Size):
        return type(value)(theirs(item, pairs, double) for item in value)
    if isinstance(value, dict):
        return {key: theirs(item, pairs, double) for key, item in value.items()}
    return value


def tensors_in(value: Any) -> Iterator[Any]:
    """All tensors in a result, however nested."""
    if isinstance(value, (torch.Tensor, chainrule.Tensor)):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from tensors_in(item)


def array_of(tensor: Any) -> Any:
    if tensor is None:
        return None
    tensor = tensor.detach()
    return tensor.numpy(force=True) if isinstance(tensor, torch.Tensor) else np.asarray(tensor.numpy())


# ----- one call in one library ------------------------------------------------------------------------------------


def cotangent(library: Any, tensor: Any, stage: int, position: int) -> Any:
    """A random seed for a tensor, the same in both libraries."""
    generator = np.random.default_rng([stage, position])
    seed = generator.standard_normal(tuple(tensor.shape))
    if tensor.is_complex():
        seed = seed + 1j * generator.standard_normal(tuple(tensor.shape))
    return library.tensor(seed, dtype=tensor.dtype)


def can_be_followed(tensor: Any) -> bool:
    return tensor is not None and tensor.requires_grad and (tensor.is_floating_point() or tensor.is_complex())


def outcome(library: Any, call: Callable[[], Any], leaves: list[Any], stages: int, lenient: bool) -> list[Any]:
    """For each stage the arrays it gives, None for a gradient that is not there; fewer stages if nothing is left.

    Args:
        library: torch or chainrule.
        call: computes the result.
        leaves: what to differentiate for.
        stages: 1 for the result, 2 to differentiate it, 3 to differentiate that.
        lenient: end at a second derivative that does not exist, instead of raising.
    """
    results = list(tensors_in(call()))
    found = [[array_of(tensor) for tensor in results]]
    for stage in range(1, stages):
        ends = {i: tensor for i, tensor in enumerate(results) if can_be_followed(tensor)}
        if not leaves or not ends:
            break
        seeds = [cotangent(library, tensor, stage, i) for i, tensor in ends.items()]
        again = stage + 1 < stages
        try:
            results = library.autograd.grad(list(ends.values()), leaves, seeds, create_graph=again, allow_unused=True)
        except (RuntimeError, NotImplementedError):
            if lenient and stage == 2:
                break
            raise
        found.append([array_of(tensor) for tensor in results])
    return found


# ----- one sample in both -----------------------------------------------------------------------------------------


def prepared(
    library: Any, function: Callable[..., Any], sample: Any, note: Callable[..., Any]
) -> tuple[Callable[[], Any], list[Any]]:
    """A sample's call in a library, and the library's tensors that require grad, in the order of the sample's."""
    pairs: list[tuple[Any, Any]] = []
    first, arguments, options = (note(part, pairs) for part in (sample.input, list(sample.args), sample.kwargs))
    return lambda: sample.output_process_fn_grad(function(first, *arguments, **options)), [own for _, own in pairs]


def error(got: Any, want: Any) -> Any:
    """The absolute error by element, infinite where one is not finite and the other is something else.

    A complex number with an infinite part is infinity, whatever the other part is (C99, annex G): where a sum that is
    zero up to rounding is divided by zero, that part is nan or infinite as the BLAS in use rounds.
    """
    with np.errstate(all="ignore"):
        difference = np.abs(np.subtract(got, want, dtype=np.result_type(want, np.float64)))
    same = (got == want) | ((got != got) & (want != want))
    if np.iscomplexobj(want):
        same |= np.isinf(got) & np.isinf(want)
    return np.where(same, 0.0, np.where(np.isfinite(difference), difference, np.inf))


def is_close(got: Any, want: Any, exact: Callable[[], Any], at_least: float) -> bool:
    """Whether an array is PyTorch's up to rounding, given also PyTorch's array in double precision."""
    relative, of_largest, absolute = TOLERANCE.get(str(want.dtype), TOLERANCE["float64"])
    relative = max(relative, at_least)
    size = np.where(np.isfinite(want), np.abs(want), 0.0)
    allowed = absolute + relative * size + of_largest * np.max(size, initial=0.0)
    wrong = error(got, want)
    if np.all(wrong <= allowed):
        return True
    if str(want.dtype) not in ("float32", "complex64"):
        return False
    truth = exact()
    if truth is None or truth.shape != want.shape or not np.all(np.isfinite(wrong)):
        return False
    return bool(np.max(error(got, truth)) <= AS_EXACT_AS_TORCH * np.max(error(want, truth)))


def check(name: str, got: Any, want: Any, exact: Callable[[], Any], what: str) -> None:
    """Compare what chainrule gives for an operator with what PyTorch gives.

    Raises:
        AssertionError: shape, dtype or a value differs; says what, and which stage.
    """
    if got is None or want is None:
        there = want if got is None else got
        assert there is None or not np.any(np.abs(there) > 1e-8), f"{what}: one is None, the other is not zero"
        return
    assert got.shape == want.shape, f"{what}: shape {got.shape}, PyTorch {want.shape}"
    assert got.dtype == want.dtype, f"{what}: dtype {got.dtype}, PyTorch {want.dtype}"
    if name in NAN_IN_PYTORCH:
        want = np.where(np.isnan(want) & np.isfinite(got), got, want)
    if not is_close(got, want, exact, LESS_EXACT_IN_PYTORCH.get(name, (0.0,))[0]):
        np.testing.assert_allclose(got, want, rtol=1e-7, err_msg=what)
        raise AssertionError(what)


def compare(entry: Any, sample: Any, dtype: str) -> bool:
    """Compare one sample of an operator; False where PyTorch's public function cannot be called that way.

    Raises:
        AssertionError: something differs.
    """
    sample.kwargs.pop("memory_format", None)
    by_name, own = function_named(torch, entry.name), function_named(chainrule, entry.name)
    if by_name is None:
        return False
    try:
        tables = [array_of(t) for t in tensors_in(prepared(torch, entry.op, sample, theirs)[0]())]
        named = [array_of(t) for t in tensors_in(prepared(torch, by_name, sample, theirs)[0]())]
        for a, b in zip(named, tables, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5)
    except (RuntimeError, TypeError, NotImplementedError, IndexError, ValueError, AssertionError, AttributeError):
        return False
    assert own is not None, f"chainrule has no {entry.name}"
    stages = 1 if not differentiable(entry, dtype) else 3 if entry.supports_gradgrad else 2
    want = outcome(torch, *prepared(torch, by_name, sample, theirs), stages, lenient=True)
    got = outcome(chainrule, *prepared(chainrule, own, sample, ours), len(want), lenient=False)

    @functools.cache
    def exact() -> list[Any]:
        in_double = functools.partial(theirs, double=True)
        return outcome(torch, *prepared(torch, by_name, sample, in_double), len(want), lenient=True)

    for stage, arrays in enumerate(want):
        found = got[stage] if stage < len(got) else [None] * len(arrays)
        assert len(found) == len(arrays), f"{len(found)} results, PyTorch {len(arrays)}"
        for i, (g, w) in enumerate(zip(found, arrays, strict=True)):
            check(entry.name, g, w, lambda stage=stage, i=i: exact()[stage][i], f"{STAGES[stage]} {i}")
    return True


def samples_of(entry: Any, dtype: str) -> list[Any]:
    """The first of an operator's sample inputs, the same in every run."""
    torch.default_generator.manual_seed(0)
    np.random.seed(0)
    random.seed(0)
    # not entry.sample_inputs, which looks through the whole stack for the name of a test of PyTorch's
    samples = entry.sample_inputs_func(entry, "cpu", getattr(torch, dtype), differentiable(entry, dtype))
    return list(itertools.islice(samples, SAMPLES))
