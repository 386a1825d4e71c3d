"""The world that a distributed test runs in: one process, thread ranks, or MPI ranks.

A test takes ``world`` and calls ``world(fn)`` with a function of the rank, which is valid for any
number of ranks. Under ``mpiexec -n N python -m pytest --with-mpi`` only those tests are run, each
once, on MPI.
"""

import os

import pytest

import distrib.distributed as dist
from distrib.distributed.world import promised
from distrib.testing.ranks import run_ranks

_PROMISE = promised(os.environ)
UNDER_MPI = _PROMISE is not None and _PROMISE.size > 1
WORLDS = ["mpi"] if UNDER_MPI else ["single", "threads2", "threads3", "threads4"]


def _single(fn):
    dist.init_process_group("single")
    try:
        return [fn(0)]
    finally:
        dist.destroy_process_group()


def _mpi(fn):
    dist.barrier()
    return [fn(dist.get_rank())]


@pytest.fixture(scope="session", autouse=True)
def _mpi_world():
    """Under MPI there is one world for the whole session."""
    if UNDER_MPI:
        dist.init_process_group("mpi")
    yield
    if UNDER_MPI:
        dist.destroy_process_group()


@pytest.fixture(params=WORLDS)
def world(request):
    """Run ``fn(rank)`` on every rank of a world; returns the results of this process."""
    name = request.param
    if name == "mpi":
        return _mpi
    if name == "single":
        return _single
    return lambda fn: run_ranks(int(name.removeprefix("threads")), fn)


def pytest_collection_modifyitems(config, items):
    """Under MPI every rank runs the tests: leave out those that are about one process."""
    if UNDER_MPI:
        here = os.path.dirname(__file__)
        keep = [i for i in items if "world" in i.fixturenames or not str(i.path).startswith(here)]
        config.hook.pytest_deselected(items=[i for i in items if i not in keep])
        items[:] = keep
