"""What a script finds when it is started by `distrib run`, and what the command line refuses."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from launch_jobs import COMMAND, FOLDER, Job, clean_environment

SHOW = "import os, sys; print([__name__, sys.argv, sys.path[0], os.path.basename(__file__)])\n"


def test_script_sees_what_plain_python_shows_it(job: Job) -> None:
    name = job.script(SHOW)
    result = job.run("run", name, "--tee", "3", "-x", "--", "y")
    plain = subprocess.run(
        [sys.executable, name, "--tee", "3", "-x", "--", "y"],
        cwd=job.folder,
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.code == 0
    assert result.output == plain.stdout


def test_module(job: Job) -> None:
    (job.folder / "pack").mkdir()
    job.script("", "pack/__init__.py")
    job.script("from . import other\n" + SHOW, "pack/__main__.py")
    job.script("", "pack/other.py")
    result = job.run("run", "-m", "pack", "a")
    assert result.code == 0, result.output
    assert "'__main__'" in result.output
    assert "'a']" in result.output


def test_program(job: Job, mpi: str) -> None:
    result = job.run(
        "run", "--no-python", "--nproc-per-node", "2", "sh", "-c", "echo r$RANK; exit 6"
    )
    assert result.code == 6
    assert "r0" in result.output or "r1" in result.output
    assert job.run("run", "--no-python", "no-such-program-here").code == 127


def test_torchrun_variables(job: Job, mpi: str) -> None:
    names = (
        "RANK LOCAL_RANK WORLD_SIZE LOCAL_WORLD_SIZE GROUP_RANK ROLE_RANK ROLE_WORLD_SIZE "
        "MASTER_ADDR MASTER_PORT TORCHELASTIC_RESTART_COUNT TORCHELASTIC_MAX_RESTARTS "
        "TORCHELASTIC_RUN_ID TORCHELASTIC_ERROR_FILE DISTRIB_ERROR_FILE DISTRIB_CONTROL "
        "DISTRIB_JOB_ID RESTART_COUNT OMP_NUM_THREADS"
    )
    name = job.script(f"import os; print({{n: os.environ[n] for n in {names.split()}}})")
    result = job.run("run", "--nproc_per_node=2", "--rdzv-id", "me", name, RANK="7", PMI_RANK="5")
    lines = [line for line in result.output.splitlines() if line.startswith("{")]
    found = sorted((ast.literal_eval(line) for line in lines), key=lambda e: str(e["RANK"]))
    assert [e["RANK"] for e in found] == ["0", "1"]
    assert [e["LOCAL_RANK"] for e in found] == ["0", "1"]
    assert {e["WORLD_SIZE"] for e in found} == {"2"}
    assert {e["TORCHELASTIC_RUN_ID"] for e in found} == {"me"}
    assert len({e["MASTER_PORT"] for e in found}) == 1


def test_one_rank_needs_no_mpi(job: Job) -> None:
    result = job.run("run", job.script("print('fine')"), PATH="/nowhere")
    assert (result.code, result.output) == (0, "fine\n")


def test_output_is_not_touched_and_lines_stay_whole(job: Job, mpi: str) -> None:
    text = "import os\nfor i in range(200): print(os.environ['RANK'] * 60, i, 'end')\n"
    result = job.run("run", "--nproc-per-node", "2", job.script(text))
    lines = sorted(result.output.splitlines())
    assert lines == sorted(f"{rank * 60} {i} end" for rank in "01" for i in range(200))


def test_tags_and_logs(job: Job, mpi: str) -> None:
    name = job.script(
        "import os, sys\nprint('out', os.environ['RANK'])\nprint('e', file=sys.stderr)"
    )
    options = ["--nproc-per-node", "2", "--tag-output", "--log-dir", "logs", "--rdzv-id", "j"]
    result = job.run("run", *options, "-r", "0:2", "-t", "1", name)
    assert sorted(result.output.splitlines()) == [
        "[rank 0] out 0",
        "[rank 1] e",
        "[rank 1] out 1",
    ]
    folder = job.folder / "logs" / "j" / "attempt_0"
    assert (folder / "1" / "stdout.log").read_text() == "out 1\n"
    assert (folder / "0" / "stderr.log").read_text() == "e\n"
    result = job.run("run", "--nproc-per-node", "2", "--local-ranks-filter", "1", name)
    assert sorted(result.output.splitlines()) == ["e", "out 1"]


def test_rank_0_has_the_terminal(job: Job, mpi: str) -> None:
    name = job.script(
        "import os, sys\n"
        "if os.environ['RANK'] == '0':\n"
        "    print([sys.stdin.isatty(), sys.stdout.isatty(), sys.stderr.isatty()])\n"
        "    print('answer', input())\n"
    )
    main, other = os.openpty()
    with subprocess.Popen(
        [*COMMAND, "run", "--nproc-per-node", "2", name],
        cwd=job.folder,
        env=clean_environment(),
        stdin=other,
        stdout=other,
        stderr=other,
    ) as process:
        os.close(other)
        os.write(main, b"yes\n")
        shown = b""
        while b"answer yes" not in shown:
            shown += os.read(main, 1024)
        assert process.wait(timeout=10) == 0
    os.close(main)
    assert b"[True, True, True]" in shown


WRONG = {
    "no script": (["run"], "TARGET"),
    "missing script": (["run", "nope.py"], "no such script: nope.py"),
    "folder": (["run", "."], "is a folder"),
    "no ranks": (["run", "--nproc-per-node", "0", "x.py"], "from 1 up"),
    "word": (["run", "--nproc-per-node", "many", "x.py"], "auto, cpu or gpu"),
    "negative": (["run", "--max-restarts", "-1", "x.py"], "from 0 up"),
    "nodes": (["run", "--nnodes", "2", "x.py"], "-H"),
    "range": (["run", "--nnodes", "3:2", "x.py"], "MIN is above MAX"),
    "node rank": (["run", "--node-rank", "1", "x.py"], "--node-rank 1"),
    "unknown option": (["run", "--fast", "x.py"], "--fast"),
    "unknown command": (["walk"], "walk"),
    "no mpi": (["run", "--nproc-per-node", "2", "--mpi", "none", "x.py"], "distrib[mpich]"),
    "mpi name": (["run", "--nproc-per-node", "2", "--mpi", "gloo", "x.py"], "gloo"),
    "mpi path": (["run", "--nproc-per-node", "2", "--mpi", "/bin/true", "x.py"], "/bin/true"),
    "both": (["run", "-m", "--no-python", "x.py"], "choose one"),
    "streams": (["run", "--log-dir", "l", "--tee", "9", "x.py"], "--tee 9"),
    "no folder": (["run", "--tee", "3", "x.py"], "--log-dir"),
    "hosts": (["run", "-H", "a:0", "x.py"], "-H a:0"),
    "hostfile": (["run", "--hostfile", "none.txt", "x.py"], "none.txt"),
    "port": (["run", "--master-port", "70000", "x.py"], "65535"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_input_is_one_line_and_code_2(job: Job, name: str) -> None:
    arguments, message = WRONG[name]
    job.script("print('must not run')", "x.py")
    result = job.run(*arguments)
    assert result.code == 2
    assert message in result.output
    assert result.output.count("\n") == 1


def test_dry_run_starts_nothing(job: Job, mpi: str) -> None:
    name = job.script("open('ran', 'w')")
    result = job.run("run", "--nproc-per-node", "2", "--dry-run", name, "--lr", "1")
    assert result.code == 0
    assert "rank 1:" in result.output
    assert "--lr 1" in result.output
    assert not (job.folder / "ran").exists()


def test_help_is_fast_and_imports_no_library() -> None:
    best = 9.0
    for _ in range(5):
        start = time.perf_counter()
        done = subprocess.run([*COMMAND, "--help"], capture_output=True, text=True, check=True)
        best = min(best, time.perf_counter() - start)
    assert "doctor" in done.stdout
    # Python's own start is not ours to shorten.
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    assert best < 0.15 + time.perf_counter() - start
    code = (
        "import runpy, sys; sys.argv = ['boot.py', 'command', '--version']\n"
        f"try: runpy.run_path({str(FOLDER / 'boot.py')!r}, run_name='__main__')\n"
        "except SystemExit: pass\n"
        "print(sorted({'numpy', 'zmq', 'rich', 'msgpack', 'mpi4py'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_launcher_imports_nothing_of_the_library() -> None:
    for path in Path(FOLDER).glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""] if node.level == 0 else []
                assert node.level < 2, path
            else:
                continue
            assert not any(name.split(".")[0] in ("distrib", "mpi4py") for name in names), path


def test_doctor_names_what_it_found(job: Job, mpi: str) -> None:
    result = job.run("doctor")
    for word in ("Python", "NumPy", "CPU kernels", "mpiexec", "mpi4py", "/dev/shm", "cores"):
        assert word in result.output
    assert "two ranks found each other" in result.output
