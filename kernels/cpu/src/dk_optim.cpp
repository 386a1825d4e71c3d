// Optimizer steps over lists of arrays in one call, and the global norm of a list.
#include "dk_core.h"

namespace DK_NS {
constexpr int MAX_LISTS = 5;
constexpr idx CHUNK = 8192;  // elements a task; sums are taken per chunk, so they do not depend on the threads

static bool same_layout(PyArrayObject* x, PyArrayObject* y) {
    if (PyArray_NDIM(x) != PyArray_NDIM(y)) return false;
    for (int i = 0; i < PyArray_NDIM(x); i++) {
        if (PyArray_DIM(x, i) != PyArray_DIM(y, i)) return false;
        if (PyArray_DIM(x, i) > 1 && PyArray_STRIDE(x, i) != PyArray_STRIDE(y, i)) return false;
    }
    return true;
}
static bool dense(PyArrayObject* x) {  // a permutation of C order: memory may be walked from end to end
    if (PyArray_IS_C_CONTIGUOUS(x) || PyArray_IS_F_CONTIGUOUS(x)) return true;
    npy_intp want = PyArray_ITEMSIZE(x);
    unsigned done = 0;
    for (int k = 0; k < PyArray_NDIM(x); k++) {
        int at = -1;
        for (int i = 0; i < PyArray_NDIM(x) && at < 0; i++)
            if (!(done >> i & 1) && (PyArray_DIM(x, i) == 1 || PyArray_STRIDE(x, i) == want)) at = i;
        if (at < 0) return false;
        done |= 1u << at;
        want *= PyArray_DIM(x, at);
    }
    return true;
}

// Lists of arrays of one length; list 0 leads, the others match its shapes and dtypes. Gradients in another
// layout than their parameter are copied; everything that is written must have the layout of list 0.
struct Lists {
    PyObject* seq[MAX_LISTS] = {};
    int lists = 0;
    idx count = 0;
    PyArrayObject** arrays = nullptr;  // [list * count + i], owned
    idx* tasks = nullptr;              // tasks before array i
    idx total = 0;
    ~Lists() {
        if (arrays)
            for (idx i = 0; i < lists * count; i++) Py_XDECREF(arrays[i]);
        PyMem_Free(arrays);
        PyMem_Free(tasks);
        for (PyObject* s : seq) Py_XDECREF(s);
    }
    bool get(PyObject* const* a, int how_many, const char* const* names, int read_only) {
        lists = how_many;
        for (int l = 0; l < lists; l++) {
            seq[l] = PySequence_Fast(a[l], "expected a list of arrays");
            if (!seq[l]) return false;
            if (l == 0) count = PySequence_Fast_GET_SIZE(seq[0]);
            else if (PySequence_Fast_GET_SIZE(seq[l]) != count) {
                PyErr_Format(PyExc_ValueError, "%s: expected %zd arrays, got %zd", names[l], (Py_ssize_t)count, PySequence_Fast_GET_SIZE(seq[l]));
                return false;
            }
        }
        arrays = (PyArrayObject**)PyMem_Calloc((size_t)(lists * count) + 1, sizeof(void*));
        tasks = (idx*)PyMem_Malloc((size_t)(count + 1) * sizeof(idx));
        if (!arrays || !tasks) return PyErr_NoMemory(), false;
        tasks[0] = 0;
        for (idx i = 0; i < count; i++) {
            PyArrayObject* lead = nullptr;
            for (int l = 0; l < lists; l++) {
                PyArrayObject* x = as_array(PySequence_Fast_GET_ITEM(seq[l], i), names[l]);
                if (!x) return false;
                if (l == 0) {
                    lead = x;
                    int t = PyArray_TYPE(x);
                    if (t != NPY_FLOAT && t != NPY_DOUBLE) return wrong_dtype(names[l], "float32 or float64", x);
                    if (read_only != 0 ? !PyArray_ISWRITEABLE(x) || !dense(x) : false) return layout_error(names[l], i);
                } else {
                    if (PyArray_TYPE(x) != PyArray_TYPE(lead)) return wrong_dtype(names[l], "that of the first list", x);
                    if (!PyArray_SAMESHAPE(x, lead)) {
                        PyErr_Format(PyExc_ValueError, "%s[%zd]: its shape is not that of the first list's array", names[l], (Py_ssize_t)i);
                        return false;
                    }
                    if (l != read_only && (!PyArray_ISWRITEABLE(x) || !same_layout(x, lead))) return layout_error(names[l], i);
                }
                if (l == read_only && (l == 0 ? !dense(x) : !same_layout(x, lead))) {
                    PyArrayObject* copy = (PyArrayObject*)PyArray_NewLikeArray(lead, NPY_KEEPORDER, nullptr, 0);
                    if (!copy) return false;
                    arrays[l * count + i] = copy;
                    if (PyArray_CopyInto(copy, x) < 0) return false;
                    if (l > 0 && !same_layout(copy, lead)) return layout_error(names[l], i);
                } else {
                    Py_INCREF(x);
                    arrays[l * count + i] = x;
                }
            }
            tasks[i + 1] = tasks[i] + ceil_div(size(i), CHUNK);
            total += size(i);
        }
        return true;
    }
    bool layout_error(const char* name, idx i) {
        PyErr_Format(PyExc_ValueError, "%s[%zd]: expected a writable dense array in the layout of its parameter", name, (Py_ssize_t)i);
        return false;
    }
    idx size(idx i) const { return PyArray_SIZE(arrays[i]); }
    bool is_double(idx i) const { return PyArray_TYPE(arrays[i]) == NPY_DOUBLE; }
    template <class T>
    T* at(int l, idx i, idx off) const { return (T*)PyArray_DATA(arrays[l * count + i]) + off; }
    // f(array, offset, length, task) for every chunk of every array
    template <class F>
    void run(idx cost, const F& f) const {
        Unlock u(total * cost);
        parallel(tasks[count], 8, [&](idx t0, idx t1) {
            idx i = 0;
            for (idx left = 0, right = count; left < right;) {  // the last array with tasks[i] <= t0
                idx mid = (left + right) / 2;
                if (tasks[mid] <= t0) i = mid, left = mid + 1;
                else right = mid;
            }
            for (idx t = t0; t < t1; t++) {
                while (tasks[i + 1] <= t) i++;
                idx off = (t - tasks[i]) * CHUNK;
                f(i, off, lo(CHUNK, size(i) - off), t);
            }
        });
    }
};

struct Adam {
    double lr, beta1, beta2, eps, decay, step;
    long decoupled, maximize;
};
template <class T>
static void adam_chunk(idx n, T* __restrict p, const T* __restrict g, T* __restrict m, T* __restrict v, T* __restrict top, const Adam& h) {
    const T keep = h.decoupled ? (T)(1 - h.lr * h.decay) : 1, l2 = h.decoupled ? 0 : (T)h.decay;
    const T b1 = (T)(1 - h.beta1), b2 = (T)h.beta2, c2 = (T)(1 - h.beta2), eps = (T)h.eps;
    const T size = (T)(h.lr / (1 - std::pow(h.beta1, h.step))), root = (T)std::sqrt(1 - std::pow(h.beta2, h.step));
    const T sign = h.maximize ? -1 : 1;
    if (top) {
        for (idx i = 0; i < n; i++) {
            T x = p[i] * keep, d = g[i] * sign + l2 * x;
            T mi = m[i] + b1 * (d - m[i]), vi = v[i] * b2 + c2 * d * d, ti = top[i] < vi || vi != vi ? vi : top[i];
            m[i] = mi, v[i] = vi, top[i] = ti;
            p[i] = x - size * mi / (std::sqrt(ti) / root + eps);
        }
        return;
    }
    for (idx i = 0; i < n; i++) {
        T x = p[i] * keep, d = g[i] * sign + l2 * x;
        T mi = m[i] + b1 * (d - m[i]), vi = v[i] * b2 + c2 * d * d;
        m[i] = mi, v[i] = vi;
        p[i] = x - size * mi / (std::sqrt(vi) / root + eps);
    }
}
static PyObject* py_adam(DK_ARGS) {
    if (!arity(n, 13, "adam")) return nullptr;
    static const char* const names[] = {"params", "grads", "exp_avgs", "exp_avg_sqs", "max_exp_avg_sqs"};
    Adam h;
    if (!to_double(a[5], h.lr) || !to_double(a[6], h.beta1) || !to_double(a[7], h.beta2) || !to_double(a[8], h.eps) || !to_double(a[9], h.decay) || !to_double(a[10], h.step)) return nullptr;
    h.decoupled = PyObject_IsTrue(a[11]), h.maximize = PyObject_IsTrue(a[12]);
    const bool amsgrad = a[4] != Py_None;
    Lists L;
    if (!L.get(a, amsgrad ? 5 : 4, names, 1)) return nullptr;
    L.run(4, [&](idx i, idx o, idx k, idx) {
        if (L.is_double(i)) adam_chunk(k, L.at<double>(0, i, o), L.at<double>(1, i, o), L.at<double>(2, i, o), L.at<double>(3, i, o), amsgrad ? L.at<double>(4, i, o) : nullptr, h);
        else adam_chunk(k, L.at<float>(0, i, o), L.at<float>(1, i, o), L.at<float>(2, i, o), L.at<float>(3, i, o), amsgrad ? L.at<float>(4, i, o) : nullptr, h);
    });
    Py_RETURN_NONE;
}

struct Sgd {
    double lr, momentum, dampening, decay;
    long nesterov, maximize, first;
};
template <class T>
static void sgd_chunk(idx n, T* __restrict p, const T* __restrict g, T* __restrict buf, const Sgd& h) {
    const T lr = (T)h.lr, mu = (T)h.momentum, damp = (T)(1 - h.dampening), wd = (T)h.decay, sign = h.maximize ? -1 : 1;
    if (!buf) {
        for (idx i = 0; i < n; i++) p[i] -= lr * (g[i] * sign + wd * p[i]);
    } else if (h.first) {  // the buffer starts as the gradient, without dampening
        const T k = h.nesterov ? 1 + mu : 1;
        for (idx i = 0; i < n; i++) {
            T d = g[i] * sign + wd * p[i];
            buf[i] = d;
            p[i] -= lr * (d * k);
        }
    } else if (h.nesterov) {
        for (idx i = 0; i < n; i++) {
            T d = g[i] * sign + wd * p[i], b = buf[i] * mu + damp * d;
            buf[i] = b;
            p[i] -= lr * (d + mu * b);
        }
    } else {
        for (idx i = 0; i < n; i++) {
            T d = g[i] * sign + wd * p[i], b = buf[i] * mu + damp * d;
            buf[i] = b;
            p[i] -= lr * b;
        }
    }
}
static PyObject* py_sgd(DK_ARGS) {
    if (!arity(n, 10, "sgd")) return nullptr;
    static const char* const names[] = {"params", "grads", "momentum_buffers"};
    Sgd h;
    if (!to_double(a[3], h.lr) || !to_double(a[4], h.momentum) || !to_double(a[5], h.dampening) || !to_double(a[6], h.decay)) return nullptr;
    h.nesterov = PyObject_IsTrue(a[7]), h.maximize = PyObject_IsTrue(a[8]), h.first = PyObject_IsTrue(a[9]);
    const bool momentum = a[2] != Py_None;
    Lists L;
    if (!L.get(a, momentum ? 3 : 2, names, 1)) return nullptr;
    L.run(2, [&](idx i, idx o, idx k, idx) {
        if (L.is_double(i)) sgd_chunk(k, L.at<double>(0, i, o), L.at<double>(1, i, o), momentum ? L.at<double>(2, i, o) : nullptr, h);
        else sgd_chunk(k, L.at<float>(0, i, o), L.at<float>(1, i, o), momentum ? L.at<float>(2, i, o) : nullptr, h);
    });
    Py_RETURN_NONE;
}

template <class T>
static double square_chunk(idx n, const T* x) {
    double s[16] = {};
    idx i = 0;
    for (; i + 16 <= n; i += 16)
        for (int j = 0; j < 16; j++) s[j] += (double)x[i + j] * (double)x[i + j];
    for (; i < n; i++) s[i & 15] += (double)x[i] * (double)x[i];
    double t = 0;
    for (double v : s) t += v;
    return t;
}
static const char* const ARRAYS[] = {"arrays"};
static bool squares(PyObject* list, Lists& L, double* per_array) {  // sum of squares of every array
    Buf<double> part(L.tasks[L.count] + 1);
    L.run(1, [&](idx i, idx o, idx k, idx t) { part[t] = L.is_double(i) ? square_chunk(k, L.at<double>(0, i, o)) : square_chunk(k, L.at<float>(0, i, o)); });
    for (idx i = 0; i < L.count; i++) {
        per_array[i] = 0;
        for (idx t = L.tasks[i]; t < L.tasks[i + 1]; t++) per_array[i] += part[t];
    }
    return true;
}
static PyObject* py_sum_squares(DK_ARGS) {
    if (!arity(n, 1, "sum_squares")) return nullptr;
    Lists L;
    if (!L.get(a, 1, ARRAYS, 0)) return nullptr;
    Buf<double> each(L.count + 1);
    squares(a[0], L, each);
    double s = 0;
    for (idx i = 0; i < L.count; i++) s += each[i];
    return PyFloat_FromDouble(s);
}
static PyObject* py_sum_squares_each(DK_ARGS) {
    if (!arity(n, 1, "sum_squares_each")) return nullptr;
    Lists L;
    if (!L.get(a, 1, ARRAYS, 0)) return nullptr;
    PyObject* out = new_1d(L.count, NPY_DOUBLE);
    if (out) squares(a[0], L, out_data<double>(out));
    return out;
}
static PyObject* py_scale(DK_ARGS) {
    if (!arity(n, 2, "scale")) return nullptr;
    double factor;
    Lists L;
    if (!to_double(a[1], factor) || !L.get(a, 1, ARRAYS, -1)) return nullptr;
    L.run(1, [&](idx i, idx o, idx k, idx) {
        if (L.is_double(i)) {
            double* p = L.at<double>(0, i, o);
            for (idx j = 0; j < k; j++) p[j] *= factor;
        } else {
            float *p = L.at<float>(0, i, o), f = (float)factor;
            for (idx j = 0; j < k; j++) p[j] *= f;
        }
    });
    Py_RETURN_NONE;
}
PyMethodDef methods_optim[] = {
    DK_METHOD(adam, "adam(params, grads, exp_avgs, exp_avg_sqs, max_exp_avg_sqs | None, lr, beta1, beta2, eps, weight_decay, step, decoupled, maximize): one Adam or AdamW step in place."),
    DK_METHOD(sgd, "sgd(params, grads, momentum_buffers | None, lr, momentum, dampening, weight_decay, nesterov, maximize, first): one step in place; first: the buffers start as the gradients."),
    DK_METHOD(sum_squares, "sum_squares(arrays) -> float: sum of all squares, in double, in a fixed order."),
    DK_METHOD(sum_squares_each, "sum_squares_each(arrays) -> float64 array: the sum of squares of every array."),
    DK_METHOD(scale, "scale(arrays, factor): multiply every array in place."),
    {nullptr, nullptr, 0, nullptr}};
}  // namespace DK_NS
