"""What makes a compiled function be traced again, what takes effect without, and how arguments and results look."""

from __future__ import annotations

import collections
import copy
import dataclasses
import datetime
import functools
import gc
import os
import pickle
import re
import sys
import threading
import types
import warnings
import weakref
from typing import Any, NamedTuple

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.compiler import compile
from chainrule.compiler.tracer import Tracer
from chainrule.nn import functional as F
from chainrule.utils.checkpoint import checkpoint

pytestmark = pytest.mark.usefixtures("numpy_only")


def t(*values: float, grad: bool = False) -> Any:
    return cr.tensor(list(values), dtype=cr.float64, requires_grad=grad)


# ----- arguments -----


def test_shapes_types_and_grad_of_arguments_give_programs_of_their_own() -> None:
    @compile
    def double(x: Any) -> Any:
        return x * 2

    inputs = [cr.ones(3), cr.ones(4), cr.ones(3, dtype=cr.float64), cr.ones(3).requires_grad_(), cr.ones(3, 2).T]
    for x in inputs:
        out = double(x)
        assert out.dtype == x.dtype and out.requires_grad == x.requires_grad and out.tolist() == (x * 2).tolist()
    assert double.traces == len(inputs)
    for x in inputs:
        double(x)
    assert double.traces == len(inputs)


@pytest.mark.filterwarnings("ignore:scale has been traced")
def test_other_arguments_count_by_value_and_type() -> None:
    @compile
    def scale(x: Any, by: Any = 2, *, flag: bool = False, mode: str = "a") -> Any:
        return x * by if not flag else x - by

    x = t(1.0, 2.0)
    assert scale(x).tolist() == [2, 4]
    assert scale(x, 3).tolist() == [3, 6]
    assert scale(x, by=3.0).tolist() == [3, 6]
    assert scale(x, flag=True).tolist() == [-1, 0]
    assert scale(x, 1).tolist() == scale(x, True).tolist() == [1, 2]
    assert scale(x, -0.0).tolist() == [0, 0] and np.signbit(scale(x, -0.0).numpy()).all()
    assert not np.signbit(scale(x, 0.0).numpy()).any()
    assert np.isnan(scale(x, float("nan")).numpy()).all()
    count = scale.traces
    scale(x, float("nan")), scale(x, by=3.0)
    assert scale.traces == count


class Pair(NamedTuple):
    first: Any
    second: Any


def test_nested_arguments_and_results_keep_their_structure() -> None:
    @compile
    def swap(tree: Any, more: Any) -> Any:
        return {"pair": Pair(tree["b"][1] + 1, tree["a"]), "list": [more[0] * 2, None, 3, "text"], "t": (more[1],)}

    a, b, c = t(1.0), t(2.0), np.array([5.0])
    for _ in range(2):
        result = swap({"a": a, "b": (a, b)}, [c, 4.5])
        assert type(result["pair"]) is Pair and result["pair"].first.tolist() == [3.0]
        assert result["pair"].second is a
        assert isinstance(result["list"][0], np.ndarray) and result["list"][0].tolist() == [10.0]
        assert result["list"][1:] == [None, 3, "text"] and result["t"] == (4.5,)
    assert swap.traces == 1


def test_numpy_arrays_go_in_and_come_out() -> None:
    @compile
    def norm(x: Any) -> Any:
        return np.sqrt(np.sum(x * x)), np.exp(x)

    x = np.array([3.0, 4.0])
    length, exp = norm(x)
    assert float(length) == 5.0 and type(exp) is np.ndarray
    np.testing.assert_allclose(exp, np.exp(x))


def test_an_argument_given_twice_and_results_given_twice() -> None:
    @compile
    def both(x: Any, y: Any) -> Any:
        out = x * y
        return out, out, x, x.reshape(-1), y[1:]

    x, y = t(2.0, 3.0), t(5.0, 7.0)
    first, again, same, flat, rest = both(x, x)
    assert first.tolist() == again.tolist() == [4.0, 9.0] and same is x
    first, again, same, flat, rest = both(x, y)
    assert first.tolist() == again.tolist() == [10.0, 21.0] and same is x
    rest.zero_()
    assert y.tolist() == [5.0, 0.0]  # a view of an argument is one outside as well
    first.zero_()
    assert x.tolist() == flat.tolist() == [2.0, 3.0]
    assert both(x, x)[0].tolist() == [4.0, 9.0]


def test_arrays_and_numbers_that_the_function_makes_or_reads() -> None:
    optimizer = cr.optim.SGD([cr.ones(1, requires_grad=True)], lr=0.5)
    f = compile(lambda x: (np.zeros(2), cr.ones(2), optimizer.param_groups[0]["lr"], x.shape, x.sum() * 1))
    zeros, ones, rate, shape, _ = f(cr.ones(3))
    assert zeros.tolist() == [0, 0] and ones.tolist() == [1, 1] and rate == 0.5 and shape == (3,)
    zeros += 1
    ones.add_(1)
    optimizer.param_groups[0]["lr"] = 0.25
    zeros, ones, rate, _, _ = f(cr.ones(3))
    assert zeros.tolist() == [0, 0] and ones.tolist() == [1, 1] and rate == 0.25 and f.traces == 1


def test_python_that_reads_a_learning_rate_sees_the_new_one() -> None:
    optimizer = cr.optim.SGD([cr.ones(1, requires_grad=True)], lr=0.5)
    f = compile(lambda x: x * float(optimizer.param_groups[0]["lr"]) if optimizer.param_groups[0]["lr"] > 0.1 else x)
    for rate in (0.5, 0.25, 0.05, 0.25):
        optimizer.param_groups[0]["lr"] = rate
        assert f(cr.ones(())).item() == (rate if rate > 0.1 else 1.0)


def test_writes_to_arguments_are_seen_outside() -> None:
    @compile
    def fill(x: Any, y: Any) -> Any:
        x[0] = y.sum()
        y.mul_(2)
        return x

    x, y = t(1.0, 2.0), t(3.0, 4.0)
    array, version = x.numpy(), x._version
    assert fill(x, y) is x
    assert x.tolist() == [7.0, 2.0] and y.tolist() == [6.0, 8.0] and array[0] == 7.0 and x._version > version
    z = cr.ones(2, 2, dtype=cr.float64)
    fill(z[:, 0], t(1.0, 2.0))  # not contiguous
    assert z.tolist() == [[3.0, 1.0], [1.0, 1.0]]


def test_numpy_arguments_are_written_to() -> None:
    @compile
    def clear(x: Any) -> None:
        x[1:] = 0.0

    x = np.ones(3)
    assert clear(x) is None and x.tolist() == [1.0, 0.0, 0.0]
    assert clear(x[::2]) is None


def test_gradients_flow_through_results_to_arguments_and_parameters() -> None:
    line = nn.Linear(2, 1).double()
    f = compile(lambda x: line(x).tanh())
    x = cr.randn(3, 2, dtype=cr.float64, requires_grad=True)
    for _ in range(2):
        line.zero_grad()
        x.grad = None
        f(x).sum().backward()
        expected = cr.autograd.grad(line(x).tanh().sum(), [x, line.weight, line.bias])
        for got, want in zip((x.grad, line.weight.grad, line.bias.grad), expected, strict=True):
            np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=1e-12)
    z = (x * 2).detach().requires_grad_()
    f(z * 3).sum().backward()  # an argument that is no leaf
    assert z.grad.shape == (3, 2)
    out = f(x)
    with cr.no_grad():
        line.weight.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.sum().backward()
    with pytest.raises(RuntimeError, match="differentiated once"):
        cr.autograd.grad(f(x).sum(), x, create_graph=True)


# ----- what is closed over -----

FLAG = True
SCALE = {"by": 2.0}


def test_globals_cells_containers_and_attributes_that_change() -> None:
    global FLAG
    offset = 1.0

    class Settings:
        power = 1

    settings = Settings()
    settings.power = 2

    @compile
    def f(x: Any) -> Any:
        return (x**settings.power if FLAG else -x) * SCALE["by"] + offset

    x = t(3.0)
    assert f(x).item() == 19.0
    offset = 2.0
    assert f(x).item() == 20.0
    SCALE["by"] = 1.0
    assert f(x).item() == 11.0
    settings.power = 3
    assert f(x).item() == 29.0
    FLAG = False
    try:
        assert f(x).item() == -1.0
    finally:
        FLAG, SCALE["by"] = True, 2.0
    assert f.traces == 5


def test_train_and_eval_dropout_rates_and_flags_of_modules() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5)).double()
    f = compile(net)
    x = cr.ones(2, 4, dtype=cr.float64)

    def agree() -> None:
        cr.manual_seed(1)
        got = f(x)
        cr.manual_seed(1)
        np.testing.assert_allclose(got.detach().numpy(), net(x).detach().numpy(), rtol=1e-12)

    agree()
    f.eval()
    assert not net.training and not f.training and not net[1].training
    agree()
    f.train()
    net[1].p = 0.9
    agree()
    net[0].weight.data = cr.ones(4, 4, dtype=cr.float64)
    agree()
    net[0].bias = None
    agree()
    net[1] = nn.Identity()
    agree()
    traces = f.traces
    handle = net[0].register_forward_hook(lambda module, args, out: out * 2)
    agree()
    assert f.traces == traces + 1
    handle.remove()
    agree()


def test_a_parameter_of_another_shape_or_type() -> None:
    line = nn.Linear(2, 2)
    f = compile(lambda x: F.linear(x, line.weight))
    assert f(cr.ones(2)).shape == (2,)
    line.weight.data = cr.ones(3, 2)
    assert f(cr.ones(2)).tolist() == [2, 2, 2]
    line.weight.requires_grad_(False)
    assert not f(cr.ones(2)).requires_grad


def test_new_values_take_effect_without_another_trace() -> None:
    line, other = nn.Linear(2, 1), nn.Linear(2, 1)
    f = compile(lambda x: line(x))
    x = cr.ones(3, 2)
    f(x)
    line.load_state_dict(other.state_dict())
    np.testing.assert_array_equal(f(x).detach().numpy(), other(x).detach().numpy())
    line.weight.data = cr.zeros(1, 2)
    line.bias.data.fill_(3.0)
    assert f(x).tolist() == [[3.0]] * 3
    assert f.traces == 1


def test_grad_mode_and_the_default_type_are_part_of_the_signature() -> None:
    f = compile(lambda x: x * cr.ones(2))
    x = cr.ones(2, requires_grad=True)
    assert f(x).requires_grad
    with cr.no_grad():
        assert not f(x).requires_grad
    cr.set_default_dtype(cr.float64)
    try:
        assert f(x).dtype == (x * cr.ones(2)).dtype
    finally:
        cr.set_default_dtype(cr.float32)


def test_tied_weights_that_are_separated() -> None:
    a, b = t(1.0, 2.0), t(3.0, 4.0)
    b.data = a
    f = compile(lambda: (a * 10 + b).tolist if False else a * 10 + b)
    assert f().tolist() == [11.0, 22.0]
    b.data = t(5.0, 6.0)
    assert f().tolist() == [15.0, 26.0]


def test_an_argument_that_is_also_closed_over() -> None:
    weight = t(1.0, 2.0)

    @compile
    def f(x: Any) -> Any:
        weight.mul_(2)
        return x + 0

    assert f(weight).tolist() == [2.0, 4.0]
    assert f(t(1.0, 1.0)).tolist() == [1.0, 1.0]
    assert weight.tolist() == [4.0, 8.0]
    alias = weight.detach()
    assert f(alias).tolist() == [8.0, 16.0]
    assert f(t(1.0, 1.0)).tolist() == [1.0, 1.0]


def test_what_keeps_changing_is_told() -> None:
    @compile
    def f(x: Any, length: int) -> Any:
        return x * length

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for i in range(12):
            assert f(cr.ones(2), i).tolist() == [i, i]
    (warning,) = caught
    assert "f has been traced 9 times" in str(warning.message) and "length (7, then 8)" in str(warning.message)
    assert sum(map(len, f.variants.values())) <= 9

    box = [0]
    g = compile(lambda x: x + box[0])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for i in range(12):
            box[0] = i
            assert g(cr.zeros(1)).item() == i
    assert "box" in str(caught[0].message)


# ----- what else Python can tell apart -----


class Attributed(dict[str, Any]):
    """A dict with attributes, as configurations often are."""


def helper(x: Any, by: float = 2.0, *, more: float = 0.0) -> Any:
    return x * by + more


def other(x: Any, by: float = 2.0, *, more: float = 0.0) -> Any:
    return x - by


def reads_zero() -> Any:
    box = {"sign": 0.0}
    return lambda x: cr.copysign(x, box["sign"]), lambda: box.update(sign=-0.0)


def reads_keys() -> Any:
    box = {"a": 1.0}
    return lambda x: x * (2 if "a" in box else 3), lambda: box.update(b=box.pop("a"))


def reads_order() -> Any:
    box = {1: 0.0, 2: 0.0}
    return lambda x: x * next(iter(box)), lambda: box.update({1: box.pop(1)})


def reads_attribute_of_dict() -> Any:
    box = Attributed()
    box.rate = 2.0
    return lambda x: x * box.rate, lambda: setattr(box, "rate", 3.0)


def reads_through_a_method_of_a_dict() -> Any:
    box = {"rate": 2.0}
    get = box.get
    return lambda x: x * get("rate"), lambda: box.update(rate=3.0)


def reads_through_views_and_references() -> Any:
    box = {"rate": 2.0}
    net = nn.Identity()
    net.rate = 3.0
    values, whole, reference = box.values(), types.MappingProxyType(box), weakref.ref(net)

    def change() -> None:
        box["rate"] = net.rate = 5.0

    return lambda x: x * sum(values) + whole["rate"] * reference().rate, change


def reads_imported_module() -> Any:
    module = sys.modules["settings_of_test_guards"] = types.ModuleType("settings_of_test_guards")
    module.inner = types.ModuleType("settings_of_test_guards.inner")
    module.inner.rate = 2.0

    def program(x: Any) -> Any:
        import settings_of_test_guards

        return x * settings_of_test_guards.inner.rate

    return program, lambda: setattr(module.inner, "rate", 3.0)


def reads_environment() -> Any:
    os.environ["RATE_OF_TEST_GUARDS"] = "2"
    return lambda x: x * float(os.environ["RATE_OF_TEST_GUARDS"]), lambda: os.environ.update(RATE_OF_TEST_GUARDS="3")


def reads_objects_in_an_array() -> Any:
    box = np.array([2.0, "text"], dtype=object)
    return lambda x: x * box[0], lambda: box.__setitem__(0, 3.0)


def calls_a_helper(change: Any) -> Any:
    function = types.FunctionType(helper.__code__, {}, "helper", helper.__defaults__)
    function.__kwdefaults__ = {"more": 0.0}
    return lambda x: function(x), lambda: change(function)


@pytest.mark.parametrize(
    "made",
    [
        reads_zero,
        reads_keys,
        reads_order,
        reads_attribute_of_dict,
        reads_through_a_method_of_a_dict,
        reads_through_views_and_references,
        reads_imported_module,
        reads_environment,
        reads_objects_in_an_array,
        lambda: calls_a_helper(lambda f: setattr(f, "__defaults__", (3.0,))),
        lambda: calls_a_helper(lambda f: f.__kwdefaults__.update(more=5.0)),
        lambda: calls_a_helper(lambda f: setattr(f, "__code__", other.__code__)),
    ],
)
def test_whatever_the_function_reads_may_change(made: Any) -> None:
    program, change = made()
    compiled = compile(program)
    before = compiled(t(1.0)).item()
    assert before == program(t(1.0)).item() and compiled(t(1.0)).item() == before and compiled.traces == 1
    change()
    after = compiled(t(1.0)).item()
    assert after == program(t(1.0)).item() and after != before and compiled.traces == 2


@dataclasses.dataclass(frozen=True)
class Settings:
    rate: Any
    name: str = dataclasses.field(default="", compare=False)
    sizes: tuple[Any, ...] = ()


@pytest.mark.filterwarnings("ignore:scaled has been traced")
def test_arguments_that_are_equal_but_not_alike() -> None:
    @compile
    def scaled(x: Any, by: Any) -> Any:
        if isinstance(by, Settings):
            kinds = [bool, int, float]
            return x * by.rate + len(by.name) * 10 + 100 * sum(kinds.index(type(s)) for s in (by.rate, *by.sizes))
        return cr.copysign(x, float(by))

    given = [np.float64(0.0), np.float64(-0.0), np.float32(-0.0), np.float32(0.0), Settings(1), Settings(True)]
    given += [Settings(1.0), Settings(1, "ab"), Settings(1, "", (1,)), Settings(1, "", (True,))]
    for _ in range(2):
        for by in given:
            assert scaled(t(1.0), by).item() == scaled.function(t(1.0), by).item(), by
    traces = compile(scaled.function)
    for _ in range(2):
        traces(t(1.0), Settings(1, "a" * len("ab"), tuple([1, 2.0])))
    assert traces.traces == 1


def test_an_attribute_that_only_a_key_error_denies() -> None:
    class Keys:
        def __init__(self) -> None:
            self.items = {"rate": 2.0}

        def __getattr__(self, name: str) -> Any:
            return self.items[name]  # a KeyError where an AttributeError is expected

    keys = Keys()
    compiled = compile(lambda x: x * keys.rate)
    assert compiled(t(1.0)).item() == 2
    keys.items["rate"] = 3.0
    assert compiled(t(1.0)).item() == 3


ROTATION, SHEAR = [[0.0, 1.0], [-1.0, 0.0]], [[1.0, 1.0], [0.0, 2.0]]


@pytest.mark.parametrize(
    "function", [lambda x: cr.linalg.eigvals(x).abs(), lambda x: cr.linalg.eig(x)[0].imag, cr.linalg.eigvals]
)
@pytest.mark.parametrize(("first", "then"), [(ROTATION, SHEAR), (SHEAR, ROTATION)])
def test_whether_eigenvalues_are_real_may_change(function: Any, first: Any, then: Any) -> None:
    """For NumPy they are then of another type."""
    compiled = compile(function)
    for matrix in (first, then):
        x = cr.tensor(matrix, dtype=cr.float64)
        found, expected = compiled(x), function(x)
        assert found.dtype == expected.dtype
        np.testing.assert_allclose(found.numpy(), expected.numpy())
    assert compiled.traces == 1


def test_an_infinite_part_of_a_complex_number_leaves_the_other_alone() -> None:
    parts = cr.tensor([1.0, np.inf]), cr.tensor([np.inf, 2.0])
    for found in (compile(cr.complex)(*parts), cr.complex(*parts)):
        assert found.tolist() == [complex(1, np.inf), complex(np.inf, 2)]


# ----- methods, modules, nesting -----


class Model:
    def __init__(self, scale: float) -> None:
        self.weight = t(scale)

    @compile
    def apply(self, x: Any, power: int = 1) -> Any:
        return self.weight * x**power

    @compile(fullgraph=True, mode="max-autotune")
    def twice(self, x: Any) -> Any:
        return self.apply(self.apply(x))


def test_methods_belong_to_their_instances_which_die() -> None:
    one, two = Model(2.0), Model(3.0)
    assert one.apply(t(5.0)).item() == 10 and two.apply(t(5.0)).item() == 15 and one.apply(t(5.0), power=2).item() == 50
    assert one.twice(t(1.0)).item() == 4
    two.weight = t(7.0)
    assert two.apply(t(1.0)).item() == 7
    other = copy.deepcopy(one)
    other.weight.fill_(1.0)
    assert other.apply(t(5.0)).item() == 5 and one.apply(t(5.0)).item() == 10
    dying = weakref.ref(two)
    del two
    gc.collect()
    assert dying() is None


def test_a_compiled_module_is_a_module() -> None:
    net = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    f = cr.compile(net, backend="inductor", mode="reduce-overhead", dynamic=False)
    assert isinstance(f, nn.Module) and list(f.state_dict()) == list(net.state_dict())
    assert [n for n, _ in f.named_parameters()] == [n for n, _ in net.named_parameters()]
    assert list(map(id, f.parameters())) == list(map(id, net.parameters()))
    f.load_state_dict(net.state_dict())
    f(cr.ones(1, 2)).sum().backward()
    assert net[0].weight.grad is not None
    f.zero_grad()
    assert net[0].weight.grad is None
    assert f.eval() is f and not net.training
    assert "np.dot" in f.source or "linear" in f.source
    whole = nn.Sequential(f, nn.Linear(3, 1))
    assert len(list(whole.parameters())) == 4
    assert whole(cr.ones(1, 2)).shape == (1, 1)
    again = pickle.loads(pickle.dumps(f))
    np.testing.assert_array_equal(again(cr.ones(1, 2)).detach().numpy(), f(cr.ones(1, 2)).detach().numpy())


def test_module_compile_works_in_place() -> None:
    net = nn.Linear(2, 3)
    expected = net(cr.ones(1, 2)).detach().numpy()
    net.compile()
    for _ in range(2):
        np.testing.assert_allclose(net(cr.ones(1, 2)).detach().numpy(), expected, rtol=1e-6)
    assert net.forward.traces == 1


def test_compiled_functions_call_each_other() -> None:
    inner = compile(lambda x: x * 2)
    outer = compile(lambda x: inner(x) + inner(x * 3))
    x = t(1.0, grad=True)
    outer(x).backward()
    assert outer(x).item() == 8.0 and x.grad.item() == 8.0
    assert inner.traces == 0


def test_partial_functions_and_callable_objects() -> None:
    class Scale:
        def __init__(self) -> None:
            self.by = t(3.0)

        def __call__(self, x: Any) -> Any:
            return x * self.by

    scale = Scale()
    f = compile(scale)
    assert f(t(2.0)).item() == 6.0
    scale.by.fill_(4.0)
    assert f(t(2.0)).item() == 8.0 and f.traces == 1
    g = compile(functools.partial(lambda x, y: x - y, y=t(1.0)))
    assert g(t(3.0)).item() == 2.0


def test_dropout_draws_what_the_eager_run_draws() -> None:
    f = compile(lambda x: F.dropout(x, 0.5) + cr.randn(4) * cr.rand(4))
    plain = f.function
    cr.manual_seed(3)
    expected = [plain(cr.ones(4)).tolist() for _ in range(3)]
    cr.manual_seed(3)
    assert [f(cr.ones(4)).tolist() for _ in range(3)] == expected


DRAWS: dict[str, Any] = {
    "normal": lambda x: cr.normal(x, x),
    "bernoulli": lambda x: cr.bernoulli(x),
    "bernoulli_": lambda x: cr.zeros(4).bernoulli_(x),
    "binomial": lambda x: cr.binomial(cr.full((4,), 10.0), x),
    "poisson": lambda x: cr.poisson(x * 10),
    "multinomial": lambda x: cr.multinomial(x.reshape(2, 2), 6, replacement=True).T,
    "multinomial without replacement": lambda x: cr.multinomial(x, 3),
    "of one number": lambda x: cr.bernoulli(x[0]) + cr.normal(x[1], x[2]),
    "randperm": lambda x: x[cr.randperm(4)[:2]],
    "randint": lambda x: x[cr.randint(4, (3,))] + cr.randint_like(x[:3], 9),
    "filling": lambda x: cr.zeros(4).exponential_() + cr.zeros(4).geometric_(0.3) + cr.zeros(4).cauchy_(),
    "activation": lambda x: F.gumbel_softmax(F.rrelu(x - 0.5, training=True), hard=True),
}


@pytest.mark.parametrize("name", DRAWS)
def test_random_functions_draw_what_the_eager_run_draws(name: str) -> None:
    compiled = compile(DRAWS[name])
    results = []
    for run in (DRAWS[name], compiled):
        cr.manual_seed(5)
        results.append([run(cr.tensor([0.2, 0.5, shift, 0.1])) for shift in (0.8, 0.1, 0.3)])
    for mine, right in zip(results[1], results[0], strict=True):
        assert (mine.shape, mine.dtype) == (right.shape, right.dtype)
        np.testing.assert_array_equal(mine.numpy(), right.numpy())
    assert compiled.traces == 1


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: cr.bernoulli(x), "probability lies between 0 and 1"),
        (lambda x: cr.binomial(x, x), "probability lies between 0 and 1"),
        (lambda x: cr.multinomial(x, 1), "element < 0"),
        (lambda x: cr.normal(x, x), "std >= 0"),
    ],
)
def test_probabilities_out_of_range_raise_when_the_program_runs(function: Any, message: str) -> None:
    compiled = compile(function)
    compiled(cr.tensor([0.5, 0.5]))
    with pytest.raises(RuntimeError, match=message):
        compiled(cr.tensor([0.5, -0.5]))
    assert compiled.traces == 1


def test_threads_get_right_results() -> None:
    weight = cr.randn(64, 64)
    f = compile(lambda x: (x @ weight).tanh().sum(0) + x.sum())
    inputs = [cr.randn(64, 64) * i for i in range(4)]
    expected = [f.function(x).numpy() for x in inputs]
    wrong: list[int] = []

    def work(i: int) -> None:
        for _ in range(30):
            if not np.allclose(f(inputs[i]).numpy(), expected[i], rtol=1e-4, atol=1e-4):
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and f.traces == 1


def test_an_exception_while_tracing_leaves_everything_as_it_was() -> None:
    line = nn.BatchNorm1d(2)
    optimizer = cr.optim.Adam(line.parameters())
    before = {name: value.clone() for name, value in line.state_dict().items()}
    versions = [p._version for p in line.parameters()]

    @compile
    def step(x: Any) -> Any:
        cr.rand(3)
        loss = line(x).sum()
        loss.backward()
        optimizer.step()
        raise ValueError("mine")

    cr.manual_seed(0)
    state = cr.get_rng_state().tolist()
    with pytest.raises(ValueError, match="mine"):
        step(cr.ones(3, 2))
    assert cr.get_rng_state().tolist() == state
    for name, value in line.state_dict().items():
        assert type(value.array) is np.ndarray and value.tolist() == before[name].tolist()
    assert not optimizer.state and optimizer.param_groups[0]["lr"] == 1e-3
    assert [p._version for p in line.parameters()] == versions
    assert all(p.grad is None and not isinstance(p.array, Tracer) for p in line.parameters())


def test_compilation_can_be_turned_off(monkeypatch: pytest.MonkeyPatch) -> None:
    from chainrule.compiler import compiled

    monkeypatch.setattr(compiled, "off", True)
    f = compile(lambda x: float(x) + 1)
    assert f(t(1.0)) == 2.0 and f.traces == 0
    with pytest.raises(RuntimeError, match="CHAINRULE_COMPILE=0 turns compilation off"):
        f.source
    assert compile(len, disable=True) is len


def test_arrays_of_numpy_that_change() -> None:
    table = np.ones(3)
    large = np.zeros(1000)
    holder = [table]

    class Settings:
        offsets = None

    settings = Settings()
    settings.offsets = np.ones(2)

    @compile
    def f(x: Any) -> Any:
        return x * float(np.sin(table).sum()) + float(large.sum()) + float(holder[0][0]) + float(settings.offsets[1])

    for array in (None, table, large, table[1:], settings.offsets):
        if array is not None:
            array += 1
        for _ in range(2):
            assert f(t(2.0)).item() == pytest.approx(f.function(t(2.0)).item(), rel=1e-15)
    holder[0] = np.full(2, 7.0)
    assert f(t(2.0)).item() == pytest.approx(f.function(t(2.0)).item(), rel=1e-15)
    assert f.traces == 6
    table[0] = np.nan  # is no other value than itself
    f(t(2.0)), f(t(2.0))
    assert f.traces == 7


def test_results_without_dimensions_are_tensors_of_arrays() -> None:
    w = t(2.0, 3.0, grad=True)

    @compile
    def f(x: Any) -> Any:
        loss = (x.exp() * w[0] * w.sum()).sum()
        w.grad = None
        loss.backward()
        return loss.detach(), w.grad.sum(), np.sum(x)

    for out in f(t(1.0, 2.0)):
        assert type(out.array) is np.ndarray and out.shape == ()
        out.zero_()
        assert out.item() == 0


def test_a_generator_of_the_users_own_draws_in_every_run() -> None:
    generator = cr.Generator().manual_seed(3)
    f = compile(lambda x: x + cr.rand(2, generator=generator))
    found = [f(cr.zeros(2)).tolist() for _ in range(3)]
    generator.manual_seed(3)
    assert found == [cr.rand(2, generator=generator).tolist() for _ in range(3)] and f.traces == 1


# ----- hooks -----


def test_hooks_that_are_added_or_removed_are_noticed() -> None:
    net = nn.Linear(2, 1)
    x = cr.ones(3, 2)

    def step() -> Any:
        net.weight.grad = None
        net(x).sum().backward()
        return net.weight.grad

    compiled = compile(step)

    def agree() -> None:
        expected = step()
        np.testing.assert_array_equal(compiled().numpy(), expected.numpy())

    agree()
    hook = net.weight.register_hook(lambda gradient: gradient * 5)
    agree()
    late = net.weight.register_post_accumulate_grad_hook(lambda parameter: parameter.grad.add_(7))
    agree()
    hook.remove()
    agree()
    late.remove()
    agree()


def test_a_hook_is_called_once_when_backward_is_outside() -> None:
    w = cr.tensor([2.0], requires_grad=True)
    w.register_hook(lambda gradient: gradient * 10)
    compiled = compile(lambda x: (x * w).sum())
    x = cr.tensor([3.0], requires_grad=True)
    x.register_hook(lambda gradient: gradient * 100)
    compiled(x).backward()
    assert w.grad is not None and x.grad is not None
    assert (w.grad.item(), x.grad.item()) == (30, 200)


def test_hooks_of_arguments() -> None:
    compiled = compile(lambda x: (x * x).sum().backward())
    for factor in (1, 3):
        x = cr.ones(2, requires_grad=True)
        if factor > 1:
            x.register_hook(lambda gradient: gradient * 3)
        compiled(x)
        assert x.grad is not None and x.grad.tolist() == [2 * factor] * 2


# ----- where Python keeps things -----


class Slotted:
    __slots__ = ("factor",)


class Shared:
    factor: Any = 2.0

    def scaled(self, x: Any) -> Any:
        return x * self.factor


def of_a_deque() -> Any:
    kept = collections.deque([2.0])
    return lambda x: x * kept[0], lambda: kept.__setitem__(0, 5.0)


def of_a_slot() -> Any:
    kept = Slotted()
    kept.factor = 2.0
    return lambda x: x * kept.factor, lambda: setattr(kept, "factor", 5.0)


def of_a_date() -> Any:  # each look at its seconds makes another number
    kept = type("Kept", (), {"longest": datetime.timedelta(0, 1002), "__module__": __name__})
    return lambda x: x * (kept.longest.seconds - 1000), lambda: setattr(kept, "longest", datetime.timedelta(0, 1005))


def of_a_class() -> Any:
    kept = type("Kept", (Shared,), {"factor": 2.0, "__module__": __name__})
    return lambda x: x * kept.factor, lambda: setattr(kept, "factor", 5.0)


def of_an_objects_class() -> Any:
    kept = type("Kept", (Shared,), {"factor": 2.0, "__module__": __name__})
    instance = kept()
    return lambda x: instance.scaled(x), lambda: setattr(kept, "factor", 5.0)


def of_a_method() -> Any:
    kept = type("Kept", (Shared,), {"__module__": __name__})
    instance = kept()
    return lambda x: instance.scaled(x), lambda: setattr(kept, "scaled", lambda self, x: x * 5)


def of_a_modules_method() -> Any:
    class Scaled(nn.Module):
        def forward(self, x: Any) -> Any:
            return self.scaled(x)

        def scaled(self, x: Any) -> Any:
            return x * 2

    return Scaled(), lambda: setattr(Scaled, "scaled", lambda self, x: x * 5)


def of_a_function() -> Any:
    def scaled(x: Any) -> Any:
        return x * scaled.factor  # type: ignore[attr-defined]

    scaled.factor = 2.0  # type: ignore[attr-defined]
    return scaled, lambda: setattr(scaled, "factor", 5.0)


def of_a_tensor_in_a_class() -> Any:
    kept = type("Kept", (Shared,), {"factor": cr.tensor(2.0), "__module__": __name__})
    return lambda x: x * kept.factor, lambda: kept.factor.fill_(5.0)


@pytest.mark.parametrize(
    "make",
    [
        of_a_deque, of_a_slot, of_a_date, of_a_class, of_an_objects_class, of_a_method, of_a_modules_method,
        of_a_function, of_a_tensor_in_a_class,
    ],
)  # fmt: skip
def test_what_changes_there_is_noticed(make: Any) -> None:
    function, change = make()
    compiled = compile(function)
    assert compiled(cr.ones(1)).item() == 2
    change()
    assert compiled(cr.ones(1)).item() == 5


def test_one_tensor_returned_twice_is_one_tensor() -> None:
    def function(x: Any) -> Any:
        y = x * 2
        return y, {"again": y}

    first, second = compile(function)(cr.ones(2, requires_grad=True))
    assert second["again"] is first and first.requires_grad


# ----- random numbers -----


def test_random_numbers_of_a_checkpoint_and_of_a_fork() -> None:
    def function(x: Any) -> Any:
        hidden = checkpoint(lambda x: F.dropout(x.exp(), 0.5) * x, x, use_reentrant=False)
        (gradient,) = cr.autograd.grad((hidden * hidden).sum(), x)
        with cr.random.fork_rng():
            aside = cr.rand(3)
        return hidden.detach(), gradient, aside, cr.rand(2)

    x = cr.randn(4, 5, dtype=cr.float64, requires_grad=True)
    found = []
    for run in (function, compile(function)):
        cr.manual_seed(1)
        found.append([value for _ in range(2) for value in run(x)])
    for got, want in zip(found[1], found[0], strict=True):
        np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=1e-12)


# ----- order in memory -----


@pytest.mark.parametrize("function", [lambda x: x, lambda x: x.T.clone(), lambda x: x.exp(), lambda x: x.contiguous()])
@pytest.mark.parametrize("strided", [lambda x: x, lambda x: x.T, lambda x: x[:, ::2]])
def test_writes_to_another_shape_reach_what_they_reach_uncompiled(function: Any, strided: Any) -> None:
    """It is a view, or a copy, by the order of the elements in memory."""

    def program(x: Any) -> Any:
        y = function(x)
        y.reshape(-1).add_(1)
        return y.clone(), y.flatten()

    given = [strided(cr.arange(12.0).reshape(3, 4)) for _ in range(2)]
    for found, expected in zip(compile(program)(given[0]), program(given[1]), strict=True):
        np.testing.assert_array_equal(found.numpy(), expected.numpy())
    np.testing.assert_array_equal(given[0].numpy(), given[1].numpy())


# ----- results that share memory -----


def unrecorded(y: Any) -> Any:
    with cr.no_grad():
        return y[0]


@pytest.mark.parametrize(
    "function",
    [
        lambda y: (y, y[0], y.T, y.detach()),
        lambda y: (y[0], y, y[0]),
        lambda y: (y.view(-1), y, y[:, 1], y.detach()[0]),
        lambda y: (y, y[0].mul_(3)),
        lambda y: (y, unrecorded(y)),
    ],
)
@pytest.mark.parametrize("grad", [False, True])
def test_results_that_are_views_of_another_result_share_its_memory(function: Any, grad: bool) -> None:
    def effects(function: Any) -> list[Any]:
        x = cr.tensor(np.arange(6.0).reshape(2, 3), dtype=cr.float64, requires_grad=grad)
        results = function(x)
        found: list[Any] = [(r.tolist(), r.requires_grad, r._is_view(), r.is_leaf) for r in results]
        found.append([[np.shares_memory(a.array, b.array) for a in results] for b in results])
        if grad:
            sum((r * r).sum() for r in results).backward()
            found.append(x.grad.tolist())
            results, x.grad = function(x), None
        try:
            results[-1].mul_(10)
        except RuntimeError as error:
            return [*found, str(error)[:50]]
        found.append([r.tolist() for r in results])
        if grad:
            sum((r * r).sum() for r in results if r.requires_grad).backward()
            found.append(x.grad.tolist())
        return found

    def program(x: Any) -> Any:
        return function(x * 2)

    compiled = compile(program)
    assert effects(compiled) == effects(program)
    assert effects(compiled) == effects(program)


def test_arrays_that_are_views_of_another_result_share_its_memory() -> None:
    compiled = compile(lambda a: (a[1:] + 1, (a + 1).T))
    both = compile(lambda a: [(b := a + 1), b[1:], b.T])
    a = np.arange(6.0).reshape(2, 3)
    for _ in range(2):
        base, rows, turned = both(a)
        rows[...] = 7
        assert base.tolist() == [[1, 2, 3], [7, 7, 7]] and turned[0].tolist() == [1, 7]
        assert type(rows) is np.ndarray
        first, second = compiled(a)
        assert not np.shares_memory(first, second)


# ----- arrays, and functions that were replaced -----


def test_a_function_is_told_that_it_has_arrays() -> None:
    def checked(x: Any, y: Any) -> Any:
        if not isinstance(x, np.ndarray) or isinstance(y, np.ndarray):
            raise TypeError("x must be an array, y a tensor")
        return np.tanh(x) + y.detach().numpy()

    x = np.ones(3, np.float32)
    np.testing.assert_allclose(compile(checked)(x, cr.ones(3)), np.tanh(x) + 1, rtol=1e-6)


def test_a_replaced_function_of_chainrule_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = compile(lambda x: F.relu(x) + cr.nn.functional.tanh(x))
    x = t(-1.0, 2.0)
    before = compiled(x).tolist()
    with monkeypatch.context() as patches:
        patches.setattr(F, "relu", lambda x: x * 10)
        assert compiled(x).tolist() == pytest.approx([-10 + np.tanh(-1.0), 20 + np.tanh(2.0)])
        patches.setattr(F, "tanh", lambda x: x * 100)
        assert compiled(x).tolist() == pytest.approx([-110, 220])
    assert compiled.traces == 3
    assert compiled(x).tolist() == before
    assert compiled.traces == 3


def test_what_a_module_of_python_remembers_is_its_own() -> None:
    def chosen(x: Any) -> Any:
        return x * 2 if re.sub("a+", "b", "caat") == "cbt" else x

    re.purge()  # what was compiled before
    assert compile(chosen)(t(1.0)).tolist() == [2.0]
