"""Starts a part of the launcher by path: `boot.py rank ...` for a rank, `boot.py command ...`.

Run by path because importing `distrib.launcher` imports `distrib` first, the whole library: time
that `distrib --help` does not have, memory that a waiting watcher does not need, and a dependency
that `distrib doctor` must not have when it looks at a broken installation.
"""

from __future__ import annotations

import os
import sys
import types

HERE = os.path.dirname(os.path.abspath(__file__))
PACKAGE = "distrib.launcher"


def _adopt_package() -> None:
    """Make relative imports work without running the library's own `__init__`."""
    for name, path in (("distrib", os.path.dirname(HERE)), (PACKAGE, HERE)):
        module = types.ModuleType(name)
        module.__path__ = [path]
        sys.modules[name] = module


def forget_package() -> None:
    """Leave no trace of the stand-ins where the user's script imports the real package."""
    for name in [n for n in sys.modules if n == "distrib" or n.startswith("distrib.")]:
        del sys.modules[name]


def main(argv: list[str]) -> int:
    """Dispatch; the folder of this file is not left on the path of the user's script."""
    _adopt_package()
    if sys.path and os.path.abspath(sys.path[0]) == HERE:
        del sys.path[0]
    if argv[:1] == ["rank"]:
        from . import child

        return child.main(argv[1:], before_script=forget_package)
    from . import cli

    return cli.main(argv[1:])


if __name__ == "__main__":
    __package__ = PACKAGE  # relative imports of a file that is run by path
    sys.exit(main(sys.argv[1:]))
