"""New tensors: the ways in which their limits and sizes are given."""

from __future__ import annotations

from typing import Any

import pytest

import chainrule as cr


@pytest.mark.parametrize(
    "make",
    [
        lambda: cr.zeros(2, -1),
        lambda: cr.ones((-1,)),
        lambda: cr.full((-2,), 1.0),
        lambda: cr.eye(-1),
        lambda: cr.eye(1, -1),
        lambda: cr.randn(-1),
        lambda: cr.randint(3, (-1,)),
    ],
)
def test_a_negative_size_is_refused(make: Any) -> None:
    with pytest.raises(RuntimeError, match=r"negative dimension: .*-"):
        make()


def test_a_range_is_given_by_one_limit_or_two_by_place_or_name() -> None:
    assert cr.arange(3).tolist() == cr.arange(end=3).tolist() == cr.arange(start=0, end=3).tolist() == [0, 1, 2]
    assert cr.arange(5, 0, -2).tolist() == [5, 3, 1] and cr.arange(2, 2).tolist() == []
    with pytest.raises(TypeError, match="'end'"):
        cr.arange()


@pytest.mark.parametrize(("limits", "message"), [((0, 5, -1), "inconsistent"), ((0, 5, 0), "nonzero")])
def test_a_range_that_leads_away_is_refused(limits: Any, message: str) -> None:
    with pytest.raises(RuntimeError, match=message):
        cr.arange(*limits)


def test_random_integers_are_limited_by_one_number_or_two_by_place_or_name() -> None:
    for made in (
        cr.randint(3, (50,)),
        cr.randint(3, size=(50,)),
        cr.randint(high=3, size=(50,)),
        cr.randint(0, 3, (50,)),
        cr.randint(low=0, high=3, size=[50]),
        cr.randint_like(cr.zeros(50), high=3),
        cr.randint_like(cr.zeros(50), 3),
    ):
        assert made.shape == (50,) and set(made.tolist()) <= {0, 1, 2}
    for wrong in (lambda: cr.randint(3), lambda: cr.randint(size=(2,))):
        with pytest.raises(TypeError):
            wrong()
