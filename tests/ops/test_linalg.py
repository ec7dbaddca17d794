"""Linear algebra: values and gradients as PyTorch's, errors as PyTorch's, NumPy's names on tensors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.core.backprop import grad


def random(*shape: int, seed: int = 0, kind: str = "float64") -> np.ndarray:
    rng = np.random.default_rng([seed, *shape])
    values = rng.standard_normal(shape)
    if kind == "complex128":
        values = values + 1j * rng.standard_normal(shape)
    return np.asarray(values)


def leaf(array: Any) -> cr.Tensor:
    return cr.tensor(array, dtype=cr.core.dtypes.as_dtype(array.dtype), requires_grad=True)


def positive_definite(m: Any, x: Any) -> Any:
    return x @ x.mH + 2 * m.eye(x.shape[-1], dtype=x.dtype)


def hermitian(x: Any) -> Any:
    return x + x.mH


# name -> (function of the library and tensors, shapes of the tensors)
FUNCTIONS: dict[str, tuple[Any, tuple[tuple[int, ...], ...]]] = {
    "solve": (lambda m, a, b: m.linalg.solve(a, b), ((3, 3), (3, 2))),
    "solve vector": (lambda m, a, b: m.linalg.solve(a, b), ((2, 3, 3), (2, 3))),
    "solve right": (lambda m, a, b: m.linalg.solve(a, b, left=False), ((3, 3), (2, 3))),
    "solve_triangular": (
        lambda m, a, b: m.linalg.solve_triangular(a, b, upper=True, left=False, unitriangular=True),
        ((3, 3), (2, 3)),
    ),
    "inv": (lambda m, a: m.linalg.inv(a), ((2, 3, 3),)),
    "pinv": (lambda m, a: m.linalg.pinv(a), ((4, 3),)),
    "pinv wide": (lambda m, a: m.linalg.pinv(a), ((2, 3),)),
    "lstsq": (lambda m, a, b: m.linalg.lstsq(a, b).solution, ((4, 3), (4, 2))),
    "det": (lambda m, a: m.linalg.det(a), ((2, 3, 3),)),
    "slogdet": (lambda m, a: m.linalg.slogdet(a), ((3, 3),)),
    "logdet": (lambda m, a: m.logdet(positive_definite(m, a)), ((3, 3),)),
    "cholesky": (lambda m, a: m.linalg.cholesky(positive_definite(m, a)), ((3, 3),)),
    "cholesky upper": (lambda m, a: m.linalg.cholesky(positive_definite(m, a), upper=True), ((3, 3),)),
    "cholesky_solve": (
        lambda m, a, b: m.cholesky_solve(b, m.linalg.cholesky(positive_definite(m, a))),
        ((3, 3), (3, 2)),
    ),
    "cholesky_inverse": (lambda m, a: m.cholesky_inverse(m.linalg.cholesky(positive_definite(m, a))), ((3, 3),)),
    "eigh": (lambda m, a: [abs(x) for x in m.linalg.eigh(hermitian(a))], ((3, 3),)),
    "eigvalsh": (lambda m, a: m.linalg.eigvalsh(hermitian(a)), ((2, 3, 3),)),
    "eig": (lambda m, a: [abs(x) for x in m.linalg.eig(a)], ((3, 3),)),
    "svd": (lambda m, a: [abs(x) for x in m.linalg.svd(a, full_matrices=False)], ((4, 3),)),
    "svd wide": (lambda m, a: [abs(x) for x in m.linalg.svd(a, full_matrices=False)], ((2, 3),)),
    "svdvals": (lambda m, a: m.linalg.svdvals(a), ((3, 3),)),
    "qr": (lambda m, a: m.linalg.qr(a), ((4, 3),)),
    "qr wide": (lambda m, a: m.linalg.qr(a), ((2, 3),)),
    "lu": (lambda m, a: m.linalg.lu(a), ((3, 3),)),
    "lu tall": (lambda m, a: m.linalg.lu(a), ((4, 3),)),
    "lu wide": (lambda m, a: m.linalg.lu(a), ((2, 4),)),
    "lu_solve": (lambda m, a, b: m.linalg.lu_solve(*m.linalg.lu_factor(a), b), ((3, 3), (3, 2))),
    "lu_solve adjoint": (
        lambda m, a, b: m.linalg.lu_solve(*m.linalg.lu_factor(a), b, left=False, adjoint=True),
        ((3, 3), (2, 3)),
    ),
    "matrix_exp": (lambda m, a: m.linalg.matrix_exp(a), ((3, 3),)),
    "matrix_power": (lambda m, a: m.linalg.matrix_power(a, -3), ((3, 3),)),
    "norm": (lambda m, a: m.linalg.norm(a), ((3, 3),)),
    "norm 1.5": (lambda m, a: m.linalg.vector_norm(a, 1.5, dim=-1), ((3, 4),)),
    "norm inf": (lambda m, a: m.linalg.vector_norm(a, math.inf, dim=0), ((3, 4),)),
    "norm nuc": (lambda m, a: m.linalg.matrix_norm(a, "nuc"), ((2, 3, 4),)),
    "norm 2": (lambda m, a: m.linalg.matrix_norm(a, 2), ((3, 4),)),
    "norm columns": (lambda m, a: m.linalg.matrix_norm(a, 1), ((3, 4),)),
    "cond": (lambda m, a: m.linalg.cond(a), ((3, 3),)),
    "multi_dot": (lambda m, *xs: m.linalg.multi_dot(xs), ((2, 5), (5, 3), (3, 4), (4, 2))),
    "vecdot": (lambda m, a, b: m.linalg.vecdot(a, b, dim=0), ((3, 2), (3, 2))),
    "vdot": (lambda m, a, b: m.vdot(a, b), ((3,), (3,))),
    "cross": (lambda m, a, b: m.linalg.cross(a, b), ((2, 3), (2, 3))),
    "tensorinv": (lambda m, a: m.linalg.tensorinv(a, ind=1), ((6, 2, 3),)),
    "tensorsolve": (lambda m, a, b: m.linalg.tensorsolve(a, b), ((2, 3, 6), (2, 3))),
    "vander": (lambda m, a: m.linalg.vander(a, N=4), ((2, 3),)),
    "einsum": (lambda m, a, b, c: m.einsum("ij,bjk,k->bi", a, b, c), ((2, 3), (4, 3, 5), (5,))),
    "matmul": (lambda m, a, b: m.matmul(a, b), ((2, 3, 4), (4,))),
    "outer": (lambda m, a, b: m.outer(a, b), ((3,), (4,))),
    "irfft": (lambda m, a: m.fft.irfft(a, 5), ((2, 4),)),
    "hfft2": (lambda m, a: m.fft.hfft2(a), ((3, 4),)),
    "fftn": (lambda m, a: m.fft.fftn(a, s=(4, 2)), ((3, 4),)),
}


def flat(outputs: Any) -> list[Any]:
    return list(outputs) if isinstance(outputs, (tuple, list)) else [outputs]


@pytest.mark.parametrize("kind", ["float64", "complex128"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_gradients_and_second_gradients_are_pytorchs(name: str, kind: str) -> None:
    torch = pytest.importorskip("torch")
    function, shapes = FUNCTIONS[name]
    arrays = [random(*shape, seed=i, kind=kind) for i, shape in enumerate(shapes)]
    theirs = [torch.tensor(a, requires_grad=True) for a in arrays]
    ours = [leaf(a) for a in arrays]
    theirs_out = [x for x in flat(function(torch, *theirs)) if x.requires_grad]
    ours_out = [x for x in flat(function(cr, *ours)) if x.requires_grad]
    assert len(theirs_out) == len(ours_out)
    seeds = []
    for i, (a, b) in enumerate(zip(ours_out, theirs_out, strict=True)):
        np.testing.assert_allclose(
            a.detach().numpy(), b.detach().resolve_conj().numpy(force=True), rtol=1e-9, atol=1e-9
        )
        seeds.append(random(*a.shape, seed=10 + i, kind=a.dtype.name))
    first_theirs = torch.autograd.grad(
        theirs_out, theirs, [torch.tensor(s) for s in seeds], create_graph=True, allow_unused=True
    )
    first_ours = grad(ours_out, ours, seeds, create_graph=True, allow_unused=True)
    for a, b in zip(first_ours, first_theirs, strict=True):
        np.testing.assert_allclose(
            a.detach().numpy(), b.detach().resolve_conj().numpy(force=True), rtol=1e-7, atol=1e-8
        )
    if not any(b.requires_grad for b in first_theirs):
        return
    weights = [random(*a.shape, seed=20 + i, kind=kind) for i, a in enumerate(arrays)]
    second_theirs = torch.autograd.grad(
        [b for b in first_theirs if b.requires_grad],
        theirs,
        [torch.tensor(w) for w, b in zip(weights, first_theirs, strict=True) if b.requires_grad],
        allow_unused=True,
    )
    tracked = [(a, w) for a, w in zip(first_ours, weights, strict=True) if a.requires_grad]
    second_ours = grad([a for a, _ in tracked], ours, [w for _, w in tracked], allow_unused=True)
    for a, b in zip(second_ours, second_theirs, strict=True):
        want = np.zeros(()) if b is None else b.detach().resolve_conj().numpy(force=True)
        got = np.zeros(()) if a is None else a.detach().numpy()
        np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-7)


# ----- errors -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", [cr.linalg.inv, lambda a: cr.linalg.solve(a, cr.ones(2))])
def test_a_singular_matrix_raises_pytorchs_and_numpys_error(function: Any) -> None:
    singular = cr.tensor([[1.0, 2.0], [2.0, 4.0]])
    for expected in (RuntimeError, np.linalg.LinAlgError, cr.linalg.LinAlgError):
        with pytest.raises(expected, match=r"\(2, 2\)"):
            function(singular)


def test_cholesky_of_an_indefinite_matrix_raises() -> None:
    with pytest.raises(cr.linalg.LinAlgError):
        cr.linalg.cholesky(-cr.eye(2))


@pytest.mark.parametrize("name", ["inv", "det", "slogdet", "cholesky", "eigh", "eig", "matrix_exp"])
def test_a_matrix_that_is_not_square_raises_with_its_shape(name: str) -> None:
    with pytest.raises(RuntimeError, match=r"2 by 3"):
        getattr(cr.linalg, name)(cr.ones(2, 3))


def test_integers_and_half_precision_are_refused() -> None:
    for dtype in (cr.int64, cr.float16):
        with pytest.raises(RuntimeError, match="floating"):
            cr.linalg.inv(cr.eye(2, dtype=dtype))


def test_inv_ex_reports_instead_of_raising() -> None:
    inverse, info = cr.linalg.inv_ex(cr.zeros(2, 2))
    assert info.item() > 0
    assert np.isnan(inverse.numpy()).all()
    with pytest.raises(cr.linalg.LinAlgError):
        cr.linalg.inv_ex(cr.zeros(2, 2), check_errors=True)


def test_a_loss_that_depends_on_the_phase_of_eigenvectors_is_refused() -> None:
    x = leaf(random(3, 3, kind="complex128"))
    for outputs in (cr.linalg.eigh(hermitian(x)), cr.linalg.eig(x), cr.linalg.svd(x)[:2]):
        with pytest.raises(RuntimeError, match="phi"):
            grad([abs(outputs[0] + outputs[1]).sum()], x)


def test_a_loss_of_singular_vectors_without_singular_values_is_refused() -> None:
    x = leaf(random(4, 2))
    u, _, _ = cr.linalg.svd(x)
    with pytest.raises(RuntimeError, match="full_matrices=False"):
        u.sum().backward()
    with pytest.raises(RuntimeError, match="complete"):
        cr.linalg.qr(x, mode="complete")[1].sum().backward()


# ----- where derivatives are delicate -----------------------------------------------------------------------------


def test_eigenvalues_of_a_multiple_of_the_identity_have_a_gradient() -> None:
    for values in (
        lambda x: cr.linalg.eigh(x)[0],
        cr.linalg.eigvalsh,
        lambda x: cr.linalg.svd(x)[1],
        cr.linalg.svdvals,
    ):
        x = leaf(2 * np.eye(3))
        values(x).sum().backward()
        np.testing.assert_allclose(x.grad.numpy(), np.eye(3), atol=1e-12)


def test_det_of_singular_matrices_has_the_gradient_of_the_polynomial() -> None:
    x = leaf(np.array([[1.0, 2.0], [2.0, 4.0]]))
    (first,) = grad(cr.linalg.det(x), x, create_graph=True)
    np.testing.assert_allclose(first.detach().numpy(), [[4.0, -2.0], [-2.0, 1.0]], atol=1e-12)
    (second,) = grad(first, x, np.array([[1.0, 0.0], [0.0, 0.0]]))
    np.testing.assert_allclose(second.numpy(), [[0.0, 0.0], [0.0, 1.0]], atol=1e-12)
    zero = leaf(np.zeros((3, 3)))
    cr.linalg.det(zero).backward()
    np.testing.assert_array_equal(zero.grad.numpy(), np.zeros((3, 3)))


def test_norm_of_zero_has_the_gradient_zero() -> None:
    for order in (2, 1, 3, 0.5, math.inf, 0):
        x = leaf(np.zeros(3))
        cr.linalg.vector_norm(x, order).backward()
        np.testing.assert_array_equal(x.grad.numpy(), np.zeros(3))


def test_the_triangle_that_is_not_looked_at_gets_no_gradient() -> None:
    a = leaf(random(3, 3) + 3 * np.eye(3))
    cr.linalg.solve_triangular(a, cr.ones(3, 1, dtype=cr.float64), upper=True).sum().backward()
    np.testing.assert_array_equal(np.tril(a.grad.numpy(), -1), np.zeros((3, 3)))


# ----- values and names -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(4, 2), (2, 4), (2, 3, 3)])
def test_decompositions_multiply_back_to_the_matrix(shape: tuple[int, ...]) -> None:
    x = leaf(random(*shape))
    q, r = cr.linalg.qr(x)
    u, s, vh = cr.linalg.svd(x, full_matrices=False)
    p, lower, upper = cr.linalg.lu(x)
    factors, pivots = cr.linalg.lu_factor(x)
    unpacked = cr.lu_unpack(factors, pivots)
    for product in (q @ r, u * s[..., None, :] @ vh, p @ lower @ upper, unpacked[0] @ unpacked[1] @ unpacked[2]):
        np.testing.assert_allclose(product.detach().numpy(), random(*shape), atol=1e-12)


def test_numpys_functions_take_tensors() -> None:
    a = random(3, 3) + 3 * np.eye(3)
    spd = a @ a.T
    t, s = leaf(a), leaf(spd)
    pairs = [
        (np.linalg.inv(t), np.linalg.inv(a)),
        (np.linalg.solve(t, np.ones(3)), np.linalg.solve(a, np.ones(3))),
        (np.linalg.det(t), np.linalg.det(a)),
        (np.linalg.slogdet(t).logabsdet, np.linalg.slogdet(a).logabsdet),
        (np.linalg.cholesky(s), np.linalg.cholesky(spd)),
        (np.linalg.eigh(s).eigenvalues, np.linalg.eigh(spd).eigenvalues),
        (np.linalg.svd(t).S, np.linalg.svd(a).S),
        (np.linalg.svd(t, compute_uv=False), np.linalg.svd(a, compute_uv=False)),
        (np.linalg.norm(t), np.linalg.norm(a)),
        (np.linalg.norm(t, axis=1), np.linalg.norm(a, axis=1)),
        (np.linalg.norm(t, 1), np.linalg.norm(a, 1)),
        (np.linalg.norm(t, "nuc", keepdims=True), np.linalg.norm(a, "nuc", keepdims=True)),
        (np.linalg.cond(t), np.linalg.cond(a)),
        (np.linalg.pinv(t), np.linalg.pinv(a)),
        (np.linalg.lstsq(t, np.ones((3, 1)))[0], np.linalg.lstsq(a, np.ones((3, 1)))[0]),
        (np.linalg.matrix_power(t, 3), np.linalg.matrix_power(a, 3)),
        (np.linalg.matrix_rank(t), np.linalg.matrix_rank(a)),
        (np.linalg.multi_dot([t, t, t]), np.linalg.multi_dot([a, a, a])),
        (np.linalg.qr(t).R, np.linalg.qr(a).R),
        (np.linalg.trace(t), np.linalg.trace(a)),
        (np.linalg.diagonal(t), np.linalg.diagonal(a)),
        (np.fft.rfft(t), np.fft.rfft(a)),
        (np.fft.fft2(t), np.fft.fft2(a)),
        (np.fft.fftshift(t), np.fft.fftshift(a)),
    ]
    for i, (got, want) in enumerate(pairs):
        assert isinstance(got, cr.Tensor), i
        np.testing.assert_allclose(got.detach().numpy(), want, rtol=1e-9, atol=1e-9, err_msg=str(i))


def test_eigenvalues_are_complex_even_of_real_matrices() -> None:
    assert cr.linalg.eigvals(cr.eye(2)).dtype == cr.complex64


def test_a_gaussian_log_likelihood_has_one_gradient_by_either_way() -> None:
    x = random(5, 4)
    y = random(5, seed=1)

    def by_cholesky(w: Any) -> Any:
        k = w @ w.mT + cr.eye(5, dtype=cr.float64)
        factor = cr.linalg.cholesky(k)
        z = cr.linalg.solve_triangular(factor, cr.tensor(y[:, None], dtype=cr.float64), upper=False)
        return (z * z).sum() / 2 + cr.linalg.diagonal(factor).log().sum()

    def by_solve(w: Any) -> Any:
        k = w @ w.mT + cr.eye(5, dtype=cr.float64)
        v = cr.tensor(y, dtype=cr.float64)
        return v @ cr.linalg.solve(k, v) / 2 + cr.linalg.slogdet(k).logabsdet / 2

    one, two = leaf(x), leaf(x)
    by_cholesky(one).backward()
    by_solve(two).backward()
    np.testing.assert_allclose(one.grad.numpy(), two.grad.numpy(), rtol=1e-10)


def test_empty_batches_and_matrices_are_allowed() -> None:
    assert cr.linalg.inv(cr.zeros(0, 3, 3)).shape == (0, 3, 3)
    assert cr.linalg.det(cr.zeros(0, 0)).item() == 1
    assert cr.linalg.svdvals(cr.zeros(2, 0, 3)).shape == (2, 0)
    assert cr.linalg.pinv(cr.zeros(0, 3)).shape == (3, 0)
    assert cr.linalg.matrix_exp(cr.zeros(0, 2, 2)).shape == (0, 2, 2)


@pytest.mark.parametrize("shape", [(0, 3, 5), (0, 5, 3), (2, 0, 0), (0, 0)])
def test_the_factors_of_no_matrices_and_of_empty_matrices_have_their_shapes(shape: tuple[int, ...]) -> None:
    *batch, m, n = shape
    A = cr.zeros(shape)
    P, L, U = cr.linalg.lu(A)
    assert (P.shape, L.shape, U.shape) == ((*batch, m, m), (*batch, m, min(m, n)), (*batch, min(m, n), n))
    LU, pivots = cr.linalg.lu_factor(A)
    assert (LU.shape, pivots.shape) == (shape, (*batch, min(m, n)))
    if m == n:
        assert cr.linalg.lu_solve(LU, pivots, cr.zeros((*batch, m, 2))).shape == (*batch, m, 2)


@pytest.mark.parametrize("order", [np.inf, -np.inf, -2.1])
def test_the_norm_of_a_number_along_its_axis_is_its_size(order: float) -> None:
    assert cr.linalg.vector_norm(cr.tensor(-2.0), order, dim=0).item() == pytest.approx(2.0)


SINGULAR_TRIANGLE = np.array([[1.0, 2.0, 3.0], [0.0, 0.0, 1.0], [0.0, 0.0, 5.0]])


def divided_by_hand(a: Any, b: Any) -> Any:
    """Back substitution in NumPy's own divisions."""
    x = np.zeros_like(b)
    with np.errstate(divide="ignore", invalid="ignore"):
        for i in reversed(range(len(a))):
            x[i] = (b[i] - a[i, i + 1 :] @ x[i + 1 :]) / a[i, i]
    return x


SOLVED = {
    "eager": lambda f: f,
    "compiled": cr.compile,
    "mapped": lambda f: lambda a, b: cr.func.vmap(f)(a.unsqueeze(0), b.unsqueeze(0))[0],
    "mapped and compiled": lambda f: lambda a, b: cr.compile(cr.func.vmap(f))(a.unsqueeze(0), b.unsqueeze(0))[0],
    "in a batch": lambda f: lambda a, b: f(a.unsqueeze(0), b.unsqueeze(0))[0],
}


@pytest.mark.parametrize("way", SOLVED)
def test_a_triangular_matrix_with_a_zero_on_its_diagonal_divides_by_it(way: str) -> None:
    a, b = cr.from_numpy(SINGULAR_TRIANGLE), cr.from_numpy(np.array([[1.0], [2.0], [3.0]]))
    x = SOLVED[way](lambda a, b: cr.linalg.solve_triangular(a, b, upper=True))(a, b)
    np.testing.assert_allclose(x.numpy(), divided_by_hand(a.numpy(), b.numpy()))


@pytest.mark.parametrize("way", SOLVED)
@pytest.mark.parametrize("name", ["qr", "lu"])
def test_the_gradient_through_a_singular_matrix_is_not_finite_and_no_error(way: str, name: str) -> None:
    def gradient(a: Any, _: Any) -> Any:
        a = a.detach().requires_grad_()
        return cr.autograd.grad(getattr(cr.linalg, name)(a)[-1].sum(), a)[0]

    a = cr.from_numpy(SINGULAR_TRIANGLE)
    found = SOLVED[way](gradient)(a, a).numpy()
    assert not np.isfinite(found[:, :2]).any()
    np.testing.assert_allclose(found[:, 2], 1.0)


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.complex64, np.complex128])
@pytest.mark.parametrize("lower", [False, True])
@pytest.mark.parametrize("unit", [False, True])
def test_triangular_matrices_of_batches_that_broadcast_are_solved_one_by_one(
    kind: Any, lower: bool, unit: bool
) -> None:
    rng = np.random.default_rng(1)
    a = (rng.standard_normal((3, 1, 4, 4)) + 4 * np.eye(4)).astype(kind)
    b = rng.standard_normal((2, 4, 3)).astype(kind)
    x = cr.linalg.solve_triangular(cr.from_numpy(a), cr.from_numpy(b), upper=not lower, unitriangular=unit).numpy()
    triangle = np.tril(a) if lower else np.triu(a)
    if unit:
        triangle = triangle * (1 - np.eye(4)).astype(kind) + np.eye(4, dtype=kind)
    assert x.shape == (3, 2, 4, 3) and x.dtype == kind
    np.testing.assert_allclose(triangle @ x, np.broadcast_to(b, x.shape), atol=1e-4 if x.real.itemsize < 8 else 1e-12)


def test_a_compiled_inv_ex_never_keeps_what_one_matrix_decided() -> None:
    invert = cr.compile(lambda a: cr.linalg.inv_ex(a).inverse)
    singular, regular = cr.from_numpy(SINGULAR_TRIANGLE), cr.from_numpy(np.diag([1.0, 2.0, 4.0]))
    with pytest.raises(np.linalg.LinAlgError):
        invert(singular)
    np.testing.assert_array_equal(invert(regular).numpy(), np.diag([1.0, 0.5, 0.25]))
    with pytest.raises(np.linalg.LinAlgError):
        invert(singular)


def test_a_compiled_lstsq_solves_and_differentiates() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.standard_normal((5, 3)), rng.standard_normal((5, 2))

    @cr.compile
    def fitted(a: Any, b: Any) -> Any:
        b = b.detach().requires_grad_()
        solution, _, rank, _ = cr.linalg.lstsq(a, b)
        return solution, rank, cr.autograd.grad(solution.sum(), b)[0]

    solution, rank, gradient = fitted(cr.from_numpy(a), cr.from_numpy(b))
    np.testing.assert_allclose(solution.detach().numpy(), np.linalg.lstsq(a, b)[0], rtol=1e-10)
    np.testing.assert_allclose(gradient.numpy(), np.linalg.pinv(a).T @ np.ones((3, 2)), rtol=1e-10)
    assert rank.item() == 3
