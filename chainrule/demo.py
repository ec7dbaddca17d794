"""The demo: a multilayer perceptron learns to read handwritten digits, and shows one backward step of its own training.

Everything that learns here is this package's: `nn.Module`, `Linear`, `ReLU`, `cross_entropy`, `SGD`. scikit-learn ships
the digits (1797 of 8 x 8 pixels), tqdm draws the progress bar, matplotlib the pictures, safetensors writes the weights.
"""

from __future__ import annotations

import importlib
import io
import itertools
import math
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import chainrule as cr
from chainrule import nn
from chainrule.nn import functional as F

from .core.table import name_of
from .safetensors import save
from .serialization.atomic import write_whole

__all__ = ["DigitReader", "main"]

BATCH = 32
TEST_SHARE = 0.2
MOMENTUM = 0.9
WEIGHT_DECAY = 1e-4
DROPOUT = 0.2
NOISE = 0.4  # of the brightness's standard deviation, added to training digits

EXTRAS = {"tqdm": "tqdm", "matplotlib": "matplotlib", "sklearn": "scikit-learn", "safetensors": "safetensors"}


class DemoError(Exception):
    """Something that the user can put right; its text is one line.

    Attributes:
        code: the exit code.
    """

    def __init__(self, text: str, code: int = 2) -> None:
        super().__init__(text)
        self.code = code


# ----- data -------------------------------------------------------------------------------------------------------


@dataclass
class Digits:
    """Digits with their labels, split in two.

    Attributes:
        train: (n, 64) pixels from 0 to 16.
        train_labels: (n,) integers from 0 to 9.
        test: (m, 64).
        test_labels: (m,).
    """

    train: cr.Tensor
    train_labels: cr.Tensor
    test: cr.Tensor
    test_labels: cr.Tensor


def load_digits() -> Digits:
    """scikit-learn's digits, split at random by the default generator."""
    from sklearn.datasets import load_digits as load

    pixels, labels = load(return_X_y=True)
    order = cr.randperm(len(pixels)).numpy()
    test, train = np.split(order, [round(TEST_SHARE * len(order))])
    return Digits(
        cr.from_numpy(pixels[train].astype(np.float32)),
        cr.from_numpy(labels[train].astype(np.int64)),
        cr.from_numpy(pixels[test].astype(np.float32)),
        cr.from_numpy(labels[test].astype(np.int64)),
    )


# ----- the model --------------------------------------------------------------------------------------------------


class DigitReader(nn.Module):
    """(n, 64) pixels to (n, 10) logits.

    Args:
        hidden: the sizes of the hidden layers.
        pixels: training digits, whose mean and deviation standardise what the model is given.
    """

    def __init__(self, hidden: Sequence[int], pixels: cr.Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", pixels.mean())
        self.register_buffer("deviation", pixels.std())
        sizes = [pixels.shape[1], *hidden]
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(sizes):
            layers += [nn.Linear(before, after), nn.ReLU(), nn.Dropout(DROPOUT)]
        self.layers = nn.Sequential(*layers, nn.Linear(sizes[-1], 10))

    def forward(self, pixels: cr.Tensor) -> cr.Tensor:
        """The logits; training digits are blurred by noise."""
        x = (pixels - self.mean) / self.deviation
        if self.training:
            x = x + NOISE * cr.randn_like(x)
        return self.layers(x)  # type: ignore[no-any-return]

    @property
    def last(self) -> Any:
        """The last layer."""
        return self.layers[-1]


@cr.no_grad()
def read(model: DigitReader, pixels: cr.Tensor, labels: cr.Tensor) -> tuple[Any, float, float]:
    """The digits that the model reads, the share of right ones, and the loss."""
    model.eval()
    logits = model(pixels)
    model.train()
    read_as = logits.numpy().argmax(axis=1)
    return read_as, float(np.mean(read_as == labels.numpy())), F.cross_entropy(logits, labels).item()


# ----- training ---------------------------------------------------------------------------------------------------


@dataclass
class History:
    """What happened, by epoch."""

    train_loss: list[float] = field(default_factory=list)
    test_loss: list[float] = field(default_factory=list)
    accuracy: list[float] = field(default_factory=list)
    seconds: float = 0.0


def train(model: DigitReader, digits: Digits, epochs: int, lr: float, history: History) -> str:
    """Train by SGD with momentum, the learning rate falling to 0 along a cosine.

    Returns:
        One step of the backward pass in the first epoch's last batch, worked out.

    Raises:
        DemoError: the loss is no longer finite.
    """
    from tqdm import tqdm

    optimizer = cr.optim.SGD(model.parameters(), lr=lr, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)
    count = len(digits.train)
    steps = math.ceil(count / BATCH)
    started = time.perf_counter()
    story = ""
    with tqdm(total=epochs * steps, unit="batch", desc="training", leave=False) as bar, np.errstate(all="ignore"):
        for epoch in range(epochs):
            total = 0.0
            for step, batch in enumerate(cr.randperm(count).split(BATCH)):
                optimizer.param_groups[0]["lr"] = lr * (1 + math.cos(math.pi * (epoch + step / steps) / epochs)) / 2
                loss = F.cross_entropy(model(digits.train[batch]), digits.train_labels[batch])
                optimizer.zero_grad()
                shown = epoch == 0 and step == steps - 1  # gradients are still large enough to look at
                loss.backward(retain_graph=shown)
                if shown and math.isfinite(loss.item()):
                    story = worked_step(model, loss)
                optimizer.step()
                total += loss.item() * len(batch)
                bar.update()
            if not math.isfinite(total):
                raise DemoError(f"the loss is {total} in epoch {epoch + 1}: try a smaller --lr than {lr:g}", 1)
            _, accuracy, test_loss = read(model, digits.test, digits.test_labels)
            history.train_loss.append(total / count)
            history.test_loss.append(test_loss)
            history.accuracy.append(accuracy)
            history.seconds = time.perf_counter() - started
            bar.set_postfix(loss=f"{total / count:.4f}", accuracy=f"{accuracy:.2%}")
            bar.write(
                f"epoch {epoch + 1:3d}/{epochs}   loss {total / count:.4f}   test loss {test_loss:.4f}   "
                f"test accuracy {accuracy:.2%}",
                file=sys.stdout,
            )
    return story


# ----- one backward step ------------------------------------------------------------------------------------------


def worked_step(model: DigitReader, loss: cr.Tensor) -> str:
    """One step of a batch's backward pass, in words and numbers: the gradient of the last layer's weight.

    Raises:
        RuntimeError: the step's result is not what backward() put into `.grad`.
    """
    weight = model.last.weight
    assert loss.recipe is not None
    logits = loss.recipe.parents[0]
    recipe = logits.recipe
    assert recipe is not None
    position = next(i for i, parent in recipe.parents.items() if parent is weight)
    (given,) = cr.autograd.grad(loss, logits, retain_graph=True)
    grad_out = given.numpy()
    back = cr.BACK_FUNCS.get_back_func(recipe.func, position)
    gradient = back(grad_out, logits.detach().numpy(), *recipe.args, **recipe.kwargs)
    kept = weight.grad.numpy()
    difference = float(np.max(np.abs(gradient - kept)))
    if not np.allclose(gradient, kept, rtol=1e-5, atol=1e-7):
        raise RuntimeError(f"the worked step differs from .grad by {difference}")
    features = recipe.args[0]
    example = int(np.argmax(np.abs(grad_out).max(axis=1)))  # the digit that was read worst
    row, column = np.unravel_index(np.argmax(np.abs(kept)), kept.shape)
    terms = grad_out[:, row] * features[:, column]
    largest = np.argsort(-np.abs(terms))[:3]
    products = " ".join(f"{grad_out[i, row]:+.4f} * {features[i, column]:.4f}" for i in largest)
    return "\n".join(
        [
            f"One backward step: the last layer's weight, last batch of epoch 1 "
            f"({len(grad_out)} digits, loss {loss.item():.4f})",
            f"  operation   {name_of(recipe.func)}: x {features.shape}, weight {weight.shape} -> logits {logits.shape}",
            f"  formula     {cr.BACK_FUNCS.formula(recipe.func, position)}",
            f"  given       grad_out {grad_out.shape}, for digit {example} {_numbers(grad_out[example], 10)}",
            f"              x {features.shape}, for digit {example} {_numbers(features[example], 10)}",
            f"  computed    {gradient.shape}, entry [{row}, {column}], the largest, sums {len(terms)} products:",
            f"              {products} ... = {gradient[row, column]:+.6f}",
            f"  .grad       entry [{row}, {column}] is {kept[row, column]:+.6f}; "
            f"largest difference anywhere {difference:.1e}",
        ]
    )


def _numbers(array: Any, count: int = 4) -> str:
    shown = " ".join(f"{x:+.4f}" for x in array[:count])
    return f"[{shown} ...]" if len(array) > count else f"[{shown}]"


# ----- pictures and weights ---------------------------------------------------------------------------------------

INK, ACCENT = "#1f4e79", "#c8501e"


def new_figure(width: float, height: float) -> Any:
    """A matplotlib figure that is only ever written to a file."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def loss_curve(history: History) -> Any:
    """Loss and accuracy by epoch, side by side."""
    figure = new_figure(9, 3.6)
    left, right = figure.subplots(1, 2)
    epochs = np.arange(1, len(history.train_loss) + 1)
    marker = "o" if len(epochs) < 3 else None
    left.plot(epochs, history.train_loss, color=INK, marker=marker, label="training (with dropout and noise)")
    left.plot(epochs, history.test_loss, color=ACCENT, marker=marker, label="test")
    left.set(title="Cross entropy", xlabel="epoch", yscale="log")
    left.legend(frameon=False)
    right.plot(epochs, 100 * np.array(history.accuracy), color=ACCENT, marker=marker)
    right.set(title=f"Test accuracy: {history.accuracy[-1]:.2%} at the end", xlabel="epoch", ylabel="%")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
        axes.xaxis.get_major_locator().set_params(integer=True)
    return figure


def digit_grid(digits: Digits, read_as: Any, rows: int = 5, columns: int = 10) -> Any:
    """Test digits with what the model reads; the last row begins with its mistakes, in the accent colour."""
    labels = digits.test_labels.numpy()
    wrong = np.flatnonzero(read_as != labels)[:columns]
    right = np.flatnonzero(read_as == labels)
    above = (rows - 1) * columns
    chosen = np.concatenate([right[:above], wrong, right[above:]])
    figure = new_figure(0.85 * columns, 1.05 * rows + 0.5)
    figure.suptitle(f"Test digits and what was read: {len(labels) - np.sum(read_as != labels)} of {len(labels)} right")
    for axes in figure.subplots(rows, columns).flat:
        axes.set_axis_off()
    for axes, index in zip(figure.axes, chosen, strict=False):
        axes.imshow(digits.test.numpy()[index].reshape(8, 8), cmap="gray_r", vmin=0, vmax=16)
        correct = read_as[index] == labels[index]
        text = str(read_as[index]) if correct else f"{read_as[index]}, is {labels[index]}"
        axes.set_title(text, fontsize=10, color=INK if correct else ACCENT, pad=2)
    return figure


def png_of(figure: Any) -> bytes:
    """The figure as the bytes of a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=130, format="png")
    return buffer.getvalue()


def weights_of(model: DigitReader) -> bytes:
    """The model's parameters and buffers in the safetensors format."""
    hidden = ",".join(str(layer.out_features) for layer in model.layers if isinstance(layer, nn.Linear))
    return save(model.state_dict(), metadata={"layers": hidden})


# ----- the command ------------------------------------------------------------------------------------------------


def check_extras() -> None:
    """Refuse to start without the packages that training needs.

    Raises:
        DemoError: names those that are missing and how to get them.
    """
    missing = []
    for module, package in EXTRAS.items():
        try:
            importlib.import_module(module)
        except ImportError:
            missing.append(package)
    if missing:
        raise DemoError(f"this needs {' and '.join(missing)}: pip install chainrule[train]")


def output_folder(out: str) -> Path:
    """The folder for the results, made if it is not there.

    Raises:
        DemoError: it is a file, or cannot be made or written to.
    """
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise DemoError(f"argument --out: {out} exists and is no folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise DemoError(f"argument --out: cannot write to {out}: {error.strerror or error}") from None
    return folder


def main(epochs: int, lr: float, hidden: Sequence[int], seed: int, out: str) -> int:
    """Train, say what happened, write pictures and weights; returns the exit code."""
    try:
        check_extras()
        folder = output_folder(out)
        run(epochs, lr, hidden, seed, folder)
    except DemoError as error:
        print(f"chainrule demo: {error}", file=sys.stderr)
        return error.code
    except MemoryError:
        print(f"chainrule demo: argument --hidden: no memory for layers of {hidden}", file=sys.stderr)
        return 2
    return 0


def run(epochs: int, lr: float, hidden: Sequence[int], seed: int, folder: Path) -> History:
    """The demo itself."""
    cr.manual_seed(seed)
    digits = load_digits()
    model = DigitReader(hidden, digits.train)
    count = sum(parameter.numel() for parameter in model.parameters())
    print(f"{len(digits.train)} handwritten digits to learn from, {len(digits.test)} to be tested on (seed {seed})")
    print(f"{model}\n{count} parameters")
    history = History()
    story = train(model, digits, epochs, lr, history)
    read_as, accuracy, _ = read(model, digits.test, digits.test_labels)
    right = int(np.sum(read_as == digits.test_labels.numpy()))
    print(f"\ntest accuracy {accuracy:.2%} ({right} of {len(digits.test)} right)")
    print(f"training time {history.seconds:.2f} s, {history.seconds / epochs * 1e3:.0f} ms an epoch\n")
    print(f"{story}\n")
    for name, content in (
        ("loss.png", png_of(loss_curve(history))),
        ("digits.png", png_of(digit_grid(digits, read_as))),
        ("weights.safetensors", weights_of(model)),
    ):
        write_whole(folder / name, content)
        print(f"wrote {folder / name}")
    return history
