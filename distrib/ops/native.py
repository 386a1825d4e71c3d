"""The compiled CPU kernels as operators see them: whether they are on, and which arrays they take."""

from __future__ import annotations

from typing import Any

from .. import config, kernels
from ..dtypes import F4, F8
from ..kernels import cpu as fast

ON = bool(config.get("DISTRIB_KERNELS")) and kernels.available()


def fits(*arrays: Any, only: Any = None) -> bool:
    """Whether the compiled kernels take these arrays: one floating dtype, not empty."""
    d = arrays[0].dtype
    if not ON or (d != F4 and (d != F8 or only == F4)):
        return False
    return all(a is None or (a.dtype == d and a.size) for a in arrays)


def has(name: str) -> bool:
    """Whether a compiled kernel of this name is there and on."""
    return ON and getattr(fast, name, None) is not None


def install_allocator() -> None:
    """Let this thread's arrays take their memory from the cache."""
    kernels.install_allocator()


__all__ = ["ON", "fast", "fits", "has", "install_allocator"]
