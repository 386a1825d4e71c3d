"""torch.special: the special functions, under one roof."""

from __future__ import annotations

from typing import Any

from .ops import softmax as _softmax
from .ops import special as _special
from .ops.registry import publish

log_softmax, softmax = _softmax.log_softmax, _softmax.softmax
globals().update({name: getattr(_special, name) for name in _special.SPECIAL})
__all__ = sorted([*_special.SPECIAL, "log_softmax", "softmax"])
publish(globals())


def __getattr__(name: str) -> Any:
    raise AttributeError(f"module 'distrib.special' has no attribute '{name}'")
