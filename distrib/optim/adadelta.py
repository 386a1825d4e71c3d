"""Adadelta: steps in units of past steps."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from ..tensor import Tensor
from .elementwise import Elementwise
from .optimizer import ParamsT, check_lr, check_not_negative


class Adadelta(Elementwise):
    """Adadelta: the ratio of two running root mean squares takes the place of a learning rate."""

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        capturable: bool = False,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_lr(lr)
        if not 0.0 <= rho <= 1.0:
            raise ValueError(f"Invalid rho value: {rho}")
        check_not_negative(eps=eps, weight_decay=weight_decay)
        super().__init__(
            params,
            {
                "lr": lr,
                "rho": rho,
                "eps": eps,
                "weight_decay": weight_decay,
                "maximize": maximize,
                "capturable": capturable,
                "foreach": foreach,
                "differentiable": differentiable,
            },
        )

    def _names(self, group: dict[str, Any]) -> tuple[str, ...]:
        return "square_avg", "acc_delta"

    def _advance(
        self, group: dict[str, Any], n: Callable[[Any], Any], now: dict[str, Any], fresh: bool
    ) -> SimpleNamespace:
        now["step"] += 1
        return SimpleNamespace(
            lr=n(group["lr"]),
            rho=group["rho"],
            eps=group["eps"],
            decay=group["weight_decay"],
            maximize=group["maximize"],
        )

    @staticmethod
    def _formula(m: Any, h: Any, p: Any, g: Any, *state: Any) -> tuple[Any, ...]:
        g = -g if h.maximize else g
        if h.decay != 0:
            g = g + h.decay * p
        square = state[0] * h.rho + (1 - h.rho) * g * g
        delta = m.sqrt(state[1] + h.eps) / m.sqrt(square + h.eps) * g
        return p - h.lr * delta, square, state[1] * h.rho + (1 - h.rho) * delta * delta


__all__ = ["Adadelta"]
