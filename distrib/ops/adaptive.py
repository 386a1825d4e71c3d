"""Adaptive and fractional pooling, and the inverse of maximum pooling."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from ..dtypes import dtype as DType
from ..errors import DTypeError, ShapeError
from ..tensor import Tensor
from .conv import ntuple
from .creation import as_index
from .pool import pooled
from .registry import operator, publish
from .resize import along
from .shape import _a

xp: Any = None  # bound per array type


# ---- windows whose sizes follow from the output size --------------------------------------------------
def bounds(size: int, out: int) -> tuple[Any, Any]:
    """First and one past the last element of each of ``out`` windows over ``size`` elements."""
    i = np.arange(out)
    return i * size // out, -(-(i + 1) * size // out)


@lru_cache(maxsize=256)
def _candidates(size: tuple[int, ...], out: tuple[int, ...]) -> Any:
    """[windows, elements]: flat positions of what each window sees, its last element repeated."""
    parts = []
    for n, o in zip(size, out, strict=True):
        first, last = bounds(n, o)
        reach = np.arange(int((last - first).max(initial=1)))
        parts.append(np.minimum(first[:, None] + reach, last[:, None] - 1))
    return flat_windows(parts, size)


def flat_windows(parts: Any, size: Any) -> Any:
    """Join positions [..., windows, elements] along each dimension into positions of planes."""
    n = len(parts)
    lead = parts[0].ndim - 2
    total: Any = 0
    for i, (part, step) in enumerate(zip(parts, _steps(size), strict=True)):
        shape = [1] * (2 * n)
        shape[i], shape[n + i] = part.shape[-2], part.shape[-1]
        total = total + part.reshape(*part.shape[:lead], *shape) * step
    return total.reshape(
        *total.shape[:lead],
        math.prod(total.shape[lead : lead + n]),
        math.prod(total.shape[lead + n :]),
    )


def _steps(size: Any) -> list[int]:
    return [math.prod(size[i + 1 :]) for i in range(len(size))]


def _winners(x: Any, candidates: Any) -> Any:
    flat = x.reshape(*x.shape[:2], math.prod(x.shape[2:]))
    if candidates.ndim == 2:
        seen = flat[:, :, candidates]
    else:
        n, c = xp.arange(flat.shape[0]), xp.arange(flat.shape[1])
        seen = flat[n[:, None, None, None], c[:, None, None], candidates]
    best = xp.argmax(seen, -1)
    wide = xp.broadcast_to(candidates, seen.shape)
    return xp.take_along_axis(wide, best[..., None], -1)[..., 0]


winners = operator(
    "_window_argmax", lambda x, candidates: _winners(x, candidates),
    samples=lambda: [((_a(1, 2, 5), np.array([[0, 1, 2], [2, 3, 4]])), {})],
    ref=lambda x, candidates: np.stack([x[..., :3].argmax(-1), 2 + x[..., 2:].argmax(-1)], -1),
)  # fmt: skip


def _max_of(x: Tensor, candidates: Tensor, out: Any) -> tuple[Tensor, Tensor]:
    """The largest of each window of [N, C, ...] and where it stands in its plane."""
    index = winners(x, candidates).reshape(*x.shape[:2], *out)
    return pooled(x, index), index


def _wanted(output_size: Any, shape: Any, n: int, name: str) -> tuple[int, ...]:
    """The output size: an int for all dimensions, None for as many as there are."""
    sizes = (
        [output_size] * n
        if output_size is None or isinstance(output_size, int)
        else list(output_size)
    )
    if len(sizes) == 1:
        sizes *= n
    if len(sizes) != n:
        raise ShapeError(f"{name}: internal error: output_size.size() must be {n}", got=output_size)
    made = tuple(int(k if o is None else o) for o, k in zip(sizes, shape, strict=True))
    if any(o < 0 for o in made):
        raise ShapeError(
            f"{name}: elements of output_size must be greater than or equal to 0", got=list(made)
        )
    return made


def _batched(x: Any, n: int, name: str) -> tuple[Tensor, bool]:
    """[N, C, ...] and whether N was put there."""
    if not isinstance(x, Tensor):
        raise TypeError(
            f"{name}(): argument 'input' (position 1) must be Tensor, not {type(x).__name__}"
        )
    shape = list(x.shape)
    if len(shape) not in (n + 1, n + 2):
        raise ShapeError(f"{name}(): Expected {n + 1}D or {n + 2}D tensor, but got {shape}")
    if 0 in shape[1:]:
        raise ShapeError(
            f"{name}(): Expected input to have non-zero size for non-batch dimensions, but input has sizes {shape}"
        )
    return (x.unsqueeze(0), True) if len(shape) == n + 1 else (x, False)


def _deep(x: Any, output_size: Any, n: int) -> None:
    """ValueError unless there are more dimensions than output sizes."""
    if (
        n > 1
        and isinstance(output_size, (tuple, list))
        and isinstance(x, Tensor)
        and x._a.ndim <= len(output_size)
    ):
        raise ValueError(f"Input dimension should be at least {len(output_size) + 1}")


def _adaptive_max(x: Any, output_size: Any, indices: bool, n: int) -> Any:
    name = f"adaptive_max_pool{n}d"
    _deep(x, output_size, n)
    x, single = _batched(x, n, name)
    size = tuple(x.shape[2:])
    out = _wanted(output_size, size, n, name)
    if x.dtype.is_floating_point is False:
        raise RuntimeError(f"\"{name}\" not implemented for '{x.dtype.name.title()}'")
    if math.prod(out) == 0:
        y = x.new_empty((*x.shape[:2], *out))
        i = y.long()
    else:
        y, i = _max_of(x, as_index(_candidates(size, out)), out)
    if single:
        y, i = y.squeeze(0), i.squeeze(0)
    return (y, i) if indices else y


def _adaptive_avg(x: Any, output_size: Any, n: int) -> Tensor:
    name = f"adaptive_avg_pool{n}d"
    _deep(x, output_size, n)
    x, single = _batched(x, n, name)
    out = _wanted(output_size, x.shape[2:], n, name)
    for i, o in enumerate(out):
        x = along(x, 2 + i, ("mean", x.shape[2 + i], o))
    made: Tensor = x.squeeze(0) if single else x
    return made


def adaptive_avg_pool1d(input: Tensor, output_size: Any) -> Tensor:
    """Means over as many windows of [N, C, L] as are asked for."""
    return _adaptive_avg(input, output_size, 1)


def adaptive_avg_pool2d(input: Tensor, output_size: Any) -> Tensor:
    """Means over as many windows of [N, C, H, W] as are asked for; None keeps a size."""
    return _adaptive_avg(input, output_size, 2)


def adaptive_avg_pool3d(input: Tensor, output_size: Any) -> Tensor:
    """Means over as many windows of [N, C, D, H, W] as are asked for; None keeps a size."""
    return _adaptive_avg(input, output_size, 3)


def adaptive_max_pool1d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """Maxima over as many windows of [N, C, L] as are asked for."""
    return _adaptive_max(input, output_size, return_indices, 1)


def adaptive_max_pool2d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """Maxima over as many windows of [N, C, H, W] as are asked for."""
    return _adaptive_max(input, output_size, return_indices, 2)


def adaptive_max_pool3d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """Maxima over as many windows of [N, C, D, H, W] as are asked for."""
    return _adaptive_max(input, output_size, return_indices, 3)


def _adaptive_with_indices(n: int) -> Callable[..., Any]:
    def pool(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
        return _adaptive_max(input, output_size, True, n)

    pool.__name__ = f"adaptive_max_pool{n}d_with_indices"
    pool.__doc__ = f"adaptive_max_pool{n}d that also returns the flat positions of the maxima."
    return pool


(
    adaptive_max_pool1d_with_indices,
    adaptive_max_pool2d_with_indices,
    adaptive_max_pool3d_with_indices,
) = map(_adaptive_with_indices, (1, 2, 3))


# ---- fractional: random window places --------------------------------------------------------------------
def _starts(samples: Any, size: int, out: int, kernel: int) -> Any:
    """[N, C, out]: where windows start, from one random number in [0, 1) per plane."""
    alpha = (size - kernel) / (out - 1) if out > 1 else 0.0
    i = np.arange(out - 1)
    u = np.asarray(samples, "f8")[..., None]
    first = ((i + u) * alpha).astype("i8") - (u * alpha).astype("i8")
    last = np.full((*first.shape[:-1], 1), size - kernel)
    return np.concatenate([first, last], -1)


def _fractional(
    x: Any,
    kernel_size: Any,
    output_size: Any,
    output_ratio: Any,
    indices: bool,
    samples: Any,
    n: int,
) -> Any:
    name = f"fractional_max_pool{n}d"
    if output_size is None and output_ratio is None:
        raise ValueError(f"{name} requires specifying either an output_size or an output_ratio")
    x, single = _batched(x, n, name)
    size, kernel = tuple(x.shape[2:]), ntuple(kernel_size, n, "kernel_size")
    if output_size is None:
        ratio = (
            (output_ratio,) * n if isinstance(output_ratio, (int, float)) else tuple(output_ratio)
        )
        out = tuple(int(k * r) for k, r in zip(size, ratio, strict=True))
    else:
        out = ntuple(output_size, n, "output_size")
    for k, o, s in zip(kernel, out, size, strict=True):
        if o + k - 1 > s:
            raise ShapeError(
                f"{name}(): pool size {k} too large relative to input size {s} for output {o}"
            )
        if k <= 0 or o <= 0:
            raise ShapeError(
                f"{name}(): kernel and output sizes must be positive", got=f"{kernel} and {out}"
            )
    if samples is None:
        from .random import rand

        samples = rand(*x.shape[:2], n, dtype=x.dtype)
    if samples.dtype is not x.dtype and samples.dtype != x.dtype:
        raise DTypeError(
            f"Expect _random_samples to have the same dtype as input: got {samples.dtype}"
        )
    places = samples.detach().cpu().double().numpy()
    # the numbers of a plane belong to width, height, depth in this order
    order = range(n - 1, -1, -1) if n == 2 else range(n)
    parts = [
        _starts(places[..., j], size[i], out[i], kernel[i])[..., None] + np.arange(kernel[i])
        for i, j in enumerate(order)
    ]
    y, i = _max_of(x, as_index(flat_windows(parts, size)), out)
    if single:
        y, i = y.squeeze(0), i.squeeze(0)
    return (y, i) if indices else y


def fractional_max_pool2d(
    input: Tensor, kernel_size: Any, output_size: Any = None, output_ratio: Any = None,
    return_indices: bool = False, _random_samples: Any = None,
) -> Any:  # fmt: skip
    """Maxima of windows at random places of [N, C, H, W]."""
    return _fractional(
        input, kernel_size, output_size, output_ratio, return_indices, _random_samples, 2
    )


def fractional_max_pool3d(
    input: Tensor, kernel_size: Any, output_size: Any = None, output_ratio: Any = None,
    return_indices: bool = False, _random_samples: Any = None,
) -> Any:  # fmt: skip
    """Maxima of windows at random places of [N, C, D, H, W]."""
    return _fractional(
        input, kernel_size, output_size, output_ratio, return_indices, _random_samples, 3
    )


def fractional_max_pool2d_with_indices(
    input: Tensor, kernel_size: Any, output_size: Any = None, output_ratio: Any = None,
    return_indices: bool = False, _random_samples: Any = None,
) -> Any:  # fmt: skip
    """fractional_max_pool2d that also returns the flat positions of the maxima."""
    return _fractional(input, kernel_size, output_size, output_ratio, True, _random_samples, 2)


def fractional_max_pool3d_with_indices(
    input: Tensor, kernel_size: Any, output_size: Any = None, output_ratio: Any = None,
    return_indices: bool = False, _random_samples: Any = None,
) -> Any:  # fmt: skip
    """fractional_max_pool3d that also returns the flat positions of the maxima."""
    return _fractional(input, kernel_size, output_size, output_ratio, True, _random_samples, 3)


# ---- the inverse of maximum pooling ------------------------------------------------------------------------
def _put_back(x: Any, index: Any, size: Any) -> Any:
    planes, room = math.prod(x.shape[:2]), math.prod(size)
    z = xp.zeros((planes, room), x.dtype)
    if x.size:
        z[xp.arange(planes)[:, None], index.reshape(planes, -1)] = x.reshape(planes, -1)
    return z.reshape(*x.shape[:2], *size)


put_back = operator(
    "_max_unpool", lambda x, index, *, size: _put_back(x, index, size), (lambda g, index: pooled(g, index), None),
    method=False, grad_name="MaxUnpool2DBackward0",
    samples=lambda: [((_a(1, 1, 2), np.array([[[3, 1]]])), {"size": (4,)})],
    ref=lambda x, index, size: np.array([[[0, x[0, 0, 1], 0, x[0, 0, 0]]]]),
)  # fmt: skip


def _unpooled(
    x: Any, indices: Any, kernel: Any, stride: Any, padding: Any, output_size: Any, n: int
) -> Tensor:
    name = f"max_unpool{n}d"
    if not isinstance(x, Tensor) or not isinstance(indices, Tensor):
        raise TypeError(f"{name}(): input and indices must be Tensors")
    k = ntuple(kernel, n, "kernel_size")
    s = ntuple(k if stride is None or stride == [] else stride, n, "stride")
    p = ntuple(padding, n, "padding")
    if indices._a.dtype != "i8":
        raise DTypeError(
            f"elements in indices should be type int64 but got: {_short(indices.dtype)}"
        )
    if tuple(x.shape) != tuple(indices.shape):
        raise ShapeError(
            f"Expected shape of indices to be same as that of the input tensor ({list(x.shape)}) but got indices tensor with shape: {list(indices.shape)}"
        )
    if x._a.ndim not in (n + 1, n + 2):
        raise ShapeError(
            f"Input to {name} should be a {n + 1}d or {n + 2}d Tensor, but got: {x._a.ndim} dimensions"
        )
    if 0 in tuple(x.shape)[-n:]:
        raise ShapeError(
            f"{name}(): Expected input to have non-zero size for non-batch dimensions, but got {list(x.shape)}"
        )
    usual = [(o - 1) * b + a - 2 * c for o, a, b, c in zip(x.shape[-n:], k, s, p, strict=True)]
    size = tuple(usual) if output_size is None else tuple(int(v) for v in output_size)[-n:]
    if output_size is not None:
        if len(tuple(output_size)) not in (n, n + 2) or len(size) != n:
            raise ValueError(
                f"output_size should be a sequence containing {n} or {n + 2} elements, but it has a length of '{len(tuple(output_size))}'"
            )
        for v, u, b in zip(size, usual, s, strict=True):
            if not u - b < v < u + b:
                raise ValueError(
                    f"invalid output_size {list(size)} (dim 0 must be between {u - b} and {u + b})"
                )
    room = math.prod(size)
    if type(indices._a) is np.ndarray and indices._a.size:
        low, high = int(indices._a.min()), int(indices._a.max())
        if low < 0 or high >= room:
            raise ShapeError(
                f"Found an invalid max index: {low if low < 0 else high} (output volumes are of size {'x'.join(map(str, size))})"
            )
    single = x._a.ndim == n + 1
    if single:
        x, indices = x.unsqueeze(0), indices.unsqueeze(0)
    y: Tensor = put_back(x, indices, size=size)
    return y.squeeze(0) if single else y


def _short(d: DType) -> str:
    return d.name.title().replace("32", "").replace("64", "")


def max_unpool1d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    output_size: Any = None,
) -> Tensor:
    """Values put back to the positions that max_pool1d returned; zeros elsewhere."""
    return _unpooled(input, indices, kernel_size, stride, padding, output_size, 1)


def max_unpool2d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    output_size: Any = None,
) -> Tensor:
    """Values put back to the positions that max_pool2d returned; zeros elsewhere."""
    return _unpooled(input, indices, kernel_size, stride, padding, output_size, 2)


def max_unpool3d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    output_size: Any = None,
) -> Tensor:
    """Values put back to the positions that max_pool3d returned; zeros elsewhere."""
    return _unpooled(input, indices, kernel_size, stride, padding, output_size, 3)


__all__ = ["adaptive_avg_pool1d", "adaptive_max_pool1d"]
NN = [
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "adaptive_max_pool1d",
    "adaptive_max_pool1d_with_indices", "adaptive_max_pool2d", "adaptive_max_pool2d_with_indices",
    "adaptive_max_pool3d", "adaptive_max_pool3d_with_indices", "fractional_max_pool2d",
    "fractional_max_pool2d_with_indices", "fractional_max_pool3d", "fractional_max_pool3d_with_indices",
    "max_unpool1d", "max_unpool2d", "max_unpool3d",
]  # fmt: skip
publish(globals())
