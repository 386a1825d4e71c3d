"""The loader's iterators: one process, or several."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ._resume import Epoch
from ._utils import fetch, pin_memory

if TYPE_CHECKING:
    from ._utils.pool import Handle, Pool, Reply
    from .dataloader import DataLoader

T_co = TypeVar("T_co", covariant=True)


class _BaseDataLoaderIter(Generic[T_co]):
    """One epoch of a DataLoader."""

    def __init__(self, loader: DataLoader[Any]) -> None:
        self._dataset = loader.dataset
        self._iterable = loader._iterable
        self._index_sampler = loader._index_sampler
        self._num_workers = loader.num_workers
        self._length_said = loader._IterableDataset_len_called
        self._pin_memory = pin_memory.wanted(loader.pin_memory, loader.pin_memory_device)
        self._begin(Epoch(loader, None))

    def _begin(self, epoch: Epoch) -> None:
        self._epoch = epoch
        self._cursor = epoch.cursor
        self._sampler_iter = epoch.indices
        self._base_seed = epoch.base_seed

    def _read_past(self) -> None:
        """Read and drop what a resumed iteration has had already, where it cannot be skipped."""
        for _ in range(self._epoch.unread):
            next(self)
        self._epoch.unread = 0

    @property
    def _num_yielded(self) -> int:
        return self._cursor.num_yielded

    def __iter__(self) -> Iterator[T_co]:
        return self

    def __next__(self) -> T_co:
        cursor = self._cursor
        try:
            batch = self._next_data()
        except StopIteration:
            cursor.finished = True
            raise
        cursor.num_yielded += 1
        if self._length_said is not None and cursor.num_yielded > self._length_said:
            self._warn_of_length()
        if self._pin_memory:
            batch = pin_memory.pin_memory(batch)
        found: T_co = batch
        return found

    def _next_data(self) -> Any:
        raise NotImplementedError

    def __len__(self) -> int:
        sampler: Any = self._index_sampler
        return len(sampler)

    def __getstate__(self) -> Any:
        raise NotImplementedError(f"{type(self).__name__} cannot be pickled")

    def _warn_of_length(self) -> None:
        text = (
            f"Length of IterableDataset {self._dataset} was reported to be {self._length_said}"
            f"(when accessing len(dataloader)), but {self._num_yielded} samples have been fetched. "
        )
        if self._num_workers > 0:
            text += (
                "For multiprocessing data-loading, this could be caused by not properly "
                "configuring the IterableDataset replica at each worker. Please see "
                "https://pytorch.org/docs/stable/data.html#torch.utils.data.IterableDataset "
                "for examples."
            )
        warnings.warn(text, stacklevel=3)


class _SingleProcessDataLoaderIter(_BaseDataLoaderIter[T_co]):
    """Reads in the process that iterates."""

    def __init__(self, loader: DataLoader[Any]) -> None:
        super().__init__(loader)
        assert loader.timeout == 0
        assert loader.num_workers == 0
        states = self._epoch.dataset_states()
        if states and fetch.stateful(loader.dataset):
            loader.dataset.load_state_dict(states[0])
        self._fetch = fetch.make_fetcher(
            loader.dataset,
            loader._iterable,
            loader._auto_collation,
            loader.collate_fn,
            loader.drop_last,
        ).fetch
        self._read_past()

    def _next_data(self) -> Any:
        return self._fetch(next(self._sampler_iter))


class _MultiProcessingDataLoaderIter(_BaseDataLoaderIter[T_co]):
    """Reads in worker processes, which get their tasks in turn and answer them in order."""

    def __init__(self, loader: DataLoader[Any]) -> None:
        from ._utils import pool

        self._pool: Pool | None = None
        super().__init__(loader)
        assert loader.num_workers > 0
        assert loader.prefetch_factor is not None
        self._timeout = loader.timeout
        self._in_order = loader.in_order
        self._persistent = loader.persistent_workers
        self._ahead = loader.prefetch_factor * loader.num_workers
        self._grace_s = pool.GRACE_S
        self._failure: Exception | None = None
        self._pool = pool.start(loader, self._base_seed, self._epoch.dataset_states())
        self._workers = self._pool.workers
        self._start()

    @property
    def alive(self) -> bool:
        """Whether the workers can serve another epoch."""
        return self._pool is not None

    def _start(self) -> None:
        self._waiting: deque[Handle] = deque()  # who answers next
        self._turn = 0
        state = self._epoch.state
        if state is not None and state["datasets"] and self._iterable:
            self._turn = state["turn"]
            for number in state["exhausted"]:
                self._workers[number].exhausted = True
        for _ in range(self._ahead):
            if not self._give():
                break
        self._read_past()

    def _reset(self, loader: DataLoader[Any]) -> None:
        """Begin another epoch with the same workers."""
        self._begin(Epoch(loader, self._base_seed))
        self._length_said = loader._IterableDataset_len_called
        states = self._epoch.dataset_states()
        try:
            for worker in self._workers:
                worker.reset(states.get(worker.number))
        except BaseException as e:
            self._fail(e)
            raise
        self._start()

    def _give(self) -> bool:
        """Hand the next indices to the next worker; False if there is no task or no worker."""
        worker = self._next_worker()
        if worker is None:
            return False
        try:
            index = next(self._sampler_iter)
        except StopIteration:
            return False
        worker.send_task(index)
        self._waiting.append(worker)
        return True

    def _next_worker(self) -> Handle | None:
        workers, n = self._workers, len(self._workers)
        ready = [w for w in (workers[(self._turn + i) % n] for i in range(n)) if not w.exhausted]
        if not ready:
            return None
        chosen = ready[0] if self._in_order else min(ready, key=lambda w: w.tasks)
        self._turn = (chosen.number + 1) % n
        return chosen

    def _next_data(self) -> Any:
        if self._failure is not None:
            raise self._failure
        while self._waiting or (self._pool is not None and self._give()):
            worker, reply = self._receive()
            self._give_after(worker, reply)
            batch, state = reply.value()
            if state is not None:
                cursor = self._cursor
                cursor.datasets[worker.number] = state
                cursor.turn = self._waiting[0].number if self._waiting else self._turn
                cursor.exhausted = [w.number for w in self._workers if w.exhausted]
            if not reply.ended:
                return batch
        if not self._persistent:
            self._shutdown_workers()
        raise StopIteration

    def _give_after(self, worker: Handle, reply: Reply) -> None:
        if reply.ended and not worker.exhausted:
            worker.exhausted = True
            if not self._persistent:
                worker.send_stop()
        self._give()

    def _receive(self) -> tuple[Handle, Reply]:
        from ._utils import pool

        try:
            worker = self._waiting[0]
            if not self._in_order:
                found = pool.whoever(self._waiting, self._timeout)
            else:
                found = worker if worker.wait(self._timeout) else None
            reply = None if found is None else found.receive()
        except BaseException as e:
            self._fail(e)
            raise
        if found is None or reply is None:
            self._grace_s = pool.HURRY_S
            raise RuntimeError(f"DataLoader timed out after {self._timeout} seconds")
        self._waiting.remove(found)  # its oldest task: the first entry where the order matters
        return found, reply

    def _fail(self, error: BaseException) -> None:
        """End the workers after an error that leaves the pipes in an unknown state."""
        from ._utils.pool import HURRY_S

        self._failure = error if isinstance(error, Exception) else None
        self._waiting.clear()
        self._grace_s = HURRY_S
        self._shutdown_workers()

    def _shutdown_workers(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            self._workers = []
            pool.close(self._grace_s)

    def __del__(self) -> None:
        self._shutdown_workers()
