"""New tensors: the ways in which their limits and sizes are given."""

from __future__ import annotations

from typing import Any

import numpy as np
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


def test_bytes_in_another_order_are_converted_or_refused_but_never_read_as_they_are() -> None:
    for kind in ("f4", "f8", "i4", "c8"):
        given = np.arange(3).astype(np.dtype(kind).newbyteorder())
        with pytest.raises(ValueError, match="byte order"):
            cr.from_numpy(given)
        with pytest.raises(TypeError, match="order of bytes"):
            cr.frombuffer(given.tobytes(), dtype=given.dtype)
        for made in (cr.tensor(given), cr.as_tensor(given), cr.Tensor(given)):
            assert made.numpy().dtype.isnative
            np.testing.assert_array_equal(made.numpy(), given)
        assert cr.as_tensor(given).numpy().dtype == np.dtype(kind)


@pytest.mark.parametrize("size", [5, 20_000])
@pytest.mark.parametrize("optimizer", [cr.optim.SGD, cr.optim.Adam])
def test_parameters_from_bytes_in_another_order_are_trained(size: int, optimizer: type) -> None:
    found = []
    for kind in ("=f4", np.dtype("f4").newbyteorder()):
        w = cr.as_tensor(np.ones(size, kind)).requires_grad_()
        (w * 2).sum().backward()
        optimizer([w], lr=0.25).step()
        found.append(w.detach().numpy())
    np.testing.assert_array_equal(*found)
    assert found[0][0] < 1


@pytest.mark.parametrize("data", [0.1, [0.1, 0.7], np.array([0.1, 0.7])])
def test_new_tensor_keeps_the_digits_that_its_type_can_hold(data: Any) -> None:
    made = cr.zeros(2, dtype=cr.float64).new_tensor(data)
    np.testing.assert_array_equal(made.numpy(), np.asarray(data))
