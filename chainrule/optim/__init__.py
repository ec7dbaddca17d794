"""Optimisers: change parameters by their gradients. `optimizer.step()` reads `.grad` and writes the parameters' arrays."""

from .adam import Adam, AdamW
from .optimizer import Optimizer
from .sgd import SGD

__all__ = ["SGD", "Adam", "AdamW", "Optimizer"]
