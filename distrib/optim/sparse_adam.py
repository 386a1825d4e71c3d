"""SparseAdam: its checks; gradients here are always dense, so a step says what to use instead."""

from __future__ import annotations

from typing import Any

from ..tensor import Tensor
from .optimizer import Closure, Optimizer, ParamsT, check_betas, run_closure


class SparseAdam(Optimizer):
    """Adam for sparse gradients, which do not exist here: RuntimeError for dense ones."""

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        maximize: bool = False,
    ) -> None:
        if isinstance(lr, Tensor) and lr.numel() != 1:
            raise ValueError("Tensor lr must be 1-element")
        if not float(lr) > 0.0:
            raise ValueError(f"Invalid learning rate: {lr}")
        if not eps > 0.0:
            raise ValueError(f"Invalid epsilon value: {eps}")
        check_betas(betas)
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "maximize": maximize})
        complex_at = [
            [i, j]
            for i, group in enumerate(self.param_groups)
            for j, p in enumerate(group["params"])
            if p.is_complex()
        ]
        if complex_at:
            raise ValueError(
                f"Complex params at indices {complex_at}: SparseAdam does not support complex "
                "parameters"
            )

    def step(self, closure: Closure = None) -> Any:
        """RuntimeError if a parameter has a (dense) gradient; else the loss of ``closure``."""
        loss = run_closure(closure)
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    raise RuntimeError(
                        "SparseAdam does not support dense gradients, please consider Adam instead"
                    )
        return loss


__all__ = ["SparseAdam"]
