"""`chainrule.nn.modules`: PyTorch keeps each kind of layer in a file under this name; here all of those are this one.

All public names are those of `chainrule.nn`. Beside them stand the names that PyTorch's files keep to themselves and
that programs import all the same: base classes to compare with, and `_pair` and its like.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterable
from typing import Any

from .. import nn as _nn
from ..stand_in import FILES as _FILES
from .containers import ModuleList as _ModuleList
from .conv import Convolution as _ConvNd
from .conv import _ConvTranspose as _ConvTransposeNd
from .dropout import _Dropout as _DropoutNd
from .linear import Linear as NonDynamicallyQuantizableLinear
from .loss import _Loss, _WeightedLoss
from .module import Module
from .normalization import _BatchNorm, _InstanceNorm
from .normalization import _ChannelNorm as _NormBase
from .pooling import _AvgPool as _AvgPoolNd
from .pooling import _MaxPool as _MaxPoolNd

__all__ = [
    "NonDynamicallyQuantizableLinear",
    "_AvgPoolNd",
    "_BatchNorm",
    "_ConvNd",
    "_ConvTransposeNd",
    "_DropoutNd",
    "_InstanceNorm",
    "_Loss",
    "_MaxPoolNd",
    "_NormBase",
    "_WeightedLoss",
]

FILES = frozenset(_FILES["chainrule.nn.modules"].split())  # PyTorch's


def _ntuple(n: int, name: str = "parse") -> Callable[[Any], tuple[Any, ...]]:
    def parse(x: Any) -> tuple[Any, ...]:
        return tuple(x) if isinstance(x, Iterable) else (x,) * n

    parse.__name__ = name
    return parse


_single, _pair, _triple, _quadruple = _ntuple(1), _ntuple(2), _ntuple(3), _ntuple(4)
_size_1_t = _size_2_t = _size_3_t = _size_any_t = _ratio_2_t = _ratio_any_t = Any


def _get_clones(module: Module, N: int) -> Any:
    return _ModuleList([copy.deepcopy(module) for _ in range(N)])


def _addindent(s_: str, numSpaces: int) -> str:
    return s_.replace("\n", "\n" + " " * numSpaces)


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    return sys.modules[__name__] if name in FILES else getattr(_nn, name)
