"""`Optimizer`: groups of parameters with their settings, the state kept for each, and the step.

An optimiser computes on arrays, not on tensors: nothing is recorded. It writes parameters in place, and each write is
counted, so that a graph that saved a parameter refuses to use the new values. Read next: `kernels.py`, `sgd.py`.
"""

from __future__ import annotations

import copy
import functools
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ..core.dtypes import default_float
from ..core.grad_mode import enable_grad
from ..core.recipe import RemovableHandle, register_hook
from ..core.tensor import Tensor, make_tensor
from ..core.tracing import number
from ..core.views import note_writes

__all__ = ["Optimizer", "register_optimizer_step_post_hook", "register_optimizer_step_pre_hook"]

PRE_HOOKS: dict[int, Callable[..., Any]] = {}  # of all optimisers
POST_HOOKS: dict[int, Callable[..., Any]] = {}


def register_optimizer_step_pre_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(optimizer, args, kwargs)` before every step of every optimiser."""
    return register_hook(PRE_HOOKS, hook)


def register_optimizer_step_post_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(optimizer, args, kwargs)` after every step of every optimiser."""
    return register_hook(POST_HOOKS, hook)


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
                    tensor._grad = None
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
            tensors = [tensor for tensor in group["params"] if tensor._grad is not None]
            if tensors:
                note_writes(tensors, f"{type(self).__name__}.step")
                self.update(group, tensors)
        return loss

    def update(self, group: dict[str, Any], tensors: list[Tensor]) -> None:
        """Write the new values of one group's `tensors`, which have gradients; subclasses define it."""
        raise NotImplementedError(f"{type(self).__name__} defines neither update(group, tensors) nor step()")

    def new_state(self, group: dict[str, Any], tensor: Tensor) -> dict[str, Any]:
        """What is kept for a parameter before its first step; subclasses that keep something define it."""
        return {}

    def starts_alike(self, group: dict[str, Any]) -> bool:
        """Whether the first step is a step like any other, from what `new_state` gives."""
        return True

    def state_of(self, group: dict[str, Any], tensor: Tensor) -> dict[str, Any]:
        """What is kept for a parameter; made before its first step."""
        state = self.state[tensor]
        if not state:
            state.update(self.new_state(group, tensor))
        return state

    # ---- hooks ---------------------------------------------------------------------------------------------------

    def register_step_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(optimizer, args, kwargs)` before every step; it may return new (args, kwargs)."""
        return register_hook(self._optimizer_step_pre_hooks, hook)

    def register_step_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(optimizer, args, kwargs)` after every step."""
        return register_hook(self._optimizer_step_post_hooks, hook)

    def register_state_dict_pre_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call `hook(optimizer)` before `state_dict`."""
        return register_hook(self._optimizer_state_dict_pre_hooks, hook, prepend)

    def register_state_dict_post_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call `hook(optimizer, state_dict)` after `state_dict`; what it returns, if anything, replaces the dict."""
        return register_hook(self._optimizer_state_dict_post_hooks, hook, prepend)

    def register_load_state_dict_pre_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call `hook(optimizer, state_dict)` before loading; what it returns, if anything, is loaded instead."""
        return register_hook(self._optimizer_load_state_dict_pre_hooks, hook, prepend)

    def register_load_state_dict_post_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call `hook(optimizer)` after loading."""
        return register_hook(self._optimizer_load_state_dict_post_hooks, hook, prepend)

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
            place: tensor
            for group, mine in zip(saved, self.param_groups, strict=True)
            for place, tensor in zip(group["params"], mine["params"], strict=True)
        }
        state: defaultdict[Any, dict[str, Any]] = defaultdict(dict)
        wrong = []
        for place, values in state_dict["state"].items():
            if place not in tensors:
                state[place] = values
                continue
            tensor = tensors[place]
            cast = self.state_like_parameter or set(values) - {"step"}
            state[tensor] = {
                name: _loaded(value, tensor.array.dtype if name in cast else None) for name, value in values.items()
            }
            for name in self.state_like_parameter:
                value = state[tensor].get(name)
                if isinstance(value, Tensor) and value.shape != tensor.shape:
                    wrong.append(f"{name} of parameter {place}: {value.shape}, the parameter has {tensor.shape}")
        if wrong:
            raise ValueError("loaded state dict has state of another shape: " + "; ".join(wrong))
        groups = []
        for group, mine in zip(saved, self.param_groups, strict=True):
            kept = {name: mine[name] for name in ("params", "param_names") if name in mine}
            groups.append({**kept, **_loaded(group, None), "params": mine["params"]})
        self.__setstate__({"state": state, "param_groups": groups})
        for hook in list(self._optimizer_load_state_dict_post_hooks.values()):
            hook(self)

    def __getstate__(self) -> dict[str, Any]:
        return {"defaults": self.defaults, "state": self.state, "param_groups": self.param_groups}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over parts of a saved optimiser; groups of an older one get the settings that they lack."""
        self.__dict__.update(state)
        if "_optimizer_step_pre_hooks" not in self.__dict__:
            self._make_hooks()
        for group in self.param_groups:
            for name, value in self.defaults.items():
                group.setdefault(name, value)
        for values in self.state.values():
            if "step" in values and not isinstance(values["step"], Tensor):
                values["step"] = count_tensor(values["step"])

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for i, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {i}")
            lines += [f"    {name}: {group[name]}" for name in sorted(group) if name != "params"]
            lines.append("")
        return "\n".join([*lines[:-1], ")"])


class _Required:
    def __repr__(self) -> str:
        return "<required parameter>"


required = _Required()


def _loaded(value: Any, dtype: np.dtype[Any] | None) -> Any:
    """A copy of a saved value; arrays become tensors, of a floating type if one is given."""
    if isinstance(value, dict):
        return {key: _loaded(inner, dtype) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_loaded(inner, dtype) for inner in value)
    if not isinstance(value, Tensor) and not hasattr(value, "__array__"):
        return copy.deepcopy(value)
    array = np.array(value.array if isinstance(value, Tensor) else value)
    if dtype is not None and dtype.kind == "f":
        array = array.astype(dtype, copy=False)
    return make_tensor(array, None)


# ----- what optimisers share -------------------------------------------------------------------------------------


def zeros_for(tensor: Tensor) -> Tensor:
    """State for a parameter, to start with."""
    return make_tensor(np.zeros_like(tensor.array), None)


def count_tensor(value: float = 0.0) -> Tensor:
    """A number that is kept as state, such as the count of steps: a 0-d tensor, float32 as in PyTorch."""
    return make_tensor(np.array(value, np.float64 if default_float() == np.float64 else np.float32), None)


def next_count(state: dict[str, Any]) -> float:
    """Count one more step in a parameter's state."""
    array = state["step"].array
    count: float = number(array) + 1
    array.fill(count)
    return count


def arguments(names: dict[str, Any]) -> dict[str, Any]:
    """An optimiser's settings: of the names in its constructor, `locals()`, all arguments but the parameters."""
    return {name: value for name, value in names.items() if name not in ("self", "params", "__class__")}


def check_learning_rate(lr: Any, *, foreach: bool | None = False, capturable: bool = False) -> None:
    """Refuse a learning rate that is negative, NaN, or a tensor of several numbers."""
    if isinstance(lr, Tensor):
        if foreach and not capturable:
            raise ValueError("lr as a Tensor is not supported for capturable=False and foreach=True")
        if lr.array.size != 1:
            raise ValueError(f"Tensor lr must be 1-element, but its shape is {lr.shape}")
    if not float(lr) >= 0.0:
        raise ValueError(f"Invalid learning rate: {lr}")


def check_settings(**limits: Any) -> None:
    """Refuse settings that make no sense.

    Args:
        limits: name -> value that must not be negative (nor NaN).
    """
    for name, value in limits.items():
        if not value >= 0.0:
            raise ValueError(f"Invalid {name} value: {value}")


def check_betas(betas: Iterable[Any]) -> None:
    """Refuse decay rates outside [0, 1)."""
    for i, beta in enumerate(betas):
        if isinstance(beta, Tensor) and beta.array.size != 1:
            raise ValueError(f"Tensor betas[{i}] must be 1-element, but its shape is {beta.shape}")
        if not 0.0 <= float(beta) < 1.0:
            raise ValueError(f"Invalid beta parameter at index {i}: {beta}")


def check_modes(name: str, group: dict[str, Any]) -> None:
    """Refuse the ways to run a step that arrays on a CPU cannot have; the others are the same here.

    Raises:
        RuntimeError: `differentiable`, or two ways at once.
        AssertionError: `capturable`, as PyTorch has it for parameters on the CPU.
    """
    if group.get("fused") and group.get("differentiable"):
        raise RuntimeError("`fused` does not support `differentiable`")
    if group.get("fused") and group.get("foreach"):
        raise RuntimeError("`fused` and `foreach` cannot be `True` together.")
    if group.get("differentiable"):
        raise RuntimeError(
            f"{name}(differentiable=True): a step writes plain arrays and is not recorded. Write the update with "
            "tensors, new = old - lr * grad, and backward(create_graph=True), to differentiate through it"
        )
    if group.get("capturable"):
        raise AssertionError(f"{name}(capturable=True): params must be on a device with graphs, and these are arrays")
