"""Modules as functions: a call with other parameters, ensembles of modules as stacked parameters."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..core.grad_mode import no_grad
from ..core.tensor import Tensor, make_tensor
from ..nn.module import Module

__all__ = ["functional_call", "replace_all_batch_norm_modules_", "stack_module_state"]


def functional_call(
    module: Module,
    parameter_and_buffer_dicts: Any,
    args: Any = None,
    kwargs: dict[str, Any] | None = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:
    """`module(*args, **kwargs)` with other parameters and buffers; the module is left as it was.

    Args:
        parameter_and_buffer_dicts: name -> tensor, as in `state_dict()`, or several such dicts. What the module writes
            to a buffer in the call is found there afterwards.
        args: a tuple of arguments, or the one argument.
        tie_weights: let names that share a tensor in the module share the given one.
        strict: refuse missing names, too.

    Raises:
        RuntimeError: a name that the module does not have; with `strict`, one that is missing.
        ValueError: a name in two of the dicts, or tied names with different tensors.

    >>> import chainrule as cr
    >>> layer = cr.nn.Linear(2, 1)
    >>> functional_call(layer, {"weight": cr.ones(1, 2), "bias": cr.zeros(1)}, cr.tensor([3.0, 4.0])).item()
    7.0
    """
    if isinstance(parameter_and_buffer_dicts, dict):
        given = parameter_and_buffer_dicts
        homes = {name: given for name in given}
    else:
        if not isinstance(parameter_and_buffer_dicts, Sequence) or not all(
            isinstance(part, dict) for part in parameter_and_buffer_dicts
        ):
            raise ValueError(
                "functional_call: expected a dict of names and tensors, or a tuple of such dicts, got "
                f"{type(parameter_and_buffer_dicts).__name__}"
            )
        homes = {}
        for part in parameter_and_buffer_dicts:
            repeated = sorted(set(part) & set(homes))
            if repeated:
                raise ValueError(f"functional_call: {', '.join(repeated)} appear in more than one of the dicts")
            homes.update(dict.fromkeys(part, part))
        given = {name: home[name] for name, home in homes.items()}
    places = places_of(module)
    unexpected = sorted(set(given) - set(places))
    tied = {name: names for names in ties_of(places) for name in names} if tie_weights else {}
    missing = sorted(n for n in places if n not in given and not set(tied.get(n, ())) & set(given)) if strict else []
    if unexpected or missing:
        parts = [f"{what} key(s): {', '.join(names)}" for what, names in
                 (("Missing", missing), ("Unexpected", unexpected)) if names]  # fmt: skip
        raise RuntimeError(f"functional_call of {type(module).__name__}: {'; '.join(parts)}")
    values = dict(given)
    for name, tensor in given.items():
        for other in tied.get(name, ()):
            if values.setdefault(other, tensor) is not tensor:
                raise ValueError(
                    f"functional_call: {name} and {other} are one tensor in the module, but different ones were given: "
                    "give one of them, or tie_weights=False"
                )
    arguments = () if args is None else args if isinstance(args, tuple) else (args,)
    with replaced(places, values):
        try:
            return module(*arguments, **(kwargs or {}))
        finally:
            for name, home in homes.items():
                holder, key = places[name]
                home[name] = holder[key]


def places_of(module: Module) -> dict[str, tuple[dict[str, Any], str]]:
    """Where each parameter and buffer is kept: name -> (dict, key)."""
    places = {}
    for path, part in module.named_modules(remove_duplicate=False):
        for holder in (part._parameters, part._buffers):
            for key, tensor in holder.items():
                if tensor is not None:
                    places[f"{path}.{key}" if path else key] = (holder, key)
    return places


def ties_of(places: dict[str, tuple[dict[str, Any], str]]) -> list[list[str]]:
    """The names that share a tensor, where several do."""
    by_tensor: dict[int, list[str]] = {}
    for name, (holder, key) in places.items():
        by_tensor.setdefault(id(holder[key]), []).append(name)
    return [names for names in by_tensor.values() if len(names) > 1]


@contextlib.contextmanager
def replaced(places: dict[str, tuple[dict[str, Any], str]], values: dict[str, Any]) -> Iterator[None]:
    """Other tensors in the module's places, for the length of the block."""
    before = {name: places[name][0][places[name][1]] for name in values}
    try:
        for name, value in values.items():
            holder, key = places[name]
            holder[key] = value
        yield
    finally:
        for name, value in before.items():
            holder, key = places[name]
            holder[key] = value


def stack_module_state(models: Sequence[Module]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The parameters and the buffers of modules of one kind, each stacked along a new first axis: an ensemble.

    Raises:
        RuntimeError: no models, of different classes, or some in training and some not.

    >>> import chainrule as cr
    >>> parameters, buffers = stack_module_state([cr.nn.Linear(3, 2) for _ in range(5)])
    >>> parameters["weight"].shape, buffers
    ((5, 2, 3), {})
    """
    models = list(models)
    if not models:
        raise RuntimeError("stack_module_state: Expected at least one model, got 0.")
    if len({model.training for model in models}) > 1:
        raise RuntimeError("stack_module_state: Expected all models to have the same training/eval mode.")
    if len({type(model) for model in models}) > 1:
        kinds = sorted({type(model).__name__ for model in models})
        raise RuntimeError(f"stack_module_state: Expected all models to be of the same class, got {', '.join(kinds)}.")
    result = []
    for members in ([dict(m.named_parameters()) for m in models], [dict(m.named_buffers()) for m in models]):
        stacked = {}
        for name, first in members[0].items():
            tensors = [m[name] for m in members]
            array = np.stack([t.detach().array for t in tensors])
            if len({t.requires_grad for t in tensors}) > 1:
                raise RuntimeError(f"Expected {name} of each model to have the same .requires_grad")
            stacked[name] = make_tensor(array, None).requires_grad_(first.requires_grad)
        result.append(stacked)
    return result[0], result[1]


def replace_all_batch_norm_modules_(root: Module) -> Module:
    """Make every batch norm below a module use each batch's own statistics only, in place; returns the module.

    Running statistics are one for all samples, which a vmap over batches could not update.
    """
    with no_grad():
        for part in root.modules():
            if type(part).__name__.startswith("BatchNorm") and hasattr(part, "track_running_stats"):
                part.running_mean = None
                part.running_var = None
                part.num_batches_tracked = None
                part.track_running_stats = False
    return root
