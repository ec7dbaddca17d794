"""The writer for TensorBoard, over tensorboardX or a stand-in for it."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.utils.tensorboard import SummaryWriter


class Recorder:
    """Notes what it is told."""

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.logdir = options["log_dir"]
        self.calls: list[Any] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: self.calls.append((name, args, kwargs))


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("tensorboardX")
    module.SummaryWriter = Recorder  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tensorboardX", module)


def test_without_tensorboardx_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ImportError, match="pip install tensorboardX"):
        SummaryWriter()


@pytest.mark.usefixtures("recorder")
def test_tensors_are_given_as_arrays_and_numbers(tmp_path: Path) -> None:
    with SummaryWriter(tmp_path, flush_secs=1) as writer:
        writer.add_scalar("loss", cr.tensor(1.5, requires_grad=True), 3, new_style=True)
        writer.add_scalars("both", {"a": cr.tensor(1.0), "b": 2})
        writer.add_histogram("weights", values=cr.ones(2, requires_grad=True))
        writer.add_hparams({"lr": 0.1}, {"accuracy": cr.tensor(0.5)}, run_name="first")
        calls = writer._writer.calls
        assert writer.get_logdir() == str(tmp_path) and writer._writer.options["flush_secs"] == 1
    assert calls[0] == ("add_scalar", ("loss", 1.5, 3, None), {})
    assert isinstance(calls[1][1][1]["a"], np.ndarray) and isinstance(calls[2][2]["values"], np.ndarray)
    assert calls[3] == ("add_hparams", ({"lr": 0.1}, {"accuracy": 0.5}), {"name": "first", "global_step": None})
    assert calls[-1][0] == "close"


@pytest.mark.usefixtures("recorder")
def test_what_is_missing_says_so() -> None:
    writer = SummaryWriter()
    with pytest.raises(NotImplementedError, match="traced model"):
        writer.add_graph(None)
    with pytest.raises(NotImplementedError, match="hparam_domain_discrete"):
        writer.add_hparams({}, {}, {})


def test_events_are_written(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    with SummaryWriter(tmp_path) as writer:
        writer.add_scalar("loss", cr.tensor(1.5), 1)
        writer.add_image("picture", cr.rand(3, 8, 8), 1)
    (events,) = tmp_path.iterdir()
    assert b"picture" in events.read_bytes()
