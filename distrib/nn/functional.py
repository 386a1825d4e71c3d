"""torch.nn.functional: the functions of the operator families, under one roof."""

from __future__ import annotations

from typing import Any

from ..ops import (
    activation, adaptive, attention, conv, ctc, distance, embed, linalg, loss, moreloss, norm, pad, pool, random,
    resize, sample, softmax, unfold,
)  # fmt: skip
from ..ops.registry import publish

FAMILIES = (
    activation, adaptive, attention, conv, ctc, distance, embed, linalg, loss, moreloss, norm, pad, pool, random,
    resize, sample, softmax, unfold,
)  # fmt: skip


def _names() -> dict[str, Any]:
    return {
        name: getattr(family, name) for family in FAMILIES for name in getattr(family, "NN", ())
    }


globals().update(_names())
__all__ = sorted(_names())
publish(globals())


def __getattr__(name: str) -> Any:
    raise AttributeError(f"module 'distrib.nn.functional' has no attribute '{name}'")
