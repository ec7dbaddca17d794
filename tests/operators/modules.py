"""How one layer or loss is held against PyTorch's: PyTorch's table of modules, on its own sample inputs.

Each sample builds the module in both libraries, copies the parameters over, and compares what it is printed as, its
results, their gradients at inputs and parameters, and the gradients of those.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

import numpy as np
import pytest

import chainrule

from . import comparison
from .comparison import array_of, check, ours, outcome, theirs

torch = pytest.importorskip("torch")
pytest.importorskip("expecttest")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from torch.testing._internal.common_modules import ModuleErrorEnum, module_db

TABLE: dict[str, Any] = {
    info.name.removeprefix("nn."): info
    for info in module_db
    if info.name.startswith("nn.")  # the others are quantised
}
SAMPLES = 40  # of a module's sample inputs, the first so many of each kind
RANDOM = {"Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout", "FeatureAlphaDropout", "RReLU"}


def modes(info: Any) -> tuple[bool, ...]:
    """Training or not, or both where it makes a difference."""
    return (True, False) if info.train_and_eval_differ else (True,)


def samples_of(info: Any, dtype: str, training: bool) -> Iterator[Any]:
    """The first of a module's sample inputs, the same in every run."""
    torch.default_generator.manual_seed(0)
    np.random.seed(0)
    found = info.module_inputs_func(
        info, device="cpu", dtype=getattr(torch, dtype), requires_grad=True, training=training
    )
    yield from list(found)[:SAMPLES]


def converted(value: Any, pairs: list[tuple[Any, Any]]) -> Any:
    """An argument for chainrule; as `ours`, and modules and packed sequences as well."""
    if isinstance(value, torch.nn.utils.rnn.PackedSequence):
        return chainrule.nn.utils.rnn.PackedSequence(*(converted(part, pairs) for part in value))
    if isinstance(value, (torch.nn.TransformerEncoderLayer, torch.nn.TransformerDecoderLayer)):
        return transformer_layer(value)
    if isinstance(value, (list, tuple)) and not hasattr(value, "_fields") and not isinstance(value, torch.Size):
        return type(value)(converted(item, pairs) for item in value)
    if callable(value) and hasattr(torch.nn.functional, getattr(value, "__name__", "")):
        return getattr(chainrule.nn.functional, value.__name__)
    return ours(value, pairs)


def transformer_layer(layer: Any) -> Any:
    """PyTorch's layer of a transformer, from what it says of itself."""
    own = getattr(chainrule.nn, type(layer).__name__)(
        layer.self_attn.embed_dim,
        layer.self_attn.num_heads,
        layer.linear1.out_features,
        layer.dropout.p,
        getattr(chainrule.nn.functional, layer.activation.__name__),
        layer.norm1.eps,
        layer.self_attn.batch_first,
        layer.norm_first,
        layer.linear1.bias is not None,
    ).to(ours(layer.linear1.weight.dtype, []))
    copy_parameters(layer, own)
    return own


def copy_parameters(module: Any, own: Any) -> None:
    """Give our module PyTorch's parameters and buffers."""
    assert list(own.state_dict()) == list(module.state_dict())
    own.load_state_dict({name: ours(value.detach(), []) for name, value in module.state_dict().items()})


def tensors_in(value: Any) -> list[Any]:
    """The tensors of a result, also of one in a dict."""
    return list(comparison.tensors_in(list(value.values()) if isinstance(value, dict) else value))


def is_random(name: str, module: Any, training: bool) -> bool:
    """Whether two calls give two results."""
    kinds = [type(part).__name__ for part in module.modules() if getattr(part, "p", 1)]
    dropout = any(getattr(part, "dropout", 0) not in (0, 0.0) for part in module.modules() if kinds)
    return name in RANDOM or (training and (dropout or not RANDOM.isdisjoint(kinds)))


def compare(info: Any, sample: Any, dtype: str, training: bool) -> None:
    """Compare one sample of a module.

    Raises:
        AssertionError: something differs.
    """
    name = info.name.removeprefix("nn.")
    given, options = sample.constructor_input.args, sample.constructor_input.kwargs
    module = info.module_cls(*given, **options).to(getattr(torch, dtype)).train(training)
    own = getattr(chainrule.nn, name)(
        *converted(list(given), []), **{key: converted(value, []) for key, value in options.items()}
    )
    own = own.to(getattr(chainrule, dtype)).train(training)
    if sample.forward_input is None:
        return
    pairs: list[tuple[Any, Any]] = []
    args, kwargs = sample.forward_input.args, sample.forward_input.kwargs
    own_args = [converted(value, pairs) for value in args]
    own_kwargs = {key: converted(value, pairs) for key, value in kwargs.items()}
    if info.is_lazy:
        module(*args, **kwargs)
        own(*own_args, **own_kwargs)
    copy_parameters(module, own)
    assert repr(own) == repr(module)
    random = is_random(name, module, training)
    leaves: dict[int, Any] = {}
    own_leaves: dict[int, list[Any]] = {}
    for given_by_both, mine in pairs:
        leaves.setdefault(id(given_by_both), given_by_both)
        own_leaves.setdefault(id(given_by_both), []).append(mine)
    if any(len(copies) > 1 for copies in own_leaves.values()):  # one leaf there, two here
        leaves, own_leaves = {}, {}
    stages = 1 if random else 3 if info.supports_gradgrad and dtype == "float64" else 2
    want = outcome(
        torch, lambda: tensors_in(module(*args, **kwargs)), [*leaves.values(), *module.parameters()], stages, True
    )
    got = outcome(
        chainrule,
        lambda: tensors_in(own(*own_args, **own_kwargs)),
        [*(copies[0] for copies in own_leaves.values()), *own.parameters()],
        len(want),
        False,
    )

    @functools.cache
    def exact() -> list[Any]:
        doubled: list[tuple[Any, Any]] = []
        inputs = [theirs(value, doubled, True) for value in args]
        named = {key: theirs(value, doubled, True) for key, value in kwargs.items()}
        copy = deepcopy(module).double()
        ends = [own for _, own in doubled] if leaves else []
        return outcome(torch, lambda: tensors_in(copy(*inputs, **named)), [*ends, *copy.parameters()], stages, True)

    for stage, wanted in enumerate(want):
        found = got[stage] if stage < len(got) else [None] * len(wanted)
        assert len(found) == len(wanted), f"{len(found)} results, PyTorch {len(wanted)}"
        for i, (g, w) in enumerate(zip(found, wanted, strict=True)):
            if random:
                assert (g.shape, g.dtype) == (w.shape, w.dtype)
            else:
                check(name, g, w, lambda stage=stage, i=i: exact()[stage][i], f"{comparison.STAGES[stage]} {i}")
    for buffer, mine in zip(module.buffers(), own.buffers(), strict=True):
        check(name, array_of(mine), array_of(buffer), lambda: None, "a buffer after the call")


def refusals(info: Any) -> Iterator[tuple[type[BaseException], Callable[[], Any]]]:
    """What PyTorch refuses of a module: the exception's type, and the call in chainrule."""
    if info.module_error_inputs_func is None:
        return
    for training in modes(info):
        found = info.module_error_inputs_func(
            info, device="cpu", dtype=torch.float32, requires_grad=False, training=training
        )
        for refused in found:
            yield refused.error_type, lambda refused=refused: refused_call(info, refused)


def refused_call(info: Any, refused: Any) -> None:
    """Make in chainrule the call that PyTorch refuses."""
    given, wanted = refused.module_error_input.constructor_input, refused.module_error_input.forward_input
    own = getattr(chainrule.nn, info.name.removeprefix("nn."))(
        *converted(list(given.args), []), **{key: converted(value, []) for key, value in given.kwargs.items()}
    )
    if refused.error_on == ModuleErrorEnum.FORWARD_ERROR:
        own(*converted(list(wanted.args), []), **{key: converted(value, []) for key, value in wanted.kwargs.items()})
