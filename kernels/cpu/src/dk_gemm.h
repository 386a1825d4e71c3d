// The register-tiled matrix product behind convolution and recurrence. A is packed once in slivers of MR rows
// (k-major), B block by block through a functor, so that patches need no matrix of their own.
#pragma once
#include "dk_core.h"

namespace DK_NS {
template <class T>
struct Tile {
    static constexpr int L = Vec<T>::n, NR = 2 * L, MR = VB == 64 ? 12 : 6;
};
// A sliver of B (KC rows of NR columns) fills two thirds of the first-level cache.
constexpr idx KC = VB == 64 ? 256 : VB == 32 ? 384 : 512;
constexpr idx NC_BYTES = 2048;  // columns a block, in bytes of one row
constexpr idx MC_SLIVERS = 16;

// c[R][NR] (+)= a[k][MR]^T b[k][NR], R from 1 to MR; dk_micro.cpp holds them.
template <class T>
struct Micro {
    void (*packed)(idx k, const T* a, const T* b, T* c, idx ldc, bool add);
    // Row j of b is the vectors at b0 + off[j] and b1 + off[j], read in place.
    void (*gather)(idx k, const T* a, const T* b0, const T* b1, const idx* off, T* c, idx ldc, bool add);
};
extern const Micro<float> micro_f32[13];
extern const Micro<double> micro_f64[13];
template <class T>
static DK_INLINE const Micro<T>& micro_rows(idx rows) {
    if constexpr (sizeof(T) == 4) return micro_f32[rows];
    else return micro_f64[rows];
}

struct Slivers {  // M rows spread evenly over as few slivers of at most MR rows as possible
    idx M, count;
    Slivers(idx M, idx MR) : M(M), count(ceil_div(M, MR)) {}
    idx start(idx s) const { return M * s / count; }
    idx rows(idx s) const { return start(s + 1) - start(s); }
};
template <class T>
static inline idx packed_size(idx M, idx K) { return ceil_div(M, Tile<T>::MR) * Tile<T>::MR * K; }
// Pack element (i, k) = f(i, k); for small operands.
template <class T, class F>
static inline void pack_a(idx M, idx K, T* out, const F& f) {
    constexpr idx MR = Tile<T>::MR;
    Slivers sl(M, MR);
    for (idx s = 0; s < sl.count; s++, out += MR * K) {
        idx i0 = sl.start(s), r = sl.rows(s);
        for (idx i = 0; i < MR; i++)
            for (idx k = 0; k < K; k++) out[k * MR + i] = i < r ? f(i0 + i, k) : 0;
    }
}

typedef float f4 __attribute__((vector_size(16)));
typedef float f4u __attribute__((vector_size(16), aligned(4), may_alias));
DK_INLINE void transpose4(f4& a, f4& b, f4& c, f4& d) {
    typedef int i4 __attribute__((vector_size(16)));
    f4 p = __builtin_shuffle(a, b, i4{0, 4, 1, 5}), q = __builtin_shuffle(a, b, i4{2, 6, 3, 7});
    f4 r = __builtin_shuffle(c, d, i4{0, 4, 1, 5}), s = __builtin_shuffle(c, d, i4{2, 6, 3, 7});
    a = __builtin_shuffle(p, r, i4{0, 1, 4, 5}), b = __builtin_shuffle(p, r, i4{2, 3, 6, 7});
    c = __builtin_shuffle(q, s, i4{0, 1, 4, 5}), d = __builtin_shuffle(q, s, i4{2, 3, 6, 7});
}
// y[j * ldy + i] = x[i * ldx + j]
template <class T>
static inline void transpose(idx rows, idx cols, const T* x, idx ldx, T* y, idx ldy) {
    idx i = 0;
    if constexpr (sizeof(T) == 4) {
        for (; i + 4 <= rows; i += 4) {
            const T* p = x + i * ldx;
            idx j = 0;
            for (; j + 4 <= cols; j += 4) {
                f4 a = *(const f4u*)(p + j), b = *(const f4u*)(p + ldx + j), c = *(const f4u*)(p + 2 * ldx + j), d = *(const f4u*)(p + 3 * ldx + j);
                transpose4(a, b, c, d);
                T* o = y + j * ldy + i;
                *(f4u*)o = a, *(f4u*)(o + ldy) = b, *(f4u*)(o + 2 * ldy) = c, *(f4u*)(o + 3 * ldy) = d;
            }
            for (; j < cols; j++)
                for (int u = 0; u < 4; u++) y[j * ldy + i + u] = p[u * ldx + j];
        }
    }
    for (; i < rows; i++)
        for (idx j = 0; j < cols; j++) y[j * ldy + i] = x[i * ldx + j];
}
// out[k][MR] from r <= MR rows that are contiguous in k, ldx apart
template <class T>
static inline void pack_rows(idx r, idx K, const T* x, idx ldx, T* out) {
    constexpr int MR = Tile<T>::MR;
    idx k = 0;
    if constexpr (sizeof(T) == 4) {
        const T* p[MR + 2];
        for (int i = 0; i < MR + 2; i++) p[i] = x + lo(i, r - 1) * ldx;
        for (; k + 4 <= K; k += 4)
#pragma GCC unroll 3
            for (int g = 0; g < MR; g += 4) {
                f4 t[4] = {*(const f4u*)(p[g] + k), *(const f4u*)(p[g + 1] + k), *(const f4u*)(p[g + 2] + k), *(const f4u*)(p[g + 3] + k)};
                transpose4(t[0], t[1], t[2], t[3]);
                for (int u = 0; u < 4; u++) std::memcpy(out + (k + u) * MR + g, &t[u], (MR - g < 4 ? MR - g : 4) * 4);
            }
    }
    for (; k < K; k++)
        for (int i = 0; i < MR; i++) out[k * MR + i] = x[lo(i, r - 1) * ldx + k];
}

// With this few row slivers packing B costs more than reading it in place.
constexpr idx GATHER_SLIVERS = 5;
template <class T>
struct Pieces {  // a sliver of B read in place: its two vectors of row k at b0 + off[k], b1 + off[k]
    const T *b0 = nullptr, *b1 = nullptr;
    const idx* off = nullptr;
};
template <class T>
struct Part {  // neighbours in the source among the columns of a sliver
    idx src;
    int col, len;
};
template <class T>
static DK_INLINE Pieces<T> in_place(const T* src, const Part<T>* parts, int r0, int r1, const idx* off) {
    constexpr int L = Tile<T>::L;
    if (r1 - r0 == 1 && parts[r0].len == 2 * L) return {src + parts[r0].src, src + parts[r0].src + L, off};
    if (r1 - r0 == 2 && parts[r0].len == L && parts[r1 - 1].len == L) return {src + parts[r0].src, src + parts[r1 - 1].src, off};
    return {};
}

// Copies a part; may write and read up to a vector past it.
template <class T>
static DK_INLINE void copy_part(const T* p, int len, T* o) {
    constexpr int L = Tile<T>::L;
    typedef T half __attribute__((vector_size(VB / 2), aligned(alignof(T)), may_alias));
    if (2 * len <= L) {
        *(half*)o = *(const half*)p;
        return;
    }
    st(o, ld(p));
    if (len > L) st(o + L, ld(p + L));
}

// One block of columns [jc, jc + nc) for all rows: C (+)= A B. B is a functor: pack(sliver, pc, kc, out) writes one
// sliver of it, pieces(sliver, pc) tells whether the sliver can be read in place.
template <class T, class P>
static void gemm_block(idx M, idx K, const T* A, idx jc, idx nc, const P& B, T* pb, T* C, idx ldc, bool add) {
    constexpr idx MR = Tile<T>::MR, NR = Tile<T>::NR;
    Slivers sl(M, MR);
    const bool few = sl.count <= GATHER_SLIVERS;
    for (idx pc = 0; pc < K;) {
        const idx left = K - pc, kc = left <= KC ? left : left < 2 * KC ? (left + 1) / 2 : KC;
        for (idx j = 0; j < nc; j += NR)
            if (!few || !B.pieces((jc + j) / NR, pc).b0) B.pack((jc + j) / NR, pc, kc, pb + j * kc);
        for (idx s0 = 0; s0 < sl.count; s0 += MC_SLIVERS)
            for (idx j = 0; j < nc; j += NR) {
                const Pieces<T> in = few ? B.pieces((jc + j) / NR, pc) : Pieces<T>{};
                for (idx s = s0; s < lo(s0 + MC_SLIVERS, sl.count); s++) {
                    const idx i = sl.start(s), r = sl.rows(s), w = lo(NR, nc - j);
                    const T *a = A + s * MR * K + pc * MR, *b = pb + j * kc;
                    const Micro<T>& m = micro_rows<T>(r);
                    T* c = C + i * ldc + j;
                    if (w == NR) {
                        if (in.b0) m.gather(kc, a, in.b0, in.b1, in.off, c, ldc, add || pc > 0);
                        else m.packed(kc, a, b, c, ldc, add || pc > 0);
                        continue;
                    }
                    alignas(64) T t[MR * NR];
                    if (in.b0) m.gather(kc, a, in.b0, in.b1, in.off, t, NR, false);
                    else m.packed(kc, a, b, t, NR, false);
                    for (idx u = 0; u < r; u++)
                        for (idx v = 0; v < w; v++) c[u * ldc + v] = add || pc > 0 ? c[u * ldc + v] + t[u * NR + v] : t[u * NR + v];
                }
            }
        pc += kc;
    }
}
}  // namespace DK_NS
