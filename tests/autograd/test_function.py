"""Operations with a backward of the user's own. Oracles: closed forms, finite differences, PyTorch."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.autograd import Function, gradcheck, gradgradcheck
from chainrule.autograd.function import once_differentiable


def leaf(*values: Any) -> cr.Tensor:
    return cr.tensor(np.array(values), dtype=cr.float64 if np.isrealobj(values) else cr.complex128, requires_grad=True)


class Cube(Function):
    @staticmethod
    def forward(ctx: Any, x: cr.Tensor) -> cr.Tensor:
        ctx.save_for_backward(x)
        return x * x * x

    @staticmethod
    def backward(ctx: Any, grad_output: cr.Tensor) -> cr.Tensor:
        (x,) = ctx.saved_tensors
        return grad_output * 3 * x * x


class Exp(Function):
    """Saves its output, in the new style."""

    @staticmethod
    def forward(x: cr.Tensor) -> cr.Tensor:
        return cr.exp(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: cr.Tensor) -> None:
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx: Any, grad_output: cr.Tensor) -> cr.Tensor:
        (y,) = ctx.saved_tensors
        return grad_output * y


class SumAndProduct(Function):
    @staticmethod
    def forward(ctx: Any, x: cr.Tensor, y: cr.Tensor, scale: float) -> tuple[cr.Tensor, cr.Tensor]:
        ctx.save_for_backward(x, y)
        ctx.scale = scale
        return (x + y) * scale, x * y

    @staticmethod
    def backward(ctx: Any, grad_sum: cr.Tensor, grad_product: cr.Tensor) -> tuple[Any, ...]:
        x, y = ctx.saved_tensors
        return grad_sum * ctx.scale + grad_product * y, grad_sum * ctx.scale + grad_product * x, None


@pytest.mark.parametrize("function", [Cube, Exp])
def test_first_and_second_derivatives_agree_with_finite_differences(function: type[Function]) -> None:
    x = leaf(0.3, -1.2, 2.0)
    assert gradcheck(function.apply, x)
    assert gradgradcheck(function.apply, x)


def test_several_outputs_and_a_constant_argument() -> None:
    x, y = leaf(1.0, 2.0), leaf(3.0, -4.0)
    assert gradcheck(SumAndProduct.apply, (x, y, 2.5))
    assert gradgradcheck(SumAndProduct.apply, (x, y, 2.5))


def test_a_complex_function_is_given_and_returns_pytorchs_gradients() -> None:
    class Square(Function):
        @staticmethod
        def forward(ctx: Any, z: cr.Tensor) -> cr.Tensor:
            ctx.save_for_backward(z)
            return z * z

        @staticmethod
        def backward(ctx: Any, grad_output: cr.Tensor) -> cr.Tensor:
            (z,) = ctx.saved_tensors
            return grad_output * (2 * z).conj()

    z = leaf(1 + 2j, -0.5 + 0.25j)
    assert gradcheck(Square.apply, z)
    assert gradgradcheck(Square.apply, z)
    seed = np.array([1j, 2 - 1j])
    Square.apply(z).backward(seed)
    np.testing.assert_allclose(z.grad.array, seed * np.conj(2 * z.detach().array))


def test_a_function_whose_second_derivative_goes_through_a_saved_output_that_is_a_view() -> None:
    class ExpTransposed(Function):
        @staticmethod
        def forward(ctx: Any, x: cr.Tensor) -> cr.Tensor:
            y = cr.exp(x).T
            ctx.save_for_backward(y)
            return y

        @staticmethod
        def backward(ctx: Any, grad_output: cr.Tensor) -> cr.Tensor:
            (y,) = ctx.saved_tensors
            return (grad_output * y).T

    x = leaf([0.1, 0.2, 0.3], [-0.1, 0.0, 0.5])
    assert gradcheck(ExpTransposed.apply, x)
    assert gradgradcheck(ExpTransposed.apply, x)


def test_needs_input_grad_says_which_arguments_are_differentiated() -> None:
    seen = []

    class Multiply(Function):
        @staticmethod
        def forward(ctx: Any, x: Any, y: Any, n: Any) -> Any:
            seen.append(ctx.needs_input_grad)
            return x * y * n

        @staticmethod
        def backward(ctx: Any, grad_output: Any) -> Any:
            seen.append(ctx.needs_input_grad)
            return grad_output, None, None

    Multiply.apply(leaf(1.0), cr.tensor([2.0], dtype=cr.float64), 3).backward()
    assert seen == [(True, False, False)] * 2


def test_backward_gets_zeros_or_none_for_an_output_without_gradient() -> None:
    seen = []

    class Twice(Function):
        @staticmethod
        def forward(ctx: Any, x: Any, materialize: bool) -> Any:
            ctx.set_materialize_grads(materialize)
            return x * 1, x * 2

        @staticmethod
        def backward(ctx: Any, first: Any, second: Any) -> Any:
            seen.append(first if first is None else first.tolist())
            return second * 2, None

    for materialize in (True, False):
        Twice.apply(leaf(1.0, 2.0), materialize)[1].backward()
    assert seen == [[0.0, 0.0], None]


def test_an_output_marked_non_differentiable_requires_no_grad() -> None:
    class MaxAndIndex(Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            index = cr.tensor(np.argmax(x.array)), x * 0
            ctx.mark_non_differentiable(index[1])
            return x * 2, *index

        @staticmethod
        def backward(ctx: Any, grad_value: Any, grad_index: Any, grad_zero: Any) -> Any:
            return grad_value * 2

    value, index, zero = MaxAndIndex.apply(leaf(1.0, 5.0))
    assert (value.requires_grad, index.requires_grad, zero.requires_grad) == (True, False, False)
    value.backward()


def test_a_dirty_input_is_written_in_place_and_differentiated() -> None:
    class Double(Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            x.mul_(2)
            ctx.mark_dirty(x)
            return x

        @staticmethod
        def backward(ctx: Any, grad_output: Any) -> Any:
            return grad_output * 2

    x = leaf(1.0, 2.0)
    y = x * 3
    same = Double.apply(y)
    assert same is y
    np.testing.assert_array_equal(y.detach().array, [6, 12])
    (y * y).backward()
    np.testing.assert_allclose(x.grad.array, 2 * 36 * np.array([1.0, 2.0]))  # (6x)^2
    with pytest.raises(RuntimeError, match="leaf Variable that requires grad"):
        Double.apply(leaf(1.0))
    base = leaf(1.0, 2.0, 3.0) * 1
    Double.apply(base[1:])
    np.testing.assert_array_equal(base.detach().array, [1, 4, 6])
    np.testing.assert_array_equal(cr.autograd.grad(base, base)[0].array, [1, 1, 1])


def test_a_dirty_view_gives_its_base_the_gradient() -> None:
    class Double(Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.mark_dirty(x)
            return x.mul_(2)

        @staticmethod
        def backward(ctx: Any, grad_output: Any) -> Any:
            return grad_output * 2

    x = leaf(1.0, 2.0, 3.0)
    base = x * 1
    Double.apply(base[1:])
    base.backward(np.array([1.0, 10.0, 100.0]))
    np.testing.assert_array_equal(x.grad.array, [1, 20, 200])


def test_an_input_returned_as_it_is_gets_the_functions_backward() -> None:
    class Reverse(Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x

        @staticmethod
        def backward(ctx: Any, grad_output: Any) -> Any:
            return -grad_output

    x = leaf(1.0, 2.0)
    y = Reverse.apply(x)
    assert y is not x
    y.backward()
    np.testing.assert_array_equal(x.grad.array, [-1, -1])
    assert x.is_leaf


def test_backward_may_compute_on_arrays_where_it_is_differentiable_once() -> None:
    class Sine(Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.x = x.detach().numpy()
            return cr.tensor(np.sin(ctx.x), dtype=cr.float64)

        @staticmethod
        @once_differentiable
        def backward(ctx: Any, grad_output: Any) -> Any:
            return cr.tensor(grad_output.numpy() * np.cos(ctx.x), dtype=cr.float64)

    x = leaf(0.5, 1.0)
    assert gradcheck(Sine.apply, x)
    (first,) = cr.autograd.grad(Sine.apply(x), x, create_graph=True)
    with pytest.raises(RuntimeError, match="SineBackward.*once_differentiable"):
        first.backward()
    assert x.grad is None


def test_without_recording_no_node_is_made() -> None:
    with cr.no_grad():
        assert not Cube.apply(leaf(1.0)).requires_grad
    assert not Cube.apply(cr.tensor([1.0])).requires_grad


def test_a_gradient_of_a_broadcast_shape_is_summed_and_of_another_type_is_cast_as_in_pytorch() -> None:
    class Wide(Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x * 1

        @staticmethod
        def backward(ctx: Any, grad_output: Any) -> Any:
            return cr.ones(4, 2, dtype=cr.float32)

    x = leaf(1.0, 2.0)
    Wide.apply(x).backward()
    assert x.grad.dtype is cr.float64 or x.grad.dtype == cr.float64
    np.testing.assert_array_equal(x.grad.array, [4, 4])


# ----- errors -----------------------------------------------------------------------------------------------------


def broken(returned: Any) -> type[Function]:
    class Broken(Function):
        @staticmethod
        def forward(ctx: Any, x: Any, n: Any) -> Any:
            return x * n

        @staticmethod
        def backward(ctx: Any, grad_output: Any) -> Any:
            return returned

    return Broken


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ((cr.ones(2), None), r"Broken.*index 0.*\(2,\).*\(3,\)"),
        ((cr.ones(3),), r"Broken.*expected 2, got 1"),
        ((cr.ones(3), None, cr.ones(3)), r"Broken.*expected 2, got 3"),
        ((cr.ones(3), cr.ones(3)), r"Broken.*position 1.*not a Tensor but int"),
    ],
)
def test_a_wrong_gradient_names_the_function_and_changes_no_grad(returned: Any, message: str) -> None:
    x = leaf(1.0, 2.0, 3.0)
    other = leaf(1.0, 2.0, 3.0)
    end = broken(returned).apply(x, 2) * other
    with pytest.raises(RuntimeError, match=message):
        end.backward()
    assert x.grad is None
    assert other.grad is None


def test_further_gradients_that_are_none_are_allowed() -> None:
    x = leaf(1.0)
    broken((cr.ones(1), None, None)).apply(x, 2).backward()
    assert x.grad.item() == 1


def test_a_saved_input_that_was_written_to_names_function_and_line() -> None:
    x = leaf(1.0, 2.0)
    y = x * 1
    z = Cube.apply(y)
    y.add_(1)
    with pytest.raises(RuntimeError, match=r"(?s)modified by an inplace.*CubeBackward.*add_.*test_function\.py:\d+"):
        z.backward()
    assert x.grad is None


def test_a_saved_output_that_was_written_to_names_function_and_line() -> None:
    x = leaf(1.0, 2.0)
    y = Exp.apply(x)
    y.mul_(2)
    with pytest.raises(RuntimeError, match=r"(?s)modified by an inplace.*ExpBackward.*mul_.*test_function\.py:\d+"):
        y.backward()


def test_a_second_backward_says_retain_graph() -> None:
    x = leaf(2.0)
    y = Cube.apply(x)
    y.backward(retain_graph=True)
    y.backward()
    np.testing.assert_array_equal(x.grad.array, [24])
    with pytest.raises(RuntimeError, match="retain_graph=True"):
        y.backward()


def test_saved_tensors_are_gone_after_the_graph_was_freed() -> None:
    kept = []

    class Keep(Cube):
        @staticmethod
        def forward(ctx: Any, x: cr.Tensor) -> cr.Tensor:
            kept.append(ctx)
            return Cube.forward(ctx, x)

    x = leaf(2.0)
    Keep.apply(x).backward()
    with pytest.raises(RuntimeError, match=r"KeepBackward.*retain_graph=True"):
        _ = kept[0].saved_tensors


def test_only_tensors_are_saved() -> None:
    class Save(Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x, 3)

    with pytest.raises(TypeError, match=r"argument 1 is of type int"):
        Save.apply(leaf(1.0))


def test_a_forward_that_is_no_staticmethod_is_refused() -> None:
    class Method(Function):
        def forward(self, x: Any) -> Any:  # type: ignore[override]
            return x

    with pytest.raises(RuntimeError, match=r"Method\.forward must be a @staticmethod"):
        Method.apply(leaf(1.0))


def test_a_function_without_backward_says_so() -> None:
    class Half(Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x * 0.5

    with pytest.raises(NotImplementedError, match="backward"):
        Half.apply(leaf(1.0)).backward()


def test_a_dropped_graph_leaves_no_cycle() -> None:
    gc.collect()
    gc.disable()
    try:
        x = leaf(1.0, 2.0)
        y = Exp.apply(x)
        z = SumAndProduct.apply(x, y, 2.0)
        ends = [weakref.ref(t) for t in (y, *z)]
        del y, z
        assert [end() for end in ends] == [None, None, None]
    finally:
        gc.enable()


# ----- PyTorch ----------------------------------------------------------------------------------------------------


def program(torch: Any, tensor: Any) -> list[Any]:
    """One program for both libraries: a straight-through rounding and a fused multiply-add with saved tensors."""

    class Round(torch.autograd.Function):  # type: ignore[misc]
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return torch.round(x)

        @staticmethod
        def backward(ctx: Any, grad_output: Any) -> Any:
            return grad_output

    class MultiplyAdd(torch.autograd.Function):  # type: ignore[misc]
        @staticmethod
        def forward(ctx: Any, a: Any, b: Any, c: Any) -> Any:
            ctx.save_for_backward(a, b)
            ctx.mark_non_differentiable()
            return a * b + c, a + b

        @staticmethod
        def backward(ctx: Any, g: Any, h: Any) -> Any:
            a, b = ctx.saved_tensors
            return g * b + h, g * a + h, g if ctx.needs_input_grad[2] else None

    x, w = tensor([0.2, 1.7, -2.6]), tensor([1.5, -0.5, 2.0])
    y, s = MultiplyAdd.apply(Round.apply(x * 2), w, x)
    loss = (y * y).sum() + (s * w).sum()
    gx, gw = torch.autograd.grad(loss, (x, w), create_graph=True)
    (gx * gw).sum().backward()
    return [loss, gx, gw, x.grad, w.grad]


def test_a_program_with_functions_gives_pytorchs_gradients() -> None:
    torch = pytest.importorskip("torch")
    ours = program(cr, lambda v: leaf(*v))
    theirs = program(torch, lambda v: torch.tensor(v, dtype=torch.float64, requires_grad=True))
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy())


def test_forward_and_backward_may_be_class_methods() -> None:
    class Doubled(cr.autograd.Function):
        factor = 2

        @classmethod
        def forward(cls, ctx: Any, x: Any) -> Any:
            return x * cls.factor

        @classmethod
        def backward(cls, ctx: Any, grad: Any) -> Any:
            return grad * cls.factor

    x = cr.tensor([3.0], requires_grad=True)
    Doubled.apply(x).backward()
    assert x.grad.item() == 2
