"""What cannot be compiled is refused, with the user's line and what to write instead."""

from __future__ import annotations

import builtins
import contextlib
import copy
import io
import itertools
import linecache
import pickle
import random
import re
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.compiler import TraceError, compile
from chainrule.nn import functional as F
from chainrule.utils.data import DataLoader, TensorDataset

pytestmark = pytest.mark.usefixtures("numpy_only")
HERE = r"test_bad_input.py:\d+"


def refused(function: Any, *args: Any) -> str:
    """The message; the tensors are as before."""
    tensors = [arg for arg in args if isinstance(arg, cr.Tensor)]
    arrays = [tensor.array for tensor in tensors]
    with pytest.raises(TraceError) as error:
        compile(function)(*args)
    assert all(tensor.array is array for tensor, array in zip(tensors, arrays, strict=True))
    return str(error.value)


@pytest.mark.parametrize(
    ("function", "what", "instead"),
    [
        (lambda x: x if x.sum() > 1 else -x, "Python decides on a traced value", "where"),
        (lambda x: x * x.sum().item(), "item()", "Go on with the tensor itself"),
        (lambda x: x[int(x[0])], "int() of a traced value", "return it"),
        (lambda x: x * float(x.max()), "float()", "Go on with the tensor itself"),
        (lambda x: x.tolist(), "item()", "return it"),
        (lambda x: cr.tensor(np.array(x.numpy())), "NumPy array", "outside"),
        (lambda x: print(x), "printed", "Return it"),
        (lambda x: f"{x}", "printed", "Return it"),
        (lambda x: x[x > 1], "the shape of x[mask] depends on values", "where"),
        (lambda x: cr.nonzero(x), "depends on values", "where"),
        (lambda x: np.linalg.eigvals(np.asarray(x)), "NumPy array", "outside"),
        (lambda x: [1 for _ in range((x > 0).sum())], "of a traced value", "return it"),
    ],
)
def test_python_that_depends_on_values(function: Any, what: str, instead: str) -> None:
    message = refused(function, cr.tensor([1.0, 2.0]))
    assert what in message and re.search(HERE, message), message
    assert instead in message
    assert "lambda x:" in message  # the line itself


def test_an_optimizers_closure_may_not_decide_on_the_loss() -> None:
    net = nn.Linear(2, 1)
    optimizer = optim.SGD(net.parameters(), lr=0.1)

    def step(x: Any) -> Any:
        loss = net(x).sum()
        loss.backward()
        if loss > 3:
            optimizer.step()
        return loss

    assert "if loss > 3:" in refused(step, cr.ones(1, 2))


def test_tensors_that_are_kept() -> None:
    kept: dict[str, Any] = {}

    class Holder:
        last: Any = None

    holder = Holder()
    net = nn.Linear(2, 2)

    def in_a_dict(x: Any) -> Any:
        kept["x"] = x * 2
        return x

    def in_an_object(x: Any) -> Any:
        holder.last = x * 2
        return x

    def in_a_module(x: Any) -> Any:
        net.last = net(x)
        return net.last

    def in_a_class(x: Any) -> Any:
        Holder.last = x * 2
        return x

    assert "changes the dict kept['x']" in refused(in_a_dict, cr.ones(2))
    assert kept == {}
    assert "changes the attribute holder.last" in refused(in_an_object, cr.ones(2))
    assert holder.last is None
    assert "changes the attribute net.last" in refused(in_a_module, cr.ones(2))
    assert not hasattr(net, "last")
    assert "assigns to last" in refused(in_a_class, cr.ones(2))
    assert Holder.last is None
    assert "adds an attribute to the class Holder" in refused(lambda x: setattr(Holder, "new", x * 2), cr.ones(2))
    assert not hasattr(Holder, "new")


def test_lists_and_variables_that_are_changed() -> None:
    losses: list[Any] = []
    count = 0

    def append(x: Any) -> Any:
        losses.append(x.sum())
        return x

    def assign(x: Any) -> Any:
        nonlocal count
        count += 1
        return x

    message = refused(append, cr.ones(2))
    assert "changes the list losses" in message and "Return the value" in message
    assert losses == []
    assert "assigns to a variable of the enclosing function" in refused(assign, cr.ones(2))
    assert count == 0


def test_a_buffer_that_is_replaced_and_not_written_to() -> None:
    net = nn.BatchNorm1d(2)

    def replaces(x: Any) -> Any:
        net.running_mean = net.running_mean * 0.9 + x.mean(0)
        return x - net.running_mean

    def writes(x: Any) -> Any:
        net.running_mean.copy_(net.running_mean * 0.9 + x.mean(0))
        return x - net.running_mean

    message = refused(replaces, cr.ones(3, 2))
    assert "changes the buffer net.running_mean" in message and "with copy_()" in message
    assert net.running_mean.tolist() == [0, 0]
    compiled = compile(writes)
    assert compiled(cr.ones(3, 2)).tolist() == [[0, 0]] * 3
    compiled(cr.ones(3, 2))
    np.testing.assert_allclose(net.running_mean.numpy(), 1.9)


def test_results_that_are_no_arrays() -> None:
    assert "returned object" in refused(lambda x: object(), cr.ones(2))
    assert "returned set" in refused(lambda x: {1}, cr.ones(2))


def test_arguments_that_cannot_be_compared() -> None:
    class Strange:
        __hash__ = None  # type: ignore[assignment]

    with pytest.raises(TypeError, match="argument of a compiled function is a Strange.*close over it"):
        compile(lambda x, y: x)(cr.ones(2), Strange())
    with pytest.raises(TypeError, match="a set"):
        compile(lambda x: x)({1, 2})
    with pytest.raises(TypeError, match="takes a function or a module, got int"):
        compile(3)


def test_arrays_of_other_libraries() -> None:
    class Other:
        """An array that lives elsewhere."""

        device = "gpu:0"
        shape = (2,)
        ndim = 1
        dtype = np.dtype(np.float32)

        def __array_function__(self, *args: Any) -> Any:
            return NotImplemented

        def astype(self, *args: Any, **kwargs: Any) -> Any:
            return self

    assert "x is on another device" in refused(lambda x, y: x + y, cr.Tensor(Other()), cr.ones(2))


def test_a_scheduler_inside() -> None:
    net = nn.Linear(2, 1)
    optimizer = optim.SGD(net.parameters(), lr=0.1)
    scheduler = optim.lr_scheduler.StepLR(optimizer, 1)

    def step(x: Any) -> Any:
        net(x).sum().backward()
        optimizer.step()
        scheduler.step()

    message = refused(step, cr.ones(1, 2))
    assert "scheduler outside" in message or "last_epoch" in message
    assert optimizer.param_groups[0]["lr"] == 0.1 and scheduler.last_epoch == 0


def test_memory_that_is_shared_and_written() -> None:
    base = cr.zeros(4)
    view = base[:3]

    def step(x: Any) -> Any:
        view.add_(x)
        return base * 2

    assert "share memory" in refused(step, cr.ones(3))
    assert base.tolist() == [0, 0, 0, 0]


def test_results_of_operations_outside() -> None:
    w = cr.ones(2, requires_grad=True)
    doubled = w * 2
    assert "doubled is the result of an operation outside" in refused(lambda x: x * doubled, cr.ones(2))


def test_backward_inside_through_the_result_of_an_operation_outside() -> None:
    """The gradient would end at the argument."""
    w = cr.ones(2, requires_grad=True)

    def step(x: Any) -> Any:
        loss = (x**2).sum()
        loss.backward()
        return loss.detach()

    assert "calls backward() through x, the result of an operation outside" in refused(step, w * 2)
    compiled = compile(step)
    compiled(w)
    assert w.grad is not None and w.grad.tolist() == [2, 2]
    doubled = w * 2
    doubled.retain_grad()
    for x in (w * 2, w[:], doubled):
        with pytest.raises(TraceError, match="compute x inside"):
            compiled(x)
    assert w.grad.tolist() == [2, 2] and doubled.grad is None
    compiled(w)
    assert w.grad.tolist() == [4, 4]
    inside = compile(lambda x: cr.autograd.grad((x**2).sum(), x)[0])
    assert inside(w * 3).tolist() == [6, 6] and inside(w).tolist() == [2, 2]


def test_tensors_that_vmap_has_mapped() -> None:
    compiled = compile(lambda x: x.sum())
    with pytest.raises(TraceError, match=r"x is mapped by vmap.*compile\(vmap\("):
        cr.vmap(compiled)(cr.ones(2, 3))
    assert compile(cr.vmap(lambda x: x.sum()))(cr.ones(2, 3)).tolist() == [3, 3]


def counted() -> Any:
    number = 0
    while True:
        yield number
        number += 1


@pytest.mark.parametrize(
    "iterator",
    [
        iter([1.0, 2.0]),
        counted(),
        itertools.count(),
        itertools.cycle([1.0]),
        zip([1.0, 2.0], range(2), strict=True),
        enumerate(iter({1: 2, 3: 4})),
        map(float, "123"),
        iter(DataLoader(TensorDataset(cr.ones(4, 1)), batch_size=2)),
    ],
)
def test_an_item_of_an_iterator_that_would_be_taken_once(iterator: Any) -> None:
    assert "takes the next item of the iterator iterator" in refused(lambda x: (next(iterator), x)[1], cr.ones(2))


def test_a_shape_that_is_given_from_inside() -> None:
    w = cr.ones(2)

    def grow(x: Any) -> Any:
        w.data = x
        return w

    assert "the shape (3,)" in refused(grow, cr.ones(3))
    assert w.tolist() == [1, 1]


def test_a_program_is_asked_for_before_the_first_call() -> None:
    f = compile(lambda x: x)
    with pytest.raises(RuntimeError, match="call it once"):
        _ = f.source


place = cr.get_rng_state()

# ----- values that are wrong when the program runs -----

table = cr.arange(20.0).reshape(4, 5)
LABELS: dict[str, tuple[Any, Any, tuple[int, ...]]] = {
    "cross_entropy": (lambda i: F.cross_entropy(table, i), [0, 1, 2, 3], (5, -1, 10**9)),
    "nll_loss": (lambda i: F.nll_loss(table, i, weight=cr.ones(5)), [0, 1, 2, 3], (5, -1, 10**9)),
    "embedding": (lambda i: F.embedding(i, table), [0, 3], (4, -1, -4)),
    "embedding_bag": (lambda i: F.embedding_bag(i.reshape(1, -1), table), [0, 3], (4, -1)),
    "one_hot": (lambda i: F.one_hot(i, 5), [0, 4], (5, -1)),
    "multi_margin_loss": (lambda i: F.multi_margin_loss(table, i), [0, 1, 2, 3], (5, -1)),
    "gather": (lambda i: table.gather(1, i.reshape(-1, 1)), [0, 1, 2, 3], (5, -1)),
    "index_select": (lambda i: table.index_select(0, i), [0, 3], (4, -1)),
    "index_add": (lambda i: table.index_add(1, i, cr.ones(4, 2)), [0, 3], (5, -1)),
    "index_copy": (lambda i: table.index_copy(1, i, cr.ones(4, 2)), [0, 3], (5, -1)),
    "scatter": (lambda i: table.scatter(1, i.reshape(-1, 1), 7.0), [0, 1, 2, 3], (5, -1)),
    "scatter_add": (lambda i: table.scatter_add(1, i.reshape(-1, 1), cr.ones(4, 1)), [0, 1, 2, 3], (5, -1)),
    "take": (lambda i: table.take(i), [0, -20], (20, -21)),
    "put": (lambda i: table.put(i, cr.ones(2)), [0, -20], (20, -21)),
    "x[i]": (lambda i: table[i], [0, -4], (4, -5)),
    "ctc_loss": (lambda i: F.ctc_loss(table.reshape(4, 1, 5), i.reshape(1, -1), (4,), (2,)), [1, 4], (5, -1)),
    "lengths": (lambda i: F.ctc_loss(table.reshape(4, 1, 5), cr.tensor([[1, 2]]), i, (2,)), [4], (5, -1)),
    "masked_scatter": (lambda i: cr.zeros(2, 4).masked_scatter(i > 0, cr.ones(3)), [1, 0, 0, 0], (1,)),
}


@pytest.mark.parametrize("name", LABELS)
@pytest.mark.parametrize("kernels", ["0", "1"])
def test_places_out_of_range_raise_when_the_program_runs(
    name: str, kernels: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kernels == "1":
        pytest.importorskip("numba")
    monkeypatch.setenv("CHAINRULE_KERNELS", kernels)
    function, good, bad = LABELS[name]
    compiled = compile(function)
    np.testing.assert_allclose(compiled(cr.tensor(good)).numpy(), function(cr.tensor(good)).numpy(), rtol=1e-5)
    for value in bad:
        labels = cr.tensor([*good[:-1], value])
        for run in (function, compiled):
            with pytest.raises((IndexError, RuntimeError), match="index|range|bounds|value|elements|negative|smaller"):
                run(labels)
    assert compiled.traces == 1


def test_an_ignored_label_may_be_any_number() -> None:
    compiled = compile(lambda i: F.cross_entropy(table, i, ignore_index=-1))
    for labels in ([0, 1, 2, 3], [0, -1, 2, -1]):
        expected = F.cross_entropy(table, cr.tensor(labels), ignore_index=-1).item()
        assert compiled(cr.tensor(labels)).item() == pytest.approx(expected, rel=1e-6)


def test_a_function_marked_with_disable_runs_by_itself_but_in_no_compiled_one() -> None:
    @cr.compiler.disable(reason="it prints")
    def shown(x: Any) -> Any:
        return x * 2

    assert cr.compiler.allow_in_graph(shown) is shown
    assert shown(cr.tensor(2.0)).item() == 4
    with pytest.raises(cr.TraceError, match=r"shown is marked with compiler.disable \(it prints\)"):
        cr.compile(lambda x: shown(x) + 1)(cr.tensor(2.0))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: cr.manual_seed(0) and x,
        lambda x: x + cr.rand(2, generator=cr.Generator()),
        lambda x: x * cr.initial_seed(),
        lambda x: cr.set_rng_state(place) or x + cr.rand(2),
    ],
)
def test_generators_are_made_and_seeded_outside(function: Any) -> None:
    message = refused(function, cr.ones(2))
    assert re.search(HERE, message) and "not in every run" in message


def test_a_hook_of_a_closed_over_tensor_is_added_outside() -> None:
    w = cr.ones(2, requires_grad=True)

    def hooked(x: Any) -> Any:
        w.register_hook(lambda gradient: gradient * 2)
        return w * x

    assert "adds a hook to w" in refused(hooked, cr.ones(2))
    (w * 1).sum().backward()
    assert w.grad is not None and w.grad.tolist() == [1, 1]


@pytest.mark.parametrize("where", ["np.random", "random", "generator"])
def test_random_numbers_that_would_be_drawn_once(where: str) -> None:
    generator = np.random.default_rng(0)
    draws = {"np.random": lambda: np.random.rand(), "random": random.random, "generator": lambda: generator.normal()}
    draw = draws[where]
    assert f"draws random numbers from {where}" in refused(lambda x: x * draw(), cr.ones(2))


def test_an_array_of_numpys_own_that_traced_values_are_written_to() -> None:
    def sums(x: Any) -> Any:
        y = np.zeros(2)
        for i in range(2):
            y[i] = x[i].sum()
        return y

    message = refused(sums, np.ones((2, 3)))
    assert re.search(HERE + re.escape(" (y[i] = x[i].sum())"), message)
    assert "np.zeros_like(x, shape=...)" in message

    def of_the_argument(x: Any) -> Any:
        y = np.zeros_like(x, shape=(2,))
        for i in range(2):
            y[i] = x[i].sum()
        return y

    np.testing.assert_array_equal(compile(of_the_argument)(np.ones((2, 3))), [3.0, 3.0])


@pytest.mark.parametrize(
    "function",
    [
        lambda x: np.array([x[0], x[1]]),
        lambda x: np.asarray(x) * 2,
        lambda x: np.mean([x[0], x[1]], axis=0),
        lambda x: np.r_[x[0], x[1]],
    ],
)
def test_arrays_made_of_traced_values(function: Any) -> None:
    message = refused(function, np.ones((2, 3)))
    assert re.search(HERE, message) and "np.stack([x, y])" in message


@pytest.mark.parametrize("name", ["byteswap", "compress", "flat", "partition", "put", "resize", "tobytes", "tofile"])
def test_methods_of_arrays_that_have_no_form(name: str) -> None:
    assert f"an array's {name} is not known" in refused(lambda x: getattr(x, name), np.ones((2, 3)))


def test_a_valueerror_of_the_users_own_passes() -> None:
    def refusing(x: Any) -> Any:
        raise ValueError("no")

    with pytest.raises(ValueError, match="^no$"):
        compile(refusing)(cr.ones(2))


def deciding(x: Any) -> Any:
    try:
        if x.sum() > 0:
            return x
    except Exception:
        return x * 0
    return -x


def suppressing(x: Any) -> Any:
    with contextlib.suppress(RuntimeError):
        return x * x.sum().item()
    return x * 0


@pytest.mark.parametrize("function", [deciding, suppressing])
def test_what_the_function_catches_itself_is_refused_all_the_same(function: Any) -> None:
    message = refused(function, cr.ones(3))
    assert re.search(HERE, message) and "catches this error" in message
    assert function(cr.ones(3)).sum() > 0


def test_an_error_of_the_users_own_may_be_caught() -> None:
    def looking(x: Any) -> Any:
        try:
            raise KeyError("no")
        except KeyError:
            return x * 2

    assert compile(looking)(cr.ones(2)).tolist() == [2, 2]


@pytest.mark.parametrize(
    "function",
    [lambda x: pickle.dumps(x), lambda x: pickle.dumps(x.numpy()), lambda x: cr.save({"x": x}, io.BytesIO())],
)
def test_values_that_are_pickled_or_saved(function: Any) -> None:
    message = refused(function, cr.ones(3))
    assert "pickled or saved" in message and re.search(HERE, message)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_copies_of_arrays_are_written_to_alone(copied: Any) -> None:
    def doubled(x: Any) -> Any:
        y = copied(x)
        y *= 2
        return x + y

    x = np.ones(3)
    assert compile(doubled)(x).tolist() == [3, 3, 3]
    assert x.tolist() == [1, 1, 1]


def test_a_long_line_is_cut_in_messages() -> None:
    program = f"def long(x):\n    return x * float(x.sum()) {'+ x * 0 ' * 40}\n"
    linecache.cache["long.py"] = (len(program), None, program.splitlines(keepends=True), "long.py")
    namespace: dict[str, Any] = {}
    exec(builtins.compile(program, "long.py", "exec"), namespace)
    message = refused(namespace["long"], cr.ones(3))
    assert "long.py:2 (return x * float(x.sum()) + x * 0" in message and "..." in message and len(message) < 500
