"""`distrib run`: from parsed options to an exit code, restarts included."""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import sys
import time
from collections.abc import Mapping

from .machine import find_mpi, this_machine
from .plan import Machine, Options, Plan, PlanError, make_plan, parse_streams, resolve_nproc
from .report import tell_cause, tell_outcome
from .spawn import Attempt, Spawned, address_towards, free_port, new_run_id
from .supervise import Outcome, Say

MAX_BACKOFF_S = 30.0


def backoff_s(attempt: int) -> float:
    """Seconds to wait before restart number ``attempt`` (from 1 up): 1, 2, 4 ... 30.

    >>> [backoff_s(k) for k in (1, 2, 3, 9)]
    [1.0, 2.0, 4.0, 30.0]
    """
    return min(MAX_BACKOFF_S, 2.0 ** (attempt - 1))


def read_hostfile(text: str) -> str:
    """The ``-H`` form of a host file: ``name slots=N``, ``name:N`` or ``name`` in each line.

    >>> read_hostfile("a slots=2  # first\\nb:3\\nc")
    'a:2,b:3,c'
    """
    hosts = []
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        if not words:
            continue
        slots = [word[6:] for word in words[1:] if word.startswith("slots=")]
        hosts.append(f"{words[0]}:{slots[0]}" if slots else words[0])
    return ",".join(hosts)


def to_options(parsed: argparse.Namespace) -> Options:
    """Checked options; raises `PlanError` with a line for the user."""
    kind = "module" if parsed.module else "program" if parsed.no_python else "script"
    if parsed.module and parsed.no_python:
        raise PlanError("-m and --no-python: choose one")
    if kind == "script" and not os.path.isfile(parsed.target):
        if os.path.isdir(parsed.target):
            raise PlanError(f"{parsed.target} is a folder, not a script")
        raise PlanError(f"no such script: {parsed.target}")
    if kind == "script" and not os.access(parsed.target, os.R_OK):
        raise PlanError(f"cannot read {parsed.target}")
    hosts = parsed.hosts
    if parsed.hostfile:
        if hosts:
            raise PlanError("-H and --hostfile: choose one")
        try:
            with open(parsed.hostfile, encoding="utf-8") as file:
                hosts = read_hostfile(file.read())
        except OSError as error:
            raise PlanError(f"--hostfile {parsed.hostfile}: {error.strerror}") from None
        if not hosts:
            raise PlanError(f"--hostfile {parsed.hostfile}: no host in it")
    if parsed.master_port > 65535:
        raise PlanError(f"--master-port {parsed.master_port}: expected a port up to 65535")
    if parsed.standalone and (hosts or parsed.nnodes not in ("1", "1:1")):
        raise PlanError("--standalone is one node; leave out --nnodes and -H")
    if re.search(r"[^\w.:+-]", parsed.run_id):
        raise PlanError(f"--rdzv-id {parsed.run_id!r}: letters, digits, '_', '.', '-' only")
    # A log folder alone means a copy of everything; torchrun's options choose more finely.
    default = "3" if parsed.log_dir and not (parsed.redirects or parsed.tee) else "0"
    if (parsed.redirects or parsed.tee) and not parsed.log_dir:
        raise PlanError("--redirects and --tee write files: name a folder with --log-dir")
    for name in ("rdzv_backend", "rdzv_endpoint", "rdzv_conf", "start_method", "role", "monitor"):
        if getattr(parsed, name) is not None:
            print(
                f"distrib run: --{name.replace('_', '-')} has no effect: MPI does this",
                file=sys.stderr,
            )
    return Options(
        target=parsed.target,
        arguments=tuple(parsed.arguments),
        kind=kind,
        nproc=parsed.nproc,
        nnodes=parsed.nnodes,
        node_rank=parsed.node_rank,
        hosts=hosts,
        master_addr=parsed.master_addr,
        master_port=parsed.master_port,
        max_restarts=parsed.max_restarts,
        grace_s=parsed.grace_s,
        log_dir=parsed.log_dir,
        redirects=parsed.redirects or "0",
        tee=parsed.tee or default,
        local_ranks_filter=parsed.local_ranks_filter,
        tag_output=parsed.tag_output,
        run_id=parsed.run_id or new_run_id(),
    )


def launch_text(options: Options, attempt: int) -> str:
    """JSON for the ranks: what becomes of their output; empty when it is not to be touched."""
    shown: list[int] = []
    for word in filter(None, options.local_ranks_filter.split(",")):
        if not word.strip().isdigit():
            raise PlanError(f"--local-ranks-filter {options.local_ranks_filter}: expected 0,1,...")
        shown.append(int(word))
    folder = ""
    if options.log_dir:
        folder = os.path.join(os.path.abspath(options.log_dir), options.run_id)
        folder = os.path.join(folder, f"attempt_{attempt}")
    settings = {
        "tag": options.tag_output,
        "log_dir": folder,
        "redirects": parse_streams(options.redirects, "--redirects"),
        "tee": parse_streams(options.tee, "--tee"),
        "filter": shown,
    }
    return json.dumps(settings) if folder or shown or options.tag_output else ""


def describe(plan: Plan) -> str:
    """What ``--dry-run`` prints."""
    lines = [f"{len(plan.ranks)} rank{'s' * (len(plan.ranks) > 1)}"]
    if plan.mpi is not None:
        lines[0] += f" through {plan.mpi.flavour} ({plan.mpi.path})"
    else:
        lines[0] += ", no MPI"
    for rank in plan.ranks:
        lines.append(f"  rank {rank.rank}: {rank.host}, local rank {rank.local_rank}")
    lines.append("command")
    lines.append(f"  {shlex.join(plan.command)}")
    lines.append("environment")
    lines += [f"  {name}={value}" for name, value in sorted(plan.environment.items())]
    lines += [f"  {name} removed" for name in plan.unset]
    lines += [f"note: {note}" for note in plan.notes]
    return "\n".join(lines)


def _needs_mpi(options: Options, machine: Machine) -> bool:
    several = options.nnodes not in ("1", "1:1") or bool(options.hosts)
    return several or resolve_nproc(options.nproc, machine) > 1


def run(parsed: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Launch a job; returns its exit code; raises `PlanError` for wrong options."""
    options = to_options(parsed)
    machine = this_machine(None, environ)
    if _needs_mpi(options, machine):
        machine = this_machine(find_mpi(parsed.mpi, environ), environ)
    launch_text(options, 0)
    if parsed.dry_run:
        port = options.master_port or free_port()
        print(describe(make_plan(options, environ, machine, run_id=options.run_id, port=port)))
        return 0
    for attempt in range(options.max_restarts + 1):
        outcome = _attempt(options, environ, machine, attempt)
        if outcome.code == 0 or outcome.interrupted or attempt == options.max_restarts:
            return outcome.code
        pause_s = backoff_s(attempt + 1)
        left = options.max_restarts - attempt - 1
        _say(f"distrib: restart in {pause_s:g} s ({left} left after this one)\n")
        try:
            time.sleep(pause_s)
        except KeyboardInterrupt:
            return 130
    raise AssertionError("the last attempt returns")


def _attempt(
    options: Options, environ: Mapping[str, str], machine: Machine, attempt: int
) -> Outcome:
    def say(action: Say, outcome: Outcome) -> None:
        if action.cause is not None:
            _say(tell_cause(action.cause, len(plan.ranks)))
        elif action.text:
            _say(f"distrib: {action.text}\n")

    def planned(extra: Mapping[str, str]) -> Plan:
        return make_plan(
            options,
            environ,
            machine,
            run_id=options.run_id,
            port=free_port(),
            attempt=attempt,
            extra=extra,
        )

    plan = planned({})
    for note in plan.notes if attempt == 0 else ():
        _say(f"distrib: {note}\n")
    launch = Spawned(launch_text(options, attempt), options.grace_s, say)
    others = [rank.host for rank in plan.ranks if options.hosts and rank.host != machine.hostname]
    address = address_towards(others[0]) if others else machine.hostname
    job = Attempt(len(plan.ranks), plan.is_local, address, launch)
    plan = planned(job.environment)
    outcome = job.run(plan, environ)
    _say(tell_outcome(outcome, len(plan.ranks)))
    return outcome


def _say(text: str) -> None:
    if text:
        sys.stderr.write(text)
        sys.stderr.flush()
