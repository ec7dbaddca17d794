"""Indexing, in-place writes through views, gather and scatter: values against NumPy, gradients against PyTorch."""

from __future__ import annotations

from typing import Any

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import chainrule as cr
from chainrule.core.backprop import grad
from chainrule.core.tensor import make_tensor

SEED = np.random.default_rng(7)


def leaf(array: Any) -> cr.Tensor:
    return make_tensor(np.array(array), None).requires_grad_()


# ----- reading ----------------------------------------------------------------------------------------------------


@st.composite
def shape_and_index(draw: Any, basic: bool) -> tuple[tuple[int, ...], Any]:
    shape = draw(arrays.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=4))
    if basic:
        return shape, draw(arrays.basic_indices(shape, allow_newaxis=True))
    items: list[Any] = []
    length = draw(st.integers(1, 3))
    first = draw(st.integers(0, len(shape) - 1))
    for axis, size in enumerate(shape):
        if axis < first:
            items.append(draw(st.one_of(st.slices(size), st.just(slice(None)))))
        elif axis == first or draw(st.booleans()):
            kind = draw(st.sampled_from(["list", "array", "tensor"]))
            places = draw(st.lists(st.integers(-size, size - 1), min_size=length, max_size=length))
            items.append({"list": list, "array": np.array, "tensor": cr.tensor}[kind](places))
        else:
            break
    return shape, tuple(items)


def as_numpy(index: Any) -> Any:
    if isinstance(index, tuple):
        return tuple(as_numpy(i) for i in index)
    return index.numpy() if isinstance(index, cr.Tensor) else index


@settings(deadline=None, max_examples=60)
@given(shape_and_index(basic=True))
def test_a_basic_index_gives_numpys_values_and_a_view(case: Any) -> None:
    shape, index = case
    array = np.arange(np.prod(shape), dtype=float).reshape(shape)
    x = cr.from_numpy(array)
    got = x[index]
    np.testing.assert_array_equal(got.numpy(), array[index])
    assert got.shape == np.shape(array[index])
    if got.array.size:
        got.zero_()
        assert not np.any(array[index])


@settings(deadline=None, max_examples=60)
@given(shape_and_index(basic=False))
def test_an_index_with_arrays_gives_numpys_values_and_a_copy(case: Any) -> None:
    shape, index = case
    array = np.arange(np.prod(shape), dtype=float).reshape(shape)
    x = cr.from_numpy(array)
    want = array[as_numpy(index)]
    got = x[index]
    np.testing.assert_array_equal(got.numpy(), want)
    got.zero_()
    np.testing.assert_array_equal(array, np.arange(np.prod(shape), dtype=float).reshape(shape))


@settings(deadline=None, max_examples=60)
@given(st.one_of(shape_and_index(basic=True), shape_and_index(basic=False)), st.integers(0, 2**31))
def test_the_gradient_of_an_index_is_the_finite_difference(case: Any, seed: int) -> None:
    shape, index = case
    rng = np.random.default_rng(seed)
    x = leaf(rng.standard_normal(shape))
    out = x[index]
    weights = rng.standard_normal(out.shape)
    out.backward(make_tensor(np.asarray(weights), None))
    direction = rng.standard_normal(shape)
    want = np.sum(weights * direction[as_numpy(index)])  # reading is linear
    np.testing.assert_allclose(np.sum(x.grad.numpy() * direction), want, atol=1e-10)


@settings(deadline=None, max_examples=60)
@given(st.one_of(shape_and_index(basic=True), shape_and_index(basic=False)), st.integers(0, 2**31))
def test_the_gradient_of_a_write_is_the_finite_difference(case: Any, seed: int) -> None:
    shape, index = case
    rng = np.random.default_rng(seed)
    x, v = leaf(rng.standard_normal(shape)), leaf(rng.standard_normal(np.empty(shape)[as_numpy(index)].shape))
    weights = rng.standard_normal(shape)

    def written(a: Any, b: Any) -> Any:
        a = np.array(a)
        a[as_numpy(index)] = b
        return a

    y = x * 1.0
    y[index] = v * 1.0
    np.testing.assert_array_equal(y.detach().numpy(), written(x.array, v.array))
    y.backward(make_tensor(weights, None))
    dx, dv = rng.standard_normal(shape), rng.standard_normal(v.shape)
    got = np.sum(x.grad.numpy() * dx) + (np.sum(v.grad.numpy() * dv) if v.array.size else 0)
    np.testing.assert_allclose(got, np.sum(weights * written(dx, dv)), atol=1e-10)


@settings(deadline=None, max_examples=30)
@given(arrays.arrays(bool, arrays.array_shapes(max_dims=3, max_side=4)))
def test_a_mask_selects_as_in_numpy_and_sends_gradients_back(mask: Any) -> None:
    x = leaf(np.arange(mask.size, dtype=float).reshape(mask.shape))
    out = x[cr.tensor(mask)]
    np.testing.assert_array_equal(out.detach().numpy(), x.array[mask])
    if out.array.size:
        out.backward()
        np.testing.assert_array_equal(x.grad.numpy(), mask)


def test_a_number_index_of_all_axes_is_a_view() -> None:
    x = cr.zeros(2, 2)
    x[1, 0].fill_(3.0)
    assert x.tolist() == [[0, 0], [3, 0]]


def test_numbers_among_arrays_are_taken_first_as_in_pytorch() -> None:
    torch = pytest.importorskip("torch")
    array = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    x, theirs = cr.from_numpy(array), torch.from_numpy(array)
    for index in [
        (0, slice(None), [1, 2]),
        (slice(None), [0, 1], slice(None), 0),
        (0, ..., [1, 2]),
        ([0, 1], slice(None), 1),
        (1, None, [0, 2]),
    ]:
        np.testing.assert_array_equal(x[index].numpy(), theirs[index].numpy())
    x[0, :, [1, 2]] = cr.zeros(3, 2, 5, dtype=cr.int64)
    assert not np.any(array[0, :, 1:3])


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.complex64, np.complex128, np.float16])
def test_rows_read_more_than_once_get_the_sum(kind: Any) -> None:
    for width in (1, 5, 100):
        table = leaf(np.ones((50, width), kind))
        index = SEED.integers(0, 50, (40, 20))
        seeds = SEED.integers(-3, 4, (40, 20, width)).astype(kind)
        table[cr.tensor(index)].backward(make_tensor(seeds, None))
        want = np.zeros((50, width), kind)
        np.add.at(want, index, seeds)
        np.testing.assert_array_equal(table.grad.numpy(), want)
        assert table.grad.array.dtype == kind


@pytest.mark.parametrize(
    ("index", "words"),
    [
        (5, ["5", "3"]),
        ((0, 7), ["7", "4"]),
        ((0, 0, 0), ["too many indices", "2"]),
        (np.array([True, False]), ["[2]", "[3, 4]", "mask"]),
        (np.array([9]), ["9", "3"]),
        (1.5, ["float"]),
        (np.array([0.5]), ["float64"]),
    ],
)
def test_a_wrong_index_raises_and_says_what_was_given(index: Any, words: list[str]) -> None:
    x = cr.zeros(3, 4)
    with pytest.raises(IndexError) as caught:
        x[index]
    for word in words:
        assert word in str(caught.value)
    with pytest.raises(IndexError):
        x[index] = 1.0


def test_an_index_array_changed_afterwards_does_not_change_the_gradient() -> None:
    x = leaf(np.arange(3.0))
    index = np.array([0, 1])
    y = x[index]
    index[:] = 2
    y.backward()
    assert x.grad.tolist() == [1, 1, 0]


# ----- writing: programs that PyTorch runs as well ------------------------------------------------------------------


def through_a_view(m: Any, x: Any) -> Any:
    y = x * 2
    v = y[0]
    v.mul_(x[1])
    return y * y


def base_then_view(m: Any, x: Any) -> Any:
    y = x * 2
    v = y[:, 1:]
    y[0] = x[1] * x[2]
    y.mul_(3)
    return v * v


def view_of_view(m: Any, x: Any) -> Any:
    y = x * 2
    v = y[1:][:, ::2]
    v.add_(x[:2, ::2] * x[:2, ::2])
    w = y.reshape(-1)[3:]
    w.mul_(2)
    return y * v.sum()


def into_an_untracked_base(m: Any, x: Any) -> Any:
    y = m.zeros(3, 3, dtype=m.float64)
    y[0] = x[0] * x[1]
    v = y[1]
    v[:] = x[2]
    y[2, 1] = x[0, 0]
    return y * y + v


def masked(m: Any, x: Any) -> Any:
    y = x * x
    y[x > 0] = 0
    y[x < -0.5] *= 3
    y.masked_fill_(x > 1, 2.0)
    return y * x


def by_arrays(m: Any, x: Any) -> Any:
    y = x * 1
    index = m.tensor([2, 0])
    y[index] += x[:2] * x[:2]
    y[:, index] = y[:, index] * 2
    y[index, index] = x[0, :2]
    return y * y


def overlapping(m: Any, x: Any) -> Any:
    y = x * 1
    y[1:] = y[:-1] * 2
    a, b = y[:2], y[1:]
    a.mul_(b)
    return b * y[0]


def chained(m: Any, x: Any) -> Any:
    y = x.clone()
    for i in range(3):
        y[i] = y[i - 1] * x[i]
        y[i] += 1
    return y


def transposed(m: Any, x: Any) -> Any:
    y = x * 1
    y.t()[0].mul_(2)
    y.permute(1, 0)[1:, 0] = x[0, 1:] * x[1, 1:]
    y.diagonal().mul_(x.diagonal())
    y.narrow(1, 1, 2).select(0, 2).neg_()
    return y * y


def squeezed(m: Any, x: Any) -> Any:
    y = x * 1
    v = y.unsqueeze(0).squeeze(0).view(9)
    v[2:5] = x.reshape(9)[:3]
    y.unsqueeze(-1).mul_(2)
    a, b, c = y.unbind(0)
    a.add_(b)
    p, q = y.split([1, 2], dim=1)
    q.mul_(c[0])
    return y + p


def overwritten(m: Any, x: Any) -> Any:
    y = x * 3
    y[0].zero_()
    y[1].fill_(2.0)
    y[2].copy_(x[0] * x[1])
    z = x * 1
    z.copy_(y)
    return z * y


def by_functions(m: Any, x: Any) -> Any:
    y = x * 1
    index = m.tensor([[0, 2, 1], [1, 1, 0]])
    y.scatter_(0, index[:1], x[:1] * 2)
    y.scatter_add_(1, index, x[1:] * x[1:])
    y.index_add_(0, m.tensor([0, 0]), x[:2])
    y.index_fill_(1, m.tensor([1]), 4.0)
    y.index_copy_(0, m.tensor([2]), x[:1])
    y.masked_scatter_(x > 0, x * 2)
    y.index_put_((m.tensor([0, 1]),), x[1], accumulate=True)
    return y * x


def unfolded(m: Any, x: Any) -> Any:
    y = x * 1
    y.unfold(1, 1, 1).mul_(2)
    w = y.unfold(1, 2, 1)
    y[0, 0] = x[1, 1]
    return w * w


def triangles(m: Any, x: Any) -> Any:
    y = x * x
    y.tril_()
    y[1:].triu_(1)
    return y * x


def detached(m: Any, x: Any) -> Any:
    y = x * 2
    y[0] = y.detach()[0]
    y[1] = y[1]
    return y * x


def reads_before_and_after(m: Any, x: Any) -> Any:
    y = x * 1
    v = y[0]
    before = v + 0
    v[0] = 5.0
    after = y.sum() + v.sum()
    y[:, 0] = x[:, 1]
    return before * after + v


def number_from_a_0d_view(m: Any, x: Any) -> Any:
    y = x.sum() * 1
    y[...] = x[0, 0] * 2
    z = m.zeros(2, dtype=m.float64)
    z[0] = x[0, 1] + 2 * x[1, 0]
    z[1] = y
    return z * y


PROGRAMS = [
    through_a_view, base_then_view, view_of_view, into_an_untracked_base, masked, by_arrays, overlapping, chained,
    transposed, squeezed, overwritten, by_functions, unfolded, triangles, detached, reads_before_and_after,
    number_from_a_0d_view,
]  # fmt: skip


def outcome(module: Any, make: Any, take: Any, program: Any, array: Any) -> Any:
    x = make(array.copy())
    try:
        out = program(module, x)
        seed = np.random.default_rng(3).standard_normal(tuple(out.shape))
        (first,) = take(out, x, make(seed), True)
        (second,) = take((first * first).sum(), x, None, False)
        return out.detach().numpy(), first.detach().numpy(), None if second is None else second.detach().numpy()
    except RuntimeError as error:
        return type(error)


@pytest.mark.parametrize("program", PROGRAMS, ids=[p.__name__ for p in PROGRAMS])
def test_writes_have_pytorchs_values_and_gradients(program: Any) -> None:
    torch = pytest.importorskip("torch")
    array = np.random.default_rng(11).standard_normal((3, 3))

    def theirs_take(out: Any, x: Any, seed: Any, create: bool) -> Any:
        return (
            torch.autograd.grad(out, x, seed, create_graph=create, allow_unused=True) if out.requires_grad else (None,)
        )

    def ours_take(out: Any, x: Any, seed: Any, create: bool) -> Any:
        return grad(out, x, seed, create_graph=create, allow_unused=True) if out.requires_grad else (None,)

    theirs = outcome(torch, lambda a: torch.tensor(a, requires_grad=True), theirs_take, program, array)
    ours = outcome(cr, leaf, ours_take, program, array)
    assert isinstance(theirs, type) == isinstance(ours, type), (ours, theirs)
    if isinstance(theirs, type):
        assert ours is theirs
        return
    for got, want in zip(ours, theirs, strict=True):
        if want is None or got is None:
            assert not np.any(got if want is None else want)
        else:
            np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-12)


STEPS = ["mul", "set", "row", "mask", "view", "refresh", "index", "zero", "transpose"]


@settings(deadline=None, max_examples=80)
@given(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=7))
def test_random_programs_of_writes_have_pytorchs_gradients(steps: Any) -> None:
    torch = pytest.importorskip("torch")

    def program(m: Any, x: Any) -> Any:
        y = x * 1
        views = [y, y[1], y[:, 1:]]
        for step, i, j in steps:
            v = views[j % len(views)]
            if step == "mul":
                v.mul_(x[i, j])
            elif step == "set":
                v[..., 0] = x[i, j] * x[j, i]
            elif step == "row":
                y[i] = y[j] * x[i]
            elif step == "mask":
                y[x > 0.3 * i] = x[j, i]
            elif step == "view":
                views.append(v[..., : max(1, v.shape[-1] - 1)])
            elif step == "refresh":
                v.add_(v.detach())
            elif step == "index":
                y[m.tensor([i, (i + 1) % 3])] += x[:2]
            elif step == "zero":
                views[-1][0].zero_()
            elif step == "transpose":
                y.t()[i].add_(x[:, j])
        out = y * x
        for v in views:
            out = out + (v * v).sum()
        return out

    array = np.random.default_rng(5).standard_normal((3, 3))
    theirs_x, ours_x = torch.tensor(array, requires_grad=True), leaf(array)
    theirs, ours = program(torch, theirs_x), program(cr, ours_x)
    np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), rtol=1e-9)
    try:
        theirs.sum().backward()
    except RuntimeError:  # something saved was written to
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            ours.sum().backward()
        return
    ours.sum().backward()
    np.testing.assert_allclose(ours_x.grad.numpy(), theirs_x.grad.numpy(), rtol=1e-9, atol=1e-12)


def test_a_view_made_before_its_base_was_tracked_follows_it() -> None:
    x = leaf(np.array([2.0, 3.0]))
    y = cr.zeros(2, dtype=cr.float64)
    v = y[1:]
    y[0] = x[0]
    v[:] = x[1] * x[1]
    (y * y).backward()
    assert v.requires_grad and x.grad.tolist() == [4, 108]


def test_writing_to_an_element_twice_gives_the_gradient_to_the_last_write() -> None:
    x, v = leaf(np.ones(3)), leaf(np.array([1.0, 2.0]))
    y = x * 1
    y[cr.tensor([1, 1])] = v
    y.backward()
    assert y.tolist() == [1, 2, 1]
    assert v.grad.tolist() == [0, 1]
    assert x.grad.tolist() == [1, 0, 1]


def test_a_write_casts_the_value_and_its_gradient() -> None:
    x = leaf(np.array([1.0, 2.0]))
    y = cr.zeros(2)
    y[0] = x[0] + 2 * x[1]
    assert y.dtype == cr.float32 and y.tolist() == [5, 0]
    y.backward()
    assert x.grad.tolist() == [1, 2] and x.grad.dtype == cr.float64


def test_a_value_that_does_not_fit_raises_with_both_shapes() -> None:
    for y in (cr.zeros(2, 3), cr.zeros(2, 3).requires_grad_() * 1):
        for index in (0, cr.tensor([0, 1])):
            with pytest.raises(RuntimeError, match=r"\[4\].*3\]"):
                y[index] = cr.ones(4)


def test_writing_to_what_a_recipe_saved_raises_at_backward() -> None:
    x, w = leaf(np.ones(3)), cr.ones(3, dtype=cr.float64)
    y = x * w
    w[0] = 5.0
    with pytest.raises(RuntimeError, match=r"modified by an inplace operation.*__setitem__"):
        y.backward()


def test_a_leaf_cannot_be_written_to() -> None:
    x = leaf(np.ones(3))
    with pytest.raises(RuntimeError, match="leaf"):
        x[0] = 1.0
    with pytest.raises(RuntimeError, match="leaf"):
        x[x > 0] = 1.0
    with cr.no_grad():
        x[0] = 7.0
    assert x.tolist() == [7, 1, 1] and x.is_leaf and x.requires_grad


def test_an_expanded_tensor_cannot_be_written_to() -> None:
    y = cr.zeros(3).expand(2, 3)
    with pytest.raises(RuntimeError, match="single memory location"):
        y[0] = 1.0


def test_a_view_that_became_a_leaf_stays_one_when_it_is_written_to() -> None:
    w = cr.zeros(2, 3).T.requires_grad_()
    with cr.no_grad():
        w -= 1.0
    assert w.requires_grad and w.is_leaf


def test_adding_to_a_view_in_place_records_one_write() -> None:
    x = leaf(np.ones(3))
    y = x * 2
    y[0] += 1
    assert y._version == 1


# ----- functions ---------------------------------------------------------------------------------------------------


def test_products_of_several_zeros_are_differentiated_exactly() -> None:
    x, s = leaf(np.array([2.0])), leaf(np.array([0.0, 3.0, 0.0, 5.0]))
    out = x.scatter_reduce(0, cr.tensor([0, 0, 0, 0]), s, "prod")
    (first,) = grad(out, s, create_graph=True)
    assert first.tolist() == [0, 0, 0, 0]
    (second,) = grad(first[0], s)
    assert second.tolist() == [0, 0, 30, 0]


@pytest.mark.parametrize("reduce", ["sum", "prod", "mean", "amax", "amin"])
@pytest.mark.parametrize("include_self", [True, False])
def test_scatter_reduce_has_pytorchs_values(reduce: str, include_self: bool) -> None:
    torch = pytest.importorskip("torch")
    x, s = SEED.standard_normal((3, 4)), SEED.standard_normal((2, 4))
    index = SEED.integers(0, 3, (2, 4))
    theirs = torch.tensor(x).scatter_reduce(0, torch.tensor(index), torch.tensor(s), reduce, include_self=include_self)
    ours = cr.from_numpy(x).scatter_reduce(0, cr.tensor(index), cr.from_numpy(s), reduce, include_self=include_self)
    np.testing.assert_allclose(ours.numpy(), theirs.numpy())


def test_where_broadcasts_promotes_and_with_one_argument_is_nonzero() -> None:
    x = cr.tensor([[1.0, -1.0]], requires_grad=True)
    out = cr.where(cr.tensor([[True], [False]]), x, 2)
    assert out.shape == (2, 2) and out.dtype == cr.float32
    out.backward()
    assert x.grad.tolist() == [[1, 1]]
    rows, columns = cr.where(cr.tensor([[0, 1], [1, 0]]))
    assert rows.tolist() == [0, 1] and columns.tolist() == [1, 0]
    with pytest.raises(RuntimeError, match="broadcast"):
        cr.where(cr.tensor([True, False]), cr.zeros(3), 0.0)


def test_out_of_range_places_raise() -> None:
    x = cr.zeros(3, 2)
    with pytest.raises(RuntimeError, match=r"index 4.*size 3"):
        x.gather(0, cr.tensor([[4]]))
    with pytest.raises(IndexError, match=r"index 3.*size 3"):
        x.index_select(0, cr.tensor([3]))
    with pytest.raises(RuntimeError, match="int32/int64"):
        x.gather(0, cr.tensor([[1.0]]))


NUMPY_CALLS = [
    lambda x: np.take(x, [2, 0]),
    lambda x: np.take(x, np.array([[1, 0]]), axis=1),
    lambda x: np.take(x, [5, -7], mode="wrap"),
    lambda x: np.take_along_axis(x, np.array([[0], [1], [1]]), axis=1),
    lambda x: np.take_along_axis(x, np.array([3, 1]), axis=None),
    lambda x: np.where(np.arange(4) > 1, x, 0.5),
    lambda x: np.choose(np.array([0, 1, 0, 1]), [x, x * 2]),
    lambda x: np.select([np.arange(4) < 1, np.arange(4) < 3], [x, x * 3], 7.0),
    lambda x: np.extract(np.arange(12).reshape(3, 4) % 3 == 0, x),
    lambda x: np.compress([True, False, True], x, axis=0),
    lambda x: np.delete(x, 1, axis=1),
    lambda x: np.delete(x, [0, 2], axis=0),
    lambda x: np.insert(x, 1, 5.0, axis=1),
    lambda x: np.insert(x, 2, x[0], axis=0),
    lambda x: np.insert(x, [0, 2], 9.0),
]


@pytest.mark.parametrize("call", NUMPY_CALLS)
def test_numpys_functions_give_numpys_values_on_tensors(call: Any) -> None:
    array = SEED.standard_normal((3, 4))
    x = leaf(array)
    out = call(x)
    assert isinstance(out, cr.Tensor) and out.requires_grad
    np.testing.assert_allclose(out.detach().numpy(), call(array))
    out.backward()


def test_numpys_index_functions_give_tensors() -> None:
    x = cr.tensor([[0.0, 2.0], [3.0, 0.0]], requires_grad=True)
    assert np.argwhere(x).tolist() == [[0, 1], [1, 0]]
    assert [i.tolist() for i in np.nonzero(x)] == [[0, 1], [1, 0]]
    assert np.flatnonzero(x).tolist() == [1, 2]
    assert [i.tolist() for i in np.unravel_index(cr.tensor([3]), (2, 2))] == [[1], [1]]


@pytest.mark.parametrize("create_graph", [False, True])
def test_places_that_are_selected_twice_add_up_also_when_the_way_back_is_recorded(create_graph: bool) -> None:
    x = cr.zeros(2, 4, dtype=cr.float64, requires_grad=True)
    for selected in (x.index_select(1, cr.tensor([1, 1, 3])), x[:, cr.tensor([1, 1, 3])]):
        weights = cr.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], dtype=cr.float64)
        (gradient,) = cr.autograd.grad(selected, [x], [weights], create_graph=create_graph)
        assert gradient.tolist() == [[0, 3, 0, 3], [0, 9, 0, 6]]


NOT_FITTING: dict[str, Any] = {  # PyTorch refuses each
    "gather, a number": lambda x: x.gather(0, cr.tensor(0)),
    "scatter, a number": lambda x: x.scatter(0, cr.tensor(0), x),
    "scatter, no axes to take from": lambda x: x.scatter(0, cr.tensor([[0, 1]]), cr.tensor(1.0)),
    "scatter_add, no axes to take from": lambda x: x.scatter_add(0, cr.tensor([[0, 1]]), cr.tensor(1.0)),
    "scatter, another type": lambda x: x[0].scatter(0, cr.tensor(0), cr.tensor(1j)),
    "index_add, fewer axes": lambda x: x.index_add(0, cr.tensor([0]), x[0]),
    "index_add, a number": lambda x: x[0].index_add(0, cr.tensor([0]), cr.tensor(1.0)),
    "index_copy, fewer axes": lambda x: x.index_copy(0, cr.tensor([0]), x[0]),
    "index_fill, a matrix of places": lambda x: x.index_fill(0, cr.tensor([[0, 1]]), 1.0),
    "put_, complex into real": lambda x: x.put_(cr.tensor([0]), cr.tensor([1j])),
}


@pytest.mark.parametrize("name", sorted(NOT_FITTING))
def test_shapes_and_types_that_do_not_fit_are_refused_and_nothing_is_written(name: str) -> None:
    x = cr.zeros(3, 4)
    with pytest.raises(RuntimeError):
        NOT_FITTING[name](x)
    assert not x.any()


def test_scatter_takes_a_number_in_a_tensor_as_its_value() -> None:
    number = cr.tensor(2.0, requires_grad=True)
    result = cr.ones(2, 2).scatter(0, cr.tensor([[0, 1]]), value=number)
    assert result.tolist() == [[2.0, 1.0], [1.0, 2.0]]
    result.sum().backward()
    assert number.grad is not None
    assert number.grad.item() == 2.0


@pytest.mark.parametrize("shape", [(1, 1), (2, 1), (1, 3)])
def test_an_index_of_one_element_keeps_its_axis_in_second_derivatives(shape: tuple[int, int]) -> None:
    x = leaf(np.arange(1.0, 1 + np.prod(shape)).reshape(shape))
    (gradient,) = grad((x.index_select(0, cr.tensor([0])) ** 3).sum(), [x], create_graph=True)
    (second,) = grad(gradient.sum(), [x])
    expected = np.zeros(shape)
    expected[0] = 6 * x.array[0]
    np.testing.assert_allclose(second.numpy(), expected)
