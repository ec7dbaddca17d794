"""nn.utils: clipping, vectors of parameters, parametrizations, padding and packing."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.nn import utils
from chainrule.nn.utils import parametrizations, parametrize, prune
from chainrule.nn.utils.rnn import (
    PackedSequence,
    pack_padded_sequence,
    pack_sequence,
    pad_packed_sequence,
    pad_sequence,
    unpack_sequence,
    unpad_sequence,
)
from chainrule.testing import gradcheck


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def with_gradients(*arrays: np.ndarray) -> list[Any]:
    parameters = [nn.Parameter(cr.from_numpy(np.zeros_like(a))) for a in arrays]
    for parameter, array in zip(parameters, arrays, strict=True):
        parameter.grad = cr.from_numpy(array.copy())
    return parameters


# ---- clipping --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [1, 2, 3.5, float("inf")])
@pytest.mark.parametrize("max_norm", [0.5, 1e6])
def test_clipping_by_norm_scales_all_gradients_together(order: float, max_norm: float) -> None:
    arrays = [normal(3, 4), normal(5)]
    parameters = [*with_gradients(*arrays), nn.Parameter([1.0])]
    total = np.linalg.norm(np.concatenate([a.ravel() for a in arrays]), order)
    assert float(utils.clip_grad_norm_(iter(parameters), max_norm, norm_type=order)) == pytest.approx(total, rel=1e-5)
    for parameter, array in zip(parameters, arrays, strict=False):
        np.testing.assert_allclose(parameter.grad.numpy(), array * min(1, max_norm / (total + 1e-6)), rtol=1e-5)


def test_clipping_takes_one_tensor_and_none_at_all() -> None:
    (parameter,) = with_gradients(np.array([3.0, 4.0], np.float32))
    assert utils.clip_grad_norm_(parameter, 1).item() == 5
    assert utils.clip_grad_norm_([], 1).item() == 0
    with pytest.warns(UserWarning, match="empty generator"):
        utils.clip_grad_norm_(iter(()), 1)
    with pytest.warns(FutureWarning, match="clip_grad_norm_"):
        utils.clip_grad_norm([parameter], 1)


@pytest.mark.filterwarnings("ignore:invalid value")
def test_a_norm_that_is_not_finite_raises_where_it_shall() -> None:
    parameters = with_gradients(np.array([np.inf, 1], np.float32))
    with pytest.raises(RuntimeError, match="non-finite"):
        utils.clip_grad_norm_(parameters, 1, error_if_nonfinite=True)
    assert parameters[0].grad[1].item() == 1
    utils.clip_grad_norm_(parameters, 1)
    assert parameters[0].grad[1].item() == 0


def test_clipping_by_value_bounds_each_number() -> None:
    (parameter,) = with_gradients(np.array([-3, 0.1, 2], np.float32))
    utils.clip_grad_value_([parameter], 1)
    np.testing.assert_allclose(parameter.grad.numpy(), [-1, 0.1, 1])


def test_clipping_is_pytorchs() -> None:
    torch = pytest.importorskip("torch")
    arrays = [normal(3, 4), normal(5)]
    theirs = [torch.nn.Parameter(torch.zeros(a.shape)) for a in arrays]
    for parameter, array in zip(theirs, arrays, strict=True):
        parameter.grad = torch.tensor(array)
    ours = with_gradients(*arrays)
    for order in (2.0, 1.0, float("inf"), 0.5):
        expected = torch.nn.utils.get_total_norm([p.grad for p in theirs], order)
        assert utils.get_total_norm([p.grad for p in ours], order).item() == pytest.approx(expected.item(), rel=1e-5)
        torch.nn.utils.clip_grads_with_norm_(theirs, 1.5, expected)
        utils.clip_grads_with_norm_(ours, 1.5, expected.item())
        for a, b in zip(theirs, ours, strict=True):
            np.testing.assert_allclose(b.grad.numpy(), a.grad.numpy(), rtol=1e-5)


# ---- vectors of parameters -------------------------------------------------------------------------------------------


def test_parameters_go_to_a_vector_and_back() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    vector = utils.parameters_to_vector(net.parameters())
    np.testing.assert_array_equal(
        vector.detach().numpy(), np.concatenate([p.detach().numpy().ravel() for p in net.parameters()])
    )
    utils.vector_to_parameters(vector.detach() * 2, net.parameters())
    np.testing.assert_array_equal(
        utils.parameters_to_vector(net.parameters()).detach().numpy(), vector.detach().numpy() * 2
    )
    vector.sum().backward()
    assert all((p.grad == 1).all() for p in net.parameters())


def test_a_vector_that_is_too_short_is_refused() -> None:
    with pytest.raises(RuntimeError, match="has 3"):
        utils.vector_to_parameters(cr.ones(3), nn.Linear(3, 4).parameters())
    with pytest.raises(TypeError, match="list"):
        utils.vector_to_parameters([1.0], nn.Linear(3, 4).parameters())


# ---- weight and spectral normalisation -------------------------------------------------------------------------------


@pytest.mark.parametrize("dim", [0, 1, None])
@pytest.mark.parametrize("form", ["hook", "parametrization"])
def test_weight_norm_is_length_times_direction_and_can_be_undone(form: str, dim: int | None) -> None:
    layer = nn.Linear(3, 5)
    weight, x = layer.weight.detach().numpy().copy(), cr.ones(2, 3)
    before = layer(x).detach().numpy()
    if form == "hook":
        utils.weight_norm(layer, dim=dim)
        names = {"weight_g", "weight_v", "bias"}
    else:
        parametrizations.weight_norm(layer, dim=dim)
        names = {"parametrizations.weight.original0", "parametrizations.weight.original1", "bias"}
    assert set(layer.state_dict()) == names
    np.testing.assert_allclose(layer(x).detach().numpy(), before, rtol=1e-5)
    length = layer.weight_g if form == "hook" else layer.parametrizations.weight.original0
    axes = {0: 1, 1: 0, None: None}[dim]
    np.testing.assert_allclose(np.squeeze(length.detach().numpy()), np.sqrt((weight**2).sum(axis=axes)), rtol=1e-5)
    with cr.no_grad():
        length.mul_(2)
    layer(x).sum().backward()
    assert length.grad is not None
    np.testing.assert_allclose(layer.weight.detach().numpy(), weight * 2, rtol=1e-5)
    if form == "hook":
        utils.remove_weight_norm(layer)
    else:
        parametrize.remove_parametrizations(layer, "weight")
    assert set(layer.state_dict()) == {"weight", "bias"} and type(layer) is nn.Linear
    np.testing.assert_allclose(layer.weight.detach().numpy(), weight * 2, rtol=1e-5)
    with pytest.raises((ValueError, AttributeError)):
        utils.remove_weight_norm(layer)


@pytest.mark.parametrize("form", [utils.spectral_norm, parametrizations.spectral_norm])
def test_spectral_norm_makes_the_largest_singular_value_one(form: Any) -> None:
    layer = form(nn.Linear(6, 4), n_power_iterations=30)
    layer(cr.ones(2, 6)).sum().backward()
    assert np.linalg.norm(layer.weight.detach().numpy(), 2) == pytest.approx(1, rel=1e-4)
    original = layer.weight_orig if form is utils.spectral_norm else layer.parametrizations.weight.original
    assert original.grad is not None
    layer.eval()
    np.testing.assert_array_equal(layer(cr.ones(6)).detach().numpy(), layer(cr.ones(6)).detach().numpy())


@pytest.mark.parametrize("form", ["weight_norm", "spectral_norm"])
@pytest.mark.parametrize("where", ["utils", "parametrizations"])
def test_normalised_layers_have_pytorchs_states_outputs_and_gradients(where: str, form: str) -> None:
    torch = pytest.importorskip("torch")
    nets = []
    for library in (torch, cr):
        home = library.nn.utils if where == "utils" else library.nn.utils.parametrizations
        nets.append(getattr(home, form)(library.nn.Linear(3, 5)).eval())
    theirs, ours = nets
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict({key: cr.from_numpy(value.numpy()) for key, value in theirs.state_dict().items()})
    x = normal(2, 3)
    expected, found = theirs(torch.tensor(x)), ours(cr.from_numpy(x))
    np.testing.assert_allclose(found.detach().numpy(), expected.detach().numpy(), rtol=1e-4, atol=1e-6)
    (expected**2).sum().backward()
    (found**2).sum().backward()
    for (name, a), (_, b) in zip(theirs.named_parameters(), ours.named_parameters(), strict=True):
        np.testing.assert_allclose(b.grad.numpy(), a.grad.numpy(), rtol=1e-3, atol=1e-5, err_msg=name)


def test_the_spectral_norm_hook_can_be_undone() -> None:
    layer = utils.spectral_norm(nn.Linear(3, 5))
    with pytest.raises(RuntimeError, match="two spectral_norm"):
        utils.spectral_norm(layer)
    utils.remove_spectral_norm(layer)
    assert set(layer.state_dict()) == {"weight", "bias"}
    with pytest.raises(ValueError, match="not found"):
        utils.remove_spectral_norm(layer)


# ---- orthogonal matrices ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(4, 4), (5, 3), (3, 5)])
@pytest.mark.parametrize("orthogonal_map", [None, "matrix_exp", "cayley", "householder"])
@pytest.mark.parametrize("use_trivialization", [True, False])
def test_an_orthogonal_weight_stays_orthogonal_while_it_is_trained(
    shape: tuple[int, int], orthogonal_map: str | None, use_trivialization: bool
) -> None:
    cr.manual_seed(0)
    layer = nn.Linear(shape[1], shape[0]).double()
    parametrizations.orthogonal(layer, orthogonal_map=orthogonal_map, use_trivialization=use_trivialization)
    optimizer = cr.optim.SGD(layer.parameters(), lr=0.1)
    seen = []
    for _ in range(3):
        weight = layer.weight.detach().numpy()
        gram = weight @ weight.T if shape[0] < shape[1] else weight.T @ weight
        np.testing.assert_allclose(gram, np.eye(len(gram)), atol=1e-9)
        seen.append(weight)
        optimizer.zero_grad()
        (layer.weight * cr.from_numpy(normal(*shape)).double()).sum().backward()
        optimizer.step()
    assert np.abs(seen[0] - seen[2]).max() > 1e-3


@pytest.mark.parametrize("orthogonal_map", ["matrix_exp", "cayley", "householder"])
def test_the_orthogonal_maps_are_differentiated_rightly(orthogonal_map: str) -> None:
    layer = parametrizations.orthogonal(nn.Linear(3, 4).double(), orthogonal_map=orthogonal_map)
    step = layer.parametrizations.weight[0]
    x = layer.parametrizations.weight.original.detach().clone() + cr.from_numpy(normal(4, 3) * 0.1).double()
    assert gradcheck(lambda value: step(value.tril(-1) - cr.eye(4, 3, dtype=cr.float64)), (x.requires_grad_(),))


def test_assigning_to_an_orthogonal_weight_takes_the_value() -> None:
    layer = parametrizations.orthogonal(nn.Linear(4, 4))
    rotation = np.linalg.qr(normal(4, 4))[0].astype(np.float32)
    layer.weight = cr.from_numpy(rotation)
    np.testing.assert_allclose(layer.weight.detach().numpy(), rotation, atol=1e-5)
    other = parametrizations.orthogonal(nn.Linear(3, 4), orthogonal_map="householder", use_trivialization=False)
    columns = np.linalg.qr(normal(4, 3))[0].astype(np.float32)
    other.weight = cr.from_numpy(columns)
    np.testing.assert_allclose(other.weight.detach().numpy(), columns, atol=1e-5)
    with pytest.raises(ValueError, match="shape"):
        layer.weight = cr.ones(3, 3)


def test_orthogonal_refuses_what_is_no_matrix_and_unknown_maps() -> None:
    with pytest.raises(ValueError, match="1 dimensions"):
        parametrizations.orthogonal(nn.Linear(4, 4), "bias")
    with pytest.raises(ValueError, match="Got: cube"):
        parametrizations.orthogonal(nn.Linear(4, 4), orthogonal_map="cube")
    with pytest.raises(ValueError, match="no parameter"):
        parametrizations.orthogonal(nn.Linear(4, 4), "cube")


# ---- parametrizations of one's own -----------------------------------------------------------------------------------


class Symmetric(nn.Module):
    def forward(self, x: Any) -> Any:
        return x.triu() + x.triu(1).transpose(-1, -2)

    def right_inverse(self, x: Any) -> Any:
        return x.triu()


class Doubled(nn.Module):
    def forward(self, x: Any) -> Any:
        return x * 2


class Wider(nn.Module):
    def forward(self, x: Any) -> Any:
        return cr.cat([x, x])


def test_a_parametrized_weight_is_computed_from_its_original() -> None:
    layer = parametrize.register_parametrization(nn.Linear(3, 3), "weight", Symmetric())
    assert parametrize.is_parametrized(layer) and parametrize.is_parametrized(layer, "weight")
    assert not parametrize.is_parametrized(layer, "bias") and not parametrize.is_parametrized(nn.Linear(2, 2))
    assert [name for name, _ in layer.named_parameters()] == ["bias", "parametrizations.weight.original"]
    weight = layer.weight.detach().numpy()
    np.testing.assert_array_equal(weight, weight.T)
    layer(cr.ones(3)).sum().backward()
    assert layer.parametrizations.weight.original.grad is not None
    assert type(layer).__name__ == "ParametrizedLinear" and isinstance(layer, nn.Linear)
    assert parametrize.type_before_parametrizations(layer) is nn.Linear


def test_parametrizations_are_chained_and_assignment_goes_back_through_them() -> None:
    layer = nn.Linear(3, 3)
    parametrize.register_parametrization(layer, "weight", Symmetric())
    symmetric = cr.from_numpy(normal(3, 3) + normal(3, 3).T)
    layer.weight = symmetric
    np.testing.assert_allclose(layer.weight.detach().numpy(), symmetric.numpy())
    before = layer.weight.detach().numpy()
    parametrize.register_parametrization(layer, "weight", Doubled())
    np.testing.assert_allclose(layer.weight.detach().numpy(), before * 2)
    with pytest.raises(RuntimeError, match="Doubled does not implement right_inverse"):
        layer.weight = symmetric


@pytest.mark.parametrize("leave", [True, False])
def test_removing_a_parametrization_leaves_its_value_or_its_original(leave: bool) -> None:
    layer = parametrize.register_parametrization(nn.Linear(3, 3), "weight", Doubled())
    original = layer.parametrizations.weight.original
    wanted = (layer.weight if leave else original).detach().numpy().copy()
    parametrize.remove_parametrizations(layer, "weight", leave_parametrized=leave)
    np.testing.assert_array_equal(layer.weight.detach().numpy(), wanted)
    assert layer.weight is original and type(layer) is nn.Linear and not parametrize.is_parametrized(layer)
    with pytest.raises(ValueError, match="does not have a parametrization"):
        parametrize.remove_parametrizations(layer, "weight")


def test_inside_cached_a_parametrized_tensor_is_computed_once() -> None:
    layer = parametrize.register_parametrization(nn.Linear(3, 3), "weight", Doubled())
    assert layer.weight is not layer.weight
    with parametrize.cached():
        assert layer.weight is layer.weight


def test_a_parametrized_module_is_copied_deeply_and_not_pickled() -> None:
    layer = parametrize.register_parametrization(nn.Linear(3, 3), "weight", Doubled())
    other = copy.deepcopy(layer)
    with cr.no_grad():
        layer.parametrizations.weight.original.zero_()
    assert other.weight.detach().numpy().any() and not layer.weight.detach().numpy().any()
    with pytest.raises(RuntimeError, match="state_dict"):
        pickle.dumps(layer)


def test_parametrizations_are_handed_to_another_module() -> None:
    layer = parametrize.register_parametrization(nn.Linear(3, 3), "weight", Doubled())
    other = parametrize.transfer_parametrizations_and_params(layer, nn.Linear(3, 3))
    np.testing.assert_array_equal(other.weight.detach().numpy(), layer.weight.detach().numpy())


def test_another_shape_needs_unsafe() -> None:
    with pytest.raises(ValueError, match="shape"):
        parametrize.register_parametrization(nn.Linear(3, 3), "weight", Wider())
    layer = parametrize.register_parametrization(nn.Linear(3, 3), "weight", Wider(), unsafe=True)
    assert layer.weight.shape == (6, 3)
    with pytest.raises(ValueError, match="does not have a parameter"):
        parametrize.register_parametrization(nn.Linear(3, 3), "cube", Doubled())


# ---- pruning ---------------------------------------------------------------------------------------------------------


def test_pruning_by_size_keeps_the_largest_numbers_and_only_they_are_trained() -> None:
    layer = nn.Linear(4, 5)
    weight = layer.weight.detach().numpy().copy()
    prune.l1_unstructured(layer, "weight", amount=0.5)
    kept = np.abs(weight) > np.sort(np.abs(weight).ravel())[9]
    np.testing.assert_array_equal(layer.weight.detach().numpy(), weight * kept)
    layer(cr.ones(4)).sum().backward()
    np.testing.assert_array_equal(layer.weight_orig.grad.numpy() != 0, kept)
    assert prune.is_pruned(nn.Sequential(layer)) and not prune.is_pruned(nn.Linear(2, 2))


def test_pruning_again_takes_from_what_is_left() -> None:
    layer = nn.Linear(10, 10)
    prune.random_unstructured(layer, "weight", amount=50)
    prune.l1_unstructured(layer, "weight", amount=0.5)
    assert int((layer.weight == 0).sum()) == 75 and len(layer._forward_pre_hooks) == 1
    prune.ln_structured(layer, "weight", amount=2, n=2, dim=0)
    assert int((layer.weight == 0).all(1).sum()) >= 2


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_structured_pruning_takes_whole_channels(dim: int) -> None:
    layer = nn.Linear(4, 6)
    weight = layer.weight.detach().numpy().copy()
    norms = np.sqrt((weight**2).sum(axis=1 if dim == 0 else 0))
    prune.ln_structured(layer, "weight", amount=0.5, n=2, dim=dim)
    zero = (layer.weight.detach().numpy() == 0).all(axis=1 if dim == 0 else 0)
    np.testing.assert_array_equal(zero, norms <= np.sort(norms)[len(norms) // 2 - 1])
    prune.random_structured(layer, "weight", amount=1, dim=dim)
    assert (layer.weight.detach().numpy() == 0).all(axis=1 if dim == 0 else 0).sum() == len(norms) // 2 + 1


def test_global_pruning_compares_the_numbers_of_several_layers() -> None:
    net = nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 3))
    with cr.no_grad():
        net[1].weight.mul_(100)
    prune.global_unstructured([(net[0], "weight"), (net[1], "weight")], prune.L1Unstructured, amount=20)
    assert not net[0].weight.detach().numpy().any() and net[1].weight.detach().numpy().all()


def test_removing_the_pruning_keeps_the_zeros() -> None:
    layer = prune.custom_from_mask(nn.Linear(3, 2), "weight", cr.tensor([[1, 0, 1], [0, 0, 1]]))
    prune.remove(layer, "weight")
    assert set(layer.state_dict()) == {"weight", "bias"} and isinstance(layer.weight, nn.Parameter)
    np.testing.assert_array_equal(layer.weight.detach().numpy() == 0, [[False, True, False], [True, True, False]])
    with pytest.raises(ValueError, match="has to be pruned"):
        prune.remove(layer, "weight")


def test_a_method_of_ones_own_prunes() -> None:
    class EveryOther(prune.BasePruningMethod):
        PRUNING_TYPE = "unstructured"

        def compute_mask(self, t: Any, default_mask: Any) -> Any:
            mask = default_mask.clone()
            mask.view(-1)[::2] = 0
            return mask

    layer = nn.Linear(3, 4)
    EveryOther.apply(layer, "bias")
    assert layer.bias_mask.tolist() == [0, 1, 0, 1]


def test_pruning_is_pytorchs() -> None:
    torch = pytest.importorskip("torch")
    their_prune = pytest.importorskip("torch.nn.utils.prune")
    theirs, ours = torch.nn.Conv2d(2, 4, 3), nn.Linear(1, 1)
    ours.weight = nn.Parameter(cr.from_numpy(theirs.weight.detach().numpy().copy()))
    for library, net in ((their_prune, theirs), (prune, ours)):
        library.l1_unstructured(net, "weight", amount=0.3)
        library.ln_structured(net, "weight", amount=1, n=1, dim=0)
        library.ln_structured(net, "weight", amount=0.5, n=float("inf"), dim=1)
    np.testing.assert_array_equal(ours.weight_mask.numpy(), theirs.weight_mask.numpy())


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: prune.l1_unstructured(nn.Linear(2, 2), "weight", 1.5), ValueError),
        (lambda: prune.l1_unstructured(nn.Linear(2, 2), "weight", -1), ValueError),
        (lambda: prune.l1_unstructured(nn.Linear(2, 2), "weight", 5), ValueError),
        (lambda: prune.l1_unstructured(nn.Linear(2, 2), "weight", "half"), TypeError),
        (lambda: prune.l1_unstructured(nn.Linear(2, 2), "weight", 1, cr.ones(3)), AssertionError),
        (lambda: prune.random_structured(nn.Linear(2, 2), "bias", 1, 0), ValueError),
        (lambda: prune.random_structured(nn.Linear(2, 2), "weight", 1, 2), IndexError),
        (lambda: prune.global_unstructured([], prune.CustomFromMask, mask=cr.ones(2)), TypeError),
        (lambda: prune.custom_from_mask(nn.Linear(2, 2), "weight", cr.ones(3)), AssertionError),
    ],
)
def test_a_pruning_that_makes_no_sense_is_refused(call: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        call()


# ---- fusing, making --------------------------------------------------------------------------------------------------


def test_a_batch_norm_is_made_part_of_the_layer_before_it() -> None:
    linear, norm = nn.Linear(3, 4), nn.BatchNorm1d(4)
    x = cr.from_numpy(normal(8, 3))
    norm(linear(x))
    linear.eval(), norm.eval()
    fused = utils.fuse_linear_bn_eval(linear, norm)
    np.testing.assert_allclose(fused(x).detach().numpy(), norm(linear(x)).detach().numpy(), rtol=1e-4, atol=1e-5)
    with pytest.raises(AssertionError, match="eval"):
        utils.fuse_linear_bn_eval(linear.train(), norm)


def test_skip_init_makes_the_module() -> None:
    assert utils.skip_init(nn.Linear, 3, 4).weight.shape == (4, 3)
    with pytest.raises(RuntimeError, match="Module"):
        utils.skip_init(dict, 3)


# ---- sequences of different lengths ----------------------------------------------------------------------------------

SEQUENCES = [normal(2, 3), normal(4, 3), normal(1, 3)]


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_fills_up_to_the_longest(side: str, batch_first: bool) -> None:
    padded = pad_sequence([cr.from_numpy(s) for s in SEQUENCES], batch_first, -1.0, side).numpy()
    padded = padded if batch_first else padded.swapaxes(0, 1)
    assert padded.shape == (3, 4, 3)
    for row, sequence in zip(padded, SEQUENCES, strict=True):
        inside = slice(4 - len(sequence), 4) if side == "left" else slice(0, len(sequence))
        np.testing.assert_array_equal(row[inside], sequence)
        assert (np.delete(row, np.r_[inside], axis=0) == -1).all()


def test_what_was_padded_is_cut_again() -> None:
    padded = pad_sequence([cr.from_numpy(s) for s in SEQUENCES])
    for found, expected in zip(unpad_sequence(padded, cr.tensor([2, 4, 1])), SEQUENCES, strict=True):
        np.testing.assert_array_equal(found.numpy(), expected)


def test_what_was_packed_comes_back_in_its_order() -> None:
    packed = pack_sequence([cr.from_numpy(s) for s in SEQUENCES], enforce_sorted=False)
    assert packed.batch_sizes.tolist() == [3, 2, 1, 1] and packed.sorted_indices.tolist() == [1, 0, 2]
    np.testing.assert_array_equal(packed.data[:3].numpy(), [SEQUENCES[1][0], SEQUENCES[0][0], SEQUENCES[2][0]])
    for found, expected in zip(unpack_sequence(packed), SEQUENCES, strict=True):
        np.testing.assert_array_equal(found.numpy(), expected)


def test_padding_and_packing_pass_gradients_to_each_element_once() -> None:
    tensors = [cr.from_numpy(s).requires_grad_() for s in SEQUENCES]
    padded, _ = pad_packed_sequence(pack_sequence(tensors, enforce_sorted=False), total_length=6)
    assert padded.shape == (6, 3, 3)
    padded.sum().backward()
    assert all((t.grad == 1).all() for t in tensors)


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("enforce_sorted", [True, False])
def test_packing_is_pytorchs(enforce_sorted: bool, batch_first: bool) -> None:
    torch = pytest.importorskip("torch")
    lengths = [4, 2, 1] if enforce_sorted else [2, 4, 1]
    x = normal(3, 4, 2) if batch_first else normal(4, 3, 2)
    expected = torch.nn.utils.rnn.pack_padded_sequence(torch.tensor(x), lengths, batch_first, enforce_sorted)
    found = pack_padded_sequence(cr.from_numpy(x), lengths, batch_first, enforce_sorted)
    for a, b in zip(expected, found, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            np.testing.assert_array_equal(b.numpy(), a.numpy())
    theirs = torch.nn.utils.rnn.pad_packed_sequence(expected, batch_first, 7.0, 5)
    for a, b in zip(theirs, pad_packed_sequence(found, batch_first, 7.0, 5), strict=True):
        np.testing.assert_array_equal(b.numpy(), a.numpy())


def test_a_packed_sequence_is_converted_by_its_data() -> None:
    packed = pack_sequence([cr.ones(2, 3)])
    assert packed.double().data.dtype == cr.float64 and packed.to(cr.float16).data.dtype == cr.float16
    assert packed.cpu() is packed and not packed.is_cuda and isinstance(packed.float(), PackedSequence)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: pack_padded_sequence(cr.ones(4, 3), [2, 4, 1]), RuntimeError, "enforce_sorted"),
        (lambda: pack_padded_sequence(cr.ones(4, 3), [2, 1]), RuntimeError, "batch_size=3"),
        (lambda: pack_padded_sequence(cr.ones(4, 3), [2, 1, 0]), RuntimeError, "greater than 0"),
        (lambda: pack_padded_sequence(cr.ones(4, 3), [5, 1, 1]), RuntimeError, "4 steps"),
        (lambda: pad_packed_sequence(pack_sequence([cr.ones(4)]), total_length=3), ValueError, "total_length=3"),
        (lambda: pad_sequence([]), RuntimeError, "empty"),
        (lambda: pad_sequence([cr.ones(2, 3), cr.ones(2, 4)]), RuntimeError, "sequence 1"),
        (lambda: pad_sequence(3), RuntimeError, "iterable"),
        (lambda: pad_sequence([cr.ones(2)], padding_side="up"), RuntimeError, "'up'"),
        (lambda: PackedSequence(cr.ones(2)), ValueError, "batch_sizes"),
    ],
)
def test_what_does_not_fit_is_named(call: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        call()


def test_a_parameter_pruned_twice_keeps_the_methods_in_a_container() -> None:
    layer = nn.Linear(4, 3)
    prune.l1_unstructured(layer, "weight", amount=2)
    prune.ln_structured(layer, "weight", amount=1, n=2, dim=0)
    (hook,) = layer._forward_pre_hooks.values()
    assert isinstance(hook, prune.PruningContainer)
    assert [type(method).__name__ for method in hook] == ["L1Unstructured", "LnStructured"] and len(hook) == 2
    empty = np.flatnonzero(~layer.weight_mask.numpy().any(1))
    assert len(empty) == 1 and 2 <= 12 - layer.weight_mask.sum().item() <= 6
    with pytest.raises(ValueError, match="weight"):
        other = prune.Identity()
        other._tensor_name = "bias"
        hook.add_pruning_method(other)
    prune.remove(layer, "weight")
    assert not layer._forward_pre_hooks


def test_a_module_keeps_ordinary_hooks_as_they_were_given() -> None:
    layer = nn.Linear(1, 1)

    def before(module: Any, args: Any) -> None: ...

    def after(module: Any, args: Any, result: Any) -> None: ...

    layer.register_forward_pre_hook(before)
    layer.register_forward_hook(after)
    assert [*layer._forward_pre_hooks.values(), *layer._forward_hooks.values()] == [before, after]
