"""The watchdog of an MPI rank: a thread that ends the job when a collective can no longer end.

It looks once a second; it acts when a rank of the group has left for good without making the call
that this rank waits in, and when a call takes longer than the group's timeout.
"""

from __future__ import annotations

import faulthandler
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from distrib.distributed.call import Call
from distrib.distributed.process_group import ProcessGroup

LOOK_S = 1.0


def who_left(call: Call, ranks: list[int], left: dict[int, dict[str, int]]) -> list[int]:
    """The world ranks among ``ranks`` that ended before they made ``call``.

    >>> call = Call("barrier", (), None); call.seq, call.group = 3, "world1"
    >>> who_left(call, [0, 1], {1: {"world1": 3}}), who_left(call, [0, 1], {1: {"world1": 4}})
    ([1], [])
    """
    return [r for r in ranks if left.get(r, {}).get(call.group, call.seq + 1) <= call.seq]


class Watchdog:
    """Watches the groups of this rank; ``poll_left`` returns who left and at which call of which
    group.
    """

    def __init__(
        self,
        groups: list[ProcessGroup],
        poll_left: Callable[[], dict[int, dict[str, int]]],
        tell: Callable[[], None],
        abort: Callable[[str], None],
    ) -> None:
        self._groups, self._poll_left, self._abort = groups, poll_left, abort
        self._tell = tell
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="collective watchdog", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        if self._thread is not threading.current_thread():
            self._thread.join(2.0)

    def _run(self) -> None:
        while not self._stop.wait(LOOK_S):
            self._tell()
            for group in list(self._groups):
                call = group.record.pending()
                if call is not None:
                    self._look(group, call)

    def _look(self, group: Any, call: Call) -> None:
        waited_s = time.monotonic() - call.started_s
        if waited_s < LOOK_S:
            return
        gone = who_left(call, group.ranks, self._poll_left())
        if gone and call.seq >= 0:
            names = ", ".join(f"rank {r}" for r in gone)
            self._end(
                group, f"{names} ended without making the call that this rank waits in: {call}"
            )
        elif waited_s > group.timeout_s:
            self._end(group, f"{call}: not all ranks arrived within {group.timeout_s:g} s")

    def _end(self, group: Any, message: str) -> None:
        faulthandler.dump_traceback(file=sys.stderr)
        self._abort(f"{message}\nlast collectives on this rank:\n{group.record.text()}")
