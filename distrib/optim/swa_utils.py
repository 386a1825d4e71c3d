"""Averages of weights: their rules, their learning-rate scheduler, batch-norm statistics."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, Literal

from ..autograd import no_grad
from ..tensor import Tensor
from .lr_scheduler.base import LRScheduler, copied, per_group
from .optimizer import Optimizer

Average = Callable[[Tensor, Tensor, Any], Any]
AverageMany = Callable[[list[Any], list[Any], Any], None]


def _check_decay(decay: float) -> None:
    if decay < 0.0 or decay > 1.0:
        raise ValueError(
            f"Invalid decay value {decay} provided. Please provide a value in [0,1] range."
        )


def get_ema_avg_fn(decay: float = 0.999) -> Average:
    """The rule of an exponential average: (average, current, count) to the next average."""
    _check_decay(decay)

    def ema_update(ema_param: Any, current_param: Any, num_averaged: Any) -> Any:
        with no_grad():
            return decay * ema_param + (1 - decay) * current_param

    return ema_update


def get_swa_avg_fn() -> Average:
    """The rule of an equal average: (average, current, count) to the next average."""

    def swa_update(averaged_param: Any, current_param: Any, num_averaged: Any) -> Any:
        with no_grad():
            return averaged_param + (current_param - averaged_param) / (num_averaged + 1)

    return swa_update


def _in_place(update: Average) -> AverageMany:
    """A rule for one Tensor, applied to lists in place; integers take the current value."""

    def run(averages: list[Any], currents: list[Any], num_averaged: Any) -> None:
        with no_grad():
            for average, current in zip(averages, currents, strict=True):
                real = average.is_floating_point() or average.is_complex()
                average.copy_(update(average, current, num_averaged) if real else current)

    return run


def get_ema_multi_avg_fn(decay: float = 0.999) -> AverageMany:
    """The exponential average over lists of Tensors, in place."""
    return _in_place(get_ema_avg_fn(decay))


def get_swa_multi_avg_fn() -> AverageMany:
    """The equal average over lists of Tensors, in place."""
    return _in_place(get_swa_avg_fn())


def update_bn(loader: Iterable[Any], model: Any, device: Any = None) -> None:
    """Compute a model's batch-norm statistics anew, from one pass over a loader's data."""
    momenta = {m: m.momentum for m in model.modules() if hasattr(m, "reset_running_stats")}
    if not momenta:
        return
    for module in momenta:
        module.reset_running_stats()
    was_training = model.training
    model.train()
    for module in momenta:
        module.momentum = None  # a plain average over all batches
    with no_grad():
        for batch in loader:
            inputs = batch[0] if isinstance(batch, (list, tuple)) else batch
            model(inputs if device is None else inputs.to(device))
    for module, momentum in momenta.items():
        module.momentum = momentum
    model.train(was_training)


class SWALR(LRScheduler):
    """The rate moves to ``swa_lr`` over ``anneal_epochs`` epochs and stays there."""

    def __init__(
        self,
        optimizer: Optimizer,
        swa_lr: float,
        anneal_epochs: int = 10,
        anneal_strategy: Literal["cos", "linear"] = "cos",
        last_epoch: int = -1,
    ) -> None:
        for lr, group in zip(
            per_group("swa_lr", optimizer, swa_lr), optimizer.param_groups, strict=True
        ):
            group["swa_lr"] = lr
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(
                f"anneal_strategy must be one of 'cos' or 'linear', instead got {anneal_strategy}"
            )
        self._anneal_strategy = anneal_strategy
        if not isinstance(anneal_epochs, int) or anneal_epochs < 0:
            raise ValueError(f"anneal_epochs must be equal or greater than 0, got {anneal_epochs}")
        self.anneal_epochs = anneal_epochs
        super().__init__(optimizer, last_epoch)

    def _weight(self, step: int) -> float:
        """How far the rate has moved at a step: 0 to 1."""
        part = max(0.0, min(1.0, step / max(1, self.anneal_epochs)))
        return part if self._anneal_strategy == "linear" else (1 - math.cos(math.pi * part)) / 2

    def get_lr(self) -> list[Any]:
        """The rates of this step; what other schedulers did to the rates in between is kept."""
        self._warn_outside_step()
        step = self._step_count - 1
        if self.anneal_epochs == 0:
            step = max(1, step)
        before, now = self._weight(step - 1), self._weight(step)
        rates = []
        for group in self.optimizer.param_groups:
            goal, lr = group["swa_lr"], copied(group["lr"])
            start = goal if before == 1 else (lr - before * goal) / (1 - before)
            rates.append(goal * now + start * (1 - now))
        return rates


__all__ = [
    "SWALR",
    "get_ema_avg_fn",
    "get_ema_multi_avg_fn",
    "get_swa_avg_fn",
    "get_swa_multi_avg_fn",
    "update_bn",
]
