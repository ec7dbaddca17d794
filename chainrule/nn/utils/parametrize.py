"""Parametrizations: a parameter or buffer computed by modules from others, every time it is read.

`register_parametrization(layer, "weight", module)` makes `layer.weight` the result of `module(original)`; the original
is `layer.parametrizations.weight.original`, and is what optimisers see. Assigning to `layer.weight` calls
`module.right_inverse`, where there is one.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from ...core.grad_mode import no_grad
from ...core.tensor import Tensor
from ..containers import ModuleDict, ModuleList
from ..module import Module
from ..parameter import Parameter

__all__ = [
    "ParametrizationList",
    "cached",
    "is_parametrized",
    "register_parametrization",
    "remove_parametrizations",
    "transfer_parametrizations_and_params",
    "type_before_parametrizations",
]

M = TypeVar("M", bound=Module)
_cache: dict[tuple[int, str], Tensor] = {}
_caching = 0


@contextlib.contextmanager
def cached() -> Iterator[None]:
    """Inside, every parametrized tensor is computed once."""
    global _caching
    _caching += 1
    try:
        yield
    finally:
        _caching -= 1
        if not _caching:
            _cache.clear()


def _register(module: Module, name: str, value: Tensor) -> None:
    if isinstance(value, Parameter):
        module.register_parameter(name, value)
    else:
        module.register_buffer(name, value)


def _set(target: Tensor, value: Tensor) -> None:
    """Give a tensor other numbers, in place where it keeps its shape."""
    if target.shape == value.shape:
        with no_grad():
            target.copy_(value)
    else:
        target.data = value.detach()


class ParametrizationList(ModuleList):
    """The chain of modules that computes one tensor, and the tensors that it is computed from.

    Attributes:
        original: what the chain starts from; original0, original1, ... where the first module takes several tensors.
    """

    def __init__(self, modules: Sequence[Module], original: Tensor, unsafe: bool = False) -> None:
        if not modules:
            raise ValueError("ParametrizationList requires one or more modules.")
        super().__init__(modules)
        self.unsafe = unsafe
        shape, dtype = original.shape, original.dtype
        new: Any = original
        with no_grad():
            for module in reversed(self):
                if hasattr(module, "right_inverse"):
                    with contextlib.suppress(NotImplementedError):
                        new = module.right_inverse(new)
        if not isinstance(new, Tensor) and not isinstance(new, Sequence):
            raise ValueError(
                "'right_inverse' must return a Tensor or a Sequence of tensors (list, tuple...). "
                f"Got {type(new).__name__}"
            )
        self.is_tensor = isinstance(new, Tensor)
        self.ntensors = 1 if self.is_tensor else len(new)
        if isinstance(new, Tensor):
            if original.dtype != new.dtype:
                raise ValueError(
                    "When `right_inverse` outputs one tensor, it may not change the dtype.\n"
                    f"original.dtype: {original.dtype}\nright_inverse(original).dtype: {new.dtype}"
                )
            with no_grad():
                _set(original, new)
            _register(self, "original", original)
        else:
            for i, value in enumerate(new):
                if not isinstance(value, Tensor):
                    raise ValueError(
                        f"'right_inverse' must return a Tensor or a Sequence of tensors, got {type(value).__name__} "
                        f"at position {i}"
                    )
                value = value.detach().clone()
                if isinstance(original, Parameter):
                    value = Parameter(value, original.requires_grad)
                _register(self, f"original{i}", value)
        if not unsafe:
            result = self()
            if not isinstance(result, Tensor):
                raise ValueError(f"A parametrization must return a tensor. Got {type(result).__name__}.")
            if result.dtype != dtype:
                raise ValueError(
                    "Registering a parametrization may not change the dtype of the tensor, unless `unsafe` flag is "
                    f"enabled.\nunparametrized dtype: {dtype}\nparametrized dtype: {result.dtype}"
                )
            if result.shape != shape:
                raise ValueError(
                    "Registering a parametrization may not change the shape of the tensor, unless `unsafe` flag is "
                    f"enabled.\nunparametrized shape: {shape}\nparametrized shape: {result.shape}"
                )

    def originals(self) -> list[Tensor]:
        """What the chain starts from."""
        return [self.original] if self.is_tensor else [getattr(self, f"original{i}") for i in range(self.ntensors)]

    def right_inverse(self, value: Tensor) -> None:
        """Change the originals so that the chain gives `value`.

        Raises:
            RuntimeError: a module of the chain has no `right_inverse`.
        """
        with no_grad():
            new: Any = value
            for module in reversed(self):
                if not hasattr(module, "right_inverse"):
                    raise RuntimeError(
                        f"parametrization {type(module).__name__} does not implement right_inverse: the tensor cannot "
                        "be assigned to"
                    )
                new = module.right_inverse(new)
            values = [new] if isinstance(new, Tensor) else list(new)
            if len(values) != self.ntensors:
                raise ValueError(f"'right_inverse' must return {self.ntensors} tensors. Got {len(values)}.")
            for original, changed in zip(self.originals(), values, strict=True):
                if original.dtype != changed.dtype:
                    raise ValueError(
                        f"right_inverse gave a tensor of dtype {changed.dtype} for an original of dtype "
                        f"{original.dtype}"
                    )
                _set(original, changed)

    def forward(self) -> Tensor:
        """The tensor."""
        x = self[0](*self.originals())
        for i in range(1, len(self)):
            x = self[i](x)
        return x  # type: ignore[no-any-return]


def _no_state(self: Module) -> Any:
    raise RuntimeError(
        "Serialization of parametrized modules is only supported through state_dict(): save and load that, or remove "
        "the parametrizations first"
    )


def _deep_copy(self: Module, memo: dict[int, Any]) -> Module:
    if id(self) in memo:
        return memo[id(self)]  # type: ignore[no-any-return]
    new = type(self).__new__(type(self))
    memo[id(self)] = new
    new.__dict__.update(copy.deepcopy(self.__dict__, memo))
    return new


def _new_class(module: Module) -> None:
    """Give a module a class of its own, in which properties can be put."""
    old = type(module)
    space: dict[str, Any] = {"__getstate__": _no_state}
    if not hasattr(old, "__deepcopy__"):
        space["__deepcopy__"] = _deep_copy
    module.__class__ = type(f"Parametrized{old.__name__}", (old,), space)


def _property_for(name: str) -> property:
    def read(self: Module) -> Any:
        chain = self.parametrizations[name]
        if not _caching:
            return chain()
        key = (id(self), name)
        if key not in _cache:
            _cache[key] = chain()
        return _cache[key]

    def write(self: Module, value: Tensor) -> None:
        self.parametrizations[name].right_inverse(value)

    return property(read, write)


def register_parametrization(module: M, tensor_name: str, parametrization: Module, *, unsafe: bool = False) -> M:
    """Have a module's tensor computed by `parametrization`, after those that were registered before.

    Args:
        module: the module.
        tensor_name: its parameter or buffer.
        parametrization: called on the original tensor; its `right_inverse`, if any, says from which original the
            present value comes.
        unsafe: allow another shape or dtype, and make no trial run.

    Raises:
        ValueError: there is no such tensor, or the result has another shape or dtype.

    >>> import chainrule as cr
    >>> class Symmetric(cr.nn.Module):
    ...     def forward(self, x):
    ...         return x + x.T
    >>> layer = register_parametrization(cr.nn.Linear(3, 3), "weight", Symmetric())
    >>> bool((layer.weight == layer.weight.T).all())
    True
    """
    parametrization.train(module.training)
    if is_parametrized(module, tensor_name):
        chain = module.parametrizations[tensor_name]
        if not unsafe:
            before = getattr(module, tensor_name)
            after = parametrization(before)
            for what in ("shape", "dtype"):
                if getattr(after, what) != getattr(before, what):
                    raise ValueError(
                        f"Registering a parametrization may not change the {what} of the tensor, unless the `unsafe` "
                        f"flag is enabled: {getattr(before, what)} would become {getattr(after, what)}"
                    )
            if hasattr(parametrization, "right_inverse"):
                with contextlib.suppress(NotImplementedError):
                    back = parametrization.right_inverse(after)
                    if not isinstance(back, Tensor) or back.shape != before.shape:
                        raise ValueError("The result of right_inverse must be a tensor of the original's shape")
        chain.append(parametrization)
        chain.unsafe |= unsafe
    elif tensor_name in module._buffers or tensor_name in module._parameters:
        original = getattr(module, tensor_name)
        chain = ParametrizationList([parametrization], original, unsafe=unsafe)
        delattr(module, tensor_name)
        if not is_parametrized(module):
            _new_class(module)
            module.parametrizations = ModuleDict()
        setattr(type(module), tensor_name, _property_for(tensor_name))
        module.parametrizations[tensor_name] = chain
    else:
        raise ValueError(
            f"Module '{module}' does not have a parameter, a buffer, or a parametrized element with name "
            f"'{tensor_name}'"
        )
    return module


def is_parametrized(module: Module, tensor_name: str | None = None) -> bool:
    """Whether a module has parametrizations, or one for that tensor."""
    found = module.__dict__.get("_modules", {}).get("parametrizations")
    if not isinstance(found, ModuleDict):
        return False
    return len(found) > 0 if tensor_name is None else tensor_name in found


def remove_parametrizations(module: M, tensor_name: str, leave_parametrized: bool = True) -> M:
    """Make a tensor an ordinary one again: with its computed value, or, if not `leave_parametrized`, its original.

    Raises:
        ValueError: it is not parametrized, or is computed from several tensors and should keep its original.
    """
    if not is_parametrized(module, tensor_name):
        raise ValueError(f"Module {module} does not have a parametrization on {tensor_name}")
    chain = module.parametrizations[tensor_name]
    if chain.is_tensor:
        original = chain.original
        if leave_parametrized:
            with no_grad():
                value = getattr(module, tensor_name)
            _set(original, value)
    elif leave_parametrized:
        value = getattr(module, tensor_name).detach()
        original = Parameter(value) if isinstance(chain.originals()[0], Parameter) else value
    else:
        raise ValueError(
            "Cannot leave unparametrized (`leave_parametrized=False`) a tensor that is parametrized in terms of a "
            "sequence of tensors."
        )
    delattr(type(module), tensor_name)
    del module.parametrizations[tensor_name]
    if not len(module.parametrizations):
        del module.parametrizations
        module.__class__ = type(module).__bases__[0]
    _register(module, tensor_name, original)
    return module


def type_before_parametrizations(module: Module) -> type:
    """The class that a module had before it was parametrized."""
    return type(module).__bases__[0] if is_parametrized(module) else type(module)


def transfer_parametrizations_and_params(
    from_module: Module, to_module: Module, tensor_name: str | None = None
) -> Module:
    """Give a module the parametrizations, and the values, of another of its class.

    Raises:
        AssertionError: the first module is not parametrized.
    """
    if not is_parametrized(from_module):
        raise AssertionError("from_module must be parametrized")
    for name in [tensor_name] if tensor_name is not None else list(from_module.parametrizations):
        chain = from_module.parametrizations[name]
        if not hasattr(to_module, name):
            setattr(to_module, name, copy.deepcopy(getattr(from_module, name)))
        for step in chain:
            register_parametrization(to_module, name, copy.deepcopy(step), unsafe=chain.unsafe)
        for mine, theirs in zip(to_module.parametrizations[name].originals(), chain.originals(), strict=True):
            _set(mine, theirs)
    return to_module
