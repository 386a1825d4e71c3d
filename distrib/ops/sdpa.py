"""Scaled dot-product attention as one operator: the compiled form never stores the scores."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..tensor import wrap
from .arithmetic import mul
from .compare import where
from .linalg import matmul_
from .native import fast, fits, has
from .random import masked_scale
from .registry import composite, publish
from .shape import _a
from .softmax import softmax

xp: Any = None  # bound per array type
attention_generic: Any = None  # the NumPy form, bound beside the compiled one


def _weights(query: Any, key: Any, mask: Any, causal: bool, scale: float) -> Any:
    """Softmax over the keys; a row that may see none of them is zero."""
    scores = xp.matmul(query, key.swapaxes(-2, -1))
    scores *= scale
    hidden = None
    if causal:
        hidden = ~xp.tri(scores.shape[-2], scores.shape[-1], dtype="?")
    elif mask is not None and mask.dtype.kind == "b":
        hidden = ~mask
    elif mask is not None:
        scores = scores + mask
    if hidden is not None:
        scores = xp.where(hidden, xp.asarray(-np.inf, scores.dtype), scores)
    top = xp.maximum.reduce(scores, -1, keepdims=True)
    if hidden is not None:
        top = xp.where(xp.isinf(top), xp.zeros((), top.dtype), top)
    scores -= top
    p = xp.exp(scores)
    total = xp.add.reduce(p, -1, keepdims=True)
    if hidden is not None:
        total = xp.where(total == 0, xp.ones((), total.dtype), total)
    p /= total
    return p


def _attention(
    query: Any, key: Any, value: Any, mask: Any, drop: Any, causal: bool, scale: float, keep: float
) -> Any:
    p = _weights(query, key, mask, causal, scale)
    dropped = p if drop is None else p * drop * xp.asarray(keep, p.dtype)
    return xp.matmul(dropped, value), p


def _attention_cpu(
    query: Any,
    key: Any,
    value: Any,
    mask: Any = None,
    drop: Any = None,
    *,
    causal: bool,
    scale: float,
    keep: float,
) -> Any:
    if (
        query.ndim == 4
        and has("attention")
        and fits(query, key, value)
        and query.shape[-1] == value.shape[-1]
    ):
        if query.shape[:2] == key.shape[:2] == value.shape[:2] and (mask is None or mask.ndim == 4):
            return fast.attention(
                query, key, value, _spread(query, key, mask), drop, keep, causal, scale
            )
    return attention_generic(query, key, value, mask, drop, causal=causal, scale=scale, keep=keep)


def _spread(query: Any, key: Any, mask: Any) -> Any:
    return None if mask is None else xp.broadcast_to(mask, (*query.shape[:-1], key.shape[-2]))


def _attention_backward(
    g: Any, query: Any, key: Any, value: Any, mask: Any, drop: Any, y: Any, p: Any, causal: bool, scale: float,
    keep: float, want: Any,
) -> Any:  # fmt: skip
    if p.ndim < g.ndim and not want[3]:  # the compiled form keeps the logarithms of the sums
        mask = _spread(query, key, mask)
        gq, gk, gv = fast.attention_grad(
            g, query, key, value, y, p, mask, drop, keep, causal, scale
        )
        return gq, gk, gv, None, None
    if p.ndim < g.ndim:
        p = _weights(query, key, mask, causal, scale)
    dropped = p if drop is None else p * drop * xp.asarray(keep, p.dtype)
    gv = xp.matmul(dropped.swapaxes(-2, -1), g) if want[2] else None
    gp = xp.matmul(g, value.swapaxes(-2, -1))
    if drop is not None:
        gp = gp * drop * xp.asarray(keep, p.dtype)
    gs = p * (gp - xp.add.reduce(gp * p, -1, keepdims=True))
    gq = xp.matmul(gs, key) * scale if want[0] else None
    gk = xp.matmul(gs.swapaxes(-2, -1), query) * scale if want[1] else None
    return gq, gk, gv, gs if want[3] else None, None


def attention_formula(
    query: Any,
    key: Any,
    value: Any,
    mask: Any = None,
    drop: Any = None,
    *,
    causal: bool,
    scale: float,
    keep: float,
) -> Any:
    """The same in differentiable operators."""
    scores = mul(matmul_(query, key.transpose(-2, -1)), scale)
    if causal:
        mask = wrap(np.tri(scores._a.shape[-2], scores._a.shape[-1], 0, "?"))
    seen = None
    if mask is not None and mask._a.dtype.kind == "b":
        seen = wrap(mask._a.any(-1, keepdims=True))
        scores = where(mask, scores, wrap(np.asarray(-np.inf, scores._a.dtype)))
    elif mask is not None:
        scores = scores + mask
    p = softmax(scores, -1)
    if seen is not None and not bool(seen._a.all()):
        p = where(seen, p, wrap(np.zeros((), p._a.dtype)))
    if drop is not None:
        p = masked_scale(p, drop, scale=keep)
    return matmul_(p, value)


def _ref(
    query: Any, key: Any, value: Any, mask: Any = 0.0, *, causal: bool, scale: float, keep: float
) -> Any:
    scores = np.einsum("...ld,...sd->...ls", query, key) * scale + mask
    if causal:
        scores[
            ..., np.triu_indices(scores.shape[-1], 1)[0], np.triu_indices(scores.shape[-1], 1)[1]
        ] = -np.inf
    p = np.exp(scores)
    return np.einsum("...ls,...sd->...ld", p / p.sum(-1, keepdims=True), value)


attention = composite(
    "attention", attention_formula,
    lambda query, key, value, mask=None, drop=None, *, causal, scale, keep: _attention(
        query, key, value, mask, drop, causal, scale, keep),
    lambda g, query, key, value, mask, drop, y, p, causal, scale, keep, want: _attention_backward(
        g, query, key, value, mask, drop, y, p, causal, scale, keep, want),
    cpu=_attention_cpu, keeps=("p",), rule="math", method=False, fixed=("mask", "drop"),
    grad_name="ScaledDotProductFlashAttentionForCpuBackward0",
    samples=lambda: [
        ((_a(1, 2, 3, 4) * 0.2, _a(1, 2, 3, 4) * 0.3, _a(1, 2, 3, 4)), {"causal": True, "scale": 0.5, "keep": 1.0}),
        ((_a(2, 3, 4) * 0.2, _a(2, 5, 4) * 0.3, _a(2, 5, 3), _a(3, 5) * 0.1),
         {"causal": False, "scale": 0.7, "keep": 1.0}),
        ((_a(2, 2, 3, 4) * 0.2, _a(2, 2, 5, 4) * 0.3, _a(2, 2, 5, 4), _a(2, 1, 1, 5) * 0.1),
         {"causal": False, "scale": 0.7, "keep": 1.0})],
    ref=_ref,
)  # fmt: skip


def scale_of(width: int, scale: float | None) -> float:
    """What products are multiplied with: 1 / sqrt(width) unless given."""
    return 1 / math.sqrt(width) if scale is None else float(scale)


__all__: list[str] = []
publish(globals())
