"""Where an epoch is: what `DataLoader.state_dict` holds and how an iterator goes back there."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from ... import random
from ._utils import draw
from ._utils.fetch import stateful
from .distributed import DistributedSampler
from .sampler import BatchSampler

if TYPE_CHECKING:
    from .dataloader import DataLoader

VERSION = 1


class Cursor:
    """The position in an epoch and what its order was drawn from. The loader keeps the latest."""

    __slots__ = (
        "base_seed",
        "consumed",
        "datasets",
        "epoch",
        "exhausted",
        "finished",
        "num_workers",
        "num_yielded",
        "seeded",
        "streams",
        "turn",
    )

    def __init__(self, num_workers: int) -> None:
        self.num_workers = num_workers
        self.num_yielded = 0  # batches of this epoch
        self.finished = False
        self.base_seed = 0
        self.seeded = True  # whether the epoch began with the draw of base_seed
        self.streams: dict[str, Any] = {}  # generator states from before the first draw
        self.epoch: int | None = None  # of a sampler with set_epoch
        # DistributedSampler: samples that the ranks had read before the number of ranks changed
        self.consumed: int | None = None
        self.datasets: dict[int, Any] = {}  # by worker: the state of a stateful dataset
        self.exhausted: list[int] = []  # workers at the end of their iterable dataset
        self.turn = 0  # the worker whose batch is next

    @classmethod
    def at_end(cls) -> Cursor:
        """Between two epochs."""
        cursor = cls(0)
        cursor.finished = True
        return cursor

    def as_dict(self, loader: DataLoader[Any]) -> dict[str, Any]:
        """Plain numbers, lists and tensors, for `torch.save`."""
        out: dict[str, Any] = {"version": VERSION}
        if self.finished:
            return out
        out.update((k, getattr(self, k)) for k in self.__slots__ if k != "finished")
        # whether the sampler has drawn: workers are given tasks ahead
        out["begun"] = self.num_workers > 0 or self.num_yielded > 0
        out["datasets"] = dict(self.datasets)
        if loader.num_workers == 0 and stateful(loader.dataset):
            out["datasets"] = {0: loader.dataset.state_dict()}
        if self.consumed is not None:
            assert loader.batch_size is not None
            out["replicas"] = loader.sampler.num_replicas
            out["batch"] = loader.batch_size * out["replicas"]
        return out


def check(state: Any) -> dict[str, Any]:
    """The state if `load_state_dict` can take it; TypeError or ValueError if not."""
    if not isinstance(state, dict):
        raise TypeError(
            f"DataLoader.load_state_dict: expected a dict, but got {type(state).__name__}"
        )
    if state.get("version") != VERSION:
        raise ValueError(
            "DataLoader.load_state_dict: expected a state of DataLoader.state_dict with version "
            f"{VERSION}, but got version {state.get('version')!r}"
        )
    return state


def _generators(loader: DataLoader[Any]) -> dict[str, Any]:
    """Every generator that the order of an epoch may be drawn from, by place."""
    batches = loader.batch_sampler
    owners = {
        "loader": loader,
        "batch_sampler": batches,
        "inner": getattr(batches, "sampler", None),
        "sampler": loader.sampler,
    }
    found: dict[str, Any] = {"default": random.default_generator}
    for name, owner in owners.items():
        generator = getattr(owner, "generator", None)
        if isinstance(generator, random.Generator):
            if all(generator is not g for g in found.values()):
                found[name] = generator
    return found


def _by_samples(loader: DataLoader[Any]) -> bool:
    """Whether the position is a number of samples of the global order."""
    return (
        isinstance(loader.sampler, DistributedSampler)
        and type(loader.batch_sampler) is BatchSampler
        and loader.batch_sampler.sampler is loader.sampler
    )


class Epoch:
    """What an iterator begins with: cursor, indices, seed of the workers, batches to read past."""

    __slots__ = ("base_seed", "cursor", "indices", "state", "unread")

    def __init__(self, loader: DataLoader[Any], base_seed: int | None) -> None:
        state, loader._resume = loader._resume, None
        self.cursor = cursor = loader._cursor = Cursor(loader.num_workers)
        self.state: dict[str, Any] | None = None
        self.unread = 0
        streams = _generators(loader)
        if state is not None and "streams" in state:
            self._resume(loader, state, streams, base_seed)
            return
        cursor.streams = {name: g.get_state() for name, g in streams.items()}
        cursor.epoch = getattr(loader.sampler, "epoch", None)
        cursor.consumed = 0 if _by_samples(loader) else None
        cursor.seeded = base_seed is None
        self.indices: Iterator[Any] = iter(loader._index_sampler)
        self.base_seed = draw.seed(loader.generator) if base_seed is None else base_seed
        cursor.base_seed = self.base_seed

    def _resume(
        self,
        loader: DataLoader[Any],
        state: dict[str, Any],
        streams: dict[str, Any],
        base_seed: int | None,
    ) -> None:
        cursor, self.state = self.cursor, state
        for name in ("streams", "base_seed", "seeded", "num_yielded", "epoch", "consumed"):
            setattr(cursor, name, state[name])
        if cursor.epoch is not None and hasattr(loader.sampler, "set_epoch"):
            loader.sampler.set_epoch(cursor.epoch)
        skip = cursor.num_yielded
        if cursor.consumed is not None and _by_samples(loader):
            if loader.sampler.num_replicas != state["replicas"]:
                cursor.consumed += skip * state["batch"]
                skip = cursor.num_yielded = 0
            loader.sampler._resume_at(cursor.consumed)
        now = random.default_generator.get_state()
        for name, generator in streams.items():
            if name in cursor.streams:
                generator.set_state(cursor.streams[name])
        indices = iter(loader._index_sampler)
        if cursor.seeded:
            draw.seed(loader.generator)
        self.base_seed = cursor.base_seed if base_seed is None else base_seed
        if loader._iterable:
            self.indices = indices
            if stateful(loader.dataset):
                self._check_workers(loader)
                cursor.datasets = dict(state["datasets"])
            else:
                self.unread, cursor.num_yielded = skip, 0
        else:
            passed = sum(1 for _ in islice(indices, skip))
            if passed < skip:
                raise RuntimeError(
                    f"DataLoader.load_state_dict: the state is {skip} batches into the epoch, "
                    f"but the sampler has {passed}"
                )
            # one ahead: a sampler draws its order at its first index, which had been before `now`
            self.indices = chain(list(islice(indices, int(state["begun"]))), indices)
        # The program's own stream goes on from where the program has set it.
        random.default_generator.set_state(now)

    def _check_workers(self, loader: DataLoader[Any]) -> None:
        assert self.state is not None
        saved = self.state["num_workers"]
        if saved != loader.num_workers:
            raise ValueError(
                "DataLoader.load_state_dict: the states of an iterable dataset belong to workers; "
                f"expected num_workers={saved}, but got num_workers={loader.num_workers}"
            )

    def dataset_states(self) -> dict[int, Any]:
        """What a stateful dataset is to load first, by worker; key 0 for a loader without."""
        return {} if self.state is None else self.state["datasets"]
