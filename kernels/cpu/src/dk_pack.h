// Packing of whole small operands and the product of packed operands, for attention and recurrence.
#pragma once
#include "dk_gemm.h"

namespace DK_NS {
// B[k][n] from rows of n neighbours, and from rows of k neighbours; slivers of NR columns, zero beyond n
template <class T>
static void pack_b(idx n, idx k, const T* x, idx ld_x, T* out) {
    constexpr idx NR = Tile<T>::NR;
    for (idx j = 0; j < n; j += NR)
        for (idx i = 0; i < k; i++, out += NR) {
            const idx w = lo(NR, n - j);
            std::memcpy((void*)out, x + i * ld_x + j, (size_t)w * sizeof(T));
            for (idx c = w; c < NR; c++) out[c] = 0;
        }
}
template <class T>
static void pack_b_turned(idx n, idx k, const T* x, idx ld_x, T* out) {
    constexpr idx NR = Tile<T>::NR;
    for (idx j = 0; j < n; j += NR, out += NR * k) {
        const idx w = lo(NR, n - j);
        if (w < NR) std::memset((void*)out, 0, (size_t)(NR * k) * sizeof(T));
        transpose(w, k, x + j * ld_x, ld_x, out, NR);
    }
}
template <class T>
static void pack_a_rows(idx m, idx k, const T* x, idx ld_x, T* out) {
    const Slivers sl(m, Tile<T>::MR);
    for (idx s = 0; s < sl.count; s++) pack_rows(sl.rows(s), k, x + sl.start(s) * ld_x, ld_x, out + s * Tile<T>::MR * k);
}
template <class T>
static void pack_a_turned(idx m, idx k, const T* x, idx ld_x, T* out) {  // A[i][k] = x[k][i]
    constexpr idx MR = Tile<T>::MR;
    const Slivers sl(m, MR);
    for (idx s = 0; s < sl.count; s++) {
        const idx i0 = sl.start(s), r = sl.rows(s);
        for (idx j = 0; j < k; j++, out += MR)
            for (idx i = 0; i < MR; i++) out[i] = x[j * ld_x + i0 + lo(i, r - 1)];
    }
}
// C[m][n rounded up to tiles] (+)= A B; slivers of B lie b_step apart
template <class T>
static void product(idx m, idx n, idx k, const T* A, const T* B, idx b_step, T* C, idx ldc, bool add) {
    constexpr idx MR = Tile<T>::MR, NR = Tile<T>::NR;
    const Slivers sl(m, MR);
    for (idx j = 0; j < n; j += NR, B += b_step)
        for (idx s = 0; s < sl.count; s++) micro_rows<T>(sl.rows(s)).packed(k, A + s * MR * k, B, C + sl.start(s) * ldc + j, ldc, add);
}
}  // namespace DK_NS
