"""Samplers, datasets, collation and loaders against PyTorch: same results, same random streams."""

from __future__ import annotations

import collections
import warnings
from typing import Any

import numpy as np
import pytest

import distrib

torch = pytest.importorskip("torch")

Point = collections.namedtuple("Point", "x y")


class Row(list[Any]):
    """A list type of the user's."""


class Table(dict[Any, Any]):
    """A dict type of the user's."""


def plain(x: Any) -> Any:
    """Values, dtypes and container types, without the library's own types."""
    if isinstance(x, (distrib.Tensor, torch.Tensor)):
        return ("tensor", str(x.dtype), tuple(x.shape), x.tolist())
    if isinstance(x, dict):
        return (type(x).__name__, {k: plain(v) for k, v in x.items()})
    if isinstance(x, (list, tuple)):
        return (type(x).__name__, [plain(v) for v in x])
    return x


class Raised(tuple[str, str]):
    """The built-in type and the message of an exception."""


def outcome(work: Any, module: Any) -> Any:
    """What a function of the module gives, with the state of the default stream after it."""
    module.manual_seed(11)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = plain(work(module))
        except Exception as e:
            kind = next(k for k in type(e).__mro__ if k.__module__ == "builtins")
            result = Raised((kind.__name__, str(e)))
    state = bytes(bytearray(module.get_rng_state().tolist()))
    return result, [(w.category, str(w.message)) for w in caught], state


def same(work: Any) -> None:
    ours, theirs = outcome(work, distrib), outcome(work, torch)
    if isinstance(ours[0], Raised) and isinstance(theirs[0], Raised):
        assert ours[0][0] == theirs[0][0]
        assert ours[0][1].startswith(theirs[0][1]), "ours may add what was got"
    else:
        assert ours[0] == theirs[0]
    assert ours[1] == theirs[1]
    assert ours[2] == theirs[2], "the default generator is elsewhere"


def seeded(m: Any, n: int) -> Any:
    return m.Generator().manual_seed(n)


def eager(m: Any) -> Any:
    class Eager(m.utils.data.Sampler):
        def __iter__(self) -> Any:
            return iter(m.randperm(6).tolist())  # draws at iter(), not at the first next()

        def __len__(self) -> int:
            return 6

    return list(m.utils.data.DataLoader(range(6), sampler=Eager(), batch_size=4))


def twice(loader: Any) -> Any:
    return [list(loader), list(loader)]


def half_way(m: Any, **options: Any) -> Any:
    it = iter(m.utils.data.DataLoader(range(10), shuffle=True, batch_size=3, **options))
    return next(it), m.randperm(5), next(it), m.randperm(5)


def tensors(m: Any) -> Any:
    return m.utils.data.TensorDataset(m.arange(22.0).reshape(11, 2), m.arange(11))


SAMPLERS = {
    "random": lambda m: list(m.utils.data.RandomSampler(range(9))),
    "random twice": lambda m: twice(m.utils.data.RandomSampler(range(9))),
    "random replacement": lambda m: list(m.utils.data.RandomSampler(range(9), True, 70)),
    "random more": lambda m: list(m.utils.data.RandomSampler(range(4), num_samples=10)),
    "random generator": lambda m: twice(
        m.utils.data.RandomSampler(range(5), num_samples=10, generator=seeded(m, 3))
    ),
    "random large": lambda m: list(m.utils.data.RandomSampler(range(5000))),
    "subset random": lambda m: twice(m.utils.data.SubsetRandomSampler([4, 7, 9, 2])),
    "weighted": lambda m: twice(m.utils.data.WeightedRandomSampler([1.0, 2, 0, 3], 9)),
    "weighted without": lambda m: list(m.utils.data.WeightedRandomSampler([1.0, 2, 3], 3, False)),
    "batch": lambda m: list(
        m.utils.data.BatchSampler(m.utils.data.RandomSampler("abcdefg"), 3, 0 > 1)
    ),
    "batch drop": lambda m: list(m.utils.data.BatchSampler(range(7), 3, True)),
    "distributed": lambda m: [
        list(m.utils.data.DistributedSampler(range(n), ranks, r, shuffle, seed=5, drop_last=drop))
        for n in (0, 2, 10, 12)
        for ranks in (1, 3, 5)
        for r in range(ranks)
        for shuffle in (True, False)
        for drop in (True, False)
    ],
    "split": lambda m: [p.indices for p in m.utils.data.random_split(range(10), [3, 7])],
    "split fractions": lambda m: [
        p.indices for p in m.utils.data.random_split(range(11), [0.3, 0.3, 0.4], seeded(m, 1))
    ],
    "split empty": lambda m: [len(p) for p in m.utils.data.random_split("a", [0.5, 0.2, 0.3])],
}

LOADERS = {
    "sequential": lambda m: list(m.utils.data.DataLoader(range(7), batch_size=3)),
    "shuffle": lambda m: twice(m.utils.data.DataLoader(tensors(m), batch_size=4, shuffle=True)),
    "only iter": lambda m: iter(m.utils.data.DataLoader(range(4), shuffle=True)) and None,
    "half way": half_way,
    "half way, workers": lambda m: half_way(m, num_workers=2),
    "half way, generator": lambda m: half_way(m, generator=seeded(m, 4)),
    "drop last": lambda m: list(m.utils.data.DataLoader(range(7), 3, True, drop_last=True)),
    "no batches": lambda m: list(m.utils.data.DataLoader(range(7), None, True)),
    "no batches, arrays": lambda m: list(m.utils.data.DataLoader([np.ones(2), (1, "a")], None)),
    "generator": lambda m: twice(
        m.utils.data.DataLoader(range(7), 3, True, generator=seeded(m, 9), num_workers=1)
    ),
    "workers": lambda m: twice(m.utils.data.DataLoader(tensors(m), 4, True, num_workers=2)),
    "persistent": lambda m: twice(
        m.utils.data.DataLoader(tensors(m), 4, True, num_workers=2, persistent_workers=True)
    ),
    "batch sampler": lambda m: list(
        m.utils.data.DataLoader(range(9), batch_sampler=[[8, 1], [2], [5, 5, 5]])
    ),
    "subset of tensors": lambda m: twice(
        m.utils.data.DataLoader(m.utils.data.random_split(tensors(m), [4, 7])[1], 3, True)
    ),
    "eager sampler": eager,
    "length": lambda m: [
        len(m.utils.data.DataLoader(range(7), b, drop_last=d))
        for b in (1, 3, 7, 8)
        for d in (True, False)
    ],
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_samplers(name: str) -> None:
    same(SAMPLERS[name])


@pytest.mark.parametrize("name", LOADERS)
def test_loaders(name: str) -> None:
    same(LOADERS[name])


def stream(m: Any, counts: list[int], length: int | None = None) -> Any:
    class Numbers(m.utils.data.IterableDataset):
        def __iter__(self) -> Any:
            info = m.utils.data.get_worker_info()
            worker = info.id if info else 0
            return iter(range(100 * worker, 100 * worker + counts[worker]))

        def __str__(self) -> str:
            return "numbers"

    if length is not None:
        Numbers.__len__ = lambda self: length
    return Numbers()


@pytest.mark.parametrize("counts", [[5, 5], [1, 9], [0, 4], [0, 0]])
@pytest.mark.parametrize(("batch_size", "drop_last"), [(2, False), (2, True), (None, False)])
@pytest.mark.parametrize("workers", [0, 2])
def test_iterable(counts: list[int], batch_size: int, drop_last: bool, workers: int) -> None:
    def run(m: Any) -> Any:
        return twice(
            m.utils.data.DataLoader(
                stream(m, counts), batch_size, drop_last=drop_last, num_workers=workers
            )
        )

    same(run)


@pytest.mark.parametrize("workers", [0, 2])
def test_iterable_that_is_longer_than_it_says(workers: int) -> None:
    def run(m: Any) -> Any:
        loader = m.utils.data.DataLoader(
            stream(m, [3, 3], length=2), batch_size=1, num_workers=workers
        )
        return len(loader), list(loader)

    same(run)


SAMPLES: list[list[Any]] = [
    [1, 2],
    [1.5, 2],
    [1, 2.5],
    [True, False],
    [True, 3],
    [2**70, 1],
    [1, "a"],
    ["a", "b"],
    [b"a"],
    [np.float32(1), np.float32(2)],
    [np.bool_(True)],
    [np.array(1.5), np.array(2.5)],
    [np.zeros((2, 3), np.float16)] * 2,
    [np.zeros((0, 3), np.int16)] * 2,
    [np.array(["a"])],
    [np.array([None])],
    [np.array(["2020"], dtype="M8[s]")],
    [np.datetime64("2020")],
    [(1, "a"), (2, "b")],
    [[1, 2], [3, 4]],
    [Point(1, 2.0), Point(3, 4.0)],
    [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}],
    [collections.OrderedDict(a=1), collections.OrderedDict(a=2)],
    [collections.defaultdict(int, a=1)],
    [{"a": 1}, {"b": 2}],
    [Row([1, 2]), Row([3, 4])],
    [Table(a=1), Table(a=2)],
    [range(2), range(2)],
    [(1, 2), (3,)],
    [(), ()],
    [{}, {}],
    [None],
    [1j],
    [{1, 2}],
    [object],
    [],
]


@pytest.mark.parametrize("i", range(len(SAMPLES)))
def test_default_collate(i: int) -> None:
    same(lambda m: m.utils.data.default_collate(SAMPLES[i]))


CONVERTED: list[Any] = [
    np.arange(3),
    [np.ones(1), "a", 2],
    {"a": np.ones(1)},
    (np.float32(2), 1),
    Point(np.ones(1), 2),
    Row([np.ones(1)]),
    Table(a=np.ones(1)),
    "abc",
    b"x",
    5,
    None,
    {1, 2},
    range(3),
    np.float64(2),
    [Row([1]), (1,)],
]


@pytest.mark.parametrize("i", range(len(CONVERTED)))
def test_default_convert(i: int) -> None:
    same(lambda m: m.utils.data.default_convert(CONVERTED[i]))


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    "make",
    [
        lambda m: [m.zeros(2), m.ones(2)],
        lambda m: [m.tensor(1), m.tensor(2)],
        lambda m: [m.zeros(2, 3).t(), m.ones(2, 3).t()],
        lambda m: [m.zeros(0, 3), m.zeros(0, 3)],
        lambda m: [m.zeros(2, dtype=m.bfloat16), m.ones(2, dtype=m.bfloat16)],
        lambda m: [(m.zeros(2), {"k": m.tensor(True)}), (m.zeros(2), {"k": m.tensor(False)})],
    ],
)
def test_collate_tensors(make: Any, workers: int) -> None:
    same(lambda m: list(m.utils.data.DataLoader(make(m), batch_size=2, num_workers=workers)))


@pytest.mark.parametrize(
    "make",
    [
        lambda m: [m.zeros(2), m.zeros(3)],
        lambda m: [m.zeros(2), m.zeros(2, dtype=m.float64)],
        lambda m: [m.zeros(2), 1],
    ],
)
def test_collate_unlike_tensors(make: Any) -> None:
    same(lambda m: m.utils.data.default_collate(make(m)))


def test_collate_keeps_gradients() -> None:
    def run(m: Any) -> Any:
        x = m.ones(2, requires_grad=True)
        m.utils.data.default_collate([x, x * 2]).sum().backward()
        return x.grad

    same(run)


def test_worker_seeds() -> None:
    """Base seed, the worker's own, and the streams of Python, NumPy and the library."""

    def run(m: Any) -> Any:
        class Seeds(m.utils.data.Dataset):
            def __len__(self) -> int:
                return 4

            def __getitem__(self, i: int) -> Any:
                import random

                info = m.utils.data.get_worker_info()
                return (
                    (info.id, info.num_workers, info.seed, m.initial_seed()),
                    (random.random(), float(np.random.rand()), m.rand(2)),
                )

        loader = m.utils.data.DataLoader(Seeds(), batch_size=None, num_workers=2)
        return list(loader), m.utils.data.get_worker_info()

    same(run)


BAD: dict[str, Any] = {
    "num_workers": {"num_workers": -1},
    "timeout": {"timeout": -1},
    "prefetch without workers": {"prefetch_factor": 2},
    "prefetch": {"num_workers": 1, "prefetch_factor": -1},
    "persistent": {"persistent_workers": True},
    "sampler and shuffle": {"sampler": [1], "shuffle": True},
    "batch sampler": {"batch_sampler": [[1]], "batch_size": 2},
    "batch sampler and drop": {"batch_sampler": [[1]], "drop_last": True},
    "drop without batches": {"batch_size": None, "drop_last": True},
    "batch_size 0": {"batch_size": 0},
    "batch_size float": {"batch_size": 2.5},
    "batch_size bool": {"batch_size": True},
    "drop_last": {"drop_last": 3},
    "context without workers": {"multiprocessing_context": "fork"},
    "context name": {"num_workers": 1, "multiprocessing_context": "x"},
    "context type": {"num_workers": 1, "multiprocessing_context": 3},
    "too many": {"num_workers": 100},
}


@pytest.mark.parametrize("name", BAD)
def test_loader_arguments(name: str) -> None:
    same(lambda m: m.utils.data.DataLoader(range(4), **BAD[name]) and None)


@pytest.mark.parametrize("options", [{"shuffle": True}, {"sampler": [1]}, {"batch_sampler": [[1]]}])
def test_iterable_loader_arguments(options: Any) -> None:
    same(lambda m: m.utils.data.DataLoader(stream(m, [1]), **options))


@pytest.mark.parametrize(
    "work",
    [
        lambda d: d.RandomSampler([]) and None,
        lambda d: list(d.RandomSampler([])),
        lambda d: d.RandomSampler([1], replacement=3),
        lambda d: d.RandomSampler([1], num_samples=0),
        lambda d: d.RandomSampler([1], num_samples=2.5),
        lambda d: d.WeightedRandomSampler([1.0], 0),
        lambda d: d.WeightedRandomSampler([1.0], True),
        lambda d: d.WeightedRandomSampler([1.0], 2, replacement=1),
        lambda d: d.WeightedRandomSampler([[1.0]], 2),
        lambda d: list(d.WeightedRandomSampler([1.0], 2, False)),
        lambda d: list(d.WeightedRandomSampler([0.0, 0], 2)),
        lambda d: d.BatchSampler([1], 0, False),
        lambda d: d.BatchSampler([1], 1, 1),
        lambda d: iter(d.Sampler()),
        lambda d: len(d.Sampler()),
        lambda d: d.DistributedSampler(range(3), 2, 2),
        lambda d: d.DistributedSampler(range(3)),
        lambda d: d.Dataset()[0],
        lambda d: d.IterableDataset(),
        lambda d: d.ConcatDataset([]),
        lambda d: d.ConcatDataset([[1, 2], [3]])[-4],
        lambda d: [d.ConcatDataset([[1, 2], [], [3]])[i] for i in (-3, -1, 0, 1, 2)],
        lambda d: d.ConcatDataset([[1, 2], [3]]).cummulative_sizes,
        lambda d: d.StackDataset([1, 2], [3]),
        lambda d: d.StackDataset(),
        lambda d: d.StackDataset([1], a=[2]),
        lambda d: d.StackDataset(a=[1, 2], b=[3, 4]).__getitems__([1, 0]),
        lambda d: d.StackDataset([1, 2], d.Subset([5, 6, 7], [2, 0])).__getitems__([1, 0]),
        lambda d: list(d.ChainDataset([[1]])),
        lambda d: d.Subset([1, 2, 3], [0, 2])[5],
        lambda d: d.Subset([1, 2, 3], [0, 2]).__getitems__([1, 0]),
        lambda d: d.Subset(np.arange(4), [0, 2])[[1, 0]].tolist(),
        lambda d: d.random_split(range(10), [3, 3]),
        lambda d: d.random_split(range(10), [0.5, 0.8]),
        lambda d: d.random_split(range(10), [1.5, -0.5]),
    ],
)
def test_datasets_and_errors(work: Any) -> None:
    same(lambda m: work(m.utils.data))


def test_fixed_attributes() -> None:
    def run(m: Any) -> Any:
        loader = m.utils.data.DataLoader(range(3))
        out = []
        for name in ("batch_size", "sampler", "dataset", "collate_fn", "num_workers"):
            try:
                setattr(loader, name, 0)
                out.append("set")
            except ValueError as e:
                out.append(str(e))
        return out

    same(run)


def test_pin_memory_without_accelerator() -> None:
    if torch.accelerator.is_available():
        return
    same(lambda m: list(m.utils.data.DataLoader(range(3), pin_memory=True)))
    same(lambda m: list(m.utils.data.DataLoader(range(3), pin_memory=True, pin_memory_device="x")))


def test_public_names() -> None:
    mine = set(distrib.utils.data.__all__)
    pipes = {"DFIterDataPipe", "DataChunk", "IterDataPipe", "MapDataPipe"}
    pipes |= {"argument_validation", "functional_datapipe", "guaranteed_datapipes_determinism"}
    pipes |= {"non_deterministic", "runtime_validation", "runtime_validation_disabled"}
    assert set(torch.utils.data.__all__) - mine == pipes
