"""Distances and similarities between vectors, and losses made of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import DTypeError, ShapeError
from ..tensor import Tensor, wrap
from .compare import ne, where3
from .loss import _reduced, _reduction
from .registry import inplace_of, method, publish, with_out
from .shape import broadcast_tensors
from .stats import vector_norm


def pairwise_distance(
    x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> Tensor:
    """The p-norm of x1 - x2 + eps over the last dimension."""
    d: Tensor = vector_norm(x1 - x2 + eps, ord=float(p), dim=-1, keepdim=keepdim)
    return d


def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """The cosine of the angle between vectors along a dimension."""
    if not (x1.is_floating_point() and x2.is_floating_point()) and not (
        x1.is_complex() or x2.is_complex()
    ):
        raise RuntimeError(
            f"expected common dtype to be floating point, yet common dtype is {_common(x1, x2)}"
        )
    x1, x2 = broadcast_tensors(x1, x2)
    a = x1 / vector_norm(x1, dim=dim, keepdim=True).clamp_min(eps)
    b = x2 / vector_norm(x2, dim=dim, keepdim=True).clamp_min(eps)
    y: Tensor = (a * b).sum(dim)
    return y


def _common(a: Tensor, b: Tensor) -> str:
    from ..dtypes import promote_types

    return promote_types(a.dtype, b.dtype).name.title()


def cdist(
    x1: Tensor,
    x2: Tensor,
    p: float = 2.0,
    compute_mode: str = "use_mm_for_euclid_dist_if_necessary",
) -> Tensor:
    """[B, P, R]: the p-distances between all rows of [B, P, M] and [B, R, M]."""
    for x, what in ((x1, "X1"), (x2, "X2")):
        if not x.is_floating_point():
            raise DTypeError(
                f"cdist only supports floating-point dtypes, {what} got: {x.dtype.name.title()}"
            )
    if x1._a.ndim < 2 or x2._a.ndim < 2:
        raise ShapeError(
            "cdist only supports at least 2D tensors", got=f"{list(x1.shape)} and {list(x2.shape)}"
        )
    if x1.shape[-1] != x2.shape[-1]:
        raise ShapeError(
            f"X1 and X2 must have the same number of columns. X1: {x1.shape[-1]} X2: {x2.shape[-1]}"
        )
    if p < 0:
        raise RuntimeError("cdist only supports non-negative p values")
    d = x1.unsqueeze(-2) - x2.unsqueeze(-3)
    return _size(d, p)


def _size(d: Tensor, p: float) -> Tensor:
    """The p-norm of the last dimension; of order 0 with a gradient of zeros."""
    y: Tensor = vector_norm(d, ord=float(p), dim=-1)
    return y + (d * 0).sum(-1) if p == 0 else y


def pdist(input: Tensor, p: float = 2) -> Tensor:
    """The p-distances of all pairs of rows, row by row of the upper triangle."""
    if input._a.ndim != 2:
        raise ShapeError("pdist only supports 2D tensors, got: " + f"{input._a.ndim}D")
    if p < 0:
        raise RuntimeError("pdist only supports non-negative p values")
    i, j = np.triu_indices(input.shape[0], 1)
    d = input.index_select(0, wrap(i)) - input.index_select(0, wrap(j))
    return _size(d, p)


# ---- losses ------------------------------------------------------------------------------------------
def cosine_embedding_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0, size_average: Any = None, reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """1 - cos for target 1, max(0, cos - margin) for target -1."""
    n = target._a.ndim
    if n > 1:
        raise ShapeError(f"0D or 1D target tensor expected, multi-target not supported, got {n}D")
    if input1._a.ndim != n + 1 or input2._a.ndim != n + 1:
        raise ShapeError(
            f"{n}D target tensor expects {n + 1}D input tensors, but found inputs with sizes {list(input1.shape)} and {list(input2.shape)}."
        )
    eps = 1e-12
    product = (input1 * input2).sum(n)
    square1 = (input1 * input1).sum(n) + eps
    square2 = (input2 * input2).sum(n) + eps
    cos = product / (square1 * square2).sqrt()
    zero = cos * 0
    loss = where3(target.eq(1), 1 - cos, zero) + where3(
        target.eq(-1), (cos - margin).clamp_min(0), zero
    )
    return _reduced(loss, _reduction(reduction, size_average, reduce))


def margin_ranking_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0, size_average: Any = None, reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """max(0, -target * (input1 - input2) + margin)."""
    if not input1._a.ndim == input2._a.ndim == target._a.ndim:
        raise ShapeError(
            f"margin_ranking_loss : All input tensors should have same dimension but got sizes: input1: {input1.shape}, input2: {input2.shape}, target: {target.shape} "
        )
    loss = (-target * (input1 - input2) + margin).clamp_min(0)
    return _reduced(loss, _reduction(reduction, size_average, reduce))


def hinge_embedding_loss(
    input: Tensor, target: Tensor, margin: float = 1.0, size_average: Any = None, reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """The input for target 1, max(0, margin - input) for target -1."""
    zero = input * 0
    far = where3(ne(target, 1), (margin - input).clamp_min(0), zero)
    near = where3(ne(target, -1), input, zero)
    return _reduced(far + near, _reduction(reduction, size_average, reduce))


def triplet_margin_loss(
    anchor: Tensor, positive: Tensor, negative: Tensor, margin: float = 1.0, p: float = 2, eps: float = 1e-6,
    swap: bool = False, size_average: Any = None, reduce: Any = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """max(0, margin + d(anchor, positive) - d(anchor, negative)), d the p-distance."""
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    if not anchor._a.ndim == positive._a.ndim == negative._a.ndim:
        raise ShapeError(
            f"The anchor, positive, and negative tensors are expected to have the same number of dimensions, but got: anchor {anchor._a.ndim}D, positive {positive._a.ndim}D, and negative {negative._a.ndim}D inputs"
        )

    def apart(a: Tensor, b: Tensor) -> Tensor:
        return pairwise_distance(a, b, p, eps)

    return _triplet(
        anchor, positive, negative, apart, margin, swap, _reduction(reduction, size_average, reduce)
    )


def triplet_margin_with_distance_loss(
    anchor: Tensor, positive: Tensor, negative: Tensor, *, distance_function: Callable[[Tensor, Tensor], Tensor] | None = None,
    margin: float = 1.0, swap: bool = False, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """`triplet_margin_loss` with a distance of one's own."""
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"{reduction} is not a valid value for reduction")
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    if not anchor._a.ndim == positive._a.ndim == negative._a.ndim:
        raise ShapeError(
            f"The anchor, positive, and negative tensors are expected to have the same number of dimensions, but got: anchor {anchor._a.ndim}D, positive {positive._a.ndim}D, and negative {negative._a.ndim}D inputs"
        )
    return _triplet(
        anchor, positive, negative, distance_function or pairwise_distance, margin, swap, reduction
    )


def _triplet(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    apart: Any,
    margin: float,
    swap: bool,
    reduction: str,
) -> Tensor:
    far = apart(anchor, negative)
    if swap:
        far = far.minimum(apart(positive, negative))
    return _reduced((margin + apart(anchor, positive) - far).clamp_min(0), reduction)


@method()
@with_out
def renorm(input: Tensor, p: float, dim: int, maxnorm: float) -> Tensor:
    """Slices along a dimension whose p-norm exceeds maxnorm, scaled down to it."""
    if p <= 0:
        raise RuntimeError("renorm: non-positive-norm not supported")
    n = input._a.ndim
    if n < 2:
        raise ShapeError(f"renorm: input needs at least 2 dimensions, got {n} dimensions")
    if maxnorm < 0:
        raise RuntimeError(f"renorm: expected maxnorm to be >= 0 but got {maxnorm}")
    others = tuple(i for i in range(n) if i != dim % n)
    size = vector_norm(input, ord=float(p), dim=others, keepdim=True)
    over = size > maxnorm
    scale = where3(over, maxnorm / (size + 1e-7), 1.0)
    y: Tensor = input * scale
    return y


inplace_of(renorm)
__all__ = ["cdist", "cosine_similarity", "pairwise_distance", "pdist"]
__all__ += [
    "cosine_embedding_loss",
    "hinge_embedding_loss",
    "margin_ranking_loss",
    "renorm",
    "triplet_margin_loss",
]
NN = [
    "cosine_embedding_loss", "cosine_similarity", "hinge_embedding_loss", "margin_ranking_loss", "pairwise_distance",
    "pdist", "triplet_margin_loss", "triplet_margin_with_distance_loss",
]  # fmt: skip
publish(globals())
