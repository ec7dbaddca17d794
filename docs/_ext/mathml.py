"""Formulas as MathML, which browsers typeset and read aloud themselves: nothing is loaded from anywhere.

It is the converter with which the package's own pages are made. Here it is strict: what it does not know is an error.
"""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from sphinx.errors import ExtensionError

from chainrule.explain.mathml import mathml, typeset

BOXED = re.compile(r"\s*\\boxed\{(.*)\}\s*", re.DOTALL)


def converted(formula: str, block: bool = False) -> str:
    r"""The formula as a `<math>` element.

    Raises:
        ExtensionError: it does not typeset.

    >>> print(converted("x^2"))
    <math><mrow><msup><mi>x</mi><mn>2</mn></msup></mrow></math>
    """
    text = mathml(typeset(" ".join(formula.split())), block)
    if "\\" in text:
        raise ExtensionError(f"the formula {formula!r} does not typeset: {text}")
    return text


def inline(translator: Any, node: nodes.math) -> None:
    """`$x$` in a line."""
    translator.body.append(converted(node.astext()))
    raise nodes.SkipNode


def block(translator: Any, node: nodes.math_block) -> None:
    """A formula on lines of its own; it scrolls by itself where it is wider than the page."""
    boxed = BOXED.fullmatch(node.astext())
    kind = "formula boxed" if boxed else "formula"
    translator.body.append(translator.starttag(node, "div", CLASS=kind, tabindex="0", role="group"))
    translator.body.append(converted(boxed[1] if boxed else node.astext(), block=True))
    translator.body.append("</div>")
    raise nodes.SkipNode


def setup(app: Any) -> dict[str, bool]:
    """Sphinx's entry: `html_math_renderer = "mathml"`."""
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
