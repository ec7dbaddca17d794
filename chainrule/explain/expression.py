"""An expression from the command line, computed without ever being run as Python: `chainrule explain "a * b" a=2 b=3`.

The text is parsed into a tree, and only arithmetic, calls of the table's operations, numbers and names are followed.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import chainrule

from ..core.dtypes import float64
from ..core.table import BACK_FUNCS
from ..core.tensor import Tensor
from .explanation import Explanation
from .names import Names
from .steps import backward_pass, operation_name

__all__ = ["ExpressionError", "compute", "explain_expression", "read_value"]

LONGEST = 2000  # characters
CONSTANTS = {"pi": math.pi, "e": math.e}
BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
    ast.MatMult: operator.matmul,
    ast.Mod: operator.mod,
    ast.FloorDiv: operator.floordiv,
}
UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {ast.USub: operator.neg, ast.UAdd: operator.pos}


class ExpressionError(Exception):
    """What is wrong with an expression; its text shows where."""

    def __init__(self, problem: str, text: str = "", column: int | None = None) -> None:
        where = "" if column is None else f"\n    {text}\n    {' ' * column}^"
        super().__init__(problem + where)


def operations() -> dict[str, Callable[..., Any]]:
    """The operations that may be called, by name: those of the table that users can call."""
    found = {}
    for function, _ in BACK_FUNCS:
        text = operation_name(function)
        public = getattr(chainrule, text, None) if text.isidentifier() and not text.startswith("_") else None
        if callable(public) and not isinstance(public, type):
            found[text] = public
    return found


def compute(text: str, values: Mapping[str, Tensor]) -> Any:
    """The value of an expression.

    Args:
        text: arithmetic, calls of the table's operations, numbers, and the names of values.
        values: name -> tensor.

    Raises:
        ExpressionError: anything else; marks the position.

    >>> import chainrule as cr
    >>> compute("sqrt(a * 8)", {"a": cr.tensor(2.0)}).item()
    4.0
    >>> compute("a.__class__", {"a": cr.tensor(2.0)})
    Traceback (most recent call last):
    chainrule.explain.expression.ExpressionError: only arithmetic, calls of operations, numbers and names can stand here
        a.__class__
        ^
    """
    if len(text) > LONGEST:
        raise ExpressionError(f"the expression has {len(text)} characters, more than {LONGEST}")
    try:
        tree = ast.parse(text, mode="eval")
    except SyntaxError as error:
        raise ExpressionError(f"this is no expression: {error.msg}", text, max(0, (error.offset or 1) - 1)) from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise ExpressionError(f"this is no expression: {error or 'it is nested too deeply'}") from None
    try:
        return _Reader(text, values).value(tree.body)
    except RecursionError:
        raise ExpressionError("this is no expression: it is nested too deeply") from None


class _Reader:
    """Follows the tree of one expression."""

    def __init__(self, text: str, values: Mapping[str, Tensor]) -> None:
        self.text = text
        self.values = values
        self.operations = operations()

    def refuse(self, node: ast.AST, problem: str) -> ExpressionError:
        """An error that marks where a part of the expression begins."""
        line, column = getattr(node, "lineno", 1), getattr(node, "col_offset", 0)
        lines = self.text.splitlines() or [""]
        before = lines[line - 1].encode()[:column].decode(errors="replace")
        return ExpressionError(problem, lines[line - 1], len(before))

    def value(self, node: ast.AST) -> Any:
        """The value of a part of the expression."""
        try:
            if isinstance(node, ast.BinOp) and type(node.op) in BINARY:
                left, right = self.value(node.left), self.value(node.right)
                if isinstance(left, int) and isinstance(right, int):
                    left = float(left)  # no integers of a million digits
                return BINARY[type(node.op)](left, right)
            if isinstance(node, ast.UnaryOp) and type(node.op) in UNARY:
                return UNARY[type(node.op)](self.value(node.operand))
            if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
                if isinstance(node.value, bool):
                    raise self.refuse(node, "a truth value cannot be computed with")
                return node.value if abs(node.value) < 2**53 else float(node.value)
            if isinstance(node, ast.Name):
                return self.named(node)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                return self.called(node, node.func)
        except ExpressionError:
            raise
        except RecursionError:
            raise
        except Exception as error:
            raise self.refuse(node, f"{type(error).__name__}: {str(error) or 'this cannot be computed'}") from None
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitXor):
            raise self.refuse(node, "powers are written with **, as in x**2")
        raise self.refuse(node, "only arithmetic, calls of operations, numbers and names can stand here")

    def named(self, node: ast.Name) -> Any:
        if node.id in self.values:
            return self.values[node.id]
        if node.id in CONSTANTS:
            return CONSTANTS[node.id]
        if node.id in self.operations:
            raise self.refuse(node, f"{node.id} is an operation: write {node.id}(...)")
        raise self.refuse(node, f"{node.id} has no value: add {node.id}=... to the command")

    def called(self, node: ast.Call, function: ast.Name) -> Any:
        operation = self.operations.get(function.id)
        if operation is None:
            near = [name for name in sorted(self.operations) if name.startswith(function.id[:2])]
            hint = f"; there are {', '.join(near[:8])}" if near else ""
            raise self.refuse(function, f"{function.id} is no operation of the table{hint}")
        keywords = {}
        for keyword in node.keywords:
            if keyword.arg is None:
                raise self.refuse(
                    keyword.value, "only arithmetic, calls of operations, numbers and names can stand here"
                )
            keywords[keyword.arg] = self.setting(keyword.value)
        return operation(*(self.setting(argument) for argument in node.args), **keywords)

    def setting(self, node: ast.AST) -> Any:
        """An argument: a value, or several in brackets, such as axes."""
        if isinstance(node, (ast.Tuple, ast.List)):
            return tuple(self.setting(item) for item in node.elts)
        if isinstance(node, ast.Constant) and (node.value is None or isinstance(node.value, bool)):
            return node.value
        return self.value(node)


def read_value(text: str) -> tuple[str, Tensor]:
    """`a=2` or `a=[1, 2, 3]` as a name and a tensor that requires grad.

    Raises:
        ExpressionError: something else.

    >>> name, value = read_value("a=[1, 2]")
    >>> name, value.tolist()
    ('a', [1.0, 2.0])
    """
    name, equals, number = text.partition("=")
    name = name.strip()
    if not equals or not name.isidentifier():
        raise ExpressionError(f"a value is written NAME=NUMBER or NAME=[NUMBER,...], got {text!r}")
    data: Any = None
    try:
        data = float(number)
    except ValueError:
        try:
            data = ast.literal_eval(number.strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            data = None
    if not _numbers(data):
        raise ExpressionError(f"{name} must be a number or a list of numbers, got {number!r}")
    try:
        return name, chainrule.tensor(data, dtype=float64, requires_grad=True)
    except (ValueError, TypeError):
        raise ExpressionError(f"{name} must have rows of one length, got {number!r}") from None


def _numbers(data: Any) -> bool:
    if isinstance(data, (list, tuple)):
        return all(map(_numbers, data))
    return type(data) in (int, float)


def explain_expression(text: str, given: Sequence[str]) -> tuple[Any, Explanation]:
    """An expression's value and its backward pass.

    Raises:
        ExpressionError: the expression or a value is not understood, or nothing in it can be differentiated.
    """
    values = dict(map(read_value, given))
    result = compute(text, values)
    if not isinstance(result, Tensor) or not result.requires_grad:
        raise ExpressionError("there is nothing to differentiate: use a name with a value, such as a=2", text)
    names = Names({**values, "result": result})
    return result, Explanation(backward_pass(result, None, names), hint=False, of=text)


def main(text: str, given: Sequence[str], latex: bool = False, markdown: bool = False, html: str | None = None) -> int:
    """`chainrule explain`; returns the exit code."""
    import sys

    import numpy as np

    try:
        with np.errstate(all="ignore"):
            result, told = explain_expression(text.strip(), given)
    except ExpressionError as error:
        print(f"chainrule explain: {error}", file=sys.stderr)
        return 2
    if latex:
        print(told.latex())
    elif markdown:
        print(told.markdown())
    elif html is not None:
        try:
            written = told.html()
            with open(html, "w", encoding="utf-8") as file:
                file.write(written)
        except ImportError:
            print(
                "chainrule explain: the page's graph is laid out by Graphviz, which is not installed: "
                "pip install 'chainrule[draw]' brings it; --markdown and --latex do without",
                file=sys.stderr,
            )
            return 1
        except OSError as error:
            print(f"chainrule explain: cannot write {html}: {error.strerror or error}", file=sys.stderr)
            return 1
    else:
        value = told.nodes[told.data.ends[0]].value
        print(f"result = {text.strip()} = {value}" + (f"   {value.kind}" if value.shape else ""))
        if result.shape:
            print("The gradients are those of the sum of its elements.")
        print(f"\n{told}")
    return 0
