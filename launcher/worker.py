"""Runs the user's script as `__main__` and turns its end into a report and an exit code."""

from __future__ import annotations

import os
import sys
import types
from typing import Any

from .places import is_library, place

_HERE = os.path.dirname(os.path.abspath(__file__))


def _run_file(path: str, arguments: list[str]) -> None:
    """As ``python path``: a lasting `__main__`, because exit handlers and pickles refer to it."""
    import io
    from importlib.machinery import SourceFileLoader

    full = os.path.abspath(path)
    sys.argv = [path, *arguments]
    sys.path.insert(0, os.path.dirname(os.path.realpath(path)))
    with io.open_code(full) as file:
        code = compile(file.read(), full, "exec", dont_inherit=True)
    main = types.ModuleType("__main__")
    main.__dict__.update(
        __file__=full, __builtins__=__builtins__, __loader__=SourceFileLoader("__main__", full)
    )
    sys.modules["__main__"] = main
    exec(code, main.__dict__)


def _run_module(name: str, arguments: list[str]) -> None:
    """As ``python -m name``."""
    import runpy

    sys.argv = [name, *arguments]
    sys.path.insert(0, os.getcwd())
    runpy.run_module(name, run_name="__main__", alter_sys=True)


def _user_part(traceback: types.TracebackType | None) -> types.TracebackType | None:
    """The traceback from the first frame that is the user's: ours and runpy's are left out."""
    current = traceback
    while current is not None:
        filename = current.tb_frame.f_code.co_filename
        if os.path.dirname(filename) != _HERE and "runpy" not in filename:
            return current
        current = current.tb_next
    return None


def _where(error: BaseException, traceback: types.TracebackType | None) -> str:
    """``file:line in function``: the innermost line that belongs to the user."""
    if isinstance(error, SyntaxError) and error.filename and traceback is None:
        return f"{error.filename}:{error.lineno}"
    places = []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        places.append((code.co_filename, traceback.tb_lineno, code.co_name))
        traceback = traceback.tb_next
    if not places:
        return ""
    own = [spot for spot in places if not is_library(spot[0])]
    return place(*(own or places)[-1])


def _report(error: BaseException, path: str, code: int, *, printed: bool) -> str:
    """Write the error file (a superset of TorchElastic's); return the traceback as text."""
    import json
    import time
    import traceback

    part = _user_part(error.__traceback__)
    text = "".join(traceback.format_exception(type(error), error, part))
    name = type(error).__qualname__
    if type(error).__module__ not in ("builtins", "__main__"):
        name = f"{type(error).__module__}.{name}"
    try:
        message = str(error)
    except Exception:  # a broken __str__ must not hide the failure
        message = "<no message: __str__ failed>"
    report = {
        "message": {
            "message": f"{name}: {message}"[:20_000],
            "extraInfo": {"py_callstack": text[-200_000:], "timestamp": str(int(time.time()))},
        },
        "exception": name,
        "text": message[:20_000],
        "where": _where(error, part),
        "traceback": "" if printed else text[-200_000:],
        "code": code,
    }
    if path:
        try:
            with open(path + ".part", "w", encoding="utf-8", errors="replace") as file:
                json.dump(report, file)
            os.replace(path + ".part", path)
        except OSError as problem:
            print(f"distrib: could not write {path}: {problem}", file=sys.stderr)
    return text


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            continue


def _leave(code: int, *, controlled: bool) -> None:
    """End this process now: a normal exit would wait in MPI_Finalize for ranks that hang."""
    _flush()
    if not controlled:
        mpi: Any = sys.modules.get("mpi4py.MPI")
        if mpi is not None and mpi.Is_initialized() and not mpi.Is_finalized():
            mpi.COMM_WORLD.Abort(code)
    os._exit(code)


def _exit_code(error: SystemExit) -> int:
    if error.code is None:
        return 0
    if isinstance(error.code, int):
        return error.code & 0xFF
    print(error.code, file=sys.stderr)
    return 1


def _watch_fatal_signals(error_file: str) -> None:
    """A fatal signal leaves the Python lines of all threads, for the watcher or on stderr."""
    import faulthandler

    if error_file:
        # Stays open as long as the process: the handler writes to its descriptor.
        fault = os.open(error_file + ".fault", os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
        faulthandler.enable(fault)
    else:
        faulthandler.enable()


def _line_by_line() -> None:
    """Whole lines at once, also through a pipe: lines of several ranks do not mix.

    That holds under PYTHONUNBUFFERED too, where print would write its arguments one by one.
    """
    several = os.environ.get("WORLD_SIZE", "1") != "1"
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(line_buffering=True, **({"write_through": False} if several else {}))


def run(kind: str, target: str, arguments: list[str], error_file: str, *, controlled: bool) -> int:
    """Run a script, module or program; returns only when it ended well.

    ``controlled`` says that a launcher hears of the error and prints it, once for all ranks.
    """
    if kind == "program":
        try:
            os.execvp(target, [target, *arguments])
        except OSError as problem:
            print(f"distrib: cannot run {target}: {problem.strerror}", file=sys.stderr)
            os._exit(127)
    _line_by_line()
    _watch_fatal_signals(error_file)
    try:
        (_run_file if kind == "script" else _run_module)(target, arguments)
    except SystemExit as error:
        code = _exit_code(error)
        if code == 0:
            return 0
        _report(error, error_file, code, printed=True)
        _leave(code, controlled=controlled)
    except KeyboardInterrupt as error:
        text = _report(error, error_file, 130, printed=True)
        if not controlled:
            sys.stderr.write(text)
        _leave(130, controlled=controlled)
    except BaseException as error:
        # A hook of the user's own has printed the error the way he wants it.
        own_hook = sys.excepthook is not sys.__excepthook__
        if own_hook:
            sys.excepthook(type(error), error, _user_part(error.__traceback__))
        text = _report(error, error_file, 1, printed=own_hook)
        if not controlled and not own_hook:
            sys.stderr.write(tagged(text))
        _leave(1, controlled=controlled)
    return 0


def tagged(text: str) -> str:
    """Each line with its rank in front, where there is more than one."""
    if os.environ.get("WORLD_SIZE", "1") == "1":
        return text
    prefix = f"[rank {os.environ.get('RANK', '?')}] "
    return "".join(prefix + line for line in text.splitlines(keepends=True))
