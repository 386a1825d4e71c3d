"""Parameters as one vector, and back."""

from collections.abc import Iterable
from typing import Any

from distrib.ops.join import cat
from distrib.tensor import Tensor

__all__ = ["parameters_to_vector", "vector_to_parameters"]


def _same_device(param: Tensor, device: Any) -> Any:
    if device is not None and param.device != device:
        raise TypeError(
            "Found two parameters on different devices, this is currently not supported."
        )
    return param.device


def parameters_to_vector(parameters: Iterable[Tensor]) -> Any:
    """All parameters, flattened and joined; differentiable."""
    device = None
    parts = []
    param: Any
    for param in parameters:
        device = _same_device(param, device)
        parts.append(param.view(-1))
    return cat(parts)


def vector_to_parameters(vec: Any, parameters: Iterable[Tensor]) -> None:
    """Make the parameters views of a vector's slices; TypeError if it is no tensor."""
    if not isinstance(vec, Tensor):
        raise TypeError(f"expected torch.Tensor, but got: {type(vec)}")
    device = None
    start = 0
    flat: Any = vec
    for param in parameters:
        device = _same_device(param, device)
        end = start + param.numel()
        param.data = flat[start:end].view_as(param).data
        start = end
