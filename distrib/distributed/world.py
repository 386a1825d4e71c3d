"""Which world this process is in, and its default group: per process, or per thread rank."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from distrib import config, errors
from distrib.distributed.process_group import ProcessGroup

if TYPE_CHECKING:
    from distrib.distributed.threads import ThreadWorld

NOT_INITIALIZED = (
    "Default process group has not been initialized, please make sure to call init_process_group."
)

# Who started the ranks: (name, variable with their number, variable with this rank's number). A
# launcher inside a Slurm allocation sees Slurm's variables too, and variables of torchrun's may
# come from outside: the closest to the process comes first.
LAUNCHERS = (
    ("mpirun of Open MPI", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
    ("mpiexec", "PMI_SIZE", "PMI_RANK"),
    ("mpirun of MVAPICH", "MV2_COMM_WORLD_SIZE", "MV2_COMM_WORLD_RANK"),
    ("mpiexec of PALS", "PALS_NRANKS", "PALS_RANKID"),
    ("flux", "FLUX_JOB_SIZE", "FLUX_TASK_RANK"),
    ("jsrun", "JSM_NAMESPACE_SIZE", "JSM_NAMESPACE_RANK"),
    ("srun", "SLURM_STEP_NUM_TASKS", "SLURM_PROCID"),
    ("WORLD_SIZE", "WORLD_SIZE", "RANK"),
)


@dataclass(frozen=True)
class Promise:
    """What the environment says of the world: by whom, how many ranks, and which one this is."""

    source: str
    size: int
    rank: int


def promised(environ: Mapping[str, str]) -> Promise | None:
    """The world that a launcher announced in the environment, or None.

    >>> promised({"WORLD_SIZE": "2", "RANK": "1"})
    Promise(source='WORLD_SIZE', size=2, rank=1)
    """
    for source, size, rank in LAUNCHERS:
        text = environ.get(size, "")
        if text.isdigit() and int(text) > 0:
            number = environ.get(rank, "")
            return Promise(source, int(text), int(number) if number.isdigit() else 0)
    return None


def check_promise(promise: Promise | None, mpi_size: int) -> None:
    """Error when a launcher started several ranks and MPI sees each of them alone."""
    if promise is None or promise.size == mpi_size:
        return
    if promise.source == "srun":
        hint = "Start it with `srun --mpi=pmi2` (MPICH) or `srun --mpi=pmix` (Open MPI)."
    elif promise.source == "WORLD_SIZE":
        hint = "Start it with `distrib run --nproc-per-node N` or `mpiexec -n N python script.py`."
    else:
        hint = "The launcher belongs to another MPI than mpi4py's: use the mpiexec beside it."
    raise errors.CollectiveError(
        f"{promise.source} started {promise.size} ranks, but MPI sees a world of {mpi_size}",
        hint=hint,
    )


@dataclass
class State:
    """The groups of one rank."""

    default: ProcessGroup | None = None
    groups: list[ProcessGroup] = field(default_factory=list)
    num_made: int = 0
    thread_world: ThreadWorld | None = None
    thread_rank: int = 0
    exported: list[str] = field(default_factory=list)


_process = State()
_thread = threading.local()


def state() -> State:
    """This thread's state if it is a rank of a ThreadWorld, else the process's."""
    found: State | None = getattr(_thread, "state", None)
    return _process if found is None else found


def bind_thread(world: ThreadWorld | None, rank: int = 0) -> None:
    """Make the current thread a rank of ``world``; None undoes it."""
    _thread.state = None if world is None else State(thread_world=world, thread_rank=rank)


def default_group() -> ProcessGroup:
    """The default group; ValueError when there is none."""
    st = getattr(_thread, "state", None) or _process
    group = st.default
    if group is None:
        raise ValueError(NOT_INITIALIZED)
    return group


def seconds(timeout: timedelta | None) -> float:
    """A timeout argument in seconds; the default is DISTRIB_TIMEOUT_S."""
    if timeout is None:
        return float(config.get("DISTRIB_TIMEOUT_S"))
    if not isinstance(timeout, timedelta):
        raise TypeError(
            f"Expected timeout argument to be of type datetime.timedelta, got {timeout}"
        )
    return timeout.total_seconds()


def make_world(backend: str | None, name: str, timeout_s: float) -> ProcessGroup:
    """Open the world's group of a backend; None chooses by where this process was started."""
    st = state()
    if backend is None:
        if st.thread_world is not None:
            backend = "threads"
        else:
            promise = promised(os.environ)
            backend = "mpi" if promise is not None and promise.size > 1 else "single"
    if backend == "threads":
        from distrib.distributed.threads import ThreadWorld

        world = st.thread_world or ThreadWorld(1, timeout_s)
        return world.group(st.thread_rank, name)
    if backend == "mpi":
        from distrib.distributed.mpi import open_world

        return open_world(name, timeout_s)
    from distrib.distributed.single import SingleGroup

    return SingleGroup(name, timeout_s)


def export(st: State, values: Mapping[str, Any]) -> None:
    """Set torchrun's variables where they are absent, and remember to take them back."""
    for name, value in values.items():
        if name not in os.environ:
            os.environ[name] = str(value)
            st.exported.append(name)


def forget(st: State) -> None:
    """Undo ``init_process_group``."""
    for name in st.exported:
        os.environ.pop(name, None)
    st.exported.clear()
    st.default = None
    st.groups.clear()


def global_to_group(group: ProcessGroup, ranks: Sequence[int]) -> list[int]:
    """Group ranks of world ranks; ValueError for one that is not a member."""
    try:
        return [group.ranks.index(r) for r in ranks]
    except ValueError:
        raise ValueError(
            f"Global rank {list(ranks)} is not part of group {group.group_name}: {group.ranks}"
        ) from None
