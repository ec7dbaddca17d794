"""Short-time Fourier transforms and back."""

from __future__ import annotations

import numpy as np

import chainrule as cr


def test_istft_undoes_stft_with_a_complex_window() -> None:
    generator = np.random.default_rng(0)
    x = generator.standard_normal(40) + 1j * generator.standard_normal(40)
    window = cr.tensor(1 + generator.random(8) + 1j * generator.random(8), dtype=cr.complex128)
    spectrum = cr.stft(cr.tensor(x, dtype=cr.complex128), 8, window=window, onesided=False, return_complex=True)
    back = cr.istft(spectrum, 8, window=window, onesided=False, return_complex=True)
    np.testing.assert_allclose(back.numpy(), x[: back.shape[0]], rtol=1e-10)


def test_istft_of_all_frequencies_without_a_complex_result_reads_one_side() -> None:
    generator = np.random.default_rng(0)
    spectrum = generator.standard_normal((6, 4)) + 1j * generator.standard_normal((6, 4))
    whole = cr.istft(cr.tensor(spectrum, dtype=cr.complex128), 6, onesided=False)
    half = cr.istft(cr.tensor(spectrum[:4], dtype=cr.complex128), 6, onesided=True)
    np.testing.assert_allclose(whole.numpy(), half.numpy(), rtol=1e-12)
