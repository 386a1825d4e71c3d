"""Losses: classification with fused kernels, regression and ranking in operators."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from ..autograd.inplace import kind
from ..dtypes import F4
from ..errors import DTypeError, ShapeError
from ..tensor import Tensor, wrap
from .native import fast, fits, has
from .pointwise import sigmoid
from .registry import composite, operator, publish
from .shape import _a, broadcast_tensors

xp: Any = None  # bound per array type
cross_entropy_index_generic: Any = None


def _reduced(loss: Tensor, reduction: str) -> Tensor:
    """Mean, sum or nothing; ValueError for another word."""
    if reduction == "mean":
        made: Tensor = loss.mean()
    elif reduction == "sum":
        made = loss.sum()
    elif reduction == "none":
        made = loss
    else:
        raise ValueError(f"{reduction} is not a valid value for reduction")
    return made


def _reduction(reduction: str, size_average: Any, reduce: Any) -> str:
    """The reduction that the older flags mean."""
    if size_average is None and reduce is None:
        return reduction
    warnings.warn(
        "size_average and reduce args will be deprecated, please use reduction='...' instead.",
        UserWarning,
        stacklevel=3,
    )
    if reduce is False:
        return "none"
    return "sum" if size_average is False else "mean"


# ---- cross-entropy with class indices: one pass over [N, C] for loss and gradient -------------------
def _ce(x: Any, target: Any, ignore_index: int) -> Any:
    """The loss of each row, and the probabilities."""
    z = x - xp.maximum.reduce(x, 1, keepdims=True)
    p = xp.exp(z)
    s = xp.add.reduce(p, 1, keepdims=True)
    p /= s
    keep = target != ignore_index
    rows = xp.arange(x.shape[0])
    loss = xp.log(s[:, 0]) - z[rows, xp.where(keep, target, 0)]
    return xp.where(keep, loss, xp.zeros((), x.dtype)), p


def _ce_cpu(input: Any, target: Any, *, ignore_index: int) -> Any:
    if has("cross_entropy") and fits(input) and input.dtype == F4 and input.flags.c_contiguous:
        loss, lse, _ = fast.cross_entropy(input, target, None, ignore_index, 0, 0.0)
        return loss, lse
    return cross_entropy_index_generic(input, target, ignore_index=ignore_index)


def ce_formula(input: Any, target: Any, *, ignore_index: int) -> Any:
    """Cross-entropy of each row in differentiable operators."""
    picked = nll_pick(log_softmax(input, 1), target, ignore_index=ignore_index)
    return -picked


def log_softmax(x: Any, dim: int) -> Any:
    """log softmax, recorded."""
    from .softmax import log_softmax as ls

    return ls(x, dim)


def _ce_backward(g: Any, input: Any, target: Any, p: Any, ignore_index: int) -> Any:
    keep = target != ignore_index
    g = xp.where(keep, g, xp.zeros((), g.dtype))
    if p.ndim == 1:  # the compiled form keeps the logarithm of the sums
        return fast.cross_entropy_grad(g, input, target, p, None, ignore_index, 0.0, 1.0), None
    d = p * g[:, None]
    rows = xp.arange(d.shape[0])
    d[rows, xp.where(keep, target, 0)] -= g
    return d, None


def _ce_ref(x: Any, t: Any, *, ignore_index: int) -> Any:
    p = np.exp(x) / np.exp(x).sum(1, keepdims=True)
    return np.array([0.0 if k == ignore_index else -np.log(p[i, k]) for i, k in enumerate(t)])


cross_entropy_index = composite(
    "cross_entropy_index", ce_formula,
    lambda input, target, *, ignore_index: _ce(input, target, ignore_index),
    lambda g, input, target, p, ignore_index: _ce_backward(g, input, target, p, ignore_index),
    cpu=_ce_cpu, keeps=("p",), rule="math", method=False, fixed=("target",), grad_name="NllLossBackward0",
    samples=lambda: [((_a(3, 4), np.array([0, 3, 1])), {"ignore_index": 3})], ref=_ce_ref,
)  # fmt: skip


def _nll_pick(x: Any, target: Any, ignore_index: int) -> Any:
    keep = target != ignore_index
    rows = xp.arange(x.shape[0])
    return xp.where(keep, x[rows, xp.where(keep, target, 0)], xp.zeros((), x.dtype))


def _nll_unpick(g: Any, target: Any, shape: Any, ignore_index: int) -> Any:
    z, keep = xp.zeros(shape, g.dtype), target != ignore_index
    z[xp.arange(shape[0]), xp.where(keep, target, 0)] = xp.where(keep, g, xp.zeros((), g.dtype))
    return z


nll_pick = operator(
    "_nll_pick", lambda x, target, *, ignore_index: _nll_pick(x, target, ignore_index),
    (lambda g, target, x_shape, ignore_index: nll_unpick(g, target, shape=x_shape, ignore_index=ignore_index), None),
    "math", fixed=("target",), grad_name="NllLossBackward0",
    samples=lambda: [((_a(3, 4), np.array([0, 3, 1])), {"ignore_index": -100})],
    ref=lambda x, t, ignore_index: np.array([x[0, 0], x[1, 3], x[2, 1]]),
)  # fmt: skip
nll_unpick: Any = operator(
    "_nll_unpick", lambda g, target, *, shape, ignore_index: _nll_unpick(g, target, shape, ignore_index),
    (lambda h, target, ignore_index: nll_pick(h, target, ignore_index=ignore_index), None),
    samples=lambda: [((_a(2), np.array([1, 0])), {"shape": (2, 2), "ignore_index": -100})],
    ref=lambda g, t, shape, ignore_index: np.array([[0, g[0]], [g[1], 0]]),
)  # fmt: skip


def _class_last(input: Tensor, target: Tensor, name: str) -> tuple[Any, Any, Any]:
    """[N, C, ...] as rows [M, C], the targets as [M], and the shape of the losses."""
    s = tuple(input._a.shape)
    if not s:
        raise ShapeError(f"{name}: Expected input of at least one dimension")
    if len(s) == 1:
        if target._a.ndim > 0 and tuple(target._a.shape) != ():
            raise ShapeError(
                f"size mismatch (got input: {list(s)}, target: {list(target._a.shape)})"
            )
        return input.unsqueeze(0), target.reshape(1), ()
    if target._a.ndim != len(s) - 1 or target._a.shape[0] != s[0]:
        if target._a.ndim and s[0] != target._a.shape[0]:
            raise ValueError(
                f"Expected input batch_size ({s[0]}) to match target batch_size ({target._a.shape[0]})."
            )
        raise ShapeError(f"Expected target size {[s[0], *s[2:]]}, got {list(target._a.shape)}")
    if tuple(target._a.shape[1:]) != s[2:]:
        raise ShapeError(f"Expected target size {[s[0], *s[2:]]}, got {list(target._a.shape)}")
    if len(s) == 2:
        return input, target, (s[0],)
    return input.movedim(1, -1).reshape(-1, s[1]), target.reshape(-1), (s[0], *s[2:])


def _check_classes(target: Tensor, classes: int, ignore_index: int) -> Any:
    a = target._a
    if a.dtype.kind not in "iu":
        raise DTypeError(f"expected scalar type Long but found {kind(target._a.dtype)}")
    if a.dtype != np.dtype("i8"):
        target = target.long()
        a = target._a
    if type(a) is np.ndarray and a.size and (int(a.min()) < 0 or int(a.max()) >= classes):
        bad = a[(a != ignore_index) & ((a < 0) | (a >= classes))]
        if bad.size:
            raise IndexError(f"Target {int(bad.flat[0])} is out of bounds.")
    return target


def _weights(weight: Any, rows: Tensor, target: Tensor, classes: int, ignore_index: int) -> Any:
    """The weight of each row, zero where it is ignored; None if all are one."""
    keep = target._a != ignore_index
    if weight is None:
        return None if target.is_meta or keep.all() else wrap(keep.astype(rows._a.dtype))
    if weight._a.ndim != 1 or weight.numel() != classes:
        raise ShapeError(
            f"weight tensor should be defined either for all {classes} classes or no classes but got weight tensor of shape: {list(weight._a.shape)}"
        )
    w = weight._a[np.where(keep, target._a, 0)] * keep
    return wrap(w.astype(rows._a.dtype))


def _finish(loss: Tensor, w: Any, reduction: str, shape: Any) -> Tensor:
    """Weight and reduce the losses of rows: the mean is over the sum of weights."""
    if w is not None:
        loss = loss * w
    if reduction == "mean" and w is not None:
        made: Tensor = loss.sum() / w.sum()
        return made
    if reduction == "none":
        made = loss.reshape(shape)
        return made
    return _reduced(loss, reduction)


def cross_entropy(
    input: Tensor, target: Tensor, weight: Any = None, size_average: Any = None, ignore_index: int = -100,
    reduce: Any = None, reduction: str = "mean", label_smoothing: float = 0.0,
) -> Tensor:  # fmt: skip
    """Cross-entropy of logits [N, C, ...] with class indices [N, ...] or probabilities [N, C, ...]."""
    reduction = _reduction(reduction, size_average, reduce)
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"{reduction} is not a valid value for reduction")
    if not 0.0 <= label_smoothing <= 1.0:
        raise RuntimeError(f"label_smoothing must be between 0.0 and 1.0. Got: {label_smoothing}")
    if target._a.shape == input._a.shape and target._a.dtype.kind not in "biu":
        return _soft_targets(input, target, weight, reduction, label_smoothing)
    if target._a.dtype.kind not in "biu":
        raise DTypeError(f"expected scalar type Long but found {kind(target._a.dtype)}")
    rows, t, shape = _class_last(input, target, "cross_entropy")
    classes = rows._a.shape[1]
    t = _check_classes(t, classes, ignore_index)
    w = _weights(weight, rows, t, classes, ignore_index)
    loss: Tensor = cross_entropy_index(rows, t, ignore_index=ignore_index)
    if label_smoothing == 0.0:
        return _finish(loss, w, reduction, shape)
    logp = log_softmax(rows, 1)
    keep = wrap((t._a != ignore_index).astype(rows._a.dtype))
    smooth = -(logp if weight is None else logp * weight).sum(1) * keep
    hard = loss if w is None else loss * w
    both = hard * (1 - label_smoothing) + smooth * (label_smoothing / classes)
    if reduction == "mean":
        made: Tensor = both.sum() / (keep.sum() if weight is None else w.sum())
        return made
    result: Tensor = both.reshape(shape) if reduction == "none" else both.sum()
    return result


def _soft_targets(
    input: Tensor, target: Tensor, weight: Any, reduction: str, smoothing: float
) -> Tensor:
    dim = 1 if input._a.ndim > 1 else 0
    classes = input._a.shape[dim]
    if smoothing > 0:
        target = target * (1 - smoothing) + smoothing / classes
    logp = log_softmax(input, dim)
    if weight is not None:
        shape = [1] * input._a.ndim
        shape[dim] = -1
        logp = logp * weight.reshape(shape)
    loss = -(logp * target).sum(dim)
    if reduction == "mean":
        made: Tensor = loss.sum() / max(1, input.numel() // classes)
        return made
    return _reduced(loss, reduction)


def nll_loss(
    input: Tensor, target: Tensor, weight: Any = None, size_average: Any = None, ignore_index: int = -100,
    reduce: Any = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """Negative log likelihood of log-probabilities [N, C, ...] at class indices."""
    reduction = _reduction(reduction, size_average, reduce)
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"{reduction} is not a valid value for reduction")
    rows, t, shape = _class_last(input, target, "nll_loss")
    classes = rows._a.shape[1]
    t = _check_classes(t, classes, ignore_index)
    w = _weights(weight, rows, t, classes, ignore_index)
    loss = -nll_pick(rows, t, ignore_index=ignore_index)
    if reduction == "mean" and w is None and loss.numel() == 0:
        made: Tensor = loss.sum() / 0.0
        return made
    return _finish(loss, w, reduction, shape)


def binary_cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Any = None,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:
    """Cross-entropy of probabilities with targets in [0, 1]; logarithms are clamped at -100."""
    reduction = _reduction(reduction, size_average, reduce)
    if target._a.shape != input._a.shape:
        raise ValueError(
            f"Using a target size ({target.shape}) that is different to the input size ({input.shape}) is deprecated. Please ensure they have the same size."
        )
    a = input._a
    if a.dtype != target._a.dtype:
        raise DTypeError(
            f"Found dtype {target.dtype.name.title()} but expected {input.dtype.name.title()}"
        )
    if type(a) is np.ndarray and a.size and not bool(((a >= 0) & (a <= 1)).all()):
        raise RuntimeError(
            f"all elements of input should be between 0 and 1, got {a.min():g} to {a.max():g}"
        )
    loss: Tensor = -(target * clamped_log(input) + (1 - target) * clamped_log(1 - input))
    return _reduced(loss if weight is None else loss * weight, reduction)


clamped_log = operator(
    "_clamped_log", lambda x: xp.maximum(xp.log(x), xp.asarray(-100, x.dtype)),
    (lambda g, x: g / floor_at(x, low=1e-12),), "math",
    samples=lambda: [((np.array([0.2, 0.9]),), {})], ref=lambda x: np.log(x),
)  # fmt: skip
floor_at: Any = operator(
    "_floor_at", lambda x, *, low: xp.maximum(x, xp.asarray(low, x.dtype)),
    (lambda g, x, low: g * above(x, low=low),),
    samples=lambda: [((np.array([0.2, 0.9]),), {"low": 0.5})], ref=lambda x, low: np.where(x > low, x, low),
)  # fmt: skip
above: Any = operator(
    "_above", lambda x, *, low: (x > low).astype(x.dtype), (lambda g: g * 0.0,),
    samples=lambda: [((np.array([0.2, 0.9]),), {"low": 0.5})], ref=lambda x, low: np.where(x > low, 1.0, 0.0),
)  # fmt: skip


def _bce_logits(x: Any, t: Any) -> Any:
    return xp.maximum(x, xp.zeros((), x.dtype)) - x * t + xp.log1p(xp.exp(-xp.abs(x)))


bce_logits = operator(
    "_bce_with_logits", lambda x, target: _bce_logits(x, target),
    (lambda g, x, target: g * (sigmoid(x) - target), lambda g, x: g * (-x)), "promote",
    samples=lambda: [((_a(4), np.array([0.0, 1.0, 0.3, 0.6])), {})],
    ref=lambda x, target: -(target * np.log(1 / (1 + np.exp(-x))) + (1 - target) * np.log(1 - 1 / (1 + np.exp(-x)))),
)  # fmt: skip


def binary_cross_entropy_with_logits(
    input: Tensor, target: Tensor, weight: Any = None, size_average: Any = None, reduce: Any = None,
    reduction: str = "mean", pos_weight: Any = None,
) -> Tensor:  # fmt: skip
    """Cross-entropy of logits with targets in [0, 1]."""
    reduction = _reduction(reduction, size_average, reduce)
    if target._a.shape != input._a.shape:
        raise ValueError(
            f"Target size ({target.shape}) must be the same as input size ({input.shape})"
        )
    if pos_weight is None:
        loss: Tensor = bce_logits(input, target)
    else:
        log_weight = (pos_weight - 1) * target + 1
        loss = (1 - target) * input + log_weight * (softplus(-input.abs()) + (-input).clamp_min(0))
    return _reduced(loss if weight is None else loss * weight, reduction)


def softplus(x: Any) -> Any:
    """log(1 + exp(x)), recorded."""
    return x.clamp_min(0) + (-x.abs()).exp().log1p()


# ---- regression -----------------------------------------------------------------------------------------
def _pair(input: Tensor, target: Tensor, name: str) -> tuple[Tensor, Tensor]:
    for x, what in ((input, "input"), (target, "target")):
        if not isinstance(x, Tensor):
            raise TypeError(f"{name}(): argument '{what}' must be Tensor, not {type(x).__name__}")
    if input._a.shape != target._a.shape:
        warnings.warn(
            f"Using a target size ({target.shape}) that is different to the input size ({input.shape}). This "
            "will likely lead to incorrect results due to broadcasting. Please ensure they have the same size.",
            UserWarning, stacklevel=3,
        )  # fmt: skip
        a, b = broadcast_tensors(input, target)
        return a, b
    return input, target


def mse_loss(
    input: Tensor,
    target: Tensor,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
    weight: Any = None,
) -> Tensor:
    """The square of differences."""
    a, b = _pair(input, target, "mse_loss")
    loss: Tensor = (a - b).square()
    return _weighted(loss, weight, _reduction(reduction, size_average, reduce))


def _weighted(loss: Tensor, weight: Any, reduction: str) -> Tensor:
    if weight is None:
        return _reduced(loss, reduction)
    if weight._a.shape != loss._a.shape:
        raise ValueError("Weights and input must have the same size.")
    loss = loss * weight
    if reduction == "mean":
        made: Tensor = loss.sum() / weight.sum()
        return made
    return _reduced(loss, reduction)


def l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
    weight: Any = None,
) -> Tensor:
    """The size of differences."""
    a, b = _pair(input, target, "l1_loss")
    return _weighted((a - b).abs(), weight, _reduction(reduction, size_average, reduce))


def smooth_l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
    beta: float = 1.0,
) -> Tensor:
    """Squares below beta, sizes above."""
    from .compare import where

    a, b = _pair(input, target, "smooth_l1_loss")
    reduction = _reduction(reduction, size_average, reduce)
    if beta < 0:
        raise RuntimeError("smooth_l1_loss does not support negative values for beta.")
    if beta == 0:
        return l1_loss(a, b, reduction=reduction)
    z = (a - b).abs()
    return _reduced(where(z < beta, z * z * (0.5 / beta), z - 0.5 * beta), reduction)


def huber_loss(
    input: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0, weight: Any = None
) -> Tensor:
    """Squares below delta, delta times sizes above."""
    from .compare import where

    a, b = _pair(input, target, "huber_loss")
    if delta <= 0:
        raise RuntimeError(
            f"huber_loss does not support non-positive values for delta. Got {delta}"
        )
    z = (a - b).abs()
    return _weighted(where(z < delta, z * z * 0.5, (z - 0.5 * delta) * delta), weight, reduction)


__all__: list[str] = []
NN = [
    "binary_cross_entropy", "binary_cross_entropy_with_logits", "cross_entropy", "huber_loss", "l1_loss",
    "mse_loss", "nll_loss", "smooth_l1_loss",
]  # fmt: skip
publish(globals())
