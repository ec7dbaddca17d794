"""An LSTM foretells the temperature of the sea where El Nino rises: 61 years of monthly means, a month ahead.

    python examples/lstm.py

The last 15 years are for testing. Beside the network stand two rules that need none: a month is as warm as it is on
average over the years of training, and it is as much warmer than that as the month before was. Writes the forecasts and
the loss: lstm.png.
"""

from __future__ import annotations

import argparse
import sys
from typing import NamedTuple

import common
import numpy as np

import chainrule as torch
from chainrule import nn, optim
from chainrule.nn import functional as F
from chainrule.utils.data import DataLoader, TensorDataset

OPTIONS = common.Options(__doc__, epochs=60, lr=3e-3, out="runs/lstm", short={"epochs": 4})
OPTIONS.add_argument("--hidden", type=common.whole_number, default=32, metavar="N", help="width of the LSTM")
OPTIONS.add_argument("--months", type=common.whole_number, default=24, metavar="N", help="months it is shown")

TEST_YEARS, HELD_OUT_YEARS = 15, 8


class Series(NamedTuple):
    """Months in order: their temperatures, the average of their month of the year, and the year as a number."""

    temperature: torch.Tensor
    usual: torch.Tensor
    year: torch.Tensor


class Forecaster(nn.Module):
    """Months (n, months, 3) to the anomaly of the month after each, (n, months)."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(3, hidden, num_layers=2, dropout=0.2, batch_first=True)
        self.read_out = nn.Linear(hidden, 1)

    def forward(self, months: torch.Tensor) -> torch.Tensor:
        """The network says how the anomaly changes."""
        states, _ = self.lstm(months)
        return months[..., 0] + self.read_out(states).squeeze(-1)
