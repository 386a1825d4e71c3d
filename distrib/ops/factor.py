"""Factorisations with gradients: QR, eigenvalues, singular values, LU, matrix exponentials."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..devices import MetaArray
from .arithmetic import conj
from .arrange import tril, triu
from .decompose import (
    _hollow,
    _ill,
    _spd,
    _strip,
    diag_matrix,
    diag_of,
    eye_of,
    hermitian,
    inverse_,
    matrices,
    mh,
    run,
)  # fmt: skip
from .join import join, narrow_
from .reduce import sum
from .registry import operator, publish
from .samples import spread
from .shape import unsqueeze

xp: Any = None  # bound per array type


def _complex(a: Any) -> Any:
    wide = {"f": "c8", "d": "c16"}.get(a.dtype.char)
    return a if wide is None else a.astype(wide)


# ---- QR -----------------------------------------------------------------------------------------------
def _qr(x: Any, mode: str) -> Any:
    matrices(x, "qr", square=False)
    if x.size == 0:
        return _empty_qr(x, mode)
    return run("qr", x, mode=mode)


def _empty_qr(x: Any, mode: str) -> Any:
    m, n = x.shape[-2:]
    k = m if mode == "complete" else min(m, n)
    q = xp.zeros((*x.shape[:-2], m, k), x.dtype)
    q[...] = xp.eye(m, k, dtype=x.dtype)
    return q, xp.zeros((*x.shape[:-2], k, n), x.dtype)


def _qr_grad(g: Any, q: Any, r: Any) -> Any:
    """For at least as many rows as columns."""
    gq, gr = g
    if gq is None:
        inner: Any = triu(gr @ mh(r), diagonal=0)
    elif gr is None:
        inner = -triu(mh(q) @ gq, diagonal=0)
    else:
        inner = triu(gr @ mh(r) - mh(q) @ gq, diagonal=0)
    both = inner + mh(inner)
    both = both - diag_matrix(diag_of(both)) / 2
    total = q @ both if gq is None else gq + q @ both
    return (total @ mh(inverse_(r)),)


qr_ = operator(
    "_linalg_qr", lambda x: _qr(x, "reduced"), lambda g, Q, R: _qr_grad(g, Q, R), outputs=("Q", "R"), method=False,
    grad_name="LinalgQrBackward0", samples=lambda: [((spread(4, 3),), {}), ((_ill(2, 2),), {})],
    ref=lambda x: _gram_schmidt(x),
)  # fmt: skip
qr_complete = operator(
    "_linalg_qr_complete", lambda x: _qr(x, "complete"), None, outputs=("Q", "R"), method=False,
    samples=lambda: [((spread(3, 3),), {})], ref=lambda x: _gram_schmidt(x),
)  # fmt: skip


def _gram_schmidt(x: Any) -> Any:
    """The signs are LAPACK's: the diagonal of R is not made positive."""
    s = np.linalg.qr(x)[1]
    signs = np.sign(np.diagonal(s, 0, -2, -1))
    q = np.zeros(x.shape)
    for j in range(x.shape[-1]):
        v = x[..., j] - np.einsum("...ik,...jk,...j->...i", q, q, x[..., j])
        q[..., j] = signs[..., j, None] * v / np.linalg.norm(v, axis=-1, keepdims=True)
    return q, q.swapaxes(-1, -2) @ x


# ---- eigenvalues --------------------------------------------------------------------------------------
def _eigh(x: Any, half: str) -> Any:
    matrices(x, "eigh")
    return run("eigh", hermitian(x, half))


def gaps(w: Any) -> Any:
    """[..., n, n]: 1 / (w_j - w_i), zero on the diagonal."""
    return gaps_(w)


def _gaps(w: Any) -> Any:
    d = w[..., None, :] - w[..., :, None]
    own = xp.eye(w.shape[-1], dtype="?")
    return xp.where(own, xp.zeros((), w.dtype), 1 / xp.where(own, xp.ones((), w.dtype), d))


gaps_ = operator(
    "_gaps", lambda w: _gaps(w), (lambda g, y: _gaps_grad(g, y),), method=False,
    samples=lambda: [((spread(2, 3),), {})],
    ref=lambda w: np.array([[[0 if i == j else 1 / (v[j] - v[i]) for j in range(3)] for i in range(3)] for v in w]),
)  # fmt: skip


def _gaps_grad(g: Any, y: Any) -> Any:
    d = -g * conj(y * y)
    return sum(d, dim=-2) - sum(d, dim=-1)


def skewed(k: Any) -> Any:
    """The skew-Hermitian part: all that a change of orthonormal vectors can follow."""
    return (k - mh(k)) / 2


def _eigh_grad(g: Any, w: Any, v: Any) -> Any:
    gw, gv = g
    inner: Any = None if gv is None else skewed(mh(v) @ gv) * gaps(w)
    if gw is not None:
        inner = diag_matrix(gw) if inner is None else inner + diag_matrix(gw)
    if gv is None and gw is not None:
        return ((v * unsqueeze(gw, dim=-2)) @ mh(v),)
    return (v @ inner @ mh(v),)


eigh_ = operator(
    "_linalg_eigh", lambda x, *, half="lower": _eigh(x, half),
    lambda g, eigenvalues, eigenvectors: _eigh_grad(g, eigenvalues, eigenvectors),
    outputs=("eigenvalues", "eigenvectors"), method=False, grad_name="LinalgEighBackward0",
    samples=lambda: [((_spd(3),), {"half": "both"}), ((_spd(2, 2),), {"half": "both"})],
    ref=lambda x, half: _eigh_ref(x),
)  # fmt: skip


def _eigh_ref(x: Any) -> Any:
    """By the general solver, in order, with eigh's signs."""
    w, v = np.linalg.eig(x)
    order = w.argsort(-1)
    w, v = np.take_along_axis(w, order, -1), np.take_along_axis(v, order[..., None, :], -1)
    signs = np.sign((v * np.linalg.eigh(x)[1]).sum(-2, keepdims=True))
    return w, v * signs


def _eig(x: Any) -> Any:
    matrices(x, "eig")
    w, v = run("eig", x)
    return _complex(w), _complex(v)


def _eig_grad(g: Any, w: Any, v: Any) -> Any:
    gw, gv = g
    inner: Any = None
    if gv is not None:
        k = mh(v) @ gv
        real = diag_of(k)
        real = (real + conj(real)) / 2
        inner = (k - (mh(v) @ v) * unsqueeze(real, dim=-2)) * conj(gaps(w))
    if gw is not None:
        inner = diag_matrix(gw) if inner is None else inner + diag_matrix(gw)
    return (mh(inverse_(v)) @ inner @ mh(v),)


eig_ = operator(
    "_linalg_eig", lambda x: _eig(x), lambda g, eigenvalues, eigenvectors: _eig_grad(g, eigenvalues, eigenvectors),
    outputs=("eigenvalues", "eigenvectors"), method=False, grad_name="LinalgEigBackward0",
    samples=lambda: [((np.diag([1.0, 2.0, 4.0]) + 0.1 * spread(3, 3),), {})],
    ref=lambda x: tuple(a.astype("c16") for a in np.linalg.eig(x)),
)  # fmt: skip


# ---- singular values -----------------------------------------------------------------------------------
def _svd(x: Any, full: bool) -> Any:
    matrices(x, "svd", square=False)
    u, s, vh = run("svd", x, full_matrices=full)
    return u, s, vh


def _svd_grad(g: Any, u: Any, s: Any, vh: Any, x_shape: Any) -> Any:
    gu, gs, gvh = g
    if gu is None and gvh is None:
        return ((u * unsqueeze(gs, dim=-2)) @ vh,)
    row, column = unsqueeze(s, dim=-2), unsqueeze(s, dim=-1)
    e = gaps(s * s)
    inner: Any = 0.0 if gs is None else diag_matrix(gs)
    if gu is not None:
        k = mh(u) @ gu
        inner = inner + (k - mh(k)) * e * row
        d = diag_of(k)
        inner = inner + diag_matrix((d - conj(d)) / (s * 2))
    if gvh is not None:
        k = vh @ mh(gvh)
        inner = inner + column * ((k - mh(k)) * e)
    made = u @ inner @ vh
    if gu is not None and x_shape[-2] > s.shape[-1]:
        over = gu / row
        made = made + (over - u @ (mh(u) @ over)) @ vh
    if gvh is not None and x_shape[-1] > s.shape[-1]:
        over = gvh / column
        made = made + u @ (over - (over @ mh(vh)) @ vh)
    return (made,)


svd_ = operator(
    "_linalg_svd", lambda x: _svd(x, False), lambda g, U, S, Vh, x_shape: _svd_grad(g, U, S, Vh, x_shape),
    outputs=("U", "S", "Vh"), method=False, grad_name="LinalgSvdBackward0",
    samples=lambda: [((spread(3, 2),), {}), ((spread(2, 3),), {}), ((_ill(2, 2),), {})], ref=lambda x: _svd_ref(x),
)  # fmt: skip
svd_full = operator(
    "_linalg_svd_full", lambda x: _svd(x, True), None, outputs=("U", "S", "Vh"), method=False,
    samples=lambda: [((spread(2, 2),), {})], ref=lambda x: _svd_ref(x),
)  # fmt: skip


def _svd_ref(x: Any) -> Any:
    """By the eigenvalues of the smaller product, with svd's signs."""
    signs = np.linalg.svd(x, full_matrices=False)
    w, v = np.linalg.eigh(x.swapaxes(-1, -2) @ x)
    s = np.sqrt(np.maximum(w, 0))[..., ::-1][..., : min(x.shape[-2:])]
    vh = v.swapaxes(-1, -2)[..., ::-1, :][..., : s.shape[-1], :]
    vh = vh * np.sign((vh * signs[2]).sum(-1, keepdims=True))
    return x @ vh.swapaxes(-1, -2) / s[..., None, :], s, vh


def _svdvals(x: Any) -> Any:
    matrices(x, "svdvals", square=False)
    return run("svd", x, compute_uv=False)


def _svdvals_grad(g: Any, x: Any) -> Any:
    u, _, vh = svd_(x)
    return (u * unsqueeze(g, dim=-2)) @ vh


svdvals_ = operator(
    "_linalg_svdvals", lambda x: _svdvals(x), (lambda g, x: _svdvals_grad(g, x),), method=False,
    grad_name="LinalgSvdBackward0", samples=lambda: [((spread(3, 2),), {}), ((_ill(2, 2),), {})],
    ref=lambda x: _svd_ref(x)[1],
)  # fmt: skip


# ---- LU ------------------------------------------------------------------------------------------------
def _lu_pivots(x: Any) -> Any:
    """Row exchanges of partial pivoting (from 1), the rows they lead to, and the first zero pivot."""
    if type(x) is MetaArray:
        return _strip(_lu_pivots_of(np, _hollow(x)))
    return _lu_pivots_of(xp, x)


def _lu_pivots_of(xp: Any, x: Any) -> Any:
    matrices(x, "lu_factor", square=False)
    m, n = x.shape[-2:]
    k = min(m, n)
    a = xp.array(x).reshape(-1, m, n)
    batch = xp.arange(a.shape[0])
    perm = xp.broadcast_to(xp.arange(m), (a.shape[0], m)).copy()
    pivots, info = xp.zeros((a.shape[0], k), "i4"), xp.zeros((a.shape[0],), "i4")
    for j in range(k):
        c = a[:, j:, j]
        size = xp.abs(c.real) + xp.abs(c.imag) if c.dtype.kind == "c" else xp.abs(c)
        p = xp.argmax(size, -1) + j
        pivots[:, j] = p + 1
        a[batch, p], a[:, j] = a[:, j].copy(), a[batch, p].copy()
        perm[batch, p], perm[:, j] = perm[:, j].copy(), perm[batch, p].copy()
        top = a[:, j, j]
        info = xp.where((top == 0) & (info == 0), j + 1, info).astype("i4")
        below = a[:, j + 1 :, j] / xp.where(top == 0, xp.ones((), a.dtype), top)[:, None]
        a[:, j + 1 :, j] = below
        a[:, j + 1 :, j + 1 :] -= below[:, :, None] * a[:, j, None, j + 1 :]
    lead = x.shape[:-2]
    return pivots.reshape(*lead, k), perm.reshape(*lead, m).astype("i8"), info.reshape(lead)


lu_pivots = operator(
    "_lu_pivots", lambda x: _lu_pivots(x), None, outputs=("pivots", "perm", "info"), method=False,
    samples=lambda: [((np.array([[1.0, 2.0], [3.0, 4.0]]),), {})],
    ref=lambda x: (np.array([2, 2], "i4"), np.array([1, 0]), np.array(0, "i4")),
)  # fmt: skip


def _eliminate(x: Any) -> Any:
    """L without its unit diagonal, and U, in one square matrix; rows are not exchanged."""
    a = xp.array(x)
    for j in range(x.shape[-1] - 1):
        top = a[..., j, j]
        below = a[..., j + 1 :, j] / xp.where(top == 0, xp.ones((), a.dtype), top)[..., None]
        a[..., j + 1 :, j] = below
        a[..., j + 1 :, j + 1 :] -= below[..., :, None] * a[..., j, None, j + 1 :]
    return a


def _lu_grad(g: Any, y: Any) -> Any:
    low, up = tril(y, diagonal=-1), triu(y, diagonal=0)
    low = low + eye_of(low)
    inner = tril(mh(low) @ tril(g, diagonal=-1), diagonal=-1) + triu(
        triu(g, diagonal=0) @ mh(up), diagonal=0
    )
    return mh(inverse_(low)) @ inner @ mh(inverse_(up))


eliminate = operator(
    "_lu_factor_square", lambda x: _eliminate(x), (lambda g, y: _lu_grad(g, y),), method=False,
    grad_name="LinalgLuFactorExBackward0", samples=lambda: [((_spd(3),), {}), ((_spd(2, 2),), {})],
    ref=lambda x: _lu_loops(x),
)  # fmt: skip


def _lu_loops(x: Any) -> Any:
    n, y = x.shape[-1], np.zeros(x.shape)
    for i in range(n):
        for j in range(n):
            k = min(i, j)
            rest = x[..., i, j] - (y[..., i, :k] * y[..., :k, j]).sum(-1)
            y[..., i, j] = rest / y[..., j, j] if i > j else rest
    return y


# ---- the matrix exponential ----------------------------------------------------------------------------
def _expm(x: Any) -> Any:
    """Scaling and squaring with a Taylor polynomial of degree 18."""
    matrices(x, "matrix_exp")
    if type(x) is MetaArray or x.size == 0:
        return xp.zeros(x.shape, x.dtype)
    size = float(xp.maximum.reduce(xp.add.reduce(xp.abs(x), -2), None))
    squarings = max(0, math.ceil(math.log2(size)) + 1) if size > 0 and math.isfinite(size) else 0
    a = x / xp.asarray(2.0**squarings, x.dtype)
    one = xp.eye(x.shape[-1], dtype=x.dtype)
    y = one + a / xp.asarray(18, x.dtype)
    for k in range(17, 0, -1):
        y = one + (a @ y) / xp.asarray(k, x.dtype)
    for _ in range(squarings):
        y = y @ y
    return y


def _expm_grad(g: Any, x: Any) -> Any:
    """The corner of the exponential of a block matrix is the derivative in a direction."""
    n, a = x.shape[-1], mh(x)
    top = join([a, g], -1)
    low = join([g * 0, a], -1)
    whole = expm(join([top, low], -2))
    return narrow_(narrow_(whole, dim=-2, start=0, length=n), dim=-1, start=n, length=n)


expm = operator(
    "_matrix_exp", lambda x: _expm(x), (lambda g, x: _expm_grad(g, x),), method=False,
    grad_name="LinalgMatrixExpBackward0", samples=lambda: [((spread(3, 3),), {}), ((spread(2, 2, 2),), {})],
    ref=lambda x: _expm_ref(x),
)  # fmt: skip


def _expm_ref(x: Any) -> Any:
    w, v = np.linalg.eig(x.astype("c16"))
    return ((v * np.exp(w)[..., None, :]) @ np.linalg.inv(v)).real


__all__: list[str] = []
publish(globals())
