"""dtypes: PyTorch's objects over NumPy's, promotion, finfo and iinfo."""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np
from ml_dtypes import bfloat16 as _bfloat16

Array = Any  # a numpy.ndarray, a MetaArray or a device's array
RawDType = np.dtype[Any]


class dtype:
    """An element type, printed and compared as PyTorch's; ``.np`` is the NumPy dtype behind it.

    >>> float32, float32.itemsize, float32.is_floating_point
    (torch.float32, 4, True)
    """

    __slots__ = (
        "category",
        "is_complex",
        "is_floating_point",
        "is_signed",
        "itemsize",
        "name",
        "np",
    )

    def __init__(self, name: str, raw: Any, category: Any) -> None:
        self.name, self.np, self.category = name, np.dtype(raw), category
        self.itemsize = self.np.itemsize
        self.is_floating_point, self.is_complex = category == 2, category == 3
        self.is_signed = category >= 2 or self.np.kind == "i"

    def __repr__(self) -> str:
        return f"torch.{self.name}"

    def __reduce__(self) -> str:
        return self.name if self.name != "bool" else "bool_"

    def to_real(self) -> dtype:
        """The dtype of the real part."""
        return of(REAL[self.np]) if self.is_complex else self

    def to_complex(self) -> dtype:
        """The complex dtype whose parts hold this dtype's precision."""
        return self if self.is_complex else of(COMPLEX.get(self.np, np.dtype("c8")))


BOOL, INTEGER, FLOAT, COMPLEX_KIND = 0, 1, 2, 3  # categories of promotion

bool_ = dtype("bool", np.bool_, BOOL)
uint8 = dtype("uint8", np.uint8, INTEGER)
uint16 = dtype("uint16", np.uint16, INTEGER)
uint32 = dtype("uint32", np.uint32, INTEGER)
uint64 = dtype("uint64", np.uint64, INTEGER)
int8 = dtype("int8", np.int8, INTEGER)
int16 = dtype("int16", np.int16, INTEGER)
int32 = dtype("int32", np.int32, INTEGER)
int64 = dtype("int64", np.int64, INTEGER)
float16 = dtype("float16", np.float16, FLOAT)
bfloat16 = dtype("bfloat16", _bfloat16, FLOAT)
float32 = dtype("float32", np.float32, FLOAT)
float64 = dtype("float64", np.float64, FLOAT)
complex64 = dtype("complex64", np.complex64, COMPLEX_KIND)
complex128 = dtype("complex128", np.complex128, COMPLEX_KIND)

ALL = (
    bool_, uint8, uint16, uint32, uint64, int8, int16, int32, int64,
    float16, bfloat16, float32, float64, complex64, complex128,
)  # fmt: skip
OF: dict[RawDType, dtype] = {d.np: d for d in ALL}
# PyTorch's second names
half, float, double = float16, float32, float64
short, int, long = int16, int32, int64
cfloat, cdouble = complex64, complex128
ALIASES = {
    "half": half, "float": float, "double": double, "short": short, "int": int, "long": long,
    "cfloat": cfloat, "cdouble": cdouble, "bool": bool_,
}  # fmt: skip

REAL: dict[RawDType, RawDType] = {
    np.dtype("c8"): np.dtype("f4"),
    np.dtype("c16"): np.dtype("f8"),
}
COMPLEX: dict[RawDType, RawDType] = {
    np.dtype("f4"): np.dtype("c8"),
    np.dtype("f8"): np.dtype("c16"),
}
F4, F8, I8, B1 = np.dtype("f4"), np.dtype("f8"), np.dtype("i8"), np.dtype("?")
F2, BF16, C8, C16 = np.dtype("f2"), bfloat16.np, np.dtype("c8"), np.dtype("c16")

# What each raw dtype is accumulated in: half precisions in float32, small integers in int64.
ACCUMULATE: dict[RawDType, RawDType] = {F2: F4, BF16: F4}


def of(raw: Any) -> dtype:
    """The dtype object of a NumPy dtype; TypeError if PyTorch has none."""
    found = OF.get(raw)
    if found is None:
        raw = np.dtype(raw)
        found = OF.get(raw if raw.isnative else raw.newbyteorder("="))
    if found is None:
        raise TypeError(
            f"can't convert np.ndarray of type numpy.{raw.type.__name__}. The only supported types "
            "are: float64, float32, float16, complex64, complex128, int64, int32, int16, int8, uint64, "
            "uint32, uint16, uint8, and bool."
        )
    return found


def raw_of(wanted: Any) -> RawDType:
    """The NumPy dtype of a dtype object, a Python type or a NumPy dtype."""
    if type(wanted) is dtype:
        made: RawDType = wanted.np
        return made
    if wanted is _builtin_float:
        return _default
    if wanted is _builtin_int:
        return I8
    if wanted is bool:
        return B1
    if wanted is complex:
        return COMPLEX[_default] if _default in COMPLEX else C8
    if isinstance(wanted, np.dtype):
        return wanted
    raise TypeError(f"expected a torch.dtype, got {type(wanted).__name__}: {wanted!r}")


_builtin_float: Any = builtins.float
_builtin_int: Any = builtins.int
_default: RawDType = F4


def get_default_dtype() -> dtype:
    """The floating dtype of tensors made from Python numbers."""
    return OF[_default]


def default_raw() -> RawDType:
    """The same as a NumPy dtype."""
    return _default


def set_default_dtype(d: dtype) -> None:
    """Set the floating dtype of tensors made from Python numbers; TypeError unless it is floating."""
    global _default
    if not isinstance(d, dtype) or not d.is_floating_point:
        raise TypeError(f"only floating-point types are supported as the default type, got {d!r}")
    _default = d.np


# ---- promotion ---------------------------------------------------------------------------------
_FLOATS = {(F2, BF16): F4, (BF16, F2): F4}


def category(raw: RawDType) -> Any:
    """0 bool, 1 integer, 2 floating, 3 complex."""
    return OF[raw].category


def join(a: RawDType | None, b: RawDType | None) -> RawDType | None:
    """The smallest dtype that holds both by PyTorch's table: integers never widen a float."""
    if a is None or b is None or a == b:
        return a if b is None else b
    ca, cb = OF[a].category, OF[b].category
    if ca < FLOAT or cb < FLOAT:
        if (ca >= FLOAT) != (cb >= FLOAT):
            return a if ca >= FLOAT else b
        if ca != cb:
            return a if ca > cb else b
        if "uint64" in (a.name, b.name) or {a.name, b.name} & {"uint16", "uint32"}:
            return _unsigned(a, b)
        return np.promote_types(a, b)
    if ca == cb == FLOAT:
        return _FLOATS.get((a, b)) or (np.promote_types(a, b))
    if ca == cb:
        return np.promote_types(a, b)
    c, f = (a, b) if ca > cb else (b, a)
    return C16 if f == F8 else c


def _unsigned(a: RawDType, b: RawDType) -> RawDType:
    if a.kind == b.kind:
        return np.promote_types(a, b)
    raise RuntimeError(
        f"Promotion for uint16, uint32, uint64 types is not supported, attempted to promote {a} and {b}"
    )


def promote_types(type1: dtype, type2: dtype) -> dtype:
    """The smallest dtype that both can be converted to.

    >>> promote_types(int32, float32)
    torch.float32
    """
    joined = join(type1.np, type2.np)
    assert joined is not None
    return OF[joined]


def can_cast(from_: dtype, to: dtype) -> bool:
    """Whether a result of one dtype may be written to another: category never falls."""
    lower: bool = from_.category <= to.category
    return lower


# ---- limits --------------------------------------------------------------------------------------
class finfo:
    """Limits of a floating dtype: bits, eps, max, min, tiny, smallest_normal, resolution, dtype."""

    def __init__(self, type: dtype | None = None) -> None:
        import ml_dtypes

        d = get_default_dtype() if type is None else type
        if not (d.is_floating_point or d.is_complex):
            raise TypeError(
                f"torch.finfo() requires a floating point input type. Use torch.iinfo to handle '{d}'"
            )
        self._raw = REAL.get(d.np, d.np)
        info = ml_dtypes.finfo(self._raw)
        self.dtype, self.bits = of(self._raw).name, info.bits
        f = _builtin_float
        self.eps, self.max, self.min = f(info.eps), f(info.max), f(info.min)
        self.tiny = self.smallest_normal = f(info.smallest_normal)
        self.resolution = 10.0 ** -_builtin_int(info.precision)

    def __repr__(self) -> str:
        return (
            f"finfo(resolution={self.resolution:g}, min={self.min:g}, max={self.max:g}, "
            f"eps={self.eps:g}, smallest_normal={self.smallest_normal:g}, tiny={self.tiny:g}, "
            f"dtype={self.dtype})"
        )


class iinfo:
    """Limits of an integer dtype: bits, max, min, dtype."""

    def __init__(self, type: dtype) -> None:
        if type.category != INTEGER:
            raise TypeError(
                f"torch.iinfo() requires an integer input type. Use torch.finfo to handle '{type}'"
            )
        info = np.iinfo(type.np)
        self.bits, self.max, self.min, self.dtype = info.bits, info.max, info.min, type.name

    def __repr__(self) -> str:
        return f"iinfo(min={self.min:g}, max={self.max:g}, dtype={self.dtype})"
