"""Every operator of PyTorch's own table, on its own sample inputs: results, gradients and second gradients are equal.

Needs PyTorch and expecttest: `make pytorch`. What is left out, and why, stands in left_out.py.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("expecttest")

from . import comparison, document
from .left_out import LEFT_OUT, LESS_EXACT_IN_PYTORCH, NAN_IN_PYTORCH

pytestmark = pytest.mark.torch
CASES = [(name, dtype) for dtype in comparison.DTYPES for name in comparison.compared(dtype)]


@pytest.mark.parametrize(("name", "dtype"), CASES, ids=[f"{name}-{dtype}" for name, dtype in CASES])
def test_an_operator_and_its_gradients_are_pytorchs(name: str, dtype: str) -> None:
    compared, wrong = 0, []
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        for entry in comparison.TABLE[name]:
            if not comparison.takes(entry, dtype):
                continue
            for i, sample in enumerate(comparison.samples_of(entry, dtype)):
                try:
                    compared += comparison.compare(entry, sample, dtype)
                except Exception as reason:
                    variant = f" ({entry.variant_test_name})" if entry.variant_test_name else ""
                    wrong.append(f"sample {i}{variant}: {type(reason).__name__}: {reason}")
    assert not wrong, f"{len(wrong)} samples of {name} at {dtype} differ from PyTorch's\n" + "\n".join(wrong)
    assert compared, f"no sample of {name} could be compared: give the reason in left_out.py"


def test_what_is_left_out_is_in_the_table_once() -> None:
    names = [name for family in LEFT_OUT for name in family.operators]
    assert len(set(names)) == len(names)
    assert [name for name in names if name not in comparison.TABLE] == []
    assert [name for name in (*NAN_IN_PYTORCH, *LESS_EXACT_IN_PYTORCH) if name not in comparison.TABLE] == []
    assert [name for name in (*NAN_IN_PYTORCH, *LESS_EXACT_IN_PYTORCH) if name in names] == []


def test_the_document_says_how_many_operators_are_compared() -> None:
    text = document.PATH.read_text(encoding="utf-8")
    assert document.counts(comparison) in text, "python -m tests.operators writes it anew"
