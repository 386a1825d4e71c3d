"""Every DISTRIB_* environment variable: typed, documented, overridable with a context manager."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Variable:
    """One setting: its type, its default and what it does."""

    kind: type
    default: Any
    help: str


VARIABLES: dict[str, Variable] = {
    "DISTRIB_DEBUG": Variable(
        int, 0, "1 operators, 2 timings and bytes, 3 graph, 4 generated source"
    ),
    "DISTRIB_KERNELS": Variable(bool, True, "use the compiled CPU kernels where they exist"),
    "DISTRIB_ALLOCATOR": Variable(bool, True, "reuse array memory through the caching allocator"),
    "DISTRIB_TIMEOUT_S": Variable(float, 1800.0, "seconds until a collective counts as stalled"),
    "DISTRIB_CHECK_COLLECTIVES": Variable(
        bool, False, "verify that all ranks call the same collective with the same shape and dtype"
    ),
    "DISTRIB_BUCKET_CAP_MB": Variable(float, 25.0, "size of a gradient bucket in MiB"),
    "DISTRIB_DATA_SHM": Variable(
        str,
        "auto",
        "memory that loader workers hand batches over in: auto, memfd, file, pipe (none)",
    ),
    # Set by `distrib run` for its ranks; all empty under another launcher.
    "DISTRIB_JOB_ID": Variable(str, "", "name of the job; shared memory: /dev/shm/distrib_<id>_*"),
    "DISTRIB_JOB_DIR": Variable(str, "", "folder of the job on this host, removed at its end"),
    "DISTRIB_CONTROL": Variable(str, "", "address of the launcher's control plane"),
    "DISTRIB_CONTROL_KEY": Variable(str, "", "this job's key for the control plane"),
    "DISTRIB_ERROR_FILE": Variable(str, "", "where a rank leaves its exception as JSON"),
    "DISTRIB_LAUNCHER_PID": Variable(int, 0, "process id of the launcher on the same host"),
}

_overrides: dict[str, Any] = {}
_TRUE, _FALSE = {"1", "true", "yes", "on"}, {"0", "false", "no", "off", ""}


def _parse(name: str, text: str) -> Any:
    kind = VARIABLES[name].kind
    if kind is bool:
        if text.lower() in _TRUE | _FALSE:
            return text.lower() in _TRUE
        raise ValueError(f"{name}={text!r}: expected one of 0, 1, true, false, yes, no, on, off")
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"{name}={text!r}: expected {kind.__name__}") from None


def get(name: str) -> Any:
    """Return the value of a variable: an override, else the environment, else the default.

    >>> get("DISTRIB_BUCKET_CAP_MB")
    25.0
    """
    if name in _overrides:
        return _overrides[name]
    if name not in VARIABLES:
        raise KeyError(f"unknown setting {name}; known: {', '.join(sorted(VARIABLES))}")
    text = os.environ.get(name)
    return VARIABLES[name].default if text is None else _parse(name, text)


@contextmanager
def override(**values: Any) -> Iterator[None]:
    """Set variables for a block, by name: ``with override(DISTRIB_DEBUG=2): ...``."""
    for name in values:
        if name not in VARIABLES:
            raise KeyError(f"unknown setting {name}; known: {', '.join(sorted(VARIABLES))}")
    before = dict(_overrides)
    _overrides.update(values)
    try:
        yield
    finally:
        _overrides.clear()
        _overrides.update(before)
