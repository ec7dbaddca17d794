"""PyTorch's `torch.special`: special functions, most of them SciPy's."""

from __future__ import annotations

from .ops import special as _special
from .ops.activation import expit as expit
from .ops.normalisation import log_softmax as log_softmax
from .ops.normalisation import softmax as softmax
from .ops.reduction import logsumexp as logsumexp

for _name in _special.NAMESPACE:
    globals()[_name] = getattr(_special, _name)
__all__ = [*_special.NAMESPACE, "expit", "log_softmax", "logsumexp", "softmax"]
