"""Every formula of the table typesets, and the elementary ones compute what their code computes."""

from __future__ import annotations

import inspect
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.core.broadcasting import unbroadcast
from chainrule.core.table import EACH, name_of
from chainrule.explain.formula import latex_name, mentioned, note_of, plain, put_in, put_in_note

from ..table_samples.common import Sample
from ..test_table import ENTRIES, SAMPLES, positions
from .latex_formulas import NotElementary, Reader, computed, matrix_formula

IDS = [f"{name_of(function)}-{position}" for function, position in ENTRIES]
MATRICES = frozenset(("matmul", "linear", "inv", "solve", "solve_positive"))
LEAST = 160  # formulas that are computed; more is better


def names_in(function: Any, position: Any) -> list[str]:
    back = cr.BACK_FUNCS.back_funcs[function, position]
    return list(inspect.signature(back).parameters)[1:]


# ----- typesetting ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def typeset() -> Any:
    mathtext = pytest.importorskip("matplotlib.mathtext")
    parser = mathtext.MathTextParser("path")

    def parse(latex: str) -> None:
        latex = re.sub(r"\\sqrt ?(\\pi|\d)", r"\\sqrt{\1}", latex.replace(r"\tfrac", r"\frac"))  # mathtext wants braces
        latex = (
            latex.replace(r"\begin{pmatrix}", "(").replace(r"\end{pmatrix}", ")").replace("&", ",").replace(r"\\", ";")
        )
        parser.parse(f"${latex}$")

    return parse


@pytest.mark.parametrize(("function", "position"), ENTRIES, ids=IDS)
def test_a_formula_typesets_as_it_is_and_with_names_in_it(function: Any, position: Any, typeset: Any) -> None:
    formula = cr.BACK_FUNCS.formula(function, position)
    typeset(formula)
    names = {name: f"w_{i} & net.{name}" for i, name in enumerate(names_in(function, position))}
    typeset(put_in(formula, names).replace(r"\&", r"\mathrm{and}"))
    assert "\\" not in plain(formula), "the plain text has no commands in it"


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no LaTeX here")
def test_all_formulas_and_notes_typeset_in_latex_with_names_in_them(tmp_path: Path) -> None:
    lines = [r"\documentclass{article}\usepackage{amsmath,amssymb}\begin{document}"]
    for function, position in ENTRIES:
        names = {name: f"net_{i}.{name} & <co" for i, name in enumerate(names_in(function, position))}
        formula = cr.BACK_FUNCS.formula(function, position)
        lines += [rf"\[ {formula} \]", rf"\[ {put_in(formula, names)} \]"]
        lines += [rf"\[ {put_in(formula, {name: f'v{i}' for i, name in enumerate(names)})} \]"]
        lines += [f"${part}$" for part in put_in_note(note_of(function, position), names, {}).split("$")[1::2]]
    (tmp_path / "all.tex").write_text("\n\n".join([*lines, r"\end{document}"]), encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-draftmode", "all.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-1500:]


def test_a_name_typesets_whatever_is_in_it(typeset: Any) -> None:
    for name in ("a", "v12", "net.0.weight", "h_1", "50% $x$ {y} #1", "x^2", "<script>", "params['w']"):
        typeset(latex_name(name).replace(r"\sim", "-").replace("''", "'"))


# ----- the formula and the code -----------------------------------------------------------------------------------


def values_of(sample: Sample, position: int) -> tuple[dict[str, Any], Any, Any]:
    """What the names in a formula stand for, the backward function's answer, and the argument."""
    with np.errstate(all="ignore"):
        out = sample.function(*sample.args, **sample.kwargs)
        if isinstance(out, tuple) or not isinstance(out, (np.ndarray, np.generic)):
            raise NotElementary("several outputs")
        rng = np.random.default_rng(0)
        grad_out = np.asarray(rng.standard_normal(np.shape(out)))
        if np.iscomplexobj(out):
            grad_out = grad_out + 1j * rng.standard_normal(np.shape(out))
        back = cr.BACK_FUNCS.get_back_func(sample.function, position)
        answer = back(grad_out, out, *sample.args, **sample.kwargs)
        bound = inspect.signature(back).bind(grad_out, out, *sample.args, **sample.kwargs)
    defaults = {p.name: p.default for p in inspect.signature(back).parameters.values()}
    if any(isinstance(value, (str, bool)) and value != defaults[name] for name, value in bound.arguments.items()):
        raise NotElementary("another form of the function")
    bound.apply_defaults()
    return bound.arguments, answer, sample.args[position]


def compare(sample: Sample, position: int) -> tuple[Any, Any]:
    """What the formula gives and what the code gives, where the formula is said to hold.

    Raises:
        NotElementary: the formula is not computed here.
    """
    if (sample.function, EACH) in cr.BACK_FUNCS.back_funcs:
        raise NotElementary("any number of arguments")
    values, answer, argument = values_of(sample, position)
    formula = cr.BACK_FUNCS.formula(sample.function, position)
    shape = np.shape(values["out"])
    arrays = [np.shape(value) for value in sample.args if isinstance(value, np.ndarray)]
    if sample.function.__name__ in MATRICES:
        if any(np.ndim(value) != 2 for i, value in enumerate(sample.args) if i < 2):
            raise NotElementary("a stack of matrices, or vectors")
        return matrix_formula(formula, values), answer
    if sample.function in (np.sum, np.mean):
        kept = sample.function(argument, **{**sample.kwargs, "keepdims": True}).shape
        values = values | {
            "grad_out": np.reshape(values["grad_out"], kept),
            "n": np.size(argument) / np.size(values["out"]),
        }
        found, _ = computed(formula, "", values, np.shape(argument))
        return found, answer
    if r"\text{broadcast axes}" not in formula and np.broadcast_shapes(*arrays) != shape:
        raise NotElementary("not elementwise")
    with np.errstate(all="ignore"):
        found, holds = computed(formula, note_of(sample.function, position), values, shape)
    if np.iscomplexobj(found) and not np.iscomplexobj(argument):
        found = np.real(found)
    if "for real" in note_of(sample.function, position) and not np.iscomplexobj(argument):
        raise NotElementary("words about real numbers")
    if not holds.all():
        if np.shape(argument) != shape:
            raise NotElementary("a note about single elements")
        return found[holds], answer[holds]
    return unbroadcast(np.asarray(found), np.asarray(argument)), answer


def sort_samples() -> tuple[list[tuple[Sample, int]], dict[tuple[str, int], str]]:
    """The samples whose formula can be computed, and the entries of which none can, with the reason."""
    computable, reasons, done = [], {}, set()
    for sample in SAMPLES:
        for position in positions(sample):
            entry = (name_of(sample.function), position)
            try:
                compare(sample, position)
            except NotElementary as error:
                reasons[entry] = str(error)
                continue
            except (ValueError, TypeError) as error:  # shapes that only the code understands
                reasons[entry] = f"not elementwise ({type(error).__name__})"
                continue
            computable.append((sample, position))
            done.add(entry)
    return computable, {entry: reason for entry, reason in reasons.items() if entry not in done}


COMPUTABLE, OTHERS = sort_samples()


@pytest.mark.parametrize(("sample", "position"), COMPUTABLE, ids=[f"{s}-{p}" for s, p in COMPUTABLE])
def test_an_elementary_formula_is_what_its_code_computes(sample: Sample, position: int) -> None:
    by_formula, by_code = compare(sample, position)
    assert np.allclose(by_formula, by_code, rtol=1e-6, atol=1e-9, equal_nan=True)


def test_most_elementary_formulas_are_computed_and_the_others_have_a_reason() -> None:
    entries = {(name_of(sample.function), position) for sample, position in COMPUTABLE}
    print(f"{len(entries)} formulas are computed; not these:")
    print("\n".join(f"  {name} {position}: {reason}" for (name, position), reason in sorted(OTHERS.items())))
    assert len(entries) >= LEAST
    elementary = {"log", "exp", "multiply", "power", "tanh", "_sigmoid", "_softmax", "maximum", "clip", "_erf", "_lerp"}
    assert elementary <= {name for name, _ in entries}


# ----- the reader itself ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("latex", "expected"),
    [
        (r"\frac{1}{2 x}", 1 / 6),
        (r"-x^2 + 1", -8),
        (r"2 x y", 30),
        (r"\cos x \ln y", np.cos(3) * np.log(5)),
        (r"x / y / 2", 0.3),
        (r"|x - y| |x|", 6),
        (r"[x < y] + [x = y \text{ or } x \geq 3]", 2),
        (r"e^{-x^2 / 2}", np.exp(-4.5)),
        (r"\sqrt 2 \lfloor y / x \rfloor", np.sqrt(2)),
    ],
)
def test_the_reader_computes(latex: str, expected: float) -> None:
    assert float(Reader(latex, {"x": 3.0, "y": 5.0}).whole()) == pytest.approx(expected)


def test_what_a_formula_mentions_and_what_is_put_in() -> None:
    assert mentioned(
        r"\nabla_a L = [a_{min} \leq a] \, min\_val \, \mathrm{out} \nabla_{out} L", ["a", "a_min", "out"]
    ) == [
        "a",
        "a_min",
    ]
    assert put_in(r"\nabla_x L = min\_val x", {"x": "h"}, {"min_val": -2}) == r"\nabla_h L = (-2) h"
    assert put_in(r"2 \, out", {}, {"out": 3.0}) == r"2 \,  \cdot 3"
    assert plain(put_in(r"\frac{1}{2 \, out} \nabla_{out} L", {}, {"out": 3.0, "grad_out": 0.5})) == "1/(2 · 3) · 0.5"
