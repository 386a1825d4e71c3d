"""Records of the activations: the relu family, shrinkage, smooth gates. Their functions are in `activation`."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import DTypeError
from .arithmetic import abs, exp
from .compare import ge, gt, le, logical_and, logical_or, lt, masked, where3
from .dense import one, takes, takes_both, two
from .formula import math as m
from .native import fast
from .pointwise import sigmoid as sigmoid_op
from .pointwise import tanh
from .registry import elementwise, operator, publish
from .samples import one as one_sample
from .samples import spread
from .special import erf

xp: Any = None  # bound per array type, like the NumPy forms of operators with a compiled one
silu_generic = silu_backward_generic = gelu_generic = gelu_backward_generic = xp
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
    "leaky_relu",
    lambda input, *, negative_slope=0.01: m.where(input > 0, input, input * negative_slope),
    (lambda g, input, negative_slope: where3(gt(input, 0), g, g * negative_slope),),
    samples=one_sample(_X, negative_slope=0.2),
    ref=lambda x, negative_slope: np.maximum(x, 0) + negative_slope * np.minimum(x, 0),
    onnx="LeakyRelu", **_INNER,
)  # fmt: skip
hardtanh_op = elementwise(
    "hardtanh",
    lambda input, *, min_val=-1.0, max_val=1.0: m.minimum(m.maximum(input, min_val), max_val),
    (lambda g, input, min_val, max_val: masked(g,
        logical_and(gt(input, min_val), lt(input, max_val))),),
    samples=one_sample(_X, min_val=-0.71, max_val=1.21),
    ref=lambda x, min_val, max_val: np.clip(x, min_val, max_val), **_INNER,
)  # fmt: skip
hardsigmoid_op = elementwise(
    "hardsigmoid", lambda input: m.minimum(m.maximum(input + 3, 0), 6) / 6,
    (lambda g, input: masked(g / 6, logical_and(gt(input, -3), lt(input, 3))),), domain=(-5, 5),
    ref=lambda x: np.clip(x / 6 + 0.5, 0, 1), onnx="HardSigmoid", **_INNER,
)  # fmt: skip
hardswish_op = elementwise(
    "hardswish", lambda input: input * (m.minimum(m.maximum(input + 3, 0), 6) / 6),
    (lambda g, input: where3(ge(input, 3), g, masked(g * (input / 3 + 0.5), gt(input, -3))),),
    domain=(-5, 5), ref=lambda x: x * np.clip(x / 6 + 0.5, 0, 1), onnx="HardSwish", **_INNER,
)  # fmt: skip
hardshrink = elementwise(
    "hardshrink",
    lambda input, *, lambd=0.5: m.where((input >= -lambd) & (input <= lambd), 0, input),
    (lambda g, input, lambd: masked(g, logical_or(lt(input, -lambd), gt(input, lambd))),), "math",
    inplace=False, domain=(-2, 2), ref=lambda x: x * (np.abs(x) > 0.5),
)  # fmt: skip
softshrink_op = elementwise(
    "softshrink",
    lambda input, *, lambd=0.5: m.where(input > lambd, input - lambd,
        m.where(input < -lambd, input + lambd, input * 0)),
    (lambda g, input, lambd: masked(g, logical_or(lt(input, -lambd), gt(input, lambd))),),
    domain=(-2, 2), ref=lambda x: np.sign(x) * np.maximum(np.abs(x) - 0.5, 0), **_INNER,
)  # fmt: skip
threshold_op = elementwise(
    "threshold", lambda input, *, threshold, value: m.where(input <= threshold, value, input),
    (lambda g, input, threshold: masked(g, gt(input, threshold)),),
    samples=one_sample(_X, threshold=0.3, value=-7.0),
    ref=lambda x, threshold, value: np.where(x > threshold, x, value), **_INNER,
)  # fmt: skip
prelu_op = elementwise(
    "prelu", lambda input, weight: m.where(input > 0, input, input * weight),
    (lambda g, input, weight: where3(gt(input, 0), g, g * weight),
        lambda g, input: masked(g * input, le(input, 0))),
    "promote", out=False, inplace=False, method=False,
    samples=one_sample(_X, spread(4, 1, lo=0.1, hi=0.5)), onnx="PRelu",
    ref=lambda x, weight: np.maximum(x, 0) + weight * np.minimum(x, 0),
)  # fmt: skip

# ---- smooth ---------------------------------------------------------------------------------------
elu_op = elementwise(
    "elu", lambda input, *, alpha=1.0: m.where(input > 0, input, alpha * m.expm1(input)),
    (lambda g, input, y, alpha: where3(gt(input, 0), g, g * (y + alpha)),),
    samples=one_sample(_X, alpha=0.7),
    ref=lambda x, alpha: np.where(x > 0, x, alpha * (np.exp(x) - 1)), onnx="Elu", **_INNER,
)  # fmt: skip
_SELU_SCALE, _SELU_BOTH = 1.0507009873554805, 1.7580993408473766
selu = elementwise(
    "selu",
    lambda input: m.where(input > 0, input * 1.0507009873554805,
        m.expm1(input) * 1.7580993408473766),
    (lambda g, input, y: where3(gt(input, 0), g * _SELU_SCALE, g * (y + _SELU_BOTH)),), "math",
    out=False, method=False, domain=(-3, 3),
    ref=lambda x: _SELU_SCALE * np.where(x > 0, x, 1.6732632423543772 * (np.exp(x) - 1)),
    onnx="Selu",
)  # fmt: skip
celu_op = elementwise(
    "celu", lambda input, *, alpha=1.0: m.where(input > 0, input, alpha * m.expm1(input / alpha)),
    (lambda g, input, y, alpha: where3(gt(input, 0), g, g * (y / alpha + 1)),),
    samples=one_sample(_X, alpha=1.7),
    ref=lambda x, alpha: np.maximum(0, x) + np.minimum(0, alpha * (np.exp(x / alpha) - 1)),
    onnx="Celu", **_INNER,
)  # fmt: skip
silu_op = elementwise(
    "silu", lambda input: input / (1 + m.exp(-input)), (lambda g, input: silu_backward(g, input),),
    cpu=lambda input: one(fast.silu, input) if takes(input) else silu_generic(input),
    domain=(-6, 6), ref=lambda x: x * 0.5 * (1 + np.tanh(x / 2)), **_INNER,
)  # fmt: skip
silu_backward: Any = operator(
    "silu_backward", lambda grad, input: grad * _silu_slope(sigmoid_op(input), input),
    (lambda g, input: silu_backward(g, input), lambda g, grad, input: g * grad
        * _silu_bend(sigmoid_op(input), input)),
    cpu=lambda grad, input: two(fast.silu_grad, grad, input) if takes_both(grad, input)
        else silu_backward_generic(grad, input),
    method=False, samples=one_sample(_X, spread(3, 4, 5, seed=1)),
    ref=lambda g, x: g * (0.5 * (1 + np.tanh(x / 2)) + x / 4 / np.cosh(x / 2) ** 2),
)  # fmt: skip


def _silu_slope(s: Any, x: Any) -> Any:
    return s * (x * (1 - s) + 1)


def _silu_bend(s: Any, x: Any) -> Any:
    return s * (1 - s) * (x * (1 - s * 2) + 2)


softplus = elementwise(
    "softplus",
    lambda input, *, beta=1.0, threshold=20.0: m.where(input * beta > threshold, input,
        m.log1p(m.exp(input * beta)) / beta),
    (lambda g, input, beta, threshold: where3(gt(input * beta, threshold), g,
        g * sigmoid_op(input * beta)),),
    samples=one_sample(_X, beta=2.0), ref=lambda x, beta: np.logaddexp(0, beta * x) / beta,
    onnx="Softplus", rule="math", out=True, inplace=False, method=False,
)  # fmt: skip
mish_op = elementwise(
    "mish", lambda input: input * m.tanh(m.log1p(m.exp(m.minimum(input, 60)))),
    (lambda g, input: g * _mish_slope(tanh(softplus(input)), sigmoid_op(input), input),),
    domain=(-5, 5), ref=lambda x: x * np.tanh(np.logaddexp(0, x)), onnx="Mish", **_INNER,
)  # fmt: skip


def _mish_slope(t: Any, s: Any, x: Any) -> Any:
    return t + x * s * (1 - t * t)


softsign = elementwise(
    "softsign", lambda input: input / (1 + m.absolute(input)),
    (lambda g, input: g * _softsign_slope(1 + abs(input)),), domain=(-4, 4),
    ref=lambda x: np.sign(x) * (1 - 1 / (1 + np.abs(x))), onnx="Softsign", **_INNER,
)  # fmt: skip


def _softsign_slope(d: Any) -> Any:
    return 1 / (d * d)


tanhshrink = elementwise(
    "tanhshrink", lambda input: input - m.tanh(input),
    (lambda g, input, y: g * _squared(input - y),), domain=(-3, 3),
    ref=lambda x: x - np.sinh(x) / np.cosh(x), **_INNER,
)  # fmt: skip


def _squared(t: Any) -> Any:
    return t * t


logsigmoid = elementwise(
    "logsigmoid", lambda input: m.minimum(input, 0) - m.log1p(m.exp(-m.absolute(input))),
    (lambda g, input: g * sigmoid_op(-input),), domain=(-6, 6), ref=lambda x: -np.logaddexp(0, -x),
    rule="math", out=True, inplace=False, method=False,
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
        return (t + 1) * 0.5 + (1 - t * t) * x * (
            x * x * (0.5 * 0.7978845608028654 * 3 * 0.044715) + 0.5 * 0.7978845608028654
        )
    return (erf(x * _R2) + 1) * 0.5 + x * (exp(x * x * -0.5) * _R2PI)


def _gelu_bend(x: Any, approximate: str) -> Any:
    if approximate == "tanh":
        t = tanh((x + x * x * x * 0.044715) * 0.7978845608028654)
        u = x * x * (3 * 0.044715 * 0.7978845608028654) + 0.7978845608028654
        return (1 - t * t) * (u + x * (x * (3 * 0.044715 * 0.7978845608028654) - t * u * u))
    return (2 - x * x) * (exp(x * x * -0.5) * _R2PI)


gelu = elementwise(
    "gelu", lambda input, *, approximate="none": _gelu(input, approximate),
    (lambda g, input, approximate: gelu_backward(g, input, approximate=approximate),),
    cpu=lambda input, *, approximate="none": one(_GELU[approximate], input)
    if takes(input) and approximate in _GELU else gelu_generic(input, approximate=approximate),
    samples=lambda: [((_X,), {}), ((_X,), {"approximate": "tanh"})], onnx="Gelu",
    ref=lambda x, approximate="none": _gelu_ref(x, approximate),
    rule="math", out=True, inplace=False, method=False,
)  # fmt: skip
gelu_backward: Any = operator(
    "gelu_backward",
    lambda grad, input, *, approximate="none": grad * _gelu_slope(input, approximate),
    (lambda g, input, approximate: gelu_backward(g, input, approximate=approximate),
        lambda g, grad, input, approximate: g * grad * _gelu_bend(input, approximate)),
    cpu=lambda grad, input, *, approximate="none": two(_GELU_GRAD[approximate], grad, input)
        if takes_both(grad, input) else gelu_backward_generic(grad, input, approximate=approximate),
    method=False,
    samples=lambda: [((_X, spread(3, 4, 5, seed=1)), {"approximate": a}) for a in _GELU],
    ref=lambda g, x, approximate: g * (_gelu_ref(x + 1e-5, approximate)
        - _gelu_ref(x - 1e-5, approximate)) / 2e-5,
)  # fmt: skip
_GELU: Any = {"none": fast.gelu_erf, "tanh": fast.gelu_tanh}
_GELU_GRAD: Any = {"none": fast.gelu_erf_grad, "tanh": fast.gelu_tanh_grad}


def _gelu_ref(x: Any, approximate: str) -> Any:
    inner = (
        np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))
        if approximate == "tanh"
        else _erf(x / np.sqrt(2))
    )
    return x * 0.5 * (1 + inner)


__all__ = ["hardshrink", "selu"]
publish(globals())
