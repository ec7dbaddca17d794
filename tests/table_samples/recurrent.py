"""Samples for recurrent layers."""

from __future__ import annotations

from chainrule.ops import recurrent

from .common import Sample, normal


def gates(count: int) -> tuple[tuple[object, ...], ...]:
    """(z, h0, w_hh) for three features, two sequences, four steps, and for one step of one sequence."""
    return (
        (normal(count * 3, 4, 2), normal(3, 2), normal(count * 3, 3, seed=1)),
        (normal(count * 3, 1, 1, seed=2), normal(3, 1, seed=3), normal(count * 3, 3, seed=4)),
    )


(Z3, H3, W3), _ = gates(3)
(Z1, H1, W1), (Z1_ONE, H1_ONE, W1_ONE) = gates(1)
LSTM = (normal(4, 2, 5), normal(3, 2), normal(3, 2, seed=9), normal(12, 5), normal(12, 3, seed=1))
LSTM_ONE = (normal(1, 1, 2), normal(3, 1, seed=3), normal(3, 1, seed=9), normal(12, 2), normal(12, 3, seed=4))
LSTM_PROJECTED = (normal(4, 2, 5), normal(2, 2, seed=5), normal(3, 2, seed=6), normal(12, 5), normal(12, 2, seed=7))
BIAS, PROJECTION = normal(12, seed=2), normal(2, 3, seed=8)
ALL, EARLY = (2, 2, 2, 2), (2, 2, 1, 1)

SAMPLES = [
    Sample(recurrent.input_shares, (normal(3, 2, 4), normal(6, 4), normal(6))),
    Sample(recurrent.input_shares, (normal(3, 2, 4), normal(6, 4), None)),
    Sample(recurrent.lstm, (*LSTM, BIAS, None, ALL)),
    Sample(recurrent.lstm, (*LSTM, None, None, EARLY, True)),
    Sample(recurrent.lstm, (*LSTM_PROJECTED, BIAS, PROJECTION, EARLY)),
    Sample(recurrent.lstm, (*LSTM_PROJECTED, None, PROJECTION, ALL, True)),
    Sample(recurrent.lstm, (*LSTM_ONE, BIAS, None, (1,))),
    Sample(recurrent.gru, (Z3, H3, W3, normal(3, 1), ALL)),
    Sample(recurrent.gru, (Z3, H3, W3, None, EARLY, True)),
    Sample(recurrent.rnn, (Z1, H1, W1, "tanh", ALL)),
    Sample(recurrent.rnn, (Z1, H1, W1, "relu", EARLY)),
    Sample(recurrent.rnn, (Z1, H1, W1, "tanh", EARLY, True)),
    Sample(recurrent.rnn, (Z1_ONE, H1_ONE, W1_ONE, "relu", (1,), True)),
]
