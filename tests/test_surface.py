"""The rest of PyTorch's surface: names, types, devices, memory, settings, `out=`, and what is said to be absent."""

from __future__ import annotations

import importlib
import math
import pickle
import pkgutil
import sys
import types
import typing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.absent import Unsupported
from chainrule.absent_names import ABSENT, listing

ROOT = Path(__file__).resolve().parent.parent


# ----- what is not there ------------------------------------------------------------------------------------------


def owner_of(name: str) -> Any:
    found: Any = cr
    for part in name.split(".")[1:]:
        found = getattr(found, part)
    return found


CLASSES = ("torch.Tensor", "torch.nn.Module")  # what they say is Python's; `chainrule run` explains it
NAMES = [(owner, name) for owner, reasons in ABSENT.items() for names in reasons.values() for name in names.split()]


def test_names_that_are_said_to_be_absent_are() -> None:
    present = [f"{owner}.{name}" for owner, name in NAMES if hasattr(owner_of(owner), name)]
    assert present == [], "they exist now: take them out of absent_names.py"


def test_no_name_is_said_to_be_absent_twice() -> None:
    assert len(NAMES) == len(set(NAMES))


@pytest.mark.parametrize("owner", [owner for owner in ABSENT if owner not in CLASSES])
def test_asking_for_an_absent_name_says_so_and_why(owner: str) -> None:
    reason, names = next(iter(ABSENT[owner].items()))
    with pytest.raises(AttributeError) as caught:
        getattr(owner_of(owner), names.split()[0])
    assert str(caught.value) == f"chainrule has no {owner}.{names.split()[0]}: {reason}; see docs/reference/pytorch.md"


def test_the_document_lists_exactly_the_absent_names() -> None:
    text = (ROOT / "docs" / "reference" / "pytorch.md").read_text(encoding="utf-8")
    assert listing().strip() in text, "run `python -m chainrule.absent_names` and put what it prints into the document"


COMPLETE = ("func", "special", "fft", "nn.init", "optim.lr_scheduler", "random")  # nothing of these is absent
PYTORCHS = list(dict.fromkeys((*ABSENT, *(f"torch.{name}" for name in COMPLETE))))


@pytest.mark.parametrize("owner", PYTORCHS)
def test_every_name_of_pytorch_exists_or_is_said_to_be_absent(owner: str) -> None:
    torch = pytest.importorskip("torch")
    module = eval(owner, {"torch": torch}) if owner in CLASSES else importlib.import_module(owner)
    here: Any = cr.tensor([[1.0 + 1j]]) if owner == "torch.Tensor" else owner_of(owner)
    packages = ("torch", "torch.nn", "torch.utils")  # most others' modules are the files that they are made of
    files = {found.name for found in pkgutil.iter_modules(module.__path__)} if owner in packages else set()

    def counts(name: str) -> bool:
        value = getattr(module, name, None)
        if name.startswith("_") or name.isupper() or name in ("torch", "inf") or name in sys.stdlib_module_names:
            return False
        if isinstance(value, types.ModuleType) or name in files:  # which of them are loaded depends on what ran before
            return name in files
        own = str(getattr(value, "__module__", "torch")).startswith(("torch", "_VariableFunctions", "builtins"))
        inherited = module is not torch and getattr(torch, name, None) is value
        text = name.endswith(("_notes", "_args", "_common"))  # pieces of PyTorch's documentation
        return own and not inherited and not text and not isinstance(value, typing.TypeVar)

    def exists(name: str) -> bool:
        try:
            getattr(here, name)
        except AttributeError:
            return False
        except RuntimeError:  # a property that does not fit this tensor
            return True
        return True

    known = {name for reasons in ABSENT.get(owner, {}).values() for name in reasons.split()}
    missing = [
        name for name in sorted({*dir(module), *files}) if counts(name) and name not in known and not exists(name)
    ]
    assert missing == [], "write them, or put them into absent_names.py with the reason"


def test_what_exists_by_name_only_says_what_to_do_instead() -> None:
    for use in (
        lambda: cr.distributed.init_process_group("gloo"),
        lambda: cr.nn.parallel.DistributedDataParallel(cr.nn.Linear(1, 1)),
        lambda: cr.hub.load("owner/repository", "model"),
        lambda: cr.utils.model_zoo.load_url("https://example.com/weights.pt"),
        lambda: cr.onnx.export(None, None, "x"),
        lambda: cr.jit.save(None, "x"),
        lambda: cr.profiler.profile(),
        lambda: cr.cuda.get_device_name(),
    ):
        with pytest.raises(Unsupported, match=r"chainrule has no torch\..*: .*; see docs/reference/pytorch.md"):
            use()


# ----- element types ----------------------------------------------------------------------------------------------


def test_element_types_have_pytorchs_other_names() -> None:
    pairs = {"float": "float32", "double": "float64", "half": "float16", "int": "int32", "long": "int64"}
    pairs |= {"short": "int16", "cfloat": "complex64", "cdouble": "complex128"}
    assert all(getattr(cr, other) is getattr(cr, name) for other, name in pairs.items())
    assert cr.zeros(2, dtype=cr.bool).array.dtype == bool


def test_bfloat16_can_be_named_and_compared_but_not_used() -> None:
    assert isinstance(cr.bfloat16, cr.dtype) and cr.bfloat16.is_floating_point and cr.bfloat16 != cr.float16
    assert {"bfloat16": cr.bfloat16}["bfloat16"] is pickle.loads(pickle.dumps(cr.bfloat16))
    for use in (
        lambda: cr.zeros(2, dtype=cr.bfloat16),
        lambda: cr.zeros(2).to(cr.bfloat16),
        lambda: cr.zeros(2).bfloat16(),
        lambda: np.zeros(2, dtype=cr.bfloat16),
    ):
        with pytest.raises(TypeError, match="bfloat16"):
            use()


@pytest.mark.parametrize("name", ["float16", "float32", "float64", "complex64", "int8", "uint8", "int64"])
def test_limits_are_numpys(name: str) -> None:
    kind = getattr(cr, name)
    if kind.is_floating_point or kind.is_complex:
        mine, theirs = cr.finfo(kind), np.finfo(name)
        assert (mine.eps, mine.max, mine.min, mine.tiny) == (theirs.eps, theirs.max, theirs.min, theirs.tiny)
        assert mine.bits == theirs.bits
        with pytest.raises(TypeError, match="iinfo"):
            cr.iinfo(kind)
    else:
        assert (cr.iinfo(kind).max, cr.iinfo(kind).min) == (np.iinfo(name).max, np.iinfo(name).min)
        with pytest.raises(TypeError, match="finfo"):
            cr.finfo(kind)


def test_typed_tensor_classes_construct_and_recognise() -> None:
    assert cr.LongTensor([1, 2]).dtype == cr.int64 and cr.FloatTensor(2, 3).shape == (2, 3)
    x = cr.zeros(2, dtype=cr.float64)
    assert isinstance(x, cr.DoubleTensor) and not isinstance(x, cr.FloatTensor)
    assert x.type() == "torch.DoubleTensor" and x.type("torch.FloatTensor").dtype == cr.float32
    assert x.type(cr.LongTensor).dtype == cr.int64
    with pytest.raises(TypeError, match="is not available"):
        cr.cuda.FloatTensor(2)
    with pytest.raises(TypeError, match="is not available"):
        x.type("torch.cuda.FloatTensor")


def test_sizes_given_to_the_class_make_a_tensor_of_that_shape() -> None:
    assert cr.Tensor(2, 3).shape == (2, 3) and cr.Tensor(4, 3, 2, 1).shape == (4, 3, 2, 1)
    assert cr.Tensor(5).shape == (5,) and cr.Tensor(cr.ones(2, 3).size()).shape == (2, 3)
    assert cr.Tensor([1, 2]).dtype == cr.float32 and cr.Tensor(1.5).item() == 1.5 and cr.Tensor().shape == (0,)


def test_a_shape_counts_its_elements() -> None:
    shape = cr.ones(2, 3, 4).shape
    assert isinstance(shape, cr.Size) and shape == (2, 3, 4) and shape.numel() == 24 and shape[1:].numel() == 12
    assert cr.ones(2).size().numel() == 2


# ----- devices ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda d: cr.zeros(2, device=d),
        lambda d: cr.tensor([1.0], device=d),
        lambda d: cr.randn(2, device=d),
        lambda d: cr.arange(3, device=d),
        lambda d: cr.zeros(2).new_ones(2, device=d),
        lambda d: cr.zeros_like(cr.zeros(2), device=d),
        lambda d: cr.zeros(2).to(d),
        lambda d: cr.set_default_device(d),
    ],
)
def test_a_device_that_is_not_there_is_refused_everywhere(make: Any) -> None:
    make("cpu"), make(cr.device("cpu"))
    for place in ("cuda", cr.device("cuda:0"), "meta"):
        with pytest.raises(RuntimeError, match=r"cuda|meta"):
            make(place)


def test_other_devices_say_that_they_are_not_there() -> None:
    assert not cr.cuda.is_available() and cr.cuda.device_count() == 0 and not cr.backends.mps.is_available()
    assert not cr.xpu.is_available() and cr.accelerator.current_accelerator() is None
    cr.cuda.manual_seed_all(0), cr.cuda.empty_cache(), cr.cuda.synchronize()
    with pytest.raises(RuntimeError, match="cuda"):
        cr.zeros(2).cuda()


def test_switches_of_backends_keep_what_they_are_given_and_know_their_names() -> None:
    cr.backends.cudnn.benchmark = True
    cr.backends.cuda.matmul.allow_tf32 = True
    assert cr.backends.cudnn.benchmark and cr.backends.cuda.matmul.allow_tf32
    with pytest.raises(AttributeError, match="cudnn.no_such_switch"):
        cr.backends.cudnn.no_such_switch = True


def test_mixed_precision_changes_nothing_on_a_cpu() -> None:
    model, scaler = cr.nn.Linear(2, 1), cr.amp.GradScaler()
    before = model.weight.detach().clone()
    optimizer = cr.optim.SGD(model.parameters(), lr=0.5)
    with cr.autocast("cpu", dtype=cr.bfloat16):
        loss = model(cr.ones(3, 2)).sum()
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    scaler.update()
    assert loss.dtype == cr.float32 and np.allclose((before - model.weight.detach()).numpy(), [[1.5, 1.5]])


def test_data_parallel_is_its_module() -> None:
    net = cr.nn.DataParallel(cr.nn.Linear(2, 1), device_ids=[0])
    x = cr.ones(3, 2)
    assert np.array_equal(net(x).detach().numpy(), net.module(x).detach().numpy())
    assert [name for name, _ in net.named_parameters()] == ["module.weight", "module.bias"]


# ----- memory -----------------------------------------------------------------------------------------------------


def test_tensors_tell_where_their_numbers_are() -> None:
    x = cr.arange(6.0).reshape(2, 3)
    row = x[1]
    assert row.data_ptr() == x.data_ptr() + 12 and row.storage_offset() == 3
    assert row.untyped_storage().data_ptr() == x.untyped_storage().data_ptr()
    assert x.untyped_storage().nbytes() == x.nbytes == 24 and x.storage().size() == 6
    assert x.t().dim_order() == (1, 0) and x.is_set_to(x.detach()) and x.get_device() == -1
    assert x.is_cpu and not (x.is_cuda or x.is_sparse or x.is_quantized or x.is_meta)
    assert x.layout is cr.strided and x.is_contiguous(memory_format=cr.contiguous_format)


def test_resizing_keeps_the_elements_in_order() -> None:
    x = cr.arange(6.0).reshape(2, 3)
    assert x.resize_(2, 2).tolist() == [[0, 1], [2, 3]]
    with pytest.raises(RuntimeError, match="require grad"):
        cr.ones(2, requires_grad=True).resize_(3)


def test_a_forked_process_writes_into_shared_memory() -> None:
    import multiprocessing

    if "fork" not in multiprocessing.get_all_start_methods():
        pytest.skip("no fork on this system")
    x, y = cr.zeros(3).share_memory_(), cr.zeros(3)
    assert x.is_shared() and not y.is_shared()

    def write() -> None:
        x.add_(1), y.add_(1)

    process = multiprocessing.get_context("fork").Process(target=write)
    process.start()
    process.join()
    assert x.tolist() == [1, 1, 1] and y.tolist() == [0, 0, 0]


def test_a_modules_parameters_can_be_shared() -> None:
    model = cr.nn.BatchNorm1d(2).share_memory()
    assert model.weight.is_shared() and model.running_mean.is_shared()
    with pytest.raises(TypeError, match="bfloat16"):
        model.bfloat16()


def test_elements_can_go_through_a_python_function() -> None:
    x = cr.tensor([1.0, 2.0])
    assert x.apply_(lambda v: v * 10) is x and x.tolist() == [10, 20]
    assert x.map_(cr.tensor([1.0, 2.0]), lambda a, b: a + b).tolist() == [11, 22]


# ----- out= -------------------------------------------------------------------------------------------------------


def test_a_result_is_written_into_out() -> None:
    a, out = cr.arange(3.0), cr.zeros(3)
    array = out.array
    assert cr.add(a, 1, out=out) is out and out.array is array and out.tolist() == [1, 2, 3]
    values, places = cr.zeros(()), cr.zeros((), dtype=cr.int64)
    cr.max(a, 0, out=(values, places))
    assert (values.item(), places.item()) == (2, 2)
    assert cr.arange(4, out=cr.empty(0, dtype=cr.int64)).tolist() == [0, 1, 2, 3]
    assert cr.rand(2, out=cr.zeros(2)).shape == (2,)


def test_out_of_another_shape_is_resized_with_a_warning() -> None:
    with pytest.warns(UserWarning, match="was resized"):
        assert cr.mm(cr.ones(2, 3), cr.ones(3, 4), out=cr.zeros(5)).shape == (2, 4)


def test_out_refuses_what_would_be_lost() -> None:
    x = cr.ones(2, requires_grad=True)
    with pytest.raises(RuntimeError, match="automatic differentiation"):
        cr.exp(x, out=cr.zeros(2))
    with pytest.raises(RuntimeError, match="can't be cast"):
        cr.exp(cr.ones(2), out=cr.zeros(2, dtype=cr.int64))
    with cr.no_grad():
        cr.exp(x, out=cr.zeros(2))


def test_functions_of_the_rooms_write_into_out() -> None:
    a = cr.tensor([[2.0, 1.0], [1.0, 3.0]])
    out = cr.zeros(2, 2)
    assert cr.linalg.inv(a, out=out) is out and np.allclose(out.numpy(), np.linalg.inv(a.numpy()))
    values, vectors = cr.zeros(2), cr.zeros(2, 2)
    cr.linalg.eigh(a, out=(values, vectors))
    np.testing.assert_allclose((vectors @ cr.diag(values) @ vectors.T).numpy(), a.numpy(), rtol=1e-5)
    assert cr.fft.rfft(cr.ones(4), out=cr.zeros(3, dtype=cr.complex64)).tolist() == [4, 0, 0]
    assert cr.special.expit(cr.zeros(2), out=cr.ones(2)).tolist() == [0.5, 0.5]
    with pytest.raises(RuntimeError, match="automatic differentiation"):
        cr.linalg.det(a.requires_grad_(), out=cr.zeros(()))


@pytest.mark.parametrize("room", ["linalg", "fft", "special"])
def test_every_function_of_a_room_that_takes_out_in_pytorch_takes_it(room: str) -> None:
    pytest.importorskip("torch")
    theirs, ours = importlib.import_module(f"torch.{room}"), getattr(cr, room)
    for name in ours.__all__:
        function = getattr(theirs, name, None)
        if callable(function) and "out=None" in (function.__doc__ or "")[:400]:
            with pytest.raises(Exception) as caught:
                getattr(ours, name)(out=None)
            assert "out" not in str(caught.value), name


# ----- settings ---------------------------------------------------------------------------------------------------


def test_the_number_of_threads_can_be_set_and_read() -> None:
    before = cr.get_num_threads()
    try:
        cr.set_num_threads(1)
        assert cr.get_num_threads() == 1
    finally:
        cr.set_num_threads(before)
    with pytest.raises(RuntimeError, match="positive"):
        cr.set_num_threads(0)


def test_print_options_are_numpys() -> None:
    with np.printoptions():
        cr.set_printoptions(precision=2, sci_mode=False)
        assert repr(cr.tensor([math.pi])) == "Tensor(array([3.14], dtype=float32), requires_grad=False)"
        cr.set_printoptions(profile="short", sci_mode=True)
        assert "3.14e+00" in repr(cr.tensor([math.pi]))
        with pytest.raises(ValueError, match="profile"):
            cr.set_printoptions(profile="long")


def test_choices_can_be_read_back() -> None:
    cr.use_deterministic_algorithms(True, warn_only=True)
    assert cr.are_deterministic_algorithms_enabled() and cr.get_deterministic_debug_mode() == 1
    cr.use_deterministic_algorithms(False)
    cr.set_float32_matmul_precision("high")
    assert cr.get_float32_matmul_precision() == "high"
    cr.set_float32_matmul_precision("highest")
    with pytest.raises(RuntimeError, match="precision"):
        cr.set_float32_matmul_precision("low")
    assert cr.is_tensor(cr.ones(1)) and not cr.is_tensor(np.ones(1)) and cr.typename(3) == "int"


# ----- random and creation ----------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_numbers_and_a_fork_returns() -> None:
    cr.manual_seed(3)
    a = cr.rand(2)
    with cr.random.fork_rng():
        cr.manual_seed(5)
    b = cr.rand(2)
    cr.manual_seed(3)
    assert a.tolist() == cr.rand(2).tolist() and b.tolist() == cr.rand(2).tolist()


def test_binomial_numbers_have_their_mean() -> None:
    cr.manual_seed(0)
    draws = cr.binomial(cr.full((4000,), 10.0), cr.tensor(0.3))
    assert abs(draws.mean().item() - 3) < 0.1 and draws.dtype == cr.float32


def test_creation_takes_pytorchs_further_keywords() -> None:
    assert cr.zeros(size=(2, 3), layout=cr.strided, pin_memory=False).shape == (2, 3)
    assert cr.ones_like(cr.zeros(2), memory_format=cr.preserve_format).tolist() == [1, 1]
    assert cr.empty_strided((2, 3), (1, 2)).stride() == (1, 2)
    assert cr.empty_permuted((2, 3, 4), (0, 2, 1)).dim_order() == (0, 2, 1)
    assert cr.frombuffer(b"\x01\x02", dtype=cr.uint8).tolist() == [1, 2]
    array = np.ones(2)
    assert cr.asarray(array).array is array and cr.asarray(array, copy=True).array is not array
    with pytest.warns(UserWarning, match="deprecated"):
        assert cr.range(1, 3).tolist() == [1, 2, 3]


# ----- windows, spectra, differences ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["hann", "hamming", "blackman", "bartlett"])
@pytest.mark.parametrize("length", [1, 2, 7, 8])
def test_windows_are_scipys(name: str, length: int) -> None:
    from scipy.signal import get_window

    window = getattr(cr, f"{name}_window")
    for periodic in (True, False):
        expected = get_window(name, length, fftbins=periodic)
        np.testing.assert_allclose(window(length, periodic, dtype=cr.float64).numpy(), expected, atol=1e-12)


def test_the_kaiser_window_is_scipys() -> None:
    from scipy.signal.windows import kaiser

    np.testing.assert_allclose(
        cr.kaiser_window(9, False, 8.0, dtype=cr.float64).numpy(), kaiser(9, 8.0), rtol=1e-6, atol=1e-12
    )


def test_windowed_spectra_are_numpys_of_each_window() -> None:
    x = np.random.default_rng(0).standard_normal(50)
    window = np.hanning(16)
    mine = cr.stft(cr.from_numpy(x), 16, 5, window=cr.from_numpy(window), center=False, return_complex=True)
    for i in range(mine.shape[1]):
        np.testing.assert_allclose(mine[:, i].numpy(), np.fft.rfft(x[5 * i : 5 * i + 16] * window), atol=1e-12)
    with pytest.raises(RuntimeError, match="return_complex"):
        cr.stft(cr.ones(20), 8)
    with pytest.raises(RuntimeError, match="1D window"):
        cr.stft(cr.ones(20), 8, window=cr.ones(5), return_complex=True)


@pytest.mark.parametrize("options", [{}, {"normalized": True}, {"onesided": False}, {"hop_length": 3}])
def test_the_inverse_brings_the_signal_back(options: dict[str, Any]) -> None:
    x = cr.from_numpy(np.random.default_rng(1).standard_normal((2, 40)))
    window = cr.hann_window(12, dtype=cr.float64) + 0.1
    spectrum = cr.stft(x, 12, window=window, return_complex=True, **options)
    back = cr.istft(spectrum, 12, window=window, length=40, **options)
    np.testing.assert_allclose(back.numpy(), x.numpy(), atol=1e-12)


def test_gradients_go_through_the_spectra() -> None:
    x = cr.from_numpy(np.random.default_rng(2).standard_normal(24)).requires_grad_()
    window = cr.hann_window(8, dtype=cr.float64).requires_grad_()

    def round_trip(x: Any, window: Any) -> Any:
        spectrum = cr.stft(x, 8, window=window, return_complex=True)
        return cr.istft(spectrum * spectrum.abs(), 8, window=window)

    assert cr.autograd.gradcheck(round_trip, (x, window))


@pytest.mark.parametrize("edge_order", [1, 2])
def test_the_gradient_of_samples_is_numpys(edge_order: int) -> None:
    x = np.random.default_rng(0).standard_normal((5, 6))
    points = np.sort(np.random.default_rng(1).standard_normal(5))
    mine = cr.gradient(cr.from_numpy(x), spacing=[cr.from_numpy(points), 0.5], edge_order=edge_order, dim=(0, 1))
    for got, expected in zip(mine, np.gradient(x, points, 0.5, edge_order=edge_order), strict=True):
        np.testing.assert_allclose(got.numpy(), expected, atol=1e-10)
    with pytest.raises(RuntimeError, match="at least edge_order"):
        cr.gradient(cr.ones(edge_order), edge_order=edge_order)


def test_summing_to_a_size_undoes_broadcasting() -> None:
    x = cr.ones(2, 3, 4)
    assert x.sum_to_size(3, 1).tolist() == [[8]] * 3 and x.sum_to_size((2, 3, 4)).shape == (2, 3, 4)
    with pytest.raises(RuntimeError, match="not expandable"):
        x.sum_to_size(5)


def test_the_largest_components_are_those_of_the_whole_decomposition() -> None:
    x = cr.randn(8, 5, dtype=cr.float64)
    u, s, v = cr.svd_lowrank(x, 5)
    np.testing.assert_allclose((u @ cr.diag(s) @ v.T).numpy(), x.numpy(), atol=1e-10)
    assert cr.pca_lowrank(x, 2)[2].shape == (5, 2)


# ----- masked -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sum", "prod", "mean", "var", "std", "amax", "amin"])
def test_masked_reductions_are_those_of_the_elements_that_count(name: str) -> None:
    rng = np.random.default_rng(0)
    x, mask = rng.standard_normal((4, 5)), rng.random((4, 5)) > 0.4
    mask[:, 0] = mask[:, 1] = True
    theirs = {"amax": np.max, "amin": np.min}.get(name) or getattr(np, name)
    options = {"ddof": 1} if name in ("var", "std") else {}
    expected = [theirs(row[chosen], **options) for row, chosen in zip(x, mask, strict=True)]
    got = getattr(cr.masked, name)(cr.from_numpy(x), 1, mask=cr.from_numpy(mask))
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-12)


def test_masked_softmax_leaves_the_others_out() -> None:
    x, mask = cr.tensor([1.0, 2.0, 3.0]), cr.tensor([True, False, True])
    got = cr.masked.softmax(x, 0, mask=mask).numpy()
    np.testing.assert_allclose(got[[0, 2]], np.exp([1, 3]) / np.exp([1, 3]).sum(), rtol=1e-6)
    assert got[1] == 0
    with pytest.raises(IndexError, match="broadcastable"):
        cr.masked.sum(x, mask=cr.ones(2, 3, dtype=cr.bool))
    with pytest.raises(ValueError, match="dtype"):
        cr.masked.mean(cr.tensor([1, 2]))


def test_a_tensor_that_was_written_to_can_still_change_its_shape_in_place() -> None:
    x = cr.ones(2, 3)
    x.mul_(2).t_()
    assert x.shape == (3, 2) and x.unsqueeze_(0).shape == (1, 3, 2)
    y = cr.ones(2, 3)
    row = y[0]
    with pytest.raises(RuntimeError, match="share"):
        y.t_()
    assert row.shape == (3,)


# ----- modules for other machines ---------------------------------------------------------------------------------


def test_functions_for_the_script_compiler_stay_python() -> None:
    def double(x: Any) -> Any:
        return x * 2

    model = cr.nn.Linear(2, 1)
    assert cr.jit.script(double) is double and cr.jit.trace(model, cr.ones(1, 2)) is model
    assert cr.jit.ignore(double) is double and cr.jit.ignore(drop=True)(double) is double
    assert not cr.jit.is_scripting() and not issubclass(cr.nn.Linear, cr.jit.ScriptModule)


def test_events_measure_the_time_between_them() -> None:
    import time

    start, end = cr.cuda.Event(enable_timing=True), cr.cuda.Event(enable_timing=True)
    with pytest.raises(RuntimeError, match="recorded"):
        start.elapsed_time(end)
    start.record()
    time.sleep(0.01)
    end.record()
    assert start.elapsed_time(end) >= 10


def test_regions_have_names_and_nothing_else() -> None:
    with cr.profiler.record_function("region"):
        pass

    @cr.profiler.record_function("function")
    def named() -> int:
        return 3

    assert named() == 3


def test_one_process_says_that_it_is_alone() -> None:
    assert not cr.distributed.is_available() and not cr.distributed.is_initialized()
    assert cr.distributed.ReduceOp.SUM is cr.distributed.ReduceOp.SUM


def fail_in_the_second(i: int) -> None:
    if i == 1:
        raise SystemExit(5)


def test_a_process_that_fails_ends_the_others_and_raises() -> None:
    with pytest.raises(RuntimeError, match="process 1 ended with exit code 5"):
        cr.multiprocessing.spawn(fail_in_the_second, nprocs=2, start_method="spawn")
    with pytest.raises(ValueError, match="sharing strategy"):
        cr.multiprocessing.set_sharing_strategy("telepathy")


def test_layers_are_found_under_pytorchs_file_names() -> None:
    modules = cr.nn.modules
    assert modules.conv.Conv2d is cr.nn.Conv2d and isinstance(cr.nn.Conv2d(1, 1, 1), modules.conv._ConvNd)
    assert isinstance(cr.nn.BatchNorm1d(2), modules.batchnorm._BatchNorm)
    assert modules.utils._pair(3) == (3, 3) and modules.utils._triple([1, 2, 3]) == (1, 2, 3)


def test_functions_of_the_top_level_have_their_own_order_of_arguments() -> None:
    weight, places = cr.randn(5, 3), cr.tensor([1, 4])
    assert cr.equal(cr.embedding(weight, places), weight[places])
    x, target = cr.randn(4).sigmoid(), cr.rand(4)
    assert cr.equal(cr.kl_div(x, target, 2), cr.nn.functional.kl_div(x, target, reduction="sum"))
    assert cr.equal(cr.dropout(x, 0.5, False), x)
    assert cr.conv1d(cr.ones(1, 1, 3), cr.ones(1, 1, 2)).tolist() == [[[2, 2]]]


# ----- closeness --------------------------------------------------------------------------------------------------


def test_closeness_is_told_by_shape_type_and_values() -> None:
    close = cr.testing.assert_close
    close({"a": [cr.ones(2), 1.0]}, {"a": [cr.ones(2) + 1e-7, 1.0]})
    close(cr.ones(2), cr.ones(2, dtype=cr.float64), check_dtype=False)
    for a, b, message in (
        (cr.ones(2), cr.ones(3), "shape"),
        (cr.ones(2), cr.ones(2, dtype=cr.float64), "dtype"),
        (cr.ones(2), cr.tensor([1.0, 1.1]), "Mismatched elements: 1 / 2"),
        ([1], [1, 2], "length"),
        ({"a": 1}, {"b": 1}, "keys"),
        (cr.tensor(math.nan), cr.tensor(math.nan), "not close"),
    ):
        with pytest.raises(AssertionError, match=message):
            close(a, b)
    close(cr.tensor(math.nan), cr.tensor(math.nan), equal_nan=True)
    with pytest.raises(ValueError, match="both"):
        close(1.0, 1.0, rtol=0.1)
    with pytest.raises(AssertionError, match="mine"):
        close(1.0, 2.0, msg="mine")
