"""Sliding blocks of images: `unfold` takes them out as columns, `fold` adds them back."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..errors import ShapeError
from ..tensor import Tensor
from .registry import operator, publish
from .shape import _a
from .window import _padded, _tap_slices, _windows

xp: Any = None  # bound per array type


def blocks(size: Any, kernel: Any, dilation: Any, padding: Any, stride: Any) -> tuple[int, ...]:
    """How many blocks fit along each dimension."""
    dims = zip(size, kernel, dilation, padding, stride, strict=True)
    return tuple((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, d, p, s in dims)


def _im2col(x: Any, kernel: Any, dilation: Any, padding: Any, stride: Any) -> Any:
    w = _windows(_padded(x, padding), kernel, stride, dilation)  # [N, C, oh, ow, kh, kw]
    n, c, oh, ow = w.shape[:4]
    return w.transpose(0, 1, 4, 5, 2, 3).reshape(n, c * math.prod(kernel), oh * ow)


def _col2im(g: Any, size: Any, kernel: Any, dilation: Any, padding: Any, stride: Any) -> Any:
    out = blocks(size, kernel, dilation, padding, stride)
    n, c = g.shape[0], g.shape[1] // math.prod(kernel)
    g = g.reshape(n, c, *kernel, *out)
    z = xp.zeros((n, c, *(k + 2 * p for k, p in zip(size, padding, strict=True))), g.dtype)
    for tap in np.ndindex(*kernel):
        z[(slice(None), slice(None), *_tap_slices(tap, out, stride, dilation))] += g[
            :, :, tap[0], tap[1]
        ]
    inside = tuple(slice(p, p + k) for p, k in zip(padding, size, strict=True))
    return xp.ascontiguousarray(z[(slice(None), slice(None), *inside)])


_AT: dict[str, Any] = {"kernel": (2, 2), "dilation": (1, 2), "padding": (1, 0), "stride": (1, 1)}


def _columns(x: Any, kernel: Any, dilation: Any, padding: Any, stride: Any) -> Any:
    x = np.pad(x, ((0, 0), (0, 0), (1, 1), (0, 0)))
    cols = [
        np.stack([x[:, :, i + a, j + 2 * b] for a in (0, 1) for b in (0, 1)], 2).reshape(len(x), -1)
        for i in range(x.shape[2] - 1)
        for j in range(x.shape[3] - 2)
    ]
    return np.stack(cols, -1)


im2col = operator(
    "im2col", lambda x, *, kernel, dilation, padding, stride: _im2col(x, kernel, dilation, padding, stride),
    (lambda g, x_shape, kernel, dilation, padding, stride: col2im(
        g, size=tuple(x_shape[2:]), kernel=kernel, dilation=dilation, padding=padding, stride=stride),),
    method=False, grad_name="Im2ColBackward0", samples=lambda: [((_a(2, 3, 3, 4),), dict(_AT))], ref=_columns,
)  # fmt: skip
col2im: Any = operator(
    "col2im",
    lambda x, *, size, kernel, dilation, padding, stride: _col2im(x, size, kernel, dilation, padding, stride),
    (lambda g, kernel, dilation, padding, stride: im2col(
        g, kernel=kernel, dilation=dilation, padding=padding, stride=stride),),
    method=False, grad_name="Col2ImBackward0",
    samples=lambda: [((_a(1, 4, 3),), {"size": (2, 4), "kernel": (2, 2), "dilation": (1, 1), "padding": (0, 0),
                                       "stride": (1, 1)})],
    ref=lambda x, **o: np.array([[[[x[0, 2 * r, 0], x[0, 2 * r + 1, 0] + x[0, 2 * r, 1],
                                    x[0, 2 * r + 1, 1] + x[0, 2 * r, 2], x[0, 2 * r + 1, 2]] for r in (0, 1)]]]),
)  # fmt: skip


def _pair(value: Any, name: str, low: int, fn: str) -> tuple[int, int]:
    made = (value, value) if isinstance(value, int) else tuple(int(v) for v in value)
    if len(made) == 1:
        made *= 2
    if len(made) != 2:
        raise ShapeError(f"{fn}: expected {name} to have one or two elements", got=list(made))
    if min(made) < low:
        raise ShapeError(
            f"{name} should be {'greater than zero' if low else 'non-negative'}, but got {name}_height: {made[0]} {name}_width: {made[1]}"
        )
    return made


def _options(kernel: Any, dilation: Any, padding: Any, stride: Any, fn: str) -> dict[str, Any]:
    return {
        "kernel": _pair(kernel, "kernel", 1, fn), "dilation": _pair(dilation, "dilation", 1, fn),
        "padding": _pair(padding, "padding", 0, fn), "stride": _pair(stride, "stride", 1, fn),
    }  # fmt: skip


def unfold(
    input: Tensor, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Tensor:
    """The blocks of [N, C, H, W] as columns [N, C * kh * kw, blocks]."""
    at = _options(kernel_size, dilation, padding, stride, "unfold")
    s = tuple(input.shape)
    if len(s) not in (3, 4) or 0 in s[-3:]:
        raise ShapeError(
            f"Expected 3D or 4D (batch mode) tensor with possibly 0 batch size and other non-zero dimensions for input, but got: {list(s)}"
        )
    count = blocks(s[-2:], **at)
    if min(count) < 1:
        raise ShapeError(
            f"Given input with spatial size ({s[-2]}, {s[-1]}), {at}, calculated shape of the array of sliding blocks as {count}, but its components must be at least one."
        )
    x = input.unsqueeze(0) if len(s) == 3 else input
    y: Tensor = im2col(x, **at)
    return y.squeeze(0) if len(s) == 3 else y


def fold(
    input: Tensor,
    output_size: Any,
    kernel_size: Any,
    dilation: Any = 1,
    padding: Any = 0,
    stride: Any = 1,
) -> Tensor:
    """Columns [N, C * kh * kw, blocks] added into images [N, C, H, W]."""
    at = _options(kernel_size, dilation, padding, stride, "fold")
    size = _pair(output_size, "output_size", 1, "fold")
    s = tuple(input.shape)
    if len(s) not in (2, 3) or 0 in s[-2:]:
        raise ShapeError(
            f"Expected 2D or 3D (batch mode) tensor for input with possibly 0 batch size and non-zero dimensions for input, but got: {list(s)}"
        )
    k = math.prod(at["kernel"])
    if s[-2] % k:
        raise ShapeError(
            f"Expected size of input's dimension 1 to be divisible by the product of kernel_size, but got input.size(1)={s[-2]} and kernel_size={at['kernel']}."
        )
    count = blocks(size, **at)
    if min(count) < 1:
        raise ShapeError(
            f"Given output_size={size}, {at}, calculated shape of the array of sliding blocks as {count}, but its components must be at least one."
        )
    if s[-1] != math.prod(count):
        raise ShapeError(
            f"Given output_size={size}, {at}, expected size of input's dimension 2 to match the calculated number of sliding blocks {count[0]} * {count[1]} = {math.prod(count)}, but got input.size(2)={s[-1]}."
        )
    x = input.unsqueeze(0) if len(s) == 2 else input
    y: Tensor = col2im(x, size=size, **at)
    return y.squeeze(0) if len(s) == 2 else y


__all__: list[str] = []
NN = ["fold", "unfold"]
publish(globals())
