"""DistributedSampler: the part of an epoch that belongs to one rank."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ._utils import draw
from .sampler import Sampler

__all__ = ["DistributedSampler"]


class DistributedSampler(Sampler[int]):
    """Every ``num_replicas``-th index of an epoch from ``rank`` on: all ranks yield equally many.

    The order depends on ``seed + epoch`` only, so call ``set_epoch`` before each epoch. Where the
    indices do not divide evenly, the first ones are yielded twice, or with ``drop_last`` the last
    ones not at all. Rank and number of ranks come from the default process group unless given.
    """

    def __init__(
        self,
        dataset: Any,
        num_replicas: int | None = None,
        rank: int | None = None,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        if num_replicas is None or rank is None:
            from ... import distributed

            num_replicas = distributed.get_world_size() if num_replicas is None else num_replicas
            rank = distributed.get_rank() if rank is None else rank
        if not 0 <= rank < num_replicas:
            raise ValueError(
                f"Invalid rank {rank}, rank should be in the interval [0, {num_replicas - 1}]"
            )
        self.dataset = dataset
        self.num_replicas = num_replicas
        self.rank = rank
        self.epoch = 0
        self.drop_last = drop_last
        count = len(dataset)
        self.num_samples = count // num_replicas if drop_last else -(-count // num_replicas)
        self.total_size = self.num_samples * num_replicas
        self.shuffle = shuffle
        self.seed = seed
        self._begin = 0  # samples of the next epoch that all ranks together have read already

    def __iter__(self) -> Iterator[int]:
        count = len(self.dataset)
        if self.shuffle:
            order = draw.permutation(count, draw.seeded_generator(self.seed + self.epoch))
        else:
            order = list(range(count))
        total, begin = self.total_size, self._begin
        if begin:
            self._begin = 0
            order = order[begin:]
            count = len(order)
            ranks = self.num_replicas
            total = (count // ranks if self.drop_last else -(-count // ranks)) * ranks
        if total > count:
            order = order * -(-total // count)
        return iter(order[self.rank : total : self.num_replicas])

    def __len__(self) -> int:
        return self.num_samples

    def _resume_at(self, num_samples: int) -> None:
        """Leave that many samples of the global order out of the next iteration."""
        self._begin = num_samples

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next iteration; the same number on all ranks."""
        self.epoch = epoch
