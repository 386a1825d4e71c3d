"""Several ranks in one process: run a function on N threads with the threads backend."""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

from distrib import distributed
from distrib.distributed.threads import ThreadWorld
from distrib.distributed.world import bind_thread, state

T = TypeVar("T")


def _stacks(threads: list[threading.Thread]) -> str:
    frames = sys._current_frames()
    parts = []
    for rank, thread in enumerate(threads):
        frame = frames.get(thread.ident or 0)
        if thread.is_alive() and frame is not None:
            parts.append(f"rank {rank}:\n{''.join(traceback.format_stack(frame)[-8:])}")
    return "\n".join(parts)


def run_ranks(
    n: int, fn: Callable[[int], T], timeout_s: float = 60.0, init: bool = True
) -> list[T]:
    """Run ``fn(rank)`` on ``n`` threads, each a rank with its own default group.

    The first exception of a rank ends the others (they wake with CollectiveError) and is raised
    here, with a note that names the rank. TimeoutError with the ranks' stacks after ``timeout_s``.
    With ``init=False`` the function calls init_process_group itself.

    >>> import distrib.distributed as dist
    >>> run_ranks(2, lambda rank: (rank, dist.get_world_size()))
    [(0, 2), (1, 2)]
    """
    if n < 1:
        raise ValueError(f"run_ranks: expected at least one rank, got {n}")
    world = ThreadWorld(n, timeout_s)
    results: list[Any] = [None] * n
    failures: list[tuple[int, BaseException]] = []

    def body(rank: int) -> None:
        bind_thread(world, rank)
        try:
            if init:
                distributed.init_process_group("threads", timeout=timedelta(seconds=timeout_s))
            results[rank] = fn(rank)
            world.leave(rank, "has ended")
        except BaseException as e:
            with world.changed:
                failures.append((rank, e))
                world.fail(f"rank {rank} failed with {type(e).__name__}: {e}")
        finally:
            if state().default is not None:
                distributed.destroy_process_group()
            bind_thread(None)

    threads = [
        threading.Thread(target=body, args=(r,), name=f"rank {r}", daemon=True) for r in range(n)
    ]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + timeout_s + 1
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    if any(t.is_alive() for t in threads):
        stacks = _stacks(threads)
        world.fail("run_ranks: timeout")
        raise TimeoutError(f"run_ranks: ranks are still running after {timeout_s:g} s\n{stacks}")
    if failures:
        rank, error = failures[0]
        error.add_note(f"raised on rank {rank} of {n}")
        raise error
    return results
