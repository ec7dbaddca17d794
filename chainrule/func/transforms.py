"""Functions of functions: gradients, Jacobians, Hessians and products with them.

All of them run the given function once on tensors and then ask the engine (`core.backprop`). The graph itself keeps the
levels of nested transforms apart: each call makes new nodes for the arguments it differentiates, and records its own
backward pass where anything outside could want to differentiate the result. A product with the Jacobian from the right
(`jvp`, `jacfwd`) is the derivative of the product from the left, so no rule is written twice (J. Townsend, "A new trick
for calculating Jacobian vector products", 2017).

Arguments may be NumPy arrays, Tensors, Python floats, or nested lists, tuples and dicts of them. Arrays give arrays of
their own element type, Tensors give Tensors; a Tensor comes back for arrays too where the result depends on a tensor
from outside that requires grad, since that gradient would be lost otherwise.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np

from ..core.backprop import grad as engine_grad
from ..core.forward import cast
from ..core.grad_mode import enable_grad, is_grad_enabled
from ..core.recipe import Leaf
from ..core.tensor import Tensor, is_array, make_tensor
from .batched import ArraysNeeded
from .trees import Structure, flatten, leaf_paths, map_leaves, unflatten
from .vmap import vmap

__all__ = [
    "functionalize",
    "grad",
    "grad_and_value",
    "hessian",
    "hvp",
    "jacfwd",
    "jacrev",
    "jvp",
    "linearize",
    "value_and_grad",
    "vjp",
]

Argnums = int | tuple[int, ...]


# ---- one run of a function ---------------------------------------------------------------------------------------


class Run:
    """One run of a function on tensors, ready to be differentiated.

    Attributes:
        given: the values that are differentiated, as the caller gave them.
        structure: the tree that they come from, and that results have.
        inputs: their tensors, whose nodes are this run's own.
        outputs: the tensors that the function returned.
        out_structure: the tree that it returned them in.
        aux: what it returned beside them.
        external: whether tensors from outside that require grad are involved, as arguments or inside the function.
        recorded: whether results may be differentiated further by the caller.
        raw: whether the caller gave no Tensor at all, and so gets arrays.
    """

    def __init__(
        self,
        name: str,
        func: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        argnums: Argnums,
        has_aux: bool,
    ) -> None:
        self.name = name
        chosen, positions = choose(name, args, argnums)
        self.given, self.structure = flatten(chosen)
        if not self.given:
            raise RuntimeError(f"{name}: the arguments to differentiate (argnums={argnums}) hold no values")
        self.raw = not any(isinstance(value, Tensor) for value in flatten((args, kwargs))[0])
        paths = leaf_paths(self.structure)
        lifted = [lift(name, value, path) for value, path in zip(self.given, paths, strict=True)]
        self.inputs = [make_tensor(t.array, t._node) if t.recipe is not None else t for t in lifted]
        self.leaves = [(t._node, t._node.tensor) for t in lifted if isinstance(t._node, Leaf)]
        trees = unflatten(self.structure, lifted)
        replaced = list(args)
        for position, tree in zip(positions, (trees,) if isinstance(argnums, int) else trees, strict=True):
            replaced[position] = tree
        with enable_grad():
            result = func(*replaced, **kwargs)
        self.aux = None
        if has_aux:
            if not (isinstance(result, tuple) and len(result) == 2):
                raise RuntimeError(
                    f"{name}: with has_aux=True the function must return a tuple (output, aux), got {described(result)}"
                )
            result, self.aux = result
        self.outputs, self.out_structure = flatten(result)
        for i, output in enumerate(self.outputs):
            if is_array(output):  # a constant: a Tensor that requires grad never becomes an array by itself
                self.outputs[i] = make_tensor(output, None)
            elif not isinstance(output, Tensor):  # float(x) may have lost the gradient
                raise TypeError(
                    f"{name}: the function must return Tensors computed from its arguments, got {described(output)}: "
                    "use NumPy's or chainrule's functions instead of math.*, float() or item(), which lose the gradient"
                )
        own = {t.node() for t in self.inputs}
        self.external = any(t.recipe is not None for t in self.inputs) or depends_on_others(
            [x.node() for x in (*self.outputs, *flatten(self.aux)[0]) if isinstance(x, Tensor)], own
        )
        self.recorded = self.external and is_grad_enabled()

    def __enter__(self) -> Self:
        """While a result is computed, the arguments count as tensors that somebody may want a gradient for."""
        for node, reference in self.leaves:
            node.tensor = reference
        return self

    def __exit__(self, *_: object) -> None:
        """Afterwards they do not, although recorded results may still lead to them."""
        for node, _reference in self.leaves:
            node.tensor = nobody  # type: ignore[assignment]

    def scalar(self) -> Tensor:
        """The function's one output, a real number.

        Raises:
            RuntimeError: it returned something else.
        """
        if self.out_structure.size != 1 or self.out_structure.children:
            raise RuntimeError(
                f"{self.name}: the function must return one scalar, got {self.out_structure}: "
                "use jacrev, or has_aux=True for a function that returns (value, anything else)"
            )
        output: Tensor = self.outputs[0]
        if output.ndim:
            raise RuntimeError(
                f"{self.name}: the function must return a scalar, of shape (), got shape {output.shape}: "
                "use jacrev for its Jacobian, or sum it"
            )
        if output.array.dtype.kind == "c":
            raise RuntimeError(
                f"{self.name}: the function must return a real scalar, got {output.dtype}: take np.real or np.abs of "
                "it, or use vjp"
            )
        return output

    def refuse_complex(self) -> None:
        """Jacobians are those of real functions.

        Raises:
            RuntimeError: an input or an output is complex.
        """
        for what, tensors in (("input", self.inputs), ("output", self.outputs)):
            for i, tensor in enumerate(tensors):
                if tensor.array.dtype.kind == "c":
                    raise RuntimeError(
                        f"{self.name}: expected real inputs and outputs, but {what} {i} is {tensor.dtype}: use vjp or "
                        "jvp, or split it into real and imaginary part"
                    )

    def pull(self, seeds: Sequence[Any], create: bool, retain: bool) -> Sequence[Tensor | None]:
        """The gradients of the outputs, weighted by seeds, at the inputs; None where there is none."""
        return gradients(self.outputs, self.inputs, seeds, create, retain)

    def result(self, gradient: Any, given: Any) -> Any:
        """A gradient or Jacobian as the caller gets it, given the value that it belongs to."""
        return handed_out(gradient, isinstance(given, Tensor), self.recorded, not isinstance(given, np.ndarray))

    def like_inputs(self, found: Sequence[Any]) -> Any:
        """A gradient for each input, None meaning zero, in the inputs' tree."""
        filled = [zeros_for(t) if g is None else g for g, t in zip(found, self.inputs, strict=True)]
        return unflatten(self.structure, map(self.result, filled, self.given))

    def values(self, tree: Any) -> Any:
        """What the function returned, as the caller gets it."""
        return map_leaves(
            lambda x: handed_out(x, not self.raw, self.recorded, True) if isinstance(x, Tensor) else x, tree
        )

    def output(self) -> Any:
        return self.values(unflatten(self.out_structure, self.outputs))

    def with_aux(self, *results: Any, has_aux: bool) -> Any:
        """The results, and what the function returned beside its output if asked for."""
        if has_aux:
            results = (*results, self.values(self.aux))
        return results if len(results) > 1 else results[0]


def choose(name: str, args: tuple[Any, ...], argnums: Argnums) -> tuple[Any, list[int]]:
    """The arguments at `argnums`: one, or a tuple of them; and their positions."""
    wanted = (argnums,) if isinstance(argnums, int) else tuple(argnums)
    positions = []
    for number in wanted:
        if not isinstance(number, int):
            raise TypeError(f"{name}: argnums must be an int or a tuple of ints, got {argnums!r}")
        if not -len(args) <= number < len(args):
            raise RuntimeError(
                f"{name}: argnums={argnums}, but the function was called with {len(args)} positional arguments"
            )
        positions.append(number % len(args))
    if len(set(positions)) != len(positions):
        raise RuntimeError(f"{name}: argnums={argnums} names an argument more than once")
    chosen = tuple(args[i] for i in positions)
    return (chosen[0] if isinstance(argnums, int) else chosen), positions


def lift(name: str, value: Any, path: str) -> Tensor:
    """A value as a tensor with a node of its own, connected to the value's graph if it has one.

    Raises:
        RuntimeError: it is not of a floating or complex type.
        TypeError: it is no number or array.
    """
    if isinstance(value, Tensor):
        if value.array.dtype.kind in "fc" and is_grad_enabled() and value.requires_grad:
            copy: Any = np.positive(value)
            return copy  # type: ignore[no-any-return]
        array = value.array
    elif is_array(value):
        array = value
    elif isinstance(value, (bool, int, float, complex, np.generic)):
        array = np.asarray(value)
    else:
        raise TypeError(f"{name}: the argument{path} is {described(value)}; expected an array, a Tensor or a float")
    if array.dtype.kind not in "fc":
        raise RuntimeError(
            f"{name}: only arguments of floating point and complex type have gradients, but the argument{path} is "
            f"{described(value)}: write 3.0 for 3, convert with astype(float), or leave it out of argnums"
        )
    return make_tensor(array, None).requires_grad_()


def described(value: Any) -> str:
    """A value in a message: type, and shape and element type or the value itself."""
    kind = type(value).__name__
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return f"{kind} of shape {tuple(value.shape)} and type {value.dtype}"
    return f"{kind} {value!r}" if isinstance(value, (int, float, complex, str)) else kind


def nobody() -> None:
    """Stands for the tensor of a leaf that was a transform's argument."""


def depends_on_others(nodes: Sequence[Any], own: set[Any]) -> bool:
    """Whether some leaf that is none of `own` is reached from `nodes` without passing `own`."""
    stack = [node for node in nodes if node is not None and node not in own]
    seen = set(stack)
    while stack:
        node = stack.pop()
        if type(node) is Leaf:
            if node.tensor is nobody:
                continue
            return True
        for edge in node._edges:
            if edge is not None and edge not in own and edge not in seen:
                seen.add(edge)
                stack.append(edge)
    return False


def gradients(
    outputs: Sequence[Tensor], inputs: Sequence[Tensor], seeds: Sequence[Any], create: bool, retain: bool
) -> Sequence[Tensor | None]:
    """`autograd.grad` that skips what is not connected: None for such inputs."""
    live = [(y, seed) for y, seed in zip(outputs, seeds, strict=True) if seed is not None and y.requires_grad]
    if not live:
        return [None] * len(inputs)
    ends, given = zip(*live, strict=True)
    return engine_grad(ends, inputs, given, retain_graph=retain, create_graph=create, allow_unused=True)


def handed_out(tensor: Tensor, as_tensor: bool, recorded: bool, number: bool) -> Any:
    """A result as the caller gets it.

    Args:
        as_tensor: as a Tensor also where it does not require grad.
        recorded: with its graph.
        number: a NumPy number instead of an array without axes, as NumPy's own functions return them.
    """
    if recorded and tensor.requires_grad:
        return tensor
    array = tensor.array
    if as_tensor:
        return make_tensor(array, None)
    return array[()] if number and isinstance(array, np.ndarray) and not array.ndim else array


def zeros_for(tensor: Tensor) -> Tensor:
    return make_tensor(np.zeros_like(tensor.array), None)


def seeds_like(name: str, what: str, tree: Any, structure: Structure, tensors: Sequence[Tensor]) -> list[Tensor]:
    """Cotangents or tangents as tensors, one for each of `tensors`.

    Raises:
        RuntimeError: another structure, another shape, or complex where the tensor is real.
    """
    values, given = flatten(tree)
    if given != structure:
        raise RuntimeError(f"{name}: expected {what} of the structure {structure}, got {given}")
    seeds = []
    for i, (value, tensor) in enumerate(zip(values, tensors, strict=True)):
        if not isinstance(value, Tensor):
            value = make_tensor(value if is_array(value) else np.asarray(value), None)
        if value.shape != tensor.shape:
            raise RuntimeError(f"{name}: {what}: value {i} has shape {value.shape}, but {tensor.shape} is needed")
        if value.array.dtype.kind == "c" and tensor.array.dtype.kind != "c":
            raise RuntimeError(f"{name}: {what}: value {i} is {value.dtype}, but {tensor.dtype} is needed")
        if value.array.dtype != tensor.array.dtype and tensor.array.dtype.kind in "fc":
            value = cast(value, tensor.array.dtype)
        seeds.append(value)
    return seeds


def unit_seeds(tensor: Tensor) -> Any:
    """For each element an array of zeros with a one in its place."""
    for i in range(tensor.array.size):
        seed = np.zeros(tensor.array.size, tensor.array.dtype)
        seed[i] = 1
        yield np.reshape(seed, tensor.shape)


def stacked(pieces: list[Tensor | None], zero: Any, axis: int, shape: tuple[int, ...]) -> Tensor:
    """Rows (axis 0) or columns (axis -1) of a Jacobian as one tensor; None is a row of zeros."""
    if not pieces:
        return make_tensor(np.zeros(shape, zero.dtype), None)
    if any(piece is not None and piece.requires_grad for piece in pieces):
        joined = np.stack([zero if piece is None else piece for piece in pieces], axis=axis)
        return np.reshape(joined, shape)  # type: ignore[return-value]
    joined = np.stack([zero if piece is None else piece.array for piece in pieces], axis=axis)
    return make_tensor(np.reshape(joined, shape), None)


# ---- gradients ---------------------------------------------------------------------------------------------------


def value_and_grad(func: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False) -> Callable[..., Any]:
    """The function that returns `(func(*args), gradient)`.

    Args:
        func: returns one real scalar; with `has_aux`, a tuple of it and anything else.
        argnums: the argument to differentiate, or a tuple of several.
        has_aux: return `((value, aux), gradient)`.

    >>> import numpy as np
    >>> value, gradient = value_and_grad(lambda x: np.sum(x ** 2))(np.array([1.0, 2.0]))
    >>> float(value), gradient
    (5.0, array([2., 4.]))
    """
    return _value_and_grad("value_and_grad", func, argnums, has_aux)


def _value_and_grad(name: str, func: Callable[..., Any], argnums: Argnums, has_aux: bool) -> Callable[..., Any]:
    @functools.wraps(func)
    def with_gradient(*args: Any, **kwargs: Any) -> Any:
        with Run(name, func, args, kwargs, argnums, has_aux) as run:
            output = run.scalar()
            found = run.pull([np.ones_like(output.array)], run.recorded, run.external)
            return run.with_aux(run.output(), has_aux=has_aux), run.like_inputs(found)

    return with_gradient


def grad(func: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False) -> Callable[..., Any]:
    """The function that returns the gradient of `func`, in the structure of the differentiated arguments.

    Args:
        func: returns one real scalar; with `has_aux`, a tuple of it and anything else.
        argnums: the argument to differentiate, or a tuple of several.
        has_aux: return `(gradient, aux)`.

    Raises:
        RuntimeError: an argument is not of a floating type, or `func` returns no scalar.

    >>> import numpy as np
    >>> grad(lambda p: np.sum(p["w"] * p["b"]))({"w": np.array([1.0, 2.0]), "b": 3.0})
    {'w': array([3., 3.]), 'b': np.float64(3.0)}
    >>> bool(grad(grad(np.sin))(1.0) == -np.sin(1.0))
    True
    """
    both = _value_and_grad("grad", func, argnums, has_aux)

    @functools.wraps(func)
    def gradient_of(*args: Any, **kwargs: Any) -> Any:
        value, gradient = both(*args, **kwargs)
        return (gradient, value[1]) if has_aux else gradient

    return gradient_of


def grad_and_value(func: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False) -> Callable[..., Any]:
    """The function that returns `(gradient, func(*args))`; with `has_aux`, `(gradient, (value, aux))`.

    >>> import numpy as np
    >>> grad_and_value(lambda x: np.sum(x ** 2))(np.array([1.0, 2.0]))
    (array([2., 4.]), np.float64(5.0))
    """
    both = _value_and_grad("grad_and_value", func, argnums, has_aux)

    @functools.wraps(func)
    def with_value(*args: Any, **kwargs: Any) -> Any:
        value, gradient = both(*args, **kwargs)
        return gradient, value

    return with_value


# ---- products with the Jacobian ----------------------------------------------------------------------------------


def vjp(func: Callable[..., Any], *primals: Any, has_aux: bool = False) -> Any:
    """`(func(*primals), pullback)`, and `aux` with `has_aux`.

    `pullback(cotangents)`, for cotangents in the structure of the output, returns a tuple with the gradient for each
    primal. It may be called many times.

    >>> import numpy as np
    >>> output, pullback = vjp(lambda x: x ** 2, np.array([1.0, 2.0]))
    >>> output, pullback(np.array([1.0, 10.0]))
    (array([1., 4.]), (array([ 2., 40.]),))
    """
    run = Run("vjp", func, primals, {}, tuple(range(len(primals))), has_aux)

    def pullback(cotangents: Any) -> Any:
        seeds = seeds_like("vjp", "cotangents", cotangents, run.out_structure, run.outputs)
        with Again(run, seeds) as again:
            return again.like_inputs(run.pull(seeds, again.recorded, True))

    with run:
        return run.with_aux(run.output(), pullback, has_aux=has_aux)


class Again(Run):
    """A run that is asked once more, with seeds that may themselves require grad."""

    def __init__(self, run: Run, seeds: Sequence[Tensor]) -> None:
        self.__dict__.update(run.__dict__)
        self.recorded = is_grad_enabled() and (run.external or any(seed.requires_grad for seed in seeds))


class Pushforward:
    """Products of a run's Jacobian with vectors, as the derivative of the pullback by its cotangents.

    The pullback is linear, so its value at zero cotangents does not matter.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        live = [y.requires_grad for y in run.outputs]
        self.cotangents = [zeros_for(y).requires_grad_(on) for y, on in zip(run.outputs, live, strict=True)]
        self.wanted = [i for i, on in enumerate(live) if on]
        seeds = [u if on else None for u, on in zip(self.cotangents, live, strict=True)]
        self.pulled = run.pull(seeds, True, True)

    def push(self, tangents: Sequence[Any], create: bool) -> list[Tensor | None]:
        """The Jacobian times the tangents (None for zero), for each output."""
        rows = [(g, v) for g, v in zip(self.pulled, tangents, strict=True) if g is not None and v is not None]
        inputs = [self.cotangents[i] for i in self.wanted]
        result: list[Tensor | None] = [None] * len(self.run.outputs)
        if rows and inputs:
            pulled, vectors = zip(*rows, strict=True)
            for i, product in zip(self.wanted, gradients(pulled, inputs, vectors, create, True), strict=True):
                result[i] = product
        return result


def jvp(func: Callable[..., Any], primals: Any, tangents: Any, *, has_aux: bool = False) -> Any:
    """`(func(*primals), the derivative of it along tangents)`, and `aux` with `has_aux`.

    Args:
        primals: a tuple of arguments.
        tangents: a tuple of the same structure and shapes.

    >>> import numpy as np
    >>> x, v = np.array([1.0, 2.0]), np.array([1.0, 0.0])
    >>> jvp(lambda x: x ** 2, (x,), (v,))
    (array([1., 4.]), array([2., 0.]))
    """
    if not isinstance(primals, (tuple, list)) or not isinstance(tangents, (tuple, list)):
        raise TypeError("jvp: primals and tangents must be tuples, one value for each argument: write (x,) and (v,)")
    primals, tangents = tuple(primals), tuple(tangents)
    run = Run("jvp", func, primals, {}, tuple(range(len(primals))), has_aux)
    seeds = seeds_like("jvp", "tangents", tangents, run.structure, run.inputs)
    with Again(run, seeds) as again:
        products = Pushforward(run).push(seeds, again.recorded)
        filled = [zeros_for(y) if p is None else p for p, y in zip(products, run.outputs, strict=True)]
        tangent_out = again.values(unflatten(run.out_structure, filled))
        return run.with_aux(run.output(), tangent_out, has_aux=has_aux)


def linearize(func: Callable[..., Any], *primals: Any) -> tuple[Any, Callable[..., Any]]:
    """`(func(*primals), push)`, where `push(*tangents)` is the derivative along tangents, from one run of `func`.

    >>> import numpy as np
    >>> output, push = linearize(lambda x: x ** 2, np.array([1.0, 2.0]))
    >>> push(np.array([1.0, 0.0])), push(np.array([0.0, 1.0]))
    (array([2., 0.]), array([0., 4.]))
    """
    run = Run("linearize", func, primals, {}, tuple(range(len(primals))), False)
    pushforward = Pushforward(run)

    def push(*tangents: Any) -> Any:
        seeds = seeds_like("linearize", "tangents", tangents, run.structure, run.inputs)
        with Again(run, seeds) as again:
            products = pushforward.push(seeds, again.recorded)
            filled = [zeros_for(y) if p is None else p for p, y in zip(products, run.outputs, strict=True)]
            return again.values(unflatten(run.out_structure, filled))

    with run:
        return run.output(), push


def functionalize(func: Callable[..., Any], *, remove: str = "mutations") -> Callable[..., Any]:
    """The function itself: in-place operations need no removal here, since all transforms understand them.

    Raises:
        RuntimeError: `remove` is neither "mutations" nor "mutations_and_views".
    """
    if remove not in ("mutations", "mutations_and_views"):
        raise RuntimeError(f"functionalize: remove must be 'mutations' or 'mutations_and_views', got {remove!r}")
    return func


def hvp(func: Callable[..., Any], primals: Any, tangents: Any, *, has_aux: bool = False) -> Any:
    """The Hessian of a scalar function times a vector, without the Hessian.

    Args:
        func: returns one real scalar.
        primals: a tuple of arguments, or the one argument itself.
        tangents: of the same structure and shapes.
        has_aux: `func` returns `(value, aux)`; return `(product, aux)`.

    Returns:
        A product for each argument, in a tuple; bare where there is one argument.

    >>> import numpy as np
    >>> hvp(lambda x: np.sum(x ** 3), np.array([1.0, 2.0]), np.array([1.0, 1.0]))
    array([ 6., 12.])
    """
    if not isinstance(primals, tuple):
        primals, tangents = (primals,), (tangents,)
    run = Run("hvp", func, primals, {}, tuple(range(len(primals))), has_aux)
    output = run.scalar()
    seeds = seeds_like("hvp", "tangents", tangents, run.structure, run.inputs)
    with Again(run, seeds) as again:
        pulled = run.pull([np.ones_like(output.array)], True, True)
        rows = [(g, v) for g, v in zip(pulled, seeds, strict=True) if g is not None]
        first, vectors = [g for g, _ in rows], [v for _, v in rows]
        retain = again.recorded or run.external
        product = again.like_inputs(gradients(first, run.inputs, vectors, again.recorded, retain))
        return run.with_aux(product[0] if len(primals) == 1 else product, has_aux=has_aux)


# ---- whole Jacobians ---------------------------------------------------------------------------------------------


AT_ONCE = 8  # from so many rows on, one pass for all of them is quicker than a pass for each


def for_each_unit(
    pass_on: Callable[[Any], Sequence[Tensor | None]], tensor: Tensor, chunk_size: int | None = None
) -> list[list[Tensor | None]] | list[Tensor | None]:
    """What `pass_on` gives for each unit seed of a tensor's shape: stacked tensors, or, looped over, lists of them."""
    count = tensor.array.size
    if count >= AT_ONCE or chunk_size is not None:
        units = np.reshape(np.eye(count, dtype=tensor.array.dtype), (count, *tensor.shape))
        with contextlib.suppress(ArraysNeeded):  # a user's own operation may need arrays of numbers
            mapped = vmap(lambda seed: list(pass_on(seed)), randomness="same", chunk_size=chunk_size)
            found: list[Tensor | None] = mapped(make_tensor(units, None))
            return found
    return [list(pass_on(make_tensor(seed, None))) for seed in unit_seeds(tensor)]


def rows_of(found: list[Any], i: int, zero: Any, axis: int, shape: tuple[int, ...]) -> Tensor:
    """The i-th results of `for_each_unit` as rows (axis 0) or columns (axis -1) of a block of a Jacobian."""
    if found and isinstance(found[0], list):
        return stacked([results[i] for results in found], zero, axis, shape)
    rows = found[i] if found else None
    if rows is None:
        return make_tensor(np.zeros(shape, zero.dtype), None)
    block: Any = np.reshape(np.moveaxis(rows, 0, axis), shape)
    return block  # type: ignore[no-any-return]


def jacrev(
    func: Callable[..., Any], argnums: Argnums = 0, *, has_aux: bool = False, chunk_size: int | None = None
) -> Callable[..., Any]:
    """The function that returns the Jacobian, a row for each element of the output: for functions of many inputs.

    The result has the structure of the output; in place of each tensor of it, the structure of the differentiated
    arguments, with arrays of shape `(*output.shape, *argument.shape)`. `chunk_size` rows are computed at a time, to
    need less memory; all of them if it is left out.

    Raises:
        RuntimeError: an argument is not of a floating type; something is complex.

    >>> import numpy as np
    >>> jacrev(lambda x: x ** 2)(np.array([1.0, 2.0]))
    array([[2., 0.],
           [0., 4.]])
    """

    @functools.wraps(func)
    def jacobian_of(*args: Any, **kwargs: Any) -> Any:
        with Run("jacrev", func, args, kwargs, argnums, has_aux) as run:
            run.refuse_complex()
            blocks = []
            for k, output in enumerate(run.outputs):

                def row(seed: Any, k: int = k) -> Sequence[Tensor | None]:
                    seeds = [seed if i == k else None for i in range(len(run.outputs))]
                    return run.pull(seeds, run.recorded, True)

                rows = for_each_unit(row, output, chunk_size)
                here = []
                for i, (x, given) in enumerate(zip(run.inputs, run.given, strict=True)):
                    block = rows_of(rows, i, np.zeros_like(x.array), 0, (*output.shape, *x.shape))
                    here.append(run.result(block, given))
                blocks.append(unflatten(run.structure, here))
            return run.with_aux(unflatten(run.out_structure, blocks), has_aux=has_aux)

    return jacobian_of


def jacfwd(
    func: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False, *, randomness: str = "error"
) -> Callable[..., Any]:
    """The function that returns the Jacobian, a column for each element of the input: for functions of few inputs.

    Structure and errors as `jacrev`. `randomness` is PyTorch's; the function runs only once here.

    >>> import numpy as np
    >>> jacfwd(lambda x: np.stack([x, x ** 2, x ** 3]))(2.0)
    array([ 1.,  4., 12.])
    """

    @functools.wraps(func)
    def jacobian_of(*args: Any, **kwargs: Any) -> Any:
        with Run("jacfwd", func, args, kwargs, argnums, has_aux) as run:
            run.refuse_complex()
            pushforward = Pushforward(run)
            by_input = []
            for i, x in enumerate(run.inputs):

                def column(v: Any, i: int = i) -> Sequence[Tensor | None]:
                    return pushforward.push([v if j == i else None for j in range(len(run.inputs))], run.recorded)

                by_input.append(for_each_unit(column, x))
            blocks = []
            for k, output in enumerate(run.outputs):
                here = []
                for x, given, columns in zip(run.inputs, run.given, by_input, strict=True):
                    zero = np.zeros_like(output.array)
                    block = rows_of(columns, k, zero, -1, (*output.shape, *x.shape))
                    here.append(run.result(block, given))
                blocks.append(unflatten(run.structure, here))
            return run.with_aux(unflatten(run.out_structure, blocks), has_aux=has_aux)

    return jacobian_of


def hessian(func: Callable[..., Any], argnums: Argnums = 0) -> Callable[..., Any]:
    """The function that returns the Hessian: the forward Jacobian of the reverse one.

    For several arguments it is a tree of trees: `hessian(f, (0, 1))(x, y)[0][1]` holds the derivatives by x and y.

    >>> import numpy as np
    >>> hessian(lambda x: x[0] ** 2 * x[1])(np.array([1.0, 2.0]))
    array([[4., 2.],
           [2., 0.]])
    """
    return jacfwd(jacrev(func, argnums), argnums)
