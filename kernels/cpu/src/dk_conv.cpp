// Convolution forward and data gradient: a blocked implicit product, weights (rows) times patches (columns).
#include "dk_conv.h"

namespace DK_NS {
// out[i][column] = sum over k of A[i][k] src[column offset + koff[k]], columns being pixels (n, d, h, w) of a grid.
template <class T>
struct Job {
    idx M, K;
    const T* A;
    const T *src, *src_end;
    const idx* koff;
    idx N, grid[3];
    idx src_n, src_d, src_h;                    // offsets of a step; one along the width
    T* dst;
    idx dst_n, dst_row, dst_d, dst_h, dst_w;
    const T* bias;
};
template <class T>
struct Columns {  // the patches of one block of columns
    const Job<T>& J;
    const Part<T>* parts;
    const int* first;  // first part of every sliver of the block
    idx base;          // first sliver of the block
    Pieces<T> pieces(idx s, idx pc) const { return in_place(J.src, parts, first[s - base], first[s - base + 1], J.koff + pc); }
    void pack(idx s, idx pc, idx kc, T* out) const {
        constexpr idx NR = Tile<T>::NR, L = Tile<T>::L;
        const int r0 = first[s - base], r1 = first[s - base + 1];
        const idx* off = J.koff + pc;
        if (Pieces<T> in = in_place(J.src, parts, r0, r1, off); in.b0) {
            for (idx k = 0; k < kc; k++, out += NR) st(out, ld(in.b0 + off[k])), st(out + L, ld(in.b1 + off[k]));
            return;
        }
        for (idx k = 0; k < kc; k++, out += NR)
            for (int r = r0; r < r1; r++) {
                const T* p = J.src + parts[r].src + off[k];
                T* o = out + parts[r].col;
                if (p + round_up(parts[r].len, L) > J.src_end) {
                    std::memcpy((void*)o, p, (size_t)parts[r].len * sizeof(T));
                    continue;
                }
                copy_part(p, parts[r].len, o);  // writes past a part are overwritten by what follows
            }
    }
};
template <class T>
static void run_job(const Job<T>& J) {
    constexpr idx NR = Tile<T>::NR;
    const idx P = J.grid[0] * J.grid[1] * J.grid[2], total = J.N * P;
    idx nc_max = NC_BYTES / (idx)sizeof(T);
    while (nc_max > 4 * NR && total < nc_max * 2 * dk_threads) nc_max /= 2;
    if (!total || !J.M) return;
    parallel(ceil_div(total, nc_max), hi(1, 65536 / (J.M * hi(1, J.K) * nc_max)), [&](idx b0, idx b1) {
        Buf<T> pb(hi(1, lo(KC, J.K)) * nc_max + 4 * NR), local(J.M * nc_max + NR);
        Buf<Part<T>> parts(nc_max + NR);
        Buf<int> first(nc_max / NR + 2);
        Buf<idx> to(nc_max);
        for (idx block = b0; block < b1; block++) {
            const idx jc = block * nc_max, nc = lo(nc_max, total - jc);
            idx n = jc / P, r = jc % P, w = r % J.grid[2], h = r / J.grid[2] % J.grid[1], d = r / (J.grid[2] * J.grid[1]);
            int count = 0;
            bool straight = nc % NR == 0;
            for (idx c = 0; c < nc; c++) {
                const idx s = n * J.src_n + d * J.src_d + h * J.src_h + w;
                to[c] = n * J.dst_n + d * J.dst_d + h * J.dst_h + w * J.dst_w;
                if (c % NR == 0) first[c / NR] = count;
                if (c % NR && parts[count - 1].src + parts[count - 1].len == s) parts[count - 1].len++;
                else parts[count++] = Part<T>{s, (int)(c % NR), 1};
                straight = straight && to[c] - to[0] == c;
                if (++w == J.grid[2] && (w = 0, ++h == J.grid[1]) && (h = 0, ++d == J.grid[0])) d = 0, n++;
            }
            first[ceil_div(nc, NR)] = count;
            T* C = straight ? J.dst + to[0] : (T*)local;
            const idx ldc = straight ? J.dst_row : nc_max;
            const bool fill = J.bias || !J.K;
            if (fill)
                for (idx i = 0; i < J.M; i++)
                    for (idx c = 0; c < nc; c++) C[i * ldc + c] = J.bias ? J.bias[i] : 0;
            gemm_block(J.M, J.K, J.A, jc, nc, Columns<T>{J, parts, first, jc / NR}, (T*)pb, C, ldc, fill);
            if (straight) continue;
            if (J.dst_row == 1) {
                idx c = 0;
                while (c < nc) {  // pixels that lie J.dst_w apart are turned together
                    idx e = c + 1;
                    while (e < nc && to[e] - to[e - 1] == J.dst_w) e++;
                    transpose(J.M, e - c, C + c, ldc, J.dst + to[c], J.dst_w);
                    c = e;
                }
            } else
                for (idx i = 0; i < J.M; i++) {
                    T* o = J.dst + i * J.dst_row;
                    const T* x = C + i * ldc;
                    for (idx c = 0; c < nc; c++) o[to[c]] = x[c];
                }
        }
    });
}

template <class T>
void dk_conv_forward(const Geometry& G, const T* x, bool x_last, const T* w, const T* bias, T* y, bool y_last) {
    const idx cg = G.cg(), og = G.og(), taps = G.taps(), K = cg * taps, pin = G.pixels_in(), pout = G.pixels_out();
    Padded P;
    idx need[3];
    for (int i = 0; i < 3; i++) need[i] = (G.out[i] - 1) * G.stride[i] + (G.k[i] - 1) * G.dil[i] + 1;
    P.set(G.in, G.pad, G.stride, need);
    const bool copy = P.is_copy() || x_last;
    const idx plane = P.plane(), group = copy ? image_group(G.N, G.C * plane * (idx)sizeof(T)) : G.N;
    Buf<T> A(packed_size<T>(og, K) * G.groups), padded(copy ? group * G.C * plane + 64 : 1);
    Buf<idx> koff(K);
    const idx a_step = packed_size<T>(og, K);
    parallel(G.groups, 1, [&](idx g0, idx g1) {
        for (idx g = g0; g < g1; g++) pack_a(og, K, A + g * a_step, [&](idx i, idx k) { return w[(g * og + i) * K + k]; });
    });
    for (idx c = 0, k = 0; c < cg; c++)
        for (idx d = 0; d < G.k[0]; d++)
            for (idx h = 0; h < G.k[1]; h++)
                for (idx v = 0; v < G.k[2]; v++) koff[k++] = c * plane + P.at(d * G.dil[0], h * G.dil[1], v * G.dil[2]);
    for (idx n0 = 0; n0 < G.N; n0 += group) {
        const idx count = lo(group, G.N - n0);
        if (copy) pad_planar(P, x, G.C, x_last, n0, count, (T*)padded);
        const T *src = copy ? (const T*)padded : x, *end = copy ? padded + group * G.C * plane + 64 : x + G.N * G.C * pin;
        for (idx g = 0; g < G.groups; g++) {
            Job<T> J{og, K, A + g * a_step, src + g * cg * plane, end, koff, count, {G.out[0], G.out[1], G.out[2]}, G.C * plane, P.q[1] * P.q[2], P.q[2],
                     y + n0 * G.O * pout + (y_last ? g * og : g * og * pout), G.O * pout, y_last ? 1 : pout, G.out[1] * G.out[2], G.out[2], 1, bias ? bias + g * og : nullptr};
            if (y_last) J.dst_d *= G.O, J.dst_h *= G.O, J.dst_w = G.O;
            run_job(J);
        }
    }
}

// dx at position i takes the taps with (i + pad - k dil) divisible by the stride: for every phase of i + pad an
// ordinary convolution of g with the weights of those taps.
template <class T>
void dk_conv_input_grad(const Geometry& G, const T* g, bool g_last, const T* w, T* dx, bool dx_last) {
    const idx cg = G.cg(), og = G.og(), taps = G.taps(), pin = G.pixels_in();
    idx before[3], need[3];
    const idx one[3] = {1, 1, 1};
    for (int i = 0; i < 3; i++) {
        // position q >= pad / stride of any phase reads g at q - (k dil - a) / stride
        const idx least = G.pad[i] / G.stride[i] - (G.k[i] - 1) * G.dil[i] / G.stride[i];
        before[i] = hi(0, -least);
        need[i] = (G.in[i] - 1 + G.pad[i]) / G.stride[i] + before[i] + 1;
    }
    Padded P;
    P.set(G.out, before, one, need);
    const idx plane = P.plane(), group = image_group(G.N, G.O * plane * (idx)sizeof(T));
    Buf<T> padded(group * G.O * plane + 64), A(packed_size<T>(cg, og * taps));
    Buf<idx> koff(og * taps + 1), tap_at(taps), tap_off(taps);
    for (idx n0 = 0; n0 < G.N; n0 += group) {
        const idx count = lo(group, G.N - n0);
        pad_planar(P, g, G.O, g_last, n0, count, (T*)padded);
        for (idx phase = 0; phase < G.stride[0] * G.stride[1] * G.stride[2]; phase++) {
            const idx a[3] = {phase / (G.stride[1] * G.stride[2]), phase / G.stride[2] % G.stride[1], phase % G.stride[2]};
            idx q0[3], len[3], start[3];
            bool empty = false;
            for (int i = 0; i < 3; i++) {  // positions i = q stride + a - pad within [0, in)
                q0[i] = G.pad[i] > a[i] ? ceil_div(G.pad[i] - a[i], G.stride[i]) : 0;
                start[i] = q0[i] * G.stride[i] + a[i] - G.pad[i];
                len[i] = start[i] < G.in[i] ? (G.in[i] - 1 - start[i]) / G.stride[i] + 1 : 0;
                empty = empty || len[i] == 0;
            }
            if (empty) continue;
            idx live = 0;
            for (idx t = 0; t < taps; t++) {
                const idx kk[3] = {t / (G.k[1] * G.k[2]), t / G.k[2] % G.k[1], t % G.k[2]};
                bool mine = true;
                idx off = 0;
                for (int i = 0; i < 3; i++) {
                    idx p = kk[i] * G.dil[i];
                    mine = mine && p % G.stride[i] == a[i];
                    off = off * P.q[i] + q0[i] - (p - a[i]) / G.stride[i] + P.before[i];
                }
                if (mine) tap_at[live] = t, tap_off[live++] = off;
            }
            const idx K = og * live;
            for (idx o = 0, k = 0; o < og; o++)
                for (idx t = 0; t < live; t++) koff[k++] = o * plane + tap_off[t];
            for (idx grp = 0; grp < G.groups; grp++) {
                pack_a(cg, K, (T*)A, [&](idx i, idx k) { return w[((grp * og + k / live) * cg + i) * taps + tap_at[k % live]]; });
                const idx first = (start[0] * G.in[1] + start[1]) * G.in[2] + start[2];
                Job<T> J{cg, K, A, padded + grp * og * plane, padded + group * G.O * plane + 64, koff, count, {len[0], len[1], len[2]}, G.O * plane, P.q[1] * P.q[2], P.q[2],
                         dx + n0 * G.C * pin + (dx_last ? first * G.C + grp * cg : grp * cg * pin + first), G.C * pin, dx_last ? 1 : pin,
                         G.stride[0] * G.in[1] * G.in[2], G.stride[1] * G.in[2], G.stride[2], nullptr};
                if (dx_last) J.dst_d *= G.C, J.dst_h *= G.C, J.dst_w *= G.C;
                run_job(J);
            }
        }
    }
}
template void dk_conv_forward<float>(const Geometry&, const float*, bool, const float*, const float*, float*, bool);
template void dk_conv_forward<double>(const Geometry&, const double*, bool, const double*, const double*, double*, bool);
template void dk_conv_input_grad<float>(const Geometry&, const float*, bool, const float*, float*, bool);
template void dk_conv_input_grad<double>(const Geometry&, const double*, bool, const double*, double*, bool);
}  // namespace DK_NS
