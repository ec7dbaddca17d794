"""Sharing memory with other libraries' arrays."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from chainrule.utils.dlpack import from_dlpack, to_dlpack


def test_a_capsule_shares_the_tensors_memory() -> None:
    x = cr.arange(4.0)
    y = from_dlpack(to_dlpack(x))
    y[1] = 7
    assert x.tolist() == [0.0, 7.0, 2.0, 3.0]


def test_an_array_shares_its_memory() -> None:
    a = np.zeros(2)
    y = from_dlpack(a)
    a[0] = 1
    assert y.tolist() == [1.0, 0.0]


def test_what_is_neither_is_refused() -> None:
    with pytest.raises(TypeError, match="capsule"):
        from_dlpack(3)
    with pytest.raises(BufferError):
        to_dlpack(cr.ones(2, requires_grad=True))


def test_pytorch_takes_and_gives_capsules() -> None:
    torch = pytest.importorskip("torch")
    x = cr.arange(3.0)
    theirs = torch.utils.dlpack.from_dlpack(to_dlpack(x))
    theirs[0] = 5
    assert x.tolist() == [5.0, 1.0, 2.0]
    assert from_dlpack(theirs).tolist() == from_dlpack(torch.utils.dlpack.to_dlpack(theirs)).tolist() == [5.0, 1.0, 2.0]
