"""`Function`: an operation with a backward of the user's own, written on tensors.

An `apply` runs the user's forward without recording and leaves one recipe, whose function is a `BackwardOf`. The engine
asks it for the gradients of all arguments at once. What `save_for_backward` keeps is kept so that an output never
holds itself alive, and is checked for in-place writes when it is used.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ClassVar, NoReturn, TypeVar

import numpy as np

from ..core.backprop import outside, storage_behind
from ..core.broadcasting import unbroadcast
from ..core.forward import Several, cast, output_node, record
from ..core.grad_mode import OFF, is_grad_enabled, mode, no_grad
from ..core.recipe import CLOCK, NO_KWARGS, Recipe, Storage, make_recipe
from ..core.tensor import Alias, Tensor, as_array, is_array, make_tensor, storage_of
from ..core.views import check_writable, replace

__all__ = ["Function", "FunctionCtx", "once_differentiable"]

Backward = TypeVar("Backward", bound=Callable[..., Any])


class Saved:
    """A tensor kept for the backward pass: its array and node at that time, and how to tell whether it was written to.

    An output is kept without its tensor and node, which would hold the graph in a cycle: `output` is its position.
    """

    __slots__ = ("array", "at", "node", "output", "storage", "tensor")

    def __init__(self, tensor: Tensor, output: int | None) -> None:
        self.array = tensor.array
        self.at = CLOCK.now
        self.output = output
        self.tensor: Tensor | None = None
        self.node: Any = None
        self.storage: Storage | None = None
        if output is None:
            self.tensor = tensor
            self.node = tensor.node()
        else:
            self.storage = storage_of(tensor)

    def tensor_again(self, node: Recipe | None, name: str, index: int) -> Tensor:
        """The tensor as it was saved, connected to the graph.

        Raises:
            RuntimeError: its memory was written to since; says by what and where.
        """
        storage = storage_behind(self.tensor) if self.tensor is not None else self.storage
        if storage is not None and storage.written > self.at:
            raise RuntimeError(
                "one of the variables needed for gradient computation has been modified by an inplace operation: "
                f"{name} saved tensor {index} of shape {tuple(self.array.shape)}, and {storage.operation} wrote to it "
                f"at {storage.line}. Write to a clone(), or save_for_backward(tensor.clone())."
            )
        if self.tensor is not None:
            if self.tensor.array is self.array and self.tensor.node() is self.node:
                return self.tensor
            return make_tensor(self.array, self.node, None if storage is None else Alias(storage))
        if node is not None and self.output is not None:
            node = output_node(node, self.output) if type(node._out) is Several else node
        return make_tensor(self.array, node, None if storage is None else Alias(storage))


class FunctionCtx:
    """What a `Function`'s forward leaves for its backward; takes any further attributes."""

    needs_input_grad: tuple[bool, ...]

    def __init__(self, name: str) -> None:
        self._name = name
        self._to_save: tuple[Any, ...] = ()
        self._saved: tuple[Saved | None, ...] | None = None  # set once forward has returned
        self._freed = False
        self._node: Recipe | None = None  # only while backward runs
        self._non_differentiable: tuple[Any, ...] = ()
        self._dirty: tuple[Any, ...] = ()
        self._materialize = True

    def name(self) -> str:
        """How messages call the function."""
        return self._name

    def save_for_backward(self, *tensors: Any) -> None:
        """Keep tensors for backward: inputs, outputs or others, or None. Writing to them in place is then noticed."""
        for i, tensor in enumerate(tensors):
            if tensor is not None and not isinstance(tensor, Tensor):
                raise TypeError(
                    f"save_for_backward can only save tensors, but argument {i} is of type {type(tensor).__name__}: "
                    "keep other values as attributes, ctx.name = value"
                )
        self._to_save = tensors

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        """What `save_for_backward` kept.

        Raises:
            RuntimeError: a backward pass has freed them, or one was written to.
        """
        if self._freed:
            raise RuntimeError(
                f"{self._name}: trying to backward through the graph a second time (or directly access saved tensors "
                "after they have already been freed). Specify retain_graph=True the first time if you need them again."
            )
        if self._saved is None:
            return self._to_save
        return tuple(
            None if saved is None else saved.tensor_again(self._node, self._name, i)
            for i, saved in enumerate(self._saved)
        )

    def mark_non_differentiable(self, *tensors: Any) -> None:
        """Say that these outputs have no gradient; backward is given zeros for them."""
        self._non_differentiable = tensors

    def mark_dirty(self, *tensors: Any) -> None:
        """Say that forward has written to these inputs in place; they must be returned as well."""
        self._dirty = tensors

    def set_materialize_grads(self, value: bool) -> None:
        """Whether backward is given zeros (True, the default) or None for an output that received no gradient."""
        self._materialize = bool(value)

    def _keep(self, outputs: dict[int, int]) -> None:
        """Turn what forward asked to save into `Saved`s. `outputs`: id of a tensor -> its position in the results."""
        self._saved = tuple(None if t is None else Saved(t, outputs.get(id(t))) for t in self._to_save)
        self._to_save = ()
        self._dirty = self._non_differentiable = ()

    def _free(self) -> None:
        if self._saved:
            self._freed = True
            self._saved = ()


class Function:
    """Base of operations with their own backward. Subclass it, and call the operation through `apply`.

    `forward(ctx, *args)` computes on tensors and may keep some with `ctx.save_for_backward`; `backward(ctx, *grads)`
    is given a gradient for each output and returns one for each argument of forward, None where there is none.
    Forward may also be written without `ctx`, beside a `setup_context(ctx, inputs, output)`.

    Backward's own operations are recorded under `create_graph=True`, so that it can be differentiated again.

    >>> import chainrule as cr
    >>> class Cube(cr.autograd.Function):
    ...     @staticmethod
    ...     def forward(ctx, x):
    ...         ctx.save_for_backward(x)
    ...         return x * x * x
    ...     @staticmethod
    ...     def backward(ctx, grad_output):
    ...         x, = ctx.saved_tensors
    ...         return grad_output * 3 * x * x
    >>> x = cr.tensor([2.0], requires_grad=True)
    >>> Cube.apply(x).backward()
    >>> x.grad
    Tensor(array([12.], dtype=float32), requires_grad=False)
    """

    _not_static: ClassVar[str | None] = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name in ("forward", "backward", "setup_context"):
            if name in cls.__dict__:
                cls._not_static = None if isinstance(cls.__dict__[name], (staticmethod, classmethod)) else name
                if cls._not_static:
                    break

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        """Compute the outputs: a tensor or a tuple of them."""
        raise NotImplementedError("You must implement the forward function for custom autograd.Function.")

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> Any:
        """Keep what backward needs, when forward is written without `ctx`."""
        raise NotImplementedError("setup_context is not implemented.")

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        """Compute the gradient for each argument of forward, from one for each output."""
        raise NotImplementedError(
            "You must implement either the backward or vjp method for your custom autograd.Function to use it with "
            "backward mode AD."
        )

    vjp = backward

    @classmethod
    def apply(cls, *args: Any) -> Any:
        """Run the operation and record it.

        Raises:
            RuntimeError: forward or backward is an ordinary method.
            TypeError: forward returned something else than a tensor or a tuple.
        """
        if cls._not_static:
            raise RuntimeError(f"{cls.__name__}.{cls._not_static} must be a @staticmethod")
        ctx = FunctionCtx(f"{cls.__name__}Backward")
        edges = tuple(arg.node() if isinstance(arg, Tensor) else None for arg in args)
        ctx.needs_input_grad = tuple(edge is not None for edge in edges)
        tracked = is_grad_enabled() and any(ctx.needs_input_grad)
        token = mode.set(OFF)
        try:
            if cls.setup_context is Function.setup_context:
                result = cls.forward(ctx, *args)
            else:
                result = cls.forward(*args)
                cls.setup_context(ctx, args, result)
        finally:
            mode.reset(token)
        if not isinstance(result, tuple) and not isinstance(result, Tensor):
            raise TypeError(
                f"{cls.__name__}.forward must return a Tensor or a tuple of them, got {type(result).__name__}"
            )
        results = result if isinstance(result, tuple) else (result,)
        for tensor in ctx._dirty:
            check_writable(tensor, f"{cls.__name__}.forward")
        dirty = {id(tensor) for tensor in ctx._dirty}
        outputs = [own_tensor(r, args) if isinstance(r, Tensor) and id(r) not in dirty else r for r in results]
        if tracked:
            attach_node(cls, ctx, args, edges, results, outputs)
        else:
            for tensor in ctx._dirty:
                replace(tensor, make_tensor(tensor.array.copy(), None), f"{cls.__name__}.forward")
            ctx._keep({})
        return tuple(outputs) if isinstance(result, tuple) else outputs[0]


def own_tensor(result: Tensor, args: tuple[Any, ...]) -> Tensor:
    """An output as a tensor that can be given a node: one of its own, not an input's and not a view.

    An output in an input's memory is copied: a later write to it would otherwise go around the user's backward.
    """
    array = result.array
    for arg in args:
        if isinstance(arg, Tensor) and (
            result is arg
            or array is arg.array
            or (isinstance(array, np.ndarray) and np.may_share_memory(array, arg.array))
        ):
            return make_tensor(array.copy(), None)
    alias = result._alias
    if result._node is not None or (alias is not None and alias.base is not None):
        return make_tensor(array, None, None if alias is None else Alias(alias.storage))
    return result


def attach_node(
    function: type[Function],
    ctx: FunctionCtx,
    args: tuple[Any, ...],
    edges: tuple[Any, ...],
    results: tuple[Any, ...],
    outputs: list[Any],
) -> None:
    """Record the call, and give every differentiable output its node."""
    dirty = {id(tensor) for tensor in ctx._dirty}
    constant = {id(tensor) for tensor in ctx._non_differentiable}
    raw = tuple(arg.array if isinstance(arg, Tensor) else arg for arg in args)
    inputs = tuple(  # an input that takes the new node itself must not be held by it
        make_tensor(arg.array, edge) if id(arg) in dirty else arg for arg, edge in zip(args, edges, strict=True)
    )
    places = [i for i, output in enumerate(outputs) if isinstance(output, Tensor)]  # of the tensors among the outputs
    arrays = Several(outputs[i].array for i in places)
    func = BackwardOf(function, ctx, len(outputs), places)
    node = record(func, raw, NO_KWARGS, inputs, edges, arrays if len(places) != 1 else arrays[0])
    at: dict[int, int] = {}
    for k, i in enumerate(places):
        output, given = outputs[i], results[i]
        if id(given) not in constant and output.array.dtype.kind in "fc":
            here = node if len(places) == 1 else output_node(node, k)
            if id(given) in dirty:
                replace(output, make_tensor(output.array.copy(), here), f"{function.__name__}.forward")
            else:
                output._node = here
        if id(given) in dirty or not any(given is arg for arg in args):
            at[id(given)] = k
    for tensor in ctx._dirty:
        if not any(tensor is output for output in outputs):
            raise RuntimeError(f"{function.__name__}: an input that was marked dirty must be returned by forward")
    ctx._keep(at)


class BackwardOf:
    """The function in the recipe of a custom operation; `joint_backward` is what the engine calls."""

    __slots__ = ("__name__", "count", "ctx", "function", "places")

    def __init__(self, function: type[Function], ctx: FunctionCtx, count: int, places: list[int]) -> None:
        self.__name__ = ctx._name
        self.function = function
        self.ctx = ctx
        self.count = count
        self.places = places

    def __repr__(self) -> str:
        return f"<{self.__name__}>"

    def __call__(self, *args: Any) -> Any:
        """The operation's arrays from the arguments' arrays, as every recipe's function gives them."""
        with no_grad():
            result = self.function.apply(*(make_tensor(arg, None) if is_array(arg) else arg for arg in args))
        return result.array if isinstance(result, Tensor) else tuple(getattr(r, "array", r) for r in result)

    def joint_backward(self, gradient: Any, create: bool, node: Recipe, retain: bool) -> tuple[Any, ...]:
        """The gradients for all arguments, in the engine's form: arrays, or Tensors with `create`.

        Raises:
            RuntimeError: the user's backward returned another number of gradients than forward has arguments, or one
                for an argument that is no tensor.
        """
        ctx = self.ctx
        given = gradient if type(gradient) is Several else (gradient,)
        arrays = node._out if type(node._out) is Several else (node._out,)
        grads: list[Any] = [None] * self.count
        for place, gradient, array in zip(self.places, given, arrays, strict=True):
            if gradient is not None:
                grads[place] = as_users_gradient(gradient)
            elif ctx._materialize:
                grads[place] = make_tensor(np.zeros_like(array), None)
        back = self.function.backward
        if back is Function.backward:
            back = self.function.vjp
        ctx._node = node
        try:
            returned = back(ctx, *grads)
        finally:
            ctx._node = None
        if not retain:
            ctx._free()
        if not isinstance(returned, tuple):
            returned = tuple(returned) if isinstance(returned, list) else (returned,)
        expected = len(node._args)
        if len(returned) > expected and all(g is None for g in returned[expected:]):
            returned = returned[:expected]
        if len(returned) != expected:
            raise RuntimeError(
                f"function {self.__name__} returned an incorrect number of gradients (expected {expected}, got "
                f"{len(returned)}): backward returns one for each argument of forward, None where there is none"
            )
        return tuple(None if g is None else self._engines_gradient(g, i, node, create) for i, g in enumerate(returned))

    def _engines_gradient(self, gradient: Any, index: int, node: Recipe, create: bool) -> Any:
        arg = node._args[index]
        if not isinstance(node._inputs[index], Tensor):
            raise RuntimeError(
                f"function {self.__name__} returned a gradient different from None at position {index}, but the "
                f"corresponding forward input was not a Tensor but {type(arg).__name__}"
            )
        if not isinstance(gradient, Tensor):
            gradient = make_tensor(gradient if is_array(gradient) else as_array(gradient, arg.dtype), None)
        have, want = tuple(gradient.shape), tuple(arg.shape)
        if have != want and expands_to(want, have):
            gradient = unbroadcast(gradient, arg)  # as PyTorch: a gradient of a broadcast shape is summed
        elif have != want and node._edges[index] is not None:
            raise RuntimeError(
                f"Function {self.__name__} returned an invalid gradient at index {index} - got shape {have} but "
                f"expected shape compatible with {want}"
            )
        if gradient.array.dtype != arg.dtype and arg.dtype.kind in "fc":
            gradient = cast(gradient, arg.dtype)
        return outside(gradient) if create else outside(gradient.array)


def as_users_gradient(gradient: Any) -> Tensor:
    """A gradient as it travels in the engine, as the tensor that a user's backward is given."""
    if isinstance(gradient, Tensor):
        return outside(gradient)  # type: ignore[no-any-return]
    return make_tensor(outside(gradient if is_array(gradient) else np.asarray(gradient)), None)


def expands_to(shape: tuple[int, ...], wide: tuple[int, ...]) -> bool:
    """Whether an array of `shape` broadcasts to `wide`."""
    try:
        return np.broadcast_shapes(shape, wide) == wide
    except ValueError:
        return False


# ---- backward functions that must not be differentiated ----------------------------------------------------------


class _OnlyOnce:
    """The function in the recipe of a gradient that has no gradient of its own."""

    __slots__ = ("__name__",)

    def __init__(self, name: str) -> None:
        self.__name__ = name

    def joint_backward(self, gradient: Any, create: bool, node: Recipe, retain: bool) -> NoReturn:
        raise RuntimeError(
            f"{self.__name__}: trying to differentiate twice a function that was marked with @once_differentiable"
        )


def once_differentiable(backward: Backward) -> Backward:
    """Mark a `Function`'s backward as one whose result must not be differentiated again: doing so raises.

    Written under `@staticmethod`. Inside, nothing is recorded, so that backward may work on plain arrays.
    """

    @functools.wraps(backward)
    def once(ctx: FunctionCtx, *grads: Any) -> Any:
        with no_grad():
            returned = backward(ctx, *grads)
        node = ctx._node
        if not is_grad_enabled() or node is None:
            return returned
        parents = [*zip(node._args, node._edges, strict=True)]
        parents += [(g.array, g.node()) for g in grads if isinstance(g, Tensor)]
        parents = [(array, edge) for array, edge in parents if edge is not None]
        arrays, edges = tuple(a for a, _ in parents), tuple(e for _, e in parents)
        func = _OnlyOnce(ctx._name)

        def guarded(gradient: Any) -> Any:
            if not isinstance(gradient, Tensor):
                return gradient
            recipe = make_recipe(func, arrays, NO_KWARGS, arrays, edges, gradient.array)
            return make_tensor(gradient.array, recipe)

        return tuple(map(guarded, returned)) if isinstance(returned, (tuple, list)) else guarded(returned)

    return once  # type: ignore[return-value]
