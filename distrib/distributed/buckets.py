"""Which gradients travel together: a pure plan, and the flat arrays that hold them."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from sys import getrefcount
from typing import Any

import numpy as np

from distrib.devices import xp_of
from distrib.dtypes import Array

MIB = 1 << 20
FIRST_BYTES = MIB  # a small first bucket starts the exchange early


def plan_buckets(
    num_bytes: Sequence[int], kinds: Sequence[Hashable], caps_bytes: Sequence[int]
) -> list[list[int]]:
    """Split parameters into buckets, in reverse order: the last layer's gradients come first.

    ``num_bytes[i]`` and ``kinds[i]`` (dtype and device) describe parameter i. The k-th bucket of a
    kind is closed once it holds ``caps_bytes[k]`` or more, the last cap counting for all that
    follow. Buckets are ordered by the parameter that completes them, which is the order in which a
    backward fills them.

    >>> plan_buckets([4, 4, 8, 2], "aaaa", [2, 8])
    [[3], [2], [1, 0]]
    """
    open_: dict[Hashable, list[int]] = {}
    filled: dict[Hashable, int] = {}
    num_closed: dict[Hashable, int] = {}
    buckets = []
    for i in reversed(range(len(num_bytes))):
        kind = kinds[i]
        bucket = open_.setdefault(kind, [])
        bucket.append(i)
        filled[kind] = filled.get(kind, 0) + num_bytes[i]
        k = num_closed.get(kind, 0)
        if filled[kind] >= caps_bytes[min(k, len(caps_bytes) - 1)]:
            buckets.append(open_.pop(kind))
            filled[kind], num_closed[kind] = 0, k + 1
    buckets += open_.values()
    return sorted(buckets, key=lambda bucket: -bucket[-1])


def caps(bucket_cap_mb: float, caps_mb: Sequence[float] | None = None) -> list[int]:
    """Bucket sizes in bytes: a small first one, then the cap; or the given list."""
    if caps_mb is not None:
        return [int(c * MIB) for c in caps_mb]
    cap = int(bucket_cap_mb * MIB)
    return [min(FIRST_BYTES, cap), cap]


def _like(flat: Array, start: int, param: Array) -> Array:
    """A view of ``flat`` with the shape of ``param``, and with its strides where it is dense."""
    stop = start + param.size
    if param.ndim > 1 and not param.flags.c_contiguous and isinstance(flat, np.ndarray):
        order = np.argsort([-s for s in param.strides], kind="stable")
        if param.transpose(order).flags.c_contiguous:
            shape = [param.shape[d] for d in order]
            return flat[start:stop].reshape(shape).transpose(np.argsort(order))
    return flat[start:stop].reshape(param.shape)


class Bucket:
    """The gradients of some parameters in one flat array."""

    def __init__(self, index: int, indices: Sequence[int], params: Sequence[Any]) -> None:
        self.index, self.indices, self.params = index, list(indices), list(params)
        self.pending = len(self.indices)
        self.work: Any = None
        self.flat: Array = None
        self.views: list[Array] = []

    def allocate(self) -> None:
        """Make a new flat array and its views; gradients that were handed out keep the old one."""
        first = self.params[0]._a
        size = sum(p._a.size for p in self.params)
        self.flat, self.views = xp_of(first).zeros(size, first.dtype), []
        start = 0
        for p in self.params:
            self.views.append(_like(self.flat, start, p._a))
            start += p._a.size
        self._flat_refs, self._view_refs = getrefcount(self.flat), 3  # list, variable, argument

    def is_held(self) -> bool:
        """Whether somebody but the parameters' ``.grad`` still looks at the flat array."""
        if getrefcount(self.flat) != self._flat_refs:
            return True
        for i in range(len(self.views)):
            view, grad = self.views[i], self.params[i].grad
            own = grad is not None and grad._a is view
            if getrefcount(view) - own > self._view_refs:
                return True
        return False
