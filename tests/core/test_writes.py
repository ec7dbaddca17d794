"""Whatever writes to a tensor's memory is counted there, and raises where a recipe still needs the old values.

The writers are found by their names: methods and functions that end in an underscore, functions and modules with
`inplace`. Each is tried with many arguments; one that has changed the memory must have been counted. PyTorch's version
counter is the model.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.core.tensor import storage_of

F = cr.nn.functional
VALUES = np.array([[-0.7, 0.4], [0.2, 3.9]])
TYPES = (cr.float32, cr.int64, cr.bool, cr.complex64)
OPERATORS = "add sub mul truediv floordiv mod pow and or xor lshift rshift".split()


def of_type(dtype: Any) -> cr.Tensor:
    integers = {cr.int64: (VALUES * 10).astype(int), cr.bool: VALUES > 0.3}
    return cr.tensor(integers.get(dtype, VALUES), dtype=dtype)


def arguments() -> list[tuple[Any, ...]]:
    """Arguments that one writer or another takes after the tensor."""
    matrix, batch, vector = cr.tensor(VALUES + 1), cr.tensor(np.stack((VALUES, VALUES))), cr.tensor([5.0, 6.0])
    rows, table = cr.tensor([0, 1]), cr.tensor([[0, 1]])
    return [
        (),
        (0,),
        (0.5,),
        (0.3, 0.7),
        (2,),
        (0, 1),
        (0, 1, 0.5),
        (2, 2),
        (matrix,),
        (matrix, matrix),
        (matrix, 0.5),
        (matrix > 0, 0.5),
        (matrix > 0, matrix),
        (vector, vector),
        (batch, batch),
        (table,),
        (rows, vector),
        ((rows,), matrix),
        (0, rows, 0.5),
        (0, rows, matrix),
        (0, rows, matrix, "prod"),
        (0, table, matrix),
        (0, table, matrix, "sum"),
        (lambda value: value + 1,),
        (matrix, lambda value, other: value + other),
    ]


def takes_inplace(function: Any) -> bool:
    try:
        return "inplace" in inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False


def writers() -> dict[str, Callable[..., Any]]:
    found: dict[str, Callable[..., Any]] = {}
    for place, home in (("Tensor", cr.Tensor), ("chainrule", cr), ("nn.init", cr.nn.init), ("functional", F)):
        for name in dir(home):
            if name.endswith("_") and not name.startswith("_") and callable(getattr(home, name)):
                found[f"{place}.{name}"] = lambda x, *args, home=home, name=name: getattr(home, name)(x, *args)
    for name in OPERATORS:
        found[f"Tensor.__i{name}__"] = lambda x, *args, name=name: getattr(x, f"__i{name}__")(*args)
    for name in dir(F):
        if not name.startswith("_") and takes_inplace(getattr(F, name)):
            found[f"functional.{name}(inplace)"] = lambda x, *args, name=name: getattr(F, name)(x, *args, inplace=True)
    for name in dir(cr.nn):
        kind = getattr(cr.nn, name)
        if inspect.isclass(kind) and takes_inplace(kind):
            found[f"nn.{name}(inplace)"] = lambda x, *args, kind=kind: kind(*args, inplace=True)(x)
    return found


WRITERS = writers()
CHANGES_NOTHING_HERE = {
    "Tensor.detach_",
    "Tensor.requires_grad_",
    "chainrule.detach_",
    "nn.init.dirac_",  # takes a kernel of a convolution
    "Tensor.baddbmm_",  # takes batches
    "Tensor.nan_to_num_",
    "chainrule.nan_to_num_",
    *(f"Tensor.{name}_" for name in "addmv map2 resize resize_as set share_memory".split()),
    *(f"Tensor.{name}_" for name in "squeeze swapaxes swapdims t transpose unsqueeze".split()),
    *(f"chainrule.{name}_" for name in "resize_as squeeze unsqueeze t transpose swapaxes swapdims".split()),
    *(f"functional.dropout{n}d(inplace)" for n in (2, 3)),
    *(f"nn.Dropout{n}d(inplace)" for n in (2, 3)),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", sorted(WRITERS))
def test_what_writes_in_place_is_counted(name: str) -> None:
    changed = False
    for dtype in TYPES:
        for args in arguments():
            tensor = of_type(dtype)
            storage, array = storage_of(tensor), tensor.array
            before, count = array.tobytes(), storage.count
            try:
                with cr.no_grad():
                    WRITERS[name](tensor, *args)
            except Exception:  # other arguments are meant
                continue
            if array.tobytes() != before:
                changed = True
                assert storage.count > count, (name, dtype, args)
    assert changed or name in CHANGES_NOTHING_HERE, name


def write_zeros(tensor: Any) -> None:
    with cr.no_grad():
        tensor.zero_()


def exchange_after_write(tensor: Any) -> None:
    write_zeros(tensor)
    tensor.data = cr.tensor([7.0, 7.0])


def set_after_write(tensor: Any) -> None:
    write_zeros(tensor)
    tensor.requires_grad_(False)
    tensor.set_(cr.tensor([7.0, 7.0]))


def share_after_write(tensor: Any) -> None:
    write_zeros(tensor)
    tensor.share_memory_()


NAMESAKES: dict[str, Callable[[Any], None]] = {  # other ways to the same memory
    "Tensor(tensor)": lambda w: write_zeros(cr.Tensor(w)),
    "FloatTensor(tensor)": lambda w: write_zeros(cr.FloatTensor(w)),
    "Parameter(tensor)": lambda w: write_zeros(cr.nn.Parameter(w)),
    "as_tensor": lambda w: write_zeros(cr.as_tensor(w)),
    "detach": lambda w: write_zeros(w.detach()),
    "np.astype": lambda w: write_zeros(np.astype(w, np.float32, copy=False)),
    "to": lambda w: write_zeros(w.to(cr.float32)),
    "contiguous": lambda w: write_zeros(w.contiguous()),
    "reshape": lambda w: write_zeros(np.reshape(w, (2, 1))),
    "data, after a write": exchange_after_write,
    "set_, after a write": set_after_write,
    "share_memory_, after a write": share_after_write,
}


@pytest.mark.parametrize("way", sorted(NAMESAKES))
def test_a_write_through_another_name_of_a_saved_argument_raises_at_backward(way: str) -> None:
    weight = cr.tensor([1.0, 2.0], requires_grad=True)
    x = cr.tensor([3.0, 4.0], requires_grad=True)
    loss = (weight * x).sum()
    NAMESAKES[way](weight)
    with pytest.raises(RuntimeError, match="modified by an inplace operation: multiply saved argument 0"):
        loss.backward()
    assert x.grad is None


def test_a_saved_result_that_was_detached_in_place_is_watched_on() -> None:
    x = cr.tensor([1.0, 2.0], requires_grad=True)
    y = x.exp()
    loss = y.sum()
    y.detach_()
    y.mul_(2)
    with pytest.raises(RuntimeError, match="exp saved its result"):
        loss.backward()


def test_memory_that_is_only_exchanged_leaves_saved_values_alone() -> None:
    weight = cr.tensor([1.0, 2.0])
    x = cr.tensor([3.0, 4.0], requires_grad=True)
    loss = (weight * x).sum()
    weight.data = cr.tensor([7.0, 7.0])
    loss.backward()
    assert x.grad is not None
    assert x.grad.tolist() == [1.0, 2.0]


def test_data_of_a_leaf_that_requires_grad_stays_floating() -> None:
    x = cr.tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(RuntimeError, match="floating point or complex"):
        x.data = cr.tensor([1, 2])
    assert x.tolist() == [1.0, 2.0]


@pytest.mark.filterwarnings("ignore:.*was resized")
def test_an_out_tensor_of_another_shape_keeps_its_type() -> None:
    out = cr.zeros(3, 4, dtype=cr.float64)
    cr.add(cr.ones(2, dtype=cr.float64), 1e-12, out=out)
    assert out.dtype is cr.float64
    assert out.tolist() == [1 + 1e-12] * 2


def test_an_out_tensor_that_cannot_hold_the_result_stays_as_it_was() -> None:
    out = cr.zeros(2, dtype=cr.int64)
    with pytest.raises(RuntimeError, match="can't be cast"):
        cr.add(cr.ones(3), 1.5, out=out)
    assert out.shape == (2,)
