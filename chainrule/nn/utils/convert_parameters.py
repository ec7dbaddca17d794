"""All parameters as one vector, and back."""

from __future__ import annotations

from collections.abc import Iterable

from ...core.tensor import Tensor
from ...ops.shape import cat

__all__ = ["parameters_to_vector", "vector_to_parameters"]


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """The numbers of all parameters one after the other, as one vector; differentiable.

    >>> import chainrule as cr
    >>> parameters_to_vector([cr.zeros(2, 3), cr.ones(2)]).shape
    (8,)
    """
    return cat([parameter.reshape(-1) for parameter in parameters])


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Let the parameters have the numbers of a vector, one after the other.

    Raises:
        TypeError: `vec` is no tensor.
        RuntimeError: it has fewer numbers than the parameters.
    """
    if not isinstance(vec, Tensor):
        raise TypeError(f"expected a Tensor, but got: {type(vec).__name__}")
    chosen = list(parameters)
    wanted = sum(parameter.array.size for parameter in chosen)
    if vec.array.size < wanted:
        raise RuntimeError(f"the parameters have {wanted} numbers, the vector has {vec.array.size}")
    start = 0
    for parameter in chosen:
        size = parameter.array.size
        parameter.data = vec[start : start + size].reshape(parameter.shape).data
        start += size
