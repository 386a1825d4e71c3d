// LSTM and GRU layers over a time-major sequence: the products with the input are made outside in one piece; here
// the recurrent product with weights packed once and the cell behind it. Threads take rows of the batch.
#include "dk_math.h"
#include "dk_pack.h"

namespace DK_NS {
constexpr idx ROWS_A_THREAD = 8;

template <class T>
struct Recurrent {  // out[rows][n] = a[rows][k] W, W packed
    idx n, k, ld;
    Buf<T> w;
    Recurrent(idx n, idx k) : n(n), k(k), ld(round_up(n, Tile<T>::NR)), w(ld * k) {}
    void run(idx rows, const T* a, idx ld_a, T* pa, T* out) const {
        pack_a_rows<T>(rows, k, a, ld_a, pa);
        product<T>(rows, n, k, pa, w, Tile<T>::NR * k, out, ld, false);
    }
};
template <class T>
struct Sequence {
    idx N, B, H, G;  // steps, batch, hidden size, gates
    bool reverse;
    idx step(idx i) const { return reverse ? N - 1 - i : i; }
};
#define ROW(p, t, b, width) ((p) + ((t) * S.B + (b)) * (width))

template <class T>
static void dk_lstm(const Sequence<T>& S, const T* x, const T* w, const T* h0, const T* c0, T* h, T* c, T* gates) {
    const idx H = S.H;
    Recurrent<T> R(4 * H, H);
    pack_b_turned<T>(4 * H, H, w, H, R.w);
    parallel(S.B, ROWS_A_THREAD, [&](idx b0, idx b1) {
        const idx rows = b1 - b0;
        Buf<T> pa(packed_size<T>(rows, H)), r(rows * R.ld);
        for (idx i = 0; i < S.N; i++) {
            const idx t = S.step(i), last = i ? S.step(i - 1) : 0;
            const T *hp = i ? ROW(h, last, b0, H) : h0 + b0 * H, *cp = i ? ROW(c, last, b0, H) : c0 + b0 * H;
            R.run(rows, hp, H, pa, r);
            for (idx b = 0; b < rows; b++) {
                const T *q = r + b * R.ld, *xr = ROW(x, t, b0 + b, 4 * H);
                T *g = ROW(gates, t, b0 + b, 4 * H), *hn = ROW(h, t, b0 + b, H), *cn = ROW(c, t, b0 + b, H);
                each_vec<T>(H, [&](idx j, idx n) {
                    auto in = [&](idx k) { return ld_upto(xr + k * H + j, n, (T)0) + ld_upto(q + k * H + j, n, (T)0); };
                    const vec<T> a = vsigmoid(in(0)), f = vsigmoid(in(1)), u = vtanh(in(2)), o = vsigmoid(in(3));
                    const vec<T> v = f * ld_upto(cp + b * H + j, n, (T)0) + a * u;
                    st_upto<T>(g + j, a, n), st_upto<T>(g + H + j, f, n), st_upto<T>(g + 2 * H + j, u, n), st_upto<T>(g + 3 * H + j, o, n);
                    st_upto<T>(cn + j, v, n), st_upto<T>(hn + j, o * vtanh(v), n);
                });
            }
        }
    });
}
template <class T>
static void dk_lstm_grad(const Sequence<T>& S, const T* gh, const T* glast, const T* gc, const T* gates, const T* c, const T* c0, const T* w, T* dg, T* dh0, T* dc0) {
    const idx H = S.H;
    Recurrent<T> R(H, 4 * H);
    pack_b<T>(H, 4 * H, w, H, R.w);
    parallel(S.B, ROWS_A_THREAD, [&](idx b0, idx b1) {
        const idx rows = b1 - b0;
        Buf<T> pa(packed_size<T>(rows, 4 * H)), r(rows * R.ld);
        T* dc = dc0 + b0 * H;
        if (gc) std::memcpy((void*)dc, gc + b0 * H, (size_t)(rows * H) * sizeof(T));
        else std::memset((void*)dc, 0, (size_t)(rows * H) * sizeof(T));
        for (idx b = 0; b < rows; b++)
            for (idx j = 0; j < H; j++) r[b * R.ld + j] = glast ? glast[(b0 + b) * H + j] : 0;
        for (idx i = S.N - 1; i >= 0; i--) {
            const idx t = S.step(i);
            const T* cp = i ? ROW(c, S.step(i - 1), b0, H) : c0 + b0 * H;
            for (idx b = 0; b < rows; b++) {
                const T *g = ROW(gates, t, b0 + b, 4 * H), *cn = ROW(c, t, b0 + b, H), *out = gh ? ROW(gh, t, b0 + b, H) : nullptr;
                T* o = ROW(dg, t, b0 + b, 4 * H);
                each_vec<T>(H, [&](idx j, idx n) {
                    auto in = [&](const T* p) { return ld_upto(p + j, n, (T)0); };
                    const vec<T> a = in(g), f = in(g + H), u = in(g + 2 * H), s = in(g + 3 * H), tc = vtanh(in(cn));
                    vec<T> d = in(r + b * R.ld);
                    if (out) d += in(out);
                    const vec<T> e = d * s * (1 - tc * tc) + in(dc + b * H);
                    st_upto<T>(o + j, e * u * a * (1 - a), n), st_upto<T>(o + H + j, e * in(cp + b * H) * f * (1 - f), n);
                    st_upto<T>(o + 2 * H + j, e * a * (1 - u * u), n), st_upto<T>(o + 3 * H + j, d * tc * s * (1 - s), n);
                    st_upto<T>(dc + b * H + j, e * f, n);
                });
            }
            R.run(rows, ROW(dg, t, b0, 4 * H), 4 * H, pa, r);
        }
        for (idx b = 0; b < rows; b++) std::memcpy((void*)(dh0 + (b0 + b) * H), r + b * R.ld, (size_t)H * sizeof(T));
    });
}
// saved [N,B,4H]: r, z, n and the hidden part of n before r
template <class T>
static void dk_gru(const Sequence<T>& S, const T* x, const T* w, const T* bias, const T* h0, T* h, T* saved) {
    const idx H = S.H;
    Recurrent<T> R(3 * H, H);
    pack_b_turned<T>(3 * H, H, w, H, R.w);
    parallel(S.B, ROWS_A_THREAD, [&](idx b0, idx b1) {
        const idx rows = b1 - b0;
        Buf<T> pa(packed_size<T>(rows, H)), r(rows * R.ld);
        for (idx i = 0; i < S.N; i++) {
            const idx t = S.step(i);
            const T* hp = i ? ROW(h, S.step(i - 1), b0, H) : h0 + b0 * H;
            R.run(rows, hp, H, pa, r);
            for (idx b = 0; b < rows; b++) {
                const T *q = r + b * R.ld, *xr = ROW(x, t, b0 + b, 3 * H);
                T *g = ROW(saved, t, b0 + b, 4 * H), *hn = ROW(h, t, b0 + b, H);
                each_vec<T>(H, [&](idx j, idx n) {
                    auto hid = [&](idx k) { return ld_upto(q + k * H + j, n, (T)0) + (bias ? ld_upto(bias + k * H + j, n, (T)0) : vec<T>{}); };
                    auto in = [&](idx k) { return ld_upto(xr + k * H + j, n, (T)0); };
                    const vec<T> a = vsigmoid(in(0) + hid(0)), z = vsigmoid(in(1) + hid(1)), m = hid(2), v = vtanh(in(2) + a * m);
                    st_upto<T>(g + j, a, n), st_upto<T>(g + H + j, z, n), st_upto<T>(g + 2 * H + j, v, n), st_upto<T>(g + 3 * H + j, m, n);
                    st_upto<T>(hn + j, (1 - z) * v + z * ld_upto(hp + b * H + j, n, (T)0), n);
                });
            }
        }
    });
}
template <class T>
static void dk_gru_grad(const Sequence<T>& S, const T* gh, const T* glast, const T* saved, const T* h, const T* h0, const T* w, T* dx, T* dh, T* dh0) {
    const idx H = S.H;
    Recurrent<T> R(H, 3 * H);
    pack_b<T>(H, 3 * H, w, H, R.w);
    parallel(S.B, ROWS_A_THREAD, [&](idx b0, idx b1) {
        const idx rows = b1 - b0;
        Buf<T> pa(packed_size<T>(rows, 3 * H)), r(rows * R.ld);
        T* d0 = dh0 + b0 * H;  // what reaches the step before past its product
        for (idx b = 0; b < rows; b++)
            for (idx j = 0; j < H; j++) r[b * R.ld + j] = glast ? glast[(b0 + b) * H + j] : 0, d0[b * H + j] = 0;
        for (idx i = S.N - 1; i >= 0; i--) {
            const idx t = S.step(i);
            const T* hp = i ? ROW(h, S.step(i - 1), b0, H) : h0 + b0 * H;
            for (idx b = 0; b < rows; b++) {
                const T *g = ROW(saved, t, b0 + b, 4 * H), *out = gh ? ROW(gh, t, b0 + b, H) : nullptr;
                T *ox = ROW(dx, t, b0 + b, 3 * H), *oh = ROW(dh, t, b0 + b, 3 * H);
                each_vec<T>(H, [&](idx j, idx n) {
                    auto in = [&](const T* p) { return ld_upto(p + j, n, (T)0); };
                    const vec<T> a = in(g), z = in(g + H), v = in(g + 2 * H), m = in(g + 3 * H);
                    vec<T> d = in(r + b * R.ld) + in(d0 + b * H);
                    if (out) d += in(out);
                    const vec<T> dv = d * (1 - z) * (1 - v * v), dz = d * (in(hp + b * H) - v) * z * (1 - z), da = dv * m * a * (1 - a);
                    st_upto<T>(ox + j, da, n), st_upto<T>(ox + H + j, dz, n), st_upto<T>(ox + 2 * H + j, dv, n);
                    st_upto<T>(oh + j, da, n), st_upto<T>(oh + H + j, dz, n), st_upto<T>(oh + 2 * H + j, dv * a, n);
                    st_upto<T>(d0 + b * H + j, d * z, n);
                });
            }
            R.run(rows, ROW(dh, t, b0, 3 * H), 3 * H, pa, r);
        }
        for (idx b = 0; b < rows; b++)
            for (idx j = 0; j < H; j++) d0[b * H + j] += r[b * R.ld + j];
    });
}

// x (N, B, gates H), w (gates H, H), states (B, H)
template <class T>
static bool sequence(Sequence<T>& S, const In& x, const In& w, idx gates, idx in_x, PyObject* reverse) {
    if (x.ndim() != 3 || w.ndim() != 2) return PyErr_Format(PyExc_ValueError, "expected gates (T, B, %lld H) and weights (%lld H, H)", (long long)in_x, (long long)gates), false;
    S.N = x.dim(0), S.B = x.dim(1), S.H = w.dim(1), S.G = gates, S.reverse = PyObject_IsTrue(reverse) == 1;
    if (w.dim(0) == gates * S.H && x.dim(2) == in_x * S.H) return true;
    return PyErr_Format(PyExc_ValueError, "gates (T, B, %lld) and weights (%lld, %lld) do not fit", (long long)x.dim(2), (long long)w.dim(0), (long long)w.dim(1)), false;
}
static bool outputs(PyObject** out, int count) {
    bool ok = true;
    for (int i = 0; i < count; i++) ok = ok && out[i];
    for (int i = 0; i < count && !ok; i++) Py_XDECREF(out[i]);
    return ok;
}
static PyObject* steps(idx N, idx B, idx C, int t) {
    const npy_intp d[3] = {N, B, C};
    return new_array(3, d, t);
}
static PyObject* states(idx B, idx H, int t) {
    const npy_intp d[2] = {B, H};
    return new_array(2, d, t);
}
template <class T>
static PyObject* lstm(PyObject* const* a, int t) {
    In x, w, h0, c0;
    Sequence<T> S;
    if (!x.get(a[0], t, "gates") || !w.get(a[1], t, "weight_hh") || !h0.get(a[2], t, "h0") || !c0.get(a[3], t, "c0") || !sequence(S, x, w, 4, 4, a[4]) || !h0.has_size(S.B * S.H, "h0") || !c0.has_size(S.B * S.H, "c0")) return nullptr;
    PyObject* o[3] = {steps(S.N, S.B, S.H, t), steps(S.N, S.B, S.H, t), steps(S.N, S.B, 4 * S.H, t)};
    if (!outputs(o, 3)) return nullptr;
    {
        Unlock u(S.N * S.B * S.H * S.H);
        dk_lstm<T>(S, x.data<T>(), w.data<T>(), h0.data<T>(), c0.data<T>(), out_data<T>(o[0]), out_data<T>(o[1]), out_data<T>(o[2]));
    }
    return Py_BuildValue("(NNN)", o[0], o[1], o[2]);
}
template <class T>
static PyObject* lstm_grad(PyObject* const* a, int t) {  // grad_h, grad_last, grad_c, gates, c, c0, w, reverse
    In gh, gl, gc, x, c, c0, w;
    Sequence<T> S;
    if (!gh.get(a[0], t, "grad_output", true) || !gl.get(a[1], t, "grad_h", true) || !gc.get(a[2], t, "grad_c", true) || !x.get(a[3], t, "gates") || !c.get(a[4], t, "c") || !c0.get(a[5], t, "c0") || !w.get(a[6], t, "weight_hh") || !sequence(S, x, w, 4, 4, a[7])) return nullptr;
    const idx one = S.B * S.H, many = S.N * one;
    if (!gh.has_size(many, "grad_output") || !gl.has_size(one, "grad_h") || !gc.has_size(one, "grad_c") || !c.has_size(many, "c") || !c0.has_size(one, "c0")) return nullptr;
    PyObject* o[3] = {steps(S.N, S.B, 4 * S.H, t), states(S.B, S.H, t), states(S.B, S.H, t)};
    if (!outputs(o, 3)) return nullptr;
    {
        Unlock u(many * S.H);
        dk_lstm_grad<T>(S, gh.data<T>(), gl.data<T>(), gc.data<T>(), x.data<T>(), c.data<T>(), c0.data<T>(), w.data<T>(), out_data<T>(o[0]), out_data<T>(o[1]), out_data<T>(o[2]));
    }
    return Py_BuildValue("(NNN)", o[0], o[1], o[2]);
}
template <class T>
static PyObject* gru(PyObject* const* a, int t) {  // gates, w, b, h0, reverse
    In x, w, b, h0;
    Sequence<T> S;
    if (!x.get(a[0], t, "gates") || !w.get(a[1], t, "weight_hh") || !b.get(a[2], t, "bias_hh", true) || !h0.get(a[3], t, "h0") || !sequence(S, x, w, 3, 3, a[4]) || !h0.has_size(S.B * S.H, "h0") || !b.has_size(3 * S.H, "bias_hh")) return nullptr;
    PyObject* o[2] = {steps(S.N, S.B, S.H, t), steps(S.N, S.B, 4 * S.H, t)};
    if (!outputs(o, 2)) return nullptr;
    {
        Unlock u(S.N * S.B * S.H * S.H);
        dk_gru<T>(S, x.data<T>(), w.data<T>(), b.data<T>(), h0.data<T>(), out_data<T>(o[0]), out_data<T>(o[1]));
    }
    return Py_BuildValue("(NN)", o[0], o[1]);
}
template <class T>
static PyObject* gru_grad(PyObject* const* a, int t) {  // grad_h, grad_last, saved, h, h0, w, reverse
    In gh, gl, x, h, h0, w;
    Sequence<T> S;
    if (!gh.get(a[0], t, "grad_output", true) || !gl.get(a[1], t, "grad_h", true) || !x.get(a[2], t, "saved") || !h.get(a[3], t, "output") || !h0.get(a[4], t, "h0") || !w.get(a[5], t, "weight_hh") || !sequence(S, x, w, 3, 4, a[6])) return nullptr;
    const idx one = S.B * S.H, many = S.N * one;
    if (!gh.has_size(many, "grad_output") || !gl.has_size(one, "grad_h") || !h.has_size(many, "output") || !h0.has_size(one, "h0")) return nullptr;
    PyObject* o[3] = {steps(S.N, S.B, 3 * S.H, t), steps(S.N, S.B, 3 * S.H, t), states(S.B, S.H, t)};
    if (!outputs(o, 3)) return nullptr;
    {
        Unlock u(many * S.H);
        dk_gru_grad<T>(S, gh.data<T>(), gl.data<T>(), x.data<T>(), h.data<T>(), h0.data<T>(), w.data<T>(), out_data<T>(o[0]), out_data<T>(o[1]), out_data<T>(o[2]));
    }
    return Py_BuildValue("(NNN)", o[0], o[1], o[2]);
}
#define DK_LAYER(name, args, lead, call)                                              \
    static PyObject* py_##name(DK_ARGS) {                                             \
        if (!arity(n, args, #name)) return nullptr;                                   \
        const int t = float_type(a[lead], "gates");                                   \
        return t < 0 ? nullptr : t == NPY_FLOAT ? call<float>(a, t) : call<double>(a, t); \
    }
DK_LAYER(lstm_layer, 5, 0, lstm)
DK_LAYER(lstm_layer_grad, 8, 3, lstm_grad)
DK_LAYER(gru_layer, 5, 0, gru)
DK_LAYER(gru_layer_grad, 7, 2, gru_grad)
PyMethodDef methods_rnn[] = {
    DK_METHOD(lstm_layer, "lstm_layer(gates (T, B, 4H), weight_hh, h0, c0, reverse) -> (h, c, gates): gates come as input product plus both biases, and return after their activations."),
    DK_METHOD(lstm_layer_grad, "lstm_layer_grad(grad_output | None, grad_h | None, grad_c | None, gates, c, c0, weight_hh, reverse) -> (grad_gates, grad_h0, grad_c0)."),
    DK_METHOD(gru_layer, "gru_layer(gates (T, B, 3H), weight_hh, bias_hh | None, h0, reverse) -> (h, saved): gates come as input product plus the input bias; saved (T, B, 4H) is r, z, n and the hidden part of n."),
    DK_METHOD(gru_layer_grad, "gru_layer_grad(grad_output | None, grad_h | None, saved, h, h0, weight_hh, reverse) -> (grad_gates_input, grad_gates_hidden, grad_h0)."),
    {nullptr, nullptr, 0, nullptr}};
}  // namespace DK_NS
