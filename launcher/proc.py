"""What Linux tells about processes: children, ends, mapped shared memory."""

from __future__ import annotations

import os
import re
import socket

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


def prctl(option: int, value: int) -> bool:
    """The Linux call; False where there is none."""
    import ctypes

    try:
        return int(ctypes.CDLL(None).prctl(option, value, 0, 0, 0)) == 0
    except (OSError, AttributeError):
        return False


def is_gone(pid: int) -> bool:
    """True for a process that has ended, reaped or not."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] in ("Z", "X")
    except (OSError, IndexError):
        return True


def node_identity() -> str:
    """Equal for two processes exactly if they can see one another's process ids."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip() + os.readlink("/proc/self/ns/pid")
    except OSError:
        return socket.gethostname()


def children(pid: int) -> list[int]:
    """Process ids of the direct children, zombies included."""
    found: list[int] = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as file:
                found += [int(word) for word in file.read().split()]
    except FileNotFoundError:
        return _children_by_parent(pid) if os.path.exists(f"/proc/{pid}") else []
    except OSError:
        return []
    return found


def _children_by_parent(pid: int) -> list[int]:
    """The same for kernels without the file: look at the parent of every process."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", encoding="ascii", errors="replace") as file:
                if int(file.read().rpartition(")")[2].split()[1]) == pid:
                    found.append(int(name))
        except (OSError, IndexError, ValueError):
            continue
    return found


def mapped_segments(pid: int) -> tuple[str, ...]:
    """Names in /dev/shm that a process has mapped and that still exist."""
    try:
        with open(f"/proc/{pid}/maps", encoding="utf-8", errors="replace") as file:
            found = re.findall(r" /dev/shm/([^/\n]+)$", file.read(), re.MULTILINE)
    except OSError:
        return ()
    return tuple(sorted({name for name in found if not name.endswith(" (deleted)")}))[:1000]


def oom_kills() -> int:
    """How often the kernel's out-of-memory killer has struck on this machine."""
    try:
        with open("/proc/vmstat", encoding="ascii") as file:
            match = re.search(r"^oom_kill (\d+)$", file.read(), re.MULTILINE)
    except OSError:
        return 0
    return int(match[1]) if match else 0
