"""Element types: PyTorch's names, rules and default on NumPy's dtypes.

A `dtype` here is a thin face on a `numpy.dtype`: NumPy takes it wherever it takes a dtype, the two compare and hash
equal, and PyTorch's attributes (`is_floating_point`, `is_complex`) exist.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np

__all__ = [
    "bfloat16",
    "bool_",
    "can_cast",
    "cdouble",
    "cfloat",
    "complex64",
    "complex128",
    "double",
    "dtype",
    "finfo",
    "float16",
    "float32",
    "float64",
    "get_default_dtype",
    "half",
    "iinfo",
    "int8",
    "int16",
    "int32",
    "int64",
    "long",
    "promote_types",
    "set_default_dtype",
    "short",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
]

CATEGORY = {"b": 0, "u": 1, "i": 1, "f": 2, "c": 3}  # PyTorch's order: bool < integer < floating < complex


class dtype:
    """An element type with PyTorch's attributes; equal to the `numpy.dtype` it stands for.

    >>> import chainrule as cr, numpy as np
    >>> cr.float32 == np.dtype("float32"), cr.float32.is_floating_point, np.zeros(2, dtype=cr.int8).dtype
    (True, True, dtype('int8'))
    """

    __slots__ = ("dtype",)
    dtype: np.dtype[Any]

    def __init__(self, numpy_dtype: Any) -> None:
        object.__setattr__(self, "dtype", np.dtype(numpy_dtype))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a dtype cannot be changed: {name}")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # no NumPy protocol of the wrapped object is this object's own
            raise AttributeError(name)
        return getattr(self.dtype, name)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, dtype):
            return self.dtype == other.dtype
        try:
            return bool(self.dtype == other)
        except TypeError:
            return False

    def __hash__(self) -> int:
        return hash(self.dtype)

    def __repr__(self) -> str:
        return f"chainrule.{self.dtype.name}"

    def __reduce__(self) -> tuple[Any, ...]:
        return as_dtype, (self.dtype,)

    @property
    def is_floating_point(self) -> bool:
        return self.dtype.kind == "f"

    @property
    def is_complex(self) -> bool:
        return self.dtype.kind == "c"

    @property
    def is_signed(self) -> bool:
        return self.dtype.kind in "ifc"

    def to_complex(self) -> Self:
        """The complex type with parts of this floating type."""
        return type(self)(to_complex(self.dtype))

    def to_real(self) -> Self:
        """The floating type of the parts of this complex type."""
        return type(self)(to_real(self.dtype))


float16, float32, float64 = dtype("float16"), dtype("float32"), dtype("float64")
complex64, complex128 = dtype("complex64"), dtype("complex128")
int8, int16, int32, int64 = dtype("int8"), dtype("int16"), dtype("int32"), dtype("int64")
uint8, uint16, uint32, uint64 = dtype("uint8"), dtype("uint16"), dtype("uint32"), dtype("uint64")
bool_ = dtype("bool")
half, double, cfloat, cdouble = float16, float64, complex64, complex128  # PyTorch's other names
short, int_, long, float_ = int16, int32, int64, float32


class _MissingDtype(dtype):
    """A type that programs name, and that NumPy has not: it can be compared and passed on; using it raises."""

    __slots__ = ("missing",)
    missing: str

    def __init__(self, name: str) -> None:
        object.__setattr__(self, "missing", name)

    @property
    def dtype(self) -> np.dtype[Any]:  # type: ignore[override]
        raise TypeError(f"there are no arrays of {self.missing}, NumPy has no such type: use chainrule.float32")

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return hash(self.missing)

    def __repr__(self) -> str:
        return f"chainrule.{self.missing}"

    def __reduce__(self) -> str:  # type: ignore[override]
        return self.missing

    is_floating_point = is_signed = True
    is_complex = False
    itemsize = 2


bfloat16 = _MissingDtype("bfloat16")

FACES = {
    face.dtype: face
    for face in (
        *(float16, float32, float64, complex64, complex128, bool_),
        *(int8, int16, int32, int64, uint8, uint16, uint32, uint64),
    )
}
_PYTHON = {bool: np.dtype("bool"), int: np.dtype("int64")}
_default = np.dtype("float32")


def as_dtype(value: Any) -> dtype:
    """The `dtype` for a NumPy dtype, a name or a Python type."""
    numpy_dtype = as_numpy_dtype(value)
    face = FACES.get(numpy_dtype)
    return face if face is not None else dtype(numpy_dtype)


def as_numpy_dtype(value: Any) -> np.dtype[Any]:
    """The `numpy.dtype` for a `dtype`, a name ("float32") or a Python type (`float` is float64, as in PyTorch).

    Raises:
        TypeError: it is no type, or one of bytes in another order than this machine's.
    """
    if isinstance(value, dtype):
        numpy_dtype: np.dtype[Any] = value.dtype
        return numpy_dtype
    try:
        numpy_dtype = np.dtype(value)
    except TypeError:
        raise TypeError(f"expected a dtype such as chainrule.float32, got {value!r}") from None
    if not numpy_dtype.isnative:
        raise TypeError(f"expected a dtype such as chainrule.float32, got {value!r}: not this machine's order of bytes")
    return numpy_dtype


class _Info:
    """What a type can hold; attributes as PyTorch has them."""

    def __init__(self, type: Any) -> None:
        self._dtype = as_dtype(type)

    @property
    def dtype(self) -> str:
        """The type's name."""
        return self._dtype.dtype.name

    @property
    def bits(self) -> int:
        """The size of a number in bits, of one part of a complex one."""
        return to_real(self._dtype.dtype).itemsize * 8

    def __repr__(self) -> str:
        names = ("resolution", "min", "max", "eps", "smallest_normal", "tiny", "bits", "dtype")
        shown = (f"{name}={getattr(self, name)!r}" for name in names if hasattr(self, name))
        return f"{type(self).__name__}({', '.join(shown)})"


class finfo(_Info):
    """The limits of a floating or complex type, of the default one if none is given.

    Raises:
        TypeError: an integer type.

    >>> import chainrule as cr
    >>> cr.finfo(cr.float32).eps, cr.finfo(cr.float64).bits
    (1.1920928955078125e-07, 64)
    """

    def __init__(self, type: Any = None) -> None:
        super().__init__(_default if type is None else type)
        if self._dtype.dtype.kind not in "fc":
            raise TypeError(f"finfo() requires a floating point type, got {self._dtype!r}; use iinfo()")
        limits: Any = np.finfo(self._dtype.dtype)
        self.eps, self.max, self.min = float(limits.eps), float(limits.max), float(limits.min)
        self.tiny = self.smallest_normal = float(limits.tiny)
        self.resolution = float(str(limits.resolution))


class iinfo(_Info):
    """The limits of an integer type.

    Raises:
        TypeError: a floating, complex or boolean type.

    >>> import chainrule as cr
    >>> cr.iinfo(cr.int8).max
    127
    """

    def __init__(self, type: Any) -> None:
        super().__init__(type)
        if self._dtype.dtype.kind not in "iu":
            raise TypeError(f"iinfo() requires an integer type, got {self._dtype!r}; use finfo()")
        limits = np.iinfo(self._dtype.dtype)
        self.max, self.min = int(limits.max), int(limits.min)


def get_default_dtype() -> dtype:
    """The floating type of new tensors made of Python numbers; float32 unless changed."""
    return as_dtype(_default)


def default_float() -> np.dtype[Any]:
    return _default


def set_default_dtype(d: Any) -> None:
    """Choose the default floating type.

    Raises:
        TypeError: `d` is no floating type.
    """
    global _default
    chosen = as_numpy_dtype(d)
    if chosen.kind != "f":
        raise TypeError(f"the default dtype must be a floating type, got {as_dtype(chosen)!r}")
    _default = chosen


def to_complex(real: np.dtype[Any]) -> np.dtype[Any]:
    return np.dtype("complex128") if real.itemsize >= 8 else np.dtype("complex64")


def to_real(d: np.dtype[Any]) -> np.dtype[Any]:
    if d.kind != "c":
        return d
    return np.dtype("float64") if d.itemsize == 16 else np.dtype("float32")


def promote_pair(a: np.dtype[Any], b: np.dtype[Any]) -> np.dtype[Any]:
    """PyTorch's promotion of two element types: an integer never widens a floating type."""
    if a is b:
        return a
    low, high = sorted((a, b), key=lambda d: CATEGORY[d.kind])
    if CATEGORY[low.kind] != CATEGORY[high.kind] and CATEGORY[low.kind] < 2:
        return high
    return np.promote_types(a, b)


def promote_types(type1: Any, type2: Any) -> dtype:
    """The type that holds both, by PyTorch's rules.

    >>> import chainrule as cr
    >>> cr.promote_types(cr.int64, cr.float16)
    chainrule.float16
    """
    return as_dtype(promote_pair(as_numpy_dtype(type1), as_numpy_dtype(type2)))


def can_cast(from_: Any, to: Any) -> bool:
    """Whether PyTorch lets a result of type `from_` be written into `to`: categories may only grow.

    >>> import chainrule as cr
    >>> cr.can_cast(cr.float64, cr.float32), cr.can_cast(cr.float32, cr.int64)
    (True, False)
    """
    return CATEGORY[as_numpy_dtype(from_).kind] <= CATEGORY[as_numpy_dtype(to).kind]


def number_dtype(number: Any) -> np.dtype[Any]:
    """The type a Python number stands for: int64, the default float, or its complex."""
    if isinstance(number, (bool, np.bool_)):
        return _PYTHON[bool]
    if isinstance(number, (int, np.integer)):
        return _PYTHON[int]
    if isinstance(number, (float, np.floating)):
        return _default
    return to_complex(_default)


def refuse_complex(name: str, array: Any) -> None:
    """What puts numbers in order takes no complex ones; NumPy would go by their real parts.

    Raises:
        NotImplementedError: the array holds complex numbers.
    """
    if array.dtype.kind == "c":
        raise NotImplementedError(
            f"{name} is not implemented for {array.dtype}: complex numbers have no order; take abs(), .real or .imag"
        )


def combine(higher: np.dtype[Any] | None, lower: np.dtype[Any] | None) -> np.dtype[Any] | None:
    """PyTorch's precedence: arrays over zero-dimensional ones over numbers, unless the lower has a larger category."""
    if higher is None or lower is None:
        return higher if lower is None else lower
    if CATEGORY[higher.kind] >= CATEGORY[lower.kind]:
        return higher
    if higher.kind == "f":  # a complex number beside a floating array keeps the array's precision
        return to_complex(higher)
    return promote_pair(higher, lower)
