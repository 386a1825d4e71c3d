"""Comparison, logic, choice: eq .. ge, logical_*, is*, maximum, minimum, clamp, where."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd.inplace import kind
from ..errors import DistribError, DTypeError
from ..tensor import Tensor, W, wrap
from .core import cast
from .formula import math as m
from .promote import result_raw
from .record import OPS
from .registry import (
    attach,
    copy_into,
    elementwise,
    inplace_method,
    method,
    operator,
    publish,
    with_out,
)  # fmt: skip
from .samples import bools, ints, one, spread

xp: Any = None  # bound per array type
_NAN = np.array([[1.0, np.nan, -np.inf], [np.inf, 0.0, -2.0]])
_PAIR = (ints(2, 3, 4, lo=0, hi=3).astype("f8"), ints(3, 4, lo=0, hi=3, seed=1).astype("f8"))


def unsupported(name: str, a: Any) -> NotImplementedError:
    """The exception that PyTorch raises for a dtype that an operator does not take."""
    return NotImplementedError(f"\"{name}\" not implemented for '{kind(a.dtype)}'")


def _ordered(a: Any, b: Any, fn: Any, name: str) -> Any:
    """Order is not defined for complex numbers."""
    if a.dtype.kind == "c":
        raise unsupported(name + "_cpu", a)
    return fn(a, b)


# ---- comparisons --------------------------------------------------------------------------------
eq = elementwise("eq", lambda input, other: m.equal(input, other), None, "bool",
                 samples=one(*_PAIR), ref=np.equal, onnx="Equal")  # fmt: skip
ne = elementwise("ne", lambda input, other: m.not_equal(input, other), None, "bool",
                 samples=one(*_PAIR), ref=np.not_equal)  # fmt: skip
lt = elementwise("lt", lambda input, other: m.less(input, other), None, "bool",
                 cpu=lambda input, other: _ordered(input, other, xp.less, "lt"),
                 samples=one(*_PAIR), ref=np.less, onnx="Less")  # fmt: skip
le = elementwise("le", lambda input, other: m.less_equal(input, other), None, "bool",
                 cpu=lambda input, other: _ordered(input, other, xp.less_equal, "le"),
                 samples=one(*_PAIR), ref=np.less_equal, onnx="LessOrEqual")  # fmt: skip
gt = elementwise("gt", lambda input, other: m.greater(input, other), None, "bool",
                 cpu=lambda input, other: _ordered(input, other, xp.greater, "gt"),
                 samples=one(*_PAIR), ref=np.greater, onnx="Greater")  # fmt: skip
ge = elementwise("ge", lambda input, other: m.greater_equal(input, other), None, "bool",
                 cpu=lambda input, other: _ordered(input, other, xp.greater_equal, "ge"),
                 samples=one(*_PAIR), ref=np.greater_equal, onnx="GreaterOrEqual")  # fmt: skip
not_equal, less, less_equal = ne, lt, le
greater, greater_equal = gt, ge


def _compares(fn: Any) -> Any:
    """A dunder that leaves unknown types to Python: ``tensor == None`` is False."""

    def dunder(self: Tensor, other: Any) -> Any:
        try:
            return fn(self, other)
        except TypeError:
            if isinstance(other, (Tensor, int, float, complex, np.generic)):
                raise
            return NotImplemented

    return dunder


for _n in ("eq", "ne", "lt", "le", "gt", "ge"):
    setattr(Tensor, f"__{_n}__", _compares(lambda a, b, _op=OPS[_n]: _op.call(a, b)))
for _n, _o in (("not_equal", ne), ("less", lt), ("less_equal", le), ("greater", gt),
               ("greater_equal", ge)):  # fmt: skip
    attach(_n, _o)
    attach(_n + "_", inplace_method(OPS[_o.__name__]))

# ---- logic ----------------------------------------------------------------------------------------
logical_and = elementwise(
    "logical_and", lambda input, other: m.logical_and(input, other), None, "bool", numbers=(),
    samples=one(*_PAIR), ref=np.logical_and, onnx="And",
)  # fmt: skip
logical_or = elementwise(
    "logical_or", lambda input, other: m.logical_or(input, other), None, "bool", numbers=(),
    samples=one(*_PAIR), ref=np.logical_or, onnx="Or",
)  # fmt: skip
logical_xor = elementwise(
    "logical_xor", lambda input, other: m.logical_xor(input, other), None, "bool", numbers=(),
    samples=one(*_PAIR), ref=np.logical_xor, onnx="Xor",
)  # fmt: skip
logical_not = elementwise("logical_not", lambda input: m.logical_not(input), None, "bool",
                          samples=one(_PAIR[0]), ref=np.logical_not, onnx="Not")  # fmt: skip
isnan = elementwise("isnan", lambda input: m.isnan(input), None, "bool", out=False, inplace=False,
                    samples=one(_NAN), ref=np.isnan, onnx="IsNaN")  # fmt: skip
isinf = elementwise("isinf", lambda input: m.isinf(input), None, "bool", out=False, inplace=False,
                    samples=one(_NAN), ref=np.isinf, onnx="IsInf")  # fmt: skip
isfinite = elementwise(
    "isfinite", lambda input: m.isfinite(input), None, "bool", out=False, inplace=False,
    samples=one(_NAN), ref=np.isfinite,
)  # fmt: skip
isposinf = elementwise("isposinf", lambda input: m.isinf(input) & (input > 0), None, "bool",
                       inplace=False, samples=one(_NAN), ref=np.isposinf)  # fmt: skip
isneginf = elementwise("isneginf", lambda input: m.isinf(input) & (input < 0), None, "bool",
                       inplace=False, samples=one(_NAN), ref=np.isneginf)  # fmt: skip
isreal = operator("isreal", lambda input: xp.equal(xp.imag(input), 0), None, None,
                  samples=one(np.array([1 + 0j, 2 + 1j])), ref=np.isreal)  # fmt: skip
signbit = elementwise("signbit", lambda input: m.signbit(input), None, "bool", inplace=False,
                      samples=one(_NAN), ref=np.signbit)  # fmt: skip


def _isclose(a: Any, b: Any, rtol: float, atol: float, equal_nan: bool) -> Any:
    if a.dtype != b.dtype:
        raise DTypeError(f"{kind(a.dtype)} did not match {kind(b.dtype)}")
    if rtol < 0 or atol < 0:
        raise DTypeError(
            f"rtol and atol must be greater than or equal to zero, but got rtol={rtol}, atol={atol}"
        )
    close = xp.equal(a, b)
    if equal_nan and a.dtype.kind in "fc":
        close = close | (xp.isnan(a) & xp.isnan(b))
    if rtol == 0 and atol == 0:
        return close
    if a.dtype.kind in "biu":
        a, b = a.astype("f8"), b.astype("f8")
    apart = xp.abs(a - b)
    return close | (xp.isfinite(apart) & (apart <= atol + xp.abs(rtol * b)))


isclose = operator(
    "isclose",
    lambda input, other, *, rtol=1e-05, atol=1e-08, equal_nan=False: _isclose(input, other, rtol,
        atol, equal_nan),
    samples=one(_NAN, _NAN + 1e-9, equal_nan=True),
    ref=lambda input, other, equal_nan: np.isclose(input, other, equal_nan=equal_nan),
)  # fmt: skip


@method()
def allclose(
    input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False
) -> bool:
    """Whether all elements are close: |input - other| <= atol + rtol * |other|."""
    close = isclose(input, other, rtol=rtol, atol=atol, equal_nan=equal_nan)
    return bool(close._a.all())


@method()
def equal(input: Tensor, other: Tensor) -> bool:
    """Whether two tensors have the same shape and elements."""
    if not isinstance(other, Tensor):
        raise TypeError(f"equal(): argument 'other' must be Tensor, not {type(other).__name__}")
    return bool(input._a.shape == other._a.shape and (input._a == other._a).all())


# ---- choice ---------------------------------------------------------------------------------------
masked: Any = operator(
    "masked", lambda x, c: xp.where(c, x, 0), (lambda g, c: masked(g, c), None), method=False,
    fixed=("c",), samples=one(spread(2, 3), bools(2, 3)), ref=lambda x, c: x * c,
)  # fmt: skip
where3 = elementwise(
    "where", lambda condition, input, other: m.where(condition, input, other),
    (None, lambda g, condition: masked(g, condition),
        lambda g, condition: masked(g, logical_not(condition))),
    fixed=("condition",), numbers=(1, 2), out=False, inplace=False, method=False, onnx="Where",
    samples=one(bools(2, 3, 4), spread(3, 4), spread(2, 3, 1, seed=1)),
    ref=lambda condition, input, other: np.choose(condition, (other, input)),
)  # fmt: skip


def where(condition: Any, input: Any = None, other: Any = None, *, out: Any = None) -> Any:
    """Elements of ``input`` where a condition holds, else of ``other``; alone, the indices where it holds."""
    if input is None and other is None:
        return tuple(wrap(i) for i in W["xp_of"](condition._a).nonzero(condition._a))
    if isinstance(condition, Tensor) and condition._a.dtype.kind != "b":
        if condition._a.dtype != "u1":
            raise DTypeError("where expected condition to be a boolean tensor", got=condition.dtype)
        condition = cast(condition, dtype=np.dtype("?"))
    result = where3(condition, input, other)
    return result if out is None else W["write_out"]("where", result, out, ())


def _where_method(self: Tensor, condition: Tensor, other: Any) -> Tensor:
    chosen: Tensor = where(condition, self, other)
    return chosen


attach("where", _where_method)


def _won(g: Any, wins: Any, ties: Any) -> Any:
    """The gradient of a winner; of equals, each gets half."""
    return where3(ties, g * 0.5, masked(g, wins))


def _extreme(a: Any, b: Any, fn: Any) -> Any:
    if a.dtype.kind == "c":
        raise DTypeError(f"{fn.__name__} not implemented for complex tensors.")
    return fn(a, b)


maximum = elementwise(
    "maximum", lambda input, other: m.maximum(input, other),
    cpu=lambda input, other: _extreme(input, other, xp.maximum),
    grads=(lambda g, input, other: _won(g, gt(input, other), eq(input, other)),
        lambda g, input, other: _won(g, lt(input, other), eq(input, other))),
    inplace=False, numbers=(), domain=(-2, 2), ref=lambda a, b: np.where(a > b, a, b), onnx="Max",
)  # fmt: skip
minimum = elementwise(
    "minimum", lambda input, other: m.minimum(input, other),
    cpu=lambda input, other: _extreme(input, other, xp.minimum),
    grads=(lambda g, input, other: _won(g, lt(input, other), eq(input, other)),
        lambda g, input, other: _won(g, gt(input, other), eq(input, other))),
    inplace=False, numbers=(), domain=(-2, 2), ref=lambda a, b: np.where(a < b, a, b), onnx="Min",
)  # fmt: skip
fmax = elementwise(
    "fmax", lambda input, other: m.fmax(input, other),
    (lambda g, input, other: masked(g, logical_or(ge(input, other), isnan(other))),
     lambda g, input, other: masked(g, logical_not(logical_or(ge(input, other), isnan(other))))),
    inplace=False, numbers=(), domain=(-2, 2), ref=lambda a, b: np.where(a > b, a, b),
)  # fmt: skip
fmin = elementwise(
    "fmin", lambda input, other: m.fmin(input, other),
    (lambda g, input, other: masked(g, logical_or(le(input, other), isnan(other))),
     lambda g, input, other: masked(g, logical_not(logical_or(le(input, other), isnan(other))))),
    inplace=False, numbers=(), domain=(-2, 2), ref=lambda a, b: np.where(a < b, a, b),
)  # fmt: skip


def _clamp(x: Any, low: Any, high: Any) -> Any:
    if low is not None:
        x = m.maximum(x, low)
    return x if high is None else m.minimum(x, high)


def _inside(input: Any, min: Any, max: Any) -> Any:
    """Where a clamped value keeps its gradient."""
    if min is None:
        return le(input, max)
    return ge(input, min) if max is None else logical_and(ge(input, min), le(input, max))


clamp_scalar = elementwise(
    "clamp_scalar", lambda input, *, min=None, max=None: _clamp(input, min, max),
    (lambda g, input, min, max: masked(g, _inside(input, min, max)),), "math",
    out=False, inplace=False, method=False, grad_name="ClampBackward1", onnx="Clip",
    samples=lambda: [((spread(3, 4),), {"min": -1.01, "max": 0.52}), ((spread(5),), {"max": 0.3})],
    ref=lambda input, min=None, max=None: np.clip(input, min, max),
)  # fmt: skip
clamp_tensor = elementwise(
    "clamp_tensor", lambda input, min=None, max=None: _clamp(input, min, max),
    (lambda g, input, min, max: masked(g, _inside(input, min, max)),
     lambda g, input, min, max: masked(g, _below(input, min, max)),
     lambda g, input, min, max: masked(g, gt(_clamp_low(input, min), max))),
    "promote", numbers=(), out=False, inplace=False, method=False, grad_name="ClampBackward0",
    samples=one(spread(3, 4), np.array(-1.0), spread(4, lo=0.5, hi=1, seed=2)),
    ref=lambda input, min=None, max=None: np.clip(input, min, max),
)  # fmt: skip


def _clamp_low(input: Any, min: Any) -> Any:
    return input if min is None else maximum(input, min)


def _below(input: Any, min: Any, max: Any) -> Any:
    return lt(input, min) if max is None else logical_and(lt(input, min), le(min, max))


def _tensor(x: Any, name: str) -> None:
    if not isinstance(x, Tensor):
        raise TypeError(
            f"{name}(): argument 'input' (position 1) must be Tensor, not {type(x).__name__}"
        )


@with_out
def clamp(input: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """Limit values to [min, max]; each bound is a number, a tensor or None."""
    _tensor(input, "clamp")
    if min is None and max is None:
        raise DistribError("torch.clamp: At least one of 'min' or 'max' must not be None")
    result: Tensor
    if isinstance(min, Tensor) or isinstance(max, Tensor):
        if (min is not None and not isinstance(min, Tensor)) or (
            max is not None and not isinstance(max, Tensor)
        ):
            raise TypeError("clamp() received a mix of a number and a tensor as bounds")
        result = clamp_tensor(input, min, max)
        return result
    if input._a.dtype.kind in "biu" and (type(min) is float or type(max) is float):
        d = result_raw([a for a in (input, min, max) if a is not None])
        input = cast(input, dtype=d) if d != input._a.dtype else input
    result = clamp_scalar(input, min=min, max=max)
    return result


def _clamp_(self: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """Limit values to [min, max], in place."""
    if isinstance(min, Tensor) or isinstance(max, Tensor) or (min is None and max is None):
        from .registry import alias_for_write

        return copy_into(self, clamp(alias_for_write(self), min, max))
    done: Tensor = W["inplace"](OPS["clamp_scalar"], self, (), {"min": min, "max": max})
    return done


@with_out
def clamp_min(input: Tensor, min: Any) -> Tensor:
    """Limit values from below."""
    _tensor(input, "clamp_min")
    limited: Tensor = clamp(input, min)
    return limited


@with_out
def clamp_max(input: Tensor, max: Any) -> Tensor:
    """Limit values from above."""
    _tensor(input, "clamp_max")
    limited: Tensor = clamp(input, None, max)
    return limited


clip = clamp
for _n, _o in (
    ("clamp", clamp),
    ("clip", clamp),
    ("clamp_min", clamp_min),
    ("clamp_max", clamp_max),
):
    attach(_n, _o)
attach("clamp_", _clamp_)
attach("clip_", _clamp_)
attach("clamp_min_", lambda self, min: _clamp_(self, min))
attach("clamp_max_", lambda self, max: _clamp_(self, None, max))

__all__ = [
    "allclose", "clamp", "clamp_max", "clamp_min", "clip", "eq", "equal", "fmax", "fmin", "ge",
    "greater", "greater_equal", "gt", "isclose", "isfinite", "isinf", "isnan", "isneginf",
    "isposinf", "isreal", "le", "less", "less_equal", "logical_and", "logical_not", "logical_or",
    "logical_xor", "lt", "maximum", "minimum", "ne", "not_equal", "signbit", "where",
]  # fmt: skip
publish(globals())
