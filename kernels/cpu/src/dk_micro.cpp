// The micro-kernels of the matrix product, one for each number of rows, in a file of their own so that the
// accumulators stay in registers.
#include "dk_gemm.h"

namespace DK_NS {
template <class T, int R>
static DK_INLINE void finish(vec<T> (&s)[R][2], T* __restrict c, idx ldc, bool add) {
    constexpr int L = Tile<T>::L;
    if (add) {
#pragma GCC unroll 16
        for (int i = 0; i < R; i++, c += ldc) st(c, s[i][0] + ld(c)), st(c + L, s[i][1] + ld(c + L));
    } else {
#pragma GCC unroll 16
        for (int i = 0; i < R; i++, c += ldc) st(c, s[i][0]), st(c + L, s[i][1]);
    }
}
template <class T, int R>
static DK_INLINE void step(vec<T> (&s)[R][2], const T* a, vec<T> b0, vec<T> b1) {
#pragma GCC unroll 16
    for (int i = 0; i < R; i++) {
        vec<T> x = all(a[i]);
        s[i][0] += x * b0, s[i][1] += x * b1;
    }
}
template <class T, int R>
static void micro(idx k, const T* __restrict a, const T* __restrict b, T* __restrict c, idx ldc, bool add) {
    constexpr int L = Tile<T>::L;
    vec<T> s[R][2] = {};
#pragma GCC unroll 2
    for (idx j = 0; j < k; j++, a += Tile<T>::MR, b += 2 * L) step<T, R>(s, a, ld(b), ld(b + L));
    finish<T, R>(s, c, ldc, add);
}
template <class T, int R>
static void gather(idx k, const T* __restrict a, const T* __restrict b0, const T* __restrict b1, const idx* off, T* __restrict c, idx ldc, bool add) {
    vec<T> s[R][2] = {};
#pragma GCC unroll 2
    for (idx j = 0; j < k; j++, a += Tile<T>::MR) step<T, R>(s, a, ld(b0 + off[j]), ld(b1 + off[j]));
    finish<T, R>(s, c, ldc, add);
}
template <class T, int R>
static constexpr Micro<T> rows() {
    if constexpr (R <= Tile<T>::MR) return {micro<T, R>, gather<T, R>};
    else return {nullptr, nullptr};
}
#define DK_TABLE(T) {{nullptr, nullptr}, rows<T, 1>(), rows<T, 2>(), rows<T, 3>(), rows<T, 4>(), rows<T, 5>(), rows<T, 6>(), rows<T, 7>(), rows<T, 8>(), rows<T, 9>(), rows<T, 10>(), rows<T, 11>(), rows<T, 12>()}
const Micro<float> micro_f32[13] = DK_TABLE(float);
const Micro<double> micro_f64[13] = DK_TABLE(double);
}  // namespace DK_NS
