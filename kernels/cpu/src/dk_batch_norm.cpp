// Batch norm over channels: statistics in one shifted pass, optional relu folded in, forward and backward.
#include "dk_images.h"

namespace DK_NS {
constexpr idx RUN = 1024;  // elements summed in T before they go to doubles
constexpr idx ROWS = 128;  // the same for rows of channels

// sa[c], sb[c]: sums over all pixels of two terms; f(offset, channel, a, b) adds one element's terms.
template <class T, class F>
static void reduce2(const Planes& X, double* sa, double* sb, const F& f) {
    if (!X.last) {
        parallel(X.C, hi(1, 16384 / hi(1, X.rows())), [&](idx c0, idx c1) {
            for (idx c = c0; c < c1; c++) {
                double da = 0, db = 0;
                for (idx n = 0; n < X.N; n++) {
                    const idx at = (n * X.C + c) * X.pixels;
                    for (idx i0 = 0; i0 < X.pixels; i0 += RUN) {
                        T a = 0, b = 0;
                        const idx end = at + lo(X.pixels, i0 + RUN);
#pragma omp simd reduction(+ : a, b)
                        for (idx i = at + i0; i < end; i++) f(i, c, a, b);
                        da += (double)a, db += (double)b;
                    }
                }
                sa[c] = da, sb[c] = db;
            }
        });
        return;
    }
    const idx rows = X.rows(), parts = ceil_div(rows, ROWS), C = X.C;
    Buf<double> each(parts * 2 * C + 1);
    parallel(parts, hi(1, 16384 / hi(1, ROWS * C)), [&](idx p0, idx p1) {
        Buf<T> t(2 * C);
        T* __restrict a = t;
        T* __restrict b = t + C;
        for (idx p = p0; p < p1; p++) {
            for (idx c = 0; c < 2 * C; c++) t[c] = 0;
            for (idx r = p * ROWS; r < lo(rows, (p + 1) * ROWS); r++)
#pragma omp simd
                for (idx c = 0; c < C; c++) f(r * C + c, c, a[c], b[c]);
            for (idx c = 0; c < 2 * C; c++) each[p * 2 * C + c] = (double)t[c];
        }
    });
    for (idx c = 0; c < C; c++) sa[c] = sb[c] = 0;
    for (idx p = 0; p < parts; p++)
        for (idx c = 0; c < C; c++) sa[c] += each[p * 2 * C + c], sb[c] += each[p * 2 * C + C + c];
}
// f(offset, channel) for every element, channels in the inner loop where they are neighbours
template <class F>
static void each_element(const Planes& X, const F& f) {
    if (X.last) {
        parallel(X.rows(), hi(1, 16384 / hi(1, X.C)), [&](idx r0, idx r1) {
            for (idx r = r0; r < r1; r++)
#pragma omp simd
                for (idx c = 0; c < X.C; c++) f(r * X.C + c, c);
        });
    } else {
        parallel(X.N * X.C, hi(1, 16384 / hi(1, X.pixels)), [&](idx p0, idx p1) {
            for (idx p = p0; p < p1; p++) {
                const idx c = p % X.C, at = p * X.pixels;
#pragma omp simd
                for (idx i = 0; i < X.pixels; i++) f(at + i, c);
            }
        });
    }
}
template <class T>
static void dk_affine(const Planes& X, const T* __restrict x, const T* __restrict k, const T* __restrict o, bool relu, T* __restrict y) {
    if (relu) each_element(X, [=](idx i, idx c) { T v = x[i] * k[c] + o[c]; y[i] = v < 0 ? 0 : v; });
    else each_element(X, [=](idx i, idx c) { y[i] = x[i] * k[c] + o[c]; });
}
template <class T>
static void dk_batch_norm(const Planes& X, const T* x, const T* w, const T* b, T* rm, T* rv, double momentum, double eps, bool relu, T* y, T* mean, T* rstd) {
    const idx C = X.C, n = X.rows();
    Buf<double> s(2 * C + 1);
    Buf<T> shift(C), k(2 * C);
    for (idx c = 0; c < C; c++) {  // the mean of the first few, so that a large offset costs no digits
        double t = 0;
        const idx m = lo(16, X.last ? n : X.pixels);
        for (idx i = 0; i < m; i++) t += (double)(X.last ? x[i * C + c] : x[c * X.pixels + i]);
        shift[c] = n ? (T)(t / (double)m) : 0;
    }
    const T* sh = shift;
    reduce2<T>(X, s, s + C, [=](idx i, idx c, T& p, T& q) { T v = x[i] - sh[c]; p += v, q += v * v; });
    for (idx c = 0; c < C; c++) {
        double m = s[c] / (double)n, var = s[C + c] / (double)n - m * m;
        if (var < 0) var = 0;
        m += (double)shift[c];
        const double r = 1 / std::sqrt(var + eps);
        mean[c] = (T)m, rstd[c] = (T)r;
        if (rm) rm[c] = (T)((1 - momentum) * (double)rm[c] + momentum * m);
        if (rv) rv[c] = (T)((1 - momentum) * (double)rv[c] + momentum * var * ((double)n / (double)(n - 1)));
        const double g = w ? (double)w[c] * r : r;
        k[c] = (T)g, k[C + c] = (T)((b ? (double)b[c] : 0.0) - m * g);
    }
    dk_affine<T>(X, x, k, k + C, relu, y);
}
template <class T>
static void dk_batch_norm_grad(const Planes& X, const T* __restrict g, const T* __restrict x, const T* __restrict y, const T* w, const T* __restrict mean, const T* rstd, T* __restrict dx, T* dw, T* db) {
    const idx C = X.C;
    const double n = (double)X.rows();
    Buf<double> s(2 * C + 1);
    if (y) reduce2<T>(X, s, s + C, [=](idx i, idx c, T& p, T& q) { T t = y[i] > 0 ? g[i] : 0; p += t, q += t * (x[i] - mean[c]); });
    else reduce2<T>(X, s, s + C, [=](idx i, idx c, T& p, T& q) { p += g[i], q += g[i] * (x[i] - mean[c]); });
    Buf<T> k(3 * C);  // dx = k g - u x - o
    for (idx c = 0; c < C; c++) {
        const double r = (double)rstd[c], a = (w ? (double)w[c] : 1.0) * r;
        dw[c] = (T)(s[C + c] * r), db[c] = (T)s[c];
        const double u = a * r * r * s[C + c] / n;
        k[c] = (T)a, k[C + c] = (T)u, k[2 * C + c] = (T)(a * s[c] / n - u * (double)mean[c]);
    }
    const T *__restrict a = k, *__restrict u = k + C, *__restrict o = k + 2 * C;
    if (y) each_element(X, [=](idx i, idx c) { dx[i] = (y[i] > 0 ? g[i] : 0) * a[c] - x[i] * u[c] - o[c]; });
    else each_element(X, [=](idx i, idx c) { dx[i] = g[i] * a[c] - x[i] * u[c] - o[c]; });
}

static bool channels(In& v, PyObject* o, int t, idx C, const char* name) { return v.get(o, t, name, true) && v.has_size(C, name); }
static bool running(PyObject* o, int t, idx C, const char* name) {
    if (o == Py_None) return true;
    if (!in_place(o, t, name)) return false;
    if (PyArray_SIZE((PyArrayObject*)o) == C) return true;
    PyErr_Format(PyExc_ValueError, "%s: expected %lld elements", name, (long long)C);
    return false;
}
static PyObject* py_batch_norm(DK_ARGS) {
    if (!arity(n, 8, "batch_norm")) return nullptr;
    const int t = float_type(a[0], "input");
    Images x;
    In w, b;
    Planes X;
    double momentum, eps;
    if (t < 0 || !x.get(a[0], t, "input") || !X.get(x, "input") || !channels(w, a[1], t, X.C, "weight") || !channels(b, a[2], t, X.C, "bias") || !running(a[3], t, X.C, "running_mean") || !running(a[4], t, X.C, "running_var") || !to_double(a[5], momentum) || !to_double(a[6], eps)) return nullptr;
    const int relu = PyObject_IsTrue(a[7]);
    PyObject *y = empty_images(PyArray_NDIM(x.a), PyArray_DIMS(x.a), t, x.last), *mean = new_1d(X.C, t), *rstd = new_1d(X.C, t);
    if (!y || !mean || !rstd) return Py_XDECREF(y), Py_XDECREF(mean), Py_XDECREF(rstd), nullptr;
    auto work = [&](auto zero) {
        typedef decltype(zero) T;
        Unlock u(X.size());
        dk_batch_norm<T>(X, x.data<T>(), w.data<T>(), b.data<T>(), a[3] == Py_None ? nullptr : out_data<T>(a[3]), a[4] == Py_None ? nullptr : out_data<T>(a[4]), momentum, eps, relu, out_data<T>(y), out_data<T>(mean), out_data<T>(rstd));
    };
    if (t == NPY_FLOAT) work(0.0f);
    else work(0.0);
    return Py_BuildValue("(NNN)", y, mean, rstd);
}
static PyObject* py_batch_norm_grad(DK_ARGS) {
    if (!arity(n, 6, "batch_norm_grad")) return nullptr;
    const int t = float_type(a[1], "input");
    Images x, g, y;
    In w, mean, rstd;
    Planes X;
    if (t < 0 || !x.get(a[1], t, "input") || !X.get(x, "input") || !g.get(a[0], t, "grad") || (a[2] != Py_None && !y.get(a[2], t, "output")) || !channels(w, a[3], t, X.C, "weight") || !mean.get(a[4], t, "mean") || !rstd.get(a[5], t, "rstd") || !mean.has_size(X.C, "mean") || !rstd.has_size(X.C, "rstd")) return nullptr;
    // All are walked together, so they take the layout of the input.
    PyArrayObject *G = g.a, *Y = y.a;
    PyObject *own_g = nullptr, *own_y = nullptr;
    auto match = [&](PyArrayObject*& v, bool last, PyObject*& own) {
        if (!PyArray_SAMESHAPE(v, x.a)) return PyErr_Format(PyExc_ValueError, "batch_norm_grad: the gradient's shape is not that of the input"), false;
        if (last == x.last || X.pixels == 1) return true;
        own = empty_images(PyArray_NDIM(x.a), PyArray_DIMS(x.a), t, x.last);
        if (!own || PyArray_CopyInto((PyArrayObject*)own, v) < 0) return false;
        v = (PyArrayObject*)own;
        return true;
    };
    PyObject *dx = nullptr, *dw = nullptr, *db = nullptr, *result = nullptr;
    if (match(G, g.last, own_g) && (!Y || match(Y, y.last, own_y))) {
        dx = empty_images(PyArray_NDIM(x.a), PyArray_DIMS(x.a), t, x.last), dw = new_1d(X.C, t), db = new_1d(X.C, t);
        if (dx && dw && db) {
            auto work = [&](auto zero) {
                typedef decltype(zero) T;
                Unlock u(X.size());
                dk_batch_norm_grad<T>(X, (const T*)PyArray_DATA(G), x.data<T>(), Y ? (const T*)PyArray_DATA(Y) : nullptr, w.data<T>(), mean.data<T>(), rstd.data<T>(), out_data<T>(dx), out_data<T>(dw), out_data<T>(db));
            };
            if (t == NPY_FLOAT) work(0.0f);
            else work(0.0);
            result = Py_BuildValue("(OOO)", dx, dw, db);
        }
    }
    Py_XDECREF(dx), Py_XDECREF(dw), Py_XDECREF(db), Py_XDECREF(own_g), Py_XDECREF(own_y);
    return result;
}
static PyObject* py_batch_norm_eval(DK_ARGS) {
    if (!arity(n, 7, "batch_norm_eval")) return nullptr;
    const int t = float_type(a[0], "input");
    Images x;
    In w, b, rm, rv;
    Planes X;
    double eps;
    if (t < 0 || !x.get(a[0], t, "input") || !X.get(x, "input") || !channels(w, a[1], t, X.C, "weight") || !channels(b, a[2], t, X.C, "bias") || !rm.get(a[3], t, "running_mean") || !rv.get(a[4], t, "running_var") || !rm.has_size(X.C, "running_mean") || !rv.has_size(X.C, "running_var") || !to_double(a[5], eps)) return nullptr;
    const int relu = PyObject_IsTrue(a[6]);
    PyObject* y = empty_images(PyArray_NDIM(x.a), PyArray_DIMS(x.a), t, x.last);
    if (!y) return nullptr;
    auto work = [&](auto zero) {
        typedef decltype(zero) T;
        Unlock u(X.size());
        Buf<T> k(2 * X.C);
        for (idx c = 0; c < X.C; c++) {
            const double g = (w ? (double)w.data<T>()[c] : 1.0) / std::sqrt((double)rv.data<T>()[c] + eps);
            k[c] = (T)g, k[X.C + c] = (T)((b ? (double)b.data<T>()[c] : 0.0) - (double)rm.data<T>()[c] * g);
        }
        dk_affine<T>(X, x.data<T>(), k, k + X.C, relu, out_data<T>(y));
    };
    if (t == NPY_FLOAT) work(0.0f);
    else work(0.0);
    return y;
}
PyMethodDef methods_batch_norm[] = {
    DK_METHOD(batch_norm, "batch_norm(input, weight | None, bias | None, running_mean | None, running_var | None, momentum, eps, relu) -> (output, mean, rstd): statistics of the batch; the running ones are updated in place."),
    DK_METHOD(batch_norm_grad, "batch_norm_grad(grad, input, output | None, weight | None, mean, rstd) -> (grad_input, grad_weight, grad_bias): output is given where relu was folded in."),
    DK_METHOD(batch_norm_eval, "batch_norm_eval(input, weight | None, bias | None, running_mean, running_var, eps, relu) -> output."),
    {nullptr, nullptr, 0, nullptr}};
}  // namespace DK_NS
