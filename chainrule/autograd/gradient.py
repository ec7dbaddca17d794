"""`grad`, with batches of seeds as well."""

from __future__ import annotations

from typing import Any

from ..core.backprop import as_tuple
from ..core.backprop import grad as gradient
from ..core.tensor import Tensor
from ..func.vmap import vmap

__all__ = ["grad"]


def grad(
    outputs: Any,
    inputs: Any,
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    only_inputs: bool = True,
    allow_unused: bool | None = None,
    is_grads_batched: bool = False,
    materialize_grads: bool = False,
) -> tuple[Any, ...]:
    """The gradients of `outputs`, weighted by `grad_outputs`, with respect to `inputs`; no `.grad` changes.

    Args:
        outputs: a tensor or several.
        inputs: a tensor or several, leaves or intermediate results.
        grad_outputs: for each output a seed of its shape, or None for ones.
        retain_graph: keep the graph for another pass; as `create_graph` if left out.
        create_graph: record the pass, so that the results can be differentiated again.
        only_inputs: PyTorch's deprecated argument; must be true.
        allow_unused: give None for an input that the outputs do not depend on, instead of raising.
        is_grads_batched: the seeds have a further first axis, and so have the gradients: one for each seed, in one
            pass (`func.vmap`).
        materialize_grads: give zeros for an input that the outputs do not depend on.

    Raises:
        RuntimeError: as `backward`, and for an unused input without `allow_unused`.

    >>> import chainrule as cr
    >>> x = cr.tensor([1.0, 2.0], requires_grad=True)
    >>> grad(x * x, x, cr.eye(2), is_grads_batched=True)[0].tolist()
    [[2.0, 0.0], [0.0, 4.0]]
    """
    if not is_grads_batched:
        return gradient(
            outputs, inputs, grad_outputs, retain_graph, create_graph, only_inputs, allow_unused, False,
            materialize_grads,
        )  # fmt: skip
    if grad_outputs is None:
        raise RuntimeError("is_grads_batched: grad_outputs is needed, seeds with a further first axis")
    seeds = (grad_outputs,) if isinstance(grad_outputs, Tensor) else tuple(grad_outputs)
    ends = as_tuple(outputs)
    for end, seed in zip(ends, seeds, strict=True):
        if seed is not None and tuple(seed.shape[1:]) != tuple(end.shape):
            raise RuntimeError(
                "If `is_grads_batched=True`, we interpret the first dimension of each grad_output as the batch "
                f"dimension. The sizes of the remaining dimensions are expected to match: {tuple(seed.shape)} for an "
                f"output of shape {tuple(end.shape)}"
            )

    def one(*seeds: Any) -> tuple[Any, ...]:
        return gradient(
            ends, inputs, seeds, retain_graph, create_graph, only_inputs, allow_unused, False, materialize_grads
        )

    found: tuple[Any, ...] = vmap(one)(*seeds)
    return found
