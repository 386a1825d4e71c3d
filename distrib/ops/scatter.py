"""gather and scatter: indices along one dimension."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..devices import xp_of
from ..errors import DTypeError, ShapeError
from ..tensor import Tensor, check_dim, wrap
from .registry import method, operator, publish, with_out
from .shape import _a

xp: Any = None  # bound per array type


def mesh(index: Any, dim: int) -> Any:
    """The key that means: along dim the index, along all others their own position."""
    key = []
    for i, n in enumerate(index.shape):
        if i == dim:
            key.append(index)
        else:
            shape = [1] * index.ndim
            shape[i] = n
            key.append(xp.arange(n).reshape(shape))
    return tuple(key)


def _checked(x: Any, dim: int, index: Any, name: str, src: Any = None) -> int:
    d = check_dim(dim, x.ndim)
    if index.size == 0:
        return d
    if index.dtype.kind not in "iu" or index.dtype.itemsize < 4:
        raise DTypeError(f"{name}(): Expected dtype int32/int64 for index, got {index.dtype}")
    if max(index.ndim, 1) != max(x.ndim, 1):
        raise ShapeError(
            "Index tensor must have the same number of dimensions as input tensor"
            if name == "gather"
            else "Index tensor must have the same number of dimensions as self tensor"
        )
    for i in range(index.ndim):
        if i != d and x.ndim and index.shape[i] > x.shape[i]:
            raise ShapeError(
                f"Size does not match at dimension {i} expected index {list(index.shape)} to be no larger than self {list(x.shape)} apart from dimension {d}"
            )
        if src is not None and src.ndim and index.shape[i] > src.shape[i]:
            raise ShapeError(
                f"Expected index {list(index.shape)} to be no larger than self {list(x.shape)} apart from dimension {d} and to be no larger size than src {list(src.shape)}"
            )
    if src is not None and max(src.ndim, 1) != max(index.ndim, 1):
        raise ShapeError("Index tensor must have the same number of dimensions as src tensor")
    if type(index) is np.ndarray:
        n = x.shape[d] if x.ndim else 1
        low, high = int(index.min()), int(index.max())
        if low < 0 or high >= n:
            raise ShapeError(
                f"index {low if low < 0 else high} is out of bounds for dimension {d} with size {n}"
            )
    return d


def _gather(x: Any, dim: int, index: Any) -> Any:
    d = _checked(x, dim, index, "gather")
    if x.ndim == 0:
        return x + xp.zeros(index.shape, x.dtype)
    if index.size == 0:
        return xp.zeros(index.shape, x.dtype)
    return x[mesh(index, d)] if index.ndim else x[index.reshape(1)].reshape(())


gather_ = operator(
    "gather", lambda input, index, *, dim: _gather(input, dim, index),
    (lambda g, index, input_shape, dim: ungather(g, index, shape=input_shape, dim=dim), None),
    method=False, onnx="GatherElements",
    samples=lambda: [((_a(3, 4), np.array([[0, 2, 1], [1, 1, 0]])), {"dim": 0})],
    ref=lambda x, index, dim: np.take_along_axis(x[:, :3], index, dim),
)  # fmt: skip


def _ungather(g: Any, index: Any, shape: Any, dim: int) -> Any:
    z = xp.zeros(shape, g.dtype)
    if index.size == 0:
        return z
    if len(shape) == 0 or index.ndim == 0:
        z += xp.add.reduce(g, None) if g.ndim else g
        return z
    xp.add.at(z, mesh(index, dim % len(shape)), g)
    return z


ungather: Any = operator(
    "_ungather", lambda g, index, *, shape, dim: _ungather(g, index, shape, dim),
    (lambda h, index, dim: gather_(h, index, dim=dim), None),
    samples=lambda: [((_a(3), np.array([0, 2, 2])), {"shape": (4,), "dim": 0})],
    ref=lambda g, index, shape, dim: np.bincount(index, g, 4),
)  # fmt: skip


def _index(index: Any, name: str) -> Any:
    if not isinstance(index, Tensor):
        raise TypeError(f"{name}(): argument 'index' must be Tensor, not {type(index).__name__}")
    return index


@method()
@with_out
def gather(input: Tensor, dim: int, index: Tensor, *, sparse_grad: bool = False) -> Tensor:
    """Values picked along a dimension: `out[i][j] = input[index[i][j]][j]` for dim 0."""
    made: Tensor = gather_(input, _index(index, "gather"), dim=dim)
    return made


# ---- scatter -------------------------------------------------------------------------------------
def _clip(src: Any, index: Any) -> Any:
    """The part of src that an index covers."""
    if src.ndim == 0 or src.shape == index.shape:
        return src
    return src[tuple(slice(0, n) for n in index.shape)]


def _scatter(x: Any, index: Any, src: Any, dim: int) -> Any:
    if src.dtype != x.dtype:
        raise DTypeError(
            f"scatter(): Expected self.dtype to be equal to src.dtype, got {x.dtype} and {src.dtype}"
        )
    d, y = _checked(x, dim, index, "scatter", src), x.copy()
    if index.size == 0:
        return y
    if x.ndim == 0:
        y[...] = src.reshape(-1)[-1]
    else:
        y[mesh(index, d)] = _clip(src, index)
    return y


scatter_ = operator(
    "scatter", lambda input, index, src, *, dim: _scatter(input, index, src, dim),
    (lambda g, index, dim: cleared_(g, index, dim=dim), None,
     lambda g, index, src_shape, dim: spread_src(g, index, shape=src_shape, dim=dim)),
    method=False, onnx="ScatterElements",
    samples=lambda: [((_a(3, 3), np.array([[0, 2, 1]]), _a(1, 3)), {"dim": 0})],
    ref=lambda x, index, src, dim: _put_ref(x, index, src),
)  # fmt: skip


def _put_ref(x: Any, index: Any, src: Any) -> Any:
    y = x.copy()
    np.put_along_axis(y, index, src, 0)
    return y


def _clear(g: Any, index: Any, dim: int) -> Any:
    y = g.copy()
    if index.size:
        if g.ndim == 0:
            y[...] = 0
        else:
            y[mesh(index, dim % g.ndim)] = 0
    return y


cleared_: Any = operator(
    "_scatter_zero", lambda g, index, *, dim: _clear(g, index, dim),
    (lambda h, index, dim: cleared_(h, index, dim=dim), None),
    samples=lambda: [((_a(4), np.array([0, 2])), {"dim": 0})],
    ref=lambda g, index, dim: g * np.array([0.0, 1.0, 0.0, 1.0]),
)  # fmt: skip


def _spread(g: Any, index: Any, shape: Any, dim: int) -> Any:
    part = g[mesh(index, dim % g.ndim)] if g.ndim and index.ndim else g.reshape(index.shape)
    if tuple(index.shape) == tuple(shape):
        return part
    z = xp.zeros(shape, g.dtype)
    z[tuple(slice(0, n) for n in index.shape)] = part
    return z


def _gather_src(h: Any, index: Any, shape: Any, dim: int) -> Any:
    z = xp.zeros(shape, h.dtype)
    xp.add.at(z, mesh(index, dim % len(shape)), _clip(h, index))
    return z


spread_src: Any = operator(
    "_scatter_src", lambda g, index, *, shape, dim: _spread(g, index, shape, dim),
    (lambda h, index, g_shape, dim: collect_src(h, index, shape=g_shape, dim=dim), None),
    samples=lambda: [((_a(4), np.array([0, 2])), {"shape": (3,), "dim": 0})],
    ref=lambda g, index, shape, dim: np.array([g[0], g[2], 0.0]),
)  # fmt: skip
collect_src: Any = operator(
    "_collect_src", lambda h, index, *, shape, dim: _gather_src(h, index, shape, dim),
    (lambda g, index, h_shape, dim: spread_src(g, index, shape=h_shape, dim=dim), None),
    samples=lambda: [((_a(3), np.array([0, 2])), {"shape": (4,), "dim": 0})],
    ref=lambda h, index, shape, dim: np.array([h[0], 0.0, h[1], 0.0]),
)  # fmt: skip


def _scatter_add(x: Any, index: Any, src: Any, dim: int) -> Any:
    if src.dtype != x.dtype:
        raise DTypeError(
            f"scatter(): Expected self.dtype to be equal to src.dtype, got {x.dtype} and {src.dtype}"
        )
    d, y = _checked(x, dim, index, "scatter_add", src), x.copy()
    if index.size == 0:
        return y
    if x.ndim == 0:
        y += xp.add.reduce(src, None) if src.ndim else src
    else:
        xp.add.at(y, mesh(index, d) if index.ndim else (index.reshape(1),), _clip(src, index))
    return y


scatter_add_ = operator(
    "scatter_add", lambda input, index, src, *, dim: _scatter_add(input, index, src, dim),
    (lambda g: g, None, lambda g, index, src_shape, dim: spread_src(g, index, shape=src_shape, dim=dim)),
    method=False,
    samples=lambda: [((_a(3), np.array([0, 2, 2, 1]), _a(5)), {"dim": 0})],
    ref=lambda x, index, src, dim: x + np.bincount(index, src[:4], 3),
)  # fmt: skip


@method()
@with_out
def scatter_add(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """A copy with values of src added where an index points along a dimension."""
    made: Tensor = scatter_add_(input, _index(index, "scatter_add"), src, dim=dim)
    return made


@method()
@with_out
def scatter(
    input: Tensor,
    dim: int,
    index: Tensor,
    src: Any = None,
    *,
    value: Any = None,
    reduce: Any = None,
) -> Tensor:
    """A copy with values of src, or one value, written where an index points along a dimension."""
    src = value if src is None else src
    if not isinstance(src, Tensor):
        src = wrap(xp_of(input._a).full(_index(index, "scatter")._a.shape, src, input._a.dtype))
    if reduce is not None:
        if reduce not in ("add", "multiply"):
            raise RuntimeError("reduce argument must be either add or multiply.")
        result: Tensor = scatter_reduce(
            input, dim, index, src, "sum" if reduce == "add" else "prod"
        )
        return result
    made: Tensor = scatter_(input, _index(index, "scatter"), src, dim=dim)
    return made


_UFUNC = {"sum": "add", "prod": "multiply", "amax": "maximum", "amin": "minimum", "mean": "add"}


def _scatter_reduce(x: Any, index: Any, src: Any, dim: int, reduce: str, include_self: bool) -> Any:
    if src.dtype != x.dtype:
        raise DTypeError(
            f"scatter(): Expected self.dtype to be equal to src.dtype, got {x.dtype} and {src.dtype}"
        )
    d, y = _checked(x, dim, index, "scatter_reduce", src), x.copy()
    if index.size == 0:
        return y
    flat0 = y.ndim == 0
    y = y.reshape(1) if flat0 else y
    index = index.reshape(1) if index.ndim == 0 else index
    key, part = (
        mesh(index, 0 if flat0 else d),
        _clip(src.reshape(index.shape) if flat0 else src, index),
    )
    if not include_self:
        kinds = "f" if x.dtype.kind not in "iu" else "i"
        low, high = (
            (-np.inf, np.inf) if kinds == "f" else (np.iinfo(x.dtype).min, np.iinfo(x.dtype).max)
        )
        y[key] = {"sum": 0, "mean": 0, "prod": 1, "amax": low, "amin": high}[reduce]
    getattr(xp, _UFUNC[reduce]).at(y, key, part)
    if reduce == "mean":
        n = xp.full(y.shape, 1 if include_self else 0, "i8")
        xp.add.at(n, key, 1)
        n = xp.maximum(n, 1)
        y = y / n.astype(y.dtype) if y.dtype.kind in "fcV" else y // n
    y = y.astype(x.dtype)
    return y.reshape(()) if flat0 else y


def _scatter_reduce_grads(
    g: Any, input: Any, index: Any, src: Any, y: Any, dim: int, reduce: str, include_self: bool
) -> Any:
    if index.size == 0:
        return g, None, xp.zeros(src.shape, g.dtype)
    if input.ndim == 0:
        a = _scatter_reduce_grads(
            g.reshape(1),
            input.reshape(1),
            index.reshape(-1),
            src.reshape(-1),
            y.reshape(1),
            0,
            reduce,
            include_self,
        )
        return a[0].reshape(()), None, a[2].reshape(src.shape)
    d = dim % input.ndim
    key, part = mesh(index, d), _clip(src, index)
    touched = xp.zeros(input.shape, "?")
    touched[key] = True
    if reduce in ("sum", "mean"):
        if reduce == "mean":
            n = xp.full(input.shape, 1 if include_self else 0, "i8")
            xp.add.at(n, key, 1)
            g = g / xp.maximum(n, 1)
        gi, gs = g, g[key]
    elif reduce == "prod":
        gi, gs = _prod_grads(g, input, key, part, include_self)
    else:
        hit_self = (input == y) & (include_self | ~touched)
        hit_src = part == y[key]
        n = hit_self.astype("i8")
        xp.add.at(n, key, hit_src.astype("i8"))
        share = g / xp.maximum(n, 1)
        gi, gs = share * hit_self, share[key] * hit_src
    if not include_self:
        gi = xp.where(
            touched, xp.zeros((), g.dtype), g if reduce in ("sum", "mean", "prod") else gi
        )
        if reduce == "mean":
            gi = xp.where(touched, xp.zeros((), g.dtype), g)
    if tuple(part.shape) != tuple(src.shape):
        full = xp.zeros(src.shape, g.dtype)
        full[tuple(slice(0, n) for n in index.shape)] = gs
        gs = full
    return gi, None, gs


def _prod_grads(g: Any, x: Any, key: Any, part: Any, include_self: bool) -> Any:
    """Each factor's gradient is the product of the others; zeros are counted apart."""
    nz = xp.where(part == 0, xp.ones((), x.dtype), part)
    p = xp.where(x == 0, xp.ones((), x.dtype), x) if include_self else xp.ones(x.shape, x.dtype)
    zeros = (x == 0).astype("i8") if include_self else xp.zeros(x.shape, "i8")
    p = p.copy()
    xp.multiply.at(p, key, nz)
    xp.add.at(zeros, key, (part == 0).astype("i8"))
    own = xp.where(x == 0, xp.ones((), x.dtype), x)
    gi = g * xp.where(zeros - (x == 0) > 0, 0, p / own)
    gs = g[key] * xp.where(zeros[key] - (part == 0) > 0, 0, p[key] / nz)
    return gi, gs


scatter_reduce_ = operator(
    "scatter_reduce",
    lambda input, index, src, *, dim, reduce, include_self=True: _scatter_reduce(
        input, index, src, dim, reduce, include_self),
    lambda g, input, index, src, y, dim, reduce, include_self: scatter_reduce_backward(
        g, input, index, src, y, dim=dim, reduce=reduce, include_self=include_self),
    method=False,
    samples=lambda: [((_a(3), np.array([0, 2, 2, 1]), _a(5)), {"dim": 0, "reduce": "amax"})],
    ref=lambda x, index, src, dim, reduce: np.array(
        [max(x[0], src[0]), max(x[1], src[3]), max(x[2], src[1], src[2])]),
)  # fmt: skip


def scatter_reduce_backward(
    g: Any, input: Any, index: Any, src: Any, y: Any, dim: int, reduce: str, include_self: bool
) -> Any:
    """The gradients of scatter_reduce, on arrays; of first order on Tensors."""
    if isinstance(g, Tensor):
        got = _scatter_reduce_raw(
            [g, input, index, src, y], dim=dim, reduce=reduce, include_self=include_self
        )
        return got[0], None, got[1]
    return _scatter_reduce_grads(g, input, index, src, y, dim, reduce, include_self)


def _scatter_reduce_raw(tensors: Any, **attrs: Any) -> Any:
    from .record import space

    arrays = [t._a if isinstance(t, Tensor) else t for t in tensors]
    fn = space(__name__, type(arrays[0]))["_scatter_reduce_grads"]
    got = fn(*arrays, **attrs)
    return wrap(got[0]), wrap(got[2])


@method()
@with_out
def scatter_reduce(
    input: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """A copy into which values of src are reduced (sum, prod, mean, amax, amin) where an index points."""
    if reduce not in _UFUNC:
        raise RuntimeError(
            f"reduce argument must be either sum, prod, mean, amax or amin, got {reduce}"
        )
    if reduce == "sum" and include_self:
        result: Tensor = scatter_add(input, dim, index, src)
        return result
    made: Tensor = scatter_reduce_(
        input,
        _index(index, "scatter_reduce"),
        src,
        dim=dim,
        reduce=reduce,
        include_self=include_self,
    )
    return made


__all__ = ["gather", "scatter", "scatter_add", "scatter_reduce"]
publish(globals())
