"""Transforms of functions of arrays and nested structures of arrays: gradients, Jacobians, vmap, modules as functions.

Read next: `transforms.py`, then `batched.py` and `vmap.py`.
"""

from __future__ import annotations

from ..absent import absent as _absent
from .axes import rearrange
from .stateful import functional_call, replace_all_batch_norm_modules_, stack_module_state
from .transforms import (
    functionalize,
    grad,
    grad_and_value,
    hessian,
    hvp,
    jacfwd,
    jacrev,
    jvp,
    linearize,
    value_and_grad,
    vjp,
)
from .vmap import debug_unwrap, vmap

__all__ = [
    "debug_unwrap",
    "functional_call",
    "functionalize",
    "grad",
    "grad_and_value",
    "hessian",
    "hvp",
    "jacfwd",
    "jacrev",
    "jvp",
    "linearize",
    "rearrange",
    "replace_all_batch_norm_modules_",
    "stack_module_state",
    "value_and_grad",
    "vjp",
    "vmap",
]

__getattr__ = _absent(__name__)
