// Elementary functions on vectors. The polynomials of exp (Chebyshev interpolation on +-ln2/2, error 3e-9) and
// erf (rational least squares in x^2, error 5e-8) were fitted for this file; doubles go lane by lane to libm.
#pragma once
#include <limits>

#include "dk_core.h"

namespace DK_NS {
typedef vec<float> vf;
typedef std::int32_t vi __attribute__((vector_size(VB)));
typedef vec<double> vd;

DK_INLINE vf vexp(vf x) {  // 0 below -87.33; not a number stays so
    const vf low = all(-87.33f), high = all(88.72f);
    vf c = x < low ? low : x;
    c = c > high ? high : c;
    const vf magic = all(12582912.0f);
    vf n = (c * all(1.44269504f) + magic) - magic;
    vf r = c - n * all(0.693145752f);
    r = r - n * all(1.42860677e-6f);
    vf p = all(0.001394116086885333f);
    p = p * r + all(0.008375167846679688f);
    p = p * r + all(0.04166635125875473f);
    p = p * r + all(0.16666415333747864f);
    p = p * r + all(0.5f);
    p = p * r + all(1.0f);
    p = p * r + all(1.0f);
    vi e = __builtin_convertvector(n, vi) << 23;
    vf y = (vf)((vi)p + e);
    y = x < low ? vf{} : y;
    return x > high ? all(std::numeric_limits<float>::infinity()) : y;
}
DK_INLINE vf verf(vf x) {
    const vf top = all(3.925f);
    x = x < -top ? -top : x;
    x = x > top ? top : x;
    vf z = x * x;
    vf p = all(2.0446220787562197e-06f) * z + all(0.00028586911503225565f);
    p = p * z + all(0.0038029763381928205f);
    p = p * z + all(0.05285973101854324f);
    p = p * z + all(0.19125761091709137f);
    p = p * z + all(1.1283791065216064f);
    vf q = all(3.8088575820438564e-05f) * z + all(0.0011719760950654745f);
    q = q * z + all(0.015042105689644814f);
    q = q * z + all(0.11446017026901245f);
    q = q * z + all(0.5028298497200012f);
    q = q * z + all(1.0f);
    return x * p / q;
}
DK_INLINE vd vexp(vd x) {
    for (int i = 0; i < Vec<double>::n; i++) x[i] = std::exp(x[i]);
    return x;
}
DK_INLINE vd verf(vd x) {
    for (int i = 0; i < Vec<double>::n; i++) x[i] = std::erf(x[i]);
    return x;
}
template <class V>
DK_INLINE V vsigmoid(V x) { return 1 / (1 + vexp(-x)); }
DK_INLINE vf vtanh(vf x) {  // a polynomial where 1 - 2 / (e^2x + 1) would cancel
    vf z = x * x, e = vexp(x + x);
    vf big = 1 - 2 / (e + 1);
    vf small = x + x * z * (all(-0.333333328f) + z * (all(0.133332556f) + z * (all(-0.0538656712f) + z * (all(0.0211537741f) + z * all(-0.00689286357f)))));
    vf a = x < 0 ? -x : x;
    return a < all(0.55f) ? small : big;
}
DK_INLINE vd vtanh(vd x) {
    for (int i = 0; i < Vec<double>::n; i++) x[i] = std::tanh(x[i]);
    return x;
}

// Loads that stop at the end of a row.
template <class T>
DK_INLINE vec<T> ld_upto(const T* p, idx n, T fill) {
    if (n >= Vec<T>::n) return ld(p);
    vec<T> v = all(fill);
    std::memcpy((void*)&v, p, (size_t)n * sizeof(T));
    return v;
}
template <class T>
DK_INLINE void st_upto(T* p, vec<T> v, idx n) {
    if (n >= Vec<T>::n) st(p, v);
    else st_part(p, v, n);
}
// f(offset, lanes left): every vector of n elements, the last one partial
template <class T, class F>
DK_INLINE void each_vec(idx n, const F& f) {
    constexpr idx L = Vec<T>::n;
    idx i = 0;
    for (; i + L <= n; i += L) f(i, L);
    if (i < n) f(i, n - i);
}
template <class T>
DK_INLINE T row_max(idx n, const T* x) {
    constexpr T none = -std::numeric_limits<T>::infinity();
    vec<T> m = all(none);
    each_vec<T>(n, [&](idx i, idx k) { m = vmax<T>(ld_upto(x + i, k, none), m); });
    T t = none;
    for (int i = 0; i < Vec<T>::n; i++) t = m[i] > t ? m[i] : t;
    return t;
}
}  // namespace DK_NS
