"""Running reductions: cumsum, cumprod, cummax, cummin, logcumsumexp; diff and the trapezoid rules."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import ShapeError
from ..tensor import Tensor, check_dim
from .arithmetic import exp, log
from .reduce import _as_dtype, amax, sum
from .registry import composite, method, operator, publish, with_out
from .samples import one, spread

xp: Any = None  # bound per array type
_X = spread(3, 4, 5)


def _scan(x: Any, dim: int, fn: Any) -> Any:
    check_dim(dim, x.ndim)
    if not x.ndim:
        return x.astype("i8") if x.dtype.kind in "biu" else x.copy()
    if x.dtype.kind in "biu":
        return fn.accumulate(x, dim, dtype="i8")
    return fn.accumulate(x, dim)


def _turned(x: Any, dim: int) -> Any:
    return x[(slice(None),) * (dim % x.ndim) + (slice(None, None, -1),)] if x.ndim else x


cumsum = operator(
    "cumsum", lambda input, *, dim: _scan(input, dim, xp.add),
    (lambda g, dim: cumsum_back(g, dim=dim),), "math", extra={"dtype": None}, expand=_as_dtype,
    out=True, inplace=True, samples=one(_X, dim=1),
    ref=lambda x, dim: np.einsum("aib,ij->ajb", x, np.triu(np.ones((4, 4)))), onnx="CumSum",
)  # fmt: skip
cumsum_back: Any = operator(
    "cumsum_back", lambda g, *, dim: _turned(_scan(_turned(g, dim), dim, xp.add), dim),
    (lambda g, dim: cumsum(g, dim=dim),), method=False, samples=one(_X, dim=1),
    ref=lambda x, dim: np.einsum("aib,ij->ajb", x, np.tril(np.ones((4, 4)))),
)  # fmt: skip


def _cumprod_backward(g: Any, x: Any, y: Any, dim: int) -> Any:
    if not x.ndim or not x.size:
        return g
    if x.dtype.kind == "c":
        x, y = x.conj(), y.conj()
    if bool((x != 0).all()):
        return _turned(_scan(_turned(g * y, dim), dim, xp.add), dim) / x
    x, g = x.swapaxes(dim, -1), g.swapaxes(dim, -1)
    out, n = xp.zeros_like(g), x.shape[-1]
    for k in range(n):  # zeros: the products that leave out element k, summed
        row = xp.ones_like(x[..., k:])
        row[..., 1:] = x[..., k + 1 :]
        head = xp.multiply.reduce(x[..., :k], -1, keepdims=True)
        out[..., k] = xp.add.reduce(g[..., k:] * xp.multiply.accumulate(row, -1) * head, -1)
    return out.swapaxes(dim, -1)


def _cumprod_formula(input: Any, *, dim: int) -> Any:
    from .join import cat
    from .shape import transpose

    if not input.ndim:
        return input
    x = transpose(input, dim0=dim, dim1=-1)
    parts = [x[..., :1]]
    for k in range(1, x.shape[-1]):
        parts.append(parts[-1] * x[..., k : k + 1])
    return transpose(cat(parts, dim=-1), dim0=dim, dim1=-1)


cumprod = composite(
    "cumprod", _cumprod_formula, lambda input, *, dim: _scan(input, dim, xp.multiply),
    lambda g, input, y, dim: (_cumprod_backward(g, input, y, dim),), rule="math",
    extra={"dtype": None}, expand=_as_dtype, out=True, inplace=True,
    samples=lambda: [((_X,), {"dim": 1}), ((np.array([2.0, 0.0, 3.0, 0.0, 1.0]),), {"dim": 0})],
    ref=lambda x, dim: np.exp(np.cumsum(np.log(x + 0j), dim)).real,
)  # fmt: skip


# ---- running extrema ------------------------------------------------------------------------------------
def _running(x: Any, dim: int, fn: Any) -> Any:
    check_dim(dim, x.ndim)
    if not x.ndim:
        return (x.copy(), xp.zeros((), "i8"))
    values = fn.accumulate(x, dim)
    steps = xp.arange(x.shape[dim]).reshape([-1 if i == dim % x.ndim else 1 for i in range(x.ndim)])
    here = xp.equal(x, values) | xp.isnan(x)  # of equals, the last
    return (values, xp.maximum.accumulate(xp.where(here, steps, 0), dim))


def _scatter(g: Any, index: Any, shape: Any, dim: int) -> Any:
    if not shape:
        return g.copy()
    out = xp.zeros(shape, g.dtype)
    place = [
        xp.arange(n).reshape([-1 if i == j else 1 for j in range(len(shape))])
        for i, n in enumerate(shape)
    ]
    place[dim] = index
    xp.add.at(out, tuple(place), g)
    return out


take_along = operator(
    "take_along",
    lambda x, index, *, dim: xp.take_along_axis(x, index, dim) if x.ndim else x.copy(),
    (lambda g, index, x_shape, dim: put_along(g, index, shape=x_shape, dim=dim), None),
    method=False, samples=one(spread(3, 4), np.array([[0, 0], [3, 1], [2, 2]]), dim=1),
    ref=lambda x, i, dim: np.stack([x[k][i[k]] for k in range(3)]),
)  # fmt: skip
put_along: Any = operator(
    "put_along", lambda g, index, *, shape, dim: _scatter(g, index, shape, dim),
    (lambda g, index, dim: take_along(g, index, dim=dim), None), method=False,
    samples=one(spread(3, 2), np.array([[0, 0], [3, 1], [2, 2]]), shape=(3, 4), dim=1),
    ref=lambda g, i, shape, dim: np.einsum("ab,abc->ac", g, np.eye(4)[i]),
)  # fmt: skip
cummax = operator(
    "cummax", lambda input, *, dim: _running(input, dim, xp.maximum),
    (lambda g, indices, input_shape, dim: put_along(g, indices, shape=input_shape, dim=dim),),
    "math", outputs=("values", "indices"), diff=(True, False), out=True, samples=one(_X, dim=1),
    ref=lambda x, dim: (np.stack([x[:, : k + 1].max(1) for k in range(4)], 1),
        np.stack([x[:, : k + 1].argmax(1) for k in range(4)], 1)),
)  # fmt: skip
cummin = operator(
    "cummin", lambda input, *, dim: _running(input, dim, xp.minimum),
    (lambda g, indices, input_shape, dim: put_along(g, indices, shape=input_shape, dim=dim),),
    "math", outputs=("values", "indices"), diff=(True, False), out=True, samples=one(_X, dim=1),
    ref=lambda x, dim: (np.stack([x[:, : k + 1].min(1) for k in range(4)], 1),
        np.stack([x[:, : k + 1].argmin(1) for k in range(4)], 1)),
)  # fmt: skip


def _logcumsumexp(x: Any, dim: int) -> Any:
    check_dim(dim, x.ndim)
    if not x.ndim:
        return x.copy()
    if x.dtype.kind == "c":
        top = xp.maximum.accumulate(x.real, dim)
        return (
            xp.log(xp.add.accumulate(xp.exp(x - x.real.max()), dim)) + x.real.max()
            if x.size
            else top + 0j
        )
    return xp.logaddexp.accumulate(x, dim)


def _logcumsumexp_formula(input: Any, *, dim: int) -> Any:
    top = float(amax(input.detach().real if input.is_complex() else input.detach())._a)
    return log(cumsum(exp(input - top), dim=dim)) + top


def _logcumsumexp_backward(g: Any, x: Any, y: Any, dim: int) -> Any:
    """sum over k >= i of g_k exp(x_i - y_k), as a recursion from the end: no exponent is ever positive."""
    if not x.ndim:
        return g
    g, x, y = (a.swapaxes(dim, 0) for a in (g, xp.conjugate(x), xp.conjugate(y)))
    out = xp.empty_like(g)
    for i in range(len(g) - 1, -1, -1):
        if i == len(g) - 1:
            tail = g[i]
        else:
            fade = xp.exp(y[i] - y[i + 1])
            tail = g[i] + xp.where(xp.isnan(fade), 1, fade) * tail
        share = xp.exp(x[i] - y[i])
        out[i] = tail * xp.where(xp.isnan(share), 0, share)
    return out.swapaxes(dim, 0)


logcumsumexp = composite(
    "logcumsumexp", _logcumsumexp_formula, lambda input, *, dim: _logcumsumexp(input, dim),
    lambda g, input, y, dim: (_logcumsumexp_backward(g, input, y, dim),), rule="float", out=True,
    inplace=True, samples=one(_X, dim=1), ref=lambda x, dim: np.log(np.cumsum(np.exp(x), dim)),
)  # fmt: skip


# ---- differences and the trapezoid rules -------------------------------------------------------------------
@method()
@with_out
def diff(
    input: Any,
    n: int = 1,
    dim: int = -1,
    prepend: Tensor | None = None,
    append: Tensor | None = None,
) -> Tensor:
    """The n-th difference of neighbours along a dimension."""
    from .join import cat

    if n < 0:
        raise ShapeError("order must be non-negative", got=n)
    if input.ndim == 0:
        raise ShapeError("diff expects input to be at least one-dimensional")
    dim = check_dim(dim, input.ndim)
    parts = [t for t in (prepend, input, append) if t is not None]
    x: Any = cat(parts, dim=dim) if len(parts) > 1 else input
    lead = (slice(None),) * dim
    for _ in range(min(n, x.shape[dim])):
        after, before = x[(*lead, slice(1, None))], x[(*lead, slice(None, -1))]
        x = after != before if x._a.dtype.kind == "b" else after - before
    result: Tensor = x if n else x.clone()
    return result


def _slabs(y: Any, x: Any, dx: Any, dim: int) -> Tensor:
    """The area between neighbours."""
    dim = check_dim(dim, y.ndim)
    lead = (slice(None),) * dim
    both = y[(*lead, slice(1, None))] + y[(*lead, slice(None, -1))]
    if x is None:
        area: Tensor = both * (dx / 2)
        return area
    if x.ndim == 1 and y.ndim > 1:
        if x.shape[0] != y.shape[dim]:
            raise ShapeError("trapezoid: the x-vector must have as many points as y has along dim",
                             got=x.shape[0], expected=y.shape[dim])  # fmt: skip
        x = x.reshape([-1 if i == dim else 1 for i in range(y.ndim)])
        width = diff(x, dim=dim)
    else:
        width = diff(x, dim=dim - y.ndim)
    area = both * width / 2
    return area


def trapezoid(y: Tensor, x: Tensor | None = None, *, dx: Any = None, dim: int = -1) -> Tensor:
    """The integral over a dimension by the trapezoid rule, at points x or with spacing dx."""
    total: Tensor = sum(_slabs(y, x, 1 if dx is None else dx, dim), dim=dim)
    return total


def cumulative_trapezoid(
    y: Tensor, x: Tensor | None = None, *, dx: Any = None, dim: int = -1
) -> Tensor:
    """The running integral over a dimension by the trapezoid rule."""
    total: Tensor = cumsum(_slabs(y, x, 1 if dx is None else dx, dim), dim=dim)
    return total


trapz = trapezoid
__all__ = [
    "cummax", "cummin", "cumprod", "cumsum", "cumulative_trapezoid", "diff", "logcumsumexp", "trapezoid", "trapz",
]  # fmt: skip
publish(globals())
