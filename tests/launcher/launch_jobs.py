"""Starts real jobs through the command, and looks for what they leave behind."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import distrib.launcher
from distrib.launcher import detect

FOLDER = Path(distrib.launcher.__file__).parent
COMMAND = [sys.executable, str(FOLDER / "boot.py"), "command"]
LIMIT_S = 5.0
FAULT = "print('fault at', time.time(), flush=True); "


def clean_environment(**more: str) -> dict[str, str]:
    """This environment without the variables of a launch that the tests may run under."""
    drop = (*detect.stale(os.environ), "DISTRIB_CONTROL", "DISTRIB_JOB_DIR", "OMP_NUM_THREADS")
    return {k: v for k, v in os.environ.items() if k not in drop} | more


def processes_with(mark: str) -> list[str]:
    """Command lines of living processes that have the mark in their environment."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            environment = Path(f"/proc/{name}/environ").read_bytes()
            state = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[0]
            if mark.encode() in environment and state not in ("Z", "X"):
                found.append(Path(f"/proc/{name}/cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found


@dataclass
class Result:
    """What a finished job showed."""

    code: int
    output: str
    ended: float

    def seconds_since_fault(self) -> float:
        """From the time that the script printed as ``fault at T`` to the end of the command."""
        found = re.search(r"fault at (\d+\.\d+)", self.output)
        assert found is not None, self.output
        return self.ended - float(found[1])


class Job:
    """A job in a folder of its own; every process of it carries a mark in its environment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mark = uuid.uuid4().hex
        (folder / "tmp").mkdir()

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """Start the command in the background."""
        return subprocess.Popen(
            [*COMMAND, *arguments],
            cwd=self.folder,
            env=clean_environment(DISTRIB_TEST=self.mark, TMPDIR=str(self.folder / "tmp"))
            | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *arguments: str, limit_s: float = 30.0, **environment: str) -> Result:
        """Run the command to its end."""
        with self.start(*arguments, **environment) as process:
            try:
                output, _ = process.communicate(timeout=limit_s)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        return Result(process.returncode, output, time.time())

    def script(self, text: str, name: str = "train.py") -> str:
        """Write a script into the folder; returns its name."""
        (self.folder / name).write_text(text)
        return name

    def check_nothing_left(self) -> None:
        """No process, no temporary file."""
        until = time.monotonic() + 2.0
        while (left := processes_with(self.mark)) and time.monotonic() < until:
            time.sleep(0.02)
        assert left == []
        assert list((self.folder / "tmp").iterdir()) == []

    def wait_for(self, process: subprocess.Popen[str], word: str, count: int = 1) -> None:
        """Wait until the job has printed a line with this word ``count`` times."""
        assert process.stdout is not None
        for line in process.stdout:
            count -= word in line
            if count == 0:
                return
        raise AssertionError(f"the job ended before it printed {word!r}")
