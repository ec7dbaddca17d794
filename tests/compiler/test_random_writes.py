"""Random programs that write to their arguments, through views of any kind, and hand out what was there before."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import chainrule as cr
from chainrule.compiler import TraceError, compile

SIZE = 4  # all matrices are square, so that all fit
PARTS: list[Any] = [
    lambda t: t, lambda t: t[1], lambda t: t[:, 2], lambda t: t[0, 1], lambda t: t.diagonal(), lambda t: t[1:3],
    lambda t: t[..., ::2], lambda t: t.T[0], lambda t: t.T, lambda t: t.reshape(-1)[3:7] if t.is_contiguous() else t[2],
    lambda t: t.unsqueeze(0)[0], lambda t: t.split(2, 1)[1], lambda t: t[:, :], lambda t: t.T.T,
]  # fmt: skip
VALUES: list[Any] = [
    lambda a, b: a + b, lambda a, b: a * b, lambda a, b: a @ b / 4, lambda a, b: a - b.T, lambda a, b: a.T,
    lambda a, b: a, lambda a, b: a.clone(), lambda a, b: a.sum(0), lambda a, b: a.sum(), lambda a, b: cr.tanh(a),
    lambda a, b: cr.where(a > b, a, b), lambda a, b: a.flip(1), lambda a, b: a.roll(1, 0), lambda a, b: a * 1,
    lambda a, b: cr.cat([a[:2], b[2:]]), lambda a, b: a.T.contiguous(), lambda a, b: a.softmax(0), lambda a, b: a + 0,
    lambda a, b: a.mean(1, keepdim=True) * b,
]  # fmt: skip
WRITES: list[Any] = [
    lambda t, e: t.add_(e), lambda t, e: t.mul_(0.5), lambda t, e: t.copy_(e), lambda t, e: t.sub_(e * 0.5),
    lambda t, e: t.zero_(), lambda t, e: t.neg_(), lambda t, e: t.fill_(1.5), lambda t, e: t.__setitem__(..., e),
    lambda t, e: t.clamp_(-1, 1), lambda t, e: t.masked_fill_(t > 0.5, 0.25), lambda t, e: t.lerp_(e.expand_as(t), 0.5),
]  # fmt: skip
LAYOUTS: list[Any] = [  # how arguments lie in memory
    lambda a: a, np.asfortranarray, lambda a: np.array(a[::-1])[::-1], lambda a: np.repeat(a, 2, 1)[:, ::2],
]  # fmt: skip

numbers = st.integers(0, 999)
kinds = st.sampled_from(["value", "value", "kept", "view", "loss", *["write"] * 5])
programs = st.lists(st.tuples(kinds, numbers, numbers, numbers, numbers, numbers), min_size=2, max_size=9)


def run(program: Any, x: Any, given: Any, inside: bool) -> list[Any]:
    """What a program makes and keeps, and a sum that x is a factor of: with its gradient, or to be differentiated."""
    made, kept, loss = list(given), [], x.sum()
    for kind, part, value, which, first, second in program:
        a, b = made[first % len(made)], made[second % len(made)]
        at = PARTS[part % len(PARTS)]
        if kind == "value":
            new = VALUES[value % len(VALUES)](a, b)
            (made if new.shape == (SIZE, SIZE) else kept).append(new)
        elif kind == "kept":
            kept.append(at(a).clone())
        elif kind == "view":
            made.append((a.T, a[:, :], a.T.T)[which % 3])
        elif kind == "loss":
            loss = loss + (at(a).clone() * at(x)).sum()
        else:
            target, new = at(a), VALUES[value % len(VALUES)](b, a)
            WRITES[which % len(WRITES)](target, new if new.shape == target.shape else at(b).clone())
    kept += [matrix.clone() for matrix in made[len(given) :]]
    return [*kept, loss, *(cr.autograd.grad(loss, [x]) if inside else [])]


def outcome(program: Any, layouts: Any, inside: bool, wrap: Any) -> Any:
    """All that two calls of a program give and change, as arrays; None where what is needed was written over."""
    random = np.random.default_rng(0)
    x = cr.from_numpy(random.normal(size=(SIZE, SIZE))).requires_grad_()
    given = [cr.from_numpy(LAYOUTS[layout](random.normal(size=(SIZE, SIZE)))) for layout in layouts]
    step = wrap(lambda x, *given: run(program, x, given, inside))
    found: list[Any] = []
    try:
        for _ in range(2):
            x.grad = None
            results = step(x, *given)
            if not inside:
                results[-1].backward()
                results.append(x.grad)
            found += [tensor.detach().numpy().copy() for tensor in (*results, *given)]
    except RuntimeError as error:
        if isinstance(error, TraceError) or "inplace" not in str(error):
            raise
        return None
    return found


EXAMPLES = int(os.environ.get("CHAINRULE_TEST_PROGRAMS", "300"))  # how many programs


@pytest.mark.usefixtures("numpy_only")
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=True,
    database=None,
)
@given(programs, st.tuples(*[st.integers(0, len(LAYOUTS) - 1)] * 3), st.booleans())
def test_programs_that_write_to_their_arguments_do_what_eager_ones_do(program: Any, layouts: Any, inside: bool) -> None:
    wanted = outcome(program, layouts, inside, lambda step: step)
    found = outcome(program, layouts, inside, compile)
    assert (found is None) == (wanted is None)
    for got, want in zip(found or (), wanted or (), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-10)
