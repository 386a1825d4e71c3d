"""Linear systems: inverses, determinants, triangular and Cholesky factors; batches of matrices."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..devices import MetaArray
from ..errors import DistribError, DTypeError, ShapeError
from .arithmetic import conj
from .arrange import tril, triu
from .linalg import mT
from .reduce import sum
from .registry import operator, publish
from .samples import spread
from .shape import diagonal, unsqueeze

xp: Any = None  # bound per array type


class LinAlgError(DistribError):
    """A matrix that cannot be inverted or factorised."""


# ---- helpers ---------------------------------------------------------------------------------------------
def mh(x: Any) -> Any:
    """The conjugate transpose of the last two dimensions, on arrays or Tensors."""
    return conj(mT(x))


def eye_like(x: Any) -> Any:
    """The identity that fits the last dimension of x."""
    return eye_of(x)


eye_of = operator(
    "_eye_of", lambda x: xp.eye(x.shape[-1], dtype=x.dtype), None,
    samples=lambda: [((spread(2, 3),), {})], ref=lambda x: np.identity(3),
)  # fmt: skip


def diag_matrix(v: Any) -> Any:
    """Diagonal matrices of vectors [..., n], on arrays or Tensors."""
    return unsqueeze(v, dim=-1) * eye_of(v)


def diag_of(x: Any) -> Any:
    """The diagonals of matrices, on arrays or Tensors."""
    return diagonal(x, offset=0, dim1=-2, dim2=-1)


def outer_scale(v: Any) -> Any:
    """[..., 1, 1]: a number per matrix, ready to multiply it."""
    return unsqueeze(unsqueeze(v, dim=-1), dim=-1)


def _hollow(x: Any) -> Any:
    """A stand-in with data for a meta array: identities, which every factorisation takes."""
    if type(x) is not MetaArray:
        return x
    return np.broadcast_to(np.eye(*x.shape[-2:], dtype=x.dtype), x.shape)


def _strip(made: Any) -> Any:
    if isinstance(made, tuple):
        return tuple(_strip(m) for m in made)
    return MetaArray(made.shape, made.dtype) if isinstance(made, (np.ndarray, np.generic)) else made


def run(name: str, *arrays: Any, **options: Any) -> Any:
    """A function of the array module's ``linalg``; LinAlgError where it fails."""
    if any(type(a) is MetaArray for a in arrays):
        return _strip(_run(np.linalg, name, [_hollow(a) for a in arrays], options))
    return _run(xp.linalg, name, arrays, options)


def _run(module: Any, name: str, arrays: Any, options: Any) -> Any:
    try:
        made = getattr(module, name)(*arrays, **options)
    except np.linalg.LinAlgError as e:
        raise LinAlgError(f"linalg.{name}: {_FAILED.get(name, str(e))}") from None
    return tuple(made) if isinstance(made, tuple) else made


_FAILED = {
    "inv": "The diagonal element of a factor is zero, the inversion could not be completed because the input "
    "matrix is singular.",
    "solve": "The solver failed because the input matrix is singular.",
    "cholesky": "The factorization could not be completed because the input is not positive-definite.",
}  # fmt: skip


def matrices(x: Any, name: str, square: bool = True) -> None:
    """RuntimeError unless x holds (square) matrices of a floating or complex dtype."""
    if x.ndim < 2:
        raise ShapeError(f"linalg.{name}: The input tensor A must have at least 2 dimensions.")
    if square and x.shape[-1] != x.shape[-2]:
        raise ShapeError(
            f"linalg.{name}: A must be batches of square matrices, but they are {x.shape[-2]} by {x.shape[-1]} matrices"
        )
    if x.dtype.kind not in "fc" or x.dtype.itemsize < 4:
        text = (
            "Low precision dtypes not supported"
            if x.dtype.kind in "fV"
            else "Expected a floating point or complex tensor as input"
        )
        raise DTypeError(f"linalg.{name}: {text}. Got {x.dtype.name.title()}")


def _spd(n: int = 3, *batch: int) -> Any:
    a = spread(*batch, n, n)
    return a @ a.swapaxes(-1, -2) + n * np.eye(n)


def _ill(n: int = 3, *batch: int) -> Any:
    return spread(*batch, n, n) + 2 * np.eye(n)


# ---- inverse and determinant ----------------------------------------------------------------------------
def _inv(x: Any) -> Any:
    matrices(x, "inv")
    return run("inv", x)


inverse_ = operator(
    "_linalg_inv", lambda x: _inv(x), (lambda g, y: -(mh(y) @ g @ mh(y)),), method=False,
    grad_name="LinalgInvExBackward0", samples=lambda: [((_ill(3),), {}), ((_ill(2, 2),), {})],
    ref=lambda x: np.linalg.solve(x, np.broadcast_to(np.eye(x.shape[-1]), x.shape)),
)  # fmt: skip


def _det(x: Any) -> Any:
    matrices(x, "det")
    return run("det", x)


def _cofactor(x: Any) -> Any:
    """conj(det(x)) times the inverse's conjugate transpose, defined for singular matrices as well."""
    u, s, vh = run("svd", x, full_matrices=False)
    n = x.shape[-1]
    rest = xp.where(xp.eye(n, dtype="?"), xp.ones((), s.dtype), s[..., None, :])
    others = xp.multiply.reduce(rest, -1)
    turn = run("det", u) * run("det", vh)
    return xp.conj(turn)[..., None, None] * ((u * others[..., None, :]) @ vh)


def _cofactor_grad(g: Any, x: Any) -> Any:
    b, d = inverse_(x), det_(x)
    k = d * sum(diag_of(b @ g), dim=-1)
    return outer_scale(conj(k)) * mh(b) - outer_scale(conj(d)) * (mh(b) @ mh(g) @ mh(b))


cofactor = operator(
    "_cofactor", lambda x: _cofactor(x), (lambda g, x: _cofactor_grad(g, x),), method=False,
    samples=lambda: [((_ill(3),), {}), ((_ill(2, 2),), {})],
    ref=lambda x: np.linalg.det(x)[..., None, None] * np.linalg.inv(x).swapaxes(-1, -2),
)  # fmt: skip
det_ = operator(
    "_linalg_det", lambda x: _det(x), (lambda g, x: outer_scale(g) * cofactor(x),), method=False,
    grad_name="LinalgDetBackward0", samples=lambda: [((_ill(3),), {}), ((_ill(2, 2),), {})],
    ref=lambda x: np.prod(np.linalg.eigvals(x), -1).real,
)  # fmt: skip


def _slogdet(x: Any) -> Any:
    matrices(x, "slogdet")
    sign, log = run("slogdet", x)
    return xp.asarray(sign, x.dtype), xp.asarray(log)


def _slogdet_grad(g: Any, x: Any, sign: Any) -> Any:
    gs, gl = g
    k = gl
    if gs is not None:
        z = conj(gs) * sign
        turn = (conj(z) - z) / 2
        k = turn if gl is None else gl + turn
    return (outer_scale(k) * mh(inverse_(x)),)


slogdet_ = operator(
    "_linalg_slogdet", lambda x: _slogdet(x), lambda g, x, sign: _slogdet_grad(g, x, sign),
    outputs=("sign", "logabsdet"), method=False, grad_name="LinalgSlogdetBackward0",
    samples=lambda: [((_ill(3),), {}), ((_ill(2, 2),), {})],
    ref=lambda x: (np.sign(np.linalg.det(x)), np.log(np.abs(np.linalg.det(x)))),
)  # fmt: skip


# ---- solving ---------------------------------------------------------------------------------------------
def _solve(a: Any, b: Any, name: str = "solve") -> Any:
    matrices(a, name)
    if a.dtype != b.dtype:
        raise DTypeError(
            f"linalg.{name}: Expected A and B to have the same dtype, but found A of type {a.dtype.name.title()} and B of type {b.dtype.name.title()} instead"
        )
    if a.shape[-1] != b.shape[-2]:
        raise ShapeError(
            f"linalg.{name}: Incompatible shapes of A and B for the equation AX = B ({a.shape[-2]}x{a.shape[-1]} and {b.shape[-2]}x{b.shape[-1]})"
        )
    return run("solve", a, b)


solve_: Any = operator(
    "_linalg_solve", lambda a, b: _solve(a, b),
    (lambda g, a, y: -(solve_(mh(a), g) @ mh(y)), lambda g, a: solve_(mh(a), g)), method=False,
    grad_name="LinalgSolveExBackward0", samples=lambda: [((_ill(3), spread(3, 2)), {}), ((_ill(2, 2), spread(2, 1)), {})],
    ref=lambda a, b: np.linalg.inv(a) @ b,
)  # fmt: skip


def _cut(x: Any, upper: bool, unit: bool) -> Any:
    """The triangle that counts, with ones on the diagonal if it is unit."""
    k = 1 if unit else 0
    t = xp.triu(x, k) if upper else xp.tril(x, -k)
    return t + xp.eye(x.shape[-1], dtype=x.dtype) if unit else t


def _triangular_grad(g: Any, a: Any, y: Any, upper: bool, unit: bool) -> Any:
    d = -(triangular(mh(a), g, upper=not upper, unit=unit) @ mh(y))
    return triu(d, diagonal=int(unit)) if upper else tril(d, diagonal=-int(unit))


triangular: Any = operator(
    "_linalg_solve_triangular",
    lambda a, b, *, upper, unit=False: _solve(_cut(a, upper, unit), b, "solve_triangular"),
    (lambda g, a, y, upper, unit: _triangular_grad(g, a, y, upper, unit),
     lambda g, a, upper, unit: triangular(mh(a), g, upper=not upper, unit=unit)), method=False,
    grad_name="LinalgSolveTriangularBackward0",
    samples=lambda: [((_spd(3), spread(3, 2)), {"upper": True}), ((_spd(3), spread(3, 2)), {"upper": False, "unit": True})],
    ref=lambda a, b, upper, unit=False: _substituted(a, b, upper, unit),
)  # fmt: skip


def _substituted(a: Any, b: Any, upper: bool, unit: bool) -> Any:
    x, n = np.zeros(b.shape), len(a)
    for i in range(n)[:: -1 if upper else 1]:
        rest = range(i + 1, n) if upper else range(i)
        x[i] = b[i] - np.sum([a[i, j] * x[j] for j in rest], 0)
        x[i] /= 1.0 if unit else a[i, i]
    return x


# ---- Cholesky ---------------------------------------------------------------------------------------------
def hermitian(x: Any, half: str) -> Any:
    """The Hermitian matrices that one half of x, or the mean of both, stands for."""
    turned = xp.conj(x.swapaxes(-1, -2))
    if half == "both":
        return (x + turned) / 2
    keep = (
        xp.tril(xp.ones(x.shape[-2:], "?"))
        if half == "lower"
        else xp.triu(xp.ones(x.shape[-2:], "?"))
    )
    y = xp.where(keep, x, turned)
    return y if x.dtype.kind != "c" else xp.where(xp.eye(x.shape[-1], dtype="?"), xp.real(y), y)


def _cholesky(x: Any, half: str) -> Any:
    matrices(x, "cholesky")
    return run("cholesky", hermitian(x, half))


def _cholesky_grad(g: Any, y: Any) -> Any:
    b = inverse_(y)
    phi = tril(mh(y) @ g, diagonal=0)
    phi = (phi + mh(tril(phi, diagonal=-1))) / 2
    return mh(b) @ phi @ b


cholesky_ = operator(
    "_linalg_cholesky", lambda x, *, half="lower": _cholesky(x, half), (lambda g, y: _cholesky_grad(g, y),),
    method=False, grad_name="LinalgCholeskyExBackward0",
    samples=lambda: [((_spd(3),), {"half": "both"}), ((_spd(2, 2),), {"half": "both"})],
    ref=lambda x, half: _cholesky_loops(x),
)  # fmt: skip


def _cholesky_loops(x: Any) -> Any:
    y = np.zeros(x.shape)
    for i in range(x.shape[-1]):
        for j in range(i + 1):
            rest = x[..., i, j] - (y[..., i, :j] * y[..., j, :j]).sum(-1)
            y[..., i, j] = np.sqrt(rest) if i == j else rest / y[..., j, j]
    return y


# ---- the Moore-Penrose inverse ------------------------------------------------------------------------------
def _pinv(x: Any, rtol: Any, atol: Any, half: Any) -> Any:
    matrices(x, "pinv", square=False)
    x = x if half is None else hermitian(x, half)
    if x.size == 0:
        return xp.zeros((*x.shape[:-2], x.shape[-1], x.shape[-2]), x.dtype)
    u, s, vh = run("svd", x, full_matrices=False)
    low = xp.maximum(
        xp.asarray(atol, s.dtype)[..., None], xp.asarray(rtol, s.dtype)[..., None] * s[..., :1]
    )
    inverted = xp.where(s > low, 1 / s, xp.zeros((), s.dtype))
    turned = xp.conj(vh.swapaxes(-1, -2)) * inverted[..., None, :]
    return turned @ xp.conj(u.swapaxes(-1, -2))


def _pinv_grad(g: Any, x: Any, y: Any) -> Any:
    gh, yh = mh(g), mh(y)
    if x.shape[-2] <= x.shape[-1]:
        k = gh @ y
        ky = k @ yh
        return -mh(y @ k) + ky - (x @ y) @ ky + (yh @ y) @ (gh - k @ x)
    k = y @ gh
    yk = yh @ k
    return -mh(k @ y) + (gh - x @ k) @ y @ yh + yk - (yk @ y) @ x


pinv_ = operator(
    "_linalg_pinv", lambda x, *, rtol, atol=0.0, half=None: _pinv(x, rtol, atol, half), (lambda g, x, y: _pinv_grad(g, x, y),),
    method=False, grad_name="LinalgPinvBackward0",
    samples=lambda: [((spread(3, 2),), {"rtol": 1e-12}), ((spread(2, 2, 3),), {"rtol": 1e-12})],
    ref=lambda x, rtol: (np.linalg.inv(x.swapaxes(-1, -2) @ x) @ x.swapaxes(-1, -2) if x.shape[-2] > x.shape[-1]
                         else x.swapaxes(-1, -2) @ np.linalg.inv(x @ x.swapaxes(-1, -2))),
)  # fmt: skip
__all__: list[str] = []
publish(globals())
