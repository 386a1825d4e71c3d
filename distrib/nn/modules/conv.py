"""Convolutions and their transposes in one to three dimensions."""

import math
from collections.abc import Callable
from typing import Any

from distrib.nn import functional as F
from distrib.nn import init
from distrib.nn.modules.module import Module
from distrib.nn.modules.utils import _pair, _reverse_repeat_tuple, _single, _triple, empty
from distrib.nn.parameter import Parameter
from distrib.tensor import Tensor

__all__ = [
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
]


class _ConvNd(Module):
    __constants__ = [
        "stride",
        "padding",
        "dilation",
        "groups",
        "padding_mode",
        "output_padding",
        "in_channels",
        "out_channels",
        "kernel_size",
    ]
    weight: Tensor
    bias: Tensor | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: tuple[int, ...],
        stride: tuple[int, ...],
        padding: Any,
        dilation: tuple[int, ...],
        transposed: bool,
        output_padding: tuple[int, ...],
        groups: int,
        bias: bool,
        padding_mode: str,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        _check(in_channels, out_channels, stride, padding, groups, padding_mode)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = kernel_size
        self.stride = stride
        self.padding = padding
        self.dilation = dilation
        self.transposed = transposed
        self.output_padding = output_padding
        self.groups = groups
        self.padding_mode = padding_mode
        self._reversed_padding_repeated_twice = self._explicit_padding()
        outer, inner = (in_channels, out_channels) if transposed else (out_channels, in_channels)
        shape = (outer, inner // groups, *kernel_size)
        self.weight = Parameter(empty(shape, device=device, dtype=dtype))
        if bias:
            self.bias = Parameter(empty((out_channels,), device=device, dtype=dtype))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def _explicit_padding(self) -> Any:
        """The padding as `F.pad` wants it, for modes that are not zeros."""
        if not isinstance(self.padding, str):
            return _reverse_repeat_tuple(self.padding, 2)
        sides: list[int] = []
        for d, k in zip(reversed(self.dilation), reversed(self.kernel_size), strict=False):
            total = d * (k - 1) if self.padding == "same" else 0
            sides += [total // 2, total - total // 2]
        return sides

    def reset_parameters(self) -> None:
        """Draw weight and bias from U(-k, k), k = 1 / sqrt(fan_in)."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            fan_in, _ = init._calculate_fan_in_and_fan_out(self.weight)
            if fan_in != 0:
                bound = 1 / math.sqrt(fan_in)
                init.uniform_(self.bias, -bound, bound)

    def extra_repr(self) -> str:
        text = (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"stride={self.stride}"
        )
        if self.padding != (0,) * len(self.padding):
            text += f", padding={self.padding}"
        if self.dilation != (1,) * len(self.dilation):
            text += f", dilation={self.dilation}"
        if self.output_padding != (0,) * len(self.output_padding):
            text += f", output_padding={self.output_padding}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        if self.bias is None:
            text += ", bias=False"
        if self.padding_mode != "zeros":
            text += f", padding_mode={self.padding_mode}"
        return text

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.__dict__.setdefault("padding_mode", "zeros")


def _check(
    in_channels: int,
    out_channels: int,
    stride: tuple[int, ...],
    padding: Any,
    groups: int,
    padding_mode: str,
) -> None:
    if groups <= 0:
        raise ValueError("groups must be a positive integer")
    if in_channels % groups != 0:
        raise ValueError(f"in_channels must be divisible by groups, got {in_channels} and {groups}")
    if out_channels % groups != 0:
        raise ValueError(
            f"out_channels must be divisible by groups, got {out_channels} and {groups}"
        )
    if isinstance(padding, str):
        if padding not in ("same", "valid"):
            raise ValueError(
                f"Invalid padding string {padding!r}, should be one of {{'same', 'valid'}}"
            )
        if padding == "same" and any(s != 1 for s in stride):
            raise ValueError("padding='same' is not supported for strided convolutions")
    if padding_mode not in ("zeros", "reflect", "replicate", "circular"):
        raise ValueError(
            "padding_mode must be one of {'zeros', 'reflect', 'replicate', 'circular'}, "
            f"but got padding_mode='{padding_mode}'"
        )


class _Forward(_ConvNd):
    _conv: Callable[..., Tensor]
    _sizes: Callable[[Any], tuple[int, ...]]

    def __init__(
        self,
        in_channels: int,
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
        sizes = self._sizes
        super().__init__(
            in_channels,
            out_channels,
            sizes(kernel_size),
            sizes(stride),
            padding if isinstance(padding, str) else sizes(padding),
            sizes(dilation),
            False,
            sizes(0),
            groups,
            bias,
            padding_mode,
            device,
            dtype,
        )

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        padding = self.padding
        if self.padding_mode != "zeros":
            input = F.pad(input, self._reversed_padding_repeated_twice, mode=self.padding_mode)
            padding = self._sizes(0)
        return self._conv(input, weight, bias, self.stride, padding, self.dilation, self.groups)

    def forward(self, input: Tensor) -> Any:
        return self._conv_forward(input, self.weight, self.bias)


class Conv1d(_Forward):
    """Convolution over (N, C, L) or (C, L)."""

    _conv: Callable[..., Tensor] = staticmethod(F.conv1d)
    _sizes = staticmethod(_single)


class Conv2d(_Forward):
    """Convolution over (N, C, H, W) or (C, H, W).

    >>> from distrib import nn
    >>> nn.Conv2d(1, 4, 3, padding="same")
    Conv2d(1, 4, kernel_size=(3, 3), stride=(1, 1), padding=same)
    """

    _conv: Callable[..., Tensor] = staticmethod(F.conv2d)
    _sizes = staticmethod(_pair)


class Conv3d(_Forward):
    """Convolution over (N, C, D, H, W) or (C, D, H, W)."""

    _conv: Callable[..., Tensor] = staticmethod(F.conv3d)
    _sizes = staticmethod(_triple)


class _ConvTransposeNd(_ConvNd):
    _conv: Callable[..., Tensor]
    _sizes: Callable[[Any], tuple[int, ...]]
    _num_dims: int

    def __init__(
        self,
        in_channels: int,
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
        if padding_mode != "zeros":
            raise ValueError(
                f'Only "zeros" padding mode is supported for {self.__class__.__name__}'
            )
        sizes = self._sizes
        super().__init__(
            in_channels,
            out_channels,
            sizes(kernel_size),
            sizes(stride),
            sizes(padding),
            sizes(dilation),
            True,
            sizes(output_padding),
            groups,
            bias,
            padding_mode,
            device,
            dtype,
        )

    def _output_padding(self, input: Tensor, output_size: Any) -> Any:
        """What to add at the end of each dimension so that the output has the size wanted."""
        if output_size is None:
            return self.output_padding
        num_dims = self._num_dims
        has_batch = input.dim() == num_dims + 2
        lead = 2 if has_batch else 1
        wanted = list(output_size)
        if len(wanted) == lead + num_dims:
            wanted = wanted[lead:]
        if len(wanted) != num_dims:
            raise ValueError(
                f"ConvTranspose{num_dims}D: for {input.dim()}D input, output_size must have "
                f"{num_dims} "
                f"or {lead + num_dims} elements (got {len(wanted)})"
            )
        low = [
            (input.size(d + lead) - 1) * self.stride[d]
            - 2 * self.padding[d]
            + self.dilation[d] * (self.kernel_size[d] - 1)
            + 1
            for d in range(num_dims)
        ]
        high = [low[d] + self.stride[d] - 1 for d in range(num_dims)]
        if any(not a <= size <= b for size, a, b in zip(wanted, low, high, strict=True)):
            raise ValueError(
                f"requested an output size of {output_size}, but valid sizes range "
                f"from {low} to {high} (for an input of {input.size()[2:]})"
            )
        return [size - a for size, a in zip(wanted, low, strict=True)]

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Any:
        return self._conv(
            input,
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            self._output_padding(input, output_size),
            self.groups,
            self.dilation,
        )


class ConvTranspose1d(_ConvTransposeNd):
    """The transpose (gradient) of Conv1d, over (N, C, L) or (C, L)."""

    _conv: Callable[..., Tensor] = staticmethod(F.conv_transpose1d)
    _sizes = staticmethod(_single)
    _num_dims = 1


class ConvTranspose2d(_ConvTransposeNd):
    """The transpose (gradient) of Conv2d, over (N, C, H, W) or (C, H, W)."""

    _conv: Callable[..., Tensor] = staticmethod(F.conv_transpose2d)
    _sizes = staticmethod(_pair)
    _num_dims = 2


class ConvTranspose3d(_ConvTransposeNd):
    """The transpose (gradient) of Conv3d, over (N, C, D, H, W) or (C, D, H, W)."""

    _conv: Callable[..., Tensor] = staticmethod(F.conv_transpose3d)
    _sizes = staticmethod(_triple)
    _num_dims = 3
