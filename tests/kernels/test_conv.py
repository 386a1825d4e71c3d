"""Convolution kernels against a float64 sliding-window reference, in both layouts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from distrib.kernels import cpu

pytestmark = pytest.mark.usefixtures("kernels")
Array = Any

CASES = [
    # N, C, O, size, kernel, stride, padding, dilation, groups
    (2, 3, 5, (7, 9), (3, 3), (1, 1), (1, 1), (1, 1), 1),
    (2, 4, 6, (8, 8), (3, 3), (2, 2), (1, 1), (1, 1), 2),
    (3, 16, 40, (16, 16), (3, 3), (1, 1), (1, 1), (1, 1), 1),
    (2, 5, 7, (11, 6), (2, 4), (3, 2), (0, 3), (2, 1), 1),
    (1, 8, 8, (5, 5), (1, 1), (1, 1), (0, 0), (1, 1), 8),
    (2, 8, 12, (9, 9), (1, 1), (2, 2), (0, 0), (1, 1), 1),
    (3, 33, 13, (7, 7), (3, 3), (1, 1), (2, 2), (2, 2), 1),
    (2, 2, 3, (4, 4), (1, 1), (3, 3), (2, 2), (1, 1), 1),
    (2, 3, 4, (20,), (5,), (2,), (3,), (2,), 1),
    (2, 3, 4, (4, 5, 6), (2, 3, 3), (1, 2, 1), (1, 0, 2), (1, 1, 2), 1),
    (1, 1, 1, (1, 1), (1, 1), (1, 1), (0, 0), (1, 1), 1),
    (0, 3, 5, (7, 9), (3, 3), (1, 1), (1, 1), (1, 1), 1),
    (1, 70, 90, (3, 3), (3, 3), (1, 1), (1, 1), (1, 1), 1),
    (5, 6, 8, (7, 7), (3, 3), (2, 2), (0, 0), (1, 1), 1),
]


def reference(x: Array, w: Array, b: Array, stride: Any, pad: Any, dil: Any, groups: int) -> Array:
    nd = x.ndim - 2
    x, w = x.astype(np.float64), w.astype(np.float64)
    x = np.pad(x, [(0, 0), (0, 0)] + [(p, p) for p in pad])
    span = tuple((k - 1) * d + 1 for k, d in zip(w.shape[2:], dil))
    v = np.lib.stride_tricks.sliding_window_view(x, span, axis=tuple(range(2, 2 + nd)))
    v = v[(slice(None), slice(None)) + tuple(slice(None, None, s) for s in stride)]
    v = v[(Ellipsis, *(slice(None, None, d) for d in dil))]
    cg, og = w.shape[1], w.shape[0] // groups
    outs = []
    for g in range(groups):
        dims = tuple(range(2 + nd, 2 + 2 * nd))
        part = v[:, g * cg : (g + 1) * cg]
        kernel = w[g * og : (g + 1) * og]
        outs.append(np.tensordot(part, kernel, ((1, *dims), tuple(range(1, 2 + nd)))))
    y = np.moveaxis(np.concatenate(outs, -1), -1, 1)
    return y + b.reshape((1, -1) + (1,) * nd)


def arrange(x: Array, last: bool) -> Array:
    if not last:
        return x
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)


def close(a: Array, b: Array, tol: float) -> None:
    assert a.shape == b.shape
    if a.size:
        assert np.abs(a - b).max() <= tol * max(1.0, np.abs(b).max())


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", CASES)
def test_conv_and_gradients(case: Any, dtype: Any, last: bool) -> None:
    n, c, o, size, kernel, *options, groups = case
    stride, pad, dil = options
    rng = np.random.default_rng(1)
    tol = 3e-5 if dtype == np.float32 else 1e-12
    x = arrange(rng.standard_normal((n, c, *size)).astype(dtype), last)
    w = rng.standard_normal((o, c // groups, *kernel)).astype(dtype)
    b = rng.standard_normal(o).astype(dtype)
    want = reference(x, w, b, stride, pad, dil, groups)
    y = cpu.conv(x, w, b, stride, pad, dil, groups)
    close(y, want, tol)
    assert y.dtype == dtype
    g = arrange(rng.standard_normal(want.shape).astype(dtype), last)
    dx = cpu.conv_input_grad(g, w, x.shape, stride, pad, dil, groups)
    dw = cpu.conv_weight_grad(g, x, w.shape, stride, pad, dil, groups)
    assert dx.shape == x.shape
    assert dw.shape == w.shape
    # The maps are linear: the gradients are their adjoints, for any direction.
    zero = np.zeros(o)
    for _ in range(3):
        u = rng.standard_normal(x.shape)
        v = rng.standard_normal(w.shape)
        g64 = g.astype(np.float64)
        a = (g64 * reference(u, w, zero, stride, pad, dil, groups)).sum()
        close(np.array((dx * u).sum()), np.array(a), 30 * tol)
        a = (g64 * reference(x, v, zero, stride, pad, dil, groups)).sum()
        close(np.array((dw * v).sum()), np.array(a), 30 * tol)
    close(cpu.channel_sum(g), g64.sum((0, *range(2, g.ndim))), 10 * tol)


def test_layout_of_the_result_follows_the_input() -> None:
    x = np.ones((2, 4, 6, 6), np.float32)
    w = np.ones((3, 4, 3, 3), np.float32)
    args = ((1, 1), (1, 1), (1, 1), 1)
    assert cpu.conv(x, w, None, *args).flags.c_contiguous
    y = cpu.conv(arrange(x, True), w, None, *args)
    assert np.moveaxis(y, 1, -1).flags.c_contiguous
    dx = cpu.conv_input_grad(y, w, x.shape, *args)
    assert np.moveaxis(dx, 1, -1).flags.c_contiguous
    assert np.array_equal(y, cpu.conv(x, w, None, *args))


def test_strided_and_wrong_arguments() -> None:
    x = np.random.default_rng(0).standard_normal((2, 4, 9, 12)).astype(np.float32)
    w = np.ones((3, 4, 3, 3), np.float32)
    one = ((1, 1), (0, 0), (1, 1), 1)
    view = x[:, :, ::2, ::-1]
    assert np.array_equal(cpu.conv(view, w, None, *one), cpu.conv(view.copy(), w, None, *one))
    with pytest.raises(TypeError, match="float32"):
        cpu.conv(x, w.astype(np.float64), None, *one)
    with pytest.raises(TypeError, match="expected"):
        cpu.conv([1.0], w, None, *one)
    with pytest.raises(ValueError, match="groups"):
        cpu.conv(x, w, None, (1, 1), (0, 0), (1, 1), 3)
    with pytest.raises(ValueError, match="smaller"):
        cpu.conv(x[:, :, :2], w, None, *one)
    with pytest.raises(ValueError, match="stride"):
        cpu.conv(x, w, None, (0, 1), (0, 0), (1, 1), 1)
    with pytest.raises(ValueError, match="shape"):
        cpu.conv_weight_grad(x, x, w.shape, *one)
