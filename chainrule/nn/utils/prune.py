"""Pruning: parts of a parameter are held at zero by a mask.

The parameter `name` becomes `name_orig`, which is trained; the buffer `name_mask` says what is kept; a hook computes
`name` as their product before each forward pass. A further pruning acts on what is still kept.
"""

from __future__ import annotations

import numbers
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar, TypeVar

import numpy as np

from ...core.tensor import Tensor, make_tensor
from ...random import numbers_of
from ..module import Module
from ..parameter import Parameter

__all__ = [
    "BasePruningMethod",
    "CustomFromMask",
    "Identity",
    "L1Unstructured",
    "LnStructured",
    "PruningContainer",
    "RandomStructured",
    "RandomUnstructured",
    "custom_from_mask",
    "global_unstructured",
    "identity",
    "is_pruned",
    "l1_unstructured",
    "ln_structured",
    "random_structured",
    "random_unstructured",
    "remove",
]

M = TypeVar("M", bound=Module)


class BasePruningMethod:
    """A way to prune: subclasses set `PRUNING_TYPE` and define `compute_mask(t, default_mask)`.

    Attributes:
        PRUNING_TYPE: "unstructured", the method sees the numbers still kept, as a vector; "structured", it sees the
            channels along `self.dim` that are still kept; or "global", it sees the whole tensor.
    """

    PRUNING_TYPE: ClassVar[str] = "unstructured"
    _tensor_name: str

    @property
    def derives(self) -> str:
        """The attribute that the hook sets before each forward pass, as the compiler has to know."""
        return self._tensor_name

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """The mask for the importance scores `t`, given the mask so far."""
        raise NotImplementedError(f"{type(self).__name__} does not define compute_mask(t, default_mask)")

    def _narrowed(self, t: Tensor, mask: Tensor) -> Tensor:
        """The mask after this method has pruned what `mask` keeps."""
        kind = self.PRUNING_TYPE
        if kind == "global":
            return make_tensor(self.compute_mask(t, mask).array * mask.array, None)
        if kind == "unstructured":
            seen: Any = mask.array == 1
        elif kind == "structured":
            axis = self.dim % t.ndim  # type: ignore[attr-defined]
            others = tuple(i for i in range(t.ndim) if i != axis)
            seen = (slice(None),) * axis + (np.any(mask.array != 0, axis=others),)
        else:
            raise ValueError(f"Unrecognized PRUNING_TYPE {kind}")
        part = make_tensor(np.ones_like(mask.array[seen]), None)
        result = mask.array.copy()
        result[seen] *= self.compute_mask(make_tensor(t.array[seen], None), part).array
        return make_tensor(result, None)

    def prune(self, t: Tensor, default_mask: Tensor | None = None, importance_scores: Tensor | None = None) -> Tensor:
        """The tensor, pruned; nothing is registered."""
        mask = make_tensor(np.ones_like(t.array), None) if default_mask is None else default_mask
        return t * self._narrowed(t if importance_scores is None else importance_scores, mask)

    def apply_mask(self, module: Module) -> Tensor:
        """The product of the original and the mask."""
        mask, original = getattr(module, self._tensor_name + "_mask"), getattr(module, self._tensor_name + "_orig")
        return mask.to(original.dtype) * original  # type: ignore[no-any-return]

    def __call__(self, module: Module, inputs: Any) -> None:
        setattr(module, self._tensor_name, self.apply_mask(module))

    @classmethod
    def apply(cls, module: Module, name: str, *args: Any, importance_scores: Any = None, **kwargs: Any) -> Any:
        """Prune a parameter of a module, or prune it further; returns the method.

        Args:
            module: the module.
            name: of its parameter.
            args: what the class takes.
            importance_scores: what decides, of the parameter's shape; the parameter itself if left out.
            kwargs: what the class takes.

        Raises:
            AssertionError: the scores have another shape.
        """
        method = cls(*args, **kwargs)
        method._tensor_name = name
        before = _hook_of(module, name)
        value = getattr(module, name)
        scores = value if importance_scores is None else importance_scores
        if scores.shape != value.shape:
            raise AssertionError(
                f"importance_scores should have the same shape as parameter {name} of {module}, got {scores.shape} "
                f"and {value.shape}"
            )
        old = make_tensor(np.ones_like(value.array), None) if before is None else getattr(module, name + "_mask")
        mask = method._narrowed(scores.detach(), old)
        if before is None:
            del module._parameters[name]
            module.register_parameter(name + "_orig", value)
            hook: BasePruningMethod = method
        else:
            earlier = module._forward_pre_hooks.pop(before)
            hook = earlier if isinstance(earlier, PruningContainer) else PruningContainer(earlier)
            hook.add_pruning_method(method)
        module.register_buffer(name + "_mask", mask)
        setattr(module, name, hook.apply_mask(module))
        module.register_forward_pre_hook(hook)
        return hook

    def remove(self, module: Module) -> None:
        """Make the pruned value the parameter again; does not take the hook away (see `prune.remove`)."""
        name = self._tensor_name
        weight = self.apply_mask(module).detach()
        original = module._parameters.pop(name + "_orig")
        assert original is not None
        delattr(module, name)
        del module._buffers[name + "_mask"]
        original.data = weight
        module.register_parameter(name, original if isinstance(original, Parameter) else Parameter(weight))


class PruningContainer(BasePruningMethod):
    """The methods by which one parameter was pruned, one after the other: the hook of one pruned more than once."""

    PRUNING_TYPE = "global"

    def __init__(self, *args: BasePruningMethod) -> None:
        self._pruning_methods: tuple[BasePruningMethod, ...] = ()
        for method in args:
            self.add_pruning_method(method)

    def add_pruning_method(self, method: BasePruningMethod) -> None:
        """Append a method.

        Raises:
            TypeError: it is none.
            ValueError: it acts on another parameter.
        """
        if not isinstance(method, BasePruningMethod):
            raise TypeError(f"{type(method)} is not a BasePruningMethod subclass")
        if not self._pruning_methods:
            self._tensor_name = method._tensor_name
        elif method._tensor_name != self._tensor_name:
            raise ValueError(
                f"Can only add pruning methods acting on the parameter named '{self._tensor_name}', found "
                f"'{method._tensor_name}'"
            )
        self._pruning_methods += (method,)

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """The mask after the last method has pruned what the mask so far keeps."""
        return self._pruning_methods[-1]._narrowed(t, default_mask)

    def __len__(self) -> int:
        return len(self._pruning_methods)

    def __iter__(self) -> Iterator[BasePruningMethod]:
        return iter(self._pruning_methods)

    def __getitem__(self, index: Any) -> Any:
        return self._pruning_methods[index]


def _hook_of(module: Module, name: str) -> int | None:
    """The number of the pruning hook for a parameter."""
    for number, hook in module._forward_pre_hooks.items():
        if isinstance(hook, BasePruningMethod) and hook._tensor_name == name:
            return int(number)
    return None


def _checked_amount(amount: Any) -> Any:
    if not isinstance(amount, numbers.Real):
        raise TypeError(f"Invalid type for amount: {amount}. Must be int or float.")
    whole = isinstance(amount, numbers.Integral)
    if float(amount) < 0 or (not whole and float(amount) > 1):
        raise ValueError(f"amount={amount} should either be a float in the range [0, 1] or a non-negative integer")
    return amount


def _count(amount: Any, size: int) -> int:
    """How many of `size` things are pruned."""
    if not isinstance(amount, numbers.Integral):
        return round(float(amount) * size)
    if int(amount) > size:
        raise ValueError(f"amount={amount} should be smaller than the number of parameters to prune={size}")
    return int(amount)


def _without(default_mask: Tensor, index: Any) -> Tensor:
    """The mask with zeros at an index."""
    mask = default_mask.array.copy()
    mask[index] = 0
    return make_tensor(mask, None)


def _flat_without(default_mask: Tensor, which: Any) -> Tensor:
    return _without(default_mask, np.unravel_index(which, default_mask.shape))


class Identity(BasePruningMethod):
    """Prunes nothing, but puts the mask in place."""

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """The mask so far."""
        return default_mask


class RandomUnstructured(BasePruningMethod):
    """Prunes numbers at random: `amount` of them, or that part if it is a float."""

    def __init__(self, amount: Any) -> None:
        self.amount = _checked_amount(amount)

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """The mask."""
        size = t.array.size
        return _flat_without(default_mask, numbers_of(None).permutation(size)[: _count(self.amount, size)])


class L1Unstructured(BasePruningMethod):
    """Prunes the numbers of the smallest absolute value: `amount` of them, or that part if it is a float."""

    def __init__(self, amount: Any) -> None:
        self.amount = _checked_amount(amount)

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """The mask."""
        order = np.argsort(np.abs(t.array), axis=None, kind="stable")
        return _flat_without(default_mask, order[: _count(self.amount, t.array.size)])


class _Structured(BasePruningMethod):
    PRUNING_TYPE = "structured"

    def __init__(self, amount: Any, dim: int = -1) -> None:
        self.amount = _checked_amount(amount)
        self.dim = dim

    def _channels(self, t: Tensor) -> tuple[int, int]:
        """The axis and its number of channels."""
        if t.ndim <= 1:
            raise ValueError(
                "Structured pruning can only be applied to multidimensional tensors. Found tensor of shape "
                f"{t.shape} with {t.ndim} dims"
            )
        if not -t.ndim <= self.dim < t.ndim:
            raise IndexError(f"Invalid index {self.dim} for tensor of size {t.shape}")
        axis = self.dim % t.ndim
        return axis, t.shape[axis]

    def _narrowed(self, t: Tensor, mask: Tensor) -> Tensor:
        self._channels(t)
        return super()._narrowed(t, mask)


class RandomStructured(_Structured):
    """Prunes channels along an axis at random: `amount` of them, or that part if it is a float."""

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """The mask."""
        axis, size = self._channels(t)
        chosen = numbers_of(None).permutation(size)[: _count(self.amount, size)]
        return _without(default_mask, (slice(None),) * axis + (chosen,))


class LnStructured(_Structured):
    """Prunes the channels along an axis that have the smallest n-norm."""

    def __init__(self, amount: Any, n: Any, dim: int = -1) -> None:
        super().__init__(amount, dim)
        self.n = n

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """The mask."""
        axis, size = self._channels(t)
        rows = np.moveaxis(t.array, axis, 0).reshape(size, -1)
        norms = np.linalg.norm(rows, 2 if self.n == "fro" else self.n, axis=1)
        chosen = np.argsort(norms, kind="stable")[: _count(self.amount, size)]
        return _without(default_mask, (slice(None),) * axis + (chosen,))


class CustomFromMask(BasePruningMethod):
    """Prunes by a mask that is given."""

    PRUNING_TYPE = "global"

    def __init__(self, mask: Tensor) -> None:
        self.mask = mask

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """Both masks together."""
        if self.mask.shape != default_mask.shape:
            raise AssertionError(f"mask should have shape {default_mask.shape}, got {self.mask.shape}")
        return make_tensor(default_mask.array * self.mask.array.astype(default_mask.array.dtype), None)


def identity(module: M, name: str) -> M:
    """Put a mask of ones in place."""
    Identity.apply(module, name)
    return module


def random_unstructured(module: M, name: str, amount: Any) -> M:
    """Prune numbers at random: `amount` of them, or that part if it is a float."""
    RandomUnstructured.apply(module, name, amount)
    return module


def l1_unstructured(module: M, name: str, amount: Any, importance_scores: Tensor | None = None) -> M:
    """Prune the numbers of the smallest absolute value: `amount` of them, or that part if it is a float.

    Raises:
        ValueError: more than there are, or a float outside [0, 1].

    >>> import chainrule as cr
    >>> layer = l1_unstructured(cr.nn.Linear(4, 5), "weight", 0.5)
    >>> int((layer.weight == 0).sum()), sorted(layer.state_dict())
    (10, ['bias', 'weight_mask', 'weight_orig'])
    """
    L1Unstructured.apply(module, name, amount, importance_scores=importance_scores)
    return module


def random_structured(module: M, name: str, amount: Any, dim: int) -> M:
    """Prune channels along an axis at random."""
    RandomStructured.apply(module, name, amount, dim)
    return module


def ln_structured(module: M, name: str, amount: Any, n: Any, dim: int, importance_scores: Tensor | None = None) -> M:
    """Prune the channels along an axis that have the smallest n-norm."""
    LnStructured.apply(module, name, amount, n, dim, importance_scores=importance_scores)
    return module


def custom_from_mask(module: M, name: str, mask: Tensor) -> M:
    """Prune by a mask: zeros where a number is pruned."""
    CustomFromMask.apply(module, name, mask)
    return module


def global_unstructured(
    parameters: Iterable[tuple[Module, str]],
    pruning_method: type[BasePruningMethod],
    importance_scores: dict[tuple[Module, str], Tensor] | None = None,
    **kwargs: Any,
) -> None:
    """Prune several parameters as if they were one.

    Args:
        parameters: (module, name) pairs.
        pruning_method: a class of type "unstructured".
        importance_scores: what decides, for some of the pairs.
        kwargs: what the class takes, such as `amount`.

    Raises:
        TypeError: the method is not unstructured.
    """
    pairs = list(parameters)
    method = pruning_method(**kwargs)
    if method.PRUNING_TYPE != "unstructured":
        raise TypeError(
            f'Only "unstructured" PRUNING_TYPE supported for the `pruning_method`. Found method {pruning_method} of '
            f"type {method.PRUNING_TYPE}"
        )
    given = importance_scores or {}
    values = [getattr(module, name) for module, name in pairs]
    scores = [given.get(pair, value).array.ravel() for pair, value in zip(pairs, values, strict=True)]
    masks = [
        np.ones(value.array.size) if _hook_of(module, name) is None else getattr(module, name + "_mask").array.ravel()
        for (module, name), value in zip(pairs, values, strict=True)
    ]
    mask = method._narrowed(make_tensor(np.concatenate(scores), None), make_tensor(np.concatenate(masks), None)).array
    start = 0
    for (module, name), value in zip(pairs, values, strict=True):
        size = value.array.size
        custom_from_mask(module, name, make_tensor(mask[start : start + size].reshape(value.shape), None))
        start += size


def remove(module: M, name: str) -> M:
    """Make the pruned value the parameter again, without mask and hook.

    Raises:
        ValueError: the parameter is not pruned.
    """
    number = _hook_of(module, name)
    if number is None:
        raise ValueError(f"Parameter '{name}' of module {module} has to be pruned before pruning can be removed")
    module._forward_pre_hooks.pop(number).remove(module)
    return module


def is_pruned(module: Module) -> bool:
    """Whether a module or one below it is pruned."""
    return any(
        isinstance(hook, BasePruningMethod) for each in module.modules() for hook in each._forward_pre_hooks.values()
    )
