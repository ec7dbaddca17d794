"""The benchmarks compare like with like, and their command line says what is wrong. Nothing here is timed."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import __main__ as command_line
from benchmarks import report, runner
from benchmarks.peers import PEERS
from benchmarks.workload import Bound, Program, Workload
from benchmarks.workloads import NAMES, load

STEPS = 3


def programs_with_a_hand_written_one() -> list[Any]:
    """(workload, peer) for every program that the hand-written one can be the oracle of."""
    pairs = []
    for name in NAMES:
        workload = load(name)
        if workload.in_process and "numpy" in workload.programs:
            pairs += [(name, peer) for peer in workload.programs if peer not in ("numpy", "torch2")]
    needs_torch = {peer: [pytest.mark.torch] for peer in PEERS if "torch" in PEERS[peer].modules}
    return [pytest.param(name, peer, marks=needs_torch.get(peer, [])) for name, peer in pairs]


def observed(workload: Workload, peer: str) -> dict[str, Any]:
    """What a program computed in a few steps."""
    for module in PEERS[peer].modules:
        pytest.importorskip(module)
    program = workload.programs[peer]()
    for _ in range(STEPS):
        program.step()
    return program.observe()


@pytest.mark.parametrize(("name", "peer"), programs_with_a_hand_written_one())
def test_every_program_computes_what_the_hand_written_one_does(name: str, peer: str) -> None:
    workload = load(name)
    expected, found = observed(workload, "numpy"), observed(workload, peer)
    assert "loss" in found and len(found) > 1
    assert found.keys() <= expected.keys()
    for key, value in found.items():
        size = np.max(np.abs(expected[key]))
        np.testing.assert_allclose(
            value, expected[key], rtol=workload.tolerance, atol=workload.tolerance * size, err_msg=key
        )
        if workload.same_dtype:
            assert np.asarray(value).dtype == np.asarray(expected[key]).dtype, key


def test_the_character_gpt_computes_what_it_does_in_pytorch() -> None:
    """It has no hand-written program: PyTorch's is the oracle, after one step, before AdamW divides small numbers."""
    workload = load("char-gpt")
    pytest.importorskip("torch")
    found, expected = ({}, {})
    for peer, result in (("chainrule", found), ("torch1", expected)):
        program = workload.programs[peer]()
        program.step()
        result.update({key: value for key, value in program.observe().items() if key.startswith(("loss", "grad_"))})
    assert found.keys() == expected.keys()
    for key, value in found.items():
        size = np.max(np.abs(expected[key]))
        np.testing.assert_allclose(value, expected[key], rtol=1e-3, atol=1e-4 * size, err_msg=key)


@pytest.mark.parametrize("name", ["mlp-small", "scalars", "gelu", "lenet", "two-convolutions"])
def test_the_hand_written_gradients_agree_with_finite_differences(name: str) -> None:
    """The oracle of the test above has one of its own: the loss moves by gradient times step."""
    if name == "scalars":
        scalars = importlib.import_module("benchmarks.workloads.scalars")
        gradients = observed(load(name), "numpy")
        for leaf, value in scalars.START.items():
            low, high = (
                scalars.formula(**(scalars.START | {leaf: value + step}), relu=lambda x: max(x, 0.0))
                for step in (-1e-6, 1e-6)
            )
            assert gradients[f"grad_{leaf}"] == pytest.approx((high - low) / 2e-6, rel=1e-6, abs=1e-9)
    elif name == "gelu":
        gelu = importlib.import_module("benchmarks.workloads.gelu")
        x = gelu.data().astype(np.float64)[:50]
        gradient = observed(load(name), "numpy")["grad_x"][:50]
        for index in range(50):
            low, high = (gelu.formula(x[index : index + 1] + step, np.tanh) for step in (-1e-6, 1e-6))
            assert gradient[index] == pytest.approx((high - low) / 2e-6, rel=1e-4, abs=1e-6)
    else:
        workload = load(name)
        program = workload.programs["numpy"]()
        program.step()
        first = program.observe()
        program.step()
        second = program.observe()
        step = sum(np.sum(value**2) for key, value in first.items() if key.startswith("grad_"))
        assert first["loss"] - second["loss"] == pytest.approx(0.01 * step, rel=0.05)


# ----- statistics and the report -----


def result_of(**turns: list[float]) -> runner.Result:
    return runner.Result(
        "work", "some work", measurements={peer: runner.Measurement(list(t)) for peer, t in turns.items()}
    )


def test_a_ratio_is_the_median_turn_by_turn_and_takes_the_better_of_several_peers() -> None:
    result = result_of(chainrule=[1.0, 2.0, 90.0], torch1=[4.0, 4.0, 4.0], torch2=[8.0, 5.0, 100.0])
    assert result.ratio("chainrule", ("torch1", "torch2")) == 0.5
    assert result.ratio("chainrule", ("torch2",)) == 0.4


def test_a_machine_that_is_slower_for_half_of_a_run_does_not_move_a_ratio() -> None:
    result = result_of(chainrule=[1.0, 1.0, 1.0, 3.0, 3.0], numpy=[2.0, 2.0, 6.0, 6.0, 6.0])
    assert result.ratio("chainrule", ("numpy",)) == 0.5


def test_a_bound_is_not_measured_when_a_peer_of_it_did_not_run() -> None:
    result = result_of(chainrule=[1.0], torch1=[2.0], torch2=[])
    result.judge(
        [Bound(0.6, ("torch1",)), Bound(0.4, ("torch1",)), Bound(0.6, ("torch1", "torch2")), Bound(1, ("jax",))]
    )
    assert [verdict.holds for verdict in result.verdicts] == [True, False, None, None]


def test_a_bound_without_a_peer_is_on_a_number_of_the_report() -> None:
    result = runner.Result("work", "some work", numbers={"bytes": 7.0})
    result.judge([Bound(8, quantity="bytes"), Bound(6, quantity="bytes")])
    assert [verdict.holds for verdict in result.verdicts] == [True, False]


def with_first_calls(result: runner.Result, peer: str, cold: list[float], warm: list[float]) -> None:
    result.measurements[peer].first_calls, result.measurements[peer].warm_first_calls = cold, warm


def test_a_bound_on_first_calls_is_on_their_medians_cold_or_warm() -> None:
    result = result_of(compiled=[1.0], jax=[1.0], torch_compile=[1.0])
    with_first_calls(result, "compiled", [3.0, 2.0, 9.0], [0.5])
    with_first_calls(result, "jax", [2.0], [0.8, 1.0, 1.1])
    cold, warm = "first_call", "warm_first_call"
    bounds = [
        (1.5, "jax", cold),
        (1.4, "jax", cold),
        (0.5, "jax", warm),
        (0.4, "jax", warm),
        (9, "torch_compile", cold),
    ]
    result.judge([Bound(limit, (peer,), of="compiled", quantity=quantity) for limit, peer, quantity in bounds])
    assert [verdict.holds for verdict in result.verdicts] == [True, False, True, False, None]


def test_a_bound_can_be_on_a_difference_in_seconds() -> None:
    result = result_of(chainrule=[1.0], compiled=[1.0])
    with_first_calls(result, "chainrule", [0.2], [0.25])
    with_first_calls(result, "compiled", [3.0], [1.0])
    result.judge([Bound(x, ("chainrule",), "compiled", "warm_first_call", difference=True) for x in (0.8, 0.7)])
    assert [(verdict.value, verdict.holds) for verdict in result.verdicts] == [(0.75, True), (0.75, False)]
    row = next(line for line in report.table([result]).splitlines() if "<= 0.7 s" in line)
    assert "chainrule.compile - chainrule" in row and "0.75 s" in row and row.endswith("NO")


def test_the_table_shows_each_bound_once_with_its_verdict() -> None:
    result = result_of(chainrule=[1.0, 1.0], torch1=[2.0, 2.0], torch2=[4.0, 4.0], numpy=[1.0, 1.0])
    result.judge([Bound(0.45, ("torch1", "torch2")), Bound(1.15, ("numpy",))])
    lines = report.table([result]).splitlines()
    assert sum("<= 0.45" in line and line.endswith("NO") for line in lines) == 1
    assert sum("<= 1.15" in line and line.endswith("yes") for line in lines) == 1


@pytest.mark.parametrize(
    ("value", "text"), [(2.5, "2.5 s"), (1.0, "1 s"), (0.0123, "12.3 ms"), (4.56e-5, "45.6 us"), (2e-8, "20 ns")]
)
def test_seconds_are_written_with_three_digits(value: float, text: str) -> None:
    assert report.seconds(value) == text


def test_a_write_that_fails_leaves_the_file_that_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "benchmarks.json"
    report.write_json(path, {"run": 1})

    def fail(*_: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        report.write_json(path, {"run": 2})
    assert json.loads(path.read_text()) == {"run": 1}
    assert os.listdir(tmp_path) == ["benchmarks.json"]


# ----- the processes -----


def test_a_worker_gets_no_settings_of_blas_threads_or_chainrule(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENBLAS_CORETYPE", "NVPL_BLAS_DEBUG_CPU_TYPE", "OMP_NUM_THREADS", "CHAINRULE_ALLOCATOR"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("KEPT", "yes")
    found = runner.environment("numpy")
    assert found["KEPT"] == "yes"
    assert not [name for name in found if name.startswith(("OPENBLAS_", "NVPL_", "OMP_", "CHAINRULE_"))]


def test_what_peers_have_compiled_before_is_not_found_unless_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("CHAINRULE_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "JAX_COMPILATION_CACHE_DIR")
    for name in names:
        monkeypatch.setenv(name, "/somewhere")
    cold, warm = (runner.environment("jax", "/folder", keeping=keeping) for keeping in (False, True))
    assert [cold.get(name) for name in names] == ["/folder/chainrule", "/folder/inductor", None]
    assert [warm.get(name) for name in names] == ["/folder/chainrule", "/folder/inductor", "/folder/jax"]


def test_first_calls_are_measured_for_those_that_a_bound_speaks_of_each_on_a_folder_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found: list[tuple[str, str | None]] = []

    def first_call(name: str, peer: str, folder: str | None = None) -> float:
        found.append((peer, folder))
        return 1.0 if folder is None else 0.5

    monkeypatch.setattr(runner, "first_call", first_call)
    result = result_of(chainrule=[1.0], compiled=[1.0], numpy=[1.0])
    bound = Bound(1.0, ("chainrule",), "compiled", "warm_first_call", difference=True)
    workload = Workload("some work", bounds=(bound, Bound(1.0, ("numpy",))))
    plan = runner.Plan(first_calls=2)
    runner.run_first_calls(result, workload, ["chainrule", "numpy", "compiled"], plan, lambda fraction, doing: None)
    compiled = result.measurements["compiled"]
    assert (compiled.first_calls, compiled.warm_first_calls) == ([1.0, 1.0], [0.5, 0.5])
    assert not result.measurements["numpy"].first_calls
    folders = [folder for peer, folder in found if peer == "compiled"]
    # cold, to fill the folder, warm; cold, warm
    assert folders[0] is folders[3] is None and len({*folders}) == 2
    assert not {folder for peer, folder in found if peer == "chainrule"} & {*folders} - {None}


def test_a_program_that_cannot_be_built_is_a_line_in_the_report_and_the_others_run() -> None:
    workload = load("scalars")
    plan = runner.Plan(rounds=2, turn_seconds=1e-4, warm_seconds=1e-3)
    result = runner.Result("scalars", workload.title)
    unbuildable = Workload("broken", {"python": lambda: Program(lambda: None), "numpy": workload.programs["numpy"]})
    runner.run_turns(result, unbuildable, ["python", "numpy"], plan, lambda fraction, doing: None)
    assert result.errors() == ["scalars, python: KeyError: 'python'"]
    assert len(result.measurements["numpy"].turns) == 2


def test_a_worker_that_dies_is_an_error_with_its_last_words() -> None:
    with runner.WorkerProcess("scalars", "numpy") as process:
        process.process.kill()
        with pytest.raises(runner.WorkerError, match="the process ended with code"):
            process.ask("start", warm_seconds=0.0)


# ----- the command line -----


@pytest.mark.parametrize(
    "arguments",
    [
        ["--only", "nothing"],
        ["--only", ","],
        ["--peers", "tensorflow"],
        ["--rounds", "0"],
        ["--rounds", "many"],
        ["--out", "/dev/null/results"],
        ["--frobnicate"],
    ],
)
def test_a_bad_option_gets_one_line_and_exit_code_2(arguments: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        command_line.main(arguments)
    assert exit_.value.code == 2
    out, err = capfd.readouterr()
    assert out == "" and err.count("\n") == 1 and arguments[0] in err


def test_a_peer_that_is_asked_for_must_be_installed(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("benchmarks.peers.Peer.installed", lambda self: self.title != "MyGrad")
    with pytest.raises(SystemExit):
        command_line.main(["--peers", "numpy,mygrad"])
    assert "not installed: mygrad" in capfd.readouterr().err


def test_the_list_names_all_workloads_and_peers(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.main(["--list"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in (*NAMES, *PEERS))


def test_a_quick_run_writes_json_and_a_table(tmp_path: Path) -> None:
    pytest.importorskip("chainrule.nn")
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "benchmarks",
            "--quick",
            "--rounds",
            "3",
            "--only",
            "mlp-small,scalars",
            "--peers",
            "numpy",
        ]
        + ["--out", str(tmp_path)],
        cwd=runner.ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    workloads = json.loads((tmp_path / "benchmarks.json").read_text())["workloads"]
    for name in ("mlp-small", "scalars"):
        assert workloads[name]["ratios"]["numpy"] > 0
        assert len(workloads[name]["measurements"]["chainrule"]["turns"]) == 3
        assert name in run.stdout
