"""Formulas as MathML, which browsers typeset themselves: nothing is loaded from anywhere, screen readers read it."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.errors import ExtensionError


def converted(formula: str, block: bool) -> str:
    """The formula as a `<math>` element.

    Raises:
        ExtensionError: it does not typeset.
    """
    try:
        return str(tex2mathml(formula, as_block=block))
    except Exception as error:
        raise ExtensionError(f"the formula {formula!r} does not typeset: {error}") from error


def inline(translator: Any, node: nodes.math) -> None:
    """`$x$` in a line."""
    translator.body.append(converted(node.astext(), block=False))
    raise nodes.SkipNode


def block(translator: Any, node: nodes.math_block) -> None:
    """A formula on lines of its own; scrolls by itself where it is wider than the page."""
    attributes = {"CLASS": "formula", "tabindex": "0", "role": "group", "aria-label": "formula"}
    translator.body.append(translator.starttag(node, "div", **attributes))
    translator.body.append(converted(node.astext(), block=True))
    translator.body.append("</div>")
    raise nodes.SkipNode


def setup(app: Any) -> dict[str, bool]:
    """Sphinx's entry: `html_math_renderer = "mathml"`."""
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
