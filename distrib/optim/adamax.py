"""Adamax: Adam with the infinity norm."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from ..tensor import Tensor
from .elementwise import Elementwise
from .optimizer import ParamsT, check_betas, check_lr, check_not_negative


class Adamax(Elementwise):
    """Adam whose second moment is a decaying maximum."""

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        check_lr(lr)
        check_not_negative(eps=eps)
        check_betas(betas)
        check_not_negative(weight_decay=weight_decay)
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
                "capturable": capturable,
            },
        )

    def _names(self, group: dict[str, Any]) -> tuple[str, ...]:
        return "exp_avg", "exp_inf"

    def _advance(
        self, group: dict[str, Any], n: Callable[[Any], Any], now: dict[str, Any], fresh: bool
    ) -> SimpleNamespace:
        t = now["step"] = now["step"] + 1
        beta1, beta2 = group["betas"]
        return SimpleNamespace(
            size=n(group["lr"]) / (1 - beta1**t),
            beta1=beta1,
            beta2=beta2,
            eps=group["eps"],
            decay=group["weight_decay"],
            maximize=group["maximize"],
        )

    @staticmethod
    def _formula(m: Any, h: Any, p: Any, g: Any, *state: Any) -> tuple[Any, ...]:
        g = -g if h.maximize else g
        if h.decay != 0:
            g = g + h.decay * p
        avg = state[0] + (1 - h.beta1) * (g - state[0])
        top = m.maximum(state[1] * h.beta2, m.abs(g) + h.eps)
        return p - h.size * avg / top, avg, top


__all__ = ["Adamax"]
