"""MT19937 against NumPy's generator, optimizer steps and norms against float64 references."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from distrib.kernels import cpu

pytestmark = pytest.mark.usefixtures("kernels")
Array = Any


def seeded(seed: int) -> tuple[Array, Array]:
    state = np.zeros(625, np.uint32)
    cpu.mt_seed(state, seed)
    rng = np.random.RandomState(seed)
    words = np.frombuffer(rng.bytes(4 * 40000), "<u4")
    return state, words


@pytest.mark.parametrize("seed", [0, 5, 2**32 - 1])
def test_words_in_pieces(seed: int) -> None:
    state, words = seeded(seed)
    got = []
    for n in (1, 7, 623, 1, 624, 0, 5000, 31):
        out = np.empty(n, np.uint32)
        cpu.mt_words(state, out)
        got.append(out)
    got_words = np.concatenate(got)
    np.testing.assert_array_equal(got_words, words[: len(got_words)])


def test_fills() -> None:
    n = 3001
    state, words = seeded(7)
    out = np.empty(n, np.float32)
    cpu.mt_uniform(state, out)
    np.testing.assert_array_equal(out, (words[:n] & 0xFFFFFF).astype(np.float32) / 2**24)
    pairs = (words[n : 3 * n].reshape(-1, 2) @ np.array([2**32, 1], np.uint64)) & (2**53 - 1)
    wide = np.empty(n)
    cpu.mt_uniform(state, wide)
    np.testing.assert_array_equal(wide, pairs / 2.0**53)
    at = 3 * n
    for kind in (bool, np.uint8):
        bits = np.empty((n,), kind)
        cpu.mt_bernoulli(state, bits, 0.3)
        draw = words[at : at + 2 * n].reshape(-1, 2) @ np.array([2**32, 1], np.uint64)
        np.testing.assert_array_equal(bits, (draw & (2**53 - 1)) / 2.0**53 < 0.3)
        at += 2 * n
    ints = np.empty(n, np.int64)
    cpu.mt_randint(state, ints, -5, 11)
    np.testing.assert_array_equal(ints, words[at : at + n].astype(np.int64) % 11 - 5)
    at += n
    cpu.mt_randint(state, ints, 3, 2**40)
    draw = words[at : at + 2 * n].reshape(-1, 2) @ np.array([2**32, 1], np.uint64)
    np.testing.assert_array_equal(ints, (draw % np.uint64(2**40)).astype(np.int64) + 3)
    at += 2 * n
    perm = np.empty(500, np.int64)
    cpu.mt_randperm(state, perm)
    want = np.arange(500)
    for i in range(499):
        z = i + int(words[at + i]) % (500 - i)
        want[i], want[z] = want[z], want[i]
    np.testing.assert_array_equal(perm, want)


@pytest.mark.parametrize("n", [16, 17, 160, 1003])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_normal(dtype: Any, n: int) -> None:
    state, _ = seeded(3)
    out, uniform = np.empty(n, dtype), np.empty(n, dtype)
    cpu.mt_normal(state, out, 2.0, 0.5)
    state, _ = seeded(3)
    cpu.mt_uniform(state, uniform)
    u = uniform.astype(np.float64)
    blocks = [u[i : i + 16] for i in range(0, n - 15, 16)]
    want = np.empty(n)

    def put(i: int, b: Array) -> None:
        r = np.sqrt(-2 * np.log(1 - b[:8]))
        angle = 2 * np.pi * b[8:]
        want[i : i + 16] = np.concatenate([r * np.cos(angle), r * np.sin(angle)]) * 0.5 + 2

    for i, b in enumerate(blocks):
        put(16 * i, b)
    if n % 16:
        tail = np.empty(16, dtype)
        cpu.mt_uniform(state, tail)
        put(n - 16, tail.astype(np.float64))
    np.testing.assert_allclose(out, want, atol=2e-6 if dtype == np.float32 else 1e-14)


def test_streams_are_those_of_torch() -> None:
    torch = pytest.importorskip("torch")
    state, _ = seeded(5)
    torch.manual_seed(5)
    if "AVX" in torch.backends.cpu.get_cpu_capability():
        out = np.empty(1000, np.float32)
        cpu.mt_normal(state, out)
        np.testing.assert_array_equal(out, torch.randn(1000).numpy())
        cpu.mt_normal(state, out, 0.3, 1.7)
        np.testing.assert_array_equal(out, torch.empty(1000).normal_(0.3, 1.7).numpy())
    out = np.empty(1000, np.float32)
    cpu.mt_uniform(state, out, -0.3, 1.9)
    np.testing.assert_array_equal(out, torch.empty(1000).uniform_(-0.3, 1.9).numpy())


def test_bad_state_is_refused() -> None:
    with pytest.raises(ValueError, match="625"):
        cpu.mt_words(np.zeros(624, np.uint32), np.zeros(3, np.uint32))
    with pytest.raises(ValueError, match="16"):
        cpu.mt_normal(seeded(0)[0], np.zeros(15, np.float32))
    with pytest.raises(ValueError, match="p"):
        cpu.mt_bernoulli(seeded(0)[0], np.zeros(3, bool), 1.5)
    read_only = np.zeros(3, np.float32)
    read_only.flags.writeable = False
    with pytest.raises(ValueError, match="writable"):
        cpu.mt_uniform(seeded(0)[0], read_only)


SHAPES = [(3,), (), (0,), (40, 50), (2, 3, 4), (20001,)]


def lists(dtype: Any, count: int) -> list[list[Array]]:
    rng = np.random.default_rng(0)
    return [
        [np.array(abs(rng.standard_normal(s))).astype(dtype) for s in SHAPES] for _ in range(count)
    ]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("amsgrad", [False, True])
@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.parametrize("maximize", [False, True])
def test_adam(dtype: Any, amsgrad: bool, decoupled: bool, maximize: bool) -> None:
    p, g, m, v, top = lists(dtype, 5)
    lr, b1, b2, eps, wd, step = 0.01, 0.9, 0.99, 1e-6, 0.1, 3.0
    want = []
    for items in zip(p, g, m, v, top):
        x, d, a, s, t = (i.astype(np.float64) for i in items)
        d = -d if maximize else d
        if decoupled:
            x = x * (1 - lr * wd)
        else:
            d = d + wd * x
        a, s = b1 * a + (1 - b1) * d, b2 * s + (1 - b2) * d * d
        t = np.maximum(t, s)
        root = np.sqrt(t if amsgrad else s) / np.sqrt(1 - b2**step) + eps
        want.append(x - lr / (1 - b1**step) * a / root)
    cpu.adam(p, g, m, v, top if amsgrad else None, lr, b1, b2, eps, wd, step, decoupled, maximize)
    for a, b in zip(p, want):
        np.testing.assert_allclose(a, b, rtol=1e-5 if dtype == np.float32 else 1e-13, atol=1e-7)


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd(momentum: float, nesterov: bool) -> None:
    p, g, buf = lists(np.float64, 3)
    want = [x.copy() for x in p]
    keep = [x.copy() for x in buf]
    for first in (True, False):
        for i, (x, d) in enumerate(zip(want, g)):
            d = d + 0.1 * x
            if momentum:
                keep[i] = d if first else momentum * keep[i] + 0.7 * d
                d = d + momentum * keep[i] if nesterov else keep[i]
            want[i] = x - 0.05 * d
        buffers = buf if momentum else None
        cpu.sgd(p, g, buffers, 0.05, momentum, 0.3, 0.1, nesterov, False, first)
    for a, b in zip(p, want):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_norm_and_scale() -> None:
    (xs,) = lists(np.float32, 1)
    each = [float((x.astype(np.float64) ** 2).sum()) for x in xs]
    assert cpu.sum_squares(xs) == pytest.approx(sum(each), rel=1e-12)
    np.testing.assert_allclose(cpu.sum_squares_each(xs), each, rtol=1e-12)
    assert cpu.sum_squares([]) == 0
    assert np.isnan(cpu.sum_squares([np.array([np.nan], np.float32)]))
    before = [x.copy() for x in xs]
    cpu.scale(xs, 0.5)
    for a, b in zip(xs, before):
        np.testing.assert_array_equal(a, b * np.float32(0.5))


def test_layouts_and_errors_of_lists() -> None:
    rng = np.random.default_rng(0)
    p = np.asfortranarray(rng.standard_normal((5, 7)))
    g = rng.standard_normal((5, 7))  # another layout than its parameter: copied
    want = p - 0.1 * g
    cpu.sgd([p], [g], None, 0.1, 0.0, 0.0, 0.0, False, False, False)
    np.testing.assert_allclose(p, want, rtol=1e-14)
    with pytest.raises(ValueError, match="layout"):
        cpu.sgd([p], [p], [g], 0.1, 0.9, 0.0, 0.0, False, False, False)
    with pytest.raises(ValueError, match="layout"):
        cpu.scale([g[:, ::2]], 2.0)
    with pytest.raises(ValueError, match="shape"):
        cpu.sgd([p], [g[:2]], None, 0.1, 0.0, 0.0, 0.0, False, False, False)
    with pytest.raises(ValueError, match="expected 1 arrays, got 2"):
        cpu.sgd([p], [g, g], None, 0.1, 0.0, 0.0, 0.0, False, False, False)
    with pytest.raises(TypeError, match="dtype"):
        cpu.sgd([p], [g.astype(np.float32)], None, 0.1, 0.0, 0.0, 0.0, False, False, False)
