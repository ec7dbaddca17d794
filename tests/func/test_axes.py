"""rearrange: axes by names."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.func import rearrange, vmap

X = np.arange(2 * 3 * 4 * 6).reshape(2, 3, 4, 6)

CASES: list[tuple[str, dict[str, int], Any]] = [
    ("b c h w -> b h w c", {}, X.transpose(0, 2, 3, 1)),
    ("b c h w -> (b c) h w", {}, X.reshape(6, 4, 6)),
    ("b c h w -> b (c h w)", {}, X.reshape(2, -1)),
    ("b c h (w v) -> b v (c h) w", {"v": 2}, X.reshape(2, 3, 4, 3, 2).transpose(0, 4, 1, 2, 3).reshape(2, 2, 12, 3)),
    ("b ... -> ... b", {}, np.moveaxis(X, 0, -1)),
    ("b ... w -> w (... b)", {}, X.transpose(3, 1, 2, 0).reshape(6, -1)),
    ("b c h w -> b 1 c h () w", {}, X[:, None, :, :, None]),
]


@pytest.mark.parametrize(("pattern", "lengths", "wanted"), CASES, ids=[case[0] for case in CASES])
def test_patterns_are_reshapes_and_transposes(pattern: str, lengths: dict[str, int], wanted: Any) -> None:
    np.testing.assert_array_equal(rearrange(cr.tensor(X), pattern, **lengths).numpy(), wanted)


@pytest.mark.parametrize(("pattern", "lengths", "wanted"), CASES, ids=[case[0] for case in CASES])
def test_patterns_mean_what_they_mean_in_torch(pattern: str, lengths: dict[str, int], wanted: Any) -> None:
    torch = pytest.importorskip("torch")
    np.testing.assert_array_equal(torch.func.rearrange(torch.tensor(X), pattern, **lengths).numpy(), wanted)


def test_lists_are_stacked_and_samples_mapped() -> None:
    x = cr.tensor(X)
    assert rearrange([x, x], "n b ... -> (n b) ...").shape == (4, 3, 4, 6)
    np.testing.assert_array_equal(vmap(lambda v: rearrange(v, "c h w -> w c h"))(x).numpy(), X.transpose(0, 3, 1, 2))


@pytest.mark.parametrize(
    ("pattern", "lengths", "words"),
    [
        ("a b c d", {}, "one ->"),
        ("a b c -> c b a", {}, "4 axes"),
        ("a b c d -> a b c", {}, "once on either side"),
        ("a b c d -> a a b c d", {}, "once on either side"),
        ("a b c (d e) -> a b c d e", {}, "length 6"),
        ("a b c (d e) -> a b c d e", {"e": 4}, "length 6"),
        ("a b c d -> a b c d", {"z": 4}, "z is no name"),
        ("a b (c d -> a b c d", {}, "parentheses"),
        ("a b c d$ -> a b c d", {}, "no name"),
    ],
)
def test_patterns_that_do_not_fit_are_named(pattern: str, lengths: dict[str, int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        rearrange(cr.tensor(X), pattern, **lengths)
