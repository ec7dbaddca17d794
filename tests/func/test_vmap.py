"""vmap: what it gives equals the function called on each sample, for every operation of the table, with gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
import chainrule.nn.functional as F
from chainrule.core.forward import TENSOR_FUNCS
from chainrule.core.tensor import make_tensor
from chainrule.func import vmap
from chainrule.ops.shape import _as_strided

from ..table_samples.common import Sample
from ..test_table import IDS, SAMPLES, flat, positions

# ----- every operation of the table -------------------------------------------------------------------------------

FACTORS = (1.0, 0.95, 0.9)  # the samples: multiples, which keep symmetry, order and signs


def several(value: Any, axis: int) -> Any:
    kind = value.dtype
    return np.stack([value * kind.type(f) for f in FACTORS], axis=axis)


def cases(sample: Sample) -> list[tuple[str, dict[int, int]]]:
    """Which arguments are mapped, and over which axis."""
    where = positions(sample)
    last = {i: sample.args[i].ndim for i in where}
    found = [("all, first axis", dict.fromkeys(where, 0))]
    if sample.function is not _as_strided:  # what strides mean depends on the memory's layout
        found.append(("all, last axis", last))
    if len(where) > 1:
        found += [("the first only", {where[0]: 0}), ("the last only", {where[-1]: 0})]
    return found


def compared(sample: Sample, mapped: dict[int, int]) -> None:
    operation = TENSOR_FUNCS[sample.function]
    where = positions(sample)

    def call(*values: Any) -> tuple[Any, ...]:
        args = list(sample.args)
        for i, value in zip(where, values, strict=True):
            args[i] = value
        outputs = operation(*args, **sample.kwargs)
        if sample.gauge is not None:
            outputs = sample.gauge(outputs)
        return tuple(out for out in flat(outputs) if out is not None and out.array.dtype.kind in "fc")

    def leaves() -> list[Any]:
        arrays = [several(sample.args[i], mapped[i]) if i in mapped else sample.args[i] for i in where]
        return [make_tensor(np.array(a), None).requires_grad_() for a in arrays]

    def seeded(outputs: Any) -> Any:
        rng = np.random.default_rng(0)
        pairs = [(out, make_tensor(rng.standard_normal(out.shape).astype(out.array.dtype), None)) for out in outputs]
        return zip(*[(out, seed) for out, seed in pairs if out.requires_grad], strict=True)

    ours = leaves()
    outputs = vmap(call, in_dims=tuple(mapped.get(i) for i in where))(*ours)
    theirs = leaves()
    each = [
        call(*(x.select(mapped[i], k) if i in mapped else x for i, x in zip(where, theirs, strict=True)))
        for k in range(len(FACTORS))
    ]
    expected = [cr.stack(column) for column in zip(*each, strict=True)]
    for out, want in zip(outputs, expected, strict=True):
        assert out.dtype == want.dtype
        np.testing.assert_allclose(out.detach().numpy(), want.detach().numpy(), rtol=1e-7, atol=1e-9)
    ends, seeds = seeded(outputs)
    found = cr.autograd.grad(ends, ours, seeds, allow_unused=True)
    ends, seeds = seeded(expected)
    wanted = cr.autograd.grad(ends, theirs, seeds, allow_unused=True)
    for got, want in zip(found, wanted, strict=True):
        assert (got is None) == (want is None)
        if got is not None:
            np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("sample", SAMPLES, ids=IDS)
def test_mapped_operation_and_its_gradient_equal_those_of_each_sample(sample: Sample) -> None:
    for what, mapped in cases(sample):
        try:
            compared(sample, mapped)
        except Exception as error:
            error.add_note(f"mapped: {what}")
            raise
