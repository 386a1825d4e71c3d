// Batch norm over channels: statistics in one shifted pass, optional relu folded in, forward and backward.
#include "dk_images.h"
#include "dk_math.h"

namespace DK_NS {
constexpr idx RUN = 1024;  // elements summed in T before they go to doubles
constexpr idx ROWS = 128;  // the same for rows of channels

// The two sums of a norm over channels: of x - k and its square; with a gradient g, of g and g (x - k), where g
// counts only where y > 0 if y is given. k is one number a channel.
template <class T>
struct Terms {
    const T *x, *k, *g, *y;
    DK_INLINE void add(idx i, idx n, vec<T> shift, vec<T>& a, vec<T>& b) const {
        vec<T> v = ld_upto(x + i, n, (T)0) - shift;
        if (!g) {
            if (n < Vec<T>::n) v = first(v, n);
            a += v, b += v * v;
            return;
        }
        vec<T> t = ld_upto(g + i, n, (T)0);
        if (y) t = ld_upto(y + i, n, (T)0) > 0 ? t : vec<T>{};
        a += t, b += t * v;
    }
    static vec<T> first(vec<T> v, idx n) { return ld_upto((const T*)&v, n, (T)0); }
};
template <class T>
static void reduce2(const Planes& X, const Terms<T>& F, double* sa, double* sb) {
    constexpr idx L = Vec<T>::n;
    if (!X.last) {
        parallel(X.C, hi(1, 16384 / hi(1, X.rows())), [&](idx c0, idx c1) {
            for (idx c = c0; c < c1; c++) {
                double da = 0, db = 0;
                const vec<T> k = all(F.k[c]);
                for (idx n = 0; n < X.N; n++) {
                    const idx at = (n * X.C + c) * X.pixels;
                    for (idx i0 = 0; i0 < X.pixels; i0 += RUN) {
                        vec<T> a[2] = {}, b[2] = {};
                        idx i = at + i0;
                        const idx end = at + lo(X.pixels, i0 + RUN);
                        for (; i + 2 * L <= end; i += 2 * L) F.add(i, L, k, a[0], b[0]), F.add(i + L, L, k, a[1], b[1]);
                        for (; i < end; i += L) F.add(i, lo(L, end - i), k, a[0], b[0]);
                        da += (double)hsum<T>(a[0] + a[1]), db += (double)hsum<T>(b[0] + b[1]);
                    }
                }
                sa[c] = da, sb[c] = db;
            }
        });
        return;
    }
    const idx rows = X.rows(), parts = ceil_div(rows, ROWS), C = X.C, width = round_up(C, L);
    Buf<T> each(parts * 2 * width + 1);
    parallel(parts, hi(1, 16384 / hi(1, ROWS * C)), [&](idx p0, idx p1) {
        for (idx p = p0; p < p1; p++)
            for (idx c = 0; c < C; c += L) {
                vec<T> a = {}, b = {};
                const vec<T> k = ld_upto(F.k + c, C - c, (T)0);
                for (idx r = p * ROWS; r < lo(rows, (p + 1) * ROWS); r++) F.add(r * C + c, lo(L, C - c), k, a, b);
                st(each + p * 2 * width + c, a), st(each + p * 2 * width + width + c, b);
            }
    });
    for (idx c = 0; c < C; c++) sa[c] = sb[c] = 0;
    for (idx p = 0; p < parts; p++)
        for (idx c = 0; c < C; c++) sa[c] += (double)each[p * 2 * width + c], sb[c] += (double)each[p * 2 * width + width + c];
}
// y = x k + o, relu folded in; Const is a number (planes) or an array (rows of channels)
template <class T>
static DK_INLINE T pick(T v, idx) { return v; }
template <class T>
static DK_INLINE T pick(const T* v, idx c) { return v[c]; }
template <class T, class Const>
static DK_INLINE void affine_row(idx n, const T* __restrict x, Const k, Const o, bool relu, T* __restrict y) {
    if (relu) {
#pragma omp simd
        for (idx i = 0; i < n; i++) {
            const T v = x[i] * pick(k, i) + pick(o, i);
            y[i] = v < 0 ? 0 : v;
        }
    } else {
#pragma omp simd
        for (idx i = 0; i < n; i++) y[i] = x[i] * pick(k, i) + pick(o, i);
    }
}
template <class T, class Const>
static DK_INLINE void grad_row(idx n, const T* __restrict g, const T* __restrict x, const T* __restrict y, Const k, Const u, Const o, T* __restrict dx) {
    if (y) {
#pragma omp simd
        for (idx i = 0; i < n; i++) dx[i] = (y[i] > 0 ? g[i] : 0) * pick(k, i) - x[i] * pick(u, i) - pick(o, i);
    } else {
#pragma omp simd
        for (idx i = 0; i < n; i++) dx[i] = g[i] * pick(k, i) - x[i] * pick(u, i) - pick(o, i);
    }
}
// f(offset, channel) for every row of neighbours: a plane of one channel, or (channel 0) all channels of a pixel
template <class F>
static void each_row(const Planes& X, const F& f) {
    const idx width = X.last ? X.C : X.pixels;
    parallel(X.last ? X.rows() : X.N * X.C, hi(1, 16384 / hi(1, width)), [&](idx r0, idx r1) {
        for (idx r = r0; r < r1; r++) f(r * width, X.last ? 0 : r % X.C);
    });
}
template <class T>
static void dk_affine(const Planes& X, const T* x, const T* k, const T* o, bool relu, T* y) {
    each_row(X, [=](idx at, idx c) {
        if (X.last) affine_row(X.C, x + at, k, o, relu, y + at);
        else affine_row(X.pixels, x + at, k[c], o[c], relu, y + at);
    });
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
    reduce2(X, Terms<T>{x, shift, nullptr, nullptr}, s, s + C);
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
    reduce2(X, Terms<T>{x, mean, g, y}, s, s + C);
    Buf<T> k(3 * C);  // dx = k g - u x - o
    for (idx c = 0; c < C; c++) {
        const double r = (double)rstd[c], a = (w ? (double)w[c] : 1.0) * r;
        dw[c] = (T)(s[C + c] * r), db[c] = (T)s[c];
        const double u = a * r * r * s[C + c] / n;
        k[c] = (T)a, k[C + c] = (T)u, k[2 * C + c] = (T)(a * s[c] / n - u * (double)mean[c]);
    }
    const T* q = k;
    each_row(X, [=](idx at, idx c) {
        const T* yy = y ? y + at : nullptr;
        if (X.last) grad_row(C, g + at, x + at, yy, q, q + C, q + 2 * C, dx + at);
        else grad_row(X.pixels, g + at, x + at, yy, q[c], q[C + c], q[2 * C + c], dx + at);
    });
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
