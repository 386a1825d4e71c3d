"""The world of one rank: every collective is a local copy, so scripts need no launcher."""

from __future__ import annotations

from collections.abc import Sequence

from distrib import errors
from distrib.distributed.call import Call, Work
from distrib.distributed.local import execute
from distrib.distributed.process_group import ProcessGroup


class SingleGroup(ProcessGroup):
    """A group with this rank alone."""

    backend = "single"

    def __init__(self, name: str, timeout_s: float) -> None:
        super().__init__([0], 0, name, timeout_s)

    def _launch(self, call: Call) -> Work:
        if call.kind in ("send", "recv"):
            raise errors.CollectiveError(f"{call.kind}: there is no other rank in a world of one")
        execute([call])
        call.complete()
        return Work(call)

    def subgroup(self, ranks: Sequence[int], name: str, timeout_s: float) -> ProcessGroup | None:
        """The same group again, under another name."""
        return SingleGroup(name, timeout_s) if 0 in ranks else None
