"""`Optimizer`: groups of parameters with their settings, the state kept for each, and the step.

An optimiser computes on arrays, not on tensors: nothing is recorded. It writes parameters in place, and each write is
counted, so that a graph that saved a parameter refuses to use the new values. Read next: `sgd.py`.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ..core.grad_mode import enable_grad
from ..core.recipe import RemovableHandle
from ..core.tensor import Tensor, make_tensor
from ..core.views import note_writes

__all__ = ["Optimizer"]


class Optimizer:
    """The base class: subclasses give the default settings and define `update(group)`.

    Args:
        params: tensors; (name, tensor) pairs; or dicts, each with "params" and settings for these.
        defaults: the settings of a group that does not name them.

    Raises:
        TypeError: `params` is one tensor, or holds something else than tensors.
        ValueError: there are no parameters, one is no leaf, or one is in two groups.
    """

    def __init__(self, params: Any, defaults: dict[str, Any]) -> None:
        if isinstance(params, Tensor):
            raise TypeError(
                "params argument given to the optimizer should be an iterable of Tensors or dicts, "
                "but got a Tensor: write [tensor]"
            )
        self.defaults = defaults
        self.state: defaultdict[Tensor, dict[str, Any]] = defaultdict(dict)
        self.param_groups: list[dict[str, Any]] = []
        self._pre_hooks: dict[int, Callable[..., Any]] = {}
        self._post_hooks: dict[int, Callable[..., Any]] = {}
        groups = list(params)
        if not groups:
            raise ValueError("optimizer got an empty parameter list")
        for group in groups if isinstance(groups[0], dict) else [{"params": groups}]:
            self.add_param_group(group)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with settings of their own: `{"params": tensors, "lr": 0.1}`."""
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group).__name__}")
        group = dict(param_group)
        given = group["params"]
        if isinstance(given, set):
            raise TypeError("optimizer parameters need to be organized in ordered collections: a set has no order")
        given = [given] if isinstance(given, Tensor) else list(given)
        if given and all(isinstance(item, tuple) for item in given):
            group["param_names"] = [name for name, _ in given]
            given = [tensor for _, tensor in given]
        for tensor in given:
            if not isinstance(tensor, Tensor):
                raise TypeError(
                    f"optimizer can only optimize Tensors, but one of the params is {type(tensor).__name__}"
                )
            if not tensor.is_leaf:
                raise ValueError(
                    f"can't optimize a non-leaf Tensor: one of shape {tensor.shape} is the result of an operation"
                )
        group["params"] = given
        for name, value in self.defaults.items():
            if value is required and name not in group:
                raise ValueError(f"parameter group didn't specify a value of required optimization parameter {name}")
            group.setdefault(name, value)
        known = {id(tensor) for other in self.param_groups for tensor in other["params"]}
        if not known.isdisjoint(id(tensor) for tensor in given):
            raise ValueError("some parameters appear in more than one parameter group")
        self.param_groups.append(group)

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

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Change every parameter that has a gradient.

        Args:
            closure: computes the loss and its gradients again; called once, with recording on.

        Returns:
            What the closure returned, or None.
        """
        for hook in list(self._pre_hooks.values()):
            hook(self, (closure,), {})
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        name = f"{type(self).__name__}.step"
        for group in self.param_groups:
            tensors = [tensor for tensor in group["params"] if tensor.grad is not None]
            if tensors:
                note_writes(tensors, name)
                self.update(group, tensors)
        for hook in list(self._post_hooks.values()):
            hook(self, (closure,), {})
        return loss

    def update(self, group: dict[str, Any], tensors: list[Tensor]) -> None:
        """Write the new values of one group's `tensors`, which have gradients; subclasses define it."""
        raise NotImplementedError(f"{type(self).__name__} does not define update(group, tensors)")

    def register_step_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(optimizer, args, kwargs)` before every step."""
        handle = RemovableHandle(self._pre_hooks)
        self._pre_hooks[handle.id] = hook
        return handle

    def register_step_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(optimizer, args, kwargs)` after every step."""
        handle = RemovableHandle(self._post_hooks)
        self._post_hooks[handle.id] = hook
        return handle

    def state_dict(self) -> dict[str, Any]:
        """The settings of the groups and the state of the parameters, which are counted from 0."""
        numbers: dict[int, int] = {}
        groups = []
        for group in self.param_groups:
            for tensor in group["params"]:
                numbers.setdefault(id(tensor), len(numbers))
            groups.append({**group, "params": [numbers[id(tensor)] for tensor in group["params"]]})
        state = {numbers[id(key)]: value for key, value in self.state.items() if id(key) in numbers}
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` gave, of this optimiser or of another with groups of the same sizes.

        Raises:
            ValueError: the groups differ in number or size. Nothing has been changed then.
        """
        saved = state_dict["param_groups"]
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
        state: defaultdict[Tensor, dict[str, Any]] = defaultdict(dict)
        for number, values in state_dict["state"].items():
            tensor = tensors[number]
            state[tensor] = {name: _like(value, name, tensor) for name, value in values.items()}
        for group, mine in zip(saved, self.param_groups, strict=True):
            mine.update({name: copy.deepcopy(value) for name, value in group.items() if name != "params"})
        self.state = state

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for i, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {i}")
            lines += [f"    {name}: {group[name]}" for name in sorted(group) if name not in ("params", "param_names")]
        return "\n".join([*lines, ")"])


class _Required:
    def __repr__(self) -> str:
        return "<required parameter>"


required = _Required()


def _like(value: Any, name: str, tensor: Tensor) -> Any:
    """A copy of a saved piece of state; arrays in the parameter's type, except for the count of steps."""
    if not isinstance(value, Tensor):
        return copy.deepcopy(value)
    array = value.array.copy()
    if name != "step" and tensor.array.dtype.kind in "fc":
        array = array.astype(tensor.array.dtype, copy=False)
    return make_tensor(array, None)


def zeros_for(tensor: Tensor) -> Tensor:
    """State for a parameter, to start with."""
    return make_tensor(np.zeros_like(tensor.array), None)


def as_real(array: Any) -> Any:
    """A complex array seen as real, with one more axis for the parts."""
    if array.dtype.kind != "c":
        return array
    return array[..., None].view(np.float64 if array.dtype.itemsize == 16 else np.float32)


def check_settings(**limits: Any) -> None:
    """Refuse settings that make no sense.

    Args:
        limits: name -> value that must not be negative (nor NaN).
    """
    for name, value in limits.items():
        if not value >= 0.0:
            raise ValueError(f"Invalid {name} value: {value}")


def check_betas(betas: Iterable[float]) -> None:
    """Refuse decay rates outside [0, 1)."""
    for i, beta in enumerate(betas):
        if not 0.0 <= beta < 1.0:
            raise ValueError(f"Invalid beta parameter at index {i}: {beta}")
