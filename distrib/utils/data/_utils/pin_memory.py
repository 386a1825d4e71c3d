"""Pinned memory: copies the tensors of a batch to where a GPU can fetch them from."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, cast

from .... import cuda
from ....tensor import Tensor
from .collate import _like_mapping, _like_sequence


def accelerator() -> str | None:
    """The type of the GPU device, None on a machine without."""
    return "cuda" if cuda.is_available() else None


def wanted(pin_memory: bool, pin_memory_device: str) -> bool:
    """Whether to pin; warns, in PyTorch's words, about options that have no effect."""
    if not pin_memory:
        return False
    if pin_memory_device:
        warnings.warn(
            "pin_memory_device is deprecated, the current accelerator will be used as the device,"
            f"ignore pin_memory_device='{pin_memory_device}'.",
            stacklevel=4,
        )
    if accelerator() is None:
        warnings.warn(
            "'pin_memory' argument is set as true but no accelerator is found, then device pinned "
            "memory won't be used.",
            stacklevel=4,
        )
        return False
    return True


def pin_memory(data: Any, device: Any = None) -> Any:
    """Pin every tensor of a batch; objects with a ``pin_memory`` method pin themselves."""
    if isinstance(data, Tensor) or callable(getattr(data, "pin_memory", None)):
        return data.pin_memory()
    if isinstance(data, (str, bytes)):
        return data
    if isinstance(data, Mapping):
        return _like_mapping(data, {key: pin_memory(value) for key, value in data.items()})
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        return cast(Any, type(data))(*map(pin_memory, data))
    if isinstance(data, tuple):
        return [pin_memory(item) for item in data]
    if isinstance(data, Sequence):
        return _like_sequence(data, [pin_memory(item) for item in data])
    return data
