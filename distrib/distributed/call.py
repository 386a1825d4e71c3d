"""One collective of one rank: what it is called, where it stands, and the handle the caller waits
on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from functools import lru_cache
from time import monotonic
from typing import Any
from zlib import crc32

from distrib import dtypes
from distrib.distributed.wire import ReduceOp
from distrib.dtypes import Array, RawDType


class Call:
    """A numbered collective: description for people and for checks, wire arrays for the backend."""

    # Class attributes are the defaults of what few calls set: building a call is part of its
    # latency.
    seq = -1
    group = ""
    finished_s = 0.0
    done = False
    send: Array = None
    recv: Array = None
    finish: Callable[[], None] | None = None
    counts: tuple[list[int], list[int]] | None = None
    error: BaseException | None = None

    def __init__(
        self,
        kind: str,
        shape: tuple[int, ...],
        raw: RawDType | None,
        op: ReduceOp | None = None,
        peer: int = -1,
        name: str = "",
    ) -> None:
        self.kind, self.shape, self.raw, self.op = kind, shape, raw, op
        self.peer, self.name, self.started_s = peer, name, monotonic()

    def carrying(self, send: Array, recv: Array, finish: Callable[[], None] | None) -> Call:
        """Give it its wire arrays, and what is to be done when they hold the result."""
        self.send, self.recv, self.finish = send, recv, finish
        return self

    def complete(self) -> None:
        """Mark as done: results are stored, array memory is let go, the record keeps the
        description.
        """
        if self.finish is not None:
            self.finish()
            self.finish = None
        self.send = self.recv = None
        self.finished_s, self.done = monotonic(), True

    def agreed(self) -> tuple[Any, ...]:
        """What all ranks must agree on."""
        return (self.kind, self.op, self.peer, self.raw, self.shape, self.name)

    def fingerprint(self) -> int:
        """A number below 2^62 that differs when ranks call something else, or the same at another
        time.
        """
        return (self.seq << 32 | _digest(*self.agreed())) & (1 << 62) - 1

    def __str__(self) -> str:
        parts = [f"{self.kind} #{self.seq}"]
        if self.name:
            parts.append(repr(self.name))
        if self.op is not None:
            parts.append(self.op.name)
        if self.raw is not None:
            parts.append(f"{dtypes.of(self.raw)!r} {list(self.shape)}")
        if self.peer >= 0:
            parts.append(f"rank {self.peer}")
        return " ".join(parts) + (f" in group {self.group}" if self.group else "")


@lru_cache(maxsize=4096)
def _digest(*agreed: Any) -> int:
    return crc32(repr([str(part) for part in agreed]).encode())


class FlightRecord:
    """The last collectives of a group on this rank, oldest first.

    >>> FlightRecord(4).text()
    ''
    """

    def __init__(self, capacity: int = 256) -> None:
        self._calls: deque[Call] = deque(maxlen=capacity)
        self.append = self._calls.append

    def __iter__(self) -> Iterator[Call]:
        return iter(tuple(self._calls))

    def last(self) -> Call | None:
        """The newest collective, or None."""
        return self._calls[-1] if self._calls else None

    def pending(self) -> Call | None:
        """The oldest collective that was started and has not ended, or None."""
        return next((call for call in self if not call.done), None)

    def text(self, num_last: int = 8) -> str:
        """The last calls, a line each: number, description, duration or how long it has been
        waiting.
        """
        now, lines = monotonic(), []
        for call in list(self)[-num_last:]:
            if call.done:
                state = f"took {(call.finished_s - call.started_s) * 1e3:.1f} ms"
            else:
                state = f"waiting for {now - call.started_s:.1f} s"
            lines.append(f"  {call}: {state}")
        return "\n".join(lines)


class Work:
    """The handle of a collective under way; the buffers belong to the group until ``wait``
    returned.
    """

    __slots__ = ("_call", "tensors")

    def __init__(self, call: Call) -> None:
        self._call = call
        self.tensors: Sequence[Any] = ()  # what the caller handed over

    def is_completed(self) -> bool:
        """Whether the collective has ended; drives its progress. Errors are raised by ``wait``."""
        return self._call.done or self._call.error is not None

    def is_success(self) -> bool:
        """Whether it has ended without an error."""
        return self.is_completed() and self._call.error is None

    def exception(self) -> BaseException | None:
        """The error it ended with, or None."""
        return self._call.error

    def wait(self, timeout: timedelta | None = None) -> bool:
        """Wait for the end; True, or the collective's error. CollectiveError after ``timeout``."""
        if self._call.error is not None:
            raise self._call.error
        return True

    def synchronize(self) -> None:
        """The same as ``wait``: there is no stream to order after."""
        self.wait()

    def result(self) -> list[Any]:
        """The tensors that were handed over, results in place."""
        return list(self.tensors)

    def source_rank(self) -> int:
        """The sender, for a receive."""
        return self._call.peer
