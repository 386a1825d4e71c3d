"""Batch norm, layer norm and pooling kernels against float64 references."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from distrib.kernels import cpu

pytestmark = pytest.mark.usefixtures("kernels")
Array = Any
SHAPES = [(4, 3), (1, 5), (37, 19), (2, 3, 5, 7), (3, 17, 4, 4), (2, 5, 33), (2, 16, 40, 41)]


def arrange(x: Array, last: bool) -> Array:
    if not last or x.ndim < 3:
        return x
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)


def close(a: Array, b: Array, tol: float) -> None:
    assert a.shape == b.shape
    assert np.abs(a - b).max(initial=0) <= tol * max(1.0, np.abs(b).max(initial=0))


def slope(f: Any, x: Array, u: Array) -> float:
    """Central difference of a float64 function in the direction u."""
    h = 1e-5
    return float((f(x + h * u) - f(x - h * u)) / (2 * h))


def bn_reference(x: Array, w: Array, b: Array, eps: float, relu: bool) -> Array:
    dims = (0, *range(2, x.ndim))
    shape = (1, -1) + (1,) * (x.ndim - 2)
    m, v = x.mean(dims, keepdims=True), x.var(dims, keepdims=True)
    y = (x - m) / np.sqrt(v + eps) * w.reshape(shape) + b.reshape(shape)
    return np.maximum(y, 0) if relu else y


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_batch_norm(shape: tuple[int, ...], last: bool, relu: bool) -> None:
    rng = np.random.default_rng(0)
    c = shape[1]
    x64 = rng.standard_normal(shape) * 2 + 1000
    w, b = rng.standard_normal(c), rng.standard_normal(c)
    for dtype, tol in ((np.float64, 1e-9), (np.float32, 2e-3)):
        x = arrange(x64.astype(dtype), last)
        if shape[0] == 1 and x.ndim == 2:
            continue
        rm, rv = np.zeros(c, dtype), np.ones(c, dtype)
        y, mean, rstd = cpu.batch_norm(x, w.astype(dtype), b.astype(dtype), rm, rv, 0.1, 1e-5, relu)
        ref = x.astype(np.float64)
        close(y, bn_reference(ref, w, b, 1e-5, relu), tol)
        dims = (0, *range(2, x.ndim))
        close(mean, ref.mean(dims), 1e-6)
        close(rm, 0.1 * ref.mean(dims), 1e-6)
        close(rv, 0.9 + 0.1 * ref.var(dims, ddof=1), 1e-4)
        close(rstd, 1 / np.sqrt(ref.var(dims) + 1e-5), 1e-3)
        z = cpu.batch_norm_eval(x, w.astype(dtype), b.astype(dtype), rm, rv, 1e-5, relu)
        shape1 = (1, -1) + (1,) * (x.ndim - 2)
        want = (ref - rm.reshape(shape1)) / np.sqrt(rv.reshape(shape1) + 1e-5)
        want = want * w.reshape(shape1) + b.reshape(shape1)
        close(z, np.maximum(want, 0) if relu else want, 1e-3)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_batch_norm_gradients(shape: tuple[int, ...], last: bool) -> None:
    if shape[0] == 1:
        return
    rng = np.random.default_rng(1)
    c = shape[1]
    x, w, b = rng.standard_normal(shape), rng.standard_normal(c), rng.standard_normal(c)
    g = rng.standard_normal(shape)
    for relu in (False, True):
        xa = arrange(x, last)
        y, mean, rstd = cpu.batch_norm(xa, w, b, None, None, 0.1, 1e-3, relu)
        dx, dw, db = cpu.batch_norm_grad(g, xa, y if relu else None, w, mean, rstd)
        for value, got in ((x, dx), (w, dw), (b, db)):
            u = rng.standard_normal(value.shape)

            def loss(v: Array, value: Array = value, relu: bool = relu) -> Array:
                args = [v if a is value else a for a in (x, w, b)]
                return (g * bn_reference(*args, 1e-3, relu)).sum()

            close(np.array((got * u).sum()), np.array(slope(loss, value, u)), 1e-4)


@pytest.mark.parametrize("width", [1, 3, 16, 31, 64, 257])
@pytest.mark.parametrize("rows", [0, 1, 45])
def test_layer_and_rms_norm(rows: int, width: int) -> None:
    rng = np.random.default_rng(2)
    x = rng.standard_normal((rows, width)) * 3 + 2
    w, b = rng.standard_normal(width), rng.standard_normal(width)
    g = rng.standard_normal((rows, width))

    def ln(x: Array, w: Array, b: Array) -> Array:
        z = x - x.mean(-1, keepdims=True)
        return z / np.sqrt((z * z).mean(-1, keepdims=True) + 1e-3) * w + b

    def rms(x: Array, w: Array) -> Array:
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-3) * w

    f32 = [v.astype(np.float32) for v in (x, w, b)]
    y, mean, rstd = cpu.layer_norm(f32[0], width, f32[1], f32[2], 1e-3)
    close(y, ln(x, w, b), 1e-5)
    close(cpu.layer_norm(x, width, None, None, 1e-3)[0], ln(x, np.ones(width), 0), 1e-11)
    y, mean, rstd = cpu.layer_norm(x, width, w, b, 1e-3)
    dx, dw, db = cpu.layer_norm_grad(g, x, width, w, mean, rstd)
    close(db, g.sum(0), 1e-11)
    y2, rstd2 = cpu.rms_norm(x, width, w, 1e-3)
    close(y2, rms(x, w), 1e-11)
    dx2, dw2 = cpu.rms_norm_grad(g, x, width, w, rstd2)
    if rows:
        u, v = rng.standard_normal(x.shape), rng.standard_normal(width)
        pairs = [
            (dx, u, slope(lambda t: (g * ln(t, w, b)).sum(), x, u)),
            (dw, v, slope(lambda t: (g * ln(x, t, b)).sum(), w, v)),
            (dx2, u, slope(lambda t: (g * rms(t, w)).sum(), x, u)),
            (dw2, v, slope(lambda t: (g * rms(x, t)).sum(), w, v)),
        ]
        for got, direction, want in pairs:
            close(np.array((got * direction).sum()), np.array(want), 1e-5)


def pool_reference(x: Array, k: Any, s: Any, p: Any, d: Any, out: Any) -> tuple[Array, Array]:
    n, c, h, w = x.shape
    y = np.empty((n, c, *out), x.dtype)
    at = np.empty((n, c, *out), np.int64)
    for i in range(out[0]):
        for j in range(out[1]):
            best: Array = None
            for a in range(k[0]):
                for b in range(k[1]):
                    r, q = i * s[0] - p[0] + a * d[0], j * s[1] - p[1] + b * d[1]
                    if 0 <= r < h and 0 <= q < w:
                        v = x[:, :, r, q]
                        if best is None:
                            best, where = v.copy(), np.full(v.shape, r * w + q)
                        up = (v > best) | np.isnan(v)
                        best, where = np.where(up, v, best), np.where(up, r * w + q, where)
            y[:, :, i, j], at[:, :, i, j] = best, where
    return y, at


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize(
    "case",
    [
        ((2, 3, 8, 8), (2, 2), (2, 2), (0, 0), (1, 1), False),
        ((2, 5, 9, 11), (2, 2), (2, 2), (0, 0), (1, 1), False),
        ((2, 5, 9, 11), (3, 2), (2, 3), (1, 1), (1, 1), True),
        ((1, 17, 7, 7), (3, 3), (1, 1), (1, 1), (2, 2), False),
        ((2, 3, 40, 70), (2, 2), (2, 2), (0, 0), (1, 1), False),
        ((0, 3, 4, 4), (2, 2), (2, 2), (0, 0), (1, 1), False),
    ],
)
def test_max_pool(case: Any, last: bool) -> None:
    shape, k, s, p, d, ceil = case
    rng = np.random.default_rng(3)
    x = rng.integers(0, 6, shape).astype(np.float32)  # many ties: the first must win
    if x.size:
        x[0, 0, 1, 1] = np.nan
        x[0, 1] = -np.inf
    xa = arrange(x, last)
    y, taps = cpu.max_pool2d(xa, k, s, p, d, ceil)
    want, at = pool_reference(x, k, s, p, d, y.shape[2:])
    np.testing.assert_array_equal(y, want)
    size = shape[2:]
    np.testing.assert_array_equal(cpu.max_pool2d_indices(taps, size, k, s, p, d), at)
    g = rng.standard_normal(y.shape).astype(np.float32)
    dx = cpu.max_pool2d_grad(g, taps, size, k, s, p, d)
    ref = np.zeros((shape[0], shape[1], size[0] * size[1]))
    for n in range(shape[0]):
        for c in range(shape[1]):
            np.add.at(ref[n, c], at[n, c].ravel(), g[n, c].ravel())
    close(dx, ref.reshape(shape), 1e-6)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("include", [False, True])
def test_average_pool(include: bool, last: bool) -> None:
    rng = np.random.default_rng(4)
    x = arrange(rng.standard_normal((2, 3, 7, 9)), last)
    y = cpu.avg_pool2d(x, (3, 2), (2, 2), (1, 1), False, include, None)
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    ones = np.ones_like(padded) if include else np.pad(np.ones_like(x), [(0, 0)] * 2 + [(1, 1)] * 2)
    v = [
        np.lib.stride_tricks.sliding_window_view(t, (3, 2), axis=(2, 3))[:, :, ::2, ::2]
        for t in (padded, ones)
    ]
    close(y, v[0].sum((-1, -2)) / v[1].sum((-1, -2)), 1e-12)
    g, u = rng.standard_normal(y.shape), rng.standard_normal(x.shape)
    dx = cpu.avg_pool2d_grad(g, (7, 9), (3, 2), (2, 2), (1, 1), False, include, None)
    along = cpu.avg_pool2d(u, (3, 2), (2, 2), (1, 1), False, include, None)
    close(np.array((dx * u).sum()), np.array((g * along).sum()), 1e-12)
