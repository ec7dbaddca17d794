"""Arrays that record what is done with them.

A `Tracer` stands for an array while a function is traced. NumPy's protocols lead every call here: it is carried out on
the values of this one run, which tells shapes and types, and written down as a node of the graph.

Arrays can be written to, nodes cannot. So a tracer looks at a `Cell`, which holds the present node of a piece of
memory; a view is a tracer on its base's cell, with the functions that lead there; a write gives the cell a new node.
Read next: `trace.py`, which runs a function on tracers.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import linecache
import operator
import os
import pickle
import random
import sys
import weakref
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, NamedTuple, NoReturn, TypeVar

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from ..core import tracing
from ..core.recipe import NOT_THE_USER, PACKAGE
from ..core.table import name_of
from ..core.tensor import Tensor
from ..core.views import write_region
from ..nn.module import Module
from ..ops.indexing import getitem
from .graph import CONSTANT, INPUT, NOBODY, Node, Origin, Place

__all__ = ["Number", "Recorder", "TraceError", "Tracer"]

# their results are known when the shapes are
STATIC = frozenset(
    (np.shape, np.ndim, np.size, np.result_type, np.iscomplexobj, np.isrealobj, np.can_cast, np.common_type)
)
# the shapes of their results depend on values
VALUE_SHAPED = frozenset(
    (np.nonzero, np.flatnonzero, np.argwhere, np.unique, np.extract, np.compress, np.trim_zeros, np.union1d)
)
# modules and functions of this package whose way with arrays is better than NumPy's calls one by one
WHOLE = frozenset(
    (
        *(
            f"chainrule.ops.{name}"
            for name in ("alignment", "convolution", "polynomials", "pooling", "resampling", "scan")
        ),
        *("getitem_adjoint", "_index_add", "_index_copy", "_lasting", "_pivots_of", "permutation_of"),
        *("_scatter", "_scatter_add", "_scatter_reduce"),
        *("_complex", "eigen", "eigenvalues"),  # of which NumPy's own steps depend on values
        *("add_along", "without_zero"),  # by places in the place of a matrix of ones; which looks at values
        "solve_triangular_matrix",  # for which NumPy's general solution refuses zeros on the diagonal
    )
)
# those that were seen to share the memory of their first argument, beside `VIEWS` of memory.py
GIVE_VIEWS: set[Any] = set()
WRITING = frozenset((np.put, np.place, np.putmask, np.put_along_axis, np.fill_diagonal))

ENGINE = (os.path.join(PACKAGE, "core", ""), os.path.join(PACKAGE, "compiler", ""))
TRACE = os.path.join(PACKAGE, "compiler", "trace.py")

PYTHONS = (contextlib.__file__, copy.__file__, pickle.__file__, random.__file__)

# what the backward pass is computing while it is traced: the formula of the backward function, and the line of the
# user's code whose derivative that is
formula: ContextVar[tuple[str, str]] = ContextVar("chainrule_formula", default=("", ""))


Anything = TypeVar("Anything")


class TraceError(RuntimeError):
    """The function depends on a value that is known only when the program runs; says where, and what to write."""


def is_compiling() -> bool:
    """Whether the code that asks runs while a function is traced."""
    return tracing.recorder.get() is not None


def allow_in_graph(fn: Anything) -> Anything:
    """The function itself: every function of tensors may be part of a compiled one."""
    return fn


def disable(fn: Any = None, recursive: bool = True, *, reason: str | None = None) -> Any:
    """Mark a function that no compiled function may call; as decorator with or without arguments.

    Raises:
        TraceError: it is called while a function is traced.
    """
    if fn is None:
        return lambda function: disable(function, recursive, reason=reason)

    @functools.wraps(fn)
    def uncompiled(*args: Any, **kwargs: Any) -> Any:
        if is_compiling():
            why = f" ({reason})" if reason else ""
            raise TraceError(f"{name_of(fn)} is marked with compiler.disable{why}: call it outside compiled functions")
        return fn(*args, **kwargs)

    return uncompiled


class NeedsArray(TraceError):
    """Compiled code of another library asks for the array itself."""


def is_users(file: str) -> bool:
    """Whether a file of Python is the user's: outside this package, NumPy and SciPy."""
    return not (file.startswith(NOT_THE_USER) or file in PYTHONS or f"{os.sep}scipy{os.sep}" in file)


def user_line() -> str:
    """`file:line` of the innermost frame of the user's."""
    frame: Any = sys._getframe(1)
    while frame is not None:
        if is_users(frame.f_code.co_filename):
            return f"{frame.f_code.co_filename}:{frame.f_lineno}"
        frame = frame.f_back
    return "<unknown>"


def origin() -> Origin:
    """The code that asks for a value now, up to the function that is traced."""
    frame: Any = sys._getframe(1)
    inside: list[Place] = []
    statements: list[tuple[int, int, int]] = []
    layer = 0
    while frame is not None:
        code = frame.f_code
        file = code.co_filename
        if file == TRACE:
            break
        if file.startswith(PACKAGE):
            if not (statements or file.startswith(ENGINE)):
                inside.append(Place(file, frame.f_lineno, code.co_firstlineno, code.co_name))
            if not layer and code is Module.__call__.__code__:
                layer = id(frame.f_locals["self"])
        elif not file.startswith(NOT_THE_USER):
            statements.append((id(frame), frame.f_lineno, frame.f_lasti))
        frame = frame.f_back
    return Origin(tuple(statements), tuple(inside), layer)


def refuse(what: str, instead: str, kind: type[TraceError] = TraceError) -> NoReturn:
    where = user_line()
    file, _, number = where.rpartition(":")
    text = linecache.getline(file, int(number)).strip() if number.isdigit() else ""
    text = text if len(text) <= 120 else f"{text[:117]}..."
    error = kind(
        f"{what} at {where}{f' ({text})' if text else ''}: while a function is compiled, the values in its tensors "
        f"are not known. {instead}"
    )
    recorder = tracing.recorder.get()
    if recorder is not None and kind is TraceError:
        recorder.refusals.append(error)
    try:
        raise error
    finally:
        del error, recorder  # which hold this frame


class Pin(NamedTuple):
    """A decision of Python's: `test(*args)`, where the arguments are nodes and numbers, was `result`."""

    test: Callable[..., Any]
    args: tuple[Any, ...]
    result: Any


class Recorder:
    """Collects the nodes of one trace.

    Args:
        whole: functions of this package that are recorded as calls, not what they do.
    """

    def __init__(self, whole: frozenset[Any] = WHOLE) -> None:
        self.whole = whole
        self.nodes: list[Node] = []
        self.constants: dict[int, Node] = {}
        self.tracers: weakref.WeakSet[Tracer] = weakref.WeakSet()
        self.generators: dict[Any, Any] = {}  # those that were drawn from, with their states before
        self.gradients: list[tuple[Node, Node]] = []  # (gradient, the value it belongs to)
        self.pins: dict[Any, Pin] = {}  # what Python has decided by numbers that may change
        self.refusals: list[TraceError] = []

    def raise_what_was_caught(self) -> None:
        """What was refused stays refused if the user's own `except` has caught it: it would go that way in every run.

        Raises:
            TraceError: the user's code did.
        """
        for error in self.refusals:
            caught = error.__traceback__
            if caught is not None and is_users(caught.tb_frame.f_code.co_filename):
                raise TraceError(f"{error} (The function itself catches this error, and went on without the value.)")

    # ----- nodes -----

    def add(self, node: Node) -> Node:
        self.nodes.append(node)
        return node

    def input(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any] | None) -> Node:
        """A node for a value from outside."""
        return self.add(Node(INPUT, (), None, shape, dtype, name=name))

    def constant(self, array: Any) -> Node:
        """A node for an array that the program does not compute; the array itself, not a copy."""
        node = self.constants.get(id(array))
        if node is None:
            node = self.add(Node(CONSTANT, (array,), None, array.shape, array.dtype))
            self.constants[id(array)] = node
        return node

    # ----- calls -----

    def call(self, op: Any, args: tuple[Any, ...], kwargs: dict[str, Any], *, effect: bool = False) -> Any:
        """Carry out a call and write it down."""
        value = op(*map_values(args), **map_values(kwargs))
        return self.record(op, args, kwargs, value, effect=effect)

    def record(self, op: Any, args: Any, kwargs: Any, value: Any, *, effect: bool = False) -> Any:
        """Write a call down whose value is known; returns what stands for it."""
        if isinstance(value, (list, tuple)) and all(isinstance(part, (np.ndarray, np.generic)) for part in value):
            whole = self.node_for(op, args, kwargs, None, None, effect)
            parts = [
                self.tracer(
                    self.add(Node(operator.getitem, (whole, i), None, np.shape(part), part.dtype, line=whole.line)),
                    np.asarray(part),
                )
                for i, part in enumerate(value)
            ]
            return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
        if not isinstance(value, (np.ndarray, np.generic)):
            refuse(
                f"{name_of(op)} gives {type(value).__name__}, which Python may decide on,",
                "Use an operation that gives an array, or call it outside the compiled function.",
            )
        value = np.asarray(value)
        return self.tracer(self.node_for(op, args, kwargs, value.shape, value.dtype, effect), value)

    def node_for(self, op: Any, args: Any, kwargs: Any, shape: Any, dtype: Any, effect: bool = False) -> Node:
        text, line = formula.get()
        return self.add(
            Node(
                op,
                self.map_arguments(args),
                self.map_arguments(kwargs),
                shape,
                dtype,
                line=line or user_line(),
                formula=text,
                effect=effect,
                origin=NOBODY if text else origin(),
            )
        )

    def map_arguments(self, value: Any) -> Any:
        """Nested arguments with nodes in the place of tracers and arrays."""
        if isinstance(value, Tensor):
            value = value.array
        if isinstance(value, (Tracer, Number)):
            return value.node
        if isinstance(value, np.ndarray):
            return self.constant(value)
        if isinstance(value, (tuple, list)):
            mapped = [self.map_arguments(item) for item in value]
            if hasattr(value, "_fields"):
                return type(value)(*mapped)
            return tuple(mapped) if isinstance(value, tuple) else mapped
        if isinstance(value, dict):
            return {key: self.map_arguments(item) for key, item in value.items()}
        if isinstance(value, slice):
            return slice(*(self.map_arguments(item) for item in (value.start, value.stop, value.step)))
        return value

    def tracer(self, node: Node, value: Any) -> Tracer:
        """A tracer on memory of its own."""
        return Tracer(self, Cell(node, value))

    def numbers(self, generator: Any) -> Numbers:
        """What draws random numbers for the function; the trace leaves the generator as it was."""
        self.remember(generator)
        return Numbers(self, generator)

    def remember(self, generator: Any) -> None:
        """Note where a generator is in its sequence: there it will be after the trace."""
        if generator not in self.generators:
            self.generators[generator] = generator._state()

    def place_of(self, generator: Any) -> PlaceInSequence:
        """Where the generator is when the program comes here; only `go_to` can use it."""
        self.remember(generator)
        node = Node(random_state, (generator,), None, (), None, line=user_line(), effect=True)
        return PlaceInSequence(self.add(node), generator._state())

    def go_to(self, generator: Any, place: Any) -> None:
        """Have the program go back to a place in the sequence."""
        if not isinstance(place, PlaceInSequence):
            self.refuse_seed("set_state")
        self.remember(generator)
        generator._go_to(place.state)
        self.add(Node(set_random_state, (generator, place.node), None, (), None, line=user_line(), effect=True))

    def refuse_seed(self, what: str) -> NoReturn:
        """Refuse what makes or seeds a generator."""
        raise TraceError(
            f"{what}() of a generator of random numbers is called at {user_line()}: that would happen only when the "
            "function is traced, not in every run. Make generators, and seed them, before calling the compiled function"
        )

    def refuse(self, what: str, instead: str) -> NoReturn:
        """Refuse what depends on values, at the user's line."""
        refuse(what, instead)

    def lift(self, tensor: Any) -> None:
        """Put a tracer in the place of a new tensor's array."""
        array = tensor.array
        if isinstance(array, np.ndarray):
            if array.base is None:
                array.flags.writeable = False  # nobody else has it: the program may rely on its values
            tensor.array = self.tracer(self.constant(array), array)


class Numbers:
    """A `numpy.random.Generator` whose draws are recorded."""

    def __init__(self, recorder: Recorder, generator: Any) -> None:
        self.recorder = recorder
        self.generator = generator

    def recorded(self, function: Any, *args: Any) -> Any:
        """`function(numbers, *args)`, left to the program as one step."""
        return self.recorder.call(Draw(function), (self.generator, *args), {}, effect=True)

    def __getattr__(self, method: str) -> Any:
        return lambda *args, **kwargs: self.recorder.call(Draw(method), (self.generator, *args), kwargs, effect=True)


class PlaceInSequence:
    """Stands for the tensor of `get_state`: a value of the program, and what it is in this run."""

    def __init__(self, node: Node, state: Any) -> None:
        self.node = node
        self.state = state


def random_state(generator: Any) -> Any:
    """Where a generator is in its sequence."""
    return generator.numbers.bit_generator.state


def set_random_state(generator: Any, state: Any) -> None:
    """Take a generator to a place in its sequence."""
    generator.numbers.bit_generator.state = state


class Draw:
    """`draw(generator, ...)`: numbers from the `numpy.random.Generator` behind a `Generator`.

    Args:
        method: the name of its method, or a function that takes it as its first argument.
    """

    def __init__(self, method: Any) -> None:
        self.method = method
        self.__name__ = name_of(method) if callable(method) else method

    def __call__(self, generator: Any, *args: Any, **kwargs: Any) -> Any:
        if callable(self.method):
            return np.asarray(self.method(generator.numbers, *args, **kwargs), order="C")
        return getattr(generator.numbers, self.method)(*args, **kwargs)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Draw) and other.method == self.method

    def __hash__(self) -> int:
        return hash((Draw, self.method))


def map_values(value: Any) -> Any:
    """Nested arguments with this run's values in the place of tracers."""
    if isinstance(value, (Tracer, Number)):
        return value.value
    if isinstance(value, Tensor):
        return map_values(value.array)
    if isinstance(value, (tuple, list)):
        mapped = [map_values(item) for item in value]
        if hasattr(value, "_fields"):
            return type(value)(*mapped)
        return tuple(mapped) if isinstance(value, tuple) else mapped
    if isinstance(value, dict):
        return {key: map_values(item) for key, item in value.items()}
    if isinstance(value, slice):
        return slice(*(map_values(item) for item in (value.start, value.stop, value.step)))
    return value


class Cell:
    """A piece of memory: the node that it holds at present, that node's value in this run, and a count of writes.

    Attributes:
        locked: whether it is an input's that cannot be written to.
    """

    __slots__ = ("count", "locked", "node", "value")

    def __init__(self, node: Node, value: Any) -> None:
        self.node = node
        self.value = value
        self.count = 0
        self.locked = False

    def write(self, node: Node, value: Any) -> None:
        self.node = node
        self.value = laid_out(value, self.value)
        self.count += 1


def laid_out(value: Any, old: Any) -> Any:
    """What is written to an array: it lies as the array does, which the user's code may ask."""
    if type(old) is not np.ndarray or not old.size or not old.ndim:
        return value
    if old.flags.c_contiguous:
        return np.ascontiguousarray(value)
    reach = [(n - 1) * step for n, step in zip(old.shape, old.strides, strict=True)]
    first = -sum(min(0, end) for end in reach)
    memory = np.empty(first + sum(max(0, end) for end in reach) + old.itemsize, np.uint8)
    new = np.ndarray(old.shape, old.dtype, memory, first, old.strides)
    new[...] = value
    return new


def takes_calls(kind: type) -> bool:
    """Whether a class takes calls that it and a tracer are given: tensors, and what a tensor holds under vmap."""
    return hasattr(kind, "requires_grad") or hasattr(kind, "__fit_gradient__")


class Tracer(NDArrayOperatorsMixin):
    """Stands for an array of a known shape and type whose values are not known."""

    __slots__ = ("__weakref__", "_at", "_node", "_value", "cell", "chain", "recorder")
    device = "cpu"

    def __init__(self, recorder: Recorder, cell: Cell, chain: tuple[Any, ...] = ()) -> None:
        self.recorder = recorder
        self.cell = cell
        self.chain = chain  # ((function, further arguments, keyword arguments), ...) that leads from the cell here
        self._at = -1
        self._node: Any = None
        self._value: Any = None
        recorder.tracers.add(self)

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        """What `isinstance` compares: the user's code, which was given an array, is told that it has one."""
        return np.ndarray if is_users(sys._getframe(1).f_code.co_filename) else Tracer

    def _look(self) -> None:
        """Find the node again after a write to the cell."""
        found = Tracer(self.recorder, self.cell)
        for function, rest, kwargs in self.chain:
            found = self.recorder.call(function, (found, *rest), kwargs)
        self._node, self._value, self._at = found.node, found.value, self.cell.count

    @property
    def node(self) -> Node:
        """The node for the present value."""
        if not self.chain:
            return self.cell.node
        if self._at != self.cell.count:
            self._look()
        return self._node  # type: ignore[no-any-return]

    @property
    def value(self) -> Any:
        """The value in the run that is traced; never written to."""
        if not self.chain:
            return self.cell.value
        if self._at != self.cell.count:
            self._look()
        return self._value

    @property
    def locked(self) -> bool:
        """Whether it cannot be written to: an input that cannot, or several elements are one place in memory."""
        value = self.value
        if self.cell.locked or not self.chain or not value.size:
            return self.cell.locked
        reach = 0
        for step, n in sorted((abs(step), n) for n, step in zip(value.shape, value.strides, strict=True) if n > 1):
            if not step or (step <= reach and not value.flags.writeable):
                return True
            reach += step * (n - 1)
        return False

    shape = property(lambda self: self.value.shape)
    ndim = property(lambda self: self.value.ndim)
    size = property(lambda self: self.value.size)
    dtype = property(lambda self: self.value.dtype)
    itemsize = property(lambda self: self.value.itemsize)
    nbytes = property(lambda self: self.value.nbytes)
    strides = property(lambda self: self.value.strides)
    flags = property(lambda self: self.value.flags)
    T = property(lambda self: np.transpose(self))
    mT = property(lambda self: np.swapaxes(self, -1, -2))
    real = property(lambda self: np.real(self))
    imag = property(lambda self: np.imag(self))

    def __len__(self) -> int:
        return len(self.value)

    # ----- calls -----

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if any(map(takes_calls, map(type, inputs))):
            return NotImplemented
        out = kwargs.pop("out", None)
        if method == "at":
            refuse(f"np.{ufunc.__name__}.at writes in place", "Use index_add or scatter_add.")
        op = ufunc if method == "__call__" else UfuncMethod(ufunc, method)
        result = self.recorder.call(op, inputs, kwargs)
        if out is None:
            return result
        (target,) = out
        if not isinstance(target, Tracer):
            refuse(f"np.{ufunc.__name__}(out=) writes into an array", "Write into a tensor.")
        target.write(result)
        return target

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if any(map(takes_calls, types)):
            return NotImplemented
        if func in STATIC:
            return func(*map_values(args), **map_values(kwargs))
        if func in VALUE_SHAPED or (func is np.where and len(args) == 1):
            refuse(f"the shape of np.{name_of(func)} depends on values", "Use where(condition, x, y) or a product.")
        if func in WRITING:
            refuse(f"np.{name_of(func)} writes in place", "Write x[index] = value on a tensor.")
        if func is np.copyto:
            args[0].write(args[1]) if isinstance(args[0], Tracer) else refuse(
                "np.copyto writes a traced value into an array", "Make the array a tensor inside the function."
            )
            return None
        if func is np.copy:
            return args[0].copy(*args[1:] or (kwargs.get("order", "K"),))
        if func is np.reshape:
            return reshaped(*args, **kwargs)
        if func is np.astype:
            return args[0].astype(*args[1:], **kwargs)
        if kwargs.get("out") is not None:
            target = kwargs.pop("out")
            target.write(self.recorder.call(func, args, kwargs))
            return target
        return self._maybe_view(func, args, kwargs)

    def __chainrule_function__(self, func: Any, args: Any, kwargs: Any) -> Any:
        for arg in args:
            if takes_calls(type(arg)):
                return arg.__chainrule_function__(func, args, kwargs)
        if func is getitem and type(args[0]) is np.ndarray:  # an array that is known, by traced numbers
            return self.recorder.call(operator.getitem, args, kwargs)
        if func is write_region:
            base, value, chain = args
            return self.recorder.call(write_region, (base, value, chain), {})
        body = getattr(func, "__wrapped__", None)
        if body is None or {func, func.__module__, func.__name__} & self.recorder.whole:
            return self._maybe_view(func, args, kwargs)
        try:
            return body(*args, **kwargs)
        except NeedsArray:  # SciPy's compiled code: the program calls the function as a whole
            return self.recorder.call(func, args, kwargs)

    def _maybe_view(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Record a call; where its value shares the memory of the first argument, so does the result."""
        result = self.recorder.call(func, args, kwargs)
        source, *others = (arg if type(arg) is Tracer else None for arg in args or (None,))
        parts = result if isinstance(result, (list, tuple)) else (result,)
        if source is not None and any(part.shares(source) for part in parts):
            GIVE_VIEWS.add(func)
            if type(result) is Tracer:
                view = Tracer(source.recorder, source.cell, (*source.chain, (func, tuple(args[1:]), kwargs)))
                view._node, view._value, view._at = result.cell.node, result.cell.value, source.cell.count
                return view
        # a program knows what shares the memory of the first argument alone
        beside = [any(part.shares(x) and not part.shares(source) for x in others if x is not None) for part in parts]
        if not any(beside):
            return result
        parts = [self.recorder.call(np.copy, (x,), {}) if copy else x for x, copy in zip(parts, beside, strict=True)]
        return parts[0] if type(result) is Tracer else type(result)(parts)

    def shares(self, other: Tracer | None) -> bool:
        """Whether this run's values are in the same memory."""
        return other is not None and bool(self.value.size) and np.may_share_memory(self.value, other.value)

    def may_share_memory(self, other: Any) -> bool:
        """Whether the arrays that the tracers stand for share memory."""
        return isinstance(other, Tracer) and other.cell is self.cell

    # ----- an array's methods -----

    def astype(self, dtype: Any, copy: bool = True) -> Tracer:
        """The array in another type."""
        if np.dtype(dtype) == self.dtype:
            return self.copy() if copy else self
        return self.recorder.call(np.astype, (self, np.dtype(dtype)), {})  # type: ignore[no-any-return]

    def copy(self, order: str = "C") -> Tracer:
        """The same values in memory of its own: nodes never change, so there is nothing to copy."""
        return self.recorder.tracer(self.node, np.array(self.value, order=order))  # type: ignore[call-overload]

    def reshape(self, *shape: Any, order: str = "C") -> Any:
        """The array in another shape."""
        return reshaped(self, shape[0] if len(shape) == 1 else shape, order)

    def transpose(self, *axes: Any) -> Any:
        """The array with its axes in another order."""
        if len(axes) == 1 and isinstance(axes[0], (tuple, list)):
            (axes,) = axes
        return self._maybe_view(np.transpose, (self, tuple(axes)) if axes else (self,), {})

    def swapaxes(self, first: int, second: int) -> Any:
        """The array with two axes exchanged."""
        return self._maybe_view(np.swapaxes, (self, first, second), {})

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, tuple) and not index and not self.ndim:
            return self
        parts = index if isinstance(index, tuple) else (index,)
        if any(isinstance(part, Tracer) and part.dtype == bool for part in parts):
            refuse("the shape of x[mask] depends on values", "Use where(mask, x, 0), or multiply by the mask.")
        return self._maybe_view(operator.getitem, (self, index), {})

    def __setitem__(self, index: Any, value: Any) -> None:
        if index is Ellipsis or (isinstance(index, slice) and index == slice(None)):
            self.write(value)
            return
        self._refuse_if_locked()
        parts = index if isinstance(index, tuple) else (index,)
        chain = (*self.chain, (operator.getitem, (index,), {}))
        if any(isinstance(part, Tracer) and part.dtype == bool for part in parts):
            (mask,) = parts
            if np.ndim(value):
                refuse("x[mask] = values depends on how many are chosen", "Use where(mask, values, x).")
            self.write(np.where(np.reshape(mask, mask.shape + (1,) * (self.ndim - mask.ndim)), value, self))
            return
        region_shape = self.value[map_values(index)].shape
        self._write_chain(chain, value, region_shape)

    def write(self, value: Any) -> None:
        """Replace all values, those of the base under a view and of its other views as well."""
        self._refuse_if_locked()
        if self.chain:
            self._write_chain(self.chain, value, self.shape)
            return
        fitted = self._fitted(value, self.shape)
        self.cell.write(fitted.node, fitted.value)

    def _refuse_if_locked(self) -> None:
        if self.locked:
            raise ValueError("assignment destination is read-only")  # as NumPy says it

    def _write_chain(self, chain: tuple[Any, ...], value: Any, shape: tuple[int, ...]) -> None:
        base = Tracer(self.recorder, self.cell)
        written = self.recorder.call(write_region, (base, self._fitted(value, shape), chain), {})
        self.cell.write(written.cell.node, written.cell.value)

    def _fitted(self, value: Any, shape: tuple[int, ...]) -> Tracer:
        """A value to write, in this array's type and the region's shape."""
        if not isinstance(value, Tracer):
            if isinstance(value, Number):
                value = self.recorder.call(np.full, ((), value, self.dtype), {})
            else:
                array = np.asarray(value, self.dtype)
                value = self.recorder.tracer(self.recorder.constant(array), array)
        if value.dtype != self.dtype:
            value = value.astype(self.dtype)
        if value.shape != shape:
            value = self.recorder.call(np.broadcast_to, (value, shape), {})
        return value  # type: ignore[no-any-return]

    def __iadd__(self, other: Any) -> Tracer:
        self.write(np.add(self, other))
        return self

    def __isub__(self, other: Any) -> Tracer:
        self.write(np.subtract(self, other))
        return self

    def __imul__(self, other: Any) -> Tracer:
        self.write(np.multiply(self, other))
        return self

    def __itruediv__(self, other: Any) -> Tracer:
        self.write(np.true_divide(self, other))
        return self

    def fill(self, value: Any) -> None:
        """Set all values to a number."""
        self.write(value)

    def flatten(self, order: str = "C") -> Any:
        """A copy in one dimension."""
        return reshaped(self, -1, order).copy()

    def clip(self, min: Any = None, max: Any = None, **kwargs: Any) -> Any:
        """The values brought within bounds, of which either may be missing."""
        return np.clip(self, min, max, **kwargs)

    def sort(self, axis: int = -1) -> None:
        """Put the values in order, in place."""
        self.write(np.sort(self, axis))

    def view(self, dtype: Any) -> Any:
        """The same memory, seen as elements of another type."""
        return self._maybe_view(np.ndarray.view, (self, np.dtype(dtype)), {})

    def as_number(self) -> Number:
        """The value of a 0-d array as a Python number, known when the program runs."""
        value = self.value.item()
        node = self.recorder.node_for(type(value), (self,), {}, (), None)
        return Number(self.recorder, node, value)

    # ----- what needs values -----

    def __array__(self, *_: Any, **__: Any) -> NoReturn:
        refuse(
            "a traced tensor is made a NumPy array",
            "Arguments are arrays already, without np.asarray; np.stack([x, y]) makes one of several in the place of "
            "np.array([x, y]), and np.zeros_like(x, shape=...) one to write to in the place of np.zeros(...). Or do it "
            "outside the compiled function.",
            NeedsArray if f"{os.sep}scipy{os.sep}" in sys._getframe(1).f_code.co_filename else TraceError,
        )

    def __bool__(self) -> NoReturn:
        refuse("Python decides on a traced value (if, while, and, or, not)", "Use where(condition, x, y).")

    def _number(self, *_: Any) -> NoReturn:
        refuse(
            "item(), float() or int() of a traced value",
            "Go on with the tensor itself, or return it and read the number outside. An array that it is written to is "
            "made by np.zeros_like(x, shape=...).",
        )

    __float__ = __int__ = __complex__ = __index__ = item = tolist = _number

    def __repr__(self) -> str:
        refuse("a traced value is printed", "Return it, and print it outside the compiled function.")

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        refuse("a traced value is pickled or saved", "Return it, and save it outside the compiled function.")

    def __copy__(self) -> Tracer:
        return self.copy()

    def __deepcopy__(self, memo: Any) -> Tracer:
        return self.copy()

    __str__ = __format__ = __repr__  # type: ignore[assignment]

    def __iter__(self) -> Any:
        return (self[i] for i in range(len(self)))

    def __hash__(self) -> int:
        return id(self)


def reshaped(array: Tracer, shape: Any = None, order: str = "C", *, copy: Any = None) -> Any:
    """`np.reshape`; by columns it is the transpose of a reshaped transpose: graphs know the order of rows alone."""
    found = np.reshape(array.value, shape, order=order)  # type: ignore[call-overload]
    if order == "C" or (order == "A" and not array.flags.fnc):
        return array._maybe_view(np.reshape, (array, found.shape), {})
    turned = array._maybe_view(np.reshape, (np.transpose(array), found.shape[::-1]), {})
    return np.transpose(turned)


def _method(name: str) -> Callable[..., Any]:
    function = getattr(np, name)
    return lambda self, *args, **kwargs: function(self, *args, **kwargs)


def _refused(name: str) -> Any:
    return property(
        lambda self: refuse(
            f"an array's {name} is not known in compiled functions",
            "Use NumPy's functions, such as np.reshape, np.sort and np.where, or do it outside the compiled function.",
        )
    )


METHODS = (
    "all any argmax argmin argpartition argsort choose conj conjugate cumprod cumsum diagonal dot max mean min "
    "nonzero prod ravel repeat round searchsorted squeeze std sum take trace var"
)
REFUSED = "byteswap compress ctypes dump dumps flat getfield partition put resize setfield tobytes tofile"
for _name in METHODS.split():
    setattr(Tracer, _name, _method(_name))
for _name in REFUSED.split():
    setattr(Tracer, _name, _refused(_name))


class UfuncMethod:
    """`np.add.reduce` and its like, as functions that compare equal."""

    def __init__(self, ufunc: np.ufunc, method: str) -> None:
        self.ufunc = ufunc
        self.method = method
        self.__name__ = f"{ufunc.__name__}.{method}"
        self.function: Callable[..., Any] = getattr(ufunc, method)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, UfuncMethod) and (other.ufunc, other.method) == (self.ufunc, self.method)

    def __hash__(self) -> int:
        return hash((self.ufunc, self.method))


class Number:
    """Stands for a Python number that may be another in each run: a learning rate, a count of steps.

    Arithmetic gives numbers again. Where Python decides something by it, the program holds for that decision.
    """

    __slots__ = ("node", "recorder", "value")

    def __init__(self, recorder: Recorder, node: Node, value: Any) -> None:
        self.recorder = recorder
        self.node = node
        self.value = value

    def _apply(self, op: Any, *args: Any) -> Any:
        if not all(isinstance(arg, (int, float, Number)) for arg in args):
            return NotImplemented
        return self.apply(op, *args)

    def apply(self, function: Callable[..., Any], *args: Any) -> Number:
        """What a function gives for this and other numbers, known when the program runs."""
        return Number(self.recorder, self.recorder.node_for(function, args, {}, (), None), function(*map_values(args)))

    def as_number(self) -> Number:
        """This number."""
        return self

    def in_array(self, numbers: Any, dtype: Any) -> Any:
        """An array of this and other numbers."""
        return self.recorder.call(np.array, (numbers,) if dtype is None else (numbers, np.dtype(dtype)), {})

    def __add__(self, other: Any) -> Any:
        return self._apply(operator.add, self, other)

    def __radd__(self, other: Any) -> Any:
        return self._apply(operator.add, other, self)

    def __sub__(self, other: Any) -> Any:
        return self._apply(operator.sub, self, other)

    def __rsub__(self, other: Any) -> Any:
        return self._apply(operator.sub, other, self)

    def __mul__(self, other: Any) -> Any:
        return self._apply(operator.mul, self, other)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Any:
        return self._apply(operator.truediv, self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return self._apply(operator.truediv, other, self)

    def __pow__(self, other: Any) -> Any:
        return self._apply(operator.pow, self, other)

    def __rpow__(self, other: Any) -> Any:
        return self._apply(operator.pow, other, self)

    def __floordiv__(self, other: Any) -> Any:
        return self._apply(operator.floordiv, self, other)

    def __mod__(self, other: Any) -> Any:
        return self._apply(operator.mod, self, other)

    def __neg__(self) -> Any:
        return self._apply(operator.neg, self)

    def __pos__(self) -> Any:
        return self

    def __abs__(self) -> Any:
        return self._apply(abs, self)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if any(isinstance(x, Tracer) or hasattr(type(x), "requires_grad") for x in inputs):
            return NotImplemented
        return self.recorder.call(ufunc, inputs, kwargs)

    def _decide(self, test: Callable[..., Any], *others: Any) -> Any:
        """What `test` says of the value; the program holds as long as it says the same."""
        if not all(isinstance(other, (int, float, complex, Number, str, type(None))) for other in others):
            return NotImplemented
        result = test(self.value, *map_values(others))
        nodes = (self.node, *(other.node if isinstance(other, Number) else other for other in others))
        if not all(depends_on_inputs(node) for node in nodes if isinstance(node, Node)):
            refuse(
                "Python decides on a number that the program computes",
                "Compute with it (where, minimum, maximum), or decide outside the compiled function.",
            )
        self.recorder.pins[(test, *((type(node), node) for node in nodes))] = Pin(test, nodes, result)
        return result

    def __float__(self) -> float:
        return float(self._decide(float))

    def __int__(self) -> int:
        return int(self._decide(int))

    def __index__(self) -> int:
        return int(self._decide(operator.index))

    def __bool__(self) -> bool:
        return bool(self._decide(bool))

    def __eq__(self, other: object) -> Any:
        return self._decide(operator.eq, other)

    def __ne__(self, other: object) -> Any:
        return self._decide(operator.ne, other)

    def __lt__(self, other: Any) -> Any:
        return self._decide(operator.lt, other)

    def __le__(self, other: Any) -> Any:
        return self._decide(operator.le, other)

    def __gt__(self, other: Any) -> Any:
        return self._decide(operator.gt, other)

    def __ge__(self, other: Any) -> Any:
        return self._decide(operator.ge, other)

    def __hash__(self) -> int:
        return hash(self._decide(float))

    def __repr__(self) -> str:
        return repr(self._decide(float))


def depends_on_inputs(node: Node) -> bool:
    """Whether a number is computed from inputs that are numbers, or arrays of one, alone: then it is soon known."""
    if node.shape != () or node.op is CONSTANT:
        return False
    return node.op is INPUT or all(depends_on_inputs(operand) for operand in node.operands())
