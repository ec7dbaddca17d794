"""The graph of examples/gpt.py, with small matrices and as many blocks as are wanted."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import chainrule as cr
from chainrule import nn


def a_gpt(layers: int) -> tuple[Any, Any]:
    """The loss, recorded, and the model."""
    sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
    try:
        import gpt
    finally:
        del sys.path[0]
    cr.manual_seed(0)
    model = gpt.GPT(50, 16, layers, 2, 16)
    text = cr.randint(0, 50, (2, 16))
    with cr.explain.recording():
        loss = nn.functional.cross_entropy(model(text).flatten(0, 1), text.flatten())
    return loss, model
