"""Wrong arguments of collectives: PyTorch's exception types, and messages with got and expected."""

import numpy as np
import pytest
from dist_box import Box

import distrib.distributed as dist
from distrib.distributed import ReduceOp
from distrib.meta import MetaArray

A = np.zeros((2, 3), "f4")
META = MetaArray((2, 3), np.dtype("f4"))
CASES = {
    "not a tensor": (lambda n: dist.all_reduce(3), TypeError, "type torch.Tensor"),
    "not a list": (lambda n: dist.all_gather(Box(A), Box(A)), TypeError, "List\\[torch.Tensor\\]"),
    "op": (lambda n: dist.all_reduce(Box(A), 99), TypeError, "got 99"),
    "bits of floats": (
        lambda n: dist.all_reduce(Box(A), ReduceOp.BAND),
        RuntimeError,
        "non-integral",
    ),
    "order of complex": (
        lambda n: dist.all_reduce(Box(A.astype("c8")), ReduceOp.MAX),
        ValueError,
        "complex tensors",
    ),
    "mean of ints": (
        lambda n: dist.all_reduce(Box(A.astype("i4")), ReduceOp.AVG),
        RuntimeError,
        "int32",
    ),
    "premul": (lambda n: dist.all_reduce(Box(A), ReduceOp.PREMUL_SUM), RuntimeError, "PREMUL_SUM"),
    "root": (lambda n: dist.broadcast(Box(A), n), ValueError, "not part of group"),
    "group root": (lambda n: dist.broadcast(Box(A), group_src=n), RuntimeError, "expected 0 to"),
    "no root": (lambda n: dist.broadcast(Box(A)), ValueError, "Must specify"),
    "two roots": (
        lambda n: dist.broadcast(Box(A), 0, group_src=0),
        ValueError,
        "Can't specify both",
    ),
    "list length": (
        lambda n: dist.all_gather([Box(A)] * (n + 1), Box(A)),
        RuntimeError,
        "expected length",
    ),
    "list shape": (
        lambda n: dist.all_gather([Box(A.T)] * n, Box(A)),
        RuntimeError,
        r"expected \(2, 3\); got \(3, 2\)",
    ),
    "list dtype": (
        lambda n: dist.all_gather([Box(A.astype("i4"))] * n, Box(A)),
        ValueError,
        "different dtypes",
    ),
    "output size": (
        lambda n: dist.all_gather_into_tensor(Box(A), Box(np.zeros(5, "f4"))),
        RuntimeError,
        "world_size x",
    ),
    "input size": (
        lambda n: dist.reduce_scatter_tensor(Box(A), Box(np.zeros(5, "f4"))),
        RuntimeError,
        "got 5 elements",
    ),
    "splits": (
        lambda n: dist.all_to_all_single(Box(A), Box(A), [7] * n, [7] * n),
        ValueError,
        "Split sizes",
    ),
    "object list": (
        lambda n: dist.all_gather_object([None] * (n + 1), 1),
        ValueError,
        "entries, got",
    ),
    "group": (lambda n: dist.get_rank(3), ValueError, "not registered"),
    "group twice": (lambda n: dist.new_group([0, 0]), ValueError, "duplicate"),
    "group too big": (lambda n: dist.new_group(range(n + 1)), ValueError, "less or equal"),
    "group of others": (lambda n: dist.new_group([n + 5]), ValueError, "within the world_size"),
    "group rank": (
        lambda n: dist.get_group_rank(dist.group.WORLD, n),
        ValueError,
        "not part of group",
    ),
    "meta": (
        lambda n: dist.all_reduce(Box(META)),
        RuntimeError,
        "got a meta tensor",
    ),
    "meta output": (
        lambda n: (
            dist.all_gather_into_tensor(Box(META), Box(META))
            if n == 1
            else dist.all_reduce(Box(META))
        ),
        ValueError,
        "got a meta tensor",
    ),
    "init twice": (lambda n: dist.init_process_group(), ValueError, "twice"),
    "p2p op": (lambda n: dist.P2POp(dist.all_reduce, Box(A), 0), ValueError, "isend"),
}


@pytest.mark.parametrize("case", CASES)
def test_misuse(world, case):
    call, kind, text = CASES[case]

    def body(rank):
        with pytest.raises(kind, match=text):
            call(dist.get_world_size())
        dist.barrier()  # nothing was sent: the ranks are still in step

    world(body)


def test_only_the_root_gives_lists(world):
    def body(rank):
        parts = [Box(A)] * dist.get_world_size()
        with pytest.raises(ValueError, match="scatter_list"):
            dist.scatter(Box(A), None if rank == 0 else parts, src=0)
        with pytest.raises(ValueError, match="gather_list"):
            dist.gather(Box(A), None if rank == 0 else parts, dst=0)

    world(body)
