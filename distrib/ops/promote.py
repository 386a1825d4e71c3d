"""Type promotion: everything that is not "all tensors have the same floating dtype"."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import dtypes
from ..devices import xp_of
from ..dtypes import BF16, C8, COMPLEX, F2, F4, F8, FLOAT, I8, OF
from ..tensor import Tensor, W, wrap
from .record import OPS, Op

LOW = (F2, BF16)  # computed in float32
SCALARS = (bool, int, float, complex)


def scalar_raw(kind: type) -> Any:
    """The dtype of a Python scalar of some type."""
    if kind is float:
        return dtypes.default_raw()
    if kind is complex:
        return COMPLEX.get(dtypes.default_raw(), C8)
    return I8 if kind is int else np.dtype("?")


def result_raw(args: Any) -> Any:
    """PyTorch's result dtype: dimensioned tensors, then 0-d tensors, then Python scalars.

    A weaker level only raises the category.
    """
    levels: list[Any] = [None, None, None]
    for a in args:
        if isinstance(a, Tensor):
            level, d = (0 if a._a.ndim else 1), a._a.dtype
        else:
            level, d = 2, scalar_raw(type(a))
        levels[level] = dtypes.join(levels[level], d)
    best = None
    for d in levels:
        if d is None:
            continue
        if best is None:
            best = d
        elif OF[best].category < OF[d].category:
            best = _raise(best, d)
    return best


def _raise(best: Any, d: Any) -> Any:
    if OF[best].category == FLOAT:  # and d is complex
        return COMPLEX.get(best, C8) if best != F8 else COMPLEX[F8]
    if OF[d].category == 3 and OF[best].category < FLOAT:
        return d
    return d


def as_scalar(op: Op, a: Any, position: int) -> Any:
    """A Python number as it is, a NumPy scalar as a Python number; TypeError for anything else."""
    if isinstance(a, np.generic):  # before the test for float: float64 is one
        return a.item()
    if isinstance(a, SCALARS):
        return a
    raise not_tensor(op, a, position)


def not_tensor(op: Op, a: Any, position: int) -> TypeError:
    """The TypeError that PyTorch raises for an argument that is no Tensor."""
    name = op.tensors[min(position, len(op.tensors) - 1)]
    return TypeError(
        f"{op.name}(): argument '{name}' (position {position + 1}) must be Tensor, not {type(a).__name__}"
    )


def not_tensors(op: Op, args: Any) -> TypeError:
    """The same, for the first argument that is none."""
    for i, a in enumerate(args):
        if not isinstance(a, Tensor) and not (a is None and op.tensors[i] in op.optional):
            return not_tensor(op, a, i)
    raise AssertionError("all arguments are tensors")


def refuse_bool(values: Any) -> None:
    """RuntimeError where a difference with a bool is wanted."""
    if any(type(a) is bool or (isinstance(a, Tensor) and a._a.dtype.kind == "b") for a in values):
        raise RuntimeError(
            "Subtraction, the `-` operator, with a bool tensor is not supported. If you are trying to invert "
            "a mask, use the `~` or `logical_not()` operator instead."
        )


def promoted(op: Op, args: Any, attrs: Any) -> Any:
    """Cast the arguments to one dtype by recorded casts, then call the operator."""
    taking = set(op.promote)
    for i, a in enumerate(args):
        if isinstance(a, Tensor) or (a is None and op.tensors[i] in op.optional):
            continue
        if i not in taking or i not in op.numbers:
            raise not_tensor(op, a, i)
    values = [
        a if isinstance(a, Tensor) else as_scalar(op, a, i)
        for i, a in enumerate(args)
        if i in taking and not (a is None and op.tensors[i] in op.optional)
    ]
    if not any(isinstance(a, Tensor) for a in args):
        raise not_tensor(op, args[0], 0)
    like = next((a for a in args if isinstance(a, Tensor)), None)
    if op.name in ("sub", "rsub"):
        refuse_bool(values)
    d = result_raw(values)
    if op.rule == "float" and OF[d].category < FLOAT:
        d = dtypes.default_raw()
    compute = F4 if d in LOW else d
    made = []
    for i, a in enumerate(args):
        if a is None or i not in taking:
            made.append(a)
        elif isinstance(a, Tensor):
            made.append(a if a._a.dtype is compute else OPS["cast"].call(a, dtype=compute))
        else:
            a = as_scalar(op, a, i)
            weak = i == 1 and len(args) == 2
            if weak and compute.kind == "f" and type(a) is not complex:
                made.append(float(a))
            else:
                assert like is not None
                made.append(wrap(xp_of(like._a).asarray(np.asarray(a, compute))))
    result = op.call(*made, **attrs)
    if compute != d and op.rule != "bool":
        return lower(result, d)
    return result


def lower(result: Any, d: Any) -> Any:
    """Cast floating results back to a half precision."""
    if isinstance(result, Tensor):
        return OPS["cast"].call(result, dtype=d) if result._a.dtype == F4 else result
    return type(result)(*(lower(r, d) for r in result)) if hasattr(result, "_fields") else type(result)(
        lower(r, d) for r in result
    )  # fmt: skip


def lowered(op: Op, args: Any, attrs: Any) -> Any:
    """Call an operator of rule "math" in float32 for half-precision inputs."""
    d = args[0]._a.dtype
    up = [
        OPS["cast"].call(a, dtype=F4) if isinstance(a, Tensor) and a._a.dtype in LOW else a
        for a in args
    ]
    return lower(op.call(*up, **attrs), d)


W.update(refuse_bool=refuse_bool, promoted=promoted, not_tensors=not_tensors, lowered=lowered)
