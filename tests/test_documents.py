"""The documents tell the truth: their programs run, and print what the documents say they print.

Every ```python block of a document, and every ```{code-cell} of a page of the site, is executed, in one process a
document, in an empty folder. A ```text block that follows one directly is what it prints.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "benchmarks").glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "examples").glob("*.md")),
]
BEGINNING = re.compile(r"^ *```(?:python|\{code-cell\})\n", re.MULTILINE)
WITH_PROGRAMS = [path for path in DOCUMENTS if BEGINNING.search(path.read_text(encoding="utf-8"))]
BLOCK = re.compile(
    r"^(?P<indent> *)```(?:python|\{code-cell\})\n(?P<code>.*?)^(?P=indent)```\n"
    r"(?:\n?^ *```text\n(?P<printed>.*?)^ *```$)?",
    re.DOTALL | re.MULTILINE,
)
MARK = "<end of block>"


def script_of(text: str) -> str:
    """The document's programs, each on the lines on which the document has it, so that a traceback points there."""
    lines = [""] * (text.count("\n") + 2)
    for block in BLOCK.finditer(text):
        first = text.count("\n", 0, block.start("code"))
        code = textwrap.dedent(block["code"]).splitlines()
        lines[first : first + len(code)] = code
        lines[first + len(code)] = f"print({MARK!r})"
    return "\n".join(lines)


@pytest.mark.parametrize("path", WITH_PROGRAMS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_programs_of_a_document_run_and_print_what_it_says(path: Path, tmp_path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    script = tmp_path / f"{path.name}.py"
    script.write_text(script_of(text), encoding="utf-8")
    # CONTRIBUTING shows samples, which live in tests/; plots are drawn without a window
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg"}
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    printed = done.stdout.split(f"{MARK}\n")[:-1]
    blocks = list(BLOCK.finditer(text))
    assert len(printed) == len(blocks) == len(BEGINNING.findall(text))
    for block, output in zip(blocks, printed, strict=True):
        if block["printed"] is not None:
            assert output.split() == block["printed"].split()


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_between_documents_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s#:]+)(?:#[^)\s]*)?\)", path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), f"{path.name} points to {target}"


def test_the_readme_names_every_room_that_exists() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    rooms = [p.name for p in (ROOT / "chainrule").iterdir() if p.is_dir() and (p / "__init__.py").exists()]
    assert [room for room in rooms if f"chainrule/{room}/" not in text] == []
