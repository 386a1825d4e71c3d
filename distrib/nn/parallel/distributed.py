"""DistributedDataParallel: a module whose gradients are averaged over the ranks during backward."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from distrib import config, errors
from distrib.autograd.modes import is_grad_enabled
from distrib.distributed.api import Group, resolve
from distrib.distributed.buckets import caps
from distrib.distributed.reducer import Reducer, broadcast_coalesced, check_same
from distrib.nn.modules.module import Module
from distrib.nn.parallel.outputs import reached_leaves
from distrib.tensor import wrap

_LATER = (
    "delay_all_reduce_named_params",
    "param_to_hook_all_reduce",
    "mixed_precision",
    "device_mesh",
    "skip_all_reduce_unused_params",
)


class DistributedDataParallel(Module):
    """Trains ``module`` on all ranks of a group: equal weights at first, averaged gradients after.

    Parameters and buffers are those of rank 0; gradients are exchanged bucket by bucket while the
    backward runs, and are views into the buckets afterwards. Other than in PyTorch a second
    backward after one forward is averaged too, buckets keep the order of the parameters, and the
    graph of a backward with ``create_graph`` does not outlive the exchange.

    >>> import distrib.distributed as dist
    >>> from distrib import nn
    >>> dist.init_process_group("single")
    >>> list(DistributedDataParallel(nn.Linear(2, 1)).state_dict())
    ['module.weight', 'module.bias']
    >>> dist.destroy_process_group()
    """

    def __init__(
        self,
        module: Module,
        device_ids: Sequence[Any] | None = None,
        output_device: Any = None,
        dim: int = 0,
        broadcast_buffers: bool | None = None,
        init_sync: bool = True,
        process_group: Group = None,
        bucket_cap_mb: float | None = None,
        find_unused_parameters: bool = False,
        check_reduction: bool = False,
        gradient_as_bucket_view: bool = False,
        static_graph: bool = False,
        delay_all_reduce_named_params: Any = None,
        param_to_hook_all_reduce: Any = None,
        mixed_precision: Any = None,
        device_mesh: Any = None,
        skip_all_reduce_unused_params: bool = False,
        bucket_cap_mb_list: list[int] | None = None,
        batched_grad_copy: bool = False,
        forward_sync_buffers: bool | None = None,
    ) -> None:
        super().__init__()
        given = locals()
        for name in _LATER:
            if given[name]:
                raise errors.NotAvailableError(
                    f"DistributedDataParallel: {name} is not available; leave it out"
                )
        if batched_grad_copy:
            warnings.warn(
                "DistributedDataParallel: batched_grad_copy has no effect, copies are not kernels",
                stacklevel=2,
            )
        group = resolve(process_group)
        if group is None:
            raise errors.CollectiveError(
                "DistributedDataParallel: this rank is not in process_group"
            )
        self.process_group = group
        self.module = module
        self._ignored = set(getattr(module, "_ddp_params_and_buffers_to_ignore", ()))
        named = [(n, p) for n, p in module.named_parameters() if n not in self._ignored]
        trained = [(n, p) for n, p in named if p.requires_grad]
        if not trained:
            raise RuntimeError(
                "DistributedDataParallel is not needed when a module doesn't have any parameter "
                "that requires a gradient."
            )
        _check_devices(device_ids, output_device, {p.device for _, p in named})
        self.device = trained[0][1].device
        self.device_ids, self.output_device, self.dim = device_ids, output_device, dim
        self.broadcast_buffers = _first_given(forward_sync_buffers, broadcast_buffers, True)
        self.find_unused_parameters = find_unused_parameters
        self.gradient_as_bucket_view, self.static_graph = gradient_as_bucket_view, static_graph
        self.require_backward_grad_sync = self.require_forward_param_sync = True
        cap_mb = config.get("DISTRIB_BUCKET_CAP_MB") if bucket_cap_mb is None else bucket_cap_mb
        self.bucket_bytes_cap = int(cap_mb * (1 << 20))
        self._static_unused: list[int] | None = None
        self._buffer_places = [
            (m, name)
            for prefix, m in module.named_modules()
            for name in m._buffers
            if (f"{prefix}.{name}" if prefix else name) not in self._ignored
        ]
        if init_sync:
            check_same([p for _, p in named], [n for n, _ in named], group)
            broadcast_coalesced([p._a for _, p in named], group)
            for _, p in named:
                p._bump()
            if broadcast_buffers is not False:
                self._sync_buffers()
        self.reducer = Reducer(
            [p for _, p in trained],
            [n for n, _ in trained],
            group,
            wrap,
            caps(cap_mb, bucket_cap_mb_list),
            find_unused_parameters or static_graph,
            gradient_as_bucket_view,
        )

    def _buffers_to_sync(self) -> list[Any]:
        buffers = [m._buffers[name] for m, name in self._buffer_places]
        return [b for b in buffers if b is not None]

    def _sync_buffers(self) -> None:
        """Copy rank 0's buffers to the other ranks."""
        buffers = self._buffers_to_sync()
        if buffers and self.process_group.size() > 1:
            broadcast_coalesced([b._a for b in buffers], self.process_group)
            for b in buffers:
                b._bump()

    def will_sync_module_buffers(self) -> bool:
        """Whether the next forward copies rank 0's buffers to the others."""
        return bool(
            self.require_forward_param_sync and self.broadcast_buffers and self._buffers_to_sync()
        )

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        """Run the module; the backward of what it returns averages gradients, unless in
        ``no_sync``.
        """
        sync = is_grad_enabled() and self.require_backward_grad_sync
        if sync:
            self.reducer.check_finished()
        if self.will_sync_module_buffers():
            self._sync_buffers()
        output = self.module(*inputs, **kwargs)
        self.require_forward_param_sync = sync
        if sync:
            self.reducer.prepare(self._unused(output))
        elif is_grad_enabled():
            self.reducer.skip()
        return output

    def _unused(self, output: Any) -> list[int]:
        """Indices of the parameters that no gradient will come to."""
        if not (self.find_unused_parameters or self.static_graph):
            return []
        if self._static_unused is not None:
            return self._static_unused
        leaves = reached_leaves(output)
        unused = [i for i, p in enumerate(self.reducer.params) if p._n not in leaves]
        if self.static_graph:
            self._static_unused = unused
        return unused

    @contextmanager
    def no_sync(self) -> Iterator[None]:
        """Keep gradients on this rank for the forward and backward passes inside; they add up."""
        before = self.require_backward_grad_sync
        self.require_backward_grad_sync = False
        try:
            yield
        finally:
            self.require_backward_grad_sync = before

    @staticmethod
    def _set_params_and_buffers_to_ignore_for_model(module: Module, names: Sequence[str]) -> None:
        """Leave parameters and buffers of these full names to the ranks themselves."""
        module._ddp_params_and_buffers_to_ignore = list(names)


def _first_given(*values: bool | None) -> bool:
    return next(v for v in values if v is not None)


def _check_devices(device_ids: Sequence[Any] | None, output_device: Any, devices: set[Any]) -> None:
    if len({d.type for d in devices}) != 1:
        raise ValueError(
            "DistributedDataParallel's input module must be on the same type of devices, but input "
            f"module parameters locate on { ({d.type for d in devices}) }."
        )
    if (device_ids or output_device is not None) and next(iter(devices)).type == "cpu":
        raise ValueError(
            "DistributedDataParallel device_ids and output_device arguments only work with "
            "single-device/multiple-device GPU modules or CPU modules, but got device_ids "
            f"{device_ids}, output_device {output_device}, and module parameters {devices}."
        )
