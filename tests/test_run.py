"""`chainrule run` and `as_torch`: a program that imports torch runs as it is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import chainrule as cr


def run(folder: Path, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """`chainrule run ARGUMENTS` in a folder."""
    command = [sys.executable, "-m", "chainrule", "run", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False, **options)


def script(folder: Path, text: str, name: str = "program.py") -> str:
    (folder / name).write_text(text, encoding="utf-8")
    return name


# ----- the script's surroundings ----------------------------------------------------------------------------------


def test_a_script_sees_what_python_would_show_it(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "beside.py").write_text("value = 'found'", encoding="utf-8")
    script(
        tmp_path,
        "import sys, beside\n"
        "import __main__\n"
        "print(sys.argv, __name__, __file__, __spec__, sys.path[0] == sys.argv[1], beside.value)\n"
        "print(__main__.__dict__ is globals())\n",
        "sub/program.py",
    )
    done = run(tmp_path, "sub/program.py", str((tmp_path / "sub").resolve()), "-h", "--lr", "0.1")
    assert done.returncode == 0, done.stderr
    argv = ["sub/program.py", str((tmp_path / "sub").resolve()), "-h", "--lr", "0.1"]
    assert done.stdout.splitlines() == [f"{argv} __main__ sub/program.py None True found", "True"]


def test_a_module_runs_by_its_name(tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("", encoding="utf-8")
    (package / "train.py").write_text(
        "import sys, torch\nprint(__name__, __package__, sys.argv[1:], torch.__name__)", encoding="utf-8"
    )
    done = run(tmp_path, "-m", "package.train", "-m", "x")
    assert (done.returncode, done.stdout) == (0, "__main__ package ['-m', 'x'] chainrule\n"), done.stderr


@pytest.mark.parametrize("statement, code", [("sys.exit(7)", 7), ("sys.exit()", 0), ("raise SystemExit('no')", 1)])
def test_exit_codes_pass_through(tmp_path: Path, statement: str, code: int) -> None:
    assert run(tmp_path, script(tmp_path, f"import sys\n{statement}")).returncode == code


IMPORTS = """
import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim
import torch.utils.data
import torch.backends.cudnn as cudnn
import torch.cuda.amp
import torch.multiprocessing as mp
from torch import nn as nn2, Tensor
from torch.nn import functional as F2
from torch.nn import Parameter
from torch.nn.parallel import DataParallel, DistributedDataParallel as DDP
from torch.nn.modules.loss import MSELoss
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.rnn import pad_sequence
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.dataset import TensorDataset
from torch.utils.data.distributed import DistributedSampler
from torch.autograd import Variable
from torch.distributed import init_process_group
from torch.distributions import Categorical
import chainrule
assert torch is chainrule and nn is nn2 is chainrule.nn and F is F2 is chainrule.nn.functional
assert DataLoader is chainrule.utils.data.DataLoader and torch.Tensor is chainrule.Tensor is Tensor
assert MSELoss is nn.MSELoss and issubclass(nn.BatchNorm2d, _BatchNorm)
assert nn.__spec__.name == "chainrule.nn" and nn.__name__ == "chainrule.nn"
assert torch.__version__.startswith("2.")
"""


def test_every_way_of_importing_torch_gives_chainrules_own_modules(tmp_path: Path) -> None:
    done = run(tmp_path, script(tmp_path, IMPORTS))
    assert done.returncode == 0, done.stderr


# ----- what goes wrong --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line, name",
    [
        ("torch.hub.load('a', 'b')", "torch.hub"),
        ("from torch import nested", "torch.nested"),
        ("torch.utils.model_zoo.load_url('a')", "torch.hub.load_state_dict_from_url"),
        ("import torch.fx", "torch.fx"),
        ("from torch.fx import symbolic_trace", "torch.fx"),
        ("torch.nn.SyncBatchNorm(3)", "torch.nn.SyncBatchNorm"),
        ("from torch.nn import SyncBatchNorm", "torch.nn.SyncBatchNorm"),
        ("torch.zeros(2).to_sparse()", "torch.Tensor.to_sparse"),
        ("torch.nn.Linear(1, 1).xpu()", "torch.nn.Module.xpu"),
        ("torch.distributed.init_process_group('gloo')", "torch.distributed.init_process_group"),
        ("torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(1, 1))", "DistributedDataParallel"),
        ("torch.onnx.export(None, None, 'x')", "torch.onnx.export"),
        ("from torch.nn.attention.flex_attention import flex_attention as flex; flex()", "flex_attention"),
        ("torch.profiler.profile()", "torch.profiler.profile"),
    ],
)
def test_an_unsupported_name_ends_with_one_line_that_says_which_and_where(tmp_path: Path, line: str, name: str) -> None:
    text = f"import torch\nprint('before')\ndef f():\n    {line}\nf()\n"
    done = run(tmp_path, script(tmp_path, text))
    assert done.returncode == 2
    assert done.stdout == "before\n"
    (message,) = done.stderr.splitlines()
    assert message.startswith("program.py:4: chainrule has no ") and name in message


def test_the_scripts_own_errors_show_the_scripts_lines_only(tmp_path: Path) -> None:
    text = (
        "import torch\n"
        "class Net(torch.nn.Module):\n"
        "    def forward(self, x):\n"
        "        raise ValueError(tuple(x.shape))\n"
        "try:\n"
        "    {}['key']\n"
        "except KeyError as error:\n"
        "    Net()(torch.ones(2, 3))\n"
    )
    done = run(tmp_path, script(tmp_path, text))
    assert done.returncode == 1
    files = [line for line in done.stderr.splitlines() if line.lstrip().startswith("File ")]
    assert files == [
        f'  File "program.py", line {number}, in {where}'
        for number, where in ((6, "<module>"), (8, "<module>"), (4, "forward"))
    ]
    assert "KeyError: 'key'" in done.stderr and "(2, 3)" in done.stderr.splitlines()[-1]
    assert "During handling of the above exception" in done.stderr


def test_all_frames_are_shown_on_request(tmp_path: Path) -> None:
    import os

    environment = {**os.environ, "CHAINRULE_FULL_TRACEBACK": "1"}
    done = run(tmp_path, script(tmp_path, "raise ValueError('mine')"), env=environment)
    assert done.returncode == 1 and "run_file" in done.stderr and "ValueError: mine" in done.stderr


def test_an_attribute_that_torch_has_not_either_is_the_scripts_own_error(tmp_path: Path) -> None:
    done = run(tmp_path, script(tmp_path, "import torch\ntorch.zeros(2).no_such_thing\n"))
    assert done.returncode == 1 and "Traceback" in done.stderr and "no_such_thing" in done.stderr


def test_a_syntax_error_points_into_the_script(tmp_path: Path) -> None:
    done = run(tmp_path, script(tmp_path, "x = = 1\n"))
    assert done.returncode == 1 and 'File "program.py", line 1' in done.stderr and "run.py" not in done.stderr


def test_a_script_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    done = run(tmp_path, "nothing.py")
    assert (done.returncode, done.stderr) == (2, "chainrule run: there is no file 'nothing.py'\n")


def test_a_script_can_ask_and_go_on(tmp_path: Path) -> None:
    text = (
        "import torch\n"
        "print(hasattr(torch, 'nested'), hasattr(torch.nn.functional, 'relu'), torch.cuda.is_available())\n"
        "try:\n"
        "    import torch.fx\n"
        "except ImportError:\n"
        "    print('without fx')\n"
    )
    assert run(tmp_path, script(tmp_path, text)).stdout == "False True False\nwithout fx\n"


# ----- processes --------------------------------------------------------------------------------------------------

WORKERS = """
import sys
import torch
import torch.multiprocessing as mp

class Squares(torch.utils.data.Dataset):
    def __len__(self):
        return 4
    def __getitem__(self, i):
        import torch.nn  # in the worker
        return torch.tensor(float(i * i))

def work(i, squares):
    assert torch.__name__ == "chainrule", torch
    assert squares[3].item() == 9 and torch.nn.Linear.__module__.startswith("chainrule")

if __name__ == "__main__":
    method = sys.argv[1]
    mp.spawn(work, (Squares(),), nprocs=2, start_method=method)
    loader = torch.utils.data.DataLoader(Squares(), batch_size=2, num_workers=1, multiprocessing_context=method)
    print([batch.tolist() for batch in loader])
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_worker_processes_find_torch_as_well(tmp_path: Path, method: str) -> None:
    import multiprocessing

    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} on this system")
    done = run(tmp_path, script(tmp_path, WORKERS), method)
    assert (done.returncode, done.stdout) == (0, "[[0.0, 1.0], [4.0, 9.0]]\n"), done.stderr


def test_worker_processes_of_a_module_find_torch_as_well(tmp_path: Path) -> None:
    script(tmp_path, WORKERS)
    done = run(tmp_path, "-m", "program", "spawn")
    assert (done.returncode, done.stdout) == (0, "[[0.0, 1.0], [4.0, 9.0]]\n"), done.stderr


# ----- as_torch ---------------------------------------------------------------------------------------------------


def python(text: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=120, check=False)


def test_as_torch_ends_with_its_block() -> None:
    done = python(
        "import sys, chainrule\n"
        "with chainrule.as_torch():\n"
        "    with chainrule.as_torch():\n"
        "        import torch.nn\n"
        "    import torch.optim.lr_scheduler\n"
        "    assert torch is chainrule and torch.__version__.startswith('2.')\n"
        "assert not [name for name in sys.modules if name.split('.')[0] == 'torch']\n"
        "print(chainrule.__version__)"
    )
    assert (done.returncode, done.stdout.strip()) == (0, cr.__version__), done.stderr


def test_as_torch_as_a_function_lasts() -> None:
    done = python("import chainrule\nchainrule.as_torch()\nimport torch\nassert torch is chainrule")
    assert done.returncode == 0, done.stderr


def test_as_torch_refuses_where_real_torch_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    import types

    monkeypatch.setitem(sys.modules, "torch", types.ModuleType("torch"))
    with pytest.raises(RuntimeError, match="torch is already imported"):
        cr.as_torch()


def test_modules_that_are_kept_elsewhere_are_found_under_their_public_names() -> None:
    done = python(
        "import chainrule.cuda.amp, chainrule.backends.cudnn as cudnn\n"
        "from chainrule.amp import autocast\n"
        "import chainrule\n"
        "assert cudnn is chainrule.backends.cudnn and chainrule.amp.autocast is autocast"
    )
    assert done.returncode == 0, done.stderr
