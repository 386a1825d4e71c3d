// Bindings of the convolutions: one to three dimensions, NCHW or channels last.
#include "dk_conv.h"
#include "dk_images.h"

namespace DK_NS {
template <class T>
void dk_conv_forward(const Geometry&, const T* x, bool x_last, const T* w, const T* bias, T* y, bool y_last);
template <class T>
void dk_conv_input_grad(const Geometry&, const T* g, bool g_last, const T* w, T* dx, bool dx_last);
template <class T>
void dk_conv_weight_grad(const Geometry&, const T* g, bool g_last, const T* x, bool x_last, T* dw);
template <class T>
void dk_channel_sum(idx N, idx C, idx P, const T* g, bool last, T* out);

static bool triple(PyObject* o, int nd, idx* v, idx least, const char* name) {  // the last nd of three
    if (!PyTuple_Check(o) || PyTuple_GET_SIZE(o) != nd) {
        PyErr_Format(PyExc_TypeError, "%s: expected a tuple of %d ints, got %R", name, nd, o);
        return false;
    }
    for (int i = 0; i < nd; i++) {
        if (!to_idx(PyTuple_GET_ITEM(o, i), v[3 - nd + i])) return false;
        if (v[3 - nd + i] < least) {
            PyErr_Format(PyExc_ValueError, "%s: expected at least %lld, got %R", name, (long long)least, o);
            return false;
        }
    }
    return true;
}
// Fills the geometry from shapes (N, C, in), (O, C / groups, k) and the options of a call.
static bool geometry(Geometry& G, int ndim, const npy_intp* x, const npy_intp* w, PyObject* const* opt) {
    if (ndim < 3 || ndim > 5) {
        PyErr_Format(PyExc_ValueError, "conv: expected arrays of 3 to 5 dimensions, got %d", ndim);
        return false;
    }
    const int nd = ndim - 2;
    for (int i = 0; i < 3; i++) G.in[i] = G.out[i] = G.k[i] = G.stride[i] = G.dil[i] = 1, G.pad[i] = 0;
    if (!triple(opt[0], nd, G.stride, 1, "stride") || !triple(opt[1], nd, G.pad, 0, "padding") || !triple(opt[2], nd, G.dil, 1, "dilation") || !to_idx(opt[3], G.groups)) return false;
    G.N = x[0], G.C = x[1], G.O = w[0];
    if (G.groups < 1 || G.C % G.groups || G.O % G.groups || w[1] != G.C / G.groups) {
        PyErr_Format(PyExc_ValueError, "conv: %lld channels and weight (%lld, %lld, ...) do not fit %lld groups", (long long)G.C, (long long)w[0], (long long)w[1], (long long)G.groups);
        return false;
    }
    for (int i = 3 - nd; i < 3; i++) {
        G.in[i] = x[i - 1 + nd], G.k[i] = w[i - 1 + nd];
        const idx span = G.in[i] + 2 * G.pad[i] - (G.k[i] - 1) * G.dil[i] - 1;
        if (span < 0 || G.k[i] < 1) {
            PyErr_Format(PyExc_ValueError, "conv: the padded input (%lld) is smaller than the dilated kernel (%lld)", (long long)(G.in[i] + 2 * G.pad[i]), (long long)((G.k[i] - 1) * G.dil[i] + 1));
            return false;
        }
        G.out[i] = span / G.stride[i] + 1;
    }
    return true;
}
static idx work(const Geometry& G) { return G.N * G.O * G.pixels_out() * G.cg() * G.taps() / 16; }
static bool right_shape(const Geometry& G, PyArrayObject* g, int ndim, const char* name) {
    bool ok = PyArray_NDIM(g) == ndim && PyArray_DIM(g, 0) == G.N && PyArray_DIM(g, 1) == G.O;
    for (int i = 5 - ndim; ok && i < 3; i++) ok = PyArray_DIM(g, i + ndim - 3) == G.out[i];
    if (!ok) PyErr_Format(PyExc_ValueError, "%s: its shape is not that of the convolution's output", name);
    return ok;
}

static PyObject* py_conv(DK_ARGS) {
    if (!arity(n, 7, "conv")) return nullptr;
    const int t = float_type(a[0], "input");
    Images x;
    In w, b;
    Geometry G;
    if (t < 0 || !x.get(a[0], t, "input") || !w.get(a[1], t, "weight") || !b.get(a[2], t, "bias", true)) return nullptr;
    const int nd = PyArray_NDIM(x.a);
    if (w.ndim() != nd) return PyErr_Format(PyExc_ValueError, "weight: expected %d dimensions, got %d", nd, w.ndim());
    if (!geometry(G, nd, PyArray_DIMS(x.a), PyArray_DIMS(w.a), a + 3) || !b.has_size(G.O, "bias")) return nullptr;
    npy_intp dims[5] = {G.N, G.O};
    for (int i = 2; i < nd; i++) dims[i] = G.out[i + 3 - nd];
    PyObject* y = empty_images(nd, dims, t, x.last);
    if (!y) return nullptr;
    Unlock u(work(G));
    if (t == NPY_FLOAT) dk_conv_forward(G, x.data<float>(), x.last, w.data<float>(), b.data<float>(), out_data<float>(y), x.last);
    else dk_conv_forward(G, x.data<double>(), x.last, w.data<double>(), b.data<double>(), out_data<double>(y), x.last);
    return y;
}
static PyObject* py_conv_input_grad(DK_ARGS) {
    if (!arity(n, 7, "conv_input_grad")) return nullptr;
    const int t = float_type(a[0], "grad");
    Images g;
    In w;
    Geometry G;
    if (t < 0 || !g.get(a[0], t, "grad") || !w.get(a[1], t, "weight")) return nullptr;
    const int nd = PyArray_NDIM(g.a);
    if (!PyTuple_Check(a[2]) || PyTuple_GET_SIZE(a[2]) != nd || w.ndim() != nd) return PyErr_Format(PyExc_ValueError, "conv_input_grad: expected an input shape and a weight of %d dimensions", nd);
    npy_intp dims[5];
    for (int i = 0; i < nd; i++) {
        idx v;
        if (!to_idx(PyTuple_GET_ITEM(a[2], i), v)) return nullptr;
        dims[i] = v;
    }
    if (!geometry(G, nd, dims, PyArray_DIMS(w.a), a + 3) || !right_shape(G, g.a, nd, "grad")) return nullptr;
    PyObject* dx = empty_images(nd, dims, t, g.last);
    if (!dx) return nullptr;
    Unlock u(work(G));
    if (t == NPY_FLOAT) dk_conv_input_grad(G, g.data<float>(), g.last, w.data<float>(), out_data<float>(dx), g.last);
    else dk_conv_input_grad(G, g.data<double>(), g.last, w.data<double>(), out_data<double>(dx), g.last);
    return dx;
}
static PyObject* py_conv_weight_grad(DK_ARGS) {
    if (!arity(n, 7, "conv_weight_grad")) return nullptr;
    const int t = float_type(a[0], "grad");
    Images g, x;
    Geometry G;
    if (t < 0 || !g.get(a[0], t, "grad") || !x.get(a[1], t, "input")) return nullptr;
    const int nd = PyArray_NDIM(x.a);
    if (!PyTuple_Check(a[2]) || PyTuple_GET_SIZE(a[2]) != nd) return PyErr_Format(PyExc_ValueError, "weight_shape: expected %d ints", nd);
    npy_intp dims[5];
    for (int i = 0; i < nd; i++) {
        idx v;
        if (!to_idx(PyTuple_GET_ITEM(a[2], i), v)) return nullptr;
        dims[i] = v;
    }
    if (!geometry(G, nd, PyArray_DIMS(x.a), dims, a + 3) || !right_shape(G, g.a, nd, "grad")) return nullptr;
    PyObject* dw = new_array(nd, dims, t);
    if (!dw) return nullptr;
    Unlock u(work(G));
    if (t == NPY_FLOAT) dk_conv_weight_grad(G, g.data<float>(), g.last, x.data<float>(), x.last, out_data<float>(dw));
    else dk_conv_weight_grad(G, g.data<double>(), g.last, x.data<double>(), x.last, out_data<double>(dw));
    return dw;
}
static PyObject* py_channel_sum(DK_ARGS) {
    if (!arity(n, 1, "channel_sum")) return nullptr;
    const int t = float_type(a[0], "grad");
    Images g;
    if (t < 0 || !g.get(a[0], t, "grad")) return nullptr;
    const int nd = PyArray_NDIM(g.a);
    if (nd < 2) return PyErr_Format(PyExc_ValueError, "channel_sum: expected at least 2 dimensions, got %d", nd);
    idx N = PyArray_DIM(g.a, 0), C = PyArray_DIM(g.a, 1), P = 1;
    for (int i = 2; i < nd; i++) P *= PyArray_DIM(g.a, i);
    PyObject* out = new_1d(C, t);
    if (!out) return nullptr;
    const bool last = g.last || P == 1;
    Unlock u(N * C * P / 4);
    if (t == NPY_FLOAT) dk_channel_sum(N, C, P, g.data<float>(), last, out_data<float>(out));
    else dk_channel_sum(N, C, P, g.data<double>(), last, out_data<double>(out));
    return out;
}
PyMethodDef methods_conv[] = {
    DK_METHOD(conv, "conv(input, weight, bias | None, stride, padding, dilation, groups) -> output: 1 to 3 dimensions (options are tuples); channels-last input gives channels-last output."),
    DK_METHOD(conv_input_grad, "conv_input_grad(grad, weight, input_shape, stride, padding, dilation, groups) -> gradient of the input, in the layout of grad."),
    DK_METHOD(conv_weight_grad, "conv_weight_grad(grad, input, weight_shape, stride, padding, dilation, groups) -> gradient of the weight."),
    DK_METHOD(channel_sum, "channel_sum(grad) -> sum over everything but dimension 1."),
    {nullptr, nullptr, 0, nullptr}};
}  // namespace DK_NS
