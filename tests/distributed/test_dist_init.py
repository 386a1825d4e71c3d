"""init_process_group: backends, errors, the environment, and ranks as threads."""

import os
import subprocess
import sys
import threading
from datetime import timedelta

import numpy as np
import pytest
from dist_box import Box

import distrib.distributed as dist
from distrib import config, errors
from distrib.distributed.world import Promise, check_promise, promised
from distrib.testing.ranks import run_ranks

NOT_INITIALIZED = "Default process group has not been initialized, please make sure to call"


@pytest.mark.parametrize(
    "call",
    [
        dist.get_rank,
        dist.get_world_size,
        dist.get_backend,
        dist.barrier,
        dist.new_group,
        dist.destroy_process_group,
        dist.monitored_barrier,
        lambda: dist.all_reduce(Box(np.zeros(1))),
        lambda: dist.broadcast_object_list([1]),
        lambda: dist.send(Box(np.zeros(1)), 1),
    ],
)
def test_nothing_works_before_init(call):
    assert not dist.is_initialized()
    with pytest.raises(ValueError, match=NOT_INITIALIZED):
        call()


@pytest.mark.parametrize(
    ("kwargs", "kind", "text"),
    [
        ({"backend": "foo"}, ValueError, "'foo': expected one of mpi, single, threads"),
        ({"backend": "gloo"}, RuntimeError, "GLOO built in; backends are mpi, single, threads"),
        ({"backend": "cpu:gloo,cuda:nccl"}, ValueError, "Unknown backend type"),
        ({"backend": "nccl"}, RuntimeError, "NCCL built in"),
        ({"backend": 3}, ValueError, "string-ish"),
        ({"backend": "single", "timeout": 3}, TypeError, "datetime.timedelta, got 3"),
        (
            {"backend": "single", "world_size": 2},
            ValueError,
            "world_size=2, but the single world has 1",
        ),
        ({"backend": "single", "rank": 1}, ValueError, "rank=1"),
    ],
)
def test_wrong_arguments(kwargs, kind, text):
    with pytest.raises(kind, match=text):
        dist.init_process_group(**kwargs)
    assert not dist.is_initialized()


def test_single_is_the_default_and_can_be_repeated(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for _ in range(2):
        dist.init_process_group(timeout=timedelta(seconds=5))
        assert (dist.get_backend(), dist.get_rank(), dist.get_world_size()) == ("single", 0, 1)
        assert (os.environ["RANK"], os.environ["LOCAL_RANK"]) == ("0", "0")
        assert dist.get_node_local_rank() == 0
        assert dist.group.WORLD.timeout_s == 5
        dist.destroy_process_group()
        assert "RANK" not in os.environ
        assert dist.group.WORLD is None


def test_options_that_mpi_makes_needless_warn():
    with pytest.warns(UserWarning, match="init_method and store are not used"):
        dist.init_process_group("single", init_method="tcp://localhost:1")
    dist.destroy_process_group()


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        ({"WORLD_SIZE": "4", "RANK": "2"}, Promise("WORLD_SIZE", 4, 2)),
        ({"PMI_SIZE": "2", "PMI_RANK": "1", "WORLD_SIZE": "1"}, Promise("mpiexec", 2, 1)),
        (
            {"OMPI_COMM_WORLD_SIZE": "8", "OMPI_COMM_WORLD_RANK": "7", "SLURM_STEP_NUM_TASKS": "1"},
            Promise("mpirun of Open MPI", 8, 7),
        ),
        ({"SLURM_STEP_NUM_TASKS": "3", "SLURM_PROCID": "1"}, Promise("srun", 3, 1)),
        ({"SLURM_NTASKS": "3", "SLURM_PROCID": "0"}, None),  # a batch script, which is one process
        ({"WORLD_SIZE": "many"}, None),
    ],
)
def test_what_the_environment_promises(environ, expected):
    assert promised(environ) == expected


def test_a_world_of_one_that_should_be_many_is_an_error():
    check_promise(None, 1)
    check_promise(Promise("srun", 2, 0), 2)
    with pytest.raises(errors.CollectiveError, match=r"srun started 2 ranks.*--mpi=pmi2"):
        check_promise(Promise("srun", 2, 0), 1)
    with pytest.raises(errors.CollectiveError, match="distrib run"):
        check_promise(Promise("WORLD_SIZE", 2, 0), 1)


def test_thread_ranks_have_their_own_world():
    def body(rank):
        assert dist.is_initialized()
        with pytest.raises(ValueError, match="twice"):
            dist.init_process_group()
        return dist.get_backend(), rank == dist.get_rank()

    assert run_ranks(3, body) == [("threads", True)] * 3
    assert not dist.is_initialized()


def test_a_script_that_initializes_itself_runs_on_threads():
    def body(rank):
        assert not dist.is_initialized()
        dist.init_process_group()
        t = Box(np.ones(2))
        dist.all_reduce(t)
        dist.barrier()
        dist.destroy_process_group()
        return t._a[0]

    assert run_ranks(2, body, init=False) == [2, 2]


def raises(rank):
    if rank == 1:
        raise KeyError("boo")
    dist.barrier()


def ends(rank):
    if rank == 1:
        dist.barrier()


def shapes(rank):
    dist.all_reduce(Box(np.zeros(3 + rank, "f4")))


def dtypes(rank):
    dist.all_reduce(Box(np.zeros(3, "f4" if rank else "f8")))


def kinds(rank):
    if rank:
        dist.barrier()
    else:
        dist.all_reduce(Box(np.zeros(3, "f4")))


def ops(rank):
    dist.all_reduce(Box(np.zeros(3)), dist.ReduceOp.MAX if rank else dist.ReduceOp.SUM)


def roots(rank):
    dist.broadcast(Box(np.zeros(3)), rank)


def names(rank):
    dist.group.WORLD.all_reduce(np.zeros(3), name=f"layer{rank}")


def groups(rank):
    dist.new_group([0, 1] if rank else [0])
    dist.barrier()


@pytest.mark.parametrize(
    ("body", "kind", "text"),
    [
        (raises, KeyError, "boo"),
        (ends, errors.CollectiveError, r"rank 0 .* while rank 1 waits in barrier #0"),
        (
            shapes,
            errors.CollectiveError,
            r"rank 0 called all_reduce #0 SUM torch.float32 \[3\].*\[4\]",
        ),
        (
            dtypes,
            errors.CollectiveError,
            r"float64 \[3\].*rank 1 called all_reduce #0 SUM torch.float32",
        ),
        (kinds, errors.CollectiveError, r"rank 0 called all_reduce.*rank 1 called barrier"),
        (ops, errors.CollectiveError, r"SUM.*MAX"),
        (roots, errors.CollectiveError, r"rank 0.*rank 1"),
        (names, errors.CollectiveError, r"'layer0'.*'layer1'"),
        (groups, errors.CollectiveError, r"'new_group \[0\]'.*'new_group \[0, 1\]'"),
    ],
)
def test_one_bad_thread_rank_ends_all(body, kind, text):
    def in_order(rank):  # so that rank 0's call is always the first
        if rank:
            threading.Event().wait(0.02)
        body(rank)

    with pytest.raises(kind, match=text) as caught:
        run_ranks(2, in_order, timeout_s=10)
    assert "of 2" in caught.value.__notes__[0]


def test_a_stuck_rank_times_out_with_its_stack():
    release = threading.Event()

    def stuck_here(rank):
        if rank == 1:
            release.wait(10)

    try:
        with pytest.raises(TimeoutError, match=r"(?s)rank 1:.*stuck_here"):
            run_ranks(2, stuck_here, timeout_s=0.1)
    finally:
        release.set()


def test_collective_timeout_names_the_call():
    def body(rank):
        if rank == 1:
            threading.Event().wait(0.5)
        else:
            work = dist.barrier(async_op=True)
            with pytest.raises(
                errors.CollectiveError, match=r"rank 0 waited too long in barrier #0 .* for rank 1"
            ):
                work.wait(timedelta(seconds=0.05))

    run_ranks(2, body, timeout_s=5)


def test_import_is_light():
    heavy = {"mpi4py", "zmq", "rich", "multiprocessing"}
    code = f"import sys, distrib.distributed; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_settings_are_listed():
    assert config.get("DISTRIB_TIMEOUT_S") == dist.default_pg_timeout.total_seconds()
