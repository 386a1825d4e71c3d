"""Activations of torch.nn.functional: the relu family, smooth gates, softmax and its logarithm."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from ..dtypes import raw_of
from ..errors import DTypeError, ShapeError
from ..tensor import Tensor, W, check_dim, wrap
from . import pointwise as _pointwise
from .arithmetic import abs, exp
from .compare import ge, gt, le, logical_and, logical_or, lt, masked, where3
from .core import cast
from .formula import math as m
from .pointwise import expm1, log1p, tanh
from .pointwise import relu as relu_op
from .pointwise import sigmoid as sigmoid_op
from .record import OPS
from .reduce import sum
from .registry import alias_for_write, attach, copy_into, elementwise, operator, publish
from .samples import one, spread

xp: Any = None  # bound per array type
_X = spread(3, 4, 5)
_INNER: dict[str, Any] = {"rule": "math", "out": False, "inplace": False, "method": False}
_R2, _R2PI = 0.7071067811865476, 0.3989422804014327


def _erf(x: Any) -> Any:
    """By the standard library, one number at a time."""
    import math

    return np.vectorize(math.erf)(x)


# ---- piecewise linear -----------------------------------------------------------------------------
relu6_ = elementwise(
    "relu6", lambda input: m.minimum(m.maximum(input, 0), 6),
    (lambda g, y: masked(g, logical_and(gt(y, 0), lt(y, 6))),), domain=(-3, 9),
    ref=lambda x: np.clip(x, 0, 6), onnx="Clip", **_INNER,
)  # fmt: skip
leaky_relu_op = elementwise(
    "leaky_relu", lambda input, *, negative_slope=0.01: m.where(input > 0, input, input * negative_slope),
    (lambda g, input, negative_slope: where3(gt(input, 0), g, g * negative_slope),),
    samples=one(_X, negative_slope=0.2), ref=lambda x, negative_slope: np.maximum(x, 0) + negative_slope * np.minimum(x, 0),
    onnx="LeakyRelu", **_INNER,
)  # fmt: skip
hardtanh_op = elementwise(
    "hardtanh", lambda input, *, min_val=-1.0, max_val=1.0: m.minimum(m.maximum(input, min_val), max_val),
    (lambda g, input, min_val, max_val: masked(g, logical_and(gt(input, min_val), lt(input, max_val))),),
    samples=one(_X, min_val=-0.71, max_val=1.21), ref=lambda x, min_val, max_val: np.clip(x, min_val, max_val), **_INNER,
)  # fmt: skip
hardsigmoid_op = elementwise(
    "hardsigmoid", lambda input: m.minimum(m.maximum(input + 3, 0), 6) / 6,
    (lambda g, input: masked(g / 6, logical_and(gt(input, -3), lt(input, 3))),), domain=(-5, 5),
    ref=lambda x: np.clip(x / 6 + 0.5, 0, 1), onnx="HardSigmoid", **_INNER,
)  # fmt: skip
hardswish_op = elementwise(
    "hardswish", lambda input: input * (m.minimum(m.maximum(input + 3, 0), 6) / 6),
    (lambda g, input: where3(ge(input, 3), g, masked(g * (input / 3 + 0.5), gt(input, -3))),), domain=(-5, 5),
    ref=lambda x: x * np.clip(x / 6 + 0.5, 0, 1), onnx="HardSwish", **_INNER,
)  # fmt: skip
hardshrink = elementwise(
    "hardshrink", lambda input, *, lambd=0.5: m.where((input >= -lambd) & (input <= lambd), 0, input),
    (lambda g, input, lambd: masked(g, logical_or(lt(input, -lambd), gt(input, lambd))),), "math",
    inplace=False, domain=(-2, 2), ref=lambda x: x * (np.abs(x) > 0.5),
)  # fmt: skip
softshrink_op = elementwise(
    "softshrink",
    lambda input, *, lambd=0.5: m.where(input > lambd, input - lambd, m.where(input < -lambd, input + lambd, input * 0)),
    (lambda g, input, lambd: masked(g, logical_or(lt(input, -lambd), gt(input, lambd))),),
    domain=(-2, 2), ref=lambda x: np.sign(x) * np.maximum(np.abs(x) - 0.5, 0), **_INNER,
)  # fmt: skip
threshold_op = elementwise(
    "threshold", lambda input, *, threshold, value: m.where(input <= threshold, value, input),
    (lambda g, input, threshold: masked(g, gt(input, threshold)),), samples=one(_X, threshold=0.3, value=-7.0),
    ref=lambda x, threshold, value: np.where(x > threshold, x, value), **_INNER,
)  # fmt: skip
prelu_op = elementwise(
    "prelu", lambda input, weight: m.where(input > 0, input, input * weight),
    (lambda g, input, weight: where3(gt(input, 0), g, g * weight),
     lambda g, input: masked(g * input, le(input, 0))), "promote", out=False, inplace=False, method=False,
    samples=one(_X, spread(4, 1, lo=0.1, hi=0.5)), onnx="PRelu",
    ref=lambda x, weight: np.maximum(x, 0) + weight * np.minimum(x, 0),
)  # fmt: skip

# ---- smooth ---------------------------------------------------------------------------------------
elu_op = elementwise(
    "elu", lambda input, *, alpha=1.0: m.where(input > 0, input, alpha * m.expm1(input)),
    (lambda g, input, y, alpha: where3(gt(input, 0), g, g * (y + alpha)),), samples=one(_X, alpha=0.7),
    ref=lambda x, alpha: np.where(x > 0, x, alpha * (np.exp(x) - 1)), onnx="Elu", **_INNER,
)  # fmt: skip
_SELU_SCALE, _SELU_BOTH = 1.0507009873554805, 1.7580993408473766
selu = elementwise(
    "selu", lambda input: m.where(input > 0, input * 1.0507009873554805, m.expm1(input) * 1.7580993408473766),
    (lambda g, input, y: where3(gt(input, 0), g * _SELU_SCALE, g * (y + _SELU_BOTH)),), "math", out=False, method=False,
    domain=(-3, 3), ref=lambda x: _SELU_SCALE * np.where(x > 0, x, 1.6732632423543772 * (np.exp(x) - 1)), onnx="Selu",
)  # fmt: skip
celu_op = elementwise(
    "celu", lambda input, *, alpha=1.0: m.where(input > 0, input, alpha * m.expm1(input / alpha)),
    (lambda g, input, y, alpha: where3(gt(input, 0), g, g * (y / alpha + 1)),), samples=one(_X, alpha=1.7),
    ref=lambda x, alpha: np.maximum(0, x) + np.minimum(0, alpha * (np.exp(x / alpha) - 1)), onnx="Celu", **_INNER,
)  # fmt: skip
silu_op = elementwise(
    "silu", lambda input: input / (1 + m.exp(-input)), (lambda g, input: g * _silu_slope(sigmoid_op(input), input),),
    domain=(-6, 6), ref=lambda x: x * 0.5 * (1 + np.tanh(x / 2)), **_INNER,
)  # fmt: skip


def _silu_slope(s: Any, x: Any) -> Any:
    return s * (x * (1 - s) + 1)


softplus = elementwise(
    "softplus",
    lambda input, *, beta=1.0, threshold=20.0: m.where(
        input * beta > threshold, input, m.log1p(m.exp(input * beta)) / beta
    ),
    (lambda g, input, beta, threshold: where3(gt(input * beta, threshold), g, g * sigmoid_op(input * beta)),),
    samples=one(_X, beta=2.0), ref=lambda x, beta: np.logaddexp(0, beta * x) / beta, onnx="Softplus",
    rule="math", out=True, inplace=False, method=False,
)  # fmt: skip
mish_op = elementwise(
    "mish", lambda input: input * m.tanh(m.log1p(m.exp(m.minimum(input, 60)))),
    (lambda g, input: g * _mish_slope(tanh(softplus(input)), sigmoid_op(input), input),), domain=(-5, 5),
    ref=lambda x: x * np.tanh(np.logaddexp(0, x)), onnx="Mish", **_INNER,
)  # fmt: skip


def _mish_slope(t: Any, s: Any, x: Any) -> Any:
    return t + x * s * (1 - t * t)


softsign = elementwise(
    "softsign", lambda input: input / (1 + m.absolute(input)), (lambda g, input: g * _softsign_slope(1 + abs(input)),),
    domain=(-4, 4), ref=lambda x: np.sign(x) * (1 - 1 / (1 + np.abs(x))), onnx="Softsign", **_INNER,
)  # fmt: skip


def _softsign_slope(d: Any) -> Any:
    return 1 / (d * d)


tanhshrink = elementwise(
    "tanhshrink", lambda input: input - m.tanh(input), (lambda g, input, y: g * _squared(input - y),),
    domain=(-3, 3), ref=lambda x: x - np.sinh(x) / np.cosh(x), **_INNER,
)  # fmt: skip


def _squared(t: Any) -> Any:
    return t * t


logsigmoid = elementwise(
    "logsigmoid", lambda input: m.minimum(input, 0) - m.log1p(m.exp(-m.absolute(input))),
    (lambda g, input: g * sigmoid_op(-input),), domain=(-6, 6), ref=lambda x: -np.logaddexp(0, -x), **_INNER,
)  # fmt: skip


def _gelu(x: Any, approximate: str) -> Any:
    if approximate == "tanh":
        return 0.5 * x * (1 + m.tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)))
    if approximate != "none":
        raise DTypeError("approximate argument must be either none or tanh.")
    return 0.5 * x * (1 + m.erf(x * 0.7071067811865476))


def _gelu_slope(x: Any, approximate: str) -> Any:
    if approximate == "tanh":
        t = tanh((x + x * x * x * 0.044715) * 0.7978845608028654)
        return (t + 1) * 0.5 + (1 - t * t) * x * (x * x * (0.5 * 0.7978845608028654 * 3 * 0.044715) + 0.5 * 0.7978845608028654)
    return (erf(x * _R2) + 1) * 0.5 + x * (exp(x * x * -0.5) * _R2PI)


gelu = elementwise(
    "gelu", lambda input, *, approximate="none": _gelu(input, approximate),
    (lambda g, input, approximate: g * _gelu_slope(input, approximate),),
    samples=lambda: [((_X,), {}), ((_X,), {"approximate": "tanh"})], onnx="Gelu",
    ref=lambda x, approximate="none": x * 0.5 * (1 + (_erf(x / np.sqrt(2)) if approximate == "none" else np.tanh(
        np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))),
    rule="math", out=True, inplace=False, method=False,
)  # fmt: skip
erf = elementwise(
    "erf", lambda input: m.erf(input), (lambda g, input: g * (exp(input * -input) * 1.1283791670955126),),
    domain=(-3, 3), ref=_erf, onnx="Erf",
)  # fmt: skip


# ---- softmax ----------------------------------------------------------------------------------------
def _floating(x: Any, dim: int, name: str) -> None:
    check_dim(dim, x.ndim)
    if x.dtype.kind not in "fc":
        raise DTypeError(f"\"{name}\" not implemented for '{x.dtype.name.title()}'")


def _softmax(x: Any, dim: int) -> Any:
    _floating(x, dim, "softmax_lastdim_kernel_impl")
    if not x.size:
        return x.copy()
    e = x - xp.maximum.reduce(x, dim, keepdims=True)
    e = xp.exp(e)
    return e / xp.add.reduce(e, dim, keepdims=True)


def _softmax_backward(g: Any, y: Any, dim: int) -> Any:
    return y * (g - xp.add.reduce(g * y, dim, keepdims=True))


def _log_softmax(x: Any, dim: int) -> Any:
    _floating(x, dim, "log_softmax_lastdim_kernel_impl")
    if not x.size:
        return x.copy()
    z = x - xp.maximum.reduce(x, dim, keepdims=True)
    return z - xp.log(xp.add.reduce(xp.exp(z), dim, keepdims=True))


def _log_softmax_backward(g: Any, y: Any, dim: int) -> Any:
    return g - xp.exp(y) * xp.add.reduce(g, dim, keepdims=True)


softmax_op = operator(
    "softmax", lambda input, *, dim: _softmax(input, dim), (lambda g, y, dim: softmax_backward(g, y, dim=dim),), "math",
    method=False, samples=one(_X, dim=1), onnx="Softmax",
    ref=lambda x, dim: np.exp(x) / np.sum(np.exp(x), dim, keepdims=True),
)  # fmt: skip
softmax_backward = operator(
    "softmax_backward", lambda g, y, *, dim: _softmax_backward(g, y, dim),
    (lambda g, y, dim: softmax_backward(g, y, dim=dim),
     lambda h, g, y, dim: h * (g - sum(g * y, dim=dim, keepdim=True)) - g * sum(h * y, dim=dim, keepdim=True)),
    method=False, samples=one(_X, spread(3, 4, 5, seed=3), dim=1),
    ref=lambda g, y, dim: np.einsum("aib,ij,ajb->ajb", g, np.eye(4), y) - y * np.einsum("aib,aib->ab", g, y)[:, None],
)  # fmt: skip
log_softmax_op = operator(
    "log_softmax", lambda input, *, dim: _log_softmax(input, dim),
    (lambda g, y, dim: log_softmax_backward(g, y, dim=dim),), "math",
    method=False, samples=one(_X, dim=1), onnx="LogSoftmax",
    ref=lambda x, dim: x - np.log(np.sum(np.exp(x), dim, keepdims=True)),
)  # fmt: skip
log_softmax_backward = operator(
    "log_softmax_backward", lambda g, y, *, dim: _log_softmax_backward(g, y, dim),
    (lambda h, y, dim: h - sum(h * exp(y), dim=dim, keepdim=True),
     lambda h, g, y, dim: -(h * exp(y) * sum(g, dim=dim, keepdim=True))),
    method=False, samples=one(_X, spread(3, 4, 5, seed=3), dim=1),
    ref=lambda g, y, dim: g - np.exp(y) * np.einsum("aib->ab", g)[:, None],
)  # fmt: skip


def _implicit(name: str, ndim: int, level: int) -> int:
    warnings.warn(
        f"Implicit dimension choice for {name} has been deprecated. Change the call to include dim=X as an argument.",
        UserWarning, stacklevel=level,
    )  # fmt: skip
    return 0 if ndim in (0, 1, 3) else 1


def softmax(input: Tensor, dim: Any = None, _stacklevel: int = 3, dtype: Any = None, *, out: Any = None) -> Tensor:
    """exp(x) over its sum along a dimension."""
    if dim is None:
        dim = _implicit("softmax", input.ndim, _stacklevel)
    if dtype is not None:
        input = cast(input, dtype=raw_of(dtype))
    result: Tensor = softmax_op(input, dim=dim)
    return result if out is None else W["write_out"]("softmax", result, out, ())  # type: ignore


def log_softmax(input: Tensor, dim: Any = None, _stacklevel: int = 3, dtype: Any = None, *, out: Any = None) -> Tensor:
    """The logarithm of softmax, computed without leaving logarithms."""
    if dim is None:
        dim = _implicit("log_softmax", input.ndim, _stacklevel)
    if dtype is not None:
        input = cast(input, dtype=raw_of(dtype))
    result: Tensor = log_softmax_op(input, dim=dim)
    return result if out is None else W["write_out"]("log_softmax", result, out, ())  # type: ignore


def softmin(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Tensor:
    """softmax of the negative."""
    if dim is None:
        dim = _implicit("softmin", input.ndim, _stacklevel)
    return softmax(-input, dim, _stacklevel, dtype)


def _method(fn: Any) -> Any:
    def called(self: Tensor, dim: int, dtype: Any = None) -> Tensor:
        result: Tensor = fn(self, dim, 3, dtype)
        return result

    return called


Tensor.softmax = _method(softmax)
Tensor.log_softmax = _method(log_softmax)
