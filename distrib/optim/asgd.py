"""ASGD: averaged stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, ClassVar

from ..tensor import Tensor
from .elementwise import Elementwise
from .optimizer import ParamsT, check_lr, check_not_negative


class ASGD(Elementwise):
    """Gradient descent that keeps the average of the weights in the state ``ax``."""

    _scalars: ClassVar[tuple[str, ...]] = ("step", "eta", "mu")
    _capturable_what: ClassVar[str] = "params, mus, etas, and state_steps"

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-2,
        lambd: float = 1e-4,
        alpha: float = 0.75,
        t0: float = 1e6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        check_lr(lr)
        check_not_negative(weight_decay=weight_decay)
        super().__init__(
            params,
            {
                "lr": lr,
                "lambd": lambd,
                "alpha": alpha,
                "t0": t0,
                "weight_decay": weight_decay,
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
                "capturable": capturable,
            },
        )

    def _initial(self, group: dict[str, Any], name: str) -> float:
        return {"eta": float(group["lr"]), "mu": 1.0}.get(name, 0.0)

    def _names(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("ax",)

    def _advance(
        self, group: dict[str, Any], n: Callable[[Any], Any], now: dict[str, Any], fresh: bool
    ) -> SimpleNamespace:
        eta, mu = now["eta"], now["mu"]
        t = now["step"] = now["step"] + 1
        now["eta"] = n(group["lr"]) / (1 + group["lambd"] * n(group["lr"]) * t) ** group["alpha"]
        now["mu"] = 1 / max(1, t - group["t0"])
        return SimpleNamespace(
            eta=eta,
            mu=mu,
            shrink=1 - group["lambd"] * eta,
            decay=group["weight_decay"],
            maximize=group["maximize"],
        )

    @staticmethod
    def _formula(m: Any, h: Any, p: Any, g: Any, *state: Any) -> tuple[Any, ...]:
        g = -g if h.maximize else g
        if h.decay != 0:
            g = g + h.decay * p
        p = p * h.shrink - h.eta * g
        return p, p if h.mu == 1 else state[0] + (p - state[0]) * h.mu


__all__ = ["ASGD"]
