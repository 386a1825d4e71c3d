"""Names of classes and functions in files: PyTorch's, whatever they are called here."""

from __future__ import annotations

import importlib
import sys
from types import FunctionType
from typing import Any

from .. import dtypes
from ..devices import device
from ..dtypes import dtype
from ..ops import layout
from ..tensor import Size, Tensor
from . import rebuild
from .rebuild import STORAGES, StorageType

PACKAGE = __package__.partition(".")[0]
FORMATS = ("contiguous_format", "preserve_format", "channels_last", "channels_last_3d")

# where PyTorch keeps what lies elsewhere here: prefix of our module -> module there
MOVED = {
    f"{PACKAGE}.optim.lr_scheduler": "torch.optim.lr_scheduler",
    f"{PACKAGE}.utils.data": "torch.utils.data",
}
# classes of nn whose file has another name there
MODULES = {
    "activation": ("MultiheadAttention",),
    "batchnorm": ("LazyBatchNorm1d", "LazyBatchNorm2d", "LazyBatchNorm3d"),
    "channelshuffle": ("ChannelShuffle",),
    "container": ("ParameterDict", "ParameterList"),
    "conv": (
        "LazyConv1d", "LazyConv2d", "LazyConv3d", "LazyConvTranspose1d", "LazyConvTranspose2d",
        "LazyConvTranspose3d",
    ),
    "instancenorm": ("LazyInstanceNorm1d", "LazyInstanceNorm2d", "LazyInstanceNorm3d"),
    "linear": ("LazyLinear",),
    "loss": (
        "CosineEmbeddingLoss", "MarginRankingLoss", "TripletMarginLoss",
        "TripletMarginWithDistanceLoss",
    ),
    "pixelshuffle": ("PixelShuffle", "PixelUnshuffle"),
    "rnn": ("GRUCell", "LSTMCell", "RNNCell", "RNNCellBase"),
    "transformer": ("TransformerDecoderLayer", "TransformerEncoderLayer"),
}  # fmt: skip
PLACES = {name: f"torch.nn.modules.{file}" for file, found in MODULES.items() for name in found}
# rooms in which a class is looked for by its name alone, if its module is not found
ROOMS = {
    "torch.nn.modules": "nn",
    "torch.nn.parallel": "nn.parallel",
    "torch.nn": "nn",
    "torch.optim.lr_scheduler": "optim.lr_scheduler",
    "torch.optim": "optim",
    "torch.utils.data": "utils.data",
    "torch.distributions": "distributions",
    "torch": "",
}


def _get_layout(name: str) -> Any:
    found = {"torch.strided": layout.strided, "torch.sparse_coo": layout.sparse_coo}.get(name)
    if found is None:
        raise RuntimeError(f"a checkpoint has the layout {name!r}; expected torch.strided")
    return found


def core() -> dict[str, Any]:
    """PyTorch's names of what every checkpoint may hold: dtypes, storages, rebuilding functions."""
    table: dict[str, Any] = {f"torch.{d.name}": d for d in dtypes.ALL}
    table |= {f"torch.{name}": d for name, d in dtypes.ALIASES.items()}
    for name, d in STORAGES.items():
        table[f"torch.{name}"] = table[f"torch.cuda.{name}"] = StorageType(d)
    table["torch.storage.UntypedStorage"] = table["torch.UntypedStorage"] = StorageType(None)
    table |= {f"torch._utils.{name}": fn for name, fn in rebuild.UTILS.items()}
    table |= {f"torch.{name}": getattr(layout, name) for name in FORMATS}
    table |= {
        "torch._tensor._rebuild_from_type_v2": rebuild._rebuild_from_type_v2,
        "torch.serialization._get_layout": _get_layout,
        "torch.Size": Size,
        "torch.device": device,
        "torch.Tensor": Tensor,
        "torch._tensor.Tensor": Tensor,
    }
    return table


# ---- writing ------------------------------------------------------------------------------------
def written(obj: Any, name: str | None = None) -> tuple[str, str] | None:
    """(module, name) of a global in PyTorch's terms; None for what is not ours."""
    if isinstance(obj, dtype):
        return "torch", obj.name
    if isinstance(obj, StorageType):
        if obj.dtype is None:
            return "torch.storage", "UntypedStorage"
        return "torch", rebuild.NAMES[obj.dtype]
    if isinstance(obj, layout.memory_format):
        return "torch", obj.name
    if obj in (Size, device, Tensor):
        return "torch", obj.__name__
    if obj is _get_layout:
        return "torch.serialization", "_get_layout"
    if obj is rebuild._rebuild_from_type_v2:
        return "torch._tensor", "_rebuild_from_type_v2"
    found = _function(obj) if isinstance(obj, FunctionType) else None
    if found is not None:
        return found
    module, own = getattr(obj, "__module__", None), name or getattr(obj, "__qualname__", None)
    if not isinstance(module, str) or module.partition(".")[0] != PACKAGE:
        return None
    if not isinstance(own, str):
        return None
    if module == rebuild.__name__:
        return "torch._utils", own
    return _place(module, own)


def _place(module: str, name: str) -> tuple[str, str]:
    if module.startswith(f"{PACKAGE}.nn.modules.") and name in PLACES:
        return PLACES[name], name
    for prefix, there in MOVED.items():
        if module == prefix or module.startswith(prefix + "."):
            return there, name
    return "torch" + module[len(PACKAGE) :], name


def _function(fn: FunctionType) -> tuple[str, str] | None:
    """Where users find a function: F.relu is no name of the file that it is written in.

    An operator's wrapper is made anew when it is built; what stays is its record, ``op``.
    """
    op = getattr(fn, "op", None)
    name = fn.__name__ if op is None else op.name
    for room in ("nn.functional", "nn.init", "linalg", "special", "fft", ""):
        module = sys.modules.get(f"{PACKAGE}.{room}" if room else PACKAGE)
        found = None if module is None else vars(module).get(name)
        if found is not None and (found is fn or (op and getattr(found, "op", None) is op)):
            return (f"torch.{room}" if room else "torch"), name
    return None


# ---- reading ------------------------------------------------------------------------------------
def is_torch(module: str) -> bool:
    """Whether a module of a file is PyTorch's, or ours under our own name."""
    return module.partition(".")[0] in ("torch", PACKAGE)


def read(module: str, name: str) -> Any:
    """Our object of that name; AttributeError if there is none."""
    if module.partition(".")[0] == PACKAGE:
        module = "torch" + module[len(PACKAGE) :]
    found = core().get(f"{module}.{name}")
    if found is not None:
        return found
    if f"{module}.{name}" == "torch.nn.parameter.Parameter":
        return rebuild.parameter_class()
    candidates = [PACKAGE + module[len("torch") :]]
    for prefix, room in ROOMS.items():
        if module == prefix or module.startswith(prefix + "."):
            candidates.append(f"{PACKAGE}.{room}" if room else PACKAGE)
    for candidate in candidates:
        try:
            found = importlib.import_module(candidate)
            for part in name.split("."):
                found = getattr(found, part)
        except (ImportError, AttributeError):
            continue
        return found
    raise AttributeError(
        f"Can't get attribute {name!r} of {module!r}: {PACKAGE} has nothing of that name"
    )
