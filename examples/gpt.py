"""A GPT that learns to write a text, character by character: by default the language reference that Python ships.

    python examples/gpt.py
    python examples/gpt.py --text book.txt --prompt "It was"

Writes a sample and the loss: gpt.png, and the sample alone: sample.txt.
"""

from __future__ import annotations

import argparse
import re
import sys
import textwrap
import zlib
from pathlib import Path

import common

import chainrule as torch
from chainrule import nn, optim
from chainrule.nn import functional as F
from chainrule.utils.data import DataLoader, Dataset, RandomSampler

OPTIONS = common.Options(
    __doc__,
    epochs=25,
    lr=3e-3,
    out="runs/gpt",
    short={"epochs": 3, "steps": 8, "layers": 2, "heads": 2, "width": 32, "context": 32, "characters": 80},
)
option = OPTIONS.add_argument
option("--text", metavar="FILE", help=f"a text to learn from; if left out, pydoc's topics{common.NO_DEFAULT}")
option("--steps", type=common.whole_number, default=100, metavar="N", help="steps in an epoch")
option("--batch", type=common.whole_number, default=12, metavar="N", help="stretches of text in a step")
option("--layers", type=common.whole_number, default=4, metavar="N", help="blocks")
option("--heads", type=common.whole_number, default=4, metavar="N", help="heads of attention in a block")
option("--width", type=common.whole_number, default=128, metavar="N", help="numbers that a character becomes")
option("--context", type=common.whole_number, default=64, metavar="N", help="characters that it looks back at most")
option("--prompt", default="\n", metavar="TEXT", help="what the sample begins with (default: a new line%(default).0s)")
option("--characters", type=common.whole_number, default=1000, metavar="N", help="length of the sample")
option("--temperature", type=common.positive_number, default=0.8, metavar="X", help="how daring the sample is")


class Attention(nn.Module):
    """Causal self-attention, (n, length, width) to the same."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.take = nn.Linear(width, 3 * width)
        self.give = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """What each character learns from those before it."""
        n, length, width = x.shape
        query, key, value = (
            part.view(n, length, self.heads, width // self.heads).transpose(1, 2) for part in self.take(x).chunk(3, -1)
        )
        y = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.give(y.transpose(1, 2).reshape(n, length, width))


class Block(nn.Module):
    """Attention, then two layers for each character on its own; both are added to what comes in."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.think = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The same shape."""
        x = x + self.attention(self.norm1(x))
        return x + self.think(self.norm2(x))


class GPT(nn.Module):
    """Characters (n, length) to the logits of the character after each, (n, length, characters)."""

    def __init__(self, characters: int, context: int, layers: int, heads: int, width: int) -> None:
        super().__init__()
        self.context = context
        self.characters = nn.Embedding(characters, width)
        self.places = nn.Embedding(context, width)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, characters, bias=False)
        self.head.weight = self.characters.weight  # a character is recognised by what it is known by
        self.apply(start)

    def forward(self, text: torch.Tensor) -> torch.Tensor:
        """The logits."""
        x = self.characters(text) + self.places(torch.arange(text.shape[1]))
        return self.head(self.norm(self.blocks(x)))

    @torch.no_grad()
    def generate(self, text: torch.Tensor, count: int, temperature: float) -> torch.Tensor:
        """The text (length,) with so many characters more."""
        for _ in range(count):
            logits = self(text[None, -self.context :])[0, -1]
            following = torch.multinomial(torch.softmax(logits / temperature, dim=-1), num_samples=1)
            text = torch.cat([text, following])
        return text


def start(module: nn.Module) -> None:
    """GPT-2's initial weights."""
    if isinstance(module, (nn.Linear, nn.Embedding)):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)


class Stretches(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Stretches of a text, each with itself a character later."""

    def __init__(self, text: torch.Tensor, length: int) -> None:
        self.text, self.length = text, length

    def __len__(self) -> int:
        return len(self.text) - self.length

    def __getitem__(self, start: int) -> tuple[torch.Tensor, torch.Tensor]:
        stretch = self.text[start : start + self.length + 1]
        return stretch[:-1], stretch[1:]


def read_text(path: str | None, context: int) -> str:
    """The text to learn from.

    Raises:
        Failure: there is no such file, it is no text, or too short.
    """
    if path is None:
        from pydoc_data.topics import topics

        lines = "\n".join(topics[name] for name in sorted(topics)).split("\n")
        prose = [line for line in lines if not line.lstrip().startswith(("|", "+"))]  # the rest are tables
        return "\n".join(re.sub(r"(?<=\S) {3,}", "  ", line) for line in prose)
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise common.Failure(f"argument --text: cannot read {path}: {why}") from None
    if len(text) < 20 * (context + 1):
        raise common.Failure(f"argument --text: {path} has {len(text)} characters, too few for --context {context}")
    return text


def main(options: argparse.Namespace) -> None:
    """Train, write a sample."""
    torch.manual_seed(options.seed)
    if options.width % options.heads:
        raise common.Failure(f"argument --width: must be a multiple of --heads {options.heads}, got {options.width}")
    text = read_text(options.text, options.context)
    alphabet = sorted(set(text))
    number = {character: index for index, character in enumerate(alphabet)}
    unknown = sorted(set(options.prompt) - set(alphabet))
    if unknown or not options.prompt:
        raise common.Failure(f"argument --prompt: must be of characters of the text, got {options.prompt!r}")
    encoded = torch.tensor([number[character] for character in text])
    train, test = encoded.split([len(text) - len(text) // 10, len(text) // 10])

    stretches = Stretches(train, options.context)
    sampler = RandomSampler(stretches, replacement=True, num_samples=options.steps * options.batch)
    loader = DataLoader(stretches, batch_size=options.batch, sampler=sampler)
    whole = test[: len(test) // (options.context + 1) * (options.context + 1)].view(-1, options.context + 1)[:200]

    model = GPT(len(alphabet), options.context, options.layers, options.heads, options.width)
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    vectors = [p for p in model.parameters() if p.dim() < 2]
    optimizer = optim.AdamW(
        [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}],
        lr=options.lr,
        betas=(0.9, 0.99),
    )
    total = options.epochs * options.steps
    warm_up = max(1, total // 20)
    scheduler = optim.lr_scheduler.SequentialLR(
        optimizer,
        [
            optim.lr_scheduler.LinearLR(optimizer, start_factor=0.01, total_iters=warm_up),
            optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=max(1, total - warm_up), eta_min=options.lr / 20),
        ],
        milestones=[warm_up],
    )
    training = common.Training(
        options,
        model,
        optimizer,
        scheduler,
        steps=options.steps,
        made_of={"a text of checksum": zlib.crc32(text.encode())},
        free=("text", "prompt", "characters", "temperature"),
    )
    print(f"{common.parameter_count(model)} parameters, {len(text)} characters, {len(alphabet)} different ones")

    for _ in training.epochs():
        for inputs, targets in loader:
            loss = F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())
            training.record(loss)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), max_norm=1.0)
            optimizer.step()
            scheduler.step()
        with torch.no_grad():
            held_out = F.cross_entropy(model(whole[:, :-1]).flatten(0, 1), whole[:, 1:].flatten())
        training.report(held_out_loss=held_out.item())

    prompt = torch.tensor([number[character] for character in options.prompt])
    written = model.generate(prompt, options.characters, options.temperature)
    sample = "".join(alphabet[index] for index in written.tolist())
    print(textwrap.indent(sample.strip("\n"), "  | ", lambda line: True))
    draw(training, sample)
    with common.written_whole(training.folder / "sample.txt") as part:
        part.write_text(sample, encoding="utf-8")
    training.wrote("gpt.png", "sample.txt")


def draw(training: common.Training, sample: str) -> None:
    """The loss; what the model writes."""
    figure = common.new_figure(12, 5.5)
    left, right = figure.subplots(1, 2)
    common.draw_losses(left, training.losses, training.steps, training.history["held out loss"])
    left.set(title="Cross entropy of the next character")
    lines = [short for line in sample.split("\n") for short in textwrap.wrap(line, 72) or [""]]
    shown = "".join(c if c.isprintable() or c == "\n" else " " for c in "\n".join(lines[:32]))
    right.text(0, 1, shown.replace("$", r"\$"), family="monospace", fontsize=7.5, va="top", color=common.INK)
    right.set_axis_off()
    right.set_title("What it writes")
    training.save_picture(figure, "gpt.png")


if __name__ == "__main__":
    sys.exit(common.launch(main, OPTIONS))
