"""Gradient checking: the table's derivatives against finite differences, with PyTorch's arguments.

`gradcheck` compares, for every pair of an output and an input, the Jacobian by central differences with the one that
backward gives; `gradgradcheck` does so for the gradient itself. Complex numbers count as pairs of real ones. When they
differ, the message shows the worst entry.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .absent import absent as _absent
from .core.backprop import grad
from .core.tensor import Tensor, make_tensor

__all__ = ["GradcheckError", "assert_close", "gradcheck", "gradgradcheck"]


class GradcheckError(RuntimeError):
    """A gradient is not what finite differences say."""


@dataclass(frozen=True)
class Tolerance:
    eps: float
    atol: float
    rtol: float
    nondeterministic: float


# ---- the public calls --------------------------------------------------------------------------------------------


def gradcheck(
    func: Callable[..., Any],
    inputs: Any,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False,
    check_batched_grad: bool = False,
    check_batched_forward_grad: bool = False,
    check_forward_ad: bool = False,
    check_backward_ad: bool = True,
    fast_mode: bool = False,
    masked: bool | None = None,
) -> bool:
    """Check the gradients of `func` by central differences: `|analytical - numerical| <= atol + rtol * |numerical|`.

    Args:
        func: takes the inputs; returns a tensor or a tuple of tensors.
        inputs: a tensor or a tuple of anything; tensors of floating or complex type that require grad are checked.
            They should be of double precision.
        eps: step of the differences.
        raise_exception: raise instead of returning False.
        nondet_tol: how much two backward passes may differ.
        check_undefined_grad: for several outputs, also seed each alone (so they are here in any case).
        check_grad_dtypes: also check that gradients have their input's element type.
        fast_mode: compare one random projection of each Jacobian instead of all entries.

    Returns:
        Whether all agree.

    Raises:
        GradcheckError: they do not; names output, input, index and both values.
        ValueError: no input requires grad.
        NotImplementedError: an option of PyTorch's that has no meaning here was set.

    >>> import chainrule as cr
    >>> x = cr.tensor([1.0, 2.0], dtype=cr.float64, requires_grad=True)
    >>> gradcheck(lambda x: x * x, x)
    True
    """
    refuse(
        check_batched_grad=check_batched_grad,
        check_batched_forward_grad=check_batched_forward_grad,
        check_forward_ad=check_forward_ad,
        check_backward_ad=not check_backward_ad,
        masked=masked,
    )
    given = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    tolerance = Tolerance(eps, atol, rtol, nondet_tol)
    try:
        Check(func, given, tolerance, check_grad_dtypes, fast_mode).run()
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def gradgradcheck(
    func: Callable[..., Any],
    inputs: Any,
    grad_outputs: Any = None,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    gen_non_contig_grad_outputs: bool = False,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False,
    check_batched_grad: bool = False,
    check_fwd_over_rev: bool = False,
    check_rev_over_rev: bool = True,
    fast_mode: bool = False,
    masked: bool = False,
) -> bool:
    """Check second derivatives: `gradcheck` of the gradients of `func`, as functions of inputs and `grad_outputs`.

    Args:
        grad_outputs: a tensor or a tuple of tensors of the outputs' shapes; random ones if left out.
        gen_non_contig_grad_outputs: make the random ones non-contiguous.

    Other arguments, result and errors are those of `gradcheck`.

    >>> import chainrule as cr
    >>> x = cr.tensor([1.0, 2.0], dtype=cr.float64, requires_grad=True)
    >>> gradgradcheck(lambda x: x * x * x, x)
    True
    """
    refuse(
        check_batched_grad=check_batched_grad,
        check_fwd_over_rev=check_fwd_over_rev,
        check_rev_over_rev=not check_rev_over_rev,
        masked=masked,
    )
    given = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    if grad_outputs is None:
        seeds = tuple(random_seed(y, gen_non_contig_grad_outputs) for y in differentiable(func(*given)))
    else:
        seeds = (grad_outputs,) if isinstance(grad_outputs, Tensor) else tuple(grad_outputs)
    checked = [i for i, x in enumerate(given) if is_checked(x)]

    def first_order(*args: Any) -> tuple[Tensor, ...]:
        xs, grads = args[: len(given)], args[len(given) :]
        ends = differentiable(func(*xs))
        found = grad(ends, [xs[i] for i in checked], grads, create_graph=True, allow_unused=True)
        return tuple(g for g in found if g is not None)

    return gradcheck(
        first_order,
        (*given, *seeds),
        eps=eps,
        atol=atol,
        rtol=rtol,
        raise_exception=raise_exception,
        nondet_tol=nondet_tol,
        check_undefined_grad=check_undefined_grad,
        check_grad_dtypes=check_grad_dtypes,
        fast_mode=fast_mode,
    )


def refuse(**options: Any) -> None:
    """Options of PyTorch's that were set although there is nothing here that they could check."""
    for name, value in options.items():
        if value:
            raise NotImplementedError(
                f"{name}: only reverse mode on dense tensors is checked here, one seed at a time; leave {name} out"
            )


# ---- the check ---------------------------------------------------------------------------------------------------


class Check:
    """One check of a function at given inputs."""

    def __init__(
        self, func: Callable[..., Any], inputs: tuple[Any, ...], tolerance: Tolerance, dtypes: bool, fast: bool
    ) -> None:
        self.func = func
        self.inputs = inputs
        self.tolerance = tolerance
        self.dtypes = dtypes
        self.fast = fast
        self.checked = [i for i, x in enumerate(inputs) if is_checked(x)]
        check_inputs(inputs, self.checked)

    def run(self) -> None:
        outputs = as_outputs(self.func(*self.inputs))
        wanted = [k for k, y in enumerate(outputs) if isinstance(y, Tensor) and y.requires_grad]
        random = np.random.default_rng(0)
        for k, y in enumerate(outputs):
            if not isinstance(y, Tensor) or y.array.dtype.kind not in "fc":
                continue
            for i in self.checked:
                pair = Pair(self, outputs, k, i)
                if k not in wanted:
                    pair.compare_all(np.zeros(pair.shape))
                elif self.fast:
                    pair.compare_projected(random)
                else:
                    pair.compare_all(pair.analytical())
            if k in wanted:
                self.check_backward(y, k, random)

    def gradients(self, output: Tensor, seed: Any) -> Sequence[Any]:
        inputs = [self.inputs[i] for i in self.checked]
        return grad(output, inputs, seed, retain_graph=True, allow_unused=True)

    def check_backward(self, output: Tensor, k: int, random: np.random.Generator) -> None:
        """Twice the same, zero for a zero seed, and of the inputs' types."""
        seed = random_array(output, random)
        first, second = self.gradients(output, seed), self.gradients(output, seed)
        zero = self.gradients(output, np.zeros_like(output.array))
        for i, a, b, z in zip(self.checked, first, second, zero, strict=True):
            if a is None or b is None:
                continue
            difference = np.max(np.abs(a.array - b.array), initial=0.0)
            if difference > self.tolerance.nondeterministic:
                raise GradcheckError(
                    "Backward is not reentrant, i.e., running backward with same input and grad_output multiple times "
                    f"gives different values for output {k} and input {i}: they differ by {difference:.3g}. The "
                    f"tolerance for nondeterminism was {self.tolerance.nondeterministic}."
                )
            if z is not None and np.any(z.array != 0):
                raise GradcheckError(
                    f"backward not multiplied by grad_output: for a gradient of zero at output {k}, input {i} received "
                    f"up to {np.max(np.abs(z.array)):.6g}"
                )
            if self.dtypes and a.array.dtype != self.inputs[i].array.dtype:
                raise GradcheckError(
                    f"the gradient for input {i} is {a.dtype}, but the input is {self.inputs[i].dtype}"
                )


class Pair:
    """One output and one input of a check. Jacobians here are real, of shape (real parts of input, of output)."""

    def __init__(self, check: Check, outputs: Sequence[Any], k: int, i: int) -> None:
        self.check, self.k, self.i = check, k, i
        self.output: Tensor = outputs[k]
        self.input: Tensor = check.inputs[i]
        self.shape = (parts(self.input) * self.input.array.size, parts(self.output) * self.output.array.size)

    def numerical(self) -> Any:
        """A row for each real number in the input: the central difference of the output."""
        eps = self.check.tolerance.eps
        rows = []
        for index, step in steps(self.input.array, eps):
            rows.append((self.moved(index, step) - self.moved(index, -step)) / (2 * eps))
        return np.reshape(np.asarray(rows, dtype=np.float64), self.shape)

    def moved(self, index: Any, step: Any) -> Any:
        """The output as real numbers after a step of the input, which is taken back."""
        array = self.input.array
        before = array[index]
        array[index] = before + step
        try:
            return as_real(as_outputs(self.check.func(*self.check.inputs))[self.k].array)
        finally:
            array[index] = before

    def analytical(self) -> Any:
        """The same from backward: a column for each real number in the output, seeded alone."""
        columns = []
        for index, step in steps(self.output.array, 1.0):
            seed = np.zeros(self.output.shape, self.output.array.dtype)
            seed[index] = step
            columns.append(self.pulled(seed))
        return np.reshape(np.asarray(columns, dtype=np.float64), self.shape[::-1]).T

    def pulled(self, seed: Any) -> Any:
        """The input's gradient as real numbers."""
        gradient = self.check.gradients(self.output, seed)[self.check.checked.index(self.i)]
        if gradient is None:
            return np.zeros(self.shape[0])
        if gradient.shape != self.input.shape:
            raise GradcheckError(
                f"the gradient for input {self.i} has shape {gradient.shape}, but it has {self.input.shape}"
            )
        return as_real(gradient.array)

    def compare_all(self, analytical: Any) -> None:
        """Compare every entry.

        Raises:
            GradcheckError: shows the entry that is furthest off.
        """
        numerical = self.numerical()
        tolerance = self.check.tolerance
        allowed = tolerance.atol + tolerance.rtol * np.abs(numerical)
        difference = np.abs(analytical - numerical)
        both_nan = np.isnan(analytical) & np.isnan(numerical)
        wrong = ~(difference <= allowed) & ~both_nan & (analytical != numerical)
        if not np.any(wrong):
            return
        excess = np.where(wrong, np.nan_to_num(difference / allowed, nan=np.inf, posinf=np.inf), -1.0)
        row, column = np.unravel_index(int(np.argmax(excess)), excess.shape)
        value = numerical[row, column]
        raise GradcheckError(
            f"Jacobian mismatch for output {self.k} with respect to input {self.i}: {int(np.sum(wrong))} of "
            f"{wrong.size} entries differ.\n"
            f"Worst: output{self.place(self.output, column)} by input{self.place(self.input, row)}\n"
            f"  numerical:  {value:.10g}\n"
            f"  analytical: {analytical[row, column]:.10g}\n"
            f"  difference: {difference[row, column]:.3g}, allowed {allowed[row, column]:.3g} "
            f"(atol={tolerance.atol:g} + rtol={tolerance.rtol:g} * |numerical|)\n"
            f"numerical:\n{shown(numerical)}\nanalytical:\n{shown(analytical)}"
        )

    def place(self, tensor: Tensor, number: Any) -> str:
        """Which element, and which part of it, a real number of a tensor is."""
        element, part = divmod(int(number), parts(tensor))
        index = [int(n) for n in np.unravel_index(element, tensor.shape)] if tensor.ndim else ""
        return str(index) if parts(tensor) == 1 else f"{index}.{('real', 'imag')[part]}"

    def compare_projected(self, random: np.random.Generator) -> None:
        """Compare one random combination of the Jacobian's entries; where it is wrong, all of them for the message."""
        tolerance = self.check.tolerance
        along = unit(random.uniform(0.1, 1.0, self.shape[0]))
        weights = unit(random.uniform(0.1, 1.0, self.shape[1]))
        if not along.size or not weights.size:
            return
        array = self.input.array
        before = array.copy()
        direction = from_real(along, array)
        try:
            array[...] = before + tolerance.eps * direction
            up = as_real(as_outputs(self.check.func(*self.check.inputs))[self.k].array)
            array[...] = before - tolerance.eps * direction
            down = as_real(as_outputs(self.check.func(*self.check.inputs))[self.k].array)
        finally:
            array[...] = before
        numerical = float(np.sum((up - down) / (2 * tolerance.eps) * weights))
        analytical = float(np.sum(self.pulled(from_real(weights, self.output.array)) * along))
        allowed = tolerance.atol * np.sum(along) * np.sum(weights) + tolerance.rtol * abs(numerical)
        if abs(analytical - numerical) <= allowed or analytical == numerical:
            return
        self.compare_all(self.analytical())
        raise GradcheckError(
            f"Jacobian mismatch for output {self.k} with respect to input {self.i}: a random projection is "
            f"{numerical:.10g} numerically and {analytical:.10g} analytically, difference "
            f"{abs(analytical - numerical):.3g}, allowed {allowed:.3g}; every entry alone is within tolerance"
        )


# ---- parts -------------------------------------------------------------------------------------------------------


def is_checked(value: Any) -> bool:
    return isinstance(value, Tensor) and value.requires_grad


def check_inputs(inputs: tuple[Any, ...], checked: list[int]) -> None:
    """Refuse inputs that cannot be checked; warn of those for which differences are too coarse."""
    if not checked:
        raise ValueError(
            "gradcheck expects at least one input tensor to require gradient, but none of the them have "
            "requires_grad=True."
        )
    for i in checked:
        array = inputs[i].array
        if array.dtype not in (np.float64, np.complex128):
            warnings.warn(
                f"Input #{i} requires gradient and is not a double precision floating point or complex, but "
                f"{inputs[i].dtype}. This check will likely fail if all the inputs are not of double precision "
                "floating point or complex.",
                stacklevel=4,
            )
        repeats = (
            isinstance(array, np.ndarray)
            and array.size
            and any(stride == 0 and size > 1 for stride, size in zip(array.strides, array.shape, strict=True))
        )
        if repeats:
            raise RuntimeError(
                f"The {i}th input has a dimension with stride 0. gradcheck only supports inputs that are "
                "non-overlapping to be able to compute the numerical gradients correctly. You should call .contiguous "
                "on the input before passing it to gradcheck."
            )
        if isinstance(array, np.ndarray) and not array.flags.writeable:
            raise RuntimeError(f"The {i}th input's array is read-only, and gradcheck steps it in place: use clone()")


def as_outputs(result: Any) -> tuple[Any, ...]:
    return tuple(result) if isinstance(result, (tuple, list)) else (result,)


def differentiable(result: Any) -> tuple[Tensor, ...]:
    return tuple(y for y in as_outputs(result) if isinstance(y, Tensor) and y.requires_grad)


def parts(tensor: Tensor) -> int:
    """How many real numbers an element is."""
    return 2 if tensor.array.dtype.kind == "c" else 1


def as_real(array: Any) -> Any:
    """An array's elements as a vector of real numbers; real and imaginary parts side by side."""
    flat = np.reshape(array, (-1,))
    if array.dtype.kind != "c":
        return flat.astype(np.float64)
    return np.reshape(np.stack([np.real(flat), np.imag(flat)], axis=1), (-1,)).astype(np.float64)


def from_real(vector: Any, like: Any) -> Any:
    """The inverse of `as_real`, in the shape and type of `like`."""
    values = vector[0::2] + 1j * vector[1::2] if like.dtype.kind == "c" else vector
    return np.reshape(values, like.shape).astype(like.dtype)


def steps(array: Any, size: float) -> Iterator[tuple[Any, Any]]:
    """Every index, with a step of the element; for complex elements a second, imaginary one."""
    for index in np.ndindex(array.shape):
        yield index, size
        if array.dtype.kind == "c":
            yield index, 1j * size


def unit(vector: Any) -> Any:
    return vector / np.sqrt(np.sum(vector * vector)) if vector.size else vector


def random_array(tensor: Tensor, random: np.random.Generator) -> Any:
    values = random.standard_normal(parts(tensor) * tensor.array.size)
    return from_real(values, tensor.array)


def random_seed(tensor: Tensor, non_contiguous: bool) -> Tensor:
    array = random_array(tensor, np.random.default_rng(0))
    if non_contiguous:
        array = np.repeat(array[..., None], 2, axis=-1)[..., 0]
    return make_tensor(array, None).requires_grad_()


def shown(jacobian: Any) -> str:
    """A Jacobian in a message; rows are the input's elements, columns the output's."""
    return np.array2string(jacobian, precision=6, threshold=100)


# ----- torch.testing ----------------------------------------------------------------------------------------------

# relative and absolute tolerance by element type; of two types the larger ones
CLOSENESS = {
    "float16": (1e-3, 1e-5),
    "float32": (1.3e-6, 1e-5),
    "float64": (1e-7, 1e-7),
    "complex64": (1.3e-6, 1e-5),
    "complex128": (1e-7, 1e-7),
}


def assert_close(
    actual: Any,
    expected: Any,
    *,
    allow_subclasses: bool = True,
    rtol: float | None = None,
    atol: float | None = None,
    equal_nan: bool = False,
    check_device: bool = True,
    check_dtype: bool = True,
    check_layout: bool = True,
    check_stride: bool = False,
    msg: Any = None,
) -> None:
    """Raise AssertionError unless two tensors, numbers, or sequences or mappings of them are close.

    Args:
        rtol, atol: relative and absolute tolerance, chosen by the element type unless both are given.
        msg: the message, or a function of the message.

    >>> import chainrule as cr
    >>> assert_close(cr.tensor([1.0, 2.0]), cr.tensor([1.0, 2.0000001]))
    """

    def fail(text: str) -> None:
        raise AssertionError(text if msg is None else msg(text) if callable(msg) else msg)

    if (rtol is None) != (atol is None):
        raise ValueError("assert_close(): give both rtol and atol, or neither")

    def compare(a: Any, b: Any, where: str) -> None:
        if isinstance(a, dict) and isinstance(b, dict):
            if set(a) != set(b):
                fail(f"The keys of the mappings do not match: {sorted(map(str, a))} and {sorted(map(str, b))}{where}")
            for key in a:
                compare(a[key], b[key], f"{where} at {key!r}")
            return
        if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
            if len(a) != len(b):
                fail(f"The length of the sequences mismatch: {len(a)} != {len(b)}{where}")
            for i, (x, y) in enumerate(zip(a, b, strict=True)):
                compare(x, y, f"{where} at {i}")
            return
        tensors = isinstance(a, Tensor) and isinstance(b, Tensor)
        x, y = (np.asarray(v.array if isinstance(v, Tensor) else v) for v in (a, b))
        if x.shape != y.shape:
            fail(f"The values for attribute 'shape' do not match: {x.shape} != {y.shape}{where}")
        if tensors and check_dtype and x.dtype != y.dtype:
            fail(f"The values for attribute 'dtype' do not match: {x.dtype} != {y.dtype}{where}")
        pairs = [CLOSENESS.get(v.dtype.name, (0.0, 0.0)) for v in (x, y)]
        relative, absolute = (max(p[0] for p in pairs), max(p[1] for p in pairs)) if rtol is None else (rtol, atol)
        near = np.isclose(x, y, relative, absolute or 0.0, equal_nan=equal_nan)
        if not np.all(near):
            distance = np.max(np.abs(x.astype(complex) - y.astype(complex))[~near])
            fail(
                f"{'Tensor-likes' if x.ndim else 'Scalars'} are not close!{where}\n\nMismatched elements: "
                f"{int(np.sum(~near))} / {near.size}\nGreatest absolute difference: {distance} (up to {absolute} "
                f"allowed, and {relative} relative)"
            )

    compare(actual, expected, "")


__getattr__ = _absent(__name__)
