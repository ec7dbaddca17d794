"""The reference of the table: a page a family, and on it, for every operation, its function, the formula and the code
of each backward function, kinks, shapes, and an example that has just run.

All of it is read from `BACK_FUNCS` and from the calls with which the tests hold each entry against finite differences
(tests/table_samples); nothing is written by hand.
"""

from __future__ import annotations

import importlib
import inspect
import re
import warnings
from functools import cache
from typing import Any

import numpy as np
from entries import SERVES, entries, families, home_of, plain_name, public_names, samples, title

from chainrule.core.table import BACK_FUNCS
from chainrule.explain.formula import argument_names, put_in
from examples import example

TITLES = {"fft": "Fourier transforms", "linalg": "Linear algebra", "numpy_polynomials": "NumPy's polynomials"}


# ----- words and formulas ---------------------------------------------------------------------------------------------


def first_words(function: Any) -> str:
    """What the function computes, as its docstring says first."""
    text = inspect.getdoc(function) or ""
    paragraphs = [" ".join(part.split()) for part in text.split("\n\n")]
    if paragraphs[0].startswith(f"{function.__name__}("):  # a ufunc's signature
        paragraphs = paragraphs[1:]
    words = paragraphs[0] if paragraphs else ""
    words = re.sub(r"``([^`]+)``", r"`\1`", words)
    return re.sub(r"(?<=[.!]) .*", "", words) if title(function).startswith("np.") else words


def formula(function: Any, position: Any) -> str:
    """The formula as it is typeset: names of several letters upright."""
    stated = BACK_FUNCS.formula(function, position)
    names = {name: name for _, back in entries(function) for name in parameters(back) if len(name) > 1}
    return put_in(stated, names) if names else stated


def parameters(back: Any) -> list[str]:
    """The names of the function's arguments, as the backward function calls them."""
    return list(inspect.signature(back).parameters)[2:]


def note(back: Any) -> str:
    """What the docstring says besides the formula."""
    text = inspect.cleandoc(getattr(back, "func", back).__doc__ or "")
    before, _, rest = text.partition("$")
    _, _, after = rest.partition("$")
    words = " ".join(f"{before} {after}".split()).strip(" ;,.:")
    words = re.sub(r" >>>.*", "", words)
    return f"{words[:1].upper()}{words[1:]}." if words else ""


def code(back: Any) -> str:
    """The backward function's source without its annotations' noise."""
    return inspect.getsource(getattr(back, "func", back)).rstrip()


# ----- kinks --------------------------------------------------------------------------------------------------------

POINTS = (-3.0, -1.0, -0.5, 0.0, 0.5, 1.0, 3.0, 6.0)
STEP = 1e-6


def kinks(function: Any) -> list[str]:
    """Where the slope of an elementwise function changes at once, and what gradient the table takes there."""
    sample = next((s for s in samples()[function] if elementwise(s)), None)
    if sample is None or (function, 0) not in BACK_FUNCS.back_funcs:
        return []
    back = BACK_FUNCS.back_funcs[function, 0]
    two = len(sample.args) > 1 and isinstance(sample.args[1], np.ndarray)
    x = argument_names(function, 1)[0]
    said = []
    for point in (1.0,) if two else POINTS:
        rest = (np.array(point), *sample.args[2:]) if two else sample.args[1:]

        def value(at: float, rest: Any = rest) -> float:
            return float(function(np.array(at), *rest, **sample.kwargs))

        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                left = (value(point) - value(point - STEP)) / STEP
                right = (value(point + STEP) - value(point)) / STEP
                here = np.array(point)
                taken = float(back(np.array(1.0), function(here, *rest, **sample.kwargs), here, *rest, **sample.kwargs))
        except (TypeError, ValueError, RuntimeError, IndexError):
            return []
        if not np.isfinite([left, right, taken]).all() or abs(left - right) < 1e-3 or max(abs(left), abs(right)) > 1e3:
            continue
        where = f"${x} = {argument_names(function, 2)[1]}$" if two else f"${x} = {point:g}$"
        said.append(f"at {where} the slope is {left:.3g} on the left and {right:.3g} on the right; taken: {taken:.3g}")
    return said


def elementwise(sample: Any) -> bool:
    """Whether a sample is of real numbers, each of which is treated alone."""
    if not sample.args or not real(sample.args[0]) or sample.args[0].size == 0:
        return False
    others = [a for a in sample.args[1:] if isinstance(a, np.ndarray)]
    module = home_of(sample.function, BACK_FUNCS.back_funcs.get((sample.function, 0)))
    if module.rpartition(".")[2] not in ("elementwise", "activation", "arithmetic", "special"):
        return False
    return len(others) <= 1 and all(real(a) and a.shape == sample.args[0].shape for a in others)


def real(value: Any) -> bool:
    """Whether this is an array of real numbers."""
    return isinstance(value, np.ndarray) and value.dtype.kind == "f"


# ----- shapes -------------------------------------------------------------------------------------------------------


def shapes(function: Any, most: int = 6) -> list[tuple[str, str]]:
    """Calls that the tests make: (arguments with shapes, shape of the result), no two alike."""
    found: dict[tuple[str, str], None] = {}
    for sample in samples()[function]:
        names = argument_names(function, len(sample.args))
        given = [
            f"{name}: {value.shape}" if isinstance(value, np.ndarray) else f"{name}={shown(value)}"
            for name, value in zip(names, sample.args, strict=False)
        ]
        given += [f"{name}={shown(value)}" for name, value in sample.kwargs.items()]
        text = ", ".join(given)
        if len(text) > 110 or "<" in text:
            continue
        out = function(*sample.args, **sample.kwargs)
        outs = out if isinstance(out, (tuple, list)) else (out,)
        found[text, ", ".join(str(np.shape(o)) for o in outs if o is not None)] = None
        if len(found) >= most:
            break
    return list(found)


def shown(value: Any) -> str:
    """A constant argument in a table."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return f"{value:.4g}"
    text = repr(value)
    return text if len(text) < 40 else "..."


# ----- pages --------------------------------------------------------------------------------------------------------


def label(function: Any) -> str:
    """What other pages refer to the entry by."""
    family = "" if title(function).startswith("np.") else f"{function.__module__.rpartition('.')[2]}-"
    return "op-" + family + re.sub(r"\W+", "-", title(function))


def linked(name: str) -> str:
    """A public name, as a link to its entry in the interface."""
    return f"{{py:func}}`{name} <chainrule{name[2:]}>`" if name.startswith("cr.") else f"`{name}`"


@cache
def labels() -> dict[str, str]:
    """The entries' labels by the name of the operation."""
    members = [function for functions in families().values() for function in functions]
    return {plain_name(function): label(function) for function in reversed(members)}


def entry(function: Any) -> str:
    """One operation in Markdown."""
    lines = [f"({label(function)})=", "", f"## {title(function)}", ""]
    words = first_words(function)
    lines += [words if words.endswith((".", "!")) else words + ".", ""] if words else []
    names = public_names(function)
    if names:
        lines += ["In programs: " + ", ".join(linked(name) for name in names) + ".", ""]
    else:
        serves = SERVES.get(plain_name(function))
        within = (
            f", of `cr.{serves}` among others"
            if serves and home_of(function, None) != "chainrule.ops.numpy_polynomials"
            else ""
        )
        lines += [f"A step of other operations{within}: `{function.__module__}.{function.__name__}`.", ""]
    seen: dict[Any, None] = {}
    for position, back in entries(function):
        lines += ["$$", formula(function, position), "$$", ""]
        if note(back):
            lines += [note(back), ""]
        seen[back] = None
    found = kinks(function)
    if found:
        lines += ["Kinks:", "", *(f"- {kink}" for kink in found), ""]
    rows = shapes(function)
    if rows:
        lines += ["| arguments | result |", "| --- | --- |"]
        lines += [
            f"| `{given}` | `{out}` |".replace("||", "|")
            for given, out in ((g.replace("|", r"\|"), o) for g, o in rows)
        ]
        lines += [""]
    shown_example = example(function)
    if shown_example:
        lines += ["```python", shown_example[0], "```", "", "```text", shown_example[1], "```", ""]
    sources = "\n\n".join(dict.fromkeys(code(back) for back in seen))
    lines += [":::{dropdown} The code of the derivative", "```python", sources, "```", ":::", ""]
    return "\n".join(lines)


def pages() -> dict[str, str]:
    """All pages by file name."""
    made = {}
    listed = []
    for home, functions in families().items():
        module = importlib.import_module(home)
        short = home.rpartition(".")[2]
        about = (inspect.getdoc(module) or "").split("\n\n")[0]
        head = [f"# {TITLES.get(short, short.replace('_', ' ').capitalize())}", "", " ".join(about.split()), ""]
        made[f"{short}.md"] = "\n".join(head) + "\n" + "\n".join(entry(function) for function in functions)
        listed.append((short, functions))
    rules = sum(len(entries(function)) for _, functions in listed for function in functions)
    count = sum(len(functions) for _, functions in listed)
    lines = [
        "# The table of derivatives",
        "",
        f"{count} functions with {rules} backward functions, as the table states them. Everything that differentiates, "
        "to any order, is made of these. Each page is written by the package about itself: formulas are those in the "
        "docstrings, kinks are measured, shapes are those of the calls that the tests hold against finite differences, "
        "and each example has run.",
        "",
        "| family | functions |",
        "| --- | --- |",
        *(
            f"| [{TITLES.get(short, short.replace('_', ' ').capitalize())}]({short}.md) | "
            + ", ".join(f"`{title(f)}`" for f in functions)
            + " |"
            for short, functions in listed
        ),
        "",
        "```{toctree}",
        ":hidden:",
        ":maxdepth: 1",
        *(short for short, _ in listed),
        "```",
        "",
    ]
    made["index.md"] = "\n".join(lines)
    return made
