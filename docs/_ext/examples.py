"""Examples for the reference of the table: programs that have run, with what they printed."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from entries import entries, plain_name, public_names, samples, title

from chainrule.core.table import EACH
from chainrule.explain.formula import argument_names


def literal(value: Any, most: int = 36) -> str | None:
    """An array or constant as source code; None if that would be long.

    Args:
        most: elements that are written out; of longer arrays only the shape is kept.
    """
    if isinstance(value, np.ndarray):
        if value.size > most and value.dtype.kind == "f":
            return f"np.linspace(-1, 1, {value.size}).reshape{value.shape}"
        if value.size > most or value.dtype.kind not in "fcbi":
            return None
        rounded = np.round(value, 2) if value.dtype.kind in "fc" else value
        return repr(rounded.tolist())
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, float, complex, str, slice)):
        return repr(value)
    if isinstance(value, (tuple, list)):
        parts = [literal(part) for part in value]
        if any(part is None for part in parts) or any(isinstance(part, np.ndarray) for part in value):
            return None
        inside = ", ".join(str(part) for part in parts)
        return f"[{inside}]" if isinstance(value, list) else f"({inside},)" if len(value) == 1 else f"({inside})"
    return None


def calls(function: Any) -> Iterator[tuple[list[str], str]]:
    """Ways of calling the function in a program: (imports, expression)."""
    if title(function).startswith("np."):
        yield ["import numpy as np"], title(function)
        return
    for name in public_names(function):
        if name.startswith("cr."):
            yield [], name
    yield [f"from {function.__module__} import {function.__name__}"], function.__name__


SEQUENCE = ["x = cr.tensor([[[1.0, 3.0, 2.0, 5.0]]], requires_grad=True)"]
IMAGE = ["x = cr.tensor([[[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]]], requires_grad=True)"]
# where programs do not make the arguments, or these are large: calls of the operation that they serve
THROUGH = {
    "convolve": [
        *SEQUENCE,
        "w = cr.tensor([[[1.0, -1.0]]], requires_grad=True)",
        "out = cr.nn.functional.conv1d(x, w)",
    ],
    "windows": [*IMAGE, "out = cr.nn.functional.unfold(x, 2)"],
    "add_windows": [
        "x = cr.tensor([[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]]], requires_grad=True)",
        "out = cr.nn.functional.fold(x, (2, 3), 2)",
    ],
    "max_pool": [*SEQUENCE, "out = cr.nn.functional.max_pool1d(x, 2)"],
    "resample": [*SEQUENCE, 'out = cr.nn.functional.interpolate(x, scale_factor=0.5, mode="linear")'],
    **{
        kind.lower(): [
            "cr.manual_seed(0)",
            "x = cr.tensor([[[1.0], [-1.0], [2.0]]], requires_grad=True)",
            f"out, state = cr.nn.{kind}(1, 2, batch_first=True)(x)",
        ]
        for kind in ("GRU", "LSTM", "RNN")
    },
}
THROUGH |= {"convolve_weight": THROUGH["convolve"], "spread_maxima": THROUGH["max_pool"]}
FAMILIES = ("convolution", "pooling", "recurrent", "resampling")  # of these; np.convolve is something else


def programs(function: Any) -> Iterator[str]:
    """Programs that might serve as the example, the handiest first."""
    lines = THROUGH.get(plain_name(function))
    if lines and str(function.__module__).endswith(FAMILIES):
        leaves = [line.split(" = ")[0] for line in lines if "requires_grad" in line]
        yield from endings(["import chainrule as cr", "", *lines], leaves)
    yield from own_programs(function, 12)
    yield from own_programs(function, 36)


def own_programs(function: Any, most: int) -> Iterator[str]:
    """Calls of the operation with the arguments of its samples; arrays of up to `most` elements are written out."""

    def handiness(sample: Any) -> tuple[bool, int]:
        arrays = [a for a in sample.args if isinstance(a, np.ndarray)]
        sizes = [a.size for a in arrays]
        odd = any(a.dtype.kind == "c" for a in arrays) or any(a.ndim == 0 for a in arrays[:1]) or not all(sizes)
        return odd, sum(abs(size - 3) if size > 1 else 8 for size in sizes) + 4 * len(sample.kwargs)

    for sample in sorted(samples()[function], key=handiness)[:8]:
        names = argument_names(function, len(sample.args))
        for imports, call in calls(function):
            lines, given, leaves = [], [], []
            for position, (name, value) in enumerate(zip(names, sample.args, strict=False)):
                text = literal(value, most)
                if text is None:
                    break
                if not isinstance(value, np.ndarray):
                    given.append(text)
                    continue
                known = any(p in (position, EACH) for p, _ in entries(function))
                if value.dtype.kind in "fc" and known:
                    lines.append(f"{name} = cr.tensor({text}, requires_grad=True)")
                    leaves.append(name)
                else:
                    lines.append(
                        f"{name} = cr.tensor({text})" if value.dtype.kind in "fc" else f"{name} = np.array({text})"
                    )
                given.append(name)
            else:
                constants = {name: literal(value, most) for name, value in sample.kwargs.items()}
                if leaves and None not in constants.values():
                    given += [f"{name}={text}" for name, text in constants.items()]
                    if any("np." in line for line in lines) and "import numpy as np" not in imports:
                        imports = ["import numpy as np", *imports]
                    head = sorted(
                        [*imports, "import chainrule as cr"],
                        key=lambda line: (line.startswith("from"), "numpy" not in line),
                    )
                    yield from endings([*head, "", *lines, f"out = {call}({', '.join(given)})"], leaves)


def endings(lines: list[str], leaves: list[str]) -> Iterator[str]:
    """The program with its way back: of a real result, a complex one, one whose sum is always the same, several."""
    show = [f"print({leaf}.grad)" for leaf in leaves]
    for end in (
        "out.sum()",
        "out.abs().sum()",
        "(out * out).sum()",
        "out[0].sum()",
        "out[0].abs().sum()",
        "out[1].sum()",
    ):
        yield "\n".join([*lines, f"{end}.backward()", "print(out)", *show])


def example(function: Any) -> tuple[str, str] | None:
    """A program and what it printed; if there is one, a program with a gradient that is not 0."""
    dull = None
    for program in programs(function):
        printed = io.StringIO()
        try:
            with warnings.catch_warnings(), contextlib.redirect_stdout(printed), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                variables: dict[str, Any] = {}
                exec(compile(program, "<example>", "exec"), variables)
        except Exception:
            continue
        text = printed.getvalue().rstrip()
        gradients = [value.grad for value in variables.values() if getattr(value, "grad", None) is not None]
        if "nan" in text or not gradients or "None" in text.splitlines():
            continue
        if any(np.any(np.abs(gradient.numpy()) > 1e-6) for gradient in gradients):
            return program, text
        dull = dull or (program, text)
    return dull
