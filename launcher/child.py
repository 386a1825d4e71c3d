"""What the MPI launcher starts for each rank: `script|module|program TARGET ARGS...`.

It forks before anything heavy is imported. The child process runs the script; the parent stays as
its watcher: it knows how the script ended, whatever happens to the interpreter inside, and it can
tell the launcher before MPI notices.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from . import worker
from .rank import prepare


def _nothing() -> None:
    """Default of ``before_script``."""


def main(argv: list[str], before_script: Callable[[], None] = _nothing) -> int:
    """Run one rank; returns its exit code in the watcher, and the script's in the script."""
    if len(argv) < 2 or argv[0] not in ("script", "module", "program"):
        print("usage: child script|module|program TARGET ARGS...", file=sys.stderr)
        return 2
    kind, target, arguments = argv[0], argv[1], argv[2:]
    rank = prepare()
    pid = os.fork()
    if pid == 0:
        rank.enter_worker()
        before_script()
        return worker.run(kind, target, arguments, rank.error_file, controlled=rank.controlled)
    from .watch import watch

    return watch(rank, pid)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
