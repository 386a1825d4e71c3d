"""Plain ``mpiexec -n N python script.py``: whatever one rank does, the job ends and says so."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

BIN = os.path.dirname(sys.executable)
MPIEXEC = shutil.which("mpiexec", path=BIN) or shutil.which("mpiexec")
KILLED = (9, 5)  # of these MPICH cannot clean up, and we do not hear
HEAD = """
import sys, os, time, threading
from datetime import timedelta
import numpy as np
import distrib.distributed as dist
sys.path.insert(0, {tests!r})
from dist_box import Box
dist.init_process_group(timeout=timedelta(seconds={timeout_s}))
from distrib.distributed.failure import segments
open(__file__ + f".{{os.getpid()}}.shm", "w").write("\\n".join(segments()))
rank, size = dist.get_rank(), dist.get_world_size()
dist.barrier()
"""


def mpirun(tmp_path, body, n=2, timeout_s=60, command=None, **env):
    """Run a script on n ranks; returns (status, stdout, stderr, seconds)."""
    script = tmp_path / "script.py"
    script.write_text(HEAD.format(tests=str(Path(__file__).parent), timeout_s=timeout_s) + body)
    clean = {
        k: v for k, v in os.environ.items() if not k.startswith(("PMI", "OMPI", "RANK", "WORLD"))
    }
    start = time.monotonic()
    done = subprocess.run(
        [*(command or [MPIEXEC, "-n", str(n), sys.executable]), str(script)],
        capture_output=True, text=True, timeout=60, env={**clean, **env},
    )  # fmt: skip
    seconds = time.monotonic() - start
    left = [
        p for f in tmp_path.glob("*.shm") for p in f.read_text().split("\n") if os.path.exists(p)
    ]
    for path in set(left):
        os.unlink(path)
    assert not left or done.returncode in KILLED, left
    return done.returncode, done.stdout, done.stderr, seconds


def test_good_end(tmp_path):
    body = """
t = Box(np.ones(3) * (rank + 1)); dist.all_reduce(t)
assert os.environ["LOCAL_RANK"] == os.environ["RANK"] == str(rank)
assert os.environ["WORLD_SIZE"] == os.environ["LOCAL_WORLD_SIZE"] == "2"
try:
    sys.exit(7)
except SystemExit as e:
    caught = e.code
dist.destroy_process_group(); dist.init_process_group("mpi"); dist.barrier()
sys.stdout.write(f"{rank} {dist.get_backend()} {t._a[0]} {caught}\\n")
if rank: time.sleep(0.5)
"""
    status, out, err, _ = mpirun(tmp_path, body)
    assert (status, err) == (0, "")
    assert sorted(out.split("\n")) == ["", "0 mpi 3.0 7", "1 mpi 3.0 7"]


WAIT = "dist.all_reduce(Box(np.zeros(4, 'f4')))\n"
ENDS = {
    "exception": ("if rank == 1: raise ValueError('boo')\n" + WAIT, 1, "[rank1]: ValueError: boo"),
    "late exception": (WAIT + "if rank == 1: raise ValueError('late')", 1, "ValueError: late"),
    "exit": ("if rank == 1: sys.exit(3)\n" + WAIT, 3, "[rank1]: exits with status 3"),
    "exit with text": ("if rank == 1: sys.exit('no data')\n" + WAIT, 1, "no data"),
    "SystemExit": ("if rank == 1: raise SystemExit(3)\n" + WAIT, 1, "rank 1 ended without"),
    "early end": ("if rank == 1: sys.exit(0)\n" + WAIT, 1, "all_reduce #1 SUM torch.float32 [4]"),
    "destroyed": (
        "if rank == 1: dist.destroy_process_group(); time.sleep(9)\nelse:\n  " + WAIT,
        1, "rank 1 ended"),
    "thread": (
        "def work(): raise ValueError('in a thread')\n"
        "if rank == 1: threading.Thread(target=work).start(); time.sleep(9)\n" + WAIT,
        1, "ValueError: in a thread"),
    "killed": ("if rank == 1: os.kill(os.getpid(), 9)\n" + WAIT, 9, ""),
    "os._exit": ("if rank == 1: os._exit(5)\n" + WAIT, 5, ""),
}  # fmt: skip


@pytest.mark.parametrize("case", ENDS)
def test_bad_end(tmp_path, case):
    body, expected, text = ENDS[case]
    status, _, err, seconds = mpirun(tmp_path, body)
    assert status == expected
    assert text in err
    assert seconds < 10


@pytest.mark.parametrize(
    ("case", "status", "text"),
    [
        ("exception", 1, "rank 1 of 2 failed: ValueError: boo"),
        ("SystemExit", 3, "rank 1 of 2 failed"),
        ("early end", 1, "rank 0 of 2 failed: CollectiveError: rank 1 ended without"),
        ("thread", 1, "rank 1 of 2 failed: ValueError: in a thread, in thread"),
    ],
)
def test_our_launcher_hears_the_reason(tmp_path, case, status, text):
    command = [shutil.which("distrib", path=BIN), "run", "--nproc-per-node", "2"]
    got, _, err, _ = mpirun(tmp_path, ENDS[case][0], command=command)
    assert got == status
    assert text in err
    assert err.count("Traceback") <= 1


def test_the_last_rank_waits_too_long(tmp_path):
    """A rank that computes and does not come: the timeout names the call and shows stacks."""
    status, _, err, seconds = mpirun(
        tmp_path, "if rank == 1: time.sleep(50)\n" + WAIT, timeout_s=1.5
    )
    assert status == 1
    assert (
        "all_reduce #1 SUM torch.float32 [4] in group world1: not all ranks arrived within 1.5 s"
        in err
    )
    assert "script.py" in err
    assert seconds < 15


def test_checked_collectives_name_both_sides(tmp_path):
    body = """
try:
    dist.all_reduce(Box(np.zeros(4 + rank, "f4")))
except Exception as e:
    assert type(e).__name__ == "CollectiveError"
    sys.stdout.write(str(e) + "\\n")
"""
    status, out, err, _ = mpirun(tmp_path, body, DISTRIB_CHECK_COLLECTIVES="1")
    assert (status, err) == (0, "")
    line = out.splitlines()[0]
    assert "rank 0 called all_reduce #1 SUM torch.float32 [4]" in line
    assert "rank 1 called all_reduce #1 SUM torch.float32 [5]" in line
    assert len(out.splitlines()) == 2


def test_barriers_out_of_step_are_found_without_checks(tmp_path):
    body = """
extra = Box(np.zeros(1, "f4"))
if rank == 0: work = dist.all_reduce(extra, async_op=True)
dist.barrier()
"""
    status, _, err, _ = mpirun(tmp_path, body)
    assert status == 1
    assert "rank 0 called barrier #2" in err
    assert "rank 1 called barrier #1" in err


def test_promised_more_ranks_than_mpi_has(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import distrib.distributed as dist\ndist.init_process_group()\n")
    env = {**os.environ, "SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1"}
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=60, env=env
    )
    assert done.returncode == 1
    assert (
        "srun started 2 ranks, but MPI sees a world of 1. Start it with `srun --mpi=pmi2`"
        in done.stderr
    )
