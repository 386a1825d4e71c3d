"""Muon: momentum whose matrix is made nearly orthogonal by a few Newton-Schulz steps."""

from __future__ import annotations

import math
from typing import Any

from ..devices import xp_of
from ..dtypes import BF16, F4, Array
from ..meta import MetaArray
from ..tensor import wrap
from .elementwise import fitting
from .optimizer import Closure, Optimizer, ParamsT, check_lr, number, run_closure


class Muon(Optimizer):
    """Muon for 2-D parameters; ValueError for others, RuntimeError for complex ones."""

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
    ) -> None:
        check_lr(lr, "Learning rate should be >= 0 but is: ")
        if not momentum >= 0.0:
            raise ValueError(f"momentum should be >= 0 but is: {momentum}")
        if not weight_decay >= 0.0:
            raise ValueError(f"weight decay should be >= 0 but is: {weight_decay}")
        if adjust_lr_fn not in (None, "original", "match_rms_adamw"):
            raise ValueError(f"Adjust learning rate function {adjust_lr_fn} is not supported")
        super().__init__(
            params,
            {
                "lr": lr,
                "weight_decay": weight_decay,
                "momentum": momentum,
                "nesterov": nesterov,
                "ns_coefficients": ns_coefficients,
                "eps": eps,
                "ns_steps": ns_steps,
                "adjust_lr_fn": adjust_lr_fn,
            },
        )
        for group in self.param_groups:
            for p in group["params"]:
                if p.ndim != 2:
                    raise ValueError(
                        "Muon only supports 2D parameters whereas we found a parameter with "
                        f"size: {p.size()}"
                    )

    def step(self, closure: Closure = None) -> Any:
        """Update all parameters that have a gradient; returns what ``closure`` returned."""
        loss = run_closure(closure)
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                if p.is_complex():
                    raise RuntimeError("Muon does not support complex parameters")
                if p.grad.is_sparse:
                    raise RuntimeError("Muon does not support sparse gradients")
                entry, g = self.state[p], fitting(p, p.grad._a)
                if "momentum_buffer" not in entry:
                    entry["momentum_buffer"] = wrap(xp_of(g).zeros(g.shape, g.dtype))
                if type(g) is not MetaArray:
                    _update(group, p._a, g, entry["momentum_buffer"]._a)
                p._bump()
        return loss


def _update(group: dict[str, Any], a: Array, g: Array, buffer: Array) -> None:
    lr, momentum = number(group["lr"]), group["momentum"]
    buffer += (g - buffer) * (1 - momentum)
    update = g + (buffer - g) * momentum if group["nesterov"] else buffer
    update = _orthogonal(update, group["ns_coefficients"], group["ns_steps"], group["eps"])
    rows, cols = a.shape
    if group["adjust_lr_fn"] == "match_rms_adamw":
        step = lr * 0.2 * math.sqrt(max(rows, cols))
    else:
        step = lr * math.sqrt(max(1, rows / cols))
    a[...] = a * (1 - lr * group["weight_decay"]) - step * update.astype(a.dtype)


def _orthogonal(
    g: Array, coefficients: tuple[float, float, float], steps: int, eps: float
) -> Array:
    """A matrix with g's singular vectors and singular values near 1, in bfloat16's precision."""
    if steps >= 100:
        raise ValueError("Number of steps must be less than 100 for computational efficiency")
    if len(coefficients) != 3:
        raise ValueError("Coefficients must be a tuple of exactly 3 values")
    a, b, c = coefficients
    tall = g.shape[0] > g.shape[1]
    x = _rounded(g.T if tall else g)
    norm = _rounded(xp_of(x).sqrt((x * x).sum()))
    x = _rounded(x / max(float(norm), eps))
    for _ in range(steps):
        gram = _rounded(x @ x.T)
        x = _rounded(a * x + _rounded(b * gram + c * (gram @ gram)) @ x)
    return x.T if tall else x


def _rounded(x: Array) -> Array:
    """float32 values rounded to bfloat16, which PyTorch computes the iteration in."""
    return x.astype(BF16).astype(F4)


__all__ = ["Muon"]
