"""LRScheduler: counts epochs, asks `get_lr` for rates, writes them into the parameter groups."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ...tensor import Tensor
from ..optimizer import Optimizer

EPOCH_DEPRECATED = (
    "The epoch parameter in `scheduler.step()` was not necessary and is being deprecated where "
    "possible. "
    "Please use `scheduler.step()` to step the scheduler. During the deprecation, if epoch is "
    "different from "
    "None, the closed form is used instead of the new chainable form, where available. Please "
    "open an issue if "
    "you are unable to replicate your use case: "
    "https://github.com/pytorch/pytorch/issues/new/choose."
)
SEE = "See more details at https://pytorch.org/docs/stable/optim.html#how-to-adjust-learning-rate"


def copied(x: Any) -> Any:
    """A rate that later writes do not change: Tensors are cloned."""
    if not isinstance(x, Tensor):
        return x
    value: Any = x.detach()
    return value.clone()


def write(group: dict[str, Any], key: str, value: Any) -> None:
    """Set an option of a group; a Tensor stays the same object."""
    if isinstance(group[key], Tensor):
        group[key].fill_(value)
    else:
        group[key] = value


def per_group(name: str, optimizer: Optimizer, value: Any) -> list[Any]:
    """One value for each parameter group; ValueError if a list has another length."""
    if isinstance(value, (list, tuple)):
        if len(value) != len(optimizer.param_groups):
            raise ValueError(
                f"{name} must have the same length as optimizer.param_groups. {name} has "
                f"{len(value)} values, "
                f"param_groups has {len(optimizer.param_groups)}."
            )
        return list(value)
    return [value] * len(optimizer.param_groups)


class LRScheduler:
    """Base of the schedulers: a subclass gives `get_lr`, from the current rates or from `base_lrs`.

    TypeError if ``optimizer`` is not an Optimizer; KeyError if ``last_epoch`` asks to resume and
    the groups have no ``initial_lr``.
    """

    _get_lr_called_within_step = False
    _is_initial = False

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        self.optimizer = self._checked(optimizer)
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", copied(group["lr"]))
            elif "initial_lr" not in group:
                raise KeyError(
                    f"param 'initial_lr' is not specified in param_groups[{i}] when resuming "
                    "scheduler with "
                    "last_epoch >= 0.\nThis typically happens when:\n1. You're trying to resume "
                    "training from a "
                    "checkpoint but haven't properly loaded the optimizer state\n2. You're using "
                    "last_epoch >= 0 "
                    "for a fresh training run (not recommended)"
                )
        self.base_lrs: list[Any] = [copied(group["initial_lr"]) for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        if "_step_as_scheduled" not in optimizer.__dict__:
            optimizer._opt_called = False
            optimizer.__dict__["_step_as_scheduled"] = optimizer.__dict__.get("step")
        self._initial_step()

    @staticmethod
    def _checked(optimizer: Any) -> Optimizer:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"{type(optimizer).__name__} is not an Optimizer")
        return optimizer

    def _initial_step(self) -> None:
        self._step_count = 0
        self._is_initial = True
        try:
            self.step()
        finally:
            self._is_initial = False

    # -- state
    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer."""
        return {key: value for key, value in self.__dict__.items() if key != "optimizer"}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` gave; the optimizer loads its own state."""
        self.__dict__.update(state_dict)

    # -- rates
    def get_last_lr(self) -> list[Any]:
        """The rate of each parameter group that the last step set."""
        return self._last_lr

    def get_lr(self) -> list[Any]:
        """The rates of the epoch `last_epoch`; called by `step`."""
        raise NotImplementedError

    if TYPE_CHECKING:
        step: Any  # ReduceLROnPlateau requires the metric
        _get_closed_form_lr: Any
    else:

        def step(self, epoch: int | None = None) -> None:
            """Go to the next epoch, or (deprecated) to a given one, and set the rates."""
            if self._step_count == 1:
                self._check_order()
            self._step_count += 1
            if epoch is not None:
                warnings.warn(EPOCH_DEPRECATED, UserWarning, stacklevel=2)
            self._update_lr(epoch)

    def _check_order(self) -> None:
        optimizer = self.optimizer
        if optimizer.__dict__.get("step") is not optimizer.__dict__.get("_step_as_scheduled"):
            warnings.warn(
                "Seems like `optimizer.step()` has been overridden after learning rate scheduler "
                "initialization. "
                f"Please, make sure to call `optimizer.step()` before `lr_scheduler.step()`. {SEE}",
                UserWarning,
                stacklevel=3,
            )
        elif not optimizer._opt_called:
            warnings.warn(
                "Detected call of `lr_scheduler.step()` before `optimizer.step()`. In PyTorch "
                "1.1.0 and later, you "
                "should call them in the opposite order: `optimizer.step()` before "
                "`lr_scheduler.step()`.  Failure "
                "to do this will result in PyTorch skipping the first value of the learning rate "
                f"schedule. {SEE}",
                UserWarning,
                stacklevel=3,
            )

    def _update_lr(self, epoch: int | None = None) -> None:
        with self._inside_step():
            if epoch is None:
                self.last_epoch += 1
                values = self.get_lr()
            else:
                self.last_epoch = epoch
                closed = getattr(self, "_get_closed_form_lr", None)
                values = self.get_lr() if closed is None else closed()
        self._set(values)

    @contextmanager
    def _inside_step(self) -> Iterator[None]:
        self._get_lr_called_within_step = True
        try:
            yield
        finally:
            self._get_lr_called_within_step = False

    def _set(self, values: Iterable[Any]) -> None:
        for group, lr in zip(self.optimizer.param_groups, values, strict=False):
            write(group, "lr", lr)
        self._last_lr = self._current()

    def _current(self) -> list[Any]:
        return [copied(group["lr"]) for group in self.optimizer.param_groups]

    def _scaled(self, factor: float) -> list[Any]:
        """The current rates times a factor."""
        return [group["lr"] * factor for group in self.optimizer.param_groups]

    def _warn_outside_step(self) -> None:
        if not self._get_lr_called_within_step:
            warnings.warn(
                "To get the last learning rate computed by the scheduler, please use "
                "`get_last_lr()`.",
                UserWarning,
                stacklevel=3,
            )
