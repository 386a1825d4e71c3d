"""Pure: the text that a user sees when a job does not end well."""

from __future__ import annotations

import signal

from .messages import Failed
from .supervise import Outcome


def signal_name(number: int) -> str:
    """``SIGKILL`` for 9."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def what_happened(failed: Failed) -> str:
    """One line: how this rank ended."""
    if failed.exception and failed.exception != "SystemExit":
        text = failed.text.strip().split("\n")[0][:300]
        line = f"{failed.exception}: {text}" if text else failed.exception
    elif failed.signal:
        line = f"killed by {signal_name(failed.signal)}"
        if failed.out_of_memory:
            line += " (the system was out of memory)"
        elif failed.signal == signal.SIGKILL:
            line += " (from outside, or out of memory)"
    else:
        line = f"exited with code {failed.code}"
    return f"{line}, at {failed.where}" if failed.where else line


def _ranks(numbers: list[int]) -> str:
    """``rank 3``, ``ranks 0-2, 5``."""
    numbers = sorted(numbers)
    parts: list[str] = []
    start = 0
    for i in range(1, len(numbers) + 1):
        if i == len(numbers) or numbers[i] != numbers[i - 1] + 1:
            first, last = numbers[start], numbers[i - 1]
            parts.append(str(first) if first == last else f"{first}-{last}")
            start = i
    return ("rank " if len(numbers) == 1 else "ranks ") + ", ".join(parts)


def tell_cause(cause: Failed, num_ranks: int) -> str:
    """What is printed at once: the traceback of the first rank that failed."""
    prefix = f"[rank {cause.rank}] " if num_ranks > 1 else ""
    body = cause.traceback or cause.stack
    return "".join(prefix + line for line in body.splitlines(keepends=True))


def tell_outcome(outcome: Outcome, num_ranks: int) -> str:
    """The final message: which rank, where, what became of the others; empty if all is said."""
    cause = outcome.cause
    if cause is None:
        return _tell_without_cause(outcome, num_ranks)
    if num_ranks == 1 and (cause.traceback or cause.exception == "SystemExit"):
        return ""  # the traceback says it, and there is no other rank to tell apart
    lines = [f"rank {cause.rank} of {num_ranks} failed: {what_happened(cause)}"]
    hello = outcome.hellos.get(cause.rank)
    if hello is not None:
        lines.append(f"host {hello.host}, pid {hello.pid}, {outcome.seconds:.1f} s after the start")
    if cause.last_lines and not cause.traceback:
        lines.append("its last lines:")
        lines += [f"  | {line}" for line in cause.last_lines[-10:]]
    same = [f.rank for f in outcome.also_failed if what_happened(f) == what_happened(cause)]
    if same:
        lines.append(f"{_ranks(same)} failed in the same way")
    for other in outcome.also_failed:
        if other.rank not in same:
            lines.append(f"rank {other.rank} failed later: {what_happened(other)}")
    ended = [rank for rank, event in outcome.ended.items() if event.code]
    if ended:
        lines.append(f"{_ranks(ended)} {'was' if len(ended) == 1 else 'were'} ended")
    return "".join(f"distrib: {line}\n" for line in lines)


def _tell_without_cause(outcome: Outcome, num_ranks: int) -> str:
    if outcome.interrupted:
        places = [event.where for _, event in sorted(outcome.ended.items()) if event.where]
        at = f", at {places[0]}" if places else ""
        failed = "".join(
            f"distrib: rank {other.rank}: {what_happened(other)}\n" for other in outcome.also_failed
        )
        return f"{failed}distrib: ended by {signal_name(outcome.interrupted)}{at}\n"
    starter = outcome.starter
    if not outcome.silent or starter is None:
        return ""
    code = starter.code
    how = f"was killed by {signal_name(-code)}" if code < 0 else f"ended with code {code}"
    who = _ranks(list(outcome.silent))
    lines = [f"MPI's launcher {how}; {who} of {num_ranks} did not report an end"]
    lines += [f"  | {line}" for line in starter.output.strip().splitlines()[-20:]]
    return "".join(f"distrib: {line}\n" for line in lines)
