"""torch.linalg: linear algebra, under one roof."""

from __future__ import annotations

from typing import Any

from .ops import algebra as _algebra
from .ops import matrix as _matrix
from .ops import matrixnorm as _matrixnorm
from .ops.registry import publish

for _family in (_algebra, _matrix, _matrixnorm):
    globals().update({name: getattr(_family, name) for name in _family.LINALG})
__all__ = sorted([*_algebra.LINALG, *_matrix.LINALG, *_matrixnorm.LINALG])
publish(globals())


def __getattr__(name: str) -> Any:
    raise AttributeError(f"module 'distrib.linalg' has no attribute '{name}'")
