"""No rank dies alone: an uncaught exception or a non-zero exit of one rank ends all of them.

Without this, a rank that raises waits for the others when MPI finalizes, and they wait for it.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import re
import sys
import threading
import time
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Any, NoReturn

_ERROR_FILE = "TORCHELASTIC_ERROR_FILE"  # where a launcher reads how a rank failed
_WORKER = os.path.join("launcher", "worker.py")  # what `distrib run` runs the script in
_SEGMENT = re.compile(r"mpich_shm_|sm_segment\.|vader_segment\.")
DRAIN_S = 0.2  # MPI launchers drop output that they have not read when the job is aborted


class Exit(SystemExit):
    """SystemExit that knows when it reaches the top, where the interpreter itself asks for
    ``code``.
    """

    def __getattribute__(self, name: str) -> Any:
        value = super().__getattribute__(name)
        if name == "code" and _guard is not None:
            try:
                sys._getframe(1)
            except ValueError:  # no caller in Python: nobody caught it
                _guard.exit_code = status(value)
        return value

    def __reduce__(self) -> tuple[type[SystemExit], tuple[Any, ...]]:
        return SystemExit, self.args


def status(code: Any) -> int:
    """The process status that belongs to an argument of sys.exit.

    >>> status(None), status(3), status("message")
    (0, 3, 1)
    """
    if code is None:
        return 0
    return code & 0xFF if isinstance(code, int) else 1


def _exit(status: Any = None, /) -> NoReturn:
    """Exit the interpreter by raising SystemExit(status)."""
    raise Exit(status)


def segments() -> set[str]:
    """The shared-memory files of MPI that this process has mapped; none where there is no /proc."""
    try:
        with open("/proc/self/maps", errors="replace") as file:
            found = re.findall(r" (/dev/shm/[^/\n]+)$", file.read(), re.MULTILINE)
    except OSError:
        return set()
    return {path for path in found if _SEGMENT.match(os.path.basename(path))}


def _in_worker() -> bool:
    """Whether the launcher's worker is at the bottom of the main thread's stack."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    while frame is not None:
        if frame.f_code.co_filename.endswith(_WORKER):
            return True
        frame = frame.f_back
    return False


def _write_report(path: str, error: str, message: str, code: int) -> None:
    """The report of a failure in TorchElastic's form."""
    report = {
        "message": {
            "message": f"{error}: {message}",
            "extraInfo": {"py_callstack": "", "timestamp": str(int(time.time()))},
        },
        "exception": error,
        "text": message,
        "where": "",
        "traceback": "",
        "code": code,
    }
    try:
        with open(path + ".part", "w", encoding="utf-8", errors="replace") as file:
            json.dump(report, file)
        os.replace(path + ".part", path)
    except OSError as problem:
        sys.stderr.write(f"could not write {path}: {problem}\n")


class Guard:
    """The process's hooks: on an uncaught exception, a failing exit, and a good end."""

    def __init__(
        self, rank: int, abort: Callable[[int], None], farewell: Callable[[], None]
    ) -> None:
        self.rank, self._abort, self._farewell = rank, abort, farewell
        self.exit_code = 0
        self._pid = os.getpid()  # a forked child inherits the hooks and must not end the job
        self._in_worker = _in_worker()
        self._previous = sys.excepthook
        self._previous_thread = threading.excepthook

    def install(self) -> None:
        """Take the hooks of this process; our launcher sees exceptions and exits itself."""
        threading.excepthook = self._on_thread_exception
        atexit.register(self._at_exit)
        if not self._in_worker:
            sys.excepthook = self._on_exception
            sys.exit = _exit

    def report(self, text: str) -> None:
        """Write ``text`` to stderr, each line with the rank in front."""
        prefix = f"[rank{self.rank}]: "
        lines = text.rstrip("\n").split("\n")
        sys.stderr.write("".join(f"{prefix}{line}\n" for line in lines))

    def end(self, error: str, message: str, code: int = 1) -> None:
        """Say why, and end all ranks; our launcher reads the reason in the error file."""
        self.report(f"{error}: {message}")
        path = os.environ.get(_ERROR_FILE, "")
        if path and self._in_worker:
            _write_report(path, error, message, code)
            self._flush()
            os._exit(code)
        self.abort(code)

    def _flush(self) -> None:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError):
                pass  # a closed pipe must not keep the job alive

    def abort(self, code: int) -> None:
        """Let out what was printed, and end all ranks."""
        self._flush()
        time.sleep(DRAIN_S)
        for path in segments():  # an aborted MPI leaves them, and nobody may use them any more
            with contextlib.suppress(OSError):
                os.unlink(path)
        self._abort(code)

    def _on_exception(
        self, kind: type[BaseException], value: BaseException, tb: TracebackType | None
    ) -> None:
        if os.getpid() != self._pid:
            self._previous(kind, value, tb)
            return
        try:
            self.report("".join(traceback.format_exception(kind, value, tb)))
        finally:
            self.abort(130 if issubclass(kind, KeyboardInterrupt) else 1)

    def _on_thread_exception(self, args: threading.ExceptHookArgs) -> None:
        if os.getpid() != self._pid or issubclass(args.exc_type, SystemExit):
            self._previous_thread(args)
            return
        thread = "a thread" if args.thread is None else args.thread.name
        trace = traceback.format_exception(args.exc_type, args.exc_value, args.exc_traceback)
        try:
            self.report(f"Exception in thread {thread}:\n{''.join(trace)}")
        finally:
            self.end(args.exc_type.__name__, f"{args.exc_value}, in thread {thread}")

    def _at_exit(self) -> None:
        if os.getpid() != self._pid:
            return
        if self.exit_code:
            self.report(f"exits with status {self.exit_code}: ending all ranks")
            self.abort(self.exit_code)
        self._farewell()


_guard: Guard | None = None


def install(rank: int, abort: Callable[[int], None], farewell: Callable[[], None]) -> Guard:
    """Install the hooks, once per process."""
    global _guard
    if _guard is None:
        _guard = Guard(rank, abort, farewell)
        _guard.install()
    return _guard
