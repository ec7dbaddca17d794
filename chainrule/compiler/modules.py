"""Modules whose forward pass runs as a program."""

from __future__ import annotations

from typing import Any

from ..nn.module import Module
from .compiled import Compiled

__all__ = ["CompiledModule"]


class CompiledModule(Module):
    """A module that computes what another one does, by a compiled program; it has that one's parameters and names.

    >>> import chainrule as cr
    >>> from chainrule.compiler import compile
    >>> line = compile(cr.nn.Linear(2, 1))
    >>> line(cr.ones(3, 2)).shape, [name for name, _ in line.named_parameters()], line.in_features
    ((3, 1), ['weight', 'bias'], 2)
    """

    def __init__(self, module: Module, leave_out: frozenset[str] = frozenset()) -> None:
        super().__init__()
        # not a child: names and state dicts are those of the module itself
        self.__dict__["_orig_mod"] = module
        self.__dict__["compiled"] = Compiled(module, leave_out)
        for name in ("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set"):
            self.__dict__[name] = module.__dict__[name]
        self.__dict__["training"] = module.training

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the program."""
        return self.compiled(*args, **kwargs)

    def train(self, mode: bool = True) -> Any:
        """Put the module in training mode, or with False in evaluation mode."""
        self._orig_mod.train(mode)
        self.__dict__["training"] = mode
        return self

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """The module's own."""
        return self._orig_mod.state_dict(*args, **kwargs)

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Load the module's own."""
        return self._orig_mod.load_state_dict(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        """What the module has, or the compiled function: `source`, `graph`, `stats`."""
        kept = self.__dict__
        if "_orig_mod" not in kept:
            raise AttributeError(name)
        try:
            return getattr(kept["_orig_mod"], name)
        except AttributeError:
            if name.startswith("_"):
                raise
            return getattr(kept["compiled"], name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._orig_mod, name, value)

    def __repr__(self) -> str:
        return f"CompiledModule({self._orig_mod!r})"

    def __reduce__(self) -> Any:
        return CompiledModule, (self._orig_mod, self.compiled.leave_out)
