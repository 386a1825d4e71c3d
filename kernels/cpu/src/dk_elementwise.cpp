// Activations and their gradients, dropout with a given mask, embedding rows and their dense gradient.
#include "dk_math.h"

namespace DK_NS {
// The arrays of one elementwise call: out[i] = f(x[i]) or f(g[i], x[i]).
struct Map {
    In x, y;
    int t = -1;
    PyObject* out = nullptr;
    bool get(PyObject* const* a, Py_ssize_t n, int inputs, const char* name) {
        if (!arity(n, inputs, name)) return false;
        t = float_type(a[0], inputs == 2 ? "grad" : "input");
        if (t < 0 || !x.get(a[0], t, inputs == 2 ? "grad" : "input") || (inputs == 2 && (!y.get(a[1], t, "input") || !y.has_size(x.size(), "input")))) return false;
        out = new_like(x.a, t);
        return out != nullptr;
    }
    template <class F>
    PyObject* run(const F& f) {
        if (t == NPY_FLOAT) go<float>(f);
        else go<double>(f);
        return out;
    }
    template <class T, class F>
    void go(const F& f) {
        const idx n = x.size();
        const T *p = x.data<T>(), *q = y.data<T>();
        T* o = out_data<T>(out);
        Unlock u(n);
        parallel(ceil_div(n, 1024), 16, [&](idx b0, idx b1) {
            const idx i0 = b0 * 1024, m = lo(n, b1 * 1024) - i0;
            if (q) each_vec<T>(m, [&](idx i, idx k) { st_upto<T>(o + i0 + i, f(ld_upto(p + i0 + i, k, (T)0), ld_upto(q + i0 + i, k, (T)0)), k); });
            else each_vec<T>(m, [&](idx i, idx k) { st_upto<T>(o + i0 + i, f(ld_upto(p + i0 + i, k, (T)0), vec<T>{}), k); });
        });
    }
};
template <class V>
struct Lane;
template <>
struct Lane<vf> { typedef float type; };
template <>
struct Lane<vd> { typedef double type; };
#define K(v) all((typename Lane<V>::type)(v))

template <class V>
static DK_INLINE V gelu_slope(V x) { return x * (x * x * K(0.0356774081363) + K(0.7978845608028654)); }
#define DK_UNARY(op, body)                                                            \
    static PyObject* py_##op(DK_ARGS) {                                               \
        Map m;                                                                        \
        return m.get(a, n, 1, #op) ? m.run([](auto x, auto) { typedef decltype(x) V; (void)sizeof(V); return body; }) : nullptr; \
    }
#define DK_BINARY(op, body)                                                           \
    static PyObject* py_##op(DK_ARGS) {                                               \
        Map m;                                                                        \
        return m.get(a, n, 2, #op) ? m.run([](auto g, auto x) { typedef decltype(x) V; (void)sizeof(V); return body; }) : nullptr; \
    }
DK_UNARY(relu, x < 0 ? V{} : x)
DK_BINARY(relu_grad, x > 0 ? g : V{})
DK_UNARY(sigmoid, vsigmoid(x))
DK_BINARY(sigmoid_grad, g * x * (1 - x))
DK_UNARY(tanh, vtanh(x))
DK_BINARY(tanh_grad, g * (1 - x * x))
template <class V>
static DK_INLINE V silu_slope(V x) {
    V s = vsigmoid(x);
    return s * (1 + x * (1 - s));
}
DK_UNARY(silu, x / (1 + vexp(-x)))
DK_BINARY(silu_grad, g * silu_slope(x))
DK_UNARY(gelu_erf, K(0.5) * x * (1 + verf(x * K(0.7071067811865476))))
DK_BINARY(gelu_erf_grad, g * (x * K(0.3989422804014327) * vexp(x * x * K(-0.5)) + K(0.5) * (1 + verf(x * K(0.7071067811865476)))))
DK_UNARY(gelu_tanh, x / (1 + vexp(-2 * gelu_slope(x))))
template <class V>
static DK_INLINE V gelu_tanh_slope(V x) {
    V z = x * x, s = 1 / (1 + vexp(-2 * gelu_slope(x)));
    return s + 2 * x * s * (1 - s) * (z * K(0.1070322244089) + K(0.7978845608028654));
}
DK_BINARY(gelu_tanh_grad, g * gelu_tanh_slope(x))

static PyObject* py_dropout(DK_ARGS) {
    if (!arity(n, 3, "dropout")) return nullptr;
    const int t = float_type(a[0], "input");
    In x, mask;
    double scale;
    if (t < 0 || !x.get(a[0], t, "input") || !mask.get(a[1], NPY_BOOL, "mask") || !to_double(a[2], scale) || !mask.has_size(x.size(), "mask")) return nullptr;
    PyObject* out = new_like(x.a, t);
    if (!out) return nullptr;
    auto work = [&](auto zero) {
        typedef decltype(zero) T;
        const T *p = x.data<T>(), table[2] = {0, (T)scale};
        const std::uint8_t* m = mask.data<std::uint8_t>();
        T* o = out_data<T>(out);
        Unlock u(x.size());
        parallel(x.size(), 32768, [&](idx i0, idx i1) {
            for (idx i = i0; i < i1; i++) o[i] = p[i] * (m[i] ? table[1] : table[0]);
        });
    };
    if (t == NPY_FLOAT) work(0.0f);
    else work(0.0);
    return out;
}
static bool rows_in(const In& ids, idx rows) {
    const idx* p = ids.data<idx>();
    for (idx i = 0; i < ids.size(); i++)
        if (p[i] < 0 || p[i] >= rows) {
            PyErr_Format(PyExc_IndexError, "index out of range in self");
            return false;
        }
    return true;
}
static PyObject* py_embedding(DK_ARGS) {
    if (!arity(n, 2, "embedding")) return nullptr;
    const int t = float_type(a[0], "weight");
    In w, ids;
    if (t < 0 || !w.get(a[0], t, "weight") || !ids.get(a[1], NPY_INT64, "indices")) return nullptr;
    if (w.ndim() != 2) return PyErr_Format(PyExc_ValueError, "weight: expected 2 dimensions, got %d", w.ndim());
    if (ids.ndim() >= NPY_MAXDIMS) return PyErr_Format(PyExc_ValueError, "indices: too many dimensions");
    if (!rows_in(ids, w.dim(0))) return nullptr;
    npy_intp dims[NPY_MAXDIMS];
    for (int i = 0; i < ids.ndim(); i++) dims[i] = ids.dim(i);
    dims[ids.ndim()] = w.dim(1);
    PyObject* out = new_array(ids.ndim() + 1, dims, t);
    if (!out) return nullptr;
    const idx bytes = w.dim(1) * PyArray_ITEMSIZE(w.a);
    const char* src = w.data<char>();
    char* dst = out_data<char>(out);
    Unlock u(ids.size() * bytes / 4);
    parallel(ids.size(), hi(1, 65536 / hi(1, bytes)), [&](idx i0, idx i1) {
        for (idx i = i0; i < i1; i++) std::memcpy(dst + i * bytes, src + ids.data<idx>()[i] * bytes, (size_t)bytes);
    });
    return out;
}
static PyObject* py_embedding_grad(DK_ARGS) {
    if (!arity(n, 4, "embedding_grad")) return nullptr;
    const int t = float_type(a[0], "grad");
    In g, ids;
    idx rows, padding;
    if (t < 0 || !g.get(a[0], t, "grad") || !ids.get(a[1], NPY_INT64, "indices") || !to_idx(a[2], rows) || !to_idx(a[3], padding)) return nullptr;
    if (g.ndim() < 1) return PyErr_Format(PyExc_ValueError, "grad: expected at least 1 dimension, got 0");
    const idx C = g.dim(g.ndim() - 1), count = ids.size();
    if (!g.has_size(count * C, "grad") || !rows_in(ids, rows)) return nullptr;
    const npy_intp dims[2] = {rows, C};
    PyObject* dw = PyArray_ZEROS(2, const_cast<npy_intp*>(dims), t, 0);
    if (!dw) return nullptr;
    auto work = [&](auto zero) {
        typedef decltype(zero) T;
        const idx* p = ids.data<idx>();
        Unlock u(count * C);
        // Every thread owns rows of the table and reads all indices, so rows are summed in order.
        parallel(rows, count * C < 65536 ? rows : 1, [&](idx r0, idx r1) {
            for (idx i = 0; i < count; i++) {
                if (p[i] < r0 || p[i] >= r1 || p[i] == padding) continue;
                T* __restrict o = out_data<T>(dw) + p[i] * C;
                const T* __restrict q = g.data<T>() + i * C;
                for (idx c = 0; c < C; c++) o[c] += q[c];
            }
        });
    };
    if (t == NPY_FLOAT) work(0.0f);
    else work(0.0);
    return dw;
}
PyMethodDef methods_elementwise[] = {
    DK_METHOD(relu, "relu(input) -> max(input, 0)."),
    DK_METHOD(relu_grad, "relu_grad(grad, output) -> gradient where the output is positive."),
    DK_METHOD(sigmoid, "sigmoid(input)."),
    DK_METHOD(sigmoid_grad, "sigmoid_grad(grad, output)."),
    DK_METHOD(tanh, "tanh(input)."),
    DK_METHOD(tanh_grad, "tanh_grad(grad, output)."),
    DK_METHOD(silu, "silu(input)."),
    DK_METHOD(silu_grad, "silu_grad(grad, input)."),
    DK_METHOD(gelu_erf, "gelu_erf(input)."),
    DK_METHOD(gelu_erf_grad, "gelu_erf_grad(grad, input)."),
    DK_METHOD(gelu_tanh, "gelu_tanh(input): the tanh approximation."),
    DK_METHOD(gelu_tanh_grad, "gelu_tanh_grad(grad, input)."),
    DK_METHOD(dropout, "dropout(input, mask bool, scale) -> input * (scale where mask else 0); the same on gradients."),
    DK_METHOD(embedding, "embedding(weight (rows, width), indices int64) -> rows; IndexError outside the table."),
    DK_METHOD(embedding_grad, "embedding_grad(grad, indices int64, rows, padding_idx (-1: none)) -> dense gradient of the table, summed in order."),
    {nullptr, nullptr, 0, nullptr}};
}  // namespace DK_NS
