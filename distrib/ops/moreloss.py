"""Further losses: divergences, negative log likelihoods of densities, margins, labels."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from ..errors import DTypeError, ShapeError
from ..tensor import Tensor, wrap
from .compare import where3
from .loss import _reduced, _reduction
from .registry import publish


def kl_div(
    input: Tensor, target: Tensor, size_average: Any = None, reduce: Any = None, reduction: str = "mean",
    log_target: bool = False,
) -> Tensor:  # fmt: skip
    """target * (log(target) - input), the input in logarithms."""
    reduction = _reduction(reduction, size_average, reduce)
    if reduction == "mean":
        warnings.warn(
            "reduction: 'mean' divides the total loss by both the batch size and the support size."
            "'batchmean' divides only by the batch size, and aligns with the KL div math definition."
            "'mean' will be changed to behave the same as 'batchmean' in the next major release.",
            UserWarning, stacklevel=2,
        )  # fmt: skip
    if log_target:
        loss = target.exp() * (target - input)
    else:
        loss = _xlogy(target, target) - target * input
    if reduction == "batchmean":
        made: Tensor = loss.sum() / input.shape[0] if input._a.ndim else loss.sum()
        return made
    return _reduced(loss, reduction)


def _xlogy(x: Tensor, y: Tensor) -> Tensor:
    positive = x > 0
    made: Tensor = where3(positive, x * where3(positive, y, 1.0).log(), x * 0)
    return made


def poisson_nll_loss(
    input: Tensor, target: Tensor, log_input: bool = True, full: bool = False, size_average: Any = None,
    eps: float = 1e-8, reduce: Any = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """The negative log likelihood of counts under rates, or under the logarithms of rates."""
    reduction = _reduction(reduction, size_average, reduce)
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{reduction} is not a valid value for reduction")
    loss = input.exp() - target * input if log_input else input - target * (input + eps).log()
    if full:
        many = target > 1
        safe = where3(many, target, 2.0)
        stirling = safe * safe.log() - safe + 0.5 * (2 * math.pi * safe).log()
        loss = loss + where3(many, stirling, stirling * 0)
    return _reduced(loss, reduction)


def gaussian_nll_loss(
    input: Tensor,
    target: Tensor,
    var: Any,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Tensor:
    """The negative log likelihood under normal distributions with given means and variances."""
    if isinstance(var, (int, float)):
        if var < 0:
            raise ValueError("var has negative entry/entries")
        var = wrap(np.full(input.shape, var, input._a.dtype))
    elif type(var._a) is np.ndarray and bool((var._a < 0).any()):
        raise ValueError("var has negative entry/entries")
    s, t = tuple(input.shape), tuple(var.shape)
    if s != t:
        if s[:-1] == t:
            var = var.unsqueeze(-1)
        elif not (s[:-1] == t[:-1] and t[-1] == 1) and not _spreads(s, t):
            raise ValueError("var is of incorrect size")
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{reduction} is not a valid value for reduction")
    # the floor takes no part in differentiation
    var = var + wrap(np.maximum(var._a, var._a.dtype.type(eps)) - var._a)
    loss = 0.5 * (var.log() + (input - target).square() / var)
    if full:
        loss = loss + 0.5 * math.log(2 * math.pi)
    return _reduced(loss, reduction)


def _spreads(s: Any, t: Any) -> bool:
    try:
        made: bool = np.broadcast_shapes(s, t) == s
        return made
    except ValueError:
        return False


def soft_margin_loss(
    input: Tensor,
    target: Tensor,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:
    """log(1 + exp(-target * input))."""
    loss = (-target * input).exp().log1p()
    return _reduced(loss, _reduction(reduction, size_average, reduce))


def multilabel_soft_margin_loss(
    input: Tensor, target: Tensor, weight: Any = None, size_average: Any = None, reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """The mean over classes of binary cross-entropies with logits."""
    from .activation import logsigmoid

    loss = -(target * logsigmoid(input) + (1 - target) * logsigmoid(-input))
    if weight is not None:
        loss = loss * weight
    dim = input._a.ndim - 1
    loss = loss.sum(dim) / input.shape[dim]
    return _reduced(loss, _reduction(reduction, size_average, reduce))


def _known(reduction: str) -> None:
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"{reduction} is not a valid value for reduction")


def _classes(input: Tensor, name: str) -> tuple[int, int]:
    """[N, C] or [C] as (N, C)."""
    s = tuple(input.shape)
    if len(s) > 2 or (s and s[-1] == 0):
        raise ShapeError(
            f"{name}: Expected non-empty vector or matrix with optional 0-dim batch size, but got: {list(s)}"
        )
    return (1, input.numel()) if len(s) < 2 else (s[0], s[1])


def multi_margin_loss(
    input: Tensor, target: Tensor, p: int = 1, margin: float = 1.0, weight: Any = None, size_average: Any = None,
    reduce: Any = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """The mean over wrong classes of max(0, margin - right + wrong) ** p."""
    reduction = _reduction(reduction, size_average, reduce)
    _known(reduction)
    if p not in (1, 2):
        raise ValueError("only p == 1 and p == 2 supported")
    n, c = _classes(input, "multi_margin_loss")
    if target._a.ndim > 1 or target.numel() != n:
        raise ShapeError(f"inconsistent target size, expected {n} but got {list(target.shape)}")
    if target._a.dtype != "i8":
        raise DTypeError(f"expected scalar type Long but found {target.dtype.name.title()}")
    if weight is not None and (weight._a.ndim != 1 or weight.numel() != c):
        raise (
            ValueError("weight must be one-dimensional")
            if weight._a.ndim != 1
            else ShapeError(f"inconsistent weight size, expected {c} but got {list(weight.shape)}")
        )
    t = target.reshape(n)
    if type(t._a) is np.ndarray and t._a.size and not bool(((t._a >= 0) & (t._a < c)).all()):
        raise RuntimeError(f"target out of range: must be in [0, {c - 1}]")
    x = input.reshape(n, c)
    right = x.gather(1, t.unsqueeze(1))
    z = (margin - right + x).clamp_min(0)
    z = z if p == 1 else z * z
    if weight is not None:
        z = z * weight.index_select(0, t).unsqueeze(1)
    wrong = wrap((np.arange(c) != t._a[:, None]).astype(z._a.dtype))
    loss = (z * wrong).sum(1) / c
    return _reduced(loss.reshape(target.shape) if reduction == "none" else loss, reduction)


def multilabel_margin_loss(
    input: Tensor,
    target: Tensor,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:
    """Sums of max(0, 1 - right + wrong); the right classes of a row stand before its first -1."""
    reduction = _reduction(reduction, size_average, reduce)
    _known(reduction)
    n, c = _classes(input, "multilabel_margin_loss")
    if tuple(target.shape) != tuple(input.shape):
        raise ShapeError(
            f"inconsistent target size: {list(target.shape)} for input of size: {list(input.shape)}"
        )
    if target._a.dtype != "i8":
        raise DTypeError(f"expected scalar type Long but found {target.dtype.name.title()}")
    t = target._a.reshape(n, c)
    if type(t) is np.ndarray and t.size and (int(t.min()) < -1 or int(t.max()) >= c):
        raise RuntimeError(f"target out of range: must be in [-1, {c - 1}]")
    named = np.logical_and.accumulate(t >= 0, 1)
    picks = np.where(named, t, 0)
    right = np.zeros((n, c), "?")
    right[np.nonzero(named)[0], t[named]] = True
    x = input.reshape(n, c)
    chosen = x.gather(1, wrap(picks))
    z = (1 - chosen.unsqueeze(2) + x.unsqueeze(1)).clamp_min(0)
    use = wrap((named[:, :, None] & ~right[:, None, :]).astype(z._a.dtype))
    loss = (z * use).sum((1, 2)) / c
    if reduction == "none" and input._a.ndim < 2:
        made: Tensor = loss.reshape(())
        return made
    return _reduced(loss, reduction)


def linear_cross_entropy(
    input: Tensor, linear_weight: Tensor, target: Tensor, *, linear_bias: Any = None, weight: Any = None,
    reduction: str = "mean", ignore_index: Any = None, label_smoothing: float = 0.0, options: Any = None,
) -> Tensor:  # fmt: skip
    """Cross-entropy of a linear layer's results; options, which choose PyTorch's chunks, change nothing."""
    from .linalg import linear
    from .loss import cross_entropy

    outs = tuple(linear_weight.shape)[:-1]
    flat = linear_weight.reshape(-1, linear_weight.shape[-1])
    logits = linear(input, flat, None if linear_bias is None else linear_bias.reshape(-1))
    logits = logits.reshape(*tuple(input.shape)[:-1], *outs)
    skip = -100 if ignore_index is None else ignore_index
    return cross_entropy(
        logits,
        target,
        weight,
        ignore_index=skip,
        reduction=reduction,
        label_smoothing=label_smoothing,
    )


__all__ = ["kl_div", "poisson_nll_loss"]
NN = [
    "gaussian_nll_loss", "kl_div", "linear_cross_entropy", "multi_margin_loss", "multilabel_margin_loss",
    "multilabel_soft_margin_loss", "poisson_nll_loss", "soft_margin_loss",
]  # fmt: skip
publish(globals())
