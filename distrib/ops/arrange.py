"""Repeating, reversing and rolling tensors; grids; triangles and diagonals."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import ShapeError
from ..tensor import Tensor, check_dim
from .join import atleast_2d, cat, stack
from .registry import method, operator, publish, with_out
from .shape import _a, broadcast_tensors, expand_, permute, reshape

xp: Any = None  # bound per array type


# ---- repeat, flip, roll -----------------------------------------------------------------------------
@method("repeat")
def _repeat(self: Tensor, *repeats: Any) -> Tensor:
    """Copies of the tensor side by side along its dimensions."""
    reps = tuple(repeats[0]) if len(repeats) == 1 and not isinstance(repeats[0], int) else repeats
    s = tuple(self._a.shape)
    if len(reps) < len(s):
        raise ShapeError(
            "Number of dimensions of repeat dims can not be smaller than number of dimensions of tensor"
        )
    if any(r < 0 for r in reps):
        raise ShapeError(
            f"Trying to create tensor with negative dimension {min(reps)}: {list(reps)}"
        )
    s = (1,) * (len(reps) - len(s)) + s
    inner = tuple(k for n in s for k in (1, n))
    outer = tuple(k for r, n in zip(reps, s, strict=True) for k in (r, n))
    spread = expand_(reshape(self, inner), shape=outer)
    made: Tensor = reshape(spread, tuple(r * n for r, n in zip(reps, s, strict=True)))
    return made.clone() if made._a.base is not None and made._view is not None else made


@method()
def tile(input: Tensor, *dims: Any) -> Tensor:
    """Copies side by side; missing counts in front are one."""
    reps = tuple(dims[0]) if len(dims) == 1 and not isinstance(dims[0], int) else dims
    made: Tensor = _repeat(input, (1,) * (input._a.ndim - len(reps)) + tuple(reps))
    return made


flip_: Any = operator(
    "flip", lambda input, *, dims: xp.flip(input, tuple(check_dim(d, input.ndim) for d in dims)).copy(),
    (lambda g, dims: flip_(g, dims=dims),), method=False,
    samples=lambda: [((_a(2, 3),), {"dims": (0, 1)})], ref=lambda x, dims: x[::-1, ::-1],
)  # fmt: skip


@method("flip")
def _flip_method(self: Tensor, *args: Any, dims: Any = None) -> Tensor:
    dims = args if dims is None else (dims,)
    return flip(self, tuple(dims[0]) if len(dims) == 1 and not isinstance(dims[0], int) else dims)


def flip(input: Tensor, dims: Any) -> Tensor:
    """The order of some dimensions reversed; a copy."""
    ds = [check_dim(d, input._a.ndim) for d in ((dims,) if isinstance(dims, int) else dims)]
    if len(set(ds)) != len(ds):
        raise ShapeError(f"dim {ds[0]} appears multiple times in the list of dims")
    made: Tensor = flip_(input, dims=tuple(ds)) if input._a.ndim else input.clone()
    return made


@method()
def fliplr(input: Tensor) -> Tensor:
    """Left and right exchanged."""
    if input._a.ndim < 2:
        raise ShapeError("Input must be >= 2-d.")
    return flip(input, (1,))


@method()
def flipud(input: Tensor) -> Tensor:
    """Top and bottom exchanged."""
    if input._a.ndim < 1:
        raise ShapeError("Input must be >= 1-d.")
    return flip(input, (0,))


roll_: Any = operator(
    "roll", lambda input, *, shifts, dims: xp.roll(input, shifts, dims),
    (lambda g, shifts, dims: roll_(
        g, shifts=tuple(-s for s in shifts) if isinstance(shifts, tuple) else -shifts, dims=dims),),
    method=False, samples=lambda: [((_a(3, 4),), {"shifts": (1, -2), "dims": (0, 1)})],
    ref=lambda x, shifts, dims: x[[2, 0, 1]][:, [2, 3, 0, 1]],
)  # fmt: skip


@method()
def roll(input: Tensor, shifts: Any, dims: Any = None) -> Tensor:
    """Elements moved along dimensions, those that leave coming back on the other side."""
    if dims is None or dims == () or dims == []:
        shift = shifts if isinstance(shifts, int) else shifts[0]
        made: Tensor = reshape(roll_(input.flatten(), shifts=shift, dims=0), tuple(input._a.shape))
        return made
    s, d = ((x,) if isinstance(x, int) else tuple(x) for x in (shifts, dims))
    if len(s) != len(d):
        raise ShapeError(f"shifts and dimensions must align. shifts: {len(s)}, dims:{len(d)}")
    made = roll_(input, shifts=s, dims=tuple(check_dim(k, input._a.ndim) for k in d))
    return made


@method()
def rot90(input: Tensor, k: int = 1, dims: Any = (0, 1)) -> Tensor:
    """Turned by 90 degrees in the plane of two dimensions, k times."""
    if len(dims) != 2:
        raise ShapeError(f"expected total rotation dims == 2, but got dims = {len(dims)}")
    if input._a.ndim < 2:
        raise ShapeError(f"expected total dims >= 2, but got total dims = {input._a.ndim}")
    a, b = (check_dim(d, input._a.ndim) for d in dims)
    if a == b:
        raise ShapeError(
            f"expected rotation dims to be different, but got dim0 = {a} and dim1 = {b}"
        )
    k %= 4
    if k == 2:
        return flip(input, (a, b))
    order = list(range(input._a.ndim))
    order[a], order[b] = b, a
    if k == 1:
        result: Tensor = permute(flip(input, (b,)), order).clone()
        return result
    made: Tensor = permute(flip(input, (a,)), order).clone() if k == 3 else input.clone()
    return made


@method()
def repeat_interleave(
    input: Tensor, repeats: Any = None, dim: int | None = None, *, output_size: Any = None
) -> Tensor:
    """Every element so many times in a row."""
    from .creation import as_index

    if repeats is None:
        counts = input._a
        return as_index(np.repeat(np.arange(counts.size), counts))
    if dim is None:
        input, dim = input.flatten(), 0
    n = input._a.shape[check_dim(dim, input._a.ndim)] if input._a.ndim else 1
    counts = np.asarray(repeats._a if isinstance(repeats, Tensor) else repeats)
    if counts.dtype.kind not in "iu":
        raise RuntimeError("repeats has to be Long or Int tensor")
    if counts.size not in (1, n):
        raise ShapeError(
            f"repeats must have the same size as input along dim, but got repeats.size(0) = {counts.size} and input.size({dim}) = {n}"
        )
    if (counts < 0).any():
        raise ShapeError("repeats can not be negative")
    made: Tensor = input.index_select(dim, as_index(np.repeat(np.arange(n), counts)))
    return made


def meshgrid(*tensors: Any, indexing: str | None = None) -> tuple[Tensor, ...]:
    """Coordinate grids of vectors, indexed "ij" (default) or "xy"."""
    ts = list(
        tensors[0] if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)) else tensors
    )
    if not ts:
        raise RuntimeError("meshgrid expects a non-empty TensorList")
    if indexing not in (None, "ij", "xy"):
        raise RuntimeError(
            f'torch.meshgrid: indexing must be one of "xy" or "ij", but received: {indexing}'
        )
    if any(t._a.ndim > 1 for t in ts):
        raise RuntimeError("torch.meshgrid: Expected 0D or 1D tensor in the tensor list")
    if any(t.dtype != ts[0].dtype for t in ts):
        raise RuntimeError("torch.meshgrid expects all tensors to have the same dtype")
    swap = indexing == "xy" and len(ts) > 1
    if swap:
        ts[0], ts[1] = ts[1], ts[0]
    n = len(ts)
    shapes = (tuple(t.numel() if i == j else 1 for j in range(n)) for i, t in enumerate(ts))
    grids = list(broadcast_tensors(*(reshape(t, s) for t, s in zip(ts, shapes, strict=True))))
    if swap:
        grids[0], grids[1] = grids[1], grids[0]
    return tuple(grids)


def cartesian_prod(*tensors: Any) -> Tensor:
    """All combinations of elements of vectors, a row each."""
    if len(tensors) == 1:
        result: Tensor = tensors[0].clone()
        return result
    made: Tensor = stack([g.flatten() for g in meshgrid(*tensors)], 1)
    return made


def block_diag(*tensors: Any) -> Tensor:
    """Matrices along the diagonal of a matrix of zeros."""
    from .creation import zeros

    ts = [atleast_2d(t) for t in tensors] or [zeros(1, 0)]
    if any(t._a.ndim > 2 for t in ts):
        raise RuntimeError("torch.block_diag: Input tensors must have 2 or fewer dimensions.")
    width, at, rows = sum(t._a.shape[1] for t in ts), 0, []
    for t in ts:
        h, w = t._a.shape
        left, right = zeros(h, at, dtype=t.dtype), zeros(h, width - at - w, dtype=t.dtype)
        rows.append(cat([left, t, right], 1))
        at += w
    made: Tensor = cat(rows, 0)
    return made


def combinations(input: Tensor, r: int = 2, with_replacement: bool = False) -> Tensor:
    """All combinations of r elements of a vector, a row each."""
    import itertools

    from .creation import as_index

    pick = itertools.combinations_with_replacement if with_replacement else itertools.combinations
    rows = list(pick(range(input.numel()), r))
    if not rows:
        result: Tensor = input[:0].reshape((0, 1)).expand((0, r)) if r else input[:0]
        return result
    made: Tensor = input[as_index(np.array(rows))]
    return made


# ---- triangles and diagonals -------------------------------------------------------------------------
def _tri(x: Any, diagonal: int, upper: bool) -> Any:
    if x.ndim < 2:
        raise ShapeError(
            f"tri{'u' if upper else 'l'}: input tensor must have at least 2 dimensions"
        )
    rows, cols = xp.arange(x.shape[-2])[:, None], xp.arange(x.shape[-1])
    keep = (cols - rows >= diagonal) if upper else (cols - rows <= diagonal)
    return xp.where(keep, x, xp.zeros((), x.dtype))


tril: Any = operator(
    "tril", lambda input, *, diagonal=0: _tri(input, diagonal, False),
    (lambda g, diagonal: tril(g, diagonal=diagonal),), out=True, inplace=True,
    samples=lambda: [((_a(3, 4),), {"diagonal": 1})], ref=lambda x, diagonal=0: np.tril(x, diagonal), onnx="Trilu",
)  # fmt: skip
triu: Any = operator(
    "triu", lambda input, *, diagonal=0: _tri(input, diagonal, True),
    (lambda g, diagonal: triu(g, diagonal=diagonal),), out=True, inplace=True,
    samples=lambda: [((_a(3, 4),), {"diagonal": -1})], ref=lambda x, diagonal=0: np.triu(x, diagonal), onnx="Trilu",
)  # fmt: skip


@method()
def diag_embed(input: Tensor, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """Matrices whose diagonals are the last dimension."""
    from .shape import undiagonal

    n, ndim = input._a.shape[-1] + abs(offset), input._a.ndim + 1
    d1, d2 = check_dim(dim1, ndim), check_dim(dim2, ndim)
    if d1 == d2:
        raise ShapeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    lead = iter(input._a.shape[:-1])
    shape = tuple(n if i in (d1, d2) else next(lead) for i in range(ndim))
    made: Tensor = undiagonal(input, shape=shape, offset=offset, dim1=d1, dim2=d2)
    return made


@method()
@with_out
def diag(input: Tensor, diagonal: int = 0) -> Tensor:
    """The diagonal of a matrix (a copy), or the matrix of a diagonal."""
    from .shape import diagonal as take

    if input._a.ndim == 1:
        found: Tensor = diag_embed(input, diagonal)
        return found
    if input._a.ndim != 2:
        raise ShapeError(f"diag(): Supports 1D or 2D tensors. Got {input._a.ndim}D")
    made: Tensor = take(input, offset=diagonal)
    result: Tensor = made.clone()
    return result


@method()
def diagflat(input: Tensor, offset: int = 0) -> Tensor:
    """The matrix whose diagonal holds all elements."""
    made: Tensor = diag_embed(input.flatten(), offset)
    return made


@method()
def trace(input: Tensor) -> Tensor:
    """The sum of a matrix's diagonal."""
    if input._a.ndim != 2:
        raise ShapeError("trace: expected a matrix")
    made: Tensor = input.diagonal().sum()
    return made


__all__ = [
    "block_diag",
    "cartesian_prod",
    "combinations",
    "diag",
    "diag_embed",
    "diagflat",
    "flip",
    "fliplr",
    "flipud",
    "meshgrid",
    "repeat_interleave",
    "roll",
    "rot90",
    "tile",
    "trace",
    "tril",
    "triu",
]
publish(globals())
