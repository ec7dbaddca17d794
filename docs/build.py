"""Makes the documentation site: `python docs/build.py` (or `make docs`) writes build/docs/index.html.

The pages are copied to build/docs-source, pages that are made of the package itself are written beside them (the
operations, the interface, the benchmarks), and Sphinx turns all of it into HTML; a warning is an error. Nothing in the
result is loaded from elsewhere: it opens from the disk, without a network.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
sys.path[:0] = [str(ROOT), str(DOCS / "_ext")]

import interface  # noqa: E402
import operations  # noqa: E402
import speed  # noqa: E402

# documents that stand elsewhere in the repository, and where the site has them
ELSEWHERE = {
    "CHANGELOG.md": "project/changelog.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "README.md": "project/readme.md",
    "benchmarks/README.md": "project/benchmarks.md",
    "examples/README.md": "project/examples.md",
}
LINK = re.compile(r"(?<=\])\((?!https?:|mailto:|#)([^)\s#]+)((?:#[^)\s]*)?)\)")


def place(path: Path) -> Path:
    """Where a file of the repository stands in the site's source, relative to its root."""
    relative = path.relative_to(ROOT).as_posix()
    return Path(ELSEWHERE.get(relative, relative.removeprefix("docs/")))


def with_links(text: str, path: Path) -> str:
    """A document with its links to other documents as they are in the site; other files are named, not linked."""

    def moved(link: re.Match[str]) -> str:
        target = Path(os.path.normpath(path.parent / link[1]))
        inside = target.is_relative_to(DOCS) or (
            target.is_relative_to(ROOT) and target.relative_to(ROOT).as_posix() in ELSEWHERE
        )
        if not inside:
            return "()" if target.is_relative_to(ROOT) else link[0]
        return f"({os.path.relpath(place(target), place(path).parent)}{link[2]})"

    text = LINK.sub(moved, text)
    return re.sub(r"\[([^\]]+)\]\(\)", r"\1", text)


def write(path: Path, text: str) -> None:
    """Write a file unless it says so already: Sphinx reads again what is newer."""
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def prepare(source: Path) -> None:
    """The whole source of the site."""
    pages: dict[Path, str] = {}
    for path in [*sorted(DOCS.rglob("*.md")), *(ROOT / name for name in ELSEWHERE)]:
        pages[place(path)] = with_links(path.read_text(encoding="utf-8"), path)
    pages |= {Path("reference/operations") / name: text for name, text in operations.pages().items()}
    pages |= {Path("reference/interface") / name: text for name, text in interface.pages().items()}
    pages |= {Path("explanation") / name: text for name, text in speed.pages(source / "explanation").items()}
    for old in source.rglob("*.md"):
        if old.relative_to(source) not in pages:
            old.unlink()
    for relative, text in pages.items():
        write(source / relative, text)


def cache_for_this_package(folder: Path) -> Path:
    """Where results of the pages' programs are kept: a folder for each state of the package, only the last one."""
    state = hashlib.sha256()
    for path in sorted((ROOT / "chainrule").rglob("*")):
        if path.suffix in (".py", ".js", ".css", ".html"):
            state.update(path.read_bytes())
    cache = folder / state.hexdigest()[:16]
    for old in folder.glob("*"):
        if old != cache:
            shutil.rmtree(old, ignore_errors=True)
    return cache


def run_sphinx(source: Path, out: Path, jobs: str) -> int:
    """Sphinx; 0 if there was no warning."""
    environment = {**os.environ, "CHAINRULE_DOCS_SOURCE": str(source), "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    environment["CHAINRULE_DOCS_CACHE"] = str(cache_for_this_package(source.parent / "docs-cache"))
    for name in [name for name in environment if name.startswith(("OPENBLAS_", "NVPL_"))]:
        del environment[name]
    options = ["-W", "--keep-going", "-q", "-j", jobs, "-b", "html"]
    places = ["-c", str(DOCS), "-d", str(source.parent / "docs-doctrees"), str(source), str(out)]
    return subprocess.run([sys.executable, "-m", "sphinx", *options, *places], env=environment, check=False).returncode


def copy_pages_made_by_programs(source: Path, out: Path) -> None:
    """What the tutorial's programs saved (`explain(loss).save("page.html")`) goes where the tutorial shows it."""
    for page in source.rglob("*.html"):
        if page.with_suffix(".md").exists():
            raise FileExistsError(f"{page.name} is the name of a page of the site; save it under another")
        shutil.copyfile(page, out / page.relative_to(source))


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "docs", help="where the site goes")
    parser.add_argument("--fresh", action="store_true", help="forget what earlier builds have made")
    parser.add_argument("--jobs", default="auto", help="processes that Sphinx uses")
    options = parser.parse_args()
    began = time.perf_counter()
    out = options.out.resolve()
    source = out.parent / "docs-source"
    if options.fresh:
        for folder in (out, source, out.parent / "docs-doctrees", out.parent / "docs-cache"):
            shutil.rmtree(folder, ignore_errors=True)
    prepare(source)
    status = run_sphinx(source, out, options.jobs)
    if status == 0:
        copy_pages_made_by_programs(source, out)
        print(f"{out / 'index.html'} is made, in {time.perf_counter() - began:.0f} seconds")
    return status


if __name__ == "__main__":
    sys.exit(main())
