"""Activations as torch.nn.functional has them: functions with ``inplace``, and the in-place names."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import DTypeError, ShapeError
from ..tensor import Tensor, W, check_dim, wrap
from . import pointwise
from .compare import unsupported
from .gates import gelu as gelu  # public here as well: NN lists them
from .gates import hardshrink as hardshrink
from .gates import logsigmoid as logsigmoid
from .gates import prelu_op
from .gates import softplus as softplus
from .gates import softsign as softsign
from .gates import tanhshrink as tanhshrink
from .record import OPS
from .registry import attach, publish, with_out
from .softmax import log_softmax as log_softmax
from .softmax import softmax
from .softmax import softmin as softmin

WHOLE = ("relu6", "hardtanh", "threshold")  # of integers too


def _run(name: str, input: Tensor, inplace: bool, **attrs: Any) -> Tensor:
    op = OPS[name]
    if input._a.dtype.kind in "biu" and name not in WHOLE:
        raise unsupported(name + "_cpu", input._a)
    result: Tensor = W["inplace"](op, input, (), attrs) if inplace else op.call(input, **attrs)
    return result


def _no_bool(input: Tensor, name: str) -> None:
    if input._a.dtype.kind == "b":
        raise DTypeError(f"Boolean inputs not supported for {name}")


def relu(input: Any, inplace: bool = False) -> Tensor:
    """max(x, 0)."""
    if input._a.dtype.kind == "b":
        _no_bool(input, "relu")
    result: Tensor = input.relu_() if inplace else pointwise.relu(input)
    return result


def relu_(input: Tensor) -> Tensor:
    """max(x, 0), in place."""
    return relu(input, True)


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """min(max(x, 0), 6)."""
    _no_bool(input, "relu6")
    return _run("relu6", input, inplace)


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """x where positive, else negative_slope * x."""
    return _run("leaky_relu", input, inplace, negative_slope=negative_slope)


def leaky_relu_(input: Tensor, negative_slope: float = 0.01) -> Tensor:
    """leaky_relu, in place."""
    return leaky_relu(input, negative_slope, True)


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x where positive, else alpha * (exp(x) - 1)."""
    return _run("elu", input, inplace, alpha=alpha)


def elu_(input: Tensor, alpha: float = 1.0) -> Tensor:
    """elu, in place."""
    return elu(input, alpha, True)


def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """elu with the constants that keep mean 0 and variance 1."""
    return _run("selu", input, inplace)


def selu_(input: Tensor) -> Tensor:
    """selu, in place."""
    return selu(input, True)


def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x where positive, else alpha * (exp(x / alpha) - 1)."""
    if alpha == 0:
        raise RuntimeError("ZeroDivisionError: alpha cannot be 0 for CELU")
    return _run("celu", input, inplace, alpha=alpha)


def celu_(input: Tensor, alpha: float = 1.0) -> Tensor:
    """celu, in place."""
    return celu(input, alpha, True)


def hardtanh(
    input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
) -> Tensor:
    """x limited to [min_val, max_val]."""
    if min_val > max_val:
        raise ValueError("min_val cannot be greater than max_val")
    _no_bool(input, "hardtanh")
    return _run("hardtanh", input, inplace, min_val=min_val, max_val=max_val)


def hardtanh_(input: Tensor, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """hardtanh, in place."""
    return hardtanh(input, min_val, max_val, True)


def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """x * relu6(x + 3) / 6."""
    return _run("hardswish", input, inplace)


def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """relu6(x + 3) / 6."""
    return _run("hardsigmoid", input, inplace)


@with_out
def softshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """x pulled towards zero by lambd."""
    if lambd < 0:
        raise DTypeError(f"lambda must be greater or equal to 0, but found to be {lambd}.")
    return _run("softshrink", input, False, lambd=lambd)


def threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """x where above the threshold, else a value."""
    return _run("threshold", input, inplace, threshold=threshold, value=value)


def threshold_(input: Tensor, threshold: float, value: float) -> Tensor:
    """threshold, in place."""
    return _run("threshold", input, True, threshold=threshold, value=value)


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """x * sigmoid(x)."""
    return _run("silu", input, inplace)


def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """x * tanh(softplus(x))."""
    return _run("mish", input, inplace)


def sigmoid(input: Tensor) -> Tensor:
    """1 / (1 + exp(-x))."""
    result: Tensor = pointwise.sigmoid(input)
    return result


def tanh(input: Tensor) -> Tensor:
    """The hyperbolic tangent."""
    result: Tensor = pointwise.tanh(input)
    return result


def prelu(input: Any, weight: Any) -> Tensor:
    """x where positive, else a learnt multiple of it, one per channel (dimension 1) or one in all."""
    if not isinstance(weight, Tensor):
        raise TypeError(f"prelu(): argument 'weight' must be Tensor, not {type(weight).__name__}")
    if weight._a.size != 1:
        if input.ndim == 0:
            raise ShapeError("Not allow zero-dim input tensor.")
        channels = input.shape[1] if input.ndim > 1 else 1
        if weight.ndim > 1 or channels != weight.numel():
            raise ShapeError("Mismatch of parameter numbers and input channel size",
                             got=f"{weight.numel()} parameters", expected=f"{channels} channels")  # fmt: skip
    elif weight.ndim > 1:
        raise ShapeError(
            "prelu: Expected `weight` to be a scalar or 1D tensor", got=f"ndim = {weight.ndim}"
        )
    if weight.ndim and input.ndim != 1:
        weight = weight.reshape([weight.numel() if i == 1 else 1 for i in range(input.ndim)])
    if input._a.dtype != weight._a.dtype:
        raise DTypeError(
            "prelu: Type promoting not supported.", got=f"{input.dtype} and {weight.dtype}"
        )
    result: Tensor = prelu_op(input, weight)
    return result


def rrelu(input: Any, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False,
          inplace: bool = False) -> Tensor:  # fmt: skip
    """leaky_relu with slopes drawn from [lower, upper] in training, their mean otherwise."""
    if lower > upper:
        raise ShapeError(
            "Lower bound should be less than or equal to the upper bound",
            got=f"{lower} and {upper}",
        )
    if not training:
        return leaky_relu(input, (lower + upper) / 2, inplace)
    from ..random import default_generator, fill

    negative = input._a <= 0
    slopes = np.ones(input._a.shape, input._a.dtype)
    drawn = np.empty(int(negative.sum()))
    fill.uniform(drawn, lower, upper, default_generator)
    slopes[negative] = drawn
    result: Tensor = input.mul_(wrap(slopes)) if inplace else input * wrap(slopes)
    return result


def rrelu_(
    input: Tensor, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False
) -> Tensor:
    """rrelu, in place."""
    return rrelu(input, lower, upper, training, True)


def glu(input: Any, dim: int = -1) -> Tensor:
    """The first half along a dimension times the sigmoid of the second."""
    if input.ndim == 0:
        raise ShapeError("glu does not support 0-dimensional tensors")
    d = check_dim(dim, input.ndim)
    n = input.shape[d]
    if n % 2:
        raise ShapeError(f"Halving dimension must be even, but dimension {d} is size {n}")
    lead = (slice(None),) * d
    result: Tensor = input[(*lead, slice(None, n // 2))] * pointwise.sigmoid(
        input[(*lead, slice(n // 2, None))]
    )
    return result


def gumbel_softmax(
    logits: Any, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1
) -> Tensor:
    """A sample of the Gumbel-softmax distribution; ``hard`` gives one-hot values with the soft gradient."""
    from ..random import default_generator, fill

    noise = np.empty(logits._a.shape, logits._a.dtype)
    fill.exponential(noise, 1.0, default_generator)
    soft: Any = softmax((logits - wrap(np.log(noise))) / tau, dim)
    chosen: Tensor = soft
    if not hard:
        return chosen
    index = soft._a.argmax(dim, keepdims=True)
    sharp = np.zeros(soft._a.shape, soft._a.dtype)
    np.put_along_axis(sharp, index, 1, dim)
    hot: Any = wrap(sharp)
    chosen = hot - soft.detach() + soft
    return chosen


attach("prelu", prelu)
__all__ = [
    "celu", "celu_", "hardshrink", "prelu", "relu_", "rrelu", "rrelu_", "selu", "selu_", "threshold", "threshold_",
]  # fmt: skip
NN = [
    "celu", "celu_", "elu", "elu_", "gelu", "glu", "gumbel_softmax", "hardshrink", "hardsigmoid", "hardswish",
    "hardtanh", "hardtanh_", "leaky_relu", "leaky_relu_", "log_softmax", "logsigmoid", "mish", "prelu", "relu",
    "relu6", "relu_", "rrelu", "rrelu_", "selu", "selu_", "sigmoid", "silu", "softmax", "softmin", "softplus",
    "softshrink", "softsign", "tanh", "tanhshrink", "threshold", "threshold_",
]  # fmt: skip
publish(globals())
