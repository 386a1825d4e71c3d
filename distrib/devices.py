"""Devices and the array module of each: NumPy on the CPU, shapes alone on meta, CuPy on a GPU.

The only file that imports CuPy. Kernels never name an array module: they say ``xp``, and the
registry binds that name to the module registered here for the type of array at hand.
"""

from __future__ import annotations

import threading
import types
from typing import Any

import numpy as np

from .dtypes import Array
from .meta import MetaArray as MetaArray
from .meta import meta_xp

np.seterr(all="ignore")  # as PyTorch: infinities and NaN are values, not warnings
ndarray = np.ndarray
TYPES = (
    "cpu", "cuda", "ipu", "xpu", "mkldnn", "opengl", "opencl", "ideep", "hip", "ve", "fpga", "maia",
    "xla", "lazy", "vulkan", "mps", "meta", "hpu", "mtia", "privateuseone",
)  # fmt: skip


class device:
    """Where a tensor lives: ``device("cpu")``, ``device("cuda", 0)``; a context manager sets the default.

    >>> device("cuda:1")
    device(type='cuda', index=1)
    """

    __slots__ = ("index", "type")
    type: str
    index: int | None

    def __init__(self, type: Any, index: int | None = None) -> None:
        if isinstance(type, device):
            self.type, self.index = type.type, type.index
            return
        if isinstance(type, int) and not isinstance(type, bool):
            type, index = "cuda", type
        if not isinstance(type, str):
            raise TypeError(
                f"device(): argument 'type' must be str or int, not {type.__class__.__name__}"
            )
        name, colon, number = type.partition(":")
        if colon and (not number.isdigit() or (len(number) > 1 and number[0] == "0")):
            raise RuntimeError(f"Invalid device string: '{type}'")
        if colon and index is not None:
            raise RuntimeError("type (string) must not include an index because index was passed "
                               f"explicitly: {type}")  # fmt: skip
        if name not in TYPES:
            raise RuntimeError(
                f"Expected one of {', '.join(TYPES)} device type at start of device string: {name}"
            )
        if index is not None and index < 0:
            raise RuntimeError(f"Device index must not be negative, got {index}")
        self.type, self.index = name, int(number) if colon else index

    def __repr__(self) -> str:
        index = "" if self.index is None else f", index={self.index}"
        return f"device(type='{self.type}'{index})"

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, device) and (self.type, self.index) == (other.type, other.index)

    def __hash__(self) -> int:
        return hash((self.type, self.index))

    def __reduce__(self) -> tuple[Any, ...]:
        return device, ((self.type,) if self.index is None else (self.type, self.index))

    def __enter__(self) -> device:
        _local.stack = (*_local.stack, self)
        return self

    def __exit__(self, *exc: object) -> None:
        _local.stack = _local.stack[:-1]


class _Local(threading.local):
    stack: tuple[device, ...] = ()
    default: device | None = None


_local = _Local()
CPU, META = device("cpu"), device("meta")


def current_default() -> device:
    """The device of tensors that are created without one."""
    if _local.stack:
        return _local.stack[-1]
    return _local.default or CPU


def default_changed() -> bool:
    """Whether tensors are created elsewhere than on the CPU."""
    return bool(_local.stack) or _local.default is not None


def set_default_device(device_: Any) -> None:
    """Set the device of tensors that are created without one; None restores the CPU."""
    chosen = None if device_ is None else device(device_)
    if chosen is not None:
        check(chosen)
    _local.default = chosen


def get_default_device() -> device:
    """The device of tensors that are created without one."""
    return current_default()


def resolve(wanted: Any) -> device:
    """A device object of what a user passed, checked to be usable; None is the default."""
    if wanted is None:
        return current_default()
    d = wanted if type(wanted) is device else device(wanted)
    check(d)
    return d


def check(d: device) -> None:
    """Raise what PyTorch raises if the device is not there."""
    if d.type in ("cpu", "meta"):
        return
    if d.type == "cuda":
        from . import cuda

        cuda.require()
        return
    raise RuntimeError(
        f"distrib has no backend for the device type '{d.type}'; it has cpu, meta, cuda"
    )


# ---- array modules --------------------------------------------------------------------------------
XP: dict[type, Any] = {}  # array type -> its array module


def xp_of(array: Array) -> Any:
    """The array module of an array."""
    return XP[type(array)]


def device_of(array: Array) -> device:
    """The device on which an array lies."""
    kind = type(array)
    if kind is ndarray:
        return CPU
    if kind is MetaArray:
        return META
    return device("cuda", int(array.device.id))


def module_for(d: device) -> Any:
    """The array module of a device."""
    if d.type == "cpu":
        return XP[ndarray]
    if d.type == "meta":
        return XP[MetaArray]
    return cupy_module()


def cupy_module() -> Any:
    """CuPy, imported at the first use of a GPU."""
    import cupy

    if cupy.ndarray not in XP:
        XP[cupy.ndarray] = cupy
    return cupy


# NumPy's, with the slow Python functions replaced
cpu_xp: Any = types.ModuleType("distrib's array module of the CPU")
cpu_xp.__dict__.update({k: v for k, v in np.__dict__.items() if not k.startswith("__")})


def broadcast_to(x: Array, shape: tuple[int, ...]) -> Array:
    """A read-only view of x in a larger shape; the C constructor instead of NumPy's Python one."""
    if type(x) is not ndarray:
        x = np.asarray(x)
    lead = len(shape) - x.ndim
    if lead < 0:
        raise ValueError(f"cannot broadcast shape {x.shape} to {tuple(shape)}")
    strides = [0] * lead
    for n, k, want in zip(x.shape, x.strides, shape[lead:], strict=True):
        if n == want:
            strides.append(k)
        elif n == 1:
            strides.append(0)
        else:
            raise ValueError(f"cannot broadcast shape {x.shape} to {tuple(shape)}")
    return np.lib.stride_tricks.as_strided(x, shape, strides) if x.size == 0 or not _plain(x) else ndarray(
        shape, x.dtype, x, 0, strides
    )  # fmt: skip


def _plain(x: Array) -> bool:
    return bool(x.flags.c_contiguous)


cpu_xp.broadcast_to = broadcast_to
XP[ndarray] = cpu_xp


def to_host(array: Array) -> Any:
    """The values of an array as a NumPy array (copied from a GPU; the same object on the CPU)."""
    if type(array) is ndarray:
        return array
    if type(array) is MetaArray:
        raise NotImplementedError("Cannot copy out of meta tensor; no data!")
    return array.get()


def move(array: Array, to: device) -> Array:
    """The same values on another device; the same object if it lies there."""
    if device_of(array).type == to.type and (
        to.index is None or to.type == "cpu" or device_of(array) == to
    ):
        return array
    if to.type == "meta":
        return MetaArray(array.shape, array.dtype)
    host = to_host(array)
    if to.type == "cpu":
        return host
    xp = cupy_module()
    with xp.cuda.Device(to.index or 0):
        return xp.asarray(host)


XP[MetaArray] = meta_xp
