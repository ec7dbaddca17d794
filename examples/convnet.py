"""A convolutional network reads handwritten digits: scikit-learn's, 1797 of 8 x 8 pixels.

    python examples/convnet.py

Writes test digits with what was read, mistakes first, and the loss: convnet.png.
"""

from __future__ import annotations

import argparse
import math
import sys
from typing import Any

import common
from sklearn.datasets import load_digits

import chainrule as torch
from chainrule import nn, optim
from chainrule.nn import functional as F
from chainrule.utils.data import DataLoader, TensorDataset, random_split

OPTIONS = common.Options(__doc__, epochs=40, lr=0.01, out="runs/convnet", short={"epochs": 3, "width": 8})
OPTIONS.add_argument("--batch", type=common.whole_number, default=64, metavar="N", help="digits in a batch")
OPTIONS.add_argument("--width", type=common.whole_number, default=32, metavar="N", help="channels of the first layer")


class DigitReader(nn.Module):
    """Images (n, 1, 8, 8) to logits (n, 10)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, width, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(width, 2 * width, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
        )
        self.classify = nn.Sequential(nn.Flatten(), nn.Dropout(0.3), nn.Linear(8 * width, 10))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """The logits."""
        return self.classify(self.features(images))


def moved(images: torch.Tensor, turn: float = 10.0, shift: float = 0.12, size: float = 0.1) -> torch.Tensor:
    """Each image turned by up to `turn` degrees, shifted and resized by up to these shares of its width, at random."""
    count = len(images)
    angle = torch.empty(count).uniform_(-turn, turn) * (math.pi / 180)
    scale = torch.empty(count).uniform_(1 - size, 1 + size)
    across, down = torch.empty(2, count).uniform_(-2 * shift, 2 * shift)
    cosine, sine = scale * torch.cos(angle), scale * torch.sin(angle)
    rows = [torch.stack([cosine, -sine, across], dim=1), torch.stack([sine, cosine, down], dim=1)]
    grid = F.affine_grid(torch.stack(rows, dim=1), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


@torch.no_grad()
def read(model: nn.Module, loader: DataLoader[Any]) -> tuple[torch.Tensor, float]:
    """The digits that the model reads, and its mean loss."""
    model.eval()
    outputs = [(model(images), labels) for images, labels in loader]
    model.train()
    logits, labels = (torch.cat(parts) for parts in zip(*outputs, strict=True))
    return logits.argmax(dim=1), F.cross_entropy(logits, labels).item()


def main(options: argparse.Namespace) -> None:
    """Train, test, draw."""
    torch.manual_seed(options.seed)
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
    train, test = random_split(TensorDataset(images, torch.tensor(digits.target)), [0.8, 0.2])
    loader = DataLoader(train, batch_size=options.batch, shuffle=True, drop_last=True)
    test_loader = DataLoader(test, batch_size=256)
    test_images, test_labels = test[:]
    if len(loader) == 0:
        raise common.Failure(f"argument --batch: must be at most {len(train)}, got {options.batch}")

    model = DigitReader(options.width)
    optimizer = optim.AdamW(model.parameters(), lr=options.lr, weight_decay=0.05)
    scheduler = optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=options.lr, epochs=options.epochs, steps_per_epoch=len(loader)
    )
    training = common.Training(options, model, optimizer, scheduler, steps=len(loader))
    print(f"{common.parameter_count(model)} parameters, {len(train)} digits to learn from, {len(test)} to be tested on")

    for _ in training.epochs():
        for images, labels in loader:
            loss = F.cross_entropy(model(moved(images)), labels, label_smoothing=0.05)
            training.record(loss)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
        read_as, test_loss = read(model, test_loader)
        training.report(test_loss=test_loss, test_accuracy=(read_as == test_labels).float().mean().item())

    read_as, _ = read(model, test_loader)
    right = int((read_as == test_labels).sum())
    print(f"test accuracy {right / len(test):.2%} ({right} of {len(test)} right)")
    draw(training, test_images, test_labels, read_as)
    training.wrote("convnet.png")


def draw(training: common.Training, images: torch.Tensor, labels: torch.Tensor, read_as: torch.Tensor) -> None:
    """Test digits with what was read, the mistakes first; the loss."""
    figure = common.new_figure(12, 5)
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    order = torch.argsort((read_as == labels).int(), stable=True)[:40]
    pairs = list(zip(read_as[order].tolist(), labels[order].tolist(), strict=True))
    texts = [str(digit) if digit == truth else f"{digit}, is {truth}" for digit, truth in pairs]
    colours = [common.INK if digit == truth else common.ACCENT for digit, truth in pairs]
    common.draw_images(left, images[order, 0].numpy(), 8, texts, colours)
    left.set_title("Test digits and what was read")
    common.draw_losses(right, training.losses, training.steps, training.history["test loss"])
    training.save_picture(figure, "convnet.png")


if __name__ == "__main__":
    sys.exit(common.launch(main, OPTIONS))
