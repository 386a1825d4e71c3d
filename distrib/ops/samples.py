"""Arrays for the samples of operator records."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np


def spread(*shape: int, lo: float = -2.0, hi: float = 2.0, seed: int = 0) -> Any:
    """Distinct float64 values of a shape between two bounds, in a scrambled order."""
    n = math.prod(shape)
    rng = np.random.default_rng(seed)
    return (lo + (hi - lo) * (rng.permutation(n) + rng.uniform(0.2, 0.8, n)) / max(n, 1)).reshape(
        shape
    )


def ints(*shape: int, lo: int = -5, hi: int = 6, seed: int = 0, dtype: Any = np.int64) -> Any:
    """Integers of a shape, lo included, hi not."""
    return np.random.default_rng(seed).integers(lo, hi, shape).astype(dtype)


def bools(*shape: int, seed: int = 0) -> Any:
    """Truth values of a shape."""
    return np.random.default_rng(seed).random(shape) < 0.5


def one(*arrays: Any, **attrs: Any) -> Callable[[], Any]:
    """The ``samples`` of a record that needs only one."""
    return lambda: [(arrays, attrs)]
