"""Every layer and loss of PyTorch's own table of modules, on its own sample inputs, and on those that it refuses.

Needs PyTorch and expecttest: `make pytorch`.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("expecttest")

from . import modules

pytestmark = pytest.mark.torch
WITHOUT_OPTIONS = "linear_cross_entropy: options"  # see left_out.py
TYPES_BROUGHT_TO_ONE = {"NLLLoss"}  # PyTorch refuses a weight of another floating type: docs/reference/pytorch.md


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", modules.TABLE)
def test_a_module_its_gradients_and_its_text_are_pytorchs(name: str, dtype: str) -> None:
    info, wrong = modules.TABLE[name], []
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        for training in modules.modes(info):
            for i, sample in enumerate(modules.samples_of(info, dtype, training)):
                try:
                    modules.compare(info, sample, dtype, training)
                except Exception as reason:
                    if WITHOUT_OPTIONS not in str(reason):
                        wrong.append(f"sample {i} ({sample.desc}), training={training}: {reason!r}")
    assert not wrong, f"{len(wrong)} samples of {name} at {dtype} differ from PyTorch's\n" + "\n".join(wrong)


REFUSING = [name for name, info in modules.TABLE.items() if info.module_error_inputs_func is not None]


@pytest.mark.parametrize("name", REFUSING)
def test_a_module_refuses_what_pytorch_refuses_with_its_type_of_exception(name: str) -> None:
    for kind, call in modules.refusals(modules.TABLE[name]):
        if name in TYPES_BROUGHT_TO_ONE:
            continue
        with pytest.raises(kind):
            call()
