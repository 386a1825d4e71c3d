"""Compiled elementwise kernels on arrays: when they fit, and how the dimension order is kept."""

from __future__ import annotations

from typing import Any

from ..devices import ndarray
from .native import ON


def takes(x: Any) -> bool:
    """Whether the compiled kernels take an array: float32 or float64, not empty."""
    return ON and x.dtype.char in "fd" and x.size > 0 and type(x) is ndarray


def takes_both(g: Any, x: Any) -> bool:
    """The same for a gradient and what it goes with."""
    return takes(x) and type(g) is ndarray and g.dtype is x.dtype and g.shape == x.shape


def one(fn: Any, x: Any) -> Any:
    """A kernel of one array; channels-last input gives channels-last output."""
    if x.ndim == 4 and not x.flags.c_contiguous:
        last = x.transpose(0, 2, 3, 1)
        if last.flags.c_contiguous:
            return fn(last).transpose(0, 3, 1, 2)
    return fn(x)


def two(fn: Any, g: Any, x: Any) -> Any:
    """A kernel of a gradient and an array; channels-last input gives channels-last output."""
    if x.ndim == 4 and not x.flags.c_contiguous:
        last = x.transpose(0, 2, 3, 1)
        if last.flags.c_contiguous:
            return fn(g.transpose(0, 2, 3, 1), last).transpose(0, 3, 1, 2)
    return fn(g, x)


__all__ = ["one", "takes", "takes_both", "two"]
