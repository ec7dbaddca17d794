"""NumPy's functions that have no derivative, on tensors: sets, bins, indices, types, text; imported when first used."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.forward import implements
from ..core.tensor import Tensor, make_tensor
from .numpy_forms import plain

__all__: list[str] = []


def _tensors(result: Any) -> Any:
    """A result with tensors in the place of arrays."""
    if isinstance(result, (list, tuple)):
        parts = map(_tensors, result)
        return type(result)(*parts) if hasattr(result, "_fields") else type(result)(parts)
    return make_tensor(np.asarray(result), None) if isinstance(result, (np.ndarray, np.generic)) else result


def _array(value: Any) -> Any:
    return np.asarray(value) if isinstance(value, Tensor) else value


def _by_values(function: Any, before: Any, after: Any) -> None:
    """Let a NumPy function work on the tensors' arrays."""

    def operation(*args: Any, **kwargs: Any) -> Any:
        return after(function(*map(before, args), **{name: before(value) for name, value in kwargs.items()}))

    operation.__name__ = function.__name__
    implements(function)(operation)


for _name in """
    argpartition diag_indices_from histogram_bin_edges isin lexsort packbits tril_indices_from
    triu_indices_from unpackbits
""".split():
    _by_values(getattr(np, _name), plain, _tensors)

# values of a tensor, chosen without a gradient: `np.asarray` raises where it would be lost
for _name in """
    intersect1d setdiff1d setxor1d union1d unique_all unique_counts unique_inverse unique_values
""".split():
    _by_values(getattr(np, _name), _array, _tensors)

# types, text and plans, which hold no numbers of a tensor
for _name in """
    array2string array_repr array_str can_cast common_type einsum_path may_share_memory min_scalar_type result_type
    shares_memory
""".split():
    _by_values(getattr(np, _name), plain, lambda result: result)

# to a file as to an array: `np.asarray` raises where a gradient would be lost
for _name in "save savetxt savez savez_compressed".split():
    _by_values(getattr(np, _name), _array, lambda result: result)


# ----- bins of several variables ----------------------------------------------------------------------------------


@implements(np.histogramdd)
def _np_histogramdd(sample: Any, bins: Any = 10, range: Any = None, density: Any = None, weights: Any = None) -> Any:
    weights = _array(weights)  # which would have a gradient: asked for, it raises
    return _tensors(np.histogramdd(plain(sample), plain(bins), range, density, weights))


@implements(np.histogram2d)
def _np_histogram2d(x: Any, y: Any, bins: Any = 10, range: Any = None, density: Any = None, weights: Any = None) -> Any:
    return _tensors(np.histogram2d(plain(x), plain(y), plain(bins), range, density, _array(weights)))
