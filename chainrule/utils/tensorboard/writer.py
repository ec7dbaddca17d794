"""`SummaryWriter`: tensorboardX's, given tensors of this library."""

from __future__ import annotations

import functools
from typing import Any, NoReturn, Self

from ...core.tensor import Tensor
from ...func.trees import map_leaves

__all__ = ["SummaryWriter"]


class SummaryWriter:
    """Writes scalars, histograms, images, text, ... to a folder that TensorBoard shows.

    Its methods are those of `tensorboardX.SummaryWriter`, which have PyTorch's names; tensors among their arguments are
    given as arrays.

    Args:
        log_dir: the folder; `runs/` with the time and the machine's name if left out.
        comment: appended to that name.
        purge_step: the step from which on earlier events are to be hidden.
        max_queue: how many events to keep before writing.
        flush_secs: how often to write, in seconds.
        filename_suffix: appended to the names of the files.

    Raises:
        ImportError: tensorboardX is not installed.
    """

    def __init__(
        self,
        log_dir: Any = None,
        comment: str = "",
        purge_step: int | None = None,
        max_queue: int = 10,
        flush_secs: int = 120,
        filename_suffix: str = "",
    ) -> None:
        try:
            import tensorboardX
        except ImportError as error:
            raise ImportError(
                "SummaryWriter needs the package tensorboardX, which is not installed: pip install tensorboardX",
                name="tensorboardX",
            ) from error
        self._writer = tensorboardX.SummaryWriter(
            log_dir=None if log_dir is None else str(log_dir),
            comment=comment,
            purge_step=purge_step,
            max_queue=max_queue,
            flush_secs=flush_secs,
            filename_suffix=filename_suffix,
        )

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        value = getattr(self._writer, name)
        if not callable(value):
            return value

        @functools.wraps(value)
        def with_arrays(*args: Any, **kwargs: Any) -> Any:
            return value(*map(as_arrays, args), **{key: as_arrays(each) for key, each in kwargs.items()})

        return with_arrays

    def add_scalar(
        self,
        tag: str,
        scalar_value: Any,
        global_step: int | None = None,
        walltime: float | None = None,
        new_style: bool = False,
        double_precision: bool = False,
    ) -> None:
        """One number. The last two arguments are PyTorch's choices of a format, and make no difference here."""
        if isinstance(scalar_value, Tensor):
            scalar_value = scalar_value.item()
        self._writer.add_scalar(tag, scalar_value, global_step, walltime)

    def add_hparams(
        self,
        hparam_dict: dict[str, Any],
        metric_dict: dict[str, Any],
        hparam_domain_discrete: dict[str, Any] | None = None,
        run_name: str | None = None,
        global_step: int | None = None,
    ) -> None:
        """Hyperparameters and the results they led to.

        Raises:
            NotImplementedError: `hparam_domain_discrete` is given; tensorboardX knows no domains.
        """
        if hparam_domain_discrete is not None:
            raise NotImplementedError("add_hparams: tensorboardX has no hparam_domain_discrete: leave it out")
        numbers = [
            {name: value.item() if isinstance(value, Tensor) else value for name, value in each.items()}
            for each in (hparam_dict, metric_dict)
        ]
        self._writer.add_hparams(*numbers, name=run_name, global_step=global_step)

    def add_graph(self, *args: Any, **kwargs: Any) -> NoReturn:
        """PyTorch's drawing of a traced model; there is no tracer here.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("add_graph needs a traced model, which chainrule does not have: see chainrule.draw")

    def get_logdir(self) -> str:
        """The folder that is written to."""
        return str(self._writer.logdir)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()


def as_arrays(value: Any) -> Any:
    """A value with the tensors in it as NumPy arrays."""
    if isinstance(value, (Tensor, list, tuple, dict)):
        return map_leaves(lambda leaf: leaf.numpy(force=True) if isinstance(leaf, Tensor) else leaf, value)
    return value
