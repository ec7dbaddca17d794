"""An LSTM foretells the temperature of the sea where El Nino rises: 61 years of monthly means, a month ahead.

    python examples/lstm.py

The last 15 years are for testing. Beside the network stand two rules that need none: a month is as warm as it is on
average over the years of training, and it is as much warmer than that as the month before was. Writes the forecasts and
the loss: lstm.png.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

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


def windows(series: torch.Tensor, months: int) -> torch.Tensor:
    """All stretches of so many months, each beginning a month later: (n, months, ...)."""
    return torch.stack([series[start : start + months] for start in range(len(series) - months + 1)])


@torch.no_grad()
def forecast(model: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    """The month after each window, (n,)."""
    model.eval()
    last = model(inputs)[:, -1]
    model.train()
    return last


def error(forecasts: Any, truth: Any) -> float:
    """The root of the mean square of forecasts' errors."""
    return float(np.sqrt(np.mean((np.asarray(forecasts) - np.asarray(truth)) ** 2)))


def main(options: argparse.Namespace) -> None:
    """Train, compare with simple rules, draw."""
    torch.manual_seed(options.seed)
    table = common.read_table("sea_surface_temperature.csv")
    first_year, temperature = int(table[0, 0]), table[:, 1:]
    split = 12 * (len(table) - TEST_YEARS)
    if options.months > split // 4:
        raise common.Failure(f"argument --months: must be at most {split // 4}, got {options.months}")
    usual = np.tile(temperature[:-TEST_YEARS].mean(axis=0), len(table))
    anomaly = temperature.ravel() - usual
    scale = anomaly[:split].std()
    angle = 2 * np.pi * np.arange(len(anomaly)) / 12
    months = torch.tensor(np.stack([anomaly / scale, np.cos(angle), np.sin(angle)], axis=1), dtype=torch.float32)

    # a window's inputs are all its months but the last, its targets all but the first
    train = windows(months[: split - 12 * HELD_OUT_YEARS], options.months + 1)
    held_out = windows(months[split - 12 * HELD_OUT_YEARS - options.months : split], options.months + 1)
    test = windows(months[split - options.months :], options.months + 1)
    loader = DataLoader(TensorDataset(train[:, :-1], train[:, 1:, 0]), batch_size=32, shuffle=True)

    model = Forecaster(options.hidden)
    optimizer = optim.RMSprop(model.parameters(), lr=options.lr)
    scheduler = optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=4)
    training = common.Training(options, model, optimizer, scheduler, steps=len(loader))
    print(f"{common.parameter_count(model)} parameters, {len(train)} windows of {options.months} months")

    for _ in training.epochs():
        for inputs, targets in loader:
            loss = F.mse_loss(model(inputs), targets)
            training.record(loss)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), max_norm=1.0)
            optimizer.step()
        held_out_loss = F.mse_loss(forecast(model, held_out[:, :-1]), held_out[:, -1, 0]).item()
        scheduler.step(held_out_loss)
        training.report(held_out_loss=held_out_loss, lr=optimizer.param_groups[0]["lr"])

    truth = anomaly[split:]
    by_network = scale * forecast(model, test[:, :-1]).numpy()
    print(f"error of forecasts for {TEST_YEARS} years, root of the mean square, in degrees:")
    print(f"  the average of the month          {error(0, truth):.3f}")
    print(f"  warmer by as much as last month   {error(anomaly[split - 1 : -1], truth):.3f}")
    print(f"  LSTM                              {error(by_network, truth):.3f}")
    years = first_year + np.arange(split, len(anomaly)) / 12
    draw(training, years, usual[split:], truth, by_network)
    training.wrote("lstm.png")


def draw(training: common.Training, years: Any, usual: Any, truth: Any, forecasts: Any) -> None:
    """Temperatures and anomalies with their forecasts; the loss."""
    figure, (above, below, loss) = common.new_figure(10, 9, 3, 1)
    above.plot(years, usual + truth, color=common.INK, linewidth=1.2, label="measured")
    above.plot(years, usual + forecasts, color=common.ACCENT, linewidth=0.9, label="foretold a month before")
    above.set(title="Temperature of the sea, test years", ylabel="degrees Celsius")
    below.plot(years, truth, color=common.INK, linewidth=1.2, label="measured")
    below.plot(years, forecasts, color=common.ACCENT, linewidth=0.9, label="foretold a month before")
    below.axhline(0, color="black", linewidth=0.6)
    below.set(title="Warmer than usual in the month", ylabel="degrees")
    for axes in (above, below):
        axes.legend(frameon=False)
        common.tidy(axes)
    common.draw_losses(loss, training.losses, training.steps, training.history["held out loss"])
    training.save_picture(figure, "lstm.png")


if __name__ == "__main__":
    sys.exit(common.launch(main, OPTIONS))
