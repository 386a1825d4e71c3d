"""Quantiles, histograms, covariances and finite differences."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..errors import DTypeError, ShapeError
from ..tensor import Tensor, check_dim, wrap
from .algebra import named
from .compare import where3
from .creation import as_index
from .registry import method, operator, publish, with_out
from .samples import spread
from .sort import sort_

xp: Any = None  # bound per array type
_KINDS = ("linear", "lower", "higher", "midpoint", "nearest")


# ---- quantiles -------------------------------------------------------------------------------------------
def _quantile(
    x: Any, q: Any, dim: Any, keepdim: bool, interpolation: str, skip_nan: bool, name: str
) -> Tensor:
    if interpolation not in _KINDS:
        raise RuntimeError(
            f"{name}() interpolation must be one of linear, lower, higher, midpoint or nearest, but got {interpolation}"
        )
    if x.numel() == 0:
        raise ShapeError(f"{name}() input tensor must be non-empty")
    if x._a.dtype.kind != "f" or x._a.dtype.itemsize < 4:
        raise DTypeError(f"{name}() input tensor must be either float or double dtype")
    if not isinstance(q, Tensor):
        if not 0 <= q <= 1:
            raise RuntimeError(f"{name}() q must be in the range [0, 1] but got {q}")
        q = wrap(np.asarray(q, x._a.dtype))
    if q._a.dtype != x._a.dtype:
        raise DTypeError(f"{name}() q tensor must be same dtype as the input tensor")
    if q._a.ndim > 1:
        raise ShapeError(f"{name}() q must be a scalar or 1D tensor")
    if type(q._a) is np.ndarray and not bool(((q._a >= 0) & (q._a <= 1)).all()):
        raise RuntimeError(f"{name}() q values must be in the range [0, 1]")
    ndim = x._a.ndim
    d = None if dim is None else check_dim(dim, ndim)
    lines = x.reshape(-1) if d is None else x.movedim(d, -1) if ndim else x.reshape(1)
    ordered = sort_(lines, dim=-1)[0]
    n = lines.shape[-1]
    bad = np.isnan(lines._a)
    if skip_nan:
        last: Any = np.maximum((~bad).sum(-1, keepdims=True) - 1, 0)
    else:
        last = np.full((*lines.shape[:-1], 1), n - 1)
    rank = q.reshape(-1) * wrap(last.astype(x._a.dtype))
    y = _between(ordered, rank, interpolation)
    hit = bad.all(-1, keepdims=True) if skip_nan else bad.any(-1, keepdims=True)
    if hit.any():
        y = where3(wrap(hit), wrap(np.asarray(np.nan, x._a.dtype)), y)
    y = y.movedim(-1, 0)  # [Q, ...]
    if keepdim:
        shape = [1] * ndim if d is None else [1 if i == d else k for i, k in enumerate(x.shape)]
        y = y.reshape(-1, *shape)
    made: Tensor = y.squeeze(0) if q._a.ndim == 0 else y
    return made


def _between(ordered: Tensor, rank: Tensor, kind: str) -> Tensor:
    r = rank._a
    low = np.floor(r)
    if kind == "lower":
        return _at(ordered, low)
    if kind == "higher":
        return _at(ordered, np.ceil(r))
    if kind == "nearest":
        return _at(ordered, np.rint(r))
    a, b = _at(ordered, low), _at(ordered, np.ceil(r))
    t = rank - wrap(low) if kind == "linear" else 0.5
    made: Tensor = a + (b - a) * t
    return made


def _at(ordered: Tensor, place: Any) -> Tensor:
    made: Tensor = ordered.gather(ordered._a.ndim - 1, as_index(place.astype("i8")))
    return made


@method()
@with_out
def quantile(
    input: Tensor, q: Any, dim: Any = None, keepdim: bool = False, *, interpolation: str = "linear"
) -> Tensor:
    """The q-th quantiles along a dimension, or of all elements; NaN where there is a NaN."""
    return _quantile(input, q, dim, keepdim, interpolation, False, "quantile")


@method()
@with_out
def nanquantile(
    input: Tensor, q: Any, dim: Any = None, keepdim: bool = False, *, interpolation: str = "linear"
) -> Tensor:
    """`quantile` of the elements that are not NaN."""
    return _quantile(input, q, dim, keepdim, interpolation, True, "nanquantile")


# ---- histograms ------------------------------------------------------------------------------------------
def _edges(a: Any, bins: Any, range_: Any, name: str) -> Any:
    if isinstance(bins, Tensor):
        if bins._a.ndim != 1 or bins.numel() == 0:
            raise ShapeError(
                f"{name}(): bins tensor should have one dimension and at least one element, but got {list(bins.shape)}"
            )
        return bins._a
    if bins <= 0:
        raise RuntimeError(f"{name}(): bins must be > 0, but got {bins}")
    if range_ is None:
        low, high = (float(a.min()), float(a.max())) if a.size else (0.0, 1.0)
    else:
        low, high = float(range_[0]), float(range_[1])
        if not (np.isfinite(low) and np.isfinite(high)):
            raise RuntimeError(f"{name}(): range of [{low}, {high}] is not finite")
        if low > high:
            raise RuntimeError(f"{name}(): min should not exceed max, but got min {low} max {high}")
    if low == high:
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, int(bins) + 1).astype(a.dtype)


@method()
@with_out
def histogram(
    input: Tensor, bins: Any, *, range: Any = None, weight: Any = None, density: bool = False
) -> Any:
    """How many values lie between each two edges, or their weights, and the edges."""
    a = input._a
    edges = _edges(a, bins, range, "histogram")
    w = None if weight is None else weight._a.reshape(-1)
    made = np.histogram(a.reshape(-1), edges, weights=w, density=density)[0]
    return named("histogram", "hist bin_edges", wrap(made.astype(a.dtype)), wrap(np.array(edges)))


def histogramdd(
    input: Tensor, bins: Any, *, range: Any = None, weight: Any = None, density: bool = False
) -> Any:
    """Counts of points [..., D] in a grid of D dimensions, and the edges of each."""
    a = input._a
    if a.ndim < 2:
        raise ShapeError(
            "torch.histogramdd: input tensor should have at least 2 dimensions, but got", got=a.ndim
        )
    points = a.reshape(-1, a.shape[-1])
    n = points.shape[1]
    bins = [bins] * n if isinstance(bins, int) else list(bins)
    if len(bins) != n:
        raise ShapeError(
            f"histogramdd: The size of bins must be equal to the innermost dimension of the input. Got {len(bins)}, expected {n}"
        )
    ranges = [None] * n if range is None else [range[2 * i : 2 * i + 2] for i in np.arange(n)]
    edges = [
        _edges(points[:, i], b, r, "histogramdd")
        for i, (b, r) in enumerate(zip(bins, ranges, strict=True))
    ]
    w = None if weight is None else weight._a.reshape(-1)
    made = _counted(points, edges, w, density)
    return named(
        "histogramdd",
        "hist bin_edges",
        wrap(made.astype(a.dtype)),
        tuple(wrap(np.array(e)) for e in edges),
    )


def _counted(points: Any, edges: Any, weights: Any, density: bool) -> Any:
    """The histogram of points; edges that do not ascend are taken as they are."""
    shape = tuple(len(e) - 1 for e in edges)
    at, inside = np.zeros(len(points), "i8"), np.ones(len(points), "?")
    for i, e in enumerate(edges):
        v = points[:, i]
        place = np.where(v == e[-1], shape[i] - 1, np.searchsorted(e, v, "right") - 1)
        inside &= (v >= e[0]) & (v <= e[-1]) & (place >= 0) & (place < shape[i])
        at = at * shape[i] + np.clip(place, 0, max(shape[i] - 1, 0))
    w = None if weights is None else weights[inside].astype("f8")
    made = np.bincount(at[inside], w, math.prod(shape)).reshape(shape).astype("f8")
    if density:
        made /= made.sum()
        for i, e in enumerate(edges):
            made /= np.diff(e).reshape([-1 if j == i else 1 for j in np.arange(len(shape))])
    return made


# ---- covariance --------------------------------------------------------------------------------------------
@method()
def cov(
    input: Tensor, *, correction: int = 1, fweights: Any = None, aweights: Any = None
) -> Tensor:
    """The covariances of the rows, each a variable."""
    if input._a.ndim > 2:
        raise ShapeError(
            f"cov(): expected input to have two or fewer dimensions but got an input with {input._a.ndim} dimensions"
        )
    if input._a.dtype.kind == "b":
        raise DTypeError("cov(): bool dtype is not supported for input")
    x = input.reshape(1, -1) if input._a.ndim < 2 else input
    n = x.shape[1]
    w: Any = None
    for given, kind, name in ((fweights, "iu", "fweights"), (aweights, "f", "aweights")):
        if given is None:
            continue
        if given._a.ndim > 1:
            raise ShapeError(
                f"cov(): expected {name} to have one or fewer dimensions but got {name} with {given._a.ndim} dimensions"
            )
        if given._a.dtype.kind not in kind:
            raise DTypeError(
                f"cov(): expected {name} to have {'integral' if kind == 'iu' else 'floating point'} dtype but got {name} with {given.dtype.name.title()} dtype"
            )
        if given.numel() != n:
            raise ShapeError(
                f"cov(): expected {name} to have the same numel as there are observations in the input but got {given.numel()} != {n}"
            )
        if given._a.size and bool((given._a < 0).any()):
            raise RuntimeError(f"cov(): {name} cannot be negative")
        w = given if w is None else w * given
    total = n if w is None else w.sum()
    mean = (x if w is None else x * w).sum(1, keepdim=True) / total
    if w is None:
        free: Any = max(n - correction, 0)
    elif aweights is None or correction == 0:
        free = (total - correction).clamp_min(0)
    else:
        free = (total - correction * (w * aweights).sum() / total).clamp_min(0)
    d = x - mean
    c = (d if w is None else d * w) @ d.mH
    made: Tensor = c / free
    result: Tensor = made.squeeze()
    return result


@method()
def corrcoef(input: Tensor) -> Tensor:
    """The correlations of the rows, each a variable."""
    if input._a.ndim > 2:
        raise ShapeError(
            f"corrcoef(): expected input to have two or fewer dimensions but got an input with {input._a.ndim} dimensions"
        )
    c = cov(input)
    if c._a.ndim == 0:
        result: Tensor = c / c
        return result
    d = c.diagonal()
    d = (d.real if d.is_complex() else d).sqrt()
    c = c / d.unsqueeze(-1) / d.unsqueeze(0)
    made: Tensor = c if c.is_complex() else c.clamp(-1, 1)
    return made


# ---- finite differences ------------------------------------------------------------------------------------
def _difference(x: Tensor, d: int, spacing: Any, edge_order: int) -> Tensor:
    """Central differences inside, one-sided ones at the ends; spacing is a number or coordinates."""
    n = x.shape[d]
    h = np.full(n - 1, float(spacing)) if not isinstance(spacing, np.ndarray) else np.diff(spacing)
    m = np.zeros((n, n))
    for i in range(1, n - 1):
        a, b = h[i - 1], h[i]
        m[i, i - 1], m[i, i], m[i, i + 1] = -b / (a * (a + b)), (b - a) / (a * b), a / (b * (a + b))
    if edge_order == 1:
        m[0, :2] = -1 / h[0], 1 / h[0]
        m[-1, -2:] = -1 / h[-1], 1 / h[-1]
    else:
        a, b = h[0], h[1]
        m[0, :3] = -(2 * a + b) / (a * (a + b)), (a + b) / (a * b), -a / (b * (a + b))
        a, b = h[-2], h[-1]
        m[-1, -3:] = b / (a * (a + b)), -(a + b) / (a * b), (2 * b + a) / (b * (a + b))
    made: Tensor = (wrap(m.astype(x._a.dtype)) @ x.movedim(d, 0).reshape(n, -1)).reshape(
        n, *[k for i, k in enumerate(x.shape) if i != d]
    )
    result: Tensor = made.movedim(0, d)
    return result


def gradient(
    input: Tensor, *, spacing: Any = 1, dim: Any = None, edge_order: int = 1
) -> tuple[Tensor, ...]:
    """Finite differences along each dimension, second order inside."""
    n = input._a.ndim
    dims = list(range(n)) if dim is None else [dim] if isinstance(dim, int) else list(dim)
    dims = [check_dim(d, n) for d in dims]
    if len(set(dims)) != len(dims):
        raise RuntimeError("dim appears multiple times in the list of dims", dims)
    if edge_order not in (1, 2):
        raise RuntimeError("torch.gradient only supports edge_order=1 and edge_order=2.")
    spacing = 1 if spacing is None else spacing
    if isinstance(spacing, (list, tuple)):
        if len(spacing) not in (1, len(dims)) or (
            len(spacing) == 1 and isinstance(spacing[0], Tensor) and len(dims) > 1
        ):
            raise RuntimeError(
                f"torch.gradient expected spacing to be unspecified, a scalar, or a list of length equal to 'self.dim() - dim_list', but got a list of length {len(spacing)}"
            )
        steps = list(spacing) * (len(dims) if len(spacing) == 1 else 1)
    else:
        steps = [spacing] * len(dims)
    made = []
    x = input if input._a.dtype.kind in "fcV" else input.float()
    for d, s in zip(dims, steps, strict=True):
        if isinstance(s, Tensor):
            if s._a.ndim != 1 or s.numel() != input.shape[d]:
                raise RuntimeError(
                    f"torch.gradient expected each element of spacing to have one dimension of {input.shape[d]} elements",
                    list(s.shape),
                )
            s = s._a.astype("f8")
        if input.shape[d] <= edge_order:
            raise RuntimeError(
                "torch.gradient expected each dimension size to be at least edge_order+1"
            )
        made.append(_difference(x, d, s, edge_order))
    return tuple(made)


# ---- hashes ------------------------------------------------------------------------------------------------
def _hash(x: Any, dim: Any, keepdim: bool) -> Any:
    bits = xp.ascontiguousarray(x.astype("f8" if x.dtype.kind in "fV" else "i8")).view("u8")
    dim = None if dim == () else dim
    return xp.bitwise_xor.reduce(bits.reshape(x.shape), dim, keepdims=keepdim)


hash_ = operator(
    "hash_tensor", lambda input, *, dim=(), keepdim=False: _hash(input, dim, keepdim), None, extra={"mode": 0}, out=True,
    samples=lambda: [((spread(2, 3),), {"dim": 1})],
    ref=lambda x, dim: x.view("u8")[:, 0] ^ x.view("u8")[:, 1] ^ x.view("u8")[:, 2],
)  # fmt: skip
hash_tensor = hash_
__all__ = [
    "corrcoef", "cov", "gradient", "hash_tensor", "histogram", "histogramdd", "nanquantile", "quantile",
]  # fmt: skip
publish(globals())
