"""How one call of a NumPy function on arrays is written for one element: the table of what kernels can compute."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import numpy as np

from ...core.table import name_of
from ...ops.special import _erf
from ..graph import CONSTANT, Node
from ..passes.constants import uniform_value

__all__ = ["HEAVY", "ReductionOf", "cast", "element", "literal", "loop_types", "reduction_of"]

TYPES = frozenset(map(np.dtype, ("f4", "f8", "i4", "i8", "u1", "?")))
# Whole numbers go round in NumPy where they grow too large. Numba computes with narrow ones in 64 bits, and takes for
# granted that those of 64 bits with a sign never grow too large.
NARROW = frozenset(map(np.dtype, ("i4", "u1")))
GOES_ROUND = frozenset(("add", "subtract", "multiply", "square"))

# ufunc -> its text for one element; {0}, {1} are the operands, in the type of the ufunc's loop
INFIX = {
    "add": "{0} + {1}",
    "subtract": "{0} - {1}",
    "multiply": "{0} * {1}",
    "divide": "{0} / {1}",
    "greater": "{0} > {1}",
    "greater_equal": "{0} >= {1}",
    "less": "{0} < {1}",
    "less_equal": "{0} <= {1}",
    "equal": "{0} == {1}",
    "not_equal": "{0} != {1}",
    "negative": "-{0}",
    "square": "{0} * {0}",
    "reciprocal": "1 / {0}",
}
OF_BOOL = {"add": "{0} | {1}", "multiply": "{0} & {1}"}  # truth values are not counted
CALLS = {"maximum": "maximum", "minimum": "minimum", "absolute": "abs", "fabs": "abs", "sqrt": "math.sqrt"}
ROUNDING = frozenset(("floor", "ceil", "trunc", "rint", "sign", "isnan", "isinf", "isfinite", "copysign"))
LOGICAL = {"logical_and": "{0} & {1}", "logical_or": "{0} | {1}", "logical_not": "not {0}"}
LOGICAL |= {"bitwise_and": "{0} & {1}", "bitwise_or": "{0} | {1}", "invert": "not {0}"}
# ufunc -> the elementary function; of the `math` module where kernels/elementary.py has none
HEAVY = {
    "exp": "exp",
    "expm1": "expm1",
    "exp2": "exp2",
    "log": "log",
    "log1p": "log1p",
    "log2": "log2",
    "tanh": "tanh",
    "sin": "sin",
    "cos": "cos",
    "erf": "erf",
    "expit": "sigmoid",
    "arctan": "atan",
    "sinh": "sinh",
    "cosh": "cosh",
}
OWN = {_erf: "erf"}  # functions of this package by the names of their ufuncs
IN_MATH = frozenset(("exp", "expm1", "log", "log1p", "tanh", "sin", "cos", "erf", "atan", "sinh", "cosh"))


def cast(text: str, have: Any, want: np.dtype[Any]) -> str:
    """A value in another type."""
    if have == want:
        return text
    if want == np.bool:
        return f"({text} != 0)"
    return f"{want.name}({text})"


def literal(value: Any, dtype: np.dtype[Any]) -> str:
    """A number in a type."""
    value = dtype.type(value).item()
    if dtype == np.bool:
        return repr(value)
    if dtype.kind == "f" and not np.isfinite(value):
        text = {"inf": "np.inf", "-inf": "-np.inf"}.get(str(value), "np.nan")
    else:
        text = repr(float(str(dtype.type(value)))) if dtype.kind == "f" else repr(value)
    return f"{dtype.name}({text})"


def loop_types(node: Node) -> tuple[list[np.dtype[Any]], np.dtype[Any]] | None:
    """The types in which one element is computed: those of the operands, and of the result."""
    given: list[Any] = []
    for arg in node.args:
        if isinstance(arg, Node):
            given.append(float if arg.dtype is None else arg.dtype)
        else:
            given.append(np.dtype("?") if isinstance(arg, (bool, np.bool)) else getattr(arg, "dtype", type(arg)))
    if isinstance(node.op, np.ufunc):
        if node.kwargs or node.op.nout != 1 or node.op.nin != len(given) or node.op.signature is not None:
            return None
        try:
            *operands, result = node.op.resolve_dtypes((*given, None))
        except (TypeError, ValueError):
            return None
    elif node.op is np.where and len(given) == 3 and node.dtype is not None:
        operands, result = [np.dtype("?"), node.dtype, node.dtype], node.dtype
    elif node.op is np.clip and len(given) == 3 and not node.kwargs and node.dtype is not None:
        operands, result = [node.dtype] * 3, node.dtype
        if node.dtype.kind != "f" or given[0] != result or not all(type(arg) in (int, float) for arg in node.args[1:]):
            return None
    elif node.op in OWN and not node.kwargs:
        operands, result = given, given[0]
    else:
        return None
    known = all(dtype in TYPES for dtype in (*operands, result))
    fits = all(map(can_hold, operands, node.args))
    return (operands, result) if known and fits and result == node.dtype else None


def can_hold(dtype: np.dtype[Any], arg: Any) -> bool:
    """Whether an operand is none of Python's whole numbers that its type cannot hold: NumPy compares with these."""
    if type(arg) is not int or dtype.kind not in "iu":
        return True
    limits = np.iinfo(dtype)
    return bool(limits.min <= arg <= limits.max)


def element(node: Node, elementary: Collection[str] = ()) -> Callable[[list[str]], str] | None:
    """What makes the text of a node's element from its operands' texts; None where kernels cannot compute it.

    Args:
        elementary: the names of the elementary functions that there are.
    """
    if node.dtype not in TYPES:
        return None
    if node.op in (np.astype, np.reshape, np.broadcast_to, np.copy):
        source = node.args[0]
        if not isinstance(source, Node) or source.dtype not in TYPES or node.kwargs:
            return None
        known = uniform_value(source)
        if known is not None:
            with np.errstate(all="ignore"):
                known = np.asarray(known, source.dtype).astype(node.dtype)
            return lambda texts: literal(known, node.dtype)  # type: ignore[arg-type]
        return lambda texts: cast(texts[0], source.dtype, node.dtype)  # type: ignore[arg-type]
    types = loop_types(node)
    if types is None:
        return None
    operands, result = types
    pattern = pattern_of(node, operands, result, elementary)
    if pattern is None:
        return None

    def text(texts: list[str]) -> str:
        fitted = []
        for arg, given, want in zip(node.args, texts, operands, strict=True):
            known = constant_value(arg)
            if known is not None:
                fitted.append(literal(known, want))
            else:
                fitted.append(cast(given, arg.dtype if isinstance(arg, Node) else None, want))
        return pattern.format(*fitted)

    return text


def pattern_of(
    node: Node, operands: list[np.dtype[Any]], result: np.dtype[Any], elementary: Collection[str]
) -> str | None:
    if node.op is np.where:
        return "where({0}, {1}, {2})"
    if node.op is np.clip:
        return "minimum(maximum({0}, {1}), {2})"
    name, kind = OWN.get(node.op, node.op.__name__), operands[0].kind
    if name in INFIX:
        if kind == "b" and name in OF_BOOL:
            return OF_BOOL[name]
        if result != np.bool and (kind == "b" or (name in ("divide", "reciprocal") and kind != "f")):
            return None
        if name in GOES_ROUND and result == np.int64:
            return f"int64({INFIX[name].replace('{0}', 'uint64({0})').replace('{1}', 'uint64({1})')})"
        pattern = INFIX[name].replace("1 /", f"{result.name}(1) /")
        return f"{result.name}({pattern})" if result in NARROW else pattern
    if name in LOGICAL:
        # a ufunc of numbers has loops for them; a kernel asks whether they are 0
        return LOGICAL[name] if all(dtype == np.bool for dtype in operands) else None
    if name in CALLS and kind != "b" and (name != "sqrt" or kind == "f"):
        call = f"{CALLS[name]}({', '.join(f'{{{i}}}' for i in range(len(operands)))})"
        return f"{result.name}({call})" if result in NARROW and name == "absolute" else call
    if kind != "f":
        return None
    if name in ROUNDING:
        return f"np.{name}({', '.join(f'{{{i}}}' for i in range(len(operands)))})"
    if name in HEAVY:
        function = HEAVY[name]
        if f"{function}_{result.name}" in elementary:
            return f"{function}_{result.name}({{0}})"
        if function in IN_MATH:
            return f"{result.name}(math.{function}({{0}}))"
    if name == "power":
        exponent = constant_value(node.args[1])
        if exponent in (2, 3):
            return " * ".join(["{0}"] * int(exponent))
        if type(node.args[1]) is float and exponent == 0.5:  # as NumPy has it: not a number for -inf
            return "math.sqrt({0})"
        if f"pow_{result.name}" in elementary:
            return f"pow_{result.name}({{0}}, {{1}})"
        return f"{result.name}(math.pow({{0}}, {{1}}))"
    return None


def constant_value(arg: Any) -> Any:
    """A number that is known when the kernel is written, else None."""
    if isinstance(arg, Node):
        return uniform_value(arg)
    return arg.item() if isinstance(arg, np.generic) else arg


# ----- reductions -----


class ReductionOf:
    """A reduction in a form of its own: `kind` is sum, maximum or minimum; `axes` are those that it takes away."""

    def __init__(self, kind: str, axes: tuple[int, ...]) -> None:
        self.kind = kind
        self.axes = axes

    def start(self, dtype: np.dtype[Any]) -> str:
        """What a reduction begins with."""
        if self.kind == "sum":
            return literal(0, dtype)
        if dtype.kind == "f":
            return literal(-np.inf if self.kind == "maximum" else np.inf, dtype)
        limits = np.iinfo(dtype)
        return literal(limits.min if self.kind == "maximum" else limits.max, dtype)

    @property
    def step(self) -> str:
        """The function that takes in one more value."""
        return "plus" if self.kind == "sum" else self.kind


KINDS = {
    "sum": "sum",
    "max": "maximum",
    "amax": "maximum",
    "min": "minimum",
    "amin": "minimum",
    "add.reduce": "sum",
    "maximum.reduce": "maximum",
    "minimum.reduce": "minimum",
}


def reduction_of(node: Node) -> ReductionOf | None:
    """A node as a reduction; None where it is none that kernels compute."""
    kind = KINDS.get(name_of(node.op)) if callable(node.op) else None
    source = node.args[0] if node.args else None
    if kind is None or not isinstance(source, Node) or source.shape is None or source.op is CONSTANT:
        return None
    if node.dtype not in TYPES or node.dtype == np.bool or source.dtype not in TYPES:
        return None
    ufunc_method = hasattr(node.op, "ufunc")
    given = dict(node.kwargs)
    if len(node.args) > 1:
        given["axis"] = node.args[1]
    if len(node.args) > 2 or set(given) - {"axis", "keepdims"}:
        return None
    axis = given.get("axis", 0 if ufunc_method else None)
    count = len(source.shape)
    axes = tuple(range(count)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    axes = tuple(sorted(a % count for a in axes)) if count else ()
    if node.size == source.size or not source.size or (kind != "sum" and source.dtype != node.dtype):
        return None
    return ReductionOf(kind, axes)
