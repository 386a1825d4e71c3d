"""Averages gradients over the ranks while the backward still runs.

A hook per parameter copies its gradient into a bucket, already divided by the number of ranks. Full
buckets are reduced in the order of the plan, never in the order in which they fill: every rank
makes the same calls. The last gradient waits for all, so the pass ends with averaged gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any
from zlib import crc32

import numpy as np

from distrib import errors
from distrib.distributed.buckets import Bucket, plan_buckets
from distrib.distributed.objects import object_copies
from distrib.distributed.process_group import ProcessGroup
from distrib.distributed.wire import BYTES, ReduceOp, outgoing, store
from distrib.dtypes import Array

Parameter = Any  # a tensor that requires grad


class Reducer:
    """Buckets and hooks for ``params``; ``wrap`` makes a tensor of a raw array."""

    def __init__(
        self,
        params: Sequence[Parameter],
        names: Sequence[str],
        group: ProcessGroup,
        wrap: Callable[[Array], Any],
        caps_bytes: Sequence[int],
        find_unused: bool = False,
        as_views: bool = False,
    ) -> None:
        self.params, self.names, self.group = list(params), list(names), group
        self._wrap, self._find_unused, self._as_views = wrap, find_unused, as_views
        arrays = [p._a for p in self.params]
        kinds = [(a.dtype, type(a), str(getattr(a, "device", ""))) for a in arrays]
        plan = plan_buckets([a.nbytes for a in arrays], kinds, caps_bytes)
        self.buckets = [Bucket(k, ix, [self.params[i] for i in ix]) for k, ix in enumerate(plan)]
        self._place = {i: (b, k) for b in self.buckets for k, i in enumerate(b.indices)}
        self._alone = group.size() == 1
        self._armed = False
        self._handles = [
            p.register_post_accumulate_grad_hook(self._hook(i)) for i, p in enumerate(self.params)
        ]
        self._unused: frozenset[int] = frozenset()
        self._reset()

    def _reset(self) -> None:
        self._ready = [False] * len(self.params)
        self._num_ready, self._next = 0, 0
        for b in self.buckets:
            b.pending, b.work = len(b.indices), None

    def _hook(self, index: int) -> Callable[[Any], None]:
        def hook(param: Any) -> None:
            if self._armed:
                self._on_gradient(index)

        return hook

    def remove(self) -> None:
        """Take the hooks off the parameters."""
        for handle in self._handles:
            handle.remove()

    # ---- around a forward
    # --------------------------------------------------------------------------
    def check_finished(self) -> None:
        """RuntimeError if the last backward left parameters without a gradient."""
        if self._num_ready in (0, len(self._unused)):
            return
        missing = [i for i, ready in enumerate(self._ready) if not ready]
        raise RuntimeError(
            "Expected to have finished reduction in the prior iteration before starting a new one. "
            f"The last backward gave no gradient to {len(missing)} of {len(self.params)} "
            "parameters, which the other ranks wait for: they took no part in the loss, or the "
            "loss did not use all outputs of forward. Pass find_unused_parameters=True if that is "
            "meant. "
            f"Parameter indices which did not receive grad for rank {self.group.rank()}: "
            f"{' '.join(map(str, missing))} ({', '.join(self.names[i] for i in missing)})"
        )

    def prepare(self, unused: Iterable[int] = ()) -> None:
        """Expect a backward whose gradients are averaged; none comes to ``unused`` parameters."""
        self._wait()  # for what was launched by a forward that had no backward
        self._unused = frozenset(unused)
        self._armed = True
        self._reset()
        if not self._alone:
            for i in self._unused:
                self._contribute(i)
        for i in self._unused:
            self._mark(i)

    def skip(self) -> None:
        """Expect a backward whose gradients stay on this rank."""
        self._armed = False

    # ---- during a backward -----------------------------------------------------------------------
    def _on_gradient(self, index: int) -> None:
        if self._ready[index]:
            raise RuntimeError(
                "Expected to mark a variable ready only once. Parameter "
                f"{self.names[index]!r} got a second gradient before the others got a first: it "
                "was used in several backward passes at a time, or was taken for unused"
            )
        if not self._alone:
            self._contribute(index)
        self._mark(index)
        if self._num_ready == len(self.params):
            self._finish()

    def _contribute(self, index: int) -> None:
        """Put the parameter's gradient, divided by the number of ranks, into its place."""
        bucket, k = self._place[index]
        if bucket.flat is None or (
            bucket.pending == len(bucket.indices) and not self._as_views and bucket.is_held()
        ):
            bucket.allocate()
        view, grad = bucket.views[k], self.params[index].grad
        if grad is None:
            view[...] = 0
        else:
            np.multiply(grad._a, view.dtype.type(1.0 / self.group.size()), out=view)
            if grad._a is not view:
                self.params[index].grad = self._wrap(view)

    def _mark(self, index: int) -> None:
        self._ready[index] = True
        self._num_ready += 1
        if self._alone:
            return
        self._place[index][0].pending -= 1
        while self._next < len(self.buckets) and not self.buckets[self._next].pending:
            self._launch(self.buckets[self._next])
            self._next += 1
        self.group.progress()

    def _launch(self, bucket: Bucket) -> None:
        name = f"gradient bucket {bucket.index}"
        overlaps = bucket is not self.buckets[-1]  # with the last one, nothing is left to compute
        bucket.work = self.group.all_reduce(bucket.flat, ReduceOp.SUM, overlaps, name)

    def _wait(self) -> None:
        for bucket in self.buckets:
            if bucket.work is not None:
                bucket.work.wait()
                bucket.work = None

    def _finish(self) -> None:
        """Wait for all buckets; parameters that only other ranks used get their gradient too."""
        if not self._alone:
            self._wait()
            if self._find_unused:
                used = np.ones(len(self.params), np.uint8)
                used[list(self._unused)] = 0
                self.group.all_reduce(used, ReduceOp.MAX, name="used parameters")
                for i in self._unused:
                    bucket, k = self._place[i]
                    if used[i] and self.params[i].grad is None:
                        self.params[i].grad = self._wrap(bucket.views[k])
        unused = self._unused
        self._reset()
        if unused:
            self._armed = False  # what the next backward uses is known after its forward


def check_same(params: Sequence[Parameter], names: Sequence[str], group: ProcessGroup) -> None:
    """RuntimeError that names rank and parameter where the models differ in shape or dtype."""
    mine = [
        (n, tuple(p._a.shape), str(p._a.dtype), p.requires_grad)
        for n, p in zip(names, params, strict=True)
    ]
    prints = np.empty(group.size(), np.int64)
    group.all_gather(prints, np.array([crc32(repr(mine).encode())], np.int64))
    if (prints == prints[0]).all():
        return
    every = object_copies(group, mine)
    first = every[0]
    for rank, theirs in enumerate(every):
        where = f"rank {group.ranks[rank]}"
        if len(theirs) != len(first):
            raise errors.CollectiveError(
                "DistributedDataParallel expects the same model on all ranks",
                expected=f"{len(first)} parameters as on rank {group.ranks[0]}",
                got=f"{len(theirs)} on {where}",
            )
        for a, b in zip(first, theirs, strict=True):
            if a != b:
                raise errors.CollectiveError(
                    f"DistributedDataParallel: parameter {b[0]!r} of {where} differs from that of "
                    f"rank {group.ranks[0]}",
                    expected=f"{a[0]!r} with sizes {list(a[1])}, {a[2]}, requires_grad={a[3]}",
                    got=f"{b[0]!r} with sizes {list(b[1])}, {b[2]}, requires_grad={b[3]}",
                )


def broadcast_coalesced(
    arrays: Sequence[Array], group: ProcessGroup, src: int = 0, batch_bytes: int = 25 << 20
) -> None:
    """Copy ``arrays`` of a rank into those of the others, many small ones in one message."""
    batch: list[Array] = []
    size = 0
    for a in [*arrays, None]:
        if batch and (a is None or size + a.nbytes > batch_bytes):
            _broadcast_batch(batch, group, src)
            batch, size = [], 0
        if a is not None:
            batch.append(a)
            size += a.nbytes


def _broadcast_batch(batch: Sequence[Array], group: ProcessGroup, src: int) -> None:
    if len(batch) == 1:
        group.broadcast(batch[0], src)
        return
    if group.rank() == src:
        group.broadcast(np.concatenate([outgoing(a, BYTES)[0] for a in batch]), src)
        return
    wire = np.empty(sum(a.nbytes for a in batch), np.uint8)
    group.broadcast(wire, src)
    start = 0
    for a in batch:
        store(a, wire[start : start + a.nbytes], BYTES)
        start += a.nbytes
