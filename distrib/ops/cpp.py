"""The C++ that rendered formulas rely on where the standard library has no such function."""

PRELUDE = r"""
#include <cmath>
#include <limits>
#include <numeric>
template <class T> static inline T dk_maximum(T a, T b) { return a > b || a != a ? a : b; }
template <class T> static inline T dk_minimum(T a, T b) { return a < b || a != a ? a : b; }
template <class T> static inline T dk_sign(T x) { return T((x > 0) - (x < 0)) + (x != x ? x : T(0)); }
template <class T> static inline T dk_floor_divide(T a, T b) {
  const T r = std::fmod(a, b);
  T d = (a - r) / b;
  if (r != 0 && (r < 0) != (b < 0)) d -= 1;
  const T f = std::floor(d);
  return b == 0 ? a / b : d - f > T(0.5) ? f + 1 : f;
}
template <class T> static inline T dk_remainder(T a, T b) {
  const T r = std::fmod(a, b);
  return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}
template <class T> static inline T dk_logaddexp(T a, T b) {
  return a == b ? a + T(0.6931471805599453) : std::fmax(a, b) + std::log1p(std::exp(-std::fabs(a - b)));
}
template <class T> static inline T dk_logaddexp2(T a, T b) {
  return a == b ? a + 1 : std::fmax(a, b) + std::log1p(std::exp2(-std::fabs(a - b))) * T(1.4426950408889634);
}
static inline double dk_tail(double a) {  // exp(a^2) erfc(a) by its continued fraction, a > 2
  double f = a;
  for (int k = 120; k > 0; --k) f = a + k / 2.0 / f;
  return 0.5641895835477563 / f;
}
template <class T> static inline T dk_erfcx(T x) {
  return x > 5 ? T(dk_tail(x)) : T(std::exp(double(x) * x) * std::erfc(double(x)));
}
template <class T> static inline T dk_ndtr(T x) { return T(0.5 * std::erfc(-double(x) * 0.7071067811865476)); }
template <class T> static inline T dk_log_ndtr(T x) {
  const double t = double(x) * 0.7071067811865476;
  return T(x < -1 ? std::log(dk_erfcx<double>(-t) / 2) - t * t : std::log1p(-std::erfc(t) / 2));
}
static inline double dk_quantile(double p) {  // of the normal distribution, by Newton from a first guess
  if (!(p > 0 && p < 1)) {
    const double inf = std::numeric_limits<double>::infinity();
    return p == 0 ? -inf : p == 1 ? inf : inf - inf;
  }
  const double s = p < 0.5 ? p : 1 - p, q = std::sqrt(-2 * std::log(s));
  double x = -(q - (2.515517 + q * (0.802853 + q * 0.010328)) / (1 + q * (1.432788 + q * (0.189269 + q * 0.001308))));
  for (int k = 0; k < 4; ++k) {
    const double u = (0.5 * std::erfc(-x * 0.7071067811865476) - s) * 2.5066282746310002 * std::exp(x * x / 2);
    x -= u / (1 + x * u / 2);
  }
  return p < 0.5 ? x : -x;
}
template <class T> static inline T dk_ndtri(T p) { return T(dk_quantile(p)); }
template <class T> static inline T dk_erfinv(T y) {
  double x = dk_quantile((double(y) + 1) / 2) * 0.7071067811865476;
  if (std::isfinite(x)) x -= (std::erf(x) - y) * 0.886226925452758 * std::exp(x * x);
  return T(x);
}
static inline double dk_psi(double x) {
  if (x == 0) return std::copysign(std::numeric_limits<double>::infinity(), -x);
  if (x < 0) return x == std::floor(x) ? std::nan("") : dk_psi(1 - x) - M_PI / std::tan(M_PI * (x - std::trunc(x)));
  double s = 0;
  for (; x < 10; ++x) s -= 1 / x;
  const double z = 1 / (x * x);
  return s + std::log(x) - 0.5 / x
      - z * (1 / 12.0 - z * (1 / 120.0 - z * (1 / 252.0 - z * (1 / 240.0 - z * (1 / 132.0 - z * (691 / 32760.0 - z / 12))))));
}
template <class T> static inline T dk_digamma(T x) { return T(dk_psi(x)); }
static inline double dk_hurwitz(double s, double q) {
  static const double a[12] = {12.0, -720.0, 30240.0, -1209600.0, 47900160.0, -1.8924375803183791606e9, 7.47242496e10,
      -2.950130727918164224e12, 1.1646782814350067249e14, -4.5979787224074726105e15, 1.8152105401943546773e17,
      -7.1661652561756670113e18};
  if (s == 1) return std::numeric_limits<double>::infinity();
  if (s < 1) return std::nan("");
  if (q <= 0 && q == std::floor(q)) return std::numeric_limits<double>::infinity();
  if (q <= 0 && s != std::floor(s)) return std::nan("");
  double total = std::pow(q, -s), x = q, b = 0;
  for (int i = 0; i < 9 || x <= 9; ++i) { x += 1; b = std::pow(x, -s); total += b; }
  total += b * x / (s - 1) - 0.5 * b;
  double f = 1, k = 0;
  for (double c : a) {
    f *= s + k; b /= x; total += f * b / c; k += 1;
    f *= s + k; b /= x; k += 1;
  }
  return total;
}
template <class T> static inline T dk_zeta(T x, T q) { return T(dk_hurwitz(x, q)); }
template <class T> static inline T dk_polygamma(T n, T x) {
  const int k = int(n);
  if (k == 0) return T(dk_psi(x));
  if (k == 1 && x < T(0.5)) {
    const double s = M_PI / std::sin(M_PI * double(x));
    return T(s * s - dk_hurwitz(2, 1 - double(x)));
  }
  return T((k % 2 ? 1 : -1) * std::tgamma(k + 1.0) * dk_hurwitz(k + 1, x));
}
static inline double dk_gamma_part(double a, double x, bool upper) {
  if (a < 0 || x < 0 || (a == 0 && x == 0)) return std::nan("");
  if (x == 0) return upper;
  if (a == 0 || std::isinf(x)) return !upper;
  const double scale = std::exp(a * std::log(x) - x - std::lgamma(a));
  if (x < a + 1) {
    double term = 1 / a, total = term;
    for (double k = a + 1; std::fabs(term) > std::fabs(total) * 1e-17; ++k) total += term *= x / k;
    return upper ? 1 - total * scale : total * scale;
  }
  double b = x + 1 - a, c = 1e300, d = 1 / b, h = d;
  for (int i = 1; i < 500; ++i) {
    const double an = -i * (i - a);
    b += 2;
    d = 1 / (an * d + b);
    c = b + an / c;
    h *= d * c;
    if (std::fabs(d * c - 1) < 1e-16) break;
  }
  return upper ? scale * h : 1 - scale * h;
}
template <class T> static inline T dk_igamma(T a, T x) { return T(dk_gamma_part(a, x, false)); }
template <class T> static inline T dk_igammac(T a, T x) { return T(dk_gamma_part(a, x, true)); }
template <class T> static inline T dk_i0(T x) { return T(std::cyl_bessel_i(0.0, std::fabs(double(x)))); }
template <class T> static inline T dk_i1(T x) { return T(std::copysign(std::cyl_bessel_i(1.0, std::fabs(double(x))), double(x))); }
template <class T> static inline T dk_i0e(T x) { return T(std::exp(-std::fabs(double(x))) * dk_i0<double>(x)); }
template <class T> static inline T dk_i1e(T x) { return T(std::exp(-std::fabs(double(x))) * dk_i1<double>(x)); }
template <class T> static inline T dk_bessel_j0(T x) { return T(::j0(double(x))); }
template <class T> static inline T dk_bessel_j1(T x) { return T(::j1(double(x))); }
template <class T> static inline T dk_bessel_y0(T x) { return T(::y0(double(x))); }
template <class T> static inline T dk_bessel_y1(T x) { return T(::y1(double(x))); }
template <class T> static inline T dk_modified_bessel_k0(T x) { return T(std::cyl_bessel_k(0.0, double(x))); }
template <class T> static inline T dk_modified_bessel_k1(T x) { return T(std::cyl_bessel_k(1.0, double(x))); }
template <class T> static inline T dk_scaled_modified_bessel_k0(T x) { return T(std::exp(double(x)) * std::cyl_bessel_k(0.0, double(x))); }
template <class T> static inline T dk_scaled_modified_bessel_k1(T x) { return T(std::exp(double(x)) * std::cyl_bessel_k(1.0, double(x))); }
template <class T> static inline T dk_spherical_bessel_j0(T x) { return std::fabs(x) < T(1e-3) ? 1 - x * x / 6 : std::sin(x) / x; }
template <class T> static inline T dk_airy_ai(T y) {
  const double x = y, a = std::fabs(x), z = 2.0 / 3 * a * std::sqrt(a), v = 1.0 / 3;
  if (a < 1e-9) return T(0.35502805388781724 - 0.2588194037928068 * x);
  if (x > 0) return T(std::sqrt(x / 3) / M_PI * std::cyl_bessel_k(v, z));
  return T(std::sqrt(a) / 3 * (1.5 * std::cyl_bessel_j(v, z) - 0.8660254037844386 * std::cyl_neumann(v, z)));
}
template <class F> static inline double dk_recur(double n, double p, F step) {
  double q = 1;
  if (n < 0) return 0;
  if (n < 1) return 1;
  for (int k = 1; k < int(n); ++k) { const double r = step(k, p, q); q = p; p = r; }
  return p;
}
#define DK_CHEBYSHEV(letter, first) \
  template <class T> static inline T dk_chebyshev_polynomial_##letter(T y, T n) { \
    const double x = y; return T(dk_recur(n, first, [x](int, double p, double q) { return 2 * x * p - q; })); } \
  template <class T> static inline T dk_shifted_chebyshev_polynomial_##letter(T y, T n) { \
    return dk_chebyshev_polynomial_##letter<T>(2 * y - 1, n); }
DK_CHEBYSHEV(t, x)
DK_CHEBYSHEV(u, 2 * x)
DK_CHEBYSHEV(v, 2 * x - 1)
DK_CHEBYSHEV(w, 2 * x + 1)
template <class T> static inline T dk_hermite_polynomial_h(T y, T n) {
  const double x = y; return T(dk_recur(n, 2 * x, [x](int k, double p, double q) { return 2 * x * p - 2 * k * q; }));
}
template <class T> static inline T dk_hermite_polynomial_he(T y, T n) {
  const double x = y; return T(dk_recur(n, x, [x](int k, double p, double q) { return x * p - k * q; }));
}
template <class T> static inline T dk_laguerre_polynomial_l(T y, T n) {
  const double x = y; return T(dk_recur(n, 1 - x, [x](int k, double p, double q) { return ((2 * k + 1 - x) * p - k * q) / (k + 1); }));
}
template <class T> static inline T dk_legendre_polynomial_p(T y, T n) {
  const double x = y; return T(dk_recur(n, x, [x](int k, double p, double q) { return ((2 * k + 1) * x * p - k * q) / (k + 1); }));
}
"""
