"""torch.cuda: what there is to know of GPUs; without a driver or CuPy it says so as PyTorch does."""

from __future__ import annotations

import ctypes
import functools
from typing import Any

from .devices import device as _device

_NOT_BUILT = "Torch not compiled with CUDA enabled"


@functools.cache
def _count() -> int:
    """GPUs that the driver shows and CuPy can use; 0 where either is missing."""
    import importlib.util

    if importlib.util.find_spec("cupy") is None:
        return 0
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    n = ctypes.c_int()
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(n)) != 0:
        return 0
    return int(n.value)


def _missing() -> str:
    """What a GPU would need and is not there."""
    import importlib.util

    if importlib.util.find_spec("cupy") is None:
        return "no CuPy (install the extra cuda13, cuda12 or rocm7)"
    return "no GPU that the driver shows"


def is_available() -> bool:
    """Whether a GPU can be used."""
    return _count() > 0


def device_count() -> int:
    """The number of GPUs."""
    return _count()


def is_initialized() -> bool:
    """Whether a GPU was used already."""
    return is_available()


def require() -> None:
    """Raise what PyTorch raises where there is no GPU."""
    if not is_available():
        raise AssertionError(
            f"{_NOT_BUILT}: expected a GPU for the device 'cuda', got {_missing()}"
        )


def _cupy() -> Any:
    require()
    from .devices import cupy_module

    return cupy_module()


def init() -> None:
    """Prepare the GPUs for use."""
    _cupy()


def current_device() -> int:
    """The index of the GPU in use."""
    return int(_cupy().cuda.Device().id)


def set_device(device: Any) -> None:
    """Use another GPU."""
    index = _index(device)
    if index >= 0:
        _cupy().cuda.Device(index).use()


def _index(device: Any) -> int:
    if device is None:
        return current_device()
    if isinstance(device, int):
        return device
    d = _device(device)
    return current_device() if d.index is None else d.index


def get_device_name(device: Any = None) -> str:
    """The name of a GPU."""
    name = _cupy().cuda.runtime.getDeviceProperties(_index(device))["name"]
    return str(name.decode() if isinstance(name, bytes) else name)


def get_device_capability(device: Any = None) -> tuple[int, int]:
    """The compute capability of a GPU, major and minor."""
    p = _cupy().cuda.runtime.getDeviceProperties(_index(device))
    return int(p["major"]), int(p["minor"])


def synchronize(device: Any = None) -> None:
    """Wait for all work on a GPU."""
    _cupy().cuda.Device(_index(device)).synchronize()


def empty_cache() -> None:
    """Give unused memory of the pool back to the driver."""
    if is_available():
        _cupy().get_default_memory_pool().free_all_blocks()


def memory_allocated(device: Any = None) -> int:
    """Bytes that tensors occupy on a GPU."""
    return int(_cupy().get_default_memory_pool().used_bytes()) if is_available() else 0


def memory_reserved(device: Any = None) -> int:
    """Bytes that the pool holds on a GPU."""
    return int(_cupy().get_default_memory_pool().total_bytes()) if is_available() else 0


def manual_seed(seed: int) -> None:
    """Seed the GPU's random numbers; without a GPU nothing happens, as in PyTorch."""


def manual_seed_all(seed: int) -> None:
    """Seed the random numbers of all GPUs; without a GPU nothing happens, as in PyTorch."""


def is_bf16_supported() -> bool:
    """Whether the GPU has bfloat16 arithmetic."""
    return is_available() and get_device_capability()[0] >= 8
