"""Order: sorting, the k largest, distinct values, places in sorted sequences, histograms."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..errors import DTypeError, ShapeError
from ..tensor import Tensor, check_dim, wrap
from .creation import as_index
from .reduce import put_one
from .registry import method, operator, publish, with_out
from .scatter import ungather
from .shape import _a

xp: Any = None  # bound per array type


# ---- sort ---------------------------------------------------------------------------------------------
def _order(x: Any, dim: int, descending: bool) -> Any:
    """Indices that sort stably; NaN counts as the largest."""
    if not descending:
        return xp.argsort(x, axis=dim, kind="stable")
    n = x.shape[dim]
    back = xp.flip(xp.argsort(xp.flip(x, dim), axis=dim, kind="stable"), dim)
    return n - 1 - back


def _plain(x: Any, name: str) -> None:
    if x.dtype.kind == "c":
        raise DTypeError(f"{name}(): complex numbers have no order")


def _sort(x: Any, dim: int, descending: bool) -> Any:
    _plain(x, "sort")
    if x.ndim == 0:
        check_dim(dim, 0)
        return x.copy(), xp.zeros((), "i8")
    d = check_dim(dim, x.ndim)
    index = _order(x.astype("f4") if x.dtype.kind == "V" else x, d, descending)
    return xp.take_along_axis(x, index, d), index


def _back(g: Any, indices: Any, input_shape: Any, dim: int) -> Any:
    return ungather(g, indices, shape=input_shape, dim=dim)


sort_ = operator(
    "sort", lambda input, *, dim=-1, descending=False: _sort(input, dim, descending),
    lambda g, indices, input_shape, dim: (_back(g, indices, input_shape, dim),),
    outputs=("values", "indices"), diff=(True, False), method=False,
    samples=lambda: [((_a(3, 4),), {"dim": 0}), ((_a(3, 4),), {"descending": True})],
    ref=lambda x, dim=-1, descending=False: (
        (-np.sort(-x, dim), np.argsort(-x, dim)) if descending else (np.sort(x, dim), np.argsort(x, dim))),
)  # fmt: skip


@method()
@with_out
def sort(input: Tensor, dim: Any = -1, descending: bool = False, *, stable: Any = False) -> Any:
    """Values in order along a dimension, and where they stood; always stable."""
    if isinstance(dim, bool):  # sort(stable, dim, descending)
        dim, descending = -1, dim
    return sort_(input, dim=dim, descending=bool(descending))


@method()
def argsort(
    input: Tensor, dim: int = -1, descending: bool = False, *, stable: bool = False
) -> Tensor:
    """The indices that sort along a dimension."""
    order: Tensor = sort_(input.detach(), dim=dim, descending=bool(descending))[1]
    return order


@method()
@with_out
def msort(input: Tensor) -> Tensor:
    """Values in order along the first dimension."""
    values: Tensor = sort_(input, dim=0, descending=False)[0]
    return values


def _topk(x: Any, k: int, dim: int, largest: bool) -> Any:
    _plain(x, "topk")
    d = check_dim(dim, x.ndim)
    n = x.shape[d] if x.ndim else 1
    if not 0 <= k <= n:
        raise ShapeError("selected index k out of range", got=k, expected=f"0 to {n}")
    if x.ndim == 0:
        return x.copy(), xp.zeros((), "i8")
    ranked = x.astype("f4") if x.dtype.kind == "V" else x
    index = xp.take(_order(ranked, d, largest), xp.arange(k), axis=d)
    return xp.take_along_axis(x, index, d), index


topk_ = operator(
    "topk", lambda input, *, k, dim=-1, largest=True: _topk(input, k, dim, largest),
    lambda g, indices, input_shape, dim: (_back(g, indices, input_shape, dim),),
    outputs=("values", "indices"), diff=(True, False), method=False, onnx="TopK",
    samples=lambda: [((_a(3, 5),), {"k": 2}), ((_a(3, 5),), {"k": 2, "dim": 0, "largest": False})],
    ref=lambda x, k, dim=-1, largest=True: (
        tuple(f(s * x, dim).take(range(k), dim) * (s if f is np.sort else 1)
              for s in (-1 if largest else 1,) for f in (np.sort, np.argsort))),
)  # fmt: skip


@method()
@with_out
def topk(input: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:
    """The k largest (smallest) values along a dimension, in order, and where they stand."""
    if isinstance(k, Tensor):
        k = int(k.item())
    return topk_(input, k=k, dim=dim, largest=bool(largest))


def _kth(x: Any, k: int, dim: int, keepdim: bool) -> Any:
    _plain(x, "kthvalue")
    d = check_dim(dim, x.ndim)
    n = x.shape[d] if x.ndim else 1
    if n == 0:
        raise IndexError(f"kthvalue(): Expected reduction dim {d} to have non-zero size.")
    if not 1 <= k <= n:
        raise ShapeError(
            "kthvalue(): selected number k out of range for dimension", got=k, expected=f"1 to {n}"
        )
    if x.ndim == 0:
        return x.copy(), xp.zeros((), "i8")
    ranked = x.astype("f4") if x.dtype.kind == "V" else x
    index = xp.take(_order(ranked, d, False), xp.arange(k - 1, k), axis=d)
    values = xp.take_along_axis(x, index, d)
    if keepdim:
        return values, index
    return xp.squeeze(values, d), xp.squeeze(index, d)


kthvalue_ = operator(
    "kthvalue", lambda input, *, k, dim=-1, keepdim=False: _kth(input, k, dim, keepdim),
    lambda g, indices, input_shape, dim, keepdim: (_kth_back(g, indices, input_shape, dim, keepdim),),
    outputs=("values", "indices"), diff=(True, False), method=False,
    samples=lambda: [((_a(3, 5),), {"k": 2}), ((_a(3, 5),), {"k": 3, "dim": 0, "keepdim": True})],
    ref=lambda x, k, dim=-1, keepdim=False: tuple(
        (lambda v: v if keepdim else v.squeeze(dim))(f(x, dim).take([k - 1], dim)) for f in (np.sort, np.argsort)),
)  # fmt: skip


def _kth_back(g: Any, indices: Any, input_shape: Any, dim: int, keepdim: bool) -> Any:
    return put_one(g, indices, shape=input_shape, dim=dim, keepdim=keepdim)


@method()
@with_out
def kthvalue(input: Tensor, k: int, dim: int = -1, keepdim: bool = False) -> Any:
    """The k-th smallest value along a dimension, and where it stands."""
    return kthvalue_(input, k=k, dim=dim, keepdim=keepdim)


# ---- distinct values -------------------------------------------------------------------------------------
def _rows(a: Any, dim: int) -> Any:
    moved = np.moveaxis(a, dim, 0)
    return moved, np.ascontiguousarray(moved).reshape(len(moved), math.prod(moved.shape[1:]))


def _shown(values: Any, inverse: Any, counts: Any, with_inverse: bool, with_counts: bool) -> Any:
    made = [wrap(np.ascontiguousarray(values))]
    made += [as_index(inverse)] if with_inverse else []
    made += [as_index(counts)] if with_counts else []
    return made[0] if len(made) == 1 else tuple(made)


@method()
def unique(
    input: Tensor,
    sorted: bool = True,
    return_inverse: bool = False,
    return_counts: bool = False,
    dim: Any = None,
) -> Any:
    """The distinct values (or slices along a dimension), in order."""
    a = input._a
    if dim is None:
        values, inverse, counts = np.unique(
            a, return_inverse=True, return_counts=True, equal_nan=False
        )
        return _shown(values, inverse.reshape(a.shape), counts, return_inverse, return_counts)
    d = check_dim(dim, a.ndim)
    moved, rows = _rows(a, d)
    if rows.size == 0 and 0 in moved.shape[1:]:
        raise RuntimeError(
            "There are 0 sized dimensions, and they aren't selected, so unique cannot be applied"
        )
    order = np.lexsort(rows.T[::-1]) if rows.shape[1] else np.arange(len(rows))
    ranked = rows[order]
    new = (
        np.concatenate([[True], (ranked[1:] != ranked[:-1]).any(1)])
        if len(rows)
        else np.zeros(0, "?")
    )
    inverse = np.empty(len(rows), "i8")
    inverse[order] = np.cumsum(new) - 1
    counts = np.bincount(inverse, minlength=int(new.sum()))
    return _shown(
        np.moveaxis(moved[order[new]], 0, d), inverse, counts, return_inverse, return_counts
    )


@method()
def unique_consecutive(
    input: Tensor, return_inverse: bool = False, return_counts: bool = False, dim: Any = None
) -> Any:
    """The first value (or slice) of each run of equal ones."""
    a = input._a
    if dim is None:
        moved, rows, d = a.reshape(-1), a.reshape(-1, 1), 0
    else:
        d = check_dim(dim, a.ndim)
        moved, rows = _rows(a, d)
    if len(rows) == 0:
        empty = np.zeros(0 if dim is not None else a.shape, "i8")
        return _shown(
            moved[:0] if dim is None else a, empty, np.zeros(0, "i8"), return_inverse, return_counts
        )
    new = np.concatenate([[True], (rows[1:] != rows[:-1]).any(1)])
    inverse = np.cumsum(new) - 1
    counts = np.bincount(inverse)
    inverse = inverse.reshape(a.shape) if dim is None else inverse
    return _shown(np.moveaxis(moved[new], 0, d), inverse, counts, return_inverse, return_counts)


# ---- places in sorted sequences ---------------------------------------------------------------------------
def _side(right: bool, side: Any, name: str) -> str:
    if side is not None and side not in ("left", "right"):
        raise RuntimeError(f"{name}: side can only be 'left' or 'right' but got {side}")
    if side == "left" and right:
        raise RuntimeError(
            f"{name}: side and right can't be set to opposites, got side of left while right was True"
        )
    return side or ("right" if right else "left")


def _search(edges: Any, values: Any, side: Any) -> Any:
    """Row by row if the sequences have several dimensions."""
    if edges.ndim <= 1:
        return np.searchsorted(edges.reshape(-1), values, side)
    flat, rows = edges.reshape(-1, edges.shape[-1]), values.reshape(-1, values.shape[-1])
    out = np.empty(rows.shape, "i8")
    for i, (e, v) in enumerate(zip(flat, rows, strict=True)):
        out[i] = np.searchsorted(e, v, side)
    return out.reshape(values.shape)


@with_out
def searchsorted(
    sorted_sequence: Tensor, input: Any, *, out_int32: bool = False, right: bool = False, side: Any = None,
    sorter: Any = None,
) -> Tensor:  # fmt: skip
    """Where values would go into ascending sequences (of the last dimension) to keep their order."""
    s = _side(right, side, "torch.searchsorted()")
    edges = sorted_sequence._a
    values = input._a if isinstance(input, Tensor) else np.asarray(input)
    if isinstance(input, Tensor) and values.dtype != edges.dtype:
        raise DTypeError(
            f"torch.searchsorted(): boundary tensor and input value tensor should have same dtype, but got boundary tensor's dtype {sorted_sequence.dtype.name.title()} and input value tensor's dtype {input.dtype.name.title()}"
        )
    if edges.ndim == 0:
        raise ShapeError(
            "torch.searchsorted(): boundaries tensor should have positive dimension, but got 0 dimension"
        )
    if edges.ndim > 1 and edges.shape[:-1] != values.shape[:-1]:
        raise ShapeError(
            f"torch.searchsorted(): boundaries tensor should be 1 dimension or the first N-1 dimensions of boundaries tensor and input value tensor must match, but we got boundaries tensor {list(edges.shape)} and input value tensor {list(values.shape)}"
        )
    if sorter is not None:
        order = sorter._a
        if order.shape != edges.shape:
            raise ShapeError(
                f"torch.searchsorted(): boundary and sorter must have the same size, but got boundary tensor {list(edges.shape)} and got sorter tensor {list(order.shape)}"
            )
        if order.dtype != "i8":
            raise DTypeError(
                f"torch.searchsorted(): sorter must be a tensor of long dtype but got dtype {sorter.dtype.name.title()}"
            )
        if order.size and (int(order.min()) < 0 or int(order.max()) >= edges.shape[-1]):
            raise RuntimeError("torch.searchsorted(): sorter index out of range")
        edges = np.take_along_axis(edges, order, -1)
    found = _search(edges, values, s)
    return wrap(np.asarray(found, "i4" if out_int32 else "i8"))


@with_out
def bucketize(
    input: Any, boundaries: Tensor, *, out_int32: bool = False, right: bool = False
) -> Tensor:
    """In which of the intervals between boundaries each value lies."""
    if boundaries._a.ndim != 1:
        raise ShapeError(
            f"bucketize(): boundaries tensor must be 1 dimension, but got dim({boundaries._a.ndim})"
        )
    made: Tensor = searchsorted(boundaries, input, out_int32=out_int32, right=right)
    return made


@with_out
def isin(
    elements: Any, test_elements: Any, *, assume_unique: bool = False, invert: bool = False
) -> Tensor:
    """Which elements occur among the test elements."""
    if not isinstance(elements, Tensor) and not isinstance(test_elements, Tensor):
        raise TypeError("isin(): at least one of elements and test_elements must be a Tensor")
    a, b = (t._a if isinstance(t, Tensor) else np.asarray(t) for t in (elements, test_elements))
    if "b" in (a.dtype.kind, b.dtype.kind) or "c" in (a.dtype.kind, b.dtype.kind):
        raise DTypeError(
            "Unsupported input type encountered for isin()", got=f"{a.dtype} and {b.dtype}"
        )
    found = np.isin(
        a.astype("f4") if a.dtype.kind == "V" else a, b.astype("f4") if b.dtype.kind == "V" else b
    )
    return wrap(np.asarray(~found if invert else found))


# ---- counting ---------------------------------------------------------------------------------------------
@method()
def bincount(input: Tensor, weights: Any = None, minlength: int = 0) -> Tensor:
    """How often each non-negative integer occurs, or the sum of its weights."""
    a = input._a
    if a.ndim != 1 or a.dtype.kind not in "iu":
        raise ShapeError(
            "bincount only supports 1-d non-negative integral inputs.",
            got=f"{list(a.shape)} {input.dtype}",
        )
    if a.size and int(a.min()) < 0:
        raise ShapeError(
            "bincount only supports 1-d non-negative integral inputs.", got=int(a.min())
        )
    if minlength < 0:
        raise ShapeError("minlength should be >= 0", got=minlength)
    if weights is None:
        return wrap(np.bincount(a, minlength=minlength).astype("i8"))
    if weights._a.shape != a.shape:
        raise ShapeError(
            "weights should be 1-d and have the same length as input", got=list(weights.shape)
        )
    kept = "f4" if weights._a.dtype == "f4" else "f8"
    return wrap(np.bincount(a, weights._a, minlength).astype(kept))


def _range(a: Any, low: float, high: float, name: str) -> tuple[float, float]:
    if low == high and a.size:
        low, high = float(a.min()), float(a.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise RuntimeError(f"{name}: range of [{low}, {high}] is not finite")
    if low > high:
        raise RuntimeError(f"{name}: max must be larger than min")
    return (low - 0.5, high + 0.5) if low == high else (low, high)


@method()
@with_out
def histc(input: Tensor, bins: int = 100, min: float = 0, max: float = 0) -> Tensor:
    """How many values lie in each of equally wide bins; the dtype of the input."""
    if bins <= 0:
        raise RuntimeError(f"torch.histc(): bins must be > 0, but got {bins}")
    a = input._a
    low, high = _range(a, float(min), float(max), "torch.histc")
    inside = a[(a >= low) & (a <= high)].astype("f8")
    at = np.minimum(((inside - low) / (high - low) * bins).astype("i8"), bins - 1)
    return wrap(np.bincount(at, minlength=bins).astype(a.dtype))


__all__ = [
    "argsort", "bincount", "bucketize", "histc", "isin", "kthvalue", "msort", "searchsorted", "sort", "topk", "unique",
    "unique_consecutive",
]  # fmt: skip
publish(globals())
