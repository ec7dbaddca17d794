"""Compiled kernels on disk: found again, safe under several processes, rebuilt when damaged, never in the way."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("numba")

from chainrule.compiler.kernels import cache, compiling, helpers
from chainrule.compiler.kernels.cache import KernelError, Text
from chainrule.compiler.kernels.kinds import float32, float64, given, int64, single, uint64

SOURCE = """
import math
from chainrule.compiler.kernels.elementary import exp_float64

def shifted(x, out):
    for i in range(x.size):
        out[i] = exp_float64(x[i]) + SHIFT

def doubled(x, out):
    for i in range(x.size):
        out[i] = 2 * x[i]
"""
TYPES = (float64[::1], float64[::1])

# prints the result, whether it was compiled, and whether Numba was imported for it
SCRIPT = """
import sys
import numpy as np
from chainrule.compiler.kernels import cache, helpers
from chainrule.compiler.kernels.kinds import float64
jobs = []
cache.compile_all = lambda found: jobs.extend(found) or helpers.compile_all(found)
kernel = cache.load_kernel(sys.argv[1], "shifted", (float64[::1], float64[::1]))
out = np.empty(2)
kernel(np.zeros(2), out)
print(out.tolist(), len(jobs), "numba" in sys.modules)
"""


def source(shift: float = 1.0) -> str:
    """The module's text."""
    return SOURCE.replace("SHIFT", repr(shift))


def value(kernel: Any) -> float:
    """What the kernel makes of 0."""
    out = np.empty(3)
    kernel(np.zeros(3), out)
    return float(out[0])


def forget() -> None:
    """As in a new process."""
    cache._kernels.clear()
    cache._unwritable.clear()
    cache.discard_old.cache_clear()


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache directory."""
    monkeypatch.setenv("CHAINRULE_CACHE_DIR", str(tmp_path / "kernels"))
    monkeypatch.delenv("CHAINRULE_CACHE", raising=False)
    forget()
    yield tmp_path / "kernels"
    forget()


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the kernels that are compiled, rather than loaded from the disk."""
    names: list[str] = []

    def compile_all(jobs: Any) -> Any:
        names.extend(job[1] for job in jobs)
        return helpers.compile_all(jobs)

    monkeypatch.setattr(cache, "compile_all", compile_all)
    return names


def start(text: str) -> subprocess.Popen[str]:
    """A process that loads the kernel."""
    return subprocess.Popen([sys.executable, "-c", SCRIPT, text], text=True, stdout=-1, stderr=-1)


# ----- found again -----


def test_a_kernel_is_compiled_once_a_process(directory: Path, compiled: list[str]) -> None:
    kernel = cache.load_kernel(source(), "shifted", TYPES)
    assert value(kernel) == 2.0
    assert cache.load_kernel(source(), "shifted", TYPES) is kernel
    assert compiled == ["shifted"]


def test_a_second_process_does_not_compile_and_none_imports_numba(directory: Path) -> None:
    first = start(source())
    assert first.communicate()[0] == "[2.0, 2.0] 1 False\n"
    second = start(source())
    assert second.communicate()[0] == "[2.0, 2.0] 0 False\n"


def test_processes_at_the_same_time_do_not_disturb_each_other(directory: Path, compiled: list[str]) -> None:
    running = [start(source(5.0)) for _ in range(3)]
    for process in running:
        out, err = process.communicate()
        assert out.startswith("[6.0, 6.0]"), err
    assert [path.suffix for path in directory.iterdir()] == [".kernel"]  # one file, and nothing half written
    forget()
    cache.load_kernel(source(5.0), "shifted", TYPES)
    assert not compiled


def test_several_kernels_are_compiled_together(directory: Path) -> None:
    texts = [Text(source(float(i)), "shifted", TYPES) for i in range(3)]
    texts += [Text("def wrong(x, out):\n    x.no_such_method()\n", "wrong", TYPES), texts[1]]
    found = cache.load_kernels(texts)
    assert [value(kernel) for kernel in (found[0], found[1], found[2])] == [1.0, 2.0, 3.0]
    assert isinstance(found[3], KernelError) and found[4] is found[1]


# ----- other processes compile -----


def in_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if Numba had not been imported."""
    monkeypatch.delitem(sys.modules, "numba")


def test_kernels_compiled_elsewhere_and_their_errors_arrive(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_processes(monkeypatch)
    texts = [Text(source(float(i)), "shifted", TYPES) for i in range(3)]
    texts.append(Text("print('shown')\ndef wrong(x, out):\n    out[0] = x.no_such_method()\n", "wrong", TYPES))
    *found, error = cache.load_kernels(texts)
    assert list(map(value, found)) == [1.0, 2.0, 3.0]
    assert isinstance(error, KernelError) and error.name == "wrong" and "cannot be compiled" in str(error)


def test_a_process_that_dies_is_an_error_of_its_kernel_alone(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_processes(monkeypatch)
    monkeypatch.setattr(helpers, "processors", lambda: 2)
    long = "def died(x, out):\n    pass\n\nimport os\nos._exit(3)\n" + "#" * 1000
    died, other = cache.load_kernels([Text(long, "died", TYPES), Text(source(), "shifted", TYPES)])
    assert isinstance(died, KernelError) and "ended with code 3" in str(died)
    assert value(other) == 2.0


@pytest.mark.parametrize("executable", [None, "", "/no/such/python"])
def test_without_an_interpreter_this_process_compiles(
    directory: Path, monkeypatch: pytest.MonkeyPatch, executable: str | None
) -> None:
    in_processes(monkeypatch)
    monkeypatch.setattr(sys, "executable", executable)
    assert value(cache.load_kernel(source(), "shifted", TYPES)) == 2.0


# ----- processes that start before there are kernels -----


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[helpers.Channel]:
    """The processes that are started, where Numba has not been imported."""
    found: list[helpers.Channel] = []

    def start(count: int, eager: bool = False) -> list[helpers.Channel]:
        channels = real(count, eager)
        found.extend(channels)
        return channels

    real = helpers.start
    in_processes(monkeypatch)
    monkeypatch.setattr(helpers, "start", start)
    monkeypatch.setattr(helpers, "processors", lambda: 3)
    monkeypatch.setattr(helpers, "DELAY", 0.0)
    return found


def wait_for(started: list[helpers.Channel]) -> None:
    """Until processes have been started ahead."""
    for _ in range(1000):
        if started:
            return
        time.sleep(0.01)
    raise AssertionError("none started")


def test_processes_started_ahead_compile_the_kernels_and_end(directory: Path, started: list[helpers.Channel]) -> None:
    with cache.expecting("program"):
        wait_for(started)
        found = cache.load_kernels([Text(source(float(i)), "shifted", TYPES) for i in range(5)])
    assert list(map(value, found)) == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert len(started) == 3 and {channel.process.poll() for channel in started} == {0}


def test_processes_that_nobody_wants_end(directory: Path, started: list[helpers.Channel]) -> None:
    with pytest.raises(ValueError, match="no program"), cache.expecting("program"):
        wait_for(started)
        raise ValueError("no program")
    assert all(channel.process.poll() is not None for channel in started)
    assert not list(directory.iterdir())  # nor does a file say that the kernels are known


def test_a_short_trace_starts_no_processes(
    directory: Path, started: list[helpers.Channel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(helpers, "DELAY", 0.2)
    with cache.expecting("program"):
        pass
    time.sleep(0.4)
    assert not started


def test_a_program_whose_kernels_are_on_disk_starts_no_processes(
    directory: Path, started: list[helpers.Channel]
) -> None:
    for _ in range(2):
        with cache.expecting("program"):
            time.sleep(0.2)
    assert len(started) == 3  # the first time
    with cache.expecting("another"):
        wait_for(started[3:] or started)
        time.sleep(0.2)
    assert len(started) == 6


def test_kernels_that_end_their_processes_leave_the_others_to_those_that_remain(
    directory: Path, started: list[helpers.Channel]
) -> None:
    # two of the three processes, at least one of which has been split off
    texts = [Text(f"import os\nos._exit(3)  # {'long' * 1000} {i}\n", "died", TYPES) for i in range(2)]
    texts += [Text(source(float(i)), "shifted", TYPES) for i in range(3)]
    *died, one, two, three = cache.load_kernels(texts)
    assert ["ended with code 3" in str(error) for error in died] == [True, True]
    assert list(map(value, (one, two, three))) == [1.0, 2.0, 3.0]


def test_where_a_process_cannot_split_the_first_one_compiles_all(
    directory: Path, started: list[helpers.Channel], monkeypatch: pytest.MonkeyPatch
) -> None:
    no_room = helpers.START.replace(
        "serve_all(", "import os\ndef fork():\n    raise OSError\nos.fork = fork\nserve_all("
    )
    monkeypatch.setattr(helpers, "START", no_room)
    found = cache.load_kernels([Text(source(float(i)), "shifted", TYPES) for i in range(3)])
    assert list(map(value, found)) == [1.0, 2.0, 3.0]
    assert len(started) == 3


def test_where_no_process_comes_up_this_one_compiles(
    directory: Path, started: list[helpers.Channel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(helpers, "START", "raise SystemExit(1)")
    assert value(cache.load_kernel(source(), "shifted", TYPES)) == 2.0
    assert len(started) == 1


def test_kernels_that_end_all_processes_leave_the_others_to_new_ones(
    directory: Path, started: list[helpers.Channel]
) -> None:
    texts = [Text(f"import os\nos._exit(3)  # {'long' * 1000} {i}\n", "died", TYPES) for i in range(3)]
    *died, last = cache.load_kernels([*texts, Text(source(), "shifted", TYPES)])
    assert ["ended with code 3" in str(error) for error in died] == [True] * 3
    assert value(last) == 2.0


def test_what_processes_compile_to_warm_up_is_a_kernel() -> None:
    assert isinstance(helpers.compile_one((*compiling.read_text(helpers.WARM_UP, "warm_up"), "warm_up")), bytes)


# ----- what the key holds -----


def test_text_name_and_types_make_different_kernels(directory: Path) -> None:
    assert value(cache.load_kernel(source(1.0), "shifted", TYPES)) == 2.0
    assert value(cache.load_kernel(source(2.0), "shifted", TYPES)) == 3.0
    assert value(cache.load_kernel(source(1.0), "doubled", TYPES)) == 0.0
    cache.load_kernel(source(1.0), "doubled", (float32[::1], float32[::1]))
    cache.load_kernel(source(1.0), "doubled", (given(float64[::1]), float64[::1]))
    assert len(list(directory.iterdir())) == 5


def test_the_key_is_the_same_in_every_process() -> None:
    text = (
        "from chainrule.compiler.kernels.cache import Text, kernel_key\n"
        "from chainrule.compiler.kernels.kinds import float64, given\n"
        "print(kernel_key(Text('text', 'name', (given(float64[:, ::1]), float64))))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    out = subprocess.run([sys.executable, "-c", text], env=environment, text=True, capture_output=True).stdout
    assert out.strip() == cache.kernel_key(Text("text", "name", (given(float64[:, ::1]), float64)))


@pytest.mark.parametrize("position", range(4))
def test_versions_processor_settings_and_elementary_functions_are_part_of_the_key(
    position: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = cache.kernel_key(Text("text", "name", ()))
    surroundings = list(cache.surroundings())
    surroundings[position] = "another"
    monkeypatch.setattr(cache, "surroundings", lambda: tuple(surroundings))
    assert cache.kernel_key(Text("text", "name", ())) != before


# ----- arguments -----


def test_an_argument_that_the_code_is_not_for_is_refused(directory: Path) -> None:
    text = "def fill(x, y, rate, total):\n    for i in range(x.size):\n        x[i] = y[i, 0] * rate + total[()]\n"
    kernel = cache.load_kernel(text, "fill", (float32[::1], given(int64[:, ::1]), float64, given(single(float64))))
    x, y, total = np.zeros(3, "f4"), np.arange(6).reshape(3, 2), np.array(0.5)
    y.flags.writeable = False
    assert kernel(x, y, 2.0, total) is None and x.tolist() == [0.5, 4.5, 8.5]
    kernel(x, y, np.float32(1), total)
    kernel(x, y, 1, total)
    assert x.tolist() == [0.5, 2.5, 4.5]
    read_only, swapped = x.copy(), y.astype(">i8")
    read_only.flags.writeable = False
    wrong = [
        (x, y, 2.0),
        (x, y, 2.0, total, total),
        (read_only, y, 2.0, total),
        (x.astype("f8"), y, 2.0, total),
        (x.reshape(3, 1), y, 2.0, total),
        (np.zeros(6, "f4")[::2], y, 2.0, total),
        (x.tolist(), y, 2.0, total),
        (None, y, 2.0, total),
        (x, y.astype("i4"), 2.0, total),
        (x, y.astype("f8"), 2.0, total),
        (x, swapped, 2.0, total),
        (x, y.T.copy().T, 2.0, total),
        (x, y, "2", total),
        (x, y, 2.0, 0.5),
        (x, y, 2.0, np.float64(0.5)),
    ]
    for args in wrong:
        with pytest.raises(TypeError):
            kernel(*args)
    assert x.tolist() == [0.5, 2.5, 4.5]


def test_both_names_of_a_type_of_integers_are_accepted(directory: Path) -> None:
    kernel = cache.load_kernel("def one(x):\n    x[0] = 1\n", "one", (int64[::1],))
    for letter in ("l", "q"):
        if np.dtype(letter).itemsize == 8:
            x = np.zeros(1, letter)
            kernel(x)
            assert x[0] == 1


def test_references_are_kept_in_balance(directory: Path) -> None:
    kernel = cache.load_kernel("def one(x, f):\n    x[0] = f\n", "one", (float64[::1], float64))
    x, number = np.zeros(1), 1234.5
    before = sys.getrefcount(x), sys.getrefcount(number), sys.getrefcount(None)
    for _ in range(1000):
        kernel(x, number)
        with pytest.raises(TypeError):
            kernel(x, x, x)
    assert (sys.getrefcount(x), sys.getrefcount(number)) == before[:2]
    assert abs(sys.getrefcount(None) - before[2]) < 500


def test_parts_of_rows_are_numbers(directory: Path) -> None:
    text = "def part(first, last, x):\n    for i in range(first, last):\n        x[i] = 1\n"
    kernel = cache.load_kernel(text, "part", (uint64, uint64, float64[::1]))
    x = np.zeros(5)
    kernel(1, 3, x)
    assert x.tolist() == [0, 1, 1, 0, 0]
    with pytest.raises(TypeError):
        kernel(1.5, 3, x)
    with pytest.raises(OverflowError):
        kernel(1, 1 << 70, x)


# ----- damage -----


@pytest.mark.parametrize("damage", ["empty", "cut", "changed", "not ours", "plain checksum", "another kernel's"])
def test_a_damaged_file_is_compiled_again(directory: Path, damage: str, compiled: list[str]) -> None:
    cache.load_kernel(source(2.0), "shifted", TYPES)
    (path,) = directory.iterdir()
    other = path.read_bytes()
    path.unlink()
    cache.load_kernel(source(), "shifted", TYPES)
    (path,) = directory.iterdir()
    content = path.read_bytes()
    payload = b"text"
    path.write_bytes(
        {
            "empty": b"",
            "cut": content[: len(content) // 2],
            "changed": content[:-100] + bytes([content[-100] ^ 1]) + content[-99:],
            "not ours": b"text",
            "plain checksum": hashlib.sha256(payload).digest() + payload,
            "another kernel's": other,
        }[damage]
    )
    forget()
    compiled.clear()
    kernel = cache.load_kernel(source(), "shifted", TYPES)
    assert value(kernel) == 2.0
    assert compiled
    forget()
    compiled.clear()
    assert value(cache.load_kernel(source(), "shifted", TYPES)) == 2.0
    assert not compiled  # the file was replaced


def test_a_loaded_kernel_raises_keeps_a_row_and_calls_the_c_library(directory: Path) -> None:
    text = """
import math
from numba import float64
from chainrule.compiler.kernels.intrinsics import row_of

def checked(x, out):
    if x.size != 2:
        raise IndexError("no pair")
    powers = row_of(2, float64)
    for i in range(x.size):
        powers[i] = math.pow(x[i], 1.5) + math.lgamma(x[i])
    for i in range(x.size):
        out[i] = powers[1 - i]
"""
    program = f"""
import numpy as np
from chainrule.compiler.kernels.cache import load_kernel
from chainrule.compiler.kernels.kinds import float64
kernel = load_kernel({text!r}, "checked", (float64[::1], float64[::1]))
out = np.empty(2)
kernel(np.array([4.0, 1.0]), out)
try:
    kernel(np.zeros(3), out)
except IndexError as error:
    print(out.round(6).tolist(), error)
"""
    for _ in range(2):
        out = subprocess.run([sys.executable, "-c", program], text=True, capture_output=True).stdout
        assert out == "[1.0, 9.791759] no pair\n"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("out[0] = x.no_such_method()", "nopython"),
        ("out[:] = np.empty(x.size)", "nopython"),  # which needs Numba's memory
        ("print(x[0])", "calls numba_gil_ensure"),
    ],
)
def test_a_text_that_cannot_be_machine_code_raises_and_leaves_nothing(directory: Path, line: str, reason: str) -> None:
    text = f"import numpy as np\n\ndef wrong(x, out):\n    {line}\n"
    for _ in range(2):
        with pytest.raises(KernelError, match=f"kernel wrong cannot be compiled: .*{reason}"):
            cache.load_kernel(text, "wrong", TYPES)
    assert not list(directory.iterdir())


# ----- the directory -----


def test_a_directory_that_cannot_be_written_gives_one_warning(directory: Path) -> None:
    directory.write_text("a file stands where the directory should be")
    with pytest.warns(UserWarning, match="cannot be kept in .*set CHAINRULE_CACHE_DIR") as warned:
        kernel = cache.load_kernel(source(), "shifted", TYPES)
    assert [warning.filename for warning in warned] == [__file__]
    assert value(kernel) == 2.0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert value(cache.load_kernel(source(3.0), "shifted", TYPES)) == 4.0


def test_a_disk_that_fills_up_gives_a_warning_and_a_kernel(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache.os, "replace", full)
    with pytest.warns(UserWarning, match="No space left on device"):
        kernel = cache.load_kernel(source(), "shifted", TYPES)
    assert value(kernel) == 2.0
    assert not list(directory.iterdir())


def test_the_store_can_be_turned_off(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINRULE_CACHE", "0")
    assert value(cache.load_kernel(source(), "shifted", TYPES)) == 2.0
    assert not directory.exists()


def test_the_directory_follows_the_platform(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CHAINRULE_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "linux")
    assert cache.wanted_directory() == tmp_path / "chainrule" / "kernels"
    monkeypatch.setattr(sys, "platform", "win32")
    assert cache.wanted_directory() == tmp_path / "chainrule" / "kernels"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache.wanted_directory().parts[-4:] == ("Library", "Caches", "chainrule", "kernels")


def test_files_used_longest_ago_go_when_there_are_too_many(tmp_path: Path) -> None:
    for age in range(4):
        path = tmp_path / f"name-{age}.kernel"
        path.write_bytes(bytes(100))
        os.utime(path, (1000 - age, 1000 - age))
    other = tmp_path / "notes.txt"
    other.write_bytes(bytes(1000))
    cache.discard_old(tmp_path, 250)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["name-0.kernel", "name-1.kernel", "notes.txt"]
