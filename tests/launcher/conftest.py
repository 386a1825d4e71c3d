"""Fixtures: a job that must leave nothing behind, the MPI of this environment, rank scripts."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from launch_jobs import Job

from distrib.launcher import machine


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Job]:
    """A job; at the end nothing of it may be left."""
    job = Job(tmp_path)
    yield job
    job.check_nothing_left()


@pytest.fixture(scope="session")
def mpi() -> str:
    """The flavour of the MPI that starts the ranks; without one several ranks cannot be tested."""
    found = machine.find_mpi("auto", os.environ)
    if found is None:
        pytest.fail("no mpiexec in this environment: pip install 'distrib[mpich]'")
    return found.flavour


@pytest.fixture
def make_script(job: Job) -> Callable[[str], str]:
    """Write a script that starts with a joined world of ranks: ``c``, ``r`` and ``x``."""

    def make(body: str) -> str:
        head = (
            "import os, signal, sys, time\n"
            "from mpi4py import MPI\n"
            "c = MPI.COMM_WORLD; r = c.rank\n"
            "assert c.size == int(os.environ['WORLD_SIZE'])\n"
            "assert r == int(os.environ['RANK'])\n"
            "c.Barrier()\n"
        )
        return job.script(head + body)

    return make
