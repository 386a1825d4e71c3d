"""Functions of one number: trigonometry, logarithms, rounding; and of two: atan2, hypot, logaddexp."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import dtypes
from ..errors import DTypeError
from ..tensor import Tensor, wrap
from .arithmetic import COMPLEX, cj, exp, pow, rsqrt, sign
from .compare import eq, ge, isfinite, logical_and, logical_not, masked, ne
from .core import cast
from .dense import one, takes, takes_both, two
from .formula import math as m
from .native import fast
from .record import OPS
from .registry import (
    alias_for_write,
    attach,
    copy_into,
    elementwise,
    inplace_method,
    inplace_of,
    method,
    operator,
    publish,
    with_out,
)  # fmt: skip
from .samples import one as one_sample
from .samples import spread

xp: Any = None  # bound per array type, like the NumPy forms of operators with a compiled one
tanh_backward_generic = sigmoid_generic = sigmoid_backward_generic = xp
relu_generic = relu_backward_generic = xp

# ---- exponentials and logarithms ----------------------------------------------------------------------
exp2 = elementwise(
    "exp2", lambda input: m.exp2(input), (lambda g, y: g * cj(y * 0.6931471805599453),),
    domain=(-3, 3), ref=lambda x: np.power(2.0, x),
)  # fmt: skip
expm1 = elementwise(
    "expm1", lambda input: m.expm1(input), (lambda g, y: g * cj(y + 1),), domain=(-3, 3),
    ref=lambda x: 2 * np.sinh(x / 2) * np.exp(x / 2),
)  # fmt: skip
log2 = elementwise(
    "log2", lambda input: m.log2(input), (lambda g, input: g / cj(input * 0.6931471805599453),),
    domain=(0.2, 4), ref=lambda x: np.log(x) / np.log(2),
)  # fmt: skip
log10 = elementwise(
    "log10", lambda input: m.log10(input), (lambda g, input: g / cj(input * 2.302585092994046),),
    domain=(0.2, 4), ref=lambda x: np.log(x) / np.log(10),
)  # fmt: skip
log1p = elementwise(
    "log1p", lambda input: m.log1p(input), (lambda g, input: g / cj(input + 1),), domain=(-0.8, 4),
    ref=lambda x: np.log(1 + x),
)  # fmt: skip

# ---- trigonometry ---------------------------------------------------------------------------------------
sin = elementwise(
    "sin", lambda input: m.sin(input), (lambda g, input: g * cj(cos(input)),), domain=(-3, 3),
    ref=lambda x: np.exp(1j * x).imag, onnx="Sin",
)  # fmt: skip
cos: Any = elementwise(
    "cos", lambda input: m.cos(input), (lambda g, input: -g * cj(sin(input)),), domain=(-3, 3),
    ref=lambda x: np.exp(1j * x).real, onnx="Cos",
)  # fmt: skip
tan = elementwise(
    "tan", lambda input: m.tan(input), (lambda g, y: g * cj(1 + y * y),), domain=(-1.2, 1.2),
    ref=lambda x: np.sin(x) / np.cos(x), onnx="Tan",
)  # fmt: skip
asin = elementwise(
    "asin", lambda input: m.arcsin(input), (lambda g, input: g * cj(rsqrt(1 - input * input)),),
    domain=(-0.9, 0.9), ref=lambda x: np.arctan2(x, np.sqrt(1 - x * x)), onnx="Asin",
)  # fmt: skip
acos = elementwise(
    "acos", lambda input: m.arccos(input), (lambda g, input: -g * cj(rsqrt(1 - input * input)),),
    domain=(-0.9, 0.9), ref=lambda x: np.arctan2(np.sqrt(1 - x * x), x), onnx="Acos",
)  # fmt: skip
atan = elementwise(
    "atan", lambda input: m.arctan(input), (lambda g, input: g / cj(input * input + 1),),
    domain=(-3, 3), ref=lambda x: np.arctan2(x, 1.0), onnx="Atan",
)  # fmt: skip
sinh = elementwise(
    "sinh", lambda input: m.sinh(input), (lambda g, input: g * cj(cosh(input)),), domain=(-3, 3),
    ref=lambda x: (np.exp(x) - np.exp(-x)) / 2, onnx="Sinh",
)  # fmt: skip
cosh: Any = elementwise(
    "cosh", lambda input: m.cosh(input), (lambda g, input: g * cj(sinh(input)),), domain=(-3, 3),
    ref=lambda x: (np.exp(x) + np.exp(-x)) / 2, onnx="Cosh",
)  # fmt: skip
tanh = elementwise(
    "tanh", lambda input: m.tanh(input), (lambda g, y: _tanh_slope(g, y),), domain=(-3, 3),
    ref=lambda x: 1 - 2 / (np.exp(2 * x) + 1), onnx="Tanh",
)  # fmt: skip
tanh_backward: Any = operator(
    "tanh_backward", lambda grad, output: grad * (1 - output * output),
    (lambda g, output: tanh_backward(g, output), lambda g, grad, output: g * grad * output * -2),
    method=False,
    cpu=lambda grad, output: two(fast.tanh_grad, grad, output) if takes_both(grad, output)
        else tanh_backward_generic(grad, output),
    samples=one_sample(spread(3, 4), spread(3, 4, seed=1)), ref=lambda g, y: g - g * np.square(y),
)  # fmt: skip


def _tanh_slope(g: Any, y: Any) -> Any:
    return g * cj(1 - y * y) if y.dtype in COMPLEX else tanh_backward(g, y)


asinh = elementwise(
    "asinh", lambda input: m.arcsinh(input), (lambda g, input: g * cj(rsqrt(input * input + 1)),),
    domain=(-3, 3), ref=lambda x: np.log(x + np.sqrt(x * x + 1)), onnx="Asinh",
)  # fmt: skip
acosh = elementwise(
    "acosh", lambda input: m.arccosh(input),
    (lambda g, input: g * cj(rsqrt(input - 1) * rsqrt(input + 1)),), domain=(1.2, 4),
    ref=lambda x: np.log(x + np.sqrt(x * x - 1)), onnx="Acosh",
)  # fmt: skip
atanh = elementwise(
    "atanh", lambda input: m.arctanh(input), (lambda g, input: g / cj(1 - input * input),),
    domain=(-0.8, 0.8), ref=lambda x: np.log((1 + x) / (1 - x)) / 2, onnx="Atanh",
)  # fmt: skip
atan2 = elementwise(
    "atan2", lambda input, other: m.arctan2(input, other),
    (lambda g, input, other: g * other / (input * input + other * other),
     lambda g, input, other: -g * input / (input * input + other * other)), "float",
    numbers=(), domain=(0.3, 2), ref=lambda y, x: np.angle(x + 1j * y),
)  # fmt: skip
hypot = elementwise(
    "hypot", lambda input, other: m.hypot(input, other),
    (lambda g, input, y: g * (input / y), lambda g, other, y: g * (other / y)),
    numbers=(), domain=(0.3, 2), ref=lambda a, b: np.abs(a + 1j * b),
)  # fmt: skip
deg2rad = elementwise(
    "deg2rad", lambda input: input * 0.017453292519943295, (lambda g: g * 0.017453292519943295,),
    domain=(-90, 90), ref=np.deg2rad,
)  # fmt: skip
rad2deg = elementwise(
    "rad2deg", lambda input: input * 57.29577951308232, (lambda g: g * 57.29577951308232,),
    domain=(-2, 2), ref=np.rad2deg,
)  # fmt: skip

# ---- activations that are also torch-level ------------------------------------------------------------------
sigmoid = elementwise(
    "sigmoid", lambda input: 1 / (1 + m.exp(-input)), (lambda g, y: _sigmoid_slope(g, y),),
    cpu=lambda input: one(fast.sigmoid, input) if takes(input) else sigmoid_generic(input),
    domain=(-8, 8), ref=lambda x: 0.5 * (np.tanh(0.5 * x) + 1), onnx="Sigmoid",
)  # fmt: skip
sigmoid_backward: Any = operator(
    "sigmoid_backward", lambda grad, output: grad * (output * (1 - output)),
    (lambda g, output: sigmoid_backward(g, output),
        lambda g, grad, output: g * grad * (1 - output * 2)),
    method=False,
    cpu=lambda grad, output: two(fast.sigmoid_grad, grad, output) if takes_both(grad, output)
        else sigmoid_backward_generic(grad, output),
    samples=one_sample(spread(3, 4), spread(3, 4, seed=1)),
    ref=lambda g, y: g * y - g * np.square(y),
)  # fmt: skip


def _sigmoid_slope(g: Any, y: Any) -> Any:
    return g * cj(y * (1 - y)) if y.dtype in COMPLEX else sigmoid_backward(g, y)


relu = elementwise(
    "relu", lambda input: m.maximum(input, 0), (lambda g, y: relu_backward(g, y),), "math",
    out=False, cpu=lambda input: one(fast.relu, input) if takes(input) else relu_generic(input),
    into=lambda a: xp.maximum(a, 0, out=a), domain=(-2, 2), ref=lambda x: np.where(x > 0, x, 0.0),
    onnx="Relu",
)  # fmt: skip
relu_backward: Any = operator(
    "relu_backward", lambda grad, output: xp.where(output > 0, grad, 0),
    (lambda g, output: relu_backward(g, output), lambda g: g * 0.0), method=False,
    cpu=lambda grad, output: two(fast.relu_grad, grad, output) if takes_both(grad, output)
        else relu_backward_generic(grad, output),
    samples=one_sample(spread(3, 4), spread(3, 4, seed=1)),
    ref=lambda g, y: g * (np.sign(y) + 1) / 2,
)  # fmt: skip

# ---- rounding ---------------------------------------------------------------------------------------------
_FLAT = (lambda g: g * 0.0,)


def _whole(a: Any, fn: Any) -> Any:
    """Integers are round already."""
    if a.dtype.kind == "c":
        raise NotImplementedError(f"{fn.__name__} is not supported for complex inputs")
    return a.copy() if a.dtype.kind in "iu" else fn(a)


floor = elementwise(
    "floor", lambda input: m.floor(input), _FLAT, "math", domain=(-3.9, 3.9),
    cpu=lambda input: _whole(input, xp.floor), ref=lambda x: x - np.mod(x, 1), onnx="Floor",
)  # fmt: skip
ceil = elementwise(
    "ceil", lambda input: m.ceil(input), _FLAT, "math", domain=(-3.9, 3.9),
    cpu=lambda input: _whole(input, xp.ceil), ref=lambda x: x + np.mod(-x, 1), onnx="Ceil",
)  # fmt: skip
trunc = elementwise(
    "trunc", lambda input: m.trunc(input), _FLAT, "math", domain=(-3.9, 3.9),
    cpu=lambda input: _whole(input, xp.trunc), ref=lambda x: x.astype("i8") * 1.0,
)  # fmt: skip
frac = elementwise(
    "frac", lambda input: input - m.trunc(input), (lambda g: g,), "math", domain=(-3.9, 3.9),
    ref=lambda x: np.fmod(x, 1),
)  # fmt: skip


def _round_to(call: Any, input: Any, decimals: int) -> Any:
    if decimals == 0 or input._a.dtype.kind in "biu":
        return call(input)
    scale = 10.0 ** (decimals if decimals > 0 else -decimals)
    return call(input * scale) / scale if decimals > 0 else call(input / scale) * scale


round = elementwise(
    "round", lambda input: m.rint(input), _FLAT, "math", extra={"decimals": 0}, expand=_round_to,
    cpu=lambda input: _whole(input, xp.rint), domain=(-3.9, 3.9), ref=np.round, onnx="Round",
)  # fmt: skip

# ---- two numbers ------------------------------------------------------------------------------------------
copysign = elementwise(
    "copysign", lambda input, other: m.copysign(input, other),
    (lambda g, input, y: masked(g * sign(input) * sign(y), ne(input, 0)), lambda g: g * 0.0),
    "float", domain=(0.3, 2), ref=lambda a, b: np.abs(a) * np.sign(b),
)  # fmt: skip
nextafter = elementwise(
    "nextafter", lambda input, other: m.nextafter(input, other),
    (lambda g, input, other: masked(g, ne(input, other)), lambda g: g * 0.0), numbers=(),
    domain=(-2, 2), ref=lambda a, b: a + np.spacing(np.abs(a)) * np.sign(b - a) * 0.5,
)  # fmt: skip
logaddexp = elementwise(
    "logaddexp", lambda input, other: m.logaddexp(input, other),
    (lambda g, input, y: g * cj(exp(input - y)), lambda g, other, y: g * cj(exp(other - y))),
    "float", inplace=False, numbers=(), domain=(-2, 2),
    ref=lambda a, b: np.log(np.exp(a) + np.exp(b)),
)  # fmt: skip
logaddexp2 = elementwise(
    "logaddexp2", lambda input, other: m.logaddexp2(input, other),
    (lambda g, input, y: g * exp2(input - y), lambda g, other, y: g * exp2(other - y)), "float",
    inplace=False, numbers=(), domain=(-2, 2), ref=lambda a, b: np.log2(np.exp2(a) + np.exp2(b)),
)  # fmt: skip
xlogy: Any = elementwise(
    "xlogy",
    lambda input, other: m.where(m.isnan(other), other,
        m.where(m.equal(input, 0), 0.0, input * m.log(other))),
    (lambda g, input, other: xlogy(masked(g, _counts(input, other)), other),
        lambda g, input, other: g * (input / other)),
    "float", numbers=(0, 1), domain=(0.3, 2), ref=lambda a, b: a * np.log(b),
)  # fmt: skip


def _counts(input: Any, other: Any) -> Any:
    """Where the logarithm takes part: not at 0 * log(0)."""
    return logical_not(logical_and(eq(input, 0), ge(input * 0, other)))


heaviside = elementwise(
    "heaviside", lambda input, values: m.where(input > 0, 1, m.where(input < 0, 0, values)),
    cpu=lambda input, values: xp.heaviside(input, values).astype(input.dtype), numbers=(),
    samples=one_sample(np.array([-1.0, 0, 2, 0]), np.array([5.0, 6, 7, 8])), ref=np.heaviside,
)  # fmt: skip
_PI = 3.141592653589793
sinc = elementwise(
    "sinc", lambda input: m.where(m.equal(input, 0), 1, m.sin(input * _PI) / (input * _PI)),
    (lambda g, input, y: masked(g * cj((cos(input * _PI) - y) / input), ne(input, 0)),),
    domain=(-2, 2), ref=np.sinc,
)  # fmt: skip


def _nan_to_num(x: Any, nan: Any, posinf: Any, neginf: Any) -> Any:
    if x.dtype.kind in "biu":
        return x.copy()
    if x.dtype.kind == "c":
        out = xp.empty_like(x)
        out.real, out.imag = (_nan_to_num(p, nan, posinf, neginf) for p in (x.real, x.imag))
        return out
    limits = dtypes.finfo(dtypes.of(x.dtype))
    high = limits.max if posinf is None else posinf
    low = limits.min if neginf is None else neginf
    x = xp.where(xp.isnan(x), x.dtype.type(0.0 if nan is None else nan), x)
    return xp.where(xp.isinf(x), xp.where(x > 0, x.dtype.type(high), x.dtype.type(low)), x)


nan_to_num = operator(
    "nan_to_num",
    lambda input, *, nan=None, posinf=None, neginf=None: _nan_to_num(input, nan, posinf, neginf),
    (lambda g, input: masked(g, isfinite(input)),), out=True, inplace=True,
    samples=one_sample(np.array([1.0, np.nan, 3.0]), nan=2.5),
    ref=lambda x, nan: np.where(x == x, x, nan),
)  # fmt: skip
frexp = operator(
    "frexp", lambda input: xp.frexp(input), (lambda g, exponent: g * exp2(-exponent),), "math",
    outputs=("mantissa", "exponent"), diff=(True, False), out=True,
    samples=one_sample(spread(3, 4)), ref=np.frexp,
)  # fmt: skip


@with_out
def ldexp(input: Any, other: Any) -> Any:
    """input * 2 ** other."""
    for name, x in (("input", input), ("other", other)):
        if not isinstance(x, Tensor):
            raise TypeError(f"ldexp(): argument '{name}' must be Tensor, not {type(x).__name__}")
    return input * pow(2.0, other)


@method()
@with_out
def float_power(input: Any, exponent: Any) -> Any:
    """A power computed in float64 (complex128 for complex input); either side may be a number."""
    sides = (input, exponent)
    wide = dtypes.C16 if any(_is_complex(x) for x in sides) else dtypes.F8
    if not isinstance(input, Tensor):
        input = wrap(np.asarray(input, wide))
    base = cast(input, dtype=wide)
    return pow(base, cast(exponent, dtype=wide) if isinstance(exponent, Tensor) else exponent)


def _is_complex(x: Any) -> bool:
    return x._a.dtype.kind == "c" if isinstance(x, Tensor) else isinstance(x, complex)


def _float_power_(self: Tensor, exponent: Any) -> Tensor:
    if self._a.dtype not in (dtypes.F8, dtypes.C16):
        raise DTypeError(
            "the base given to float_power_ has another dtype than the operation's result", got=self.dtype,
            expected="torch.float64 or torch.complex128",
        )  # fmt: skip
    return copy_into(self, float_power(alias_for_write(self), exponent))


def fill(input: Any, value: Any) -> Tensor:
    """A tensor like another, filled with one value (a number or a tensor without dimensions)."""
    made: Tensor = input.clone().fill_(value)
    return made


def fill_(input: Any, value: Any) -> Tensor:
    """Fill with one value, in place."""
    done: Tensor = input.fill_(value)
    return done


def zero_(input: Any) -> Tensor:
    """Fill with zeros, in place."""
    done: Tensor = input.zero_()
    return done


attach("float_power_", _float_power_)
attach("ldexp", ldexp)
inplace_of(ldexp)
arcsin, arccos, arctan, arcsinh, arccosh, arctanh = asin, acos, atan, asinh, acosh, atanh
arctan2, fix = atan2, trunc
for _name, _fn in {
    "arcsin": asin, "arccos": acos, "arctan": atan, "arcsinh": asinh, "arccosh": acosh, "arctanh": atanh,
    "arctan2": atan2, "fix": trunc,
}.items():  # fmt: skip
    attach(_name, _fn)
    attach(_name + "_", inplace_method(OPS[_fn.__name__]))

__all__ = [
    "acos",
    "acosh",
    "arccos",
    "arccosh",
    "arcsin",
    "arcsinh",
    "arctan",
    "arctan2",
    "arctanh",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "ceil",
    "copysign",
    "cos",
    "cosh",
    "deg2rad",
    "exp2",
    "expm1", "fill", "fill_", "fix",
    "float_power",
    "floor",
    "frac",
    "frexp",
    "heaviside",
    "hypot",
    "ldexp",
    "log1p",
    "log2",
    "log10",
    "logaddexp",
    "logaddexp2",
    "nan_to_num",
    "nextafter",
    "rad2deg",
    "relu",
    "round",
    "sigmoid",
    "sin",
    "sinc",
    "sinh",
    "tan",
    "tanh",
    "trunc",
    "xlogy", "zero_",
]  # fmt: skip
publish(globals())
