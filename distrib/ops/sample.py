"""Sampling images at given places: grids, and grids of affine maps."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from ..errors import DTypeError, ShapeError
from ..tensor import Tensor, wrap
from .compare import masked
from .registry import publish

_MODES = ("bilinear", "nearest", "bicubic")
_PADDINGS = ("zeros", "border", "reflection")


def grid_sample(
    input: Tensor,
    grid: Tensor,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Tensor:
    """Values of [N, C, (D,) H, W] at the places [N, ..., 2 or 3] given in x, y(, z) from -1 to 1."""
    if mode not in _MODES:
        raise ValueError(
            f"nn.functional.grid_sample(): expected mode to be 'bilinear', 'nearest' or 'bicubic', but got: '{mode}'"
        )
    if padding_mode not in _PADDINGS:
        raise ValueError(
            f"nn.functional.grid_sample(): expected padding_mode to be 'zeros', 'border', or 'reflection', but got: '{padding_mode}'"
        )
    if align_corners is None:
        warnings.warn(
            "Default grid_sample and affine_grid behavior has changed to align_corners=False since 1.3.0. Please "
            "specify align_corners=True if the old behavior is desired.", UserWarning, stacklevel=2,
        )  # fmt: skip
    return _sampled(
        input, grid, _MODES.index(mode), _PADDINGS.index(padding_mode), bool(align_corners)
    )


def grid_sampler_2d(
    input: Tensor, grid: Tensor, interpolation_mode: int, padding_mode: int, align_corners: bool
) -> Tensor:
    """`grid_sample` of images, the modes as numbers."""
    return _sampled(input, grid, interpolation_mode, padding_mode, align_corners)


def grid_sampler_3d(
    input: Tensor, grid: Tensor, interpolation_mode: int, padding_mode: int, align_corners: bool
) -> Tensor:
    """`grid_sample` of volumes, the modes as numbers."""
    return _sampled(input, grid, interpolation_mode, padding_mode, align_corners)


grid_sampler = grid_sampler_2d


def _check(x: Tensor, grid: Tensor, mode: int) -> None:
    s, t = list(x.shape), list(grid.shape)
    if len(s) not in (4, 5) or len(t) != len(s):
        raise ShapeError(
            f"grid_sampler(): expected 4D or 5D input and grid with same number of dimensions, but got input with sizes {s} and grid with sizes {t}"
        )
    if s[0] != t[0]:
        raise ShapeError(
            f"grid_sampler(): expected grid and input to have same batch size, but got input with sizes {s} and grid with sizes {t}"
        )
    if t[-1] != len(s) - 2:
        raise ShapeError(
            f"grid_sampler(): expected grid to have size {len(s) - 2} in last dimension, but got grid with sizes {t}"
        )
    if 0 in s[2:]:
        raise ShapeError(
            f"grid_sampler(): expected input to have non-empty spatial dimensions, but input has sizes {s}"
        )
    if x._a.dtype != grid._a.dtype:
        raise DTypeError(
            "grid_sampler(): expected input and grid to have same dtype",
            got=f"{x.dtype} and {grid.dtype}",
        )
    if mode == 2 and len(s) == 5:
        raise ShapeError("grid_sampler(): bicubic interpolation only supports 4D input")


def _sampled(x: Tensor, grid: Tensor, mode: int, padding: int, align: bool) -> Tensor:
    _check(x, grid, mode)
    n, c, *size = tuple(x.shape)
    out = tuple(grid.shape)[1:-1]
    places = [grid[..., len(size) - 1 - i] for i in range(len(size))]  # of each dimension of x
    places = [_unscaled(p, k, align) for p, k in zip(places, size, strict=True)]
    flat = x.reshape(n, c, -1)
    if mode == 2:
        y = _bicubic(flat, places, size, padding, align)
    else:
        places = [_padded(p, k, padding, align) for p, k in zip(places, size, strict=True)]
        if mode == 1:
            y = _pick(flat, [p.detach().round() for p in places], size)
            y = y + (grid * 0).sum(-1).reshape(n, 1, -1) if grid.requires_grad else y
        else:
            y = _linear(flat, places, size)
    made: Tensor = y.reshape(n, c, *out)
    return made


def _unscaled(p: Tensor, size: int, align: bool) -> Tensor:
    made: Tensor = (p + 1) * ((size - 1) / 2) if align else ((p + 1) * size - 1) / 2
    return made


def _padded(p: Tensor, size: int, padding: int, align: bool) -> Tensor:
    """Places brought inside; the gradient is zero where a place was clipped."""
    if padding == 0:
        return p
    if padding == 2:
        low, high = (0.0, size - 1.0) if align else (-0.5, size - 0.5)
        p = _reflected(p, low, high)
    made: Tensor = p.clamp(0, size - 1)
    # the reference gives no gradient at the very border
    inside = (p._a > 0) & (p._a < size - 1)
    kept: Tensor = masked(made, wrap(inside)) + masked(made.detach(), wrap(~inside))
    return kept


def _reflected(p: Tensor, low: float, high: float) -> Tensor:
    if low == high:
        result: Tensor = p * 0
        return result
    span = high - low
    p = (p - low).abs()
    flips = (p.detach() / span).floor()
    rest = p - flips * span
    odd = wrap(flips._a % 2 == 1)
    made: Tensor = masked(span - rest, odd) + masked(rest, ~odd) + low
    return made


def _pick(flat: Tensor, places: Any, size: Any) -> Tensor:
    """[N, C, points]: the elements at whole places, zero outside."""
    inside: Any = True
    index: Any = 0
    for p, k in zip(places, size, strict=True):
        a = p._a
        ok = (a >= 0) & (a <= k - 1)
        inside = ok & inside
        index = index * k + np.where(ok, a, 0).astype("i8")
    n, c = tuple(flat.shape)[:2]
    index = np.broadcast_to(index.reshape(n, 1, -1), (n, c, index.size // max(n, 1)))
    found = flat.gather(2, wrap(np.ascontiguousarray(index)))
    made: Tensor = masked(found, wrap(inside.reshape(n, 1, -1)))
    return made


def _linear(flat: Tensor, places: Any, size: Any) -> Tensor:
    n = flat.shape[0]
    lows = [p.detach().floor() for p in places]
    parts = [p - low for p, low in zip(places, lows, strict=True)]
    y: Any = None
    for corner in np.ndindex(*(2,) * len(size)):
        weight: Any = None
        for t, side in zip(parts, corner, strict=True):
            w = t if side else 1 - t
            weight = w if weight is None else weight * w
        at = [low + side for low, side in zip(lows, corner, strict=True)]
        term = _pick(flat, at, size) * weight.reshape(n, 1, -1)
        y = term if y is None else y + term
    made: Tensor = y
    return made


def _cubic(t: Tensor) -> list[Tensor]:
    """The weights of four neighbours of a point at t of [0, 1) after the second."""
    a = -0.75

    def far(x: Tensor) -> Tensor:
        made: Tensor = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
        return made

    def near(x: Tensor) -> Tensor:
        made: Tensor = ((a + 2) * x - (a + 3)) * x * x + 1
        return made

    return [far(t + 1), near(t), near(1 - t), far(2 - t)]


def _bicubic(flat: Tensor, places: Any, size: Any, padding: int, align: bool) -> Tensor:
    n = flat.shape[0]
    lows = [p.detach().floor() for p in places]
    weights = [_cubic(p - low) for p, low in zip(places, lows, strict=True)]
    y: Any = None
    for i, j in np.ndindex(4, 4):
        at = [
            _padded(low + (k - 1), s, padding, align)
            for low, k, s in zip(lows, (i, j), size, strict=True)
        ]
        at = [a.round() for a in at] if padding else at
        term = _pick(flat, at, size) * (weights[0][i] * weights[1][j]).reshape(n, 1, -1)
        y = term if y is None else y + term
    made: Tensor = y
    return made


def affine_grid(theta: Tensor, size: Any, align_corners: bool | None = None) -> Tensor:
    """The grid for `grid_sample` that affine maps [N, 2, 3] or [N, 3, 4] make for an output size."""
    if align_corners is None:
        warnings.warn(
            "Default grid_sample and affine_grid behavior has changed to align_corners=False since 1.3.0. Please "
            "specify align_corners=True if the old behavior is desired.", UserWarning, stacklevel=2,
        )  # fmt: skip
        align_corners = False
    if not theta.is_floating_point():
        raise ValueError(f"Expected theta to have floating point type, but got {theta.dtype}")
    size = tuple(int(k) for k in size)
    if len(size) not in (4, 5):
        raise NotImplementedError(
            f"affine_grid only supports 4D and 5D sizes, for 2D and 3D affine transforms, respectively. Got size {size}"
        )
    n = len(size) - 2
    if theta._a.ndim != 3 or tuple(theta.shape)[1:] != (n, n + 1):
        raise ValueError(
            f"Expected a batch of {n}D affine matrices of shape Nx{n}x{n + 1} for size {size}. Got {tuple(theta.shape)}."
        )
    if min(size) <= 0:
        raise ValueError(f"Expected non-zero, positive output size. Got {size}")
    base = np.ones((*size[2:], n + 1))
    for i, k in enumerate(size[2:]):
        line = np.linspace(-1, 1, k) if k > 1 else np.zeros(1)
        if not align_corners:
            line = line * (k - 1) / k
        shape = [1] * n
        shape[i] = k
        base[..., n - 1 - i] = line.reshape(shape)
    points = wrap(base.reshape(1, -1, n + 1).astype(theta._a.dtype))
    made: Tensor = (points @ theta.mT).reshape(size[0], *size[2:], n)
    return made


__all__ = ["grid_sampler", "grid_sampler_2d", "grid_sampler_3d"]
NN = ["affine_grid", "grid_sample"]
publish(globals())
