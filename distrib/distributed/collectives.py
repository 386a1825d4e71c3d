"""torch.distributed's collectives on tensors: arguments checked and unwrapped, the group does the
rest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from distrib.distributed.api import Group, resolve
from distrib.distributed.call import Work
from distrib.distributed.process_group import ProcessGroup
from distrib.distributed.wire import ReduceOp
from distrib.dtypes import Array

Tensor = Any  # anything that carries an array in `_a`: the tensor's room lies above this one


def _array(tensor: Tensor, name: str) -> Array:
    found = getattr(tensor, "_a", None)
    if found is None:
        raise TypeError(
            f"Invalid function argument. Expected parameter `{name}` of type torch.Tensor\n"
            f"             but got {type(tensor)} instead."
        )
    return found


def _arrays(tensors: Sequence[Tensor], name: str) -> list[Array]:
    if not isinstance(tensors, (list, tuple)) or not all(hasattr(t, "_a") for t in tensors):
        raise TypeError(
            f"Invalid function argument. Expected parameter `{name}` of type List[torch.Tensor]\n"
            f"             but got {type(tensors)} instead."
        )
    return [t._a for t in tensors]


def _written(tensor: Tensor) -> None:
    """Tell the tensor that its array is written behind its back, so that saved values notice."""
    bump = getattr(tensor, "_bump", None)
    if bump is not None:
        bump()


def root(
    group: ProcessGroup, world_rank: int | None, group_rank: int | None, default: int | None = None
) -> int:
    """The group rank that a pair of arguments (src and group_src, dst and group_dst) names."""
    if world_rank is not None and group_rank is not None:
        raise ValueError("Can't specify both group_rank and global_rank")
    if group_rank is not None:
        return group_rank
    if world_rank is None:
        if default is None:
            raise ValueError("Must specify global_rank or group_rank")
        world_rank = default
    if world_rank not in group.ranks:
        what = "an invalid root rank" if world_rank < 0 else "not a member"
        raise ValueError(
            f"Global rank {world_rank} is not part of group {group.group_name}: {what}"
        )
    return group.ranks.index(world_rank)


def all_reduce(
    tensor: Tensor, op: ReduceOp = ReduceOp.SUM, group: Group = None, async_op: bool = False
) -> Work | None:
    """Combine the tensors of all ranks, in place; the result is bitwise the same on all of them."""
    a = _array(tensor, "tensor")
    g = resolve(group)
    if g is None:
        return None
    work = g.all_reduce(a, op, async_op)
    _written(tensor)
    return _holding(work, [tensor])


def all_reduce_coalesced(
    tensors: Sequence[Tensor],
    op: ReduceOp = ReduceOp.SUM,
    group: Group = None,
    async_op: bool = False,
) -> Any:
    """all_reduce of several tensors; with ``async_op`` the handle waits for all of them."""
    works = [all_reduce(t, op, group, async_op) for t in tensors]
    return Works(works) if async_op and works else None


def broadcast(
    tensor: Tensor,
    src: int | None = None,
    group: Group = None,
    async_op: bool = False,
    group_src: int | None = None,
) -> Work | None:
    """Copy the tensor of rank ``src`` into those of the others."""
    a = _array(tensor, "tensor")
    g = resolve(group)
    if g is None:
        return None
    work = g.broadcast(a, root(g, src, group_src), async_op)
    _written(tensor)
    return _holding(work, [tensor])


def reduce(
    tensor: Tensor,
    dst: int | None = None,
    op: ReduceOp = ReduceOp.SUM,
    group: Group = None,
    async_op: bool = False,
    group_dst: int | None = None,
) -> Work | None:
    """Combine the tensors of all ranks in that of rank ``dst``; the others keep theirs."""
    a = _array(tensor, "tensor")
    g = resolve(group)
    if g is None:
        return None
    work = g.reduce(a, root(g, dst, group_dst), op, async_op)
    _written(tensor)
    return _holding(work, [tensor])


def all_gather(
    tensor_list: Sequence[Tensor], tensor: Tensor, group: Group = None, async_op: bool = False
) -> Work | None:
    """Collect the tensors of all ranks, in rank order, in the tensors of a list."""
    outs, a = _arrays(tensor_list, "tensor_list"), _array(tensor, "tensor")
    g = resolve(group)
    if g is None:
        return None
    work = g.all_gather(outs, a, async_op)
    for t in tensor_list:
        _written(t)
    return _holding(work, tensor_list)


def all_gather_into_tensor(
    output_tensor: Tensor, input_tensor: Tensor, group: Group = None, async_op: bool = False
) -> Work | None:
    """Collect the tensors of all ranks in one, concatenated or stacked along dimension 0."""
    out, a = _array(output_tensor, "output_tensor"), _array(input_tensor, "input_tensor")
    g = resolve(group)
    if g is None:
        return None
    work = g.all_gather(out, a, async_op)
    _written(output_tensor)
    return _holding(work, [output_tensor])


all_gather_single = all_gather_into_tensor


def gather(
    tensor: Tensor,
    gather_list: Sequence[Tensor] | None = None,
    dst: int | None = None,
    group: Group = None,
    async_op: bool = False,
    group_dst: int | None = None,
) -> Work | None:
    """Collect the tensors of all ranks in ``gather_list`` of rank ``dst`` (default 0)."""
    a = _array(tensor, "tensor")
    g = resolve(group)
    if g is None:
        return None
    to = root(g, dst, group_dst, g.ranks[0])
    outs = None
    if g.rank() == to:
        if not gather_list:
            raise ValueError("Argument ``gather_list`` must be specified on destination rank.")
        outs = _arrays(gather_list, "gather_list")
    elif gather_list:
        raise ValueError("Argument ``gather_list`` must NOT be specified on non-destination ranks.")
    work = g.gather(outs, a, to, async_op)
    for t in gather_list or ():
        _written(t)
    return _holding(work, gather_list or [])


def scatter(
    tensor: Tensor,
    scatter_list: Sequence[Tensor] | None = None,
    src: int | None = None,
    group: Group = None,
    async_op: bool = False,
    group_src: int | None = None,
) -> Work | None:
    """Deal the tensors of ``scatter_list`` of rank ``src`` (default 0) out, one to each rank."""
    a = _array(tensor, "tensor")
    g = resolve(group)
    if g is None:
        return None
    source = root(g, src, group_src, g.ranks[0])
    parts = None
    if g.rank() == source:
        if not scatter_list:
            raise ValueError("Argument ``scatter_list`` must be specified on source rank.")
        parts = _arrays(scatter_list, "scatter_list")
    elif scatter_list:
        raise ValueError("Argument ``scatter_list`` must NOT be specified on non-source ranks.")
    work = g.scatter(a, parts, source, async_op)
    _written(tensor)
    return _holding(work, [tensor])


def reduce_scatter(
    output: Tensor,
    input_list: Sequence[Tensor],
    op: ReduceOp = ReduceOp.SUM,
    group: Group = None,
    async_op: bool = False,
) -> Work | None:
    """Combine the lists of all ranks; rank k gets the k-th tensor of the result."""
    out, parts = _array(output, "output"), _arrays(input_list, "input_list")
    g = resolve(group)
    if g is None:
        return None
    work = g.reduce_scatter(out, parts, op, async_op)
    _written(output)
    return _holding(work, [output])


def reduce_scatter_tensor(
    output: Tensor,
    input: Tensor,
    op: ReduceOp = ReduceOp.SUM,
    group: Group = None,
    async_op: bool = False,
) -> Work | None:
    """Combine the tensors of all ranks; rank k gets the k-th part along dimension 0."""
    out, a = _array(output, "output"), _array(input, "input")
    g = resolve(group)
    if g is None:
        return None
    work = g.reduce_scatter(out, a, op, async_op)
    _written(output)
    return _holding(work, [output])


reduce_scatter_single = reduce_scatter_tensor


def all_to_all(
    output_tensor_list: Sequence[Tensor],
    input_tensor_list: Sequence[Tensor],
    group: Group = None,
    async_op: bool = False,
) -> Work | None:
    """Send the k-th tensor of a list to rank k; sizes may differ."""
    outs = _arrays(output_tensor_list, "output_tensor_list")
    parts = _arrays(input_tensor_list, "input_tensor_list")
    g = resolve(group)
    if g is None:
        return None
    work = g.all_to_all(outs, parts, async_op=async_op)
    for t in output_tensor_list:
        _written(t)
    return _holding(work, output_tensor_list)


def all_to_all_single(
    output: Tensor,
    input: Tensor,
    output_split_sizes: Sequence[int] | None = None,
    input_split_sizes: Sequence[int] | None = None,
    group: Group = None,
    async_op: bool = False,
) -> Work | None:
    """Send the k-th part of a tensor along dimension 0 to rank k; split sizes count rows."""
    out, a = _array(output, "output"), _array(input, "input")
    g = resolve(group)
    if g is None:
        return None
    work = g.all_to_all(out, a, output_split_sizes or None, input_split_sizes or None, async_op)
    _written(output)
    return _holding(work, [output])


def barrier(
    group: Group = None,
    async_op: bool = False,
    device_ids: Any = None,
    timeout: timedelta | None = None,
) -> Work | None:
    """Wait until all ranks are here."""
    g = resolve(group)
    return None if g is None else g.barrier(async_op)


def monitored_barrier(
    group: Group = None, timeout: timedelta | None = None, wait_all_ranks: bool = False
) -> None:
    """A barrier with its own timeout: RuntimeError when the others are not here by then."""
    g = resolve(group)
    if g is None:
        return
    work = g.barrier(True, "monitored")
    assert work is not None
    work.wait(timedelta(seconds=g.timeout_s) if timeout is None else timeout)


def _peer(group: ProcessGroup, world_rank: int | None, group_rank: int | None, what: str) -> int:
    peer = root(group, world_rank, group_rank)
    if peer == group.rank():
        raise ValueError(
            f"Invalid {what} rank: {what} rank should not be the same as the rank of the current "
            "process."
        )
    return peer


def isend(
    tensor: Tensor,
    dst: int | None = None,
    group: Group = None,
    tag: int = 0,
    group_dst: int | None = None,
) -> Work | None:
    """Start sending a tensor to rank ``dst``."""
    a = _array(tensor, "tensor")
    g = resolve(group)
    return (
        None
        if g is None
        else g.send(a, _peer(g, dst, group_dst, "destination"), tag, async_op=True)
    )


def irecv(
    tensor: Tensor,
    src: int | None = None,
    group: Group = None,
    tag: int = 0,
    group_src: int | None = None,
) -> Work | None:
    """Start receiving a tensor from rank ``src``; from any rank without it."""
    a = _array(tensor, "tensor")
    g = resolve(group)
    if g is None:
        return None
    anyone = src is None and group_src is None
    work = g.recv(a, None if anyone else _peer(g, src, group_src, "source"), tag, async_op=True)
    _written(tensor)
    return work


def send(
    tensor: Tensor,
    dst: int | None = None,
    group: Group = None,
    tag: int = 0,
    group_dst: int | None = None,
) -> None:
    """Send a tensor to rank ``dst``."""
    work = isend(tensor, dst, group, tag, group_dst)
    if work is not None:
        work.wait()


def recv(
    tensor: Tensor,
    src: int | None = None,
    group: Group = None,
    tag: int = 0,
    group_src: int | None = None,
) -> int:
    """Receive a tensor from rank ``src``, or any; returns the sender's world rank, -1 outside."""
    g, work = resolve(group), irecv(tensor, src, group, tag, group_src)
    if work is None or g is None:
        return -1
    work.wait()
    return g.ranks[work.source_rank()]


class P2POp:
    """One ``isend`` or ``irecv`` of a batch."""

    def __init__(
        self,
        op: Callable[..., Work | None],
        tensor: Tensor,
        peer: int | None = None,
        group: Group = None,
        tag: int = 0,
        group_peer: int | None = None,
    ) -> None:
        if op not in (isend, irecv):
            raise ValueError(
                "Invalid ``op``. Expected ``op`` to be of type ``torch.distributed.isend`` or "
                "``torch.distributed.irecv``."
            )
        self.op, self.tensor, self.peer, self.group, self.tag = op, tensor, peer, group, tag
        self.group_peer = group_peer


def batch_isend_irecv(p2p_op_list: Sequence[P2POp]) -> list[Work]:
    """Start several sends and receives; returns their handles."""
    if not p2p_op_list or not all(isinstance(p, P2POp) for p in p2p_op_list):
        raise ValueError("Invalid ``p2p_op_list``. Each op is expected to to be of type ``P2POp``.")
    works = [p.op(p.tensor, p.peer, p.group, p.tag, p.group_peer) for p in p2p_op_list]
    return [w for w in works if w is not None]


class Works:
    """Several handles as one."""

    def __init__(self, works: Sequence[Work | None]) -> None:
        self._works = [w for w in works if w is not None]

    def is_completed(self) -> bool:
        """Whether all have ended."""
        return all(w.is_completed() for w in self._works)

    def wait(self, timeout: timedelta | None = None) -> bool:
        """Wait for all."""
        return all(w.wait(timeout) for w in self._works)


def _holding(work: Work | None, tensors: Sequence[Tensor]) -> Work | None:
    """Keep the tensors with the handle, for ``Work.result``."""
    if work is not None:
        work.tensors = tensors
    return work
