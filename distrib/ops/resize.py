"""Resizing: interpolation, sampling at given places, and moves between channels and pixels.

Interpolation is separable and linear: along each dimension one small matrix, made once per size.
"""

from __future__ import annotations

import math
import warnings
from functools import lru_cache
from typing import Any

import numpy as np

from ..errors import ShapeError
from ..tensor import Tensor
from .creation import as_index
from .registry import method, operator, publish
from .shape import _a

xp: Any = None  # bound per array type


# ---- matrices along one dimension -----------------------------------------------------------------------
@lru_cache(maxsize=256)
def matrix(plan: Any) -> Any:
    """[out, in]: the weights that a plan (kind, size_in, size_out, ...) gives to each element."""
    kind, size, out, *rest = plan
    if kind == "mean":
        i = np.arange(out)[:, None]
        j = np.arange(size)
        inside = (j >= i * size // out) & (j < -(-(i + 1) * size // out))
        return inside / inside.sum(1, keepdims=True)
    scale, align, antialias = rest
    if antialias:
        return _antialiased(kind, size, out, scale, align)
    places = _places(np.arange(out), size, out, scale, align)
    made = np.zeros((out, size))
    if kind == "linear":
        x = np.maximum(places, 0)
        first = np.minimum(x.astype("i8"), size - 1)
        second = np.minimum(first + 1, size - 1)
        t = np.clip(x - first, 0, 1)
        taps = [(first, 1 - t), (second, t)]
    else:
        base = np.floor(places)
        t = places - base
        taps = [
            (np.clip(base.astype("i8") + k, 0, size - 1), _cubic(t - k, -0.75))
            for k in (-1, 0, 1, 2)
        ]
    for j, w in taps:
        np.add.at(made, (np.arange(out), j), w)
    return made


def _places(i: Any, size: int, out: int, scale: Any, align: bool) -> Any:
    """Where in the input each output element lies."""
    if align:
        return i * ((size - 1) / (out - 1)) if out > 1 else i * 0.0
    return (i + 0.5) * _ratio(size, out, scale) - 0.5


def _ratio(size: int, out: int, scale: Any) -> float:
    return float(1.0 / scale if scale else size / out)


def _cubic(x: Any, a: float) -> Any:
    """Keys' cubic convolution kernel."""
    x = np.abs(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


def _antialiased(kind: str, size: int, out: int, scale: Any, align: bool) -> Any:
    ratio = ((size - 1) / (out - 1) if out > 1 else 0.0) if align else _ratio(size, out, scale)
    reach = (1.0 if kind == "linear" else 2.0) * max(ratio, 1.0)
    squeeze = 1 / max(ratio, 1.0)
    centre = ratio * (np.arange(out) + 0.5)
    first = np.maximum((centre - reach + 0.5).astype("i8"), 0)
    last = np.minimum((centre + reach + 0.5).astype("i8"), size)
    j = np.arange(size)
    x = (j - centre[:, None] + 0.5) * squeeze
    w = np.maximum(1 - np.abs(x), 0) if kind == "linear" else _cubic(x, -0.5)
    w = np.where((j >= first[:, None]) & (j < last[:, None]), w, 0.0)
    return w / w.sum(1, keepdims=True)


def _along(x: Any, dim: int, plan: Any, transposed: bool) -> Any:
    m = matrix(plan)
    m = xp.asarray(m.T if transposed else m, x.dtype)
    if dim == x.ndim - 1:
        return xp.matmul(x, m.T)
    lead, tail = x.shape[:dim], x.shape[dim + 1 :]
    flat = x.reshape(math.prod(lead), x.shape[dim], math.prod(tail))
    return xp.matmul(m, flat).reshape(*lead, m.shape[0], *tail)


along_: Any = operator(
    "_along", lambda x, *, dim, plan, transposed=False: _along(x, dim, plan, transposed),
    (lambda g, dim, plan, transposed: along_(g, dim=dim, plan=plan, transposed=not transposed),),
    "math", method=False, grad_name="UpsampleBilinear2DBackward0",
    samples=lambda: [((_a(2, 4, 3),), {"dim": 1, "plan": ("linear", 4, 8, None, True, False)}),
                     ((_a(2, 4),), {"dim": 1, "plan": ("mean", 4, 2)})],
    ref=lambda x, dim, plan: _lines(x, plan),
)  # fmt: skip


def _lines(x: Any, plan: Any) -> Any:
    if plan[0] == "mean":
        return x.reshape(2, 2, 2).mean(-1)
    at = np.linspace(0, 3, 8)
    rows = [
        [np.interp(at, np.arange(4), x[i, :, j]) for j in range(x.shape[2])] for i in range(len(x))
    ]
    return np.array(rows).transpose(0, 2, 1)


def along(x: Tensor, dim: int, plan: Any) -> Tensor:
    """Apply a plan's matrix along one dimension."""
    y: Tensor = along_(x, dim=dim, plan=plan)
    return y


# ---- interpolate ----------------------------------------------------------------------------------------
_DIMS = {"linear": 1, "bilinear": 2, "bicubic": 2, "trilinear": 3}
_MODES = "nearest | linear | bilinear | bicubic | trilinear | area | nearest-exact"


def interpolate(
    input: Tensor, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None, antialias: bool = False,
) -> Tensor:  # fmt: skip
    """Resize [N, C, ...] to a size or by a factor."""
    if not isinstance(input, Tensor):
        raise TypeError(
            f"interpolate(): argument 'input' must be Tensor, not {type(input).__name__}"
        )
    if mode in ("nearest", "area", "nearest-exact"):
        if align_corners is not None:
            raise ValueError(
                "align_corners option can only be set with the interpolating modes: linear | bilinear | bicubic | trilinear"
            )
    elif align_corners is None:
        align_corners = False
    n = input._a.ndim - 2
    sizes = list(input.shape[2:])
    scales: list[Any] = [None] * n
    if size is not None and scale_factor is not None:
        raise ValueError("only one of size or scale_factor should be defined")
    if size is not None:
        out = _given(size, n, input, "size")
    elif scale_factor is not None:
        factors = _given(scale_factor, n, input, "scale_factor")
        out = [math.floor(float(k) * f) for k, f in zip(sizes, factors, strict=True)]
        scales = [None] * n if recompute_scale_factor else [float(f) for f in factors]
    else:
        raise ValueError("either size or scale_factor should be defined")
    if recompute_scale_factor and size is not None:
        raise ValueError("recompute_scale_factor is not meaningful with an explicit size.")
    if antialias and not (mode in ("bilinear", "bicubic") and n == 2):
        raise ValueError(
            "Anti-alias option is restricted to bilinear and bicubic modes and requires a 4-D tensor as input"
        )
    out = [int(o) for o in out]
    if min(sizes, default=1) <= 0 or min(out, default=1) <= 0:
        raise ShapeError(
            f"Input and output sizes should be greater than 0, but got input ({sizes}) output ({out})"
        )
    if mode == "area" and 1 <= n <= 3:
        from . import adaptive

        pool = (
            adaptive.adaptive_avg_pool1d,
            adaptive.adaptive_avg_pool2d,
            adaptive.adaptive_avg_pool3d,
        )[n - 1]
        return pool(input, out)
    if mode in ("nearest", "nearest-exact") and 1 <= n <= 3:
        return _nearest(input, out, scales, 0.5 if mode == "nearest-exact" else 0.0)
    if mode not in _DIMS or _DIMS[mode] != n:
        _unfit(mode, n)
    kind = "cubic" if mode == "bicubic" else "linear"
    if input._a.dtype.kind == "u" and n == 2:
        return _bytes(input, kind, out, scales, bool(align_corners), antialias)
    return _resized(input, kind, out, scales, bool(align_corners), antialias)


def _resized(x: Tensor, kind: str, out: Any, scales: Any, align: bool, antialias: bool) -> Tensor:
    for i, (o, f) in enumerate(zip(out, scales, strict=True)):
        if o != x.shape[2 + i] or f not in (None, 1.0):
            x = along(x, 2 + i, (kind, x.shape[2 + i], o, f, align, antialias))
    return x


def _bytes(x: Tensor, kind: str, out: Any, scales: Any, align: bool, antialias: bool) -> Tensor:
    """Bytes are resized in float32 and rounded."""
    y = _resized(x.float(), kind, out, scales, align, antialias)
    made: Tensor = (y + 0.5).floor().clamp(0, 255).to(x.dtype)
    return made


def _given(value: Any, n: int, x: Tensor, name: str) -> list[Any]:
    if isinstance(value, (list, tuple)):
        if len(value) != n:
            raise ValueError(
                f"Input and {name} must have the same number of spatial dimensions, but got input with spatial "
                f"dimensions of {list(x.shape[2:])} and {name} of {list(value)}"
            )
        return list(value)
    return [value] * n


def _unfit(mode: str, n: int) -> None:
    if mode in _DIMS and 1 <= n <= 3:
        raise NotImplementedError(
            f"Got {n + 2}D input, but {mode} mode needs {_DIMS[mode] + 2}D input"
        )
    raise NotImplementedError(
        f"Input Error: Only 3D, 4D and 5D input Tensors supported (got {n + 2}D) for the modes: {_MODES} (got {mode})"
    )


def _nearest(x: Tensor, out: Any, scales: Any, shift: float) -> Tensor:
    for i, (o, f) in enumerate(zip(out, scales, strict=True)):
        n = x.shape[2 + i]
        if o == n and f in (None, 1.0):
            continue
        ratio = np.float32(1.0 / f) if f else np.float32(n) / np.float32(o)
        at = ((np.arange(o, dtype="f4") + np.float32(shift)) * ratio).astype("i8")
        x = x.index_select(2 + i, as_index(np.minimum(at, n - 1)))
    return x


def upsample(
    input: Tensor,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
) -> Tensor:
    """The older name of `interpolate`."""
    _old("upsample")
    return interpolate(input, size, scale_factor, mode, align_corners)


def upsample_nearest(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """`interpolate` in mode nearest."""
    _old("upsample_nearest")
    return interpolate(input, size, scale_factor, mode="nearest")


def upsample_bilinear(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """`interpolate` in mode bilinear with aligned corners."""
    _old("upsample_bilinear")
    return interpolate(input, size, scale_factor, mode="bilinear", align_corners=True)


def _old(name: str) -> None:
    warnings.warn(
        f"`nn.functional.{name}` is deprecated. Use `nn.functional.interpolate` instead.",
        UserWarning,
        stacklevel=3,
    )


# ---- pixels and channels ----------------------------------------------------------------------------------
@method()
def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """[..., C * r * r, H, W] to [..., C, H * r, W * r]."""
    s, r = tuple(input.shape), upscale_factor
    if len(s) < 3:
        raise ShapeError(
            f"pixel_shuffle expects input to have at least 3 dimensions, but got input with {len(s)} dimension(s)"
        )
    if r <= 0:
        raise ShapeError(f"pixel_shuffle expects a positive upscale_factor, but got {r}")
    if s[-3] % (r * r):
        raise ShapeError(
            f"pixel_shuffle expects its input's 'channel' dimension to be divisible by the square of upscale_factor, but input.size(-3)={s[-3]} is not divisible by {r * r}"
        )
    c, h, w, n = s[-3] // (r * r), s[-2], s[-1], len(s) - 3
    split = input.reshape(*s[:-3], c, r, r, h, w)
    lead = range(n)
    made: Tensor = split.permute(*lead, n, n + 3, n + 1, n + 4, n + 2).reshape(
        *s[:-3], c, h * r, w * r
    )
    return made


@method()
def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """[..., C, H * r, W * r] to [..., C * r * r, H, W]."""
    s, r = tuple(input.shape), downscale_factor
    if len(s) < 3:
        raise ShapeError(
            f"pixel_unshuffle expects input to have at least 3 dimensions, but got input with {len(s)} dimension(s)"
        )
    if r <= 0:
        raise ShapeError(f"pixel_unshuffle expects a positive downscale_factor, but got {r}")
    for k, what in ((s[-2], "height"), (s[-1], "width")):
        if k % r:
            raise ShapeError(
                f"pixel_unshuffle expects {what} to be divisible by downscale_factor, but {k} is not divisible by {r}"
            )
    c, h, w, n = s[-3], s[-2] // r, s[-1] // r, len(s) - 3
    split = input.reshape(*s[:-3], c, h, r, w, r)
    lead = range(n)
    made: Tensor = split.permute(*lead, n, n + 2, n + 4, n + 1, n + 3).reshape(
        *s[:-3], c * r * r, h, w
    )
    return made


def channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """Channels of [N, C, ...] dealt out: the first of each group, then the second of each ..."""
    s = tuple(input.shape)
    if len(s) < 3:
        raise ShapeError(
            f"channel_shuffle expects input with > 2 dims, but got input with sizes {list(s)}"
        )
    if groups <= 0:
        raise ShapeError(
            f"Number of groups to divide channels in must be positive. Value of groups:{groups}"
        )
    if s[1] % groups:
        raise ShapeError(
            f"Number of channels must be divisible by groups. Got {s[1]} channels and {groups} groups."
        )
    made: Tensor = input.reshape(s[0], groups, s[1] // groups, *s[2:]).transpose(1, 2).reshape(s)
    return made


__all__ = ["channel_shuffle", "pixel_shuffle", "pixel_unshuffle"]
NN = [*__all__, "interpolate", "upsample", "upsample_bilinear", "upsample_nearest"]
publish(globals())
