"""Bessel, Airy and orthogonal polynomial functions on NumPy arrays; registered with `specialmath`."""

from __future__ import annotations

from typing import Any

import numpy as np

from .specialmath import special

_GAMMA = 0.5772156649015329


# ---- modified Bessel functions -------------------------------------------------------------------------
def _i_series(x: Any, v: int) -> Any:
    q = x * x / 4
    term = np.ones_like(x) if v == 0 else x / 2
    total = term
    for k in range(1, 70):
        term = term * q / (k * (k + v))
        total = total + term
    return total


def _i_far(x: Any, v: int) -> Any:
    """exp(-x) I_v(x) for x > 20."""
    term, total = np.ones_like(x), np.ones_like(x)
    for k in range(1, 30):
        term = -term * (4 * v * v - (2 * k - 1) ** 2) / (8 * k * x)
        total = total + term
    return total / np.sqrt(2 * np.pi * x)


def _i(x: Any, v: int, scaled: bool) -> Any:
    a = np.abs(x)
    near = _i_series(np.minimum(a, 20.0), v)
    far = _i_far(np.maximum(a, 20.0), v)
    y = (
        np.where(a <= 20, near * np.exp(-a), far)
        if scaled
        else np.where(a <= 20, near, far * np.exp(a))
    )
    return np.copysign(y, x) if v else y


@special
def i0(x: Any) -> Any:
    """The modified Bessel function of the first kind, order 0."""
    return _i(x, 0, False)


@special
def i0e(x: Any) -> Any:
    """exp(-|x|) i0(x)."""
    return _i(x, 0, True)


@special
def i1(x: Any) -> Any:
    """The modified Bessel function of the first kind, order 1."""
    return _i(x, 1, False)


@special
def i1e(x: Any) -> Any:
    """exp(-|x|) i1(x)."""
    return _i(x, 1, True)


def _k_far(x: Any, v: float) -> Any:
    """exp(x) K_v(x) by the trapezoid rule on exp(-x (cosh t - 1)) cosh(v t): exponentially exact."""
    step, total = 0.08, np.full_like(x, 0.5)
    for i in range(1, 64):
        t = i * step
        total = total + np.exp(-x * (np.cosh(t) - 1)) * np.cosh(v * t)
    return total * step


def _k_near(x: Any, v: int) -> Any:
    q, lead = x * x / 4, np.log(x / 2)
    if v == 0:
        term, harmonic, total = np.ones_like(x), 0.0, np.zeros_like(x)
        for k in range(1, 30):
            term, harmonic = term * q / (k * k), harmonic + 1 / k
            total = total + term * harmonic
        return total - (lead + _GAMMA) * _i_series(x, 0)
    term, a, b = x / 4, -_GAMMA, 1 - _GAMMA
    total = 1 / x + lead * _i_series(x, 1)
    for k in range(30):
        total = total - term * (a + b)
        a, b = a + 1 / (k + 1), b + 1 / (k + 2)
        term = term * q / ((k + 1) * (k + 2))
    return total


def _k(x: Any, v: int, scaled: bool) -> Any:
    near, far = _k_near(np.minimum(x, 2.0), v), _k_far(np.maximum(x, 2.0), v)
    y = (
        np.where(x <= 2, near * np.exp(x), far)
        if scaled
        else np.where(x <= 2, near, far * np.exp(-x))
    )
    return np.where(x == 0, np.inf, np.where(x < 0, np.nan, y))


@special
def modified_bessel_k0(x: Any) -> Any:
    """The modified Bessel function of the second kind, order 0."""
    return _k(x, 0, False)


@special
def modified_bessel_k1(x: Any) -> Any:
    """The modified Bessel function of the second kind, order 1."""
    return _k(x, 1, False)


@special
def scaled_modified_bessel_k0(x: Any) -> Any:
    """exp(x) modified_bessel_k0(x)."""
    return _k(x, 0, True)


@special
def scaled_modified_bessel_k1(x: Any) -> Any:
    """exp(x) modified_bessel_k1(x)."""
    return _k(x, 1, True)


# ---- Bessel functions --------------------------------------------------------------------------------
def _hankel(x: Any, v: int) -> tuple[Any, Any]:
    """J and Y for x > 25 by Hankel's expansion."""
    p, q, term = np.ones_like(x), np.zeros_like(x), np.ones_like(x)
    for k in range(1, 32):
        term = term * (4 * v * v - (2 * k - 1) ** 2) / (8 * k * x)
        if k % 2:
            q = q + (term if k % 4 == 1 else -term)
        else:
            p = p + (term if k % 4 == 0 else -term)
    phase, size = x - (v / 2 + 0.25) * np.pi, np.sqrt(2 / (np.pi * x))
    c, s = np.cos(phase), np.sin(phase)
    return size * (p * c - q * s), size * (p * s + q * c)


def _orders(x: Any) -> list[Any]:
    """J_0 .. J_60 for 0 < x <= 25 by Miller's backward recurrence."""
    after, here, found = np.zeros_like(x), np.full_like(x, 1e-300), []
    total = np.zeros_like(x)
    for n in range(90, -1, -1):
        found.append(here)
        total = total + (here if n == 0 else 2 * here if n % 2 == 0 else 0.0)
        after, here = here, 2 * n / x * here - after
        big = np.abs(here) > 1e100
        if bool(big.any()):
            scale = np.where(big, 1e-200, 1.0)
            after, here, total = after * scale, here * scale, total * scale
            found = [f * scale for f in found]
    return [f / total for f in found[::-1]]


def _bessel(x: Any, v: int, second: bool) -> Any:
    a = np.abs(x)
    far = _hankel(np.maximum(a, 25.0), v)[1 if second else 0]
    near_x = np.clip(a, 1e-6, 25.0)
    js = _orders(near_x)
    tiny = 1 - a * a / 4 if v == 0 else a / 2 * (1 - a * a / 8)
    if not second:
        y = np.where(a <= 1e-6, tiny, np.where(a <= 25, js[v], far))
        y = np.where(np.isinf(a), 0.0, y)
        return np.copysign(1, x) * y if v else y
    lead = np.log(np.where(a < 1e-6, a, near_x) / 2) + _GAMMA
    total = np.zeros_like(x)
    if v == 0:
        for k in range(1, 40):
            total = total + (-1) ** k * js[2 * k] / k
        y = 2 / np.pi * lead * np.where(a < 1e-6, tiny, js[0]) - 4 / np.pi * total
    else:
        for k in range(1, 40):
            total = total + (-1) ** k * (js[2 * k - 1] - js[2 * k + 1]) / k
        zeroth = np.where(a < 1e-6, 1 - a * a / 4, js[0])
        y = 2 / np.pi * (lead * np.where(a < 1e-6, tiny, js[1]) - zeroth / a + total)
    y = np.where(a <= 25, y, far)
    return np.where(x == 0, -np.inf, np.where(x < 0, np.nan, np.where(np.isinf(a), 0.0, y)))


@special
def bessel_j0(x: Any) -> Any:
    """The Bessel function of the first kind, order 0."""
    return _bessel(x, 0, False)


@special
def bessel_j1(x: Any) -> Any:
    """The Bessel function of the first kind, order 1."""
    return _bessel(x, 1, False)


@special
def bessel_y0(x: Any) -> Any:
    """The Bessel function of the second kind, order 0."""
    return _bessel(x, 0, True)


@special
def bessel_y1(x: Any) -> Any:
    """The Bessel function of the second kind, order 1."""
    return _bessel(x, 1, True)


@special
def spherical_bessel_j0(x: Any) -> Any:
    """sin(x) / x."""
    return np.where(np.abs(x) < 1e-4, 1 - x * x / 6, np.where(np.isinf(x), 0.0, np.sin(x) / x))


@special
def airy_ai(x: Any) -> Any:
    """Airy's function."""
    z = 2 / 3 * np.maximum(x, 1.0) ** 1.5
    right = np.sqrt(np.maximum(x, 1.0) / 3) / np.pi * _k_far(z, 1 / 3) * np.exp(-z)
    s = np.clip(x, -7.0, 1.0)
    f, g, a, b = np.ones_like(x), s, np.ones_like(x), s
    for k in range(1, 40):
        a, b = a * s**3 / ((3 * k - 1) * (3 * k)), b * s**3 / ((3 * k) * (3 * k + 1))
        f, g = f + a, g + b
    middle = 0.35502805388781724 * f - 0.25881940379280680 * g
    t = np.maximum(-x, 7.0)
    z = 2 / 3 * t**1.5
    p, q, term = np.ones_like(x), np.zeros_like(x), np.ones_like(x)
    for k in range(1, 14):
        term = term * (6 * k - 5) * (6 * k - 1) / (72 * k * z)
        if k % 2:
            q = q + (term if k % 4 == 1 else -term)
        else:
            p = p + (term if k % 4 == 0 else -term)
    phase = z + np.pi / 4
    left = (np.sin(phase) * p - np.cos(phase) * q) / (np.sqrt(np.pi) * t**0.25)
    return np.where(x > 1, right, np.where(x >= -7, middle, left))


# ---- orthogonal polynomials ---------------------------------------------------------------------------
def _recur(x: Any, n: Any, first: Any, step: Any) -> Any:
    """p_n(x) from p_0 = 1, p_1 and p_{k+1} = step(k, p_k, p_{k-1}); 0 for negative n."""
    x, n = np.broadcast_arrays(x, n)
    last, here = np.ones_like(x), first(x)
    out = np.where(n < 0, 0.0, np.where(n < 1, last, here))
    top = int(np.nanmax(n)) if n.size else 0
    for k in range(1, min(top, 10000)):
        last, here = here, step(k, x, here, last)
        out = np.where(n >= k + 1, here, out)
    return out


def _chebyshev(x: Any, n: Any, first: Any) -> Any:
    n = np.trunc(n)
    return _recur(x, n, first, lambda k, x, p, q: 2 * x * p - q)


def _families() -> None:
    firsts = {
        "t": lambda x: x, "u": lambda x: 2 * x, "v": lambda x: 2 * x - 1, "w": lambda x: 2 * x + 1,
    }  # fmt: skip
    for letter, first in firsts.items():

        def plain(x: Any, n: Any, first: Any = first) -> Any:
            return _chebyshev(x, n, first)

        def shifted(x: Any, n: Any, first: Any = first) -> Any:
            return _chebyshev(2 * x - 1, n, first)

        plain.__name__ = f"chebyshev_polynomial_{letter}"
        shifted.__name__ = f"shifted_chebyshev_polynomial_{letter}"
        special(plain)
        special(shifted)


_families()


@special
def hermite_polynomial_h(x: Any, n: Any) -> Any:
    """Physicists' Hermite polynomials."""
    return _recur(x, np.trunc(n), lambda x: 2 * x, lambda k, x, p, q: 2 * x * p - 2 * k * q)


@special
def hermite_polynomial_he(x: Any, n: Any) -> Any:
    """Probabilists' Hermite polynomials."""
    return _recur(x, np.trunc(n), lambda x: x, lambda k, x, p, q: x * p - k * q)


@special
def laguerre_polynomial_l(x: Any, n: Any) -> Any:
    """Laguerre polynomials."""
    return _recur(
        x, np.trunc(n), lambda x: 1 - x, lambda k, x, p, q: ((2 * k + 1 - x) * p - k * q) / (k + 1)
    )


@special
def legendre_polynomial_p(x: Any, n: Any) -> Any:
    """Legendre polynomials."""
    return _recur(
        x, np.trunc(n), lambda x: x, lambda k, x, p, q: ((2 * k + 1) * x * p - k * q) / (k + 1)
    )
