"""What a workload is: the same program written for each peer, and the bounds that chainrule must keep.

A workload is one file in ``workloads/`` that defines ``WORKLOAD``, and one line in ``workloads/__init__.py``.
Its programs import what they need inside, so that a worker process holds its own peer and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

BEST_OF_PYTORCH = ("torch1", "torch2")
FIRST_CALLS = ("first_call", "warm_first_call")
COMPILERS = ("jax", "torch_compile", "torch1", "torch2")
"""Whom a compiled program is compared with: the best of them."""


def as_it_is(function: Callable[..., Any]) -> Callable[..., Any]:
    """What a program that compiles nothing does with its functions."""
    return function


@dataclass(frozen=True)
class Program:
    """A peer's program: ``step`` is the work that is timed, ``observe`` what it computed (for the tests, never timed).

    Every program of a workload gives the same names and, to rounding, the same numbers in ``observe()``.
    """

    step: Callable[[], Any]
    observe: Callable[[], dict[str, Any]] = dict
    seconds: Callable[[], float] | None = None
    """Where the clock of a step has to run elsewhere (in a child process): does one step and returns its seconds."""


def pytorch_programs(
    build: Callable[..., Program], compiles: bool = True, torch_compiles: bool = True
) -> dict[str, Callable[[], Program]]:
    """The programs of all peers that run PyTorch's source.

    Args:
        build: takes the library, as the program's `torch`, and where there are compiled forms also `compile_step` and
            `compile_loss`, which make a function a compiled one. PyTorch compiles no `backward()`, only what the loss
            needs of it.
        compiles: whether there are compiled forms.
        torch_compiles: whether PyTorch has one.
    """

    def chainrule() -> Program:
        import chainrule

        return build(chainrule)

    def compiled() -> Program:
        import chainrule

        return build(chainrule, compile_step=chainrule.compile)

    def torch() -> Program:
        import torch

        return build(torch)

    def torch_compile() -> Program:
        import torch

        return build(torch, compile_loss=torch.compile)

    programs = {"chainrule": chainrule, "torch1": torch, "torch2": torch}
    if compiles:
        programs["compiled"] = programs["compiled_numpy"] = compiled
    if compiles and torch_compiles:
        programs["torch_compile"] = torch_compile
    return programs


@dataclass(frozen=True)
class Bound:
    """What must hold: quantity(of) / min(quantity(peer) for peer in against) <= limit; of a difference, with a minus.

    Without ``against`` it is about a number of the report: quantity <= limit.
    """

    limit: float
    against: tuple[str, ...] = ()
    of: str = "chainrule"
    quantity: str = "time"
    """``time`` (of a step; the median of the ratios turn by turn), ``memory`` (peak of the process), ``first_call``
    (with nothing compiled on disk), ``warm_first_call`` (in a later process), or a name that a report gives."""
    difference: bool = False


@dataclass(frozen=True)
class Workload:
    """A title, a program for each peer, and bounds; or, with nobody to compare with, a ``report`` of chainrule alone.

    Args:
        title: one line for the table.
        programs: name of the peer (see ``peers``) to a function that builds its program.
        report: ``report(progress, quick)`` returns named numbers; ``progress(fraction)`` may be called meanwhile.
        units: how the report's numbers are to be read, by name.
        bounds: see ``Bound``.
        in_process: whether a step runs in the worker itself; one that starts other processes needs no calls to warm up,
            and what its worker cost to start says nothing.
        most_rounds: a limit for work that takes seconds a call.
        same_dtype: whether the tests ask all programs for the same dtypes (False where a peer knows one dtype only).
        tolerance: the relative tolerance of that comparison.
    """

    title: str
    programs: Mapping[str, Callable[[], Program]] = field(default_factory=dict)
    report: Callable[[Callable[[float], None], bool], dict[str, float]] | None = None
    units: Mapping[str, str] = field(default_factory=dict)
    bounds: tuple[Bound, ...] = ()
    in_process: bool = True
    most_rounds: int | None = None
    same_dtype: bool = True
    tolerance: float = 1e-4
