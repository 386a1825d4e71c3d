"""Progress of nonblocking MPI calls: MPI moves data only while somebody calls it.

Gradient hooks poll; a thread polls between them, every half millisecond while something is pending,
because a spinning waiter would take a core from the computation.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from distrib import errors
from distrib.distributed.call import Call, Work

POLL_S = 0.0005
LINGER_S = 0.05  # the thread stays awake so long after the last pending call: waking it costs more

THREAD_BYTES = 128 << 10  # below, a switch between threads takes longer than the transfer


class Progress:
    """The calls that are under way in this process."""

    def __init__(self, threaded: bool) -> None:
        self.lock = threading.Lock()
        self.pending: list[PendingWork] = []
        self._threaded = threaded
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._stopped = False

    def add(self, work: PendingWork, num_bytes: int) -> None:
        """Watch over a started call; the thread wakes for those that are worth it."""
        with self.lock:
            self.pending.append(work)
        if self._threaded and num_bytes >= THREAD_BYTES and not self._wake.is_set():
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="mpi progress", daemon=True)
                self._thread.start()
            self._wake.set()

    def poll(self) -> None:
        """Test every pending call once, unless somebody else is at it."""
        if self.pending and self.lock.acquire(blocking=False):
            try:
                self.pending = [work for work in self.pending if not work.test()]
            finally:
                self.lock.release()

    def claim(self, work: PendingWork) -> bool:
        """Take a call out, for a waiter; False if it is no longer here."""
        with self.lock:
            if work in self.pending:
                self.pending.remove(work)
                return True
            return False

    def stop(self) -> None:
        """End the thread; nothing may call MPI after it is finalized."""
        self._stopped = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(1.0)

    def _run(self) -> None:
        while True:
            self._wake.wait()
            busy_s = time.monotonic()
            while not self._stopped:
                time.sleep(POLL_S)
                if self.pending:
                    busy_s = time.monotonic()
                    self.poll()
                elif time.monotonic() - busy_s > LINGER_S:
                    break
            if self._stopped:
                return
            with self.lock:
                if not self.pending:
                    self._wake.clear()


class PendingWork(Work):
    """A call with MPI requests; ends when all of them have."""

    __slots__ = ("_progress", "_requests")

    def __init__(self, call: Call, requests: Sequence[Any], progress: Progress) -> None:
        super().__init__(call)
        self._requests, self._progress = list(requests), progress

    def test(self) -> bool:
        """Advance; whether it has ended. Only under the lock, or after ``claim``."""
        if self._call.done or self._call.error is not None:
            return True
        try:
            while self._requests:
                if not self._requests[0].Test():
                    return False
                del self._requests[0]
            self._call.complete()
        except Exception as e:
            self._fail(e)
        return True

    def is_completed(self) -> bool:
        """Whether it has ended; advances everything that is pending."""
        self._progress.poll()
        return super().is_completed()

    def wait(self, timeout: timedelta | None = None) -> bool:
        """Wait for the end; CollectiveError if it failed, or did not end within ``timeout``."""
        call = self._call
        if timeout is not None:
            deadline = time.monotonic() + timeout.total_seconds()
            while not self.is_completed():
                if time.monotonic() > deadline:
                    raise errors.CollectiveError(
                        f"{call}: not all ranks arrived within {timeout.total_seconds():g} s"
                    )
                time.sleep(POLL_S)
        elif not call.done and call.error is None:
            if self._progress.claim(self):
                try:
                    for request in self._requests:
                        request.Wait()
                    self._requests.clear()
                    call.complete()
                except Exception as e:
                    self._fail(e)
            while not (call.done or call.error is not None):  # another thread claimed it
                time.sleep(POLL_S)
        return super().wait()

    def _fail(self, error: Exception) -> None:
        self._call.error = errors.CollectiveError(f"{self._call}: {error}")
