"""What a run leaves behind when it is asked to: the line and the module of every operation, and where graphs are cut.

Recipes know what was computed from what. Inside `recording()` they also learn at which line of the user's program
and in which module, results that are *not* recorded leave a note of why, and each backward pass is kept as steps.
"""

from __future__ import annotations

import linecache
import re
import weakref
from collections import deque
from dataclasses import dataclass, field
from types import CodeType, FrameType, TracebackType
from typing import Any, NamedTuple, Self

import numpy as np

from ..autograd.anomaly import set_detect_anomaly
from ..core import backprop
from ..core import forward as forward_module
from ..core import views as views_module
from ..core.grad_mode import OFF, grad_mode
from ..core.recipe import NOT_THE_USER, PACKAGE, Leaf, Recipe
from ..core.table import BACK_FUNCS, name_of
from ..core.tensor import Tensor
from ..core.tracing import back_functions
from ..nn.module import Module
from ..ops import creation, indexing
from .steps import Observer, Pass
from .watch import Handler, Watch, arguments_of

__all__ = ["Export", "Origin", "Place", "Recording", "latest", "place_of", "recording"]

PASSES = 4  # that a recording keeps


# the files that notebooks give to their cells
CELL = re.compile(r"ipykernel_\d+[/\\]\d+\.py$|^<ipython-input")


class Place(NamedTuple):
    """A line of the user's program."""

    file: str
    line: int
    text: str

    def __str__(self) -> str:
        where = f"cell line {self.line}" if CELL.search(self.file) else f"{self.file}:{self.line}"
        return where + (f": {self.text}" if self.text else "")


class Seen(str):
    """A stack trace that also knows in which modules it was made: (path, class name), the outermost first."""

    modules: tuple[tuple[str, str], ...] = ()


FRAME = re.compile(r'^  File "(?P<file>.*)", line (?P<line>\d+), in .*(?:\n    (?P<text>.*))?', re.MULTILINE)


def place_of(node: Recipe | Leaf) -> Place | None:
    """The user's line that made a node; known for what was computed in anomaly mode or in a recording."""
    trace = node._extra.trace if node._extra is not None else None
    found = list(FRAME.finditer(trace)) if trace else []
    if not found:
        return None
    return Place(found[-1]["file"], int(found[-1]["line"]), (found[-1]["text"] or "").strip())


def modules_of(node: Recipe | Leaf) -> tuple[tuple[str, str], ...] | None:
    """The modules in which a node was made, the outermost first; None where that was not recorded."""
    trace = node._extra.trace if node._extra is not None else None
    return trace.modules if isinstance(trace, Seen) else None


def place_of_call(frame: FrameType | None) -> Place | None:
    """The user's line from which a call was made."""
    while frame is not None and frame.f_code.co_filename.startswith(NOT_THE_USER):
        frame = frame.f_back
    if frame is None:
        return None
    file, line = frame.f_code.co_filename, frame.f_lineno
    return Place(file, line, linecache.getline(file, line).strip())


@dataclass(eq=False)
class Origin:
    """Where a tensor's value came from.

    Attributes:
        operation: what made it; "" for a tensor that the recording met as it was.
        place: the user's line.
        tracked: whether gradients flow back through it.
        parents: the origins of what it was computed from.
        cut: why gradients do not flow although they would from a parent: "detach", "no_grad", "comparison", ...
        export: what left the graph as a number or an array and came back in this tensor.
        certain: whether the export is known to be what came back, or only the last that left.
        dtype: the element type by name.
        tensor: the tensor, as long as it lives.
    """

    operation: str
    place: Place | None
    tracked: bool
    parents: list[Origin] = field(default_factory=list)
    cut: str = ""
    export: Export | None = None
    certain: bool = True
    dtype: str = ""
    tensor: weakref.ref[Tensor] | None = None


@dataclass(eq=False)
class Export:
    """A value that left the graph: as a Python number, a list or a NumPy array."""

    how: str
    place: Place | None
    value: Any
    origin: Origin


COMPARISONS = frozenset(
    (np.greater, np.greater_equal, np.less, np.less_equal, np.equal, np.not_equal, np.isclose, np.logical_not)
) | frozenset((np.logical_and, np.logical_or, np.logical_xor, np.isnan, np.isinf, np.isfinite))

FUNCTIONS = ("numpy_func", "ufunc", "numpy_function")  # what wrappers call the function that they carry out

_latest: Recording | None = None


def latest() -> Recording | None:
    """The recording that was begun last."""
    return _latest


def closures_of(function: Any) -> list[CodeType]:
    """The codes of the functions that a function makes."""
    return [c for c in function.__code__.co_consts if isinstance(c, CodeType) and c.co_name == "tensor_func"]


class Recording:
    """A context manager: inside, operations remember their line and module, and cut graphs their reason.

    For a step or a few: it notes every operation, and keeps the notes until the next recording begins. It watches its
    own thread only.

    Attributes:
        passes: the last backward passes that ran inside, as steps.

    >>> import chainrule as cr
    >>> x = cr.tensor([1.0, 2.0], requires_grad=True)
    >>> with cr.explain.recording():
    ...     y = x.detach() * 2
    >>> print(cr.why(y))  # doctest: +ELLIPSIS
    `y` has no graph: `x` was detached at ...
    """

    def __init__(self) -> None:
        self.passes: deque[Pass] = deque(maxlen=PASSES)
        self._origins: dict[int, tuple[weakref.ref[Tensor], Origin]] = {}
        self._order: list[Origin] = []
        self._exports: list[Export] = []
        self._modules: list[tuple[str, str]] = []
        self._paths: dict[int, str] = {}
        self._running: list[tuple[Observer, Any] | None] = []
        ops = PACKAGE + "ops"
        self._watched: dict[CodeType, tuple[Handler | None, Handler | None]] = {
            Module.__call__.__code__: (self._enter_module, self._leave_module),
            backprop.run.__code__: (self._pass_begins, self._pass_ends),
            views_module.write_in_place.__code__: (None, self._written),
            views_module.write_part.__code__: (None, self._written),
            indexing._setitem.__code__: (None, self._written),
            Tensor.detach.__code__: (None, self._detached),
            Tensor.data.fget.__code__: (None, self._detached),  # type: ignore[attr-defined]
            Tensor.detach_.__code__: (None, self._detached),
            Tensor.item.__code__: (None, self._exported),
            Tensor.numpy.__code__: (None, self._exported),
            Tensor.tolist.__code__: (None, self._exported),
            Tensor.__init__.__code__: (None, self._built),
            creation.from_numpy.__code__: (None, self._built),
            creation.tensor.__wrapped__.__code__: (None, self._built),  # type: ignore[attr-defined]
            creation.as_tensor.__wrapped__.__code__: (None, self._built),  # type: ignore[attr-defined]
        }
        wrappers = (forward_module.wrap_forward_fn, forward_module._unary, forward_module._binary)
        for code in [code for wrapper in wrappers for code in closures_of(wrapper)]:
            self._watched[code] = (None, self._computed)
        self._watch = Watch(
            lambda code: (
                self._watched.get(code) or ((None, self._computed) if code.co_filename.startswith(ops) else None)
            )
        )

    def __enter__(self) -> Self:
        global _latest
        _latest = self
        self._lines = set_detect_anomaly(True, check_nan=False)
        self._watch.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._watch.__exit__(kind, error, trace)
        self._lines.__exit__(kind, error, trace)

    # ----- what can be asked --------------------------------------------------------------------------------------

    def origin_of(self, tensor: Tensor) -> Origin | None:
        """Where a tensor came from, as far as the recording saw it."""
        entry = self._origins.get(id(tensor))
        return entry[1] if entry is not None and entry[0]() is tensor else None

    def cuts_below(self, origin: Origin) -> list[Origin]:
        """The places where the graph of a value was cut, the latest first."""
        found, seen, queue = [], {origin}, deque([origin])
        while queue:
            here = queue.popleft()
            if here.cut or (here.export is not None and not here.tracked):
                found.append(here)
                continue
            more = [parent for parent in here.parents if parent not in seen]
            seen.update(more)
            queue.extend(more)
        return found

    def cuts_above(self, tensor: Tensor) -> list[Origin]:
        """The places where the way from a tensor on was cut."""
        start = self.origin_of(tensor)
        if start is None:
            return []
        reached = {start}
        found: list[Origin] = []
        for origin in self._order:  # in the order in which they were made
            if any(parent in reached for parent in origin.parents) or (
                origin.export is not None and origin.export.origin in reached
            ):
                (found.append if origin.cut or origin.export is not None else reached.add)(origin)
        return found

    def export_above(self, tensor: Tensor) -> Export | None:
        """The last value computed from a tensor that left the graph as a number or an array."""
        start = self.origin_of(tensor)
        reached = {start}
        for origin in self._order:
            if any(parent in reached for parent in origin.parents):
                reached.add(origin)
        return next((e for e in reversed(self._exports) if e.origin in reached), None) if start is not None else None

    # ----- what is seen -------------------------------------------------------------------------------------------

    def _note(self, tensor: Tensor, origin: Origin) -> Origin:
        key = id(tensor)
        origin.dtype, origin.tensor = tensor.array.dtype.name, weakref.ref(tensor)
        self._origins[key] = weakref.ref(tensor, lambda r: self._forget(key, r)), origin
        self._order.append(origin)
        return origin

    def _forget(self, key: int, reference: Any) -> None:
        entry = self._origins.get(key)
        if entry is not None and entry[0] is reference:
            del self._origins[key]

    def _met(self, tensor: Tensor) -> Origin:
        known = self.origin_of(tensor)
        if known is None:
            known = self._note(tensor, Origin("", None, tensor._node is not None))
        return known

    def _computed(self, frame: FrameType, result: Any) -> None:
        for tensor in result if type(result) in (tuple, list) else (result,):
            if not isinstance(tensor, Tensor):
                continue
            known = self.origin_of(tensor)
            if known is not None and (known.parents or known.tracked or known.export is not None):
                continue
            given = [x for x in arguments_of(frame) if isinstance(x, Tensor)]
            if any(x is tensor for x in given) or (known is not None and not given):
                continue
            node = tensor._node
            function = next((f for key in FUNCTIONS if (f := frame.f_locals.get(key)) is not None), None)
            if isinstance(node, Recipe):
                function = node.func
            text = frame.f_code.co_name if function is None else name_of(function)
            parents = [self._met(x) for x in given]
            if known is None:
                known = self._note(tensor, Origin("", place_of_call(frame), node is not None))
            known.operation, known.parents = text.lstrip("_"), parents  # a helper may have made it of an array
            if node is None and any(parent.tracked for parent in parents):
                known.cut = self._reason(function, tensor)
            if isinstance(node, Recipe):
                self._mark(node)

    def _mark(self, node: Recipe) -> None:
        if node._func is forward_module.take_output and isinstance(node._edges[0], Recipe):
            node = node._edges[0]  # it has the line
        extra = node._extra
        if extra is not None and extra.trace is not None and not isinstance(extra.trace, Seen):
            seen = extra.trace = Seen(extra.trace)
            seen.modules = tuple(self._modules)

    def _reason(self, function: Any, tensor: Tensor) -> str:
        if tensor.array.dtype.kind not in "fc":
            return "comparison" if function in COMPARISONS or tensor.array.dtype.kind == "b" else "integer"
        return "no_grad" if grad_mode() == OFF else "no derivative"

    def _detached(self, frame: FrameType, result: Any) -> None:
        if not isinstance(result, Tensor):
            return
        before = self._met(frame.f_locals["self"])
        if before.tracked or before.cut:
            text = frame.f_code.co_name
            self._note(result, Origin(text, place_of_call(frame), False, [before], text if before.tracked else ""))

    def _exported(self, frame: FrameType, result: Any) -> None:
        tensor = frame.f_locals["self"]
        if result is not None and (tensor._node is not None or self.origin_of(tensor) is not None):
            self._exports.append(Export(frame.f_code.co_name, place_of_call(frame), result, self._met(tensor)))

    def _built(self, frame: FrameType, result: Any) -> None:
        data = next(iter(x for x in arguments_of(frame) if x is not frame.f_locals.get("self")), None)
        tensor = frame.f_locals.get("self", result)
        if not isinstance(tensor, Tensor) or not hasattr(tensor, "array") or tensor is data or not _by_user(frame):
            return
        tracked = tensor._node is not None
        origin = Origin("tensor", place_of_call(frame), tracked)
        if isinstance(data, Tensor):
            origin.parents = [self._met(data)]
            origin.cut = "copy" if data._node is not None else ""
        elif self._exports:
            origin.export = next((e for e in reversed(self._exports) if _came_from(data, e.value)), None)
            if origin.export is None and isinstance(data, np.ndarray):
                origin.certain = False
                origin.export = next((e for e in reversed(self._exports) if isinstance(e.value, np.ndarray)), None)
        self._note(tensor, origin)

    def _written(self, frame: FrameType, result: Any) -> None:
        here = frame.f_locals
        target = here["target"] if "target" in here else here["self"]
        if here.get("tracked") and "self" in here:
            return  # what writes for it has told
        before = self.origin_of(target)
        value = here.get("value")
        parents = [self._met(value)] if isinstance(value, Tensor) else []
        parents += [before] if before is not None else []
        tracked = target._node is not None
        origin = Origin(str(here.get("operation", "__setitem__")), place_of_call(frame), tracked, parents)
        unseen = grad_mode() == OFF and any(parent.tracked for parent in parents)
        if unseen and not isinstance(target._node, Leaf):
            origin.cut = "write"
        self._note(target, origin)
        if isinstance(target._node, Recipe):
            self._mark(target._node)

    def _enter_module(self, frame: FrameType, _: Any) -> None:
        module = frame.f_locals["self"]
        if not self._modules:
            self._paths = {id(part): path for path, part in module.named_modules()}
        self._modules.append((self._paths.get(id(module), "?"), type(module).__name__))

    def _leave_module(self, frame: FrameType, _: Any) -> None:
        if self._modules:
            self._modules.pop()

    def _pass_begins(self, frame: FrameType, _: Any) -> None:
        if back_functions.get() is not BACK_FUNCS._found:  # the compiler looks on, or `explain` does
            self._running.append(None)
            return
        given = frame.f_locals
        observer = Observer(given["ends"], given["seeds"], given["wanted"], given["retain"], given["create"])
        self._running.append((observer, back_functions.set(observer)))

    def _pass_ends(self, frame: FrameType, result: Any) -> None:
        running = self._running.pop()
        if running is not None:
            observer, token = running
            back_functions.reset(token)
            if result is not None:  # None: the pass ended in an error
                captured, arrived = result
                leaves = {node: gradient for _, gradient, node in arrived}
                self.passes.append(observer.finish(arrived=captured | leaves))


recording = Recording


def _by_user(frame: FrameType) -> bool:
    """Whether a function that makes tensors was called by the user's program, not by an operation."""
    caller = frame.f_back
    if caller is not None and caller.f_code is creation.tensor.__code__:  # it takes the keywords of all of them
        caller = caller.f_back
    return caller is None or not caller.f_code.co_filename.startswith(PACKAGE)


def _came_from(data: Any, value: Any) -> bool:
    """Whether what a tensor was made from is a value that left the graph, or shares its memory."""
    if isinstance(value, np.ndarray):
        return isinstance(data, np.ndarray) and np.may_share_memory(data, value)
    if isinstance(data, (list, tuple)) and not isinstance(value, list):
        return any(item is value or item == value for item in data if isinstance(item, (int, float, complex)))
    if isinstance(data, (int, float, complex)) and isinstance(value, (int, float, complex)):
        return data == value
    return isinstance(data, list) and data is value
