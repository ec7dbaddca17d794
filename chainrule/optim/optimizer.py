"""`Optimizer`: groups of parameters with their settings, the state kept for each, and the step.

An optimiser computes on arrays, not on tensors: nothing is recorded. It writes parameters in place, and each write is
counted, so that a graph that saved a parameter refuses to use the new values. Read next: `kernels.py`, `sgd.py`.
"""

from __future__ import annotations

import copy
import functools
import warnings
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.dtypes import default_float
from ..core.grad_mode import enable_grad
from ..core.recipe import RemovableHandle, register_handle
from ..core.tensor import Tensor, make_tensor
from ..core.views import note_writes

__all__ = ["Optimizer", "register_optimizer_step_post_hook", "register_optimizer_step_pre_hook"]

PRE_HOOKS: dict[int, Callable[..., Any]] = {}  # of all optimisers
POST_HOOKS: dict[int, Callable[..., Any]] = {}


def register_optimizer_step_pre_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(optimizer, args, kwargs)` before every step of every optimiser."""
    return register_handle(PRE_HOOKS, hook)


def register_optimizer_step_post_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(optimizer, args, kwargs)` after every step of every optimiser."""
    return register_handle(POST_HOOKS, hook)


def with_hooks(step: Callable[..., Any]) -> Callable[..., Any]:
    """A `step` that runs the hooks around it; called from a subclass's `step`, it leaves them to that one."""

    @functools.wraps(step)
    def hooked(self: Optimizer, *args: Any, **kwargs: Any) -> Any:
        before, after = self._optimizer_step_pre_hooks, self._optimizer_step_post_hooks
        if self._stepping or not (before or after or PRE_HOOKS or POST_HOOKS):
            return step(self, *args, **kwargs)
        for hook in (*PRE_HOOKS.values(), *before.values()):
            changed = hook(self, args, kwargs)
            if changed is not None:
                if not (isinstance(changed, tuple) and len(changed) == 2):
                    raise RuntimeError(
                        f"a step pre-hook must return None or a tuple of (new_args, new_kwargs), but got {changed}"
                    )
                args, kwargs = changed
        self._stepping = True
        try:
            result = step(self, *args, **kwargs)
        finally:
            self._stepping = False
        for hook in (*after.values(), *POST_HOOKS.values()):
            hook(self, args, kwargs)
        return result

    hooked.hooked = True  # type: ignore[attr-defined]
    return hooked


class Optimizer:
    """The base class: subclasses give the default settings and define `update(group, tensors)`, or `step`.

    Args:
        params: tensors; (name, tensor) pairs; or dicts, each with "params" and settings for these.
        defaults: the settings of a group that does not name them.

    Raises:
        TypeError: `params` is one tensor, or holds something else than tensors.
        ValueError: there are no parameters, one is no leaf, or one is in two groups.
    """

    # the state's arrays that have their parameter's shape, which load_state_dict checks
    state_like_parameter: tuple[str, ...] = ()
    _stepping = False

    def __init__(self, params: Any, defaults: dict[str, Any]) -> None:
        if isinstance(params, Tensor):
            raise TypeError(
                "params argument given to the optimizer should be an iterable of Tensors or dicts, "
                "but got a Tensor: write [tensor]"
            )
        self.defaults = defaults
        self.state: defaultdict[Any, dict[str, Any]] = defaultdict(dict)
        self.param_groups: list[dict[str, Any]] = []
        self._make_hooks()
        groups = list(params)
        if not groups:
            raise ValueError("optimizer got an empty parameter list")
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(group)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        step = cls.__dict__.get("step")
        if step is not None and not hasattr(step, "hooked"):
            cls.step = with_hooks(step)  # type: ignore[method-assign]

    def _make_hooks(self) -> None:
        self._optimizer_step_pre_hooks: dict[int, Callable[..., Any]] = {}
        self._optimizer_step_post_hooks: dict[int, Callable[..., Any]] = {}
        self._optimizer_state_dict_pre_hooks: dict[int, Callable[..., Any]] = {}
        self._optimizer_state_dict_post_hooks: dict[int, Callable[..., Any]] = {}
        self._optimizer_load_state_dict_pre_hooks: dict[int, Callable[..., Any]] = {}
        self._optimizer_load_state_dict_post_hooks: dict[int, Callable[..., Any]] = {}

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with settings of their own: `{"params": tensors, "lr": 0.1}`."""
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group).__name__}")
        given = param_group["params"]
        if isinstance(given, set):
            raise TypeError("optimizer parameters need to be organized in ordered collections: a set has no order")
        given = [given] if isinstance(given, Tensor) else list(given)
        names = [item[0] for item in given if isinstance(item, tuple)]
        if names and len(names) != len(given):
            raise ValueError(
                "all optimizer params should be with/without names. Some param names are missing: "
                f"{len(names)} of {len(given)} have one"
            )
        if names:
            given = [tensor for _, tensor in given]
        for tensor in given:
            self._check_parameter(tensor)
        for name, value in self.defaults.items():
            if value is required and name not in param_group:
                raise ValueError(f"parameter group didn't specify a value of required optimization parameter {name}")
        ours = {id(tensor) for tensor in given}
        if len(ours) != len(given):
            warnings.warn(
                "optimizer contains a parameter group with duplicate parameters: each is changed as often as it occurs",
                stacklevel=3,
            )
        for group in self.param_groups:
            if bool(names) != ("param_names" in group):
                raise ValueError(
                    "all optimizer param groups should be with/without names. cannot add param group "
                    f"{'with' if names else 'without'} names to the optimizer"
                )
            if not ours.isdisjoint(id(tensor) for tensor in group["params"]):
                raise ValueError("some parameters appear in more than one parameter group")
        param_group["params"] = given
        if names:
            param_group["param_names"] = names
        for name, value in self.defaults.items():
            param_group.setdefault(name, value)
        check_modes(type(self).__name__, param_group)
        self.param_groups.append(param_group)

    def _check_parameter(self, tensor: Any) -> None:
        if not isinstance(tensor, Tensor):
            raise TypeError(f"optimizer can only optimize Tensors, but one of the params is {type(tensor).__name__}")
        if not (tensor.is_leaf or tensor.retains_grad):
            raise ValueError(
                f"can't optimize a non-leaf Tensor: one of shape {tensor.shape} is the result of an operation"
            )

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters, or fill them with zeros."""
        if not set_to_none:
            from ..nn.module import forget_gradient
        for group in self.param_groups:
            for tensor in group["params"]:
                if set_to_none:
                    tensor.grad = None
                else:
                    forget_gradient(tensor, False)

    @with_hooks
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Change every parameter that has a gradient.

        Args:
            closure: computes the loss and its gradients again; called once, with recording on.

        Returns:
            What the closure returned, or None.
        """
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        for group in self.param_groups:
            tensors = [tensor for tensor in group["params"] if tensor.grad is not None]
            if tensors:
                note_writes(tensors, f"{type(self).__name__}.step")
                self.update(group, tensors)
        return loss

    def update(self, group: dict[str, Any], tensors: list[Tensor]) -> None:
        """Write the new values of one group's `tensors`, which have gradients; subclasses define it."""
        raise NotImplementedError(f"{type(self).__name__} defines neither update(group, tensors) nor step()")

    # ---- hooks ---------------------------------------------------------------------------------------------------

    def register_step_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(optimizer, args, kwargs)` before every step; it may return new (args, kwargs)."""
        return register_handle(self._optimizer_step_pre_hooks, hook)

    def register_step_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(optimizer, args, kwargs)` after every step."""
        return register_handle(self._optimizer_step_post_hooks, hook)

    def register_state_dict_pre_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call `hook(optimizer)` before `state_dict`."""
        return register_handle(self._optimizer_state_dict_pre_hooks, hook, prepend)

    def register_state_dict_post_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call `hook(optimizer, state_dict)` after `state_dict`; what it returns, if anything, replaces the dict."""
        return register_handle(self._optimizer_state_dict_post_hooks, hook, prepend)

    def register_load_state_dict_pre_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call `hook(optimizer, state_dict)` before loading; what it returns, if anything, is loaded instead."""
        return register_handle(self._optimizer_load_state_dict_pre_hooks, hook, prepend)

    def register_load_state_dict_post_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call `hook(optimizer)` after loading."""
        return register_handle(self._optimizer_load_state_dict_post_hooks, hook, prepend)

    # ---- saving and loading --------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """The settings of the groups and the state of the parameters, which are counted from 0."""
        for hook in list(self._optimizer_state_dict_pre_hooks.values()):
            hook(self)
        numbers: dict[int, int] = {}
        groups = []
        start = 0
        for group in self.param_groups:
            for i, tensor in enumerate(group["params"], start):
                numbers.setdefault(id(tensor), i)
            start += len(group["params"])
            packed = {name: value for name, value in group.items() if name != "params"}
            groups.append({**packed, "params": [numbers[id(tensor)] for tensor in group["params"]]})
        state = {numbers[id(key)] if isinstance(key, Tensor) else key: value for key, value in self.state.items()}
        result = {"state": state, "param_groups": groups}
        for hook in list(self._optimizer_state_dict_post_hooks.values()):
            changed = hook(self, result)
            result = result if changed is None else changed
        return result

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` gave, of this optimiser or of another with groups of the same sizes.

        Raises:
            ValueError: the groups differ in number or size, or the state in shape. Nothing has been changed then.
        """
        state_dict = dict(state_dict)
        for hook in list(self._optimizer_load_state_dict_pre_hooks.values()):
            changed = hook(self, state_dict)
            state_dict = state_dict if changed is None else changed
        saved = [dict(group) for group in state_dict["param_groups"]]
        sizes, wanted = ([len(g["params"]) for g in groups] for groups in (saved, self.param_groups))
        if len(sizes) != len(wanted):
            raise ValueError(
                f"loaded state dict has a different number of parameter groups: {len(sizes)}, not {len(wanted)}"
            )
        if sizes != wanted:
            raise ValueError(
                "loaded state dict contains a parameter group that doesn't match the size of optimizer's group: "
                f"{sizes}, not {wanted}"
            )
        tensors = {
            number: tensor
            for group, mine in zip(saved, self.param_groups, strict=True)
            for number, tensor in zip(group["params"], mine["params"], strict=True)
        }
        state: defaultdict[Any, dict[str, Any]] = defaultdict(dict)
        wrong = []
        for number, values in state_dict["state"].items():
            if number not in tensors:
                state[number] = values
                continue
            tensor = tensors[number]
            state[tensor] = _like(values, None, tensor)
            for name in self.state_like_parameter:
                value = state[tensor].get(name)
                if isinstance(value, Tensor) and value.shape != tensor.shape:
                    wrong.append(f"{name} of parameter {number}: {value.shape}, the parameter has {tensor.shape}")
        if wrong:
            raise ValueError("loaded state dict has state of another shape: " + "; ".join(wrong))
        for group, mine in zip(saved, self.param_groups, strict=True):
            group = {name: _unshared(value) for name, value in group.items() if name != "params"}
            group["params"] = mine["params"]
            if "param_names" in mine:
                group.setdefault("param_names", mine["param_names"])
            saved[saved.index(group)] = group if False else group
        self._take(state, [self._group_from(g, m) for g, m in zip(saved, self.param_groups, strict=True)])
        for hook in list(self._optimizer_load_state_dict_post_hooks.values()):
            hook(self)
