"""Shapes: values and errors against NumPy and PyTorch, views that are views."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.core.tensor import make_tensor


def leaf(*shape: int) -> cr.Tensor:
    return make_tensor(np.random.default_rng([*shape]).standard_normal(shape), None).requires_grad_()


VIEWS = {
    "reshape": lambda x: x.reshape(3, 4, 2),
    "view": lambda x: x.view(-1),
    "flatten": lambda x: x.flatten(1),
    "unflatten": lambda x: x.unflatten(2, (2, -1)),
    "permute": lambda x: x.permute(2, 0, 1),
    "transpose": lambda x: x.transpose(0, -1),
    "movedim": lambda x: x.movedim(0, 2),
    "squeeze": lambda x: x.unsqueeze(1).squeeze(),
    "T": lambda x: x[0].T,
    "mT": lambda x: x.mT,
    "diagonal": lambda x: x.diagonal(1, 1, 2),
    "narrow": lambda x: x.narrow(1, 1, 2),
    "select": lambda x: x.select(2, 1),
    "unfold": lambda x: x.unfold(2, 2, 2),
    "split": lambda x: x.split(2, 2)[1],
    "chunk": lambda x: x.chunk(2, 1)[0],
    "tensor_split": lambda x: x.tensor_split(3, 2)[1],
    "unbind": lambda x: x.unbind(1)[2],
    "expand": lambda x: x.expand(1, 2, 3, 4),
    "as_strided": lambda x: x.as_strided((2, 3), (1, 4), 5),
    "view as type": lambda x: x.view(x.dtype),
}


@pytest.mark.parametrize("name", VIEWS)
def test_a_view_shares_memory_and_gradients_go_through_writes_to_it(name: str) -> None:
    x = leaf(2, 3, 4)
    y = x * 1
    v = VIEWS[name](y)
    assert np.shares_memory(v.array, y.array)
    before = y.detach().clone().array
    v.mul_(2)
    changed = y.array != before
    assert changed.sum() == v.array.size
    y.backward()
    np.testing.assert_array_equal(x.grad.array, np.where(changed, 2.0, 1.0))
    w = VIEWS[name](y)
    y.mul_(3)
    np.testing.assert_array_equal(w.array, v.array)


COPIES = {
    "flip": lambda x: x.flip(0, 1),
    "roll": lambda x: x.roll(0),
    "rot90": lambda x: x.rot90(0),
    "repeat": lambda x: x.repeat(1, 1),
    "tile": lambda x: x.tile(1),
    "clone": lambda x: x.clone(),
    "tril": lambda x: x.tril(5),
    "cat": lambda x: cr.cat([x]),
    "stack": lambda x: cr.stack([x]),
    "diag": lambda x: x.diag(),
    "pad": lambda x: cr.ops.shape.pad(x, (0, 0)),
    "index_select": lambda x: x.index_select(0, cr.tensor([0])),
    "contiguous": lambda x: x.T.contiguous(),
}


@pytest.mark.parametrize("name", COPIES)
def test_what_pytorch_copies_is_a_copy(name: str) -> None:
    x = cr.zeros(3, 3)
    COPIES[name](x).add_(1)
    assert not np.any(x.array)


def test_reshape_of_memory_in_another_order_copies_and_view_refuses() -> None:
    x = cr.zeros(2, 3).T
    x.reshape(6).add_(1)
    assert not np.any(x.array)
    with pytest.raises(RuntimeError, match=r"view size.*\(3, 2\).*reshape"):
        x.view(6)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x: x.reshape(4, -1), "shape '[4, -1]' is invalid for input of size 6"),
        (lambda x: x.expand(2, 4), "must match the existing size (3)"),
        (lambda x: x.permute(0), "len(dims) = 1"),
        (lambda x: x.repeat(2), "can not be smaller"),
        (lambda x: x.split([1, 1], 1), "split_sizes=[1, 1]"),
        (lambda x: cr.cat([x, x[:, :2]]), "Expected shape (2, 3) but got (2, 2)"),
        (lambda x: cr.stack([x, x[0]]), "got [2, 3] at entry 0 and [3] at entry 1"),
        (lambda x: cr.cat([]), "non-empty"),
        (lambda x: x.unflatten(1, (2, 2)), "[2, 2]"),
        (lambda x: x.unfold(1, 4, 1), "is 3 but size is 4"),
        (lambda x: x[0].mT, "Got 1-D"),
        (lambda x: x.narrow(1, 2, 2), "exceeds dimension size (3)"),
        (lambda x: cr.broadcast_to(x, (3, 3)), "Tensor sizes: [2, 3]"),
        (lambda x: x.as_strided((3, 3), (3, 1)), "out of bounds"),
    ],
)
def test_shapes_that_do_not_fit_raise_and_are_named(call: Any, words: str) -> None:
    with pytest.raises(RuntimeError) as caught:
        call(cr.zeros(2, 3))
    assert words in str(caught.value)


def test_an_axis_out_of_range_raises_an_index_error() -> None:
    for call in (
        lambda x: x.transpose(0, 2),
        lambda x: x.unsqueeze(4),
        lambda x: cr.cat([x, x], 2),
        lambda x: x.flip(3),
    ):
        with pytest.raises(IndexError, match="out of range"):
            call(cr.zeros(2, 3))


NUMPY_CALLS = [
    lambda x: np.reshape(x, (4, 3)),
    lambda x: np.reshape(x, (4, 3), order="F"),
    lambda x: np.ravel(x),
    lambda x: np.transpose(x),
    lambda x: np.transpose(x, (1, 0)),
    lambda x: np.swapaxes(x, 0, 1),
    lambda x: np.moveaxis(np.expand_dims(x, 0), 0, -1),
    lambda x: np.rollaxis(np.expand_dims(x, 0), 2),
    lambda x: np.rollaxis(np.expand_dims(x, 0), 0, 3),
    lambda x: np.squeeze(np.expand_dims(x, 1), axis=1),
    lambda x: np.broadcast_to(x, (2, 3, 4)),
    lambda x: np.broadcast_arrays(x, np.zeros((2, 1, 4)))[0],
    lambda x: np.concatenate([x, x * 2], axis=1),
    lambda x: np.concatenate([x, np.ones((1, 4))]),
    lambda x: np.concatenate([x, x[0]], axis=None),
    lambda x: np.stack([x, x], axis=-1),
    lambda x: np.vstack([x, x[0]]),
    lambda x: np.hstack([x, x]),
    lambda x: np.dstack([x, x]),
    lambda x: np.column_stack([x, x[:, 0]]),
    lambda x: np.append(x, x),
    lambda x: np.split(x, 2, axis=1)[1],
    lambda x: np.array_split(x, 2)[0],
    lambda x: np.hsplit(x, [1])[1],
    lambda x: np.vsplit(x, 3)[2],
    lambda x: np.tile(x, 2),
    lambda x: np.tile(x, (2, 1, 1)),
    lambda x: np.repeat(x, 2),
    lambda x: np.repeat(x, [1, 0, 2], axis=0),
    lambda x: np.pad(x, 1),
    lambda x: np.pad(x, ((1, 2), (0, 1)), constant_values=3.0),
    lambda x: np.pad(x, 2, mode="reflect"),
    lambda x: np.pad(x, ((0, 2), (3, 1)), mode="edge"),
    lambda x: np.pad(x, 2, mode="wrap"),
    lambda x: np.flip(x),
    lambda x: np.flip(x, 1),
    lambda x: np.fliplr(x),
    lambda x: np.flipud(x),
    lambda x: np.roll(x, 2),
    lambda x: np.roll(x, (1, 2), axis=(0, 1)),
    lambda x: np.rot90(x),
    lambda x: np.rot90(x, 3),
    lambda x: np.rot90(x, 2),
    lambda x: np.diag(x),
    lambda x: np.diag(x[0], k=-1),
    lambda x: np.diagonal(x, 1),
    lambda x: np.trace(x, 1),
    lambda x: np.tril(x, -1),
    lambda x: np.triu(x),
    lambda x: np.atleast_3d(x),
    lambda x: np.atleast_2d(x[0]),
    lambda x: np.atleast_1d(x[0, 0]),
    lambda x: np.meshgrid(x[0], x[:, 0])[1],
    lambda x: np.copy(x),
    lambda x: np.lib.stride_tricks.sliding_window_view(x, (2, 2)),
    lambda x: np.matrix_transpose(x),
]


@pytest.mark.parametrize("call", NUMPY_CALLS)
def test_numpys_functions_give_numpys_values_and_a_gradient(call: Any) -> None:
    x = leaf(3, 4)
    out = call(x)
    assert isinstance(out, cr.Tensor)
    want = call(x.array)
    np.testing.assert_array_equal(out.detach().numpy(), want)
    weights = np.random.default_rng(1).standard_normal(np.shape(want))
    out.backward(make_tensor(np.asarray(weights), None))
    direction = np.random.default_rng(2).standard_normal((3, 4))
    change = (call(x.array + 1e-3 * direction) - call(x.array - 1e-3 * direction)) / 2e-3  # all are linear
    np.testing.assert_allclose(np.sum(x.grad.array * direction), np.sum(weights * change), atol=1e-9)


def test_numpys_questions_about_tensors_are_answered() -> None:
    x = leaf(2, 3)
    assert np.shape(x) == (2, 3) and np.ndim(x) == 2 and np.size(x) == 6 and np.size(x, 1) == 3
    for function in (np.zeros_like, np.ones_like, np.empty_like):
        assert isinstance(function(x), cr.Tensor) and function(x, dtype=np.float32).dtype == cr.float32
        assert function(x, shape=(4,)).shape == (4,)
    assert np.full_like(x, 2.0).tolist() == [[2.0] * 3] * 2


def test_size_is_numpys_number_and_pytorchs_method() -> None:
    x = cr.zeros(2, 3)
    assert x.size == 6 and x.size() == (2, 3) and x.size(-1) == 3
    assert (x.numel(), x.nelement(), x.dim(), x.stride(), x.stride(0), x.element_size()) == (6, 6, 2, (3, 1), 3, 4)


def test_to_returns_the_tensor_itself_where_nothing_changes() -> None:
    x = leaf(2)
    assert x.to("cpu") is x and x.to(cr.float64) is x and x.double() is x and x.cpu() is x and x.type_as(x) is x
    assert x.to(cr.float64, copy=True) is not x
    assert x.to("cpu", cr.float32).dtype == cr.float32 == x.to(cr.zeros(1)).dtype == x.float().dtype
    assert x.int().dtype == cr.int32 and not x.long().requires_grad and x.type() == "torch.DoubleTensor"
    with pytest.raises(RuntimeError, match=r"cpu.*cuda"):
        x.to("cuda")


def test_a_cast_sends_the_gradient_back_in_the_old_type() -> None:
    x = leaf(3)
    (x.float() * 2).half().backward()
    assert x.grad.dtype == cr.float64 and x.grad.tolist() == [2, 2, 2]


def test_zeroing_a_result_keeps_it_tracked_and_sends_zeros() -> None:
    x = leaf(3)
    y = x * 2
    y.zero_()
    assert y.requires_grad
    y.backward()
    assert x.grad.tolist() == [0, 0, 0]


def test_fill_sends_the_gradient_to_a_tensor_it_fills_with() -> None:
    x, v = leaf(2, 2), leaf()
    y = x * 1
    y.fill_(v)
    y.backward()
    assert v.grad.item() == 4 and x.grad.tolist() == [[0, 0], [0, 0]]


def test_copy_broadcasts_casts_and_differentiates() -> None:
    x = leaf(3)
    y = cr.zeros(2, 3)
    assert y.copy_(x) is y and y.dtype == cr.float32
    y.backward()
    assert x.grad.tolist() == [2, 2, 2]


def test_a_tensor_can_become_its_own_view() -> None:
    x = leaf(2, 3)
    y = x * 1
    assert y.t_().shape == (3, 2)
    y[0].mul_(5)
    y.unsqueeze_(0).squeeze_(0).backward()
    assert x.grad.tolist() == [[5, 1, 1], [5, 1, 1]]
    with pytest.raises(RuntimeError, match="leaf"):
        x.t_()
    z = cr.zeros(2, 3)
    z[0]
    with pytest.raises(RuntimeError, match="share"):
        z.t_()


@pytest.mark.parametrize("name", ["t_", "unsqueeze_", "squeeze_", "swapaxes_"])
def test_a_tensor_of_a_graph_stays_in_it_when_its_shape_changes_where_nothing_is_recorded(name: str) -> None:
    """The numbers are the same: a gradient that ended here would be wrong."""
    x = cr.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    y = x * 3
    with cr.no_grad():
        getattr(y, name)(*{"unsqueeze_": (1,), "swapaxes_": (0, 1)}.get(name, ()))
    assert y.requires_grad and not y.is_leaf
    y.backward(cr.tensor([[1.0, 2.0], [3.0, 4.0]]).reshape(y.shape))
    turned = name in ("t_", "swapaxes_")
    np.testing.assert_array_equal(x.grad.numpy(), [[3, 9], [6, 12]] if turned else [[3, 6], [9, 12]])


def test_joining_promotes_element_types() -> None:
    assert cr.cat([cr.tensor([1]), cr.tensor([2.0])]).dtype == cr.float32
    assert cr.stack([cr.zeros(1), cr.zeros(1, dtype=cr.float64)]).dtype == cr.float64
    x = cr.tensor([1.0], requires_grad=True)
    cr.cat([x, cr.zeros(1, dtype=cr.float64)]).backward()
    assert x.grad.dtype == cr.float32


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
def test_pad_equals_pytorchs(mode: str) -> None:
    torch = pytest.importorskip("torch")
    array = np.random.default_rng(0).standard_normal((1, 2, 4, 5))
    for widths in [(1, 2, 2, 1), (0, 3, 1, 0)] + ([(1, -2), (-1, 0, 2, 2)] if mode == "constant" else []):
        theirs_x = torch.tensor(array, requires_grad=True)
        theirs = torch.nn.functional.pad(theirs_x, widths, mode)
        x = make_tensor(array.copy(), None).requires_grad_()
        ours = cr.ops.shape.pad(x, widths, mode)
        np.testing.assert_array_equal(ours.detach().numpy(), theirs.detach().numpy())
        seed = np.random.default_rng(1).standard_normal(ours.shape)
        theirs.backward(torch.tensor(seed))
        ours.backward(make_tensor(seed, None))
        np.testing.assert_allclose(x.grad.numpy(), theirs_x.grad.numpy(), rtol=1e-12, atol=1e-12)


def test_the_notes_call_permute_with_axes() -> None:
    x = leaf(2, 3)
    out = cr.permute(x, axes=(-1, -2))
    assert out.shape == (3, 2) == x.T.shape == x.permute((1, 0)).shape == x.permute(dims=(1, 0)).shape
    (out * out).backward()
    np.testing.assert_allclose(x.grad.array, 2 * x.array)


def test_repeat_interleave_of_counts_is_an_index() -> None:
    assert cr.repeat_interleave(cr.tensor([1, 0, 2])).tolist() == [0, 2, 2]


def test_grids_and_combinations() -> None:
    a, b = cr.tensor([1, 2]), cr.tensor([3, 4, 5])
    assert [g.shape for g in cr.meshgrid(a, b)] == [(2, 3)] * 2
    assert [g.shape for g in cr.meshgrid([a, b], indexing="xy")] == [(3, 2)] * 2
    assert cr.cartesian_prod(a, b).tolist() == [[1, 3], [1, 4], [1, 5], [2, 3], [2, 4], [2, 5]]
    assert cr.combinations(b).tolist() == [[3, 4], [3, 5], [4, 5]]
    assert cr.block_diag(a, b.reshape(3, 1)).shape == (4, 3)


def test_sizes_are_given_by_place_or_by_pytorchs_names() -> None:
    x = cr.arange(6.0).reshape(2, 3)
    assert (
        x.reshape(shape=(3, 2)).shape == cr.reshape(input=x, shape=(3, 2)).shape == x.view(size=(3, 2)).shape == (3, 2)
    )
    assert x.expand(size=(4, 2, 3)).shape == (4, 2, 3) and x.repeat(repeats=(1, 2)).shape == (2, 6)
    assert x.tile(dims=(2,)).shape == (2, 6) and x.view(dtype=cr.int32).dtype == cr.int32
    assert x.permute(dims=(1, 0)).shape == cr.permute(x, dims=(1, 0)).shape == (3, 2)
    assert [part.shape for part in x.split(split_size=2, dim=1)] == [(2, 2), (2, 1)]


def test_sizes_that_are_given_twice_or_by_another_name_are_refused() -> None:
    x = cr.zeros(6)
    for wrong in (lambda: x.reshape(2, 3, shape=(6,)), lambda: x.view(size=(6,), dtype=cr.int32), lambda: x.view(a=6)):
        with pytest.raises(TypeError):
            wrong()
