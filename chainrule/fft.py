"""Fourier transforms under PyTorch's names: `chainrule.fft.rfft` and the rest of `torch.fft`."""

from __future__ import annotations

from .absent import absent as _absent
from .ops.fft import fft as fft
from .ops.fft import fft2 as fft2
from .ops.fft import fftfreq as fftfreq
from .ops.fft import fftn as fftn
from .ops.fft import fftshift as fftshift
from .ops.fft import hfft as hfft
from .ops.fft import hfft2 as hfft2
from .ops.fft import hfftn as hfftn
from .ops.fft import ifft as ifft
from .ops.fft import ifft2 as ifft2
from .ops.fft import ifftn as ifftn
from .ops.fft import ifftshift as ifftshift
from .ops.fft import ihfft as ihfft
from .ops.fft import ihfft2 as ihfft2
from .ops.fft import ihfftn as ihfftn
from .ops.fft import irfft as irfft
from .ops.fft import irfft2 as irfft2
from .ops.fft import irfftn as irfftn
from .ops.fft import rfft as rfft
from .ops.fft import rfft2 as rfft2
from .ops.fft import rfftfreq as rfftfreq
from .ops.fft import rfftn as rfftn
from .ops.out import let_take_out as _let_take_out

__all__ = [name for name in dir() if not name.startswith("_") and name not in ("annotations", "ops")]

_WITHOUT_OUT = "fftshift ifftshift".split()
_let_take_out(globals(), [name for name in __all__ if name not in _WITHOUT_OUT])

__getattr__ = _absent(__name__)
