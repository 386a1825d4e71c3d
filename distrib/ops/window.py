"""Windows over images, and convolutions by them in NumPy's terms, for any number of dimensions."""

from __future__ import annotations

from typing import Any

import numpy as np

xp: Any = None  # bound per array type


# ---- NumPy forms, any number of dimensions --------------------------------------------------------
def _padded(x: Any, padding: Any) -> Any:
    if not any(padding):
        return x
    return xp.pad(x, [(0, 0), (0, 0), *((p, p) for p in padding)])


def _windows(x: Any, kernel: Any, stride: Any, dilation: Any) -> Any:
    """[N, C, *out, *kernel]: every window of a padded input, without a copy."""
    n = len(kernel)
    reach = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True))
    w = xp.lib.stride_tricks.sliding_window_view(x, reach, tuple(range(2, 2 + n)))
    steps = tuple(slice(None, None, s) for s in stride)
    taps = tuple(slice(None, None, d) for d in dilation)
    return w[(slice(None), slice(None), *steps, *taps)]


def _conv_np(x: Any, w: Any, b: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> Any:
    n = len(stride)
    win = _windows(_padded(x, padding), w.shape[2:], stride, dilation)
    cin, cout = x.shape[1] // groups, w.shape[0] // groups
    axes = [1, *range(2 + n, 2 + 2 * n)]
    parts = [
        xp.tensordot(
            win[:, g * cin : (g + 1) * cin],
            w[g * cout : (g + 1) * cout],
            (axes, list(range(1, 2 + n))),
        )
        for g in range(groups)
    ]
    y = parts[0] if groups == 1 else xp.concatenate(parts, -1)
    if b is not None:
        y = y + b
    return xp.ascontiguousarray(y.transpose([0, n + 1, *range(1, n + 1)]))


def _taps(kernel: Any) -> Any:
    return np.ndindex(*kernel)


def _tap_slices(tap: Any, out: Any, stride: Any, dilation: Any) -> Any:
    return tuple(
        slice(t * d, t * d + (o - 1) * s + 1, s)
        for t, o, s, d in zip(tap, out, stride, dilation, strict=True)
    )


def _input_grad_np(
    g: Any, w: Any, shape: Any, stride: Any, padding: Any, dilation: Any, groups: int
) -> Any:
    n, out = len(stride), g.shape[2:]
    cin, cout = shape[1] // groups, w.shape[0] // groups
    reach = [max(k + 2 * p, (o - 1) * s + (m - 1) * d + 1) for k, p, o, s, m, d in
             zip(shape[2:], padding, out, stride, w.shape[2:], dilation, strict=True)]  # fmt: skip
    z = xp.zeros((*shape[:2], *reach), g.dtype)
    for tap in _taps(w.shape[2:]):
        where = _tap_slices(tap, out, stride, dilation)
        for k in range(groups):
            part = xp.tensordot(
                g[:, k * cout : (k + 1) * cout],
                w[(slice(k * cout, (k + 1) * cout), slice(None), *tap)],
                ((1,), (0,)),
            )
            z[(slice(None), slice(k * cin, (k + 1) * cin), *where)] += part.transpose(
                [0, n + 1, *range(1, n + 1)]
            )
    inside = tuple(slice(p, p + k) for p, k in zip(padding, shape[2:], strict=True))
    return xp.ascontiguousarray(z[(slice(None), slice(None), *inside)])


def _weight_grad_np(
    g: Any, x: Any, shape: Any, stride: Any, padding: Any, dilation: Any, groups: int
) -> Any:
    n = len(stride)
    win = _windows(_padded(x, padding), shape[2:], stride, dilation)
    out = tuple(slice(0, o) for o in g.shape[2:])
    win = win[(slice(None), slice(None), *out)]
    cin, cout = shape[1], shape[0] // groups
    axes = [0, *range(2, 2 + n)]
    parts = [
        xp.tensordot(g[:, k * cout : (k + 1) * cout], win[:, k * cin : (k + 1) * cin], (axes, axes))
        for k in range(groups)
    ]
    return xp.ascontiguousarray(parts[0] if groups == 1 else xp.concatenate(parts, 0))
