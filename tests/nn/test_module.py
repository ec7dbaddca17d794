"""Modules: registration by assignment, names, state, hooks, conversion, showing."""

from __future__ import annotations

import copy
import pickle
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn


class TwoLayers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.act = nn.ReLU()
        self.second = nn.Linear(4, 2, bias=False)
        self.scale = nn.Parameter(cr.ones(1))
        self.register_buffer("count", cr.zeros(()))
        self.register_buffer("scratch", cr.zeros(2), persistent=False)

    def forward(self, x: Any) -> Any:
        return self.second(self.act(self.first(x))) * self.scale


NAMES = ["scale", "first.weight", "first.bias", "second.weight"]


def test_parameters_are_found_by_name_parents_before_children() -> None:
    assert [name for name, _ in TwoLayers().named_parameters()] == NAMES


def test_buffers_are_no_parameters_and_children_are_named() -> None:
    net = TwoLayers()
    assert [name for name, _ in net.named_buffers()] == ["count", "scratch"]
    assert [name for name, _ in net.named_children()] == ["first", "act", "second"]
    assert [name for name, _ in net.named_modules()] == ["", "first", "act", "second"]


def test_a_shared_parameter_is_counted_once_and_saved_twice() -> None:
    net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    net[1].weight = net[0].weight
    assert len(list(net.parameters())) == 1
    assert list(net.state_dict()) == ["0.weight", "1.weight"]
    copied = copy.deepcopy(net)
    assert copied[0].weight is copied[1].weight and copied[0].weight is not net[0].weight


def test_registering_before_init_names_the_missing_call() -> None:
    class Hasty(nn.Module):
        def __init__(self) -> None:
            self.weight = nn.Parameter(cr.ones(1))

    with pytest.raises(AttributeError, match=r"super\(\).__init__\(\)"):
        Hasty()


def test_a_parameter_can_only_be_replaced_by_a_parameter_or_none() -> None:
    layer = nn.Linear(2, 2)
    with pytest.raises(TypeError, match="'Tensor' as parameter 'weight'"):
        layer.weight = cr.ones(2, 2)
    layer.bias = None
    assert layer.bias is None and len(list(layer.parameters())) == 1


def test_an_unknown_attribute_is_named() -> None:
    with pytest.raises(AttributeError, match="'Linear' object has no attribute 'wieght'"):
        _ = nn.Linear(1, 1).wieght


def test_deleting_and_reassigning_moves_a_name_between_registries() -> None:
    net = TwoLayers()
    del net.count
    assert "count" not in dict(net.named_buffers())
    net.act = nn.Tanh()
    assert [name for name, _ in net.named_children()] == ["first", "act", "second"], "replacing keeps the place"


def test_state_dict_shares_memory_and_leaves_out_what_is_not_persistent() -> None:
    net = TwoLayers()
    state = net.state_dict()
    assert list(state) == ["scale", "count", "first.weight", "first.bias", "second.weight"]
    assert state["first.weight"].array is net.first.weight.array and not state["first.weight"].requires_grad


def test_a_state_dict_is_loaded_into_the_same_memory() -> None:
    source, target = TwoLayers(), TwoLayers()
    memory = target.first.weight.array
    result = target.load_state_dict(source.state_dict())
    assert str(result) == "<All keys matched successfully>"
    assert target.first.weight.array is memory
    np.testing.assert_array_equal(memory, source.first.weight.array)


def test_loading_reports_everything_wrong_in_one_message_and_changes_nothing() -> None:
    net = TwoLayers()
    before = {name: tensor.array.copy() for name, tensor in net.state_dict().items()}
    state = OrderedDict(TwoLayers().state_dict())
    del state["scale"]
    state["extra"] = cr.ones(1)
    state["first.bias"] = cr.ones(7)
    with pytest.raises(RuntimeError) as error:
        net.load_state_dict(state)
    for part in ('Missing key(s) in state_dict: "scale"', 'Unexpected key(s) in state_dict: "extra"', "(7,)", "(4,)"):
        assert part in str(error.value)
    for name, tensor in net.state_dict().items():
        np.testing.assert_array_equal(tensor.array, before[name])


def test_loading_without_strict_tells_what_did_not_fit() -> None:
    result = nn.Linear(2, 2).load_state_dict({"weight": np.ones((2, 2)), "other": np.ones(1)}, strict=False)
    assert result.missing_keys == ["bias"] and result.unexpected_keys == ["other"]


def test_a_load_is_a_write_that_a_graph_notices() -> None:
    layer = nn.Linear(2, 2)
    x = cr.ones(1, 2, requires_grad=True)
    loss = layer(x).sum()
    layer.load_state_dict({"weight": np.zeros((2, 2)), "bias": np.zeros(2)})
    with pytest.raises(RuntimeError, match="load_state_dict"):
        loss.backward()


def test_assign_takes_over_arrays_and_their_types() -> None:
    layer = nn.Linear(2, 2, bias=False)
    given = cr.zeros(2, 2, dtype=cr.float64)
    layer.load_state_dict({"weight": given}, assign=True)
    assert layer.weight.dtype == cr.float64 and isinstance(layer.weight, nn.Parameter) and layer.weight.requires_grad


def test_hooks_see_and_replace_arguments_and_results_until_removed() -> None:
    layer = nn.Identity()
    before = layer.register_forward_pre_hook(lambda module, args: (args[0] + 1,))
    after = layer.register_forward_hook(lambda module, args, out: out * 10)
    assert layer(cr.ones(1)).item() == 20
    before.remove()
    assert layer(cr.ones(1)).item() == 10
    after.remove()
    assert layer(cr.ones(1)).item() == 1


def test_hooks_with_keywords_and_hooks_that_are_always_called() -> None:
    class Fails(nn.Module):
        def forward(self, x: Any, times: int = 1) -> Any:
            if times == 0:
                raise ValueError("zero")
            return x * times

    calls = []
    module = Fails()
    module.register_forward_pre_hook(lambda m, args, kwargs: (args, {"times": kwargs["times"] * 2}), with_kwargs=True)
    module.register_forward_hook(lambda m, args, out: calls.append(out is not None), always_call=True)
    assert module(cr.ones(1), times=2).item() == 4
    with pytest.raises(ValueError, match="zero"):
        module(cr.ones(1), times=0)
    assert calls == [True, False]


def test_train_eval_and_apply_reach_every_module() -> None:
    net = nn.Sequential(nn.Dropout(0.5), nn.Sequential(nn.Dropout(0.5)))
    assert not any(m.training for m in net.eval().modules())
    assert all(m.training for m in net.train().modules())
    seen: list[str] = []
    net.apply(lambda m: seen.append(type(m).__name__))
    assert seen == ["Dropout", "Dropout", "Sequential", "Sequential"]


def test_conversion_changes_floats_in_place_and_leaves_integers() -> None:
    norm = nn.BatchNorm1d(3)
    weight = norm.weight
    norm.double()
    assert norm.weight is weight and weight.dtype == cr.float64 and weight.requires_grad
    assert norm.running_mean.dtype == cr.float64 and norm.num_batches_tracked.dtype == cr.int64
    assert norm.to(cr.float32).weight.dtype == cr.float32
    with pytest.raises(RuntimeError, match="cuda"):
        norm.to("cuda")
    with pytest.raises(TypeError, match="floating"):
        norm.to(cr.int64)


def test_zero_grad_drops_or_clears_gradients() -> None:
    layer = nn.Linear(2, 1)
    layer(cr.ones(1, 2)).sum().backward()
    layer.zero_grad(set_to_none=False)
    assert not layer.weight.grad.array.any()
    layer.zero_grad()
    assert layer.weight.grad is None


def test_a_parameter_shows_that_it_is_one_and_can_be_copied_and_pickled() -> None:
    parameter = nn.Parameter(cr.tensor([1.0, 2.0]))
    assert repr(parameter).startswith("Parameter containing:\nTensor(array([1., 2.]")
    parameter.note = "kept"
    for other in (copy.deepcopy(parameter), pickle.loads(pickle.dumps(parameter))):
        assert type(other) is nn.Parameter and other.requires_grad and other.note == "kept"
        assert other.array is not parameter.array and other.tolist() == [1.0, 2.0]
    with pytest.raises(RuntimeError, match="floating"):
        nn.Parameter(cr.tensor([1]))


def test_a_model_can_be_copied_and_pickled() -> None:
    net = TwoLayers()
    x = cr.ones(2, 3)
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        np.testing.assert_array_equal(other(x).detach().numpy(), net(x).detach().numpy())
        assert other.first.weight.array is not net.first.weight.array


def test_a_write_to_the_tensor_behind_a_parameter_is_noticed() -> None:
    data = cr.ones(3)
    parameter = nn.Parameter(data)
    loss = (parameter * parameter).sum()
    data.add_(1)
    with pytest.raises(RuntimeError, match="add_"):
        loss.backward()


def test_a_module_shows_itself_as_pytorch_does() -> None:
    assert repr(nn.Sequential(nn.Linear(3, 8), nn.ReLU())) == (
        "Sequential(\n  (0): Linear(in_features=3, out_features=8, bias=True)\n  (1): ReLU()\n)"
    )
    assert repr(nn.ModuleList([nn.ReLU(), nn.ReLU()])) == "ModuleList(\n  (0-1): 2 x ReLU()\n)"


def test_repr_and_names_equal_torchs() -> None:
    torch = pytest.importorskip("torch")

    def build(lib: Any) -> Any:
        n = lib.nn
        return n.Sequential(
            n.Linear(3, 4, bias=False),
            n.ModuleDict({"a": n.ModuleList([n.Tanh(), n.Tanh(), n.GELU()]), "b": n.LayerNorm(4)}),
            n.Sequential(
                n.Dropout(0.1), n.LeakyReLU(0.2, inplace=True), n.BatchNorm1d(4), n.Embedding(5, 2, padding_idx=0)
            ),
            n.Softmax(dim=-1),
            n.Flatten(),
            n.CrossEntropyLoss(),
        )

    ours, theirs = build(cr), build(torch)
    assert repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert [name for name, _ in ours.named_modules()] == [name for name, _ in theirs.named_modules()]


def test_sequential_can_be_sliced_indexed_and_changed() -> None:
    net = nn.Sequential(OrderedDict(a=nn.Linear(1, 2), b=nn.ReLU(), c=nn.Linear(2, 1)))
    assert list(dict(net[:2].named_children())) == ["a", "b"]
    assert net[-1] is net.c
    net[1] = nn.Tanh()
    assert isinstance(net.b, nn.Tanh)
    del net[0]
    assert len(net) == 2
    with pytest.raises(IndexError, match="out of range"):
        _ = net[5]


def test_module_list_grows_at_both_ends() -> None:
    layers = nn.ModuleList([nn.ReLU()])
    layers.append(nn.Tanh()).extend([nn.Sigmoid()])
    layers.insert(0, nn.Identity())
    assert [type(m).__name__ for m in layers] == ["Identity", "ReLU", "Tanh", "Sigmoid"]
    assert isinstance(layers.pop(), nn.Sigmoid) and len(layers) == 3
    assert isinstance(layers[1:], nn.ModuleList) and len(layers[1:]) == 2


def test_parameter_containers_register_what_they_hold() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rows = nn.ParameterList([cr.ones(2), nn.Parameter(cr.ones(3))])
            self.named = nn.ParameterDict({"a": cr.ones(1)})

    net = Net()
    assert [name for name, _ in net.named_parameters()] == ["rows.0", "rows.1", "named.a"]
    net.rows.append(cr.zeros(1))
    assert len(net.rows) == 3 and isinstance(net.rows[-1], nn.Parameter)
    assert net.named.pop("a").shape == (1,) and "a" not in net.named


def test_get_submodule_parameter_and_buffer_follow_paths() -> None:
    net = nn.Sequential(nn.Sequential(nn.BatchNorm1d(2)))
    assert net.get_submodule("0.0") is net[0][0]
    assert net.get_parameter("0.0.weight") is net[0][0].weight
    assert net.get_buffer("0.0.running_mean") is net[0][0].running_mean
    with pytest.raises(AttributeError, match="has no attribute `7`"):
        net.get_submodule("0.7")


def test_linear_starts_within_pytorchs_bounds() -> None:
    layer = nn.Linear(100, 400)
    bound = 1 / np.sqrt(100)
    for array in (layer.weight.array, layer.bias.array):
        assert abs(array).max() <= bound
    assert abs(layer.weight.array.std() - bound / np.sqrt(3)) < 0.002


def test_batch_norm_follows_torch_through_training_and_evaluation() -> None:
    torch = pytest.importorskip("torch")
    for options in ({}, {"momentum": None}, {"affine": False}, {"track_running_stats": False}):
        ours, theirs = nn.BatchNorm1d(4, **options), torch.nn.BatchNorm1d(4, **options)
        for step in range(4):
            if step == 3:
                ours.eval()
                theirs.eval()
            x = np.random.randn(6, 4).astype("f4") * 3 + 1
            got = ours(cr.tensor(x)).detach().numpy()
            np.testing.assert_allclose(got, theirs(torch.tensor(x)).detach().numpy(), atol=2e-6)
        for name, tensor in theirs.state_dict().items():
            np.testing.assert_allclose(ours.state_dict()[name].numpy(), tensor.numpy(), rtol=1e-5)
