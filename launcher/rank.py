"""One rank before its script starts: place in the job, streams, error file, and what is private.

`prepare` runs before the fork, in the process that becomes the watcher.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import dataclass, field

from .control import ADDRESS_VARIABLE, KEY_VARIABLE
from .detect import World, detect
from .plan import rank_environment
from .proc import PR_SET_CHILD_SUBREAPER, PR_SET_PDEATHSIG, prctl

IO_VARIABLE = "DISTRIB_CONTROL_IO"  # a Unix socket that hands over the launcher's own streams
LAUNCH_VARIABLE = "DISTRIB_LAUNCH"  # JSON: what the command line wants for the ranks' output
PID_VARIABLE = "DISTRIB_LAUNCHER_PID"  # set where launcher and ranks share one host
FOLDER_VARIABLE = "DISTRIB_JOB_DIR"
ERROR_VARIABLE = "DISTRIB_ERROR_FILE"


@dataclass(frozen=True, slots=True)
class Output:
    """Where the rank's output goes: to the console, with a tag, into files of this folder."""

    tag: bool = False
    folder: str = ""
    to_file: int = 0  # bits: 1 stdout, 2 stderr
    to_console: int = 3


@dataclass(slots=True)
class Rank:
    """A rank that is ready to fork."""

    world: World
    error_file: str
    controlled: bool
    output: Output
    own_folder: str = ""  # made by this rank, to be removed by it
    pipes: dict[int, tuple[int, int]] = field(default_factory=dict)  # stream -> (read, write)
    watcher: int = 0

    def enter_worker(self) -> None:
        """In the script's process: die with the watcher, write into the pipes."""
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != self.watcher:
            os._exit(128 + signal.SIGKILL)
        for stream, (read, write) in self.pipes.items():
            os.close(read)
            os.dup2(write, stream)
            os.close(write)


def _take_streams(world: World) -> None:
    """Use the launcher's own stdin (rank 0), stdout and stderr in place of MPI's pipes.

    So a progress bar on rank 0 finds a terminal, pdb works there, and no line passes through
    another process. On other hosts, and under a launcher that is not ours, MPI's pipes stay.
    """
    path = os.environ.pop(IO_VARIABLE, "")
    if not path:
        return
    import socket

    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(5.0)
            connection.connect(path)
            _, streams, _, _ = socket.recv_fds(connection, 16, 3)
    except OSError:
        return
    if len(streams) != 3:
        return
    if world.rank != 0:
        os.close(streams[0])
        streams[0] = os.open(os.devnull, os.O_RDONLY)
    for number, source in enumerate(streams):
        os.dup2(source, number)
        os.close(source)


def _output(world: World) -> Output:
    text = os.environ.pop(LAUNCH_VARIABLE, "")
    if not text:
        return Output()
    options = json.loads(text)

    def bits(name: str) -> int:
        chosen: dict[str, int] = options.get(name, {})
        return chosen.get(str(world.local_rank), chosen.get("-1", 0))

    redirects, tee = bits("redirects"), bits("tee")
    shown = options.get("filter") or []
    console = 3 & ~(redirects & ~tee)
    if shown and world.local_rank not in shown:
        console = 0
    folder = os.path.join(options["log_dir"], str(world.rank)) if options.get("log_dir") else ""
    return Output(bool(options.get("tag")), folder, redirects | tee if folder else 0, console)


def prepare() -> Rank:
    """Read the environment, complete it for the script, and set up this rank's streams."""
    world = detect(os.environ)
    os.environ.update(rank_environment(world))
    controlled = bool(os.environ.get(ADDRESS_VARIABLE) and os.environ.get(KEY_VARIABLE))
    _take_streams(world)
    output = _output(world)

    own_folder, error_file = "", ""
    if controlled:  # on its own the script prints its error itself
        folder = os.environ.get(FOLDER_VARIABLE, "")
        if not (folder and os.access(folder, os.W_OK)):
            import tempfile

            own_folder = folder = tempfile.mkdtemp(prefix="distrib-rank-")
        error_file = os.path.join(folder, f"error_{world.rank}.json")
        os.environ[ERROR_VARIABLE] = os.environ["TORCHELASTIC_ERROR_FILE"] = error_file

    rank = Rank(world, error_file, controlled, output, own_folder, watcher=os.getpid())
    for stream in (1, 2):
        if output.to_file & stream or not output.to_console & stream or output.tag:
            rank.pipes[stream] = os.pipe()
    if output.folder and output.to_file:
        os.makedirs(output.folder, exist_ok=True)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    sys.stdout.flush()
    return rank
