"""The command line: `chainrule demo`, `run SCRIPT` and `explain EXPRESSION`, also `python -m chainrule ...`."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

EXPLAIN = ("-h", "--help", "--latex", "--markdown")  # the options of `chainrule explain`, beside --html FILE
BAD_USAGE = 2  # the exit code for a value that makes no sense
CUT_SHORT = 141  # and for output that nobody reads on: 128 and the number of SIGPIPE


class OneLineParser(argparse.ArgumentParser):
    """A parser whose errors are one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and leave with exit code 2."""
        self.exit(BAD_USAGE, f"{self.prog}: {message}\n")


def whole_number(text: str) -> int:
    """A whole number of at least 1."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, got {text!r}")
    return value


def seed_number(text: str) -> int:
    """A whole number of at least 0."""
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 0, got {text!r}")
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


def layer_sizes(text: str) -> tuple[int, ...]:
    """Whole numbers of at least 1 with commas between them."""
    try:
        return tuple(whole_number(part) for part in text.split(","))
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(
            f"must be whole numbers of at least 1 with commas between them, such as 128,64, got {text!r}"
        ) from None


def make_parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    parser = OneLineParser(
        prog="chainrule", description="Automatic differentiation with PyTorch's interface on NumPy arrays."
    )
    parser.add_argument("--version", action="store_true", help="print the version and leave")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=OneLineParser)
    demo = commands.add_parser(
        "demo",
        help="train a network on handwritten digits and show what happened",
        description="Train a multilayer perceptron on scikit-learn's handwritten digits and show what happened.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    option = demo.add_argument
    option("--epochs", type=whole_number, default=30, metavar="N", help="how often the training set is seen")
    option("--lr", type=positive_number, default=0.05, metavar="X", help="learning rate at the start")
    option("--hidden", type=layer_sizes, default="128,64", metavar="N[,N...]", help="sizes of the hidden layers")
    option("--seed", type=seed_number, default=0, metavar="N", help="decides split, initial weights and order")
    option("--out", default="chainrule-demo", metavar="DIR", help="where pictures and weights go")
    demo.set_defaults(run=run_demo)
    run = commands.add_parser(
        "run",
        help="run a PyTorch script: `import torch` is chainrule in it",
        description="Run a PyTorch script as `python SCRIPT ARGS...` would, with chainrule in the place of torch.",
        usage="chainrule run [-h] [-m] SCRIPT [ARGS...]",
    )
    run.add_argument("-m", action="store_true", dest="as_module", help="SCRIPT is the name of a module")
    run.add_argument("script", metavar="SCRIPT", help="a Python file")
    run.add_argument("arguments", metavar="ARGS", nargs=argparse.REMAINDER, help="the script's own arguments")
    run.set_defaults(run=run_script)
    explain = commands.add_parser(
        "explain",
        help="differentiate an expression and tell every step",
        description="Differentiate an expression and tell every step of the backward pass.",
        usage="chainrule explain [-h] [--latex | --markdown | --html FILE] EXPRESSION [NAME=VALUE ...]",
        epilog='example: chainrule explain "log(a * b * log(c))" a=2 b=3 "c=[10, 20]"',
    )
    form = explain.add_mutually_exclusive_group()
    form.add_argument("--latex", action="store_true", help="print the derivation as a LaTeX document")
    form.add_argument("--markdown", action="store_true", help="print it as Markdown")
    form.add_argument("--html", metavar="FILE", help="write a page to step through it")
    explain.add_argument("expression", metavar="EXPRESSION", help="arithmetic, operations of the table, and names")
    explain.add_argument("values", metavar="NAME=VALUE", nargs="*", help="a number, or a list as [1,2,3]")
    explain.set_defaults(run=run_explain)
    return parser


def run_demo(options: argparse.Namespace) -> int:
    """`chainrule demo`."""
    from .demo import main as demo

    return demo(options.epochs, options.lr, options.hidden, options.seed, options.out)


def run_script(options: argparse.Namespace) -> int:
    """`chainrule run`."""
    from .run import main as run

    return run(options.script, options.arguments, options.as_module)


def run_explain(options: argparse.Namespace) -> int:
    """`chainrule explain`."""
    from .explain.expression import main as explain

    return explain(options.expression, options.values, options.latex, options.markdown, options.html)


def _protected(arguments: Sequence[str]) -> list[str]:
    """The arguments of `chainrule explain`: options first, and a space before what only looks like one."""
    options: list[str] = []
    others: list[str] = []
    rest = iter(arguments)
    for text in rest:
        if text in EXPLAIN or text.startswith("--html="):
            options.append(text)
        elif text == "--html":
            file = next(rest, None)
            if file is None:
                return [*options, *others, text]
            options.append(f"{text}={file}")
        else:
            others.append(f" {text}" if text[:1] == "-" else text)
    return options + others


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = make_parser()
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments[:1] == ["explain"]:  # an expression may begin with a minus: the space says that it is no option
        arguments = ["explain", *_protected(arguments[1:])]
    options = parser.parse_args(arguments)
    if options.version:
        from . import __version__

        print(f"chainrule {__version__}")
        return 0
    run: Callable[[Any], int] | None = getattr(options, "run", None)
    if run is None:
        parser.print_help()
        return 0
    try:
        code = run(options)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # who reads has seen enough, as in `chainrule explain ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CUT_SHORT
    except KeyboardInterrupt:
        print(f"chainrule {options.command}: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
