// Softmax, log softmax and cross-entropy over rows: each row is read twice and written once.
#include "dk_math.h"

namespace DK_NS {
template <class T>
static T exp_sum(idx C, const T* x, T m) {
    vec<T> s = {};
    each_vec<T>(C, [&](idx i, idx k) { s += vexp(ld_upto(x + i, k, -std::numeric_limits<T>::infinity()) - m); });
    return hsum<T>(s);
}
template <class T>
static void dk_softmax(idx C, const T* x, T* y, bool log) {
    const T m = row_max(C, x);
    if (log) {
        const T k = std::log(exp_sum(C, x, m));  // the maximum first: far from zero, m + k would lose k's digits
        each_vec<T>(C, [&](idx i, idx n) { st_upto<T>(y + i, ld_upto(x + i, n, (T)0) - m - k, n); });
        return;
    }
    vec<T> s = {};
    each_vec<T>(C, [&](idx i, idx n) {
        vec<T> e = vexp(ld_upto(x + i, n, -std::numeric_limits<T>::infinity()) - m);
        s += e;
        st_upto<T>(y + i, e, n);
    });
    const T k = 1 / hsum<T>(s);
    for (idx i = 0; i < C; i++) y[i] *= k;
}
template <class T>
static void dk_softmax_grad(idx C, const T* __restrict g, const T* __restrict y, T* __restrict dx, bool log) {
    vec<T> s = {};
    if (log) {
        each_vec<T>(C, [&](idx i, idx n) { s += ld_upto(g + i, n, (T)0); });
        const T t = hsum<T>(s);
        each_vec<T>(C, [&](idx i, idx n) { st_upto<T>(dx + i, ld_upto(g + i, n, (T)0) - vexp(ld_upto(y + i, n, (T)0)) * t, n); });
        return;
    }
    each_vec<T>(C, [&](idx i, idx n) { s += ld_upto(g + i, n, (T)0) * ld_upto(y + i, n, (T)0); });
    const T t = hsum<T>(s);
    for (idx i = 0; i < C; i++) dx[i] = y[i] * (g[i] - t);
}
static PyObject* rows_of(DK_ARGS, const char* name, bool log, bool grad) {
    if (!arity(n, grad ? 2 : 1, name)) return nullptr;
    const int t = float_type(a[0], grad ? "grad" : "input");
    In x, y;
    if (t < 0 || !x.get(a[0], t, grad ? "grad" : "input") || (grad && (!y.get(a[1], t, "output") || !y.has_size(x.size(), "output")))) return nullptr;
    if (x.ndim() < 1) return PyErr_Format(PyExc_ValueError, "%s: expected at least 1 dimension, got 0", name);
    PyObject* out = new_like(x.a, t);
    const idx C = x.dim(x.ndim() - 1), R = C ? x.size() / C : 0;
    if (!out || !C) return out;
    auto work = [&](auto zero) {
        typedef decltype(zero) T;
        Unlock u(R * C * 4);
        parallel(R, hi(1, 8192 / C), [&](idx r0, idx r1) {
            for (idx r = r0; r < r1; r++) {
                if (grad) dk_softmax_grad<T>(C, x.data<T>() + r * C, y.data<T>() + r * C, out_data<T>(out) + r * C, log);
                else dk_softmax<T>(C, x.data<T>() + r * C, out_data<T>(out) + r * C, log);
            }
        });
    };
    if (t == NPY_FLOAT) work(0.0f);
    else work(0.0);
    return out;
}
static PyObject* py_softmax(PyObject* m, PyObject* const* a, Py_ssize_t n) { return rows_of(m, a, n, "softmax", false, false); }
static PyObject* py_log_softmax(PyObject* m, PyObject* const* a, Py_ssize_t n) { return rows_of(m, a, n, "log_softmax", true, false); }
static PyObject* py_softmax_grad(PyObject* m, PyObject* const* a, Py_ssize_t n) { return rows_of(m, a, n, "softmax_grad", false, true); }
static PyObject* py_log_softmax_grad(PyObject* m, PyObject* const* a, Py_ssize_t n) { return rows_of(m, a, n, "log_softmax_grad", true, true); }

// Loss of a row: (1 - e) w[t] (lse - x[t]) + e / C sum_c w[c] (lse - x[c])
struct Loss {
    idx N, C, ignore;
    double smoothing;
};
static bool targets(const Loss& L, const idx* t) {
    for (idx i = 0; i < L.N; i++)
        if (t[i] != L.ignore && (t[i] < 0 || t[i] >= L.C)) {
            PyErr_Format(PyExc_IndexError, "Target %lld is out of bounds.", (long long)t[i]);
            return false;
        }
    return true;
}
template <class T>
static void dk_cross_entropy(const Loss& L, const T* x, const idx* target, const T* w, T* loss, T* lse) {
    double all_w = 0;
    for (idx c = 0; c < L.C; c++) all_w += w ? (double)w[c] : 1;
    parallel(L.N, hi(1, 8192 / hi(1, L.C)), [&](idx r0, idx r1) {
        for (idx r = r0; r < r1; r++) {
            const T* p = x + r * L.C;
            const T m = row_max(L.C, p);
            const T k = m + std::log(exp_sum(L.C, p, m));
            lse[r] = k;
            if (target[r] == L.ignore) {
                loss[r] = 0;
                continue;
            }
            T v = (k - p[target[r]]) * (w ? w[target[r]] : 1);
            if (L.smoothing > 0) {
                double s = 0;
                for (idx c = 0; c < L.C; c++) s += (double)p[c] * (w ? (double)w[c] : 1);
                v = (T)((1 - L.smoothing) * (double)v + L.smoothing / (double)L.C * (all_w * (double)k - s));
            }
            loss[r] = v;
        }
    });
}
template <class T>
static void dk_cross_entropy_grad(const Loss& L, const T* g, bool each, double scale, const T* x, const idx* target, const T* lse, const T* w, T* dx) {
    double all_w = 0;
    for (idx c = 0; c < L.C; c++) all_w += w ? (double)w[c] : 1;
    parallel(L.N, hi(1, 8192 / hi(1, L.C)), [&](idx r0, idx r1) {
        for (idx r = r0; r < r1; r++) {
            const T* p = x + r * L.C;
            T* o = dx + r * L.C;
            if (target[r] == L.ignore) {
                std::memset((void*)o, 0, (size_t)L.C * sizeof(T));
                continue;
            }
            const T s = g[each ? r : 0] * (T)scale, e = (T)(L.smoothing / (double)L.C), hit = (T)(1 - L.smoothing) * (w ? w[target[r]] : 1);
            const T k = lse[r], f = s * (hit + e * (T)all_w);
            each_vec<T>(L.C, [&](idx i, idx n) { st_upto<T>(o + i, vexp(ld_upto(p + i, n, (T)0) - k) * f, n); });
            if (L.smoothing > 0)
                for (idx c = 0; c < L.C; c++) o[c] -= s * e * (w ? w[c] : 1);
            o[target[r]] -= s * hit;
        }
    });
}
static bool loss_of(Loss& L, const In& x, const In& target, const In& w, PyObject* ignore, PyObject* smoothing) {
    if (x.ndim() != 2) return PyErr_Format(PyExc_ValueError, "input: expected (N, C), got %d dimensions", x.ndim()), false;
    L.N = x.dim(0), L.C = x.dim(1);
    return to_idx(ignore, L.ignore) && to_double(smoothing, L.smoothing) && target.has_size(L.N, "target") && w.has_size(L.C, "weight") && targets(L, target.data<idx>());
}
static PyObject* py_cross_entropy(DK_ARGS) {
    if (!arity(n, 6, "cross_entropy")) return nullptr;
    const int t = float_type(a[0], "input");
    In x, target, w;
    Loss L;
    idx reduction;
    if (t < 0 || !x.get(a[0], t, "input") || !target.get(a[1], NPY_INT64, "target") || !w.get(a[2], t, "weight", true) || !loss_of(L, x, target, w, a[3], a[5]) || !to_idx(a[4], reduction)) return nullptr;
    PyObject *rows = new_1d(L.N, t), *lse = new_1d(L.N, t);
    if (!rows || !lse) return Py_XDECREF(rows), Py_XDECREF(lse), nullptr;
    double total = 0, sum = 0;
    auto work = [&](auto zero) {
        typedef decltype(zero) T;
        Unlock u(L.N * L.C * 4);
        dk_cross_entropy<T>(L, x.data<T>(), target.data<idx>(), w.data<T>(), out_data<T>(rows), out_data<T>(lse));
        for (idx r = 0; r < L.N; r++) {
            const idx c = target.data<idx>()[r];
            if (c != L.ignore) total += w ? (double)w.data<T>()[c] : 1;
            sum += (double)out_data<T>(rows)[r];
        }
    };
    if (t == NPY_FLOAT) work(0.0f);
    else work(0.0);
    if (reduction != 0) {
        Py_DECREF(rows);
        rows = new_array(0, nullptr, t);
        if (!rows) return Py_DECREF(lse), nullptr;
        const double v = reduction == 1 ? sum / total : sum;
        if (t == NPY_FLOAT) *out_data<float>(rows) = (float)v;
        else *out_data<double>(rows) = v;
    }
    return Py_BuildValue("(NNd)", rows, lse, total);
}
static PyObject* py_cross_entropy_grad(DK_ARGS) {
    if (!arity(n, 8, "cross_entropy_grad")) return nullptr;
    const int t = float_type(a[1], "input");
    In g, x, target, lse, w;
    Loss L;
    double scale;
    if (t < 0 || !g.get(a[0], t, "grad") || !x.get(a[1], t, "input") || !target.get(a[2], NPY_INT64, "target") || !lse.get(a[3], t, "lse") || !w.get(a[4], t, "weight", true) || !loss_of(L, x, target, w, a[5], a[6]) || !to_double(a[7], scale) || !lse.has_size(L.N, "lse")) return nullptr;
    const bool each = g.size() != 1;
    if (each && !g.has_size(L.N, "grad")) return nullptr;
    PyObject* dx = new_like(x.a, t);
    if (!dx) return nullptr;
    auto work = [&](auto zero) {
        typedef decltype(zero) T;
        Unlock u(L.N * L.C * 4);
        dk_cross_entropy_grad<T>(L, g.data<T>(), each, scale, x.data<T>(), target.data<idx>(), lse.data<T>(), w.data<T>(), out_data<T>(dx));
    };
    if (t == NPY_FLOAT) work(0.0f);
    else work(0.0);
    return dx;
}
PyMethodDef methods_softmax[] = {
    DK_METHOD(softmax, "softmax(input) -> softmax over the last dimension."),
    DK_METHOD(log_softmax, "log_softmax(input) -> log softmax over the last dimension."),
    DK_METHOD(softmax_grad, "softmax_grad(grad, output) -> gradient of the input."),
    DK_METHOD(log_softmax_grad, "log_softmax_grad(grad, output) -> gradient of the input."),
    DK_METHOD(cross_entropy, "cross_entropy(input (N, C), target int64 (N), weight | None, ignore_index, reduction, label_smoothing) -> (loss, lse, total_weight): reduction 0 none, 1 mean, 2 sum."),
    DK_METHOD(cross_entropy_grad, "cross_entropy_grad(grad, input, target, lse, weight | None, ignore_index, label_smoothing, scale) -> gradient of the input: scale is 1 / total_weight for the mean."),
    {nullptr, nullptr, 0, nullptr}};
}  // namespace DK_NS
