"""The loader's inner rooms: collation, fetching, worker processes and their shared memory."""

from . import collate, fetch, pin_memory, worker

__all__ = ["collate", "fetch", "pin_memory", "worker"]
