"""Kernels of convolutions and of the maxima of windows: what they compute, what they leave to NumPy, and their text."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from scipy import signal

pytest.importorskip("numba")

import chainrule as cr
import chainrule.nn.functional as F
from chainrule import nn, optim
from chainrule.compiler import compile
from chainrule.compiler.kernels import registers
from tests.compiler.programs import agrees

random = np.random.default_rng(0)
CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


@pytest.fixture(autouse=True)
def two_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINRULE_NUM_THREADS", "2")
    monkeypatch.setenv("CHAINRULE_KERNELS", "1")


def numbers(*shape: int, dtype: str = "f8") -> Any:
    return random.normal(size=shape).astype(dtype)


def kernels(compiled: Any, *names: str) -> bool:
    """Whether the program calls kernels of all these names and no function of `ops.convolution`."""
    return all(f"def {name}_kernel" in compiled.source for name in names) and "ops.convolution" not in compiled.source


# ----- the same as eager ----------------------------------------------------------------------------------------------

SETTINGS = {
    "1d": (1, (3, 4, 19), 5, 3, {}),
    "1d, dilated, padded": (1, (2, 3, 24), 4, 4, {"padding": 3, "dilation": 3}),
    "1d, grouped": (1, (2, 6, 20), 4, 3, {"groups": 2, "padding": 1}),
    "no padding": (2, (3, 2, 12, 13), 7, 5, {}),
    "padding": (2, (4, 3, 11, 9), 13, 3, {"padding": 1}),
    "same, even kernel": (2, (2, 3, 10, 12), 4, (2, 4), {"padding": "same"}),
    "unequal sizes": (2, (2, 3, 9, 21), 5, (3, 5), {"padding": (2, 1), "dilation": (2, 1)}),
    "groups": (2, (2, 6, 9, 9), 9, 3, {"groups": 3, "padding": 1}),
    "depthwise": (2, (2, 5, 9, 9), 5, 3, {"groups": 5, "padding": 1}),
    "more outputs a group": (2, (2, 2, 9, 9), 26, 3, {"groups": 2, "padding": 1}),
    "one place": (2, (2, 5, 6, 7), 6, 1, {}),
    "many channels": (2, (2, 21, 8, 8), 34, 3, {"padding": 1}),
    "3d": (3, (2, 3, 5, 6, 8), 4, 3, {"padding": 1}),
    "3d, unequal": (3, (1, 4, 6, 5, 9), 6, (2, 3, 1), {"padding": (0, 2, 0), "dilation": (3, 1, 2), "groups": 2}),
}


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_result_and_gradients_are_those_of_eager(setting: str, dtype: str) -> None:
    if list(SETTINGS).index(setting) % 2 == (dtype == "f8"):
        pytest.skip("the other type is tested")
    count, shape, outputs, kernel, keywords = SETTINGS[setting]
    sizes = kernel if isinstance(kernel, tuple) else (kernel,) * count
    w = numbers(outputs, shape[1] // keywords.get("groups", 1), *sizes, dtype=dtype)
    x, b = numbers(*shape, dtype=dtype), numbers(outputs, dtype=dtype)
    compiled = agrees(lambda x, w, b: CONVOLUTIONS[count](x, w, b, **keywords), x, w, b)
    assert kernels(compiled, "convolve", "convolve_input", "convolve_weight")


STRIDES = {
    "1d": (1, (2, 3, 40), 4, 3, {"stride": 2, "padding": 1}),
    "2d": (2, (3, 4, 16, 17), 5, 3, {"stride": 2, "padding": 1}),
    "unequal": (2, (2, 2, 19, 40), 3, (3, 4), {"stride": (1, 3), "padding": (1, 2), "dilation": (2, 1)}),
    "more than the kernel": (2, (2, 3, 20, 32), 4, 2, {"stride": 3}),
    "groups": (2, (2, 4, 14, 15), 6, 3, {"stride": (2, 2), "groups": 2, "padding": 1}),
    "3d": (3, (2, 2, 7, 8, 17), 3, 3, {"stride": 2, "padding": 1}),
}


@pytest.mark.parametrize("setting", STRIDES, ids=str)
def test_strided_convolutions_are_those_of_eager(setting: str) -> None:
    count, shape, outputs, kernel, keywords = STRIDES[setting]
    sizes = kernel if isinstance(kernel, tuple) else (kernel,) * count
    w = numbers(outputs, shape[1] // keywords.get("groups", 1), *sizes)
    compiled = agrees(lambda x, w: CONVOLUTIONS[count](x, w, **keywords), numbers(*shape), w)
    assert kernels(compiled, "convolve", "convolve_input", "convolve_weight")
