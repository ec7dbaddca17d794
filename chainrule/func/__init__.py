"""Transforms of functions of arrays and of nested structures of arrays: grad, vjp, jvp, jacrev, jacfwd, hessian, hvp.

Read next: `transforms.py`.
"""

from __future__ import annotations

from .transforms import grad, hessian, hvp, jacfwd, jacrev, jvp, value_and_grad, vjp

__all__ = ["grad", "hessian", "hvp", "jacfwd", "jacrev", "jvp", "value_and_grad", "vjp"]
