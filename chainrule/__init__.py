"""Reverse-mode automatic differentiation with PyTorch's interface on NumPy arrays."""

from __future__ import annotations

from typing import Any as _Any

from .absent import absent as _absent
from .allocator import keep_freed_memory as _keep_freed_memory
from .core.backprop import backprop as backprop
from .core.broadcasting import unbroadcast as unbroadcast
from .core.dtypes import *  # noqa: F403
from .core.dtypes import bool_ as bool  # noqa: F401
from .core.dtypes import dtype as dtype
from .core.dtypes import float_ as float  # noqa: F401
from .core.dtypes import int_ as int  # noqa: F401
from .core.forward import array_function as array_function
from .core.forward import implements as implements
from .core.forward import result_type as result_type
from .core.forward import wrap_forward_fn as wrap_forward_fn
from .core.grad_mode import *  # noqa: F403
from .core.recipe import Recipe as Recipe
from .core.sort import sorted_computational_graph as sorted_computational_graph
from .core.sort import topological_sort as topological_sort
from .core.table import BACK_FUNCS as BACK_FUNCS
from .core.table import EACH as EACH
from .core.table import BackwardFuncLookup as BackwardFuncLookup
from .core.table import backward as backward
from .core.tensor import Size as Size
from .core.tensor import Tensor as Tensor
from .core.tensor import device as device
from .ops import MODULES as _MODULES
from .ops.out import NAMES as _TAKE_OUT
from .ops.out import takes_out as _takes_out
from .random import *  # noqa: F403
from .settings import *  # noqa: F403
from .stand_in import PLATFORM as _PLATFORM
from .stand_in import as_torch as as_torch
from .stand_in import install_aliases as _install_aliases

_keep_freed_memory()
_install_aliases()

for _module in _MODULES:
    for _name in _module.__all__:
        _value = getattr(_module, _name)
        globals()[_name] = _takes_out(_value) if _name in _TAKE_OUT else _value
# methods that PyTorch has as functions, too
for _name in "detach detach_ fill_ index_put_ neg_ negative_ reciprocal_ resize_as_ zero_".split():
    globals()[_name] = getattr(Tensor, _name)


def _shown_in_notebooks(tensor: Tensor) -> str:
    from .explain.notebook import tensor_html

    return tensor_html(tensor)


setattr(Tensor, "_repr_html_", _shown_in_notebooks)  # noqa: B010 - it is written in a room above the engine

__version__ = "0.1.0"

_ROOMS = frozenset(
    """
    autograd compiler distributions explain fft func linalg masked nn optim safetensors serialization special
    testing utils
    """.split()
) | frozenset(_PLATFORM)
_LAZY = {  # name -> the module it comes from
    **dict.fromkeys(("TraceError", "compile"), "compiler"),
    "Event": "platform.cuda",
    "GradScaler": "platform.amp",
    "OutOfMemoryError": "platform.cuda",
    "autocast": "platform.amp",
    **dict.fromkeys(("draw", "gradient_flow", "name", "why"), "explain"),
    "convolution": "ops.convolution",
    **dict.fromkeys(("affine_grid_generator", "grid_sampler", "grid_sampler_2d", "grid_sampler_3d"), "ops.grid"),
    "is_autocast_enabled": "platform.amp",
    "load": "serialization",
    "save": "serialization",
    "vmap": "func",
    **dict.fromkeys(("is_anomaly_check_nan_enabled", "is_anomaly_enabled"), "autograd.anomaly"),
    **dict.fromkeys(
        """
        alpha_dropout batch_norm binary_cross_entropy_with_logits cosine_embedding_loss ctc_loss dropout dropout_
        embedding feature_alpha_dropout feature_dropout hinge_embedding_loss instance_norm kl_div margin_ranking_loss
        poisson_nll_loss triplet_margin_loss
        """.split(),
        "nn.free",
    ),
    **dict.fromkeys(
        """
        adaptive_avg_pool1d adaptive_max_pool1d avg_pool1d channel_shuffle conv1d conv2d conv3d conv_tbc
        conv_transpose1d conv_transpose2d conv_transpose3d cosine_similarity max_pool1d max_pool1d_with_indices
        max_pool2d max_pool3d pairwise_distance pixel_shuffle pixel_unshuffle rrelu
        """.split(),
        "nn.functional",
    ),
}
_say_absent = _absent(__name__)


def __getattr__(name: str) -> _Any:
    """Rooms that the engine does not need are imported when first used, so that `import chainrule` is quick."""
    import importlib

    if name in _ROOMS or name in _LAZY:
        try:
            module = importlib.import_module(f"{__name__}.{_LAZY.get(name, name)}")
        except ModuleNotFoundError as error:
            if not str(error.name).startswith(f"{__name__}."):
                raise
            return _say_absent(name)
        return module if name in _ROOMS else getattr(module, name)
    return _say_absent(name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_ROOMS, *_LAZY})
