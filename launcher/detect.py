"""Which world am I in: one table of launcher conventions, read from the environment alone.

A convention names the variables that a launcher gives to its ranks. The first one that is whole
decides: torchrun's (which ``distrib run`` exports too), then the MPI libraries, then PMIx and the
schedulers. MPI comes before Slurm because ``mpiexec`` inside a Slurm job must win over the
variables of the allocation around it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class World:
    """One rank's place in the job; ``node_rank`` is 0 where the launcher does not tell it."""

    rank: int
    world_size: int
    local_rank: int
    local_world_size: int
    launcher: str
    node_rank: int = 0


@dataclass(frozen=True, slots=True)
class Convention:
    """Names of one launcher's variables; of several for a value the first that is set counts."""

    launcher: str
    rank: str
    world_size: tuple[str, ...]
    local_rank: tuple[str, ...] = ()
    local_world_size: tuple[str, ...] = ()
    node_rank: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()


_SLURM_TASKS = ("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS", "SLURM_NPROCS")
_SLURM_PER_NODE = ("SLURM_STEP_TASKS_PER_NODE", "SLURM_TASKS_PER_NODE")

CONVENTIONS: tuple[Convention, ...] = (
    Convention(
        "torchrun",
        "RANK",
        ("WORLD_SIZE",),
        ("LOCAL_RANK",),
        ("LOCAL_WORLD_SIZE",),
        ("GROUP_RANK", "NODE_RANK"),
    ),
    Convention(
        "openmpi",
        "OMPI_COMM_WORLD_RANK",
        ("OMPI_COMM_WORLD_SIZE",),
        ("OMPI_COMM_WORLD_LOCAL_RANK",),
        ("OMPI_COMM_WORLD_LOCAL_SIZE",),
    ),
    Convention(
        "mvapich",
        "MV2_COMM_WORLD_RANK",
        ("MV2_COMM_WORLD_SIZE",),
        ("MV2_COMM_WORLD_LOCAL_RANK",),
        ("MV2_COMM_WORLD_LOCAL_SIZE",),
    ),
    # MPICH and Intel MPI under mpiexec, and anything under srun --mpi=pmi2.
    Convention(
        "mpich",
        "PMI_RANK",
        ("PMI_SIZE",),
        ("MPI_LOCALRANKID", "SLURM_LOCALID", "PALS_LOCAL_RANKID"),
        ("MPI_LOCALNRANKS", *_SLURM_PER_NODE),
        ("SLURM_NODEID", "PALS_NODEID"),
    ),
    # PMIx tells a process its rank but not the size: srun --mpi=pmix gives that.
    Convention(
        "pmix",
        "PMIX_RANK",
        _SLURM_TASKS,
        ("SLURM_LOCALID",),
        _SLURM_PER_NODE,
        ("SLURM_NODEID",),
        ("SLURM_STEP_ID",),
    ),
    Convention("flux", "FLUX_TASK_RANK", ("FLUX_JOB_SIZE",), ("FLUX_TASK_LOCAL_ID",)),
    Convention(
        "lsf",
        "JSM_NAMESPACE_RANK",
        ("JSM_NAMESPACE_SIZE",),
        ("JSM_NAMESPACE_LOCAL_RANK",),
        ("JSM_NAMESPACE_LOCAL_SIZE",),
    ),
    # SLURM_PROCID alone leaks into batch scripts and salloc shells; only srun sets a step id.
    Convention(
        "slurm",
        "SLURM_PROCID",
        _SLURM_TASKS,
        ("SLURM_LOCALID",),
        _SLURM_PER_NODE,
        ("SLURM_NODEID",),
        ("SLURM_STEP_ID",),
    ),
)

SINGLE = World(0, 1, 0, 1, "single")

RANK_VARIABLES: tuple[str, ...] = (
    "RANK",
    "WORLD_SIZE",
    "LOCAL_RANK",
    "LOCAL_WORLD_SIZE",
    "GROUP_RANK",
    "GROUP_WORLD_SIZE",
    "NODE_RANK",
    "ROLE_RANK",
    "ROLE_WORLD_SIZE",
)
_LEAKY_PREFIXES = ("PMI_", "PMIX_", "OMPI_COMM_WORLD_", "MV2_COMM_WORLD_", "MPI_LOCAL", "PRTE_")


def stale(environ: Mapping[str, str]) -> list[str]:
    """Names of variables that describe another launch and must not reach the ranks of a new one."""
    return sorted(
        name
        for name in environ
        # Settings (PRTE_MCA_..., PMIX_MCA_...) are the user's and stay.
        if name in RANK_VARIABLES or (name.startswith(_LEAKY_PREFIXES) and "_MCA_" not in name)
    )


def _integer(environ: Mapping[str, str], name: str) -> int:
    try:
        value = int(environ[name])
    except ValueError:
        raise ValueError(f"{name}={environ[name]!r}: expected a whole number") from None
    if value < 0:
        raise ValueError(f"{name}={value}: expected a number from 0 up")
    return value


def per_node(text: str) -> list[int]:
    """Expand Slurm's tasks per node: ``2(x3),1`` is 2, 2, 2, 1.

    >>> per_node("2(x3),1")
    [2, 2, 2, 1]
    """
    counts: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:\(x(\d+)\))?\s*", part)
        if match is None:
            raise ValueError(f"tasks per node {text!r}: expected something like 2(x3),1")
        counts += [int(match[1])] * int(match[2] or 1)
    return counts


def _first(environ: Mapping[str, str], names: tuple[str, ...]) -> str | None:
    return next((name for name in names if environ.get(name, "") != ""), None)


def _read(convention: Convention, environ: Mapping[str, str]) -> World | None:
    required = (convention.rank, *convention.needs)
    if any(environ.get(name, "") == "" for name in required):
        return None
    size_name = _first(environ, convention.world_size)
    if size_name is None:
        return None
    rank, world_size = _integer(environ, convention.rank), _integer(environ, size_name)
    if rank >= world_size:
        raise ValueError(
            f"{convention.rank}={rank} and {size_name}={world_size}: "
            "the rank must be below the number of ranks"
        )
    local_name = _first(environ, convention.local_rank)
    count_name = _first(environ, convention.local_world_size)
    node_name = _first(environ, convention.node_rank)
    node_rank = _integer(environ, node_name) if node_name else 0
    local_rank = _integer(environ, local_name) if local_name else rank
    if count_name is None:
        local_world_size = world_size
    elif count_name in _SLURM_PER_NODE:
        counts = per_node(environ[count_name])
        local_world_size = counts[node_rank] if node_rank < len(counts) else world_size
    else:
        local_world_size = _integer(environ, count_name)
    return World(rank, world_size, local_rank, local_world_size, convention.launcher, node_rank)


def detect(environ: Mapping[str, str]) -> World:
    """Return this process's place in the job; a process on its own is rank 0 of 1.

    >>> detect({"PMI_RANK": "1", "PMI_SIZE": "4", "MPI_LOCALRANKID": "1"}).rank
    1
    """
    for convention in CONVENTIONS:
        world = _read(convention, environ)
        if world is not None:
            return world
    return SINGLE


def detect_mpi(environ: Mapping[str, str]) -> World:
    """As `detect`, without torchrun's variables: what the MPI launcher itself said."""
    return detect({name: value for name, value in environ.items() if name not in RANK_VARIABLES})


_SRUN_CHOICE = {
    "mpich": "pmi2",
    "intel": "pmi2",
    "mvapich": "pmi2",
    "open mpi": "pmix",
    "openmpi": "pmix",
}


def mismatch(environ: Mapping[str, str], mpi_size: int, mpi_library: str) -> str | None:
    """Return what is wrong when a launcher promised N ranks and MPI sees another number, else None.

    ``mpi_library`` is the MPI's own version string; it decides which ``srun --mpi=`` is named.
    """
    world = detect(environ)
    if world.world_size == mpi_size:
        return None
    library = mpi_library.lower()
    known = next((choice for key, choice in _SRUN_CHOICE.items() if key in library), None)
    facts = f"{world.launcher} started {world.world_size} ranks, but MPI sees {mpi_size}"
    if environ.get("SLURM_STEP_ID", "") != "" and world.launcher in ("slurm", "pmix", "mpich"):
        used = environ.get("SLURM_MPI_TYPE", "the default")
        right = f"--mpi={known}" if known else "--mpi=pmi2 (MPICH) or --mpi=pmix (Open MPI)"
        name = mpi_library.split("\n")[0].strip()[:60] or "this MPI"
        return (
            f"{facts}: each would train alone. srun was run with --mpi={used}; "
            f"{name} needs srun {right}"
        )
    return (
        f"{facts}: mpi4py loads another MPI than the one whose mpiexec started this job. "
        "`distrib doctor` shows both; MPI4PY_MPIABI=mpich or openmpi chooses"
    )
