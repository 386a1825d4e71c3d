// The module distrib.kernels._cpu: chooses the instruction set, adds its functions, owns the thread count.
#define DK_IMPORT_ARRAY
#include "dk_core.h"

#include <pthread.h>

extern "C" {
int dk_threads = 1;
int dk_forked = 0;
}
PyMethodDef* dk_alloc_methods();

#define DECLARE(isa) \
    namespace dk_##isa { extern PyMethodDef* const families[]; }
#ifdef DK_HAS_base
DECLARE(base)
#endif
#ifdef DK_HAS_v3
DECLARE(v3)
#endif
#ifdef DK_HAS_v4
DECLARE(v4)
#endif

static const char* chosen = "none";

static PyObject* isa(PyObject*, PyObject*) { return PyUnicode_FromString(chosen); }
static PyObject* get_num_threads(PyObject*, PyObject*) { return PyLong_FromLong(dk_threads); }
static PyObject* set_num_threads(PyObject*, PyObject* o) {
    long k = PyLong_AsLong(o);
    if (k == -1 && PyErr_Occurred()) return nullptr;
    if (k < 1) return PyErr_Format(PyExc_ValueError, "num_threads: expected at least 1, got %ld", k);
    dk_threads = (int)k;
    Py_RETURN_NONE;
}
static PyObject* build_info(PyObject*, PyObject*) {
    PyObject* isas = PyList_New(0);
    if (!isas) return nullptr;
    auto add = [&](const char* s) {
        PyObject* u = PyUnicode_FromString(s);
        if (u) PyList_Append(isas, u), Py_DECREF(u);
    };
#ifdef DK_HAS_base
    add("base");
#endif
#ifdef DK_HAS_v3
    add("v3");
#endif
#ifdef DK_HAS_v4
    add("v4");
#endif
#ifdef _OPENMP
    const char* openmp = "yes";
#else
    const char* openmp = "no";
#endif
    return Py_BuildValue("{s:s,s:s,s:s,s:N}", "compiler", __VERSION__, "openmp", openmp, "isa", chosen, "isas", isas);
}
static PyMethodDef own[] = {
    {"isa", isa, METH_NOARGS, "isa() -> str: the instruction set in use: v4 (AVX-512), v3 (AVX2), base."},
    {"get_num_threads", get_num_threads, METH_NOARGS, "get_num_threads() -> int: threads that one kernel may use."},
    {"set_num_threads", set_num_threads, METH_O, "set_num_threads(n): threads that one kernel may use; results do not depend on it."},
    {"build_info", build_info, METH_NOARGS, "build_info() -> dict: compiler, OpenMP, instruction sets built and chosen."},
    {nullptr, nullptr, 0, nullptr}};

static bool level(const char* name) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
    if (!std::strcmp(name, "v3")) return v3;
    if (!std::strcmp(name, "v4"))
        return v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
#endif
    return !std::strcmp(name, "base");
}
static PyMethodDef* const* choose() {
    const char* wish = std::getenv("DISTRIB_KERNELS_ISA");  // at most this one
    struct Set {
        const char* name;
        PyMethodDef* const* families;
    };
    const Set sets[] = {
#ifdef DK_HAS_v4
        {"v4", dk_v4::families},
#endif
#ifdef DK_HAS_v3
        {"v3", dk_v3::families},
#endif
#ifdef DK_HAS_base
        {"base", dk_base::families},
#endif
        {nullptr, nullptr}};
    bool allowed = !wish || !*wish;
    for (const Set* s = sets; s->name; s++) {
        allowed = allowed || !std::strcmp(wish, s->name);
        if (allowed && level(s->name)) {
            chosen = s->name;
            return s->families;
        }
    }
    return nullptr;
}

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_cpu", "CPU kernels: arrays in, arrays out.", -1, own, nullptr, nullptr, nullptr, nullptr};

PyMODINIT_FUNC PyInit__cpu() {
    import_array();
    PyObject* m = PyModule_Create(&module);
    if (!m) return nullptr;
    PyMethodDef* const* families = choose();
    if (!families) {
        Py_DECREF(m);
        return PyErr_Format(PyExc_ImportError, "distrib.kernels._cpu: no instruction set of this build runs here (DISTRIB_KERNELS_ISA=%s)", std::getenv("DISTRIB_KERNELS_ISA") ? std::getenv("DISTRIB_KERNELS_ISA") : "");
    }
    for (; *families; families++)
        if (PyModule_AddFunctions(m, *families) < 0) return nullptr;
    if (PyModule_AddFunctions(m, dk_alloc_methods()) < 0) return nullptr;
#ifdef _OPENMP
    dk_threads = omp_get_max_threads();
#endif
    pthread_atfork(nullptr, nullptr, [] { dk_forked = 1; });
    return m;
}
