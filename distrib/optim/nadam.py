"""NAdam: Adam with Nesterov momentum."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, ClassVar

from ..tensor import Tensor
from .elementwise import Elementwise
from .optimizer import ParamsT, check_betas, check_lr, check_not_negative


class NAdam(Elementwise):
    """Adam with Nesterov momentum on a schedule; ``mu_product`` is the product of its momenta."""

    _scalars: ClassVar[tuple[str, ...]] = ("step", "mu_product")
    _capturable_what: ClassVar[str] = "params, mu_products and state_steps"

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum_decay: float = 4e-3,
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
        check_not_negative(weight_decay=weight_decay, momentum_decay=momentum_decay)
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "momentum_decay": momentum_decay,
                "decoupled_weight_decay": decoupled_weight_decay,
                "maximize": maximize,
                "foreach": foreach,
                "capturable": capturable,
                "differentiable": differentiable,
            },
        )

    def _initial(self, group: dict[str, Any], name: str) -> float:
        return 1.0 if name == "mu_product" else 0.0

    def _names(self, group: dict[str, Any]) -> tuple[str, ...]:
        return "exp_avg", "exp_avg_sq"

    def _advance(
        self, group: dict[str, Any], n: Callable[[Any], Any], now: dict[str, Any], fresh: bool
    ) -> SimpleNamespace:
        t = now["step"] = now["step"] + 1
        lr, (beta1, beta2), slow = n(group["lr"]), group["betas"], group["momentum_decay"]
        mu = beta1 * (1 - 0.5 * 0.96 ** (t * slow))
        after = beta1 * (1 - 0.5 * 0.96 ** ((t + 1) * slow))
        product = now["mu_product"] = now["mu_product"] * mu
        return SimpleNamespace(
            lr=lr,
            beta1=beta1,
            beta2=beta2,
            eps=group["eps"],
            decay=group["weight_decay"],
            under=1 - beta2**t,
            direct=lr * (1 - mu) / (1 - product),
            ahead=lr * after / (1 - product * after),
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
        root = m.sqrt(square / h.under) + h.eps
        return p - h.direct * g / root - h.ahead * avg / root, avg, square


__all__ = ["NAdam"]
