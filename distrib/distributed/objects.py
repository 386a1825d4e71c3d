"""Collectives on Python objects, pickled between the ranks of one job.

Unpickling runs code: this is for ranks that trust one another, as in PyTorch. Lengths go first, in
a collective whose order is always verified, then the bytes padded to the longest.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Sequence
from typing import Any

import numpy as np

from distrib.distributed.api import Group, resolve
from distrib.distributed.collectives import root
from distrib.distributed.process_group import ProcessGroup
from distrib.dtypes import Array


def _bytes(obj: Any) -> Array:
    stream = io.BytesIO()
    pickle.Pickler(stream, protocol=pickle.HIGHEST_PROTOCOL).dump(obj)
    return np.frombuffer(stream.getbuffer(), np.uint8).copy()


def _object(data: Array) -> Any:
    return pickle.loads(data.tobytes())


def _lengths(g: ProcessGroup, mine: Array, name: str) -> list[int]:
    """The byte counts of all ranks; the barrier makes sure that all are at this very call."""
    g.barrier(name=name)
    out = np.empty(g.size(), np.int64)
    g.all_gather(out, np.array([mine.size], np.int64))
    return [int(n) for n in out]


def _padded(data: Array, length: int) -> Array:
    out = np.zeros(length, np.uint8)
    out[: data.size] = data
    return out


def all_gather_object(object_list: list[Any], obj: Any, group: Group = None) -> None:
    """Collect an object of each rank in ``object_list``, whose length is the group's size."""
    g = resolve(group)
    if g is None:
        return
    if len(object_list) != g.size():
        raise ValueError(
            f"all_gather_object: expected a list of {g.size()} entries, got {len(object_list)}"
        )
    data = _bytes(obj)
    lengths = _lengths(g, data, "all_gather_object")
    longest = max(lengths)
    out = np.empty((g.size(), longest), np.uint8)
    g.all_gather(out, _padded(data, longest))
    for i, n in enumerate(lengths):
        object_list[i] = _object(out[i, :n])


def gather_object(
    obj: Any,
    object_gather_list: list[Any] | None = None,
    dst: int | None = None,
    group: Group = None,
    group_dst: int | None = None,
) -> None:
    """Collect an object of each rank in ``object_gather_list`` of rank ``dst`` (default 0)."""
    g = resolve(group)
    if g is None:
        return
    to = root(g, dst, group_dst, g.ranks[0])
    if g.rank() == to:
        if not object_gather_list:
            raise ValueError("Argument ``gather_list`` must be specified on destination rank.")
        if len(object_gather_list) != g.size():
            raise ValueError(
                f"gather_object: expected a list of {g.size()} entries, "
                f"got {len(object_gather_list)}"
            )
    elif object_gather_list:
        raise ValueError("Argument ``gather_list`` must NOT be specified on non-destination ranks.")
    data = _bytes(obj)
    lengths = _lengths(g, data, "gather_object")
    longest = max(lengths)
    out = np.empty((g.size(), longest), np.uint8) if g.rank() == to else None
    g.gather(out, _padded(data, longest), to)
    if out is not None and object_gather_list is not None:
        for i, n in enumerate(lengths):
            object_gather_list[i] = _object(out[i, :n])


def broadcast_object_list(
    object_list: list[Any],
    src: int | None = None,
    group: Group = None,
    device: Any = None,
    group_src: int | None = None,
) -> None:
    """Replace the entries of ``object_list`` by those of rank ``src`` (default 0)."""
    g = resolve(group)
    if g is None:
        return
    source = root(g, src, group_src, g.ranks[0])
    if not isinstance(object_list, list):
        raise TypeError(f"broadcast_object_list: expected a list, got {type(object_list)}")
    mine = g.rank() == source
    data = _bytes(object_list) if mine else np.empty(0, np.uint8)
    g.barrier(name="broadcast_object_list")
    head = np.array([len(object_list), data.size], np.int64)
    g.broadcast(head, source)
    if not mine:
        data = np.empty(int(head[1]), np.uint8)
    g.broadcast(data, source)
    if not mine:
        values = _object(data)
        if len(values) != len(object_list):
            raise ValueError(
                f"broadcast_object_list: rank {g.ranks[source]} sent {len(values)} objects, "
                f"the list here has {len(object_list)}"
            )
        object_list[:] = values


def scatter_object_list(
    scatter_object_output_list: list[Any],
    scatter_object_input_list: Sequence[Any] | None = None,
    src: int | None = None,
    group: Group = None,
    group_src: int | None = None,
) -> None:
    """Deal the objects of rank ``src`` (default 0) out: rank k's goes to entry 0 of its output
    list.
    """
    g = resolve(group)
    if g is None:
        return
    source = root(g, src, group_src, g.ranks[0])
    if not isinstance(scatter_object_output_list, list) or len(scatter_object_output_list) < 1:
        raise ValueError(
            "Expected argument scatter_object_output_list to be a list of size at least 1."
        )
    parts: list[Array] = []
    if g.rank() == source:
        if scatter_object_input_list is None or len(scatter_object_input_list) != g.size():
            raise ValueError(
                f"scatter_object_list: expected a list of {g.size()} objects on the source rank"
            )
        parts = [_bytes(o) for o in scatter_object_input_list]
    g.barrier(name="scatter_object_list")
    lengths = np.array([p.size for p in parts] or [0] * g.size(), np.int64)
    g.broadcast(lengths, source)
    longest = int(lengths.max())
    mine = np.empty(longest, np.uint8)
    g.scatter(mine, [_padded(p, longest) for p in parts] or None, source)
    scatter_object_output_list[0] = _object(mine[: int(lengths[g.rank()])])


def object_copies(g: ProcessGroup, obj: Any) -> list[Any]:
    """What each rank passed as ``obj``, in rank order."""
    out: list[Any] = [None] * g.size()
    data = _bytes(obj)
    lengths = _lengths(g, data, "compare")
    rows = np.empty((g.size(), max(lengths)), np.uint8)
    g.all_gather(rows, _padded(data, max(lengths)))
    for i, n in enumerate(lengths):
        out[i] = _object(rows[i, :n])
    return out
