"""Storages on their way to and from a file, and the functions that make tensors of them."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from .. import devices
from ..dtypes import ALL, Array, RawDType, dtype, of, uint8, uint16, uint32, uint64
from ..meta import MetaArray
from ..ops.layout import UntypedStorage, root_of
from ..tensor import Tensor, element_strides, wrap

STORAGES: dict[str, dtype] = {
    "ByteStorage": of("u1"), "CharStorage": of("i1"), "ShortStorage": of("i2"),
    "IntStorage": of("i4"), "LongStorage": of("i8"), "HalfStorage": of("f2"),
    "FloatStorage": of("f4"), "DoubleStorage": of("f8"), "ComplexFloatStorage": of("c8"),
    "ComplexDoubleStorage": of("c16"), "BoolStorage": of("?"),
    "BFloat16Storage": next(d for d in ALL if d.name == "bfloat16"),
}  # fmt: skip
NAMES = {d: name for name, d in STORAGES.items()}
NEW_DTYPES = (uint16, uint32, uint64)  # have no storage class of their own in PyTorch
MAX_DIMS = 64


class StorageType:
    """Stands for a storage class of PyTorch (as ``torch.FloatStorage``) in a pickle."""

    def __init__(self, dtype: dtype | None) -> None:
        self.dtype = dtype  # None: untyped, counted in bytes

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return 1 if self.dtype is None else self.dtype.itemsize


class Storage(UntypedStorage):
    """The memory of a file's storage: a flat array of bytes on some device, and its dtype."""

    def __init__(self, memory: Array, dtype: dtype | None) -> None:
        super().__init__(memory)
        self.memory, self.dtype = memory, dtype


def foundation(a: Array) -> tuple[Array, Array, int, tuple[int, ...]]:
    """(memory that an array lies in, its bytes on the host, offset and strides in elements).

    An array that PyTorch's strides cannot describe is copied; one on a GPU is saved without what
    lies around it.
    """
    if type(a) is not np.ndarray:
        whole = a if a.flags.c_contiguous else a.copy(order="C")
        return a, devices.to_host(whole).reshape(-1).view(np.uint8), 0, element_strides(whole)
    k = a.dtype.itemsize
    root = root_of(a)
    low, high = np.lib.array_utils.byte_bounds(root) if root.size else (0, 0)
    first = a.__array_interface__["data"][0]
    sound = a.size and low <= first < high and (high - low) % k == 0 and (first - low) % k == 0
    if not sound or not a.dtype.isnative or any(s < 0 or s % k for s in a.strides):
        copy = np.array(a, a.dtype.newbyteorder("="), order="C")
        return copy, copy.reshape(-1).view(np.uint8), 0, element_strides(copy)
    size = high - low
    if root.flags.c_contiguous or root.flags.f_contiguous:
        flat = root.reshape(-1, order="A").view(np.uint8)
    else:  # owned memory in another order of dims, or a strided window on foreign memory
        lowest = np.lib.stride_tricks.as_strided(
            root[tuple(slice(None, None, -1) if s < 0 else slice(None) for s in root.strides)],
            (size // root.itemsize,), (root.itemsize,),
        )  # fmt: skip
        flat = lowest.view(np.uint8)
    return root, flat, (first - low) // k, element_strides(a)


def array_of(storage: Storage, raw: RawDType, offset: int, size: Any, stride: Any) -> Array:
    """The array with the given layout in a storage; RuntimeError if it does not fit in there."""
    size, stride = _numbers("size", size), _numbers("stride", stride)
    _numbers("storage offset", (offset,))
    if len(size) != len(stride):
        raise RuntimeError(f"mismatch in length of strides and shape: size {size}, stride {stride}")
    if len(size) > MAX_DIMS:
        raise RuntimeError(
            f"a tensor of a checkpoint has {len(size)} dimensions; expected at most {MAX_DIMS}"
        )
    k, memory = raw.itemsize, storage.memory
    need = 0 if 0 in size else k * (offset + 1 + sum((n - 1) * s for n, s in zip(size, stride)))
    if need > memory.size:
        raise RuntimeError(
            f"setStorage: sizes {list(size)}, strides {list(stride)}, storage offset {offset}, "
            "and itemsize "
            f"{k} requiring a storage size of {need} are out of bounds for storage of size "
            f"{memory.size}"
        )
    try:
        if 0 in size:
            return devices.xp_of(memory).empty(size, raw)
        steps = [s * k for s in stride]
        if type(memory) is np.ndarray:
            return np.ndarray(size, raw, memory, offset * k, steps)
        if type(memory) is MetaArray:
            hollow = np.lib.stride_tricks.as_strided(np.zeros((), raw), size, steps)
            return MetaArray(None, None, hollow)
        flat = memory.view(raw)[offset:]
        return devices.xp_of(memory).lib.stride_tricks.as_strided(flat, size, steps)
    except (ValueError, OverflowError, MemoryError) as error:
        raise RuntimeError(f"a tensor of size {list(size)} cannot be made: {error}") from error


def _numbers(what: str, values: Any) -> tuple[int, ...]:
    found: tuple[Any, ...] = tuple(values) if isinstance(values, (tuple, list)) else (values,)
    for v in found:
        if type(v) is not int or not 0 <= v < 1 << 62:
            raise RuntimeError(
                f"{what} of a tensor in a checkpoint: expected numbers >= 0, got {v!r:.40}"
            )
    return found


def _storage(x: Any) -> Storage:
    if type(x) is not Storage:
        raise RuntimeError(f"a tensor in a checkpoint has no storage; got {type(x).__name__}")
    return x


def _finish(a: Array, requires_grad: Any, metadata: Any) -> Tensor:
    if isinstance(metadata, dict) and type(a) is np.ndarray:
        if metadata.get("conj"):
            a = a.conj()
        if metadata.get("neg"):
            a = np.negative(a)
    t = wrap(a)
    return t.requires_grad_() if requires_grad is True else t


# ---- under PyTorch's names, torch._utils --------------------------------------------------------
def _rebuild_tensor(storage: Any, storage_offset: int, size: Any, stride: Any) -> Tensor:
    return _rebuild_tensor_v2(storage, storage_offset, size, stride, False, None)


def _rebuild_tensor_v2(
    storage: Any,
    storage_offset: int,
    size: Any,
    stride: Any,
    requires_grad: bool,
    backward_hooks: Any,
    metadata: Any = None,
) -> Tensor:
    held = _storage(storage)
    d = uint8 if held.dtype is None else held.dtype
    return _finish(array_of(held, d.np, storage_offset, size, stride), requires_grad, metadata)


def _rebuild_tensor_v3(
    storage: Any,
    storage_offset: int,
    size: Any,
    stride: Any,
    requires_grad: bool,
    backward_hooks: Any,
    dtype: Any,
    metadata: Any = None,
) -> Tensor:
    if not hasattr(dtype, "np"):
        raise RuntimeError(f"a tensor in a checkpoint has no dtype; got {type(dtype).__name__}")
    a = array_of(_storage(storage), dtype.np, storage_offset, size, stride)
    return _finish(a, requires_grad, metadata)


def _rebuild_meta_tensor_no_storage(
    dtype: Any, size: Any, stride: Any, requires_grad: bool
) -> Tensor:
    if not hasattr(dtype, "np"):
        raise RuntimeError(f"a tensor in a checkpoint has no dtype; got {type(dtype).__name__}")
    endless = Storage(MetaArray((1 << 62,), np.dtype("u1")), None)
    return _finish(array_of(endless, dtype.np, 0, size, stride), requires_grad, None)


def parameter_class() -> Any:
    """The class of parameters, looked up by name as files name it: nn is no lower room."""
    return importlib.import_module(__name__.partition(".")[0] + ".nn.parameter").Parameter


def _rebuild_parameter(data: Any, requires_grad: bool, backward_hooks: Any) -> Any:
    if not isinstance(data, Tensor):
        raise RuntimeError(f"a parameter in a checkpoint has no tensor; got {type(data).__name__}")
    return parameter_class()(data, bool(requires_grad))


def _rebuild_parameter_with_state(
    data: Any, requires_grad: bool, backward_hooks: Any, state: Any
) -> Any:
    return _with_state(_rebuild_parameter(data, requires_grad, backward_hooks), state)


def _rebuild_from_type_v2(func: Any, new_type: Any, args: Any, state: Any) -> Any:
    made = func(*args)
    if not isinstance(made, Tensor) or not (
        isinstance(new_type, type) and issubclass(new_type, Tensor)
    ):
        raise RuntimeError(f"a tensor in a checkpoint has an unusable type: {new_type!r:.80}")
    if type(made) is not new_type:
        data: Any = object.__new__(new_type)
        data._a, data._c, data._view, data._grad = made._a, None, None, None
        data._n = None
        made = data.requires_grad_(made.requires_grad)
    return _with_state(made, state)


def _with_state(t: Any, state: Any) -> Any:
    """Give a tensor its Python attributes back; names of the class's own are refused."""
    for part in state if isinstance(state, tuple) else (state,):
        if isinstance(part, dict):
            for name, value in part.items():
                if isinstance(name, str) and not hasattr(type(t), name):
                    t.__dict__[name] = value
    return t


UTILS = {
    fn.__name__: fn
    for fn in (
        _rebuild_tensor, _rebuild_tensor_v2, _rebuild_tensor_v3, _rebuild_parameter,
        _rebuild_parameter_with_state, _rebuild_meta_tensor_no_storage,
    )
}  # fmt: skip
