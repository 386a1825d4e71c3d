"""Whole slices and single elements, picked and written by vectors of indices."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import DTypeError, ShapeError
from ..tensor import Tensor, check_dim, wrap
from .creation import as_index
from .registry import inplace_of, method, operator, publish, with_out
from .scatter import _index, gather_, scatter, scatter_, scatter_add, scatter_reduce
from .shape import _a

xp: Any = None  # bound per array type


# ---- whole slices by a vector of indices ----------------------------------------------------------
def _vector(index: Any, name: str) -> Any:
    if index.ndim > 1:
        raise IndexError(f"{name}(): Index is supposed to be a vector")
    if index.dtype.kind not in "iu" or index.dtype.itemsize < 4:
        raise DTypeError(f"{name}(): Expected dtype int32 or int64 for index, got {index.dtype}")
    return index.reshape(-1)


def _outside(i: Any, low: int, stop: int) -> IndexError:
    odd = int(i.min()) if int(i.min()) < low else int(i.max())
    return IndexError(f"index out of range in self: expected {low} to {stop - 1}, got {odd}")


def _take(x: Any, index: Any, dim: int) -> Any:
    i, d = _vector(index, "index_select"), check_dim(dim, x.ndim)
    if x.ndim == 0:
        return x.reshape(1)[i].reshape(())
    if type(i) is np.ndarray and i.size and (int(i.min()) < 0 or int(i.max()) >= x.shape[d]):
        raise _outside(i, 0, x.shape[d])
    return x[(slice(None),) * d + (i,)]


index_select_ = operator(
    "index_select", lambda input, index, *, dim: _take(input, index, dim),
    (lambda g, index, input_shape, dim: index_sum(g, index, shape=input_shape, dim=dim), None),
    method=False, onnx="Gather",
    samples=lambda: [((_a(3, 4), np.array([2, 0, 2])), {"dim": 0})], ref=lambda x, i, dim: np.take(x, i, dim),
)  # fmt: skip


def _index_sum(g: Any, index: Any, shape: Any, dim: int) -> Any:
    z = xp.zeros(shape, g.dtype)
    if len(shape) == 0:
        return z + xp.add.reduce(g.reshape(-1), 0)
    xp.add.at(z, (slice(None),) * (dim % len(shape)) + (index.reshape(-1),), g)
    return z


index_sum: Any = operator(
    "_index_sum", lambda g, index, *, shape, dim: _index_sum(g, index, shape, dim),
    (lambda h, index, dim: index_select_(h, index, dim=dim), None),
    samples=lambda: [((_a(3), np.array([2, 0, 2])), {"shape": (4,), "dim": 0})],
    ref=lambda g, i, shape, dim: np.bincount(i, g, 4),
)  # fmt: skip


@method()
@with_out
def index_select(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """Slices picked along a dimension by a vector of indices."""
    made: Tensor = index_select_(input, _index(index, "index_select"), dim=dim)
    return made


@method()
@with_out
def index_add(input: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: Any = 1) -> Tensor:
    """A copy with slices of source added where a vector of indices points."""
    d = _slices(input, dim, index, source, "index_add")
    part = source if alpha == 1 else source * alpha
    if input._a.ndim == 0:
        made: Tensor = input + part.reshape(())
        return made
    made = input + index_sum(part, index, shape=tuple(input._a.shape), dim=d)
    return made


def _slices(input: Tensor, dim: int, index: Tensor, source: Tensor, name: str) -> int:
    d = check_dim(dim, input._a.ndim)
    _vector(index._a, name)
    if source._a.dtype != input._a.dtype:
        raise DTypeError(
            f"{name}(): self and source expected to have the same dtype, but got (self) {input.dtype} and (source) {source.dtype}"
        )
    if input._a.ndim and source._a.ndim:
        want = (*input._a.shape[:d], index.numel(), *input._a.shape[d + 1 :])
        if tuple(source._a.shape) != want:
            raise ShapeError(
                f"{name}(): source tensor shape must match self tensor shape, excluding the specified dimension. Got self.shape = {list(input._a.shape)} source.shape = {list(source._a.shape)}"
            )
    i = index._a
    n = input._a.shape[d] if input._a.ndim else 1
    if type(i) is np.ndarray and i.size and (int(i.min()) < -n or int(i.max()) >= n):
        raise _outside(i, -n, n)
    return d


def _along(index: Tensor, source: Any, d: int) -> Tensor:
    """A vector of indices spread to the shape of slices."""
    shape = [1] * max(source._a.ndim, 1)
    shape[d] = index.numel()
    made: Tensor = (
        index.to(as_index(np.zeros(0)).dtype).reshape(shape).expand(source._a.shape or (1,))
    )
    return made


@method()
@with_out
def index_copy(input: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """A copy with slices of source written where a vector of indices points."""
    d = _slices(input, dim, index, source, "index_copy")
    if input._a.ndim == 0:
        result: Tensor = source.reshape(()).clone()
        result = result if input._n is None else result + input * 0
        return result
    made: Tensor = scatter_(input, _along(index, source, d), source, dim=d)
    return made


@method()
@with_out
def index_fill(input: Tensor, dim: int, index: Tensor, value: Any) -> Tensor:
    """A copy with one value written into the slices that a vector of indices names."""
    if isinstance(value, Tensor) and value._a.ndim:
        raise RuntimeError(
            f"Only supports 0-dimension value tensor but got tensor with {value._a.ndim} dimensions."
        )
    d = check_dim(dim, input._a.ndim)
    mask = np.zeros(input._a.shape[d] if input._a.ndim else 1, "?")
    mask[_vector(index._a, "index_fill_")] = True
    shape = [1] * input._a.ndim
    if shape:
        shape[d] = -1
    made: Tensor = input.masked_fill(
        wrap(mask.reshape(shape) if shape else mask.reshape(())), value
    )
    return made


for _f in (scatter, scatter_add, scatter_reduce, index_add, index_copy, index_fill):
    inplace_of(_f)


@method()
@with_out
def take(input: Tensor, index: Tensor) -> Tensor:
    """Elements of the tensor seen as one vector."""
    if index._a.dtype != np.dtype("i8"):
        raise RuntimeError(
            f"take(): Expected a long tensor for index, but got {index.type().split('.')[-1][:-6]}"
        )
    n = input.numel()
    if index.numel() and n == 0:
        raise IndexError("take(): tried to take from an empty tensor")
    if index.numel() and not -n <= int(index._a.min()) <= int(index._a.max()) < n:
        raise IndexError(
            f"out of range: tried to access index {int(index._a.max())} on a tensor of {n} elements."
        )
    flat = index_select_(input.reshape(-1), wrap((index._a % max(n, 1)).reshape(-1)), dim=0)
    made: Tensor = flat.reshape(index._a.shape)
    return made


def _wrapped(indices: Tensor, n: int) -> Tensor:
    """Negative indices counted from the end."""
    a = indices._a
    return (
        wrap(np.where(a < 0, a + n, a))
        if type(a) is np.ndarray and bool((a < 0).any())
        else indices
    )


@method()
@with_out
def take_along_dim(input: Tensor, indices: Tensor, dim: int | None = None) -> Tensor:
    """Values picked along a dimension; other dimensions broadcast."""
    if indices._a.dtype.kind not in "iu":
        raise DTypeError("torch.take_along_dim(): dtype of indices should be Long")
    indices = _wrapped(indices, input.numel() if dim is None else input.shape[dim])
    if dim is None:
        made: Tensor = gather_(input.reshape(-1), indices.reshape(-1), dim=0)
        return made
    if input._a.ndim != indices._a.ndim:
        raise ShapeError(
            f"torch.take_along_dim(): input and indices should have the same number of dimensions, but got {input._a.ndim} dimensions for input, and {indices._a.ndim} dimensions for indices"
        )
    d = check_dim(dim, input._a.ndim)
    a, b = list(input._a.shape), list(indices._a.shape)
    lead = np.broadcast_shapes(tuple(a[:d] + a[d + 1 :]), tuple(b[:d] + b[d + 1 :]))
    x = input.expand((*lead[:d], a[d], *lead[d:]))
    made = gather_(x, indices.expand((*lead[:d], b[d], *lead[d:])), dim=d)
    return made


__all__ = ["index_add", "index_copy", "index_fill", "index_select", "take", "take_along_dim"]
publish(globals())
