"""Plans: options, environment and machine in; ranks, command and environment out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from distrib.launcher.detect import World
from distrib.launcher.machine import classify
from distrib.launcher.plan import (
    Machine,
    Mpi,
    Options,
    Plan,
    PlanError,
    apply_environment,
    make_plan,
    parse_streams,
    rank_environment,
)
from distrib.launcher.run import read_hostfile

MPICH = Mpi("/env/bin/mpiexec", "mpich", 5)
OPENMPI_5 = Mpi("/env/bin/mpiexec", "openmpi", 5)
OPENMPI_4 = Mpi("/usr/bin/mpiexec", "openmpi", 4)
MACHINE = Machine(8, 0, False, "here", "/env/bin/python", "/lib/boot.py", MPICH)
TAIL = ["/env/bin/python", "/lib/boot.py", "rank", "script", "train.py", "--lr", "1"]


def plan(
    nproc: str = "4",
    *,
    machine: Machine = MACHINE,
    environ: dict[str, str] | None = None,
    **options: object,
) -> Plan:
    chosen = Options("train.py", ("--lr", "1"), nproc=nproc)
    chosen = replace(chosen, **options)
    return make_plan(chosen, environ or {}, machine, run_id="j", port=1234)


def test_mpich_on_one_node() -> None:
    made = plan()
    head = ["/env/bin/mpiexec", "-launcher", "fork", "-rmk", "user", "-n", "4"]
    assert list(made.command) == head + TAIL
    assert [(r.rank, r.local_rank, r.host) for r in made.ranks][3] == (3, 3, "here")
    assert made.is_local
    assert made.environment["MASTER_ADDR"] == "127.0.0.1"
    assert made.environment["MASTER_PORT"] == "1234"


@pytest.mark.parametrize(
    ("mpi", "is_root", "cores", "expected"),
    [
        (OPENMPI_5, False, 8, "--bind-to none --host localhost:4 -n 4"),
        (OPENMPI_5, True, 8, "--allow-run-as-root --bind-to none --host localhost:4 -n 4"),
        (OPENMPI_5, False, 2, "--bind-to none --host localhost:4 --oversubscribe -n 4"),
        (OPENMPI_4, False, 8, "--bind-to none --host localhost:4 --mca plm isolated -n 4"),
    ],
)
def test_openmpi_on_one_node(mpi: Mpi, is_root: bool, cores: int, expected: str) -> None:
    made = plan(machine=replace(MACHINE, mpi=mpi, is_root=is_root, cores=cores))
    assert list(made.command) == [mpi.path, *expected.split(), *TAIL]
    assert ("OMPI_MCA_btl" in made.environment) == (mpi.version == 5)


def test_one_rank_needs_no_mpi() -> None:
    made = plan("1", machine=replace(MACHINE, mpi=None))
    assert list(made.command) == TAIL
    assert made.environment["RANK"] == "0"
    assert made.environment["WORLD_SIZE"] == "1"
    assert "OMP_NUM_THREADS" not in made.environment


def test_hosts() -> None:
    made = plan("2", hosts="a:2,b")
    assert "-hosts a:2,b:2 -n 4" in " ".join(made.command)
    assert [(r.rank, r.local_rank, r.node_rank, r.host) for r in made.ranks] == [
        (0, 0, 0, "a"),
        (1, 1, 0, "a"),
        (2, 0, 1, "b"),
        (3, 1, 1, "b"),
    ]
    assert not made.is_local
    assert made.environment["MASTER_ADDR"] == "a"
    made = plan("2", hosts="a:2,b:1", machine=replace(MACHINE, mpi=OPENMPI_5))
    words = " ".join(made.command)
    assert "--host a:2,b:1" in words
    assert "-x MASTER_ADDR" in words


def test_nodes_of_a_slurm_allocation() -> None:
    environ = {"SLURM_JOB_ID": "7"}
    assert "-ppn 2 -n 4" in " ".join(plan("2", nnodes="2", environ=environ).command)
    made = plan("2", nnodes="2", environ=environ, machine=replace(MACHINE, mpi=OPENMPI_5))
    assert "--map-by ppr:2:node" in " ".join(made.command)


def test_threads_share_the_cores() -> None:
    assert plan("4").environment["OMP_NUM_THREADS"] == "2"
    assert plan("16").environment["OMP_NUM_THREADS"] == "1"
    assert "OMP_NUM_THREADS" not in plan("4", environ={"OMP_NUM_THREADS": "3"}).environment
    assert plan("16").notes != ()


@pytest.mark.parametrize(
    ("text", "num_gpus", "expected"), [("auto", 0, 8), ("auto", 2, 2), ("cpu", 2, 8), ("gpu", 2, 2)]
)
def test_number_of_ranks(text: str, num_gpus: int, expected: int) -> None:
    assert len(plan(text, machine=replace(MACHINE, num_gpus=num_gpus)).ranks) == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"nproc": "0"}, "from 1 up"),
        ({"nproc": "-2"}, "from 1 up"),
        ({"nproc": "gpu"}, "no GPU"),
        ({"nnodes": "2"}, "-H host1:4"),
        ({"nnodes": "2:1"}, "MIN is above MAX"),
        ({"nnodes": "1:2"}, "range"),
        ({"nnodes": "0"}, "from 1 up"),
        ({"node_rank": 1}, "start the job once"),
        ({"hosts": "a b:2"}, "host:ranks"),
        ({"machine": replace(MACHINE, mpi=None)}, "distrib\\[mpich\\]"),
    ],
)
def test_plans_that_cannot_be(options: dict[str, object], message: str) -> None:
    with pytest.raises(PlanError, match=message):
        plan(**options)


def test_variables_of_another_launch_do_not_reach_the_ranks() -> None:
    environ = {"RANK": "3", "PMI_RANK": "3", "HOME": "/home"}
    made = plan(environ=environ)
    assert apply_environment(environ, made).keys() >= {"HOME", "MASTER_PORT"}
    assert not apply_environment(environ, made).keys() & {"RANK", "PMI_RANK"}


def test_rank_environment() -> None:
    found = rank_environment(World(5, 8, 1, 4, "mpich", 1))
    assert found["RANK"] == found["ROLE_RANK"] == "5"
    assert (found["LOCAL_RANK"], found["GROUP_RANK"], found["GROUP_WORLD_SIZE"]) == ("1", "1", "2")


def test_streams() -> None:
    assert parse_streams("3", "--tee") == {-1: 3}
    assert parse_streams("0:1,1:2", "--tee") == {0: 1, 1: 2}
    with pytest.raises(PlanError, match="--tee 4"):
        parse_streams("4", "--tee")


def test_hostfile() -> None:
    assert read_hostfile("# cluster\na slots=2\n\nb:3 # new\nc\n") == "a:2,b:3,c"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("HYDRA build details:\n    Version:            5.0.2\n", ("mpich", 5)),
        ("mpiexec (OpenRTE) 4.1.4\n\nReport bugs to", ("openmpi", 4)),
        ("mpiexec (Open MPI) 5.0.11\n", ("openmpi", 5)),
        ("Intel(R) MPI Library for Linux* OS, Version 2021.9 Build", ("intel", 2021)),
        ("usage: something else", ("unknown", 0)),
    ],
)
def test_flavours(text: str, expected: tuple[str, int]) -> None:
    assert classify(text) == expected
