"""The forward side: `wrap_forward_fn` turns a NumPy-level function into an operation on tensors.

An operation unwraps its tensors, calls the function on their arrays, wraps the result, and, where a gradient may be
wanted, leaves a recipe. NumPy's protocols lead to the same operations, so `np.log(tensor)` and `chainrule.log(tensor)`
are one path. Read next: `backprop.py`, the way back.
"""

from __future__ import annotations

import functools
import importlib
import operator
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from .dtypes import combine, default_float, number_dtype, promote_pair, refuse_complex, to_complex
from .grad_mode import ON, grad_mode
from .lists import in_type_of_tensors, of_list
from .recipe import CLOCK, NO_KWARGS, Recipe, Storage, extra_of, make_recipe, new_object, user_trace
from .table import BACK_FUNCS, backward, name_of
from .tensor import Tensor, device_of, is_array, make_tensor
from .views import join_alias

__all__ = ["Several", "array_function", "implements", "promote", "result_type", "wrap_forward_fn"]

ndarray, generic, asarray = np.ndarray, np.generic, np.asarray
NUMBERS = frozenset((int, float, bool, complex))
LISTS = frozenset((list, tuple))
Function = TypeVar("Function", bound=Callable[..., Any])

# Python's operators do the same on arrays as these ufuncs, sooner; on NumPy scalars, into which 0-d arrays are turned
# on the way, they take a sixth of the time
OPERATORS: dict[Any, Callable[..., Any]] = {
    np.add: operator.add,
    np.subtract: operator.sub,
    np.multiply: operator.mul,
    np.true_divide: operator.truediv,
    np.floor_divide: operator.floordiv,
    np.remainder: operator.mod,
    np.power: operator.pow,
    np.negative: operator.neg,
    np.matmul: operator.matmul,
    np.greater: operator.gt,
    np.greater_equal: operator.ge,
    np.less: operator.lt,
    np.less_equal: operator.le,
    np.equal: operator.eq,
    np.not_equal: operator.ne,
}

UNKNOWN_TYPES = ("ufunc '", "numpy boolean", "the numpy boolean")  # how NumPy's errors about element types begin

TENSOR_FUNCS: dict[Any, Callable[..., Any]] = {}  # NumPy-level function -> the operation on tensors
LATE: list[str] = []  # modules with more of them, imported at the first miss


def array_function(function: Function) -> Function:
    """Let a NumPy-level function of this package be called on tensors and tracers, as NumPy's own functions can.

    The function itself sees only arrays. Given a tensor, the call goes to the operation that `wrap_forward_fn` made.
    """

    @functools.wraps(function)
    def dispatching(*args: Any, **kwargs: Any) -> Any:
        for arg in args:
            if type(arg) is not ndarray:
                override = getattr(type(arg), "__chainrule_function__", None)
                if override is not None:
                    return override(arg, dispatching, args, kwargs)
        return function(*args, **kwargs)

    return dispatching  # type: ignore[return-value]


def implements(numpy_function: Any, *more: Any) -> Callable[[Function], Function]:
    """Make the decorated function what NumPy's function does when it is given tensors."""

    def register(function: Function) -> Function:
        for target in (numpy_function, *more):
            TENSOR_FUNCS[target] = function
        return function

    return register


# ---- element types -----------------------------------------------------------------------------------------------


def result_numpy_dtype(operands: tuple[Any, ...]) -> np.dtype[Any]:
    arrays = zero_dimensional = numbers = None
    for operand in operands:
        array = operand.array if isinstance(operand, Tensor) else operand
        if is_array(array):
            if array.ndim:
                arrays = array.dtype if arrays is None else promote_pair(arrays, array.dtype)
            else:
                d = array.dtype
                zero_dimensional = d if zero_dimensional is None else promote_pair(zero_dimensional, d)
        elif isinstance(array, (bool, int, float, complex, np.generic)):
            d = number_dtype(array)
            numbers = d if numbers is None else promote_pair(numbers, d)
        elif hasattr(array, "as_number"):  # a number that may change, while a function is traced
            d = number_dtype(array.value)
            numbers = d if numbers is None else promote_pair(numbers, d)
        else:
            raise TypeError(f"expected a tensor, an array or a number, got {type(operand).__name__}: {operand!r}")
    result = combine(arrays, combine(zero_dimensional, numbers))
    assert result is not None
    return result


def result_type(*operands: Any) -> Any:
    """The element type of an operation on `operands`, by PyTorch's promotion rules.

    >>> import chainrule as cr
    >>> cr.result_type(cr.tensor([1, 2]), 1.0), cr.result_type(cr.tensor([1.0]), cr.tensor(2.0, dtype=cr.float64))
    (chainrule.float32, chainrule.float32)
    """
    from .dtypes import as_dtype

    return as_dtype(result_numpy_dtype(operands))


def promote(operands: tuple[Any, ...], floating: bool = False) -> list[Any]:
    """The operands in one element type; tensors are cast by a recorded operation, so their gradients are cast back.

    Args:
        floating: make integers the default float, for functions without integer results.
    """
    listed = [isinstance(x, (list, tuple)) for x in operands]
    if True in listed:  # a list counts as of the default type, and has all digits where another type is wanted
        operands = tuple(of_list(x) if given else x for x, given in zip(operands, listed, strict=True))
        counted = (_in_default_float(x) if given else x for x, given in zip(operands, listed, strict=True))
        wanted = result_numpy_dtype(tuple(counted))
    else:
        wanted = result_numpy_dtype(operands)
    if floating and wanted.kind in "biu":
        wanted = default_float()
    result = []
    for operand in operands:
        if isinstance(operand, Tensor):
            result.append(operand if operand.array.dtype == wanted else cast(operand, wanted))
        elif is_array(operand):
            result.append(operand.astype(wanted, copy=False))
        elif isinstance(operand, np.generic):
            result.append(operand.item())
        else:
            result.append(operand)
    return result


def _in_default_float(values: Any) -> Any:
    if is_array(values) and values.dtype in (np.float64, np.complex128):
        return values.astype(default_float() if values.dtype == np.float64 else to_complex(default_float()))
    return values


# ---- wrapping ----------------------------------------------------------------------------------------------------


class Several(tuple[Any, ...]):
    """The results of an operation with several outputs, or their gradients: None where none has arrived.

    Attributes:
        shared: what the backward functions of several arguments may leave for each other, on the gradients.
    """

    shape = None
    shared: Any

    def __add__(self, other: Any) -> Several:
        pairs = zip(self, other, strict=True)
        return Several(b if a is None else a if b is None else a + b for a, b in pairs)


def wrap_forward_fn(
    numpy_func: Callable[..., Any],
    is_differentiable: bool = True,
    *,
    view: bool = False,
    promotes: bool = False,
    floating: bool = False,
    ordered: bool = False,
) -> Callable[..., Any]:
    """The operation on tensors for a function on arrays.

    Args:
        numpy_func: takes arrays (and anything else) by position and keyword, returns an array or a tuple of arrays.
        is_differentiable: whether results may require grad.
        view: results may share memory with the first argument; writes through either are then seen by both.
        promotes: bring the arguments to one element type first, by PyTorch's rules.
        floating: as `promotes`, and integers become the default float.
        ordered: the function compares numbers; complex ones are refused.

    >>> import chainrule as cr, numpy as np
    >>> log = wrap_forward_fn(np.log)
    >>> log(cr.tensor([1.0]))
    Tensor(array([0.], dtype=float32), requires_grad=False)
    """
    implementation = getattr(numpy_func, "__wrapped__", numpy_func) if _is_ours(numpy_func) else numpy_func
    promotes = promotes or floating

    def tensor_func(*args: Any, **kwargs: Any) -> Any:
        if promotes:
            args = tuple(promote(args, floating))
        raw = []
        edges = []
        tracked = False
        foreign = None
        for x in args:
            if isinstance(x, Tensor):
                array = x.array
                if ordered:
                    refuse_complex(name_of(numpy_func).lstrip("_"), array)
                raw.append(array)
                if type(array) is not ndarray:
                    foreign = array
                node = x._node if x._alias is None else x.node()
                edges.append(node)
                if node is not None:
                    tracked = True
            else:
                raw.append(x)
                edges.append(None)
        if kwargs:
            for name, value in kwargs.items():
                if isinstance(value, Tensor):
                    raise TypeError(f"{name_of(numpy_func)}: give the tensor {name} by position, not by keyword")
        tracked = bool(tracked and is_differentiable and grad_mode())
        if tracked and kwargs:
            BACK_FUNCS.check_keywords(numpy_func, kwargs)
        try:
            out = implementation(*raw, **kwargs) if foreign is None else carried_out(foreign, numpy_func, raw, kwargs)
        except (ValueError, TypeError) as error:
            raise explained(error, numpy_func, *raw) from None
        except OverflowError:  # a number that the integers' type cannot hold: of its bits what fits, as in PyTorch
            kind = next(x.dtype for x in raw if is_array(x))
            raw = [asarray(x).astype(kind) if type(x) is int else x for x in raw]
            out = implementation(*raw, **kwargs)
        if type(out) is not ndarray:
            if isinstance(out, tuple):
                return wrap_several(numpy_func, out, tuple(raw), kwargs, args, tuple(edges) if tracked else None)
            out = wrapped_array(out, raw)
            if not is_array(out):
                return out
        result = make_tensor(out, None)
        if tracked and out.dtype.kind in "fc":
            result._node = record(numpy_func, tuple(raw), kwargs, args, tuple(edges), out)
        if view:
            join_alias(result, args[0], numpy_func, tuple(raw[1:]), kwargs)
        return result

    fast: Callable[..., Any] = tensor_func
    if isinstance(numpy_func, np.ufunc) and numpy_func.nout == 1:
        if numpy_func.nin == 1:
            fast = _unary(numpy_func, is_differentiable, floating, tensor_func, ordered)
        elif numpy_func.nin == 2 and promotes:
            fast = _binary(numpy_func, is_differentiable, tensor_func, ordered)
    fast.__name__ = fast.__qualname__ = name_of(numpy_func).lstrip("_")
    fast.__doc__ = f"{name_of(numpy_func)} on tensors; see the table for its derivative."
    TENSOR_FUNCS.setdefault(numpy_func, tensor_func)
    return fast


def carried_out(array: Any, func: Any, args: list[Any], kwargs: dict[str, Any]) -> Any:
    """A function called with an array that is not NumPy's, and that may have its own way to carry the function out."""
    if not isinstance(func, np.ufunc) and not _is_ours(func) and hasattr(array, "__chainrule_function__"):
        return array.__array_function__(func, (type(array),), tuple(args), kwargs)  # NumPy asks some arguments only
    return func(*args, **kwargs)


def _is_ours(function: Any) -> bool:
    return str(getattr(function, "__module__", "")).partition(".")[0] == __name__.partition(".")[0]


def record(
    func: Any, raw: tuple[Any, ...], kwargs: dict[str, Any], inputs: tuple[Any, ...], edges: tuple[Any, ...], out: Any
) -> Recipe:
    recipe = make_recipe(func, raw, kwargs or NO_KWARGS, inputs, edges, out)
    if grad_mode() != ON:
        extra_of(recipe).trace = user_trace()
    return recipe


def wrapped_array(out: Any, raw: Any) -> Any:
    """The result of a NumPy-level function as an array: scalars become 0-d arrays; other libraries' arrays stay.

    Raises:
        RuntimeError: the arguments are on different devices.
    """
    if isinstance(out, (np.generic, ndarray)):
        return np.asarray(out)
    if is_array(out):
        devices = {
            device_of(x) for x in raw if is_array(x) and x.ndim and x.dtype.kind in "fc"
        }  # an index may be NumPy's
        if len(devices) > 1:
            names = " and ".join(sorted(map(str, devices)))
            raise RuntimeError(
                f"Expected all tensors to be on the same device, but found at least two devices, {names}: "
                "move one of them first"
            )
    return out


def _unary(
    ufunc: np.ufunc, is_differentiable: bool, floating: bool, general: Callable[..., Any], ordered: bool = False
) -> Callable[[Any], Any]:
    """The hot path of elementwise functions of one argument."""
    compute = OPERATORS.get(ufunc, ufunc)
    on_ndarrays = getattr(ufunc, "__wrapped__", ufunc) if _is_ours(ufunc) else compute

    def tensor_func(input: Any) -> Any:
        if not isinstance(input, Tensor):
            return general(input) if is_array(input) else general(Tensor(input))
        x = input.array
        if (floating and x.dtype.kind in "biu") or (ordered and x.dtype.kind == "c"):
            return general(input)
        if x.ndim == 0:
            x = x[()]
        try:
            out = saved = on_ndarrays(x) if type(x) is ndarray else compute(x)
        except TypeError as error:
            raise explained(error, ufunc, x) from None
        if type(out) is not ndarray:
            out = asarray(out) if isinstance(out, (generic, complex)) else wrapped_array(out, (x,))
        node = input._node if input._alias is None else input.node()
        result = new_object(Tensor)
        result.array = out
        result._grad = None
        result._alias = None
        result._node = None
        if node is not None and is_differentiable and (mode := grad_mode()):
            recipe = new_object(Recipe)
            recipe._func = ufunc
            recipe._args = (x,)
            recipe._kwargs = NO_KWARGS
            recipe._inputs = (input,)
            recipe._edges = (node,)
            recipe._out = saved
            recipe._saved_at = CLOCK.now
            recipe._extra = None
            result._node = recipe
            if mode != ON:
                extra_of(recipe).trace = user_trace()
        return result

    return tensor_func


def _binary(
    ufunc: np.ufunc, is_differentiable: bool, general: Callable[..., Any], ordered: bool = False
) -> Callable[[Any, Any], Any]:
    """The hot path of elementwise functions of two arguments."""
    comparison = not is_differentiable
    compute = OPERATORS.get(ufunc, ufunc)

    def tensor_func(input: Any, other: Any) -> Any:
        other_node = None
        if isinstance(input, Tensor):
            x = input.array
            node = input._node if input._alias is None else input.node()
            if isinstance(other, Tensor):
                y = other.array
                if x.dtype is not y.dtype:
                    return general(input, other)
                other_node = other._node if other._alias is None else other.node()
                kind = x.dtype
                if x.ndim == 0 and y.ndim == 0:
                    x, y = x[()], y[()]
            elif type(other) in NUMBERS:
                y = other
                kind = x.dtype
                if x.ndim == 0:
                    x = x[()]
            else:
                return general(input, other)
        elif type(input) in NUMBERS and isinstance(other, Tensor):
            x = input
            y = other.array
            node = None
            other_node = other._node if other._alias is None else other.node()
            kind = y.dtype
            if y.ndim == 0:
                y = y[()]
        else:
            return general(input, other)
        if ordered and kind.kind == "c":
            return general(input, other)
        try:
            out = saved = compute(x, y)
        except (ValueError, TypeError) as error:
            raise explained(error, ufunc, x, y) from None
        except OverflowError:
            return general(input, other)
        if type(out) is not ndarray:
            out = asarray(out) if isinstance(out, (generic, complex)) else wrapped_array(out, (x, y))
        if out.dtype is not kind and not comparison:
            return general(input, other)  # an integer or a complex number changed the type
        result = new_object(Tensor)
        result.array = out
        result._grad = None
        result._alias = None
        result._node = None
        if (node is not None or other_node is not None) and is_differentiable and (mode := grad_mode()):
            recipe = new_object(Recipe)
            recipe._func = ufunc
            recipe._args = (x, y)
            recipe._kwargs = NO_KWARGS
            recipe._inputs = (input, other)
            recipe._edges = (node, other_node)
            recipe._out = saved
            recipe._saved_at = CLOCK.now
            recipe._extra = None
            result._node = recipe
            if mode != ON:
                extra_of(recipe).trace = user_trace()
        return result

    return tensor_func


def explained(error: Exception, func: Any, *arrays: Any) -> Exception:
    """An error of NumPy as PyTorch's users know it: both shapes, or both devices, in the message."""
    arrays = tuple(a for a in arrays if is_array(a))
    devices = sorted({str(device_of(a)) for a in arrays})
    if len(devices) > 1:
        return RuntimeError(
            f"Expected all tensors to be on the same device, but found at least two devices, {' and '.join(devices)}: "
            "move one of them first"
        )
    shapes = [tuple(a.shape) for a in arrays]
    if isinstance(error, TypeError):
        if not str(error).lower().startswith(UNKNOWN_TYPES):
            return error
        types = " and ".join(str(a.dtype) for a in arrays)
        return NotImplementedError(f"{name_of(func)} is not implemented for {types}: convert with .to() first")
    if func is np.matmul:
        return RuntimeError(f"mat1 and mat2 shapes cannot be multiplied: {' and '.join(map(str, shapes))}")
    if "broadcast" not in str(error):
        return error
    try:
        np.broadcast_shapes(*shapes)
    except ValueError:
        text = " and ".join(map(str, shapes))
        return RuntimeError(
            f"{name_of(func)}: shapes {text} do not broadcast: counted from the right, sizes must be equal or 1"
        )
    return error


# ---- operations of the machine itself ----------------------------------------------------------------------------

_cast = wrap_forward_fn(np.astype)


@implements(np.astype)
def _astype(x: Any, dtype: Any, /, *, copy: bool = True, device: Any = None) -> Any:
    return x if not copy and x.array.dtype == dtype else _cast(x, np.dtype(dtype))


def cast(tensor: Tensor, wanted: np.dtype[Any]) -> Tensor:
    """The tensor in another element type; the gradient is cast back."""
    if tensor.array.dtype.kind == "c" and wanted.kind != "c":
        tensor = TENSOR_FUNCS[np.real](tensor)
    return _cast(tensor, wanted)  # type: ignore[no-any-return]


@backward(np.astype, 0)
def astype_back(grad_out: Any, out: Any, x: Any, dtype: Any, copy: bool = True) -> Any:
    r"""$\nabla_x L = \nabla_{out} L$"""
    if grad_out.dtype.kind == "c" and x.dtype.kind != "c":
        grad_out = np.real(grad_out)
    return np.astype(grad_out, x.dtype)


@array_function
def take_output(outputs: Any, index: int) -> Any:
    """One of the results of an operation with several."""
    return outputs[index]


@backward(take_output, 0)
def take_output_back(grad_out: Any, out: Any, outputs: Any, index: int) -> Several:
    r"""$\nabla_{outputs_i} L = \nabla_{out} L$"""
    return Several(grad_out if i == index else None for i in range(len(outputs)))


def wrap_several(
    func: Any, outs: tuple[Any, ...], raw: tuple[Any, ...], kwargs: dict[str, Any], inputs: tuple[Any, ...], edges: Any
) -> Any:
    """The tensors for an operation with several outputs: one node for the operation, one for each output."""
    arrays = Several(wrapped_array(out, raw) for out in outs)
    tensors = [make_tensor(array, None) for array in arrays]
    if edges is not None:
        node = record(func, raw, kwargs, inputs, edges, arrays)
        extra_of(node).out_storages = tuple(Storage() for _ in arrays)
        for i, tensor in enumerate(tensors):
            if tensor.array.dtype.kind in "fc":
                tensor._node = output_node(node, i)
    return type(outs)(*tensors) if hasattr(outs, "_fields") else tuple(tensors)


def output_node(node: Recipe, index: int) -> Recipe:
    """The node of one output of an operation with several."""
    arrays = node._out
    recipe = make_recipe(take_output, (arrays, index), NO_KWARGS, (None, index), (node, None), arrays[index])
    if node._extra is not None and node._extra.out_storages:
        extra_of(recipe).out_storage = node._extra.out_storages[index]
    return recipe


# ---- NumPy's protocols -------------------------------------------------------------------------------------------


def _array_ufunc(self: Tensor, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
    if method == "__call__":
        out = kwargs.pop("out", None)
        if out is not None:
            target = out[0]
            if len(out) != 1 or not isinstance(target, Tensor):
                raise TypeError(
                    f"np.{ufunc.__name__} cannot write a Tensor's result into a NumPy array, the gradient would be "
                    "lost: make the array a Tensor, or write detach() on the operand"
                )
            from .views import write_in_place

            return write_in_place(target, f"np.{ufunc.__name__}(out=)", lambda _: ufunc(*inputs, **kwargs))
        dtype = kwargs.pop("dtype", None)
        if kwargs:
            raise TypeError(f"np.{ufunc.__name__} on Tensors takes no {', '.join(sorted(kwargs))}")
        operation = TENSOR_FUNCS.get(ufunc) or TENSOR_FUNCS.get(ufunc.__name__)  # SciPy's are registered by name
        if operation is None:
            raise TypeError(f"np.{ufunc.__name__} has no derivative here: use tensor.detach().numpy() for its value")
        if not LISTS.isdisjoint(map(type, inputs)):
            inputs, _ = in_type_of_tensors(inputs, {})
        result = operation(*inputs)
        return result if dtype is None else cast(result, np.dtype(dtype))
    operation = TENSOR_FUNCS.get((ufunc, method)) or _late((ufunc, method))
    if operation is None:
        raise TypeError(f"np.{ufunc.__name__}.{method} is not known for Tensors: use tensor.detach().numpy()")
    return operation(*inputs, **kwargs)


def _array_function(self: Tensor, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
    operation = TENSOR_FUNCS.get(func) or _late(func)
    if operation is None:
        module = str(getattr(func, "__module__", "numpy")).replace("numpy", "np", 1)
        raise TypeError(
            f"{module}.{name_of(func)} has no implementation for Tensors: use tensor.detach().numpy() for its value, "
            "or register one with chainrule.wrap_forward_fn and chainrule.BACK_FUNCS"
        )
    lists = not (LISTS.isdisjoint(map(type, args)) and LISTS.isdisjoint(map(type, kwargs.values())))
    if lists and func is not np.block:  # of which lists are the structure
        args, kwargs = in_type_of_tensors(args, kwargs)
    return operation(*args, **kwargs)


def _late(func: Any) -> Callable[..., Any] | None:
    known = dict(TENSOR_FUNCS)
    for module in LATE:
        importlib.import_module(module)
    TENSOR_FUNCS.update(known)  # what a user has registered stays
    return TENSOR_FUNCS.get(func)


def _chainrule_function(self: Tensor, func: Any, args: Any, kwargs: Any) -> Any:
    operation = TENSOR_FUNCS.get(func)
    if operation is None:
        operation = wrap_forward_fn(func)
    return operation(*args, **kwargs)


Tensor.__array_ufunc__ = _array_ufunc  # type: ignore[attr-defined]
Tensor.__array_function__ = _array_function  # type: ignore[attr-defined]
Tensor.__chainrule_function__ = _chainrule_function  # type: ignore[attr-defined]
TENSOR_FUNCS[take_output] = wrap_forward_fn(take_output)
