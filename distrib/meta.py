"""The meta device: arrays that have a shape, strides and a dtype but no memory.

A MetaArray wraps an ndarray whose strides point at nothing: NumPy's own view operations then give
shapes and strides, and whatever would read memory is answered from shapes alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np

_as_strided = np.lib.stride_tricks.as_strided
_LIMIT = 1 << 22  # elements up to which an unknown function may be run on zeros to learn its shape


def _phantom(shape: Any, dtype: Any) -> Any:
    strides, step, dtype = [], np.dtype(dtype).itemsize, np.dtype(dtype)
    for n in tuple(shape)[::-1]:
        strides.append(step)
        step *= max(int(n), 1)
    return _as_strided(np.zeros((), dtype), tuple(int(n) for n in shape), strides[::-1])


class MetaArray:
    """An array without memory."""

    __slots__ = ("__weakref__", "p")
    __array_ufunc__ = None
    __array_priority__ = 2000

    def __init__(self, shape: Any, dtype: Any, phantom: Any = None) -> None:
        self.p = _phantom(shape, dtype) if phantom is None else phantom

    base = property(lambda self: self.p.base)
    shape = property(lambda self: self.p.shape)
    dtype = property(lambda self: self.p.dtype)
    strides = property(lambda self: self.p.strides)
    ndim = property(lambda self: self.p.ndim)
    size = property(lambda self: self.p.size)
    flags = property(lambda self: self.p.flags)
    itemsize = property(lambda self: self.p.itemsize)
    nbytes = property(lambda self: self.p.nbytes)
    T = property(lambda self: MetaArray(None, None, self.p.T))
    real = property(lambda self: meta_xp.real(self))
    imag = property(lambda self: meta_xp.imag(self))

    def __len__(self) -> int:
        return len(self.p)

    def __bool__(self) -> bool:
        raise RuntimeError("a meta tensor has no values that could be true")

    def __getitem__(self, key: Any) -> MetaArray:
        keys = key if type(key) is tuple else (key,)
        if any(isinstance(k, (MetaArray, np.ndarray, list)) for k in keys):
            if any(isinstance(k, MetaArray) and k.dtype.kind == "b" for k in keys):
                raise NotImplementedError("a meta tensor cannot be indexed by a mask: no data")
            zeros = tuple(np.zeros(k.shape, "i8") if isinstance(k, MetaArray) else k for k in keys)
            hollow = np.broadcast_to(np.zeros((), "?"), self.shape)
            return MetaArray(hollow[zeros].shape, self.dtype)
        view = self.p[key]
        return MetaArray(view.shape, view.dtype) if view.ndim == 0 else MetaArray(None, None, view)

    def __setitem__(self, key: Any, value: Any) -> None:
        target = self[key].shape
        shape = getattr(value, "shape", ())
        if np.broadcast_shapes(shape, target) != target:
            raise ValueError(f"could not broadcast from shape {shape} into shape {target}")

    def reshape(self, *shape: Any, order: str = "C") -> MetaArray:
        """A view where the strides allow it, else fresh memory, as NumPy's."""
        want = shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape
        try:
            return MetaArray(None, None, self.p.reshape(want, copy=False))
        except ValueError:
            hollow = np.broadcast_to(np.zeros((), "?"), self.shape)
            return MetaArray(hollow.reshape(want).shape, self.dtype)

    def transpose(self, *dims: Any) -> MetaArray:
        """Dimensions in another order."""
        return MetaArray(None, None, self.p.transpose(*dims))

    def swapaxes(self, i: int, j: int) -> MetaArray:
        """Two dimensions exchanged."""
        return MetaArray(None, None, self.p.swapaxes(i, j))

    def view(self, dtype: Any) -> MetaArray:
        """The same bytes under another dtype."""
        return MetaArray(None, None, self.p.view(dtype))

    def astype(self, dtype: Any, copy: bool = True, order: str = "K") -> MetaArray:
        """Another dtype."""
        return _laid_out(self.shape, dtype, self.p if order == "K" else None)

    def copy(self, order: str = "C") -> MetaArray:
        """Fresh memory of the same shape."""
        return _laid_out(self.shape, self.dtype, self.p if order == "K" else None)

    def ravel(self) -> MetaArray:
        """One dimension."""
        return self.reshape(-1)

    def fill(self, value: Any) -> None:
        """Nothing to fill."""

    def item(self) -> Any:
        raise RuntimeError("Tensor.item() cannot be called on meta tensors")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        fn = getattr(meta_xp, name)
        return lambda *args, **kwargs: fn(self, *args, **kwargs)


def _laid_out(shape: Any, dtype: Any, like: Any) -> MetaArray:
    """A fresh array whose dimensions lie in memory in the order of another's, as NumPy's order K."""
    if like is None or like.shape != tuple(shape) or like.flags.c_contiguous or 0 in like.strides:
        return MetaArray(shape, dtype)
    order = sorted(range(like.ndim), key=lambda i: -abs(like.strides[i]))
    return MetaArray([shape[i] for i in order], dtype).transpose(np.argsort(order).tolist())


def _dtype_like(x: Any) -> Any:
    return x.dtype if isinstance(x, (MetaArray, np.ndarray, np.generic)) else type(x)


def _same_device(args: Any) -> None:
    """TypeError, as CuPy's, for arrays of the CPU between those of meta; numbers may lie anywhere."""
    for a in args:
        if isinstance(a, (tuple, list)):
            _same_device(a)
        elif isinstance(a, np.ndarray) and a.ndim:
            raise TypeError(f"expected arrays on meta, got one of shape {list(a.shape)} on cpu")


class _Ufunc:
    """A NumPy ufunc on shapes: broadcasting, and NumPy's own dtype resolution."""

    def __init__(self, ufunc: Any) -> None:
        self.ufunc = ufunc

    def __call__(
        self, *args: Any, out: Any = None, where: Any = None, dtype: Any = None, **_: Any
    ) -> Any:
        _same_device(args)
        if self.ufunc.signature:
            return _hollow(self.ufunc, args, {})
        shape = np.broadcast_shapes(*(getattr(a, "shape", ()) for a in args))
        scalars = [np.zeros((1,), a.dtype) if hasattr(a, "dtype") else a for a in args]
        with np.errstate(all="ignore"):
            probe = self.ufunc(*scalars) if dtype is None else self.ufunc(*scalars, dtype=dtype)
        if isinstance(probe, tuple):
            return tuple(MetaArray(shape, p.dtype) for p in probe)
        if out is not None:
            return out
        like = [a.p for a in args if isinstance(a, MetaArray) and a.ndim]
        same = like and all(p.strides == like[0].strides for p in like)
        return _laid_out(shape, probe.dtype, like[0] if same else None)

    def reduce(self, x: Any, axis: Any = 0, dtype: Any = None, out: Any = None, keepdims: bool = False,
               **_: Any) -> Any:  # fmt: skip
        """The shape after a reduction over some dimensions."""
        probe = self.ufunc.reduce(np.ones((1,), x.dtype), 0, dtype=dtype)
        dims = range(x.ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
        gone = {np.lib.array_utils.normalize_axis_index(d, x.ndim) for d in dims}
        shape = [1 if i in gone else n for i, n in enumerate(x.shape) if keepdims or i not in gone]
        return MetaArray(shape, probe.dtype)

    def accumulate(self, x: Any, axis: int = 0, dtype: Any = None, **_: Any) -> Any:
        """The shape of a running reduction."""
        return MetaArray(x.shape, self.ufunc.reduce(np.ones((1,), x.dtype), 0, dtype=dtype).dtype)

    def at(self, x: Any, index: Any, *values: Any) -> None:
        """Nothing to write."""


def _matmul(a: Any, b: Any, out: Any = None) -> Any:
    _same_device((a, b))
    if a.ndim == 0 or b.ndim == 0:
        raise ValueError("matmul: an input has no dimensions")
    inner = b.shape[0] if b.ndim == 1 else b.shape[-2]
    if a.shape[-1] != inner:
        raise ValueError(f"matmul: inner sizes differ: {a.shape[-1]} and {inner}")
    lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    tail = (*a.shape[-2:-1],) + (b.shape[-1:] if b.ndim > 1 else ())
    return MetaArray((*lead, *tail), np.promote_types(a.dtype, b.dtype))


def _empty(shape: Any, dtype: Any = float, *_: Any, **__: Any) -> Any:
    return MetaArray((shape,) if isinstance(shape, int) else shape, dtype)


def _full(shape: Any, value: Any, dtype: Any = None, **_: Any) -> Any:
    return _empty(shape, np.asarray(value).dtype if dtype is None else dtype)


def _like(x: Any, dtype: Any = None, **_: Any) -> Any:
    return MetaArray(x.shape, dtype or x.dtype)


def _where(c: Any, a: Any, b: Any) -> Any:
    _same_device((c, a, b))
    shape = np.broadcast_shapes(*(getattr(x, "shape", ()) for x in (c, a, b)))
    raws = [x.dtype for x in (a, b) if hasattr(x, "dtype")]
    return MetaArray(shape, np.result_type(*raws) if raws else np.result_type(a, b))


def _broadcast_to(x: Any, shape: Any) -> Any:
    np.broadcast_shapes(x.shape, tuple(shape))
    return MetaArray(None, None, np.broadcast_to(x.p, shape))


def _asarray(x: Any, dtype: Any = None, **_: Any) -> Any:
    if isinstance(x, MetaArray):
        return x if dtype is None else x.astype(dtype)
    x = np.asarray(x, dtype)
    return MetaArray(x.shape, x.dtype)


def _hollow(fn: Any, args: Any, kwargs: Any) -> Any:
    """Run a function on zeros to learn the shapes of its results."""

    def zeros(x: Any) -> Any:
        if isinstance(x, MetaArray):
            if x.size > _LIMIT:
                raise NotImplementedError(
                    f"{fn.__name__} has no rule for meta tensors of this size"
                )
            return np.zeros(x.shape, x.dtype)
        if isinstance(x, (tuple, list)):
            return type(x)(zeros(i) for i in x)
        return x

    def strip(x: Any) -> Any:
        if isinstance(x, (np.ndarray, np.generic)):
            return MetaArray(x.shape, x.dtype)
        if isinstance(x, (tuple, list)):
            return tuple(strip(i) for i in x)
        return x

    _same_device(args)
    with np.errstate(all="ignore"):
        return strip(fn(*zeros(tuple(args)), **{k: zeros(v) for k, v in kwargs.items()}))


class _Tricks:
    """``lib.stride_tricks`` on strides that point at nothing."""

    @property
    def stride_tricks(self) -> _Tricks:
        """Itself."""
        return self

    @staticmethod
    def sliding_window_view(
        x: Any, window_shape: Any, axis: Any = None, writeable: bool = False
    ) -> Any:
        """A view of all windows of a size."""
        return MetaArray(
            None, None, np.lib.stride_tricks.sliding_window_view(x.p, window_shape, axis)
        )

    @staticmethod
    def as_strided(x: Any, shape: Any = None, strides: Any = None, **_: Any) -> Any:
        """A view with given strides."""
        return MetaArray(None, None, _as_strided(x.p, shape, strides))


class _MetaModule:
    """The array module of meta arrays."""

    ndarray = MetaArray
    lib = _Tricks()
    zeros = ones = empty = staticmethod(_empty)
    zeros_like = ones_like = empty_like = staticmethod(_like)
    full, matmul, where = staticmethod(_full), staticmethod(_matmul), staticmethod(_where)
    broadcast_to, asarray, array = (
        staticmethod(_broadcast_to),
        staticmethod(_asarray),
        staticmethod(_asarray),
    )
    full_like = staticmethod(lambda x, value, dtype=None, **_: _like(x, dtype))
    ascontiguousarray = staticmethod(lambda x, dtype=None: MetaArray(x.shape, dtype or x.dtype))
    copyto = staticmethod(lambda *args, **kwargs: None)

    def __getattr__(self, name: str) -> Any:
        found = getattr(np, name)
        if isinstance(found, np.ufunc):
            found = _Ufunc(found)
        elif callable(found) and not isinstance(found, type):
            fn = found

            def found(*args: Any, **kwargs: Any) -> Any:
                return _hollow(fn, args, kwargs)

        setattr(self, name, found)
        return found


meta_xp: Any = _MetaModule()


def _binary(name: str) -> Any:
    ufunc = {
        "add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide", "pow": "power",
        "floordiv": "floor_divide", "mod": "remainder", "and": "bitwise_and", "or": "bitwise_or",
        "xor": "bitwise_xor", "lshift": "left_shift", "rshift": "right_shift", "lt": "less",
        "le": "less_equal", "gt": "greater", "ge": "greater_equal", "eq": "equal", "ne": "not_equal",
        "matmul": "matmul",
    }[name]  # fmt: skip

    def forward(self: Any, other: Any) -> Any:
        return getattr(meta_xp, ufunc)(self, other)

    def reflected(self: Any, other: Any) -> Any:
        return getattr(meta_xp, ufunc)(other, self)

    return forward, reflected


for _name in (
    "add sub mul truediv pow floordiv mod and or xor lshift rshift matmul lt le gt ge eq ne".split()
):
    _f, _r = _binary(_name)
    setattr(MetaArray, f"__{_name}__", _f)
    if _name not in ("lt", "le", "gt", "ge", "eq", "ne"):
        setattr(MetaArray, f"__r{_name}__", _r)
        setattr(MetaArray, f"__i{_name}__", _f)
for _name, _u in (
    ("neg", "negative"),
    ("pos", "positive"),
    ("abs", "absolute"),
    ("invert", "invert"),
):
    setattr(MetaArray, f"__{_name}__", lambda self, _u=_u: getattr(meta_xp, _u)(self))
