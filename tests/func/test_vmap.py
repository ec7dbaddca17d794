"""vmap: what it gives equals the function called on each sample, for every operation of the table, with gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
import chainrule.nn.functional as F
from chainrule import func
from chainrule.core.forward import TENSOR_FUNCS
from chainrule.core.tensor import make_tensor
from chainrule.func import vmap
from chainrule.ops.shape import _as_strided

from ..table_samples.common import Sample
from ..test_table import IDS, SAMPLES, flat, positions

# ----- every operation of the table -------------------------------------------------------------------------------

FACTORS = (1.0, 0.95, 0.9)  # the samples: multiples, which keep symmetry, order and signs


def several(value: Any, axis: int) -> Any:
    kind = value.dtype
    return np.stack([value * kind.type(f) for f in FACTORS], axis=axis)


def cases(sample: Sample) -> list[tuple[str, dict[int, int]]]:
    """Which arguments are mapped, and over which axis."""
    where = positions(sample)
    last = {i: sample.args[i].ndim for i in where}
    found = [("all, first axis", dict.fromkeys(where, 0))]
    if sample.function is not _as_strided:  # what strides mean depends on the memory's layout
        found.append(("all, last axis", last))
    if len(where) > 1:
        found += [("the first only", {where[0]: 0}), ("the last only", {where[-1]: 0})]
    return found


def compared(sample: Sample, mapped: dict[int, int]) -> None:
    operation = TENSOR_FUNCS[sample.function]
    where = positions(sample)

    def call(*values: Any) -> tuple[Any, ...]:
        args = list(sample.args)
        for i, value in zip(where, values, strict=True):
            args[i] = value
        outputs = operation(*args, **sample.kwargs)
        if sample.gauge is not None:
            outputs = sample.gauge(outputs)
        return tuple(out for out in flat(outputs) if out is not None and out.array.dtype.kind in "fc")

    def leaves() -> list[Any]:
        arrays = [several(sample.args[i], mapped[i]) if i in mapped else sample.args[i] for i in where]
        return [make_tensor(np.array(a), None).requires_grad_() for a in arrays]

    def seeded(outputs: Any) -> Any:
        rng = np.random.default_rng(0)
        pairs = [(out, make_tensor(rng.standard_normal(out.shape).astype(out.array.dtype), None)) for out in outputs]
        return zip(*[(out, seed) for out, seed in pairs if out.requires_grad], strict=True)

    ours = leaves()
    outputs = vmap(call, in_dims=tuple(mapped.get(i) for i in where))(*ours)
    theirs = leaves()
    each = [
        call(*(x.select(mapped[i], k) if i in mapped else x for i, x in zip(where, theirs, strict=True)))
        for k in range(len(FACTORS))
    ]
    expected = [cr.stack(column) for column in zip(*each, strict=True)]
    for out, want in zip(outputs, expected, strict=True):
        assert out.dtype == want.dtype
        np.testing.assert_allclose(out.detach().numpy(), want.detach().numpy(), rtol=1e-7, atol=1e-9)
    ends, seeds = seeded(outputs)
    found = cr.autograd.grad(ends, ours, seeds, allow_unused=True)
    ends, seeds = seeded(expected)
    wanted = cr.autograd.grad(ends, theirs, seeds, allow_unused=True)
    for got, want in zip(found, wanted, strict=True):
        assert (got is None) == (want is None)
        if got is not None:
            np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("sample", SAMPLES, ids=IDS)
def test_mapped_operation_and_its_gradient_equal_those_of_each_sample(sample: Sample) -> None:
    for what, mapped in cases(sample):
        try:
            compared(sample, mapped)
        except Exception as error:
            error.add_note(f"mapped: {what}")
            raise


@pytest.mark.parametrize("sample", SAMPLES, ids=IDS)
def test_gradients_inside_are_each_sample_s_own(sample: Sample) -> None:
    operation = TENSOR_FUNCS[sample.function]
    where = positions(sample)

    def gradients(*values: Any) -> Any:
        args = list(sample.args)
        for i, value in zip(where, values, strict=True):
            args[i] = value.detach().requires_grad_()
        outputs = operation(*args, **sample.kwargs)
        if sample.gauge is not None:
            outputs = sample.gauge(outputs)
        live = [out for out in flat(outputs) if out is not None and out.requires_grad]
        seeds = [cr.ones_like(out) for out in live]
        return cr.autograd.grad(live, [args[i] for i in where], seeds, materialize_grads=True)

    first = where[0]  # the others are common to all samples, their gradients are not
    mapped = tuple(0 if i == first else None for i in where)
    values = [make_tensor(several(sample.args[i], 0) if i == first else sample.args[i], None) for i in where]
    found = vmap(gradients, in_dims=mapped)(*values)
    for k in range(len(FACTORS)):
        wanted = gradients(*(x[k] if d == 0 else x for x, d in zip(values, mapped, strict=True)))
        for got, want in zip(found, wanted, strict=True):
            np.testing.assert_allclose(got[k].numpy(), want.numpy(), rtol=1e-6, atol=1e-8)


# ----- composition ------------------------------------------------------------------------------------------------


def normal(*shape: int, seed: int = 0) -> Any:
    return make_tensor(np.random.default_rng([seed, *shape]).standard_normal(shape), None)


def close(found: Any, wanted: Any, tolerance: float = 1e-9) -> None:
    found, wanted = (x.detach().numpy() if isinstance(x, cr.Tensor) else x for x in (found, wanted))
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance)


def loss(weight: Any, x: Any, y: Any) -> Any:
    return F.cross_entropy(F.linear(x.tanh(), weight), y)


def test_per_sample_gradients_equal_those_of_each_sample() -> None:
    weight, x, y = normal(4, 3), normal(5, 3), cr.tensor([0, 3, 1, 1, 2])
    found = vmap(func.grad(loss), in_dims=(None, 0, 0))(weight, x, y)
    close(found, cr.stack([func.grad(loss)(weight, x[i], y[i]) for i in range(5)]))


def test_gradient_of_per_sample_gradients() -> None:
    x, y = normal(5, 3), cr.tensor([0, 3, 1, 1, 2])
    found = []
    for mapped in (True, False):
        weight = normal(4, 3).requires_grad_()
        if mapped:
            each = vmap(func.grad(loss), in_dims=(None, 0, 0))(weight, x, y)
        else:
            each = cr.stack([func.grad(loss)(weight, x[i], y[i]) for i in range(5)])
        found.append(cr.autograd.grad((each**3).sum(), weight)[0])
    close(*found)


@pytest.mark.parametrize("transform", ["jacrev", "jacfwd", "hessian"])
def test_jacobians_of_each_sample(transform: str) -> None:
    x = normal(4, 3)
    of_one = getattr(func, transform)(lambda v: (v.sin() * v.sum()) if transform != "hessian" else (v**3).prod())
    close(vmap(of_one)(x), cr.stack([of_one(row) for row in x]))


def test_jvp_and_vjp_of_each_sample() -> None:
    x, v = normal(4, 3), normal(4, 3, seed=1)

    def push(x: Any, v: Any) -> Any:
        return func.jvp(lambda a: a.exp() * a[0], (x,), (v,))[1]

    close(vmap(push)(x, v), cr.stack([push(a, b) for a, b in zip(x, v, strict=True)]))
    _, pull = func.vjp(lambda a: a.exp() * a[0], x[0])
    close(vmap(pull)(v)[0], cr.stack([pull(row)[0] for row in v]))


def test_gradient_and_forward_derivative_of_a_mapped_function() -> None:
    x, w, v = normal(5, 3), normal(3), normal(3, seed=1)

    def total(w: Any) -> Any:
        return vmap(lambda row: (row * w).sin().sum() * w[0])(x).sum()

    def plain(w: Any) -> Any:
        return ((x * w).sin().sum(1) * w[0]).sum()

    close(func.grad(total)(w), func.grad(plain)(w))
    close(func.hessian(total)(w), func.hessian(plain)(w))
    close(func.jvp(total, (w,), (v,))[1], func.jvp(plain, (w,), (v,))[1])


def test_vmaps_nest() -> None:
    a, b = normal(3), normal(4)
    outer = vmap(vmap(lambda x, y: x * y, in_dims=(None, 0)), in_dims=(0, None))
    close(outer(a, b), cr.outer(a, b))
    x = normal(2, 3, 4)
    close(vmap(vmap(lambda v: v.sum(0)), in_dims=1, out_dims=1)(x), x.sum(2))


def test_a_gradient_between_two_vmaps_sums_over_the_inner_one_only() -> None:
    weights, x = normal(2, 3), normal(4, 3)

    def of_one(w: Any) -> Any:
        return vmap(lambda row: ((row * w).sum()) ** 2)(x).sum()

    close(vmap(func.grad(of_one))(weights), 2 * (weights @ x.T) @ x)


def test_captured_tensors_get_the_sum_of_the_samples_gradients() -> None:
    layer = cr.nn.Linear(3, 2, dtype=cr.float64)
    x = normal(5, 3)
    vmap(layer)(x).square().sum().backward()
    found = [p.grad.clone() for p in layer.parameters()]
    layer.zero_grad()
    layer(x).square().sum().backward()
    for got, parameter in zip(found, layer.parameters(), strict=True):
        close(got, parameter.grad)


def test_an_ensemble_runs_as_one() -> None:
    models = [cr.nn.Sequential(cr.nn.Linear(3, 8), cr.nn.Tanh(), cr.nn.Linear(8, 2)) for _ in range(4)]
    parameters, buffers = func.stack_module_state(models)
    x = cr.randn(6, 3)
    run = vmap(lambda p, b: func.functional_call(models[0], (p, b), (x,)))
    out = run(parameters, buffers)
    close(out, cr.stack([model(x) for model in models]), 1e-6)
    out.sum().backward()
    assert parameters["0.weight"].grad.shape == (4, 8, 3)


def test_convolutions_with_a_weight_for_each_sample() -> None:
    x, w, b = normal(3, 2, 4, 7, 7), normal(3, 6, 2, 3, 3), normal(3, 6)
    call = lambda x, w, b: F.conv2d(x, w, b, padding=1, groups=2)  # noqa: E731
    close(vmap(call)(x, w, b), cr.stack([call(x[i], w[i], b[i]) for i in range(3)]))
    one = func.grad(lambda w, x: F.conv2d(x, w, padding=1, groups=2).sin().sum())
    close(vmap(one, in_dims=(None, 0))(w[0], x), cr.stack([one(w[0], x[i]) for i in range(3)]))


# ----- arguments and results --------------------------------------------------------------------------------------


def test_structures_of_arguments_and_results() -> None:
    x, y = normal(3, 2), normal(2, 4)
    found = vmap(
        lambda d, w: {"s": d["x"].sum(), "t": [d["x"] * w, w]},
        in_dims=({"x": 0}, None),
        out_dims={"s": 0, "t": [1, None]},
    )({"x": x}, y[:, 0])
    close(found["s"], x.sum(1))
    close(found["t"][0], (x * y[:, 0]).T)
    close(found["t"][1], y[:, 0])


def test_arrays_give_arrays() -> None:
    found = vmap(lambda x: np.sin(x) * 2)(np.ones((3, 2)))
    assert type(found) is np.ndarray
    assert found.dtype == np.float64


def test_results_that_do_not_depend_on_the_sample_are_repeated() -> None:
    assert vmap(lambda x: cr.ones(2))(normal(3, 1)).shape == (3, 2)


@pytest.mark.parametrize("chunk_size", [1, 2, 3, 100])
def test_chunks_give_the_same(chunk_size: int) -> None:
    x = normal(5, 3)
    found = vmap(lambda row: (row.sum(), row * 2), out_dims=(0, 1), chunk_size=chunk_size)(x)
    close(found[0], x.sum(1))
    close(found[1], (x * 2).T)


def test_no_samples() -> None:
    found = vmap(lambda x: (x.sum(), x.sort(0)[0], cr.linalg.inv(cr.outer(x, x))))(cr.zeros(0, 3))
    assert [tuple(out.shape) for out in found] == [(0,), (0, 3), (0, 3, 3)]


def test_shapes_that_the_function_sees_are_one_sample_s() -> None:
    seen = []
    vmap(lambda x: (seen.append((x.shape, x.ndim, x.numel(), len(x), x.dtype)), x)[1])(cr.zeros(5, 2, 3))
    assert seen == [((2, 3), 2, 6, 2, cr.float32)]


# ----- what cannot be mapped --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda x: x if x.sum() > 0 else -x, "where"),
        (lambda x: x.sum().item(), "item"),
        (lambda x: cr.tensor(float(x.sum())), "one sample"),
        (lambda x: x[x > 0], "mask"),
        (lambda x: cr.nonzero(x), "shape"),
        (lambda x: cr.unique(x), "shape|one sample"),
    ],
)
def test_values_of_one_sample_are_refused(function: Any, words: str) -> None:
    with pytest.raises(RuntimeError, match=words):
        vmap(function)(normal(3, 2))


def test_writing_to_a_tensor_that_all_samples_share_is_refused() -> None:
    shared = cr.zeros(2, dtype=cr.float64)
    with pytest.raises(RuntimeError, match="in-place"):
        vmap(lambda x: shared.add_(x))(normal(3, 2))
    assert shared.tolist() == [0.0, 0.0]


def test_backward_inside_is_refused() -> None:
    weight = cr.ones(2, dtype=cr.float64, requires_grad=True)
    with pytest.raises(RuntimeError, match="vmap"):
        vmap(lambda x: (x * weight).sum().backward())(normal(3, 2))
    assert weight.grad is None


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda x: vmap(lambda a: a, in_dims=None)(x), ValueError, "in_dims"),
        (lambda x: vmap(lambda a: a, in_dims=(0, 0))(x), ValueError, "structure"),
        (lambda x: vmap(lambda a: a, in_dims=2)(x), ValueError, "in_dim=2"),
        (lambda x: vmap(lambda a: a, in_dims=(None,))(x), ValueError, "at least one"),
        (lambda x: vmap(lambda a, b: a)(x, 1.0), ValueError, "float"),
        (lambda x: vmap(lambda a, b: a)(x, x[:2]), ValueError, "same size"),
        (lambda x: vmap(lambda: 1)(), ValueError, "no inputs"),
        (lambda x: vmap(lambda a: 3.0)(x), ValueError, "must only return"),
        (lambda x: vmap(lambda a: a, out_dims=None)(x), ValueError, "out_dims"),
        (lambda x: vmap(lambda a: a, out_dims=(0, 0))(x), ValueError, "out_dims"),
        (lambda x: vmap(lambda a: a, out_dims=5)(x), IndexError, "5"),
        (lambda x: vmap(lambda a: a, randomness="foo")(x), RuntimeError, "foo"),
        (lambda x: vmap(lambda a: a, chunk_size=0)(x), ValueError, "chunk_size"),
    ],
)
def test_bad_arguments_are_named(call: Any, error: Any, words: str) -> None:
    with pytest.raises(error, match=words):
        call(normal(3, 2))


# ----- writing in place -------------------------------------------------------------------------------------------


def written(x: Any, i: Any) -> Any:
    y = x.clone()
    y[0] = x[1] * 2
    y[i] = 0
    y[:, 1] += x[:, 0]
    y[y > 1] = 0.5
    y.mul_(3)
    return y


def test_writes_inside_and_their_gradients() -> None:
    index = cr.tensor([0, 1, 2])
    x, z = normal(3, 4, 5).requires_grad_(), normal(3, 4, 5).requires_grad_()
    mapped = vmap(written)(x, index)
    looped = cr.stack([written(z[k], index[k]) for k in range(3)])
    close(mapped, looped)
    close(*(cr.autograd.grad((out**2).sum(), leaf)[0] for out, leaf in ((mapped, x), (looped, z))))


def test_writing_to_a_mapped_argument_writes_to_the_caller_s_tensor() -> None:
    x = cr.ones(3, 2)
    vmap(lambda row: row.mul_(2))(x)
    assert x.tolist() == [[2.0, 2.0]] * 3


def test_rows_by_each_sample_s_indices() -> None:
    table, index = normal(6, 2).requires_grad_(), cr.tensor([[1, 2], [5, 1], [0, 0]])
    found = vmap(lambda i, t: F.embedding(i, t, padding_idx=0), in_dims=(0, None))(index, table)
    close(found, table[index])
    (gradient,) = cr.autograd.grad(found.sum(), table)
    assert gradient[:, 0].tolist() == [0.0, 2.0, 1.0, 0.0, 0.0, 1.0]
    close(vmap(lambda i, row: row[i])(index, normal(3, 6)), cr.stack([normal(3, 6)[k][index[k]] for k in range(3)]))


# ----- random numbers ---------------------------------------------------------------------------------------------


RANDOM = {
    "rand": lambda x: cr.rand(8),
    "dropout": lambda x: F.dropout(cr.ones(8) + 0 * x[:8]),
    "randn_like": lambda x: cr.randn_like(x),
    "normal_": lambda x: cr.zeros_like(x).normal_(),
    "randperm": lambda x: cr.randperm(8),
}


def test_of_several_writes_to_one_place_the_last_has_a_gradient() -> None:
    """Of each sample's own places; a write that a later one replaced has none."""
    rng = np.random.default_rng(0)
    x, weights = (cr.tensor(rng.standard_normal(s), dtype=cr.float64) for s in ((2, 3, 4), (3, 4)))
    places = cr.tensor([[2, 0, 2], [0, 1, 2]])

    def slope(x: Any, i: Any) -> Any:
        def loss(x: Any) -> Any:
            y = x * 1
            y[i] = x * 2
            return (y * weights).sum()

        return func.grad(loss)(x)

    expected = [slope(x[k], places[k]).numpy() for k in range(2)]
    np.testing.assert_allclose(func.vmap(slope)(x, places).numpy(), expected)
    assert not expected[0][0].any() and expected[1][0].all()


@pytest.mark.parametrize("name", RANDOM)
def test_random_functions_follow_randomness(name: str) -> None:
    x = cr.ones(3, 8)
    with pytest.raises(RuntimeError, match="randomness"):
        vmap(RANDOM[name])(x)
    same = vmap(RANDOM[name], randomness="same")(x)
    assert (same[0] == same[1]).all() and (same[0] == same[2]).all()
    cr.manual_seed(0)
    different = vmap(RANDOM[name], randomness="different")(x)
    assert not (different[0] == different[1]).all()


def test_probabilities_of_each_sample_need_different_draws() -> None:
    chances = cr.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    draw = lambda p: cr.multinomial(p, 4, replacement=True)  # noqa: E731
    assert vmap(draw, randomness="different")(chances).tolist() == [[0] * 4, [2] * 4]
    with pytest.raises(RuntimeError, match="different"):
        vmap(draw, randomness="same")(chances)


# ----- batches of seeds -------------------------------------------------------------------------------------------


def test_batches_of_seeds_give_jacobians() -> None:
    x = normal(3).requires_grad_()
    y = x.exp() * x.sum()
    (found,) = cr.autograd.grad(y, x, cr.eye(3, dtype=cr.float64), is_grads_batched=True)
    close(found, func.jacrev(lambda v: v.exp() * v.sum())(x.detach()))


def test_batches_of_seeds_must_fit() -> None:
    x = normal(3).requires_grad_()
    with pytest.raises(RuntimeError, match="is_grads_batched"):
        cr.autograd.grad(x * 2, x, cr.eye(4, dtype=cr.float64), is_grads_batched=True)


def test_many_rows_of_a_jacobian_equal_few() -> None:
    x = normal(20)
    close(func.jacrev(lambda v: v.sin() * v.sum())(x), func.jacrev(lambda v: v.sin() * v.sum(), chunk_size=3)(x))
    close(func.jacrev(lambda v: v.sin() * v.sum())(x), func.jacfwd(lambda v: v.sin() * v.sum())(x))


# ----- modules as functions ---------------------------------------------------------------------------------------


def test_functional_call_leaves_the_module_as_it_was() -> None:
    layer = cr.nn.Linear(2, 1)
    before = layer.weight
    found = func.functional_call(layer, {"weight": cr.ones(1, 2), "bias": cr.zeros(1)}, cr.tensor([3.0, 4.0]))
    assert found.item() == 7.0
    assert layer.weight is before


def test_functional_call_names_missing_and_unexpected_keys() -> None:
    layer = cr.nn.Linear(2, 1)
    with pytest.raises(RuntimeError, match="wieght"):
        func.functional_call(layer, {"wieght": cr.ones(1, 2)}, cr.ones(2))
    with pytest.raises(RuntimeError, match="bias"):
        func.functional_call(layer, {"weight": cr.ones(1, 2)}, cr.ones(2), strict=True)
    with pytest.raises(ValueError, match="weight"):
        func.functional_call(layer, ({"weight": cr.ones(1, 2)}, {"weight": cr.ones(1, 2)}), cr.ones(2))


def test_functional_call_shows_written_buffers() -> None:
    norm = cr.nn.BatchNorm1d(2)
    buffers = {name: buffer.clone() for name, buffer in norm.named_buffers()}
    func.functional_call(norm, (dict(norm.named_parameters()), buffers), cr.ones(4, 2) * 5)
    assert norm.running_mean.tolist() == [0.0, 0.0]
    assert buffers["running_mean"].tolist() == [0.5, 0.5]


def test_functional_call_ties_what_the_module_ties() -> None:
    class Tied(cr.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = cr.nn.Parameter(cr.ones(1))
            self.b = self.a

        def forward(self, x: Any) -> Any:
            return x + self.a + self.b

    module = Tied()
    assert func.functional_call(module, {"a": cr.zeros(1)}, cr.zeros(1)).item() == 0.0
    assert func.functional_call(module, {"a": cr.zeros(1)}, cr.zeros(1), tie_weights=False).item() == 1.0
    with pytest.raises(ValueError, match="one tensor"):
        func.functional_call(module, {"a": cr.zeros(1), "b": cr.ones(1)}, cr.zeros(1))


def test_batch_norm_without_running_statistics_can_be_mapped() -> None:
    norm = func.replace_all_batch_norm_modules_(cr.nn.Sequential(cr.nn.BatchNorm1d(3)))
    x = cr.randn(2, 4, 3)
    close(vmap(norm)(x), cr.stack([norm(x[0]), norm(x[1])]), 1e-6)


def test_linearize_pushes_many_tangents() -> None:
    x, v = normal(3), normal(3, seed=1)
    output, push = func.linearize(lambda a: a.sin() * a.sum(), x)
    wanted = func.jvp(lambda a: a.sin() * a.sum(), (x,), (v,))
    close(output, wanted[0])
    close(push(v), wanted[1])
    close(push(2 * v), 2 * wanted[1])


# ----- against PyTorch --------------------------------------------------------------------------------------------


def test_per_sample_gradients_equal_torch_s() -> None:
    torch = pytest.importorskip("torch")
    weight, x, y = (v.numpy() for v in (normal(4, 3), normal(5, 3), cr.tensor([0, 3, 1, 1, 2])))

    def theirs(w: Any, x: Any, y: Any) -> Any:
        return torch.nn.functional.cross_entropy(torch.nn.functional.linear(x.tanh(), w), y)

    wanted = torch.func.vmap(torch.func.grad(theirs), in_dims=(None, 0, 0))(*map(torch.tensor, (weight, x, y)))
    found = vmap(func.grad(loss), in_dims=(None, 0, 0))(*(make_tensor(v, None) for v in (weight, x, y)))
    close(found, wanted.numpy())


def test_every_name_of_torch_func_exists() -> None:
    torch = pytest.importorskip("torch")
    assert [name for name in dir(torch.func) if not name.startswith("_") and not hasattr(func, name)] == []


def test_gradients_of_an_outer_vmap_taken_in_an_inner_one_keep_their_order() -> None:
    rng = np.random.default_rng(0)
    weight, x, y = (cr.tensor(rng.standard_normal(shape)) for shape in ((3, 4), (2, 4), (5, 4)))

    def kernel(one: Any, two: Any) -> Any:
        _, pull = cr.func.vjp(lambda w: (w * one).sum(1), weight)
        return cr.func.vmap(lambda seed: cr.func.jvp(lambda w: (w * two).sum(1), (weight,), pull(seed))[1])(cr.eye(3))

    both = cr.func.vmap(cr.func.vmap(kernel, (None, 0)), (0, None))(x, y)
    assert isinstance(both.array, np.ndarray)
    want = np.einsum("nf,mf,ab->nmab", x.numpy(), y.numpy(), np.eye(3))
    np.testing.assert_allclose(both.numpy(), want, rtol=1e-5)
