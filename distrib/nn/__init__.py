"""Neural networks: modules, parameters, initialisation, and the functions they call."""

import importlib
from typing import Any

from distrib.nn import functional, init, modules, utils
from distrib.nn.modules import *
from distrib.nn.parameter import Buffer, Parameter, UninitializedBuffer, UninitializedParameter

__all__ = [
    "Buffer",
    "Parameter",
    "UninitializedBuffer",
    "UninitializedParameter",
    "functional",
    "init",
    "modules",
    "utils",
]
__all__ += modules.__all__


def __getattr__(name: str) -> Any:
    if name in ("parallel", "DataParallel"):  # a higher room, reached by name when it is asked for
        found = importlib.import_module("distrib.nn.parallel")
        return found if name == "parallel" else found.DataParallel
    raise AttributeError(f"module 'distrib.nn' has no attribute '{name}'")
