"""What goes over the wire: contiguous one-dimensional host arrays of types that every backend adds.

Half precisions are reduced in float32, bool as bytes with the logical meaning of the operator,
complex sums as pairs of reals; whatever is only moved, moves as bytes.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from functools import cache

import numpy as np

from distrib import dtypes, errors
from distrib.dtypes import Array, RawDType
from distrib.meta import MetaArray


class ReduceOp(enum.Enum):
    """How the values of the ranks are combined; AVG takes floating and complex dtypes."""

    SUM = 0
    AVG = 1
    PRODUCT = 2
    MIN = 3
    MAX = 4
    BAND = 5
    BOR = 6
    BXOR = 7
    PREMUL_SUM = 8

    def __hash__(self) -> int:  # Enum's hashes the name, in Python, on every collective
        return id(self)

    def __repr__(self) -> str:
        return f"<RedOpType.{self.name}: {self.value}>"

    def __str__(self) -> str:
        return f"RedOpType.{self.name}"


_BITWISE = (ReduceOp.BAND, ReduceOp.BOR, ReduceOp.BXOR)
_ORDERED = (ReduceOp.MIN, ReduceOp.MAX)
_LOGICAL = {ReduceOp.SUM: ReduceOp.MAX, ReduceOp.PRODUCT: ReduceOp.MIN}  # on bytes that hold 0 or 1


@dataclass(frozen=True, slots=True)
class Form:
    """How an array travels: converted to ``convert``, or seen as ``view``, combined with ``op``."""

    op: ReduceOp
    convert: RawDType | None = None
    view: RawDType | None = None
    divide: bool = False


BYTES = Form(ReduceOp.SUM, view=np.dtype(np.uint8))


@cache
def form_of(raw: RawDType, op: ReduceOp, kind: str) -> Form:
    """The form in which ``raw`` is reduced; PyTorch's errors where it is not."""
    if not isinstance(op, ReduceOp):
        raise TypeError(f"{kind}: expected op to be a ReduceOp, got {op!r}")
    d = dtypes.of(raw)
    if op is ReduceOp.PREMUL_SUM:
        raise RuntimeError(
            "Cannot use ReduceOp.PREMUL_SUM with this backend; scale the tensor, then SUM"
        )
    if op in _BITWISE and (d.is_floating_point or d.is_complex):
        raise RuntimeError(f"Cannot use ReduceOp.{op.name} with non-integral dtype: got {d!r}")
    if d.is_complex and op in _ORDERED:
        raise ValueError(f"{kind} does not support {op} on complex tensors")
    if op is ReduceOp.AVG and not (d.is_floating_point or d.is_complex):
        raise RuntimeError(
            f"Cannot use ReduceOp.AVG with dtype {d!r}: a mean needs a floating or complex dtype"
        )
    average = op is ReduceOp.AVG
    combine = ReduceOp.SUM if average else op
    if raw in (dtypes.F2, dtypes.BF16):
        return Form(combine, convert=dtypes.F4, divide=average)
    if raw == dtypes.B1:
        return Form(_LOGICAL.get(op, op), view=np.dtype(np.uint8))
    if d.is_complex and combine is ReduceOp.SUM:
        return Form(combine, view=d.to_real().np, divide=average)
    return Form(combine, divide=average)


def outgoing(array: Array, form: Form) -> tuple[Array, bool]:
    """The wire array of ``array`` and whether it shares the array's memory."""
    host = array if isinstance(array, np.ndarray) else _fetched(array)
    if form.convert is not None:
        return host.astype(form.convert).reshape(-1), False
    shared = host is array
    if not host.flags.c_contiguous:
        host, shared = np.ascontiguousarray(host), False
    if host.ndim != 1:
        host = host.reshape(-1)
    return host if form.view is None else host.view(form.view), shared


def _fetched(array: Array) -> Array:
    """A device's array in host memory."""
    if isinstance(array, MetaArray):
        raise errors.DeviceError(
            "collectives need data", got="a meta tensor", expected="a CPU or GPU tensor"
        )
    return array.get()


def incoming(array: Array, form: Form) -> tuple[Array, bool]:
    """A wire array to receive into and whether it shares the memory of ``array``."""
    if isinstance(array, np.ndarray) and array.flags.c_contiguous and form.convert is None:
        flat = array.reshape(-1)
        return flat if form.view is None else flat.view(form.view), True
    if isinstance(array, MetaArray):
        _fetched(array)
    raw = form.convert or array.dtype
    flat = np.empty(array.size, raw)
    return flat if form.view is None else flat.view(form.view), False


def store(array: Array, wire: Array, form: Form) -> None:
    """Write what came over the wire into ``array``, in the array's own dtype and layout."""
    if form.view is not None:
        wire = wire.view(array.dtype)
    values = wire.reshape(array.shape)
    if isinstance(array, np.ndarray):
        array[...] = values.astype(array.dtype, copy=False)
    else:
        array.set(values.astype(array.dtype, copy=False))


def scale(wire: Array, size: int) -> None:
    """Turn a sum over ``size`` ranks into the mean, in place."""
    np.multiply(wire, wire.dtype.type(1.0 / size), out=wire)
