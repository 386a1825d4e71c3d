"""Adam, and the base that AdamW shares with it."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from ..kernels import cpu
from ..tensor import Tensor
from .elementwise import Bucket, Elementwise, kernel_lists
from .optimizer import (
    ParamsT,
    check_betas,
    check_implementation,
    check_lr,
    check_not_negative,
    number,
)


class Adam(Elementwise):
    """Adam, with L2 decay in the gradient or (``decoupled_weight_decay``) on the weights."""

    _sparse_hint = ", please consider SparseAdam instead"

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ) -> None:
        if isinstance(lr, Tensor) and foreach and not capturable:
            raise ValueError(
                "lr as a Tensor is not supported for capturable=False and foreach=True"
            )
        check_lr(lr)
        check_not_negative(eps=eps)
        check_betas(betas)
        check_not_negative(weight_decay=weight_decay)
        _check_tensor_betas(betas, bool(foreach), capturable)
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "amsgrad": amsgrad,
                "maximize": maximize,
                "foreach": foreach,
                "capturable": capturable,
                "differentiable": differentiable,
                "fused": fused,
                "decoupled_weight_decay": decoupled_weight_decay,
            },
        )
        check_implementation(foreach, fused, differentiable)

    def _names(self, group: dict[str, Any]) -> tuple[str, ...]:
        if group["amsgrad"]:
            return "exp_avg", "exp_avg_sq", "max_exp_avg_sq"
        return "exp_avg", "exp_avg_sq"

    def _advance(
        self, group: dict[str, Any], n: Callable[[Any], Any], now: dict[str, Any], fresh: bool
    ) -> SimpleNamespace:
        t = now["step"] = now["step"] + 1
        lr, beta1, beta2 = n(group["lr"]), n(group["betas"][0]), n(group["betas"][1])
        return SimpleNamespace(
            lr=lr,
            beta1=beta1,
            beta2=beta2,
            eps=group["eps"],
            decay=n(group["weight_decay"]),
            size=lr / (1 - beta1**t),
            root=(1 - beta2**t) ** 0.5,
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
        if len(state) == 2:
            return p - h.size * avg / (m.sqrt(square) / h.root + h.eps), avg, square
        top = m.maximum(state[2], square)
        return p - h.size * avg / (m.sqrt(top) / h.root + h.eps), avg, square, top

    def _kernel(self, group: dict[str, Any], bucket: Bucket) -> bool:
        lists = bucket.cache
        if lists is None:
            lists = bucket.cache = kernel_lists(bucket, cpu.adam)
        if not lists:
            return False
        beta1, beta2 = group["betas"]
        t = float(bucket.scalars[0, 0]) + 1
        lists[0](
            lists[1],
            bucket.grads,
            lists[2],
            lists[3],
            lists[4] if group["amsgrad"] else None,
            number(group["lr"]),
            number(beta1),
            number(beta2),
            group["eps"],
            number(group["weight_decay"]),
            t,
            group["decoupled_weight_decay"],
            group["maximize"],
        )
        bucket.scalars.fill(t)
        bucket.expected = bucket.scalars.tobytes()
        return True


def _check_tensor_betas(betas: Any, foreach: bool, capturable: bool) -> None:
    tensors = [isinstance(beta, Tensor) for beta in betas]
    if any(tensors) and not all(tensors):
        raise ValueError("betas must be either both floats or both Tensors")
    for i, beta in enumerate(betas):
        if not isinstance(beta, Tensor):
            continue
        if foreach and not capturable:
            raise ValueError(
                f"betas[{i}] as a Tensor is not supported for capturable=False and foreach=True"
            )
        if beta.numel() != 1:
            raise ValueError(f"Tensor betas[{i}] must be 1-element")


__all__ = ["Adam"]
