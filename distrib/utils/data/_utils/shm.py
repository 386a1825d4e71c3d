"""Shared memory between a worker process and its parent: a ring of segments without names.

A segment is a memfd (or a file that is unlinked at once) whose descriptor is sent to the parent, so
nothing can be left behind, however a process ends. Its first byte says whether the parent still
uses it: the worker sets it, the parent clears it when the last array of the batch is gone.
"""

from __future__ import annotations

import mmap
import os
import weakref
from typing import Any

import numpy as np

from .... import config
from ....dtypes import Array

HEADER = 64  # bytes in front of the data: the busy flag, and alignment to a cache line
GRAIN = 1 << 16  # segments are multiples of this many bytes
NO_MEMORY = (
    "DataLoader worker {worker} got no shared memory ({reason}); its batches are copied through a "
    "pipe, which is slower. Give the machine or container more (docker run --shm-size), or ask for "
    "smaller batches, a smaller prefetch_factor or fewer workers."
)


def open_segment(size: int) -> int:
    """A descriptor of ``size`` bytes of shared memory, all of it there already; OSError if not."""
    how = config.get("DISTRIB_DATA_SHM")
    if how == "pipe":
        raise OSError("DISTRIB_DATA_SHM=pipe")
    if how not in ("auto", "memfd", "file"):
        raise ValueError(f"DISTRIB_DATA_SHM={how!r}: expected one of auto, memfd, file, pipe")
    error: OSError | None = None
    if how != "file" and hasattr(os, "memfd_create"):
        try:
            return _filled(os.memfd_create("distrib-data", os.MFD_CLOEXEC), size)
        except OSError as e:
            error = e
    if how != "memfd":
        try:
            return _filled(_unlinked_file(), size)
        except OSError as e:
            error = error or e
    raise error or OSError("this system has no memfd_create")


def _unlinked_file() -> int:
    import tempfile

    fast = "/dev/shm"
    fd, path = tempfile.mkstemp(
        prefix="distrib-data-", dir=fast if os.access(fast, os.W_OK) else None
    )
    os.unlink(path)
    return fd


def _filled(fd: int, size: int) -> int:
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(fd, 0, size)  # else a full /dev/shm is a SIGBUS at the first write
        else:
            os.ftruncate(fd, size)
    except OSError:
        os.close(fd)
        raise
    return fd


def map_segment(fd: int, size: int) -> Array:
    """The bytes of a segment; closes the descriptor."""
    flags = mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0)
    try:
        return np.frombuffer(mmap.mmap(fd, size, flags=flags), np.uint8)
    finally:
        os.close(fd)


class Lease:
    """Stands under the arrays of one batch; when the last of them goes, so does the lease."""

    __slots__ = ("__array_interface__", "__weakref__", "memory", "owner")

    def __init__(self, memory: Array, owner: Holder | None) -> None:
        self.memory = memory
        self.owner = owner
        self.__array_interface__ = memory.__array_interface__
        if owner is not None:
            owner.held += 1

    def __del__(self) -> None:
        owner = self.owner
        if owner is not None and owner.pid == os.getpid():  # a forked copy must not clear the flag
            owner.held -= 1
            self.memory[0] = 0


class Segment:
    """One segment, seen from the worker that made it."""

    __slots__ = ("fd", "lease", "memory", "number", "size")

    def __init__(self, number: int, size: int) -> None:
        self.number = number
        self.size = size
        fd = open_segment(size)
        self.fd = os.dup(fd)  # kept until it is sent
        self.memory = map_segment(fd, size)
        self.lease: weakref.ref[Lease] | None = None

    def free(self) -> bool:
        """Whether neither the parent nor this process holds an array in it."""
        return not self.memory[0] and (self.lease is None or self.lease() is None)


class Arena:
    """Where one worker writes its batches: a bump allocator over the segments that are free."""

    def __init__(self) -> None:
        self.segments: dict[int, Segment] = {}
        self.made: list[
            tuple[int, int, int]
        ] = []  # number, size, descriptor: for the parent to map
        self.dropped: list[int] = []
        self.used: dict[int, Array] = {}  # this batch's segments
        self.current: Segment | None = None
        self.top = 0
        self.count = 0
        self.bytes = 0  # of this batch
        self.typical = 0  # bytes of the largest batch yet
        self.failure: OSError | None = None

    def begin(self) -> None:
        """Start a batch."""
        self.typical = max(self.typical, self.bytes)
        self.bytes = 0
        self.used = {}
        self.current = None

    def commit(self, sent: bool) -> tuple[list[int], list[tuple[int, int, int]], list[int]]:
        """End a batch: its segments, and the segments made and dropped since the last commit."""
        used = list(self.used) if sent else []
        for number in used:
            self.segments[number].memory[0] = 1
        out = used, self.made, self.dropped
        self.made, self.dropped, self.used, self.current = [], [], {}, None
        return out

    def take(self, shape: tuple[int, ...], raw: np.dtype[Any]) -> Array:
        """An array for this batch, in shared memory if there is any."""
        size = raw.itemsize
        for n in shape:
            size *= n
        if size == 0 or raw.hasobject or not self._room(size):
            return np.empty(shape, raw)
        segment = self.current
        assert segment is not None
        start = self.top
        self.top = start + size + -size % HEADER
        return np.ndarray(shape, raw, self.used[segment.number], start)

    def _room(self, size: int) -> bool:
        """Make ``current`` a segment with that many bytes left; False if there is no memory."""
        self.bytes += size + -size % HEADER
        if self.current is not None and self.top + size <= self.current.size:
            return True
        need = max(size, self.typical - self.bytes + size) + HEADER
        spare = [s for s in self.segments.values() if s.number not in self.used and s.free()]
        fitting = [s for s in spare if s.size >= need]
        if fitting:
            segment = min(fitting, key=lambda s: s.size)
        else:
            if spare:  # too small for what batches have become
                self._drop(min(spare, key=lambda s: s.size))
            made = self._make(need + need // 8)
            if made is None:
                return False
            segment = made
        lease = Lease(segment.memory, None)
        segment.lease = weakref.ref(lease)
        self.used[segment.number] = np.asarray(lease)
        self.current, self.top = segment, HEADER
        return True

    def _make(self, size: int) -> Segment | None:
        try:
            segment = Segment(self.count, size + -size % GRAIN)
        except OSError as e:
            self.failure = self.failure or e
            return None
        self.count += 1
        self.segments[segment.number] = segment
        self.made.append((segment.number, segment.size, segment.fd))
        return segment

    def _drop(self, segment: Segment) -> None:
        del self.segments[segment.number]
        self.dropped.append(segment.number)

    def place(self, a: Array) -> tuple[int, int, tuple[int, ...] | None] | None:
        """Segment, offset and strides (None: contiguous) of an array, copied in if it is elsewhere.

        None if there is no memory for it.
        """
        if a.size:
            low = a.__array_interface__["data"][0]
            for number, memory in self.used.items():
                start = memory.__array_interface__["data"][0]
                if start <= low < start + memory.size:
                    if a.flags.c_contiguous:
                        return number, low - start, None
                    if all(s >= 0 for s in a.strides):
                        return number, low - start, a.strides
        copy = self.take(a.shape, a.dtype)
        if self.current is None or copy.base is None:
            return None
        copy[...] = a
        start = self.used[self.current.number].__array_interface__["data"][0]
        return self.current.number, copy.__array_interface__["data"][0] - start, None


class Holder:
    """The parent's side of one worker's segments."""

    def __init__(self, limit: int) -> None:
        self.memory: dict[int, Array] = {}
        self.held = 0  # leases that the program has not let go of
        self.limit = limit
        self.pid = os.getpid()

    def add(self, number: int, size: int, fd: int) -> None:
        """Map a segment that the worker has made."""
        self.memory[number] = map_segment(fd, size)

    def drop(self, numbers: list[int]) -> None:
        """Forget segments that the worker has let go of."""
        for number in numbers:
            self.memory.pop(number, None)

    def open(self, numbers: list[int]) -> tuple[dict[int, Array], bool]:
        """The bytes of a batch, by segment, and whether its arrays must be copied out of them.

        A program that keeps many batches gets copies: else each would hold a descriptor and keep
        the worker from using its memory again.
        """
        crowded = self.held >= self.limit
        return {n: np.asarray(Lease(self.memory[n], self)) for n in numbers}, crowded

    def discard(self, numbers: list[int]) -> None:
        """Give back the segments of a batch that nobody will look at."""
        for number in numbers:
            self.memory[number][0] = 0
