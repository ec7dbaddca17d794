"""save and load: PyTorch's files here, files from here in PyTorch, and files that are damaged or hostile."""

from __future__ import annotations

import argparse
import copy
import io
import os
import pickle
import pickletools
import random
import re
import signal
import subprocess
import sys
import time
import warnings
import zipfile
from collections import Counter, OrderedDict, defaultdict
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import chainrule as cr
from chainrule import nn
from chainrule.serialization import archive as archive_module
from chainrule.serialization.archive import ArchiveReader, ArchiveWriter
from chainrule.serialization.unpickler import OPERATIONS

DATA = Path(__file__).parent / "data"
DTYPES = (
    """float64 float32 float16 int64 int32 int16 int8 uint8 uint16 uint32 uint64 bool complex64 complex128""".split()
)


def saved(obj: Any) -> bytes:
    file = io.BytesIO()
    cr.save(obj, file)
    return file.getvalue()


def round_trip(obj: Any) -> Any:
    return cr.load(io.BytesIO(saved(obj)))


def file_with(data: bytes, **records: bytes) -> io.BytesIO:
    """A valid archive around a pickle; `storage_0=...` adds the record data/0."""
    file = io.BytesIO()
    archive = ArchiveWriter(file, "archive")
    archive.write("data.pkl", data)
    archive.write("byteorder", records.pop("byteorder", b"little"))
    for name, content in records.items():
        archive.write(name.replace("storage_", "data/"), content)
    archive.finish()
    file.seek(0)
    return file


def net() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(3, 1))


# ----- files that PyTorch wrote, where it is not installed --------------------------------------------------------


def test_a_file_of_pytorch_loads_with_all_it_holds() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = cr.load(DATA / "everything.pt")
    grid = np.arange(12, dtype=np.float32).reshape(3, 4)
    for name in DTYPES:
        tensor = got["types"][name]
        assert tensor.dtype == getattr(cr, name)
        assert tensor.tolist() == [0, 1, 1]
    assert got["scalar"].shape == () and got["scalar"].item() == 2.5
    assert got["empty"].shape == (0, 3)
    np.testing.assert_array_equal(got["grid"].array, grid)
    np.testing.assert_array_equal(got["transposed"].array, grid.T)
    np.testing.assert_array_equal(got["part"].array, grid[1:, ::2])
    assert got["expanded"].tolist() == [[7.0] * 3, [8.0] * 3]
    assert got["conjugated"].tolist() == [1 - 2j]
    assert type(got["weight"]) is nn.Parameter and got["weight"].requires_grad
    assert got["weight"].tolist() == [[1.0, -2.0], [0.5, 4.0]]
    assert got["tied"] is got["weight"]
    assert type(got["leaf"]) is cr.Tensor and got["leaf"].requires_grad and got["leaf"].is_leaf
    assert type(got["buffer"]) is nn.Buffer and got["buffer"].persistent
    assert got["size"] == (3, 4) and type(got["size"]) is cr.Size
    assert got["dtype"] is cr.float16
    assert got["device"] == cr.device("cpu")
    assert got["numbers"] == [0, 1, -1, 255, 65536, 2**31, -(2**40), 2**100, 1.5, float("inf"), True, None, 1j]
    assert got["text"] == {"ascii": "a", "other": "é中"}
    assert got["bytes"] == [b"", b"\x00\xff", bytearray(b"ab")]
    assert got["nested"] == ({"a": [(), (1,), (1, 2, 3, 4)]}, [[]])
    assert got["members"] == {1, 2} and got["counts"] == Counter("aab")
    np.testing.assert_array_equal(got["array"], np.arange(6).reshape(2, 3))
    assert got["array"].dtype == np.int16
    assert got["number"] == 0.5 and type(got["number"]) is np.float32


def test_views_that_share_a_storage_in_the_file_share_memory_here() -> None:
    got = cr.load(DATA / "everything.pt")
    got["grid"][1, 0] = 100.0
    assert got["transposed"][0, 1].item() == 100.0
    assert got["part"][0, 0].item() == 100.0


def test_a_write_through_one_shared_tensor_is_noticed_by_a_graph_that_saved_the_other() -> None:
    got = cr.load(DATA / "everything.pt")
    x = cr.ones(3, 4, requires_grad=True)
    y = x * got["grid"]
    got["transposed"].mul_(2)
    with pytest.raises(RuntimeError, match="mul_"):
        y.sum().backward()


def test_an_expanded_tensor_stays_one_that_cannot_be_written_to() -> None:
    with pytest.raises(RuntimeError, match="single memory location"):
        cr.load(DATA / "everything.pt")["expanded"].add_(1)


def test_training_goes_on_from_a_checkpoint_of_pytorch() -> None:
    got = cr.load(DATA / "training.pt")
    model = net()
    optimizer = cr.optim.Adam(model.parameters(), lr=0.01)
    scheduler = cr.optim.lr_scheduler.MultiStepLR(optimizer, [1, 3])
    assert str(model.load_state_dict(got["net"])) == "<All keys matched successfully>"
    optimizer.load_state_dict(got["optimizer"])
    scheduler.load_state_dict(got["scheduler"])
    losses = []
    for _ in range(3):
        loss = ((model(got["x"]) - 1) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
    # printed by make_torch_files.py
    np.testing.assert_allclose(losses, [1.553267002105713, 1.5528782606124878, 1.552488923072815], rtol=1e-6)


def test_metadata_of_a_state_dict_is_kept() -> None:
    metadata = OrderedDict([("", {"version": 1}), ("0", {"version": 1}), ("1", {"version": 2}), ("2", {"version": 1}),
                            ("3", {"version": 1})])  # fmt: skip
    assert cr.load(DATA / "training.pt")["net"]._metadata == metadata
    assert net().state_dict()._metadata == metadata
    assert round_trip(net().state_dict())._metadata == metadata


def test_bfloat16_becomes_float32_with_a_warning() -> None:
    with pytest.warns(UserWarning, match=r"bfloat16\.pt has tensors of bfloat16.*float32") as caught:
        got = cr.load(DATA / "bfloat16.pt")
    assert got["half"].dtype == cr.float32 and got["half"].tolist() == [1.5, -2.0]
    assert got["dtype"] is cr.bfloat16
    assert caught[0].filename == __file__


def test_files_from_before_pytorch_1_6_are_refused_with_the_way_to_convert_them() -> None:
    with pytest.raises(RuntimeError, match=r"before 1\.6.*torch\.save\(torch\.load\(path\), path\)"):
        cr.load(DATA / "legacy.pt")


def test_a_whole_module_is_refused_by_name() -> None:
    with pytest.raises(UnpicklingError, match=r"torch\.nn\.modules\.linear\.Linear.*state_dict"):
        cr.load(DATA / "module.pt")


def test_a_file_of_the_other_byte_order_is_turned_around() -> None:
    state = {
        "a": cr.tensor([1.0, 2.5]),
        "b": cr.tensor([1, 256]),
        "c": cr.tensor([1 + 2j]),
        "u": cr.tensor([1, 2]).to(cr.uint16),
    }
    archive = ArchiveReader(io.BytesIO(saved(state)), "x")
    swapped = {f"storage_{i}": tensor.array.byteswap().tobytes() for i, tensor in enumerate(state.values())}
    other = b"big" if sys.byteorder == "little" else b"little"
    got = cr.load(file_with(archive.read("data.pkl"), byteorder=other, **swapped))
    for name, tensor in state.items():
        assert got[name].tolist() == tensor.tolist()
        assert got[name].array.dtype.isnative


# ----- round trips ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DTYPES)
def test_every_type_comes_back(name: str) -> None:
    tensor = cr.tensor([[0, 1], [1, 1]]).to(getattr(cr, name))
    got = round_trip(tensor)
    assert got.dtype == tensor.dtype and got.tolist() == tensor.tolist() and not got.requires_grad


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((0, 3), np.float32),
        np.array(3.0, np.float32),
        np.arange(24.0, dtype=np.float32).reshape(2, 3, 4).transpose(2, 0, 1),
        np.arange(10.0, dtype=np.float32)[::-1],
        np.arange(10.0, dtype=np.float32)[1::3],
        np.arange(10.0, dtype=np.float32).astype(">f4"),
        np.broadcast_to(np.float32(2), (3, 2)),
        np.zeros((3, 0, 2), np.int8)[:, :, ::-1],
        np.zeros(1, dtype=[("a", "i1"), ("b", "<f4")])["b"],
        np.ones((1, 4), np.float32)[::-1],
    ],
    ids=lambda a: f"{a.dtype}{a.shape}{a.strides}",
)
def test_every_layout_comes_back(array: Any) -> None:
    tensor = (
        cr.from_numpy(array)
        if array.flags.writeable and array.dtype.isnative
        else cr.core.tensor.make_tensor(array, None)
    )
    got = round_trip([tensor])[0]
    np.testing.assert_array_equal(got.array, array)
    assert got.array.dtype.isnative and got.shape == array.shape


def test_tensors_that_share_memory_share_it_after_loading() -> None:
    base = cr.arange(12.0).reshape(3, 4)
    tied = nn.Parameter(cr.ones(2))
    got = round_trip({"rows": base[1:], "columns": base[:, 2], "tied": [tied, tied], "same": tied.detach()})
    got["rows"][0, 2] = -1.0
    assert got["columns"].tolist() == [2.0, -1.0, 10.0]
    assert got["tied"][0] is got["tied"][1]
    assert np.shares_memory(got["tied"][0].array, got["same"].array)


def test_a_small_view_of_a_large_tensor_makes_a_small_file() -> None:
    assert len(saved(cr.zeros(1000, 1000)[3:5])) < 10_000
    halves = cr.zeros(10).split(5)
    assert not np.shares_memory(*(half.array for half in round_trip(halves)))


def test_views_of_one_memory_as_two_types_are_refused() -> None:
    x = cr.ones(2, dtype=cr.complex64)
    with pytest.raises(RuntimeError, match="as different types: complex64 and float32"):
        cr.save([x, x.real], io.BytesIO())


def test_a_tied_model_is_tied_after_loading() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    state = round_trip(model.state_dict())
    assert np.shares_memory(state["0.weight"].array, state["1.weight"].array)


def test_a_computed_tensor_is_saved_with_its_value_and_loads_as_a_leaf() -> None:
    got = round_trip(cr.ones(2, requires_grad=True) * 3)
    assert got.tolist() == [3.0, 3.0] and got.requires_grad and got.is_leaf


def test_parameters_keep_their_attributes_and_whether_they_are_trained() -> None:
    parameter = nn.Parameter(cr.ones(2), requires_grad=False)
    parameter.tag = "frozen"
    got = round_trip(parameter)
    assert type(got) is nn.Parameter and not got.requires_grad and got.tag == "frozen"


def test_containers_and_values_come_back_with_their_types() -> None:
    obj = {
        "ordered": OrderedDict(b=1, a=2), "counter": Counter("aab"), "default": defaultdict(list, {1: [2]}),
        "set": {1, "a"}, "frozen": frozenset((1, 2)), "range": range(1, 9, 2), "slice": slice(1, None),
        "bytes": [b"", b"\xff\x00"], "bytearray": bytearray(b"x"), "complex": 1 + 2j, "nan": float("inf"),
        "int": [2**k for k in (0, 8, 16, 31, 32, 63, 64, 2040, 5000)], "neg": [-1, -128, -(2**70)],
        "text": ["", "é\n", "\ud800"],
        "args": argparse.Namespace(lr=0.1, name="x"), "none": None, "bool": [True, False], "long": list(range(3000)),
        (1, "key"): "tuple key", "size": cr.Size((2, 3)), "dtypes": [cr.float32, cr.bool, cr.bfloat16],
        "device": cr.device("cuda", 1),
    }  # fmt: skip
    got = round_trip(obj)
    assert got == obj
    assert [type(value) for value in got.values()] == [type(value) for value in obj.values()]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text() | st.integers(), inner),
)


@settings(deadline=None, suppress_health_check=list(HealthCheck))
@given(VALUES)
def test_any_nest_of_values_comes_back(values: Any) -> None:
    assert round_trip(values) == values


LAYOUTS = st.tuples(st.integers(0, 3), st.permutations(range(3)), st.integers(1, 3), st.integers(-2, 2).filter(bool))


@settings(deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(LAYOUTS, min_size=1, max_size=4))
def test_views_of_one_memory_come_back_equal_and_shared(layouts: list[Any]) -> None:
    base = np.arange(120, dtype=np.int32).reshape(4, 5, 6)
    views = [base[start:].transpose(axes)[:, ::step, ::jump] for start, axes, step, jump in layouts]
    got = round_trip([cr.core.tensor.make_tensor(view, None) for view in views])
    for tensor, view in zip(got, views, strict=True):
        np.testing.assert_array_equal(tensor.array, view)
    plain = [i for i, view in enumerate(views) if view.size and min(view.strides) > 0]
    for i in plain:
        for j in plain:
            assert np.shares_memory(got[i].array, got[j].array) == np.shares_memory(views[i], views[j])


def test_a_container_that_holds_itself_comes_back() -> None:
    ring: list[Any] = [1]
    ring.append(ring)
    got = round_trip(ring)
    assert got[0] == 1 and got[1] is got


def test_numpy_arrays_and_numbers() -> None:
    state = {"a": np.arange(6.0).reshape(2, 3).T, "b": np.array([True]), "loss": np.float64(0.5), "n": np.int64(3)}
    got = round_trip(state)
    np.testing.assert_array_equal(got["a"], state["a"])
    assert got["b"].tolist() == [True]
    assert (got["loss"], got["n"]) == (0.5, 3) and type(got["loss"]) is float and type(got["n"]) is int


def test_random_state_comes_back() -> None:
    cr.manual_seed(3)
    python, numpy = random.Random(1), np.random.RandomState(1)
    file = saved({"cr": cr.get_rng_state(), "python": python.getstate(), "numpy": numpy.get_state()})
    want = cr.rand(3).tolist(), python.random(), numpy.rand()
    got = cr.load(io.BytesIO(file))
    cr.set_rng_state(got["cr"])
    python.setstate(got["python"])
    numpy.set_state(got["numpy"])
    assert (cr.rand(3).tolist(), python.random(), numpy.rand()) == want


def test_optimizer_and_scheduler_go_on_exactly_where_they_were() -> None:
    def make() -> Any:
        cr.manual_seed(0)
        model = net()
        optimizer = cr.optim.AdamW(model.parameters(), lr=0.1)
        return model, optimizer, cr.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)

    def train(model: Any, optimizer: Any, scheduler: Any, steps: int) -> list[float]:
        losses = []
        for _ in range(steps):
            loss = (model(x) ** 2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            losses.append(loss.item())
        return losses

    x = cr.linspace(-1, 1, 8).reshape(4, 2)
    want = train(*make(), 8)
    parts = make()
    first = train(*parts, 4)
    state = round_trip([part.state_dict() for part in parts])
    again = make()
    for part, part_state in zip(again, state, strict=True):
        part.load_state_dict(part_state)
    assert first + train(*again, 4) == want


@pytest.mark.parametrize("kind", [str, Path, os.fsencode])
def test_paths_of_every_kind(kind: Any, tmp_path: Path) -> None:
    path = tmp_path / "net.v1.pt"
    cr.save({"x": cr.ones(2)}, kind(str(path)))
    assert cr.load(kind(str(path)))["x"].tolist() == [1.0, 1.0]
    with zipfile.ZipFile(path) as file:
        assert file.testzip() is None
        assert {name.split("/")[0] for name in file.namelist()} == {"net.v1"}


def test_open_files_are_written_and_read_where_they_stand(tmp_path: Path) -> None:
    with open(tmp_path / "x.pt", "wb") as file:
        file.write(b"before")
        cr.save(cr.ones(2), file)
    with open(tmp_path / "x.pt", "rb") as file:
        file.seek(6)
        assert cr.load(file).tolist() == [1.0, 1.0]


def test_a_file_that_can_only_be_read_once_through() -> None:
    class Stream(io.RawIOBase):
        def __init__(self, content: bytes) -> None:
            self.inner = io.BytesIO(content)

        def readable(self) -> bool:
            return True

        def readinto(self, memory: Any) -> int:
            return self.inner.readinto(memory)

    assert cr.load(Stream(saved(cr.ones(2)))).tolist() == [1.0, 1.0]


def test_mapped_tensors_are_read_from_the_file_and_do_not_change_it(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    half = cr.tensor([1.5], dtype=cr.float16)
    cr.save({"w": nn.Parameter(cr.arange(1000.0)), "half": half, "empty": cr.zeros(0)}, path)
    before = path.read_bytes()
    got = cr.load(path, mmap=True)
    assert got["w"].requires_grad and got["half"].tolist() == [1.5]
    root = got["w"].array
    while isinstance(root.base, np.ndarray):
        root = root.base
    assert "mmap" in type(root.base).__name__
    assert type(got["w"].array) is np.ndarray and got["w"].array.ctypes.data % 64 == 0
    with cr.no_grad():
        got["w"][0] = 5.0
    assert got["w"][0].item() == 5.0
    assert path.read_bytes() == before
    with pytest.raises(ValueError, match="path"):
        cr.load(io.BytesIO(before), mmap=True)


def test_records_lie_at_multiples_of_64_bytes() -> None:
    content = saved([cr.ones(n) for n in range(1, 5)])
    for entry in zipfile.ZipFile(io.BytesIO(content)).infolist():
        name, extra = (int.from_bytes(content[entry.header_offset + i :][:2], "little") for i in (26, 28))
        assert (entry.header_offset + 30 + name + extra) % 64 == 0


def test_sizes_beyond_four_gigabytes_are_written_in_wide_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_module, "LIMIT", 100)
    content = saved({"x": cr.arange(1000.0), "y": cr.ones(1)})
    assert zipfile.ZipFile(io.BytesIO(content)).testzip() is None
    assert cr.load(io.BytesIO(content))["x"].tolist() == list(range(1000))


# ----- where storages go ------------------------------------------------------------------------------------------


def of_cuda(content: bytes) -> io.BytesIO:
    archive = ArchiveReader(io.BytesIO(content), "x")
    data = archive.read("data.pkl").replace(b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0")
    return file_with(data, storage_0=archive.read("data/0"))


@pytest.mark.parametrize(
    "where",
    ["cpu", b"cpu", cr.device("cpu"), {"cuda:0": "cpu"}, lambda storage, location: storage, lambda s, where: s.cpu()],
    ids=["name", "bytes", "device", "dict", "function", "function to cpu"],
)
def test_map_location_brings_storages_of_other_devices_here(where: Any) -> None:
    assert cr.load(of_cuda(saved(cr.ones(2))), map_location=where).tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    "where",
    [None, "cuda", "cuda:1", cr.device("cuda"), {"cpu": "cuda"}, lambda s, where: None],
    ids=lambda where: "a function" if callable(where) else str(where),
)
def test_storages_cannot_go_elsewhere(where: Any) -> None:
    with pytest.raises(RuntimeError, match="map_location='cpu'"):
        cr.load(of_cuda(saved(cr.ones(2))), map_location=where)


def test_map_location_is_told_where_each_storage_was() -> None:
    seen = []
    cr.load(io.BytesIO(saved([cr.ones(2), cr.ones(1)])), map_location=lambda storage, location: seen.append(location))
    assert seen == ["cpu", "cpu"]
    with pytest.raises(RuntimeError, match="CUDA"):
        cr.load(io.BytesIO(saved(cr.ones(2))), map_location=lambda storage, location: storage.cuda())
    with pytest.raises(TypeError, match="return the storage or None, got int"):
        cr.load(io.BytesIO(saved(cr.ones(2))), map_location=lambda storage, location: 3)
    with pytest.raises(TypeError, match="map_location"):
        cr.load(io.BytesIO(saved(cr.ones(2))), map_location=3)


# ----- what cannot be saved or loaded -----------------------------------------------------------------------------


class Custom:
    pass


@pytest.mark.parametrize(
    ("obj", "message"),
    [
        (type("Local", (nn.Linear,), {})(1, 1), r"a whole Local, as its class is not found as .*state_dict\(\)"),
        (nn.Sequential(nn.LazyLinear(3)), r"a whole LazyLinear, as its parameters have no shapes.*\['0'\]"),
        ({"a": [cr.optim.SGD([cr.ones(1)], lr=0.1)]}, r"a whole SGD.*at \['a'\]\[0\]"),
        ({"args": argparse.Namespace(f=lambda: 0)}, r"<lambda>, which is code.*at \['args'\]\.f"),
        ({1: Custom}, r"Custom, which is code"),
        ([Custom()], r"test_serialization\.Custom.*vars\(it\).*at \[0\]"),
        (cr.Generator(), "get_state"),
        (np.array(["text"]), "only numbers"),
        (np.array([object()]), "only numbers"),
        (type("Special", (cr.Tensor,), {})([1.0]), "tensor of the class .*Special"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_a_checkpoint_cannot_hold_is_named_with_its_place(obj: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    path.write_bytes(b"before")
    with pytest.raises(TypeError, match=message):
        cr.save(obj, path)
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["x.pt"]


# ----- whole modules ------------------------------------------------------------------------------------------------


class Tied(nn.Module):
    """A module with everything that a checkpoint has to keep: tied weights, a buffer, plain values, a function."""

    made = 0

    def __init__(self) -> None:
        super().__init__()
        Tied.made += 1
        self.embedding = nn.Embedding(5, 4)
        self.out = nn.Linear(4, 5, bias=False)
        self.out.weight = self.embedding.weight
        self.register_buffer("mask", cr.ones(4), persistent=False)
        self.layers = nn.ModuleList([nn.LSTM(4, 4, 2), nn.TransformerEncoderLayer(4, 2, 8)])
        self.activation = nn.functional.gelu
        self.settings = {"widths": (4, 5), "dtype": cr.float32}

    def forward(self, x: Any) -> Any:
        x = self.layers[0](self.embedding(x))[0] * self.mask
        return self.out(self.activation(self.layers[1](x)))


class Stateful(nn.Linear):
    def __getstate__(self) -> Any:
        return {}


def test_a_whole_module_comes_back_without_its_constructor() -> None:
    model = Tied().eval()
    x = cr.tensor([[0, 3, 2]])
    made = Tied.made
    content = saved({"model": model, "epoch": 3})
    got = cr.load(io.BytesIO(content), weights_only=False)["model"]
    assert type(got) is Tied and Tied.made == made and not got.training
    assert got.out.weight is got.embedding.weight and type(got.out.weight) is nn.Parameter
    assert repr(got) == repr(model) and got.settings == model.settings and got.activation is nn.functional.gelu
    assert list(got.state_dict()) == list(model.state_dict()) and "mask" in dict(got.named_buffers())
    np.testing.assert_array_equal(got(x).detach().numpy(), model(x).detach().numpy())
    got.train()(x).sum().backward()
    assert got.out.weight.grad is not None and model.out.weight.grad is None


@pytest.mark.parametrize("weights_only", [None, True])
def test_a_whole_module_is_not_loaded_where_only_weights_are_wanted(weights_only: Any) -> None:
    content = saved(nn.Sequential(nn.Linear(2, 2)))
    with pytest.raises(UnpicklingError, match=r"nn\.Sequential: it holds a whole module.*weights_only=False"):
        cr.load(io.BytesIO(content), weights_only=weights_only)


def test_a_whole_module_whose_class_the_program_does_not_have_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    content = saved(Tied())
    monkeypatch.delattr(sys.modules[__name__], "Tied")
    with pytest.raises(UnpicklingError, match=r"asks for .*test_serialization\.Tied"):
        cr.load(io.BytesIO(content), weights_only=False)


def test_a_module_that_decides_itself_what_is_saved_is_refused() -> None:
    with pytest.raises(TypeError, match="a whole Stateful, as its class defines __getstate__"):
        cr.save(Stateful(1, 1), io.BytesIO())


def test_what_a_whole_module_must_not_hold_is_named_with_its_place() -> None:
    model = nn.Sequential(nn.Linear(1, 1))
    model[0].register_forward_hook(print)
    with pytest.raises(TypeError, match=r"print, which is code.*_modules\['0'\]\._forward_hooks"):
        cr.save(model, io.BytesIO())
    model = nn.Sequential(nn.Linear(1, 1))
    model[0].act = lambda x: x
    with pytest.raises(TypeError, match=r"<lambda>, which is code.*at \._modules\['0'\]\.act of what is saved"):
        cr.save({"m": model}["m"], io.BytesIO())


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state["_parameters"].update(weight=3),
        lambda state: state["_modules"].update(child=[]),
        lambda state: state["_buffers"].update({1: None}),
        lambda state: state.pop("_modules"),
        lambda state: state.update(training=1),
        lambda state: state.update({2: 3}),
    ],
)
def test_a_module_whose_values_do_not_fit_is_refused(change: Any) -> None:
    model = nn.Linear(1, 1)
    change(model.__dict__)
    with pytest.raises(UnpicklingError, match="damaged"):
        cr.load(io.BytesIO(saved(model)), weights_only=False)


@pytest.mark.parametrize(
    "name",
    [
        "chainrule.nn\nfunctional", "chainrule.nn\nModule.forward", "chainrule.nn.functional\n_loss", "os\nsystem",
        "chainrule\nsave", "chainrule.nn.functional\nnp.save", "torch.nn\nLinear", "chainrule.optim\nSGD",
        "chainrule.nn.functional\n__getattr__", "chainrule.nn\n__path__",
    ],
)  # fmt: skip
def test_no_other_name_is_known_where_whole_modules_are(name: str) -> None:
    data = b"\x80\x02c" + name.encode() + b"\n."
    with pytest.raises(UnpicklingError, match="asks for"):
        cr.load(file_with(data), weights_only=False)


def test_a_modules_class_is_never_called() -> None:
    made = Tied.made
    call = b"\x80\x02c" + f"{__name__}\nTied\n)R.".encode()
    with pytest.raises(UnpicklingError, match="calls Tied, which is not loaded"):
        cr.load(file_with(call), weights_only=False)
    assert Tied.made == made


def test_containers_nested_too_deeply_are_refused() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(RuntimeError, match="nested"):
        cr.save(deep, io.BytesIO())


def test_arguments_that_make_no_sense() -> None:
    content = saved(cr.ones(1))
    for weights_only in (True, False, None):
        assert cr.load(io.BytesIO(content), weights_only=weights_only).tolist() == [1.0]
    with pytest.raises(RuntimeError, match="pickle_module"):
        cr.load(io.BytesIO(content), pickle_module=pickle)
    with pytest.raises(TypeError, match="no argument map_loc"):
        cr.load(io.BytesIO(content), map_loc="cpu")
    with pytest.raises(TypeError, match="'rb'"):
        cr.load(io.StringIO("text"))
    with pytest.raises(AttributeError, match="int"):
        cr.load(3)
    with pytest.raises(AttributeError, match="write"):
        cr.save(1, 3)
    with pytest.raises(RuntimeError, match=r"before 1\.6"):
        cr.save(1, io.BytesIO(), _use_new_zipfile_serialization=False)
    with pytest.raises(FileNotFoundError):
        cr.load("there is no such file.pt")


def test_a_program_may_list_what_is_loaded_anyway() -> None:
    array = np.empty(0)
    listed = [
        argparse.Namespace,
        set,
        np.ndarray,
        np.dtype,
        type(array.dtype),
        array.__reduce__()[0],
        (OrderedDict, "x"),
    ]
    cr.serialization.add_safe_globals(listed)
    with cr.serialization.safe_globals(listed):
        pass
    for value in (Custom, os.system, type(np.dtype("U1")), type(np.dtype(object))):
        with pytest.raises(RuntimeError, match=f"{value.__name__} cannot be added"):
            cr.serialization.add_safe_globals([value])


def test_files_of_other_kinds_are_told_apart(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.ones(1))
    np.save(tmp_path / "a.npy", np.ones(1))
    (tmp_path / "a.pkl").write_bytes(pickle.dumps([1]))
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "text").write_bytes(b"some text that is no archive at all")
    with zipfile.ZipFile(tmp_path / "packed.pt", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("archive/data.pkl", b"N.")
    with zipfile.ZipFile(tmp_path / "script.pt", "w") as script:
        script.writestr("archive/data.pkl", b"N.")
        script.writestr("archive/constants.pkl", b"N.")
    for name, message in {
        "a.npz": "numpy.load", "a.npy": "numpy.load", "a.pkl": "bare pickle", "empty": "is empty", "text": "damaged",
        "packed.pt": "compressed", "script.pt": "TorchScript",
    }.items():  # fmt: skip
        with pytest.raises(RuntimeError, match=message) as caught:
            cr.load(tmp_path / name)
        assert name in str(caught.value)


# ----- hostile files ----------------------------------------------------------------------------------------------

ran: list[Any] = []


def trap(*args: Any, **kwargs: Any) -> Any:
    ran.append(args)
    return ran


class Reduce:
    def __init__(self, *value: Any) -> None:
        self.value = value

    def __reduce__(self) -> Any:
        return self.value


def names_of(data: bytes) -> list[str]:
    """The globals that a pickle of protocol 0 to 3 names, with Python 3's names."""
    return [re.sub("^__builtin__ ", "builtins ", arg).replace(" ", ".") for op, arg, _ in pickletools.genops(data)
            if op.name in ("GLOBAL", "INST")]  # fmt: skip


@pytest.mark.parametrize(
    "value",
    [
        Reduce(os.system, ("echo",)), Reduce(eval, ("1",)), Reduce(exec, ("1",)), Reduce(getattr, ("x", "upper")),
        Reduce(trap, ()), Reduce(__import__, ("os",)), Reduce(open, ("x", "w")), Reduce(subprocess.Popen, (["true"],)),
        Reduce(copy.copy, ({},)), Reduce(pickle.loads, (b"N.",)), Reduce(type, ("X", (), {})), Reduce(map, (trap, [1])),
        Reduce(bytes, (10**12,)), Custom(), Custom, nn.Linear(1, 1), cr.ones(1), np.random.default_rng(0),
        Reduce(np.load, ("x",)), Reduce(cr.load, ("x",)), Reduce(object, ()), ValueError("x"), Path("x"),
        Reduce(defaultdict, (trap,)), Reduce(set, ([1],), {"a": 1}), Reduce(OrderedDict, (), {"items": 1}),
        Reduce(int, ("1",)), Reduce(list, ((1,),)), Reduce(argparse.Namespace, ()), Reduce(complex, ("1",)),
        Reduce(bytearray, (10**12,)), Reduce(set, (range(10**12),)), Reduce(range, ("a",)), Reduce(np.dtype, ("O",)),
        Reduce(np.ndarray, ((10**9,),)), Reduce(np.dtype, ([("a", "f4")],)), Reduce(str, (b"a", "idna")),
    ],
    ids=lambda value: f"{value.value[0].__name__}" if isinstance(value, Reduce) else type(value).__name__,
)  # fmt: skip
@pytest.mark.parametrize("protocol", [2, 4])
def test_a_hostile_pickle_raises_and_names_what_it_asks_for(value: Any, protocol: int) -> None:
    ran.clear()
    data = pickle.dumps([value], protocol=protocol)
    with pytest.raises(UnpicklingError) as caught:
        cr.load(file_with(data))
    assert ran == []
    first = names_of(pickle.dumps([value], protocol=3))[0]
    last = first.rpartition(".")[2]
    assert last in str(caught.value) or first.startswith(
        ("builtins.", "numpy.", "collections.", "_codecs.", "argparse.")
    ), caught.value


GLOBAL = b"cos\nsystem\n"
CALL = b"X\x04\x00\x00\x00echo\x85R."


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (GLOBAL + CALL, r"os\.system"),
        (b"cposix\nsystem\n" + CALL, r"posix\.system"),
        (b"\x8c\x02os\x8c\x06system\x93" + CALL, r"os\.system"),
        (b"(X\x04\x00\x00\x00echoios\nsystem\n.", r"os\.system"),
        (b"(cos\nsystem\nX\x04\x00\x00\x00echoo.", r"os\.system"),
        (b"(X\x04\x00\x00\x00echoicollections\nOrderedDict\n.", r"collections\.OrderedDict"),
        (b"cbuiltins\neval\n.", r"builtins\.eval"),
        (b"c__builtin__\neval\n.", r"builtins\.eval"),
        (b"ctorch\nload\n.", r"torch\.load"),
        (b"ctorch\n_C.Generator\n.", r"torch\._C\.Generator"),
        (b"ctorch.storage\n_load_from_bytes\n.", r"_load_from_bytes"),
        (b"ctorch._utils\n_rebuild_sparse_tensor\n.", "to_dense"),
        (b"ctorch\nfloat8_e4m3fn\n.", r"tensor\.float\(\)"),
        (b"ccollections\nOrderedDict.__init__.__globals__\n.", "__globals__"),
        (b"c\xff\n\n.", "damaged"),
        (b"cos\x1b[31m\nsystem\n.", r"os\\x1b\[31m\.system"),
        (b"\x82\x01.", "extension registry"),
        (b"\x84\x01\x00\x00\x00.", "extension registry"),
        (b"Pos.system\n.", "operation b'P'"),
        (b"S'os'\n.", "operation b'S'"),
        (b"cargparse\nNamespace\n)\x81}X\x0b\x00\x00\x00_get_kwargsK\x01sb.", "_get_kwargs"),
        (b"cargparse\nNamespace\n)\x81}X\x09\x00\x00\x00__class__K\x01sb.", "__class__"),
        (b"ccollections\nOrderedDict\n)R}X\x05\x00\x00\x00itemsK\x01sb.", "sets items"),
        (b"ccollections\nOrderedDict\n)RK\x01b.", "state"),
        (b"ctorch\nTensor\n)\x81.", "Tensor"),
        (b"ctorch\nTensor\n)R.", "Tensor"),
        (b"cbuiltins\nset\n)\x81.", "set"),
        (b"cbuiltins\nint\nX\x01\x00\x00\x00a\x85R.", "int"),
        (b"ctorch\nfloat32\n)R.", "dtype"),
        (b"]K\x01\x85R.", "list"),
        (b"}}b.", "state of a dict"),
        (b"]q\x00}sh\x00.", None),
        (b"]K\x01s.", None),
        (b"}]K\x01s.", "list cannot be a key"),
        (b"K\x01]a.", "adds to a int"),
        (b"(.", "damaged"),
        (b"e.", "damaged"),
        (b"(b.", None),
        (b"(\x94.", "mark"),
        (b"h\x09.", "damaged"),
        (b"X\xff\xff\xff\x7fabc", "more are needed"),
        (b"\x8d\xff\xff\xff\xff\xff\xff\xff\xffabc", "more are needed"),
        (b"\x8b\xff\xff\xff\xffabc", "more are needed"),
        (b"N", "damaged"),
        (b"", "damaged"),
        (b"K\x01Q.", "persistent|storage"),
        (b"X\x09\x00\x00\x00os.systemQ.", None),
        (b"(X\x06\x00\x00\x00modulecos\nsystem\ntQ.", r"os\.system"),
        (b"c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00rot13\x86R.", "latin-1"),
        (b"ctorch\nSize\nK\x01\x85\x85R.", None),
        (b"cnumpy\ndtype\nX\x01\x00\x00\x00O\x85R.", "not of numbers"),
        (b"cnumpy._core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x05\x85X\x01\x00\x00\x00b\x87R.", "empty"),
    ],
    ids=lambda value: ascii(value)[:50] if isinstance(value, bytes) else "",
)
def test_a_made_up_pickle_raises(data: bytes, message: str | None) -> None:
    try:
        got = cr.load(file_with(data))
    except UnpicklingError as error:
        assert re.search(message or "", str(error)), error
    else:
        assert message is None and isinstance(got, (list, cr.Size)), got


def tensor_pickle(*args: Any, count: int = 4, kind: bytes = b"ctorch\nFloatStorage\n", key: bytes = b"0") -> bytes:
    """A tensor on the storage data/0, with any arguments."""
    location = b"X\x03\x00\x00\x00cpu"
    size = pickle.dumps(count, 2)[2:-1]
    text = b"X" + len(key).to_bytes(4, "little") + key
    storage = b"(X\x07\x00\x00\x00storage" + kind + text + location + size + b"tQ"
    rest = b"".join(pickle.dumps(arg, 2)[2:-1] for arg in args)
    return b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(" + storage + rest + b"tR."


GOOD = (0, (2, 2), (2, 1), False, OrderedDict())


def test_the_hand_made_tensor_is_right_when_nothing_is_wrong() -> None:
    content = np.arange(4, dtype=np.float32)
    assert cr.load(file_with(tensor_pickle(*GOOD), storage_0=content.tobytes())).tolist() == [[0, 1], [2, 3]]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (tensor_pickle(1, *GOOD[1:]), r"shape \(2, 2\) reaches element 4 of a storage of 4"),
        (tensor_pickle(-1, *GOOD[1:]), "layout"),
        (tensor_pickle(0, (2, 2), (3, 1), False, None), "reaches element 4"),
        (tensor_pickle(0, (2, 2), (-1, 1), False, None), "layout"),
        (tensor_pickle(0, (-2, 2), (2, 1), False, None), "layout"),
        (tensor_pickle(0, (2**62, 2), (0, 0), False, None), "damaged"),
        (tensor_pickle(0, (0, 2**62, 2**62), (1, 1, 1), False, None), "damaged"),
        (tensor_pickle(2**70, (1,), (1,), False, None), "reaches element"),
        (tensor_pickle(0, (2,), (2, 1), False, None), "layout"),
        (tensor_pickle(0, (1,) * 65, (1,) * 65, False, None), "layout"),
        (tensor_pickle(0, (2.0, 2), (2, 1), False, None), "layout"),
        (tensor_pickle(0, (True, 2), (2, 1), False, None), "layout"),
        (tensor_pickle(0, (2, 2), (2, 1), 1, None), "layout"),
        (tensor_pickle(0, [2, 2], (2, 1), False, None), "layout"),
        (tensor_pickle(0, (2, 2), (2, 1), True, None, kind=b"ctorch\nIntStorage\n"), "requires grad"),
        (tensor_pickle(0, (2, 2)), "damaged"),
        (tensor_pickle(*GOOD, count=-1), "size"),
        (tensor_pickle(*GOOD, kind=b"cbuiltins\nlist\n"), "identity"),
        (tensor_pickle(*GOOD, kind=b"ctorch\nfloat32\n"), "identity"),
        (tensor_pickle(*GOOD, kind=b"ctorch.storage\nUntypedStorage\n"), "storage"),
    ],
)
def test_a_tensor_that_would_reach_beyond_its_storage_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(UnpicklingError, match=message):
        cr.load(file_with(data, storage_0=bytes(16)))


@pytest.mark.parametrize("data", [tensor_pickle(*GOOD, count=2**60), tensor_pickle(*GOOD, count=5),
                                  tensor_pickle(*GOOD, key=b"1"),
                                  tensor_pickle(*GOOD, key=b"../../etc/passwd")])  # fmt: skip
def test_a_storage_that_is_not_there_or_too_small_is_refused(data: bytes) -> None:
    with pytest.raises(RuntimeError, match="record 'data/"):
        cr.load(file_with(data, storage_0=bytes(16)))


def test_a_bare_storage_is_refused() -> None:
    data = tensor_pickle(*GOOD)
    storage = data[data.index(b"(X\x07") : data.index(b"tQ") + 2]
    with pytest.raises(UnpicklingError, match="bare storage"):
        cr.load(file_with(storage + b".", storage_0=bytes(16)))


def test_keys_that_would_take_forever_to_hash_are_refused() -> None:
    key = b")" + b"q\x00h\x00\x86" * 200  # ((), ()), (that, that), ... 2 ** 200 parts, none of them stored twice
    started = time.perf_counter()
    with pytest.raises(UnpicklingError, match="too many parts"):
        cr.load(file_with(b"}" + key + b"K\x01s."))
    assert time.perf_counter() - started < 5


def test_a_large_part_is_not_copied_again_and_again() -> None:
    text = b"X" + (10**6).to_bytes(4, "little") + b"a" * 10**6
    call = b"c_codecs\nencode\nh\x00X\x06\x00\x00\x00latin1\x86R"
    with pytest.raises(UnpicklingError, match="more of its content than it holds"):
        cr.load(file_with(text + b"q\x00" + call * 1000 + b"."))


def test_deep_nesting_in_a_file_is_no_trouble() -> None:
    got = cr.load(file_with(b"]" * 100_000 + b"a" * 99_999 + b"."))
    assert len(got) == 1


def test_records_that_overlap_are_refused() -> None:
    content = saved(cr.ones(1000))
    start = content.index(b"PK\x01\x02")
    end = content.index(b"PK\x06\x06")
    entries = content[start:end]
    broken = content[:start] + entries.replace(b"version", b"data/99") + content[end:]
    assert cr.load(io.BytesIO(broken.replace(b"data/99", b"version"))).numel() == 1000
    double = re.sub(
        rb"PK\x01\x02.{42}archive/byteorder", lambda m: m[0].replace(b"byteorder", b"data.pkl\0"), entries, flags=re.S
    )
    with pytest.raises(RuntimeError, match="damaged"):
        cr.load(io.BytesIO(content[:start] + double + content[end:]))


def test_every_operation_of_the_machine_is_one_that_only_makes_data() -> None:
    """REDUCE, NEWOBJ, BUILD, GLOBAL and the like go through tables; nothing else is there that calls."""
    names = {op.name for op in pickletools.opcodes if ord(op.code) in OPERATIONS}
    absent = {op.name for op in pickletools.opcodes} - names
    assert {"OBJ", "PERSID", "NEWOBJ_EX", "NEXT_BUFFER", "READONLY_BUFFER"} <= absent


SMALL = saved(
    {"w": nn.Parameter(cr.ones(2, 2)), "b": [cr.zeros(0), b"x", {1}, 2.5], "o": OrderedDict(a=(1, 2)), "z": cr.float32}
)
SMALL_PICKLE = ArchiveReader(io.BytesIO(SMALL), "x").read("data.pkl")
EDITS = st.lists(
    st.tuples(st.integers(0, 10_000), st.integers(0, 255), st.sampled_from("set insert delete".split())),
    min_size=1,
    max_size=6,
)


def edited(data: bytes, edits: list[tuple[int, int, str]]) -> bytes:
    changed = bytearray(data)
    for position, value, how in edits:
        i = position % max(1, len(changed))
        if how == "set":
            changed[i : i + 1] = bytes((value,))
        elif how == "insert":
            changed[i:i] = bytes((value,))
        else:
            del changed[i : i + 1]
    return bytes(changed)


def audited(call: Any) -> list[str]:
    """The events that Python's own audit reports while something runs and that code from a file would cause."""
    events: list[str] = []
    watching.append(events)
    try:
        call()
    finally:
        watching.pop()
    return [
        name
        for name in events
        if name.partition(".")[0] in ("os", "subprocess", "exec", "compile", "socket", "pickle", "ctypes")
    ]


watching: list[list[str]] = []
sys.addaudithook(lambda name, args: watching[-1].append(name) if watching else None)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(EDITS)
@example([(0, 0, "delete")])
def test_a_changed_pickle_loads_or_raises_and_never_runs_code(edits: list[tuple[int, int, str]]) -> None:
    file = file_with(edited(SMALL_PICKLE, edits), storage_0=bytes(16), storage_1=b"")

    cr.load(io.BytesIO(SMALL))  # whatever Python imports when it is first needed

    def load() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                cr.load(file)
            except (UnpicklingError, RuntimeError):
                pass

    assert audited(load) == []


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(EDITS)
def test_a_changed_file_loads_equal_or_raises(edits: list[tuple[int, int, str]]) -> None:
    try:
        got = cr.load(io.BytesIO(edited(SMALL, edits)))
    except (UnpicklingError, RuntimeError):
        return
    want = cr.load(io.BytesIO(SMALL))
    assert got["w"].tolist() == want["w"].tolist() and type(got["w"]) is nn.Parameter
    assert got["b"][1:] == want["b"][1:] and got["o"] == want["o"] and got["z"] is want["z"]


def test_every_truncation_raises_and_every_flipped_bit_of_the_values_is_found() -> None:
    for end in range(0, len(SMALL) - 1, 7):
        with pytest.raises(RuntimeError, match="damaged|empty"):
            cr.load(io.BytesIO(SMALL[:end]))
    start = SMALL.index(np.ones(4, np.float32).tobytes())
    for i in range(start, start + 16):
        flipped = bytearray(SMALL)
        flipped[i] ^= 1 << i % 8
        with pytest.raises(RuntimeError, match="checksum of record 'archive/data/0'"):
            cr.load(io.BytesIO(bytes(flipped)))


def test_a_file_of_wrong_shapes_changes_nothing_in_the_model() -> None:
    model, other = net(), nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(4, 1))
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(RuntimeError, match=r"size mismatch for 3\.weight"):
        model.load_state_dict(round_trip(other.state_dict()))
    for name, value in model.state_dict().items():
        assert value.tolist() == before[name].tolist()


# ----- a save is whole or not at all ------------------------------------------------------------------------------

SAVER = """
import sys, chainrule as cr
step = 0
while True:
    step += 1
    cr.save({"step": step, "w": cr.full((200_000,), float(step))}, sys.argv[1])
    print(step, flush=True)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs signals")
def test_a_save_that_is_killed_leaves_the_previous_file_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    wait = random.Random(0)
    process: Any = None
    for _ in range(6):
        process = subprocess.Popen([sys.executable, "-c", SAVER, str(path)], stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline() == "1\n"
        time.sleep(wait.uniform(0, 0.03))
        process.kill()
        printed = process.stdout.read().split()
        process.wait()
        got = cr.load(path)
        assert got["step"] >= int(printed[-1] if printed else 1)
        assert np.all(got["w"].array == got["step"])


def test_an_error_while_writing_leaves_the_previous_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.pt"
    cr.save(1, path)

    def full(self: Any, name: str, content: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ArchiveWriter, "write", full)
    with pytest.raises(OSError, match="No space left"):
        cr.save(2, path)
    assert cr.load(path) == 1 and os.listdir(tmp_path) == ["x.pt"]


def test_what_killed_saves_left_behind_is_removed_by_a_later_one(tmp_path: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    left, fresh, busy = (tmp_path / f".x.pt.0000000{i}.tmp" for i in range(3))
    others = [tmp_path / ".y.pt.00000000.tmp", tmp_path / ".x.pt.0000.tmp", tmp_path / "x.pt.00000000.tmp"]
    for path in (left, fresh, busy, *others):
        path.write_bytes(b"a part")
        if path is not fresh:
            os.utime(path, (0, 0))
    with open(busy) as held:  # another process is still writing
        fcntl.flock(held, fcntl.LOCK_EX)
        cr.save(1, tmp_path / "x.pt")
    assert sorted(tmp_path.iterdir()) == sorted([fresh, busy, *others, tmp_path / "x.pt"])


def test_permissions_and_links_survive_a_save(tmp_path: Path) -> None:
    path, link = tmp_path / "x.pt", tmp_path / "latest.pt"
    cr.save(1, path)
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()
    path.chmod(0o640)
    link.symlink_to("x.pt")
    cr.save(2, link)
    assert link.is_symlink() and cr.load(path) == 2
    assert path.stat().st_mode & 0o777 == 0o640


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_places_that_no_file_can_take(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match="folder"):
        cr.save(1, tmp_path)
    with pytest.raises(FileNotFoundError):
        cr.save(1, tmp_path / "nowhere" / "x.pt")
    if os.path.exists("/dev/null"):
        cr.save(1, "/dev/null")
        assert not os.path.isfile("/dev/null")


# ----- Python's own copying ---------------------------------------------------------------------------------------


def test_tensors_are_copied_and_pickled_by_python_as_well() -> None:
    parameter = nn.Parameter(cr.ones(2))
    parameter.tag = 1
    for made in (copy.deepcopy(parameter), pickle.loads(pickle.dumps(parameter))):
        assert type(made) is nn.Parameter and made.requires_grad and made.tag == 1 and made.tolist() == [1.0, 1.0]
        assert not np.shares_memory(made.array, parameter.array)
    state = copy.deepcopy(net().state_dict())
    assert state._metadata["1"] == {"version": 2}


# ----- with PyTorch -----------------------------------------------------------------------------------------------


def test_pytorch_loads_what_is_saved_here() -> None:
    torch = pytest.importorskip("torch")
    base = cr.arange(24.0).reshape(4, 6)
    weight = nn.Parameter(cr.randn(3, 2))
    buffer = nn.Buffer(cr.ones(2), persistent=False)
    state = {
        **{name: cr.tensor([0, 1, 1]).to(getattr(cr, name)) for name in DTYPES},
        "w": weight, "tied": weight, "same": weight.detach(), "view": base[1:3, ::2], "t": base.T,
        "reversed": base.flip(0), "empty": cr.zeros(0, 3), "scalar": cr.tensor(2.0),
        "expanded": cr.ones(1, 3).expand(2, 3), "leaf": cr.ones(1, requires_grad=True),
        "buffer": buffer, "flipped": cr.core.tensor.make_tensor(base.array[::-1], None),
    }  # fmt: skip
    values = {
        "n": [0, 1, -1, 255, 65536, 2**31, 2**100, 1.5, True, None, 1j], "s": ["", "é"],
        "b": [b"", b"\xff", bytearray(b"x")], "set": {1, 2}, "od": OrderedDict(a=1), "counter": Counter("aab"),
        "t": (1, (2, [3])), "long": list(range(3000)), "np": 0.5,
    }  # fmt: skip
    content = saved({**state, "values": {**values, "np": np.float32(0.5)}, "size": base.shape,
                     "dtypes": [cr.float64, cr.bool, cr.bfloat16],
                     "device": cr.device("cpu"), "net": net().state_dict()})  # fmt: skip
    got = torch.load(io.BytesIO(content), weights_only=True)
    for name, tensor in state.items():
        theirs = got[name]
        assert str(theirs.dtype) == f"torch.{tensor.dtype.name}"
        assert theirs.requires_grad == tensor.requires_grad
        np.testing.assert_array_equal(theirs.detach().numpy(), tensor.detach().numpy())
    assert got["values"] == values
    assert type(got["w"]) is torch.nn.Parameter and got["tied"] is got["w"]
    assert got["same"].data_ptr() == got["w"].data_ptr()
    assert got["view"].untyped_storage().data_ptr() == got["t"].untyped_storage().data_ptr()
    assert got["view"].stride() == (6, 2) and got["t"].stride() == (1, 6) and got["expanded"].stride() == (0, 1)
    assert isinstance(got["buffer"], torch.nn.Buffer) and not got["buffer"].persistent
    assert got["size"] == torch.Size([4, 6]) and type(got["size"]) is torch.Size
    assert got["dtypes"] == [torch.float64, torch.bool, torch.bfloat16] and got["device"] == torch.device("cpu")
    assert got["net"]._metadata["1"] == {"version": 2}


def test_the_file_is_byte_for_byte_pytorchs(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    weight, bias = np.arange(6, dtype=np.float32).reshape(3, 2), np.ones(4, np.float32)

    def state(lib: Any) -> Any:
        w, b = lib.from_numpy(weight), lib.nn.Parameter(lib.from_numpy(bias))
        return OrderedDict(weight=w, bias=b, more=[w, {"x": (1, 2.5, "s", None, True), "t": w.T}], s={3},
                           dtype=lib.float64, size=lib.Size([1, 2]), empty=lib.zeros(0),
                           u=lib.zeros(3, dtype=lib.uint32), b=b"12",
                           long=list(range(2500)), buffer=lib.nn.Buffer(lib.ones(1)), z=1j)  # fmt: skip

    torch.save(state(torch), tmp_path / "x.pt")
    theirs = (tmp_path / "x.pt").read_bytes()
    cr.save(state(cr), tmp_path / "x.pt")
    ours = (tmp_path / "x.pt").read_bytes()
    assert len(ours) == len(theirs)
    start = theirs.index(b".data/serialization_id")  # a fingerprint of PyTorch's own making, and its checksum
    assert ours[:start] == theirs[:start]
    differing = sum(a != b for a, b in zip(ours, theirs, strict=True))
    assert differing <= 40 + 4 + 4


@pytest.mark.parametrize("mmap", [False, True])
@pytest.mark.parametrize("name", [*DTYPES, "bfloat16"])
def test_what_pytorch_saves_loads_here(name: str, mmap: bool, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    x = torch.arange(12).reshape(3, 4).to(getattr(torch, name))
    state = {"x": x, "t": x.T, "part": x[1:, 1::2], "empty": x[:0], "scalar": x[0, 1], "expanded": x[:1].expand(2, 4)}
    torch.save(state, tmp_path / "x.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        got = cr.load(tmp_path / "x.pt", mmap=mmap)
    for key, theirs in state.items():
        want = theirs.float() if name == "bfloat16" else theirs
        assert got[key].tolist() == want.tolist()
        assert got[key].dtype.name == str(want.dtype).removeprefix("torch.")
    assert np.shares_memory(got["x"].array, got["part"].array)


def test_a_network_and_its_optimizer_go_to_pytorch_and_back(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    x = np.linspace(-1, 1, 8, dtype=np.float32).reshape(4, 2)

    def make(lib: Any) -> Any:
        n = lib.nn
        model = n.Sequential(n.Linear(2, 3), n.BatchNorm1d(3), n.ReLU(), n.Linear(3, 1))
        return model, lib.optim.Adam(model.parameters(), lr=0.01)

    def train(lib: Any, model: Any, optimizer: Any) -> float:
        for _ in range(3):
            optimizer.zero_grad()
            loss = ((model(lib.from_numpy(x)) - 1) ** 2).mean()
            loss.backward()
            optimizer.step()
        return float(loss.item())

    def hand_over(source: Any, source_parts: Any, target: Any, target_parts: Any) -> None:
        source.save([part.state_dict() for part in source_parts], tmp_path / "x.pt")
        for part, state in zip(target_parts, target.load(tmp_path / "x.pt"), strict=True):
            part.load_state_dict(state)

    ours, theirs = make(cr), make(torch)
    hand_over(cr, ours, torch, theirs)
    assert train(cr, *ours) == pytest.approx(train(torch, *theirs), rel=1e-5)
    ours = make(cr)
    hand_over(torch, theirs, cr, ours)
    assert train(cr, *ours) == pytest.approx(train(torch, *theirs), rel=1e-5)
    hand_over(cr, ours, torch, theirs)
    assert train(cr, *ours) == pytest.approx(train(torch, *theirs), rel=1e-5)


def test_pytorch_maps_a_file_from_here(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    cr.save([cr.arange(5.0), cr.zeros(0), cr.ones(3)], tmp_path / "x.pt")
    assert torch.load(tmp_path / "x.pt", mmap=True)[2].tolist() == [1.0, 1.0, 1.0]
    config = torch.utils.serialization.config
    config.load.calculate_storage_offsets = True  # offsets from the layout that PyTorch's own writer has
    try:
        assert torch.load(tmp_path / "x.pt", mmap=True)[2].tolist() == [1.0, 1.0, 1.0]
    finally:
        config.load.calculate_storage_offsets = False


def test_pytorch_reads_wide_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(archive_module, "LIMIT", 100)
    content = saved({"x": cr.arange(1000.0)})
    assert torch.load(io.BytesIO(content))["x"].tolist() == list(range(1000))
