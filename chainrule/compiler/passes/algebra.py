"""Rewrites that are exact in floating point: what they leave out changes no bit of any result."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from ...ops.pooling import _constant
from ..graph import Graph, Node
from .constants import FILLS, constant, uniform_value

__all__ = ["RULES", "run"]

RULES: dict[Any, Callable[[Node], Node | None]] = {}
ARITHMETIC = frozenset((np.add, np.subtract, np.multiply, np.true_divide, np.maximum, np.minimum))


def rule_for(*ops: Any) -> Callable[[Callable[[Node], Node | None]], Callable[[Node], Node | None]]:
    def register(rule: Callable[[Node], Node | None]) -> Callable[[Node], Node | None]:
        for op in ops:
            RULES[op] = rule
        return rule

    return register


def run(graph: Graph) -> bool:
    """Apply the rule of each node's function."""

    def rule(node: Node) -> Node | None:
        if node.effect or not callable(node.op):
            return None
        found = RULES.get(node.op)
        return (None if found is None else found(node)) or without_spreading(node) or with_one_number(node)

    return graph.rewrite(rule)


def without_spreading(node: Node) -> Node | None:
    """An operand that is spread over a larger shape only to meet the others, which spread it themselves."""
    elementwise = isinstance(node.op, np.ufunc) and node.op.signature is None and node.op.nout == 1
    if not (elementwise or node.op is np.where) or node.shape is None:
        return None
    args = list(node.args)
    for i, arg in enumerate(args):
        if isinstance(arg, Node) and arg.op is np.broadcast_to and isinstance(arg.args[0], Node):
            shapes = [arg.args[0].shape if k == i else x.shape for k, x in enumerate(args) if isinstance(x, Node)]
            if None not in shapes and np.broadcast_shapes(*shapes) == node.shape:  # type: ignore[arg-type]
                args[i] = arg.args[0]
    if args == list(node.args):
        return None
    found = node.like(node.op, *args)
    found.kwargs = node.kwargs
    return found


def with_one_number(node: Node) -> Node | None:
    """One number in the place of an array that is filled with it: nothing to be read from memory, and the same bits."""
    if node.op not in ARITHMETIC or len(node.args) != 2 or node.kwargs:
        return None
    for i, (this, other) in enumerate((node.args, node.args[::-1])):
        if not (isinstance(this, Node) and isinstance(other, Node)) or not this.shape or node.dtype != this.dtype:
            continue
        value = uniform_value(this)
        if type(value) in (int, float) and (other.shape, other.dtype) == (node.shape, node.dtype):
            number = constant(np.full((), value, this.dtype), this)
            return node.like(node.op, *((number, other) if i == 0 else (other, number)))
    return None


def is_number(value: Any, number: float) -> bool:
    """Whether an argument is this number, or an array filled with it."""
    if isinstance(value, Node):
        return bool(uniform_value(value) == number)
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value == number


def same(node: Node, value: Any) -> Node | None:
    """The operand in the node's place, if it has its shape and type."""
    if isinstance(value, Node) and value.shape == node.shape and value.dtype == node.dtype:
        return value
    return None


@rule_for(np.multiply, operator.mul)
def multiply(node: Node) -> Node | None:
    """x * 1 = x."""
    x, y = node.args
    return (same(node, x) if is_number(y, 1) else None) or (same(node, y) if is_number(x, 1) else None)


@rule_for(np.true_divide, operator.truediv)
def divide(node: Node) -> Node | None:
    """x / 1 = x."""
    return same(node, node.args[0]) if is_number(node.args[1], 1) else None


@rule_for(np.subtract)
def subtract(node: Node) -> Node | None:
    """x - 0 = x, and x - (-y) = x + y."""
    x, y = node.args
    if is_number(y, 0) and not is_negative_zero(y):
        return same(node, x)
    return node.like(np.add, x, y.args[0]) if is_negated(y, node) else None


@rule_for(np.add)
def add(node: Node) -> Node | None:
    """x + (-y) = x - y, and (-x) + y = y - x. Not x + 0, which turns -0 into 0."""
    x, y = node.args
    if is_negated(y, node):
        return node.like(np.subtract, x, y.args[0])
    return node.like(np.subtract, y, x.args[0]) if is_negated(x, node) else None


def is_negated(value: Any, node: Node) -> bool:
    """Whether an operand is -x, in the type of the sum: whole numbers of another type go round elsewhere."""
    return isinstance(value, Node) and value.op is np.negative and value.dtype == node.dtype


def is_negative_zero(value: Any) -> bool:
    if isinstance(value, Node):
        value = uniform_value(value)
    return isinstance(value, float) and str(value) == "-0.0"


@rule_for(np.negative)
def negative(node: Node) -> Node | None:
    """-(-x) = x."""
    (x,) = node.args
    return x.args[0] if isinstance(x, Node) and x.op is np.negative else None


@rule_for(np.conjugate)
def conjugate(node: Node) -> Node | None:
    """A real number is its own conjugate."""
    (x,) = node.args
    return same(node, x) if node.dtype is not None and node.dtype.kind in "fiu" else None


@rule_for(np.astype)
def astype(node: Node) -> Node | None:
    """A conversion to the type that the array has."""
    return same(node, node.args[0])


@rule_for(np.reshape)
def reshape(node: Node) -> Node | None:
    """A shape that is the same, and one reshape instead of two."""
    x = node.args[0]
    if same(node, x) is not None:
        return x  # type: ignore[no-any-return]
    if isinstance(x, Node) and x.op in (np.reshape, np.expand_dims, np.squeeze):
        return node.like(np.reshape, x.args[0], node.shape)
    return None


@rule_for(np.expand_dims, np.squeeze)
def expand_dims(node: Node) -> Node | None:
    """As a reshape, so that pairs of them meet."""
    x = node.args[0]
    return node.like(np.reshape, x, node.shape) if isinstance(x, Node) else None


@rule_for(_constant)
def without_derivative(node: Node) -> Node | None:
    """The same array: derivatives have been written down already."""
    return node.args[0] if isinstance(node.args[0], Node) else None


@rule_for(np.broadcast_to)
def broadcast_to(node: Node) -> Node | None:
    """A shape that is the same."""
    return same(node, node.args[0])


@rule_for(np.transpose, np.swapaxes)
def transpose(node: Node) -> Node | None:
    """Twice is not at all, or once; an order of the axes that changes nothing."""
    x = node.args[0]
    if not isinstance(x, Node):
        return None
    axes = order(node)
    if axes == tuple(range(len(axes))):
        return x
    if x.op in (np.transpose, np.swapaxes):
        inner = order(x)
        both = tuple(inner[axis] for axis in axes)
        if both == tuple(range(len(both))) and isinstance(x.args[0], Node):
            return x.args[0]
        return node.like(np.transpose, x.args[0], both)
    if node.op is np.swapaxes:
        return node.like(np.transpose, x, axes)
    return None


def order(node: Node) -> tuple[int, ...]:
    """The order of axes that a transpose or swapaxes makes."""
    assert node.shape is not None
    n = len(node.shape)
    if node.op is np.swapaxes:
        axes = list(range(n))
        i, j = (axis % n for axis in node.args[1:])
        axes[i], axes[j] = axes[j], axes[i]
        return tuple(axes)
    given = node.args[1] if len(node.args) > 1 else node.kwargs.get("axes")
    return tuple(range(n))[::-1] if given is None else tuple(axis % n for axis in given)


@rule_for(np.where)
def where(node: Node) -> Node | None:
    """where(True, x, y) = x and where(False, x, y) = y; one number in the place of an array full of it."""
    condition, x, y = node.args
    for i, (this, other) in enumerate(((x, y), (y, x)), 1):
        value = uniform_value(this) if isinstance(this, Node) and this.op in FILLS else None
        if value is not None and isinstance(other, Node) and (other.shape, other.dtype) == (node.shape, node.dtype):
            if this.dtype == node.dtype and type(value) in (int, float):
                return node.like(np.where, *(value if k == i else arg for k, arg in enumerate(node.args)))
    known = uniform_value(condition) if isinstance(condition, Node) else None
    if known is None:
        return None
    return same(node, x if known else y)
