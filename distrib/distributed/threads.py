"""N ranks as threads of one process: for tests, and to see two sides of a mismatch at once.

A rank posts its call in a slot of its group; whoever completes the slot carries the collective out
for all. Calls that do not match, a rank that failed and a rank that ended wake the others with an
error.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta

from distrib import errors
from distrib.distributed.call import Call, Work
from distrib.distributed.local import execute
from distrib.distributed.process_group import ProcessGroup
from distrib.dtypes import Array


class ThreadWorld:
    """What the threads of one world share."""

    def __init__(self, size: int, timeout_s: float = 60.0) -> None:
        self.size, self.timeout_s = size, timeout_s
        self.changed = threading.Condition(threading.RLock())
        self.failure: errors.CollectiveError | None = None
        self.ended: dict[int, str] = {}
        self.slots: dict[tuple[str, int], dict[int, Call]] = {}
        self.members: dict[str, list[int]] = {}
        self.mail: dict[tuple[str, int, int, int], list[Array]] = {}

    def group(self, rank: int, name: str) -> ThreadGroup:
        """The group of all ranks, as seen by ``rank``."""
        with self.changed:
            self.ended.pop(rank, None)
        return ThreadGroup(self, range(self.size), rank, name, self.timeout_s)

    def fail(self, message: str) -> errors.CollectiveError:
        """Record the first failure and wake every rank with it."""
        with self.changed:
            if self.failure is None:
                self.failure = errors.CollectiveError(message)
            self.changed.notify_all()
            return self.failure

    def leave(self, rank: int, why: str) -> None:
        """``rank`` makes no further calls; who waits for it gets an error."""
        with self.changed:
            self.ended[rank] = why
            self.changed.notify_all()

    def raise_failure(self) -> None:
        """Raise the failure of the world, if there is one, as a new exception of this thread."""
        if self.failure is not None:
            raise errors.CollectiveError(str(self.failure))

    def wait(
        self, ready: Callable[[], bool], timeout_s: float, blocked: Callable[[bool], str | None]
    ) -> None:
        """Wait until ``ready``; an error when the world failed, when ``blocked`` says why, at
        timeout.
        """
        deadline = time.monotonic() + timeout_s
        with self.changed:
            while not ready():
                self.raise_failure()
                left = deadline - time.monotonic()
                reason = blocked(left <= 0)
                if reason is not None:
                    raise self.fail(reason)
                self.changed.wait(left)


class ThreadWork(Work):
    """A posted call; done when all ranks of the group have posted theirs."""

    __slots__ = ("_group",)

    def __init__(self, call: Call, group: ThreadGroup) -> None:
        super().__init__(call)
        self._group = group

    def is_completed(self) -> bool:
        """Whether all ranks have called and the result is there, or the world failed."""
        if not self._call.done and self._group.world.failure is not None:
            self._call.error = self._group.world.failure
        elif self._call.kind == "recv":
            self._group.deliver(self._call)
        return super().is_completed()

    def wait(self, timeout: timedelta | None = None) -> bool:
        """Wait for the others; CollectiveError when one failed, ended, or called something else."""
        group, call = self._group, self._call
        timeout_s = group.timeout_s if timeout is None else timeout.total_seconds()
        ready = (lambda: group.deliver(call)) if call.kind == "recv" else (lambda: call.done)
        group.world.wait(ready, timeout_s, lambda late: group.blocked(call, late))
        return True


class ThreadGroup(ProcessGroup):
    """Some ranks of a ThreadWorld."""

    backend = "threads"

    def __init__(
        self, world: ThreadWorld, ranks: Sequence[int], world_rank: int, name: str, timeout_s: float
    ) -> None:
        super().__init__(ranks, list(ranks).index(world_rank), name, timeout_s)
        self.world = world
        with world.changed:
            members = world.members.setdefault(name, self.ranks)
        if members != self.ranks:
            raise world.fail(
                f"new_group: rank {world_rank} makes group {name} of ranks {self.ranks}, "
                f"another rank made it of {members}"
            )

    def _launch(self, call: Call) -> Work:
        world = self.world
        with world.changed:
            world.raise_failure()
            if call.kind == "send":
                assert call.counts is not None
                key = (self._name, self._rank, call.peer, call.counts[0][0])
                world.mail.setdefault(key, []).append(call.send.copy())
                call.complete()
                world.changed.notify_all()
            elif call.kind != "recv":
                self._post(call)
        return ThreadWork(call, self)

    def _post(self, call: Call) -> None:
        world, key = self.world, (self._name, call.seq)
        slot = world.slots.setdefault(key, {})
        for rank, other in slot.items():
            if other.agreed() != call.agreed():
                raise world.fail(
                    f"ranks called different collectives: rank {self.ranks[rank]} called {other}, "
                    f"rank {self.ranks[self._rank]} called {call}"
                )
            break
        slot[self._rank] = call
        if len(slot) == self._size:
            del world.slots[key]
            calls = [slot[k] for k in range(self._size)]
            try:
                execute(calls)
                for c in calls:
                    c.complete()
            except Exception as e:
                raise world.fail(f"{call}: {type(e).__name__}: {e}") from e
            world.changed.notify_all()

    def deliver(self, call: Call) -> bool:
        """Finish a receive if its message has arrived."""
        if call.done:
            return True
        assert call.counts is not None
        with self.world.changed:
            sources = [call.peer] if call.peer >= 0 else list(range(self._size))
            for source in sources:
                box = self.world.mail.get((self._name, source, self._rank, call.counts[0][0]))
                if box:
                    message = box.pop(0)
                    if message.nbytes != call.recv.nbytes:
                        raise self.world.fail(
                            f"{call}: rank {self.ranks[source]} sent {message.nbytes} bytes, "
                            f"this tensor holds {call.recv.nbytes}"
                        )
                    call.recv[...] = message
                    call.peer = source
                    call.complete()
                    return True
        return False

    def blocked(self, call: Call, late: bool) -> str | None:
        """Why ``call`` can never end, or whom it waits for when it is late; else None."""
        if call.kind == "recv":
            waits_for = [call.peer] if call.peer >= 0 else []
        else:
            slot = self.world.slots.get((self._name, call.seq), {})
            waits_for = [k for k in range(self._size) if k not in slot]
        me = self.ranks[self._rank]
        for k in waits_for:
            why = self.world.ended.get(self.ranks[k])
            if why is not None:
                return f"rank {self.ranks[k]} {why} while rank {me} waits in {call}"
        if late:
            missing = ", ".join(str(self.ranks[k]) for k in waits_for) or "any"
            return f"rank {me} waited too long in {call} for rank {missing}"
        return None

    def subgroup(self, ranks: Sequence[int], name: str, timeout_s: float) -> ProcessGroup | None:
        """A group of some of the world's ranks; every rank must call it with the same ranks."""
        me = self.ranks[self._rank]
        return ThreadGroup(self.world, ranks, me, name, timeout_s) if me in ranks else None

    def close(self) -> None:
        """Leave the world, if this is its group: who still waits for this rank gets an error."""
        if self._size == self.world.size:
            self.world.leave(self.ranks[self._rank], "left the process group")

    def abort(self, message: str, code: int = 1) -> None:
        """Wake all ranks with the message."""
        raise self.world.fail(message)
