"""Recorded environments of every launcher, and what each rank must conclude from its own."""

from __future__ import annotations

import pytest

from distrib.launcher.detect import SINGLE, World, detect, mismatch, per_node, stale

# What a rank of 3 (two on the first node, one on the second) sees under Slurm 22.05.
SRUN = {
    "SLURM_JOB_ID": "1",
    "SLURM_STEP_ID": "0",
    "SLURM_PROCID": "2",
    "SLURM_NTASKS": "3",
    "SLURM_NPROCS": "3",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "1",
    "SLURM_STEP_NUM_TASKS": "3",
    "SLURM_STEP_TASKS_PER_NODE": "2,1",
    "SLURM_TASKS_PER_NODE": "2,1",
    "SLURM_JOB_NUM_NODES": "2",
}
OPENMPI = {
    "OMPI_COMM_WORLD_LOCAL_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
    "OMPI_COMM_WORLD_NODE_RANK": "1",
    "OMPI_COMM_WORLD_RANK": "1",
    "OMPI_COMM_WORLD_SIZE": "2",
    "OMPI_UNIVERSE_SIZE": "2",
    "PMIX_RANK": "1",
    "PMIX_NAMESPACE": "prterun-host-22011@1",
    "PRTE_LAUNCHED": "1",
}
HYDRA = {
    "PMI_RANK": "2",
    "PMI_SIZE": "3",
    "PMI_FD": "9",
    "PMI_HOSTNAME": "host",
    "MPI_LOCALRANKID": "0",
    "MPI_LOCALNRANKS": "1",
}
# Hydra starts one proxy on each node through srun; its variables surround the ranks' own.
HYDRA_IN_SLURM = HYDRA | {
    "SLURM_JOB_ID": "3",
    "SLURM_STEP_ID": "0",
    "SLURM_PROCID": "1",
    "SLURM_NTASKS": "2",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "1",
    "SLURM_STEP_NUM_TASKS": "2",
    "SLURM_STEP_TASKS_PER_NODE": "1(x2)",
}
TORCHRUN = {
    "RANK": "5",
    "WORLD_SIZE": "8",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "4",
    "GROUP_RANK": "1",
    "MASTER_ADDR": "node0",
    "MASTER_PORT": "29500",
}
BATCH = {
    "SLURM_JOB_ID": "3",
    "SLURM_PROCID": "0",
    "SLURM_NTASKS": "3",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "0",
    "SLURM_TASKS_PER_NODE": "2,1",
}
SALLOC = {"SLURM_JOB_ID": "4", "SLURM_NTASKS": "3", "SLURM_TASKS_PER_NODE": "2,1"}

RECORDED = {
    "alone": ({"PATH": "/bin"}, SINGLE),
    "torchrun": (TORCHRUN, World(5, 8, 1, 4, "torchrun", 1)),
    "open mpi": (OPENMPI, World(1, 2, 1, 2, "openmpi")),
    "mpich": (HYDRA, World(2, 3, 0, 1, "mpich")),
    "mpich in a slurm job": (HYDRA_IN_SLURM, World(2, 3, 0, 1, "mpich", 1)),
    "open mpi in a slurm job": (SRUN | OPENMPI, World(1, 2, 1, 2, "openmpi")),
    "torchrun in a slurm job": (SRUN | TORCHRUN, World(5, 8, 1, 4, "torchrun", 1)),
    "srun": (SRUN, World(2, 3, 0, 1, "slurm", 1)),
    "srun pmi2": (
        SRUN | {"PMI_RANK": "2", "PMI_SIZE": "3", "SLURM_MPI_TYPE": "pmi2"},
        World(2, 3, 0, 1, "mpich", 1),
    ),
    "srun pmix": (SRUN | {"PMIX_RANK": "2"}, World(2, 3, 0, 1, "pmix", 1)),
    "batch script": (BATCH, SINGLE),
    "salloc shell": (SALLOC, SINGLE),
    "mvapich": (
        {
            "MV2_COMM_WORLD_RANK": "1",
            "MV2_COMM_WORLD_SIZE": "4",
            "MV2_COMM_WORLD_LOCAL_RANK": "1",
            "MV2_COMM_WORLD_LOCAL_SIZE": "2",
        },
        World(1, 4, 1, 2, "mvapich"),
    ),
    "flux": (
        {"FLUX_TASK_RANK": "1", "FLUX_JOB_SIZE": "2", "FLUX_TASK_LOCAL_ID": "0"},
        World(1, 2, 0, 2, "flux"),
    ),
    "jsrun": (
        {
            "JSM_NAMESPACE_RANK": "3",
            "JSM_NAMESPACE_SIZE": "4",
            "JSM_NAMESPACE_LOCAL_RANK": "1",
            "JSM_NAMESPACE_LOCAL_SIZE": "2",
        },
        World(3, 4, 1, 2, "lsf"),
    ),
    "half of torchrun": ({"RANK": "1"}, SINGLE),
    "empty values": ({"RANK": "", "WORLD_SIZE": ""}, SINGLE),
}


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_environments(name: str) -> None:
    environ, world = RECORDED[name]
    assert detect(environ) == world


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"RANK": "x", "WORLD_SIZE": "2"}, "RANK='x'"),
        ({"RANK": "2", "WORLD_SIZE": "2"}, "below the number"),
        ({"PMI_RANK": "-1", "PMI_SIZE": "2"}, "from 0 up"),
        (SRUN | {"SLURM_STEP_TASKS_PER_NODE": "two"}, "2\\(x3\\),1"),
    ],
)
def test_contradictions_are_errors(environ: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        detect(environ)


def test_tasks_per_node() -> None:
    assert per_node("4") == [4]
    assert per_node("2(x2),1(x3)") == [2, 2, 1, 1, 1]


MPICH_5, OPEN_MPI_5 = "MPICH Version:      5.0.2", "Open MPI v5.0.11, package: x"


@pytest.mark.parametrize(
    ("environ", "library", "words"),
    [
        (SRUN, MPICH_5, ["slurm started 3", "MPI sees 1", "--mpi=pmi2"]),
        (SRUN, OPEN_MPI_5, ["--mpi=pmix"]),
        (SRUN | {"PMI_RANK": "2", "PMI_SIZE": "3"}, OPEN_MPI_5, ["--mpi=pmix"]),
        (SRUN | {"SLURM_MPI_TYPE": "none"}, "?", ["--mpi=none", "pmi2", "pmix"]),
        (HYDRA, OPEN_MPI_5, ["mpich started 3", "MPI4PY_MPIABI"]),
    ],
)
def test_promise_and_reality(environ: dict[str, str], library: str, words: list[str]) -> None:
    text = mismatch(environ, 1, library)
    assert text is not None
    assert all(word in text for word in words), text


def test_kept_promises() -> None:
    assert mismatch(SRUN, 3, MPICH_5) is None
    assert mismatch({}, 1, MPICH_5) is None
    assert mismatch(BATCH, 1, MPICH_5) is None


def test_stale_variables_of_another_launch() -> None:
    assert stale(HYDRA | {"HOME": "/", "RANK": "1", "OMPI_MCA_pml": "ob1"}) == sorted(
        [*HYDRA, "RANK"]
    )
