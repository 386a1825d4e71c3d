"""Statistics: variance, norms, logsumexp, medians, mode, quantiles, distances."""

from __future__ import annotations

import builtins
import math
from typing import Any

import numpy as np

from .. import dtypes
from ..errors import DTypeError, ShapeError
from ..tensor import Tensor
from .arithmetic import abs, cj, exp, pow, sgn
from .compare import eq, isnan, logical_or, masked, ne, where3
from .core import cast
from .reduce import (
    _dims,
    _extreme,
    _none_of,
    _put_best,
    _sum,
    count,
    even,
    mean,
    restore,
    sum,
)  # fmt: skip
from .registry import method, operator, publish, with_out
from .samples import one, spread

xp: Any = None  # bound per array type
_X = spread(3, 4, 5)


def _axes(dim: Any) -> Any:
    return tuple(dim) if isinstance(dim, (list, tuple)) else dim


# ---- variance ---------------------------------------------------------------------------------------
def _var(x: Any, dim: Any, correction: Any, keepdim: bool) -> Any:
    if x.dtype.kind not in "fc":
        raise DTypeError(
            "std and var only support floating point and complex dtypes", got=dtypes.of(x.dtype)
        )
    if dim == () or not x.ndim:
        dim = _none_of(x, dim)
    n = x.size if dim is None else count(x.shape, dim)
    d = x - xp.add.reduce(x, dim, keepdims=True) / (n or math.nan)
    d = (d.real * d.real + d.imag * d.imag) if x.dtype.kind == "c" else d * d
    free = builtins.max(n - correction, 0)
    total = xp.add.reduce(d, dim, keepdims=keepdim)
    return total / free if free else total / total.dtype.type(0)


def _free(shape: Any, dim: Any, correction: Any) -> Any:
    return builtins.max(count(shape, dim) - correction, 0) or math.nan


def _var_backward(g: Any, input: Any, dim: Any, correction: Any, keepdim: bool) -> Any:
    shape = input.shape
    off = input - mean(input, dim=dim, keepdim=True)
    return restore(g, shape=shape, dim=dim, keepdim=keepdim) * (
        off * (2 / _free(shape, dim, correction))
    )


var_ = operator(
    "var",
    lambda input, *, dim=None, correction=1, keepdim=False: _var(input, dim, correction, keepdim),
    (lambda g, input, dim, correction, keepdim: _var_backward(g, input, dim, correction, keepdim),),
    "math", method=False, samples=_dims(correction=0.5),
    ref=lambda x, dim=None, correction=1, keepdim=False: np.var(x, _axes(dim), ddof=correction,
        keepdims=keepdim),
)  # fmt: skip
std_ = operator(
    "std",
    lambda input, *, dim=None, correction=1, keepdim=False:
        xp.sqrt(_var(input, dim, correction, keepdim)),
    (lambda g, input, y, dim, correction, keepdim: _var_backward(masked(g / (y * 2), ne(y, 0)),
        input, dim, correction, keepdim),),
    "math", method=False, samples=_dims(correction=2),
    ref=lambda x, dim=None, correction=1, keepdim=False: np.std(x, _axes(dim), ddof=correction,
        keepdims=keepdim),
)  # fmt: skip


def _spread_args(dim: Any, unbiased: Any, keepdim: bool, correction: Any) -> dict[str, Any]:
    """The old form ``var(input, unbiased)`` and the new one ``var(input, dim, correction=)``."""
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    if correction is not None and unbiased is not None:
        raise TypeError("received both 'unbiased' and 'correction'")
    if correction is None:
        correction = 1 if unbiased is None else int(unbiased)
    return {
        "dim": tuple(dim) if isinstance(dim, list) else dim,
        "correction": correction,
        "keepdim": keepdim,
    }


@method()
@with_out
def var(input: Tensor, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *,
        correction: Any = None) -> Tensor:  # fmt: skip
    """The variance; divides by n - correction."""
    result: Tensor = var_(input, **_spread_args(dim, unbiased, keepdim, correction))
    return result


@method()
@with_out
def std(input: Tensor, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *,
        correction: Any = None) -> Tensor:  # fmt: skip
    """The standard deviation; divides by n - correction."""
    result: Tensor = std_(input, **_spread_args(dim, unbiased, keepdim, correction))
    return result


def var_mean(input: Tensor, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *,
             correction: Any = None) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The variance and the mean."""
    args = _spread_args(dim, unbiased, keepdim, correction)
    return var_(input, **args), mean(input, dim=args["dim"], keepdim=keepdim)


def std_mean(input: Tensor, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *,
             correction: Any = None) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The standard deviation and the mean."""
    args = _spread_args(dim, unbiased, keepdim, correction)
    return std_(input, **args), mean(input, dim=args["dim"], keepdim=keepdim)


# ---- norms ------------------------------------------------------------------------------------------
def _norm(x: Any, p: Any, dim: Any, keepdim: bool) -> Any:
    if x.dtype.kind not in "fc":
        raise DTypeError(
            "linalg.vector_norm: Expected a floating point or complex tensor as input",
            got=dtypes.of(x.dtype),
        )
    if dim == () or not x.ndim:
        dim = _none_of(x, dim)
    size = xp.abs(x)
    if p == 2:
        return xp.sqrt(xp.add.reduce(size * size, dim, keepdims=keepdim))
    if p == 1:
        return xp.add.reduce(size, dim, keepdims=keepdim)
    if p == 0:
        return xp.add.reduce((size != 0).astype(size.dtype), dim, keepdims=keepdim)
    if p == math.inf:
        return (
            _extreme(size, dim, keepdim, xp.maximum, "linalg.vector_norm")
            if x.size
            else _empty(size, dim, keepdim)
        )
    if p == -math.inf:
        return _extreme(size, dim, keepdim, xp.minimum, "linalg.vector_norm")
    return xp.add.reduce(size**p, dim, keepdims=keepdim) ** (1 / p)


def _empty(size: Any, dim: Any, keepdim: bool) -> Any:
    if dim is None:
        raise ShapeError("linalg.vector_norm cannot compute the infinity norm on an empty tensor because the "
                         "operation does not have an identity")  # fmt: skip
    return _extreme(size, dim, keepdim, xp.maximum, "linalg.vector_norm")


def _norm_backward(
    g: Any, input: Any, y: Any, input_dtype: Any, ord: Any, dim: Any, keepdim: bool
) -> Any:
    at: dict[str, Any] = {"shape": input.shape, "dim": dim, "keepdim": keepdim}
    if ord == 0:
        return None
    g = restore(g, **at)
    if ord == 1:
        return g * sgn(input)
    top = restore(y, **at)
    if ord in (math.inf, -math.inf):
        hit = logical_or(eq(abs(input), top), isnan(top))
        n = restore(
            sum(
                cast(hit, dtype=dtypes.REAL.get(input_dtype, input_dtype)), dim=dim, keepdim=keepdim
            ),
            **at,
        )
        return masked(sgn(input) * (g / n), hit)
    alive = ne(top, 0)
    if ord == 2:
        return masked(input * (g / where3(alive, top, 1.0)), alive)
    alive = ne(input, 0)
    size = abs(input)
    scale = pow(where3(alive, size / where3(ne(top, 0), top, 1.0), 1.0), ord - 1)
    return masked(sgn(input) * (g * scale), alive)


vector_norm = operator(
    "linalg_vector_norm",
    lambda input, *, ord=2, dim=None, keepdim=False: _norm(input, ord, dim, keepdim),
    (lambda g, input, y, input_dtype, ord, dim, keepdim: _norm_backward(g, input, y, input_dtype,
        ord, dim, keepdim),),
    "math", method=False, grad_name="LinalgVectorNormBackward0",
    samples=lambda: [((_X,), {"ord": p, "dim": 1}) for p in (2, 1, 3, math.inf, -math.inf, 0.5, 0)]
        + [((_X,), {})],
    ref=lambda x, ord=2, dim=None: np.linalg.norm(x.ravel() if dim is None else x, ord, dim),
)  # fmt: skip


@method()
@with_out
def norm(
    input: Tensor, p: Any = "fro", dim: Any = None, keepdim: bool = False, *, dtype: Any = None
) -> Tensor:
    """A vector norm over some dimensions; ``"fro"`` is the 2-norm, ``"nuc"`` the sum of singular values."""
    if dtype is not None:
        input = cast(input, dtype=dtypes.raw_of(dtype))
    if p == "nuc":
        from .matrixnorm import matrix_norm

        nuclear: Tensor = matrix_norm(input, "nuc", (-2, -1) if dim is None else dim, keepdim)
        return nuclear
    if isinstance(p, str) and p != "fro":
        raise RuntimeError(f"norm(): only 'fro' and 'nuc' are known by name; got {p!r}")
    ord = 2.0 if p == "fro" or p is None else float(p)
    result: Tensor = vector_norm(
        input, ord=ord, dim=tuple(dim) if isinstance(dim, list) else dim, keepdim=keepdim
    )
    return result


@method()
@with_out
def dist(input: Any, other: Any, p: float = 2) -> Tensor:
    """The p-norm of a difference."""
    result: Tensor = vector_norm(input - other, ord=float(p))
    return result


# ---- logsumexp --------------------------------------------------------------------------------------
def _logsumexp(x: Any, dim: Any, keepdim: bool) -> Any:
    if dim == () or not x.ndim:
        dim = _none_of(x, dim)
    if not x.size:
        return xp.log(_sum(x, dim, keepdim))
    top = x.real if x.dtype.kind == "c" else x
    top = xp.maximum.reduce(top, dim, keepdims=True)
    top = xp.where(xp.isinf(top), 0, top)
    total = xp.log(xp.add.reduce(xp.exp(x - top), dim, keepdims=True)) + top
    return total if keepdim else total.reshape(xp.add.reduce(x, dim).shape)


logsumexp = operator(
    "logsumexp", lambda input, *, dim, keepdim=False: _logsumexp(input, dim, keepdim),
    (lambda g, input, y, dim, keepdim: restore(g, shape=input.shape, dim=dim, keepdim=keepdim)
        * cj(exp(input - _finite(restore(y, shape=input.shape, dim=dim, keepdim=keepdim)))),),
    "float", out=True,
    samples=lambda: [((_X,), {"dim": 1}), ((_X,), {"dim": (0, 2), "keepdim": True})],
    ref=lambda x, dim, keepdim=False: np.log(np.sum(np.exp(x), _axes(dim), keepdims=keepdim)),
)  # fmt: skip


def _finite(y: Any) -> Any:
    """Infinite sums pass no difference of infinities on."""
    return where3(eq(y, -math.inf), 0.0, y) if y.dtype not in _COMPLEX else y


_COMPLEX = frozenset((dtypes.complex64, dtypes.complex128, dtypes.C8, dtypes.C16))


# ---- medians and modes ----------------------------------------------------------------------------------
def _median(x: Any, dim: int, keepdim: bool, skip_nan: bool) -> Any:
    if not x.ndim:
        return (x.copy(), xp.zeros((), "i8"))
    n = x.shape[dim]
    if n == 0:
        _extreme(x, dim, keepdim, xp.maximum, "median")
    order = xp.argsort(x, axis=dim, kind="stable")  # NaN last
    nan = xp.add.reduce(xp.isnan(x), dim, dtype="i8", keepdims=True)
    if skip_nan:
        k = xp.maximum(n - nan - 1, 0) // 2
    else:
        k = xp.where(nan > 0, n - nan, (n - 1) // 2)
    i = xp.take_along_axis(order, k, dim)
    v = xp.take_along_axis(x, i, dim)
    if keepdim:
        return (v, i)
    shape = x.shape[: dim % x.ndim] + x.shape[dim % x.ndim + 1 :]
    return (v.reshape(shape), i.reshape(shape))


median_dim = operator(
    "median", lambda input, *, dim, keepdim=False: _median(input, dim, keepdim, False),
    (lambda g, indices, input_shape, dim, keepdim: _put_best(g, indices, input_shape, dim, keepdim),
        ),
    "math", outputs=("values", "indices"), diff=(True, False), method=False, samples=one(_X, dim=1),
    ref=lambda x, dim: (np.sort(x, dim).take(1, dim), np.argsort(x, dim).take(1, dim)),
)  # fmt: skip
nanmedian_dim = operator(
    "nanmedian", lambda input, *, dim, keepdim=False: _median(input, dim, keepdim, True),
    (lambda g, indices, input_shape, dim, keepdim: _put_best(g, indices, input_shape, dim, keepdim),
        ),
    "math", outputs=("values", "indices"), diff=(True, False), method=False, samples=one(_X, dim=2),
    ref=lambda x, dim: (np.sort(x, dim).take(2, dim), np.argsort(x, dim).take(2, dim)),
)  # fmt: skip
median_all = operator(
    "median_all", lambda x, *, skip_nan=False: _median_all(x, skip_nan),
    (lambda g, x, y, x_dtype: even(g, x, y, x_dtype),), "math", method=False,
    grad_name="MedianBackward0",
    samples=lambda: [((spread(3, 5),), {}), ((spread(4),), {"skip_nan": True})],
    ref=lambda x, skip_nan=False: np.quantile(x, 0.5, method="lower"),
)  # fmt: skip


def _median_all(x: Any, skip_nan: bool) -> Any:
    return (
        _median(x.reshape(-1), 0, False, skip_nan)[0] if x.size else xp.full((), math.nan, x.dtype)
    )


def _median_of(op: Any, input: Tensor, dim: Any, keepdim: bool, skip_nan: bool) -> Any:
    if dim is None:
        return median_all(input, skip_nan=skip_nan)
    return op(input, dim=dim, keepdim=keepdim)


@method()
@with_out
def median(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """The lower median; with ``dim`` (values, indices). NaN if there is any."""
    return _median_of(median_dim, input, dim, keepdim, False)


@method()
@with_out
def nanmedian(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """The lower median of what is not NaN; with ``dim`` (values, indices)."""
    return _median_of(nanmedian_dim, input, dim, keepdim, True)


def _mode(x: Any, dim: int, keepdim: bool) -> Any:
    if not x.ndim:
        return (x.copy(), xp.zeros((), "i8"))
    n = x.shape[dim]
    if n == 0:
        _extreme(x, dim, keepdim, xp.maximum, "mode")
    moved = x.swapaxes(dim, -1)
    order = xp.argsort(moved, axis=-1, kind="stable")
    held = xp.take_along_axis(moved, order, -1)
    where = xp.arange(n)
    fresh = xp.ones(held.shape, "?")
    fresh[..., 1:] = held[..., 1:] != held[..., :-1]
    start = xp.maximum.accumulate(xp.where(fresh, where, 0), -1)
    last = xp.argmax(
        where - start, axis=-1, keepdims=True
    )  # the end of the longest run, the smallest value first
    i = xp.take_along_axis(order, last, -1).swapaxes(dim, -1)
    v = xp.take_along_axis(held, last, -1).swapaxes(dim, -1)
    if keepdim:
        return (v, i)
    shape = x.shape[: dim % x.ndim] + x.shape[dim % x.ndim + 1 :]
    return (v.reshape(shape), i.reshape(shape))


mode = operator(
    "mode", lambda input, *, dim=-1, keepdim=False: _mode(input, dim, keepdim),
    (lambda g, indices, input_shape, dim, keepdim: _put_best(g, indices, input_shape, dim, keepdim),
        ),
    "math", outputs=("values", "indices"), diff=(True, False), out=True, samples=one(_X, dim=1),
    ref=lambda x, dim: (np.sort(x, dim).take(0, dim), np.argsort(x, dim).take(0, dim)),
)  # fmt: skip

__all__ = [
    "dist", "logsumexp", "median", "mode", "nanmedian", "norm", "std", "std_mean", "var", "var_mean",
]  # fmt: skip
publish(globals())
