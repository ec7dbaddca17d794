"""`chainrule.backends`: the switches of PyTorch's libraries. They can be set and read back, and switch nothing."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from ..absent import absent as _absent
from ..absent import explain as _explain


class Switches(ModuleType):
    """A module, such as `backends.cudnn`, with attributes that programs set.

    Raises:
        AttributeError: a switch that PyTorch's does not have either, or one that is not known here.
    """

    def __init__(self, name: str, **switches: Any) -> None:
        super().__init__(f"{__name__}.{name}", f"The switches of torch.backends.{name}; they have no effect.")
        self.__dict__.update(switches, __spec__=ModuleSpec(self.__name__, None))

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("__") and name not in self.__dict__:
            self.__getattr__(name)
        super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:
        owner = "torch" + self.__name__.removeprefix("chainrule.platform").removeprefix("chainrule")
        raise AttributeError(_explain(owner, name), name=name, obj=self)

    def is_available(self) -> bool:
        """False."""
        return False

    is_built = is_available

    def version(self) -> None:
        """None."""

    @contextlib.contextmanager
    def flags(self, *values: Any, **switches: Any) -> Iterator[None]:
        """A block with other settings, which have no effect."""
        yield


class _Cuda(Switches):
    """`backends.cuda`, which has functions for the kernels of attention as well."""

    @contextlib.contextmanager
    def sdp_kernel(self, *args: Any, **kwargs: Any) -> Iterator[None]:
        """A block in which attention would use other kernels."""
        yield

    def enable_flash_sdp(self, enabled: bool) -> None:
        """Nothing: there is one kernel for attention."""

    enable_mem_efficient_sdp = enable_math_sdp = enable_cudnn_sdp = enable_flash_sdp

    def flash_sdp_enabled(self) -> bool:
        """False: attention is computed by its formula."""
        return False

    mem_efficient_sdp_enabled = cudnn_sdp_enabled = flash_sdp_enabled

    def math_sdp_enabled(self) -> bool:
        """True: attention is computed by its formula."""
        return True


_matmul = Switches(
    "cuda.matmul",
    allow_tf32=False,
    allow_fp16_reduced_precision_reduction=True,
    allow_bf16_reduced_precision_reduction=True,
    allow_fp16_accumulation=False,
    fp32_precision="none",
)
cuda = _Cuda("cuda", matmul=_matmul)
cudnn = Switches(
    "cudnn",
    enabled=True,
    benchmark=False,
    benchmark_limit=10,
    deterministic=False,
    allow_tf32=True,
    fp32_precision="none",
)
mps = Switches("mps")
mkl = Switches("mkl")
mkldnn = Switches("mkldnn", enabled=True, deterministic=False, allow_tf32=True)
openmp = Switches("openmp")
opt_einsum = Switches("opt_einsum", enabled=False, strategy=None)
xnnpack = Switches("xnnpack", enabled=False)

for _module in (cuda, _matmul, cudnn, mps, mkl, mkldnn, openmp, opt_einsum, xnnpack):
    sys.modules[_module.__name__] = _module  # so that `import torch.backends.cudnn` finds it

__getattr__ = _absent("chainrule.backends")
