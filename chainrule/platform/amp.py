"""`chainrule.amp`: mixed precision, which on a CPU is the precision that the tensors have.

Everything does what PyTorch's does when it is not enabled: `autocast` changes no type, `GradScaler` scales by 1.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from ..absent import absent as _absent

__all__ = ["GradScaler", "autocast", "custom_bwd", "custom_fwd", "is_autocast_available"]

Function = TypeVar("Function", bound=Callable[..., Any])


class autocast:
    """A block in which PyTorch would use shorter types; here operations keep the types of their tensors.

    >>> import chainrule as cr
    >>> with cr.autocast("cpu", dtype=cr.bfloat16):
    ...     cr.mm(cr.ones(2, 2), cr.ones(2, 2)).dtype
    chainrule.float32
    """

    def __init__(
        self, device_type: str = "cpu", dtype: Any = None, enabled: bool = True, cache_enabled: bool | None = None
    ) -> None:
        self.device = device_type
        self.fast_dtype = dtype

    def __enter__(self) -> autocast:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def __call__(self, function: Function) -> Function:
        return function


class GradScaler:
    """Scales a loss so that short types do not underflow; here by 1, as PyTorch's when it is not enabled.

    >>> import chainrule as cr
    >>> scaler = cr.amp.GradScaler()
    >>> scaler.scale(cr.tensor(3.0)).item(), scaler.get_scale()
    (3.0, 1.0)
    """

    def __init__(
        self,
        device: str = "cpu",
        init_scale: float = 2.0**16,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        enabled: bool = True,
    ) -> None:
        self._settings = (init_scale, growth_factor, backoff_factor, growth_interval)

    def scale(self, outputs: Any) -> Any:
        """The loss, or losses, as given."""
        return outputs

    def unscale_(self, optimizer: Any) -> None:
        """Nothing: the gradients are not scaled."""

    def step(self, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        """`optimizer.step(...)`."""
        return optimizer.step(*args, **kwargs)

    def update(self, new_scale: Any = None) -> None:
        """Nothing: the scale stays 1."""

    def is_enabled(self) -> bool:
        """False."""
        return False

    def get_scale(self) -> float:
        """1."""
        return 1.0

    def get_growth_factor(self) -> float:
        return self._settings[1]

    def get_backoff_factor(self) -> float:
        return self._settings[2]

    def get_growth_interval(self) -> int:
        return self._settings[3]

    def state_dict(self) -> dict[str, Any]:
        """Empty, as PyTorch's when it is not enabled."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Nothing: there is no state."""


def custom_fwd(fwd: Any = None, *, device_type: str = "cpu", cast_inputs: Any = None) -> Any:
    """Marks the forward of an `autograd.Function` for autocast; here it stays as it is."""
    return fwd if fwd is not None else functools.partial(custom_fwd, device_type=device_type, cast_inputs=cast_inputs)


def custom_bwd(bwd: Any = None, *, device_type: str = "cpu") -> Any:
    """Marks the backward of an `autograd.Function` for autocast; here it stays as it is."""
    return bwd if bwd is not None else functools.partial(custom_bwd, device_type=device_type)


def is_autocast_available(device_type: str) -> bool:
    """False: no operation changes the type of its tensors by itself."""
    return False


def is_autocast_enabled(device_type: str | None = None) -> bool:
    """False: no operation changes the type of its tensors by itself."""
    return False


__getattr__ = _absent("chainrule.amp")
