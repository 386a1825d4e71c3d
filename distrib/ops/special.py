"""Special functions of torch and torch.special: error, gamma, Bessel families, entropy, logit."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..devices import cpu_xp
from ..errors import ShapeError
from ..meta import MetaArray, meta_xp
from ..tensor import Tensor
from . import bessel
from .arithmetic import abs, exp, log, sgn
from .compare import eq, ge, gt, le, logical_and, logical_not, masked, where3
from .formula import math as m
from .pointwise import exp2 as exp2  # public in torch.special as well, like those below
from .pointwise import expm1 as expm1
from .pointwise import log1p as log1p
from .pointwise import round as round
from .pointwise import sigmoid
from .pointwise import sinc as sinc
from .pointwise import xlogy as xlogy
from .registry import attach, elementwise, inplace_of, method, publish, with_out
from .samples import one, spread
from .specialmath import FUNCTIONS
from .stats import logsumexp as logsumexp

xp: Any = None  # bound per array type
_SPECIAL: dict[str, Any] = {"method": False, "inplace": False}


def _register(name: str, fn: Any) -> None:
    """Put a function of arrays where formulas and kernels find it: into the array modules."""
    setattr(cpu_xp, name, fn)

    def on_meta(*args: Any) -> Any:
        shape = np.broadcast_shapes(*(getattr(a, "shape", ()) for a in args))
        return MetaArray(shape, next(a.dtype for a in args if hasattr(a, "dtype")))

    setattr(meta_xp, name, on_meta)


assert bessel is not None  # importing it has registered its functions
for _name, _fn in FUNCTIONS.items():
    _register(_name, _fn)


def _by_number(fn: Any) -> Any:
    """A function of the standard library, one number at a time."""
    return np.vectorize(fn, otypes=["f8"])


def _integral(fn: Any, low: float, high: float, n: int = 4000) -> Any:
    """The integral of fn(x, t) over t by Gauss-Legendre panels: the references' own way."""

    def value(x: Any) -> Any:
        nodes, weights = np.polynomial.legendre.leggauss(20)
        edges = np.linspace(low, high, n // 20 + 1)
        half = np.diff(edges)[:, None] / 2
        t = (edges[:-1, None] + half + half * nodes).ravel()
        return np.asarray(fn(np.asarray(x)[..., None], t) * (half * weights).ravel()).sum(-1)

    return value


# ---- the error function -----------------------------------------------------------------------------
erf = elementwise(
    "erf", lambda input: m.erf(input),
    (lambda g, input: g * (exp(input * -input) * 1.1283791670955126),), domain=(-3, 3),
    ref=_by_number(math.erf), onnx="Erf",
)  # fmt: skip
erfc = elementwise(
    "erfc", lambda input: m.erfc(input),
    (lambda g, input: g * (exp(input * -input) * -1.1283791670955126),), domain=(-3, 3),
    ref=_by_number(math.erfc),
)  # fmt: skip
erfinv = elementwise(
    "erfinv", lambda input: m.erfinv(input), (lambda g, y: g * (exp(y * y) * 0.886226925452758),),
    domain=(-0.95, 0.95), ref=lambda y: _bisect(_by_number(math.erf), y, -3.0, 3.0),
)  # fmt: skip
erfcx = elementwise("special_erfcx", lambda input: m.erfcx(input),
                    (lambda g, input, y: g * (input * y * 2 - 1.1283791670955126),), domain=(-2, 4),
                    ref=lambda x: np.exp(x * x) * _by_number(math.erfc)(x), **_SPECIAL)  # fmt: skip
ndtr = elementwise(
    "special_ndtr", lambda input: m.ndtr(input),
    (lambda g, input: g * (exp(input * input * -0.5) * 0.3989422804014327),), domain=(-3, 3),
    ref=lambda x: _by_number(math.erfc)(-x / math.sqrt(2)) / 2, **_SPECIAL,
)  # fmt: skip
log_ndtr = elementwise(
    "special_log_ndtr", lambda input: m.log_ndtr(input),
    (lambda g, input: g / (erfcx(input * -0.7071067811865476) * 1.2533141373155003),),
    domain=(-5, 3), ref=lambda x: np.log(_by_number(math.erfc)(-x / math.sqrt(2)) / 2), **_SPECIAL,
)  # fmt: skip
ndtri = elementwise(
    "special_ndtri", lambda input: m.ndtri(input),
    (lambda g, y: g * (exp(y * y * 0.5) * 2.5066282746310002),), domain=(0.03, 0.97),
    ref=lambda p: _bisect(lambda x: _by_number(math.erfc)(-x / math.sqrt(2)) / 2, p, -5.0, 5.0),
    **_SPECIAL,
)  # fmt: skip


def _bisect(fn: Any, y: Any, low: float, high: float) -> Any:
    a, b = np.full_like(y, low), np.full_like(y, high)
    for _ in range(60):
        c = (a + b) / 2
        under = fn(c) < y
        a, b = np.where(under, c, a), np.where(under, b, c)
    return (a + b) / 2


# ---- the gamma function -----------------------------------------------------------------------------
lgamma = elementwise(
    "lgamma", lambda input: m.lgamma(input), (lambda g, input: g * digamma(input),),
    domain=(0.3, 9), ref=_by_number(math.lgamma),
)  # fmt: skip
digamma: Any = elementwise(
    "digamma", lambda input: m.digamma(input), (lambda g, input: g * polygamma_op(input, order=1),),
    domain=(0.3, 9),
    ref=lambda x: np.log(x + 999) - 0.5 / (x + 999) - 1 / 12 / (x + 999) ** 2
        - (1 / (x[..., None] + np.arange(999))).sum(-1),
)  # fmt: skip
polygamma_op: Any = elementwise(
    "polygamma", lambda input, *, order: m.polygamma(order, input),
    (lambda g, input, order: g * polygamma_op(input, order=order + 1),),
    samples=lambda: [((spread(3, 4, lo=0.5, hi=5),), {"order": n}) for n in (1, 2, 3)], out=False,
    inplace=False, method=False,
    ref=lambda x, order: (-1) ** (order + 1) * math.factorial(order) * _hurwitz(order + 1, x),
)  # fmt: skip


def _hurwitz(s: Any, q: Any) -> Any:
    """The first terms of the sum, then the integral with two corrections."""
    n = 3000
    k = np.asarray(q)[..., None] + np.arange(n)
    e = np.asarray(q) + n
    s = np.asarray(s, "f8")
    head = (k ** -(s[..., None] if s.ndim else s)).sum(-1)
    return head + e ** (1 - s) / (s - 1) + e**-s / 2 + s * e ** (-s - 1) / 12


zeta: Any = elementwise(
    "special_zeta", lambda input, other: m.zeta(input, other),
    (None, lambda g, input, other: g * (-input * zeta(input + 1, other))), "float", numbers=(0, 1),
    samples=one(spread(3, 4, lo=1.6, hi=4), spread(4, lo=0.5, hi=5, seed=1)), ref=_hurwitz,
    **_SPECIAL,
)  # fmt: skip


def _gamma_density(a: Any, x: Any) -> Any:
    return exp(log(x) * (a - 1) - x - lgamma(a))


igamma = elementwise(
    "igamma", lambda input, other: m.igamma(input, other),
    (None, lambda g, input, other: g * _gamma_density(input, other)), "float", numbers=(),
    samples=one(spread(3, 4, lo=1, hi=6), spread(4, lo=0.2, hi=9, seed=1)),
    ref=lambda a, x: _lower(a, x),
)  # fmt: skip
igammac = elementwise(
    "igammac", lambda input, other: m.igammac(input, other),
    (None, lambda g, input, other: -g * _gamma_density(input, other)), "float", numbers=(),
    samples=one(spread(3, 4, lo=1, hi=6), spread(4, lo=0.2, hi=9, seed=1)),
    ref=lambda a, x: 1 - _lower(a, x),
)  # fmt: skip


def _lower(a: Any, x: Any) -> Any:
    """The sum of x^(a+k) e^-x / gamma(a+k+1)."""
    k = np.arange(150)
    a, x = np.asarray(a)[..., None] + k, np.asarray(x)[..., None]
    return np.exp(a * np.log(x) - x - _by_number(math.lgamma)(a + 1)).sum(-1)


@method()
@with_out
def mvlgamma(input: Any, p: int) -> Tensor:
    """The logarithm of the multivariate gamma function of order p."""
    if p < 1:
        raise ShapeError("p has to be greater than or equal to 1", got=p)
    total: Any = lgamma(input)
    for i in range(1, p):
        total = total + lgamma(input - i / 2)
    total = total + p * (p - 1) / 4 * math.log(math.pi)
    result: Tensor = total
    return result


inplace_of(mvlgamma)


@with_out
def polygamma(n: int, input: Tensor) -> Tensor:
    """The n-th derivative of digamma."""
    if n < 0:
        raise ShapeError("polygamma(n, x) does not support negative n.", got=n)
    result: Tensor = digamma(input) if n == 0 else polygamma_op(input, order=int(n))
    return result


def _polygamma(self: Tensor, n: int) -> Tensor:
    result: Tensor = polygamma(n, self)
    return result


attach("polygamma", _polygamma)
inplace_of(_polygamma, "polygamma")

# ---- modified Bessel functions with gradients -----------------------------------------------------------
_I = _integral(lambda x, t: np.exp(x * np.cos(t)) / np.pi, 0, np.pi)
_I1 = _integral(lambda x, t: np.exp(x * np.cos(t)) * np.cos(t) / np.pi, 0, np.pi)
i0 = elementwise(
    "i0", lambda input: m.i0(input), (lambda g, input: g * i1(input),), domain=(-6, 6), ref=_I
)
i0e = elementwise(
    "special_i0e", lambda input: m.i0e(input),
    (lambda g, input, y: g * (i1e(input) - sgn(input) * y),), domain=(-6, 6),
    ref=lambda x: np.exp(-np.abs(x)) * _I(x), **_SPECIAL,
)  # fmt: skip
i1: Any = elementwise(
    "special_i1", lambda input: m.i1(input),
    (lambda g, input, y: g * _i1_slope(i0(input), y, input),), domain=(-6, 6), ref=_I1, **_SPECIAL,
)  # fmt: skip
i1e: Any = elementwise(
    "special_i1e", lambda input: m.i1e(input),
    (lambda g, input, y: g * (_i1_slope(i0e(input), y, input) - sgn(input) * y),), domain=(-6, 6),
    ref=lambda x: np.exp(-np.abs(x)) * _I1(x), **_SPECIAL,
)  # fmt: skip


def _i1_slope(zeroth: Any, y: Any, x: Any) -> Any:
    there = gt(abs(x), 1e-12)
    return where3(there, zeroth - y / where3(there, x, 1.0), 0.5)


# ---- entropy and logits ----------------------------------------------------------------------------------
entr = elementwise(
    "special_entr",
    lambda input: m.where(input > 0, -input * m.log(input),
        m.where(m.equal(input, 0), 0.0, m.where(m.isnan(input), input, -math.inf))),
    (lambda g, input: g * (-log(input) - 1),), domain=(0.1, 3), ref=lambda x: np.log(x**-x),
    **_SPECIAL,
)  # fmt: skip
xlog1py: Any = elementwise(
    "special_xlog1py",
    lambda input, other: m.where(m.isnan(other), other,
        m.where(m.equal(input, 0), 0.0, input * m.log1p(other))),
    (lambda g, input, other: xlog1py(masked(g, _counts(input, other)), other),
        lambda g, input, other: g * (input / (other + 1))),
    "float", numbers=(0, 1), domain=(0.3, 2), ref=lambda a, b: a * np.log(1 + b), **_SPECIAL,
)  # fmt: skip


def _counts(input: Any, other: Any) -> Any:
    return logical_not(logical_and(eq(input, 0), ge(input * 0 - 1, other)))


def _logit(x: Any, eps: Any) -> Any:
    if eps is not None:
        x = m.minimum(m.maximum(x, eps), 1 - eps)
    return m.log(x / (1 - x))


def _logit_backward(g: Any, input: Any, eps: Any) -> Any:
    low, high = (0.0, 1.0) if eps is None else (eps, 1 - eps)
    inside = logical_and(ge(input, low), le(input, high))
    safe = where3(inside, input, 0.5)
    return where3(inside, g / (safe * (1 - safe)), math.nan if eps is None else 0.0)


logit = elementwise(
    "logit", lambda input, *, eps=None: _logit(input, eps),
    (lambda g, input, eps: _logit_backward(g, input, eps),),
    samples=lambda: [((spread(3, 4, lo=0.05, hi=0.95),), {}),
        ((spread(3, 4, lo=0.01, hi=0.99),), {"eps": 0.2})],
    ref=lambda x, eps=0.0: 2 * np.arctanh(2 * np.clip(x, eps, 1 - eps) - 1),
)  # fmt: skip


# ---- functions without gradients -------------------------------------------------------------------------
def _plain(name: str, ref: Any, low: float = -9.0, high: float = 9.0) -> Any:
    return elementwise(
        f"special_{name}", lambda input: getattr(m, name)(input), None, domain=(low, high), ref=ref,
        **_SPECIAL,
    )  # fmt: skip


def _bessel_j(n: int) -> Any:
    return _integral(lambda x, t: np.cos(n * t - x * np.sin(t)) / np.pi, 0, np.pi)


def _bessel_k(n: int) -> Any:
    return _integral(lambda x, t: np.exp(-x * np.cosh(t)) * np.cosh(n * t), 0, 9)


_Y0 = _integral(  # t^5 takes the logarithm's end away
    lambda x, t: 20 / np.pi**2 * t**4 * np.cos(x * np.cos(t**5)) * (0.5772156649015329 + np.log(2 * x * np.sin(t**5) ** 2)),
    0, (np.pi / 2) ** 0.2,
)  # fmt: skip


def _airy(x: Any) -> Any:
    """Its power series."""
    f, g, a, b = 1.0, x, 1.0, x
    for k in range(1, 30):
        a, b = a * x**3 / ((3 * k - 1) * 3 * k), b * x**3 / (3 * k * (3 * k + 1))
        f, g = f + a, g + b
    return 0.35502805388781724 * f - 0.2588194037928068 * g


bessel_j0 = _plain("bessel_j0", _bessel_j(0))
bessel_j1 = _plain("bessel_j1", _bessel_j(1))
bessel_y0 = _plain("bessel_y0", _Y0, 0.5, 20)
bessel_y1 = _plain(
    "bessel_y1", lambda x: (_bessel_j(1)(x) * _Y0(x) - 2 / np.pi / x) / _bessel_j(0)(x), 3, 5
)
modified_bessel_i0, modified_bessel_i1 = i0, i1
modified_bessel_k0 = _plain("modified_bessel_k0", _bessel_k(0), 0.3)
modified_bessel_k1 = _plain("modified_bessel_k1", _bessel_k(1), 0.3)
scaled_modified_bessel_k0 = _plain(
    "scaled_modified_bessel_k0", lambda x: np.exp(x) * _bessel_k(0)(x), 0.3
)
scaled_modified_bessel_k1 = _plain(
    "scaled_modified_bessel_k1", lambda x: np.exp(x) * _bessel_k(1)(x), 0.3
)
spherical_bessel_j0 = _plain("spherical_bessel_j0", lambda x: np.sinc(x / np.pi))
airy_ai = _plain("airy_ai", _airy, -3, 2)


def _polynomial(name: str, ref: Any) -> Any:
    return elementwise(
        f"special_{name}", lambda input, n: getattr(m, name)(input, n), None, "float",
        numbers=(0, 1), ref=ref,
        samples=one(spread(3, 4, lo=0.05, hi=0.95), np.array([0.0, 1.0, 3.0, 8.0])), **_SPECIAL,
    )  # fmt: skip


def _angle(fn: Any, shifted: bool) -> Any:
    return lambda x, n: fn(np.arccos(2 * x - 1 if shifted else x), n)


def _unit(fn: Any) -> Any:
    """A value of NumPy's polynomials at the n-th unit vector."""
    return np.vectorize(lambda x, n: fn(x, np.eye(12)[int(n)]))


_T, _U, _V, _W = (
    lambda t, n: np.cos(n * t),
    lambda t, n: np.sin((n + 1) * t) / np.sin(t),
    lambda t, n: np.cos((n + 0.5) * t) / np.cos(t / 2),
    lambda t, n: np.sin((n + 0.5) * t) / np.sin(t / 2),
)
chebyshev_polynomial_t = _polynomial("chebyshev_polynomial_t", _angle(_T, False))
chebyshev_polynomial_u = _polynomial("chebyshev_polynomial_u", _angle(_U, False))
chebyshev_polynomial_v = _polynomial("chebyshev_polynomial_v", _angle(_V, False))
chebyshev_polynomial_w = _polynomial("chebyshev_polynomial_w", _angle(_W, False))
shifted_chebyshev_polynomial_t = _polynomial("shifted_chebyshev_polynomial_t", _angle(_T, True))
shifted_chebyshev_polynomial_u = _polynomial("shifted_chebyshev_polynomial_u", _angle(_U, True))
shifted_chebyshev_polynomial_v = _polynomial("shifted_chebyshev_polynomial_v", _angle(_V, True))
shifted_chebyshev_polynomial_w = _polynomial("shifted_chebyshev_polynomial_w", _angle(_W, True))
hermite_polynomial_h = _polynomial("hermite_polynomial_h", _unit(np.polynomial.hermite.hermval))
hermite_polynomial_he = _polynomial(
    "hermite_polynomial_he", _unit(np.polynomial.hermite_e.hermeval)
)
laguerre_polynomial_l = _polynomial("laguerre_polynomial_l", _unit(np.polynomial.laguerre.lagval))
legendre_polynomial_p = _polynomial("legendre_polynomial_p", _unit(np.polynomial.legendre.legval))

# torch.special's own names
expit, gammaln, psi, multigammaln, gammainc, gammaincc = (
    sigmoid,
    lgamma,
    digamma,
    mvlgamma,
    igamma,
    igammac,
)
__all__ = [
    "digamma", "erf", "erfc", "erfinv", "i0", "igamma", "igammac", "lgamma", "logit", "mvlgamma", "polygamma",
]  # fmt: skip
SPECIAL = [
    "airy_ai", "bessel_j0", "bessel_j1", "bessel_y0", "bessel_y1", "chebyshev_polynomial_t",
    "chebyshev_polynomial_u", "chebyshev_polynomial_v", "chebyshev_polynomial_w", "digamma", "entr", "erf",
    "erfc", "erfcx", "erfinv", "exp2", "expit", "expm1", "gammainc", "gammaincc", "gammaln",
    "hermite_polynomial_h", "hermite_polynomial_he", "i0", "i0e", "i1", "i1e", "laguerre_polynomial_l",
    "legendre_polynomial_p", "log1p", "log_ndtr", "logit", "logsumexp", "modified_bessel_i0",
    "modified_bessel_i1", "modified_bessel_k0", "modified_bessel_k1", "multigammaln", "ndtr", "ndtri",
    "polygamma", "psi", "round", "scaled_modified_bessel_k0", "scaled_modified_bessel_k1",
    "shifted_chebyshev_polynomial_t", "shifted_chebyshev_polynomial_u", "shifted_chebyshev_polynomial_v",
    "shifted_chebyshev_polynomial_w", "sinc", "spherical_bessel_j0", "xlog1py", "xlogy", "zeta",
]  # fmt: skip
publish(globals())
