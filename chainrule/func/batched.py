"""`Batched`: an array that stands for many, one a sample, and looks like the array of one sample.

Inside a vmap, a tensor's array is a `Batched`: it holds the samples' arrays stacked along a first axis that the
function under vmap does not see. Operations, recipes and backward functions then run as they are, because all of them
are written in NumPy functions, and `Batched` speaks NumPy's protocols: a function called with one is carried out on the
stacked samples. How is told here by kind of function, not function by function:

| kind | on the stacked samples |
| --- | --- |
| elementwise | ranks aligned behind the samples' axis, then broadcast |
| along axes (sums, sorts, scans, transforms) | axes counted from the end, where they are the same |
| shapes and indices | the samples' axis kept in front |
| products | NumPy's own batches of products; einsum with one letter more |
| matrices (inverse, decompositions) | leading axes are batches already |
| all others | a loop over the samples, and the results stacked |

The last line makes every function right; those above make the usual ones fast. There are no derivatives here.
Read next: `vmap.py`.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from ..core.forward import Several, array_function, wrap_forward_fn
from ..core.levels import EachSample, Level
from ..core.table import backward
from ..core.tensor import Tensor
from ..ops import convolution
from ..ops.indexing import getitem, getitem_adjoint
from ..ops.linalg import solve_triangular_matrix

__all__ = ["Batched", "from_samples", "to_samples"]

ndarray = np.ndarray


class ArraysNeeded(RuntimeError):
    """A function asks for one sample's numbers, where there are many samples."""


def refused(what: str) -> ArraysNeeded:
    return ArraysNeeded(
        f"vmap: {what} needs the numbers of one sample, but the function runs once for all samples: write it with "
        "operations on tensors, such as where(condition, x, y) in place of `if condition`"
    )


# ----- the array --------------------------------------------------------------------------------------------------


class Batched(NDArrayOperatorsMixin):
    """Arrays of one shape and type, one for each sample of a level.

    Attributes:
        level: the vmap that it belongs to.
        values: an array (or the `Batched` of an outer vmap) of shape (samples, *shape).

    >>> b = Batched(Level(2), np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]))
    >>> b.shape, np.sum(b * 10).values
    ((3,), array([ 60., 150.]))
    """

    __slots__ = ("level", "values")
    __hash__ = object.__hash__

    def __init__(self, level: Level, values: Any) -> None:
        self.level = level
        self.values = values

    # what an array has

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape[1:]  # type: ignore[no-any-return]

    @property
    def ndim(self) -> int:
        return self.values.ndim - 1  # type: ignore[no-any-return]

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.values.dtype  # type: ignore[no-any-return]

    @property
    def itemsize(self) -> int:
        return self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        return self.itemsize * self.size

    @property
    def strides(self) -> tuple[int, ...]:
        return self.values.strides[1:]  # type: ignore[no-any-return]

    @property
    def flags(self) -> Any:
        return self.values.flags

    @property
    def device(self) -> Any:
        return getattr(self.values, "device", "cpu")

    @property
    def T(self) -> Any:
        return np.transpose(self)

    @property
    def real(self) -> Any:
        return np.real(self)

    @property
    def imag(self) -> Any:
        return np.imag(self)

    def __len__(self) -> int:
        if not self.ndim:
            raise TypeError("len() of unsized object")
        return self.shape[0]

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        return f"Batched({self.values!r})"

    def astype(self, dtype: Any, copy: bool = True, **_: Any) -> Batched:
        return Batched(self.level, self.values.astype(dtype, copy=copy))

    def copy(self, order: str = "C") -> Batched:
        return Batched(self.level, self.values.copy())

    flatten = __copy__ = lambda self, *_: np.reshape(self, (-1,)).copy()

    def __deepcopy__(self, _: Any) -> Batched:
        return self.copy()

    def reshape(self, *shape: Any, **kwargs: Any) -> Any:
        return np.reshape(self, shape[0] if len(shape) == 1 else shape, **kwargs)

    def transpose(self, *axes: Any) -> Any:
        return np.transpose(self, (axes[0] if len(axes) == 1 else axes) or None)

    def view(self, dtype: Any) -> Batched:
        return Batched(self.level, self.values.view(dtype))

    def fill(self, value: Any) -> None:
        self[...] = value

    # what only an array of numbers has

    def __array__(self, *_: Any, **__: Any) -> NoReturn:
        raise refused("becoming a NumPy array")

    def item(self, *_: Any) -> NoReturn:
        raise refused("a number of a tensor (.item(), `if`, `while`)")

    def tolist(self) -> NoReturn:
        raise refused(".tolist()")

    def __bool__(self) -> NoReturn:
        raise refused("data-dependent control flow (`if`, `while`, bool())")

    def __float__(self) -> NoReturn:
        raise refused("float()")

    def __int__(self) -> NoReturn:
        raise refused("int()")

    __index__ = __int__

    def __complex__(self) -> NoReturn:
        raise refused("complex()")

    # reading and writing parts

    def __getitem__(self, index: Any) -> Any:
        return read(self.level, self, index)

    def __setitem__(self, index: Any, value: Any) -> None:
        level = self.level
        if isinstance(value, Batched) and value.level.number > level.number:
            raise refused_write(value)
        if not self.values.flags.writeable:
            self.values = self.values.copy()
        full = None if is_mask(index) else index_of_all(level, index)
        if full is None:
            for i in range(level.size):
                self.values[i][sample(level, index, i)] = sample(level, value, i)
            return
        if isinstance(value, Batched) and value.level is level:
            region = self.values[full]
            value = aligned(value, region.ndim - 1)
        elif hasattr(value, "ndim") and value.ndim > self.ndim:
            value = np.reshape(value, value.shape[value.ndim - self.ndim :])
        self.values[full] = value

    # NumPy's protocols, and the package's own

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if any(isinstance(x, Tensor) for x in inputs):
            return NotImplemented
        key: Any = ufunc
        if method != "__call__":
            key = getattr(ufunc, method)
            rule = UFUNC_METHODS.get(method, each)
        elif ufunc.signature is not None:
            rule = products if ufunc is np.matmul else generalized
        else:
            rule = elementwise
        out = kwargs.pop("out", None)
        if out is not None:
            (target,) = out
            result = key(*inputs, **kwargs)
            if not isinstance(target, Batched):
                raise refused_write(result)
            target[...] = result
            return target
        return rule(level_of((inputs, kwargs)), key, inputs, kwargs)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if any(issubclass(kind, Tensor) for kind in types):
            return NotImplemented
        return RULES.get(func, each)(level_of((args, kwargs)), func, args, kwargs)

    def __chainrule_function__(self, func: Any, args: Any, kwargs: Any) -> Any:
        for x in args:
            if isinstance(x, Tensor):
                return type(x).__chainrule_function__(x, func, args, kwargs)  # type: ignore[attr-defined]
        rule = RULES.get(func)
        if rule is not None:
            return rule(level_of((args, kwargs)), func, args, kwargs)
        if func not in LOOPED:  # most are written in functions that are known here
            try:
                return of_level(level_of((args, kwargs)), func.__wrapped__(*args, **kwargs))
            except (ArraysNeeded, AttributeError):  # others are for arrays only
                LOOPED.add(func)
        return each(level_of((args, kwargs)), func, args, kwargs)

    # backprop's question

    @staticmethod
    def __fit_gradient__(gradient: Any, arg: Any) -> Any:
        """A gradient with the samples of its argument: summed over those that the argument has not.

        Levels that still run are left alone: there each sample computes a gradient of its own.
        """
        if isinstance(gradient, tuple):
            return Several(
                None if g is None else Batched.__fit_gradient__(g, a) for g, a in zip(gradient, arg, strict=True)
            )
        have, want = levels_in(gradient), levels_in(arg)
        for level in have:
            if level not in want and not level.active:
                gradient = np.sum(to_samples(gradient, level, 0), axis=0)
        for level in want:
            if level not in have:
                gradient = repeated(gradient, level)
        return gradient


def method_of(function: Any) -> Callable[..., Any]:
    def method(self: Batched, *args: Any, **kwargs: Any) -> Any:
        return function(self, *args, **kwargs)

    return method


for _name in (
    *("all", "any", "argmax", "argmin", "argsort", "clip", "conj", "cumprod", "cumsum", "diagonal", "dot", "max"),
    *("mean", "min", "nonzero", "prod", "ravel", "repeat", "round", "squeeze", "std", "sum", "swapaxes", "take"),
    *("trace", "var"),
):
    setattr(Batched, _name, method_of(getattr(np, _name)))


def refused_write(value: Any) -> ArraysNeeded:
    return ArraysNeeded(
        f"vmap: an in-place operation would write {value.level.size} samples' values into a tensor that all samples "
        "share: use the operation without the underscore, or make the tensor inside the function under vmap with "
        "zeros_like() or clone() of a mapped one"
    )


LOOPED: set[Any] = set()  # functions of this package whose bodies need arrays
RULES: dict[Any, Callable[[Level, Any, Any, Any], Any]] = {}


# ----- levels and samples -----------------------------------------------------------------------------------------


def members(tree: Any) -> Iterator[Batched]:
    """The `Batched` arrays among a function's arguments."""
    if isinstance(tree, Batched):
        yield tree
    elif isinstance(tree, (tuple, list)):
        for item in tree:
            yield from members(item)
    elif isinstance(tree, dict):
        for item in tree.values():
            yield from members(item)


def repeated(array: Any, level: Level) -> Any:
    """The same array for each sample of a level, inside the levels within that one."""
    if isinstance(array, Batched) and array.level.number > level.number:
        return Batched(array.level, repeated(array.values, level))
    return from_samples(np.broadcast_to(array, (level.size, *np.shape(array))), level, 0)


def has_members(tree: Any) -> bool:
    return next(members(tree), None) is not None


def level_of(tree: Any) -> Level:
    """The innermost level among a function's arguments: the one to deal with first."""
    return max((x.level for x in members(tree)), key=lambda level: level.number)


def levels_in(value: Any) -> list[Level]:
    """The levels of an array or a tensor, innermost first."""
    found = []
    array = value.array if isinstance(value, Tensor) else value
    while isinstance(array, Batched):
        found.append(array.level)
        array = array.values
    return found


def belongs(level: Level, x: Any) -> bool:
    return isinstance(x, Batched) and x.level is level


def sample(level: Level, tree: Any, i: int) -> Any:
    """Arguments as the i-th sample has them."""
    if isinstance(tree, Batched):
        return tree.values[i, ...] if tree.level is level else tree
    if isinstance(tree, (tuple, list)):
        items = [sample(level, item, i) for item in tree]
        return type(tree)(*items) if hasattr(tree, "_fields") else type(tree)(items)
    if isinstance(tree, dict):
        return {key: sample(level, item, i) for key, item in tree.items()}
    return tree


def empty_sample(level: Level, tree: Any) -> Any:
    """Zeros in place of a sample, where there is none."""
    if belongs(level, tree):
        return np.zeros(tree.shape, tree.dtype)
    if isinstance(tree, (tuple, list)):
        return type(tree)([empty_sample(level, item) for item in tree])
    return tree


def all_samples(level: Level, x: Any) -> Any:
    """The values of all samples, repeated where they are common to all."""
    if belongs(level, x):
        return x.values
    return np.broadcast_to(x, (level.size, *np.shape(x)))


def of_level(level: Level, out: Any) -> Any:
    """A result, or several, as the samples' also where it is the same for all of them, so that gradients know."""
    if isinstance(out, (tuple, list)):
        items = [of_level(level, item) for item in out]
        return type(out)(*items) if hasattr(out, "_fields") else type(out)(items)
    if not hasattr(out, "dtype") or level in levels_in(out):
        return out
    return Batched(level, all_samples(level, out))


def each(level: Level, func: Any, args: Any, kwargs: Any) -> Any:
    """Any function: sample by sample, and the results stacked."""
    if not level.size:
        return gathered(level, func, [func(*empty_sample(level, args), **kwargs)], 0)
    outs = [func(*sample(level, args, i), **sample(level, kwargs, i)) for i in range(level.size)]
    return gathered(level, func, outs, level.size)


EachSample.joined = staticmethod(each)


def gathered(level: Level, func: Any, outs: list[Any], size: int) -> Any:
    first = outs[0]
    if isinstance(first, (tuple, list)) and any(hasattr(item, "dtype") for item in first):
        if len({len(out) for out in outs}) > 1:
            raise unequal(func, outs)
        items = [gathered(level, func, list(column), size) for column in zip(*outs, strict=True)]
        return type(first)(*items) if hasattr(first, "_fields") else type(first)(items)
    if not hasattr(first, "dtype"):
        if all(out is first or out == first for out in outs) and func not in DEPENDS_ON_DATA:
            return first
        outs = list(map(np.asarray, outs))
    if len({np.shape(out) for out in outs}) > 1:
        raise unequal(func, outs)
    stacked = np.stack(outs)
    return Batched(level, stacked if size else stacked[:0])


def unequal(func: Any, outs: list[Any]) -> RuntimeError:
    shapes = sorted({str(np.shape(out)) for out in outs})
    return RuntimeError(
        f"vmap: {getattr(func, '__name__', func)} gives results of different shapes for different samples: "
        f"{', '.join(shapes[:4])}. Use operations whose result's shape does not depend on values"
    )


def rule(*functions: Any) -> Callable[[Any], Any]:
    """Say how functions are carried out on stacked samples: `rule(level, func, args, kwargs)`."""

    def register(carry_out: Any) -> Any:
        for function in functions:
            RULES[function] = carry_out
        return carry_out

    return register


def named(*names: str, module: Any = np) -> list[Any]:
    return [getattr(module, name) for name in names if hasattr(module, name)]


# ----- entering and leaving a level: operations of the table ------------------------------------------------------


@array_function
def from_samples(x: Any, level: Level, axis: int) -> Any:
    """An array whose `axis` runs over samples, as what one sample sees."""
    return Batched(level, np.moveaxis(x, axis, 0))


@array_function
def to_samples(x: Any, level: Level, axis: int) -> Any:
    """What one sample sees, as an array with an axis over the samples; repeated where it is common to all."""
    return np.moveaxis(all_samples(level, x), 0, axis)


@backward(from_samples, 0)
def from_samples_back(grad_out: Any, out: Any, x: Any, level: Level, axis: int) -> Any:
    r"""$\nabla_{x_i} L = (\nabla_{out} L)_{\text{sample } i}$"""
    return to_samples(grad_out, level, axis)


@backward(to_samples, 0)
def to_samples_back(grad_out: Any, out: Any, x: Any, level: Level, axis: int) -> Any:
    r"""$(\nabla_x L)_{\text{sample } i} = \nabla_{out_i} L$"""
    return from_samples(grad_out, level, axis)


from_samples_tensor = wrap_forward_fn(from_samples, view=True)
to_samples_tensor = wrap_forward_fn(to_samples)
RULES[from_samples] = RULES[to_samples] = lambda level, func, args, kwargs: func.__wrapped__(*args, **kwargs)


# ----- elementwise ------------------------------------------------------------------------------------------------


def aligned(x: Batched, ndim: int) -> Any:
    """The values with axes of length 1 behind the samples' axis, so that they broadcast with arrays of `ndim` axes."""
    missing = ndim - x.ndim
    if missing <= 0:
        return x.values
    return np.reshape(x.values, (x.values.shape[0], *(1,) * missing, *x.shape))


ELEMENTWISE = named(
    *("where", "clip", "real", "imag", "angle", "nan_to_num", "round", "around", "sinc", "fix", "isclose", "i0"),
    *("isreal", "iscomplex", "isposinf", "isneginf", "astype", "copy"),
)


@rule(*ELEMENTWISE)
def elementwise(level: Level, func: Any, args: Any, kwargs: Any) -> Any:
    """Samples first, then ranks aligned from the right, as broadcasting has them."""
    if any(isinstance(x, (list, tuple)) for x in args):
        return each(level, func, args, kwargs)
    ndim = max(x.ndim for x in (*args, *kwargs.values()) if isinstance(x, (Batched, ndarray)))
    args = [aligned(x, ndim) if belongs(level, x) else x for x in args]
    if kwargs:
        kwargs = {name: aligned(x, ndim) if belongs(level, x) else x for name, x in kwargs.items()}
    out = func(*args, **kwargs)
    if isinstance(out, tuple):
        return tuple(Batched(level, x) for x in out)
    return Batched(level, out)


@rule(np.zeros_like, np.ones_like, np.empty_like, np.full_like)
def like(level: Level, func: Any, args: Any, kwargs: Any) -> Any:
    """New arrays in the shape of one."""
    if not belongs(level, args[0]) or has_members((args[1:], kwargs)) or kwargs.get("shape") is not None:
        return each(level, func, args, kwargs)
    return Batched(level, func(args[0].values, *args[1:], **kwargs))


def generalized(level: Level, func: Any, args: Any, kwargs: Any) -> Any:
    """Functions of vectors and matrices: their own axes last, loops over the others aligned."""
    inner = [len(core.split(",")) if core.strip("() ") else 0 for core in cores(func.signature)]
    if "axis" in kwargs or "axes" in kwargs or "?" in func.signature:
        return each(level, func, args, kwargs)
    loops = max(x.ndim - n for x, n in zip(args, inner, strict=False))
    values = [aligned(x, loops + n) if belongs(level, x) else x for x, n in zip(args, inner, strict=False)]
    out = func(*values, **kwargs)
    return tuple(Batched(level, x) for x in out) if isinstance(out, tuple) else Batched(level, out)


@functools.lru_cache(maxsize=64)
def cores(signature: str) -> list[str]:
    """The inputs in a signature such as "(n,k),(k,m)->(n,m)"."""
    return signature.split("->")[0].replace("),(", ");(").split(";")


# ----- along axes -------------------------------------------------------------------------------------------------

FLATTENING = named(  # without an axis, over all elements
    *("sum", "prod", "mean", "max", "min", "amax", "amin", "any", "all", "argmax", "argmin", "std", "var", "median"),
    *("nansum", "nanprod", "nanmean", "nanmax", "nanmin", "nanmedian", "nanstd", "nanvar", "nanargmax", "nanargmin"),
    *("count_nonzero", "ptp", "cumsum", "cumprod", "nancumsum", "nancumprod", "sort", "argsort", "repeat"),
)
AXIS_GIVEN = [np.diff, *named("fft", "ifft", "rfft", "irfft", "hfft", "ihfft", module=np.fft)]
ALL_AXES = [np.flip, *named("fftshift", "ifftshift", module=np.fft)]


@functools.lru_cache(maxsize=512)
def place_of(func: Any, name: str) -> tuple[int, Any]:
    """At which position a function takes an argument, and its default."""
    for i, parameter in enumerate(inspect.signature(func).parameters.values()):
        if parameter.name == name:
            return i, parameter.default
    return -1, None


def from_end(axis: Any, ndim: int) -> Any:
    """Axes counted from the end, where the samples' axis makes no difference.

    Raises:
        AxisError: out of range.
    """
    if isinstance(axis, (tuple, list)):
        return tuple(from_end(a, ndim) for a in axis)
    axis = int(axis)
    if not -ndim <= axis < ndim:
        raise np.exceptions.AxisError(axis, ndim)
    return axis if axis < 0 else axis - ndim


def with_argument(args: Any, kwargs: Any, position: int, name: str, value: Any) -> tuple[list[Any], dict[str, Any]]:
    """The arguments with one of them replaced."""
    args, kwargs = list(args), dict(kwargs)
    if name in kwargs or position >= len(args) or position < 0:
        kwargs[name] = value
    else:
        args[position] = value
    return args, kwargs


def argument(args: Any, kwargs: Any, position: int, name: str, default: Any) -> Any:
    if name in kwargs:
        return kwargs[name]
    return args[position] if 0 <= position < len(args) else default


@rule(*FLATTENING, *AXIS_GIVEN, *ALL_AXES)
def along(level: Level, func: Any, args: Any, kwargs: Any, default: Any = ..., name: str = "axis") -> Any:
    """Functions along axes of their first argument."""
    x = args[0]
    if func in ALL_AXES and func is not np.flip:
        name = "axes"
    position, default = place_of(func, name) if default is ... else (-1, default)
    axis = argument(args, kwargs, position, name, default)
    if not belongs(level, x) or has_members((args[1:], kwargs)) or (axis is not None and not x.ndim):
        return each(level, func, args, kwargs)
    values = x.values
    if axis is not None:
        args, kwargs = with_argument(args, kwargs, position, name, from_end(axis, x.ndim))
    elif func in ALL_AXES:
        args, kwargs = with_argument(args, kwargs, position, name, tuple(range(-x.ndim, 0)))
    else:
        values = np.reshape(values, (values.shape[0], x.size))
        args, kwargs = with_argument(args, kwargs, position, name, -1)
        if kwargs.get("keepdims"):
            out = func(values, *args[1:], **kwargs)
            return Batched(level, np.reshape(out, (out.shape[0], *(1,) * x.ndim)))
    out = func(values, *args[1:], **kwargs)
    return Batched(level, out)


def reduce_or_accumulate(level: Level, func: Any, args: Any, kwargs: Any) -> Any:
    """`np.add.reduce` and its like."""
    kwargs = {"axis": 0} | kwargs
    if len(args) > 1:
        kwargs["axis"] = args[1]
    if len(args) > 2:
        return each(level, func, args, kwargs)
    x, axis = args[0], kwargs["axis"]
    if has_members(kwargs) or not x.ndim:
        return each(level, func, args, kwargs)
    kwargs["axis"] = from_end(tuple(range(x.ndim)) if axis is None else axis, x.ndim)
    return Batched(level, func(x.values, **kwargs))


def add_at(level: Level, func: Any, args: Any, kwargs: Any) -> None:
    """`np.add.at` and its like, which write."""
    target = args[0]
    if not belongs(level, target):
        raise refused_write(next(iter(members(args[1:]))))
    for i in range(level.size):
        func(*sample(level, args, i))


UFUNC_METHODS = {"reduce": reduce_or_accumulate, "accumulate": reduce_or_accumulate, "at": add_at}


@rule(*named("fftn", "ifftn", "rfftn", "irfftn", "fft2", "ifft2", "rfft2", "irfft2", module=np.fft))
def transforms_of_axes(level: Level, func: Any, args: Any, kwargs: Any) -> Any:
    """Fourier transforms of several axes."""
    x = args[0]
    sizes = argument(args, kwargs, 1, "s", None)
    position, default = place_of(func, "axes")
    axes = argument(args, kwargs, position, "axes", default)
    if axes is None:
        axes = range(-(x.ndim if sizes is None else len(sizes)), 0)
    args, kwargs = with_argument(args, kwargs, position, "axes", from_end(tuple(axes), x.ndim))
    return Batched(level, func(x.values, *args[1:], **kwargs))


@rule(np.take_along_axis)
def take_along_axis(level: Level, func: Any, args: Any, kwargs: Any) -> Any:
    """Elements along an axis, an index for each place."""
    x, index = args[:2]
    axis = argument(args, kwargs, 2, "axis", -1)
    if axis is None or x.ndim != index.ndim or not x.ndim:
        return each(level, func, args, kwargs)
    return Batched(level, func(all_samples(level, x), all_samples(level, index), from_end(axis, x.ndim)))


@rule(np.bincount)
def bincount(level: Level, func: Any, args: Any, kwargs: Any) -> Any:
    """Sums by place: each sample gets places of its own."""
    positions, weights = args[0], argument(args, kwargs, 1, "weights", None)
    size = argument(args, kwargs, 2, "minlength", 0)
    if isinstance(positions, Batched) or not isinstance(weights.values, ndarray) or not level.size:
        return each(level, func, args, kwargs)
    size = max(size, int(positions.max(initial=-1)) + 1)
    places = np.arange(level.size)[:, None] * size + positions
    return Batched(level, func(places.ravel(), weights.values.ravel(), level.size * size).reshape(level.size, size))


# ----- shapes -----------------------------------------------------------------------------------------------------


@rule(np.shape, np.ndim, np.size)
def measures(level: Level, func: Any, args: Any, kwargs: Any) -> Any:
    """Shapes, which all samples share."""
    return func(np.broadcast_to(np.int8(0), args[0].shape), *args[1:], **kwargs)


@rule(np.reshape)
def reshape(level: Level, func: Any, args: Any, kwargs: Any) -> Any:
    """The samples' axis, then the shape."""
    x = args[0]
    shape = argument(args, kwargs, 1, "shape", kwargs.get("newshape"))
    if {**kwargs}.keys() - {"shape", "newshape", "order", "copy"} or kwargs.get("order", "C") != "C" or len(args) > 2:
        return each(level, func, args, kwargs)
    shape = tuple(shape) if isinstance(shape, (tuple, list)) else (int(shape),)
    if -1 in shape:
        known = -math.prod(shape)
        if known <= 0 or x.size % known:
            raise ValueError(f"cannot reshape array of size {x.size} into shape {shape}")
        shape = tuple(x.size // known if n == -1 else n for n in shape)
    elif math.prod(shape) != x.size:
        raise ValueError(f"cannot reshape array of size {x.size} into shape {shape}")
    return Batched(level, np.reshape(x.values, (x.values.shape[0], *shape)))


@rule(np.ravel)
def ravel(level: Level, func: Any, args: Any, kwargs: Any) -> Any:
    """One axis."""
    return np.reshape(args[0], (-1,))


@rule(np.transpose, *named("permute_dims"))
def transpose(level: Level, func: Any, args: Any, kwargs: Any) -> Any:
    """The samples' axis stays in front."""
    x = args[0]
    axes = argument(args, kwargs, 1, "axes", None)
    axes = range(x.ndim)[::-1] if axes is None else from_end(tuple(axes), x.ndim)
    if len(axes) != x.ndim:
        raise ValueError("axes don't match array")
    return Batched(level, np.transpose(x.values, (0, *(a % x.ndim + 1 for a in axes))))


@rule(np.matrix_transpose, np.tril, np.triu)
def last_two_axes(level: Level, func: Any, args: Any, kwargs: Any) -> Any:
    """Functions of the last two axes."""
    if not belongs(level, args[0]) or args[0].ndim < 2:
        return each(level, func, args, kwargs)
    return Batched(level, func(args[0].values, *args[1:], **kwargs))


AXES_OF = {
    np.swapaxes: ("axis1", "axis2"),
    np.moveaxis: ("source", "destination"),
    np.diagonal: ("axis1", "axis2"),
    np.trace: ("axis1", "axis2"),
    np.rot90: ("axes",),
}


@rule(*AXES_OF)
def exchanged(level: Level, func: Any, args: Any, kwargs: Any) -> Any:
    """Functions that name two axes, or two lists of them."""
    x = args[0]
    for name in AXES_OF[func]:
        position, default = place_of(func, name)
        axis = argument(args, kwargs, position, name, default)
        args, kwargs = with_argument(args, kwargs, position, name, from_end(axis, x.ndim))
    names = [n for n in inspect.signature(func).parameters if n not in kwargs]
    if "offset" in names and len(args) < 2:
        kwargs["offset"] = 0
    return Batched(level, func(x.values, *args[1:], **kwargs))


@rule(np.expand_dims)
def expand_dims(level: Level, func: Any, args: Any, kwargs: Any) -> Any:
    """New axes of length 1, counted in the result."""
    x, axis = args[0], argument(args, kwargs, 1, "axis", 0)
    new = axis if isinstance(axis, (tuple, list)) else (axis,)
    return Batched(level, np.expand_dims(x.values, from_end(tuple(new), x.ndim + len(new))))


@rule(np.squeeze)
def squeeze(level: Level, func: Any, args: Any, kwargs: Any) -> Any:
    """Without axes of length 1."""
    x, axis = args[0], argument(args, kwargs, 1, "axis", None)
    axes = tuple(i for i, n in enumerate(x.shape) if n == 1) if axis is None else axis
    if axes != () and not x.ndim:
        return x
    return Batched(level, np.squeeze(x.values, from_end(axes, x.ndim)))


@rule(np.broadcast_to)
def broadcast_to(level: Level, func: Any, args: Any, kwargs: Any) -> Any:
    """Repeated to a shape."""
    x, shape = args[0], argument(args, kwargs, 1, "shape", None)
    shape = tuple(shape) if isinstance(shape, (tuple, list)) else (int(shape),)
    if x.ndim > len(shape):
        raise ValueError(f"input operand has more dimensions than allowed: shape {x.shape} to shape {shape}")
    return Batched(level, np.broadcast_to(aligned(x, len(shape)), (x.values.shape[0], *shape)))


@rule(np.concatenate, np.stack)
def joined(level: Level, func: Any, args: Any, kwargs: Any) -> Any:
    """Arrays put together along an axis."""
    parts = args[0]
    axis = argument(args, kwargs, 1, "axis", 0)
    if set(kwargs) - {"axis"} or len(args) > 2 or axis is None:
        return each(level, func, args, kwargs)
    ndim = np.ndim(parts[0]) + (func is np.stack)
    return Batched(level, func([all_samples(level, part) for part in parts], axis=from_end(axis, ndim)))


@rule(np.tile)
def tile(level: Level, func: Any, args: Any, kwargs: Any) -> Any:
    """Copies side by side."""
    x, reps = args[0], argument(args, kwargs, 1, "reps", 1)
    reps = tuple(reps) if isinstance(reps, (tuple, list)) else (reps,)
    ndim = max(x.ndim, len(reps))
    return Batched(level, np.tile(aligned(x, ndim), (1, *(1,) * (ndim - len(reps)), *reps)))


@rule(np.pad)
def pad(level: Level, func: Any, args: Any, kwargs: Any) -> Any:
    """More elements around each sample."""
    x, widths = args[0], argument(args, kwargs, 1, "pad_width", None)
    if not belongs(level, x) or isinstance(widths, dict) or not np.isscalar(kwargs.get("constant_values", 0)):
        return each(level, func, args, kwargs)
    widths = np.broadcast_to(widths, (x.ndim, 2))
    args, kwargs = with_argument(args, kwargs, 1, "pad_width", [(0, 0), *map(tuple, widths.tolist())])
    return Batched(level, np.pad(x.values, *args[1:], **kwargs))


@rule(np.roll)
def roll(level: Level, func: Any, args: Any, kwargs: Any) -> Any:
    """Shifted around; without an axis, as if flattened."""
    x, shift = args[0], argument(args, kwargs, 1, "shift", 0)
    axis = argument(args, kwargs, 2, "axis", None)
    if not belongs(level, x) or not x.ndim:
        return each(level, func, args, kwargs)
    if axis is None:
        return np.reshape(np.roll(np.reshape(x, (-1,)), shift, 0), x.shape)
    return Batched(level, np.roll(x.values, shift, from_end(axis, x.ndim)))


@rule(np.lib.stride_tricks.sliding_window_view)
def windows(level: Level, func: Any, args: Any, kwargs: Any) -> Any:
    """Windows along axes, as last axes."""
    x, axis = args[0], argument(args, kwargs, 2, "axis", None)
    axis = tuple(range(x.ndim)) if axis is None else axis
    args, kwargs = with_argument(args, kwargs, 2, "axis", from_end(axis, x.ndim))
    return Batched(level, func(x.values, *args[1:], **kwargs))


@rule(np.copyto)
def copyto(level: Level, func: Any, args: Any, kwargs: Any) -> None:
    """A write of everything."""
    target, source = args[:2]
    where = argument(args, kwargs, 3, "where", True)
    if where is not True:
        source = np.where(where, source, target)
    if not belongs(level, target):
        raise refused_write(source)
    target[...] = source


@rule(np.may_share_memory, np.shares_memory)
def memory(level: Level, func: Any, args: Any, kwargs: Any) -> bool:
    """Whether arrays share memory."""
    return bool(func(*(x.values if belongs(level, x) else x for x in args)))


DEPENDS_ON_DATA = {np.allclose, np.array_equal, np.array_equiv}  # their results look the same for all samples or not


@rule(np.nonzero, np.flatnonzero, np.argwhere, np.unique, np.compress, np.extract)
def of_unknown_shape(level: Level, func: Any, args: Any, kwargs: Any) -> NoReturn:
    """Functions whose result's shape depends on values."""
    raise ArraysNeeded(
        f"vmap: the shape of {func.__name__}'s result depends on values, so that samples could differ: use "
        "where(condition, x, y), or call it outside vmap"
    )


# ----- indices ----------------------------------------------------------------------------------------------------


def is_mask(index: Any) -> bool:
    items = index if isinstance(index, tuple) else (index,)
    return any(isinstance(i, Batched) and i.dtype.kind == "b" for i in items)


def index_of_all(level: Level, index: Any, batched: bool = True) -> Any:
    """An index into one sample as an index into all, the samples' axis first; None where there is no such index.

    Args:
        batched: whether the array that is indexed has samples itself, or only the index.
    """
    items = index if isinstance(index, tuple) else (index,)
    places = [i for i, item in enumerate(items) if hasattr(item, "dtype") or isinstance(item, (list, bool))]
    if not places:
        return (slice(None), *items)
    if len(places) != places[-1] - places[0] + 1 or any(type(i) is int for i in items):
        return None  # NumPy would put the axes of the index first
    arrays = [items[i] for i in places]
    if not any(belongs(level, a) for a in arrays):
        return (slice(None), *items)
    if not batched:
        return items if len(arrays) == 1 and places == [0] else None
    if places[0] or any(getattr(a, "dtype", np.dtype(int)).kind == "b" for a in arrays):
        return None
    ndim = max(np.ndim(a) for a in arrays)
    samples = np.reshape(np.arange(level.size), (-1, *(1,) * ndim))
    return (samples, *(aligned(a, ndim) if belongs(level, a) else a for a in arrays), *items[places[-1] + 1 :])


def read(level: Level, x: Any, index: Any) -> Any:
    """`x[index]`, where one of the two or both are batched."""
    level = level_of((x, index))
    if is_mask(index):
        raise RuntimeError(
            "vmap: an index by a mask gives results whose shape depends on values, so that samples could differ: use "
            "where(mask, x, y)"
        )
    full = index_of_all(level, index, belongs(level, x))
    if full is None:
        return each(level, lambda array, items: array[items], (x, index), {})
    if belongs(level, x):
        return Batched(level, x.values[full])
    items = tuple(i.values if belongs(level, i) else i for i in (full if isinstance(full, tuple) else (full,)))
    return Batched(level, x[items])


@rule(getitem)
def read_part(level: Level, func: Any, args: Any, kwargs: Any) -> Any:
    """`x[index]`."""
    return read(level, *args)


@rule(getitem_adjoint)
def add_parts(level: Level, func: Any, args: Any, kwargs: Any) -> Any:
    """The adjoint of `x[index]`."""
    values, index, shape = args
    full = None if is_mask(index) else index_of_all(level, index)
    if full is None or not isinstance(full, tuple):
        return each(level, func, args, kwargs)
    return Batched(level, getitem_adjoint(all_samples(level, values), full, (level.size, *shape)))


@rule(np.take)
def take(level: Level, func: Any, args: Any, kwargs: Any) -> Any:
    """Slices at places along an axis."""
    x, index, axis = args[0], args[1], argument(args, kwargs, 2, "axis", None)
    if axis is None:
        x, axis = np.reshape(x, (-1,)), 0
    if belongs(level, x) and not belongs(level, index):
        return Batched(level, np.take(x.values, index, axis=from_end(axis, x.ndim)))
    if belongs(level, x):
        return each(level, np.take, (x, index), {"axis": axis})
    axis = axis % x.ndim
    return Batched(level, np.moveaxis(np.take(x, index.values, axis=axis), axis, 0))


# ----- products ---------------------------------------------------------------------------------------------------


@rule(np.matmul)
def products(level: Level, func: Any, args: Any, kwargs: Any) -> Any:
    """`x @ y`: one product for all samples where a factor is common to them."""
    x, y = args[:2]
    if not np.ndim(x) or not np.ndim(y) or kwargs:
        return each(level, func, args, kwargs)  # raises NumPy's error
    if x.shape[-1] != y.shape[0 if y.ndim == 1 else -2]:
        raise ValueError(f"matmul: Input operand 1 has a mismatch in its core dimension: {x.shape} @ {y.shape}")
    mine, theirs = belongs(level, x), belongs(level, y)
    if mine and not theirs and y.ndim <= 2 and x.ndim >= 1:
        values = x.values
        rows = np.reshape(values, (math.prod(values.shape[:-1]), values.shape[-1]))
        return Batched(level, np.reshape(np.matmul(rows, y), (*values.shape[:-1], *y.shape[1:])))
    if theirs and not mine and y.ndim == 1 and x.ndim == 2:
        return Batched(level, np.matmul(y.values, np.swapaxes(x, 0, 1)))
    row, column = x.ndim == 1, y.ndim == 1
    if row:
        x = np.expand_dims(x, 0)
    if column:
        y = np.expand_dims(y, 1)
    ndim = max(x.ndim, y.ndim)
    out = np.matmul(aligned(x, ndim) if mine else x, aligned(y, ndim) if theirs else y)
    if row:
        out = np.squeeze(out, -2)
    if column:
        out = np.squeeze(out, -1)
    return Batched(level, out)


@rule(np.dot)
def dot(level: Level, func: Any, args: Any, kwargs: Any) -> Any:
    """`np.dot`: a product of matrices or vectors, or of numbers."""
    x, y = args
    if not np.ndim(x) or not np.ndim(y):
        return np.multiply(x, y)
    return np.matmul(x, y) if np.ndim(y) <= 2 else each(level, func, args, kwargs)


@rule(np.outer)
def outer(level: Level, func: Any, args: Any, kwargs: Any) -> Any:
    """All products of two vectors' elements."""
    x, y = (np.reshape(a, (-1,)) for a in args)
    return np.expand_dims(x, 1) * np.expand_dims(y, 0)


@rule(np.einsum)
def einsum(level: Level, func: Any, args: Any, kwargs: Any) -> Any:
    """One letter more, for the samples."""
    equation, operands = args[0], args[1:]
    if not isinstance(equation, str):
        return each(level, func, args, kwargs)
    equation = equation.replace(" ", "")
    letter = next(c for c in "ZYXWVUTSRQPONMLKJIHGFEDCBAzyxwvutsrqponmlkjihgfedcba" if c not in equation)
    left, arrow, right = equation.partition("->")
    if not arrow:
        letters = sorted({c for c in left if c.isalpha() and left.count(c) == 1})
        right = "..." * ("..." in left) + "".join(letters)
    terms = [letter + term if belongs(level, x) else term for term, x in zip(left.split(","), operands, strict=True)]
    values = [x.values if belongs(level, x) else x for x in operands]
    return Batched(level, np.einsum(f"{','.join(terms)}->{letter}{right}", *values, **kwargs))


@rule(np.tensordot)
def tensordot(level: Level, func: Any, args: Any, kwargs: Any) -> Any:
    """By an einsum equation."""
    x, y = args[:2]
    axes = argument(args, kwargs, 2, "axes", 2)
    if isinstance(axes, int):
        axes = (range(x.ndim - axes, x.ndim), range(axes))
    first, second = ((a,) if isinstance(a, int) else tuple(a) for a in axes)
    names = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXY"
    of_x = list(names[: x.ndim])
    of_y = list(names[x.ndim : x.ndim + y.ndim])
    for i, j in zip(first, second, strict=True):
        of_y[j] = of_x[i]
    summed = {of_x[i] for i in first}
    kept = [c for c in (*of_x, *of_y) if c not in summed]
    return np.einsum(f"{''.join(of_x)},{''.join(of_y)}->{''.join(kept)}", x, y)


# ----- matrices ---------------------------------------------------------------------------------------------------

OF_MATRICES = named(
    *("inv", "det", "slogdet", "eig", "eigh", "eigvals", "eigvalsh", "svd", "svdvals", "qr", "cholesky", "pinv"),
    *("matrix_power", "matrix_rank", "cond", "matrix_transpose"),
    module=np.linalg,
)


@rule(*OF_MATRICES)
def of_matrices(level: Level, func: Any, args: Any, kwargs: Any) -> Any:
    """Functions for which leading axes are a batch."""
    if not belongs(level, args[0]) or has_members((args[1:], kwargs)) or args[0].ndim < 2:
        return each(level, func, args, kwargs)
    out = func(args[0].values, *args[1:], **kwargs)
    if isinstance(out, tuple):
        items = [Batched(level, x) for x in out]
        return type(out)(*items) if hasattr(out, "_fields") else tuple(items)
    return Batched(level, out)


@rule(np.linalg.solve, solve_triangular_matrix)
def solve(level: Level, func: Any, args: Any, kwargs: Any) -> Any:
    """Linear equations."""
    a, b = args
    column = b.ndim == 1
    if column:
        b = np.expand_dims(b, 1)
    ndim = max(a.ndim, b.ndim)
    out = func(*(aligned(x, ndim) if belongs(level, x) else x for x in (a, b)), **kwargs)
    return Batched(level, np.squeeze(out, -1) if column else out)


@rule(np.linalg.norm)
def norm(level: Level, func: Any, args: Any, kwargs: Any) -> Any:
    """Norms along given axes."""
    if argument(args, kwargs, 2, "axis", None) is None:
        return each(level, func, args, kwargs)
    return along(level, func, args, kwargs)


# ----- convolutions -----------------------------------------------------------------------------------------------


def merged(x: Any, axis: int) -> Any:
    """All samples' values with the samples' axis moved in front of `axis` and merged into it."""
    values = np.moveaxis(x, 0, axis)
    return np.reshape(
        values, (*values.shape[:axis], values.shape[axis] * values.shape[axis + 1], *values.shape[axis + 2 :])
    )


def parted(level: Level, out: Any, axis: int) -> Batched:
    """The reverse of `merged`."""
    shape = (*out.shape[:axis], level.size, out.shape[axis] // level.size, *out.shape[axis + 1 :])
    return Batched(level, np.moveaxis(np.reshape(out, shape), axis, 0))


@rule(convolution.convolve, convolution.convolve_input)
def convolutions(level: Level, func: Any, args: Any, kwargs: Any) -> Any:
    """Samples as more images where they share the weight; otherwise as more groups of channels."""
    x, w, *bias = args
    if not level.size or (bias and bias[0] is not None and belongs(level, bias[0]) and not belongs(level, w)):
        return each(level, func, args, kwargs)
    if not belongs(level, w):
        return parted(level, func(merged(x.values, 0), *args[1:], **kwargs), 0)
    x = merged(all_samples(level, x), 1)
    bias = [None if b is None else np.reshape(all_samples(level, b), (-1,)) for b in bias]
    kwargs = kwargs | {"groups": level.size * kwargs.get("groups", 1)}
    return parted(level, func(x, merged(w.values, 0), *bias, **kwargs), 1)


@rule(convolution.convolve_weight)
def convolution_weights(level: Level, func: Any, args: Any, kwargs: Any) -> Any:
    """A weight for each sample: samples as more groups of channels."""
    if not level.size:
        return each(level, func, args, kwargs)
    x, g = (merged(all_samples(level, a), 1) for a in args)
    kwargs = kwargs | {"groups": level.size * kwargs.get("groups", 1)}
    return parted(level, func(x, g, **kwargs), 0)
