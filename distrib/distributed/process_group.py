"""A process group: collectives on raw arrays, each numbered, described, checked and recorded.

A backend is a subclass with one method, ``_launch(call)``, which starts a collective over wire
arrays and returns its handle. Everything that users can get wrong is found here, before anything is
sent.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from distrib import config, errors
from distrib.distributed.call import Call, FlightRecord, Work
from distrib.distributed.wire import (
    BYTES,
    Form,
    ReduceOp,
    form_of,
    incoming,
    outgoing,
    scale,
    store,
)
from distrib.dtypes import Array

Arrays = Sequence[Array]
Finish = Callable[[], None]


class ProcessGroup:
    """Ranks that exchange arrays; ``ranks`` are their numbers in the world, in group order."""

    backend = "undefined"

    def __init__(self, ranks: Sequence[int], rank: int, name: str, timeout_s: float) -> None:
        self.ranks, self._rank, self._name, self.timeout_s = list(ranks), rank, name, timeout_s
        self._size = len(self.ranks)
        self._seq = 0
        self._lock = threading.RLock()
        self._check = bool(config.get("DISTRIB_CHECK_COLLECTIVES"))
        self.record = FlightRecord()

    def rank(self) -> int:
        """This rank's number in the group."""
        return self._rank

    def size(self) -> int:
        """The number of ranks."""
        return self._size

    @property
    def num_calls(self) -> int:
        """How many collectives this rank has called; the next one has this number."""
        return self._seq

    def name(self) -> str:
        """The backend's name, as PyTorch's."""
        return self.backend

    @property
    def group_name(self) -> str:
        """The name by which errors and the flight record call this group."""
        return self._name

    def __repr__(self) -> str:
        return f"<ProcessGroup {self._name} {self.backend} rank={self._rank} ranks={self.ranks}>"

    # ---- what a backend supplies -------------------------------------------------------------
    def _launch(self, call: Call) -> Work:
        """Start a call and return its handle."""
        raise NotImplementedError(f"{type(self).__name__} does not implement {call.kind}")

    def _perform(self, call: Call) -> None:
        """Carry a call out; where waiting at once is quicker than starting and waiting."""
        self._launch(call).wait()

    def _verify(self, call: Call) -> None:
        """Check with the other ranks that they are about to make the same call."""

    def progress(self) -> None:
        """Give pending collectives a chance to advance; called from gradient hooks."""

    def subgroup(self, ranks: Sequence[int], name: str, timeout_s: float) -> ProcessGroup | None:
        """A group of some of the world's ranks, or None where this rank is not one of them."""
        raise NotImplementedError

    def close(self) -> None:
        """Leave the group; nothing may be pending."""

    def abort(self, message: str, code: int = 1) -> None:
        """End all ranks because this one cannot go on."""
        raise errors.CollectiveError(message)

    # ---- the collectives -------------------------------------------------------------------------
    def all_reduce(
        self, array: Array, op: ReduceOp = ReduceOp.SUM, async_op: bool = False, name: str = ""
    ) -> Work | None:
        """Combine ``array`` of all ranks, in place, bitwise equal on all of them."""
        form = form_of(array.dtype, op, "all_reduce")
        wire, shared = outgoing(array, form)
        finish = (
            None if shared and not form.divide else _finisher(array, wire, shared, form, self._size)
        )
        call = Call("all_reduce", array.shape, array.dtype, op=form.op, name=name).carrying(
            None, wire, finish
        )
        return self._run(call, async_op)

    def reduce(
        self,
        array: Array,
        dst: int,
        op: ReduceOp = ReduceOp.SUM,
        async_op: bool = False,
        name: str = "",
    ) -> Work | None:
        """Combine ``array`` of all ranks into that of ``dst`` (a group rank), in place."""
        self._root("reduce", dst)
        form = form_of(array.dtype, op, "reduce")
        wire, shared = outgoing(array, form)
        finish = None
        if dst == self._rank:
            finish = _finisher(array, wire, shared, form, self._size)
        call = Call("reduce", array.shape, array.dtype, op=form.op, peer=dst, name=name).carrying(
            None, wire, finish
        )
        return self._run(call, async_op)

    def broadcast(
        self, array: Array, src: int, async_op: bool = False, name: str = ""
    ) -> Work | None:
        """Copy ``array`` of ``src`` (a group rank) into that of the others."""
        self._root("broadcast", src)
        wire, shared = outgoing(array, BYTES) if src == self._rank else incoming(array, BYTES)
        finish = None
        if src != self._rank and not shared:
            finish = _finisher(array, wire, False, BYTES, 1)
        call = Call("broadcast", array.shape, array.dtype, peer=src, name=name).carrying(
            None, wire, finish
        )
        return self._run(call, async_op)

    def all_gather(self, out: Array | Arrays, array: Array, async_op: bool = False) -> Work | None:
        """Collect ``array`` of all ranks in ``out``: one array of size times its elements, or a
        list.
        """
        self._parts("all_gather", out, array, "output")
        wire, finish = self._receiver(out, BYTES)
        send = outgoing(array, BYTES)[0]
        call = Call("all_gather", array.shape, array.dtype).carrying(send, wire, finish)
        return self._run(call, async_op)

    def gather(
        self, out: Array | Arrays | None, array: Array, dst: int, async_op: bool = False
    ) -> Work | None:
        """Collect ``array`` of all ranks in ``out`` of ``dst`` (a group rank); None elsewhere."""
        self._root("gather", dst)
        wire, finish = None, None
        if dst == self._rank:
            self._parts("gather", out, array, "output")
            wire, finish = self._receiver(out, BYTES)
        send = outgoing(array, BYTES)[0]
        call = Call("gather", array.shape, array.dtype, peer=dst).carrying(send, wire, finish)
        return self._run(call, async_op)

    def scatter(
        self, array: Array, source: Array | Arrays | None, src: int, async_op: bool = False
    ) -> Work | None:
        """Deal ``source`` of ``src`` (a group rank) out: the k-th part to ``array`` of rank k."""
        self._root("scatter", src)
        send = None
        if src == self._rank:
            self._parts("scatter", source, array, "input")
            send = self._sender(source, BYTES)
        wire, finish = self._receiver(array, BYTES)
        call = Call("scatter", array.shape, array.dtype, peer=src).carrying(send, wire, finish)
        return self._run(call, async_op)

    def reduce_scatter(
        self,
        out: Array,
        source: Array | Arrays,
        op: ReduceOp = ReduceOp.SUM,
        async_op: bool = False,
    ) -> Work | None:
        """Combine ``source`` of all ranks; rank k keeps the k-th part of the result in ``out``."""
        self._parts("reduce_scatter", source, out, "input")
        form = form_of(out.dtype, op, "reduce_scatter")
        wire, shared = incoming(out, form)
        finish = _finisher(out, wire, shared, form, self._size)
        send = self._sender(source, form)
        call = Call("reduce_scatter", out.shape, out.dtype, op=form.op).carrying(send, wire, finish)
        return self._run(call, async_op)

    def all_to_all(
        self,
        out: Array | Arrays,
        source: Array | Arrays,
        out_counts: Sequence[int] | None = None,
        in_counts: Sequence[int] | None = None,
        async_op: bool = False,
    ) -> Work | None:
        """Send the k-th part of ``source`` to rank k; parts are arrays of a list, or element
        counts.
        """
        received = self._counts("all_to_all", out, out_counts, "output")
        sent = self._counts("all_to_all", source, in_counts, "input")
        raw = _first(source).dtype
        if _first(out).dtype != raw:
            raise errors.DTypeError(
                "all_to_all: dtypes differ", got=_first(out).dtype, expected=raw
            )
        wire, finish = self._receiver(out, BYTES)
        counts = ([n * raw.itemsize for n in sent], [n * raw.itemsize for n in received])
        send = self._sender(source, BYTES)
        call = Call("all_to_all", (), raw).carrying(send, wire, finish)
        call.counts = counts
        return self._run(call, async_op)

    def barrier(self, async_op: bool = False, name: str = "") -> Work | None:
        """Wait until all ranks are here."""
        return self._run(Call("barrier", (), None, name=name), async_op)

    def send(self, array: Array, dst: int, tag: int = 0, async_op: bool = False) -> Work | None:
        """Send ``array`` to ``dst`` (a group rank)."""
        self._root("send", dst)
        call = Call("send", array.shape, array.dtype, peer=dst).carrying(
            outgoing(array, BYTES)[0], None, None
        )
        call.counts = ([tag], [])
        return self._run(call, async_op)

    def recv(self, array: Array, src: int | None, tag: int = 0, async_op: bool = False) -> Work:
        """Receive into ``array`` from ``src`` (a group rank; None: from any)."""
        if src is not None:
            self._root("recv", src)
        wire, finish = self._receiver(array, BYTES)
        peer = -1 if src is None else src
        call = Call("recv", array.shape, array.dtype, peer=peer).carrying(None, wire, finish)
        call.counts = ([tag], [])
        work = self._run(call, True)
        assert work is not None
        if not async_op:
            work.wait()
        return work

    # ---- shared parts ----------------------------------------------------------------------------
    def _run(self, call: Call, async_op: bool) -> Work | None:
        call.group = self._name
        with self._lock:
            if call.kind not in ("send", "recv"):  # pairs of ranks: not part of the common order
                call.seq = self._seq
                self._seq += 1
                if self._check:
                    self._verify(call)
            self.record.append(call)
            if async_op:
                return self._launch(call)
        self._perform(call)
        return None

    def _root(self, kind: str, rank: int) -> None:
        if not 0 <= rank < self._size:
            raise errors.CollectiveError(
                f"{kind}: invalid rank {rank} in group {self._name}",
                expected=f"0 to {self._size - 1}",
            )

    def _parts(self, kind: str, whole: Any, part: Array, what: str) -> None:
        """``whole`` must hold one ``part`` for each rank."""
        if whole is None:
            raise ValueError(f"{kind}: the {what} must be given on this rank")
        if isinstance(whole, (list, tuple)):
            if len(whole) != self._size:
                raise errors.CollectiveError(
                    f"{kind}: invalid {what} tensor list",
                    expected=f"length {self._size}",
                    got=len(whole),
                )
            for i, a in enumerate(whole):
                if tuple(a.shape) != tuple(part.shape):
                    raise errors.ShapeError(
                        f"{kind}: invalid tensor size at index {i} of the {what} list",
                        expected=tuple(part.shape),
                        got=tuple(a.shape),
                    )
        elif whole.size != part.size * self._size:
            raise errors.ShapeError(
                f"{kind}: the {what} tensor must hold world_size x the size of the other one",
                expected=f"{part.size * self._size} elements ({self._size} x {tuple(part.shape)})",
                got=f"{whole.size} elements {tuple(whole.shape)}",
            )
        for a in whole if isinstance(whole, (list, tuple)) else (whole,):
            if a.dtype != part.dtype:
                raise errors.DTypeError(
                    f"{kind}: Invalid usage of tensors with different dtypes",
                    expected=part.dtype,
                    got=a.dtype,
                )

    def _counts(self, kind: str, whole: Any, counts: Sequence[int] | None, what: str) -> list[int]:
        """How many elements of ``whole`` belong to each rank."""
        if isinstance(whole, (list, tuple)):
            if len(whole) != self._size:
                raise errors.CollectiveError(
                    f"{kind}: invalid {what} tensor list",
                    expected=f"length {self._size}",
                    got=len(whole),
                )
            return [a.size for a in whole]
        if counts is None:
            if whole.shape[:1] and whole.shape[0] % self._size:
                raise errors.ShapeError(
                    f"{kind}: Tensor's dim 0 does not divide equally across group size",
                    expected=f"a multiple of {self._size}",
                    got=whole.shape[0],
                )
            return [whole.size // self._size] * self._size
        if len(counts) != self._size or sum(counts) != whole.shape[0]:
            raise errors.ShapeError(
                f"{kind}: Split sizes doesn't match total dim 0 size of the {what}",
                expected=f"{self._size} sizes, sum {whole.shape[0]}",
                got=list(counts),
            )
        row = whole.size // max(1, whole.shape[0])
        return [n * row for n in counts]

    def _receiver(self, out: Any, form: Form) -> tuple[Array, Finish | None]:
        """A wire array for ``out`` and what distributes it over ``out`` afterwards."""
        if not isinstance(out, (list, tuple)):
            wire, shared = incoming(out, form)
            return wire, None if shared else _finisher(out, wire, shared, form, 1)
        bounds = np.cumsum([0] + [a.size * a.dtype.itemsize for a in out])
        wire = np.empty(int(bounds[-1]), np.uint8)

        def split() -> None:
            for a, lo, hi in zip(out, bounds[:-1], bounds[1:], strict=True):
                store(a, wire[lo:hi], form)

        return wire, split

    def _sender(self, source: Any, form: Form) -> Array:
        if not isinstance(source, (list, tuple)):
            return outgoing(source, form)[0]
        return np.concatenate([outgoing(a, form)[0] for a in source])


def _first(arrays: Any) -> Array:
    return arrays[0] if isinstance(arrays, (list, tuple)) else arrays


def _finisher(array: Array, wire: Array, shared: bool, form: Form, size: int) -> Finish | None:
    """What is left to do when the wire array holds the result."""
    if shared and not form.divide:
        return None

    def finish() -> None:
        if form.divide:
            scale(wire, size)
        if not shared:
            store(array, wire, form)

    return finish
