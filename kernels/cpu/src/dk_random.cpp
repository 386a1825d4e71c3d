// MT19937 and the fills drawn from it, with PyTorch's CPU streams bit by bit.
#include "dk_core.h"

namespace DK_NS {
typedef std::uint32_t u32;
typedef std::uint64_t u64;
constexpr int W = Vec<u32>::n;

// The state is 625 words: mt[0..623], then the index of the next word (624: regenerate first).
static DK_INLINE u32 twist1(u32 a, u32 b, u32 far) {
    return far ^ (((a & 0x80000000u) | (b & 0x7fffffffu)) >> 1) ^ ((0u - (b & 1)) & 0x9908b0dfu);
}
static DK_INLINE vec<u32> twist(vec<u32> a, vec<u32> b, vec<u32> far) {
    return far ^ (((a & 0x80000000u) | (b & 0x7fffffffu)) >> 1) ^ ((0u - (b & 1u)) & 0x9908b0dfu);
}
static void regenerate(u32* mt) {
    int i = 0;
    for (; i + W <= 227; i += W) st(mt + i, twist(ld(mt + i), ld(mt + i + 1), ld(mt + i + 397)));
    for (; i < 227; i++) mt[i] = twist1(mt[i], mt[i + 1], mt[i + 397]);
    for (; i + W <= 623; i += W) st(mt + i, twist(ld(mt + i), ld(mt + i + 1), ld(mt + i - 227)));
    for (; i < 623; i++) mt[i] = twist1(mt[i], mt[i + 1], mt[i - 227]);
    mt[623] = twist1(mt[623], mt[0], mt[396]);
}
static void words(u32* s, idx n, u32* out) {
    while (n > 0) {
        if (s[624] >= 624) regenerate(s), s[624] = 0;
        const u32* p = s + s[624];
        idx k = lo(n, 624 - (idx)s[624]);
        for (idx i = 0; i < k; i++) {
            u32 y = p[i];
            y ^= y >> 11;
            y ^= (y << 7) & 0x9d2c5680u;
            y ^= (y << 15) & 0xefc60000u;
            out[i] = y ^ (y >> 18);
        }
        s[624] += (u32)k;
        n -= k, out += k;
    }
}
static DK_INLINE u64 pair(const u32* w) { return (u64)w[0] << 32 | w[1]; }
constexpr u64 M53 = ((u64)1 << 53) - 1;
constexpr idx BLOCK = 1024;  // draws a block: the words stay in the first-level cache

static void fill01(u32* s, idx n, float* out) {
    u32 w[BLOCK];
    for (idx i = 0; i < n; i += BLOCK) {
        idx k = lo(BLOCK, n - i);
        words(s, k, w);
        for (idx j = 0; j < k; j++) out[i + j] = (float)(int)(w[j] & 0xffffffu) * (1.0f / 16777216.0f);
    }
}
static void fill01(u32* s, idx n, double* out) {
    u32 w[2 * BLOCK];
    for (idx i = 0; i < n; i += BLOCK) {
        idx k = lo(BLOCK, n - i);
        words(s, 2 * k, w);
        for (idx j = 0; j < k; j++) out[i + j] = (double)(std::int64_t)(pair(w + 2 * j) & M53) * (1.0 / 9007199254740992.0);
    }
}
template <class T>
static void uniform(u32* s, idx n, T* out, T from, T to) {
    fill01(s, n, out);
    if (from == 0 && to == 1) return;
    for (idx i = 0; i < n; i++) out[i] = out[i] * (to - from) + from;
}
// Box-Muller on 16 uniforms: eight radii, eight angles. Float32 takes the polynomials of Cephes with exactly
// these fused operations, because that is what the reference's vector path computes, bit by bit.
static DK_INLINE float log_cephes(float x) {
    std::uint32_t bits;
    std::memcpy(&bits, &x, 4);
    float e = (float)((int)(bits >> 23) - 127) + 1.0f, m;
    bits = (bits & ~0x7f800000u) | 0x3f000000u;
    std::memcpy(&m, &bits, 4);
    bool small = m < 0.707106781186547524f;
    m = (m - 1.0f) + (small ? m : 0.0f);
    e -= small ? 1.0f : 0.0f;
    float z = m * m, y = 7.0376836292e-2f;
    constexpr float poly[8] = {-1.1514610310e-1f, 1.1676998740e-1f, -1.2420140846e-1f, 1.4249322787e-1f,
                               -1.6668057665e-1f, 2.0000714765e-1f, -2.4999993993e-1f, 3.3333331174e-1f};
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) y = __builtin_fmaf(y, m, poly[i]);
    y = __builtin_fmaf(y * m, z, e * -2.12194440e-4f);
    y = __builtin_fmaf(z, -0.5f, y);
    return __builtin_fmaf(e, 0.693359375f, m + y);
}
static DK_INLINE void sincos_cephes(float x, float& sine, float& cosine) {  // x >= 0
    int j = ((int)(x * 1.27323954473516f) + 1) & ~1;
    float y = (float)j;
    x = __builtin_fmaf(y, -0.78515625f, x);
    x = __builtin_fmaf(y, -2.4187564849853515625e-4f, x);
    x = __builtin_fmaf(y, -3.77489497744594108e-8f, x);
    float z = x * x;
    float c = __builtin_fmaf(2.443315711809948e-5f, z, -1.388731625493765e-3f);
    c = __builtin_fmaf(c, z, 4.166664568298827e-2f);
    c = __builtin_fmaf(c * z, z, z * -0.5f) + 1.0f;
    float s = __builtin_fmaf(-1.9515295891e-4f, z, 8.3321608736e-3f);
    s = __builtin_fmaf(s, z, -1.6666654611e-1f);
    s = __builtin_fmaf(s * z, x, x);
    bool direct = (j & 2) == 0;
    float a = direct ? s : c, b = direct ? c : s;
    sine = (j & 4) ? -a : a;
    cosine = (~(j - 2) & 4) ? -b : b;
}
static void normal16(float* x, float mean, float std) {
    float c[8], s[8];
    for (int j = 0; j < 8; j++) {
        float radius = std::sqrt(-2.0f * log_cephes(1.0f - x[j]));
        sincos_cephes(6.283185307179586f * x[j + 8], s[j], c[j]);
        c[j] *= radius, s[j] *= radius;
    }
    for (int j = 0; j < 8; j++) x[j] = __builtin_fmaf(c[j], std, mean), x[j + 8] = __builtin_fmaf(s[j], std, mean);
}
static void normal16(double* x, double mean, double std) {
    for (int j = 0; j < 8; j++) {
        double radius = std::sqrt(-2 * std::log(1 - x[j])), theta = 2.0 * 3.14159265358979323846 * x[j + 8];
        x[j] = __builtin_fma(radius * std::cos(theta), std, mean);
        x[j + 8] = __builtin_fma(radius * std::sin(theta), std, mean);
    }
}
template <class T>
static void normal(u32* s, idx n, T* out, T mean, T std) {  // n >= 16
    fill01(s, n, out);
    for (idx i = 0; i + 16 <= n; i += 16) normal16(out + i, mean, std);
    if (n % 16) {
        fill01(s, 16, out + n - 16);
        normal16(out + n - 16, mean, std);
    }
}

// ---- bindings ----
static u32* state_of(PyObject* o) {
    if (!in_place(o, NPY_UINT32, "state")) return nullptr;
    if (PyArray_SIZE((PyArrayObject*)o) != 625) {
        PyErr_Format(PyExc_ValueError, "state: expected 625 words (624 and the position), got %zd", PyArray_SIZE((PyArrayObject*)o));
        return nullptr;
    }
    return out_data<u32>(o);
}
static idx size_of(PyObject* o) { return PyArray_SIZE((PyArrayObject*)o); }

static PyObject* py_mt_seed(DK_ARGS) {
    if (!arity(n, 2, "mt_seed")) return nullptr;
    u32* s = state_of(a[0]);
    if (!s) return nullptr;
    u64 seed = PyLong_AsUnsignedLongLongMask(a[1]);
    if (PyErr_Occurred()) return nullptr;
    s[0] = (u32)seed;
    for (u32 i = 1; i < 624; i++) s[i] = 1812433253u * (s[i - 1] ^ (s[i - 1] >> 30)) + i;
    s[624] = 624;
    Py_RETURN_NONE;
}
static PyObject* py_mt_words(DK_ARGS) {
    if (!arity(n, 2, "mt_words")) return nullptr;
    u32* s = state_of(a[0]);
    if (!s || !in_place(a[1], NPY_UINT32, "out")) return nullptr;
    {
        Unlock u(size_of(a[1]) / 4);
        words(s, size_of(a[1]), out_data<u32>(a[1]));
    }
    Py_RETURN_NONE;
}
static PyObject* py_mt_uniform(DK_ARGS) {
    if (n != 2 && !arity(n, 4, "mt_uniform")) return nullptr;
    u32* s = state_of(a[0]);
    int t = s ? float_type(a[1], "out") : -1;
    double from = 0, to = 1;
    if (t < 0 || !in_place(a[1], t, "out") || (n == 4 && (!to_double(a[2], from) || !to_double(a[3], to)))) return nullptr;
    idx k = size_of(a[1]);
    {
        Unlock u(k / 2);
        if (t == NPY_FLOAT) uniform(s, k, out_data<float>(a[1]), (float)from, (float)to);
        else uniform(s, k, out_data<double>(a[1]), from, to);
    }
    Py_RETURN_NONE;
}
static PyObject* py_mt_normal(DK_ARGS) {
    if (n != 2 && !arity(n, 4, "mt_normal")) return nullptr;
    u32* s = state_of(a[0]);
    int t = s ? float_type(a[1], "out") : -1;
    double mean = 0, std = 1;
    if (t < 0 || !in_place(a[1], t, "out") || (n == 4 && (!to_double(a[2], mean) || !to_double(a[3], std)))) return nullptr;
    idx k = size_of(a[1]);
    if (k < 16) return PyErr_Format(PyExc_ValueError, "out: expected at least 16 elements, got %zd", (Py_ssize_t)k);
    {
        Unlock u(k * 8);
        if (t == NPY_FLOAT) normal(s, k, out_data<float>(a[1]), (float)mean, (float)std);
        else normal(s, k, out_data<double>(a[1]), mean, std);
    }
    Py_RETURN_NONE;
}
static PyObject* py_mt_bernoulli(DK_ARGS) {
    if (!arity(n, 3, "mt_bernoulli")) return nullptr;
    u32* s = state_of(a[0]);
    PyArrayObject* out = s ? as_array(a[1], "out") : nullptr;
    double p;
    if (!out || !to_double(a[2], p)) return nullptr;
    if (PyArray_TYPE(out) != NPY_BOOL && PyArray_TYPE(out) != NPY_UINT8) return wrong_dtype("out", "bool or uint8", out), nullptr;
    if (!in_place(a[1], -1, "out")) return nullptr;
    if (!(p >= 0 && p <= 1)) return PyErr_Format(PyExc_ValueError, "p: expected 0 <= p <= 1, got %R", a[2]);
    const u64 top = (u64)std::ceil(p * 9007199254740992.0);  // r / 2^53 < p exactly where r < ceil(p 2^53)
    idx total = size_of(a[1]);
    unsigned char* o = out_data<unsigned char>(a[1]);
    {
        Unlock u(total);
        u32 w[2 * BLOCK];
        for (idx i = 0; i < total; i += BLOCK) {
            idx k = lo(BLOCK, total - i);
            words(s, 2 * k, w);
            for (idx j = 0; j < k; j++) o[i + j] = (pair(w + 2 * j) & M53) < top;
        }
    }
    Py_RETURN_NONE;
}
static PyObject* py_mt_randint(DK_ARGS) {
    if (!arity(n, 4, "mt_randint")) return nullptr;
    u32* s = state_of(a[0]);
    idx low;
    if (!s || !in_place(a[1], NPY_INT64, "out") || !to_idx(a[2], low)) return nullptr;
    u64 range = PyLong_AsUnsignedLongLong(a[3]);
    if (PyErr_Occurred()) return nullptr;
    if (!range) return PyErr_Format(PyExc_ValueError, "range: expected at least 1, got 0");
    idx total = size_of(a[1]);
    idx* o = out_data<idx>(a[1]);
    {
        Unlock u(total * 2);
        u32 w[2 * BLOCK];
        for (idx i = 0; i < total; i += BLOCK) {
            idx k = lo(BLOCK, total - i);
            if (range >> 32) {
                words(s, 2 * k, w);
                for (idx j = 0; j < k; j++) o[i + j] = (idx)(pair(w + 2 * j) % range + (u64)low);
            } else {
                words(s, k, w);
                for (idx j = 0; j < k; j++) o[i + j] = (idx)(w[j] % (u32)range) + low;
            }
        }
    }
    Py_RETURN_NONE;
}
static PyObject* py_mt_randperm(DK_ARGS) {
    if (!arity(n, 2, "mt_randperm")) return nullptr;
    u32* s = state_of(a[0]);
    if (!s || !in_place(a[1], NPY_INT64, "out")) return nullptr;
    idx total = size_of(a[1]);
    idx* o = out_data<idx>(a[1]);
    {
        Unlock u(total * 2);
        for (idx i = 0; i < total; i++) o[i] = i;
        u32 w[BLOCK];
        for (idx i = 0; i < total - 1; i += BLOCK) {
            idx k = lo(BLOCK, total - 1 - i);
            words(s, k, w);
            for (idx j = 0; j < k; j++) {
                idx at = i + j, z = at + w[j] % (u64)(total - at), t = o[at];
                o[at] = o[z], o[z] = t;
            }
        }
    }
    Py_RETURN_NONE;
}
PyMethodDef methods_random[] = {
    DK_METHOD(mt_seed, "mt_seed(state, seed): start the 625-word uint32 state as init_genrand(seed)."),
    DK_METHOD(mt_words, "mt_words(state, out): fill a uint32 array with the next words."),
    DK_METHOD(mt_uniform, "mt_uniform(state, out[, low, high]): float32 from 24 bits of one word, float64 from 53 bits of two."),
    DK_METHOD(mt_normal, "mt_normal(state, out[, mean, std]): Box-Muller in blocks of 16; at least 16 elements; float32 or float64."),
    DK_METHOD(mt_bernoulli, "mt_bernoulli(state, out, p): out (bool or uint8) is 1 where a 53-bit draw is below p."),
    DK_METHOD(mt_randint, "mt_randint(state, out, low, range): int64, word % range + low; two words a draw from 2**32 on."),
    DK_METHOD(mt_randperm, "mt_randperm(state, out): fill an int64 array with a random permutation of its indices."),
    {nullptr, nullptr, 0, nullptr}};
}  // namespace DK_NS
