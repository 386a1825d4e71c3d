"""Average and power-average pooling over one to three dimensions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..tensor import Tensor
from .conv import ntuple
from .pool import _frame, _prepare, _sized
from .registry import operator, publish, with_out
from .shape import _a
from .window import _tap_slices

xp: Any = None  # bound per array type


# ---- average ------------------------------------------------------------------------------------------
def _counts(
    size: Any, out: Any, kernel: Any, stride: Any, padding: Any, include: bool, divisor: Any
) -> Any:
    """By what each window's sum is divided."""
    if divisor is not None:
        return divisor
    total: Any = 1
    for i, (n, o, k, s, p) in enumerate(zip(size, out, kernel, stride, padding, strict=True)):
        first = np.arange(o) * s - p
        last = np.minimum(first + k, n + p)
        width = last - first if include else np.minimum(last, n) - np.maximum(first, 0)
        shape = [1] * len(size)
        shape[i] = -1
        total = total * width.reshape(shape)
    return total


def _avg(
    x: Any, kernel: Any, stride: Any, padding: Any, ceil: bool, include: bool, divisor: Any
) -> Any:
    ones = (1,) * len(kernel)
    framed, out = _frame(x, kernel, stride, padding, ones, ceil, 0)
    y = xp.zeros((*x.shape[:2], *out), x.dtype)
    for tap in np.ndindex(*kernel):
        y += framed[(slice(None), slice(None), *_tap_slices(tap, out, stride, ones))]
    counts = xp.asarray(
        _counts(x.shape[2:], out, kernel, stride, padding, include, divisor), x.dtype
    )
    if x.dtype.kind in "iu":
        return xp.trunc(y / counts).astype(x.dtype)
    y /= counts
    return y


def _unavg(
    g: Any,
    shape: Any,
    kernel: Any,
    stride: Any,
    padding: Any,
    ceil: bool,
    include: bool,
    divisor: Any,
) -> Any:
    ones = (1,) * len(kernel)
    out = g.shape[2:]
    share = g / xp.asarray(
        _counts(shape[2:], out, kernel, stride, padding, include, divisor), g.dtype
    )
    reach = [
        max(n + 2 * p, (o - 1) * s + k)
        for n, p, o, s, k in zip(shape[2:], padding, out, stride, kernel, strict=True)
    ]
    z = xp.zeros((*shape[:2], *reach), g.dtype)
    for tap in np.ndindex(*kernel):
        z[(slice(None), slice(None), *_tap_slices(tap, out, stride, ones))] += share
    return xp.ascontiguousarray(
        z[
            (
                slice(None),
                slice(None),
                *(slice(p, p + n) for p, n in zip(padding, shape[2:], strict=True)),
            )
        ]
    )


_AVG = {
    "kernel": (2, 3),
    "stride": (2, 1),
    "padding": (1, 1),
    "ceil": True,
    "include": False,
    "divisor": None,
}
avg_pool = operator(
    "avg_pool",
    lambda input, *, kernel, stride, padding, ceil, include, divisor: _avg(
        input, kernel, stride, padding, ceil, include, divisor),
    (lambda g, input_shape, kernel, stride, padding, ceil, include, divisor: unavg(
        g, shape=input_shape, kernel=kernel, stride=stride, padding=padding, ceil=ceil, include=include, divisor=divisor),),
    "math", method=False, grad_name="AvgPool2DBackward0", onnx="AveragePool",
    samples=lambda: [((_a(1, 2, 4, 5),), {**_AVG, "padding": (0, 0), "ceil": False})],
    ref=lambda x, **o: np.stack([np.stack([x[:, :, i:i + 2, j:j + 3].mean((2, 3)) for j in range(3)], -1)
                                 for i in (0, 2)], -2),
)  # fmt: skip
unavg: Any = operator(
    "_avg_pool_grad",
    lambda g, *, shape, kernel, stride, padding, ceil, include, divisor: _unavg(
        g, shape, kernel, stride, padding, ceil, include, divisor),
    (lambda h, kernel, stride, padding, ceil, include, divisor: avg_pool(
        h, kernel=kernel, stride=stride, padding=padding, ceil=ceil, include=include, divisor=divisor),),
    samples=lambda: [((_a(1, 1, 2),), {"shape": (1, 1, 4), "kernel": (2,), "stride": (2,), "padding": (0,),
                                       "ceil": False, "include": True, "divisor": None})],
    ref=lambda g, **o: np.repeat(g, 2, -1) / 2,
)  # fmt: skip


def _average(
    x: Any,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    ceil: bool,
    include: bool,
    divisor: Any,
    n: int,
) -> Tensor:
    name = f"avg_pool{n}d"
    k, s, p, d = _prepare(x, kernel_size, stride, padding, 1, n, name)
    if divisor == 0:
        raise RuntimeError("divisor must be not zero")
    _sized(x, k, s, p, d, ceil, n, name)
    single = x._a.ndim == n + 1
    x = x.unsqueeze(0) if single else x
    y: Tensor = avg_pool(
        x, kernel=k, stride=s, padding=p, ceil=bool(ceil), include=bool(include), divisor=divisor
    )
    return y.squeeze(0) if single else y


def avg_pool1d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """The mean of each window of [N, C, L]."""
    return _average(input, kernel_size, stride, padding, ceil_mode, count_include_pad, None, 1)


@with_out
def avg_pool2d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: Any = None,
) -> Tensor:
    """The mean of each window of [N, C, H, W]."""
    return _average(
        input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override, 2
    )


@with_out
def avg_pool3d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: Any = None,
) -> Tensor:
    """The mean of each window of [N, C, D, H, W]."""
    return _average(
        input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override, 3
    )


def _power(x: Any, p: float, kernel_size: Any, stride: Any, ceil: bool, n: int) -> Tensor:
    k = ntuple(kernel_size, n, "kernel_size")
    mean = _average(x.pow(p), k, stride, 0, ceil, True, None, n)
    y: Tensor = (mean.sign() * mean.abs().relu() * math.prod(k)).pow(1.0 / p)
    return y


def lp_pool1d(
    input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
) -> Tensor:
    """The p-norm of each window of [N, C, L]."""
    return _power(input, norm_type, kernel_size, stride, ceil_mode, 1)


def lp_pool2d(
    input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
) -> Tensor:
    """The p-norm of each window of [N, C, H, W]."""
    return _power(input, norm_type, kernel_size, stride, ceil_mode, 2)


def lp_pool3d(
    input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
) -> Tensor:
    """The p-norm of each window of [N, C, D, H, W]."""
    return _power(input, norm_type, kernel_size, stride, ceil_mode, 3)


__all__ = ["avg_pool1d"]
NN = ["avg_pool1d", "avg_pool2d", "avg_pool3d", "lp_pool1d", "lp_pool2d", "lp_pool3d"]
publish(globals())
