"""Elementwise functions, activations, special functions, comparisons: values, types, kinks, names."""

from __future__ import annotations

import subprocess
import sys
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import chainrule as cr
import chainrule.nn.functional as F
from chainrule.ops import activation, comparison, elementwise, special
from chainrule.ops.elementwise import keep_where


def leaf(values: Any, dtype: Any = cr.float64) -> cr.Tensor:
    tensor: cr.Tensor = cr.tensor(values, dtype=dtype, requires_grad=True)
    return tensor


def slope(function: Any, values: Any) -> np.ndarray:
    x = leaf(values)
    function(x).backward()
    assert x.grad is not None
    return np.asarray(x.grad.numpy())


# ----- values -----------------------------------------------------------------------------------------------------

LIKE_NUMPY = (
    "abs ceil cos cosh deg2rad exp exp2 expm1 floor log log10 log1p log2 rad2deg reciprocal sign sin sinc sinh sqrt "
    "square tan tanh trunc arctan arcsinh isnan isinf isfinite signbit logical_not isposinf isneginf isreal"
).split()


@pytest.mark.parametrize("name", LIKE_NUMPY)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_functions_equal_numpys(name: str, data: Any) -> None:
    shape = data.draw(arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
    dtype = data.draw(st.sampled_from([np.float16, np.float32, np.float64]))
    x = data.draw(arrays.arrays(dtype, shape, elements=st.floats(-100, 100, width=16)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        got = getattr(cr, name)(cr.from_numpy(x))
        want = getattr(np, name)(x)
    assert got.dtype == want.dtype
    np.testing.assert_array_equal(got.numpy(), want)


@pytest.mark.parametrize("name", ["exp", "log", "sqrt", "tanh", "sigmoid", "sin", "erf", "lgamma", "rsqrt", "logit"])
def test_functions_without_whole_results_make_integers_the_default_float(name: str) -> None:
    assert getattr(cr, name)(cr.tensor([1, 2])).dtype == cr.float32


@pytest.mark.parametrize("name", ["floor", "ceil", "trunc", "round", "abs", "sign", "square", "relu", "clamp_min"])
def test_functions_with_whole_results_keep_integers(name: str) -> None:
    args = (0,) if name == "clamp_min" else ()
    assert getattr(cr, name)(cr.tensor([1, -2]), *args).dtype == cr.int64


@pytest.mark.parametrize("name", ["erf", "lgamma", "digamma", "i0", "erfinv"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_special_functions_keep_the_floating_type(name: str, dtype: Any) -> None:
    x = cr.from_numpy(np.array([0.25, 0.5], dtype)).requires_grad_()
    out = getattr(cr, name)(x)
    out.backward()
    assert out.dtype == dtype
    assert x.grad is not None and x.grad.dtype == dtype


def test_special_functions_equal_scipys() -> None:
    from scipy import special as oracle

    x = np.linspace(0.1, 0.9, 7)
    for name in "erf erfc erfcx erfinv ndtr ndtri log_ndtr entr gammaln psi i0 i0e i1 i1e expit logit".split():
        got = getattr(cr.special, name)(cr.from_numpy(x))
        np.testing.assert_allclose(got.numpy(), getattr(oracle, name)(x), rtol=1e-13)
    for n in (0, 1, 2, 5):
        np.testing.assert_allclose(cr.polygamma(n, cr.from_numpy(x)).numpy(), oracle.polygamma(n, x), rtol=1e-13)
    np.testing.assert_allclose(cr.mvlgamma(cr.from_numpy(x + 2), 3).numpy(), [oracle.multigammaln(v + 2, 3) for v in x])


def test_the_error_function_in_single_precision() -> None:
    from scipy import special as oracle

    x = np.concatenate([np.linspace(-7, 7, 40001), np.logspace(-40, 0, 500), [np.inf, -np.inf, np.nan, 0]])
    single = x.astype(np.float32)
    got = cr.erf(cr.from_numpy(single[::-1])).numpy()[::-1]
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, oracle.erf(single.astype(np.float64)), rtol=4e-7, atol=1e-44)
    assert np.all(np.abs(got[:-2]) <= 1)


def every_size(decades: float = 38) -> Any:
    """Numbers of all sizes, so many that they are worked on a block at a time."""
    large = np.logspace(0.7, decades, 5000)
    return np.concatenate([np.linspace(-12, 12, 40001), large, -large]).astype(np.float32)


@pytest.mark.filterwarnings("error")
def test_erf_and_gelu_in_single_precision_are_exact_for_numbers_of_any_size() -> None:
    from scipy import special as oracle

    x = every_size()
    wide = x.astype(np.float64)
    np.testing.assert_allclose(cr.erf(cr.from_numpy(x)).numpy(), oracle.erf(wide), rtol=4e-7)
    given = cr.from_numpy(x).requires_grad_()
    out = activation.gelu(given)
    out.backward(cr.ones_like(out))
    np.testing.assert_allclose(out.detach().numpy(), wide * oracle.ndtr(wide), rtol=4e-7, atol=4e-7)
    slope = oracle.ndtr(wide) + wide * np.exp(-wide * wide / 2) / np.sqrt(2 * np.pi)
    np.testing.assert_allclose(given.grad.numpy(), slope, atol=4e-7)


@pytest.mark.filterwarnings("error")
def test_gelu_by_tanh_in_single_precision_is_exact_for_numbers_whose_square_is_finite() -> None:
    """With tanh(u) = 2 s - 1, s the logistic function of 2 u: x s, whose slope is s + 2 x u' s (1 - s)."""
    from scipy import special as oracle

    given = cr.from_numpy(every_size(18)).requires_grad_()
    out = activation.gelu(given, approximate="tanh")
    out.backward(cr.ones_like(out))
    wide = given.detach().numpy().astype(np.float64)
    u, rise = (np.sqrt(2 / np.pi) * part for part in (wide + 0.044715 * wide**3, 1 + 0.134145 * wide**2))
    s, rest = oracle.expit(2 * u), oracle.expit(-2 * u)
    np.testing.assert_allclose(out.detach().numpy(), wide * s, rtol=4e-7, atol=4e-7)
    np.testing.assert_allclose(given.grad.numpy(), s + 2 * wide * rise * s * rest, atol=2e-6)


def test_scipys_own_functions_take_tensors() -> None:
    from scipy import special as oracle

    x = leaf([0.25, 0.5])
    out = oracle.erf(x) + oracle.expit(x) + oracle.gammaln(x)
    assert isinstance(out, cr.Tensor) and out.requires_grad


def test_importing_the_package_does_not_import_scipy() -> None:
    code = "import sys, chainrule, chainrule.special; sys.exit('scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_numpys_functions_take_tensors() -> None:
    x = cr.tensor([-1.5, 0.5])
    for function in (np.sinc, np.real, np.angle, np.nan_to_num, np.round, np.around, np.i0, np.fix, np.abs, np.degrees):
        got = function(x)
        assert isinstance(got, cr.Tensor)
        np.testing.assert_allclose(got.numpy(), function(x.numpy()), rtol=1e-6)
    np.testing.assert_array_equal(np.clip(x, -1, 0).numpy(), [-1, 0])
    np.testing.assert_array_equal(np.clip(x, max=0).numpy(), [-1.5, 0])
    np.testing.assert_array_equal(np.round(x, 1).numpy(), [-1.5, 0.5])
    quotient, rest = np.divmod(x, 1)
    np.testing.assert_array_equal(quotient.numpy(), [-2, 0])
    np.testing.assert_array_equal(rest.numpy(), [0.5, 0.5])
    assert np.allclose(x, x) and np.array_equal(x, x) and not np.iscomplexobj(x)


def test_sigmoid_of_large_numbers_does_not_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        out = cr.sigmoid(cr.tensor([-1000.0, 1000.0]))
    np.testing.assert_array_equal(out.numpy(), [0, 1])


@pytest.mark.parametrize("exponent", [-2, -1, -0.5, 0, 0.5, 1, 2, 3, 4, 7, 2.5])
def test_powers_equal_numpys(exponent: float) -> None:
    x = np.array([0.5, 1.0, 3.0], np.float32)
    got = cr.pow(cr.from_numpy(x), exponent)
    assert got.dtype == cr.float32
    np.testing.assert_allclose(got.numpy(), np.power(x, np.float32(exponent)), rtol=1e-6)


def test_the_first_power_is_a_new_array() -> None:
    x = cr.tensor([1.0])
    assert not np.may_share_memory((x**1).array, x.array)


def test_powers_are_recorded_as_numpys_power() -> None:
    recipe = (leaf([1.0]) ** 2).recipe
    assert recipe is not None and recipe.func is np.power and recipe.args[1] == 2


def test_an_integer_to_a_negative_power_raises() -> None:
    with pytest.raises(RuntimeError, match="negative integer powers"):
        cr.tensor([2]) ** -1
    with pytest.raises(RuntimeError, match="negative integer powers"):
        cr.tensor([2]) ** cr.tensor([-1])


def test_an_integer_divided_by_zero_raises() -> None:
    for function in (cr.floor_divide, cr.remainder, cr.fmod):
        with pytest.raises(RuntimeError, match="ZeroDivisionError"):
            function(cr.tensor([1]), 0)


def test_float_power_computes_in_double_precision() -> None:
    assert cr.float_power(cr.tensor([2], dtype=cr.int8), 0.5).dtype == cr.float64
    assert cr.float_power(cr.tensor([2.0 + 1j]), 2).dtype == cr.complex128


# ----- kinks ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "x", "want"),
    [
        (cr.relu, [-1, 0, 1], [0, 0, 1]),
        (cr.abs, [-1, 0, 1], [-1, 0, 1]),
        (cr.sign, [-1, 0, 1], [0, 0, 0]),
        (lambda x: cr.maximum(x, 0.0), [-1, 0, 1], [0, 0.5, 1]),
        (lambda x: cr.minimum(x, 0.0), [-1, 0, 1], [1, 0.5, 0]),
        (lambda x: cr.clamp(x, 0, 1), [-1, 0, 1, 2], [0, 1, 1, 0]),
        (activation.relu6, [-1, 0, 3, 6, 7], [0, 0, 1, 0, 0]),
        (lambda x: x**0, [0, 1], [0, 0]),
        (lambda x: x ** cr.tensor([0.0, 0.0]), [0, 1], [0, 0]),
        (lambda x: cr.tensor([0.0, 0.0, 2.0]) ** x, [0, 1, 0], [0, 0, np.log(2)]),
        (lambda x: 0.0**x, [0, 1], [0, 0]),
        (cr.sinc, [0], [0]),
        (lambda x: cr.xlogy(x, cr.tensor([0.0])), [0], [0]),
        (lambda x: cr.copysign(x, -1.0), [-2, 0, 2], [1, 0, -1]),
        (activation.hardsigmoid, [-3, 0, 3], [0, 1 / 6, 0]),
        (activation.softshrink, [-0.5, 0.5, 1], [0, 0, 1]),
    ],
)
def test_slopes_at_kinks_are_pytorchs(function: Any, x: list[float], want: list[float]) -> None:
    np.testing.assert_allclose(slope(function, x), want)


def test_an_infinite_gradient_does_not_pass_where_relu_is_flat() -> None:
    with np.errstate(divide="ignore"):
        np.testing.assert_array_equal(slope(lambda x: cr.sqrt(cr.relu(x)), [-1.0, 4.0]), [0, 0.25])


def test_fmax_gives_ties_to_the_first_and_ignores_nan() -> None:
    x, y = leaf([1.0, np.nan, 2.0]), leaf([1.0, 3.0, np.nan])
    cr.fmax(x, y).backward()
    assert x.grad is not None and y.grad is not None
    np.testing.assert_array_equal(x.grad.numpy(), [1, 0, 1])
    np.testing.assert_array_equal(y.grad.numpy(), [0, 1, 0])


def test_mixed_second_derivative_of_a_power_with_exponent_zero() -> None:
    x, y = leaf([2.0]), leaf([0.0])
    (first,) = cr.autograd.grad(x**y, [x], create_graph=True)
    (second,) = cr.autograd.grad(first, [y])
    np.testing.assert_allclose(second.numpy(), [0.5])  # d^2 x^y / dx dy = x^(y-1) (1 + y ln x)


def test_second_derivative_of_sinc_at_zero() -> None:
    x = leaf([0.0])
    (first,) = cr.autograd.grad(cr.sinc(x), [x], create_graph=True)
    (second,) = cr.autograd.grad(first, [x])
    np.testing.assert_allclose(second.numpy(), [-(np.pi**2) / 3])


# ----- complex numbers --------------------------------------------------------------------------------------------


def test_real_and_imag_are_views() -> None:
    z = cr.tensor([1 + 2j, 3 + 4j])
    z.real[0] = 10
    z.imag[1] = 20
    np.testing.assert_array_equal(z.numpy(), [10 + 2j, 3 + 20j])


@pytest.mark.parametrize("part", [cr.real, cr.imag])
def test_a_write_to_a_part_carries_the_gradient(part: Any) -> None:
    z, value = leaf([1 + 2j], cr.complex128), leaf([3.0])
    y = z * 1
    part(y)[...] = value
    cr.real(y * y * 1j).backward()  # Re(i (a + ib)^2) = -2ab
    assert z.grad is not None and value.grad is not None
    kept = 1.0 if part is cr.imag else 2.0
    np.testing.assert_allclose(value.grad.numpy(), [-2 * kept])
    np.testing.assert_allclose(z.grad.numpy(), [-6.0 if part is cr.imag else -6j])


def test_imag_of_a_real_tensor_raises() -> None:
    with pytest.raises(RuntimeError, match="non-complex"):
        cr.imag(cr.tensor([1.0]))


def test_parts_and_complex_are_inverse() -> None:
    z = cr.tensor([[1 + 2j, 3 - 4j]])
    np.testing.assert_array_equal(cr.complex(z.real, z.imag).numpy(), z.numpy())
    np.testing.assert_array_equal(cr.view_as_complex(cr.view_as_real(z)).numpy(), z.numpy())
    np.testing.assert_allclose(cr.polar(z.abs(), z.angle()).numpy(), z.numpy(), rtol=1e-6)


# ----- operators --------------------------------------------------------------------------------------------------


def test_operators_and_their_reflected_forms() -> None:
    x = np.array([1.5, -2.0, 3.0])
    t = cr.from_numpy(x)
    for got, want in (
        (t**2, x**2), (2**t, 2**x), (t % 2, x % 2), (5 % t, 5 % x), (t // 2, x // 2), (5 // t, 5 // x),
        (abs(t), abs(x)), (t < 1, x < 1), (1 < t, x > 1), (t == 3, x == 3), (t != 3, x != 3),
        (t >= t, x >= x), (t <= 0, x <= 0),
        (divmod(t, 2)[0], x // 2), (divmod(7, t)[1], 7 % x), ((t > 0) & (t < 2), (x > 0) & (x < 2)),
        ((t > 2) | (t < 0), (x > 2) | (x < 0)), (~(t > 0), ~(x > 0)), ((t > 0) ^ True, (x > 0) ^ True),
        (True & (t > 0), x > 0),
    ):  # fmt: skip
        np.testing.assert_array_equal(got.numpy(), want)
    i = cr.tensor([1, 2])
    np.testing.assert_array_equal((i << 2).numpy(), [4, 8])
    np.testing.assert_array_equal((1 << i).numpy(), [2, 4])
    np.testing.assert_array_equal((i & 1).numpy(), [1, 0])


def test_in_place_operators_write_into_the_tensor() -> None:
    t = cr.tensor([2.0, 5.0])
    same = t
    t **= 2
    t %= 7
    t //= 2
    assert t is same
    np.testing.assert_array_equal(t.numpy(), [2, 2])
    flags = cr.tensor([True, False])
    flags |= cr.tensor([False, True])
    assert flags.numpy().all()


def test_equality_with_other_things_and_hash() -> None:
    t = cr.tensor([1.0])
    assert (t == None) is False and (t != None) is True and (t == "a") is False  # noqa: E711
    assert len({t, t}) == 1


def test_bitwise_operations_refuse_floats() -> None:
    with pytest.raises(RuntimeError, match="float32"):
        cr.tensor([1.0]) & cr.tensor([1.0])


IN_PLACE = (
    "abs_ acos_ asin_ atan_ ceil_ cos_ cosh_ deg2rad_ erf_ erfc_ exp2_ exp_ expm1_ floor_ frac_ i0_ log10_ log1p_ "
    "log2_ log_ logit_ neg_ rad2deg_ reciprocal_ relu_ round_ rsqrt_ selu_ sigmoid_ sin_ sinc_ sinh_ sqrt_ "
    "square_ tan_ tanh_ trunc_"
).split()


@pytest.mark.parametrize("name", IN_PLACE)
def test_in_place_functions_equal_the_others_and_carry_gradients(name: str) -> None:
    if not hasattr(cr, name):
        pytest.skip("a method only")
    x, again = leaf([0.25, 0.5]), leaf([0.25, 0.5])
    y = x * 1
    out = getattr(cr, name)(y)
    assert out is y
    y.backward()
    want = getattr(cr, name[:-1])(again)
    want.backward()
    assert x.grad is not None and again.grad is not None
    np.testing.assert_array_equal(y.detach().numpy(), want.detach().numpy())
    np.testing.assert_array_equal(x.grad.numpy(), again.grad.numpy())


@pytest.mark.parametrize(
    ("name", "args"),
    [("clamp_", (0.3, None)), ("pow_", (2,)), ("lerp_", (1.0, 0.5)), ("addcmul_", (2.0, 3.0)), ("addcdiv_", (2.0, 3.0)),
     ("atan2_", (2.0,)), ("xlogy_", (2.0,)), ("fmod_", (0.2,)), ("nan_to_num_", ()), ("hypot_", (1.0,))],
)  # fmt: skip
def test_in_place_methods_with_arguments(name: str, args: tuple[Any, ...]) -> None:
    x = cr.tensor([0.25, 0.5])
    want = getattr(x, name[:-1])(*args)
    assert getattr(x, name)(*args) is x
    np.testing.assert_array_equal(x.numpy(), want.numpy())


def test_a_result_that_was_overwritten_raises_at_backward() -> None:
    x = leaf([1.0])
    y = cr.exp(x)
    z = y * 1
    y.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.backward()


# ----- bounds, closeness ------------------------------------------------------------------------------------------


def test_clamp_takes_numbers_and_tensors() -> None:
    x = cr.tensor([-2.0, 0.5, 3.0])
    np.testing.assert_array_equal(cr.clamp(x, cr.tensor([-1.0, 1.0, 0.0]), 2.0).numpy(), [-1, 1, 2])
    np.testing.assert_array_equal(x.clamp(max=0.0).numpy(), [-2, 0, 0])
    assert cr.clamp(cr.tensor([1, 5]), 0.5, 2.5).dtype == cr.float32
    with pytest.raises(RuntimeError, match="None"):
        cr.clamp(x)


def test_closeness_and_equality() -> None:
    x = cr.tensor([1.0, np.nan])
    assert not cr.allclose(x, x) and cr.allclose(x, x, equal_nan=True)
    np.testing.assert_array_equal(cr.isclose(x, cr.tensor([1.0 + 1e-6, 0])).numpy(), [True, False])
    assert cr.equal(cr.tensor([1]), cr.tensor([1])) and not cr.equal(cr.tensor([1]), cr.tensor([1, 1]))


def test_comparisons_promote_and_are_not_differentiable() -> None:
    out = leaf([1.0]) > cr.tensor([0], dtype=cr.int32)
    assert out.dtype == np.bool_ and not out.requires_grad


# ----- activations ------------------------------------------------------------------------------------------------


def test_activations_are_finite_far_out() -> None:
    x = np.array([-1e4, -50.0, 50.0, 1e4])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for function in (
            cr.sigmoid, activation.softplus, activation.logsigmoid, activation.silu, activation.mish, activation.elu,
            cr.selu, activation.gelu, lambda t: activation.gelu(t, approximate="tanh"),
        ):  # fmt: skip
            t = leaf(x)
            out = function(t)
            out.backward()
            assert t.grad is not None
            assert np.all(np.isfinite(out.detach().numpy())) and np.all(np.isfinite(t.grad.numpy()))


def test_inplace_writes_into_the_input() -> None:
    for function in (activation.elu, activation.silu, activation.hardtanh, activation.leaky_relu, cr.selu, cr.celu):
        x = cr.tensor([-1.0, 2.0])
        want = function(x).numpy()
        assert function(x, inplace=True) is x
        np.testing.assert_array_equal(x.numpy(), want)


def test_prelu_has_a_weight_for_each_channel() -> None:
    x, weight = leaf(-np.ones((2, 3, 4))), leaf([0.1, 0.2, 0.3])
    out = cr.prelu(x, weight)
    np.testing.assert_allclose(out.detach().numpy()[0, :, 0], [-0.1, -0.2, -0.3])
    out.backward()
    assert weight.grad is not None
    np.testing.assert_allclose(weight.grad.numpy(), [-8, -8, -8])
    with pytest.raises(RuntimeError, match="channel size = 3"):
        cr.prelu(x, leaf([0.1, 0.2]))


NAMES = sorted({*elementwise.__all__, *special.__all__, *activation.__all__, *comparison.__all__})


@pytest.mark.parametrize("name", NAMES)
def test_names_are_pytorchs(name: str) -> None:
    torch = pytest.importorskip("torch")
    assert callable(getattr(cr, name))
    if name not in ("cbrt", "trunc_divide"):
        assert hasattr(torch, name) or hasattr(torch.Tensor, name)


def test_the_angle_at_the_origin_has_gradient_zero_as_in_pytorch() -> None:
    x, y = cr.tensor([0.0, 3.0], requires_grad=True), cr.tensor([0.0, 4.0], requires_grad=True)
    cr.atan2(x, y).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), [0, 4 / 25], rtol=1e-6)
    np.testing.assert_allclose(y.grad.numpy(), [0, -3 / 25], rtol=1e-6)


def test_functions_with_corners_do_not_hide_nan() -> None:
    x = cr.tensor([float("nan")], requires_grad=True)
    for call in (lambda t: F.threshold(t, 0.5, -1.0), F.hardswish, F.relu, F.hardtanh, F.leaky_relu, F.relu6, F.elu):
        assert np.isnan(call(x).item())
    (gradient,) = cr.autograd.grad(F.hardswish(x), x)
    assert np.isnan(gradient.item())


def test_the_angle_of_a_negative_zero_is_zero() -> None:
    assert cr.angle(cr.tensor([-0.0, 0.0, 2.0])).tolist() == [0, 0, 0]
    assert cr.angle(cr.tensor([-1.0])).item() == pytest.approx(np.pi)


@pytest.mark.parametrize("shape", [(3, 4, 1, 1), (4, 1, 1), (3, 4, 10, 12), ()])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_a_large_mask_keeps_is_broadcast_and_may_be_infinite(shape: tuple[int, ...], dtype: Any) -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=shape).astype(dtype)
    x.flat[0], x.flat[-1] = np.inf, np.nan
    mask = random.random((3, 4, 10, 12)) > 0.5
    np.testing.assert_array_equal(keep_where(x, mask), np.where(mask, x, dtype(0)))
