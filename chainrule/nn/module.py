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

from ..core.dtypes import as_numpy_dtype, bfloat16
from ..core.dtypes import dtype as dtype_class
from ..core.recipe import CHANGES, Registry, RemovableHandle, register_hook
from ..core.tensor import Tensor, device, make_tensor, storage_of
from .hooks import (
    ANY_CALL,
    as_hook,
    call_with_hooks,
    name_layer,
    register_module_backward_hook,
    register_module_buffer_registration_hook,
    register_module_forward_hook,
    register_module_forward_pre_hook,
    register_module_full_backward_hook,
    register_module_full_backward_pre_hook,
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
    registered_as,
)
from .parameter import Buffer, Parameter, UninitializedTensor

__all__ = [
    "Module",
    "register_module_backward_hook",
    "register_module_buffer_registration_hook",
    "register_module_forward_hook",
    "register_module_forward_pre_hook",
    "register_module_full_backward_hook",
    "register_module_full_backward_pre_hook",
    "register_module_module_registration_hook",
    "register_module_parameter_registration_hook",
]

T = TypeVar("T")


class IncompatibleKeys(NamedTuple):
    """What `load_state_dict` found missing and unexpected."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return f"_IncompatibleKeys(missing_keys={self.missing_keys}, unexpected_keys={self.unexpected_keys})"


HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_state_dict_hooks",
    "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
)


class _WithModule:
    """A hook that is given its module first; the copy of a module makes it one of the copy."""

    def __init__(self, hook: Callable[..., Any], module: Module) -> None:
        self.hook = hook
        self.module = module

    def __call__(self, *args: Any) -> Any:
        return self.hook(self.module, *args)


class _Problems(list[str]):
    """The error messages of a load, and what is to be done once there are none."""

    def __init__(self) -> None:
        super().__init__()
        self.plan: list[Callable[[], None]] = []
        self.expected: set[str] = set()
        self.silent: list[str] = []  # prefixes of modules with a way of their own to load

    def leaves_open(self, key: str) -> bool:
        """Whether a module that loads in a way of its own may have used the key."""
        return any(key.startswith(prefix) for prefix in self.silent)


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

    call_super_init: bool = False  # whether __init__ hands its arguments on to the next class of the inheritance
    T_destination = TypeVar("T_destination", bound=dict[str, Any])

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Prepare the registries; subclasses call it before they assign anything."""
        if (args or kwargs) and not self.call_super_init:
            raise TypeError(
                f"{type(self).__name__}.__init__() got arguments that nobody takes: "
                f"{', '.join([*map(repr, args), *kwargs])}"
            )
        put = super().__setattr__
        put("training", True)
        put("_parameters", Registry())
        put("_buffers", Registry())
        put("_modules", Registry())
        put("_non_persistent_buffers_set", set())
        for registry in HOOKS:
            put(registry, Registry())
        if self.call_super_init:
            super().__init__(*args, **kwargs)

    # ---- calling -------------------------------------------------------------------------------------------------

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module computes; subclasses define it."""
        raise NotImplementedError(f'Module [{type(self).__name__}] is missing the required "forward" function')

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            state = self.__dict__  # a look-up there is quicker than an attribute of a class with __getattr__
            if (
                state["_forward_hooks"]
                or state["_forward_pre_hooks"]
                or state["_backward_hooks"]
                or state["_backward_pre_hooks"]
                or ANY_CALL
            ):
                return call_with_hooks(self, args, kwargs)
            return self.forward(*args, **kwargs)
        except Exception as error:
            name_layer(self, error)
            raise

    def register_forward_pre_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Call `hook(module, args)` before `forward`; what it returns, if anything, replaces the arguments."""
        return register_hook(self._forward_pre_hooks, as_hook(hook, with_kwargs), prepend)

    def register_forward_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False, always_call: bool = False
    ) -> RemovableHandle:
        """Call `hook(module, args, output)` after `forward`; what it returns, if anything, replaces the output."""
        return register_hook(self._forward_hooks, as_hook(hook, with_kwargs, always_call), prepend)

    def register_full_backward_pre_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call `hook(module, grad_output)` when the outputs' gradients are known; a tuple it returns replaces them."""
        return register_hook(self._backward_pre_hooks, hook, prepend)

    def register_full_backward_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call `hook(module, grad_input, grad_output)` when the gradients of the positional arguments are known.

        A tuple that it returns replaces `grad_input`. Where an argument is no tensor or needs no gradient there is
        None.
        """
        return register_hook(self._backward_hooks, hook, prepend)

    def register_backward_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """The older name of `register_full_backward_hook`."""
        return self.register_full_backward_hook(hook)

    # ---- registering ---------------------------------------------------------------------------------------------

    def __setattr__(self, name: str, value: Any) -> None:
        CHANGES.now += 1
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
        state = self.__dict__  # all three are there once __init__ has run
        if (found := state.get("_modules")) is not None and name in found:
            return found[name]
        if (found := state.get("_parameters")) is not None and name in found:
            return found[name]
        if (found := state.get("_buffers")) is not None and name in found:
            return found[name]
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    def __delattr__(self, name: str) -> None:
        CHANGES.now += 1
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
        CHANGES.now += 1
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
        registry[name] = param if param is None else registered_as(self, "_parameters", name, param)

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
        registry[name] = tensor if tensor is None else registered_as(self, "_buffers", name, tensor)
        (self._non_persistent_buffers_set.discard if persistent else self._non_persistent_buffers_set.add)(name)

    def add_module(self, name: str, module: Module | None) -> None:
        """Add a child module under a name."""
        registry = self._registry("_modules")
        if module is not None and not isinstance(module, Module):
            raise TypeError(f"{type(module).__name__} is not a Module subclass")
        self._check_name(name, "module", registry)
        registry[name] = module if module is None else registered_as(self, "_modules", name, module)

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

    def modules(self, remove_duplicate: bool = True) -> Iterator[Module]:
        """This module and all below it; each once, unless `remove_duplicate` is False."""
        return (module for _, module in self.named_modules(remove_duplicate=remove_duplicate))

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

    def set_submodule(self, target: str, module: Module, strict: bool = False) -> None:
        """Put a module in the place with a name such as "encoder.0".

        Args:
            target: the name; all of it but the last part must exist.
            module: what is put there.
            strict: the place must hold a module already.

        Raises:
            ValueError: the name is empty, or `module` is none.
            AttributeError: a part of the path is missing, or is no module.
        """
        if not target:
            raise ValueError("Cannot set the submodule without a target name!")
        if not isinstance(module, Module):
            raise ValueError(f"`module` is not an nn.Module, found {type(module)}")
        path, _, name = target.rpartition(".")
        parent = self.get_submodule(path)
        if strict and not hasattr(parent, name):
            raise AttributeError(f"{type(parent).__name__} has no attribute `{name}`")
        if hasattr(parent, name) and not isinstance(getattr(parent, name), Module):
            raise AttributeError(f"`{name}` is not an nn.Module")
        setattr(parent, name, module)

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

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Let `forward` run as a compiled program from now on; the arguments are those of `chainrule.compile`."""
        import chainrule  # the public face, which loads the compiler late: it is a higher room

        compiled: Callable[..., Any] = chainrule.compile  # type: ignore[assignment, unused-ignore]
        self.__dict__["forward"] = compiled(self.forward, *args, **kwargs)
        CHANGES.now += 1

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

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Replace the values of all parameters, their gradients and the buffers by `fn(tensor)`."""
        for module in self.modules() if recurse else (self,):
            for tensor in (*module._parameters.values(), *module._buffers.values()):
                if tensor is None:
                    continue
                before = make_tensor(tensor.array, None)
                after = fn(before)
                if after.array is not tensor.array:
                    tensor.data = after
                if tensor._grad is not None:
                    tensor._grad = fn(make_tensor(tensor._grad.array, None))
        return self

    def _convert(self, wanted: Callable[[np.dtype[Any]], np.dtype[Any]]) -> Self:
        def convert(tensor: Tensor) -> Tensor:
            return make_tensor(tensor.array.astype(wanted(tensor.array.dtype), copy=False), None)

        return self._apply(convert)

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

    def bfloat16(self) -> Self:
        """Refused: NumPy has no such type."""
        return self.to(bfloat16)

    def half(self) -> Self:
        """Convert floating parameters and buffers to float16."""
        return self._convert_floats(np.float16)

    def cpu(self) -> Self:
        """The module itself: its tensors are on the cpu."""
        return self

    def cuda(self, device: Any = None) -> Self:
        """Not possible: the tensors are NumPy arrays.

        Raises:
            AssertionError: always, as PyTorch without CUDA.
        """
        raise AssertionError("chainrule computes on the CPU: there is no CUDA here. Test cuda.is_available() first")

    def to_empty(self, *, device: Any, recurse: bool = True) -> Self:
        """Give all parameters and buffers new memory, whose values are arbitrary."""
        self.to(device)
        return self._apply(lambda tensor: make_tensor(np.empty_like(tensor.array), None), recurse)

    def share_memory(self) -> Self:
        """Move parameters and buffers into memory that processes forked from now on share; returns the module."""
        for tensor in (*self.parameters(), *self.buffers()):
            tensor.share_memory_()
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
        notes = {"version": self._version}
        if hasattr(state, "_metadata"):
            state._metadata[prefix[:-1]] = notes
        for hook in list(self._state_dict_pre_hooks.values()):
            hook(self, prefix, keep_vars)
        self._save_to_state_dict(state, prefix, keep_vars)
        for name, child in self._modules.items():
            if child is not None:
                child.state_dict(destination=state, prefix=f"{prefix}{name}.", keep_vars=keep_vars)
        for hook, replaces in list(self._state_dict_hooks.values()):
            changed = hook(self, state, prefix, notes)
            if changed is not None and not replaces:
                raise RuntimeError("state_dict post-hook must return None")
            state = state if changed is None else changed
        return state  # type: ignore[no-any-return]

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        """Put the state of this module alone into `destination`; subclasses may extend it."""
        for name, tensor in self._own_state():
            destination[prefix + name] = tensor if keep_vars else tensor.detach()
        if self._has_extra_state():
            destination[prefix + "_extra_state"] = self.get_extra_state()

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
        metadata = getattr(state_dict, "_metadata", None) or {}
        problems = _Problems()
        missing: list[str] = []
        unexpected: list[str] = []
        for path, module in self.named_modules(remove_duplicate=False):
            prefix = f"{path}." if path else ""
            notes = dict(metadata.get(path, {}))
            if assign:
                notes["assign_to_params_buffers"] = True
            problems.silent.append(prefix)
            module._load_from_state_dict(state, prefix, notes, True, missing, unexpected, problems)
        unexpected += [key for key in state if key not in problems.expected and not problems.leaves_open(key)]
        result = IncompatibleKeys(missing, unexpected)
        hooks = [(hook, m) for m in self.modules() for hook in m._load_state_dict_post_hooks.values()]
        early = strict and bool(missing or unexpected)  # the hooks may take names off these lists
        for hook, module in hooks if early else ():
            hook(module, result)
        texts = list(problems)
        if strict and missing:
            texts.insert(0, f"Missing key(s) in state_dict: {_quoted(missing)}. ")
        if strict and unexpected:
            texts.insert(0, f"Unexpected key(s) in state_dict: {_quoted(unexpected)}. ")
        if texts:
            text = "\n\t".join(texts)
            raise RuntimeError(f"Error(s) in loading state_dict for {type(self).__name__}:\n\t{text}")
        for step in problems.plan:
            step()
        for hook, module in () if early else hooks:
            hook(module, result)
        return result

    def _load_from_state_dict(
        self,
        state_dict: Any,
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        """Load the state of this module alone; subclasses may extend it. What is wrong is added to the lists.

        Called from `load_state_dict`, it only checks and plans: values are written when nothing was wrong anywhere.
        """
        problems = error_msgs if isinstance(error_msgs, _Problems) else _Problems()
        for hook in list(self._load_state_dict_pre_hooks.values()):
            hook(state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs)
        if prefix in problems.silent:
            problems.silent.remove(prefix)
        assign = bool(local_metadata.get("assign_to_params_buffers", False))
        for name, tensor in self._own_state():
            key = prefix + name
            problems.expected.add(key)
            if key in state_dict:
                self._plan_load(name, tensor, key, state_dict[key], assign, problems.plan, problems)
            elif strict:
                missing_keys.append(key)
        if self._has_extra_state():
            key = prefix + "_extra_state"
            problems.expected.add(key)
            if key in state_dict:
                extra = state_dict[key]
                problems.plan.append(lambda: self.set_extra_state(extra))
            elif strict:
                missing_keys.append(key)
        if problems is not error_msgs:
            error_msgs += problems
            for step in problems.plan:
                step()

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
        if isinstance(tensor, UninitializedTensor) and not isinstance(value, UninitializedTensor):
            plan.append(lambda: tensor.materialize(array.shape))
        elif getattr(array, "shape", None) == (1,) and tensor.array.ndim == 0:
            array = array[0]
        if isinstance(value, UninitializedTensor):
            if not isinstance(tensor, UninitializedTensor):
                wrong.append(f"{key} is not initialized in the checkpoint: call the saved model once before saving it")
        elif not hasattr(array, "shape") or not hasattr(array, "dtype"):
            wrong.append(
                f'While copying the parameter named "{key}", expected a tensor or an array from the checkpoint but '
                f"received {type(value).__name__}"
            )
        elif tuple(array.shape) != tensor.array.shape and not isinstance(tensor, UninitializedTensor):
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

    def register_state_dict_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(module, prefix, keep_vars)` before this module's part of `state_dict`."""
        return register_hook(self._state_dict_pre_hooks, hook)

    def register_state_dict_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(module, state_dict, prefix, metadata)` after this module's and its children's `state_dict`."""
        return register_hook(self._state_dict_hooks, (hook, False))

    def _register_state_dict_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """As `register_state_dict_post_hook`; what the hook returns, if anything, replaces the dict."""
        return register_hook(self._state_dict_hooks, (hook, True))

    def register_load_state_dict_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(module, state_dict, prefix, metadata, strict, missing, unexpected, errors)` before loading."""
        return register_hook(self._load_state_dict_pre_hooks, _WithModule(hook, self))

    def _register_load_state_dict_pre_hook(
        self, hook: Callable[..., Any], with_module: bool = False
    ) -> RemovableHandle:
        """As `register_load_state_dict_pre_hook`; the hook is given the module only if `with_module`."""
        return register_hook(self._load_state_dict_pre_hooks, _WithModule(hook, self) if with_module else hook)

    def register_load_state_dict_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(module, incompatible_keys)` after loading."""
        return register_hook(self._load_state_dict_post_hooks, hook)

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
        CHANGES.now += 1
        self.__dict__.update(state)
        for registry in ("_parameters", "_buffers", "_modules", *HOOKS):  # hooks may be later than the saved module
            found = self.__dict__.get(registry, {})
            self.__dict__[registry] = found if type(found) is Registry else Registry(found)


def forget_gradient(parameter: Tensor, set_to_none: bool) -> None:
    """Drop a tensor's gradient, or fill it with zeros in place."""
    gradient = parameter._grad
    if gradient is None:
        return
    if set_to_none:
        parameter._grad = None
    else:
        gradient = gradient if gradient._node is None else make_tensor(gradient.array, None)
        gradient.array[...] = 0
        storage_of(gradient).note_write("zero_grad")
        parameter._grad = gradient


def _overwrite(tensor: Tensor, array: Any) -> None:
    np.copyto(tensor.array, array, casting="unsafe")
    storage_of(tensor).note_write("load_state_dict")


def _quoted(names: list[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _indented(text: str) -> str:
    return text.replace("\n", "\n  ")
