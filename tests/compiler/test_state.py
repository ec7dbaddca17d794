"""What a compiled function shares with its surroundings: gradients, memory, registries, hooks, containers, seeds."""

from __future__ import annotations

import collections
import copy
import pickle
import random
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.compiler import compile
from chainrule.compiler.tracer import TraceError
from chainrule.core.recipe import Registry
from chainrule.core.table import BACK_FUNCS
from chainrule.func.trees import flatten
from chainrule.nn import functional as F
from chainrule.nn.hooks import register_module_forward_hook
from chainrule.optim.optimizer import register_optimizer_step_post_hook

pytestmark = pytest.mark.usefixtures("numpy_only")


def ones(*shape: int, grad: bool = True) -> Any:
    return cr.ones(*shape, requires_grad=grad)


def refused(function: Any, *args: Any) -> str:
    with pytest.raises(TraceError) as caught:
        compile(function)(*args)
    return str(caught.value)


def alike(story: Any) -> None:
    """A story that is told with functions as they are, and compiled, ends alike."""
    expected, form = flatten(story(lambda function: function))
    found, found_form = flatten(story(compile))
    assert found_form == form
    for one, other in zip(found, expected, strict=True):
        if isinstance(other, float):  # of sums of float32, in another order on other machines
            assert one == pytest.approx(other, rel=1e-5, abs=1e-6, nan_ok=True), (found, expected)
        else:
            assert repr(one) == repr(other), (found, expected)


# ----- gradients -----


@pytest.mark.parametrize("share", [lambda g: g, lambda g: g[:]])
def test_gradients_in_one_memory_collect_what_flows_to_all(share: Any) -> None:
    def story(wrap: Any) -> Any:
        a, b = ones(2), ones(2)

        def function(x: Any) -> None:
            (a * x + b * x * 10).sum().backward()

        step = wrap(function)
        seen = []
        for together in (True, False, True):
            a.grad, b.grad = cr.zeros(2), cr.zeros(2)
            if together:
                b.grad = share(a.grad)
            for _ in range(2):
                step(ones(2, grad=False))
            seen += [a.grad.tolist(), b.grad.tolist(), a.grad._version > 0, b.grad._version > 0]
        return seen

    alike(story)
    assert story(compile)[:2] == [[22, 22], [22, 22]]


def test_a_gradient_that_is_returned_is_the_tensors_own() -> None:
    def story(wrap: Any) -> Any:
        w = ones(2)
        w.grad = cr.full((2,), 7.0)

        def function(x: Any) -> Any:
            old, w.grad = w.grad, None
            (w * x).sum().backward()
            return old, w.grad, w.grad.numpy()

        old, new, array = wrap(function)(ones(2, grad=False))
        w.grad.mul_(2)
        return old.tolist(), new is w.grad, array.tolist()

    alike(story)
    assert story(compile) == ([7, 7], True, [2, 2])


def test_gradients_that_are_tensors_from_before_stay_these() -> None:
    def story(wrap: Any) -> Any:
        a, b, flat, c = ones(2), ones(2), cr.zeros(4), ones(2)
        a.grad, b.grad = cr.full((2,), 1.0), cr.full((2,), 2.0)
        first = a.grad

        def exchange(x: Any) -> None:
            a.grad, b.grad, c.grad = b.grad, a.grad, x

        def collect(x: Any) -> Any:
            flat.zero_()
            a.grad, b.grad = flat[:2], flat[2:]
            (a * x + b * x * 3).sum().backward()
            t = x * 5
            c.grad = t
            return t

        x = ones(2, grad=False)
        swap, gather = wrap(exchange), wrap(collect)
        swap(x)
        seen = [b.grad is first, c.grad is x, a.grad.tolist()]
        swap(x)
        seen += [a.grad is first, gather(x) is c.grad, gather(x) is c.grad, flat.tolist()]
        flat.mul_(2)
        return [*seen, a.grad.tolist(), b.grad.tolist()]

    alike(story)


def test_a_gradient_that_a_frozen_parameter_is_given_is_noticed() -> None:
    net = nn.Linear(2, 1)
    net.weight.requires_grad_(False)
    optimizer = optim.SGD(net.parameters(), 0.1)
    clear = compile(lambda: optimizer.zero_grad())
    clear()
    net.weight.grad = cr.ones(1, 2)
    clear()
    assert net.weight.grad is None


def test_results_require_grad_as_they_do_uncompiled() -> None:
    def story(wrap: Any) -> Any:
        w = ones(2)

        def used_up(x: Any) -> Any:
            loss = (w * x).sum()
            loss.backward()
            return loss

        def recorded(x: Any) -> Any:
            with cr.enable_grad():
                return (w * x).sum()

        x = ones(2, grad=False)
        loss = wrap(used_up)(x)
        seen: list[Any] = [loss.requires_grad, loss.is_leaf, (loss * 2).requires_grad]
        with pytest.raises(RuntimeError, match="a second time"):
            loss.backward()
        leaf = wrap(lambda x: (x * 2).detach().requires_grad_())(x)
        (leaf * 3).sum().backward()
        alone = wrap(lambda x: ones(2) * x)(x)
        alone.sum().backward()
        with cr.no_grad():
            inside = wrap(recorded)(x)
        inside.backward()
        return [*seen, leaf.is_leaf, leaf.grad.tolist(), alone.requires_grad, inside.requires_grad, w.grad.tolist()]

    alike(story)


# ----- memory -----


@pytest.mark.parametrize(
    "take",
    [
        lambda w, x: w.detach(), lambda w, x: w.detach()[1:], lambda w, x: w[1:], lambda w, x: w.detach().numpy(),
        lambda w, x: x[1:], lambda w, x: x.detach(), lambda w, x: x.view(3, 1), lambda w, x: x.numpy()[::2],
    ],
)  # fmt: skip
def test_results_in_memory_of_before_stay_there(take: Any) -> None:
    def story(wrap: Any) -> Any:
        w, x = ones(3), ones(3, grad=False)
        function = wrap(lambda x: take(w, x))
        seen = []
        for _ in range(2):
            found = function(x)
            with cr.no_grad():
                w.mul_(2), x.mul_(3)
            array = found if isinstance(found, np.ndarray) else found.array
            seen.append([array.tolist(), np.shares_memory(array, w.array), np.shares_memory(array, x.array)])
            if isinstance(found, cr.Tensor):
                seen[-1] += [found.requires_grad, found._is_view()]
                if found.requires_grad:
                    w.grad = None
                    found.sum().backward()
                    seen[-1].append(w.grad.tolist())
        return seen

    alike(story)


def fixed() -> Any:
    array = np.ones(3, np.float32)
    array.flags.writeable = False
    return cr.from_numpy(array)


@pytest.mark.parametrize("make", [fixed, lambda: cr.ones(1).expand(3), lambda: cr.ones(3, 1).expand(3, 3)[0]])
def test_what_cannot_be_written_to_is_refused_as_uncompiled(make: Any) -> None:
    def write(x: Any) -> Any:
        return x.add_(1) * 2

    step = compile(write)
    for x in (make(), cr.ones(3), make()):
        if x.array.flags.writeable:
            assert step(x).tolist() == [4, 4, 4]
            continue
        for function in (write, step):
            with pytest.raises(RuntimeError, match="cannot be written to"):
                function(x)
        assert x.tolist() == [1, 1, 1]
    closed = cr.ones(3)
    inner = compile(lambda: closed.add_(1).clone())
    assert inner().tolist() == [2, 2, 2]
    closed.data = make()
    with pytest.raises(RuntimeError, match="cannot be written to"):
        inner()


@pytest.mark.parametrize(
    "whole", [lambda x: x[:1].expand(3), lambda x: x.unfold(0, 2, 1), lambda x: (x * 2)[:1].expand(2)]
)
def test_a_view_that_repeats_elements_is_not_written_to(whole: Any) -> None:
    for function in (lambda x: whole(x).add_(1), compile(lambda x: whole(x).add_(1))):
        with pytest.raises(RuntimeError, match="cannot be written to"):
            function(cr.ones(3))


@pytest.mark.parametrize("form", [np.asarray, lambda a: a[::-1], lambda a: a.T])
def test_arrays_of_the_other_byte_order_are_read_and_written(form: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CHAINRULE_KERNELS", raising=False)  # which take one order only

    def function(a: Any) -> Any:
        a[0] = 0.5
        return np.exp(a) * 2 + np.tanh(a), a.T

    compiled = compile(function)
    for _ in range(2):
        a, b = (form(np.arange(9.0).reshape(3, 3)).astype(">f8") for _ in range(2))
        for found, expected in zip(compiled(a), function(b), strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-14)
            assert found.dtype == expected.dtype
        np.testing.assert_array_equal(a, b)


# ----- modules, hooks and optimisers -----


@pytest.mark.parametrize(
    "change",
    [
        lambda net: net.load_state_dict({key: value * 3 for key, value in net.state_dict().items()}, assign=True),
        lambda net: net._parameters.__setitem__("bias", nn.Parameter(cr.ones(1) * 9)),
        lambda net: net._parameters.update(weight=nn.Parameter(cr.ones(1, 2) * 9)),
        lambda net: net.__dict__.__setitem__("factor", 5.0),
        lambda net: net._forward_hooks.clear(),
        lambda net: setattr(type(net), "forward", lambda self, x: x.sum()),
        lambda net: setattr(type(net), "later", 11.0),
    ],
)
def test_changes_of_a_module_past_its_setattr_are_noticed(change: Any) -> None:
    class Scaled(nn.Linear):
        factor = 2.0

        def forward(self, x: Any) -> Any:
            return super().forward(x) * self.factor * getattr(self, "later", 1.0)

    net = Scaled(2, 1)
    net.factor = 3.0
    net.register_forward_hook(lambda module, args, out: out + 1)
    compiled = compile(lambda x: net(x))
    x = cr.ones(2, 2)
    before = compiled(x).tolist()
    assert compiled(x).tolist() == before == net(x).tolist()
    change(net)
    assert compiled(x).tolist() == net(x).tolist() != before


def test_layers_taken_from_containers_are_noticed() -> None:
    layers = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)})

    def function(x: Any) -> Any:
        for layer in layers.values():
            x = layer(x)
        return x

    compiled = compile(function)
    x = cr.ones(1, 2)
    assert compiled(x).tolist() == function(x).tolist()
    layers.pop("b")
    assert compiled(x).tolist() == function(x).tolist()
    layers.clear()
    assert compiled(x).tolist() == x.tolist()


def test_registries_are_copied_and_pickled_as_registries() -> None:
    net = nn.Linear(2, 1)
    for other in (copy.copy(net), copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert type(other._parameters) is type(other._forward_hooks) is Registry
        assert list(other._parameters) == ["weight", "bias"]
    assert b"Registry" not in pickle.dumps(net)


@pytest.mark.filterwarnings("ignore:function has been traced")
def test_hooks_of_all_modules_and_of_optimisers_are_noticed() -> None:
    def story(wrap: Any) -> Any:
        cr.manual_seed(0)
        net, extra = nn.Linear(2, 1, dtype=cr.float64), cr.ones(1)
        optimizer = optim.SGD(net.parameters(), 0.01)

        def function(x: Any) -> Any:
            optimizer.zero_grad()
            loss = (net(x) ** 2).sum()
            loss.backward()
            optimizer.step()
            return loss.detach()

        step, x, seen = wrap(function), cr.ones(1, 2, dtype=cr.float64), []
        hooks = [
            lambda: register_module_forward_hook(lambda module, args, out: out * 2),
            lambda: net.register_full_backward_hook(lambda module, inner, outer: None),
            lambda: optimizer.register_step_pre_hook(lambda *_: (net.weight.grad.mul_(3), None)[1]),
            lambda: optimizer.register_step_post_hook(lambda *_: (extra.add_(1), None)[1]),
            lambda: register_optimizer_step_post_hook(lambda *_: (extra.mul_(2), None)[1]),
        ]
        handles = []
        for hook in hooks:
            step(x)
            handles.append(hook())
            seen += [round(step(x).item(), 5), extra.item()]
        for handle in handles:
            handle.remove()
            seen += [round(step(x).item(), 5), extra.item()]
        return seen

    alike(story)


def test_a_function_that_lives_for_one_call_is_not_kept_by_the_table() -> None:
    def once(x: Any) -> Any:
        return x

    with pytest.raises(KeyError):
        BACK_FUNCS.get_back_func(once, 0)
    assert once not in BACK_FUNCS._found


class Descent(optim.Optimizer):
    scale = 1.0

    def __init__(self, params: Any) -> None:
        super().__init__(params, {"lr": 0.1})
        self.extra = 1.0

    @cr.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                p.add_(p.grad, alpha=-group["lr"] * self.extra * self.scale)


def test_attributes_of_the_users_optimiser_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def story(wrap: Any) -> Any:
        w = ones(1)
        optimizer = Descent([w])

        def function(x: Any) -> Any:
            optimizer.zero_grad()
            (w * x).sum().backward()
            optimizer.step()
            return w.detach().clone()

        step, x = wrap(function), cr.ones(1)
        seen = [step(x).item()]
        optimizer.extra = 2.0
        seen.append(step(x).item())
        with monkeypatch.context() as patches:
            patches.setattr(Descent, "scale", 3.0)
            seen.append(step(x).item())
        optimizer.param_groups[0]["lr"] = 1.0
        return [*seen, step(x).item()]

    alike(story)


def test_a_builtin_that_a_global_name_hides_later_is_noticed() -> None:
    space: dict[str, Any] = {}
    exec("def f(x):\n    return x * abs(-2.0)", space)
    compiled = compile(space["f"])
    assert compiled(cr.ones(1)).item() == 2
    space["abs"] = lambda value: 10.0
    assert compiled(cr.ones(1)).item() == 10
    del space["abs"]
    assert compiled(cr.ones(1)).item() == 2


def test_a_slot_that_is_filled_later_is_noticed() -> None:
    class Slotted:
        __slots__ = ("factor",)

    kept = Slotted()
    compiled = compile(lambda x: x * getattr(kept, "factor", 2.0))
    assert compiled(cr.ones(1)).item() == 2
    kept.factor = 5.0
    assert compiled(cr.ones(1)).item() == 5


# ----- containers among arguments and results -----


class Missing(dict[str, Any]):
    def __missing__(self, key: str) -> float:
        return 3.0


class Attributed(dict[str, Any]):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.extra = 2.0


class Row(list[Any]):
    def first(self) -> Any:
        return self[0]


@pytest.mark.parametrize(
    "container",
    [
        collections.OrderedDict(a=cr.ones(2)), collections.defaultdict(lambda: 3.0, a=cr.ones(2)),
        Missing(a=cr.ones(2)), collections.Counter(a=2), Row([cr.ones(2)]), cr.ones(2, 3).shape,
    ],
)  # fmt: skip
def test_containers_keep_their_class(container: Any) -> None:
    def function(given: Any) -> Any:
        missing = given["b"] if isinstance(given, (collections.defaultdict, Missing)) else 1.0
        first = given["a"] if isinstance(given, dict) else given.first() if isinstance(given, Row) else given.numel()
        given.pop("b", None) if isinstance(given, dict) else None
        return {"type": type(given).__name__, "value": first * missing, "given": given}

    found, expected = compile(function)(container), function(container)
    assert repr(found) == repr(expected) and type(found["given"]) is type(container)


def test_containers_with_attributes_are_refused() -> None:
    assert "is given a Attributed" in refused(lambda d: d["a"] * 1, Attributed({"a": cr.ones(2)}))
    assert "attributes besides its items (extra)" in refused(lambda x: Attributed({"a": x * 1}), cr.ones(2))


def append(items: Any, x: Any) -> Any:
    items.append(x)
    return x * 1


def put(items: Any, x: Any) -> Any:
    items[0]["new"] = x
    return x * 1


def replace(items: Any, x: Any) -> Any:
    items[0] = x * 2
    return x * 1


@pytest.mark.parametrize("function", [append, put, replace])
def test_lists_and_dicts_that_are_given_are_not_changed(function: Any) -> None:
    items = [{"old": cr.ones(2)}]
    assert "changes a list or dict that it is given" in refused(function, items, cr.ones(2))
    assert len(items) == 1 and list(items[0]) == ["old"]


# ----- copies -----


class Trainer:
    def __init__(self) -> None:
        self.net = nn.Linear(2, 1)
        self.optimizer = optim.Adam(self.net.parameters(), 0.1)

    def plain(self, x: Any) -> Any:
        self.optimizer.zero_grad()
        loss = F.mse_loss(self.net(x), x[:, :1])
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    @compile
    def step(self, x: Any) -> Any:
        return self.plain(x)


@pytest.mark.parametrize("again", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_of_what_holds_compiled_methods_go_their_own_way(again: Any) -> None:
    x = cr.ones(3, 2)
    trainer = Trainer()
    trainer.step(x)
    other, plain = again(trainer), again(trainer)
    assert other.step(x).item() == pytest.approx(plain.plain(x).item())
    assert other.step(x).item() == pytest.approx(plain.plain(x).item())
    assert other.step.function.__self__ is other
    net = nn.Sequential(nn.Linear(2, 1))
    net.compile()
    expected = net(x).tolist()
    double = again(net)
    with cr.no_grad():
        double[0].weight.mul_(2), double[0].bias.mul_(2)
    assert net(x).tolist() == expected and double(x).tolist() == (2 * net(x)).tolist()


# ----- random numbers -----


@pytest.mark.parametrize(
    "draw",
    [
        lambda: np.random.default_rng().normal(), lambda: np.random.RandomState().rand(),
        lambda: random.Random().random(), lambda: random.SystemRandom().random(), lambda: np.random.PCG64() and 1.0,
    ],
)  # fmt: skip
def test_seeds_from_the_system_are_refused(draw: Any) -> None:
    message = refused(lambda x: x * draw(), cr.ones(1))
    assert "come from the system at" in message and "test_state.py" in message
    assert 0 <= random.Random().random() < 1 and np.random.default_rng().random() < 1


def test_generators_with_a_seed_are_made_inside() -> None:
    def function(x: Any) -> Any:
        return x * np.random.default_rng(3).normal() + random.Random(3).random()

    compiled = compile(function)
    for _ in range(2):
        assert compiled(cr.ones(1)).item() == function(cr.ones(1)).item()


def test_a_generator_that_a_function_reaches_has_drawn_before() -> None:
    space: dict[str, Any] = {"cr": cr, "generator": cr.Generator().manual_seed(1)}
    exec("def f(x):\n    return x + cr.rand(2, generator=generator)", space)
    generator, compiled, found = space["generator"], compile(space["f"]), []
    for function in (space["f"], compiled):
        generator.manual_seed(1)
        found.append([function(cr.zeros(2)).tolist() for _ in range(3)])
    assert found[0] == found[1]
