"""DataParallel: PyTorch's one-process wrapper, here over the one device that the module is on."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from distrib.nn.modules.module import Module


class DataParallel(Module):
    """Calls ``module``, and gives its state dict PyTorch's ``module.`` keys.

    Other than in PyTorch the batch is not split over several GPUs of a process; with more than one
    in ``device_ids`` it warns. DistributedDataParallel, a rank per GPU, uses them all.
    """

    def __init__(
        self,
        module: Module,
        device_ids: Sequence[Any] | None = None,
        output_device: Any = None,
        dim: int = 0,
    ) -> None:
        super().__init__()
        if device_ids is not None and len(device_ids) > 1:
            warnings.warn(
                "DataParallel uses one device; DistributedDataParallel has one per rank",
                stacklevel=2,
            )
        self.module, self.dim, self.output_device = module, dim, output_device
        self.device_ids = [] if device_ids is None else list(device_ids)[:1]

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        """Call the module."""
        return self.module(*inputs, **kwargs)
