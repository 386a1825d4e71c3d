"""Running an optimizer on other parameters and state for a while."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..tensor import Tensor
from .optimizer import Optimizer


@contextmanager
def swap_in_optimizer_params_and_state(
    optimizer: Optimizer,
    swapin_parameters: dict[str, Tensor],
    swapin_optim_state: dict[str, Any],
) -> Iterator[None]:
    """Let an optimizer act on other parameters (in its order) and state for a block.

    ``swapin_optim_state`` is laid out as `state_dict`; its Tensors are used, not copied. ValueError
    if the number of parameters differs.
    """
    groups, state = optimizer.param_groups, optimizer.state
    params = list(swapin_parameters.values())
    count = sum(len(group["params"]) for group in groups)
    saved = swapin_optim_state["param_groups"]
    indices = [i for group in saved for i in group["params"]]
    if len(params) != count or len(indices) != count or len(saved) != len(groups):
        raise ValueError(
            f"swapped-in parameters: expected {count} in {len(groups)} groups, got {len(params)} "
            f"parameters and state for {len(indices)} in {len(saved)} groups"
        )
    owner = dict(zip(indices, params, strict=True))
    swapped: defaultdict[Any, Any] = defaultdict(dict)
    for key, entry in swapin_optim_state["state"].items():
        swapped[owner.get(key, key)] = dict(entry) if isinstance(entry, dict) else entry
    optimizer.state = swapped
    optimizer.param_groups = [
        {**group, **packed, "params": [owner[i] for i in packed["params"]]}
        for group, packed in zip(groups, saved, strict=True)
    ]
    try:
        yield
    finally:
        optimizer.param_groups, optimizer.state = groups, state


__all__ = ["swap_in_optimizer_params_and_state"]
