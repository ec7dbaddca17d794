"""The documentation site: what it is made of, and, marked `site`, what `make docs` has made of it."""

from __future__ import annotations

import importlib
import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest

import chainrule as cr
from chainrule.core.table import BACK_FUNCS

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
SITE = ROOT / "build" / "docs"


def extension(name: str) -> Any:
    """A module of docs/_ext."""
    if str(DOCS / "_ext") not in sys.path:
        sys.path.insert(0, str(DOCS / "_ext"))
    return importlib.import_module(name)


entries, examples, operations = (extension(name) for name in ("entries", "examples", "operations"))
FUNCTIONS = [function for members in entries.families().values() for function in members]
IDS = [entries.title(function) for function in FUNCTIONS]
# what serves the engine itself and vmap, and is no operation of its own
MACHINERY = {"astype", "take_output", "write_region", "from_samples", "to_samples"}


# ----- the reference of the table -----------------------------------------------------------------------------------


def test_every_function_of_the_table_has_an_entry() -> None:
    missing = {
        f.__name__ for f, _ in BACK_FUNCS if f not in FUNCTIONS and str(f.__module__).startswith(("chainrule", "numpy"))
    }
    assert missing <= MACHINERY


@pytest.mark.parametrize("function", FUNCTIONS, ids=IDS)
def test_an_entry_has_formulas_shapes_code_and_an_example_that_ran(function: Any) -> None:
    text = operations.entry(function)
    formulas = re.findall(r"^\$\$\n(.+?)\n\$\$$", text, re.MULTILINE | re.DOTALL)
    assert len(formulas) == len(entries.entries(function))
    assert all("\\nabla" in formula for formula in formulas), formulas
    assert "| arguments | result |" in text or entries.plain_name(function) in examples.THROUGH
    assert "_back" in text and "def " in text
    program, printed = examples.example(function)
    assert ".backward()" in program
    assert f"```text\n{printed}\n```" in text
    assert "requires_grad=False" in printed.splitlines()[-1] or "requires_grad=False" in printed


def test_the_gradient_that_an_example_shows_is_that_of_a_difference() -> None:
    program, printed = examples.example(np.exp)
    variables: dict[str, Any] = {}
    exec(program, variables)
    x = variables["x"].detach().numpy().astype(float)
    difference = (np.exp(x + 1e-6) - np.exp(x - 1e-6)) / 2e-6
    np.testing.assert_allclose(variables["x"].grad.numpy(), difference, rtol=1e-5)
    assert str(variables["x"].grad) in printed


def test_kinks_are_found_where_they_are_known_to_be() -> None:
    relu = next(f for f in FUNCTIONS if entries.title(f) == "relu")
    assert operations.kinks(relu) == ["at $x = 0$ the slope is 0 on the left and 1 on the right; taken: 0"]
    assert operations.kinks(np.absolute) == ["at $x = 0$ the slope is -1 on the left and 1 on the right; taken: 0"]
    assert "taken: 0.5" in operations.kinks(np.maximum)[0]
    assert operations.kinks(np.exp) == operations.kinks(np.multiply) == []


def test_names_that_an_entry_gives_exist() -> None:
    for path in entries.SERVES.values():
        thing: Any = cr
        for part in path.split("."):
            thing = getattr(thing, part)
        assert callable(thing), path


def test_docstrings_become_markup() -> None:
    marked = extension("docstrings").lines_marked
    assert marked(["`x` and `y", "z`, *args"]) == [r"``x`` and ``y z``, \*args"]
    assert marked(["a text", ">>> f(*args)", "1_", "", "$x_1$ or x_ ends"]) == [
        *["a text", "", ">>> f(*args)", "1_", "", r":math:`x_1` or x\_ ends"]
    ]


# ----- benchmarks ---------------------------------------------------------------------------------------------------


def test_a_table_of_benchmarks_is_the_one_that_the_command_prints(tmp_path: Path) -> None:
    from benchmarks import report
    from benchmarks.runner import Measurement, Result
    from benchmarks.workload import Bound

    result = Result("gelu", "a chain", measurements={"chainrule": Measurement([1.0, 2.0, 3.0], 5)})
    result.measurements["numpy"] = Measurement([2.0, 4.0, 6.0], 5)
    result.judge([Bound(0.6, ("numpy",))])
    machine = {"processor": "P", "cores": 2, "versions": {"python": "3"}}
    run = tmp_path / "benchmarks.json"
    report.write_json(run, report.as_json(machine, {"date": "2020-01-01"}, [result]))
    text = extension("speed").pages(tmp_path / "pages", [run])["benchmarks.md"]
    assert report.table([result]) in text
    assert "0.5" in text and "2020-01-01" in text


def test_without_a_run_the_page_says_how_to_make_one(tmp_path: Path) -> None:
    assert "make bench" in extension("speed").pages(tmp_path, [tmp_path / "none.json"])["benchmarks.md"]


# ----- what was made ------------------------------------------------------------------------------------------------

site = pytest.mark.site


class References(HTMLParser):
    """What a page loads, and where its links lead."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.anchors.add(attributes.get("id") or "")
        if tag == "a":
            self.links.append(attributes.get("href") or "")
        elif tag == "link" and attributes.get("rel") not in ("stylesheet", "icon"):
            self.links.append(attributes.get("href") or "")
        else:
            self.loads += [value for key in ("src", "href", "data", "poster") if (value := attributes.get(key))]


@pytest.fixture(scope="module")
def pages() -> dict[Path, References]:
    found = {path: References(path.read_text(encoding="utf-8")) for path in sorted(SITE.rglob("*.html"))}
    if SITE / "index.html" not in found:
        pytest.skip("make docs builds the site first")
    return found


@site
def test_nothing_is_loaded_from_elsewhere(pages: dict[Path, References]) -> None:
    outside = {
        (path.name, target) for path, page in pages.items() for target in page.loads if re.match(r"(\w+:)?//", target)
    }
    assert outside == set()
    for sheet in SITE.rglob("*.css"):
        targets = re.findall(r"url\(\s*[\"']?([^\"')]+)|@import\s+[\"']([^\"']+)", sheet.read_text(encoding="utf-8"))
        assert [t for pair in targets for t in pair if re.match(r"(https?:)?//", t)] == [], sheet


@site
def test_links_and_frames_lead_to_what_is_there(pages: dict[Path, References]) -> None:
    for path, page in pages.items():
        for target in page.loads + page.links:
            name, _, anchor = unquote(target).partition("#")
            if re.match(r"\w+:", target) or (not name and not anchor):
                continue
            leads_to = (path.parent / name.partition("?")[0]).resolve() if name else path
            assert leads_to.exists(), f"{path.name} leads to {target}"
            if anchor and leads_to in pages and path.parent.name != "_modules":
                assert anchor in pages[leads_to].anchors, f"{path.name} leads to {target}"


@site
def test_each_interactive_page_is_there_and_steps(pages: dict[Path, References]) -> None:
    frames = [
        path.parent / target for path, page in pages.items() for target in page.loads if target.endswith("_steps.html")
    ]
    assert len(frames) >= 3
    for frame in frames:
        text = frame.read_text(encoding="utf-8")
        assert "Content-Security-Policy" in text and "Backward pass" in text


@site
def test_formulas_are_mathml(pages: dict[Path, References]) -> None:
    text = (SITE / "reference" / "operations" / "elementwise.html").read_text(encoding="utf-8")
    assert text.count("<math") > 100
    for path in SITE.rglob("*.html"):
        assert (
            not re.search(r"\\nabla(?![^<]*</(pre|code|span)>)", path.read_text(encoding="utf-8"))
            or "_steps" in path.name
        ), path


@site
@pytest.mark.usefixtures("pages")
def test_notebooks_of_the_tutorial_have_run_and_show_tensors_drawings_and_explanations() -> None:
    shown = set()
    notebooks = {path.stem: path for path in (SITE / "_downloads").rglob("*.ipynb")}
    lessons = {path.stem for path in (DOCS / "tutorial").glob("*.md")} - {"index"}
    assert lessons <= set(notebooks)
    for name in lessons:
        for cell in json.loads(notebooks[name].read_text(encoding="utf-8"))["cells"]:
            for output in cell.get("outputs", []):
                assert output["output_type"] != "error"
                data = output.get("data", {})
                if "Tensor(" in "".join(data.get("text/plain", "")):
                    shown.add("tensor")
                if "".join(data.get("image/svg+xml", "")).count("<svg"):
                    shown.add("drawing")
                if "Backward pass" in "".join(data.get("text/html", "")):
                    shown.add("explanation")
    assert shown == {"tensor", "drawing", "explanation"}


@site
@pytest.mark.usefixtures("pages")
def test_every_operation_of_the_table_is_on_the_site() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in (SITE / "reference" / "operations").glob("*.html"))
    for function in FUNCTIONS:
        assert f"<h2>{entries.title(function)}" in text
