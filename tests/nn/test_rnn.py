"""Recurrent layers: against PyTorch, against a walk through time written with other operations, and their errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.nn.utils.rnn import PackedSequence, pack_padded_sequence, pack_sequence
from chainrule.testing import gradcheck, gradgradcheck

CONFIGURATIONS: list[tuple[str, dict[str, Any]]] = [
    ("RNN", {}),
    ("RNN", {"nonlinearity": "relu", "num_layers": 2, "bias": False}),
    ("RNN", {"bidirectional": True, "num_layers": 2, "batch_first": True}),
    ("LSTM", {}),
    ("LSTM", {"bidirectional": True, "num_layers": 2, "batch_first": True}),
    ("LSTM", {"proj_size": 2, "num_layers": 2}),
    ("LSTM", {"proj_size": 2, "bidirectional": True, "bias": False}),
    ("GRU", {}),
    ("GRU", {"bidirectional": True, "num_layers": 2, "batch_first": True}),
    ("GRU", {"bias": False, "num_layers": 2}),
]
IDS = [name + "-" + "-".join(f"{k}={v}" for k, v in settings.items()) for name, settings in CONFIGURATIONS]
LENGTHS = [5, 2, 4]


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).standard_normal(shape)


def pair(name: str, **settings: Any) -> tuple[Any, Any, Any]:
    """torch, its module and ours with the same weights, in float64."""
    torch = pytest.importorskip("torch")
    theirs = getattr(torch.nn, name)(4, 3, **settings).double()
    ours = getattr(nn, name)(4, 3, **settings).double()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict({key: cr.from_numpy(value.numpy()) for key, value in theirs.state_dict().items()})
    return torch, theirs, ours


def flat(output: Any) -> list[Any]:
    """All tensors of a result that carry gradients."""
    if hasattr(output, "batch_sizes"):
        return [output.data]
    return [leaf for item in output for leaf in flat(item)] if isinstance(output, tuple) else [output]


def assert_same(theirs: Any, ours: Any, their_inputs: list[Any], our_inputs: list[Any], run: Any) -> None:
    """Outputs, and the gradients of all parameters and inputs for one seed of each output."""
    their_outputs, our_outputs = flat(run(theirs, *their_inputs)), flat(run(ours, *our_inputs))
    their_loss = our_loss = 0
    for i, (expected, found) in enumerate(zip(their_outputs, our_outputs, strict=True)):
        np.testing.assert_allclose(found.detach().numpy(), expected.detach().numpy(), rtol=1e-9, atol=1e-12)
        seed = normal(*found.shape, seed=i)
        their_loss = their_loss + (expected * expected.new_tensor(seed)).sum()
        our_loss = our_loss + (found * cr.from_numpy(seed)).sum()
    their_loss.backward()
    our_loss.backward()
    pairs = [(n, p, dict(ours.named_parameters())[n]) for n, p in theirs.named_parameters()]
    pairs += [(f"input {i}", t, o) for i, (t, o) in enumerate(zip(their_inputs, our_inputs, strict=True))]
    for what, expected, found in pairs:
        np.testing.assert_allclose(found.grad.numpy(), expected.grad.numpy(), rtol=1e-8, atol=1e-11, err_msg=what)


def inputs(torch: Any, *arrays: np.ndarray) -> tuple[list[Any], list[Any]]:
    return (
        [torch.tensor(a, requires_grad=True) for a in arrays],
        [cr.tensor(a, dtype=cr.float64, requires_grad=True) for a in arrays],
    )


def first_states(settings: dict[str, Any], name: str, columns: int) -> list[np.ndarray]:
    count = settings.get("num_layers", 1) * (2 if settings.get("bidirectional") else 1)
    out = settings.get("proj_size", 0) or 3
    sizes = [out, 3] if name == "LSTM" else [out]
    return [normal(count, columns, size, seed=i) for i, size in enumerate(sizes)]


def given(states: tuple[Any, ...]) -> Any:
    return states if len(states) > 1 else states[0]


# ---- the oracle is PyTorch -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "settings"), CONFIGURATIONS, ids=IDS)
def test_outputs_states_and_gradients_are_pytorchs(name: str, settings: dict[str, Any]) -> None:
    torch, theirs, ours = pair(name, **settings)
    x = normal(2, 5, 4) if settings.get("batch_first") else normal(5, 2, 4)
    mine, others = inputs(torch, x, *first_states(settings, name, 2))
    assert_same(theirs, ours, mine, others, lambda net, x, *states: net(x, given(states)))


@pytest.mark.parametrize(("name", "settings"), CONFIGURATIONS, ids=IDS)
def test_one_sequence_without_a_batch_axis_is_as_in_pytorch(name: str, settings: dict[str, Any]) -> None:
    torch, theirs, ours = pair(name, **settings)
    assert_same(theirs, ours, *inputs(torch, normal(5, 4)), lambda net, x: net(x))


@pytest.mark.parametrize("enforce_sorted", [True, False])
@pytest.mark.parametrize(("name", "settings"), CONFIGURATIONS, ids=IDS)
def test_packed_sequences_give_what_they_give_in_pytorch(
    name: str, settings: dict[str, Any], enforce_sorted: bool
) -> None:
    torch, theirs, ours = pair(name, **settings)
    lengths = sorted(LENGTHS, reverse=True) if enforce_sorted else LENGTHS
    mine, others = inputs(torch, normal(3, 5, 4), *first_states(settings, name, 3))

    def run(net: Any, x: Any, *states: Any) -> Any:
        utils = torch.nn.utils.rnn if net is theirs else nn.utils.rnn
        packed = utils.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=enforce_sorted)
        return net(packed, given(states))

    assert_same(theirs, ours, mine, others, run)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("name", "states"), [("RNNCell", 1), ("LSTMCell", 2), ("GRUCell", 1)])
@pytest.mark.parametrize("batch", [(), (2,)])
def test_cells_are_pytorchs(name: str, states: int, batch: tuple[int, ...], bias: bool) -> None:
    torch, theirs, ours = pair(name, bias=bias)
    arrays = [normal(*batch, 4), *(normal(*batch, 3, seed=i) for i in range(states))]
    assert_same(theirs, ours, *inputs(torch, *arrays), lambda net, x, *states: net(x, given(states)))
    assert_same(theirs, ours, *inputs(torch, arrays[0]), lambda net, x: net(x))


def test_a_relu_cell_is_pytorchs() -> None:
    torch, theirs, ours = pair("RNNCell", nonlinearity="relu")
    assert_same(theirs, ours, *inputs(torch, normal(2, 4), normal(2, 3)), lambda net, *args: net(*args))


@pytest.mark.parametrize(("name", "settings"), CONFIGURATIONS, ids=IDS)
def test_the_repr_is_pytorchs(name: str, settings: dict[str, Any]) -> None:
    _, theirs, ours = pair(name, **settings)
    assert repr(ours) == repr(theirs)


# ---- the oracle is a step written out --------------------------------------------------------------------------------


def written_out(net: Any, x: Any, h: Any, c: Any) -> list[Any]:
    """One layer, forward in time, with elementary operations."""
    outputs = []
    for step in x:
        shares = step @ net.weight_ih_l0.T + net.bias_ih_l0
        recalled = h @ net.weight_hh_l0.T + net.bias_hh_l0
        if isinstance(net, nn.LSTM):
            i, f, g, o = (shares + recalled).chunk(4, 1)
            c = cr.sigmoid(f) * c + cr.sigmoid(i) * cr.tanh(g)
            h = cr.sigmoid(o) * cr.tanh(c)
        elif isinstance(net, nn.GRU):
            (r, u, n), (rr, ru, rn) = shares.chunk(3, 1), recalled.chunk(3, 1)
            u = cr.sigmoid(u + ru)
            n = cr.tanh(n + cr.sigmoid(r + rr) * rn)
            h = (1 - u) * n + u * h
        else:
            h = cr.tanh(shares + recalled)
        outputs.append(h)
    return [cr.stack(outputs), h, c] if isinstance(net, nn.LSTM) else [cr.stack(outputs), h]


@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_layer_is_its_equations_step_by_step(name: str, dtype: Any) -> None:
    net = getattr(nn, name)(4, 3).to(cr.float64 if dtype == np.float64 else cr.float32)
    x, h, c = (cr.from_numpy(normal(*shape).astype(dtype)) for shape in ((5, 2, 4), (2, 3), (2, 3)))
    x.requires_grad_()
    states = (h.unsqueeze(0), c.unsqueeze(0)) if name == "LSTM" else h.unsqueeze(0)
    results = []
    for outputs in (flat(net(x, states)), written_out(net, x, h, c)):
        net.zero_grad()
        x.grad = None
        sum((out.reshape(-1) * cr.arange(out.numel()).to(out.dtype)).sum() for out in outputs).backward()
        results.append([out.detach().numpy().ravel() for out in outputs] + [p.grad.numpy() for p in net.parameters()])
        results[-1].append(x.grad.numpy())
    tolerance = 1e-4 if dtype == np.float32 else 1e-10
    for found, expected in zip(*results, strict=True):
        assert found.dtype == dtype
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize("lengths", [None, [2, 1]])
def test_second_derivatives_by_finite_differences(name: str, lengths: Any) -> None:
    net = getattr(nn, name)(2, 1, bidirectional=lengths is not None).double()
    weights = [p.detach().clone().requires_grad_() for p in net.parameters()]
    names = [n for n, _ in net.named_parameters()]

    def run(x: Any, *values: Any) -> Any:
        for key, value in zip(names, values, strict=True):
            net._parameters[key] = value
        out, states = net(x if lengths is None else pack_padded_sequence(x, lengths))
        return tuple(flat((out, states)))

    arguments = (cr.from_numpy(normal(2, 2, 2)).requires_grad_(), *weights)
    assert gradcheck(run, arguments)
    assert gradgradcheck(run, arguments)


@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU"])
def test_a_packed_batch_gives_each_sequence_what_it_gets_alone(name: str) -> None:
    net = getattr(nn, name)(4, 3, num_layers=2, bidirectional=True)
    sequences = [cr.from_numpy(normal(n, 4).astype(np.float32)) for n in LENGTHS]
    out, last = net(pack_sequence(sequences, enforce_sorted=False))
    for i, (found, sequence) in enumerate(zip(nn.utils.rnn.unpack_sequence(out), sequences, strict=True)):
        alone, state = net(sequence)
        np.testing.assert_allclose(found.detach().numpy(), alone.detach().numpy(), rtol=1e-5, atol=1e-6)
        for many, one in zip(flat(last), flat(state), strict=True):
            np.testing.assert_allclose(many[:, i].detach().numpy(), one.detach().numpy(), rtol=1e-5, atol=1e-6)


def test_states_overwritten_after_the_forward_pass_do_not_change_the_gradient() -> None:
    for name in ("RNN", "LSTM", "GRU"):
        gradients = []
        for overwrite in (False, True):
            cr.manual_seed(0)
            net = getattr(nn, name)(4, 3)
            h = cr.from_numpy(normal(1, 2, 3).astype(np.float32))
            out, last = net(cr.from_numpy(normal(5, 2, 4).astype(np.float32)), (h, h.clone()) if name == "LSTM" else h)
            loss = (out * out).sum()
            if overwrite:
                h.zero_()
                for state in flat(last):
                    state.zero_()
            loss.backward()
            gradients.append(net.weight_hh_l0.grad.numpy())
        np.testing.assert_array_equal(*gradients)


def test_a_weight_overwritten_after_the_forward_pass_is_refused() -> None:
    net = nn.LSTM(4, 3)
    out, _ = net(cr.ones(5, 2, 4))
    with cr.no_grad():
        net.weight_hh_l0.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.sum().backward()


def test_a_graph_that_is_kept_gives_the_same_gradients_for_each_seed() -> None:
    net = nn.LSTM(4, 3)
    out, _ = net(cr.ones(5, 2, 4))
    seeds = [cr.from_numpy(normal(5, 2, 3, seed=i).astype(np.float32)) for i in range(2)]
    parameters = list(net.parameters())
    one, two = (cr.autograd.grad(out, parameters, seed, retain_graph=True) for seed in seeds)
    both = cr.autograd.grad(out, parameters, seeds[0] + seeds[1])
    for a, b, total in zip(one, two, both, strict=True):
        np.testing.assert_allclose((a + b).numpy(), total.numpy(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("bias", [True, False])
def test_the_walk_in_place_and_the_recorded_one_give_the_same_gradients(name: str, bias: bool) -> None:
    net = getattr(nn, name)(6, 20, bidirectional=True, bias=bias).double()
    x = cr.from_numpy(normal(30, 7, 6)).requires_grad_()
    out = net(x)[0]
    seed = cr.from_numpy(normal(30, 7, 40))
    wanted = [x, *net.parameters()]
    recorded = cr.autograd.grad(out, wanted, seed, create_graph=True)
    for a, b in zip(cr.autograd.grad(out, wanted, seed), recorded, strict=True):
        np.testing.assert_allclose(a.numpy(), b.detach().numpy(), rtol=1e-10, atol=1e-12)


def test_outputs_are_the_same_where_no_gradient_is_recorded_and_may_be_written_to() -> None:
    net = nn.LSTM(4, 3, bidirectional=True)
    x = cr.from_numpy(normal(5, 2, 4).astype(np.float32))
    with cr.no_grad():
        unrecorded, (h, c) = net(x)
        h.zero_()
        c.zero_()
    out, (h, c) = net(x)
    np.testing.assert_array_equal(unrecorded.numpy(), out.detach().numpy())
    loss = out.sum() + h.sum() + c.sum()
    expected = cr.autograd.grad(loss, list(net.parameters()), retain_graph=True)
    for tensor in (out, h, c):
        tensor.detach().zero_()
    for a, b in zip(cr.autograd.grad(loss, list(net.parameters())), expected, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


# ---- the layer itself ------------------------------------------------------------------------------------------------


def test_weights_start_uniform_within_one_over_the_root_of_the_hidden_size() -> None:
    net = nn.LSTM(50, 64)
    for parameter in net.parameters():
        assert float(parameter.abs().max()) <= 1 / 8
    assert float(net.weight_hh_l0.std()) == pytest.approx(1 / 8 / np.sqrt(3), rel=0.05)


def test_dropout_acts_between_layers_and_only_in_training() -> None:
    cr.manual_seed(0)
    net = nn.GRU(4, 8, num_layers=2, dropout=0.5)
    x = cr.ones(5, 2, 4)
    assert not np.array_equal(net(x)[0].detach().numpy(), net(x)[0].detach().numpy())
    net.eval()
    np.testing.assert_array_equal(net(x)[0].detach().numpy(), net(x)[0].detach().numpy())


def test_all_weights_lists_the_parameters_of_every_layer_and_direction() -> None:
    net = nn.GRU(4, 3, num_layers=2, bidirectional=True)
    assert [len(weights) for weights in net.all_weights] == [4, 4, 4, 4]
    assert net.all_weights[3][0] is net.weight_ih_l1_reverse
    assert net.flatten_parameters() is None


def test_a_packed_input_gives_a_packed_output() -> None:
    out, _ = nn.RNN(4, 3)(pack_sequence([cr.ones(3, 4), cr.ones(1, 4)]))
    assert isinstance(out, PackedSequence) and out.batch_sizes.tolist() == [2, 1, 1]


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: nn.LSTM(4, 3)(cr.ones(5)), ValueError, "2D or 3D, got 1D"),
        (lambda: nn.LSTM(4, 3)(cr.ones(5, 2, 5)), RuntimeError, "Expected 4, got 5"),
        (lambda: nn.LSTM(4, 3)(cr.ones(5, 2, 4), cr.ones(1, 2, 3)), RuntimeError, "h_0, c_0"),
        (lambda: nn.GRU(4, 3)(cr.ones(5, 2, 4), cr.ones(1, 3, 3)), RuntimeError, r"\(1, 2, 3\), got \[1, 3, 3\]"),
        (lambda: nn.GRU(4, 3)(cr.ones(5, 2, 4), cr.ones(2, 3)), RuntimeError, "hx should also be 3-D"),
        (lambda: nn.GRU(4, 3)(cr.ones(5, 4), cr.ones(1, 1, 3)), RuntimeError, "hx should also be 2-D"),
        (lambda: nn.GRU(4, 3)(cr.ones(5, 2, 4).double()), ValueError, "dtype"),
        (lambda: nn.RNN(4, 3)(cr.ones(0, 2, 4)), RuntimeError, "larger than 0"),
        (lambda: nn.RNN(4, 3, nonlinearity="cube"), ValueError, "cube"),
        (lambda: nn.GRU(4, 3, proj_size=2), ValueError, "only supported for LSTM"),
        (lambda: nn.LSTM(4, 3, proj_size=3), ValueError, "smaller than hidden_size"),
        (lambda: nn.LSTM(4, 3, dropout=2), ValueError, "dropout"),
        (lambda: nn.LSTM(4, 0), ValueError, "hidden_size"),
        (lambda: nn.LSTM(4, 3.0), TypeError, "hidden_size"),
        (lambda: nn.LSTMCell(4, 3)(cr.ones(2, 5)), RuntimeError, "got 5 expected 4"),
        (lambda: nn.GRUCell(4, 3)(cr.ones(2, 4), cr.ones(3, 3)), RuntimeError, "hidden of shape"),
        (lambda: nn.RNNCell(4, 3)(cr.ones(1, 2, 4)), ValueError, "1D or 2D"),
        (lambda: nn.RNNCell(4, 3, nonlinearity="cube")(cr.ones(4)), RuntimeError, "cube"),
    ],
)
def test_what_does_not_fit_is_named(call: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        call()


def test_dropout_on_a_single_layer_warns() -> None:
    with pytest.warns(UserWarning, match="num_layers greater than 1"):
        nn.LSTM(4, 3, dropout=0.5)


def last_state(name: str) -> Any:
    """What a layer or cell leaves at the end, and nothing else of its results, as a function of (T, B, I) inputs."""
    layer = getattr(nn, name)(2, 3).double()
    with cr.no_grad():
        for i, weight in enumerate(layer.parameters()):
            weight.copy_(cr.from_numpy(normal(*weight.shape, seed=i)) * 0.5)

    def run(x: Any) -> Any:
        state = layer(x[0]) if name.endswith("Cell") else layer(x)[1]
        return state[0] if isinstance(state, tuple) else state

    return run


@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU", "RNNCell", "LSTMCell", "GRUCell"])
def test_second_derivatives_of_a_state_alone_are_those_of_finite_differences(name: str) -> None:
    x = cr.tensor(normal(3, 2, 2), dtype=cr.float64, requires_grad=True)
    assert gradgradcheck(last_state(name), (x,))


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"bias": 1}, TypeError, "bias should be of type bool"),
        ({"batch_first": "True"}, TypeError, "batch_first should be of type bool"),
        ({"input_size": 0}, ValueError, "input_size must be greater than zero"),
    ],
)
def test_settings_of_another_kind_are_refused(settings: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        nn.LSTM(**{"input_size": 2, "hidden_size": 3, **settings})
