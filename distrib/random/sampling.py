"""Permutations and samples from weights, with PyTorch's numbers on CPU."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..dtypes import BF16, F2, F4, F8, I8, Array, RawDType
from . import fill
from .generator import Generator

INSIDE_OUT = (1 << 32) // 20  # from this length on, another shuffle with two words a step
_LARGEST = {F2: 2048, BF16: 256, F4: 1 << 24, F8: 1 << 53}


def permutation(n: int, dtype: RawDType, gen: Generator) -> Array:
    """The integers 0 .. n-1 in random order (``randperm``), an array [n] of the dtype."""
    if n < 0:
        raise RuntimeError(f"Trying to create tensor with negative dimension {n}: [{n}]")
    if dtype.kind in "bc":
        raise NotImplementedError(
            f"\"randperm\" not implemented for '{fill.SCALAR_NAMES[dtype.name]}'"
        )
    largest = _LARGEST[dtype] if dtype in _LARGEST else int(np.iinfo(dtype).max)
    if n > largest + 1:
        name = fill.SCALAR_NAMES[dtype.name]
        raise RuntimeError(f"n cannot be greater than {largest + 1} for {name} type.")
    with gen.lock:
        if n >= INSIDE_OUT:
            return _inside_out(n, gen).astype(dtype, copy=False)
        if n < 2:
            return np.arange(n, dtype=dtype)
        source = gen.source()
        if source.kernel is not None:
            order = np.empty(n, I8)
            source.kernel.mt_randperm(source.state, order)
            return order.astype(dtype, copy=False)
        return np.array(_fisher_yates(n, source.words(n - 1)), dtype)


def _fisher_yates(n: int, words: Array) -> list[int]:
    other = words % np.arange(n, 1, -1, dtype=np.uint32)
    other += np.arange(n - 1, dtype=np.uint32)
    order = list(range(n))
    for i, j in enumerate(other.tolist()):
        order[i], order[j] = order[j], order[i]
    return order


def _inside_out(n: int, gen: Generator) -> Array:
    order = np.zeros(n, I8)
    raw: Any = order
    cells = memoryview(raw)
    for start in range(0, n, fill.CHUNK):
        k = min(fill.CHUNK, n - start)
        wide = fill.pairs64(gen.words(2 * k))
        wide %= np.arange(start + 1, start + k + 1, dtype=np.uint64)
        for i, j in enumerate(wide.tolist(), start):
            cells[i] = cells[j]
            cells[j] = i
    return order


def multinomial(p: Array, num_samples: int, replacement: bool, gen: Generator) -> Array:
    """Indices drawn by weight, int64 [num_samples] or [rows, num_samples]; errors are PyTorch's.

    Without replacement, indices that compare equal (weights of zero when nothing else is left; some
    of the half types) come in ascending order, where PyTorch's order is that of its topk.
    """
    if p.ndim not in (1, 2):
        raise RuntimeError("prob_dist must be 1 or 2 dim")
    if p.dtype not in _LARGEST:
        raise RuntimeError(
            "multinomial only supports floating-point dtypes for input, got: "
            f"{fill.SCALAR_NAMES[p.dtype.name]}"
        )
    if num_samples <= 0:
        raise RuntimeError("cannot sample n_sample <= 0 samples")
    if not replacement and num_samples > p.shape[-1]:
        raise RuntimeError(
            "cannot sample n_sample > prob_dist.size(-1) samples without replacement: got "
            f"{num_samples} of {p.shape[-1]}"
        )
    if p.ndim == 2 and p.shape[0] == 0:
        return np.empty((0, num_samples), I8)
    if replacement and num_samples > 1:
        return _with_replacement(p, num_samples, gen)
    _check_weights(p)
    drawn = np.empty_like(p)
    fill.exponential(drawn, 1.0, gen)
    with np.errstate(divide="ignore", invalid="ignore"):
        drawn = np.divide(p, drawn)
    if num_samples == 1:
        return np.argmax(drawn, -1, keepdims=True).astype(I8, copy=False)
    best = np.argsort(-drawn, -1, kind="stable")
    return best[..., :num_samples].astype(I8, copy=False)


def _check_weights(p: Array) -> None:
    if p.size and not (np.isfinite(p) & (p >= 0)).all():
        raise RuntimeError("probability tensor contains either `inf`, `nan` or element < 0")
    if (p.astype(F8).sum(-1) == 0).any():
        raise RuntimeError("invalid multinomial distribution (sum of probabilities <= 0)")


def _with_replacement(p: Array, num_samples: int, gen: Generator) -> Array:
    rows = np.atleast_2d(p)
    wide: Any = F8 if p.dtype == F8 else F4
    out = np.empty((rows.shape[0], num_samples), I8)
    for row, target in zip(rows, out, strict=True):
        weights = row.astype(wide)
        for bad, what in (
            (weights < 0, "encountering probability entry < 0"),
            (np.isinf(weights), "encountering probability entry = infinity"),
            (np.isnan(weights), "encountering probability entry = NaN"),
        ):
            if bad.any():
                raise RuntimeError(f"invalid multinomial distribution ({what})")
        running = np.add.accumulate(weights, dtype=wide)
        if not running.size or not running[-1] > 0:
            raise RuntimeError("invalid multinomial distribution (sum of probabilities <= 0)")
        running /= running[-1]
        with gen.lock:
            target[...] = np.searchsorted(running.astype(F8), fill.unit53(gen, num_samples))
    return out if p.ndim == 2 else out[0]
