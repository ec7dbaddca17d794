"""The way back: from the end node through every recipe to the leaves.

`run` is the whole engine. It sorts the graph, starts from the seeds, and at each node calls the table's backward
functions, adding up what arrives at each earlier node. Leaves get their gradients at the very end, all together, so an
error on the way changes nothing. Given `create_graph`, the same functions are called on Tensors instead of arrays, and
the backward pass is itself recorded.

Complex gradients are PyTorch's (a step along -grad lowers the loss). Inside they travel conjugated, which lets every
backward function be written as for real numbers; `outside` conjugates where they enter and leave.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Any

import numpy as np

from . import tensor as tensor_module
from .forward import Several, output_node, wrapped_array
from .grad_mode import OFF, check_nan, mode, recording_mode, tracing
from .levels import LEVELS, PLAIN, gradient_fitter
from .recipe import CLOCK, FREED, Extra, Leaf, Overwritten, Recipe, Storage
from .sort import topological_sort
from .table import ADDS_TO, BACK_FUNCS, CALLED_AGAIN, name_of
from .tensor import Alias, Tensor, as_array, is_array, make_tensor, storage_of
from .tracing import back_functions
from .views import note_writes

__all__ = ["backprop", "backward", "grad"]

Node = Recipe | Leaf
edges_of = attrgetter("_edges")
NOTHING: dict[int, Any] = {}


class _Ends:
    """The root above several end nodes."""

    __slots__ = ("_edges",)

    def __init__(self, nodes: Iterable[Node]) -> None:
        self._edges = tuple(nodes)


# ---- the public calls --------------------------------------------------------------------------------------------


def backprop(end_node: Tensor, end_grad: Any = None) -> None:
    """The notes' call: propagate from `end_node`, seeded with `end_grad` or ones, and accumulate in the leaves."""
    backward(end_node, end_grad)


def backward(
    tensors: Any,
    grad_tensors: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Any = None,
) -> None:
    """Accumulate in the `.grad` of leaves the sum of the gradients of `tensors`, each weighted by its seed.

    Args:
        tensors: a tensor or several.
        grad_tensors: for each tensor a seed of its shape, or None for ones.
        retain_graph: keep the graph for another pass; as `create_graph` if left out.
        create_graph: record the backward pass.
        inputs: the only tensors whose `.grad` is filled; may be intermediate results.

    Raises:
        RuntimeError: a tensor requires no grad, a seed has another shape, the graph was freed, or a saved array was
            overwritten. No `.grad` has changed then.
        KeyError: an operation on the way has no backward function.
    """
    if LEVELS.get():
        raise RuntimeError(
            "backward() inside a function under vmap: a leaf's .grad holds one gradient, but there is one for each "
            "sample. Use autograd.grad or func.grad, or call backward() on the result of vmap"
        )
    ends = as_tuple(tensors)
    seeds = seeds_for(ends, grad_tensors, create_graph)
    wanted = None if inputs is None else as_tuple(inputs)
    if wanted is not None and not wanted:
        raise RuntimeError("`inputs` argument to `backward` cannot be empty")
    retain = create_graph if retain_graph is None else retain_graph
    pairs: list[tuple[Tensor | None, Any, Node]]
    if wanted is None:
        pairs = run(ends, seeds, None, retain, create_graph)[1]
    else:
        nodes = [node_for(t, i) for i, t in enumerate(wanted)]
        found = run(ends, seeds, nodes, retain, create_graph)[0]
        pairs = [(t, found.pop(n), n) for t, n in zip(wanted, nodes, strict=True) if n in found and not kept_by(t, n)]
    deliver(pairs, create_graph)


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
        materialize_grads: give zeros for such an input.

    Raises:
        RuntimeError: as `backward`, and for an unused input without `allow_unused`.

    >>> import chainrule as cr
    >>> x = cr.tensor(3.0, requires_grad=True)
    >>> first, = cr.autograd.grad(x ** 3, x, create_graph=True)
    >>> second, = cr.autograd.grad(first, x)
    >>> first.item(), second.item()
    (27.0, 18.0)
    """
    if not only_inputs:
        raise NotImplementedError("only_inputs=False: use backward, which fills the .grad of leaves")
    if is_grads_batched:
        raise NotImplementedError("is_grads_batched: use chainrule.autograd.grad")
    ends, wanted = as_tuple(outputs), as_tuple(inputs)
    seeds = seeds_for(ends, grad_outputs, create_graph)
    nodes = [node_for(t, i) for i, t in enumerate(wanted)]
    retain = create_graph if retain_graph is None else retain_graph
    if allow_unused is None:
        allow_unused = materialize_grads
    elif materialize_grads and not allow_unused:
        raise ValueError(
            "Expected allow_unused to be True or not passed when materialize_grads=True, but got: allow_unused=False."
        )
    found = run(ends, seeds, nodes, retain, create_graph)[0]
    results: list[Tensor | None] = []
    for i, (tensor, node) in enumerate(zip(wanted, nodes, strict=True)):
        gradient = found.get(node)
        if gradient is not None:
            result = as_gradient(gradient, tensor, create_graph)
            if not create_graph:
                result.array = own(result.array)
            results.append(result)
        elif materialize_grads:
            results.append(make_tensor(np.zeros_like(tensor.array), None))
        elif allow_unused:
            results.append(None)
        else:
            raise RuntimeError(
                f"One of the differentiated Tensors appears to not have been used in the graph: input {i} of shape "
                f"{tensor.shape}. Set allow_unused=True if this is the desired behavior."
            )
    return tuple(results)


tensor_module.run_backward = backward


# ---- the engine --------------------------------------------------------------------------------------------------


def run(
    ends: Sequence[Tensor], seeds: list[Any], wanted: Sequence[Node] | None, retain: bool, create: bool
) -> tuple[dict[Node, Any], list[tuple[Tensor | None, Any, Node]]]:
    """Propagate the seeds.

    Args:
        ends: the tensors to start from.
        seeds: their gradients: arrays, or Tensors with `create`.
        wanted: the nodes whose gradients are asked for; None for all leaves.
        retain: leave the recipes as they are.
        create: call the backward functions on Tensors.

    Returns:
        The gradients at the wanted nodes; and where `wanted` is None the leaves' tensors, gradients and nodes.
    """
    grads: dict[Node, Any] = {}
    nodes = []
    for end, seed in zip(ends, seeds, strict=True):
        start = end.node()
        assert start is not None
        nodes.append(start)
        grads[start] = grads[start] + seed if start in grads else seed
    targets = frozenset(wanted or ())
    only = wanted[0] if wanted and len(targets) == 1 else None  # nothing that lies beyond it matters, freed or not
    children = edges_of if only is None else lambda node: () if node is only else node._edges
    order: list[Any] = topological_sort(nodes[0] if len(nodes) == 1 else _Ends(nodes), children)
    if len(nodes) > 1:
        order.pop()
    needed = None if wanted is None else on_the_way(order, wanted)
    captured: dict[Node, Any] = {}
    arrived: list[tuple[Tensor | None, Any, Node]] = []
    retained: list[tuple[Any, Any]] = []
    found = back_functions.get()
    anomaly = tracing.get()
    refuse_nan = anomaly and check_nan.get()
    node: Any = None
    token = mode.set(recording_mode() if create else OFF)
    try:
        while order:
            node = order.pop()
            gradient = grads.pop(node, None)
            if gradient is None:  # nothing wanted lies beyond it: it stays as it is, for other passes
                continue
            extra = node._extra
            if extra is not None and type(gradient) is not Several:
                gradient = call_hooks(extra, gradient, retained, create)
            if targets and node in targets:
                captured[node] = gradient
            if type(node) is Leaf:
                arrived.append((node.tensor(), gradient, node))
                continue
            if node is only:
                continue
            edges = node._edges
            if needed is not None and needed.isdisjoint(edges):
                continue
            func = node._func
            args = node._args
            kwargs = node._kwargs
            out = node._out
            if node._saved_at != CLOCK.now:
                args, out = still_saved(node)
            if create:
                args, out = as_tensors(node, args, out)
            if type(gradient) is Several and not hasattr(func, "joint_backward"):
                gradient = Several(
                    (make_tensor(np.zeros_like(o), None) if create else np.zeros_like(o)) if g is None else g
                    for g, o in zip(gradient, node._out, strict=True)
                )
            fit = None if type(node._out) in PLAIN else gradient_fitter(node._out)
            backs = found.get(func) or NOTHING
            joint = None
            position = -1
            for edge in edges:
                position += 1
                if edge is None or (needed is not None and edge not in needed):
                    continue
                back = backs.get(position)
                earlier = grads.get(edge)
                if earlier is not None and back in ADDS_TO and type(earlier) is type(gradient) is np.ndarray:
                    contribution = None
                    if (
                        sys.getrefcount(earlier) <= UNSHARED_SUM
                        and earlier.base is None
                        and earlier.dtype is gradient.dtype
                        and not refuse_nan
                        and fit is None
                        and ADDS_TO[back](earlier, gradient, out, *args, **kwargs)
                    ):
                        continue
                if back is not None:
                    contribution = back(gradient, out, *args, **kwargs) if kwargs else back(gradient, out, *args)
                elif hasattr(func, "joint_backward"):  # one call computes the gradients of all arguments
                    if joint is None:
                        joint = func.joint_backward(gradient, create, node, retain)
                    contribution = joint[position]
                else:
                    back = BACK_FUNCS.get_back_func(func, position)
                    contribution = back(gradient, out, *args, **kwargs)
                    backs = found[func]
                if contribution is None:
                    continue
                if fit is not None:
                    contribution = fit(contribution, node._args[position])
                try:
                    right = contribution.shape == args[position].shape
                except AttributeError:
                    right = False
                if not right:
                    contribution = checked_shape(func, position, contribution, args[position])
                if refuse_nan:
                    check_numbers(node, position, contribution)
                grads[edge] = contribution if earlier is None else earlier + contribution
            if not retain:
                node._args = node._inputs = ()  # as `release`
                node._out = None
                node._edges = FREED
    except Exception as error:
        if anomaly and node._extra is not None and node._extra.trace and "It was called here" not in str(error):
            name = name_of(node._func)
            error.add_note(f"The operation whose backward failed, {name}, was called here:\n{node._extra.trace}")
        raise
    finally:
        mode.reset(token)
    for reference, gradient in retained:
        tensor = reference()
        if tensor is not None:
            result = as_gradient(gradient, tensor, create)
            tensor._grad = result if tensor._grad is None else tensor._grad + result
    return captured, arrived


def release(node: Recipe) -> None:
    """Free what a recipe saved."""
    node._args = node._inputs = ()
    node._out = None
    node._edges = FREED


def on_the_way(order: list[Any], wanted: Sequence[Node]) -> set[Node]:
    """The nodes on a path from the end to a wanted node; `order` has children first."""
    needed: set[Node] = set(wanted)
    for node in order:
        if node not in needed:
            for edge in node._edges:
                if edge in needed:
                    needed.add(node)
                    break
    return needed


def storage_behind(value: Any) -> Storage | None:
    """The storage of a saved argument, if its memory was ever shared or written."""
    if not isinstance(value, Tensor):
        return None
    if value._alias is not None:
        return value._alias.storage
    node = value._node
    if isinstance(node, Recipe) and node._out is value.array and node._extra is not None:
        return node._extra.out_storage
    return None


def still_saved(node: Recipe) -> tuple[tuple[Any, ...], Any]:
    """The recipe's arguments and result; a stand-in that raises when its values are used for what was overwritten."""
    args = node._args
    for i, value in enumerate(node._inputs):
        storage = storage_behind(value)
        if storage is not None and storage.written > node._saved_at:
            message = overwritten_message(node, f"argument {i}", args[i], storage)
            args = (*args[:i], Overwritten(args[i], message), *args[i + 1 :])
    out = node._out
    extra = node._extra
    if extra is None:
        return args, out
    if extra.out_storage is not None and extra.out_storage.written > node._saved_at:
        if node._func in CALLED_AGAIN and args is node._args:
            out = node._func(*args, **node._kwargs)
        else:
            out = Overwritten(out, overwritten_message(node, "its result", out, extra.out_storage))
    elif any(storage.written > node._saved_at for storage in extra.out_storages):
        out = Several(
            Overwritten(array, overwritten_message(node, f"its result {i}", array, storage))
            if storage.written > node._saved_at
            else array
            for i, (array, storage) in enumerate(zip(out, extra.out_storages, strict=True))
        )
    return args, out


def overwritten_message(node: Recipe, what: str, array: Any, storage: Storage) -> str:
    return (
        "one of the variables needed for gradient computation has been modified by an inplace operation: "
        f"{name_of(node._func)} saved {what} of shape {tuple(array.shape)}, and {storage.operation} wrote to it at "
        f"{storage.line}. Write to a clone(), or use the out-of-place operation."
    )


def as_tensors(node: Recipe, args: tuple[Any, ...], out: Any) -> tuple[tuple[Any, ...], Any]:
    """The recipe's arguments and result as tensors that lead back into the graph, for a recorded backward pass."""
    converted = list(args)
    for i, edge in enumerate(node._edges):
        if isinstance(args[i], (Overwritten, Several)):
            continue
        given = node._inputs[i]
        if edge is None:
            if isinstance(given, Tensor) and is_array(args[i]):  # so that a write to it is noticed in the next pass
                converted[i] = make_tensor(args[i], None, Alias(storage_of(given)))
        elif isinstance(given, Tensor) and given.node() is edge:
            converted[i] = given
        else:
            storage = storage_behind(given)
            converted[i] = make_tensor(wrapped_array(args[i], ()), edge, None if storage is None else Alias(storage))
    if isinstance(out, Several):
        out = tuple(
            array if isinstance(array, Overwritten) else make_tensor(array, output_node(node, i))
            for i, array in enumerate(out)
        )
    elif not isinstance(out, Overwritten):
        out = make_tensor(wrapped_array(out, ()), node)
    return tuple(converted), out


def checked_shape(func: Any, position: int, contribution: Any, arg: Any) -> Any:
    """A gradient that is a plain number is made an array; one of the wrong shape is refused.

    Raises:
        RuntimeError: names the function and both shapes.
    """
    shape = getattr(arg, "shape", None)
    if shape is None:  # an operation's several outputs, or an object that is no array
        return contribution
    if isinstance(contribution, (int, float, complex)):
        contribution = np.asarray(contribution, dtype=arg.dtype)
    have = getattr(contribution, "shape", None)
    if have is None or tuple(have) != tuple(shape):
        given = type(contribution).__name__ if have is None else f"shape {tuple(have)}"
        raise RuntimeError(
            f"Function {name_of(func)} returned an invalid gradient at index {position} - got {given} but expected "
            f"shape compatible with {tuple(shape)}"
        )
    return contribution


def check_numbers(node: Recipe, position: int, contribution: Any) -> None:
    """Anomaly mode: refuse NaN.

    Raises:
        RuntimeError: names the operation and shows where it was called.
    """
    parts = contribution if isinstance(contribution, Several) else (contribution,)
    for part in parts:
        array = part.array if isinstance(part, Tensor) else part
        while gradient_fitter(array) is not None:  # under vmap: all samples' values
            array = array.values
        if array is not None and np.any(np.isnan(array)):
            where = node._extra.trace if node._extra is not None else None
            text = (
                f" It was called here:\n{where}"
                if where
                else " Make the forward pass inside detect_anomaly() to see its line."
            )
            raise RuntimeError(
                f"Function '{name_of(node._func)}' returned nan values in its {position}th output.{text}"
            )


def call_hooks(extra: Extra, gradient: Any, retained: list[tuple[Any, Any]], create: bool) -> Any:
    if extra.hooks:
        for hook in list(extra.hooks.values()):
            given = outside(
                gradient if create else make_tensor(np.asarray(gradient) if np.isscalar(gradient) else gradient, None)
            )
            replaced = hook(given)
            if replaced is not None:
                if not isinstance(replaced, Tensor):
                    raise TypeError(f"a hook returns a Tensor or None, this one returned {type(replaced).__name__}")
                if tuple(replaced.shape) != tuple(given.shape):
                    raise RuntimeError(
                        f"a hook was given a gradient of shape {tuple(given.shape)}, returned {tuple(replaced.shape)}"
                    )
                replaced = outside(replaced)
                gradient = replaced if create else replaced.array
    if extra.retained is not None:
        retained.append((extra.retained, gradient))
    return gradient


# ---- where gradients enter and leave -----------------------------------------------------------------------------


def as_tuple(tensors: Any) -> tuple[Tensor, ...]:
    return (tensors,) if isinstance(tensors, Tensor) else tuple(tensors)


def node_for(tensor: Tensor, index: int) -> Node:
    if not isinstance(tensor, Tensor):
        raise TypeError(f"input {index} must be a Tensor, got {type(tensor).__name__}")
    node = tensor.node()
    if node is None:
        raise RuntimeError(
            "One of the differentiated Tensors does not require grad: set requires_grad=True before it is used"
        )
    return node


def kept_by(tensor: Tensor, node: Node) -> bool:
    """Whether the tensor is one that keeps its gradient, so that `run` has added to its `.grad` already."""
    return node._extra is not None and node._extra.retained is not None and node._extra.retained() is tensor


def outside(gradient: Any) -> Any:
    """Between a gradient as users see it and as it travels: the conjugate, for complex numbers."""
    return np.conjugate(gradient) if gradient.dtype.kind == "c" else gradient


def seeds_for(ends: tuple[Tensor, ...], given: Any, create: bool) -> list[Any]:
    """A seed for each end: what was given, or ones.

    Raises:
        RuntimeError: an end requires no grad, a seed's shape differs from its end's, or one of them is complex.
    """
    if given is None:
        return [seed_for(i, end, None, create) for i, end in enumerate(ends)]
    if isinstance(given, (Tensor, np.ndarray)) or np.isscalar(given):
        given = (given,)
    if len(given) != len(ends):
        raise RuntimeError(f"got {len(ends)} tensors and {len(given)} gradients")
    return [seed_for(i, end, seed, create) for i, (end, seed) in enumerate(zip(ends, given, strict=True))]


def seed_for(i: int, end: Tensor, seed: Any, create: bool) -> Any:
    if not isinstance(end, Tensor):
        raise TypeError(f"expected a Tensor to start from, got {type(end).__name__}")
    if end.node() is None:
        raise RuntimeError(
            f"element {i} of tensors does not require grad and does not have a grad_fn: make a tensor it is "
            "computed from with requires_grad=True, and compute it where recording is on"
        )
    array = end.array
    if seed is None:
        if type(array) is not np.ndarray:
            seed = np.ones_like(array)
        else:
            seed = np.ones(array.shape, array.dtype) if array.ndim or create else array.dtype.type(1)
        return make_tensor(seed, None) if create else seed
    if not isinstance(seed, Tensor):
        seed = make_tensor(seed if is_array(seed) else as_array(seed), None)
    if tuple(seed.shape) != tuple(array.shape):
        raise RuntimeError(
            f"Mismatch in shape: grad_output[{i}] has a shape of {tuple(seed.shape)} and output[{i}] has a "
            f"shape of {tuple(array.shape)}"
        )
    if seed.array.dtype != array.dtype:
        if (seed.array.dtype.kind == "c") != (array.dtype.kind == "c"):
            raise RuntimeError(
                "For complex Tensors, both grad_output and output are required to have the same dtype. "
                f"Mismatch in dtype: grad_output[{i}] has a dtype of {seed.dtype} and output[{i}] has a dtype "
                f"of {end.dtype}"
            )
        seed = make_tensor(seed.array.astype(array.dtype), None)
    return outside(seed if create else seed.array)


def as_gradient(gradient: Any, tensor: Tensor, create: bool) -> Tensor:
    """A gradient as its tensor's `.grad`: the tensor's type, PyTorch's conjugation, a Tensor."""
    wanted = tensor.array.dtype
    if isinstance(gradient, Tensor):
        if gradient.array.dtype != wanted:
            from .forward import cast

            gradient = cast(gradient, wanted)
        gradient = outside(gradient)
        return gradient if create else gradient.detach()  # type: ignore[no-any-return]
    if isinstance(gradient, np.generic):
        gradient = np.asarray(gradient)
    if gradient.dtype is not wanted and gradient.dtype != wanted:
        if gradient.dtype.kind == "c" and wanted.kind != "c":
            gradient = np.real(gradient)
        gradient = gradient.astype(wanted)
    return make_tensor(outside(gradient), None)


def own(array: Any) -> Any:
    """The array itself if nobody else holds it or its memory, else a copy: gradients are added to in place."""
    if type(array) is not np.ndarray:
        return array.copy() if is_array(array) else np.asarray(array)
    if array.base is None and array.flags.c_contiguous:
        return array
    return array.copy()


def deliver(pairs: list[tuple[Tensor | None, Any, Node]], create: bool) -> None:
    """Add gradients to `.grad`: all conversions first, so that an error leaves every `.grad` as it was.

    Arrays that nobody but `pairs` holds are taken over.
    """
    ready = []
    written = []
    while pairs:
        tensor, gradient, node = pairs.pop()
        if tensor is None or tensor._node is None:  # gone, or frozen since
            continue
        if (
            type(gradient) is np.ndarray
            and gradient.dtype is tensor.array.dtype
            and gradient.dtype.kind == "f"
            and gradient.base is None
            and sys.getrefcount(gradient) <= UNSHARED
            and gradient.flags.c_contiguous
        ):  # nothing to convert, and nobody else holds it
            result = make_tensor(gradient, None)
        else:
            result = as_gradient(gradient, tensor, create)
            if not create:
                result.array = result.array.copy() if result.array is gradient else own(result.array)
        have = tensor._grad
        if have is not None:
            if have.array.shape != result.array.shape:
                raise RuntimeError(
                    f"a gradient of shape {tuple(result.array.shape)} cannot be added to the .grad that is there, of "
                    f"shape {tuple(have.array.shape)}: assign a .grad of the tensor's shape, or None"
                )
            written.append(have)
        ready.append((tensor, result, node))
    if written and not create:
        note_writes(written, "backward")  # a graph may have saved them
    for tensor, result, node in reversed(ready):
        if tensor._grad is None:
            tensor._grad = result
        elif create or tensor._grad.requires_grad:
            tensor._grad = tensor._grad + result
        else:
            tensor._grad.array = add_to(tensor._grad.array, result.array)
        if node._extra is not None and node._extra.post_hooks:
            for hook in list(node._extra.post_hooks.values()):
                hook(tensor)


def add_to(total: Any, more: Any) -> Any:
    if isinstance(total, np.ndarray) or hasattr(type(total), "write"):  # a tracer: other gradients may be views of it
        return np.add(total, more, out=total)
    return total + more


def _measure() -> int:
    """What `deliver` reads of the reference count of an array that nobody else holds, on this interpreter."""
    gradient = np.empty(1)
    pairs = [(None, gradient, None)]
    del gradient
    _, gradient, _ = pairs.pop()
    return sys.getrefcount(gradient)


def _measure_sum() -> int:
    """What `run` reads of the reference count of a sum that nobody else holds."""
    sums = {0: np.empty(1)}
    earlier = sums.get(0)
    return sys.getrefcount(earlier)


UNSHARED = _measure()
UNSHARED_SUM = _measure_sum()
