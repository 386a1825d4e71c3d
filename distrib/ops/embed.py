"""Embeddings and one-hot codes."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..devices import xp_of
from ..errors import DTypeError, ShapeError
from ..tensor import Tensor, wrap
from .native import fast, fits, has
from .registry import operator, publish
from .shape import _a

xp: Any = None  # bound per array type
embedding_grad_generic: Any = None


def _lookup(weight: Any, index: Any) -> Any:
    if index.dtype.kind not in "iu" or index.dtype.itemsize < 4:
        raise DTypeError(
            f"Expected tensor for argument #1 'indices' to have one of the following scalar types: Long, Int; but got {index.dtype} instead (while checking arguments for embedding)"
        )
    if weight.ndim != 2:
        raise ShapeError("'weight' must be 2-D")
    if type(index) is np.ndarray and index.size:
        low, high = int(index.min()), int(index.max())
        if low < 0 or high >= weight.shape[0]:
            raise IndexError(
                f"index out of range in self: expected 0 to {weight.shape[0] - 1}, got {low if low < 0 else high}"
            )
    return weight[index]


embedding_ = operator(
    "embedding", lambda weight, index, *, padding_idx=-1, scale=False: _lookup(weight, index),
    (lambda g, index, weight_shape, padding_idx, scale: embedding_grad(
        g, index, shape=weight_shape, padding_idx=padding_idx, scale=scale), None),
    method=False, onnx="Gather",
    samples=lambda: [((_a(5, 3), np.array([[0, 2], [4, 2]])), {})], ref=lambda w, i: np.take(w, i, 0),
)  # fmt: skip


def _embedding_grad(g: Any, index: Any, shape: Any, padding_idx: int, scale: bool) -> Any:
    z = xp.zeros(shape, g.dtype)
    flat, rows = index.reshape(-1), g.reshape(-1, shape[1])
    if scale:
        count = xp.bincount(flat, minlength=shape[0])
        rows = rows / count[flat][:, None].astype(g.dtype)
    if padding_idx >= 0:
        keep = flat != padding_idx
        flat, rows = flat[keep], rows[keep]
    xp.add.at(z, flat, rows)
    return z


def _embedding_grad_cpu(g: Any, index: Any, *, shape: Any, padding_idx: int, scale: bool) -> Any:
    if has("embedding_grad") and not scale and fits(g) and g.dtype == np.float32:
        return fast.embedding_grad(g, index.astype("i8", copy=False), shape[0], padding_idx)
    return embedding_grad_generic(g, index, shape=shape, padding_idx=padding_idx, scale=scale)


embedding_grad: Any = operator(
    "embedding_grad",
    lambda g, index, *, shape, padding_idx, scale: _embedding_grad(g, index, shape, padding_idx, scale),
    (lambda h, index, padding_idx: embedding_masked(h, index, padding_idx=padding_idx), None),
    cpu=_embedding_grad_cpu, method=False,
    samples=lambda: [((_a(3, 2), np.array([1, 0, 1])), {"shape": (3, 2), "padding_idx": -1, "scale": False})],
    ref=lambda g, i, shape, padding_idx, scale: np.stack([g[1], g[0] + g[2], 0 * g[0]]),
)  # fmt: skip
embedding_masked: Any = operator(
    "_embedding_masked", lambda h, index, *, padding_idx: h[index] * (index != padding_idx)[..., None],
    (lambda g, index, h_shape, padding_idx: embedding_grad(
        g, index, shape=h_shape, padding_idx=padding_idx, scale=False), None),
    samples=lambda: [((_a(3, 2), np.array([1, 0])), {"padding_idx": 0})],
    ref=lambda h, i, padding_idx: np.stack([h[1], 0 * h[0]]),
)  # fmt: skip


def embedding_renorm_(
    weight: Tensor, input: Tensor, max_norm: float, norm_type: float = 2.0
) -> Tensor:
    """Scale the rows that are looked up down to a norm, in place."""
    rows = np.unique(input._a)
    w = weight._a[rows]
    size = (
        (np.abs(w) ** norm_type).sum(1) ** (1.0 / norm_type)
        if norm_type != np.inf
        else np.abs(w).max(1)
    )
    scale = np.where(size > max_norm, max_norm / (size + 1e-7), 1.0).astype(w.dtype)
    weight._a[rows] = w * scale[:, None]
    weight._bump()
    return weight


def embedding(
    input: Tensor, weight: Tensor, padding_idx: int | None = None, max_norm: float | None = None,
    norm_type: float = 2.0, scale_grad_by_freq: bool = False, sparse: bool = False,
) -> Tensor:  # fmt: skip
    """Rows of weight [n, d] by index: [*] -> [*, d]; the row padding_idx gets no gradient."""
    pad = -1
    if padding_idx is not None:
        n = weight._a.shape[0]
        if not -n <= padding_idx < n:
            raise AssertionError(
                f"Padding_idx must be within num_embeddings: expected {-n} to {n - 1}, got {padding_idx}"
            )
        pad = padding_idx % n
    if max_norm is not None:
        embedding_renorm_(weight.detach(), input, max_norm, norm_type)
    y: Tensor = embedding_(weight, input, padding_idx=pad, scale=bool(scale_grad_by_freq))
    return y


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """Indices as vectors of zeros and a one, int64."""
    a = tensor._a
    if a.dtype != np.dtype("i8"):
        raise RuntimeError("one_hot is only applicable to index tensor of type LongTensor.")
    if a.size == 0 and num_classes <= 0:
        raise RuntimeError("Can not infer total number of classes from empty tensor.")
    if tensor.is_meta and num_classes >= 0:
        return wrap((a[..., None] == xp_of(a).arange(num_classes)).astype("i8"))
    if a.size and int(a.min()) < 0:
        raise RuntimeError(f"Class values must be non-negative. Got {int(a.min())}")
    n = int(a.max()) + 1 if num_classes == -1 else num_classes
    if a.size and int(a.max()) >= n:
        raise RuntimeError(
            f"Class values must be smaller than num_classes. Expected 0 to {n - 1}, got {int(a.max())}"
        )
    return wrap((a[..., None] == np.arange(n)).astype("i8"))


def embedding_bag(
    input: Tensor, weight: Tensor, offsets: Any = None, max_norm: float | None = None, norm_type: float = 2,
    scale_grad_by_freq: bool = False, mode: str = "mean", sparse: bool = False, per_sample_weights: Any = None,
    include_last_offset: bool = False, padding_idx: int | None = None,
) -> Tensor:  # fmt: skip
    """Sums, means or maxima of the embeddings of bags: rows of a matrix, or parts of a vector."""
    from .creation import zeros
    from .join import stack

    if mode not in ("sum", "mean", "max"):
        raise ValueError("mode has to be one of sum, mean or max")
    if per_sample_weights is not None and mode != "sum":
        raise NotImplementedError(
            f"embedding_bag: per_sample_weights was not None. per_sample_weights is only supported for mode='sum' (got mode='{mode}'). Please open a feature request on GitHub."
        )
    if per_sample_weights is not None and input._a.shape != per_sample_weights._a.shape:
        raise ValueError(
            f"embedding_bag: If per_sample_weights ({per_sample_weights.shape}) is not None, then it must have the same shape as the input ({input.shape})"
        )
    if input._a.ndim == 2:
        if offsets is not None:
            raise ValueError(
                "if input is 2D, then offsets has to be None, as input is treated is a mini-batch of fixed length sequences."
            )
        n, k = input._a.shape
        starts = [i * k for i in range(n)]
        input = input.reshape(-1)
        if per_sample_weights is not None:
            per_sample_weights = per_sample_weights.reshape(-1)
    elif input._a.ndim == 1:
        if offsets is None:
            raise ValueError("offsets has to be a 1D Tensor but got None")
        if offsets._a.ndim != 1:
            raise ValueError("offsets has to be a 1D Tensor")
        starts = offsets.tolist()
        if include_last_offset:
            starts = starts[:-1]
    else:
        raise ValueError(
            f"input has to be 1D or 2D Tensor, but got Tensor of dimension {input._a.ndim}"
        )
    rows = embedding(input, weight, padding_idx, max_norm, norm_type, scale_grad_by_freq)
    if per_sample_weights is not None:
        rows = rows * per_sample_weights.unsqueeze(1)
    keep = (
        np.ones(input.numel(), "?")
        if padding_idx is None
        else input._a != padding_idx % weight._a.shape[0]
    )
    bags = []
    for a, b in zip(starts, [*starts[1:], input.numel()], strict=True):
        members = np.flatnonzero(keep[a:b]) + a
        if members.size == 0:
            bags.append(zeros(weight._a.shape[1], dtype=weight.dtype))
            continue
        part = rows[wrap(members)]
        bags.append(
            part.sum(0) if mode == "sum" else part.mean(0) if mode == "mean" else part.max(0)[0]
        )
    return stack(bags, 0) if bags else zeros(0, weight._a.shape[1], dtype=weight.dtype)


__all__ = ["embedding_renorm_"]
NN = ["embedding", "embedding_bag", "one_hot"]
publish(globals())
