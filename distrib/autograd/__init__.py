"""Automatic differentiation: modes, the engine, hooks, in-place history, user functions, checks."""

from .engine import backward, grad
from .hooks import RemovableHandle
from .modes import (
    enable_grad,
    inference_mode,
    intercept,
    is_grad_enabled,
    is_inference_mode_enabled,
    no_grad,
    set_grad_enabled,
)

__all__ = [
    "RemovableHandle",
    "backward",
    "enable_grad",
    "grad",
    "inference_mode",
    "intercept",
    "is_grad_enabled",
    "is_inference_mode_enabled",
    "no_grad",
    "set_grad_enabled",
]
