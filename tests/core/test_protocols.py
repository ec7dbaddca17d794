"""NumPy's protocols and DLPack: NumPy's own functions on tensors, and tensors as arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr

from ..duck import DuckArray


def leaf(array: Any) -> cr.Tensor:
    return cr.tensor(np.asarray(array), dtype=cr.float64, requires_grad=True)


A = np.array([[1.0, 2.0], [3.0, 5.0]])
B = np.array([[0.5, -1.0], [2.0, 1.5]])

CALLS = {
    "np.log(t)": lambda t: np.log(t),
    "np.sum(t, axis=0)": lambda t: np.sum(t, axis=0),
    "np.mean(t, axis=1, keepdims=True)": lambda t: np.mean(t, axis=1, keepdims=True),
    "np.concatenate([t, a])": lambda t: np.concatenate([t, B]),
    "np.concatenate([a, t], axis=1)": lambda t: np.concatenate([B, t], axis=1),
    "np.stack([t, t])": lambda t: np.stack([t, t]),
    "t @ a": lambda t: t @ B,
    "a @ t": lambda t: B @ t,
    "a + t": lambda t: B + t,
    "a * t": lambda t: B * t,
    "a - t": lambda t: B - t,
    "a / t": lambda t: B / t,
    "a ** t": lambda t: np.abs(B) ** t,
    "t ** 2": lambda t: t**2,
    "3 - t": lambda t: 3 - t,
    "np.linalg.solve(A, t)": lambda t: np.linalg.solve(B, t),
    "np.linalg.solve(t, a)": lambda t: np.linalg.solve(t, B),
    "np.linalg.inv(t)": lambda t: np.linalg.inv(t),
    "np.linalg.det(t)": lambda t: np.linalg.det(t),
    "np.linalg.norm(t)": lambda t: np.linalg.norm(t),
    "np.dot(t, a)": lambda t: np.dot(t, B),
    "np.outer": lambda t: np.outer(t, B),
    "np.einsum": lambda t: np.einsum("ij,kj->ik", t, B),
    "np.tensordot": lambda t: np.tensordot(t, B, axes=1),
    "np.where": lambda t: np.where(B > 0, t, B),
    "np.maximum": lambda t: np.maximum(t, B),
    "np.clip": lambda t: np.clip(t, 1.5, 4.0),
    "np.var": lambda t: np.var(t, axis=0),
    "np.std": lambda t: np.std(t),
    "np.prod": lambda t: np.prod(t, axis=1),
    "np.max": lambda t: np.max(t, axis=0),
    "np.cumsum": lambda t: np.cumsum(t, axis=1),
    "np.transpose": lambda t: np.transpose(t),
    "np.reshape": lambda t: np.reshape(t, (4,)),
    "np.squeeze": lambda t: np.squeeze(np.expand_dims(t, 0), axis=0),
    "np.vstack": lambda t: np.vstack([t, B]),
    "np.hstack": lambda t: np.hstack([t, B]),
    "np.tile": lambda t: np.tile(t, (2, 1)),
    "np.repeat": lambda t: np.repeat(t, 2, axis=0),
    "np.pad": lambda t: np.pad(t, 1),
    "np.diag": lambda t: np.diag(t),
    "np.trace": lambda t: np.trace(t),
    "np.add.reduce": lambda t: np.add.reduce(t, axis=1),
    "np.split": lambda t: np.split(t, 2)[1],
    "np.take": lambda t: np.take(t, [1, 1, 0], axis=0),
    "t[1]": lambda t: t[1],
    "t[t > 1.5]": lambda t: t[np.array([[False, True], [True, True]])],
    "np.hypot": lambda t: np.hypot(t, B),
    "np.roll": lambda t: np.roll(t, 1, axis=0),
    "np.average": lambda t: np.average(t, axis=0),
    "np.diff": lambda t: np.diff(t, axis=1),
}


@pytest.mark.parametrize("name", CALLS)
def test_numpy_functions_on_tensors_give_tensors_with_numpys_values_and_gradients(name: str) -> None:
    call = CALLS[name]
    t = leaf(A)
    out = call(t)
    expected = call(A)
    assert isinstance(out, cr.Tensor)
    np.testing.assert_allclose(out.detach().numpy(), expected, rtol=1e-12)
    assert out.dtype == cr.float64
    out.backward()
    direction = np.array([[0.3, -0.7], [0.2, 0.9]])
    numerical = (np.sum(call(A + 1e-6 * direction)) - np.sum(call(A - 1e-6 * direction))) / 2e-6
    assert np.sum(t.grad.array * direction) == pytest.approx(numerical, rel=1e-6, abs=1e-6)


def test_an_array_on_the_left_gives_a_tensor() -> None:
    assert isinstance(np.ones(2) * cr.tensor([1.0, 2.0]), cr.Tensor)
    assert isinstance(np.float64(2.0) * cr.tensor([1.0, 2.0]), cr.Tensor)


def test_numpy_scalars_count_as_numbers() -> None:
    assert (cr.tensor([1.0, 2.0]) * np.float64(2)).dtype == cr.float32
    assert (np.float64(2) * cr.tensor([1.0, 2.0])).dtype == cr.float32


def test_asarray_works_where_no_gradient_is_lost() -> None:
    t = cr.tensor([1.0, 2.0])
    assert np.shares_memory(np.asarray(t), t.array)
    np.testing.assert_array_equal(np.array(t, dtype=np.float64), [1, 2])


def test_asarray_raises_where_a_gradient_would_be_lost() -> None:
    t = leaf([1.0, 2.0])
    for convert in (np.asarray, np.array, lambda x: x.numpy()):
        with pytest.raises(RuntimeError, match=r"detach\(\).numpy\(\)"):
            convert(t)
    assert t.detach().numpy() is t.array


def test_asarray_takes_the_values_where_recording_is_off() -> None:
    x = cr.tensor([1.0, 2.0], requires_grad=True)
    with cr.no_grad():
        assert np.asarray(x).tolist() == x.numpy().tolist() == [1.0, 2.0]


def test_an_unknown_numpy_function_says_what_to_do() -> None:
    with pytest.raises(TypeError, match=r"np\..*is_busday.*detach"):
        np.is_busday(cr.tensor([1, 2]))


def test_writing_a_tensors_result_into_an_array_is_refused() -> None:
    a = np.ones(2)
    with pytest.raises(TypeError, match="gradient would be lost"):
        a += leaf([1.0, 2.0])
    with pytest.raises(TypeError, match="where"):
        np.add(leaf([1.0, 2.0]), 1, where=np.array([True, False]))


def test_out_may_be_a_tensor() -> None:
    x = leaf([1.0, 2.0])
    out = cr.zeros(2, dtype=cr.float64)
    assert np.multiply(x, x, out=out) is out
    out.backward()
    np.testing.assert_array_equal(x.grad.array, [2, 4])


def test_dlpack_goes_both_ways_without_a_copy() -> None:
    t = cr.tensor([1.0, 2.0])
    assert np.shares_memory(np.from_dlpack(t), t.array)
    a = np.arange(3.0)
    back = cr.from_dlpack(a)
    assert np.shares_memory(back.array, a)
    assert back.dtype == cr.float64
    with pytest.raises(BufferError, match="detach"):
        np.from_dlpack(leaf([1.0]))


def test_dlpack_with_torch() -> None:
    torch = pytest.importorskip("torch")
    theirs = torch.arange(3.0)
    ours = cr.from_dlpack(theirs)
    ours.array[0] = 7
    assert theirs[0].item() == 7
    again = torch.from_dlpack(cr.tensor([1.0, 2.0]))
    assert again.tolist() == [1.0, 2.0]


def test_from_numpy_shares_memory_and_keeps_the_type() -> None:
    a = np.arange(3.0)
    t = cr.from_numpy(a)
    a[0] = 9
    assert t[0].item() == 9
    assert t.dtype == cr.float64


def test_tensor_copies_its_data_and_Tensor_shares_it() -> None:
    a = np.arange(3, dtype=np.float32)
    assert not np.shares_memory(cr.tensor(a).array, a)
    assert cr.Tensor(a).array is a


def test_a_duck_array_stays_what_it_is() -> None:
    t = cr.Tensor(DuckArray(np.array([1.0, 2.0], np.float32)), requires_grad=True)
    out = (t * t).sum()
    assert isinstance(out.array, DuckArray)
    out.backward()
    assert isinstance(t.grad.array, DuckArray)
    assert str(t.device) == "duck:0"
    with pytest.raises(TypeError, match="cpu"):
        np.asarray(t.detach())


@pytest.mark.parametrize("many", [cr.tensor([1.0, 2.0]), cr.ones(2, 2)])
def test_one_number_is_asked_of_many(many: cr.Tensor) -> None:
    with pytest.raises(RuntimeError, match="cannot be converted to Scalar"):
        many.item()
    with pytest.raises(RuntimeError, match="ambiguous"):
        bool(many)
    for kind in (float, int, complex):
        with pytest.raises(ValueError, match="only one element"):
            kind(many)


def test_a_complex_number_becomes_a_real_one_only_where_nothing_is_lost() -> None:
    assert float(cr.tensor(2 + 0j)) == int(cr.tensor(2 + 0j)) == complex(cr.tensor(2.0)) == 2
    for kind in (float, int):
        with pytest.raises(RuntimeError, match="without overflow"):
            kind(cr.tensor(2j))


@pytest.mark.parametrize(
    ("data", "dtype", "error"),
    [
        ([1 + 2j], cr.float64, TypeError),
        ([300], cr.uint8, RuntimeError),
        ([-300], cr.uint8, RuntimeError),
        ([2**40], cr.int32, RuntimeError),
        (np.array([1, "a"], dtype=object), None, TypeError),
        (np.array(["a"]), None, TypeError),
    ],
)
def test_numbers_that_a_tensor_cannot_hold_are_refused(data: Any, dtype: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        cr.tensor(data, dtype=dtype)


LOSING = {
    "fill_": lambda x: x.fill_(1j),
    "full": lambda x: cr.full((2,), 1j, dtype=cr.float32),
    "full_like": lambda x: cr.full_like(x, 1j),
    "new_full": lambda x: x.new_full((2,), 1j),
    "index_fill": lambda x: x.index_fill(0, cr.tensor([0]), 1j),
    "masked_fill": lambda x: x.masked_fill(x > 0, 1j),
    "scatter": lambda x: x.scatter(0, cr.tensor([0]), 1j),
    "add_": lambda x: x.add_(1j),
}


@pytest.mark.parametrize("name", sorted(LOSING))
def test_no_imaginary_part_is_lost_in_a_real_tensor(name: str) -> None:
    x = cr.ones(2)
    with pytest.raises(RuntimeError):
        LOSING[name](x)
    assert x.tolist() == [1.0, 1.0]


def test_a_number_that_an_integer_type_cannot_hold_wraps_around_as_in_pytorch() -> None:
    x = cr.tensor([1], dtype=cr.int8)
    assert ((x + 300).tolist(), (300 - x).tolist(), (x > 300).tolist()) == ([45], [43], [False])
    assert (cr.tensor([1], dtype=cr.uint8) + -1).tolist() == [0]
    assert (x + 300).dtype is cr.int8


def test_a_uint8_tensor_is_a_mask_as_in_pytorch() -> None:
    x = cr.tensor([1.0, 2.0])
    with pytest.warns(UserWarning, match="uint8"):
        assert x[cr.tensor([1, 0], dtype=cr.uint8)].tolist() == [1.0]


def test_a_long_running_sum_in_half_precision_does_not_stop_growing() -> None:
    ones = cr.ones(3000, dtype=cr.float16)
    assert ones.cumsum(0)[-1].item() == 3000
    assert ones.cumsum(0).dtype is cr.float16


def test_an_index_out_of_range_raises_index_error() -> None:
    with pytest.raises(IndexError, match="5.*3"):
        cr.ones(3)[5]


def test_tensors_inside_lists_make_a_tensor() -> None:
    assert cr.tensor([cr.tensor(1.0), cr.tensor(2.0)]).tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("x", "y"),
    [
        ([1.0, 2.0], 2),
        ([1, 2], 2),
        ([1, 2], 2.5),
        ([True, False], 1),
        ([1.0], 1j),
        ([1], 1j),
    ],
)
def test_results_have_pytorchs_type_with_numbers(x: Any, y: Any) -> None:
    torch = pytest.importorskip("torch")
    for operation in (lambda a, b: a + b, lambda a, b: b * a, lambda a, b: a / b):
        ours, theirs = operation(cr.tensor(x), y), operation(torch.tensor(x), y)
        assert str(ours.dtype).split(".")[1] == str(theirs.dtype).split(".")[1]


DTYPES = ["float16", "float32", "float64", "complex64", "complex128", "int8", "uint8", "int32", "int64", "bool"]


@pytest.mark.parametrize("a", DTYPES)
@pytest.mark.parametrize("b", DTYPES)
def test_results_have_pytorchs_type_between_tensors(a: str, b: str) -> None:
    torch = pytest.importorskip("torch")
    if {a, b} == {"float16", "complex64"} or {a, b} == {"float16", "complex128"}:
        pytest.skip("torch has a half-precision complex type, NumPy has none")
    for shape_a, shape_b in (((2,), (2,)), ((2,), ()), ((), (2,)), ((), ())):
        ours = cr.ones(*shape_a, dtype=getattr(cr, a)) * cr.ones(*shape_b, dtype=getattr(cr, b))
        theirs = torch.ones(shape_a, dtype=getattr(torch, a)) * torch.ones(shape_b, dtype=getattr(torch, b))
        assert str(ours.dtype).split(".")[1] == str(theirs.dtype).split(".")[1], (shape_a, shape_b)
