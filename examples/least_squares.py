"""A curve through the carbon dioxide in the air above Mauna Loa, by least squares: L-BFGS beside SciPy's solver.

    python examples/least_squares.py

The curve is an exponential above a constant, and the seasons: c(t) = base + rise exp(growth t) + sum over k of
a_k cos(2 pi k t) + b_k sin(2 pi k t), t in years. Writes the fit and what it leaves over: least_squares.png.
"""

from __future__ import annotations

import argparse
import math
import sys
from typing import Any

import common
import numpy as np
from scipy.optimize import least_squares

import chainrule as torch
from chainrule import nn, optim

OPTIONS = common.Options(__doc__, epochs=15, lr=1.0, out="runs/least_squares", short={"epochs": 6})
OPTIONS.add_argument("--harmonics", type=common.whole_number, default=3, metavar="N", help="waves within a year")


class Curve(nn.Module):
    """Times (n,) in years to parts per million (n,)."""

    def __init__(self, harmonics: int, level: float) -> None:
        super().__init__()
        self.base = nn.Parameter(torch.tensor(level))
        self.rise = nn.Parameter(torch.tensor(1.0))
        self.growth = nn.Parameter(torch.tensor(0.01))
        self.waves = nn.Parameter(0.1 * torch.randn(2, harmonics))

    def forward(self, time: torch.Tensor) -> torch.Tensor:
        """The curve."""
        return self.trend(time) + self.season(time)

    def trend(self, time: torch.Tensor) -> torch.Tensor:
        """The part that does not repeat."""
        return self.base + self.rise * torch.exp(self.growth * time)

    def season(self, time: torch.Tensor) -> torch.Tensor:
        """The part that repeats every year."""
        phase = 2 * math.pi * torch.arange(1, self.waves.shape[1] + 1) * time[:, None]
        return torch.cos(phase) @ self.waves[0] + torch.sin(phase) @ self.waves[1]


def main(options: argparse.Namespace) -> None:
    """Fit, compare with SciPy, draw."""
    torch.manual_seed(options.seed)
    torch.set_default_dtype(torch.float64)
    year, month, measured = common.read_table("carbon_dioxide.csv").T
    time = torch.from_numpy(year + (month - 0.5) / 12 - 1980)
    target = torch.from_numpy(measured.copy())

    model = Curve(options.harmonics, level=measured.min())
    optimizer = optim.LBFGS(
        model.parameters(), lr=options.lr, max_iter=20, tolerance_change=0, line_search_fn="strong_wolfe"
    )
    training = common.Training(options, model, optimizer, steps=1)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = (model(time) - target).square().mean()
        loss.backward()
        return loss

    for _ in training.epochs():
        optimizer.step(closure)  # up to 20 iterations
        training.record(closure())

    theirs = by_scipy(options.harmonics, time.numpy(), measured)
    print(f"mean square left over: {training.losses[-1]:.9f} by L-BFGS, {theirs:.9f} by SciPy")
    print(f"{model.base.item():.2f} ppm and, above it, {model.growth.item():.2%} more every year")
    draw(training, model, time, target)
    training.wrote("least_squares.png")


def by_scipy(harmonics: int, time: Any, measured: Any) -> float:
    """The mean square that scipy.optimize.least_squares leaves over, which takes the derivatives by differences."""
    phase = 2 * np.pi * np.arange(1, harmonics + 1) * time[:, None]
    waves = np.hstack([np.cos(phase), np.sin(phase)])

    def residuals(x: Any) -> Any:
        base, rise, growth = x[:3]
        return base + rise * np.exp(growth * time) + waves @ x[3:] - measured

    start = np.concatenate([[measured.min(), 1.0, 0.01], np.zeros(2 * harmonics)])
    return float(2 * least_squares(residuals, start, x_scale="jac", xtol=1e-12, ftol=1e-12).cost / len(measured))


@torch.no_grad()
def draw(training: common.Training, model: Curve, time: torch.Tensor, target: torch.Tensor) -> None:
    """The curve, its season, what is left over, and the loss."""
    figure = common.new_figure(11, 7)
    (curve, season), (rest, loss) = figure.subplots(2, 2)
    years = (1980 + time).numpy()
    curve.plot(years, target.numpy(), ".", color=common.INK, markersize=2.5, label="measured, means of months")
    curve.plot(years, model(time).numpy(), color=common.ACCENT, linewidth=0.8, label="curve")
    curve.plot(years, model.trend(time).numpy(), color="black", linewidth=0.8, label="without the seasons")
    curve.set(title="Carbon dioxide at Mauna Loa", ylabel="ppm")
    curve.legend(frameon=False)
    within = torch.linspace(0, 1, 200)
    detrended = target - model.trend(time)
    season.plot(12 * (years % 1), detrended.numpy(), ".", color=common.INK, markersize=2.5)
    season.plot(12 * within.numpy(), model.season(within).numpy(), color=common.ACCENT)
    season.set(title="The seasons", xlabel="months since New Year", ylabel="ppm")
    rest.plot(years, (target - model(time)).numpy(), color=common.INK, linewidth=0.8)
    rest.set(title="Left over", ylabel="ppm")
    loss.semilogy(np.arange(1, len(training.losses) + 1), training.losses, color=common.INK, marker="o", markersize=3)
    loss.set(title="Mean square", xlabel="step of L-BFGS, 20 iterations each")
    for axes in (curve, season, rest, loss):
        common.tidy(axes)
    training.save_picture(figure, "least_squares.png")


if __name__ == "__main__":
    sys.exit(common.launch(main, OPTIONS))
