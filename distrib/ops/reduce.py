"""Reductions: sum, mean, prod, extrema, all, any, var, norms, logsumexp."""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np

from .. import dtypes
from ..autograd.inplace import kind
from ..errors import DimError, DTypeError, ShapeError
from ..tensor import Tensor, W, check_dim
from .compare import eq, isnan, logical_or, masked, maximum, minimum, ne, unsupported
from .core import cast
from .registry import attach, composite, method, operator, publish, with_out
from .samples import one, spread

xp: Any = None  # bound per array type
_X = spread(3, 4, 5)


def _dims(*more: Any, **attrs: Any) -> Any:
    """Samples of a reduction: everything, one dimension, several, one kept."""
    return lambda: [
        ((_X, *more), dict(attrs)), ((_X, *more), {"dim": 1, **attrs}),
        ((_X, *more), {"dim": (0, -1), "keepdim": True, **attrs}),
    ]  # fmt: skip


def _np_dims(dim: Any) -> Any:
    """The axis argument of the references."""
    return tuple(dim) if isinstance(dim, (list, tuple)) else dim


def count(shape: Any, dim: Any) -> int:
    """How many elements go into one result."""
    n = 1
    for d in (
        builtins.range(len(shape))
        if dim is None or dim == ()
        else dim
        if type(dim) is tuple
        else (dim,)
    ):
        n *= shape[d] if shape else 1
    return n


# ---- back over the reduced dimensions ---------------------------------------------------------------
def _restore(g: Any, shape: Any, dim: Any, keepdim: bool) -> Any:
    if dim is not None and dim != () and not keepdim and shape:
        n = len(shape)
        gone = {d % n for d in dim} if type(dim) is tuple else (dim % n,)
        g = g.reshape([1 if i in gone else k for i, k in enumerate(shape)])
    return xp.broadcast_to(g, shape)


restore = operator(
    "restore", lambda g, *, shape, dim=None, keepdim=False: _restore(g, shape, dim, keepdim),
    (lambda g, dim, keepdim: sum(g, dim=dim, keepdim=keepdim),), method=False,
    samples=one(spread(3, 5), shape=(3, 4, 5), dim=1),
    ref=lambda g, shape, dim: np.repeat(g[:, None], 4, 1),
)  # fmt: skip


# ---- sums ------------------------------------------------------------------------------------------
def _sum(x: Any, dim: Any, keepdim: bool) -> Any:
    if dim == () or not x.ndim:
        dim = _none_of(x, dim)
    if x.dtype.kind in "fc":
        return xp.add.reduce(x, dim, keepdims=keepdim)
    return xp.add.reduce(x, dim, dtype="i8", keepdims=keepdim)


def _none_of(x: Any, dim: Any) -> Any:
    """All dimensions; a scalar has dimension 0 and -1."""
    for d in dim if type(dim) is tuple else () if dim is None else (dim,):
        check_dim(d, x.ndim)
    return None


def _as_dtype(call: Any, input: Any, dtype: Any, **attrs: Any) -> Any:
    return call(cast(input, dtype=dtypes.raw_of(dtype)), **attrs)


sum: Any = operator(
    "sum", lambda input, *, dim=None, keepdim=False: _sum(input, dim, keepdim),
    (lambda g, input_shape, dim, keepdim: restore(g, shape=input_shape, dim=dim, keepdim=keepdim),),
    "math", extra={"dtype": None}, expand=_as_dtype, out=True, samples=_dims(), onnx="ReduceSum",
    ref=lambda x, dim=None, keepdim=False: np.apply_over_axes(np.sum, x, range(3)).reshape(())
        if dim is None else np.sum(x, _np_dims(dim), keepdims=keepdim),
)  # fmt: skip


def _mean(x: Any, dim: Any, keepdim: bool) -> Any:
    if x.dtype.kind not in "fc":
        raise DTypeError(
            "mean(): could not infer output dtype. Input dtype must be either a floating point or complex dtype. "
            f"Got: {kind(x.dtype)}"
        )
    if dim == () or not x.ndim:
        dim = _none_of(x, dim)
    n = x.size if dim is None else count(x.shape, dim)
    return xp.add.reduce(x, dim, keepdims=keepdim) / (n or float("nan"))


mean = operator(
    "mean", lambda input, *, dim=None, keepdim=False: _mean(input, dim, keepdim),
    (lambda g, input_shape, dim, keepdim: restore(g / builtins.max(count(input_shape, dim), 1),
        shape=input_shape, dim=dim, keepdim=keepdim),),
    "math", extra={"dtype": None}, expand=_as_dtype, out=True, samples=_dims(), onnx="ReduceMean",
    ref=lambda x, dim=None, keepdim=False: np.average(x, _np_dims(dim), keepdims=keepdim),
)  # fmt: skip
nansum = operator(
    "nansum", lambda input, *, dim=None, keepdim=False: _sum(_no_nan(input), dim, keepdim),
    (lambda g, input, dim, keepdim: masked(
        restore(g, shape=input.shape, dim=dim, keepdim=keepdim), eq(input, input)),), "math",
    extra={"dtype": None}, expand=_as_dtype, out=True,
    samples=one(np.array([[1.0, np.nan], [3.0, 4.0]]), dim=0), ref=lambda x, dim: np.nansum(x, dim),
)  # fmt: skip


def _no_nan(x: Any) -> Any:
    if x.dtype.kind == "c":
        raise DTypeError("nansum does not support complex inputs")
    return xp.where(xp.isnan(x), 0, x) if x.dtype.kind == "f" else x


@method()
@with_out
def nanmean(input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The mean of what is not NaN."""
    if input._a.dtype.kind not in "fc":
        raise DTypeError(
            "nanmean(): expected input to have floating point or complex dtype", got=input.dtype
        )
    there = sum(eq(input, input), dim=dim, keepdim=keepdim)
    average: Tensor = nansum(input, dim=dim, keepdim=keepdim, dtype=dtype) / there
    return average


@method()
@with_out
def count_nonzero(input: Tensor, dim: Any = None) -> Tensor:
    """How many elements are not zero."""
    counted: Tensor = sum(ne(input, 0), dim=dim)
    return counted


# ---- products ---------------------------------------------------------------------------------------
def _prod(x: Any, dim: Any, keepdim: bool) -> Any:
    if not x.ndim:
        dim = _none_of(x, dim)
    if x.dtype.kind in "fc":
        return xp.multiply.reduce(x, dim, keepdims=keepdim)
    return xp.multiply.reduce(x, dim, dtype="i8", keepdims=keepdim)


def _others(x: Any, dim: int) -> Any:
    """The product of all other elements along a dimension."""
    x = x.swapaxes(dim, -1)
    left, right = xp.ones_like(x), xp.ones_like(x)
    left[..., 1:] = xp.multiply.accumulate(x[..., :-1], -1)
    right[..., :-1] = xp.multiply.accumulate(x[..., :0:-1], -1)[..., ::-1]
    return (left * right).swapaxes(dim, -1)


def _prod_backward(g: Any, x: Any, dim: Any, keepdim: bool) -> Any:
    if not x.ndim or not x.size:
        return xp.broadcast_to(g, x.shape)
    flat = x.reshape(-1) if dim is None else x
    if x.dtype.kind == "c":
        flat = flat.conj()
    rest = _others(flat, 0 if dim is None else dim).reshape(x.shape)
    return _restore(g, x.shape, dim, keepdim) * rest


def _prod_formula(input: Any, *, dim: Any = None, keepdim: bool = False) -> Any:
    """Products of halves, so that zeros need no care."""
    from .join import cat
    from .shape import reshape_, transpose

    shape = input.shape
    if dim is None:
        x = reshape_(input, shape=(-1,))
    else:
        x = transpose(input, dim0=dim, dim1=-1) if len(shape) else reshape_(input, shape=(1,))
    while x.shape[-1] > 1:
        n = x.shape[-1] // 2
        odd = x[..., 2 * n :]
        x = x[..., :n] * x[..., n : 2 * n]
        if odd.shape[-1]:
            x = cat((x, odd), dim=-1)
    kept = [1] * len(shape) if dim is None else [1 if i == dim % builtins.max(len(shape), 1) else n for i, n in enumerate(shape)]  # fmt: skip
    if dim is not None and len(shape):
        x = transpose(x, dim0=dim, dim1=-1)
    if not keepdim:
        kept = (
            []
            if dim is None or not shape
            else kept[: dim % len(shape)] + kept[dim % len(shape) + 1 :]
        )
    return reshape_(x, shape=tuple(kept))


prod = composite(
    "prod", _prod_formula, lambda input, *, dim=None, keepdim=False: _prod(input, dim, keepdim),
    lambda g, input, dim, keepdim: (_prod_backward(g, input, dim, keepdim),), rule="math",
    extra={"dtype": None}, expand=_as_dtype, out=True, onnx="ReduceProd",
    samples=lambda: [((_X,), {"dim": 1}), ((_X[0],), {}), ((np.array([0.0, 2.0, 3.0]),), {})],
    ref=lambda x, dim=None: np.cumprod(x, dim).take(-1, dim if dim is not None else 0),
)  # fmt: skip


# ---- truth -------------------------------------------------------------------------------------------
def _truth(x: Any, dim: Any, keepdim: bool, fn: Any) -> Any:
    if dim == () or not x.ndim:
        dim = _none_of(x, dim)
    made = fn.reduce(x, dim, keepdims=keepdim)
    return made.astype("u1") if x.dtype == "u1" else made


all = operator(
    "all", lambda input, *, dim=None, keepdim=False: _truth(input, dim, keepdim, xp.logical_and),
    out=True, samples=lambda: [((_X > -1.5,), {"dim": 1}), ((_X > -5,), {})],
    ref=lambda x, dim=None: np.all(x, dim),
)  # fmt: skip
any = operator(
    "any", lambda input, *, dim=None, keepdim=False: _truth(input, dim, keepdim, xp.logical_or),
    out=True, samples=lambda: [((_X > 1.5,), {"dim": 1}), ((_X > 5,), {})],
    ref=lambda x, dim=None: np.any(x, dim),
)  # fmt: skip


# ---- extrema -----------------------------------------------------------------------------------------
def _not_empty(x: Any, dim: Any, name: str) -> None:
    if x.size:
        return
    if dim is None or dim == ():
        if name == "aminmax":
            raise ShapeError(
                "aminmax(): cannot compute aminmax over an empty dimension as the operation has no identity."
            )
        raise ShapeError(f"{name}(): Expected reduction dim to be specified for input.numel() == 0. "
                       "Specify the reduction dim with the 'dim' argument.")  # fmt: skip
    for d in dim if type(dim) is tuple else (dim,):
        if x.shape[check_dim(d, x.ndim)] == 0:
            raise DimError(f"{name}(): Expected reduction dim {d} to have non-zero size.")


def _extreme(x: Any, dim: Any, keepdim: bool, fn: Any, name: str) -> Any:
    if not x.size:
        _not_empty(x, dim, name)
    if x.dtype.kind == "c":
        raise unsupported("max_values_cpu" if "max" in name else "min_values_cpu", x)
    if dim == () or not x.ndim:
        dim = _none_of(x, dim)
    return fn.reduce(x, dim, keepdims=keepdim)


def even(
    g: Any, input: Any, y: Any, input_dtype: Any, dim: Any = None, keepdim: bool = False
) -> Any:
    """The gradient of an extremum, shared evenly by all elements that attain it."""
    top = restore(y, shape=input.shape, dim=dim, keepdim=keepdim)
    hit = logical_or(eq(input, top), isnan(input))
    n = sum(cast(hit, dtype=input_dtype), dim=dim, keepdim=keepdim)
    return masked(restore(g / n, shape=input.shape, dim=dim, keepdim=keepdim), hit)


amax = operator(
    "amax",
    lambda input, *, dim=(), keepdim=False: _extreme(input, dim, keepdim, xp.maximum, "amax"),
    (lambda g, input, y, input_dtype, dim, keepdim: even(g, input, y, input_dtype, dim, keepdim),),
    "math", out=True, samples=_dims(), onnx="ReduceMax",
    ref=lambda x, dim=None, keepdim=False: np.nanmax(x, _np_dims(dim), keepdims=keepdim),
)  # fmt: skip
amin = operator(
    "amin",
    lambda input, *, dim=(), keepdim=False: _extreme(input, dim, keepdim, xp.minimum, "amin"),
    (lambda g, input, y, input_dtype, dim, keepdim: even(g, input, y, input_dtype, dim, keepdim),),
    "math", out=True, samples=_dims(), onnx="ReduceMin",
    ref=lambda x, dim=None, keepdim=False: np.nanmin(x, _np_dims(dim), keepdims=keepdim),
)  # fmt: skip


def _arg(x: Any, dim: Any, keepdim: bool, name: str) -> Any:
    if x.dtype.kind == "c":
        raise DTypeError(f"{name}(): does not support complex input")
    if not x.size:
        _not_empty(x, dim, name)
    if not x.ndim:
        return xp.zeros((), "i8") + (_none_of(x, dim) or 0)
    return getattr(xp, name)(x, axis=dim, keepdims=keepdim)


argmax = operator(
    "argmax", lambda input, *, dim=None, keepdim=False: _arg(input, dim, keepdim, "argmax"), None,
    "math", out=True, samples=lambda: [((_X,), {}), ((_X,), {"dim": 1, "keepdim": True})],
    onnx="ArgMax",
    ref=lambda x, dim=None, keepdim=False: np.argsort(x, axis=dim, kind="stable").take([-1],
        dim or 0) if dim is not None else np.argsort(x.ravel())[-1],
)  # fmt: skip
argmin = operator(
    "argmin", lambda input, *, dim=None, keepdim=False: _arg(input, dim, keepdim, "argmin"), None,
    "math", out=True, samples=lambda: [((_X,), {}), ((_X,), {"dim": 1, "keepdim": True})],
    onnx="ArgMin",
    ref=lambda x, dim=None, keepdim=False: np.argsort(x, axis=dim, kind="stable").take([0],
        dim or 0) if dim is not None else np.argsort(x.ravel())[0],
)  # fmt: skip


# one element along a dimension, and its gradient: each is the other's
def _take(x: Any, index: Any, dim: int, keepdim: bool) -> Any:
    if not x.ndim:
        return x.copy()
    i = index if keepdim else xp.expand_dims(index, dim)
    got = xp.take_along_axis(x, i, dim)
    return got if keepdim else got.reshape(index.shape)


def _put(g: Any, index: Any, shape: Any, dim: int, keepdim: bool) -> Any:
    out = xp.zeros(shape, g.dtype)
    if not shape:
        return out + g
    if not keepdim:
        g, index = xp.expand_dims(g, dim), xp.expand_dims(index, dim)
    xp.put_along_axis(out, index, g, dim)
    return out


take_one = operator(
    "take_one", lambda x, index, *, dim, keepdim=False: _take(x, index, dim, keepdim),
    (lambda g, index, x_shape, dim, keepdim: put_one(g, index, shape=x_shape, dim=dim,
        keepdim=keepdim), None),
    method=False, samples=one(spread(3, 4), np.array([0, 3, 1]), dim=1),
    ref=lambda x, index, dim: np.array([x[0, 0], x[1, 3], x[2, 1]]),
)  # fmt: skip
put_one: Any = operator(
    "put_one", lambda g, index, *, shape, dim, keepdim=False: _put(g, index, shape, dim, keepdim),
    (lambda g, index, dim, keepdim: take_one(g, index, dim=dim, keepdim=keepdim), None),
    method=False, samples=one(spread(3), np.array([0, 3, 1]), shape=(3, 4), dim=1),
    ref=lambda g, index, shape, dim: np.eye(4)[index] * g[:, None],
)  # fmt: skip


def _best(x: Any, dim: int, keepdim: bool, name: str, fn: Any) -> Any:
    i = _arg(x, dim, keepdim, "arg" + name)
    return (_extreme(x, dim, keepdim, fn, name), i)


def _put_best(g: Any, indices: Any, input_shape: Any, dim: int, keepdim: bool) -> Any:
    return put_one(g, indices, shape=input_shape, dim=dim, keepdim=keepdim)


max_dim = operator(
    "max", lambda input, *, dim, keepdim=False: _best(input, dim, keepdim, "max", xp.maximum),
    (lambda g, indices, input_shape, dim, keepdim: _put_best(g, indices, input_shape, dim, keepdim),
        ),
    "math", outputs=("values", "indices"), diff=(True, False), method=False, samples=one(_X, dim=1),
    ref=lambda x, dim: (np.sort(x, dim).take(-1, dim), np.argsort(x, dim).take(-1, dim)),
)  # fmt: skip
min_dim = operator(
    "min", lambda input, *, dim, keepdim=False: _best(input, dim, keepdim, "min", xp.minimum),
    (lambda g, indices, input_shape, dim, keepdim: _put_best(g, indices, input_shape, dim, keepdim),
        ),
    "math", outputs=("values", "indices"), diff=(True, False), method=False, samples=one(_X, dim=1),
    ref=lambda x, dim: (np.sort(x, dim).take(0, dim), np.argsort(x, dim).take(0, dim)),
)  # fmt: skip
aminmax = operator(
    "aminmax",
    lambda input, *, dim=None, keepdim=False: (_extreme(input, dim, keepdim, xp.minimum, "aminmax"),
        _extreme(input, dim, keepdim, xp.maximum, "aminmax")),
    lambda g, input, min, max, input_dtype, dim, keepdim:
        (_both(g, input, (min, max), input_dtype, dim, keepdim),),
    "math", outputs=("min", "max"), out=True,
    samples=lambda: [((_X,), {}), ((_X,), {"dim": 1, "keepdim": True})],
    ref=lambda x, dim=None, keepdim=False: (np.min(x, dim, keepdims=keepdim),
        np.max(x, dim, keepdims=keepdim)),
)  # fmt: skip


def _both(g: Any, input: Any, ys: Any, input_dtype: Any, dim: Any, keepdim: bool) -> Any:
    parts = [even(h, input, y, input_dtype, dim, keepdim) for h, y in zip(g, ys) if h is not None]
    return parts[0] if len(parts) == 1 else parts[0] + parts[1]


def _three_forms(
    input: Any, dim: Any, keepdim: bool, other: Any, out: Any, ops: Any, name: str
) -> Any:
    by_dim, by_all, pairwise = ops
    if isinstance(dim, Tensor) or other is not None:
        return pairwise(input, dim if other is None else other, out=out)
    if dim is None:
        if not input._a.size:
            raise DTypeError(f"{name}(): Expected reduction dim to be specified for input.numel() == 0. "
                             "Specify the reduction dim with the 'dim' argument.")  # fmt: skip
        return by_all(input, out=out)
    if not isinstance(dim, int):
        raise TypeError(f"{name}(): argument 'dim' must be int, not {type(dim).__name__}")
    result = by_dim(input, dim=dim, keepdim=keepdim)
    return result if out is None else W["write_out"](name, result, out, ())


def max(
    input: Any, dim: Any = None, keepdim: bool = False, *, other: Any = None, out: Any = None
) -> Any:
    """The largest element; with ``dim`` (values, indices); with another tensor the larger of each pair."""
    return _three_forms(input, dim, keepdim, other, out, (max_dim, amax, maximum), "max")


def min(
    input: Any, dim: Any = None, keepdim: bool = False, *, other: Any = None, out: Any = None
) -> Any:
    """The smallest element; with ``dim`` (values, indices); with another tensor the smaller of each pair."""
    return _three_forms(input, dim, keepdim, other, out, (min_dim, amin, minimum), "min")


attach("max", max)
attach("min", min)
__all__ = [
    "all", "amax", "amin", "aminmax", "any", "argmax", "argmin", "count_nonzero", "max", "mean", "min",
    "nanmean", "nansum", "prod", "sum",
]  # fmt: skip
publish(globals())
