"""Imports go one way. Read from the source, so an import inside a function counts too."""

import subprocess
import sys

import pytest
from files import ROOT, imports, sources

# From the lowest to the highest; a room imports from lower lines only, and from its own room.
LAYERS = [
    ["config", "errors", "dtypes", "meta", "devices", "cuda", "version"],
    ["tensor"],
    ["autograd"],
    ["random"],
    ["ops"],
    ["special", "linalg", "fft"],  # public namespaces: names of operators only
    ["nn", "optim", "utils", "serialization"],
    ["nn.parallel"],
    ["compiler"],
    ["jit", "export", "onnx"],
]
PARTS = {
    "printing": "tensor",
    "graph": "tensor",
    "methods": "tensor",
    "api": "",
}  # further files of rooms
ORDER = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}
LOWEST = set(LAYERS[0])
LEAVES = ("kernels", "launcher")  # import nothing of the other rooms
# One file may import each of these; a folder where it ends with a dot.
ONLY = {
    "cupy": "distrib.devices",
    "cupyx": "distrib.devices",
    "mpi4py": "distrib.distributed.mpi",
    "nccl": "distrib.distributed.nccl",
    "triton": "distrib.kernels.gpu.",
}
HEAVY = ["mpi4py", "zmq", "msgpack", "rich", "multiprocessing", "numpy.random", "cupy", "sklearn"]


def room_of(name):
    """The room of an import name: 'nn.parallel', 'ops', 'kernels'; '' for the package itself."""
    inner = name.split(".")[1:]
    for size in (2, 1):
        if ".".join(inner[:size]) in ORDER:
            return ".".join(inner[:size])
    return PARTS.get(inner[0], inner[0]) if inner else ""


def may_import(room, other):
    """Whether one room may import another."""
    if room == other or room in ("", "testing"):
        return True
    if room in LEAVES:
        return False
    if room == "distributed":
        return other in LOWEST or other == "kernels"
    if other == "kernels":
        return True
    if other == "distributed":
        return room in ORDER and ORDER[room] >= ORDER["nn"]
    if room not in ORDER or other not in ORDER:
        return False
    return ORDER[other] < ORDER[room] or (room in LOWEST and other in LOWEST)


def edges():
    """(importing file and line, its import name, imported module) within the package."""
    known = sources()
    for name, path in known.items():
        for line, target in imports(name, path):
            if target.split(".")[0] == "distrib":
                module = target if target in known else target.rpartition(".")[0]
                yield f"{path.relative_to(ROOT)}:{line}", name, module


def test_rooms_import_lower_rooms_only():
    wrong = [
        f"{where}: {room_of(name) or 'distrib'} imports {module}"
        for where, name, module in edges()
        if not may_import(room_of(name), room_of(module))
    ]
    assert not wrong, "\n".join(wrong)


def test_every_room_has_a_place():
    known = {*ORDER, *LEAVES, "", "distributed", "testing"}
    unknown = sorted({room_of(name) for name in sources()} - known)
    assert not unknown, f"no layer is given for {unknown}"


@pytest.mark.parametrize(
    ("room", "other", "allowed"),
    [
        ("ops", "tensor", True),
        ("tensor", "ops", False),
        ("optim", "nn", False),
        ("nn", "nn.parallel", False),
        ("nn.parallel", "distributed", True),
        ("distributed", "tensor", False),
        ("distributed", "errors", True),
        ("launcher", "config", False),
        ("kernels", "ops", False),
        ("autograd", "distributed", False),
    ],
)
def test_the_rule_itself(room, other, allowed):
    assert may_import(room, other) is allowed


def test_one_file_imports_each_outside_library():
    wrong = []
    for name, path in sources().items():
        for line, target in imports(name, path):
            top = target.split(".")[0]
            owner = ONLY.get(top)
            inside = owner and (f"{name}.".startswith(owner) if owner[-1] == "." else name == owner)
            if top == "torch" or (owner and not inside):
                wrong.append(f"{path.relative_to(ROOT)}:{line}: imports {target}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("module", ["distrib", "distrib.launcher.cli"])
def test_import_brings_in_nothing_heavy(module):
    code = f"import sys, {module}; print([m for m in {HEAVY} if m in sys.modules])"
    command = [sys.executable, "-P", "-c", code]  # -P: what is installed, not this folder
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
