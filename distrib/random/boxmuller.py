"""Uniforms to normals, rounded as PyTorch's vectorised float32 code rounds them.

That code is Cephes' single-precision log, sin and cos with every multiply-add fused. A fused
multiply-add of float32 is one multiplication and one addition in float64, rounded at the end
(a double rounding differs about once in 2**29 operations). float64 goes through the C library.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..dtypes import Array

F4, F8 = np.float32, np.float64
TWO_PI = 2 * math.pi
# Cephes' polynomials, highest power first
_LOG = [
    7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1,
    -1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1,
]  # fmt: skip
_SIN = [-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1]
_COS = [2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2]
_PI_4 = [-0.78515625, -2.4187564849853515625e-4, -3.77489497744594108e-8]  # -pi/4 in three parts
_LN2 = [0.693359375, -2.12194440e-4]  # ln 2 in two parts
_SQRT_HALF = F4(0.707106781186547524)


def _f(value: float) -> float:
    return float(F4(value))


def fma32(a: Array, b: Any, c: Any) -> Array:
    """a * b + c in float32 with one rounding; b and c float32 arrays or numbers."""
    wide = np.multiply(a, b, dtype=F8)
    wide += c
    return wide.astype(F4)


def fma64(a: Array, b: float, c: float) -> Array:
    """a * b + c in float64, the product kept exactly as a sum of two."""
    product = a * b
    if math.frexp(b)[0] in (0.5, -0.5, 0.0):  # a power of two: the product is exact
        return product + c
    if c == 0.0:
        return product
    split = 134217729.0  # 2**27 + 1
    high = a * split
    high -= high - a
    low = a - high
    b_high = b * split - (b * split - b)
    b_low = b - b_high
    error = ((high * b_high - product) + high * b_low + low * b_high) + low * b_low
    total = product + c
    part = total - product
    lost = (product - (total - part)) + (c - part)
    return total + (lost + error)


def _polynomial(coefficients: list[float], x: Array) -> Array:
    y = fma32(x, _f(coefficients[0]), _f(coefficients[1]))
    for c in coefficients[2:]:
        y = fma32(y, x, _f(c))
    return y


def log32(x: Array) -> Array:
    """Cephes' logf of normal positive numbers."""
    mantissa, exponent = np.frexp(x)
    small = mantissa < _SQRT_HALF
    e = (exponent - small).astype(F4)
    m = np.where(small, mantissa + mantissa, mantissa) - F4(1)
    square = m * m
    y = _polynomial(_LOG, m) * m
    y = fma32(y, square, e * F4(_LN2[1]))
    y = fma32(square, -0.5, y)
    return fma32(e, _LN2[0], m + y)


def sincos32(x: Array) -> tuple[Array, Array]:
    """Cephes' sinf and cosf of numbers in [0, 2 pi]."""
    octant = (x * F4(1.27323954473516)).astype(np.int32)
    octant += 1
    octant &= ~1
    y = octant.astype(F4)
    for part in _PI_4:
        x = fma32(y, _f(part), x)
    z = x * x
    c = fma32(_polynomial(_COS, z) * z, z, z * F4(-0.5)) + F4(1)
    s = fma32(_polynomial(_SIN, z) * z, x, x)
    swap = (octant & 2) != 0
    sine, cosine = np.where(swap, c, s), np.where(swap, s, c)
    np.negative(sine, out=sine, where=(octant & 4) != 0)
    np.negative(cosine, out=cosine, where=((octant + 2) & 4) != 0)
    return sine, cosine


def blocks32(u: Array, mean: float, std: float) -> Array:
    """Normals of uniforms, float32 [blocks, 2, 8]: the first eight of a block give the radius."""
    radius = np.sqrt(F4(-2) * log32(F4(1) - u[:, 0]))
    sine, cosine = sincos32(F4(TWO_PI) * u[:, 1])
    out = np.empty_like(u)
    np.multiply(radius, cosine, out=out[:, 0])
    np.multiply(radius, sine, out=out[:, 1])
    return fma32(out, _f(std), _f(mean))


def libm(function: Any, x: Array) -> Array:
    """A function of `math` over a float64 array; NumPy's differ from the C library's by an ulp."""
    return np.fromiter(map(function, x.ravel().tolist()), F8, x.size).reshape(x.shape)


def blocks64(u: Array, mean: float, std: float) -> Array:
    """Normals of uniforms, float64 [blocks, 2, 8]."""
    radius = np.sqrt(-2 * libm(math.log, 1 - u[:, 0]))
    theta = TWO_PI * u[:, 1]
    out = np.empty_like(u)
    np.multiply(radius, libm(math.cos, theta), out=out[:, 0])
    np.multiply(radius, libm(math.sin, theta), out=out[:, 1])
    return fma64(out, std, mean)


def pairs(u: Array, exact: bool) -> Array:
    """Standard normals of uniforms, float64 [pairs, 2]: angle first, then radius.

    With exact=False NumPy's functions serve: after rounding to float32 the last bit of a double
    matters about once in 2**29 numbers.
    """
    angle, radius = TWO_PI * u[:, 0], -u[:, 1]
    out = np.empty_like(u)
    if exact:
        radius = np.sqrt(-2 * libm(math.log1p, radius))
        np.multiply(radius, libm(math.cos, angle), out=out[:, 0])
        np.multiply(radius, libm(math.sin, angle), out=out[:, 1])
    else:
        radius = np.sqrt(-2 * np.log1p(radius))
        np.multiply(radius, np.cos(angle), out=out[:, 0])
        np.multiply(radius, np.sin(angle), out=out[:, 1])
    return out
