// Pooling in two dimensions: maximum with the winning tap in a byte, and average.
#include "dk_images.h"

#include <limits>

namespace DK_NS {
struct Window {
    idx in[2], out[2], k[2], stride[2], pad[2], dil[2];
    // Outputs o whose tap t lies inside: [first, end)
    void range(int i, idx t, idx& first, idx& end) const {
        const idx b = pad[i] - t * dil[i], last = in[i] - 1 + b;  // o * stride - b in [0, in)
        first = lo(out[i], b > 0 ? ceil_div(b, stride[i]) : 0);
        end = hi(first, lo(out[i], last >= 0 ? last / stride[i] + 1 : 0));
    }
};
// Neighbouring pairs to two vectors and back, for the common 2x2 window in steps of 2.
typedef vec<float> vf;
typedef std::int32_t vi __attribute__((vector_size(VB)));
typedef std::uint8_t vb __attribute__((vector_size(VB / 4)));
#if defined(__AVX512F__)
#define DK_EVEN vi{0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30}
#define DK_LOW vi{0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23}
#define DK_HIGH vi{8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31}
#elif defined(__AVX2__)
#define DK_EVEN vi{0, 2, 4, 6, 8, 10, 12, 14}
#define DK_LOW vi{0, 8, 1, 9, 2, 10, 3, 11}
#define DK_HIGH vi{4, 12, 5, 13, 6, 14, 7, 15}
#else
#define DK_EVEN vi{0, 2, 4, 6}
#define DK_LOW vi{0, 4, 1, 5}
#define DK_HIGH vi{2, 6, 3, 7}
#endif
static DK_INLINE void better(vf v, int tap, vf& best, vi& at) {
    const vi up = (v > best) | (v != v);
    best = up ? v : best, at = up ? at * 0 + tap : at;
}
static idx max_pairs(idx n, const float* p, const float* q, float* y, std::uint8_t* arg) {  // how many were done
    constexpr int L = Vec<float>::n;
    idx w = 0;
    for (; w + L <= n; w += L, p += 2 * L, q += 2 * L) {
        const vf p0 = ld(p), p1 = ld(p + L), q0 = ld(q), q1 = ld(q + L);
        vf best = __builtin_shuffle(p0, p1, DK_EVEN);
        vi at = {};
        better(__builtin_shuffle(p0, p1, DK_EVEN + 1), 1, best, at);
        better(__builtin_shuffle(q0, q1, DK_EVEN), 2, best, at);
        better(__builtin_shuffle(q0, q1, DK_EVEN + 1), 3, best, at);
        st(y + w, best);
        const vb bytes = __builtin_convertvector(at, vb);
        std::memcpy(arg + w, &bytes, sizeof bytes);
    }
    return w;
}
static idx spread_pairs(idx n, const float* g, const std::uint8_t* arg, float* p, float* q) {
    constexpr int L = Vec<float>::n;
    idx w = 0;
    for (; w + L <= n; w += L, p += 2 * L, q += 2 * L) {
        const vf v = ld(g + w), zero = {};
        vb bytes;
        std::memcpy(&bytes, arg + w, sizeof bytes);
        const vi at = __builtin_convertvector(bytes, vi);
        const vf a = at == 0 ? v : zero, b = at == 1 ? v : zero, c = at == 2 ? v : zero, d = at == 3 ? v : zero;
        st(p, __builtin_shuffle(a, b, DK_LOW)), st(p + L, __builtin_shuffle(a, b, DK_HIGH));
        st(q, __builtin_shuffle(c, d, DK_LOW)), st(q + L, __builtin_shuffle(c, d, DK_HIGH));
    }
    return w;
}
template <class T>
static void max_plane(const Window& Wn, const T* x, T* y, std::uint8_t* arg) {
    const idx H = Wn.in[0], OW = Wn.out[1];
    if (Wn.k[0] == 2 && Wn.k[1] == 2 && Wn.stride[0] == 2 && Wn.stride[1] == 2 && !Wn.pad[0] && !Wn.pad[1] && Wn.dil[0] == 1 && Wn.dil[1] == 1 && Wn.out[0] * 2 <= H && OW * 2 <= Wn.in[1]) {
        for (idx h = 0; h < Wn.out[0]; h++, y += OW, arg += OW) {
            const T *p = x + 2 * h * Wn.in[1], *q = p + Wn.in[1];
            T* __restrict yy = y;
            std::uint8_t* __restrict aa = arg;
            idx w = 0;
            if constexpr (sizeof(T) == 4) w = max_pairs(OW, p, q, y, arg);
            for (; w < OW; w++) {
                T m = p[2 * w], v = p[2 * w + 1];
                bool up = v > m || v != v;
                m = up ? v : m;
                int a = up;
                v = q[2 * w];
                up = v > m || v != v;
                m = up ? v : m, a = up ? 2 : a;
                v = q[2 * w + 1];
                up = v > m || v != v;
                m = up ? v : m, a = up ? 3 : a;
                yy[w] = m, aa[w] = (std::uint8_t)a;
            }
        }
        return;
    }
    Buf<std::int32_t> id(OW);
    std::int32_t* __restrict w_id = id;
    for (idx h = 0; h < Wn.out[0]; h++, y += OW, arg += OW) {
        T* __restrict best = y;
        for (idx w = 0; w < OW; w++) best[w] = -std::numeric_limits<T>::infinity(), w_id[w] = -1;
        for (idx i = 0; i < Wn.k[0]; i++) {
            const idx sh = h * Wn.stride[0] - Wn.pad[0] + i * Wn.dil[0];
            if (sh < 0 || sh >= H) continue;
            for (idx j = 0; j < Wn.k[1]; j++) {
                idx w0, w1;
                Wn.range(1, j, w0, w1);
                const T* p = x + sh * Wn.in[1] + j * Wn.dil[1] - Wn.pad[1];
                const std::int32_t tap = (std::int32_t)(i * Wn.k[1] + j);
                const idx s = Wn.stride[1];
#pragma omp simd
                for (idx w = w0; w < w1; w++) {
                    const T v = p[w * s];
                    const bool up = v > best[w] || v != v || w_id[w] < 0;
                    best[w] = up ? v : best[w], w_id[w] = up ? tap : w_id[w];
                }
            }
        }
        for (idx w = 0; w < OW; w++) arg[w] = (std::uint8_t)(w_id[w] < 0 ? 0 : w_id[w]);
    }
}
template <class T>
static void max_last(const Window& Wn, idx C, const T* x, T* y, std::uint8_t* arg) {
    for (idx h = 0; h < Wn.out[0]; h++)
        for (idx w = 0; w < Wn.out[1]; w++, y += C, arg += C) {
            T* __restrict best = y;
            std::uint8_t* __restrict id = arg;
            bool first = true;
            for (idx i = 0; i < Wn.k[0]; i++)
                for (idx j = 0; j < Wn.k[1]; j++) {
                    const idx sh = h * Wn.stride[0] - Wn.pad[0] + i * Wn.dil[0], sw = w * Wn.stride[1] - Wn.pad[1] + j * Wn.dil[1];
                    if (sh < 0 || sh >= Wn.in[0] || sw < 0 || sw >= Wn.in[1]) continue;
                    const T* p = x + (sh * Wn.in[1] + sw) * C;
                    const std::uint8_t tap = (std::uint8_t)(i * Wn.k[1] + j);
                    if (first) {
                        for (idx c = 0; c < C; c++) best[c] = p[c], id[c] = tap;
                        first = false;
                        continue;
                    }
#pragma omp simd
                    for (idx c = 0; c < C; c++) {
                        const bool up = p[c] > best[c] || p[c] != p[c];
                        best[c] = up ? p[c] : best[c], id[c] = up ? tap : id[c];
                    }
                }
        }
}
// Source position of tap `a` at output (h, w), relative to the plane.
static DK_INLINE idx source(const Window& Wn, idx h, idx w, idx a) {
    return (h * Wn.stride[0] - Wn.pad[0] + a / Wn.k[1] * Wn.dil[0]) * Wn.in[1] + w * Wn.stride[1] - Wn.pad[1] + a % Wn.k[1] * Wn.dil[1];
}
template <class T>
static void max_grad(const Window& Wn, idx width, const T* g, const std::uint8_t* arg, T* dx) {  // width: 1 or channels
    if (width == 1 && Wn.k[0] == 2 && Wn.k[1] == 2 && Wn.stride[0] == 2 && Wn.stride[1] == 2 && !Wn.pad[0] && !Wn.pad[1] && Wn.dil[0] == 1 && Wn.dil[1] == 1 && Wn.out[0] * 2 == Wn.in[0] && Wn.out[1] * 2 == Wn.in[1]) {
        const idx OW = Wn.out[1];
        for (idx h = 0; h < Wn.out[0]; h++, g += OW, arg += OW) {
            T *__restrict p = dx + 2 * h * Wn.in[1], *__restrict q = p + Wn.in[1];
            idx w = 0;
            if constexpr (sizeof(T) == 4) w = spread_pairs(OW, g, arg, p, q);
            for (; w < OW; w++) {
                const T v = g[w];
                const int a = arg[w];
                p[2 * w] = a == 0 ? v : 0, p[2 * w + 1] = a == 1 ? v : 0;
                q[2 * w] = a == 2 ? v : 0, q[2 * w + 1] = a == 3 ? v : 0;
            }
        }
        return;
    }
    std::memset((void*)dx, 0, (size_t)(Wn.in[0] * Wn.in[1] * width) * sizeof(T));
    for (idx h = 0; h < Wn.out[0]; h++)
        for (idx w = 0; w < Wn.out[1]; w++)
            for (idx c = 0; c < width; c++, g++, arg++) {
                const idx at = source(Wn, h, w, *arg);
                dx[at * width + c] += *g;
            }
}
template <class T>
static void average(const Window& Wn, idx width, bool include_pad, idx divisor, const T* x, T* y, const T* g, T* dx) {
    if (dx) std::memset((void*)dx, 0, (size_t)(Wn.in[0] * Wn.in[1] * width) * sizeof(T));
    for (idx h = 0; h < Wn.out[0]; h++)
        for (idx w = 0; w < Wn.out[1]; w++) {
            idx h0 = h * Wn.stride[0] - Wn.pad[0], w0 = w * Wn.stride[1] - Wn.pad[1];
            idx h1 = lo(h0 + Wn.k[0], Wn.in[0] + Wn.pad[0]), w1 = lo(w0 + Wn.k[1], Wn.in[1] + Wn.pad[1]);
            const idx padded = (h1 - h0) * (w1 - w0);
            h0 = hi(h0, 0), w0 = hi(w0, 0), h1 = lo(h1, Wn.in[0]), w1 = lo(w1, Wn.in[1]);
            const T k = (T)1 / (T)(divisor ? divisor : include_pad ? padded : (h1 - h0) * (w1 - w0));
            T* __restrict o = y ? y + (h * Wn.out[1] + w) * width : nullptr;
            if (o) for (idx c = 0; c < width; c++) o[c] = 0;
            for (idx i = h0; i < h1; i++)
                for (idx j = w0; j < w1; j++) {
                    const idx at = (i * Wn.in[1] + j) * width;
                    if (o) for (idx c = 0; c < width; c++) o[c] += x[at + c];
                    else for (idx c = 0; c < width; c++) dx[at + c] += g[(h * Wn.out[1] + w) * width + c] * k;
                }
            if (o) for (idx c = 0; c < width; c++) o[c] *= k;
        }
}

static bool two(PyObject* o, idx* v, const char* name, idx least) {
    if (!PyTuple_Check(o) || PyTuple_GET_SIZE(o) != 2 || !to_idx(PyTuple_GET_ITEM(o, 0), v[0]) || !to_idx(PyTuple_GET_ITEM(o, 1), v[1])) {
        if (!PyErr_Occurred()) PyErr_Format(PyExc_TypeError, "%s: expected a tuple of 2 ints, got %R", name, o);
        return false;
    }
    if (v[0] >= least && v[1] >= least) return true;
    PyErr_Format(PyExc_ValueError, "%s: expected at least %lld, got %R", name, (long long)least, o);
    return false;
}
static bool window(Window& Wn, idx H, idx W, PyObject* k, PyObject* s, PyObject* p, PyObject* d, PyObject* ceil) {
    Wn.in[0] = H, Wn.in[1] = W, Wn.dil[0] = Wn.dil[1] = 1;
    if (!two(k, Wn.k, "kernel_size", 1) || !two(s, Wn.stride, "stride", 1) || !two(p, Wn.pad, "padding", 0) || (d && !two(d, Wn.dil, "dilation", 1))) return false;
    const int up = PyObject_IsTrue(ceil);
    for (int i = 0; i < 2; i++) {
        if (Wn.pad[i] * 2 > Wn.k[i]) return PyErr_Format(PyExc_ValueError, "padding: expected at most half the kernel size, got %lld for %lld", (long long)Wn.pad[i], (long long)Wn.k[i]), false;
        const idx span = Wn.in[i] + 2 * Wn.pad[i] - Wn.dil[i] * (Wn.k[i] - 1) - 1;
        if (span < 0) return PyErr_Format(PyExc_ValueError, "pool: the window is larger than the padded input"), false;
        Wn.out[i] = (span + (up ? Wn.stride[i] - 1 : 0)) / Wn.stride[i] + 1;
        if (up && (Wn.out[i] - 1) * Wn.stride[i] >= Wn.in[i] + Wn.pad[i]) Wn.out[i]--;
    }
    return true;
}
static bool four(const Images& x, const char* name) {
    if (PyArray_NDIM(x.a) == 4) return true;
    PyErr_Format(PyExc_ValueError, "%s: expected 4 dimensions, got %d", name, PyArray_NDIM(x.a));
    return false;
}
static PyObject* py_max_pool2d(DK_ARGS) {
    if (!arity(n, 6, "max_pool2d")) return nullptr;
    const int t = float_type(a[0], "input");
    Images x;
    Window Wn;
    if (t < 0 || !x.get(a[0], t, "input") || !four(x, "input") || !window(Wn, PyArray_DIM(x.a, 2), PyArray_DIM(x.a, 3), a[1], a[2], a[3], a[4], a[5])) return nullptr;
    if (Wn.k[0] * Wn.k[1] > 256) return PyErr_Format(PyExc_ValueError, "kernel_size: expected at most 256 elements, got %lld", (long long)(Wn.k[0] * Wn.k[1]));
    const idx N = PyArray_DIM(x.a, 0), C = PyArray_DIM(x.a, 1), pin = Wn.in[0] * Wn.in[1], pout = Wn.out[0] * Wn.out[1];
    const npy_intp dims[4] = {N, C, Wn.out[0], Wn.out[1]};
    PyObject *y = empty_images(4, dims, t, x.last), *arg = empty_images(4, dims, NPY_UINT8, x.last);
    if (!y || !arg) return Py_XDECREF(y), Py_XDECREF(arg), nullptr;
    auto work = [&](auto zero) {
        typedef decltype(zero) T;
        Unlock u(N * C * pin);
        const idx width = x.last ? C : 1;
        parallel(N * C / hi(1, width), hi(1, 16384 / hi(1, pin * width)), [&](idx i0, idx i1) {
            for (idx i = i0; i < i1; i++) {
                if (x.last) max_last<T>(Wn, C, x.data<T>() + i * pin * C, out_data<T>(y) + i * pout * C, out_data<std::uint8_t>(arg) + i * pout * C);
                else max_plane<T>(Wn, x.data<T>() + i * pin, out_data<T>(y) + i * pout, out_data<std::uint8_t>(arg) + i * pout);
            }
        });
    };
    if (t == NPY_FLOAT) work(0.0f);
    else work(0.0);
    return Py_BuildValue("(NN)", y, arg);
}
static PyObject* py_max_pool2d_grad(DK_ARGS) {
    if (!arity(n, 7, "max_pool2d_grad")) return nullptr;
    const int t = float_type(a[0], "grad");
    Images g, arg;
    idx in[2];
    Window Wn;
    if (t < 0 || !arg.get(a[1], NPY_UINT8, "taps") || !four(arg, "taps") || !two(a[2], in, "input_size", 0) || !window(Wn, in[0], in[1], a[3], a[4], a[5], a[6], Py_False)) return nullptr;
    Wn.out[0] = PyArray_DIM(arg.a, 2), Wn.out[1] = PyArray_DIM(arg.a, 3);
    const bool last = arg.last;
    PyObject* like = nullptr;
    PyArrayObject* G = as_array(a[0], "grad");
    if (!g.get(a[0], t, "grad")) return nullptr;
    if (!PyArray_SAMESHAPE(g.a, arg.a)) return PyErr_Format(PyExc_ValueError, "grad: its shape is not that of the taps");
    G = g.a;
    if (g.last != last) {
        like = empty_images(4, PyArray_DIMS(arg.a), t, last);
        if (!like || PyArray_CopyInto((PyArrayObject*)like, g.a) < 0) return Py_XDECREF(like), nullptr;
        G = (PyArrayObject*)like;
    }
    const idx N = PyArray_DIM(arg.a, 0), C = PyArray_DIM(arg.a, 1), pin = in[0] * in[1], pout = Wn.out[0] * Wn.out[1];
    const npy_intp dims[4] = {N, C, in[0], in[1]};
    PyObject* dx = empty_images(4, dims, t, last);
    if (dx) {
        auto work = [&](auto zero) {
            typedef decltype(zero) T;
            Unlock u(N * C * pin);
            const idx width = last ? C : 1;
            parallel(N * C / hi(1, width), hi(1, 16384 / hi(1, pin * width)), [&](idx i0, idx i1) {
                for (idx i = i0; i < i1; i++) max_grad<T>(Wn, width, (const T*)PyArray_DATA(G) + i * pout * width, arg.data<std::uint8_t>() + i * pout * width, out_data<T>(dx) + i * pin * width);
            });
        };
        if (t == NPY_FLOAT) work(0.0f);
        else work(0.0);
    }
    Py_XDECREF(like);
    return dx;
}
static PyObject* py_max_pool2d_indices(DK_ARGS) {
    if (!arity(n, 6, "max_pool2d_indices")) return nullptr;
    In arg;
    idx in[2];
    Window Wn;
    if (!arg.get(a[0], NPY_UINT8, "taps") || !two(a[1], in, "input_size", 0) || !window(Wn, in[0], in[1], a[2], a[3], a[4], a[5], Py_False)) return nullptr;
    if (arg.ndim() != 4) return PyErr_Format(PyExc_ValueError, "taps: expected 4 dimensions, got %d", arg.ndim());
    PyObject* out = new_like(arg.a, NPY_INT64);
    if (!out) return nullptr;
    idx* o = out_data<idx>(out);
    const std::uint8_t* p = arg.data<std::uint8_t>();
    for (idx i = 0; i < arg.dim(0) * arg.dim(1); i++)
        for (idx h = 0; h < arg.dim(2); h++)
            for (idx w = 0; w < arg.dim(3); w++) *o++ = source(Wn, h, w, *p++);
    return out;
}
static PyObject* pool_average(PyObject* const* a, bool grad) {
    const int t = float_type(a[0], grad ? "grad" : "input");
    Images x;
    idx in[2], divisor = 0;
    Window Wn;
    PyObject* const* opt = grad ? a + 2 : a + 1;
    if (t < 0 || !x.get(a[0], t, grad ? "grad" : "input") || !four(x, grad ? "grad" : "input")) return nullptr;
    if (!grad) in[0] = PyArray_DIM(x.a, 2), in[1] = PyArray_DIM(x.a, 3);
    else if (!two(a[1], in, "input_size", 0)) return nullptr;
    if (!window(Wn, in[0], in[1], opt[0], opt[1], opt[2], nullptr, opt[3]) || (opt[5] != Py_None && !to_idx(opt[5], divisor))) return nullptr;
    if (grad && (PyArray_DIM(x.a, 2) != Wn.out[0] || PyArray_DIM(x.a, 3) != Wn.out[1])) return PyErr_Format(PyExc_ValueError, "grad: its shape is not that of the output");
    const int include = PyObject_IsTrue(opt[4]);
    const idx N = PyArray_DIM(x.a, 0), C = PyArray_DIM(x.a, 1), pin = in[0] * in[1], pout = Wn.out[0] * Wn.out[1], width = x.last ? C : 1;
    const npy_intp dims[4] = {N, C, grad ? in[0] : Wn.out[0], grad ? in[1] : Wn.out[1]};
    PyObject* y = empty_images(4, dims, t, x.last);
    if (!y) return nullptr;
    auto work = [&](auto zero) {
        typedef decltype(zero) T;
        Unlock u(N * C * pin);
        parallel(N * C / hi(1, width), hi(1, 16384 / hi(1, pin * width)), [&](idx i0, idx i1) {
            for (idx i = i0; i < i1; i++) {
                if (grad) average<T>(Wn, width, include, divisor, nullptr, nullptr, x.data<T>() + i * pout * width, out_data<T>(y) + i * pin * width);
                else average<T>(Wn, width, include, divisor, x.data<T>() + i * pin * width, out_data<T>(y) + i * pout * width, nullptr, nullptr);
            }
        });
    };
    if (t == NPY_FLOAT) work(0.0f);
    else work(0.0);
    return y;
}
static PyObject* py_avg_pool2d(DK_ARGS) { return arity(n, 7, "avg_pool2d") ? pool_average(a, false) : nullptr; }
static PyObject* py_avg_pool2d_grad(DK_ARGS) { return arity(n, 8, "avg_pool2d_grad") ? pool_average(a, true) : nullptr; }
PyMethodDef methods_pool[] = {
    DK_METHOD(max_pool2d, "max_pool2d(input, kernel_size, stride, padding, dilation, ceil_mode) -> (output, taps): taps (uint8) tell which element of the window won."),
    DK_METHOD(max_pool2d_grad, "max_pool2d_grad(grad, taps, input_size, kernel_size, stride, padding, dilation) -> gradient of the input."),
    DK_METHOD(max_pool2d_indices, "max_pool2d_indices(taps, input_size, kernel_size, stride, padding, dilation) -> int64 flat indices into each plane."),
    DK_METHOD(avg_pool2d, "avg_pool2d(input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override | None) -> output."),
    DK_METHOD(avg_pool2d_grad, "avg_pool2d_grad(grad, input_size, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override | None) -> gradient of the input."),
    {nullptr, nullptr, 0, nullptr}};
}  // namespace DK_NS
