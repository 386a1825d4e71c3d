"""Memory formats of convolutions' weights."""

from typing import Any, TypeVar

from distrib.nn.modules.conv import Conv2d, Conv3d, ConvTranspose2d, ConvTranspose3d
from distrib.nn.modules.module import Module

__all__ = ["convert_conv2d_weight_memory_format", "convert_conv3d_weight_memory_format"]

_M = TypeVar("_M", bound=Module)


def _convert(module: Any, kinds: tuple[type[Module], ...], memory_format: Any) -> None:
    for child in module.modules():
        if isinstance(child, kinds):
            weight: Any = child.weight.detach().clone(memory_format=memory_format)
            child.weight.data = weight


def convert_conv2d_weight_memory_format(module: _M, memory_format: Any) -> _M:
    """Bring the weights of all 2-d convolutions into a memory format."""
    _convert(module, (Conv2d, ConvTranspose2d), memory_format)
    return module


def convert_conv3d_weight_memory_format(module: _M, memory_format: Any) -> _M:
    """Bring the weights of all 3-d convolutions into a memory format."""
    _convert(module, (Conv3d, ConvTranspose3d), memory_format)
    return module
