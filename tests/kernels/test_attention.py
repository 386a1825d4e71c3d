"""Attention kernels against a float64 reference: masks, causal, dropout, layouts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from distrib.kernels import cpu

pytestmark = pytest.mark.usefixtures("kernels")
Array = Any


def reference(
    q: Array, k: Array, v: Array, mask: Array, keep: Array, causal: bool, scale: float
) -> Array:
    s = q @ np.swapaxes(k, -1, -2) * scale
    if mask is not None:
        s = np.where(mask, s, -np.inf) if mask.dtype == bool else s + mask
    if causal:
        s = np.where(np.tril(np.ones(s.shape[-2:], bool)), s, -np.inf)
    top = s.max(-1, keepdims=True, initial=-1e300)
    e = np.exp(s - top)
    p = e / np.maximum(e.sum(-1, keepdims=True), 1e-300)
    return (p if keep is None else p * keep * 1.25) @ v


CASES = [
    # B, H, T, S, d, causal, mask
    (2, 3, 5, 5, 4, False, None),
    (1, 2, 50, 50, 16, True, None),
    (2, 2, 70, 33, 17, False, "add"),
    (2, 2, 7, 100, 64, False, "bool"),
    (1, 2, 100, 40, 8, True, None),
    (1, 1, 1, 1, 1, False, None),
    (0, 2, 3, 3, 4, False, None),
]


@pytest.mark.parametrize("dropout", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_attention(case: Any, dropout: bool) -> None:
    b, h, n, s, d, causal, kind = case
    rng = np.random.default_rng(0)
    q = rng.standard_normal((b, n, h, d)).swapaxes(1, 2)  # as a fused projection gives it
    k, v = rng.standard_normal((b, h, s, d)), rng.standard_normal((b, h, s, d))
    mask = None
    if kind == "add":
        mask = rng.standard_normal((n, s))
    if kind == "bool":
        mask = rng.random((b, 1, n, s)) < 0.7
        mask[0, 0, 1] = False  # a query that may look at nothing gives zeros
    keep = rng.random((b, h, n, s)) < 0.8 if dropout else None
    scale = d**-0.5
    full = None if mask is None else np.broadcast_to(mask, (b, h, n, s))
    options = (full, keep, 1.25, causal, scale)
    y, lse = cpu.attention(q, k, v, *options)
    want = reference(q, k, v, mask, keep, causal, scale)
    np.testing.assert_allclose(y, want, atol=1e-12)
    assert y.swapaxes(1, 2).flags.c_contiguous
    g = rng.standard_normal(want.shape)
    grads = cpu.attention_grad(g, q, k, v, y, lse, *options)
    for value, got in zip((q, k, v), grads):
        assert np.isfinite(got).all()
        if not value.size:
            continue
        u, e = rng.standard_normal(value.shape), 1e-5
        args = [[a + sign * e * u if a is value else a for a in (q, k, v)] for sign in (1, -1)]
        ends = [(g * reference(*a, mask, keep, causal, scale)).sum() for a in args]
        assert (got * u).sum() == pytest.approx((ends[0] - ends[1]) / (2 * e), rel=1e-5, abs=1e-6)
    if mask is None or mask.dtype == bool:
        single = cpu.attention(*(a.astype(np.float32) for a in (q, k, v)), *options)[0]
        np.testing.assert_allclose(single, want, atol=1e-5)


def test_shapes_are_checked() -> None:
    q = np.zeros((1, 2, 3, 4), np.float32)
    options = (None, None, 1.0, False, 1.0)
    with pytest.raises(ValueError, match="value: expected"):
        cpu.attention(q, q, q[:, :, :2], *options)
    with pytest.raises(ValueError, match="mask"):
        cpu.attention(q, q, q, np.zeros((3, 3), bool), *options[1:])
    with pytest.raises(TypeError, match="float32"):
        cpu.attention(q, q.astype(np.float64), q, *options)
