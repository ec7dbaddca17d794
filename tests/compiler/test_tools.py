"""Looking at a program: its graph, counts, times; keeping it as a file."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.compiler import compile
from chainrule.compiler.source import shortest
from chainrule.nn import functional as F

pytestmark = pytest.mark.usefixtures("numpy_only")


def a_step() -> Any:
    cr.manual_seed(0)
    net = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 10))
    optimizer = optim.SGD(net.parameters(), lr=0.1)

    @compile
    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        return loss.detach()

    step(cr.randn(32, 64), cr.randint(0, 10, (32,)))
    return step, net


def test_the_graph_prints_and_draws() -> None:
    f = compile(lambda x: (x * 2).sum())
    f(cr.ones(3))
    assert str(f.graph).startswith("x = input") and "float32[3]" in str(f.graph)
    dot = f.graph.draw().source
    assert dot.startswith("digraph {") and "multiply" in dot and " -> " in dot and "float32[3]" in dot


def test_stats_count() -> None:
    step, _ = a_step()
    stats = step.stats()
    assert stats.matmuls == 5
    products = 2 * 32 * (2 * 64 * 128 + 3 * 128 * 10)
    assert products < stats.operations < 1.5 * products
    assert stats.bytes_moved > 4 * (64 * 128 * 3) and stats.compile_seconds > 0 and stats.arena_bytes > 0
    assert "matrix products" in str(stats)


def test_a_profile_tells_the_time_of_each_line_and_changes_nothing() -> None:
    step, net = a_step()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    state = cr.get_rng_state().tolist()
    profile = step.profile(3)
    lines = step.source.split("\n")
    assert profile.lines and all(line.text == lines[line.number - 1].strip() for line in profile.lines)
    assert any("np.dot" in line.text and line.floor > 0 for line in profile.lines)
    assert "floor" in str(profile) and profile.seconds > 0
    assert cr.get_rng_state().tolist() == state
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before[name].numpy())


def load(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location("saved", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_saved_program_runs_with_numpy_alone(tmp_path: Path) -> None:
    table = np.arange(300.0).reshape(3, 100)
    w = cr.randn(100, 2, dtype=cr.float64, requires_grad=True)

    @compile
    def program(x: Any) -> Any:
        return F.softmax((x * cr.from_numpy(table) + F.dropout(x, 0.5)) @ w, -1)

    x = cr.randn(3, 100, dtype=cr.float64)
    program(x)
    cr.manual_seed(3)
    program.save(tmp_path / "program.py")
    expected = program(x)
    text = (tmp_path / "program.py").read_text()
    assert "chainrule." not in text and (tmp_path / "program.npz").exists()
    found = load(tmp_path / "program.py").program(x.numpy(), w.detach().numpy())
    np.testing.assert_allclose(found[0], expected.detach().numpy(), rtol=1e-12)
    assert (tmp_path / "program_backward.py").exists()
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import program; assert 'chainrule' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_environment_variable_runs_everything_eagerly() -> None:
    code = "import chainrule as cr; f = cr.compile(lambda x: float(x) + 1); print(f(cr.ones(())), f.traces)"
    environment = {**os.environ, "CHAINRULE_COMPILE": "0"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["2.0", "0"]


def test_a_saved_program_brings_the_functions_that_it_calls(tmp_path: Path) -> None:
    cr.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Upsample(scale_factor=2),
        nn.Flatten(),
        nn.Linear(48, 5),
    )
    table = nn.Embedding(5, 2)

    @compile
    def step(x: Any, y: Any) -> Any:
        net.zero_grad(), table.zero_grad()
        loss = F.cross_entropy(net(x), y) + (table(y) ** 2).sum()
        loss.backward()
        return loss.detach(), net[0].weight.grad.clone(), table.weight.grad.clone()

    x, y = cr.randn(2, 1, 4, 4), cr.tensor([1, 4])
    expected = [value.numpy().copy() for value in step(x, y)]
    assert "from chainrule.ops" in step.source
    step.save(tmp_path / "saved.py")
    inputs = {f"input_{i}": array for i, array in enumerate(step.latest().last_inputs)}
    np.savez(tmp_path / "inputs.npz", **inputs)
    code = (
        "import sys; sys.modules['chainrule'] = None\n"
        "import numpy as np, saved\n"
        "inputs = np.load('inputs.npz')\n"
        "np.savez('outputs.npz', *saved.step(*(inputs[f'input_{i}'] for i in range(len(inputs)))))\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
    with np.load(tmp_path / "outputs.npz") as found:
        for i, array in enumerate(expected):
            np.testing.assert_allclose(found[f"arr_{i}"], array, rtol=1e-6)
    text = (tmp_path / "saved.py").read_text()
    assert "def convolve(" in text and "\nfrom chainrule" not in text
    (tmp_path / "edited.py").write_text(text.replace("return (loss,", "return (2 * loss,"))
    found = load(tmp_path / "edited.py").step(*inputs.values())
    assert found[0] == pytest.approx(2 * expected[0], rel=1e-6)


def test_what_cannot_be_written_to_a_file_is_named(tmp_path: Path) -> None:
    from chainrule.compiler.bundle import bundle

    with pytest.raises(TypeError, match="chainrule.ops.scan.missing cannot be written"):
        bundle([("chainrule.ops.scan", "missing")])


def test_constants_read_as_the_calls_that_make_them(tmp_path: Path) -> None:
    def step(x: Any, rows: Any) -> Any:
        masked = cr.where(cr.triu(cr.ones(5, 5, dtype=cr.bool), 1), cr.tensor(float("-inf")), x)
        third = cr.tensor(1 / 3)
        scaled = (x * third)[rows]
        return masked, cr.tril(cr.ones(5, 5)) * x, (cr.eye(5) * x).sum(0), scaled, x * (cr.zeros(5, 5) * -1), x.mean()

    x, rows = cr.randn(5, 5), cr.tensor([0, 3])
    compiled = compile(step)
    found = compiled(x, rows)
    for text in (
        "np.triu(np.ones((5, 5), bool), 1)",
        "np.array(-np.inf, np.float32)",
        "np.tri(5, 5, 0, np.float32)",
        "np.eye(5, dtype=np.float32)",
        "np.array(0.33333334, np.float32)",
        "np.array(-0.0, np.float32)",
        "[rows]\n",  # a copy already, and an index without a comma
        "np.mean(x)",
    ):
        assert text in compiled.source
    assert "comes with the program" not in compiled.source and ".copy()" not in compiled.source
    compiled.save(str(tmp_path / "saved.py"))
    namespace: dict[str, Any] = {}
    exec((tmp_path / "saved.py").read_text(), namespace)
    saved = namespace["step"](x.numpy(), rows.numpy())
    for ours, theirs, eager in zip(found, saved, step(x, rows), strict=True):
        np.testing.assert_array_equal(ours.numpy(), eager.numpy())
        np.testing.assert_array_equal(theirs, eager.numpy())
        assert np.array_equal(np.signbit(theirs), np.signbit(eager.numpy())) and theirs.dtype == np.float32


def test_an_identity_matrix_with_negative_zeros_is_kept_as_it_is() -> None:
    signed = np.where(np.eye(3) == 1, np.float32(1), np.float32(-0.0))

    @compile
    def scaled(x: Any) -> Any:
        return x * cr.where(cr.eye(3) == 1, cr.tensor(1.0), cr.tensor(-0.0))

    found = scaled(cr.ones(3, 3)).numpy()
    np.testing.assert_array_equal(np.signbit(found), np.signbit(signed))
    np.testing.assert_array_equal(found, signed)


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_a_number_in_a_program_is_the_number_to_the_bit(kind: Any) -> None:
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2 ** (8 * np.dtype(kind).itemsize), 3000, dtype=np.uint64)
    for number in bits.astype(f"u{np.dtype(kind).itemsize}").view(kind):
        text = shortest(number)
        assert (not np.isfinite(number) or number == 0) if not text else kind(float(text)) == number
