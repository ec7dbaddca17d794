"""Compiled kernels on disk: found again, safe under several processes, rebuilt when damaged, never in the way."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("numba")

from chainrule.compiler.kernels import cache

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
TYPES = "void(float64[::1], float64[::1])"

# prints the result, how often Numba compiled, and whether it made itself ready to, which takes half a second
SCRIPT = """
import sys
import numpy as np
from chainrule.compiler.kernels.cache import load_kernel
kernel = load_kernel(sys.argv[1], "shifted", "void(float64[::1], float64[::1])")
out = np.empty(2)
kernel(np.zeros(2), out)
print(out.tolist(), sum(kernel.stats.cache_misses.values()), "numba.np.linalg" in sys.modules)
"""


def source(shift: float = 1.0) -> str:
    """The module's text."""
    return SOURCE.replace("SHIFT", repr(shift))


def value(kernel: Any) -> float:
    """What the kernel makes of 0."""
    out = np.empty(3)
    kernel(np.zeros(3), out)
    return float(out[0])


def compiled(kernel: Any) -> bool:
    """Whether Numba compiled it, rather than load it from the disk."""
    return bool(sum(kernel.stats.cache_misses.values()))


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


def start(text: str) -> subprocess.Popen[str]:
    """A process that loads the kernel."""
    return subprocess.Popen([sys.executable, "-c", SCRIPT, text], text=True, stdout=-1, stderr=-1)


# ----- found again -----


def test_a_kernel_is_compiled_once_a_process(directory: Path) -> None:
    kernel = cache.load_kernel(source(), "shifted", TYPES)
    assert value(kernel) == 2.0
    assert cache.load_kernel(source(), "shifted", TYPES) is kernel


def test_a_second_process_does_not_compile(directory: Path) -> None:
    first = start(source())
    assert first.communicate()[0] == "[2.0, 2.0] 1 True\n"
    second = start(source())
    assert second.communicate()[0] == "[2.0, 2.0] 0 False\n"


def test_processes_at_the_same_time_do_not_disturb_each_other(directory: Path) -> None:
    running = [start(source(5.0)) for _ in range(3)]
    for process in running:
        out, err = process.communicate()
        assert out.startswith("[6.0, 6.0]"), err
    assert [path.suffix for path in directory.iterdir()] == [".kernel"]  # one file, and nothing half written
    forget()
    assert not compiled(cache.load_kernel(source(5.0), "shifted", TYPES))


def test_a_parallel_kernel_is_kept_as_well(directory: Path) -> None:
    text = "from numba import prange\ndef fill(x):\n    for i in prange(x.size):\n        x[i] = i\n"
    for _ in range(2):
        kernel = cache.load_kernel(text, "fill", "void(float64[::1])", parallel=True)
        x = np.empty(100)
        kernel(x)
        assert (x == np.arange(100)).all()
        was_compiled = compiled(kernel)
        forget()
    assert not was_compiled


# ----- what the key holds -----


def test_text_name_types_and_options_make_different_kernels(directory: Path) -> None:
    assert value(cache.load_kernel(source(1.0), "shifted", TYPES)) == 2.0
    assert value(cache.load_kernel(source(2.0), "shifted", TYPES)) == 3.0
    assert value(cache.load_kernel(source(1.0), "doubled", TYPES)) == 0.0
    cache.load_kernel(source(1.0), "doubled", "void(float32[::1], float32[::1])")
    cache.load_kernel(source(1.0), "doubled", TYPES, fastmath={"contract", "nsz"})
    assert len(list(directory.iterdir())) == 5


def test_the_key_is_the_same_in_every_process() -> None:
    options = {"fastmath": {"contract", "reassoc", "nsz"}, "parallel": True}
    text = (
        "from chainrule.compiler.kernels.cache import kernel_key\n"
        f"print(kernel_key('text', 'name', 'types', {{'parallel': True, 'fastmath': {options['fastmath']!r}}}))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    out = subprocess.run([sys.executable, "-c", text], env=environment, text=True, capture_output=True).stdout
    assert out.strip() == cache.kernel_key("text", "name", "types", options)


@pytest.mark.parametrize("position", range(4))
def test_versions_processor_settings_and_elementary_functions_are_part_of_the_key(
    position: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = cache.kernel_key("text", "name", "types", {})
    surroundings = list(cache.surroundings())
    surroundings[position] = "another"
    monkeypatch.setattr(cache, "surroundings", lambda: tuple(surroundings))
    assert cache.kernel_key("text", "name", "types", {}) != before


# ----- damage -----


@pytest.mark.parametrize("damage", ["empty", "cut", "changed", "not ours", "another Numba's"])
def test_a_damaged_file_is_compiled_again(directory: Path, damage: str) -> None:
    cache.load_kernel(source(), "shifted", TYPES)
    (path,) = directory.iterdir()
    content = path.read_bytes()
    payload = b"\x80\x04N."  # None, pickled
    path.write_bytes(
        {
            "empty": b"",
            "cut": content[: len(content) // 2],
            "changed": content[:-100] + bytes([content[-100] ^ 1]) + content[-99:],
            "not ours": b"text",
            "another Numba's": hashlib.sha256(payload).digest() + payload,
        }[damage]
    )
    forget()
    kernel = cache.load_kernel(source(), "shifted", TYPES)
    assert value(kernel) == 2.0
    assert compiled(kernel)
    forget()
    assert not compiled(cache.load_kernel(source(), "shifted", TYPES))  # the file was replaced


def test_a_loaded_kernel_raises_allocates_and_calls_the_c_library(directory: Path) -> None:
    text = """
import math
import numpy as np

def checked(x, out):
    if x.size != out.size:
        raise ValueError("sizes differ")
    powers = np.empty(x.size)
    for i in range(x.size):
        powers[i] = math.pow(x[i], 1.5) + math.lgamma(x[i])
    out[:] = powers
"""
    program = f"""
import numpy as np
from chainrule.compiler.kernels.cache import load_kernel
kernel = load_kernel({text!r}, "checked", {TYPES!r})
out = np.empty(2)
kernel(np.array([1.0, 4.0]), out)
try:
    kernel(np.zeros(3), out)
except ValueError as error:
    print(out.round(6).tolist(), error)
"""
    for _ in range(2):
        out = subprocess.run([sys.executable, "-c", program], text=True, capture_output=True).stdout
        assert out == "[1.0, 9.791759] sizes differ\n"


def test_a_text_that_cannot_be_compiled_raises_and_leaves_nothing(directory: Path) -> None:
    from numba.core.errors import NumbaError

    text = "def wrong(x, out):\n    out[0] = x.no_such_method()\n"
    for _ in range(2):
        with pytest.raises(NumbaError, match="no_such_method"):
            cache.load_kernel(text, "wrong", TYPES)
    assert not list(directory.iterdir())


# ----- the directory -----


def test_a_directory_that_cannot_be_written_gives_one_warning(directory: Path) -> None:
    directory.write_text("a file stands where the directory should be")
    with pytest.warns(UserWarning, match="cannot be kept in .*set CHAINRULE_CACHE_DIR"):
        kernel = cache.load_kernel(source(), "shifted", TYPES)
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
