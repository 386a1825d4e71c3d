// Layer norm and RMS norm over rows of any length.
#include "dk_math.h"

namespace DK_NS {
constexpr idx PARTS = 32;  // at most so many partial sums for the gradients of weight and bias

template <class T>
static void dk_layer_norm(idx C, const T* __restrict x, const T* __restrict w, const T* __restrict b, double eps, bool rms, T* __restrict y, T& mean, T& rstd) {
    T m = 0;
    if (!rms) {
        vec<T> s = {};
        each_vec<T>(C, [&](idx i, idx n) { s += ld_upto(x + i, n, (T)0); });
        m = hsum<T>(s) / (T)C;
    }
    vec<T> z = {};
    each_vec<T>(C, [&](idx i, idx n) { vec<T> d = ld_upto(x + i, n, m) - m; z += d * d; });
    const T k = (T)(1 / std::sqrt((double)(hsum<T>(z) / (T)C) + eps));
    mean = m, rstd = k;
    if (w && b) for (idx i = 0; i < C; i++) y[i] = (x[i] - m) * k * w[i] + b[i];
    else if (w) for (idx i = 0; i < C; i++) y[i] = (x[i] - m) * k * w[i];
    else for (idx i = 0; i < C; i++) y[i] = (x[i] - m) * k + (b ? b[i] : 0);
}
template <class T>
static void dk_layer_norm_grad(idx R, idx C, const T* g, const T* x, const T* mean, const T* rstd, const T* w, bool rms, T* dx, T* dw, T* db) {
    const idx step = hi(16, ceil_div(R, PARTS)), parts = ceil_div(R, step);
    Buf<T> each(parts * 2 * C + 1), ones(w ? 1 : C);
    if (!w) {
        for (idx i = 0; i < C; i++) ones[i] = 1;
        w = ones;
    }
    parallel(parts, hi(1, 16384 / (step * hi(1, C))), [&](idx p0, idx p1) {
        for (idx p = p0; p < p1; p++) {
            T *__restrict sw = each + p * 2 * C, *__restrict sb = sw + C;
            for (idx i = 0; i < 2 * C; i++) sw[i] = 0;
            for (idx r = p * step; r < lo(R, (p + 1) * step); r++) {
                const T *__restrict xr = x + r * C, *__restrict gr = g + r * C;
                T* __restrict o = dx + r * C;
                const T m = rms ? 0 : mean[r], k = rstd[r];
                vec<T> s = {}, z = {};
                each_vec<T>(C, [&](idx i, idx n) {
                    vec<T> t = (ld_upto(xr + i, n, m) - m) * k, gi = ld_upto(gr + i, n, (T)0), u = gi * ld_upto(w + i, n, (T)0);
                    s += u, z += u * t;
                    st_upto<T>(sw + i, ld_upto(sw + i, n, (T)0) + gi * t, n), st_upto<T>(sb + i, ld_upto(sb + i, n, (T)0) + gi, n);
                });
                const T a = rms ? 0 : hsum<T>(s) / (T)C, c = hsum<T>(z) / (T)C;
                for (idx i = 0; i < C; i++) o[i] = k * (gr[i] * w[i] - a - (xr[i] - m) * k * c);
            }
        }
    });
    for (idx i = 0; i < C; i++) {
        double tw = 0, tb = 0;
        for (idx p = 0; p < parts; p++) tw += (double)each[p * 2 * C + i], tb += (double)each[p * 2 * C + C + i];
        dw[i] = (T)tw, db[i] = (T)tb;
    }
}
static PyObject* forward(PyObject* const* a, bool rms) {  // input, width, weight, [bias,] eps
    const int t = float_type(a[0], "input");
    In x, w, b;
    idx C;
    double eps;
    if (t < 0 || !x.get(a[0], t, "input") || !to_idx(a[1], C) || !w.get(a[2], t, "weight", true) || (!rms && !b.get(a[3], t, "bias", true)) || !to_double(a[rms ? 3 : 4], eps) || !w.has_size(C, "weight") || !b.has_size(C, "bias")) return nullptr;
    if (C < 1 || x.size() % C) return PyErr_Format(PyExc_ValueError, "width: %lld does not divide %lld elements", (long long)C, (long long)x.size());
    const idx R = x.size() / C;
    PyObject *y = new_like(x.a, t), *mean = new_1d(R, t), *rstd = new_1d(R, t);
    if (!y || !mean || !rstd) return Py_XDECREF(y), Py_XDECREF(mean), Py_XDECREF(rstd), nullptr;
    auto work = [&](auto zero) {
        typedef decltype(zero) T;
        Unlock u(R * C);
        parallel(R, hi(1, 16384 / C), [&](idx r0, idx r1) {
            for (idx r = r0; r < r1; r++) dk_layer_norm<T>(C, x.data<T>() + r * C, w.data<T>(), b.data<T>(), eps, rms, out_data<T>(y) + r * C, out_data<T>(mean)[r], out_data<T>(rstd)[r]);
        });
    };
    if (t == NPY_FLOAT) work(0.0f);
    else work(0.0);
    if (!rms) return Py_BuildValue("(NNN)", y, mean, rstd);
    Py_DECREF(mean);
    return Py_BuildValue("(NN)", y, rstd);
}
static PyObject* backward(PyObject* const* a, bool rms) {  // grad, input, width, weight, [mean,] rstd
    const int t = float_type(a[1], "input");
    In g, x, w, mean, rstd;
    idx C;
    if (t < 0 || !g.get(a[0], t, "grad") || !x.get(a[1], t, "input") || !to_idx(a[2], C) || !w.get(a[3], t, "weight", true) || (!rms && !mean.get(a[4], t, "mean")) || !rstd.get(a[rms ? 4 : 5], t, "rstd") || !w.has_size(C, "weight") || !g.has_size(x.size(), "grad")) return nullptr;
    if (C < 1 || x.size() % C) return PyErr_Format(PyExc_ValueError, "width: %lld does not divide %lld elements", (long long)C, (long long)x.size());
    const idx R = x.size() / C;
    if (!mean.has_size(R, "mean") || !rstd.has_size(R, "rstd")) return nullptr;
    PyObject *dx = new_like(x.a, t), *dw = new_1d(C, t), *db = new_1d(C, t);
    if (!dx || !dw || !db) return Py_XDECREF(dx), Py_XDECREF(dw), Py_XDECREF(db), nullptr;
    auto work = [&](auto zero) {
        typedef decltype(zero) T;
        Unlock u(R * C);
        dk_layer_norm_grad<T>(R, C, g.data<T>(), x.data<T>(), mean.data<T>(), rstd.data<T>(), w.data<T>(), rms, out_data<T>(dx), out_data<T>(dw), out_data<T>(db));
    };
    if (t == NPY_FLOAT) work(0.0f);
    else work(0.0);
    if (!rms) return Py_BuildValue("(NNN)", dx, dw, db);
    Py_DECREF(db);
    return Py_BuildValue("(NN)", dx, dw);
}
static PyObject* py_layer_norm(DK_ARGS) { return arity(n, 5, "layer_norm") ? forward(a, false) : nullptr; }
static PyObject* py_layer_norm_grad(DK_ARGS) { return arity(n, 6, "layer_norm_grad") ? backward(a, false) : nullptr; }
static PyObject* py_rms_norm(DK_ARGS) { return arity(n, 4, "rms_norm") ? forward(a, true) : nullptr; }
static PyObject* py_rms_norm_grad(DK_ARGS) { return arity(n, 5, "rms_norm_grad") ? backward(a, true) : nullptr; }
PyMethodDef methods_layer_norm[] = {
    DK_METHOD(layer_norm, "layer_norm(input, width, weight | None, bias | None, eps) -> (output, mean, rstd): rows of `width` elements; mean and rstd are one-dimensional."),
    DK_METHOD(layer_norm_grad, "layer_norm_grad(grad, input, width, weight | None, mean, rstd) -> (grad_input, grad_weight, grad_bias)."),
    DK_METHOD(rms_norm, "rms_norm(input, width, weight | None, eps) -> (output, rstd)."),
    DK_METHOD(rms_norm_grad, "rms_norm_grad(grad, input, width, weight | None, rstd) -> (grad_input, grad_weight)."),
    {nullptr, nullptr, 0, nullptr}};
}  // namespace DK_NS
