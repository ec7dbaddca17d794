"""Comparisons, predicates, logic on truth values and on bits. None has a derivative."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.forward import implements, promote, wrap_forward_fn
from ..core.table import name_of
from ..core.tensor import Tensor, make_tensor
from ..core.tracing import as_it_is
from .common import as_tensor_argument, attach, attach_in_place, in_place

# ----- comparisons ------------------------------------------------------------------------------------------------

eq = wrap_forward_fn(np.equal, is_differentiable=False, promotes=True)
ne = not_equal = wrap_forward_fn(np.not_equal, is_differentiable=False, promotes=True)
lt = less = wrap_forward_fn(np.less, is_differentiable=False, promotes=True, ordered=True)
le = less_equal = wrap_forward_fn(np.less_equal, is_differentiable=False, promotes=True, ordered=True)
gt = greater = wrap_forward_fn(np.greater, is_differentiable=False, promotes=True, ordered=True)
ge = greater_equal = wrap_forward_fn(np.greater_equal, is_differentiable=False, promotes=True, ordered=True)
_isclose = wrap_forward_fn(np.isclose, is_differentiable=False)


def isclose(input: Any, other: Any, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> Tensor:
    """Where `|input - other| <= atol + rtol * |other|`."""
    input, other = promote((as_tensor_argument(input), other))
    return _isclose(input, other, rtol=rtol, atol=atol, equal_nan=equal_nan)  # type: ignore[no-any-return]


def allclose(input: Any, other: Any, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> bool:
    """Whether `isclose` holds everywhere.

    >>> import chainrule as cr
    >>> cr.allclose(cr.tensor([1.0]), cr.tensor([1.0 + 1e-7]))
    True
    """
    return bool(np.all(isclose(input, other, rtol, atol, equal_nan).array))


def equal(input: Tensor, other: Tensor) -> bool:
    """Whether both have the same shape and the same elements."""
    return bool(np.array_equal(input.array, other.array))


implements(np.isclose)(isclose)
implements(np.allclose)(allclose)


@implements(np.array_equal)
def _array_equal(a1: Any, a2: Any, equal_nan: bool = False) -> bool:
    return bool(np.array_equal(as_tensor_argument(a1).array, as_tensor_argument(a2).array, equal_nan))


@implements(np.array_equiv)
def _array_equiv(a1: Any, a2: Any) -> bool:
    return bool(np.array_equiv(as_tensor_argument(a1).array, as_tensor_argument(a2).array))


# ----- predicates -------------------------------------------------------------------------------------------------

isnan = wrap_forward_fn(np.isnan, is_differentiable=False)
isinf = wrap_forward_fn(np.isinf, is_differentiable=False)
isfinite = wrap_forward_fn(np.isfinite, is_differentiable=False)
isposinf = wrap_forward_fn(np.isposinf, is_differentiable=False)
isneginf = wrap_forward_fn(np.isneginf, is_differentiable=False)
isreal = wrap_forward_fn(np.isreal, is_differentiable=False)
signbit = wrap_forward_fn(np.signbit, is_differentiable=False)
wrap_forward_fn(np.iscomplex, is_differentiable=False)


@implements(np.iscomplexobj)
def is_complex(input: Tensor) -> bool:
    """Whether the elements are complex numbers."""
    return bool(input.array.dtype.kind == "c")


@implements(np.isrealobj)
def _isrealobj(x: Tensor) -> bool:
    return not is_complex(x)


def is_floating_point(input: Tensor) -> bool:
    """Whether the elements are floating-point numbers."""
    return bool(input.array.dtype.kind == "f")


def is_signed(input: Tensor) -> bool:
    """Whether the elements' type has negative numbers."""
    return bool(input.array.dtype.kind in "ifc")


def is_conj(input: Tensor) -> bool:
    """False: conjugates are always computed."""
    return False


def is_neg(input: Tensor) -> bool:
    """False: negatives are always computed."""
    return False


def is_nonzero(input: Tensor) -> bool:
    """Whether the one element is not zero.

    Raises:
        RuntimeError: the tensor has not exactly one element.
    """
    if input.array.size != 1:
        raise RuntimeError(f"Boolean value of Tensor with shape {input.shape} is ambiguous: it must have one element")
    return bool(input.array.reshape(()))


# ----- logic ------------------------------------------------------------------------------------------------------

logical_and = wrap_forward_fn(np.logical_and, is_differentiable=False)
logical_or = wrap_forward_fn(np.logical_or, is_differentiable=False)
logical_xor = wrap_forward_fn(np.logical_xor, is_differentiable=False)
logical_not = wrap_forward_fn(np.logical_not, is_differentiable=False)


def _of_bits(ufunc: np.ufunc) -> Callable[..., Tensor]:
    operation = wrap_forward_fn(ufunc, is_differentiable=False, promotes=True)

    def on_integers(input: Any, *other: Any) -> Tensor:
        try:
            return operation(input, *other)  # type: ignore[no-any-return]
        except (TypeError, NotImplementedError):
            kinds = " and ".join(str(getattr(x, "dtype", type(x).__name__)) for x in (input, *other))
            raise NotImplementedError(f"{name_of(ufunc)} is for integers and truth values, got {kinds}") from None

    on_integers.__name__ = on_integers.__qualname__ = name_of(ufunc)
    on_integers.__doc__ = f"`{name_of(ufunc)}` of integers or truth values, broadcast."
    return on_integers


bitwise_and, bitwise_or, bitwise_xor = (_of_bits(u) for u in (np.bitwise_and, np.bitwise_or, np.bitwise_xor))
bitwise_not = _of_bits(np.invert)
bitwise_left_shift, bitwise_right_shift = _of_bits(np.left_shift), _of_bits(np.right_shift)


def _invert(self: Tensor) -> Tensor:
    """`~`: the opposite of truth values, the bits of integers turned over."""
    if self.array.dtype.kind not in "biu":
        raise TypeError(f"~ is only implemented on integer and Boolean-type tensors, this one is {self.dtype}")
    return bitwise_not(self)


def isin(elements: Any, test_elements: Any, *, assume_unique: bool = False, invert: bool = False) -> Tensor:
    """For each element whether it is among the test elements, or with `invert` whether it is not.

    >>> import chainrule as cr
    >>> cr.isin(cr.tensor([1, 2, 3]), cr.tensor([3, 1])).tolist()
    [True, False, True]
    """
    values, among = (as_tensor_argument(x).array for x in (elements, test_elements))
    return make_tensor(as_it_is(np.isin(values, among, assume_unique=assume_unique, invert=invert)), None)


# ----- names, methods, operators ----------------------------------------------------------------------------------

OF_TWO = "eq ge greater greater_equal gt le less less_equal logical_and logical_or logical_xor lt ne not_equal".split()
BITS = "bitwise_and bitwise_left_shift bitwise_not bitwise_or bitwise_right_shift bitwise_xor".split()
PREDICATES = (
    "allclose equal is_complex is_conj is_floating_point is_neg is_nonzero is_signed isclose isfinite isin isinf isnan "
    "isneginf isposinf isreal signbit"
).split()

_here = globals()
attach(**{name: _here[name] for name in [*OF_TWO, "logical_not", *BITS, *PREDICATES]})
attach_in_place(**{name: _here[name] for name in [*OF_TWO, "logical_not", *BITS]})
__all__ = [*OF_TWO, "logical_not", *BITS, *PREDICATES]


def _equality(compare: Callable[[Any, Any], Any]) -> Callable[[Tensor, Any], Any]:
    """`==` or `!=`; with what is no number or array Python's own answer."""

    def operator(self: Tensor, other: Any) -> Any:
        try:
            return compare(self, other)
        except TypeError:
            return NotImplemented

    return operator


def _reflected(operation: Callable[..., Any]) -> Callable[[Tensor, Any], Tensor]:
    return lambda self, other: operation(as_tensor_argument(other), self)


_hash = Tensor.__hash__
attach(__eq__=_equality(eq), __ne__=_equality(ne), __lt__=lt, __le__=le, __gt__=gt, __ge__=ge)
attach(__hash__=_hash)
attach(__and__=bitwise_and, __or__=bitwise_or, __xor__=bitwise_xor, __invert__=_invert)
attach(__lshift__=bitwise_left_shift, __rshift__=bitwise_right_shift)
attach(__rand__=lambda self, other: bitwise_and(other, self), __ror__=lambda self, other: bitwise_or(other, self))
attach(__rxor__=lambda self, other: bitwise_xor(other, self))
attach(__rlshift__=_reflected(bitwise_left_shift), __rrshift__=_reflected(bitwise_right_shift))
for _operator, _name in {"and": "bitwise_and", "or": "bitwise_or", "xor": "bitwise_xor"}.items():
    attach(**{f"__i{_operator}__": in_place(_here[_name], _name + "_")})
attach(__ilshift__=in_place(bitwise_left_shift, "bitwise_left_shift_"))
attach(__irshift__=in_place(bitwise_right_shift, "bitwise_right_shift_"))
