"""`{interactive} page.html`: a page that the document's own code has saved, shown in a frame, with a link to it."""

from __future__ import annotations

import html
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import Directive, directives


class Interactive(Directive):
    """The directive."""

    required_arguments = 1
    option_spec: ClassVar[dict[str, Any]] = {"title": directives.unchanged_required}

    def run(self) -> list[nodes.Node]:
        """The frame as HTML."""
        page = html.escape(self.arguments[0], quote=True)
        title = html.escape(self.options["title"], quote=True)
        text = (
            f'<figure class="interactive"><iframe src="{page}" title="{title}" loading="lazy"></iframe>'
            f'<figcaption><a href="{page}">On a page of its own</a></figcaption></figure>'
        )
        return [nodes.raw("", text, format="html")]


def setup(app: Any) -> dict[str, bool]:
    """Sphinx's entry."""
    app.add_directive("interactive", Interactive)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
