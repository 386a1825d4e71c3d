// Scaled dot-product attention by blocks of query rows: the scores of one block live in the caches, the whole
// matrix never exists. Arrays are (B, H, T, d) with any strides but the last.
#include "dk_math.h"
#include "dk_pack.h"

namespace DK_NS {
constexpr idx BLOCK_ROWS = 48;

template <class T>
struct View {  // one (B, H, T, d) array
    T* p = nullptr;
    idx b = 0, h = 0, t = 0;
    T* at(idx i, idx j) const { return p + i * b + j * h; }
};
template <class T>
struct Attention {
    idx B, H, N, S, d;  // N queries, S keys
    View<const T> q, k, v, g, y;
    View<T> out, dq, dk, dv;
    T* lse;  // (B, H, N)
    double scale, keep_scale;
    bool causal;
    const char* mask = nullptr;  // additive T or bool, with byte strides
    idx mask_b = 0, mask_h = 0, mask_t = 0, mask_s = 0;
    bool mask_bool = false;
    const std::uint8_t* keep = nullptr;  // (B, H, N, S)

    idx keys(idx i) const { return causal ? lo(S, i + 1) : S; }
    void add_mask(idx b, idx h, idx i, idx n, T* s) const {  // on scores already scaled
        if (!mask) return;
        const char* m = mask + b * mask_b + h * mask_h + i * mask_t;
        constexpr T none = -std::numeric_limits<T>::infinity();
        if (mask_bool)
            for (idx j = 0; j < n; j++) s[j] = m[j * mask_s] ? s[j] : none;
        else if (mask_s == (idx)sizeof(T))
            for (idx j = 0; j < n; j++) s[j] += ((const T*)m)[j];
        else
            for (idx j = 0; j < n; j++) s[j] += *(const T*)(m + j * mask_s);
    }
    void scores(idx rows, idx n, const T* Q, idx ld_q, const T* kp, T* qa, T* s, idx ld_s) const {
        pack_a_rows(rows, d, Q, ld_q, qa);
        product<T>(rows, n, d, qa, kp, Tile<T>::NR * d, s, ld_s, false);
    }
    void forward(idx b, idx h) const {
        constexpr idx NR = Tile<T>::NR;
        const idx sp = round_up(S, NR), dp = round_up(d, NR);
        Buf<T> kp(sp * d), vp(dp * S), s(BLOCK_ROWS * sp), pa(packed_size<T>(BLOCK_ROWS, hi(sp, d))), o(BLOCK_ROWS * dp);
        pack_b_turned<T>(S, d, k.at(b, h), k.t, kp);
        pack_b<T>(d, S, v.at(b, h), v.t, vp);
        for (idx i0 = 0; i0 < N; i0 += BLOCK_ROWS) {
            const idx rows = lo(BLOCK_ROWS, N - i0), n = keys(i0 + rows - 1);
            scores(rows, n, q.at(b, h) + i0 * q.t, q.t, kp, pa, s, sp);
            T inv[BLOCK_ROWS];
            for (idx i = 0; i < rows; i++) {
                T* x = s + i * sp;
                const idx len = keys(i0 + i);
                const T f = (T)scale;
                for (idx j = 0; j < len; j++) x[j] *= f;
                add_mask(b, h, i0 + i, len, x);
                const T m = row_max(len, x);
                vec<T> sum = {};
                bool any = m != -std::numeric_limits<T>::infinity();
                for (idx j = 0; j < len && !any; j++) any = x[j] != x[j];  // not a number must reach the output
                if (!any) {  // nothing to attend to: zeros
                    for (idx j = 0; j < len; j++) x[j] = 0;
                } else {
                    each_vec<T>(len, [&](idx j, idx w) {
                        vec<T> e = vexp(ld_upto(x + j, w, -std::numeric_limits<T>::infinity()) - m);
                        sum += e;
                        st_upto<T>(x + j, e, w);
                    });
                }
                const T t = hsum<T>(sum);
                lse[(b * H + h) * N + i0 + i] = t == 0 ? -std::numeric_limits<T>::infinity() : m + std::log(t);
                inv[i] = t == 0 ? 1 : 1 / t;
                if (keep) {
                    const std::uint8_t* u = keep + ((b * H + h) * N + i0 + i) * S;
                    const T table[2] = {0, (T)keep_scale};
                    for (idx j = 0; j < len; j++) x[j] *= u[j] ? table[1] : table[0];
                }
                for (idx j = len; j < n; j++) x[j] = 0;
            }
            pack_a_rows<T>(rows, n, s, sp, pa);
            product<T>(rows, d, n, pa, vp, NR * S, o, dp, false);
            for (idx i = 0; i < rows; i++) {
                T* r = out.at(b, h) + (i0 + i) * out.t;
                for (idx j = 0; j < d; j++) r[j] = o[i * dp + j] * inv[i];
            }
        }
    }
    void backward(idx b, idx h) const {
        constexpr idx NR = Tile<T>::NR, R = BLOCK_ROWS;
        const idx sp = round_up(S, NR), dp = round_up(d, NR);
        Buf<T> kt(sp * d), vt(sp * d), kp(dp * S), gk(S * dp), gv(S * dp), p(R * sp), ds(R * sp), o(R * dp), rp(R * dp), pa(packed_size<T>(hi(R, S), hi(R, hi(sp, d))));
        pack_b_turned<T>(S, d, k.at(b, h), k.t, kt);
        pack_b_turned<T>(S, d, v.at(b, h), v.t, vt);
        pack_b<T>(d, S, k.at(b, h), k.t, kp);
        std::memset((void*)(T*)gk, 0, (size_t)(S * dp) * sizeof(T)), std::memset((void*)(T*)gv, 0, (size_t)(S * dp) * sizeof(T));
        for (idx i0 = 0; i0 < N; i0 += R) {
            const idx rows = lo(R, N - i0), n = keys(i0 + rows - 1);
            const T *Q = q.at(b, h) + i0 * q.t, *G = g.at(b, h) + i0 * g.t, *Y = y.at(b, h) + i0 * y.t;
            scores(rows, n, Q, q.t, kt, pa, p, sp);
            scores(rows, n, G, g.t, vt, pa, ds, sp);
            for (idx i = 0; i < rows; i++) {
                T *x = p + i * sp, *c = ds + i * sp;
                const idx len = keys(i0 + i);
                const T l = lse[(b * H + h) * N + i0 + i], f = (T)scale;
                vec<T> dot = {};
                each_vec<T>(d, [&](idx j, idx w) { dot += ld_upto(G + i * g.t + j, w, (T)0) * ld_upto(Y + i * y.t + j, w, (T)0); });
                const T D = hsum<T>(dot);
                for (idx j = 0; j < len; j++) x[j] *= f;
                add_mask(b, h, i0 + i, len, x);
                if (l == -std::numeric_limits<T>::infinity())
                    for (idx j = 0; j < len; j++) x[j] = c[j] = 0;
                else if (keep) {
                    const std::uint8_t* u = keep + ((b * H + h) * N + i0 + i) * S;
                    const T table[2] = {0, (T)keep_scale};
                    each_vec<T>(len, [&](idx j, idx w) { st_upto<T>(x + j, vexp(ld_upto(x + j, w, (T)0) - l), w); });
                    for (idx j = 0; j < len; j++) {
                        const T e = x[j], r = u[j] ? table[1] : table[0];
                        x[j] = e * r, c[j] = e * (c[j] * r - D) * f;
                    }
                } else
                    each_vec<T>(len, [&](idx j, idx w) {
                        const vec<T> e = vexp(ld_upto(x + j, w, (T)0) - l);
                        st_upto<T>(x + j, e, w), st_upto<T>(c + j, e * (ld_upto(c + j, w, (T)0) - D) * f, w);
                    });
                for (idx j = len; j < n; j++) x[j] = c[j] = 0;
            }
            pack_a_rows<T>(rows, n, ds, sp, pa);
            product<T>(rows, d, n, pa, kp, NR * S, o, dp, false);
            for (idx i = 0; i < rows; i++) std::memcpy((void*)(dq.at(b, h) + (i0 + i) * dq.t), o + i * dp, (size_t)d * sizeof(T));
            pack_b<T>(d, rows, Q, q.t, rp);
            pack_a_turned<T>(n, rows, ds, sp, pa);
            product<T>(n, d, rows, pa, rp, NR * rows, gk, dp, true);
            pack_b<T>(d, rows, G, g.t, rp);
            pack_a_turned<T>(n, rows, p, sp, pa);
            product<T>(n, d, rows, pa, rp, NR * rows, gv, dp, true);
        }
        for (idx j = 0; j < S; j++) {
            std::memcpy((void*)(dk.at(b, h) + j * dk.t), gk + j * dp, (size_t)d * sizeof(T));
            std::memcpy((void*)(dv.at(b, h) + j * dv.t), gv + j * dp, (size_t)d * sizeof(T));
        }
    }
};

struct Heads {  // a (B, H, T, d) input whose last stride is one element; others are copied
    In own;
    PyArrayObject* a = nullptr;
    bool get(PyObject* o, int type, const char* name) {
        PyArrayObject* x = as_array(o, name);
        if (!x) return false;
        if (PyArray_NDIM(x) != 4) return PyErr_Format(PyExc_ValueError, "%s: expected (B, H, T, d), got %d dimensions", name, PyArray_NDIM(x)), false;
        bool whole = PyArray_TYPE(x) == type && PyArray_ISALIGNED(x) && !PyArray_ISBYTESWAPPED(x) && (PyArray_DIM(x, 3) < 2 || PyArray_STRIDE(x, 3) == PyArray_ITEMSIZE(x));
        for (int i = 0; i < 3; i++) whole = whole && PyArray_STRIDE(x, i) % PyArray_ITEMSIZE(x) == 0;
        if (whole) a = x;
        else if (own.get(o, type, name)) a = own.a;
        return a != nullptr;
    }
    idx dim(int i) const { return PyArray_DIM(a, i); }
    template <class T>
    View<T> view() const { return view_of<T>(a); }
    template <class T>
    static View<T> view_of(PyArrayObject* a) {
        const idx e = PyArray_ITEMSIZE(a);
        return {(T*)PyArray_DATA(a), PyArray_STRIDE(a, 0) / e, PyArray_STRIDE(a, 1) / e, PyArray_STRIDE(a, 2) / e};
    }
    bool like(idx B, idx H, idx N, idx d, const char* name) const {
        if (dim(0) == B && dim(1) == H && dim(2) == N && dim(3) == d) return true;
        PyErr_Format(PyExc_ValueError, "%s: expected (%lld, %lld, %lld, %lld), got (%lld, %lld, %lld, %lld)", name, (long long)B, (long long)H, (long long)N, (long long)d, (long long)dim(0), (long long)dim(1), (long long)dim(2), (long long)dim(3));
        return false;
    }
};
static PyArrayObject* new_heads(idx B, idx H, idx N, idx d, int t) {  // (B, H, N, d) that lies (B, N, H, d) in memory
    const npy_intp dims[4] = {B, N, H, d};
    PyObject* base = new_array(4, dims, t);
    if (!base) return nullptr;
    PyObject* view = PyArray_SwapAxes((PyArrayObject*)base, 1, 2);
    Py_DECREF(base);
    return (PyArrayObject*)view;
}
// What forward and backward share: mask, dropout, causal, scale.
template <class T>
static bool options(Attention<T>& A, In& keep, PyObject* const* a, int t) {
    if (a[0] != Py_None) {
        PyArrayObject* m = as_array(a[0], "mask");
        if (!m) return false;
        A.mask_bool = PyArray_TYPE(m) == NPY_BOOL;
        if (!A.mask_bool && PyArray_TYPE(m) != t) return wrong_dtype("mask", "bool or that of the query", m);
        if (PyArray_NDIM(m) != 4 || PyArray_DIM(m, 0) != A.B || PyArray_DIM(m, 1) != A.H || PyArray_DIM(m, 2) != A.N || PyArray_DIM(m, 3) != A.S) return PyErr_Format(PyExc_ValueError, "mask: expected an array broadcast to (B, H, T, S)"), false;
        A.mask = (const char*)PyArray_DATA(m), A.mask_b = PyArray_STRIDE(m, 0), A.mask_h = PyArray_STRIDE(m, 1), A.mask_t = PyArray_STRIDE(m, 2), A.mask_s = PyArray_STRIDE(m, 3);
    }
    if (!keep.get(a[1], NPY_BOOL, "dropout_mask", true) || !keep.has_size(A.B * A.H * A.N * A.S, "dropout_mask") || !to_double(a[2], A.keep_scale) || !to_double(a[4], A.scale)) return false;
    A.keep = keep.data<std::uint8_t>(), A.causal = PyObject_IsTrue(a[3]) == 1;
    return true;
}
template <class T>
static bool inputs(Attention<T>& A, Heads& q, Heads& k, Heads& v, PyObject* const* a, int t) {
    if (!q.get(a[0], t, "query") || !k.get(a[1], t, "key") || !v.get(a[2], t, "value")) return false;
    A.B = q.dim(0), A.H = q.dim(1), A.N = q.dim(2), A.d = q.dim(3), A.S = k.dim(2);
    A.q = q.view<const T>(), A.k = k.view<const T>(), A.v = v.view<const T>();
    return k.like(A.B, A.H, A.S, A.d, "key") && v.like(A.B, A.H, A.S, A.d, "value");
}
template <class T>
static PyObject* attend(PyObject* const* a, int t) {
    Attention<T> A;
    Heads q, k, v;
    In keep;
    if (!inputs(A, q, k, v, a, t) || !options(A, keep, a + 3, t)) return nullptr;
    const npy_intp dims[3] = {A.B, A.H, A.N};
    PyArrayObject* y = new_heads(A.B, A.H, A.N, A.d, t);
    PyObject* lse = new_array(3, dims, t);
    if (!y || !lse) return Py_XDECREF(y), Py_XDECREF(lse), nullptr;
    A.out = Heads::view_of<T>(y), A.lse = out_data<T>(lse);
    {
        Unlock u(A.B * A.H * A.N * A.S * hi(1, A.d));
        parallel_tasks(A.B * A.H, A.N * A.S * A.d > 32768, [&](idx i) { A.forward(i / A.H, i % A.H); });
    }
    return Py_BuildValue("(NN)", y, lse);
}
template <class T>
static PyObject* attend_grad(PyObject* const* a, int t) {
    Attention<T> A;
    Heads g, q, k, v, y;
    In keep, lse;
    if (!inputs(A, q, k, v, a + 1, t) || !options(A, keep, a + 6, t) || !g.get(a[0], t, "grad") || !y.get(a[4], t, "output") || !lse.get(a[5], t, "lse") || !g.like(A.B, A.H, A.N, A.d, "grad") || !y.like(A.B, A.H, A.N, A.d, "output") || !lse.has_size(A.B * A.H * A.N, "lse")) return nullptr;
    PyArrayObject *dq = new_heads(A.B, A.H, A.N, A.d, t), *dk = new_heads(A.B, A.H, A.S, A.d, t), *dv = new_heads(A.B, A.H, A.S, A.d, t);
    if (!dq || !dk || !dv) return Py_XDECREF(dq), Py_XDECREF(dk), Py_XDECREF(dv), nullptr;
    A.g = g.view<const T>(), A.y = y.view<const T>(), A.lse = const_cast<T*>(lse.data<T>());
    A.dq = Heads::view_of<T>(dq), A.dk = Heads::view_of<T>(dk), A.dv = Heads::view_of<T>(dv);
    {
        Unlock u(A.B * A.H * A.N * A.S * hi(1, A.d));
        parallel_tasks(A.B * A.H, A.N * A.S * A.d > 32768, [&](idx i) { A.backward(i / A.H, i % A.H); });
    }
    return Py_BuildValue("(NNN)", dq, dk, dv);
}
static PyObject* py_attention(DK_ARGS) {
    if (!arity(n, 8, "attention")) return nullptr;
    const int t = float_type(a[0], "query");
    return t < 0 ? nullptr : t == NPY_FLOAT ? attend<float>(a, t) : attend<double>(a, t);
}
static PyObject* py_attention_grad(DK_ARGS) {
    if (!arity(n, 11, "attention_grad")) return nullptr;
    const int t = float_type(a[1], "query");
    return t < 0 ? nullptr : t == NPY_FLOAT ? attend_grad<float>(a, t) : attend_grad<double>(a, t);
}
PyMethodDef methods_attention[] = {
    DK_METHOD(attention, "attention(query, key, value, mask | None, dropout_mask | None, dropout_scale, is_causal, scale) -> (output, lse): (B, H, T, d), in memory (B, T, H, d); mask is broadcast to (B, H, T, S), bool or additive."),
    DK_METHOD(attention_grad, "attention_grad(grad, query, key, value, output, lse, mask | None, dropout_mask | None, dropout_scale, is_causal, scale) -> (grad_query, grad_key, grad_value)."),
    {nullptr, nullptr, 0, nullptr}};
}  // namespace DK_NS
