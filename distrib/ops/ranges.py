"""Ranges, grids and unit matrices."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import dtypes
from ..tensor import Tensor
from .creation import _raw, finish
from .registry import publish


# ---- ranges -----------------------------------------------------------------------------------------------
def arange(*args: Any, out: Any = None, dtype: Any = None, layout: Any = None, device: Any = None,
           pin_memory: bool = False, requires_grad: bool = False, start: Any = None, end: Any = None,
           step: Any = None) -> Tensor:  # fmt: skip
    """Numbers from start (0) up to but without end, step (1) apart.

    >>> import distrib as torch
    >>> torch.arange(3)
    tensor([0, 1, 2])
    """
    given = list(args)
    if len(given) == 1 and end is None:
        given = [0 if start is None else start, *given]
    lo, hi, by = [*given, None, None, None][:3]
    lo = (0 if start is None else start) if lo is None else lo
    hi = end if hi is None else hi
    by = (1 if step is None else step) if by is None else by
    lo, hi, by = (x.item() if isinstance(x, (Tensor, np.generic)) else x for x in (lo, hi, by))
    if hi is None:
        raise TypeError("arange() missing required argument 'end'")
    if by == 0:
        raise RuntimeError("step must be nonzero")
    if not all(math.isfinite(float(x)) for x in (lo, hi)):
        raise RuntimeError(f"unsupported range: {lo} -> {hi}")
    if (hi - lo) * by < 0:
        raise RuntimeError(
            f"upper bound and lower bound inconsistent with step sign: got {lo} to {hi} by {by}"
        )
    raw = (
        _raw(dtype)
        if dtype is not None or any(isinstance(x, float) for x in (lo, hi, by))
        else dtypes.I8
    )
    if out is not None and dtype is None:
        raw = out._a.dtype
    n = math.ceil((hi - lo) / by)
    if raw.kind in "iu":
        lo, by = int(lo), int(by) if int(by) else by
        a = (lo + np.arange(n) * by).astype(raw)
    else:
        a = (np.arange(n, dtype="f8") * by + lo).astype(raw)
    return finish(a, device, requires_grad, out)


def range_(start: Any = 0, end: Any = None, step: Any = 1, **options: Any) -> Tensor:
    """Numbers from start to end, both included (deprecated in favour of arange)."""
    if end is None:
        start, end = 0, start
    n = math.floor((end - start) / step) + 1
    made: Tensor = (
        arange(n, dtype=options.pop("dtype", None) or dtypes.get_default_dtype(), **options) * step
    ) + start
    return made


def linspace(start: Any, end: Any, steps: int, *, out: Any = None, dtype: Any = None, layout: Any = None,
             device: Any = None, pin_memory: bool = False, requires_grad: bool = False) -> Tensor:  # fmt: skip
    """So many numbers at equal distances, both ends included."""
    lo, hi, raw = _ends(start, end, dtype)
    if steps < 0:
        raise RuntimeError(f"number of steps must be non-negative, got {steps}")
    return finish(_spaced(lo, hi, steps, raw), device, requires_grad, out)


def _ends(start: Any, end: Any, dtype: Any) -> tuple[Any, Any, Any]:
    for x in (start, end):
        if isinstance(x, Tensor) and x._a.ndim:
            raise RuntimeError("linspace only supports 0-dimensional start and end tensors")
    lo, hi = (x.item() if isinstance(x, Tensor) else x for x in (start, end))
    if dtype is None and (isinstance(lo, complex) or isinstance(hi, complex)):
        return lo, hi, dtypes.COMPLEX[dtypes.default_raw()]
    return lo, hi, _raw(dtype)


def _spaced(lo: Any, hi: Any, steps: int, raw: Any) -> Any:
    wide = "c16" if raw.kind == "c" else "f8"
    if steps == 1:
        return np.full(1, lo, wide).astype(raw)
    step = (hi - lo) / (steps - 1) if steps else 0
    i = np.arange(steps)
    a = np.where(i < steps // 2, lo + i * step, hi - (steps - 1 - i) * step).astype(wide)
    return np.trunc(a).astype(raw) if raw.kind in "iu" else a.astype(raw)


def logspace(start: Any, end: Any, steps: int, base: float = 10.0, *, out: Any = None, dtype: Any = None,
             layout: Any = None, device: Any = None, pin_memory: bool = False,
             requires_grad: bool = False) -> Tensor:  # fmt: skip
    """So many numbers at equal ratios, from base**start to base**end."""
    lo, hi, raw = _ends(start, end, dtype)
    if steps < 0:
        raise RuntimeError(f"number of steps must be non-negative, got {steps}")
    exponents = _spaced(lo, hi, steps, np.dtype("c16" if raw.kind == "c" else "f8"))
    return finish(np.power(base, exponents).astype(raw), device, requires_grad, out)


def eye(n: int, m: int | None = None, *, out: Any = None, dtype: Any = None, layout: Any = None,
        device: Any = None, pin_memory: bool = False, requires_grad: bool = False) -> Tensor:  # fmt: skip
    """Ones on the diagonal of a matrix of zeros."""
    for k in (n, n if m is None else m):
        if k < 0:
            raise RuntimeError(f"n must be greater or equal to 0, got {k}")
    return finish(np.eye(n, m, dtype=_raw(dtype)), device, requires_grad, out)


def _tri_indices(row: int, col: int, offset: int, upper: bool, dtype: Any, device: Any) -> Tensor:
    full_ = np.triu_indices(row, offset, col) if upper else np.tril_indices(row, offset, col)
    return finish(
        np.stack(full_).astype(dtypes.I8 if dtype is None else dtypes.raw_of(dtype)), device, False
    )


def tril_indices(
    row: int,
    col: int,
    offset: int = 0,
    *,
    dtype: Any = None,
    device: Any = None,
    layout: Any = None,
) -> Tensor:
    """Row and column numbers of a lower triangle."""
    return _tri_indices(row, col, offset, False, dtype, device)


def triu_indices(
    row: int,
    col: int,
    offset: int = 0,
    *,
    dtype: Any = None,
    device: Any = None,
    layout: Any = None,
) -> Tensor:
    """Row and column numbers of an upper triangle."""
    return _tri_indices(row, col, offset, True, dtype, device)


def is_tensor(obj: Any) -> bool:
    """Whether an object is a Tensor."""
    return isinstance(obj, Tensor)


def numel(input: Tensor) -> int:
    """The number of elements."""
    return input.numel()


__all__ = [
    "arange",
    "eye",
    "is_tensor",
    "linspace",
    "logspace",
    "numel",
    "tril_indices",
    "triu_indices",
]
publish(globals())
