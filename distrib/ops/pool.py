"""Pooling: maximum, average, power average, adaptive; windows over one to three dimensions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..dtypes import F4
from ..errors import ShapeError
from ..tensor import Tensor
from .conv import ntuple
from .native import fast, fits
from .registry import operator, publish
from .shape import _a
from .window import _windows

xp: Any = None  # bound per array type
max_pool_generic: Any = None  # the NumPy form, bound beside the compiled one


def out_size(n: int, k: int, s: int, p: int, d: int, ceil: bool) -> int:
    """Windows along one dimension; with ceil, a last one may hang over the right edge but must start inside."""
    span = n + 2 * p - d * (k - 1) - 1
    o = (-(-span // s) if ceil else span // s) + 1
    if ceil and (o - 1) * s >= n + p:
        o -= 1
    return o


# ---- maximum ------------------------------------------------------------------------------------
def _low(d: Any) -> Any:
    return -np.inf if d.kind in "fV" else np.iinfo(d).min


def _frame(
    x: Any, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil: bool, value: Any
) -> Any:
    """The input with a border wide enough for every window, and the number of windows."""
    out = [
        out_size(*a, ceil) for a in zip(x.shape[2:], kernel, stride, padding, dilation, strict=True)
    ]
    sides = [(0, 0), (0, 0)]
    for n, k, s, p, d, o in zip(x.shape[2:], kernel, stride, padding, dilation, out, strict=True):
        sides.append((p, max(0, (o - 1) * s + (k - 1) * d + 1 - n - p)))
    return xp.pad(x, sides, constant_values=value) if any(a or b for a, b in sides) else x, out


def _max_pool(x: Any, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil: bool) -> Any:
    n = len(kernel)
    framed, out = _frame(x, kernel, stride, padding, dilation, ceil, _low(x.dtype))
    w = _windows(framed, kernel, stride, dilation)[
        (slice(None), slice(None), *(slice(0, o) for o in out))
    ]
    flat = w.reshape(*w.shape[: 2 + n], -1)
    best = flat.argmax(-1)
    y = xp.take_along_axis(flat, best[..., None], -1)[..., 0]
    return y, _flat_index(best, kernel, stride, padding, dilation, x.shape[2:])


def _flat_index(best: Any, kernel: Any, stride: Any, padding: Any, dilation: Any, size: Any) -> Any:
    """The position in its plane of each window's winner."""
    n, rest = len(kernel), best
    place: Any = 0
    step = 1
    for i in range(n - 1, -1, -1):
        tap, rest = rest % kernel[i], rest // kernel[i]
        shape = [1] * best.ndim
        shape[2 + i] = -1
        first = (xp.arange(best.shape[2 + i]) * stride[i] - padding[i]).reshape(shape)
        place = place + (first + tap * dilation[i]) * step
        step *= size[i]
    return place.astype("i8")


def _max_pool_cpu(
    input: Any, *, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil: bool
) -> Any:
    if fits(input, only=F4) and input.ndim == 4:
        y, taps = fast.max_pool2d(input, kernel, stride, padding, dilation, ceil)
        return y, Taps(taps, input.shape[2:], kernel, stride, padding, dilation)
    return max_pool_generic(
        input, kernel=kernel, stride=stride, padding=padding, dilation=dilation, ceil=ceil
    )


class Taps:
    """The winners as the compiled kernel keeps them: a byte each; indices when somebody asks."""

    dtype, base, ndim = np.dtype("i8"), None, 4

    def __init__(self, taps: Any, size: Any, *options: Any) -> None:
        self.taps, self.size, self.options = taps, tuple(size), options

    shape = property(lambda self: self.taps.shape)

    def indices(self) -> Any:
        """Flat positions in each plane, int64."""
        return fast.max_pool2d_indices(self.taps, self.size, *self.options)

    def spread(self, g: Any) -> Any:
        """The gradient of the input."""
        return fast.max_pool2d_grad(g, self.taps, self.size, *self.options)


def _unpool(g: Any, index: Any, shape: Any) -> Any:
    if type(index) is Taps:
        if g.dtype == F4:
            return index.spread(g)
        index = index.indices()
    z = xp.zeros((shape[0] * shape[1], int(np.prod(shape[2:]))), g.dtype)
    planes = xp.arange(z.shape[0])[:, None]
    size = math.prod(g.shape[2:])
    xp.add.at(z, (planes, index.reshape(z.shape[0], size)), g.reshape(z.shape[0], size))
    return z.reshape(shape)


def unpool(g: Any, index: Any, shape: Any) -> Any:
    """Values written to where the maxima stood; arrays or Tensors."""
    if isinstance(g, Tensor):
        return unpool_(g, as_tensor(index), shape=tuple(shape))
    return _unpool(g, index, shape)


def as_tensor(index: Any) -> Any:
    """Indices as a Tensor, whatever they are kept as."""
    from ..tensor import wrap

    if isinstance(index, Tensor):
        index = index._a
    return wrap(index.indices() if type(index) is Taps else index)


_POOL = {"kernel": (2, 2), "stride": (2, 1), "padding": (1, 0), "dilation": (1, 1), "ceil": False}


def _pool_ref(x: Any, *, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil: bool) -> Any:
    x = np.pad(x, ((0, 0), (0, 0), (1, 1), (0, 0)), constant_values=-np.inf)
    rows, cols = range(0, x.shape[2] - 1, 2), range(x.shape[3] - 1)
    return np.stack(
        [np.stack([x[:, :, i : i + 2, j : j + 2].max((2, 3)) for j in cols], -1) for i in rows], -2
    )


max_pool = operator(
    "max_pool",
    lambda input, *, kernel, stride, padding, dilation, ceil: _max_pool(input, kernel, stride, padding, dilation, ceil),
    (lambda g, index, input_shape: unpool(g, index, input_shape),),
    cpu=_max_pool_cpu, keeps=("index",), method=False, grad_name="MaxPool2DWithIndicesBackward0", onnx="MaxPool",
    samples=lambda: [((_a(2, 3, 4, 5),), dict(_POOL))], ref=_pool_ref,
)  # fmt: skip


def _pick(h: Any, index: Any) -> Any:
    flat = h.reshape(*h.shape[:2], math.prod(h.shape[2:]))
    rows = index.reshape(*index.shape[:2], math.prod(index.shape[2:]))
    return xp.take_along_axis(flat, rows, -1).reshape(index.shape)


unpool_ = operator(
    "_unpool", lambda g, index, *, shape: _unpool(g, index, shape), (lambda h, index: pooled(h, index), None),
    samples=lambda: [((_a(1, 1, 2), np.array([[[1, 3]]])), {"shape": (1, 1, 4)})],
    ref=lambda g, index, shape: np.array([[[0, g[0, 0, 0], 0, g[0, 0, 1]]]]),
)  # fmt: skip
pooled: Any = operator(
    "_pooled", lambda h, index: _pick(h, index), (lambda g, index, h_shape: unpool(g, index, h_shape), None),
    samples=lambda: [((_a(1, 1, 4), np.array([[[1, 3]]])), {})], ref=lambda h, index: h[:, :, [1, 3]],
)  # fmt: skip


def _prepare(
    x: Any, kernel: Any, stride: Any, padding: Any, dilation: Any, n: int, name: str
) -> Any:
    if not isinstance(x, Tensor):
        raise TypeError(
            f"{name}(): argument 'input' (position 1) must be Tensor, not {type(x).__name__}"
        )
    k = ntuple(kernel, n, "kernel_size")
    s = (
        k
        if stride is None or (isinstance(stride, (tuple, list)) and not stride)
        else ntuple(stride, n, "stride")
    )
    p, d = ntuple(padding, n, "padding"), ntuple(dilation, n, "dilation")
    if x._a.ndim not in (n + 1, n + 2):
        raise ShapeError(
            f"{name}: Expected {n + 1}D or {n + 2}D (batch mode) tensor with optional 0 dim batch size for input, but got: {list(x._a.shape)}"
        )
    if any(v == 0 for v in x._a.shape[-n - 1 :]):
        raise ShapeError(
            f"{name}: Expected {n + 2}D (batch mode) tensor expected for input with non-zero dimensions, but got {list(x._a.shape)}"
        )
    if min(k) <= 0 or min(d) <= 0:
        raise ShapeError(
            f"{name}: kernel size and dilation should be greater than zero, but got kernel size {list(k)}, dilation {list(d)}"
        )
    if min(s) <= 0:
        raise ShapeError(
            f"{name}: stride should not be zero"
            if 0 in s
            else f"{name}: stride should be greater than zero, but got {list(s)}"
        )
    for a, b, e in zip(p, k, d, strict=True):
        if a < 0:
            raise ShapeError(f"pad must be non-negative, but got pad: {a}")
        if a > ((b - 1) * e + 1) / 2:
            raise ShapeError(
                f"pad should be at most half of effective kernel size, but got pad={a}, kernel_size={b} and dilation={e}"
            )
    return k, s, p, d


def _sized(x: Any, k: Any, s: Any, p: Any, d: Any, ceil: bool, n: int, name: str) -> None:
    size = [out_size(*a, ceil) for a in zip(x._a.shape[-n:], k, s, p, d, strict=True)]
    if any(o <= 0 for o in size):
        raise ShapeError(
            f"Given input size: ({'x'.join(map(str, x._a.shape[-n - 1 :]))}). Calculated output size: ({'x'.join(map(str, (x._a.shape[-n - 1], *size)))}). Output size is too small"
        )


def _max(
    x: Any,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    ceil: bool,
    indices: bool,
    n: int,
) -> Any:
    name = f"max_pool{n}d"
    k, s, p, d = _prepare(x, kernel_size, stride, padding, dilation, n, name)
    _sized(x, k, s, p, d, ceil, n, name)
    single = x._a.ndim == n + 1
    x = x.unsqueeze(0) if single else x
    y = max_pool(x, kernel=k, stride=s, padding=p, dilation=d, ceil=bool(ceil))
    if not indices:
        return y.squeeze(0) if single else y
    i = as_tensor(_kept_index(x, k, s, p, d, ceil))
    return (y.squeeze(0), i.squeeze(0)) if single else (y, i)


def _kept_index(x: Tensor, k: Any, s: Any, p: Any, d: Any, ceil: bool) -> Any:
    from .record import OPS, kernel

    return kernel(OPS["max_pool"], x._a)(
        x._a, kernel=k, stride=s, padding=p, dilation=d, ceil=bool(ceil)
    )[1]


def max_pool1d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The largest value of each window of [N, C, L]."""
    return _max(input, kernel_size, stride, padding, dilation, ceil_mode, return_indices, 1)


def max_pool2d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The largest value of each window of [N, C, H, W]."""
    return _max(input, kernel_size, stride, padding, dilation, ceil_mode, return_indices, 2)


def max_pool3d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The largest value of each window of [N, C, D, H, W]."""
    return _max(input, kernel_size, stride, padding, dilation, ceil_mode, return_indices, 3)


def _with_indices(n: int) -> Any:
    def pool(
        input: Tensor,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> Any:
        return _max(input, kernel_size, stride, padding, dilation, ceil_mode, True, n)

    pool.__name__ = f"max_pool{n}d_with_indices"
    pool.__doc__ = f"max_pool{n}d that also returns the flat positions of the maxima."
    return pool


max_pool1d_with_indices, max_pool2d_with_indices, max_pool3d_with_indices = map(
    _with_indices, (1, 2, 3)
)


__all__ = ["max_pool1d", "max_pool1d_with_indices", "max_pool2d", "max_pool3d"]
NN = [
    "max_pool1d",
    "max_pool1d_with_indices",
    "max_pool2d",
    "max_pool2d_with_indices",
    "max_pool3d",
    "max_pool3d_with_indices",
]
publish(globals())
