"""The reference of the table: a page a family, and on it, for every operation, its function, the formula and the code
of each backward function, kinks, shapes, and an example that has just run.

All of it is read from `BACK_FUNCS` and from the calls with which the tests hold each entry against finite differences
(tests/table_samples); nothing is written by hand.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import pkgutil
import re
import warnings
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np

import chainrule as cr
from chainrule.core.table import BACK_FUNCS, EACH
from chainrule.explain.formula import argument_names, put_in

TITLES = {"fft": "Fourier transforms", "linalg": "Linear algebra", "numpy_polynomials": "Polynomials of NumPy's"}
MACHINERY = ("chainrule.core", "chainrule.func")  # their entries serve the engine and vmap, and are no operations
PYTORCH_NAMES = {
    **{"absolute": "abs", "power": "pow", "divide": "div", "conjugate": "conj", "concatenate": "cat", "max": "amax"},
    **{"min": "amin", "transpose": "permute", "expand_dims": "unsqueeze", "subtract": "sub", "multiply": "mul"},
    **{"arcsin": "asin", "arccos": "acos", "arctan": "atan", "arctan2": "atan2", "trunc_divide": "div"},
    **{"arcsinh": "asinh", "arccosh": "acosh", "arctanh": "atanh"},
}  # fmt: skip
SERVES = {  # steps of operations that have other names
    **{"alignment_loss": "nn.functional.ctc_loss", "attention": "nn.functional.scaled_dot_product_attention"},
    **{"contract": "einsum", "cross_product": "cross", "complex_logaddexp": "logaddexp", "keep_where": "relu"},
    **{"convolve": "nn.functional.conv2d", "convolve_input": "nn.functional.conv_transpose2d"},
    **{"convolve_weight": "nn.functional.conv2d", "windows": "nn.functional.unfold"},
    **{"add_windows": "nn.functional.fold", "source_places": "nn.functional.grid_sample"},
    **{"unbounded_places": "nn.functional.grid_sample", "getitem_adjoint": "Tensor.__getitem__"},
    **{"cofactors": "linalg.det", "eigen": "linalg.eig", "eigenvalues": "linalg.eigvals"},
    **{"least_squares": "linalg.lstsq", "lu_decomposition": "linalg.lu", "matrix_exponential": "linalg.matrix_exp"},
    **{"pseudo_inverse": "linalg.pinv", "solve_triangular_matrix": "linalg.solve_triangular"},
    **{"solve_positive": "cholesky_solve", "mean_cross_entropy": "nn.functional.cross_entropy"},
    **{"normalise_layer": "nn.functional.layer_norm", "standardize": "nn.functional.batch_norm"},
    **{"max_pool": "nn.functional.max_pool2d", "spread_maxima": "nn.functional.max_pool2d"},
    **{"pick": "nn.functional.max_pool2d", "place": "nn.functional.max_pool2d", "unpool": "nn.functional.max_unpool2d"},
    **{"gru": "nn.GRU", "lstm": "nn.LSTM", "rnn": "nn.RNN", "input_shares": "nn.LSTM"},
    **{"root": "nn.functional.lp_pool2d", "spread": "sum", "linear_recurrence": "cumprod"},
    **{"resample": "nn.functional.interpolate"},
    **{"take_along": "take_along_dim", "add_along": "take_along_dim", "permute_along": "sort"},
    **{"constant_pad": "nn.functional.pad", "place_diagonal": "diagonal", "place_strided": "as_strided"},
    **{"lower_median": "median", "lower_nanmedian": "nanmedian", "spherical_bessel_j1": "special.spherical_bessel_j0"},
}  # fmt: skip
PLACES = ("", "nn.functional", "linalg", "fft", "special")


# ----- what there is ------------------------------------------------------------------------------------------------


@cache
def samples() -> dict[Any, list[Any]]:
    """The calls that the tests make, by function."""
    from tests import table_samples

    found: dict[Any, list[Any]] = {}
    for module in pkgutil.iter_modules(table_samples.__path__):
        if module.name != "common":
            for sample in importlib.import_module(f"tests.table_samples.{module.name}").SAMPLES:
                found.setdefault(sample.function, []).append(sample)
    return found


@cache
def families() -> dict[str, list[Any]]:
    """Functions of the table by the module that holds their derivatives."""
    samples()  # imports the families that only layers need
    found: dict[str, list[Any]] = {}
    for (function, _), back in BACK_FUNCS.back_funcs.items():
        home = home_of(function, back)
        if not home.startswith(MACHINERY) and function in samples():
            members = found.setdefault(home, [])
            if function not in members:
                members.append(function)
    return {home: sorted(found[home], key=lambda function: title(function).lower()) for home in sorted(found)}


def home_of(function: Any, back: Any) -> str:
    """The module of an own function, or of the derivative of NumPy's."""
    module = str(getattr(function, "__module__", ""))
    return module if module.startswith("chainrule") else str(getattr(back, "func", back).__module__)


def plain_name(function: Any) -> str:
    """`_sigmoid` is `sigmoid` to users."""
    return str(function.__name__).lstrip("_")


def title(function: Any) -> str:
    """What the entry is called."""
    module = str(getattr(function, "__module__", "") or "")
    if isinstance(function, np.ufunc) or module.startswith("numpy"):
        inside = "linalg." if module.startswith("numpy.linalg") else "fft." if module.startswith("numpy.fft") else ""
        return f"np.{inside}{function.__name__}"
    return plain_name(function)


def public_names(function: Any) -> list[str]:
    """What the operation is called in programs."""
    found = []
    for name in dict.fromkeys((plain_name(function), PYTORCH_NAMES.get(plain_name(function), ""))):
        for place in PLACES:
            room = cr.nn.functional if place == "nn.functional" else getattr(cr, place) if place else cr
            if name and callable(vars(room).get(name)):
                found.append(f"cr.{place}.{name}" if place else f"cr.{name}")
        if name and callable(getattr(cr.Tensor, name, None)):
            found.append(f"Tensor.{name}")
    if title(function).startswith("np."):
        found.append(title(function))
    return found


def first_words(function: Any) -> str:
    """What the function computes, as its docstring says first."""
    text = inspect.getdoc(function) or ""
    paragraphs = [" ".join(part.split()) for part in text.split("\n\n")]
    if isinstance(function, np.ufunc) or re.match(r"\w+\(", paragraphs[0]):
        paragraphs = paragraphs[1:]
    words = paragraphs[0] if paragraphs else ""
    words = re.sub(r"``([^`]+)``", r"`\1`", words)
    return re.sub(r"(?<=[.!]) .*", "", words) if title(function).startswith("np.") else words


# ----- formulas -----------------------------------------------------------------------------------------------------


def entries(function: Any) -> list[tuple[Any, Any]]:
    """(position, backward function) of each argument."""
    return [(position, back) for (f, position), back in BACK_FUNCS.back_funcs.items() if f is function]


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


# ----- examples -----------------------------------------------------------------------------------------------------


def literal(value: Any) -> str | None:
    """An array or constant as source code; None if it would be long or is of another kind."""
    if isinstance(value, np.ndarray):
        if value.size > 36 and value.dtype.kind == "f":
            return f"np.linspace(-1, 1, {value.size}).reshape{value.shape}"
        if value.size > 36 or value.dtype.kind not in "fcbi":
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
THROUGH = {  # where arguments are of kinds that programs do not make: a call of the operation that they serve
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
    "gru": [
        "cr.manual_seed(0)",
        "x = cr.tensor([[[1.0], [-1.0], [2.0]]], requires_grad=True)",
        "out, state = cr.nn.GRU(1, 2, batch_first=True)(x)",
    ],
}  # fmt: skip
THROUGH |= {"convolve_weight": THROUGH["convolve"], "spread_maxima": THROUGH["max_pool"]}


def programs(function: Any) -> Iterator[str]:
    """Programs that might serve as the example, the handiest first."""
    yield from own_programs(function)
    lines = THROUGH.get(plain_name(function))
    if lines:
        leaves = [line.split(" = ")[0] for line in lines if "requires_grad" in line]
        yield from endings(["import chainrule as cr", "", *lines], leaves)


def own_programs(function: Any) -> Iterator[str]:
    """Calls of the operation with the arguments of its samples."""

    def handiness(sample: Any) -> tuple[bool, int]:
        arrays = [a for a in sample.args if isinstance(a, np.ndarray)]
        sizes = [a.size for a in arrays]
        odd = any(a.dtype.kind == "c" for a in arrays) or any(a.ndim == 0 for a in arrays[:1]) or not all(sizes)
        return odd, sum(abs(size - 3) for size in sizes) + 4 * len(sample.kwargs)

    for sample in sorted(samples()[function], key=handiness)[:8]:
        names = argument_names(function, len(sample.args))
        for imports, call in calls(function):
            lines, given, leaves = [], [], []
            for position, (name, value) in enumerate(zip(names, sample.args, strict=False)):
                text = literal(value)
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
                constants = {name: literal(value) for name, value in sample.kwargs.items()}
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
    """The program with its way back: of a real result, a complex one, one of several."""
    show = [f"print({leaf}.grad)" for leaf in leaves]
    for end in ("out.sum()", "out.abs().sum()", "out[0].sum()", "out[0].abs().sum()", "out[1].sum()"):
        yield "\n".join([*lines, f"{end}.backward()", "print(out)", *show])


def example(function: Any) -> tuple[str, str] | None:
    """A program and what it printed."""
    for program in programs(function):
        printed = io.StringIO()
        try:
            with warnings.catch_warnings(), contextlib.redirect_stdout(printed), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                exec(compile(program, "<example>", "exec"), {})
        except Exception:
            continue
        text = printed.getvalue().rstrip()
        if "nan" not in text and "None" not in text.splitlines()[-1]:
            return program, text
    return None


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
