"""RAdam: Adam that starts without its second moment."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from ..tensor import Tensor
from .elementwise import Elementwise
from .optimizer import ParamsT, check_betas, check_lr, check_not_negative


class RAdam(Elementwise):
    """Adam whose second moment is used only once its variance is tractable."""

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
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
                "maximize": maximize,
                "foreach": foreach,
                "capturable": capturable,
                "decoupled_weight_decay": decoupled_weight_decay,
                "differentiable": differentiable,
            },
        )

    def _names(self, group: dict[str, Any]) -> tuple[str, ...]:
        return "exp_avg", "exp_avg_sq"

    def _advance(
        self, group: dict[str, Any], n: Callable[[Any], Any], now: dict[str, Any], fresh: bool
    ) -> SimpleNamespace:
        t = now["step"] = now["step"] + 1
        lr, (beta1, beta2) = n(group["lr"]), group["betas"]
        under = 1 - beta2**t
        longest = 2 / (1 - beta2) - 1
        length = longest - 2 * t * beta2**t / under  # of the average that approximates the moment
        rectify = None
        if length > 5.0:
            ratio = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
            rectify = ratio**0.5 * under**0.5
        return SimpleNamespace(
            lr=lr,
            beta1=beta1,
            beta2=beta2,
            eps=group["eps"],
            decay=group["weight_decay"],
            size=lr / (1 - beta1**t),
            rectify=rectify,
            decoupled=group["decoupled_weight_decay"],
            maximize=group["maximize"],
        )

    @staticmethod
    def _formula(m: Any, h: Any, p: Any, g: Any, *state: Any) -> tuple[Any, ...]:
        g = -g if h.maximize else g
        if h.decay != 0:
            if h.decoupled:
                p = p * (1 - h.lr * h.decay)
            else:
                g = g + h.decay * p
        avg = state[0] + (1 - h.beta1) * (g - state[0])
        square = state[1] * h.beta2 + (1 - h.beta2) * g * g
        step = h.size * avg
        if h.rectify is not None:
            step = step * h.rectify / (m.sqrt(square) + h.eps)
        return p - step, avg, square


__all__ = ["RAdam"]
