"""gradcheck and gradgradcheck: right functions pass, wrong ones fail and say where. Oracle: PyTorch, closed forms."""

from __future__ import annotations

import re
import warnings
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.autograd import Function, gradcheck, gradgradcheck
from chainrule.testing import GradcheckError


def leaf(values: Any, dtype: Any = cr.float64) -> cr.Tensor:
    return cr.tensor(values, dtype=dtype, requires_grad=True)


def with_backward(back: Any) -> type[Function]:
    """The square, with another backward."""

    class Square(Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx: Any, grad_output: Any) -> Any:
            return back(grad_output, *ctx.saved_tensors)

    return Square


@pytest.mark.parametrize("fast_mode", [False, True])
@pytest.mark.parametrize(
    ("func", "inputs"),
    [
        (lambda x: x * x * x, (leaf([1.0, -2.0, 0.5]),)),
        (lambda x, y: (x * y, x / y), (leaf([[1.0], [2.0]]), leaf([3.0, -4.0]))),
        (lambda x: x * 2.0, (leaf(1.5),)),
        (lambda z: z * z, (leaf([1 + 2j, -1j], cr.complex128),)),
        (lambda z: np.abs(z), (leaf([1 + 2j, -1j], cr.complex128),)),
        (lambda z: z * np.conj(z) + z, (leaf([1 + 2j, -1j], cr.complex128),)),
        (lambda x: x * (1 + 2j), (leaf([1.0, -2.0]),)),
        (lambda x, n: x * n, (leaf([1.0, 2.0]), 3)),
        (lambda x: x * 1.0, (leaf(np.zeros((0, 3))),)),
        (lambda x: x * x, (leaf([[1.0, 2.0], [3.0, 4.0]])[:, 1],)),
    ],
)
def test_right_gradients_pass(func: Any, inputs: Any, fast_mode: bool) -> None:
    assert gradcheck(func, inputs, fast_mode=fast_mode)
    assert gradgradcheck(func, inputs, fast_mode=fast_mode)


@pytest.mark.parametrize("fast_mode", [False, True])
def test_a_wrong_backward_fails_and_the_worst_entry_is_shown(fast_mode: bool) -> None:
    x = leaf([1.0, 2.0, 3.0])
    wrong = with_backward(lambda g, x: g * (2 * x + cr.tensor([0.0, 1.0, 0.0], dtype=cr.float64)))
    with pytest.raises(GradcheckError) as caught:
        gradcheck(lambda y, x: (y * 1, wrong.apply(x)), (leaf([1.0, 1.0]), x), fast_mode=fast_mode)
    message = str(caught.value)
    assert "output 1 with respect to input 1: 1 of 9 entries differ" in message
    assert "output[1] by input[1]" in message
    assert re.search(r"numerical: +4\.0000|numerical: +3\.9999|numerical: +4\n", message)
    assert re.search(r"analytical: 5\n", message)
    assert "difference: 1, allowed 0.00401" in message


def test_a_wrong_complex_backward_shows_the_part() -> None:
    wrong = with_backward(lambda g, z: g * 2 * z)  # without the conjugate
    with pytest.raises(GradcheckError, match=r"output\[0\]\.(real|imag) by input\[0\]\.(real|imag)") as caught:
        gradcheck(wrong.apply, leaf([1 + 1j], cr.complex128))
    assert isinstance(caught.value, RuntimeError)


def test_without_raise_exception_the_answer_is_false() -> None:
    wrong = with_backward(lambda g, x: g * x)
    assert gradcheck(wrong.apply, leaf([1.0]), raise_exception=False) is False
    assert gradgradcheck(wrong.apply, leaf([1.0]), raise_exception=False) is True  # x g is a gradient of something


def test_a_wrong_second_derivative_is_found() -> None:
    class Inner(Function):
        @staticmethod
        def forward(ctx: Any, g: Any, x: Any) -> Any:
            ctx.save_for_backward(g, x)
            return g * 2 * x

        @staticmethod
        def backward(ctx: Any, gg: Any) -> Any:
            g, x = ctx.saved_tensors
            return gg * 2 * x, gg * 3 * g

    right_once = with_backward(Inner.apply)
    assert gradcheck(right_once.apply, leaf([1.0, 2.0]))
    with pytest.raises(GradcheckError, match="output 0 with respect to input 0"):
        gradgradcheck(right_once.apply, leaf([1.0, 2.0]))


def test_a_nan_on_one_side_only_is_a_mismatch() -> None:
    wrong = with_backward(lambda g, x: g * float("nan"))
    with pytest.raises(GradcheckError, match="analytical: nan"):
        gradcheck(wrong.apply, leaf([1.0]))


def test_a_missing_gradient_is_found() -> None:
    with pytest.raises(GradcheckError, match="output 0 with respect to input 0"):
        gradcheck(lambda x: x.detach() * 2, leaf([1.0]))


def test_a_gradient_that_ignores_its_seed_is_found() -> None:
    wrong = with_backward(lambda g, x: cr.tensor([2.0], dtype=cr.float64) + g * 0)
    with pytest.raises(GradcheckError, match=r"not multiplied by grad_output|Jacobian mismatch"):
        gradcheck(wrong.apply, leaf([1.0]))


def test_a_backward_that_varies_is_found_unless_it_is_tolerated() -> None:
    calls = []

    def back(g: Any, x: Any) -> Any:
        calls.append(1)
        return g * (2 * x + 1e-7 * len(calls))

    with pytest.raises(GradcheckError, match="not reentrant"):
        gradcheck(with_backward(back).apply, leaf([1.0]))
    assert gradcheck(with_backward(back).apply, leaf([1.0]), nondet_tol=1e-5)


def test_the_inputs_are_as_before_also_after_an_error() -> None:
    values = np.array([1.0, 2.0])
    x = cr.from_numpy(values).requires_grad_()
    gradcheck(lambda x: x * x, x)
    np.testing.assert_array_equal(values, [1.0, 2.0])
    calls = []

    def fails_later(x: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise ZeroDivisionError
        return x * x

    for fast_mode in (False, True):
        calls.clear()
        with pytest.raises(ZeroDivisionError):
            gradcheck(fails_later, x, fast_mode=fast_mode)
        np.testing.assert_array_equal(values, [1.0, 2.0])


def test_tolerances_are_pytorchs() -> None:
    off = with_backward(lambda g, x: g * (2 * x + 1e-2))
    with pytest.raises(GradcheckError):
        gradcheck(off.apply, leaf([1.0]))
    assert gradcheck(off.apply, leaf([1.0]), atol=0.011)
    assert gradcheck(off.apply, leaf([1.0]), rtol=0.006)


def test_single_precision_is_warned_of() -> None:
    with pytest.warns(UserWarning, match="Input #0 requires gradient and is not a double precision"):
        gradcheck(lambda x: x * 2, cr.tensor([1.0], requires_grad=True), eps=1e-2, atol=1e-2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gradcheck(lambda x: x * 2, leaf([1.0]))


def test_what_cannot_be_checked_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one input tensor to require gradient"):
        gradcheck(lambda x: x, cr.tensor([1.0]))
    overlapping = cr.from_numpy(np.broadcast_to(np.array([1.0]), (3,))).requires_grad_()
    with pytest.raises(RuntimeError, match="stride 0"):
        gradcheck(lambda x: x * 2, overlapping)


@pytest.mark.parametrize(
    "option",
    [
        {"check_batched_grad": True},
        {"check_forward_ad": True},
        {"check_backward_ad": False},
        {"check_batched_forward_grad": True},
        {"masked": True},
    ],
)
def test_options_without_a_meaning_here_are_refused_by_name(option: dict[str, Any]) -> None:
    with pytest.raises(NotImplementedError, match=next(iter(option))):
        gradcheck(lambda x: x * 2, leaf([1.0]), **option)


def test_grad_outputs_may_be_given() -> None:
    x, seed = leaf([1.0, 2.0]), leaf([0.5, -1.0])
    assert gradgradcheck(lambda x: x * x, x, seed)
    assert gradgradcheck(lambda x: x * x, (x,), (seed,), gen_non_contig_grad_outputs=True)
    assert gradgradcheck(lambda x: x * x, x, gen_non_contig_grad_outputs=True)


def test_the_signatures_are_pytorchs() -> None:
    torch = pytest.importorskip("torch")
    import inspect

    for name in ("gradcheck", "gradgradcheck"):
        ours = inspect.signature(getattr(cr.autograd, name)).parameters
        theirs = inspect.signature(getattr(torch.autograd, name)).parameters
        assert list(ours) == list(theirs)
        assert {n: p.default for n, p in ours.items()} == {n: p.default for n, p in theirs.items()}
