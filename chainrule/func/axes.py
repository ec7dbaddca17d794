"""`rearrange`: axes split, moved and merged, by names (after einops, https://einops.rocks)."""

from __future__ import annotations

import math
import re
from typing import Any

from ..core.tensor import Tensor
from ..ops.shape import stack

__all__ = ["rearrange"]

TOKEN = re.compile(r"\s*(?:(?P<name>[A-Za-z_]\w*)|(?P<one>1)|(?P<dots>\.\.\.)|(?P<open>\()|(?P<close>\)))")


def rearrange(tensor: Any, pattern: str, **axes_lengths: int) -> Tensor:
    """A tensor with its axes split, moved and merged as a pattern says.

    Args:
        tensor: a tensor, or a list of tensors, whose number is then the first axis.
        pattern: names for the axes before and after `->`; parentheses hold the parts of one axis, `...` stands for
            any further axes, `1` for an axis of length 1.
        axes_lengths: lengths of names that the shape does not tell.

    Raises:
        ValueError: the pattern is none, or does not fit the shape; says which part.

    >>> import chainrule as cr
    >>> x = cr.arange(12).reshape(2, 6)
    >>> rearrange(x, "a (b c) -> c (a b)", c=3).tolist()
    [[0, 3, 6, 9], [1, 4, 7, 10], [2, 5, 8, 11]]
    """
    if isinstance(tensor, (list, tuple)):
        tensor = stack(tensor)
    left_side, arrow, right_side = pattern.partition("->")
    if not arrow or "->" in right_side:
        raise ValueError(f"rearrange: a pattern has one ->, got {pattern!r}")
    left, right = groups_of(left_side, pattern), groups_of(right_side, pattern)
    extra = tensor.ndim - sum(group != ["..."] for group in left)
    if (["..."] in left and extra < 0) or (["..."] not in left and extra):
        raise ValueError(f"rearrange: {left_side.strip()!r} does not name {tensor.ndim} axes (shape {tensor.shape})")
    rest = [f"...{i}" for i in range(max(extra, 0))]
    left = [part for group in left for part in ([[name] for name in rest] if group == ["..."] else [group])]
    right = [
        part
        for group in right
        for part in (
            [[name] for name in rest]
            if group == ["..."]
            else [[name for item in group for name in (rest if item == "..." else [item])]]
        )
    ]
    before, after = ([name for group in side for name in group] for side in (left, right))
    if len(set(before)) != len(before) or sorted(before) != sorted(after):
        raise ValueError(f"rearrange: each name must be once on either side, got {pattern!r}")
    unknown = set(axes_lengths) - set(before)
    if unknown:
        raise ValueError(f"rearrange: {', '.join(sorted(unknown))} is no name in {pattern!r}")
    lengths = dict(axes_lengths)
    for group, size in zip(left, tensor.shape, strict=True):
        missing = [name for name in group if name not in lengths]
        known = math.prod(lengths[name] for name in group if name in lengths)
        if len(missing) == 1 and known and size % known == 0:
            lengths[missing[0]] = size // known
        elif missing or known != size:
            raise ValueError(
                f"rearrange: an axis of length {size} (shape {tensor.shape}) cannot be split into "
                f"({' '.join(group)}) with the lengths {lengths}"
            )
    parts = tensor.reshape([lengths[name] for name in before])
    parts = parts.permute([before.index(name) for name in after])
    result: Tensor = parts.reshape([math.prod(lengths[name] for name in group) for group in right])
    return result


def groups_of(side: str, pattern: str) -> list[list[str]]:
    """One side of a pattern: for each axis its names; none for an axis of length 1."""
    groups: list[list[str]] = []
    inside = False
    place = 0
    side = side.rstrip()
    while place < len(side):
        token = TOKEN.match(side, place)
        if token is None:
            raise ValueError(f"rearrange: {side[place:].split()[0]!r} in {pattern!r} is no name")
        place = token.end()
        kind = token.lastgroup
        if (kind == "open" and inside) or (kind == "close" and not inside):
            raise ValueError(f"rearrange: unbalanced parentheses in {pattern!r}")
        if kind == "open":
            groups.append([])
        elif kind in ("name", "dots"):
            word = token[kind]
            if inside:
                groups[-1].append(word)
            else:
                groups.append([word])
        elif kind == "one" and not inside:
            groups.append([])
        inside = kind == "open" or (inside and kind != "close")
    if inside:
        raise ValueError(f"rearrange: unbalanced parentheses in {pattern!r}")
    return groups
