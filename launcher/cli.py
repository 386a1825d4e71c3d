"""The `distrib` command: `run`, `doctor`, `--version`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

RUN_EXAMPLES = """\
examples:
  distrib run train.py --epochs 3                      one process, no MPI
  distrib run --nproc-per-node 4 train.py              four ranks on this machine
  distrib run --nproc-per-node auto -m package.train   a rank for each GPU, else for each core
  distrib run -H node1:8,node2:8 train.py              two machines, through MPI and ssh
  distrib run --nproc-per-node 4 --dry-run train.py    show what would be started

The job ends as a whole when a rank fails, with that rank's exit code (128 + N after signal N).
Output of the ranks is not touched unless --tag-output, --log-dir or a filter asks for it.
"""


class _Parser(argparse.ArgumentParser):
    """One clear line and exit code 2 for wrong input, without the whole usage."""

    def error(self, message: str) -> NoReturn:
        message = message.replace("TARGET, ARGS", "TARGET")
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def _adder(group: argparse._ArgumentGroup) -> Callable[..., None]:
    """Adds options with torchrun's second spelling, underscores, which the help leaves out."""

    def add(*names: str, **settings: Any) -> None:
        action = group.add_argument(*names, **settings)
        forms = ["--" + name[2:].replace("-", "_") for name in names if "-" in name[2:]]
        if forms and names[0].startswith("-"):
            hidden = {**settings, "help": argparse.SUPPRESS, "default": argparse.SUPPRESS}
            group.add_argument(*forms, **{**hidden, "dest": action.dest})

    return add


def _at_least(low: float, kind: Callable[[str], float]) -> Callable[[str], float]:
    def convert(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = low - 1
        if not value >= low:
            what = "a whole number" if kind is int else "a number"
            raise argparse.ArgumentTypeError(f"expected {what} from {low:g} up, got {text!r}")
        return value

    return convert


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command."""
    parser = _Parser(
        prog="distrib",
        description="Data-parallel training with PyTorch's API over MPI.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)
    _add_run(
        commands.add_parser(
            "run",
            help="start a script on N ranks and watch over it",
            description="Start a script on N ranks and watch over it; the options are torchrun's.",
            epilog=RUN_EXAMPLES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
    )
    doctor = commands.add_parser(
        "doctor", help="say what was found on this machine, and what to do about the rest"
    )
    doctor.add_argument("--json", action="store_true", help="as JSON, for programs")
    return parser


def _add_run(run: argparse.ArgumentParser) -> None:
    add = _adder(run.add_argument_group("ranks"))
    add(
        "--nproc-per-node",
        dest="nproc",
        default="1",
        metavar="N|auto|cpu|gpu",
        help="ranks per node (default 1)",
    )
    add("--nnodes", default="1", metavar="N", help="number of nodes (default 1)")
    add(
        "--node-rank",
        dest="node_rank",
        type=_at_least(0, int),
        default=0,
        metavar="K",
        help="0: one launcher starts the ranks of all nodes",
    )
    add("-H", "--hosts", default="", metavar="HOST:N,...", help="nodes and their ranks")
    add("--hostfile", default="", metavar="FILE", help="a line for each node: name slots=N")
    add("--standalone", action="store_true", help="one node with a free port (the default)")
    add(
        "--master-addr",
        dest="master_addr",
        default="",
        metavar="ADDRESS",
        help="MASTER_ADDR for the script (default: this machine)",
    )
    add(
        "--master-port",
        dest="master_port",
        type=_at_least(0, int),
        default=0,
        metavar="PORT",
        help="MASTER_PORT for the script (default: a free one)",
    )
    add(
        "--mpi",
        "--backend",
        default="auto",
        metavar="auto|mpich|openmpi|intel|PATH",
        help="which MPI starts the ranks (default: the one of this Python's environment)",
    )

    add = _adder(run.add_argument_group("failure"))
    add(
        "--max-restarts",
        dest="max_restarts",
        type=_at_least(0, int),
        default=0,
        metavar="N",
        help="start the whole job again up to N times after a failure (default 0)",
    )
    add(
        "--grace-period",
        dest="grace_s",
        type=_at_least(0, float),
        default=2.0,
        metavar="SECONDS",
        help="between SIGTERM and SIGKILL for the other ranks (default 2)",
    )

    add = _adder(run.add_argument_group("output"))
    add(
        "--tag-output",
        dest="tag_output",
        action="store_true",
        help="put [rank r] in front of each line",
    )
    add(
        "--no-prefix",
        dest="tag_output",
        action="store_false",
        help="leave lines as they are (the default)",
    )
    add(
        "--log-dir",
        dest="log_dir",
        default="",
        metavar="DIR",
        help="also write DIR/JOB/attempt_K/RANK/{stdout,stderr}.log",
    )
    add(
        "-r",
        "--redirects",
        default="",
        metavar="0-3|L:S,...",
        help="streams that go to the log only: 1 stdout, 2 stderr, 3 both",
    )
    add("-t", "--tee", default="", metavar="0-3|L:S,...", help="streams that go to both")
    add(
        "--local-ranks-filter",
        dest="local_ranks_filter",
        default="",
        metavar="L,...",
        help="show only the output of these local ranks",
    )
    add(
        "--rdzv-id",
        "--run-id",
        dest="run_id",
        default="",
        metavar="ID",
        help="name of the job (default: a random one)",
    )
    for name in ("--rdzv-backend", "--rdzv-endpoint", "--rdzv-conf", "--start-method", "--role"):
        add(name, default=None, help=argparse.SUPPRESS)
    add("--monitor-interval", dest="monitor", default=None, help=argparse.SUPPRESS)
    add(
        "--dry-run",
        dest="dry_run",
        action="store_true",
        help="print ranks, command and environment, start nothing",
    )

    add = _adder(run.add_argument_group("script"))
    add("-m", "--module", action="store_true", help="TARGET is a module, as in python -m")
    add(
        "--no-python",
        dest="no_python",
        action="store_true",
        help="TARGET is a program, not a Python script",
    )
    add("target", metavar="TARGET", help="script, module or program")
    add("arguments", nargs=argparse.REMAINDER, metavar="ARGS", help="its own arguments")


def version() -> str:
    """The installed version, without importing the library."""
    from importlib import metadata

    try:
        return metadata.version("distrib")
    except metadata.PackageNotFoundError:
        return "0 (not installed)"


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the `distrib` command; returns the exit code."""
    parser = build_parser()
    arguments = list(sys.argv[1:] if argv is None else argv)
    options = parser.parse_args(arguments)
    if options.version:
        print(f"distrib {version()}")
        return 0
    if options.command == "run":
        from .plan import PlanError
        from .run import run

        try:
            return run(options, os.environ)
        except PlanError as error:
            print(f"distrib run: {error}", file=sys.stderr)
            return 2
        except OSError as error:
            print(f"distrib run: cannot start the job: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:  # before the job could take care of signals
            return 130
        except ModuleNotFoundError as error:
            print(f"distrib run: {error.name} is missing: reinstall distrib", file=sys.stderr)
            return 2
    if options.command == "doctor":
        from .doctor import doctor

        return doctor(as_json=options.json)
    parser.print_help()
    return 2


if __name__ == "__main__":
    sys.exit(main())
