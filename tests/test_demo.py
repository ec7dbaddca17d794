"""`chainrule demo` as a user runs it, in a short form, and what it says to bad values."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

EXTRAS = ("tqdm", "matplotlib", "sklearn", "safetensors")


def demo(*arguments: str, cwd: Path | None = None, before: str = "") -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own; `before` is Python to run first."""
    script = f"{before}\nimport sys\nfrom chainrule.__main__ import main\nsys.exit(main(['demo', *sys.argv[1:]]))"
    return subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, cwd=cwd)


@pytest.fixture(scope="module")
def short_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], Path]:
    for name in EXTRAS:
        pytest.importorskip(name)
    folder = tmp_path_factory.mktemp("demo") / "out"
    return demo("--epochs", "8", "--hidden", "64,32", "--seed", "1", "--out", str(folder)), folder


def test_the_demo_trains_and_reports(short_run: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    done, _ = short_run
    assert done.returncode == 0, done.stderr
    losses = [float(x) for x in re.findall(r"epoch +\d+/8   loss (\d+\.\d+)", done.stdout)]
    assert len(losses) == 8 and losses[-1] < 0.4 * losses[0]
    accuracy = re.search(r"test accuracy (\d+\.\d+)% \(\d+ of 359 right\)", done.stdout)
    assert accuracy and float(accuracy[1]) >= 93
    assert "training time" in done.stdout and "training:" in done.stderr, "a progress bar is drawn"


def test_the_worked_step_shows_operation_formula_and_equal_numbers(
    short_run: tuple[subprocess.CompletedProcess[str], Path],
) -> None:
    text = short_run[0].stdout
    assert "operation   linear" in text and r"\nabla_{weight} L" in text
    computed = re.search(r"= ([+-]\d\.\d+)$", text, flags=re.M)
    kept = re.search(r"is ([+-]\d\.\d+); largest difference", text)
    assert computed and kept and computed[1] == kept[1] and float(kept[1]) != 0


def test_pictures_and_weights_are_written(short_run: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    folder = short_run[1]
    assert sorted(p.name for p in folder.iterdir()) == ["digits.png", "loss.png", "weights.safetensors"]
    for name in ("digits.png", "loss.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
    from safetensors.numpy import load_file

    weights = load_file(folder / "weights.safetensors")
    assert weights["layers.0.weight"].shape == (64, 64) and weights["layers.3.weight"].shape == (32, 64)
    assert all(np.isfinite(array).all() for array in weights.values())


def test_the_weights_give_the_accuracy_that_was_printed(
    short_run: tuple[subprocess.CompletedProcess[str], Path],
) -> None:
    from safetensors.numpy import load_file

    import chainrule as cr
    from chainrule.demo import DigitReader, load_digits, read

    cr.manual_seed(1)
    digits = load_digits()
    model = DigitReader((64, 32), digits.train)
    model.load_state_dict(load_file(short_run[1] / "weights.safetensors"))
    _, accuracy, _ = read(model, digits.test, digits.test_labels)
    assert f"test accuracy {accuracy:.2%} (" in short_run[0].stdout


def test_the_same_seed_gives_the_same_run(short_run: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    done, folder = short_run
    again = demo("--epochs", "8", "--hidden", "64,32", "--seed", "1", "--out", str(folder))
    epochs = [line for line in done.stdout.splitlines() if line.startswith("epoch")]
    assert epochs == [line for line in again.stdout.splitlines() if line.startswith("epoch")]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--lr", "-1"),
        ("--lr", "nan"),
        ("--lr", "inf"),
        ("--lr", "fast"),
        ("--epochs", "0"),
        ("--epochs", "1.5"),
        ("--hidden", "64,x"),
        ("--hidden", "0"),
        ("--hidden", "64,"),
        ("--seed", "-1"),
        ("--out", __file__),
        ("--out", "/proc/nowhere"),
    ],
)
def test_a_bad_value_gets_one_line_and_exit_code_2(option: str, value: str) -> None:
    if option == "--out":
        for name in EXTRAS:
            pytest.importorskip(name)
    done = demo(option, value)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and option in done.stderr and value in done.stderr


def test_missing_extras_get_one_line_with_the_command_that_installs_them() -> None:
    done = demo(before="import sys\nsys.modules['tqdm'] = None")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "tqdm" in done.stderr and "pip install chainrule[train]" in done.stderr


def test_a_loss_that_runs_away_ends_with_advice(tmp_path: Path) -> None:
    for name in EXTRAS:
        pytest.importorskip(name)
    done = demo("--lr", "1e20", "--epochs", "1", "--out", str(tmp_path))
    assert done.returncode == 1 and "smaller --lr" in done.stderr
    assert not list(tmp_path.iterdir())


def test_the_command_line_lists_its_commands_and_its_version() -> None:
    run = [sys.executable, "-m", "chainrule"]
    assert "demo" in subprocess.run([*run, "--help"], capture_output=True, text=True).stdout
    assert subprocess.run([*run, "--version"], capture_output=True, text=True).stdout.startswith("chainrule 0.")
    wrong = subprocess.run([*run, "demmo"], capture_output=True, text=True)
    assert wrong.returncode == 2 and wrong.stderr.count("\n") == 1
