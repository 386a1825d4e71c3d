// Convolution's weight gradient, gradient (rows) times transposed patches (columns), and its bias gradient.
#include "dk_conv.h"

namespace DK_NS {
template <class T>
struct Taps {  // transposed patches: row k is a pixel at soff[k], column j = (tap, channel)
    const T* src;
    const idx* soff;
    const Part<T>* parts;
    const int* first;
    Pieces<T> pieces(idx s, idx pc) const { return in_place(src, parts, first[s], first[s + 1], soff + pc); }
    void pack(idx s, idx pc, idx kc, T* out) const {
        constexpr idx NR = Tile<T>::NR, L = Tile<T>::L;
        const idx* off = soff + pc;
        if (Pieces<T> in = in_place(src, parts, first[s], first[s + 1], off); in.b0) {
            for (idx k = 0; k < kc; k++, out += NR) st(out, ld(in.b0 + off[k])), st(out + L, ld(in.b1 + off[k]));
            return;
        }
        for (idx k = 0; k < kc; k++, out += NR)
            for (int r = first[s]; r < first[s + 1]; r++)  // writes past a part are overwritten by what follows
                copy_part(src + off[k] + parts[r].src, parts[r].len, out + parts[r].col);
    }
};

template <class T>
void dk_conv_weight_grad(const Geometry& G, const T* g, bool g_last, const T* x, bool x_last, T* dw) {
    constexpr idx MR = Tile<T>::MR, NR = Tile<T>::NR;
    const idx cg = G.cg(), og = G.og(), taps = G.taps(), cols = cg * taps, pout = G.pixels_out();
    if (!G.N || !pout || !cols || !og) {
        std::memset((void*)dw, 0, (size_t)(G.O * cols) * sizeof(T));
        return;
    }
    Padded P;
    idx need[3];
    for (int i = 0; i < 3; i++) need[i] = (G.out[i] - 1) * G.stride[i] + (G.k[i] - 1) * G.dil[i] + 1;
    P.set(G.in, G.pad, G.stride, need);
    const bool copy = P.is_copy() || !x_last;
    const idx plane = P.plane(), C = G.C;
    const idx group = image_group(G.N, hi(C * plane, G.O * pout) * (idx)sizeof(T));
    Buf<T> padded(group * C * plane + 64), A(packed_size<T>(og, group * pout)), sum(og * cols + NR);
    Buf<idx> soff(group * pout), tap_off(taps);
    Buf<Part<T>> parts(cols);
    Buf<int> first(ceil_div(cols, NR) + 1);
    for (idx t = 0; t < taps; t++) tap_off[t] = C * P.at(t / (G.k[1] * G.k[2]) * G.dil[0], t / G.k[2] % G.k[1] * G.dil[1], t % G.k[2] * G.dil[2]);
    int count = 0;
    for (idx j = 0; j < cols; j++) {
        const idx s = tap_off[j / cg] + j % cg;
        if (j % NR == 0) first[j / NR] = count;
        if (j % NR && parts[count - 1].src + parts[count - 1].len == s) parts[count - 1].len++;
        else parts[count++] = Part<T>{s, (int)(j % NR), 1};
    }
    first[ceil_div(cols, NR)] = count;
    const Slivers sl(og, MR);
    idx nc_max = NC_BYTES / (idx)sizeof(T);
    while (nc_max > NR && cols < nc_max * dk_threads) nc_max /= 2;
    for (idx grp = 0; grp < G.groups; grp++) {
        for (idx n0 = 0; n0 < G.N; n0 += group) {
            const idx images = lo(group, G.N - n0), K = images * pout;
            if (grp == 0 || group < G.N) {
                // Vectors may be read past the end of the last image, so x itself is not read in place.
                if (copy) pad_last(P, x, C, x_last, n0, images, (T*)padded);
                else std::memcpy((void*)padded, x + n0 * C * plane, (size_t)(images * C * plane) * sizeof(T));
                idx k = 0;
                for (idx n = 0; n < images; n++)
                    for (idx d = 0; d < G.out[0]; d++)
                        for (idx h = 0; h < G.out[1]; h++)
                            for (idx w = 0; w < G.out[2]; w++) soff[k++] = (n * plane + (d * P.q[1] + h) * P.q[2] + w) * C;
            }
            parallel(sl.count * images, hi(1, 8192 / pout), [&](idx a, idx b) {
                for (idx i = a; i < b; i++) {
                    const idx s = i / images, n = i % images, o = grp * og + sl.start(s), r = sl.rows(s);
                    T* out = A + s * MR * K + n * pout * MR;
                    if (!g_last) pack_rows(r, pout, g + ((n0 + n) * G.O + o) * pout, pout, out);
                    else
                        for (idx p = 0; p < pout; p++) {
                            const T* q = g + ((n0 + n) * pout + p) * G.O + o;
                            for (idx u = 0; u < MR; u++) out[p * MR + u] = q[u < r ? u : r - 1];
                        }
                }
            });
            const Taps<T> B{padded + grp * cg, soff, parts, first};
            parallel(ceil_div(cols, nc_max), 1, [&](idx b0, idx b1) {
                Buf<T> pb(lo(KC, K) * nc_max + 4 * NR);
                for (idx b = b0; b < b1; b++) {
                    const idx jc = b * nc_max, nc = lo(nc_max, cols - jc);
                    gemm_block(og, K, (const T*)A, jc, nc, B, (T*)pb, sum + jc, cols, n0 > 0);
                }
            });
        }
        for (idx o = 0; o < og; o++)  // (tap, channel) to (channel, tap)
            transpose(taps, cg, sum + o * cols, cg, dw + (grp * og + o) * cols, taps);
    }
}

template <class T>
void dk_channel_sum(idx N, idx C, idx P, const T* g, bool last, T* out) {
    if (last) {
        Buf<double> s(C);
        for (idx c = 0; c < C; c++) s[c] = 0;
        for (idx i = 0; i < N * P; i += 64) {
            Buf<T> t(C);
            for (idx c = 0; c < C; c++) t[c] = 0;
            for (idx r = i; r < lo(N * P, i + 64); r++)
                for (idx c = 0; c < C; c++) t[c] += g[r * C + c];
            for (idx c = 0; c < C; c++) s[c] += (double)t[c];
        }
        for (idx c = 0; c < C; c++) out[c] = (T)s[c];
        return;
    }
    parallel(C, hi(1, 32768 / hi(1, N * P)), [&](idx a, idx b) {
        for (idx c = a; c < b; c++) {
            double s = 0;
            for (idx n = 0; n < N; n++) {
                const T* p = g + (n * C + c) * P;
                vec<T> v = {};
                idx i = 0;
                for (; i + Vec<T>::n <= P; i += Vec<T>::n) v += ld(p + i);
                s += (double)hsum<T>(v);
                for (; i < P; i++) s += (double)p[i];
            }
            out[c] = (T)s;
        }
    });
}
template void dk_conv_weight_grad<float>(const Geometry&, const float*, bool, const float*, bool, float*);
template void dk_conv_weight_grad<double>(const Geometry&, const double*, bool, const double*, bool, double*);
template void dk_channel_sum<float>(idx, idx, idx, const float*, bool, float*);
template void dk_channel_sum<double>(idx, idx, idx, const double*, bool, double*);
}  // namespace DK_NS
