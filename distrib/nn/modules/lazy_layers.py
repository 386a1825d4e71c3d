"""Lazy layers: the first input decides the number of features or channels."""

from typing import Any

from distrib.dtypes import int64
from distrib.nn.modules import batchnorm, conv, instancenorm
from distrib.nn.modules.lazy import LazyModuleMixin
from distrib.nn.modules.linear import Linear
from distrib.nn.modules.utils import full
from distrib.nn.parameter import UninitializedBuffer, UninitializedParameter
from distrib.tensor import Tensor

__all__ = [
    "LazyBatchNorm1d",
    "LazyBatchNorm2d",
    "LazyBatchNorm3d",
    "LazyConv1d",
    "LazyConv2d",
    "LazyConv3d",
    "LazyConvTranspose1d",
    "LazyConvTranspose2d",
    "LazyConvTranspose3d",
    "LazyInstanceNorm1d",
    "LazyInstanceNorm2d",
    "LazyInstanceNorm3d",
    "LazyLinear",
]


class LazyLinear(LazyModuleMixin, Linear):
    """Linear whose in_features the first input decides."""

    cls_to_become = Linear

    def __init__(
        self, out_features: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__(0, 0, False)
        self.out_features = out_features
        self.weight = UninitializedParameter(device=device, dtype=dtype)
        if bias:
            self.bias = UninitializedParameter(device=device, dtype=dtype)

    def reset_parameters(self) -> None:
        """Draw the parameters, once they have a shape."""
        if not self.has_uninitialized_params() and self.in_features != 0:
            super().reset_parameters()

    def initialize_parameters(self, input: Tensor) -> None:
        """Take in_features from the last dimension."""
        if not self.has_uninitialized_params():
            if self.in_features == 0:
                self.in_features = self.weight.shape[-1]
            return
        self.in_features = input.shape[-1]
        weight: Any = self.weight
        weight.materialize((self.out_features, self.in_features))
        bias: Any = self.bias
        if bias is not None:
            bias.materialize((self.out_features,))
        self.reset_parameters()


class _LazyConvNd(LazyModuleMixin, conv._ConvNd):
    """What lazy convolutions share."""

    def reset_parameters(self) -> None:
        """Draw the parameters, once they have a shape."""
        if not self.has_uninitialized_params() and self.in_channels != 0:
            super().reset_parameters()

    def _make_lazy(self, out_channels: int, bias: bool, device: Any, dtype: Any) -> None:
        self.out_channels = out_channels
        self.weight = UninitializedParameter(device=device, dtype=dtype)
        if bias:
            self.bias = UninitializedParameter(device=device, dtype=dtype)

    def initialize_parameters(self, input: Tensor) -> None:
        """Take in_channels from the input's channels."""
        if not self.has_uninitialized_params():
            return
        self.in_channels = self._get_in_channels(input)
        if self.in_channels % self.groups != 0:
            raise ValueError("in_channels must be divisible by groups")
        channels = (self.out_channels, self.in_channels)
        outer, inner = channels[::-1] if self.transposed else channels
        weight: Any = self.weight
        weight.materialize((outer, inner // self.groups, *self.kernel_size))
        bias: Any = self.bias
        if bias is not None:
            bias.materialize((self.out_channels,))
        self.reset_parameters()

    def _get_in_channels(self, input: Tensor) -> int:
        num_dims = self._get_num_spatial_dims()
        if input.dim() not in (num_dims + 1, num_dims + 2):
            raise RuntimeError(
                f"Expected {num_dims + 1}D (unbatched) or {num_dims + 2}D (batched) input to "
                f"{self.__class__.__name__}, but got input of size: {input.shape}"
            )
        return int(input.shape[-num_dims - 1])

    def _get_num_spatial_dims(self) -> int:
        return len(self.kernel_size)


class _LazyForward(_LazyConvNd):
    def __init__(
        self,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        sizes = (kernel_size, stride, padding, dilation, groups)
        super().__init__(0, 0, *sizes, False, padding_mode, device, dtype)
        self._make_lazy(out_channels, bias, device, dtype)


class _LazyTranspose(_LazyConvNd):
    def __init__(
        self,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Any = 1,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        sizes = (kernel_size, stride, padding, output_padding, groups)
        super().__init__(0, 0, *sizes, False, dilation, padding_mode, device, dtype)
        self._make_lazy(out_channels, bias, device, dtype)


class LazyConv1d(_LazyForward, conv.Conv1d):
    """Conv1d whose in_channels the first input decides."""

    cls_to_become = conv.Conv1d


class LazyConv2d(_LazyForward, conv.Conv2d):
    """Conv2d whose in_channels the first input decides."""

    cls_to_become = conv.Conv2d


class LazyConv3d(_LazyForward, conv.Conv3d):
    """Conv3d whose in_channels the first input decides."""

    cls_to_become = conv.Conv3d


class LazyConvTranspose1d(_LazyTranspose, conv.ConvTranspose1d):
    """ConvTranspose1d whose in_channels the first input decides."""

    cls_to_become = conv.ConvTranspose1d


class LazyConvTranspose2d(_LazyTranspose, conv.ConvTranspose2d):
    """ConvTranspose2d whose in_channels the first input decides."""

    cls_to_become = conv.ConvTranspose2d


class LazyConvTranspose3d(_LazyTranspose, conv.ConvTranspose3d):
    """ConvTranspose3d whose in_channels the first input decides."""

    cls_to_become = conv.ConvTranspose3d


class _LazyNormBase(LazyModuleMixin, batchnorm._NormBase):
    def __init__(
        self,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(0, eps, momentum, False, False, device, dtype, bias=bias)
        self._make_lazy(affine, track_running_stats, bias, device, dtype)

    def _make_lazy(self, affine: bool, tracked: bool, bias: bool, device: Any, dtype: Any) -> None:
        self.affine = affine
        self.track_running_stats = tracked
        if affine:
            self.weight = UninitializedParameter(device=device, dtype=dtype)
            if bias:
                self.bias = UninitializedParameter(device=device, dtype=dtype)
        if tracked:
            self.running_mean = UninitializedBuffer(device=device, dtype=dtype)
            self.running_var = UninitializedBuffer(device=device, dtype=dtype)
            self.num_batches_tracked = full((), 0, dtype=int64, device=device)

    def reset_parameters(self) -> None:
        """Set the initial values, once there are shapes."""
        if not self.has_uninitialized_params() and self.num_features != 0:
            super().reset_parameters()

    def initialize_parameters(self, input: Tensor) -> None:
        """Take num_features from dimension 1."""
        if not self.has_uninitialized_params():
            return
        self.num_features = input.shape[1]
        for name in ("weight", "bias", "running_mean", "running_var"):
            value = getattr(self, name)
            if value is not None:
                value.materialize((self.num_features,))
        self.reset_parameters()


class LazyBatchNorm1d(_LazyNormBase, batchnorm.BatchNorm1d):
    """BatchNorm1d whose num_features the first input decides."""

    cls_to_become = batchnorm.BatchNorm1d


class LazyBatchNorm2d(_LazyNormBase, batchnorm.BatchNorm2d):
    """BatchNorm2d whose num_features the first input decides."""

    cls_to_become = batchnorm.BatchNorm2d


class LazyBatchNorm3d(_LazyNormBase, batchnorm.BatchNorm3d):
    """BatchNorm3d whose num_features the first input decides."""

    cls_to_become = batchnorm.BatchNorm3d


class LazyInstanceNorm1d(_LazyNormBase, instancenorm.InstanceNorm1d):
    """InstanceNorm1d whose num_features the first input decides."""

    cls_to_become = instancenorm.InstanceNorm1d


class LazyInstanceNorm2d(_LazyNormBase, instancenorm.InstanceNorm2d):
    """InstanceNorm2d whose num_features the first input decides."""

    cls_to_become = instancenorm.InstanceNorm2d


class LazyInstanceNorm3d(_LazyNormBase, instancenorm.InstanceNorm3d):
    """InstanceNorm3d whose num_features the first input decides."""

    cls_to_become = instancenorm.InstanceNorm3d
