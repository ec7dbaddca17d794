"""What an operator's result shares with its arguments, and whether it may be written to, on PyTorch's own samples.

A result that shares memory where PyTorch's is a copy would let a program overwrite its own data; one that must not be
written to where PyTorch lets it would stop a program that PyTorch runs.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule

pytest.importorskip("torch")
pytest.importorskip("expecttest")

from . import comparison
from .comparison import array_of, can_be_followed, differentiable, function_named, ours, samples_of, takes, theirs

torch = comparison.torch
pytestmark = pytest.mark.torch
NAMES = comparison.compared("float64")
SAMPLES = 12

# a copy is made for another memory format, which is the same here; and views of what is one number anyway
COPIES_IN_PYTORCH = {"to", "double", "sum_to_size"}
COPIES_HERE = {"positive"}
RANDOM = {"nn.functional.scaled_dot_product_attention"}  # with dropout
SEVERAL_RESULTS = {"frexp"}  # its derivative uses one of its results


def calls(name: str) -> list[tuple[Any, Any, Any, Any]]:
    """The samples of an operator, with its function in both libraries."""
    return [
        (entry, sample, function_named(torch, name), function_named(chainrule, name))
        for entry in comparison.TABLE[name]
        if takes(entry, "float64")
        for sample in itertools.islice(samples_of(entry, "float64"), SAMPLES)
    ]


def given(sample: Any, convert: Callable[..., Any]) -> tuple[list[Any], dict[str, Any], list[Any]]:
    """Arguments, keywords, and the tensors among them, in a library."""
    found: list[Any] = []

    def converted(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            found.append(convert(value.detach(), []))
            return found[-1]
        if type(value) in (list, tuple):
            return type(value)(map(converted, value))
        return convert(value, [])

    first = [converted(sample.input), *map(converted, sample.args)]
    return first, {key: converted(value) for key, value in sample.kwargs.items()}, found


def shared(result: Any, arguments: list[Any], same: Callable[[Any, Any], bool]) -> list[list[bool]]:
    return [[same(tensor, argument) for argument in arguments] for tensor in comparison.tensors_in(result)]


@pytest.mark.parametrize("name", NAMES)
def test_results_share_memory_where_pytorchs_do(name: str) -> None:
    for _, sample, their_function, our_function in calls(name):
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            arguments, options, tensors = given(sample, theirs)
            try:
                result = their_function(*arguments, **options)
            except Exception:  # the public function takes other arguments than the table's
                continue
            want = shared(
                result,
                tensors,
                lambda a, b: bool(a.numel()) and a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr(),
            )
            arguments, options, tensors = given(sample, ours)
            result = our_function(*arguments, **options)
            got = shared(result, tensors, lambda a, b: np.shares_memory(a.array, b.array))
        if name in COPIES_IN_PYTORCH:
            got = want
        if name in COPIES_HERE:
            want = got
        assert got == want, f"{sample.args} {sample.kwargs}: by result and argument {got}, PyTorch {want}"


def written(library: Any, function: Callable[..., Any], sample: Any, note: Callable[..., Any]) -> Any:
    """The gradients after a write to each result; None where there are none, or no write is allowed."""
    call, leaves = comparison.prepared(library, function, sample, note)
    results = [tensor for tensor in comparison.tensors_in(call()) if can_be_followed(tensor)]
    if not results or not leaves:
        return None
    try:
        for tensor in results:
            tensor.mul_(2.0)
        loss = sum((tensor * tensor).sum() for tensor in results if not tensor.is_complex())
        return [array_of(tensor) for tensor in library.autograd.grad(loss, leaves, allow_unused=True)]
    except (RuntimeError, TypeError, AttributeError):
        return None


@pytest.mark.parametrize("name", [name for name in NAMES if name not in COPIES_IN_PYTORCH | RANDOM | SEVERAL_RESULTS])
def test_results_may_be_written_to_where_pytorchs_may(name: str) -> None:
    for entry, sample, their_function, our_function in calls(name):
        if not differentiable(entry, "float64"):
            continue
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            try:
                want = written(torch, their_function, sample, theirs)
            except Exception:  # as above
                continue
            got = None if want is None else written(chainrule, our_function, sample, ours)
        if want is None:
            continue
        assert got is not None, f"{sample.args} {sample.kwargs}: PyTorch allows the write"
        for ours_, theirs_ in zip(got, want, strict=True):
            if ours_ is not None and theirs_ is not None:
                np.testing.assert_allclose(ours_, theirs_, rtol=1e-5, atol=1e-7)
