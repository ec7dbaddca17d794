"""Stands for a program's main module in the worker processes of `chainrule run` that start afresh."""

from __future__ import annotations

from .run import respawn

globals().update({name: value for name, value in respawn().items() if not name.startswith("__")})
