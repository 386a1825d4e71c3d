"""distrib: data-parallel training with the API of PyTorch.

Nothing is loaded here: the first use of a name brings in `distrib.api`, which gathers the public
names from the rooms. See README.md for a tour.
"""

import importlib
import os
import sys
import types
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import *


_here = os.path.dirname(__file__)
if not os.path.isdir(os.path.join(_here, "kernels")) and os.path.isdir(f"{_here}/../kernels"):
    # a source folder, not an installation: kernels/ and launcher/ lie beside the package
    __path__.append(os.path.dirname(_here))

# Rooms that are reached by their own names without loading the others.
ROOMS = frozenset(
    "api autograd config cuda devices distributed dtypes errors kernels launcher linalg meta nn ops optim "
    "printing random serialization special testing utils version".split()
)


class _Package(types.ModuleType):
    def __setattr__(self, name: str, value: Any) -> None:
        if name == "tensor" and isinstance(value, types.ModuleType):
            return  # torch.tensor is the function; its room stays importable as distrib.tensor
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name in ROOMS:
        return importlib.import_module(f"{__name__}.{name}")
    names = globals()
    if name.startswith("__") or "_loaded" in names:
        raise AttributeError(f"module 'distrib' has no attribute '{name}'")
    names["_loaded"] = False
    try:
        from . import api
    except BaseException:
        del names["_loaded"]
        raise
    names.update({k: v for k, v in vars(api).items() if not k.startswith("_")})
    names["__version__"] = vars(api)["__version__"]
    names["_loaded"] = True
    from .ops.registry import publish

    publish(names)
    if name not in names:
        raise AttributeError(f"module 'distrib' has no attribute '{name}'")
    return names[name]


def __dir__() -> list[str]:
    if "_loaded" not in globals():
        __getattr__("Tensor")
    return sorted(globals())
