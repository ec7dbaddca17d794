"""torch.autograd's names: backward, grad, Function, grad modes, anomaly mode, gradient checks, functional.

The engine itself is `chainrule.core`. Read next: `function.py`, operations with a backward of their own.
"""

from __future__ import annotations

from ..absent import absent as _absent
from ..core.backprop import backward
from ..core.grad_mode import (
    enable_grad,
    inference_mode,
    is_grad_enabled,
    is_inference_mode_enabled,
    no_grad,
    set_grad_enabled,
)
from ..core.tensor import Tensor as Variable
from ..testing import GradcheckError, gradcheck, gradgradcheck
from . import function, functional
from .anomaly import detect_anomaly, is_anomaly_check_nan_enabled, is_anomaly_enabled, set_detect_anomaly
from .function import Function
from .gradient import grad

__all__ = [
    "Function",
    "GradcheckError",
    "Variable",
    "backward",
    "detect_anomaly",
    "enable_grad",
    "function",
    "functional",
    "grad",
    "gradcheck",
    "gradgradcheck",
    "inference_mode",
    "is_anomaly_check_nan_enabled",
    "is_anomaly_enabled",
    "is_grad_enabled",
    "is_inference_mode_enabled",
    "no_grad",
    "set_detect_anomaly",
    "set_grad_enabled",
]

__getattr__ = _absent(
    __name__,
    {
        "grad_mode": "chainrule.core.grad_mode",
        "profiler": "chainrule.platform.profiler",
        "anomaly_mode": "chainrule.autograd.anomaly",
        "variable": "chainrule.autograd",
    },
)
