"""One thread per worker process: of the kernels and of NumPy's BLAS."""

from __future__ import annotations

from functools import cache
from typing import Any

BLAS_SETTERS = (
    "scipy_openblas_set_num_threads64_",
    "scipy_openblas_set_num_threads",
    "openblas_set_num_threads64_",
    "openblas_set_num_threads",
    "MKL_Set_Num_Threads",
    "bli_thread_set_num_threads",
)


def use_one() -> None:
    """Let this process compute in one thread: its siblings use the other processors."""
    from ....kernels import cpu

    if cpu.available():
        cpu.set_num_threads(1)
    for setter in blas_setters():
        setter(1)


@cache
def blas_setters() -> list[Any]:
    """How to set the number of threads of each BLAS that is loaded; call it before forking."""
    import ctypes

    found = []
    for path in _blas_libraries():
        try:
            library = ctypes.CDLL(path)
        except OSError:
            continue
        found += [getattr(library, name) for name in BLAS_SETTERS if hasattr(library, name)][:1]
    return found


def _blas_libraries() -> set[str]:
    """The files of the BLAS libraries that are loaded, on Linux; none elsewhere."""
    try:
        with open("/proc/self/maps") as maps:
            paths = {line.split(maxsplit=5)[5].strip() for line in maps if line.count("/")}
    except (OSError, IndexError):
        return set()
    return {p for p in paths if any(k in p for k in ("openblas", "libmkl_rt", "libblis"))}
