"""Arithmetic: add .. pow with their operators and in-place forms, remainders, sign, fused multiply-adds."""

from __future__ import annotations

import cmath
import math
from typing import Any

import numpy as np

from .. import dtypes
from ..errors import DTypeError
from ..tensor import Tensor
from .compare import eq, ge, logical_and, logical_not, masked, ne, where3
from .formula import math as m
from .record import OPS
from .registry import attach, elementwise, inplace_method, operator, publish
from .samples import one, spread

xp: Any = None  # bound per array type
COMPLEX = frozenset((dtypes.complex64, dtypes.complex128, dtypes.C8, dtypes.C16))


def cj(x: Any) -> Any:
    """The conjugate of an array, a Tensor or a number; real ones come back as they are."""
    try:
        return conj(x) if x.dtype in COMPLEX else x
    except AttributeError:
        return x.conjugate()


def number(x: Any) -> bool:
    """Whether an operand is a Python number."""
    return isinstance(x, (int, float, complex))


conj: Any = operator(
    "conj", lambda input: xp.conjugate(input) if input.dtype.kind == "c" else input,
    (lambda g: conj(g),), view="maybe", grad_name="ConjBackward0",
    samples=one(np.array([1 + 2j, -0.5j])), ref=lambda input: input.real - 1j * input.imag,
)  # fmt: skip


# ---- sums, products, quotients ------------------------------------------------------------------------
def _with_alpha(call: Any, input: Any, other: Any, alpha: Any) -> Any:
    for t in (input, other):
        if (
            isinstance(t, Tensor)
            and t._a.dtype.kind in "biu"
            and isinstance(alpha, (float, complex))
        ):
            if not any(isinstance(o, float) or (isinstance(o, Tensor) and o._a.dtype.kind not in "biu")
                       for o in (input, other)):  # fmt: skip
                raise DTypeError(
                    "For integral input tensors, argument alpha must not be a floating point number."
                )
    return call(input, other * alpha)


add = elementwise(
    "add", lambda input, other: input + other, (lambda g: g, lambda g: g),
    extra={"alpha": 1}, expand=_with_alpha, into=lambda a, b: xp.add(a, b, out=a),
    domain=(-2, 2), ref=np.add, onnx="Add",
)  # fmt: skip
sub = elementwise(
    "sub", lambda input, other: input - other, (lambda g: g, lambda g: -g),
    extra={"alpha": 1}, expand=_with_alpha, into=lambda a, b: xp.subtract(a, b, out=a),
    domain=(-2, 2), ref=np.subtract, onnx="Sub",
)  # fmt: skip
rsub = elementwise(
    "rsub", lambda input, other: other - input, (lambda g: -g, lambda g: g), out=False,
    inplace=False, extra={"alpha": 1},
    expand=lambda call, input, other, alpha: call(input * alpha, other), domain=(-2, 2),
    ref=lambda a, b: np.subtract(b, a),
)  # fmt: skip
mul = elementwise(
    "mul", lambda input, other: input * other,
    (lambda g, other: g * cj(other), lambda g, input: g * cj(input)),
    into=lambda a, b: xp.multiply(a, b, out=a), domain=(-2, 2), ref=np.multiply, onnx="Mul",
)  # fmt: skip


def _div_mode(call: Any, input: Any, other: Any, rounding_mode: Any) -> Any:
    if rounding_mode == "floor":
        return div_floor(input, other)
    if rounding_mode == "trunc":
        return div_trunc(input, other)
    raise DTypeError(
        "div expected rounding_mode to be one of None, 'trunc', or 'floor'", got=repr(rounding_mode)
    )


div = elementwise(
    "div", lambda input, other: input / other,
    (lambda g, other: g / cj(other), lambda g, input, other: -g * cj(input / other / other)), "float",
    extra={"rounding_mode": None}, expand=_div_mode, into=lambda a, b: xp.divide(a, b, out=a),
    domain=(0.5, 2), ref=np.true_divide, onnx="Div",
)  # fmt: skip
rdiv = elementwise(
    "_rdiv", lambda input, other: other / input,
    (lambda g, input, other: -g * cj(other / input / input), lambda g, input: g / cj(input)), "float", out=False,
    inplace=False, domain=(0.5, 2), ref=lambda a, b: np.true_divide(b, a), grad_name="DivBackward0",
)  # fmt: skip


def _no_zero(other: Any) -> None:
    """Integer division by zero is an error, as it is in PyTorch."""
    if getattr(other, "dtype", None) is None:
        if type(other) is int and other == 0:
            raise ZeroDivisionError
    elif other.dtype.kind in "iu" and not other.all():
        raise ZeroDivisionError


def _floor(a: Any, b: Any) -> Any:
    if a.dtype.kind in "iub":
        _no_zero(b)
    return xp.floor_divide(a, b)


def _trunc(a: Any, b: Any) -> Any:
    if a.dtype.kind in "fc":
        return xp.trunc(a / b)
    _no_zero(b)
    q = xp.floor_divide(a, b)
    return q + ((q < 0) & xp.not_equal(q * b, a))


def _mod(a: Any, b: Any) -> Any:
    if a.dtype.kind in "iub":
        _no_zero(b)
    return xp.remainder(a, b)


def _fmod(a: Any, b: Any) -> Any:
    if a.dtype.kind in "iub":
        _no_zero(b)
    return xp.fmod(a, b)


div_floor = elementwise(
    "div_floor", lambda input, other: m.floor_divide(input, other),
    (lambda g: g * 0.0, lambda g: g * 0.0), cpu=lambda input, other: _floor(input, other),
    method=False, inplace=False, grad_name="DivBackward1", domain=(0.5, 7),
    ref=lambda a, b: np.floor(a / b),
)  # fmt: skip
div_trunc = elementwise(
    "div_trunc", lambda input, other: m.trunc(input / other),
    (lambda g: g * 0.0, lambda g: g * 0.0), cpu=lambda input, other: _trunc(input, other),
    method=False, inplace=False, grad_name="DivBackward1", domain=(0.5, 7),
    ref=lambda a, b: (a / b).astype("i8").astype("f8"),
)  # fmt: skip
floor_divide = elementwise(
    "floor_divide", lambda input, other: m.floor_divide(input, other),
    cpu=lambda input, other: _floor(input, other), numbers=(0, 1), domain=(0.5, 7),
    ref=lambda a, b: np.floor(a / b),
)  # fmt: skip
remainder = elementwise(
    "remainder", lambda input, other: m.remainder(input, other),
    (lambda g: g, lambda g, input, other: -g * div_floor(input, other)),
    cpu=lambda input, other: _mod(input, other), numbers=(0, 1), domain=(0.5, 7),
    ref=lambda a, b: a - b * np.floor(a / b),
)  # fmt: skip
fmod = elementwise(
    "fmod", lambda input, other: m.fmod(input, other),
    (lambda g: g, lambda g, input, other: -g * div_trunc(input, other)),
    cpu=lambda input, other: _fmod(input, other), domain=(0.5, 7),
    ref=lambda a, b: a - b * np.trunc(a / b),
)  # fmt: skip

# ---- powers -------------------------------------------------------------------------------------------
exp = elementwise(
    "exp", lambda input: m.exp(input), (lambda g, y: g * cj(y),), domain=(-3, 3),
    into=lambda a: xp.exp(a, out=a), ref=lambda x: np.power(np.e, x), onnx="Exp",
)  # fmt: skip
log = elementwise(
    "log", lambda input: m.log(input), (lambda g, input: g / cj(input),), domain=(0.2, 4),
    ref=lambda x: np.log2(x) / np.log2(np.e), onnx="Log",
)  # fmt: skip


def _pow(a: Any, b: Any) -> Any:
    """NumPy's power, without it where a product or a root does."""
    if type(b) in (int, float):
        if b == 2:
            return a * a
        if b == 3:
            return a * a * a
        if b == 1:
            return +a
        if a.dtype.kind == "f":
            if b == 0.5:
                return xp.sqrt(a)
            if b == -1:
                return 1 / a
            if b == -0.5:
                return 1 / xp.sqrt(a)
            if b == -2:
                return 1 / (a * a)
    if a.dtype.kind == "i" and getattr(b, "ndim", None) is not None:
        return _whole_pow(a, b)
    return xp.power(a, b)


def _whole_pow(a: Any, b: Any) -> Any:
    """Powers of integers; a tensor may hold negative exponents: 0, or 1 and -1 for bases that are so."""
    below = b < 0
    if not below.any():
        return xp.power(a, b)
    unit = xp.where(xp.equal(a, 1), 1, xp.where(xp.equal(a, -1), 1 - 2 * (b & 1), 0))
    return xp.where(below, unit, xp.power(a, xp.where(below, 0, b))).astype(a.dtype)


def _pow_base(g: Any, input: Any, other: Any) -> Any:
    if number(other):
        if other == 0:
            return g * 0.0
        if other == 2:
            return g * (cj(input) * 2)
        return g * cj(pow(input, other - 1) * other)
    return masked(g * cj(other * pow(input, other - 1)), ne(other, 0))


def _pow_exponent(g: Any, base: Any, exponent: Any, y: Any) -> Any:
    if number(base):
        return g * 0.0 if base == 0 else g * cj(y * _ln(base))
    dead = logical_and(eq(base, 0), ge(exponent, 0)) if base.dtype not in COMPLEX else eq(base, 0)
    return masked(g * cj(y * log(where3(dead, 1.0, base))), logical_not(dead))


def _ln(x: Any) -> Any:
    if isinstance(x, complex):
        return cmath.log(x)
    return math.log(x) if x > 0 else math.nan


pow = elementwise(
    "pow", lambda input, other: m.power(input, other),
    (lambda g, input, other: _pow_base(g, input, other),
        lambda g, input, other, y: _pow_exponent(g, input, other, y)),
    cpu=lambda input, other: _pow(input, other), numbers=(0, 1), domain=(0.5, 2),
    ref=lambda a, b: np.exp(b * np.log(a)), onnx="Pow",
)  # fmt: skip
rpow = elementwise(
    "_rpow", lambda input, other: m.power(other, input),
    (lambda g, input, other, y: _pow_exponent(g, other, input, y),
        lambda g, input, other: _pow_base(g, other, input)),
    cpu=lambda input, other: _pow(other, input) if hasattr(other, "dtype") else xp.power(other, input),
    out=False, inplace=False, domain=(0.5, 2), ref=lambda a, b: np.exp(a * np.log(b)),
    grad_name="PowBackward1",
)  # fmt: skip


# ---- sign and size ------------------------------------------------------------------------------------
neg = elementwise(
    "neg", lambda input: -input, (lambda g: -g,), "math", into=lambda a: xp.negative(a, out=a),
    domain=(-2, 2), ref=lambda x: 0.0 - x, onnx="Neg",
)  # fmt: skip
abs = elementwise(
    "abs", lambda input: m.absolute(input), (lambda g, input: g * sgn(input),), "math",
    domain=(-2, 2), ref=lambda x: np.where(x < 0, -x, x), onnx="Abs",
)  # fmt: skip
sign = elementwise(
    "sign", lambda input: m.sign(input), (lambda g: g * 0.0,), "math",
    cpu=lambda input: _sign(input), domain=(-2, 2), ref=lambda x: (x > 0) * 1.0 - (x < 0),
    onnx="Sign",
)  # fmt: skip


def _sign(x: Any) -> Any:
    if x.dtype.kind == "c":
        raise NotImplementedError(
            "torch.sign is not for complex numbers, unlike NumPy's; use torch.sgn"
        )
    return x if x.dtype.kind == "b" else xp.sign(x)


def _sgn_backward(g: Any, input: Any, y: Any) -> Any:
    """Only what turns the phase passes; nothing does for real numbers."""
    if input.dtype not in COMPLEX:
        return g * 0.0
    along = y * cj(g)
    turned = (g - y * ((along + cj(along)) * 0.5)) / where3(eq(input, 0), 1.0, abs(input))
    return masked(turned, ne(input, 0))


sgn: Any = elementwise(
    "sgn", lambda input: m.sign(input), (lambda g, input, y: _sgn_backward(g, input, y),), "math",
    cpu=lambda input: input if input.dtype.kind == "b" else xp.sign(input),
    domain=(-2, 2), ref=lambda x: (x > 0) * 1.0 - (x < 0),
)  # fmt: skip
reciprocal = elementwise(
    "reciprocal", lambda input: 1 / input, (lambda g, y: -g * cj(y * y),), domain=(0.5, 2),
    ref=lambda x: np.power(x, -1.0), onnx="Reciprocal",
)  # fmt: skip
square = elementwise(
    "square", lambda input: input * input, (lambda g, input: g * (cj(input) * 2),), "math",
    cpu=lambda input: input.astype("i8") if input.dtype.kind == "b" else input * input,
    domain=(-2, 2), ref=lambda x: np.power(x, 2.0),
)  # fmt: skip
sqrt = elementwise(
    "sqrt", lambda input: m.sqrt(input), (lambda g, y: g / (cj(y) * 2),), domain=(0.2, 4),
    ref=lambda x: np.power(x, 0.5), onnx="Sqrt",
)  # fmt: skip
rsqrt = elementwise(
    "rsqrt", lambda input: 1 / m.sqrt(input), (lambda g, y: g * cj(y * y * y) * -0.5,),
    domain=(0.2, 4), ref=lambda x: np.power(x, -0.5),
)  # fmt: skip

# ---- fused ------------------------------------------------------------------------------------------
_THREE = one(spread(2, 3, 4), spread(3, 4, seed=1), spread(3, 1, lo=0.5, seed=2), value=0.7)
addcmul = elementwise(
    "addcmul", lambda input, tensor1, tensor2, *, value=1: input + value * tensor1 * tensor2,
    (lambda g: g, lambda g, tensor2, value: g * cj(tensor2 * value),
        lambda g, tensor1, value: g * cj(tensor1 * value)),
    numbers=(), samples=_THREE, ref=lambda a, b, c, value: np.add(a, np.multiply(b, c) * value),
)  # fmt: skip
addcdiv = elementwise(
    "addcdiv", lambda input, tensor1, tensor2, *, value=1: input + value * (tensor1 / tensor2),
    (lambda g: g, lambda g, tensor2, value: g * cj(value / tensor2),
     lambda g, tensor1, tensor2, value: -g * cj(value * tensor1 / (tensor2 * tensor2))),
    numbers=(), samples=_THREE, ref=lambda a, b, c, value: np.add(a, np.divide(b, c) * value),
)  # fmt: skip
lerp = elementwise(
    "lerp",
    lambda input, end, weight: m.where(
        m.absolute(weight) < 0.5, input + weight * (end - input), end - (end - input) * (1 - weight)
    ),
    (lambda g, weight: g * cj(1 - weight), lambda g, weight: g * cj(weight),
     lambda g, input, end: g * cj(end - input)),
    numbers=(2,), samples=one(spread(2, 3), spread(3, seed=1), spread(2, 3, lo=0, hi=1, seed=2)),
    ref=lambda a, b, w: (1 - w) * a + w * b,
)  # fmt: skip


def positive(input: Tensor) -> Tensor:
    """The tensor itself; RuntimeError for bool."""
    if input._a.dtype.kind == "b":
        raise DTypeError("The `+` operator, on a bool tensor is not supported.")
    return input


# ---- operators and second names ---------------------------------------------------------------------
multiply, subtract, divide, true_divide, negative, absolute = mul, sub, div, div, neg, abs
for _name, _fn in {
    "multiply": mul, "subtract": sub, "divide": div, "true_divide": div, "negative": neg, "absolute": abs,
}.items():  # fmt: skip
    attach(_name, _fn)
    attach(_name + "_", inplace_method(OPS[_fn.__name__]))
attach("positive", positive)
for _name, _fn, _rfn in (
    ("add", add, add), ("sub", sub, rsub), ("mul", mul, mul), ("truediv", div, rdiv), ("pow", pow, rpow),
    ("floordiv", floor_divide, lambda self, other: floor_divide(other, self)),
    ("mod", remainder, lambda self, other: remainder(other, self)),
):  # fmt: skip
    attach(f"__{_name}__", _fn)
    attach(f"__r{_name}__", _rfn)
    attach(f"__i{_name}__", getattr(Tensor, _fn.__name__ + "_"))
attach("__rdiv__", rdiv)
attach("__div__", div)
attach("__neg__", neg)
attach("__abs__", abs)
attach("__pos__", positive)

__all__ = [
    "abs", "absolute", "add", "addcdiv", "addcmul", "conj", "div", "divide", "exp", "floor_divide", "fmod",
    "lerp", "log", "mul", "multiply", "neg", "negative", "positive", "pow", "reciprocal", "remainder",
    "rsqrt", "rsub", "sgn", "sign", "sqrt", "square", "sub", "subtract", "true_divide",
]  # fmt: skip
publish(globals())
