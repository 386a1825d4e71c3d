"""The MPI backend, and the only importer of mpi4py: collectives with and without requests.

One progress thread and one watchdog per process; each group has a communicator for its collectives
and one for checks, so that a check never meets a collective. MPI stays up until the process ends.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from distrib import errors
from distrib.distributed import failure
from distrib.distributed.call import Call, Work
from distrib.distributed.process_group import ProcessGroup
from distrib.distributed.progress import PendingWork, Progress
from distrib.distributed.watchdog import Watchdog
from distrib.distributed.wire import ReduceOp
from distrib.distributed.world import check_promise, promised

if TYPE_CHECKING:
    from mpi4py import MPI

CHUNK_BYTES = 4 << 20  # in-place reductions in pieces of this size stay in the cache
_LEFT_TAG = 32001
_LATE_S = 0.3  # ranks that end well do so together; after this, others may be waiting for this one


class Runtime:
    """MPI in this process: initialized once, finalized when the process ends well."""

    def __init__(self) -> None:
        self.mpi = mpi = _import_mpi()
        self.world = mpi.COMM_WORLD
        self.rank, self.size = self.world.Get_rank(), self.world.Get_size()
        check_promise(promised(os.environ), self.size)
        self.lobby = self.world.Dup()  # where ranks say that they leave, and wait for the others
        node = self.world.Split_type(mpi.COMM_TYPE_SHARED)
        self.local = (node.Get_rank(), node.Get_size())
        threads = mpi.Query_thread() >= mpi.THREAD_MULTIPLE
        self.progress = Progress(threads)
        self.groups: list[ProcessGroup] = []
        self.left: dict[int, dict[str, int]] = {}
        self._notices: list[Any] = []
        self._unsaid: dict[str, int] = {}
        self._saying = threading.Lock()
        self.guard = failure.install(self.rank, self.world.Abort, self.farewell)
        self.watchdog = (
            Watchdog(self.groups, self.poll_left, self.tell, self.end)
            if threads and self.size > 1
            else None
        )
        names = {ReduceOp.PRODUCT: "PROD"}
        self.ops: list[Any] = [
            getattr(mpi, names.get(op, op.name), None) for op in ReduceOp
        ]  # by value

    def poll_left(self) -> dict[int, dict[str, int]]:
        """Which ranks have left, each with the number of calls that it made in each group."""
        while self.lobby.Iprobe(tag=_LEFT_TAG):
            rank, counts = self.lobby.recv(tag=_LEFT_TAG)
            self.left.setdefault(rank, {}).update(counts)
        return self.left

    def leave(self, groups: Sequence[ProcessGroup]) -> None:
        """This rank makes no more calls in these groups. The others are told later, if need be."""
        with self._saying:
            self._unsaid.update({g.group_name: g.num_calls for g in groups})

    def tell(self) -> None:
        """Tell the others which groups this rank has left: where all leave at once, nobody asks."""
        with self._saying:
            if self._unsaid:
                others = [r for r in range(self.size) if r != self.rank]
                said = (self.rank, dict(self._unsaid))
                self._notices += [self.lobby.isend(said, r, _LEFT_TAG) for r in others]
                self._unsaid.clear()

    def end(self, message: str) -> None:
        """End all ranks of the job."""
        self.guard.end("CollectiveError", message)

    def farewell(self) -> None:
        """At a good end: wait for the other ranks without spinning, then finalize MPI."""
        if self.mpi.Is_finalized():
            return
        self.leave(self.groups)
        if self.size > 1:
            goodbye, pause_s, start_s = self.lobby.Ibarrier(), 0.0002, time.monotonic()
            while not goodbye.Test():
                time.sleep(pause_s)
                pause_s = min(pause_s * 1.5, 0.02)
                if time.monotonic() - start_s > _LATE_S:
                    self.tell()
        self.progress.stop()
        if self.watchdog is not None:
            self.watchdog.stop()
        self.poll_left()
        self.mpi.Finalize()


_runtime: Runtime | None = None


def _import_mpi() -> Any:
    try:
        import mpi4py

        if "mpi4py.MPI" not in sys.modules:
            mpi4py.rc.thread_level = "multiple"
            mpi4py.rc.finalize = (
                False  # failure.py ends it, so that a failing rank can abort instead
            )
        from mpi4py import MPI
    except (ImportError, RuntimeError) as e:
        raise RuntimeError(
            "init_process_group: backend 'mpi' needs mpi4py and an MPI library "
            f"(pip install 'distrib[mpich]' brings both): {e}"
        ) from e
    if not MPI.Is_initialized():
        MPI.Init_thread(MPI.THREAD_MULTIPLE)
    return MPI


def open_world(name: str, timeout_s: float) -> MPIGroup:
    """The group of all MPI ranks; starts MPI at the first call."""
    global _runtime
    if _runtime is None:
        _runtime = Runtime()
    if _runtime.mpi.Is_finalized():
        raise RuntimeError("init_process_group: MPI is finalized in this process")
    return MPIGroup(_runtime, _runtime.world, range(_runtime.size), name, timeout_s)


class _Receive:
    """A receive request that notes the sender when it ends."""

    def __init__(self, request: Any, call: Call, status: Any) -> None:
        self._request, self._call, self._status = request, call, status

    def Test(self) -> bool:
        done: bool = self._request.Test(self._status)
        return self._ended() if done else False

    def Wait(self) -> None:
        self._request.Wait(self._status)
        self._ended()

    def _ended(self) -> bool:
        self._call.peer = self._status.Get_source()
        got, expected = self._status.Get_elements(_byte()), self._call.recv.nbytes
        if got != expected:
            raise errors.CollectiveError(
                f"rank {self._call.peer} sent another size",
                got=f"{got} bytes",
                expected=f"{expected} bytes",
            )
        return True


def _byte() -> Any:
    assert _runtime is not None
    return _runtime.mpi.BYTE


class MPIGroup(ProcessGroup):
    """Some ranks of MPI's world, on communicators of their own."""

    backend = "mpi"

    def __init__(
        self,
        runtime: Runtime,
        comm: MPI.Intracomm,
        ranks: Sequence[int],
        name: str,
        timeout_s: float,
    ) -> None:
        super().__init__(ranks, comm.Get_rank(), name, timeout_s)
        self.runtime, self.local = runtime, runtime.local
        self._comm, self._checks = comm.Dup(), comm.Dup()
        self._all_reduce, self._ops = self._comm.Allreduce, runtime.ops
        self._prints = np.empty(2, np.int64)
        self._in_place = runtime.mpi.IN_PLACE
        runtime.groups.append(self)

    def _perform(self, call: Call) -> None:
        if call.kind == "send":
            self._launch(call).wait()
            return
        try:
            if call.kind == "all_reduce" and call.recv.nbytes <= CHUNK_BYTES:
                assert call.op is not None
                self._all_reduce(self._in_place, call.recv, self._ops[call.op._value_])
            elif call.kind == "barrier":
                if not self._check:  # else it has just been verified, which is a barrier
                    self._verify(call)
            else:
                for method, args in self._arguments(call):
                    getattr(self._comm, method)(*args)
        except self.runtime.mpi.Exception as e:
            raise self._mpi_error(call, e) from e
        call.complete()

    def _launch(self, call: Call) -> Work:
        try:
            if call.kind in ("send", "recv"):
                requests = [self._point_to_point(call)]
            else:
                requests = [
                    getattr(self._comm, "I" + m.lower())(*args) for m, args in self._arguments(call)
                ]
        except self.runtime.mpi.Exception as e:
            raise self._mpi_error(call, e) from e
        work = PendingWork(call, requests, self.runtime.progress)
        wire = call.send if call.recv is None else call.recv
        self.runtime.progress.add(work, 0 if wire is None else wire.nbytes)
        return work

    def _arguments(self, call: Call) -> list[tuple[str, tuple[Any, ...]]]:
        """The MPI calls, one or a chunked series, as (method, arguments)."""
        kind, peer, send, recv = call.kind, call.peer, call.send, call.recv
        op = None if call.op is None else self._ops[call.op.value]
        if kind == "all_reduce":
            return [("Allreduce", (self._in_place, part, op)) for part in _chunks(recv)]
        if kind == "broadcast":
            return [("Bcast", (recv, peer))]
        if kind == "reduce":
            if peer == self._rank:
                return [("Reduce", (self._in_place, part, op, peer)) for part in _chunks(recv)]
            return [("Reduce", (part, None, op, peer)) for part in _chunks(recv)]
        if kind == "all_gather":
            return [("Allgather", (send, recv))]
        if kind == "gather":
            return [("Gather", (send, recv, peer))]
        if kind == "scatter":
            return [("Scatter", (send, recv, peer))]
        if kind == "reduce_scatter":
            return [("Reduce_scatter_block", (send, recv, op))]
        if kind == "all_to_all":
            assert call.counts is not None
            return [("Alltoallv", ([send, call.counts[0]], [recv, call.counts[1]]))]
        assert kind == "barrier", kind
        return [("Barrier", ())]

    def _point_to_point(self, call: Call) -> Any:
        assert call.counts is not None
        tag, mpi = call.counts[0][0], self.runtime.mpi
        if call.kind == "send":
            return self._comm.Isend(call.send, call.peer, tag)
        source = call.peer if call.peer >= 0 else mpi.ANY_SOURCE
        return _Receive(self._comm.Irecv(call.recv, source, tag), call, mpi.Status())

    def _verify(self, call: Call) -> None:
        mine = call.fingerprint()
        self._prints[0], self._prints[1] = mine, -mine
        self._checks.Allreduce(self._in_place, self._prints, self.runtime.mpi.MIN)
        if self._prints[0] == -self._prints[1]:
            return
        calls = self._checks.allgather(str(call))
        sides: dict[str, list[int]] = {}
        for rank, text in zip(self.ranks, calls, strict=True):
            sides.setdefault(text, []).append(rank)
        told = ", ".join(f"{_ranks(ranks)} called {text}" for text, ranks in sides.items())
        raise errors.CollectiveError(f"ranks called different collectives: {told}")

    def _mpi_error(self, call: Call, error: Exception) -> errors.CollectiveError:
        call.error = errors.CollectiveError(
            f"{call}: {error}",
            hint="DISTRIB_CHECK_COLLECTIVES=1 compares calls between ranks before they are made.",
        )
        return call.error

    def progress(self) -> None:
        """Test the pending calls."""
        self.runtime.progress.poll()

    def subgroup(self, ranks: Sequence[int], name: str, timeout_s: float) -> ProcessGroup | None:
        """A group of some of the world's ranks, made by those ranks alone."""
        if self.ranks[self._rank] not in ranks:
            return None
        whole = self._comm.Get_group()
        comm = self._comm.Create_group(whole.Incl([self.ranks.index(r) for r in ranks]))
        made = MPIGroup(self.runtime, comm, ranks, name, timeout_s)
        comm.Free()
        return made

    def close(self) -> None:
        """Leave; ranks that still wait for this one are ended by their watchdogs."""
        if self in self.runtime.groups:
            self.runtime.leave([self])
            self.runtime.groups.remove(self)

    def abort(self, message: str, code: int = 1) -> None:
        """End all ranks of the job with the message."""
        self.runtime.guard.end("CollectiveError", message, code)


def _ranks(ranks: list[int]) -> str:
    return f"rank {ranks[0]}" if len(ranks) == 1 else f"ranks {', '.join(map(str, ranks))}"


def _chunks(wire: Any) -> list[Any]:
    if wire.nbytes <= CHUNK_BYTES:
        return [wire]
    step = CHUNK_BYTES // wire.itemsize
    return [wire[i : i + step] for i in range(0, wire.size, step)]
