"""SGD: plain, with momentum, with Nesterov's momentum."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from ..kernels import cpu
from ..tensor import Tensor
from .elementwise import Bucket, Elementwise, kernel_lists
from .optimizer import ParamsT, check_implementation, check_lr, check_not_negative, number


class SGD(Elementwise):
    """Stochastic gradient descent, with optional momentum.

    >>> import distrib as torch
    >>> w = torch.ones(2, requires_grad=True)
    >>> optimizer = torch.optim.SGD([w], lr=0.1)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w
    tensor([0.8000, 0.8000], requires_grad=True)
    """

    _scalars = ()

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float | Tensor = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        check_lr(lr)
        check_not_negative(momentum=momentum, weight_decay=weight_decay)
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "dampening": dampening,
                "weight_decay": weight_decay,
                "nesterov": nesterov,
                "maximize": maximize,
                "foreach": foreach,
                "differentiable": differentiable,
                "fused": fused,
            },
        )
        check_implementation(foreach, fused, differentiable)

    def _names(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("momentum_buffer",) if group["momentum"] != 0 else ()

    def _advance(
        self, group: dict[str, Any], n: Callable[[Any], Any], now: dict[str, Any], fresh: bool
    ) -> SimpleNamespace:
        return SimpleNamespace(
            lr=n(group["lr"]),
            decay=n(group["weight_decay"]),
            momentum=n(group["momentum"]),
            keep=1 - n(group["dampening"]),
            nesterov=group["nesterov"],
            maximize=group["maximize"],
            first=fresh,
        )

    @staticmethod
    def _formula(m: Any, h: Any, p: Any, g: Any, *state: Any) -> tuple[Any, ...]:
        g = -g if h.maximize else g
        if h.decay != 0:
            g = g + h.decay * p
        if not state:
            return (p - h.lr * g,)
        (buffer,) = state
        buffer = g if h.first else buffer * h.momentum + h.keep * g
        return p - h.lr * (g + h.momentum * buffer if h.nesterov else buffer), buffer

    def _kernel(self, group: dict[str, Any], bucket: Bucket) -> bool:
        lists = bucket.cache
        if lists is None:
            lists = bucket.cache = kernel_lists(bucket, cpu.sgd)
        if not lists:
            return False
        lists[0](
            lists[1],
            bucket.grads,
            lists[2] if bucket.names else None,
            number(group["lr"]),
            number(group["momentum"]),
            number(group["dampening"]),
            number(group["weight_decay"]),
            group["nesterov"],
            group["maximize"],
            bucket.fresh,
        )
        return True


__all__ = ["SGD"]
