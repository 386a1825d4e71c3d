// Geometry of a convolution in up to three dimensions and the padded copies that its kernels read.
#pragma once
#include "dk_gemm.h"

namespace DK_NS {
struct Geometry {  // images (N, C, in) convolved to (N, O, out); depth, height, width
    idx N, C, O, groups;
    idx in[3], out[3], k[3], stride[3], pad[3], dil[3];
    idx pixels_in() const { return in[0] * in[1] * in[2]; }
    idx pixels_out() const { return out[0] * out[1] * out[2]; }
    idx taps() const { return k[0] * k[1] * k[2]; }
    idx cg() const { return C / groups; }
    idx og() const { return O / groups; }
};

// A padded copy of a batch, cut into stride phases: element p (counted with padding) lies in phase p % stride at
// position p / stride, so that any tap of a strided convolution reads runs of neighbours.
struct Padded {
    idx size[3], before[3], stride[3], q[3];  // of the source; zeros in front; phases; positions a phase
    void set(const idx* in, const idx* pad, const idx* str, const idx* need) {  // need: padded length that is read
        for (int i = 0; i < 3; i++) {
            size[i] = in[i], before[i] = pad[i], stride[i] = str[i];
            q[i] = hi(1, ceil_div(need[i], str[i]));
        }
    }
    idx plane() const { return stride[0] * stride[1] * stride[2] * q[0] * q[1] * q[2]; }
    bool is_copy() const {
        for (int i = 0; i < 3; i++)
            if (before[i] != 0 || stride[i] != 1 || q[i] != size[i]) return true;
        return false;
    }
    idx at(idx d, idx h, idx w) const {  // offset of padded coordinates
        idx phase = (d % stride[0] * stride[1] + h % stride[1]) * stride[2] + w % stride[2];
        return ((phase * q[0] + d / stride[0]) * q[1] + h / stride[1]) * q[2] + w / stride[2];
    }
    // Every run of `width` elements (1: planar, channels: channels last) of one image.
    template <class T>
    void fill(const T* x, idx width, T* y) const {
        for (idx pd = 0; pd < stride[0]; pd++)
            for (idx ph = 0; ph < stride[1]; ph++)
                for (idx pw = 0; pw < stride[2]; pw++)
                    for (idx d = 0; d < q[0]; d++)
                        for (idx h = 0; h < q[1]; h++, y += q[2] * width) {
                            idx sd = d * stride[0] + pd - before[0], sh = h * stride[1] + ph - before[1];
                            if (sd < 0 || sd >= size[0] || sh < 0 || sh >= size[1]) {
                                std::memset((void*)y, 0, (size_t)(q[2] * width) * sizeof(T));
                                continue;
                            }
                            row(x + (sd * size[1] + sh) * size[2] * width, width, pw, y);
                        }
    }
    template <class T>
    void row(const T* x, idx width, idx pw, T* y) const {
        const idx s = stride[2], b = before[2] - pw;  // source column of position w: w * s - b
        idx w0 = lo(q[2], b > 0 ? ceil_div(b, s) : 0), last = size[2] + b;
        idx w1 = hi(w0, lo(q[2], last > 0 ? ceil_div(last, s) : 0));
        if (w0) std::memset((void*)y, 0, (size_t)(w0 * width) * sizeof(T));
        if (s == 1) std::memcpy((void*)(y + w0 * width), x + (w0 - b) * width, (size_t)((w1 - w0) * width) * sizeof(T));
        else if (width == 1)
            for (idx w = w0; w < w1; w++) y[w] = x[w * s - b];
        else
            for (idx w = w0; w < w1; w++) std::memcpy((void*)(y + w * width), x + (w * s - b) * width, (size_t)width * sizeof(T));
        if (w1 < q[2]) std::memset((void*)(y + w1 * width), 0, (size_t)((q[2] - w1) * width) * sizeof(T));
    }
};

constexpr idx GROUP_BYTES = 48 << 20;  // images are taken in groups whose padded copy stays below this
inline idx image_group(idx N, idx bytes_per_image) { return hi(1, lo(N, GROUP_BYTES / hi(1, bytes_per_image))); }

// Planar padded copies of images [n0, n0 + count) of x (N, C, in), NCHW or channels last.
template <class T>
static void pad_planar(const Padded& P, const T* x, idx C, bool last, idx n0, idx count, T* y) {
    const idx pix = P.size[0] * P.size[1] * P.size[2], plane = P.plane();
    if (!last) {
        parallel(count * C, hi(1, 16384 / plane), [&](idx a, idx b) {
            for (idx i = a; i < b; i++) P.fill(x + (n0 * C + i) * pix, 1, y + i * plane);
        });
        return;
    }
    parallel(count, 1, [&](idx a, idx b) {
        Buf<T> t(C * pix);
        for (idx n = a; n < b; n++) {
            transpose(pix, C, x + (n0 + n) * C * pix, C, (T*)t, pix);
            for (idx c = 0; c < C; c++) P.fill(t + c * pix, 1, y + (n * C + c) * plane);
        }
    });
}
// The same with the channels last.
template <class T>
static void pad_last(const Padded& P, const T* x, idx C, bool last, idx n0, idx count, T* y) {
    const idx pix = P.size[0] * P.size[1] * P.size[2], plane = P.plane();
    parallel(count, 1, [&](idx a, idx b) {
        Buf<T> t(last ? 1 : C * pix);
        for (idx n = a; n < b; n++) {
            const T* src = x + (n0 + n) * C * pix;
            if (!last) transpose(C, pix, src, pix, (T*)t, C), src = t;
            P.fill(src, C, y + n * C * plane);
        }
    });
}
}  // namespace DK_NS
