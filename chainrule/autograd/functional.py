"""torch.autograd.functional: products with Jacobians and Hessians, with PyTorch's arguments and structure of results.

Written in terms of `chainrule.func`, which is the newer interface: it takes arrays and nested structures as well.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.backprop import grad
from ..core.grad_mode import enable_grad
from ..core.tensor import Tensor
from ..func import transforms
from ..func.trees import map_leaves

__all__ = ["hessian", "hvp", "jacobian", "jvp", "vhp", "vjp"]


def _as_tuple(what: str, values: Any) -> tuple[Tensor, ...]:
    tensors: tuple[Any, ...] = tuple(values) if isinstance(values, (tuple, list)) else (values,)
    for i, value in enumerate(tensors):
        if not isinstance(value, Tensor):
            raise TypeError(
                f"The {what} must be either a Tensor or a tuple of Tensors, but the value at index {i} has type "
                f"{type(value).__name__}"
            )
    return tensors


def _given(inputs: Any, create_graph: bool) -> tuple[Tensor, ...]:
    tensors = _as_tuple("inputs given to the function", inputs)
    return tensors if create_graph else tuple(x.detach() for x in tensors)


def _finish(result: Any, create_graph: bool) -> Any:
    """Results with their graph, or without."""
    if create_graph:
        return result
    return map_leaves(lambda x: x.detach() if isinstance(x, Tensor) and x.requires_grad else x, result)


def _checked(name: str, func: Callable[..., Any], inputs: tuple[Tensor, ...], strict: bool) -> None:
    """With `strict`, refuse an output that does not depend on an input.

    Raises:
        RuntimeError: names both.
    """
    if not strict:
        return
    with enable_grad():
        xs = [x.detach().requires_grad_() for x in inputs]
        outputs = _as_tuple("outputs of the function", func(*xs))
    for k, y in enumerate(outputs):
        found = grad(y, xs, retain_graph=True, allow_unused=True) if y.requires_grad else [None] * len(xs)
        for i, gradient in enumerate(found):
            if gradient is None:
                raise RuntimeError(
                    f"{name}: output {k} of the function is independent of input {i}, which strict=True does not allow"
                )


def _vector(name: str, v: Any, like: tuple[Tensor, ...], of: str) -> tuple[Tensor, ...]:
    if v is None:
        if len(like) == 1 and like[0].array.size == 1:
            return (Tensor(np.ones_like(like[0].array), dtype=like[0].dtype),)
        raise RuntimeError(f"{name}: the vector v can only be None if {of} is a single Tensor with a single element")
    vectors = _as_tuple("vector v", v)
    if len(vectors) != len(like):
        raise RuntimeError(f"{name}: v has invalid length: should be {len(like)} but got {len(vectors)}")
    for i, (vector, x) in enumerate(zip(vectors, like, strict=True)):
        if vector.shape != x.shape:
            raise RuntimeError(f"{name}: v[{i}] has invalid size: should be {x.shape} but got {vector.shape}")
    return vectors


def _like(inputs: Any, results: tuple[Any, ...]) -> Any:
    """A tuple if the inputs were one, else its one member."""
    return results if isinstance(inputs, (tuple, list)) else results[0]


def jacobian(
    func: Callable[..., Any],
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    strategy: str = "reverse-mode",
) -> Any:
    """The Jacobian of `func` at `inputs`.

    Args:
        func: takes tensors, returns a tensor or a tuple of them.
        inputs: a tensor or a tuple of them.
        create_graph: let the result be differentiated.
        strict: refuse an output that does not depend on an input.
        vectorize: accepted; rows are computed in one pass where that is quicker, in any case.
        strategy: "reverse-mode" or "forward-mode".

    Returns:
        Shape `(*output.shape, *input.shape)`; a tuple over inputs if those are a tuple, in a tuple over outputs if
        those are.

    >>> import chainrule as cr
    >>> jacobian(lambda x: x * x, cr.tensor([1.0, 2.0]))
    Tensor(array([[2., 0.],
           [0., 4.]], dtype=float32), requires_grad=False)
    """
    if strategy not in ("reverse-mode", "forward-mode"):
        raise ValueError(f"Expected strategy to be either 'forward-mode' or 'reverse-mode', got {strategy!r}")
    xs = _given(inputs, create_graph)
    _checked("jacobian", func, xs, strict)
    transform = transforms.jacrev if strategy == "reverse-mode" else transforms.jacfwd
    return _finish(transform(func, _argnums(inputs, xs))(*xs), create_graph)


def _argnums(inputs: Any, xs: tuple[Tensor, ...]) -> Any:
    return tuple(range(len(xs))) if isinstance(inputs, (tuple, list)) else 0


def hessian(
    func: Callable[..., Any],
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    outer_jacobian_strategy: str = "reverse-mode",
) -> Any:
    """The Hessian of a scalar function; for a tuple of inputs a tuple of tuples. Arguments as `jacobian`.

    >>> import chainrule as cr
    >>> hessian(lambda x: x * x * x, cr.tensor(2.0))
    Tensor(array(12., dtype=float32), requires_grad=False)
    """
    xs = _given(inputs, create_graph)
    _checked("hessian", func, xs, strict)
    argnums = _argnums(inputs, xs)
    if outer_jacobian_strategy not in ("reverse-mode", "forward-mode"):
        raise ValueError(
            f"Expected strategy to be either 'forward-mode' or 'reverse-mode', got {outer_jacobian_strategy!r}"
        )
    outer = transforms.jacrev if outer_jacobian_strategy == "reverse-mode" else transforms.jacfwd
    return _finish(outer(transforms.grad(_single("hessian", func), argnums), argnums)(*xs), create_graph)


def _single(name: str, func: Callable[..., Any]) -> Callable[..., Tensor]:
    """The function, its output checked to be one element and brought to shape ()."""

    def scalar(*args: Any) -> Tensor:
        output = func(*args)
        if not isinstance(output, Tensor):
            raise RuntimeError(f"{name}: the function should return a single Tensor, got {type(output).__name__}")
        if output.array.size != 1:
            raise RuntimeError(
                f"{name}: the Tensor returned by the function should contain a single element, got shape {output.shape}"
            )
        return output if output.ndim == 0 else output.reshape(())

    return scalar


def vjp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """`(func(*inputs), v times the Jacobian)`; `v` has the outputs' shapes."""
    xs = _given(inputs, create_graph)
    _checked("vjp", func, xs, strict)
    outputs, pullback = transforms.vjp(func, *xs)
    vectors = _vector("vjp", v, _as_tuple("outputs of the function", outputs), "the output")
    found = pullback(type(outputs)(vectors) if isinstance(outputs, (tuple, list)) else vectors[0])
    return _finish(outputs, create_graph), _finish(_like(inputs, found), create_graph)


def jvp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """`(func(*inputs), the Jacobian times v)`; `v` has the inputs' shapes."""
    xs = _given(inputs, create_graph)
    _checked("jvp", func, xs, strict)
    outputs, products = transforms.jvp(func, xs, _vector("jvp", v, xs, "the input"))
    return _finish(outputs, create_graph), _finish(products, create_graph)


def hvp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """`(func(*inputs), the Hessian times v)` for a function with one element as its output."""
    xs = _given(inputs, create_graph)
    _checked("hvp", func, xs, strict)
    vectors = _vector("hvp", v, xs, "the input")

    def with_value(*args: Any) -> tuple[Tensor, Tensor]:
        output = _single("hvp", func)(*args)
        return output, output

    products, value = transforms.hvp(with_value, xs, vectors, has_aux=True)
    products = products if len(xs) > 1 else (products,)
    return _finish(value, create_graph), _finish(_like(inputs, products), create_graph)


def vhp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """`(func(*inputs), v times the Hessian)`: the same as `hvp`, Hessians being symmetric."""
    return hvp(func, inputs, v, create_graph, strict)
