"""The graph: how each tensor was made, and the clock that tells whether what was saved is still what it was.

A node of the graph is a `Recipe` (the result of an operation) or a `Leaf` (a tensor that the user made and that
requires grad). Nodes point to the nodes they were computed from; tensors point to their node. An in-place write gives
the tensor a new node and leaves the old one to whoever used the old value.
Read next: `tensor.py`, then `forward.py`, where recipes are made.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import weakref
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from .table import name_of

if TYPE_CHECKING:
    from .tensor import Tensor

__all__ = ["Recipe", "RemovableHandle"]

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
NOT_THE_USER = (PACKAGE, os.path.dirname(np.__file__) + os.sep)  # NumPy calls back through its protocols


class Clock:
    """Counts the in-place writes of this process; a recipe notes the time at which it saved its arguments."""

    __slots__ = ("now",)

    def __init__(self) -> None:
        self.now = 0


CLOCK = Clock()
CHANGES = Clock()  # counts new attributes of modules and new hooks, by which a compiled program may be out of date


class Registry(dict[Any, Any]):
    """A dict whose changes `CHANGES` counts; it is copied and pickled as a plain one."""

    __slots__ = ()

    def __setitem__(self, key: Any, value: Any) -> None:
        CHANGES.now += 1
        super().__setitem__(key, value)

    def __delitem__(self, key: Any) -> None:
        CHANGES.now += 1
        super().__delitem__(key)

    def __ior__(self, other: Any) -> Any:  # type: ignore[misc, override, unused-ignore]
        CHANGES.now += 1
        return super().__ior__(other)

    def __reduce__(self) -> Any:
        return dict, (), None, None, iter(self.items())


def counted(name: str) -> Any:
    """A method of `dict` that changes it, with the count."""
    method = getattr(dict, name)

    @functools.wraps(method)
    def counting(self: Registry, *args: Any, **kwargs: Any) -> Any:
        CHANGES.now += 1
        return method(self, *args, **kwargs)

    return counting


for _name in ("clear", "pop", "popitem", "setdefault", "update"):
    setattr(Registry, _name, counted(_name))


class Storage:
    """What is known of a piece of memory that several tensors may share: how often, when and where it was written."""

    __slots__ = ("count", "line", "operation", "viewed", "written")

    def __init__(self) -> None:
        self.viewed = False  # whether a view was ever made
        self.count = 0
        self.written = 0
        self.operation = ""
        self.line = ""

    def note_write(self, operation: str) -> None:
        CLOCK.now += 1
        self.written = CLOCK.now
        self.count += 1
        self.operation = operation
        self.line = user_line()


def user_line() -> str:
    """`file:line` of the innermost frame outside this package."""
    frame = sys._getframe(1)
    while frame is not None:
        if not frame.f_code.co_filename.startswith(NOT_THE_USER):
            return f"{frame.f_code.co_filename}:{frame.f_lineno}"
        frame = frame.f_back  # type: ignore[assignment]
    return "<unknown>"


def user_level() -> int:
    """The `stacklevel` by which a warning of the caller's shows the user's line."""
    level, frame = 1, sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith((*NOT_THE_USER, contextlib.__file__)):
        level, frame = level + 1, frame.f_back  # type: ignore[assignment]
    return level


def user_trace() -> str:
    """The stack down to the innermost frame outside this package, formatted as in a traceback."""
    import traceback

    frames = [f for f in traceback.extract_stack() if not f.filename.startswith(NOT_THE_USER)]
    return "".join(traceback.format_list(frames))


class Extra:
    """What only few nodes have: hooks, a tensor that keeps its gradient, the storage of the output, a stack trace.

    Attributes:
        out_storages: of an operation with several outputs, the storage of each; their own nodes have them, too.
    """

    __slots__ = ("hooks", "out_storage", "out_storages", "post_hooks", "retained", "trace")

    def __init__(self) -> None:
        self.hooks: dict[int, Callable[..., Any]] | None = None
        self.post_hooks: dict[int, Callable[..., Any]] | None = None
        self.retained: weakref.ref[Tensor] | None = None
        self.out_storage: Storage | None = None
        self.out_storages: tuple[Storage, ...] = ()
        self.trace: str | None = None


class _Freed:
    """Takes the place of the edges of a recipe that a backward pass has used up."""

    def __iter__(self) -> Iterator[NoReturn]:
        raise RuntimeError(
            "Trying to backward through the graph a second time: the first backward() freed what the recipes had "
            "saved. Write backward(retain_graph=True) the first time if you need another one."
        )


FREED: Any = _Freed()
NO_KWARGS: dict[str, Any] = {}


class Recipe:
    """How a tensor was made: the function, its arguments as arrays, and the tensors among them. Cannot be changed.

    Attributes:
        func: the NumPy-level function that was called.
        args: its positional arguments, tensors replaced by their arrays.
        kwargs: its keyword arguments.
        parents: argument position -> the Tensor that was given there.

    >>> import chainrule as cr, numpy as np
    >>> a = cr.tensor([2.0], requires_grad=True)
    >>> r = (a * 3).recipe
    >>> r.func is np.multiply, r.args[1], r.parents[0] is a
    (True, 3, True)
    """

    __slots__ = ("_args", "_edges", "_extra", "_func", "_inputs", "_kwargs", "_out", "_saved_at")
    _func: Any
    _args: tuple[Any, ...]  # arrays; NumPy scalars for 0-d ones, which are quicker to compute with
    _kwargs: dict[str, Any]
    _inputs: tuple[Any, ...]  # the arguments as they were given, Tensors among them
    _edges: tuple[Recipe | Leaf | None, ...]  # an argument's node when the operation ran; None where no gradient goes
    _out: Any  # the result's array
    _saved_at: int
    _extra: Extra | None

    def __init__(
        self,
        func: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any] | None = None,
        parents: dict[int, Any] | None = None,
    ) -> None:
        parents = parents or {}
        self._func = func
        self._args = tuple(args)
        self._kwargs = dict(kwargs or {})
        self._inputs = tuple(parents.get(i, arg) for i, arg in enumerate(args))
        self._edges = tuple(parents[i].node() if i in parents else None for i in range(len(args)))
        self._out = None
        self._saved_at = CLOCK.now
        self._extra = None

    @property
    def func(self) -> Any:
        return self._func

    @property
    def args(self) -> tuple[Any, ...]:
        return tuple(
            given.array if isinstance(arg, np.generic) and hasattr(given, "recipe") else arg
            for arg, given in zip(self._args, self._inputs, strict=False)
        )

    @property
    def kwargs(self) -> dict[str, Any]:
        return dict(self._kwargs)

    @property
    def parents(self) -> dict[int, Tensor]:
        return {i: x for i, x in enumerate(self._inputs) if hasattr(x, "recipe")}

    @property
    def freed(self) -> bool:
        """Whether a backward pass has used this recipe up."""
        return self._edges is FREED

    def __repr__(self) -> str:
        if self.freed:
            return f"Recipe({name_of(self._func)}, freed by backward)"
        return f"Recipe(func={name_of(self._func)}, args={self._args}, kwargs={self._kwargs}, parents={self.parents})"


class Leaf:
    """The node of a tensor that the user made and that requires grad: where a gradient ends."""

    __slots__ = ("_extra", "tensor")
    _edges: tuple[()] = ()

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = weakref.ref(tensor)  # the tensor owns its node, not the other way round
        self._extra: Extra | None = None


def hooks_of(node: Recipe | Leaf | None) -> tuple[tuple[Any, ...], ...]:
    """A node's hooks: those that see its gradient, and those that are called once it has been added up."""
    extra = None if node is None else node._extra
    if extra is None or not (extra.hooks or extra.post_hooks):
        return ()
    return tuple((extra.hooks or {}).values()), tuple((extra.post_hooks or {}).values())


def extra_of(node: Recipe | Leaf) -> Extra:
    extra = node._extra
    if extra is None:
        extra = node._extra = Extra()
    return extra


new_object = object.__new__


def make_recipe(
    func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], inputs: tuple[Any, ...], edges: tuple[Any, ...], out: Any
) -> Recipe:
    """A recipe from its parts, quickly: the hot path of every recorded operation."""
    recipe = new_object(Recipe)
    recipe._func = func
    recipe._args = args
    recipe._kwargs = kwargs
    recipe._inputs = inputs
    recipe._edges = edges
    recipe._out = out
    recipe._saved_at = CLOCK.now
    recipe._extra = None
    return recipe


class RemovableHandle:
    """What registering a hook returns; `remove()` takes the hook out again. Also a context manager."""

    _next = 0

    def __init__(self, hooks: dict[int, Any]) -> None:
        self._hooks = hooks
        self.id = RemovableHandle._next
        RemovableHandle._next += 1

    def remove(self) -> None:
        CHANGES.now += 1
        self._hooks.pop(self.id, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


def register_hook(hooks: dict[int, Any], hook: Any, first: bool = False) -> RemovableHandle:
    """Add a hook to a dict of hooks, before all others if `first`."""
    CHANGES.now += 1
    handle = RemovableHandle(hooks)
    later = dict(hooks) if first else {}
    if first:
        hooks.clear()
    hooks[handle.id] = hook
    hooks.update(later)
    return handle


class Overwritten:
    """Stands in for a saved array that was written to: it still knows its shape and dtype, and raises on any other use.

    Backward functions that need only shapes go on working; one that reads the values ends with the error.
    """

    __slots__ = ("_message", "dtype", "ndim", "shape", "size")

    def __init__(self, array: Any, message: str) -> None:
        self.shape = array.shape
        self.dtype = array.dtype
        self.ndim = array.ndim
        self.size = array.size
        self._message = message

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise RuntimeError(self._message)

    __array_ufunc__ = __array__ = __chainrule_function__ = _refuse
    __getitem__ = __iter__ = __len__ = __bool__ = __float__ = __int__ = _refuse
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _refuse
    __matmul__ = __rmatmul__ = __pow__ = __rpow__ = __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = _refuse
    __and__ = __rand__ = __or__ = __ror__ = __xor__ = __rxor__ = __neg__ = __pos__ = __abs__ = __invert__ = _refuse
    __lt__ = __le__ = __gt__ = __ge__ = _refuse
    __eq__ = __ne__ = _refuse
    __hash__ = object.__hash__

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if func in (np.shape, np.ndim, np.size):
            return getattr(self, func.__name__)
        if func is np.zeros_like:
            return np.zeros(self.shape, kwargs.get("dtype", self.dtype))
        raise RuntimeError(self._message)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise RuntimeError(self._message)
