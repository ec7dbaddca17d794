"""safetensors files: both ways between here and `safetensors.torch`, and what cannot be saved."""

from __future__ import annotations

import builtins
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.safetensors import load, load_file, load_model, save, save_file, save_model

pytest.importorskip("safetensors")

DATA = Path(__file__).parent / "data"
TYPES = "float64 float32 float16 int64 int32 int16 int8 uint8 uint16 uint32 uint64 bool complex64".split()


def tied() -> nn.Module:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[1].weight = model[0].weight
    return model


@pytest.mark.parametrize("name", TYPES)
def test_every_type_comes_back(name: str, tmp_path: Path) -> None:
    tensors = {
        "x": cr.tensor([[0, 1], [1, 1]]).to(getattr(cr, name)),
        "empty": cr.zeros(0, 3),
        "scalar": cr.tensor(2.0),
    }
    save_file(tensors, tmp_path / "x.safetensors")
    for got in (load_file(tmp_path / "x.safetensors"), load(save(tensors)), cr.load(tmp_path / "x.safetensors")):
        assert sorted(got) == ["empty", "scalar", "x"]
        for key, tensor in tensors.items():
            assert got[key].dtype == tensor.dtype and got[key].shape == tensor.shape
            assert got[key].tolist() == tensor.tolist()
            assert got[key].array.flags.writeable


def test_views_are_saved_with_their_values() -> None:
    base = cr.arange(12.0).reshape(3, 4)
    for view in (base.T, base[:, 1], base[1:, ::2], cr.ones(1, 3).expand(2, 3), base.flip(0)):
        assert load(save({"x": view}))["x"].tolist() == view.tolist()


def test_a_file_of_pytorch_loads_here() -> None:
    with pytest.warns(UserWarning, match="bfloat16") as caught:
        got = load_file(DATA / "torch.safetensors")
    assert caught[0].filename == __file__
    assert got["w"].tolist() == np.arange(12.0).reshape(3, 4).tolist()
    assert got["h"].dtype == cr.float32 and got["h"].tolist() == [1.5, -2.0]
    with pytest.warns(UserWarning, match="bfloat16"):
        assert load((DATA / "torch.safetensors").read_bytes())["h"].tolist() == [1.5, -2.0]


def test_files_go_to_pytorch_and_back(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    theirs = pytest.importorskip("safetensors.torch")
    path = tmp_path / "x.safetensors"
    tensors = {name: cr.tensor([0, 1, 1]).to(getattr(cr, name)) for name in TYPES}
    save_file(tensors, path, {"by": "chainrule"})
    for name, tensor in theirs.load_file(path).items():
        assert str(tensor.dtype) == f"torch.{name}" and tensor.tolist() == tensors[name].tolist()
    theirs.save_file({name: torch.tensor([0, 1, 1], dtype=getattr(torch, name)) for name in TYPES}, path)
    for name, got in load_file(path).items():
        assert got.dtype == tensors[name].dtype and got.tolist() == tensors[name].tolist()


def test_a_model_with_tied_weights_is_saved_once_and_loads(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    model, other = tied(), tied()
    with pytest.raises(RuntimeError, match=r"share memory.*0\.weight.*1\.weight.*save_model"):
        save_file(model.state_dict(), path)
    save_model(model, path, {"epoch": "3"})
    assert sorted(load_file(path)) == ["0.bias", "0.weight", "1.bias"]
    assert load_model(other, path) == ([], [])
    for name, tensor in model.state_dict().items():
        assert other.state_dict()[name].tolist() == tensor.tolist()
    theirs = pytest.importorskip("safetensors.torch")
    torch = pytest.importorskip("torch")
    third = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    third[1].weight = third[0].weight
    assert [list(names) for names in theirs.load_model(third, path)] == [[], []]
    theirs.save_model(third, path)
    assert load_model(model, path) == ([], [])


def test_parts_that_overlap_are_refused(tmp_path: Path) -> None:
    model = nn.Module()
    model.weight = nn.Parameter(cr.ones(4))
    model.register_buffer("part", model.weight.detach()[:2])
    with pytest.raises(RuntimeError, match="part and weight overlap"):
        save_model(model, tmp_path / "x.safetensors")
    assert os.listdir(tmp_path) == []


def test_a_file_of_another_model_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_model(nn.Linear(2, 2), path)
    model = nn.Sequential(nn.Linear(2, 3))
    before = model[0].weight.tolist()
    with pytest.raises(RuntimeError, match=r"Missing key.*0\.weight"):
        load_model(model, path)
    assert load_model(model, path, strict=False) == (["0.weight", "0.bias"], ["bias", "weight"])
    with pytest.raises(RuntimeError, match="size mismatch for weight"):
        load_model(model[0], path)
    assert model[0].weight.tolist() == before


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ([cr.ones(1)], "dict"),
        ({"x": np.ones(1)}, "received ndarray"),
        ({1: cr.ones(1)}, "Key 1"),
        ({"x": cr.ones(1, dtype=cr.complex128)}, "complex128"),
    ],
)
def test_what_cannot_be_saved(tensors: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        save(tensors)


def test_damaged_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"x": cr.ones(3)}, path)
    assert path.stat().st_mode & 0o400
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(RuntimeError, match=r"x\.safetensors is no safetensors file, or is damaged"):
        load_file(path)
    with pytest.raises(RuntimeError, match="damaged"):
        load(b"not one")
    with pytest.raises(FileNotFoundError):
        load_file(tmp_path / "none.safetensors")
    with pytest.raises(RuntimeError, match="cuda"):
        load_file(path, device="cuda")


def test_a_failing_save_leaves_the_previous_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import safetensors.numpy

    path = tmp_path / "x.safetensors"
    save_file({"x": cr.ones(3)}, path)
    mode = path.stat().st_mode

    def full(arrays: Any, filename: str, metadata: Any) -> None:
        Path(filename).write_bytes(b"a part")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(safetensors.numpy, "save_file", full)
        with pytest.raises(OSError, match="No space"):
            save_file({"x": cr.zeros(3)}, path)
    assert load_file(path)["x"].tolist() == [1.0] * 3 and os.listdir(tmp_path) == ["x.safetensors"]
    save_file({"x": cr.zeros(3)}, path)
    assert path.stat().st_mode == mode


def test_the_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("safetensors"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"pip install chainrule\[train\]"):
        save({"x": cr.ones(1)})
