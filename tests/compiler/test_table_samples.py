"""Every sample of the table, compiled: values, gradients and second gradients are those of the eager run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.compiler import compile
from chainrule.core.backprop import grad
from chainrule.core.tensor import make_tensor

from ..table_samples.common import Sample
from ..test_table import IDS, SAMPLES, operation, positions


def program(sample: Sample, order: int) -> Any:
    """The sample's outputs, and gradients of a weighted sum of them up to an order."""
    call = operation(sample)

    def run(*values: Any) -> list[Any]:
        outputs = call(*values)
        results = [out for out in outputs if out.requires_grad]
        everything = list(outputs)
        for _ in range(order):
            if not results:
                break
            loss: Any = sum((np.real(r) * weights(r)).sum() for r in results)
            found = grad(loss, values, create_graph=True, allow_unused=True)
            results = [g for g in found if g is not None and g.requires_grad]
            everything += [g for g in found if g is not None]
        return [out.detach() for out in everything]

    return run


def weights(result: Any) -> Any:
    count = int(np.prod(result.shape))
    return np.cos(np.arange(count, dtype=np.float64)).reshape(result.shape)


@pytest.mark.usefixtures("numpy_only")
@pytest.mark.parametrize("sample", SAMPLES, ids=IDS)
def test_a_compiled_sample_agrees_with_the_eager_run(sample: Sample) -> None:
    order = 2 if sample.second_order else 1
    run = program(sample, order)
    leaves = [make_tensor(np.array(sample.args[i]), None).requires_grad_() for i in positions(sample)]
    expected = run(*leaves)
    compiled = compile(run)
    found = compiled(*leaves)  # no sample depends on values
    again = compiled(*leaves)
    for got, more, want in zip(found, again, expected, strict=True):
        assert got.dtype == want.dtype and got.shape == want.shape
        np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=1e-11, atol=1e-12)
        np.testing.assert_array_equal(got.numpy(), more.numpy())
    assert not any(isinstance(leaf.array, cr.compiler.tracer.Tracer) for leaf in leaves)
