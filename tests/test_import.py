"""What `import chainrule` brings with it: NumPy, and nothing heavy besides."""

from __future__ import annotations

import subprocess
import sys

LATE = ("scipy", "matplotlib", "sklearn", "tqdm", "torch", "numba", "graphviz", "safetensors", "hypothesis", "pytest")
LARGE = ("asyncio", "dataclasses", "email", "hashlib", "http", "json", "multiprocessing", "secrets", "unittest", "xml")


def run(script: str) -> str:
    """What a script prints in a fresh process."""
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout


def modules_after(statement: str) -> set[str]:
    """The modules that a fresh process holds after a statement."""
    return set(run(f"{statement}\nimport sys\nprint(*sys.modules)").split())


def test_importing_chainrule_imports_no_optional_and_no_heavy_library() -> None:
    top_level = {name.partition(".")[0] for name in modules_after("import chainrule")}
    assert top_level.isdisjoint(LATE)


def test_all_that_importing_adds_to_numpy_is_the_package_itself_and_small_standard_modules() -> None:
    added = modules_after("import chainrule") - modules_after("import numpy, numpy.fft")
    foreign = {name.partition(".")[0] for name in added} - {"chainrule"}
    assert foreign <= set(sys.stdlib_module_names)
    assert foreign.isdisjoint(LARGE)


def test_the_public_names_exist_and_the_version_is_one() -> None:
    import chainrule

    assert chainrule.__version__.count(".") == 2
    for name in ("Tensor", "tensor", "no_grad", "BACK_FUNCS", "backward", "wrap_forward_fn", "float32"):
        assert hasattr(chainrule, name)


def test_the_package_says_that_it_is_typed() -> None:
    from importlib.resources import files

    assert files("chainrule").joinpath("py.typed").is_file()
