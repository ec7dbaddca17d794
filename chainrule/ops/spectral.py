"""Windows, and transforms of a signal window by window: `stft` and its inverse `istft`."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.dtypes import as_numpy_dtype, default_float
from ..core.tensor import Tensor, make_tensor
from . import fft
from .common import attach
from .creation import factory
from .elementwise import view_as_real
from .indexing import index_add
from .shape import pad, reshape, transpose, unfold

__all__ = [
    "bartlett_window",
    "blackman_window",
    "hamming_window",
    "hann_window",
    "istft",
    "kaiser_window",
    "stft",
]

# ----- windows ----------------------------------------------------------------------------------------------------


def _window(window_length: int, periodic: bool, dtype: Any, requires_grad: bool, shape: Any) -> Tensor:
    """Samples of `shape(phase)`, the phase going from 0 to 1; a periodic window lacks the last one."""
    if window_length < 0:
        raise RuntimeError(f"a window needs a non-negative length, got {window_length}")
    kind = default_float() if dtype is None else as_numpy_dtype(dtype)
    if kind.kind != "f":
        raise RuntimeError(f"a window is of a floating type, not {kind}")
    intervals = window_length if periodic else window_length - 1
    phase = np.arange(window_length) / max(intervals, 1)
    values = np.ones(window_length) if window_length == 1 else shape(phase)
    return make_tensor(values.astype(kind), None).requires_grad_(requires_grad)


@factory
def hann_window(
    window_length: int,
    periodic: bool = True,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    r"""The Hann window, $\sin^2(\pi n / N)$.

    >>> import chainrule as cr
    >>> cr.hann_window(4).tolist()
    [0.0, 0.5, 1.0, 0.5]
    """
    return hamming_window(window_length, periodic, 0.5, 0.5, dtype=dtype, requires_grad=requires_grad)


@factory
def hamming_window(
    window_length: int,
    periodic: bool = True,
    alpha: float = 0.54,
    beta: float = 0.46,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    r"""The Hamming window, $\alpha - \beta \cos(2 \pi n / N)$."""
    return _window(
        window_length, periodic, dtype, requires_grad, lambda phase: alpha - beta * np.cos(2 * np.pi * phase)
    )


@factory
def blackman_window(
    window_length: int, periodic: bool = True, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    r"""The Blackman window, $0.42 - 0.5 \cos(2 \pi n / N) + 0.08 \cos(4 \pi n / N)$."""
    return _window(
        window_length,
        periodic,
        dtype,
        requires_grad,
        lambda phase: np.maximum(0.42 - 0.5 * np.cos(2 * np.pi * phase) + 0.08 * np.cos(4 * np.pi * phase), 0),
    )


@factory
def bartlett_window(
    window_length: int, periodic: bool = True, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    r"""The Bartlett window, a triangle: $1 - |2 n / N - 1|$."""
    return _window(window_length, periodic, dtype, requires_grad, lambda phase: 1 - np.abs(2 * phase - 1))


@factory
def kaiser_window(
    window_length: int,
    periodic: bool = True,
    beta: float = 12.0,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    r"""The Kaiser window, $I_0(\beta \sqrt{1 - (2 n / N - 1)^2}) / I_0(\beta)$."""
    return _window(
        window_length,
        periodic,
        dtype,
        requires_grad,
        lambda phase: np.i0(beta * np.sqrt(np.maximum(1 - (2 * phase - 1) ** 2, 0))) / np.i0(beta),
    )


# ----- transforms -------------------------------------------------------------------------------------------------


def _sizes(name: str, n_fft: int, hop: int | None, win: int | None, window: Any) -> tuple[int, int]:
    hop = n_fft // 4 if hop is None else hop
    win = n_fft if win is None else win
    if hop <= 0:
        raise RuntimeError(f"{name}: expected hop_length > 0, but got hop_length={hop}")
    if not 0 < win <= n_fft:
        raise RuntimeError(f"{name}: expected 0 < win_length <= n_fft, but got win_length={win} and n_fft={n_fft}")
    if window is not None and window.shape != (win,):
        raise RuntimeError(
            f"{name}: expected a 1D window tensor of size equal to win_length={win}, but got window with size "
            f"{tuple(window.shape)}"
        )
    return hop, win


def _centred(window: Any, n_fft: int, win: int, kind: Any) -> Tensor:
    """The window, ones if there is none, in the middle of n_fft places."""
    if window is None:
        window = make_tensor(np.ones(win, kind), None)
    before = (n_fft - win) // 2
    return pad(window, (before, n_fft - win - before)) if win < n_fft else window


def stft(
    input: Any,
    n_fft: int,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: Any = None,
    center: bool = True,
    pad_mode: str = "reflect",
    normalized: bool = False,
    onesided: bool | None = None,
    return_complex: bool | None = None,
    align_to_window: bool | None = None,
) -> Tensor:
    """The short-time Fourier transform: the spectrum of each window of a signal.

    Args:
        input: (length,) or (batch, length).
        n_fft: how many samples are transformed at a time.
        hop_length: from one window to the next, n_fft // 4 if left out.
        window: a weight for each of `win_length` (n_fft) samples.
        center: pad the signal, so that window t has its centre at t * hop_length.
        return_complex: for a real signal True, or False for pairs of numbers in a last axis.

    Returns:
        (batch, frequencies, windows), n_fft // 2 + 1 frequencies if `onesided` (where signal and window are real).

    Raises:
        RuntimeError: sizes that do not fit.

    >>> import chainrule as cr
    >>> cr.stft(cr.ones(16), 8, return_complex=True).shape
    (5, 9)
    """
    hop, win = _sizes("stft", n_fft, hop_length, win_length, window)
    is_complex = "c" in (input.array.dtype.kind, getattr(getattr(window, "array", None), "dtype", np.dtype("f")).kind)
    if return_complex is None:
        if not is_complex:
            raise RuntimeError("stft requires the return_complex parameter be given for real inputs")
        return_complex = True
    if align_to_window is not None and center:
        raise RuntimeError("stft align_to_window should only be set when center = false")
    if input.ndim not in (1, 2):
        raise RuntimeError(f"stft: expected a 1D or 2D tensor, got shape {input.shape}")
    onesided = not is_complex if onesided is None else onesided
    if onesided and is_complex:
        raise RuntimeError("Cannot have onesided output if window or input is complex")
    signal = input if input.ndim == 2 else reshape(input, (1, -1))
    if center:
        # a 3-d tensor, as padding by reflection wants it
        signal = pad(reshape(signal, (1, *signal.shape)), (n_fft // 2, n_fft // 2), mode=pad_mode)[0]
    length = signal.shape[-1]
    if not 0 < n_fft <= length:
        raise RuntimeError(f"stft: expected 0 < n_fft <= {length}, the length of the signal, but got n_fft={n_fft}")
    frames = unfold(signal, 1, n_fft, hop)  # (batch, windows, n_fft)
    if window is not None or win < n_fft:
        frames = frames * _centred(window, n_fft, win, np.dtype(f"f{input.array.dtype.itemsize // (1 + is_complex)}"))
    transform = fft.rfft if onesided else fft.fft
    spectrum = transpose(transform(frames, norm="ortho" if normalized else None), 1, 2)
    if input.ndim == 1:
        spectrum = spectrum[0]
    return spectrum if return_complex else view_as_real(spectrum)


def istft(
    input: Tensor,
    n_fft: int,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: Any = None,
    center: bool = True,
    normalized: bool = False,
    onesided: bool | None = None,
    length: int | None = None,
    return_complex: bool = False,
) -> Tensor:
    """The signal whose short-time Fourier transform is nearest to `input` (Griffin, Lim 1984).

    Args:
        input: (frequencies, windows) or (batch, frequencies, windows), complex, as `stft` returns it.
        length: of the signal, if it is known.

    Raises:
        RuntimeError: sizes that do not fit; windows that leave a place without weight.

    >>> import chainrule as cr
    >>> x, window = cr.arange(32.0), cr.hann_window(8)
    >>> y = cr.istft(cr.stft(x, 8, window=window, return_complex=True), 8, window=window)
    >>> bool(cr.allclose(x, y, atol=1e-5))
    True
    """
    hop, win = _sizes("istft", n_fft, hop_length, win_length, window)
    if input.array.dtype.kind != "c":
        raise RuntimeError(f"istft requires a complex-valued input tensor, got {input.dtype}: use stft(...)'s")
    if input.ndim not in (2, 3):
        raise RuntimeError(f"istft expected a tensor with 2 or 3 dimensions, got shape {input.shape}")
    spectrum = input if input.ndim == 3 else reshape(input, (1, *input.shape))
    onesided = spectrum.shape[1] != n_fft if onesided is None else onesided
    expected = n_fft // 2 + 1 if onesided else n_fft
    if spectrum.shape[1] != expected:
        raise RuntimeError(
            f"istft expected the frequency dimension (3rd to the last) of the input tensor to match n_fft: {expected} "
            f"frequencies for n_fft={n_fft}, got {spectrum.shape[1]}"
        )
    if return_complex and onesided:
        raise RuntimeError("cannot have onesided input if the result is to be complex")
    windows = spectrum.shape[2]
    kind = np.dtype(f"f{input.array.dtype.itemsize // 2}")
    weights = _centred(window, n_fft, win, kind)
    norm = "ortho" if normalized else None
    columns = transpose(spectrum, 1, 2)
    if return_complex:
        frames = fft.ifft(columns, n_fft, norm=norm)
    else:  # of a real signal: the frequencies of one side say all
        frames = fft.irfft(columns[..., : n_fft // 2 + 1], n_fft, norm=norm)
    total = n_fft + hop * (windows - 1)
    places = make_tensor(np.add.outer(hop * np.arange(windows), np.arange(n_fft)).reshape(-1), None)

    def overlapped(values: Tensor, rows: int) -> Tensor:
        zeros = make_tensor(np.zeros((rows, total), values.array.dtype), None)
        return index_add(zeros, 1, places, reshape(values, (rows, -1)))

    signal = overlapped(frames * weights, spectrum.shape[0])
    envelope = overlapped(weights * weights * make_tensor(np.ones((1, windows, n_fft), kind), None), 1)
    start = n_fft // 2 if center else 0
    stop = start + length if length is not None else total - start if center else total
    signal, envelope = signal[:, start:stop], envelope[:, start:stop]
    if np.any(np.abs(envelope.array) < 1e-11):
        raise RuntimeError("istft: window overlap add min: the windows leave a place without weight")
    signal = signal / envelope
    if length is not None and length > signal.shape[1]:
        signal = pad(signal, (0, length - signal.shape[1]))
    return signal if input.ndim == 3 else signal[0]


attach(stft, istft)
