"""An LSTM foretells the spots on the sun: monthly numbers since 1749, from eleven years the next three.

    python examples/lstm.py

The network learns from the years before 1976 and is tested on those from 1976. Beside it stand two rules that need no
network: it goes on as in the last twelve months, and all is as it was eleven years ago. Writes forecasts beside what
came, how errors grow with the time ahead, and the loss: lstm.png.
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

SEEN, AHEAD = 132, 36  # months
TEST_BEGINS = 1976

OPTIONS = common.Options(__doc__, epochs=12, lr=5e-3, out="runs/lstm", short={"epochs": 3, "hidden": 8, "every": 12})
OPTIONS.add_argument("--hidden", type=common.whole_number, default=32, metavar="N", help="width of the LSTM")
OPTIONS.add_argument("--every", type=common.whole_number, default=1, metavar="N", help="a window begins every N months")


class Forecaster(nn.Module):
    """Months (n, SEEN) to those that follow, (n, AHEAD)."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(input_size=1, hidden_size=hidden, batch_first=True)
        self.dropout = nn.Dropout(0.2)
        self.read_out = nn.Linear(hidden, AHEAD)

    def forward(self, months: torch.Tensor) -> torch.Tensor:
        """The forecasts are read from the state after the last month."""
        _, (hidden, _) = self.lstm(months.unsqueeze(-1))
        return self.read_out(self.dropout(hidden[-1]))


def windows(series: torch.Tensor, every: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """What is seen and what follows, (n, SEEN) and (n, AHEAD), for beginnings so many months apart."""
    return series.unfold(0, SEEN + AHEAD, every).split([SEEN, AHEAD], dim=1)


def to_network(numbers: Any) -> torch.Tensor:
    """The square root makes the noise of quiet and of active years alike."""
    return torch.tensor(np.sqrt(numbers) / 10, dtype=torch.float32)


def to_numbers(output: torch.Tensor) -> Any:
    """The inverse of `to_network`, as a NumPy array."""
    return (10 * output.clamp(min=0).numpy()) ** 2


def error(forecasts: Any, truth: Any) -> Any:
    """The root of the mean square of the errors, by month ahead: (AHEAD,)."""
    return np.sqrt(np.mean((forecasts - truth) ** 2, axis=0))


def main(options: argparse.Namespace) -> None:
    """Train, compare with simple rules, draw."""
    torch.manual_seed(options.seed)
    table = common.read_table("sunspots.csv")
    years, numbers = table[:, 0], table[:, 1:].ravel()
    split = 12 * int(TEST_BEGINS - years[0])
    series = to_network(numbers)
    train = TensorDataset(*windows(series[:split], options.every))
    loader = DataLoader(train, batch_size=64, shuffle=True)
    seen, truth = windows(series[split - SEEN :])

    model = Forecaster(options.hidden)
    optimizer = optim.RMSprop(model.parameters(), lr=options.lr)
    scheduler = optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.3, patience=0, threshold=0.03)
    training = common.Training(options, model, optimizer, scheduler, steps=len(loader))
    print(f"{common.parameter_count(model)} parameters, {len(train)} windows to learn from, {len(seen)} to test")

    for _ in training.epochs():
        for months, following in loader:
            loss = F.mse_loss(model(months), following)
            training.record(loss)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), max_norm=1.0)
            optimizer.step()
        model.eval()
        with torch.no_grad():
            training.report(test_loss=F.mse_loss(model(seen), truth).item(), lr=optimizer.param_groups[0]["lr"])
        model.train()
        scheduler.step(np.mean(training.losses[-len(loader) :]))

    model.eval()
    with torch.no_grad():
        foretold = to_numbers(model(seen))
    came, before = to_numbers(truth), to_numbers(seen)
    errors = {
        "as in the last twelve months": error(before[:, -12:].mean(axis=1, keepdims=True), came),
        "as eleven years ago": error(before[:, :AHEAD], came),
        "LSTM": error(foretold, came),
    }
    print(f"error of forecasts, {TEST_BEGINS} to {years[-1]:.0f}, mean over the {AHEAD} months ahead:")
    for rule, by_month in errors.items():
        print(f"  {rule:30}{by_month.mean():6.1f} sunspots")
    draw(training, TEST_BEGINS + np.arange(len(numbers) - split) / 12, numbers[split:], foretold, errors)
    training.wrote("lstm.png")


def draw(training: common.Training, times: Any, numbers: Any, foretold: Any, errors: dict[str, Any]) -> None:
    """Forecasts from every third year; errors by month ahead; the loss."""
    figure = common.new_figure(11, 7)
    above, left, right = figure.subplot_mosaic([["above", "above"], ["left", "right"]]).values()
    above.plot(times, numbers, color=common.INK, linewidth=0.8, label="counted")
    for begin in range(0, len(foretold), AHEAD):
        label = "foretold, three years at a time" if begin == 0 else None
        above.plot(times[begin : begin + AHEAD], foretold[begin], color=common.ACCENT, linewidth=1.8, label=label)
        above.axvline(times[begin], color="black", linewidth=0.4, alpha=0.3)
    above.set(title="Sunspots")
    above.legend(frameon=False)
    common.tidy(above)
    for rule, colour in zip(errors, ("gray", "black", common.ACCENT), strict=True):
        left.plot(np.arange(1, AHEAD + 1), errors[rule], color=colour, label=rule)
    left.set(title="Error of forecasts", xlabel="months ahead", ylim=(0, None))
    left.legend(frameon=False)
    common.tidy(left)
    common.draw_losses(right, training.losses, training.steps, training.history["test loss"])
    right.set(yscale="log")
    training.save_picture(figure, "lstm.png")


if __name__ == "__main__":
    sys.exit(common.launch(main, OPTIONS))
