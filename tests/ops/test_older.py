"""Numbers before tensors, as PyTorch's older programs write them."""

from __future__ import annotations

import pytest

import chainrule as cr


@pytest.mark.parametrize(
    ("name", "keyword", "count"),
    [("add_", "alpha", 1), ("sub_", "alpha", 1), ("addcmul_", "value", 2), ("addcdiv_", "value", 2)],
)
def test_the_number_may_come_first_with_a_warning(name: str, keyword: str, count: int) -> None:
    others = [cr.tensor([3.0, 4.0]), cr.tensor([5.0, 8.0])][:count]
    now = getattr(cr.tensor([1.0, 2.0]), name)(*others, **{keyword: -0.5})
    with pytest.warns(UserWarning, match=f"write {name}"):
        before = getattr(cr.tensor([1.0, 2.0]), name)(-0.5, *others)
    assert before.tolist() == now.tolist()
    torch = pytest.importorskip("torch")
    theirs = getattr(torch.tensor([1.0, 2.0]), name)(*[torch.tensor(x.tolist()) for x in others], **{keyword: -0.5})
    assert now.tolist() == pytest.approx(theirs.tolist())


def test_a_number_alone_is_what_is_added() -> None:
    assert cr.tensor([1.0]).add_(2).sub_(0.5).add_(1, alpha=3).tolist() == [5.5]


def test_a_tensor_may_be_what_the_other_is_multiplied_by() -> None:
    assert cr.tensor([1.0]).add_(cr.tensor([2.0]), alpha=cr.tensor(3.0)).tolist() == [7.0]


def test_an_old_optimiser_runs() -> None:
    p, gradient, mean = cr.zeros(2), cr.tensor([1.0, 2.0]), cr.zeros(2)
    with pytest.warns(UserWarning, match="old order"):
        mean.mul_(0.9).add_(0.1, gradient)
        p.data.addcdiv_(-0.01, mean, cr.ones(2))
    assert p.tolist() == pytest.approx([-0.001, -0.002])
