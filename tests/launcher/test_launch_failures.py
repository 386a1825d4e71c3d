"""A rank dies in every way there is: the job ends in time, says who it was, and leaves nothing."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from launch_jobs import FAULT, LIMIT_S, Job

Make = Callable[[str], str]
OTHERS_WAIT = "\nc.Barrier()\n"
FOUR = ("run", "--nproc-per-node", "4")

CASES = {
    # body for rank 1 -> exit code, what the final message says
    "sigkill": ("os.kill(os.getpid(), signal.SIGKILL)", 137, "killed by SIGKILL"),
    "sigterm": ("os.kill(os.getpid(), signal.SIGTERM)", 143, "killed by SIGTERM"),
    "abort": ("os.abort()", 134, "killed by SIGABRT, at .*train.py:7"),
    "raise": ("raise ValueError('bad data')", 1, "ValueError: bad data, at .*train.py:7"),
    "system exit": ("sys.exit(3)", 3, "exited with code 3, at .*train.py:7"),
    "exit text": ("sys.exit('no such file')", 1, "exited with code 1"),
    "os exit": ("os._exit(7)", 7, "exited with code 7"),
}


@pytest.mark.parametrize("name", CASES)
def test_one_of_four_ranks_fails(job: Job, mpi: str, make_script: Make, name: str) -> None:
    action, code, message = CASES[name]
    segments = set(os.listdir("/dev/shm"))
    result = job.run(*FOUR, make_script(f"if r == 1: {FAULT}{action}{OTHERS_WAIT}"))
    assert result.code == code, result.output
    assert re.search(f"rank 1 of 4 failed: {message}", result.output), result.output
    assert "ranks 0, 2-3 were ended" in result.output
    assert result.seconds_since_fault() < LIMIT_S
    job.check_nothing_left()
    assert mapped_by_nobody(set(os.listdir("/dev/shm")) - segments) == set()


def mapped_by_nobody(names: set[str]) -> set[str]:
    """Shared memory that no process has: jobs of other tests may still have theirs."""
    used: set[str] = set()
    for maps in Path("/proc").glob("[0-9]*/maps"):
        try:
            used |= set(re.findall(r"/dev/shm/(\S+)", maps.read_text()))
        except OSError:
            continue
    return {name for name in names - used if "mpich" in name or "segment" in name}


def test_traceback_is_printed_once_with_the_rank(job: Job, mpi: str, make_script: Make) -> None:
    result = job.run(*FOUR, make_script("def step():\n    return {}['k']\nstep()\n"))
    assert result.code == 1
    assert result.output.count("Traceback") == 1
    assert len(re.findall(r"^\[rank \d\] KeyError: 'k'$", result.output, re.MULTILINE)) == 1
    assert "train.py:8 in step" in result.output
    assert "launcher" not in result.output  # our frames are nobody's business
    assert "failed in the same way" in result.output


def test_one_rank_raises_before_mpi_starts(job: Job, mpi: str) -> None:
    text = "import os, time\nif os.environ['RANK'] == '2':\n"
    text += f"    {FAULT}raise RuntimeError('early')\n"
    text += "from mpi4py import MPI\nMPI.COMM_WORLD.Barrier()\n"
    result = job.run(*FOUR, job.script(text))
    assert result.code == 1
    assert "rank 2 of 4 failed: RuntimeError: early" in result.output
    assert result.seconds_since_fault() < LIMIT_S


def test_mpi_abort_ends_the_job_with_its_code(job: Job, mpi: str, make_script: Make) -> None:
    result = job.run(*FOUR, make_script(f"if r == 1: {FAULT}c.Abort(5){OTHERS_WAIT}"))
    assert result.code == 5
    assert "code 5" in result.output
    assert result.seconds_since_fault() < LIMIT_S


def test_survivors_that_ignore_sigterm_are_killed(job: Job, mpi: str, make_script: Make) -> None:
    body = "signal.signal(signal.SIGTERM, signal.SIG_IGN); c.Barrier()\n"
    body += f"if r == 0: {FAULT}sys.exit(4)"
    result = job.run(*FOUR, "--grace-period", "0.5", make_script(body + OTHERS_WAIT))
    assert result.code == 4
    assert result.seconds_since_fault() < LIMIT_S


def test_a_stopped_rank_does_not_hold_up_the_end(job: Job, mpi: str, make_script: Make) -> None:
    body = (
        "if r == 0: os.kill(os.getpid(), signal.SIGSTOP)\n"
        f"if r == 1: time.sleep(0.2); {FAULT}sys.exit(6)"
    )
    result = job.run(*FOUR, make_script(body + OTHERS_WAIT))
    assert result.code == 6
    assert result.seconds_since_fault() < LIMIT_S


def test_helpers_of_a_rank_end_with_it(job: Job) -> None:
    text = (
        "import multiprocessing, os, signal, subprocess, time\n"
        "if __name__ == '__main__':\n"
        "    multiprocessing.get_context('spawn').Process(target=time.sleep, args=(60,)).start()\n"
        "    subprocess.Popen(['sleep', '60'], start_new_session=True)\n"
        f"    time.sleep(0.3); {FAULT}os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    result = job.run("run", job.script(text))
    assert result.code == 137
    assert result.seconds_since_fault() < LIMIT_S


def test_killed_watcher_counts_as_its_rank(job: Job, mpi: str) -> None:
    text = "import os, signal, time\n"
    text += f"if os.environ['RANK'] == '1': {FAULT}os.kill(os.getppid(), 9)\n"
    result = job.run(*FOUR, job.script(text + "time.sleep(60)\n"))
    assert result.code not in (0, 2)
    assert result.seconds_since_fault() < LIMIT_S


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
@pytest.mark.parametrize("num", [1, 3])
def test_signal_to_the_launcher(
    job: Job, mpi: str, make_script: Make, number: int, code: int, num: int
) -> None:
    body = "print('up', flush=True)\nif r == 0: time.sleep(60)\nc.Barrier()\n"
    alone = "import time\nprint('up', flush=True); time.sleep(60)\n"
    script = job.script(alone) if num == 1 else make_script(body)
    with job.start("run", "--nproc-per-node", str(num), script) as process:
        job.wait_for(process, "up", num)
        start = time.monotonic()
        process.send_signal(number)
        output, _ = process.communicate(timeout=20)
    assert process.returncode == code
    assert time.monotonic() - start < LIMIT_S
    assert "Traceback" not in output
    assert output.count("ending") == 1


def test_killed_proxy_of_mpi_ends_the_job(job: Job, mpi: str, make_script: Make) -> None:
    """What mpiexec itself does not notice: its process between it and the ranks is killed."""
    body = "print('parent', os.getppid(), flush=True)\nc.Barrier()\ntime.sleep(60)\n"
    with job.start("run", "--nproc-per-node", "2", make_script(body)) as process:
        assert process.stdout is not None
        watcher = int(process.stdout.readline().split()[1])
        middle = int(Path(f"/proc/{watcher}/stat").read_text().rpartition(")")[2].split()[1])
        time.sleep(0.5)
        start = time.monotonic()
        os.kill(middle, signal.SIGKILL)
        output, _ = process.communicate(timeout=20)
    assert process.returncode == 137
    assert "MPI" in output
    assert time.monotonic() - start < LIMIT_S


def test_killed_launcher_takes_the_ranks_with_it(job: Job, mpi: str, make_script: Make) -> None:
    script = make_script("print('up', flush=True)\ntime.sleep(60)\n")
    with job.start("run", "--nproc-per-node", "2", script) as process:
        job.wait_for(process, "up", 2)
        process.kill()
    time.sleep(0.5)


def test_user_signals_reach_the_script(job: Job) -> None:
    text = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGUSR1, lambda *_: sys.exit(9))\n"
        "print('up', flush=True); time.sleep(60)\n"
    )
    with job.start("run", job.script(text)) as process:
        job.wait_for(process, "up")
        process.send_signal(signal.SIGUSR1)
        process.communicate(timeout=10)
    assert process.returncode == 9


def test_checkpoint_after_sigterm_decides_the_exit_code(job: Job, mpi: str) -> None:
    text = (
        "import os, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))\n"
        "print('up', flush=True); time.sleep(60)\n"
    )
    with job.start("run", "--nproc-per-node", "2", job.script(text)) as process:
        job.wait_for(process, "up", 2)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=10)
    assert process.returncode == 75


def test_restarts_until_the_budget_is_spent(job: Job, mpi: str) -> None:
    text = (
        "import os, sys\n"
        "print('attempt', os.environ['RESTART_COUNT'], os.environ['TORCHELASTIC_RESTART_COUNT'])\n"
        "sys.exit(3 if os.environ['RESTART_COUNT'] == '0' else 0)\n"
    )
    result = job.run("run", "--nproc-per-node", "2", "--max-restarts", "2", job.script(text))
    assert result.code == 0
    assert "attempt 0 0" in result.output
    assert "attempt 1 1" in result.output
    assert "restart in 1 s" in result.output
    result = job.run("run", "--max-restarts", "1", job.script("raise SystemExit(8)"))
    assert result.code == 8
