"""Products that sum: values as NumPy's, gradients by another path, errors as PyTorch's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import chainrule as cr
from chainrule.core.backprop import grad
from chainrule.ops.contraction import linear_operation


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.asarray(np.random.default_rng([seed, *shape]).standard_normal(shape))


def leaf(array: Any) -> cr.Tensor:
    return cr.tensor(array, dtype=cr.float64, requires_grad=True)


# ----- matrix products --------------------------------------------------------------------------------------------


def test_the_operator_takes_arrays_on_either_side() -> None:
    a, b = random(2, 3), random(3, 4)
    t = leaf(a)
    for product in (t @ b, t @ leaf(b), np.matmul(t, b)):
        assert isinstance(product, cr.Tensor)
        np.testing.assert_array_equal(product.detach().numpy(), a @ b)
    u = leaf(b)
    product = a @ u
    assert isinstance(product, cr.Tensor)
    product.sum().backward()
    np.testing.assert_allclose(u.grad.numpy(), a.T @ np.ones((2, 4)))


@pytest.mark.parametrize(
    ("x", "y"),
    [((2, 3), (4, 5)), ((3,), (4,)), ((2, 3), (4,)), ((5, 2, 3), (4, 3, 6)), ((), (3,)), ((2, 2, 2), (3, 2, 3))],
)
def test_shapes_that_do_not_fit_raise_with_both_shapes(x: tuple[int, ...], y: tuple[int, ...]) -> None:
    with pytest.raises(RuntimeError) as caught:
        cr.zeros(x) @ cr.zeros(y)
    if x:
        assert str(x) in str(caught.value) or str(x[:-2]) in str(caught.value)


def test_different_types_are_promoted_and_gradients_come_back_in_each() -> None:
    x = cr.tensor(random(2, 3), dtype=cr.float32, requires_grad=True)
    y = leaf(random(3, 2))
    out = x @ y
    assert out.dtype == cr.float64
    out.sum().backward()
    assert x.grad.dtype == cr.float32
    assert y.grad.dtype == cr.float64
    with pytest.raises(RuntimeError):
        x @ y.T[:, :2].T


@pytest.mark.parametrize(
    ("function", "shapes"),
    [
        (cr.mm, ((2, 3, 1), (3, 2))),
        (cr.bmm, ((2, 3), (3, 2))),
        (cr.bmm, ((2, 3, 4), (3, 4, 2))),
        (cr.mv, ((2, 3), (3, 1))),
        (cr.dot, ((2, 3), (3,))),
        (cr.dot, ((2,), (3,))),
        (cr.outer, ((2, 3), (3,))),
        (cr.inner, ((2, 3), (4,))),
        (cr.linalg.cross, ((2, 4), (2, 4))),
    ],
)
def test_the_strict_forms_refuse_other_shapes(function: Any, shapes: Any) -> None:
    with pytest.raises(RuntimeError, match=r"\(|elements"):
        function(*(cr.ones(shape) for shape in shapes))


def test_addmm_with_beta_zero_ignores_even_nan() -> None:
    nan = cr.full((2, 2), float("nan"))
    np.testing.assert_array_equal(cr.addmm(nan, cr.eye(2), cr.eye(2), beta=0, alpha=3).numpy(), 3 * np.eye(2))


def test_addmm_scales_both_parts() -> None:
    c, a, b = random(4), random(3, 2), random(2, 4)
    out = cr.addmm(leaf(c), leaf(a), leaf(b), beta=0.5, alpha=2.0)
    np.testing.assert_allclose(out.detach().numpy(), 0.5 * c + 2 * a @ b)
    with pytest.raises(RuntimeError):
        cr.addmm(cr.ones(5, 3, 4), cr.ones(3, 2), cr.ones(2, 4))


def test_chain_matmul_takes_the_cheapest_brackets() -> None:
    sizes = [(100, 1), (1, 100), (100, 1)]
    tensors = [leaf(random(*size)) for size in sizes]
    out = cr.chain_matmul(*tensors)
    assert out.recipe is not None
    assert out.recipe.parents[1].shape == (1, 1)  # the last two first
    np.testing.assert_allclose(out.detach().numpy(), np.linalg.multi_dot([t.detach().numpy() for t in tensors]))


# ----- linear -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3,), (5, 3), (2, 5, 3), (0, 3)])
def test_linear_is_the_product_with_the_transposed_weight_plus_bias(shape: tuple[int, ...]) -> None:
    x, w, b = leaf(random(*shape)), leaf(random(4, 3)), leaf(random(4))
    seed = random(*shape[:-1], 4, seed=9)
    out = linear_operation(x, w, b)
    reference = x @ w.T + b
    np.testing.assert_allclose(out.detach().numpy(), reference.detach().numpy())
    for got, want in zip(grad(out, [x, w, b], seed), grad(reference, [x, w, b], seed), strict=True):
        np.testing.assert_allclose(got.numpy(), want.numpy(), atol=1e-12)


def test_linear_does_not_write_into_its_arguments() -> None:
    x, w, b = (leaf(random(*shape)) for shape in ((5, 3), (4, 3), (4,)))
    before = [t.detach().numpy().copy() for t in (x, w, b)]
    linear_operation(x, w, b).sum().backward()
    for t, array in zip((x, w, b), before, strict=True):
        np.testing.assert_array_equal(t.detach().numpy(), array)


@pytest.mark.parametrize("rows", [1, 7, 8, 20, 21, 64])
@pytest.mark.parametrize("biased", [True, False])
def test_linear_of_few_rows_and_a_large_weight_is_the_same_product(rows: int, biased: bool) -> None:
    x, w, b = (random(*shape).astype(np.float32) for shape in ((rows, 256), (260, 256), (260,)))
    out = linear_operation(cr.tensor(x), cr.tensor(w), cr.tensor(b) if biased else None)
    want = x.astype(np.float64) @ w.astype(np.float64).T + (b if biased else 0)
    np.testing.assert_allclose(out.numpy(), want, rtol=1e-4, atol=1e-4)
    assert out.is_contiguous() and out.dtype is cr.float32
    assert not np.shares_memory(out.numpy(), w)


def test_linear_names_both_shapes_when_they_do_not_fit() -> None:
    with pytest.raises(RuntimeError, match=r"\(2, 4\).*\(5, 3\)"):
        linear_operation(cr.ones(2, 4), cr.ones(5, 3))
    with pytest.raises(RuntimeError, match="bias"):
        linear_operation(cr.ones(2, 3), cr.ones(5, 3), cr.ones(4))


def test_bilinear_is_its_definition() -> None:
    a, b, w, c = random(6, 2), random(6, 3), random(4, 2, 3), random(4)
    out = cr.bilinear(leaf(a), leaf(b), leaf(w), leaf(c))
    np.testing.assert_allclose(out.detach().numpy(), np.einsum("ni,oij,nj->no", a, w, b) + c)


# ----- einsum -----------------------------------------------------------------------------------------------------

EQUATIONS = [
    ("ij,jk", (2, 3), (3, 4)),
    ("ij,jk->ki", (2, 3), (3, 4)),
    ("i,i->", (3,), (3,)),
    ("ii", (3, 3)),
    ("ii->i", (3, 3)),
    ("iji->j", (3, 2, 3)),
    ("ij->ji", (2, 3)),
    ("ij->", (2, 3)),
    ("ijk->j", (2, 3, 4)),
    ("ba", (2, 3)),
    ("...ij,...jk->...ik", (5, 2, 3), (3, 4)),
    ("...ij,jk", (2, 5, 2, 3), (3, 4)),
    ("i...->...", (2, 3, 4)),
    ("...a,...b->...ab", (2, 3), (4, 1, 5)),
    ("ij,kl->", (2, 3), (4, 5)),
    ("ij,j,k->ik", (2, 3), (3,), (4,)),
    ("ij,jk,kl,lm->im", (2, 3), (3, 4), (4, 5), (5, 2)),
    ("aa,bb->ab", (2, 2), (3, 3)),
    ("bhqd,bhkd->bhqk", (2, 3, 4, 5), (2, 3, 6, 5)),
    ("bi,bi,bi->b", (2, 3), (2, 3), (2, 3)),
    ("abc,cd->abd", (2, 3, 4), (4, 5)),
    ("Ab,bA->A", (2, 3), (3, 2)),
    (",ij->ij", (), (2, 3)),
]


@pytest.mark.parametrize("equation", EQUATIONS, ids=[e[0] for e in EQUATIONS])
def test_einsum_is_numpys_with_the_gradient_of_the_product(equation: tuple[Any, ...]) -> None:
    text, *shapes = equation
    arrays = [random(*shape, seed=i) for i, shape in enumerate(shapes)]
    tensors = [leaf(array) for array in arrays]
    expected = np.einsum(text, *arrays)
    for out in (cr.einsum(text, *tensors), cr.einsum(text, tensors), np.einsum(text, *tensors)):
        assert out.shape == expected.shape
        np.testing.assert_allclose(out.detach().numpy(), expected, atol=1e-12)
    seed = random(*expected.shape, seed=7)
    gradients = grad(out, tensors, seed)
    step = 1e-6
    for i, (array, gradient) in enumerate(zip(arrays, gradients, strict=True)):
        direction = random(*array.shape, seed=8)
        ends = []
        for sign in (1, -1):
            moved = [a + sign * step * direction if j == i else a for j, a in enumerate(arrays)]
            ends.append(np.sum(seed * np.einsum(text, *moved)))
        np.testing.assert_allclose(np.sum(gradient.numpy() * direction), (ends[0] - ends[1]) / (2 * step), rtol=1e-6)


def test_einsum_takes_numbered_axes() -> None:
    a, b = random(2, 3), random(4, 3)
    out = cr.einsum(leaf(a), [0, 5], leaf(b), [1, 5], [1, 0])
    np.testing.assert_allclose(out.detach().numpy(), b @ a.T)
    summed = cr.einsum(leaf(a), [..., 0], [...])
    np.testing.assert_allclose(summed.detach().numpy(), a.sum(-1))


def test_einsum_broadcasts_axes_of_size_one() -> None:
    x, y = random(1, 3), random(2, 3)
    tensors = leaf(x), leaf(y)
    out = cr.einsum("ab,ab->b", *tensors)
    np.testing.assert_allclose(out.detach().numpy(), (x * y).sum(0))
    for tensor, gradient in zip(tensors, grad(out, tensors, np.ones(3)), strict=True):
        assert gradient.shape == tensor.shape


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("ij,jk->il", [(2, 3), (3, 4)]),
        ("ij,jk->iik", [(2, 3), (3, 4)]),
        ("ij,jk", [(2, 3)]),
        ("ij,jk", [(2, 3), (4, 5)]),
        ("ijk", [(2, 3)]),
        ("i1", [(2, 3)]),
        ("ii", [(2, 3)]),
    ],
)
def test_a_wrong_equation_raises_and_is_quoted(equation: str, shapes: Any) -> None:
    with pytest.raises(RuntimeError, match="einsum"):
        cr.einsum(equation, *(cr.ones(shape) for shape in shapes))


@given(st.integers(0, 3), st.integers(0, 2), st.integers(0, 2), st.randoms(use_true_random=False))
def test_tensordot_is_numpys(shared: int, more_x: int, more_y: int, rng: Any) -> None:
    sizes = [rng.randint(1, 3) for _ in range(shared)]
    axes_x, axes_y = (rng.sample(range(shared + more), shared) for more in (more_x, more_y))
    of_x, of_y = ([rng.randint(1, 3) for _ in range(shared + more)] for more in (more_x, more_y))
    for size, i, j in zip(sizes, axes_x, axes_y, strict=True):
        of_x[i] = of_y[j] = size
    x, y = random(*of_x), random(*of_y)
    expected = np.tensordot(x, y, (axes_x, axes_y))
    got = cr.tensordot(leaf(x), leaf(y), dims=(axes_x, axes_y))
    np.testing.assert_allclose(got.detach().numpy(), expected, atol=1e-12)
    np.testing.assert_allclose(np.tensordot(leaf(x), y, (axes_x, axes_y)).detach().numpy(), expected, atol=1e-12)


# ----- NumPy's names ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "shapes"),
    [
        (np.dot, ((3,), (3,))),
        (np.dot, ((2, 3), (3, 4))),
        (np.dot, ((2, 3), (5, 3, 4))),
        (np.dot, ((), (5, 3))),
        (np.vdot, ((2, 3), (2, 3))),
        (np.inner, ((2, 3), (4, 3))),
        (np.outer, ((2, 3), (4,))),
        (np.kron, ((2, 3), (4, 1, 2))),
        (np.cross, ((2, 3), (3,))),
        (np.tensordot, ((2, 3, 4), (3, 4, 5))),
        (np.vecdot, ((2, 3), (3,))),
        (np.linalg.matmul, ((2, 3), (3, 4))),
        (np.linalg.outer, ((3,), (4,))),
        (np.linalg.cross, ((2, 3), (2, 3))),
        (np.linalg.vecdot, ((2, 3), (2, 3))),
        (np.linalg.tensordot, ((2, 3, 4), (3, 4, 5))),
    ],
)
def test_numpys_products_take_tensors(function: Any, shapes: Any) -> None:
    x, y = (random(*shape, seed=i) for i, shape in enumerate(shapes))
    expected = function(x, y)
    for out in (function(leaf(x), leaf(y)), function(leaf(x), y), function(x, leaf(y))):
        assert isinstance(out, cr.Tensor)
        assert out.shape == np.shape(expected)
        np.testing.assert_allclose(out.detach().numpy(), expected, atol=1e-12)


def test_integer_products_stay_integers() -> None:
    assert (cr.tensor([[1, 2]]) @ cr.tensor([[3], [4]])).item() == 11
    assert cr.dot(cr.tensor([2, 3]), cr.tensor([2, 1])).dtype == cr.int64
