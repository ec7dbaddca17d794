"""What the table holds, for its reference: functions by family, their names, and the calls that tests make."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from typing import Any

import numpy as np

import chainrule as cr
from chainrule.core.table import BACK_FUNCS

MACHINERY = ("chainrule.core", "chainrule.func")  # their entries serve the engine and vmap, and are no operations
PYTORCH_NAMES = {
    **{"absolute": "abs", "power": "pow", "divide": "div", "conjugate": "conj", "concatenate": "cat", "max": "amax"},
    **{"min": "amin", "transpose": "permute", "expand_dims": "unsqueeze", "subtract": "sub", "multiply": "mul"},
    **{"arcsin": "asin", "arccos": "acos", "arctan": "atan", "arctan2": "atan2", "trunc_divide": "div"},
    **{"arcsinh": "asinh", "arccosh": "acosh", "arctanh": "atanh"},
}  # fmt: skip
SERVES = {  # steps of operations that have other names
    **{"alignment_loss": "nn.functional.ctc_loss", "attention": "nn.functional.scaled_dot_product_attention"},
    **{"contract": "einsum", "cross_product": "cross", "complex_logaddexp": "logaddexp", "keep_where": "relu"},
    **{"convolve": "nn.functional.conv2d", "convolve_input": "nn.functional.conv_transpose2d"},
    **{"convolve_weight": "nn.functional.conv2d", "windows": "nn.functional.unfold"},
    **{"add_windows": "nn.functional.fold", "source_places": "nn.functional.grid_sample"},
    **{"unbounded_places": "nn.functional.grid_sample", "getitem_adjoint": "Tensor.__getitem__"},
    **{"cofactors": "linalg.det", "eigen": "linalg.eig", "eigenvalues": "linalg.eigvals"},
    **{"least_squares": "linalg.lstsq", "lu_decomposition": "linalg.lu", "matrix_exponential": "linalg.matrix_exp"},
    **{"pseudo_inverse": "linalg.pinv", "solve_triangular_matrix": "linalg.solve_triangular"},
    **{"solve_positive": "cholesky_solve", "mean_cross_entropy": "nn.functional.cross_entropy"},
    **{"normalise_layer": "nn.functional.layer_norm", "standardize": "nn.functional.batch_norm"},
    **{"max_pool": "nn.functional.max_pool2d", "spread_maxima": "nn.functional.max_pool2d"},
    **{"pick": "nn.functional.max_pool2d", "place": "nn.functional.max_pool2d", "unpool": "nn.functional.max_unpool2d"},
    **{"gru": "nn.GRU", "lstm": "nn.LSTM", "rnn": "nn.RNN", "input_shares": "nn.LSTM"},
    **{"root": "nn.functional.lp_pool2d", "spread": "sum", "linear_recurrence": "cumprod"},
    **{"resample": "nn.functional.interpolate"},
    **{"take_along": "take_along_dim", "add_along": "take_along_dim", "permute_along": "sort"},
    **{"constant_pad": "nn.functional.pad", "place_diagonal": "diagonal", "place_strided": "as_strided"},
    **{"lower_median": "median", "lower_nanmedian": "nanmedian", "spherical_bessel_j1": "special.spherical_bessel_j0"},
}  # fmt: skip
PLACES = ("", "nn.functional", "linalg", "fft", "special")


@cache
def samples() -> dict[Any, list[Any]]:
    """The calls that the tests make, by function."""
    from tests import table_samples

    found: dict[Any, list[Any]] = {}
    for module in pkgutil.iter_modules(table_samples.__path__):
        if module.name != "common":
            for sample in importlib.import_module(f"tests.table_samples.{module.name}").SAMPLES:
                found.setdefault(sample.function, []).append(sample)
    return found


@cache
def families() -> dict[str, list[Any]]:
    """Functions of the table by the module that holds their derivatives."""
    samples()  # imports the families that only layers need
    found: dict[str, list[Any]] = {}
    for (function, _), back in BACK_FUNCS.back_funcs.items():
        home = home_of(function, back)
        if not home.startswith(MACHINERY) and function in samples():
            members = found.setdefault(home, [])
            if function not in members:
                members.append(function)
    return {home: sorted(found[home], key=lambda function: title(function).lower()) for home in sorted(found)}


def home_of(function: Any, back: Any) -> str:
    """The module of an own function, or of the derivative of NumPy's."""
    module = str(getattr(function, "__module__", ""))
    return module if module.startswith("chainrule") else str(getattr(back, "func", back).__module__)


def plain_name(function: Any) -> str:
    """`_sigmoid` is `sigmoid` to users."""
    return str(function.__name__).lstrip("_")


def title(function: Any) -> str:
    """What the entry is called."""
    module = str(getattr(function, "__module__", "") or "")
    if isinstance(function, np.ufunc) or module.startswith("numpy"):
        inside = "linalg." if module.startswith("numpy.linalg") else "fft." if module.startswith("numpy.fft") else ""
        return f"np.{inside}{function.__name__}"
    return plain_name(function)


def public_names(function: Any) -> list[str]:
    """What the operation is called in programs."""
    found = []
    for name in dict.fromkeys((plain_name(function), PYTORCH_NAMES.get(plain_name(function), ""))):
        for place in PLACES:
            room = cr.nn.functional if place == "nn.functional" else getattr(cr, place) if place else cr
            if name and callable(vars(room).get(name)):
                found.append(f"cr.{place}.{name}" if place else f"cr.{name}")
        if name and callable(getattr(cr.Tensor, name, None)):
            found.append(f"Tensor.{name}")
    if title(function).startswith("np."):
        found.append(title(function))
    return found


def entries(function: Any) -> list[tuple[Any, Any]]:
    """(position, backward function) of each argument."""
    return [(position, back) for (f, position), back in BACK_FUNCS.back_funcs.items() if f is function]
