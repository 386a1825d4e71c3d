"""The example as a user runs it: alone, resumed, on two ranks."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "examples/digits.py"
LAUNCH = [sys.executable, "-m", "distrib.launcher.cli", "run", "--nproc-per-node", "2"]


def run(folder, *args, start=(sys.executable,)):
    """Run the example in a folder; its standard output."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [*start, str(SCRIPT), *args]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def losses(path):
    """The losses of a log, step by step."""
    rows = [line.split() for line in Path(path).read_text().splitlines()]
    assert [int(step) for step, _ in rows] == list(range(1, len(rows) + 1))
    return [float(loss) for _, loss in rows]


def test_resume_continues_exactly(tmp_path):
    run(tmp_path, "--epochs", "2", "--loss-log", "whole")
    common = ("--loss-log", "parts", "--checkpoint", "state.pt")
    run(tmp_path, "--epochs", "1", *common)
    text = run(tmp_path, "--epochs", "2", "--resume", *common)
    assert "epoch  2/2" in text
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    assert not (tmp_path / "state.pt.new").exists()


def test_two_ranks_have_the_losses_of_one(tmp_path):
    run(tmp_path, "--steps", "50", "--loss-log", "one")
    text = run(tmp_path, "--steps", "50", "--loss-log", "two", start=LAUNCH)
    assert "on 2 rank(s)" in text
    one, two = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert len(one) == len(two) == 50
    assert two == pytest.approx(one, rel=1e-5)


def test_it_learns(tmp_path):
    text = run(tmp_path, "--epochs", "7", "--no-progress")
    accuracy = float(re.search(r"test accuracy ([\d.]+)%", text)[1])
    assert accuracy > 95


def test_it_is_plain_pytorch(tmp_path):
    """With `import torch` the same file gives the same losses."""
    pytest.importorskip("torch")
    source = SCRIPT.read_text()
    assert source.count("import distrib as torch") == 2  # the statement, and the text about it
    program = tmp_path / "digits.py"
    program.write_text(source.replace("\nimport distrib as torch\n", "\nimport torch\n"))
    alone = {
        "RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0",
        "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    subprocess.run(
        [sys.executable, str(program), "--steps", "10", "--loss-log", "theirs", "--no-progress"],
        cwd=tmp_path, env={**os.environ, **alone}, check=True, timeout=100, capture_output=True,
    )  # fmt: skip
    run(tmp_path, "--steps", "10", "--loss-log", "ours")
    assert losses(tmp_path / "ours") == pytest.approx(losses(tmp_path / "theirs"), rel=1e-5)
