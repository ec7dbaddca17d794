"""Hooks of modules: on gradients, on state dicts, on loading, of all modules; and the layer's name in an error."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.nn import module as modules


class Product(nn.Module):
    """Two inputs, two outputs."""

    def forward(self, x: Any, y: Any) -> Any:
        return x * y, x + y


def both(run: Any) -> list[Any]:
    """What `run` gives for this library and for PyTorch."""
    return [run(cr), run(pytest.importorskip("torch"))]


def numbers(value: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, tuple):
        return tuple(numbers(item) for item in value)
    return value.detach().numpy().tolist()


# ----- gradients --------------------------------------------------------------------------------------------------


def test_full_backward_hooks_see_the_gradients_of_inputs_and_outputs() -> None:
    model = nn.Linear(2, 1, bias=False)
    nn.init.constant_(model.weight, 3.0)
    seen = []
    handle = model.register_full_backward_hook(lambda m, into, out: seen.append((m, numbers(into), numbers(out))))
    x = cr.ones(1, 2, requires_grad=True)
    (model(x) * 2).sum().backward()
    assert seen == [(model, ([[6.0, 6.0]],), ([[2.0]],))]
    handle.remove()
    model(x).sum().backward()
    assert len(seen) == 1 and x.grad.tolist() == [[9.0, 9.0]]


def test_backward_hooks_may_replace_gradients_before_and_after() -> None:
    model = nn.Linear(2, 1, bias=False)
    nn.init.constant_(model.weight, 3.0)
    model.register_full_backward_pre_hook(lambda m, out: (out[0] * 10,))
    model.register_full_backward_hook(lambda m, into, out: (into[0] + 1,))
    x = cr.ones(1, 2, requires_grad=True)
    model(x).sum().backward()
    assert x.grad.tolist() == [[31.0, 31.0]] and model.weight.grad.tolist() == [[10.0, 10.0]]


def test_hooks_on_several_inputs_and_outputs_follow_torch() -> None:
    def run(lib: Any) -> Any:
        class Module(lib.nn.Module):  # type: ignore[name-defined, misc]
            def forward(self, x: Any, y: Any, scale: float) -> Any:
                return x * y * scale, x + y

        model = Module()
        seen: list[Any] = []
        model.register_full_backward_pre_hook(lambda m, out: seen.append(("pre", numbers(out))))
        model.register_full_backward_hook(lambda m, into, out: seen.append((numbers(into), numbers(out))))
        model.register_full_backward_hook(lambda m, into, out: (into[0] * 2, *into[1:]))
        x, y = (lib.tensor([float(i), 2.0 * i], requires_grad=i == 2) for i in (2, 3))
        first, _ = model(x, y, 5.0)
        first.sum().backward()
        return seen, x.grad.tolist()

    ours, theirs = both(run)
    assert ours == theirs


def test_a_hook_sees_gradients_even_if_no_input_needs_one() -> None:
    model = nn.Linear(2, 1)
    seen = []
    model.register_full_backward_hook(lambda m, into, out: seen.append((into, numbers(out))))
    model(cr.ones(1, 2)).sum().backward()
    assert seen == [((None,), ([[1.0]],))]


def test_gradients_through_hooks_can_be_differentiated_again() -> None:
    model = nn.Tanh()
    model.register_full_backward_hook(lambda m, into, out: (into[0] * 2,))
    x = cr.tensor([0.3], dtype=cr.float64, requires_grad=True)
    (first,) = cr.autograd.grad(model(x).sum(), x, create_graph=True)
    (second,) = cr.autograd.grad(first.sum(), x)
    t = np.tanh(0.3)
    assert first.item() == pytest.approx(2 * (1 - t * t))
    assert second.item() == pytest.approx(2 * -2 * t * (1 - t * t))


def test_without_recording_backward_hooks_do_nothing() -> None:
    model = nn.Linear(2, 1)
    model.register_full_backward_hook(lambda m, into, out: None)
    with cr.no_grad():
        assert not model(cr.ones(1, 2, requires_grad=True)).requires_grad


def test_hooks_that_return_too_few_gradients_are_refused() -> None:
    model = Product()
    model.register_full_backward_hook(lambda m, into, out: (into[0],))
    x = cr.ones(2, requires_grad=True)
    with pytest.raises(RuntimeError, match="invalid number of grad_input, got 1, but expected 2"):
        model(x, x)[0].sum().backward()


# ----- all modules ------------------------------------------------------------------------------------------------


def test_hooks_of_all_modules_run_until_they_are_removed() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    calls: list[str] = []

    def note(what: str) -> Any:
        return lambda m, *rest: calls.append(f"{what} {type(m).__name__}")

    handles = [
        modules.register_module_forward_pre_hook(note("before")),
        modules.register_module_forward_hook(note("after")),
        modules.register_module_full_backward_hook(note("gradient")),
    ]
    model(cr.ones(1, 2, requires_grad=True)).sum().backward()
    for handle in handles:
        handle.remove()
    model(cr.ones(1, 2, requires_grad=True)).sum().backward()
    assert calls == [
        *["before Sequential", "before Linear", "after Linear", "before ReLU", "after ReLU", "after Sequential"],
        *["gradient ReLU", "gradient Linear", "gradient Sequential"],
    ]


def test_registration_hooks_see_and_replace_what_is_registered() -> None:
    names: list[str] = []
    handles = [
        modules.register_module_parameter_registration_hook(lambda m, name, p: names.append(name)),
        modules.register_module_buffer_registration_hook(lambda m, name, b: names.append(name)),
        modules.register_module_module_registration_hook(lambda m, name, child: nn.Identity()),
    ]
    model = nn.Sequential(nn.BatchNorm1d(2))
    for handle in handles:
        handle.remove()
    assert names == ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
    assert isinstance(model[0], nn.Identity)


# ----- saving and loading -----------------------------------------------------------------------------------------


def test_state_dict_hooks_run_before_and_after_the_children() -> None:
    model = nn.Sequential(nn.Linear(1, 1))
    order: list[Any] = []
    model.register_state_dict_pre_hook(lambda m, prefix, keep: order.append(prefix))
    model.register_state_dict_post_hook(lambda m, state, prefix, meta: order.append(list(state)))
    model.state_dict(prefix="net.")
    assert order == ["net.", ["net.0.weight", "net.0.bias"]]
    model.register_state_dict_post_hook(lambda m, state, prefix, meta: state)
    with pytest.raises(RuntimeError, match="must return None"):
        model.state_dict()


def test_an_older_state_dict_hook_may_replace_the_dict() -> None:
    model = nn.Linear(1, 1)
    model._register_state_dict_hook(lambda m, state, prefix, meta: {"renamed": state["weight"]})
    assert list(model.state_dict()) == ["renamed"]


def test_a_load_pre_hook_renames_keys_of_an_older_file() -> None:
    model = nn.Sequential(nn.Linear(1, 1))

    def rename(state: Any, prefix: str, *rest: Any) -> None:
        state[prefix + "weight"] = state.pop(prefix + "kernel")

    model[0]._register_load_state_dict_pre_hook(rename)
    model.load_state_dict({"0.kernel": cr.tensor([[7.0]]), "0.bias": cr.zeros(1)})
    assert model[0].weight.item() == 7


def test_a_load_post_hook_may_take_names_off_the_lists() -> None:
    model = nn.Linear(1, 1)
    model.register_load_state_dict_post_hook(lambda m, keys: keys.missing_keys.clear())
    model.load_state_dict({"weight": cr.tensor([[7.0]])})
    assert model.weight.item() == 7


def test_a_module_may_load_in_a_way_of_its_own_and_the_rest_stays_atomic() -> None:
    class Old(nn.Linear):
        def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
            state_dict[prefix + "weight"] = state_dict[prefix + "weight"].T
            super()._load_from_state_dict(state_dict, prefix, *rest)

    class Own(nn.Module):
        def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
            destination[prefix + "note"] = "text"

        def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
            self.note = state_dict[prefix + "note"]

    model = nn.Sequential(Old(2, 1), Own(), nn.Linear(1, 1))
    state = model.state_dict()
    state["0.weight"] = cr.ones(2, 1)
    given = dict(state)
    model.load_state_dict(state)
    assert model[0].weight.tolist() == [[1.0, 1.0]] and model[1].note == "text" and dict(state) == given
    before = model[0].weight.tolist()
    with pytest.raises(RuntimeError, match=r"2\.weight"):
        model.load_state_dict({**state, "0.weight": cr.zeros(2, 1), "2.weight": cr.ones(3, 3)})
    assert model[0].weight.tolist() == before


def test_extra_state_is_saved_and_loaded() -> None:
    class Counter(nn.Module):
        count = 0

        def get_extra_state(self) -> Any:
            return {"count": self.count}

        def set_extra_state(self, state: Any) -> None:
            self.count = state["count"]

    first, second = Counter(), Counter()
    first.count = 5
    second.load_state_dict(first.state_dict())
    assert second.count == 5
    with pytest.raises(RuntimeError, match="_extra_state"):
        second.load_state_dict({})


def test_a_number_is_loaded_from_an_array_of_one_as_torch_does() -> None:
    class Scale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.value = nn.Parameter(cr.tensor(1.0))

    model = Scale()
    model.load_state_dict({"value": cr.tensor([4.0])})
    assert model.value.item() == 4


# ----- other methods ----------------------------------------------------------------------------------------------


def test_a_child_is_replaced_by_its_path() -> None:
    model = nn.Sequential(nn.Sequential(nn.Linear(1, 2)))
    model.set_submodule("0.0", nn.Identity())
    assert isinstance(model[0][0], nn.Identity)
    model.set_submodule("0.more", nn.ReLU())
    assert isinstance(model[0].more, nn.ReLU)
    with pytest.raises(AttributeError, match="absent"):
        model.set_submodule("0.absent", nn.ReLU(), strict=True)
    with pytest.raises(ValueError, match="without a target"):
        model.set_submodule("", nn.ReLU())
    with pytest.raises(ValueError, match="not an nn.Module"):
        model.set_submodule("0", 3)  # type: ignore[arg-type]


def test_apply_to_tensors_reaches_parameters_gradients_and_buffers() -> None:
    model = nn.BatchNorm1d(2)
    model.weight.grad = cr.ones(2)
    model._apply(lambda tensor: tensor.double())
    assert {model.weight.dtype, model.weight.grad.dtype, model.running_mean.dtype} == {cr.float64}
    assert isinstance(model.weight, nn.Parameter)


def test_moving_to_a_gpu_is_refused_as_torch_without_one_does() -> None:
    with pytest.raises(AssertionError, match="CUDA"):
        nn.Linear(1, 1).cuda()
    assert nn.Linear(2, 3).to_empty(device="cpu").weight.shape == (3, 2)


def test_arguments_that_nobody_takes_are_refused() -> None:
    with pytest.raises(TypeError, match="nobody takes"):
        nn.Module(3)


def test_a_module_with_hooks_can_be_copied_and_the_copy_has_hooks_of_its_own() -> None:
    model = nn.Linear(1, 1)
    model.register_forward_hook(double)
    model.register_load_state_dict_pre_hook(remember)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert other(cr.ones(1, 1)).item() == pytest.approx(model(cr.ones(1, 1)).item())
        other.load_state_dict(model.state_dict())
        assert other.seen and not hasattr(model, "seen")
        other._forward_hooks.clear()
        assert model._forward_hooks


def double(module: nn.Module, args: Any, output: Any) -> Any:
    return output * 2


def remember(module: Any, *rest: Any) -> None:
    module.seen = True


def test_sequential_can_be_repeated_and_extended() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    assert len(model * 2) == 4 and len(2 * model) == 4 and len(model) == 2
    model += nn.Sequential(nn.Tanh())
    model *= 2
    assert [type(m).__name__ for m in model] == ["Linear", "ReLU", "Tanh"] * 2
    with pytest.raises(ValueError, match="Non-positive"):
        _ = model * 0
    with pytest.raises(TypeError, match="unsupported"):
        _ = model * "2"


def test_a_parameter_dict_does_what_a_dict_does() -> None:
    values = nn.ParameterDict({"a": cr.ones(1), "b": cr.zeros(2)})
    assert list(reversed(values)) == ["b", "a"] and values.copy()["a"] is values["a"]
    joined = values | {"c": cr.ones(3)}
    assert list(joined) == ["a", "b", "c"] and list(values) == ["a", "b"]
    values |= {"d": cr.ones(4)}
    assert values.popitem()[0] == "d" and values.setdefault("a") is values["a"]
    assert list(values.fromkeys(["x", "y"], cr.ones(1))) == ["x", "y"]
    values.clear()
    assert not list(values.parameters())
    with pytest.raises(TypeError, match="not a string"):
        values[3] = cr.ones(1)  # type: ignore[index]


# ----- errors name their layer ------------------------------------------------------------------------------------


def test_a_wrong_shape_names_the_layer_by_its_path() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(nn.Flatten(), nn.ReLU(), nn.Linear(3, 4))

        def forward(self, x: Any) -> Any:
            return self.net(x)

    with pytest.raises(RuntimeError) as caught:
        Model()(cr.ones(5, 7))
    text = str(caught.value)
    assert text.startswith("net.2 (Linear(in_features=3, out_features=4, bias=True)): ")
    assert "(5, 7)" in text and text.count("Linear(") == 1


def test_an_assertion_of_a_layer_names_it_as_well() -> None:
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16), 1)
    with pytest.raises(AssertionError, match=r"^layers.0.self_attn \(MultiheadAttention.* 8, but got 6 .*\(5, 2, 6\)"):
        model.train()(cr.ones(5, 2, 6))


def test_a_layer_that_is_called_alone_names_itself() -> None:
    with pytest.raises(RuntimeError, match=r"^Linear\(in_features=3, out_features=4, bias=True\): .*\(2,\)"):
        nn.Linear(3, 4)(cr.ones(2))


def test_labels_out_of_range_name_the_loss() -> None:
    with pytest.raises(IndexError, match="CrossEntropyLoss"):
        nn.CrossEntropyLoss()(cr.zeros(2, 3), cr.tensor([0, 7]))


def test_an_error_of_a_users_module_keeps_its_message_and_gets_a_note() -> None:
    class Strict(nn.Module):
        def forward(self, x: Any) -> Any:
            raise ValueError("three legs are needed")

    with pytest.raises(ValueError, match="three legs are needed") as caught:
        nn.Sequential(nn.Identity(), nn.Sequential(Strict()))(1)
    assert str(caught.value) == "three legs are needed"
    assert caught.value.__notes__ == ["raised in 1.0 (Strict)"]


def test_an_error_of_a_type_of_its_own_is_left_alone() -> None:
    class Stop(RuntimeError):
        pass

    class Stopping(nn.Module):
        def forward(self, x: Any) -> Any:
            raise Stop(x, 2)

    with pytest.raises(Stop) as caught:
        nn.Sequential(Stopping())(1)
    assert caught.value.args == (1, 2) and not hasattr(caught.value, "__notes__")
