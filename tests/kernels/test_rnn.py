"""LSTM and GRU layers against float64 references written step by step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from distrib.kernels import cpu

pytestmark = pytest.mark.usefixtures("kernels")
Array = Any


def sigmoid(x: Array) -> Array:
    return 0.5 + 0.5 * np.tanh(0.5 * x)


def lstm(x: Array, w: Array, h: Array, c: Array, reverse: bool) -> tuple[Array, Array, Array]:
    out = np.zeros((*x.shape[:2], w.shape[1]))
    for t in range(len(x))[:: -1 if reverse else 1]:
        i, f, u, o = np.split(x[t] + h @ w.T, 4, -1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(u)
        h = sigmoid(o) * np.tanh(c)
        out[t] = h
    return out, h, c


def gru(x: Array, w: Array, b: Array, h: Array, reverse: bool) -> tuple[Array, Array]:
    out = np.zeros((*x.shape[:2], w.shape[1]))
    for t in range(len(x))[:: -1 if reverse else 1]:
        xr, xz, xn = np.split(x[t], 3, -1)
        hr, hz, hn = np.split(h @ w.T + b, 3, -1)
        z = sigmoid(xz + hz)
        h = (1 - z) * np.tanh(xn + sigmoid(xr + hr) * hn) + z * h
        out[t] = h
    return out, h


def slope(f: Any, args: list[Array], i: int, u: Array) -> float:
    e = 1e-5
    ends = [f(*args[:i], args[i] + s * e * u, *args[i + 1 :]) for s in (1, -1)]
    return float((ends[0] - ends[1]) / (2 * e))


SIZES = [(1, 1, 1), (5, 3, 4), (4, 7, 33), (3, 30, 64), (6, 2, 50)]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_lstm(size: tuple[int, int, int], reverse: bool) -> None:
    n, b, h = size
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((n, b, 4 * h)), rng.standard_normal((4 * h, h)) * h**-0.5
    h0, c0 = rng.standard_normal((b, h)), rng.standard_normal((b, h))
    want, _, _ = lstm(x, w, h0, c0, reverse)
    single = cpu.lstm_layer(*(a.astype(np.float32) for a in (x, w, h0, c0)), reverse)[0]
    np.testing.assert_allclose(single, want, atol=1e-5)
    out, c, gates = cpu.lstm_layer(x, w, h0, c0, reverse)
    np.testing.assert_allclose(out, want, atol=1e-12)
    gh, gl, gc = (rng.standard_normal(s) for s in (out.shape, h0.shape, c0.shape))

    def loss(x: Array, w: Array, h0: Array, c0: Array) -> Array:
        y, hl, cl = lstm(x, w, h0, c0, reverse)
        return (y * gh).sum() + (hl * gl).sum() + (cl * gc).sum()

    dg, dh, dc = cpu.lstm_layer_grad(gh, gl, gc, gates, c, c0, w, reverse)
    before = np.concatenate([out[1:], h0[None]] if reverse else [h0[None], out[:-1]])
    dw = np.einsum("tbg,tbh->gh", dg, before)
    args = [x, w, h0, c0]
    for i, got in enumerate((dg, dw, dh, dc)):
        u = rng.standard_normal(args[i].shape)
        assert (got * u).sum() == pytest.approx(slope(loss, args, i, u), rel=1e-6, abs=1e-6)
    alone = cpu.lstm_layer_grad(gh, None, None, gates, c, c0, w, reverse)[0]
    zero = np.zeros_like(gl)
    np.testing.assert_array_equal(
        alone, cpu.lstm_layer_grad(gh, zero, zero, gates, c, c0, w, reverse)[0]
    )


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_gru(size: tuple[int, int, int], reverse: bool) -> None:
    n, b, h = size
    rng = np.random.default_rng(1)
    x, w = rng.standard_normal((n, b, 3 * h)), rng.standard_normal((3 * h, h)) * h**-0.5
    bias, h0 = rng.standard_normal(3 * h), rng.standard_normal((b, h))
    want, _ = gru(x, w, bias, h0, reverse)
    single = cpu.gru_layer(*(a.astype(np.float32) for a in (x, w, bias, h0)), reverse)[0]
    np.testing.assert_allclose(single, want, atol=1e-5)
    out, saved = cpu.gru_layer(x, w, bias, h0, reverse)
    np.testing.assert_allclose(out, want, atol=1e-12)
    gh, gl = rng.standard_normal(out.shape), rng.standard_normal(h0.shape)

    def loss(x: Array, w: Array, bias: Array, h0: Array) -> Array:
        y, hl = gru(x, w, bias, h0, reverse)
        return (y * gh).sum() + (hl * gl).sum()

    dx, dhid, dh = cpu.gru_layer_grad(gh, gl, saved, out, h0, w, reverse)
    before = np.concatenate([out[1:], h0[None]] if reverse else [h0[None], out[:-1]])
    dw = np.einsum("tbg,tbh->gh", dhid, before)
    args = [x, w, bias, h0]
    for i, got in enumerate((dx, dw, dhid.sum((0, 1)), dh)):
        u = rng.standard_normal(args[i].shape)
        assert (got * u).sum() == pytest.approx(slope(loss, args, i, u), rel=1e-6, abs=1e-6)


def test_shapes_are_checked() -> None:
    x, w, s = np.zeros((2, 3, 8)), np.zeros((8, 2)), np.zeros((3, 2))
    with pytest.raises(ValueError, match="do not fit"):
        cpu.lstm_layer(x[..., :4], w, s, s, False)
    with pytest.raises(ValueError, match="h0"):
        cpu.lstm_layer(x, w, s[:1], s, False)
