"""What the tests of the compiler share: ways to run a program, and kernels that run in Python."""

from __future__ import annotations

import math
from types import FunctionType, SimpleNamespace
from typing import Any

import numpy as np
from scipy import special

import chainrule as cr
from chainrule.compiler import compile

ELSEWHERE = {"sigmoid": special.expit, "erf": special.erf}  # elementary functions that NumPy has not


def interpreted(function: Any) -> Any:
    """A kernel as the Python function that it is: what its text says, without Numba, whatever it costs."""
    from chainrule.compiler.kernels.elementary import FUNCTIONS

    def where(condition: Any, x: Any, y: Any) -> Any:
        plain: Any = {int: np.int64, bool: np.bool}  # a column's number is an int, a negation a bool
        kinds = {plain.get(type(value), type(value)) for value in (x, y)}
        assert type(condition) in (bool, np.bool) and len(kinds) == 1
        return x if condition else y

    stand_ins = dict(
        math=SimpleNamespace(**vars(math) | {"sqrt": np.sqrt}),  # which keeps the type
        separate=lambda: None,
        where=where,
        larger=lambda x, y: x if x > y else y,
        smaller=lambda x, y: x if x < y else y,
        plus=lambda x, y: x + y,
        maximum=lambda x, y: np.maximum(x, y),
        minimum=lambda x, y: np.minimum(x, y),
        as_shape=lambda array, shape: np.reshape(array, shape, copy=False),
        row_of=lambda count, kind: np.empty(count, kind),
        boolean=np.bool,
        float32=np.float32,
        float64=np.float64,
        int32=np.int32,
        int64=np.int64,
        uint8=np.uint8,
        uint64=int,
        **{f"{name}_{kind}": ELSEWHERE.get(name) or getattr(np, name) for name, kind in FUNCTIONS},
    )
    return FunctionType(function.__code__, function.__globals__ | stand_ins)


def arrays_of(value: Any) -> list[np.ndarray[Any, Any]]:
    """The arrays in a function's result."""
    if isinstance(value, (tuple, list)):
        return [array for item in value for array in arrays_of(item)]
    return [np.array(value.detach().numpy()) if isinstance(value, cr.Tensor) else np.asarray(value)]


def leaves(arrays: list[np.ndarray[Any, Any]]) -> list[cr.Tensor]:
    """Tensors that require grad where they can."""
    return [cr.tensor(a, dtype=a.dtype, requires_grad=a.dtype.kind == "f") for a in arrays]


def weights(x: Any) -> Any:
    """Numbers of a tensor's shape, so that the gradients of sums are not all alike, or 0."""
    return cr.tensor(np.cos(np.arange(x.numel())).reshape(x.shape), dtype=x.dtype)


def with_gradients(function: Any, tensors: list[cr.Tensor]) -> Any:
    """A function of no arguments that computes `function(*tensors)`, and the gradients of a sum of its results."""

    def run() -> Any:
        found = function(*tensors)
        found = found if isinstance(found, (tuple, list)) else [found]
        total = sum(((part * weights(part)).sum() for part in found if part.requires_grad), cr.zeros(()))
        wanted = [tensor for tensor in tensors if tensor.requires_grad]
        if not getattr(total, "requires_grad", False):
            return found
        gradients = cr.autograd.grad(total, wanted, allow_unused=True)
        return [*found, *(gradient for gradient in gradients if gradient is not None)]

    return run


def assert_close(found: list[Any], expected: list[Any]) -> None:
    """Same shapes and types, and values that differ by no more than other orders of summation explain."""
    assert len(found) == len(expected)
    scale = max((np.max(np.abs(y[np.isfinite(y)]), initial=1.0) for y in expected if y.dtype.kind == "f"), default=1.0)
    for x, y in zip(found, expected, strict=True):
        assert (x.shape, x.dtype) == (y.shape, y.dtype)
        tolerance = {"float32": 1e-5, "float64": 1e-12}.get(x.dtype.name, 0.0)
        np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance * scale)


def agrees(function: Any, *arrays: np.ndarray[Any, Any], **options: Any) -> Any:
    """Assert that a function computes the same compiled and eagerly, with its gradients; returns the compiled one."""
    expected = arrays_of(with_gradients(function, leaves(list(arrays)))())
    compiled = compile(with_gradients(function, leaves(list(arrays))), **options)
    for _ in range(2):  # buffers are used again
        assert_close(arrays_of(compiled()), expected)
    return compiled
