"""torch.linalg's functions: systems, determinants, factorisations, norms and functions of matrices."""

from __future__ import annotations

import types
from typing import Any

import numpy as np

from .. import dtypes
from ..errors import DTypeError, ShapeError
from ..tensor import Tensor, wrap
from .apply import return_type
from .compare import where3
from .decompose import (
    LinAlgError,
    cholesky_,
    det_,
    inverse_,
    matrices,
    pinv_,
    slogdet_,
    solve_,
    triangular,
)  # fmt: skip
from .factor import (
    eig_,
    eigh_,
    eliminate,
    lu_pivots,
    qr_,
    qr_complete,
    svd_,
    svd_full,
    svdvals_,
)
from .join import cat, narrow
from .linalg import matmul
from .registry import attach, method, publish, with_out

_TYPES: dict[str, Any] = {}


def named(name: str, fields: str, *values: Any) -> Any:
    """A result of several tensors, as ``torch.return_types.<name>``."""
    made = _TYPES.get(name)
    if made is None:
        outline: Any = types.SimpleNamespace(name=name, outputs=tuple(fields.split()))
        made = _TYPES[name] = return_type(outline)
    return made(*values)


def check(x: Any, name: str, square: bool = True) -> Tensor:
    """TypeError, or RuntimeError for a shape or dtype, unless x holds matrices."""
    if not isinstance(x, Tensor):
        raise TypeError(
            f"linalg_{name}(): argument 'A' (position 1) must be Tensor, not {type(x).__name__}"
        )
    matrices(x._a, name, square)
    return x


# ---- systems --------------------------------------------------------------------------------------------
def _failures(a: Any, fn: Any) -> Any:
    """int32 per matrix: 0, or 1 where a function of NumPy fails."""
    flat = a.reshape(-1, *a.shape[-2:])
    bad = np.zeros(len(flat), "i4")
    for i, one in enumerate(flat):
        try:
            fn(one)
        except np.linalg.LinAlgError:
            bad[i] = 1
    return bad.reshape(a.shape[:-2])


def _info(x: Tensor, fn: Any) -> Tensor:
    return wrap(_failures(np.asarray(x._a), fn))


@with_out
def inv(A: Tensor) -> Tensor:
    """The inverse of square matrices; LinAlgError for a singular one."""
    made: Tensor = inverse_(check(A, "inv"))
    return made


def _tolerant(fn: Any, x: Tensor, probe: Any, check_errors: bool) -> tuple[Any, Tensor]:
    """A factorisation and its error codes; NaN where it fails."""
    try:
        return fn(x), wrap(np.zeros(tuple(x.shape)[:-2], "i4"))
    except LinAlgError:
        if check_errors:
            raise
    info = _info(x, probe)
    bad = wrap((info._a != 0)[..., None, None])
    eye = wrap(np.eye(x.shape[-1], dtype=x._a.dtype))
    return where3(bad, wrap(np.full((), np.nan, x._a.dtype)), fn(where3(bad, eye, x))), info


@with_out
def inv_ex(A: Tensor, *, check_errors: bool = False) -> Any:
    """The inverse, and 0 or an error code per matrix."""
    y, info = _tolerant(inverse_, check(A, "inv"), np.linalg.inv, check_errors)
    return named("linalg_inv_ex", "inverse info", y, info)


@with_out
def det(A: Tensor) -> Tensor:
    """The determinant."""
    made: Tensor = det_(check(A, "det"))
    return made


@with_out
def slogdet(A: Tensor) -> Any:
    """The sign (phase) of the determinant and the logarithm of its size."""
    sign, log = slogdet_(check(A, "slogdet"))
    return named("linalg_slogdet", "sign logabsdet", sign, log)


@method()
def logdet(input: Tensor) -> Tensor:
    """The logarithm of the determinant; NaN for a negative one."""
    sign, log = slogdet_(check(input, "slogdet"))
    made: Tensor = log + sign.log() if not input.is_complex() else sign.log() + log
    return made


def _vector_like(A: Tensor, B: Tensor) -> bool:
    a, b = tuple(A.shape), tuple(B.shape)
    return len(b) == 1 or (len(a) - 1 == len(b) and a[:-1] == b)


def _solved(A: Tensor, B: Tensor, left: bool) -> Tensor:
    check(A, "solve")
    if _vector_like(A, B):
        if not left:
            raise ShapeError(
                "linalg.solve: Vector broadcasting of the left hand side is not supported for left=False. In this case linalg.solve is equivalent to B / A.squeeze(-1)"
            )
        made: Tensor = solve_(A, B.unsqueeze(-1)).squeeze(-1)
        return made
    if not left:
        made = solve_(A.mT, B.mT).mT
        return made
    made = solve_(A, B)
    return made


@with_out
def solve(A: Tensor, B: Tensor, *, left: bool = True) -> Tensor:
    """X of AX = B, or of XA = B with left=False."""
    return _solved(A, B, left)


@with_out
def solve_ex(A: Tensor, B: Tensor, *, left: bool = True, check_errors: bool = False) -> Any:
    """`solve`, and 0 or an error code per matrix."""
    check(A, "solve")
    y, info = _tolerant(lambda a: _solved(a, B, left), A, np.linalg.inv, check_errors)
    return named("linalg_solve_ex", "result info", y, info)


@with_out
def solve_triangular(
    A: Tensor, B: Tensor, *, upper: bool, left: bool = True, unitriangular: bool = False
) -> Tensor:
    """X of AX = B (or XA = B) for triangular A; the other triangle is not read."""
    check(A, "solve_triangular")
    if not left:
        made: Tensor = triangular(A.mT, B.mT, upper=not upper, unit=unitriangular).mT
        return made
    made = triangular(A, B, upper=upper, unit=unitriangular)
    return made


# ---- Cholesky -------------------------------------------------------------------------------------------
@with_out
def cholesky(A: Tensor, *, upper: bool = False) -> Tensor:
    """L with A = L L^H for positive definite matrices, or U with A = U^H U."""
    made: Tensor = cholesky_(check(A, "cholesky"), half="upper" if upper else "lower")
    return made.mH if upper else made


@with_out
def cholesky_ex(A: Tensor, *, upper: bool = False, check_errors: bool = False) -> Any:
    """`cholesky`, and 0 or an error code per matrix."""
    check(A, "cholesky")
    half = "upper" if upper else "lower"
    y, info = _tolerant(lambda a: cholesky_(a, half=half), A, np.linalg.cholesky, check_errors)
    return named("linalg_cholesky_ex", "L info", y.mH if upper else y, info)


# ---- QR, eigenvalues, singular values -------------------------------------------------------------------
@with_out
def qr(A: Tensor, mode: str = "reduced") -> Any:
    """Orthonormal Q and upper triangular R with A = QR; mode reduced, complete or r."""
    if mode not in ("reduced", "complete", "r"):
        raise RuntimeError(
            f"qr received unrecognized mode '{mode}' but expected one of 'reduced' (default), 'r', or 'complete'"
        )
    m, n = tuple(check(A, "qr", square=False).shape)[-2:]
    if mode == "complete" and m > n:
        q, r = qr_complete(A)
    elif A.numel() == 0:
        q, r = qr_(A.detach())
        q, r = q + A.sum(), r + A.sum()  # nothing is added, but gradients of zeros flow
    elif m >= n:
        q, r = qr_(A)
    else:
        q, first = qr_(narrow(A, -1, 0, m))
        r = cat([first, q.mH @ narrow(A, -1, m, n - m)], -1)
    if mode == "r":
        q = wrap(np.empty(0, A._a.dtype))
    return named("linalg_qr", "Q R", q, r)


@with_out
def eig(A: Tensor) -> Any:
    """Complex eigenvalues and eigenvectors of length 1."""
    w, v = eig_(check(A, "eig"))
    return named("linalg_eig", "eigenvalues eigenvectors", w, v)


@with_out
def eigvals(A: Tensor) -> Tensor:
    """Complex eigenvalues."""
    made: Tensor = eig_(check(A, "eigvals"))[0]
    return made


def _half(UPLO: str) -> str:
    if UPLO.upper() not in ("L", "U"):
        raise RuntimeError(f"Expected UPLO argument to be 'L' or 'U', but got {UPLO}")
    return "lower" if UPLO.upper() == "L" else "upper"


@with_out
def eigh(A: Tensor, UPLO: str = "L") -> Any:
    """Eigenvalues in ascending order and eigenvectors of Hermitian matrices."""
    w, v = eigh_(check(A, "eigh"), half=_half(UPLO))
    return named("linalg_eigh", "eigenvalues eigenvectors", w, v)


@with_out
def eigvalsh(A: Tensor, UPLO: str = "L") -> Tensor:
    """Eigenvalues of Hermitian matrices, in ascending order."""
    made: Tensor = eigh_(check(A, "eigvalsh"), half=_half(UPLO))[0]
    return made


@with_out
def svd(A: Tensor, full_matrices: bool = True, *, driver: Any = None) -> Any:
    """U, S, Vh with A = U diag(S) Vh; gradients of U and Vh reach their first min(m, n) vectors only."""
    check(A, "svd", square=False)
    m, n = tuple(A.shape)[-2:]
    u, s, vh = svd_(A)
    if full_matrices and m != n:
        with_all = svd_full(A.detach())
        k = min(m, n)
        if m > n:
            u = cat([u, narrow(with_all[0], -1, k, m - k)], -1)
        else:
            vh = cat([vh, narrow(with_all[2], -2, k, n - k)], -2)
    return named("linalg_svd", "U S Vh", u, s, vh)


@with_out
def svdvals(A: Tensor, *, driver: Any = None) -> Tensor:
    """Singular values, in descending order."""
    made: Tensor = svdvals_(check(A, "svdvals", square=False))
    return made


def _tolerances(A: Tensor, atol: Any, rtol: Any) -> tuple[Any, Any]:
    """Absolute and relative bounds below which singular values count as zero, as arrays."""
    real = dtypes.REAL.get(A._a.dtype, A._a.dtype)
    eps = float(np.finfo(real).eps) * max(tuple(A.shape)[-2:])
    some = atol is not None and (isinstance(atol, Tensor) or atol > 0)
    low = 0.0 if atol is None else atol._a if isinstance(atol, Tensor) else float(atol)
    if rtol is None:
        rel: Any = 0.0 if some and not isinstance(atol, Tensor) else eps
        if isinstance(atol, Tensor):
            rel = np.where(atol._a > 0, 0.0, eps)
    else:
        rel = rtol._a if isinstance(rtol, Tensor) else float(rtol)
    return low, rel


@with_out
def pinv(
    A: Tensor, rcond: Any = None, hermitian: bool = False, *, atol: Any = None, rtol: Any = None
) -> Tensor:
    """The Moore-Penrose inverse."""
    check(A, "pinv", square=hermitian)
    low, rel = _tolerances(A, atol, rcond if rtol is None else rtol)
    made: Tensor = pinv_(A, rtol=rel, atol=low, half="lower" if hermitian else None)
    return made


@with_out
def matrix_rank(
    A: Tensor, tol: Any = None, hermitian: bool = False, *, atol: Any = None, rtol: Any = None
) -> Tensor:
    """How many singular values are not negligible."""
    check(A, "matrix_rank", square=hermitian)
    if 0 in tuple(A.shape)[-2:]:
        return wrap(np.zeros(tuple(A.shape)[:-2], "i8"))
    low, rel = _tolerances(A, atol if tol is None else tol, 0.0 if tol is not None else rtol)
    s = np.abs(eigh_(A.detach())[0]._a) if hermitian else svdvals_(A.detach())._a
    bound = np.maximum(np.asarray(low), np.asarray(rel) * s.max(-1))
    return wrap(np.asarray((s > bound[..., None]).sum(-1), "i8"))


@with_out
def lstsq(A: Tensor, B: Tensor, rcond: Any = None, *, driver: Any = None) -> Any:
    """Least squares solutions of AX = B, residuals, ranks and singular values."""
    check(A, "lstsq", square=False)
    m, n = tuple(A.shape)[-2:]
    if driver not in (None, "gels", "gelsy", "gelsd", "gelss"):
        raise RuntimeError(
            f"torch.linalg.lstsq: parameter `driver` should be one of (gels, gelsy, gelsd, gelss) but got {driver}"
        )
    if A._a.dtype != B._a.dtype:
        raise DTypeError(
            "torch.linalg.lstsq: Expected input and other to have the same dtype",
            got=f"{A.dtype} and {B.dtype}",
        )
    vector = A._a.ndim - 1 == B._a.ndim and tuple(A.shape)[:-1] == tuple(B.shape)
    b = B.unsqueeze(-1) if vector else B
    if b._a.ndim < 2 or b.shape[-2] != m:
        raise ShapeError(
            f"torch.linalg.lstsq: input.size(-2) should match other.size({-1 if vector else -2})"
        )
    rel = (
        float(np.finfo(dtypes.REAL.get(A._a.dtype, A._a.dtype)).eps) * max(m, n)
        if rcond is None
        else rcond
    )
    x = matmul(pinv_(A, rtol=rel, atol=0.0), b)
    driver = driver or "gelsy"
    empty = wrap(np.empty(0, dtypes.REAL.get(A._a.dtype, A._a.dtype)))
    rank = wrap(np.empty(0, "i8")) if driver == "gels" else matrix_rank(A.detach(), rtol=rel)
    values = svdvals_(A.detach()) if driver in ("gelsd", "gelss") else empty
    residuals = x.real.reshape(-1)[:0]
    if m > n and driver != "gelsy" and (driver == "gels" or bool((rank._a == n).all())):
        residuals = (matmul(A, x) - b).abs().square().sum(-2)
    x = x.squeeze(-1) if vector else x
    return named(
        "linalg_lstsq", "solution residuals rank singular_values", x, residuals, rank, values
    )


# ---- LU -------------------------------------------------------------------------------------------------
def packed_lu(A: Tensor, pivot: bool = True) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """L and U in one matrix, the row exchanges from 1, the rows they lead to, error codes."""
    check(A, "lu_factor", square=False)
    m, n = tuple(A.shape)[-2:]
    k = min(m, n)
    pivots, perm, info = lu_pivots(A.detach())
    if not pivot:
        raise RuntimeError("linalg.lu_factor: LU without pivoting is not implemented on the CPU")
    if k == 0:
        return A.clone(), pivots, perm, info
    rows = A.take_along_dim(perm.unsqueeze(-1), -2)
    square = eliminate(narrow(narrow(rows, -2, 0, k), -1, 0, k))
    if n > k:
        right = triangular(
            square, narrow(narrow(rows, -2, 0, k), -1, k, n - k), upper=False, unit=True
        )
        return cat([square, right], -1), pivots, perm, info
    if m > k:
        below = triangular(square.mT, narrow(rows, -2, k, m - k).mT, upper=False).mT
        return cat([square, below], -2), pivots, perm, info
    return square, pivots, perm, info


@with_out
def lu_factor(A: Tensor, *, pivot: bool = True) -> Any:
    """L and U in one matrix, and the row exchanges, counted from 1."""
    y, pivots, _, info = packed_lu(A, pivot)
    if bool((info._a != 0).any()):
        raise LinAlgError(
            "torch.linalg.lu_factor: U is exactly zero on its diagonal; using it on lu_solve would result in a division by zero."
        )
    return named("linalg_lu_factor", "LU pivots", y, pivots)


@with_out
def lu_factor_ex(A: Tensor, *, pivot: bool = True, check_errors: bool = False) -> Any:
    """`lu_factor`, and 0 or an error code per matrix."""
    y, pivots, _, info = packed_lu(A, pivot)
    return named("linalg_lu_factor_ex", "LU pivots info", y, pivots, info)


def permutation(perm: Tensor, dtype: Any) -> Tensor:
    """P with P[perm[i], i] = 1."""
    p = perm._a
    return wrap(np.swapaxes(np.eye(p.shape[-1], dtype=dtype)[p], -1, -2).copy())


def parts(LU: Tensor) -> tuple[Tensor, Tensor]:
    """L with its unit diagonal, and U."""
    m, n = tuple(LU.shape)[-2:]
    k = min(m, n)
    eye = wrap(np.eye(m, k, dtype=LU._a.dtype))
    return narrow(LU, -1, 0, k).tril(-1) + eye, narrow(LU, -2, 0, k).triu()


@with_out
def lu(A: Tensor, *, pivot: bool = True) -> Any:
    """P, L, U with A = P L U."""
    packed, _, perm, _ = packed_lu(A, pivot)
    low, up = parts(packed)
    return named("linalg_lu", "P L U", permutation(perm, A._a.dtype), low, up)


@with_out
def lu_solve(
    LU: Tensor, pivots: Tensor, B: Tensor, *, left: bool = True, adjoint: bool = False
) -> Tensor:
    """X of AX = B from the factors of `lu_factor`."""
    check(LU, "lu_solve")
    from .matrix import exchanged

    p = permutation(exchanged(pivots, LU.shape[-1]), LU._a.dtype)
    low, up = parts(LU)
    if not left:
        result: Tensor = lu_solve(LU, pivots, B.mH, adjoint=not adjoint).mH
        return result
    if adjoint:
        y = triangular(up.mH, B, upper=False)
        made: Tensor = matmul(p, triangular(low.mH, y, upper=True, unit=True))
        return made
    y = triangular(low, matmul(p.mT, B), upper=False, unit=True)
    made = triangular(up, y, upper=True)
    return made


LINALG = [
    "LinAlgError", "cholesky", "cholesky_ex", "det", "eig", "eigh", "eigvals", "eigvalsh", "inv", "inv_ex",
    "lstsq", "lu", "lu_factor", "lu_factor_ex", "lu_solve", "matrix_rank", "pinv", "qr",
    "slogdet", "solve", "solve_ex", "solve_triangular", "svd", "svdvals",
]  # fmt: skip
__all__ = ["det", "logdet", "slogdet"]
for _f in (det, slogdet):
    attach(_f.__name__, _f)
inverse = method("inverse")(inv)
__all__ += ["inverse"]
publish(globals())
