"""`import torch` means chainrule, in this process: `as_torch`, and the aliases under which modules are found.

PyTorch's module names lead to the same module objects as chainrule's, so a class is one class under both names. Real
PyTorch, installed or not, is neither needed nor touched.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

__all__ = ["TORCH_VERSION", "as_torch", "install_aliases"]

PACKAGE = __name__.partition(".")[0]
TORCH_VERSION = "2.13.0"  # the PyTorch whose interface is followed

PLATFORM = (  # chainrule.NAME is chainrule.platform.NAME
    *("accelerator", "amp", "backends", "cpu", "cuda", "distributed", "hub", "jit", "mps", "multiprocessing"),
    *("onnx", "profiler", "types", "version", "xpu"),
)
BACKENDS = ("cuda", "cudnn", "mkl", "mkldnn", "mps", "openmp", "opt_einsum", "xnnpack")
RENAMED = {  # PyTorch's places for names that have another place here
    **{f"chainrule.{name}": f"chainrule.platform.{name}" for name in PLATFORM},
    **{f"chainrule.backends.{name}": f"chainrule.platform.backends.{name}" for name in BACKENDS},
    "chainrule.backends.cuda.matmul": "chainrule.platform.backends.cuda.matmul",
    "chainrule.cpu.amp": "chainrule.platform.amp",
    "chainrule.cuda.amp": "chainrule.platform.cuda_amp",
    "chainrule.autograd.grad_mode": "chainrule.core.grad_mode",
    "chainrule.autograd.gradcheck": "chainrule.testing",
    "chainrule.autograd.profiler": "chainrule.platform.profiler",
    "chainrule.autograd.variable": "chainrule.autograd",
    "chainrule.functional": "chainrule",
    "chainrule.nn.common_types": "chainrule.nn.modules",
    "chainrule.nn.parallel": "chainrule.platform.parallel",
    "chainrule.nn.parallel.data_parallel": "chainrule.platform.parallel",
    "chainrule.nn.parallel.distributed": "chainrule.platform.parallel",
    **{f"chainrule.optim.{name}": "chainrule.optim.adam" for name in ("adamax", "adamw", "nadam", "radam")},
    **{f"chainrule.optim.{name}": "chainrule.optim.adaptive" for name in ("adadelta", "adagrad", "rmsprop", "rprop")},
    "chainrule.optim.asgd": "chainrule.optim.sgd",
    "chainrule.nn.utils.stateless": "chainrule.func",
    "chainrule.nn.attention.flex_attention": "chainrule.platform.kernels",
    "chainrule.utils.hooks": "chainrule.core.recipe",
    "chainrule.utils.model_zoo": "chainrule.platform.hub",
    "chainrule.utils.data.dataloader": "chainrule.utils.data",
    "chainrule.utils.data.dataset": "chainrule.utils.data",
    "chainrule.utils.data.distributed": "chainrule.utils.data",
    "chainrule.utils.data.sampler": "chainrule.utils.data",
}
# files of PyTorch's whose names are all in one module here
FILES = {
    "chainrule.amp": "autocast_mode grad_scaler",
    "chainrule.cuda.amp": "autocast_mode common grad_scaler",
    "chainrule.distributions": (
        "bernoulli categorical distribution exponential independent kl laplace log_normal multivariate_normal normal "
        "one_hot_categorical poisson uniform"
    ),
    "chainrule.nn.modules": (
        "activation adaptive batchnorm channelshuffle container conv distance dropout flatten fold instancenorm lazy "
        "linear loss module normalization padding pixelshuffle pooling rnn sparse transformer upsampling utils"
    ),
    "chainrule.optim": "adafactor muon",
}
for _home, _names in FILES.items():
    RENAMED.update({f"{_home}.{_name}": RENAMED.get(_home, _home) for _name in _names.split()})


def real_name(name: str) -> str | None:
    """The module that a name stands for; None if there is none.

    >>> real_name("torch.cuda.amp"), real_name("torch.nn.modules.conv"), real_name("torch.nn.linear")
    ('chainrule.platform.cuda_amp', 'chainrule.nn.modules', 'chainrule.nn.linear')
    """
    ours = PACKAGE + name[len("torch") :] if name == "torch" or name.startswith("torch.") else name
    if ours in RENAMED:
        return RENAMED[ours]
    return ours if ours != name and _exists(ours) else None  # under its own name Python has looked for it already


def _exists(module: str) -> bool:
    import importlib.util

    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


class Alias:
    """Finds, for one package's name, the modules that names under it stand for; a finder and a loader of Python's."""

    def __init__(self, package: str) -> None:
        self.package = package
        self.specs: dict[str, Any] = {}

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """How to import `name`; None if it is not under this package, or stands for nothing."""
        if name != self.package and not name.startswith(self.package + "."):
            return None
        real = real_name(name)
        if real is None or not _exists(real):
            return None
        # a package, so that something can be imported by a name under it, such as torch.cuda.amp
        from importlib.machinery import ModuleSpec

        loader: Any = self
        return ModuleSpec(name, loader, is_package=True)

    def create_module(self, spec: Any) -> ModuleType:
        """The module that the name stands for, imported."""
        import importlib

        module = importlib.import_module(real_name(spec.name) or "")
        self.specs[spec.name] = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Nothing to run: the module is there. Its own spec, which Python has replaced by the alias's, is put back."""
        alias = getattr(module.__spec__, "name", "")
        if alias in self.specs:
            module.__spec__ = self.specs.pop(alias)


_here = Alias(PACKAGE)
_torch = Alias("torch")


def install_aliases() -> None:
    """Let `import chainrule.cuda` and its like find the modules that are kept elsewhere in the package."""
    if _here not in sys.meta_path:
        sys.meta_path.append(_here)


class as_torch:
    """From here on `import torch`, and every module under it, is chainrule; as a context manager, until its end.

    Raises:
        RuntimeError: real PyTorch is imported already.

    For example, in a program that imports no real PyTorch before::

        with chainrule.as_torch():
            import torch
            from torch.nn import functional as F
        assert torch is chainrule and F is chainrule.nn.functional
    """

    _depth = 0
    _version = ""

    def __init__(self) -> None:
        package = sys.modules[PACKAGE]
        present = sys.modules.get("torch")
        if present is not None and present is not package:
            raise RuntimeError(
                f"torch is already imported, from {getattr(present, '__file__', 'somewhere')}: call "
                "chainrule.as_torch() before anything imports torch"
            )
        if as_torch._depth == 0:
            as_torch._version = vars(package)["__version__"]
            vars(package)["__version__"] = f"{TORCH_VERSION}+chainrule.{as_torch._version}"
            sys.meta_path.insert(0, _torch)
            sys.modules["torch"] = package
        as_torch._depth += 1

    def __enter__(self) -> as_torch:
        return self

    def __exit__(self, *error: object) -> None:
        as_torch._depth -= 1
        if as_torch._depth == 0:
            vars(sys.modules[PACKAGE])["__version__"] = as_torch._version
            sys.meta_path.remove(_torch)
            for name in [name for name in sys.modules if name == "torch" or name.startswith("torch.")]:
                del sys.modules[name]
