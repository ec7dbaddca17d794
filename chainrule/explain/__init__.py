"""What the engine did, shown: `explain(loss)` tells the backward pass, `draw` draws the graph, `why` names causes.

The room itself can be called: `chainrule.explain(loss)` is `chainrule.explain.explain(loss)`. `with recording():` makes
operations remember their line and their module.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from .drawing import Drawing, draw
from .explanation import Explanation, explain
from .flow import GradientFlow, gradient_flow
from .names import name
from .reasons import Answer, why
from .record import Recording, recording

__all__ = [
    "Answer",
    "Drawing",
    "Explanation",
    "GradientFlow",
    "Recording",
    "draw",
    "explain",
    "gradient_flow",
    "name",
    "recording",
    "why",
]


class _Room(ModuleType):
    """A module that is also its main function."""

    def __call__(self, *args: Any, **kwargs: Any) -> Explanation:
        return explain(*args, **kwargs)


sys.modules[__name__].__class__ = _Room
