"""Views turned into operators without sharing: copies of views, and tensors with a view overwritten."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import DTypeError, ShapeError
from ..tensor import Tensor, check_dim, wrap
from .registry import attach, inplace_of, method, publish, with_out
from .shape import diagonal, permute, transpose

__all__: list[str] = []


# ---- copies of views ------------------------------------------------------------------------------------
def _copied(name: str, view: Callable[..., Any]) -> None:
    def copied(input: Tensor, *args: Any, **kwargs: Any) -> Any:
        made = view(input, *args, **kwargs)
        if isinstance(made, (tuple, list)):
            return tuple(m.clone() for m in made)
        return made.clone()

    copied.__name__ = copied.__qualname__ = name + "_copy"
    copied.__doc__ = f"`{name}` in memory of its own."
    globals()[copied.__name__] = with_out(copied)
    __all__.append(copied.__name__)


def _method_of(name: str) -> Callable[..., Any]:
    def called(input: Tensor, *args: Any, **kwargs: Any) -> Any:
        return getattr(input, name)(*args, **kwargs)

    return called


for _name in (
    "as_strided expand narrow split_with_sizes squeeze t unbind unsqueeze view view_as_real view_as_complex detach select "
    "split unfold"
).split():
    _copied(_name, _method_of(_name))
_copied("diagonal", diagonal)
_copied("permute", permute)
_copied("transpose", transpose)
_copied("alias", lambda input: input)


def _sliced(
    input: Tensor, dim: int = 0, start: Any = None, end: Any = None, step: int = 1
) -> Tensor:
    d = check_dim(dim, input._a.ndim)
    made: Tensor = input[(*(slice(None),) * d, slice(start, end, step))]
    return made


_copied("slice", _sliced)


# ---- views overwritten ----------------------------------------------------------------------------------
def _overwritten(input: Tensor, src: Tensor, view: Any, name: str) -> Tensor:
    y = input.clone()
    part = view(y)
    if tuple(part.shape) != tuple(src.shape):
        raise ShapeError(
            f"{name}: expected src to have a size equal to the slice of self. src size = {list(src.shape)}, slice size = {list(part.shape)}"
        )
    part.copy_(src)
    made: Tensor = y
    return made


@method()
@with_out
def select_scatter(input: Tensor, src: Tensor, dim: int, index: int) -> Tensor:
    """A copy in which one slice of a dimension is src."""
    return _overwritten(input, src, lambda y: y.select(dim, index), "select_scatter")


@method()
@with_out
def slice_scatter(
    input: Tensor, src: Tensor, dim: int = 0, start: Any = None, end: Any = None, step: int = 1
) -> Tensor:
    """A copy in which a range of a dimension is src."""
    return _overwritten(input, src, lambda y: _sliced(y, dim, start, end, step), "slice_scatter")


@method()
@with_out
def diagonal_scatter(
    input: Tensor, src: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1
) -> Tensor:
    """A copy in which a diagonal is src."""
    return _overwritten(
        input, src, lambda y: diagonal(y, offset=offset, dim1=dim1, dim2=dim2), "diagonal_scatter"
    )


@method()
@with_out
def as_strided_scatter(
    input: Tensor, src: Tensor, size: Any, stride: Any, storage_offset: Any = None
) -> Tensor:
    """A copy in which the elements of a strided view are src."""
    return _overwritten(
        input, src, lambda y: y.as_strided(size, stride, storage_offset or 0), "as_strided_scatter"
    )


# ---- by flat position ------------------------------------------------------------------------------------
@method()
def put(input: Tensor, index: Tensor, source: Tensor, accumulate: bool = False) -> Tensor:
    """A copy in which elements at flat positions are overwritten by source, or have it added."""
    if index._a.dtype != "i8":
        raise DTypeError(
            f"put_(): Expected a long tensor for index, but got {index.dtype.name.title()}"
        )
    if index.numel() != source.numel():
        raise ShapeError(
            f"put_(): Expected source and index to have the same number of elements, but got source.numel() = {source.numel()}, index.numel() = {index.numel()}"
        )
    if input._a.dtype != source._a.dtype:
        raise DTypeError(
            f"put_(): self and source expected to have the same dtype, but got self.dtype = {input.dtype.name.title()} and source.dtype = {source.dtype.name.title()}"
        )
    n = input.numel()
    a = index._a.reshape(-1)
    if n == 0 and a.size:
        raise IndexError("put_(): Expected self to be non-empty, but got 0 elements")
    if type(a) is np.ndarray and a.size and (int(a.min()) < -n or int(a.max()) >= n):
        raise IndexError(
            f"out of range: tried to access index {int(a.max() if a.max() >= n else a.min())} on a tensor of {n} elements."
        )
    at = wrap(np.where(a < 0, a + n, a))
    flat = input.reshape(-1)
    done = (
        flat.scatter_add(0, at, source.reshape(-1))
        if accumulate
        else flat.scatter(0, at, source.reshape(-1))
    )
    made: Tensor = done.reshape(input.shape)
    return made


inplace_of(put)


@method()
@with_out
def index_reduce(
    input: Tensor,
    dim: int,
    index: Tensor,
    source: Tensor,
    reduce: str,
    *,
    include_self: bool = True,
) -> Tensor:
    """Slices of source reduced into the slices of a dimension that index names."""
    if reduce not in ("prod", "mean", "amax", "amin"):
        raise RuntimeError(
            f"index_reduce(): Expected reduce to be one of prod, mean, amax or amin but got {reduce}."
        )
    if index._a.ndim > 1:
        raise ShapeError(
            "index_reduce(): Index is supposed to be a vector, but got dim", got=index._a.ndim
        )
    if input._a.ndim == 0:
        x, s = input.reshape(1), source.reshape(1)
        made: Tensor = index_reduce(
            x, 0, index.reshape(1), s, reduce, include_self=include_self
        ).reshape(())
        return made
    d = check_dim(dim, input._a.ndim)
    shape = [1] * input._a.ndim
    shape[d] = -1
    at = index.long().reshape(shape).expand(source.shape)
    made = input.scatter_reduce(d, at, source, reduce, include_self=include_self)
    return made


inplace_of(index_reduce)


@method()
@with_out
def nonzero_static(input: Tensor, *, size: int, fill_value: int = -1) -> Tensor:
    """`nonzero` cut or filled to a number of rows."""
    if size < 0:
        raise RuntimeError(f"nonzero_static: 'size' must be an non-negative integer: got {size}")
    found = np.argwhere(input._a) if input._a.ndim else np.zeros((int(bool(input._a)), 0), "i8")
    made = np.full((size, input._a.ndim), fill_value, "i8")
    made[: len(found)] = found[:size]
    return wrap(made)


def unravel_index(indices: Tensor, shape: Any) -> tuple[Tensor, ...]:
    """Coordinates, one tensor per dimension, of flat positions in a shape."""
    if not isinstance(indices, Tensor) or indices._a.dtype.kind not in "iu":
        raise ValueError(
            f"expected 'indices' to be an integer tensor, got {getattr(indices, 'dtype', type(indices).__name__)}"
        )
    sizes = (
        (int(shape),)
        if isinstance(shape, int)
        else tuple(int(k) for k in (shape.tolist() if isinstance(shape, Tensor) else shape))
    )
    if any(k < 0 for k in sizes):
        raise ValueError(f"'shape' cannot have negative values, but got {sizes}")
    rest, made = indices._a, []
    for k in sizes[::-1]:
        made.append(np.asarray(rest % max(k, 1)))
        rest = rest // max(k, 1)
    return tuple(wrap(m) for m in made[::-1])


@method()
def sum_to_size(self: Tensor, *size: Any) -> Tensor:
    """Summed over the dimensions that broadcasting from a size would have made."""
    want = tuple(size[0]) if len(size) == 1 and not isinstance(size[0], int) else size
    have = tuple(self.shape)
    lead = len(have) - len(want)
    if lead < 0 or any(w not in (1, h) for w, h in zip(want, have[lead:], strict=True)):
        raise ShapeError(f"size {{{list(want)}}} is not expandable to size {{{list(have)}}}.")
    dims = [*range(lead), *(lead + i for i, w in enumerate(want) if w == 1 and have[lead + i] != 1)]
    x = self.long() if self._a.dtype.kind == "b" else self
    made: Tensor = x.sum(dims, keepdim=True) if dims else x
    return made.reshape(want) if lead else made


attach("narrow_copy", globals()["narrow_copy"])
__all__ += [
    "as_strided_scatter", "diagonal_scatter", "index_reduce", "nonzero_static", "put", "select_scatter", "slice_scatter",
    "unravel_index",
]  # fmt: skip
publish(globals())
