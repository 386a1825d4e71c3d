"""Starting and ending the process group, and asking about it: torch.distributed's functions."""

from __future__ import annotations

import importlib.util
import os
import warnings
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from distrib import config
from distrib.distributed import world
from distrib.distributed.process_group import ProcessGroup
from distrib.distributed.wire import ReduceOp

NON_GROUP_MEMBER = -100  # PyTorch's stand-in for a group that this rank is not in
Group = ProcessGroup | int | None

default_pg_timeout = timedelta(seconds=config.VARIABLES["DISTRIB_TIMEOUT_S"].default)


class Backend(str):
    """A backend's name, in lower case.

    >>> Backend("MPI") == Backend.MPI
    True
    """

    UNDEFINED = "undefined"
    MPI = "mpi"
    SINGLE = "single"
    THREADS = "threads"
    GLOO = "gloo"
    NCCL = "nccl"
    backend_list = [UNDEFINED, MPI, SINGLE, THREADS]

    def __new__(cls, name: str) -> Backend:
        """Lower the case; ValueError for what is no string."""
        if not isinstance(name, str):
            raise ValueError("Backend constructor parameter must be string-ish")
        return super().__new__(cls, name.lower())


class _GroupMeta(type):
    @property
    def WORLD(cls) -> ProcessGroup | None:
        """The default group, None before init_process_group."""
        return world.state().default


class group(metaclass=_GroupMeta):
    """``group.WORLD`` is the default group."""


class GroupMember(metaclass=_GroupMeta):
    """``GroupMember.WORLD``, and what new_group returns to ranks that are not in the new group."""

    NON_GROUP_MEMBER = NON_GROUP_MEMBER


def is_available() -> bool:
    """Always True: a world of one needs nothing."""
    return True


def is_mpi_available() -> bool:
    """Whether mpi4py is installed; the MPI library itself is looked for by init_process_group."""
    return importlib.util.find_spec("mpi4py") is not None


def is_nccl_available() -> bool:
    """Whether the NCCL backend is there."""
    return False


def is_gloo_available() -> bool:
    """False: MPI takes the place of Gloo."""
    return False


def is_backend_available(backend: str) -> bool:
    """Whether init_process_group takes this backend here."""
    name = Backend(backend)
    return is_mpi_available() if name == Backend.MPI else name in (Backend.SINGLE, Backend.THREADS)


def is_torchelastic_launched() -> bool:
    """Whether a torchrun-like launcher started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def is_initialized() -> bool:
    """Whether init_process_group was called (by this thread, for ranks that are threads)."""
    return world.state().default is not None


def _backend_name(backend: str | None) -> str | None:
    """Check a backend argument; "cpu:mpi,cuda:mpi" names it per device type."""
    if backend is None:
        return None
    names = {part.split(":")[-1] for part in Backend(backend).split(",")}
    name = names.pop() if len(names) == 1 else str(backend)
    usable = "mpi, single, threads"
    if name in (Backend.GLOO, Backend.NCCL, "ucc", "xccl"):
        raise RuntimeError(
            f"Distributed package doesn't have {name.upper()} built in; backends are {usable}. "
            "Leave the argument out: ranks started by a launcher use mpi, one process uses single"
        )
    if name not in (Backend.MPI, Backend.SINGLE, Backend.THREADS):
        raise ValueError(f"Unknown backend type {name!r}: expected one of {usable}")
    return name


def init_process_group(
    backend: str | None = None,
    init_method: str | None = None,
    timeout: timedelta | None = None,
    world_size: int = -1,
    rank: int = -1,
    store: Any = None,
    group_name: str = "",
    pg_options: Any = None,
    device_id: Any = None,
    _ranks: list[int] | None = None,
) -> None:
    """Open the default group of all ranks that the launcher started, or of this process alone.

    Backends are ``mpi``, ``single`` and ``threads``; without one, ranks started by a launcher use
    ``mpi``. MPI does the rendezvous: ``init_method`` and ``store`` are not needed and warn,
    ``world_size`` and ``rank`` are compared with what MPI says. Sets torchrun's variables (RANK,
    LOCAL_RANK, ...) if absent.
    """
    st = world.state()
    timeout_s = world.seconds(timeout)
    name = _backend_name(backend)
    if st.default is not None:
        raise ValueError("trying to initialize the default process group twice!")
    if store is not None or (init_method is not None and not init_method.startswith("env://")):
        warnings.warn(
            "init_process_group: init_method and store are not used, MPI connects the ranks",
            stacklevel=2,
        )
    st.num_made += 1
    made = world.make_world(name, group_name or f"world{st.num_made}", timeout_s)
    for what, wanted, is_ in (("world_size", world_size, made.size()), ("rank", rank, made.rank())):
        if wanted not in (-1, is_):
            made.close()
            raise ValueError(
                f"init_process_group: {what}={wanted}, but the {made.backend} world has {is_}"
            )
    st.default = made
    st.groups.append(made)
    if made.backend != "threads":
        local = getattr(made, "local", (0, 1))
        values = {"RANK": made.rank(), "WORLD_SIZE": made.size(), "LOCAL_RANK": local[0]}
        world.export(st, {**values, "LOCAL_WORLD_SIZE": local[1]})


def destroy_process_group(group: Group = None) -> None:
    """Leave a group; without an argument all, and init_process_group may be called again."""
    st = world.state()
    default = world.default_group() if group is None else st.default
    if group is NON_GROUP_MEMBER:
        return
    if group is None or group is default:
        for g in reversed(st.groups):
            g.close()
        world.forget(st)
        return
    member = resolve(group)
    assert member is not None
    member.close()
    st.groups.remove(member)


def resolve(group: Group) -> ProcessGroup | None:
    """The group of an argument: None is the default one; None for a group this rank is not in."""
    if group is None:
        return world.default_group()
    if isinstance(group, ProcessGroup) and group in world.state().groups:
        return group
    if group is NON_GROUP_MEMBER or group == NON_GROUP_MEMBER:
        return None
    raise ValueError(
        f"Group {group} is not registered, please create group with torch.distributed.new_group API"
    )


def get_rank(group: Group = None) -> int:
    """This rank's number in the group, -1 outside it."""
    found = resolve(group)
    return -1 if found is None else found.rank()


def get_world_size(group: Group = None) -> int:
    """The number of ranks of the group, -1 outside it."""
    found = resolve(group)
    return -1 if found is None else found.size()


def get_backend(group: Group = None) -> Backend:
    """The backend of the group; ValueError for a group that this rank is not in."""
    found = resolve(group)
    if found is None:
        raise ValueError("Invalid process group specified")
    return Backend(found.backend)


def get_node_local_rank(fallback_rank: int | None = None) -> int:
    """LOCAL_RANK, or the fallback; RuntimeError without either."""
    text = os.environ.get("LOCAL_RANK")
    if text is not None:
        return int(text)
    if fallback_rank is None:
        raise RuntimeError("LOCAL_RANK is not in the environment: pass fallback_rank to allow None")
    return int(fallback_rank)


def get_process_group_ranks(group: Group = None) -> list[int]:
    """The world ranks of a group, in group order."""
    found = resolve(group)
    return [] if found is None else list(found.ranks)


def get_group_rank(group: ProcessGroup, global_rank: int) -> int:
    """The group rank of a world rank; ValueError if it is not a member."""
    found = resolve(group)
    assert found is not None
    return world.global_to_group(found, [global_rank])[0]


def get_global_rank(group: ProcessGroup, group_rank: int) -> int:
    """The world rank of a group rank; ValueError if there is none."""
    found = resolve(group)
    assert found is not None
    if not 0 <= group_rank < found.size():
        raise ValueError(f"Group rank {group_rank} is not part of group {found.group_name}")
    return found.ranks[group_rank]


def new_group(
    ranks: Sequence[int] | None = None,
    timeout: timedelta | None = None,
    backend: str | None = None,
    pg_options: Any = None,
    use_local_synchronization: bool = False,
    group_desc: str | None = None,
    device_id: Any = None,
    sort_ranks: bool = True,
) -> ProcessGroup | int:
    """A group of some world ranks, with the world's backend; every rank makes the same calls.

    Ranks outside it get ``GroupMember.NON_GROUP_MEMBER``.
    """
    whole = world.default_group()
    st = world.state()
    timeout_s = whole.timeout_s if timeout is None else world.seconds(timeout)
    if _backend_name(backend) not in (None, whole.backend):
        raise ValueError(f"new_group: backend {backend!r} in a world of backend {whole.backend!r}")
    members = list(whole.ranks) if ranks is None else [int(r) for r in ranks]
    if len(set(members)) != len(members):
        raise ValueError(f"ranks list must not contain duplicate entries, got {members}")
    if len(members) > whole.size():
        raise ValueError(
            "the new group's world size should be less or equal to the world size set by "
            "init_process_group"
        )
    if any(r not in whole.ranks for r in members):
        raise ValueError(
            "The new group's rank should be within the world_size set by init_process_group: "
            f"got {members}"
        )
    if sort_ranks:
        members.sort()
    if not use_local_synchronization:  # and make sure that all ranks mean the same group
        whole.barrier(name=f"new_group {members}")
    st.num_made += 1
    made = whole.subgroup(members, group_desc or f"group{st.num_made}", timeout_s)
    if made is None:
        return NON_GROUP_MEMBER
    st.groups.append(made)
    return made


def new_subgroups(
    group_size: int | None = None,
    group: Group = None,
    timeout: timedelta | None = None,
    backend: str | None = None,
    pg_options: Any = None,
    group_desc: str | None = None,
) -> tuple[ProcessGroup | int, list[ProcessGroup | int]]:
    """Cut the ranks into groups of ``group_size`` neighbours (default: the ranks of a node)."""
    whole = resolve(group)
    assert whole is not None
    size = (
        int(os.environ.get("LOCAL_WORLD_SIZE", whole.size())) if group_size is None else group_size
    )
    if size <= 0:
        raise ValueError(f"The arg 'group_size' ({size}) must be positive")
    if whole.size() % size:
        raise ValueError(
            f"The world size ({whole.size()}) must be divisible by 'group_size={size}'"
        )
    lists = [whole.ranks[i : i + size] for i in range(0, whole.size(), size)]
    return new_subgroups_by_enumeration(lists, timeout, backend, pg_options, group_desc)


def new_subgroups_by_enumeration(
    ranks_per_subgroup_list: Sequence[Sequence[int]],
    timeout: timedelta | None = None,
    backend: str | None = None,
    pg_options: Any = None,
    group_desc: str | None = None,
) -> tuple[ProcessGroup | int, list[ProcessGroup | int]]:
    """Make several groups; returns this rank's one and all of them."""
    if ranks_per_subgroup_list is None or len(ranks_per_subgroup_list) == 0:
        raise ValueError("The arg 'ranks_per_subgroup_list' cannot be empty")
    flat = [r for ranks in ranks_per_subgroup_list for r in ranks]
    if len(set(flat)) != len(flat):
        raise ValueError(f"Rank has appeared in more than one subgroup: {flat}")
    mine: ProcessGroup | int = NON_GROUP_MEMBER
    groups = []
    for ranks in ranks_per_subgroup_list:
        made = new_group(ranks, timeout, backend, pg_options)
        groups.append(made)
        if isinstance(made, ProcessGroup):
            mine = made
    return mine, groups


def supports_complex(reduceOp: ReduceOp) -> bool:
    """Whether a reduction takes complex tensors."""
    return reduceOp in (ReduceOp.SUM, ReduceOp.AVG, ReduceOp.PRODUCT)


def get_pg_count() -> int:
    """How many groups this rank is in."""
    return len(world.state().groups)
