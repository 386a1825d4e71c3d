"""Integers and bits: and, or, xor, not, shifts, gcd, lcm, with their Python operators."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..tensor import Tensor
from .compare import unsupported
from .formula import math as m
from .registry import attach, elementwise, publish
from .samples import ints, one

xp: Any = None  # bound per array type
_PAIR = one(ints(2, 3, 4, lo=0, hi=60), ints(3, 4, lo=0, hi=7, seed=1))


def _bits(fn: Any) -> Any:
    """By Python's integers, one at a time."""
    return np.vectorize(lambda a, b: fn(int(a), int(b)))


def _whole(a: Any, name: str) -> Any:
    if a.dtype.kind not in "biu":
        raise unsupported(name + "_cpu", a)
    return a


bitwise_and = elementwise(
    "bitwise_and", lambda input, other: m.bitwise_and(input, other),
    cpu=lambda input, other: xp.bitwise_and(_whole(input, "bitwise_and"), other),
    numbers=(0, 1), samples=_PAIR, ref=_bits(lambda a, b: a & b),
)  # fmt: skip
bitwise_or = elementwise(
    "bitwise_or", lambda input, other: m.bitwise_or(input, other),
    cpu=lambda input, other: xp.bitwise_or(_whole(input, "bitwise_or"), other),
    numbers=(0, 1), samples=_PAIR, ref=_bits(lambda a, b: a | b),
)  # fmt: skip
bitwise_xor = elementwise(
    "bitwise_xor", lambda input, other: m.bitwise_xor(input, other),
    cpu=lambda input, other: xp.bitwise_xor(_whole(input, "bitwise_xor"), other),
    numbers=(0, 1), samples=_PAIR, ref=_bits(lambda a, b: a ^ b),
)  # fmt: skip
bitwise_not = elementwise(
    "bitwise_not", lambda input: m.invert(input), None, "math",
    cpu=lambda input: xp.invert(_whole(input, "bitwise_not")),
    samples=one(ints(3, 4)), ref=lambda a: -a - 1,
)  # fmt: skip


def _shift(a: Any, b: Any, fn: Any, name: str) -> Any:
    if a.dtype.kind == "b":
        a, b = a.astype("i8"), b.astype("i8")
    return fn(_whole(a, name), b)


bitwise_left_shift = elementwise(
    "bitwise_left_shift", lambda input, other: m.left_shift(input, other),
    cpu=lambda input, other: _shift(input, other, xp.left_shift, "lshift"),
    numbers=(0, 1), samples=_PAIR, ref=lambda a, b: a * 2 ** b,
)  # fmt: skip
bitwise_right_shift = elementwise(
    "bitwise_right_shift", lambda input, other: m.right_shift(input, other),
    cpu=lambda input, other: _shift(input, other, xp.right_shift, "rshift"),
    numbers=(0, 1), samples=_PAIR, ref=lambda a, b: a // 2 ** b,
)  # fmt: skip
gcd = elementwise(
    "gcd", lambda input, other: m.gcd(input, other),
    cpu=lambda input, other: xp.gcd(_whole(input, "gcd"), other), numbers=(), samples=_PAIR,
    ref=_bits(lambda a, b: math.gcd(a, b)),
)  # fmt: skip
lcm = elementwise(
    "lcm", lambda input, other: m.lcm(input, other),
    cpu=lambda input, other: xp.lcm(_whole(input, "lcm"), other), numbers=(), samples=_PAIR,
    ref=_bits(lambda a, b: math.lcm(a, b)),
)  # fmt: skip
for _dunder, _fn in {
    "and": bitwise_and, "or": bitwise_or, "xor": bitwise_xor, "lshift": bitwise_left_shift,
    "rshift": bitwise_right_shift,
}.items():  # fmt: skip
    attach(f"__{_dunder}__", _fn)
    attach(f"__i{_dunder}__", getattr(Tensor, _fn.__name__ + "_"))


def _reflected(fn: Any) -> Any:
    def dunder(self: Any, other: Any) -> Any:
        return fn(other, self) if isinstance(self, Tensor) else NotImplemented

    return dunder


for _dunder, _fn in {"and": bitwise_and, "or": bitwise_or, "xor": bitwise_xor}.items():
    attach(f"__r{_dunder}__", _reflected(_fn))
attach("__rlshift__", lambda self, other: bitwise_left_shift(other, self))
attach("__rrshift__", lambda self, other: bitwise_right_shift(other, self))


def _invert(self: Tensor) -> Tensor:
    """``~x``; TypeError where the function raises NotImplementedError, as in PyTorch."""
    if self._a.dtype.kind not in "biu":
        raise TypeError(
            "~ (operator.invert) is only implemented on integer and Boolean-type tensors, "
            f"got {self.dtype}"
        )
    flipped: Tensor = bitwise_not(self)
    return flipped


attach("__invert__", _invert)

__all__ = [
    "bitwise_and", "bitwise_left_shift", "bitwise_not", "bitwise_or", "bitwise_right_shift", "bitwise_xor",
    "gcd", "lcm",
]  # fmt: skip
publish(globals())
