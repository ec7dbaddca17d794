"""What the six programs share: options, checkpoints and how to go on from one, the progress bar, pictures.

A program is a function of its options, and `launch` runs it:

    def main(options):
        ...
        training = Training(options, model, optimizer, scheduler, steps=len(loader))
        for epoch in training.epochs():
            for inputs, targets in loader:
                loss = ...
                training.record(loss)
                ...
            training.report(test_accuracy=...)
        training.wrote("result.png", ...)

    if __name__ == "__main__":
        sys.exit(launch(main, options))
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import math
import os
import pickle
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

import chainrule as torch
from chainrule import nn

NEEDED = {"tqdm": "tqdm", "matplotlib": "matplotlib", "sklearn": "scikit-learn"}
MISSING = [package for module, package in NEEDED.items() if importlib.util.find_spec(module) is None]
if MISSING:
    print(f"the examples need {' and '.join(MISSING)}: pip install '.[train]'", file=sys.stderr)
    sys.exit(2)

BAD_USAGE, FAILED, INTERRUPTED = 2, 1, 130
DATA = Path(__file__).resolve().parent / "data"
NO_DEFAULT = "%(default).0s"  # in an option's help: its default is not worth showing
INK, ACCENT = "#1f4e79", "#c8501e"


class Failure(Exception):
    """What ends a program: one line for the person who started it.

    Attributes:
        code: the exit code.
    """

    def __init__(self, text: str, code: int = BAD_USAGE) -> None:
        super().__init__(text)
        self.code = code


def launch(main: Callable[[argparse.Namespace], None], options: Options, arguments: Sequence[str] | None = None) -> int:
    """Run a program with the options of the command line; returns the exit code."""
    from tqdm import tqdm  # its `write` prints above a progress bar

    try:
        chosen = options.parse_args(arguments)
        torch.set_num_threads(chosen.threads)
        with np.errstate(all="ignore"):  # `Training.record` notices what overflows
            main(chosen)
    except Failure as failure:
        tqdm.write(f"{options.prog}: {failure}", file=sys.stderr)
        return failure.code
    except OSError as error:
        tqdm.write(f"{options.prog}: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        tqdm.write(f"{options.prog}: interrupted; --resume goes on from the last checkpoint", file=sys.stderr)
        return INTERRUPTED
    return 0


# ----- options ----------------------------------------------------------------------------------------------------


def whole_number(text: str) -> int:
    """A whole number of at least 1."""
    if not (text.isascii() and text.isdigit() and int(text) >= 1):
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, got {text!r}")
    return int(text)


def seed_number(text: str) -> int:
    """A whole number of at least 0 that fits in 64 bits."""
    if not (text.isascii() and text.isdigit() and int(text) < 2**63):
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 0 and below 2**63, got {text!r}")
    return int(text)


def positive_number(text: str) -> float:
    """A finite number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a finite number above 0, got {text!r}")
    return value


class Options(argparse.ArgumentParser):
    """A program's options, those that all programs have among them; a bad value gets one line and exit code 2.

    Args:
        description: the first line of it is shown in --help.
        epochs: how many, unless --epochs says otherwise.
        lr: the learning rate, unless --lr says otherwise.
        out: the folder, unless --out says otherwise.
        short: the defaults of the form that --short asks for, by option.
    """

    def __init__(self, description: str | None, *, epochs: int, lr: float, out: str, short: dict[str, Any]) -> None:
        super().__init__(
            description=(description or "").partition("\n")[0],
            formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        )
        self.short = short
        in_short = ", ".join(f"--{name} {value}" for name, value in short.items())
        self.add_argument("--epochs", type=whole_number, default=epochs, metavar="N", help="epochs to train for")
        self.add_argument("--lr", type=positive_number, default=lr, metavar="X", help="the (largest) learning rate")
        self.add_argument("--seed", type=seed_number, default=0, metavar="N", help="decides everything random")
        self.add_argument("--threads", type=whole_number, default=1, metavar="N", help="of matrix products")
        self.add_argument("--out", default=out, metavar="FOLDER", help="where checkpoint and pictures go")
        self.add_argument("--short", action="store_true", help=f"a short form: {in_short}{NO_DEFAULT}")
        self.add_argument("--resume", action="store_true", help=f"go on from the checkpoint in --out{NO_DEFAULT}")

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """The options, with the defaults of the short form where --short is among them."""
        options = super().parse_args(args, namespace)
        return super().parse_args(args, argparse.Namespace(**self.short)) if options.short else options

    def error(self, message: str) -> NoReturn:
        """Raise what `launch` prints in one line."""
        raise Failure(message)


def output_folder(out: str) -> Path:
    """The folder, made if it is not there.

    Raises:
        Failure: it is a file, or cannot be made or written to.
    """
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise Failure(f"argument --out: {out} exists and is no folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise Failure(f"argument --out: cannot write to {out}: {error.strerror or error}") from None
    return folder


# ----- files ------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A file beside `path` for the block to write, which then takes its place: what is at `path` is always whole."""
    part = path.with_name(f"{path.name}.part")
    try:
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def read_table(name: str) -> Any:
    """The numbers of a file in examples/data, without the line of column names: (rows, columns)."""
    with (DATA / name).open(encoding="utf-8") as file:
        lines = [line for line in file if not line.startswith("#")]
    return np.loadtxt(lines, delimiter=",", skiprows=1)


# ----- training ---------------------------------------------------------------------------------------------------


class Training:
    """The state of a training run: counts epochs, shows progress, writes a checkpoint an epoch, goes on from one.

    A checkpoint holds everything that decides what comes next: parameters and buffers, the states of optimizer,
    scheduler and random numbers, and the epoch. Data are in the order in which the random numbers put them at the
    beginning of an epoch, so a resumed run sees what an uninterrupted one would have seen.

    Args:
        options: the program's; --resume reads the checkpoint that is in --out.
        model: what is trained.
        optimizer: with a `state_dict`.
        scheduler: with a `state_dict`, or None.
        steps: calls of `record` in an epoch.
        made_of: further things that a checkpoint must have in common with the run that goes on from it, by name.
        free: options that may differ, as they do not change what is learned.

    Attributes:
        folder: where files go.
        losses: the loss of each step.
        history: what was reported, by name and epoch.

    Raises:
        Failure: --out cannot be written to; --resume without a checkpoint, or with one of a different run.
    """

    def __init__(
        self,
        options: argparse.Namespace,
        model: nn.Module,
        optimizer: Any,
        scheduler: Any = None,
        *,
        steps: int,
        made_of: dict[str, Any] | None = None,
        free: Sequence[str] = (),
    ) -> None:
        self.folder = output_folder(options.out)
        self.path = self.folder / "checkpoint.pt"
        self.total, self.steps = options.epochs, steps
        self.parts = {"model": model, "optimizer": optimizer, "scheduler": scheduler}
        if scheduler is None:
            del self.parts["scheduler"]
        free = ("out", "short", "resume", *free)
        self.made_of = {f"--{name}": value for name, value in vars(options).items() if name not in free}
        self.made_of |= made_of or {}
        self.done = 0
        self.losses: list[float] = []
        self.history: dict[str, list[float]] = {}
        self.bar: Any = None
        if options.resume:
            self._load()

    def _load(self) -> None:
        try:
            saved = torch.load(self.path)
        except FileNotFoundError:
            raise Failure(f"argument --resume: there is no {self.path}") from None
        except (OSError, EOFError, RuntimeError, ValueError, pickle.UnpicklingError) as error:
            raise Failure(f"argument --resume: cannot read {self.path}: {' '.join(str(error).split())}") from None
        if not isinstance(saved, dict) or "made_of" not in saved:
            raise Failure(f"argument --resume: {self.path} is not a checkpoint of this program")
        for name in sorted(self.made_of.keys() | saved["made_of"].keys()):
            then, now = saved["made_of"].get(name), self.made_of.get(name)
            if then != now:
                raise Failure(f"argument --resume: {self.path} was made with {name} {then}, not {now}")
        for name, part in self.parts.items():
            part.load_state_dict(saved[name])
        self.done, self.losses, self.history = saved["epoch"], saved["losses"], saved["history"]
        torch.set_rng_state(saved["random"])
        print(f"going on after epoch {self.done} of {self.path}")

    def _save(self) -> None:
        state = {name: part.state_dict() for name, part in self.parts.items()}
        state |= {"epoch": self.done, "losses": self.losses, "history": self.history, "made_of": self.made_of}
        state["random"] = torch.get_rng_state()
        with written_whole(self.path) as part:
            torch.save(state, part)

    def epochs(self) -> Iterator[int]:
        """The epochs that are still to do, counted from 1; after each there is a checkpoint and a line that says so."""
        from tqdm import tqdm

        started = time.perf_counter()
        steps = self.total * self.steps
        with tqdm(total=steps, initial=self.done * self.steps, desc="training", unit="step", leave=False) as self.bar:
            for epoch in range(self.done + 1, self.total + 1):
                yield epoch
                self.done = epoch
                self._save()
                mean = np.mean(self.losses[-self.steps :])
                figures = "".join(f"   {name} {values[-1]:.4f}" for name, values in self.history.items())
                self.bar.write(f"epoch {epoch:3d}/{self.total}   loss {mean:.4f}{figures}", file=sys.stdout)
                sys.stdout.flush()
        print(f"{len(self.losses)} steps; this run took {time.perf_counter() - started:.1f} s")

    def record(self, loss: torch.Tensor) -> None:
        """Note a step's loss, before the step changes the parameters.

        Raises:
            Failure: the loss is not finite.
        """
        value = loss.item()
        if not math.isfinite(value):
            raise Failure(
                f"step {len(self.losses) + 1} (epoch {self.done + 1}): the loss is {value}; "
                f"norms of the parameters: {norms_of(self.parts['model'])}; try a smaller --lr",
                FAILED,
            )
        self.losses.append(value)
        self.bar.set_postfix_str(f"loss {value:.4f}", refresh=False)
        self.bar.update()

    def report(self, **figures: float) -> None:
        """Note an epoch's figures, for its line and for `history`."""
        for name, value in figures.items():
            self.history.setdefault(name.replace("_", " "), []).append(float(value))

    def save_picture(self, figure: Any, name: str) -> None:
        """Write a figure as a PNG file."""
        with written_whole(self.folder / name) as part:
            figure.savefig(part, dpi=130, format="png")

    def wrote(self, *names: str) -> None:
        """Say where the files are."""
        for path in (*(self.folder / name for name in names), self.path):
            print(f"wrote {path}")


def norms_of(model: nn.Module, shown: int = 8) -> str:
    """The norms of a model's parameters in words: first those that are not finite, then from large to small."""
    norms = {name: float(torch.linalg.norm(p.detach().double())) for name, p in model.named_parameters()}
    ordered = sorted(norms, key=lambda name: (math.isfinite(norms[name]), -norms[name]))
    text = ", ".join(f"{name} {norms[name]:.3g}" for name in ordered[:shown])
    return f"{text} and {len(ordered) - shown} more" if len(ordered) > shown else text


def parameter_count(model: nn.Module) -> int:
    """How many numbers a model learns."""
    return sum(parameter.numel() for parameter in model.parameters())


# ----- pictures ---------------------------------------------------------------------------------------------------


def new_figure(width: float, height: float) -> Any:
    """A matplotlib figure that is only ever written to a file."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def draw_losses(axes: Any, losses: Sequence[float], steps: int, held_out: Sequence[float] = ()) -> None:
    """The loss by step, pale, its mean by epoch, and that of data held out, if there are any."""
    axes.plot(np.arange(1, len(losses) + 1), losses, color=INK, alpha=0.2, linewidth=0.7)
    means = np.mean(np.reshape(losses, (-1, steps)), axis=1)
    ends = steps * np.arange(1, len(means) + 1)
    axes.plot(ends, means, color=INK, marker="o", markersize=2.5, label="training, mean of an epoch")
    if len(held_out):
        axes.plot(ends, held_out, color=ACCENT, marker="o", markersize=2.5, label="held out")
    axes.set(title="Loss", xlabel="step")
    axes.legend(frameon=False)
    tidy(axes)


def tidy(axes: Any) -> None:
    """Fewer lines around a plot, a faint grid in it."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)


def draw_images(axes: Any, images: Any, columns: int, texts: Sequence[str] = (), colours: Sequence[str] = ()) -> None:
    """Images (n, height, width) of numbers from 0 to 1 in rows, dark on white, each with its text above it."""
    count, height, width = images.shape
    between = 3 if texts else 1
    rows = -(-count // columns)
    sheet = np.zeros((rows * (height + between), columns * (width + 1)))
    for index, image in enumerate(images):
        top, left = index // columns * (height + between) + between, index % columns * (width + 1)
        sheet[top : top + height, left : left + width] = image
        if texts:
            place = (left + width / 2 - 0.5, top - 0.8)
            axes.text(*place, texts[index], color=colours[index], fontsize=9, ha="center", va="bottom")
    axes.imshow(sheet, cmap="gray_r", vmin=0, vmax=1)
    axes.set_axis_off()
