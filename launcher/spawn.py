"""One attempt of a job, for real: processes, signals, pidfds, streams, and what is left behind.

All decisions are the supervisor's; this is the shell that feeds it events and does what it says.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass

from .control import ADDRESS_VARIABLE, KEY_VARIABLE, Server
from .leftovers import remove_segments, segment_names
from .messages import Hello
from .plan import Plan, apply_environment
from .proc import PR_SET_CHILD_SUBREAPER, children, is_gone, node_identity, prctl
from .rank import (
    FOLDER_VARIABLE,
    IO_VARIABLE,
    LAUNCH_VARIABLE,
    PID_VARIABLE,
)
from .supervise import (
    Event,
    Finish,
    KillAll,
    Lost,
    Outcome,
    Say,
    Signalled,
    StarterEnded,
    Supervisor,
    Tell,
    Tick,
)

HANDLED = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
_MAX_OUTPUT_BYTES = 200_000
EMPTY_S, EMPTIED_S = 5.0, 1.0  # without a process below mpiexec: at first, and later


def free_port() -> int:
    """A TCP port that nothing listens on at this moment."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def address_towards(host: str) -> str:
    """This machine's address on the network that leads to a host; its name if that is unknown."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((host, 9))  # sends nothing
            found = str(probe.getsockname()[0])
        except OSError:
            return socket.gethostname()
    return socket.gethostname() if found.startswith("127.") else found


def new_run_id() -> str:
    """A short name for a job, unique enough for file names on shared disks."""
    return secrets.token_hex(5)


@dataclass(frozen=True, slots=True)
class Spawned:
    """What an attempt needs besides the plan."""

    launch: str  # JSON for the ranks: tags, log folder
    grace_s: float
    say: Callable[[Say, Outcome], None]


class Attempt:
    """One attempt: start with `run`, which returns the outcome when nothing of it is left."""

    def __init__(self, num_ranks: int, is_local: bool, host: str, spawned: Spawned) -> None:
        self.spawned, self.is_local = spawned, is_local
        self.supervisor = Supervisor(num_ranks, grace_s=spawned.grace_s, now=time.monotonic())
        self.server = Server("127.0.0.1" if is_local else "0.0.0.0")
        self.folder = tempfile.mkdtemp(prefix="distrib-")
        self.node = node_identity()
        self.others = set(children(os.getpid()))  # not ours to end
        self.pidfds: dict[int, int] = {}  # descriptor -> rank
        self.watchers: dict[int, int] = {}  # process id -> rank, where there are no pidfds
        self.process: subprocess.Popen[bytes] | None = None
        self.starter_done = False
        self.busy_at = time.monotonic()  # when the starter last had a living child
        self.was_busy = False
        self.output = bytearray()
        self.num_handed = 0  # ranks that write to our own streams
        self.outcome: Outcome | None = None
        self.listener: socket.socket | None = None
        address = "127.0.0.1" if is_local else host
        self.environment = {
            ADDRESS_VARIABLE: f"tcp://{address}:{self.server.port}",
            KEY_VARIABLE: self.server.keys.to_text(),
            LAUNCH_VARIABLE: spawned.launch,
        }
        if is_local:
            self.environment |= {
                IO_VARIABLE: os.path.join(self.folder, "io"),
                FOLDER_VARIABLE: self.folder,
                PID_VARIABLE: str(os.getpid()),
            }

    def run(self, plan: Plan, environ: Mapping[str, str]) -> Outcome:
        """Start the plan's command and see it through; raises OSError if it cannot start."""
        segments = segment_names()
        prctl(PR_SET_CHILD_SUBREAPER, 1)
        with ExitStack() as stack:
            stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
            stack.callback(self.server.close)
            stack.callback(self._close_pidfds)
            stack.callback(self._kill_all)
            wakeup = self._catch_signals(stack)
            if self.is_local:
                self.listener = stack.enter_context(socket.socket(socket.AF_UNIX))
                self.listener.bind(os.path.join(self.folder, "io"))
                self.listener.listen(64)
                self.listener.setblocking(False)
            self._start(plan, apply_environment(environ, plan))
            while self.outcome is None:
                self._turn(wakeup)
        assert self.outcome is not None
        if self.num_handed < len(self.outcome.hellos):
            # A rank could not take our streams, so what it wrote went through mpiexec.
            sys.stdout.write(self.output.decode(errors="replace"))
            sys.stdout.flush()
        remove_segments(segments, self.outcome.segments)
        return self.outcome

    # -- starting --------------------------------------------------------------------------

    def _start(self, plan: Plan, environment: dict[str, str]) -> None:
        # A session of its own: Ctrl-C reaches the launcher only, which ends the job in order.
        # What mpiexec itself has to say is kept for the case that nothing else explains an end.
        pipe = subprocess.PIPE if self.is_local and plan.mpi is not None else None
        self.process = subprocess.Popen(
            plan.command,
            env=environment,
            stdin=None if not self.is_local or plan.mpi is None else subprocess.DEVNULL,
            stdout=pipe,
            stderr=subprocess.STDOUT if pipe is not None else None,
            start_new_session=True,
        )
        if self.process.stdout is not None:
            os.set_blocking(self.process.stdout.fileno(), False)

    def _catch_signals(self, stack: ExitStack) -> socket.socket:
        wakeup, wakeup_end = socket.socketpair()
        for end in (wakeup, wakeup_end):
            end.setblocking(False)
            stack.callback(end.close)
        before = signal.set_wakeup_fd(wakeup_end.fileno(), warn_on_full_buffer=False)
        stack.callback(signal.set_wakeup_fd, before)
        for number in (*HANDLED, signal.SIGCHLD):
            if signal.getsignal(number) is signal.SIG_IGN and number == signal.SIGHUP:
                continue  # nohup distrib run ...
            stack.callback(signal.signal, number, signal.getsignal(number))
            signal.signal(number, _ignore)
        return wakeup

    # -- the loop --------------------------------------------------------------------------

    def _turn(self, wakeup: socket.socket) -> None:
        import zmq

        assert self.process is not None
        poller = zmq.Poller()
        for item in self.server.sockets:
            poller.register(item, zmq.POLLIN)
        fds = [wakeup.fileno(), *self.pidfds]
        if self.listener is not None:
            fds.append(self.listener.fileno())
        if self.process.stdout is not None:
            fds.append(self.process.stdout.fileno())
        for fd in fds:
            poller.register(fd, zmq.POLLIN)
        deadline = self.supervisor.next_deadline()
        hellos = self.supervisor.outcome.hellos
        wait_s = 0.5 if len(hellos) == self.supervisor.num_ranks else 0.05
        if deadline is not None:
            wait_s = min(wait_s, max(0.0, deadline - time.monotonic()))
        ready = {item for item, _ in poller.poll(int(wait_s * 1000) + 1)}

        if self.listener is not None and self.listener.fileno() in ready:
            self._hand_over_streams(self.listener)
        self.server.answer_zap()
        for message in self.server.receive():
            if isinstance(message, Hello):
                self._watch(message)
            self._handle(message)
        for fd in [fd for fd in self.pidfds if fd in ready]:
            os.close(fd)
            self._handle(Lost(self.pidfds.pop(fd)))
        for pid, rank in list(self.watchers.items()):
            if not os.path.exists(f"/proc/{pid}"):
                del self.watchers[pid]
                self._handle(Lost(rank))
        if self.process.stdout is not None and self.process.stdout.fileno() in ready:
            self._read_output()
        if wakeup.fileno() in ready:
            for number in wakeup.recv(4096):
                if number in HANDLED:
                    self._handle(Signalled(number))
        self._reap()
        self._handle(Tick())

    def _handle(self, event: Event) -> None:
        for action in self.supervisor.handle(event, time.monotonic()):
            match action:
                case Tell():
                    for rank in action.ranks:
                        self.server.send(rank, action.order)
                case Say():
                    self.spawned.say(action, self.supervisor.outcome)
                case KillAll():
                    self._kill_all()
                case Finish():
                    self.outcome = action.outcome

    def _watch(self, hello: Hello) -> None:
        if hello.node != self.node or hello.rank in self.supervisor.outcome.hellos:
            return
        try:
            self.pidfds[os.pidfd_open(hello.watcher)] = hello.rank
        except ProcessLookupError:
            self._handle(Lost(hello.rank))
        except (OSError, AttributeError):  # before Linux 5.3: look at /proc instead
            self.watchers[hello.watcher] = hello.rank

    def _hand_over_streams(self, listener: socket.socket) -> None:
        with suppress(OSError):
            connection, _ = listener.accept()
            with connection:
                socket.send_fds(connection, [b"s"], [0, 1, 2])
                self.num_handed += 1

    def _read_output(self) -> None:
        assert self.process is not None
        assert self.process.stdout is not None
        chunk = self.process.stdout.read(1 << 16)
        if chunk == b"":
            self.process.stdout.close()
            self.process.stdout = None
        elif chunk:
            self.output += chunk
            del self.output[:-_MAX_OUTPUT_BYTES]

    def _reap(self) -> None:
        """Collect the starter, and orphans that came to us because we are the subreaper."""
        assert self.process is not None
        code = self.process.poll()
        if code is not None and not self.starter_done:
            self.starter_done = True
            if self.process.stdout is not None:
                self._read_output()
            text = self.output.decode(errors="replace")
            self._handle(StarterEnded(code, text))
        adopted = children(os.getpid())
        if not self.starter_done:
            self._check_middle(set(adopted))
        for pid in adopted:
            if pid != self.process.pid and pid not in self.others:
                with suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)

    def _check_middle(self, adopted: set[int]) -> None:
        """mpiexec does not notice that its process between it and the ranks was killed.

        Then the watchers become children of the launcher, or nothing is left below mpiexec.
        """
        assert self.process is not None
        hellos = self.supervisor.outcome.hellos
        orphans = {h.watcher for h in hellos.values() if h.node == self.node} & adopted
        is_broken = bool(orphans - {self.process.pid})
        if self.is_local and len(hellos) < self.supervisor.num_ranks:
            now = time.monotonic()
            if any(not is_gone(pid) for pid in children(self.process.pid)):
                self.busy_at, self.was_busy = now, True
            is_broken |= now > self.busy_at + (EMPTIED_S if self.was_busy else EMPTY_S)
        if is_broken:
            self.starter_done = True
            text = "a process of MPI between its launcher and the ranks is gone"
            self._handle(StarterEnded(-signal.SIGKILL, text))

    # -- the end ---------------------------------------------------------------------------

    def _kill_all(self) -> None:
        """SIGKILL for the starter and whatever it leaves: all of them are our descendants."""
        if self.process is None:
            return
        until = time.monotonic() + 2.0
        mine = self._descendants()
        while mine and time.monotonic() < until:
            for pid in mine:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.005)
            self._reap_quietly(mine)
            mine = self._descendants()

    def _reap_quietly(self, pids: list[int]) -> None:
        assert self.process is not None
        self.process.poll()
        for pid in pids:
            if pid != self.process.pid:
                with suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)

    def _descendants(self) -> list[int]:
        assert self.process is not None
        found, front = list[int](), [p for p in children(os.getpid()) if p not in self.others]
        while front:
            found += front
            front = [pid for parent in front for pid in children(parent)]
        return [pid for pid in found if not is_gone(pid)]

    def _close_pidfds(self) -> None:
        for fd in self.pidfds:
            os.close(fd)


def _ignore(number: int, frame: object) -> None:
    """Python-level handler; the wakeup descriptor carries the number to the loop."""
