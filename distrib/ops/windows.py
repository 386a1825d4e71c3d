"""Tensor.unfold: the windows of one dimension, as a view."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import ShapeError
from ..tensor import check_dim
from .registry import operator, publish
from .shape import _a

xp: Any = None  # bound per array type


def _windows(x: Any, dimension: int, size: int, step: int) -> Any:
    d = check_dim(dimension, x.ndim)
    scalar = x.ndim == 0
    x = x.reshape(1) if scalar else x
    n = x.shape[d]
    if size > n:
        raise ShapeError(f"maximum size for tensor at dimension {d} is {n} but size is {size}")
    if step <= 0:
        raise ShapeError(f"step is {step} but must be > 0")
    w = xp.lib.stride_tricks.sliding_window_view(x, size, d, writeable=True)
    w = w[(slice(None),) * d + (slice(None, None, step),)]
    return w[0] if scalar else w


def _unwindows(g: Any, shape: Any, dimension: int, size: int, step: int) -> Any:
    if not shape:
        return xp.add.reduce(g, None)
    z, d = xp.zeros(shape, g.dtype), dimension % len(shape)
    count = g.shape[d]
    for i in range(size):
        z[(slice(None),) * d + (slice(i, i + (count - 1) * step + 1, step),)] += g[..., i]
    return z


unfold_dim = operator(
    "unfold", lambda x, *, dimension, size, step: _windows(x, dimension, size, step),
    (lambda g, x_shape, dimension, size, step: unfold_backward(
        g, shape=x_shape, dimension=dimension, size=size, step=step),),
    view=True, samples=lambda: [((_a(2, 7),), {"dimension": 1, "size": 3, "step": 2})],
    ref=lambda x, dimension, size, step: np.stack([x[:, i:i + 3] for i in (0, 2, 4)], 1),
)  # fmt: skip
unfold_backward: Any = operator(
    "_unfold_backward",
    lambda g, *, shape, dimension, size, step: _unwindows(g, shape, dimension, size, step),
    (lambda h, dimension, size, step: unfold_dim(h, dimension=dimension, size=size, step=step),),
    samples=lambda: [((_a(3, 2),), {"shape": (4,), "dimension": 0, "size": 2, "step": 1})],
    ref=lambda g, shape, dimension, size, step: np.array(
        [g[0, 0], g[0, 1] + g[1, 0], g[1, 1] + g[2, 0], g[2, 1]]),
)  # fmt: skip
__all__: list[str] = []
publish(globals())
