// A caching allocator for the memory of all NumPy arrays (NEP 49) and for the kernels' scratch.
#include "dk_core.h"

#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>

namespace {
constexpr size_t HEAD = 64;             // room for the header in front of the data; data is 64-byte aligned
constexpr size_t MAP_FROM = 1u << 20;   // blocks of this size on are mapped on their own
constexpr size_t HUGE = 2u << 20;       // and ask for huge pages from twice this size on
constexpr int CLASSES = 256;

struct Header {  // lies in the 64 bytes before the data
    Header* next;
    char* base;      // what the system gave
    size_t mapped;   // bytes mapped, or 0 where aligned_alloc gave them
    size_t room;     // usable bytes
    std::uint32_t cls, magic;
    size_t used;     // bytes asked for
};
static_assert(sizeof(Header) <= HEAD, "header");
constexpr std::uint32_t MAGIC = 0xd157ab1e;

struct Stats {
    size_t allocated, peak, cached, reserved, hits, misses, limit, cache_limit;
};
Header* lists[CLASSES];
Stats stats;
std::atomic_flag busy = ATOMIC_FLAG_INIT;
unsigned colour;
bool installed;

void lock() {
    for (int i = 0; busy.test_and_set(std::memory_order_acquire); i++)
        if (i > 64) sched_yield();
}
void unlock() { busy.clear(std::memory_order_release); }

// Four classes to each power of two: at most a quarter of a block is unused.
int class_of(size_t n, size_t& room) {
    if (n <= 256) {
        int c = n ? (int)((n - 1) / 64) : 0;
        room = (size_t)(c + 1) * 64;
        return c;
    }
    int top = 63 - __builtin_clzll((unsigned long long)(n - 1));  // n in (2^top, 2^(top+1)], top >= 8
    size_t step = (size_t)1 << (top - 2), q = (n - 1 - ((size_t)1 << top)) / step;
    room = ((size_t)1 << top) + (q + 1) * step;
    return 4 + (top - 8) * 4 + (int)q;
}
Header* head(void* p) { return (Header*)((char*)p - HEAD); }

void give_back(Header* h) {
    stats.reserved -= h->room;
    h->magic = 0;
    if (h->mapped) munmap(h->base, h->mapped);
    else std::free(h->base);
}
void drop_cache(size_t down_to) {  // with the lock held; large classes first
    for (int c = CLASSES - 1; c >= 0 && stats.cached > down_to; c--)
        while (lists[c] && stats.cached > down_to) {
            Header* h = lists[c];
            lists[c] = h->next;
            stats.cached -= h->room;
            give_back(h);
        }
}
void* take(size_t n, bool zero) {
    size_t room;
    int c = class_of(n, room);
    if (n > ((size_t)1 << 46) || c >= CLASSES) return nullptr;
    lock();
    Header* h = lists[c];
    if (h) {
        lists[c] = h->next;
        stats.cached -= room;
        stats.hits++;
    } else {
        stats.misses++;
        if (stats.limit && stats.reserved + room > stats.limit) drop_cache(0);
        if (stats.limit && stats.reserved + room > stats.limit) {
            unlock();
            return nullptr;
        }
        stats.reserved += room;
    }
    stats.allocated += room;
    if (stats.allocated > stats.peak) stats.peak = stats.allocated;
    unsigned k = colour++;
    unlock();
    bool fresh_zero = false;
    if (!h) {
        char *base, *data;
        size_t mapped = 0;
        if (room < MAP_FROM) {
            base = (char*)std::aligned_alloc(64, room + HEAD);
            data = base + HEAD;
        } else {
            // Data starts at varying offsets within a page, so that arrays walked together do not alias.
            size_t shift = HEAD + (size_t)(k % 8) * 192, want = room + shift;
            size_t align = room >= 2 * HUGE ? HUGE : 0;
            mapped = (want + align + 4095) / 4096 * 4096;
            base = (char*)mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            if (base == (char*)MAP_FAILED) base = nullptr;
            else if (align) {
                size_t lead = (align - (size_t)base % align) % align;
                if (lead) munmap(base, lead);
                base += lead, mapped -= lead;
                madvise(base, mapped, MADV_HUGEPAGE);
            }
            data = base + shift;
            fresh_zero = true;
        }
        if (!base) {
            lock();
            stats.reserved -= room, stats.allocated -= room;
            bool retry = stats.cached > 0;
            drop_cache(0);
            unlock();
            return retry ? take(n, zero) : nullptr;
        }
        h = head(data);
        h->base = base, h->mapped = mapped, h->room = room, h->cls = (std::uint32_t)c, h->magic = MAGIC;
    }
    h->used = n;
    void* p = (char*)h + HEAD;
    if (zero && !fresh_zero) std::memset(p, 0, n);
    return p;
}
void put(void* p) {
    Header* h = head(p);
    if (h->magic != MAGIC) {
        std::fprintf(stderr, "distrib kernels: freeing memory that the allocator does not own\n");
        std::abort();
    }
    lock();
    stats.allocated -= h->room;
    if (stats.cached + h->room > stats.cache_limit) {
        unlock();
        size_t room = h->room;
        h->magic = 0;
        if (h->mapped) munmap(h->base, h->mapped);
        else std::free(h->base);
        lock();
        stats.reserved -= room;
    } else {
        h->next = lists[h->cls];
        lists[h->cls] = h;
        stats.cached += h->room;
    }
    unlock();
}

void* np_malloc(void*, size_t n) { return take(n, false); }
void* np_calloc(void*, size_t k, size_t each) {
    size_t n;
    return __builtin_mul_overflow(k, each, &n) ? nullptr : take(n, true);
}
void np_free(void*, void* p, size_t) {
    if (p) put(p);
}
void* np_realloc(void*, void* p, size_t n) {
    if (!p) return take(n, false);
    Header* h = head(p);
    if (n <= h->room && n * 2 > h->room) {
        h->used = n;
        return p;
    }
    void* q = take(n, false);
    if (!q) return nullptr;
    std::memcpy(q, p, n < h->used ? n : h->used);
    put(p);
    return q;
}
PyDataMem_Handler handler = {"distrib_cache", 1, {nullptr, np_malloc, np_calloc, np_realloc, np_free}};

void start() {
    if (stats.cache_limit) return;
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGE_SIZE);
    size_t memory = pages > 0 && page > 0 ? (size_t)pages * (size_t)page : (size_t)8 << 30;
    stats.cache_limit = memory / 8;
    pthread_atfork(lock, unlock, unlock);
}
PyObject* install_allocator(PyObject*, PyObject*) {
    PyObject* capsule = PyCapsule_New(&handler, "mem_handler", nullptr);
    if (!capsule) return nullptr;
    PyObject* old = PyDataMem_SetHandler(capsule);
    Py_DECREF(capsule);
    if (!old) return nullptr;
    Py_DECREF(old);
    installed = true;
    Py_RETURN_NONE;
}
PyObject* uninstall_allocator(PyObject*, PyObject*) {  // arrays keep the handler that made them
    PyObject* old = PyDataMem_SetHandler(nullptr);
    if (!old) return nullptr;
    Py_DECREF(old);
    installed = false;
    Py_RETURN_NONE;
}
PyObject* memory_stats(PyObject*, PyObject*) {
    lock();
    Stats s = stats;
    unlock();
    return Py_BuildValue("{s:n,s:n,s:n,s:n,s:n,s:n,s:n,s:n,s:O}", "allocated", s.allocated, "peak", s.peak, "cached", s.cached, "reserved", s.reserved, "hits", s.hits, "misses", s.misses, "limit", s.limit, "cache_limit", s.cache_limit, "installed", installed ? Py_True : Py_False);
}
PyObject* reset_peak(PyObject*, PyObject*) {
    lock();
    stats.peak = stats.allocated;
    unlock();
    Py_RETURN_NONE;
}
PyObject* empty_cache(PyObject*, PyObject*) {
    lock();
    drop_cache(0);
    unlock();
    Py_RETURN_NONE;
}
bool bytes_of(PyObject* o, size_t& n) {
    n = PyLong_AsSize_t(o);
    return n != (size_t)-1 || !PyErr_Occurred();
}
PyObject* set_memory_limit(PyObject*, PyObject* o) {
    size_t n = 0;
    if (o != Py_None && !bytes_of(o, n)) return nullptr;
    lock();
    stats.limit = n;
    unlock();
    Py_RETURN_NONE;
}
PyObject* set_cache_limit(PyObject*, PyObject* o) {
    size_t n;
    if (!bytes_of(o, n)) return nullptr;
    lock();
    stats.cache_limit = n ? n : 1;
    drop_cache(n);
    unlock();
    Py_RETURN_NONE;
}
PyMethodDef methods[] = {
    {"install_allocator", install_allocator, METH_NOARGS, "install_allocator(): new NumPy arrays of this context take their memory from the cache."},
    {"uninstall_allocator", uninstall_allocator, METH_NOARGS, "uninstall_allocator(): new arrays take NumPy's own memory again."},
    {"memory_stats", memory_stats, METH_NOARGS, "memory_stats() -> dict: bytes allocated, peak, cached, reserved; hits, misses; limits."},
    {"reset_peak_memory_stats", reset_peak, METH_NOARGS, "reset_peak_memory_stats(): peak becomes what is allocated now."},
    {"empty_cache", empty_cache, METH_NOARGS, "empty_cache(): give all cached blocks back to the system."},
    {"set_memory_limit", set_memory_limit, METH_O, "set_memory_limit(bytes | None): allocations beyond it raise MemoryError."},
    {"set_cache_limit", set_cache_limit, METH_O, "set_cache_limit(bytes): how much freed memory is kept at most."},
    {nullptr, nullptr, 0, nullptr}};
}  // namespace

extern "C" void* dk_mem_alloc(size_t n) { return take(n, false); }
extern "C" void dk_mem_free(void* p) {
    if (p) put(p);
}
PyMethodDef* dk_alloc_methods() {
    start();
    return methods;
}
