"""`chainrule run SCRIPT ARGS...`: a PyTorch program, run as `python SCRIPT ARGS...` runs it, on chainrule.

The program's own errors show the program's lines only. A name that chainrule has not ends it with one line that says
which, and where. CHAINRULE_FULL_TRACEBACK=1 shows everything.
"""

from __future__ import annotations

import builtins
import io
import os
import re
import runpy
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib.machinery import SourceFileLoader
from types import ModuleType
from typing import Any

from .absent import PAGE, Unsupported, explain, reason_for
from .core.tensor import Tensor
from .nn.module import Module
from .stand_in import as_torch

__all__ = ["main", "respawn"]

UNSUPPORTED = 2  # the exit code
HOME = os.path.dirname(os.path.abspath(__file__)) + os.sep
SCRIPT = "CHAINRULE_RUN_SCRIPT"  # for worker processes that start afresh: the script or module they are part of
FULL = "CHAINRULE_FULL_TRACEBACK"


def main(script: str, arguments: Sequence[str], as_module: bool = False) -> int:
    """Run a script, or with `as_module` a module, as `__main__`; returns the exit code.

    Raises:
        SystemExit: the program left with a code of its own.
    """
    if not as_module and not os.path.isfile(script):
        print(f"chainrule run: there is no file {script!r}", file=sys.stderr)
        return UNSUPPORTED
    as_torch()
    _let_workers_know(script, as_module)
    _put_first_on_path(os.getcwd() if as_module else os.path.dirname(os.path.realpath(script)))
    sys.argv = [script, *arguments]
    try:
        if as_module:
            runpy.run_module(script, run_name="__main__", alter_sys=True)
        else:
            run_file(script)
    except (SystemExit, KeyboardInterrupt):
        raise
    except BaseException as error:
        return report(error)
    return 0


def _put_first_on_path(folder: str) -> None:
    """The program's folder takes the place of the launcher's, unless this package is found through that."""
    launchers = {"", os.getcwd(), os.path.dirname(os.path.abspath(sys.argv[0]))} - {os.path.dirname(HOME[:-1])}
    if sys.path and sys.path[0] in launchers:
        del sys.path[0]
    sys.path.insert(0, folder)


def run_file(path: str) -> None:
    """Execute a file in a module of its own that is `__main__` from here on."""
    module = ModuleType("__main__")
    vars(module).update(
        __file__=path, __builtins__=builtins, __cached__=None, __loader__=SourceFileLoader("__main__", path)
    )
    sys.modules["__main__"] = module
    with io.open_code(os.path.abspath(path)) as file:
        code = compile(file.read(), path, "exec")
    exec(code, vars(module))


# ----- errors -----------------------------------------------------------------------------------------------------


def report(error: BaseException) -> int:
    """Print what ended the program; returns the exit code."""
    if os.environ.get(FULL, "0") not in ("", "0"):
        traceback.print_exception(error)
        return 1
    sys.stdout.flush()
    message = unsupported(error)
    if message is not None:
        print(f"{place_of(error)}: {message}", file=sys.stderr)
        return UNSUPPORTED
    if sys.excepthook is not sys.__excepthook__:  # the program has its own way of showing errors
        sys.excepthook(type(error), error, error.__traceback__)
        return 1
    shown = traceback.TracebackException.from_exception(error)
    _keep_program(shown)
    print("".join(shown.format()), end="", file=sys.stderr)
    return 1


def unsupported(error: BaseException) -> str | None:
    """What to say if the error is that chainrule lacks something of PyTorch's; None if it is the program's own."""
    if isinstance(error, Unsupported):
        return str(error)
    if isinstance(error, AttributeError):
        for kind, owner in ((Tensor, "torch.Tensor"), (Module, "torch.nn.Module")):
            if isinstance(error.obj, kind) and error.name and reason_for(owner, error.name):
                return explain(owner, error.name)
        return str(error) if PAGE in str(error) else None
    if isinstance(error, ModuleNotFoundError):
        name = str(error.name)
        if name.startswith("torch.") or name.startswith("chainrule."):
            owner, _, last = name.replace("chainrule", "torch", 1).rpartition(".")
            return explain(owner, last)
        return None
    if isinstance(error, ImportError) and str(error.name).partition(".")[0] in ("chainrule", "torch"):
        found = re.match(r"cannot import name '(\w+)'", str(error))
        if found is not None:
            return explain(_torch_name(str(error.name)), found[1])
    return None


def _torch_name(module: str) -> str:
    """PyTorch's name of a module of this package."""
    return module.replace("chainrule.platform", "torch", 1).replace("chainrule", "torch", 1)


def _is_program(filename: str) -> bool:
    return not filename.startswith((HOME, "<frozen ")) and filename != runpy.__file__


def place_of(error: BaseException) -> str:
    """The program's line, "file:line", that led to the error: the innermost that is not of this package."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_program(frame.filename)]
    return f"{_short(frames[-1].filename)}:{frames[-1].lineno}" if frames else "chainrule run"


def _short(filename: str) -> str:
    """A path from here if that is shorter."""
    try:
        relative = os.path.relpath(filename)
    except ValueError:  # on another drive
        return filename
    return relative if not relative.startswith("..") else filename


def _keep_program(shown: Any) -> None:
    """Leave out this package's frames, here and in the errors that came before."""
    seen = set()
    waiting = [shown]
    while waiting:
        part = waiting.pop()
        if part is None or id(part) in seen:
            continue
        seen.add(id(part))
        part.stack[:] = [frame for frame in part.stack if _is_program(frame.filename)]
        waiting += [part.__cause__, part.__context__, *(getattr(part, "exceptions", None) or ())]


# ----- worker processes -------------------------------------------------------------------------------------------


def _let_workers_know(script: str, as_module: bool) -> None:
    """A forked worker has all that its parent has. One that starts afresh imports the program's main module first, by
    its path or name; it is told to go through `respawn` for that, so that torch is chainrule there, too.
    """
    os.environ[SCRIPT] = ("-m " if as_module else "") + (script if as_module else os.path.abspath(script))
    from multiprocessing import spawn

    prepare: Callable[[str], dict[str, Any]] = spawn.get_preparation_data

    def get_preparation_data(name: str) -> dict[str, Any]:
        data = prepare(name)
        if data.pop("init_main_from_path", None) or data.pop("init_main_from_name", None):
            data["init_main_from_name"] = f"{__package__}.respawn"
        return data

    spawn.get_preparation_data = get_preparation_data


def respawn() -> dict[str, Any]:
    """What a worker process needs of the program: the names that its main module defines, under chainrule as torch."""
    as_torch()
    program = os.environ[SCRIPT]
    if program.startswith("-m "):
        _let_workers_know(program[3:], True)
        return runpy.run_module(program[3:], run_name="__mp_main__")
    _let_workers_know(program, False)
    return runpy.run_path(program, run_name="__mp_main__")
