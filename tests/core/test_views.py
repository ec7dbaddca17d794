"""Shared memory and in-place writes: gradients as PyTorch's, and no overwritten array is ever used silently."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr


def leaf(*values: float) -> cr.Tensor:
    return cr.tensor(np.array(values), dtype=cr.float64, requires_grad=True)


# ----- the same program under both libraries ----------------------------------------------------------------------

PROGRAMS: dict[str, Callable[[Any, Any, Any], Any]] = {}


def program(function: Callable[[Any, Any, Any], Any]) -> Callable[[Any, Any, Any], Any]:
    PROGRAMS[function.__name__] = function
    return function


@program
def multiply_in_place(torch: Any, x: Any, y: Any) -> Any:
    h = x * 2
    h.mul_(y)
    return h


@program
def in_place_then_out_of_place(torch: Any, x: Any, y: Any) -> Any:
    h = x + 1
    k = h * 1
    h += y
    return h * k


@program
def old_value_goes_its_own_way(torch: Any, x: Any, y: Any) -> Any:
    h = x + 1
    k = h + y
    h.mul_(3)
    return h * k


@program
def write_into_a_tensor_without_grad(torch: Any, x: Any, y: Any) -> Any:
    h = torch.zeros(4, dtype=torch.float64)
    h[1:3] = x[:2] * y[1:3]
    h[0] = x[0] * x[1]
    return h * h


@program
def accumulate_into_a_tensor_without_grad(torch: Any, x: Any, y: Any) -> Any:
    h = torch.ones(4, dtype=torch.float64)
    h.mul_(x)
    h.mul_(y)
    return h


@program
def view_written_then_base_read(torch: Any, x: Any, y: Any) -> Any:
    h = x * 1
    v = h[1:]
    v.mul_(y[:3])
    return h * h


@program
def base_written_then_view_read(torch: Any, x: Any, y: Any) -> Any:
    h = x * 1
    v = h[1:]
    h.mul_(y)
    return v * v


@program
def view_of_a_view_written(torch: Any, x: Any, y: Any) -> Any:
    h = (x * 1).reshape(2, 2)
    v = h.t()[0]
    v += y[:2]
    v *= 3
    return h * h.t()


@program
def sibling_views(torch: Any, x: Any, y: Any) -> Any:
    h = x * 2
    a, b = h[:3], h[1:]
    a.mul_(y[:3])
    b.mul_(y[1:])
    return torch.cat([a * a, b])


@program
def filled_with_zero(torch: Any, x: Any, y: Any) -> Any:
    h = x * y
    h[1] = 0
    h[2:].zero_()
    return h * x


@program
def masked(torch: Any, x: Any, y: Any) -> Any:
    h = x * y
    h[x > 0] = 0.5
    return h * h


@program
def masked_with_values(torch: Any, x: Any, y: Any) -> Any:
    h = x * 1
    mask = torch.tensor([True, False, True, False])
    h[mask] = y[:2] * 2
    return h * h


@program
def index_arrays(torch: Any, x: Any, y: Any) -> Any:
    h = x * 1
    h[torch.tensor([3, 0])] = y[:2]
    h[torch.tensor([1, 3])] += x[:2]
    return h * y


@program
def copied_into(torch: Any, x: Any, y: Any) -> Any:
    h = x * 2
    h[:2].copy_(y[2:])
    return h * h


@program
def clamped(torch: Any, x: Any, y: Any) -> Any:
    h = x * 2
    h.clamp_(-1.1, 1.2)
    return h * y


@program
def exponentiated(torch: Any, x: Any, y: Any) -> Any:
    h = x * y
    h.exp_()
    return h * x


@program
def multiplied_by_itself(torch: Any, x: Any, y: Any) -> Any:
    h = x * y
    h = h.clone()
    h.mul_(h.clone())
    return h


@program
def written_under_no_grad(torch: Any, x: Any, y: Any) -> Any:
    h = x * 1
    with torch.no_grad():
        h += 10
    return h + y


@program
def filled_row(torch: Any, x: Any, y: Any) -> Any:
    h = torch.zeros(3, 4, dtype=torch.float64)
    for i in range(3):
        h[i] = x * y * i
    h[:, 1] = x[0]
    return h * h


@program
def detached_shares_memory(torch: Any, x: Any, y: Any) -> Any:
    h = x * 1
    d = h.detach()
    d += 1
    return h + y * d


def run(library: Any, function: Any, wrap: Any) -> list[np.ndarray]:
    leaves = [wrap(v) for v in (np.array([0.5, -1.5, 2.0, -0.7]), np.array([1.5, 0.3, -2.0, 0.8]))]
    out = function(library, *leaves)
    out.backward(library.ones_like(out) * 1.5)
    grads = [np.zeros(4) if t.grad is None else t.grad.numpy() for t in leaves]
    return [out.detach().numpy(), *grads]


@pytest.mark.parametrize("name", PROGRAMS)
def test_writes_and_views_give_pytorchs_gradients(name: str) -> None:
    torch = pytest.importorskip("torch")
    expected = run(torch, PROGRAMS[name], lambda v: torch.tensor(v, requires_grad=True))
    got = run(cr, PROGRAMS[name], lambda v: cr.tensor(v, dtype=cr.float64, requires_grad=True))
    for g, e in zip(got, expected, strict=True):
        np.testing.assert_allclose(g, e, rtol=1e-12)


@pytest.mark.parametrize("name", PROGRAMS)
def test_writes_and_views_agree_with_finite_differences(name: str) -> None:
    """The programs as functions of their inputs: no other library needed."""
    if name in ("written_under_no_grad", "detached_shares_memory"):
        pytest.skip("the write is hidden from the gradient on purpose")
    function = PROGRAMS[name]
    point = [np.array([0.5, -1.5, 2.0, -0.7]), np.array([1.5, 0.3, -2.0, 0.8])]

    def value(values: list[np.ndarray]) -> float:
        out = function(cr, *(cr.tensor(v, dtype=cr.float64) for v in values))
        return float(np.sum(out.array))

    leaves = [cr.tensor(v, dtype=cr.float64, requires_grad=True) for v in point]
    function(cr, *leaves).backward()
    for k, tensor in enumerate(leaves):
        for i in range(4):
            shifted = [[v.copy() for v in point] for _ in range(2)]
            shifted[0][k][i] += 1e-6
            shifted[1][k][i] -= 1e-6
            numerical = (value(shifted[0]) - value(shifted[1])) / 2e-6
            analytical = 0.0 if tensor.grad is None else tensor.grad.array[i]
            assert analytical == pytest.approx(numerical, rel=1e-5, abs=1e-7)


# ----- what must be refused ---------------------------------------------------------------------------------------


def test_writing_to_a_saved_argument_raises_at_backward_and_names_both_places() -> None:
    x = leaf(1, 2)
    h = x * 1
    y = h * h
    h.add_(1)  # the line that the message names
    with pytest.raises(
        RuntimeError, match=r"multiply saved argument [01] of shape .*add_ wrote to it at .*test_views.py:\d+"
    ):
        y.backward()
    assert x.grad is None


def test_writing_to_a_saved_result_raises_at_backward() -> None:
    x = leaf(1, 2)
    y = x.exp()
    z = y * 1
    y.mul_(2)
    with pytest.raises(RuntimeError, match=r"exp saved its result.*mul_ wrote"):
        z.backward()


def test_writing_through_a_view_to_a_saved_array_raises() -> None:
    x = leaf(1, 2)
    h = x * 1
    y = h * h
    h[0] = 5.0
    with pytest.raises(RuntimeError, match="multiply saved"):
        y.backward()


def test_writing_through_detach_to_a_saved_array_raises() -> None:
    x = leaf(1, 2)
    h = x * 1
    y = h * h
    h.detach().zero_()
    with pytest.raises(RuntimeError, match="multiply saved"):
        y.backward()


def test_writing_a_parameter_between_forward_and_backward_raises() -> None:
    x, w = leaf(1, 2), leaf(3, 4)
    y = x * w
    with cr.no_grad():
        w -= 0.1
    with pytest.raises(RuntimeError, match="sub_ wrote"):
        y.backward()


def test_writing_a_constant_that_a_recipe_saved_raises() -> None:
    x, c = leaf(1, 2), cr.tensor([3.0, 4.0], dtype=cr.float64)
    y = x * c
    c.zero_()
    with pytest.raises(RuntimeError, match="zero_ wrote"):
        y.backward()


def test_writing_to_what_only_lent_its_shape_is_fine() -> None:
    x = leaf(1, 2)
    h = x * 1
    y = h + 1
    h.mul_(5)
    y.backward()
    np.testing.assert_array_equal(x.grad.array, [1, 1])


def test_saved_arrays_are_watched_in_second_order_too() -> None:
    x = leaf(1, 2)
    h = x * 1
    (g,) = cr.autograd.grad(h * h * h, h, create_graph=True)
    h.add_(1)
    with pytest.raises(RuntimeError, match="inplace operation"):
        g.backward()


@pytest.mark.parametrize(
    "write",
    [
        lambda x: x.add_(1),
        lambda x: x.mul_(2),
        lambda x: x.zero_(),
        lambda x: x.__setitem__(0, 1.0),
        lambda x: x.__iadd__(1),
        lambda x: x[0:1].add_(1),
        lambda x: x[x > 0].__class__ and x.__setitem__(x > 0, 0.0),
    ],
)
def test_writing_to_a_leaf_that_requires_grad_raises(write: Any) -> None:
    x = leaf(1, 2)
    with pytest.raises(RuntimeError, match="leaf Variable that requires grad"):
        write(x)
    np.testing.assert_array_equal(x.array, [1, 2])
    with cr.no_grad():
        write(x)


def test_a_result_of_another_shape_is_refused_with_both_shapes() -> None:
    h = cr.ones(3)
    with pytest.raises(RuntimeError, match=r"\(3,\).*\(2, 3\)"):
        h.add_(cr.ones(2, 3))


def test_floats_are_not_written_into_integers() -> None:
    with pytest.raises(RuntimeError, match="can't be cast"):
        cr.tensor([1, 2]).add_(0.5)


def test_an_expanded_tensor_cannot_be_written() -> None:
    with pytest.raises(RuntimeError, match="single memory location"):
        cr.ones(1, 3).expand(2, 3).add_(1)


def test_an_in_place_result_may_be_written_again() -> None:
    """PyTorch refuses this: its exp_ saves the result, which mul_ overwrites. Here the recipe has its own copy."""
    x = leaf(1, 2)
    h = x * 1
    h.exp_()
    h.mul_(3)
    h.backward()
    np.testing.assert_allclose(x.grad.array, 3 * np.exp([1, 2]))


def test_the_version_counts_writes_and_is_shared_by_views() -> None:
    x = cr.ones(3)
    v = x[1:]
    assert x._version == 0
    v.add_(1)
    x.mul_(2)
    assert (x._version, v._version) == (2, 2)


def test_a_view_made_without_recording_cannot_be_written_with_it() -> None:
    x = leaf(1, 2) * 1
    with cr.no_grad():
        v = x[:1]
    with pytest.raises(RuntimeError, match="no_grad"):
        v.mul_(2)


def test_views_share_memory_and_copies_do_not() -> None:
    x = cr.arange(6).reshape(2, 3)
    for view in (x[0], x[:, 1:], x.T, x.reshape(3, 2), x.view(6), x.unsqueeze(0), x.expand(4, 2, 3), x[0, 1], x.t()):
        assert np.shares_memory(view.array, x.array)
    for copy in (x[[0, 1]], x.clone(), x + 0, x.T.reshape(6), x[x > 2]):
        assert not np.shares_memory(copy.array, x.array)


def test_a_retained_gradient_follows_an_in_place_write() -> None:
    x = leaf(1, 2)
    h = x * 2
    h.retain_grad()
    h.mul_(3)
    (h * 5).backward()
    np.testing.assert_array_equal(h.grad.array, [5, 5])


def test_writing_keeps_the_object_and_the_memory() -> None:
    x = leaf(1, 2)
    h = x * 2
    before, memory = h, h.array
    h += x
    assert h is before
    assert h.array is memory


@pytest.mark.parametrize("rectify", [cr.relu, cr.nn.functional.relu6, cr.amax, cr.abs])
def test_comparing_a_saved_result_with_a_number_is_a_use_of_it(rectify: Any) -> None:
    x = cr.tensor([1.0, -2.0], requires_grad=True)
    before = x * 2
    y = rectify(before)
    y += 1
    before += 1
    try:
        y.sum().backward()
    except RuntimeError as error:
        assert "modified by an inplace operation" in str(error)
    else:
        pytest.fail(f"gradient {x.grad}")


def test_writing_to_one_of_several_saved_results_raises() -> None:
    matrix = cr.tensor([[2.0, 1.0], [1.0, 3.0]], requires_grad=True)
    values, vectors = cr.linalg.eigh(matrix)
    end = (values**2).sum() + vectors[0, 0]
    values.detach().add_(1)
    with pytest.raises(
        RuntimeError, match=r"saved its result 0 of shape \(2,\), and add_ wrote to it|power saved argument 0"
    ):
        end.backward()
    values, vectors = cr.linalg.eigh(matrix)
    end = values.sum() + vectors[0, 0]
    values += 1
    with pytest.raises(RuntimeError, match=r"eigh saved its result 0 of shape \(2,\)"):
        end.backward()


@pytest.mark.parametrize(
    "choose",
    [
        lambda x: x.max(1),
        lambda x: x.min(1, keepdim=True),
        lambda x: x.sort(1),
        lambda x: x.topk(2, 1),
        lambda x: x.median(1),
        lambda x: x.cummax(1),
        lambda x: x.mode(1),
        lambda x: x.kthvalue(2, 1),
    ],
)
def test_writing_to_the_indices_that_an_operation_gave_and_saved_raises(choose: Any) -> None:
    x = cr.tensor([[5.0, 1.0, 7.0], [2.0, 9.0, 2.0]], requires_grad=True)
    values, indices = choose(x)
    indices.fill_(1)
    with pytest.raises(RuntimeError, match="fill_ wrote to it at"):
        (values**2).sum().backward()
    assert x.grad is None


# ----- writes to results ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call",
    [
        lambda x: cr.nn.functional.max_pool2d(x, 2),
        lambda x: cr.nn.functional.max_pool1d(x[0], 2),
        cr.nn.functional.silu,
        cr.nn.functional.elu,
        cr.nn.functional.selu,
        lambda x: cr.nn.functional.rms_norm(x, (4,)),
        lambda x: cr.nn.functional.instance_norm(x),
        lambda x: cr.logaddexp(x, x * x),
        cr.sinc,
        lambda x: cr.special.erfinv(x / 3),
    ],
)
def test_results_that_pytorch_does_not_save_may_be_written_to(call: Any) -> None:
    values = np.linspace(-1, 1, 32).reshape(1, 2, 4, 4)

    def gradients(write: bool) -> tuple[Any, Any]:
        x = cr.tensor(values, dtype=cr.float64, requires_grad=True)
        y = call(x)
        y = y.mul_(3) if write else y * 3
        (first,) = cr.autograd.grad((y * y).sum(), x, create_graph=True)
        return first, cr.autograd.grad((first * first).sum(), x)[0]

    for found, wanted in zip(gradients(True), gradients(False), strict=True):
        np.testing.assert_allclose(found.detach().numpy(), wanted.detach().numpy(), rtol=1e-9, atol=1e-12)


def test_a_written_result_is_not_computed_from_written_arguments() -> None:
    x = cr.linspace(-1, 1, 4).requires_grad_()
    inner = x * 2
    y = cr.nn.functional.silu(inner)
    y.add_(1)
    inner.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


@pytest.mark.parametrize(
    "call",
    [
        lambda x: x.reshape(()).max(0).values,
        lambda x: x.reshape(()).median(0).values,
        lambda x: x.reshape(()).topk(1).values,
        lambda x: x.reshape(()).kthvalue(1).values,
        lambda x: x.reshape(()).mode().values,
        lambda x: x.reshape(()).sort().values,
        lambda x: x.reshape(()).repeat_interleave(2),
        lambda x: x.repeat_interleave(1, dim=0),
        lambda x: cr.nn.functional.embedding(cr.tensor(0), x),
        lambda x: cr.nn.functional.pixel_shuffle(x.reshape(1, 1, 1), 1),
        lambda x: cr.nn.functional.pixel_unshuffle(x.reshape(1, 1, 1), 1),
    ],
)
def test_results_that_are_copies_in_pytorch_share_no_memory(call: Any) -> None:
    x = cr.ones(1, 1)
    call(x).mul_(5)
    assert x.item() == 1
