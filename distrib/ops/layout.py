"""Memory: formats, copies in a format, strided views, storages."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..devices import device_of, xp_of
from ..errors import ShapeError
from ..tensor import Tensor, chain_of
from .core import clone_
from .registry import attach, method, operator, publish
from .shape import _method_inplace

xp: Any = None  # bound per array type


class memory_format:
    """How the dimensions of a tensor lie in memory."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"torch.{self.name}"

    def __reduce__(self) -> str:
        return self.name


class layout:
    """Strided, sparse ...; there is only strided."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"torch.{self.name}"

    def __reduce__(self) -> str:
        return self.name


contiguous_format = memory_format("contiguous_format")
preserve_format = memory_format("preserve_format")
channels_last = memory_format("channels_last")
channels_last_3d = memory_format("channels_last_3d")
strided = layout("strided")
sparse_coo = layout("sparse_coo")
attach("layout", property(lambda t: strided))


def _order_of(fmt: memory_format, ndim: int) -> tuple[int, ...] | None:
    """The order of dimensions in memory, None for the plain one."""
    if fmt is channels_last:
        if ndim != 4:
            raise ShapeError("required rank 4 tensor to use channels_last format")
        return (0, 2, 3, 1)
    if fmt is channels_last_3d:
        if ndim != 5:
            raise ShapeError("required rank 5 tensor to use channels_last_3d format")
        return (0, 2, 3, 4, 1)
    return None


def lies_in(a: Any, fmt: memory_format) -> bool:
    """Whether an array lies in memory in a format."""
    if fmt is contiguous_format:
        return bool(a.flags.c_contiguous)
    order = (0, 2, 3, 1) if fmt is channels_last else (0, 2, 3, 4, 1)
    return a.ndim == len(order) and bool(a.transpose(order).flags.c_contiguous)


def in_layout(a: Any, fmt: memory_format) -> Any:
    """A fresh array of the same values in a format."""
    order = _order_of(fmt, a.ndim)
    if order is None:
        return a.copy(order="C")
    back = tuple(np.argsort(order).tolist())
    return a.transpose(order).copy(order="C").transpose(back)


_formatted = operator(
    "to_format", lambda x, *, fmt: in_layout(x, fmt), (lambda g: g,), method=False,
    grad_name="CloneBackward0",
    samples=lambda: [((np.arange(16.0).reshape(1, 2, 2, 4),), {"fmt": channels_last})],
    ref=lambda x, fmt: x,
)  # fmt: skip


def in_format(t: Tensor, fmt: Any = None) -> Tensor:
    """Itself if it lies in a format (default: contiguous), else a copy that does."""
    fmt = fmt or contiguous_format
    if fmt is preserve_format or lies_in(t._a, fmt):
        return t
    made: Tensor = _formatted(t, fmt=fmt)
    return made


@method()
def is_contiguous(self: Tensor, memory_format: Any = None) -> bool:
    """Whether the tensor lies in memory in a format."""
    return lies_in(self._a, memory_format or contiguous_format)


@method()
def clone(input: Tensor, *, memory_format: Any = None) -> Tensor:
    """A copy that is part of the graph."""
    if memory_format is None or memory_format is preserve_format:
        made: Tensor = clone_(input)
        return made
    made = _formatted(input, fmt=memory_format)
    return made


# ---- strided views ------------------------------------------------------------------------------
def root_of(a: Any) -> Any:
    """The array that owns the memory of an array."""
    while type(a.base) is type(a):
        a = a.base
    base = a.base
    if (
        base is not None and hasattr(base, "base") and type(base.base) is type(a)
    ):  # as_strided's helper
        return root_of(base.base)
    return a


def offset_of(a: Any) -> int:
    """Elements between the start of the memory and the first element."""
    if type(a) is not np.ndarray:
        return 0
    root = root_of(a)
    first = a.__array_interface__["data"][0]
    low = min(np.lib.array_utils.byte_bounds(root)) if root.size else first
    return int((first - low) // max(a.dtype.itemsize, 1))


def _strided(x: Any, size: Any, stride: Any, storage_offset: Any) -> Any:
    if any(s < 0 for s in stride):
        raise ShapeError(
            f"as_strided: Negative strides are not supported at the moment, got strides: {list(stride)}"
        )
    if len(size) != len(stride):
        raise ShapeError("mismatch in length of strides and shape")
    root, k = root_of(x), x.dtype.itemsize
    start = offset_of(x) if storage_offset is None else storage_offset
    need = (
        start + 1 + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
        if 0 not in size
        else 0
    )
    if need > root.nbytes // k:
        raise ShapeError(
            f"setStorage: sizes {list(size)}, strides {list(stride)}, storage offset {start}, and itemsize "
            f"{k} requiring a storage size of {need * k} are out of bounds for storage of size {root.nbytes}"
        )
    flat = root.reshape(-1, order="A").view(x.dtype) if root.size else root.reshape(-1)
    return xp.lib.stride_tricks.as_strided(flat[start:], size, [s * k for s in stride])


def _unstrided(g: Any, shape: Any, size: Any, stride: Any, storage_offset: int) -> Any:
    n = int(np.prod(shape))
    index = np.full(size, storage_offset, "i8")
    for d, (length, step) in enumerate(zip(size, stride, strict=True)):
        index += (np.arange(length) * step).reshape([-1 if i == d else 1 for i in range(len(size))])
    z = xp.zeros((n,), g.dtype)
    xp.add.at(z, xp.asarray(index.reshape(-1)), g.reshape(-1))
    return z.reshape(shape)


_as_strided_op = operator(
    "as_strided",
    lambda x, *, size, stride, storage_offset=None: _strided(x, size, stride, storage_offset),
    (lambda g, x_shape, size, stride, storage_offset: _unstrided_op(
        g, shape=x_shape, size=size, stride=stride, storage_offset=storage_offset or 0),),
    view=True, method=False,
    samples=lambda: [((np.arange(6.0),), {"size": (2, 2), "stride": (2, 1), "storage_offset": 1})],
    ref=lambda x, size, stride, storage_offset: np.array([[1.0, 2.0], [3.0, 4.0]]),
)  # fmt: skip
_unstrided_op: Any = operator(
    "_unstrided",
    lambda g, *, shape, size, stride, storage_offset: _unstrided(g, shape, size, stride, storage_offset),
    (lambda h, size, stride, storage_offset: _as_strided_op(
        h, size=size, stride=stride, storage_offset=storage_offset),),
    samples=lambda: [((np.ones((2, 2)),), {"shape": (4,), "size": (2, 2), "stride": (1, 1), "storage_offset": 0})],
    ref=lambda g, shape, size, stride, storage_offset: np.array([1.0, 2.0, 1.0, 0.0]),
)  # fmt: skip


@method()
def as_strided(input: Tensor, size: Any, stride: Any, storage_offset: int | None = None) -> Tensor:
    """A view of the memory with sizes and strides of one's own; checked against its bounds."""
    made: Tensor = _as_strided_op(
        input, size=tuple(size), stride=tuple(stride), storage_offset=storage_offset
    )
    return made


@method()
def storage_offset(self: Tensor) -> int:
    """Elements between the start of the storage and the first element."""
    return offset_of(self._a)


@method()
def data_ptr(self: Tensor) -> int:
    """The address of the first element; 0 for an empty or meta tensor."""
    if type(self._a) is np.ndarray:
        return int(self._a.__array_interface__["data"][0]) if self._a.size else 0
    return 0 if self.is_meta else int(self._a.data.ptr)


class UntypedStorage:
    """The memory behind tensors, as bytes."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def __len__(self) -> int:
        return int(self.array.nbytes)

    def nbytes(self) -> int:
        """Size in bytes."""
        return int(self.array.nbytes)

    size = nbytes

    def data_ptr(self) -> int:
        """The address of the first byte."""
        return int(self.array.__array_interface__["data"][0]) if self.array.size else 0

    @property
    def device(self) -> Any:
        """Where the memory lies."""
        return device_of(self.array)

    def bytes(self) -> Any:
        """The memory as an array of bytes."""
        return self.array.reshape(-1, order="A").view("u1")

    def tolist(self) -> list[int]:
        """The bytes as numbers."""
        found: list[int] = self.bytes().tolist()
        return found

    def __eq__(self, other: object) -> bool:
        return isinstance(other, UntypedStorage) and other.data_ptr() == self.data_ptr()

    def __hash__(self) -> int:
        return hash(self.data_ptr())


@method("untyped_storage", "storage")
def untyped_storage(self: Tensor) -> UntypedStorage:
    """The memory behind this tensor, shared with its views."""
    return UntypedStorage(root_of(self._a))


@method()
def is_set_to(self: Tensor, tensor: Tensor) -> bool:
    """Whether both are the same elements of the same memory."""
    same = data_ptr(self) == data_ptr(tensor) and self._a.shape == tensor._a.shape
    return bool(same and self.stride() == tensor.stride())


@method("_is_view")
def _is_view(self: Tensor) -> bool:
    return self._view is not None


attach("_base", property(lambda t: None if t._view is None else chain_of(t)[0]))


@method()
def set_(self: Tensor, source: Any = None) -> Tensor:
    """Use the memory of another tensor; no argument empties this one."""
    self._a = source._a if source is not None else xp_of(self._a).zeros((0,), self._a.dtype)
    self._bump()
    return self


@method()
def resize_(self: Tensor, *sizes: Any, memory_format: Any = None) -> Tensor:
    """Another shape, in place: values are kept in memory order, new memory is not initialised."""
    if self._n is not None:
        raise RuntimeError("cannot resize variables that require grad")
    shape = tuple(sizes[0]) if len(sizes) == 1 and not isinstance(sizes[0], int) else sizes
    n, a = int(np.prod(shape)), self._a
    if n <= a.size and a.flags.c_contiguous:
        self._a = a.reshape(-1)[:n].reshape(shape)
    else:
        fresh = xp_of(a).empty((n,), a.dtype)
        keep = min(a.size, n)
        fresh[:keep] = a.reshape(-1)[:keep]
        self._a = fresh.reshape(shape)
    return self


@method()
def resize_as_(self: Tensor, the_template: Tensor, memory_format: Any = None) -> Tensor:
    """The shape of another tensor, in place."""
    made: Tensor = resize_(self, tuple(the_template.shape))
    return made


_method_inplace("as_strided_", as_strided)
__all__ = [
    "as_strided", "channels_last", "channels_last_3d", "clone", "contiguous_format", "layout",
    "memory_format", "preserve_format", "resize_as_", "sparse_coo", "strided",
]  # fmt: skip
publish(globals())
