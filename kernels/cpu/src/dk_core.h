// What every family file starts from: vectors of one instruction set, threads, scratch memory, and
// the access to NumPy arrays. Each family is compiled once per instruction set, in its own namespace.
#pragma once
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#define NPY_NO_DEPRECATED_API NPY_2_0_API_VERSION
#define PY_ARRAY_UNIQUE_SYMBOL dk_array_api
#ifndef DK_IMPORT_ARRAY
#define NO_IMPORT_ARRAY
#endif
#include <numpy/arrayobject.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#ifdef _OPENMP
#include <omp.h>
#endif

#define DK_CAT2(a, b) a##b
#define DK_CAT(a, b) DK_CAT2(a, b)
#ifdef DK_ISA
#define DK_NS DK_CAT(dk_, DK_ISA)
#else
#define DK_NS dk_common
#endif
#define DK_INLINE inline __attribute__((always_inline))

extern "C" {
extern int dk_threads;  // how many threads a kernel may use
extern int dk_forked;   // set in a forked child, where the thread pool of the parent does not exist
void* dk_mem_alloc(size_t bytes);
void dk_mem_free(void* p);
}

namespace DK_NS {
typedef std::int64_t idx;

DK_INLINE idx lo(idx a, idx b) { return a < b ? a : b; }
DK_INLINE idx hi(idx a, idx b) { return a > b ? a : b; }
DK_INLINE idx ceil_div(idx a, idx b) { return (a + b - 1) / b; }
DK_INLINE idx round_up(idx a, idx b) { return (a + b - 1) / b * b; }

#if defined(__AVX512F__)
constexpr int VB = 64;
#elif defined(__AVX2__)
constexpr int VB = 32;
#else
constexpr int VB = 16;
#endif
template <class T>
struct Vec {
    static constexpr int n = VB / (int)sizeof(T);
    typedef T type __attribute__((vector_size(VB)));
    typedef T loose __attribute__((vector_size(VB), aligned(alignof(T)), may_alias));
};
template <class T>
using vec = typename Vec<T>::type;
template <class T>
DK_INLINE vec<T> ld(const T* p) { return *(const typename Vec<T>::loose*)p; }
template <class T>
DK_INLINE void st(T* p, vec<T> v) { *(typename Vec<T>::loose*)p = v; }
template <class T>
DK_INLINE vec<T> all(T x) { return x - vec<T>{}; }  // x - 0 is x for every x, which 0 + x is not
template <class T>
DK_INLINE vec<T> ld_part(const T* p, idx n, T fill = 0) {  // the first n lanes, n < lanes
    vec<T> v = all<T>(fill);
    for (int i = 0; i < Vec<T>::n; i++)
        if (i < n) v[i] = p[i];
    return v;
}
template <class T>
DK_INLINE void st_part(T* p, vec<T> v, idx n) { std::memcpy((void*)p, &v, (size_t)n * sizeof(T)); }
template <class T>
DK_INLINE vec<T> vmax(vec<T> a, vec<T> b) { return a > b ? a : b; }  // b where a is not a number
template <class T>
DK_INLINE T hsum(vec<T> v) {
    T s = 0;
    for (int w = Vec<T>::n / 2; w >= 1; w /= 2)
        for (int i = 0; i < w; i++) v[i] += v[i + w];
    s = v[0];
    return s;
}

// f(begin, end) over [0, n) in contiguous parts, none smaller than `grain` unless it is the only one.
// What a part computes must not depend on where the parts are cut.
template <class F>
inline void parallel(idx n, idx grain, const F& f) {
    if (n <= 0) return;
#ifdef _OPENMP
    idx parts = dk_forked ? 1 : lo((idx)dk_threads, hi(1, n / hi(1, grain)));
    if (parts > 1 && !omp_in_parallel()) {
#pragma omp parallel num_threads((int)parts)
        {
            idx k = omp_get_num_threads(), t = omp_get_thread_num();
            idx a = n * t / k, b = n * (t + 1) / k;
            if (a < b) f(a, b);
        }
        return;
    }
#endif
    f((idx)0, n);
}
// f(i) for i in [0, n), handed out one by one; for tasks of uneven size.
template <class F>
inline void parallel_tasks(idx n, bool worth, const F& f) {
#ifdef _OPENMP
    if (worth && n > 1 && dk_threads > 1 && !dk_forked && !omp_in_parallel()) {
#pragma omp parallel for schedule(dynamic, 1) num_threads((int)lo(n, dk_threads))
        for (idx i = 0; i < n; i++) f(i);
        return;
    }
#endif
    for (idx i = 0; i < n; i++) f(i);
}

template <class T>
struct Buf {  // scratch from the caching allocator; uninitialised
    T* p;
    explicit Buf(idx n) : p((T*)dk_mem_alloc((size_t)n * sizeof(T) + 256)) {
        if (!p) {
            std::fprintf(stderr, "distrib kernels: no memory for %lld bytes\n", (long long)(n * sizeof(T)));
            std::abort();
        }
    }
    ~Buf() { dk_mem_free(p); }
    Buf(const Buf&) = delete;
    Buf& operator=(const Buf&) = delete;
    operator T*() const { return p; }
};

// ---- Python side ----
struct Unlock {  // gives the interpreter lock back while a kernel works, where the work is worth it
    PyThreadState* s;
    explicit Unlock(idx work) : s(work >= 32768 ? PyEval_SaveThread() : nullptr) {}
    ~Unlock() {
        if (s) PyEval_RestoreThread(s);
    }
};

template <class T>
struct TypeNum;
template <> struct TypeNum<float> { static constexpr int value = NPY_FLOAT; };
template <> struct TypeNum<double> { static constexpr int value = NPY_DOUBLE; };
template <> struct TypeNum<std::uint8_t> { static constexpr int value = NPY_UINT8; };
template <> struct TypeNum<std::uint32_t> { static constexpr int value = NPY_UINT32; };
template <> struct TypeNum<std::int64_t> { static constexpr int value = NPY_INT64; };

inline PyArrayObject* as_array(PyObject* o, const char* name) {
    if (PyArray_Check(o)) return (PyArrayObject*)o;
    PyErr_Format(PyExc_TypeError, "%s: expected a numpy.ndarray, got %s", name, Py_TYPE(o)->tp_name);
    return nullptr;
}
inline bool wrong_dtype(const char* name, const char* expected, PyArrayObject* got) {
    PyErr_Format(PyExc_TypeError, "%s: expected dtype %s, got %R", name, expected, (PyObject*)PyArray_DESCR(got));
    return false;
}

struct In {  // an input in C order (copied if it is not); None is allowed where `optional`
    PyArrayObject* a = nullptr;
    In() = default;
    In(const In&) = delete;
    In& operator=(const In&) = delete;
    ~In() { Py_XDECREF(a); }
    bool get(PyObject* o, int type, const char* name, bool optional = false) {
        if (optional && o == Py_None) return true;
        PyArrayObject* x = as_array(o, name);
        if (!x) return false;
        if (PyArray_TYPE(x) != type || PyArray_ISBYTESWAPPED(x)) {
            PyArray_Descr* d = PyArray_DescrFromType(type);
            PyErr_Format(PyExc_TypeError, "%s: expected %R, got %R", name, d, PyArray_DESCR(x));
            Py_XDECREF(d);
            return false;
        }
        if (PyArray_IS_C_CONTIGUOUS(x) && PyArray_ISALIGNED(x)) {
            Py_INCREF(x);
            a = x;
        } else {
            a = (PyArrayObject*)PyArray_NewCopy(x, NPY_CORDER);
        }
        return a != nullptr;
    }
    template <class T>
    const T* data() const { return a ? (const T*)PyArray_DATA(a) : nullptr; }
    explicit operator bool() const { return a != nullptr; }
    idx dim(int i) const { return PyArray_DIM(a, i); }
    int ndim() const { return PyArray_NDIM(a); }
    idx size() const { return PyArray_SIZE(a); }
    int type() const { return PyArray_TYPE(a); }
    bool has_size(idx n, const char* name) const {
        if (!a || size() == n) return true;
        PyErr_Format(PyExc_ValueError, "%s: expected %lld elements, got %lld", name, (long long)n, (long long)size());
        return false;
    }
};
inline bool in_place(PyObject* o, int type, const char* name) {  // an argument that is written to
    PyArrayObject* x = as_array(o, name);
    if (!x) return false;
    if (type >= 0 && PyArray_TYPE(x) != type) return wrong_dtype(name, "that of the kernel", x);
    if (!PyArray_ISCARRAY(x)) {
        PyErr_Format(PyExc_ValueError, "%s: expected a writable array in C order", name);
        return false;
    }
    return true;
}
template <class T>
DK_INLINE T* out_data(PyObject* o) { return (T*)PyArray_DATA((PyArrayObject*)o); }
inline PyObject* new_array(int ndim, const npy_intp* dims, int type) {
    return PyArray_EMPTY(ndim, const_cast<npy_intp*>(dims), type, 0);
}
inline PyObject* new_like(PyArrayObject* x, int type) { return new_array(PyArray_NDIM(x), PyArray_DIMS(x), type); }
inline PyObject* new_1d(idx n, int type) {
    npy_intp d = n;
    return new_array(1, &d, type);
}
inline bool arity(Py_ssize_t n, Py_ssize_t want, const char* name) {
    if (n == want) return true;
    PyErr_Format(PyExc_TypeError, "%s: expected %zd arguments, got %zd", name, want, n);
    return false;
}
inline bool to_idx(PyObject* o, idx& v) {
    v = PyLong_AsLongLong(o);
    return v != -1 || !PyErr_Occurred();
}
inline bool to_double(PyObject* o, double& v) {
    v = PyFloat_AsDouble(o);
    return v != -1 || !PyErr_Occurred();
}
inline int float_type(PyObject* o, const char* name) {  // NPY_FLOAT or NPY_DOUBLE, or -1 with an error
    PyArrayObject* x = as_array(o, name);
    if (!x) return -1;
    int t = PyArray_TYPE(x);
    if (t == NPY_FLOAT || t == NPY_DOUBLE) return t;
    wrong_dtype(name, "float32 or float64", x);
    return -1;
}
#define DK_METHOD(name, doc) {#name, (PyCFunction)(void (*)(void))py_##name, METH_FASTCALL, doc}
#define DK_ARGS PyObject*, PyObject *const *a, Py_ssize_t n
}  // namespace DK_NS
