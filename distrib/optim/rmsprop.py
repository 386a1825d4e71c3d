"""RMSprop: gradients over a running root mean square."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from ..tensor import Tensor
from .elementwise import Elementwise
from .optimizer import ParamsT, check_lr, check_not_negative


class RMSprop(Elementwise):
    """RMSprop, optionally centered and with momentum; the root is taken before eps is added."""

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_lr(lr)
        check_not_negative(eps=eps, momentum=momentum, weight_decay=weight_decay, alpha=alpha)
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "alpha": alpha,
                "eps": eps,
                "centered": centered,
                "weight_decay": weight_decay,
                "capturable": capturable,
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
            },
        )

    def _names(self, group: dict[str, Any]) -> tuple[str, ...]:
        names = ["square_avg"]
        if group["momentum"] > 0:
            names.append("momentum_buffer")
        if group["centered"]:
            names.append("grad_avg")
        return tuple(names)

    def _advance(
        self, group: dict[str, Any], n: Callable[[Any], Any], now: dict[str, Any], fresh: bool
    ) -> SimpleNamespace:
        now["step"] += 1
        return SimpleNamespace(
            lr=n(group["lr"]),
            alpha=group["alpha"],
            eps=group["eps"],
            decay=group["weight_decay"],
            momentum=group["momentum"],
            centered=group["centered"],
            maximize=group["maximize"],
        )

    @staticmethod
    def _formula(m: Any, h: Any, p: Any, g: Any, *state: Any) -> tuple[Any, ...]:
        g = -g if h.maximize else g
        if h.decay != 0:
            g = g + h.decay * p
        square = state[0] * h.alpha + (1 - h.alpha) * g * g
        new, under = [square], square
        if h.centered:
            mean = state[-1] + (1 - h.alpha) * (g - state[-1])
            new.append(mean)
            under = square - mean * mean
        root = m.sqrt(under) + h.eps
        if h.momentum > 0:
            buffer = state[1] * h.momentum + g / root
            new.insert(1, buffer)
            return p - h.lr * buffer, *new
        return p - h.lr * g / root, *new


__all__ = ["RMSprop"]
