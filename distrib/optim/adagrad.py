"""Adagrad: gradients over the root of the sum of their squares."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from ..tensor import Tensor
from .elementwise import Elementwise
from .optimizer import ParamsT, check_implementation, check_lr, check_not_negative


class Adagrad(Elementwise):
    """Adagrad; its state exists from construction on, as in PyTorch."""

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        check_lr(lr)
        check_not_negative(
            lr_decay=lr_decay,
            weight_decay=weight_decay,
            initial_accumulator_value=initial_accumulator_value,
            eps=eps,
        )
        super().__init__(
            params,
            {
                "lr": lr,
                "lr_decay": lr_decay,
                "eps": eps,
                "weight_decay": weight_decay,
                "initial_accumulator_value": initial_accumulator_value,
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
                "fused": fused,
            },
        )
        check_implementation(foreach, fused, differentiable)
        for group in self.param_groups:
            for p in group["params"]:
                self._fill_state(group, p)

    def share_memory(self) -> None:
        """Put the accumulators where other processes see them, in place."""
        for entry in self.state.values():
            entry["sum"].share_memory_()

    def _initial(self, group: dict[str, Any], name: str) -> float:
        return float(group["initial_accumulator_value"]) if name == "sum" else 0.0

    def _names(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("sum",)

    def _advance(
        self, group: dict[str, Any], n: Callable[[Any], Any], now: dict[str, Any], fresh: bool
    ) -> SimpleNamespace:
        t = now["step"] = now["step"] + 1
        return SimpleNamespace(
            size=n(group["lr"]) / (1 + (t - 1) * group["lr_decay"]),
            eps=group["eps"],
            decay=group["weight_decay"],
            maximize=group["maximize"],
        )

    @staticmethod
    def _formula(m: Any, h: Any, p: Any, g: Any, *state: Any) -> tuple[Any, ...]:
        g = -g if h.maximize else g
        if h.decay != 0:
            g = g + h.decay * p
        total = state[0] + g * g
        return p - h.size * g / (m.sqrt(total) + h.eps), total


__all__ = ["Adagrad"]
