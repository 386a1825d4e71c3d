"""The watcher of one rank: outside of its interpreter, so it sees every kind of end.

It reports to the launcher, carries out its orders, relays output where it is tagged or logged,
ends what the script left running, and goes last, so that MPI does not end the job first.
"""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import signal
import socket
import sys
import time
from collections import deque
from contextlib import suppress
from typing import Any

from .control import ADDRESS_VARIABLE, KEY_VARIABLE, Client, Keys
from .leftovers import remove_segments
from .messages import Exited, Failed, Hello, Order
from .places import place_in_stack
from .proc import children, is_gone, mapped_segments, node_identity, oom_kills
from .rank import PID_VARIABLE, Rank

FORWARDED = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
LINGER_S = 10.0  # for a farewell that never comes
ORPHAN_GRACE_S = 2.0  # for the script when the launcher is gone
NATURAL_END_S = 0.3  # for helpers of the script that end by themselves when it does


class Relay:
    """One stream of the script, on its way to the console and a file, line by line."""

    def __init__(self, fd: int, console: int | None, path: str, tag: bytes) -> None:
        self.fd, self.console, self.tag = fd, console, tag
        self.file = open(path, "ab", buffering=0) if path else None  # closed by `drain`
        self.rest = b""
        self.last: deque[str] = deque(maxlen=20)
        self.is_open = True

    def feed(self) -> None:
        """Pass on what has arrived; a carriage return ends a line as a newline does."""
        try:
            chunk = os.read(self.fd, 1 << 16)
        except OSError:
            chunk = b""
        if not chunk:
            self.is_open = False
        if self.file is not None and chunk:
            self.file.write(chunk)
        lines = re.split(rb"(?<=[\r\n])(?!\n)", self.rest + chunk)
        self.rest = lines.pop()
        if not self.is_open and self.rest:
            lines.append(self.rest + b"\n")
            self.rest = b""
        self.last.extend(line.decode(errors="replace").rstrip() for line in lines)
        if self.console is not None and lines:
            data = b"".join(self.tag + line for line in lines)
            while data:
                data = data[os.write(self.console, data) :]

    def drain(self, until: float) -> None:
        """Read to the end, or until a time: a helper of the script may hold the pipe open."""
        while self.is_open and select.select([self.fd], [], [], max(0.0, until - time.time()))[0]:
            self.feed()
        if self.file is not None:
            self.file.close()


class Watcher:
    """State of one watched script."""

    def __init__(self, rank: Rank, pid: int) -> None:
        self.rank, self.pid = rank, pid
        self.status: int | None = None
        self.steps: list[tuple[float, int]] = []
        self.sent: set[int] = set()
        self.segments: tuple[str, ...] = ()
        self.leaving = False
        self.oom_before = oom_kills()
        self.relays = [self._relay(stream) for stream in rank.pipes]
        self.wakeup, self.wakeup_end = socket.socketpair()
        self.client: Client | None = None
        self.launcher_pid = int(os.environ.get(PID_VARIABLE, "0"))
        self.launcher_fd = -1
        self.launcher_gone = False

    def _relay(self, stream: int) -> Relay:
        read, write = self.rank.pipes[stream]
        os.close(write)
        output = self.rank.output
        name = "stdout.log" if stream == 1 else "stderr.log"
        path = os.path.join(output.folder, name) if output.to_file & stream else ""
        tag = f"[rank {self.rank.world.rank}] ".encode() if output.tag else b""
        return Relay(read, stream if output.to_console & stream else None, path, tag)

    def listen_to_signals(self) -> None:
        """From here on signals for this process wake the loop instead of ending it."""
        self.wakeup.setblocking(False)
        self.wakeup_end.setblocking(False)
        signal.set_wakeup_fd(self.wakeup_end.fileno(), warn_on_full_buffer=False)
        for number in (*FORWARDED, signal.SIGCHLD):
            signal.signal(number, _ignore)

    def connect(self) -> None:
        """Say hello to the launcher, if there is one."""
        if not self.rank.controlled:
            return
        keys = Keys.from_text(os.environ[KEY_VARIABLE])
        self.client = Client(os.environ[ADDRESS_VARIABLE], keys)
        host, node = socket.gethostname(), node_identity()
        self.client.send(Hello(self.rank.world.rank, self.pid, os.getpid(), host, node))
        if self.launcher_pid:
            with suppress(OSError, AttributeError):  # before Linux 5.3: the loop looks at /proc
                self.launcher_fd = os.pidfd_open(self.launcher_pid)

    # -- events ----------------------------------------------------------------------------

    def reap(self) -> None:
        """Collect ended children: the script, and helpers of it that became ours."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self.pid:
                self.status = status

    def kill(self, number: int) -> None:
        """Send a signal to the script, while it runs."""
        if self.status is None:
            if number != signal.SIGKILL or not self.segments:
                self.segments = mapped_segments(self.pid) or self.segments
            self.sent.add(number)
            os.kill(self.pid, number)
            if number in (signal.SIGTERM, signal.SIGINT):
                os.kill(self.pid, signal.SIGCONT)  # a stopped process would not hear it

    def obey(self, order: Order) -> None:
        """Carry out an order of the launcher."""
        if order.name == "bye":
            self.leaving = True
            if self.status is None:
                self.steps = [(time.monotonic(), signal.SIGKILL)]
        elif order.name == "end":
            self.steps = [(time.monotonic() + after, number) for after, number in order.steps]
        elif order.name == "signal" and order.steps:
            self.kill(order.steps[0][1])
            self.sent.discard(order.steps[0][1])  # what follows is the script's own decision

    def check_launcher(self) -> None:
        """End the script when the launcher on this host is gone: nobody else will."""
        if self.launcher_pid and not self.launcher_gone and is_gone(self.launcher_pid):
            self.launcher_gone = True
            now = time.monotonic()
            self.steps = [(now, signal.SIGTERM), (now + ORPHAN_GRACE_S, signal.SIGKILL)]

    def step(self) -> None:
        """One turn of the loop: wait for something, at most until the next step is due."""
        now = time.monotonic()
        while self.steps and self.steps[0][0] <= now:
            self.kill(self.steps.pop(0)[1])
        wait_s = min([0.5, *(max(0.0, at - now) for at, _ in self.steps)])
        poller: Any
        if self.client is not None:
            import zmq

            poller = zmq.Poller()
            poller.register(self.client.socket, zmq.POLLIN)
        else:
            poller = select.poll()
        watched = {relay.fd: relay for relay in self.relays if relay.is_open}
        launcher = [self.launcher_fd] if self.launcher_fd >= 0 and not self.launcher_gone else []
        for fd in (self.wakeup.fileno(), *watched, *launcher):
            poller.register(fd, select.POLLIN)
        ready = {item for item, _ in poller.poll(int(wait_s * 1000) + 1)}
        for fd, relay in watched.items():
            if fd in ready:
                relay.feed()
        if self.wakeup.fileno() in ready:
            for number in self.wakeup.recv(4096):
                if number in FORWARDED:
                    self.kill(number)
        if self.client is not None:
            for order in self.client.receive():
                self.obey(order)
        self.check_launcher()
        self.reap()

    # -- the end ---------------------------------------------------------------------------

    def report(self) -> Failed | Exited:
        """How the script ended."""
        assert self.status is not None
        code = os.waitstatus_to_exitcode(self.status)
        number = -code if code < 0 else 0
        code = 128 + number if number else code
        found = self._error_file()
        rank = self.rank.world.rank
        where = str(found.get("where", ""))
        told = {128 + sent for sent in self.sent}
        if code == 0 or code in told:
            return Exited(rank, code, where, self.segments)
        stack = self._stack() if number else ""
        where = where or place_in_stack(stack)
        last = [line for relay in self.relays for line in relay.last]
        return Failed(
            rank,
            code,
            signal=number,
            exception=str(found.get("exception", "")),
            text=str(found.get("text", "")),
            where=where,
            traceback=str(found.get("traceback", "")),
            stack=stack,
            last_lines=tuple(line[:500] for line in last[-20:]),
            out_of_memory=number == signal.SIGKILL and oom_kills() > self.oom_before,
            segments=self.segments,
        )

    def _error_file(self) -> dict[str, Any]:
        if not self.rank.error_file:
            return {}
        try:
            with open(self.rank.error_file, encoding="utf-8") as file:
                found = json.load(file)
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def _stack(self) -> str:
        try:
            with open(self.rank.error_file + ".fault", encoding="utf-8", errors="replace") as file:
                return file.read(50_000)
        except OSError:
            return ""

    def sweep(self) -> None:
        """End what the script left running; only our own descendants are ever touched."""
        start = time.monotonic()
        sent: set[int] = set()
        while left := [pid for pid in children(os.getpid()) if self._alive(pid)]:
            elapsed = time.monotonic() - start
            if elapsed > NATURAL_END_S:
                hard = elapsed > 2 * NATURAL_END_S
                for pid in left:
                    if hard or pid not in sent:
                        sent.add(pid)
                        os.kill(pid, signal.SIGKILL if hard else signal.SIGTERM)
            if elapsed > 2.0:
                return
            time.sleep(0.01)

    def _alive(self, pid: int) -> bool:
        try:
            return os.waitpid(pid, os.WNOHANG)[0] == 0
        except ChildProcessError:
            return False

    def run(self) -> int:
        """Watch to the end; returns the exit code of the script."""
        self.listen_to_signals()
        self.connect()
        self.reap()  # an end before the first line did not wake anybody
        while self.status is None:
            self.step()
        for relay in self.relays:
            relay.drain(time.time() + NATURAL_END_S)
        outcome = self.report()
        if self.client is not None:
            self.client.send(outcome)
        self.sweep()
        if isinstance(outcome, Failed) or outcome.code:
            self._linger()
        if self.launcher_gone and isinstance(outcome, Failed):
            sys.stderr.write(outcome.traceback)
        if self.client is not None:
            self.client.close()
        self._remove_files()
        return outcome.code

    def _linger(self) -> None:
        """Stay until the launcher has ended the other ranks: MPI would end them harder."""
        until = time.monotonic() + LINGER_S
        while (
            self.client is not None
            and not self.leaving
            and not self.launcher_gone
            and time.monotonic() < until
        ):
            self.step()

    def _remove_files(self) -> None:
        folder = self.rank.own_folder
        if self.launcher_gone:  # what it would have done at the end
            folder = folder or os.path.dirname(self.rank.error_file)
        if self.launcher_gone or not self.launcher_pid:  # on another host it never does
            remove_segments({}, self.segments, only_named=True)
        until = time.monotonic() + 0.5
        while folder and os.path.exists(folder) and time.monotonic() < until:
            shutil.rmtree(folder, ignore_errors=True)  # other ranks may still be writing into it


def _ignore(number: int, frame: object) -> None:
    """Python-level handler; the wakeup descriptor carries the number to the loop."""


def watch(rank: Rank, pid: int) -> int:
    """Watch the script with this process id; returns its exit code."""
    return Watcher(rank, pid).run()
