"""Softmax, cross-entropy, activations, dropout and embedding kernels against float64 references."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from distrib.kernels import cpu

pytestmark = pytest.mark.usefixtures("kernels")
Array = Any
erf = np.vectorize(math.erf, otypes=[np.float64])


def softmax(x: Array) -> Array:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (2, 3, 16), (4, 17), (3, 1000), (0, 4), (3, 0)])
def test_softmax(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal(shape) * 5
    g = rng.standard_normal(shape)
    if not x.size:
        assert cpu.softmax(x).shape == shape
        return
    p = softmax(x)
    for dtype, tol in ((np.float64, 1e-12), (np.float32, 2e-6)):
        y = cpu.softmax(x.astype(dtype))
        np.testing.assert_allclose(y, p, rtol=20 * tol, atol=tol)
        z = cpu.log_softmax(x.astype(dtype))
        np.testing.assert_allclose(z, np.log(p), rtol=tol, atol=5 * tol)
        want = p * (g - (g * p).sum(-1, keepdims=True))
        np.testing.assert_allclose(cpu.softmax_grad(g.astype(dtype), y), want, atol=5 * tol)
        want = g - p * g.sum(-1, keepdims=True)
        np.testing.assert_allclose(cpu.log_softmax_grad(g.astype(dtype), z), want, atol=50 * tol)


def test_softmax_special_values() -> None:
    inf, nan = np.inf, np.nan
    x = np.array([[0, -inf, 1], [-inf, -inf, -inf], [nan, 0, 0], [inf, 0, 0]], np.float32)
    y = cpu.softmax(x)
    assert y[0, 1] == 0
    assert np.isnan(y[1:3]).all()
    assert np.isnan(y[3, 0])
    assert np.isnan(cpu.log_softmax(x)[1:3]).all()
    big = cpu.softmax(np.array([[1e30, -1e30, 0]], np.float32))
    np.testing.assert_array_equal(big, [[1, 0, 0]])


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("classes", [1, 10, 33, 500])
def test_cross_entropy(classes: int, weighted: bool, smoothing: float) -> None:
    rng = np.random.default_rng(1)
    rows = 9
    x = rng.standard_normal((rows, classes)) * 4
    t = rng.integers(0, classes, rows)
    t[2] = -100
    w = rng.random(classes) + 0.5 if weighted else np.ones(classes)
    live = t != -100
    logp = x - x.max(-1, keepdims=True)
    logp = logp - np.log(np.exp(logp).sum(-1, keepdims=True))
    safe = np.where(live, t, 0)
    nll = -logp[np.arange(rows), safe] * w[safe]
    each = ((1 - smoothing) * nll - smoothing / classes * (logp * w).sum(-1)) * live
    total = (w[safe] * live).sum()
    onehot = np.eye(classes)[safe]
    q = (1 - smoothing) * w[safe][:, None] * onehot + smoothing / classes * w
    dx = (np.exp(logp) * q.sum(-1, keepdims=True) - q) * live[:, None]
    for dtype, tol in ((np.float64, 1e-12), (np.float32, 3e-6)):
        xa = x.astype(dtype)
        wa = w.astype(dtype) if weighted else None
        for reduction, want in ((0, each), (1, each.sum() / total), (2, each.sum())):
            loss, lse, weight = cpu.cross_entropy(xa, t, wa, -100, reduction, smoothing)
            np.testing.assert_allclose(loss, want, rtol=10 * tol, atol=10 * tol)
            assert loss.shape == np.shape(want)
            assert weight == pytest.approx(total)
        g = np.array(2.0, dtype)
        got = cpu.cross_entropy_grad(g, xa, t, lse, wa, -100, smoothing, 1 / total)
        np.testing.assert_allclose(got, 2 * dx / total, atol=5 * tol)
        g = rng.standard_normal(rows).astype(dtype)
        got = cpu.cross_entropy_grad(g, xa, t, lse, wa, -100, smoothing, 1.0)
        np.testing.assert_allclose(got, g[:, None] * dx, atol=10 * tol)


def test_cross_entropy_rejects_a_class_outside() -> None:
    x = np.zeros((2, 3), np.float32)
    with pytest.raises(IndexError, match="Target 3 is out of bounds"):
        cpu.cross_entropy(x, np.array([0, 3]), None, -100, 1, 0.0)
    with pytest.raises(IndexError, match="Target -1 is out of bounds"):
        cpu.cross_entropy(x, np.array([0, -1]), None, -100, 1, 0.0)
    assert np.isnan(cpu.cross_entropy(x, np.array([-100, -100]), None, -100, 1, 0.0)[0])


def sigmoid(x: Array) -> Array:
    return 0.5 + 0.5 * np.tanh(0.5 * x)


def gelu_erf(x: Array) -> Array:
    return 0.5 * x * (1 + erf(x / math.sqrt(2)))


def gelu_tanh(x: Array) -> Array:
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


FUNCTIONS: dict[str, Any] = {
    "relu": (lambda x: np.maximum(x, 0), True),
    "sigmoid": (sigmoid, True),
    "tanh": (np.tanh, True),
    "silu": (lambda x: x * sigmoid(x), False),
    "gelu_erf": (gelu_erf, False),
    "gelu_tanh": (gelu_tanh, False),
}


@pytest.mark.parametrize("size", [0, 1, 7, 16, 1025, 5003])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_activation(name: str, size: int) -> None:
    f, takes_output = FUNCTIONS[name]
    rng = np.random.default_rng(2)
    x, g = rng.standard_normal(size) * 4, rng.standard_normal(size)
    y, h = f(x), 1e-6
    slope = (f(x + h) - f(x - h)) / (2 * h)
    forward, backward = getattr(cpu, name), getattr(cpu, name + "_grad")
    for dtype, tol in ((np.float64, 1e-12), (np.float32, 1e-6)):
        np.testing.assert_allclose(forward(x.astype(dtype)), y, rtol=tol, atol=tol)
        kept = (y if takes_output else x).astype(dtype)
        got = backward(g.astype(dtype), kept)
        np.testing.assert_allclose(got, g * slope, rtol=1e-5, atol=1e-5)


def test_activations_at_the_edges() -> None:
    x = np.array([np.nan, 200.0, -200.0, 0.0, 1e-6], np.float32)
    for name in FUNCTIONS:
        y = getattr(cpu, name)(x)
        assert np.isnan(y[0])
        assert np.isfinite(y[1:]).all()
    np.testing.assert_allclose(cpu.tanh(x[3:]), x[3:], rtol=1e-6)
    np.testing.assert_array_equal(cpu.sigmoid(x[1:4]), [1, 0, 0.5])


def test_dropout_and_embedding() -> None:
    rng = np.random.default_rng(3)
    x = rng.standard_normal((3, 35)).astype(np.float32)
    mask = rng.random((3, 35)) < 0.6
    want = x * np.where(mask, np.float32(1.25), np.float32(0))
    np.testing.assert_array_equal(cpu.dropout(x, mask, 1.25), want)
    w = rng.standard_normal((7, 5)).astype(np.float32)
    ids = np.array([[1, 6, 1], [0, 1, 3]])
    np.testing.assert_array_equal(cpu.embedding(w, ids), w[ids])
    assert cpu.embedding(w, np.zeros((0, 2), np.int64)).shape == (0, 2, 5)
    g = rng.standard_normal((2, 3, 5)).astype(np.float32)
    want = np.zeros((7, 5))
    np.add.at(want, ids, g)
    np.testing.assert_allclose(cpu.embedding_grad(g, ids, 7, -1), want, atol=1e-6)
    want[1] = 0
    np.testing.assert_allclose(cpu.embedding_grad(g, ids, 7, 1), want, atol=1e-6)
    with pytest.raises(IndexError, match="out of range"):
        cpu.embedding(w, np.array([7]))
    with pytest.raises(IndexError, match="out of range"):
        cpu.embedding_grad(g[:1, :1], np.array([[-1]]), 7, -1)
