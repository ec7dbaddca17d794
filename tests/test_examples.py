"""The programs in examples/ in their short forms: what they write, how they go on, how they stop."""

from __future__ import annotations

import importlib
import math
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr

for extra in ("tqdm", "matplotlib", "sklearn"):
    pytest.importorskip(extra)

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
NAMES = ["convnet", "gpt", "least_squares", "lstm", "moons", "vae"]
PICTURES = {name: f"{name}.png" for name in NAMES}


@pytest.fixture(scope="module", autouse=True)
def the_folder_on_the_path() -> Iterator[None]:
    threads = cr.get_num_threads()
    sys.path.insert(0, str(EXAMPLES))
    yield
    sys.path.remove(str(EXAMPLES))
    for name in ("common", *NAMES):
        sys.modules.pop(name, None)
    cr.set_num_threads(threads)


def module(name: str) -> Any:
    return importlib.import_module(name)


def launch(name: str, *arguments: Any) -> int:
    """`python examples/NAME.py --short ARGUMENTS` in this process; returns the exit code."""
    program = module(name)
    default = cr.get_default_dtype()
    try:
        return module("common").launch(program.main, program.OPTIONS, ["--short", *map(str, arguments)])
    finally:
        cr.set_default_dtype(default)


def command(name: str, *arguments: Any) -> list[str]:
    return [sys.executable, str(EXAMPLES / f"{name}.py"), *map(str, arguments)]


@pytest.fixture(scope="module")
def whole_runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folder of an uninterrupted run, by program; filled by `whole_run`."""
    return {}


@pytest.fixture
def whole_run(request: pytest.FixtureRequest, whole_runs: dict[str, Path], tmp_path_factory: Any) -> tuple[str, Path]:
    """A program's name and the folder of its uninterrupted run, which is made once."""
    name = request.param
    if name not in whole_runs:
        folder = tmp_path_factory.mktemp(name) / "out"
        assert launch(name, "--out", folder) == 0
        whole_runs[name] = folder
    return name, whole_runs[name]


each_whole_run = pytest.mark.parametrize("whole_run", NAMES, indirect=True)


def same(left: Any, right: Any) -> bool:
    """Whether two checkpoints hold the same, to the last bit."""
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, cr.Tensor):
        return left.dtype == right.dtype and np.array_equal(left.numpy(), right.numpy())
    return type(left) is type(right) and bool(left == right)


# ----- what they write --------------------------------------------------------------------------------------------


@each_whole_run
def test_the_loss_falls_and_the_files_are_there(whole_run: tuple[str, Path]) -> None:
    name, folder = whole_run
    assert (folder / PICTURES[name]).read_bytes().startswith(b"\x89PNG")
    assert {path.name for path in folder.iterdir()} == {
        "checkpoint.pt",
        PICTURES[name],
        *(["sample.txt"] if name == "gpt" else []),
    }
    checkpoint = cr.load(folder / "checkpoint.pt")
    options = module(name).OPTIONS.short
    losses = np.reshape(checkpoint["losses"], (options["epochs"], -1)).mean(axis=1)
    assert checkpoint["epoch"] == len(losses)
    assert losses[-1] < 0.95 * losses[0]


def test_progress_is_shown_and_the_last_lines_say_where_the_files_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert launch("moons", "--out", tmp_path / "out") == 0
    printed, progress = capsys.readouterr()
    assert printed.splitlines()[-2:] == [f"wrote {tmp_path / 'out' / x}" for x in ("moons.png", "checkpoint.pt")]
    assert len(re.findall(r"^epoch +\d/8   loss \d\.\d{4}   test accuracy 0\.\d{4}$", printed, re.M)) == 8
    assert "training: 100%" in progress


def test_the_gpt_learns_from_a_text_that_is_given_and_writes_in_its_letters(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("ab ba, abba\n" * 100, encoding="utf-8")
    assert launch("gpt", "--text", text, "--prompt", "ab", "--lr", 0.01, "--epochs", 6, "--out", tmp_path / "out") == 0
    sample = (tmp_path / "out" / "sample.txt").read_text(encoding="utf-8")
    assert sample.startswith("ab") and len(sample) == 2 + 80 and set(sample) <= set("ab ,\n")
    losses = cr.load(tmp_path / "out" / "checkpoint.pt")["losses"]
    assert np.mean(losses[-8:]) < math.log(5) / 2, "better than to guess one of five letters"


def test_least_squares_finds_what_scipy_finds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert launch("least_squares", "--out", tmp_path) == 0
    found = re.search(r"left over: (\S+) by L-BFGS, (\S+) by SciPy", capsys.readouterr().out)
    assert found and float(found[1]) == pytest.approx(float(found[2]), rel=1e-6)


# ----- how they go on ---------------------------------------------------------------------------------------------


@each_whole_run
def test_a_run_that_is_interrupted_and_resumed_ends_as_one_that_was_not(
    whole_run: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name, uninterrupted = whole_run
    common = module("common")
    record, steps = common.Training.record, 0

    def record_until_interrupted(self: Any, loss: cr.Tensor) -> None:
        nonlocal steps
        steps += 1
        if steps > 1.5 * self.steps:  # in the second epoch; of least squares, at its end
            raise KeyboardInterrupt
        record(self, loss)

    with monkeypatch.context() as patch:
        patch.setattr(common.Training, "record", record_until_interrupted)
        assert launch(name, "--out", tmp_path) == 130
    assert "interrupted; --resume goes on from the last checkpoint" in capsys.readouterr().err
    assert cr.load(tmp_path / "checkpoint.pt")["epoch"] == 1
    cr.manual_seed(12345)  # what happens in between does not matter
    assert launch(name, "--out", tmp_path, "--resume") == 0
    assert f"going on after epoch 1 of {tmp_path / 'checkpoint.pt'}" in capsys.readouterr().out
    assert same(cr.load(tmp_path / "checkpoint.pt"), cr.load(uninterrupted / "checkpoint.pt"))
    for path in uninterrupted.iterdir():
        if path.suffix != ".pt":
            assert (tmp_path / path.name).read_bytes() == path.read_bytes()


def test_a_run_that_is_killed_goes_on_from_its_last_epoch(tmp_path: Path) -> None:
    arguments = ("--epochs", 60, "--points", 200, "--out")
    with subprocess.Popen(
        command("moons", *arguments, tmp_path / "killed"), stdout=-1, stderr=-3, text=True
    ) as process:
        assert process.stdout is not None and process.stdout.readline().startswith("epoch   1/60")
        process.send_signal(signal.SIGKILL)
    assert 1 <= cr.load(tmp_path / "killed" / "checkpoint.pt")["epoch"] < 60
    subprocess.run(command("moons", *arguments, tmp_path / "killed", "--resume"), check=True, capture_output=True)
    assert launch("moons", *arguments, tmp_path / "whole") == 0
    killed, whole = (cr.load(tmp_path / folder / "checkpoint.pt") for folder in ("killed", "whole"))
    assert same(killed, whole)


def test_a_finished_run_can_be_resumed_to_draw_it_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert launch("moons", "--out", tmp_path) == 0
    picture = (tmp_path / "moons.png").read_bytes()
    (tmp_path / "moons.png").unlink()
    assert launch("moons", "--out", tmp_path, "--resume") == 0
    assert (tmp_path / "moons.png").read_bytes() == picture


def test_a_trained_gpt_writes_from_another_prompt_but_not_of_another_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "text.txt"
    text.write_text("ab ba, abba\n" * 100, encoding="utf-8")
    run = ("gpt", "--epochs", 1, "--text", text, "--out", tmp_path / "out")
    assert launch(*run) == 0
    assert launch(*run, "--resume", "--prompt", "abba,", "--characters", 3) == 0
    sample = (tmp_path / "out" / "sample.txt").read_text(encoding="utf-8")
    assert sample.startswith("abba,") and len(sample) == 8
    text.write_text("ab ba, baba\n" * 100, encoding="utf-8")
    assert launch(*run, "--resume") == 2
    assert "was made with a text of checksum" in capsys.readouterr().err


def test_a_checkpoint_of_another_run_is_refused_by_what_differs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert launch("moons", "--out", tmp_path) == 0
    before = (tmp_path / "checkpoint.pt").read_bytes()
    capsys.readouterr()
    assert launch("moons", "--out", tmp_path, "--resume", "--lr", 0.2) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and "was made with --lr 0.1, not 0.2" in line
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"no checkpoint", "half"])
def test_a_checkpoint_that_cannot_be_read_is_one_line(
    tmp_path: Path, content: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "checkpoint.pt"
    if content == "half":
        cr.save({"made_of": {}, "x": cr.zeros(1000)}, path)
        content = path.read_bytes()[:2000]
    path.write_bytes(content)
    assert launch("moons", "--out", tmp_path, "--resume") == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and f"argument --resume: cannot read {path}" in line
    assert path.read_bytes() == content


# ----- how they stop ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_loss_that_is_not_finite_ends_the_run_with_step_and_norms(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if name == "least_squares":  # whose line search does not let a rate run away
        table = module("common").read_table("carbon_dioxide.csv")
        table[100, 2] = np.nan
        monkeypatch.setattr(module("common"), "read_table", lambda name: table)
    assert launch(name, "--lr", "1e38", "--out", tmp_path) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert re.search(r"step \d+ \(epoch \d+\): the loss is -?(nan|inf); norms of the parameters: \w\S+ \S+, ", line)
    assert "try a smaller --lr" in line
    assert not (tmp_path / PICTURES[name]).exists()


def test_a_bad_loss_leaves_the_checkpoint_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    common = module("common")
    record = common.Training.record

    def spoil(self: Any, loss: cr.Tensor) -> None:
        record(self, loss * math.nan if len(self.losses) == 2 * self.steps else loss)

    monkeypatch.setattr(common.Training, "record", spoil)
    assert launch("moons", "--out", tmp_path) == 1
    assert cr.load(tmp_path / "checkpoint.pt")["epoch"] == 2


def test_a_folder_that_goes_away_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    common = module("common")
    monkeypatch.setattr(common.Training, "report", lambda self, **figures: shutil.rmtree(self.folder))
    assert launch("moons", "--out", tmp_path / "out") == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert "No such file or directory" in line and str(tmp_path / "out") in line


def test_a_missing_package_is_one_line(tmp_path: Path) -> None:
    script = "import runpy, sys\nsys.modules['tqdm'] = None\nrunpy.run_path(sys.argv[1], {}, '__main__')"
    path = {**os.environ, "PYTHONPATH": str(EXAMPLES)}
    done = subprocess.run(
        [sys.executable, "-c", script, str(EXAMPLES / "moons.py")],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=path,
    )
    assert done.returncode == 2
    assert done.stderr == "the examples need tqdm: pip install '.[train]'\n"


BAD = [
    ("moons", "--epochs", "0"),
    ("moons", "--epochs", "1.5"),
    ("moons", "--lr", "-1"),
    ("moons", "--lr", "nan"),
    ("moons", "--lr", "fast"),
    ("moons", "--seed", "-1"),
    ("moons", "--threads", "0"),
    ("moons", "--points", "3"),
    ("moons", "--noise", "inf"),
    ("moons", "--out", __file__),
    ("moons", "--out", "/proc/nowhere"),
    ("moons", "--resume", None),
    ("moons", "--colour", "red"),
    ("convnet", "--batch", "5000"),
    ("gpt", "--width", "33"),
    ("gpt", "--text", "/nowhere.txt"),
    ("gpt", "--text", sys.executable),
    ("gpt", "--text", "/dev/null"),
    ("gpt", "--prompt", "\u2603"),
    ("gpt", "--temperature", "0"),
    ("lstm", "--every", "0"),
    ("least_squares", "--harmonics", "0"),
    ("vae", "--latent", "none"),
]


@pytest.mark.parametrize(("name", "option", "value"), BAD)
def test_a_bad_value_gets_one_line_and_exit_code_2(
    name: str, option: str, value: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = [] if option == "--out" else ["--out", tmp_path / "out"]
    assert launch(name, *out, option, *([] if value is None else [value])) == 2
    printed, line = capsys.readouterr()
    assert printed == ""
    assert line.count("\n") == 1 and option in line and (value or "checkpoint.pt") in line


def test_a_bad_value_on_the_command_line_is_the_same_line(tmp_path: Path) -> None:
    done = subprocess.run(command("gpt", "--layers", "-2"), capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2 and done.stdout == "" and list(tmp_path.iterdir()) == []
    assert done.stderr == "gpt.py: argument --layers: must be a whole number of at least 1, got '-2'\n"


# ----- what they are ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_help_names_every_option_with_its_default(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        launch(name, "--help")
    assert ended.value.code == 0
    text = capsys.readouterr().out
    for option in ("--epochs", "--lr", "--seed", "--out", "--short", "--resume"):
        assert option in text
    assert f"runs/{name}" in text


def test_the_readme_tells_of_each_program() -> None:
    text = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert [name for name in NAMES if f"python examples/{name}.py" not in text] == []


def for_torch(folder: Path) -> None:
    """Put copies of the programs that import torch into a folder."""
    for path in EXAMPLES.glob("*.py"):
        text = path.read_text(encoding="utf-8")
        text = text.replace("import chainrule as torch\n", "import torch\n").replace("from chainrule", "from torch")
        (folder / path.name).write_text(text, encoding="utf-8")
    (folder / "data").symlink_to(EXAMPLES / "data")


@pytest.mark.parametrize("whole_run", ["gpt"], indirect=True)
def test_with_torch_for_chainrule_in_the_imports_chainrule_runs_them_as_they_are(
    whole_run: tuple[str, Path], tmp_path: Path
) -> None:
    name, plain = whole_run
    for_torch(tmp_path)
    run = [sys.executable, "-m", "chainrule", "run", f"{name}.py", "--short", "--out", "out"]
    done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "sample.txt").read_bytes() == (plain / "sample.txt").read_bytes()
    assert same(cr.load(tmp_path / "out" / "checkpoint.pt"), cr.load(plain / "checkpoint.pt"))


def test_with_torch_for_chainrule_in_the_imports_they_run_on_pytorch(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    for_torch(tmp_path)
    script = (
        f"import importlib, sys, common\nfor name in {NAMES!r}:\n    program = importlib.import_module(name)\n"
        "    common.torch.set_default_dtype(common.torch.float32)\n"
        "    for more in ([], ['--resume']) if name in ('gpt', 'moons') else ([],):\n"
        "        assert common.launch(program.main, program.OPTIONS, ['--short', '--out', name, *more]) == 0, name\n"
        "assert 'chainrule' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    for name in NAMES:
        assert (tmp_path / name / PICTURES[name]).exists()


def test_the_programs_name_no_file_of_another() -> None:
    sources = {name: (EXAMPLES / f"{name}.py").read_text(encoding="utf-8") for name in NAMES}
    for name, text in sources.items():
        others = [other for other in NAMES if other != name and re.search(rf"^(from|import) {other}\b", text, re.M)]
        assert others == []
