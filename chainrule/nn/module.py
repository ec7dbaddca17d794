"""`Module`: something that computes and has state: parameters, buffers and child modules, found by name.

Assigning a `Parameter` or a `Module` as an attribute registers it. Names with dots lead through children:
"0.weight" is the weight of the child "0". Read next: `containers.py`, then a layer such as `linear.py`.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Self, TypeVar

import numpy as np

from ..core.dtypes import as_numpy_dtype
from ..core.dtypes import dtype as dtype_class
from ..core.recipe import RemovableHandle
from ..core.tensor import Tensor, device, make_tensor, storage_of
from .parameter import Buffer, Parameter

__all__ = ["Module"]

T = TypeVar("T")


class IncompatibleKeys(NamedTuple):
    """What `load_state_dict` found missing and unexpected."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return f"_IncompatibleKeys(missing_keys={self.missing_keys}, unexpected_keys={self.unexpected_keys})"


class Hook(NamedTuple):
    """A forward hook or pre-hook, and how it wants to be called."""

    function: Callable[..., Any]
    with_kwargs: bool
    always_call: bool = False


class Module:
    """The base class of layers and models: subclass it, call `super().__init__()`, write `forward`.

    >>> import chainrule as cr
    >>> class Line(Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.slope = Parameter([2.0])
    ...     def forward(self, x):
    ...         return self.slope * x
    >>> line = Line()
    >>> line(cr.tensor([3.0])).item(), [name for name, _ in line.named_parameters()]
    (6.0, ['slope'])
    """

    training: bool
    dump_patches: bool = False
    _version: int = 1  # of the layer's state, as PyTorch counts it; kept in a state dict's _metadata

    def __init__(self) -> None:
        """Prepare the registries; subclasses call it before they assign anything."""
        put = super().__setattr__
        put("training", True)
        put("_parameters", {})
        put("_buffers", {})
        put("_modules", {})
        put("_non_persistent_buffers_set", set())
        put("_forward_hooks", {})
        put("_forward_pre_hooks", {})
        put("_state_dict_hooks", {})
        put("_load_state_dict_pre_hooks", {})
        put("_load_state_dict_post_hooks", {})

    # ---- calling -------------------------------------------------------------------------------------------------

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module computes; subclasses define it."""
        raise NotImplementedError(f'Module [{type(self).__name__}] is missing the required "forward" function')

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._forward_hooks or self._forward_pre_hooks:
            return self._call_with_hooks(args, kwargs)
        return self.forward(*args, **kwargs)

    def _call_with_hooks(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        for hook in list(self._forward_pre_hooks.values()):
            if hook.with_kwargs:
                changed = hook.function(self, args, kwargs)
                if changed is not None:
                    args, kwargs = changed
            else:
                changed = hook.function(self, args)
                if changed is not None:
                    args = changed if isinstance(changed, tuple) else (changed,)
        done = False
        result = None
        try:
            result = self.forward(*args, **kwargs)
            for hook in list(self._forward_hooks.values()):
                result = _after(hook, self, args, kwargs, result)
            done = True
        finally:
            if not done:
                for hook in list(self._forward_hooks.values()):
                    if hook.always_call:
                        _after(hook, self, args, kwargs, result)
        return result

    def register_forward_pre_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Call `hook(module, args)` before `forward`; what it returns, if anything, replaces the arguments."""
        return _register(self._forward_pre_hooks, Hook(hook, with_kwargs), prepend)

    def register_forward_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False, always_call: bool = False
    ) -> RemovableHandle:
        """Call `hook(module, args, output)` after `forward`; what it returns, if anything, replaces the output."""
        return _register(self._forward_hooks, Hook(hook, with_kwargs, always_call), prepend)

    # ---- registering ---------------------------------------------------------------------------------------------

    def __setattr__(self, name: str, value: Any) -> None:
        state = self.__dict__
        if isinstance(value, Parameter):
            self._forget(name, "_parameters")
            self.register_parameter(name, value)
        elif isinstance(value, Module):
            self._forget(name, "_modules")
            self.add_module(name, value)
        elif isinstance(value, Buffer):
            self._forget(name, "_buffers")
            self.register_buffer(name, value, value.persistent)
        elif name in state.get("_parameters", ()):
            if value is not None:
                raise TypeError(
                    f"cannot assign '{type(value).__name__}' as parameter '{name}' "
                    "(chainrule.nn.Parameter or None expected)"
                )
            state["_parameters"][name] = None
        elif name in state.get("_modules", ()):
            if value is not None:
                raise TypeError(
                    f"cannot assign '{type(value).__name__}' as child module '{name}' "
                    "(chainrule.nn.Module or None expected)"
                )
            state["_modules"][name] = None
        elif name in state.get("_buffers", ()):
            if value is not None and not isinstance(value, Tensor):
                raise TypeError(
                    f"cannot assign '{type(value).__name__}' object to buffer '{name}' "
                    "(chainrule.Tensor or None required)"
                )
            state["_buffers"][name] = value
        else:
            super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:
        try:  # parameters first: layers read theirs in every forward pass
            return self.__dict__["_parameters"][name]
        except KeyError:
            state = self.__dict__
        for registry in ("_modules", "_buffers"):
            found = state.get(registry)
            if found is not None and name in found:
                return found[name]
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    def __delattr__(self, name: str) -> None:
        for registry in (self._parameters, self._modules, self._buffers):
            if name in registry:
                del registry[name]
                self._non_persistent_buffers_set.discard(name)
                return
        super().__delattr__(name)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._parameters, *self._buffers, *self._modules})

    def _forget(self, name: str, home: str) -> None:
        """Take a name out of every registry but its new home, before it is given a new meaning."""
        for registry in ("_parameters", "_buffers", "_modules"):
            if registry != home:
                self._registry(registry).pop(name, None)
        self.__dict__.pop(name, None)
        self._non_persistent_buffers_set.discard(name)

    def _registry(self, which: str) -> dict[str, Any]:
        registry: dict[str, Any] | None = self.__dict__.get(which)
        if registry is None:
            raise AttributeError(
                f"cannot register anything before Module.__init__() call: write super().__init__() first in "
                f"{type(self).__name__}.__init__"
            )
        return registry

    def _check_name(self, name: str, what: str, registry: dict[str, Any]) -> None:
        if not isinstance(name, str):
            raise TypeError(f"{what} name should be a string. Got {type(name).__name__}")
        if "." in name:
            raise KeyError(f'{what} name can\'t contain ".": {name!r}')
        if not name:
            raise KeyError(f'{what} name can\'t be empty string ""')
        if hasattr(self, name) and name not in registry:
            raise KeyError(f"attribute '{name}' already exists")

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter under a name; None declares that there is none.

        Raises:
            TypeError: not a Parameter.
            KeyError: the name is empty, has a dot, or is an attribute already.
        """
        registry = self._registry("_parameters")
        if param is not None and not isinstance(param, Parameter):
            raise TypeError(
                f"cannot assign '{type(param).__name__}' object to parameter '{name}' (Parameter or None required)"
            )
        if param is not None and not param.is_leaf:
            raise ValueError(
                f"Cannot assign non-leaf Tensor to parameter '{name}': a parameter is made by the user, not computed"
            )
        self._check_name(name, "parameter", registry)
        registry[name] = param

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a tensor that is part of the module's state but not trained.

        Args:
            name: how it is found, as `module.name`.
            tensor: its value; None declares that there is none.
            persistent: whether it is part of the state_dict.
        """
        registry = self._registry("_buffers")
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(
                f"cannot assign '{type(tensor).__name__}' object to buffer '{name}' (Tensor or None required)"
            )
        self._check_name(name, "buffer", registry)
        registry[name] = tensor
        (self._non_persistent_buffers_set.discard if persistent else self._non_persistent_buffers_set.add)(name)

    def add_module(self, name: str, module: Module | None) -> None:
        """Add a child module under a name."""
        registry = self._registry("_modules")
        if module is not None and not isinstance(module, Module):
            raise TypeError(f"{type(module).__name__} is not a Module subclass")
        self._check_name(name, "module", registry)
        registry[name] = module

    def register_module(self, name: str, module: Module | None) -> None:
        """The same as `add_module`."""
        self.add_module(name, module)

    # ---- finding -------------------------------------------------------------------------------------------------

    def _named_members(
        self, members: Callable[[Module], Any], prefix: str, recurse: bool, remove_duplicate: bool
    ) -> Iterator[tuple[str, Any]]:
        seen: set[Any] = set()
        modules = self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate) if recurse else [(prefix, self)]
        for path, module in modules:
            for name, value in members(module):
                if value is None or value in seen:
                    continue
                if remove_duplicate:
                    seen.add(value)
                yield (f"{path}.{name}" if path else name), value

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """The parameters of this module and, with `recurse`, of all modules below; each once."""
        return (value for _, value in self.named_parameters(recurse=recurse))

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """(name, parameter) pairs; a parameter that several modules share comes once."""
        return self._named_members(lambda m: m._parameters.items(), prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """The buffers of this module and, with `recurse`, of all modules below; each once."""
        return (value for _, value in self.named_buffers(recurse=recurse))

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """(name, buffer) pairs."""
        return self._named_members(lambda m: m._buffers.items(), prefix, recurse, remove_duplicate)

    def children(self) -> Iterator[Module]:
        """The modules directly below this one."""
        return (module for _, module in self.named_children())

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """(name, module) pairs of the modules directly below; each module once."""
        seen: set[int] = set()
        for name, module in self._modules.items():
            if module is not None and id(module) not in seen:
                seen.add(id(module))
                yield name, module

    def modules(self) -> Iterator[Module]:
        """This module and all below it; each once."""
        return (module for _, module in self.named_modules())

    def named_modules(
        self, memo: set[Module] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """(name, module) pairs of this module, named `prefix`, and all below it, parents before children."""
        memo = set() if memo is None else memo
        stack = [(prefix, self)]
        while stack:
            path, module = stack.pop()
            if remove_duplicate:
                if module in memo:
                    continue
                memo.add(module)
            yield path, module
            below = [(f"{path}.{n}" if path else n, child) for n, child in module._modules.items() if child is not None]
            stack.extend(reversed(below))

    def get_submodule(self, target: str) -> Module:
        """The module with a name such as "encoder.0".

        Raises:
            AttributeError: there is none; names the part of the path that is missing.
        """
        module: Module = self
        for name in target.split(".") if target else ():
            if not hasattr(module, name):
                raise AttributeError(f"{type(module).__name__} has no attribute `{name}`")
            module = getattr(module, name)
            if not isinstance(module, Module):
                raise AttributeError(f"`{name}` is not an nn.Module")
        return module

    def get_parameter(self, target: str) -> Parameter:
        """The parameter with a name such as "0.weight"."""
        path, _, name = target.rpartition(".")
        module = self.get_submodule(path)
        found = getattr(module, name)
        if not isinstance(found, Parameter):
            raise AttributeError(f"`{name}` is not an nn.Parameter")
        return found

    def get_buffer(self, target: str) -> Tensor:
        """The buffer with a name such as "1.running_mean"."""
        path, _, name = target.rpartition(".")
        module = self.get_submodule(path)
        if name not in module._buffers:
            raise AttributeError(f"`{name}` is not a buffer")
        return module._buffers[name]  # type: ignore[no-any-return]

    # ---- changing everything below -------------------------------------------------------------------------------

    def apply(self, fn: Callable[[Module], Any]) -> Self:
        """Call `fn` with every module below and then with this one; returns the module."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    def train(self, mode: bool = True) -> Self:
        """Put this module and all below it in training mode, or with False in evaluation mode."""
        if not isinstance(mode, bool):
            raise ValueError(f"training mode is expected to be boolean, got {mode!r}")
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Put this module and all below it in evaluation mode."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Say for all parameters whether they are trained."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters, or fill them with zeros."""
        for parameter in self.parameters():
            forget_gradient(parameter, set_to_none)

    def _convert(self, wanted: Callable[[np.dtype[Any]], np.dtype[Any]]) -> Self:
        for module in self.modules():
            for registry in (module._parameters, module._buffers):
                for tensor in registry.values():
                    if tensor is None:
                        continue
                    kind = wanted(tensor.array.dtype)
                    if kind != tensor.array.dtype:
                        tensor.data = make_tensor(tensor.array.astype(kind), None)
                        if tensor.grad is not None:
                            tensor.grad = make_tensor(tensor.grad.array.astype(kind), None)
        return self

    def _convert_floats(self, wanted: Any) -> Self:
        target = as_numpy_dtype(wanted)
        return self._convert(lambda have: target if have.kind in "fc" else have)

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Convert floating parameters and buffers: `to(chainrule.float64)`, `to("cpu")`, `to(tensor)`.

        Raises:
            TypeError: the type is neither floating nor complex.
            RuntimeError: another device than the cpu.
        """
        wanted = kwargs.get("dtype")
        places = [kwargs.get("device")]
        for arg in args:
            if isinstance(arg, Tensor):
                wanted = arg.dtype
            elif isinstance(arg, (dtype_class, np.dtype)):
                wanted = arg
            elif isinstance(arg, (str, device)):
                places.append(arg)
        for place in places:
            if place is not None and device(str(place)).type != "cpu":
                raise RuntimeError(
                    f"a module's tensors are NumPy arrays on the cpu; there is no device {str(place)!r} here"
                )
        if wanted is None:
            return self
        if as_numpy_dtype(wanted).kind not in "fc":
            raise TypeError(
                f"nn.Module.to only accepts floating point or complex dtypes, but got desired dtype={wanted}"
            )
        return self._convert_floats(wanted)

    def type(self, dst_type: Any) -> Self:
        """Convert all parameters and buffers to an element type."""
        target = as_numpy_dtype(dst_type)
        return self._convert(lambda have: target)

    def float(self) -> Self:
        """Convert floating parameters and buffers to float32."""
        return self._convert_floats(np.float32)

    def double(self) -> Self:
        """Convert floating parameters and buffers to float64."""
        return self._convert_floats(np.float64)

    def half(self) -> Self:
        """Convert floating parameters and buffers to float16."""
        return self._convert_floats(np.float16)

    def cpu(self) -> Self:
        """The module itself: its tensors are on the cpu."""
        return self

    def share_memory(self) -> Self:
        """The module itself."""
        return self

    # ---- saving and loading --------------------------------------------------------------------------------------

    def get_extra_state(self) -> Any:
        """State beyond parameters and buffers, to be saved under "_extra_state"; subclasses may define it."""
        raise RuntimeError("Reached a code path in Module.get_extra_state() that should never be called")

    def set_extra_state(self, state: Any) -> None:
        """Take back what `get_extra_state` gave."""
        raise RuntimeError("Reached a code path in Module.set_extra_state() that should never be called")

    def _has_extra_state(self) -> bool:
        return type(self).get_extra_state is not Module.get_extra_state

    def _own_state(self) -> Iterator[tuple[str, Tensor]]:
        """The parameters and persistent buffers of this module alone."""
        for name, tensor in itertools.chain(self._parameters.items(), self._buffers.items()):
            if tensor is not None and name not in self._non_persistent_buffers_set:
                yield name, tensor

    def state_dict(
        self, *, destination: Any = None, prefix: str = "", keep_vars: bool = False
    ) -> OrderedDict[str, Any]:
        """All parameters and persistent buffers by name, as tensors on the same memory without the graph.

        Args:
            destination: a dict to fill.
            prefix: written before every name.
            keep_vars: give the parameters themselves.

        >>> list(Module().state_dict())
        []
        """
        state: Any = OrderedDict() if destination is None else destination
        if destination is None:
            state._metadata = OrderedDict()
        for path, module in self.named_modules(remove_duplicate=False):
            before = f"{prefix}{path}." if path else prefix
            notes = {"version": module._version}
            if hasattr(state, "_metadata"):
                state._metadata[before[:-1]] = notes
            for name, tensor in module._own_state():
                state[before + name] = tensor if keep_vars else tensor.detach()
            if module._has_extra_state():
                state[before + "_extra_state"] = module.get_extra_state()
            for hook in module._state_dict_hooks.values():
                hook(module, state, before, notes)
        return state  # type: ignore[no-any-return]

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> IncompatibleKeys:
        """Copy the values of a state dict into this module's parameters and buffers.

        Args:
            state_dict: name -> tensor or array, as `state_dict()` gives them.
            strict: raise if a name is missing or unexpected.
            assign: take over the given arrays, and their element types, instead of copying their values.

        Returns:
            The missing and the unexpected names.

        Raises:
            RuntimeError: names are missing or unexpected (with `strict`), or shapes differ: all of them in one message.
                Nothing has been changed then.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"Expected state_dict to be dict-like, got {type(state_dict).__name__}")
        state = OrderedDict(state_dict)
        missing: list[str] = []
        expected: set[str] = set()
        wrong: list[str] = []
        plan: list[Callable[[], None]] = []
        for path, module in self.named_modules(remove_duplicate=False):
            before = f"{path}." if path else ""
            for hook in module._load_state_dict_pre_hooks.values():
                hook(module, state, before, {}, strict, missing, [], wrong)
            for name, tensor in module._own_state():
                key = before + name
                expected.add(key)
                if key not in state:
                    missing.append(key)
                else:
                    module._plan_load(name, tensor, key, state[key], assign, plan, wrong)
            if module._has_extra_state():
                key = before + "_extra_state"
                expected.add(key)
                if key in state:
                    plan.append(lambda module=module, key=key: module.set_extra_state(state[key]))  # type: ignore[misc]
                else:
                    missing.append(key)
        unexpected = [key for key in state if key not in expected]
        problems = list(wrong)
        if strict:
            if missing:
                problems.insert(0, f"Missing key(s) in state_dict: {_quoted(missing)}. ")
            if unexpected:
                problems.insert(0, f"Unexpected key(s) in state_dict: {_quoted(unexpected)}. ")
        if problems:
            text = "\n\t".join(problems)
            raise RuntimeError(f"Error(s) in loading state_dict for {type(self).__name__}:\n\t{text}")
        for step in plan:
            step()
        result = IncompatibleKeys(missing, unexpected)
        for module in self.modules():
            for hook in module._load_state_dict_post_hooks.values():
                hook(module, result)
        return result

    def _plan_load(
        self,
        name: str,
        tensor: Tensor,
        key: str,
        value: Any,
        assign: bool,
        plan: list[Callable[[], None]],
        wrong: list[str],
    ) -> None:
        """Check one entry of a state dict and note how it will be loaded, or what is wrong with it."""
        array = value.array if isinstance(value, Tensor) else value
        if not hasattr(array, "shape") or not hasattr(array, "dtype"):
            wrong.append(
                f'While copying the parameter named "{key}", expected a tensor or an array from the checkpoint but '
                f"received {type(value).__name__}"
            )
        elif tuple(array.shape) != tensor.shape:
            wrong.append(
                f"size mismatch for {key}: copying a param with shape {tuple(array.shape)} from checkpoint, the shape "
                f"in current model is {tensor.shape}."
            )
        elif np.dtype(array.dtype).kind == "c" and tensor.array.dtype.kind != "c":
            wrong.append(f"type mismatch for {key}: complex numbers from checkpoint, {tensor.dtype} in current model.")
        elif assign:
            plan.append(lambda: self._assign(name, tensor, array))
        else:
            plan.append(lambda: _overwrite(tensor, array))

    def _assign(self, name: str, old: Tensor, array: Any) -> None:
        new = make_tensor(np.asarray(array), None, kind=type(old))
        if isinstance(old, Parameter):
            new.requires_grad_(old.requires_grad)
            self._parameters[name] = new
        else:
            self._buffers[name] = new

    def register_state_dict_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(module, state_dict, prefix, metadata)` at the end of this module's part of `state_dict`."""
        return _register(self._state_dict_hooks, hook)

    def register_load_state_dict_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(module, state_dict, prefix, metadata, strict, missing, unexpected, errors)` before loading."""
        return _register(self._load_state_dict_pre_hooks, hook)

    def register_load_state_dict_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(module, incompatible_keys)` after loading."""
        return _register(self._load_state_dict_post_hooks, hook)

    # ---- showing -------------------------------------------------------------------------------------------------

    def extra_repr(self) -> str:
        """What stands between the parentheses of the module's repr; subclasses may define it."""
        return ""

    def _get_name(self) -> str:
        return type(self).__name__

    def __repr__(self) -> str:
        lines = [f"({name}): {_indented(repr(child))}" for name, child in self._modules.items()]
        extra = self.extra_repr()
        own = extra.split("\n") if extra else []
        if len(own) == 1 and not lines:
            return f"{self._get_name()}({own[0]})"
        if not own and not lines:
            return f"{self._get_name()}()"
        return f"{self._get_name()}(\n  " + "\n  ".join(own + lines) + "\n)"

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


def forget_gradient(parameter: Tensor, set_to_none: bool) -> None:
    """Drop a tensor's gradient, or fill it with zeros in place."""
    gradient = parameter.grad
    if gradient is None:
        return
    if set_to_none:
        parameter.grad = None
    else:
        gradient = gradient if gradient._node is None else make_tensor(gradient.array, None)
        gradient.array[...] = 0
        storage_of(gradient).note_write("zero_grad")
        parameter.grad = gradient


def _overwrite(tensor: Tensor, array: Any) -> None:
    np.copyto(tensor.array, array, casting="unsafe")
    storage_of(tensor).note_write("load_state_dict")


def _after(hook: Hook, module: Module, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> Any:
    changed = hook.function(module, args, kwargs, result) if hook.with_kwargs else hook.function(module, args, result)
    return result if changed is None else changed


def _register(hooks: dict[int, Any], hook: Any, first: bool = False) -> RemovableHandle:
    handle = RemovableHandle(hooks)
    later = dict(hooks) if first else {}
    if first:
        hooks.clear()
    hooks[handle.id] = hook
    hooks.update(later)
    return handle


def _quoted(names: list[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _indented(text: str) -> str:
    return text.replace("\n", "\n  ")
