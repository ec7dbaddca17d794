"""The transforms. Oracles: closed forms, HIPS autograd, SciPy, finite differences, PyTorch."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from typing import Any

import numpy as np
import pytest
import scipy.optimize

import chainrule as cr
from chainrule.func import grad, hessian, hvp, jacfwd, jacrev, jvp, value_and_grad, vjp
from chainrule.func.trees import flatten, leaf_paths, unflatten
from tests.duck import DuckArray

X = np.array([0.3, -1.2, 2.0, 0.7])
A = np.random.default_rng(1).standard_normal((3, 4))


def rosenbrock(x: Any) -> Any:
    return np.sum(100.0 * (x[1:] - x[:-1] ** 2.0) ** 2.0 + (1 - x[:-1]) ** 2.0)


def layer(x: Any) -> Any:
    return np.tanh(A @ x)


def layer_jacobian(x: np.ndarray) -> np.ndarray:
    return (1 - np.tanh(A @ x) ** 2)[:, None] * A


# ----- against others ---------------------------------------------------------------------------------------------


def test_the_gradient_of_rosenbrocks_function_is_scipys() -> None:
    np.testing.assert_allclose(grad(rosenbrock)(X), scipy.optimize.rosen_der(X))


def test_the_hessian_of_rosenbrocks_function_is_scipys() -> None:
    np.testing.assert_allclose(hessian(rosenbrock)(X), scipy.optimize.rosen_hess(X))
    np.testing.assert_allclose(jacrev(jacrev(rosenbrock))(X), scipy.optimize.rosen_hess(X))
    np.testing.assert_allclose(jacrev(grad(rosenbrock))(X), scipy.optimize.rosen_hess(X))
    np.testing.assert_allclose(jacfwd(jacfwd(rosenbrock))(X), scipy.optimize.rosen_hess(X))


def test_a_product_with_the_hessian_is_scipys() -> None:
    v = np.array([1.0, -2.0, 0.5, 3.0])
    expected = scipy.optimize.rosen_hess_prod(X, v)
    np.testing.assert_allclose(hvp(rosenbrock, X, v), expected)
    np.testing.assert_allclose(hvp(rosenbrock, (X,), (v,)), expected)
    np.testing.assert_allclose(jvp(grad(rosenbrock), (X,), (v,))[1], expected)


def test_scipys_minimiser_finds_the_minimum_with_value_and_grad() -> None:
    found = scipy.optimize.minimize(value_and_grad(rosenbrock), X, jac=True, method="BFGS")
    np.testing.assert_allclose(found.x, np.ones(4), atol=1e-4)


def test_scipy_finds_the_gradient_right() -> None:
    def f(x: Any) -> Any:
        return np.sum(np.sin(x) * np.exp(-x * x) / (1 + np.square(x)))

    assert scipy.optimize.check_grad(f, grad(f), X) < 1e-6


def test_gradients_and_hessians_are_hips_autograds() -> None:
    autograd = pytest.importorskip("autograd")
    anp = pytest.importorskip("autograd.numpy")

    def program(np: Any) -> Any:
        def f(p: Any) -> Any:
            hidden = np.tanh(np.dot(A, p) + np.sum(p * p))
            return np.sum(hidden * hidden) + np.log(np.sum(np.exp(p)))

        return f

    np.testing.assert_allclose(grad(program(np))(X), autograd.grad(program(anp))(X))
    np.testing.assert_allclose(hessian(program(np))(X), autograd.hessian(program(anp))(X))


def test_jacobians_by_rows_and_by_columns_are_the_closed_form() -> None:
    np.testing.assert_allclose(jacrev(layer)(X), layer_jacobian(X))
    np.testing.assert_allclose(jacfwd(layer)(X), layer_jacobian(X))


def test_products_with_the_jacobian_from_both_sides() -> None:
    u, v = np.array([1.0, -1.0, 2.0]), np.array([0.5, 1.0, -1.0, 2.0])
    value, pullback = vjp(layer, X)
    np.testing.assert_allclose(value, np.tanh(A @ X))
    for _ in range(2):
        np.testing.assert_allclose(pullback(u)[0], u @ layer_jacobian(X))
    value, product = jvp(layer, (X,), (v,))
    np.testing.assert_allclose(value, np.tanh(A @ X))
    np.testing.assert_allclose(product, layer_jacobian(X) @ v)


def test_the_shape_of_a_jacobian_is_the_outputs_then_the_inputs() -> None:
    x = np.random.default_rng(0).standard_normal((2, 3))
    for transform in (jacrev, jacfwd):
        jacobian = transform(lambda x: np.sin(x).T @ np.ones((2, 5)))(x)
        assert jacobian.shape == (3, 5, 2, 3)
    assert jacrev(lambda x: x * 2)(np.zeros((0, 2))).shape == (0, 2, 0, 2)
    assert jacfwd(lambda x: x * 2)(np.zeros((0, 2))).shape == (0, 2, 0, 2)


def test_complex_products_are_pytorchs() -> None:
    torch = pytest.importorskip("torch")
    z, u = np.array([1 + 2j, -0.5j]), np.array([2 - 1j, 1j])

    def f(z: Any) -> Any:
        return z * z * (1 + 2j)

    np.testing.assert_allclose(vjp(f, z)[1](u)[0], torch.func.vjp(f, torch.tensor(z))[1](torch.tensor(u))[0].numpy())
    np.testing.assert_allclose(
        jvp(f, (z,), (u,))[1], torch.func.jvp(f, (torch.tensor(z),), (torch.tensor(u),))[1].numpy()
    )


# ----- nesting ----------------------------------------------------------------------------------------------------


def test_gradients_of_gradients_of_gradients() -> None:
    f = grad(grad(grad(lambda x: x**4.0)))
    assert f(2.0) == pytest.approx(48.0)


def test_a_function_that_calls_grad_inside() -> None:
    def f(x: Any) -> Any:
        return x * grad(lambda y: y * y * x)(x)  # x * 2 x x

    assert grad(f)(3.0) == pytest.approx(6 * 9)
    assert grad(grad(f))(3.0) == pytest.approx(12 * 3)


def test_levels_are_not_confused() -> None:
    # d/dx [x * d/dy (x + y)] = 1: the classical example (Siskind and Pearlmutter, 2008)
    assert grad(lambda x: x * grad(lambda y: x + y)(1.0))(1.0) == pytest.approx(1.0)
    assert jvp(lambda x: x * jvp(lambda y: x * y, (2.0,), (1.0,))[1], (3.0,), (1.0,))[1] == pytest.approx(6.0)


def test_an_inner_argument_that_is_a_constant_keeps_the_outer_gradient() -> None:
    def outer(w: Any) -> Any:
        inner = grad(lambda x: np.sum(w * x**2.0))(np.array([1.0, 2.0]))
        return np.sum(inner**2.0)  # sum (2 w x)^2

    np.testing.assert_allclose(grad(outer)(np.array([3.0, 4.0])), 8 * np.array([3.0, 4.0]) * np.array([1.0, 4.0]))


@pytest.mark.parametrize("inner", [jacrev, jacfwd, hessian])
def test_jacobians_inside_a_gradient(inner: Any) -> None:
    def f(x: Any) -> Any:
        return np.sum(inner(lambda y: np.sum(y**4.0))(x))

    order = 2 if inner is hessian else 1
    expected = 24 * X if order == 2 else 12 * X**2
    np.testing.assert_allclose(grad(f)(X), expected)


def test_products_inside_a_gradient() -> None:
    v = np.array([1.0, 2.0, 0.0, -1.0])
    np.testing.assert_allclose(grad(lambda x: jvp(lambda y: np.sum(y**3.0), (x,), (v,))[1])(X), 6 * X * v)
    np.testing.assert_allclose(grad(lambda x: np.sum(hvp(lambda y: np.sum(y**3.0), x, v)))(X), 6 * v)
    np.testing.assert_allclose(grad(lambda x: np.sum(vjp(lambda y: y**3.0, x)[1](v)[0]))(X), 6 * X * v)
    np.testing.assert_allclose(
        grad(lambda u: np.sum(vjp(lambda y: y**3.0, X)[1](u)[0]))(v), 3 * X**2, err_msg="by the cotangent"
    )
    np.testing.assert_allclose(
        grad(lambda t: np.sum(jvp(lambda y: y**3.0, (X,), (t,))[1]))(v), 3 * X**2, err_msg="by the tangent"
    )
    np.testing.assert_allclose(grad(lambda t: np.sum(hvp(lambda y: np.sum(y**3.0), X, t)))(v), 6 * X)


def test_a_tensor_from_outside_that_requires_grad_gets_its_gradient() -> None:
    w = cr.tensor([2.0, 3.0], dtype=cr.float64, requires_grad=True)
    result = grad(lambda x: np.sum(w * x * x))(np.array([1.0, 5.0]))
    assert isinstance(result, cr.Tensor)
    result.backward()
    np.testing.assert_allclose(w.grad.array, [2.0, 10.0])


def test_the_graph_of_a_tensor_from_outside_is_not_used_up() -> None:
    w = cr.tensor([2.0, 3.0], dtype=cr.float64, requires_grad=True)
    h = w * w
    for recording in (True, False):
        with cr.set_grad_enabled(recording):
            grad(lambda x: np.sum(h * x))(np.array([1.0, 5.0]))
    h.backward()
    np.testing.assert_allclose(w.grad.array, [4.0, 6.0])


def test_no_leaf_collects_a_gradient() -> None:
    x = cr.tensor([2.0, 3.0], requires_grad=True)
    value_and_grad(lambda x: (x * x).sum())(x)
    hessian(lambda x: (x * x).sum())(x)
    assert x.grad is None


def test_a_tensor_that_requires_grad_can_be_differentiated_further() -> None:
    x = cr.tensor([2.0, 3.0], dtype=cr.float64, requires_grad=True)
    gradient = grad(lambda x: (x * x * x).sum())(x)
    gradient.backward()
    np.testing.assert_allclose(x.grad.array, [12.0, 18.0])


def test_inside_no_grad_the_function_is_differentiated_and_the_result_is_not_recorded() -> None:
    x = cr.tensor([2.0], requires_grad=True)
    with cr.no_grad():
        gradient = grad(lambda x: (x * x).sum())(x)
    assert gradient.tolist() == [4.0]
    assert not gradient.requires_grad


def test_writing_into_an_argument_changes_neither_the_callers_values_nor_the_gradient() -> None:
    def f(x: Any) -> Any:
        x = x * 1
        x[0] = 0.0
        return np.sum(x * x)

    x = X.copy()
    np.testing.assert_allclose(grad(f)(x), [0, *2 * X[1:]])
    np.testing.assert_array_equal(x, X)

    def inner_writes(x: Any) -> Any:
        def g(y: Any) -> Any:
            y[0] = 0.0
            return np.sum(y**3.0)

        return np.sum(grad(g)(x)) + x[0]

    np.testing.assert_allclose(grad(inner_writes)(X), [1, *6 * X[1:]])


# ----- arguments and results --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_arrays_give_arrays_of_their_own_type(dtype: Any) -> None:
    x = np.array([1.0, 2.0], dtype=dtype)
    value, gradient = value_and_grad(lambda x: np.sum(x * x))(x)
    assert isinstance(gradient, np.ndarray)
    assert gradient.dtype == dtype
    assert value.dtype == dtype
    assert jacrev(lambda x: x * x)(x).dtype == jacfwd(lambda x: x * x)(x).dtype == hessian(np.sum)(x).dtype == dtype
    assert type(jvp(np.sin, (x,), (x,))[1]) is type(vjp(np.sin, x)[1](x)[0]) is np.ndarray


def test_tensors_give_tensors() -> None:
    x = cr.tensor([1.0, 2.0])
    for result in (
        *value_and_grad(lambda x: (x * x).sum())(x),
        jacrev(lambda x: x * x)(x),
        jacfwd(lambda x: x * x)(x),
        hessian(lambda x: (x * x).sum())(x),
        hvp(lambda x: (x * x).sum(), x, x),
        *jvp(lambda x: x * x, (x,), (x,)),
        *vjp(lambda x: x * x, x)[1](x),
    ):
        assert isinstance(result, cr.Tensor)
        assert result.dtype == cr.float32
        assert not result.requires_grad


def test_python_floats_give_numpy_numbers_and_arrays_without_axes_stay_arrays() -> None:
    assert isinstance(grad(np.sin)(1.0), np.float64)
    assert isinstance(grad(np.sin)(np.array(1.0)), np.ndarray)


def test_the_body_may_be_written_on_tensors() -> None:
    def f(x: Any) -> Any:
        return (x.sin() * x.exp()).sum(dim=0)

    np.testing.assert_allclose(grad(f)(X), np.exp(X) * (np.sin(X) + np.cos(X)))


def test_argnums_chooses_arguments() -> None:
    def f(x: Any, y: Any, z: Any) -> Any:
        return np.sum(x * y * y) + 0 * z

    x, y = np.array([1.0, 2.0]), np.array([3.0, 4.0])
    np.testing.assert_allclose(grad(f)(x, y, 1), y * y)
    np.testing.assert_allclose(grad(f, 1)(x, y, 1), 2 * x * y)
    np.testing.assert_allclose(grad(f, -2)(x, y, 1), 2 * x * y)
    by_y, by_x = grad(f, argnums=(1, 0))(x, y, 1)
    np.testing.assert_allclose(by_x, y * y)
    np.testing.assert_allclose(by_y, 2 * x * y)
    (only,) = grad(f, argnums=(0,))(x, y, z=1)
    np.testing.assert_allclose(only, y * y)
    blocks = hessian(f, (0, 1))(x, y, 1)
    np.testing.assert_allclose(blocks[0][0], np.zeros((2, 2)))
    np.testing.assert_allclose(blocks[0][1], np.diag(2 * y))
    np.testing.assert_allclose(blocks[1][1], np.diag(2 * x))
    rows = jacrev(lambda x, y: x * y, (0, 1))(x, y)
    np.testing.assert_allclose(rows[0], np.diag(y))
    np.testing.assert_allclose(rows[1], np.diag(x))


def test_has_aux_hands_on_what_else_the_function_returned() -> None:
    def f(x: Any) -> Any:
        return np.sum(x * x), {"double": x * 2, "name": "f"}

    x = np.array([1.0, 2.0])
    (value, aux), gradient = value_and_grad(f, has_aux=True)(x)
    assert value == 5.0
    assert aux["name"] == "f"
    assert isinstance(aux["double"], np.ndarray)
    np.testing.assert_array_equal(aux["double"], 2 * x)
    np.testing.assert_array_equal(gradient, 2 * x)
    gradient, aux = grad(f, has_aux=True)(x)
    np.testing.assert_array_equal(gradient, 2 * x)
    assert vjp(f, x, has_aux=True)[2]["name"] == "f"
    assert jvp(f, (x,), (x,), has_aux=True)[2]["name"] == "f"
    assert jacrev(f, has_aux=True)(x)[1]["name"] == "f"
    assert jacfwd(f, has_aux=True)(x)[1]["name"] == "f"
    assert hvp(f, x, x, has_aux=True)[1]["name"] == "f"


Pair = namedtuple("Pair", ["left", "right"])


def test_gradients_have_the_structure_of_nested_arguments() -> None:
    def f(p: Any) -> Any:
        return np.sum(p["w"][0] * p["w"][1]) + p["pair"].left * p["pair"].right + 3.0 * p["b"]

    p = OrderedDict(w=[np.array([1.0, 2.0]), np.array([3.0, 4.0])], pair=Pair(5.0, 6.0), none=None, b=2.0)
    g = grad(f)(p)
    assert isinstance(g, OrderedDict)
    assert list(g) == ["w", "pair", "none", "b"]
    assert isinstance(g["pair"], Pair)
    np.testing.assert_array_equal(g["w"][0], [3, 4])
    np.testing.assert_array_equal(g["w"][1], [1, 2])
    assert (g["pair"].left, g["pair"].right, g["none"], g["b"]) == (6.0, 5.0, None, 3.0)


def test_jacobians_and_products_of_nested_structures() -> None:
    def f(p: Any) -> Any:
        return {"sum": p["x"] + p["y"], "product": (p["x"] * p["y"],)}

    p = {"x": np.array([1.0, 2.0]), "y": np.array([3.0, 4.0])}
    for transform in (jacrev, jacfwd):
        j = transform(f)(p)
        np.testing.assert_array_equal(j["sum"]["x"], np.eye(2))
        np.testing.assert_array_equal(j["product"][0]["x"], np.diag(p["y"]))
    value, pullback = vjp(f, p)
    (g,) = pullback({"sum": np.ones(2), "product": (np.ones(2),)})
    np.testing.assert_array_equal(g["x"], 1 + p["y"])
    value, tangent = jvp(f, (p,), ({"x": np.ones(2), "y": np.zeros(2)},))
    np.testing.assert_array_equal(value["sum"], [4, 6])
    np.testing.assert_array_equal(tangent["product"][0], p["y"])
    h = hessian(lambda p: np.sum(p["x"] * p["y"]))(p)
    np.testing.assert_array_equal(h["x"]["y"], np.eye(2))
    np.testing.assert_array_equal(h["x"]["x"], np.zeros((2, 2)))


def test_arguments_that_are_not_used_have_zero_gradients() -> None:
    g = grad(lambda p: np.sum(p[0]))([X, X])
    np.testing.assert_array_equal(g[1], np.zeros(4))
    np.testing.assert_array_equal(jacfwd(lambda x, y: x * 2, 1)(X, X), np.zeros((4, 4)))
    np.testing.assert_array_equal(hvp(lambda x: np.sum(x), X, X), np.zeros(4))
    np.testing.assert_array_equal(jvp(lambda x, y: x * 1.0, (X, X), (0 * X, X))[1], np.zeros(4))


def test_negative_strides_and_transposed_arrays() -> None:
    x = np.arange(6.0).reshape(2, 3)[::-1].T
    np.testing.assert_array_equal(grad(lambda x: np.sum(x * x))(x), 2 * x)
    np.testing.assert_array_equal(hvp(lambda x: np.sum(x * x), x, x[::-1]), 2 * x[::-1])


def test_other_libraries_arrays_stay_what_they_are() -> None:
    gradient = grad(lambda x: np.sum(x * np.exp(x)))(DuckArray(X))
    assert isinstance(gradient, DuckArray)
    np.testing.assert_allclose(gradient.hidden, (1 + X) * np.exp(X))


# ----- errors -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("x", [3, True, np.array([1, 2]), cr.tensor([1, 2])])
def test_integers_have_no_gradient(x: Any) -> None:
    for transform in (grad, jacrev, jacfwd, hessian):
        with pytest.raises(RuntimeError, match="floating point"):
            transform(lambda x: np.sum(x))(x)


def test_a_wrong_value_in_a_nested_argument_is_named_by_its_path() -> None:
    with pytest.raises(RuntimeError, match=r"argument\['layers'\]\[1\] is int 3"):
        grad(lambda p: p["layers"][0])({"layers": [1.0, 3]})
    with pytest.raises(TypeError, match=r"argument\['name'\] is str 'a'"):
        grad(lambda p: p["x"])({"x": 1.0, "name": "a"})


def test_grad_of_a_function_that_returns_no_scalar_says_jacrev() -> None:
    with pytest.raises(RuntimeError, match=r"scalar.*shape \(4,\).*jacrev"):
        grad(np.sin)(X)
    with pytest.raises(RuntimeError, match=r"one scalar.*has_aux"):
        grad(lambda x: (np.sum(x), x))(X)
    with pytest.raises(RuntimeError, match=r"real scalar.*complex128"):
        grad(lambda x: np.sum(x))(X + 1j)


def test_a_function_that_leaves_the_tensors_is_refused() -> None:
    with pytest.raises(TypeError, match=r"must return Tensors.*float"):
        grad(lambda x: float(x) ** 2)(2.0)


def test_jacobians_are_those_of_real_functions() -> None:
    for transform in (jacrev, jacfwd):
        with pytest.raises(RuntimeError, match=r"real inputs and outputs.*input 0 is.*complex128.*vjp"):
            transform(lambda z: z * z)(np.array([1j]))


def test_argnums_out_of_range_and_twice() -> None:
    with pytest.raises(RuntimeError, match=r"argnums=2.*1 positional"):
        grad(np.sum, 2)(X)
    with pytest.raises(RuntimeError, match="more than once"):
        grad(np.sum, (0, -1))(X)


def test_has_aux_needs_a_pair() -> None:
    with pytest.raises(RuntimeError, match=r"\(output, aux\)"):
        grad(np.sum, has_aux=True)(X)


def test_cotangents_and_tangents_must_fit() -> None:
    _, pullback = vjp(layer, X)
    with pytest.raises(RuntimeError, match=r"\(4,\).*\(3,\)"):
        pullback(X)
    with pytest.raises(RuntimeError, match="structure"):
        pullback((X[:3],))
    with pytest.raises(RuntimeError, match=r"\(3,\).*\(4,\)"):
        jvp(layer, (X,), (X[:3],))
    with pytest.raises(TypeError, match="tuples"):
        jvp(layer, X, X)
    with pytest.raises(RuntimeError, match="complex128"):
        jvp(layer, (X,), (X * 1j,))


# ----- trees ------------------------------------------------------------------------------------------------------


def test_trees_come_apart_and_together() -> None:
    tree = {"b": [1, (2, None)], "a": Pair(3, {"c": 4}), "empty": []}
    values, structure = flatten(tree)
    assert values == [1, 2, 3, 4]
    assert unflatten(structure, values) == tree
    assert leaf_paths(structure) == ["['b'][0]", "['b'][1][0]", "['a'].left", "['a'].right['c']"]
    with pytest.raises(ValueError, match="holds 4 values"):
        unflatten(structure, [1])
