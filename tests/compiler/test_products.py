"""Products of matrices by a kernel: the same numbers as NumPy's, whatever the sizes, and used where they are faster."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pytest

import chainrule as cr
import chainrule.nn.functional as F
from chainrule.ops import contraction, kernels

pytestmark = pytest.mark.skipif(importlib.util.find_spec("numba") is None, reason="kernels need Numba")

random = np.random.default_rng(0)
TOLERANCE = {"f4": 2e-6, "f8": 4e-15}
SIZES = [  # rows, summands, columns: one tile, edges of tiles, of blocks of the inner dimension, and of blocks of rows
    (6, 1, 16),
    (6, 5, 17),
    (7, 17, 31),
    (12, 384, 64),
    (13, 385, 65),
    (25, 30, 81),
    (64, 784, 100),
    (241, 16, 47),
    (500, 800, 129),
]


@pytest.fixture(autouse=True)
def kernels_on(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CHAINRULE_COMPILE", "CHAINRULE_KERNELS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(contraction, "features", lambda: {"AVX512F": True})


def numbers(*shape: int, dtype: str = "f4") -> Any:
    return random.normal(size=shape).astype(dtype)


def product(left: Any, right: Any, turned: int, bias: Any = None) -> Any:
    from chainrule.compiler import eager

    return eager.product(left, right, turned, bias)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("turned", [0, 1, 2, 3])
def test_products_of_all_sizes_are_right(turned: int, dtype: str, threads: int) -> None:
    before = cr.get_num_threads()
    cr.set_num_threads(threads)
    try:
        for rows, inner, columns in SIZES:
            left, right, bias = numbers(rows, inner), numbers(inner, columns), numbers(columns)
            exact = left.astype("f8") @ right.astype("f8")
            left, right, bias = (array.astype(dtype) for array in (left, right, bias))
            bound = TOLERANCE[dtype] * (np.abs(left).astype("f8") @ np.abs(right) + np.abs(bias))
            given_left = np.ascontiguousarray(left.T) if turned & 1 else left
            given_right = np.ascontiguousarray(right.T) if turned & 2 else right
            assert np.all(np.abs(product(given_left, given_right, turned) - exact) <= bound)
            assert np.all(np.abs(product(given_left, given_right, turned, bias) - (exact + bias)) <= bound)
    finally:
        cr.set_num_threads(before)


def test_nan_and_infinity_stay_in_their_rows_and_columns() -> None:
    left, right = numbers(70, 400), numbers(90, 400)
    left[3, 7], right[80, 5], left[65, 390] = np.nan, np.inf, -np.inf
    found = product(left, right, 2)
    with np.errstate(invalid="ignore"):
        wanted = left @ right.T
    np.testing.assert_array_equal(np.isnan(found), np.isnan(wanted))
    np.testing.assert_array_equal(found[np.isinf(wanted)], wanted[np.isinf(wanted)])


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How the matrices of each product lay that a kernel computed."""
    from chainrule.compiler import eager

    kernels._module.cache_clear()
    monkeypatch.setattr(kernels, "LARGE", 0)
    monkeypatch.setattr(contraction, "LARGE", 0)
    found: list[int] = []
    run = eager.product

    def noting(left: Any, right: Any, turned: int, bias: Any) -> Any:
        found.append(turned)
        return run(left, right, turned, bias)

    monkeypatch.setattr(eager, "product", noting)
    return found


@pytest.mark.parametrize("shape", [(64,), (3, 30), (2, 2, 33)])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_a_linear_layer_of_many_rows_uses_kernels_forward_and_back(
    calls: list[int], shape: tuple[int, ...], dtype: str
) -> None:
    x, w, b, seed = (numbers(*size, dtype=dtype) for size in ((*shape, 140), (150, 140), (150,), (*shape, 150)))
    arrays = [cr.from_numpy(array).requires_grad_() for array in (x, w, b)]
    out = F.linear(*arrays)
    out.backward(cr.from_numpy(seed))
    assert sorted(calls) == [0, 1, 2]
    rows, seeds = x.reshape(-1, 140).astype("f8"), seed.reshape(-1, 150).astype("f8")
    near = {"rtol": 1e-4, "atol": 1e-4} if dtype == "f4" else {"rtol": 1e-12, "atol": 1e-12}
    np.testing.assert_allclose(out.detach().numpy(), x.astype("f8") @ w.T.astype("f8") + b, **near)
    for array, wanted in zip(arrays, ((seeds @ w).reshape(x.shape), seeds.T @ rows, seeds.sum(0)), strict=True):
        assert array.grad.dtype == array.dtype
        np.testing.assert_allclose(array.grad.numpy(), wanted, **near)


def test_second_order_is_that_of_numpy(calls: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    given = [numbers(64, 128, dtype="f8"), numbers(128, 128, dtype="f8"), numbers(128, dtype="f8")]

    def second() -> list[Any]:
        x, w, b = (cr.from_numpy(array.copy()).requires_grad_() for array in given)
        (first,) = cr.autograd.grad(cr.tanh(F.linear(x, w, b)).square().sum(), w, create_graph=True)
        return [grad.numpy() for grad in cr.autograd.grad(first.square().sum(), (x, w, b))]

    found = second()
    assert calls
    monkeypatch.setenv("CHAINRULE_KERNELS", "0")
    for one, other in zip(found, second(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("rows", "weight", "turn"),
    [
        (63, (64, 64), False),
        (64, (63, 64), False),
        (64, (64, 63), False),
        (64, (64, 64), True),
        (100, (600, 600), False),
    ],
)
def test_blas_computes_what_it_is_better_at(calls: list[int], rows: int, weight: tuple[int, int], turn: bool) -> None:
    x, w = numbers(rows, weight[1]), numbers(*(weight[::-1] if turn else weight))
    found = F.linear(cr.from_numpy(x), cr.from_numpy(w.T if turn else w))
    assert calls == []
    np.testing.assert_allclose(found.numpy(), x @ (w if turn else w.T), rtol=1e-4, atol=1e-4)


def test_blas_computes_everything_where_registers_are_short(calls: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contraction, "features", dict)
    F.linear(cr.from_numpy(numbers(200, 200)), cr.from_numpy(numbers(200, 200)))
    assert calls == []


def test_a_kernel_that_cannot_be_compiled_is_left_to_blas(calls: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    from chainrule.compiler import eager

    monkeypatch.setattr(eager, "product_kernel", lambda dtype: None)
    x, w = numbers(64, 64), numbers(128, 64)
    assert calls == []
    np.testing.assert_allclose(contraction.linear(x, w), x @ w.T, rtol=1e-4, atol=1e-4)
    assert calls == [2]


# ----- in compiled programs -----


def relu_of(x: Any, w: Any, b: Any) -> Any:
    return F.relu(F.linear(x, w, b))


def two_layers(x: Any, w: Any, b: Any) -> Any:
    return F.linear(F.relu(F.linear(x, w, b)), w.T)


def doubled_and_sums(x: Any, w: Any, b: Any) -> Any:
    product = x @ w.T
    return product * 2 + b, product.sum(0)


def largest(x: Any, w: Any, b: Any) -> Any:
    return (x @ w.T).max(0).values * b


def sums_of_rows(x: Any, w: Any, b: Any) -> Any:
    return (x @ w.T + b).sum(1)


def of_another_shape(x: Any, w: Any, b: Any) -> Any:
    return (x @ w.T).reshape(x.shape[0], 10, 15) * b.reshape(10, 15)


def turned_back(x: Any, w: Any, b: Any) -> Any:
    return (x @ w.T + b).T * 2


def read_twice(x: Any, w: Any, b: Any) -> Any:
    product = x @ w.T
    return product + b, product @ w


def dear(x: Any, w: Any, b: Any) -> Any:
    return cr.tanh(x @ w.T + b)


FOLLOWED = {  # a program, and how the names of some of its kernels begin
    relu_of: ("dot_add_maximum",),
    two_layers: ("dot_add_maximum",),  # forward and backward: one product of the two that the kernel reads
    doubled_and_sums: ("dot_multiply_add_sum",),
    largest: (),
    sums_of_rows: (),
    of_another_shape: (),
    turned_back: (),
    read_twice: (),
    dear: (),
}


@pytest.mark.parametrize("rows", [64, 1000])
@pytest.mark.parametrize(
    ("function", "dtype"),
    [(function, dtype) for function, names in FOLLOWED.items() for dtype in (("f8", "f4") if names else ("f8",))],
)
def test_programs_with_products_compute_what_eager_computes(
    function: Any, rows: int, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contraction, "LARGE", 0)

    def step(x: Any, w: Any, b: Any, *seeds: Any) -> Any:
        outs = function(x, w, b)
        outs = outs if isinstance(outs, tuple) else (outs,)
        return *outs, *cr.autograd.grad(outs, (x, w, b), seeds)

    given = [
        cr.from_numpy(array).requires_grad_()
        for array in (numbers(rows, 130, dtype=dtype), numbers(150, 130, dtype=dtype), numbers(150, dtype=dtype))
    ]
    outs = function(*given)
    outs = outs if isinstance(outs, tuple) else (outs,)
    seeds = [cr.from_numpy(numbers(*out.shape, dtype=dtype)) for out in outs]
    compiled = cr.compile(step)
    for found, wanted in zip(compiled(*given, *seeds), step(*given, *seeds), strict=True):
        wanted = wanted.detach().numpy()
        scale = np.abs(wanted).max()
        np.testing.assert_allclose(
            found.detach().numpy() / scale, wanted / scale, rtol=0, atol=1e-5 if dtype == "f4" else 1e-13
        )
    for name in FOLLOWED[function]:
        assert f"in_parts({name}" in compiled.source
    assert "in_parts(dot_" in compiled.source


# ----- updates of weights -----


class Training:
    """Two layers, whose weights are read by products up to their updates, and an optimizer."""

    def __init__(self, make: Any, dtype: str, accumulate: bool = False) -> None:
        random = np.random.default_rng(1)
        shapes = ((192, 130), (192,), (160, 192), (160,))
        values = (random.normal(size=shape) / 10 for shape in shapes)
        self.parameters = [cr.from_numpy(value.astype(dtype)).requires_grad_() for value in values]
        self.optimizer = make(self.parameters)
        self.accumulate = accumulate
        self.given = [cr.from_numpy(random.normal(size=(96, n)).astype(dtype)).requires_grad_() for n in (130, 160)]

    def step(self, x: Any, target: Any) -> Any:
        if not self.accumulate:
            self.optimizer.zero_grad()
        w1, b1, w2, b2 = self.parameters
        hidden = F.relu(F.linear(x, w1, b1))
        loss = (F.linear(hidden, w2, b2) - target).square().mean() + (x @ w1.detach().T).square().mean()
        loss.backward()
        self.optimizer.step()
        return loss


def results_of(training: Training, step: Any, times: int = 3) -> list[Any]:
    """The losses, the parameters, and the gradients of all after some steps."""
    losses = [step(*training.given) for _ in range(times)]
    leaves = [*training.parameters, training.given[0]]
    found = [tensor.detach().numpy() for tensor in (*losses, *leaves, *(leaf.grad for leaf in leaves))]
    assert len({array.__array_interface__["data"][0] for array in found}) == len(found)
    return found


def sgd(**settings: Any) -> Any:
    return lambda parameters: cr.optim.SGD(parameters, lr=0.1, **settings)


UPDATES = {  # an optimizer, and how the name of the kernel begins that computes a gradient and uses it
    "plain": (sgd(), "dot_multiply_add"),
    "maximize": (sgd(maximize=True), "dot_negative_multiply_add"),
    "momentum": (sgd(momentum=0.9), "dot_multiply_add"),
    "nesterov": (sgd(momentum=0.9, nesterov=True), "dot_multiply_add"),
    "decay": (sgd(momentum=0.9, weight_decay=0.1), "dot_multiply_add"),
    "Adam": (lambda parameters: cr.optim.Adam(parameters, lr=0.01), None),
}


@pytest.fixture
def all_products(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contraction, "LARGE", 0)


@pytest.mark.usefixtures("all_products")
@pytest.mark.parametrize(
    ("name", "dtype", "threads"),
    [*((name, "f8", 2) for name in UPDATES), ("plain", "f4", 1), ("plain", "f4", 2)],
)
def test_a_weight_is_updated_where_its_gradient_is_computed(
    name: str, dtype: str, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, kernel = UPDATES[name]
    monkeypatch.setenv("CHAINRULE_NUM_THREADS", str(threads))
    one, other = Training(make, dtype), Training(make, dtype)
    compiled = cr.compile(one.step)
    near = {"rtol": 1e-4, "atol": 1e-5} if dtype == "f4" else {"rtol": 1e-11, "atol": 1e-12}
    for found, wanted in zip(results_of(one, compiled), results_of(other, other.step), strict=True):
        assert found.dtype == dtype
        np.testing.assert_allclose(found, wanted, **near)
    if kernel is not None:
        assert compiled.source.count(f"in_parts({kernel}") == 2  # one text for both
        assert "copyto" not in compiled.source


@pytest.mark.usefixtures("all_products")
def test_gradients_that_add_up_are_written_where_they_are() -> None:
    one, other = Training(sgd(), "f8", accumulate=True), Training(sgd(), "f8", accumulate=True)
    compiled = cr.compile(one.step)
    for found, wanted in zip(results_of(one, compiled), results_of(other, other.step), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-11, atol=1e-12)
    assert "copyto" not in compiled.source


def tied(w: Any, x: Any) -> Any:
    return F.linear(F.relu(F.linear(x, w)), w)


def read_afterwards(w: Any, x: Any) -> Any:
    return F.linear(x, w)


@pytest.mark.usefixtures("all_products")
@pytest.mark.parametrize("function", [tied, read_afterwards])
@pytest.mark.parametrize("with_gradient", [True, False])
def test_old_and_new_values_of_a_weight_are_told_apart(function: Any, with_gradient: bool) -> None:
    x = cr.from_numpy(numbers(96, 130, dtype="f8"))
    start = numbers(130, 130, dtype="f8") / 10

    def step(w: Any, x: Any) -> Any:
        before = w.detach() * 2
        x = x.detach().requires_grad_()
        gradient, back = cr.autograd.grad(function(w, x).square().sum(), (w, x))
        with cr.no_grad():
            w -= 0.001 * gradient
        results = before, back, x @ w.detach()
        return (*results, gradient) if with_gradient else results

    ones, others = (cr.from_numpy(start.copy()).requires_grad_() for _ in range(2))
    compiled = cr.compile(step)
    for _ in range(2):
        found, wanted = compiled(ones, x), step(others, x)
        for one, other in zip((*found, ones.detach()), (*wanted, others.detach()), strict=True):
            np.testing.assert_allclose(one.detach().numpy(), other.detach().numpy(), rtol=1e-11, atol=1e-11)


@pytest.mark.usefixtures("all_products")
def test_products_and_what_follows_compute_the_same_by_numpy() -> None:
    training = Training(sgd(momentum=0.9), "f8")
    compiled = cr.compile(training.step)
    compiled(*training.given)
    from chainrule.compiler.kernels.products import Product

    nodes = [node for node in compiled.latest().forward.graph.nodes if isinstance(node.op, Product)]
    assert {node.op.turned for node in nodes} == {0, 1, 2} and any(node.op.stays for node in nodes)
    for node in nodes:
        product, random = node.op, np.random.default_rng(2)
        arrays = [0.5 if x.dtype is None else random.normal(size=x.shape).astype(x.dtype) for x in product.inputs]
        left, right = arrays[0], arrays[1]
        exact = (left.T if product.turned & 1 else left) @ (right.T if product.turned & 2 else right)
        found = product(*arrays)
        assert [x.shape for x in found] == [x.shape for x in product.outputs]
        if product.follower is None or product.stays:
            np.testing.assert_allclose(found[0], exact)
        if product.follower is not None:
            others = iter(arrays[2:])
            given = (exact if x is product.product else next(others) for x in product.follower.inputs)
            for one, other in zip(found[product.stays :], product.follower(*given), strict=True):
                np.testing.assert_allclose(one, other)


def test_a_program_whose_product_cannot_be_compiled_computes_it_by_blas(monkeypatch: pytest.MonkeyPatch) -> None:
    from chainrule.compiler.kernels import products

    monkeypatch.setattr(contraction, "LARGE", 0)
    monkeypatch.setattr(products, "ROWS", "no_number")
    x, w, b = (cr.from_numpy(numbers(*shape)) for shape in ((64, 70), (150, 70), (150,)))
    compiled = cr.compile(relu_of)
    with pytest.warns(UserWarning, match="the kernel dot_add_maximum_kernel cannot be compiled"):
        found = compiled(x, w, b)
    assert "np.dot(" in compiled.source
    np.testing.assert_allclose(found.numpy(), relu_of(x, w, b).numpy(), rtol=1e-4, atol=1e-4)
