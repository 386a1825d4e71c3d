"""CPU kernels of the C++ extension; without the extension every name here is None.

Inputs may have any strides (what is not in C order is copied); outputs are new arrays unless a
docstring says "in place". `help(distrib.kernels._cpu)` and its `.pyi` list the functions.
"""

import importlib
from types import ModuleType
from typing import Any


def _load() -> tuple[ModuleType | None, str]:
    try:
        return importlib.import_module("distrib.kernels._cpu"), ""
    except ImportError as error:
        return None, str(error)


_extension, _reason = _load()
if _extension is not None:
    globals().update({k: v for k, v in vars(_extension).items() if not k.startswith("_")})


def __getattr__(name: str) -> Any:
    if _extension is None and not name.startswith("_"):
        return None
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def available() -> bool:
    """Whether the extension was built and could be loaded."""
    return _extension is not None


def isa() -> str:
    """Instruction set in use: "v4" (AVX-512), "v3" (AVX2), "base"; "none" without the extension."""
    return "none" if _extension is None else str(_extension.isa())


def build_info() -> dict[str, Any]:
    """What was built (compiler, OpenMP, instruction sets), or the reason why nothing was."""
    if _extension is None:
        return {"available": False, "isa": "none", "reason": _reason}
    return {"available": True, **_extension.build_info()}


def install_allocator() -> bool:
    """Let new NumPy arrays of this context take their memory from a cache; False if not built."""
    if _extension is None:
        return False
    _extension.install_allocator()
    return True
