"""Folding batch normalisation into the layer before it, for evaluation."""

import copy
from typing import Any, TypeVar

from distrib.nn.modules.module import Module
from distrib.nn.parameter import Parameter
from distrib.tensor import Tensor

__all__ = [
    "fuse_conv_bn_eval",
    "fuse_conv_bn_weights",
    "fuse_linear_bn_eval",
    "fuse_linear_bn_weights",
]

ModuleT = TypeVar("ModuleT", bound=Module)


def _check_eval(first: Module, bn: Module) -> None:
    if first.training or bn.training:
        raise AssertionError("Fusion only for eval!")


def fuse_conv_bn_eval(conv: ModuleT, bn: Module, transpose: bool = False) -> ModuleT:
    """A copy of a convolution that does the work of both modules; both must be in eval mode."""
    _check_eval(conv, bn)
    fused = copy.deepcopy(conv)
    if bn.running_mean is None or bn.running_var is None:
        raise AssertionError("bn.running_mean and bn.running_var must not be None")
    fused.weight, fused.bias = fuse_conv_bn_weights(
        fused.weight,
        fused.bias,
        bn.running_mean,
        bn.running_var,
        bn.eps,
        bn.weight,
        bn.bias,
        transpose,
    )
    return fused


def fuse_conv_bn_weights(
    conv_w: Any,
    conv_b: Any,
    bn_rm: Any,
    bn_rv: Any,
    bn_eps: float,
    bn_w: Any,
    bn_b: Any,
    transpose: bool = False,
) -> tuple[Parameter, Parameter]:
    """(weight, bias) of the fused convolution."""
    bias = conv_b if conv_b is not None else bn_rm * 0
    scale = (bn_rv + bn_eps) ** -0.5
    if bn_w is not None:
        scale = scale * bn_w
    shape = [1] * conv_w.dim()
    shape[1 if transpose else 0] = -1
    shift = (bias - bn_rm) * scale
    if bn_b is not None:
        shift = shift + bn_b
    weight = (conv_w * scale.reshape(shape)).to(conv_w.dtype)
    return _parameter(weight, conv_w), _parameter(shift.to(bias.dtype), conv_b)


def _parameter(value: Any, like: Tensor | None) -> Parameter:
    result: Parameter = Parameter(value.detach(), True if like is None else like.requires_grad)
    return result


def fuse_linear_bn_eval(linear: ModuleT, bn: Module) -> ModuleT:
    """A copy of a linear layer that does the work of both modules; both must be in eval mode."""
    _check_eval(linear, bn)
    fused = copy.deepcopy(linear)
    if linear.out_features != bn.num_features and bn.num_features != 1:
        raise AssertionError(
            "To fuse, linear.out_features == bn.num_features or bn.num_features == 1"
        )
    if bn.running_mean is None or bn.running_var is None:
        raise AssertionError("bn.running_mean and bn.running_var must not be None")
    fused.weight, fused.bias = fuse_linear_bn_weights(
        fused.weight, fused.bias, bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias
    )
    return fused


def fuse_linear_bn_weights(
    linear_w: Any,
    linear_b: Any,
    bn_rm: Any,
    bn_rv: Any,
    bn_eps: float,
    bn_w: Any,
    bn_b: Any,
) -> tuple[Parameter, Parameter]:
    """(weight, bias) of the fused linear layer."""
    bias = linear_b if linear_b is not None else bn_rm * 0
    scale = bn_w * (bn_rv + bn_eps) ** -0.5
    weight = (linear_w * scale.unsqueeze(-1)).to(linear_w.dtype)
    shift = ((bias - bn_rm) * scale + bn_b).to(bias.dtype)
    return _parameter(weight, linear_w), _parameter(shift, linear_b)
