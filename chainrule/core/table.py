"""The table: for a function and the position of an argument, the function that computes that argument's gradient.

This is the only place where derivatives are found. A backward function has the notes' form
`back(grad_out, out, *args, **kwargs)`; it is written in NumPy functions and operators, without writing to an array, so
that it runs on arrays, on Tensors (higher derivatives), on tracers and on other libraries' arrays alike. Its docstring
carries its formula between dollar signs.

Complex numbers: gradients travel through backward functions conjugated, so that `grad_out * y` is right for complex
`y` as it stands; `backprop` conjugates where gradients enter and leave (see docs/explanation/architecture.md).
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

__all__ = ["BACK_FUNCS", "EACH", "BackwardFuncLookup", "adds_to", "backward", "result_may_change"]

Back = TypeVar("Back", bound=Callable[..., Any])


class _Each:
    """Stands for every position from here on, in functions of any number of arrays."""

    def __repr__(self) -> str:
        return "EACH"


EACH = _Each()


CALLED_AGAIN: set[Any] = set()


def result_may_change(*functions: Any) -> None:
    """Let programs write to the results of these functions before backward, as PyTorch does.

    It keeps their arguments and not their results for the derivative. A backward function that uses a result that was
    written to gets it computed anew from the arguments.
    """
    CALLED_AGAIN.update(functions)


def name_of(function: Any) -> str:
    """How messages call a function: its own name."""
    return str(getattr(function, "__name__", None) or type(function).__name__)


class BackwardFuncLookup:
    """Maps (forward function, argument position) to a backward function.

    >>> import numpy as np
    >>> table = BackwardFuncLookup()
    >>> table.add_back_func(np.log, 0, lambda grad_out, out, x: grad_out / x)
    >>> table.get_back_func(np.log, 0)(1.0, None, 4.0)
    0.25
    """

    def __init__(self) -> None:
        self.back_funcs: dict[tuple[Any, Any], Callable[..., Any]] = {}
        self._found: dict[Any, dict[int, Callable[..., Any]]] = {}  # by function, for backprop's inner loop
        self._keywords: dict[Any, frozenset[str] | None] = {}

    def add_back_func(self, forward_fn: Any, arg_position: Any, backward_fn: Callable[..., Any]) -> None:
        """Register `backward_fn(grad_out, out, *args, **kwargs)` for one argument of `forward_fn`, or for `EACH`.

        For `EACH`, the backward function is also given `argnum`, the position it is asked for.
        """
        self.back_funcs[forward_fn, arg_position] = backward_fn
        self._found.pop(forward_fn, None)
        self._keywords.pop(forward_fn, None)

    def get_back_func(self, forward_fn: Any, arg_position: int) -> Callable[..., Any]:
        """The backward function for one argument.

        Raises:
            KeyError: none is registered; names the function and the argument.
        """
        found = self._found.get(forward_fn, {}).get(arg_position)
        if found is None:
            found = self._look_up(forward_fn, arg_position)  # which raises for functions that live for one call
            self._found.setdefault(forward_fn, {})[arg_position] = found
        return found

    def _look_up(self, forward_fn: Any, arg_position: int) -> Callable[..., Any]:
        exact = self.back_funcs.get((forward_fn, arg_position))
        if exact is not None:
            return exact
        each = self.back_funcs.get((forward_fn, EACH))
        if each is not None:
            return functools.partial(each, argnum=arg_position)
        name = name_of(forward_fn)
        raise KeyError(
            f"no backward registered for {name} arg {arg_position}: write one with "
            f"BACK_FUNCS.add_back_func({name}, {arg_position}, back), where back(grad_out, out, *args, **kwargs) "
            f"returns the gradient for argument {arg_position}"
        )

    def knows(self, forward_fn: Any) -> bool:
        """Whether any argument of the function has a backward function."""
        return any(function is forward_fn for function, _ in self.back_funcs)

    def check_keywords(self, forward_fn: Any, kwargs: dict[str, Any]) -> None:
        """Refuse keyword arguments that the function's backward functions do not know.

        Raises:
            TypeError: names the function and the keyword.
        """
        if forward_fn not in self._keywords:
            self._keywords[forward_fn] = self._known_keywords(forward_fn)
        known = self._keywords[forward_fn]
        if known is not None and not known.issuperset(kwargs):
            extra = ", ".join(sorted(set(kwargs) - known))
            raise TypeError(
                f"{name_of(forward_fn)}: no derivative is known with the argument {extra}; leave it out, or "
                "compute on detach()ed tensors"
            )

    def _known_keywords(self, forward_fn: Any) -> frozenset[str] | None:
        names: set[str] | None = None
        for (function, _), back in self.back_funcs.items():
            if function is not forward_fn:
                continue
            parameters = inspect.signature(back).parameters.values()
            if any(p.kind is p.VAR_KEYWORD for p in parameters):
                continue
            here = {p.name for p in parameters if p.kind is not p.VAR_POSITIONAL}
            names = here if names is None else names & here
        return None if names is None else frozenset(names)

    def formula(self, forward_fn: Any, arg_position: Any) -> str:
        """The LaTeX formula in a backward function's docstring, without the dollar signs.

        Raises:
            KeyError: no such backward function, or none with a formula.
        """
        back = self.back_funcs.get((forward_fn, arg_position)) or self.get_back_func(forward_fn, arg_position)
        back = getattr(back, "func", back)  # a partial made for EACH
        found = re.search(r"\$(.+?)\$", back.__doc__ or "", flags=re.DOTALL)
        if found is None:
            raise KeyError(f"the backward function for {name_of(forward_fn)} arg {arg_position} states no formula")
        return " ".join(found.group(1).split())

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        """All (function, argument position) pairs, in the order in which they were registered."""
        return iter(self.back_funcs)

    def __len__(self) -> int:
        return len(self.back_funcs)


BACK_FUNCS = BackwardFuncLookup()


def backward(forward_fn: Any, *arg_positions: Any) -> Callable[[Back], Back]:
    r"""Register the decorated function as the backward function for arguments of `forward_fn`.

    >>> import numpy as np, chainrule as cr
    >>> def cube(x):
    ...     return x * x * x
    >>> @cr.backward(cube, 0)
    ... def cube_back(grad_out, out, x):
    ...     r"$\nabla_x L = 3 x^2 \nabla_{out} L$"
    ...     return grad_out * 3 * x * x
    >>> x = cr.tensor([2.0], requires_grad=True)
    >>> cr.wrap_forward_fn(cube)(x).backward()
    >>> x.grad
    Tensor(array([12.], dtype=float32), requires_grad=False)
    """

    def register(back: Back) -> Back:
        for position in arg_positions or (0,):
            BACK_FUNCS.add_back_func(forward_fn, position, back)
        return back

    return register


ADDS_TO: dict[Callable[..., Any], Callable[..., bool]] = {}


def adds_to(back: Callable[..., Any]) -> Callable[[Back], Back]:
    """Register the decorated function as what adds a backward function's gradient to an array without making it first.

    `add(total, grad_out, out, *args, **kwargs)` writes to `total`, an array of the argument's shape and of the type of
    `grad_out`, and returns True; or it leaves `total` as it is and returns False. For gradients that are zero but for a
    few elements, of which a sum may have many.
    """

    def register(add: Back) -> Back:
        ADDS_TO[back] = add
        return add

    return register
