"""Shared memory that a killed job leaves behind: found, checked to be unused, removed."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress

_SHM = "/dev/shm"
# Files in /dev/shm that MPI libraries make; of these only new, unused ones of ours are removed.
_MPI_SEGMENTS = re.compile(r"mpich_shm_|sm_segment\.|vader_segment\.|distrib_|ucx_shm_")


def segment_names() -> dict[str, float]:
    """Files in /dev/shm that belong to this user, with their time of change."""
    found: dict[str, float] = {}
    with suppress(OSError), os.scandir(_SHM) as entries:
        for entry in entries:
            with suppress(OSError):
                status = entry.stat(follow_symlinks=False)
                if status.st_uid == os.getuid():
                    found[entry.name] = status.st_ctime
    return found


def _in_use(names: set[str]) -> set[str]:
    """Those of the segments that some process of this user has mapped or open."""
    used: set[str] = set()
    paths = {f"{_SHM}/{name}": name for name in names}
    for process in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError), open(f"/proc/{process}/maps", errors="replace") as file:
            used |= set(re.findall(r" /dev/shm/(\S+)$", file.read(), re.M))
        with suppress(OSError), os.scandir(f"/proc/{process}/fd") as entries:
            for entry in entries:
                with suppress(OSError):
                    target = os.readlink(entry.path)
                    if target in paths:
                        used.add(paths[target])
    return used & names


def remove_segments(
    before: Mapping[str, float], named: Iterable[str], *, only_named: bool = False
) -> list[str]:
    """Remove leftovers in /dev/shm: new, ours, unused, and a rank's or an MPI library's."""
    now, named = segment_names(), set(named)
    new = {name for name, changed in now.items() if before.get(name) != changed}
    by_name = set() if only_named else {name for name in new if _MPI_SEGMENTS.match(name)}
    suspects = by_name | (new & named)
    if not suspects:
        return []
    removed = sorted(suspects - _in_use(suspects))
    for name in removed:
        with suppress(OSError):
            os.unlink(f"{_SHM}/{name}")
    return removed
