"""`chainrule.nn.parallel`: several devices, of which there is one."""

from __future__ import annotations

from typing import Any

from ..absent import absent as _absent
from ..absent import refuse as _refuse
from ..nn.module import Module

__all__ = ["DataParallel", "DistributedDataParallel", "data_parallel"]


class DataParallel(Module):
    """Calls its module, as PyTorch's does where there is no device to share the work with.

    >>> import chainrule as cr
    >>> net = cr.nn.DataParallel(cr.nn.Linear(2, 1))
    >>> [name for name, _ in net.named_parameters()]
    ['module.weight', 'module.bias']
    """

    def __init__(self, module: Module, device_ids: Any = None, output_device: Any = None, dim: int = 0) -> None:
        super().__init__()
        self.module = module
        self.device_ids: list[Any] = []
        self.dim = dim

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        """What the module returns."""
        return self.module(*inputs, **kwargs)


def data_parallel(
    module: Module,
    inputs: Any,
    device_ids: Any = None,
    output_device: Any = None,
    dim: int = 0,
    module_kwargs: dict[str, Any] | None = None,
) -> Any:
    """`module(*inputs)`."""
    return module(*(inputs if isinstance(inputs, tuple) else (inputs,)), **(module_kwargs or {}))


class DistributedDataParallel(Module):
    """Several processes.

    Raises:
        Unsupported: always.
    """

    def __init__(self, module: Module, *args: Any, **kwargs: Any) -> None:
        _refuse("torch.nn.parallel.DistributedDataParallel", "training runs in one process; use the module itself")


__getattr__ = _absent("chainrule.nn.parallel")
