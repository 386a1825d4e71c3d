"""Special functions on NumPy arrays, to float64 accuracy: what NumPy itself lacks. Gamma and error families."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

FUNCTIONS: dict[str, Callable[..., Any]] = {}


def special(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Register a float64 function; inputs are widened and results brought back to their dtype."""

    def wide(*args: Any) -> Any:
        kinds = [np.asarray(a).dtype for a in args if hasattr(a, "dtype")]
        out = np.result_type(*kinds) if kinds else np.dtype("f8")
        if out.kind == "c":
            raise NotImplementedError(f'"{fn.__name__}_cpu" not implemented for complex numbers')
        out = out if out.kind in "f" else np.dtype("f8")
        with np.errstate(all="ignore"):
            return np.asarray(fn(*[np.asarray(a, "f8") for a in args])).astype(out)

    wide.__name__ = fn.__name__
    FUNCTIONS[fn.__name__] = wide
    return fn


def poly(x: Any, *c: float) -> Any:
    """c[0] x^n + ... + c[n], by Horner's rule."""
    y = np.full_like(x, c[0])
    for k in c[1:]:
        y = y * x + k
    return y


# ---- the error function: Cody's rational approximations (1969) ----------------------------------------------
_SQRPI = 0.5641895835477563
_NEAR = (
    (1.85777706184603153e-1, 3.16112374387056560e0, 1.13864154151050156e2, 3.77485237685302021e2,
     3.20937758913846947e3),
    (1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3, 2.84423683343917062e3),
)  # fmt: skip
_MIDDLE = (
    (2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594e0, 6.61191906371416295e1,
     2.98635138197400131e2, 8.81952221241769090e2, 1.71204761263407058e3, 2.05107837782607147e3,
     1.23033935479799725e3),
    (1.0, 1.57449261107098347e1, 1.17693950891312499e2, 5.37181101862009858e2, 1.62138957456669019e3,
     3.29079923573345963e3, 4.36261909014324716e3, 3.43936767414372164e3, 1.23033935480374942e3),
)  # fmt: skip
_FAR = (
    (1.63153871373020978e-2, 3.05326634961232344e-1, 3.60344899949804439e-1, 1.25781726111229246e-1,
     1.60837851487422766e-2, 6.58749161529837803e-4),
    (1.0, 2.56852019228982242e0, 1.87295284992346725e0, 5.27905102951428412e-1, 6.05183413124413191e-2,
     2.33520497626869185e-3),
)  # fmt: skip


def _ratio(x: Any, pair: Any) -> Any:
    return poly(x, *pair[0]) / poly(x, *pair[1])


def _tail(a: Any) -> Any:
    """erfc(a) exp(a^2) for a > 0.47."""
    middle = _ratio(np.minimum(a, 4.0), _MIDDLE)
    z = 1 / (a * a)
    far = (_SQRPI - z * _ratio(np.minimum(z, 0.0625), _FAR)) / a
    return np.where(a <= 4, middle, far)


def _square_exp(a: Any) -> Any:
    """exp(-a^2) without the rounding error of the square."""
    a = np.minimum(a, 30.0)
    head = np.trunc(a * 16) / 16
    return np.exp(-head * head) * np.exp(-(a - head) * (a + head))


@special
def erf(x: Any) -> Any:
    """The error function."""
    a = np.abs(x)
    near = x * _ratio(np.minimum(a, 0.46875) ** 2, _NEAR)
    far = 1 - _tail(np.maximum(a, 0.46875)) * _square_exp(a)
    return np.where(a <= 0.46875, near, np.copysign(far, x))


@special
def erfc(x: Any) -> Any:
    """1 - erf(x), exact in the tail."""
    a = np.abs(x)
    far = _tail(np.maximum(a, 0.46875)) * _square_exp(a)
    far = np.where(a > 27.5, np.where(np.isnan(a), a, 0.0), far)
    return np.where(a <= 0.46875, 1 - erf(x), np.where(x < 0, 2 - far, far))


@special
def erfcx(x: Any) -> Any:
    """exp(x^2) erfc(x)."""
    a = np.abs(x)
    far = _tail(np.maximum(a, 0.46875))
    negative = 2 * np.exp(x * x) - far
    return np.where(a <= 0.46875, np.exp(x * x) * (1 - erf(x)), np.where(x < 0, negative, far))


@special
def ndtr(x: Any) -> Any:
    """The standard normal distribution function."""
    return 0.5 * erfc(-x * 0.7071067811865476)


@special
def log_ndtr(x: Any) -> Any:
    """Its logarithm, exact in the tail."""
    t = x * 0.7071067811865476
    low = np.log(erfcx(np.maximum(-t, 0)) / 2) - t * t
    return np.where(x < -1, low, np.log1p(-erfc(np.maximum(t, -1)) / 2))


_ACKLAM = (
    (-3.969683028665376e1, 2.209460984245205e2, -2.759285104469687e2, 1.383577518672690e2,
     -3.066479806614716e1, 2.506628277459239e0),
    (-5.447609879822406e1, 1.615858368580409e2, -1.556989798598866e2, 6.680131188771972e1,
     -1.328068155288572e1, 1.0),
    (-7.784894002430293e-3, -3.223964580411365e-1, -2.400758277161838e0, -2.549732539343734e0,
     4.374664141464968e0, 2.938163982698783e0),
    (7.784695709041462e-3, 3.224671290700398e-1, 2.445134137142996e0, 3.754408661907416e0, 1.0),
)  # fmt: skip


def _ndtri_start(p: Any) -> Any:
    """A rational approximation to nine digits, for p <= 1/2."""
    q = np.sqrt(-2 * np.log(p))
    tail = poly(q, *_ACKLAM[2]) / poly(q, *_ACKLAM[3])
    c = p - 0.5
    body = poly(c * c, *_ACKLAM[0]) * c / poly(c * c, *_ACKLAM[1])
    return np.where(p < 0.02425, tail, body)


@special
def ndtri(p: Any) -> Any:
    """The quantile function of the standard normal distribution."""
    small = np.minimum(p, 1 - p)
    x = _ndtri_start(small)
    for _ in range(2):  # Halley
        u = (0.5 * erfc(-x * 0.7071067811865476) - small) * 2.5066282746310002 * np.exp(x * x / 2)
        x = x - np.where(np.isfinite(u), u / (1 + x * u / 2), 0.0)
    x = np.where(small == 0, -np.inf, np.where(small < 0, np.nan, x))
    return np.where(p > 0.5, -x, x)


@special
def erfinv(y: Any) -> Any:
    """The inverse of the error function."""
    a = np.abs(y)
    x = -_ndtri_start((1 - np.minimum(a, 1)) / 2) * 0.7071067811865476
    for _ in range(2):
        off = np.where(a < 0.5, erf(x) - a, (1 - a) - erfc(x))
        u = off * 0.886226925452758 * np.exp(x * x)
        x = x - np.where(np.isfinite(u), u / (1 + x * u), 0.0)
    x = np.where(a == 1, np.inf, np.where(a > 1, np.nan, x))
    return np.copysign(x, y)


# ---- the gamma function -----------------------------------------------------------------------------------
_LANCZOS = (
    676.5203681218851, -1259.1392167224028, 771.32342877765313, -176.61502916214059,
    12.507343278686905, -0.13857109526572012, 9.9843695780195716e-6, 1.5056327351493116e-7,
)  # fmt: skip


def _stirling(x: Any) -> Any:
    """log gamma for x >= 8."""
    z = 1 / (x * x)
    series = (
        poly(
            z,
            -3617 / 122400,
            1 / 156,
            -691 / 360360,
            1 / 1188,
            -1 / 1680,
            1 / 1260,
            -1 / 360,
            1 / 12,
        )
        / x
    )
    return (x - 0.5) * np.log(x) - x + 0.9189385332046728 + series


@special
def lgamma(x: Any) -> Any:
    """The logarithm of the absolute value of the gamma function."""
    reflect = x < 0.5
    t = np.where(reflect, 1 - x, x)
    z = np.minimum(t, 8) - 1
    total = 0.99999999999980993 + sum(c / (z + i + 1) for i, c in enumerate(_LANCZOS))
    w = z + 7.5
    small = 0.9189385332046728 + (z + 0.5) * np.log(w) - w + np.log(total)
    y = np.where(t < 8, small, _stirling(np.maximum(t, 8)))
    y = np.where((t == 1) | (t == 2), 0.0, y)
    frac = np.abs(x - np.rint(x))
    y = np.where(reflect, 1.1447298858494002 - np.log(np.sin(np.pi * frac)) - y, y)
    y = np.where((x <= 0) & (frac == 0), np.inf, y)
    return np.where(np.isinf(x), np.inf, y)


@special
def digamma(x: Any) -> Any:
    """The derivative of lgamma."""
    reflect = x < 0
    t = np.where(reflect, 1 - x, x)
    total = np.zeros_like(t)
    for _ in range(10):
        total = np.where(t < 10, total - 1 / t, total)
        t = np.where(t < 10, t + 1, t)
    z = 1 / (t * t)
    series = z * poly(z, 1 / 12, -691 / 32760, 1 / 132, -1 / 240, 1 / 252, -1 / 120, 1 / 12)
    y = np.log(t) - 0.5 / t - series + total
    frac = x - np.trunc(x)
    y = np.where(reflect, y - np.pi / np.tan(np.pi * frac), y)
    y = np.where(reflect & (frac == 0), np.nan, y)
    return np.where(x == 0, np.copysign(np.inf, -x), np.where(x == np.inf, np.inf, y))


_EULER_MACLAURIN = (
    12.0, -720.0, 30240.0, -1209600.0, 47900160.0, -1.8924375803183791606e9, 7.47242496e10,
    -2.950130727918164224e12, 1.1646782814350067249e14, -4.5979787224074726105e15,
    1.8152105401943546773e17, -7.1661652561756670113e18,
)  # fmt: skip


@special
def zeta(x: Any, q: Any) -> Any:
    """Hurwitz's zeta function: the sum of (q + k)^-x."""
    x, q = np.broadcast_arrays(x, q)
    total, a = q**-x, q
    for _ in range(40):
        go = (a <= 9) | (_ < 9)
        a = np.where(go, a + 1, a)
        total = np.where(go, total + a**-x, total)
    b = a**-x
    total = total + b * a / (x - 1) - 0.5 * b
    factor, k = np.ones_like(x), 0.0
    for c in _EULER_MACLAURIN:
        factor = factor * (x + k)
        b = b / a
        total = total + factor * b / c
        k += 1
        factor = factor * (x + k)
        b = b / a
        k += 1
    whole = np.floor(q) == q
    total = np.where((q <= 0) & whole, np.inf, total)
    total = np.where((q <= 0) & ~whole & (x != np.floor(x)), np.nan, total)
    return np.where(x == 1, np.inf, np.where(x < 1, np.nan, total))


def _trigamma(x: Any) -> Any:
    reflect = x < 0.5
    t = np.where(reflect, 1 - x, x)
    y = zeta(np.float64(2), t)
    return np.where(reflect, (np.pi / np.sin(np.pi * x)) ** 2 - y, y)


@special
def polygamma(n: Any, x: Any) -> Any:
    """The n-th derivative of digamma, for one integer n."""
    k = int(np.asarray(n).ravel()[0])
    if k == 0:
        return digamma(x)
    if k == 1:
        return _trigamma(x)
    return (-1) ** (k + 1) * np.exp(lgamma(np.float64(k + 1))) * zeta(np.float64(k + 1), x)


def _lower_series(a: Any, x: Any) -> Any:
    """The regularised lower incomplete gamma function for x below a + 1."""
    term = 1 / a
    total, k = term, a
    for _ in range(500):
        k = k + 1
        term = term * x / k
        total = total + term
        if not bool((np.abs(term) > np.abs(total) * 1e-17).any()):
            break
    return total * np.exp(a * np.log(x) - x - lgamma(a))


def _upper_fraction(a: Any, x: Any) -> Any:
    """The upper one by Lentz's continued fraction, for x from a + 1."""
    b = x + 1 - a
    c = np.full_like(b, 1e300)
    d = 1 / b
    h = d
    for i in range(1, 500):
        an = -i * (i - a)
        b = b + 2
        d = an * d + b
        d = 1 / np.where(np.abs(d) < 1e-300, 1e-300, d)
        c = b + an / c
        c = np.where(np.abs(c) < 1e-300, 1e-300, c)
        h = h * d * c
        if not bool((np.abs(d * c - 1) > 1e-16).any()):
            break
    return np.exp(a * np.log(x) - x - lgamma(a)) * h


def _incomplete(a: Any, x: Any, upper: bool) -> Any:
    a, x = np.broadcast_arrays(a, x)
    low = x < a + 1
    lower = _lower_series(np.where(a > 0, a, 1.0), np.where(low, np.maximum(x, 0), 1.0))
    above = _upper_fraction(np.where(low, 1.0, a), np.where(low, 3.0, np.minimum(x, 1e30)))
    y = np.where(low, 1 - lower if upper else lower, above if upper else 1 - above)
    y = np.where(x == 0, 1.0 if upper else 0.0, y)
    y = np.where(np.isinf(x) & ~np.isinf(a), 0.0 if upper else 1.0, y)
    y = np.where((a == 0) & (x > 0), 0.0 if upper else 1.0, y)
    y = np.where(np.isinf(a) & ~np.isinf(x), 1.0 if upper else 0.0, y)
    return np.where(
        (a < 0) | (x < 0) | ((a == 0) & (x == 0)) | (np.isinf(a) & np.isinf(x)), np.nan, y
    )


@special
def igamma(a: Any, x: Any) -> Any:
    """The regularised lower incomplete gamma function."""
    return _incomplete(a, x, False)


@special
def igammac(a: Any, x: Any) -> Any:
    """The regularised upper incomplete gamma function."""
    return _incomplete(a, x, True)
