"""One thread per worker process: of the kernels and of NumPy's BLAS."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

# The functions of a BLAS that read and set its number of threads, by the names in each build.
OPENBLAS = "openblas_{}_num_threads"
CONTROLS = (
    *[(n.format("get"), n.format("set")) for n in (f"scipy_{OPENBLAS}64_", f"scipy_{OPENBLAS}")],
    *[(n.format("get"), n.format("set")) for n in (f"{OPENBLAS}64_", OPENBLAS)],
    ("MKL_Get_Max_Threads", "MKL_Set_Num_Threads"),
    ("bli_thread_get_num_threads", "bli_thread_set_num_threads"),
)
Control = tuple[Callable[[], int], Callable[[int], None]]


def use_one(blas: bool) -> None:
    """Let this process compute in one thread: its siblings use the other processors."""
    from ....kernels import cpu

    if cpu.available():
        cpu.set_num_threads(1)
    if blas:
        for _, set_number in _controls():
            set_number(1)


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """One BLAS thread in this process and those that it forks in the block.

    OpenBLAS answers a change made in a forked process by starting all of its threads there.
    """
    before = [(set_number, get_number()) for get_number, set_number in _controls()]
    try:
        for set_number, _ in before:
            set_number(1)
        yield
    finally:
        for set_number, number in before:
            set_number(number)


@cache
def _controls() -> list[Control]:
    """Those of each BLAS that is loaded."""
    import ctypes

    found: list[Control] = []
    for path in _blas_libraries():
        try:
            library = ctypes.CDLL(path)
        except OSError:
            continue
        names = [pair for pair in CONTROLS if all(hasattr(library, name) for name in pair)][:1]
        found += [(getattr(library, get), getattr(library, set_)) for get, set_ in names]
    return found


def _blas_libraries() -> set[str]:
    """The files of the BLAS libraries that are loaded, on Linux; none elsewhere."""
    try:
        with open("/proc/self/maps") as maps:
            paths = {line.split(maxsplit=5)[5].strip() for line in maps if line.count("/")}
    except (OSError, IndexError):
        return set()
    return {p for p in paths if any(k in p for k in ("openblas", "libmkl_rt", "libblis"))}
