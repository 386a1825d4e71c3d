"""Rprop: steps from the signs of gradients alone."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from ..tensor import Tensor
from .elementwise import Elementwise
from .optimizer import ParamsT, check_lr, number


class Rprop(Elementwise):
    """Resilient propagation: a weight's step grows while the sign of its gradient stays."""

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50),
        *,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_lr(lr)
        if not 0.0 < etas[0] < 1.0 < etas[1]:
            raise ValueError(f"Invalid eta values: {etas[0]}, {etas[1]}")
        super().__init__(
            params,
            {
                "lr": lr,
                "etas": etas,
                "step_sizes": step_sizes,
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
                "capturable": capturable,
            },
        )

    def _initial(self, group: dict[str, Any], name: str) -> float:
        return float(number(group["lr"])) if name == "step_size" else 0.0

    def _names(self, group: dict[str, Any]) -> tuple[str, ...]:
        return "prev", "step_size"

    def _advance(
        self, group: dict[str, Any], n: Callable[[Any], Any], now: dict[str, Any], fresh: bool
    ) -> SimpleNamespace:
        now["step"] += 1
        (shrink, grow), (low, high) = group["etas"], group["step_sizes"]
        return SimpleNamespace(
            shrink=shrink, grow=grow, low=low, high=high, maximize=group["maximize"]
        )

    @staticmethod
    def _formula(m: Any, h: Any, p: Any, g: Any, *state: Any) -> tuple[Any, ...]:
        g = -g if h.maximize else g
        sign = m.sign(g * state[0])
        factor = (
            1 + m.clip(sign, 0.0, 1.0) * (h.grow - 1) + m.clip(sign, -1.0, 0.0) * (1 - h.shrink)
        )
        size = m.clip(state[1] * factor, h.low, h.high)
        g = m.where(sign < 0, 0.0, g)
        return p - m.sign(g) * size, g, size


__all__ = ["Rprop"]
