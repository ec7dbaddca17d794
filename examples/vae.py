"""A variational autoencoder of handwritten digits: from an image to a few numbers and back, from noise to new digits.

    python examples/vae.py

After Kingma and Welling, "Auto-Encoding Variational Bayes", 2013. Writes digits with their reconstructions, digits that
nobody wrote, and the loss: vae.png.
"""

from __future__ import annotations

import argparse
import sys

import common
from sklearn.datasets import load_digits

import chainrule as torch
from chainrule import nn, optim
from chainrule.nn import functional as F
from chainrule.utils.data import DataLoader, TensorDataset, random_split

OPTIONS = common.Options(__doc__, epochs=150, lr=2e-3, out="runs/vae", short={"epochs": 5})
OPTIONS.add_argument("--latent", type=common.whole_number, default=8, metavar="N", help="numbers an image becomes")
OPTIONS.add_argument("--hidden", type=common.whole_number, default=256, metavar="N", help="width of the hidden layers")


class VAE(nn.Module):
    """Images (n, 64) to the logits of reconstructions, and their codes' means and log variances, (n, latent)."""

    def __init__(self, latent: int, hidden: int) -> None:
        super().__init__()
        self.latent = latent
        self.encoder = nn.Sequential(nn.Linear(64, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU())
        self.mean = nn.Linear(hidden, latent)
        self.log_variance = nn.Linear(hidden, latent)
        self.decoder = nn.Sequential(
            nn.Linear(latent, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, 64)
        )

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """A code is drawn from the distribution that the encoder gives, and decoded."""
        features = self.encoder(images)
        mean, log_variance = self.mean(features), self.log_variance(features)
        code = mean + torch.exp(log_variance / 2) * torch.randn_like(mean)
        return self.decoder(code), mean, log_variance

    def sample(self, count: int) -> torch.Tensor:
        """Images (count, 64) from codes of the prior."""
        return torch.sigmoid(self.decoder(torch.randn(count, self.latent)))


def negative_evidence(model: VAE, images: torch.Tensor) -> torch.Tensor:
    """The bound on minus the log likelihood of an image: what reconstructing it costs, and what its code costs."""
    logits, mean, log_variance = model(images)
    reconstruction = F.binary_cross_entropy_with_logits(logits, images, reduction="sum")
    divergence = -0.5 * torch.sum(1 + log_variance - mean.pow(2) - log_variance.exp())
    return (reconstruction + divergence) / len(images)


def main(options: argparse.Namespace) -> None:
    """Train, draw samples."""
    torch.manual_seed(options.seed)
    images = torch.tensor(load_digits().data, dtype=torch.float32) / 16
    train, test = random_split(TensorDataset(images), [0.9, 0.1])
    loader = DataLoader(train, batch_size=64, shuffle=True)
    (test_images,) = test[:]

    model = VAE(options.latent, options.hidden)
    optimizer = optim.Adam(model.parameters(), lr=options.lr)
    scheduler = optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=options.epochs)
    training = common.Training(options, model, optimizer, scheduler, steps=len(loader))
    print(f"{common.parameter_count(model)} parameters, {len(train)} digits")

    for _ in training.epochs():
        for (images,) in loader:
            loss = negative_evidence(model, images)
            training.record(loss)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 50.0)
            optimizer.step()
        scheduler.step()
        with torch.no_grad():
            training.report(test_loss=negative_evidence(model, test_images).item())

    draw(training, model, test_images)
    training.wrote("vae.png")


@torch.no_grad()
def draw(training: common.Training, model: VAE, images: torch.Tensor, rows: int = 10) -> None:
    """Digits beside their reconstructions; a grid of samples; the loss."""
    figure = common.new_figure(14, 5.6)
    left, middle, right = figure.subplots(1, 3, width_ratios=(6, 12, 12))
    images = images[: 3 * rows]
    pairs = torch.stack([images, torch.sigmoid(model(images)[0])], dim=1)
    common.draw_images(left, pairs.view(-1, 8, 8).numpy(), columns=6)
    left.set_title("Digits, each with\nits reconstruction")
    common.draw_images(middle, model.sample(12 * rows).view(-1, 8, 8).numpy(), columns=12)
    middle.set_title("Digits that nobody wrote")
    common.draw_losses(right, training.losses, training.steps, training.history["test loss"])
    training.save_picture(figure, "vae.png")


if __name__ == "__main__":
    sys.exit(common.launch(main, OPTIONS))
