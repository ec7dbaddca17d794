"""PyTorch's `torch.special`: special functions, most of them SciPy's."""

from __future__ import annotations

from .absent import absent as _absent
from .ops import polynomials as _polynomials
from .ops import special as _special
from .ops.activation import expit as expit
from .ops.elementwise import exp2 as exp2
from .ops.elementwise import expm1 as expm1
from .ops.elementwise import log1p as log1p
from .ops.elementwise import round as round
from .ops.elementwise import sinc as sinc
from .ops.normalisation import log_softmax as log_softmax
from .ops.normalisation import softmax as softmax
from .ops.out import let_take_out as _let_take_out
from .ops.reduction import logsumexp as logsumexp

for _name in _special.NAMESPACE:
    globals()[_name] = getattr(_special, _name)
globals().update(_polynomials.OPERATIONS)
__all__ = [*_special.NAMESPACE, *_polynomials.OPERATIONS, "exp2", "expit", "expm1", "log1p"]
__all__ += ["log_softmax", "logsumexp", "round", "sinc", "softmax"]

_WITHOUT_OUT = "log_softmax softmax".split()
_let_take_out(globals(), [name for name in __all__ if name not in _WITHOUT_OUT])

__getattr__ = _absent(__name__)
