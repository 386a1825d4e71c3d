"""Wrong use of process groups, collectives, samplers and data parallelism."""

import contextlib

import pytest
from misuse_table import Table, check, compare

import distrib

T = Table()
R, V, IX, TY = RuntimeError, ValueError, IndexError, TypeError


@contextlib.contextmanager
def world(t):
    """A world of one rank."""
    if t is distrib:
        t.distributed.init_process_group("single")
    else:
        store = t.distributed.HashStore()
        t.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        yield t.distributed
    finally:
        t.distributed.destroy_process_group()


def alone(call):
    """The call in a world of one rank."""

    def run(t):
        with world(t) as dist:
            return call(t, dist)

    return run


# ---- without a group -------------------------------------------------------------------------------
T.expr("collective before init", V, lambda t: t.distributed.all_reduce(t.ones(1)), "initialized")
T.expr("barrier before init", V, lambda t: t.distributed.barrier(), "init_process_group")
T.expr("rank before init", V, lambda t: t.distributed.get_rank(), "initialized")
T.expr("DDP before init", V, lambda t: ddp(t, t.nn.Linear(1, 1)), "initialized")
T.expr("group before init", V, lambda t: t.distributed.new_group([0]), "initialized")
T.expr("sampler before init", V, lambda t: sampler(t), "initialized")
T.expr("backend", V, lambda t: t.distributed.init_process_group("carrier-pigeon"), "pigeon", "mpi")
T.expr(
    "destroy before init",
    (V, AssertionError),
    lambda t: t.distributed.destroy_process_group(t),
    "roup",
    ours=True,
)
T.expr(
    "promised rank",
    V,
    lambda t: t.distributed.init_process_group("single", rank=3),
    "rank=3",
    "0",
    ours=True,
)
T.expr(
    "promised size",
    V,
    lambda t: t.distributed.init_process_group("single", world_size=4),
    "world_size=4",
    "1",
    ours=True,
)


def ddp(t, module, **options):
    return t.nn.parallel.DistributedDataParallel(module, **options)


def sampler(t, *args, **options):
    return t.utils.data.distributed.DistributedSampler([1, 2, 3], *args, **options)


# ---- one rank ----------------------------------------------------------------------------------------
T.expr(
    "init twice",
    V,
    alone(lambda t, d: d.init_process_group("gloo" if t is not distrib else "single")),
    "twice",
)
T.expr("reduce a list", TY, alone(lambda t, d: d.all_reduce([1.0])), "list", "Tensor")
T.expr("source", V, alone(lambda t, d: d.broadcast(t.ones(1), src=5)), "5", "group", ours=True)
T.expr("no source", V, alone(lambda t, d: d.broadcast(t.ones(1))), "global_rank", "group_rank")
T.expr("gather into a tensor", TY, alone(lambda t, d: d.all_gather(t.ones(1), t.ones(1))), "List")
T.expr(
    "gather lengths", (R, V), alone(lambda t, d: d.all_gather([t.ones(1)] * 3, t.ones(1))), "3", "1"
)
T.expr("gather shapes", R, alone(lambda t, d: d.all_gather([t.ones(2)], t.ones(3))), "2", "3")
T.expr("gather dtypes", V, alone(lambda t, d: d.all_gather([t.ones(2).int()], t.ones(2))), "dtype")
T.expr(
    "group of strangers",
    V,
    alone(lambda t, d: d.new_group([0, 7])),
    "less or equal to the world size",
)
T.expr("group twice the rank", V, alone(lambda t, d: d.new_group([0, 0])), "duplicate", ours=True)
T.expr("bits of floats", R, alone(lambda t, d: d.all_reduce(t.ones(1), d.ReduceOp.BAND)), "integ")
T.expr(
    "meta tensor", R, alone(lambda t, d: d.all_reduce(t.ones(1, device="meta"))), "meta", ours=True
)
T.expr(
    "unknown group",
    (V, TY, AssertionError),
    alone(lambda t, d: d.all_reduce(t.ones(1), group=3)),
    "3",
    ours=True,
)
T.expr("p2p operator", V, alone(lambda t, d: d.P2POp(d.all_reduce, t.ones(1), 0)), "isend")
T.expr("send to oneself", V, alone(lambda t, d: d.send(t.ones(1), 0)), "destination rank")
T.expr(
    "after destroy", V, lambda t: alone(lambda t, d: None)(t) or t.distributed.get_rank(), "init"
)
T.expr("module without gradients", R, alone(lambda t, d: ddp(t, t.nn.ReLU())), "gradient")
T.expr(
    "DDP of a function",
    (R, TY, AttributeError),
    alone(lambda t, d: ddp(t, abs)),
    "builtin",
    ours=True,
)
T.expr("sampler rank", V, lambda t: sampler(t, num_replicas=2, rank=2), "2", "[0, 1]")
T.expr("negative sampler rank", V, lambda t: sampler(t, num_replicas=2, rank=-1), "-1", "[0, 1]")


# ---- ranks that differ: threads of this process ----------------------------------------------------------
def ranks(n, body):
    """The case of a function of (torch, rank) on n ranks."""

    def run(t):
        from distrib.testing.ranks import run_ranks

        return run_ranks(n, lambda rank: body(t, rank), timeout_s=20)

    return run


def differ(name, body, *said, n=2, kind=R):
    T.expr(name, kind, ranks(n, body), *said, ours=True)


differ(
    "shapes of ranks",
    lambda t, r: t.distributed.all_reduce(t.ones(2 + r)),
    "all_reduce",
    "[2]",
    "[3]",
)
differ(
    "dtypes of ranks",
    lambda t, r: t.distributed.all_reduce(t.ones(2).to(t.float64 if r else t.float32)),
    "float32",
    "float64",
)
differ(
    "operators of ranks",
    lambda t, r: t.distributed.all_reduce(
        t.ones(2), t.distributed.ReduceOp.MAX if r else t.distributed.ReduceOp.SUM
    ),
    "MAX",
    "SUM",
)
differ(
    "collectives of ranks",
    lambda t, r: t.distributed.barrier() if r else t.distributed.all_reduce(t.ones(1)),
    "barrier",
    "all_reduce",
)
differ(
    "roots of ranks",
    lambda t, r: t.distributed.broadcast(t.ones(1), src=r),
    "broadcast",
    "rank 0",
    "rank 1",
)
differ(
    "a rank that left",
    lambda t, r: r or t.distributed.all_reduce(t.ones(1)),
    "rank 1",
    "all_reduce",
)
differ(
    "models of ranks",
    lambda t, r: ddp(t, t.nn.Linear(2, 2 + r)),
    "weight",
    "[2, 2]",
    "[3, 2]",
)
differ(
    "numbers of parameters",
    lambda t, r: ddp(t, t.nn.Linear(2, 2, bias=r == 0)),
    "param",
    "1",
    "2",
)


@T.case(R, "rank 1", "barrier", "monitored", ours=True)
def a_rank_that_never_comes(t):
    from datetime import timedelta

    def body(t, rank):
        if rank == 0:
            t.distributed.monitored_barrier(timeout=timedelta(seconds=0.2))

    ranks(2, body)(t)


@T.case(ZeroDivisionError, "division", ours=True)
def the_first_error_is_the_one_that_is_raised(t):
    def body(t, rank):
        if rank:
            rank / 0
        t.distributed.barrier()

    ranks(3, body)(t)


@T.parametrize()
def test_misuse(case):
    check(case)


@T.parametrize(reference=True)
def test_as_torch(case):
    pytest.importorskip("torch")
    compare(case)
