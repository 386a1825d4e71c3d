"""Padding layers: zero, constant, reflection, replication, circular."""

from typing import Any

from distrib.nn import functional as F
from distrib.nn.modules.batchnorm import _check_dim
from distrib.nn.modules.module import Module
from distrib.nn.modules.utils import _ntuple
from distrib.tensor import Tensor

__all__ = [
    "CircularPad1d",
    "CircularPad2d",
    "CircularPad3d",
    "ConstantPad1d",
    "ConstantPad2d",
    "ConstantPad3d",
    "ReflectionPad1d",
    "ReflectionPad2d",
    "ReflectionPad3d",
    "ReplicationPad1d",
    "ReplicationPad2d",
    "ReplicationPad3d",
    "ZeroPad1d",
    "ZeroPad2d",
    "ZeroPad3d",
]


class _PadNd(Module):
    __constants__ = ["padding"]
    _mode: str
    _num_dims: int
    padding: tuple[int, ...]

    def __init__(self, padding: Any) -> None:
        super().__init__()
        self.padding = _ntuple(2 * self._num_dims)(padding)

    def forward(self, input: Tensor) -> Any:
        return F.pad(input, self.padding, self._mode)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class _CircularPadNd(_PadNd):
    _mode = "circular"

    def forward(self, input: Tensor) -> Any:
        _check_dim(input, (self._num_dims + 1, self._num_dims + 2))
        return super().forward(input)


class CircularPad1d(_CircularPadNd):
    """Pads the last dimension with the other end's values."""

    _num_dims = 1


class CircularPad2d(_CircularPadNd):
    """Pads the last two dimensions with the other ends' values."""

    _num_dims = 2


class CircularPad3d(_CircularPadNd):
    """Pads the last three dimensions with the other ends' values."""

    _num_dims = 3


class _ConstantPadNd(Module):
    __constants__ = ["padding", "value"]
    _num_dims: int
    padding: tuple[int, ...]
    value: float

    def __init__(self, padding: Any, value: float) -> None:
        super().__init__()
        self.value = value
        self.padding = _ntuple(2 * self._num_dims)(padding)

    def forward(self, input: Tensor) -> Any:
        return F.pad(input, self.padding, "constant", self.value)

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class ConstantPad1d(_ConstantPadNd):
    """Pads the last dimension with a constant."""

    _num_dims = 1


class ConstantPad2d(_ConstantPadNd):
    """Pads the last two dimensions with a constant."""

    _num_dims = 2


class ConstantPad3d(_ConstantPadNd):
    """Pads the last three dimensions with a constant."""

    _num_dims = 3


class ZeroPad1d(ConstantPad1d):
    """Pads the last dimension with zeros."""

    def __init__(self, padding: Any) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class ZeroPad2d(ConstantPad2d):
    """Pads the last two dimensions with zeros."""

    def __init__(self, padding: Any) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class ZeroPad3d(ConstantPad3d):
    """Pads the last three dimensions with zeros."""

    def __init__(self, padding: Any) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class _ReflectionPadNd(_PadNd):
    _mode = "reflect"


class ReflectionPad1d(_ReflectionPadNd):
    """Pads the last dimension by reflection."""

    _num_dims = 1


class ReflectionPad2d(_ReflectionPadNd):
    """Pads the last two dimensions by reflection."""

    _num_dims = 2


class ReflectionPad3d(_ReflectionPadNd):
    """Pads the last three dimensions by reflection."""

    _num_dims = 3


class _ReplicationPadNd(_PadNd):
    _mode = "replicate"


class ReplicationPad1d(_ReplicationPadNd):
    """Pads the last dimension with its edge values."""

    _num_dims = 1


class ReplicationPad2d(_ReplicationPadNd):
    """Pads the last two dimensions with their edge values."""

    _num_dims = 2


class ReplicationPad3d(_ReplicationPadNd):
    """Pads the last three dimensions with their edge values."""

    _num_dims = 3
