"""Joining, splitting, repeating and reordering tensors."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import ShapeError
from ..tensor import Tensor, check_dim
from .registry import method, operator, publish, with_out
from .shape import _a, reshape, reshape_, unsqueeze

xp: Any = None  # bound per array type


# ---- cat and stack --------------------------------------------------------------------------------
def _cat(arrays: Any, dim: int) -> Any:
    kept = [a for a in arrays if not (a.ndim == 1 and a.shape[0] == 0)] or list(arrays[:1])
    first = kept[0]
    if first.ndim == 0:
        raise ShapeError("zero-dimensional tensor (at position 0) cannot be concatenated")
    d = check_dim(dim, first.ndim)
    for i, a in enumerate(kept):
        if a.ndim != first.ndim:
            raise ShapeError(
                f"Tensors must have same number of dimensions: got {first.ndim} and {a.ndim}"
            )
        for j in range(a.ndim):
            if j != d and a.shape[j] != first.shape[j]:
                raise ShapeError(
                    f"Sizes of tensors must match except in dimension {d}. Expected size {first.shape[j]} but "
                    f"got size {a.shape[j]} for tensor number {i} in the list."
                )
    return xp.concatenate(kept, d)


def _uncat(g: Any, shapes: Any, dim: int, want: Any) -> Any:
    out, at = [], 0
    d = dim % len(g.shape)
    for shape, wanted in zip(shapes, want, strict=True):
        if len(shape) == 1 and shape[0] == 0 and len(g.shape) > 1:
            out.append(
                reshape_(narrow_(g, dim=d, start=0, length=0), shape=(0,)) if wanted else None
            )
            continue
        n = shape[d]
        out.append(narrow_(g, dim=d, start=at, length=n) if wanted else None)
        at += n
    return out


cat_ = operator(
    "cat", lambda *tensors, dim=0: _cat(tensors, dim),
    lambda g, tensors_shape, dim, want: _uncat(g, tensors_shape, dim, want), "promote", method=False,
    samples=lambda: [(((_a(2, 3), _a(1, 3)),), {"dim": 0}), (((_a(2, 3), _a(2, 2)),), {"dim": -1})],
    ref=lambda tensors, dim=0: np.concatenate(tensors, dim), onnx="Concat",
)  # fmt: skip


def _checked_list(tensors: Any, name: str) -> tuple[Tensor, ...]:
    if isinstance(tensors, Tensor) or not isinstance(tensors, (tuple, list)):
        raise TypeError(
            f"{name}(): argument 'tensors' (position 1) must be tuple of Tensors, not {type(tensors).__name__}"
        )
    if not tensors:
        raise ShapeError(f"{name}(): expected a non-empty list of Tensors")
    for i, t in enumerate(tensors):
        if not isinstance(t, Tensor):
            raise TypeError(
                f"expected Tensor as element {i} in argument 0, but got {type(t).__name__}"
            )
    return tuple(tensors)


@with_out
def cat(tensors: Any, dim: int = 0) -> Tensor:
    """Tensors joined along a dimension that they have."""
    made: Tensor = cat_(_checked_list(tensors, "torch.cat"), dim=dim)
    return made


def _stack(arrays: Any, dim: int) -> Any:
    first = arrays[0]
    for i, a in enumerate(arrays):
        if a.shape != first.shape:
            raise ShapeError(
                f"stack expects each tensor to be equal size, but got {list(first.shape)} at entry 0 and "
                f"{list(a.shape)} at entry {i}"
            )
    return xp.stack(arrays, check_dim(dim, first.ndim + 1))


stack_ = operator(
    "stack", lambda *tensors, dim=0: _stack(tensors, dim),
    lambda g, dim, tensors_shape: [select_(g, dim=dim, index=i) for i in range(len(tensors_shape))],
    "promote", method=False, samples=lambda: [(((_a(2, 3), _a(2, 3)),), {"dim": 1})],
    ref=lambda tensors, dim=0: np.stack(tensors, dim),
)  # fmt: skip


@with_out
def stack(tensors: Any, dim: int = 0) -> Tensor:
    """Tensors of one shape joined along a new dimension."""
    made: Tensor = stack_(_checked_list(tensors, "stack"), dim=dim)
    return made


def _atleast(x: Any, n: int) -> Any:
    return x if x._a.ndim >= n else reshape(x, (1,) * (n - x._a.ndim) + tuple(x._a.shape))


def _each(tensors: Any, fn: Any) -> Any:
    if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)):
        tensors = tensors[0]
        return tuple(fn(t) for t in tensors)
    return fn(tensors[0]) if len(tensors) == 1 else tuple(fn(t) for t in tensors)


def atleast_1d(*tensors: Any) -> Any:
    """Tensors with at least one dimension."""
    return _each(tensors, lambda t: _atleast(t, 1))


def atleast_2d(*tensors: Any) -> Any:
    """Tensors with at least two dimensions."""
    return _each(tensors, lambda t: _atleast(t, 2))


def atleast_3d(*tensors: Any) -> Any:
    """Tensors with at least three dimensions; a matrix gets its third one at the end."""
    return _each(tensors, lambda t: unsqueeze(t, -1) if t._a.ndim == 2 else (
        reshape(t, (1, -1, 1)) if t._a.ndim == 1 else _atleast(t, 3)))  # fmt: skip


@with_out
def hstack(tensors: Any) -> Tensor:
    """Tensors joined side by side."""
    ts = atleast_1d(list(_checked_list(tensors, "hstack")))
    made: Tensor = cat(ts, 0 if ts[0]._a.ndim == 1 else 1)
    return made


@with_out
def vstack(tensors: Any) -> Tensor:
    """Tensors joined one below the other."""
    made: Tensor = cat(atleast_2d(list(_checked_list(tensors, "vstack"))), 0)
    return made


@with_out
def dstack(tensors: Any) -> Tensor:
    """Tensors joined along the third dimension."""
    made: Tensor = cat(atleast_3d(list(_checked_list(tensors, "dstack"))), 2)
    return made


@with_out
def column_stack(tensors: Any) -> Tensor:
    """Vectors and matrices joined as columns."""
    made: Tensor = hstack(
        [
            t if t._a.ndim > 1 else reshape(t, (-1, 1))
            for t in _checked_list(tensors, "column_stack")
        ]
    )
    return made


concat = concatenate = cat
row_stack = vstack


# ---- narrow, select, split --------------------------------------------------------------------------
def _narrow(x: Any, dim: int, start: int, length: int) -> Any:
    if x.ndim == 0:
        raise ShapeError("narrow() cannot be applied to a 0-dim tensor.")
    d = check_dim(dim, x.ndim)
    n = x.shape[d]
    if length < 0:
        raise ShapeError("narrow(): length must be non-negative.")
    if not -n <= start <= n:
        raise IndexError(
            f"start out of range (expected to be in range of [{-n}, {n}], but got {start})"
        )
    start = start + n if start < 0 else start
    if start + length > n:
        raise ShapeError(f"start ({start}) + length ({length}) exceeds dimension size ({n}).")
    return x[(slice(None),) * d + (slice(start, start + length),)]


narrow_ = operator(
    "narrow", lambda input, *, dim, start, length: _narrow(input, dim, start, length),
    (lambda g, input_shape, dim, start, length: unnarrow(g, shape=input_shape, dim=dim, start=start),),
    view=True, method=False, samples=lambda: [((_a(3, 4),), {"dim": 1, "start": 1, "length": 2})],
    ref=lambda x, dim, start, length: x[:, 1:3],
)  # fmt: skip


def _unnarrow(g: Any, shape: Any, dim: int, start: int) -> Any:
    z, d = xp.zeros(shape, g.dtype), dim % len(shape)
    start = start + shape[d] if start < 0 else start
    z[(slice(None),) * d + (slice(start, start + g.shape[d]),)] = g
    return z


unnarrow: Any = operator(
    "_unnarrow", lambda g, *, shape, dim, start: _unnarrow(g, shape, dim, start),
    (lambda h, g_shape, dim, start: narrow_(h, dim=dim, start=start, length=g_shape[dim]),),
    samples=lambda: [((_a(3, 2),), {"shape": (3, 4), "dim": 1, "start": 1})],
    ref=lambda g, shape, dim, start: np.pad(g, ((0, 0), (1, 1))),
)  # fmt: skip


@method()
def narrow(input: Tensor, dim: int, start: Any, length: int) -> Tensor:
    """A part of one dimension; a view."""
    made: Tensor = narrow_(input, dim=dim, start=int(start), length=int(length))
    return made


def _select(x: Any, dim: int, index: int) -> Any:
    if x.ndim == 0:
        raise IndexError("select() cannot be applied to a 0-dim tensor.")
    d = check_dim(dim, x.ndim)
    n = x.shape[d]
    if not -n <= index < n:
        raise IndexError(
            f"select(): index {index} out of range for tensor of size {list(x.shape)} at dimension {d}"
        )
    return x[(slice(None),) * d + (index, ...)]


select_: Any = operator(
    "select", lambda input, *, dim, index: _select(input, dim, index),
    (lambda g, input_shape, dim, index: unselect(g, shape=input_shape, dim=dim, index=index),),
    view=True, samples=lambda: [((_a(3, 4),), {"dim": 1, "index": -1})], ref=lambda x, dim, index: x[:, -1],
)  # fmt: skip
select = select_


def _unselect(g: Any, shape: Any, dim: int, index: int) -> Any:
    z = xp.zeros(shape, g.dtype)
    z[(slice(None),) * (dim % len(shape)) + (index,)] = g
    return z


unselect: Any = operator(
    "_unselect", lambda g, *, shape, dim, index: _unselect(g, shape, dim, index),
    (lambda h, dim, index: select_(h, dim=dim, index=index),),
    samples=lambda: [((_a(3),), {"shape": (3, 2), "dim": 1, "index": 0})],
    ref=lambda g, shape, dim, index: np.stack([g, 0 * g], 1),
)  # fmt: skip


def _cut(x: Any, sizes: Any, dim: int) -> Any:
    d, out, at = check_dim(dim, x.ndim), [], 0
    for n in sizes:
        out.append(x[(slice(None),) * d + (slice(at, at + n),)])
        at += n
    return out


def _uncut(gs: Any, shape: Any, sizes: Any, dim: int) -> Any:
    like = next(g for g in gs if g is not None)
    d = dim % len(shape)
    parts = []
    for g, n in zip(gs, sizes, strict=True):
        if g is None:
            g = hollow(like, shape=tuple(n if i == d else k for i, k in enumerate(shape)))
        parts.append(g)
    return (join(parts, d),)


hollow = operator(
    "_hollow", lambda x, *, shape: xp.zeros(shape, x.dtype), (None,),
    samples=lambda: [((_a(2),), {"shape": (3,)})], ref=lambda x, shape: np.zeros(shape),
)  # fmt: skip


def join(parts: Any, dim: int) -> Any:
    """cat of arrays or of Tensors."""
    if isinstance(parts[0], Tensor):
        return cat_(tuple(parts), dim=dim)
    return xp.concatenate(parts, dim)


split_ = operator(
    "split", lambda x, *, sizes, dim: _cut(x, sizes, dim),
    lambda g, x_shape, sizes, dim: _uncut(g, x_shape, sizes, dim),
    view=True, outputs=("*",), method=False, grad_name="SplitBackward0",
    samples=lambda: [((_a(5, 2),), {"sizes": (2, 3), "dim": 0})],
    ref=lambda x, sizes, dim: (x[:2], x[2:]), onnx="Split",
)  # fmt: skip


@method()
def split(tensor: Tensor, split_size_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Views of consecutive parts: of one size (the last may be smaller), or of given sizes."""
    if tensor._a.ndim == 0:
        raise ShapeError("split expects at least a 1-dimensional tensor")
    d = check_dim(dim, tensor._a.ndim)
    n = tensor._a.shape[d]
    if isinstance(split_size_or_sections, (int, np.integer)):
        size = int(split_size_or_sections)
        if size < 0:
            raise ShapeError(f"split expects split_size be non-negative, but got split_size={size}")
        if size == 0 and n:
            raise ShapeError(
                f"split_size can only be 0 if dimension size is 0, but got dimension size of {n}"
            )
        sizes = [min(size, n - i) for i in range(0, n, size)] if n else [0]
    else:
        sizes = [int(k) for k in split_size_or_sections]
        if sum(sizes) != n or any(k < 0 for k in sizes):
            raise ShapeError(
                f"split_with_sizes expects split_sizes to sum exactly to {n} (input tensor's size at dimension "
                f"{d}), but got split_sizes={sizes}"
            )
    made: tuple[Tensor, ...] = split_(tensor, sizes=tuple(sizes), dim=d)
    return made


@method()
def split_with_sizes(input: Tensor, split_sizes: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Pieces of given sizes along a dimension, as views."""
    pieces: tuple[Tensor, ...] = split(input, split_sizes, dim)
    return pieces


@method()
def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most so many parts of equal size; the last may be smaller."""
    if chunks <= 0:
        raise ShapeError(f"chunk expects `chunks` to be greater than 0, got: {chunks}")
    if input._a.ndim == 0:
        raise ShapeError("chunk expects at least a 1-dimensional tensor")
    n = input._a.shape[check_dim(dim, input._a.ndim)]
    size = -(-n // chunks)
    made: tuple[Tensor, ...] = split(input, [0] * chunks if n == 0 else size, dim)
    return made


@method()
def tensor_split(input: Tensor, indices_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Parts at given places, or so many parts of nearly equal size."""
    if input._a.ndim == 0:
        raise ShapeError(
            "tensor_split expected at least a 1-dimensional tensor, but got a tensor with 0 dims"
        )
    n = input._a.shape[check_dim(dim, input._a.ndim)]
    if isinstance(indices_or_sections, Tensor):
        indices_or_sections = indices_or_sections.tolist()
    if isinstance(indices_or_sections, int):
        k = indices_or_sections
        if k <= 0:
            raise ShapeError(f"number of sections must be larger than 0, got {k}")
        made: tuple[Tensor, ...] = split(input, [n // k + (i < n % k) for i in range(k)], dim)
        return made
    ends = [*(min(max(i + n if i < 0 else i, 0), n) for i in indices_or_sections), n]
    starts = [0, *ends[:-1]]
    return tuple(
        narrow(input, dim, min(a, n), max(0, b - a)) for a, b in zip(starts, ends, strict=True)
    )


def _stacked_split(name: str, dims: int, dim: int) -> Any:
    def cut(input: Tensor, indices_or_sections: Any) -> tuple[Tensor, ...]:
        if input._a.ndim < dims:
            raise ShapeError(
                f"torch.{name} requires a tensor with at least {dims} dimension, but got a tensor with {input._a.ndim} dimensions!"
            )
        d = 0 if name == "hsplit" and input._a.ndim == 1 else dim
        k = indices_or_sections
        if isinstance(k, int) and (k <= 0 or input._a.shape[d] % k):
            raise ShapeError(
                f"torch.{name} attempted to split along dimension {d}, but the size of the dimension {input._a.shape[d]} is not divisible by the split_size {k}!"
            )
        made: tuple[Tensor, ...] = tensor_split(input, k, d)
        return made

    cut.__name__ = name
    cut.__doc__ = f"Pieces along dimension {dim}, of equal size or cut at indices."
    return method(name)(cut)


hsplit, vsplit, dsplit = (
    _stacked_split("hsplit", 1, 1),
    _stacked_split("vsplit", 2, 0),
    _stacked_split("dsplit", 3, 2),
)

unbind_ = operator(
    "unbind", lambda input, *, dim=0: [_select(input, dim, i) for i in range(input.shape[check_dim(dim, input.ndim)])],
    lambda g, input_shape, dim: (_ununbind(g, input_shape, dim),), view=True, outputs=("*",),
    samples=lambda: [((_a(2, 3),), {"dim": 1})], ref=lambda x, dim=0: tuple(np.moveaxis(x, dim, 0)),
)  # fmt: skip
unbind = unbind_


def _ununbind(gs: Any, shape: Any, dim: int) -> Any:
    like, d = next(g for g in gs if g is not None), dim % len(shape)
    part = shape[:d] + shape[d + 1 :]
    one = shape[:d] + (1,) + shape[d + 1 :]
    return join([reshape_(hollow(like, shape=part) if g is None else g, shape=one) for g in gs], d)


__all__ = [
    "atleast_1d",
    "atleast_2d",
    "atleast_3d",
    "cat",
    "chunk",
    "column_stack",
    "concat",
    "concatenate",
    "dsplit",
    "dstack",
    "hsplit",
    "hstack",
    "narrow",
    "row_stack",
    "select",
    "split",
    "split_with_sizes",
    "stack",
    "tensor_split",
    "unbind",
    "vsplit",
    "vstack",
]
publish(globals())
