"""The job scripts: they parse, refuse to run without a script, and call the launcher."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

SCRIPTS = sorted((Path(__file__).parents[2] / "slurm").glob("*.sbatch"))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_job_script(path: Path, tmp_path: Path) -> None:
    subprocess.run(["bash", "-n", str(path)], check=True)
    done = subprocess.run(["bash", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "usage: sbatch" in done.stderr
    fake = tmp_path / "distrib"
    fake.write_text('#!/bin/sh\necho "$OMP_NUM_THREADS: $@"\n')
    fake.chmod(0o755)
    slurm = {
        "SLURM_NTASKS": "4",
        "SLURM_NTASKS_PER_NODE": "2",
        "SLURM_JOB_NUM_NODES": "2",
        "SLURM_CPUS_PER_TASK": "3",
        "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
    }
    done = subprocess.run(
        ["bash", str(path), "train.py", "--name", "two words"],
        capture_output=True,
        text=True,
        check=True,
        env=slurm,
    )
    nodes = "--nnodes 2 --nproc-per-node 2" if "several" in path.name else "--nproc-per-node 4"
    assert done.stdout == f"3: run {nodes} train.py --name two words\n"


def test_there_are_job_scripts() -> None:
    assert len(SCRIPTS) >= 2
