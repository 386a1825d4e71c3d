"""The shared memory of worker processes: reuse, limits, what the program may keep."""

from __future__ import annotations

import gc
import os
import resource
import warnings
from typing import Any

import numpy as np
import pytest

from distrib import config
from distrib.tensor import wrap
from distrib.utils.data import DataLoader, Dataset, TensorDataset, default_collate
from distrib.utils.data._utils import wire
from distrib.utils.data._utils.shm import Arena, Holder


class Wide(Dataset[Any]):
    """Sample i holds 10 000 times i."""

    def __init__(self, length: int) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, i: int) -> Any:
        return np.full(10_000, i, np.float32)


def pair() -> tuple[Arena, Holder]:
    return Arena(), Holder(limit=2)


def cross(batch: Any, arena: Arena, holder: Holder) -> Any:
    """A batch as it comes out on the other side (here in one process)."""
    import io

    body = wire.encode(batch, arena)
    used, made, dropped = arena.commit(True)
    for number, size, fd in made:
        holder.add(number, size, fd)
    holder.drop(dropped)
    return wire.decode(io.BytesIO(body), holder, used)


def test_a_segment_is_used_again_when_the_batch_is_gone() -> None:
    arena, holder = pair()
    for i in range(20):
        arena.begin()
        x = arena.take((1000,), np.dtype("f4"))
        x[:] = i
        got = cross(wrap(x), arena, holder)
        assert got._a.base is not None
        assert got._a[999] == i
        del x, got
    assert arena.count == 1


def test_a_view_keeps_its_segment() -> None:
    arena, holder = pair()
    arena.begin()
    got = cross(np.arange(100.0), arena, holder)
    kept = got[10:12]
    del got
    for i in range(3):
        arena.begin()
        cross(np.full(100, i), arena, holder)
    assert kept.tolist() == [10.0, 11.0]
    assert arena.count == 2
    assert holder.held == 1
    del kept
    assert holder.held == 0


def test_a_batch_that_the_worker_keeps_is_not_overwritten() -> None:
    arena, holder = pair()
    arena.begin()
    mine = arena.take((10,), np.dtype("i8"))
    mine[:] = 7
    cross(mine, arena, holder)
    arena.begin()
    cross(np.zeros(10), arena, holder)
    assert mine.tolist() == [7] * 10


def test_batches_that_grow_drop_small_segments() -> None:
    arena, holder = pair()
    for n in (10, 100_000, 1_000_000, 1_000_000):
        arena.begin()
        assert cross(np.ones(n), arena, holder).sum() == n
    assert len(arena.segments) == len(holder.memory) == 1
    assert arena.count == 3


def test_a_view_into_the_batch_is_not_copied() -> None:
    arena, holder = pair()
    arena.begin()
    x = arena.take((4, 6), np.dtype("f8"))
    x[:] = np.arange(24).reshape(4, 6)
    bytes_before = arena.bytes
    rows, turned, flipped = cross([x[1:3], x.T, x[::-1]], arena, holder)
    assert arena.bytes == bytes_before + 192  # negative strides: that one alone is copied
    assert rows.tolist() == x[1:3].tolist()
    assert turned.tolist() == x.T.tolist()
    assert flipped.tolist() == x[::-1].tolist()


def test_a_program_that_keeps_all_batches() -> None:
    files = len(os.listdir("/proc/self/fd"))
    batches = list(DataLoader(Wide(200), num_workers=2))
    assert [int(b._a[0, 1]) for b in batches] == list(range(200))
    assert len(os.listdir("/proc/self/fd")) < files + 40
    assert sum(b._a.base is None for b in batches) > 150  # past the limit they are copies
    del batches
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= files


def test_a_dataset_that_collates_for_itself_takes_no_shared_memory() -> None:
    class Nested(Wide):
        def __getitem__(self, i: int) -> Any:
            for _ in range(50):
                default_collate([super().__getitem__(i)] * 4)
            return super().__getitem__(i)

    it: Any = iter(DataLoader(Nested(4), 2, num_workers=1))
    next(it)
    assert sum(m.size for m in it._workers[0].holder.memory.values()) < 1 << 20


def limit(worker_id: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))


def test_no_shared_memory_left() -> None:
    """The batches come through the pipe, whole, and a warning says so."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        batches = list(DataLoader(Wide(40), 10, num_workers=1, worker_init_fn=limit))
    assert [b._a[:, 3].tolist() for b in batches] == np.arange(40.0).reshape(4, 10).tolist()
    (warning,) = caught
    assert issubclass(warning.category, RuntimeWarning)
    assert "worker 0 got no shared memory (" in str(warning.message)
    assert "--shm-size" in str(warning.message)


@pytest.mark.parametrize("how", ["memfd", "file"])
def test_kinds_of_memory(how: str) -> None:
    with config.override(DISTRIB_DATA_SHM=how):
        batches = list(DataLoader(Wide(4), 2, num_workers=1))
    assert [b._a[0, 0] for b in batches] == [0, 2]
    assert all(b._a.base is not None for b in batches)


def test_unknown_kind_of_memory() -> None:
    with config.override(DISTRIB_DATA_SHM="disk"):
        with pytest.raises(ValueError, match="expected one of auto, memfd, file, pipe"):
            list(DataLoader(Wide(4), 2, num_workers=1))


def test_a_tensor_dataset_is_read_by_rows_of_its_own_class_only() -> None:
    x = wrap(np.arange(10.0))

    class Doubled(TensorDataset):
        def __getitem__(self, index: Any) -> Any:
            return tuple(t * 2 for t in super().__getitem__(index))

    (plain,) = next(iter(DataLoader(TensorDataset(x), 4)))
    (doubled,) = next(iter(DataLoader(Doubled(x), 4)))
    assert plain.tolist() == [0.0, 1.0, 2.0, 3.0]
    assert doubled.tolist() == [0.0, 2.0, 4.0, 6.0]
    plain._a[0] = 100.0  # a copy, as of single rows
    assert x._a[0] == 0.0
    with pytest.raises(IndexError):
        list(DataLoader(TensorDataset(x), batch_sampler=[[3, 10]]))
    assert next(iter(DataLoader(TensorDataset(x), batch_sampler=[[3, -1]])))[0].tolist() == [3, 9]
