"""Orthogonal polynomials of `torch.special`, which has no derivatives for them either; SciPy computes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.forward import array_function, wrap_forward_fn

# PyTorch's name -> SciPy's, for the polynomial of degree n at x
SCIPY_NAMES = {
    "chebyshev_polynomial_t": "eval_chebyt",
    "chebyshev_polynomial_u": "eval_chebyu",
    "hermite_polynomial_h": "eval_hermite",
    "hermite_polynomial_he": "eval_hermitenorm",
    "laguerre_polynomial_l": "eval_laguerre",
    "legendre_polynomial_p": "eval_legendre",
}
Polynomial = Callable[[Any, Any], Any]


def _scipy(name: str) -> Polynomial:
    def evaluate(x: Any, n: Any) -> Any:
        from scipy import special

        degree = np.trunc(n).astype(np.int64)
        return np.where(degree < 0, 0, getattr(special, name)(degree, x))

    return evaluate


def _third_kind(x: Any, n: Any) -> Any:
    n = np.trunc(n)
    return u(x, n) - u(x, n - 1)


def _fourth_kind(x: Any, n: Any) -> Any:
    n = np.trunc(n)
    return u(x, n) + u(x, n - 1)


def _shifted(polynomial: Polynomial) -> Polynomial:
    return lambda x, n: polynomial(2 * x - 1, n)


POLYNOMIALS = {name: _scipy(theirs) for name, theirs in SCIPY_NAMES.items()}
u = POLYNOMIALS["chebyshev_polynomial_u"]
POLYNOMIALS["chebyshev_polynomial_v"], POLYNOMIALS["chebyshev_polynomial_w"] = _third_kind, _fourth_kind
for _kind in "tuvw":
    POLYNOMIALS[f"shifted_chebyshev_polynomial_{_kind}"] = _shifted(POLYNOMIALS[f"chebyshev_polynomial_{_kind}"])


def _operation(name: str, polynomial: Polynomial) -> Callable[..., Any]:
    def evaluate(input: Any, n: Any) -> Any:
        return np.asarray(polynomial(np.asarray(input), np.asarray(n))).astype(np.result_type(input, n))

    evaluate.__name__ = evaluate.__qualname__ = name
    operation = wrap_forward_fn(array_function(evaluate), is_differentiable=False, floating=True)
    operation.__doc__ = f"The {name.replace('_', ' ')} of degree n at x."
    return operation


OPERATIONS = {_name: _operation(_name, _polynomial) for _name, _polynomial in POLYNOMIALS.items()}
