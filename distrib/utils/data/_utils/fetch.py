"""Fetchers: from indices to a collated batch."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any

import numpy as np

from ....tensor import Tensor, wrap
from ..dataset import Subset, TensorDataset
from . import collate


class _Fetcher:
    def __init__(self, auto_collation: bool, collate_fn: Callable[..., Any]) -> None:
        self.auto_collation = auto_collation
        self.collate_fn = collate_fn
        # Where the arrays of a batch shall lie. Only while it is collated: a dataset may collate
        # for itself, as often as it likes.
        self.memory: collate.Allocate | None = None

    def collated(self, samples: Any) -> Any:
        """The batch of samples, in the memory meant for it."""
        if self.memory is None:
            return self.collate_fn(samples)
        collate.allocate = self.memory
        try:
            return self.collate_fn(samples)
        finally:
            collate.allocate = None


class MapFetcher(_Fetcher):
    """Reads samples by index and collates them."""

    def __init__(self, dataset: Any, auto_collation: bool, collate_fn: Callable[..., Any]) -> None:
        super().__init__(auto_collation, collate_fn)
        self.dataset = dataset
        self.together = getattr(dataset, "__getitems__", None)
        self.rows = None
        if auto_collation and collate_fn is collate.default_collate:
            self.rows = _rows_of(dataset)

    def fetch(self, index: Any) -> Any:
        """The batch of a list of indices, or without automatic collation the sample of an index."""
        if not self.auto_collation:
            return self.collated(self.dataset[index])
        if self.rows is not None:
            batch = self.rows(index, self.memory or np.empty)
            if batch is not None:
                return batch
        if self.together:
            return self.collated(self.together(index))
        dataset = self.dataset
        return self.collated([dataset[i] for i in index])


class IterableFetcher(_Fetcher):
    """Reads the next samples of an iterable dataset and collates them."""

    def __init__(
        self, dataset: Any, auto_collation: bool, collate_fn: Callable[..., Any], drop_last: bool
    ) -> None:
        super().__init__(auto_collation, collate_fn)
        self.iterator = iter(dataset)
        self.drop_last = drop_last
        self.ended = False

    def fetch(self, index: Any) -> Any:
        """The batch of the next ``len(index)`` samples; StopIteration when there is none."""
        if not self.auto_collation:
            return self.collated(next(self.iterator))
        if self.ended:
            raise StopIteration
        size = len(index)
        samples = list(islice(self.iterator, size))
        if len(samples) < size:
            self.ended = True
            if not samples or self.drop_last:
                raise StopIteration
        return self.collated(samples)


def stateful(dataset: Any) -> bool:
    """Whether a dataset can say where it is, and go there."""
    return all(callable(getattr(dataset, k, None)) for k in ("state_dict", "load_state_dict"))


def make_fetcher(
    dataset: Any,
    iterable: bool,
    auto_collation: bool,
    collate_fn: Callable[..., Any],
    drop_last: bool,
) -> MapFetcher | IterableFetcher:
    """The fetcher for a kind of dataset."""
    if iterable:
        return IterableFetcher(dataset, auto_collation, collate_fn, drop_last)
    return MapFetcher(dataset, auto_collation, collate_fn)


def _rows_of(dataset: Any) -> Callable[[Any, collate.Allocate], Any] | None:
    """How to read a whole batch from memory at once: for a TensorDataset, or Subsets of one.

    Only for these very classes: a subclass may have its own ``__getitem__``.
    """
    chain = []
    while type(dataset) is Subset:
        chain.append(dataset.indices)
        dataset = dataset.dataset
    if type(dataset) is not TensorDataset or not dataset.tensors:
        return None

    def rows(index: Any, empty: collate.Allocate) -> Any:
        for indices in chain:
            index = [indices[i] for i in index]
        if not index or any(type(i) is not int for i in index):
            return None
        out = []
        for t in dataset.tensors:
            a = t._a
            if type(t) is not Tensor or t._n is not None or type(a) is not np.ndarray:
                return None
            if a.ndim == 0 or min(index) < 0 or max(index) >= a.shape[0]:
                return None  # sample by sample, which finds the culprit
            batch = empty((len(index), *a.shape[1:]), a.dtype)
            # "clip" writes straight into out, the default mode through a buffer
            np.take(a, index, axis=0, out=batch, mode="clip")
            out.append(wrap(batch))
        return out

    return rows
