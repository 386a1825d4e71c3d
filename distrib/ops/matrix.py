"""Functions of matrices: powers, exponentials, chains of products, Householder products, older names."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from ..errors import ShapeError
from ..tensor import Tensor, check_dim, wrap
from . import algebra
from .algebra import check, named, packed_lu, parts, permutation
from .arithmetic import conj
from .decompose import inverse_, run
from .factor import expm
from .join import stack
from .linalg import cross as _cross
from .linalg import matmul, mm
from .registry import method, operator, publish, with_out
from .samples import spread
from .shape import diagonal as _diagonal

xp: Any = None  # bound per array type


# ---- powers and products -----------------------------------------------------------------------------
@method()
@with_out
def matrix_power(input: Tensor, n: int) -> Tensor:
    """Square matrices multiplied n times; the inverse's for negative n."""
    a = check(input, "matrix_power")
    if n == 0:
        found: Tensor = a * 0 + wrap(np.eye(a.shape[-1], dtype=a._a.dtype))
        return found
    if n < 0:
        a, n = inverse_(a), -n
    made: Any = None
    while n:
        if n & 1:
            made = a if made is None else matmul(made, a)
        n >>= 1
        a = matmul(a, a) if n else a
    result: Tensor = made.clone() if made is input else made
    return result


@method()
def matrix_exp(input: Tensor) -> Tensor:
    """The exponential of square matrices."""
    made: Tensor = expm(check(input, "matrix_exp"))
    return made


@with_out
def multi_dot(tensors: Any) -> Tensor:
    """The product of matrices in the order that costs least; the first and last may be vectors."""
    ms = list(tensors)
    n = len(ms)
    if n < 2:
        raise ShapeError(f"multi_dot(): expected at least 2 tensors but got {n}")
    for i, t in enumerate(ms):
        ok = (1, 2) if i in (0, n - 1) else (2,)
        if t._a.ndim not in ok:
            raise ShapeError(
                f"multi_dot(): tensor {i} must be {'1D or 2D' if len(ok) == 2 else '2D'} but got {t._a.ndim}D"
            )
    first, last = ms[0]._a.ndim == 1, ms[-1]._a.ndim == 1
    ms[0] = ms[0].unsqueeze(0) if first else ms[0]
    ms[-1] = ms[-1].unsqueeze(1) if last else ms[-1]
    for i, (a, b) in enumerate(itertools.pairwise(ms)):
        if a._a.dtype != b._a.dtype:
            raise ShapeError(
                f"multi_dot(): all tensors must have be the same dtype but tensor 0 is {ms[0].dtype} and tensor {i + 1} {b.dtype}"
            )
        if a.shape[1] != b.shape[0]:
            raise ShapeError(
                f"multi_dot(): tensors {i} and {i + 1} with shapes {list(a.shape)} and {list(b.shape)} cannot be multiplied"
            )
    made = _chain(ms, _cheapest([m.shape[0] for m in ms] + [ms[-1].shape[1]]), 0, n - 1)
    made = made.squeeze(-1) if last else made
    return made.squeeze(0) if first else made


def _cheapest(sizes: Any) -> Any:
    """Where to cut each range of a chain."""
    n = len(sizes) - 1
    cost, cut = np.zeros((n, n)), np.zeros((n, n), "i8")
    for length in range(1, n):
        for i in range(n - length):
            j = i + length
            all_ = [
                cost[i, k] + cost[k + 1, j] + sizes[i] * sizes[k + 1] * sizes[j + 1]
                for k in range(i, j)
            ]
            cut[i, j] = i + int(np.argmin(all_))
            cost[i, j] = min(all_)
    return cut


def _chain(ms: Any, cut: Any, i: int, j: int) -> Tensor:
    if i == j:
        one: Tensor = ms[i]
        return one
    k = int(cut[i, j])
    made: Tensor = mm(_chain(ms, cut, i, k), _chain(ms, cut, k + 1, j))
    return made


@with_out
def vecdot(x: Tensor, y: Tensor, *, dim: int = -1) -> Tensor:
    """Sums of products along a dimension, the first factor conjugated."""
    made: Tensor = (conj(x) * y).sum(dim)
    return made


@with_out
def cross(input: Tensor, other: Tensor, *, dim: int = -1) -> Tensor:
    """The cross product of vectors of three elements along a dimension."""
    if input._a.ndim != other._a.ndim:
        raise ShapeError("linalg.cross: inputs must have the same number of dimensions.")
    made: Tensor = _cross(input, other, dim)
    return made


def diagonal(A: Tensor, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """A view of the diagonals of matrices."""
    made: Tensor = _diagonal(A, offset=offset, dim1=dim1, dim2=dim2)
    return made


def vander(x: Tensor, *, N: Any = None) -> Tensor:
    """Powers 0 to N - 1 of the elements, a row each."""
    if x._a.ndim == 0:
        x = x.unsqueeze(0)
    n = x.shape[-1] if N is None else N
    if n <= 1 and N is not None:
        raise RuntimeError(f"N must be greater than 1. Got {N}")
    if x._a.dtype.kind == "b":
        x = x.long()
    columns = [x * 0 + 1]
    for _ in range(n - 1):
        columns.append(columns[-1] * x)
    made: Tensor = stack(columns, -1)
    return made


@with_out
def tensorinv(A: Tensor, ind: int = 2) -> Tensor:
    """The inverse of the map that A is from its last dimensions to its first ``ind``."""
    if ind <= 0:
        raise RuntimeError(f"Expected a strictly positive integer for 'ind', but got {ind}")
    s = tuple(A.shape)
    n = int(np.prod(s[ind:]))
    if n != int(np.prod(s[:ind])):
        raise ShapeError(
            f"Expected self to satisfy the requirement prod(self.shape[ind:]) == prod(self.shape[:ind]), but got {n} != {int(np.prod(s[:ind]))}"
        )
    made: Tensor = algebra.inv(A.reshape(n, n)).reshape(*s[ind:], *s[:ind])
    return made


@with_out
def tensorsolve(A: Tensor, B: Tensor, dims: Any = None) -> Tensor:
    """X with tensordot(A, X, X.ndim) == B."""
    if dims is not None:
        order = [i for i in range(A._a.ndim) if i not in [check_dim(d, A._a.ndim) for d in dims]]
        A = A.permute(*order, *[check_dim(d, A._a.ndim) for d in dims])
    rest = tuple(A.shape)[B._a.ndim :]
    n = int(np.prod(rest))
    if n != B.numel():
        raise ShapeError(
            f"Expected self to satisfy the requirement prod(self.shape[other.ndim:]) == prod(self.shape[:other.ndim]), but got {n} != {B.numel()}"
        )
    made: Tensor = algebra.solve(A.reshape(n, n), B.reshape(n)).reshape(rest)
    return made


# ---- Householder reflections ---------------------------------------------------------------------------
def _geqrf(x: Any) -> Any:
    h, tau = run("qr", x, mode="raw")
    return h.swapaxes(-1, -2), tau


geqrf_ = operator(
    "geqrf", lambda input: _geqrf(input), None, outputs=("a", "tau"),
    samples=lambda: [((spread(3, 2),), {})],
    ref=lambda x: (lambda h: (h[0].T, h[1]))(np.linalg.qr(x, "raw")),
)  # fmt: skip


@with_out
def geqrf(input: Tensor) -> Any:
    """The reflections of a QR factorisation below the diagonal of R, and their factors."""
    return geqrf_(check(input, "geqrf", square=False))


def _reflections(h: Tensor, tau: Tensor) -> list[Tensor]:
    """The matrices I - tau v v^H."""
    m = h.shape[-2]
    eye = wrap(np.eye(m, dtype=h._a.dtype))
    made = []
    for i in range(tau.shape[-1]):
        mask = wrap((np.arange(m) > i).astype(h._a.dtype))
        v = (h[..., i] * mask + wrap((np.arange(m) == i).astype(h._a.dtype))).unsqueeze(-1)
        made.append(eye - tau[..., i, None, None] * (v @ v.mH))
    return made


@with_out
def householder_product(A: Tensor, tau: Tensor) -> Tensor:
    """The first columns of the product of reflections; A [..., m, n], tau [..., k], k <= n <= m."""
    check(A, "householder_product", square=False)
    m, n = tuple(A.shape)[-2:]
    if m < n:
        raise ShapeError(
            "torch.linalg.householder_product: input.shape[-2] must be greater than or equal to input.shape[-1]"
        )
    if n < tau.shape[-1]:
        raise ShapeError(
            "torch.linalg.householder_product: input.shape[-1] must be greater than or equal to tau.shape[-1]"
        )
    y = wrap(np.broadcast_to(np.eye(m, n, dtype=A._a.dtype), (*tuple(A.shape)[:-2], m, n)).copy())
    for h in _reflections(A, tau)[::-1]:
        y = matmul(h, y)
    return y + 0 * A if tau.shape[-1] == 0 else y


@method()
@with_out
def ormqr(
    input: Tensor, tau: Tensor, other: Tensor, left: bool = True, transpose: bool = False
) -> Tensor:
    """Other times the whole product of reflections, from the left or right, perhaps transposed."""
    hs = _reflections(input, tau)
    if left:
        for h in hs if transpose else hs[::-1]:
            other = matmul(h.mH if transpose else h, other)
        return other
    for h in hs[::-1] if transpose else hs:
        other = matmul(other, h.mH if transpose else h)
    return other


# ---- older names -----------------------------------------------------------------------------------------
@method()
@with_out
def cholesky(input: Tensor, upper: bool = False) -> Tensor:
    """`linalg.cholesky`."""
    made: Tensor = algebra.cholesky(input, upper=upper)
    return made


@method()
@with_out
def cholesky_inverse(L: Tensor, upper: bool = False) -> Tensor:
    """The inverse of L L^H (U^H U) from a Cholesky factor."""
    check(L, "cholesky_inverse")
    b = inverse_(_factor(L, upper))
    made: Tensor = b.mH @ b
    return made


def _factor(L: Tensor, upper: bool) -> Tensor:
    """The lower triangle; the gradient is that of a full matrix, as in PyTorch."""
    cut = L.detach().triu() if upper else L.detach().tril()
    whole = cut + (L - L.detach()) if L.requires_grad else cut
    made: Tensor = whole.mH if upper else whole
    return made


@method()
@with_out
def cholesky_solve(B: Tensor, L: Tensor, upper: bool = False) -> Tensor:
    """X of AX = B from a Cholesky factor of A."""
    b = inverse_(_factor(check(L, "cholesky_solve"), upper))
    made: Tensor = matmul(b.mH, matmul(b, B))
    return made


@method()
@with_out
def qr(input: Tensor, some: bool = True) -> Any:
    """`linalg.qr`, reduced or complete."""
    return named("qr", "Q R", *algebra.qr(input, "reduced" if some else "complete"))


@method()
@with_out
def svd(input: Tensor, some: bool = True, compute_uv: bool = True) -> Any:
    """U, S, V (not its transpose); zeros for U and V with compute_uv=False."""
    u, s, vh = algebra.svd(input, full_matrices=not some)
    v = vh.mH
    if not compute_uv:
        m, n = tuple(input.shape)[-2:]
        lead = tuple(input.shape)[:-2]
        u, v = (wrap(np.zeros((*lead, k, k), input._a.dtype)) for k in (m, n))
    return named("svd", "U S V", u, s, v)


@method()
@with_out
def triangular_solve(
    b: Tensor, A: Tensor, upper: bool = True, transpose: bool = False, unitriangular: bool = False
) -> Any:
    """X of AX = b for triangular A, and A."""
    a = A.mT if transpose else A
    up = upper != transpose
    x = algebra.solve_triangular(a, b, upper=up, unitriangular=unitriangular)
    return named("triangular_solve", "solution cloned_coefficient", x, A.clone())


@method()
def pinverse(input: Tensor, rcond: float = 1e-15) -> Tensor:
    """`linalg.pinv`."""
    made: Tensor = algebra.pinv(input, rcond)
    return made


def exchanged(pivots: Tensor, rows: int) -> Tensor:
    """Where the row exchanges of an LU factorisation lead."""
    p = pivots._a.reshape(math.prod(tuple(pivots.shape)[:-1]), pivots.shape[-1])
    perm = np.tile(np.arange(rows), (len(p), 1))
    batch = np.arange(len(p))
    for j in range(p.shape[1]):
        k = p[:, j] - 1
        perm[batch, k], perm[:, j] = perm[:, j].copy(), perm[batch, k].copy()
    return wrap(perm.reshape(*pivots.shape[:-1], rows))


@with_out
def lu_unpack(
    LU_data: Tensor, LU_pivots: Tensor, unpack_data: bool = True, unpack_pivots: bool = True
) -> Any:
    """P, L and U from the factors of `linalg.lu_factor`."""
    none = wrap(np.empty(0, LU_data._a.dtype))
    p = (
        permutation(exchanged(LU_pivots, LU_data.shape[-2]), LU_data._a.dtype)
        if unpack_pivots
        else none
    )
    low, up = parts(LU_data) if unpack_data else (none, none)
    return named("lu_unpack", "P L U", p, low, up)


@method()
@with_out
def lu(A: Tensor, pivot: bool = True, get_infos: bool = False) -> Any:
    """L and U in one matrix, the row exchanges, and error codes if asked for."""
    y, pivots, _, info = packed_lu(A, pivot)
    return named("_lu_with_info", "LU pivots info", y, pivots, info) if get_infos else (y, pivots)


@method()
@with_out
def lu_solve(b: Tensor, LU_data: Tensor, LU_pivots: Tensor) -> Tensor:
    """X of AX = b from the factors of A."""
    made: Tensor = algebra.lu_solve(LU_data, LU_pivots, b)
    return made


def svd_lowrank(A: Tensor, q: int = 6, niter: int = 2, M: Any = None) -> Any:
    """U, S, V of an approximation of rank q, by random projections."""
    from .random import randn

    a = A if M is None else A - M
    m, n = tuple(a.shape)[-2:]
    tall = m >= n
    x = a if tall else a.mH
    probe = randn(x.shape[-1], q, dtype=x.dtype)
    basis = algebra.qr(x @ probe)[0]
    for _ in range(niter):
        basis = algebra.qr(x.mH @ basis)[0]
        basis = algebra.qr(x @ basis)[0]
    u, s, vh = algebra.svd(basis.mH @ x, full_matrices=False)
    u, v = basis @ u, vh.mH
    return (u, s, v) if tall else (v, s, u)


def pca_lowrank(A: Tensor, q: Any = None, center: bool = True, niter: int = 2) -> Any:
    """`svd_lowrank` of A, its columns centred."""
    m, n = tuple(A.shape)[-2:]
    if q is None:
        q = min(6, m, n)
    elif not 0 <= q <= min(m, n):
        raise ValueError(
            f"q(={q}) must be non-negative integer and not greater than min(m, n)={min(m, n)}"
        )
    return svd_lowrank(A - A.mean(-2, keepdim=True) if center else A, q, niter)


LINALG = [
    "cross", "diagonal", "householder_product", "matrix_exp", "matrix_power", "multi_dot", "tensorinv", "tensorsolve",
    "vander", "vecdot", "matmul",
]  # fmt: skip
__all__ = [
    "cholesky", "cholesky_inverse", "cholesky_solve", "geqrf", "lu", "lu_solve", "lu_unpack", "matrix_exp",
    "matrix_power", "ormqr", "pca_lowrank", "pinverse", "qr", "svd", "svd_lowrank", "triangular_solve",
]  # fmt: skip
orgqr = householder_product
__all__ += ["orgqr"]
publish(globals())
