"""Indexing: `x[key]`, `x[key] = v`, and the indices that index tensors by tensors."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..devices import ndarray, xp_of
from ..errors import ShapeError
from ..tensor import Tensor, W, state, wrap
from .core import copy_
from .creation import as_index
from .registry import attach, copy_into, inplace_of, method, operator, publish, with_out
from .shape import _a

xp: Any = None  # bound per array type
BASIC = {int, slice, type(None), type(Ellipsis)}
HOLE = "*"  # where an index tensor stands in a key


# ---- basic: views ---------------------------------------------------------------------------------
def _unbasic(g: Any, shape: Any, key: Any) -> Any:
    z = xp.zeros(shape, g.dtype)
    z[key] = g
    return z


getitem_ = operator(
    "slice", lambda x, *, key: x[key], (lambda g, x_shape, key: unslice(g, shape=x_shape, key=key),),
    view=True, method=False, samples=lambda: [((_a(4, 5),), {"key": (slice(1, None), slice(0, 4, 2))})],
    ref=lambda x, key: np.array([[row[0], row[2]] for row in x[1:]]),
)  # fmt: skip
unslice: Any = operator(
    "_unslice", lambda g, *, shape, key: _unbasic(g, shape, key), (lambda h, key: getitem_(h, key=key),),
    samples=lambda: [((_a(2),), {"shape": (4,), "key": (slice(1, 3),)})],
    ref=lambda g, shape, key: np.pad(g, (1, 1)),
)  # fmt: skip


# ---- advanced: index tensors among basic keys -----------------------------------------------------
def _key(spec: Any, indices: Any) -> Any:
    it = iter(indices)
    return tuple(next(it) if k is HOLE else k for k in spec)


index_ = operator(
    "index", lambda *tensors, spec: tensors[0][_key(spec, tensors[1:])],
    lambda g, others, tensors_shape, spec: [
        unindex(g, *others, shape=tensors_shape[0], spec=spec), *(None for _ in others)],
    method=False,
    samples=lambda: [(((_a(4, 5), np.array([0, 2, 2])),), {"spec": (slice(None), HOLE)})],
    ref=lambda tensors, spec: np.take(tensors[0], tensors[1], 1),
)  # fmt: skip


def _unindex(g: Any, indices: Any, shape: Any, spec: Any) -> Any:
    z = xp.zeros(shape, g.dtype)
    key = _key(spec, indices)
    if any(getattr(k, "dtype", None) == np.dtype("?") for k in key):
        z[key] = g
    else:
        xp.add.at(z, key, g)
    return z


_unindex_op = operator(
    "_unindex", lambda *tensors, shape, spec: _unindex(tensors[0], tensors[1:], shape, spec),
    lambda h, others, spec: [again(h, others, spec), *(None for _ in others)],
    samples=lambda: [(((_a(3), np.array([0, 2, 2])),), {"shape": (4,), "spec": (HOLE,)})],
    ref=lambda tensors, shape, spec: np.bincount(tensors[1], tensors[0], 4),
)  # fmt: skip


def unindex(g: Any, *indices: Any, shape: Any, spec: Any) -> Any:
    """The gradient of an index, on arrays or Tensors."""
    if isinstance(g, Tensor):
        return _unindex_op([g, *indices], shape=shape, spec=spec)
    return _unindex(g, indices, shape, spec)


def again(h: Any, indices: Any, spec: Any) -> Any:
    """The same index, on arrays or Tensors."""
    if isinstance(h, Tensor):
        return index_([h, *indices], spec=spec)
    return h[_key(spec, indices)]


def _prepare(x: Tensor, key: Any) -> tuple[tuple[Any, ...], list[Tensor]]:
    """A key as (basic parts with holes, index tensors)."""
    parts = key if isinstance(key, tuple) else (key,)
    spec: list[Any] = []
    tensors: list[Tensor] = []
    for k in parts:
        if isinstance(k, (list, np.ndarray, range)):
            k = wrap(np.asarray(k if not isinstance(k, list) else _nested(k)))
            if k._a.size == 0 and k._a.dtype.kind == "f":
                k = wrap(k._a.astype("i8"))
        if isinstance(k, (bool, np.bool_)):
            spec.append(bool(k))
        elif isinstance(k, np.integer):
            spec.append(int(k))
        elif isinstance(k, Tensor):
            d = k._a.dtype
            if d.kind not in "biu":
                raise IndexError(
                    f"tensors used as indices must be long, int, byte or bool tensors, got {d}"
                )
            if d == np.uint8:
                k = wrap(k._a.astype("?"))
            if k._a.ndim == 0 and d.kind != "b" and not k.is_meta and type(k._a) is ndarray:
                spec.append(int(k._a))
                continue
            spec.append(HOLE)
            tensors.append(k)
        elif type(k) in BASIC or hasattr(k, "__index__"):
            spec.append(k if type(k) in BASIC else k.__index__())
        else:
            raise TypeError(
                "only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables are valid "
                f"indices (got {type(k).__name__})"
            )
    used = sum(t._a.ndim if t._a.dtype.kind == "b" else 1 for t in tensors) + sum(
        1 for k in spec if type(k) in (int, slice)
    )
    if used > x._a.ndim:
        raise IndexError(f"too many indices for tensor of dimension {x._a.ndim}")
    for t in tensors:
        if t._a.dtype.kind == "b":
            _check_mask(x, t, spec)
    return tuple(spec), tensors


def _check_mask(x: Tensor, mask: Tensor, spec: Any) -> None:
    if len(spec) == 1 and mask._a.shape != x._a.shape[: mask._a.ndim]:
        bad = next(
            i for i, (a, b) in enumerate(zip(mask._a.shape, x._a.shape, strict=False)) if a != b
        )
        raise IndexError(
            f"The shape of the mask {list(mask._a.shape)} at index {bad} does not match the shape of the "
            f"indexed tensor {list(x._a.shape)} at index {bad}"
        )


def _nested(k: Any) -> Any:
    return [
        _nested(i) if isinstance(i, (list, tuple)) else i._a if isinstance(i, Tensor) else i
        for i in k
    ]


def _check_steps(key: Any) -> None:
    for k in key:
        if type(k) is slice and k.step is not None and int(k.step) <= 0:
            raise ValueError(f"step must be greater than zero, got {k.step}")


def getitem(x: Tensor, key: Any) -> Any:
    """`x[key]`: a view for ints, slices, None and ...; a copy where tensors index."""
    kind = type(key)
    if kind is tuple:
        if BASIC.issuperset(map(type, key)):
            for k in key:
                if type(k) is slice and k.step is not None:
                    _check_steps(key)
            if len(key) >= x._a.ndim and slice not in map(type, key):
                if None not in key and Ellipsis not in key:
                    if len(key) > x._a.ndim:
                        raise IndexError(f"too many indices for tensor of dimension {x._a.ndim}")
                    key = (*key, ...)  # a full index stays a 0-d view
            return getitem_(x, key)
    elif kind is int:
        if x._a.ndim == 0:
            raise IndexError(
                "invalid index of a 0-dim tensor. Use `tensor.item()` in Python or `tensor.item<T>()` in C++ "
                "to convert a 0-dim tensor to a number"
            )
        return getitem_(x, (key, ...) if x._a.ndim == 1 else key)
    elif kind is slice:
        if key.step is not None:
            _check_steps((key,))
        if x._a.ndim == 0:
            raise IndexError("slice() cannot be applied to a 0-dim tensor.")
        return getitem_(x, key)
    elif key is None or key is Ellipsis:
        return getitem_(x, key)
    spec, tensors = _prepare(x, key)
    _check_steps(spec)
    if not tensors:
        if bool in map(type, spec):
            return _with_bools(x, spec)
        return getitem(x, spec)
    _check_range(x, spec, tensors)
    if int in map(type, spec):
        x, spec = _selected(x, spec, tensors)
    return index_([x, *tensors], spec=spec)


def _selected(x: Tensor, spec: Any, tensors: Any) -> tuple[Any, Any]:
    """Numbers and slices taken first: NumPy would count a number among the index arrays."""
    basic: list[Any] = []
    rest: list[Any] = []
    it = iter(tensors)
    for k in spec:
        if type(k) is bool:
            rest.append(k)
            continue
        if k is HOLE:
            t = next(it)
            basic += [slice(None)] * (t._a.ndim if t._a.dtype.kind == "b" else 1)
            rest.append(HOLE)
        else:
            basic.append(k)
            if type(k) is not int:
                rest.append(k if k is Ellipsis else slice(None))
    return getitem(x, tuple(basic)), tuple(rest)


def _with_bools(x: Tensor, spec: Any) -> Any:
    return index_([x, wrap(np.asarray(spec[0]))], spec=(HOLE, *spec[1:]))


def _check_range(x: Tensor, spec: Any, tensors: list[Tensor]) -> None:
    if any(t.is_meta for t in tensors):
        return
    if len({t.device for t in (x, *tensors)}) > 1:
        raise RuntimeError(
            f"indices should be either on cpu or on the same device as the indexed tensor ({x.device})"
        )


def setitem(x: Tensor, key: Any, value: Any) -> None:
    """`x[key] = value`: writes in place, with the history of the value."""
    kind = type(key)
    if (
        kind is int
        or kind is slice
        or (kind is tuple and BASIC.issuperset(map(type, key)))
        or key is None
        or key is Ellipsis
    ):
        view = getitem(x, key)
        _assign(view, value)
        return
    spec, tensors = _prepare(x, key)
    if not tensors and bool not in map(type, spec):
        _assign(getitem(x, spec), value)
        return
    if not tensors:
        tensors, spec = [wrap(np.asarray(spec[0]))], (HOLE, *spec[1:])
    v = value if isinstance(value, Tensor) else _value(x, value)
    if int in map(type, spec):
        x, spec = _selected(x, spec, tensors)
    _put(x, spec, tensors, v, False)


def _value(x: Tensor, value: Any) -> Tensor:
    a = np.asarray(value)
    if a.dtype.kind not in "biufcV":
        raise TypeError(f"can't assign a {type(value).__name__} to a {x.type()}")
    return wrap(
        a.astype(x._a.dtype) if type(x._a) is ndarray else xp_of(x._a).asarray(a.astype(x._a.dtype))
    )


def _assign(view: Tensor, value: Any) -> None:
    if not isinstance(value, Tensor):
        value = _value(view, value)
    src, want = value._a.shape, view._a.shape
    if len(src) > len(want) and all(n == 1 for n in src[: len(src) - len(want)]):
        value = value.reshape(src[len(src) - len(want) :])
    copy_(view, value)


def _put(x: Tensor, spec: Any, tensors: list[Tensor], value: Tensor, accumulate: bool) -> Tensor:
    recording = (state.grad or not W["nograd"]) and (x._n is not None or value._n is not None)
    if value._a.dtype != x._a.dtype:
        value = value.to(x.dtype)
    if not recording:
        W["check_writable"](x)
        key = _key(spec, [t._a for t in tensors])
        try:
            if accumulate:
                xp_of(x._a).add.at(x._a, key, value._a)
            else:
                x._a[key] = value._a
        except ValueError as e:
            raise ShapeError(
                f"shape mismatch: value tensor of shape {list(value._a.shape)} cannot be broadcast to indexing result ({e})"
            ) from None
        except IndexError as e:
            raise IndexError(str(e).replace(" axis ", " dimension ")) from None
        x._bump()
        return x
    W["check_writable"](x)
    result = put_([_alias(x), value, *tensors], spec=spec, accumulate=accumulate)
    return copy_into(x, result)


def _alias(x: Tensor) -> Tensor:
    return wrap(x._a.copy(), x._n)


def _index_put(x: Any, value: Any, indices: Any, spec: Any, accumulate: bool) -> Any:
    y, key = x.copy(), _key(spec, indices)
    if accumulate:
        xp.add.at(y, key, value)
    else:
        y[key] = value
    return y


def _put_grads(g: Any, others: Any, shapes: Any, spec: Any, accumulate: bool) -> Any:
    _, *indices = others
    gx = g if accumulate else cleared(g, tuple(indices), spec)
    return [gx, again(g, tuple(indices), spec), *(None for _ in indices)]


def cleared(g: Any, indices: Any, spec: Any) -> Any:
    """g with zeros where a key points, on arrays or Tensors."""
    if isinstance(g, Tensor):
        zero = wrap(np.zeros((), g._a.dtype))
        return put_([g, zero, *indices], spec=spec, accumulate=False)
    y = g.copy()
    y[_key(spec, indices)] = 0
    return y


put_ = operator(
    "index_put", lambda *tensors, spec, accumulate=False: _index_put(
        tensors[0], tensors[1], tensors[2:], spec, accumulate),
    lambda g, others, tensors_shape, spec, accumulate: _put_grads(g, others, tensors_shape, spec, accumulate),
    method=False,
    samples=lambda: [(((_a(4), _a(2), np.array([0, 2])),), {"spec": (HOLE,), "accumulate": True})],
    ref=lambda tensors, spec, accumulate: tensors[0] + np.array([tensors[1][0], 0, tensors[1][1], 0]),
)  # fmt: skip


def _list_spec(x: Tensor, indices: Any) -> tuple[Any, list[Tensor]]:
    if not isinstance(indices, (tuple, list)):
        raise TypeError(
            f"index_put_(): argument 'indices' must be tuple of Tensors, not {type(indices).__name__}"
        )
    return _prepare(x, tuple(slice(None) if i is None else i for i in indices))


@method()
def index_put_(self: Tensor, indices: Any, values: Tensor, accumulate: bool = False) -> Tensor:
    """Write values where index tensors point, in place; accumulate adds."""
    spec, tensors = _list_spec(self, indices)
    if values._a.dtype != self._a.dtype:
        raise RuntimeError(
            f"Index put requires the source and destination dtypes match, got {self.dtype} for the destination and {values.dtype} for the source."
        )
    if not tensors:
        tensors, spec = [], spec
    return _put(self, spec, tensors, values, accumulate)


@method()
def index_put(input: Tensor, indices: Any, values: Tensor, accumulate: bool = False) -> Tensor:
    """A copy with values written where index tensors point."""
    spec, tensors = _list_spec(input, indices)
    if values._a.dtype != input._a.dtype:
        raise RuntimeError(
            f"Index put requires the source and destination dtypes match, got {input.dtype} for the destination and {values.dtype} for the source."
        )
    made: Tensor = put_([input, values, *tensors], spec=spec, accumulate=accumulate)
    return made


for _name, _f in (("__getitem__", getitem), ("__setitem__", setitem)):
    attach(_name, _f)


# ---- masks ------------------------------------------------------------------------------------------
@method()
def masked_fill(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    """A copy with one value where a mask is true."""
    from .compare import where

    if mask._a.dtype.kind != "b":
        raise RuntimeError(
            "masked_fill only supports boolean masks, but got mask with dtype " + str(mask.dtype)
        )
    if isinstance(value, Tensor):
        if value._a.ndim:
            raise RuntimeError(
                f"masked_fill only supports a 0-dimensional value tensor, but got tensor with {value._a.ndim} dimension(s)."
            )
    else:
        if isinstance(value, complex) and not input.is_complex():
            raise RuntimeError("value cannot be converted to type without overflow")
        value = wrap(xp_of(input._a).asarray(np.asarray(value, input._a.dtype)))
    made: Tensor = where(
        mask, value.to(input.dtype) if value._a.dtype != input._a.dtype else value, input
    )
    return made


inplace_of(masked_fill)


@method()
@with_out
def masked_select(input: Tensor, mask: Tensor) -> Tensor:
    """The elements where a mask is true, in one dimension."""
    from .shape import broadcast_tensors

    if mask._a.dtype.kind != "b":
        raise RuntimeError("masked_select: expected BoolTensor for mask")
    x, m = broadcast_tensors(input, mask)
    made: Tensor = getitem(x, m)
    return made.reshape(-1) if made._a.ndim != 1 else made


@method()
def masked_scatter(input: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    """A copy with the first values of a source where a mask is true."""
    from .shape import broadcast_tensors

    if mask._a.dtype.kind != "b":
        raise RuntimeError(
            "masked_scatter_ only supports boolean masks, but got mask with dtype "
            + str(mask.dtype)
        )
    if input._a.dtype != source._a.dtype:
        raise RuntimeError(
            f"masked_scatter: expected self and source to have same dtypes but got {input.dtype} and {source.dtype}"
        )
    x, m = broadcast_tensors(input, mask)
    n = int(m._a.sum())
    if source.numel() < n:
        raise RuntimeError("masked_scatter: expected self and source to have enough elements")
    made: Tensor = put_([x, source.reshape(-1)[:n], m], spec=(HOLE,), accumulate=False)
    return made


inplace_of(masked_scatter)


@method()
def nonzero(input: Tensor, *, out: Any = None, as_tuple: bool = False) -> Any:
    """Where elements are not zero: a row of coordinates each, or a tuple of vectors."""
    if input.is_meta:
        raise NotImplementedError("nonzero(): a meta tensor has no values that could be zero")
    found = input._a.nonzero() if input._a.ndim else xp_of(input._a).atleast_1d(input._a).nonzero()
    if as_tuple:
        return tuple(as_index(f) for f in found)
    rows = np.stack(found, 1) if input._a.ndim else np.zeros((int(found[0].size), 0), "i8")
    made = as_index(rows)
    return made if out is None else W["write_out"]("nonzero", made, out, ())


@method()
def argwhere(input: Tensor) -> Tensor:
    """Where elements are not zero: a row of coordinates each."""
    made: Tensor = nonzero(input)
    return made


__all__ = [
    "argwhere", "index_put", "index_put_", "masked_fill", "masked_scatter", "masked_select", "nonzero",
]  # fmt: skip
publish(globals())
