"""state_dict and load_state_dict of the loader: exactly the batches that remain."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from distrib import random
from distrib.utils.data import (
    DataLoader,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
    get_worker_info,
)

SIZE = 23


def seeded(n: int) -> Any:
    return random.Generator().manual_seed(n)


def lists(batches: Any) -> list[Any]:
    return [batch if isinstance(batch, int) else batch.tolist() for batch in batches]


def interrupted(loader: Any, epochs: int, batches: int) -> tuple[Any, list[Any], list[Any]]:
    """A state from the middle of an epoch, through pickle; what came after it; the next epoch."""
    for _ in range(epochs):
        list(loader)
    it = iter(loader)
    for _ in range(batches):
        next(it)
    state = pickle.loads(pickle.dumps(loader.state_dict()))
    stream = random.get_rng_state()
    rest = lists(it)
    following = lists(loader)
    random.set_rng_state(stream)  # a program that resumes restores it with its checkpoint
    return state, rest, following


MAKERS: dict[str, Callable[..., Any]] = {
    "sequential": lambda **o: DataLoader(range(SIZE), 4, **o),
    "shuffle": lambda **o: DataLoader(range(SIZE), 4, True, **o),
    "generator": lambda **o: DataLoader(range(SIZE), 4, True, generator=seeded(5), **o),
    "drop last": lambda **o: DataLoader(range(SIZE), 4, True, drop_last=True, **o),
    "single samples": lambda **o: DataLoader(
        range(SIZE), None, sampler=RandomSampler(range(SIZE), True), **o
    ),
    "subset": lambda **o: DataLoader(range(SIZE), 4, sampler=SubsetRandomSampler(range(9)), **o),
    "weighted": lambda **o: DataLoader(
        range(SIZE), 4, sampler=WeightedRandomSampler([1.0] * SIZE, 20, generator=seeded(2)), **o
    ),
    "ranks": lambda **o: DataLoader(
        range(SIZE), 4, sampler=DistributedSampler(range(SIZE), 2, 1), **o
    ),
}


@pytest.mark.parametrize("batches", [0, 1, 2])
@pytest.mark.parametrize(
    ("name", "before", "after"),
    [(name, 0, 0) for name in MAKERS] + [("shuffle", 0, 2), ("shuffle", 2, 0), ("ranks", 2, 0)],
)
def test_the_remaining_batches(name: str, batches: int, before: int, after: int) -> None:
    random.manual_seed(3)
    make = MAKERS[name]
    state, rest, following = interrupted(make(num_workers=before), 1, batches)
    loader = make(num_workers=after)
    loader.load_state_dict(state)
    assert loader.state_dict()["num_yielded"] == batches
    assert lists(loader) == rest
    if name != "ranks":
        assert len(loader) == len(following)
    assert lists(loader) == following


@pytest.mark.parametrize("workers", [0, 2])
def test_a_state_of_a_resumed_epoch(workers: int) -> None:
    random.manual_seed(3)
    make = MAKERS["shuffle"]
    state, rest, _ = interrupted(make(num_workers=workers), 0, 2)
    loader = make(num_workers=workers)
    loader.load_state_dict(state)
    it = iter(loader)
    next(it)
    second = loader.state_dict()
    del it
    third = make()
    third.load_state_dict(second)
    assert lists(third) == rest[1:]


def test_persistent_workers() -> None:
    random.manual_seed(3)

    def make() -> Any:
        return DataLoader(range(SIZE), 4, True, num_workers=2, persistent_workers=True)

    state, rest, following = interrupted(make(), 2, 3)
    loader = make()
    loader.load_state_dict(state)
    assert lists(loader) == rest
    assert lists(loader) == following
    loader.load_state_dict(state)  # also in the middle of its life
    assert lists(loader) == rest


def test_at_the_end_of_an_epoch() -> None:
    loader = DataLoader(range(8), 4)
    fresh = loader.state_dict()
    it = iter(loader)
    next(it), next(it)
    loader.load_state_dict(loader.state_dict())
    assert lists(loader) == []  # the last batch was yielded, the end was not
    assert lists(loader) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert loader.state_dict() == fresh
    loader.load_state_dict(fresh)
    assert len(lists(loader)) == 2


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize(("old", "new"), [(2, 2), (2, 1), (1, 3), (4, 2), (2, 3)])
def test_another_number_of_ranks(old: int, new: int, drop_last: bool) -> None:
    def make(ranks: int, rank: int) -> Any:
        sampler = DistributedSampler(range(48), ranks, rank, seed=1, drop_last=drop_last)
        sampler.set_epoch(4)
        return DataLoader(range(48), 3, sampler=sampler)

    rest: set[int] = set()
    for rank in range(old):
        loader = make(old, rank)
        it = iter(loader)
        next(it), next(it)
        state = loader.state_dict()
        rest |= {i for batch in lists(it) for i in batch}
    parts = []
    for rank in range(new):
        loader = make(new, rank)
        loader.load_state_dict(state)
        parts.append([i for batch in lists(loader) for i in batch])
        assert len(lists(loader)) == len(loader)  # the next epoch is whole again
    assert len({len(p) for p in parts}) == 1
    assert sum(len(p) for p in parts) == len(rest) == 48 - 6 * old
    assert {i for p in parts for i in p} == rest


class Plain(IterableDataset[int]):
    """Numbers of its worker; worker 1 has fewer."""

    def __iter__(self) -> Iterator[int]:
        info = get_worker_info()
        worker = info.id if info else 0
        yield from range(100 * worker, 100 * worker + 9 - 4 * worker)


class Stateful(Plain):
    """The same, and it can go on from where it was without reading again."""

    def __init__(self) -> None:
        self.read = 0
        self.begin = 0

    def __iter__(self) -> Iterator[int]:
        begin, self.begin = self.begin, 0
        self.read = begin
        for i, value in enumerate(super().__iter__()):
            if i >= begin:
                self.read += 1
                yield value

    def state_dict(self) -> dict[str, int]:
        return {"read": self.read}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.begin = state["read"]


@pytest.mark.parametrize("kind", [Plain, Stateful])
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("batches", [0, 1, 3, 5])
def test_iterable(kind: Any, workers: int, batches: int) -> None:
    def make() -> Any:
        return DataLoader(kind(), 2, num_workers=workers)

    state, rest, following = interrupted(make(), 0, batches)
    loader = make()
    loader.load_state_dict(state)
    assert lists(loader) == rest
    assert lists(loader) == following


def test_a_stateful_dataset_needs_the_same_workers() -> None:
    loader = DataLoader(Stateful(), 2, num_workers=2)
    next(iter(loader))
    other = DataLoader(Stateful(), 2)
    other.load_state_dict(loader.state_dict())
    with pytest.raises(ValueError, match="expected num_workers=2, but got num_workers=0"):
        iter(other)


def test_states_that_are_none() -> None:
    loader = DataLoader(range(8), 4)
    with pytest.raises(TypeError, match="expected a dict, but got list"):
        loader.load_state_dict([])
    with pytest.raises(ValueError, match="version 1, but got version None"):
        loader.load_state_dict({"epoch": 3})
    it = iter(loader)
    next(it), next(it)
    short = DataLoader(range(4), 4)
    short.load_state_dict(loader.state_dict())
    with pytest.raises(RuntimeError, match="2 batches into the epoch, but the sampler has 1"):
        iter(short)
