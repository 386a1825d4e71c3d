"""Connectionist temporal classification: losses of alignments by the forward-backward algorithm."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import DTypeError, ShapeError
from ..tensor import Tensor, wrap
from .compare import masked
from .loss import _reduced
from .registry import operator, publish

xp: Any = None  # bound per array type


def _log_add(*xs: Any) -> Any:
    y = xs[0]
    for x in xs[1:]:
        y = xp.logaddexp(y, x)
    return y


def _forward(x: Any, labels: Any, lengths: Any, blank: int) -> Any:
    """Losses [N] and the table alpha [T, N, S] of log probabilities of prefixes.

    x [T, N, C], labels [N, S] with blanks between, lengths [N, 2]: of inputs and of targets.
    """
    n, s = labels.shape
    emit = xp.take_along_axis(x, xp.broadcast_to(labels[None], (x.shape[0], n, s)), 2)
    low = xp.asarray(-np.inf, x.dtype)
    alpha = xp.full(emit.shape, -np.inf, x.dtype)
    rows = xp.arange(n)
    if x.shape[0]:
        alpha[0, :, 0] = emit[0, :, 0]
        if s > 1:
            alpha[0, :, 1] = xp.where(lengths[:, 1] > 0, emit[0, :, 1], low)
    skips = _skips(labels, blank)
    for t in range(1, x.shape[0]):
        a = alpha[t - 1]
        one, two = _shift(a, 1), xp.where(skips, _shift(a, 2), low)
        alpha[t] = _log_add(a, one, two) + emit[t]
    ends, last = 2 * lengths[:, 1], xp.maximum(lengths[:, 0] - 1, 0)
    final = alpha[last, rows, ends]
    before = xp.where(ends > 0, alpha[last, rows, xp.maximum(ends - 1, 0)], low)
    y = -xp.logaddexp(final, before)
    nothing = xp.where(lengths[:, 1] > 0, -low, xp.zeros((), x.dtype))
    return xp.where(lengths[:, 0] > 0, y, nothing), alpha


def _skips(labels: Any, blank: int) -> Any:
    """Whether a place may be reached from two places before: unlike labels, no blank."""
    same = xp.concatenate(
        [xp.ones((labels.shape[0], min(2, labels.shape[1])), "?"), labels[:, 2:] == labels[:, :-2]],
        1,
    )
    return ~same & (labels != blank)


def _shift(a: Any, k: int) -> Any:
    pad = xp.full((a.shape[0], min(k, a.shape[1])), -np.inf, a.dtype)
    return xp.concatenate([pad, a[:, :-k]], 1)


def _spread(g: Any, x: Any, labels: Any, lengths: Any, alpha: Any, loss: Any, blank: int) -> Any:
    """The gradient of the losses with respect to x, all elements taken as independent."""
    n, s = labels.shape
    emit = xp.take_along_axis(x, xp.broadcast_to(labels[None], (x.shape[0], n, s)), 2)
    low = xp.asarray(-np.inf, x.dtype)
    places, ends = xp.arange(s), 2 * lengths[:, 1]
    final = (places == ends[:, None]) | (places == ends[:, None] - 1)
    skips = _skips(labels, blank)
    z = xp.zeros(x.shape, x.dtype)
    beta = xp.full((n, s), -np.inf, x.dtype)
    rows = xp.arange(n)[:, None]
    for t in range(x.shape[0] - 1, -1, -1):
        if t < x.shape[0] - 1:
            later = beta + emit[t + 1]
            two = xp.where(skips, later, low)
            two = xp.concatenate([two[:, 2:], xp.full((n, min(2, s)), -np.inf, x.dtype)], 1)
            one = xp.concatenate([later[:, 1:], xp.full((n, 1), -np.inf, x.dtype)], 1)
            beta = _log_add(later, one, two)
        start = (lengths[:, 0] - 1 == t)[:, None]
        beta = xp.where(start, xp.where(final, xp.zeros((), x.dtype), low), beta)
        part = -xp.exp(alpha[t] + beta + loss[:, None])
        part = xp.where(
            xp.isnan(part), xp.where(xp.isinf(loss)[:, None], part, xp.zeros((), x.dtype)), part
        )
        xp.add.at(
            z[t], (rows, labels), xp.where(places <= ends[:, None], part, xp.zeros((), x.dtype))
        )
    live = xp.arange(x.shape[0])[:, None] < lengths[:, 0]
    return xp.where(live[..., None], z * g[:, None], xp.zeros((), x.dtype))


def _paths(x: Any, labels: Any, lengths: Any, blank: int) -> Any:
    """The loss by listing all alignments."""
    import itertools

    total = []
    for n in range(x.shape[1]):
        want = [int(k) for k in labels[n] if k != blank][: lengths[n, 1]]
        p = 0.0
        for path in itertools.product(range(x.shape[2]), repeat=int(lengths[n, 0])):
            merged = [k for i, k in enumerate(path) if (i == 0 or k != path[i - 1]) and k != blank]
            if merged == want:
                p += np.exp(sum(x[t, n, k] for t, k in enumerate(path)))
        total.append(-np.log(p))
    return np.array(total)


def _sample() -> Any:
    x = np.random.default_rng(3).normal(size=(4, 2, 3))
    labels = np.array([[0, 1, 0, 1, 0], [0, 2, 0, 1, 0]])
    return [((x, labels, np.array([[4, 2], [3, 1]])), {"blank": 0})]


alignments = operator(
    "_ctc_loss", lambda x, labels, lengths, *, blank: _forward(x, labels, lengths, blank),
    (lambda g, x, labels, lengths, alpha, y, blank: _ctc_grad(g, x, labels, lengths, alpha, y, blank=blank), None, None),
    "math", fixed=("labels", "lengths"), keeps=("alpha",), method=False, grad_name="CtcLossBackward0",
    samples=_sample, ref=lambda x, labels, lengths, blank: _paths(x, labels, lengths, blank),
)  # fmt: skip
_ctc_grad: Any = operator(
    "_ctc_loss_grad",
    lambda g, x, labels, lengths, alpha, loss, *, blank: _spread(g, x, labels, lengths, alpha, loss, blank),
    None, method=False,
    samples=lambda: [((np.ones(1), np.zeros((1, 1, 2)), np.array([[0, 1, 0]]), np.array([[1, 1]]),
                       np.array([[[0.0, 0.0, -np.inf]]]), np.zeros(1)), {"blank": 0})],
    ref=lambda *a, blank: np.array([[[0.0, -1.0]]]),
)  # fmt: skip


def _lengths(value: Any, n: int, top: int | None, name: str) -> Any:
    a = np.asarray(value._a if isinstance(value, Tensor) else value)
    if a.dtype.kind == "f" and a.size:
        raise DTypeError(f"{name} must be integral")
    a = a.astype("i8").reshape(-1)
    if a.shape != (n,):
        raise ShapeError(f"{name} must be of size batch_size", got=list(a.shape), expected=[n])
    if a.size and int(a.min()) < 0:
        raise ShapeError(f"Expected {name} to have value at least 0, but got value {int(a.min())}")
    if top is not None and a.size and int(a.max()) > top:
        raise ShapeError(
            f"Expected {name} to have value at most {top}, but got value {int(a.max())}"
        )
    return a


def ctc_loss(
    log_probs: Tensor, targets: Tensor, input_lengths: Any, target_lengths: Any, blank: int = 0,
    reduction: str = "mean", zero_infinity: bool = False,
) -> Tensor:  # fmt: skip
    """Losses of [T, N, C] log-probabilities; targets [N, S], or all of them one after another.

    As in PyTorch the gradient is that of log-softmax'ed inputs: it holds exp(log_probs) as well.
    """
    single = log_probs._a.ndim == 2
    x = log_probs.unsqueeze(1) if single else log_probs
    if x._a.ndim != 3:
        raise ShapeError("log_probs must be of size (T, N, C) or (T, C)", got=list(log_probs.shape))
    t, n, c = tuple(x.shape)
    if not 0 <= blank < c:
        raise RuntimeError("blank must be in label range")
    if targets._a.dtype.kind not in "iu":
        raise DTypeError("targets must be integral", got=targets.dtype)
    a = targets._a.astype("i8")
    if single:
        a = a.reshape(1, -1) if a.ndim == 1 else a
    given = _lengths(input_lengths, n, t, "input_lengths")
    wanted = _lengths(target_lengths, n, a.shape[1] if a.ndim == 2 else None, "target_lengths")
    longest = int(wanted.max(initial=0))
    labels = np.full((n, 2 * longest + 1), blank, "i8")
    at = 0
    for i, k in enumerate(wanted):
        row = a[i, :k] if a.ndim == 2 else a[at : at + k]
        if len(row) != k:
            raise ShapeError("target_lengths add up to more than there are targets")
        at += int(k)
        labels[i, 1 : 2 * k : 2] = row
    sizes = np.stack([given, wanted], 1)
    loss = alignments(x, wrap(labels), wrap(sizes), blank=blank)
    finite = np.isfinite(loss._a)
    live = (np.arange(t)[:, None] < given) & (finite | (not zero_infinity))
    mass = masked(x.exp(), wrap(live[..., None])).sum((0, 2))
    loss = loss + (mass - mass.detach()) if log_probs.requires_grad else loss
    if zero_infinity:
        loss = masked(loss, wrap(finite))
    if reduction == "mean":
        scaled = loss / wrap(np.maximum(wanted, 1).astype(loss._a.dtype))
        return _reduced(scaled, "mean")
    return _reduced(loss.squeeze(0) if single else loss, reduction)


__all__ = ["ctc_loss"]
NN = ["ctc_loss"]
publish(globals())
