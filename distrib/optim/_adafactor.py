"""Adafactor: second moments of a matrix as the outer product of a row and a column."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..devices import xp_of
from ..dtypes import ACCUMULATE, Array, finfo
from ..meta import MetaArray
from ..tensor import Tensor, wrap
from .elementwise import fitting, scalar_dtype
from .optimizer import Closure, Optimizer, ParamsT, check_lr, number, run_closure


class Adafactor(Optimizer):
    """Adafactor with update clipping; RuntimeError for complex parameters."""

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-2,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
    ) -> None:
        check_lr(lr, "Learning rate should be >= 0 but is: ")
        if not beta2_decay <= 0.0:
            raise ValueError(f"beta2_decay should be <= 0 but is: {beta2_decay}")
        if eps[0] is not None and not eps[0] >= 0.0:
            raise ValueError(f"epsilon1 should be >= 0 but is: {eps[0]}")
        if not eps[1] >= 0.0:
            raise ValueError(f"epsilon2 should be >= 0 but is: {eps[1]}")
        if not d >= 1.0:
            raise ValueError(f"Clipping threshold d should be >= 1 but is: {d}")
        if not weight_decay >= 0.0:
            raise ValueError(f"weight_decay should be >= 0 but is: {weight_decay}")
        super().__init__(
            params,
            {
                "lr": lr,
                "beta2_decay": beta2_decay,
                "eps": eps,
                "d": d,
                "weight_decay": weight_decay,
                "foreach": foreach,
                "maximize": maximize,
            },
        )

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for entry in self.state.values():
            if "step" in entry and not isinstance(entry["step"], Tensor):
                entry["step"] = wrap(np.array(entry["step"], scalar_dtype()))

    def step(self, closure: Closure = None) -> Any:
        """Update all parameters that have a gradient; returns what ``closure`` returned."""
        loss = run_closure(closure)
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                if p.is_complex():
                    raise RuntimeError("Adafactor does not support complex parameters")
                if p.grad.is_sparse:
                    raise RuntimeError("Adafactor does not support sparse gradients")
                entry = self.state[p]
                if not entry:
                    _start(entry, p._a)
                entry["step"]._a[...] += 1
                if type(p._a) is not MetaArray and p._a.size:
                    _update(group, p._a, fitting(p, p.grad._a), entry)
                p._bump()
        return loss


def _start(entry: dict[str, Any], a: Array) -> None:
    xp = xp_of(a)
    entry["step"] = wrap(np.zeros((), scalar_dtype()))
    if a.ndim > 1:
        entry["row_var"] = wrap(xp.zeros((*a.shape[:-1], 1), a.dtype))
        entry["col_var"] = wrap(xp.zeros((*a.shape[:-2], 1, a.shape[-1]), a.dtype))
    else:
        entry["variance"] = wrap(xp.zeros(a.shape, a.dtype))


def _update(group: dict[str, Any], a: Array, g: Array, entry: dict[str, Any]) -> None:
    xp, t = xp_of(a), entry["step"].item()
    lr, (eps1, eps2), decay = number(group["lr"]), group["eps"], group["weight_decay"]
    eps1 = finfo(wrap(a).dtype).eps if eps1 is None else eps1
    compute = ACCUMULATE.get(a.dtype, a.dtype)
    p, g = a.astype(compute, copy=False), g.astype(compute, copy=False)
    g = -g if group["maximize"] else g
    weight, rho = t ** group["beta2_decay"], min(lr, t**-0.5)
    alpha = max(eps2, _rms(xp, p)) * rho
    if decay != 0:
        p = p * (1 - lr * decay)
    square = g * g
    if a.ndim > 1:
        row = _average(entry["row_var"]._a, square.mean(axis=-1, keepdims=True), weight)
        col = _average(entry["col_var"]._a, square.mean(axis=-2, keepdims=True), weight)
        variance = row @ col / xp.maximum(row.mean(axis=-2, keepdims=True), eps1)
    else:
        variance = _average(entry["variance"]._a, square, weight)
    update = g / xp.sqrt(xp.maximum(variance, eps1 * eps1))
    a[...] = p - alpha / max(1.0, _rms(xp, update) / group["d"]) * update


def _average(kept: Array, new: Array, weight: float) -> Array:
    """Move a running average on, in place; returns it in the precision of ``new``."""
    before = kept.astype(new.dtype, copy=False)
    moved = before + weight * (new - before)
    kept[...] = moved
    return moved


def _rms(xp: Any, x: Array) -> float:
    return float(xp.sqrt((x * x).mean())) if x.size else 0.0


__all__ = ["Adafactor"]
