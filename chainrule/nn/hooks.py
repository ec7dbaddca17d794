"""Hooks of modules: those of all modules at once, those on gradients, and how an error gets the name of its layer."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..core.grad_mode import grad_mode
from ..core.recipe import CHANGES, RemovableHandle, register_hook
from ..core.tensor import Tensor, make_tensor

if TYPE_CHECKING:
    from .module import Module

__all__ = [
    "register_module_backward_hook",
    "register_module_buffer_registration_hook",
    "register_module_forward_hook",
    "register_module_forward_pre_hook",
    "register_module_full_backward_hook",
    "register_module_full_backward_pre_hook",
    "register_module_module_registration_hook",
    "register_module_parameter_registration_hook",
]


class Hook(NamedTuple):
    """A forward hook or pre-hook that wants to be called otherwise than usual, and how.

    Modules keep the others as they were given: programs look for their own hooks in `_forward_pre_hooks`.
    """

    function: Callable[..., Any]
    with_kwargs: bool = False
    always_call: bool = False


def as_hook(function: Callable[..., Any], with_kwargs: bool = False, always_call: bool = False) -> Any:
    """What a module keeps of a hook."""
    return Hook(function, with_kwargs, always_call) if with_kwargs or always_call else function


class EveryModule:
    """The hooks of all modules; those that concern a call are counted in `ANY_CALL`."""

    forward_pre: dict[int, Any] = {}  # noqa: RUF012 - these are the registries
    forward: dict[int, Any] = {}  # noqa: RUF012
    backward_pre: dict[int, Callable[..., Any]] = {}  # noqa: RUF012
    backward: dict[int, Callable[..., Any]] = {}  # noqa: RUF012
    registration: dict[str, dict[int, Callable[..., Any]]] = {  # noqa: RUF012
        "_parameters": {},
        "_buffers": {},
        "_modules": {},
    }


class _CallHandle(RemovableHandle):
    """The handle of a hook that `ANY_CALL` counts."""

    def __init__(self, hooks: dict[int, Any], hook: Any) -> None:
        super().__init__(hooks)
        CHANGES.now += 1
        hooks[self.id] = hook
        ANY_CALL[self.id] = True

    def remove(self) -> None:
        super().remove()
        ANY_CALL.pop(self.id, None)


ANY_CALL: dict[int, bool] = {}  # empty where no hook of all modules concerns a call


def register_module_forward_pre_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(module, args)` before the `forward` of every module."""
    return _CallHandle(EveryModule.forward_pre, hook)


def register_module_forward_hook(
    hook: Callable[..., Any], *, with_kwargs: bool = False, always_call: bool = False
) -> RemovableHandle:
    """Call `hook(module, args, output)` after the `forward` of every module."""
    return _CallHandle(EveryModule.forward, as_hook(hook, with_kwargs, always_call))


def register_module_full_backward_pre_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(module, grad_output)` when the gradients of any module's outputs are known."""
    return _CallHandle(EveryModule.backward_pre, hook)


def register_module_full_backward_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(module, grad_input, grad_output)` when the gradients of any module's inputs are known."""
    return _CallHandle(EveryModule.backward, hook)


def register_module_backward_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """The older name of `register_module_full_backward_hook`."""
    return register_module_full_backward_hook(hook)


def register_module_parameter_registration_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(module, name, parameter)` at each registration; what it returns, if anything, is registered."""
    return register_hook(EveryModule.registration["_parameters"], hook)


def register_module_buffer_registration_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(module, name, buffer)` at each registration; what it returns, if anything, is registered."""
    return register_hook(EveryModule.registration["_buffers"], hook)


def register_module_module_registration_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(module, name, child)` at each registration; what it returns, if anything, is registered."""
    return register_hook(EveryModule.registration["_modules"], hook)


def registered_as(module: Module, registry: str, name: str, value: Any) -> Any:
    """What the registration hooks make of a value."""
    for hook in list(EveryModule.registration[registry].values()):
        changed = hook(module, name, value)
        value = value if changed is None else changed
    return value


# ----- a call with hooks ------------------------------------------------------------------------------------------


def call_with_hooks(module: Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """`module.forward` between its hooks."""
    after = (*EveryModule.forward.values(), *module._forward_hooks.values())
    always = [hook for hook in after if type(hook) is Hook and hook.always_call]
    result = None
    try:
        for hook in (*EveryModule.forward_pre.values(), *module._forward_pre_hooks.values()):
            args, kwargs = _before(hook, module, args, kwargs)
        gates = None
        if module._backward_hooks or module._backward_pre_hooks or EveryModule.backward or EveryModule.backward_pre:
            gates = _Gates(module, len(args))
            args = gates.around_inputs(args)
        result = module.forward(*args, **kwargs)
        for hook in (*EveryModule.forward.values(), *module._forward_hooks.values()):
            if hook in always:
                always.remove(hook)
            result = _after(hook, module, args, kwargs, result)
        return result if gates is None else gates.around_result(result)
    except Exception:
        for hook in always:
            try:
                result = _after(hook, module, args, kwargs, result)
            except Exception as error:
                warnings.warn(
                    f"module forward hook with ``always_call=True`` raised an exception that was silenced as another "
                    f"error was raised in forward: {error}",
                    stacklevel=3,
                )
        raise


def _before(
    hook: Any, module: Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    with_kwargs = type(hook) is Hook and hook.with_kwargs
    changed = hook.function(module, args, kwargs) if with_kwargs else hook(module, args)
    if changed is None:
        return args, kwargs
    if not with_kwargs:
        return (changed if isinstance(changed, tuple) else (changed,)), kwargs
    if not (isinstance(changed, tuple) and len(changed) == 2):
        raise RuntimeError(
            f"forward pre-hook must return None or a tuple of (new_args, new_kwargs), but got {changed}."
        )
    return changed


def _after(hook: Any, module: Module, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> Any:
    if type(hook) is not Hook:
        changed = hook(module, args, result)
    elif hook.with_kwargs:
        changed = hook.function(module, args, kwargs, result)
    else:
        changed = hook.function(module, args, result)
    return result if changed is None else changed


class _Gates:
    """Two identities around a module's call, through which the gradients of its outputs and of its inputs pass."""

    def __init__(self, module: Module, inputs: int) -> None:
        self.module = module
        self.before = [*EveryModule.backward_pre.values(), *module._backward_pre_hooks.values()]
        self.after = [*EveryModule.backward.values(), *module._backward_hooks.values()]
        self.inputs = inputs
        self.gated = False  # whether a gradient goes to an input
        self.grad_output: tuple[Any, ...] | None = None

    def around_inputs(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """The arguments, with the gate between them and their gradients."""
        gated = _through_gate(args, self._inputs_known, zeros=True)
        self.gated = gated is not None
        return args if gated is None else gated

    def around_result(self, result: Any) -> Any:
        """The result, with the gate between it and its gradient."""
        if not isinstance(result, (Tensor, tuple)):
            warnings.warn(
                "For backward hooks to be called, module output should be a Tensor or a tuple of Tensors but received "
                f"{type(result)}",
                stacklevel=4,
            )
            return result
        if isinstance(result, Tensor):
            gated = _through_gate((result,), self._outputs_known)
            return result if gated is None else gated[0]
        gated = _through_gate(result, self._outputs_known)
        return result if gated is None else gated

    def _outputs_known(self, gradients: tuple[Any, ...]) -> tuple[Any, ...]:
        for hook in self.before:
            changed = hook(self.module, gradients)
            if changed is not None:
                changed = changed if isinstance(changed, tuple) else (changed,)
                if len(changed) != len(gradients):
                    raise RuntimeError(
                        f"Backward pre hook returned an invalid number of grad_output, got {len(changed)}, but "
                        f"expected {len(gradients)}"
                    )
                gradients = changed
        self.grad_output = gradients
        if not self.gated:
            for hook in self.after:
                changed = hook(self.module, (None,) * self.inputs, gradients)
                if changed is not None and not (isinstance(changed, tuple) and all(item is None for item in changed)):
                    raise RuntimeError(
                        "Backward hook for Modules where no input requires gradient should always return None or None "
                        "for all gradients."
                    )
        return gradients

    def _inputs_known(self, gradients: tuple[Any, ...]) -> tuple[Any, ...]:
        if self.grad_output is None:
            return gradients
        for hook in self.after:
            changed = hook(self.module, gradients, self.grad_output)
            if changed is not None:
                changed = changed if isinstance(changed, tuple) else (changed,)
                if len(changed) != len(gradients):
                    raise RuntimeError(
                        f"Backward hook returned an invalid number of grad_input, got {len(changed)}, but expected "
                        f"{len(gradients)}"
                    )
                gradients = changed
        self.grad_output = None
        return gradients


def _through_gate(values: tuple[Any, ...], known: Callable[..., Any], zeros: bool = False) -> tuple[Any, ...] | None:
    """The values, their tensors as results of an identity that asks `known` at backward; None if nothing is tracked.

    `known` is given the gradients of all values, and returns those to pass on. Where a value is no tensor there is
    None; where no gradient arrived at a tensor, None as well, or zeros.
    """
    positions = [i for i, value in enumerate(values) if isinstance(value, Tensor)]
    if not grad_mode() or not any(values[i].requires_grad for i in positions):
        return None

    count = len(values)
    forms = [(values[i].shape, values[i].array.dtype) for i in positions]

    def pass_on(gradients: tuple[Any, ...]) -> tuple[Any, ...]:
        spread: list[Any] = [None] * count
        for i, gradient, form in zip(positions, gradients, forms, strict=True):
            spread[i] = make_tensor(np.zeros(*form), None) if zeros and gradient is None else gradient
        changed = known(tuple(spread))
        return tuple(changed[i] for i in positions)

    found = list(values)
    for i, tensor in zip(positions, _gate().apply(pass_on, *(values[i] for i in positions)), strict=True):
        if values[i].requires_grad:
            found[i] = tensor
    if type(values) is not tuple:  # a named tuple
        return type(values)(*found)
    return tuple(found)


_GATE: list[Any] = []


def _gate() -> Any:
    """The identity as a `Function`; made when the first hook needs it."""
    if not _GATE:
        from ..autograd.function import Function

        class Gate(Function):
            @staticmethod
            def forward(ctx: Any, pass_on: Any, *tensors: Tensor) -> tuple[Tensor, ...]:
                ctx.pass_on = pass_on
                ctx.set_materialize_grads(False)
                return tuple(tensor.view_as(tensor) for tensor in tensors)

            @staticmethod
            def backward(ctx: Any, *gradients: Any) -> tuple[Any, ...]:
                return (None, *ctx.pass_on(gradients))

        _GATE.append(Gate)
    return _GATE[0]


# ----- the layer's name in an error -------------------------------------------------------------------------------

NAMED_ERRORS = (RuntimeError, ValueError, TypeError, IndexError, AssertionError)


def name_layer(module: Module, error: Exception) -> None:
    """Say in an error's message which layer raised it, by its path in the outermost module that it has passed.

    Errors that layers of this package raise get the path in the message; those of a user's own modules keep their
    message and get a note.
    """
    if type(error) not in NAMED_ERRORS:
        return
    place = error.__dict__.get("_layer")
    if place is None:
        ours = type(module).__module__.startswith(__package__)
        one_text = len(error.args) == 1 and isinstance(error.args[0], str)
        place = error.__dict__["_layer"] = (module, error.args[0] if ours and one_text else None)
    layer, text = place
    path = next((name for name, inner in module.named_modules() if inner is layer), None)
    if path is None:
        return
    shown = repr(layer).partition("\n")[0].removesuffix("(") if "\n" in repr(layer) else repr(layer)
    name = f"{path} ({shown})" if path else shown
    if text is not None:
        error.args = (f"{name}: {text}",)
    elif path:
        note = f"raised in {path} ({type(layer).__name__})"
        notes = error.__dict__.setdefault("__notes__", [])
        if notes and notes[-1].startswith("raised in "):
            notes[-1] = note
        else:
            notes.append(note)
