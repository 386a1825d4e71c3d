"""Worker processes: what runs in one, and what it knows of itself."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ....errors import CollectiveError
from . import fetch

if TYPE_CHECKING:
    from .errors import ExceptionWrapper

# what the parent sends
TASK, RESET, STOP = 0, 1, 2
# what the worker answers
BATCH, ERROR, END, READY = 0, 1, 2, 3

WATCH_S = 1.0  # between two looks at whether the parent lives


@dataclass(frozen=True)
class WorkerInfo:
    """What a worker process knows of itself; ``dataset`` is its own copy."""

    id: int
    num_workers: int
    seed: int
    dataset: Any
    rng: Any = None
    worker_method: str = "multiprocessing"


_worker_info: WorkerInfo | None = None


def get_worker_info() -> WorkerInfo | None:
    """The WorkerInfo of the worker process that calls, None in the main process."""
    return _worker_info


@dataclass
class Spec:
    """What a worker is started with."""

    worker_id: int
    num_workers: int
    base_seed: int
    dataset: Any
    iterable: bool
    auto_collation: bool
    collate_fn: Callable[..., Any]
    drop_last: bool
    init_fn: Callable[[int], Any] | None
    dataset_state: Any  # for a stateful dataset to load first
    parent_pid: int | None  # None: another process forks the workers
    forked: bool

    def fetcher(self) -> fetch.MapFetcher | fetch.IterableFetcher:
        """What reads the batches; for an iterable dataset at its beginning."""
        return fetch.make_fetcher(
            self.dataset, self.iterable, self.auto_collation, self.collate_fn, self.drop_last
        )


def main(conn: Any, spec: Spec) -> None:
    """Serve the parent until it closes the connection; never returns.

    Ends by os._exit: exit handlers, which belong to the parent (an MPI_Finalize among them), must
    not run in its copy.
    """
    code = 1
    try:
        _leave_parent(spec)
        _serve(conn, spec)
        code = 0
    except (EOFError, BrokenPipeError, ConnectionResetError):
        code = 0  # the parent has closed its end
    except KeyboardInterrupt:
        code = 130  # the parent got it too, and says so
    except SystemExit as e:
        code = e.code if isinstance(e.code, int) else int(e.code is not None)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except Exception:
                pass
        os._exit(code)


def _leave_parent(spec: Spec) -> None:
    """Undo what a fork copied and a worker must not have: signal handlers, threads, garbage."""
    import faulthandler
    import gc
    import signal
    import threading

    from ....random import default_generator
    from .pool import forget_parent

    forget_parent()
    _leave_groups(spec.worker_id)
    default_generator.lock = threading.RLock()  # a thread of the parent may have held it
    gc.freeze()  # the parent's garbage: its finalizers are not for here, and its pages stay shared
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            # A preemption handler of the program must run once, in the program.
            signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.set_wakeup_fd(-1)
    if not faulthandler.is_enabled():
        faulthandler.enable(file=2)

    parent = os.getppid() if spec.parent_pid is None else spec.parent_pid

    def watch() -> None:
        import time

        while os.getppid() == parent:
            time.sleep(WATCH_S)
        os._exit(1)

    threading.Thread(target=watch, name="distrib-data-watch", daemon=True).start()


def _leave_groups(worker_id: int) -> None:
    """Keep rank and world size readable, but let no collective reach the parent's MPI."""
    world = sys.modules.get("distrib.distributed.world")
    if world is None:
        return

    def refuse(call: Any, *args: Any, **kwargs: Any) -> Any:
        raise CollectiveError(
            f"{call.kind} in DataLoader worker process {worker_id}: "
            "only the rank itself can take part in a collective",
            hint="Exchange the data before the loader starts its workers, or in the training loop",
        )

    state = world.state()
    for group in [*state.groups, state.default]:
        if group is not None:
            group._run = refuse


def _prepare(spec: Spec) -> None:
    """Seed every generator, use one thread, say who this is, call the user's function."""
    import random

    import numpy as np

    from ....random import manual_seed
    from . import threads

    global _worker_info
    threads.use_one(blas=not spec.forked)
    seed = spec.base_seed + spec.worker_id
    random.seed(seed)
    manual_seed(seed)
    words = [spec.worker_id, spec.base_seed & 0xFFFFFFFF, spec.base_seed >> 32]
    np.random.seed(np.random.SeedSequence(words).generate_state(4))
    _worker_info = WorkerInfo(spec.worker_id, spec.num_workers, seed, spec.dataset)
    if spec.init_fn is not None:
        spec.init_fn(spec.worker_id)


def _serve(conn: Any, spec: Spec) -> None:
    """Answer tasks in order until told to stop, or until the pipe closes (EOFError)."""
    import select

    more = select.poll()
    more.register(conn.fileno(), select.POLLIN)
    reader = _Reader(spec)
    tasks: deque[Any] = deque()
    while True:
        if not tasks:
            tasks.append(conn.recv())
        while more.poll(0):  # look ahead: a reset or a closed pipe makes the waiting tasks void
            tasks.append(conn.recv())
            if tasks[-1][0] == RESET:
                tasks = deque([tasks[-1]])
        what, index = tasks.popleft()
        if what == STOP:
            return
        if what == RESET:
            reader.reset(index)
        message, descriptors = reader.answer(READY, None) if what == RESET else reader.read(index)
        conn.send_bytes(message)
        if descriptors:
            from multiprocessing import reduction

            for fd in descriptors:
                reduction.send_handle(conn, fd, None)
                os.close(fd)


class _Reader:
    """Reads batches and writes them to shared memory."""

    def __init__(self, spec: Spec) -> None:
        from .shm import Arena

        self.spec = spec
        self.where = f"in DataLoader worker process {spec.worker_id}"
        self.arena = Arena()
        self.fetcher: Any = None
        self.state = spec.dataset_state
        self.keeps_state = fetch.stateful(spec.dataset)
        self.broken: ExceptionWrapper | None = None
        try:
            _prepare(spec)
        except Exception as e:
            self.broken = self.wrapped(e)

    def wrapped(self, error: Exception) -> ExceptionWrapper:
        """An exception for the parent to raise."""
        from .errors import ExceptionWrapper

        return ExceptionWrapper(error, self.where)

    def reset(self, dataset_state: Any) -> None:
        """Begin another epoch, from a state of the dataset if there is one."""
        self.fetcher, self.state = None, dataset_state

    def read(self, index: Any) -> tuple[bytes, list[int]]:
        """The answer to a task: a message, and the descriptors of the segments that it names."""
        self.arena.begin()
        if self.broken is not None:
            return self.answer(ERROR, self.broken)
        try:
            if self.fetcher is None:
                if self.state is not None:
                    self.spec.dataset.load_state_dict(self.state)
                self.fetcher = self.spec.fetcher()
                self.fetcher.memory = self.arena.take
            return self.answer(BATCH, self.fetcher.fetch(index))
        except Exception as e:
            if self.spec.iterable and isinstance(e, StopIteration):
                return self.answer(END, None)
            return self.answer(ERROR, self.wrapped(e))

    def answer(self, kind: int, batch: Any) -> tuple[bytes, list[int]]:
        """A message of that kind."""
        import pickle

        from . import wire
        from .shm import NO_MEMORY

        arena = self.arena
        keeps = self.keeps_state and kind in (BATCH, END)
        state = self.spec.dataset.state_dict() if keeps else None
        body = wire.encode((batch, state), arena)
        used, made, dropped = arena.commit(kind == BATCH)
        note = None
        if arena.failure is not None:
            note = NO_MEMORY.format(worker=self.spec.worker_id, reason=arena.failure)
            arena.failure = None
        head = (kind, used, [(number, size) for number, size, _ in made], dropped, note)
        message = pickle.dumps(head, pickle.HIGHEST_PROTOCOL) + body
        return message, [fd for _, _, fd in made]
