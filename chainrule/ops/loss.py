"""What the losses and layers of `chainrule.nn` need of the table; the losses themselves are in `nn/functional.py`."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.broadcasting import unbroadcast
from ..core.forward import array_function, wrap_forward_fn
from ..core.table import backward

__all__: list[str] = []

# ----- binary cross entropy ---------------------------------------------------------------------------------------

LEAST_LOG = -100.0  # as PyTorch has it: the loss of a certain mistake is 100, not infinity


@array_function
def binary_cross_entropy(x: Any, y: Any) -> Any:
    """-(y log x + (1 - y) log(1 - x)), the logarithms not below -100."""
    with np.errstate(divide="ignore"):
        log, log_rest = np.log(x), np.log1p(-x)
    return -(y * np.maximum(log, LEAST_LOG) + (1 - y) * np.maximum(log_rest, LEAST_LOG))


@backward(binary_cross_entropy, 0)
def binary_cross_entropy_back0(grad_out: Any, out: Any, x: Any, y: Any) -> Any:
    r"""$\nabla_x L = \frac{x - y}{\max(x (1 - x), 10^{-12})} \nabla_{out} L$"""
    return unbroadcast(grad_out * (x - y) / np.maximum(x * (1 - x), 1e-12), x)


@backward(binary_cross_entropy, 1)
def binary_cross_entropy_back1(grad_out: Any, out: Any, x: Any, y: Any) -> Any:
    r"""$\nabla_y L = (\log(1 - x) - \log x) \nabla_{out} L$"""
    return unbroadcast(grad_out * (np.maximum(np.log1p(-x), LEAST_LOG) - np.maximum(np.log(x), LEAST_LOG)), y)


elementwise_binary_cross_entropy = wrap_forward_fn(binary_cross_entropy, promotes=True)
