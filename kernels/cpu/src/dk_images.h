// Arrays of images, (N, C, ...) in C order or channels last.
#pragma once
#include "dk_core.h"

namespace DK_NS {
inline bool is_last(PyArrayObject* x) {  // channels last, and not C order as well
    int n = PyArray_NDIM(x);
    if (n < 3 || PyArray_IS_C_CONTIGUOUS(x)) return false;
    npy_intp want = PyArray_ITEMSIZE(x);
    if (PyArray_DIM(x, 1) > 1 && PyArray_STRIDE(x, 1) != want) return false;
    want *= PyArray_DIM(x, 1);
    for (int i = n - 1; i >= 2; i--) {
        if (PyArray_DIM(x, i) > 1 && PyArray_STRIDE(x, i) != want) return false;
        want *= PyArray_DIM(x, i);
    }
    return PyArray_DIM(x, 0) <= 1 || PyArray_STRIDE(x, 0) == want;
}
inline PyObject* empty_images(int ndim, const npy_intp* dims, int type, bool last) {
    if (!last) return new_array(ndim, dims, type);
    npy_intp d[5];
    PyArray_Dims order;
    npy_intp perm[5];
    d[0] = dims[0], d[ndim - 1] = dims[1];
    for (int i = 2; i < ndim; i++) d[i - 1] = dims[i];
    perm[0] = 0, perm[1] = ndim - 1;
    for (int i = 2; i < ndim; i++) perm[i] = i - 1;
    order.ptr = perm, order.len = ndim;
    PyObject* base = new_array(ndim, d, type);
    if (!base) return nullptr;
    PyObject* view = PyArray_Transpose((PyArrayObject*)base, &order);
    Py_DECREF(base);
    return view;
}
struct Images {  // an input in C order or channels last; others are copied to C order
    In c;
    PyArrayObject* a = nullptr;
    bool last = false;
    bool get(PyObject* o, int type, const char* name) {
        PyArrayObject* x = as_array(o, name);
        if (!x) return false;
        if (PyArray_TYPE(x) == type && is_last(x) && PyArray_ISALIGNED(x) && !PyArray_ISBYTESWAPPED(x)) {
            a = x, last = true;
            return true;
        }
        if (!c.get(o, type, name)) return false;
        a = c.a;
        return true;
    }
    template <class T>
    const T* data() const { return (const T*)PyArray_DATA(a); }
};

// As rows of channels: channels last, or any (N, C). Otherwise planes of `pixels` elements.
struct Planes {
    idx N, C, pixels;
    bool last;
    bool get(const Images& x, const char* name) {
        const int nd = PyArray_NDIM(x.a);
        if (nd < 2) {
            PyErr_Format(PyExc_ValueError, "%s: expected at least 2 dimensions, got %d", name, nd);
            return false;
        }
        N = PyArray_DIM(x.a, 0), C = PyArray_DIM(x.a, 1), pixels = 1;
        for (int i = 2; i < nd; i++) pixels *= PyArray_DIM(x.a, i);
        last = x.last || pixels == 1;
        return true;
    }
    idx rows() const { return N * pixels; }
    idx size() const { return N * C * pixels; }
};
}  // namespace DK_NS
