"""Two half moons that no line parts: a small network learns the curve between them.

    python examples/moons.py

Writes the points, what the network says of every place in the plane, and the loss: moons.png.
"""

from __future__ import annotations

import argparse
import sys

import common
import numpy as np
from sklearn.datasets import make_moons

import chainrule as torch
from chainrule import nn, optim
from chainrule.nn import functional as F
from chainrule.utils.data import DataLoader, TensorDataset, random_split

OPTIONS = common.Options(__doc__, epochs=60, lr=0.1, out="runs/moons", short={"epochs": 8})
OPTIONS.add_argument("--points", type=common.whole_number, default=1000, metavar="N", help="how many")
OPTIONS.add_argument("--noise", type=common.positive_number, default=0.2, metavar="X", help="their spread")


class Classifier(nn.Module):
    """Points (n, 2) to the logit of the second moon, (n,)."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(2, width),
            nn.Tanh(),
            nn.Linear(width, width),
            nn.Tanh(),
            nn.Linear(width, 1),
        )

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        """The logits."""
        return self.layers(points).squeeze(-1)


@torch.no_grad()
def accuracy(model: nn.Module, points: torch.Tensor, moons: torch.Tensor) -> float:
    """The share of points that are put on the right moon."""
    return ((model(points) > 0) == (moons > 0.5)).float().mean().item()


def main(options: argparse.Namespace) -> None:
    """Train, test, draw."""
    if options.points < 20:
        raise common.Failure(f"argument --points: must be at least 20 to be split, got {options.points}")
    torch.manual_seed(options.seed)
    points, moons = make_moons(options.points, noise=options.noise, random_state=options.seed % 2**32)
    dataset = TensorDataset(torch.tensor(points, dtype=torch.float32), torch.tensor(moons, dtype=torch.float32))
    train, test = random_split(dataset, [0.8, 0.2])
    test_points, test_moons = test[:]
    loader = DataLoader(train, batch_size=32, shuffle=True)

    model = Classifier()
    optimizer = optim.SGD(model.parameters(), lr=options.lr, momentum=0.9, nesterov=True)
    scheduler = optim.lr_scheduler.MultiStepLR(optimizer, [options.epochs // 2, 3 * options.epochs // 4], gamma=0.3)
    training = common.Training(options, model, optimizer, scheduler, steps=len(loader))

    for _ in training.epochs():
        for points, moons in loader:
            loss = F.binary_cross_entropy_with_logits(model(points), moons)
            training.record(loss)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        scheduler.step()
        training.report(test_accuracy=accuracy(model, test_points, test_moons))

    print(f"test accuracy {accuracy(model, test_points, test_moons):.2%} of {len(test)} points")
    draw(training, model, *dataset.tensors)
    training.wrote("moons.png")


@torch.no_grad()
def draw(training: common.Training, model: nn.Module, points: torch.Tensor, moons: torch.Tensor) -> None:
    """The decision boundary among the points; the loss."""
    figure = common.new_figure(10, 4.2)
    left, right = figure.subplots(1, 2)
    low, high = points.min(dim=0).values - 0.4, points.max(dim=0).values + 0.4
    x, y = torch.meshgrid(
        torch.linspace(low[0].item(), high[0].item(), 200),
        torch.linspace(low[1].item(), high[1].item(), 200),
        indexing="xy",
    )
    probability = torch.sigmoid(model(torch.stack([x.ravel(), y.ravel()], dim=1))).reshape(x.shape)
    grid = (x.numpy(), y.numpy(), probability.numpy())
    shades = left.contourf(*grid, levels=np.linspace(0, 1, 11), cmap="RdBu_r", alpha=0.6)
    figure.colorbar(shades, ax=left, label="probability of the second moon")
    left.contour(*grid, levels=[0.5], colors="black", linewidths=1.2)
    for moon, colour in ((0, common.INK), (1, common.ACCENT)):
        left.scatter(*points[moons == moon].T.numpy(), s=7, color=colour, edgecolor="white", linewidth=0.3)
    left.set(title="Two moons and the boundary between them", xticks=[], yticks=[])
    common.draw_losses(right, training.losses, training.steps)
    training.save_picture(figure, "moons.png")


if __name__ == "__main__":
    sys.exit(common.launch(main, OPTIONS))
