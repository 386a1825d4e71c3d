"""Making tensors: from data, filled, ranges, grids; on any device."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import dtypes
from ..devices import MetaArray, default_changed, move, ndarray, resolve, xp_of
from ..errors import ShapeError
from ..tensor import Tensor, W, state, wrap
from .layout import channels_last, channels_last_3d, preserve_format
from .registry import method, publish

_zeros, _empty, _ones, _full = np.zeros, np.empty, np.ones, np.full


def finish(
    a: Any, device: Any, requires_grad: bool, out: Any = None, pin_memory: bool = False
) -> Tensor:
    """A new array as a Tensor: moved to its device, marked for gradients, or written into ``out``."""
    if device is not None or default_changed():
        a = move(a, resolve(device))
    t = wrap(a)
    if W["nograd"] and state.inference:
        W["inferred"](t)
    if out is not None:
        written: Tensor = W["write_out"]("creation", t, out, ())
        return written
    if requires_grad:
        t.requires_grad_()
    return t


def sizes(args: Any) -> tuple[int, ...]:
    """Sizes given one by one or as one sequence; RuntimeError for a negative one."""
    if len(args) == 1 and not isinstance(args[0], (int, np.integer)):
        if isinstance(args[0], (tuple, list)):
            args = args[0]
        elif isinstance(args[0], Tensor) and args[0].numel() == 1:
            args = (int(args[0]),)
        else:
            raise TypeError(
                f"expected sizes as ints or a tuple of ints, got {type(args[0]).__name__}"
            )
    try:
        shape = (
            tuple(args) if all(type(n) is int for n in args) else tuple(n.__index__() for n in args)
        )
    except (AttributeError, TypeError):
        bad = next(n for n in args if not hasattr(n, "__index__"))
        raise TypeError(f"sizes must be ints, got {type(bad).__name__}: {bad!r}") from None
    if any(n < 0 for n in shape):
        raise ShapeError(
            f"Trying to create tensor with negative dimension {min(shape)}: {list(shape)}"
        )
    return shape


def _raw(dtype: Any) -> Any:
    return dtypes.default_raw() if dtype is None else dtypes.raw_of(dtype)


def _maker(device: Any, make: Any) -> Any:
    """What makes an array for a device: on meta nothing is allocated."""
    if device is None and not default_changed():
        return make
    return MetaArray if resolve(device).type == "meta" else make


def zeros(*size: Any, out: Any = None, dtype: Any = None, layout: Any = None, device: Any = None,
          pin_memory: bool = False, requires_grad: bool = False, names: Any = None) -> Tensor:  # fmt: skip
    """A tensor of zeros."""
    shape = size if size and type(size[0]) is int and min(size) >= 0 else sizes(size)
    a = _maker(device, _zeros)(
        shape, dtypes.default_raw() if dtype is None else dtypes.raw_of(dtype)
    )
    return finish(a, device, requires_grad, out)


def ones(*size: Any, out: Any = None, dtype: Any = None, layout: Any = None, device: Any = None,
         pin_memory: bool = False, requires_grad: bool = False, names: Any = None) -> Tensor:  # fmt: skip
    """A tensor of ones."""
    return finish(_maker(device, _ones)(sizes(size), _raw(dtype)), device, requires_grad, out)


def empty(*size: Any, out: Any = None, dtype: Any = None, layout: Any = None, device: Any = None,
          pin_memory: bool = False, requires_grad: bool = False, memory_format: Any = None,
          names: Any = None) -> Tensor:  # fmt: skip
    """A tensor whose values are whatever the memory holds."""
    shape, make = sizes(size), _maker(device, _empty)
    a = (
        _formatted_empty(make, shape, _raw(dtype), memory_format)
        if memory_format
        else make(shape, _raw(dtype))
    )
    return finish(a, device, requires_grad, out)


def _formatted_empty(make: Any, shape: Any, raw: Any, fmt: Any) -> Any:
    if fmt is channels_last and len(shape) == 4:
        return make([shape[i] for i in (0, 2, 3, 1)], raw).transpose(0, 3, 1, 2)
    if fmt is channels_last_3d and len(shape) == 5:
        return make([shape[i] for i in (0, 2, 3, 4, 1)], raw).transpose(0, 4, 1, 2, 3)
    return make(shape, raw)


def full(size: Any, fill_value: Any, *, out: Any = None, dtype: Any = None, layout: Any = None,
         device: Any = None, pin_memory: bool = False, requires_grad: bool = False) -> Tensor:  # fmt: skip
    """A tensor of one value; its dtype follows from the value unless given."""
    value = fill_value.item() if isinstance(fill_value, Tensor) else fill_value
    raw = _raw_of_value(value) if dtype is None else dtypes.raw_of(dtype)
    shape = sizes((size,))
    a = MetaArray(shape, raw) if _maker(device, None) is MetaArray else _full(shape, value, raw)
    return finish(a, device, requires_grad, out)


def _raw_of_value(value: Any) -> Any:
    from .promote import scalar_raw

    return scalar_raw(
        type(value)
        if type(value) in (bool, int, float, complex)
        else type(np.asarray(value).item())
    )


def empty_strided(size: Any, stride: Any, *, dtype: Any = None, layout: Any = None, device: Any = None,
                  requires_grad: bool = False, pin_memory: bool = False) -> Tensor:  # fmt: skip
    """An uninitialised tensor with strides of one's own."""
    raw, shape, steps = _raw(dtype), tuple(size), tuple(stride)
    if len(shape) != len(steps):
        raise ShapeError("dimensionality of sizes and strides must match")
    need = 1 + sum((n - 1) * s for n, s in zip(shape, steps, strict=True)) if 0 not in shape else 0
    a = np.lib.stride_tricks.as_strided(_empty(need, raw), shape, [s * raw.itemsize for s in steps])
    return finish(a, device, requires_grad)


def empty_permuted(size: Any, physical_layout: Any, *, dtype: Any = None, layout: Any = None,
                   device: Any = None, requires_grad: bool = False, pin_memory: bool = False) -> Tensor:  # fmt: skip
    """An uninitialised tensor whose dimensions lie in memory in a given order."""
    order = tuple(physical_layout)
    if len(order) != len(tuple(size)):
        raise ShapeError(
            f"Number of dimensions in size does not match the length of the physical_layout; i.e. len(size) = {len(tuple(size))} is not equal to len(physical_layout) = {len(order)}"
        )
    if sorted(order) != list(range(len(order))):
        raise ShapeError("Duplicate or out of range dim not allowed in physical_layout")
    a = _empty([size[i] for i in order], _raw(dtype)).transpose(np.argsort(order))
    return finish(a, device, requires_grad)


# ---- like another tensor ----------------------------------------------------------------------------
def _like(
    input: Tensor, dtype: Any, device: Any, memory_format: Any, fill: Any, requires_grad: bool
) -> Tensor:
    if not isinstance(input, Tensor):
        raise TypeError(f"argument 'input' (position 1) must be Tensor, not {type(input).__name__}")
    raw = input._a.dtype if dtype is None else dtypes.raw_of(dtype)
    a, xp = input._a, xp_of(input._a)
    if device is not None and resolve(device) != input.device:
        host = _empty(a.shape, raw) if fill is None else _full(a.shape, fill, raw)
        return finish(host, device, requires_grad)
    if memory_format in (None, preserve_format) and type(a) is ndarray and not a.flags.c_contiguous:
        made = np.empty_like(a, dtype=raw)  # keeps the order of dense strides
        if 0 in a.strides and a.size > 1:
            made = _empty(a.shape, raw)
        if fill is not None:
            made.fill(fill)
    elif memory_format in (channels_last, channels_last_3d):
        made = _formatted_empty(_empty, a.shape, raw, memory_format)
        if fill is not None:
            made.fill(fill)
    else:
        made = xp.empty(a.shape, raw) if fill is None else xp.full(a.shape, fill, raw)
    t = wrap(made)
    return t.requires_grad_() if requires_grad else t


def zeros_like(input: Tensor, *, dtype: Any = None, layout: Any = None, device: Any = None,
               requires_grad: bool = False, memory_format: Any = None, pin_memory: bool = False) -> Tensor:  # fmt: skip
    """Zeros in the shape, dtype, device and strides of a tensor."""
    return _like(input, dtype, device, memory_format, 0, requires_grad)


def ones_like(input: Tensor, *, dtype: Any = None, layout: Any = None, device: Any = None,
              requires_grad: bool = False, memory_format: Any = None, pin_memory: bool = False) -> Tensor:  # fmt: skip
    """Ones in the shape, dtype, device and strides of a tensor."""
    return _like(input, dtype, device, memory_format, 1, requires_grad)


def empty_like(input: Tensor, *, dtype: Any = None, layout: Any = None, device: Any = None,
               requires_grad: bool = False, memory_format: Any = None, pin_memory: bool = False) -> Tensor:  # fmt: skip
    """Uninitialised, in the shape, dtype, device and strides of a tensor."""
    return _like(input, dtype, device, memory_format, None, requires_grad)


def full_like(input: Tensor, fill_value: Any, *, dtype: Any = None, layout: Any = None, device: Any = None,
              requires_grad: bool = False, memory_format: Any = None, pin_memory: bool = False) -> Tensor:  # fmt: skip
    """One value in the shape, dtype, device and strides of a tensor."""
    value = fill_value.item() if isinstance(fill_value, Tensor) else fill_value
    return _like(input, dtype, device, memory_format, value, requires_grad)


def _new(
    self: Tensor, shape: Any, fill: Any, dtype: Any, device: Any, requires_grad: bool
) -> Tensor:
    raw = self._a.dtype if dtype is None else dtypes.raw_of(dtype)
    a = _empty(shape, raw) if fill is None else _full(shape, fill, raw)
    return finish(a, self.device if device is None else device, requires_grad)


@method()
def new_zeros(self: Tensor, *size: Any, dtype: Any = None, device: Any = None, layout: Any = None,
              requires_grad: bool = False, pin_memory: bool = False) -> Tensor:  # fmt: skip
    """Zeros of this tensor's dtype and device."""
    return _new(self, sizes(size), 0, dtype, device, requires_grad)


@method()
def new_ones(self: Tensor, *size: Any, dtype: Any = None, device: Any = None, layout: Any = None,
             requires_grad: bool = False, pin_memory: bool = False) -> Tensor:  # fmt: skip
    """Ones of this tensor's dtype and device."""
    return _new(self, sizes(size), 1, dtype, device, requires_grad)


@method()
def new_empty(self: Tensor, *size: Any, dtype: Any = None, device: Any = None, layout: Any = None,
              requires_grad: bool = False, pin_memory: bool = False) -> Tensor:  # fmt: skip
    """Uninitialised, of this tensor's dtype and device."""
    return _new(self, sizes(size), None, dtype, device, requires_grad)


@method()
def new_full(self: Tensor, size: Any, fill_value: Any, *, dtype: Any = None, device: Any = None,
             layout: Any = None, requires_grad: bool = False, pin_memory: bool = False) -> Tensor:  # fmt: skip
    """One value, of this tensor's dtype and device."""
    return _new(self, sizes((size,)), fill_value, dtype, device, requires_grad)


@method()
def new_empty_strided(self: Tensor, size: Any, stride: Any, dtype: Any = None, device: Any = None,
                      layout: Any = None, requires_grad: bool = False, pin_memory: bool = False) -> Tensor:  # fmt: skip
    """Uninitialised, with strides of one's own."""
    return empty_strided(size, stride, dtype=self.dtype if dtype is None else dtype,
                         device=self.device if device is None else device, requires_grad=requires_grad)  # fmt: skip


@method()
def new_tensor(self: Tensor, data: Any, *, dtype: Any = None, device: Any = None,
               requires_grad: bool = False, layout: Any = None, pin_memory: bool = False) -> Tensor:  # fmt: skip
    """A copy of data, of this tensor's dtype and device."""
    return tensor(data, dtype=self.dtype if dtype is None else dtype,
                  device=self.device if device is None else device, requires_grad=requires_grad)  # fmt: skip


# ---- from data -----------------------------------------------------------------------------------------
def _array_of(data: Any, raw: Any) -> Any:
    """A fresh host array of Python or NumPy data, with PyTorch's dtypes."""
    if isinstance(data, (np.ndarray, np.generic)):
        a = (
            np.array(data, dtype=raw)
            if raw is None or data.dtype.kind != "c"
            else np.array(data).astype(raw)
        )
        dtypes.of(a.dtype)
        return a.copy() if any(s < 0 for s in a.strides) else a
    if type(data) in (bool, int, float, complex):
        return np.array(data, dtype=_raw_of_value(data) if raw is None else raw)
    if isinstance(data, (list, tuple)):
        if _holds_tensors(data):
            data = _unwrap(data)
        _check_nested(data)
        try:
            a = np.array(data)
        except (ValueError, TypeError) as e:
            raise _nested_error(data, e) from None
        if a.size == 0:
            return a.astype(dtypes.default_raw() if raw is None else raw)
        if a.dtype.kind not in "biufcV":
            raise _nested_error(data, TypeError(str(a.dtype)))
        if raw is None:
            kinds = {"b": np.dtype("?"), "i": dtypes.I8, "u": dtypes.I8, "f": dtypes.default_raw(),
                     "c": dtypes.COMPLEX.get(dtypes.default_raw(), dtypes.C8)}  # fmt: skip
            raw = a.dtype if _numpy_inside(data) else kinds.get(a.dtype.kind, a.dtype)
        return _checked_cast(a, raw)
    if hasattr(data, "__array__"):
        return _array_of(np.asarray(data), raw)
    if (
        isinstance(data, (set, frozenset, dict, str))
        or data is None
        or not hasattr(data, "__iter__")
    ):
        what = "new(): invalid data type 'str'" if isinstance(data, str) else (
            f"Could not infer dtype of {type(data).__name__}")  # fmt: skip
        raise (TypeError if isinstance(data, str) else RuntimeError)(what)
    return _array_of(list(data), raw)


def _checked_cast(a: Any, raw: Any) -> Any:
    if raw.kind in "iu" and a.dtype.kind == "i" and a.size:
        info = np.iinfo(raw)
        if int(a.min()) < info.min or int(a.max()) > info.max:
            raise RuntimeError(f"value cannot be converted to type {raw} without overflow")
    if a.dtype.kind == "c" and raw.kind != "c":
        raise TypeError("can't convert complex to a real dtype")
    return a.astype(raw)


def _holds_tensors(data: Any) -> bool:
    while isinstance(data, (list, tuple)) and data:
        if any(isinstance(x, Tensor) for x in data):
            return True
        data = data[0]
    return False


def _unwrap(data: Any) -> Any:
    if isinstance(data, Tensor):
        return data._a if data._a.ndim else data._a[()]
    return [_unwrap(x) for x in data] if isinstance(data, (list, tuple)) else data


def _numpy_inside(data: Any) -> bool:
    while isinstance(data, (list, tuple)) and data:
        data = data[0]
    return isinstance(data, (np.ndarray, np.generic))


def _check_nested(data: Any, depth: int = 0) -> None:
    """Sequences of unequal length are an error with PyTorch's text, before NumPy sees them."""
    if not isinstance(data, (list, tuple)) or not data or not isinstance(data[0], (list, tuple)):
        return
    n = len(data[0])
    for x in data:
        if not isinstance(x, (list, tuple)) or len(x) != n:
            got = len(x) if isinstance(x, (list, tuple)) else 0
            raise ValueError(f"expected sequence of length {n} at dim {depth + 1} (got {got})")
    for x in data:
        _check_nested(x, depth + 1)


def _nested_error(data: Any, e: Exception) -> Exception:
    flat = data
    while isinstance(flat, (list, tuple)) and flat:
        odd = next((x for x in flat if isinstance(x, (str, dict)) or x is None), flat[0])
        flat = odd
    if isinstance(flat, str):
        first = data
        while isinstance(first, (list, tuple)) and first:
            first = first[0]
        if isinstance(first, str):
            return ValueError("too many dimensions 'str'; expected numbers")
        return TypeError("new(): invalid data type 'str'; expected numbers")
    if flat is None or isinstance(flat, dict):
        return RuntimeError(f"Could not infer dtype of {type(flat).__name__}")
    return ValueError(str(e))


def tensor(data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False,
           pin_memory: bool = False) -> Tensor:  # fmt: skip
    """A new tensor that copies data: nested lists, numbers, NumPy arrays.

    >>> import distrib as torch
    >>> torch.tensor([[1.0, 2.0], [3.0, 4.0]]).shape
    torch.Size([2, 2])
    """
    raw = None if dtype is None else dtypes.raw_of(dtype)
    if isinstance(data, Tensor):
        import warnings

        warnings.warn(
            "To copy construct from a tensor, it is recommended to use sourceTensor.detach().clone() or "
            "sourceTensor.detach().clone().requires_grad_(True), rather than torch.tensor(sourceTensor).",
            UserWarning, stacklevel=2,
        )  # fmt: skip
        a = data._a.astype(data._a.dtype if raw is None else raw)
        return finish(a, data.device if device is None else device, requires_grad)
    return finish(_array_of(data, raw), device, requires_grad)


def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """Data as a tensor, sharing memory where possible."""
    if isinstance(data, Tensor):
        made: Tensor = (
            data.to(device=device, dtype=dtype) if dtype is not None or device is not None else data
        )
        return made
    if isinstance(data, np.ndarray):
        made = from_numpy(data)
        return (
            made.to(device=device, dtype=dtype) if dtype is not None or device is not None else made
        )
    return tensor(data, dtype=dtype, device=device)


def asarray(obj: Any, *, dtype: Any = None, device: Any = None, copy: bool | None = None,
            requires_grad: bool = False) -> Tensor:  # fmt: skip
    """Any array-like as a tensor; copy=True always copies, copy=False never."""
    if isinstance(obj, Tensor) and copy:
        made: Tensor = obj.detach().clone()
    else:
        made = as_tensor(obj, dtype=dtype, device=device)
        if isinstance(obj, np.ndarray) and copy:
            made = made.clone()
    if copy is False and not isinstance(obj, (Tensor, np.ndarray)):
        raise ValueError("can't alias arbitrary sequence into a tensor.")
    return made.requires_grad_() if requires_grad else made


def from_numpy(ndarray: Any) -> Tensor:
    """A tensor that shares the memory of a NumPy array."""
    if not isinstance(ndarray, np.ndarray):
        raise TypeError(f"expected np.ndarray (got {type(ndarray).__name__})")
    dtypes.of(ndarray.dtype)
    if any(s < 0 for s in ndarray.strides):
        raise ValueError(
            "At least one stride in the given numpy array is negative, and tensors with negative strides are "
            "not currently supported. (You can probably work around this by making a copy of your array  "
            "with array.copy().) "
        )
    plain = ndarray if type(ndarray) is np.ndarray else np.asarray(ndarray)
    if not plain.flags.writeable:
        import warnings

        warnings.warn(
            "The given NumPy array is not writable, and PyTorch does not support non-writable tensors. This "
            "means writing to this tensor will result in undefined behavior.", UserWarning, stacklevel=2,
        )  # fmt: skip
    return wrap(plain)


def frombuffer(
    buffer: Any, *, dtype: Any, count: int = -1, offset: int = 0, requires_grad: bool = False
) -> Tensor:
    """A vector that shares the memory of a buffer."""
    raw = dtypes.raw_of(dtype)
    size = memoryview(buffer).nbytes
    if size == 0:
        raise ValueError(f"both buffer length ({size}) and count ({count}) must not be 0")
    if not 0 <= offset < size:
        raise ValueError(
            f"offset ({offset} bytes) must be non-negative and no greater than buffer length ({size} bytes) minus 1"
        )
    if count > 0 and offset + count * raw.itemsize > size:
        raise ValueError(
            f"requested buffer length ({count} * {raw.itemsize} bytes) after offset ({offset} bytes) must not be greater than actual buffer length ({size} bytes)"
        )
    if count < 0 and (size - offset) % raw.itemsize:
        raise ValueError(
            f"buffer length ({size - offset} bytes) after offset ({offset} bytes) must be a multiple of element size ({raw.itemsize})"
        )
    t = wrap(np.frombuffer(buffer, raw, count, offset))
    return t.requires_grad_() if requires_grad else t


def from_dlpack(ext_tensor: Any) -> Tensor:
    """A tensor that shares the memory of another library's, through DLPack."""
    return wrap(np.from_dlpack(ext_tensor))


def scalar_tensor(s: Any, *, dtype: Any = None, layout: Any = None, device: Any = None,
                  pin_memory: bool = False, requires_grad: bool = False) -> Tensor:  # fmt: skip
    """A 0-d tensor of the default dtype."""
    return finish(np.array(s, _raw(dtype)), device, requires_grad)


def as_index(a: Any) -> Tensor:
    """An integer array as an int64 tensor."""
    return wrap(np.ascontiguousarray(a, dtype="i8") if a.ndim else np.asarray(a, "i8"))


__all__ = [
    "as_tensor",
    "asarray",
    "empty",
    "empty_like",
    "empty_permuted",
    "empty_strided",
    "from_dlpack",
    "from_numpy",
    "frombuffer",
    "full",
    "full_like",
    "ones",
    "ones_like",
    "scalar_tensor",
    "tensor",
    "zeros",
    "zeros_like",
]
publish(globals())
