"""How one operator is held against PyTorch's: the same call in both libraries, and everything they return compared.

PyTorch's table of operators (`torch.testing`'s `op_db`) gives each operator's own sample inputs. A sample is called in
both libraries; then gradients of the result for one cotangent, and gradients of these for another, are compared:
shapes, dtypes and values. The cotangents come from a generator that both share.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

import chainrule

torch = pytest.importorskip("torch")
pytest.importorskip("expecttest")  # which PyTorch's own table needs

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from torch.testing._internal.common_methods_invocations import op_db

SAMPLES = 12  # of an operator's sample inputs, the first so many
DTYPES = ("float64", "float32", "complex128")
STAGES = ("forward", "gradient", "second gradient")
TOLERANCE = {  # relative to an element; relative to the largest of the array; absolute
    "float64": (1e-6, 0.0, 1e-8),
    "complex128": (1e-6, 0.0, 1e-8),
    "float32": (1e-4, 2e-6, 1e-6),
}
AS_EXACT_AS_TORCH = 8.0  # in single precision, an error of at most so many times PyTorch's own error

# PyTorch's table calls these with an order of arguments of its own
REORDERED: dict[str, Callable[[Any], Callable[..., Any]]] = {
    "einsum": lambda library: lambda operands, equation: library.einsum(equation, *operands),
    "polygamma": lambda library: lambda x, n: library.polygamma(n, x),
    "special.polygamma": lambda library: lambda x, n: library.special.polygamma(n, x),
    "where": lambda library: lambda x, condition, other: library.where(condition, x, other),
    "nn.functional.embedding": lambda library: lambda weight, index, **options: (
        library.nn.functional.embedding(index, weight, **options)
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


def variants_by_name() -> dict[str, list[Any]]:
    """The entries of PyTorch's table, several of which may bear one name."""
    found: dict[str, list[Any]] = {}
    for entry in op_db:
        found.setdefault(entry.name, []).append(entry)
    return found


def takes(entry: Any, dtype: str) -> bool:
    """Whether an entry of the table has sample inputs of that dtype."""
    return getattr(torch, dtype) in entry.dtypes


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
    return value


def in_double(value: Any, pairs: list[tuple[Any, Any]]) -> Any:
    """A sample's argument in double precision, for PyTorch."""
    if isinstance(value, torch.Tensor):
        kind = {torch.float32: torch.float64, torch.complex64: torch.complex128}.get(value.dtype, value.dtype)
        tensor = value.detach().to(kind).requires_grad_(value.requires_grad)
        if value.requires_grad:
            pairs.append((value, tensor))
        return tensor
    if isinstance(value, torch.dtype):
        return {torch.float32: torch.float64, torch.complex64: torch.complex128}.get(value, value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(in_double(item, pairs) for item in value))
    if isinstance(value, (list, tuple)) and not isinstance(value, torch.Size):
        return type(value)(in_double(item, pairs) for item in value)
    if isinstance(value, dict):
        return {key: in_double(item, pairs) for key, item in value.items()}
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


@dataclass
class Outcome:
    """What a call gives: arrays, or None for a gradient that is not there, by stage."""

    arrays: dict[str, list[Any]] = field(default_factory=dict)
    stopped: Exception | None = None


def cotangents(library: Any, stage: int, like: list[Any]) -> list[Any]:
    """Random seeds for tensors, the same in both libraries."""
    seeds = []
    for i, tensor in enumerate(like):
        generator = np.random.default_rng([stage, i])
        seed = generator.standard_normal(tuple(tensor.shape))
        if tensor.is_complex():
            seed = seed + 1j * generator.standard_normal(tuple(tensor.shape))
        seeds.append(library.tensor(seed, dtype=tensor.dtype))
    return seeds


def tracked(tensors: list[Any]) -> list[bool]:
    return [t is not None and t.requires_grad and (t.is_floating_point() or t.is_complex()) for t in tensors]


def outcome(library: Any, call: Callable[[], Any], leaves: list[Any], stages: int, follow: Outcome | None) -> Outcome:
    """Call, and differentiate as often as there are stages; which results are followed is as in another outcome."""
    result = Outcome()
    results = list(tensors_in(call()))
    result.arrays[STAGES[0]] = [array_of(t) for t in results]
    for stage in range(1, stages):
        which = [i for i, is_tracked in enumerate(tracked(results)) if is_tracked]
        if not leaves or not which:
            break
        chosen = [results[i] for i in which]
        seeds = cotangents(library, stage, results)
        gradients = library.autograd.grad(
            chosen, leaves, [seeds[i] for i in which], create_graph=stage + 1 < stages, allow_unused=True
        )
        result.arrays[STAGES[stage]] = [array_of(t) for t in gradients]
        results = list(gradients)
    return result
