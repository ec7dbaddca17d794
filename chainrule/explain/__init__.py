"""What the engine did, shown: the graph of a tensor as a drawing."""

from .drawing import Drawing, draw

__all__ = ["Drawing", "draw"]
