"""Worker processes: what happens when they fail, stall, die or are left, and what remains."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import distrib
from distrib.utils.data import DataLoader, Dataset, IterableDataset, get_worker_info


def children() -> set[int]:
    """The processes that this one has started and that still run or wait to be reaped."""
    found: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        found |= {int(pid) for pid in (task / "children").read_text().split()}
    return found


def segments() -> int:
    """Loader memory that this process maps or that has a name."""
    maps = Path("/proc/self/maps").read_text().count("distrib-data")
    return maps + sum(name.startswith("distrib-data") for name in os.listdir("/dev/shm"))


@pytest.fixture(autouse=True)
def leaves_nothing() -> Iterator[None]:
    resource_tracker.ensure_running()  # Python's own helper, which the first spawn starts
    before, mapped, files = children(), segments(), len(os.listdir("/proc/self/fd"))
    yield
    gc.collect()  # the traceback of a caught exception holds the iterator
    assert not children() - before
    assert segments() == mapped
    assert len(os.listdir("/proc/self/fd")) <= files


class Calls(Dataset[Any]):
    """Sample 5 is what a function returns; all others are their index."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self.function = function

    def __len__(self) -> int:
        return 8

    def __getitem__(self, i: int) -> Any:
        return self.function() if i == 5 else i


class Strange(Exception):
    def __init__(self, a: int, b: int) -> None:
        super().__init__(a, b)


def raising(error: BaseException) -> Callable[[], Any]:
    def raise_it() -> Any:
        raise error

    return raise_it


def numbers(loader: Any) -> list[Any]:
    return [batch.tolist() if hasattr(batch, "tolist") else batch for batch in loader]


def ending(function: Callable[[], Any], **options: Any) -> tuple[BaseException, float]:
    """How a loop over a dataset that fails ends, and after how many seconds."""
    start = time.monotonic()
    with pytest.raises(Exception) as caught:
        numbers(DataLoader(Calls(function), **{"num_workers": 2, **options}))
    return caught.value, time.monotonic() - start


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ValueError("bad sample"), ValueError),
        (KeyError("bad sample"), KeyError),
        (FileNotFoundError(2, "bad sample"), FileNotFoundError),
        (Strange(1, 2), RuntimeError),
        (UnicodeDecodeError("utf8", b"a", 0, 1, "bad sample"), RuntimeError),
    ],
)
def test_a_worker_that_raises(error: Exception, kind: type[Exception]) -> None:
    got, _ = ending(raising(error))
    assert type(got) is kind
    text = str(got)
    head = f"Caught {type(error).__name__} in DataLoader worker process 1.\nOriginal Traceback"
    assert text.startswith(head)
    assert "in raise_it" in text
    assert text.rstrip().splitlines()[-1].startswith(f"{type(error).__qualname__}:") or (
        "Strange" in text
    )


def test_a_class_that_only_the_worker_has() -> None:
    def fail() -> Any:
        class Local(Exception):
            pass

        raise Local("hidden")

    got, _ = ending(fail)
    assert type(got) is RuntimeError
    assert "Caught Local in DataLoader worker process 1" in str(got)


def test_iteration_goes_on_after_an_exception() -> None:
    it = iter(DataLoader(Calls(raising(ValueError())), num_workers=2))
    seen: list[Any] = []
    while True:
        try:
            seen.append(next(it).item())
        except StopIteration:
            break
        except ValueError:
            seen.append("error")
    assert seen == [0, 1, 2, 3, 4, "error", 6, 7]


def test_worker_init_fn_that_raises() -> None:
    got, _ = ending(int, worker_init_fn=lambda i: 1 // 0)
    assert type(got) is ZeroDivisionError
    assert "in DataLoader worker process 0" in str(got)


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (lambda: os._exit(4), "exited unexpectedly with exit code 4"),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "is killed by signal: Killed"),
        (raising(SystemExit(3)), "exited unexpectedly with exit code 3"),
        (raising(KeyboardInterrupt()), "exited unexpectedly with exit code 130"),
    ],
)
@pytest.mark.parametrize("in_order", [True, False])
def test_a_worker_that_dies(function: Callable[[], Any], text: str, in_order: bool) -> None:
    got, seconds = ending(function, in_order=in_order)
    assert type(got) is RuntimeError
    assert str(got).startswith("DataLoader worker (pid ")
    assert text in str(got)
    assert seconds < 4


def test_the_error_of_a_death_stays() -> None:
    it = iter(DataLoader(Calls(lambda: os._exit(1)), num_workers=1, batch_size=4))
    next(it)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="exited unexpectedly"):
            next(it)


@pytest.mark.parametrize("in_order", [True, False])
def test_timeout(in_order: bool) -> None:
    got, seconds = ending(
        lambda: time.sleep(60), timeout=0.5, num_workers=1, batch_size=8, in_order=in_order
    )
    assert type(got) is RuntimeError
    assert str(got) == "DataLoader timed out after 0.5 seconds"
    assert seconds < 4


def test_a_batch_that_cannot_be_pickled() -> None:
    got, _ = ending(lambda: lambda: 0, batch_size=None)
    assert "in DataLoader worker process 1" in str(got)


def test_a_graph_does_not_leave_its_worker() -> None:
    x = distrib.ones(2, requires_grad=True)
    got, _ = ending(lambda: x * 2, batch_size=None)
    assert "Cowardly refusing to serialize non-leaf tensor which requires_grad" in str(got)
    (batch,) = DataLoader([x], batch_size=None, num_workers=1)
    assert batch.requires_grad
    assert batch.is_leaf


def test_early_break() -> None:
    for _ in DataLoader(range(1000), num_workers=2, prefetch_factor=4):
        break


def test_early_break_in_a_long_sample() -> None:
    start = time.monotonic()
    for batch in DataLoader(Calls(lambda: time.sleep(60)), num_workers=2):
        if batch.item() == 4:
            break
    del batch
    assert time.monotonic() - start < 6


def test_persistent_workers() -> None:
    loader = DataLoader(range(6), batch_size=2, num_workers=2, persistent_workers=True)
    before = children()
    assert numbers(loader) == [[0, 1], [2, 3], [4, 5]]
    workers = children() - before
    it = iter(loader)
    next(it)
    assert iter(loader) is it  # begins again, with batches of the last epoch on their way
    assert numbers(loader) == [[0, 1], [2, 3], [4, 5]]
    assert children() - before == workers
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    with pytest.raises(RuntimeError, match="exited unexpectedly"):
        numbers(loader)
    assert numbers(loader) == [[0, 1], [2, 3], [4, 5]]  # with new ones


def test_out_of_order() -> None:
    class Slow(Dataset[int]):
        def __len__(self) -> int:
            return 6

        def __getitem__(self, i: int) -> int:
            if i == 0:
                time.sleep(0.5)
            return i

    got = [b.item() for b in DataLoader(Slow(), num_workers=2, in_order=False)]
    assert sorted(got) == list(range(6))
    assert got[0] != 0


def test_spawn() -> None:
    loader = DataLoader(range(3), num_workers=1, multiprocessing_context="spawn")
    assert numbers(loader) == [[0], [1], [2]]
    bad = DataLoader(range(3), collate_fn=lambda b: b, num_workers=1)
    bad.multiprocessing_context = "spawn"
    with pytest.raises((AttributeError, TypeError)) as caught:
        iter(bad)
    assert "define them at the top level" in caught.value.__notes__[0]


def test_worker_info_and_threads() -> None:
    class Infos(IterableDataset[Any]):
        def __iter__(self) -> Iterator[Any]:
            info = get_worker_info()
            assert info is not None
            assert info.dataset is self
            with pytest.raises(AttributeError):
                info.__setattr__("id", 5)
            a = np.ones((500, 500))
            a @ a
            yield info.id, info.num_workers, os.getppid(), len(os.listdir("/proc/self/task"))

    got = list(DataLoader(Infos(), batch_size=None, num_workers=2))
    # two threads: the one that computes, and the one that watches the parent
    assert got == [[i, 2, os.getpid(), 2] for i in range(2)]


def test_handlers_of_the_program_do_not_run_in_workers() -> None:
    """A preemption handler that writes a checkpoint must run once."""
    ran: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda *_: ran.append(1))
    try:
        got = numbers(
            DataLoader(Calls(lambda: os.kill(os.getpid(), signal.SIGUSR1) or 5), num_workers=1)
        )
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert len(got) == 8
    assert not ran


def test_fork_while_a_thread_draws() -> None:
    stop = threading.Event()

    def draw() -> None:
        while not stop.is_set():
            distrib.rand(10)

    thread = threading.Thread(target=draw)
    thread.start()
    try:
        for _ in range(5):
            assert len(list(DataLoader(range(4), num_workers=2, timeout=20))) == 4
    finally:
        stop.set()
        thread.join()


def test_arrays_of_all_kinds_cross() -> None:
    samples = [
        np.arange(6).reshape(2, 3)[:, ::-1],
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.array(["text", "long text"]),
        np.array([None, "object"]),
        np.array(3, np.int16),
        np.empty((0, 2)),
        np.zeros(2, [("a", "i4"), ("b", "f8")]),
        np.array(["2020-01-01"], "M8[D]"),
    ]
    loader = DataLoader(samples, batch_size=None, num_workers=1, collate_fn=lambda x: x)
    for sent, got in zip(samples, loader, strict=True):
        assert got.dtype == sent.dtype
        assert got.shape == sent.shape
        assert got.tolist() == sent.tolist()
        assert got.flags.writeable


def test_one_tensor_twice_in_a_batch_stays_one() -> None:
    t = distrib.arange(3)
    (got,) = DataLoader([0], batch_size=None, num_workers=1, collate_fn=lambda _: {"a": t, "b": t})
    assert got["a"] is got["b"]
    assert got["a"].tolist() == [0, 1, 2]


def run(program: str, tmp_path: Path, **options: Any) -> subprocess.Popen[str]:
    path = tmp_path / "program.py"
    path.write_text(textwrap.dedent(program))
    return subprocess.Popen(
        [sys.executable, str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **options,
    )


SLEEPER = """
    import os, sys, time
    from distrib.utils.data import DataLoader

    class Slow:
        def __len__(self): return 100
        def __getitem__(self, i):
            if i == 0:
                print(os.getpid(), flush=True)
            if i >= 4:
                time.sleep(60)
            return i

    for batch in DataLoader(Slow(), num_workers=2):
        pass
"""


def gone(pid: int, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


def test_workers_end_when_the_parent_is_killed(tmp_path: Path) -> None:
    program = run(SLEEPER, tmp_path)
    assert program.stdout is not None
    worker = int(program.stdout.readline())
    program.kill()
    program.communicate()
    assert gone(worker, 4)


def test_interrupt(tmp_path: Path) -> None:
    program = run(SLEEPER, tmp_path)
    assert program.stdout is not None
    worker = int(program.stdout.readline())
    time.sleep(0.3)
    start = time.monotonic()
    os.killpg(program.pid, signal.SIGINT)  # as the terminal does: to parent and workers
    _, errors = program.communicate(timeout=10)
    assert time.monotonic() - start < 5
    assert errors.count("Traceback") == 1
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert gone(worker, 1)


def test_program_that_ends_with_a_loader_open(tmp_path: Path) -> None:
    program = run(
        """
        import atexit, os
        from distrib.utils.data import DataLoader

        atexit.register(lambda: print("exit", os.getpid()))
        loader = DataLoader(range(10), num_workers=2, persistent_workers=True)
        it = iter(loader)
        next(it)
        """,
        tmp_path,
    )
    out, errors = program.communicate(timeout=20)
    assert (out, errors, program.returncode) == (f"exit {program.pid}\n", "", 0)


def test_a_worker_takes_no_part_in_collectives() -> None:
    """It may ask for rank and world size, but must not reach the MPI of its parent."""
    from distrib import distributed as dist

    class Asks(IterableDataset[Any]):
        def __iter__(self) -> Iterator[Any]:
            yield dist.get_rank(), dist.get_world_size()
            dist.all_reduce(distrib.ones(2))

    dist.init_process_group("single")
    try:
        it = iter(DataLoader(Asks(), batch_size=None, num_workers=1))
        assert next(it) == [0, 1]
        with pytest.raises(RuntimeError, match="all_reduce in DataLoader worker process 0"):
            next(it)
        dist.all_reduce(distrib.ones(2))
    finally:
        dist.destroy_process_group()
