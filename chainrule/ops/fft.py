"""Discrete Fourier transforms: the functions of `torch.fft` and their derivatives.

Four functions carry the derivatives: `np.fft.fft`, `ifft`, `rfft` and `irfft` along one axis. Transforms of several
axes are these, one after the other, as in NumPy itself. The matrix of the transform is symmetric, so the rule of `fft`
is `fft` again (gradients travel conjugated, see `core/table.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..core.dtypes import as_numpy_dtype, to_complex
from ..core.forward import cast, implements, promote, wrap_forward_fn
from ..core.table import backward
from ..core.tensor import Tensor, make_tensor
from .common import as_tensor_argument, is_complex, normalize_axis, numpy_names, real_like

NORMS: dict[Any, Any] = {
    None: "forward",
    "backward": "forward",
    "ortho": "ortho",
    "forward": "backward",
}  # of the transform back


def resized(x: Any, n: int, axis: int) -> Any:
    """The array cut or filled up with zeros to size n along an axis."""
    have = x.shape[axis]
    if have > n:
        return np.split(x, [n], axis=axis)[0]
    if have == n:
        return x
    shape = [n - have if i == axis % x.ndim else size for i, size in enumerate(x.shape)]
    return np.concatenate((x, np.zeros(shape, x.dtype)), axis=axis)


# ----- the table --------------------------------------------------------------------------------------------------


@backward(np.fft.fft, 0)
def fft_back(grad_out: Any, out: Any, a: Any, n: Any = None, axis: int = -1, norm: Any = None) -> Any:
    r"""$\nabla_a L = \mathrm{fft}(\nabla_{out} L)$, cut or filled up to the size of a"""
    transformed = np.fft.fft(grad_out, grad_out.shape[axis], axis, norm)
    return real_like(resized(transformed, a.shape[axis], axis), a)


@backward(np.fft.ifft, 0)
def ifft_back(grad_out: Any, out: Any, a: Any, n: Any = None, axis: int = -1, norm: Any = None) -> Any:
    r"""$\nabla_a L = \mathrm{ifft}(\nabla_{out} L)$, cut or filled up to the size of a"""
    transformed = np.fft.ifft(grad_out, grad_out.shape[axis], axis, norm)
    return real_like(resized(transformed, a.shape[axis], axis), a)


@backward(np.fft.rfft, 0)
def rfft_back(grad_out: Any, out: Any, a: Any, n: Any = None, axis: int = -1, norm: Any = None) -> Any:
    r"""$\nabla_a L = \mathrm{Re}\, \mathrm{fft}(\nabla_{out} L)$, with zeros for the frequencies that are left out"""
    size = a.shape[axis] if n is None else n
    transformed = np.fft.fft(resized(grad_out, size, axis), size, axis, norm)
    return resized(np.real(transformed), a.shape[axis], axis)


@backward(np.fft.irfft, 0)
def irfft_back(grad_out: Any, out: Any, a: Any, n: Any = None, axis: int = -1, norm: Any = None) -> Any:
    r"""$\overline{\nabla_a L} = w\, \mathrm{rfft}(\nabla_{out} L) / n$, with $w = 1$ for the frequencies that stand
    for themselves and 2 for those that stand for a conjugate pair"""
    size = out.shape[axis]
    transformed = np.fft.rfft(grad_out, size, axis, NORMS[norm])
    count = size // 2 + 1
    weights = np.full(count, 2.0, grad_out.dtype)
    weights[0] = 1
    if size % 2 == 0:
        weights[-1] = 1
    weights = weights.reshape([count if i == axis % a.ndim else 1 for i in range(a.ndim)])
    return resized(np.conjugate(transformed * weights), a.shape[axis], axis)


# ----- one axis ---------------------------------------------------------------------------------------------------

_fft, _ifft, _rfft, _irfft = (wrap_forward_fn(f) for f in (np.fft.fft, np.fft.ifft, np.fft.rfft, np.fft.irfft))


def _prepared(name: str, input: Any, n: Any, dim: int, norm: Any) -> tuple[Tensor, int]:
    """The input in a floating type, and the axis.

    Raises:
        IndexError: the axis is out of range.
        RuntimeError: `n` is not positive, or `norm` unknown.
    """
    x = as_tensor_argument(input)
    x = promote((x,), floating=True)[0]
    axis = normalize_axis(int(dim), x.ndim)
    size = x.shape[axis] if n is None else n
    if size < 1:
        raise RuntimeError(f"fft.{name}: Invalid number of data points ({size}) specified")
    if norm not in NORMS:
        raise RuntimeError(f'fft.{name}: Invalid normalization mode: "{norm}"; it is "backward", "ortho" or "forward"')
    return x, axis - x.ndim


def _one_axis(operation: Callable[..., Any], name: str, summary: str, of_real: bool = False) -> Callable[..., Tensor]:
    def transform(input: Any, n: int | None = None, dim: int = -1, norm: str | None = None) -> Tensor:
        x, axis = _prepared(name, input, n, dim, norm)
        if of_real and is_complex(x):
            raise RuntimeError(f"fft.{name} expects a real input tensor, but got {x.dtype}")
        return operation(x, n, axis, norm)  # type: ignore[no-any-return]

    transform.__name__ = transform.__qualname__ = name
    transform.__doc__ = (
        f"{summary}, along `dim`, of the input cut or filled up with zeros to size `n`.\n\n"
        '`norm` says where 1/n goes: "backward" (the inverse transform), "forward", or "ortho" (1/sqrt(n) in both).'
    )
    return numpy_names(transform)


fft = _one_axis(_fft, "fft", "The discrete Fourier transform")
ifft = _one_axis(_ifft, "ifft", "The inverse discrete Fourier transform")
rfft = _one_axis(_rfft, "rfft", "The first n // 2 + 1 elements of the Fourier transform of real numbers", of_real=True)


def _irfft_checked(x: Tensor, n: int | None, axis: int, norm: str | None) -> Any:
    size = 2 * (x.shape[axis] - 1) if n is None else n
    if size < 1:
        raise RuntimeError(f"fft.irfft: Invalid number of data points ({size}) specified")
    if not is_complex(x):
        x = cast(x, to_complex(x.array.dtype))
    return _irfft(x, size, axis, norm)


def _hfft(x: Tensor, n: int | None, axis: int, norm: str | None) -> Any:
    return _irfft_checked(np.conjugate(x), n, axis, NORMS[norm])  # type: ignore[arg-type]


def _ihfft(x: Tensor, n: int | None, axis: int, norm: str | None) -> Any:
    return np.conjugate(_rfft(x, n, axis, NORMS[norm]))


irfft = _one_axis(_irfft_checked, "irfft", "The inverse of `rfft`: n real numbers")
hfft = _one_axis(_hfft, "hfft", "The n real frequencies of a signal whose other half is its conjugate")
ihfft = _one_axis(_ihfft, "ihfft", "The inverse of `hfft`", of_real=True)


# ----- several axes -----------------------------------------------------------------------------------------------


def _sizes_and_axes(name: str, ndim: int, s: Any, dim: Any) -> list[tuple[int | None, int]]:
    """Pairs of size (None: as it is) and axis, for the last axes if none are named."""
    if dim is None:
        axes: Sequence[Any] = range(-ndim if s is None else -len(s), 0)
    else:
        axes = (dim,) if isinstance(dim, (int, np.integer)) else tuple(dim)
    sizes = [None] * len(axes) if s is None else [None if n in (None, -1) else int(n) for n in s]
    if len(sizes) != len(axes):
        raise RuntimeError(
            f"fft.{name}: When given, dim and shape arguments must have the same length, got {s} and {dim}"
        )
    positive = [normalize_axis(int(axis), ndim) for axis in axes]
    if len(set(positive)) != len(positive):
        raise RuntimeError(f"FFT dims must be unique, got {tuple(axes)}")
    return list(zip(sizes, (axis - ndim for axis in positive), strict=True))


def _several_axes(
    name: str, summary: str, last: Callable[..., Any], others: Callable[..., Any], last_first: bool, default: Any = None
) -> Callable[..., Tensor]:
    """A transform of several axes: `last` for the last of them, `others` for the rest."""

    def transform(input: Any, s: Any = None, dim: Any = default, norm: str | None = None) -> Tensor:
        x = as_tensor_argument(input)
        pairs = _sizes_and_axes(name, x.ndim, s, dim)
        if not pairs:
            raise RuntimeError(f"fft.{name} must transform at least one axis")
        *rest, end = pairs
        if last_first:
            x = last(x, end[0], end[1], norm)
        for n, axis in reversed(rest):
            x = others(x, n, axis, norm)
        return x if last_first else last(x, end[0], end[1], norm)

    transform.__name__ = transform.__qualname__ = name
    transform.__doc__ = f"{summary} over the axes `dim` ({'all' if default is None else 'the last two'} if left out)."
    return numpy_names(transform)


_KINDS = {
    "fft": ("The Fourier transform", fft, fft, True),
    "ifft": ("The inverse Fourier transform", ifft, ifft, True),
    "rfft": ("The Fourier transform of real numbers, half of the last axis,", rfft, fft, True),
    "irfft": ("The inverse of `rfftn`", irfft, ifft, False),
    "hfft": ("The real frequencies of a signal whose other half is its conjugate,", hfft, fft, False),
    "ihfft": ("The inverse of `hfftn`", ihfft, ifft, True),
}
fftn, ifftn, rfftn, irfftn, hfftn, ihfftn = (_several_axes(f"{name}n", *kind) for name, kind in _KINDS.items())
fft2, ifft2, rfft2, irfft2, hfft2, ihfft2 = (
    _several_axes(f"{name}2", *kind, default=(-2, -1)) for name, kind in _KINDS.items()
)


# ----- shifts and frequencies -------------------------------------------------------------------------------------


def _shifted(input: Any, dim: Any, direction: int) -> Any:
    x = as_tensor_argument(input)
    axes = range(x.ndim) if dim is None else (dim,) if isinstance(dim, (int, np.integer)) else dim
    places = tuple(normalize_axis(int(axis), x.ndim) for axis in axes)
    shifts = tuple(x.shape[a] // 2 if direction > 0 else -(x.shape[a] // 2) for a in places)
    return np.roll(x, shifts, places)


@numpy_names
def fftshift(input: Any, dim: Any = None) -> Any:
    """Move the zero frequency to the middle of the axes `dim`, or of all."""
    return _shifted(input, dim, 1)


@numpy_names
def ifftshift(input: Any, dim: Any = None) -> Any:
    """Undo `fftshift`."""
    return _shifted(input, dim, -1)


def fftfreq(n: int, d: float = 1.0, *, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """The frequencies of the elements of `fft`'s result, for n samples at distance `d`."""
    return _frequencies(np.fft.fftfreq(n, d), dtype, requires_grad)


def rfftfreq(n: int, d: float = 1.0, *, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """The frequencies of the elements of `rfft`'s result, for n samples at distance `d`."""
    return _frequencies(np.fft.rfftfreq(n, d), dtype, requires_grad)


def _frequencies(array: Any, dtype: Any, requires_grad: bool) -> Tensor:
    result = make_tensor(array, None) if dtype is not None else Tensor(array)
    if dtype is not None:
        result = make_tensor(array.astype(as_numpy_dtype(dtype)), None)
    return result.requires_grad_(requires_grad)


# ----- NumPy's names ----------------------------------------------------------------------------------------------


def _as_numpy(operation: Callable[..., Any]) -> Callable[..., Any]:
    def of_one_axis(a: Any, n: Any = None, axis: int = -1, norm: Any = None, out: None = None) -> Any:
        return operation(a, n, axis, norm)

    return of_one_axis


def _as_numpy_several(operation: Callable[..., Any], default: Any) -> Callable[..., Any]:
    def of_several_axes(a: Any, s: Any = None, axes: Any = default, norm: Any = None, out: None = None) -> Any:
        return operation(a, s, axes, norm)

    return of_several_axes


for _one in (fft, ifft, rfft, irfft, hfft, ihfft):
    implements(getattr(np.fft, _one.__name__))(_as_numpy(_one))
for _many in (fftn, ifftn, rfftn, irfftn):
    implements(getattr(np.fft, _many.__name__))(_as_numpy_several(_many, None))
for _two in (fft2, ifft2, rfft2, irfft2):
    implements(getattr(np.fft, _two.__name__))(_as_numpy_several(_two, (-2, -1)))


@implements(np.fft.fftshift)
def _np_fftshift(x: Any, axes: Any = None) -> Any:
    return fftshift(x, axes)


@implements(np.fft.ifftshift)
def _np_ifftshift(x: Any, axes: Any = None) -> Any:
    return ifftshift(x, axes)


__all__: list[str] = []  # the names are those of `chainrule.fft`; none stands at top level
