"""Facts about this machine that the plan needs: cores, GPUs, Python, and which mpiexec."""

from __future__ import annotations

import glob
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping

from .plan import Machine, Mpi, PlanError

FLAVOURS = ("auto", "mpich", "openmpi", "intel", "none")


def classify(text: str) -> tuple[str, int]:
    """Flavour and major version from what ``mpiexec --version`` prints.

    >>> classify("mpiexec (OpenRTE) 4.1.4")
    ('openmpi', 4)
    """
    if re.search(r"open ?rte|open ?mpi|open mpi|prrte", text, re.IGNORECASE):
        flavour = "openmpi"
    elif "intel" in text.lower():
        flavour = "intel"
    elif re.search(r"hydra|mpich|mvapich", text, re.IGNORECASE):
        flavour = "mpich"
    else:
        return "unknown", 0
    found = re.search(r"(?:Version:|Version|\)|prterun|PRRTE)\s*v?(\d+)\.", text)
    return flavour, int(found[1]) if found else 0


def probe(path: str) -> Mpi | None:
    """Ask an ``mpiexec`` what it is; None if it does not answer like one."""
    try:
        done = subprocess.run(
            [path, "--version"],
            capture_output=True,
            text=True,
            timeout=20,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    text = done.stdout + done.stderr
    flavour, version = classify(text)
    return None if flavour == "unknown" else Mpi(path, flavour, version, text)


def candidates(environ: Mapping[str, str]) -> list[str]:
    """Paths of ``mpiexec``, best first: this Python's environment, then PATH."""
    folders = [os.path.dirname(sys.executable), *environ.get("PATH", os.defpath).split(os.pathsep)]
    found: list[str] = []
    for folder in folders:
        for name in ("mpiexec", "mpirun", "mpiexec.hydra", "mpiexec.mpich", "mpiexec.openmpi"):
            path = os.path.join(folder, name)
            if folder and os.access(path, os.X_OK) and not os.path.isdir(path):
                found.append(path)
    return list(dict.fromkeys(found))


def find_mpi(choice: str, environ: Mapping[str, str]) -> Mpi | None:
    """The ``mpiexec`` to use: ``auto``, a flavour, or the path of one."""
    if choice == "none":
        return None
    if os.sep in choice:
        found = probe(choice)
        if found is None:
            raise PlanError(f"--mpi {choice}: this is no mpiexec that can be run")
        return found
    if choice not in FLAVOURS:
        raise PlanError(f"--mpi {choice}: expected {', '.join(FLAVOURS)} or a path")
    seen: list[str] = []
    for path in candidates(environ):
        mpi = probe(path)
        if mpi is not None and choice in ("auto", mpi.flavour):
            return mpi
        if mpi is not None:
            seen.append(f"{mpi.path} is {mpi.flavour}")
    if choice != "auto":
        raise PlanError(
            f"--mpi {choice}: not found" + (f" ({'; '.join(seen[:3])})" if seen else "")
        )
    return None


def num_gpus(environ: Mapping[str, str]) -> int:
    """GPUs that the ranks would see, without asking a driver library."""
    for name in ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"):
        if name in environ:
            listed = environ[name].strip()
            return 0 if listed in ("", "-1") else len(listed.split(","))
    nvidia = [p for p in glob.glob("/dev/nvidia*") if re.fullmatch(r"/dev/nvidia\d+", p)]
    if nvidia:
        return len(nvidia)
    if os.path.exists("/dev/kfd"):
        return len(glob.glob("/dev/dri/renderD*"))
    return 0


def num_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def this_machine(mpi: Mpi | None, environ: Mapping[str, str]) -> Machine:
    """All facts in one place."""
    return Machine(
        cores=num_cores(),
        num_gpus=num_gpus(environ),
        is_root=os.geteuid() == 0,
        hostname=socket.gethostname(),
        python=sys.executable,
        boot=os.path.join(os.path.dirname(os.path.abspath(__file__)), "boot.py"),
        mpi=mpi,
    )


def which(name: str) -> str:
    """The path of a program, or an empty string."""
    return shutil.which(name) or ""
