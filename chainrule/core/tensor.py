"""`Tensor`: an array, its gradient, and the node of the graph that says how it was made.

Operations are attached to the class by `chainrule.ops`; this module knows none of them.
Read next: `forward.py`, how an operation runs.
"""

from __future__ import annotations

import math
import warnings
import weakref
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from .dtypes import as_dtype, as_numpy_dtype, default_float, dtype, to_complex
from .grad_mode import grad_mode
from .recipe import CHANGES, Leaf, Recipe, RemovableHandle, Storage, extra_of, new_object

__all__ = ["Size", "Tensor", "as_array", "device"]

_item = tuple.__getitem__
run_backward: Any = None  # `backward` of backprop.py, which puts itself here


class Size(tuple[int, ...]):
    """A shape: a tuple that counts its elements.

    >>> Size((2, 3)).numel(), Size((2, 3))[1:].numel(), Size((2, 3)) == (2, 3)
    (6, 3, True)
    """

    __slots__ = ()

    def numel(self) -> int:
        """The number of elements of a tensor of this shape."""
        return math.prod(self)

    def __getitem__(self, index: Any) -> Any:
        found = _item(self, index)
        return Size(found) if type(found) is tuple else found

    def __add__(self, other: Any) -> Size:
        return Size(tuple.__add__(self, other))


class device:
    """Where a tensor's array lives: "cpu" for NumPy arrays, the library's own name for other arrays.

    >>> device("cpu") == "cpu", device("cuda:1").index
    (True, 1)
    """

    __slots__ = ("index", "type")

    def __init__(self, type: Any = "cpu", index: int | None = None) -> None:
        kind, _, number = str(type).partition(":")
        self.type = kind
        self.index = int(number) if number.isdigit() else index

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __repr__(self) -> str:
        return (
            f"device(type={self.type!r})" if self.index is None else f"device(type={self.type!r}, index={self.index})"
        )

    def __eq__(self, other: object) -> bool:
        return str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def __reduce__(self) -> tuple[Any, ...]:
        return device, (str(self),)

    def __enter__(self) -> device:
        check_device(self)
        return self

    def __exit__(self, *error: object) -> None:
        pass


CPU = device("cpu")


def check_device(place: Any) -> None:
    """Refuse to make a tensor anywhere else than on the cpu.

    Raises:
        RuntimeError: another device.
    """
    if place is not None and str(place).partition(":")[0] != "cpu":
        raise RuntimeError(
            f"there is no device {str(place)!r} here: tensors are made on the cpu; leave device= out, or ask "
            "cuda.is_available() first"
        )


def device_of(array: Any) -> device:
    """The device of an array: "cpu" for NumPy's, otherwise the array's own `device` or its library's name."""
    if isinstance(array, np.ndarray):
        return CPU
    return device(getattr(array, "device", type(array).__module__.partition(".")[0]))


def is_array(value: Any) -> bool:
    """Whether `value` is an array that can be used as it is: NumPy's, or one that speaks NumPy's protocols."""
    return isinstance(value, np.ndarray) or (
        hasattr(value, "__array_function__") and hasattr(value, "shape") and not isinstance(value, (Tensor, np.generic))
    )


def as_array(data: Any, wanted: Any = None) -> Any:
    """The array of a new tensor: `data` itself where it can be shared, converted otherwise.

    float64 (complex128) becomes the default floating (complex) type unless `wanted` names a type; numbers and lists
    become NumPy arrays.
    """
    if isinstance(data, Tensor):
        array = data.array
        return array if wanted is None else array.astype(as_numpy_dtype(wanted), copy=False)
    array = data if is_array(data) else _from_python(data)
    if isinstance(array, np.ndarray) and array.dtype.kind not in "biufc":
        raise TypeError(
            f"a tensor holds numbers, not {array.dtype}: the types are float64, float32, float16, complex128, "
            "complex64, int64 to int8, uint64 to uint8 and bool"
        )
    if isinstance(array, np.ndarray) and not array.dtype.isnative:  # BLAS and kernels would read its bytes as they are
        data = array = array.astype(array.dtype.newbyteorder("="))
    if wanted is not None:
        kind = as_numpy_dtype(wanted)
        if array is not data and array.dtype != kind:
            _check_fits(array, kind)
        return array.astype(kind, copy=False)
    if array.dtype == np.float64:
        return array.astype(default_float(), copy=False)
    if array.dtype == np.complex128:
        return array.astype(to_complex(default_float()), copy=False)
    return array


def _from_python(data: Any) -> np.ndarray[Any, Any]:
    if isinstance(data, (list, tuple)):
        data = _without_tensors(data)
        if not len(data):
            return np.array(data, dtype=default_float())
    array = np.array(data)
    if array.dtype.kind not in "biufc":
        raise TypeError(f"a tensor holds numbers; {type(data).__name__} {data!r} gives an array of {array.dtype}")
    return array


def _check_fits(array: np.ndarray[Any, Any], kind: np.dtype[Any]) -> None:
    """Refuse Python's numbers for a type that cannot hold them.

    Raises:
        TypeError: complex numbers for a real type.
        RuntimeError: integers that are too large. Negative ones count from the end of an unsigned type.
    """
    if array.dtype.kind == "c" and kind.kind != "c":
        raise TypeError(f"must be real numbers for {kind}, not complex: give a complex dtype, or take .real")
    if array.dtype.kind in "iu" and kind.kind in "iu" and array.size:
        largest = int(np.iinfo(kind).max)
        low, high = int(array.min()), int(array.max())
        if high > largest or low < (-largest if kind.kind == "u" else -largest - 1):
            raise RuntimeError(
                f"value cannot be converted to type {kind} without overflow: {high if high > largest else low}"
            )


def _without_tensors(data: Any) -> Any:
    """Nested lists with tensors in them, the tensors replaced by their values."""
    if isinstance(data, Tensor):
        if data.requires_grad and grad_mode():
            warnings.warn(
                "Converting a tensor with requires_grad=True to a scalar: no gradient flows through the new tensor. "
                "Consider using tensor.detach() first, or stack([...]), which keeps gradients.",
                stacklevel=4,
            )
        return data.detach().numpy()
    if isinstance(data, (list, tuple)):
        return [_without_tensors(item) for item in data]
    return data


class Alias:
    """How a tensor shares memory: with which storage, and, for a view, by which functions from which base tensor."""

    __slots__ = ("base", "chain", "recorded", "seen", "storage")

    def __init__(
        self, storage: Storage, base: Tensor | None = None, chain: tuple[Any, ...] = (), recorded: bool = True
    ) -> None:
        self.storage = storage
        self.base = base
        self.chain = chain  # ((function, further arguments, keyword arguments), ...) that leads from base to the view
        self.seen = storage.count  # the view's node is that of the base's value at this count
        self.recorded = recorded  # False for a view made while recording was off


class Tensor:
    """An array whose operations are recorded, so that gradients flow back through them.

    Args:
        array: a NumPy array (shared, not copied, when its type fits), number, nested list, or an array of another
            library that speaks NumPy's protocols. float64, and lists of integers, become the default float unless
            `dtype` says otherwise. Sizes, `Tensor(2, 3)` or `Tensor(x.size())`, make a tensor of that shape with
            whatever values the memory held.
        requires_grad: whether gradients are wanted; integers then become the default float.
        dtype: the element type.

    Raises:
        RuntimeError: `requires_grad` with an explicit integer or boolean `dtype`.

    >>> Tensor([1.0, 2.0])
    Tensor(array([1., 2.], dtype=float32), requires_grad=False)
    """

    __slots__ = ("__weakref__", "_alias", "_grad", "_node", "array")
    array: Any
    _grad: Tensor | None
    _node: Recipe | Leaf | None
    _alias: Alias | None

    def __init__(self, array: Any = (), requires_grad: Any = False, dtype: Any = None, *sizes: int) -> None:
        if type(array) is int or type(array) is Size:
            if type(requires_grad) is int:
                array = (array, requires_grad, *(() if dtype is None else (dtype,)), *sizes)
                requires_grad, dtype = False, None
            self.array = np.empty(array, default_float() if dtype is None else as_numpy_dtype(dtype))
        else:
            self.array = as_array(array, dtype)
            if dtype is None and isinstance(array, (list, tuple)) and self.array.dtype.kind in "biu":
                self.array = self.array.astype(default_float())
        self._grad = None
        self._node = None
        self._alias = Alias(storage_of(array)) if isinstance(array, Tensor) and array.array is self.array else None
        if requires_grad:
            if dtype is None and self.array.dtype.kind in "biu":
                self.array = self.array.astype(default_float())
            self.requires_grad_()

    if TYPE_CHECKING:  # operations are attached by chainrule.ops

        def __getattr__(self, name: str) -> Any: ...
        def __add__(self, other: Any) -> Tensor: ...
        def __radd__(self, other: Any) -> Tensor: ...
        def __sub__(self, other: Any) -> Tensor: ...
        def __rsub__(self, other: Any) -> Tensor: ...
        def __mul__(self, other: Any) -> Tensor: ...
        def __rmul__(self, other: Any) -> Tensor: ...
        def __truediv__(self, other: Any) -> Tensor: ...
        def __rtruediv__(self, other: Any) -> Tensor: ...
        def __floordiv__(self, other: Any) -> Tensor: ...
        def __rfloordiv__(self, other: Any) -> Tensor: ...
        def __mod__(self, other: Any) -> Tensor: ...
        def __rmod__(self, other: Any) -> Tensor: ...
        def __pow__(self, other: Any) -> Tensor: ...
        def __rpow__(self, other: Any) -> Tensor: ...
        def __matmul__(self, other: Any) -> Tensor: ...
        def __rmatmul__(self, other: Any) -> Tensor: ...
        def __neg__(self) -> Tensor: ...
        def __pos__(self) -> Tensor: ...
        def __abs__(self) -> Tensor: ...
        def __invert__(self) -> Tensor: ...
        def __and__(self, other: Any) -> Tensor: ...
        def __or__(self, other: Any) -> Tensor: ...
        def __xor__(self, other: Any) -> Tensor: ...
        def __lt__(self, other: Any) -> Tensor: ...
        def __le__(self, other: Any) -> Tensor: ...
        def __gt__(self, other: Any) -> Tensor: ...
        def __ge__(self, other: Any) -> Tensor: ...
        def __eq__(self, other: Any) -> Tensor: ...  # type: ignore[override]
        def __ne__(self, other: Any) -> Tensor: ...  # type: ignore[override]
        def __getitem__(self, index: Any) -> Tensor: ...
        def __setitem__(self, index: Any, value: Any) -> None: ...

    # ---- the graph ---------------------------------------------------------------------------------------------

    def node(self) -> Recipe | Leaf | None:
        """The node of the graph for the tensor's present value; None where no gradient is tracked."""
        alias = self._alias
        if alias is not None and alias.base is not None and alias.seen != alias.storage.count:
            from .views import refresh

            refresh(self, alias)
        return self._node

    @property
    def requires_grad(self) -> bool:
        return self.node() is not None

    @requires_grad.setter
    def requires_grad(self, wanted: bool) -> None:
        self.requires_grad_(wanted)

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Say whether gradients are wanted for this leaf; returns the tensor.

        Raises:
            RuntimeError: the tensor is not of a floating or complex type, or is the result of an operation and
                `requires_grad` is False.
        """
        node = self.node()
        if requires_grad:
            if node is None:
                if self.array.dtype.kind not in "fc":
                    raise RuntimeError(
                        "only Tensors of floating point and complex dtype can require gradients, this one is "
                        f"{self.array.dtype}: write dtype=chainrule.float32, or leave dtype out"
                    )
                self._node = Leaf(self)
        elif isinstance(node, Recipe):
            raise RuntimeError(
                "you can only change requires_grad flags of leaf variables: this tensor is the result of "
                "an operation. Use detach() for a tensor without the graph."
            )
        else:
            self._node = None
        return self

    @property
    def grad(self) -> Tensor | None:
        """The gradient that backward passes have added up; None before the first."""
        return self._grad

    @grad.setter
    def grad(self, gradient: Tensor | None) -> None:
        if gradient is not None:
            _check_gradient(self, gradient)
        self._grad = gradient

    @grad.deleter
    def grad(self) -> None:
        self._grad = None

    @property
    def recipe(self) -> Recipe | None:
        """How the tensor was made; None for a leaf."""
        node = self.node()
        return node if isinstance(node, Recipe) else None

    @recipe.setter
    def recipe(self, recipe: Recipe | None) -> None:
        if recipe is not None and recipe._out is None:
            recipe._out = self.array
        self._node = recipe

    @property
    def is_leaf(self) -> bool:
        """Whether a backward pass ends here: made by the user, or not tracked."""
        return not isinstance(self.node(), Recipe)

    @property
    def grad_fn(self) -> Recipe | None:
        """PyTorch's name for `recipe`."""
        return self.recipe

    @property
    def _version(self) -> int:
        return 0 if self._alias is None else self._alias.storage.count

    @property
    def _base(self) -> Tensor | None:
        return None if self._alias is None else self._alias.base

    def _is_view(self) -> bool:
        return self._base is not None

    def detach(self) -> Tensor:
        """A tensor with the same memory and without the graph. A write through either is seen by both."""
        return make_tensor(self.array, None, Alias(storage_of(self)))

    def detach_(self) -> Tensor:
        """Cut the tensor from the graph that made it.

        Raises:
            RuntimeError: it is a view.
        """
        if self._is_view():
            raise RuntimeError("Can't detach views in-place: use detach() instead")
        storage_of(self)  # so that the recipe that made it notices writes from now on
        self._node = None
        return self

    @property
    def data(self) -> Tensor:
        """The same memory without the graph; writes through it are not counted."""
        return make_tensor(self.array, None)

    @data.setter
    def data(self, value: Any) -> None:
        array = value.array if isinstance(value, Tensor) else as_array(value)
        if self._node is not None and array.dtype.kind not in "fc":
            raise RuntimeError(
                "data set to a tensor that requires gradients must be floating point or complex dtype, this is "
                f"{array.dtype}: write requires_grad_(False) first"
            )
        self._move_to(array)

    def _move_to(self, array: Any) -> None:
        """Be another piece of memory, no view of anything; earlier writes to the old one are still known of."""
        self.array = array
        if self._alias is not None:
            self._alias = Alias(self._alias.storage)

    def backward(
        self,
        gradient: Any = None,
        retain_graph: bool | None = None,
        create_graph: bool = False,
        inputs: Any = None,
        *,
        end_grad: Any = None,
    ) -> None:
        """Add to every leaf's `.grad` the gradient of this tensor, weighted by `gradient`.

        Args:
            gradient: seed of this tensor's shape; ones if left out. `end_grad` is the notes' name for it.
            retain_graph: keep what the recipes saved, for another backward; as `create_graph` if left out.
            create_graph: record the backward pass, for higher derivatives.
            inputs: the only tensors whose `.grad` is filled.

        Raises:
            RuntimeError: the tensor does not require grad; the seed has another shape; the graph was freed; a saved
                array was overwritten.

        >>> import chainrule as cr
        >>> x = cr.tensor([1.0, 2.0], requires_grad=True)
        >>> (x * x).backward()
        >>> x.grad
        Tensor(array([2., 4.], dtype=float32), requires_grad=False)
        """
        if end_grad is not None:
            if gradient is not None:
                raise TypeError("backward() was given gradient and end_grad; they are two names for one seed")
            gradient = end_grad
        run_backward(self, gradient, retain_graph, create_graph, inputs)

    def retain_grad(self) -> None:
        """Keep the gradient of this intermediate result in `.grad` as well.

        Raises:
            RuntimeError: the tensor does not require grad.
        """
        node = self.node()
        if node is None:
            raise RuntimeError("can't retain_grad on Tensor that has requires_grad=False")
        if isinstance(node, Recipe):
            extra_of(node).retained = weakref.ref(self)

    @property
    def retains_grad(self) -> bool:
        node = self.node()
        return isinstance(node, Recipe) and node._extra is not None and node._extra.retained is not None

    def register_hook(self, hook: Callable[[Tensor], Tensor | None]) -> RemovableHandle:
        """Call `hook(gradient)` whenever this tensor's gradient is computed; what it returns, if anything, replaces it.

        Raises:
            RuntimeError: the tensor does not require grad.

        >>> import chainrule as cr
        >>> x = cr.tensor([1.0], requires_grad=True)
        >>> handle = x.register_hook(lambda gradient: gradient * 10)
        >>> (x * 2).backward(); x.grad.item()
        20.0
        >>> handle.remove()
        """
        node = self.node()
        if node is None:
            raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
        extra = extra_of(node)
        if extra.hooks is None:
            extra.hooks = {}
        handle = RemovableHandle(extra.hooks)
        extra.hooks[handle.id] = hook
        CHANGES.now += isinstance(node, Leaf)
        return handle

    def register_post_accumulate_grad_hook(self, hook: Callable[[Tensor], None]) -> RemovableHandle:
        """Call `hook(tensor)` after a gradient was added to this leaf's `.grad`.

        Raises:
            RuntimeError: the tensor is no leaf that requires grad.
        """
        node = self.node()
        if not isinstance(node, Leaf):
            raise RuntimeError("post accumulate grad hooks cannot be registered on non-leaf tensors")
        extra = extra_of(node)
        if extra.post_hooks is None:
            extra.post_hooks = {}
        handle = RemovableHandle(extra.post_hooks)
        CHANGES.now += 1
        extra.post_hooks[handle.id] = hook
        return handle

    # ---- the array ---------------------------------------------------------------------------------------------

    @property
    def shape(self) -> Size:
        return Size(self.array.shape)

    @property
    def ndim(self) -> int:
        return self.array.ndim  # type: ignore[no-any-return]

    @property
    def dtype(self) -> dtype:
        return as_dtype(self.array.dtype)

    @property
    def device(self) -> device:
        return device_of(self.array)

    def item(self) -> Any:
        """The one number in the tensor, as a Python number.

        Raises:
            RuntimeError: it holds another number of elements.
        """
        if self.array.size != 1:
            raise RuntimeError(
                f"a Tensor with {self.array.size} elements cannot be converted to Scalar (shape {self.shape})"
            )
        return self.array.item()

    def tolist(self) -> Any:
        """The values as nested Python lists."""
        return self.array.tolist()

    def numpy(self, *, force: bool = False) -> Any:
        """The tensor's array, sharing its memory.

        Raises:
            RuntimeError: the tensor requires grad, recording is on, and `force` is False.
        """
        if not force and self.requires_grad and grad_mode():
            raise RuntimeError(
                "Can't call numpy() on Tensor that requires grad: the gradient would be lost. "
                "Use tensor.detach().numpy() instead."
            )
        return self.array

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        array = self.numpy()
        if not isinstance(array, np.ndarray):
            if hasattr(array, "as_number"):
                array.__array__()  # a traced value says where
            raise TypeError(
                f"a tensor on {self.device} cannot become a NumPy array by itself: move it to the cpu first"
            )
        return np.array(array, dtype=dtype, copy=copy)

    def __dlpack__(self, **kwargs: Any) -> Any:
        if self.requires_grad:
            raise BufferError("Can't export tensors that require gradient: use tensor.detach()")
        return self.array.__dlpack__(**kwargs)

    def __dlpack_device__(self) -> Any:
        return self.array.__dlpack_device__()

    def __repr__(self) -> str:
        return f"Tensor({self.array!r}, requires_grad={self.requires_grad})"

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if self.array.ndim == 0 else object.__format__(self, spec)

    def __hash__(self) -> int:
        return id(self)

    def __len__(self) -> int:
        if self.array.ndim == 0:
            raise TypeError("len() of a 0-d tensor")
        return self.array.shape[0]  # type: ignore[no-any-return]

    def __iter__(self) -> Iterator[Tensor]:
        if self.array.ndim == 0:
            raise TypeError("iteration over a 0-d tensor")
        return (self[i] for i in range(self.array.shape[0]))

    def __bool__(self) -> bool:
        if self.array.size != 1:
            raise RuntimeError(
                f"bool value of Tensor with more than one value is ambiguous (shape {self.shape}): use any() or all()"
                if self.array.size
                else "bool value of Tensor with no values is ambiguous"
            )
        return bool(self.array)

    def __float__(self) -> float:
        return float(self._number(float))

    def __int__(self) -> int:
        return int(self._number(int))

    def __complex__(self) -> complex:
        return complex(self._number(complex))

    def _number(self, wanted: type) -> Any:
        if self.array.size != 1:
            raise ValueError(
                f"only one element tensors can be converted to Python scalars, this one has shape {self.shape}"
            )
        value = self.item()
        if isinstance(value, complex) and wanted is not complex:
            if value.imag:
                raise RuntimeError(
                    f"value cannot be converted to type {wanted.__name__} without overflow: {value}; take .real"
                )
            return value.real
        return value

    def __index__(self) -> int:
        if self.array.dtype.kind not in "biu" or self.array.size != 1:
            raise TypeError(
                f"only integer tensors of a single element can be an index, got {self.dtype} of shape {self.shape}"
            )
        return int(self.array.item())

    def __contains__(self, value: Any) -> bool:
        return bool(np.any(np.equal(self.array, value.array if isinstance(value, Tensor) else value)))

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if not self.is_leaf:
            raise RuntimeError("only leaf tensors support deepcopy: use clone(), or detach() first")
        copy = new_object(type(self))
        copy.array = self.array.copy()
        copy._grad = None if self._grad is None else self._grad.__deepcopy__(memo)
        copy._alias = None
        copy._node = None if self._node is None else Leaf(copy)
        if hasattr(self, "__dict__"):
            copy.__dict__.update(self.__dict__)
        memo[id(self)] = copy
        return copy

    def __reduce__(self) -> tuple[Any, ...]:
        if not self.is_leaf:
            raise RuntimeError("only leaf tensors can be pickled: use detach() first")
        return _rebuild, (type(self), self.array, self.requires_grad, getattr(self, "__dict__", None))


def _check_gradient(tensor: Tensor, gradient: Any) -> None:
    """Refuse as a tensor's `.grad` what can be no gradient of it.

    Raises:
        TypeError: no tensor.
        RuntimeError: the tensor itself, or one of another shape or type.
    """
    if not isinstance(gradient, Tensor):
        raise TypeError(f"assigned grad expected to be a Tensor or None but got grad of type {type(gradient).__name__}")
    if gradient is tensor:
        raise RuntimeError("can't assign a tensor as its own grad: write x.grad = x.clone()")
    if tuple(gradient.array.shape) != tuple(tensor.array.shape):
        raise RuntimeError(
            f"attempting to assign a gradient of size {tuple(gradient.array.shape)} to a tensor of size "
            f"{tuple(tensor.array.shape)}: they must be the same"
        )
    if gradient.array.dtype != tensor.array.dtype:
        raise RuntimeError(
            f"attempting to assign a gradient with dtype {gradient.dtype} to a tensor with dtype {tensor.dtype}: write "
            f".to({tensor.dtype}) behind it"
        )


def _rebuild(kind: type[Tensor], array: Any, requires_grad: bool, attributes: dict[str, Any] | None) -> Tensor:
    tensor = make_tensor(array, None, kind=kind)
    if attributes:
        tensor.__dict__.update(attributes)
    return tensor.requires_grad_(requires_grad)


def make_tensor(
    array: Any, node: Recipe | Leaf | None, alias: Alias | None = None, kind: type[Tensor] = Tensor
) -> Tensor:
    """A tensor from its parts, without the constructor's conversions."""
    tensor: Tensor = new_object(kind)
    tensor.array = array
    tensor._grad = None
    tensor._node = node
    tensor._alias = alias
    return tensor


def storage_of(tensor: Tensor) -> Storage:
    """The tensor's storage; made the first time that the memory is shared or written."""
    alias = tensor._alias
    if alias is None:
        storage = Storage()
        tensor._alias = Alias(storage)
        node = tensor._node
        if isinstance(node, Recipe) and node._out is tensor.array:  # the recipe may use its own result
            extra = extra_of(node)
            if extra.out_storage is None:
                extra.out_storage = storage
            else:  # another tensor object stands for the same result
                tensor._alias = Alias(extra.out_storage)
        return tensor._alias.storage
    return alias.storage
