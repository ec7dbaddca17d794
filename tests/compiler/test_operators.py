"""Every operator of PyTorch's own table, compiled on its own sample inputs: as eager, up to its second gradients.

`python -m tests.compiler.test_operators` says how many of them trace.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import chainrule
from chainrule.compiler import TraceError, compile

pytest.importorskip("torch")
pytest.importorskip("expecttest")

from ..operators import comparison

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("numpy_only")]
SAMPLES = 3


def programs(name: str) -> Iterator[tuple[str, Callable[[], list[Any]]]]:
    """For some samples of an operator what computes its result, gradients and second gradients."""
    own = comparison.function_named(chainrule, name)
    for entry in comparison.TABLE[name]:
        if own is None or not comparison.takes(entry, "float64"):
            continue
        stages = 1 if not comparison.differentiable(entry, "float64") else 3 if entry.supports_gradgrad else 2
        for i, sample in enumerate(comparison.samples_of(entry, "float64")[:SAMPLES]):
            sample.kwargs.pop("memory_format", None)
            call, leaves = comparison.prepared(chainrule, own, sample, comparison.ours)

            def program(call: Any = call, leaves: Any = leaves, stages: int = stages) -> list[Any]:
                results = list(comparison.tensors_in(call()))
                everything = list(results)
                for stage in range(1, stages):
                    ends = {k: x for k, x in enumerate(results) if comparison.can_be_followed(x)}
                    if not leaves or not ends:
                        break
                    seeds = [comparison.cotangent(chainrule, x, stage, k) for k, x in ends.items()]
                    results = chainrule.autograd.grad(
                        list(ends.values()), leaves, seeds, create_graph=stage + 1 < stages, allow_unused=True
                    )
                    everything += [x for x in results if x is not None]
                return [x.detach().clone() for x in everything]

            yield f"{name}, sample {i}", program


def outcome(name: str) -> tuple[int, list[str], list[str]]:
    """How many samples agree, those that depend on values, and those that differ."""
    right, refused, wrong = 0, [], []
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        for what, program in programs(name):
            try:
                chainrule.manual_seed(0)
                expected = program()
            except Exception:
                continue
            try:
                chainrule.manual_seed(0)
                found = compile(program)()
                for got, want in zip(found, expected, strict=True):
                    assert (got.dtype, got.shape) == (want.dtype, want.shape)
                    np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=1e-9, atol=1e-10)
                right += 1
            except TraceError as error:
                refused.append(f"{what}: {error}")
            except Exception as error:
                wrong.append(f"{what}: {type(error).__name__}: {error}")
    return right, refused, wrong


# what depends on values, and so is refused: with all of its samples, or with those that a comment names
REFUSED = frozenset(
    (
        *("argwhere", "masked_select", "nonzero", "unique", "unique_consecutive"),  # so many elements as there are
        *("allclose", "equal", "item"),  # answers for Python
        *("resize_", "resize_as_"),  # memory of another size
        *("cov", "linalg.lstsq"),  # with weights, and of equations that may be dependent: conditions on values
        *("index_put",),  # where a mask says
        *("index_reduce", "scatter_reduce"),  # of products
        *("linspace", "logspace", "narrow", "tensor_split"),  # places that are given as tensors
    )
)


@pytest.mark.parametrize("name", comparison.compared("float64"))
def test_a_compiled_operator_agrees_with_the_eager_one(name: str) -> None:
    _, refused, wrong = outcome(name)
    assert not wrong, "\n".join(wrong)
    assert bool(refused) == (name in REFUSED), "\n".join(refused)


def main() -> None:
    """Print which operators trace."""
    import os

    os.environ["CHAINRULE_KERNELS"] = "0"
    names = comparison.compared("float64")
    found = {name: outcome(name) for name in names}
    for name, (right, refused, wrong) in found.items():
        if refused or wrong:
            print(f"{name}: {right} right; {(wrong or refused)[0][:240]!r}")
    whole = sum(right > 0 and not refused and not wrong for right, refused, wrong in found.values())
    print(
        f"{whole} of {len(names)} operators trace with all samples, {sum(bool(w) for _, _, w in found.values())} differ"
    )


if __name__ == "__main__":
    main()
