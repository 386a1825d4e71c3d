"""L-BFGS, with a strong Wolfe line search on request."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..autograd import enable_grad
from ..devices import xp_of
from ..dtypes import REAL, Array
from ..tensor import Tensor, wrap
from .optimizer import Optimizer, ParamsT, check_lr, number


class LBFGS(Optimizer):
    """Limited-memory BFGS over all parameters as one vector; `step` needs a closure."""

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ) -> None:
        check_lr(lr)
        super().__init__(
            params,
            {
                "lr": lr,
                "max_iter": max_iter,
                "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval,
                "tolerance_grad": tolerance_grad,
                "tolerance_change": tolerance_change,
                "history_size": history_size,
                "line_search_fn": line_search_fn,
            },
        )
        if len(self.param_groups) != 1:
            raise ValueError("LBFGS doesn't support per-parameter options (parameter groups)")
        self._params: list[Tensor] = self.param_groups[0]["params"]

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._params = self.param_groups[0]["params"]

    # -- parameters and gradients as one real vector
    def _gather(self) -> Array:
        parts = []
        for p in self._params:
            if p.grad is None:
                part = xp_of(p._a).zeros(p._a.size, p._a.dtype)
            else:
                part = p.grad._a.ravel()
            parts.append(part.view(REAL[part.dtype]) if part.dtype in REAL else part)
        return xp_of(parts[0]).concatenate(parts)

    def _move(self, start: list[Array] | None, t: float, d: Array) -> None:
        """Put the parameters at ``start`` (where they are, if None) plus t * d."""
        at = 0
        for i, p in enumerate(self._params):
            n = p._a.size * (2 if p._a.dtype in REAL else 1)
            part = t * d[at : at + n]
            at += n
            part = part.view(p._a.dtype) if p._a.dtype in REAL else part
            base = p._a if start is None else start[i]
            p._a[...] = base + part.reshape(p._a.shape)
            p._bump()

    def step(self, closure: Callable[[], Any]) -> Any:
        """Up to ``max_iter`` iterations; ``closure`` clears gradients and runs backward."""
        group = self.param_groups[0]
        small, change, lr = group["tolerance_grad"], group["tolerance_change"], number(group["lr"])
        entry = self.state[self._params[0]]
        entry.setdefault("func_evals", 0)
        entry.setdefault("n_iter", 0)

        def evaluate() -> Any:
            with enable_grad():
                return closure()

        first_loss = evaluate()
        loss, evals = float(first_loss), 1
        entry["func_evals"] += 1
        g = self._gather()
        if _peak(g) <= small:
            return first_loss
        memory = _Memory(entry, group["history_size"])
        d, t = memory.d, memory.t
        for iteration in range(1, group["max_iter"] + 1):
            entry["n_iter"] += 1
            if entry["n_iter"] == 1:
                d = -g
                memory.clear()
                t = min(1.0, 1.0 / float(abs(g).sum())) * lr
            else:
                d = memory.direction(g, d, t)
                t = lr
            memory.gradient, before = g.copy(), loss
            slope = float(g @ d)
            if slope > -change:
                break
            used, flat = 0, False
            if group["line_search_fn"] is not None:
                if group["line_search_fn"] != "strong_wolfe":
                    raise RuntimeError("only 'strong_wolfe' is supported")
                start = [p._a.copy() for p in self._params]

                def probe(
                    t: float, d: Array = d, start: list[Array] = start
                ) -> tuple[float, Array]:
                    self._move(start, t, d)
                    value = float(evaluate())
                    return value, self._gather()

                found, used = strong_wolfe(probe, t, d, Point(0.0, loss, g, slope))
                loss, g, t = found.f, found.g, found.t
                self._move(start, t, d)
                flat = _peak(g) <= small
            else:
                self._move(None, t, d)
                if iteration != group["max_iter"]:
                    loss, used = float(evaluate()), 1
                    g = self._gather()
                    flat = _peak(g) <= small
            evals += used
            entry["func_evals"] += used
            if evals >= group["max_eval"] or flat:
                break
            if _peak(d * t) <= change or abs(loss - before) < change:
                break
        memory.d, memory.t, memory.loss = d, t, before
        memory.keep(entry)
        if isinstance(group["lr"], Tensor):  # then PyTorch keeps the step size as a Tensor too
            entry["t"] = wrap(np.asarray(t, group["lr"]._a.dtype))
        return first_loss


def _peak(x: Array) -> float:
    return float(abs(x).max()) if x.size else 0.0


class _Memory:
    """Past steps and changes of the gradient, from which the direction is made."""

    def __init__(self, entry: dict[str, Any], limit: int) -> None:
        self.limit = limit
        self.changes: list[Array] = [_array(y) for y in entry.get("old_dirs") or []]
        self.steps: list[Array] = [_array(s) for s in entry.get("old_stps") or []]
        self.inverse: list[float] = [float(number(r)) for r in entry.get("ro") or []]
        self.scale = float(number(entry.get("H_diag", 1)))
        self.d, self.gradient = _array(entry.get("d")), _array(entry.get("prev_flat_grad"))
        t = entry.get("t")
        self.t = 0.0 if t is None else float(number(t))
        self.loss = entry.get("prev_loss")

    def clear(self) -> None:
        self.changes, self.steps, self.inverse, self.scale = [], [], [], 1.0

    def direction(self, g: Array, d: Array, t: float) -> Array:
        """Take up the last step, t * d, and multiply -g by the approximate inverse Hessian."""
        y, s = g - self.gradient, d * t
        curvature = float(y @ s)
        if curvature > 1e-10:
            if len(self.changes) == self.limit:
                del self.changes[0], self.steps[0], self.inverse[0]
            self.changes.append(y)
            self.steps.append(s)
            self.inverse.append(1.0 / curvature)
            self.scale = curvature / float(y @ y)
        q = -g
        weights = []
        for y, s, r in zip(self.changes[::-1], self.steps[::-1], self.inverse[::-1], strict=True):
            weights.append(float(s @ q) * r)
            q = q - weights[-1] * y
        q = q * self.scale
        for y, s, r, w in zip(self.changes, self.steps, self.inverse, weights[::-1], strict=True):
            q = q + s * (w - float(y @ q) * r)
        return q

    def keep(self, entry: dict[str, Any]) -> None:
        """Write everything into the state of the first parameter, as Tensors."""
        xp, dt = xp_of(self.d), self.d.dtype
        entry["d"], entry["t"] = wrap(self.d), self.t
        entry["old_dirs"], entry["old_stps"] = (
            list(map(wrap, self.changes)),
            list(map(wrap, self.steps)),
        )
        entry["ro"] = [wrap(xp.asarray(r, dt)) for r in self.inverse]
        entry["H_diag"] = wrap(xp.asarray(self.scale, dt)) if self.changes else 1
        entry["prev_flat_grad"], entry["prev_loss"] = wrap(self.gradient), self.loss
        if entry["n_iter"] > 1:
            entry.setdefault("al", [None] * self.limit)


def _array(x: Any) -> Array:
    return x._a if isinstance(x, Tensor) else x


class Point(NamedTuple):
    """A point on the line of a search: position, loss, gradient, slope along the line."""

    t: float
    f: float
    g: Array
    slope: float


def cubic_minimum(a: Point, b: Point, low: float, high: float) -> float:
    """Where the cubic through two points and slopes is smallest, kept within [low, high]."""
    if a.t > b.t:
        a, b = b, a
    if a.t == b.t:
        return (low + high) / 2.0
    mean = a.slope + b.slope - 3.0 * (a.f - b.f) / (a.t - b.t)
    inside = mean * mean - a.slope * b.slope
    if not inside >= 0:
        return (low + high) / 2.0
    root = math.sqrt(inside)
    under = b.slope - a.slope + 2.0 * root
    if under == 0:
        return (low + high) / 2.0
    t = b.t - (b.t - a.t) * ((b.slope + root - mean) / under)
    return min(max(t, low), high)


def strong_wolfe(
    probe: Callable[[float], tuple[float, Array]],
    t: float,
    d: Array,
    start: Point,
    c1: float = 1e-4,
    c2: float = 0.9,
    tolerance_change: float = 1e-9,
    max_ls: int = 25,
) -> tuple[Point, int]:
    """(a point that meets the strong Wolfe conditions, or the best found; calls of ``probe``)."""

    def at(t: float) -> Point:
        f, g = probe(t)
        return Point(t, f, g, float(g @ d))

    def too_high(p: Point) -> bool:
        return p.f > start.f + c1 * p.t * start.slope

    def level(p: Point) -> bool:
        return abs(p.slope) <= -c2 * start.slope

    # widen until a minimum is enclosed
    before, now, evals, rounds = start, at(t), 1, 0
    while rounds < max_ls:
        if too_high(now) or (rounds > 1 and now.f >= before.f):
            break
        if level(now):
            return now, evals
        if now.slope >= 0:
            break
        t = cubic_minimum(before, now, now.t + 0.01 * (now.t - before.t), now.t * 10)
        before, now = now, at(t)
        evals += 1
        rounds += 1
    else:
        before = start
    low, high = (before, now) if before.f <= now.f else (now, before)

    # narrow
    size, stuck = _peak(d), False
    while rounds < max_ls and abs(high.t - low.t) * size >= tolerance_change:
        left, right = min(low.t, high.t), max(low.t, high.t)
        t = cubic_minimum(low, high, left, right)
        margin = 0.1 * (right - left)
        if min(right - t, t - left) < margin:  # too near to an end: once is allowed
            if stuck or t >= right or t <= left:
                t = right - margin if abs(t - right) < abs(t - left) else left + margin
                stuck = False
            else:
                stuck = True
        else:
            stuck = False
        now = at(t)
        evals += 1
        rounds += 1
        if too_high(now) or now.f >= low.f:
            high = now
            if high.f < low.f:
                low, high = high, low
        else:
            if level(now):
                return now, evals
            if now.slope * (high.t - low.t) >= 0:
                high = low
            low = now
    return low, evals


__all__ = ["LBFGS"]
