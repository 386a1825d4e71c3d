"""The parent's side of worker processes: start, hand out tasks, receive, notice deaths, end."""

from __future__ import annotations

import io
import os
import pickle
import select
import signal
import time
import warnings
import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from . import wire
from .shm import Holder
from .worker import END, ERROR, READY, RESET, STOP, TASK, Spec, main

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ..dataloader import DataLoader

CHECK_S = 1.0  # between two looks at a silent worker: a closed pipe tells of its death at once
GRACE_S = 3.0  # to end by itself, for a worker that is in the middle of a sample
HURRY_S = 0.2  # the same after an error
KEPT_BATCHES = 8  # that a program may hold per worker before it gets copies of the next ones

_live: weakref.WeakSet[Pool] = weakref.WeakSet()
# The workers of open pools, held from here: where an iterator dies in a cycle, the collector would
# else finalise their pipes before the iterator closes them.
_held: dict[int, list[Any]] = {}


def forget_parent() -> None:
    """In a new worker: close the parent's ends of all pipes, else no worker sees the parent die."""
    for pool in list(_live):
        for worker in pool.workers:
            worker.conn.close()
    _live.clear()


def _close_all() -> None:
    for pool in list(_live):
        pool.close(HURRY_S)


class Reply:
    """What a worker answered to one task."""

    __slots__ = ("ended", "file", "holder", "kind", "used")

    def __init__(self, kind: int, used: list[int], file: Any, holder: Holder) -> None:
        self.kind, self.used, self.file, self.holder = kind, used, file, holder
        self.ended = kind == END  # no batch: the worker's iterable dataset is at its end

    def value(self) -> tuple[Any, Any]:
        """The batch and the dataset's state; raises the worker's exception if there was one."""
        batch, state = wire.decode(self.file, self.holder, self.used)
        if self.kind == ERROR:
            batch.reraise()
        return batch, state

    def discard(self) -> None:
        """Give its memory back unseen."""
        self.holder.discard(self.used)


class Handle:
    """One worker process as the parent sees it."""

    def __init__(self, number: int, process: Any, conn: Any) -> None:
        self.number = number
        self.process = process
        self.conn = conn
        self.holder = Holder(KEPT_BATCHES)
        self.tasks = 0  # handed out and not answered
        self.exhausted = False  # its copy of an iterable dataset is at the end
        self.warned = False
        self.inbox = select.poll()
        self.inbox.register(conn.fileno(), select.POLLIN)

    def send_task(self, index: Any) -> None:
        """Hand out the indices of a batch."""
        self.tasks += 1
        self._send(TASK, index)

    def send_stop(self) -> None:
        """Let the worker end after what it has been given."""
        self._send(STOP, None)

    def _send(self, what: int, index: Any) -> None:
        # That a worker is dead shows when its answer is read.
        try:
            self.conn.send((what, index))
        except (BrokenPipeError, ConnectionResetError):
            pass

    def wait(self, timeout_s: float) -> bool:
        """Whether an answer (or the end of the pipe) is there within that time; 0 waits forever."""
        return bool(self.inbox.poll(0)) or whoever([self], timeout_s) is not None

    def receive(self) -> Reply:
        """The next answer; RuntimeError if the worker has died."""
        self.tasks -= 1
        try:
            message = self.conn.recv_bytes()
            file = io.BytesIO(message)
            kind, used, made, dropped, note = pickle.load(file)
            self._map(made)
        except (EOFError, ConnectionResetError, BrokenPipeError):
            raise self.death() from None
        self.holder.drop(dropped)
        if note is not None and not self.warned:
            self.warned = True
            warnings.warn(note, RuntimeWarning, stacklevel=5)
        return Reply(kind, used, file, self.holder)

    def _map(self, made: list[tuple[int, int]]) -> None:
        if made:
            from multiprocessing import reduction

            for number, size in made:
                self.holder.add(number, size, reduction.recv_handle(self.conn))

    def reset(self, dataset_state: Any) -> None:
        """Make the tasks that wait void, and the worker ready for the next epoch."""
        self._send(RESET, dataset_state)
        while True:
            self.wait(0)
            reply = self.receive()
            reply.discard()
            if reply.kind == READY:
                break
        self.tasks, self.exhausted = 0, False

    def death(self) -> RuntimeError:
        """The error for a worker that is gone, with what is known of how."""
        self.process.join(2.0)
        code, pid = self.process.exitcode, self.process.pid
        text = f"DataLoader worker (pid {pid}) exited unexpectedly"
        if code is None:
            return RuntimeError(f"{text}: worker {self.number} has closed its connection.")
        if code >= 0:
            return RuntimeError(
                f"{text} with exit code {code}. Details are lost due to multiprocessing. "
                "Rerunning with num_workers=0 may give better error trace."
            )
        name = signal.strsignal(-code) or f"signal {-code}"
        hint = {
            signal.SIGBUS: " It is possible that dataloader's workers are out of shared memory. "
            "Please try to raise your shared memory limit.",
            signal.SIGKILL: " The kernel does that when memory runs out: see dmesg, and use fewer "
            "workers or smaller batches.",
        }.get(-code, "")
        return RuntimeError(f"{text}: worker {self.number} is killed by signal: {name}.{hint}")


def whoever(workers: Iterable[Handle], timeout_s: float) -> Handle | None:
    """The first of the workers with an answer (or that has died); None after the timeout."""
    by_fd = {worker.conn.fileno(): worker for worker in workers}
    inbox = select.poll()
    for fd in by_fd:
        inbox.register(fd, select.POLLIN)
    end = time.monotonic() + timeout_s if timeout_s > 0 else None
    while True:
        slice_s = CHECK_S if end is None else min(CHECK_S, end - time.monotonic())
        ready = inbox.poll(max(0.0, slice_s) * 1000)
        if ready:
            return by_fd[ready[0][0]]
        if end is not None and time.monotonic() >= end:
            return None
        for worker in by_fd.values():
            if not worker.process.is_alive() and not worker.inbox.poll(0):
                raise worker.death()


class Pool:
    """The worker processes of one iterator."""

    def __init__(self, context: Any, specs: list[Spec]) -> None:
        self.pid = os.getpid()
        self.workers: list[Handle] = []
        _close_at_exit()
        _live.add(self)
        _held[id(self)] = self.workers
        try:
            for spec in specs:
                ours, theirs = context.Pipe(duplex=True)
                process = context.Process(target=main, args=(theirs, spec), daemon=True)
                # known before it starts: the fork closes the ends of all that are known
                self.workers.append(Handle(spec.worker_id, process, ours))
                try:
                    with _forking():
                        process.start()
                finally:
                    theirs.close()
        except BaseException as e:
            self.close(HURRY_S)
            if isinstance(e, (pickle.PicklingError, AttributeError, TypeError)):
                e.add_note(
                    "DataLoader: with the start method 'spawn' or 'forkserver' the dataset, "
                    "collate_fn and worker_init_fn are pickled; define them at the top level of a "
                    "module, or pass multiprocessing_context='fork'."
                )
            raise

    def close(self, grace_s: float) -> None:
        """End the workers: they see their pipe closed; after the grace they are terminated."""
        if self.pid != os.getpid():
            return
        workers, self.workers = self.workers, []
        _live.discard(self)
        _held.pop(id(self), None)
        started = []
        for worker in workers:
            worker.conn.close()
            if worker.process.pid is not None:
                started.append(worker.process)
        for stop, patience_s in (("join", grace_s), ("terminate", 1.0), ("kill", 5.0)):
            end = time.monotonic() + patience_s
            for process in started:
                if stop != "join":
                    getattr(process, stop)()
            for process in started:
                process.join(max(0.0, end - time.monotonic()))
            started = [process for process in started if process.exitcode is None]
            if not started:
                break
        for worker in workers:
            if worker.process not in started:
                worker.process.close()


_at_exit: Any = None


def _close_at_exit() -> None:
    """End the workers of iterators that are still there when the program ends."""
    global _at_exit
    if _at_exit is None:
        from multiprocessing.util import Finalize

        # above 0: before multiprocessing terminates what is left, with its text
        _at_exit = Finalize(None, _close_all, exitpriority=100)


@contextmanager
def _forking() -> Iterator[None]:
    """Python 3.12 warns of a fork in a process with threads; a worker needs none of their locks."""
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message=".*use of fork\\(\\)", category=DeprecationWarning
        )
        yield


def start(loader: DataLoader[Any], base_seed: int, dataset_states: dict[int, Any]) -> Pool:
    """The worker processes for an iterator of a loader."""
    # what workers need is imported here, not in each of them
    import multiprocessing.reduction

    import numpy as np

    modules = np.random, multiprocessing.reduction
    assert all(modules)
    context = loader.multiprocessing_context
    if context is None:
        context = multiprocessing.get_context()
    method = context.get_start_method()
    count = loader.num_workers
    specs = [
        Spec(
            worker_id=i,
            num_workers=count,
            base_seed=base_seed,
            dataset=loader.dataset,
            iterable=loader._iterable,
            auto_collation=loader._auto_collation,
            collate_fn=loader.collate_fn,
            drop_last=loader.drop_last,
            init_fn=loader.worker_init_fn,
            dataset_state=dataset_states.get(i),
            parent_pid=None if method == "forkserver" else os.getpid(),
            forked=method == "fork",
        )
        for i in range(count)
    ]
    if method != "fork":
        return Pool(context, specs)
    from .threads import one_blas_thread

    with one_blas_thread():
        return Pool(context, specs)
