"""A collective whose ranks all live in this process: plain array arithmetic over their buffers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from distrib.distributed.call import Call
from distrib.distributed.wire import ReduceOp
from distrib.dtypes import Array

_COMBINE: dict[ReduceOp | None, Any] = {
    ReduceOp.SUM: np.add,
    ReduceOp.PRODUCT: np.multiply,
    ReduceOp.MIN: np.minimum,
    ReduceOp.MAX: np.maximum,
    ReduceOp.BAND: np.bitwise_and,
    ReduceOp.BOR: np.bitwise_or,
    ReduceOp.BXOR: np.bitwise_xor,
}


def _total(arrays: Sequence[Array], op: ReduceOp | None) -> Array:
    """The combination in rank order: the same on every rank, and from run to run."""
    total = arrays[0].copy()
    with np.errstate(
        all="ignore"
    ):  # an overflow is the user's number, not an event of the transport
        for a in arrays[1:]:
            _COMBINE[op](total, a, out=total)
    return total


def execute(calls: Sequence[Call]) -> None:
    """Carry out one collective; ``calls[k]`` is rank k's. All agree on kind, operator, shape,
    dtype.
    """
    first, size = calls[0], len(calls)
    kind = first.kind
    if kind == "all_reduce":
        if size > 1:
            total = _total([c.recv for c in calls], first.op)
            for c in calls:
                c.recv[...] = total
    elif kind == "reduce":
        if size > 1:
            calls[first.peer].recv[...] = _total([c.recv for c in calls], first.op)
    elif kind == "broadcast":
        source = calls[first.peer].recv
        for rank, c in enumerate(calls):
            if rank != first.peer:
                c.recv[...] = source
    elif kind in ("all_gather", "gather"):
        for c in calls if kind == "all_gather" else [calls[first.peer]]:
            for part, sender in zip(np.split(c.recv, size), calls, strict=True):
                part[...] = sender.send
    elif kind == "scatter":
        for c, part in zip(calls, np.split(calls[first.peer].send, size), strict=True):
            c.recv[...] = part
    elif kind == "reduce_scatter":
        total = _total([c.send for c in calls], first.op)
        for c, part in zip(calls, np.split(total, size), strict=True):
            c.recv[...] = part
    elif kind == "all_to_all":
        _all_to_all(calls)
    else:
        assert kind == "barrier", kind


def _all_to_all(calls: Sequence[Call]) -> None:
    sent, received = [], []
    for c in calls:
        assert c.counts is not None
        sent.append(np.split(c.send, np.cumsum(c.counts[0])[:-1]))
        received.append(np.split(c.recv, np.cumsum(c.counts[1])[:-1]))
    for to, parts in enumerate(received):
        for source, part in enumerate(parts):
            part[...] = sent[source][to]
