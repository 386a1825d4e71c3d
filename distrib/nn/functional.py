"""torch.nn.functional: the functions of the operator families, under one roof."""

from __future__ import annotations

from typing import Any

from .. import ops as _ops
from ..ops.registry import publish

_FAMILIES = [family for family in vars(_ops).values() if hasattr(family, "NN")]


def _names() -> dict[str, Any]:
    return {name: getattr(family, name) for family in _FAMILIES for name in family.NN}


globals().update(_names())
__all__ = sorted(_names())
publish(globals())


def __getattr__(name: str) -> Any:
    raise AttributeError(f"module 'distrib.nn.functional' has no attribute '{name}'")
